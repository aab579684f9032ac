"""Connection Secrets, URIs and variables: clients read each part back unchanged, whatever characters it contains."""

import re
import string
from types import MappingProxyType
from typing import Any
from urllib.parse import parse_qs, unquote, unquote_to_bytes, urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from psycopg.conninfo import conninfo_to_dict
from pymysql import Connection as MysqlConnection
from redis import Redis
from redis.connection import parse_url

from components.connection import Connection, build_environment_variables, build_uri, connection_secret_data
from components.engines import ENGINES
from tests.support import CANARY, NETWORK_ENGINES

HOSTILE = "%@:/?#[]&=+ '\"\\%2F%00é€💥{}$;`"
TEXTS = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=60) | st.text(
    "%@:/?#[]&=+ '\"\\", min_size=1, max_size=20
)
URI_RE = re.compile(r"[A-Za-z0-9:/?@%=&._~-]+")
"""A URI in which everything is percent-encoded, except for its delimiters."""


def create_connection(engine: str = "engine", **parts: Any) -> Connection:
    return Connection(engine=engine, provider="variant", **parts)


def build_engine_uri(engine: str, username: str | None, password: str, database: str, **engine_keys: str) -> str:
    """Return the URI that an engine builds for an account on its Service `<engine>-main`."""
    connection = create_connection(
        engine,
        host=f"{engine}-main",
        port=ENGINES[engine].port,
        username=username,
        password=password,
        database=database,
        engine_keys=MappingProxyType(engine_keys),
    )
    return ENGINES[engine].build_uri(connection)


@pytest.mark.parametrize(
    ("parts", "path", "query", "expected"),
    [
        ({"username": "user", "password": "pass"}, "data", None, "scheme://user:pass@host:1/data"),
        ({"password": "pass"}, "0", None, "scheme://:pass@host:1/0"),
        ({}, "", None, "scheme://host:1"),
        ({"username": "user"}, "data", None, "scheme://user@host:1/data"),
        ({"username": "us:er", "password": "p@ss/?#"}, "a/b", None, "scheme://us%3Aer:p%40ss%2F%3F%23@host:1/a%2Fb"),
        (
            {"username": "user", "password": "a+b c%"},
            "d",
            {"authSource": "a&b c"},
            "scheme://user:a%2Bb%20c%25@host:1/d?authSource=a%26b%20c",
        ),
        ({"username": "user", "password": "é"}, "", None, "scheme://user:%C3%A9@host:1"),
        ({"port": None}, "volume", None, "scheme://host/volume"),
        ({"host": "fd00::1"}, "", None, "scheme://[fd00::1]:1"),
    ],
    ids=["all parts", "no user", "no account", "no password", "delimiters", "query", "not ASCII", "no port", "IPv6"],
)
def test_build_uri_percent_encodes_every_part(
    parts: dict[str, Any], path: str, query: dict[str, str] | None, expected: str
) -> None:
    assert build_uri("scheme", create_connection(**{"host": "host", "port": 1, **parts}), path, query) == expected


@given(username=TEXTS, password=TEXTS, path=TEXTS, value=TEXTS)
@example(username=HOSTILE, password=HOSTILE, path=HOSTILE, value=HOSTILE)
def test_urllib_reads_back_every_part_of_a_uri(username: str, password: str, path: str, value: str) -> None:
    connection = create_connection(host="host", port=17, username=username, password=password)
    uri = build_uri("scheme", connection, path, {"key": value})
    assert URI_RE.fullmatch(uri)
    parts = urlsplit(uri)
    assert (parts.scheme, parts.hostname, parts.port, parts.fragment) == ("scheme", "host", 17, "")
    account = unquote(parts.username or ""), unquote(parts.password or "")
    assert (*account, unquote(parts.path[1:])) == (username, password, path)
    assert parse_qs(parts.query, keep_blank_values=True) == {"key": [value]}


@given(username=TEXTS, password=TEXTS, database=TEXTS)
@example(username=HOSTILE, password=HOSTILE, database=HOSTILE)
def test_psycopg_reads_back_the_uri_of_postgresql(username: str, password: str, database: str) -> None:
    assert conninfo_to_dict(build_engine_uri("postgresql", username, password, database)) == {
        "user": username,
        "password": password,
        "host": "postgresql-main",
        "port": "5432",
        "dbname": database,
    }


@given(username=TEXTS, password=TEXTS, database=TEXTS)
@example(username=HOSTILE, password=HOSTILE, database=HOSTILE)
def test_pymysql_accepts_the_parts_of_the_uri_of_mysql(username: str, password: str, database: str) -> None:
    def as_text(value: object) -> str:
        return value.decode() if isinstance(value, bytes) else str(value)  # the client stores some values as bytes

    parts = urlsplit(build_engine_uri("mysql", username, password, database))
    client = MysqlConnection(
        host=parts.hostname,
        port=parts.port or 0,
        user=unquote(parts.username or ""),
        password=unquote_to_bytes(parts.password or ""),  # PyMySQL encodes a text as latin-1
        database=unquote(parts.path[1:]),
        ssl_disabled=True,
        defer_connect=True,
    )
    assert parts.scheme == "mysql"
    assert (client.host, client.port) == ("mysql-main", 3306)
    assert [as_text(value) for value in (client.user, client.password, client.db)] == [username, password, database]


