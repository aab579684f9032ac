"""HTTP requests to databases and stores, with the standard library's client."""

import http.client
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
    path: str,
    *,
    headers: Mapping[str, bytes] | None = None,
    method: str = "GET",
    body: bytes | None = None,
    timeout_seconds: float | None = None,
) -> HttpResponse:
    """Send a request and return the response. Raises UnexpectedProtocolError if the response is not HTTP.

    Default timeout: that of a login.
    """
    connection = http.client.HTTPConnection(*context.target, timeout=timeout_seconds or context.login_timeout)
    try:
        connection.request(method, path, body=body, headers={"Host": context.endpoint.address, **(headers or {})})
        response = connection.getresponse()
        text = response.read(MAX_BODY_BYTES).decode("utf-8", "replace")
    except (OSError, http.client.HTTPException) as error:
        raise UnexpectedProtocolError(context.redact(error)) from None
    finally:
        connection.close()
    response_headers = {name.lower(): value for name, value in response.getheaders()}
    return HttpResponse(status=response.status, headers=response_headers, body=text)
