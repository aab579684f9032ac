"""The `DatabaseGroup` component: password, connection Secret, server and Service.

It does not depend on a specific engine or server kind.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from types import MappingProxyType
from typing import Annotated, Any, Literal

import pulumi
import pulumi_kubernetes as kubernetes
from pydantic import BeforeValidator, ConfigDict, Field

from components.connection import (
    CA_KEY,
    PASSWORD_KEY,
    READ_ADDRESS_KEY,
    READ_URI_KEY,
    Connection,
    connection_secret_data,
    encode_secret_data,
    list_variable_names,
)
from components.copies.backup import BackupArgs, create_backup, list_backup_objects
from components.copies.backup_spec import BackupSpec, build_cron
from components.copies.move import (
    CopyArgs,
    CopySource,
    build_backup_source,
    build_group_source,
    create_copy,
    list_copy_objects,
)
from components.copies.pod import CopyEnd
from components.copies.repository import Repository
from components.copies.spec import CopySpec, GroupAddress, resolve_source
from components.copies.verification import VerificationArgs, create_verification, list_verification_objects
from components.engines.clusters.definition import ContinuousBackup
from components.engines.definition import Account, Engine, Variant
from components.passwords import create_password
from components.persisted.labels import group_labels, object_metadata, scratch_server_labels
from components.persisted.names import (
    DATABASE_GROUP_TYPE,
    backup_name,
    copy_name,
    copy_service_name,
    object_name,
    read_service_name,
    resource_name,
    service_name,
    verification_name,
)
from components.persisted.outputs import CopyState, GroupOutputs, GroupSummary
from components.planned_objects import PlannedObject
from components.platform import Platform
from components.protection import Protect, ProtectSpec
from components.servers import SERVER_KINDS, ServerSpec, find_server_kind
from components.servers.kind import ServerAccess, ServerArgs, ServerCredentials, ServerKind
from components.servers.local import LocalKindSpec
from components.service import ServiceBackend, create_service, list_service_objects
from components.spec import DnsLabel, NonEmptyStr, NonNegativeInt, SpecModel, StrictBool
from components.workload_patches import VolumeMount

__all__ = [
    "DatabaseGroup",
    "DatabaseGroupArgs",
    "DatabaseGroupEntry",
    "DatabaseGroupSpec",
    "build_connection_data",
]


def _expand_kind_shorthand(value: Any) -> Any:
    """Accept `server: local` for `server: {kind: local}`."""
    return {"kind": value} if isinstance(value, str) else value


def _replace_null(value: Any) -> Any:
    """Accept a group without keys: it has every default."""
    return {} if value is None else value


def _add_kind_shorthand_to_schema(schema: dict[str, Any]) -> None:
    union = {key: schema.pop(key) for key in ("discriminator", "oneOf")}
    schema["anyOf"] = [{"enum": sorted(SERVER_KINDS)}, union]


def _allow_null_in_schema(schema: dict[str, Any]) -> None:
    schema["type"] = ["object", "null"]


class DatabaseGroupSpec(SpecModel):
    """A database group: one database of the application."""

    model_config = ConfigDict(json_schema_extra=_allow_null_in_schema)

    primary: StrictBool | None = None
    """Whether the group uses the short names (Service `mysql`, variables `MYSQL_*`). Default: `true` for the only group
    of an engine, otherwise `false`."""
    renamed_from: DnsLabel | None = None
    """Name under which the group was created. Server, volume, database, user and connection Secret have this name.
    Default: the group's name."""
    variant: NonEmptyStr | None = None
    """Server software, such as `percona`. Default: the first variant on the engine's page."""
    password_version: NonNegativeInt = 0
    """Increase this number by one to generate a new password. Default: `0`."""
    protect: ProtectSpec | None = None
    """Whether removing or moving the group is rejected (`true`), allowed with the data retained (`retain`), or allowed
    with the data deleted (`false`). Default: the application's `protect`."""
    recreate: StrictBool = False
    """Whether the program may create a provisioned database again, empty, if the server no longer has it. It needs
    `make refresh` first. Remove the key afterwards. Default: `false`."""
    network_policy: StrictBool = True
    """Whether the NetworkPolicy restricts the group's server to the application's Pods. Default: `true`."""
    copy_from: CopySpec | None = Field(default=None, alias="from")
    """Group or backup that fills this group once: `{group: main}`, `{backup: latest}`. Default: none."""
    backup: BackupSpec | Literal[False] | None = None
    """Backups of the group, or `false` for none. The keys override those of the stack's `backup`. Default: the stack's
    `backup`."""
    server: Annotated[
        ServerSpec,
        BeforeValidator(_expand_kind_shorthand),
        Field(json_schema_extra=_add_kind_shorthand_to_schema),
    ] = LocalKindSpec(kind="local")
    """Server of the group: a kind (`server: local`) or a map with `kind`. Default: `local` in development; required in
    production."""


