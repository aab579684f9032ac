"""Database servers with certificates of a test's own certificate authority (CA).

A test starts its own PostgreSQL server from the programs on the machine. A running MySQL server gets other certificates
for the duration of a test.
"""

import contextlib
import datetime
import ipaddress
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.e2e.servers import DatabaseServer

SUPERUSER = "postgres"
SUPERUSER_PASSWORD = "of-a-test"
START_TIMEOUT_SECONDS = 30
DAY = datetime.timedelta(days=1)


@dataclass(frozen=True, kw_only=True)
class Secured:
    """A server with a certificate, and its administrator."""

    host: str
    """Host name in its certificate."""
    port: int
    ca: Path
    """Path of the CA certificate."""
    username: str
    password: str


class Authority:
    """A certificate authority."""

    def __init__(self, name: str = "Authority of a test") -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = _build_name(name)
        self.certificate = (
            self._builder(self.name, self.key, -DAY, DAY).add_extension(
                x509.BasicConstraints(ca=True, path_length=None), critical=True
            )
        ).sign(self.key, hashes.SHA256())

    @property
    def pem(self) -> bytes:
        """The CA certificate."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def issue(
        self, *names: str, since: datetime.timedelta = -DAY, until: datetime.timedelta = DAY
    ) -> tuple[bytes, bytes]:
        """Return a certificate for host names and addresses, and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = self._builder(_build_name("server of a test"), key, since, until)
        if names:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([_build_alternative_name(name) for name in names]), critical=False
            )
        certificate = builder.sign(self.key, hashes.SHA256())
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return certificate.public_bytes(serialization.Encoding.PEM), private

    def _builder(
        self, name: x509.Name, key: ec.EllipticCurvePrivateKey, since: datetime.timedelta, until: datetime.timedelta
    ) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        builder = x509.CertificateBuilder().subject_name(name).issuer_name(self.name).public_key(key.public_key())
        return (
            builder.serial_number(x509.random_serial_number())
            .not_valid_before(now + since)
            .not_valid_after(now + until)
        )


def _build_name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _build_alternative_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def find_postgresql_program(name: str) -> str:
    """Return the path of a PostgreSQL server program. Skip the test if it is not installed."""
    folders = [str(path.parent) for path in sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), reverse=True)]
    path = shutil.which(name, path=os.pathsep.join([*folders, os.environ.get("PATH", "")]))
    if not path:
        pytest.skip(f"{name} is not installed; install the PostgreSQL server")
    return path


@contextlib.contextmanager
def postgresql_with_tls(
    authority: Authority,
    *names: str,
    certificate: tuple[bytes, bytes] | None = None,
    access: Sequence[str] = ("host all all all scram-sha-256",),
    standby: bool = False,
) -> Iterator[Secured]:
    """Start a PostgreSQL server on the loopback address.

    The certificate is for `names`, or it is `certificate`. `access` are the lines of pg_hba.conf. A `standby` has no
    primary; it is read-only.
    """
    initdb, postgres = find_postgresql_program("initdb"), find_postgresql_program("postgres")
    folder = Path(tempfile.mkdtemp(prefix="postgresql-"))
    # A PostgreSQL server does not run as root.
    users = (name for name in ("postgres", "nobody") if _has_user(name))
    user = next(users, None) if os.geteuid() == 0 else None
    try:
        _write_files(folder, authority, certificate or authority.issue(*names))
        if user:
            for path in (folder, *folder.iterdir()):
                shutil.chown(path, user)
        data, port = folder / "data", free_port()
        command = [
            initdb,
            f"--pgdata={data}",
            f"--username={SUPERUSER}",
            f"--pwfile={folder / 'password'}",
            "--auth=scram-sha-256",
            "--no-sync",
        ]
        subprocess.run(command, user=user, cwd=folder, check=True, capture_output=True)
        if standby:
            (data / "standby.signal").touch()
        (data / "pg_hba.conf").write_text("".join(f"{line}\n" for line in access))
        settings = ["listen_addresses=127.0.0.1", f"unix_socket_directories={folder}", "fsync=off", "ssl=on"]
        settings += [f"ssl_cert_file={folder / 'server.pem'}", f"ssl_key_file={folder / 'server.key'}"]
        command = [
            postgres,
            "-D",
            str(data),
            "-p",
            str(port),
            *(word for setting in settings for word in ("-c", setting)),
        ]
        with (
            (folder / "log").open("w") as log,
            subprocess.Popen(command, user=user, cwd=folder, stdout=log, stderr=log) as server,
        ):
            try:
                _wait_for_logins(port, server)
                yield Secured(
                    host=names[0] if names else "localhost",
                    port=port,
                    ca=folder / "ca.pem",
                    username=SUPERUSER,
                    password=SUPERUSER_PASSWORD,
                )
            finally:
                server.send_signal(signal.SIGINT)
                server.wait(START_TIMEOUT_SECONDS)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _write_files(folder: Path, authority: Authority, certificate: tuple[bytes, bytes]) -> None:
    for name, content in (("ca.pem", authority.pem), ("server.pem", certificate[0]), ("server.key", certificate[1])):
        (folder / name).write_bytes(content)
        (folder / name).chmod(0o600)
    (folder / "password").write_text(SUPERUSER_PASSWORD)


