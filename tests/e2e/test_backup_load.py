"""Backups of a large database: the time next to a dump by hand, memory, a second backup, and a restore.

`make backup-load` runs the module and prints the figures. Without BACKUP_LOAD, the number of GiB, it is skipped.
"""

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import pytest

from components.copies.repository import RUNTIME
from components.engines import ENGINES
from tests.e2e.servers import DatabaseServer
from tests.e2e.stores import ACCESS_KEY, SECRET_KEY, find_program, serve_s3
from tests.pages import ROOT

if "BACKUP_LOAD" not in os.environ:
    pytest.skip("takes minutes; run `make backup-load`", allow_module_level=True)

pytestmark = pytest.mark.timeout(7200)
GIBIBYTES = float(os.environ["BACKUP_LOAD"])
SOURCE, TARGET = "load_source", "load_target"
PASSWORD = "c4nary-load"
KEEP = "--keep-last 2"
ROUNDS = 5
GIBIBYTE, MEBIBYTE = 1024**3, 1024**2
MAX_MEMORY_MIB = 256
MAX_GROWTH = 0.05
"""Part of the repository that a backup of unchanged data can add."""
MIN_RATIO = 0.9
"""Lowest accepted throughput, as a part of that by hand in the same round. Neither deletes old backups."""
MIN_RATIO_WITH_DELETION = 0.75
"""The same for a whole backup, which also deletes old ones: restic opens the repository once more."""
SAMPLE_SECONDS = 0.5
"""A shorter time uses a part of the cores that the programs need."""
RESTIC_OPTIONS = "-o s3.bucket-lookup=path"
TABLES = (
    """CREATE TABLE customers AS SELECT i AS id, format('customer%%s@example.org', i) AS email,
    initcap(left(md5(i::text), 8)) AS name, (hashint8extended(i, 1) %% 10000000 / 100.0)::numeric(12, 2) AS balance,
    hashint8extended(i, 2) %% 1000000 / 7.0::float8 AS score, i %% 10 > 0 AS active,
    date '1950-01-01' + (i %% 20000)::int AS born,
    timestamptz '2020-01-01' + make_interval(secs => abs(hashint8extended(i, 3) %% 200000000)) AS created
    FROM generate_series(1, 1000000::bigint) i""",
    "ALTER TABLE customers ADD PRIMARY KEY (id), ADD UNIQUE (email)",
    """CREATE TABLE orders AS SELECT i AS id, abs(hashint8extended(i, 1) %% 1000000) + 1 AS customer,
    md5(i::text)::uuid AS number, (hashint8extended(i, 2) %% 1000000 / 100.0)::numeric(12, 2) AS total,
    timestamptz '2020-01-01' + make_interval(secs => abs(hashint8extended(i, 3) %% 200000000)) AS created,
    CASE WHEN i %% 4 > 0 THEN md5((i %% 50000)::text) || md5(i::text) END AS note
    FROM generate_series(1, %(orders)s::bigint) i""",
    "ALTER TABLE orders ADD PRIMARY KEY (id)",
    "CREATE INDEX ON orders (customer, created)",
    """CREATE TABLE events AS SELECT i AS id, timestamptz '2020-01-01' + make_interval(secs => i) AS created,
    jsonb_build_object('type', (ARRAY['login', 'click', 'order', 'logout'])[i %% 4 + 1],
    'user', abs(hashint8extended(i, 1) %% 1000000), 'session', md5((i / 20)::text),
    'price', (hashint8extended(i, 2) %% 10000 / 100.0)::numeric(8, 2),
    'tags', jsonb_build_array(left(md5((i %% 1000)::text), 8), i %% 7, true),
    'address', jsonb_build_object('street', md5(i::text), 'zip', i %% 99999)) AS payload
    FROM generate_series(1, %(events)s::bigint) i""",
    "ALTER TABLE events ADD PRIMARY KEY (id)",
    "CREATE INDEX ON events ((payload ->> 'type'))",
    """CREATE TABLE documents AS SELECT i AS id, 'document ' || i AS name,
    string_agg(sha512(int8send(i * 1000 + j)), '') AS content,
    string_agg(left(md5((hashint8extended(i * 1000 + j, 1) %% 4096)::text), 2 + j %% 9), ' ') AS body
    FROM generate_series(1, %(documents)s::bigint) i, generate_series(1, 250) j GROUP BY i""",
    "ALTER TABLE documents ADD PRIMARY KEY (id)",
    "ANALYZE",
)
"""The dump of 1,000,000 customers has 0.1 GiB. Rows do not repeat each other, and half of a document is random."""
ROWS = {"orders": 1_500_000, "events": 750_000, "documents": 15_000}
"""Rows for 1 GiB of dump, less the customers."""


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What a run needed."""

    seconds: float
    memory: int
    """Largest sum of the resident memory of all its processes, in bytes."""


@dataclass(frozen=True, kw_only=True)
class Load:
    """A filled database, an empty one and a store."""

    folder: Path
    environment: dict[str, str]
    """Variables of the scripts, of PostgreSQL's programs and of restic."""

    def use_repository(self, name: str) -> None:
        """Create a repository for the next runs."""
        self.environment["RESTIC_REPOSITORY"] = f"{self.environment['STORE']}/{name}"
        self.run(f"restic --no-cache --quiet {RESTIC_OPTIONS} init")

    def run(self, command: str, **variables: str) -> Figures:
        """Run a shell command that succeeds. Measure it."""
        start, memory = time.monotonic(), 0
        environment = {**self.environment, **variables}
        with (self.folder / "log").open("w+") as log:
            process = subprocess.Popen(
                ["bash", "-euo", "pipefail", "-c", command], env=environment, stdout=log, stderr=log
            )
            while True:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(SAMPLE_SECONDS)
                    break
                memory = max(memory, sum(_list_memory(process.pid)))
            seconds = time.monotonic() - start
            log.seek(0)
            output = log.read()
        assert process.returncode == 0, output
        assert PASSWORD not in output
        return Figures(seconds=seconds, memory=memory)

    def run_script(self, name: str, **variables: str) -> Figures:
        return self.run(f'exec sh "$SCRIPTS/{name}"', **variables)

    @property
    def stored(self) -> int:
        """Bytes in the store."""
        return sum(path.stat().st_size for path in (self.folder / "s3").rglob("*") if path.is_file())


