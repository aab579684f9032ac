"""The NetworkPolicy of an application's servers."""

from collections.abc import Mapping, Sequence
from typing import Any

import pulumi
import pulumi_kubernetes as kubernetes

from components.persisted.labels import APPLICATION_LABEL, copy_pod_labels, namespace_labels, network_policy_selector

__all__ = ["create_network_policy"]


def create_network_policy(
    name: str,
    metadata: Any,
    *,
    application: str,
    server_names: Sequence[str],
    pod_labels: Mapping[str, str],
    readers: Sequence[tuple[str, str]] = (),
    parent: pulumi.Resource,
) -> kubernetes.networking.v1.NetworkPolicy:
    """Restrict the servers' Pods to connections from the application's Pods in its namespace.

    Allowed are Pods with the labels `pod_labels`, and Pods into which the program injects variables. Resources: a
    NetworkPolicy, which it returns. `readers` are the other applications, with their namespaces, that copy a group.
    """
    ingress_peers: list[dict[str, Any]] = [
        {"podSelector": {"matchLabels": labels}} for labels in (dict(pod_labels), {APPLICATION_LABEL: application})
    ]
    ingress_peers += [
        {
            "namespaceSelector": {"matchLabels": namespace_labels(namespace)},
            "podSelector": {"matchLabels": copy_pod_labels(reader)},
        }
        for reader, namespace in readers
    ]
    spec: Any = {
        "podSelector": network_policy_selector(application, list(server_names)),
        "policyTypes": ["Ingress"],
        "ingress": [{"from": ingress_peers}],
    }
    return kubernetes.networking.v1.NetworkPolicy(
        name, metadata=metadata, spec=spec, opts=pulumi.ResourceOptions(parent=parent)
    )
