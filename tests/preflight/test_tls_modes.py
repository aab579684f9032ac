"""The TLS modes of all engines: TLS before a login, no login in plain text, and the failures of a handshake."""

import socket
import ssl
import struct
import threading
import time
from pathlib import Path

import pytest

from preflight import check
from tests.e2e.tls import Authority
from tests.preflight.fakes import (
    Handler,
    MakeFake,
    build_mysql_error,
    build_mysql_greeting,
    serve_influxdb,
    wrap_in_tls,
)
from tests.preflight.test_elasticsearch import serve_elasticsearch
from tests.preflight.test_rabbitmq import serve_rabbitmq

CANARY = "c4narY-which-is-long"
TLS_RECORD = b"\x16\x03"
POSTGRESQL_TLS_REQUEST = struct.pack("!II", 8, 80877103)
MYSQL_TLS_FLAG = 0x800
IMPLICIT = ["elasticsearch", "influxdb", "mongodb", "rabbitmq", "redis"]
ACCOUNTS = {
    "influxdb": {"token": CANARY, "org": "shop", "bucket": "shop"},
    "redis": {"username": "shop", "password": CANARY},
}


def get_account(engine: str) -> dict[str, str]:
    return ACCOUNTS.get(engine, {"username": "shop", "password": CANARY})


class Recorder:
    """A server that records what it receives, and answers as much as is necessary to get a login."""

    def __init__(self, greeting: bytes = b"", answer: bytes = b"") -> None:
        self.greeting, self.answer = greeting, answer
        self.requests: list[bytes] = []
        self.lock = threading.Lock()

    def __call__(self, connection: socket.socket) -> None:
        with self.lock:
            number = len(self.requests)
            self.requests.append(b"")
        connection.sendall(self.greeting)
        while data := connection.recv(65536):
            self.requests[number] += data
            if data.startswith(TLS_RECORD):
                return
            connection.sendall(self.answer)


def test_a_server_without_tls_gets_no_login(fake: MakeFake) -> None:
    web = (b"", b"HTTP/1.1 200 OK\r\nX-Influxdb-Version: 2\r\nX-Elastic-Product: Elasticsearch\r\n\r\n")
    answers = {
        **dict.fromkeys(IMPLICIT, web),
        "mysql": (build_mysql_greeting(), build_mysql_error(1045, "no")),
        "postgresql": (b"", b"N"),
        "redis": (b"", b"+OK\r\n"),
    }
    recorders = {(engine, tls): Recorder(*answers[engine]) for engine in answers for tls in ("require", "verify-full")}
    endpoints = [
        fake(recorder).endpoint(engine, path=f"{engine} {tls}", tls=tls, account=get_account(engine), host="localhost")
        for (engine, tls), recorder in recorders.items()
    ]
    findings = check(endpoints)
    assert [finding.path for finding in findings] == [endpoint.path for endpoint in endpoints]
    assert all(finding.result for finding in findings)
    for case, recorder in recorders.items():
        words = [word for word in (CANARY.encode(), b"shop", b"AUTH") if word in b"".join(recorder.requests)]
        assert words == [], case


def test_tls_comes_before_the_login(fake: MakeFake) -> None:
    """With no mode, each connection before the first one with an account has asked for TLS."""
    recorders = {engine: Recorder(answer=b"+OK\r\n") for engine in IMPLICIT}
    check([fake(recorder).endpoint(engine, account=get_account(engine)) for engine, recorder in recorders.items()])
    for engine, recorder in recorders.items():
        assert next(filter(None, recorder.requests)).startswith(TLS_RECORD), engine


def test_postgresql_is_asked_for_tls_before_the_login(fake: MakeFake) -> None:
    recorder = Recorder(answer=b"N")
    check([fake(recorder).endpoint("postgresql", account=get_account("postgresql"))])
    assert next(filter(None, recorder.requests)) == POSTGRESQL_TLS_REQUEST


def test_mysql_gets_the_request_for_tls_first(fake: MakeFake) -> None:
    """A server that offers TLS gets nothing but the request for it and the start of TLS."""
    greeting = bytearray(build_mysql_greeting())
    position = greeting.index(b"12345678\0") + 9
    flags = struct.unpack_from("<H", greeting, position)[0]
    struct.pack_into("<H", greeting, position, flags | MYSQL_TLS_FLAG)
    recorder = Recorder(bytes(greeting))
    check([fake(recorder).endpoint("mysql", account=get_account("mysql"))])
    requests = [request for request in recorder.requests if request]
    assert requests
    assert all(b"shop" not in request for request in requests)


def test_mysql_sends_no_password_in_plain_text(fake: MakeFake) -> None:
    """A server can ask for it with the plugin mysql_clear_password."""
    body = b"\xfemysql_clear_password\0"
    recorder = Recorder(build_mysql_greeting(), struct.pack("<I", len(body))[:3] + b"\x02" + body)
    (finding,) = check([fake(recorder).endpoint("mysql", account=get_account("mysql"))])
    assert finding.result.startswith("the account's authentication plugin needs TLS: ")
    assert "`tls: require`" in finding.fix
    assert not any(CANARY.encode() in request for request in recorder.requests)


