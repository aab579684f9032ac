"""Copies on a node with containers: a new group is filled from another one, and the short names move afterwards."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.e2e.cluster import Cluster
from tests.e2e.project import Project

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
NAMESPACE = "copies"
NAMESPACES = (NAMESPACE, "copies-redis")
IMAGES = ("postgres:15", "postgres:17")
REDIS_NAMESPACE = "copies-redis"
REDIS_CLI = 'REDISCLI_AUTH="$(cat /run/server/password)" redis-cli'
SERVER = {"kind": "dedicated", "resources": {"cpu": "100m", "memory": "512Mi"}}
PSQL = (
    'PGPASSWORD="$APPLICATION_PASSWORD" psql --no-psqlrc -tA -v ON_ERROR_STOP=1'
    ' -h "$POD_IP" -U "$APPLICATION_USERNAME" -d "$APPLICATION_DATABASE"'
)


def build_stack(main: dict[str, Any], other: dict[str, Any] | None = None) -> dict[str, Any]:
    groups = {"main": {"server": {**SERVER, "version": "15"}, **main}}
    if other:
        groups["next"] = {"server": {**SERVER, "version": "17"}, **other}
    return {"applications": {NAMESPACE: {"createNamespace": False, "databases": {"postgresql": groups}}}}


def test_group_is_filled_once_and_then_again_on_purpose(
    module_project: Project, real_node: Cluster, build_images: Callable[..., None]
) -> None:
    build_images(*IMAGES)

    def query(group: str, statement: str) -> str:
        succeeded, output = real_node.run(NAMESPACE, f"postgresql-{group}-0", f'{PSQL} -c "{statement}"')
        assert succeeded, output
        return output.strip()

    with real_node.create_namespace(NAMESPACE):
        module_project.new(NAMESPACE, build_stack({"primary": True}))
        module_project.up(NAMESPACE).succeeded()
        query("main", "CREATE TABLE saved AS SELECT generate_series(1, 1000) AS value")

        module_project.write(NAMESPACE, build_stack({"primary": True}, {"from": {"group": "main"}}))
        module_project.up(NAMESPACE).succeeded()
        assert query("next", "SELECT count(*) FROM saved") == "1000"

        # A second run finds the data of the first one.
        query("main", "INSERT INTO saved VALUES (1001)")
        second = {"primary": True, "from": {"group": "main", "run": 2}}
        module_project.write(NAMESPACE, build_stack({"primary": False}, second))
        output = module_project.up(NAMESPACE).failed().output
        assert f"kubectl logs --namespace {NAMESPACE} job/postgresql-next-from-2" in output
        selector = real_node.read_service(NAMESPACE, "postgresql").spec.selector
        assert selector["app.kubernetes.io/instance"] == "postgresql-main"

        third = {"primary": True, "from": {"group": "main", "run": 3, "overwrite": True}}
        module_project.write(NAMESPACE, build_stack({"primary": False}, third))
        module_project.up(NAMESPACE).succeeded()
        assert query("next", "SELECT count(*) FROM saved") == "1001"
        selector = real_node.read_service(NAMESPACE, "postgresql").spec.selector
        assert selector["app.kubernetes.io/instance"] == "postgresql-next"

        module_project.write(NAMESPACE, build_stack({"primary": False}, {"primary": True}))
        module_project.up(NAMESPACE).succeeded()
        assert query("next", "SELECT count(*) FROM saved") == "1001"
        module_project.destroy(NAMESPACE).succeeded()


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
