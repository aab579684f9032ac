"""What an application is told leads back to what was meant, for any password, as each engine's own client reads it."""

import re
import string
from types import MappingProxyType
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
from tests.support import NETWORK_ENGINES

HOSTILE = "%@:/?#[]&=+ '\"\\%2F%00é€💥{}$;`"
WORDS = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=60) | st.text(
    "%@:/?#[]&=+ '\"\\", min_size=1, max_size=20
)


def connection(engine: str, username: str | None, password: str, database: str) -> Connection:
    return Connection(
        engine=engine,
        provider="variant",
        host=f"{engine}-main",
        port=ENGINES[engine].port,
        username=username,
        password=password,
        database=database,
    )


@pytest.mark.parametrize(
    ("username", "password", "path", "query", "expected"),
    [
        ("user", "word", "data", None, "scheme://user:word@host:1/data"),
        (None, "word", "0", None, "scheme://:word@host:1/0"),
        (None, None, "", None, "scheme://host:1"),
        ("user", None, "data", None, "scheme://user@host:1/data"),
        ("us:er", "w@rd/?#", "a/b", None, "scheme://us%3Aer:w%40rd%2F%3F%23@host:1/a%2Fb"),
        ("user", "a+b c%", "d", {"authSource": "a&b c"}, "scheme://user:a%2Bb%20c%25@host:1/d?authSource=a%26b%20c"),
        ("user", "é", "", None, "scheme://user:%C3%A9@host:1"),
    ],
    ids=["whole", "no user", "nobody", "no password", "delimiters", "query", "no ASCII"],
)
def test_every_part_of_a_uri_is_percent_encoded(
    username: str | None, password: str | None, path: str, query: dict[str, str] | None, expected: str
) -> None:
    told = Connection(engine="engine", provider="variant", host="host", port=1, username=username, password=password)
    assert build_uri("scheme", told, path, query) == expected


def test_a_uri_without_a_port_has_no_colon() -> None:
    assert (
        build_uri("glusterfs", Connection(engine="e", provider="f", host="host"), "volume") == "glusterfs://host/volume"
    )


@given(username=WORDS, password=WORDS, path=WORDS, value=WORDS)
@example(username=HOSTILE, password=HOSTILE, path=HOSTILE, value=HOSTILE)
def test_any_part_of_a_uri_is_read_back_by_urllib(username: str, password: str, path: str, value: str) -> None:
    told = Connection(engine="e", provider="f", host="host", port=17, username=username, password=password)
    uri = build_uri("scheme", told, path, {"key": value})
    assert re.fullmatch(r"[A-Za-z0-9:/?@%=&._~-]+", uri)
    parts = urlsplit(uri)
    assert (parts.scheme, parts.hostname, parts.port, parts.fragment) == ("scheme", "host", 17, "")
    assert (unquote(parts.username or ""), unquote(parts.password or ""), unquote(parts.path[1:])) == (
        username,
        password,
        path,
    )
    assert parse_qs(parts.query, keep_blank_values=True) == {"key": [value]}


@given(username=WORDS, password=WORDS, database=WORDS)
@example(username=HOSTILE, password=HOSTILE, database=HOSTILE)
def test_psycopg_reads_back_what_the_uri_of_postgresql_was_made_of(username: str, password: str, database: str) -> None:
    uri = ENGINES["postgresql"].build_uri(connection("postgresql", username, password, database))
    assert conninfo_to_dict(uri) == {
        "user": username,
        "password": password,
        "host": "postgresql-main",
        "port": "5432",
        "dbname": database,
    }


@given(username=WORDS, password=WORDS, database=WORDS)
@example(username=HOSTILE, password=HOSTILE, database=HOSTILE)
def test_pymysql_gets_from_the_uri_of_mysql_what_it_was_made_of(username: str, password: str, database: str) -> None:
    parts = urlsplit(ENGINES["mysql"].build_uri(connection("mysql", username, password, database)))
    client = MysqlConnection(
        host=parts.hostname,
        port=parts.port or 0,
        user=unquote(parts.username or ""),
        password=unquote_to_bytes(parts.password or ""),  # a text must be of latin-1
        database=unquote(parts.path[1:]),
        ssl_disabled=True,
        defer_connect=True,
    )
    assert parts.scheme == "mysql"
    assert (client.host, client.port) == ("mysql-main", 3306)
    assert (_text(client.user), _text(client.password), _text(client.db)) == (username, password, database)


def _text(value: object) -> str:
    """A value of the client, which keeps some as the bytes that it sends."""
    return value.decode() if isinstance(value, bytes) else str(value)


@given(password=WORDS)
@example(password=HOSTILE)
def test_the_client_of_redis_reads_back_what_its_uri_was_made_of(password: str) -> None:
    uri = ENGINES["redis"].build_uri(connection("redis", None, password, "3"))
    assert parse_url(uri) == {"host": "redis-main", "port": 6379, "password": password, "db": 3}  # type: ignore[no-untyped-call]
    settings = Redis.from_url(uri).connection_pool.connection_kwargs
    assert (settings["host"], settings["port"], settings["password"], settings["db"]) == (
        "redis-main",
        6379,
        password,
        3,
    )


