"""A deployed stack for commands outside of a Pulumi program: its state, and how to find its cluster."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pulumi

from preflight.cluster_client import ClusterConfig
from stacks.previous_state import PreviousState
from stacks.pulumi_cli import read_deployed_state, run_pulumi_json

__all__ = ["DeployedStack", "read_deployed_stack"]

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


def _read_cluster_config(stack: str) -> ClusterConfig:
    """Return how a stack finds its cluster, from the stack's configuration. Raises pulumi.RunError."""
    config = run_pulumi_json("config", "--json", "--stack", stack)

    def read(key: str) -> str | None:
        entry: dict[str, Any] = config.get(key, {})
        if entry.get("secret"):
            entry = run_pulumi_json("config", "get", key, "--json", "--stack", stack)
        return entry.get("value")

    return ClusterConfig(**{key: read(f"kubernetes:{key}") for key in CLUSTER_KEYS})
