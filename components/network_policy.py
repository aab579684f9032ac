"""The NetworkPolicy of an application's servers."""

from collections.abc import Mapping, Sequence
from typing import Any

import pulumi
import pulumi_kubernetes as kubernetes

from components.persisted.labels import APPLICATION_LABEL, copy_pod_labels, namespace_labels

__all__ = ["create_network_policy"]


def create_network_policy(
    name: str,
    metadata: Any,
    *,
    application: str,
    server_selector: Mapping[str, Any],
    pod_labels: Mapping[str, str],
    readers: Sequence[tuple[str, str]] = (),
    operator_labels: Mapping[str, str] | None = None,
    parent: pulumi.Resource,
) -> kubernetes.networking.v1.NetworkPolicy:
    """Restrict the servers' Pods to connections from the application's Pods in its namespace.

    Allowed are Pods with the labels `pod_labels`, and Pods into which the program injects variables. Resources: a
    NetworkPolicy, which it returns. `server_selector` selects the servers (meta/v1 LabelSelector). `readers` are the
    other applications, with their namespaces, that copy a group. With `operator_labels`, the servers reach one another,
    and the operator with these labels reaches them.
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
    if operator_labels is not None:
        operator = {"namespaceSelector": {}, "podSelector": {"matchLabels": dict(operator_labels)}}
        ingress_peers += [{"podSelector": dict(server_selector)}, operator]
    spec: Any = {
        "podSelector": dict(server_selector),
        "policyTypes": ["Ingress"],
        "ingress": [{"from": ingress_peers}],
    }
    return kubernetes.networking.v1.NetworkPolicy(
        name, metadata=metadata, spec=spec, opts=pulumi.ResourceOptions(parent=parent)
    )
