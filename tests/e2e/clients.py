"""How applications use each engine with its client library.

A client gets the URI of a Secret and the IP address of the Service, because only Pods can resolve the Service's name.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

import pika
import pika.exceptions
import psycopg
import pymysql
import redis
from influxdb_client.client.influxdb_client import InfluxDBClient
from influxdb_client.client.write_api import SYNCHRONOUS
from influxdb_client.rest import ApiException

from tests.e2e.cluster import wait_for

VALUE = 42

Keys = Mapping[str, str]
"""Keys and values of the connection Secret."""


def replace_host(keys: Keys, address: str) -> str:
    """Return the URI with an IP address instead of the Service's name."""
    parts = urlsplit(keys["uri"])
    return parts._replace(
        netloc=parts.netloc.replace(f"{keys['host']}:{keys['port']}", f"{address}:{keys['port']}")
    ).geturl()


@dataclass(frozen=True, kw_only=True)
class Library:
    """How an application writes a value to its database and reads it."""

    write: Callable[[Keys, str], None]
    read: Callable[[Keys, str], Any]
    login_error: type[BaseException] | tuple[type[BaseException], ...]
    """Error of a login with a wrong password."""


def connect_postgresql(uri: str, address: str) -> "psycopg.Connection[Any]":
    """Connect with a URI to the address of its host."""
    return psycopg.connect(uri, hostaddr=address, connect_timeout=5, autocommit=True)


def _write_postgresql(keys: Keys, address: str) -> None:
    with connect_postgresql(keys["uri"], address) as connection:
        connection.execute("CREATE TABLE library_values (value int)")
        connection.execute("INSERT INTO library_values VALUES (%s)", (VALUE,))


def _read_postgresql(keys: Keys, address: str) -> Any:
    with connect_postgresql(keys["uri"], address) as connection:
        row = connection.execute("SELECT value FROM library_values").fetchone()
        return row[0] if row else None


def connect_mysql(uri: str, address: str) -> Any:
    """Connect with a URI to the address of its host."""
    parts = urlsplit(uri)
    user, password, database = (unquote(part or "") for part in (parts.username, parts.password, parts.path[1:]))
    return pymysql.connect(
        host=address, port=parts.port or 0, user=user, password=password, database=database, autocommit=True
    )


def _write_mysql(keys: Keys, address: str) -> None:
    with connect_mysql(keys["uri"], address) as connection:
        connection.cursor().execute("CREATE TABLE library_values (value int)")
        connection.cursor().execute("INSERT INTO library_values VALUES (%s)", (VALUE,))


def _read_mysql(keys: Keys, address: str) -> Any:
    with connect_mysql(keys["uri"], address) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT value FROM library_values")
        return cursor.fetchone()[0]


def _write_redis(keys: Keys, address: str) -> None:
    with redis.Redis.from_url(replace_host(keys, address)) as connection:
        connection.set("library", VALUE)


def _read_redis(keys: Keys, address: str) -> Any:
    with redis.Redis.from_url(replace_host(keys, address)) as connection:
        value: Any = connection.get("library")
        return int(value)


def _write_rabbitmq(keys: Keys, address: str) -> None:
    with pika.BlockingConnection(pika.URLParameters(replace_host(keys, address))) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        channel.queue_declare("library", durable=True, arguments={"x-queue-type": "quorum"})
        channel.basic_publish("", "library", str(VALUE).encode(), pika.BasicProperties(delivery_mode=2))


def _read_rabbitmq(keys: Keys, address: str) -> Any:
    with pika.BlockingConnection(pika.URLParameters(replace_host(keys, address))) as connection:
        method, _, body = connection.channel().basic_get(
            "library"
        )  # without an acknowledgement, the message stays in the queue
        return int(body) if method and body else None


def connect_influxdb(keys: Keys, address: str) -> InfluxDBClient:
    """Connect with the keys of a Secret to the address of its host."""
    return InfluxDBClient(replace_host(keys, address), keys["token"], org=keys["org"])


def _write_influxdb(keys: Keys, address: str) -> None:
    with connect_influxdb(keys, address) as client, client.write_api(write_options=SYNCHRONOUS) as writer:
        writer.write(keys["bucket"], record=f"library value={VALUE}")


def _read_influxdb(keys: Keys, address: str) -> Any:
    with connect_influxdb(keys, address) as client:
        tables = client.query_api().query(f'from(bucket: "{keys["bucket"]}") |> range(start: -1h) |> last()')
        return tables[0].records[0].get_value() if tables else None


LIBRARIES: Mapping[str, Library] = {
    "influxdb": Library(write=_write_influxdb, read=_read_influxdb, login_error=ApiException),
    "mysql": Library(write=_write_mysql, read=_read_mysql, login_error=pymysql.OperationalError),
    "postgresql": Library(write=_write_postgresql, read=_read_postgresql, login_error=psycopg.OperationalError),
    "rabbitmq": Library(
        write=_write_rabbitmq, read=_read_rabbitmq, login_error=pika.exceptions.ProbableAuthenticationError
    ),
    "redis": Library(write=_write_redis, read=_read_redis, login_error=redis.AuthenticationError),
}


def wait_for_value(read: Callable[[], Any]) -> None:
    """Wait until `read` returns the written value. A Service needs a moment to route to a new Pod."""
    results: list[Any] = []

    def attempt() -> bool | None:
        try:
            results.append(read())
        except Exception as error:  # each library has its own errors for a server that is not ready
            results.append(error)
        return results[-1] == VALUE or None

    try:
        wait_for(30, "the server returns the value", attempt)
    except AssertionError as error:
        raise AssertionError(f"{error}; the last result was {results[-1]!r}") from None
