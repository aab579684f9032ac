"""A copy of the project that tests deploy with the Pulumi command line, as a user does."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("components", "stacks", "preflight", "status", "backups")
PARTS = (*PACKAGES, "scripts", "__main__.py", "Makefile", "Pulumi.yaml", "requirements.txt")
TIMEOUT_SECONDS = 400
SURVIVAL_SECONDS = 2
"""Seconds in which child processes survive a killed engine."""
OUTPUTS_RE = re.compile(r"\nOutputs:.*\n(?=Resources:)", re.DOTALL)


class Result:
    """The exit code and the whole output of a command."""

    def __init__(self, process: "subprocess.CompletedProcess[str]") -> None:
        self.code = process.returncode
        self.output = process.stdout

    @property
    def end(self) -> str:
        """Return the end of the output, without the outputs of the stack."""
        return OUTPUTS_RE.sub("\n", self.output)[-6000:]

    def succeeded(self) -> "Result":
        """Assert that the command succeeded."""
        assert self.code == 0, self.end
        return self

    def failed(self) -> "Result":
        """Assert that the command failed without a traceback."""
        assert self.code != 0, self.end
        assert "Traceback" not in self.output, self.end
        return self


class Project:
    """A copy of the project in a folder, with a file backend next to it."""

    def __init__(self, command_line: str, folder: Path) -> None:
        self.folder = folder / "project"
        self.state = folder / "state"
        self.folder.mkdir(parents=True)
        self.state.mkdir()
        for part in PARTS:
            source = ROOT / part
            if source.is_dir():
                shutil.copytree(
                    source, self.folder / part, ignore=shutil.ignore_patterns("__pycache__", "Pulumi.*.yaml")
                )
            elif source.exists():
                shutil.copy(source, self.folder / part)
        # The interpreter of the tests has the packages of the program.
        (self.folder / ".venv").symlink_to(Path(sys.prefix))
        self.command_line = command_line
        self.environment = {
            **os.environ,
            "PULUMI_BACKEND_URL": f"file://{self.state}",
            "PULUMI_CONFIG_PASSPHRASE": "end-to-end",
            "PULUMI_SKIP_UPDATE_CHECK": "true",
            "PULUMI_HOME": str(folder / "home"),
        }
        self.deployed: set[str] = set()
        """Stacks that an update changed, and that no command destroyed since then."""
        self.timeout_seconds = TIMEOUT_SECONDS
        """Time limit of a command."""

    def pulumi(self, *arguments: str, stack: str | None = None, typed: str = "") -> Result:
        """Run a Pulumi command. `typed` is its standard input."""
        options = ["--stack", stack] if stack else []
        if stack and arguments[0] == "up":
            self.deployed.add(stack)
        result = self._run([self.command_line, *arguments, *options, "--non-interactive"], typed)
        if stack and arguments[0] == "destroy" and result.code == 0:
            self.deployed.discard(stack)
        return result

    def make(self, target: str, *arguments: str) -> Result:
        """Run a target of the Makefile."""
        # The packages are installed, whatever the times of the copied files are.
        return self._run(["make", "--no-print-directory", "--old-file=.venv/.installed", target, *arguments])

    def python(self, *arguments: str) -> Result:
        """Run Python with arguments in the project's folder."""
        return self._run([sys.executable, *arguments])

    def _run(self, command: Sequence[str], typed: str = "") -> Result:
        try:
            process = subprocess.run(
                command,
                cwd=self.folder,
                env=self.environment,
                input=typed,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=self.timeout_seconds,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            output = (error.stdout or b"").decode()[-6000:]
            raise AssertionError(f"{command} did not end in {self.timeout_seconds} s\n{output}") from None
        return Result(process)

    def write(self, stack: str, config: dict[str, Any]) -> None:
        """Write a stack file. It retains the encryption salt of an existing stack."""
        path = self.path(stack)
        salt = (
            {key: value for key, value in yaml.safe_load(path.read_text()).items() if key != "config"}
            if path.exists()
            else {}
        )
        path.write_text(
            yaml.safe_dump(
                {**salt, "config": {f"database-groups:{key}": value for key, value in config.items()}}, sort_keys=False
            )
        )

    def path(self, stack: str) -> Path:
        """Return the path of a stack file."""
        return self.folder / "stacks" / f"Pulumi.{stack}.yaml"

    def new(self, stack: str, config: dict[str, Any] | None = None) -> None:
        """Create a stack from a configuration, or from the example with its name."""
        if config is None:
            shutil.copy(ROOT / "stacks" / f"Pulumi.{stack}.yaml", self.path(stack))
        else:
            self.write(stack, config)
        self.pulumi("stack", "init", stack).succeeded()

    def up(self, stack: str, *arguments: str) -> Result:
        """Run `pulumi up`."""
        return self.pulumi("up", "--yes", "--skip-preview", *arguments, stack=stack)

    def interrupt_up(self, stack: str, is_time: Callable[[], bool]) -> None:
        """Run `pulumi up`, and interrupt it as Ctrl-C does as soon as `is_time` returns True."""
        process = self._start(stack, "up")
        while not is_time():
            assert process.poll() is None, "the update ended before it could be interrupted"
            time.sleep(1)
        process.send_signal(signal.SIGINT)
        process.wait(self.timeout_seconds)

    def kill_up(self, stack: str, is_time: Callable[[], bool]) -> None:
        """Run `pulumi up`, and kill it and all its child processes as soon as `is_time` returns True."""
        process = self._start(stack, "up")
        while not is_time():
            assert process.poll() is None, "the update ended before it could be killed"
        _kill(pid for _, pid in _list_processes(process.pid))
        process.wait()

    def kill(self, stack: str, victim: str, seconds: float, *command: str) -> bool:
        """Run a command and kill the `engine`, one `provider`, or `all` processes after some seconds.

        Child processes that survive the engine can finish their last request. Returns False if nothing was killed.
        """
        process = self._start(stack, *command)
        try:
            process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            found = _list_processes(process.pid)
            providers = sorted(pid for name, pid in found if name.startswith("pulumi-resource-"))
            some = providers[int(seconds * 1000) % len(providers) :][:1] if providers else []
            killed = {"engine": [process.pid], "provider": some, "all": [pid for _, pid in found]}[victim]
            _kill(killed)
            process.wait(timeout=self.timeout_seconds)
            if victim == "engine":
                time.sleep(SURVIVAL_SECONDS)
                _kill(pid for _, pid in _list_processes(process.pid))
            return bool(killed)
        return False

    def _start(self, stack: str, *command: str) -> "subprocess.Popen[bytes]":
        """Start a command of Pulumi in a process group of its own."""
        self.deployed.add(stack)
        arguments = [self.command_line, *command, "--yes", "--skip-preview", "--stack", stack, "--non-interactive"]
        return subprocess.Popen(
            arguments,
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def unlock(self, stack: str) -> None:
        """Remove what a killed command left in the backend: empty files, and the lock."""
        for path in self.state.rglob("*.attrs"):
            if not path.stat().st_size:
                path.unlink()
        self.pulumi("cancel", "--yes", stack=stack).succeeded()

    def preview(self, stack: str, *arguments: str) -> Result:
        """Run `pulumi preview`."""
        return self.pulumi("preview", *arguments, stack=stack)

    def resources(self, stack: str, *arguments: str) -> list[dict[str, Any]]:
        """Return the resources in the state of a stack. `--show-secrets` decrypts its secrets."""
        exported = json.loads(self.pulumi("stack", "export", *arguments, stack=stack).succeeded().output)
        return list(exported["deployment"].get("resources", []))

    def assert_settled(self, stack: str) -> None:
        """Assert that neither another update nor a preview with a refresh finds a change."""
        self.up(stack, "--expect-no-changes").succeeded()
        self.preview(stack, "--refresh", "--expect-no-changes", "--diff").succeeded()

    def destroy(self, stack: str) -> Result:
        """Run `pulumi destroy --refresh`, as `make destroy` does."""
        return self.pulumi("destroy", "--refresh", "--yes", "--skip-preview", stack=stack)

    def clean_up(self) -> None:
        """Destroy all deployed stacks, including protected resources."""
        for stack in sorted(self.deployed):
            self.pulumi("state", "unprotect", "--all", "--yes", stack=stack)
            self.destroy(stack)


def _list_processes(session: int) -> list[tuple[str, int]]:
    """Return the names and numbers of the processes of an update. Each provider has a process group of its own."""
    listed = subprocess.run(["ps", "-e", "-o", "sid=,pid=,args="], check=True, capture_output=True, text=True).stdout
    rows = (line.split(None, 3) for line in listed.splitlines())
    return [(Path(command).name, int(pid)) for sid, pid, command, *_ in rows if int(sid) == session]


def _kill(processes: Iterable[int]) -> None:
    for number in processes:
        with suppress(ProcessLookupError):  # it ended meanwhile
            os.kill(number, signal.SIGKILL)
