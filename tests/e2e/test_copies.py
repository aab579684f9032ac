"""The scripts that copy the data of a group, run with the programs of the engines against real servers."""

import os
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from components.engines import ENGINES
from tests.e2e.servers import REFUSED, DatabaseServer

SOURCE, TARGET = "copies_source", "copies_target"
PASSWORD = "c4narY '\"\\ %s $HOME #"
PROGRAMS = {"postgresql": ("pg_dump", "pg_restore", "psql"), "mysql": ("mysql", "mysqldump")}
EXTENSIONS = ("hstore", "pg_trgm")
WEIRD = "`we ird ``x``%s \\ é \"'\ntwo`"
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
    # `;;;` separates the statements.
    "mysql": r"""
CREATE TABLE `we ird ``x``%s \ é "'
two` (
    id int AUTO_INCREMENT PRIMARY KEY, x varchar(50), `te``xt` text, bl longblob, vb varbinary(20), c char(5),
    l varchar(20) CHARACTER SET latin1, j json, g geometry NOT NULL SRID 4326, b bit(9), e enum('a', 'o,k'),
    s set('x', 'y'), f float, d double, n decimal(30, 10), t timestamp(6) NULL, dt datetime, ti time(3), y year,
    gen int AS (char_length(x)) STORED, virt varchar(60) AS (concat(x, 'é''\n')) VIRTUAL,
    u varchar(40) DEFAULT (uuid()), h int INVISIBLE DEFAULT 3, CHECK (h > 0),
    CONSTRAINT `c'1` CHECK (x <> 'DEFINER=`a`@`b`') NOT ENFORCED,
    KEY k (x(5)), UNIQUE KEY lower_u ((lower(u)), id), FULLTEXT KEY words (`te``xt`), SPATIAL KEY (g)
) COMMENT 'two
lines' AUTO_INCREMENT = 7;;;
INSERT INTO `we ird ``x``%s \ é "'
two` (x, `te``xt`, bl, vb, c, l, j, g, b, e, s, f, d, n, t, dt, ti, y)
WITH RECURSIVE numbers (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM numbers WHERE i < 900)
SELECT CASE i % 3 WHEN 0 THEN NULL WHEN 1 THEN '' ELSE 'a\tb\n\\.\r\n\0,-' END, CONCAT('é🐘', i),
    UNHEX(LPAD(HEX(i), 8, '0')),
    UNHEX(HEX(i)), 'c ', 'é', JSON_OBJECT('k', i, 'd', i / 3e0, 'n', NULL),
    ST_GeomFromText(CONCAT('POINT(1 ', i / 10, ')'), 4326),
    i % 512, 'o,k', 'x,y', i / 3e0, i / 3e0, i / 7, '2026-01-02 03:04:05.678901', '2026-01-02', '10:00:00.5', 2026
FROM numbers;;;
CREATE TABLE parted (k int, v text) PARTITION BY RANGE (k) (
    PARTITION p1 VALUES LESS THAN (50), PARTITION p2 VALUES LESS THAN MAXVALUE);;;
INSERT INTO parted WITH RECURSIVE numbers (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM numbers WHERE i < 99)
SELECT i, 'v' FROM numbers;;;
CREATE TABLE Upper (id bigint unsigned AUTO_INCREMENT PRIMARY KEY) AUTO_INCREMENT = 18446744073709551000;;;
CREATE TABLE upper (western text CHARACTER SET latin1, z bigint zerofill, i int DEFAULT 5) CHARACTER SET latin1;;;
INSERT INTO upper VALUES ('Käse', 7, 0);;;
CREATE TABLE vectors (v varbinary(8), PRIMARY KEY (v));;;
INSERT INTO vectors VALUES (''), (X'00FF0A27');;;
CREATE TABLE child (fk int, CONSTRAINT `own ``key` FOREIGN KEY (fk) REFERENCES `we ird ``x``%s \ é "'
two` (id) ON DELETE CASCADE);;;
INSERT INTO child VALUES (7), (NULL);;;
CREATE TABLE `lines` (line text);;;
INSERT INTO `lines` VALUES ('DELIMITER ;;
CREATE DEFINER=`a`@`b` VIEW v'), ('/*!50001 CREATE ALGORITHM=UNDEFINED */
/*!50013 DEFINER=`a`@`%` SQL SECURITY DEFINER */'), ('ALTER DATABASE `copies_source` CHARACTER SET x'),
    ('-- Dump completed');;;
CREATE VIEW z_view AS SELECT k AS `a``b`, v FROM parted WITH CASCADED CHECK OPTION;;;
CREATE SQL SECURITY INVOKER VIEW a_view AS SELECT count(*) AS c, 'DEFINER=`a`@`%`' AS text FROM parted JOIN z_view;;;
CREATE FUNCTION twice (number INT) RETURNS INT DETERMINISTIC SQL SECURITY INVOKER RETURN number * 2;;;
CREATE PROCEDURE `looks like ``a`` dump` (IN a INT, OUT b VARCHAR(10) CHARACTER SET latin1) COMMENT 'it''s'
BEGIN
    -- a comment stays
    SELECT '
CREATE DEFINER=`a`@`b` VIEW v
/*!50013 DEFINER=`a`@`%` SQL SECURITY DEFINER */
ALTER DATABASE `copies_source` CHARACTER SET latin1 COLLATE latin1_swedish_ci ;
-- Dump completed';
    SET b = 'x'; # another comment
END;;;
SET sql_mode = 'ANSI_QUOTES,NO_BACKSLASH_ESCAPES';;;
CREATE PROCEDURE quoted () SELECT "v", '\' FROM "parted";;;
SET sql_mode = DEFAULT;;;
ALTER DATABASE CHARACTER SET latin1 COLLATE latin1_german1_ci;;;
CREATE FUNCTION western (text VARCHAR(10)) RETURNS VARCHAR(10) DETERMINISTIC RETURN CONCAT(text, 'ä');;;
ALTER DATABASE CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;;;
CREATE TRIGGER tr BEFORE INSERT ON parted FOR EACH ROW BEGIN SET NEW.v = CONCAT(NEW.v, '!'); END;;;
CREATE TRIGGER tr2 BEFORE INSERT ON parted FOR EACH ROW SET NEW.k = NEW.k + 1;;;
CREATE EVENT later ON SCHEDULE AT '2099-01-01 00:00:00' COMMENT 'c' DO DELETE FROM parted;;;
CREATE EVENT `every ``day` ON SCHEDULE EVERY 1 DAY STARTS '2099-01-01' DISABLE DO
    BEGIN DELETE FROM parted; SET @x = ';'; END
""",
}
CHANGES = {
    "postgresql": {
        "cell": "UPDATE parted SET v = 'w' WHERE k = 50",
        "empty text instead of NULL": """UPDATE "we ird"."select ""x""%s \\ é" SET x = '' WHERE id = 3""",
        "byte": """UPDATE "we ird"."select ""x""%s \\ é" SET b = '\\x00' WHERE id = 3""",
        "two rows exchange a value": "UPDATE parted SET v = CASE k WHEN 50 THEN 'v' ELSE 'w' END WHERE k IN (50, 51)",
        "missing row": "DELETE FROM parted WHERE k = 50",
        "duplicate row": "INSERT INTO parted VALUES (50, 'v'), (50, 'v')",
        "triplicate instead of two duplicates": "UPDATE parted SET k = 50, v = 'v!' WHERE k = 51",
        "digits of a number": """UPDATE "we ird"."select ""x""%s \\ é" SET n = 1.0 WHERE id = 3""",
        "trailing digit of a number": """UPDATE "we ird"."select ""x""%s \\ é" SET n = 1.00 WHERE id = 3""",
        "trailing digit in JSON": """UPDATE "we ird"."select ""x""%s \\ é" SET j = '1.0' WHERE id = 3""",
        "another trailing digit in JSON": """UPDATE "we ird"."select ""x""%s \\ é" SET j = '1.00' WHERE id = 3""",
        "negative zero": """UPDATE "we ird"."select ""x""%s \\ é" SET f = 0 WHERE id = 3""",
        "zero": """UPDATE "we ird"."select ""x""%s \\ é" SET f = '-0' WHERE id = 3""",
        "month": """UPDATE "we ird"."select ""x""%s \\ é" SET i = '30 days' WHERE id = 3""",
        "days": """UPDATE "we ird"."select ""x""%s \\ é" SET i = '1 month' WHERE id = 3""",
        "case": "UPDATE lines SET line = upper(line::text)",
        "NULL": """UPDATE "we ird"."select ""x""%s \\ é" SET a = NULL WHERE id = 3""",
        "NULL in an array": """UPDATE "we ird"."select ""x""%s \\ é" SET a = '{NULL}' WHERE id = 3""",
        "two columns exchange their values": """UPDATE "we ird"."select ""x""%s \\ é" SET x = "text", "text" = x
            WHERE id = 4""",
        "detached partition": "ALTER TABLE parted DETACH PARTITION parted_1",
        "attached partition": "ALTER TABLE parted ATTACH PARTITION parted_1 FOR VALUES FROM (0) TO (100)",
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
    },
    "mysql": {
        "cell": "UPDATE parted SET v = 'w' WHERE k = 50",
        "empty text instead of NULL": f"UPDATE {WEIRD} SET x = '' WHERE id = 9",
        "byte": f"UPDATE {WEIRD} SET bl = X'00' WHERE id = 9",
        "trailing zero byte": f"UPDATE {WEIRD} SET bl = X'0000' WHERE id = 9",
        "number": f"UPDATE {WEIRD} SET d = d + 1e-12 WHERE id = 9",
        "float": f"UPDATE {WEIRD} SET f = f + 0.001 WHERE id = 9",
        "microsecond": f"UPDATE {WEIRD} SET t = '2026-01-02 03:04:05.678902' WHERE id = 9",
        "JSON": f"UPDATE {WEIRD} SET j = '[]' WHERE id = 9",
        "point": f"UPDATE {WEIRD} SET g = ST_GeomFromText('POINT(2 1)', 4326) WHERE id = 9",
        "invisible column": f"UPDATE {WEIRD} SET h = 4 WHERE id = 9",
        "bit": f"UPDATE {WEIRD} SET b = 1 WHERE id = 9",
        "two columns exchange their values": f"UPDATE {WEIRD} SET c = l, l = 'c' WHERE id = 9",
        "two rows exchange a value": "UPDATE parted SET v = CASE k WHEN 50 THEN 'v' ELSE 'w' END WHERE k IN (50, 51)",
        "missing row": "DELETE FROM parted WHERE k = 50",
        "duplicate row": "INSERT INTO upper SELECT * FROM upper",
        "default": "ALTER TABLE upper ALTER i SET DEFAULT 6",
        "default NULL": "ALTER TABLE upper ALTER i SET DEFAULT NULL",
        "type": "ALTER TABLE upper MODIFY i bigint DEFAULT NULL",
        "collation": "ALTER TABLE upper MODIFY western text CHARACTER SET latin1 COLLATE latin1_bin",
        "comment of a column": "ALTER TABLE upper MODIFY i bigint DEFAULT NULL COMMENT 'c'",
        "comment of a table": "ALTER TABLE upper COMMENT 'c'",
        "column": "ALTER TABLE upper ADD more int",
        "order of columns": "ALTER TABLE upper MODIFY more int FIRST",
        "default expression": "ALTER TABLE upper ALTER more SET DEFAULT (1 + 1)",
        "another default expression": "ALTER TABLE upper ALTER more SET DEFAULT (1 + 2)",
        "generated column": f"ALTER TABLE {WEIRD} MODIFY gen int AS (char_length(x) + 0) STORED",
        "AUTO_INCREMENT": f"ALTER TABLE {WEIRD} AUTO_INCREMENT = 50000",
        "index": "ALTER TABLE upper ADD KEY i (i)",
        "unique index": "ALTER TABLE upper DROP KEY i, ADD UNIQUE KEY i (i, z, more, western(9))",
        "prefix of an index": "ALTER TABLE upper DROP KEY i, ADD UNIQUE KEY i (i, z, more, western(8))",
        "order of an index": "ALTER TABLE upper DROP KEY i, ADD UNIQUE KEY i (i DESC, z, more, western(8))",
        "invisible index": "ALTER TABLE upper ALTER INDEX i INVISIBLE",
        "expression of an index": f"ALTER TABLE {WEIRD} DROP KEY lower_u, ADD UNIQUE KEY lower_u ((upper(u)), id)",
        "rule of a foreign key": "ALTER TABLE child DROP FOREIGN KEY `own ``key`;;; ALTER TABLE child"
        f" ADD CONSTRAINT `own ``key` FOREIGN KEY (fk) REFERENCES {WEIRD} (id)",
        "foreign key": "ALTER TABLE child DROP FOREIGN KEY `own ``key`",
        "enforced check": f"ALTER TABLE {WEIRD} ALTER CHECK `c'1` ENFORCED",
        "check": f"ALTER TABLE {WEIRD} DROP CHECK `c'1`;;; ALTER TABLE {WEIRD} ADD CONSTRAINT `c'1` CHECK (x <> 'y')",
        "partition": "ALTER TABLE parted DROP PARTITION p1",
        "limit of a partition": "ALTER TABLE parted PARTITION BY RANGE (k) (PARTITION p2 VALUES LESS THAN (10000))",
        "engine": "ALTER TABLE vectors ENGINE = MyISAM",
        "definition of a view": "CREATE OR REPLACE VIEW z_view AS SELECT k AS `a``b`, v FROM parted WHERE k > 5",
        "security of a view": "ALTER SQL SECURITY INVOKER VIEW z_view AS SELECT k AS `a``b`, v FROM parted WHERE k > 5",
        "view": "DROP VIEW a_view",
        "function": "DROP FUNCTION twice;;;"
        " CREATE FUNCTION twice (number INT) RETURNS INT DETERMINISTIC RETURN 2 * number",
        "parameter": "DROP FUNCTION twice;;;"
        " CREATE FUNCTION twice (number BIGINT) RETURNS INT DETERMINISTIC RETURN 2 * number",
        "security of a function": "ALTER FUNCTION twice SQL SECURITY INVOKER",
        "procedure": "DROP PROCEDURE quoted",
        "sql_mode": "SET sql_mode = '';;; CREATE PROCEDURE quoted () SELECT 1",
        "another sql_mode": "DROP PROCEDURE quoted;;; SET sql_mode = 'ANSI_QUOTES';;;"
        " CREATE PROCEDURE quoted () SELECT 1",
        "trigger": "DROP TRIGGER tr2",
        "event of a trigger": "CREATE TRIGGER tr2 BEFORE UPDATE ON parted FOR EACH ROW SET NEW.k = NEW.k + 1",
        "body of a trigger": "DROP TRIGGER tr2;;;"
        " CREATE TRIGGER tr2 BEFORE UPDATE ON parted FOR EACH ROW SET NEW.k = 1",
        "enabled event": "ALTER EVENT `every ``day` ENABLE",
        "interval of an event": "ALTER EVENT `every ``day` ON SCHEDULE EVERY 2 DAY STARTS '2099-01-01'",
        "event": "DROP EVENT later",
        "character set of the database": "ALTER DATABASE CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_ai_ci",
    },
}
REASONS = {
    "postgresql": ("refused", "not exist"),
    "mysql": ("Can't connect to MySQL server", "Access denied"),
}
"""Messages for a closed port and for a database that does not exist."""
WRITES = {
    "postgresql": (
        "CREATE TABLE writes (k serial PRIMARY KEY, t text)",
        "INSERT INTO writes (t) SELECT repeat('x', 1000) FROM generate_series(1, 20)",
    ),
    "mysql": (
        "CREATE TABLE writes (k int AUTO_INCREMENT PRIMARY KEY, t text)",
        "INSERT INTO writes (t) VALUES (REPEAT('x', 1000)), (REPEAT('y', 1000))",
    ),
}
"""A table, and a write to it."""
LARGE_TABLES = {
    "postgresql": "CREATE TABLE large AS SELECT repeat(md5(i::text), 100) AS t FROM generate_series(1, 50000) i",
    "mysql": "SET cte_max_recursion_depth = 50000;;; CREATE TABLE large AS WITH RECURSIVE numbers (i) AS"
    " (SELECT 1 UNION ALL SELECT i + 1 FROM numbers WHERE i < 50000) SELECT REPEAT(SHA2(i, 256), 50) AS t FROM numbers",
}
DUMPING_SESSIONS = {
    "postgresql": f"""SELECT pid FROM pg_stat_activity WHERE datname = '{SOURCE}' AND application_name = 'pg_dump'
        AND query ~ '^COPY.*large'""",
    "mysql": f"""SELECT id FROM information_schema.processlist WHERE db = '{SOURCE}'
        AND info LIKE 'SELECT /*!40001%large%'""",
}
"""Queries for the session that reads the large table for the dump."""
END_SESSION = {"postgresql": "SELECT pg_terminate_backend({})", "mysql": "KILL {}"}


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
            for statement in statements.split(";;;"):
                session.run(statement)


