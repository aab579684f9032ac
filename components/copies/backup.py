"""The backups of a group: a CronJob that saves it, and a Job that creates its repository.

Pulumi waits for the Job, so a store that the cluster cannot use fails the update.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_kubernetes as kubernetes

from components.connection import encode_secret_data
from components.copies.backup_spec import BackupSpec, build_cron
from components.copies.pod import (
    Mount,
    PodArgs,
    build_limits,
    build_pod_spec,
    build_work_size,
    list_connection_mounts,
    list_connection_variables,
    read_scripts,
)
from components.copies.repository import Repository
from components.engines.definition import Engine, Variant
from components.persisted.labels import copy_labels, copy_pod_labels, object_metadata
from components.persisted.names import repository_job_name
from components.planned_objects import PlannedObject

__all__ = ["BackupArgs", "build_cron_job_spec", "create_backup", "list_backup_objects"]

REQUESTS = {"cpu": "50m", "memory": "128Mi"}
INIT_MINUTES = 10
PRUNE_MINUTES = 60
"""The deletion of old backups waits 10 minutes for other processes, and rewrites parts of the repository."""
MAX_START_DELAY_SECONDS = 1800
"""A run that cannot begin in this time is left out."""


@dataclass(frozen=True, kw_only=True)
class BackupArgs:
    """The backups of a group."""

    application: str
    path: str
    """The group in messages: `applications.shop.databases.postgresql.main`."""
    name: str
    """Name of the CronJob, its Secret and its ConfigMap: `postgresql-main-backup`."""
    resource_name: str
    """Pulumi name of the group."""
    namespace: pulumi.Input[str]
    stack: str
    engine: Engine
    variant: Variant
    image: str
    memory: str | None
    """Memory for the data of the source. None: the copy does not load it."""
    storage: str
    """Size of the data of the source."""
    spec: BackupSpec
    repository: Repository
    connection_secret: str
    connection_keys: Sequence[str]
    """Keys of the connection Secret."""
    tls: str | None
    """TLS mode. None: the engine's programs decide."""
    logs_failures: bool
    """Whether the run has a cluster: only then hooks exist."""


def list_backup_objects(name: str, repository: Repository) -> Iterator[PlannedObject]:
    """Yield the Kubernetes objects of a group's backups."""
    yield from (PlannedObject(kind=kind, name=name) for kind in ("Secret", "ConfigMap", "CronJob"))
    yield PlannedObject(kind="Job", name=repository_job_name(name, repository.digest))


def create_backup(
    args: BackupArgs, *, parent: pulumi.Resource, depends_on: Sequence[pulumi.Resource]
) -> pulumi.Resource:
    """Create the backups of a group, and return the Job that creates its repository.

    Resources: a Secret with the repository's password and the credentials of the store; a ConfigMap with the scripts; a
    Job that creates the repository, unless it exists; a CronJob. Their deletion deletes no backup.
    """
    labels = copy_labels(args.application)
    metadata = object_metadata(args.name, args.namespace, labels, args.stack)
    base_name = f"{args.resource_name}-backup"
    opts = pulumi.ResourceOptions(parent=parent)
    secret = kubernetes.core.v1.Secret(
        f"{base_name}-repository",
        metadata=metadata,
        type="Opaque",
        data=pulumi.Output.secret(encode_secret_data(dict(args.repository.secret_entries))),
        opts=opts,
    )
    scripts = read_scripts(args.engine, "restic", "init", "write", "backup", "list")
    config = kubernetes.core.v1.ConfigMap(f"{base_name}-scripts", metadata=metadata, data=scripts, opts=opts)
    job_name = repository_job_name(args.name, args.repository.digest)
    init_spec: Any = {
        "backoffLimit": 1,
        "activeDeadlineSeconds": INIT_MINUTES * 60,
        "template": {
            "metadata": {"labels": copy_pod_labels(args.application)},
            "spec": _build_pod_spec(args, "init"),
        },
    }
    init = kubernetes.batch.v1.Job(
        f"{args.application}-{job_name}",
        metadata=object_metadata(job_name, args.namespace, labels, args.stack),
        spec=init_spec,
        opts=pulumi.ResourceOptions(
            parent=parent,
            depends_on=[secret, config],
            # The template of a Job is immutable. The name changes with the repository and its credentials.
            ignore_changes=["spec"],
            custom_timeouts=pulumi.CustomTimeouts(create=f"{INIT_MINUTES + 5}m", update=f"{INIT_MINUTES + 5}m"),
            hooks=_create_failure_hooks(args, job_name, parent) if args.logs_failures else None,
        ),
    )
    limit = args.spec.timeout_minutes
    template = {
        "metadata": {"labels": copy_pod_labels(args.application)},
        "spec": _build_pod_spec(
            args,
            "backup",
            _build_backup_variables(args),
            list_connection_mounts({"": args.connection_keys}, args.connection_secret),
        ),
    }
    cron = build_cron(args.spec.schedule, args.resource_name)
    kubernetes.batch.v1.CronJob(
        base_name,
        metadata=metadata,
        spec=build_cron_job_spec(cron, template, limit + PRUNE_MINUTES),
        opts=pulumi.ResourceOptions(parent=parent, depends_on=[init, *depends_on]),
    )
    return init


