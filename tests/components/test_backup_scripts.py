"""The scripts of a backup with the real restic, a repository in a folder, and dumps that read a file."""

import contextlib
import http.server
import json
import os
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from time import sleep

import pytest

from components.engines.definition import BEGIN
from tests.e2e.stores import ACCESS_KEY, SECRET_KEY, USERNAME, Proxy, RunningStore, serve_rest, serve_s3
from tests.e2e.stores import PASSWORD as STORE_PASSWORD

pytestmark = pytest.mark.slow
SCRIPTS = Path(__file__).resolve().parents[2] / "components" / "copies" / "scripts"
PASSWORD, HOST = "c4nary", "shop.mysql.main"
RESTORE = 'cat >"$SERVER/data"'
VERIFY = {
    "start": 'echo "$APPLICATION_PASSWORD ${RESTIC_PASSWORD-none}" >"$SERVER/password";'
    ' [ "$SCRATCH" = true ] || exit 1; exec sleep 600',
    "ready": '[ -s "$SERVER/password" ]',
    # The scripts of engines read other variables, such as SNAPSHOT.
    "inventory": '[ -z "${SNAPSHOT-}" ]; file=${DATABASE-}; [ "$ADDRESS" = 127.0.0.1 ] && file=$SERVER/data;'
    ' [ ! -e "$file" ] || sort "$file"',
    "restore": RESTORE,
}
"""Scripts of a server whose data is a file."""
DUMP = 'sh "${0%/*}/inventory" >"$WORK/lines"; sh "${0%/*}/begin" <"$WORK/lines"; cat "$DATABASE"'


