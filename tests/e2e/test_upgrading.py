"""The procedure of docs/upgrading.md on running servers. The test runs the commands of the page and compares the data."""

import re
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

from tests.e2e.clients import LIBRARIES, in_time, mysql, postgresql
from tests.e2e.cluster import Cluster, until
from tests.e2e.project import Project
from tests.pages import ROOT, blocks, sections, title

pytestmark = pytest.mark.timeout(600)  # there may be a wait for the nodes
STACK = "upgrading"
OLD, NEW = "main", "next"  # as the document names them
DOCUMENT = sections((ROOT / "docs" / "upgrading.md").read_text())
EVERY_BYTE = bytes(range(256)) * 20
AWKWARD = "Zoë ☃ 🐘 ' \" \\ \t end\nNULL \\N % `b`"


@dataclass(frozen=True, kw_only=True)
class Move:
    """Data of an engine that is moved from one group to another."""

    engine: str
    connect: Callable[[str, str], Any]
    """By a URI, and the address that its host stands for."""
    images: tuple[str, ...]
    """Those that are built for it; the last one has the tools."""
    groups: Mapping[str, Mapping[str, Any]]
    """The servers of the old and the new group."""
    made: tuple[tuple[str, tuple[Any, ...]], ...]
    """The statements that make the data."""
    seen: tuple[str, ...]
    """What an application sees of its data; the last ones write."""
    emptied: tuple[str, ...] = ()
    """What empties a database, where the script does not."""
    orphan: str
    """A row that a foreign key refuses."""
    refused: type[Exception]
    owners: str
    """Whose the objects are."""
    where: str
    """In which database a connection is."""
    release: str
    """Prints the release of the server, in its Pod."""

    @property
    def application(self) -> str:
        return f"upgraded-{self.engine}"


