"""`adopt: true` takes over a database that someone else created, with its data and its user."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.e2e.cluster import Cluster
from tests.e2e.project import Project
from tests.e2e.servers import REFUSED, DatabaseServer

STACK = "d-adopting"
DATABASE, NEW_USER = "d_legacy", "d_adopted"


def build_stack(servers: dict[str, DatabaseServer], *, adopt: bool) -> dict[str, Any]:
    """Return a stack with the database of each server. The provider of MySQL cannot take over a user."""
    databases = {
        engine: {
            "main": {
                "server": {
                    "kind": "external",
                    "provisionOn": engine,
                    "database": DATABASE,
                    "username": DATABASE if engine == "postgresql" else NEW_USER,
                    "adopt": adopt,
                }
            }
        }
        for engine in servers
    }
    return {
        "externalServers": {engine: server.as_server() for engine, server in servers.items()},
        "applications": {STACK: {"protect": True, "databaseUrl": "postgresql.main", "databases": databases}},
    }


@pytest.fixture
def legacy(server: Callable[[str], DatabaseServer]) -> Iterator[dict[str, DatabaseServer]]:
    """Yield two servers with a database each, and its user on PostgreSQL."""
    postgresql, mysql = server("postgresql-limited"), server("mysql")
    servers = {"postgresql": postgresql, "mysql": mysql}
    for found in servers.values():
        found.drop(DATABASE, NEW_USER)
    with postgresql.administrator() as session:
        session.run(f"CREATE ROLE {DATABASE} LOGIN PASSWORD 'of-a-test'")
        session.run(f"GRANT {DATABASE} TO CURRENT_USER")
        session.run(f"CREATE DATABASE {DATABASE} OWNER {DATABASE}")
    with mysql.administrator() as session:
        session.run(f"CREATE DATABASE {DATABASE}")
        session.run(f"CREATE TABLE {DATABASE}.saved (value INT)")
        session.run(f"INSERT INTO {DATABASE}.saved VALUES (7)")
    with postgresql.session(DATABASE, "of-a-test", DATABASE) as session:
        session.run("CREATE TABLE saved (value INT)")
        session.run("INSERT INTO saved VALUES (7)")
    yield servers
    for found in servers.values():
        found.drop(DATABASE, NEW_USER)


def test_existing_databases_are_adopted_on_purpose_only(
    project: Project, cluster: Cluster, legacy: dict[str, DatabaseServer]
) -> None:
    project.new(STACK, build_stack(legacy, adopt=False))
    try:
        output = " ".join(project.up(STACK).failed().output.split())
        assert f"database {DATABASE} already exists" in output
        assert "nothing was changed" in output
        project.write(STACK, build_stack(legacy, adopt=True))
        project.up(STACK).succeeded()
        for engine, found in legacy.items():
            with found.login(cluster.read_secret(STACK, f"{engine}-main")["uri"]) as session:
                assert session.run("SELECT value FROM saved") == [(7,)]
                session.run("CREATE TABLE more (value INT)")
        with pytest.raises(REFUSED):
            legacy["postgresql"].session(DATABASE, "of-a-test", DATABASE)
        project.assert_settled(STACK)
        project.write(STACK, build_stack(legacy, adopt=False))
        project.up(STACK, "--expect-no-changes").succeeded()
    finally:
        project.clean_up()
        cluster.delete_namespace(STACK)
