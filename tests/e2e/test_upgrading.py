"""The procedure of docs/upgrading.md copies all data of an application to a server of another release series."""

import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pymysql
import pytest
import yaml

from components.engines import ENGINES
from components.engines.definition import Variant
from tests.e2e.clients import LIBRARIES, connect_mysql, connect_postgresql, wait_for_value
from tests.e2e.cluster import Cluster, wait_for
from tests.e2e.project import Project
from tests.pages import ROOT, Step, blocks, sections

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]  # the test can wait for other tests that use the nodes
STACK = "upgrading"
OLD, NEW = "main", "next"  # the names of the groups in the page
EVERY_BYTE = bytes(range(256)) * 20
AWKWARD = "Zoë ☃ 🐘 ' \" \\ \t end\nNULL \\N % `b`"


@dataclass(frozen=True, kw_only=True)
class Move:
    """Data of one engine that moves from one group to another."""

    engine: str
    connect: Callable[[str, str], Any]
    """Connect with a URI to the address of its host."""
    images: tuple[str, ...]
    """Images that the test builds. The last one contains the client programs."""
    groups: Mapping[str, Mapping[str, Any]]
    """The servers of the old and the new group."""
    setup: tuple[tuple[str, tuple[Any, ...]], ...]
    """Statements that create the data."""
    queries: tuple[str, ...]
    """Statements whose results must be the same on both servers. The last ones write."""
    cleanup: tuple[str, ...] = ()
    """Statements that empty the database before the superuser's command, if it needs that."""
    orphan: str
    """Statement that violates a foreign key."""
    orphan_error: type[Exception]
    owners: str
    """Query for the owners of all objects."""
    current_database: str
    """Query for the database of a connection."""

    @property
    def application(self) -> str:
        return f"upgraded-{self.engine}"

    @property
    def variant(self) -> Variant:
        return ENGINES[self.engine].get_variant(None)