def _has_user(user: str) -> bool:
    try:
        pwd.getpwnam(user)
    except KeyError:
        return False
    return True


def free_port() -> int:
    """Return a port of 127.0.0.1 on which no process listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _wait_for_logins(port: int, server: "subprocess.Popen[bytes]") -> None:
    """Wait until the server answers a login."""
    limit = time.monotonic() + START_TIMEOUT_SECONDS
    while server.poll() is None and time.monotonic() < limit:
        try:
            psycopg.connect(
                host="127.0.0.1", port=port, user=SUPERUSER, password="none", dbname="postgres", connect_timeout=2
            ).close()
        except psycopg.OperationalError as error:
            if any(word in str(error) for word in ("authentication failed", "pg_hba.conf")):
                return
            time.sleep(0.1)
    raise AssertionError(f"PostgreSQL did not start: exit code {server.poll()}")


@contextlib.contextmanager
def mysql_with_tls(
    server: DatabaseServer,
    folder: Path,
    authority: Authority,
    *names: str,
    certificate: tuple[bytes, bytes] | None = None,
) -> Iterator[Secured]:
    """Replace the certificates of a running MySQL server, and restore them at the end.

    The administrator must be allowed to write files (`secure_file_priv` is empty). The files remain in its `tmpdir`.
    """
    cert, key = certificate or authority.issue(*(names or (server.host,)))
    (folder / "ca.pem").write_bytes(authority.pem)
    with server.administrator() as session:
        if session.run("SELECT @@secure_file_priv")[0][0] != "":
            pytest.skip("the MySQL server does not allow files; set secure_file_priv to an empty value")
        variables = ("ssl_ca", "ssl_cert", "ssl_key")
        before = session.run(f"SELECT {', '.join(f'@@{name}' for name in variables)}")[0]
        path = f"{session.run('SELECT @@tmpdir')[0][0]}/{os.urandom(8).hex()}"
        try:
            for name, content in zip(variables, (authority.pem, cert, key), strict=True):
                session.run(f"SELECT 0x{content.hex()} INTO DUMPFILE '{path}-{name}'")
                session.run(f"SET GLOBAL {name} = '{path}-{name}'")
            session.run("ALTER INSTANCE RELOAD TLS")
            yield Secured(
                host=server.host,
                port=server.port,
                ca=folder / "ca.pem",
                username=server.username,
                password=server.password,
            )
        finally:
            for name, value in zip(variables, before, strict=True):
                session.run(f"SET GLOBAL {name} = '{value}'")
            session.run("ALTER INSTANCE RELOAD TLS")
