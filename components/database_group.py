"""A database group: one database of an application, as a component. It knows neither engines nor server kinds."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import pulumi
import pulumi_kubernetes as kubernetes
from pydantic import BeforeValidator, ConfigDict, Field

from components.arguments import Arguments, Count, Flag, Text
from components.connection import Connection, environment_variables, secret_keys
from components.credentials import create_password
from components.engines.engine import Engine, Flavour
from components.names import GROUP_TYPE, resource_name, server_name, service_name
from components.platform import Platform
from components.servers import KINDS, ServerSpec
from components.servers.local import LocalServer
from components.servers.server import Access, Credentials, ServerArgs
from components.service import create_service
from components.workloads import Mount

PASSWORD = "password"  # noqa: S105 (a key)

__all__ = ["DatabaseGroup", "DatabaseGroupArgs", "Group", "GroupSpec", "encoded"]


def _short_form(value: Any) -> Any:
    """`server: local` is short for `server: {kind: local}`."""
    return {"kind": value} if isinstance(value, str) else value


def _nothing(value: Any) -> Any:
    """An empty group is one with every default."""
    return {} if value is None else value


def _schema_of_short_form(schema: dict[str, Any]) -> None:
    """Adds the short form to the schema of a server."""
    long = {key: schema.pop(key) for key in ("discriminator", "oneOf")}
    schema["anyOf"] = [{"enum": sorted(KINDS)}, long]


def _schema_of_nothing(schema: dict[str, Any]) -> None:
    """Adds the empty group to the schema of a group."""
    schema["type"] = ["object", "null"]


class GroupSpec(Arguments):
    """What the stack file says of a group."""

    model_config = ConfigDict(json_schema_extra=_schema_of_nothing)

    primary: Flag = False
    """Whether the group takes the engine's default names. An engine's only group does anyway."""
    flavour: Text | None = None
    """The engine's first one by default."""
    rotation: Count = 0
    """Another number gives the group another password."""
    protect: Flag | None = None
    """Whether the group can be taken away, or get another server, only after this was set to false. The application's word by default."""
    network_policy: Flag = True
    """Whether the group's server lets in nobody but the Pods of its application, where the application's do."""
    server: Annotated[ServerSpec, BeforeValidator(_short_form), Field(json_schema_extra=_schema_of_short_form)] = LocalServer(kind="local")
    """Where the server comes from. Only in development may it be left out: local."""


Group = Annotated[GroupSpec, BeforeValidator(_nothing)]


@dataclass(frozen=True, kw_only=True)
class DatabaseGroupArgs:
    """A group in its place."""

    application: str
    namespace: pulumi.Input[str]
    engine: Engine
    group: str
    default: bool
    """Whether it takes the engine's default names."""
    spec: GroupSpec
    protect: bool
    """What the application says of all its groups."""
    pods: Mapping[str, str]
    """Labels of the application's Pods."""
    platform: Platform

    @property
    def protected(self) -> bool:
        """Whether what holds data must outlive any change of the stack file."""
        return self.protect if self.spec.protect is None else self.spec.protect

    @property
    def resource_name(self) -> str:
        """The Pulumi name of the group."""
        return resource_name(self.application, self.engine.name, self.group)

    @property
    def path(self) -> str:
        """Where the group stands in the stack file."""
        return f"applications.{self.application}.databases.{self.engine.name}.{self.group}"

    @property
    def secret(self) -> str:
        """The name of the connection Secret."""
        return server_name(self.engine.name, self.group)

    @property
    def service(self) -> str:
        """The name of the Service."""
        return service_name(self.engine.name, self.group, default=self.default)

    @property
    def flavour(self) -> Flavour:
        """The program that the group's server is."""
        return self.engine.flavour(self.spec.flavour)

    @property
    def labels(self) -> Mapping[str, str]:
        """The recommended labels of Kubernetes."""
        return {
            "app.kubernetes.io/name": self.engine.name,
            "app.kubernetes.io/instance": server_name(self.engine.name, self.group),
            "app.kubernetes.io/component": "database",
            "app.kubernetes.io/part-of": self.application,
            "app.kubernetes.io/managed-by": "database-groups",
        }

    def for_server(self) -> ServerArgs:
        """What the group tells its server kind."""
        return ServerArgs(
            resource_name=self.resource_name,
            name=self.secret,
            application=self.application,
            group=self.group,
            namespace=self.namespace,
            labels=self.labels,
            engine=self.engine,
            flavour=self.flavour,
            rotation=self.spec.rotation,
            protected=self.protected,
            pods=self.pods,
            platform=self.platform,
        )

    @property
    def access(self) -> Access:
        """How the application gets to the group's server."""
        return KINDS[self.spec.server.kind].access(self.for_server(), self.spec.server)

    def variables(self) -> tuple[str, ...]:
        """The names of the group's environment variables."""
        keys = _connection_keys(self, self.access, None if self.access.password is None else PASSWORD)
        return tuple(environment_variables(self.engine.name, self.group, keys, default=self.default))

    def mount(self) -> Mount | None:
        """The volume claim that the application mounts, if the group's data is had so."""
        return Mount(claim=self.secret, path=self.engine.mount(self.group)) if self.access.mounted else None

    def summary(self) -> dict[str, Any]:
        """What a stack output says of the group: names only."""
        access = self.access
        return {
            "service": self.service if access.backend else None,
            "secret": self.secret,
            "kind": self.spec.server.kind,
            "engine": self.engine.name,
            "flavour": self.flavour.name,
            "version": access.version,
            "series": self.flavour.series_of(access.version) if access.version else None,
            "server": access.server,
            "protected": self.protected,
        }


