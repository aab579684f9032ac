"""What the server kinds share: what each is asked with, what each answers, and the one server that we run ourselves.

That server is a StatefulSet of one Pod on a volume claim of its own, so that the claim can grow and outlive it, with the engine's
official image under everything that Pod Security `restricted` asks for.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Generic, TypeVar

import pulumi
import pulumi_kubernetes as kubernetes
from pydantic import Field, SecretStr

from components.engines.definition import Account, Engine, ServerRuntime, Variant
from components.passwords import GeneratedPassword
from components.platform import Platform, data_resource_options
from components.service import ServiceBackend
from components.spec import CpuQuantity, NonEmptyStr, Quantity, SettingName, SettingValue, SpecModel
from components.tls import CaBundle

__all__ = [
    "VERIFY_FULL",
    "PodPlacement",
    "ResourcesSpec",
    "ServerAccess",
    "ServerArgs",
    "ServerCredentials",
    "ServerKind",
    "StatefulSetServerSpec",
    "create_stateful_set_server",
    "resolve_stateful_set_access",
    "validate_stateful_set_server",
]

VERIFY_FULL = "verify-full"
SCRIPTS_MOUNT_PATH = "/etc/database-groups"
TERMINATION_GRACE_PERIOD_SECONDS = 60


class ResourcesSpec(SpecModel):
    """What a server may use of its node."""

    cpu: CpuQuantity | None = None
    memory: Quantity | None = None


class StatefulSetServerSpec(SpecModel):
    """What may be said of a server that we run, whatever its kind."""

    version: NonEmptyStr | None = None
    """A version series of the variant, or a release of one: "8.4" or "8.4.3". The program's default by default."""
    image: NonEmptyStr | None = None
    """An image to use instead of the official one. It must behave as the official one does."""
    storage: Quantity | None = None
    """The size of the volume. It can grow."""
    storage_class: NonEmptyStr | None = None
    """The cluster's default by default."""
    resources: ResourcesSpec = ResourcesSpec()
    settings: dict[SettingName, SettingValue] = Field(default_factory=dict)
    """What the server's own configuration file says beside what the program gives it."""
    init_script: Annotated[str, Field(min_length=1, max_length=500_000)] | None = None
    """What the image runs once, as the superuser, on an empty volume: SQL, or what its documentation says."""


@dataclass(frozen=True, kw_only=True)
class ServerArgs:
    """Whose server it is: what a group tells its server kind."""

    resource_name: str
    """The Pulumi name of the group; those of the server's resources begin with it."""
    object_name: str
    """The name of the server, of its volume claim and of the group's Secret: `mysql-main`."""
    application: str
    group_name: str
    namespace: pulumi.Input[str]
    labels: Mapping[str, str]
    engine: Engine
    variant: Variant
    password_version: int
    protected: bool
    """Whether what holds data must outlive any change of the stack file."""
    pod_labels: Mapping[str, str]
    """Labels of the application's Pods."""
    platform: Platform


@dataclass(frozen=True, kw_only=True)
class ServerAccess:
    """How an application gets to its server, known before the server exists."""

    account: Account
    password_source: GeneratedPassword | SecretStr | None
    """To be generated, given by the user, or none at all."""
    backend: ServiceBackend | None
    """What the Service leads to; None where there is no server to lead to."""
    version: str | None = None
    """The version of a server that we run."""
    external_server_name: str | None = None
    """The name of the stack's server that the account is made on, if it is made on one."""
    extensions: tuple[str, ...] = ()
    """What is added to a database that is made there."""
    tls: str | None = None
    """What the application is told of TLS: `disable`, `require` or `verify-full`."""
    ca_bundle: CaBundle | None = None
    """The authorities that sign the server's certificate, where the user gave them."""
    mounted_by_application: bool = False
    """Whether the application mounts the group's volume claim itself."""

    @property
    def tls_server_name(self) -> str | None:
        """The server's own name, for clients that look for it in its certificate: the name of a Service is in none."""
        return self.backend.hosts[0] if self.backend and self.tls == VERIFY_FULL else None


@dataclass(frozen=True, kw_only=True)
class ServerCredentials:
    """What a server is to let its application in with."""

    account: Account
    password: pulumi.Output[str] | None
    secret: kubernetes.core.v1.Secret


Spec = TypeVar("Spec")


@dataclass(frozen=True, kw_only=True)
class ServerKind(Generic[Spec]):
    """One answer to the question where a group's server comes from."""

    resolve_access: Callable[[ServerArgs, Spec], ServerAccess]
    create_resources: Callable[[ServerArgs, Spec, ServerCredentials, pulumi.Resource], None]
    """Makes what the kind makes, as children of the group."""
    validate: Callable[[ServerArgs, Spec], Iterator[tuple[str, str]]]
    """What is wrong with the server in its place: the key and the message of each mistake. A group with mistakes has no access."""
    production_warning: str | None = None
    """Why the kind is not for production, if it is not."""