MOVES = (
    Move(
        engine="postgresql",
        connect=connect_postgresql,
        images=("postgres:15", "postgres:17"),
        groups={
            OLD: {"kind": "local", "version": "15", "initScript": "CREATE EXTENSION pg_trgm"},
            NEW: {"kind": "local", "version": "17", "initScript": "CREATE EXTENSION pg_trgm"},
        },
        setup=(
            ("CREATE EXTENSION citext", ()),
            ("CREATE SCHEMA extra", ()),
            ("CREATE TYPE extra.weather AS ENUM ('☀', '☃')", ()),
            (
                "CREATE TABLE authors (id serial PRIMARY KEY, name citext UNIQUE, photo bytea, quotes text[],"
                " data jsonb, weather extra.weather)",
                (),
            ),
            ("COMMENT ON TABLE authors IS 'who wrote: \N{SNOWMAN}'", ()),
            (
                "INSERT INTO authors (name, photo, quotes, data, weather)"
                " VALUES (%s, %s, %s, '{\"a\": [1, null]}', '☃')",
                (AWKWARD, EVERY_BYTE, [AWKWARD, None]),
            ),
            ("INSERT INTO authors (name) SELECT 'author ' || number FROM generate_series(1, 500) number", ()),
            (
                'CREATE TABLE "Bücher ""und"" mehr" (id bigint GENERATED ALWAYS AS IDENTITY (START 1000),'
                " author int NOT NULL REFERENCES authors)",
                (),
            ),
            ('INSERT INTO "Bücher ""und"" mehr" (author) VALUES (1), (2)', ()),
            ("CREATE INDEX ON authors USING gin ((name::text) gin_trgm_ops)", ()),
            ('CREATE VIEW shelf AS SELECT count(*) AS books, author FROM "Bücher ""und"" mehr" GROUP BY author', ()),
            ("CREATE MATERIALIZED VIEW summary AS SELECT sum(books) AS all_books FROM shelf", ()),
            (
                "CREATE FUNCTION twice(number int) RETURNS int LANGUAGE plpgsql SECURITY DEFINER"
                " AS $$ BEGIN RETURN number * 2; END $$",
                (),
            ),
            (
                "CREATE FUNCTION shout() RETURNS trigger LANGUAGE plpgsql"
                " AS $$ BEGIN NEW.name := upper(NEW.name::text); RETURN NEW; END $$",
                (),
            ),
            ("CREATE TRIGGER shouted BEFORE INSERT ON authors FOR EACH ROW EXECUTE FUNCTION shout()", ()),
            ("CREATE TABLE lines (line text)", ()),
            # Data that looks like the lines that the scripts edit.
            (
                "INSERT INTO lines VALUES (%s), (%s), (%s)",
                ("COMMENT ON EXTENSION pg_trgm IS 'data';", "\\.", "COPY lines (line) FROM stdin;"),
            ),
            ("SELECT lo_from_bytea(4242, %s)", (EVERY_BYTE,)),
            ("GRANT SELECT ON authors TO PUBLIC", ()),
        ),
        queries=(
            "SELECT * FROM authors ORDER BY id",
            'SELECT * FROM "Bücher ""und"" mehr" ORDER BY id',
            "SELECT * FROM shelf ORDER BY author",
            "SELECT * FROM summary",
            "SELECT twice(21)",
            "SELECT line FROM lines ORDER BY line",
            "SELECT lo_get(4242)",
            "SELECT obj_description('authors'::regclass)",
            "SELECT extname FROM pg_extension ORDER BY extname",
            "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY indexname",
            "INSERT INTO authors (name) SELECT 'new ' || count(*) FROM authors RETURNING id, name",
            'INSERT INTO "Bücher ""und"" mehr" (author) VALUES (1) RETURNING id',
            "REFRESH MATERIALIZED VIEW summary",  # a dump refreshes it, too
        ),
        cleanup=("DROP OWNED BY CURRENT_USER CASCADE",),
        orphan='INSERT INTO "Bücher ""und"" mehr" (author) VALUES (-1)',
        orphan_error=psycopg.errors.ForeignKeyViolation,
        owners="""
            SELECT tableowner FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')
            UNION SELECT viewowner FROM pg_views WHERE schemaname = 'public'
            UNION SELECT pg_get_userbyid(proowner) FROM pg_proc WHERE proname IN ('twice', 'shout')
        """,
        current_database="SELECT current_database()",
    ),
    Move(
        engine="mysql",
        connect=connect_mysql,
        # The only series in Debian. The programs and the steps are the same from an older one.
        images=("mysql:9.7",),
        groups={
            group: {"kind": "local", "version": "9.7", "settings": {"log_bin_trust_function_creators": True}}
            for group in (OLD, NEW)
        },
        setup=(
            (
                "CREATE TABLE authors (id INT AUTO_INCREMENT PRIMARY KEY, name VARCHAR(200) NOT NULL, photo LONGBLOB,"
                " data JSON, length INT GENERATED ALWAYS AS (CHAR_LENGTH(name)) STORED, seen TIMESTAMP(6) NULL,"
                " flags BIT(5)) COMMENT 'who wrote: ☃'",
                (),
            ),
            (
                "INSERT INTO authors (name, photo, data, seen, flags)"
                " VALUES (%s, %s, '{\"a\": [1, null]}', '2026-01-02 03:04:05.678901', b'10101')",
                (AWKWARD, EVERY_BYTE),
            ),
            (
                "INSERT INTO authors (name) WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n"
                " WHERE i < 500) SELECT CONCAT('author ', i) FROM n",
                (),
            ),
            (
                'CREATE TABLE `Bücher "und" mehr` (id BIGINT AUTO_INCREMENT PRIMARY KEY, author INT NOT NULL,'
                " FOREIGN KEY (author) REFERENCES authors (id)) AUTO_INCREMENT = 1000",
                (),
            ),
            ('INSERT INTO `Bücher "und" mehr` (author) VALUES (1), (2)', ()),
            ("CREATE TABLE western (name VARCHAR(20)) CHARACTER SET latin1", ()),
            ("INSERT INTO western VALUES ('Käse')", ()),
            ('CREATE VIEW shelf AS SELECT COUNT(*) AS books, author FROM `Bücher "und" mehr` GROUP BY author', ()),
            ("CREATE FUNCTION twice (number INT) RETURNS INT DETERMINISTIC RETURN number * 2", ()),
            ("CREATE PROCEDURE rename_all () BEGIN UPDATE authors SET name = CONCAT(name, '!'); END", ()),
            ("CREATE TRIGGER shouted BEFORE INSERT ON authors FOR EACH ROW SET NEW.name = UPPER(NEW.name)", ()),
            ("CREATE EVENT later ON SCHEDULE AT '2099-01-01 00:00:00' DO DELETE FROM authors", ()),
            ("CREATE TABLE `lines` (line TEXT)", ()),
            # Data that looks like the lines that the scripts edit.
            (
                "INSERT INTO `lines` VALUES (%s), (%s)",
                (
                    "CREATE DEFINER=`a`@`%` VIEW v\nCREATE DEFINER=`b`@`%` VIEW w",
                    "/*!50013 DEFINER=`a`@`%` SQL SECURITY DEFINER */",
                ),
            ),
        ),
        queries=(
            "SELECT * FROM authors ORDER BY id",
            'SELECT * FROM `Bücher "und" mehr` ORDER BY id',
            "SELECT name, HEX(name) FROM western",
            "SELECT * FROM shelf ORDER BY author",
            "SELECT twice(21)",
            "SELECT line FROM `lines` ORDER BY line",
            "SELECT table_name, table_comment FROM information_schema.tables WHERE table_schema = DATABASE()"
            " ORDER BY table_name",
            "SELECT event_name, execute_at, event_definition FROM information_schema.events"
            " WHERE event_schema = DATABASE()",
            "SELECT routine_name, routine_definition FROM information_schema.routines WHERE routine_schema = DATABASE()"
            " ORDER BY routine_name",
            "INSERT INTO authors (name) VALUES ('new')",
            "SELECT LAST_INSERT_ID()",
            "SELECT name FROM authors WHERE id = LAST_INSERT_ID()",
            'INSERT INTO `Bücher "und" mehr` (author) VALUES (1)',
            "SELECT LAST_INSERT_ID()",
        ),
        orphan='INSERT INTO `Bücher "und" mehr` (author) VALUES (-1)',
        orphan_error=pymysql.err.IntegrityError,
        owners="""
            SELECT SUBSTRING_INDEX(definer, '@', 1) FROM (
                SELECT definer FROM information_schema.views WHERE table_schema = DATABASE()
                UNION SELECT definer FROM information_schema.routines WHERE routine_schema = DATABASE()
                UNION SELECT definer FROM information_schema.triggers WHERE trigger_schema = DATABASE()
                UNION SELECT definer FROM information_schema.events WHERE event_schema = DATABASE()) AS definers
        """,
        current_database="SELECT DATABASE()",
    ),
)
NAMESPACES = tuple(move.application for move in MOVES)
moves = pytest.mark.parametrize("move", MOVES, ids=lambda move: move.engine)