def create_databases(server: DatabaseServer, *names: str, options: str = "") -> None:
    """Create databases with owners and extensions."""
    literal = "'" + PASSWORD.replace("'", "''") + "'"
    if server.engine == "mysql":
        literal = literal.replace("\\", r"\\")
        for name in names:
            pattern = name.replace("_", r"\_")
            with server.administrator() as session:
                session.run(f"CREATE USER '{name}'@'%' IDENTIFIED BY {literal}")
                session.run(f"CREATE DATABASE `{name}` CHARACTER SET utf8mb4")
                session.run(f"GRANT ALL PRIVILEGES ON `{pattern}`.* TO '{name}'@'%'")
        return
    for name in names:
        with server.administrator() as session:
            session.run(f"CREATE ROLE {name} LOGIN PASSWORD {literal}")
            session.run(f"CREATE DATABASE {name} OWNER {name} {options}")
        with server.administrator(name) as session:
            for extension in EXTENSIONS:
                session.run(f"CREATE EXTENSION {extension}")


@contextmanager
def trust_function_creators(server: DatabaseServer) -> Iterator[None]:
    """Allow functions and triggers on MySQL with a binary log, as docs/engines/mysql.md recommends."""
    if server.engine != "mysql":
        yield
        return
    with server.administrator() as session:
        [(before,)] = session.run("SELECT @@GLOBAL.log_bin_trust_function_creators")
        session.run("SET GLOBAL log_bin_trust_function_creators = ON")
        yield
        session.run(f"SET GLOBAL log_bin_trust_function_creators = {before}")


