"""Loads under a memory limit: the server runs them, evicts keys or refuses. The kernel kills none of its processes.

`make memory-loads` runs the module and prints the figures. Without MEMORY_LOADS, it is skipped.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from threading import Barrier, Event, Semaphore
from typing import Any

import pika
import pika.exceptions
import pytest
import redis

from components.engines import ENGINES
from components.spec import parse_quantity
from offline.recorder import PLACEHOLDER
from tests.e2e.clients import connect_mysql, connect_postgresql
from tests.e2e.cluster import Cluster, is_ready, wait_for
from tests.e2e.local_servers import build_server_manifests, delete_server
from tests.support import CANARY

if "MEMORY_LOADS" not in os.environ:
    pytest.skip("takes 20 minutes; run `make memory-loads`", allow_module_level=True)

pytestmark = pytest.mark.timeout(900)
NAMESPACE = "memory-loads"
NAMESPACES = (NAMESPACE,)
MEMORIES = ("256Mi", "2Gi")
"""Limits of the containers. A server gets the engine's minimum if that is more."""
MEBIBYTE = 1024**2
URI = f"{{scheme}}://{PLACEHOLDER}:{CANARY}@server/{PLACEHOLDER}"
SAMPLER = r"""
cat > /tmp/sample <<'SCRIPT'
cd /sys/fs/cgroup
[ ! -d memory ] || cd memory # version 1
peak=0
while :; do
    used=$(cat memory.current memory.usage_in_bytes memory.stat 2>/dev/null | awk '
        NF == 1 { used = $1 } $1 ~ /^(cache|file)$/ { used -= $2 } $1 == "shmem" { used += $2 }
        END { printf "%.0f", used }')
    [ "$used" -le "$peak" ] || peak=$used
    echo "$peak" $(cat memory.events memory.oom_control 2>/dev/null | awk '$1 == "oom_kill" { print $2 }') > /tmp/new
    mv /tmp/new /tmp/peak
    sleep 0.2
done
SCRIPT
nohup sh /tmp/sample >/dev/null 2>&1 &
"""
"""Writes the peak of the memory that the kernel cannot reclaim, and the number of killed processes."""

CONNECTIONS = 200
PARALLEL_LOGINS = 8
REFUSALS = ("too many clients already", "remaining connection slots", "Too many connections")

JOINS = 6
ROWS = 500_000
SORTED_ROWS = 100_000
POSTGRESQL_TABLE = (
    f"CREATE TABLE {{name}} AS SELECT i AS id, repeat(md5(i::text), 4) AS payload FROM generate_series(1, {ROWS}) AS i"
)
JOIN = "SELECT count(a.payload || b.payload || c.payload) FROM a JOIN b USING (id) JOIN c USING (id)"
POSTGRESQL_SORT = (
    "SELECT payload, count(*) FROM a"
    f" WHERE id <= {SORTED_ROWS} GROUP BY payload ORDER BY 2, 1 DESC OFFSET {SORTED_ROWS - 1}"
)
MYSQL_ROWS = 50_000
MYSQL_STATEMENTS = (
    f"SET SESSION cte_max_recursion_depth = {MYSQL_ROWS}",
    "CREATE TABLE a (id INT PRIMARY KEY, payload VARCHAR(200))",
    "INSERT INTO a WITH RECURSIVE numbers AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM numbers"
    f" WHERE i < {MYSQL_ROWS}) SELECT i, REPEAT(SHA2(i, 256), 2) FROM numbers",
)
MYSQL_SORT = f"SELECT payload, COUNT(*) FROM a GROUP BY payload ORDER BY 2, 1 DESC LIMIT 1 OFFSET {MYSQL_ROWS - 1}"

KEYS = 200_000
OVERWRITTEN_KEYS = 20_000
OVERWRITES = 4
BATCH = 200

MESSAGE = b"m" * 16384
QUEUE = "load"
BLOCKED_SECONDS = 15


# Loads: each one gets the address of a server and its memory, and returns the figures.


def attempt_connections(connect: Callable[[], Any], query: str) -> str:
    """Open 200 connections, and run a query in all of them at once. Any error but a refusal fails."""
    barrier, logins = Barrier(CONNECTIONS), Semaphore(PARALLEL_LOGINS)

    def attempt(_number: int) -> bool:
        try:
            with logins:
                connection = connect()
        except Exception as error:
            barrier.wait(300)
            if not any(refusal in str(error) for refusal in REFUSALS):
                raise
            return False
        with connection, connection.cursor() as cursor:
            barrier.wait(300)
            cursor.execute(query)
            assert len(cursor.fetchall()) == 1
        return True

    with ThreadPoolExecutor(CONNECTIONS) as pool:
        accepted = sum(pool.map(attempt, range(CONNECTIONS)))
    assert 0 < accepted < CONNECTIONS
    return f"{accepted} of {CONNECTIONS} connections, each with a sort"


