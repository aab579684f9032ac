"""`make operators`: the operators that the server clusters of a stack need, and the commands that install them."""

from collections.abc import Sequence

from preflight.cluster_client import REQUEST_TIMEOUT_SECONDS, ClusterConfig, create_api_client, run_parallel
from preflight.cluster_models import RequiredOperator
from preflight.errors import ClusterError
from preflight.operators import describe_operator, read_operator
from stacks.cluster_checks import list_required_operators
from stacks.config import Stack
from stacks.errors import format_path

__all__ = ["describe_operators"]

MAX_LISTED = 5
"""Groups that a line lists."""


def describe_operators(stack: Stack, cluster: ClusterConfig) -> str:
    """Return one block for each operator: its version, its state in the cluster and the commands that install it."""
    operators = list(list_required_operators(stack))
    if not operators:
        return "The stack needs no operator: no group has `replicas`."
    states = _read_states(operators, cluster)
    return "\n\n".join(_render(operator, state) for operator, state in zip(operators, states, strict=True))


def _read_states(operators: Sequence[RequiredOperator], cluster: ClusterConfig) -> list[str]:
    try:
        with create_api_client(cluster) as connection:
            found = run_parallel(lambda item: read_operator(connection, item, REQUEST_TIMEOUT_SECONDS), operators)
    except ClusterError as error:
        return [f"not known: {error}"] * len(operators)
    return [describe_operator(operator, observed) for operator, observed in zip(operators, found, strict=True)]


def _render(operator: RequiredOperator, state: str) -> str:
    paths = [format_path(location) for location, _ in operator.groups]
    more = f" and {len(paths) - MAX_LISTED} more" if len(paths) > MAX_LISTED else ""
    lines = [
        f"{operator.name} {operator.version}, for {', '.join(paths[:MAX_LISTED])}{more}",
        f"  state: {state}",
        "  install:",
        *(f"    {command}" for command in operator.install_commands),
    ]
    return "\n".join(lines)
