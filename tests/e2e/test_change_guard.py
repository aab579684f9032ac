"""No edit of a production stack loses data, and no edit opens the data of another version: the preview rejects it."""

import copy
from collections.abc import Callable
from typing import Any

import pytest

from tests.e2e.cluster import Cluster
from tests.e2e.project import Project
from tests.e2e.servers import REFUSED, DatabaseServer

STACK = "guarded"
ACCOUNT = "guarded_main"
DATABASES = f"applications.{STACK}.databases"

Edit = Callable[[dict[str, Any]], Any]


def get_databases(config: dict[str, Any]) -> dict[str, Any]:
    databases: dict[str, Any] = config["applications"][STACK]["databases"]
    return databases


def change_series(config: dict[str, Any]) -> None:
    get_databases(config)["mysql"]["own"]["server"]["version"] = "9.7"


def change_variant(config: dict[str, Any]) -> None:
    get_databases(config)["mysql"]["own"]["variant"] = "percona"


def change_engine(config: dict[str, Any]) -> None:
    get_databases(config)["mysql"]["main"] = {"server": {"kind": "dedicated"}}
    remove_group(config)


def change_kind(config: dict[str, Any]) -> None:
    get_databases(config)["postgresql"]["main"]["server"] = {"kind": "dedicated"}


def rename_group(config: dict[str, Any]) -> None:
    get_databases(config)["postgresql"]["first"] = get_databases(config)["postgresql"].pop("main")


def remove_group(config: dict[str, Any]) -> None:
    get_databases(config)["postgresql"].pop("main")


def rename_application(config: dict[str, Any]) -> None:
    config["applications"]["renamed"] = config["applications"].pop(STACK)


EDITS: tuple[tuple[Edit, str], ...] = (
    (change_series, f"{DATABASES}.mysql.own.server.version: "),
    (change_variant, f"{DATABASES}.mysql.own.variant: "),
    (change_engine, f"{DATABASES}.postgresql.main: "),
    (change_kind, f"{DATABASES}.postgresql.main.server.kind: "),
    (rename_group, f"{DATABASES}.postgresql.main: "),
    (remove_group, f"{DATABASES}.postgresql.main: "),
    (rename_application, f"applications.{STACK}: "),
)
"""Each edit, and the path of its error."""


def apply_edit(config: dict[str, Any], edit: Edit) -> dict[str, Any]:
    """Return an edited copy of a stack."""
    edited = copy.deepcopy(config)
    edit(edited)
    return edited


def build_stack(server: DatabaseServer, environment: str, protect: Any = None) -> dict[str, Any]:
    """Return a stack with a provisioned group and two dedicated servers. `protect` applies to two of the groups."""
    key = {} if protect is None else {"protect": protect}
    databases = {
        "postgresql": {
            "main": {"server": {"kind": "external", "provisionOn": "hq"}, **key},
            "other": {"server": {"kind": "dedicated"}},
        },
        "mysql": {"own": {"server": {"kind": "dedicated", "version": "8.4"}, **key}},
    }
    return {
        "environment": environment,
        "externalServers": {"hq": server.as_server()},
        "applications": {STACK: {"databases": databases}},
    }


def write_row(server: DatabaseServer, uri: str) -> None:
    with server.login(uri) as session:
        session.run("CREATE TABLE saved (value INT)")
        session.run("INSERT INTO saved VALUES (7)")


def assert_row_exists(server: DatabaseServer, uri: str) -> None:
    with server.login(uri) as session:
        assert session.run("SELECT value FROM saved") == [(7,)]