def load_postgresql(address: str, _memory: int) -> str:
    connect = partial(connect_postgresql, URI.format(scheme="postgresql"), address)

    def join(_number: int) -> tuple[Any, ...] | None:
        with connect() as connection:
            return connection.execute(JOIN).fetchone()

    with connect() as connection:
        for name in "abc":
            connection.execute(POSTGRESQL_TABLE.format(name=name))
            connection.execute(f"ANALYZE {name}")
        assert "Parallel Hash Join" in str(connection.execute(f"EXPLAIN {JOIN}").fetchall())
    with ThreadPoolExecutor(JOINS) as pool:
        assert list(pool.map(join, range(JOINS))) == [(ROWS,)] * JOINS
    return f"{JOINS} of {JOINS} joins at once; {attempt_connections(connect, POSTGRESQL_SORT)}"


def load_mysql(address: str, _memory: int) -> str:
    connect = partial(connect_mysql, URI.format(scheme="mysql"), address)
    with connect() as connection, connection.cursor() as cursor:
        for statement in MYSQL_STATEMENTS:
            cursor.execute(statement)
    return attempt_connections(connect, MYSQL_SORT)


def load_redis(address: str, memory: int) -> str:
    """Write more than the memory holds, while processes of the server save and rewrite the data."""
    size = memory * 6 // 5 // KEYS
    payload = os.urandom(2 * size)
    with redis.Redis(address, password=CANARY) as connection, ThreadPoolExecutor(1) as pool:
        stop = Event()
        saving = pool.submit(save_repeatedly, address, stop)
        try:
            refused = write_keys(connection, range(KEYS), payload)
            for _ in range(OVERWRITES):
                refused += write_keys(connection, range(KEYS - OVERWRITTEN_KEYS, KEYS), payload)
        finally:
            stop.set()
        saving.result()
        state = connection.info("persistence")
        assert (state["rdb_last_bgsave_status"], state["aof_last_bgrewrite_status"]) == ("ok", "ok")
        saves, rewrites = state["rdb_saves"], state["aof_rewrites"]
        assert saves > 1
        assert rewrites > 1
        evicted, kept = connection.info("stats")["evicted_keys"], connection.dbsize()
        assert bool(evicted) == (connection.config_get("maxmemory-policy")["maxmemory-policy"] == "allkeys-lru")
        assert bool(refused) != bool(evicted)
    return f"{kept} of {KEYS} keys; {evicted} evicted, {refused} writes refused; {saves} saves, {rewrites} rewrites"


def write_keys(connection: "redis.Redis", numbers: Sequence[int], payload: bytes) -> int:
    """Write keys of two thirds to four thirds of the mean size. Return the number of refused ones."""
    least, refused = len(payload) // 3, 0
    for start in range(0, len(numbers), BATCH):
        with connection.pipeline(transaction=False) as pipeline:
            for number in numbers[start : start + BATCH]:
                pipeline.set(f"key-{number}", payload[: least + number % least])
            errors = [reply for reply in pipeline.execute(raise_on_error=False) if reply is not True]
        assert [error for error in errors if not isinstance(error, redis.OutOfMemoryError)] == []
        refused += len(errors)
    return refused


def save_repeatedly(address: str, stop: Event) -> None:
    """Save all data and rewrite the append-only file again and again. At most one such process runs at a time."""
    with redis.Redis(address, password=CANARY) as connection:
        while not stop.wait(0.5):
            for command in ("BGSAVE", "BGREWRITEAOF"):
                with suppress(redis.ResponseError):  # such a process runs
                    connection.execute_command(command)
        wait_for(120, "no process saves data", lambda: None if is_saving(connection) else True)


def is_saving(connection: "redis.Redis") -> bool:
    state = connection.info("persistence")
    names = ("rdb_bgsave_in_progress", "aof_rewrite_in_progress", "aof_rewrite_scheduled")
    return any(state[name] for name in names)


def load_rabbitmq(address: str, memory: int) -> str:
    """Publish twice the memory to a quorum queue, or until the server blocks. Then the server accepts again."""
    messages = 2 * memory // len(MESSAGE)
    published = publish(address, messages)
    with open_rabbitmq(address) as connection:
        connection.channel().queue_purge(QUEUE)
    wait_for(120, "the server accepts messages", lambda: publish(address, 1) or None)
    return f"{published} of {messages} messages of {len(MESSAGE) // 1024} KiB"


