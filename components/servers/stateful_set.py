"""A server in the cluster: a StatefulSet with one Pod, which the kinds `local` and `dedicated` share.

The volume claim is a separate resource, so that it can grow and outlive the server. The Pod runs the engine's official
image with all restrictions of Pod Security `restricted`.
"""

import asyncio
import base64
import contextlib
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import pulumi
import pulumi_kubernetes as kubernetes
from pydantic import Field
from pydantic.alias_generators import to_camel

from components.engines.definition import ServerRuntime
from components.passwords import GeneratedPassword, Password
from components.persisted.labels import (
    PASSWORD_VERSION_ANNOTATION,
    SCRIPTS_ANNOTATION,
    VERSION_LABEL,
    pod_selector_labels,
)
from components.planned_objects import PlannedObject
from components.platform import ServerAddress
from components.protection import build_data_resource_options
from components.servers.images import resolve_version, validate_image
from components.servers.kind import (
    PreparedSecret,
    ScratchServer,
    ServerAccess,
    ServerArgs,
    ServerCredentials,
    VolumeRequest,
)
from components.service import ServiceBackend
from components.spec import (
    CpuQuantity,
    ImageReference,
    NonEmptyStr,
    Quantity,
    ScriptText,
    SettingName,
    SettingValue,
    SpecModel,
    StorageClassName,
    format_choices,
    parse_quantity,
)

__all__ = [
    "CHANGE_PASSWORD_PATH",
    "PodPlacement",
    "ResourcesSpec",
    "StatefulSetServerSpec",
    "build_scratch_server",
    "create_password_hooks",
    "create_stateful_set_server",
    "list_stateful_set_objects",
    "read_password_change",
    "resolve_stateful_set_access",
    "validate_stateful_set_server",
]

SCRIPTS_MOUNT_PATH = "/etc/database-groups"
CHANGE_PASSWORD_PATH = f"{SCRIPTS_MOUNT_PATH}/change_password"
TERMINATION_GRACE_PERIOD_SECONDS = 300
"""A server writes its state when it stops: MySQL its buffer pool, Redis its data. Kubernetes then kills it."""
MAX_FILES_SIZE = 1_000_000
"""Bytes of the settings and the init script. A ConfigMap holds 1 MiB, and the program's scripts need a part."""
MEMORY_DIR_SIZE = "16Mi"
SCRATCH_DIR_SIZE = "1Gi"
"""Kubernetes evicts a Pod whose folder exceeds it."""
SHARED_MEMORY_DIVISOR = 2
"""A server's memory includes its shared memory, so the half of it is the limit."""
MAX_START_TIMEOUT_MINUTES = 1440
FAILURE_REPORT_SECONDS = 10
EMBEDDED_ENGINE_KEYS = {"kind", "storage", "storage_class"}
"""Keys that an engine without a server supports."""


class ResourcesSpec(SpecModel):
    """CPU and memory of a server. Set `cpu` and `memory` directly: the program derives requests and limits."""

    cpu: CpuQuantity | None = None
    """CPUs: request and limit (`dedicated`), request only (`local`). Default: `1` (`dedicated`), `50m` (`local`)."""
    memory: Quantity | None = None
    """Memory, request and limit. Default: `2Gi` (`dedicated`), the engine's minimum (`local`)."""


class StatefulSetServerSpec(SpecModel):
    """Keys of a server in the cluster, for each of its kinds."""

    default_storage: ClassVar[str]
    """Size of the volume, if the user sets none."""
    default_memory: ClassVar[str] = ""
    """Memory, if the user sets none. Empty: the engine's minimum."""

    version: NonEmptyStr | None = None
    """Release ("8.4.3"), or release series ("8.4") for its pinned release. In quotes. Default: the variant's series."""
    image: ImageReference | None = None
    """Full image reference, with tag or digest. It must behave as the official image. Default: the official image."""
    storage: Quantity | None = None
    """Volume size with unit. It can be increased, not decreased. Default: `1Gi` (`local`), `10Gi` (`dedicated`)."""
    storage_class: StorageClassName | None = None
    """Storage class of the volume. Default: the cluster's default class."""
    resources: ResourcesSpec = ResourcesSpec()
    """CPU and memory of the server. Default: see `cpu` and `memory`."""
    settings: dict[SettingName, SettingValue] = Field(default_factory=dict)
    """Settings (parameters) that are added to the server's configuration file. Default: none."""
    init_script: ScriptText | None = None
    """Script that runs once, as the superuser, before the server is ready for the first time. Default: none."""
    start_timeout_minutes: Annotated[int, Field(strict=True, ge=1, le=MAX_START_TIMEOUT_MINUTES)] = 10
    """Minutes that an update waits until the server is ready. Increase it for the recovery of a large volume.
    Default: `10`."""


