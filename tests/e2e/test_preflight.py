"""A server that cannot be used fails the update in seconds, before the first change, with one message."""

import http.server
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from tests.e2e.cluster import Cluster
from tests.e2e.project import Project
from tests.e2e.servers import DatabaseServer
from tests.e2e.stores import ACCESS_KEY, PASSWORD, USERNAME, serve_rest, serve_s3
from tests.e2e.tls import Authority, free_port, mysql_with_tls, postgresql_with_tls
from tests.preflight.fakes import open_unanswering_port

SECONDS = 15
WRONG = "wr0ng-Canary"
NOWHERE = "nowhere.invalid"

Servers = Callable[[str], DatabaseServer]


def entry(server: DatabaseServer, **changes: Any) -> dict[str, Any]:
    """A server of the stack."""
    return {**server.as_server(), **changes}


def at(engine: str, host: str, port: int) -> dict[str, Any]:
    """A server of the stack that the program reaches at an address of its own, as through a tunnel."""
    administrator = {"username": "provisioner", "password": WRONG, "host": host, "port": port}
    return {"engine": engine, "host": "db.example.org", "tls": "disable", "administrator": administrator}


def stack(servers: dict[str, dict[str, Any]], prefix: str = "unmade") -> dict[str, Any]:
    """A stack with an application on each of its servers."""
    applications = {
        f"{prefix}-{name}": {
            "databases": {server["engine"]: {"main": {"server": {"kind": "external", "provisionOn": name}}}}
        }
        for name, server in servers.items()
    }
    return {"externalServers": servers, "applications": applications}


def alias(server: DatabaseServer) -> dict[str, Any]:
    """The keys of an entry whose administrator uses another name of a server's host."""
    account = {"username": server.username, "password": server.password, "host": "127.0.0.1"}
    return {"host": "alias.example.org", "administrator": account}


