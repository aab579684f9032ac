"""Copies on a node with containers: a new group is filled from another one, and the short names move afterwards."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.e2e.cluster import Cluster
from tests.e2e.project import Project

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@dataclass(frozen=True, kw_only=True)
class Case:
    """An engine whose data moves."""

    engine: str
    images: tuple[str, ...]
    versions: tuple[str, str]
    """Release series of the old and the new group."""
    client: str
    """Command in a server's Pod that runs the statement of its standard input as the application."""
    create: str
    """Statement that creates the table `saved` with 1000 rows."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    objects: str = "SELECT 1"
    """Statement that creates other objects."""

    @property
    def namespace(self) -> str:
        return f"copies-{self.engine}"

    def build_stack(self, main: dict[str, Any], other: dict[str, Any] | None = None) -> dict[str, Any]:
        servers = [
            {
                "kind": "dedicated",
                "version": version,
                "settings": dict(self.settings),
                "resources": {"cpu": "100m", "memory": "1Gi"},
            }
            for version in self.versions
        ]
        groups = {"main": {"server": servers[0], **main}}
        if other:
            groups["next"] = {"server": servers[1], **other}
        return {"applications": {self.namespace: {"createNamespace": False, "databases": {self.engine: groups}}}}


CASES = (
    Case(
        engine="postgresql",
        images=("postgres:15", "postgres:17"),
        versions=("15", "17"),
        client='PGPASSWORD="$APPLICATION_PASSWORD" psql --no-psqlrc -tA -v ON_ERROR_STOP=1'
        ' -h "$POD_IP" -U "$APPLICATION_USERNAME" -d "$APPLICATION_DATABASE"',
        create="CREATE TABLE saved AS SELECT generate_series(1, 1000) AS value",
    ),
    # The only series in Debian.
    Case(
        engine="mysql",
        images=("mysql:9.7",),
        versions=("9.7", "9.7"),
        settings={"log_bin_trust_function_creators": True},
        client="mysql --defaults-file=/var/run/mysqld/application.cnf --batch --skip-column-names"
        ' --protocol=TCP --host="$POD_IP" --database="$APPLICATION_DATABASE"',
        create="CREATE TABLE saved AS WITH RECURSIVE numbers (value) AS"
        " (SELECT 1 UNION ALL SELECT value + 1 FROM numbers WHERE value < 1000) SELECT value FROM numbers",
        objects="CREATE TRIGGER negate BEFORE INSERT ON saved FOR EACH ROW SET NEW.value = -NEW.value",
    ),
)
REDIS_NAMESPACE = "copies-redis"
INFLUXDB_NAMESPACE = "copies-influxdb"
REDIS_CLI = 'REDISCLI_AUTH="$(cat /run/server/password)" redis-cli'
NAMESPACES = (*(case.namespace for case in CASES), REDIS_NAMESPACE, INFLUXDB_NAMESPACE)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.engine)
def test_group_is_filled_once_and_then_again_on_purpose(
    module_project: Project, real_node: Cluster, build_images: Callable[..., None], case: Case
) -> None:
    build_images(*case.images)
    namespace, service, build_stack = case.namespace, case.engine, case.build_stack

    def query(group: str, statement: str) -> str:
        command = f"{case.client} <<'STATEMENT'\n{statement};\nSTATEMENT"
        succeeded, output = real_node.run(namespace, f"{case.engine}-{group}-0", command)
        assert succeeded, output
        return output.strip()

    def read_primary() -> str:
        return str(real_node.read_service(namespace, service).spec.selector["app.kubernetes.io/instance"])

    with real_node.create_namespace(namespace):
        module_project.new(namespace, build_stack({"primary": True}))
        module_project.up(namespace).succeeded()
        query("main", case.create)
        query("main", case.objects)

        module_project.write(namespace, build_stack({"primary": True}, {"from": {"group": "main"}}))
        module_project.up(namespace).succeeded()
        assert query("next", "SELECT count(*) FROM saved") == "1000"

        # A second run finds the data of the first one.
        query("main", "INSERT INTO saved VALUES (1001)")
        second = {"primary": True, "from": {"group": "main", "run": 2}}
        module_project.write(namespace, build_stack({"primary": False}, second))
        output = module_project.up(namespace).failed().output
        assert f"kubectl logs --namespace {namespace} job/{case.engine}-next-from-2" in output
        assert read_primary() == f"{case.engine}-main"

        third = {"primary": True, "from": {"group": "main", "run": 3, "overwrite": True}}
        module_project.write(namespace, build_stack({"primary": False}, third))
        module_project.up(namespace).succeeded()
        assert query("next", "SELECT count(*) FROM saved") == "1001"
        assert read_primary() == f"{case.engine}-next"

        module_project.write(namespace, build_stack({"primary": False}, {"primary": True}))
        module_project.up(namespace).succeeded()
        assert query("next", "SELECT count(*) FROM saved") == "1001"
        module_project.destroy(namespace).succeeded()


def test_redis_becomes_valkey_and_valkey_becomes_redis(
    module_project: Project, real_node: Cluster, build_images: Callable[..., None]
) -> None:
    """The names of the keys have bytes that no text has. `third` is filled from the copy."""
    build_images("redis:7", "valkey/valkey:8")
    server = {"kind": "local", "resources": {"cpu": "100m", "memory": "256Mi"}}
    redis, valkey = {"server": {**server, "version": "7"}}, {"variant": "valkey", "server": {**server, "version": "8"}}

    def run(group: str, command: str) -> str:
        succeeded, output = real_node.run(REDIS_NAMESPACE, f"redis-{group}-0", f"{REDIS_CLI} {command}")
        assert succeeded, output
        return output.strip()

    def update(**databases: Any) -> Any:
        application = {"createNamespace": False, "databases": {"redis": databases}}
        module_project.write(REDIS_NAMESPACE, {"applications": {REDIS_NAMESPACE: application}})
        return module_project.up(REDIS_NAMESPACE)

    fill = "for i = 1, 5000 do redis.call('HSET', 'k\\\\r\\\\n\\\\255' .. i, 'f', i) end"
    with real_node.create_namespace(REDIS_NAMESPACE):
        module_project.new(REDIS_NAMESPACE, {"applications": {}})
        main = {**redis, "primary": True}
        update(main=main).succeeded()
        run("main", f'EVAL "{fill}" 0')
        run("main", "SET lasting x EXAT 4102444800")
        update(main=main, next={**valkey, "from": {"group": "main"}}).succeeded()
        assert run("next", "DBSIZE") == "5001"
        assert run("next", "PEXPIRETIME lasting") == "4102444800000"
        assert "valkey" in run("next", "INFO server")

        update(main=main, next=valkey, third={**redis, "from": {"group": "next"}}).succeeded()
        assert run("third", "DBSIZE") == "5001"

        # A second copy finds the data of the first one.
        run("next", "DEL lasting")
        update(main=main, next=valkey, third={**redis, "from": {"group": "next", "run": 2}}).failed()
        again = {"group": "next", "run": 3, "overwrite": True}
        update(main=main, next=valkey, third={**redis, "from": again}).succeeded()
        assert run("third", "DBSIZE") == "5000"
        module_project.destroy(REDIS_NAMESPACE).succeeded()


@pytest.mark.skipif(
    "IMAGE_PROGRAMS" not in os.environ, reason="IMAGE_PROGRAMS is not set; no Debian package has InfluxDB"
)
def test_bucket_of_influxdb_is_copied_with_the_tokens_of_the_groups(
    module_project: Project, real_node: Cluster, build_images: Callable[..., None]
) -> None:
    build_images("influxdb:2.7")
    group = {"server": {"kind": "local", "version": "2.7", "resources": {"cpu": "100m", "memory": "512Mi"}}}

    def run(name: str, command: str) -> str:
        succeeded, output = real_node.run(INFLUXDB_NAMESPACE, f"influxdb-{name}-0", command)
        assert succeeded, output
        return output.strip()

    def update(**databases: Any) -> Any:
        application = {"createNamespace": False, "databases": {"influxdb": databases}}
        module_project.write(INFLUXDB_NAMESPACE, {"applications": {INFLUXDB_NAMESPACE: application}})
        return module_project.up(INFLUXDB_NAMESPACE)

    write = "influx write --bucket \"$APPLICATION_BUCKET\" '{}'"
    read = 'influx query --raw "from(bucket: \\"$APPLICATION_BUCKET\\") |> range(start: 0)" | grep \'^,,\''
    with real_node.create_namespace(INFLUXDB_NAMESPACE):
        module_project.new(INFLUXDB_NAMESPACE, {"applications": {}})
        main = {**group, "primary": True}
        update(main=main).succeeded()
        run("main", write.format('saved,tag=é text="a, b" 1700000000123456789'))
        update(main=main, next={**group, "from": {"group": "main"}}).succeeded()
        assert '2023-11-14T22:13:20.123456789Z,"a, b",text,saved,é' in run("next", read)

        # A second copy finds the value of the first one.
        run("main", write.format("saved,tag=b value=1i 1700000000123456789"))
        update(main=main, next={**group, "from": {"group": "main", "run": 2}}).failed()
        update(main=main, next={**group, "from": {"group": "main", "run": 3, "overwrite": True}}).succeeded()
        assert len(run("next", read).splitlines()) == 2
        module_project.destroy(INFLUXDB_NAMESPACE).succeeded()
