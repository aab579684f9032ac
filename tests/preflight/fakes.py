"""Fake servers: real sockets on 127.0.0.1, each with the necessary part of a protocol."""

import json
import re
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bson

from preflight.models import Endpoint, Finding
from tests.e2e.servers import DatabaseServer
from tests.e2e.tls import Secured

Handler = Callable[[socket.socket], None]
"""Handles a connection, which is closed afterwards."""

HOST = "127.0.0.1"
LENGTH = 65536
MONGODB_REPLY, MONGODB_MESSAGE, MONGODB_QUERY = 1, 2013, 2004


@dataclass(frozen=True, kw_only=True)
class FakeServer:
    """A server that listens on 127.0.0.1."""

    port: int
    connections: list[int]
    """The client port of each connection."""

    def endpoint(self, engine: str, **changes: Any) -> Endpoint:
        """Build an endpoint of this server."""
        return Endpoint(**{"path": "it", "engine": engine, "host": HOST, "port": self.port, **changes})


MakeFake = Callable[[Handler], FakeServer]
"""The type of the fixture `fake`."""


def administrator_endpoint(server: DatabaseServer | Secured, engine: str, **changes: Any) -> Endpoint:
    """Build the endpoint of a real server's administrator."""
    account = {"username": server.username, "password": server.password}
    values = {"path": "externalServers.hq", "engine": engine, "host": server.host, "port": server.port}
    return Endpoint(**{**values, "account": account, "is_administrator": True, **changes})


def only(findings: list[Finding]) -> Finding:
    """Return the single finding."""
    assert len(findings) == 1, findings
    return findings[0]


def results(findings: list[Finding]) -> list[str]:
    """Return the results of the findings."""
    return [finding.result for finding in findings]


@contextmanager
def serve(handler: Handler) -> Iterator[FakeServer]:
    """Run a server until the end of the context."""
    connections: list[int] = []
    with socket.create_server((HOST, 0), backlog=128) as listener:

        def accept() -> None:
            with suppress(OSError):
                while True:
                    connection, address = listener.accept()
                    connections.append(address[1])
                    threading.Thread(target=handle, args=(connection,), daemon=True).start()

        def handle(connection: socket.socket) -> None:
            with connection, suppress(OSError):
                handler(connection)

        threading.Thread(target=accept, daemon=True).start()
        yield FakeServer(port=listener.getsockname()[1], connections=connections)
        listener.shutdown(socket.SHUT_RDWR)


@contextmanager
def open_unanswering_port() -> Iterator[int]:
    """Open a port whose queue is full. It neither accepts nor rejects connections, as a firewall that drops packets."""
    with socket.create_server((HOST, 0), backlog=0) as listener:
        port = listener.getsockname()[1]
        waiting = [socket.socket() for _ in range(4)]
        for connection in waiting:
            connection.setblocking(False)
            with suppress(BlockingIOError):
                connection.connect((HOST, port))
        time.sleep(0.1)
        yield port
        for connection in waiting:
            connection.close()


def stay_silent(connection: socket.socket) -> None:
    """Receive everything and send nothing."""
    while connection.recv(LENGTH):
        pass


def close(_connection: socket.socket) -> None:
    """Close the connection immediately."""


def close_after_request(connection: socket.socket) -> None:
    """Close the connection after the first request."""
    connection.recv(LENGTH)


def send_garbage(connection: socket.socket) -> None:
    """Send bytes of no protocol."""
    connection.sendall(bytes(range(1, 200)) * 5)
    connection.recv(LENGTH)


def echo(connection: socket.socket) -> None:
    """Send back what the client sends."""
    while data := connection.recv(LENGTH):
        connection.sendall(data)


def send(greeting: bytes, reply: bytes = b"") -> Handler:
    """Send a greeting, then the same reply to each request."""

    def handler(connection: socket.socket) -> None:
        connection.sendall(greeting)
        while connection.recv(LENGTH):
            if reply:
                connection.sendall(reply)

    return handler


def reply_and_close(reply: bytes) -> Handler:
    """Reply once, then close the connection."""

    def handler(connection: socket.socket) -> None:
        connection.recv(LENGTH)
        connection.sendall(reply)

    return handler


def serve_web(*, status: str = "200 OK", headers: Mapping[str, str] | None = None, body: str = "hello") -> Handler:
    """Run a web server with one page."""
    return serve_pages(lambda _request: (status, {"Server": "nginx/1.22"} if headers is None else headers, body))