class Deployment:
    """A stack with an application for each engine. Each application has an old and a new group."""

    def __init__(self, project: Project, cluster: Cluster) -> None:
        self.project, self.cluster = project, cluster
        self.keys: Mapping[str, Mapping[str, Any]] = {OLD: {"primary": True}}
        """The keys of each group, without its server."""
        self.uses_pinned_releases = False
        """Whether the servers run the official images. Otherwise, the stack file names images of their series."""

    def build_config(self) -> dict[str, Any]:
        applications = {}
        for move in MOVES:
            groups: dict[str, Any] = {}
            for group, keys in self.keys.items():
                server = dict(move.groups[group])
                if not self.uses_pinned_releases:
                    server["image"] = f"{move.variant.image}:{server['version']}"
                groups[group] = {**keys, "server": server}
            applications[move.application] = {"createNamespace": False, "databases": {move.engine: groups}}
        return {"applications": applications}

    def start(self) -> None:
        self.project.new(STACK, self.build_config())
        self.project.up(STACK).succeeded()

    def update(self, keys: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        """Deploy the stack, with other keys of the groups if there are any."""
        self.keys = keys or self.keys
        self.project.write(STACK, self.build_config())
        self.project.up(STACK).succeeded()

    def read_connection(self, move: Move, group: str) -> dict[str, str]:
        """Return the connection Secret of a group."""
        return self.cluster.read_secret(move.application, f"{move.engine}-{group}")

    def read_variables(self, move: Move) -> dict[str, str]:
        """Return the variables of the application."""
        return self.cluster.read_secret(move.application, f"{move.application}-databases")

    def connect(self, move: Move, uri: str) -> Any:
        """Connect with a URI whose host is a Service of the application."""
        return move.connect(uri, self.cluster.read_service_address(move.application, urlsplit(uri).hostname or ""))

    def run_queries(self, move: Move, uri: str, *queries: str) -> list[Any]:
        """Return the rows of each query, or the number of rows that it changed."""
        results: list[Any] = []
        with self.connect(move, uri) as connection, connection.cursor() as cursor:
            for query in queries:
                cursor.execute(query)
                results.append(list(cursor.fetchall()) if cursor.description else cursor.rowcount)
        return results

    def uses_group(self, move: Move, uri: str, group: str) -> bool | None:
        """Return whether a URI connects to a group, or None. A Service needs a moment to route to another server."""
        database = self.read_connection(move, group)["database"]
        try:
            return self.run_queries(move, uri, move.current_database) == [[(database,)]] or None
        except (psycopg.OperationalError, pymysql.OperationalError):
            return None


@pytest.fixture(scope="module")
def deployment(module_project: Project, real_node: Cluster, build_images: Callable[..., None]) -> Iterator[Deployment]:
    """Yield the stack on the real node."""
    build_images(*(image for move in MOVES for image in move.images))
    with ExitStack() as namespaces:
        for move in MOVES:
            namespaces.enter_context(real_node.create_namespace(move.application))
        deployment = Deployment(module_project, real_node)
        deployment.start()
        yield deployment
        module_project.destroy(STACK).succeeded()


@pytest.fixture
def run_bash(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Return a function that runs a script, as a user with `kubectl` does, and returns its output."""
    if not shutil.which("kubectl"):
        pytest.skip("kubectl is not on PATH")

    def run(script: str) -> str:
        process = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            check=False,
            cwd=tmp_path_factory.mktemp("bash"),
        )
        assert process.returncode == 0, process.stdout
        return process.stdout

    return run


def read_documented_groups() -> list[dict[str, dict[str, Any]]]:
    """Return the keys of both groups in each example of the procedure, without their servers."""
    text = sections((ROOT / "docs" / "upgrading.md").read_text())["Procedure"]
    examples = [yaml.safe_load(block)["databases"]["postgresql"] for block in blocks(text, "yaml")]
    for groups in examples:
        assert list(groups) == [OLD, NEW]
    return [
        {group: {key: value for key, value in keys.items() if key != "server"} for group, keys in groups.items()}
        for groups in examples
    ]


def read_documented_command(move: Move, new_user: str) -> str:
    """Return the superuser's command of an engine's page, with the names of the test."""
    page = (ROOT / "docs" / "engines" / f"{move.engine}.md").read_text()
    text = sections(page)["Upgrading"]
    assert "by `tests/e2e/test_upgrading.py`" in text, "the page names this test"
    [block] = blocks(text, "console")
    [command] = Step(kind="console", block=block).commands
    assert command.text.count("--namespace shop ") == 2
    return command.text.replace("--namespace shop ", f"--namespace {move.application} ").replace(
        f"`shop_{NEW}`", f"`{new_user}`"
    )


def assert_groups_are_equal(deployment: Deployment, move: Move, authors: int) -> None:
    """Check that the new group has everything of the old one, and that its user owns it. Each check adds an author."""
    old, new = deployment.read_connection(move, OLD), deployment.read_connection(move, NEW)
    expected, copied = (deployment.run_queries(move, data["uri"], *move.queries) for data in (old, new))
    assert len(expected[0]) == authors
    assert copied == expected
    assert deployment.run_queries(move, new["uri"], move.owners) == [[(new["username"],)]]
    for data in (old, new):  # a failed insert, too, takes the next value of a sequence
        with pytest.raises(move.orphan_error):
            deployment.run_queries(move, data["uri"], move.orphan)


def assert_primary(deployment: Deployment, primary: str) -> None:
    """Check that DATABASE_URL and the short variables use a group. The long ones always use their own group."""
    for move in MOVES:
        variables, prefix = deployment.read_variables(move), move.engine.upper()
        for name in (f"{prefix}_URL", "DATABASE_URL"):
            uri = variables[name]
            assert urlsplit(uri).hostname == move.engine
            condition = f"{name} connects to {primary}"
            wait_for(20, condition, lambda: deployment.uses_group(move, uri, primary))  # noqa: B023 (called at once)
        for group in (OLD, NEW):
            assert deployment.uses_group(move, variables[f"{prefix}_{group.upper()}_URL"], group)


def test_procedure_copies_all_data_and_moves_the_short_names(deployment: Deployment) -> None:
    for move in MOVES:
        uri = deployment.read_connection(move, OLD)["uri"]
        with deployment.connect(move, uri) as connection, connection.cursor() as cursor:
            for statement, values in move.setup:
                cursor.execute(statement, values or None)

    rehearsal, final = read_documented_groups()
    deployment.update(rehearsal)
    for move in MOVES:
        assert_groups_are_equal(deployment, move, 501)
    assert_primary(deployment, OLD)

    deployment.update(final)
    for move in MOVES:
        assert_groups_are_equal(deployment, move, 502)
    assert_primary(deployment, NEW)

    deployment.update({OLD: {"primary": False}, NEW: {"primary": True}})
    for move in MOVES:
        assert_groups_are_equal(deployment, move, 503)


@moves
def test_documented_command_copies_as_the_superuser(
    deployment: Deployment, move: Move, run_bash: Callable[[str], str]
) -> None:
    """The user of the new group owns the copies."""
    old, new = deployment.read_connection(move, OLD), deployment.read_connection(move, NEW)
    deployment.run_queries(move, new["uri"], *move.cleanup)
    output = run_bash(read_documented_command(move, new["username"]))
    assert old["password"] not in output
    assert new["password"] not in output
    assert_groups_are_equal(deployment, move, 504)


def test_release_of_the_same_series_restarts_the_server_with_its_data(deployment: Deployment) -> None:
    """The image changes from the series to the pinned release. The new Pod has the same volume and credentials."""
    before = {}
    for move in MOVES:
        data, pod = deployment.read_connection(move, NEW), f"{move.engine}-{NEW}-0"
        address = deployment.cluster.read_service_address(move.application, data["host"])
        LIBRARIES[move.engine].write(data, address)
        uid = deployment.cluster.wait_for_pod(move.application, pod)
        before[move.engine] = data, uid, deployment.cluster.read_image(move.application, pod)

    deployment.uses_pinned_releases = True
    deployment.update()

    for move in MOVES:
        data, uid, image = before[move.engine]
        pod, release = f"{move.engine}-{NEW}-0", move.variant.find_release(move.groups[NEW]["version"])
        assert deployment.cluster.wait_for_pod(move.application, pod, other_than=uid)
        new_image = deployment.cluster.read_image(move.application, pod)
        assert new_image == f"{move.variant.image}:{release}" != image
        assert deployment.read_connection(move, NEW) == data
        address = deployment.cluster.read_service_address(move.application, data["host"])
        wait_for_value(lambda: LIBRARIES[move.engine].read(data, address))  # noqa: B023 (called at once)
    deployment.project.assert_settled(STACK)
