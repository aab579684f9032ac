"""Password changes of provisioned databases on real servers, while clients log in ten times a second."""

import json
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import pytest

from tests.e2e.cluster import Cluster
from tests.e2e.project import Project
from tests.e2e.servers import REFUSED, DatabaseServer, Session
from tests.e2e.test_provisioning import build_application, build_servers

pytestmark = pytest.mark.slow
IS_PROOF = "PASSWORD_CHANGES" in os.environ
"""Whether `make password-changes` runs the tests. Other runs have fewer changes, and only the limited accounts."""
CHANGES = int(os.environ.get("PASSWORD_CHANGES", "2"))
SERVERS = ("postgresql-limited", "postgresql17-limited", "mysql", *(("postgresql", "postgresql17") if IS_PROOF else ()))
INTERVAL_SECONDS = 0.1
MIN_LOGINS = 10
"""Logins of a client during an update on a busy machine."""

proof_only = pytest.mark.skipif(not IS_PROOF, reason="only `make password-changes` runs slow tests")


class Client(threading.Thread):
    """A client that logs in ten times a second with the URI that `read` returns."""

    def __init__(self, server: DatabaseServer, read: Callable[[], str]) -> None:
        super().__init__(daemon=True)
        self.server, self.read = server, read
        self.attempts = self.accepted = 0
        self.errors: list[Exception] = []
        self.stopped = threading.Event()
        self.start()

    def run(self) -> None:
        start = time.monotonic()
        while not self.stopped.wait(start + self.attempts * INTERVAL_SECONDS - time.monotonic()):
            self.attempts += 1
            try:
                with self.server.login(self.read()) as session:
                    session.run("SELECT 1")
                self.accepted += 1
            except Exception as error:  # the test reports it
                self.errors.append(error)

    def stop(self) -> int:
        """End the client. Assert that the server accepted every login, and return their number."""
        self.stopped.set()
        self.join()
        assert self.errors == []
        assert self.accepted >= MIN_LOGINS
        return self.accepted


class Group:
    """A provisioned group of its own application on one server, and the clients of the application."""

    def __init__(self, name: str, server: DatabaseServer, cluster: Cluster) -> None:
        self.name, self.server, self.cluster = name, server, cluster
        self.application = f"change-{name}"
        self.database = f"{self.application}_main".replace("-", "_")
        self.accounts = (self.database, f"{self.database}__b")
        self.logins = 0
        self.old_uris: list[str] = []
        self.clients: list[Client] = []
        """The client that reads the Secret at each login, then those that keep the URI with which they started."""

    def read_uri(self) -> str:
        """Return the URI in the environment Secret, from which a new Pod would take it."""
        return self.cluster.read_secret(self.application, f"{self.application}-databases")["DATABASE_URL"]

    def start_client(self) -> None:
        """Start a client that keeps the current URI."""
        uri = self.read_uri()
        self.old_uris.append(uri)
        self.clients = self.clients or [Client(self.server, self.read_uri)]
        self.clients.append(Client(self.server, lambda: uri))

    def stop_clients(self, *, newer: int = 0) -> None:
        """Stop all clients that keep a URI, except for the newest ones. Without any, also stop the other client."""
        while len(self.clients) > 1 + newer:
            self.clients.pop(1).stop()
        if not newer:
            self.logins = self.clients.pop().stop()

    def create_tables(self, version: int) -> None:
        """Create a table, and one without the owner's role. Read and extend the tables of all earlier versions."""
        is_postgresql = self.server.engine == "postgresql"
        with self.server.login(self.read_uri()) as session:
            for earlier in range(version):
                for name in (f"seen{earlier}", f"seen{earlier}_alone"):
                    assert session.run(f"SELECT value FROM {name}") == [(earlier,)]
                    session.run(f"ALTER TABLE {name} ADD COLUMN seen{version} INT")
                    session.run(f"ALTER TABLE {name} DROP COLUMN seen{version}")
            for suffix in ("", "_alone"):
                if suffix and is_postgresql:
                    assert session.run("SELECT current_user::text") == [(self.database,)]
                    session.run("SET ROLE NONE")
                session.run(f"CREATE TABLE seen{version}{suffix} (value INT)")
                session.run(f"INSERT INTO seen{version}{suffix} VALUES ({version})")

    def list_foreign_objects(self) -> list[str]:
        """Return the tables and databases that the owner does not own. In MySQL no object has an owner."""
        if self.server.engine != "postgresql":
            return []
        owner = f"'{self.database}'::regrole"
        queries = (
            f"SELECT relname FROM pg_class WHERE relname ~ '^seen' AND relowner <> {owner}",
            f"SELECT datname FROM pg_database WHERE datname = current_database() AND datdba <> {owner}",
        )
        with self.server.administrator(self.database) as session:
            return [str(name) for query in queries for (name,) in session.run(query)]

    def assert_accepted(self, uri: str) -> None:
        """Assert that the server accepts a login."""
        with self.server.login(uri) as session:
            session.run("SELECT 1")

    def assert_newest_passwords_are_valid(self) -> None:
        """Assert that the server accepts the last two URIs and no older one, and that the owner owns everything."""
        uri = self.read_uri()
        assert uri == self.cluster.read_secret(self.application, f"{self.server.engine}-main")["uri"]
        assert uri not in self.old_uris
        for other in (uri, self.old_uris[-1]):
            self.assert_accepted(other)
        for other in self.old_uris[:-1]:
            with pytest.raises(REFUSED):
                self.server.login(other)
        assert self.list_foreign_objects() == []