DatabaseGroupEntry = Annotated[DatabaseGroupSpec, BeforeValidator(_replace_null)]


@dataclass(frozen=True, kw_only=True)
class DatabaseGroupArgs:
    """A group with the application and the stack that it belongs to."""

    application: str
    namespace: pulumi.Input[str]
    engine: Engine
    group_name: str
    is_primary: bool
    """Whether the group uses the engine's short names."""
    spec: DatabaseGroupSpec
    application_protect: Protect
    pod_labels: Mapping[str, str]
    """Labels of the application's Pods."""
    platform: Platform
    deleted_with: pulumi.Resource | None = None
    """The namespace, if its deletion deletes the group's volume claim."""
    network_policy: pulumi.Resource | None = None
    """The NetworkPolicy of the group's server."""

    @property
    def protect(self) -> Protect:
        """What happens to the group's data when the group is removed."""
        return self.application_protect if self.spec.protect is None else self.spec.protect

    @property
    def original_name(self) -> str:
        """Name under which the group was created. Everything that holds data has this name."""
        return self.spec.renamed_from or self.group_name

    @property
    def resource_name(self) -> str:
        """Pulumi name of the group."""
        return resource_name(self.application, self.engine.name, self.original_name)

    @property
    def config_location(self) -> tuple[str, ...]:
        """Location of the group in the stack file."""
        return ("applications", self.application, "databases", self.engine.name, self.group_name)

    @property
    def path(self) -> str:
        """The group in messages and in `databaseUrl`: `mysql.main`."""
        return f"{self.engine.name}.{self.group_name}"

    @property
    def object_name(self) -> str:
        """Name of the connection Secret, the server, its volume claim and its ConfigMap."""
        return object_name(self.engine.name, self.original_name)

    @property
    def address(self) -> GroupAddress:
        """Application, engine and name of the group."""
        return self.application, self.engine.name, self.group_name

    @property
    def copy_spec(self) -> CopySpec | None:
        """What fills the group: its own `from`, or the stack's `restoreAll`; None for neither."""
        own, snapshot = self.spec.copy_from, self.platform.restore_all
        if own is None and snapshot and self.backup_spec:
            return CopySpec(backup=snapshot, timeout_minutes=self.backup_spec.timeout_minutes)
        return own

    @property
    def source(self) -> GroupAddress | None:
        """The group that fills this one; None if no group does."""
        return self._source_group if self.copy_spec and self.copy_spec.backup is None else None

    @property
    def _source_group(self) -> GroupAddress:
        """The group that is copied, or that was saved."""
        path = self.copy_spec.group if self.copy_spec else None
        return resolve_source(path or self.original_name, self.application, self.engine.name)

    @property
    def source_engine(self) -> str:
        """Engine of the group that is copied, or that was saved."""
        return self._source_group[1]

    @property
    def source_store(self) -> str | None:
        """Name of the store with the backup that fills the group; None if none does, or if it is missing."""
        spec = self.copy_spec
        return spec.store or self.backup_store if spec and spec.backup else None

    @property
    def source_repository(self) -> Repository | None:
        """The repository with the backup that fills the group; None if none does."""
        store = self.platform.backup_stores.get(self.source_store or "")
        return Repository(store=store, path="/".join(self._source_group)) if store else None

    @property
    def source_description(self) -> str:
        """What fills the group, in messages and in the state."""
        group, spec = ".".join(self._source_group), self.copy_spec
        store = f" from the store {spec.store}" if spec and spec.store else ""
        return f"the backup {spec.backup} of {group}{store}" if spec and spec.backup else group

    @property
    def copy_name(self) -> str | None:
        """Name of the Job that fills the group; None without one."""
        return copy_name(self.object_name, self.copy_spec.run) if self.copy_spec else None

    @property
    def copy_service_name(self) -> str:
        """Name of the Service by which a copy reaches the group's server."""
        return copy_service_name(self.object_name)

    @property
    def copy_image(self) -> str | None:
        """Image with the engine's programs: that of the server, or the official one; None if there is none."""
        version = self.variant.find_release(self.variant.default_version)
        official = f"{self.variant.image}:{version}" if self.variant.image else None
        return self.server_access.image or official

    @property
    def copy_memory(self) -> str | None:
        """Memory of the server, if a copy of the group loads its data into a second one."""
        scripts = self.engine.copy_scripts
        return self.server_access.memory if scripts and scripts.loads_source else None

    @property
    def copy_storage(self) -> str:
        """Size of the group's data, which some dumps write to the disk of the node."""
        spec = self.backup_spec
        own = spec.verify_storage if spec else None
        return own or self.server_kind.build_scratch_server(self.server_args, self.spec.server).storage

    @property
    def supports_copies(self) -> bool:
        """Whether the data of the group can be copied and saved."""
        return self.engine.copy_scripts is not None and self.engine.port is not None and self.copy_image is not None

    @property
    def backup_spec(self) -> BackupSpec | None:
        """The backups of the group, with the keys of the stack; None for no backups."""
        own, default = self.spec.backup, self.platform.backup
        if own is None:
            return default if self.supports_copies else None
        if own is False:
            return None
        return default.merge_keys(own) if default else own

    @property
    def backup_store(self) -> str | None:
        """Name of the store of the group's backups; None if `store` is missing and there is not exactly one."""
        spec, stores = self.backup_spec, list(self.platform.backup_stores)
        if spec and spec.store:
            return spec.store
        return stores[0] if len(stores) == 1 else None

    @property
    def repository(self) -> Repository | None:
        """The repository of the group's backups; None without backups."""
        if self.backup_spec is None or self.backup_store is None:
            return None
        path = "/".join((self.application, self.engine.name, self.original_name))
        return Repository(store=self.platform.backup_stores[self.backup_store], path=path)

    @property
    def supports_continuous_backup(self) -> bool:
        """Whether an operator runs the group's servers and can save each change."""
        cluster = self.engine.cluster
        return self.server_access.operated is not None and cluster is not None and cluster.has_continuous_backup

    @property
    def continuous_backup(self) -> ContinuousBackup | None:
        """What the operator saves in a folder next to the repository; None if it saves nothing."""
        spec, repository = self.backup_spec, self.repository
        if spec is None or repository is None or not (spec.continuous and self.supports_continuous_backup):
            return None
        bucket = repository.store.find_bucket(f"{repository.path}.continuous")
        if bucket is None or spec.keep.daily is None:
            return None
        schedule = build_cron("daily", f"{self.resource_name}-continuous")
        return ContinuousBackup(
            bucket=bucket,
            secret=self.backup_name,
            digest=repository.digest,
            schedule=schedule,
            days=spec.keep.daily,
        )

    @property
    def backup_name(self) -> str:
        """Name of the CronJob that saves the group."""
        return backup_name(self.object_name)

    @property
    def verification_name(self) -> str | None:
        """Name of the CronJob that verifies the backups; None without verification."""
        is_verified = self.repository is not None and self.backup_spec is not None and self.backup_spec.verify
        return verification_name(self.object_name) if is_verified else None

    @property
    def service_name(self) -> str:
        """Name of the Service."""
        return service_name(self.engine.name, self.group_name, is_primary=self.is_primary)

    @property
    def read_backend(self) -> ServiceBackend | None:
        """The target of the Service for reads; None without replicas that serve reads."""
        return self.server_access.operated.read_backend if self.server_access.operated else None

    @property
    def variant(self) -> Variant:
        """Server software of the group."""
        return self.engine.get_variant(self.spec.variant)

    @property
    def labels(self) -> Mapping[str, str]:
        """Labels of the group's objects."""
        return group_labels(self.application, self.engine.name, self.object_name)

    @property
    def server_kind(self) -> ServerKind[Any]:
        """Functions of the group's server kind."""
        return find_server_kind(self.spec.server)

    @cached_property
    def server_args(self) -> ServerArgs:
        """Arguments of the group's server kind."""
        return ServerArgs(
            resource_name=self.resource_name,
            object_name=self.object_name,
            config_location=self.config_location,
            application=self.application,
            group_name=self.original_name,
            namespace=self.namespace,
            labels=self.labels,
            engine=self.engine,
            variant=self.variant,
            password_version=self.spec.password_version,
            protect=self.protect,
            pod_labels=self.pod_labels,
            platform=self.platform,
            deleted_with=self.deleted_with,
        )

    @property
    def creation_args(self) -> ServerArgs:
        """Arguments of the group's server kind, with what depends on the access to the server."""
        return replace(self.server_args, is_filled=self.copy_spec is not None, continuous_backup=self.continuous_backup)

    @cached_property
    def server_access(self) -> ServerAccess:
        """How the application reaches the group's server."""
        return self.server_kind.resolve_access(self.server_args, self.spec.server)

    @property
    def connection_keys(self) -> tuple[str, ...]:
        """Keys of the connection Secret."""
        placeholder = None if self.server_access.password_source is None else ""
        return tuple(build_connection_data(self, placeholder, self.server_entries))

    @property
    def server_entries(self) -> Mapping[str, str]:
        """Entries of the connection Secret that only the running servers know, without values."""
        operated = self.server_access.operated
        return {CA_KEY: ""} if operated and operated.has_ca else {}

    @cached_property
    def variable_names(self) -> tuple[str, ...]:
        """Names of the group's environment variables."""
        keys = self.connection_keys
        return list_variable_names(self.engine.name, self.group_name, keys, is_primary=self.is_primary)

    @property
    def volume_mount(self) -> VolumeMount | None:
        """The volume claim that the application mounts; None if the application connects to a server."""
        if not self.server_access.mounted_by_application:
            return None
        return VolumeMount(claim=self.object_name, path=self.engine.mount_path(self.original_name))

    def list_objects(self) -> Iterator[PlannedObject]:
        """Yield the Kubernetes objects of the group."""
        yield PlannedObject(kind="Secret", name=self.object_name)
        volume = self.server_access.volume
        if volume and volume.has_claim:
            yield PlannedObject(
                kind="PersistentVolumeClaim",
                name=self.object_name,
                storage=volume.storage,
                storage_class=volume.storage_class,
            )
        yield from self.server_kind.list_objects(self.creation_args, self.spec.server)
        if self.server_access.backend:
            yield from list_service_objects(self.service_name, self.server_access.backend, self.object_name)
            if self.read_backend:
                yield PlannedObject(kind="Service", name=read_service_name(self.service_name))
            if self.copy_name:
                yield from list_copy_objects(self.copy_name, self.copy_service_name, self.server_access.backend)
        if self.repository:
            yield from list_backup_objects(self.backup_name, self.repository)
        if self.verification_name:
            yield from list_verification_objects(self.verification_name)

    @property
    def output_summary(self) -> GroupSummary:
        """The group in the stack output. It holds names only."""
        access, volume = self.server_access, self.server_access.requested_volume
        account = access.owner if access.account_is_managed else Account()
        server, copy = access.external_server_name, self.copy_spec
        copied: CopyState | None = {"source": self.source_description, "run": copy.run} if copy else None
        return {
            "kind": self.spec.server.kind,
            "variant": self.variant.name,
            "version": access.version,
            "series": self.variant.find_series(access.version) if access.version else None,
            "externalServer": server,
            "database": account.database,
            "username": account.username,
            "service": self.service_name if access.backend else None,
            "secret": self.object_name,
            "storage": volume.storage if volume else None,
            "storageClass": volume.storage_class if volume else None,
            "initScript": access.init_script_digest,
            "protect": self.protect,
            "passwordVersion": self.spec.password_version,
            "replicas": access.operated.replicas if access.operated else None,
            "copy": copied,
        }


