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

from components.arguments import Arguments, Authorities, Cpu, Scalar, SettingName, Size, Text
from components.credentials import Generated
from components.engines.engine import Account, Engine, Flavour, Software
from components.platform import Platform, durable
from components.service import Backend

__all__ = [
    "VERIFY_FULL",
    "Access",
    "Credentials",
    "Resources",
    "Scheduling",
    "ServerArgs",
    "ServerKind",
    "SingleServerSpec",
    "create_single_server",
    "single_server_access",
    "single_server_mistakes",
]

VERIFY_FULL = "verify-full"
SCRIPTS = "/etc/database-groups"
STOP_SECONDS = 60


class Resources(Arguments):
    """What a server may use of its node."""

    cpu: Cpu | None = None
    memory: Size | None = None


class SingleServerSpec(Arguments):
    """What may be said of a server that we run, whatever its kind."""

    version: Text | None = None
    """A version series of the flavour, or a release of one: "8.4" or "8.4.3". The program's default by default."""
    image: Text | None = None
    """An image to use instead of the official one. It must behave as the official one does."""
    storage: Size | None = None
    """The size of the volume. It can grow."""
    storage_class: Text | None = None
    """The cluster's default by default."""
    resources: Resources = Resources()
    settings: dict[SettingName, Scalar] = Field(default_factory=dict)
    """What the server's own configuration file says beside what the program gives it."""
    init: Annotated[str, Field(min_length=1, max_length=500_000)] | None = None
    """What the image runs once, as the superuser, on an empty volume: SQL, or what its documentation says."""


@dataclass(frozen=True, kw_only=True)
class ServerArgs:
    """Whose server it is: what a group tells its server kind."""

    resource_name: str
    """The Pulumi name of the group; those of the server's resources begin with it."""
    name: str
    """The name of the server, of its volume claim and of the group's Secret: `mysql-main`."""
    application: str
    group: str
    namespace: pulumi.Input[str]
    labels: Mapping[str, str]
    engine: Engine
    flavour: Flavour
    rotation: int
    protected: bool
    """Whether what holds data must outlive any change of the stack file."""
    pods: Mapping[str, str]
    """Labels of the application's Pods."""
    platform: Platform


@dataclass(frozen=True, kw_only=True)
class Access:
    """How an application gets to its server, known before the server exists."""

    account: Account
    password: Generated | SecretStr | None
    """To be generated, given by the user, or none at all."""
    backend: Backend | None
    """What the Service leads to; None where there is no server to lead to."""
    version: str | None = None
    """The version of a server that we run."""
    server: str | None = None
    """The name of the stack's server that the account is made on, if it is made on one."""
    extensions: tuple[str, ...] = ()
    """What is added to a database that is made there."""
    tls: str | None = None
    """What the application is told of TLS: `disable`, `require` or `verify-full`."""
    ca: Authorities | None = None
    """The authorities that sign the server's certificate, where the user gave them."""
    mounted: bool = False
    """Whether the application mounts the group's volume claim itself."""

    @property
    def certified_host(self) -> str | None:
        """The server's own name, for clients that look for it in its certificate: the name of a Service is in none."""
        return self.backend.hosts[0] if self.backend and self.tls == VERIFY_FULL else None


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """What a server is to let its application in with."""

    account: Account
    password: pulumi.Output[str] | None
    secret: kubernetes.core.v1.Secret


Spec = TypeVar("Spec")


@dataclass(frozen=True, kw_only=True)
class ServerKind(Generic[Spec]):
    """One answer to the question where a group's server comes from."""

    access: Callable[[ServerArgs, Spec], Access]
    create: Callable[[ServerArgs, Spec, Credentials, pulumi.Resource], None]
    """Makes what the kind makes, as children of the group."""
    mistakes: Callable[[ServerArgs, Spec], Iterator[tuple[str, str]]]
    """What is wrong with the server in its place: the key and the message of each mistake. A group with mistakes has no access."""
    production_warning: str | None = None
    """Why the kind is not for production, if it is not."""


@dataclass(frozen=True, kw_only=True)
class Scheduling:
    """Where a server runs and what it gets there: what differs between the kinds of server that we run."""

    storage: str
    requests: Mapping[str, str]
    limits: Mapping[str, str]
    affinity: Mapping[str, Any]
    node_selector: Mapping[str, str] | None = None
    tolerations: Sequence[Mapping[str, Any]] | None = None


