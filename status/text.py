"""The status as text and as JSON. Pure functions."""

from collections.abc import Collection
from dataclasses import asdict
from datetime import datetime
from typing import Any

from pydantic.alias_generators import to_camel

from stacks.tables import format_table
from status.groups import MISSING, ApplicationStatus, GroupStatus, VolumeStatus

__all__ = ["render_json", "render_text"]

HEADER = ("APPLICATION", "GROUP", "SERVICE", "SERVER", "VERSION", "READY", "SINCE", "VOLUME", "SECRET", "PROBLEM")
NONE = "-"
READINESS = {True: "yes", False: "no", None: NONE}
CREATE_HINT = "create what is missing: `make refresh`, then `make up`"
HELP_HINT = "help: docs/troubleshooting.md"
MAX_PROBLEM_LENGTH = 160
"""Length of a problem in the table. JSON has the whole text."""
AGE_UNITS = (("d", 86_400), ("h", 3_600), ("m", 60))
MIN_AGE_COUNT = 2
"""An age has the largest unit of which there are at least two."""


def render_text(statuses: Collection[ApplicationStatus], notes: Collection[str], now: datetime) -> str:
    """Return the status as a table, with the notes below. `now` is the time for ages."""
    rows = [_build_row(status.name, group, now) for status in statuses for group in status.groups]
    count = sum(bool(group.problems) for status in statuses for group in status.groups)
    shared = [f"{status.name}: {_normalize(problem)}" for status in statuses for problem in status.problems]
    problems = [*shared, *(problem for status in statuses for group in status.groups for problem in group.problems)]
    footer = [
        f"{len(rows)} database group{'' if len(rows) == 1 else 's'}, {count or 'none'} with a problem",
        *shared,
        *(f"note: {note}" for note in notes),
        *([CREATE_HINT] if any(problem.endswith(MISSING) for problem in problems) else []),
        *([HELP_HINT] if problems else []),
    ]
    return "\n".join([*format_table([HEADER, *rows]), "", *footer])


def render_json(stack: str, statuses: Collection[ApplicationStatus], notes: Collection[str]) -> dict[str, Any]:
    """Return the status for JSON. Applications and groups have the same keys as in the stack output `applications`."""
    applications = {}
    for status in statuses:
        databases: dict[str, dict[str, Any]] = {}
        for group in status.groups:
            entry = _convert_keys(asdict(group))
            databases.setdefault(entry.pop("engine"), {})[entry.pop("group")] = entry
        applications[status.name] = {
            "namespace": status.namespace,
            "problems": list(status.problems),
            "databases": databases,
        }
    return {"stack": stack, "applications": applications, "notes": list(notes)}


def _build_row(application: str, group: GroupStatus, now: datetime) -> tuple[str, ...]:
    version = group.version or NONE
    return (
        application,
        f"{group.engine}.{group.group}",
        group.service or NONE,
        f"{group.kind} {', '.join(group.hosts)}".strip(),
        version if group.variant == group.engine else f"{group.variant} {version}",
        _format_readiness(group),
        _format_age(group.since, now),
        _format_volume(group.volume) if group.volume else NONE,
        _format_age(group.secret_changed, now),
        "; ".join(_shorten(_normalize(problem)) for problem in group.problems),
    )


def _format_readiness(group: GroupStatus) -> str:
    """Return whether the server is ready; of a server cluster, the number of servers that are."""
    is_cluster = group.servers is not None and group.servers > 1
    return f"{group.ready_servers} of {group.servers}" if is_cluster else READINESS[group.ready]


def _format_age(time: str | None, now: datetime) -> str:
    """Return the time since a point in time: `45s`, `90m`, `47h`, `12d`."""
    if time is None:
        return NONE
    seconds = max(0, int((now - datetime.fromisoformat(time)).total_seconds()))
    unit, size = next(((unit, size) for unit, size in AGE_UNITS if seconds >= MIN_AGE_COUNT * size), ("s", 1))
    return f"{seconds // size}{unit}"


def _format_volume(volume: VolumeStatus) -> str:
    if volume.used_bytes is None or not volume.capacity_bytes:
        return volume.size
    return f"{volume.size}, {volume.used_bytes * 100 // volume.capacity_bytes}% used"


def _normalize(text: str) -> str:
    """Return a message of the cluster on one line, without control characters."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())


def _shorten(text: str) -> str:
    return text if len(text) <= MAX_PROBLEM_LENGTH else f"{text[: MAX_PROBLEM_LENGTH - 1]}…"


def _convert_keys(value: Any) -> Any:
    if isinstance(value, dict):
        return {to_camel(key): _convert_keys(item) for key, item in value.items()}
    return list(value) if isinstance(value, tuple) else value