def open_copies(server: DatabaseServer, folder: Path) -> Copies:
    """Write the scripts of a server's engine to a folder. Skip the test if a program is missing."""
    for program in PROGRAMS[server.engine]:
        if not shutil.which(program):
            pytest.skip(f"{program} is not on PATH")
        version = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
        if "MariaDB" in version:
            pytest.skip(f"{program} on PATH is of MariaDB")
    scripts = ENGINES[server.engine].copy_scripts
    assert scripts
    folders = [folder / name for name in ("scripts", "temporary")]
    for path in folders:
        path.mkdir()
    for name, content in scripts.files.items():
        (folders[0] / name).write_text(content)
    return Copies(server, *folders)


@pytest.fixture(params=PROGRAMS)
def copies(request: pytest.FixtureRequest, server: Callable[[str], DatabaseServer], tmp_path: Path) -> Iterator[Copies]:
    found = server(request.param)
    copies = open_copies(found, tmp_path)
    found.drop(SOURCE, TARGET)
    create_databases(found, SOURCE, TARGET)
    with trust_function_creators(found):
        copies.change(SOURCE, DATA[found.engine])
        yield copies
    found.drop(SOURCE, TARGET)


of_postgresql = pytest.mark.parametrize("copies", ["postgresql"], indirect=True)
of_mysql = pytest.mark.parametrize("copies", ["mysql"], indirect=True)


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
    refused, unknown = REASONS[copies.server.engine]
    assert TARGET in copies.fail(script, TARGET, PASSWORD="wrong")
    assert refused in copies.fail(script, TARGET, PORT="1")
    assert unknown in copies.fail(script, TARGET, DATABASE="dbname=copies_source host=example.org")


