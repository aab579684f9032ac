"""The record that an engine is: its data, and the few functions in which engines differ. An engine knows no server kinds."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Protocol

import pulumi

from components.connection import Connection
from components.engines.settings_file import SettingsFile

__all__ = [
    "Account",
    "AdministratorConnection",
    "Engine",
    "Provisioner",
    "ProvisioningRequest",
    "ServerRuntime",
    "Variant",
]


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One program that speaks an engine's protocol."""

    name: str
    image: str | None
    """The repository of its official image, where there is one; the version is the tag."""
    supported_series: tuple[str, ...]
    """The version series that the program runs, oldest first. Data of one series is not opened by another."""
    default_version: str
    """The series that a group gets where it names none; empty where there is nothing to run."""
    run_as_user: int
    """The user and group of the image's server."""
    min_version_parts: int = 1
    """How many numbers a version must have for there to be an image of it."""
    server_command: str = ""
    """The server's program in the image, where variants differ in it."""

    def find_series(self, version: str) -> str | None:
        """The series that a version belongs to (`8.4.3` to `8.4`), or None where it belongs to none."""
        return next((series for series in self.supported_series if f"{version}.".startswith(f"{series}.")), None)


@dataclass(frozen=True, kw_only=True)
class Account:
    """Whom an application is on a server, and where. A part that the engine does not have is None."""

    username: str | None = None
    database: str | None = None
    engine_keys: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """The engine's own keys, such as `org` and `bucket`."""

    def secret_entries(self) -> dict[str, str]:
        """The parts that there are, by their keys in the connection Secret."""
        parts = {"username": self.username, "database": self.database, **self.engine_keys}
        return {key: value for key, value in parts.items() if value is not None}


@dataclass(frozen=True, kw_only=True)
class ServerRuntime:
    """What an engine's image needs to run as one server; how and where it runs is the server kind's matter.

    The scripts find the application's account in APPLICATION_USERNAME, APPLICATION_PASSWORD, APPLICATION_DATABASE and so on for each key of
    the account, the address of the Pod in POD_IP, and the user's settings in the file /etc/database-groups/settings. They hold no credential.
    """

    start_script: str
    """The shell script that becomes the server. It runs at every start, on new and on kept volumes."""
    readiness_script: str
    """The shell script that succeeds when the application can log in over TCP."""
    post_start_script: str | None = None
    """The shell script that runs beside the server after each start; the server is not ready before it has ended."""
    data_path: str
    """Where the volume is mounted."""
    data_sub_path: str | None = None
    """The folder of the volume that is mounted there, where the server does not bear a volume's own `lost+found`."""
    empty_dirs: tuple[str, ...] = ()
    """Folders that must be writable and may be lost; the rest of the file system is read-only."""
    env: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    min_memory: str
    """The least memory that the server works well with."""
    init_file_path: str | None = None
    """The file from which the image runs what is to be run once, on an empty volume, if it has such a way."""
    capabilities: tuple[str, ...] = ()
    """Capabilities without which the server cannot run. One that needs any runs as root, outside Pod Security `restricted`."""


@dataclass(frozen=True, kw_only=True)
class AdministratorConnection:
    """The administrator's way into an external server."""

    host: str
    port: int
    tls: str
    """`disable`, `require` or `verify-full`."""
    ca_file: str | None
    """The file with the authorities that sign the server's certificate; None where the machine's own do."""
    username: str
    password: pulumi.Output[str]


@dataclass(frozen=True, kw_only=True)
class ProvisioningRequest:
    """An application's account on an external server, to be made there."""

    username: str
    database: str
    password: pulumi.Output[str]
    administrator: str
    """The user name that it is made by."""
    extensions: Sequence[str] = ()
    """What is to be added to the database."""


class ProviderFactory(Protocol):
    """Makes the Pulumi provider of one server."""

    def __call__(self, name: str, administrator: AdministratorConnection) -> pulumi.ProviderResource: ...


class ProvisionFunction(Protocol):
    """Makes a request's user, database and grants, named after `name`.

    `durable` options belong to what holds data, `plain` ones to the rest; both carry the provider and the parent. `after` is what
    the new database must wait for: the one made before it on the same server, if any. Returns the new database.
    """

    def __call__(
        self,
        name: str,
        request: ProvisioningRequest,
        *,
        data_opts: pulumi.ResourceOptions,
        opts: pulumi.ResourceOptions,
        depends_on: Sequence[pulumi.Resource],
    ) -> pulumi.Resource: ...


@dataclass(frozen=True, kw_only=True)
class Provisioner:
    """How databases are made on an external server of an engine."""

    create_provider: ProviderFactory
    provision_database: ProvisionFunction
    reserved_names_pattern: str
    """The names that no database and no user may have, as a regular expression."""
    supports_extensions: bool = False
    """Whether extensions can be added to a database."""
    forbidden_username_characters: str = ""
    """Characters that the provider takes for something else in an administrator's user name."""


@dataclass(frozen=True, kw_only=True)
class Engine:
    """A type of database."""

    name: str
    port: int | None
    """The port of its protocol; None for a file, which has no server."""
    variants: tuple[Variant, ...]
    """The first one is the default."""
    build_uri: Callable[[Connection], str]
    build_account: Callable[[str, str], Account]
    """The account of a group that we name: by application and group."""
    build_runtime: Callable[[Variant, str], ServerRuntime] | None
    """What a version of a variant needs to run; None for a file, which nothing runs."""
    settings_file: SettingsFile | None = None
    """The server's configuration file, if the user may add to it."""
    max_username_length: int | None = None
    """Characters that a user name may have."""
    max_database_name_length: int | None = None
    """Characters that the name of a database may have."""
    provisioner: Provisioner | None = None
    supports_database_url: bool = False
    """Whether a primary group of it may be the application's DATABASE_URL."""
    supports_tls_in_uri: bool = False
    """Whether its URI can tell a client of TLS."""
    credential_key: str | None = "password"
    """The key of the connection Secret that is secret: `password`, `token`; None where there is none."""
    existing_account_keys: Mapping[str, bool]
    """What the user says of an account that exists on an external server, and whether that is necessary."""
    existing_account_defaults: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """What is assumed of it where the user does not say it."""
    allows_password_without_username: bool = False
    """Whether a password may stand without a user name."""
    supports_external_volume: bool = False
    """Whether an external server's data can be had as a volume, by a storage class."""
    mount_path: Callable[[str], str] = field(default=lambda group: f"/var/lib/databases/{group}")
    """Where the application's Pods have the volume of a group, by the group's name, where it is theirs to mount."""

    def get_variant(self, name: str | None) -> Variant:
        """The variant of that name, or the default one. Raises KeyError where there is none of that name."""
        return self.variants[0] if name is None else {variant.name: variant for variant in self.variants}[name]
