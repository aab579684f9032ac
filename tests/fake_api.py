"""A fake Kubernetes API server: it answers requests from a table."""

import http.server
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import yaml

from tests.support import CANARY

__all__ = ["build_kubeconfig", "run_api_server"]

Answer = tuple[int, dict[str, Any] | str]
"""Status and body. A text is the log of a container."""


@contextmanager
def run_api_server(
    answer: Callable[[str, str], Answer], review: Callable[[str, dict[str, Any]], Answer] = lambda *_: (404, {})
) -> Iterator[str]:
    """Run an API server and yield its URL. `answer` returns the status and the body for a path and an Accept header.

    `review` does so for a POST request, from its path and its body.
    """

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.respond(*answer(self.path, self.headers["Accept"]))

        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["Content-Length"]))
            self.respond(*review(self.path, json.loads(content)))

        def respond(self, status: int, body: dict[str, Any] | str) -> None:
            content = (body if isinstance(body, str) else json.dumps(body)).encode()
            self.send_response(status)
            self.send_header("Content-Type", "text/plain" if isinstance(body, str) else "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    class Server(http.server.ThreadingHTTPServer):
        request_queue_size = 64  # the program sends requests in parallel

    server = Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def build_kubeconfig(url: str) -> str:
    """Build a kubeconfig with a context `good`, and a current context whose API server does not run."""
    clusters = {"good": url, "dead": f"http://admin:{CANARY}@127.0.0.1:1"}
    return yaml.safe_dump(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": name, "cluster": {"server": server}} for name, server in clusters.items()],
            "users": [{"name": "u", "user": {"token": CANARY}}],
            "contexts": [{"name": name, "context": {"cluster": name, "user": "u"}} for name in clusters],
            "current-context": "dead",
        }
    )
