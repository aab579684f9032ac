"""The scripts that copy the data of a group, run with the programs of the engines against real servers."""

import os
import re
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from components.engines import ENGINES
from tests.e2e.servers import DatabaseServer

SOURCE, TARGET = "copies_source", "copies_target"
PASSWORD = "c4narY '\"\\ %s $HOME"
PROGRAMS = {"postgresql": ("pg_dump", "pg_restore", "psql")}
EXTENSIONS = ("hstore", "pg_trgm")
DATA = {
    "postgresql": r"""
CREATE EXTENSION citext;
CREATE SCHEMA "we ird";
CREATE TYPE mood AS ENUM ('sad', 'o,k');
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE TABLE "we ird"."select ""x""%s \ é" (
    id serial PRIMARY KEY, x text, "text" text, m mood, p positive, b bytea, j jsonb, a int[], h hstore, t timestamptz,
    f float8, n numeric, i interval, g int GENERATED ALWAYS AS (length(x)) STORED, CHECK (id > 0)
);
INSERT INTO "we ird"."select ""x""%s \ é" (x, "text", m, p, b, j, a, h, t, f, n, i)
SELECT CASE i % 3 WHEN 0 THEN NULL WHEN 1 THEN '' ELSE E'a\tb\n\\.' END, 'é' || i, 'o,k', i,
    decode(lpad(to_hex(i), 8, '0'), 'hex'), jsonb_build_object('k', i), ARRAY[i, NULL], hstore('a', i::text), now(),
    i / 3.0, i / 7.0, make_interval(secs => i)
FROM generate_series(1, 1000) i;
CREATE TABLE parted (k int, v text) PARTITION BY RANGE (k);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (100);
INSERT INTO parted SELECT g, 'v' FROM generate_series(0, 99) g;
CREATE VIEW v AS SELECT count(*) AS c FROM parted;
CREATE MATERIALIZED VIEW mv AS SELECT k FROM parted;
CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN NEW.v = NEW.v || '!'; RETURN NEW; END$$;
CREATE TRIGGER tr BEFORE INSERT ON parted FOR EACH ROW EXECUTE FUNCTION f();
CREATE SEQUENCE used; SELECT nextval('used'); CREATE SEQUENCE unused; CREATE SEQUENCE down INCREMENT -2;
SELECT setval('unused', 50, false), nextval('down');
CREATE INDEX ON parted (v);
SELECT lo_from_bytea(4711, 'hello');
CREATE TABLE nothing ();
CREATE TABLE lines (line citext);
INSERT INTO lines VALUES ('COMMENT ON EXTENSION pg_trgm IS ''data'';'), ('\.'), ('COPY lines (line) FROM stdin;');
CREATE FUNCTION looks_like_a_dump() RETURNS text LANGUAGE plpgsql AS $$BEGIN RETURN '
COMMENT ON EXTENSION pg_trgm IS ''text'';
'; END$$;
CREATE MATERIALIZED VIEW empty_view AS SELECT k FROM parted WITH NO DATA;
CREATE RULE skip AS ON DELETE TO lines WHERE OLD.line = 'x' DO INSTEAD NOTHING;
CREATE FUNCTION twice(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT $1 * 2';
CREATE AGGREGATE total(int) (SFUNC = int4pl, STYPE = int);
CREATE COLLATION german (PROVIDER = icu, LOCALE = 'de');
CREATE STATISTICS correlated ON k, v FROM parted;
COMMENT ON TABLE lines IS E'two\nlines';
CREATE TABLE child (fk int REFERENCES "we ird"."select ""x""%s \ é" (id));
ALTER TABLE child ENABLE ROW LEVEL SECURITY; CREATE POLICY own ON child USING (fk > 1);
""",
}
CHANGES = {
    "postgresql": {
        "cell": "UPDATE parted SET v = 'w' WHERE k = 50",
        "empty text instead of NULL": """UPDATE "we ird"."select ""x""%s \\ é" SET x = '' WHERE id = 3""",
        "byte": """UPDATE "we ird"."select ""x""%s \\ é" SET b = '\\x00' WHERE id = 3""",
        "two rows exchange a value": "UPDATE parted SET v = CASE k WHEN 50 THEN 'v' ELSE 'w' END WHERE k IN (50, 51)",
        "missing row": "DELETE FROM parted WHERE k = 50",
        "sequence": "SELECT nextval('used')",
        "first value of a sequence": "SELECT setval('unused', 5000, false)",
        "used value of a sequence": "SELECT setval('unused', 5000, true)",
        "sequence downwards": "SELECT nextval('down')",
        "increment": "ALTER SEQUENCE used INCREMENT 3",
        "definition of a view": "CREATE OR REPLACE VIEW v AS SELECT count(*) AS c FROM parted WHERE k > 5",
        "definition of a materialized view": "DROP MATERIALIZED VIEW mv;"
        " CREATE MATERIALIZED VIEW mv AS SELECT k FROM parted WHERE k >= 0",
        "filled materialized view": "REFRESH MATERIALIZED VIEW empty_view",
        "view": "DROP VIEW v",
        "function": "CREATE OR REPLACE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
        "security of a function": "ALTER FUNCTION f() SECURITY DEFINER",
        "volatility": "ALTER FUNCTION twice(int) STABLE",
        "aggregate": "DROP AGGREGATE total(int)",
        "event of a trigger": "DROP TRIGGER tr ON parted;"
        " CREATE TRIGGER tr BEFORE INSERT OR UPDATE ON parted FOR EACH ROW EXECUTE FUNCTION f()",
        "disabled trigger": "ALTER TABLE parted DISABLE TRIGGER tr",
        "unique index": "CREATE INDEX i ON child (fk)",
        "index that became unique": "DROP INDEX i; CREATE UNIQUE INDEX i ON child (fk)",
        "columns of an index": "DROP INDEX i; CREATE UNIQUE INDEX i ON child ((fk + 1))",
        "index": "DROP INDEX parted_v_idx",
        "default": "ALTER TABLE child ALTER fk SET DEFAULT 1",
        "another default": "ALTER TABLE child ALTER fk SET DEFAULT 2",
        "check of a domain": "ALTER DOMAIN positive DROP CONSTRAINT positive_check;"
        " ALTER DOMAIN positive ADD CONSTRAINT positive_check CHECK (VALUE > -1)",
        "rule": "DROP RULE skip ON lines",
        "comment": "COMMENT ON TABLE lines IS 'other'",
        "statistics": "DROP STATISTICS correlated",
        "collation": "DROP COLLATION german",
        "row-level security": "ALTER TABLE child DISABLE ROW LEVEL SECURITY",
        "label": "ALTER TYPE mood ADD VALUE 'new'",
        "constraint": "ALTER TABLE child DROP CONSTRAINT child_fk_fkey",
        "large object": "SELECT lo_put(4711, 0, 'J')",
        "column": "ALTER TABLE nothing ADD c int",
        "policy": "DROP POLICY own ON child",
    }
}


