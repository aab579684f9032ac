"""Databases on real external servers, created by administrators with all privileges and with few."""

from collections.abc import Callable, Mapping
from itertools import permutations
from time import monotonic
from typing import Any

import pytest

from tests.e2e.cluster import Cluster
from tests.e2e.project import Project
from tests.e2e.servers import REFUSED, DatabaseServer
from tests.pages import ROOT, blocks

SERVERS = ("postgresql", "postgresql-limited", "postgresql17", "postgresql17-limited", "mysql")
MANY_APPLICATIONS = 20
MANY_SECONDS = 90
FORBIDDEN_STATEMENTS = {
    "postgresql": (
        "CREATE DATABASE other",
        "CREATE ROLE other",
        "ALTER SYSTEM SET work_mem = '1MB'",
        "COPY (SELECT 1) TO PROGRAM 'true'",
    ),
    "mysql": (
        "CREATE DATABASE other",
        "CREATE USER other",
        "SET GLOBAL max_connections = 10",
        "SELECT * FROM mysql.user",
    ),
}
"""Statements that an application's user must not run."""
SYSTEM_STATEMENTS = {
    "postgresql": (
        ("template0", "SELECT 1"),
        ("postgres", "CREATE TABLE other (value INT)"),
        ("postgres", "SELECT * FROM pg_authid"),
    ),
    "mysql": (
        ("mysql", "SELECT * FROM user"),
        ("sys", "SELECT * FROM sys_config"),
        ("performance_schema", "SELECT * FROM threads"),
    ),
}
"""Databases of the server, and statements that an application's user must not run in them."""


def build_application(engine: str, server: str) -> dict[str, Any]:
    """Return an application with one group on a server."""
    return {"databases": {engine: {"main": {"server": {"kind": "external", "provisionOn": server}}}}}


def build_servers(servers: Mapping[str, DatabaseServer], **changes: Any) -> dict[str, Any]:
    """Return the entries of `externalServers`."""
    return {name: {**server.as_server(), **changes} for name, server in servers.items()}


def assert_owner_uses_database(server: DatabaseServer, uri: str, value: str) -> None:
    """Assert that an application creates a table in its database, and that it is not an administrator."""
    with server.login(uri) as session:
        session.run("CREATE TABLE saved (value VARCHAR(20))")
        session.run(f"INSERT INTO saved VALUES ('{value}')")
    assert_reads_and_is_no_administrator(server, uri, value)


def assert_reads_and_is_no_administrator(server: DatabaseServer, uri: str, value: str) -> None:
    """Assert that an application reads the table, and that it is not an administrator."""
    with server.login(uri) as session:
        assert session.run("SELECT value FROM saved") == [(value,)]
        for statement in FORBIDDEN_STATEMENTS[server.engine]:
            with pytest.raises(REFUSED):
                session.run(statement)


def assert_databases_are_closed(server: DatabaseServer, uri: str, *others: str) -> None:
    """Assert that an application reads neither another application's database nor those of the server."""
    of_others = ((other, "SELECT * FROM saved") for other in others)
    for database, statement in (*of_others, *SYSTEM_STATEMENTS[server.engine]):
        with pytest.raises(REFUSED), server.login(uri, database) as session:
            session.run(statement)


def test_each_application_uses_its_own_database_only(
    project: Project, cluster: Cluster, server: Callable[[str], DatabaseServer]
) -> None:
    """Each server has two applications. Their names differ where a MySQL grant has the wildcard `_`."""
    servers = {name: server(name) for name in SERVERS}
    pairs = {name: (f"{letter}-shop", f"{letter}xshop") for name, letter in zip(SERVERS, "abcde", strict=True)}
    accounts = {application: f"{application.replace('-', '_')}_main" for pair in pairs.values() for application in pair}
    applications = {
        application: build_application(servers[name].engine, name)
        for name, pair in pairs.items()
        for application in pair
    }
    config = {"externalServers": build_servers(servers), "applications": applications}

    def drop_accounts() -> None:
        for name, pair in pairs.items():
            owners = [accounts[application] for application in pair]
            servers[name].drop(*owners, *(f"{owner}__b" for owner in owners))

    def read_uri(name: str, application: str) -> str:
        return cluster.read_secret(application, f"{servers[name].engine}-main")["uri"]

    drop_accounts()
    project.new("provisioned", config)
    try:
        project.up("provisioned").succeeded()
        project.assert_settled("provisioned")
        for name, pair in pairs.items():
            for application in pair:
                assert_owner_uses_database(servers[name], read_uri(name, application), application)
            for application, other in permutations(pair):
                assert_databases_are_closed(servers[name], read_uri(name, application), accounts[other])

        old_uris = {name: read_uri(name, application) for name, (application, _) in pairs.items()}
        for name, (application, _) in pairs.items():
            applications[application]["databases"][servers[name].engine]["main"]["passwordVersion"] = 1
        project.write("provisioned", config)
        project.up("provisioned").succeeded()
        for name, (application, other) in pairs.items():
            uri = read_uri(name, application)
            for current in (uri, old_uris[name]):
                assert_reads_and_is_no_administrator(servers[name], current, application)
            assert_databases_are_closed(servers[name], uri, accounts[other])
        project.assert_settled("provisioned")

        project.destroy("provisioned").succeeded()
        assert project.resources("provisioned") == []
        names = {name for found in servers.values() for name in found.names()}
        assert not {user for account in accounts.values() for user in (account, f"{account}__b")} & names
    finally:
        project.clean_up()
        drop_accounts()