@contextmanager
def deploy(project: Project, cluster: Cluster, server: Callable[[str], DatabaseServer], *names: str) -> Iterator[Any]:
    """Deploy one group on each server. Yield the groups, and a function that writes a password version."""
    groups = [Group(name, server(name), cluster) for name in names]
    config: dict[str, Any] = {
        "externalServers": build_servers({group.name: group.server for group in groups}),
        "applications": {group.application: build_application(group.server.engine, group.name) for group in groups},
    }

    def write(version: int) -> None:
        for group in groups:
            application = config["applications"][group.application]
            application["databases"][group.server.engine]["main"]["passwordVersion"] = version
        project.write("changes", config)

    for group in groups:
        group.server.drop(*group.accounts)
    project.new("changes", config)
    try:
        project.up("changes").succeeded()
        yield groups, write
    finally:
        for group in groups:
            for client in group.clients:
                client.stopped.set()
        project.clean_up()
        for group in groups:
            group.server.drop(*group.accounts)


@pytest.mark.timeout(300 + 60 * CHANGES)
def test_no_login_is_refused_during_password_changes(
    project: Project, cluster: Cluster, server: Callable[[str], DatabaseServer]
) -> None:
    """An application that starts with the newest password works until the change after the next one begins."""
    sessions: list[Session] = []
    with ExitStack() as stack, deploy(project, cluster, server, *SERVERS) as (groups, write):
        for group in groups:
            group.create_tables(0)
        for version in range(1, CHANGES + 1):
            for group in groups:
                group.start_client()
                group.stop_clients(newer=1)
                sessions.append(stack.enter_context(group.server.login(group.read_uri())))
            write(version)
            output = project.up("changes").succeeded().output
            assert "SCRAM-SHA-256" not in output
            for group in groups:
                group.assert_newest_passwords_are_valid()
                group.create_tables(version)
        for group in groups:
            group.stop_clients()
            print(f"{group.name}: {CHANGES} changes, {group.logins} logins with the newest password, 0 refused")
        project.assert_settled("changes")
        for session in sessions[-len(groups) :]:
            assert session.run("SELECT 1") == [(1,)]

        project.destroy("changes").succeeded()
        assert project.resources("changes") == []
        for group in groups:
            assert not set(group.accounts) & group.server.names()


def test_preview_and_rejected_password_version_change_nothing(
    project: Project, cluster: Cluster, server: Callable[[str], DatabaseServer]
) -> None:
    with deploy(project, cluster, server, "postgresql-limited") as (groups, write):
        uri = groups[0].read_uri()
        write(2)
        assert "a change to 2 would end it at once" in project.up("changes").failed().output
        write(1)
        project.preview("changes").succeeded()
        assert groups[0].read_uri() == uri
        groups[0].assert_accepted(uri)
        assert groups[0].accounts[1] not in groups[0].server.names()


