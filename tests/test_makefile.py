"""The targets of the Makefile: which commands of Pulumi they run, with which state, and what stops them."""

import os
import pty
import re
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
PULUMI = """#!/bin/sh
echo "$*" >>"$LOG"
echo "$PULUMI_STACK $PULUMI_BACKEND_URL $PULUMI_CONFIG_PASSPHRASE_FILE" >"$LOG.environment"
case $* in
"stack --stack "*) [ -f "$LOG.exists" ] || { echo "error: ${ERROR:-no stack named \\'x\\' found}" >&2; exit 6; } ;;
esac
"""
PYTHON = """#!/bin/sh
echo "python $*" >>"$LOG"
case $* in *validate*) [ ! -f "$LOG.invalid" ] ;; esac
"""
CURL = """#!/bin/sh
echo "curl $*" >>"$LOG"
echo 'echo "install $*" >>"$LOG"; mkdir -p "$HOME/.pulumi/bin"; cp "$LOG.pulumi" "$HOME/.pulumi/bin/pulumi"'
"""
STACK_TARGETS = (
    "render",
    "up",
    "preview",
    "destroy",
    "refresh",
    "config",
    "outputs",
    "pulumi",
    "check",
    "status",
    "backup",
    "backups",
    "operators",
    "restore",
)
MISSING_FILE = "error: stacks/Pulumi.prodution.yaml does not exist; existing stacks: development, production"
LOCAL = "state: .state in this folder, for this clone only; back it up. For a team, move it: docs/teams.md"
VALIDATE = "python -m stacks validate {1}"
VALIDATED = VALIDATE.format("", "development")
UNRECORDED = "python -m stacks unrecorded {0}"
SHOW, INIT = "stack --stack {0} --show-name --non-interactive", "stack init --no-select {0}"