@of_postgresql
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


@of_postgresql
def test_comments_of_extensions_do_not_stop_a_copy(copies: Copies) -> None:
    """Only the administrator can set them. They can have lines that look like the end of the statement."""
    with copies.server.administrator(SOURCE) as session:
        session.run(r"COMMENT ON EXTENSION hstore IS E'it''s\n'';\n--\n-- Name: x; Type: TABLE\n''quoted'' text'")
    source, _, data = copies.succeed("dump", SOURCE).partition(b"\n\n")
    copies.succeed("restore", TARGET, data)
    assert copies.succeed("inventory", TARGET) == source + b"\n"


PARALLEL = (
    "min_parallel_table_scan_size = 0",
    "parallel_setup_cost = 0",
    "parallel_tuple_cost = 0",
    "parallel_leader_participation = off",
)
"""Settings with which other processes of the server read every table."""


@of_postgresql
def test_hashes_do_not_depend_on_the_encoding(copies: Copies) -> None:
    copies.server.drop(SOURCE)
    create_databases(copies.server, SOURCE, options="TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'")
    with copies.server.administrator() as session:
        for setting in PARALLEL:
            session.run(f"ALTER DATABASE {SOURCE} SET {setting}")
    copies.change(
        SOURCE, "CREATE TABLE texts AS SELECT 'é' || i AS text FROM generate_series(1, 20000) i; ANALYZE texts"
    )
    source, _, data = copies.succeed("dump", SOURCE).partition(b"\n\n")
    copies.succeed("restore", TARGET, data)
    assert copies.succeed("inventory", TARGET) == source + b"\n"


