"""Two stacks and a release of another program in one namespace and on one server: none changes what others own."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.e2e.cluster import Cluster
from tests.e2e.project import Project
from tests.e2e.servers import DatabaseServer

FIRST, SECOND = "neighbors-one", "neighbors-two"
NAMESPACE, OWN_NAMESPACE = "neighbors", "neighbors-blog"
ACCOUNTS = ("neighbors_shop_main", "neighbors_blog_main")
HELM = {
    "labels": {"app.kubernetes.io/managed-by": "Helm", "app.kubernetes.io/name": "redis"},
    "annotations": {"meta.helm.sh/release-name": "cache", "meta.helm.sh/release-namespace": NAMESPACE},
}
RELEASE: dict[str, dict[str, Any]] = {
    "Service": {"spec": {"type": "ExternalName", "externalName": "example.org"}},
    "Secret": {"data": {"password": "dGhlaXJz"}},
}
"""Objects of the release with names that a group `redis.main` has too."""


@pytest.fixture
def neighbors(cluster: Cluster, server: Callable[[str], DatabaseServer]) -> Iterator[DatabaseServer]:
    """Create the namespace with the release. Yield the server of both stacks, without the databases of the test."""
    found = server("postgresql-limited")
    found.drop(*ACCOUNTS)
    with ExitStack() as stack:
        stack.callback(found.drop, *ACCOUNTS)
        stack.callback(cluster.delete_namespace, OWN_NAMESPACE)
        stack.enter_context(cluster.create_namespace(NAMESPACE))
        for (kind, parts), name in zip(RELEASE.items(), ("redis", "redis-main"), strict=True):
            metadata = {"name": name, "namespace": NAMESPACE, **HELM}
            cluster.apply({"apiVersion": "v1", "kind": kind, "metadata": metadata, **parts})
        yield found


def build_stack(server: DatabaseServer, application: str, **keys: Any) -> dict[str, Any]:
    group = {"server": {"kind": "external", "provisionOn": "hq"}}
    databases = {"postgresql": {"main": group}, **keys.pop("databases", {})}
    return {
        "externalServers": {"hq": server.as_server()},
        "applications": {application: {"databases": databases, **keys}},
    }


def list_accounts(server: DatabaseServer) -> set[str]:
    """Return the databases and users of this test. Other tests use the server at the same time."""
    return {name for name in server.names() if name.startswith("neighbors_")}


def list_versions(cluster: Cluster) -> dict[tuple[str, str], str]:
    """Return the resource versions of the objects in the shared namespace: each change of an object changes its own."""
    core = cluster.core
    lists = {"Service": core.list_namespaced_service, "Secret": core.list_namespaced_secret}
    objects = {
        (kind, item.metadata.name): item.metadata.resource_version
        for kind, read in lists.items()
        for item in read(NAMESPACE).items
    }
    return {**objects, ("Namespace", NAMESPACE): core.read_namespace(NAMESPACE).metadata.resource_version}


def test_stacks_and_releases_do_not_change_each_other(
    project: Project, cluster: Cluster, neighbors: DatabaseServer
) -> None:
    existing = {"namespace": NAMESPACE, "createNamespace": False}
    release = list_versions(cluster)
    project.new(FIRST, build_stack(neighbors, "neighbors-shop", **existing))
    project.up(FIRST).succeeded()
    uri = cluster.read_secret(NAMESPACE, "postgresql-main")["uri"]
    versions, accounts = list_versions(cluster), list_accounts(neighbors)
    assert release.items() <= versions.items()

    project.new(SECOND, build_stack(neighbors, "neighbors-shop", databases={"redis": {"main": None}}, **existing))
    output = " ".join(project.up(SECOND).failed().output.split())
    place = f"in namespace '{NAMESPACE}', and"
    owned = f"{place} belongs to the stack 'organization/database-groups/{FIRST}'"
    for collision in (
        f"Service 'postgresql' exists {owned}",
        f"Secret 'postgresql-main' exists {owned}",
        f"Secret 'neighbors-shop-databases' exists {owned}",
        f"Service 'redis' exists {place} this stack did not create it",
        f"Secret 'redis-main' exists {place} this stack did not create it",
        "applications.neighbors-shop.databases.postgresql.main",
        "role neighbors_shop_main already exist on the server",
        "nothing was changed",
    ):
        assert collision in output
    assert (list_versions(cluster), list_accounts(neighbors)) == (versions, accounts)
    assert not [item for item in project.resources(SECOND) if item.get("custom") and "kubernetes:" in item["type"]]

    project.write(SECOND, build_stack(neighbors, "neighbors-blog"))
    project.up(SECOND).succeeded()
    assert list_accounts(neighbors) == set(ACCOUNTS)
    project.destroy(SECOND).succeeded()
    assert (list_versions(cluster), list_accounts(neighbors)) == (versions, accounts)
    with neighbors.login(uri) as session:
        assert session.run("SELECT 1") == [(1,)]

    project.destroy(FIRST).succeeded()
    assert list_versions(cluster) == release
    assert list_accounts(neighbors) == set()
