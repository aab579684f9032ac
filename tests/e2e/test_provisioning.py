"""Databases made on real external servers, each as an administrator with all rights and as one with few."""

import re
from collections.abc import Callable
from itertools import permutations
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from tests.e2e.cluster import Cluster
from tests.e2e.project import Project
from tests.e2e.servers import REFUSED, DatabaseServer

SERVERS = ("postgresql", "postgresql-limited", "postgresql17", "postgresql17-limited", "mysql")
MANY = 40
MANY_SECONDS = 90
PRIVILEGED = {
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
MAINTENANCE = {
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


def group(engine: str, server: str) -> dict[str, Any]:
    """One group of an application on a server."""
    return {"databases": {engine: {"main": {"server": {"kind": "external", "provisionOn": server}}}}}


def test_each_application_has_its_own_database_and_no_other(
    project: Project, cluster: Cluster, server: Callable[[str], DatabaseServer]
) -> None:
    """On every server two applications, whose databases differ by what `_` stands for in a MySQL grant."""
    servers = {name: server(name) for name in SERVERS}
    pairs = {name: (f"{letter}-shop", f"{letter}xshop") for name, letter in zip(SERVERS, "abcde", strict=True)}
    accounts = {application: f"{application.replace('-', '_')}_main" for pair in pairs.values() for application in pair}
    for name, pair in pairs.items():
        servers[name].drop(*(accounts[application] for application in pair))
    config: dict[str, Any] = {
        "externalServers": {name: found.as_server() for name, found in servers.items()},
        "applications": {
            application: group(servers[name].engine, name) for name, pair in pairs.items() for application in pair
        },
    }

    def uri(name: str, application: str) -> str:
        return cluster.secret(application, f"{servers[name].engine}-main")["uri"]

    project.new("provisioned", config)
    try:
        project.up("provisioned").succeeded()
        project.settles("provisioned")
        for name, pair in pairs.items():
            for application in pair:
                works_for_its_owner(servers[name], uri(name, application), application)
            for ours, other in permutations(pair):
                is_closed_to_others(servers[name], uri(name, ours), accounts[other])

        old = {name: uri(name, ours) for name, (ours, _) in pairs.items()}
        for name, (ours, _) in pairs.items():
            config["applications"][ours]["databases"][servers[name].engine]["main"]["rotation"] = 1
        project.write("provisioned", config)
        project.up("provisioned").succeeded()
        for name, (ours, _) in pairs.items():
            with pytest.raises(REFUSED):
                servers[name].login(old[name])
            with servers[name].login(uri(name, ours)) as session:
                assert session.run("SELECT value FROM kept") == [(ours,)]
        project.settles("provisioned")

        project.destroy("provisioned").succeeded()
        assert project.resources("provisioned") == []
        assert not set(accounts.values()) & {name for found in servers.values() for name in found.names()}
    finally:
        project.clean_up()
        for name, pair in pairs.items():
            servers[name].drop(*(accounts[application] for application in pair))


def works_for_its_owner(server: DatabaseServer, uri: str, value: str) -> None:
    """The database takes a table of its application's, which is no administrator."""
    with server.login(uri) as session:
        session.run("CREATE TABLE kept (value VARCHAR(20))")
        session.run(f"INSERT INTO kept VALUES ('{value}')")
        assert session.run("SELECT value FROM kept") == [(value,)]
        for statement in PRIVILEGED[server.engine]:
            with pytest.raises(REFUSED):
                session.run(statement)


def is_closed_to_others(server: DatabaseServer, uri: str, other: str) -> None:
    """Neither the other application's database nor the server's own ones can be opened and read."""
    for database, statement in ((other, "SELECT * FROM kept"), *MAINTENANCE[server.engine]):
        with pytest.raises(REFUSED), server.login(uri, database) as session:
            session.run(statement)


def test_administrators_and_given_accounts_may_have_any_password(
    project: Project, cluster: Cluster, server: Callable[[str], DatabaseServer]
) -> None:
    """A password of every sort of character reaches both providers whole, encrypted in the stack file, and an application by its URI."""
    hostile = "p%20w:/?#[]@!$&'()*+,;=\"\\ {}|^~<>é`"
    servers = {engine: server(engine) for engine in ("postgresql", "mysql")}
    with servers["postgresql"].administrator() as session:
        session.run("DROP ROLE IF EXISTS hostile")
        session.run("CREATE ROLE hostile LOGIN CREATEDB CREATEROLE PASSWORD " + "'" + hostile.replace("'", "''") + "'")
    with servers["mysql"].administrator() as session:
        session.run("DROP USER IF EXISTS hostile")
        session.run("CREATE USER hostile IDENTIFIED BY '" + hostile.replace("\\", "\\\\").replace("'", "\\'") + "'")
        session.run("GRANT ALL PRIVILEGES ON *.* TO hostile WITH GRANT OPTION")
    entries = {
        engine: {**found.as_server(), "administrator": {"username": "hostile", "password": "x"}}
        for engine, found in servers.items()
    }
    applications = {f"hostile-{engine}": group(engine, engine) for engine in servers}
    for engine, found in servers.items():
        account = {"database": found.maintenance, "username": "hostile", "password": hostile}
        server_there = {"kind": "external", "host": found.host, "port": found.port, **account}
        applications[f"given-{engine}"] = {"databases": {engine: {"main": {"server": server_there}}}}
    project.new("hostile", {"externalServers": entries, "applications": applications})
    try:
        for engine in servers:
            path = f"database-groups:servers.{engine}.administrator.password"
            project.pulumi("config", "set", "--secret", "--path", path, stack="hostile", typed=hostile).succeeded()
        output = project.up("hostile").succeeded().output
        assert hostile not in output
        for engine, found in servers.items():
            for application in (f"hostile-{engine}", f"given-{engine}"):
                with found.login(cluster.secret(application, f"{engine}-main")["uri"]) as session:
                    assert session.run("SELECT 1") == [(1,)]
        project.destroy("hostile").succeeded()
    finally:
        project.clean_up()
        servers["postgresql"].drop("hostile_postgresql_main", "hostile")
        servers["mysql"].drop("hostile_mysql_main", "hostile")


def test_many_applications_on_one_server(
    project: Project, cluster: Cluster, server: Callable[[str], DatabaseServer]
) -> None:
    """Databases that are made at once do not wait for each other for ever."""
    postgresql = server("postgresql-limited")
    names = [f"many{number:02d}" for number in range(MANY)]
    postgresql.drop(*(f"{name}_main" for name in names))
    project.new(
        "many",
        {
            "externalServers": {"lab": postgresql.as_server()},
            "applications": {name: group("postgresql", "lab") for name in names},
        },
    )
    try:
        start = monotonic()
        project.up("many", "--parallel", "64").succeeded()
        seconds = monotonic() - start
        for name in (names[0], names[-1]):
            with postgresql.login(cluster.secret(name, "postgresql-main")["uri"]) as session:
                assert session.run("SELECT 1") == [(1,)]
        project.up("many", "--expect-no-changes").succeeded()
        project.destroy("many").succeeded()
        print(f"{MANY} applications on one server: {seconds:.0f} s")
        assert seconds < MANY_SECONDS
    finally:
        project.clean_up()
        postgresql.drop(*(f"{name}_main" for name in names))


DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "external-servers.md"
LEAST = "provisioner_of_the_document"


def documented(server: DatabaseServer) -> list[str]:
    """The statements by which the document makes the least administrator of a server, with a name and a password of the test's."""
    blocks = re.findall(r"^```sql\n(.*?)^```$", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)
    needed = {"postgresql": "CREATEROLE", "mysql": "WITH GRANT OPTION"}[server.engine]
    (block,) = [block for block in blocks if needed in block]
    return [
        statement.replace("provisioner", LEAST).replace("'...'", "'of-a-test'")
        for statement in block.split(";")
        if statement.strip()
    ]


def test_the_administrators_of_the_document_make_databases_with_chosen_names_and_extensions(
    project: Project, cluster: Cluster, server: Callable[[str], DatabaseServer]
) -> None:
    """What the document says of rights is enough, word for word, to make, to settle and to destroy."""
    servers = {name: server(name) for name in ("postgresql", "postgresql17", "mysql")}
    entries, applications = {}, {}
    for name, found in servers.items():
        found.drop("store", "keeper", LEAST)
        with found.administrator() as session:
            for statement in documented(found):
                session.run(statement)
        entries[name] = {**found.as_server(), "administrator": {"username": LEAST, "password": "of-a-test"}}
        chosen = {"kind": "external", "provisionOn": name, "database": "store", "username": "keeper"}
        extensions = {"extensions": ["pg_trgm", "hstore"]} if found.engine == "postgresql" else {}
        applications[f"least-{name}"] = {"databases": {found.engine: {"main": {"server": {**chosen, **extensions}}}}}
    project.new("least", {"externalServers": entries, "applications": applications})
    try:
        project.up("least").succeeded()
        project.settles("least")
        for name, found in servers.items():
            keys = cluster.secret(f"least-{name}", f"{found.engine}-main")
            assert (keys["username"], keys["database"]) == ("keeper", "store")
            works_for_its_owner(found, keys["uri"], name)
            with found.login(keys["uri"]) as session:
                if found.engine == "postgresql":
                    assert session.run("SELECT similarity('shop', 'shop') = 1, 'a=>1'::hstore -> 'a'") == [(True, "1")]
            for database, statement in MAINTENANCE[found.engine]:
                with pytest.raises(REFUSED), found.login(keys["uri"], database) as session:
                    session.run(statement)
        project.destroy("least").succeeded()
        assert not {"store", "keeper"} & {name for found in servers.values() for name in found.names()}
    finally:
        project.clean_up()
        for found in servers.values():
            found.drop("store", "keeper", LEAST)


def test_an_update_that_was_killed_is_finished_by_a_later_one(
    project: Project, server: Callable[[str], DatabaseServer]
) -> None:
    """What it made is known to be the stack's own. The few things that Pulumi had no time to record are dropped, as the document says."""
    postgresql = server("postgresql-limited")
    names = [f"killed_g{number:02d}" for number in range(8)]
    postgresql.drop(*names)
    groups = {name.removeprefix("killed_"): {"server": {"kind": "external", "provisionOn": "hq"}} for name in names}
    project.new(
        "killed",
        {
            "externalServers": {"hq": postgresql.as_server()},
            "applications": {"killed": {"databases": {"postgresql": groups}}},
        },
    )
    try:
        project.kill_up("killed", lambda: len(postgresql.databases() & set(names)) > 1)
        made = postgresql.databases() & set(names)
        assert len(made) < len(names)
        for path in project.state.rglob("*.attrs"):
            if not path.stat().st_size:
                path.unlink()
        project.pulumi("cancel", "--yes", stack="killed").succeeded()
        result = project.up("killed")
        assert "external server check" not in result.output
        unknown = set(re.findall(r'(database|role) "(killed_g\d+)" already exists', result.output))
        assert len(unknown) < len(made)
        if unknown:
            with postgresql.administrator() as session:
                for kind, name in unknown:
                    session.run(f"DROP {kind} {name}")
            result = project.up("killed")
        result.succeeded()
        assert set(names) <= postgresql.databases()
        project.settles("killed")
        project.destroy("killed").succeeded()
        assert not set(names) & postgresql.names()
    finally:
        project.clean_up()
        postgresql.drop(*names)
