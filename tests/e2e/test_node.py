"""Servers that really run: on a node with containers, under Pod Security `restricted`, reached by an application through its Services."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
import yaml

from components.engines import ENGINES
from tests.e2e.clients import LIBRARIES, in_time
from tests.e2e.cluster import Cluster, until
from tests.e2e.project import Project

pytestmark = pytest.mark.timeout(600)  # there may be a wait for the nodes
NAMESPACE = "running"


@dataclass(frozen=True, kw_only=True)
class Client:
    """How an application uses a group, as shell scripts that run in a Pod with the application's variables."""

    engine: str
    image: str
    """The image that has the client; the server's own."""
    save: str
    read: str
    """Prints 42 once `save` has run."""
    configured: tuple[tuple[str, str], ...]
    """What shows the group's settings and what was run once, and a word of its output."""
    forbidden: tuple[str, ...] = ()
    """What only a superuser may do."""
    intruders: tuple[str, ...] = ()
    """Logins of others than the application."""


PSQL = 'psql --no-psqlrc -v ON_ERROR_STOP=1 -tA "$POSTGRESQL_URL"'
MYSQL = 'mysql -h "$MYSQL_ADDRESS" -P "$MYSQL_PORT" -u "$MYSQL_USERNAME" "-p$MYSQL_PASSWORD" -N "$MYSQL_DATABASE"'
# Its redis-cli takes no URI without a user name; the libraries do.
REDIS = 'REDISCLI_AUTH="$REDIS_PASSWORD" redis-cli -h "$REDIS_ADDRESS" -p "$REDIS_PORT"'
CLIENTS = (
    Client(
        engine="postgresql",
        image="docker.io/library/postgres:17",
        save=f"{PSQL} -c 'CREATE TABLE kept (value int)' -c 'INSERT INTO kept VALUES (42)'",
        read=f"{PSQL} -c 'SELECT value FROM kept'",
        configured=(
            (f"{PSQL} -c 'SHOW max_connections'", "37"),
            (f"{PSQL} -c 'SHOW cluster_name'", "it''s; here # \\".replace("''", "'")),
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
        save=f'test "$({REDIS} set kept 42)" = OK',
        read=f"{REDIS} get kept",
        configured=((f"{REDIS} config get maxmemory-policy", "allkeys-lru"),),
        intruders=(
            'redis-cli -h "$REDIS_ADDRESS" ping | grep PONG',
            'REDISCLI_AUTH=wrong redis-cli -h "$REDIS_ADDRESS" ping | grep PONG',
        ),
    ),
    Client(
        engine="mysql",
        image="docker.io/library/mysql:9.7",
        save=f"{MYSQL} -e 'CREATE TABLE kept (value int); INSERT INTO kept VALUES (42)'",
        read=f"{MYSQL} -e 'SELECT value FROM kept' 2>/dev/null",
        configured=(
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
    """The image of this name is built for the test."""
    spec: str
    """The group as the stack file has it."""

    @property
    def name(self) -> str:
        return f"{self.engine}-{self.group}"


GROUPS: tuple[Group, ...] = (
    Group(
        engine="postgresql",
        image="postgres:17",
        spec="""{server: {kind: local, version: "17", init: "CREATE EXTENSION pg_trgm",
            settings: {max_connections: 37, cluster_name: "it's; here # \\\\"}}}""",
    ),
    Group(
        engine="redis",
        image="redis:7",
        spec="""{primary: true, server: {kind: local, version: "7", settings: {maxmemory-policy: allkeys-lru}}}""",
    ),
    Group(
        engine="redis",
        group="valkey",
        image="valkey/valkey:8",
        spec="""{variant: valkey, server: {kind: dedicated, resources: {cpu: 100m, memory: 128Mi}}}""",
    ),
    Group(
        engine="mysql",
        image="mysql:9.7",
        spec="""{server: {kind: local, version: "9.7", settings: {max-connections: 37},
            init: "CREATE TABLE seeded (value VARCHAR(20)); INSERT INTO seeded VALUES ('once');"}}""",
    ),
    Group(
        engine="rabbitmq",
        image="rabbitmq:4.0",
        spec="""{server: {kind: local, version: "4.0", settings: {vm_memory_high_watermark.relative: 0.5}}}""",
    ),
)

if os.environ.get("IMAGE_PROGRAMS"):  # no Debian package has it
    GROUPS += (
        Group(
            engine="influxdb",
            image="influxdb:2.7",
            spec="""{server: {kind: local, version: "2.7", settings: {query-concurrency: 8}}}""",
        ),
    )


@pytest.fixture(scope="module")
def running(module_project: Project, real_node: Cluster, build_images: Callable[..., None]) -> Iterator["Running"]:
    """A stack with a local group of each engine on the real node."""
    build_images(*(group.image for group in GROUPS))
    with real_node.namespace(NAMESPACE):
        running = Running(module_project, real_node)
        running.start()
        yield running
        module_project.destroy(NAMESPACE).succeeded()


class Running:
    """The stack, and the Pods of its application."""

    def __init__(self, project: Project, cluster: Cluster) -> None:
        self.project, self.cluster = project, cluster
        self.password_version = 0

    def start(self) -> None:
        self.project.new(NAMESPACE, self.config())
        self.project.up(NAMESPACE).succeeded()
        self.start_clients()

    def config(self) -> dict[str, object]:
        databases: dict[str, dict[str, object]] = {}
        for group in GROUPS:
            databases.setdefault(group.engine, {})[group.group] = {
                "passwordVersion": self.password_version,
                **yaml.safe_load(group.spec),
            }
        return {"applications": {NAMESPACE: {"createNamespace": False, "databases": databases}}}

    def keys(self, group: Group) -> dict[str, str]:
        """The connection Secret of a group."""
        return self.cluster.secret(NAMESPACE, group.name)

    def address(self, group: Group) -> str:
        """The address of a group's Service, whose name this process, which is in no Pod, cannot look up."""
        return self.cluster.service_address(NAMESPACE, self.keys(group)["host"])

    def rotate(self) -> None:
        """Another password for each group, on the volumes that there are."""
        self.password_version += 1
        self.project.write(NAMESPACE, self.config())
        self.project.up(NAMESPACE).succeeded()
        self.start_clients()

    def start_clients(self) -> None:
        """Starts a Pod for each client, as one of the application's: with its variables, and nothing else to find its databases by."""
        for client in CLIENTS:
            name = f"client-{client.engine}-{self.password_version}"
            container = {
                "name": "client",
                "image": client.image,
                "command": ["sleep", "3600"],
                "envFrom": [{"secretRef": {"name": f"{NAMESPACE}-databases"}}],
                "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
            }
            security = {"runAsNonRoot": True, "runAsUser": 999, "seccompProfile": {"type": "RuntimeDefault"}}
            spec = {"containers": [container], "securityContext": security, "terminationGracePeriodSeconds": 0}
            self.cluster.core.create_namespaced_pod(NAMESPACE, {"metadata": {"name": name}, "spec": spec})
        for client in CLIENTS:
            self.cluster.ready_pod(NAMESPACE, f"client-{client.engine}-{self.password_version}")

    def reads(self, client: Client) -> None:
        """The client reads what it saved; the Service may take a moment to lead to a new Pod."""
        until(20, f"{client.engine} has its data", lambda: self.run(client, client.read) == (True, "42\n") or None)

    def run(self, client: Client, script: str, *, password_version: int | None = None) -> tuple[bool, str]:
        """Runs a script in a client's Pod: the newest one, or one that still has the variables of an earlier rotation."""
        pod = f"client-{client.engine}-{self.password_version if password_version is None else password_version}"
        return self.cluster.run(NAMESPACE, pod, script)


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.name)
def test_a_group_keeps_its_data_and_its_password(running: Running, group: Group) -> None:
    """By the library of its users with the Secret's `uri`, and again after the Pod was deleted."""
    library, keys, address = LIBRARIES[group.engine], running.keys(group), running.address(group)
    library.save(keys, address)
    in_time(lambda: library.read(keys, address))
    running.cluster.restart(NAMESPACE, f"{group.engine}-{group.group}-0")
    in_time(lambda: library.read(keys, address))
    secret = keys[ENGINES[group.engine].credential_key or ""]
    with pytest.raises(library.refused):
        library.read({key: value.replace(secret, "wrong") for key, value in keys.items()}, address)


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.engine)
def test_an_application_uses_its_group_and_no_more(running: Running, client: Client) -> None:
    """Through the named Service, with the variables; the superuser's rights are not its own, and nobody else gets in."""
    succeeded, output = running.run(client, client.save)
    assert succeeded, output
    running.reads(client)
    for script, expected in client.configured:
        assert expected in running.run(client, script)[1], script
    for script in client.forbidden:
        assert not running.run(client, script)[0], script
    for script in client.intruders:
        succeeded, output = running.run(client, script)
        assert not succeeded, f"{script}: {output}"


def test_a_kept_volume_gets_the_password_of_the_secret(running: Running) -> None:
    """The volumes were initialised with other passwords. The old ones are refused, and the data is there."""
    old = {group: running.keys(group) for group in GROUPS}
    running.rotate()
    for client in CLIENTS:
        running.reads(client)
        assert "42" not in running.run(client, client.read, password_version=0)[1], client.engine
    for group in GROUPS:
        library, keys, address = LIBRARIES[group.engine], running.keys(group), running.address(group)
        assert keys != old[group]
        in_time(lambda: library.read(keys, address))  # noqa: B023 (called at once)
        with pytest.raises(library.refused):
            library.read(old[group], address)
    running.project.settles(NAMESPACE)
