"""A server that no longer has a database of an earlier update: each update is rejected until the user decides."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.e2e.cluster import Cluster
from tests.e2e.project import Project
from tests.e2e.servers import DatabaseServer

pytestmark = pytest.mark.slow
STACK = APPLICATION = "g-lost"
NAME, AWAY = "g_lost_main", "g_lost_away"
ENGINES = ("postgresql", "mysql")
LOST = "{0} g_lost_main and {1} g_lost_main are missing on the server; an earlier update created them"


@pytest.fixture
def servers(cluster: Cluster, server: Callable[[str], DatabaseServer]) -> Iterator[dict[str, DatabaseServer]]:
    """Yield the servers of a stack by their engines, and an empty server."""
    names = {"postgresql": "postgresql-limited", "mysql": "mysql", "empty": "postgresql17-limited"}
    found = {key: server(name) for key, name in names.items()}

    def clean_up() -> None:
        cluster.delete_namespace(APPLICATION)
        for each in found.values():
            each.drop(NAME, AWAY)

    clean_up()
    yield found
    clean_up()


def build_config(servers: dict[str, DatabaseServer], *recreated: str, **changes: Any) -> dict[str, Any]:
    """Return a stack with a protected group on each server. `changes` are keys of the PostgreSQL server."""
    databases: dict[str, Any] = {}
    for engine in ENGINES:
        databases[engine] = {"main": {"protect": True, "server": {"kind": "external", "provisionOn": engine}}}
        if engine in recreated:
            databases[engine]["main"]["recreate"] = True
    entries = {engine: servers[engine].as_server() for engine in ENGINES}
    entries["postgresql"] |= changes
    return {"externalServers": entries, "applications": {APPLICATION: {"databases": databases}}}


LOST_DATABASES = [LOST.format("database", noun) for noun in ("role", "user")]
CREATE_TABLE = "CREATE TABLE orders AS SELECT 1 AS id"


def flatten(text: str) -> str:
    """Return a text on one line."""
    return " ".join(text.split())


def assert_rejected(
    project: Project, *results: str, fix: str = "set `recreate: true` on the group", refresh: bool = False
) -> None:
    """Assert that an update fails before the first change, and that a preview reports the same."""
    for output in (
        project.preview(STACK).succeeded().output,
        project.up(STACK, *(["--refresh"] if refresh else [])).failed().output,
    ):
        assert [result for result in results if result not in flatten(output)] == []
        assert fix in flatten(output)


def read_state(project: Project) -> list[tuple[str, Any]]:
    """Return the resources in the state with their inputs, without the providers.

    A refresh encrypts secrets again, with another result.
    """
    resources = (each for each in project.resources(STACK, "--show-secrets") if not each["type"].startswith("pulumi:"))
    return sorted((each["urn"], each.get("inputs")) for each in resources)


@dataclass(frozen=True, kw_only=True)
class Deployed:
    """The stack after its first update. Each database has a table `orders`."""

    project: Project
    servers: dict[str, DatabaseServer]
    read_uris: Callable[[], dict[str, str]]
    uris: dict[str, str]
    state: list[tuple[str, Any]]

    def write(self, *recreated: str, **changes: Any) -> None:
        """Write the stack file."""
        self.project.write(STACK, build_config(self.servers, *recreated, **changes))

    def query(self, engine: str, statement: str) -> list[tuple[Any, ...]]:
        """Run a statement as the application."""
        with self.servers[engine].login(self.uris[engine]) as session:
            return session.run(statement)

    def assert_restored(self) -> None:
        """Assert that the state and the passwords are those of the first update, and that no change is left."""
        assert self.read_uris() == self.uris
        self.project.assert_settled(STACK)
        assert [urn for urn, _ in read_state(self.project)] == [urn for urn, _ in self.state]


@pytest.fixture
def deployed(project: Project, cluster: Cluster, servers: dict[str, DatabaseServer]) -> Iterator[Deployed]:
    """Yield the stack after its first update."""

    def read_uris() -> dict[str, str]:
        return {engine: cluster.read_secret(APPLICATION, f"{engine}-main")["uri"] for engine in ENGINES}

    project.new(STACK, build_config(servers))
    try:
        project.up(STACK).succeeded()
        deployed = Deployed(
            project=project, servers=servers, read_uris=read_uris, uris=read_uris(), state=read_state(project)
        )
        for engine in ENGINES:
            deployed.query(engine, CREATE_TABLE)
        yield deployed
    finally:
        project.clean_up()


def test_another_server_is_rejected(deployed: Deployed) -> None:
    """Nothing changes, with and without a refresh. The old address is no change."""
    project, empty = deployed.project, deployed.servers["empty"]
    deployed.write(port=empty.port)
    for refresh in (False, True):
        assert_rejected(project, LOST.format("database", "role"), refresh=refresh)
        assert [urn for urn, _ in read_state(project)] == [urn for urn, _ in deployed.state]
        # A refresh writes into the inputs what the provider reads, for example a hash as the password of MySQL.
        assert refresh or read_state(project) == deployed.state
    assert NAME not in empty.names()
    deployed.write()
    project.up(STACK, "--expect-no-changes").succeeded()


def test_restored_databases_are_taken_over(deployed: Deployed) -> None:
    """The server at the same address is empty, and a refresh removes the databases from the state."""
    project, (postgresql, mysql) = deployed.project, (deployed.servers[engine] for engine in ENGINES)
    with postgresql.administrator() as session:
        session.run(f"ALTER DATABASE {NAME} RENAME TO {AWAY}")
        session.run(f"ALTER ROLE {NAME} RENAME TO {AWAY}")
    mysql.drop(NAME)
    for refresh in (False, True):
        assert_rejected(project, *LOST_DATABASES, refresh=refresh)
    assert NAME not in postgresql.names() | mysql.names()
    assert len(read_state(project)) < len(deployed.state)
    with postgresql.administrator() as session:
        session.run(f"ALTER DATABASE {AWAY} RENAME TO {NAME}")
        session.run(f"ALTER ROLE {AWAY} RENAME TO {NAME}")
    # A dump of one MySQL database does not contain its user.
    with mysql.administrator() as session:
        session.run(f"CREATE DATABASE {NAME}")
        session.run(CREATE_TABLE.replace("orders", f"{NAME}.orders"))
    assert_rejected(project, f"user {NAME} is missing on the server; an earlier update created it")
    deployed.write("mysql")
    project.up(STACK).succeeded()
    deployed.write()
    assert [deployed.query(engine, "SELECT id FROM orders") for engine in ENGINES] == [[(1,)], [(1,)]]
    deployed.assert_restored()


def test_lost_databases_are_created_again_on_purpose(deployed: Deployed) -> None:
    """The key `recreate` needs a refresh. Afterwards it has no effect."""
    project = deployed.project
    for engine in ENGINES:
        deployed.servers[engine].drop(NAME)
    assert_rejected(project, *LOST_DATABASES)
    deployed.write(*ENGINES)
    assert_rejected(
        project, *LOST_DATABASES, fix=f"The state still has database {NAME} and role {NAME}. Run: make refresh"
    )
    project.pulumi("refresh", "--yes", "--skip-preview", stack=STACK).succeeded()
    project.up(STACK).succeeded()
    output = project.up(STACK, "--expect-no-changes").succeeded().output
    assert f"`recreate: true` is set, but database {NAME} exists" in flatten(output)
    deployed.write()
    for engine in ENGINES:
        deployed.query(engine, CREATE_TABLE)
    deployed.assert_restored()