@dataclass(frozen=True, kw_only=True)
class PodPlacement:
    """Where a server runs and its resources: what differs between the kinds."""

    requests: Mapping[str, str]
    limits: Mapping[str, str]
    affinity: Mapping[str, Any]
    node_selector: Mapping[str, str] | None = None
    tolerations: Sequence[Mapping[str, Any]] | None = None


def resolve_stateful_set_access(args: ServerArgs, spec: StatefulSetServerSpec) -> ServerAccess:
    """Return the access to a server in the cluster: the group's own account with a generated password."""
    port, runtime = args.engine.port, _build_runtime(args, spec)
    has_volume = runtime is None or runtime.data_path is not None
    volume = VolumeRequest(storage=spec.storage or spec.default_storage, storage_class=spec.storage_class)
    backend = None
    if port:
        backend = ServiceBackend(
            port=port,
            copy_port=args.engine.copy_port,
            pod_selector=pod_selector_labels(args.labels),
            start_timeout_minutes=spec.start_timeout_minutes,
        )
    return ServerAccess(
        account=args.engine.build_account(args.application, args.group_name),
        account_is_managed=True,
        password_source=GeneratedPassword(version=args.password_version) if args.engine.credential_key else None,
        backend=backend,
        version=resolve_version(args.variant, spec.version, spec.image) or None,
        image=_resolve_image(args, spec) if runtime else None,
        memory=resolve_memory(spec, runtime),
        accepts_new_password=runtime is not None and runtime.change_password_script is not None,
        volume=volume if has_volume else None,
        init_script=spec.init_script,
        mounted_by_application=args.engine.build_runtime is None,
    )


def resolve_memory(spec: StatefulSetServerSpec, runtime: ServerRuntime | None) -> str | None:
    """Return the memory limit of a server; None without a server."""
    return (spec.resources.memory or spec.default_memory or runtime.min_memory) if runtime else None


def validate_stateful_set_server(args: ServerArgs, spec: StatefulSetServerSpec) -> Iterator[tuple[str, str]]:
    """Return an error for an unsupported version and for each key that the engine does not support."""
    engine, variant = args.engine, args.variant
    if engine.build_runtime is None:
        unsupported = sorted(spec.model_fields_set - EMBEDDED_ENGINE_KEYS)
        message = f"not supported for {engine.name}, which has no server; remove it"
        yield from ((to_camel(key), message) for key in unsupported)
        return
    if spec.version and not (re.fullmatch(r"[0-9]+(\.[0-9]+)*", spec.version) and variant.find_series(spec.version)):
        series = format_choices(variant.supported_series)
        yield "version", f"unsupported {variant.name} version {spec.version!r}; use a release of {series}"
        return
    if spec.image is not None:
        yield from validate_image(engine, variant, spec.version, spec.image)
    elif variant.image is None:
        yield "image", f"required for {variant.name}, which has no official image; set your own image"
    elif spec.version and spec.version not in variant.supported_series and not variant.is_release(spec.version):
        series = variant.find_series(spec.version) or variant.default_version
        remedy = f'use the series "{series}", or a release with {variant.release_parts} numbers'
        yield "version", f"{spec.version!r} is neither a release nor a release series; {remedy}"
    runtime = engine.build_runtime(variant, spec.version or variant.default_version)
    memory = spec.resources.memory
    if memory and parse_quantity(memory) < parse_quantity(runtime.min_memory):
        yield "resources.memory", f"{memory} is too little for {variant.name}; use at least {runtime.min_memory}"
    if runtime.data_path is None:
        unsupported = sorted(spec.model_fields_set & {"storage", "storage_class"})
        message = f"not supported for {engine.name}, which has no volume; remove it"
        yield from ((to_camel(key), message) for key in unsupported)
    yield from _validate_files(args, spec, runtime)


