"""A webhook that sends the Pods of some namespaces to the nodes on which containers run.

All other Pods go to the simulated nodes, because the others have a taint. So the tests of real servers and the tests
of the API run at the same time. The API server must run on the machine of the tests.
"""

import base64
import json
import ssl
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

from tests.e2e.tls import Authority

TAINT = {"key": "database-groups-tests", "value": "real", "effect": "NoSchedule"}
"""Taint of the nodes on which containers run. A toleration of it has the same keys."""
NAME = "database-groups-tests"
TIMEOUT_SECONDS = 30
"""Longest time limit that Kubernetes accepts."""


def build_patch(pod: dict[str, Any], node: str) -> list[dict[str, Any]]:
    """Return the JSON patch that sends a Pod to a node; none for a Pod that selects its nodes itself."""
    spec = pod["spec"]
    if spec.get("nodeSelector"):
        return []
    return [
        {"op": "add", "path": "/spec/nodeSelector", "value": {"kubernetes.io/hostname": node}},
        {"op": "add", "path": "/spec/tolerations", "value": [*spec.get("tolerations", []), TAINT]},
    ]


@contextmanager
def serve_webhook(node: str, namespaces: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Serve the webhook on the loopback address. Yield its MutatingWebhookConfiguration."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            """Answer an AdmissionReview."""
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["request"]
            patch = base64.b64encode(json.dumps(build_patch(request["object"], node)).encode()).decode()
            response = {"uid": request["uid"], "allowed": True, "patchType": "JSONPatch", "patch": patch}
            review = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(review).encode())

        def log_message(self, *_: Any) -> None:
            """Print no requests."""

    authority = Authority()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.NamedTemporaryFile() as file:
        file.write(b"".join(authority.issue("127.0.0.1")))
        file.flush()
        context.load_cert_chain(Path(file.name))
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        selector = {"key": "kubernetes.io/metadata.name", "operator": "In", "values": list(namespaces)}
        client = {
            "url": f"https://127.0.0.1:{server.server_port}/",
            "caBundle": base64.b64encode(authority.pem).decode(),
        }
        configuration = {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "MutatingWebhookConfiguration",
            "metadata": {"name": NAME},
            "webhooks": [
                {
                    "name": "nodes.database-groups.test",
                    "clientConfig": client,
                    "rules": [
                        {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
                    ],
                    "namespaceSelector": {"matchExpressions": [selector]},
                    "admissionReviewVersions": ["v1"],
                    "sideEffects": "None",
                    "timeoutSeconds": TIMEOUT_SECONDS,
                    # What a killed test leaves does not reject Pods.
                    "failurePolicy": "Ignore",
                }
            ],
        }
        try:
            yield configuration
        finally:
            server.shutdown()
            thread.join()
