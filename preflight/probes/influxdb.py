"""InfluxDB."""

import json
import ssl
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

from preflight.attempt import Attempt, Stranger, Trouble
from preflight.probes.direct import spoken
from preflight.probes.web import Answer, ask

__all__ = ["troubles"]


def troubles(attempt: Attempt) -> Iterator[Trouble]:
    """Asks for a sign of life, and for the bucket with the token."""
    attempt.trying(
        "asking for a sign of life (/ping)", "The server takes connections and does not answer: see whether it has started, and what stands in its log."
    )
    yield from spoken(attempt, lambda context: _speak(attempt, context))


def _speak(attempt: Attempt, context: ssl.SSLContext | None) -> Iterator[Trouble]:
    answer = ask(attempt, context, "/ping")
    if "x-influxdb-version" not in answer.headers:
        raise Stranger(f"HTTP {answer.status} without the version of InfluxDB")
    account = attempt.endpoint.account
    if "bucket" not in account:
        return
    attempt.trying(f"looking for the bucket {account['bucket']} with the token", "See what stands in the server's log.")
    headers = {"Authorization": b"Token " + account["token"].encode()} if "token" in account else {}
    query = urlencode({"org": account.get("org", ""), "name": account["bucket"]})
    answer = ask(attempt, context, f"/api/v2/buckets?{query}", headers=headers)
    if answer.status == HTTPStatus.UNAUTHORIZED:
        yield _unauthorized(given=bool(headers))
    elif answer.status == HTTPStatus.NOT_FOUND and _decoded(answer).get("code") == "not found":
        yield _missing(attempt, answer)
    elif answer.status == HTTPStatus.OK and not _decoded(answer).get("buckets"):
        yield from _writable(attempt, context, headers)


def _writable(attempt: Attempt, context: ssl.SSLContext | None, headers: dict[str, bytes]) -> Iterator[Trouble]:
    """A token that may only write sees no bucket. It may send nothing to one, which changes nothing and tells whether it is there."""
    account = attempt.endpoint.account
    query = urlencode({"org": account.get("org", ""), "bucket": account["bucket"]})
    answer = ask(attempt, context, f"/api/v2/write?{query}", headers=headers, method="POST", body=b"")
    if answer.status in (HTTPStatus.NOT_FOUND, HTTPStatus.FORBIDDEN, HTTPStatus.UNAUTHORIZED):
        yield _missing(attempt, answer)


def _unauthorized(*, given: bool) -> Trouble:
    if given:
        return Trouble(
            "the token was refused (HTTP 401)", "Either the token in the stack file is wrong, or it is not active. On the server:\n  influx auth list"
        )
    return Trouble("the server wants a token, and none is given (HTTP 401)", "Write `token:` for it in the stack file, encrypted.")


def _missing(attempt: Attempt, answer: Answer) -> Trouble:
    account = attempt.endpoint.account
    said = attempt.quoted(str(_decoded(answer).get("message", f"HTTP {answer.status}")))
    return Trouble(
        f"there is no bucket {account['bucket']} in the organisation {account.get('org', '')} that the token may use: {said}",
        "Correct `org:` and `bucket:` in the stack file, make the bucket, or give the token rights to it. On the server:\n"
        f"  influx bucket list --org {account.get('org', '')}",
    )


def _decoded(answer: Answer) -> dict[str, Any]:
    try:
        value = json.loads(answer.body)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
