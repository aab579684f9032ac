"""A first start is complete or leaves nothing: killed Pods, faulty init scripts, and settings that a server rejects.

`make first-starts` kills 20 Pods of each release, and corrects every engine. `make test-slow` tests a few of them.
InfluxDB takes part if IMAGE_PROGRAMS has its programs, because no Debian package contains it.
"""

import os
import random
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest

from components.engines import ENGINES
from offline.recorder import PLACEHOLDER
from tests.e2e.clients import LIBRARIES, VALUE, connect_influxdb, connect_mysql, connect_postgresql
from tests.e2e.cluster import Cluster, wait_for
from tests.e2e.local_servers import build_server_manifests, delete_server
from tests.e2e.project import Project
from tests.support import CANARY

FEW_KILLS = 1
KILLS = int(os.environ.get("FIRST_STARTS", FEW_KILLS))
HAS_INFLUXDB = bool(os.environ.get("IMAGE_PROGRAMS"))
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600 if KILLS == FEW_KILLS else 3600)]
NAMESPACE = "first-starts"
BROKEN = "broken"
NAMESPACES = (NAMESPACE, BROKEN)
SECONDS = 120
RESTARTS = 2
SCRIPT = (
    "CREATE TABLE earlier (x int); INSERT INTO earlier VALUES (1); {grant}CREATE TABLE later AS SELECT x FROM earlier;"
)


@dataclass(frozen=True, kw_only=True)
class Server:
    """A server of a release, with its most talkative settings."""

    engine: str
    version: str

    @property
    def image(self) -> str:
        return f"{ {'postgresql': 'postgres'}.get(self.engine, self.engine) }:{self.version}"

    def build_group(self) -> dict[str, Any]:
        return {"server": {"kind": "local", "version": self.version, "settings": TALKATIVE[self.engine]}}

    def assert_is_complete(self, cluster: Cluster, pod: str) -> None:
        """Log in as the application, and assert that the whole first start ran."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class Release(Server):
    """A server that runs the script of its group."""

    grant: str = ""
    """Statement that lets the application read what the script creates."""
    connect: Callable[[str, str], Any]

    def build_group(self) -> dict[str, Any]:
        group = super().build_group()
        return {"server": {**group["server"], "initScript": SCRIPT.format(grant=self.grant)}}

    def assert_is_complete(self, cluster: Cluster, pod: str) -> None:
        """Assert that the last statement of the script created one row."""
        uri = f"{self.engine}://{PLACEHOLDER}:{CANARY}@server/{PLACEHOLDER}"
        with self.connect(uri, cluster.read_pod_address(NAMESPACE, pod)) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT COUNT(*) FROM later")
            assert int(cursor.fetchone()[0]) == 1


INFLUXDB_KEYS = {
    "host": "server",
    "port": "8086",
    "uri": "http://server:8086",
    "org": PLACEHOLDER,
    "bucket": PLACEHOLDER,
    "token": CANARY,
}
"""The connection Secret of an InfluxDB server with the name of the test's host."""


class InfluxDB(Server):
    """A server without a script. Its first start creates the organization, the bucket and the token."""

    def assert_is_complete(self, cluster: Cluster, pod: str) -> None:
        """Assert that the token opens its bucket only, and that no interrupted start left another token."""
        address, library = cluster.read_pod_address(NAMESPACE, pod), LIBRARIES[self.engine]
        library.write(INFLUXDB_KEYS, address)
        assert library.read(INFLUXDB_KEYS, address) == VALUE
        with connect_influxdb(INFLUXDB_KEYS, address) as client:
            buckets = client.buckets_api()
            (bucket,) = buckets.find_buckets().buckets
            assert bucket.name == INFLUXDB_KEYS["bucket"]
            with pytest.raises(library.login_error):
                buckets.create_bucket(bucket_name="other", org=bucket.org_id)
        succeeded, output = cluster.run(NAMESPACE, pod, "influx auth list --hide-headers | cut -f 2")
        assert succeeded, output
        administrator, application = sorted(output.splitlines())
        assert administrator.startswith("administrator's ")
        assert application == "application"


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
    "influxdb": {"log-level": "debug"},
}
"""Settings with which a server logs the most, by engine."""
GRANT = "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC; "
RELEASES = [
    Release(engine="postgresql", version="17", grant=GRANT, connect=connect_postgresql),
    Release(engine="mysql", version="9.7", connect=connect_mysql),
]
if KILLS > FEW_KILLS:
    RELEASES.append(Release(engine="postgresql", version="15", grant=GRANT, connect=connect_postgresql))
INFLUXDB = pytest.param(
    InfluxDB(engine="influxdb", version="2.7"),
    id="influxdb:2.7",
    marks=pytest.mark.skipif(not HAS_INFLUXDB, reason="IMAGE_PROGRAMS is not set; no Debian package has InfluxDB"),
)