MOVES = (
    Move(
        engine="postgresql",
        connect=postgresql,
        images=("postgres:15", "postgres:17"),
        groups={
            OLD: {"kind": "local", "version": "15", "initScript": "CREATE EXTENSION pg_trgm"},
            NEW: {"kind": "local", "version": "17", "initScript": "CREATE EXTENSION pg_trgm"},
        },
        made=(
            ("CREATE EXTENSION citext", ()),
            ("CREATE SCHEMA extra", ()),
            ("CREATE TYPE extra.weather AS ENUM ('☀', '☃')", ()),
            (
                "CREATE TABLE authors (id serial PRIMARY KEY, name citext UNIQUE, photo bytea, said text[], data jsonb, weather extra.weather)",
                (),
            ),
            ("COMMENT ON TABLE authors IS 'who wrote: \N{SNOWMAN}'", ()),
            (
                "INSERT INTO authors (name, photo, said, data, weather) VALUES (%s, %s, %s, '{\"a\": [1, null]}', '☃')",
                (AWKWARD, EVERY_BYTE, [AWKWARD, None]),
            ),
            ("INSERT INTO authors (name) SELECT 'author ' || number FROM generate_series(1, 500) number", ()),
            (
                'CREATE TABLE "Bücher ""und"" mehr" (id bigint GENERATED ALWAYS AS IDENTITY (START 1000), author int NOT NULL REFERENCES authors)',
                (),
            ),
            ('INSERT INTO "Bücher ""und"" mehr" (author) VALUES (1), (2)', ()),
            ("CREATE INDEX ON authors USING gin ((name::text) gin_trgm_ops)", ()),
            ('CREATE VIEW shelf AS SELECT count(*) AS books, author FROM "Bücher ""und"" mehr" GROUP BY author', ()),
            ("CREATE MATERIALIZED VIEW summary AS SELECT sum(books) AS all_books FROM shelf", ()),
            (
                "CREATE FUNCTION twice(number int) RETURNS int LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN RETURN number * 2; END $$",
                (),
            ),
            (
                "CREATE FUNCTION shout() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.name := upper(NEW.name::text); RETURN NEW; END $$",
                (),
            ),
            ("CREATE TRIGGER shouted BEFORE INSERT ON authors FOR EACH ROW EXECUTE FUNCTION shout()", ()),
            ("CREATE TABLE lines (line text)", ()),
            # Lines of data that look like the script's own concerns.
            (
                "INSERT INTO lines VALUES (%s), (%s), (%s)",
                ("COMMENT ON EXTENSION pg_trgm IS 'data';", "\\.", "COPY lines (line) FROM stdin;"),
            ),
            ("SELECT lo_from_bytea(4242, %s)", (EVERY_BYTE,)),
            ("GRANT SELECT ON authors TO PUBLIC", ()),
        ),
        seen=(
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
            "REFRESH MATERIALIZED VIEW summary",  # as a dump does
        ),
        emptied=("DROP OWNED BY CURRENT_USER CASCADE",),
        orphan='INSERT INTO "Bücher ""und"" mehr" (author) VALUES (-1)',
        refused=psycopg.errors.ForeignKeyViolation,
        owners="""
            SELECT tableowner FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')
            UNION SELECT viewowner FROM pg_views WHERE schemaname = 'public'
            UNION SELECT pg_get_userbyid(proowner) FROM pg_proc WHERE proname IN ('twice', 'shout')
        """,
        where="SELECT current_database()",
        release="postgres --version",
    ),
    Move(
        engine="mysql",
        connect=mysql,
        # The one series that Debian has. The tools and the way are the same from an older one.
        images=("mysql:9.7",),
        groups={
            group: {"kind": "local", "version": "9.7", "settings": {"log_bin_trust_function_creators": True}}
            for group in (OLD, NEW)
        },
        made=(
            (
                """CREATE TABLE authors (id INT AUTO_INCREMENT PRIMARY KEY, name VARCHAR(200) NOT NULL, photo LONGBLOB, data JSON,
                length INT GENERATED ALWAYS AS (CHAR_LENGTH(name)) STORED, seen TIMESTAMP(6) NULL, flags BIT(5)) COMMENT 'who wrote: ☃'""",
                (),
            ),
            (
                "INSERT INTO authors (name, photo, data, seen, flags) VALUES (%s, %s, '{\"a\": [1, null]}', '2026-01-02 03:04:05.678901', b'10101')",
                (AWKWARD, EVERY_BYTE),
            ),
            (
                "INSERT INTO authors (name) WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500) SELECT CONCAT('author ', i) FROM n",
                (),
            ),
            (
                """CREATE TABLE `Bücher "und" mehr` (id BIGINT AUTO_INCREMENT PRIMARY KEY, author INT NOT NULL, FOREIGN KEY (author) REFERENCES authors (id))
                AUTO_INCREMENT = 1000""",
                (),
            ),
            ('INSERT INTO `Bücher "und" mehr` (author) VALUES (1), (2)', ()),
            ("CREATE TABLE western (word VARCHAR(20)) CHARACTER SET latin1", ()),
            ("INSERT INTO western VALUES ('Käse')", ()),
            ('CREATE VIEW shelf AS SELECT COUNT(*) AS books, author FROM `Bücher "und" mehr` GROUP BY author', ()),
            ("CREATE FUNCTION twice (number INT) RETURNS INT DETERMINISTIC RETURN number * 2", ()),
            ("CREATE PROCEDURE rename_all () BEGIN UPDATE authors SET name = CONCAT(name, '!'); END", ()),
            ("CREATE TRIGGER shouted BEFORE INSERT ON authors FOR EACH ROW SET NEW.name = UPPER(NEW.name)", ()),
            ("CREATE EVENT later ON SCHEDULE AT '2099-01-01 00:00:00' DO DELETE FROM authors", ()),
            ("CREATE TABLE `lines` (line TEXT)", ()),
            # Lines of data that look like the script's own concerns.
            (
                "INSERT INTO `lines` VALUES (%s), (%s)",
                (
                    "CREATE DEFINER=`a`@`%` VIEW v\nCREATE DEFINER=`b`@`%` VIEW w",
                    "/*!50013 DEFINER=`a`@`%` SQL SECURITY DEFINER */",
                ),
            ),
        ),
        seen=(
            "SELECT * FROM authors ORDER BY id",
            'SELECT * FROM `Bücher "und" mehr` ORDER BY id',
            "SELECT word, HEX(word) FROM western",
            "SELECT * FROM shelf ORDER BY author",
            "SELECT twice(21)",
            "SELECT line FROM `lines` ORDER BY line",
            "SELECT table_name, table_comment FROM information_schema.tables WHERE table_schema = DATABASE() ORDER BY table_name",
            "SELECT event_name, execute_at, event_definition FROM information_schema.events WHERE event_schema = DATABASE()",
            "SELECT routine_name, routine_definition FROM information_schema.routines WHERE routine_schema = DATABASE() ORDER BY routine_name",
            "INSERT INTO authors (name) VALUES ('new')",
            "SELECT LAST_INSERT_ID()",
            "SELECT name FROM authors WHERE id = LAST_INSERT_ID()",
            'INSERT INTO `Bücher "und" mehr` (author) VALUES (1)',
            "SELECT LAST_INSERT_ID()",
        ),
        orphan='INSERT INTO `Bücher "und" mehr` (author) VALUES (-1)',
        refused=pymysql.err.IntegrityError,
        owners="""
            SELECT SUBSTRING_INDEX(definer, '@', 1) FROM (
                SELECT definer FROM information_schema.views WHERE table_schema = DATABASE()
                UNION SELECT definer FROM information_schema.routines WHERE routine_schema = DATABASE()
                UNION SELECT definer FROM information_schema.triggers WHERE trigger_schema = DATABASE()
                UNION SELECT definer FROM information_schema.events WHERE event_schema = DATABASE()) AS definers
        """,
        where="SELECT DATABASE()",
        release="mysqld --version",
    ),
)
moves = pytest.mark.parametrize("move", MOVES, ids=lambda move: move.engine)


