"""Who may connect to an application's servers: one NetworkPolicy for them all."""

from collections.abc import Mapping, Sequence
from typing import Any

import pulumi
import pulumi_kubernetes as kubernetes

from components.persisted.names import network_policy_name

__all__ = ["APPLICATION_LABEL", "create_network_policy"]

APPLICATION_LABEL = "database-groups/application"
"""The label that the program gives Pods to which it gives variables."""


def create_network_policy(
    name: str,
    *,
    application: str,
    namespace: pulumi.Input[str],
    labels: Mapping[str, str],
    server_names: Sequence[str],
    pod_labels: Mapping[str, str],
    parent: pulumi.Resource,
) -> None:
    """Closes the Pods of `servers` (by their label app.kubernetes.io/instance) to all but the Pods of their application in its namespace.

    Those are the Pods with the labels `pods`, and those that the program itself put variables into. Resources: a NetworkPolicy.
    """
    selector: Any = {
        "matchLabels": {"app.kubernetes.io/part-of": application, "app.kubernetes.io/managed-by": "database-groups"},
        "matchExpressions": [{"key": "app.kubernetes.io/instance", "operator": "In", "values": sorted(server_names)}],
    }
    ingress_peers = [
        {"podSelector": {"matchLabels": found}} for found in (dict(pod_labels), {APPLICATION_LABEL: application})
    ]
    spec: Any = {"podSelector": selector, "policyTypes": ["Ingress"], "ingress": [{"from": ingress_peers}]}
    metadata: Any = {"name": network_policy_name(application), "namespace": namespace, "labels": labels}
    kubernetes.networking.v1.NetworkPolicy(
        name, metadata=metadata, spec=spec, opts=pulumi.ResourceOptions(parent=parent)
    )
