"""The scripts that copy the data of a group, run with the programs of the engines against real servers."""

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
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
CREATE SEQUENCE used; SELECT nextval('used'); CREATE SEQUENCE unused;
CREATE INDEX ON parted (v);
SELECT lo_from_bytea(4711, 'hello');
CREATE TABLE nothing ();
CREATE TABLE lines (line citext);
INSERT INTO lines VALUES ('COMMENT ON EXTENSION pg_trgm IS ''data'';'), ('\.'), ('COPY lines (line) FROM stdin;');
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
        "view": "DROP VIEW v",
        "function": "CREATE OR REPLACE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
        "disabled trigger": "ALTER TABLE parted DISABLE TRIGGER tr",
        "index": "DROP INDEX parted_v_idx",
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
    folder: Path

    def run(
        self, script: str, database: str, *, data: bytes = b"", **variables: str
    ) -> "subprocess.CompletedProcess[bytes]":
        """Run a script with the connection Secret of a database. Assert that no output has the password."""
        scripts = ENGINES[self.server.engine].copy_scripts
        assert scripts
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
            ["sh", "-c", asdict(scripts)[script]],
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


def create_databases(server: DatabaseServer, *names: str) -> None:
    """Create databases with owners and extensions."""
    literal = "'" + PASSWORD.replace("'", "''") + "'"
    for name in names:
        with server.administrator() as session:
            session.run(f"CREATE ROLE {name} LOGIN PASSWORD {literal}")
            session.run(f"CREATE DATABASE {name} OWNER {name}")
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
    copies = Copies(found, tmp_path)
    copies.change(SOURCE, DATA[engine])
    yield copies
    found.drop(SOURCE, TARGET)


def test_copy_has_the_inventory_of_its_source_and_every_difference_is_found(copies: Copies) -> None:
    source = copies.succeed("inventory", SOURCE)
    assert len(source.splitlines()) > 20
    assert copies.succeed("inventory", TARGET) == b""
    dump = copies.succeed("dump", SOURCE)
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
    dump = copies.succeed("dump", SOURCE)
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
