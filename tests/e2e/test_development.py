"""The development example, from nothing to nothing."""

from tests.e2e.cluster import Cluster
from tests.e2e.project import Project

RESOURCES = {"pulumi:pulumi:Stack"}


def test_the_example_comes_up_settles_and_leaves_nothing(project: Project, pretend_node: Cluster) -> None:
    """`pulumi up`, again, refresh, preview, destroy."""
    project.new("development")
    project.up("development").succeeded()

    environment = pretend_node.secret("shop", "shop-databases")
    for engine, group in (("mysql", "main"), ("postgresql", "main"), ("redis", "cache")):
        connection = pretend_node.secret("shop", f"{engine}-{group}")
        assert environment[f"{engine.upper()}_URL"] == connection["uri"]
        assert environment[f"{engine.upper()}_{group.upper()}_PASSWORD"] == connection["password"]
        assert connection["host"] == engine
        assert pretend_node.core.read_namespaced_service(engine, "shop").spec.type == "ClusterIP"

    project.settles("development")
    project.destroy("development").succeeded()
    assert project.resources("development") == []
    pretend_node.gone("shop")


def test_a_rotation_updates_the_secret_where_it_is_and_rolls_the_server(project: Project, pretend_node: Cluster) -> None:
    """Nothing but the password's own resources changes, and none of them is gone for a moment."""
    databases = {"redis": {"main": {"server": "local"}, "spare": {"server": "local"}}}
    project.new("rotation", {"applications": {"rotation": {"databases": databases}}})
    project.up("rotation").succeeded()
    before = {name: pretend_node.core.read_namespaced_secret(name, "rotation") for name in ("redis-main", "redis-spare", "rotation-databases")}

    databases["redis"]["main"]["rotation"] = 1  # type: ignore[assignment]
    project.write("rotation", {"applications": {"rotation": {"databases": databases}}})
    project.up("rotation").succeeded()
    after = {name: pretend_node.core.read_namespaced_secret(name, "rotation") for name in before}

    assert after["redis-main"].data["password"] != before["redis-main"].data["password"]
    assert after["redis-main"].metadata.uid == before["redis-main"].metadata.uid
    assert after["redis-spare"].metadata.resource_version == before["redis-spare"].metadata.resource_version
    assert after["rotation-databases"].data["REDIS_MAIN_PASSWORD"] == after["redis-main"].data["password"]
    project.settles("rotation")


def test_another_primary_moves_the_service_without_a_gap(project: Project, pretend_node: Cluster) -> None:
    """The Service `redis` stays the object that it was, and leads to the other group."""
    groups = {"main": {"primary": True}, "spare": {"primary": False}}
    config = {"applications": {"primary": {"databases": {"redis": groups}}}}
    project.new("primary", config)
    project.up("primary").succeeded()
    before = pretend_node.core.read_namespaced_service("redis", "primary")
    assert before.spec.selector["app.kubernetes.io/instance"] == "redis-main"

    groups["main"]["primary"], groups["spare"]["primary"] = False, True
    project.write("primary", config)
    project.up("primary").succeeded()
    after = pretend_node.core.read_namespaced_service("redis", "primary")
    assert after.metadata.uid == before.metadata.uid
    assert after.spec.selector["app.kubernetes.io/instance"] == "redis-spare"
    assert pretend_node.core.read_namespaced_service("redis-main", "primary").spec.selector["app.kubernetes.io/instance"] == "redis-main"
    assert pretend_node.secret("primary", "redis-spare")["host"] == "redis"
    project.settles("primary")


def test_mistakes_are_told_together_and_change_nothing(project: Project, pretend_node: Cluster) -> None:
    """Two mistakes, one message, no traceback, no secret, no resource."""
    project.new(
        "mistakes",
        {
            "servers": {"hq": {"engine": "mysql", "host": "db.example.org", "administrator": {"username": "root", "password": "Canary-1"}, "tls": "maybe"}},
            "applications": {"mistakes": {"databases": {"mysql": {"main": {"server": {"kind": "remote"}}}}}},
        },
    )
    output = project.up("mistakes").failed().output
    assert "applications.mistakes.databases.mysql.main.server.kind: 'remote' is none of dedicated, external, local" in output
    assert "servers.hq.tls: 'maybe' is none of disable, require, verify-full" in output
    assert "Canary" not in output
    assert {resource["type"] for resource in project.resources("mistakes")} <= RESOURCES
    assert not pretend_node.has_namespace("mistakes")
