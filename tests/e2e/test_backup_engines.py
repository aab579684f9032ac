"""Backups of every engine on a node with containers: saved, verified, deleted and restored, in one stack."""

import contextlib
import json
import os
import re
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.e2e.cluster import Cluster
from tests.e2e.cluster_store import BUCKET, build_store, build_store_images, serve_store
from tests.e2e.project import Project
from tests.e2e.servers import DatabaseServer, lab_server
from tests.e2e.test_backup import Jobs

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]
NAMESPACE, STORE = "backup-engines", "backup-engines-store"
NAMESPACES = (NAMESPACE, STORE)
EXISTING = "backup_engines_existing"
"""Database and user that exist on an external server."""
CREATE = "CREATE TABLE IF NOT EXISTS saved (number INT)"
INSERT, SELECT = "INSERT INTO saved VALUES ({})", "SELECT max(number) FROM saved"
SCRIPTS = {
    "postgresql": """
        CREATE EXTENSION pg_buffercache;
        CREATE TABLE seeded (number int);
        INSERT INTO seeded VALUES (1);
        GRANT SELECT ON seeded TO PUBLIC;
        CREATE SCHEMA own;
        GRANT USAGE ON SCHEMA own TO PUBLIC;
        CREATE TYPE own.pair AS (a int, b int);
        CREATE FUNCTION own.twice(int) RETURNS int LANGUAGE sql AS 'SELECT $1 * 2';
        CREATE DOMAIN own.positive AS int CHECK (VALUE > 0);
    """,
    "mysql": """
        CREATE TABLE seeded (number INT);
        INSERT INTO seeded VALUES (1);
        CREATE EVENT tick ON SCHEDULE EVERY 1 SECOND DO
            INSERT INTO seeded SELECT 2 FROM DUAL WHERE @@hostname LIKE '%verify%';
    """,
}
"""Scripts of servers. Only a superuser creates the extension. The event must not run in a verification."""
HAS_INFLUXDB = "IMAGE_PROGRAMS" in os.environ
KEEP = 2
LAST = 100
"""Number that no backup has."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """A group that is saved, and the group that is filled from its backup."""

    engine: str
    name: str
    image: str = ""
    """Image of the group's server. Empty: its server is outside the cluster."""
    server: Mapping[str, Any] = field(default_factory=dict)
    copy: Mapping[str, Any] = field(default_factory=dict)
    """Keys of the second server that differ."""
    keys: Mapping[str, Any] = field(default_factory=dict)
    """Further keys of the groups."""
    lab: str = ""
    """The server outside the cluster."""
    client: str = ""
    """Command in the server's Pod that runs the statement of its standard input as the application."""
    write: tuple[str, ...] = (CREATE, INSERT)
    """Statements that write a number."""
    read: str = SELECT
    """Statement that returns the last number."""
    restores: str = "latest"
    """What fills the second group: its only backup, or the second one of three, by its `id` or by a `time`."""

    @property
    def group(self) -> str:
        return f"{self.engine}-{self.name}"

    @property
    def rounds(self) -> int:
        """The number of its backups. Each has its own number."""
        return 1 if self.restores == "latest" else KEEP + 1


