"""The exceptions of the package."""

from preflight.models import Finding

__all__ = [
    "AuthenticationRequiredError",
    "ClusterError",
    "ProbeError",
    "TlsNotSupportedError",
    "UnexpectedProtocolError",
]


class ProbeError(Exception):
    """A check failed, or the update can continue without it. The probe cannot continue."""

    def __init__(self, result: str, fix: str, *, check: str = "", is_warning: bool = False) -> None:
        super().__init__(result)
        self.finding = Finding(result, fix, check=check, is_warning=is_warning)


class UnexpectedProtocolError(Exception):
    """The service does not speak the engine's protocol. The message is the service's answer or the driver's error."""


class TlsNotSupportedError(UnexpectedProtocolError):
    """The server does not support TLS.

    `enable_hint` describes how to enable TLS. It is empty if the service may be another one than the engine.
    """

    def __init__(self, enable_hint: str = "") -> None:
        super().__init__("the server does not support TLS on this port")
        self.enable_hint = enable_hint


class AuthenticationRequiredError(Exception):
    """The server requires a login. A check without an account needs no more than this answer."""


class ClusterError(Exception):
    """The cluster cannot be read. The message has the cause and the fix."""
