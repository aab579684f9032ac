"""The interface of a server kind: its arguments, the access that it resolves, and its functions."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

import pulumi
import pulumi_kubernetes as kubernetes
from pydantic import SecretStr

from components.engines.clusters.definition import ContinuousBackup
from components.engines.definition import Account, Engine, Variant
from components.passwords import GeneratedPassword, Password
from components.persisted.labels import object_metadata
from components.planned_objects import PlannedObject
from components.platform import Platform
from components.protection import Protect
from components.service import ServiceBackend
from components.tls import VERIFY_FULL, CaBundle, TlsMode

__all__ = [
    "OperatedServers",
    "PreparedSecret",
    "ScratchServer",
    "ServerAccess",
    "ServerArgs",
    "ServerCredentials",
    "ServerKind",
    "VolumeRequest",
]


@dataclass(frozen=True, kw_only=True)
class ServerArgs:
    """The group whose server it is."""

    resource_name: str
    """Pulumi name of the group; the names of the server's resources begin with it."""
    object_name: str
    """Name of the server, its volume claim and the connection Secret: `mysql-main`."""
    config_location: tuple[str, ...]
    """Location of the group in the stack file."""
    application: str
    group_name: str
    """Name under which the group was created. The account has this name."""
    namespace: pulumi.Input[str]
    labels: Mapping[str, str]
    engine: Engine
    variant: Variant
    password_version: int
    protect: Protect
    pod_labels: Mapping[str, str]
    """Labels of the application's Pods."""
    platform: Platform
    is_filled: bool = False
    """Whether a copy fills the group."""
    continuous_backup: ContinuousBackup | None = None
    """What the operator of a server cluster saves. Known after the access to the server."""
    deleted_with: pulumi.Resource | None = None
    """The namespace, if its deletion deletes the volume claim. A Pod that Pulumi did not record cannot delay that."""

    @property
    def password_name(self) -> str:
        """Pulumi name of the group's password."""
        return f"{self.resource_name}-password"

    @property
    def metadata(self) -> Any:
        """Metadata of the server's objects."""
        return object_metadata(self.object_name, self.namespace, self.labels, self.platform.stack)


@dataclass(frozen=True, kw_only=True)
class VolumeRequest:
    """The volume that a group's claim requests."""

    storage: str
    """Size, as a Kubernetes quantity."""
    storage_class: str | None
    """Storage class. None: the cluster's default class."""
    has_claim: bool = True
    """Whether the program creates the claim. False: an operator creates one for each server."""


@dataclass(frozen=True, kw_only=True)
class OperatedServers:
    """Several servers that an operator runs as one."""

    replicas: int
    volume: VolumeRequest | None
    """The volume of each server, which the operator creates."""
    labels: Mapping[str, str]
    """Labels of their Pods."""
    operator_labels: Mapping[str, str]
    """Labels of the operator's Pods, which must reach the servers."""
    read_backend: ServiceBackend | None
    """The target of a second Service, for reads only. None without replicas that serve reads."""
    has_ca: bool
    """Whether the operator signs the servers' certificates. The CA is known only when the servers run."""
    replica_set: str | None
    """Name of the replica set that clients must know."""
    runs_scripts: bool
    """Whether the program runs a script in a Pod after each change."""


