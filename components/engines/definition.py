"""The record of an engine: its data, and the few functions in which engines differ. An engine knows no server kinds."""

import json
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol, TypeAlias

import pulumi

from components.connection import Connection
from components.engines.clusters.definition import EngineCluster
from components.engines.settings_file import SettingsFile
from components.passwords import Password

__all__ = [
    "RELEASES_PATH",
    "Account",
    "AdministratorConnection",
    "CopyScripts",
    "Engine",
    "ExistingAccount",
    "Login",
    "ProvisionedDatabase",
    "Provisioner",
    "ProvisioningRequest",
    "Releases",
    "ServerClient",
    "ServerRuntime",
    "Variant",
    "describe_existing_account",
    "read_copy_scripts",
    "read_releases",
    "read_script",
]

Releases: TypeAlias = Mapping[str, Mapping[str, str]]
"""Pinned releases, by image and release series."""

SCRIPTS_FOLDER = Path(__file__).parent / "scripts"
RELEASES_PATH = Path(__file__).with_name("releases.json")


@cache
def read_releases() -> Releases:
    """Return the pinned releases of the official images. `make images` writes the file."""
    releases: Releases = json.loads(RELEASES_PATH.read_text(encoding="utf-8"))
    return releases


BEGIN = (SCRIPTS_FOLDER / "begin.sh").read_text(encoding="utf-8")
"""Shell script of all engines that begins a copy with its inventory."""


@cache
def read_script(engine: str, name: str) -> str:
    """Return the content of `scripts/<engine>/<name>.sh`."""
    return (SCRIPTS_FOLDER / engine / f"{name}.sh").read_text(encoding="utf-8")


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A program that speaks an engine's protocol."""

    name: str
    image: str | None
    """Repository of the official image; the release is the tag. None if there is no official image."""
    supported_series: tuple[str, ...]
    """Release series that the program runs, oldest first. A series cannot open the data of another one."""
    default_version: str
    """Release series of a group that sets no version. Empty for an engine without a server."""
    run_as_user: int
    """User id and group id of the server in the image."""
    release_parts: int = 3
    """How many numbers a release has. Fewer numbers are a tag that moves to newer releases. Default: `3`."""
    server_command: str = ""
    """The server's program in the image, if the variants of the engine differ in it."""

    def find_series(self, version: str) -> str | None:
        """Return the series of a version (`8.4` for `8.4.3`), or None if the variant does not support the version."""
        return next((series for series in self.supported_series if f"{version}.".startswith(f"{series}.")), None)

    def find_release(self, version: str) -> str:
        """Return the pinned release of a series, otherwise the version."""
        return read_releases().get(self.image or "", {}).get(version, version)

    def is_release(self, version: str) -> bool:
        """Return whether a version has all numbers of a release."""
        return version.count(".") + 1 == self.release_parts


@dataclass(frozen=True, kw_only=True)
class Account:
    """The application's user name, database and engine-specific keys. A part that the engine does not have is None."""

    username: str | None = None
    database: str | None = None
    engine_keys: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """The engine's own keys, such as `org` and `bucket`."""

    def secret_entries(self) -> dict[str, str]:
        """Return the parts of the account by their keys in the connection Secret."""
        parts = {"username": self.username, "database": self.database, **self.engine_keys}
        return {key: value for key, value in parts.items() if value is not None}


@dataclass(frozen=True, kw_only=True)
class ExistingAccount:
    """The keys of the stack file that describe an existing account on an external server."""

    required: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    defaults: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Values of optional keys that the user does not set."""
    allows_password_without_username: bool = False
    database_pattern: str | None = None
    """Regular expression of the names that a database can have. Default: all names."""

    @property
    def keys(self) -> tuple[str, ...]:
        """All keys, the required ones first."""
        return self.required + self.optional


@dataclass(frozen=True, kw_only=True)
class ServerRuntime:
    """What an engine's image needs to run as one server. The server kind decides how and where it runs.

    The scripts read the application's account from APPLICATION_USERNAME, APPLICATION_PASSWORD, APPLICATION_DATABASE and
    so on for each key of the account, the Pod's address from POD_IP, and the user's settings from the file
    /etc/database-groups/settings. The scripts themselves contain no credentials.
    """

    start_script: str
    """Shell script that becomes the server. It runs at every start, on new and on existing volumes. SCRATCH=true: the
    server verifies a backup, and its data is deleted afterwards."""
    readiness_script: str
    """Shell script that succeeds if the application can log in over TCP."""
    change_password_script: str | None = None
    """Shell script that changes the password of the running server: standard input has a line with the old password and
    one with the new password. The script proves a login. It can run again, and if it fails the old password is valid.
    Default: none; a change restarts the server."""
    post_start_script: str | None = None
    """Shell script that runs after each start of the server. The server is ready only after the script has ended."""
    files: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Further files for the scripts in /etc/database-groups: content by name."""
    data_path: str | None = None
    """Path at which the volume is mounted. Default: none; the server gets no volume."""
    data_sub_path: str | None = None
    """Folder of the volume that is mounted there, for servers that do not accept a volume's `lost+found`."""
    memory_dirs: tuple[str, ...] = ()
    """Writable folders in memory: for sockets, and for files with credentials."""
    scratch_dirs: tuple[str, ...] = ()
    """Writable folders on the node's disk. Their content can be lost. The rest of the file system is read-only."""
    shares_memory: bool = False
    """Whether the server's processes share memory in /dev/shm, which has 64 MiB in a container."""
    env: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Environment variables of the container, in addition to the account's."""
    min_memory: str
    """Smallest amount of memory with which the server works well, as a Kubernetes quantity."""
    runs_init_script: bool = False
    """Whether the start script runs the user's /etc/database-groups/init, if there is one, on an empty volume."""
    capabilities: tuple[str, ...] = ()
    """Linux capabilities that the server needs. With any, it runs as root, outside Pod Security `restricted`."""


