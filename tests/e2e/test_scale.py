"""Many applications with a database on each of two servers: `pulumi` ends within its time limits and leaves nothing.

`make scale` runs the test and prints the figures. Without SCALE_APPLICATIONS, the number of applications, the test is
skipped.
"""

import os
import re
from collections.abc import Callable, Mapping
from time import monotonic
from typing import Any

import pytest

from tests.e2e.cluster import Cluster
from tests.e2e.project import Project
from tests.e2e.servers import DatabaseServer
from tests.e2e.test_provisioning import assert_databases_are_closed, assert_owner_uses_database

SERVERS = {"postgresql": "postgresql-limited", "mysql": "mysql"}
SAMPLE_SIZE = 5
"""Approximate number of applications that log in."""
START_SECONDS = 60
SECONDS_PER_APPLICATION = {"up": 12, "up without changes": 2, "destroy": 15}
"""Time limit of each phase for one application, on two cores that other programs share."""
VACUUM_ERROR_RE = re.compile(
    "must be a superuser to terminate superuser process|permission denied to terminate process"
)
"""Error of PostgreSQL if it vacuums a database that an administrator who is no superuser drops. Run it again."""
MAX_RETRIES = 4


@pytest.fixture
def applications() -> list[str]:
    """Return the names of SCALE_APPLICATIONS applications."""
    number = os.environ.get("SCALE_APPLICATIONS")
    if not number:
        pytest.skip("SCALE_APPLICATIONS is not set; set it to the number of applications, or run `make scale`")
    assert int(number) > 1, "SCALE_APPLICATIONS: set it to 2 or more"
    return [f"scale{index:03d}" for index in range(int(number))]


@pytest.mark.timeout(3 * 3600)
@pytest.mark.parametrize("checkpoints", [True, False], ids=["checkpoints", "no-checkpoints"])
def test_many_applications_deploy_within_the_time_limits(
    applications: list[str],
    project: Project,
    cluster: Cluster,
    server: Callable[[str], DatabaseServer],
    *,
    checkpoints: bool,
) -> None:
    """Pulumi runs with its default parallelism. With checkpoints, the file backend records every step."""
    servers = {engine: server(name) for engine, name in SERVERS.items()}
    accounts = {application: f"{application}_main" for application in applications}
    project.timeout_seconds = START_SECONDS + max(SECONDS_PER_APPLICATION.values()) * len(applications)
    if not checkpoints:
        project.environment["PULUMI_SKIP_CHECKPOINTS"] = "true"
    drop_accounts(servers, accounts)
    project.new("scale", build_stack(servers, applications))

    def measure(phase: str, command: str, *arguments: str) -> None:
        load, start = os.getloadavg()[0], monotonic()
        retries = run_with_retries(project, command, "--yes", "--skip-preview", *arguments)
        seconds = monotonic() - start
        print(
            f"\n{len(applications)} applications, {'with' if checkpoints else 'without'} checkpoints, {phase}:"
            f" {seconds:.0f} s (load before {load:.1f}{f', {retries} retries' if retries else ''})"
        )
        assert seconds < START_SECONDS + SECONDS_PER_APPLICATION[phase] * len(applications)

    try:
        measure("up", "up")
        assert all(set(accounts.values()) <= found.names() for found in servers.values())
        others = dict(zip(applications, [*applications[1:], applications[0]], strict=True))
        for application in applications[:: max(1, len(applications) // SAMPLE_SIZE)]:
            for engine, found in servers.items():
                uri = cluster.read_secret(application, f"{engine}-main")["uri"]
                assert_owner_uses_database(found, uri, application)
                assert_databases_are_closed(found, uri, accounts[others[application]])
        measure("up without changes", "up", "--expect-no-changes")
        measure("destroy", "destroy")
        assert project.resources("scale") == []
        assert not any(set(accounts.values()) & found.names() for found in servers.values())
        assert not any(cluster.has_namespace(application) for application in applications)
    finally:
        project.clean_up()
        drop_accounts(servers, accounts)


def run_with_retries(project: Project, *command: str) -> int:
    """Run a command, and run `destroy` again while PostgreSQL vacuums. Return the number of retries."""
    retries, result = 0, project.pulumi(*command, stack="scale")
    while command[0] == "destroy" and result.code and VACUUM_ERROR_RE.search(result.output) and retries < MAX_RETRIES:
        retries, result = retries + 1, project.pulumi(*command, stack="scale")
    result.succeeded()
    return retries


def build_stack(servers: Mapping[str, DatabaseServer], applications: list[str]) -> dict[str, Any]:
    """Return a stack whose applications have one database on every server."""
    databases = {engine: {"main": {"server": {"kind": "external", "provisionOn": engine}}} for engine in servers}
    return {
        "externalServers": {engine: found.as_server() for engine, found in servers.items()},
        "applications": {application: {"databases": databases} for application in applications},
    }


def drop_accounts(servers: Mapping[str, DatabaseServer], accounts: Mapping[str, str]) -> None:
    """Drop the databases and users of an earlier run."""
    for found in servers.values():
        found.drop(*accounts.values())
