"""The Job that fills a group from another one or from a backup. Pulumi waits for it: a failed copy fails the update."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_kubernetes as kubernetes

from components.connection import encode_secret_data
from components.copies.pod import (
    CopyEnd,
    Mount,
    PodArgs,
    build_limits,
    build_pod_spec,
    build_work_size,
    list_connection_entries,
    list_connection_mounts,
    list_connection_variables,
    read_scripts,
)
from components.copies.repository import Repository
from components.copies.spec import CopySpec
from components.engines.definition import Engine, Variant
from components.persisted.labels import copy_labels, copy_pod_labels, object_metadata
from components.planned_objects import PlannedObject
from components.service import ServiceBackend, create_service

__all__ = [
    "CopyArgs",
    "CopySource",
    "build_backup_source",
    "build_group_source",
    "create_copy",
    "list_copy_objects",
]

REQUESTS = {"cpu": "50m", "memory": "128Mi"}
SOURCE, TARGET = "SOURCE_", "TARGET_"


@dataclass(frozen=True, kw_only=True)
class CopySource:
    """Where the data of a copy comes from."""

    producer: str
    """Script that writes the copy."""
    scripts: Sequence[str] = ()
    """Further scripts that it needs."""
    entries: pulumi.Output[Mapping[str, str]]
    """Entries of the Job's Secret."""
    list_variables: Callable[[str], Iterator[dict[str, Any]]]
    """Yield the variables of the Pod, from the name of the Job's Secret."""
    list_mounts: Callable[[str], Iterator[Mount]]
    """Yield the volumes of the Pod, from the name of the Job's Secret."""
    init_containers: Sequence[dict[str, Any]] = ()


def build_group_source(end: CopyEnd) -> CopySource:
    """Return another group as a source."""
    values = pulumi.Output.all(connection=end.connection, address=end.address)
    return CopySource(
        producer="write",
        entries=values.apply(lambda all_: list_connection_entries(all_["connection"], all_["address"], SOURCE)),
        list_variables=lambda secret: list_connection_variables(end.keys, end.tls, secret, SOURCE),
        list_mounts=lambda secret: list_connection_mounts({SOURCE: end.keys}, secret),
    )


def build_backup_source(repository: Repository, backup: str, minutes: int) -> CopySource:
    """Return a backup as a source. `minutes` is the time limit of the copy."""
    values = {"BACKUP": backup, "LIMIT_SECONDS": str(minutes * 60)}
    variables = [{"name": name, "value": value} for name, value in values.items()]
    return CopySource(
        producer="snapshot",
        scripts=["restic"],
        entries=pulumi.Output.from_input(dict(repository.secret_entries)),
        list_variables=lambda secret: iter([*variables, *repository.list_variables(secret)]),
        list_mounts=repository.list_mounts,
        init_containers=[repository.build_init_container()],
    )


@dataclass(frozen=True, kw_only=True)
class CopyArgs:
    """A copy into a group."""

    application: str
    path: str
    """The group in messages: `applications.shop.databases.postgresql.next`."""
    name: str
    """Name of the Job, its Secret and its ConfigMap: `postgresql-next-from-1`."""
    service_name: str
    """Name of the Service by which the Job reaches a target in the cluster."""
    namespace: pulumi.Input[str]
    stack: str
    engine: Engine
    variant: Variant
    image: str
    memory: str | None
    """Memory for the data of the source. None: the copy does not load it."""
    storage: str
    """Size of the data of the source."""
    spec: CopySpec
    has_from: bool
    """Whether the group has `from` in the stack file. False: `restoreAll` fills it."""
    source: CopySource
    target: CopyEnd
    target_backend: ServiceBackend
    logs_failures: bool
    """Whether the run has a cluster: only then hooks exist."""


def list_copy_objects(name: str, service: str, backend: ServiceBackend) -> Iterator[PlannedObject]:
    """Yield the Kubernetes objects of a copy."""
    yield from (PlannedObject(kind=kind, name=name) for kind in ("Secret", "ConfigMap", "Job"))
    if backend.pod_selector:
        yield PlannedObject(kind="Service", name=service)