def build_cron_job_spec(cron: str, template: Mapping[str, Any], minutes: int) -> Any:
    """Return the specification of a CronJob (batch/v1 CronJobSpec). `minutes` is the time limit of a run."""
    return {
        "schedule": cron,
        "timeZone": "Etc/UTC",
        "concurrencyPolicy": "Forbid",
        "startingDeadlineSeconds": MAX_START_DELAY_SECONDS,
        "successfulJobsHistoryLimit": 1,
        "failedJobsHistoryLimit": 3,
        "jobTemplate": {
            "spec": {"backoffLimit": 0, "activeDeadlineSeconds": minutes * 60, "template": template},
        },
    }


def _create_failure_hooks(args: BackupArgs, job_name: str, parent: pulumi.Resource) -> pulumi.ResourceHookBinding:
    """Create the hook that names the group whose repository cannot be used, and how to read the reason."""

    async def log_failure(_args: pulumi.ErrorHookArgs) -> bool:
        namespace = await pulumi.Output.from_input(args.namespace).future()
        job = f"--namespace {namespace} job/{job_name}"
        pulumi.log.error(
            f"{args.path}.backup: the cluster cannot use the repository of the backups; read `kubectl logs {job}`."
            " Correct the store in the stack file, and update again. If the stack file is correct, run"
            f" `kubectl delete {job}` and `make refresh` first",
            parent,
        )
        return False

    return pulumi.ResourceHookBinding(on_error=[pulumi.ErrorHook(f"{args.resource_name}-backup-failure", log_failure)])


def _build_backup_variables(args: BackupArgs) -> list[dict[str, Any]]:
    keep = "" if args.repository.store.is_append_only else args.spec.keep.options
    return [
        {"name": "LIMIT_SECONDS", "value": str(args.spec.timeout_minutes * 60)},
        {"name": "KEEP", "value": keep},
        *list_connection_variables(args.connection_keys, args.tls, args.connection_secret),
    ]


def _build_pod_spec(
    args: BackupArgs, script: str, variables: Iterable[dict[str, Any]] = (), mounts: Iterable[Mount] = ()
) -> dict[str, Any]:
    """Return the specification of a Pod that runs a script with the repository (core/v1 PodSpec).

    The Job that creates the repository has no mount of the connection Secret, which follows the servers of a cluster.
    """
    return build_pod_spec(
        PodArgs(
            container=script,
            image=args.image,
            user=args.variant.run_as_user,
            script=script,
            config_map=args.name,
            variables=[*args.repository.list_variables(args.name), *variables],
            requests=REQUESTS,
            limits=build_limits(args.memory),
            work_size=build_work_size(args.storage),
            mounts=[*args.repository.list_mounts(args.name), *mounts],
            init_containers=[args.repository.build_init_container()],
        )
    )