class Backups:
    """A database that is a file, and a repository."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.database, self.repository = folder / "database", folder / "repository"
        self.server = folder / "server"
        """Data of the server that verifies backups."""
        self.database.write_text("table a 2\ntable b 3\n")
        self.variables = {"RESTIC_REPOSITORY": str(self.repository), "RESTIC_PASSWORD": PASSWORD, "RESTIC_HOST": HOST}
        self.scripts = {"begin": BEGIN, "dump": DUMP, "inventory": 'sort "$DATABASE"'}

    def run(self, script: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a script. Assert that its output has no password."""
        scripts, work = self.folder / "scripts", self.folder / "work"
        shutil.rmtree(self.server, ignore_errors=True)
        for folder in (scripts, work, self.server):
            folder.mkdir(exist_ok=True)
        for path in SCRIPTS.glob("*.sh"):
            shutil.copy(path, scripts / path.stem)
        for name, content in self.scripts.items():
            (scripts / name).write_text(f"set -eu\n{content}\n")
        env = {
            "PATH": os.environ["PATH"],
            "HOME": str(work),
            "TMPDIR": str(work),
            "SCRIPTS": str(scripts),
            "WORK": str(work),
            "REPORT": str(self.folder / "report"),
            "RESTIC": shutil.which("restic") or "",
            "DATABASE": str(self.database),
            "LIMIT_SECONDS": "60",
            "KEEP": "--keep-last 2",
            "ATTEMPTS": "2",
            "DELAY_SECONDS": "0",
            **self.variables,
            "ADDRESS": "database",
            "SERVER": str(self.server),
            "POD_IP": "127.0.0.1",
            "MAX_AGE_SECONDS": "172800",
            "INTERVAL_SECONDS": "604800",
            "PARTS": "2",
            "CREDENTIAL": "PASSWORD",
            "PRIVATE": "RESTIC_PASSWORD",
            **variables,
        }
        done = subprocess.run(
            ["sh", scripts / script], env=env, capture_output=True, text=True, timeout=120, check=False
        )
        for secret in (PASSWORD, SECRET_KEY, STORE_PASSWORD):
            assert secret not in done.stdout + done.stderr + self.report
        return done

    def succeed(self, script: str, **variables: str) -> str:
        """Run a script. Return its last message."""
        done = self.run(script, **variables)
        assert done.returncode == 0, done.stderr
        return self.report

    def fail(self, script: str, **variables: str) -> str:
        """Run a script that fails. Return its last message."""
        assert self.run(script, **variables).returncode != 0
        return self.report

    @property
    def report(self) -> str:
        path = self.folder / "report"
        return path.read_text().strip() if path.exists() else ""

    @property
    def environment(self) -> dict[str, str]:
        """The environment of a user."""
        return {**os.environ, **self.variables}

    @contextlib.contextmanager
    def start_backup(self) -> Iterator[subprocess.Popen[bytes]]:
        """Run a backup that does not end by itself, and wait until it has a lock."""
        command = ["restic", "--no-cache", "--quiet", "backup", "--stdin-from-command", "--", "sleep", "60"]
        with subprocess.Popen(command, env=self.environment) as process:
            while not [path for path in (self.repository / "locks").iterdir() if "tmp" not in path.name]:
                assert process.poll() is None
            yield process

    def restic(self, *arguments: str, text: str | None = None) -> str:
        """Run restic as a user does, with a text as its input. Return its output."""
        done = subprocess.run(
            ["restic", "--no-cache", "--quiet", *arguments],
            env=self.environment,
            input=text,
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        return done.stdout

    def count_snapshots(self) -> int:
        return self.restic("snapshots", "--json").count('"short_id"')


@pytest.fixture
def new(tmp_path: Path) -> Backups:
    """Return a database without a repository."""
    if not shutil.which("restic"):
        pytest.skip("restic is not on PATH")
    return Backups(tmp_path)


@pytest.fixture
def backups(new: Backups) -> Backups:
    """Return a database with an empty repository."""
    new.succeed("init")
    return new


def test_init_creates_a_repository_once(new: Backups) -> None:
    assert new.succeed("init") == "created the repository"
    assert new.succeed("init") == "the repository exists"


def test_init_rejects_another_password(backups: Backups) -> None:
    message = backups.fail("init", RESTIC_PASSWORD="other")
    assert message == "error: cannot open the repository: the repository password is wrong"


def test_init_reports_a_store_that_it_cannot_write(new: Backups) -> None:
    new.repository.write_text("a file")
    assert new.fail("init", CHECK_SECONDS="3").startswith("error: cannot ")


def test_backup_is_one_file_with_inventory_and_data(backups: Backups) -> None:
    message = backups.succeed("backup")
    number = r"[0-9.]+ [KM]?i?B"
    assert re.fullmatch(
        rf"saved snapshot [0-9a-f]{{8}} in \d+ seconds: 2 entries, {number}; added {number} \({number} stored\)",
        message,
    )
    assert backups.restic("dump", "latest", "/dump") == "table a 2\ntable b 3\n\ntable a 2\ntable b 3\n"
    assert f'"hostname":"{HOST}"' in backups.restic("snapshots", "--json")


def test_old_backups_are_deleted(backups: Backups) -> None:
    for number in range(4):
        backups.database.write_text(f"table a {number}\n")
        backups.succeed("backup")
    assert backups.count_snapshots() == 2
    backups.succeed("backup", KEEP="")
    assert backups.count_snapshots() == 3


@pytest.mark.parametrize(
    ("dump", "reason"),
    [
        ("exit 4", "cannot read the database"),
        (f"{DUMP}; exit 4", ""),
        ('sh "${0%/*}/begin" </dev/null; echo data', "the database is empty"),
        ("echo table a 2", "the dump has no inventory"),
        ('echo table a 2 | sh "${0%/*}/begin"; head -c 30000000 /dev/zero; exec sh -c "kill -9 \\$\\$"', ""),
    ],
)
def test_failed_dump_leaves_no_backup(backups: Backups, dump: str, reason: str) -> None:
    backups.succeed("backup")
    backups.scripts["dump"] = dump
    done = backups.run("backup")
    assert done.returncode != 0
    assert reason in done.stderr
    assert backups.report == "error: nothing was saved: exit code 1; the log has the reason"
    assert backups.count_snapshots() == 1
    backups.scripts["dump"] = DUMP
    backups.succeed("backup")
    assert backups.count_snapshots() == 2


def test_dump_that_does_not_end_is_stopped(backups: Backups) -> None:
    backups.scripts["dump"] = 'echo table a 2 | sh "${0%/*}/begin"; exec sleep 60'
    assert backups.fail("backup", LIMIT_SECONDS="3") == "error: nothing was saved: restic did not end within 3 seconds"
    assert backups.count_snapshots() == 0


def test_server_that_answers_later_is_saved(backups: Backups) -> None:
    backups.scripts["dump"] = f'[ -e "$DATABASE.seen" ] || {{ : >"$DATABASE.seen"; exit 1; }}; {DUMP}'
    backups.succeed("backup")


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ({"RESTIC_PASSWORD": "other"}, "the repository password is wrong"),
        ({"RESTIC_REPOSITORY": "/missing"}, "the store has no repository /missing, or does not know the access key"),
        ({"RESTIC_REPOSITORY": "rest:http://127.0.0.1:9/"}, "restic did not end within 3 seconds"),
    ],
)
def test_repository_that_cannot_be_opened_fails_at_once(
    backups: Backups, variables: dict[str, str], reason: str
) -> None:
    backups.scripts["dump"] = ': >"$DATABASE.read"; exit 1'
    assert backups.fail("backup", **variables, CHECK_SECONDS="3") == f"error: cannot open the repository: {reason}"
    assert not Path(f"{backups.database}.read").exists()


