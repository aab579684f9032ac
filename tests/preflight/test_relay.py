"""The limits of an answer: bytes and time."""

import resource
import socket
import threading
import time
from contextlib import suppress

import pytest

from preflight import check
from preflight.models import Endpoint
from preflight.probe_context import ProbeContext
from preflight.probes import PROBES
from preflight.relay import MAX_ANSWER_BYTES, open_relay
from tests.preflight.fakes import HOST, Handler, MakeFake, build_mysql_greeting, send

WITH_PROTOCOL = sorted(engine for engine, probe in PROBES.items() if probe.speaks_protocol)
STARTS = {
    "elasticsearch": b"HTTP/1.1 200 OK\r\nX-Elastic-Product: Elasticsearch\r\n\r\n",
    "influxdb": b"HTTP/1.1 200 OK\r\nX-Influxdb-Version: ",
    "mongodb": b"\xff\xff\xff\x7f\x01\0\0\0\x01\0\0\0\xdd\x07\0\0",
    "mysql": b"\xff\xff\xff\0\x0a",
    "postgresql": b"R\x7f\xff\xff\xff",
    "rabbitmq": b"\x01\0\0\x7f\xff\xff\xff",
    "redis": b"$2000000000\r\n",
}
"""The start of an answer of each engine that announces as much data as the protocol allows."""
CHUNK = b"\xff" * 65536


def send_without_end(start: bytes, sent: list[int]) -> Handler:
    """Send a start and data until the client closes the connection. `sent` collects the bytes of each connection."""

    def handler(connection: socket.socket) -> None:
        connection.recv(65536)
        total = 0
        with suppress(OSError):
            connection.sendall(start)
            while True:
                total += connection.send(CHUNK)
        sent.append(total)

    return handler


@pytest.mark.parametrize("engine", WITH_PROTOCOL)
def test_an_endless_answer_is_read_with_a_limit(engine: str, fake: MakeFake) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    starts = {"engine": STARTS[engine], "continue": b"HTTP/1.1 100 Continue\r\n\r\n", "line": b"+"}
    sent: list[int] = []
    account = {"username": "shop", "password": "p", "token": "p", "bucket": "shop"}
    begin = time.monotonic()
    endpoints = [
        fake(send_without_end(start, sent)).endpoint(engine, path=name, account=account)
        for name, start in starts.items()
    ]
    findings = check(endpoints, 8)
    # The start of an endless page is enough to recognize Elasticsearch.
    expected = [name for name in starts if (engine, name) != ("elasticsearch", "engine")]
    assert [finding.path for finding in findings] == expected
    assert time.monotonic() - begin < 8.5
    assert all(total < 2 * MAX_ANSWER_BYTES for total in sent)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 12 * MAX_ANSWER_BYTES // 1024


def test_an_endless_answer_of_many_lines_ends(fake: MakeFake) -> None:
    """A client of HTTP reads any number of such answers."""
    reply = b"HTTP/1.1 100 Continue\r\n\r\n" * 1000
    ended = threading.Event()

    def handler(connection: socket.socket) -> None:
        connection.recv(65536)
        with suppress(OSError):
            while True:
                connection.sendall(reply)
        ended.set()

    (finding,) = check([fake(handler).endpoint("influxdb")], 60)
    assert finding.result.startswith("an unknown service answers, not InfluxDB: it sent more than 16 MiB")
    assert ended.wait(5)


def test_a_slow_answer_ends_at_the_deadline(fake: MakeFake) -> None:
    """Each byte arrives before the driver's own timeout."""
    closed = threading.Event()

    def handler(connection: socket.socket) -> None:
        with suppress(OSError):
            connection.sendall(STARTS["mysql"])
            while True:
                connection.sendall(b"\x01")
                time.sleep(0.2)
        closed.set()

    (finding,) = check([fake(handler).endpoint("mysql", account={"username": "shop", "password": "p"})], 2)
    assert finding.result == "no answer within 2 s"
    assert closed.wait(3), "the connection is open after the check"


def test_relay_ends_with_its_block(fake: MakeFake) -> None:
    server = fake(send(build_mysql_greeting()))
    endpoint = Endpoint(path="it", engine="mysql", host=HOST, port=server.port)
    context = ProbeContext(endpoint=endpoint, address=HOST, deadline=time.monotonic() + 5)
    direct = context.target
    with open_relay(context):
        relayed = context.target
        with context.connect() as connection:
            assert connection.recv(65536) == build_mysql_greeting()
    assert context.target == direct != relayed
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(relayed, 1).close()
