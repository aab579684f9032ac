"""TLS: contexts that verify as Pulumi's providers do.

The providers are Go programs. They know the authorities of the file SSL_CERT_FILE (or of the system's usual file) and of the folders
SSL_CERT_DIR, and look for a server's name among the certificate's alternative names only, never in its common name.
"""

import os
import ssl
from functools import lru_cache
from pathlib import Path

from preflight.attempt import Trouble

__all__ = ["FILES", "machine_authorities", "trusting", "verifying"]

FILES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem", "/etc/pki/tls/cacert.pem", "/etc/ssl/cert.pem")
"""Where systems keep the authorities that they know."""


def machine_authorities() -> str | None:
    """The file with the authorities that this machine knows. None where it has no such file."""
    chosen = os.environ.get("SSL_CERT_FILE")
    if chosen:
        return chosen
    found = ssl.get_default_verify_paths().cafile
    return found or next((file for file in FILES if Path(file).is_file()), None)


@lru_cache(maxsize=64)
def _verifying(authorities: str | None, _changed: float) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=authorities)
    # Neither providers nor drivers insist on every rule of RFC 5280, which Python does from 3.13 on.
    context.verify_flags &= ~getattr(ssl, "VERIFY_X509_STRICT", 0)
    context.hostname_checks_common_name = False
    if authorities and authorities == machine_authorities():
        context.load_default_certs()
    return context


def verifying(ca: str | None) -> ssl.SSLContext:
    """A context that verifies certificate and name, by a file of authorities or by the machine's own. Raises Trouble for a file that is none."""
    authorities = ca or machine_authorities()
    try:
        return _verifying(authorities, os.stat(authorities).st_mtime if authorities else 0)
    except OSError as error:  # what is wrong inside the file is an OSError too
        reason = "there is no such file" if isinstance(error, FileNotFoundError) else "it cannot be read as PEM"
        raise Trouble(
            f"the authorities of {authorities} cannot be used: {reason}",
            "Name a PEM file that begins with -----BEGIN CERTIFICATE-----, the certificate of the authority that signed the server's."
            if ca
            else "SSL_CERT_FILE must name a PEM file with the authorities that this machine knows, or not be set.",
        ) from None


@lru_cache(maxsize=1)
def trusting() -> ssl.SSLContext:
    """A context that encrypts and verifies nothing."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