@proof_only
def test_locked_object_stops_the_change_before_the_password_changes(
    project: Project, cluster: Cluster, server: Callable[[str], DatabaseServer]
) -> None:
    with deploy(project, cluster, server, "postgresql-limited") as (groups, write):
        (group,) = groups
        write(1)
        project.up("changes").succeeded()
        uri = group.read_uri()
        with group.server.login(uri) as session:
            session.run("SET ROLE NONE")
            session.run("CREATE TABLE seen (value INT)")
            session.run("BEGIN")
            session.run("LOCK TABLE seen IN ACCESS SHARE MODE")
            write(2)
            assert "canceling statement due to lock timeout" in project.up("changes").failed().output
            assert (group.read_uri(), group.list_foreign_objects()) == (uri, ["seen"])
            session.run("COMMIT")
        project.up("changes").succeeded()
        group.old_uris = [uri]
        group.assert_newest_passwords_are_valid()


def read_state(project: Project) -> Any:
    """Return the state with its secrets."""
    output = project.pulumi("stack", "export", "--show-secrets", stack="changes").succeeded().output
    return json.loads(output)


def test_next_update_finishes_an_update_that_was_killed_before_pulumi_recorded_a_change(
    project: Project, cluster: Cluster, server: Callable[[str], DatabaseServer]
) -> None:
    """The server is ahead of the state: it has the second account, or the new password of the user."""
    with deploy(project, cluster, server, "postgresql-limited", "postgresql17-limited", "mysql") as (groups, write):
        old_resources = {resource["urn"]: resource for resource in read_state(project)["deployment"]["resources"]}
        old_uris = {group.name: group.read_uri() for group in groups}
        write(1)
        project.up("changes").succeeded()
        uris = {group.name: group.read_uri() for group in groups}

        state = read_state(project)
        unrecorded = re.compile(r"-(role|membership)-b$")
        text = json.dumps(
            [
                old_resources[resource["urn"]] if resource["type"] == "mysql:index/user:User" else resource
                for resource in state["deployment"]["resources"]
                if not unrecorded.search(resource["urn"])
            ]
        )
        state["deployment"]["resources"] = json.loads(text, object_hook=lambda pairs: forget(pairs, unrecorded))
        project.pulumi("stack", "import", stack="changes", typed=json.dumps(state)).succeeded()
        # The killed update did not change the Secrets, so every client has the old password.
        clients = [Client(group.server, partial(str, old_uris[group.name])) for group in groups]
        project.up("changes").succeeded()
        for group, client in zip(groups, clients, strict=True):
            client.stop()
            assert group.read_uri() == uris[group.name]
            group.assert_accepted(uris[group.name])
        project.assert_settled("changes")


def forget(pairs: dict[str, Any], unrecorded: "re.Pattern[str]") -> dict[str, Any]:
    """Return a part of the state without references to unrecorded resources."""
    return {
        key: [item for item in value if not (isinstance(item, str) and unrecorded.search(item))]
        if isinstance(value, list)
        else value
        for key, value in pairs.items()
    }


@proof_only
def test_next_update_finishes_a_killed_change(
    project: Project, cluster: Cluster, server: Callable[[str], DatabaseServer]
) -> None:
    with deploy(project, cluster, server, "postgresql17-limited") as (groups, write):
        (group,) = groups
        uri = group.read_uri()
        group.start_client()
        write(1)
        project.kill_up("changes", lambda: group.accounts[1] in group.server.names())
        for path in project.state.rglob("*.attrs"):
            if not path.stat().st_size:
                path.unlink()
        project.pulumi("cancel", "--yes", stack="changes").succeeded()
        project.up("changes").succeeded()
        group.stop_clients()
        assert group.read_uri() != uri
        group.assert_accepted(uri)
        project.assert_settled("changes")
