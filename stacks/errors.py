"""The errors of a stack file: each one's location and message, and the exception that reports them all at once."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

import pulumi

__all__ = [
    "PRINTABLE_TEXT_RE",
    "SECRET_KEYS",
    "ConfigIssue",
    "InvalidStackConfigError",
    "Location",
    "format_path",
    "shorten",
]

Location: TypeAlias = tuple[str | int, ...]
"""The keys and list indices from the top of the stack file to a value."""

SECRET_KEYS = frozenset({"accountKey", "password", "repositoryPassword", "secretKey", "serviceAccountKey", "token"})
"""Keys with secrets."""
PRINTABLE_TEXT_RE = re.compile(r"[A-Za-z0-9][-A-Za-z0-9._/]{0,62}")
"""Text that a message may repeat: short, on one line, and neither a URI nor an account with a password."""
MAX_NAME_LENGTH = 40
UNKNOWN_SOURCE = "the stack's configuration"


@dataclass(frozen=True)
class ConfigIssue:
    """An error or a warning about one location of the stack file."""

    location: Location
    message: str
    """What is wrong, then what to write. It contains no secret."""
    line: int | None = None
    """Line of the location in the stack file. Default: not known."""

    @property
    def path(self) -> str:
        """The location as text."""
        return format_path(self.location)

    def __str__(self) -> str:
        line = "" if self.line is None else f"line {self.line}: "
        return f"{line}{self.path}: {self.message}"


class InvalidStackConfigError(pulumi.RunError):
    """A stack file with errors. The message lists all of them; Pulumi prints it without a traceback.

    `source` is the name of the file. `noun` is what the issues are.
    """

    def __init__(self, issues: Iterable[ConfigIssue], source: str = "", noun: str = "error") -> None:
        self.issues = sorted(set(issues), key=lambda issue: (issue.line or 0, issue.path, issue.message))
        count = len(self.issues)
        lines = "\n".join(f"  {issue}" for issue in self.issues)
        super().__init__(
            f"{source or UNKNOWN_SOURCE} has {count} {noun}{'' if count == 1 else 's'}; nothing was changed:\n{lines}"
        )


def format_path(location: Location) -> str:
    """Return a location as text: `applications.shop.databases.mysql.main.server.host[1]`."""
    path = ""
    for step in location:
        path += f"[{step}]" if isinstance(step, int) else f".{_format_key(str(step))}"
    return path.removeprefix(".") or UNKNOWN_SOURCE


def shorten(name: str) -> str:
    """Return a name, or the start of a long one."""
    return name if len(name) <= MAX_NAME_LENGTH else f"{name[: MAX_NAME_LENGTH - 1]}…"


def _format_key(key: str) -> str:
    """Return a key on one line; in quotes, if it has unusual characters."""
    short = shorten(key)
    return short if PRINTABLE_TEXT_RE.fullmatch(short.removesuffix("…")) and "/" not in short else repr(short)
