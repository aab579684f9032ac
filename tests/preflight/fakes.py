"""What may listen where a database is expected: real sockets on 127.0.0.1, each with just enough of a protocol."""

import json
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

from preflight.endpoint import Endpoint

Handler = Callable[[socket.socket], None]
"""What is done with a connection; it is closed afterwards."""

HOST = "127.0.0.1"
LENGTH = 65536
MONGODB_REPLY, MONGODB_MESSAGE, MONGODB_QUERY = 1, 2013, 2004


@dataclass(frozen=True, kw_only=True)
class Fake:
    """A listener."""

    port: int
    connections: list[int]
    """One entry for each that came."""

    def endpoint(self, engine: str, **changes: Any) -> Endpoint:
        """The endpoint of a group there."""
        return Endpoint(**{"path": f"servers.{engine}", "engine": engine, "host": HOST, "port": self.port, **changes})


@contextmanager
def serving(handler: Handler) -> Iterator[Fake]:
    """Listens until the end."""
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
        yield Fake(port=listener.getsockname()[1], connections=connections)
        listener.shutdown(socket.SHUT_RDWR)


@contextmanager
def unanswering() -> Iterator[int]:
    """A port whose connections are neither taken nor refused, as behind a firewall that drops packets: its queue is full."""
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


def silent(connection: socket.socket) -> None:
    """Takes everything and says nothing."""
    while connection.recv(LENGTH):
        pass


def closing(_connection: socket.socket) -> None:
    """Closes at once."""


def garbage(connection: socket.socket) -> None:
    """Says what belongs to no protocol."""
    connection.sendall(bytes(range(1, 200)) * 5)
    connection.recv(LENGTH)


def echo(connection: socket.socket) -> None:
    """Says whatever it is told."""
    while data := connection.recv(LENGTH):
        connection.sendall(data)


def saying(first: bytes, then: bytes = b"") -> Handler:
    """Says something unasked, and something else to whatever comes."""

    def handler(connection: socket.socket) -> None:
        connection.sendall(first)
        while connection.recv(LENGTH):
            if then:
                connection.sendall(then)

    return handler


def parting(said: bytes) -> Handler:
    """Says one thing to whatever comes, and closes."""

    def handler(connection: socket.socket) -> None:
        connection.recv(LENGTH)
        connection.sendall(said)

    return handler


def web(*, status: str = "200 OK", headers: Mapping[str, str] | None = None, body: str = "hello", seen: list[str] | None = None) -> Handler:
    """A web server. `seen` gets what it is asked."""
    return pages(lambda _request: (status, {"Server": "nginx/1.22"} if headers is None else headers, body), seen)


def pages(answer: Callable[[str], tuple[str, Mapping[str, str], str]], seen: list[str] | None = None) -> Handler:
    """A web server with an answer to each request."""

    def handler(connection: socket.socket) -> None:
        request = b""
        while b"\r\n\r\n" not in request:
            data = connection.recv(LENGTH)
            if not data:
                return
            request += data
            if b"\n" in request and not request.split(b"\n", 1)[0].rstrip().endswith((b"HTTP/1.1", b"HTTP/1.0")):
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\nServer: nginx/1.22\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
                return
        if seen is not None:
            seen.append(request.decode("latin-1"))
        status, headers, body = answer(request.decode("latin-1"))
        lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in headers.items()), f"Content-Length: {len(body.encode())}", "Connection: close"]
        connection.sendall("\r\n".join([*lines, "", body]).encode())

    return handler


def secured(handler: Handler, certificate: tuple[bytes, bytes], folder: Path) -> Handler:
    """The same behind TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    (folder / "fake.pem").write_bytes(certificate[0] + certificate[1])
    context.load_cert_chain(folder / "fake.pem")

    def wrapped(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as through:
            handler(through)

    return wrapped


def mysql_greeting(version: str = "8.4.0", *, tls: bool = False) -> bytes:
    """The first packet of a server of MySQL's protocol, as its documentation has it ("Protocol::HandshakeV10")."""
    capabilities = 0x000FF7FF if tls else 0x000FF7FF & ~0x800
    body = b"\x0a" + version.encode() + b"\0" + struct.pack("<I", 7) + b"12345678\0" + struct.pack("<H", capabilities & 0xFFFF) + b"\xff\x02\0"
    body += struct.pack("<H", capabilities >> 16) + b"\x15" + b"\0" * 10 + b"123456789012\0" + b"mysql_native_password\0"
    return struct.pack("<I", len(body))[:3] + b"\0" + body


def mysql_error(code: int, message: str, *, sequence: int = 2) -> bytes:
    """An error packet."""
    body = b"\xff" + struct.pack("<H", code) + b"#HY000" + message.encode()
    return struct.pack("<I", len(body))[:3] + bytes([sequence]) + body


def mysql(code: int, message: str, version: str = "8.4.0") -> Handler:
    """A server that refuses each login."""
    return saying(mysql_greeting(version), mysql_error(code, message))


def postgresql(message: str, code: str = "28000") -> Handler:
    """A server without TLS that refuses each login."""

    def handler(connection: socket.socket) -> None:
        request = connection.recv(LENGTH)
        if request[4:8] == struct.pack("!I", 80877103):
            connection.sendall(b"N")
            if not connection.recv(LENGTH):
                return
        fields = b"SFATAL\0VFATAL\0" + b"C" + code.encode() + b"\0M" + message.encode() + b"\0\0"
        connection.sendall(b"E" + struct.pack("!I", len(fields) + 4) + fields)

    return handler


def mongodb(answer: Callable[[dict[str, Any]], dict[str, Any]]) -> Handler:
    """A server that answers greetings itself, and other commands by a function."""
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
            answered = MONGODB_REPLY if kind == MONGODB_QUERY else MONGODB_MESSAGE
            connection.sendall(struct.pack("<iiii", 16 + len(payload), 1, request, answered) + payload)

    return handler


def influxdb(answer: Callable[[str], tuple[str, Any]], seen: list[str] | None = None) -> Handler:
    """A server with its sign of life, and an answer to each other request."""

    def page(request: str) -> tuple[str, Mapping[str, str], str]:
        headers = {"X-Influxdb-Version": "v2.7.11"}
        if request.startswith("GET /ping"):
            return "204 No Content", headers, ""
        status, value = answer(request)
        return status, headers, json.dumps(value)

    return pages(page, seen)
