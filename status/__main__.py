"""`python -m status STACK [--json]`: print the state of every database group of a stack."""

import argparse
import json
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pulumi

from preflight.cluster_client import ClusterConfig, create_api_client
from preflight.errors import ClusterError
from stacks.deployed_stack import read_deployed_stack
from stacks.previous_state import PreviousState
from status.cluster import ClusterObjects, read_events, read_objects, read_volume_usage
from status.groups import (
    ApplicationStatus,
    build_statuses,
    has_server_clusters,
    list_event_namespaces,
    list_nodes,
    list_object_kinds,
)
from status.text import render_json, render_text

__all__ = ["main"]


def main(arguments: Sequence[str]) -> int:
    """Print the status of a stack. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m status")
    parser.add_argument("stack")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args(arguments)
    try:
        stack = read_deployed_stack(options.stack)
        statuses, notes = read_status(stack.state, stack.cluster)
    except (pulumi.RunError, ClusterError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if options.json:
        print(json.dumps(render_json(options.stack, statuses, notes), indent=2))
    else:
        print(render_text(statuses, notes, datetime.now(UTC)))
    return 0


def read_status(state: PreviousState, config: ClusterConfig) -> tuple[list[ApplicationStatus], list[str]]:
    """Read the status of the applications from their cluster, with notes on what the account may not read.

    Raises ClusterError.
    """
    namespaces = sorted({application["namespace"] for application in state.values()})
    with create_api_client(config) as connection, ThreadPoolExecutor() as pool:
        objects = read_objects(
            connection, list_object_kinds(state), namespaces, has_server_clusters=has_server_clusters(state)
        )
        usage = pool.submit(read_volume_usage, connection, list_nodes(objects, namespaces))
        events = read_events(connection, list_event_namespaces(state, objects))
        volume_usage, may_read_nodes = usage.result()
    return build_statuses(state, objects, events, volume_usage), _list_notes(objects, may_read_nodes=may_read_nodes)


def _list_notes(objects: ClusterObjects, *, may_read_nodes: bool) -> list[str]:
    notes = [f"not allowed to list {kind} objects in namespace {name}" for kind, name in sorted(objects.unreadable)]
    if not may_read_nodes:
        notes.append("the use of volumes is unknown: not allowed to get nodes/proxy")
    return notes


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
