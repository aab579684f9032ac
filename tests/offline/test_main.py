"""`python -m offline STACK` says what is wrong in words, with exit code 1, and then has written nothing."""

import functools
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import offline.__main__ as command
from tests.support import CANARY

ROOT = Path(command.__file__).resolve().parent.parent
GOOD = "config:\n  database-groups:applications: {shop: {databases: {redis: {main: }}}}\n"
Command = Callable[[str], int]


@pytest.fixture
def run_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Writes the stack file `test` to a project of its own, whose program is ours, and runs the command."""
    (tmp_path / "stacks").mkdir()
    shutil.copy(ROOT / "__main__.py", tmp_path)
    monkeypatch.setattr(command, "ROOT", tmp_path)
    monkeypatch.setattr(command, "record", functools.partial(command.render_stack, folder=tmp_path / "stacks"))

    def run(text: str) -> int:
        (tmp_path / "stacks" / "Pulumi.test.yaml").write_text(text)
        return command.main(["test"])

    return run


def test_a_good_stack_is_written_and_said(
    run_with: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_with(GOOD) == 0
    assert sorted(path.name for path in (tmp_path / "rendered" / "test").iterdir()) == ["diagram.md", "shop.yaml"]
    told = capsys.readouterr()
    assert "shop: namespace shop" in told.out
    assert "REDIS_URL" in told.out
    assert "manifests and diagram: rendered/test/" in told.out
    assert told.err == ""


def test_what_an_earlier_run_wrote_does_not_stay(run_with: Command, tmp_path: Path) -> None:
    assert run_with(GOOD) == 0
    assert run_with(GOOD.replace("shop", "web")) == 0
    assert sorted(path.name for path in (tmp_path / "rendered" / "test").iterdir()) == ["diagram.md", "web.yaml"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("config: {a: b", "error: Pulumi.test.yaml is not YAML: line 2, column 1\n"),
        ("", "error: Pulumi.test.yaml is not a stack file: it has no map named 'config'\n"),
        (
            "config: {}",
            "error: the stack's configuration has 1 mistake; nothing was changed:\n  applications: is missing\n",
        ),
        (
            GOOD.replace(
                "main: ", "main: {server: {kind: external, host: 127.0.0.1, password: [" + CANARY + "]}, primry: 1}"
            ),
            "error: the stack's configuration has 3 mistakes; nothing was changed:\n"
            "  applications.shop.databases.redis.main.primry: is not a known key; did you mean 'primary'?\n"
            "  applications.shop.databases.redis.main.server.host: '127.0.0.1' is a loopback address, which from a Pod is the Pod itself;"
            " give the address that the cluster reaches the server at\n"
            "  applications.shop.databases.redis.main.server.password: must be text\n",
        ),
        (
            "config:\n  database-groups:applications: words\n",
            "error: the stack's configuration has 1 mistake; nothing was changed:\n  applications: must be a map of keys and values\n",
        ),
    ],
    ids=["broken YAML", "empty file", "no applications", "invalid stack", "applications are words"],
)
def test_a_bad_stack_file_is_told_and_nothing_is_written(
    run_with: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, said: str
) -> None:
    assert run_with(text) == 1
    told = capsys.readouterr()
    assert told.out == ""
    if text == "config: {a: b":
        assert told.err.startswith("error: Pulumi.test.yaml is not YAML: line ")
        assert told.err.count("\n") == 1
    else:
        assert told.err == said
    assert CANARY not in told.err
    assert not (tmp_path / "rendered").exists()


def test_a_bad_stack_file_leaves_what_was_written_before(run_with: Command, tmp_path: Path) -> None:
    assert run_with(GOOD) == 0
    before = {path.name: path.read_text() for path in (tmp_path / "rendered" / "test").iterdir()}
    assert run_with("config: {}") == 1
    assert {path.name: path.read_text() for path in (tmp_path / "rendered" / "test").iterdir()} == before


def test_an_unknown_stack_is_told_with_the_known_ones(
    run_with: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_with(GOOD) == 0
    capsys.readouterr()
    assert command.main(["nosuch"]) == 1
    assert capsys.readouterr() == ("", "error: there is no stack 'nosuch' in stacks/; there are: test\n")
    assert not (tmp_path / "rendered" / "nosuch").exists()


@pytest.mark.parametrize("arguments", [[], ["a", "b"]], ids=["none", "two"])
def test_a_wrong_call_is_told_how_to_call(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(arguments) == 2
    assert capsys.readouterr() == ("", "usage: python -m offline STACK\n")


def test_the_key_on_reaches_the_program_and_an_encrypted_password_is_no_warning(
    run_with: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stack = f"""\
config:
  database-groups:servers:
    hq: {{engine: mysql, host: db.example.org, administrator: {{username: root, password: {{secure: {CANARY}}}}}}}
  database-groups:applications: {{shop: {{databases: {{mysql: {{main: {{server: {{kind: external, on: hq}}}}}}}}}}}}
"""
    assert run_with(stack) == 0
    told = capsys.readouterr()
    assert "mysql.main  mysql    -        external  mysql    mysql-main" in told.out
    assert "plain text" not in told.err + told.out
    assert CANARY not in told.out + "".join(path.read_text() for path in (tmp_path / "rendered" / "test").iterdir())


def test_from_the_command_line_a_mistake_has_no_traceback() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "offline", "no-such-stack"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr.startswith("error: there is no stack 'no-such-stack' in stacks/; there are: ")
    assert {"development", "production"} <= set(ran.stderr.strip().rpartition(": ")[2].split(", "))
    assert ran.stderr.count("\n") == 1
    assert not (ROOT / "rendered" / "no-such-stack").exists()