def test_administrators_and_existing_accounts_have_passwords_with_any_character(
    project: Project, cluster: Cluster, server: Callable[[str], DatabaseServer]
) -> None:
    """The stack file encrypts the password. Both providers, and the URI of an application, contain it unchanged."""
    password = "p%20w:/?#[]@!$&'()*+,;=\"\\ {}|^~<>é`"
    servers = {engine: server(engine) for engine in ("postgresql", "mysql")}
    with servers["postgresql"].administrator() as session:
        session.run("DROP ROLE IF EXISTS hostile")
        session.run("CREATE ROLE hostile LOGIN CREATEDB CREATEROLE PASSWORD " + "'" + password.replace("'", "''") + "'")
    with servers["mysql"].administrator() as session:
        session.run("DROP USER IF EXISTS hostile")
        session.run("CREATE USER hostile IDENTIFIED BY '" + password.replace("\\", "\\\\").replace("'", "\\'") + "'")
        session.run("GRANT ALL PRIVILEGES ON *.* TO hostile WITH GRANT OPTION")
    applications = {f"hostile-{engine}": build_application(engine, engine) for engine in servers}
    for engine, found in servers.items():
        account = {"database": found.maintenance, "username": "hostile", "password": password}
        existing = {"kind": "external", "host": found.host, "port": found.port, **account}
        applications[f"existing-{engine}"] = {"databases": {engine: {"main": {"server": existing}}}}
    external_servers = build_servers(servers, administrator={"username": "hostile", "password": "x"})
    project.new("hostile", {"externalServers": external_servers, "applications": applications})
    try:
        for engine in servers:
            path = f"database-groups:externalServers.{engine}.administrator.password"
            project.pulumi("config", "set", "--secret", "--path", path, stack="hostile", typed=password).succeeded()
        assert password not in project.up("hostile").succeeded().output
        for engine, found in servers.items():
            for application in (f"hostile-{engine}", f"existing-{engine}"):
                with found.login(cluster.read_secret(application, f"{engine}-main")["uri"]) as session:
                    assert session.run("SELECT 1") == [(1,)]
        project.destroy("hostile").succeeded()
    finally:
        project.clean_up()
        for engine, found in servers.items():
            found.drop(f"hostile_{engine}_main", "hostile")


def test_many_applications_share_one_server(
    project: Project, cluster: Cluster, server: Callable[[str], DatabaseServer]
) -> None:
    """Many databases at the same time do not deadlock the provider."""
    postgresql = server("postgresql-limited")
    names = [f"many{number:02d}" for number in range(MANY_APPLICATIONS)]
    accounts = [f"{name}_main" for name in names]
    applications = {name: build_application("postgresql", "lab") for name in names}
    postgresql.drop(*accounts)
    project.new("many", {"externalServers": build_servers({"lab": postgresql}), "applications": applications})
    try:
        start = monotonic()
        project.up("many", "--parallel", "64").succeeded()
        seconds = monotonic() - start
        for name in (names[0], names[-1]):
            with postgresql.login(cluster.read_secret(name, "postgresql-main")["uri"]) as session:
                assert session.run("SELECT 1") == [(1,)]
        project.up("many", "--expect-no-changes").succeeded()
        project.destroy("many").succeeded()
        print(f"{MANY_APPLICATIONS} applications on one server: {seconds:.0f} s")
        assert seconds < MANY_SECONDS
    finally:
        project.clean_up()
        postgresql.drop(*accounts)


PAGE = ROOT / "docs" / "external-servers.md"
ADMINISTRATOR = "provisioner_of_the_page"


def read_documented_statements(engine: str) -> list[str]:
    """Return the SQL of the page that creates an administrator with the required privileges only."""
    keyword = {"postgresql": "CREATEROLE", "mysql": "WITH GRANT OPTION"}[engine]
    (script,) = [block for block in blocks(PAGE.read_text(), "sql") if keyword in block]
    renamed = script.replace("provisioner", ADMINISTRATOR).replace("'...'", "'of-a-test'")
    return [statement for statement in renamed.split(";") if statement.strip()]


def test_documented_administrators_create_databases_with_chosen_names_and_extensions(
    project: Project, cluster: Cluster, server: Callable[[str], DatabaseServer]
) -> None:
    """The documented privileges suffice to create, to refresh and to destroy."""
    servers = {name: server(name) for name in ("postgresql", "postgresql17", "mysql")}
    applications: dict[str, Any] = {}
    for name, found in servers.items():
        found.drop("store", "keeper", ADMINISTRATOR)
        with found.administrator() as session:
            for statement in read_documented_statements(found.engine):
                session.run(statement)
        application = applications[f"least-{name}"] = build_application(found.engine, name)
        group = application["databases"][found.engine]["main"]
        group["server"] |= {"database": "store", "username": "keeper"}
        if found.engine == "postgresql":
            group["server"]["extensions"] = ["pg_trgm", "hstore"]
    external_servers = build_servers(servers, administrator={"username": ADMINISTRATOR, "password": "of-a-test"})
    project.new("least", {"externalServers": external_servers, "applications": applications})
    try:
        project.up("least").succeeded()
        project.assert_settled("least")
        for name, found in servers.items():
            data = cluster.read_secret(f"least-{name}", f"{found.engine}-main")
            assert (data["username"], data["database"]) == ("keeper", "store")
            assert_owner_uses_database(found, data["uri"], name)
            assert_databases_are_closed(found, data["uri"])
            if found.engine == "postgresql":
                with found.login(data["uri"]) as session:
                    assert session.run("SELECT similarity('shop', 'shop') = 1, 'a=>1'::hstore -> 'a'") == [(True, "1")]
        project.destroy("least").succeeded()
        assert not {"store", "keeper"} & {name for found in servers.values() for name in found.names()}
    finally:
        project.clean_up()
        for found in servers.values():
            found.drop("store", "keeper", ADMINISTRATOR)