class Clone:
    """A copy of the Makefile and its script, with programs that log their arguments."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "clone"
        self.log = folder / "log"
        shutil.copytree(ROOT / "scripts", self.folder / "scripts")
        shutil.copytree(
            ROOT / "stacks", self.folder / "stacks", ignore=lambda _, names: [n for n in names if n[:7] != "Pulumi."]
        )
        for name in ("Makefile", "Pulumi.yaml", "requirements.txt"):
            shutil.copy(ROOT / name, self.folder)
        self.programs = folder / "bin"
        self.write(self.programs / "pulumi", PULUMI)
        self.write(self.programs / "curl", CURL)
        self.write(folder / "log.pulumi", PULUMI)
        self.write(self.folder / ".venv" / "bin" / "python", PYTHON)
        (self.folder / ".venv" / ".installed").touch()
        (folder / "log.exists").touch()
        self.home = folder / "home"
        self.home.mkdir()
        self.environment = {
            "PATH": f"{self.programs}:/usr/bin:/bin",
            "HOME": str(self.home),
            "LOG": str(self.log),
        }

    @staticmethod
    def write(path: Path, program: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(program)
        path.chmod(0o755)

    def make(self, *arguments: str, **options: Any) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            ["make", "--no-print-directory", *arguments],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            **{"stdin": subprocess.DEVNULL, **options},
        )

    def remove_pulumi(self) -> None:
        (self.programs / "pulumi").unlink()

    @property
    def commands(self) -> list[str]:
        """The commands that ran."""
        return self.log.read_text().splitlines() if self.log.exists() else []

    @property
    def backend(self) -> list[str]:
        """The stack, the backend and the passphrase file of the last command of Pulumi."""
        return (self.log.parent / "log.environment").read_text().split()


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    assert not shutil.which("pulumi", path="/usr/bin:/bin")
    return Clone(tmp_path)


@pytest.mark.parametrize("target", STACK_TARGETS)
@pytest.mark.parametrize("stack", ["prodution", "organization/project/prodution"])
def test_a_stack_file_that_does_not_exist_stops_every_target(clone: Clone, target: str, stack: str) -> None:
    result = clone.make(target, f"STACK={stack}")
    assert result.returncode
    assert result.stderr.splitlines()[0] == MISSING_FILE
    assert clone.commands == []
    assert not (clone.folder / ".state").exists()


@pytest.mark.parametrize(
    ("arguments", "commands"),
    [
        (["up"], [VALIDATE, SHOW, "up --stack {0}"]),
        (["up", "YES=1", "ARGS=--diff"], [VALIDATE, SHOW, "up --stack {0} --yes --diff"]),
        (["preview", "ARGS=--diff"], [VALIDATE, SHOW, "preview --stack {0} --diff"]),
        (["destroy"], [UNRECORDED, "destroy --stack {0} --refresh"]),
        (["destroy", "YES=1"], [UNRECORDED, "destroy --stack {0} --refresh --yes"]),
        (["refresh", "YES=1"], ["refresh --stack {0} --yes"]),
        (["config"], [SHOW, "config --stack {0}"]),
        (["outputs", "ARGS=--json"], ["stack output --stack {0} --json"]),
        (["pulumi", "ARGS=stack history"], ["stack history"]),
        (["pulumi", "ARGS=config set --secret 'a b' c"], [SHOW, "config set --secret a b c"]),
        (["check"], [VALIDATE, SHOW, "python -m stacks check {0}"]),
        (["status", "ARGS=--json"], ["python -m status {0} --json"]),
        (["backup", "GROUP=a.b.c"], ["python -m backups backup {0} --group a.b.c"]),
        (["backup", "GROUP=a.b.c", "VERIFY=1"], ["python -m backups backup {0} --group a.b.c --verify"]),
        (["backups", "ARGS=--json"], ["python -m backups backups {0} --group  --json"]),
        (["operators"], ["python -m stacks operators {1}"]),
        (
            ["restore", "GROUP=a.b.c", "SNAPSHOT=2026-11-24 03:00", "INTO=a.b.d", "OVERWRITE=1"],
            ["python -m backups restore {0} --group a.b.c --snapshot 2026-11-24 03:00 --into a.b.d --overwrite"],
        ),
        (["render"], ["python -m offline {1}"]),
        (["render", "ARGS=--short"], ["python -m offline {1} --short"]),
    ],
)
@pytest.mark.parametrize("stack", ["development", "acme/production"])
def test_a_target_runs_one_command_for_its_stack(
    clone: Clone, arguments: list[str], commands: list[str], stack: str
) -> None:
    result = clone.make(*arguments, f"STACK={stack}")
    assert (result.returncode, result.stdout) == (0, "")
    assert clone.commands == [command.format(stack, stack.rpartition("/")[2]) for command in commands]
    shown = [line for line in result.stderr.splitlines() if line.startswith("pulumi ")]
    last = clone.commands[-1]
    assert shown == ([f"pulumi {last}"] if f"--stack {stack}" in last else [])


@pytest.mark.parametrize("target", ["up", "preview", "check"])
def test_a_file_with_errors_stops_before_pulumi_runs(clone: Clone, target: str) -> None:
    (clone.log.parent / "log.invalid").touch()
    assert clone.make(target).returncode
    assert clone.commands == [VALIDATED]
    assert not (clone.folder / ".state").exists()


def test_an_argument_that_may_be_a_password_is_not_shown(clone: Clone) -> None:
    result = clone.make("pulumi", "ARGS=config set --secret key Canary --stack development")
    assert clone.commands[-1] == "config set --secret key Canary --stack development"
    assert "Canary" not in result.stderr


@pytest.mark.parametrize(
    ("target", "creates"),
    [("up", True), ("preview", True), ("config", True), ("check", True), ("destroy", False), ("outputs", False)],
)
def test_a_stack_is_created_only_before_its_first_update(clone: Clone, target: str, creates: bool) -> None:
    (clone.log.parent / "log.exists").unlink()
    assert clone.make(target).returncode == 0
    assert (INIT.format("development") in clone.commands) == creates


def test_no_stack_is_created_when_the_backend_cannot_be_read(clone: Clone) -> None:
    (clone.log.parent / "log.exists").unlink()
    clone.environment["ERROR"] = "no connection"
    result = clone.make("up")
    assert result.returncode
    assert "error: no connection\n" in result.stderr
    assert clone.commands == [VALIDATED, SHOW.format("development")]


def test_the_local_state_has_a_private_passphrase_and_one_line_of_notice(clone: Clone) -> None:
    first, second = clone.make("up"), clone.make("refresh")
    for result in (first, second):
        assert result.stderr.splitlines().count(LOCAL) == 1
    state = clone.folder / ".state"
    assert clone.backend == ["development", f"file://{state}", str(state / "passphrase")]
    assert len((state / "passphrase").read_text()) > 40
    assert (state / "passphrase").stat().st_mode & 0o77 == 0
    assert state.stat().st_mode & 0o77 == 0
    assert ".state/" in (ROOT / ".gitignore").read_text().splitlines()


def test_a_passphrase_of_the_environment_is_used(clone: Clone) -> None:
    clone.environment["PULUMI_CONFIG_PASSPHRASE"] = "own"
    assert clone.make("up").returncode == 0
    assert len(clone.backend) == 2
    assert not (clone.folder / ".state" / "passphrase").exists()


LOCK = '{"pid":%s,"username":"u","hostname":"%s","timestamp":"2026-11-25T20:00:00.5Z"}'
ENDED = 99_999_999
"""The number of a process that no system has."""
DELETE = "  find '{0}' -name '*.attrs' -size 0 -delete"
CANCEL = '  make pulumi STACK=acme/development ARGS="cancel --yes"'


@pytest.mark.parametrize(
    ("command", "lock", "is_unreadable", "remedies"),
    [
        ("up", None, False, []),
        ("up", (ENDED, socket.gethostname()), False, [CANCEL]),
        ("destroy", (ENDED, socket.gethostname()), False, [CANCEL]),
        ("refresh", (ENDED, socket.gethostname()), True, [DELETE, CANCEL]),
        ("preview", (ENDED, socket.gethostname()), False, []),
        ("preview", (ENDED, socket.gethostname()), True, [DELETE]),
        ("pulumi", (ENDED, socket.gethostname()), True, [DELETE]),
        ("up", None, True, [DELETE]),
        ("up", (os.getpid(), socket.gethostname()), True, []),
        ("up", (ENDED, "another-host"), True, []),
    ],
)
@pytest.mark.parametrize("backend", ["", "file://{0}", "file://~/states"])
def test_traces_of_a_killed_update_are_reported_with_the_remedy(
    clone: Clone, command: str, lock: tuple[int, str] | None, remedies: list[str], backend: str, *, is_unreadable: bool
) -> None:
    """A held lock, or one of another host, is reported by Pulumi. Files can be empty while an update writes them."""
    if backend:
        clone.environment["PULUMI_BACKEND_URL"] = backend.format(clone.home / "states")
    folder = (clone.home / "states" if backend else clone.folder / ".state") / ".pulumi"
    locks = folder / "locks" / "organization" / "database-groups" / "development"
    locks.mkdir(parents=True)
    (folder / "meta.yaml.attrs").write_text("{}")
    if lock:
        (locks / "1.json").write_text(LOCK % lock)
    if is_unreadable:
        (folder / "stacks").mkdir()
        (folder / "stacks" / "development.json.attrs").touch()
    arguments = ["ARGS=cancel --yes"] if command == "pulumi" else []
    result = clone.make(command, "STACK=acme/development", *arguments)
    assert [line for line in result.stderr.splitlines() if line.startswith("  ")] == [
        remedy.format(folder) for remedy in remedies
    ]
    assert bool(result.returncode) == bool(remedies) == ("error: a killed update left traces" in result.stderr)
    assert not remedies or all(line.startswith("python") for line in clone.commands)


def configure_backend(clone: Clone, source: str) -> None:
    if source == "login":
        credentials = clone.home / ".pulumi" / "credentials.json"
        credentials.parent.mkdir()
        credentials.write_text('{\n  "current": "https://api.pulumi.com"\n}')
    elif source == "project":
        with (clone.folder / "Pulumi.yaml").open("a") as file:
            file.write("backend:\n  url: s3://bucket\n")
    else:
        clone.environment[source] = "s3://bucket"


@pytest.mark.parametrize("source", ["PULUMI_BACKEND_URL", "PULUMI_ACCESS_TOKEN", "login", "project"])
def test_a_configured_backend_is_used(clone: Clone, source: str) -> None:
    configure_backend(clone, source)
    result = clone.make("up")
    assert (result.returncode, LOCAL in result.stderr) == (0, False)
    assert not (clone.folder / ".state").exists()


def test_a_logout_means_the_local_state(clone: Clone) -> None:
    (clone.home / ".pulumi").mkdir()
    (clone.home / ".pulumi" / "credentials.json").write_text('{"current": "", "accounts": {}}')
    assert LOCAL in clone.make("up").stderr


@pytest.mark.parametrize("key", ["encryptionsalt", "secretsprovider", "encryptedkey"])
def test_a_stack_of_another_backend_gets_no_second_local_state(clone: Clone, key: str) -> None:
    with (clone.folder / "stacks" / "Pulumi.development.yaml").open("a") as file:
        file.write(f"{key}: v1:abc\n")
    result = clone.make("up")
    assert result.returncode
    assert result.stderr.startswith("error: stacks/Pulumi.development.yaml belongs to a state that is not in .state;")
    assert clone.commands == [VALIDATED]
    state = clone.folder / ".state" / ".pulumi" / "stacks" / "database-groups" / "development.json"
    state.parent.mkdir(parents=True)
    state.touch()
    assert clone.make("up").returncode == 0


def test_a_stack_with_a_local_state_is_not_created_in_another_backend(clone: Clone) -> None:
    state = clone.folder / ".state" / ".pulumi" / "stacks" / "database-groups" / "development.json"
    state.parent.mkdir(parents=True)
    state.touch()
    (clone.log.parent / "log.exists").unlink()
    clone.environment["PULUMI_BACKEND_URL"] = "s3://bucket"
    result = clone.make("up")
    assert result.returncode
    assert "error: the state of development is in .state, but Pulumi uses another backend" in result.stderr
    assert clone.commands == [VALIDATED, SHOW.format("development")]


# Installation


def pinned_version() -> str:
    match = re.search(r"^pulumi==(\S+)", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    assert match
    return match[1]


INSTALL = "curl -fsSL https://get.pulumi.com"


def test_pulumi_is_not_installed_without_an_answer(clone: Clone) -> None:
    clone.remove_pulumi()
    result = clone.make("up")
    assert result.returncode
    assert f"  {INSTALL} | sh -s -- --version {pinned_version()} --no-edit-path\n" in result.stderr
    assert "error: no terminal for a question; install Pulumi, or set YES=1\n" in result.stderr
    assert clone.commands == []


@pytest.mark.parametrize(("answer", "installs"), [("y", True), ("Yes", True), ("n", False), ("", False)])
def test_pulumi_is_installed_after_a_question(clone: Clone, answer: str, installs: bool) -> None:
    clone.remove_pulumi()
    ours, theirs = pty.openpty()
    os.write(ours, f"{answer}\n".encode())
    result = clone.make("up", stdin=theirs)
    os.close(ours)
    os.close(theirs)
    assert "Run it now? [y/N] " in result.stderr
    assert (result.returncode == 0, INSTALL in clone.commands) == (installs, installs)
    assert ("error: Pulumi is not installed" in result.stderr) == (not installs)


def test_yes_installs_pulumi_without_a_question(clone: Clone) -> None:
    clone.remove_pulumi()
    result = clone.make("up", "YES=1")
    assert (result.returncode, "[y/N]" in result.stderr) == (0, False)
    assert clone.commands == [
        INSTALL,
        f"install --version {pinned_version()} --no-edit-path",
        VALIDATED,
        SHOW.format("development"),
        "up --stack development --yes",
    ]


def test_an_installation_that_fails_is_reported(clone: Clone) -> None:
    clone.remove_pulumi()
    clone.write(clone.programs / "curl", "#!/bin/sh\nexit 6\n")
    result = clone.make("up", "YES=1")
    assert result.returncode
    assert "error: the installation failed; see https://www.pulumi.com/docs/install/\n" in result.stderr


def test_the_packages_are_installed_with_a_line_for_each_phase(clone: Clone) -> None:
    shutil.rmtree(clone.folder / ".venv")
    clone.write(
        clone.programs / "python3", '#!/bin/sh\n[ "$2" != venv ] || { mkdir -p .venv/bin; cp "$0" .venv/bin/python; }\n'
    )
    lines = clone.make("render").stderr.splitlines()
    assert lines[0] == "creating .venv with python3"
    assert re.fullmatch(
        r"installing \d+ packages of requirements.txt in .venv; the first time takes a minute", lines[1]
    )
    assert clone.make("render").stderr == ""


def test_an_old_python_is_rejected(clone: Clone) -> None:
    shutil.rmtree(clone.folder / ".venv")
    clone.write(clone.programs / "old", "#!/bin/sh\nexit 1\n")
    result = clone.make("render", "PYTHON=old")
    assert result.stderr.splitlines()[0].startswith("error: Python 3.11 or later is required; set PYTHON")
    assert not (clone.folder / ".venv").exists()


# Help


def test_help_lists_every_target(clone: Clone) -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    listed = re.findall(r"^  make (\S+) +\S", clone.make("help").stdout, re.MULTILINE)
    assert listed == targets
    assert set(STACK_TARGETS) <= set(targets)


def test_script_is_valid_for_a_posix_shell() -> None:
    subprocess.run(["sh", "-n", ROOT / "scripts" / "pulumi.sh"], check=True)
