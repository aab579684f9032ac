"""The verification of a group's backups: a CronJob restores the newest one into a server of its own, and compares.

The server runs in the container of the verification, which has the image of the group's server.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_kubernetes as kubernetes

from components.copies.backup import BackupArgs, build_cron_job_spec
from components.copies.backup_spec import build_cron, find_longest_interval
from components.copies.pod import WORK_PATH, Mount, PodArgs, build_limits, build_pod_spec, read_scripts
from components.persisted.labels import copy_labels, object_metadata
from components.planned_objects import PlannedObject
from components.servers.kind import ScratchServer

__all__ = ["VerificationArgs", "create_verification", "list_verification_objects"]

FIRST_HOUR = 6
"""Verifications begin after the daily backups of all groups."""
REPOSITORY_PARTS = 12
"""A run reads one part of the repository, and the newest backup as a whole."""
CPU_REQUEST = "50m"
START_MINUTES = 10


@dataclass(frozen=True, kw_only=True)
class VerificationArgs:
    """The verification of a group's backups."""

    backup: BackupArgs
    name: str
    """Name of the CronJob and its ConfigMap: `postgresql-main-verify`."""
    labels: Mapping[str, str]
    """Labels of the Pod."""
    server: ScratchServer


def list_verification_objects(name: str) -> Iterator[PlannedObject]:
    """Yield the Kubernetes objects of a verification."""
    yield from (PlannedObject(kind=kind, name=name) for kind in ("ConfigMap", "CronJob"))


def create_verification(
    args: VerificationArgs, *, parent: pulumi.Resource, depends_on: Sequence[pulumi.Resource]
) -> None:
    """Create the verification of a group's backups.

    Resources: a ConfigMap with the scripts of the copy and of the server; a CronJob. It uses the Secret of the backups.
    """
    backup = args.backup
    metadata = object_metadata(args.name, backup.namespace, copy_labels(backup.application), backup.stack)
    base_name = f"{backup.resource_name}-verify"
    scripts = {**args.server.files, **read_scripts(backup.engine, "restic", "snapshot", "receive", "verify")}
    config = kubernetes.core.v1.ConfigMap(
        f"{base_name}-scripts", metadata=metadata, data=scripts, opts=pulumi.ResourceOptions(parent=parent)
    )
    cron = build_cron(str(backup.spec.verify), backup.resource_name, FIRST_HOUR)
    template = {"metadata": {"labels": dict(args.labels)}, "spec": _build_pod_spec(args, cron)}
    # Two calls of restic have the time limit of a backup, and the restore has another one.
    minutes = START_MINUTES + 3 * backup.spec.timeout_minutes
    kubernetes.batch.v1.CronJob(
        base_name,
        metadata=metadata,
        spec=build_cron_job_spec(cron, template, minutes),
        opts=pulumi.ResourceOptions(parent=parent, depends_on=[config, *depends_on]),
    )


def _build_pod_spec(args: VerificationArgs, cron: str) -> dict[str, Any]:
    """Return the specification of the Pod (core/v1 PodSpec)."""
    backup, server = args.backup, args.server
    limits = build_limits(server.memory)
    return build_pod_spec(
        PodArgs(
            container="verify",
            image=backup.image,
            user=backup.variant.run_as_user,
            script="verify",
            config_map=args.name,
            variables=[
                *backup.repository.list_variables(backup.name),
                {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
                *({"name": name, "value": value} for name, value in _build_variables(args, cron).items()),
            ],
            # Without this request, the node could end the server in the middle of the restore.
            requests={"cpu": CPU_REQUEST, **limits},
            limits=limits,
            mounts=[*backup.repository.list_mounts(backup.name), *_list_server_mounts(args)],
            init_containers=[backup.repository.build_init_container()],
        )
    )


def _build_variables(args: VerificationArgs, cron: str) -> dict[str, str]:
    """Return the variables of the script, and those of the server's own script."""
    backup, server = args.backup, args.server
    return {
        "LIMIT_SECONDS": str(backup.spec.timeout_minutes * 60),
        "START_SECONDS": str(START_MINUTES * 60),
        "MAX_AGE_SECONDS": str(backup.spec.max_age_seconds),
        "INTERVAL_SECONDS": str(find_longest_interval(cron)),
        "PARTS": str(REPOSITORY_PARTS),
        "CREDENTIAL": (backup.engine.credential_key or "password").upper(),
        "PRIVATE": " ".join(backup.repository.secret_entries),
        "TARGET_PORT": str(backup.engine.port),
        **{f"APPLICATION_{key.upper()}": value for key, value in server.account.secret_entries().items()},
        **server.env,
    }


def _list_server_mounts(args: VerificationArgs) -> Iterator[Mount]:
    """Yield the writable folders of the server. The Pod has the work folder already."""
    server = args.server
    if server.data_path:
        size = args.backup.spec.verify_storage or server.storage
        yield Mount(name="data", path=server.data_path, source={"emptyDir": {"sizeLimit": size}})
    for name, (path, source) in server.folders.items():
        if path != WORK_PATH:
            yield Mount(name=name, path=path, source={"emptyDir": dict(source)})
