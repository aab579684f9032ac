"""A database group: one database of an application, as a component. It knows neither engines nor server kinds."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import pulumi
import pulumi_kubernetes as kubernetes
from pydantic import BeforeValidator, ConfigDict, Field

from components.connection import Connection, build_environment_variables, connection_secret_data
from components.engines.definition import Engine, Variant
from components.passwords import create_password
from components.persisted.names import DATABASE_GROUP_TYPE, object_name, resource_name, service_name
from components.platform import Platform
from components.servers import SERVER_KINDS, ServerSpec
from components.servers.kind import ServerAccess, ServerArgs, ServerCredentials
from components.servers.local import LocalKindSpec
from components.service import create_service
from components.spec import NonEmptyStr, NonNegativeInt, SpecModel, StrictBool
from components.workload_patches import VolumeMount

PASSWORD_KEY = "password"  # noqa: S105 (a key)

__all__ = ["DatabaseGroup", "DatabaseGroupArgs", "DatabaseGroupEntry", "DatabaseGroupSpec", "encode_secret_data"]


def _expand_kind_shorthand(value: Any) -> Any:
    """`server: local` is short for `server: {kind: local}`."""
    return {"kind": value} if isinstance(value, str) else value


def _none_to_empty(value: Any) -> Any:
    """An empty group is one with every default."""
    return {} if value is None else value


def _add_kind_shorthand_to_schema(schema: dict[str, Any]) -> None:
    """Adds the short form to the schema of a server."""
    long = {key: schema.pop(key) for key in ("discriminator", "oneOf")}
    schema["anyOf"] = [{"enum": sorted(SERVER_KINDS)}, long]


def _allow_null_in_schema(schema: dict[str, Any]) -> None:
    """Adds the empty group to the schema of a group."""
    schema["type"] = ["object", "null"]


class DatabaseGroupSpec(SpecModel):
    """What the stack file says of a group."""

    model_config = ConfigDict(json_schema_extra=_allow_null_in_schema)

    primary: StrictBool = False
    """Whether the group takes the engine's default names. An engine's only group does anyway."""
    variant: NonEmptyStr | None = None
    """The engine's first one by default."""
    password_version: NonNegativeInt = 0
    """Another number gives the group another password."""
    protect: StrictBool | None = None
    """Whether the group can be taken away, or get another server, only after this was set to false. The application's word by default."""
    network_policy: StrictBool = True
    """Whether the group's server lets in nobody but the Pods of its application, where the application's do."""
    server: Annotated[
        ServerSpec, BeforeValidator(_expand_kind_shorthand), Field(json_schema_extra=_add_kind_shorthand_to_schema)
    ] = LocalKindSpec(kind="local")
    """Where the server comes from. Only in development may it be left out: local."""


DatabaseGroupEntry = Annotated[DatabaseGroupSpec, BeforeValidator(_none_to_empty)]


