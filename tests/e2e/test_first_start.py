"""A first start is complete or leaves nothing: killed Pods, faulty init scripts, and settings that a server rejects.

`make first-starts` kills 20 Pods of each release, and corrects every engine. `make test` tests a few of them.
"""

import os
import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest

from offline.recorder import PLACEHOLDER
from tests.e2e.clients import connect_mysql, connect_postgresql
from tests.e2e.cluster import Cluster, wait_for
from tests.e2e.local_servers import build_server_manifests, delete_server
from tests.e2e.project import Project
from tests.support import CANARY

FEW_KILLS = 1
KILLS = int(os.environ.get("FIRST_STARTS", FEW_KILLS))
pytestmark = pytest.mark.timeout(600 if KILLS == FEW_KILLS else 3600)
NAMESPACE = "first-starts"
BROKEN = "broken"
NAMESPACES = (NAMESPACE, BROKEN)
SECONDS = 120
RESTARTS = 2
SCRIPT = (
    "CREATE TABLE earlier (x int); INSERT INTO earlier VALUES (1); {grant}CREATE TABLE later AS SELECT x FROM earlier;"
)


@dataclass(frozen=True, kw_only=True)
class Release:
    """A server that runs the script of its group."""

    engine: str
    version: str
    grant: str = ""
    """Statement that lets the application read what the script creates."""
    connect: Callable[[str, str], Any]

    @property
    def image(self) -> str:
        return f"{ {'postgresql': 'postgres'}.get(self.engine, self.engine) }:{self.version}"

    def build_group(self) -> dict[str, Any]:
        server = {"kind": "local", "version": self.version, "settings": TALKATIVE[self.engine]}
        return {"server": {**server, "initScript": SCRIPT.format(grant=self.grant)}}

    def count_rows(self, uri: str, address: str) -> int:
        """Log in as the application and return the number of rows that the last statement created."""
        with self.connect(uri, address) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT COUNT(*) FROM later")
            return int(cursor.fetchone()[0])


TALKATIVE: dict[str, dict[str, Any]] = {
    "postgresql": {
        "log_statement": "all",
        "log_min_duration_statement": 0,
        "log_min_duration_sample": 0,
        "log_min_messages": "debug5",
        "log_duration": True,
        "debug_print_parse": True,
        "debug_print_plan": True,
    },
    "mysql": {"log_error_verbosity": 3, "general_log": True, "general_log_file": "/dev/stderr"},
    "redis": {"loglevel": "debug"},
    "rabbitmq": {"log.console.level": "debug", "log.connection.level": "debug"},
}
"""Settings with which a server logs the most, by engine."""
GRANT = "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC; "
RELEASES = [
    Release(engine="postgresql", version="17", grant=GRANT, connect=connect_postgresql),
    Release(engine="mysql", version="9.7", connect=connect_mysql),
]
if KILLS > FEW_KILLS:
    RELEASES.append(Release(engine="postgresql", version="15", grant=GRANT, connect=connect_postgresql))


def start_and_kill(cluster: Cluster, release: Release, group: str, delay: float | None) -> float:
    """Start a server, delete its Pod after a delay, and log in. Return the seconds of the last start."""
    pod = f"{release.engine}-{group}-0"
    manifests = build_server_manifests(NAMESPACE, release.engine, group, release.build_group())
    for manifest in manifests:
        cluster.apply(manifest)
    start, uid = time.monotonic(), None
    if delay is not None:
        uid = wait_for(SECONDS, f"the container of {pod} runs", lambda: read_running_uid(cluster, pod))
        time.sleep(delay)
        cluster.core.delete_namespaced_pod(pod, NAMESPACE, grace_period_seconds=0)
        start = time.monotonic()
    cluster.wait_for_pod(NAMESPACE, pod, other_than=uid, seconds=SECONDS)
    seconds = time.monotonic() - start
    address = cluster.core.read_namespaced_pod(pod, NAMESPACE).status.pod_ip
    assert release.count_rows(f"{release.engine}://{PLACEHOLDER}:{CANARY}@server/{PLACEHOLDER}", address) == 1
    assert_log_has_no_password(cluster, NAMESPACE, pod, CANARY)
    delete_server(cluster, manifests)
    return seconds


def assert_log_has_no_password(cluster: Cluster, namespace: str, pod: str, password: str) -> None:
    log = cluster.core.read_namespaced_pod_log(pod, namespace)
    assert log
    assert password not in log, pod


def read_running_uid(cluster: Cluster, name: str) -> str | None:
    """Return the uid of a Pod whose container runs, or None."""
    pods = cluster.core.list_namespaced_pod(NAMESPACE, field_selector=f"metadata.name={name}").items
    statuses = [status for pod in pods for status in pod.status.container_statuses or []]
    return str(pods[0].metadata.uid) if any(status.state.running for status in statuses) else None


