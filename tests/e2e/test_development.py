"""The development example, and changes of a small stack, from the first update to the destruction."""

from typing import Any

from tests.e2e.cluster import Cluster
from tests.e2e.project import Project


def test_example_deploys_settles_and_leaves_nothing(project: Project, simulated_node: Cluster) -> None:
    project.new("development")
    project.up("development").succeeded()

    environment = simulated_node.read_secret("shop", "shop-databases")
    assert environment["DATABASE_URL"] == environment["POSTGRESQL_URL"]
    for engine, group in (("postgresql", "main"), ("redis", "cache")):
        connection = simulated_node.read_secret("shop", f"{engine}-{group}")
        assert environment[f"{engine.upper()}_URL"] == connection["uri"]
        assert environment[f"{engine.upper()}_{group.upper()}_PASSWORD"] == connection["password"]
        assert connection["host"] == engine
        assert simulated_node.read_service("shop", engine).spec.type == "ClusterIP"

    project.assert_settled("development")
    project.destroy("development").succeeded()
    assert project.resources("development") == []
    simulated_node.wait_until_deleted("shop")


def test_password_version_and_primary_change_objects_in_place(project: Project, simulated_node: Cluster) -> None:
    """Pulumi replaces no Secret and no Service, and it does not change the objects of other groups."""
    groups: dict[str, dict[str, Any]] = {"main": {"primary": True}, "spare": {}, "other": {}}
    config = {"applications": {"changes": {"databases": {"redis": groups}}}}
    project.new("changes", config)
    project.up("changes").succeeded()

    def read_secrets() -> dict[str, Any]:
        return {name: simulated_node.core.read_namespaced_secret(f"redis-{name}", "changes") for name in groups}

    def read_selected_server(service: str) -> str:
        return str(simulated_node.read_service("changes", service).spec.selector["app.kubernetes.io/instance"])

    old, service = read_secrets(), simulated_node.read_service("changes", "redis")
    assert read_selected_server("redis") == "redis-main"

    groups["main"] = {"passwordVersion": 1}
    groups["spare"] = {"primary": True}
    project.write("changes", config)
    project.up("changes").succeeded()
    new = read_secrets()
    assert new["main"].metadata.uid == old["main"].metadata.uid
    assert new["main"].data["password"] != old["main"].data["password"]
    assert new["spare"].data["password"] == old["spare"].data["password"]
    assert new["other"].metadata.resource_version == old["other"].metadata.resource_version
    environment = simulated_node.read_secret("changes", "changes-databases")
    assert environment["REDIS_MAIN_PASSWORD"] == simulated_node.read_secret("changes", "redis-main")["password"]

    assert simulated_node.read_service("changes", "redis").metadata.uid == service.metadata.uid
    assert read_selected_server("redis") == "redis-spare"
    assert read_selected_server("redis-main") == "redis-main"
    assert simulated_node.read_secret("changes", "redis-spare")["host"] == "redis"
    project.assert_settled("changes")


def test_errors_are_reported_together_and_change_nothing(project: Project, simulated_node: Cluster) -> None:
    """One message has both errors, without a traceback and a secret."""
    administrator = {"username": "root", "password": "Canary-1"}
    server = {"engine": "mysql", "host": "db.example.org", "administrator": administrator, "tls": "maybe"}
    databases = {"mysql": {"main": {"server": {"kind": "remote"}}}}
    config = {"externalServers": {"hq": server}, "applications": {"errors": {"databases": databases}}}
    project.new("errors", config)
    output = project.up("errors").failed().output
    assert "applications.errors.databases.mysql.main.server.kind: " in output
    assert "externalServers.hq.tls: " in output
    assert "'remote'" in output
    assert "'maybe'" in output
    assert "nothing was changed" in output
    assert "Canary" not in output
    assert {resource["type"] for resource in project.resources("errors")} <= {"pulumi:pulumi:Stack"}
    assert not simulated_node.has_namespace("errors")