@contextmanager
def web_server() -> Iterator[int]:
    """A web server on loopback, by its port."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield int(server.server_address[1])
        server.shutdown()


@contextmanager
def limited(server: DatabaseServer, name: str) -> Iterator[None]:
    """An account that may log in and do nothing more."""
    create = {
        "postgresql": f"CREATE ROLE {name} LOGIN PASSWORD '{WRONG}'",
        "mysql": f"CREATE USER {name} IDENTIFIED BY '{WRONG}'",
    }[server.engine]
    server.drop(name)
    with server.administrator() as session:
        session.run(create)
    try:
        yield
    finally:
        server.drop(name)


@dataclass
class Refused:
    """An update that was to fail: how long it took and what it said."""

    seconds: float
    output: str


@pytest.fixture
def refused(project: Project, cluster: Cluster) -> Callable[[dict[str, Any]], Refused]:
    """Runs an update that must fail and leave nothing behind, in the state or in the cluster."""

    def run(config: dict[str, Any]) -> Refused:
        project.new("unmade", config)
        start = monotonic()
        output = project.up("unmade").failed().output
        seconds = monotonic() - start
        assert seconds < SECONDS
        assert not [resource for resource in project.resources("unmade") if not resource["type"].startswith("pulumi:")]
        assert not [name for name in config["applications"] if cluster.has_namespace(name)]
        assert WRONG not in output
        assert re.search(r"\d+ (external server|backup store) checks? failed:", output)
        return Refused(seconds, output)

    return run


def flat(text: str) -> str:
    """A text without its line breaks."""
    return " ".join(text.split())


def test_a_name_that_nobody_knows(refused: Any) -> None:
    said = refused(stack({"hq": at("mysql", NOWHERE, 3306)})).output
    assert f"externalServers.hq ({NOWHERE}:3306)" in said


def test_a_host_that_does_not_answer(refused: Any) -> None:
    with open_unanswering_port() as port:
        said = refused(stack({"hq": at("postgresql", "127.0.0.1", port)})).output
    assert f"externalServers.hq (127.0.0.1:{port})" in said
    assert "timed out" in said


@pytest.mark.parametrize(("engine", "remedy"), [("mysql", "bind-address"), ("postgresql", "listen_addresses")])
def test_a_port_on_which_nobody_listens(engine: str, remedy: str, refused: Any) -> None:
    port = free_port()
    said = refused(stack({"hq": at(engine, "127.0.0.1", port)})).output
    assert f"externalServers.hq (127.0.0.1:{port})" in said
    assert remedy in said


@pytest.mark.parametrize("name", ["postgresql", "postgresql17", "mysql"])
def test_a_wrong_password(name: str, refused: Any, server: Servers) -> None:
    found = server(name)
    said = refused(stack({"hq": entry(found, administrator={"username": found.username, "password": WRONG})})).output
    assert f"externalServers.hq ({found.host}:{found.port})" in said
    assert f"logging in as {found.username}" in said
    assert "the server rejected the login" in flat(said)
    assert "`password`" in flat(said)


@pytest.mark.parametrize(
    ("name", "lacking", "cure"),
    [
        ("postgresql", "CREATEDB, CREATEROLE", 'ALTER ROLE "unfit" CREATEDB CREATEROLE;'),
        ("postgresql17", "CREATEDB, CREATEROLE", 'ALTER ROLE "unfit" CREATEDB CREATEROLE;'),
        ("mysql", "CREATE USER", "TO 'unfit'@'%' WITH GRANT OPTION;"),
    ],
)
def test_an_administrator_without_rights(name: str, lacking: str, cure: str, refused: Any, server: Servers) -> None:
    found = server(name)
    with limited(found, "unfit"):
        said = flat(refused(stack({"hq": entry(found, administrator={"username": "unfit", "password": WRONG})})).output)
    assert lacking in said
    assert cure in said


def test_mariadb(refused: Any, server: Servers) -> None:
    said = flat(refused(stack({"hq": entry(server("mariadb"), engine="mysql", tls="disable")})).output)
    assert "the server is MariaDB" in said
    assert "innodb_version" in said
    assert "`host`" in said


@pytest.mark.parametrize("engine", ["mysql", "postgresql"])
def test_a_web_server_in_its_place(engine: str, refused: Any) -> None:
    with web_server() as port:
        said = refused(stack({"hq": at(engine, "127.0.0.1", port)})).output
    assert "a web server (" in said


def test_a_certificate_of_an_unknown_authority(refused: Any, server: Servers, project: Project, tmp_path: Path) -> None:
    """Both servers have a certificate for their name, which an authority signed that the stack file does not name."""
    postgresql, mysql = server("postgresql"), server("mysql")
    (project.folder / "ca.crt").write_bytes(Authority("Another").pem)
    authority = Authority()
    with (
        postgresql_with_tls(authority, postgresql.host) as ours,
        mysql_with_tls(mysql, tmp_path, authority, mysql.host),
    ):
        account = {"username": ours.username, "password": ours.password}
        servers = {
            "pg": {
                "engine": "postgresql",
                "host": ours.host,
                "port": ours.port,
                "caFile": "ca.crt",
                "administrator": account,
            },
            "my": entry(mysql, tls="verify-full", caFile="ca.crt"),
        }
        said = refused(stack(servers)).output
    assert "2 external server checks failed:" in said
    assert f"externalServers.pg ({ours.host}:{ours.port})" in said
    assert f"externalServers.my ({mysql.host}:{mysql.port})" in said


def test_ten_dead_servers_are_told_at_once(refused: Any, project: Project) -> None:
    hung = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
    with ExitStack() as open_sockets:
        for listener in hung:
            open_sockets.enter_context(listener)
        web, dropped = open_sockets.enter_context(web_server()), open_sockets.enter_context(open_unanswering_port())
        places = [
            *((("127.0.0.1", listener.getsockname()[1])) for listener in hung),
            *((("127.0.0.1", free_port())) for _ in range(3)),
            (NOWHERE, 3306),
            ("127.0.0.1", dropped),
            ("also.nowhere.invalid", 3306),
            ("127.0.0.1", web),
        ]
        servers = {
            f"s{number}": at(("mysql", "postgresql")[number % 2], host, port)
            for number, (host, port) in enumerate(places)
        }
        result = refused(stack(servers))
        preview = project.preview("unmade").succeeded().output
    for output in (result.output, preview):
        assert "10 external server checks failed:" in output
        for number, (host, port) in enumerate(places):
            assert f"externalServers.s{number} ({host}:{port})" in output
    assert "warning" in preview
    print(f"ten dead servers: {result.seconds:.1f} s")


def test_what_exists_is_never_adopted(refused: Any, server: Servers) -> None:
    """Neither a database nor a user that somebody else made."""
    found = {name: server(name) for name in ("postgresql", "mysql")}
    taken = {name: f"unmade_{name}_main" for name in found}
    for name, there in found.items():
        there.drop(taken[name])
        with there.administrator() as session:
            session.run(f"CREATE DATABASE {taken[name]}")
    try:
        said = flat(refused(stack({name: there.as_server() for name, there in found.items()})).output)
        for name, there in found.items():
            assert f"applications.unmade-{name}.databases.{there.engine}.main ({there.host}:{there.port})" in said
            assert f"database {taken[name]} already exists on the server" in said
            assert taken[name] in there.names()
    finally:
        for name, there in found.items():
            there.drop(taken[name])


def test_two_entries_for_one_server(refused: Any, server: Servers) -> None:
    """Two groups would get one database and one user, because one entry has an alias of the other one's host."""
    found = {"pg": server("postgresql-limited"), "my": server("mysql")}
    names = {"kind": "external", "database": "unmade_twice", "username": "unmade_twice"}
    applications = {
        f"unmade-{name}{suffix}": {
            "databases": {there.engine: {"main": {"server": {**names, "provisionOn": f"{name}{suffix}"}}}}
        }
        for name, there in found.items()
        for suffix in ("", "-alias")
    }
    servers = {name: entry(there) for name, there in found.items()}
    servers |= {f"{name}-alias": {**entry(there), **alias(there)} for name, there in found.items()}
    said = flat(refused({"externalServers": servers, "applications": applications}).output)
    assert "2 external server checks failed:" in said
    for name, there in found.items():
        path = f"applications.unmade-{name}{{}}.databases.{there.engine}.main"
        assert f"{path.format('-alias')} (127.0.0.1:{there.port})" in said
        shared = f"{path.format('')} has the same database unmade_twice and user unmade_twice"
        assert f"127.0.0.1:{there.port} and {there.host}:{there.port} are one server, and {shared}" in said