@dataclass(frozen=True, kw_only=True)
class PodPlacement:
    """Where a server runs and what it gets there: what differs between the kinds of server that we run."""

    storage: str
    requests: Mapping[str, str]
    limits: Mapping[str, str]
    affinity: Mapping[str, Any]
    node_selector: Mapping[str, str] | None = None
    tolerations: Sequence[Mapping[str, Any]] | None = None


def _selector_labels(args: ServerArgs) -> dict[str, str]:
    """The labels that tell a server's Pods from all others of their namespace. They must never change."""
    return {
        key: args.labels[key]
        for key in ("app.kubernetes.io/name", "app.kubernetes.io/instance", "app.kubernetes.io/part-of")
    }


def resolve_stateful_set_access(args: ServerArgs, spec: StatefulSetServerSpec) -> ServerAccess:
    """The account that the program names, with a generated password, on a server that it runs."""
    return ServerAccess(
        account=args.engine.build_account(args.application, args.group_name),
        password_source=GeneratedPassword(version=args.password_version) if args.engine.credential_key else None,
        backend=ServiceBackend(port=args.engine.port, pod_selector=_selector_labels(args))
        if args.engine.port
        else None,
        version=spec.version or args.variant.default_version or None,
        mounted_by_application=args.engine.build_runtime is None,
    )


def validate_stateful_set_server(args: ServerArgs, spec: StatefulSetServerSpec) -> Iterator[tuple[str, str]]:
    """A version that the variant does not have, and what the engine has no way to do."""
    engine, software = args.engine, args.engine.build_runtime
    if software is None:
        foreign = sorted(spec.model_fields_set - {"kind", "storage", "storage_class"})
        yield from ((key, f"has no effect: {engine.name} is a file and has no server") for key in foreign)
        return
    if spec.version and not (
        re.fullmatch(r"[0-9]+(\.[0-9]+)*", spec.version) and args.variant.find_series(spec.version)
    ):
        yield (
            "version",
            f"{spec.version!r} is of none of the series of {args.variant.name}: {', '.join(args.variant.supported_series)}",
        )
        return
    if spec.version and spec.image is None and spec.version.count(".") + 1 < args.variant.min_version_parts:
        yield (
            "version",
            f"{spec.version!r} is no whole release, such as {args.variant.default_version}, and there are images of no others",
        )
    if args.variant.image is None and spec.image is None:
        yield "image", f"is missing: there is no maintained image of {args.variant.name}; name one of yours"
    if (
        spec.init_script is not None
        and software(args.variant, spec.version or args.variant.default_version).init_file_path is None
    ):
        yield "init", f"has no effect: the image of {args.variant.name} has no way to run anything once"
    if spec.settings and engine.settings_file is None:
        yield "settings", f"has no effect: the program gives {engine.name} all its settings"
    if engine.settings_file:
        yield from ((f"settings.{name}", message) for name, message in engine.settings_file.validate(spec.settings))


def create_stateful_set_server(
    args: ServerArgs,
    spec: StatefulSetServerSpec,
    credentials: ServerCredentials,
    scheduling: PodPlacement,
    parent: pulumi.Resource,
) -> None:
    """Runs the engine's image as one server, or makes the volume alone where the engine is a file.

    Resources: a ConfigMap with its scripts and settings, a PersistentVolumeClaim, a StatefulSet, all named as the server is.
    """
    metadata: Any = {"name": args.object_name, "namespace": args.namespace, "labels": args.labels}
    claim = kubernetes.core.v1.PersistentVolumeClaim(
        f"{args.resource_name}-volume",
        metadata=metadata,
        spec=_pvc_spec(spec, scheduling),
        opts=data_resource_options(parent, protected=args.protected),
    )
    if args.engine.build_runtime is None:
        return
    version = spec.version or args.variant.default_version
    software = args.engine.build_runtime(args.variant, version)
    files = _config_map_data(args, spec, software)
    config = kubernetes.core.v1.ConfigMap(
        f"{args.resource_name}-scripts", metadata=metadata, data=files, opts=pulumi.ResourceOptions(parent=parent)
    )
    container = _container_spec(args, spec, software, credentials, scheduling)
    template = {
        "metadata": {
            "labels": {**args.labels, "app.kubernetes.io/version": version},
            # What a running server would not notice makes a new Pod: another password, other scripts.
            "annotations": {
                "database-groups/rotation": str(args.password_version),
                "database-groups/scripts": _hash_files(files),
            },
        },
        "spec": _pod_spec(args, container, software, scheduling),
    }
    # The name of its Service need not be one that exists, and could not change when the group's Service does.
    stateful_set: Any = {
        "serviceName": args.object_name,
        "replicas": 1,
        "selector": {"matchLabels": _selector_labels(args)},
        "template": template,
    }
    kubernetes.apps.v1.StatefulSet(
        f"{args.resource_name}-server",
        metadata=metadata,
        spec=stateful_set,
        opts=pulumi.ResourceOptions(parent=parent, depends_on=[credentials.secret, config, claim]),
    )


