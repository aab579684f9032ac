"""A killed Pod under writes: the next one has every committed row.

`make first-starts` runs the module. Without FIRST_STARTS, it is skipped.
"""

import itertools
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pymysql
import pytest

from offline.recorder import PLACEHOLDER
from tests.e2e.cluster import Cluster
from tests.e2e.local_servers import build_server_manifests, delete_server
from tests.e2e.test_first_start import RELEASES, Release
from tests.support import CANARY

if "FIRST_STARTS" not in os.environ:
    pytest.skip("takes two minutes; run `make first-starts`", allow_module_level=True)

pytestmark = pytest.mark.timeout(600)
NAMESPACE = "recovery"
NAMESPACES = (NAMESPACE,)
WRITERS = 4
WRITE_SECONDS = 10
LOST_CONNECTION = (psycopg.OperationalError, pymysql.OperationalError, pymysql.InterfaceError)


def write_rows(connection: Any, writer: int) -> tuple[set[tuple[int, int]], tuple[int, int]]:
    """Insert rows until the connection is lost. Return the committed rows and the one without an answer."""
    committed: set[tuple[int, int]] = set()
    try:
        for number in itertools.count():
            with connection.cursor() as cursor:
                cursor.execute("INSERT INTO saved VALUES (%s, %s)", (writer, number))
            committed.add((writer, number))
    except LOST_CONNECTION:
        pass
    return committed, (writer, len(committed))


@pytest.mark.parametrize("release", RELEASES, ids=lambda release: release.image)
def test_killed_pod_retains_every_committed_row(
    real_node: Cluster, build_images: Callable[..., None], release: Release
) -> None:
    build_images(release.image)
    pod = f"{release.engine}-main-0"

    def connect() -> Any:
        address = real_node.core.read_namespaced_pod(pod, NAMESPACE).status.pod_ip
        return release.connect(f"{release.engine}://{PLACEHOLDER}:{CANARY}@server/{PLACEHOLDER}", address)

    with real_node.create_namespace(NAMESPACE):
        manifests = build_server_manifests(NAMESPACE, release.engine, "main", release.build_group())
        for manifest in manifests:
            real_node.apply(manifest)
        uid = real_node.wait_for_pod(NAMESPACE, pod)
        with connect() as connection, connection.cursor() as cursor:
            cursor.execute("CREATE TABLE saved (writer INT, number INT)")
        connections = [connect() for _ in range(WRITERS)]
        with ThreadPoolExecutor(WRITERS) as pool:
            writers = [pool.submit(write_rows, each, number) for number, each in enumerate(connections)]
            time.sleep(WRITE_SECONDS)
            real_node.core.delete_namespaced_pod(pod, NAMESPACE, grace_period_seconds=0)
        results = [writer.result() for writer in writers]
        real_node.wait_for_pod(NAMESPACE, pod, other_than=uid)
        with connect() as connection, connection.cursor() as cursor:
            cursor.execute("SELECT writer, number FROM saved")
            found = set(cursor.fetchall())
        committed = set().union(*(rows for rows, _ in results))
        print(f"{release.image}: {len(committed)} committed rows, {len(found)} after the kill")
        assert len(committed) > WRITERS
        assert committed <= found <= committed | {row for _, row in results}
        for each in connections:
            each.close()
        delete_server(real_node, manifests)
