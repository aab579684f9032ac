"""Redis: logins on real servers if a program is installed; messages and TLS on fake ones."""

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from preflight import check
from preflight.models import Endpoint
from tests.e2e.tls import Authority, free_port
from tests.preflight.fakes import HOST, MakeFake, results, send, wrap_in_tls

NO_TLS = "the server does not support TLS on this port"


@contextmanager
def start_redis(folder: Path, *arguments: str) -> Iterator[int]:
    """Start a Redis server on 127.0.0.1. Skip the test if no program is installed."""
    program = shutil.which("redis-server") or shutil.which("valkey-server")
    if not program:
        pytest.skip("neither redis-server nor valkey-server is installed")
    port = free_port()
    command = [program, "--bind", HOST, "--port", str(port), "--save", "", "--dir", str(folder), *arguments]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            limit = time.monotonic() + 10
            while check([Endpoint(path="it", engine="a-tenth", host=HOST, port=port)], 2):
                assert time.monotonic() < limit, "the server did not start"
                time.sleep(0.1)
            yield port
        finally:
            server.terminate()


def check_redis(port: int, **account: str) -> list[str]:
    """Return the results of a check, without the server's messages."""
    findings = check([Endpoint(path="it", engine="redis", host=HOST, port=port, account=account)])
    assert "c4narY" not in str(findings)
    return [finding.result.partition(": ")[0] for finding in findings]


def test_a_server_with_a_password_checks_it(tmp_path: Path) -> None:
    secret = "c4narY-of-redis-which-is-long"
    with start_redis(tmp_path, "--requirepass", secret) as port:
        assert check_redis(port, password=secret, database="0") == []
        assert check_redis(port, username="default", password=secret, database="15") == []
        assert check_redis(port, password="c4narY-wrong") == [REJECTED]
        assert check_redis(port) == [NO_CREDENTIALS]
        assert check_redis(port, password=secret, database="99") == [NO_DATABASE]


def test_a_server_without_a_password_rejects_one(tmp_path: Path) -> None:
    with start_redis(tmp_path) as port:
        assert check_redis(port) == []
        assert check_redis(port, password="c4narY") == [REJECTED]


def test_a_server_with_too_many_clients_accepts_no_more(tmp_path: Path) -> None:
    with start_redis(tmp_path, "--maxclients", "1") as port, socket.create_connection((HOST, port)):
        time.sleep(0.2)
        assert check_redis(port) == [FULL]


NO_CREDENTIALS = "the server requires authentication; no credentials are configured"
REJECTED = "the server rejected the login"
NO_DATABASE = "login succeeded, but the database does not exist"
PROTECTED = "the server is in protected mode: without a password it accepts connections from its own machine only"
FULL = "the server accepts no more connections"


@pytest.mark.parametrize(
    ("account", "reply", "result"),
    [
        ({}, "+PONG", None),
        ({}, "-NOPERM this user has no permissions to run the 'ping' command", None),
        ({}, "-NOAUTH Authentication required.", f"{NO_CREDENTIALS}: Authentication required."),
        ({"password": "c4narY"}, "-WRONGPASS invalid password", f"{REJECTED}: invalid password"),
        ({"password": "c4narY"}, "-ERR Client sent AUTH", f"{REJECTED}: Client sent AUTH"),
        ({"database": "99"}, "-ERR DB index is out of range", f"{NO_DATABASE}: DB index is out of range"),
        ({"database": "shop"}, "+PONG", "a Redis database is a number"),
        ({}, "-DENIED Redis is running in protected mode", PROTECTED),
        ({}, "-ERR max number of clients reached", f"{FULL}: max number of clients reached"),
        ({}, "-LOADING Redis is loading", "the server is not ready: Redis is loading"),
    ],
)
def test_a_reply_of_the_server_has_its_result(
    account: dict[str, str], reply: str, result: str | None, fake: MakeFake
) -> None:
    findings = check([fake(send(b"", f"{reply}\r\n".encode())).endpoint("redis", account=account)])
    assert results(findings) == ([result] if result else [])
    assert "c4narY" not in str(findings)


@pytest.mark.parametrize(
    ("tls", "result"),
    [
        (None, "the server accepts only TLS on this port, and `tls` is not set"),
        ("require", None),
        ("verify-full", None),
        ("disable", "the server accepts only TLS on this port, but `tls: disable` is set"),
    ],
)
def test_a_server_with_tls_is_checked_with_each_mode(
    tls: str | None, result: str | None, fake: MakeFake, authority: Authority, tmp_path: Path
) -> None:
    ca_file = tmp_path / "ca.pem"
    ca_file.write_bytes(authority.pem)
    server = fake(wrap_in_tls(send(b"", b"+PONG\r\n"), authority.issue("localhost"), tmp_path))
    findings = check([server.endpoint("redis", host="localhost", tls=tls, ca_file=str(ca_file))])
    assert results(findings) == ([result] if result else [])


def test_a_certificate_of_an_unknown_ca_is_rejected(fake: MakeFake, authority: Authority, tmp_path: Path) -> None:
    server = fake(wrap_in_tls(send(b"", b"+PONG\r\n"), authority.issue("localhost"), tmp_path))
    (finding,) = check([server.endpoint("redis", host="localhost", tls="verify-full")])
    assert finding.result.startswith("an unknown CA CN=Authority of a test signed the server's certificate")


def test_a_server_without_tls_gets_no_plain_text_login(fake: MakeFake) -> None:
    (finding,) = check([fake(send(b"", b"-ERR unknown command\r\n")).endpoint("redis", tls="require")])
    assert finding.result == NO_TLS
    assert "`tls: disable`" in finding.fix
