"""The libraries by which applications use each engine, given the URI of a Secret and the address that its host stands for."""

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

from tests.e2e.cluster import until

KEPT = 42

Keys = Mapping[str, str]
"""The connection Secret."""


def at(keys: Keys, address: str) -> str:
    """The URI with an address in the place of the Service's name."""
    parts = urlsplit(keys["uri"])
    return parts._replace(
        netloc=parts.netloc.replace(f"{keys['host']}:{keys['port']}", f"{address}:{keys['port']}")
    ).geturl()


@dataclass(frozen=True, kw_only=True)
class Library:
    """How an application keeps a value in its database and gets it back."""

    save: Callable[[Keys, str], None]
    read: Callable[[Keys, str], Any]
    refused: type[BaseException] | tuple[type[BaseException], ...]
    """What a login with a wrong password ends in."""


def postgresql(uri: str, address: str) -> "psycopg.Connection[Any]":
    """A connection by a URI to the address that its host stands for."""
    return psycopg.connect(uri, hostaddr=address, connect_timeout=5, autocommit=True)


def _postgresql_save(keys: Keys, address: str) -> None:
    with postgresql(keys["uri"], address) as connection:
        connection.execute("CREATE TABLE library_values (value int)")
        connection.execute("INSERT INTO library_values VALUES (%s)", (KEPT,))


def _postgresql_read(keys: Keys, address: str) -> Any:
    with postgresql(keys["uri"], address) as connection:
        row = connection.execute("SELECT value FROM library_values").fetchone()
        return row[0] if row else None


def mysql(uri: str, address: str) -> Any:
    """A connection by a URI to the address that its host stands for."""
    parts = urlsplit(uri)
    user, password, database = (unquote(part or "") for part in (parts.username, parts.password, parts.path[1:]))
    return pymysql.connect(
        host=address, port=parts.port or 0, user=user, password=password, database=database, autocommit=True
    )


def _mysql_save(keys: Keys, address: str) -> None:
    with mysql(keys["uri"], address) as connection:
        connection.cursor().execute("CREATE TABLE library_values (value int)")
        connection.cursor().execute("INSERT INTO library_values VALUES (%s)", (KEPT,))


def _mysql_read(keys: Keys, address: str) -> Any:
    with mysql(keys["uri"], address) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT value FROM library_values")
        return cursor.fetchone()[0]


def _redis_save(keys: Keys, address: str) -> None:
    with redis.Redis.from_url(at(keys, address)) as connection:
        connection.set("library", KEPT)


def _redis_read(keys: Keys, address: str) -> Any:
    with redis.Redis.from_url(at(keys, address)) as connection:
        value: Any = connection.get("library")
        return int(value)


def _rabbitmq_save(keys: Keys, address: str) -> None:
    with pika.BlockingConnection(pika.URLParameters(at(keys, address))) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        channel.queue_declare("library", durable=True, arguments={"x-queue-type": "quorum"})
        channel.basic_publish("", "library", str(KEPT).encode(), pika.BasicProperties(delivery_mode=2))


def _rabbitmq_read(keys: Keys, address: str) -> Any:
    with pika.BlockingConnection(pika.URLParameters(at(keys, address))) as connection:
        method, _, body = connection.channel().basic_get("library")  # the message is not acknowledged, and so stays
        return int(body) if method and body else None


def _influxdb(keys: Keys, address: str) -> InfluxDBClient:
    return InfluxDBClient(at(keys, address), keys["token"], org=keys["org"])


def _influxdb_save(keys: Keys, address: str) -> None:
    with _influxdb(keys, address) as client, client.write_api(write_options=SYNCHRONOUS) as writer:
        writer.write(keys["bucket"], record=f"library value={KEPT}")


def _influxdb_read(keys: Keys, address: str) -> Any:
    with _influxdb(keys, address) as client:
        tables = client.query_api().query(f'from(bucket: "{keys["bucket"]}") |> range(start: -1h) |> last()')
        return tables[0].records[0].get_value() if tables else None


LIBRARIES: Mapping[str, Library] = {
    "influxdb": Library(save=_influxdb_save, read=_influxdb_read, refused=ApiException),
    "mysql": Library(save=_mysql_save, read=_mysql_read, refused=pymysql.OperationalError),
    "postgresql": Library(save=_postgresql_save, read=_postgresql_read, refused=psycopg.OperationalError),
    "rabbitmq": Library(save=_rabbitmq_save, read=_rabbitmq_read, refused=pika.exceptions.ProbableAuthenticationError),
    "redis": Library(save=_redis_save, read=_redis_read, refused=redis.AuthenticationError),
}


def in_time(read: Callable[[], Any]) -> None:
    """A value is read that was kept; the Service may take a moment to lead to a new Pod."""
    found: list[Any] = []

    def attempt() -> bool | None:
        try:
            found.append(read())
        except Exception as error:  # each library has errors of its own for a server that is not there yet
            found.append(error)
        return found[-1] == KEPT or None

    try:
        until(30, "what was kept is read", attempt)
    except AssertionError as error:
        raise AssertionError(f"{error}; the last answer was {found[-1]!r}") from None
