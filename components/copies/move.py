"""The Job that fills a group from another one. Pulumi waits for it, so a failed copy fails the update."""

import importlib.resources
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_kubernetes as kubernetes

from components.connection import encode_secret_data
from components.copies.spec import CopySpec
from components.engines.definition import Engine, Variant
from components.persisted.labels import copy_labels, copy_pod_labels, object_metadata
from components.planned_objects import PlannedObject
from components.service import ServiceBackend, create_service

__all__ = ["CopyArgs", "CopyEnd", "create_copy", "list_copy_objects"]

SCRIPTS_PATH = "/etc/database-groups"
CERTIFICATES_PATH = "/etc/certificates"
WORK_PATH = "/tmp"
WORK_SIZE = "1Gi"
REQUESTS = {"cpu": "50m", "memory": "128Mi"}
LIMITS = {"memory": "512Mi"}
CA_KEY = "ca.crt"
ADDRESS_KEY = "host"
SKIPPED_KEYS = ("uri", CA_KEY)
"""Keys of the connection Secret that no script reads from a variable."""
SOURCE, TARGET = "SOURCE", "TARGET"


@dataclass(frozen=True, kw_only=True)
class CopyEnd:
    """A group between which data moves."""

    keys: Sequence[str]
    """Keys of its connection Secret."""
    connection: pulumi.Output[Mapping[str, str]]
    """Keys and values of its connection Secret; secret."""
    address: pulumi.Input[str]
    """Host name or IP address at which the Job's Pod reaches the server."""
    tls: str | None
    """TLS mode. None: the engine's programs decide."""


@dataclass(frozen=True, kw_only=True)
class CopyArgs:
    """A copy into a group."""

    application: str
    path: str
    """The group in messages: `applications.shop.databases.postgresql.next`."""
    name: str
    """Name of the Job and its objects: `postgresql-next-from-1`."""
    namespace: pulumi.Input[str]
    stack: str
    engine: Engine
    variant: Variant
    image: str
    spec: CopySpec
    source: CopyEnd
    target: CopyEnd
    target_backend: ServiceBackend
    logs_failures: bool
    """Whether the run has a cluster: only then hooks exist."""


def list_copy_objects(name: str, backend: ServiceBackend) -> Iterator[PlannedObject]:
    """Yield the Kubernetes objects of a copy."""
    yield from (PlannedObject(kind=kind, name=name) for kind in ("Secret", "ConfigMap", "Job"))
    if backend.pod_selector:
        yield PlannedObject(kind="Service", name=name)


