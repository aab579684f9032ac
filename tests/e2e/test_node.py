"""Servers that really run: on a node with containers, under Pod Security `restricted`, reached by an application through its Services."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

import psycopg
import pymysql
import pytest
import redis

from tests.e2e.cluster import Cluster, until
from tests.e2e.conftest import variable
from tests.e2e.project import Project

BUILDER = Path(__file__).parent / "images" / "build.py"
NAMESPACE = "running"
BUILD_SECONDS = 900


@dataclass(frozen=True, kw_only=True)
class Client:
    """How an application uses a group, as shell scripts that run in a Pod with the application's variables."""

    engine: str
    image: str
    """The image that has the client; the server's own."""
    server: dict[str, str]
    save: str
    read: str
    """Prints 42 once `save` has run."""
    forbidden: tuple[str, ...] = ()
    """What only a superuser may do."""
    intruders: tuple[str, ...] = ()
    """Logins of others than the application."""

    @property
    def pod(self) -> str:
        return f"{self.engine}-main-0"


PSQL = 'psql --no-psqlrc -v ON_ERROR_STOP=1 -tA "$POSTGRESQL_URL"'
MYSQL = 'mysql -h "$MYSQL_ADDRESS" -P "$MYSQL_PORT" -u "$MYSQL_USERNAME" "-p$MYSQL_PASSWORD" -N "$MYSQL_DATABASE"'
# Its redis-cli takes no URI without a user name; the libraries do.
REDIS = 'REDISCLI_AUTH="$REDIS_PASSWORD" redis-cli -h "$REDIS_ADDRESS" -p "$REDIS_PORT"'
CLIENTS = (
    Client(
        engine="postgresql",
        image="docker.io/library/postgres:17",
        server={"kind": "local", "version": "17"},
        save=f"{PSQL} -c 'CREATE TABLE kept (value int)' -c 'INSERT INTO kept VALUES (42)'",
        read=f"{PSQL} -c 'SELECT value FROM kept'",
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
        server={"kind": "local", "version": "7"},
        save=f'test "$({REDIS} set kept 42)" = OK',
        read=f"{REDIS} get kept",
        intruders=(
            'redis-cli -h "$REDIS_ADDRESS" ping | grep PONG',
            'REDISCLI_AUTH=wrong redis-cli -h "$REDIS_ADDRESS" ping | grep PONG',
        ),
    ),
    Client(
        engine="mysql",
        image="docker.io/library/mysql:9.7",
        server={"kind": "local", "version": "9.7"},
        save=f"{MYSQL} -e 'CREATE TABLE kept (value int); INSERT INTO kept VALUES (42)'",
        read=f"{MYSQL} -e 'SELECT value FROM kept' 2>/dev/null",
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


@pytest.fixture(scope="module")
def running(module_project: Project, real_node: Cluster) -> Iterator["Running"]:
    """A stack with a local group of each engine on the real node."""
    program = variable("LAB_IMAGE")
    images = [client.image.removeprefix("docker.io/").removeprefix("library/") for client in CLIENTS]
    subprocess.run([sys.executable, str(BUILDER), *images], check=True, timeout=BUILD_SECONDS, env={**module_project.environment, "LAB_IMAGE": program})
    with real_node.namespace(NAMESPACE):
        running = Running(module_project, real_node)
        running.start()
        yield running
        module_project.destroy(NAMESPACE).succeeded()


class Running:
    """The stack, and the Pods of its application."""

    def __init__(self, project: Project, cluster: Cluster) -> None:
        self.project, self.cluster = project, cluster
        self.rotation = 0

    def start(self) -> None:
        self.project.new(NAMESPACE, self.config())
        self.project.up(NAMESPACE).succeeded()
        self.start_clients()

    def config(self) -> dict[str, object]:
        databases = {client.engine: {"main": {"rotation": self.rotation, "server": client.server}} for client in CLIENTS}
        return {"applications": {NAMESPACE: {"createNamespace": False, "databases": databases}}}

    def rotate(self) -> None:
        """Another password for each group, on the volumes that there are."""
        self.rotation += 1
        self.project.write(NAMESPACE, self.config())
        self.project.up(NAMESPACE).succeeded()
        self.start_clients()

    def start_clients(self) -> None:
        """Starts a Pod for each client, as one of the application's: with its variables, and nothing else to find its databases by."""
        for client in CLIENTS:
            name = f"client-{client.engine}-{self.rotation}"
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
            self.cluster.ready_pod(NAMESPACE, f"client-{client.engine}-{self.rotation}")

    def reads(self, client: Client) -> None:
        """The client reads what it saved; the Service may take a moment to lead to a new Pod."""
        until(20, f"{client.engine} has its data", lambda: self.run(client, client.read) == (True, "42\n") or None)

    def run(self, client: Client, script: str, *, rotation: int | None = None) -> tuple[bool, str]:
        """Runs a script in a client's Pod: the newest one, or one that still has the variables of an earlier rotation."""
        pod = f"client-{client.engine}-{self.rotation if rotation is None else rotation}"
        return self.cluster.run(NAMESPACE, pod, script)


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.engine)
def test_an_application_uses_its_group_and_no_more(running: Running, client: Client) -> None:
    """Through the named Service, with the variables; the superuser's rights are not its own, and nobody else gets in."""
    succeeded, output = running.run(client, client.save)
    assert succeeded, output
    running.reads(client)
    for script in client.forbidden:
        assert not running.run(client, script)[0], script
    for script in client.intruders:
        succeeded, output = running.run(client, script)
        assert not succeeded, f"{script}: {output}"


def open_postgresql(uri: str, address: str) -> None:
    with psycopg.connect(uri, hostaddr=address, connect_timeout=5) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def open_mysql(uri: str, address: str) -> None:
    parts = urlsplit(uri)
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    with pymysql.connect(host=address, port=parts.port or 0, user=user, password=password, database=unquote(parts.path[1:])) as connection:
        assert connection.cursor().execute("SELECT 1") == 1


def open_redis(uri: str, address: str) -> None:
    with redis.Redis.from_url(uri.replace("@redis:", f"@{address}:")) as connection:
        assert connection.ping()


@pytest.mark.parametrize(("engine", "open_uri"), [("postgresql", open_postgresql), ("mysql", open_mysql), ("redis", open_redis)])
def test_the_uri_is_what_libraries_take(running: Running, engine: str, open_uri: Callable[[str, str], None]) -> None:
    """The Secret's `uri` as it is; only the Service's name is looked up by hand, since this process is in no Pod."""
    address = running.cluster.core.read_namespaced_service(engine, NAMESPACE).spec.cluster_ip
    open_uri(running.cluster.secret(NAMESPACE, f"{engine}-main")["uri"], address)


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.engine)
def test_a_new_pod_has_the_data_and_the_password(running: Running, client: Client) -> None:
    """After the Pod was deleted."""
    running.cluster.restart(NAMESPACE, client.pod)
    running.reads(client)


def test_a_kept_volume_gets_the_password_of_the_secret(running: Running) -> None:
    """The volumes were initialised with other passwords. The old ones are refused, and the data is there."""
    running.rotate()
    for client in CLIENTS:
        running.reads(client)
        assert "42" not in running.run(client, client.read, rotation=0)[1], client.engine
    running.project.settles(NAMESPACE)
    for client in CLIENTS:
        running.cluster.restart(NAMESPACE, client.pod)
        running.reads(client)
