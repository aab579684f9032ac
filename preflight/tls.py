"""TLS contexts that verify as Pulumi's providers do.

The providers are Go programs. They use the CA certificates in the file SSL_CERT_FILE, or in the system's default file,
and in the directories SSL_CERT_DIR. They compare the host name with the certificate's subject alternative names only.
"""

import os
import re
import ssl
from functools import lru_cache
from pathlib import Path

from preflight.errors import ProbeError

__all__ = [
    "SYSTEM_CA_FILES",
    "create_unverified_context",
    "create_verified_context",
    "explain_tls_failure",
    "find_system_ca_file",
    "is_failed_handshake",
]

SYSTEM_CA_FILES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/ssl/cert.pem",
)
"""Default CA files of the usual systems."""
FAILURE_OF_TLS_RE = re.compile("ALERT|UNSUPPORTED_PROTOCOL|TOO_SMALL|TOO_WEAK|TOO_LOW|LEGACY|SIGNATURE")
"""Reasons of OpenSSL that only a server with TLS causes. For another service, the reason is another one."""
CLIENT_CERTIFICATE_RE = re.compile("CERTIFICATE_REQUIRED|ALERT_(BAD|UNKNOWN|NO)_CERTIFICATE")
CLIENT_CERTIFICATE_FIX = (
    "The server probably requires a certificate of the client, which the program does not send. Configure the server "
    "to accept logins without one: `tls-auth-clients no` (Redis), `ssl_options.fail_if_no_peer_cert = false` "
    "(RabbitMQ), `net.tls.allowConnectionsWithoutCertificates: true` (MongoDB)."
)
HANDSHAKE_FIX = "Enable TLS 1.2 or later on the server, with a cipher and a key size that this machine accepts."


def find_system_ca_file() -> str | None:
    """Return the file with the CA certificates of this system. None if there is no such file."""
    configured = os.environ.get("SSL_CERT_FILE") or ssl.get_default_verify_paths().cafile
    return configured or next((path for path in SYSTEM_CA_FILES if Path(path).is_file()), None)


def create_verified_context(ca_file: str | None) -> ssl.SSLContext:
    """Create a context that verifies certificate and host name. Default: the CA certificates of the system.

    Raises ProbeError if the file cannot be used.
    """
    path = ca_file or find_system_ca_file()
    try:
        return _load_verified_context(path, os.stat(path).st_mtime if path else 0)
    except OSError as error:  # also raised for invalid content
        reason = "the file does not exist" if isinstance(error, FileNotFoundError) else "the file is not valid PEM"
        fix = (
            "Set `caFile` to a PEM file with the certificate of the CA that signed the server's certificate. "
            "The file starts with -----BEGIN CERTIFICATE-----."
            if ca_file
            else "Set SSL_CERT_FILE to a PEM file with the CA certificates of this system, or unset it."
        )
        raise ProbeError(f"cannot read CA certificates from {path}: {reason}", fix) from None


@lru_cache(maxsize=64)
def _load_verified_context(ca_file: str | None, _modified: float) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=ca_file)
    # Python 3.13 enforces every rule of RFC 5280. Providers and drivers do not.
    context.verify_flags &= ~getattr(ssl, "VERIFY_X509_STRICT", 0)
    context.hostname_checks_common_name = False
    if ca_file and ca_file == find_system_ca_file():
        context.load_default_certs()
    return context


@lru_cache(maxsize=1)
def create_unverified_context() -> ssl.SSLContext:
    """Create a context that encrypts without verification."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def is_failed_handshake(error: Exception) -> bool:
    """Return whether a server that supports TLS rejected the handshake, or this machine rejected its answer."""
    return isinstance(error, ssl.SSLError) and bool(FAILURE_OF_TLS_RE.search(error.reason or ""))


def explain_tls_failure(error: ssl.SSLError) -> ProbeError:
    """Explain why a handshake failed for another reason than the server's certificate."""
    reason = error.reason or ""
    fix = CLIENT_CERTIFICATE_FIX if CLIENT_CERTIFICATE_RE.search(reason) else HANDSHAKE_FIX
    return ProbeError(f"the TLS handshake failed: {reason.replace('_', ' ').lower() or type(error).__name__}", fix)