class Upgrades:
    """A stack with an application for each engine, each with an old group and a new one."""

    def __init__(self, project: Project, cluster: Cluster) -> None:
        self.project, self.cluster = project, cluster
        self.primary = OLD
        self.versions: dict[str, str] = {}
        """Those of new groups that were changed."""

    def config(self) -> dict[str, Any]:
        applications = {}
        for move in MOVES:
            servers = {group: dict(server) for group, server in move.groups.items()}
            servers[NEW]["version"] = self.versions.get(move.engine, servers[NEW]["version"])
            groups = {group: {"primary": group == self.primary, "server": server} for group, server in servers.items()}
            applications[move.application] = {"createNamespace": False, "databases": {move.engine: groups}}
        return {"applications": applications}

    def start(self) -> None:
        self.project.new(STACK, self.config())
        self.project.up(STACK).succeeded()

    def update(self) -> None:
        self.project.write(STACK, self.config())
        self.project.up(STACK).succeeded()

    def keys(self, move: Move, group: str) -> dict[str, str]:
        """The connection Secret of a group."""
        return self.cluster.secret(move.application, f"{move.engine}-{group}")

    def variables(self, move: Move) -> dict[str, str]:
        """The variables of the application."""
        return self.cluster.secret(move.application, f"{move.application}-databases")

    def connection(self, move: Move, uri: str) -> Any:
        """A connection by a URI, whose host is a Service of the application."""
        return move.connect(uri, self.cluster.service_address(move.application, urlsplit(uri).hostname or ""))

    def results(self, move: Move, uri: str, *queries: str) -> list[Any]:
        """The rows of each query, in the order in which they come."""
        found: list[Any] = []
        with self.connection(move, uri) as connection, connection.cursor() as cursor:
            for query in queries:
                cursor.execute(query)
                found.append(list(cursor.fetchall()) if cursor.description else cursor.rowcount)
        return found


@pytest.fixture(scope="module")
def upgrades(module_project: Project, real_node: Cluster, build_images: Callable[..., None]) -> Iterator[Upgrades]:
    build_images(*(image for move in MOVES for image in move.images))
    with ExitStack() as namespaces:
        for move in MOVES:
            namespaces.enter_context(real_node.namespace(move.application))
        upgrades = Upgrades(module_project, real_node)
        upgrades.start()
        yield upgrades
        module_project.destroy(STACK).succeeded()


