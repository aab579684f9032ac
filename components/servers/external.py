"""The kind `external`: a server outside the cluster.

With `provisionOn` the program creates a database and a user on the server. With `host` the database exists already.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from operator import attrgetter
from typing import Any, ClassVar, Literal, Self

import pulumi
import pulumi_kubernetes as kubernetes
from pydantic import model_validator
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

from components.engines.definition import Account
from components.external_servers import ExternalServerSpec
from components.hosts import Hosts
from components.passwords import GeneratedPassword, Password, create_password, list_passwords_in_turn
from components.persisted.names import second_account_name
from components.protection import build_data_resource_options, is_retained
from components.servers.kind import (
    PreparedSecret,
    ScratchServer,
    ServerAccess,
    ServerArgs,
    ServerCredentials,
    ServerKind,
    VolumeRequest,
)
from components.servers.stateful_set import StatefulSetServerSpec, build_scratch_server
from components.service import ServiceBackend
from components.spec import (
    DnsLabel,
    ExtensionName,
    NonEmptyStr,
    Port,
    Quantity,
    SecretText,
    SpecModel,
    StorageClassName,
    StrictBool,
)
from components.tls import VERIFY_FULL, CaBundleFile, TlsMode

__all__ = ["EXTERNAL", "ExternalKindSpec"]

EXISTING_ACCOUNT_KEYS = ("database", "username", "password", "token", "org", "bucket", "vhost", "volume")
PROVISIONED_ACCOUNT_KEYS = {"kind", "provision_on", "adopt", "database", "username", "extensions", "tls"}
"""Keys that a group with `provisionOn` supports."""
SAFE_ACCOUNT_NAME_RE = re.compile(r"[a-z][a-z0-9_]*")
"""Names that need no quotes on any server and that every provider passes on unchanged."""


class ExternalKindSpec(SpecModel):
    """A server outside the cluster: set `provisionOn` or `host`."""

    kind: Literal["external"]
    """Server kind."""
    provision_on: DnsLabel | None = None
    """Entry of `externalServers` on which the program creates the database and its user. Excludes `host`."""
    adopt: StrictBool = False
    """Whether the program takes over a database that exists on the server, with its user. Requires `provisionOn` and
    `preflight`. The user gets a new password. Default: `false`."""
    host: Hosts | None = None
    """Server with an existing database: a host name, an IP address, or a list of IP addresses that all accept writes.
    Excludes `provisionOn`."""
    port: Port | None = None
    """Port of the server at `host`. Default: the engine's port."""
    tls: TlsMode | None = None
    """TLS mode in the application's URI. Default: not set, the client decides."""
    ca_file: CaBundleFile | None = None
    """Path of a PEM file with the CA certificates that sign the server's certificate. The application gets its content.
    Default: none."""
    extensions: tuple[ExtensionName, ...] = ()
    """Extensions that the program creates in a provisioned database, in this order. Default: none."""
    database: NonEmptyStr | None = None
    """Existing database, or the name of the database to create. Default: `<application>_<group>` with `provisionOn`."""
    username: NonEmptyStr | None = None
    """Existing user, or the name of the user to create. Default: `<application>_<group>` with `provisionOn`."""
    password: SecretText | None = None
    """Password of the existing user. Encrypt it: `pulumi config set --secret --path`."""
    token: SecretText | None = None
    """Token of an existing InfluxDB account. Encrypt it: `pulumi config set --secret --path`."""
    org: NonEmptyStr | None = None
    """Organization of the existing InfluxDB bucket."""
    bucket: NonEmptyStr | None = None
    """Existing InfluxDB bucket."""
    vhost: NonEmptyStr | None = None
    """Existing RabbitMQ virtual host. Default: `/`."""
    volume: NonEmptyStr | None = None
    """Existing GlusterFS volume."""
    storage_class: StorageClassName | None = None
    """Storage class that provides a volume on the server. The application gets a claim. Requires `storage`."""
    storage: Quantity | None = None
    """Size of that volume. Requires `storageClass`."""

    @model_validator(mode="after")
    def _validate_provision_on_or_host(self) -> Self:
        if (self.provision_on is None) == (self.host is None):
            raise PydanticCustomError(
                "provision_on_or_host",
                "set `provisionOn` (create a database on a server of `externalServers`) or `host` (use an existing"
                " database){both}",
                {"both": "" if self.host is None else ", not both"},
            )
        if self.provision_on is not None:
            excluded = sorted(key for key in self.model_fields_set - PROVISIONED_ACCOUNT_KEYS if getattr(self, key))
            if excluded:
                raise PydanticCustomError(
                    "excluded_keys",
                    "remove {keys}: with `provisionOn`, the program creates the password, and `externalServers` holds"
                    " the address",
                    {"keys": ", ".join(f"`{to_camel(key)}`" for key in excluded)},
                )
        if self.host is not None and self.username is not None and self.password is None:
            raise PydanticCustomError("missing_password", "`username` is set without `password`; set both")
        return self


