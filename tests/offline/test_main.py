"""`python -m offline STACK` reports errors in words, with exit code 1, and then writes nothing."""

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
VALID = "config:\n  database-groups:applications: {shop: {databases: {redis: {main: }}}}\n"
ENCRYPTED = f"""\
config:
  externalServers:
    hq: {{engine: mysql, host: db.example.org, administrator: {{username: root, password: {{secure: {CANARY}}}}}}}
  applications: {{shop: {{databases: {{mysql: {{main: {{server: {{kind: external, provisionOn: hq}}}}}}}}}}}}
"""
INVALID = """\
config:
  database-groups:applications:
    shop:
      databases:
        redis:
          main:
            primry: 1
            server: {kind: external, host: 127.0.0.1, password: [c4narY-5ecret]}
"""
RenderCommand = Callable[..., int]


@pytest.fixture
def render(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RenderCommand:
    """Write the stack file `test` into another project with this program, and run the command."""
    (tmp_path / "stacks").mkdir()
    shutil.copy(ROOT / "__main__.py", tmp_path)
    monkeypatch.setattr(command, "ROOT", tmp_path)
    monkeypatch.setattr(command, "render_stack", functools.partial(command.render_stack, folder=tmp_path / "stacks"))

    def run(text: str, *options: str) -> int:
        (tmp_path / "stacks" / "Pulumi.test.yaml").write_text(text)
        return command.main(["test", *options])

    return run


def rendered_files(tmp_path: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in (tmp_path / "rendered" / "test").iterdir()}


def test_valid_stack_is_printed_and_written(
    render: RenderCommand, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert render(VALID) == 0
    assert set(rendered_files(tmp_path)) == {"diagram.md", "index.html", "shop.yaml"}
    printed = capsys.readouterr()
    for text in (
        "shop: namespace shop",
        "REDIS_URL",
        "Manifests and diagram: rendered/test/",
        "Page: rendered/test/index.html",
    ):
        assert text in printed.out
    assert printed.err == ""


def test_short_form_has_one_line_per_group(render: RenderCommand, capsys: pytest.CaptureFixture[str]) -> None:
    assert render(VALID, "--short") == 0
    short = capsys.readouterr().out
    assert render(VALID, "--long") == 0
    assert ("REDIS_URL" in short, "REDIS_URL" in capsys.readouterr().out) == (False, True)
    assert "redis.main" in short


def test_files_of_an_earlier_run_are_removed(render: RenderCommand, tmp_path: Path) -> None:
    assert render(VALID) == 0
    assert render(VALID.replace("shop", "web")) == 0
    assert set(rendered_files(tmp_path)) == {"diagram.md", "index.html", "web.yaml"}


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (
            "",
            [
                "error: stacks/Pulumi.test.yaml has 1 error:",
                "  the file is empty; add the map 'config' with the keys of the stack",
            ],
        ),
        (
            "config: {a: b",
            [
                "error: stacks/Pulumi.test.yaml has 1 error:",
                "  line 2, column 1: invalid YAML: the '{' on line 1 is not closed; add ',' or '}'",
            ],
        ),
        (
            "config:\n  applications: {a: 1}\n  applications: {b: 1}\n",
            [
                "error: stacks/Pulumi.test.yaml has 1 error:",
                "  line 3: duplicate key 'applications' (first on line 2); remove one",
            ],
        ),
        (
            INVALID,
            [
                "error: stacks/Pulumi.test.yaml has 3 errors; nothing was changed:",
                "  line 7: applications.shop.databases.redis.main.primry: unknown key; did you mean 'primary'?",
                "  line 8: applications.shop.databases.redis.main.server.host: loopback address: Pods cannot reach it;"
                " use an address that is reachable from the cluster",
                "  line 8: applications.shop.databases.redis.main.server.password: expected text or `{secure: …}`"
                '; to set it, run: make pulumi STACK=test ARGS="config set --secret --path'
                " 'database-groups:applications.shop.databases.redis.main.server.password'\"",
            ],
        ),
    ],
    ids=["empty file", "invalid YAML", "duplicate key", "invalid stack"],
)
def test_invalid_file_is_reported_with_lines_and_nothing_is_written(
    render: RenderCommand, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, lines: list[str]
) -> None:
    assert render(VALID) == 0
    before = rendered_files(tmp_path)
    capsys.readouterr()
    assert render(text) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.splitlines() == lines
    assert CANARY not in printed.err
    assert rendered_files(tmp_path) == before


def test_warning_has_its_level_and_its_line(render: RenderCommand, capsys: pytest.CaptureFixture[str]) -> None:
    assert render(ENCRYPTED.replace("{secure: " + CANARY + "}", CANARY)) == 0
    printed = capsys.readouterr()
    assert printed.err.startswith(
        "warning: stacks/Pulumi.test.yaml: line 3: externalServers.hq.administrator.password:"
    )
    assert CANARY not in printed.err + printed.out


def test_encrypted_password_causes_no_warning(
    render: RenderCommand, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert render(ENCRYPTED) == 0
    printed = capsys.readouterr()
    assert "mysql.main  mysql    external  mysql    mysql-main  false    db.example.org:3306  not set" in printed.out
    assert printed.err == ""
    assert CANARY not in printed.out + "".join(rendered_files(tmp_path).values())


def test_unknown_stack_is_reported_with_the_existing_ones(
    render: RenderCommand, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert render(VALID) == 0
    capsys.readouterr()
    assert command.main(["nosuch"]) == 1
    expected = "error: stacks/Pulumi.nosuch.yaml has 1 error:\n  the file does not exist; existing stacks: test\n"
    assert capsys.readouterr() == ("", expected)
    assert not (tmp_path / "rendered" / "nosuch").exists()


@pytest.mark.parametrize("arguments", [[], ["a", "b"], ["a", "--short", "--long"]], ids=["none", "two", "both"])
def test_wrong_call_prints_the_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match=r"^2$"):
        command.main(arguments)
    printed = capsys.readouterr()
    assert (printed.out, printed.err.splitlines()[0]) == ("", "usage: python -m offline [-h] [--short | --long] STACK")


def test_error_on_the_command_line_has_no_traceback() -> None:
    process = subprocess.run(
        [sys.executable, "-m", "offline", "no-such-stack"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (process.returncode, process.stdout) == (1, "")
    assert process.stderr.startswith("error: stacks/Pulumi.no-such-stack.yaml has 1 error:\n")
    assert "existing stacks: development, production" in process.stderr
    assert not (ROOT / "rendered" / "no-such-stack").exists()
