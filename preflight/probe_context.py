"""The state of one check: current step, remaining time and findings.

A driver's message may contain what the driver was given. Every such message passes through `ProbeContext.redact`.
"""

import base64
import json
import re
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from urllib.parse import quote, quote_plus

from preflight.models import SECRET_KEYS, Endpoint, Finding
from preflight.redaction import REDACTED

__all__ = ["LOOPBACK", "ProbeContext"]

LOOPBACK = "127.0.0.1"

ANONYMOUS_USER = "database-groups"
"""User name for protocols that require one, if the account has none."""
MAX_MESSAGE_LENGTH = 400
MIN_SUBSTRING_REDACTION_LENGTH = 6
MIN_TIMEOUT_SECONDS = 0.1


@dataclass(kw_only=True)
class ProbeContext:
    """The check of one endpoint."""

    endpoint: Endpoint
    deadline: float
    """Time of the monotonic clock in seconds."""
    address: str = ""
    """IP address that accepted a connection."""
    step: str = "starting"
    """What the check currently does."""
    timeout_fix: str = "This machine is overloaded. Run the check again."
    """The fix to report if the current step does not end in time."""
    findings: list[Finding] = field(default_factory=list)
    received_secrets: list[str] = field(default_factory=list, repr=False)
    """Secrets that the check received for the account, such as an access token."""
    server_identity: tuple[object, ...] = ()
    """What only this server has, whatever its address is. Empty if the probe has not read it."""
    answers: dict[str, bool] = field(default_factory=dict)
    """What the server answered to a question that needs no account. All accounts of a server share it."""
    relay_port: int | None = None
    """Port of the relay to the server, while one is open."""

    def set_step(self, step: str, timeout_fix: str = "") -> None:
        """Set the current step, and the fix for its timeout. Default: the fix of the previous step."""
        self.step, self.timeout_fix = step, timeout_fix or self.timeout_fix

    def add_finding(self, finding: Finding) -> None:
        """Add a finding of the current step. The probe can then continue."""
        self.findings.append(replace(finding, check=finding.check or self.step))

    @property
    def remaining_seconds(self) -> float:
        """Seconds until the deadline, at least 0.1, because drivers treat 0 as "no timeout"."""
        return max(self.deadline - time.monotonic(), MIN_TIMEOUT_SECONDS)

    @property
    def login_timeout(self) -> float:
        """Seconds that a login may take."""
        return min(self.endpoint.login_seconds, self.remaining_seconds)

    @property
    def username(self) -> str | None:
        """User name of the account, if it has one."""
        return self.endpoint.account.get("username")

    @property
    def login_name(self) -> str:
        """User name to log in with: the account's, or one that no server knows."""
        return self.username or ANONYMOUS_USER

    @property
    def password(self) -> str | None:
        """Password of the account, if it has one."""
        return self.endpoint.account.get("password")

    @property
    def database(self) -> str | None:
        """Database of the account, if it has one."""
        return self.endpoint.account.get("database")

    @property
    def target(self) -> tuple[str, int]:
        """IP address and port to connect to: those of the relay if one is open."""
        return (self.address, self.endpoint.port) if self.relay_port is None else (LOOPBACK, self.relay_port)

    def connect(self, timeout_seconds: float | None = None) -> socket.socket:
        """Open a connection to the target. Default timeout: that of a login. Raises OSError."""
        timeout = self.login_timeout if timeout_seconds is None else min(timeout_seconds, self.remaining_seconds)
        return socket.create_connection(self.target, timeout)

    def redact(self, message: object) -> str:
        """Return the message of a server or driver on one line, shortened and without the account's secrets.

        For an exception without a printable message, return its type.
        """
        text = str(message)
        for form in sorted(self._list_secret_forms(), key=len, reverse=True):
            # A short secret also occurs inside ordinary text. A gap in such text would reveal the secret.
            is_short, pattern = len(form) < MIN_SUBSTRING_REDACTION_LENGTH, re.escape(form)
            text = re.sub(rf"(?<!\w){pattern}(?!\w)" if is_short else pattern, REDACTED, text)
        line = " ".join("".join(character if character.isprintable() else " " for character in text).split())
        if not line and isinstance(message, Exception):
            return type(message).__name__
        return line if len(line) <= MAX_MESSAGE_LENGTH else line[:MAX_MESSAGE_LENGTH] + " …"

    def _list_secret_forms(self) -> Iterator[str]:
        """Yield every secret of the account in every form in which a message may contain it."""
        account = self.endpoint.account
        for secret in (*(account[key] for key in SECRET_KEYS if account.get(key)), *self.received_secrets):
            raw, pair = secret.encode(), f"{self.username or ''}:{secret}".encode()
            latin_1 = raw.decode("latin-1")
            yield from (secret, quote(secret, safe=""), quote(secret), quote_plus(secret))
            yield from (repr(secret)[1:-1], repr(raw)[2:-1], latin_1, repr(latin_1)[1:-1])
            yield from (json.dumps(secret)[1:-1], secret.encode("unicode_escape").decode())
            yield " ".join(secret.split()) or secret
            yield from (base64.b64encode(value).decode() for value in (raw, pair, b"\0" + pair.replace(b":", b"\0", 1)))
