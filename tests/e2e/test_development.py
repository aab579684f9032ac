"""The development example, from nothing to nothing."""

from typing import Any

from tests.e2e.cluster import Cluster
from tests.e2e.project import Project

RESOURCES = {"pulumi:pulumi:Stack"}


def test_the_example_comes_up_settles_and_leaves_nothing(project: Project, pretend_node: Cluster) -> None:
    """`pulumi up`, again, refresh, preview, destroy."""
    project.new("development")
    project.up("development").succeeded()

    environment = pretend_node.secret("shop", "shop-databases")
    assert environment["DATABASE_URL"] == environment["POSTGRESQL_URL"]
    for engine, group in (("postgresql", "main"), ("redis", "cache")):
        connection = pretend_node.secret("shop", f"{engine}-{group}")
        assert environment[f"{engine.upper()}_URL"] == connection["uri"]
        assert environment[f"{engine.upper()}_{group.upper()}_PASSWORD"] == connection["password"]
        assert connection["host"] == engine
        assert pretend_node.core.read_namespaced_service(engine, "shop").spec.type == "ClusterIP"

    project.settles("development")
    project.destroy("development").succeeded()
    assert project.resources("development") == []
    pretend_node.gone("shop")


def test_a_rotation_and_another_primary_change_objects_where_they_are(project: Project, pretend_node: Cluster) -> None:
    """No Secret or Service is gone for a moment, and what they do not concern is not touched."""
    groups: dict[str, dict[str, Any]] = {"main": {"primary": True}, "spare": {}, "other": {}}
    config = {"applications": {"changes": {"databases": {"redis": groups}}}}
    project.new("changes", config)
    project.up("changes").succeeded()
    secrets = {name: pretend_node.core.read_namespaced_secret(f"redis-{name}", "changes") for name in groups}
    service = pretend_node.core.read_namespaced_service("redis", "changes")
    assert service.spec.selector["app.kubernetes.io/instance"] == "redis-main"

    groups["main"] = {"passwordVersion": 1}
    groups["spare"] = {"primary": True}
    project.write("changes", config)
    project.up("changes").succeeded()
    changed = {name: pretend_node.core.read_namespaced_secret(f"redis-{name}", "changes") for name in groups}
    assert changed["main"].metadata.uid == secrets["main"].metadata.uid
    assert changed["main"].data["password"] != secrets["main"].data["password"]
    assert changed["spare"].data["password"] == secrets["spare"].data["password"]
    assert changed["other"].metadata.resource_version == secrets["other"].metadata.resource_version
    assert (
        pretend_node.secret("changes", "changes-databases")["REDIS_MAIN_PASSWORD"]
        == pretend_node.secret("changes", "redis-main")["password"]
    )

    moved = pretend_node.core.read_namespaced_service("redis", "changes")
    assert moved.metadata.uid == service.metadata.uid
    assert moved.spec.selector["app.kubernetes.io/instance"] == "redis-spare"
    assert (
        pretend_node.core.read_namespaced_service("redis-main", "changes").spec.selector["app.kubernetes.io/instance"]
        == "redis-main"
    )
    assert pretend_node.secret("changes", "redis-spare")["host"] == "redis"
    project.settles("changes")


def test_mistakes_are_told_together_and_change_nothing(project: Project, pretend_node: Cluster) -> None:
    """Two mistakes, one message, no traceback, no secret, no resource."""
    project.new(
        "mistakes",
        {
            "externalServers": {
                "hq": {
                    "engine": "mysql",
                    "host": "db.example.org",
                    "administrator": {"username": "root", "password": "Canary-1"},
                    "tls": "maybe",
                }
            },
            "applications": {"mistakes": {"databases": {"mysql": {"main": {"server": {"kind": "remote"}}}}}},
        },
    )
    output = project.up("mistakes").failed().output
    assert (
        "applications.mistakes.databases.mysql.main.server.kind: 'remote' is none of dedicated, external, local"
        in output
    )
    assert "servers.hq.tls: 'maybe' is none of disable, require, verify-full" in output
    assert "Canary" not in output
    assert {resource["type"] for resource in project.resources("mistakes")} <= RESOURCES
    assert not pretend_node.has_namespace("mistakes")
