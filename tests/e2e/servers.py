"""Database servers outside the cluster, with connections as their administrators and as applications."""

import os
from collections.abc import Callable
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

import psycopg
import pymysql
import pytest

REFUSED = (psycopg.Error, pymysql.MySQLError)
"""Errors of a rejected login or statement."""

VARIABLES = {
    "postgresql": "LAB_POSTGRESQL_URL",
    "postgresql-limited": "LAB_POSTGRESQL_LIMITED_URL",
    "postgresql17": "LAB_POSTGRESQL17_URL",
    "postgresql17-limited": "LAB_POSTGRESQL17_LIMITED_URL",
    "mysql": "LAB_MYSQL_URL",
    "mariadb": "LAB_MARIADB_URL",
}


def variable(name: str) -> str:
    """Return the value of an environment variable. Skip the test if it is not set."""
    value = os.environ.get(name)
    if not value:
        pytest.skip(f"{name} is not set; set it to the server for this test")
    return value


class DatabaseServer:
    """A server, described by the URL of its administrator."""

    def __init__(self, url: SplitResult) -> None:
        self.url = url
        self.engine = url.scheme
        assert url.hostname
        assert url.port
        self.host, self.port = url.hostname, url.port
        self.username, self.password = unquote(url.username or ""), unquote(url.password or "")

    @property
    def maintenance(self) -> str:
        """Return the database that every server has."""
        return {"postgresql": "postgres", "mysql": "mysql"}[self.engine]

    def as_server(self, tls: str | None = None) -> dict[str, Any]:
        """Return the entry of `externalServers` for the server."""
        return {
            "engine": self.engine,
            "host": self.host,
            "port": self.port,
            "tls": tls or {"postgresql": "disable", "mysql": "require"}[self.engine],
            "administrator": {"username": self.username, "password": self.password},
        }

    def login(self, uri: str, database: str | None = None) -> "Session":
        """Log in with the account of an application's URI, at the server's own address."""
        parts = urlsplit(uri)
        return self.session(
            unquote(parts.username or ""), unquote(parts.password or ""), database or unquote(parts.path[1:])
        )

    def administrator(self, database: str | None = None) -> "Session":
        """Log in as the administrator."""
        return self.session(self.username, self.password, database or self.maintenance)

    def session(self, username: str, password: str, database: str) -> "Session":
        """Log in. Raise one of REFUSED if the server rejects the login."""
        connect: dict[str, Callable[..., Any]] = {"postgresql": self._postgresql, "mysql": self._mysql}
        return Session(connect[self.engine](username, password, database))

    def _postgresql(self, username: str, password: str, database: str) -> Any:
        return psycopg.connect(
            host=self.host,
            port=self.port,
            user=username,
            password=password,
            dbname=database,
            connect_timeout=5,
            autocommit=True,
        )

    def _mysql(self, username: str, password: str, database: str) -> Any:
        secret: Any = password.encode()  # PyMySQL would encode a text as latin-1; servers expect UTF-8
        # For a moment, another test can configure the server to require TLS.
        encrypted = {"check_hostname": False, "verify_mode": "none"}
        return pymysql.connect(
            host=self.host,
            port=self.port,
            user=username,
            password=secret,
            database=database,
            connect_timeout=5,
            autocommit=True,
            ssl=encrypted,
        )

    def drop(self, *names: str) -> None:
        """Drop databases and users of an earlier test. Dropping a role also drops its memberships."""
        with self.administrator() as session:
            for name in names:
                if self.engine == "postgresql":
                    session.run(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
                    session.run(f'DROP ROLE IF EXISTS "{name}"')
                else:
                    session.run(f"DROP DATABASE IF EXISTS `{name}`")
                    session.run(f"DROP USER IF EXISTS '{name}'@'%'")

    def databases(self) -> set[str]:
        """Return the names of the databases."""
        query = {
            "postgresql": "SELECT datname FROM pg_database",
            "mysql": "SELECT schema_name FROM information_schema.schemata",
        }[self.engine]
        with self.administrator() as session:
            return {str(row[0]) for row in session.run(query)}

    def names(self) -> set[str]:
        """Return the names of the databases and of the users."""
        queries = {
            "postgresql": ("SELECT datname FROM pg_database", "SELECT rolname FROM pg_roles"),
            "mysql": ("SELECT schema_name FROM information_schema.schemata", "SELECT user FROM mysql.user"),
        }[self.engine]
        with self.administrator() as session:
            return {str(row[0]) for query in queries for row in session.run(query)}


class Session:
    """A connection of one user to one database."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def run(self, statement: str) -> list[tuple[Any, ...]]:
        """Run a statement and return its rows."""
        cursor = self._connection.cursor()
        cursor.execute(statement)
        return list(cursor.fetchall()) if cursor.description else []

    def __enter__(self) -> "Session":
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()


def lab_server(name: str) -> DatabaseServer:
    """Return a server by its name. Skip the test if it is not configured."""
    return DatabaseServer(urlsplit(variable(VARIABLES[name])))