@pytest.mark.parametrize(
    ("plugin", "result", "fix"),
    [
        (
            b"authentication_ldap_sasl_client",
            "the program does not support the account's authentication plugin: ",
            "IDEN",
        ),
        (b"caching_sha2_password", "the account's authentication plugin needs TLS: (caching sha2: ", "RSA key"),
    ],
)
def test_a_plugin_of_mysql_has_its_result_and_fix(plugin: bytes, result: str, fix: str, fake: MakeFake) -> None:
    body = b"\xfe" + plugin + b"\0" + b"s" * 20 + b"\0"
    switch = struct.pack("<I", len(body))[:3] + b"\x02" + body
    replies = [switch, b"\x02\0\0\x04\x01\x04", b"\x01\0\0\x06\0"]

    def handler(connection: socket.socket) -> None:
        connection.sendall(build_mysql_greeting())
        for reply in replies:
            connection.recv(4096)
            connection.sendall(reply)

    (finding,) = check([fake(handler).endpoint("mysql", tls="disable", account=get_account("mysql"))])
    assert finding.result.startswith(result)
    assert fix in finding.fix


def build_engine(engine: str) -> Handler:
    """Build a server that accepts the account."""
    handlers: dict[str, Handler] = {
        "elasticsearch": serve_elasticsearch([]),
        "influxdb": serve_influxdb(lambda _request: ("200 OK", {"buckets": [{"name": "shop"}]})),
        "rabbitmq": serve_rabbitmq(close_at="end"),
    }
    return handlers[engine]


@pytest.mark.parametrize("engine", ["influxdb", "rabbitmq", "elasticsearch"])
def test_a_server_with_tls_only_is_reported(engine: str, fake: MakeFake, authority: Authority, tmp_path: Path) -> None:
    server = fake(wrap_in_tls(build_engine(engine), authority.issue("localhost"), tmp_path))
    account = {"username": "shop", "password": "right-one"} if engine == "elasticsearch" else get_account(engine)
    start = "the server accepts only TLS on this port"
    expected = {None: f"{start}, and `tls` is not set", "disable": f"{start}, but `tls: disable` is set"}
    for tls, result in expected.items():
        (finding,) = check([server.endpoint(engine, tls=tls, account=account)])
        assert finding.result == result
        assert finding.fix == "Set `tls: verify-full` or `tls: require` in the stack file."


def answer_tls(context: ssl.SSLContext) -> Handler:
    """Start TLS with a context of the server, then read."""

    def handler(connection: socket.socket) -> None:
        try:
            with context.wrap_socket(connection, server_side=True) as wrapped:
                while wrapped.recv(4096):
                    pass
        except ssl.SSLError:
            time.sleep(0.3)  # until the client has received the alert
            raise

    return handler


def build_server_context(authority: Authority, folder: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    (folder / "server.pem").write_bytes(b"".join(authority.issue("localhost")))
    (folder / "ca.pem").write_bytes(authority.pem)
    context.load_cert_chain(folder / "server.pem")
    return context


@pytest.mark.parametrize("tls", [None, "require", "verify-full"])
@pytest.mark.parametrize("engine", IMPLICIT)
def test_a_rejected_handshake_is_no_reason_for_plain_text(engine: str, tls: str | None, fake: MakeFake) -> None:
    """The server answers with the alert "protocol version"."""
    recorder = Recorder(answer=b"")

    def handler(connection: socket.socket) -> None:
        data = connection.recv(65536)
        recorder.requests.append(data)
        if data.startswith(TLS_RECORD):
            connection.sendall(b"\x15\x03\x01\x00\x02\x02\x46")

    server = fake(handler)
    (finding,) = check([server.endpoint(engine, tls=tls, account=get_account(engine), host="localhost")])
    assert finding.result.startswith("the TLS handshake failed: ")
    assert "Enable TLS 1.2" in finding.fix
    assert all(request.startswith(TLS_RECORD) for request in recorder.requests if request)


def test_a_server_that_requires_a_client_certificate_is_explained(
    fake: MakeFake, authority: Authority, tmp_path: Path
) -> None:
    context = build_server_context(authority, tmp_path)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(tmp_path / "ca.pem")
    endpoints = [
        fake(answer_tls(context)).endpoint(engine, path=engine, tls="require", account=get_account(engine))
        for engine in IMPLICIT
    ]
    findings = check(endpoints)
    assert [finding.path for finding in findings] == IMPLICIT
    for finding in findings:
        assert finding.result.startswith("the TLS handshake failed: ")
        assert "requires a certificate of the client" in finding.fix


def test_a_reset_connection_has_its_result(fake: MakeFake) -> None:
    def handler(connection: socket.socket) -> None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.recv(1)

    engines = ["mysql", "postgresql", *IMPLICIT]
    findings = check([fake(handler).endpoint(engine, path=engine, account=get_account(engine)) for engine in engines])
    assert [finding.path for finding in findings] == engines
    for finding in findings:
        assert finding.result.startswith("an unknown service answers, not ")
        assert "`host` and `port`" in finding.fix
