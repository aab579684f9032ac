"""Databases made on real external servers, each as an administrator with all rights and as one with few."""

from collections.abc import Callable
from itertools import permutations
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
    "postgresql": ("CREATE DATABASE other", "CREATE ROLE other", "ALTER SYSTEM SET work_mem = '1MB'", "COPY (SELECT 1) TO PROGRAM 'true'"),
    "mysql": ("CREATE DATABASE other", "CREATE USER other", "SET GLOBAL max_connections = 10", "SELECT * FROM mysql.user"),
}
MAINTENANCE = {"postgresql": ("template0",), "mysql": ("mysql", "sys", "performance_schema")}


def group(engine: str, server: str) -> dict[str, Any]:
    """One group of an application on a server."""
    return {"databases": {engine: {"main": {"server": {"kind": "external", "on": server}}}}}


@pytest.mark.parametrize("name", SERVERS)
def test_each_application_has_its_own_database_and_no_other(
    name: str, project: Project, pretend_node: Cluster, server: Callable[[str], DatabaseServer]
) -> None:
    """The second application's database differs from the first one's by what `_` stands for in a MySQL grant."""
    database_server = server(name)
    accounts = {"my-shop": "my_shop_main", "myxshop": "myxshop_main"}
    database_server.drop(*accounts.values())
    config: dict[str, Any] = {
        "servers": {"lab": database_server.as_server()},
        "applications": {application: group(database_server.engine, "lab") for application in accounts},
    }
    project.new(name, config)
    try:
        project.up(name).succeeded()
        project.settles(name)
        uris = {application: pretend_node.secret(application, f"{database_server.engine}-main")["uri"] for application in accounts}
        for application, uri in uris.items():
            with database_server.login(uri) as session:
                session.run("CREATE TABLE kept (value VARCHAR(20))")
                session.run(f"INSERT INTO kept VALUES ('{application}')")
                assert session.run("SELECT value FROM kept") == [(application,)]
                for statement in PRIVILEGED[database_server.engine]:
                    with pytest.raises(REFUSED):
                        session.run(statement)
        for ours, other in permutations(accounts, 2):
            with pytest.raises(REFUSED):
                database_server.login(uris[ours], accounts[other])
            for database in MAINTENANCE[database_server.engine]:
                with pytest.raises(REFUSED), database_server.login(uris[ours], database) as session:
                    session.run("SELECT count(*) FROM setup_actors" if database == "performance_schema" else "SELECT * FROM user, sys_config")

        config["applications"]["my-shop"]["databases"][database_server.engine]["main"]["rotation"] = 1
        project.write(name, config)
        project.up(name).succeeded()
        with pytest.raises(REFUSED):
            database_server.login(uris["my-shop"])
        with database_server.login(pretend_node.secret("my-shop", f"{database_server.engine}-main")["uri"]) as session:
            assert session.run("SELECT value FROM kept") == [("my-shop",)]
        project.settles(name)

        project.destroy(name).succeeded()
        assert project.resources(name) == []
        assert not database_server.names() & set(accounts.values())
    finally:
        project.clean_up()
        database_server.drop(*accounts.values())


def test_an_administrator_may_have_any_password(project: Project, pretend_node: Cluster, server: Callable[[str], DatabaseServer]) -> None:
    """A password of every sort of character reaches both providers whole, encrypted in the stack file."""
    hostile = "p%20w:/?#[]@!$&'()*+,;=\"\\ {}|^~<>é`"
    servers = {engine: server(engine) for engine in ("postgresql", "mysql")}
    with servers["postgresql"].administrator() as session:
        session.run("DROP ROLE IF EXISTS hostile")
        session.run("CREATE ROLE hostile LOGIN CREATEDB CREATEROLE PASSWORD " + "'" + hostile.replace("'", "''") + "'")
    with servers["mysql"].administrator() as session:
        session.run("DROP USER IF EXISTS hostile")
        session.run("CREATE USER hostile IDENTIFIED BY '" + hostile.replace("\\", "\\\\").replace("'", "\\'") + "'")
        session.run("GRANT ALL PRIVILEGES ON *.* TO hostile WITH GRANT OPTION")
    entries = {engine: {**found.as_server(), "administrator": {"username": "hostile", "password": "x"}} for engine, found in servers.items()}
    project.new("hostile", {"servers": entries, "applications": {f"hostile-{engine}": group(engine, engine) for engine in servers}})
    try:
        for engine in servers:
            path = f"database-groups:servers.{engine}.administrator.password"
            project.pulumi("config", "set", "--secret", "--path", path, "--", hostile, stack="hostile").succeeded()
        output = project.up("hostile").succeeded().output
        assert hostile not in output
        for engine, found in servers.items():
            with found.login(pretend_node.secret(f"hostile-{engine}", f"{engine}-main")["uri"]) as session:
                assert session.run("SELECT 1") == [(1,)]
        project.destroy("hostile").succeeded()
    finally:
        project.clean_up()
        servers["postgresql"].drop("hostile_postgresql_main", "hostile")
        servers["mysql"].drop("hostile_mysql_main", "hostile")


def test_many_applications_on_one_server(project: Project, pretend_node: Cluster, server: Callable[[str], DatabaseServer]) -> None:
    """Databases that are made at once do not wait for each other for ever."""
    postgresql = server("postgresql-limited")
    names = [f"many{number:02d}" for number in range(MANY)]
    postgresql.drop(*(f"{name}_main" for name in names))
    project.new("many", {"servers": {"lab": postgresql.as_server()}, "applications": {name: group("postgresql", "lab") for name in names}})
    try:
        start = monotonic()
        project.up("many", "--parallel", "64").succeeded()
        seconds = monotonic() - start
        for name in (names[0], names[-1]):
            with postgresql.login(pretend_node.secret(name, "postgresql-main")["uri"]) as session:
                assert session.run("SELECT 1") == [(1,)]
        project.up("many", "--expect-no-changes").succeeded()
        project.destroy("many").succeeded()
        print(f"{MANY} applications on one server: {seconds:.0f} s")
        assert seconds < MANY_SECONDS
    finally:
        project.clean_up()
        postgresql.drop(*(f"{name}_main" for name in names))
