"""Servers that run on a node with containers, under Pod Security `restricted`. Clients use them through Services."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import yaml
from kubernetes.client import ApiClient, CoreV1Api

from components.engines import ENGINES
from tests.e2e.clients import LIBRARIES, VALUE, wait_for_value
from tests.e2e.cluster import Cluster, is_ready, wait_for
from tests.e2e.project import Project

pytestmark = pytest.mark.timeout(600)  # the test can wait for other tests that use the nodes
NAMESPACE = "running"
NAMESPACES = (NAMESPACE,)


@dataclass(frozen=True, kw_only=True)
class Client:
    """How an application uses a group: shell scripts in a Pod with the application's variables."""

    engine: str
    image: str
    """Image that contains the client. It is the server's image."""
    write: str
    read: str
    """Script that prints 42 after `write`."""
    settings: tuple[tuple[str, str], ...]
    """Scripts that print the settings and the result of the init script, and a part of their output."""
    forbidden: tuple[str, ...] = ()
    """Scripts that only a superuser may run."""
    intruders: tuple[str, ...] = ()
    """Logins that the server must reject."""


PSQL = 'psql --no-psqlrc -v ON_ERROR_STOP=1 -tA "$POSTGRESQL_URL"'
MYSQL = 'mysql -h "$MYSQL_ADDRESS" -P "$MYSQL_PORT" -u "$MYSQL_USERNAME" "-p$MYSQL_PASSWORD" -N "$MYSQL_DATABASE"'
# redis-cli does not accept a URI without a user name; the client libraries do.
REDIS = 'REDISCLI_AUTH="$REDIS_PASSWORD" redis-cli -h "$REDIS_ADDRESS" -p "$REDIS_PORT"'
CLIENTS = (
    Client(
        engine="postgresql",
        image="docker.io/library/postgres:17",
        write=f"{PSQL} -c 'CREATE TABLE saved (value int)' -c 'INSERT INTO saved VALUES (42)'",
        read=f"{PSQL} -c 'SELECT value FROM saved'",
        settings=(
            (f"{PSQL} -c 'SHOW max_connections'", "37"),
            (f"{PSQL} -c 'SHOW cluster_name'", "it's; here # \\"),
            (f"{PSQL} -c \"SELECT similarity('a', 'a')\"", "1"),
        ),
        forbidden=(
            f"{PSQL} -c 'CREATE ROLE other'",
            f"{PSQL} -c 'CREATE DATABASE other'",
            f"{PSQL} -c \"COPY (SELECT 1) TO PROGRAM 'true'\"",
            f"{PSQL} -c 'SELECT * FROM pg_authid'",
        ),
        intruders=(
            'psql -w "postgresql://postgres@$POSTGRESQL_ADDRESS/postgres" -c "SELECT 1"',
            'psql "postgresql://postgres:$POSTGRESQL_PASSWORD@$POSTGRESQL_ADDRESS/postgres" -c "SELECT 1"',
            'psql "postgresql://$POSTGRESQL_USERNAME:wrong@$POSTGRESQL_ADDRESS/$POSTGRESQL_DATABASE" -c "SELECT 1"',
        ),
    ),
    Client(
        engine="redis",
        image="docker.io/library/redis:7",
        write=f'test "$({REDIS} set saved 42)" = OK',
        read=f"{REDIS} get saved",
        settings=((f"{REDIS} config get maxmemory-policy", "allkeys-lru"),),
        intruders=(
            'redis-cli -h "$REDIS_ADDRESS" ping | grep PONG',
            'REDISCLI_AUTH=wrong redis-cli -h "$REDIS_ADDRESS" ping | grep PONG',
        ),
    ),
    Client(
        engine="mysql",
        image="docker.io/library/mysql:9.7",
        write=f"{MYSQL} -e 'CREATE TABLE saved (value int); INSERT INTO saved VALUES (42)'",
        read=f"{MYSQL} -e 'SELECT value FROM saved' 2>/dev/null",
        settings=(
            (f"{MYSQL} -e 'SELECT @@max_connections'", "37"),
            (f"{MYSQL} -e 'SELECT value FROM seeded'", "once"),
        ),
        forbidden=(
            f"{MYSQL} -e 'CREATE USER other'",
            f"{MYSQL} -e 'CREATE DATABASE other'",
            f"{MYSQL} -e 'SELECT * FROM mysql.user'",
            f"{MYSQL} -e 'SET GLOBAL max_connections = 10'",
        ),
        intruders=(
            'mysql -h "$MYSQL_ADDRESS" -u root -e "SELECT 1"',
            'mysql -h "$MYSQL_ADDRESS" -u root "-p$MYSQL_PASSWORD" -e "SELECT 1"',
            'mysql -h "$MYSQL_ADDRESS" -u "$MYSQL_USERNAME" -pwrong -e "SELECT 1"',
        ),
    ),
)