def publish(address: str, messages: int) -> int:
    """Publish messages. Return how many the client sent before the server blocked it."""
    number = 0
    try:
        with open_rabbitmq(address) as connection:
            channel = connection.channel()
            channel.queue_declare(QUEUE, durable=True, arguments={"x-queue-type": "quorum"})
            while number < messages:
                channel.basic_publish("", QUEUE, MESSAGE, pika.BasicProperties(delivery_mode=2))
                number += 1
    except pika.exceptions.ConnectionBlockedTimeout:
        pass
    return number


def open_rabbitmq(address: str) -> Any:
    options = f"heartbeat=0&blocked_connection_timeout={BLOCKED_SECONDS}"
    return pika.BlockingConnection(
        pika.URLParameters(f"amqp://{PLACEHOLDER}:{CANARY}@{address}:5672/{PLACEHOLDER}?{options}")
    )


# Servers


@dataclass(frozen=True, kw_only=True)
class Server:
    """A local server with all defaults, or with settings that only select what it does when it is full."""

    engine: str
    version: str
    variant: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    image: str
    load: Callable[[str, int], str]

    def get_memory(self, memory: str) -> str:
        """Return the memory, or the engine's minimum if that is more."""
        engine = ENGINES[self.engine]
        assert engine.build_runtime
        minimum = engine.build_runtime(engine.get_variant(self.variant), self.version).min_memory
        return max(memory, minimum, key=parse_quantity)

    def build_group(self, memory: str) -> dict[str, Any]:
        server = {"kind": "local", "version": self.version, "resources": {"memory": self.get_memory(memory)}}
        variant = {"variant": self.variant} if self.variant else {}
        return {**variant, "server": {**server, "settings": self.settings}}


CACHE = {"maxmemory-policy": "allkeys-lru"}
SERVERS = {
    "postgresql-15": Server(engine="postgresql", version="15", image="postgres:15", load=load_postgresql),
    "postgresql-17": Server(engine="postgresql", version="17", image="postgres:17", load=load_postgresql),
    "mysql": Server(engine="mysql", version="9.7", image="mysql:9.7", load=load_mysql),
    "redis": Server(engine="redis", version="7", image="redis:7", load=load_redis),
    "redis-cache": Server(engine="redis", version="7", settings=CACHE, image="redis:7", load=load_redis),
    "valkey": Server(engine="redis", version="8", variant="valkey", image="valkey/valkey:8", load=load_redis),
    "valkey-cache": Server(
        engine="redis", version="8", variant="valkey", settings=CACHE, image="valkey/valkey:8", load=load_redis
    ),
    "rabbitmq": Server(engine="rabbitmq", version="4.0", image="rabbitmq:4.0", load=load_rabbitmq),
}


def list_images(servers: Iterable[Server]) -> list[str]:
    return sorted({server.image for server in servers})


@pytest.fixture(scope="module")
def node(real_node: Cluster, build_images: Callable[..., None]) -> Iterator[Cluster]:
    build_images(*list_images(SERVERS.values()))
    with real_node.create_namespace(NAMESPACE):
        yield real_node


@pytest.mark.parametrize("memory", MEMORIES)
@pytest.mark.parametrize("name", SERVERS)
def test_load_does_not_kill_the_server(node: Cluster, name: str, memory: str) -> None:
    server = SERVERS[name]
    group, limit = f"{name}-{memory.lower()}", server.get_memory(memory)
    manifests = build_server_manifests(NAMESPACE, server.engine, group, server.build_group(memory))
    pod = f"{server.engine}-{group}-0"
    for manifest in manifests:
        node.apply(manifest)
    try:
        node.wait_for_pod(NAMESPACE, pod, seconds=180)
        assert node.run(NAMESPACE, pod, SAMPLER)[0]
        address = node.read_pod_address(NAMESPACE, pod)
        try:
            figures = server.load(address, parse_quantity(limit))
        finally:
            status = node.core.read_namespaced_pod(pod, NAMESPACE).status.container_statuses[0]
            assert (status.restart_count, status.last_state.terminated) == (0, None)
            _, output = node.run(NAMESPACE, pod, "cat /tmp/peak")
            peak, killed = map(int, output.split())
            assert killed == 0, peak
        print(f"| {name} {server.version} | {limit} | {figures} | {peak // MEBIBYTE} MiB |")
        wait_for(30, "the server is ready", lambda: is_ready(node.core.read_namespaced_pod(pod, NAMESPACE)) or None)
    finally:
        delete_server(node, manifests)
        wait_for(300, f"{pod} is deleted", lambda: None if has_pod(node, pod) else True)


def has_pod(cluster: Cluster, name: str) -> bool:
    return bool(cluster.core.list_namespaced_pod(NAMESPACE, field_selector=f"metadata.name={name}").items)