@dataclass(frozen=True, kw_only=True)
class CopyScripts:
    """How to copy the data of a group. The scripts run in the engine's image, and connect over the network.

    They read the connection from ADDRESS, PORT, USERNAME, PASSWORD and DATABASE, the TLS mode, if there is one, from
    TLS, and the CA certificates from the file CA_FILE. They write only to TMPDIR, and are in one folder.
    """

    dump: str
    """Shell script that writes a copy to standard output: the inventory, an empty line and the data, of one moment. The
    script `begin` writes the first two. It fails if the copy is not complete."""
    restore: str
    """Shell script that reads the data of a copy from standard input. It fails, and changes nothing, if the database
    holds data already."""
    inventory: str
    """Shell script that prints sorted lines. They are equal for two copies of the same data, with four exceptions: a
    line that begins with `in SERIES:` counts in one release series only, a line that begins with `until SECONDS:`
    counts only before that time (seconds since 1970), the number of a line that ends with `at least NUMBER` can be
    larger in the copy, and `changed: TEXT` in a dump replaces all lines that begin with TEXT."""
    empty: str | None = None
    """Shell script that deletes the whole data. Default: none; a copy never overwrites."""
    connect: str | None = None
    """Functions that the other scripts read from the file `connect`. Default: none."""
    limits: str
    """What a copy does not contain, as the end of the sentence `A copy does not contain …`."""
    port: int | None = None
    """Port of the server that the scripts use. Default: the port of the protocol, only."""
    loads_source: bool = False
    """Whether `dump` runs a second server with the data of the source. The Pod of the copy then has the image of the
    source, and the memory of its server in addition. Default: `false`; the Pod has the image of the target."""

    @property
    def files(self) -> Mapping[str, str]:
        """The scripts by their names in the folder."""
        scripts = {
            "begin": BEGIN,
            "dump": self.dump,
            "restore": self.restore,
            "inventory": self.inventory,
            "empty": self.empty,
            "connect": self.connect,
        }
        return {name: script for name, script in scripts.items() if script is not None}


def read_copy_scripts(
    engine: str, *, limits: str, has_connect: bool = False, port: int | None = None, loads_source: bool = False
) -> CopyScripts:
    """Return the scripts `scripts/<engine>/{dump,restore,inventory,empty}.sh` and, with `has_connect`, `connect.sh`."""
    dump, restore, inventory, empty = (read_script(engine, name) for name in ("dump", "restore", "inventory", "empty"))
    return CopyScripts(
        dump=dump,
        restore=restore,
        inventory=inventory,
        empty=empty,
        connect=read_script(engine, "connect") if has_connect else None,
        limits=limits,
        port=port,
        loads_source=loads_source,
    )


@dataclass(frozen=True, kw_only=True)
class AdministratorConnection:
    """How the administrator connects to an external server."""

    host: str
    port: int
    tls: str
    """`disable`, `require` or `verify-full`."""
    ca_file: str | None
    """File with the CA certificates of the server. None: the system's CA certificates apply."""
    username: str
    password: pulumi.Output[str]


@dataclass(frozen=True, kw_only=True)
class Login:
    """The values with which an application logs in."""

    username: str
    password: str = field(repr=False)
    database: str


class ServerClient(Protocol):
    """What the program does on an external server without Pulumi's provider, in resource hooks. Every method blocks."""

    def run(
        self, *statements: str, database: str | None = None, secrets: Sequence[str] = ()
    ) -> Sequence[tuple[Any, ...]]:
        """Run statements as the administrator, and return the rows of the last one.

        Default database: the engine's own. Raises an exception that contains none of the secrets.
        """

    def can_log_in(self, login: Login) -> bool:
        """Return whether the server accepts a login. Try once."""

    def require_login(self, login: Login) -> None:
        """Raise an exception unless the server accepts a login."""


