"""HTTP requests to databases, with the standard library's client."""

import http.client
import ssl
from collections.abc import Mapping
from dataclasses import dataclass

from preflight.errors import UnexpectedProtocolError
from preflight.probe_context import ProbeContext

__all__ = ["HttpResponse", "request"]

MAX_BODY_BYTES = 64 * 1024


@dataclass(frozen=True, kw_only=True)
class HttpResponse:
    """The answer to a request."""

    status: int
    headers: Mapping[str, str]
    """Keys are in lower case."""
    body: str


def request(
    context: ProbeContext,
    ssl_context: ssl.SSLContext | None,
    path: str,
    *,
    headers: Mapping[str, bytes] | None = None,
    method: str = "GET",
    body: bytes | None = None,
) -> HttpResponse:
    """Send a request and return the response. Raises UnexpectedProtocolError if the response is not HTTP."""
    host, port, timeout = context.endpoint.host, context.endpoint.port, context.login_timeout
    connection = (
        http.client.HTTPSConnection(host, port, timeout=timeout, context=ssl_context)
        if ssl_context
        else http.client.HTTPConnection(host, port, timeout=timeout)
    )
    try:
        connection.request(method, path, body=body, headers=headers or {})
        response = connection.getresponse()
        text = response.read(MAX_BODY_BYTES).decode("utf-8", "replace")
    except (OSError, http.client.HTTPException) as error:
        raise UnexpectedProtocolError(context.redact(error)) from None
    finally:
        connection.close()
    response_headers = {name.lower(): value for name, value in response.getheaders()}
    return HttpResponse(status=response.status, headers=response_headers, body=text)