def test_a_given_account_that_is_refused(refused: Any, server: Servers) -> None:
    found = server("postgresql")
    given = {
        "kind": "external",
        "host": found.host,
        "port": found.port,
        "database": "postgres",
        "username": found.username,
        "password": WRONG,
    }
    said = refused({"applications": {"unmade": {"databases": {"postgresql": {"main": {"server": given}}}}}}).output
    assert f"applications.unmade.databases.postgresql.main.server ({found.host}:{found.port})" in said


def test_a_runner_outside_the_network_of_the_databases_checks_nothing(project: Project, cluster: Cluster) -> None:
    given = {"kind": "external", "host": NOWHERE}
    config = {"preflight": False, "applications": {"unchecked": {"databases": {"redis": {"main": {"server": given}}}}}}
    project.new("unchecked", config)
    project.up("unchecked").succeeded()
    assert cluster.has_namespace("unchecked")
    project.destroy("unchecked").succeeded()


def test_the_command_checks_a_stack_alone(project: Project, server: Servers) -> None:
    """`make check`, with a password that is encrypted in the stack file."""
    found = server("postgresql-limited")
    project.new("checked", stack({"hq": entry(found)}, prefix="checked"))
    path = "database-groups:externalServers.hq.administrator.password"
    project.pulumi("config", "set", "--secret", "--path", path, stack="checked", typed=found.password).succeeded()
    output = project.python("-m", "stacks", "check", "checked").succeeded().output
    assert "Checked the cluster and 1 external server address: all usable." in output
    project.pulumi("config", "set", "--secret", "--path", path, stack="checked", typed=WRONG).succeeded()
    said = project.python("-m", "stacks", "check", "checked").failed().output
    assert f"externalServers.hq ({found.host}:{found.port})" in said
    assert WRONG not in said
    assert {resource["type"] for resource in project.resources("checked")} == set()


def test_stores_of_backups_that_cannot_be_used(refused: Any, project: Project, tmp_path: Path) -> None:
    own = {"repositoryPassword": WRONG}
    with serve_s3(tmp_path) as s3, serve_rest(tmp_path) as rest:
        bucket = {"kind": "s3", "endpoint": s3.url, "bucket": "absent", "accessKey": ACCESS_KEY, **own}
        stores = {
            "bucket": {**bucket, "secretKey": "secret-of-a-test"},
            "secret": {**bucket, "secretKey": WRONG},
            "login": {"kind": "rest", "url": rest.url, "username": USERNAME, "password": WRONG, **own},
            "depth": {"kind": "rest", "url": f"{rest.url}/a/b", "username": USERNAME, "password": PASSWORD, **own},
        }
        databases = {"postgresql": {name: {"backup": {"store": name}} for name in stores}}
        config = {"backupStores": stores, "applications": {"unmade-stores": {"databases": databases}}}
        output = flat(refused(config).output)
        assert "4 backup store checks failed:" in output
        assert [name for name in stores if f"backupStores.{name} (localhost:" not in output] == []
        assert "result: the bucket absent does not exist" in output
        assert [path.name for path in s3.folder.iterdir() if not path.name.startswith(".")] == []
        assert "warning: 4 backup store checks failed:" in flat(project.preview("unmade").succeeded().output)