def _config_map_data(args: ServerArgs, spec: StatefulSetServerSpec, software: ServerRuntime) -> dict[str, str]:
    """The files that a server finds in SCRIPTS."""
    files = {
        "start": software.start_script,
        "ready": software.readiness_script,
        "started": software.post_start_script,
        "settings": args.engine.settings_file.render(spec.settings) if args.engine.settings_file else None,
        "init": spec.init_script,
    }
    return {name: content for name, content in files.items() if content is not None}


def _pvc_spec(spec: StatefulSetServerSpec, scheduling: PodPlacement) -> Any:
    """The volume claim's specification (core/v1 PersistentVolumeClaimSpec)."""
    return {
        "accessModes": ["ReadWriteOnce"],
        **({"storageClassName": spec.storage_class} if spec.storage_class else {}),
        "resources": {"requests": {"storage": spec.storage or scheduling.storage}},
    }


def _pod_spec(
    args: ServerArgs, container: Mapping[str, Any], software: ServerRuntime, scheduling: PodPlacement
) -> dict[str, Any]:
    """The Pod's specification (core/v1 PodSpec)."""
    runs_as_root = bool(software.capabilities)
    user = args.variant.run_as_user
    non_root_context = {
        "runAsNonRoot": True,
        "runAsUser": user,
        "runAsGroup": user,
        "fsGroup": user,
        "fsGroupChangePolicy": "OnRootMismatch",
    }
    return {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": TERMINATION_GRACE_PERIOD_SECONDS,
        "securityContext": {
            **({"runAsUser": 0, "runAsGroup": 0} if runs_as_root else non_root_context),
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "affinity": scheduling.affinity,
        **({"nodeSelector": scheduling.node_selector} if scheduling.node_selector else {}),
        **({"tolerations": scheduling.tolerations} if scheduling.tolerations else {}),
        "containers": [container],
        "volumes": [
            {"name": "data", "persistentVolumeClaim": {"claimName": args.object_name}},
            {"name": "scripts", "configMap": {"name": args.object_name}},
            *({"name": name, "emptyDir": {}} for name in _empty_dir_paths(software)),
        ],
    }


def _container_spec(
    args: ServerArgs,
    spec: StatefulSetServerSpec,
    software: ServerRuntime,
    credentials: ServerCredentials,
    scheduling: PodPlacement,
) -> dict[str, Any]:
    """The server's container (core/v1 Container)."""
    added = {"add": list(software.capabilities)} if software.capabilities else {}
    init = (
        [{"name": "scripts", "mountPath": software.init_file_path, "subPath": "init", "readOnly": True}]
        if spec.init_script and software.init_file_path
        else []
    )
    started = {"lifecycle": {"postStart": {"exec": {"command": ["/bin/sh", f"{SCRIPTS_MOUNT_PATH}/started"]}}}}
    return {
        "name": args.engine.name,
        "image": spec.image or f"{args.variant.image}:{spec.version or args.variant.default_version}",
        "command": ["/bin/sh", f"{SCRIPTS_MOUNT_PATH}/start"],
        "env": _container_env(args, software, credentials),
        "ports": [{"name": args.engine.name, "containerPort": args.engine.port, "protocol": "TCP"}],
        "readinessProbe": {
            "exec": {"command": ["/bin/sh", f"{SCRIPTS_MOUNT_PATH}/ready"]},
            "periodSeconds": 5,
            "timeoutSeconds": 10,
            "failureThreshold": 3,
        },
        "resources": {"requests": scheduling.requests, "limits": scheduling.limits},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"], **added},
            "readOnlyRootFilesystem": True,
        },
        "volumeMounts": [
            {
                "name": "data",
                "mountPath": software.data_path,
                **({"subPath": software.data_sub_path} if software.data_sub_path else {}),
            },
            {"name": "scripts", "mountPath": SCRIPTS_MOUNT_PATH, "readOnly": True},
            *init,
            *({"name": name, "mountPath": path} for name, path in _empty_dir_paths(software).items()),
        ],
        **(started if software.post_start_script else {}),
    }


def _container_env(args: ServerArgs, software: ServerRuntime, credentials: ServerCredentials) -> list[dict[str, Any]]:
    """The container's variables: the account from the connection Secret, the Pod's address, and the image's own."""
    keys = [
        *credentials.account.secret_entries(),
        *([args.engine.credential_key] if args.engine.credential_key else []),
    ]
    return [
        *(
            {
                "name": f"APPLICATION_{key.upper()}",
                "valueFrom": {"secretKeyRef": {"name": args.object_name, "key": key}},
            }
            for key in keys
        ),
        {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        *({"name": key, "value": value} for key, value in software.env.items()),
    ]


def _empty_dir_paths(software: ServerRuntime) -> dict[str, str]:
    """The volumes of the folders that may be lost, by name."""
    return {f"scratch-{number}": path for number, path in enumerate(software.empty_dirs)}


def _hash_files(scripts: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(scripts, sort_keys=True).encode()).hexdigest()[:16]
