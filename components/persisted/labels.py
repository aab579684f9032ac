"""Labels and annotations of Kubernetes objects.

They are persisted: clusters hold them, selectors depend on them, and later versions of the program look for them. A
change needs a migration. `docs/outputs.md` lists them for users.
"""

from collections.abc import Mapping
from typing import Any

import pulumi

__all__ = [
    "APPLICATION_LABEL",
    "APPLIED_ANNOTATION",
    "CONNECTIONS_ANNOTATION",
    "DATABASE_SELECTOR",
    "PASSWORD_VERSION_ANNOTATION",
    "PROGRAM_SELECTOR",
    "SCRIPTS_ANNOTATION",
    "SERVER_LABEL",
    "STACK_ANNOTATION",
    "VERSION_LABEL",
    "application_labels",
    "copy_labels",
    "copy_pod_labels",
    "default_pod_labels",
    "endpoint_slice_labels",
    "field_manager",
    "group_labels",
    "namespace_labels",
    "network_policy_selector",
    "object_metadata",
    "pod_selector_labels",
    "read_application",
    "read_password_version",
    "remote_selector_labels",
    "scratch_server_labels",
    "server_labels",
]

PROGRAM = "database-groups"
NAME = "app.kubernetes.io/name"
INSTANCE = "app.kubernetes.io/instance"
COMPONENT = "app.kubernetes.io/component"
PART_OF = "app.kubernetes.io/part-of"
MANAGED_BY = "app.kubernetes.io/managed-by"
VERSION_LABEL = "app.kubernetes.io/version"

APPLICATION_LABEL = f"{PROGRAM}/application"
"""Label of the Pods into which the program injects the variables of an application. The value is the application."""
SERVER_LABEL = f"{PROGRAM}/server"
"""Label of the Pods of servers that an operator runs. The value is the name of the connection Secret."""
STACK_ANNOTATION = f"{PROGRAM}/stack"
"""Annotation of every object: `<organization>/<project>/<stack>`. It distinguishes this stack's objects from others."""
PASSWORD_VERSION_ANNOTATION = f"{PROGRAM}/password-version"
"""Annotation of a connection Secret whose password was changed, and of a server's Pods, which a new value restarts.

The Pods of a server that accepts a new password without a restart do not have it."""
SCRIPTS_ANNOTATION = f"{PROGRAM}/scripts"
"""Annotation of a server's Pods: a digest of its scripts and settings. A new value restarts the server."""
APPLIED_ANNOTATION = f"{PROGRAM}/applied"
"""Annotation of a patched workload: a digest of the last patch."""
CONNECTIONS_ANNOTATION = f"{PROGRAM}/connections"
"""Annotation of a patched workload's Pods: it changes when the value of a variable changes, which restarts them."""

PROGRAM_SELECTOR: Mapping[str, str] = {MANAGED_BY: PROGRAM}
"""Labels of every object that the program creates."""
DATABASE_SELECTOR: Mapping[str, str] = {COMPONENT: "database", **PROGRAM_SELECTOR}
"""Labels that every database server of every stack has."""


def application_labels(application: str) -> dict[str, str]:
    """Return the labels of an application's own objects."""
    return {PART_OF: application, MANAGED_BY: PROGRAM}


def default_pod_labels(application: str) -> dict[str, str]:
    """Return the labels that an application's Pods have unless `podSelector` names others."""
    return {NAME: application}


def copy_labels(application: str) -> dict[str, str]:
    """Return the labels of the objects of a copy. No server and no Service selects them."""
    return {COMPONENT: "copy", **application_labels(application)}


def copy_pod_labels(application: str) -> dict[str, str]:
    """Return the labels of a copy's Pod, which the application's NetworkPolicy admits."""
    return {**copy_labels(application), APPLICATION_LABEL: application}


def scratch_server_labels(application: str, object_name: str) -> dict[str, str]:
    """Return the labels of a copy's Pod with a server of its own.

    The NetworkPolicy protects it like the group's server. No Service selects it.
    """
    return {**copy_pod_labels(application), INSTANCE: object_name}


def server_labels(object_name: str) -> dict[str, str]:
    """Return the labels of the Pods of servers that an operator runs. The other labels are the operator's."""
    return {SERVER_LABEL: object_name}


def namespace_labels(namespace: str) -> dict[str, str]:
    """Return the label that Kubernetes gives to a namespace."""
    return {"kubernetes.io/metadata.name": namespace}


def group_labels(application: str, engine: str, object_name: str) -> dict[str, str]:
    """Return the labels of a group's objects (Kubernetes' documentation, "Recommended Labels")."""
    return {NAME: engine, INSTANCE: object_name, **DATABASE_SELECTOR, **application_labels(application)}


def pod_selector_labels(labels: Mapping[str, str]) -> dict[str, str]:
    """Return the labels that select a server's Pods. A StatefulSet's selector is immutable: it holds no version."""
    return {key: labels[key] for key in (NAME, INSTANCE, PART_OF)}


def remote_selector_labels(labels: Mapping[str, str]) -> dict[str, str]:
    """Return the selector of a Service for a server outside the cluster. No Pod has these labels."""
    return {**pod_selector_labels(labels), COMPONENT: "remote-server"}


def network_policy_selector(application: str, object_names: list[str]) -> dict[str, Any]:
    """Return the selector of an application's servers (meta/v1 LabelSelector)."""
    instances = {"key": INSTANCE, "operator": "In", "values": sorted(object_names)}
    return {"matchLabels": application_labels(application), "matchExpressions": [instances]}


def endpoint_slice_labels(labels: Mapping[str, str], service: str) -> dict[str, str]:
    """Return the labels of an EndpointSlice that belongs to a Service (discovery/v1)."""
    return {**labels, "kubernetes.io/service-name": service, "endpointslice.kubernetes.io/managed-by": PROGRAM}


def field_manager(application: str) -> str:
    """Return the field manager of the fields that the program owns in an application's workloads."""
    return f"{PROGRAM}-{application}"


def object_metadata(
    name: str,
    namespace: pulumi.Input[str] | None,
    labels: Mapping[str, str],
    stack: str,
    *,
    password_version: int = 0,
) -> Any:
    """Return the metadata of an object (meta/v1 ObjectMeta).

    `stack` is `<organization>/<project>/<stack>`. `password_version` belongs to a Secret; 0 adds no annotation.
    """
    annotations = {STACK_ANNOTATION: stack} if stack else {}
    if password_version:
        annotations |= {PASSWORD_VERSION_ANNOTATION: str(password_version)}
    return {
        "name": name,
        **({"namespace": namespace} if namespace else {}),
        "labels": dict(labels),
        **({"annotations": annotations} if annotations else {}),
    }


def read_password_version(metadata: Mapping[str, Any]) -> int:
    """Return the password version of a Secret from its metadata."""
    return int((metadata.get("annotations") or {}).get(PASSWORD_VERSION_ANNOTATION, 0))


def read_application(metadata: Mapping[str, Any]) -> str | None:
    """Return the application of an object from its metadata; None without a label for it."""
    return (metadata.get("labels") or {}).get(PART_OF)