@dataclass(frozen=True, kw_only=True)
class Group:
    """A group on the real node."""

    engine: str
    group: str = "main"
    image: str
    """Name of the image that the test builds."""
    spec: str
    """The group as YAML."""

    accepts_old_password: bool = False
    """Whether the running server accepts the old password until the next change."""
    restarts: bool = False
    """Whether a new password restarts the server."""

    @property
    def name(self) -> str:
        return f"{self.engine}-{self.group}"

    @property
    def pod(self) -> str:
        return f"{self.name}-0"


GROUPS: tuple[Group, ...] = (
    Group(
        engine="postgresql",
        image="postgres:17",
        spec="""{server: {kind: local, version: "17", initScript: "CREATE EXTENSION pg_trgm",
            settings: {max_connections: 37, cluster_name: "it's; here # \\\\"}}}""",
    ),
    Group(
        engine="redis",
        image="redis:7",
        accepts_old_password=True,
        spec="""{primary: true, server: {kind: local, version: "7", settings: {maxmemory-policy: allkeys-lru}}}""",
    ),
    Group(
        engine="redis",
        group="valkey",
        image="valkey/valkey:8",
        accepts_old_password=True,
        spec="""{variant: valkey, server: {kind: dedicated, resources: {cpu: 100m, memory: 128Mi}}}""",
    ),
    Group(
        engine="mysql",
        image="mysql:9.7",
        accepts_old_password=True,
        spec="""{server: {kind: local, version: "9.7", settings: {max-connections: 37},
            initScript: "CREATE TABLE seeded (value VARCHAR(20)); INSERT INTO seeded VALUES ('once');"}}""",
    ),
    Group(
        engine="rabbitmq",
        image="rabbitmq:4.0",
        spec="""{server: {kind: local, version: "4.0", settings: {vm_memory_high_watermark.relative: 0.5}}}""",
    ),
)

if os.environ.get("IMAGE_PROGRAMS"):  # no Debian package contains InfluxDB
    GROUPS += (
        Group(
            engine="influxdb",
            image="influxdb:2.7",
            restarts=True,
            spec="""{server: {kind: dedicated, version: "2.7", settings: {query-concurrency: 8}}}""",
        ),
    )


