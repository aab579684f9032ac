"""A fake Kubernetes API server: it answers requests from a table."""

import base64
import hashlib
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
Execution = tuple[int | None, str]
"""Exit code and output of a script. Without an exit code, the connection ends."""
UPGRADE = 101
"""Status of an answer that accepts a WebSocket."""
KEY_SUFFIX = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"""RFC 6455, section 1.3."""
TEXT, CLOSE = 1, 8


class ScriptHandler(http.server.BaseHTTPRequestHandler):
    """Runs scripts over WebSockets."""

    def run_script(self, execute: Callable[[str], Execution]) -> None:
        """Speak the protocol v4.channel.k8s.io. Short frames have one octet for their length."""
        digest = hashlib.sha1((self.headers["Sec-WebSocket-Key"] + KEY_SUFFIX).encode()).digest()  # noqa: S324
        self.send_response(UPGRADE)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", base64.b64encode(digest).decode())
        self.send_header("Sec-WebSocket-Protocol", "v4.channel.k8s.io")
        self.end_headers()
        _, size = self.rfile.read(2)
        mask = self.rfile.read(4)
        content = bytes(octet ^ mask[place % 4] for place, octet in enumerate(self.rfile.read(size & 127)))
        code, output = execute(content[1:].decode())
        status = {"status": "Success"} if code == 0 else {"status": "Failure", "message": f"exit code {code}"}
        channels = {1: output, **({} if code is None else {3: json.dumps(status)})}
        for channel, text in channels.items():
            self.send_frame(TEXT, bytes([channel]) + text.encode())
        self.send_frame(CLOSE, b"")
        self.close_connection = True

    def send_frame(self, kind: int, content: bytes) -> None:
        self.wfile.write(bytes([128 | kind, len(content)]) + content)


@contextmanager
def run_api_server(
    answer: Callable[[str, str], Answer],
    review: Callable[[str, dict[str, Any]], Answer] = lambda *_: (404, {}),
    execute: Callable[[str], Execution] = lambda _: (0, ""),
) -> Iterator[str]:
    """Run an API server and yield its URL. `answer` returns the status and the body for a path and an Accept header.

    `review` does so for a POST, PATCH or DELETE request, from its path and its body. If `answer` has the status 101,
    `execute` returns the result of a script in a Pod from two lines of standard input.
    """

    class Handler(ScriptHandler):
        def do_GET(self) -> None:
            status, body = answer(self.path, self.headers["Accept"])
            if status == UPGRADE:
                self.run_script(execute)
            else:
                self.respond(status, body)

        def do_POST(self) -> None:
            self.review()

        def do_PATCH(self) -> None:
            self.review()

        def do_DELETE(self) -> None:
            self.review()

        def review(self) -> None:
            content = self.rfile.read(int(self.headers["Content-Length"] or 0))
            self.respond(*review(self.path, json.loads(content or "{}")))

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