def _selector(args: ServerArgs) -> dict[str, str]:
    """The labels that tell a server's Pods from all others of their namespace. They must never change."""
    return {key: args.labels[key] for key in ("app.kubernetes.io/name", "app.kubernetes.io/instance", "app.kubernetes.io/part-of")}


def single_server_access(args: ServerArgs, spec: SingleServerSpec) -> Access:
    """The account that the program names, with a generated password, on a server that it runs."""
    return Access(
        account=args.engine.account(args.application, args.group),
        password=Generated(rotation=args.rotation) if args.engine.credential else None,
        backend=Backend(port=args.engine.port, pods=_selector(args)) if args.engine.port else None,
        version=spec.version or args.flavour.version or None,
        mounted=args.engine.software is None,
    )


def single_server_mistakes(args: ServerArgs, spec: SingleServerSpec) -> Iterator[tuple[str, str]]:
    """A version that the flavour does not have, and what the engine has no way to do."""
    engine, software = args.engine, args.engine.software
    if software is None:
        foreign = sorted(spec.model_fields_set - {"kind", "storage", "storage_class"})
        yield from ((key, f"has no effect: {engine.name} is a file and has no server") for key in foreign)
        return
    if spec.version and not (re.fullmatch(r"[0-9]+(\.[0-9]+)*", spec.version) and args.flavour.series_of(spec.version)):
        yield "version", f"{spec.version!r} is of none of the series of {args.flavour.name}: {', '.join(args.flavour.series)}"
        return
    if spec.version and spec.image is None and spec.version.count(".") + 1 < args.flavour.numbers:
        yield "version", f"{spec.version!r} is no whole release, such as {args.flavour.version}, and there are images of no others"
    if args.flavour.image is None and spec.image is None:
        yield "image", f"is missing: there is no maintained image of {args.flavour.name}; name one of yours"
    if spec.init is not None and software(args.flavour, spec.version or args.flavour.version).init is None:
        yield "init", f"has no effect: the image of {args.flavour.name} has no way to run anything once"
    if spec.settings and engine.settings is None:
        yield "settings", f"has no effect: the program gives {engine.name} all its settings"
    if engine.settings:
        yield from ((f"settings.{name}", message) for name, message in engine.settings.mistakes(spec.settings))


def create_single_server(args: ServerArgs, spec: SingleServerSpec, credentials: Credentials, scheduling: Scheduling, parent: pulumi.Resource) -> None:
    """Runs the engine's image as one server, or makes the volume alone where the engine is a file.

    Resources: a ConfigMap with its scripts and settings, a PersistentVolumeClaim, a StatefulSet, all named as the server is.
    """
    metadata: Any = {"name": args.name, "namespace": args.namespace, "labels": args.labels}
    claim = kubernetes.core.v1.PersistentVolumeClaim(
        f"{args.resource_name}-volume",
        metadata=metadata,
        spec=_volume(spec, scheduling),
        opts=durable(parent, protected=args.protected),
    )
    if args.engine.software is None:
        return
    version = spec.version or args.flavour.version
    software = args.engine.software(args.flavour, version)
    files = _files(args, spec, software)
    config = kubernetes.core.v1.ConfigMap(f"{args.resource_name}-scripts", metadata=metadata, data=files, opts=pulumi.ResourceOptions(parent=parent))
    container = _container(args, spec, software, credentials, scheduling)
    template = {
        "metadata": {
            "labels": {**args.labels, "app.kubernetes.io/version": version},
            # What a running server would not notice makes a new Pod: another password, other scripts.
            "annotations": {"database-groups/rotation": str(args.rotation), "database-groups/scripts": _digest(files)},
        },
        "spec": _pod(args, container, software, scheduling),
    }
    # The name of its Service need not be one that exists, and could not change when the group's Service does.
    stateful_set: Any = {"serviceName": args.name, "replicas": 1, "selector": {"matchLabels": _selector(args)}, "template": template}
    kubernetes.apps.v1.StatefulSet(
        f"{args.resource_name}-server",
        metadata=metadata,
        spec=stateful_set,
        opts=pulumi.ResourceOptions(parent=parent, depends_on=[credentials.secret, config, claim]),
    )