class DatabaseGroup(pulumi.ComponentResource):
    """Component `database-groups:index:DatabaseGroup`.

    Resources: a RandomPassword, if the password is generated; the connection Secret; what the server kind creates; the
    copy that fills the group, if it has `from`; the Service with its EndpointSlice, if the group has a server; the
    backups. The Service waits for the copy.
    """

    connection: pulumi.Output[Mapping[str, str]]
    """Keys and values of the connection Secret; secret."""
    service_name: str | None
    """Name of the Service; None without a server."""
    secret: kubernetes.core.v1.Secret
    """The connection Secret."""
    secret_name: str
    """Name of the connection Secret."""
    copies: list[pulumi.Resource]
    """The Job that fills the group, if there is one. Before it has ended, no application may use the group."""
    args: DatabaseGroupArgs

    def __init__(
        self,
        args: DatabaseGroupArgs,
        opts: pulumi.ResourceOptions | None = None,
        *,
        source: "DatabaseGroup | None" = None,
    ) -> None:
        name = args.resource_name
        super().__init__(DATABASE_GROUP_TYPE, name, None, opts)
        access, stack = args.server_access, args.platform.stack
        self.args = args
        self.service_name = args.service_name if access.backend else None
        self.secret_name = args.object_name

        password = create_password(args.server_args.password_name, access.password_source, parent=self)
        prepared = args.server_kind.prepare_secret(args.creation_args, args.spec.server, password, self)
        values = pulumi.Output.all(password=password.value if password else None, entries=prepared.entries)
        self.connection = pulumi.Output.secret(
            values.apply(lambda all_: build_connection_data(args, all_["password"], all_["entries"]))
        )
        self.secret = kubernetes.core.v1.Secret(
            f"{name}-connection",
            metadata=object_metadata(
                args.object_name, args.namespace, args.labels, stack, password_version=args.spec.password_version
            ),
            type=f"servicebinding.io/{args.engine.name}",
            data=self.connection.apply(encode_secret_data),
            opts=pulumi.ResourceOptions.merge(pulumi.ResourceOptions(parent=self), prepared.opts),
        )
        credentials = ServerCredentials(account=access.account, secret=self.secret, password=password)
        args.server_kind.create_resources(args.creation_args, args.spec.server, credentials, self)
        self.copies = [_create_copy(self, source)] if args.copy_spec else []
        if access.backend:
            create_service(
                object_metadata(args.service_name, args.namespace, args.labels, stack),
                access.backend,
                application=args.application,
                endpoint_slice_name=args.object_name,
                port_name=args.engine.name,
                parent=self,
                depends_on=[self.secret, *self.copies],
            )
        if args.read_backend:
            read_service = read_service_name(args.service_name)
            create_service(
                object_metadata(read_service, args.namespace, args.labels, stack),
                args.read_backend,
                application=args.application,
                endpoint_slice_name=args.object_name,
                port_name=args.engine.name,
                parent=self,
                depends_on=[self.secret, *self.copies],
            )
        if backup := _build_backup_args(args):
            repository = create_backup(backup, parent=self, depends_on=[self.secret, *self.copies])
            if verification := _build_verification_args(args, backup):
                create_verification(verification, parent=self, depends_on=[repository])
        # The next update reads these outputs from the state, even if this update fails.
        outputs: GroupOutputs = {
            "application": args.application,
            "engine": args.engine.name,
            "group": args.group_name,
            **args.output_summary,
        }
        self.register_outputs({**outputs})


