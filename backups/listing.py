"""`make backups`: a short Job for each group lists its repository, since this machine may not reach the store."""

import copy
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from backups.groups import DeployedGroup
from backups.jobs import WAITING, build_job_name, follow_job, run_temporary_job
from backups.snapshots import (
    NO_SUCCESS,
    GroupBackups,
    Snapshot,
    add_verifications,
    find_verifications,
    parse_snapshots,
)
from components.persisted.labels import PROGRAM_SELECTOR, copy_labels
from preflight.cluster_client import list_objects, run_parallel
from preflight.errors import ClusterError

__all__ = ["Listing", "list_backups", "read_snapshots"]

Json = Mapping[str, Any]
TIMEOUT_SECONDS = 300
"""Time limit of a Job that lists a repository, with the start of its Pod."""


@dataclass(frozen=True, kw_only=True)
class Listing:
    """The backups of groups."""

    groups: Sequence[GroupBackups]
    unsaved: Sequence[str]
    """Groups without backups."""
    has_failed: bool
    """Whether a repository could not be read."""


def list_backups(connection: Any, groups: Collection[DeployedGroup], show: Callable[[str], None]) -> Listing:
    """Read the backups of groups, all at once. Raises ClusterError."""
    namespaces = sorted({group.namespace for group in groups})
    cron_jobs = {
        (item["metadata"]["namespace"], item["metadata"]["name"]): item
        for item in _list_all(connection, "CronJob", namespaces)
    }
    pods = _list_all(connection, "Pod", namespaces)
    saved = [group for group in groups if (group.namespace, group.backup_name) in cron_jobs]

    def read(group: DeployedGroup) -> tuple[GroupBackups, bool]:
        cron_job = cron_jobs[group.namespace, group.backup_name]
        verifications = find_verifications(pods, group)
        problems = [] if cron_job.get("status", {}).get("lastSuccessfulTime") else [NO_SUCCESS]
        if verifications and not verifications[0].succeeded:
            reason = verifications[0].message.removeprefix("error: ")
            problems.append(f"the verification of {verifications[0].time} failed: {reason}")
        try:
            snapshots = read_snapshots(connection, group, cron_job, lambda line: show(f"{group.path}: {line}"))
        except ClusterError as error:
            return GroupBackups(group=group, problems=(*problems, str(error))), True
        snapshots = add_verifications(snapshots, verifications)
        return GroupBackups(group=group, snapshots=snapshots, problems=tuple(problems)), False

    results = run_parallel(read, saved)
    return Listing(
        groups=[backups for backups, _ in results],
        unsaved=[group.path for group in groups if group not in saved],
        has_failed=any(has_failed for _, has_failed in results),
    )


def read_snapshots(
    connection: Any, group: DeployedGroup, cron_job: Json, show: Callable[[str], None]
) -> tuple[Snapshot, ...]:
    """Return the backups of a group, the newest one first. Raises ClusterError.

    The Pod is that of the backup, with another script.
    """
    template = copy.deepcopy(cron_job["spec"]["jobTemplate"]["spec"]["template"])
    container = template["spec"]["containers"][0]
    shell, path = container["command"]
    container["command"] = [shell, f"{path.rpartition('/')[0]}/list"]
    spec = {"activeDeadlineSeconds": TIMEOUT_SECONDS, "template": template}
    name = build_job_name(f"{group.object_name}-list", datetime.now(UTC))

    def show_wait(line: str) -> None:
        if line.startswith(WAITING):
            show(line)

    labels = copy_labels(group.application)
    with run_temporary_job(connection, group.namespace, name, labels=labels, spec=spec):
        result = follow_job(connection, group.namespace, name, show_wait)
    if not result.succeeded:
        raise ClusterError(result.message.removeprefix("error: "))
    try:
        return parse_snapshots(result.log)
    except ValueError:
        raise ClusterError("the list of backups cannot be read; run the command again") from None


def _list_all(connection: Any, kind: str, namespaces: Collection[str]) -> list[Json]:
    """Return the program's objects of a kind in namespaces. Raises ClusterError."""
    selector = ",".join(f"{key}={value}" for key, value in PROGRAM_SELECTOR.items())

    def read(namespace: str) -> list[Json]:
        items = list_objects(connection, kind, namespace, query={"labelSelector": selector})
        if items is None:
            raise ClusterError(f"not allowed to list {kind} objects in namespace {namespace}")
        return list(items)

    return [item for items in run_parallel(read, namespaces) for item in items]
