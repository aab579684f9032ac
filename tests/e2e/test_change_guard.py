"""In production no edit of the stack file loses data, and nowhere does one open another version's: refused at the preview, on the real engine."""

import copy
from collections.abc import Callable
from typing import Any

import pytest

from tests.e2e.cluster import Cluster
from tests.e2e.project import Project
from tests.e2e.servers import REFUSED, DatabaseServer

STACK = "kept"
ACCOUNT = "kept_main"
GROUP = "applications.kept.databases.postgresql.main"

Edit = Callable[[dict[str, Any]], Any]


def databases(config: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = config["applications"]["kept"]["databases"]
    return found


def rename(config: dict[str, Any]) -> None:
    databases(config)["postgresql"]["first"] = databases(config)["postgresql"].pop("main")


def other_engine(config: dict[str, Any]) -> None:
    databases(config)["mysql"]["main"] = {"server": {"kind": "dedicated"}}
    databases(config)["postgresql"].pop("main")


def rename_application(config: dict[str, Any]) -> None:
    config["applications"]["stored"] = config["applications"].pop("kept")


EDITS: dict[str, tuple[Edit, str]] = {
    "series": (
        lambda config: databases(config)["mysql"]["own"]["server"].update(version="9.7"),
        "applications.kept.databases.mysql.own.server.version: was",
    ),
    "variant": (
        lambda config: databases(config)["mysql"]["own"].update(variant="percona"),
        "applications.kept.databases.mysql.own.variant: was",
    ),
    "engine": (other_engine, f"{GROUP}: was taken away, renamed, or moved to another engine"),
    "kind": (
        lambda config: databases(config)["postgresql"]["main"].update(server={"kind": "dedicated"}),
        f"{GROUP}.server.kind: was 'external'",
    ),
    "name": (rename, f"{GROUP}: was taken away, renamed, or moved to another engine"),
    "removed group": (
        lambda config: databases(config)["postgresql"].pop("main"),
        f"{GROUP}: was taken away, renamed, or moved to another engine",
    ),
    "removed application": (rename_application, "applications.kept: was taken away or renamed"),
}


def test_data_outlives_every_edit_until_it_is_given_up(
    project: Project, pretend_node: Cluster, server: Callable[[str], DatabaseServer]
) -> None:
    """A provisioned database with a row in it, and a server of ours. `protect: false` is the word that lets a group go."""
    postgresql = server("postgresql-limited")
    postgresql.drop(ACCOUNT)
    config = {
        "environment": "production",
        "externalServers": {"hq": postgresql.as_server()},
        "applications": {
            "kept": {
                "databases": {
                    "postgresql": {
                        "main": {"server": {"kind": "external", "provisionOn": "hq"}},
                        "other": {"server": {"kind": "dedicated"}},
                    },
                    "mysql": {"own": {"server": {"kind": "dedicated", "version": "8.4"}}},
                }
            }
        },
    }
    project.new(STACK, config)
    try:
        project.up(STACK).succeeded()
        uri = pretend_node.secret("kept", "postgresql-main")["uri"]
        with postgresql.login(uri) as session:
            session.run("CREATE TABLE kept (value INT)")
            session.run("INSERT INTO kept VALUES (7)")

        for edit, told in EDITS.values():
            edited = copy.deepcopy(config)
            edit(edited)
            project.write(STACK, edited)
            output = project.preview(STACK).failed().output
            assert told in output
            assert "nothing was changed" in output
        assert "docs/upgrading.md" in refusal(project, config, EDITS["series"][0])
        # An update without a preview is refused as well, before it did anything.
        before = {resource["urn"] for resource in project.resources(STACK)}
        project.write(STACK, without_group(config))
        assert EDITS["removed group"][1] in project.up(STACK).failed().output
        assert {resource["urn"] for resource in project.resources(STACK)} == before
        project.write(STACK, config)
        project.settles(STACK)
        assert pretend_node.secret("kept", "postgresql-main")["uri"] == uri
        with postgresql.login(uri) as session:
            assert session.run("SELECT value FROM kept") == [(7,)]

        given_up = copy.deepcopy(config)
        databases(given_up)["postgresql"]["main"]["protect"] = False
        project.write(STACK, given_up)
        project.up(STACK).succeeded()
        project.write(STACK, without_group(config))
        project.up(STACK).succeeded()
        with pytest.raises(REFUSED):
            postgresql.login(uri)
        assert ACCOUNT not in postgresql.names()
        assert "protect" in project.destroy(STACK).failed().output
    finally:
        project.clean_up()
        postgresql.drop(ACCOUNT)
        if pretend_node.has_namespace("kept"):  # production retains it
            pretend_node.core.delete_namespace("kept")
            pretend_node.gone("kept")


def without_group(config: dict[str, Any]) -> dict[str, Any]:
    """The stack without its provisioned group."""
    edited = copy.deepcopy(config)
    EDITS["removed group"][0](edited)
    return edited


def refusal(project: Project, config: dict[str, Any], edit: Edit) -> str:
    """What the preview of an edited stack says."""
    edited = copy.deepcopy(config)
    edit(edited)
    project.write(STACK, edited)
    return project.preview(STACK).failed().output


def test_in_development_only_another_version_is_refused_and_nothing_is_in_the_way_of_its_end(
    project: Project, pretend_node: Cluster
) -> None:
    config: dict[str, Any] = {
        "applications": {
            "kept-dev": {
                "databases": {
                    "mysql": {"main": {"server": {"kind": "local", "version": "8.4"}}},
                    "redis": {"main": None},
                }
            }
        }
    }
    project.new("kept-dev", config)
    project.up("kept-dev").succeeded()
    edited = copy.deepcopy(config)
    edited["applications"]["kept-dev"]["databases"]["mysql"]["main"]["server"]["version"] = "9.7"
    project.write("kept-dev", edited)
    assert (
        "kept-dev.databases.mysql.main.server.version: was created as '8.4'"
        in project.preview("kept-dev").failed().output
    )
    edited["applications"]["kept-dev"]["databases"].pop("mysql")
    project.write("kept-dev", edited)
    project.up("kept-dev").succeeded()
    project.destroy("kept-dev").succeeded()
    assert project.resources("kept-dev") == []
    assert not pretend_node.has_namespace("kept-dev")
