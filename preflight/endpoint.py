"""What is to be checked, and what a check finds. Plain values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

__all__ = ["Endpoint", "Failure", "Wanted"]


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What an update is going to make on a server, and what must therefore not be there yet."""

    path: str
    """Its place in the stack file: `applications.shop.databases.postgresql.main`."""
    username: str
    database: str
    extensions: tuple[str, ...] = ()
    """What must be available on the server, to be put into the database."""


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """A server that must be reached."""

    path: str
    """Its place in the stack file: `servers.mysql-hq`."""
    engine: str
    host: str
    """A name or an IP address."""
    port: int
    tls: str | None = None
    """disable, require or verify-full. None: nothing is said, so whatever the server takes."""
    ca: str | None = None
    """The path of a PEM file with the authorities that sign the server's certificate. None: the machine's own."""
    account: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}), repr=False)
    """What is known of username, password, database, token, org, bucket and vhost."""
    administrator: bool = False
    """Whether databases are to be made with the account."""
    wanted: tuple[Wanted, ...] = ()

    @property
    def address(self) -> str:
        """`mysql.example.org:3306`."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why something of the stack file cannot be had: what was tried, what came back, and what to do about it."""

    path: str
    endpoint: str
    """`mysql.example.org:3306`."""
    tried: str
    found: str
    remedy: str
    """Sentences; commands to copy stand on lines of their own, indented by two spaces."""
