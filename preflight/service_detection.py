"""Detection of the service that answers on a port, by its greeting or by its answer to a few requests."""

import http.client
import re
import ssl
import struct
from contextlib import suppress

from preflight.errors import ProbeError, UnexpectedProtocolError
from preflight.probe_context import ProbeContext
from preflight.relay import open_relay
from preflight.tls import create_unverified_context, explain_tls_failure, is_failed_handshake

__all__ = [
    "POSTGRESQL_SSL_REQUEST",
    "accepts_tls",
    "detect_service",
    "is_silent",
    "read_greeting",
    "request_postgresql_tls",
]

QUESTION_TIMEOUT_SECONDS = 0.7
"""Per question. A server that needs longer is too far away for applications."""
MAX_GREETING_BYTES = 400
MAX_VERSION_LENGTH = 80
POSTGRESQL_SSL_REQUEST = struct.pack("!II", 8, 80877103)
"""The message SSLRequest of PostgreSQL's protocol (section "Message Formats" of its documentation)."""

SIGNATURES = (
    (r"^SSH-[0-9.]+-([!-~]+)", "an SSH server ({})"),
    (r"^.{3}\x00\x0a(?:5\.5\.5-)?([^\x00]*MariaDB[^\x00]*)\x00", "MariaDB ({})"),
    (r"^.{3}\x00\x0a([^\x00]+)\x00", "MySQL ({})"),
    (r"^.{3}\x00\xff..(?:#.{5})?[ -~]{5}", "MySQL"),
    (r"^220[ -]([ -~]*)", "a mail or FTP server ({})"),
    (r"^\+OK ?([ -~]*)", "a mail server ({})"),
    (r"^AMQP", "RabbitMQ or another AMQP broker"),
    (r"^-(?:ERR|NOAUTH|DENIED)", "Redis"),
    (r"^ERROR\r", "memcached"),
)
"""Greetings and error messages of services, in Latin-1, with the name to report."""


def detect_service(context: ProbeContext) -> str | None:
    """Return the name of the service that answers. None if it is unknown. The name may need redaction."""
    return (
        _match_signature(read_greeting(context))
        or _detect_by_http(context)
        or _detect_by_https(context)
        or _detect_postgresql(context)
    )


def is_silent(context: ProbeContext) -> bool:
    """Return whether the service accepts connections but sends nothing, not even an end of the connection."""
    try:
        with context.connect(QUESTION_TIMEOUT_SECONDS) as connection:
            connection.sendall(b"\r\n\r\n")
            connection.recv(1)
    except TimeoutError:
        return True
    except OSError:
        return False
    return False


def request_postgresql_tls(context: ProbeContext) -> str:
    """Return the answer to PostgreSQL's request for TLS: `S` for yes, `N` for no, other text for another service."""
    try:
        with context.connect(QUESTION_TIMEOUT_SECONDS) as connection:
            connection.sendall(POSTGRESQL_SSL_REQUEST)
            return connection.recv(2).decode("latin-1")
    except OSError:
        return ""


def accepts_tls(context: ProbeContext) -> bool:
    """Return whether the service accepts TLS from the first byte. Raises ProbeError if only the handshake failed."""
    if "accepts_tls" not in context.answers:
        context.answers["accepts_tls"] = _can_start_tls(context)
    return context.answers["accepts_tls"]


def _can_start_tls(context: ProbeContext) -> bool:
    tls_context = create_unverified_context()
    try:
        with (
            context.connect(context.endpoint.handshake_seconds) as connection,
            tls_context.wrap_socket(connection, server_hostname=context.endpoint.host),
        ):
            return True
    except (OSError, ValueError) as error:
        if isinstance(error, ssl.SSLError) and is_failed_handshake(error):
            raise explain_tls_failure(error) from None
        return False


def read_greeting(context: ProbeContext) -> str:
    """Return what the service sends before it receives anything, in Latin-1."""
    try:
        with context.connect(QUESTION_TIMEOUT_SECONDS) as connection:
            return connection.recv(MAX_GREETING_BYTES).decode("latin-1")
    except OSError:
        return ""


def _match_signature(text: str) -> str | None:
    for pattern, name in SIGNATURES:
        match = re.search(pattern, text, re.DOTALL)
        if match:
            return name.format(*(group.strip()[:MAX_VERSION_LENGTH] for group in match.groups()))
    return None


def _detect_by_http(context: ProbeContext) -> str | None:
    return _identify_http_server(context, None, "a web server")


def _detect_by_https(context: ProbeContext) -> str | None:
    try:
        if not accepts_tls(context):
            return None
    except ProbeError:
        return "an unknown service with TLS"
    tls_context = create_unverified_context()
    return _identify_http_server(context, tls_context, "a web server with TLS") or "an unknown service with TLS"


def _identify_http_server(context: ProbeContext, tls_context: ssl.SSLContext | None, name: str) -> str | None:
    """Return the database that answers, or the web server with its own name."""
    try:
        with suppress(UnexpectedProtocolError, ProbeError), open_relay(context, tls_context):
            return _request_name(context, name)
    except http.client.BadStatusLine as error:
        return _match_signature(str(error.args[0]))
    except (OSError, http.client.HTTPException, ValueError):
        pass
    return None


def _request_name(context: ProbeContext, name: str) -> str:
    timeout = min(QUESTION_TIMEOUT_SECONDS, context.remaining_seconds)
    connection = http.client.HTTPConnection(*context.target, timeout=timeout)
    try:
        connection.request("GET", "/", headers={"Host": context.endpoint.address})
        response = connection.getresponse()
        body = response.read(MAX_GREETING_BYTES)
    finally:
        connection.close()
    if response.getheader("X-Elastic-Product"):
        return "Elasticsearch"
    if version := response.getheader("X-Influxdb-Version"):
        return f"InfluxDB ({version})"
    if b"MongoDB" in body:
        return "MongoDB"
    software = response.getheader("Server")
    return f"{name} ({software[:MAX_VERSION_LENGTH]})" if software else name


def _detect_postgresql(context: ProbeContext) -> str | None:
    return "PostgreSQL" if request_postgresql_tls(context) in ("S", "N") else None
