"""The values of a check: the server to check, and what the check finds."""

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from types import MappingProxyType
from typing import Literal

__all__ = [
    "SECRET_KEYS",
    "AddressKeys",
    "Endpoint",
    "Finding",
    "PlannedDatabase",
    "ProvisionedDatabase",
    "ProvisionedPart",
    "TlsMode",
]

ProvisionedPart = Literal["database", "user"]
TlsMode = Literal["disable", "require", "verify-full"]
"""TLS modes, named as in libpq. This package must not import `components`, so a test compares the modes with theirs."""
SECRET_KEYS = frozenset({"accountKey", "password", "repositoryPassword", "secretKey", "serviceAccountKey", "token"})
"""Keys of an account whose values must not appear in a message. A test compares them with those of `stacks`."""


@dataclass(frozen=True, kw_only=True)
class PlannedDatabase:
    """A database and a user that the update will create, so neither may exist on the server."""

    path: str
    """Path in the stack file: `applications.shop.databases.postgresql.main`."""
    username: str
    database: str
    extensions: tuple[str, ...] = ()
    """Extensions that the update will create in the database. The server must provide them."""


@dataclass(frozen=True, kw_only=True)
class ProvisionedDatabase:
    """A database and its owner that an earlier update created, so both must exist on the server."""

    path: str
    """Path in the stack file: `applications.shop.databases.postgresql.main`."""
    username: str
    database: str
    extensions: tuple[str, ...] = ()
    """Extensions that the update creates if it creates the database again."""
    recreate: bool = False
    """Whether the update may create again what is missing."""
    adopt: bool = False
    """Whether someone else created them, and the update takes them over."""
    second_username: str = ""
    """User that takes turns with the first one from the first password change on, on some engines."""
    is_recorded: bool = True
    """Whether the state has the record. Otherwise a command was interrupted: only what the state has must exist."""
    is_database_in_state: bool = True
    """Whether Pulumi's state has the database. An update creates only what the state does not have."""
    is_user_in_state: bool = True
    """Whether Pulumi's state has the user."""

    @property
    def is_created_again(self) -> bool:
        """Whether the update creates the database or the user again."""
        return self.recreate and not (self.is_database_in_state and self.is_user_in_state)


@dataclass(frozen=True, kw_only=True)
class AddressKeys:
    """The keys of an address in the stack file, as messages name them."""

    host: str = "`host`"
    port: str = "`port`"
    tls: bool = True
    """Whether the key `tls` has the TLS mode. Otherwise the address is a URL, and its scheme decides."""
    in_cluster: bool = False
    """Whether the server may be in the cluster, so that perhaps only Pods can resolve its name."""
    is_fixed: bool = False
    """Whether the address belongs to a cloud, so that the stack file cannot correct it."""

    @property
    def host_correction(self) -> str:
        """How to correct the host, at the start of a sentence."""
        network = "Check the network of this machine"
        return network if self.is_fixed else f"Correct {self.host} in the stack file"

    @property
    def correction(self) -> str:
        """How to correct host and port, at the start of a sentence."""
        keys = self.host if self.host == self.port else f"{self.host} and {self.port}"
        return self.host_correction if self.is_fixed else f"Correct {keys} in the stack file"


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """An address of an external server or a backup store, with the account to check."""

    path: str
    """Path in the stack file: `externalServers.mysql-hq`."""
    engine: str
    """Engine, or kind of a backup store."""
    host: str
    """Host name or IP address."""
    port: int
    tls: TlsMode | None = None
    """Default: None; every TLS mode that the server offers is accepted."""
    ca_file: str | None = None
    """Path of a PEM file with the CA certificates. Default: None; the CA certificates of the system."""
    account: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}), repr=False)
    """Any of the keys username, password, database, token, org, bucket and vhost. A store has keys of its own."""
    keys: AddressKeys = AddressKeys()
    """The keys of the address in the stack file."""
    subject: str = "external server"
    """What is checked, in the heading of the findings."""
    handshake_seconds: float = 0.7
    """Seconds in which the server must start TLS. Default: applications cannot use a server that needs longer."""
    login_seconds: float = 4.0
    """Seconds that a login may take. Shorter than the whole check, so that time remains to identify another service."""
    is_administrator: bool = False
    """Whether the program provisions databases with the account."""
    planned_databases: tuple[PlannedDatabase, ...] = ()
    provisioned_databases: tuple[ProvisionedDatabase, ...] = ()

    @property
    def requires_writes(self) -> bool:
        """Whether the update creates something on the server, or has created nothing there yet."""
        is_new = bool(self.planned_databases) or not self.provisioned_databases
        return is_new or any(database.is_created_again for database in self.provisioned_databases)

    @property
    def address(self) -> str:
        """Host and port as text: `mysql.example.org:3306`."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True)
class Finding:
    """A failed check, or a warning. The runner sets the fields that a probe leaves empty."""

    result: str
    """What is wrong, in one line."""
    fix: str
    """What to do: sentences, then commands to copy, one per line and indented by two spaces."""
    _: KW_ONLY
    check: str = ""
    """What was checked. Default: the current step of the probe."""
    path: str = ""
    """Path in the stack file. Default: the path of the endpoint."""
    endpoint: str = ""
    """Address of the server: `mysql.example.org:3306`."""
    subject: str = "external server"
    """What was checked."""
    is_warning: bool = False
    """Whether the update can continue."""
    takes_over: frozenset[ProvisionedPart] = frozenset()
    """Parts of a provisioned database that the update must take over into Pulumi's state."""
