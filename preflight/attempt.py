"""One check on its way: how far it is, how much time it has left, and what it may say.

A driver's message may repeat what it was given, so whatever comes from one passes through `Attempt.quoted`, which takes the account's
secrets out of it.
"""

import base64
import json
import re
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from urllib.parse import quote, quote_plus

from preflight.endpoint import Endpoint, Wanted

__all__ = ["Attempt", "NoTls", "Stranger", "Trouble", "there_already"]

SECRETS = ("password", "token")
HIDDEN = "***"
LENGTH = 400
LONG = 6
LOGIN_SECONDS = 4.0
"""What a login may take at most, so that there is time left to find out what answers in the database's place."""
LEAST_SECONDS = 0.1


class Trouble(Exception):
    """Something is not as it must be. Raised where nothing more can be tried, else yielded."""

    def __init__(self, found: str, remedy: str, *, path: str | None = None, tried: str = "") -> None:
        super().__init__(found)
        self.found = found
        self.remedy = remedy
        self.path = path
        """The path of what is wanted on the server, where it is not the server itself."""
        self.tried = tried
        """What was being tried, where that is not what the attempt says."""


def there_already(wanted: Wanted, there: Sequence[str]) -> Trouble:
    """What is to be made and is there already, as it is called on its server."""
    return Trouble(
        f"{' and '.join(there)} {'is' if len(there) == 1 else 'are'} on the server already",
        "What is there is never taken over or changed. Choose another `database:` and `username:` for the group; or use it as it is, with "
        "`host:` and its own account in place of `on:`; or drop it, if it is left over and nobody needs its data.",
        path=wanted.path,
    )


class Stranger(Exception):
    """What answers does not speak the engine's protocol."""


class NoTls(Stranger):
    """What answers may be the engine, and takes no TLS."""


@dataclass(kw_only=True)
class Attempt:
    """The check of one endpoint."""

    endpoint: Endpoint
    deadline: float
    """By the monotonic clock."""
    address: str = ""
    """The IP address that took a connection."""
    tried: str = "starting"
    """What is being tried at the moment."""
    advice: str = "Run it again: this machine had too much to do."
    """What to do where that never ends."""
    troubles: list[Trouble] = field(default_factory=list)

    def trying(self, tried: str, advice: str) -> None:
        """Notes what comes next, and what to do where no answer comes."""
        self.tried, self.advice = tried, advice

    @property
    def left(self) -> float:
        """The seconds that are left; never so few that a driver would take them for none or for no limit."""
        return max(self.deadline - time.monotonic(), LEAST_SECONDS)

    @property
    def patience(self) -> float:
        """The seconds that a login may take."""
        return min(LOGIN_SECONDS, self.left)

    @property
    def username(self) -> str | None:
        """The account's user, if there is one."""
        return self.endpoint.account.get("username")

    @property
    def password(self) -> str | None:
        """The account's password, if there is one."""
        return self.endpoint.account.get("password")

    @property
    def database(self) -> str | None:
        """The account's database, if there is one."""
        return self.endpoint.account.get("database")

    def connect(self, seconds: float | None = None) -> socket.socket:
        """A new connection to the address that took one before."""
        patience = self.patience if seconds is None else min(seconds, self.left)
        connection = socket.create_connection((self.address, self.endpoint.port), patience)
        connection.settimeout(patience)
        return connection

    def quoted(self, message: object) -> str:
        """What a server or a driver said, on one line and without the account's secrets."""
        text = message if isinstance(message, str) else str(message) or type(message).__name__
        for form in sorted(self._secrets(), key=len, reverse=True):
            # A short one occurs in ordinary words too, where a gap would give it away.
            text = re.sub(rf"(?<!\w){re.escape(form)}(?!\w)", HIDDEN, text) if len(form) < LONG else text.replace(form, HIDDEN)
        line = " ".join("".join(character if character.isprintable() else " " for character in text).split())
        return line if len(line) <= LENGTH else line[:LENGTH] + " …"

    def _secrets(self) -> Iterator[str]:
        """Every secret of the account in the forms in which a message may hold it."""
        account = self.endpoint.account
        for secret in (account[key] for key in SECRETS if account.get(key)):
            raw, pair = secret.encode(), f"{self.username or ''}:{secret}".encode()
            yield from (secret, quote(secret, safe=""), quote(secret), quote_plus(secret))
            yield from (repr(secret)[1:-1], repr(raw)[2:-1], raw.decode("latin-1"), repr(raw.decode("latin-1"))[1:-1])
            yield from (json.dumps(secret)[1:-1], secret.encode("unicode_escape").decode(), " ".join(secret.split()) or secret)
            yield from (base64.b64encode(value).decode() for value in (raw, pair, b"\0" + pair.replace(b":", b"\0", 1)))