def create_copy(args: CopyArgs, *, parent: pulumi.Resource, depends_on: Sequence[pulumi.Resource]) -> pulumi.Resource:
    """Create a Job that copies the source into the target once, and return it.

    Resources: a Secret with both connections; a ConfigMap with the scripts; for a target in the cluster a Service: its
    own Service can still point to another group; the Job. Edits do not change the Job: only its name, which holds the
    number of the run, starts another one.
    """
    metadata = object_metadata(args.name, args.namespace, copy_labels(args.application), args.stack)
    opts = pulumi.ResourceOptions(parent=parent)
    base_name = f"{args.application}-{args.name}"
    values = pulumi.Output.all(
        source=args.source.connection,
        source_address=args.source.address,
        target=args.target.connection,
        target_address=args.target.address,
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
        f"{base_name}-scripts", metadata=metadata, data=_build_scripts(args.engine), opts=opts
    )
    service = []
    if args.target_backend.pod_selector:
        # Pulumi waits here until the server is ready.
        service = [
            create_service(
                metadata,
                args.target_backend,
                application=args.application,
                endpoint_slice_name=args.name,
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
        overwrite = ", and `overwrite: true` if the group holds an incomplete copy" if _can_empty(args.engine) else ""
        pulumi.log.error(
            f"{args.path}.from: the copy failed; read `kubectl logs --namespace {namespace} job/{args.name}`."
            f" Then set `run: {args.spec.run + 1}`{overwrite}",
            parent,
        )
        return False

    hook = pulumi.ErrorHook(f"{args.application}-{args.name}-failure", log_failure)
    return pulumi.ResourceHookBinding(on_error=[hook])


def _can_empty(engine: Engine) -> bool:
    return engine.copy_scripts is not None and engine.copy_scripts.empty is not None


def _build_secret_data(values: Mapping[str, Any]) -> Mapping[str, str]:
    """Return both connections as the data of a Secret, with the addresses that the Job uses."""
    data: dict[str, str] = {}
    for end in (SOURCE, TARGET):
        connection = {**values[end.lower()], ADDRESS_KEY: values[f"{end.lower()}_address"]}
        data |= {_build_key(end, key): value for key, value in connection.items() if key != "uri"}
    return encode_secret_data(data)


def _build_key(end: str, key: str) -> str:
    """Return the variable of a key, which is also its key in the Job's Secret: `SOURCE_ADDRESS`."""
    name = "address" if key == ADDRESS_KEY else key
    return f"{end}_{name}".replace("-", "_").replace(".", "_").upper()


def _build_scripts(engine: Engine) -> dict[str, str]:
    """Return the files in SCRIPTS_PATH."""
    scripts = engine.copy_scripts
    if scripts is None:
        raise ValueError(engine.name)
    receive = importlib.resources.files("components.copies").joinpath("scripts/receive.sh").read_text(encoding="utf-8")
    return {"receive": receive, **scripts.files}


def _build_pod_spec(args: CopyArgs) -> dict[str, Any]:
    """Return the specification of the Pod (core/v1 PodSpec), which Pod Security `restricted` allows."""
    user, ends = args.variant.run_as_user, {SOURCE: args.source, TARGET: args.target}
    env: list[dict[str, Any]] = [
        {"name": "SCRIPTS", "value": SCRIPTS_PATH},
        {"name": "WORK", "value": WORK_PATH},
        {"name": "HOME", "value": WORK_PATH},
        {"name": "REPORT", "value": "/dev/termination-log"},
        {"name": "OVERWRITE", "value": str(args.spec.overwrite).lower()},
    ]
    certificates = []
    for end, group in ends.items():
        if group.tls:
            env.append({"name": f"{end}_TLS", "value": group.tls})
        for key in group.keys:
            name = _build_key(end, key)
            if key == CA_KEY:
                certificates.append({"key": name, "path": end.lower()})
                env.append({"name": f"{end}_CA_FILE", "value": f"{CERTIFICATES_PATH}/{end.lower()}"})
            elif key not in SKIPPED_KEYS:
                env.append({"name": name, "valueFrom": {"secretKeyRef": {"name": args.name, "key": name}}})
    volumes: list[dict[str, Any]] = [
        {"name": "scripts", "configMap": {"name": args.name}},
        {"name": "work", "emptyDir": {"sizeLimit": WORK_SIZE}},
    ]
    mounts: list[dict[str, Any]] = [
        {"name": "scripts", "mountPath": SCRIPTS_PATH, "readOnly": True},
        {"name": "work", "mountPath": WORK_PATH},
    ]
    if certificates:
        volumes.append({"name": "certificates", "secret": {"secretName": args.name, "items": certificates}})
        mounts.append({"name": "certificates", "mountPath": CERTIFICATES_PATH, "readOnly": True})
    return {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": user,
            "runAsGroup": user,
            "fsGroup": user,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [
            {
                "name": "copy",
                "image": args.image,
                "command": ["/bin/sh", f"{SCRIPTS_PATH}/receive"],
                "env": env,
                "resources": {"requests": REQUESTS, "limits": LIMITS},
                "terminationMessagePolicy": "FallbackToLogsOnError",
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "capabilities": {"drop": ["ALL"]},
                    "readOnlyRootFilesystem": True,
                },
                "volumeMounts": mounts,
            }
        ],
        "volumes": volumes,
    }
