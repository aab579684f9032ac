"""Redaction: no password and no token in a message, whatever a server or a driver repeats."""

import base64
import json
from collections.abc import Callable
from urllib.parse import quote

import pytest

from preflight import check, format_findings
from preflight.models import SECRET_KEYS, Endpoint
from preflight.probe_context import ProbeContext
from preflight.probes import PROBES
from tests.preflight.fakes import (
    MakeFake,
    echo,
    reject_mysql_login,
    reject_postgresql_login,
    reply_and_close,
    send,
    serve_influxdb,
    serve_mongodb,
    serve_web,
)
from tests.support import CANARY

HOSTILE_SECRETS = (
    "c4narY-5ecret",
    "c4narY %'\"\\ $(x) {y}",
    "c4narY/@:?#&=+",
    "c4narY-ü€😀",
    "c4narY%20%s%(a)s",
    "c4narY; DROP",
)
REPEATED = f"wrong password {CANARY} for {quote(CANARY)}"


def build_account(engine: str, secret: str) -> dict[str, str]:
    if engine == "influxdb":
        return {"token": secret, "org": "shop", "bucket": "shop"}
    return {"username": "shop", "password": secret, "database": "0" if engine == "redis" else "shop"}


def build_context(**account: str) -> ProbeContext:
    return ProbeContext(endpoint=Endpoint(path="it", engine="mysql", host="h", port=1, account=account), deadline=0)


def test_a_secret_that_a_server_repeats_is_removed(fake: MakeFake) -> None:
    servers = [
        ("mysql", reject_mysql_login(1045, REPEATED)),
        ("mysql", reject_mysql_login(4000, REPEATED)),
        ("mysql", reject_mysql_login(1045, "no", version=f"5.5.5-{CANARY}-MariaDB")),
        ("mysql", serve_web(headers={"Server": CANARY})),
        ("mysql", serve_web(headers={"X-Influxdb-Version": CANARY})),
        ("mysql", send(f"SSH-2.0-{CANARY}\r\n".encode())),
        ("postgresql", reject_postgresql_login(f'password authentication failed for user "{CANARY}"')),
        ("postgresql", reject_postgresql_login(f'no pg_hba.conf entry for host "{CANARY}", user "shop"')),
        ("postgresql", reject_postgresql_login(REPEATED)),
        ("redis", send(b"", f"-WRONGPASS {REPEATED}\r\n".encode())),
        ("redis", send(b"", f"-ERR {REPEATED}\r\n".encode())),
        ("mongodb", serve_mongodb(lambda _command: {"ok": 0.0, "code": 18, "errmsg": REPEATED})),
        ("influxdb", serve_influxdb(lambda _request: ("404 Not Found", {"code": "not found", "message": REPEATED}))),
        ("rabbitmq", reply_and_close(f"AMQP{REPEATED}".encode())),
        ("elasticsearch", reply_and_close(f"{REPEATED}\r\n".encode())),
        ("glusterfs", send(f"SSH-2.0-{CANARY}\r\n".encode())),
    ]
    endpoints = [
        fake(handler).endpoint(engine, path=f"{number}", account=build_account(engine, CANARY))
        for number, (engine, handler) in enumerate(servers)
    ]
    findings = check(endpoints)
    assert [finding.path for finding in findings] == [endpoint.path for endpoint in endpoints]
    assert CANARY not in format_findings(findings)


def test_a_driver_that_receives_its_own_request_reveals_no_secret(fake: MakeFake) -> None:
    servers = {secret: fake(echo) for secret in HOSTILE_SECRETS}
    endpoints = [
        server.endpoint(engine, path=engine, account=build_account(engine, secret))
        for secret, server in servers.items()
        for engine in PROBES
    ]
    text = format_findings(check(endpoints))
    assert "c4narY" not in text
    assert [secret for secret in HOSTILE_SECRETS if base64.b64encode(secret.encode()).decode() in text] == []


@pytest.mark.parametrize("key", sorted(SECRET_KEYS))
@pytest.mark.parametrize("secret", HOSTILE_SECRETS)
@pytest.mark.parametrize(
    "encode",
    [
        str,
        quote,
        repr,
        lambda text: repr(text.encode()),
        json.dumps,
        lambda text: base64.b64encode(f"shop:{text}".encode()).decode(),
    ],
)
def test_a_secret_is_removed_in_every_form(secret: str, key: str, encode: Callable[[str], str]) -> None:
    text = build_context(username="shop", **{key: secret}).redact(f"before {encode(secret)} after")
    assert text.startswith("before ")
    assert text.endswith(" after")
    assert "c4narY" not in text
    assert base64.b64encode(f"shop:{secret}".encode()).decode() not in text


def test_a_short_password_is_removed_as_a_whole_word_only() -> None:
    context = build_context(username="shop", password="p")
    assert context.redact("password 'p' expired") == "password '***' expired"


def test_a_message_has_one_short_line() -> None:
    context = build_context()
    assert context.redact("a\nb\tc\x1b[31m") == "a b c [31m"
    assert len(context.redact("x" * 5000)) < 500


@pytest.mark.parametrize("message", ["", "\n\x01"])
def test_an_exception_without_a_message_is_reported_by_its_type(message: str) -> None:
    assert build_context().redact(ValueError(message)) == "ValueError"
