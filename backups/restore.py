"""`make restore`: fill the running server of a group with a backup, between two updates."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pulumi

from backups.groups import DeployedGroup, find_group
from backups.jobs import build_job_name, follow_job, run_temporary_job
from backups.listing import read_snapshots
from backups.run import require_backups
from backups.snapshots import Snapshot, describe_snapshot_error, select_snapshot
from backups.text import format_size
from components.connection import encode_secret_data
from components.copies.repository import Repository
from components.copies.restore import RestoreArgs, build_restore_job_spec, read_restore_scripts
from components.database_group import DatabaseGroupArgs
from components.persisted.labels import copy_labels
from stacks.config import Stack

__all__ = ["RestoreRequest", "find_groups_of_request", "restore_backup"]

REPOSITORY_VARIABLE = "RESTIC_REPOSITORY"
MAX_SHOWN_SNAPSHOTS = 10
HOLDS_DATA = "the target holds data"
"""Begin of the message of a Job that changed nothing."""
FIRST_WRITE_RE = re.compile(r"restoring \d+ entries")
"""The line of a Job before it writes data."""
OVERWRITE_HINT = "{} can hold a part of the backup; restore again with OVERWRITE=1"


@dataclass(frozen=True, kw_only=True)
class RestoreRequest:
    """The arguments of the command."""

    source: str
    snapshot: str
    target: str
    overwrite: bool


def find_groups_of_request(
    groups: Sequence[DeployedGroup], request: RestoreRequest
) -> tuple[DeployedGroup, DeployedGroup]:
    """Return the group that was saved, and the group to fill. Raises pulumi.RunError with all errors."""
    found, problems = [], []
    for path, variable in ((request.source, "GROUP"), (request.target, "INTO")):
        try:
            found.append(find_group(groups, path, variable))
        except pulumi.RunError as error:
            problems.append(str(error))
    if problem := describe_snapshot_error(request.snapshot):
        problems.append(problem)
    if not problems and found[0].engine != found[1].engine:
        problems.append(f"{request.target} has another engine than {request.source}; set INTO to a group of its engine")
    if problems:
        raise pulumi.RunError("\nerror: ".join(problems))
    source, target = found
    return source, target


def restore_backup(
    connection: Any,
    stack: Stack,
    groups: tuple[DeployedGroup, DeployedGroup],
    request: RestoreRequest,
    show: Callable[[str], None],
) -> str:
    """Restore a backup into a group, and return the last message of the Job.

    `groups` are those of the request. Raises pulumi.RunError and ClusterError. Until the Job begins, nothing is
    changed. The Job, its Secret and its ConfigMap are deleted at the end.
    """
    source, target = groups
    source_args, args = (_find_args(stack, group) for group in groups)
    repository, spec = source_args.repository, source_args.backup_spec
    if repository is None or spec is None:
        raise pulumi.RunError(f"{source.path} has no backups; set `backup` in the stack file, and run `make up`")
    if not args.supports_copies:
        raise pulumi.RunError(f"{target.path} cannot be filled with a backup; see the row Copies on its engine's page")
    cron_job = require_backups(connection, source)
    _require_same_repository(cron_job, repository, source)
    snapshot = _find_snapshot(connection, source, cron_job, request.snapshot, show)
    name = build_job_name("restore", datetime.now(UTC))
    restore = RestoreArgs(
        name=name,
        application=args.application,
        engine=args.engine,
        variant=args.variant,
        image=args.copy_image or "",
        memory=args.copy_memory,
        repository=repository,
        backup=snapshot.full_id,
        minutes=spec.timeout_minutes,
        overwrite=request.overwrite,
        connection_secret=args.object_name,
        connection_keys=args.connection_keys,
        tls=args.server_access.tls,
    )
    size = "" if snapshot.size is None else f", {format_size(snapshot.size)}"
    show(f"restoring backup {snapshot.id} of {snapshot.time}{size} of {source.path} into {target.path}: Job {name}")
    objects: dict[str, Mapping[str, Any]] = {
        "Secret": {"type": "Opaque", "data": encode_secret_data(repository.secret_entries)},
        "ConfigMap": {"data": dict(read_restore_scripts(args.engine))},
    }
    labels, job_spec = copy_labels(target.application), build_restore_job_spec(restore)
    log: list[str] = []

    def show_line(line: str) -> None:
        log.append(line)
        show(line)

    try:
        with run_temporary_job(connection, target.namespace, name, labels=labels, spec=job_spec, objects=objects):
            result = follow_job(connection, target.namespace, name, show_line)
    except KeyboardInterrupt:
        show(f"interrupted: {OVERWRITE_HINT.format(target.path)}" if _has_written(log) else "interrupted")
        raise
    if result.succeeded:
        return result.message
    hint = "correct the cause, and run the same command again"
    if _has_written(log):
        hint = OVERWRITE_HINT.format(target.path)
    elif result.message.startswith(HOLDS_DATA):
        hint = "set OVERWRITE=1 to delete its data first"
    raise pulumi.RunError(f"the restore into {target.path} failed: {result.message}; {hint}")


def _has_written(log: Sequence[str]) -> bool:
    """Return whether the lines of a Job show that it has begun to write data."""
    return any(map(FIRST_WRITE_RE.fullmatch, log))


def _find_args(stack: Stack, group: DeployedGroup) -> DatabaseGroupArgs:
    """Return the arguments of a group in the stack file. Raises pulumi.RunError."""
    for application in stack.applications:
        for args in application.database_groups:
            if ".".join(args.address) == group.path:
                return args
    raise pulumi.RunError(
        f"the cluster has the group {group.path}, but the stack file does not; write the group in the stack file again."
        " `make up` without it deletes the group"
    )


def _require_same_repository(cron_job: Mapping[str, Any], repository: Repository, group: DeployedGroup) -> None:
    """Reject a stack file with another store than the deployed one."""
    container = cron_job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]
    deployed = {variable["name"]: variable.get("value") for variable in container["env"]}.get(REPOSITORY_VARIABLE)
    if deployed != repository.access.repository:
        raise pulumi.RunError(
            f"the stack file has another store for {group.path} than the cluster; to restore a backup of the deployed"
            " store, write the old `backupStores` and `store` again. `make up` changes to the new store, which does not"
            " have the old backups"
        )


def _find_snapshot(
    connection: Any, group: DeployedGroup, cron_job: Mapping[str, Any], name: str, show: Callable[[str], None]
) -> Snapshot:
    snapshots = read_snapshots(connection, group, cron_job, show)
    snapshot = select_snapshot(snapshots, name)
    if snapshot is None:
        shown = ", ".join(f"{entry.id} of {entry.time}" for entry in snapshots[:MAX_SHOWN_SNAPSHOTS])
        more = ", …" if len(snapshots) > MAX_SHOWN_SNAPSHOTS else ""
        choices = f"it has: {shown}{more}" if snapshots else "it has none; run `make backup` first"
        raise pulumi.RunError(f"{group.path} has no backup {name!r}; {choices}")
    return snapshot