def serve_pages(answer: Callable[[str], tuple[str, Mapping[str, str], str]], seen: list[str] | None = None) -> Handler:
    """Run a web server that answers each request with a function. `seen` collects the requests."""

    def handler(connection: socket.socket) -> None:
        request = b""
        while b"\r\n\r\n" not in request:
            data = connection.recv(LENGTH)
            if not data:
                return
            request += data
            if b"\n" in request and not request.split(b"\n", 1)[0].rstrip().endswith((b"HTTP/1.1", b"HTTP/1.0")):
                connection.sendall(
                    b"HTTP/1.1 400 Bad Request\r\nServer: nginx/1.22\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
                )
                return
        length = re.search(rb"(?i)\r\ncontent-length: ([0-9]+)\r\n", request)
        while length and len(request.partition(b"\r\n\r\n")[2]) < int(length[1]):
            request += connection.recv(LENGTH)
        if seen is not None:
            seen.append(request.decode("latin-1"))
        status, headers, body = answer(request.decode("latin-1"))
        lines = [
            f"HTTP/1.1 {status}",
            *(f"{name}: {value}" for name, value in headers.items()),
            f"Content-Length: {len(body.encode())}",
            "Connection: close",
        ]
        connection.sendall("\r\n".join([*lines, "", body]).encode())

    return handler


def wrap_in_tls(handler: Handler, certificate: tuple[bytes, bytes], folder: Path) -> Handler:
    """Run a handler behind TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    (folder / "fake.pem").write_bytes(certificate[0] + certificate[1])
    context.load_cert_chain(folder / "fake.pem")

    def wrapped(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as through:
            handler(through)

    return wrapped


def build_mysql_greeting(version: str = "8.4.0") -> bytes:
    """Build the first packet of a MySQL server without TLS ("Protocol::HandshakeV10" in its documentation)."""
    capabilities = 0x000FF7FF & ~0x800
    body = b"\x0a" + version.encode() + b"\0" + struct.pack("<I", 7) + b"12345678\0"
    body += struct.pack("<H", capabilities & 0xFFFF) + b"\xff\x02\0" + struct.pack("<H", capabilities >> 16)
    body += b"\x15" + b"\0" * 10 + b"123456789012\0" + b"mysql_native_password\0"
    return struct.pack("<I", len(body))[:3] + b"\0" + body


def build_mysql_error(code: int, message: str, *, sequence: int = 2) -> bytes:
    """Build an error packet."""
    body = b"\xff" + struct.pack("<H", code) + b"#HY000" + message.encode()
    return struct.pack("<I", len(body))[:3] + bytes([sequence]) + body


def reject_mysql_login(code: int, message: str, version: str = "8.4.0") -> Handler:
    """Run a MySQL server that rejects each login."""
    return send(build_mysql_greeting(version), build_mysql_error(code, message))


def reject_postgresql_login(message: str, code: str = "28000") -> Handler:
    """Run a PostgreSQL server without TLS that rejects each login."""

    def handler(connection: socket.socket) -> None:
        request = connection.recv(LENGTH)
        if request[4:8] == struct.pack("!I", 80877103):
            connection.sendall(b"N")
            if not connection.recv(LENGTH):
                return
        fields = b"SFATAL\0VFATAL\0" + b"C" + code.encode() + b"\0M" + message.encode() + b"\0\0"
        connection.sendall(b"E" + struct.pack("!I", len(fields) + 4) + fields)

    return handler


def serve_mongodb(answer: Callable[[dict[str, Any]], dict[str, Any]]) -> Handler:
    """Run a MongoDB server that answers each command but greetings with a function."""
    hello = {
        "ismaster": True,
        "helloOk": True,
        "maxWireVersion": 21,
        "minWireVersion": 0,
        "maxBsonObjectSize": 1 << 24,
        "maxMessageSizeBytes": 1 << 25,
        "ok": 1.0,
    }

    def handler(connection: socket.socket) -> None:
        while True:
            head = connection.recv(16, socket.MSG_WAITALL)
            if len(head) < 16:
                return
            length, request, _, kind = struct.unpack("<iiii", head)
            if not 16 < length < LENGTH:
                return
            body = connection.recv(length - 16, socket.MSG_WAITALL)
            start = body.index(b"\0", 4) + 9 if kind == MONGODB_QUERY else 5
            size = struct.unpack_from("<i", body, start)[0]
            command = bson.decode(body[start : start + size])
            greeting = next(iter(command)).lower() in ("hello", "ismaster")
            reply = bson.encode({**hello, "saslSupportedMechs": ["SCRAM-SHA-256"]} if greeting else answer(command))
            payload = struct.pack("<iqii", 8, 0, 0, 1) + reply if kind == MONGODB_QUERY else b"\0\0\0\0\0" + reply
            reply_kind = MONGODB_REPLY if kind == MONGODB_QUERY else MONGODB_MESSAGE
            connection.sendall(struct.pack("<iiii", 16 + len(payload), 1, request, reply_kind) + payload)

    return handler


def serve_influxdb(answer: Callable[[str], tuple[str, Any]], seen: list[str] | None = None) -> Handler:
    """Run an InfluxDB server that answers each request but pings with a function."""

    def page(request: str) -> tuple[str, Mapping[str, str], str]:
        headers = {"X-Influxdb-Version": "v2.7.11"}
        if request.startswith("GET /ping"):
            return "204 No Content", headers, ""
        status, value = answer(request)
        return status, headers, json.dumps(value)

    return serve_pages(page, seen)