@dataclass(frozen=True, kw_only=True)
class ProvisioningRequest:
    """An application's database and its accounts to create on an external server."""

    username: str
    """User name of the database's owner, which is the first account."""
    database: str
    passwords: Sequence[Password]
    """Password of each account."""
    administrator: str
    """User name of the administrator who creates the accounts."""
    extensions: Sequence[str] = ()
    """Extensions to create in the database, in this order."""
    client: ServerClient | None = None
    """None for a run without servers: the resources then have no hooks."""
    takes_over: Collection[str] = ()
    """What exists on the server and is not in the state: `database`, `user`."""

    @property
    def database_import(self) -> pulumi.ResourceOptions:
        """Options of the database that take it over if necessary."""
        return pulumi.ResourceOptions(import_=self.database if "database" in self.takes_over else None)

    @property
    def user_import(self) -> pulumi.ResourceOptions:
        """Options of the user that take it over if necessary."""
        return pulumi.ResourceOptions(import_=self.username if "user" in self.takes_over else None)


@dataclass(frozen=True, kw_only=True)
class ProvisionedDatabase:
    """A database with its accounts."""

    database: pulumi.Resource
    last_resource: pulumi.Resource
    """The resource after which every account can log in."""


class ProviderFactory(Protocol):
    """Creates the Pulumi provider of one server."""

    def __call__(self, name: str, administrator: AdministratorConnection) -> pulumi.ProviderResource: ...


class ProvisionFunction(Protocol):
    """Creates a request's user, database and grants.

    The Pulumi names begin with `name`. `data_opts` apply to resources that hold data, `opts` to all others. Both
    contain the provider and the parent. The database waits for `depends_on`: the previous database on the same server,
    if there is one.
    """

    def __call__(
        self,
        name: str,
        request: ProvisioningRequest,
        *,
        data_opts: pulumi.ResourceOptions,
        opts: pulumi.ResourceOptions,
        depends_on: Sequence[pulumi.Resource],
    ) -> ProvisionedDatabase: ...


@dataclass(frozen=True, kw_only=True)
class Provisioner:
    """How to create databases on an external server of an engine."""

    create_provider: ProviderFactory
    provision_database: ProvisionFunction
    supports_extensions: bool = False
    """Whether a database can have extensions."""
    accounts_take_turns: bool = False
    """Whether a change of the password changes to another account. Otherwise one account accepts two passwords."""
    forbidden_username_characters: str = ""
    """Characters that the provider misreads in an administrator's user name."""


@dataclass(frozen=True, kw_only=True)
class Engine:
    """A type of database."""

    name: str
    port: int | None
    """Port of the protocol. None for an engine without a server, such as SQLite."""
    variants: tuple[Variant, ...]
    """The first variant is the default."""
    build_uri: Callable[[Connection], str]
    build_account: Callable[[str, str], Account]
    """Build the account of a group that the program names, from application and group."""
    build_runtime: Callable[[Variant, str], ServerRuntime] | None
    """Build the runtime of a version of a variant. None for an engine without a server."""
    cluster: EngineCluster | None = None
    """How an operator runs several servers as one. Default: none; a group has one server."""
    cluster_obstacle: str | None = None
    """Why no operator can do it, for messages and the engine's page."""
    settings_file: SettingsFile | None = None
    """The server's configuration file, if the user can add settings to it."""
    max_username_length: int | None = None
    """Limit in characters. Default: none."""
    max_database_name_length: int | None = None
    """Limit in characters. Default: none."""
    provisioner: Provisioner | None = None
    """Default: none; the program cannot create databases on external servers of this engine."""
    copy_scripts: CopyScripts | None = None
    """Default: none; the data cannot be copied."""
    copy_obstacle: str | None = None
    """Why the data cannot be copied, for messages and the engine's page."""
    supports_database_url: bool = False
    """Whether DATABASE_URL can point to a primary group of this engine."""
    supports_tls_in_uri: bool = False
    """Whether the URI can contain the TLS mode."""
    credential_key: str | None = "password"
    """Key of the connection Secret that holds the credential: `password` or `token`. None for no credential."""
    existing_account: ExistingAccount = ExistingAccount()
    """The keys of an existing account on an external server."""
    reserved_names_pattern: str | None = None
    """Regular expression of the names that no database and no user can have."""
    supports_external_volume: bool = False
    """Whether an external server can provide a volume through a StorageClass."""
    mount_path: Callable[[str], str] = field(default=lambda group: f"/var/lib/databases/{group}")
    """Path of a group's volume in the application's Pods, if the application mounts it."""

    @property
    def copy_port(self) -> int | None:
        """Another port of the server, for copies."""
        return self.copy_scripts.port if self.copy_scripts else None

    def is_reserved_name(self, name: str) -> bool:
        """Return whether no database and no user can have a name."""
        return self.reserved_names_pattern is not None and bool(re.fullmatch(self.reserved_names_pattern, name))

    def get_variant(self, name: str | None) -> Variant:
        """Return the variant of that name, or the default one for None. Raise KeyError for an unknown name."""
        return self.variants[0] if name is None else {variant.name: variant for variant in self.variants}[name]


def describe_existing_account(kind: str, name: str, key: str) -> str:
    """Return the message for a database or user on an external server that is not the stack's own, or has data."""
    return (
        f"the {kind} {name!r} exists on the server, and this stack did not create it, or it is in use; drop it, or"
        f" choose another `{key}`"
    )
