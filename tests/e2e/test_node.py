"""Servers that run on a node with containers, under Pod Security `restricted`. Clients use them through Services."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
import yaml

from components.engines import ENGINES
from tests.e2e.clients import LIBRARIES, wait_for_value
from tests.e2e.cluster import Cluster, wait_for
from tests.e2e.project import Project

pytestmark = pytest.mark.timeout(600)  # the test can wait for other tests that use the nodes
NAMESPACE = "running"


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

    @property
    def name(self) -> str:
        return f"{self.engine}-{self.group}"


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
            spec="""{server: {kind: local, version: "2.7", settings: {query-concurrency: 8}}}""",
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


def test_existing_volume_gets_the_new_password(deployment: Deployment) -> None:
    """The server rejects the old password and retains the data."""
    old = {group: deployment.read_connection(group) for group in GROUPS}
    deployment.change_passwords()
    for client in CLIENTS:
        deployment.wait_for_read(client)
        assert "42" not in deployment.run(client, client.read, password_version=0)[1], client.engine
    for group in GROUPS:
        library, data = LIBRARIES[group.engine], deployment.read_connection(group)
        address = deployment.read_address(group)
        assert data != old[group]
        wait_for_value(lambda: library.read(data, address))  # noqa: B023 (called at once)
        with pytest.raises(library.login_error):
            library.read(old[group], address)
    deployment.project.assert_settled(NAMESPACE)
