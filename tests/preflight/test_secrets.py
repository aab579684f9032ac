"""No password and no token in anything that is said, whatever a server or a driver repeats."""

import base64
import json
from collections.abc import Callable
from urllib.parse import quote

import pytest

from preflight import check, report
from preflight.attempt import Attempt
from preflight.endpoint import Endpoint
from preflight.probes import PROBES
from tests.preflight.fakes import Fake, Handler, echo, influxdb, mongodb, mysql, parting, postgresql, saying
from tests.support import CANARY

Make = Callable[[Handler], Fake]
HOSTILE = ("c4narY-5ecret", "c4narY %'\"\\ $(x) {y}", "c4narY/@:?#&=+", "c4narY-ü€😀", "c4narY%20%s%(a)s", "c4narY; DROP")
SAID = f"wrong password {CANARY} for {quote(CANARY)}"


def account(engine: str, secret: str) -> dict[str, str]:
    if engine == "influxdb":
        return {"token": secret, "org": "shop", "bucket": "shop"}
    return {"username": "shop", "password": secret, "database": "0" if engine == "redis" else "shop"}


def said_by(fake: Fake, engine: str, secret: str = CANARY) -> str:
    return report(check([fake.endpoint(engine, account=account(engine, secret))]))


@pytest.mark.parametrize(
    ("engine", "handler"),
    [
        ("mysql", mysql(1045, SAID)),
        ("mysql", mysql(4000, SAID)),
        ("postgresql", postgresql(f'password authentication failed for user "{CANARY}"')),
        ("postgresql", postgresql(SAID)),
        ("redis", saying(b"", f"-WRONGPASS {SAID}\r\n".encode())),
        ("redis", saying(b"", f"-ERR {SAID}\r\n".encode())),
        ("mongodb", mongodb(lambda _command: {"ok": 0.0, "code": 18, "errmsg": SAID})),
        ("influxdb", influxdb(lambda _request: ("404 Not Found", {"code": "not found", "message": SAID}))),
        ("rabbitmq", parting(f"AMQP{SAID}".encode())),
        ("elasticsearch", parting(f"{SAID}\r\n".encode())),
    ],
)
def test_what_a_server_repeats_is_taken_out(engine: str, handler: Handler, fake: Make) -> None:
    said = said_by(fake(handler), engine)
    assert "1 failure" in said
    assert CANARY not in said


@pytest.mark.parametrize("secret", HOSTILE)
def test_a_driver_that_is_answered_in_its_own_words_tells_no_secret(secret: str, fake: Make) -> None:
    there = fake(echo)
    said = report(check([there.endpoint(engine, path=engine, account=account(engine, secret)) for engine in PROBES]))
    assert "c4narY" not in said
    assert base64.b64encode(secret.encode()).decode() not in said


@pytest.mark.parametrize("secret", HOSTILE)
@pytest.mark.parametrize(
    "form", [str, quote, repr, lambda text: repr(text.encode()), json.dumps, lambda text: base64.b64encode(f"shop:{text}".encode()).decode()]
)
def test_every_form_in_which_a_secret_may_be_repeated(secret: str, form: Callable[[str], str]) -> None:
    attempt = Attempt(endpoint=Endpoint(path="it", engine="mysql", host="h", port=1, account={"username": "shop", "password": secret}), deadline=0)
    said = attempt.quoted(f"before {form(secret)} after")
    assert said.startswith("before ")
    assert said.endswith(" after")
    assert "c4narY" not in said
    assert base64.b64encode(f"shop:{secret}".encode()).decode() not in said


def test_a_short_password_is_taken_out_where_it_stands_alone() -> None:
    attempt = Attempt(endpoint=Endpoint(path="it", engine="mysql", host="h", port=1, account={"username": "shop", "password": "p"}), deadline=0)
    assert attempt.quoted("password 'p' expired") == "password '***' expired"


def test_a_message_is_one_line_and_not_long() -> None:
    attempt = Attempt(endpoint=Endpoint(path="it", engine="mysql", host="h", port=1), deadline=0)
    assert attempt.quoted("a\nb\tc\x1b[31m") == "a b c [31m"
    assert len(attempt.quoted("x" * 5000)) < 500
