"""What the stack was before, and which changes of its file would lose data or make a server open another version's.

The memory is what components say of themselves in the state: names, which Pulumi keeps whether an update went well, failed or was killed. Every
forbidden change is told before the first resource is registered, in a preview and in an update alike; see docs/decisions/0007.
"""

import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pulumi
from pulumi.runtime import invoke

from components.names import APPLICATION_TYPE, GROUP_TYPE
from stacks.config import Stack
from stacks.problems import InvalidStack, Problem

__all__ = ["READ_RESOURCES", "Memory", "forbidden", "previous", "refuse_loss", "remembered"]

READ_RESOURCES = "pulumi:pulumi:readStackResourceOutputs"
PAUSES = (0.1, 0.2, 0.4, 0.8, 1.6)
"""Seconds between attempts: a backend in files cannot be read in the moment in which it is written."""

UNPROTECT = "set protect: false there, run pulumi up, and then"
MOVE = "make a group (or an application) of the new version beside it and move the data: docs/upgrading.md"

Memory = Mapping[str, Any]
"""Applications by name, as ApplicationArgs.summary tells of them and as the stack exports them."""


def refuse_loss(stack: Stack, before: Memory) -> None:
    """Raises InvalidStack where a stack, compared with what it was, would lose data or open another version's."""
    if problems := list(forbidden(before, stack.outputs())):
        raise InvalidStack(problems)


def previous() -> Memory:
    """What the running stack was at its last update; empty before the first one. Raises pulumi.RunError."""
    name = f"{pulumi.get_organization()}/{pulumi.get_project()}/{pulumi.get_stack()}"
    for pause in (*PAUSES, None):
        try:
            return remembered(invoke(READ_RESOURCES, {"stackName": name}).value["outputs"].values())
        except Exception as error:  # the SDK raises no class of its own
            if pause is None:
                raise pulumi.RunError(f"what the stack was before cannot be read, and nothing was changed: {error}") from None
            time.sleep(pause)
    raise AssertionError


def remembered(resources: Iterable[Mapping[str, Any]]) -> Memory:
    """What the components among the resources of a state, each with its `type` and `outputs`, say of themselves."""
    told: dict[str, list[Mapping[str, Any]]] = {APPLICATION_TYPE: [], GROUP_TYPE: []}
    for resource in resources:
        told.get(resource["type"], []).append(resource.get("outputs") or {})
    applications: dict[str, Any] = {found["name"]: {**found, "databases": {}} for found in told[APPLICATION_TYPE] if "name" in found}
    for group in told[GROUP_TYPE]:
        if group.get("application") in applications:
            applications[group["application"]]["databases"].setdefault(group["engine"], {})[group["group"]] = group
    return applications


def forbidden(before: Memory, now: Memory) -> Iterator[Problem]:
    """Each change from one memory to another that is refused."""
    for name, old in before.items():
        path, new = f"applications.{name}", now.get(name)
        if new is None:
            yield from _taken_away(path, old)
            continue
        if old.get("protected") and old["namespace"] != new["namespace"]:
            yield Problem(
                f"{path}.namespace", f"was {old['namespace']!r}, and nothing in it can move; put it back, or make another application and move the data"
            )
        for engine, groups in old["databases"].items():
            for group, was in groups.items():
                yield from _group(f"{path}.databases.{engine}.{group}", was, new["databases"].get(engine, {}).get(group))


def _taken_away(path: str, old: Mapping[str, Any]) -> Iterator[Problem]:
    """An application that is gone, with what it held."""
    held = [f"{engine}.{group}" for engine, groups in old["databases"].items() for group, was in groups.items() if was.get("protected")]
    if held or old.get("protected"):
        what = f"its databases {', '.join(held)}" if held else "its namespace"
        yield Problem(path, f"was taken away or renamed, and with it {what}; put it back, or, to part with that, {UNPROTECT} take it away")


def _group(path: str, old: Mapping[str, Any], new: Mapping[str, Any] | None) -> Iterator[Problem]:
    """What may not become of a group."""
    if new is None:
        if old.get("protected"):
            yield Problem(path, f"was taken away, renamed, or moved to another engine; put it back, or, to part with its data, {UNPROTECT} take it away")
        return
    if old.get("series") and new.get("series"):
        yield from _upgrade(path, old, new)
    if old.get("protected"):
        yield from _elsewhere(path, old, new)


def _upgrade(path: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Problem]:
    """Another program or series for data that is there."""
    if old["flavour"] != new["flavour"]:
        yield Problem(f"{path}.flavour", f"was created as {old['flavour']!r}, whose data {new['flavour']!r} is not given to open; {MOVE}")
    elif old["series"] != new["series"]:
        yield Problem(
            f"{path}.server.version",
            f"was created as {old['series']!r}, and there is no upgrade in place to {new['series']!r}; keep a version of {old['series']}, or {MOVE}",
        )


def _elsewhere(path: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Problem]:
    """Another place for an application whose data stays where it was."""
    if old["kind"] != new["kind"]:
        yield Problem(f"{path}.server.kind", f"was {old['kind']!r}, and the data would stay there; put it back, or {UNPROTECT} make it {new['kind']!r}")
    elif old.get("server") != new.get("server"):
        yield Problem(f"{path}.server.on", f"was {old.get('server')!r}, and the data would stay there; put it back, or {UNPROTECT} change it")