@given(password=TEXTS)
@example(password=HOSTILE)
def test_redis_client_reads_back_the_uri_of_redis(password: str) -> None:
    uri = build_engine_uri("redis", None, password, "3")
    expected = {"host": "redis-main", "port": 6379, "password": password, "db": 3}
    assert parse_url(uri) == expected  # type: ignore[no-untyped-call]
    assert expected.items() <= Redis.from_url(uri).connection_pool.connection_kwargs.items()


@given(username=TEXTS, password=TEXTS, vhost=TEXTS | st.just("/"))
@example(username=HOSTILE, password=HOSTILE, vhost=HOSTILE)
def test_urllib_reads_back_the_uri_of_rabbitmq(username: str, password: str, vhost: str) -> None:
    parts = urlsplit(build_engine_uri("rabbitmq", username, password, "", vhost=vhost))
    assert (parts.scheme, parts.hostname, parts.port) == ("amqp", "rabbitmq-main", 5672)
    account = unquote(parts.username or ""), unquote(parts.password or "")
    assert (*account, unquote(parts.path[1:])) == (username, password, vhost)


@pytest.mark.parametrize("engine", NETWORK_ENGINES)
def test_generated_account_needs_no_encoding(engine: str) -> None:
    account = ENGINES[engine].build_account("shop", "main")
    password = string.ascii_letters + string.digits
    uri = build_engine_uri(engine, account.username, password, account.database or "", **account.engine_keys)
    assert "%" not in uri


@pytest.mark.parametrize("engine", NETWORK_ENGINES)
@given(data=st.data())
def test_uri_of_any_account_has_one_host_and_only_parts_of_the_account(engine: str, data: st.DataObject) -> None:
    account = {key: data.draw(TEXTS | st.just(HOSTILE)) for key in ENGINES[engine].existing_account.keys}
    common = {key: account.get(key) for key in ("username", "password", "database")}
    engine_keys = MappingProxyType({key: value for key, value in account.items() if key not in common})
    uri = ENGINES[engine].build_uri(
        create_connection(engine, host="service", port=17, engine_keys=engine_keys, **common)
    )
    assert URI_RE.fullmatch(uri)
    parts = urlsplit(uri)
    assert (parts.hostname, parts.port or 17, parts.fragment) == ("service", 17, "")
    if parts.username is not None:
        expected = account.get("username", ""), account.get("password", "")
        assert (unquote(parts.username), unquote(parts.password or "")) == expected
    paths = {account[key] for key in ("database", "vhost", "volume") if key in account}
    assert unquote(parts.path[1:]) in paths | {""}
    query = parse_qs(parts.query, keep_blank_values=True)
    assert {value for values in query.values() for value in values} <= set(account.values())


def test_secret_has_no_key_for_a_missing_part() -> None:
    connection = create_connection("redis", host="redis", port=6379)
    assert connection_secret_data(connection, "redis://redis:6379") == {
        "type": "redis",
        "provider": "variant",
        "host": "redis",
        "port": "6379",
        "uri": "redis://redis:6379",
    }


def test_secret_contains_the_keys_of_the_engine() -> None:
    connection = create_connection(host="h", port=1, engine_keys=MappingProxyType({"token": "t", "org": "o"}))
    data = connection_secret_data(connection, "u")
    assert data == {
        "type": "engine",
        "provider": "variant",
        "host": "h",
        "port": "1",
        "uri": "u",
        "token": "t",
        "org": "o",
    }


def test_representation_of_a_connection_hides_credentials() -> None:
    assert CANARY not in repr(create_connection(password=CANARY, engine_keys=MappingProxyType({"token": CANARY})))


SECRET_DATA = {
    "type": "mysql",
    "provider": "mysql",
    "host": "mysql",
    "port": "3306",
    "username": "u",
    "password": "p",
    "database": "d",
    "uri": "mysql://…",
}
LONG_VARIABLES = {
    "MYSQL_MAIN_ADDRESS": "mysql",
    "MYSQL_MAIN_PORT": "3306",
    "MYSQL_MAIN_USERNAME": "u",
    "MYSQL_MAIN_PASSWORD": "p",
    "MYSQL_MAIN_DATABASE": "d",
    "MYSQL_MAIN_URL": "mysql://…",
}


def test_group_that_is_not_primary_has_only_long_variables() -> None:
    assert build_environment_variables("mysql", "main", SECRET_DATA, is_primary=False) == LONG_VARIABLES


def test_primary_group_also_has_short_variables() -> None:
    short_variables = {key.replace("_MAIN", ""): value for key, value in LONG_VARIABLES.items()}
    variables = build_environment_variables("mysql", "main", SECRET_DATA, is_primary=True)
    assert variables == LONG_VARIABLES | short_variables


def test_keys_of_the_engine_become_variables() -> None:
    data = {"type": "influxdb", "token": "t", "ca.crt": "c"}
    assert build_environment_variables("influxdb", "main", data, is_primary=False) == {
        "INFLUXDB_MAIN_TOKEN": "t",
        "INFLUXDB_MAIN_CA_CRT": "c",
    }