class Deployment:
    """A stack with all groups, and a Pod of its application for each client."""

    def __init__(self, project: Project, cluster: Cluster) -> None:
        self.project, self.cluster = project, cluster
        self.password_version = 0

    def start(self) -> None:
        """Deploy the stack and start the clients."""
        self.project.new(NAMESPACE, self.build_config())
        self.project.up(NAMESPACE).succeeded()
        self.start_clients()

    def change_passwords(self) -> None:
        """Generate a new password for each group, and start new clients."""
        self.password_version += 1
        self.project.write(NAMESPACE, self.build_config())
        self.project.up(NAMESPACE).succeeded()
        self.start_clients()

    def build_config(self) -> dict[str, object]:
        databases: dict[str, dict[str, object]] = {}
        for group in GROUPS:
            spec = {"passwordVersion": self.password_version, **yaml.safe_load(group.spec)}
            databases.setdefault(group.engine, {})[group.group] = spec
        return {"applications": {NAMESPACE: {"createNamespace": False, "databases": databases}}}

    def read_connection(self, group: Group) -> dict[str, str]:
        """Return the connection Secret of a group."""
        return self.cluster.read_secret(NAMESPACE, group.name)

    def read_address(self, group: Group) -> str:
        """Return the IP address of a group's Service. Only Pods can resolve its name."""
        return self.cluster.read_service_address(NAMESPACE, self.read_connection(group)["host"])

    def start_clients(self) -> None:
        """Start a Pod for each client. It has the application's variables and no other address of a database."""
        for client in CLIENTS:
            container = {
                "name": "client",
                "image": client.image,
                "command": ["sleep", "3600"],
                "envFrom": [{"secretRef": {"name": f"{NAMESPACE}-databases"}}],
                "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
            }
            security = {"runAsNonRoot": True, "runAsUser": 999, "seccompProfile": {"type": "RuntimeDefault"}}
            spec = {"containers": [container], "securityContext": security, "terminationGracePeriodSeconds": 0}
            pod = {"metadata": {"name": self.get_pod_name(client)}, "spec": spec}
            self.cluster.core.create_namespaced_pod(NAMESPACE, pod)
        for client in CLIENTS:
            self.cluster.wait_for_pod(NAMESPACE, self.get_pod_name(client))

    def get_pod_name(self, client: Client, password_version: int | None = None) -> str:
        return f"client-{client.engine}-{self.password_version if password_version is None else password_version}"

    def wait_for_read(self, client: Client) -> None:
        """Wait until the client reads its value. A Service needs a moment to route to a new Pod."""
        condition = f"the client of {client.engine} reads its value"
        wait_for(20, condition, lambda: self.run(client, client.read) == (True, "42\n") or None)

    def run(self, client: Client, script: str, *, password_version: int | None = None) -> tuple[bool, str]:
        """Run a script in a client's Pod: the newest Pod, or the one with the variables of a password version."""
        return self.cluster.run(NAMESPACE, self.get_pod_name(client, password_version), script)


@pytest.fixture(scope="module")
def deployment(module_project: Project, real_node: Cluster, build_images: Callable[..., None]) -> Iterator[Deployment]:
    """Yield a stack with all groups on the real node."""
    build_images(*(group.image for group in GROUPS))
    with real_node.create_namespace(NAMESPACE):
        deployment = Deployment(module_project, real_node)
        deployment.start()
        yield deployment
        module_project.destroy(NAMESPACE).succeeded()


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.name)
def test_group_retains_its_data_and_password_when_its_pod_restarts(deployment: Deployment, group: Group) -> None:
    """The client library uses the `uri` of the connection Secret."""
    library, data, address = LIBRARIES[group.engine], deployment.read_connection(group), deployment.read_address(group)
    library.write(data, address)
    wait_for_value(lambda: library.read(data, address))
    deployment.cluster.restart_pod(NAMESPACE, f"{group.name}-0")
    wait_for_value(lambda: library.read(data, address))
    credential = data[ENGINES[group.engine].credential_key or ""]
    with pytest.raises(library.login_error):
        library.read({key: value.replace(credential, "wrong") for key, value in data.items()}, address)


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.engine)
def test_application_has_no_rights_of_a_superuser(deployment: Deployment, client: Client) -> None:
    """The client connects to the Service with its variables. The server rejects every other login."""
    succeeded, output = deployment.run(client, client.write)
    assert succeeded, output
    deployment.wait_for_read(client)
    for script, expected in client.settings:
        assert expected in deployment.run(client, script)[1], script
    for script in (*client.forbidden, *client.intruders):
        succeeded, output = deployment.run(client, script)
        assert not succeeded, f"{script}: {output}"


@dataclass
class Watch:
    """What a thread sees of a group during password changes."""

    keys: dict[str, str]
    """The connection Secret with which the client logs in."""
    logins: int = 0
    refusals: list[str] = field(default_factory=list)
    unready: int = 0


@contextmanager
def watch(deployment: Deployment, group: Group) -> Iterator[Watch]:
    """Log in ten times a second, if the server accepts the old password. Count when the Pod is not ready."""
    seen, stopped = Watch(deployment.read_connection(group)), threading.Event()
    address = deployment.read_address(group)
    core: Any = CoreV1Api(ApiClient())  # while a command runs in a Pod, no other thread can use its client

    def log_in() -> None:
        while not stopped.wait(0.1):
            try:
                assert LIBRARIES[group.engine].read(seen.keys, address) == VALUE
                seen.logins += 1
            except Exception as error:  # each library has its own errors
                seen.refusals.append(repr(error))

    def read_pod() -> None:
        while not stopped.wait(1):
            seen.unready += not is_ready(core.read_namespaced_pod(group.pod, NAMESPACE))

    threads = [threading.Thread(target=run) for run in ([log_in] if group.accepts_old_password else []) + [read_pod]]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        stopped.set()
        for thread in threads:
            thread.join()


