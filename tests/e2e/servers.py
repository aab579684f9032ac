"""Database servers outside the cluster, as their administrators and as the applications on them."""

import os
from collections.abc import Callable
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

import psycopg
import pymysql
import pytest

REFUSED = (psycopg.Error, pymysql.MySQLError)

VARIABLES = {
    "postgresql": "LAB_POSTGRESQL_URL",
    "postgresql-limited": "LAB_POSTGRESQL_LIMITED_URL",
    "postgresql17": "LAB_POSTGRESQL17_URL",
    "postgresql17-limited": "LAB_POSTGRESQL17_LIMITED_URL",
    "mysql": "LAB_MYSQL_URL",
    "mariadb": "LAB_MARIADB_URL",
}


def variable(name: str) -> str:
    """The value of a variable. Skips the test where it is not set."""
    value = os.environ.get(name)
    if not value:
        pytest.skip(f"{name} is not set: no such server to test with")
    return value


class DatabaseServer:
    """A server by its administrator's URL."""

    def __init__(self, url: SplitResult) -> None:
        self.url = url
        self.engine = url.scheme
        assert url.hostname
        assert url.port
        self.host, self.port = url.hostname, url.port
        self.username, self.password = unquote(url.username or ""), unquote(url.password or "")

    @property
    def maintenance(self) -> str:
        """The database that every server has."""
        return {"postgresql": "postgres", "mysql": "mysql"}[self.engine]

    def as_server(self, tls: str | None = None) -> dict[str, Any]:
        """The server as a stack file has it."""
        return {
            "engine": self.engine,
            "host": self.host,
            "port": self.port,
            "tls": tls or {"postgresql": "disable", "mysql": "require"}[self.engine],
            "administrator": {"username": self.username, "password": self.password},
        }

    def login(self, uri: str, database: str | None = None) -> "Session":
        """Logs in with an application's URI, at the place where this process reaches the server."""
        parts = urlsplit(uri)
        return self.session(
            unquote(parts.username or ""), unquote(parts.password or ""), database or unquote(parts.path[1:])
        )

    def administrator(self, database: str | None = None) -> "Session":
        """Logs in as the administrator."""
        return self.session(self.username, self.password, database or self.maintenance)

    def session(self, username: str, password: str, database: str) -> "Session":
        """Logs in. Raises one of REFUSED where that is refused."""
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
        # PyMySQL would write letters outside ASCII in latin-1; servers and other clients take them for UTF-8.
        secret: Any = password.encode()
        encrypted = {
            "check_hostname": False,
            "verify_mode": "none",
        }  # other tests may let the server refuse anything else for a moment
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
        """Removes databases and users that a test has left. An administrator who is no superuser gives up memberships with the role."""
        with self.administrator() as session:
            for name in names:
                if self.engine == "postgresql":
                    session.run(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
                    session.run(f'DROP ROLE IF EXISTS "{name}"')
                else:
                    session.run(f"DROP DATABASE IF EXISTS `{name}`")
                    session.run(f"DROP USER IF EXISTS '{name}'@'%'")

    def databases(self) -> set[str]:
        """The databases that there are."""
        query = {
            "postgresql": "SELECT datname FROM pg_database",
            "mysql": "SELECT schema_name FROM information_schema.schemata",
        }[self.engine]
        with self.administrator() as session:
            return {str(row[0]) for row in session.run(query)}

    def names(self) -> set[str]:
        """The databases and the users that there are."""
        queries = {
            "postgresql": ("SELECT datname FROM pg_database", "SELECT rolname FROM pg_roles"),
            "mysql": ("SELECT schema_name FROM information_schema.schemata", "SELECT user FROM mysql.user"),
        }[self.engine]
        with self.administrator() as session:
            return {str(row[0]) for query in queries for row in session.run(query)}


class Session:
    """A connection as one user to one database."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def run(self, statement: str) -> list[tuple[Any, ...]]:
        """Runs a statement and returns its rows."""
        cursor = self._connection.cursor()
        cursor.execute(statement)
        return list(cursor.fetchall()) if cursor.description else []

    def __enter__(self) -> "Session":
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()


def lab_server(name: str) -> DatabaseServer:
    """A server by its name. Skips the test where there is none."""
    return DatabaseServer(urlsplit(variable(VARIABLES[name])))
