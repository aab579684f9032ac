"""Redis on a real server where there is one; the engines that no server is here for by fakes that speak just enough."""

import contextlib
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from preflight import check
from preflight.endpoint import Endpoint, Failure
from tests.e2e.tls import Authority, free_port
from tests.preflight.fakes import HOST, Fake, Handler, influxdb, mongodb, pages, saying, secured, web

Make = Callable[[Handler], Fake]
ACCOUNT = {"username": "shop", "password": "right-one", "database": "shop"}
PROTECTED = b"-DENIED Redis is running in protected mode because protected mode is enabled.\r\n"


def found(failures: list[Failure]) -> list[str]:
    return [failure.found for failure in failures]


@contextlib.contextmanager
def redis_server(folder: Path, *arguments: str) -> Iterator[int]:
    """A Redis of the test's own on loopback. Skips the test where there is none."""
    program = shutil.which("redis-server") or shutil.which("valkey-server")
    if not program:
        pytest.skip("there is neither redis-server nor valkey-server on this machine")
    port = free_port()
    command = [program, "--bind", HOST, "--port", str(port), "--save", "", "--dir", str(folder), *arguments]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            limit = time.monotonic() + 10
            while any("refused:" in text for text in found(check([Endpoint(path="it", engine="a-tenth", host=HOST, port=port)], 2))):
                assert time.monotonic() < limit, "redis-server did not start"
                time.sleep(0.1)
            yield port
        finally:
            server.terminate()


def redis(port: int, **account: str) -> list[Failure]:
    return check([Endpoint(path="it", engine="redis", host=HOST, port=port, account=account)])


@pytest.fixture
def folder(authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, which has the authority's certificate."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    return tmp_path


def test_redis_with_a_password(tmp_path: Path) -> None:
    secret = "c4narY-of-redis-which-is-long"
    with redis_server(tmp_path, "--requirepass", secret) as port:
        assert redis(port, password=secret, database="0") == []
        assert redis(port, username="default", password=secret, database="15") == []
        refused = redis(port, password="c4narY-wrong")
        assert "the login was refused" in refused[0].found
        assert "c4narY" not in str(refused)
        assert "wants a password, and none is given" in redis(port)[0].found
        assert "no such database" in redis(port, password=secret, database="99")[0].found
        assert "is a number" in redis(port, password=secret, database="shop")[0].found


def test_redis_without_a_password(tmp_path: Path) -> None:
    with redis_server(tmp_path) as port:
        assert redis(port) == []
        assert "the login was refused" in redis(port, password="c4narY")[0].found


def test_redis_with_too_many_clients(tmp_path: Path) -> None:
    with redis_server(tmp_path, "--maxclients", "1") as port, contextlib.ExitStack() as stack:
        stack.enter_context(socket.create_connection((HOST, port)))
        time.sleep(0.2)
        assert "takes no more connections" in redis(port)[0].found


@pytest.mark.parametrize(
    ("says", "words"),
    [(PROTECTED, "protected mode"), (b"-ERR max number of clients reached\r\n", "takes no more connections"), (b"-LOADING Redis is loading\r\n", "LOADING")],
    ids=["protected", "full", "loading"],
)
def test_what_redis_says(says: bytes, words: str, fake: Make) -> None:
    (failure,) = check([fake(saying(b"", says)).endpoint("redis")])
    assert words.lower() in failure.found.lower()


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({}, []),
        ({"tls": "require"}, []),
        ({"tls": "verify-full", "ca": "ca.pem"}, []),
        ({"tls": "verify-full"}, ["does not know"]),
        ({"tls": "disable"}, ["something that speaks TLS answers"]),
    ],
    ids=["unsaid", "require", "verified", "unknown authority", "disable"],
)
def test_redis_behind_tls(wanted: dict[str, str], expected: list[str], fake: Make, authority: Authority, folder: Path) -> None:
    there = fake(secured(saying(b"", b"+PONG\r\n"), authority.issue("localhost"), folder))
    failures = check([there.endpoint("redis", host="localhost", **wanted)])
    assert len(failures) == len(expected)
    assert all(words in failure.found for words, failure in zip(expected, failures, strict=True))


