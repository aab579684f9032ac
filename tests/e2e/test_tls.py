"""TLS to servers with a certificate of a private CA, for the administrator and for applications."""

import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import psycopg
import pymysql
import pytest

from tests.e2e.cluster import Cluster
from tests.e2e.project import Project
from tests.e2e.servers import DatabaseServer
from tests.e2e.test_copies import create_databases, open_copies
from tests.e2e.tls import Authority, Secured, mysql_with_tls, postgresql_with_tls

CA_FILE = "ca.crt"
REQUIRE_TLS = ("hostssl all all all scram-sha-256",)


def build_stack(engine: str, secured: Secured, tls: str) -> dict[str, Any]:
    """Return a stack with one application, whose database is on a server with a private CA."""
    server = {
        "engine": engine,
        "host": secured.host,
        "port": secured.port,
        "caFile": CA_FILE,
        "administrator": {"username": secured.username, "password": secured.password},
    }
    group = {"server": {"kind": "external", "provisionOn": "hq", "tls": tls}}
    return {"externalServers": {"hq": server}, "applications": {"sealed": {"databases": {engine: {"main": group}}}}}


def test_postgresql_client_verifies_the_server_with_the_connection_secret(
    project: Project, cluster: Cluster, server: Callable[[str], DatabaseServer], tmp_path: Path
) -> None:
    """The server requires TLS. libpq needs only the URI, and the CA certificate from the mounted Secret."""
    authority, lab = Authority(), server("postgresql")
    (project.folder / CA_FILE).write_bytes(authority.pem)
    other_ca = tmp_path / "other.crt"
    other_ca.write_bytes(Authority("Another").pem)
    is_encrypted = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
    with postgresql_with_tls(authority, lab.host, access=REQUIRE_TLS) as secured:
        project.new("sealed", build_stack("postgresql", secured, "verify-full"))
        project.up("sealed").succeeded()
        project.assert_settled("sealed")
        data = cluster.read_secret("sealed", "postgresql-main")
        mounted_ca = tmp_path / "ca.crt"
        mounted_ca.write_text(data["ca.crt"])
        assert data["host"] == "postgresql"
        assert urlsplit(data["uri"]).hostname == secured.host
        with psycopg.connect(data["uri"], sslrootcert=str(mounted_ca)) as connection:
            assert connection.execute(is_encrypted).fetchone() == (True,)
        with pytest.raises(psycopg.OperationalError, match="certificate verify failed"):
            psycopg.connect(data["uri"], sslrootcert=str(other_ca))
        # The certificate does not contain the Service's name, so the URI has the server's own name.
        with pytest.raises(psycopg.OperationalError, match="does not match host name"):
            psycopg.connect(data["uri"], host="postgresql", hostaddr="127.0.0.1", sslrootcert=str(mounted_ca))
        assert cluster.read_secret("sealed", "sealed-databases")["POSTGRESQL_CA_CRT"] == data["ca.crt"]

        project.write("sealed", build_stack("postgresql", secured, "require"))
        project.up("sealed").succeeded()
        data = cluster.read_secret("sealed", "postgresql-main")
        assert parse_qs(urlsplit(data["uri"]).query) == {"sslmode": ["require"]}
        assert urlsplit(data["uri"]).hostname == "postgresql"
        with psycopg.connect(data["uri"], hostaddr="127.0.0.1") as connection:
            assert connection.execute(is_encrypted).fetchone() == (True,)
        project.destroy("sealed").succeeded()


def test_mysql_client_verifies_the_server_with_the_connection_secret(
    project: Project, cluster: Cluster, server: Callable[[str], DatabaseServer], tmp_path: Path
) -> None:
    """The provider uses only the system's CAs, so Pulumi runs with a bundle that contains the private CA."""
    authority, mysql = Authority(), server("mysql")
    mysql.drop("sealed_main")
    (project.folder / CA_FILE).write_bytes(authority.pem)
    try:
        with mysql_with_tls(mysql, tmp_path, authority, mysql.host) as secured:
            project.new("sealed", build_stack("mysql", secured, "verify-full"))
            assert "SSL_CERT_FILE" in project.up("sealed").failed().output
            project.environment["SSL_CERT_FILE"] = str(secured.ca)
            project.up("sealed").succeeded()
            project.assert_settled("sealed")
            data = cluster.read_secret("sealed", "mysql-main")
            parts = urlsplit(data["uri"])
            assert (parts.hostname, data["host"]) == (secured.host, "mysql")
            assert parse_qs(parts.query) == {"ssl-mode": ["VERIFY_IDENTITY"]}
            with login_to_mysql(data, data["ca.crt"]) as connection, connection.cursor() as cursor:
                cursor.execute("SHOW STATUS LIKE 'Ssl_cipher'")
                assert cursor.fetchone()[1]
            with pytest.raises(pymysql.OperationalError, match="CERTIFICATE_VERIFY_FAILED"):
                login_to_mysql(data, Authority("Another").pem.decode())
            project.destroy("sealed").succeeded()
    finally:
        project.clean_up()
        mysql.drop("sealed_main")


def test_copy_scripts_of_mysql_use_the_tls_mode(server: Callable[[str], DatabaseServer], tmp_path: Path) -> None:
    authority, mysql, name = Authority(), server("mysql"), "sealed_copy"
    copies = open_copies(mysql, tmp_path)
    mysql.drop(name)
    create_databases(mysql, name)
    other = tmp_path / "other.pem"
    other.write_bytes(Authority("Another").pem)
    try:
        with mysql_with_tls(mysql, tmp_path, authority, mysql.host) as secured:
            modes = (("", ""), ("disable", ""), ("require", ""), ("verify-full", str(secured.ca)))
            for tls, ca_file in modes:
                done = copies.run("dump", name, TLS=tls, CA_FILE=ca_file)
                assert done.returncode == 0, (tls, done.stderr)
            assert "verify failed" in copies.fail("dump", name, TLS="verify-full", CA_FILE=str(other))
            # The system's CA certificates do not contain the one of the test.
            assert "verify failed" in copies.fail("dump", name, TLS="verify-full")
    finally:
        mysql.drop(name)


def login_to_mysql(data: dict[str, str], ca_certificates: str) -> Any:
    """Log in with a connection Secret, and verify the server's identity."""
    parts = urlsplit(data["uri"])
    return pymysql.connect(
        host=parts.hostname,
        port=parts.port or 0,
        user=data["username"],
        password=unquote(parts.password or ""),
        database=data["database"],
        ssl=ssl.create_default_context(cadata=ca_certificates),
    )
