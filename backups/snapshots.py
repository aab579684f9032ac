"""The backups of groups: what a repository and the cluster know about them. Pure functions."""

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from backups.groups import DeployedGroup

__all__ = [
    "NO_SUCCESS",
    "GroupBackups",
    "Snapshot",
    "Verification",
    "add_verifications",
    "describe_snapshot_error",
    "find_verifications",
    "parse_snapshots",
    "select_snapshot",
]

Json = Mapping[str, Any]

VERIFIED_RE = re.compile(r"^snapshot ([0-9a-f]{8}) of \S+ can be restored", re.MULTILINE)
"""The last message of a verification."""
NO_SUCCESS = "no backup has succeeded yet"
ID_RE = re.compile("[0-9a-f]{8,64}")
TIME_RE = re.compile(r"\d{4}-\d{2}-\d{2} \d{2}:\d{2}(:\d{2})?")
LATEST = "latest"
EXAMPLE = "2026-11-24 03:00"


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """A backup."""

    id: str
    """First eight characters of the id."""
    full_id: str
    time: str
    """Time of its begin in UTC: `2026-11-24 03:00:12`."""
    size: int | None
    """Bytes of inventory and data."""
    verified: str | None = None
    """Time of the last verification that restored it (UTC)."""


@dataclass(frozen=True, kw_only=True)
class Verification:
    """The end of a verification."""

    time: str
    succeeded: bool
    message: str


@dataclass(frozen=True, kw_only=True)
class GroupBackups:
    """The backups of a group."""

    group: DeployedGroup
    snapshots: tuple[Snapshot, ...] = ()
    """The newest one is the first."""
    problems: tuple[str, ...] = ()


def parse_snapshots(log: str) -> tuple[Snapshot, ...]:
    """Return the snapshots in the log of the Job that lists them, the newest one first. Raises ValueError."""
    lines = [line for line in log.splitlines() if line.startswith("[")]
    if not lines:
        raise ValueError(log)
    snapshots = [
        Snapshot(
            id=entry["id"][:8],
            full_id=entry["id"],
            time=_format_time(entry["time"]),
            size=entry.get("summary", {}).get("total_bytes_processed"),
        )
        for entry in json.loads(lines[-1])
    ]
    return tuple(sorted(snapshots, key=lambda snapshot: snapshot.time, reverse=True))


def find_verifications(pods: Collection[Json], group: DeployedGroup) -> list[Verification]:
    """Return the verifications of a group that have ended and whose Pods still exist, the newest one first."""
    job_re = re.compile(rf"{re.escape(group.verification_name)}-\d+")
    found = []
    for pod in pods:
        metadata = pod["metadata"]
        if metadata["namespace"] != group.namespace or not job_re.fullmatch(metadata["labels"].get("job-name", "")):
            continue
        for status in pod.get("status", {}).get("containerStatuses") or ():
            if ended := status.get("state", {}).get("terminated"):
                message = str(ended.get("message") or ended.get("reason", "")).strip()
                time = _format_time(ended["finishedAt"])
                found.append(Verification(time=time, succeeded=ended["exitCode"] == 0, message=message))
    return sorted(found, key=lambda entry: entry.time, reverse=True)


def add_verifications(snapshots: Collection[Snapshot], verifications: Collection[Verification]) -> tuple[Snapshot, ...]:
    """Return the snapshots with the time of their last successful verification."""
    times: dict[str, str] = {}
    for entry in verifications:
        if entry.succeeded and (match := VERIFIED_RE.search(entry.message)):
            times.setdefault(match[1], entry.time)
    return tuple(
        Snapshot(id=item.id, full_id=item.full_id, time=item.time, size=item.size, verified=times.get(item.id))
        for item in snapshots
    )


def select_snapshot(snapshots: Collection[Snapshot], name: str) -> Snapshot | None:
    """Return a snapshot by `latest`, the beginning of its id, or a time in UTC; None if there is none.

    For a time, the newest backup that is not later counts. `snapshots` begin with the newest one.
    """
    return next((snapshot for snapshot in snapshots if _is_match(snapshot, name)), None)


def describe_snapshot_error(name: str) -> str | None:
    """Return why a text names no snapshot; None if it can be one."""
    if name == LATEST or ID_RE.fullmatch(name) or TIME_RE.fullmatch(name):
        return None
    problem = f"invalid snapshot {name!r}" if name else "SNAPSHOT is missing"
    return f"{problem}; set SNAPSHOT to `latest`, an id, or a time in UTC, for example `{EXAMPLE}`"


def _is_match(snapshot: Snapshot, name: str) -> bool:
    if TIME_RE.fullmatch(name):
        # The time of a snapshot has more digits.
        return snapshot.time[: len(name)] <= name
    return name == LATEST or snapshot.full_id.startswith(name)


def _format_time(time: str) -> str:
    """Return a time (RFC 3339, with up to nine digits of a second) in UTC, in whole seconds."""
    text = re.sub(r"\.\d+", "", time)
    return f"{datetime.fromisoformat(text).astimezone(UTC):%Y-%m-%d %H:%M:%S}"
