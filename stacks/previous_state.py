"""What the stack was before, and which changes of its file would lose data or make a server open another version's.

The memory is what components say of themselves in the state: names, which Pulumi keeps whether an update went well, failed or was killed. Every
forbidden change is told before the first resource is registered, in a preview and in an update alike; see docs/decisions/0007.
"""

import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pulumi
from pulumi.runtime import invoke

from components.persisted.names import APPLICATION_TYPE, DATABASE_GROUP_TYPE
from stacks.config import Stack
from stacks.errors import ConfigIssue, InvalidStackConfigError

__all__ = [
    "READ_STACK_OUTPUTS_TOKEN",
    "PreviousState",
    "collect_component_outputs",
    "read_previous_state",
    "require_safe_update",
    "validate_update",
]

READ_STACK_OUTPUTS_TOKEN = "pulumi:pulumi:readStackResourceOutputs"
RETRY_DELAYS_SECONDS = (0.1, 0.2, 0.4, 0.8, 1.6)
"""Seconds between attempts: a backend in files cannot be read in the moment in which it is written."""

UNPROTECT_HINT = "set protect: false there, run pulumi up, and then"
MIGRATION_HINT = "make a group (or an application) of the new version beside it and move the data: docs/upgrading.md"

PreviousState = Mapping[str, Any]
"""Applications by name, as ApplicationArgs.summary tells of them and as the stack exports them."""


def require_safe_update(stack: Stack, previous: PreviousState) -> None:
    """Raises InvalidStack where a stack, compared with what it was, would lose data or open another version's."""
    if problems := list(validate_update(previous, stack.outputs())):
        raise InvalidStackConfigError(problems)


def read_previous_state() -> PreviousState:
    """What the running stack was at its last update; empty before the first one. Raises pulumi.RunError."""
    name = f"{pulumi.get_organization()}/{pulumi.get_project()}/{pulumi.get_stack()}"
    for pause in (*RETRY_DELAYS_SECONDS, None):
        try:
            return collect_component_outputs(
                invoke(READ_STACK_OUTPUTS_TOKEN, {"stackName": name}).value["outputs"].values()
            )
        except Exception as error:  # the SDK raises no class of its own
            if pause is None:
                raise pulumi.RunError(
                    f"what the stack was before cannot be read, and nothing was changed: {error}"
                ) from None
            time.sleep(pause)
    raise AssertionError


def collect_component_outputs(resources: Iterable[Mapping[str, Any]]) -> PreviousState:
    """What the components among the resources of a state, each with its `type` and `outputs`, say of themselves."""
    outputs_by_type: dict[str, list[Mapping[str, Any]]] = {APPLICATION_TYPE: [], DATABASE_GROUP_TYPE: []}
    for resource in resources:
        outputs_by_type.get(resource["type"], []).append(resource.get("outputs") or {})
    applications: dict[str, Any] = {
        found["name"]: {**found, "databases": {}}
        for found in outputs_by_type[APPLICATION_TYPE]
        if "name" in found
    }
    for group in outputs_by_type[DATABASE_GROUP_TYPE]:
        if group.get("application") in applications:
            applications[group["application"]]["databases"].setdefault(group["engine"], {})[group["group"]] = group
    return applications


def validate_update(previous: PreviousState, current: PreviousState) -> Iterator[ConfigIssue]:
    """Each change from one memory to another that is refused."""
    for name, old in previous.items():
        path, new = f"applications.{name}", current.get(name)
        if new is None:
            yield from _validate_removed_application(path, old)
            continue
        if old.get("protected") and old["namespace"] != new["namespace"]:
            yield ConfigIssue(
                f"{path}.namespace",
                f"was {old['namespace']!r}, and nothing in it can move; put it back, or make another application and move the data",
            )
        for engine, groups in old["databases"].items():
            for group, was in groups.items():
                yield from _validate_group_change(
                    f"{path}.databases.{engine}.{group}", was, new["databases"].get(engine, {}).get(group)
                )


def _validate_removed_application(path: str, old: Mapping[str, Any]) -> Iterator[ConfigIssue]:
    """An application that is gone, with what it held."""
    held = [
        f"{engine}.{group}"
        for engine, groups in old["databases"].items()
        for group, was in groups.items()
        if was.get("protected")
    ]
    if held or old.get("protected"):
        what = f"its databases {', '.join(held)}" if held else "its namespace"
        yield ConfigIssue(
            path,
            f"was taken away or renamed, and with it {what}; put it back, or, to part with that, {UNPROTECT_HINT} take it away",
        )


def _validate_group_change(path: str, old: Mapping[str, Any], new: Mapping[str, Any] | None) -> Iterator[ConfigIssue]:
    """What may not become of a group."""
    if new is None:
        if old.get("protected"):
            yield ConfigIssue(
                path,
                f"was taken away, renamed, or moved to another engine; put it back, or, to part with its data, {UNPROTECT_HINT} take it away",
            )
        return
    if old.get("series") and new.get("series"):
        yield from _validate_version_change(path, old, new)
    if old.get("protected"):
        yield from _validate_placement_change(path, old, new)


def _validate_version_change(path: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[ConfigIssue]:
    """Another program or series for data that is there."""
    if old["variant"] != new["variant"]:
        yield ConfigIssue(
            f"{path}.variant",
            f"was created as {old['variant']!r}, whose data {new['variant']!r} is not given to open; {MIGRATION_HINT}",
        )
    elif old["series"] != new["series"]:
        yield ConfigIssue(
            f"{path}.server.version",
            f"was created as {old['series']!r}, and there is no upgrade in place to {new['series']!r}; keep a version of {old['series']}, or {MIGRATION_HINT}",
        )


def _validate_placement_change(path: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[ConfigIssue]:
    """Another place for an application whose data stays where it was."""
    if old["kind"] != new["kind"]:
        yield ConfigIssue(
            f"{path}.server.kind",
            f"was {old['kind']!r}, and the data would stay there; put it back, or {UNPROTECT_HINT} make it {new['kind']!r}",
        )
    elif old.get("server") != new.get("server"):
        yield ConfigIssue(
            f"{path}.server.provisionOn",
            f"was {old.get('server')!r}, and the data would stay there; put it back, or {UNPROTECT_HINT} change it",
        )