def _files(args: ServerArgs, spec: SingleServerSpec, software: Software) -> dict[str, str]:
    """The files that a server finds in SCRIPTS."""
    files = {
        "start": software.start,
        "ready": software.ready,
        "started": software.started,
        "settings": args.engine.settings.render(spec.settings) if args.engine.settings else None,
        "init": spec.init,
    }
    return {name: content for name, content in files.items() if content is not None}


def _volume(spec: SingleServerSpec, scheduling: Scheduling) -> Any:
    """The volume claim's specification (core/v1 PersistentVolumeClaimSpec)."""
    return {
        "accessModes": ["ReadWriteOnce"],
        **({"storageClassName": spec.storage_class} if spec.storage_class else {}),
        "resources": {"requests": {"storage": spec.storage or scheduling.storage}},
    }


def _pod(args: ServerArgs, container: Mapping[str, Any], software: Software, scheduling: Scheduling) -> dict[str, Any]:
    """The Pod's specification (core/v1 PodSpec)."""
    root = bool(software.capabilities)
    user = args.flavour.uid
    ordinary = {"runAsNonRoot": True, "runAsUser": user, "runAsGroup": user, "fsGroup": user, "fsGroupChangePolicy": "OnRootMismatch"}
    return {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": STOP_SECONDS,
        "securityContext": {**({"runAsUser": 0, "runAsGroup": 0} if root else ordinary), "seccompProfile": {"type": "RuntimeDefault"}},
        "affinity": scheduling.affinity,
        **({"nodeSelector": scheduling.node_selector} if scheduling.node_selector else {}),
        **({"tolerations": scheduling.tolerations} if scheduling.tolerations else {}),
        "containers": [container],
        "volumes": [
            {"name": "data", "persistentVolumeClaim": {"claimName": args.name}},
            {"name": "scripts", "configMap": {"name": args.name}},
            *({"name": name, "emptyDir": {}} for name in _scratch(software)),
        ],
    }


def _container(args: ServerArgs, spec: SingleServerSpec, software: Software, credentials: Credentials, scheduling: Scheduling) -> dict[str, Any]:
    """The server's container (core/v1 Container)."""
    added = {"add": list(software.capabilities)} if software.capabilities else {}
    init = [{"name": "scripts", "mountPath": software.init, "subPath": "init", "readOnly": True}] if spec.init and software.init else []
    started = {"lifecycle": {"postStart": {"exec": {"command": ["/bin/sh", f"{SCRIPTS}/started"]}}}}
    return {
        "name": args.engine.name,
        "image": spec.image or f"{args.flavour.image}:{spec.version or args.flavour.version}",
        "command": ["/bin/sh", f"{SCRIPTS}/start"],
        "env": _variables(args, software, credentials),
        "ports": [{"name": args.engine.name, "containerPort": args.engine.port, "protocol": "TCP"}],
        "readinessProbe": {"exec": {"command": ["/bin/sh", f"{SCRIPTS}/ready"]}, "periodSeconds": 5, "timeoutSeconds": 10, "failureThreshold": 3},
        "resources": {"requests": scheduling.requests, "limits": scheduling.limits},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"], **added}, "readOnlyRootFilesystem": True},
        "volumeMounts": [
            {"name": "data", "mountPath": software.data, **({"subPath": software.data_folder} if software.data_folder else {})},
            {"name": "scripts", "mountPath": SCRIPTS, "readOnly": True},
            *init,
            *({"name": name, "mountPath": path} for name, path in _scratch(software).items()),
        ],
        **(started if software.started else {}),
    }


def _variables(args: ServerArgs, software: Software, credentials: Credentials) -> list[dict[str, Any]]:
    """The container's variables: the account from the connection Secret, the Pod's address, and the image's own."""
    keys = [*credentials.account.keys(), *([args.engine.credential] if args.engine.credential else [])]
    return [
        *({"name": f"APPLICATION_{key.upper()}", "valueFrom": {"secretKeyRef": {"name": args.name, "key": key}}} for key in keys),
        {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        *({"name": key, "value": value} for key, value in software.environment.items()),
    ]


def _scratch(software: Software) -> dict[str, str]:
    """The volumes of the folders that may be lost, by name."""
    return {f"scratch-{number}": path for number, path in enumerate(software.scratch)}


def _digest(scripts: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(scripts, sort_keys=True).encode()).hexdigest()[:16]