@of_postgresql
def test_hashes_do_not_depend_on_the_release_series_or_on_parallel_processes(
    copies: Copies, server: Callable[[str], DatabaseServer]
) -> None:
    source, _, data = copies.succeed("dump", SOURCE).partition(b"\n\n")
    newer = replace(copies, server=server("postgresql17"))
    newer.server.drop(TARGET)
    create_databases(newer.server, TARGET)
    newer.succeed("restore", TARGET, data)
    with newer.server.administrator() as session:
        for setting in PARALLEL:
            session.run(f"ALTER DATABASE {TARGET} SET {setting}")

    def drop_definitions(inventory: bytes) -> list[str]:
        return [line for line in inventory.decode().splitlines() if not line.startswith("in ")]

    assert drop_definitions(newer.succeed("inventory", TARGET)) == drop_definitions(source)
    newer.server.drop(TARGET)


def test_copy_is_of_one_moment(copies: Copies) -> None:
    """An application writes until the copy has ended. Inventory and data do not have the same writes by accident."""
    table, write_rows = WRITES[copies.server.engine]
    copies.change(SOURCE, table)
    ended = threading.Event()

    def write() -> None:
        with copies.server.session(SOURCE, PASSWORD, SOURCE) as session:
            while not ended.is_set():
                session.run(write_rows)

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
    """The connection of the dump ends while it reads rows."""
    engine = copies.server.engine
    copies.change(SOURCE, LARGE_TABLES[engine])
    ended = 0
    with ThreadPoolExecutor() as executor, copies.server.administrator() as session:
        dump = executor.submit(copies.run, "dump", SOURCE)
        while not dump.done():
            for (identifier,) in session.run(DUMPING_SESSIONS[engine]):
                with suppress(*REFUSED):  # it can end by itself
                    session.run(END_SESSION[engine].format(identifier))
                    ended += 1
    assert ended
    assert dump.result().returncode != 0