@pytest.fixture
def bash(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Runs a script as a user does who has `kubectl`. Returns what it printed."""
    if not shutil.which("kubectl"):
        pytest.skip("kubectl is not on PATH")

    def run(script: str) -> str:
        command = ["bash", "-euo", "pipefail", "-c", script]
        ended = subprocess.run(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            check=False,
            cwd=tmp_path_factory.mktemp("bash"),
        )
        assert ended.returncode == 0, ended.stdout
        return ended.stdout

    return run


def commands(move: Move) -> list[str]:
    """Return the commands of the page for an engine, with the names of the test: two scripts."""
    text = DOCUMENT[title(move.engine)]
    assert "by `tests/e2e/test_upgrading.py`" in text
    example = re.compile(rf"^\$ (docs/upgrading/\S+) shop shop {OLD} {NEW}\n$")
    scripts = [match[1] for block in blocks(text, "console") if (match := example.match(block))]
    assert len(scripts) == 2
    return [f"{ROOT}/{script} {move.application} {move.application} {OLD} {NEW}" for script in scripts]


@moves
def test_data_is_moved_by_what_the_document_says(upgrades: Upgrades, move: Move, bash: Callable[[str], str]) -> None:
    """By the applications' own accounts, and by the administrator's. Afterwards the new group has everything that the old one has, and all of it is its own."""
    old, new = upgrades.keys(move, OLD), upgrades.keys(move, NEW)
    with upgrades.connection(move, old["uri"]) as connection, connection.cursor() as cursor:
        for statement, values in move.made:
            cursor.execute(statement, values or None)

    as_application, as_administrator = commands(move)
    for script, writers in ((as_application, 1), (as_administrator, 2)):
        upgrades.results(move, new["uri"], *move.emptied)
        output = bash(script)
        assert old["password"] not in output
        assert new["password"] not in output
        there, here = (upgrades.results(move, keys["uri"], *move.seen) for keys in (old, new))
        assert len(there[0]) == 500 + writers
        assert here == there
        assert upgrades.results(move, new["uri"], move.owners) == [[(new["username"],)]]
        with pytest.raises(move.refused):
            upgrades.results(move, new["uri"], move.orphan)
        assert ("authors" in output) == (script == as_application), "it counts"


def test_the_new_group_becomes_the_applications_database(upgrades: Upgrades) -> None:
    """The short variables and DATABASE_URL lead to the old group until another update, and then to the new one; the old one stays under its long name."""
    for primary in (OLD, NEW):
        if upgrades.primary != primary:
            upgrades.primary = primary
            upgrades.update()
        for move in MOVES:
            variables, word = upgrades.variables(move), move.engine.upper()
            for name in (f"{word}_URL", "DATABASE_URL"):
                assert urlsplit(variables[name]).hostname == move.engine
                until(20, f"{name} leads to {primary}", lambda: _is_in(upgrades, move, variables[name], primary))  # noqa: B023 (called at once)
            for group in (OLD, NEW):
                assert _is_in(upgrades, move, variables[f"{word}_{group.upper()}_URL"], group)


def _is_in(upgrades: Upgrades, move: Move, uri: str, group: str) -> bool | None:
    """Whether a URI leads to a group, whose account is good for nothing else. A Service may take a moment."""
    try:
        return upgrades.results(move, uri, move.where) == [[(upgrades.keys(move, group)["database"],)]] or None
    except (psycopg.OperationalError, pymysql.OperationalError):
        return None


def test_a_patch_within_a_series_rolls_the_server_and_keeps_its_data(upgrades: Upgrades) -> None:
    """From the tag of the series to that of the release: another Pod of another image on the same volume, which the same credentials open."""
    before = {}
    for move in MOVES:
        keys, pod = upgrades.keys(move, NEW), f"{move.engine}-{NEW}-0"
        LIBRARIES[move.engine].save(keys, upgrades.cluster.service_address(move.application, keys["host"]))
        before[move.engine] = (
            keys,
            upgrades.cluster.ready_pod(move.application, pod),
            upgrades.cluster.image(move.application, pod),
        )
        release = re.search(r"\d+(\.\d+)+", upgrades.cluster.run(move.application, pod, move.release)[1])
        assert release, move.engine
        assert release[0] != move.groups[NEW]["version"]
        upgrades.versions[move.engine] = release[0]

    upgrades.update()

    for move in MOVES:
        keys, uid, image = before[move.engine]
        pod, version = f"{move.engine}-{NEW}-0", upgrades.versions[move.engine]
        assert upgrades.cluster.ready_pod(move.application, pod, but=uid)
        assert upgrades.cluster.image(move.application, pod) == f"{image.rpartition(':')[0]}:{version}" != image
        assert upgrades.keys(move, NEW) == keys
        address = upgrades.cluster.service_address(move.application, keys["host"])
        in_time(lambda: LIBRARIES[move.engine].read(keys, address))  # noqa: B023 (called at once)
    upgrades.project.settles(STACK)