PSQL = (
    'PGPASSWORD="$APPLICATION_PASSWORD" psql --no-psqlrc -tA -v ON_ERROR_STOP=1'
    ' -h "$POD_IP" -U "$APPLICATION_USERNAME" -d "$APPLICATION_DATABASE"'
)
MYSQL = (
    "mysql --defaults-file=/var/run/mysqld/application.cnf --batch --skip-column-names"
    ' --protocol=TCP --host="$POD_IP" --database="$APPLICATION_DATABASE"'
)
REDIS: dict[str, Any] = {
    "engine": "redis",
    "client": 'REDISCLI_AUTH="$(cat /run/server/password)" redis-cli',
    "write": ("SET number {}",),
    "read": "GET number",
}
FILL = "\n".join(
    (
        "EVAL \"for i = 1, 100 do redis.call('DEL', 'filler1.' .. i, 'filler2.' .. i) end\" 0",
        "SET number {}",
        *(
            f"EVAL \"for i = 1, 100 do redis.call('SET', KEYS[1] .. i, string.rep('x', 10000)) end\" 1 filler{part}."
            for part in range(150)
        ),
    )
)
"""Write a number, and then 150 MB or until the server is full: a script fails that begins later."""
CASES = (
    Case(
        engine="postgresql",
        name="main",
        image="postgres:17",
        server={"kind": "local", "version": "17", "initScript": SCRIPTS["postgresql"]},
        client=PSQL,
    ),
    Case(
        engine="mysql",
        name="main",
        image="mysql:9.7",
        server={"kind": "local", "version": "9.7", "initScript": SCRIPTS["mysql"]},
        client=MYSQL,
        restores="time",
    ),
    Case(name="main", image="redis:7", server={"kind": "local", "version": "7"}, restores="id", **REDIS),
    # The server is full. Its copy has more memory: another one of the same size would be full before the end.
    Case(
        name="full",
        image="redis:7",
        server={"kind": "local", "version": "7", "resources": {"memory": "320Mi"}},
        copy={"resources": {"memory": "400Mi"}},
        **{**REDIS, "write": (FILL,)},
    ),
    Case(
        name="valkey",
        image="valkey/valkey:8",
        server={"kind": "local", "version": "8"},
        keys={"variant": "valkey"},
        **REDIS,
    ),
    Case(
        engine="influxdb",
        name="main",
        image="influxdb:2.7",
        server={"kind": "local", "version": "2.7"},
        client="sh",
        write=("influx write --bucket \"$APPLICATION_BUCKET\" 'saved number={0}i {0}'",),
        read='influx query --raw "from(bucket: \\"$APPLICATION_BUCKET\\") |> range(start: 0) |> last()"'
        " | sed -n 's/^,.*Z,\\([0-9]*\\),number,.*/\\1/p'",
    ),
    Case(engine="postgresql", name="existing", lab="postgresql", restores="time"),
    Case(engine="postgresql", name="created", lab="postgresql"),
    # The image for an external MySQL server, of series 8.4, has no Debian package.
)


@contextlib.contextmanager
def relay(port: int) -> Iterator[int]:
    """Forward connections of Pods to a port of this machine that listens on 127.0.0.1 only. Yield the other port."""

    def copy(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    def forward(client: socket.socket) -> None:
        with client, socket.create_connection(("127.0.0.1", port)) as server:
            other = threading.Thread(target=copy, args=(client, server), daemon=True)
            other.start()
            copy(server, client)
            other.join()

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=forward, args=(listener.accept()[0],), daemon=True).start()

    with socket.create_server(("", 0)) as listener:
        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)  # ends `accept`


