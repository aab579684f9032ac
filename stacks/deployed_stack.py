"""A deployed stack for commands outside of a Pulumi program: its state, and how to find its cluster."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pulumi

from preflight.cluster_client import ClusterConfig
from stacks.config import STACK_FOLDER, Stack, build_cluster_config, parse_pulumi_config
from stacks.config_source import read_config_source
from stacks.previous_state import PreviousState
from stacks.pulumi_cli import read_deployed_state, run_pulumi_json
from stacks.spec import PROJECT

__all__ = ["DeployedStack", "get_stack_file_path", "read_configured_stack", "read_deployed_stack"]

CLUSTER_KEYS = ("kubeconfig", "context", "cluster")
NO_STACK = "no stack named"


@dataclass(frozen=True, kw_only=True)
class DeployedStack:
    """A stack with at least one application."""

    name: str
    state: PreviousState
    cluster: ClusterConfig


def read_deployed_stack(name: str) -> DeployedStack:
    """Return a stack from its state and its configuration. Raises pulumi.RunError."""
    update = f"deploy it: make up STACK={name}"
    try:
        with ThreadPoolExecutor() as pool:
            cluster = pool.submit(_read_cluster_config, name)
            state = pool.submit(read_deployed_state, name)
            import kubernetes.client  # noqa: F401, PLC0415 (takes half a second, while Pulumi runs)
        if not state.result():
            raise pulumi.RunError(f"stack {name!r} has no applications; {update}")
        return DeployedStack(name=name, state=state.result(), cluster=cluster.result())
    except pulumi.RunError as error:
        if NO_STACK not in str(error):
            raise
        raise pulumi.RunError(f"stack {name!r} has no state in this backend; {update}") from None


def get_stack_file_path(name: str) -> Path:
    """Return the path of a stack file. `name` can have an organization."""
    return STACK_FOLDER / f"Pulumi.{name.rpartition('/')[2]}.yaml"


def read_configured_stack(name: str) -> tuple[Stack, ClusterConfig]:
    """Return the stack of a stack file, with decrypted values, and how it finds its cluster. Raises pulumi.RunError."""
    configuration = run_pulumi_json("config", "--json", "--show-secrets", "--stack", name)
    values = {key: entry["value"] for key, entry in configuration.items() if "value" in entry}
    encrypted_keys = {key for key, entry in configuration.items() if entry.get("secret")}
    source = read_config_source(get_stack_file_path(name), values, encrypted_keys, f"stack {name!r}")
    # The command line does not print the organization of a stack.
    stack = parse_pulumi_config(values, source, full_name=f"/{PROJECT}/{name.rpartition('/')[2]}")
    return stack, build_cluster_config(values)


def _read_cluster_config(stack: str) -> ClusterConfig:
    """Return how a stack finds its cluster, from the stack's configuration. Raises pulumi.RunError."""
    config = run_pulumi_json("config", "--json", "--stack", stack)

    def read(key: str) -> str | None:
        entry: dict[str, Any] = config.get(key, {})
        if entry.get("secret"):
            entry = run_pulumi_json("config", "get", key, "--json", "--stack", stack)
        return entry.get("value")

    return ClusterConfig(**{key: read(f"kubernetes:{key}") for key in CLUSTER_KEYS})
