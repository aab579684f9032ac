"""The backups as a table and as JSON. Pure functions."""

from collections.abc import Collection
from dataclasses import asdict
from typing import Any

from backups.snapshots import GroupBackups, Snapshot
from stacks.tables import format_table

__all__ = ["format_size", "render_json", "render_text"]

HEADER = ("GROUP", "SNAPSHOT", "TIME (UTC)", "SIZE", "VERIFIED (UTC)")
NONE = "-"
UNIT = 1024
UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def render_text(groups: Collection[GroupBackups], unsaved: Collection[str]) -> str:
    """Return a table of the backups, with the problems below. `unsaved` are groups without backups."""
    rows = [_build_row(backups.group.path, snapshot) for backups in groups for snapshot in backups.snapshots]
    count = f"{len(rows)} backup{'' if len(rows) == 1 else 's'}"
    footer = [
        f"{count} of {len(groups)} database group{'' if len(groups) == 1 else 's'}",
        *(f"{backups.group.path}: {problem}" for backups in groups for problem in backups.problems),
        *([f"without backups: {', '.join(unsaved)}"] if unsaved else []),
    ]
    return "\n".join([*([*format_table([HEADER, *rows]), ""] if rows else []), *footer])


def render_json(stack: str, groups: Collection[GroupBackups], unsaved: Collection[str]) -> dict[str, Any]:
    """Return the backups for JSON, by the path of their group."""
    entries = {
        backups.group.path: {
            "snapshots": [_convert_snapshot(snapshot) for snapshot in backups.snapshots],
            "problems": list(backups.problems),
        }
        for backups in groups
    }
    return {"stack": stack, "groups": entries, "withoutBackups": list(unsaved)}


def format_size(size: int) -> str:
    """Return a number of bytes with three digits: `5.16 MiB`."""
    number, unit = float(size), 0
    while number >= UNIT and unit < len(UNITS) - 1:
        number, unit = number / UNIT, unit + 1
    return f"{number:.4g} {UNITS[unit]}"


def _build_row(path: str, snapshot: Snapshot) -> tuple[str, ...]:
    size = NONE if snapshot.size is None else format_size(snapshot.size)
    return path, snapshot.id, snapshot.time, size, snapshot.verified or NONE


def _convert_snapshot(snapshot: Snapshot) -> dict[str, Any]:
    """Return a snapshot with times of RFC 3339."""
    entry = asdict(snapshot)
    entry["id"] = entry.pop("full_id")
    return {
        **entry,
        **{key: f"{entry[key].replace(' ', 'T')}Z" for key in ("time", "verified") if entry[key] is not None},
    }
