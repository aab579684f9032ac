"""The commands of the quick start and of other pages, run in a new clone as a reader types them."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.cluster import Cluster
from tests.pages import ROOT, Step, is_expected_output, steps

pytestmark = pytest.mark.timeout(1500)
IMAGES = ("postgres:15", "postgres:17", "valkey/valkey:8", "mysql:9.7")
COMMAND_SECONDS = 400
NAMESPACE = "shop"
IGNORED = (".git", ".venv", ".state", "rendered", "__pycache__", ".*_cache")


class Reader:
    """A reader with a clone of the project and a shell in it. The reader confirms each question of Pulumi."""

    def __init__(self, folder: Path) -> None:
        self.clone = folder / "database-groups"
        self.output = folder / "output"
        shutil.copytree(ROOT, self.clone, ignore=shutil.ignore_patterns(*IGNORED))
        self._install()
        (folder / "home").mkdir()
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PULUMI_")}
        environment |= {
            "PULUMI_HOME": str(folder / "home"),  # without a login
            "PULUMI_SKIP_CONFIRMATIONS": "true",
            "PULUMI_SKIP_UPDATE_CHECK": "true",
            "PAGER": "cat",
        }
        self.shell = subprocess.Popen(
            ["bash"],
            cwd=self.clone,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.run("set -o pipefail")

    def _install(self) -> None:
        """Use the packages of the Python that runs the tests, as if `make` had installed them."""
        (self.clone / ".venv").mkdir()
        for entry in Path(sys.prefix).iterdir():
            (self.clone / ".venv" / entry.name).symlink_to(entry)
        for stamp in (".installed", ".installed-dev"):
            (self.clone / ".venv" / stamp).unlink(missing_ok=True)
            (self.clone / ".venv" / stamp).touch()

    def run(self, command: str) -> tuple[int, str]:
        """Run a command in the shell. Return its exit code and its output."""
        assert self.shell.stdin
        assert self.shell.stdout
        self.shell.stdin.write(f"{{ {command}\n}} </dev/null >'{self.output}' 2>&1; echo $?\n")
        self.shell.stdin.flush()
        code = self.shell.stdout.readline()
        assert code, f"the shell ended: {command}"
        return int(code), self.output.read_text()

    def follow(self, step: Step) -> None:
        """Do what a step of a page describes."""
        if step.kind == "console":
            for command in step.commands:
                code, output = self.run(command.text)
                assert (code != 0) == command.fails, f"$ {command.text}\n{output[-4000:]}\nexit code {code}"
                message = f"$ {command.text}\n{output[-4000:]}\nexpected:\n{command.output}"
                assert is_expected_output(command.output, output), message
        elif step.kind == "file":
            (self.clone / step.argument).write_text(step.block)
        elif step.kind == "edit":
            path = self.clone / step.argument
            content = yaml.safe_load(path.read_text())
            ((key, value),) = yaml.safe_load(step.block).items()
            assert _replace(content, key, value) == 1, f"{key} in {step.argument}"
            path.write_text(yaml.safe_dump(content, sort_keys=False))
        elif step.kind == "run":
            code, output = self.run(step.argument)
            assert code == 0, output

    def close(self) -> None:
        """End the shell and its background commands."""
        os.killpg(self.shell.pid, signal.SIGTERM)
        self.shell.wait(timeout=10)
        for stream in (self.shell.stdin, self.shell.stdout):
            assert stream
            stream.close()


def _replace(node: Any, key: str, value: Any) -> int:
    """Replace the values of a key in a tree of maps. Return their number."""
    if not isinstance(node, dict):
        return 0
    count = sum(_replace(item, key, value) for name, item in node.items() if name != key)
    if key in node:
        node[key] = value
        return count + 1
    return count


@pytest.fixture
def reader(real_node: Cluster, build_images: Callable[..., None], tmp_path: Path) -> Iterator[Reader]:
    for program in ("pulumi", "kubectl", "make", "psql"):
        if not shutil.which(program):
            pytest.skip(f"{program} is not on PATH")
    if real_node.has_namespace(NAMESPACE):
        pytest.fail(f"the namespace {NAMESPACE} exists; delete it")
    build_images(*IMAGES)
    reader = Reader(tmp_path)
    yield reader
    reader.close()
    if real_node.has_namespace(NAMESPACE):
        real_node.core.delete_namespace(NAMESPACE)
        real_node.gone(NAMESPACE)


@pytest.mark.parametrize("page", ["quickstart", "day-two", "troubleshooting"])
def test_commands_of_a_page_have_the_output_that_it_shows(page: str, reader: Reader) -> None:
    for step in steps((ROOT / "docs" / f"{page}.md").read_text()):
        reader.follow(step)