def _list_passwords(args: ServerArgs) -> tuple[GeneratedPassword, ...]:
    """Return the password of each account that a provisioned database has."""
    if _has_second_account(args):
        return list_passwords_in_turn(args.password_version)
    return (GeneratedPassword(args.password_version),)


def _has_second_account(args: ServerArgs) -> bool:
    return args.engine.provisioner is not None and args.engine.provisioner.accounts_take_turns


def _resolve_access(args: ServerArgs, spec: ExternalKindSpec) -> ServerAccess:
    """Return the access to a provisioned database or to an existing one."""
    if spec.provision_on is not None:
        server = args.platform.external_servers[spec.provision_on].spec
        default_account = args.engine.build_account(args.application, args.group_name)
        owner = spec.username or default_account.username or ""
        usernames = (owner, second_account_name(owner)) if _has_second_account(args) else (owner,)
        current = max(_list_passwords(args), key=attrgetter("version"))
        return ServerAccess(
            account=replace(
                default_account,
                username=usernames[current.is_of_second_account],
                database=spec.database or default_account.database,
            ),
            account_is_managed=True,
            password_source=current,
            usernames=usernames,
            backend=ServiceBackend(port=server.service_port, hosts=server.host),
            external_server_name=spec.provision_on,
            adopts_database=spec.adopt,
            extensions=spec.extensions,
            tls=spec.tls,
            ca_bundle=server.ca_file,
        )
    engine = args.engine
    user_values = {key: getattr(spec, key) for key in engine.existing_account.keys}
    account_values = {
        **engine.existing_account.defaults,
        **{key: value for key, value in user_values.items() if value is not None},
    }
    password = account_values.pop(engine.credential_key, None) if engine.credential_key else None
    has_volume = spec.storage and spec.storage_class
    volume = VolumeRequest(storage=spec.storage or "", storage_class=spec.storage_class) if has_volume else None
    return ServerAccess(
        account=Account(
            username=account_values.pop("username", None),
            database=account_values.pop("database", None),
            engine_keys=account_values,
        ),
        account_is_managed=False,
        password_source=password,
        backend=ServiceBackend(port=spec.port or engine.port or 0, hosts=spec.host or ()),
        tls=spec.tls,
        ca_bundle=spec.ca_file,
        volume=volume,
        mounted_by_application=volume is not None,
    )


def _validate(args: ServerArgs, spec: ExternalKindSpec) -> Iterator[tuple[str, str]]:
    """Return an error for an unknown or unsuitable server, and for keys that the engine does not support."""
    if spec.provision_on is None:
        if args.engine.port is None:
            yield "kind", f"not supported for {args.engine.name}, which has no server; use `kind: local`"
        else:
            yield from _validate_existing_account(args, spec)
        return
    servers = args.platform.external_servers
    server = servers.get(spec.provision_on)
    if server is None:
        defined = f"; defined: {', '.join(sorted(servers))}" if servers else ""
        yield (
            "provisionOn",
            f"server {spec.provision_on!r} is not defined; define it in `database-groups:externalServers`{defined}",
        )
    elif server.spec.engine != args.engine.name:
        yield (
            "provisionOn",
            f"server {spec.provision_on!r} runs {server.spec.engine}, not {args.engine.name}; use a server of the"
            " group's engine",
        )
    else:
        yield from _validate_provisioned_account(args, spec, server.spec)


def _validate_existing_account(args: ServerArgs, spec: ExternalKindSpec) -> Iterator[tuple[str, str]]:
    """Return an error for each missing and each unsupported key of an existing account."""
    engine = args.engine
    supported = engine.existing_account.keys
    for key in EXISTING_ACCOUNT_KEYS:
        if getattr(spec, key) is not None and key not in supported:
            remedy = f"supported: {', '.join(sorted(supported))}" if supported else "remove it"
            yield key, f"not supported for {engine.name}; {remedy}"
    missing = sorted(key for key in engine.existing_account.required if getattr(spec, key) is None)
    if missing:
        alternative = " (to create a database instead, use `provisionOn`)" if engine.provisioner else ""
        yield "", f"missing keys for an existing database: {', '.join(missing)}{alternative}"
    has_nameless_password = spec.password is not None and spec.username is None and "username" not in missing
    if has_nameless_password and not engine.existing_account.allows_password_without_username:
        yield "", "`password` is set without `username`; set both"
    pattern = engine.existing_account.database_pattern
    if spec.database is not None and pattern and not re.fullmatch(pattern, spec.database):
        yield "database", f'invalid database {spec.database!r}; {engine.name} has numbers, for example "0"'
    yield from _validate_tls(args, spec, spec.host or ())
    if spec.extensions:
        yield "extensions", "supported with `provisionOn` only; create the extensions on the server yourself"
    if spec.adopt:
        yield "adopt", "supported with `provisionOn` only; remove it"
    volume_keys = {"storageClass": spec.storage_class, "storage": spec.storage}
    if not engine.supports_external_volume:
        unsupported = [key for key, value in volume_keys.items() if value is not None]
        yield from ((key, f"not supported for external {engine.name} servers; remove it") for key in unsupported)
    elif (spec.storage_class is None) != (spec.storage is None):
        yield "", "set `storageClass` and `storage` together"