def test_lock_of_a_killed_backup_does_not_stop_the_next_one(backups: Backups) -> None:
    """restic deletes the lock of a process of this host at once, and of another host after 30 minutes."""
    for _ in range(2):
        backups.succeed("backup")
    with backups.start_backup() as process:
        process.kill()
    backups.succeed("backup")
    assert backups.count_snapshots() == 2
    assert not list((backups.repository / "locks").iterdir())


def test_snapshot_is_the_newest_one_an_id_or_of_a_time(backups: Backups) -> None:
    for time in ("2026-11-20 03:00:00", "2026-11-21 03:00:00"):
        backups.scripts["dump"] = f'echo table a; echo; echo "{time}"'
        backups.restic(
            *("backup", "--time", time, "--stdin-from-command", "--stdin-filename", "dump", "--"),
            *("sh", "-c", backups.scripts["dump"]),
        )
    ids = re.findall(r'"id":"([0-9a-f]{64})"', backups.restic("snapshots", "--json"))
    cases = {
        "latest": "21",
        ids[0][:8]: "20",
        ids[1]: "21",
        "2026-11-20 03:00": "20",
        "2026-11-21 02:59": "20",
        "2026-11-21 03:00:00": "21",
        "2027-01-01 00:00": "21",
    }
    for snapshot, day in cases.items():
        done = backups.run("snapshot", BACKUP=snapshot)
        assert (done.returncode, done.stdout) == (0, f"table a\n\n2026-11-{day} 03:00:00\n"), snapshot + done.stderr
    for snapshot in ("2026-11-20 02:59", "0" * 8):
        done = backups.run("snapshot", BACKUP=snapshot)
        assert (done.returncode, done.stdout) == (1, "")
        assert f"has no backup {snapshot}; it has:\n2026-11-20T03:00:00Z {ids[0]}\n" in done.stderr
    done = backups.run("snapshot", BACKUP="latest", RESTIC_PASSWORD="other")
    assert (done.returncode, done.stdout) == (1, "")
    assert "the repository password is wrong" in done.stderr


def test_backup_fills_an_empty_database(backups: Backups) -> None:
    backups.succeed("backup")
    target = backups.folder / "target"
    target.touch()
    backups.scripts["restore"] = 'cat >"$DATABASE"'
    variables = {"PRODUCER": "snapshot", "BACKUP": "latest", "TARGET_DATABASE": str(target)}
    assert backups.succeed("receive", **variables).startswith("copied 2 entries in ")
    assert target.read_text() == backups.database.read_text()


