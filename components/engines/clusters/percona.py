"""What both operators of Percona have in common: restrictions of Pods, affinity, the status, and the account.

The operators create the application's user when the servers are ready, and report its password on the Secret with the
account.
"""

import base64
import hashlib
from collections.abc import Mapping
from typing import Any

from components.engines.clusters.definition import ClusterRequest, build_pod_affinity, build_topology_spread

__all__ = [
    "build_container_security",
    "build_pod_placement",
    "build_pod_restrictions",
    "describe_account",
    "describe_progress",
    "read_labels",
]

PERCONA_USER = 1001
"""User of all images."""
INSTANCE_LABEL, COMPONENT_LABEL = "app.kubernetes.io/instance", "app.kubernetes.io/component"


def read_labels(cluster: str, component: str) -> dict[str, str]:
    """Return the labels that select the Pods of a part of a cluster."""
    return {INSTANCE_LABEL: cluster, COMPONENT_LABEL: component}


def build_pod_placement(request: ClusterRequest, component: str) -> dict[str, Any]:
    """Return where the Pods of a part of a cluster run, and their restrictions."""
    labels = read_labels(request.name, component)
    return {
        **build_pod_restrictions(request),
        "affinity": {"advanced": build_pod_affinity(labels, is_required=request.is_node_exclusive)},
        "topologySpreadConstraints": build_topology_spread(labels),
        "podDisruptionBudget": {"maxUnavailable": 1},
    }


def build_pod_restrictions(request: ClusterRequest) -> dict[str, Any]:
    """Return the labels of Pods, the nodes that they may use, and what they may do."""
    return {
        "labels": dict(request.labels),
        **({"nodeSelector": dict(request.node_selector)} if request.node_selector else {}),
        **({"tolerations": list(request.tolerations)} if request.tolerations else {}),
        "podSecurityContext": {
            "runAsNonRoot": True,
            "runAsUser": PERCONA_USER,
            "runAsGroup": PERCONA_USER,
            "fsGroup": PERCONA_USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containerSecurityContext": build_container_security(),
    }


def build_container_security() -> dict[str, Any]:
    """Return the restrictions of a container (core/v1 SecurityContext)."""
    return {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


def describe_progress(resource: Mapping[str, Any], _account_version: str) -> str | None:
    """Return why the cluster is not ready; None if it is."""
    metadata, status = resource.get("metadata") or {}, resource.get("status") or {}
    state, found = status.get("state"), status.get("message")
    if state == "ready" and status.get("observedGeneration") == metadata.get("generation"):
        return None
    reason = f"its state is {state}" if state else "its state is not reported yet"
    if state == "ready":
        reason = "the operator has not seen the last change yet"
    parts = [status.get(part) or {} for part in ("pxc", "haproxy")] + list((status.get("replsets") or {}).values())
    messages = [*(found if isinstance(found, list) else [found]), *(part.get("message") for part in parts)]
    return "; ".join([reason, *dict.fromkeys(message.strip(" ;") for message in messages if message)])


def describe_account(secret: Mapping[str, Any], name: str) -> str | None:
    """Return why the servers do not accept the account yet; None if they do."""
    data, annotations = secret.get("data") or {}, (secret.get("metadata") or {}).get("annotations") or {}
    username, password = (base64.b64decode(data.get(key, "")) for key in ("username", "password"))
    if annotations.get(f"percona.com/{name}-{username.decode()}-hash") == hashlib.sha256(password).hexdigest():
        return None
    return f"the operator has not set the password of the user {username.decode()} yet"