@of_mysql
def test_copy_takes_over_objects_of_other_definers(copies: Copies) -> None:
    """`initScript` runs as root. The application cannot read the body of a routine of another user."""
    copies.change(SOURCE, "CREATE TABLE numbers (n int)")
    with copies.server.administrator(SOURCE) as session:
        session.run("CREATE DEFINER='o`th\"er user'@'%' VIEW others AS SELECT * FROM numbers")
        session.run(
            "CREATE DEFINER='o`th\"er user'@'%' TRIGGER others BEFORE INSERT ON numbers FOR EACH ROW SET NEW.n = 7"
        )
        session.run("CREATE DEFINER='o`th\"er user'@'%' EVENT others ON SCHEDULE AT '2099-01-01' DO SELECT 1")
    source, _, data = copies.succeed("dump", SOURCE).partition(b"\n\n")
    copies.succeed("restore", TARGET, data)
    assert copies.succeed("inventory", TARGET) == source + b"\n"
    with copies.server.administrator() as session:
        definers = session.run(f"""SELECT definer FROM information_schema.views WHERE table_schema = '{TARGET}'
            UNION SELECT definer FROM information_schema.triggers WHERE trigger_schema = '{TARGET}'
            UNION SELECT definer FROM information_schema.routines WHERE routine_schema = '{TARGET}'
            UNION SELECT definer FROM information_schema.events WHERE event_schema = '{TARGET}'""")
    assert definers == [(f"{TARGET}@%",)]
    with copies.server.administrator(SOURCE) as session:
        session.run("CREATE PROCEDURE others () SELECT 1")
    assert "insufficient privileges" in copies.fail("dump", SOURCE)