def _validate_files(args: ServerArgs, spec: StatefulSetServerSpec, runtime: ServerRuntime) -> Iterator[tuple[str, str]]:
    """Return an error for each setting and each script that the server cannot get."""
    settings_file = args.engine.settings_file
    if spec.init_script is not None and not runtime.runs_init_script:
        yield "initScript", f"not supported for {args.variant.name}; remove it"
    if spec.settings and not settings_file:
        yield "settings", f"not supported for {args.engine.name}; remove it"
    issues = list(settings_file.validate(spec.settings)) if settings_file else []
    if issues:
        yield from ((f"settings.{name}", message) for name, message in issues)
        return
    files = {
        "settings": settings_file.render(spec.settings) if settings_file else "",
        "initScript": spec.init_script or "",
    }
    sizes = {key: len(content.encode()) for key, content in files.items()}
    if sum(sizes.values()) > MAX_FILES_SIZE:
        largest = max(sizes, key=lambda key: sizes[key])
        message = f"`settings` and `initScript` have {sum(sizes.values())} bytes together (limit {MAX_FILES_SIZE})"
        yield largest, f"{message}; shorten it"


def create_stateful_set_server(
    args: ServerArgs,
    spec: StatefulSetServerSpec,
    credentials: ServerCredentials,
    placement: PodPlacement,
    parent: pulumi.Resource,
) -> None:
    """Create a server from the engine's image, or only the volume where the engine has no server.

    Resources, named after the server: a PersistentVolumeClaim, if the engine has data; a ConfigMap with the scripts and
    settings; a StatefulSet.
    """
    runtime = _build_runtime(args, spec)
    claims = []
    if volume := resolve_stateful_set_access(args, spec).volume:
        claim = kubernetes.core.v1.PersistentVolumeClaim(
            f"{args.resource_name}-volume",
            metadata=args.metadata,
            spec=_build_pvc_spec(volume),
            opts=build_data_resource_options(parent, args.protect, deleted_with=args.deleted_with),
        )
        claims = [claim]
    if runtime is None:
        return
    files = _build_config_map_data(args, spec, runtime, placement.limits["memory"])
    config = kubernetes.core.v1.ConfigMap(
        f"{args.resource_name}-scripts",
        metadata=args.metadata,
        # `from` is often removed after the copy. That must not restart the server.
        data=files | (_build_filled_marker(spec) if args.is_filled else {}),
        opts=pulumi.ResourceOptions(parent=parent),
    )
    template = {
        "metadata": {
            "labels": {
                **args.labels,
                VERSION_LABEL: resolve_version(args.variant, spec.version, spec.image),
            },
            "annotations": {**_build_restart_annotation(args, runtime), SCRIPTS_ANNOTATION: _hash_files(files)},
        },
        "spec": _build_pod_spec(args, spec, runtime, credentials, placement),
    }
    stateful_set: Any = {
        # The field is immutable, and the Service need not exist: the server's own name never changes.
        "serviceName": args.object_name,
        "replicas": 1,
        # With the default policy the controller never replaces a Pod that is not ready.
        "podManagementPolicy": "Parallel",
        "selector": {"matchLabels": pod_selector_labels(args.labels)},
        "template": template,
    }
    start_timeout = f"{spec.start_timeout_minutes}m"
    kubernetes.apps.v1.StatefulSet(
        f"{args.resource_name}-server",
        metadata=args.metadata,
        spec=stateful_set,
        opts=pulumi.ResourceOptions(
            parent=parent,
            depends_on=[credentials.secret, config, *claims],
            custom_timeouts=pulumi.CustomTimeouts(create=start_timeout, update=start_timeout),
            hooks=_create_failure_hooks(args, credentials, parent),
        ),
    )