def _create_copy(group: DatabaseGroup, source: DatabaseGroup | None) -> pulumi.Resource:
    """Create the Job that fills a group from another one, or from a backup."""
    args, backend = group.args, group.args.server_access.backend
    name, spec, scripts = args.copy_name, args.copy_spec, args.engine.copy_scripts
    owner = source.args if source and scripts and scripts.loads_source else args
    if name is None or spec is None or owner.copy_image is None or backend is None:
        raise ValueError(args.path)
    policy = source.args.network_policy if source else None
    dependencies = [resource for resource in (group.secret, source, policy) if resource]
    copy_args = CopyArgs(
        application=args.application,
        path=".".join(args.config_location),
        name=name,
        service_name=args.copy_service_name,
        namespace=args.namespace,
        stack=args.platform.stack,
        engine=args.engine,
        variant=owner.variant,
        image=owner.copy_image,
        memory=(source.args if source else args).copy_memory,
        storage=(source.args if source else args).copy_storage,
        spec=spec,
        has_from=args.spec.copy_from is not None,
        source=_build_copy_source(args, source),
        target=_build_copy_end(group, args.copy_service_name),
        target_backend=backend,
        logs_failures=args.platform.failure_reporter is not None,
    )
    return create_copy(copy_args, parent=group, depends_on=dependencies)


