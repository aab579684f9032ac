"""`make backup`: run the CronJob of a group now."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pulumi

from backups.groups import DeployedGroup
from backups.jobs import build_job_name, find_end, follow_job, read_cron_job, start_cron_job
from preflight.cluster_client import list_objects

__all__ = ["require_backups", "run_cron_job"]


def run_cron_job(connection: Any, group: DeployedGroup, show: Callable[[str], None], *, verify: bool) -> str:
    """Save a group, or verify its newest backup. Show the log, and return the last message.

    Raises pulumi.RunError if the Job fails, and ClusterError.
    """
    name, noun = (group.verification_name, "verification") if verify else (group.backup_name, "backup")
    cron_job = require_backups(connection, group)
    if verify:
        cron_job = read_cron_job(connection, group.namespace, name)
        if cron_job is None:
            raise pulumi.RunError(
                f"{group.path} has no verification; remove `verify: false` from its `backup`, and run `make up`"
            )
    if running := _find_running(connection, group.namespace, cron_job["metadata"]["uid"]):
        raise pulumi.RunError(f"a {noun} of {group.path} is running: Job {running}; wait for its end")
    job = build_job_name(name, datetime.now(UTC))
    start_cron_job(connection, cron_job, job)
    show(f"{noun} of {group.path}: Job {job} in namespace {group.namespace}")
    try:
        result = follow_job(connection, group.namespace, job, show)
    except KeyboardInterrupt:
        command = f"kubectl delete --namespace {group.namespace} job/{job}"
        show(f"the {noun} continues in the cluster; `{command}` stops it")
        raise
    if not result.succeeded:
        raise pulumi.RunError(f"the {noun} of {group.path} failed: {result.message.removeprefix('error: ')}")
    return result.message


def require_backups(connection: Any, group: DeployedGroup) -> Any:
    """Return the CronJob that saves a group. Raises pulumi.RunError if it has none, and ClusterError."""
    cron_job = read_cron_job(connection, group.namespace, group.backup_name)
    if cron_job is None:
        raise pulumi.RunError(f"{group.path} has no backups; set `backup` in the stack file, and run `make up`")
    return cron_job


def _find_running(connection: Any, namespace: str, owner: str) -> str | None:
    """Return the name of a Job of a CronJob that has not ended; None if there is none."""
    for job in list_objects(connection, "Job", namespace) or ():
        owners = {entry["uid"] for entry in job["metadata"].get("ownerReferences") or ()}
        if owner in owners and find_end(job) is None:
            return str(job["metadata"]["name"])
    return None