def start_and_kill(cluster: Cluster, release: Server, group: str, delay: float | None) -> float:
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
    release.assert_is_complete(cluster, pod)
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


def kill_first_starts(cluster: Cluster, release: Server) -> list[str]:
    """Return the results of killed first starts, at random moments of the whole first start."""
    name = f"v{release.version.replace('.', '')}"
    duration = start_and_kill(cluster, release, f"{name}-whole", None)
    results = []
    for number in range(KILLS):
        delay = duration * (number + random.random()) / KILLS
        seconds = start_and_kill(cluster, release, f"{name}-{number}", delay)
        results.append(f"{release.image}: killed after {delay:.1f} s, ready {seconds:.1f} s later")
    return results


def kill_servers(cluster: Cluster, servers: Sequence[Server]) -> None:
    with cluster.create_namespace(NAMESPACE), ThreadPoolExecutor(len(servers)) as pool:
        for results in pool.map(lambda server: kill_first_starts(cluster, server), servers):
            print(*results, sep="\n")
            assert len(results) == KILLS


def test_pod_that_is_killed_in_its_first_start_comes_up_complete(
    real_node: Cluster, build_images: Callable[..., None]
) -> None:
    build_images(*(release.image for release in RELEASES))
    kill_servers(real_node, RELEASES)


@pytest.mark.parametrize("server", [INFLUXDB])
def test_pod_of_influxdb_that_is_killed_in_its_first_start_comes_up_complete(
    real_node: Cluster, build_images: Callable[..., None], server: Server
) -> None:
    build_images(server.image)
    kill_servers(real_node, [server])


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
    "influxdb-settings": ({"settings": {"query-concurrency": -1}}, {}, "ConcurrencyQuota must not be negative"),
}
"""Groups by `<engine>-<group>`: faulty keys of the server, corrected ones, and a part of the last lines."""
if not HAS_INFLUXDB:
    del FAULTS["influxdb-settings"]
if KILLS == FEW_KILLS:
    FAULTS = {name: FAULTS[name] for name in ("postgresql-script", "mysql-settings", "redis-settings")}
SERVERS = {
    "postgresql": {"kind": "local", "version": "17"},
    "mysql": {"kind": "local", "version": "9.7"},
    "redis": {"kind": "local", "version": "7"},
    "rabbitmq": {"kind": "local", "version": "4.0"},
    "influxdb": {"kind": "local", "version": "2.7"},
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


@pytest.mark.parametrize("server", [INFLUXDB])
def test_log_has_the_reason_why_the_start_script_failed(
    real_node: Cluster, build_images: Callable[..., None], server: Server
) -> None:
    """The start script finds its organization by its name, which the administrator changed."""
    build_images(server.image)
    pod = "influxdb-renamed-0"
    with real_node.create_namespace(NAMESPACE):
        for manifest in build_server_manifests(NAMESPACE, server.engine, "renamed", server.build_group()):
            real_node.apply(manifest)
        real_node.wait_for_pod(NAMESPACE, pod)
        rename = 'influx org update --id "$(influx org list --hide-headers | cut -f 1)" --name renamed'
        assert real_node.run(NAMESPACE, pod, rename)[0]
        real_node.core.delete_namespaced_pod(pod, NAMESPACE, grace_period_seconds=0)
        lines = wait_for(SECONDS, "the server failed", lambda: read_last_lines(real_node, NAMESPACE) or None)
        assert f'could not find org "{INFLUXDB_KEYS["org"]}"' in lines["influxdb-renamed"]


def read_last_lines(cluster: Cluster, namespace: str = BROKEN) -> dict[str, str]:
    """Return the last lines of each server whose container failed three times: it restarts with the same /tmp."""
    pods = cluster.core.list_namespaced_pod(namespace).items
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
    images = ("postgres:17", "mysql:9.7", "redis:7", "valkey/valkey:8", "rabbitmq:4.0")
    build_images(*images, *(["influxdb:2.7"] if HAS_INFLUXDB else []))
    with real_node.create_namespace(BROKEN):
        project.new(BROKEN, build_stack(corrected=False))
        project.interrupt_up(BROKEN, lambda: set(read_last_lines(real_node)) == set(FAULTS))
        lines = read_last_lines(real_node)
        assert {name for name, (_, _, reason) in FAULTS.items() if reason not in lines[name]} == set(), lines
        project.write(BROKEN, build_stack(corrected=True))
        project.up(BROKEN).succeeded()
        for name in FAULTS:
            keys = real_node.read_secret(BROKEN, name)
            credential = ENGINES[keys["type"]].credential_key
            assert credential
            assert_log_has_no_password(real_node, BROKEN, f"{name}-0", keys[credential])
        project.destroy(BROKEN).succeeded()
