"""The script of a copy, with scripts of an engine that read and write files."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MOVE = ROOT / "components" / "copies" / "scripts" / "move.sh"
SCRIPTS = {
    "dump": 'cat "$DATABASE"',
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
        return subprocess.run(["sh", MOVE], env=env, capture_output=True, text=True, timeout=30, check=False)

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


@pytest.mark.parametrize(
    ("script", "content", "report"),
    [
        ("dump", 'cat "$DATABASE"; exit 4', "the dump failed with exit code 4; the log has the reason"),
        (
            "restore",
            "cat >/dev/null; exit 5",
            "the restore failed with exit code 5 (dump: 0); the log has the reason",
        ),
        ("inventory", "exit 6", "cannot read the SOURCE database; the log has the reason"),
    ],
)
def test_failure_of_a_script_fails_the_copy(copy: Copy, script: str, content: str, report: str) -> None:
    copy.scripts[script] = content
    assert copy.run().returncode == 1
    assert copy.report == report


def test_restore_that_ends_early_ends_the_dump(copy: Copy) -> None:
    copy.scripts |= {"restore": "exit 7", "dump": "while :; do echo row; done"}
    assert copy.run().returncode == 1
    assert copy.report.startswith("the restore failed with exit code 7")


def test_failure_of_empty_fails_the_copy(copy: Copy) -> None:
    copy.target.write_text("table own 1\n")
    copy.scripts["empty"] = "exit 8"
    assert copy.run(OVERWRITE="true").returncode == 1
    assert copy.report == "cannot empty the target; the log has the reason"


def test_difference_fails_the_copy(copy: Copy) -> None:
    copy.scripts["restore"] = 'sed "s/b 3/b 2/" >"$DATABASE"'
    result = copy.run()
    assert result.returncode == 1
    assert "only in the source: table b 3\nonly in the target: table b 2\n" in result.stderr
    assert copy.report == "the copy differs from the source: 2 and 2 entries"


def test_new_pod_waits_for_the_server(copy: Copy) -> None:
    copy.scripts["inventory"] = (
        'if [ -e "$DATABASE.seen" ]; then sort "$DATABASE"; else : >"$DATABASE.seen"; exit 1; fi'
    )
    assert copy.run().returncode == 0
