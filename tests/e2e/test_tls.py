"""TLS to servers with a certificate of an authority of the test's own: the administrator verifies it, and so does an application with what it is told."""

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
from tests.e2e.tls import Authority, Secured, mysql_with_tls, postgresql_with_tls

CA = "ca.crt"
ONLY_ENCRYPTED = ("hostssl all all all scram-sha-256",)


def stack(engine: str, secured: Secured, tls: str | None) -> dict[str, Any]:
    """An application with a database on a server whose authority is in a file of the project's."""
    group = {"server": {"kind": "external", "provisionOn": "hq", **({"tls": tls} if tls else {})}}
    administrator = {"username": secured.username, "password": secured.password}
    return {
        "externalServers": {
            "hq": {
                "engine": engine,
                "host": secured.host,
                "port": secured.port,
                "caFile": CA,
                "administrator": administrator,
            }
        },
        "applications": {"sealed": {"databases": {engine: {"main": group}}}},
    }


def test_postgresql(
    project: Project, cluster: Cluster, server: Callable[[str], DatabaseServer], tmp_path: Path
) -> None:
    """A server that lets nobody in without TLS. libpq verifies by the URI alone, once it finds the authority where the Secret was mounted."""
    authority, lab = Authority(), server("postgresql")
    (project.folder / CA).write_bytes(authority.pem)
    other = tmp_path / "other.crt"
    other.write_bytes(Authority("Another").pem)
    with postgresql_with_tls(authority, lab.host, access=ONLY_ENCRYPTED) as secured:
        project.new("sealed", stack("postgresql", secured, "verify-full"))
        project.up("sealed").succeeded()
        project.settles("sealed")
        keys = cluster.secret("sealed", "postgresql-main")
        mounted = tmp_path / "ca.crt"
        mounted.write_text(keys["ca.crt"])
        assert keys["host"] == "postgresql"
        assert urlsplit(keys["uri"]).hostname == secured.host
        with psycopg.connect(keys["uri"], sslrootcert=str(mounted)) as connection:
            assert connection.execute("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()").fetchone() == (True,)
        with pytest.raises(psycopg.OperationalError, match="certificate verify failed"):
            psycopg.connect(keys["uri"], sslrootcert=str(other))
        # The Service's name is in no certificate: this is why the URI has the server's own.
        with pytest.raises(psycopg.OperationalError, match="does not match host name"):
            psycopg.connect(keys["uri"], host="postgresql", hostaddr="127.0.0.1", sslrootcert=str(mounted))
        assert cluster.secret("sealed", "sealed-databases")["POSTGRESQL_CA_CRT"] == keys["ca.crt"]

        project.write("sealed", stack("postgresql", secured, "require"))
        project.up("sealed").succeeded()
        keys = cluster.secret("sealed", "postgresql-main")
        assert parse_qs(urlsplit(keys["uri"]).query) == {"sslmode": ["require"]}
        assert urlsplit(keys["uri"]).hostname == "postgresql"
        with psycopg.connect(keys["uri"], hostaddr="127.0.0.1") as connection:
            assert connection.execute("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()").fetchone() == (True,)
        project.destroy("sealed").succeeded()


def test_mysql(project: Project, cluster: Cluster, server: Callable[[str], DatabaseServer], tmp_path: Path) -> None:
    """The provider knows no authorities but the machine's, so Pulumi is given a bundle of them with this one."""
    authority, mysql = Authority(), server("mysql")
    mysql.drop("sealed_main")
    (project.folder / CA).write_bytes(authority.pem)
    try:
        with mysql_with_tls(mysql, tmp_path, authority, mysql.host) as secured:
            project.new("sealed", stack("mysql", secured, "verify-full"))
            refused = project.up("sealed").failed().output
            assert "SSL_CERT_FILE" in refused
            project.environment["SSL_CERT_FILE"] = str(secured.ca)
            project.up("sealed").succeeded()
            project.settles("sealed")
            keys = cluster.secret("sealed", "mysql-main")
            parts = urlsplit(keys["uri"])
            assert (parts.hostname, keys["host"]) == (secured.host, "mysql")
            assert parse_qs(parts.query) == {"ssl-mode": ["VERIFY_IDENTITY"]}
            with login(keys, parts.hostname or "", keys["ca.crt"]) as connection, connection.cursor() as cursor:
                cursor.execute("SHOW STATUS LIKE 'Ssl_cipher'")
                assert cursor.fetchone()[1]
            with pytest.raises(pymysql.OperationalError, match="CERTIFICATE_VERIFY_FAILED"):
                login(keys, parts.hostname or "", Authority("Another").pem.decode())
            project.destroy("sealed").succeeded()
    finally:
        project.clean_up()
        mysql.drop("sealed_main")


def login(keys: dict[str, str], host: str, authorities: str) -> Any:
    """Logs in as a client of MySQL does that is to verify the server's identity."""
    parts = urlsplit(keys["uri"])
    context = ssl.create_default_context(cadata=authorities)
    return pymysql.connect(
        host=host,
        port=parts.port or 0,
        user=keys["username"],
        password=unquote(parts.password or ""),
        database=keys["database"],
        ssl=context,
    )
