"""Commands of Pulumi that print JSON, for the modules that run outside of a Pulumi program."""

import json
import subprocess
from typing import Any

import pulumi

from stacks.previous_state import PreviousState, StateResource, collect_component_outputs

__all__ = ["read_deployed_resources", "read_deployed_state", "read_deployment", "run_pulumi_json"]


def run_pulumi_json(*arguments: str) -> dict[str, Any]:
    """Return the JSON output of a Pulumi command. Raises pulumi.RunError with Pulumi's message if it fails."""
    command = ["pulumi", *arguments, "--non-interactive"]
    try:
        process = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    except FileNotFoundError:
        raise pulumi.RunError("the Pulumi command line is missing; `make preview` installs it") from None
    if process.returncode:
        raise pulumi.RunError(process.stderr.strip().removeprefix("error: "))
    output: dict[str, Any] = json.loads(process.stdout)
    return output


def read_deployment(stack: str) -> dict[str, Any]:
    """Return the state of a stack; empty before its first update. Raises pulumi.RunError."""
    return run_pulumi_json("stack", "export", "--stack", stack)["deployment"] or {}


def read_deployed_resources(stack: str) -> list[StateResource]:
    """Return the resources in the state of a stack. Raises pulumi.RunError."""
    return list(read_deployment(stack).get("resources", []))


def read_deployed_state(stack: str) -> PreviousState:
    """Return the applications in the state of a stack. Raises pulumi.RunError."""
    return collect_component_outputs(read_deployed_resources(stack))
