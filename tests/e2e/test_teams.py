"""Two clones with one backend, as two colleagues use them."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.e2e.cluster import Cluster
from tests.e2e.project import Project
from tests.e2e.servers import DatabaseServer

STACK = "teams"
ACCOUNTS = ("teams_main", "teams_more")


def test_colleagues_update_one_stack_in_turn(
    project: Project,
    command_line: str,
    simulated_node: Cluster,
    server: Callable[[str], DatabaseServer],
    tmp_path: Path,
) -> None:
    """A clone in another folder previews no change, and each clone updates what the other one created."""
    postgresql = server("postgresql17")
    postgresql.drop(*ACCOUNTS)
    databases: dict[str, dict[str, Any]] = {
        "redis": {"cache": {"server": {"kind": "local"}}},
        "postgresql": {"main": {"primary": True, "server": {"kind": "external", "provisionOn": "hq"}}},
    }
    config = {"externalServers": {"hq": postgresql.as_server()}, "applications": {STACK: {"databases": databases}}}
    colleague = Project(command_line, tmp_path / "colleague")
    colleague.environment["PULUMI_BACKEND_URL"] = project.environment["PULUMI_BACKEND_URL"]

    def commit(source: Project, target: Project) -> None:
        shutil.copy(source.path(STACK), target.path(STACK))

    project.new(STACK, config)
    project.up(STACK).succeeded()
    passwords = simulated_node.read_secret(STACK, "teams-databases")
    commit(project, colleague)
    colleague.preview(STACK, "--expect-no-changes", "--diff").succeeded()

    databases["postgresql"]["more"] = {"server": {"kind": "external", "provisionOn": "hq"}}
    colleague.write(STACK, config)
    colleague.up(STACK).succeeded()
    commit(colleague, project)
    project.preview(STACK, "--expect-no-changes", "--diff").succeeded()

    databases["redis"]["cache"]["server"]["settings"] = {"maxclients": 100}
    project.write(STACK, config)
    project.up(STACK).succeeded()
    commit(project, colleague)
    colleague.assert_settled(STACK)
    after = simulated_node.read_secret(STACK, "teams-databases")
    assert passwords.items() <= after.items()
    with postgresql.login(simulated_node.read_secret(STACK, "postgresql-more")["uri"]) as session:
        assert session.run("SELECT current_user") == [("teams_more",)]
    colleague.destroy(STACK).succeeded()
    assert project.resources(STACK) == []