def _list_memory(process: int) -> Iterator[int]:
    """Yield the resident memory of a process and of its descendants."""
    with suppress(OSError, ValueError):  # it has ended
        yield int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        for children in Path(f"/proc/{process}/task").glob("*/children"):
            for child in children.read_text().split():
                yield from _list_memory(int(child))


@pytest.fixture
def load(server: Callable[[str], DatabaseServer], tmp_path: Path) -> Iterator[Load]:
    found = server("postgresql")
    for program in ("restic", "pg_dump", "pg_restore", "psql"):
        find_program(program)
    scripts, work = tmp_path / "scripts", tmp_path / "work"
    for folder in (scripts, work):
        folder.mkdir()
    engine = ENGINES["postgresql"].copy_scripts
    assert engine
    for name, content in engine.files.items():
        (scripts / name).write_text(content)
    for path in (ROOT / "components" / "copies" / "scripts").glob("*.sh"):
        shutil.copy(path, scripts / path.stem)
    found.drop(SOURCE, TARGET)
    for name in (SOURCE, TARGET):
        with found.administrator() as session:
            session.run(f"CREATE ROLE {name} LOGIN PASSWORD '{PASSWORD}'")
            session.run(f"CREATE DATABASE {name} OWNER {name}")
    rows = {name: int(number * GIBIBYTES) for name, number in ROWS.items()}
    with found.session(SOURCE, PASSWORD, SOURCE) as session:
        for statement in TABLES:
            session.run(statement % rows)
    connection = {"ADDRESS": found.host, "PORT": str(found.port), "PASSWORD": PASSWORD, "TLS": "disable"}
    with serve_s3(tmp_path) as store:
        (store.folder / "backups").mkdir()
        yield Load(
            folder=tmp_path,
            environment={
                "PATH": os.environ["PATH"],
                **dict.fromkeys(("WORK", "TMPDIR", "HOME"), str(work)),
                "SCRIPTS": str(scripts),
                "REPORT": str(tmp_path / "report"),
                "RESTIC": find_program("restic"),
                "RESTIC_OPTIONS": RESTIC_OPTIONS,
                "RESTIC_PASSWORD": "repository",
                "STORE": f"s3:{store.url}/backups",
                "AWS_ACCESS_KEY_ID": ACCESS_KEY,
                "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
                "LIMIT_SECONDS": "3600",
                **RUNTIME,
                **connection,
                "USERNAME": SOURCE,
                "DATABASE": SOURCE,
                "PGHOST": found.host,
                "PGPORT": str(found.port),
                "PGUSER": SOURCE,
                "PGPASSWORD": PASSWORD,
                "PGDATABASE": SOURCE,
                **{f"TARGET_{name}": value for name, value in connection.items()},
                "TARGET_USERNAME": TARGET,
                "TARGET_DATABASE": TARGET,
            },
        )
    found.drop(SOURCE, TARGET)