def _validate_provisioned_account(
    args: ServerArgs, spec: ExternalKindSpec, server: ExternalServerSpec
) -> Iterator[tuple[str, str]]:
    """Return an error for names that the server reserves, and for features that the engine does not support."""
    provisioner, access = args.engine.provisioner, _resolve_access(args, spec)
    for key, name in (("database", access.owner.database or ""), ("username", access.owner.username or "")):
        if not SAFE_ACCOUNT_NAME_RE.fullmatch(name):
            rule = "start with a letter, then use lower-case letters, digits and '_', for example `shop_main`"
            yield key, f"invalid name {name!r}; {rule}"
        elif args.engine.is_reserved_name(name):
            yield key, f"the server reserves the name {name!r}; set another `{key}`"
    if server.administrator.username in access.usernames:
        name = server.administrator.username
        yield "username", f"{name!r} is the administrator of {spec.provision_on!r}; use another name"
    if spec.extensions and not (provisioner and provisioner.supports_extensions):
        yield "extensions", f"not supported for {args.engine.name}; remove it"
    if len(set(spec.extensions)) < len(spec.extensions):
        yield "extensions", "the same extension occurs twice; remove one"
    yield from _validate_tls(args, spec, server.host)


def _validate_tls(args: ServerArgs, spec: ExternalKindSpec, hosts: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Return an error for TLS settings that the engine's URI cannot express."""
    if not args.engine.supports_tls_in_uri:
        message = f"not supported for {args.engine.name}, whose URI has no TLS parameter; remove it"
        values = {"tls": spec.tls, "caFile": spec.ca_file}
        yield from ((key, message) for key, value in values.items() if value is not None)
    elif spec.tls == VERIFY_FULL and len(hosts) > 1:
        yield "tls", f"{VERIFY_FULL} needs one host name, and the server has {len(hosts)} hosts; use require"


def _create_account(
    args: ServerArgs, spec: ExternalKindSpec, password: Password | None, parent: pulumi.Resource
) -> PreparedSecret:
    """Create the database and its accounts with `provisionOn`."""
    if spec.provision_on is None or password is None:
        return PreparedSecret()
    access = _resolve_access(args, spec)
    passwords = [
        password if source == access.password_source else create_password(args.password_name, source, parent=parent)
        for source in _list_passwords(args)
    ]
    opts = args.platform.external_servers[spec.provision_on].provision(
        args.resource_name,
        access.usernames[0],
        access.account,
        password,
        passwords=[created for created in passwords if created],
        extensions=spec.extensions,
        data_opts=build_data_resource_options(parent, args.protect),
        opts=pulumi.ResourceOptions(parent=parent, retain_on_delete=is_retained(args.protect)),
    )
    return PreparedSecret(opts=opts)


def _create_resources(
    args: ServerArgs, spec: ExternalKindSpec, _credentials: ServerCredentials, parent: pulumi.Resource
) -> None:
    """Create the volume claim with `storageClass`."""
    if spec.storage_class is not None:
        claim: Any = {
            "accessModes": ["ReadWriteMany"],
            "storageClassName": spec.storage_class,
            "resources": {"requests": {"storage": spec.storage}},
        }
        kubernetes.core.v1.PersistentVolumeClaim(
            f"{args.resource_name}-volume",
            metadata=args.metadata,
            spec=claim,
            opts=build_data_resource_options(parent, args.protect, deleted_with=args.deleted_with),
        )


class _ScratchServerSpec(StatefulSetServerSpec):
    """A server that verifies a backup. The size of the external server is not known."""

    default_storage: ClassVar[str] = "10Gi"
    default_memory: ClassVar[str] = "2Gi"


def _build_scratch_server(args: ServerArgs, _spec: ExternalKindSpec) -> ScratchServer:
    """Describe a server of the official image with the default release series."""
    return build_scratch_server(args, _ScratchServerSpec())


EXTERNAL = ServerKind[ExternalKindSpec](
    resolve_access=_resolve_access,
    create_resources=_create_resources,
    validate=_validate,
    prepare_secret=_create_account,
    build_scratch_server=_build_scratch_server,
)
