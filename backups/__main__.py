"""`python -m backups {backup,backups,restore} STACK …`: backups by hand. `make` runs these commands."""

import argparse
import json
import signal
import sys
from collections.abc import Sequence
from typing import Any

import pulumi

from backups.groups import find_group, list_groups
from backups.listing import list_backups
from backups.restore import RestoreRequest, find_groups_of_request, restore_backup
from backups.run import run_cron_job
from backups.text import render_json, render_text
from preflight.cluster_client import create_api_client
from preflight.errors import ClusterError
from stacks.deployed_stack import DeployedStack, read_configured_stack, read_deployed_stack

__all__ = ["main"]

INTERRUPTED = 130
"""Exit code of a command that the user interrupts."""


def main(arguments: Sequence[str]) -> int:
    """Run a command. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m backups")
    commands = parser.add_subparsers(dest="command", required=True)
    backup = commands.add_parser("backup", help="save a group now, or verify its newest backup")
    backup.add_argument("--verify", action="store_true")
    backups = commands.add_parser("backups", help="list the backups")
    backups.add_argument("--json", action="store_true", help="print JSON")
    restore = commands.add_parser("restore", help="restore a backup into a group")
    restore.add_argument("--snapshot", default="")
    restore.add_argument("--into", default="")
    restore.add_argument("--overwrite", action="store_true")
    for command in (backup, backups, restore):
        command.add_argument("stack")
        command.add_argument("--group", default="")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        stack = read_deployed_stack(options.stack)
        with create_api_client(stack.cluster) as connection:
            return _run(connection, stack, options)
    except (pulumi.RunError, ClusterError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED


def _run(connection: Any, stack: DeployedStack, options: argparse.Namespace) -> int:
    groups = list_groups(stack.state)
    if options.command == "backup":
        group = find_group(groups, options.group, "GROUP")
        print(f"{group.path}: {run_cron_job(connection, group, print_progress, verify=options.verify)}")
        return 0
    if options.command == "restore":
        request = RestoreRequest(
            source=options.group, snapshot=options.snapshot, target=options.into, overwrite=options.overwrite
        )
        found = find_groups_of_request(groups, request)
        configured, _ = read_configured_stack(options.stack)
        message = restore_backup(connection, configured, found, request, print_progress)
        print(f"{request.target}: {message}")
        return 0
    selected = [find_group(groups, options.group, "GROUP")] if options.group else groups
    listing = list_backups(connection, selected, print_progress)
    if options.json:
        print(json.dumps(render_json(options.stack, listing.groups, listing.unsaved), indent=2))
    else:
        print(render_text(listing.groups, listing.unsaved))
    return 1 if listing.has_failed else 0


def print_progress(line: str) -> None:
    """Print a line about the progress. The result alone is on standard output."""
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