@pytest.mark.parametrize("part", ["data", "index"])
def test_damaged_backup_fills_nothing(backups: Backups, part: str) -> None:
    backups.succeed("backup")
    for path in (backups.repository / part).rglob("*"):
        if path.is_file():
            path.chmod(0o600)
            content = bytearray(path.read_bytes())
            content[len(content) // 2] ^= 1
            path.write_bytes(content)
    target = backups.folder / "target"
    target.touch()
    backups.scripts["restore"] = 'cat >"$DATABASE"'
    variables = {"PRODUCER": "snapshot", "BACKUP": "latest", "TARGET_DATABASE": str(target)}
    assert backups.fail("receive", **variables)
    assert target.read_text() == ""


def test_unchanged_data_is_stored_once(backups: Backups) -> None:
    backups.database.write_text("".join(f"table {number} {os.urandom(16).hex()}\n" for number in range(20000)))
    backups.succeed("backup")

    def measure() -> int:
        return sum(path.stat().st_size for path in (backups.repository / "data").rglob("*") if path.is_file())

    first = measure()
    backups.succeed("backup")
    assert measure() - first < first * 0.05


@pytest.fixture
def saved(backups: Backups) -> Backups:
    """Return a database with a backup."""
    backups.succeed("backup")
    backups.scripts |= VERIFY
    return backups


def test_verification_restores_the_newest_backup(saved: Backups) -> None:
    saved.database.write_text("table a 7\n")
    saved.succeed("backup")
    report = saved.succeed("verify")
    assert re.fullmatch(r"snapshot [0-9a-f]{8} of 20\S+Z can be restored: 1 entries, 21 bytes, in \d+ seconds", report)
    assert (saved.server / "data").read_text() == "table a 7\n"


def test_lack_of_memory_is_the_reason_of_a_failure(saved: Backups) -> None:
    events = saved.folder / "memory.events"
    saved.scripts["restore"] = "exit 137"
    for count, found in ((0, False), (1, True)):
        events.write_text(f"oom {count}\noom_kill {count}\n")
        reason = "the memory of the Pod does not suffice: the kernel ended a process"
        assert (reason in saved.fail("verify", MEMORY_EVENTS=str(events))) == found
        saved.scripts["dump"] = "exit 137"
        assert (reason in saved.fail("backup", MEMORY_EVENTS=str(events), ATTEMPTS="1")) == found


def test_report_has_the_number_of_entries_that_changed_during_the_backup(saved: Backups) -> None:
    saved.scripts["dump"] = (
        "printf '%s\\n' 'table a' 'changed: table b: ' | sh \"${0%/*}/begin\"; echo table a; echo table b: 1"
    )
    saved.succeed("backup")
    assert saved.succeed("verify").endswith("seconds; 1 entries changed during the backup")


def test_server_of_the_verification_gets_a_new_password_and_no_secret(saved: Backups) -> None:
    passwords = set()
    for _ in range(2):
        saved.succeed("verify")
        password, repository_password = (saved.server / "password").read_text().split()
        assert re.fullmatch("[0-9a-f]{48}", password)
        assert repository_password == "none"
        passwords.add(password)
    assert len(passwords) == 2


def test_verification_runs_beside_a_backup_and_takes_no_lock(saved: Backups) -> None:
    saved.scripts["restore"] = f'ls "{saved.repository}/locks" >"$SERVER/locks"; {RESTORE}'
    with saved.start_backup() as process:
        saved.succeed("verify")
        assert process.poll() is None
        process.kill()
    assert len((saved.server / "locks").read_text().split()) == 1


@pytest.mark.parametrize(
    ("scripts", "reason"),
    [
        ({"restore": "sed 's/2/3/' >\"$SERVER/data\""}, "the target differs from the source: 2 and 2 entries"),
        ({"restore": 'head -n 1 >"$SERVER/data"'}, "the target differs from the source: 2 and 1 entries"),
        ({"restore": "exit 4"}, "the restore failed with exit code 4 (source: "),
        ({"restore": f"{RESTORE}; exit 4"}, "the restore failed with exit code 4 (source: 0); the log has the reason"),
        ({"inventory": "echo rest of an old copy"}, "the target holds data: 1 entries; nothing was copied"),
    ],
)
def test_backup_that_cannot_be_restored_fails_the_verification(
    saved: Backups, scripts: dict[str, str], reason: str
) -> None:
    saved.scripts |= scripts
    report = saved.fail("verify")
    assert re.match(r"error: snapshot [0-9a-f]{8} of 20\S+Z cannot be restored: ", report)
    assert reason in report


def test_server_of_the_verification_that_does_not_start_is_reported(saved: Backups) -> None:
    reason = "error: the server for the verification did not start; the log has the reason"
    assert saved.fail("verify", START_SECONDS="2", SERVER="/missing") == reason
    saved.scripts["start"] = "echo no space >&2; exit 3"
    done = saved.run("verify")
    assert done.returncode != 0
    assert "no space" in done.stderr
    assert saved.report == reason


def test_old_backup_fails_the_verification(saved: Backups) -> None:
    def save(age: timedelta) -> None:
        for snapshot in json.loads(saved.restic("snapshots", "--json")):
            saved.restic("forget", snapshot["id"])
        time = f"{datetime.now() - age:%Y-%m-%d %H:%M:%S}"
        copy = "table a 2\n\ntable a 2\n"
        saved.restic("backup", "--stdin", "--stdin-filename", "dump", "--time", time, text=copy)

    save(timedelta(hours=25))
    saved.succeed("verify", MAX_AGE_SECONDS="172800")
    report = saved.fail("verify", MAX_AGE_SECONDS="86400")
    assert re.match(r"error: the newest backup is too old: snapshot [0-9a-f]{8} of 20\S+ \(limit: 24 hours\)$", report)
    save(timedelta(hours=-25))
    assert saved.fail("verify").startswith("error: the newest backup is from the future: snapshot ")


def test_verification_without_a_backup_fails(backups: Backups) -> None:
    backups.scripts |= VERIFY
    assert backups.fail("verify") == "error: the repository has no backup"


def test_damaged_repository_fails_the_verification(saved: Backups) -> None:
    saved.database.write_text("".join(f"table {number} {os.urandom(16).hex()}\n" for number in range(2000)))
    saved.succeed("backup")
    files = [path for path in (saved.repository / "data").rglob("*") if path.is_file()]
    for path in files:
        path.chmod(0o600)
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    report = saved.fail("verify", PARTS="1")
    assert report.startswith("error: the repository is damaged, or cannot be read: exit code 1")
    for path in files:
        path.unlink()
    assert saved.fail("verify", PARTS="12").startswith("error: the repository is damaged, or cannot be read: ")


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ({"RESTIC_PASSWORD": "other"}, "the repository password is wrong"),
        ({"RESTIC_REPOSITORY": "/missing"}, "the store has no repository /missing, or does not know the access key"),
        ({"RESTIC_REPOSITORY": "rest:http://127.0.0.1:9/"}, "restic did not end within 3 seconds"),
    ],
)
def test_repository_that_cannot_be_read_fails_the_verification(
    saved: Backups, variables: dict[str, str], reason: str
) -> None:
    assert saved.fail("verify", **variables, CHECK_SECONDS="3") == f"error: cannot read the repository: {reason}"
    assert not (saved.server / "password").exists()


