"""Servers in the cluster without Pulumi: the manifests of a group, with a known password."""

import base64
from collections.abc import Mapping, Sequence
from threading import Lock
from typing import Any

import yaml

from components.engines import ENGINES
from offline.manifests import render_manifests
from tests.e2e.cluster import Cluster
from tests.support import CANARY, record_stack

KINDS = ("Secret", "PersistentVolumeClaim", "ConfigMap", "StatefulSet")
RECORDING = Lock()
"""The SDK has one program at a time."""


def build_server_manifests(namespace: str, engine: str, group: str, spec: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the Secret, the volume claim, the ConfigMap and the StatefulSet of a group.

    The password or token is CANARY. Every other value of the Secret is the placeholder of the manifests.
    """
    databases = {engine: {group: spec}}
    with RECORDING:
        recorder = record_stack({"applications": {namespace: {"createNamespace": False, "databases": databases}}})
    manifests = [document for text in render_manifests(recorder).values() for document in yaml.safe_load_all(text)]
    for manifest in manifests:
        if manifest["kind"] == "Secret":
            manifest["data"][ENGINES[engine].credential_key] = base64.b64encode(CANARY.encode()).decode()
    own = [found for found in manifests if found["metadata"]["name"] == f"{engine}-{group}"]
    return sorted((found for found in own if found["kind"] in KINDS), key=lambda found: KINDS.index(found["kind"]))


def delete_server(cluster: Cluster, manifests: Sequence[Mapping[str, Any]]) -> None:
    """Delete the objects of a group, the last one first."""
    for manifest in reversed(manifests):
        resource = cluster.dynamic.resources.get(api_version=manifest["apiVersion"], kind=manifest["kind"])
        resource.delete(name=manifest["metadata"]["name"], namespace=manifest["metadata"]["namespace"])
