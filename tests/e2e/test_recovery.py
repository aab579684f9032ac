"""A killed Pod under writes: the next one has every committed row.

`make first-starts` runs the module. Without FIRST_STARTS, it is skipped.
"""

import itertools
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from typing import Any

import psycopg
import pymysql
import pytest
import urllib3
from influxdb_client.client.write_api import SYNCHRONOUS

from offline.recorder import PLACEHOLDER
from tests.e2e.clients import connect_influxdb
from tests.e2e.cluster import Cluster
from tests.e2e.local_servers import build_server_manifests, delete_server
from tests.e2e.test_first_start import INFLUXDB, INFLUXDB_KEYS, RELEASES, Release, Server
from tests.support import CANARY

if "FIRST_STARTS" not in os.environ:
    pytest.skip("takes two minutes; run `make first-starts`", allow_module_level=True)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
NAMESPACE = "recovery"
NAMESPACES = (NAMESPACE,)
WRITERS = 4
WRITE_SECONDS = 10
LOST_CONNECTION = (
    psycopg.OperationalError,
    pymysql.OperationalError,
    pymysql.InterfaceError,
    urllib3.exceptions.HTTPError,
)

Row = tuple[int, int]


class Table:
    """A table of a database. Each writer has its own connection."""

    def __init__(self, release: Release, address: str, connections: ExitStack) -> None:
        self.release, self.address, self.connections = release, address, connections

    def connect(self) -> Any:
        uri = f"{self.release.engine}://{PLACEHOLDER}:{CANARY}@server/{PLACEHOLDER}"
        return self.release.connect(uri, self.address)

    def create(self) -> None:
        with self.connect() as connection, connection.cursor() as cursor:
            cursor.execute("CREATE TABLE saved (writer INT, number INT)")

    def open_writer(self, writer: int) -> Callable[[int], None]:
        """Return a function that inserts a number. It raises an error of LOST_CONNECTION."""
        connection = self.connections.enter_context(closing(self.connect()))

        def insert(number: int) -> None:
            with connection.cursor() as cursor:
                cursor.execute("INSERT INTO saved VALUES (%s, %s)", (writer, number))

        return insert

    def read(self) -> set[Row]:
        with self.connect() as connection, connection.cursor() as cursor:
            cursor.execute("SELECT writer, number FROM saved")
            return set(cursor.fetchall())


class Bucket:
    """A bucket of InfluxDB. The number of a row is its time in microseconds."""

    def __init__(self, address: str, connections: ExitStack) -> None:
        self.client = connections.enter_context(connect_influxdb(INFLUXDB_KEYS, address))

    def create(self) -> None:
        """Do nothing: the first start created it."""

    def open_writer(self, writer: int) -> Callable[[int], None]:
        """Return a function that inserts a number. It raises an error of LOST_CONNECTION."""
        api = self.client.write_api(write_options=SYNCHRONOUS)
        return lambda number: api.write(
            INFLUXDB_KEYS["bucket"], record=f"saved,writer={writer} value=1i {number * 1000}"
        )

    def read(self) -> set[Row]:
        query = f'from(bucket: "{INFLUXDB_KEYS["bucket"]}") |> range(start: 1970-01-01T00:00:00Z)'
        rows = [row for table in self.client.query_api().query(query) for row in table.records]
        return {(int(row["writer"]), round(row.get_time().timestamp() * 1e6)) for row in rows}


def insert_rows(insert: Callable[[int], None], writer: int) -> tuple[set[Row], Row]:
    """Insert rows until the connection is lost. Return the committed rows and the one without an answer."""
    committed: set[Row] = set()
    with suppress(*LOST_CONNECTION):
        for number in itertools.count():
            insert(number)
            committed.add((writer, number))
    return committed, (writer, len(committed))


@pytest.mark.parametrize("server", [*RELEASES, INFLUXDB], ids=lambda server: server.image)
def test_killed_pod_retains_every_committed_row(
    real_node: Cluster, build_images: Callable[..., None], server: Server
) -> None:
    build_images(server.image)
    pod = f"{server.engine}-main-0"

    def open_store(connections: ExitStack) -> Table | Bucket:
        address = real_node.read_pod_address(NAMESPACE, pod)
        if isinstance(server, Release):
            return Table(server, address, connections)
        return Bucket(address, connections)

    with real_node.create_namespace(NAMESPACE):
        manifests = build_server_manifests(NAMESPACE, server.engine, "main", server.build_group())
        for manifest in manifests:
            real_node.apply(manifest)
        uid = real_node.wait_for_pod(NAMESPACE, pod)
        with ExitStack() as connections, ThreadPoolExecutor(WRITERS) as pool:
            store = open_store(connections)
            store.create()
            inserts = [store.open_writer(number) for number in range(WRITERS)]
            writers = [pool.submit(insert_rows, insert, number) for number, insert in enumerate(inserts)]
            time.sleep(WRITE_SECONDS)
            real_node.core.delete_namespaced_pod(pod, NAMESPACE, grace_period_seconds=0)
            results = [writer.result() for writer in writers]
        real_node.wait_for_pod(NAMESPACE, pod, other_than=uid)
        with ExitStack() as connections:
            found = open_store(connections).read()
        committed = set().union(*(rows for rows, _ in results))
        print(f"{server.image}: {len(committed)} committed rows, {len(found)} after the kill")
        assert len(committed) > WRITERS
        assert committed <= found <= committed | {row for _, row in results}
        delete_server(real_node, manifests)