# Stores that fail


RANDOM = 'echo table a 2 | sh "${0%/*}/begin"; head -c 60000000 /dev/urandom'
"""A dump that no store receives in a moment."""


def use_bucket(backups: Backups, port: int) -> None:
    """Configure the repository in the bucket of an S3 server."""
    backups.variables |= {
        "RESTIC_REPOSITORY": f"s3:http://localhost:{port}/backups/shop",
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "RESTIC_OPTIONS": "-o s3.bucket-lookup=path",
    }


@pytest.fixture
def store(new: Backups) -> Iterator[RunningStore]:
    """Run an S3 server, and create the repository in it."""
    with serve_s3(new.folder) as store:
        (store.folder / "backups").mkdir()
        use_bucket(new, store.port)
        new.succeed("init")
        new.succeed("backup")
        yield store


@pytest.mark.timeout(300)
def test_store_that_stalls_during_a_backup_ends_it(new: Backups, store: RunningStore) -> None:
    """restic waits longer than 25 minutes, and does not end with SIGTERM."""
    new.scripts["dump"] = f"{DUMP}; kill -STOP {store.process.pid}; head -c 50000000 /dev/urandom"
    assert new.fail("backup", LIMIT_SECONDS="8") == "error: nothing was saved: restic did not end within 8 seconds"
    store.process.send_signal(signal.SIGCONT)
    new.scripts["dump"] = DUMP
    new.succeed("backup")
    assert new.count_snapshots() == 2
    new.scripts |= VERIFY
    new.succeed("verify")


