"""Interrupted updates: the next update continues with what Pulumi did not record, and overwrites nothing of others."""

import json
import re
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from components.persisted.names import DATABASE_RECORD_TYPE
from tests.e2e.cluster import Cluster
from tests.e2e.project import Project
from tests.e2e.servers import DatabaseServer, lab_server

pytestmark = pytest.mark.slow
STACK = "interrupted"
SHOP = "interrupted-shop"
ACCOUNT = "interrupted_shop_main"
GRANTED = "`" + ACCOUNT.replace("_", r"\_") + "`"
LOCAL = {"kind": "local"}
DELETION_SECONDS = 12
"""Seconds between the start of an update and the end of a namespace."""
EXTERNAL = {"kind": "external", "host": "10.99.0.79"}
FINALIZER = "database-groups.example/test"
LIMITED_SERVERS = ("postgresql-limited", "postgresql17-limited", "mysql")


def build_stack(**databases: Any) -> dict[str, Any]:
    return {"applications": {SHOP: {"databases": databases}}}


def build_provisioned_stack(server: DatabaseServer, **keys: Any) -> dict[str, Any]:
    group = {"server": {"kind": "external", "provisionOn": "hq", **keys}}
    return {"externalServers": {"hq": server.as_server()}, **build_stack(**{server.engine: {"main": group}})}


@pytest.fixture(autouse=True)
def clean_up(cluster: Cluster) -> Iterator[None]:
    """Delete what a failed test left: its stack does not know all of it."""
    yield
    cluster.delete_namespace(SHOP)
    for name in LIMITED_SERVERS:
        lab_server(name).drop(ACCOUNT)


def forget(project: Project, *types: str) -> None:
    """Remove the resources whose types begin with a text from the state, as if Pulumi had not recorded them."""
    exported = json.loads(project.pulumi("stack", "export", stack=STACK).succeeded().output)
    deployment = exported["deployment"]
    deployment["resources"] = [item for item in deployment["resources"] if not item["type"].startswith(types)]
    # The state cannot be imported with a dependency on a resource that it does not have.
    recorded = {item["urn"] for item in deployment["resources"]}
    for item in deployment["resources"]:
        item["dependencies"] = [urn for urn in item.get("dependencies", ()) if urn in recorded]
        item["propertyDependencies"] = {
            name: [urn for urn in urns or () if urn in recorded]
            for name, urns in item.get("propertyDependencies", {}).items()
        }
    path = project.folder / "state.json"
    path.write_text(json.dumps(exported))
    project.pulumi("stack", "import", "--file", str(path), stack=STACK).succeeded()


def has_pending_database(project: Project) -> bool:
    """Return whether the state has the beginning of a creation on a PostgreSQL server, and not its end."""
    (path,) = project.state.rglob(f"{STACK}.json")
    try:
        state = json.loads(path.read_text())
    except ValueError:  # Pulumi is writing it
        return False
    operations = state["checkpoint"]["latest"].get("pending_operations") or []
    return any(operation["resource"]["type"].startswith("postgresql:") for operation in operations)


def list_uids(cluster: Cluster) -> dict[tuple[str, str], str]:
    """Return the identities of the application's objects: another one is another object."""
    core = cluster.core
    lists = {
        "Service": core.list_namespaced_service,
        "Secret": core.list_namespaced_secret,
        "ConfigMap": core.list_namespaced_config_map,
        "PersistentVolumeClaim": core.list_namespaced_persistent_volume_claim,
        "Pod": core.list_namespaced_pod,
    }
    found = {(kind, item.metadata.name): item.metadata.uid for kind, read in lists.items() for item in read(SHOP).items}
    return {**found, ("Namespace", SHOP): core.read_namespace(SHOP).metadata.uid}


