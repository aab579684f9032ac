"""The targets of the Makefile reject what they cannot use, before they install or change anything."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize("target", ["up", "check"])
@pytest.mark.parametrize("stack", ["prodution", "organization/project/prodution"])
def test_missing_stack_file_is_an_error(target: str, stack: str) -> None:
    command = ["make", "--silent", target, f"STACK={stack}", "PYTHON=false"]
    process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert process.returncode != 0
    message, _, stacks = process.stderr.splitlines()[0].partition("; existing stacks: ")
    assert message == "error: stacks/Pulumi.prodution.yaml does not exist"
    assert {"development", "production"} <= set(stacks.split())
