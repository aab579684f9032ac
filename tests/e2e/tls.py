"""Database servers with certificates of an authority made up for a test.

PostgreSQL is a server of the test's own, from the programs that this machine has; MySQL is a running one that gets other certificates
for a while.
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
START_SECONDS = 30
DAY = datetime.timedelta(days=1)


@dataclass(frozen=True, kw_only=True)
class Secured:
    """A server with a certificate."""

    host: str
    """A name that its certificate has."""
    port: int
    ca: Path
    """The certificate of the authority."""
    username: str
    password: str


class Authority:
    """An authority that signs certificates."""

    def __init__(self, name: str = "Authority of a test") -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = _named(name)
        self.certificate = (
            self._builder(self.name, self.key, -DAY, DAY).add_extension(
                x509.BasicConstraints(ca=True, path_length=None), critical=True
            )
        ).sign(self.key, hashes.SHA256())

    @property
    def pem(self) -> bytes:
        """Its own certificate."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def issue(
        self, *names: str, since: datetime.timedelta = -DAY, until: datetime.timedelta = DAY
    ) -> tuple[bytes, bytes]:
        """A certificate for names and addresses, and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = self._builder(_named("server of a test"), key, since, until)
        if names:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([_alternative(name) for name in names]), critical=False
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


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def postgresql_program(name: str) -> str:
    """A program of PostgreSQL's server. Skips the test where there is none."""
    folders = [str(path.parent) for path in sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), reverse=True)]
    found = shutil.which(name, path=os.pathsep.join([*folders, os.environ.get("PATH", "")]))
    if not found:
        pytest.skip(f"there is no {name} on this machine: no PostgreSQL of the test's own")
    return found


@contextlib.contextmanager
def postgresql_with_tls(
    authority: Authority,
    *names: str,
    certificate: tuple[bytes, bytes] | None = None,
    access: Sequence[str] = ("host all all all scram-sha-256",),
    standby: bool = False,
) -> Iterator[Secured]:
    """A PostgreSQL of the test's own on loopback.

    `access` is its pg_hba.conf for TCP; `certificate` one for other names than `names`, or out of date.

    A standby has no primary here: it only takes no changes.
    """
    initdb, postgres = postgresql_program("initdb"), postgresql_program("postgres")
    folder = Path(tempfile.mkdtemp(prefix="postgresql-"))
    # A server of PostgreSQL refuses to run as root.
    user = next((name for name in ("postgres", "nobody") if _exists(name)), None) if os.geteuid() == 0 else None
    try:
        _prepare(folder, authority, certificate or authority.issue(*names))
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
                _wait(port, server)
                yield Secured(
                    host=names[0] if names else "localhost",
                    port=port,
                    ca=folder / "ca.pem",
                    username=SUPERUSER,
                    password=SUPERUSER_PASSWORD,
                )
            finally:
                server.send_signal(signal.SIGINT)
                server.wait(START_SECONDS)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _prepare(folder: Path, authority: Authority, certificate: tuple[bytes, bytes]) -> None:
    for name, content in (("ca.pem", authority.pem), ("server.pem", certificate[0]), ("server.key", certificate[1])):
        (folder / name).write_bytes(content)
        (folder / name).chmod(0o600)
    (folder / "password").write_text(SUPERUSER_PASSWORD)


def _exists(user: str) -> bool:
    try:
        pwd.getpwnam(user)
    except KeyError:
        return False
    return True


def free_port() -> int:
    """A port of 127.0.0.1 on which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _wait(port: int, server: "subprocess.Popen[bytes]") -> None:
    """Waits until the server answers logins."""
    limit = time.monotonic() + START_SECONDS
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
    """A running MySQL with other certificates, until the end.

    It must let its administrator write files (secure_file_priv is empty); these stay in its tmpdir.
    """
    cert, key = certificate or authority.issue(*(names or (server.host,)))
    (folder / "ca.pem").write_bytes(authority.pem)
    with server.administrator() as session:
        if session.run("SELECT @@secure_file_priv")[0][0] != "":
            pytest.skip("the MySQL server lets nobody write files: it cannot get another certificate")
        variables = ("ssl_ca", "ssl_cert", "ssl_key")
        before = session.run(f"SELECT {', '.join(f'@@{name}' for name in variables)}")[0]
        place = f"{session.run('SELECT @@tmpdir')[0][0]}/{os.urandom(8).hex()}"
        try:
            for name, content in zip(variables, (authority.pem, cert, key), strict=True):
                session.run(f"SELECT 0x{content.hex()} INTO DUMPFILE '{place}-{name}'")
                session.run(f"SET GLOBAL {name} = '{place}-{name}'")
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