def test_objects_that_are_not_recorded_are_taken_up(project: Project, simulated_node: Cluster) -> None:
    # No server answers at the address of the external group.
    groups: dict[str, Any] = {"postgresql": {"main": {"server": LOCAL}}, "redis": {"far": {"server": EXTERNAL}}}
    project.new(STACK, {**build_stack(**groups), "preflight": False})
    project.up(STACK).succeeded()
    uids, secret = list_uids(simulated_node), simulated_node.read_secret(SHOP, "postgresql-main")
    forget(project, "kubernetes:")
    project.up(STACK).succeeded()
    assert list_uids(simulated_node) == uids
    assert simulated_node.read_secret(SHOP, "postgresql-main") == secret
    project.assert_settled(STACK)
    forget(project, "kubernetes:")
    changed: dict[str, Any] = {**LOCAL, "settings": {"max_connections": 50}}
    project.write(STACK, {**build_stack(**groups | {"postgresql": {"main": {"server": changed}}}), "preflight": False})
    project.up(STACK).succeeded()
    project.assert_settled(STACK)
    project.destroy(STACK).succeeded()
    assert not simulated_node.has_namespace(SHOP)


def test_update_that_was_killed_while_servers_start_is_finished_or_destroyed(
    project: Project, simulated_node: Cluster
) -> None:
    """Pulumi has not recorded the Services and servers for which it waits."""
    project.new(STACK, build_stack(postgresql={"main": {"server": LOCAL}}, redis={"cache": {"server": LOCAL}}))
    project.kill_up(STACK, lambda: bool(simulated_node.core.list_namespaced_pod(SHOP).items))
    uids = list_uids(simulated_node)
    secrets = {name: simulated_node.read_secret(SHOP, name) for kind, name in uids if kind == "Secret"}
    project.unlock(STACK)
    project.up(STACK).succeeded()
    assert uids.items() <= list_uids(simulated_node).items()
    assert secrets == {name: simulated_node.read_secret(SHOP, name) for name in secrets}
    project.assert_settled(STACK)
    project.destroy(STACK).succeeded()
    assert not simulated_node.has_namespace(SHOP)


def test_update_that_was_killed_while_databases_are_created_is_finished(
    project: Project, server: Callable[[str], DatabaseServer]
) -> None:
    found = server("postgresql-limited")
    groups = {f"g{number}": {"server": {"kind": "external", "provisionOn": "hq"}} for number in range(8)}
    names = {f"interrupted_shop_{group}" for group in groups}
    found.drop(*names)
    project.new(STACK, {"externalServers": {"hq": found.as_server()}, **build_stack(postgresql=groups)})
    try:
        project.kill_up(STACK, lambda: len(found.databases() & names) > 1 and has_pending_database(project))
        assert len(found.databases() & names) < len(names)
        project.unlock(STACK)
        unrecorded = project.python("-m", "stacks", "unrecorded", STACK).failed().output
        assert re.search("\n  postgresql (Database|Role|Grant) ", unrecorded)
        assert f"\n  make up STACK={STACK}\n" in unrecorded
        project.up(STACK).succeeded()
        assert names <= found.databases()
        project.assert_settled(STACK)
        project.python("-m", "stacks", "unrecorded", STACK).succeeded()
        project.destroy(STACK).succeeded()
        project.python("-m", "stacks", "unrecorded", STACK).succeeded()
        assert not names & found.names()
    finally:
        project.clean_up()
        found.drop(*names)


@pytest.mark.parametrize("preflight", [True, False])
def test_objects_of_others_are_not_overwritten(project: Project, cluster: Cluster, *, preflight: bool) -> None:
    with cluster.create_namespace(SHOP):
        cluster.core.create_namespaced_service(
            SHOP, {"metadata": {"name": "redis"}, "spec": {"type": "ExternalName", "externalName": "example.org"}}
        )
        raw = build_stack(redis={"far": {"server": EXTERNAL}})
        raw["applications"][SHOP]["createNamespace"] = False
        project.new(STACK, {**raw, "preflight": preflight})
        output = " ".join(project.up(STACK).failed().output.split())
        assert f"Service 'redis' exists in namespace '{SHOP}', and this stack did not create it" in output
        assert cluster.read_service(SHOP, "redis").spec.external_name == "example.org"
        raw["applications"][SHOP]["createNamespace"] = True
        project.write(STACK, {**raw, "preflight": preflight})
        output = " ".join(project.up(STACK).failed().output.split())
        assert f"namespace '{SHOP}' exists, and this stack did not create it" in output
        assert not cluster.core.read_namespace(SHOP).metadata.annotations