def test_backup_of_a_large_database(load: Load) -> None:
    size = int(
        subprocess.run(
            ["bash", "-c", "pg_dump -Fc -Z0 | wc -c"], env=load.environment, capture_output=True, check=True
        ).stdout
    )
    gibibytes = size / GIBIBYTE
    figures: dict[str, list[Figures]] = {"by hand": [], "backup": [], "backup and deletion": []}
    print(f"\ndump: {gibibytes:.2f} GiB; {os.cpu_count()} cores")
    for number in range(ROUNDS):
        for name, runs in figures.items():
            load.use_repository(f"{name.replace(' ', '-')}-{number}")
            before, average = load.stored, os.getloadavg()[0]
            if name == "by hand":
                # restic by hand has the defaults of its runtime.
                command = f"pg_dump -Fc -Z0 | restic --no-cache --quiet {RESTIC_OPTIONS} backup --stdin"
                runs.append(load.run(f"unset {' '.join(RUNTIME)}; {command}"))
            else:
                runs.append(load.run_script("backup", KEEP=KEEP if name == "backup and deletion" else ""))
            stored = load.stored - before
            seconds, memory = runs[-1].seconds, runs[-1].memory / MEBIBYTE
            print(
                f"{name}: {seconds:.1f} s, {size / MEBIBYTE / seconds:.0f} MiB/s, {memory:.0f} MiB of memory,"
                f" {stored / MEBIBYTE:.0f} MiB stored (load {average:.1f})"
            )
    before = load.stored
    second = load.run_script("backup", KEEP=KEEP)
    growth = (load.stored - before) / stored
    inventory = load.run_script("inventory")
    restore = load.run_script("receive", PRODUCER="snapshot", BACKUP="latest")
    comparison = load.run_script("inventory", USERNAME=TARGET, DATABASE=TARGET)
    ratio, ratio_with_deletion = (
        median(hand.seconds / run.seconds for hand, run in zip(figures["by hand"], figures[name], strict=True))
        for name in ("backup", "backup and deletion")
    )
    print(
        f"median of the ratios: {ratio:.2f}, with deletion {ratio_with_deletion:.2f}\n"
        f"inventory: {inventory.seconds:.1f} s\n"
        f"second backup: {second.seconds:.1f} s, {growth:.2%} added\n"
        f"restore: {restore.seconds / gibibytes:.1f} s per GiB, of which {comparison.seconds / gibibytes:.1f} s compare"
    )
    backups = [*figures["backup"], *figures["backup and deletion"]]
    assert max(run.memory for run in [*backups, second, restore]) < MAX_MEMORY_MIB * MEBIBYTE
    assert growth < MAX_GROWTH
    assert ratio >= MIN_RATIO
    assert ratio_with_deletion >= MIN_RATIO_WITH_DELETION
