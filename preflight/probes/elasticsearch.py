"""Elasticsearch."""

import base64
import ssl
from collections.abc import Iterator
from http import HTTPStatus

from preflight.attempt import Attempt, Stranger, Trouble
from preflight.probes.direct import spoken
from preflight.probes.web import Answer, ask

__all__ = ["troubles"]

TAGLINE = "You Know, for Search"


def troubles(attempt: Attempt) -> Iterator[Trouble]:
    """Asks who is there, with the account where there is one."""
    attempt.trying(
        f"logging in as {attempt.username}" if attempt.username else "asking for its name and version",
        "The server takes connections and does not answer: see whether it has started, and what stands in its log.",
    )
    yield from spoken(attempt, lambda context: _speak(attempt, context))


def _speak(attempt: Attempt, context: ssl.SSLContext | None) -> Iterator[Trouble]:
    pair = f"{attempt.username}:{attempt.password or ''}".encode()
    answer = ask(attempt, context, "/", headers={"Authorization": b"Basic " + base64.b64encode(pair)} if attempt.username else None)
    if not _is_elasticsearch(answer):
        raise Stranger(f"HTTP {answer.status} without the name of Elasticsearch")
    if answer.status == HTTPStatus.UNAUTHORIZED and attempt.username:
        yield Trouble(
            "the login was refused (HTTP 401)",
            "Either the password in the stack file is wrong, or there is no such user, or it is not enabled. On the server:\n"
            f"  bin/elasticsearch-reset-password -i -u {attempt.username}",
        )
    elif answer.status == HTTPStatus.UNAUTHORIZED:
        yield Trouble(
            "the server wants an account, and none is given (HTTP 401)", "Write `username:` and `password:` for it in the stack file, the password encrypted."
        )
    elif answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        yield Trouble(f"the server is there and not in order (HTTP {answer.status})", "See the cluster's health and its log:\n  GET _cluster/health")


def _is_elasticsearch(answer: Answer) -> bool:
    """By the header that it sends since 7.14, by its motto, or by the realm of its logins."""
    realm = 'realm="security"' in answer.headers.get("www-authenticate", "")
    return answer.headers.get("x-elastic-product") == "Elasticsearch" or TAGLINE in answer.body or realm
