"""The commands `check`, `operators`, `validate`, `unrecorded`, `schema` and `images` of `python -m stacks`."""

import argparse
import json
import sys
from collections.abc import Sequence

import pulumi

from components.engines.definition import RELEASES_PATH, Releases
from stacks.changes import CHANGES_PATH, render_changes
from stacks.config import build_cluster_config, parse_pulumi_config
from stacks.config_source import read_config_source
from stacks.deployed_stack import get_stack_file_path, read_configured_stack
from stacks.image_releases import RegistryError, describe_new_releases, find_newest_releases, render_releases
from stacks.operators import describe_operators
from stacks.preflight_checks import PreflightResult, run_preflight
from stacks.pulumi_cli import read_deployed_resources, read_deployment
from stacks.reference import render_pages
from stacks.schema import SCHEMA_PATH, render_schema
from stacks.stack_file import StackFileError, load_stack_file
from stacks.unrecorded_creations import describe_unrecorded_creations, find_unrecorded_creations

__all__ = ["main"]


def main(arguments: Sequence[str]) -> int:
    """Run a command. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m stacks")
    commands = parser.add_subparsers(dest="command", required=True)
    check_command = commands.add_parser(
        "check", help="check the cluster, the external servers and the backup stores of a stack"
    )
    check_command.add_argument("stack")
    operators_command = commands.add_parser("operators", help="print how to install the operators that a stack needs")
    operators_command.add_argument("stack")
    validate_command = commands.add_parser("validate", help="report what Pulumi cannot read in a stack file")
    validate_command.add_argument("stack")
    unrecorded_command = commands.add_parser("unrecorded", help="report what a destroy of a stack would not delete")
    unrecorded_command.add_argument("stack")
    commands.add_parser(
        "schema", help="write stacks/schema.json, docs/reference.md, docs/changes.md and the tables of engines"
    )
    commands.add_parser("images", help="pin the newest release of each series of the official images")
    options = parser.parse_args(arguments)
    if options.command == "check":
        return check_stack(options.stack)
    if options.command == "operators":
        return render_operators(options.stack)
    if options.command == "validate":
        return validate_stack_file(options.stack)
    if options.command == "unrecorded":
        return check_unrecorded_creations(options.stack)
    if options.command == "images":
        return write_newest_releases()
    for path, content in {SCHEMA_PATH: render_schema(), CHANGES_PATH: render_changes(), **render_pages()}.items():
        path.write_text(content)
    return 0


def write_newest_releases() -> int:
    """Pin the newest releases, and print what changed. An error changes nothing. Returns the exit code."""
    old: Releases = json.loads(RELEASES_PATH.read_text())
    try:
        new = find_newest_releases(old)
    except RegistryError as error:
        print(f"error: no release was changed\n{error}", file=sys.stderr)
        return 1
    RELEASES_PATH.write_text(render_releases(new))
    print("\n".join(describe_new_releases(old, new)) or "All pinned releases are the newest ones.")
    return 0


def validate_stack_file(stack_name: str) -> int:
    """Print all errors in the syntax of a stack file. Pulumi prints the first one, without a remedy.

    The program reports errors in the values. Returns the exit code.
    """
    try:
        load_stack_file(get_stack_file_path(stack_name))
    except StackFileError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def check_unrecorded_creations(stack_name: str) -> int:
    """Print what a killed update perhaps created without a record. Returns the exit code."""
    try:
        creations = find_unrecorded_creations(read_deployment(stack_name))
    except pulumi.RunError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if creations:
        print(f"error: {describe_unrecorded_creations(creations, stack_name)}", file=sys.stderr)
    return 1 if creations else 0


def check_stack(stack_name: str) -> int:
    """Check the cluster, the external servers and the backup stores of a stack. Returns the exit code."""
    try:
        stack, cluster = read_configured_stack(stack_name)
        result = run_preflight(stack, cluster, read_deployed_resources(stack_name))
    except pulumi.RunError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for warning in (*stack.source.warnings, *stack.warnings, *result.notes):
        print(f"warning: {warning}", file=sys.stderr)
    print(result if result.has_failed else f"Checked {_describe_checked(result)}: all usable.")
    return 1 if result.has_failed else 0


def render_operators(stack_name: str) -> int:
    """Print the operators that a stack needs, from its stack file alone. Returns the exit code."""
    path = get_stack_file_path(stack_name)
    try:
        file = load_stack_file(path)
        source = read_config_source(path, file.config, file.encrypted_keys, f"stack {stack_name!r}")
        stack = parse_pulumi_config(file.config, source)
    except (StackFileError, pulumi.RunError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(describe_operators(stack, build_cluster_config(file.config)))
    return 0


def _describe_checked(result: PreflightResult) -> str:
    """Return what was checked: `the cluster, 2 external server addresses and 1 backup store`."""
    servers, stores = len(result.endpoints), len(result.stores)
    addresses = f"{servers} external server address{'' if servers == 1 else 'es'}"
    if not stores:
        return f"the cluster and {addresses}"
    return f"the cluster, {addresses} and {stores} backup store{'' if stores == 1 else 's'}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