def build_scratch_server(args: ServerArgs, spec: StatefulSetServerSpec) -> ScratchServer:
    """Describe an empty server with the settings, the init script and the size of a specification."""
    runtime = _build_runtime(args, spec)
    memory = resolve_memory(spec, runtime)
    if runtime is None or memory is None:
        raise ValueError(args.engine.name)
    return ScratchServer(
        account=args.engine.build_account(args.application, args.group_name),
        files=_build_config_map_data(args, spec, runtime, memory) | _build_filled_marker(spec),
        env=runtime.env,
        memory=memory,
        storage=spec.storage or spec.default_storage,
        data_path=runtime.data_path,
        folders={name: (path, source) for name, path, source in _list_empty_dirs(runtime, memory)},
    )


def create_password_hooks(
    args: ServerArgs, spec: StatefulSetServerSpec, _password: Password | None, parent: pulumi.Resource
) -> PreparedSecret:
    """Create the hooks with which a running server accepts a new password before the connection Secret changes.

    The script runs a second time after the Secret has changed: the container can have restarted meanwhile with the old
    password. A server in which the script cannot run restarts then.
    """
    runtime, changer, key = _build_runtime(args, spec), args.platform.password_changer, args.engine.credential_key
    if runtime is None or runtime.change_password_script is None or changer is None or key is None:
        return PreparedSecret()

    async def read_change(hook: pulumi.ResourceHookArgs) -> tuple[ServerAddress, str, str] | None:
        change = await read_password_change(hook, key)
        return change and (await _resolve_address(args), *change)

    async def change_password(hook: pulumi.ResourceHookArgs) -> None:
        if change := await read_change(hook):
            reason = await asyncio.to_thread(changer.change_password, *change)
            if reason is not None:
                pulumi.log.warn(reason, parent)

    async def verify_password(hook: pulumi.ResourceHookArgs) -> None:
        if change := await read_change(hook):
            try:
                is_changed = await asyncio.to_thread(changer.change_password, *change) is None
            except pulumi.RunError:
                is_changed = False
            if not is_changed:
                await asyncio.to_thread(changer.restart_server, change[0])

    hooks = pulumi.ResourceHookBinding(
        before_update=[pulumi.ResourceHook(f"{args.resource_name}-change-password", change_password)],
        after_update=[pulumi.ResourceHook(f"{args.resource_name}-verify-password", verify_password)],
    )
    return PreparedSecret(opts=pulumi.ResourceOptions(hooks=hooks))


async def read_password_change(hook: pulumi.ResourceHookArgs, key: str) -> tuple[str, str] | None:
    """Return the old and the new value of a key of a connection Secret. None if it does not change, or is new."""
    data = [(inputs or {}).get("data") for inputs in (hook.old_inputs, hook.new_inputs)]
    # The values of secrets are outputs.
    values = [await pulumi.Output.from_input(value).future() or {} for value in data]
    old, new = [base64.b64decode(value.get(key, "")).decode() for value in values]
    return None if old == new or not old else (old, new)


async def _resolve_address(args: ServerArgs) -> ServerAddress:
    namespace = str(await pulumi.Output.from_input(args.namespace).future())
    return ServerAddress(
        location=args.config_location, namespace=namespace, name=args.object_name, container=args.engine.name
    )


def _build_restart_annotation(args: ServerArgs, runtime: ServerRuntime) -> dict[str, str]:
    """Return the annotation that restarts the Pod with each new password, for a server that needs the restart."""
    needs_restart = runtime.change_password_script is None
    return {PASSWORD_VERSION_ANNOTATION: str(args.password_version)} if needs_restart else {}