@of_mysql
@pytest.mark.parametrize("right", ["LOCK TABLES", "EVENT", "SELECT"])
def test_missing_right_is_the_reason(copies: Copies, right: str) -> None:
    with copies.server.administrator() as session:
        session.run(f"REVOKE {right} ON `copies\\_source`.* FROM '{SOURCE}'@'%'")
    assert "denied" in copies.fail("dump", SOURCE)


@of_mysql
def test_copy_waits_for_a_transaction_that_writes(copies: Copies) -> None:
    with ThreadPoolExecutor() as executor, copies.server.session(SOURCE, PASSWORD, SOURCE) as session:
        session.run("START TRANSACTION")
        session.run("UPDATE parted SET v = 'w' WHERE k = 50")
        dump = executor.submit(copies.succeed, "dump", SOURCE)
        time.sleep(7)  # longer than one attempt
        assert not dump.done()
        session.run("COMMIT")
    source, _, data = dump.result().partition(b"\n\n")
    copies.succeed("restore", TARGET, data)
    assert copies.succeed("inventory", TARGET) == source + b"\n"
    assert copies.succeed("inventory", SOURCE) == source + b"\n"


@of_mysql
def test_dump_names_tables_that_have_no_moment(copies: Copies) -> None:
    copies.change(SOURCE, "ALTER TABLE vectors ENGINE = MyISAM")
    done = copies.run("dump", SOURCE)
    assert done.returncode == 0
    assert b"table vectors has the engine MyISAM" in done.stderr