def read_start(deployment: Deployment, group: Group) -> tuple[str, int]:
    """Return the uid of a group's Pod, and how often its container restarted."""
    pod = deployment.cluster.core.read_namespaced_pod(group.pod, NAMESPACE)
    return pod.metadata.uid, pod.status.container_statuses[0].restart_count


def assert_accepts(deployment: Deployment, group: Group, keys: dict[str, str], *, accepts: bool) -> None:
    """Assert that the server accepts a password, or rejects it."""
    library, address = LIBRARIES[group.engine], deployment.read_address(group)
    if accepts:
        wait_for_value(lambda: library.read(keys, address))
    else:
        with pytest.raises(library.login_error):
            library.read(keys, address)


def test_running_servers_accept_new_passwords(deployment: Deployment) -> None:
    """No server restarts, except those that must. They refuse the old password.

    A client that has the old password is refused only where an account has one password.
    """
    running = [group for group in GROUPS if not group.restarts]
    starts = {group: read_start(deployment, group) for group in running}
    passwords = {group: [deployment.read_connection(group)] for group in GROUPS}
    with ExitStack() as stack:
        seen = {group: stack.enter_context(watch(deployment, group)) for group in running}
        for _ in range(2):
            deployment.change_passwords()
            for group in GROUPS:
                passwords[group].append(deployment.read_connection(group))
                assert_accepts(deployment, group, passwords[group][-1], accepts=True)
                assert_accepts(deployment, group, passwords[group][-2], accepts=group.accepts_old_password)
            for group in running:
                seen[group].keys = passwords[group][-1]
            for client in CLIENTS:
                deployment.wait_for_read(client)
    for group in running:
        assert_accepts(deployment, group, passwords[group][0], accepts=False)
        assert read_start(deployment, group) == starts[group]
        assert (seen[group].refusals, seen[group].unready) == ([], 0), group.name
        assert bool(seen[group].logins) == group.accepts_old_password
        print(f"{group.name}: 2 changes, {seen[group].logins} logins, 0 refused")
    deployment.project.assert_settled(NAMESPACE)


def test_restarted_server_accepts_the_newest_password_only(deployment: Deployment) -> None:
    pods = {group.pod: deployment.cluster.wait_for_pod(NAMESPACE, group.pod) for group in GROUPS}
    for pod in pods:
        deployment.cluster.core.delete_namespaced_pod(pod, NAMESPACE)
    for pod, uid in pods.items():
        deployment.cluster.wait_for_pod(NAMESPACE, pod, other_than=uid)
    for client in CLIENTS:
        deployment.wait_for_read(client)
        assert "42" not in deployment.run(client, client.read, password_version=1)[1], client.engine
    for group in GROUPS:
        assert_accepts(deployment, group, deployment.read_connection(group), accepts=True)


def test_failed_script_does_not_change_the_secret(deployment: Deployment) -> None:
    """The application removes its right to change the account. A restart gives it back."""
    (client,) = (client for client in CLIENTS if client.engine == "redis")
    (group,) = (group for group in GROUPS if group.name == "redis-main")
    assert deployment.run(client, f"{REDIS} acl setuser default -acl") == (True, "OK\n")
    keys = deployment.read_connection(group)
    deployment.password_version += 1
    deployment.project.write(NAMESPACE, deployment.build_config())
    output = deployment.project.up(NAMESPACE).failed().output
    assert (
        f"applications.{NAMESPACE}.databases.redis.main: server redis-main does not accept the new password: NOPERM"
        in (" ".join(output.split()))
    )
    assert "the Secret was not changed" in output
    assert deployment.read_connection(group) == keys
    assert_accepts(deployment, group, keys, accepts=True)

    deployment.cluster.restart_pod(NAMESPACE, group.pod)
    deployment.project.up(NAMESPACE).succeeded()
    new = deployment.read_connection(group)
    assert new != keys
    for accepted in (keys, new):
        assert_accepts(deployment, group, accepted, accepts=True)
    deployment.project.assert_settled(NAMESPACE)
