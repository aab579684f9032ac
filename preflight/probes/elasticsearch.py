"""The probe of Elasticsearch."""

import base64
from http import HTTPStatus

from preflight.errors import ProbeError, UnexpectedProtocolError
from preflight.probe_context import ProbeContext
from preflight.probes.http import HttpResponse, request
from preflight.probes.implicit_tls import probe_with_tls_modes

__all__ = ["probe"]

TAGLINE = "You Know, for Search"


def probe(context: ProbeContext) -> None:
    """Request name and version, with the account if there is one."""
    probe_with_tls_modes(context, _probe_session)


def _probe_session(context: ProbeContext) -> None:
    credentials = base64.b64encode(f"{context.username}:{context.password or ''}".encode())
    headers = {"Authorization": b"Basic " + credentials} if context.username else None
    response = request(context, "/", headers=headers)
    if not _is_elasticsearch(response):
        raise UnexpectedProtocolError(f"HTTP {response.status} without the name of Elasticsearch")
    if response.status == HTTPStatus.UNAUTHORIZED and context.username:
        raise ProbeError(
            "the server rejected the login (HTTP 401)",
            "Correct `username` and `password` in the stack file, or create or enable the user. On the server:\n"
            f"  bin/elasticsearch-reset-password -i -u {context.username}",
        )
    if response.status == HTTPStatus.UNAUTHORIZED:
        raise ProbeError(
            "the server requires authentication; no credentials are configured (HTTP 401)",
            "Set `username` and an encrypted `password` in the stack file.",
        )
    if response.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        raise ProbeError(
            f"the server reports an internal error (HTTP {response.status})",
            "Check the cluster's health and its log:\n  GET _cluster/health",
        )


def _is_elasticsearch(response: HttpResponse) -> bool:
    """Return whether Elasticsearch answered: its header (since 7.14), its tagline or the realm of its logins."""
    has_realm = 'realm="security"' in response.headers.get("www-authenticate", "")
    return response.headers.get("x-elastic-product") == "Elasticsearch" or TAGLINE in response.body or has_realm