def kill_first_starts(cluster: Cluster, release: Release) -> list[str]:
    """Return the results of killed first starts, at random moments of the whole first start."""
    name = f"v{release.version.replace('.', '')}"
    duration = start_and_kill(cluster, release, f"{name}-whole", None)
    results = []
    for number in range(KILLS):
        delay = duration * (number + random.random()) / KILLS
        seconds = start_and_kill(cluster, release, f"{name}-{number}", delay)
        results.append(f"{release.image}: killed after {delay:.1f} s, ready {seconds:.1f} s later")
    return results


def test_pod_that_is_killed_in_its_first_start_comes_up_complete(
    real_node: Cluster, build_images: Callable[..., None]
) -> None:
    build_images(*(release.image for release in RELEASES))
    with real_node.create_namespace(NAMESPACE), ThreadPoolExecutor(len(RELEASES)) as pool:
        for results in pool.map(lambda release: kill_first_starts(real_node, release), RELEASES):
            print(*results, sep="\n")
            assert len(results) == KILLS


FAULTS: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "postgresql-settings": (
        {"settings": {"max_connections": "many"}},
        {},
        'invalid value for parameter "max_connections"',
    ),
    "postgresql-script": (
        {"initScript": "CREATE TABLE a (x int); INSERT INTO b VALUES (1);"},
        {"initScript": "CREATE TABLE a (x int);"},
        'relation "b" does not exist',
    ),
    "mysql-settings": ({"settings": {"no_such_setting": 1}}, {}, "unknown variable 'no_such_setting=1'"),
    "mysql-script": (
        {"initScript": "CREATE TABLE a (x int); INSERT INTO b VALUES (1);"},
        {"initScript": "CREATE TABLE a (x int);"},
        "Table 'broken_script.b' doesn't exist",
    ),
    "redis-settings": ({"settings": {"maxmemory-policy": "no-such-policy"}}, {}, "maxmemory-policy"),
    "redis-valkey": ({"settings": {"no-such-setting": 1}}, {}, "no-such-setting"),
    "rabbitmq-settings": ({"settings": {"no_such_setting": 1}}, {}, "failed_to_prepare_configuration"),
}
"""Groups by `<engine>-<group>`: faulty keys of the server, corrected ones, and a part of the last lines."""
if KILLS == FEW_KILLS:
    FAULTS = {name: FAULTS[name] for name in ("postgresql-script", "mysql-settings", "redis-settings")}
SERVERS = {
    "postgresql": {"kind": "local", "version": "17"},
    "mysql": {"kind": "local", "version": "9.7"},
    "redis": {"kind": "local", "version": "7"},
    "rabbitmq": {"kind": "local", "version": "4.0"},
}
VALKEY: dict[str, Any] = {"variant": "valkey", "server": {"kind": "local", "version": "8"}}


def build_stack(*, corrected: bool) -> dict[str, Any]:
    databases: dict[str, dict[str, Any]] = {}
    for name, (faulty, fixed, _) in FAULTS.items():
        engine, group = name.split("-")
        spec: dict[str, Any] = VALKEY if group == "valkey" else {"server": SERVERS[engine]}
        databases.setdefault(engine, {})[group] = {
            **spec,
            "server": {**spec["server"], **({"settings": TALKATIVE[engine], **fixed} if corrected else faulty)},
        }
    return {"applications": {BROKEN: {"createNamespace": False, "databases": databases}}}


def read_last_lines(cluster: Cluster) -> dict[str, str]:
    """Return the last lines of each server whose container failed three times: it restarts with the same /tmp."""
    pods = cluster.core.list_namespaced_pod(BROKEN).items
    states = {
        pod.metadata.name.removesuffix("-0"): (status.state.terminated or status.last_state.terminated)
        for pod in pods
        for status in pod.status.container_statuses or []
        if status.restart_count >= RESTARTS and not status.state.running
    }
    return {name: state.message or "" for name, state in states.items() if state}


def test_corrected_stack_file_starts_servers_that_never_started(
    project: Project, real_node: Cluster, build_images: Callable[..., None]
) -> None:
    """The volumes survive. One update is enough, and the log of each failed start has its reason."""
    build_images("postgres:17", "mysql:9.7", "redis:7", "valkey/valkey:8", "rabbitmq:4.0")
    with real_node.create_namespace(BROKEN):
        project.new(BROKEN, build_stack(corrected=False))
        project.interrupt_up(BROKEN, lambda: set(read_last_lines(real_node)) == set(FAULTS))
        lines = read_last_lines(real_node)
        assert {name for name, (_, _, reason) in FAULTS.items() if reason not in lines[name]} == set(), lines
        project.write(BROKEN, build_stack(corrected=True))
        project.up(BROKEN).succeeded()
        for name in FAULTS:
            password = real_node.read_secret(BROKEN, name)["password"]
            assert_log_has_no_password(real_node, BROKEN, f"{name}-0", password)
        project.destroy(BROKEN).succeeded()