def delete_namespace_slowly(cluster: Cluster, seconds: float) -> threading.Timer:
    """Start the deletion of the application's namespace. An object in it delays its end."""
    metadata = {"name": "slow", "finalizers": [FINALIZER]}
    cluster.core.create_namespaced_config_map(SHOP, {"metadata": metadata})
    cluster.core.delete_namespace(SHOP)
    end = {"metadata": {"finalizers": None}}
    timer = threading.Timer(seconds, cluster.core.patch_namespaced_config_map, ("slow", SHOP, end))
    timer.start()
    return timer


def test_update_after_a_killed_destroy_waits_for_the_namespace(project: Project, cluster: Cluster) -> None:
    """The namespace has the stack's annotation. Pulumi recorded its deletion, or only that of the objects in it."""
    raw = {**build_stack(redis={"far": {"server": EXTERNAL}}), "preflight": False}
    project.new(STACK, raw)
    project.up(STACK).succeeded()
    uid = cluster.core.read_namespace(SHOP).metadata.uid
    forget(project, "kubernetes:")
    timer = delete_namespace_slowly(cluster, DELETION_SECONDS)
    output = " ".join(project.up(STACK).succeeded().output.split())
    timer.join()
    assert f"waiting until the cluster has deleted namespace '{SHOP}'" in output
    assert cluster.core.read_namespace(SHOP).metadata.uid != uid

    forget(project, "kubernetes:core/v1:Se", "kubernetes:discovery.k8s.io", "kubernetes:networking.k8s.io")
    timer = delete_namespace_slowly(cluster, DELETION_SECONDS)
    output = " ".join(project.up(STACK).failed().output.split())
    timer.join()
    assert f"namespace '{SHOP}' is in the state, but not in the cluster" in output
    assert not cluster.has_namespace(SHOP)
    project.pulumi("refresh", "--yes", "--skip-preview", stack=STACK).succeeded()
    project.up(STACK).succeeded()
    assert cluster.read_service(SHOP, "redis").spec.cluster_ip
    project.assert_settled(STACK)


def test_databases_and_users_that_are_not_recorded_are_taken_up(
    project: Project, cluster: Cluster, server: Callable[[str], DatabaseServer]
) -> None:
    """Only the last step of a killed update is not recorded. What follows it was not created."""
    steps: tuple[tuple[str, ...], ...] = (
        (DATABASE_RECORD_TYPE, "postgresql:", "mysql:"),
        (
            DATABASE_RECORD_TYPE,
            "postgresql:index/database:Database",
            "postgresql:index/grant:",
            "mysql:index/database:Database",
            "mysql:index/grant:",
        ),
        ("postgresql:index/grant:Grant", "mysql:index/grant:Grant"),
    )
    servers = {name: server(name) for name in LIMITED_SERVERS}
    for found in servers.values():
        found.drop(ACCOUNT)
    databases: dict[str, dict[str, Any]] = {"postgresql": {}, "mysql": {}}
    for name, found in servers.items():
        access = {"kind": "external", "provisionOn": name, "database": ACCOUNT, "username": ACCOUNT}
        databases[found.engine][name] = {"server": access}
    entries = {name: found.as_server() for name, found in servers.items()}
    project.new(STACK, {"externalServers": entries, **build_stack(**databases)})
    project.up(STACK).succeeded()

    def read_uris() -> dict[str, str]:
        return {name: cluster.read_secret(SHOP, f"{found.engine}-{name}")["uri"] for name, found in servers.items()}

    uris = read_uris()
    for number, types in enumerate(steps):
        for found in servers.values() if number == 0 else ():
            drop_database(found)
        forget(project, *types, "kubernetes:core/v1:Secret")
        project.up(STACK).succeeded()
        assert read_uris() == uris
        for name, found in servers.items():
            with found.login(uris[name]) as session:
                session.run("CREATE TABLE recovered (id integer)")
                session.run("DROP TABLE recovered")
        project.assert_settled(STACK)
    project.destroy(STACK).succeeded()
    assert not [name for name, found in servers.items() if ACCOUNT in found.names()]


