"""The Pod of a copy: an engine's image with the scripts of the copy, under Pod Security `restricted`."""

import importlib.resources
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi

from components.connection import CA_KEY, READ_ADDRESS_KEY, READ_URI_KEY
from components.engines.definition import Engine
from components.spec import parse_quantity

__all__ = [
    "SCRIPTS_PATH",
    "WORK_PATH",
    "CopyEnd",
    "Mount",
    "PodArgs",
    "build_container_security",
    "build_limits",
    "build_pod_spec",
    "build_secret_variable",
    "build_work_size",
    "list_connection_entries",
    "list_connection_mounts",
    "list_connection_variables",
    "read_scripts",
]

SCRIPTS_PATH = "/etc/database-groups"
CERTIFICATES_PATH = "/etc/certificates"
WORK_PATH = "/tmp"
WORK_SIZE = "1Gi"
"""Disk space of the scripts, in addition to that of the data that a dump writes there."""
MEMORY = "512Mi"
"""Memory of the programs."""
ADDRESS_KEY = "host"
SKIPPED_KEYS = ("uri", CA_KEY, READ_ADDRESS_KEY, READ_URI_KEY)
"""Keys of the connection Secret that no script reads from a variable."""


@dataclass(frozen=True, kw_only=True)
class CopyEnd:
    """A group whose data a Pod reads or writes."""

    keys: Sequence[str]
    """Keys of its connection Secret."""
    connection: pulumi.Output[Mapping[str, str]]
    """Keys and values of its connection Secret; secret."""
    address: pulumi.Input[str]
    """Host name or IP address at which the Pod reaches the server."""
    tls: str | None
    """TLS mode. None: the engine's programs decide."""


@dataclass(frozen=True, kw_only=True)
class Mount:
    """A volume of the Pod and its path."""

    name: str
    path: str
    source: Mapping[str, Any]
    """Source of the volume (core/v1 Volume without its name)."""
    read_only: bool = False


@dataclass(frozen=True, kw_only=True)
class PodArgs:
    """What differs between the Pods of copies."""

    container: str
    """Name of the container."""
    image: str
    user: int
    """User id and group id of the processes."""
    script: str
    """Name of the script that the container runs."""
    config_map: str
    """Name of the ConfigMap with the scripts."""
    variables: Sequence[Mapping[str, Any]]
    """Environment variables (core/v1 EnvVar)."""
    requests: Mapping[str, str]
    limits: Mapping[str, str]
    work_size: str = WORK_SIZE
    """Disk space that the processes may use, on the node."""
    mounts: Sequence[Mount] = ()
    init_containers: Sequence[Mapping[str, Any]] = ()
    """Containers (core/v1 Container) that run before the container."""


def build_pod_spec(args: PodArgs) -> dict[str, Any]:
    """Return the specification of a Pod (core/v1 PodSpec), which Pod Security `restricted` allows."""
    mounts = [
        Mount(name="scripts", path=SCRIPTS_PATH, source={"configMap": {"name": args.config_map}}, read_only=True),
        Mount(name="work", path=WORK_PATH, source={"emptyDir": {"sizeLimit": args.work_size}}),
        *args.mounts,
    ]
    variables = {"SCRIPTS": SCRIPTS_PATH, "WORK": WORK_PATH, "HOME": WORK_PATH, "TMPDIR": WORK_PATH}
    variables["REPORT"] = "/dev/termination-log"
    return {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": args.user,
            "runAsGroup": args.user,
            "fsGroup": args.user,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        **({"initContainers": list(args.init_containers)} if args.init_containers else {}),
        "containers": [
            {
                "name": args.container,
                "image": args.image,
                "command": ["/bin/sh", f"{SCRIPTS_PATH}/{args.script}"],
                "env": [*({"name": name, "value": value} for name, value in variables.items()), *args.variables],
                "resources": {"requests": args.requests, "limits": args.limits},
                "terminationMessagePolicy": "FallbackToLogsOnError",
                "securityContext": build_container_security(),
                "volumeMounts": [
                    {"name": mount.name, "mountPath": mount.path, **({"readOnly": True} if mount.read_only else {})}
                    for mount in mounts
                ],
            }
        ],
        "volumes": [{"name": mount.name, **mount.source} for mount in mounts],
    }


def read_scripts(engine: Engine, *names: str) -> dict[str, str]:
    """Return the engine's scripts and the named ones of this package, by the names of their files."""
    if engine.copy_scripts is None:
        raise ValueError(engine.name)
    folder = importlib.resources.files("components.copies") / "scripts"
    own = {name: folder.joinpath(f"{name}.sh").read_text(encoding="utf-8") for name in names}
    return {**own, **engine.copy_scripts.files}


def build_limits(memory: str | None) -> dict[str, str]:
    """Return the limits of the container, with memory for the data of a server, if the copy loads it."""
    return {"memory": str(parse_quantity(MEMORY) + parse_quantity(memory)) if memory else MEMORY}


def build_work_size(storage: str) -> str:
    """Return the disk space for a dump of a server whose data has a size."""
    return str(parse_quantity(WORK_SIZE) + parse_quantity(storage))


def build_container_security() -> dict[str, Any]:
    """Return the restrictions of a container (core/v1 SecurityContext)."""
    return {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }


def build_secret_variable(name: str, secret: str, key: str) -> dict[str, Any]:
    """Return a variable whose value is in a Secret (core/v1 EnvVar)."""
    return {"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}}


def list_connection_entries(connection: Mapping[str, str], address: str, prefix: str = "") -> dict[str, str]:
    """Return the values of a connection by their keys in the Pod's Secret, with the address that the Pod uses."""
    values = {**connection, ADDRESS_KEY: address}
    return {_build_variable_name(prefix, key): value for key, value in values.items() if key != "uri"}


def list_connection_variables(
    keys: Sequence[str], tls: str | None, secret: str, prefix: str = ""
) -> Iterator[dict[str, Any]]:
    """Yield the variables with which the scripts connect: `ADDRESS`, or `SOURCE_ADDRESS` with the prefix `SOURCE_`.

    `secret` is the group's connection Secret, or with a prefix a Secret with the entries of `list_connection_entries`.
    """
    if tls:
        yield {"name": f"{prefix}TLS", "value": tls}
    for key in keys:
        name = _build_variable_name(prefix, key)
        if key == CA_KEY:
            yield {"name": f"{prefix}CA_FILE", "value": f"{CERTIFICATES_PATH}/{name}"}
        elif key not in SKIPPED_KEYS:
            yield build_secret_variable(name, secret, name if prefix else key)


def list_connection_mounts(keys: Mapping[str, Sequence[str]], secret: str) -> Iterator[Mount]:
    """Yield the volume with the CA certificates of the servers, if there are any.

    `keys` are those of the connection Secrets by prefix. `secret` is that of `list_connection_variables`.
    """
    names = {prefix: _build_variable_name(prefix, CA_KEY) for prefix, names in keys.items() if CA_KEY in names}
    if names:
        items = [{"key": name if prefix else CA_KEY, "path": name} for prefix, name in names.items()]
        source = {"secret": {"secretName": secret, "items": items}}
        yield Mount(name="certificates", path=CERTIFICATES_PATH, source=source, read_only=True)


def _build_variable_name(prefix: str, key: str) -> str:
    """Return the variable of a key, which is also its key in the Pod's Secret: `SOURCE_ADDRESS`."""
    name = "address" if key == ADDRESS_KEY else key
    return prefix + name.replace("-", "_").replace(".", "_").upper()