def test_tls_that_a_server_does_not_have(fake: Make) -> None:
    (failure,) = check([fake(saying(b"", b"-ERR unknown command\r\n")).endpoint("redis", tls="require")])
    assert failure.found == "the server has no TLS on this port"


def _mongodb(command: dict[str, Any]) -> dict[str, Any]:
    """A server that lets nobody in."""
    if "saslStart" in command or "saslContinue" in command:
        return {"ok": 0.0, "code": 18, "codeName": "AuthenticationFailed", "errmsg": "Authentication failed."}
    return {"ok": 0.0, "code": 13, "codeName": "Unauthorized", "errmsg": "Command listCollections requires authentication"}


def test_mongodb(fake: Make) -> None:
    closed, opened = fake(mongodb(_mongodb)), fake(mongodb(lambda _command: {"ok": 1.0}))
    (refused,) = check([closed.endpoint("mongodb", account=ACCOUNT)])
    assert refused.found == "the login was refused: Authentication failed."
    assert "use shop" in refused.remedy
    (nobody,) = check([closed.endpoint("mongodb", account={"database": "shop"})])
    assert "wants an account, and none is given" in nobody.found
    assert check([opened.endpoint("mongodb", account={"database": "shop"})]) == []


def _elasticsearch(seen: list[str]) -> Handler:
    headers = {"X-elastic-product": "Elasticsearch", "WWW-Authenticate": 'Basic realm="security" charset="UTF-8"'}

    def answer(request: str) -> tuple[str, dict[str, str], str]:
        # shop:right-one
        return ("200 OK" if "Authorization: Basic c2hvcDpyaWdodC1vbmU=" in request else "401 Unauthorized"), headers, "{}"

    return pages(answer, seen)


def test_elasticsearch(fake: Make) -> None:
    seen: list[str] = []
    there = fake(_elasticsearch(seen))
    assert check([there.endpoint("elasticsearch", account={"username": "shop", "password": "right-one"})]) == []
    assert found(check([there.endpoint("elasticsearch", account={"username": "shop", "password": "c4narY"})])) == ["the login was refused (HTTP 401)"]
    assert "wants an account" in found(check([there.endpoint("elasticsearch")]))[0]
    assert all(request.startswith("GET / HTTP/1.1") for request in seen)
    motto = web(headers={}, body='{"tagline": "You Know, for Search"}')
    assert check([fake(motto).endpoint("elasticsearch")]) == []
    broken = web(status="503 Service Unavailable", headers={"X-elastic-product": "Elasticsearch"})
    assert "not in order" in found(check([fake(broken).endpoint("elasticsearch")]))[0]


def test_elasticsearch_behind_tls(fake: Make, authority: Authority, tmp_path: Path) -> None:
    there = fake(secured(_elasticsearch([]), authority.issue("localhost"), tmp_path))
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    account = {"username": "shop", "password": "right-one"}
    for tls in (None, "require", "verify-full"):
        assert check([there.endpoint("elasticsearch", host="localhost", tls=tls, ca=str(tmp_path / "ca.pem"), account=account)]) == []
    wrong = check([there.endpoint("elasticsearch", tls="verify-full", ca=str(tmp_path / "ca.pem"), account=account)])
    assert found(wrong) == ["the server's certificate is for another name than 127.0.0.1: it is for localhost"]


BUCKET = {"org": "shop", "bucket": "shop"}