def test_store_that_stalls_fails_a_run_before_the_dump(new: Backups, store: RunningStore) -> None:
    new.scripts["dump"] = ': >"$DATABASE.read"; exit 1'
    store.process.send_signal(signal.SIGSTOP)
    assert (
        new.fail("backup", CHECK_SECONDS="2")
        == "error: cannot open the repository: restic did not end within 2 seconds"
    )
    assert not Path(f"{new.database}.read").exists()


@pytest.mark.timeout(300)
def test_store_that_stops_during_a_verification_fails_it(new: Backups, store: RunningStore) -> None:
    new.scripts |= VERIFY
    new.scripts["start"] = f"kill {store.process.pid}; {VERIFY['start']}"
    report = new.fail("verify", LIMIT_SECONDS="5")
    assert " cannot be restored: cannot read the source: exit code 1" in report


def test_another_access_key_is_rejected(new: Backups, store: RunningStore) -> None:
    # restic asks again for minutes, until the limit of the script.
    for variables in ({"AWS_ACCESS_KEY_ID": "other"}, {"AWS_SECRET_ACCESS_KEY": "other"}):
        variables["CHECK_SECONDS"] = "10"
        assert new.fail("backup", **variables).startswith("error: cannot open the repository: ")
        assert new.fail("verify", **variables).startswith("error: cannot read the repository: ")
    assert store.process.poll() is None


def test_two_backups_at_once_are_both_saved(saved: Backups) -> None:
    with saved.start_backup() as process:
        saved.succeed("backup", KEEP="")
        assert process.poll() is None
        process.kill()
    assert saved.count_snapshots() == 2


def test_old_backups_are_retained_while_another_backup_runs(saved: Backups) -> None:
    """The message names the snapshot that was saved: only the deletion failed."""
    for _ in range(2):
        saved.succeed("backup", KEEP="")
    with saved.start_backup() as process:
        report = saved.fail("backup", LIMIT_SECONDS="4")
        process.kill()
    assert re.match(r"error: snapshot [0-9a-f]{8} was saved, but old ones were not deleted: ", report)
    assert saved.count_snapshots() == 4
    saved.succeed("backup")
    assert saved.count_snapshots() == 2


def test_append_only_store_is_saved_and_verified(new: Backups) -> None:
    with serve_rest(new.folder, arguments=("--append-only",)) as store:
        new.variables |= {
            "RESTIC_REPOSITORY": f"rest:{store.url}/shop.mysql.main/",
            "RESTIC_REST_USERNAME": USERNAME,
            "RESTIC_REST_PASSWORD": STORE_PASSWORD,
        }
        new.succeed("init")
        for _ in range(3):
            new.succeed("backup", KEEP="")
        assert new.count_snapshots() == 3
        new.scripts |= VERIFY
        new.succeed("verify")