def _build_copy_source(args: DatabaseGroupArgs, source: DatabaseGroup | None) -> CopySource:
    """Return what fills a group."""
    if source:
        return build_group_source(_build_copy_end(source, source.args.service_name))
    repository = args.source_repository
    if repository is None or args.copy_spec is None:
        raise ValueError(args.path)
    return build_backup_source(repository, args.copy_spec.backup or "", args.copy_spec.timeout_minutes)


def _build_backup_args(args: DatabaseGroupArgs) -> BackupArgs | None:
    """Return the backups of a group; None without backups."""
    spec, repository, image = args.backup_spec, args.repository, args.copy_image
    if spec is None or repository is None or image is None:
        return None
    return BackupArgs(
        application=args.application,
        path=".".join(args.config_location),
        name=args.backup_name,
        resource_name=args.resource_name,
        namespace=args.namespace,
        stack=args.platform.stack,
        engine=args.engine,
        variant=args.variant,
        image=image,
        memory=args.copy_memory,
        storage=args.copy_storage,
        spec=spec,
        repository=repository,
        connection_secret=args.object_name,
        connection_keys=args.connection_keys,
        tls=args.server_access.tls,
        logs_failures=args.platform.failure_reporter is not None,
    )


def _build_verification_args(args: DatabaseGroupArgs, backup: BackupArgs) -> VerificationArgs | None:
    """Return the verification of a group's backups; None without verification."""
    if args.verification_name is None:
        return None
    return VerificationArgs(
        backup=backup,
        name=args.verification_name,
        labels=scratch_server_labels(args.application, args.object_name),
        server=args.server_kind.build_scratch_server(args.server_args, args.spec.server),
    )


