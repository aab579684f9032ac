"""Many applications with a database each on one server of each engine: that `pulumi` ends, leaves nothing, and how long it takes.

`make scale` runs it and prints the figures; without SCALE_APPLICATIONS, the number of applications, it is skipped.
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
from tests.e2e.test_provisioning import is_closed_to_others, works_for_its_owner

SERVERS = {"postgresql": "postgresql-limited", "mysql": "mysql"}
SAMPLE = 5
"""How many applications log in, about."""
START_SECONDS = 60
SECONDS = {"up": 12, "up without changes": 2, "destroy": 15}
"""What each phase may take for an application, on two cores that others share."""
VACUUMED = re.compile("must be a superuser to terminate superuser process|permission denied to terminate process")
"""What PostgreSQL says when it is just vacuuming a database that an administrator who is no superuser drops. The next attempt goes on from there."""
MORE_ATTEMPTS = 4


@pytest.fixture
def applications() -> list[str]:
    """The names of the applications, as many as SCALE_APPLICATIONS says."""
    number = os.environ.get("SCALE_APPLICATIONS")
    if not number:
        pytest.skip("SCALE_APPLICATIONS is not set: how many applications there are to be; `make scale` sets it")
    assert int(number) > 1, "SCALE_APPLICATIONS: one application sees no other"
    return [f"scale{index:03d}" for index in range(int(number))]


@pytest.mark.timeout(3 * 3600)
@pytest.mark.parametrize("checkpoints", [True, False], ids=["checkpoints", "no-checkpoints"])
def test_many_applications_with_a_database_on_each_of_two_servers(
    applications: list[str],
    project: Project,
    cluster: Cluster,
    server: Callable[[str], DatabaseServer],
    *,
    checkpoints: bool,
) -> None:
    """At Pulumi's own parallelism, with a file backend that records every step, and with one that records the end alone."""
    servers = {engine: server(name) for engine, name in SERVERS.items()}
    accounts = {application: f"{application}_main" for application in applications}
    project.seconds = START_SECONDS + max(SECONDS.values()) * len(applications)
    if not checkpoints:
        project.environment["PULUMI_SKIP_CHECKPOINTS"] = "true"
    drop(servers, accounts)
    project.new("scale", stack(servers, applications))

    def timed(phase: str, command: str, *arguments: str) -> None:
        load, start = os.getloadavg()[0], monotonic()
        again = finished(project, command, "--yes", "--skip-preview", *arguments)
        seconds = monotonic() - start
        print(
            f"\n{len(applications)} applications, {'with' if checkpoints else 'without'} checkpoints, {phase}: {seconds:.0f} s"
            f" (load before {load:.1f}{f', {again} more attempts' if again else ''})"
        )
        assert seconds < START_SECONDS + SECONDS[phase] * len(applications)

    try:
        timed("up", "up")
        assert all(set(accounts.values()) <= found.names() for found in servers.values())
        others = dict(zip(applications, [*applications[1:], applications[0]], strict=True))
        for application in applications[:: max(1, len(applications) // SAMPLE)]:
            for engine, found in servers.items():
                uri = cluster.secret(application, f"{engine}-main")["uri"]
                works_for_its_owner(found, uri, application)
                is_closed_to_others(found, uri, accounts[others[application]])
        timed("up without changes", "up", "--expect-no-changes")
        timed("destroy", "destroy")
        assert project.resources("scale") == []
        assert not any(set(accounts.values()) & found.names() for found in servers.values())
        assert not any(cluster.has_namespace(application) for application in applications)
    finally:
        project.clean_up()
        drop(servers, accounts)


def finished(project: Project, *command: str) -> int:
    """Runs a command until PostgreSQL was not in its way. Returns how often it was."""
    again, result = 0, project.pulumi(*command, stack="scale")
    while command[0] == "destroy" and result.code and VACUUMED.search(result.output) and again < MORE_ATTEMPTS:
        again, result = again + 1, project.pulumi(*command, stack="scale")
    result.succeeded()
    return again


def stack(servers: Mapping[str, DatabaseServer], applications: list[str]) -> dict[str, Any]:
    """Each application with one database on every server."""
    databases = {engine: {"main": {"server": {"kind": "external", "provisionOn": engine}}} for engine in servers}
    return {
        "externalServers": {engine: found.as_server() for engine, found in servers.items()},
        "applications": {application: {"databases": databases} for application in applications},
    }


def drop(servers: Mapping[str, DatabaseServer], accounts: Mapping[str, str]) -> None:
    """Removes what an earlier run has left."""
    for found in servers.values():
        found.drop(*accounts.values())