@dataclass
class Stack:
    """One stack with the groups of all cases."""

    project: Project
    cluster: Cluster
    store: str
    servers: Mapping[str, tuple[str, int]]
    """Address of each external server for Pods."""
    cases: tuple[Case, ...]

    def build(self, backups: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Return the configuration. With the backups of the cases, further groups are filled from them."""
        databases: dict[str, Any] = {}
        for case in self.cases:
            groups = databases.setdefault(case.engine, {})
            groups[case.name] = {"server": self._build_server(case), **case.keys, "primary": case.name == "main"}
            if backups:
                source = {"backup": backups[case.group], "group": case.name}
                copy: dict[str, Any] = (
                    {"kind": "external", "provisionOn": case.lab} if case.lab else {**case.server, **case.copy}
                )
                groups[f"{case.name}-copy"] = {"server": copy, **case.keys, "from": source, "backup": False}
        return {
            "preflight": False,  # the checks have tests of their own
            "backupStores": {"offsite": build_store(self.store)},
            "backup": {"schedule": "0 0 1 1 *", "keep": {"last": KEEP}},
            "externalServers": {name: self._build_external_server(name) for name in self.servers},
            "applications": {NAMESPACE: {"createNamespace": False, "databases": databases}},
        }

    def _build_server(self, case: Case) -> dict[str, Any]:
        if case.name != "existing":
            return {"kind": "external", "provisionOn": case.lab} if case.lab else dict(case.server)
        host, port = self.servers[case.lab]
        account = {"database": EXISTING, "username": EXISTING, "password": EXISTING}
        return {"kind": "external", "host": host, "port": port, "tls": "disable", **account}

    def _build_external_server(self, name: str) -> dict[str, Any]:
        host, port = self.servers[name]
        return {**lab_server(name).as_server(), "host": host, "port": port}

    def update(self, config: dict[str, Any]) -> None:
        self.project.write(NAMESPACE, config)
        self.project.up(NAMESPACE).succeeded()

    def run(self, case: Case, statement: str, group: str = "") -> str:
        """Run a statement in a group as the application. Default: the group that is saved."""
        name = group or case.group
        if case.lab:
            uri = self.cluster.read_secret(NAMESPACE, name)["uri"]
            with lab_server(case.lab).login(uri) as session:
                rows = session.run(statement)
            return str(rows[0][0]) if rows else ""
        command = f"{case.client} <<'STATEMENT'\n{statement}{';' if 'SELECT' in case.read else ''}\nSTATEMENT"
        succeeded, output = self.cluster.run(NAMESPACE, f"{name}-0", command)
        assert succeeded, output
        return output.strip()

    def write(self, number: int, cases: Sequence[Case]) -> None:
        """Write a number into groups."""
        for case in cases:
            for statement in case.write:
                self.run(case, statement.format(number))


@dataclass
class Results:
    """What happened to the groups."""

    stack: Stack
    backups: Sequence[Mapping[str, tuple[bool, str]]]
    """Results of the Jobs that saved the groups, by group, one map for each round."""
    verifications: Mapping[str, tuple[bool, str]]

    def find_id(self, case: Case, number: int) -> str:
        """Return the id of a backup."""
        output = self.backups[number - 1][case.group][1]
        found = re.search(r"saved snapshot ([0-9a-f]{8})", output)
        assert found, output
        return found[1]


@pytest.fixture(scope="module")
def results(
    module_project: Project,
    real_node: Cluster,
    build_images: Callable[..., None],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Results]:
    """Save all groups, some three times, verify the backups, and fill other groups from them. Jobs run in parallel."""
    cases = tuple(case for case in CASES if HAS_INFLUXDB or case.engine != "influxdb")
    build_images(*dict.fromkeys(case.image for case in cases if case.image))
    build_store_images(tmp_path_factory.mktemp("images"))
    labs = {case.lab: lab_server(case.lab) for case in cases if case.lab}
    address = next(
        entry.address
        for node in real_node.core.list_node().items
        if not real_node.is_simulated(node)
        for entry in node.status.addresses
        if entry.type == "InternalIP"
    )
    with contextlib.ExitStack() as cleanup:
        ports = {name: cleanup.enter_context(relay(server.port)) for name, server in labs.items()}
        prepare_servers(labs)
        for namespace in NAMESPACES:
            cleanup.enter_context(real_node.create_namespace(namespace))
        store = cleanup.enter_context(serve_store(real_node, STORE))
        stack = Stack(module_project, real_node, store, {name: (address, port) for name, port in ports.items()}, cases)
        jobs = Jobs(real_node, NAMESPACE)
        module_project.new(NAMESPACE, stack.build())
        cleanup.callback(module_project.destroy, NAMESPACE)  # while its servers can be reached
        module_project.up(NAMESPACE).succeeded()
        backups, times = [], []
        for number in range(1, KEEP + 2):
            saved = [case for case in cases if case.rounds >= number]
            stack.write(number, saved)
            backups.append(jobs.run_all({case.group: "backup" for case in saved}, f"{number}"))
            times.append(datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S"))
            time.sleep(1)  # the time of the next backup must be another one
        stack.write(LAST, cases)
        verifications = jobs.run_all({case.group: "verify" for case in cases}, "1")
        results = Results(stack, backups, verifications)
        sources = {
            case.group: {"latest": "latest", "time": times[1], "id": results.find_id(case, min(2, case.rounds))}[
                case.restores
            ]
            for case in cases
        }
        stack.update(stack.build(sources))
        yield results
        module_project.destroy(NAMESPACE).succeeded()


def prepare_servers(servers: Mapping[str, DatabaseServer]) -> None:
    """Create a database and its user, as an administrator does, after databases of a killed test are dropped."""
    groups = [f"backup_engines_{case.name}{copy}" for case in CASES if case.lab for copy in ("", "_copy")]
    names = [f"{name}{account}" for name in groups for account in ("", "__b")]
    for server in servers.values():
        server.drop(*names)
    with servers["postgresql"].administrator() as session:
        session.run(f"CREATE ROLE {EXISTING} LOGIN PASSWORD '{EXISTING}'")
        session.run(f"CREATE DATABASE {EXISTING} OWNER {EXISTING}")


@pytest.fixture(params=CASES, ids=lambda case: case.group)
def case(request: pytest.FixtureRequest) -> Case:
    if request.param.engine == "influxdb" and not HAS_INFLUXDB:
        pytest.skip("IMAGE_PROGRAMS is not set; no Debian package has InfluxDB")
    found: Case = request.param
    return found


def test_group_is_saved_and_its_backup_can_be_restored(results: Results, case: Case) -> None:
    for backups in results.backups[: case.rounds]:
        succeeded, output = backups[case.group]
        assert succeeded, output
    succeeded, output = results.verifications[case.group]
    assert succeeded, output
    assert f"snapshot {results.find_id(case, case.rounds)} of " in output


def test_new_group_has_the_data_of_the_backup(results: Results, case: Case) -> None:
    assert results.stack.run(case, case.read) == str(LAST)
    assert results.stack.run(case, case.read, f"{case.group}-copy") == str(min(2, case.rounds))


def test_old_backups_are_deleted(results: Results) -> None:
    case = next(case for case in CASES if case.rounds > KEEP)
    secret = results.stack.cluster.read_secret(NAMESPACE, f"{case.group}-backup")
    repository = f"s3:{results.stack.store}/{BUCKET}/{NAMESPACE}/{case.engine}/{case.name}"
    listed = subprocess.run(
        ["restic", "--no-cache", "snapshots", "--json"],
        env={**os.environ, **secret, "RESTIC_REPOSITORY": repository},
        capture_output=True,
        check=True,
        timeout=60,
    ).stdout
    expected = [results.find_id(case, number) for number in range(2, case.rounds + 1)]
    assert [snapshot["short_id"] for snapshot in json.loads(listed)] == expected


def test_data_of_init_script_is_restored_and_nothing_else_is_overwritten(results: Results) -> None:
    """The script ran before the restore. Later, the group holds data of its user."""
    stack, main = results.stack, CASES[0]
    for case in (case for case in CASES if case.engine in SCRIPTS and case.image):
        assert stack.run(case, "SELECT count(*) FROM seeded", f"{case.group}-copy") == "1"
    config = stack.build()
    config["applications"][NAMESPACE]["databases"]["postgresql"]["main"]["from"] = {"backup": "latest"}
    stack.project.write(NAMESPACE, config)
    assert "kubectl logs" in stack.project.up(NAMESPACE).failed().output
    assert stack.run(main, main.read) == str(LAST)


def test_memory_that_does_not_suffice_is_the_reason_of_the_failure(results: Results) -> None:
    jobs = Jobs(results.stack.cluster, NAMESPACE)
    jobs.start("redis-full-backup", "little-memory", memory="256Mi")
    succeeded, output = jobs.wait_for_end("little-memory")
    assert not succeeded
    assert re.search(r"the source uses \d+ bytes of memory; this Pod needs \d+, and has 268435456", output)
    jobs.start("redis-valkey-backup", "killed", memory="16Mi")
    succeeded, output = jobs.wait_for_end("killed")
    assert not succeeded
    # Since Kubernetes 1.28, with cgroups of version 2, all processes of the container end.
    assert "the memory of the Pod does not suffice" in output or jobs.read_end("killed").reason == "OOMKilled"