def _build_copy_end(group: DatabaseGroup, service: str) -> CopyEnd:
    """Return one end of a copy. `service` is the Service of a server in the cluster."""
    args, access = group.args, group.args.server_access
    hosts = access.backend.hosts if access.backend else ()
    address = pulumi.Output.from_input(args.namespace).apply(lambda namespace: f"{service}.{namespace}.svc")
    return CopyEnd(
        keys=args.connection_keys,
        connection=group.connection,
        address=hosts[0] if hosts else address,
        tls=access.tls,
    )


def build_connection_data(
    args: DatabaseGroupArgs, password: str | None, server_entries: Mapping[str, str] = MappingProxyType({})
) -> dict[str, str]:
    """Return the data of the connection Secret. `server_entries` are known only to the running server."""
    access, engine = args.server_access, args.engine
    connection = Connection(
        engine=engine.name,
        provider=args.variant.name,
        host=args.service_name if access.backend else None,
        port=access.backend.port if access.backend else None,
        username=access.account.username,
        password=password if engine.credential_key == PASSWORD_KEY else None,
        database=access.account.database,
        engine_keys={**_build_engine_data(engine.credential_key, access, password), **server_entries},
        tls=access.tls,
        tls_server_name=access.tls_server_name,
        replica_set=access.operated.replica_set if access.operated else None,
    )
    data = connection_secret_data(connection, engine.build_uri(connection))
    if args.read_backend:
        read_host = read_service_name(args.service_name)
        uri = engine.build_uri(replace(connection, host=read_host))
        data |= {READ_ADDRESS_KEY: read_host, READ_URI_KEY: uri}
    return data


def _build_engine_data(credential_key: str | None, access: ServerAccess, password: str | None) -> dict[str, str]:
    """Return the keys that not every engine has: the account's own, a token, and the CA certificates."""
    has_token = credential_key is not None and password is not None and credential_key != PASSWORD_KEY
    token = {f"{credential_key}": f"{password}"} if has_token else {}
    ca_bundle = {CA_KEY: access.ca_bundle.pem} if access.ca_bundle else {}
    return {**access.account.engine_keys, **token, **ca_bundle}
