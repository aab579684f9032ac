"""Every manifest of the examples, before a real API server."""

import pytest
import yaml

from offline.__main__ import render_stack
from offline.render import render_manifests
from tests.e2e.cluster import RESTRICTED, Cluster


@pytest.mark.parametrize("stack", ["development", "production"])
def test_the_api_server_accepts_every_manifest(stack: str, pretend_node: Cluster) -> None:
    """Objects by server-side apply into a namespace that enforces Pod Security `restricted`, and the Pods that would come of them."""
    documents = [
        document for text in render_manifests(render_stack(stack)).values() for document in yaml.safe_load_all(text)
    ]
    namespaces = {document["metadata"]["name"] for document in documents if document["kind"] == "Namespace"}
    try:
        for document in documents:
            if document["kind"] == "Namespace":
                document["metadata"]["labels"].update(RESTRICTED)
            pretend_node.apply(document)
            if document["kind"] == "StatefulSet":
                template = document["spec"]["template"]
                metadata = {**template["metadata"], "name": "template", "namespace": document["metadata"]["namespace"]}
                pretend_node.apply(
                    {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}, dry_run=True
                )
    finally:
        for namespace in namespaces:
            pretend_node.core.delete_namespace(namespace)
        for namespace in namespaces:
            pretend_node.gone(namespace)