@pytest.mark.timeout(300)
def test_full_store_fails_the_backup_until_it_has_space(new: Backups) -> None:
    """restic repeats the write for 15 minutes."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small file system")
    disk, metadata = new.folder / "s3", new.folder / "metadata"
    for folder in (disk, metadata):
        folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", disk], check=True)
    try:
        (disk / "backups").mkdir()
        with serve_s3(new.folder, backend_arguments=("--sidecar", str(metadata))) as store:
            use_bucket(new, store.port)
            new.succeed("init")
            new.succeed("backup")
            new.scripts["dump"] = RANDOM
            assert (
                new.fail("backup", LIMIT_SECONDS="8") == "error: nothing was saved: restic did not end within 8 seconds"
            )
            subprocess.run(["mount", "-o", "remount,size=256m", disk], check=True)
            assert new.count_snapshots() == 1
            new.scripts["dump"] = DUMP
            new.succeed("backup")
            assert new.count_snapshots() == 2
            new.scripts |= VERIFY
            new.succeed("verify")
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)


@pytest.mark.timeout(300)
def test_slow_store_is_used_up_to_the_limit(new: Backups, store: RunningStore) -> None:
    proxy = Proxy(store.port, bytes_per_second=500_000)
    use_bucket(new, proxy.port)
    new.scripts["dump"] = RANDOM.replace("60000000", "1000000")
    new.succeed("backup")
    assert new.count_snapshots() == 2
    new.scripts["dump"] = RANDOM
    assert new.fail("backup", LIMIT_SECONDS="8") == "error: nothing was saved: restic did not end within 8 seconds"
    use_bucket(new, store.port)
    assert new.count_snapshots() == 2
    new.scripts["dump"] = DUMP
    new.succeed("backup")


@pytest.mark.timeout(300)
def test_restore_whose_connection_ends_is_no_copy(new: Backups, store: RunningStore) -> None:
    new.scripts["dump"] = RANDOM
    new.succeed("backup")
    target, half = new.folder / "target", new.folder / "half"
    target.touch()
    proxy = Proxy(store.port)
    new.scripts["restore"] = f'head -c 20000000 >"$DATABASE"; : >"{half}"; sleep 2; cat >>"$DATABASE"'
    new.scripts["empty"] = ': >"$DATABASE"'
    new.scripts["inventory"] = 'if [ -s "$DATABASE" ]; then echo table a 2; fi'
    variables = {"PRODUCER": "snapshot", "BACKUP": "latest", "TARGET_DATABASE": str(target)}

    def cut() -> None:
        while not half.exists():
            sleep(0.01)
        proxy.cut()

    threading.Thread(target=cut, daemon=True).start()
    use_bucket(new, proxy.port)
    report = new.fail("receive", **variables, LIMIT_SECONDS="8")
    assert re.fullmatch(r"the source failed with exit code \d+; the log has the reason", report)
    assert target.stat().st_size < 60_000_000
    use_bucket(new, store.port)
    assert "the target holds data" in new.fail("receive", **variables)
    new.succeed("receive", **variables, OVERWRITE="true")
    assert target.stat().st_size == 60_000_000


class Skewed(http.server.BaseHTTPRequestHandler):
    """Answers as S3 does if the clocks differ by more than 15 minutes."""

    def do_GET(self) -> None:
        body = b"<Error><Code>RequestTimeTooSkewed</Code><Message>wrong clock</Message></Error>"
        self.send_response(403)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_PUT = do_POST = do_GET  # noqa: N815 (names of the base class)

    def log_message(self, *_: object) -> None:
        """Print nothing."""


def test_wrong_clock_fails_a_run_before_the_dump(new: Backups, store: RunningStore) -> None:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Skewed) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        use_bucket(new, server.server_port)
        new.scripts["dump"] = ': >"$DATABASE.read"; exit 1'
        assert new.fail("backup", CHECK_SECONDS="5").startswith("error: cannot open the repository: ")
        server.shutdown()
    assert not Path(f"{new.database}.read").exists()
    use_bucket(new, store.port)
    new.scripts["dump"] = DUMP
    new.succeed("backup")
    assert new.count_snapshots() == 2


def test_restore_into_a_running_server_needs_no_prefix(backups: Backups) -> None:
    """The Job of a restore has the variables of the target, and those of the repository."""
    backups.scripts = {**VERIFY, "begin": BEGIN, "dump": DUMP}
    backups.succeed("backup")
    message = backups.succeed("receive", PRODUCER="snapshot", BACKUP="latest", ADDRESS="127.0.0.1")
    assert message.startswith("copied 2 entries in ")
    assert (backups.server / "data").read_text() == backups.database.read_text()
