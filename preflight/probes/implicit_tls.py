"""The TLS modes of protocols with implicit TLS: a connection uses TLS from the first byte, or not at all."""

import ssl
from collections.abc import Callable

from preflight.certificates import verify_certificate
from preflight.errors import TlsNotSupportedError, UnexpectedProtocolError
from preflight.probe_context import ProbeContext
from preflight.service_detection import accepts_tls
from preflight.tls import create_unverified_context, create_verified_context

__all__ = ["probe_with_tls_modes"]


def probe_with_tls_modes(context: ProbeContext, probe_session: Callable[[ssl.SSLContext | None], None]) -> None:
    """Run a session with the endpoint's TLS mode. Without a mode, try plain text first, then TLS.

    Raises TlsNotSupportedError, ProbeError for an invalid certificate, and the errors of the session.
    """
    tls = context.endpoint.tls
    if tls in ("require", "verify-full"):
        if not accepts_tls(context):
            raise TlsNotSupportedError
        probe_session(_verify_and_create_context(context) if tls == "verify-full" else create_unverified_context())
        return
    try:
        probe_session(None)
    except UnexpectedProtocolError:
        if tls == "disable" or not accepts_tls(context):
            raise
        probe_session(create_unverified_context())


def _verify_and_create_context(context: ProbeContext) -> ssl.SSLContext:
    """Verify the certificate and return the context for the session."""
    verify_certificate(context, lambda ssl_context: _fetch_certificate(context, ssl_context))
    return create_verified_context(context.endpoint.ca_file)


def _fetch_certificate(context: ProbeContext, ssl_context: ssl.SSLContext) -> bytes | None:
    with (
        context.connect() as connection,
        ssl_context.wrap_socket(connection, server_hostname=context.endpoint.host) as wrapped,
    ):
        return wrapped.getpeercert(binary_form=True)
