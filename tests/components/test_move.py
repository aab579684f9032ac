"""The script of a copy, with scripts of an engine that read and write files."""

import os
import shlex
import subprocess
from pathlib import Path

import pytest

from components.engines.definition import BEGIN

ROOT = Path(__file__).resolve().parents[2]
RECEIVE = ROOT / "components" / "copies" / "scripts" / "receive.sh"
SCRIPTS = {
    "begin": BEGIN,
    "dump": 'sh "${0%/*}/inventory" >"$WORK/lines"; sh "${0%/*}/begin" <"$WORK/lines"; cat "$DATABASE"',
    "restore": 'cat >"$DATABASE"',
    "inventory": 'sort "$DATABASE"',
    "empty": ': >"$DATABASE"',
}


class Copy:
    """A source, a target and the scripts between them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.scripts = folder, dict(SCRIPTS)
        self.source, self.target = folder / "source $(x)", folder / "target"
        self.source.write_text("table a 2\ntable b 3\n")
        self.target.write_text("")

    def run(self, **variables: str) -> subprocess.CompletedProcess[str]:
        for name, content in self.scripts.items():
            (self.folder / name).write_text(f"set -eu\n{content}\n")
        (self.folder / "write").write_text(RECEIVE.with_name("write.sh").read_text())
        (self.folder / "work").mkdir(exist_ok=True)
        env = {
            "PATH": os.environ["PATH"],
            "SCRIPTS": str(self.folder),
            "WORK": str(self.folder / "work"),
            "REPORT": str(self.folder / "report"),
            "ATTEMPTS": "2",
            "DELAY_SECONDS": "0",
            "SOURCE_DATABASE": str(self.source),
            "TARGET_DATABASE": str(self.target),
            **variables,
        }
        return subprocess.run(["sh", RECEIVE], env=env, capture_output=True, text=True, timeout=30, check=False)

    @property
    def report(self) -> str:
        """The last message."""
        return (self.folder / "report").read_text().strip()


@pytest.fixture
def copy(tmp_path: Path) -> Copy:
    return Copy(tmp_path)


def test_target_equals_the_source(copy: Copy) -> None:
    assert copy.run().returncode == 0
    assert copy.target.read_text() == copy.source.read_text()
    assert copy.report.startswith("copied 2 entries in ")


def test_data_of_the_target_is_not_overwritten(copy: Copy) -> None:
    copy.target.write_text("table own 1\n")
    assert copy.run().returncode == 1
    assert copy.target.read_text() == "table own 1\n"
    assert copy.report == "the target holds data: 1 entries; nothing was copied"


def test_overwrite_empties_the_target(copy: Copy) -> None:
    copy.target.write_text("table own 1\n")
    assert copy.run(OVERWRITE="true").returncode == 0
    assert copy.target.read_text() == copy.source.read_text()


def test_overwrite_changes_nothing_if_the_source_cannot_be_read(copy: Copy) -> None:
    copy.target.write_text("table own 1\n")
    copy.scripts["dump"] = "exit 3"
    assert copy.run(OVERWRITE="true").returncode == 1
    assert copy.target.read_text() == "table own 1\n"
    assert copy.report == "cannot read the source: exit code 3; the log has the reason"


@pytest.mark.parametrize(
    ("script", "content", "report"),
    [
        (
            "dump",
            'sh "${0%/*}/begin" </dev/null; echo row; exit 4',
            "the source failed with exit code 4; the log has the reason",
        ),
        ("dump", "echo table a 2; exit 0", "cannot read the source: exit code 1; the log has the reason"),
        ("dump", "echo refused >&2; exit 3", "cannot read the source: exit code 3; the log has the reason"),
        (
            "restore",
            "cat >/dev/null; exit 5",
            "the restore failed with exit code 5 (source: 0); the log has the reason",
        ),
        ("inventory", "exit 6", "cannot read the target; the log has the reason"),
    ],
)
def test_failure_of_a_script_fails_the_copy(copy: Copy, script: str, content: str, report: str) -> None:
    copy.scripts[script] = content
    result = copy.run()
    assert result.returncode == 1
    assert copy.report == report
    assert ("refused" in result.stderr) == ("refused" in content)


def test_restore_that_ends_early_ends_the_source(copy: Copy) -> None:
    copy.scripts |= {"restore": "exit 7", "dump": 'sh "${0%/*}/begin" </dev/null; while :; do echo row; done'}
    assert copy.run().returncode == 1
    assert copy.report.startswith("the restore failed with exit code 7")


def test_failure_of_empty_fails_the_copy(copy: Copy) -> None:
    copy.target.write_text("table own 1\n")
    copy.scripts["empty"] = "exit 8"
    assert copy.run(OVERWRITE="true").returncode == 1
    assert copy.report == "cannot empty the target; the log has the reason"


@pytest.mark.parametrize(
    ("source", "target", "differences"),
    [
        ("table a", "table a", ""),
        (
            "table a 2\ntable b 3",
            "table a 2\ntable b 2",
            "only in the source: table b 3\nonly in the target: table b 2\n",
        ),
        ("table a\ntable a b", "table a b", "only in the source: table a\n"),
        ("in 15: view v: 1\ntable a", "in 17: view v: 2\ntable a", ""),
        (
            "in 15: view v: 1",
            "in 15: view v: 2",
            "only in the source: in 15: view v: 1\nonly in the target: in 15: view v: 2\n",
        ),
        ("in 15: view v: 1\ntable a", "table a", "only in the source: in 15: view v: 1\n"),
        ("in 1: v", "in 15: v", ""),
        ("key a, next at least 5", "key a, next at least 7", ""),
        ("key a, next at least -5", "key a, next at least 3", ""),
        (
            "key a, next at least 9223372036854775807",
            "key a, next at least 9223372036854775806",
            "only in the source: key a, next at least 9223372036854775807\n"
            "only in the target: key a, next at least 9223372036854775806\n",
        ),
        (
            "key a at least 5",
            "key b at least 5",
            "only in the source: key a at least 5\nonly in the target: key b at least 5\n",
        ),
        ("key [a* at least 5", "key [a* at least 6", ""),
        ("until 1700000000: keys: 2\nuntil 1700003600: keys: 1", "until 1700000000: keys: 1", ""),
        ("table a\nchanged: hash of b: \nchanged: table c", "table a\nhash of b: 5\ntable c 1\ntable c 2", ""),
        ("changed: a: \ntable b", "a: 5\nab: 6\ntable b", "only in the target: ab: 6\n"),
        ("table [b*: 1\nchanged: hash of [b*: ", "hash of [b*: 7", "only in the source: table [b*: 1\n"),
        (
            "until 99999999999: keys: 2",
            "until 99999999999: keys: 1",
            "only in the source: until 99999999999: keys: 2\nonly in the target: until 99999999999: keys: 1\n",
        ),
    ],
)
def test_difference_fails_the_copy(copy: Copy, source: str, target: str, differences: str) -> None:
    copy.source.write_text(f"{source}\n")
    target_text = f"{target}\n"
    copy.scripts["restore"] = f'cat >/dev/null; printf %s {shlex.quote(target_text)} >"$DATABASE"'
    result = copy.run()
    assert result.returncode == (1 if differences else 0)
    assert result.stderr.startswith(differences)
    counts = f"{source.count(chr(10)) + 1} and {target.count(chr(10)) + 1} entries"
    assert copy.report.startswith(f"the target differs from the source: {counts}" if differences else "copied ")


def test_report_has_the_number_of_entries_that_changed_during_the_dump(copy: Copy) -> None:
    copy.source.write_text("table a\nchanged: table b: \n")
    copy.scripts["restore"] = 'cat >/dev/null; printf "table a\\ntable b: 1\\n" >"$DATABASE"'
    result = copy.run()
    assert "not compared, because it changed during the dump: table b\n" in result.stdout
    assert copy.report.endswith("both sides are equal, except 1 that changed during the dump")


def test_writes_during_the_copy_are_no_difference(copy: Copy) -> None:
    """The inventory of the copy counts, not that of the source."""
    copy.scripts["restore"] = f'cat >"$DATABASE"; echo table c 1 >>{shlex.quote(str(copy.source))}'
    assert copy.run().returncode == 0
    assert copy.target.read_text() == "table a 2\ntable b 3\n"


def test_another_script_can_write_the_copy(copy: Copy) -> None:
    copy.scripts["snapshot"] = "echo table s; echo; echo table s"
    assert copy.run(PRODUCER="snapshot").returncode == 0
    assert copy.target.read_text() == "table s\n"


def test_source_that_answers_later_is_copied(copy: Copy) -> None:
    copy.scripts["dump"] = f'[ -e "$DATABASE.seen" ] || {{ : >"$DATABASE.seen"; exit 1; }}; {SCRIPTS["dump"]}'
    assert copy.run().returncode == 0
    assert copy.target.read_text() == copy.source.read_text()


def test_new_pod_waits_for_the_server(copy: Copy) -> None:
    copy.scripts["inventory"] = (
        'if [ -e "$DATABASE.seen" ]; then sort "$DATABASE"; else : >"$DATABASE.seen"; exit 1; fi'
    )
    assert copy.run().returncode == 0
