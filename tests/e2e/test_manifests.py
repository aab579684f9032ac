"""The API server accepts every manifest of the examples."""

import pytest
import yaml

from offline.__main__ import render_stack
from offline.manifests import render_manifests
from tests.e2e.cluster import RESTRICTED, Cluster


@pytest.mark.parametrize("stack", ["development", "production"])
def test_api_server_accepts_every_manifest(stack: str, simulated_node: Cluster) -> None:
    """The namespaces enforce Pod Security `restricted`. The test also applies the Pods of the StatefulSets."""
    manifests = [
        manifest
        for text in render_manifests(render_stack(stack).recorder).values()
        for manifest in yaml.safe_load_all(text)
    ]
    namespaces = {manifest["metadata"]["name"] for manifest in manifests if manifest["kind"] == "Namespace"}
    try:
        for manifest in manifests:
            if manifest["kind"] == "Namespace":
                manifest["metadata"]["labels"].update(RESTRICTED)
            simulated_node.apply(manifest)
            if manifest["kind"] == "StatefulSet":
                template = manifest["spec"]["template"]
                metadata = {**template["metadata"], "name": "template", "namespace": manifest["metadata"]["namespace"]}
                pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}
                simulated_node.apply(pod, dry_run=True)
    finally:
        for namespace in namespaces:
            simulated_node.delete_namespace(namespace)