def test_data_survives_every_edit_of_a_production_stack_until_protect_is_false(
    project: Project, simulated_node: Cluster, server: Callable[[str], DatabaseServer]
) -> None:
    postgresql = server("postgresql-limited")
    postgresql.drop(ACCOUNT)
    config = build_stack(postgresql, "production")
    project.new(STACK, config)
    try:
        project.up(STACK).succeeded()
        uri = simulated_node.read_secret(STACK, "postgresql-main")["uri"]
        write_row(postgresql, uri)

        for edit, path in EDITS:
            project.write(STACK, apply_edit(config, edit))
            output = project.preview(STACK).failed().output
            assert path in output
            assert "nothing was changed" in output
            assert "docs/upgrading.md" in output or edit not in (change_series, change_variant)
        # The update itself also rejects the edit, before it changes anything.
        urns = {resource["urn"] for resource in project.resources(STACK)}
        project.write(STACK, apply_edit(config, remove_group))
        assert f"{DATABASES}.postgresql.main: " in project.up(STACK).failed().output
        assert {resource["urn"] for resource in project.resources(STACK)} == urns
        project.write(STACK, config)
        project.assert_settled(STACK)
        assert simulated_node.read_secret(STACK, "postgresql-main")["uri"] == uri
        assert_row_exists(postgresql, uri)

        unprotected = copy.deepcopy(config)
        get_databases(unprotected)["postgresql"]["main"]["protect"] = False
        project.write(STACK, unprotected)
        project.up(STACK).succeeded()
        # Without the group, two names that Pods use would be removed.
        removed = apply_edit(config, remove_group)
        project.write(STACK, removed)
        output = project.preview(STACK).failed().output
        assert f"{DATABASES}.postgresql.other: the Service 'postgresql-other' would be removed" in output
        assert f"applications.{STACK}: DATABASE_URL pointed to mysql.own" in output
        get_databases(removed)["postgresql"]["other"]["primary"] = False
        removed["applications"][STACK]["databaseUrl"] = "mysql.own"
        project.write(STACK, removed)
        project.up(STACK).succeeded()
        with pytest.raises(REFUSED):
            postgresql.login(uri)
        assert ACCOUNT not in postgresql.names()
        assert "protect" in project.destroy(STACK).failed().output
    finally:
        project.clean_up()
        postgresql.drop(ACCOUNT)
        simulated_node.delete_namespace(STACK)  # a production stack retains its namespaces


def test_removed_groups_with_protect_retain_leave_their_data(
    project: Project, simulated_node: Cluster, server: Callable[[str], DatabaseServer]
) -> None:
    """The database, its user and the volume claim remain. Pulumi no longer manages them."""
    postgresql = server("postgresql-limited")
    postgresql.drop(ACCOUNT)
    config = build_stack(postgresql, "development", "retain")
    project.new(STACK, config)
    try:
        project.up(STACK).succeeded()
        project.assert_settled(STACK)
        uri = simulated_node.read_secret(STACK, "postgresql-main")["uri"]
        write_row(postgresql, uri)

        edited = apply_edit(config, remove_group)
        get_databases(edited).pop("mysql")
        project.write(STACK, edited)
        project.up(STACK).succeeded()
        assert_row_exists(postgresql, uri)
        claims = simulated_node.core.list_namespaced_persistent_volume_claim(STACK).items
        assert {claim.metadata.name for claim in claims} == {"mysql-own", "postgresql-other"}
        names = [resource["urn"].rpartition("::")[2] for resource in project.resources(STACK)]
        assert not [name for name in names if "mysql-own" in name or "postgresql-main" in name]
    finally:
        project.clean_up()
        postgresql.drop(ACCOUNT)
        simulated_node.delete_namespace(STACK)


def test_development_stack_rejects_only_another_release_series(project: Project, simulated_node: Cluster) -> None:
    databases: dict[str, Any] = {
        "mysql": {"main": {"server": {"kind": "local", "version": "8.4"}}},
        "redis": {"main": None},
    }
    config = {"applications": {"unguarded": {"databases": databases}}}
    project.new("unguarded", config)
    project.up("unguarded").succeeded()
    databases["mysql"]["main"]["server"]["version"] = "9.7"
    project.write("unguarded", config)
    path = "applications.unguarded.databases.mysql.main.server.version: "
    assert path in project.preview("unguarded").failed().output
    databases.pop("mysql")
    project.write("unguarded", config)
    project.up("unguarded").succeeded()
    # The last application can be removed too.
    project.write("unguarded", {"applications": {}})
    project.up("unguarded").succeeded()
    assert not simulated_node.has_namespace("unguarded")
    project.destroy("unguarded").succeeded()
    assert project.resources("unguarded") == []
