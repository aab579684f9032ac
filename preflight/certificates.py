"""Verification of a server's certificate, with the reason of a failure."""

import datetime
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from cryptography import x509

from preflight.errors import ProbeError
from preflight.models import Finding
from preflight.probe_context import ProbeContext
from preflight.tls import SYSTEM_CA_FILES, create_verified_context, find_system_ca_file

__all__ = ["Handshake", "check_expiry", "explain_verification_failure", "verify_certificate"]

Handshake = Callable[[ssl.SSLContext], object]
"""Opens a new connection with a context, and returns the server's certificate or nothing. Raises the errors of TLS."""
EXPIRY_WARNING_PERIOD = datetime.timedelta(days=30)
EXPIRY_WARNING_SHARE = 3
"""A certificate that is valid for less than 90 days gets the warning in the last third of this time."""

HOSTNAME_MISMATCH_CODES = {62, 64}
"""OpenSSL's codes for another host name and for another IP address (x509_vfy.h)."""
EXPIRED_CODE, NOT_YET_VALID_CODE = 10, 9
UNKNOWN_CA_FIX = (
    "Set `caFile` to a PEM file with the CA certificate, or add it to the CA certificates of this system "
    "(SSL_CERT_FILE)."
)
NO_VERIFICATION_FIX = " `tls: require` encrypts without verification."
PROVIDER_CA_FIX = (
    "Pulumi's provider for this engine uses only the CA certificates of this system. Run pulumi with SSL_CERT_FILE set "
    "to a PEM file that contains these and the server's CA. `tls: require` encrypts without verification."
)


class _CapturingContext(ssl.SSLContext):
    """A context that verifies nothing and stores the server's certificate."""

    certificate: bytes | None = None

    def wrap_socket(self, *args: Any, **options: Any) -> ssl.SSLSocket:
        """Wrap a socket and store the certificate of its peer."""
        wrapped = super().wrap_socket(*args, **options)
        self.certificate = wrapped.getpeercert(binary_form=True)
        return wrapped


def verify_certificate(context: ProbeContext, handshake: Handshake) -> None:
    """Verify the server's certificate and host name. Raises ProbeError with the reason of a failure."""
    try:
        certificate = handshake(create_verified_context(context.endpoint.ca_file))
    except ssl.SSLCertVerificationError as error:
        raise explain_verification_failure(context, error, handshake) from None
    if isinstance(certificate, bytes):
        check_expiry(context, certificate)


def check_expiry(context: ProbeContext, encoded: bytes) -> None:
    """Add a warning if a valid certificate (DER) expires soon."""
    certificate = x509.load_der_x509_certificate(encoded)
    start, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    remaining = end - datetime.datetime.now(datetime.UTC)
    if remaining < min(EXPIRY_WARNING_PERIOD, (end - start) / EXPIRY_WARNING_SHARE):
        days = f"{remaining.days} day{'' if remaining.days == 1 else 's'}"
        result = f"the server's certificate expires on {_format_date(end)}, in {days}"
        fix = "Renew the certificate on the server. After this day, no client that verifies it can connect."
        context.add_finding(Finding(result, fix, check="verifying the certificate", is_warning=True))


def explain_verification_failure(
    context: ProbeContext, error: ssl.SSLCertVerificationError, handshake: Handshake, *, by_provider: bool = False
) -> ProbeError:
    """Explain why a certificate was rejected.

    `by_provider`: the CA certificates of the system rejected it, because Pulumi's provider uses no others.
    """
    ca_file, system_file = context.endpoint.ca_file, find_system_ca_file() or SYSTEM_CA_FILES[0]
    if by_provider and ca_file and _get_verification_error(handshake, ca_file) is None:
        return ProbeError(
            f"the server's certificate is valid with {ca_file}, but not with the CA certificates of this system; "
            "Pulumi's provider for this engine uses only the latter",
            "Run pulumi with SSL_CERT_FILE set to a file with both:\n"
            f"  cat {system_file} {ca_file} > ca-bundle.pem\n"
            "  export SSL_CERT_FILE=$PWD/ca-bundle.pem",
        )
    host, certificate = context.endpoint.host, _fetch_certificate(handshake)
    if error.verify_code in HOSTNAME_MISMATCH_CODES:
        names = ", ".join(_list_alternative_names(certificate))
        return ProbeError(
            f"the server's certificate is not valid for {host}: "
            + (f"it is valid for {names}" if names else "it has no subject alternative names"),
            (f"Set {context.endpoint.keys.host} to one of these names, or use" if names else "Use")
            + f" a certificate with {host} as a subject alternative name. The common name (CN) is ignored.",
        )
    if error.verify_code == EXPIRED_CODE:
        day = f" on {_format_date(certificate.not_valid_after_utc)}" if certificate else ""
        return ProbeError(
            f"the server's certificate expired{day}",
            "Renew the certificate on the server. If it has not expired, correct the clock of this machine.",
        )
    if error.verify_code == NOT_YET_VALID_CODE:
        day = f" before {_format_date(certificate.not_valid_before_utc)}" if certificate else ""
        return ProbeError(
            f"the server's certificate is not valid{day}",
            "Correct the clock of this machine. If the clock is right, issue the certificate again.",
        )
    issuer = f" {certificate.issuer.rfc4514_string()}" if certificate else ""
    source = "the CA certificates of this system" if by_provider or not ca_file else ca_file
    return ProbeError(
        f"an unknown CA{issuer} signed the server's certificate; it is not in {source} ({error.verify_message})",
        PROVIDER_CA_FIX if by_provider else UNKNOWN_CA_FIX + (NO_VERIFICATION_FIX if context.endpoint.keys.tls else ""),
    )


def _get_verification_error(handshake: Handshake, ca_file: str | None) -> ssl.SSLCertVerificationError | None:
    """Return the reason why the certificate is rejected. None if it is accepted."""
    try:
        handshake(create_verified_context(ca_file))
    except ssl.SSLCertVerificationError as error:
        return error
    return None


def _fetch_certificate(handshake: Handshake) -> x509.Certificate | None:
    """Return the server's certificate without verification. None if it cannot be read."""
    context = _CapturingContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with suppress(Exception):  # a login may fail after the handshake; the certificate is then already stored
        handshake(context)
    try:
        return x509.load_der_x509_certificate(context.certificate) if context.certificate else None
    except ValueError:
        return None


def _list_alternative_names(certificate: x509.Certificate | None) -> list[str]:
    try:
        names = (
            certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value if certificate else None
        )
    except (x509.ExtensionNotFound, ValueError):
        return []
    return [str(name.value) for name in names or () if isinstance(name, x509.DNSName | x509.IPAddress)]


def _format_date(moment: datetime.datetime) -> str:
    return moment.strftime("%Y-%m-%d")