@pytest.mark.parametrize("engine", NETWORK_ENGINES)
def test_a_generated_account_needs_no_encoding(engine: str) -> None:
    account = ENGINES[engine].build_account("shop", "main")
    told = Connection(
        engine=engine,
        provider="variant",
        host=engine,
        port=ENGINES[engine].port,
        username=account.username,
        password=string.ascii_letters + string.digits,
        database=account.database,
        engine_keys=account.engine_keys,
    )
    assert "%" not in ENGINES[engine].build_uri(told)


@pytest.mark.parametrize("engine", NETWORK_ENGINES)
@given(data=st.data())
def test_any_account_makes_a_uri_that_leads_to_its_host(engine: str, data: st.DataObject) -> None:
    """Whatever is in its parts, a URI has one host, and names no other part than it has."""
    told = {key: data.draw(WORDS | st.just(HOSTILE)) for key in ENGINES[engine].existing_account.keys}
    extra = {key: value for key, value in told.items() if key not in ("username", "password", "database")}
    made = Connection(
        engine=engine,
        provider="variant",
        host="service",
        port=17,
        username=told.get("username"),
        password=told.get("password"),
        database=told.get("database"),
        engine_keys=MappingProxyType(extra),
    )
    uri = ENGINES[engine].build_uri(made)
    assert re.fullmatch(r"[A-Za-z0-9:/?@%=&._~-]+", uri)
    parts = urlsplit(uri)
    assert (parts.hostname, parts.port or 17, parts.fragment) == ("service", 17, "")
    if parts.username is not None:
        assert (unquote(parts.username), unquote(parts.password or "")) == (
            told.get("username", ""),
            told.get("password", ""),
        )
    places = {told[key] for key in ("database", "vhost", "volume") if key in told}
    assert {unquote(parts.path[1:])} <= places | {""}
    if parts.query:
        assert all(
            value in told.values()
            for values in parse_qs(parts.query, keep_blank_values=True).values()
            for value in values
        )


@given(username=WORDS, password=WORDS, vhost=WORDS | st.just("/"))
@example(username=HOSTILE, password=HOSTILE, vhost=HOSTILE)
def test_a_client_of_rabbitmq_gets_from_its_uri_what_it_was_made_of(username: str, password: str, vhost: str) -> None:
    made = Connection(
        engine="rabbitmq",
        provider="rabbitmq",
        host="rabbitmq-main",
        port=5672,
        username=username,
        password=password,
        engine_keys=MappingProxyType({"vhost": vhost}),
    )
    parts = urlsplit(ENGINES["rabbitmq"].build_uri(made))
    assert (parts.scheme, parts.hostname, parts.port) == ("amqp", "rabbitmq-main", 5672)
    assert (unquote(parts.username or ""), unquote(parts.password or ""), unquote(parts.path[1:])) == (
        username,
        password,
        vhost,
    )


def test_a_part_that_an_engine_does_not_have_is_left_out_and_not_empty() -> None:
    bare = Connection(engine="redis", provider="valkey", host="redis", port=6379)
    assert connection_secret_data(bare, "redis://redis:6379") == {
        "type": "redis",
        "provider": "valkey",
        "host": "redis",
        "port": "6379",
        "uri": "redis://redis:6379",
    }


def test_an_engines_own_keys_are_told_beside_the_common_ones() -> None:
    told = Connection(
        engine="e", provider="f", host="h", port=1, engine_keys=MappingProxyType({"token": "t", "org": "o"})
    )
    assert connection_secret_data(told, "u") == {
        "type": "e",
        "provider": "f",
        "host": "h",
        "port": "1",
        "uri": "u",
        "token": "t",
        "org": "o",
    }


def test_a_connection_does_not_show_its_password_or_token() -> None:
    told = Connection(engine="e", provider="f", password="c4narY", engine_keys=MappingProxyType({"token": "c4narY"}))
    assert "c4narY" not in repr(told)


KEYS = {
    "type": "mysql",
    "provider": "mysql",
    "host": "mysql",
    "port": "3306",
    "username": "u",
    "password": "p",
    "database": "d",
    "uri": "mysql://…",
}
LONG = {
    "MYSQL_MAIN_ADDRESS": "mysql",
    "MYSQL_MAIN_PORT": "3306",
    "MYSQL_MAIN_USERNAME": "u",
    "MYSQL_MAIN_PASSWORD": "p",
    "MYSQL_MAIN_DATABASE": "d",
    "MYSQL_MAIN_URL": "mysql://…",
}


def test_a_group_without_the_default_names_has_only_long_variables() -> None:
    assert build_environment_variables("mysql", "main", KEYS, is_primary=False) == LONG


def test_a_group_with_the_default_names_has_short_variables_too() -> None:
    short = {key.replace("_MAIN", ""): value for key, value in LONG.items()}
    assert build_environment_variables("mysql", "main", KEYS, is_primary=True) == LONG | short


def test_an_engines_own_keys_become_variables() -> None:
    assert build_environment_variables("influxdb", "main", {"type": "influxdb", "token": "t"}, is_primary=False) == {
        "INFLUXDB_MAIN_TOKEN": "t"
    }