def _create_failure_hooks(
    args: ServerArgs, credentials: ServerCredentials, parent: pulumi.Resource
) -> pulumi.ResourceHookBinding | None:
    """Create the hook that prints why the server is not ready. Pulumi itself prints only that the time is over."""
    reporter = args.platform.failure_reporter
    if reporter is None:
        return None

    async def log_failure(_args: pulumi.ErrorHookArgs) -> bool:
        secrets = [str(await credentials.password.value.future())] if credentials.password else []
        description = asyncio.to_thread(reporter.describe_failure, await _resolve_address(args), secrets)
        with contextlib.suppress(TimeoutError):
            if text := await asyncio.wait_for(description, FAILURE_REPORT_SECONDS):
                pulumi.log.error(text, parent)
                await asyncio.sleep(0)  # Pulumi sends a message with a resource in a task of its own
        return False

    hook = pulumi.ErrorHook(f"{args.resource_name}-server-failure", log_failure)
    return pulumi.ResourceHookBinding(on_error=[hook])


def list_stateful_set_objects(
    args: ServerArgs,
    spec: StatefulSetServerSpec,
    node_selector: Mapping[str, str] | None = None,
) -> Iterator[PlannedObject]:
    """Yield the Kubernetes objects of a server, without its volume claim."""
    name, runtime = args.object_name, _build_runtime(args, spec)
    if runtime is not None:
        yield PlannedObject(kind="ConfigMap", name=name)
        yield PlannedObject(
            kind="StatefulSet",
            name=name,
            node_selector=node_selector or {},
            needs_privileges=bool(runtime.capabilities),
        )


def _build_runtime(args: ServerArgs, spec: StatefulSetServerSpec) -> ServerRuntime | None:
    """Return what the server needs; None for an engine without a server."""
    build_runtime = args.engine.build_runtime
    return build_runtime(args.variant, spec.version or args.variant.default_version) if build_runtime else None


def _resolve_image(args: ServerArgs, spec: StatefulSetServerSpec) -> str:
    """Return the user's image, otherwise the official one with the pinned release."""
    return spec.image or f"{args.variant.image}:{resolve_version(args.variant, spec.version, None)}"


def _build_config_map_data(
    args: ServerArgs, spec: StatefulSetServerSpec, runtime: ServerRuntime, memory: str
) -> dict[str, str]:
    """Return the files in SCRIPTS_MOUNT_PATH."""
    settings_file = args.engine.settings_file
    files = {
        "start": runtime.start_script,
        "ready": runtime.readiness_script,
        "started": runtime.post_start_script,
        "change_password": runtime.change_password_script,
        "settings": settings_file.render_with_defaults(spec.settings, parse_quantity(memory))
        if settings_file
        else None,
        "init": spec.init_script,
        **runtime.files,
    }
    return {name: content for name, content in files.items() if content is not None}


def _build_filled_marker(spec: StatefulSetServerSpec) -> dict[str, str]:
    """Return the file with which a first start deletes what the init script created, except extensions."""
    return {"filled": "A copy fills the database.\n"} if spec.init_script else {}


def _build_pvc_spec(volume: VolumeRequest) -> Any:
    """Return the specification of the volume claim (core/v1 PersistentVolumeClaimSpec)."""
    storage_class = {"storageClassName": volume.storage_class} if volume.storage_class else {}
    return {"accessModes": ["ReadWriteOnce"], **storage_class, "resources": {"requests": {"storage": volume.storage}}}


def _build_pod_spec(
    args: ServerArgs,
    spec: StatefulSetServerSpec,
    runtime: ServerRuntime,
    credentials: ServerCredentials,
    placement: PodPlacement,
) -> dict[str, Any]:
    """Return the specification of the Pod (core/v1 PodSpec)."""
    runs_as_root = bool(runtime.capabilities)
    user = args.variant.run_as_user
    user_context: dict[str, Any] = {"runAsUser": 0, "runAsGroup": 0}
    if not runs_as_root:
        user_context = {
            "runAsNonRoot": True,
            "runAsUser": user,
            "runAsGroup": user,
            "fsGroup": user,
            "fsGroupChangePolicy": "OnRootMismatch",
        }
    data = {"name": "data", "persistentVolumeClaim": {"claimName": args.object_name}}
    memory = placement.limits["memory"]
    return {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": TERMINATION_GRACE_PERIOD_SECONDS,
        "securityContext": {**user_context, "seccompProfile": {"type": "RuntimeDefault"}},
        "affinity": placement.affinity,
        **({"nodeSelector": placement.node_selector} if placement.node_selector else {}),
        **({"tolerations": placement.tolerations} if placement.tolerations else {}),
        "containers": [_build_container_spec(args, spec, runtime, credentials, placement)],
        "volumes": [
            *([data] if runtime.data_path else []),
            {"name": "scripts", "configMap": {"name": args.object_name}},
            *({"name": name, "emptyDir": source} for name, _, source in _list_empty_dirs(runtime, memory)),
        ],
    }