def test_database_that_a_killed_destroy_dropped_is_created_again_or_forgotten(
    project: Project, server: Callable[[str], DatabaseServer]
) -> None:
    """The destroy deleted the record and the Secrets. Pulumi did not record the end of the database and its user."""
    found = server("postgresql17-limited")
    found.drop(ACCOUNT)
    project.new(STACK, build_provisioned_stack(found))
    project.up(STACK).succeeded()

    def kill_destroy() -> None:
        forget(project, DATABASE_RECORD_TYPE, "kubernetes:core/v1:Secret")
        found.drop(ACCOUNT)

    kill_destroy()
    output = " ".join(project.up(STACK).failed().output.split())
    assert f"database {ACCOUNT} and role {ACCOUNT} are in Pulumi's state, but missing on the server" in output
    assert "make refresh" in output
    assert ACCOUNT not in found.names()
    project.pulumi("refresh", "--yes", "--skip-preview", stack=STACK).succeeded()
    project.up(STACK).succeeded()
    assert ACCOUNT in found.databases()
    project.assert_settled(STACK)
    kill_destroy()
    project.destroy(STACK).succeeded()
    assert project.resources(STACK) == []


def drop_database(server: DatabaseServer) -> None:
    with server.administrator() as session:
        if server.engine == "postgresql":
            session.run(f'DROP DATABASE "{ACCOUNT}" WITH (FORCE)')
        else:
            session.run(f"DROP DATABASE `{ACCOUNT}`")
            session.run(f"REVOKE ALL PRIVILEGES ON {GRANTED}.* FROM '{ACCOUNT}'@'%'")


@pytest.mark.parametrize("name", LIMITED_SERVERS[1:])
def test_databases_with_data_and_users_of_others_are_rejected(
    name: str, project: Project, cluster: Cluster, server: Callable[[str], DatabaseServer]
) -> None:
    """The state does not have them, and the check before the update is off."""
    found = server(name)
    found.drop(ACCOUNT)
    project.new(STACK, {**build_provisioned_stack(found), "preflight": False})
    project.up(STACK).succeeded()
    with found.login(cluster.read_secret(SHOP, f"{found.engine}-main")["uri"]) as session:
        session.run("CREATE TABLE precious (id integer)")
    forget(
        project,
        DATABASE_RECORD_TYPE,
        f"{found.engine}:index/database:",
        f"{found.engine}:index/grant:",
        "kubernetes:core/v1:Secret",
    )
    output = " ".join(project.up(STACK).failed().output.split())
    assert f"the database '{ACCOUNT}' exists on the server, and this stack did not create it, or it is in use" in output
    with found.administrator(ACCOUNT) as session:
        assert session.run("SELECT count(*) FROM precious") == [(0,)]
    forget(project, DATABASE_RECORD_TYPE, f"{found.engine}:", "random:", "kubernetes:core/v1:Secret")
    output = " ".join(project.up(STACK).failed().output.split())
    assert f"'{ACCOUNT}' exists on the server, and this stack did not create it, or it is in use" in output
    assert ACCOUNT in found.databases()
    found.drop(ACCOUNT)
    project.up(STACK).succeeded()