@dataclass(frozen=True, kw_only=True)
class ServerAccess:
    """How an application reaches its server; known before the server exists."""

    account: Account
    account_is_managed: bool
    """Whether the program creates the account. False: the user names an existing one."""
    password_source: GeneratedPassword | SecretStr | None
    """A password to generate, the user's own, or None where the server has no password."""
    backend: ServiceBackend | None
    """The target of the Service; None without a server."""
    version: str | None = None
    """Version of a server in the cluster."""
    image: str | None = None
    """Image of a server in the cluster."""
    memory: str | None = None
    """Memory limit of a server in the cluster."""
    external_server_name: str | None = None
    """Entry of `externalServers` on which the program creates the account."""
    usernames: tuple[str, ...] = ()
    """Users that the program creates there, now or at the first change of the password. The first one is the owner."""
    adopts_database: bool = False
    """Whether the program takes over a database and a user that exist."""
    extensions: tuple[str, ...] = ()
    """Extensions of the provisioned database."""
    tls: TlsMode | None = None
    """TLS mode that the application's URI requests. None: the client decides."""
    ca_bundle: CaBundle | None = None
    """CA certificates that sign the server's certificate."""
    accepts_new_password: bool = False
    """Whether the running server accepts a new password without a restart."""
    volume: VolumeRequest | None = None
    """The group's volume. None: the server stores the data elsewhere, or stores none."""
    init_script: str | None = None
    """Script that runs once, when the volume is empty."""
    mounted_by_application: bool = False
    """Whether the application's Pods mount the group's volume claim."""
    operated: OperatedServers | None = None
    """What is particular to several servers that an operator runs. None for one server."""

    @property
    def requested_volume(self) -> VolumeRequest | None:
        """The volume of each server, also if an operator creates it."""
        return self.operated.volume if self.operated else self.volume

    @property
    def init_script_digest(self) -> str | None:
        """Digest of the script that runs when the volume is empty."""
        return hashlib.sha256(self.init_script.encode()).hexdigest()[:16] if self.init_script else None

    @property
    def owner(self) -> Account:
        """The account that owns the database. The application's account is another one after some password changes."""
        return replace(self.account, username=self.usernames[0]) if self.usernames else self.account

    @property
    def tls_server_name(self) -> str | None:
        """Host name that the client verifies. The Service's name is not in the certificate."""
        return next(iter(self.backend.hosts), None) if self.backend and self.tls == VERIFY_FULL else None


@dataclass(frozen=True, kw_only=True)
class ServerCredentials:
    """The account that the server must accept."""

    account: Account
    secret: kubernetes.core.v1.Secret
    password: Password | None


@dataclass(frozen=True, kw_only=True)
class PreparedSecret:
    """What the connection Secret needs from its server."""

    opts: pulumi.ResourceOptions = field(default_factory=pulumi.ResourceOptions)
    """Options of the Secret."""
    entries: pulumi.Input[Mapping[str, str]] = field(default_factory=dict)
    """Entries that only the server knows, such as its CA."""


@dataclass(frozen=True, kw_only=True)
class ScratchServer:
    """An empty server like the group's own, for a Pod of another purpose. Its data is deleted with the Pod."""

    account: Account
    files: Mapping[str, str]
    """The files of the scripts' folder, by name."""
    env: Mapping[str, str]
    """Environment variables of the start script, in addition to the account's."""
    memory: str
    storage: str
    """Size of the data."""
    data_path: str | None
    folders: Mapping[str, tuple[str, Mapping[str, str]]]
    """Path and source (core/v1 EmptyDirVolumeSource) of each writable folder, by the name of its volume."""


Spec = TypeVar("Spec")


@dataclass(frozen=True, kw_only=True)
class ServerKind(Generic[Spec]):
    """The functions that implement one server kind."""

    resolve_access: Callable[[ServerArgs, Spec], ServerAccess]
    create_resources: Callable[[ServerArgs, Spec, ServerCredentials, pulumi.Resource], None] = lambda *_args: None
    """Create the server's resources as children of the group. Default: none."""
    prepare_secret: Callable[[ServerArgs, Spec, Password | None, pulumi.Resource], PreparedSecret] = lambda *_args: (
        PreparedSecret()
    )
    """Create what must exist before the connection Secret changes: an account or a server, as children of the group.

    A change of a running server is a hook of the Secret. Default: none.
    """
    list_objects: Callable[[ServerArgs, Spec], Iterator[PlannedObject]] = lambda *_args: iter(())
    """Return the Kubernetes objects of `create_resources`, without the volume claim. Default: none."""
    validate: Callable[[ServerArgs, Spec], Iterator[tuple[str, str]]]
    """Return the key and the message of each error. Do not call `resolve_access` for a group with errors."""
    build_scratch_server: Callable[[ServerArgs, Spec], ScratchServer]
    """Describe an empty server that accepts a copy of the group's data. Call it only for an engine with a server."""
    production_warning: str | None = None
    """Why the kind is not for production; None if it is."""
