"""The TLS modes of protocols with implicit TLS: a connection uses TLS from the first byte, or not at all."""

import ssl
import time
from collections.abc import Callable
from dataclasses import replace

from preflight.certificates import verify_certificate
from preflight.errors import AuthenticationRequiredError, ProbeError, TlsNotSupportedError, UnexpectedProtocolError
from preflight.models import Finding
from preflight.probe_context import ProbeContext
from preflight.relay import open_relay
from preflight.service_detection import accepts_tls
from preflight.tls import create_unverified_context, create_verified_context

__all__ = ["Session", "probe_with_tls_modes"]

Session = Callable[[ProbeContext], None]
"""Connects to the target of a context in plain text. The relay encrypts the connection to the server."""
TLS_ONLY = "the server accepts only TLS on this port"
TLS_ONLY_FIX = "Set `tls: verify-full` or `tls: require` in the stack file."
ANONYMOUS_TIMEOUT_SECONDS = 1.0


def probe_with_tls_modes(context: ProbeContext, probe_session: Session) -> None:
    """Run a session with the endpoint's TLS mode. Without a mode, use TLS if the server accepts it.

    No credentials are sent in plain text to a server that accepts TLS, unless the mode is `disable`.

    Raises TlsNotSupportedError, ProbeError for an invalid certificate, and the errors of the session.
    """
    tls = context.endpoint.tls
    if tls == "disable":
        _probe_without_tls(context, probe_session)
    elif accepts_tls(context):
        _probe_with_tls(context, probe_session)
    elif tls:
        raise TlsNotSupportedError
    else:
        with open_relay(context):
            probe_session(context)


def _probe_without_tls(context: ProbeContext, probe_session: Session) -> None:
    try:
        with open_relay(context):
            probe_session(context)
    except UnexpectedProtocolError:
        if accepts_tls(context) and _can_connect_without_account(context, probe_session, create_unverified_context()):
            raise _explain_missing_tls(context) from None
        raise


def _explain_missing_tls(context: ProbeContext) -> ProbeError:
    keys = context.endpoint.keys
    if keys.tls:
        return ProbeError(f"{TLS_ONLY}, but `tls: disable` is set", TLS_ONLY_FIX)
    return ProbeError(f"{TLS_ONLY}, but {keys.host} begins with `http://`", f"Write `https://` in {keys.host}.")


def _probe_with_tls(context: ProbeContext, probe_session: Session) -> None:
    """Run the session with TLS. Without a mode, add a finding if applications cannot connect in plain text."""
    is_verified = context.endpoint.tls == "verify-full"
    ssl_context = _verify_and_create_context(context) if is_verified else create_unverified_context()
    failure: Exception | None = None
    try:
        with open_relay(context, ssl_context):
            probe_session(context)
    except (ProbeError, AuthenticationRequiredError) as error:
        failure = error
    if context.endpoint.tls is None and not _can_connect_without_account(context, probe_session, None):
        context.add_finding(Finding(f"{TLS_ONLY}, and `tls` is not set", TLS_ONLY_FIX, check="connecting without TLS"))
    if failure:
        raise failure


def _can_connect_without_account(
    context: ProbeContext, probe_session: Session, ssl_context: ssl.SSLContext | None
) -> bool:
    """Return whether the engine answers a session without an account, with or without TLS."""
    deadline = min(context.deadline, time.monotonic() + ANONYMOUS_TIMEOUT_SECONDS)
    anonymous = replace(context, endpoint=replace(context.endpoint, account={}), deadline=deadline, findings=[])
    try:
        with open_relay(anonymous, ssl_context):
            probe_session(anonymous)
    except UnexpectedProtocolError:
        return False
    except (ProbeError, AuthenticationRequiredError):
        return True
    return True


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
