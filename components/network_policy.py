"""The NetworkPolicy of an application's servers."""

from collections.abc import Mapping, Sequence
from typing import Any

import pulumi
import pulumi_kubernetes as kubernetes

from components.persisted.labels import APPLICATION_LABEL, network_policy_selector

__all__ = ["create_network_policy"]


def create_network_policy(
    name: str,
    metadata: Any,
    *,
    application: str,
    server_names: Sequence[str],
    pod_labels: Mapping[str, str],
    parent: pulumi.Resource,
) -> None:
    """Restrict the servers' Pods to connections from the application's Pods in its namespace.

    Allowed are Pods with the labels `pod_labels`, and Pods into which the program injects variables. Resources: a
    NetworkPolicy.
    """
    ingress_peers = [
        {"podSelector": {"matchLabels": labels}} for labels in (dict(pod_labels), {APPLICATION_LABEL: application})
    ]
    spec: Any = {
        "podSelector": network_policy_selector(application, list(server_names)),
        "policyTypes": ["Ingress"],
        "ingress": [{"from": ingress_peers}],
    }
    kubernetes.networking.v1.NetworkPolicy(
        name, metadata=metadata, spec=spec, opts=pulumi.ResourceOptions(parent=parent)
    )