def _build_container_spec(
    args: ServerArgs,
    spec: StatefulSetServerSpec,
    runtime: ServerRuntime,
    credentials: ServerCredentials,
    placement: PodPlacement,
) -> dict[str, Any]:
    """Return the server's container (core/v1 Container)."""
    added = {"add": list(runtime.capabilities)} if runtime.capabilities else {}
    lifecycle = {"postStart": {"exec": {"command": ["/bin/sh", f"{SCRIPTS_MOUNT_PATH}/started"]}}}
    return {
        "name": args.engine.name,
        "image": _resolve_image(args, spec),
        "command": ["/bin/sh", f"{SCRIPTS_MOUNT_PATH}/start"],
        "env": _build_container_env(args, runtime, credentials),
        "ports": [{"name": args.engine.name, "containerPort": args.engine.port, "protocol": "TCP"}],
        "readinessProbe": {
            "exec": {"command": ["/bin/sh", f"{SCRIPTS_MOUNT_PATH}/ready"]},
            "periodSeconds": 5,
            "timeoutSeconds": 10,
            "failureThreshold": 3,
        },
        "resources": {"requests": placement.requests, "limits": placement.limits},
        # The reason of a failed start is in the last lines of the log.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"], **added},
            "readOnlyRootFilesystem": True,
        },
        "volumeMounts": list(_list_volume_mounts(runtime, placement)),
        **({"lifecycle": lifecycle} if runtime.post_start_script else {}),
    }


def _list_volume_mounts(runtime: ServerRuntime, placement: PodPlacement) -> Iterator[dict[str, Any]]:
    """Return the mounts of data, scripts and writable folders (core/v1 VolumeMount)."""
    if runtime.data_path:
        sub_path = {"subPath": runtime.data_sub_path} if runtime.data_sub_path else {}
        yield {"name": "data", "mountPath": runtime.data_path, **sub_path}
    yield {"name": "scripts", "mountPath": SCRIPTS_MOUNT_PATH, "readOnly": True}
    yield from (
        {"name": name, "mountPath": path} for name, path, _ in _list_empty_dirs(runtime, placement.limits["memory"])
    )


def _build_container_env(
    args: ServerArgs, runtime: ServerRuntime, credentials: ServerCredentials
) -> list[dict[str, Any]]:
    """Return the account from the connection Secret, the Pod's address, and the image's own variables."""
    credential = [args.engine.credential_key] if args.engine.credential_key else []
    keys = [*credentials.account.secret_entries(), *credential]
    return [
        *(
            {
                "name": f"APPLICATION_{key.upper()}",
                "valueFrom": {"secretKeyRef": {"name": args.object_name, "key": key}},
            }
            for key in keys
        ),
        {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        *({"name": key, "value": value} for key, value in runtime.env.items()),
    ]


def _list_empty_dirs(runtime: ServerRuntime, memory: str) -> Iterator[tuple[str, str, dict[str, str]]]:
    """Yield volume name, path and source (core/v1 EmptyDirVolumeSource) of each writable folder that may be lost."""
    for number, path in enumerate(runtime.memory_dirs):
        yield f"memory-{number}", path, {"medium": "Memory", "sizeLimit": MEMORY_DIR_SIZE}
    for number, path in enumerate(runtime.scratch_dirs):
        yield f"scratch-{number}", path, {"sizeLimit": SCRATCH_DIR_SIZE}
    if runtime.shares_memory:
        size = str(parse_quantity(memory) // SHARED_MEMORY_DIVISOR)
        yield "shared-memory", "/dev/shm", {"medium": "Memory", "sizeLimit": size}


def _hash_files(files: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()[:16]