def create_copy(args: CopyArgs, *, parent: pulumi.Resource, depends_on: Sequence[pulumi.Resource]) -> pulumi.Resource:
    """Create a Job that copies the source into the target once, and return it.

    Resources: a Secret with the connections; a ConfigMap with the scripts; for a target in the cluster a Service: its
    own Service can still point to another group; the Job. Edits do not change the Job: only its name, which holds the
    number of the run, starts another one.
    """
    metadata = object_metadata(args.name, args.namespace, copy_labels(args.application), args.stack)
    opts = pulumi.ResourceOptions(parent=parent)
    base_name = f"{args.application}-{args.name}"
    values = pulumi.Output.all(
        source=args.source.entries, connection=args.target.connection, address=args.target.address
    )
    data: pulumi.Output[Mapping[str, str]] = pulumi.Output.secret(values.apply(_build_secret_data))
    secret = kubernetes.core.v1.Secret(
        f"{base_name}-connections",
        metadata=metadata,
        type="Opaque",
        data=data,
        opts=opts,
    )
    config = kubernetes.core.v1.ConfigMap(
        f"{base_name}-scripts",
        metadata=metadata,
        data=read_scripts(args.engine, "receive", args.source.producer, *args.source.scripts),
        opts=opts,
    )
    service = []
    if args.target_backend.pod_selector:
        # Pulumi waits here until the server is ready.
        service = [
            create_service(
                {**metadata, "name": args.service_name},
                args.target_backend,
                application=args.application,
                endpoint_slice_name=args.service_name,
                port_name=args.engine.name,
                parent=parent,
            )
        ]
    minutes = args.spec.timeout_minutes
    job_spec: Any = {
        "backoffLimit": 0,
        "activeDeadlineSeconds": minutes * 60,
        "template": {"metadata": {"labels": copy_pod_labels(args.application)}, "spec": _build_pod_spec(args)},
    }
    return kubernetes.batch.v1.Job(
        f"{base_name}-job",
        metadata=metadata,
        spec=job_spec,
        opts=pulumi.ResourceOptions(
            parent=parent,
            depends_on=[secret, config, *service, *depends_on],
            # The template of a Job is immutable: another image would start the copy again.
            ignore_changes=["spec"],
            # The Pod also pulls its image.
            custom_timeouts=pulumi.CustomTimeouts(create=f"{minutes + 10}m", update=f"{minutes + 10}m"),
            hooks=_create_failure_hooks(args, parent) if args.logs_failures else None,
        ),
    )


def _create_failure_hooks(args: CopyArgs, parent: pulumi.Resource) -> pulumi.ResourceHookBinding:
    """Create the hook that names the group of a failed copy, and how to read the reason."""

    async def log_failure(_args: pulumi.ErrorHookArgs) -> bool:
        namespace = await pulumi.Output.from_input(args.namespace).future()
        command = f"`kubectl logs --namespace {namespace} job/{args.name}`"
        pulumi.log.error(f"{args.path}{_describe_failure(args, command)}", parent)
        return False

    hook = pulumi.ErrorHook(f"{args.application}-{args.name}-failure", log_failure)
    return pulumi.ResourceHookBinding(on_error=[hook])


def _describe_failure(args: CopyArgs, command: str) -> str:
    """Return the end of the message about a failed copy. `command` prints the reason."""
    spec, run = args.spec, args.spec.run + 1
    scripts = args.engine.copy_scripts
    overwrite = ", with `overwrite: true` if the group holds an incomplete copy" if scripts and scripts.empty else ""
    if args.has_from:
        return f".from: the copy failed; read {command}. Then set `run: {run}` in the group's `from`{overwrite}"
    # A later time would restore this group from another time than the others.
    entry = f'from: {{backup: "{spec.backup}", run: {run}, timeoutMinutes: {spec.timeout_minutes}}}'
    return f": the restore failed; read {command}. Then add `{entry}` to the group{overwrite}"


def _build_secret_data(values: Mapping[str, Any]) -> Mapping[str, str]:
    """Return the data of the Job's Secret: what the source needs, and the connection of the target."""
    target = list_connection_entries(values["connection"], values["address"], TARGET)
    return encode_secret_data({**values["source"], **target})


def _build_pod_spec(args: CopyArgs) -> dict[str, Any]:
    """Return the specification of the Pod (core/v1 PodSpec)."""
    source, target = args.source, args.target
    return build_pod_spec(
        PodArgs(
            container="copy",
            image=args.image,
            user=args.variant.run_as_user,
            script="receive",
            config_map=args.name,
            variables=[
                {"name": "OVERWRITE", "value": str(args.spec.overwrite).lower()},
                {"name": "PRODUCER", "value": source.producer},
                *source.list_variables(args.name),
                *list_connection_variables(target.keys, target.tls, args.name, TARGET),
            ],
            requests=REQUESTS,
            limits=build_limits(args.memory),
            work_size=build_work_size(args.storage),
            mounts=[*source.list_mounts(args.name), *list_connection_mounts({TARGET: target.keys}, args.name)],
            init_containers=source.init_containers,
        )
    )
