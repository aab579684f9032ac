"""What is wrong with a server's certificate, in words."""

import datetime
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from cryptography import x509

from preflight.attempt import Attempt, Trouble
from preflight.tls import FILES, machine_authorities, verifying

__all__ = ["Handshake", "refused", "verified"]

Handshake = Callable[[ssl.SSLContext], object]
"""Connects anew with a context, and raises what TLS raises."""

OTHER_NAME = {62, 64}
"""OpenSSL's numbers: the certificate is for another name, or for another address (x509_vfy.h)."""
EXPIRED, NOT_YET = 10, 9
UNKNOWN_AUTHORITY = (
    "Name the authority's certificate (PEM) for this server, or put it into the authorities of this machine with SSL_CERT_FILE. "
    "`tls: require` encrypts without verifying who answers."
)
PROVIDERS_AUTHORITY = (
    "Pulumi's provider for this engine knows the authorities of this machine alone. Run pulumi with SSL_CERT_FILE set to a PEM file that holds them and the "
    "server's one. `tls: require` encrypts without verifying who answers."
)


class _Keeping(ssl.SSLContext):
    """A context that verifies nothing and keeps the certificate that it was shown."""

    certificate: bytes | None = None

    def wrap_socket(self, *arguments: Any, **options: Any) -> ssl.SSLSocket:
        """A wrapped socket."""
        wrapped = super().wrap_socket(*arguments, **options)
        self.certificate = wrapped.getpeercert(binary_form=True)
        return wrapped


def _offered(handshake: Handshake) -> x509.Certificate | None:
    """The certificate that a server shows, verified or not. None where it shows none that can be read."""
    context = _Keeping(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with suppress(Exception):  # the certificate is kept before a login is refused; without one nothing can be said of it
        handshake(context)
    try:
        return x509.load_der_x509_certificate(context.certificate) if context.certificate else None
    except ValueError:
        return None


def verified(attempt: Attempt, handshake: Handshake) -> None:
    """Verifies a server's certificate and name. Raises Trouble with what is wrong."""
    error = _refusal(handshake, attempt.endpoint.ca)
    if error is not None:
        raise refused(attempt, error, handshake)


def refused(attempt: Attempt, error: ssl.SSLCertVerificationError, handshake: Handshake, *, by_provider: bool = False) -> Trouble:
    """What is wrong with a certificate that was refused.

    `by_provider`: it was refused by the machine's own authorities, since Pulumi's provider takes no others.
    """
    ca = attempt.endpoint.ca
    if by_provider and ca and _refusal(handshake, ca) is None:
        return Trouble(
            f"the server's certificate is good by {ca}, but not by the authorities of this machine, which are all that Pulumi's provider for this engine knows",
            "Run pulumi with a file in SSL_CERT_FILE that holds this authority beside the machine's own:\n"
            f"  cat {machine_authorities() or FILES[0]} {ca} > authorities.pem\n"
            "  export SSL_CERT_FILE=$PWD/authorities.pem",
        )
    trouble = _explained(error, attempt.endpoint.host, _offered(handshake), (None if by_provider else ca) or "this machine")
    if by_provider and trouble.remedy == UNKNOWN_AUTHORITY:
        trouble.remedy = PROVIDERS_AUTHORITY
    return trouble


def _refusal(handshake: Handshake, ca: str | None) -> ssl.SSLCertVerificationError | None:
    """What is wrong with the server's certificate. None where nothing is."""
    try:
        handshake(verifying(ca))
    except ssl.SSLCertVerificationError as error:
        return error
    return None


def _explained(error: ssl.SSLCertVerificationError, host: str, certificate: x509.Certificate | None, authorities: str) -> Trouble:
    """What is wrong with a certificate, in words."""
    if error.verify_code in OTHER_NAME:
        names = _names(certificate)
        return Trouble(
            f"the server's certificate is for another name than {host}: "
            + (f"it is for {', '.join(names)}" if names else "it has no alternative names at all"),
            ("Write one of its names as host in the stack file, or give" if names else "Give")
            + f" the server a certificate that has {host} among its alternative names (subjectAltName); a common name alone counts no more.",
        )
    if error.verify_code == EXPIRED:
        until = f" on {_day(certificate.not_valid_after_utc)}" if certificate else ""
        return Trouble(f"the server's certificate expired{until}", "Renew it on the server. If it is not out of date, this machine's clock is wrong.")
    if error.verify_code == NOT_YET:
        since = f" before {_day(certificate.not_valid_before_utc)}" if certificate else ""
        return Trouble(f"the server's certificate is not valid{since}", "This machine's clock is behind, or the certificate was made with a wrong one.")
    issuer = f", {certificate.issuer.rfc4514_string()}," if certificate else ""
    return Trouble(
        f"the server's certificate is signed by an authority{issuer} that {authorities} does not know ({error.verify_message})",
        UNKNOWN_AUTHORITY,
    )


def _names(certificate: x509.Certificate | None) -> list[str]:
    """The alternative names of a certificate."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value if certificate else None
    except (x509.ExtensionNotFound, ValueError):
        return []
    return [str(name.value) for name in names or () if isinstance(name, x509.DNSName | x509.IPAddress)]


def _day(moment: datetime.datetime) -> str:
    return moment.strftime("%Y-%m-%d")