class DatabaseGroup(pulumi.ComponentResource):
    """`database-groups:components:DatabaseGroup`

    Resources: the password (a RandomPassword, where it is generated), the connection Secret, what the server kind makes, and the Service
    with its EndpointSlice, if any.
    """

    connection: pulumi.Output[Mapping[str, str]]
    """The keys and values of the connection Secret; secret."""

    def __init__(self, name: str, args: DatabaseGroupArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(GROUP_TYPE, name, None, opts)
        access = args.access

        password = create_password(f"{name}-password", access.password, parent=self)
        self.connection = pulumi.Output.secret(pulumi.Output.from_input(password).apply(lambda value: _connection_keys(args, access, value)))
        secret = kubernetes.core.v1.Secret(
            f"{name}-connection",
            metadata={"name": args.secret, "namespace": args.namespace, "labels": args.labels},
            type=f"servicebinding.io/{args.engine.name}",
            data=self.connection.apply(encoded),
            opts=pulumi.ResourceOptions(parent=self),
        )
        credentials = Credentials(account=access.account, password=password, secret=secret)
        KINDS[args.spec.server.kind].create(args.for_server(), args.spec.server, credentials, self)
        if access.backend:
            create_service(
                args.service,
                access.backend,
                application=args.application,
                server=args.secret,
                port_name=args.engine.name,
                namespace=args.namespace,
                labels=args.labels,
                parent=self,
            )
        # What the next update knows of this one, whatever becomes of it.
        self.register_outputs({"application": args.application, "group": args.group, **args.summary()})


def encoded(data: Mapping[str, str]) -> dict[str, str]:
    """Values as the `data` of a Secret has them. (`stringData` is never read back, and so would hide a change.)"""
    return {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}


def _connection_keys(args: DatabaseGroupArgs, access: Access, password: str | None) -> dict[str, str]:
    connection = Connection(
        engine=args.engine.name,
        provider=args.flavour.name,
        host=args.service if access.backend else None,
        port=access.backend.port if access.backend else None,
        username=access.account.username,
        password=password if args.engine.credential == PASSWORD else None,
        database=access.account.database,
        extra=_extra_keys(args.engine.credential, access, password),
        tls=access.tls,
        certified_host=access.certified_host,
    )
    return secret_keys(connection, args.engine.uri(connection))


def _extra_keys(credential: str | None, access: Access, password: str | None) -> dict[str, str]:
    """The keys that not every engine has: its account's own, a credential that is no password, and the authorities behind its TLS."""
    named = {credential: password} if credential and password and credential != PASSWORD else {}
    return {**access.account.extra, **named, **({"ca.crt": access.ca.pem} if access.ca else {})}