@pytest.mark.parametrize(
    ("account", "answers", "expected"),
    [
        ({}, [], None),
        ({**BUCKET, "token": "right-one"}, [("200 OK", {"buckets": [{"name": "shop"}]})], None),
        ({**BUCKET, "token": "writes"}, [("200 OK", {"buckets": []}), ("400 Bad Request", {"code": "invalid"})], None),
        (
            {**BUCKET, "token": "writes"},
            [("200 OK", {"buckets": []}), ("404 Not Found", {"code": "not found", "message": "no bucket"})],
            "there is no bucket shop",
        ),
        ({**BUCKET, "token": "c4narY"}, [("401 Unauthorized", {"code": "unauthorized"})], "the token was refused"),
        (BUCKET, [("401 Unauthorized", {"code": "unauthorized"})], "wants a token, and none is given"),
        ({**BUCKET, "token": "right-one"}, [("404 Not Found", {"code": "not found", "message": "organization not found"})], "organization not found"),
        ({**BUCKET, "token": "right-one"}, [("404 Not Found", "404 page not found")], None),
    ],
    ids=["no account", "good", "write-only", "write-only elsewhere", "wrong token", "no token", "no organisation", "another version"],
)
def test_influxdb(account: dict[str, str], answers: list[tuple[str, Any]], expected: str | None, fake: Make) -> None:
    seen: list[str] = []
    left = list(answers)
    failures = check([fake(influxdb(lambda _request: left.pop(0), seen)).endpoint("influxdb", account=account)])
    assert [expected in failure.found for failure in failures if expected] == [True] * (expected is not None), found(failures)
    assert len(failures) == (expected is not None)
    assert left == []
    assert all(("Authorization: Token " + account.get("token", "")) in request for request in seen[1:] if "token" in account)


def _rabbitmq(code: int, text: str, *, at: str) -> Handler:
    """A broker that says good-bye at a stage, with methods as the AMQP 0-9-1 specification has them."""
    import pika.frame
    import pika.spec

    def frame(method: Any) -> bytes:
        return bytes(pika.frame.Method(0, method).marshal())

    def until(connection: Any, method: Any) -> None:
        read = b""
        while method.INDEX.to_bytes(4, "big") not in read:
            data = connection.recv(4096)
            if not data:
                raise ConnectionError("the client went away")
            read += data

    def handler(connection: Any) -> None:
        connection.recv(8)
        connection.sendall(frame(pika.spec.Connection.Start(0, 9, {}, "PLAIN", "en_US")))
        until(connection, pika.spec.Connection.StartOk)
        if at == "login":
            return
        connection.sendall(frame(pika.spec.Connection.Tune(10, 131072, 0)))
        until(connection, pika.spec.Connection.Open)
        if at == "open":
            connection.sendall(frame(pika.spec.Connection.Close(code, text, 0, 0)))
            until(connection, pika.spec.Connection.CloseOk)
            return
        connection.sendall(frame(pika.spec.Connection.OpenOk()))
        until(connection, pika.spec.Connection.Close)
        connection.sendall(frame(pika.spec.Connection.CloseOk()))

    return handler


@pytest.mark.parametrize(
    ("handler", "expected"),
    [
        (_rabbitmq(0, "", at="end"), None),
        (_rabbitmq(0, "", at="login"), "the login was refused"),
        (_rabbitmq(530, "NOT_ALLOWED - vhost shop not found", at="open"), "not for the virtual host shop"),
        (_rabbitmq(530, "NOT_ALLOWED - connection limit (1) is reached", at="open"), "takes no more connections"),
    ],
    ids=["good", "login", "vhost", "full"],
)
def test_rabbitmq(handler: Handler, expected: str | None, fake: Make, capfd: pytest.CaptureFixture[str]) -> None:
    account = {"username": "shop", "password": "c4narY", "vhost": "shop"}
    failures = check([fake(handler).endpoint("rabbitmq", account=account)])
    assert [expected in failure.found for failure in failures if expected] == [True] * (expected is not None), found(failures)
    assert len(failures) == (expected is not None)
    assert capfd.readouterr() == ("", "")


def test_rabbitmq_without_an_account_needs_an_answer_alone(fake: Make) -> None:
    assert check([fake(_rabbitmq(0, "", at="login")).endpoint("rabbitmq")]) == []
