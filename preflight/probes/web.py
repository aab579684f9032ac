"""Questions to databases that speak HTTP, by the standard library's client."""

import http.client
import ssl
from collections.abc import Mapping
from dataclasses import dataclass

from preflight.attempt import Attempt, Stranger

__all__ = ["Answer", "ask"]

LENGTH = 64 * 1024


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    """By their names in lower case."""
    body: str


def ask(
    attempt: Attempt, context: ssl.SSLContext | None, path: str, *, headers: Mapping[str, bytes] | None = None, method: str = "GET", body: bytes | None = None
) -> Answer:
    """The answer to a request. Raises Stranger where none comes that is HTTP."""
    host, port, patience = attempt.endpoint.host, attempt.endpoint.port, attempt.patience
    connection = (
        http.client.HTTPSConnection(host, port, timeout=patience, context=context) if context else http.client.HTTPConnection(host, port, timeout=patience)
    )
    try:
        connection.request(method, path, body=body, headers=headers or {})
        response = connection.getresponse()
        text = response.read(LENGTH).decode("utf-8", "replace")
    except (OSError, http.client.HTTPException) as error:
        raise Stranger(attempt.quoted(error)) from None
    finally:
        connection.close()
    return Answer(status=response.status, headers={name.lower(): value for name, value in response.getheaders()}, body=text)
