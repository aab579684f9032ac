"""The interface of a server kind: its arguments, the access that it resolves, and its functions."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import pulumi
import pulumi_kubernetes as kubernetes
from pydantic import SecretStr

from components.engines.definition import Account, Engine, Variant
from components.passwords import GeneratedPassword
from components.persisted.labels import object_metadata
from components.planned_objects import PlannedObject
from components.platform import Platform
from components.protection import Protect
from components.service import ServiceBackend
from components.tls import VERIFY_FULL, CaBundle, TlsMode

__all__ = ["ServerAccess", "ServerArgs", "ServerCredentials", "ServerKind"]


@dataclass(frozen=True, kw_only=True)
class ServerArgs:
    """The group whose server it is."""

    resource_name: str
    """Pulumi name of the group; the names of the server's resources begin with it."""
    object_name: str
    """Name of the server, its volume claim and the connection Secret: `mysql-main`."""
    application: str
    group_name: str
    namespace: pulumi.Input[str]
    labels: Mapping[str, str]
    engine: Engine
    variant: Variant
    password_version: int
    protect: Protect
    pod_labels: Mapping[str, str]
    """Labels of the application's Pods."""
    platform: Platform

    @property
    def metadata(self) -> Any:
        """Metadata of the server's objects."""
        return object_metadata(self.object_name, self.namespace, self.labels, self.platform.stack)


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
    external_server_name: str | None = None
    """Entry of `externalServers` on which the program creates the account."""
    extensions: tuple[str, ...] = ()
    """Extensions of the provisioned database."""
    tls: TlsMode | None = None
    """TLS mode that the application's URI requests. None: the client decides."""
    ca_bundle: CaBundle | None = None
    """CA certificates that sign the server's certificate."""
    mounted_by_application: bool = False
    """Whether the application's Pods mount the group's volume claim."""

    @property
    def tls_server_name(self) -> str | None:
        """Host name that the client verifies. The Service's name is not in the certificate."""
        return self.backend.hosts[0] if self.backend and self.tls == VERIFY_FULL else None


@dataclass(frozen=True, kw_only=True)
class ServerCredentials:
    """The account that the server must accept."""

    account: Account
    password: pulumi.Output[str] | None
    secret: kubernetes.core.v1.Secret


Spec = TypeVar("Spec")


@dataclass(frozen=True, kw_only=True)
class ServerKind(Generic[Spec]):
    """The functions that implement one server kind."""

    resolve_access: Callable[[ServerArgs, Spec], ServerAccess]
    create_resources: Callable[[ServerArgs, Spec, ServerCredentials, pulumi.Resource], None]
    """Create the server's resources as children of the group."""
    list_objects: Callable[[ServerArgs, Spec], Iterator[PlannedObject]]
    """Return the Kubernetes objects among these resources."""
    validate: Callable[[ServerArgs, Spec], Iterator[tuple[str, str]]]
    """Return the key and the message of each error. Do not call `resolve_access` for a group with errors."""
    production_warning: str | None = None
    """Why the kind is not for production; None if it is."""