@dataclass(frozen=True, kw_only=True)
class DatabaseGroupArgs:
    """A group in its place."""

    application: str
    namespace: pulumi.Input[str]
    engine: Engine
    group_name: str
    is_primary: bool
    """Whether it takes the engine's default names."""
    spec: DatabaseGroupSpec
    application_protect: bool
    """What the application says of all its groups."""
    pod_labels: Mapping[str, str]
    """Labels of the application's Pods."""
    platform: Platform

    @property
    def protected(self) -> bool:
        """Whether what holds data must outlive any change of the stack file."""
        return self.application_protect if self.spec.protect is None else self.spec.protect

    @property
    def resource_name(self) -> str:
        """The Pulumi name of the group."""
        return resource_name(self.application, self.engine.name, self.group_name)

    @property
    def config_path(self) -> str:
        """Where the group stands in the stack file."""
        return f"applications.{self.application}.databases.{self.engine.name}.{self.group_name}"

    @property
    def object_name(self) -> str:
        """The name of the connection Secret."""
        return object_name(self.engine.name, self.group_name)

    @property
    def service_name(self) -> str:
        """The name of the Service."""
        return service_name(self.engine.name, self.group_name, is_primary=self.is_primary)

    @property
    def variant(self) -> Variant:
        """The program that the group's server is."""
        return self.engine.get_variant(self.spec.variant)

    @property
    def labels(self) -> Mapping[str, str]:
        """The recommended labels of Kubernetes."""
        return {
            "app.kubernetes.io/name": self.engine.name,
            "app.kubernetes.io/instance": object_name(self.engine.name, self.group_name),
            "app.kubernetes.io/component": "database",
            "app.kubernetes.io/part-of": self.application,
            "app.kubernetes.io/managed-by": "database-groups",
        }

    def server_args(self) -> ServerArgs:
        """What the group tells its server kind."""
        return ServerArgs(
            resource_name=self.resource_name,
            object_name=self.object_name,
            application=self.application,
            group_name=self.group_name,
            namespace=self.namespace,
            labels=self.labels,
            engine=self.engine,
            variant=self.variant,
            password_version=self.spec.password_version,
            protected=self.protected,
            pod_labels=self.pod_labels,
            platform=self.platform,
        )

    @property
    def server_access(self) -> ServerAccess:
        """How the application gets to the group's server."""
        return SERVER_KINDS[self.spec.server.kind].resolve_access(self.server_args(), self.spec.server)

    def variable_names(self) -> tuple[str, ...]:
        """The names of the group's environment variables."""
        keys = _connection_data(
            self, self.server_access, None if self.server_access.password_source is None else PASSWORD_KEY
        )
        return tuple(build_environment_variables(self.engine.name, self.group_name, keys, is_primary=self.is_primary))

    def volume_mount(self) -> VolumeMount | None:
        """The volume claim that the application mounts, if the group's data is had so."""
        return (
            VolumeMount(claim=self.object_name, path=self.engine.mount_path(self.group_name))
            if self.server_access.mounted_by_application
            else None
        )

    def output_summary(self) -> dict[str, Any]:
        """What a stack output says of the group: names only."""
        access = self.server_access
        return {
            "service": self.service_name if access.backend else None,
            "secret": self.object_name,
            "kind": self.spec.server.kind,
            "engine": self.engine.name,
            "variant": self.variant.name,
            "version": access.version,
            "series": self.variant.find_series(access.version) if access.version else None,
            "server": access.external_server_name,
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
        super().__init__(DATABASE_GROUP_TYPE, name, None, opts)
        server_access = args.server_access

        password = create_password(f"{name}-password", server_access.password_source, parent=self)
        self.connection = pulumi.Output.secret(
            pulumi.Output.from_input(password).apply(lambda value: _connection_data(args, server_access, value))
        )
        secret = kubernetes.core.v1.Secret(
            f"{name}-connection",
            metadata={"name": args.object_name, "namespace": args.namespace, "labels": args.labels},
            type=f"servicebinding.io/{args.engine.name}",
            data=self.connection.apply(encode_secret_data),
            opts=pulumi.ResourceOptions(parent=self),
        )
        credentials = ServerCredentials(account=server_access.account, password=password, secret=secret)
        SERVER_KINDS[args.spec.server.kind].create_resources(args.server_args(), args.spec.server, credentials, self)
        if server_access.backend:
            create_service(
                args.service_name,
                server_access.backend,
                application=args.application,
                endpoint_slice_name=args.object_name,
                port_name=args.engine.name,
                namespace=args.namespace,
                labels=args.labels,
                parent=self,
            )
        # What the next update knows of this one, whatever becomes of it.
        self.register_outputs({"application": args.application, "group": args.group_name, **args.output_summary()})


def encode_secret_data(data: Mapping[str, str]) -> dict[str, str]:
    """Values as the `data` of a Secret has them. (`stringData` is never read back, and so would hide a change.)"""
    return {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}


def _connection_data(args: DatabaseGroupArgs, access: ServerAccess, password: str | None) -> dict[str, str]:
    connection = Connection(
        engine=args.engine.name,
        provider=args.variant.name,
        host=args.service_name if access.backend else None,
        port=access.backend.port if access.backend else None,
        username=access.account.username,
        password=password if args.engine.credential_key == PASSWORD_KEY else None,
        database=access.account.database,
        engine_keys=_engine_specific_data(args.engine.credential_key, access, password),
        tls=access.tls,
        tls_server_name=access.tls_server_name,
    )
    return connection_secret_data(connection, args.engine.build_uri(connection))


def _engine_specific_data(credential: str | None, access: ServerAccess, password: str | None) -> dict[str, str]:
    """The keys that not every engine has: its account's own, a credential that is no password, and the authorities behind its TLS."""
    named = {credential: password} if credential and password and credential != PASSWORD_KEY else {}
    return {**access.account.engine_keys, **named, **({"ca.crt": access.ca_bundle.pem} if access.ca_bundle else {})}