@dataclass
class Copies:
    """The scripts of an engine and a server with two empty databases."""

    server: DatabaseServer
    scripts: Path
    folder: Path
    """Folder of temporary files."""

    def run(
        self, script: str, database: str, *, data: bytes = b"", **variables: str
    ) -> "subprocess.CompletedProcess[bytes]":
        """Run a script with the connection Secret of a database. Assert that no output has the password."""
        environment = {
            "PATH": os.environ["PATH"],
            "TMPDIR": str(self.folder),
            "ADDRESS": self.server.host,
            "PORT": str(self.server.port),
            "USERNAME": database,
            "PASSWORD": PASSWORD,
            "DATABASE": database,
            **variables,
        }
        done = subprocess.run(
            ["sh", self.scripts / script],
            env=environment,
            input=data,
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert b"c4narY" not in done.stdout + done.stderr
        assert not list(self.folder.iterdir())
        return done

    def succeed(self, script: str, database: str, data: bytes = b"") -> bytes:
        """Run a script. Return its output."""
        done = self.run(script, database, data=data)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout

    def fail(self, script: str, database: str, data: bytes = b"", **variables: str) -> str:
        """Run a script that fails. Return its messages."""
        done = self.run(script, database, data=data, **variables)
        assert done.returncode != 0
        return done.stderr.decode()

    def change(self, database: str, statements: str) -> None:
        """Run statements as the owner of a database."""
        with self.server.session(database, PASSWORD, database) as session:
            session.run(statements)


def create_databases(server: DatabaseServer, *names: str, options: str = "") -> None:
    """Create databases with owners and extensions."""
    literal = "'" + PASSWORD.replace("'", "''") + "'"
    for name in names:
        with server.administrator() as session:
            session.run(f"CREATE ROLE {name} LOGIN PASSWORD {literal}")
            session.run(f"CREATE DATABASE {name} OWNER {name} {options}")
        with server.administrator(name) as session:
            for extension in EXTENSIONS:
                session.run(f"CREATE EXTENSION {extension}")


@pytest.fixture(params=PROGRAMS)
def copies(request: pytest.FixtureRequest, server: Callable[[str], DatabaseServer], tmp_path: Path) -> Iterator[Copies]:
    engine = request.param
    for program in PROGRAMS[engine]:
        if not shutil.which(program):
            pytest.skip(f"{program} is not on PATH")
    found = server(engine)
    found.drop(SOURCE, TARGET)
    create_databases(found, SOURCE, TARGET)
    scripts = ENGINES[engine].copy_scripts
    assert scripts
    folders = [tmp_path / name for name in ("scripts", "temporary")]
    for folder in folders:
        folder.mkdir()
    for name, content in scripts.files.items():
        (folders[0] / name).write_text(content)
    copies = Copies(found, *folders)
    copies.change(SOURCE, DATA[engine])
    yield copies
    found.drop(SOURCE, TARGET)


def test_copy_has_the_inventory_of_its_source_and_every_difference_is_found(copies: Copies) -> None:
    source = copies.succeed("inventory", SOURCE)
    assert len(source.splitlines()) > 20
    assert copies.succeed("inventory", TARGET) == b""
    inventory, _, dump = copies.succeed("dump", SOURCE).partition(b"\n\n")
    assert inventory + b"\n" == source
    copies.succeed("restore", TARGET, dump)
    assert copies.succeed("inventory", TARGET) == source
    assert re.search(r"already holds \d+ objects; nothing was copied", copies.fail("restore", TARGET, dump))
    assert copies.succeed("inventory", TARGET) == source
    previous = source
    for change, statements in CHANGES[copies.server.engine].items():
        copies.change(TARGET, statements)
        changed = copies.succeed("inventory", TARGET)
        assert changed != previous, change
        previous = changed
    assert copies.succeed("inventory", SOURCE) == source


def test_broken_copies_fail_and_leave_the_database_empty(copies: Copies) -> None:
    _, _, dump = copies.succeed("dump", SOURCE).partition(b"\n\n")
    for broken in (b"", dump[:100], dump[: len(dump) // 2], dump[:-20], b"no dump"):
        assert copies.fail("restore", TARGET, broken)
        assert copies.succeed("inventory", TARGET) == b""
    copies.succeed("restore", TARGET, dump)


@pytest.mark.parametrize("script", ["dump", "restore", "inventory"])
def test_scripts_fail_with_the_reason(copies: Copies, script: str) -> None:
    assert TARGET in copies.fail(script, TARGET, PASSWORD="wrong")
    assert "refused" in copies.fail(script, TARGET, PORT="1")
    assert "not exist" in copies.fail(script, TARGET, DATABASE="dbname=copies_source host=example.org")


def test_rows_that_the_account_must_not_read_are_no_copy(copies: Copies) -> None:
    """A policy would hide rows from the dump and from the inventory."""
    with copies.server.administrator(SOURCE) as session:
        session.run("CREATE TABLE hidden AS SELECT 1 AS k")
    for script in ("dump", "inventory"):
        assert "permission denied" in copies.fail(script, SOURCE)
    with copies.server.administrator(SOURCE) as session:
        session.run(f"ALTER TABLE hidden OWNER TO {SOURCE}; ALTER TABLE hidden ENABLE ROW LEVEL SECURITY")
        session.run("ALTER TABLE hidden FORCE ROW LEVEL SECURITY")
    for script in ("dump", "inventory"):
        assert "row-level security" in copies.fail(script, SOURCE)


def test_empty_deletes_everything(copies: Copies) -> None:
    assert copies.succeed("empty", SOURCE) == b""
    assert copies.succeed("inventory", SOURCE) == b""
    copies.change(SOURCE, DATA[copies.server.engine])


def test_comments_of_extensions_do_not_stop_a_copy(copies: Copies) -> None:
    """Only the administrator can set them. They can have lines that look like the end of the statement."""
    with copies.server.administrator(SOURCE) as session:
        session.run(r"COMMENT ON EXTENSION hstore IS E'it''s\n'';\n--\n-- Name: x; Type: TABLE\n''quoted'' text'")
    source, _, data = copies.succeed("dump", SOURCE).partition(b"\n\n")
    copies.succeed("restore", TARGET, data)
    assert copies.succeed("inventory", TARGET) == source + b"\n"


def test_hashes_do_not_depend_on_the_encoding(copies: Copies) -> None:
    copies.server.drop(SOURCE)
    create_databases(copies.server, SOURCE, options="TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'")
    copies.change(SOURCE, "CREATE TABLE texts AS SELECT 'é' || i AS text FROM generate_series(1, 100) i")
    source, _, data = copies.succeed("dump", SOURCE).partition(b"\n\n")
    copies.succeed("restore", TARGET, data)
    assert copies.succeed("inventory", TARGET) == source + b"\n"


def test_copy_is_of_one_moment(copies: Copies) -> None:
    """An application writes until the copy has ended. Inventory and data do not have the same writes by accident."""
    copies.change(SOURCE, "CREATE TABLE writes (k serial PRIMARY KEY, t text)")
    ended = threading.Event()

    def write() -> None:
        with copies.server.session(SOURCE, PASSWORD, SOURCE) as session:
            while not ended.is_set():
                session.run("INSERT INTO writes (t) SELECT repeat('x', 1000) FROM generate_series(1, 20)")

    with ThreadPoolExecutor() as executor:
        writer = executor.submit(write)
        try:
            source, _, data = copies.succeed("dump", SOURCE).partition(b"\n\n")
        finally:
            ended.set()
        writer.result()
    copies.succeed("restore", TARGET, data)

    def drop_sequences(inventory: bytes) -> list[str]:
        return [line for line in inventory.decode().splitlines() if " at least " not in line]

    copied = copies.succeed("inventory", TARGET)
    assert drop_sequences(copied) == drop_sequences(source)
    assert drop_sequences(copies.succeed("inventory", SOURCE)) != drop_sequences(source)


def test_dump_that_ends_early_fails(copies: Copies) -> None:
    """The connection of pg_dump ends while it writes."""
    copies.change(
        SOURCE, "CREATE TABLE large AS SELECT repeat(md5(i::text), 100) AS t FROM generate_series(1, 50000) i"
    )
    with ThreadPoolExecutor() as executor, copies.server.administrator() as session:
        dump = executor.submit(copies.run, "dump", SOURCE)
        statement = f"""SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
            WHERE datname = '{SOURCE}' AND application_name = 'pg_dump' AND query ~ '^COPY.*large'"""
        while not dump.done():
            session.run(statement)
    assert dump.result().returncode != 0
