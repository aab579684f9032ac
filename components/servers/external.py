"""The kind `external`: a server outside the cluster. A database is made on it (`on:`), or is there already (`host:`)."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Literal, Self

import pulumi
import pulumi_kubernetes as kubernetes
from pydantic import model_validator
from pydantic.alias_generators import to_camel

from components.engines.definition import Account
from components.external_servers import ExternalServerSpec
from components.hosts import Hosts
from components.passwords import GeneratedPassword
from components.platform import data_resource_options
from components.servers.kind import VERIFY_FULL, ServerAccess, ServerArgs, ServerCredentials, ServerKind
from components.service import ServiceBackend
from components.spec import DnsLabel, ExtensionName, NonEmptyStr, Port, Quantity, SecretText, SpecModel
from components.tls import CaBundleFile, TlsMode

EXISTING_ACCOUNT_KEYS = ("database", "username", "password", "token", "org", "bucket", "vhost", "volume")
PROVISIONED_ACCOUNT_KEYS = {"database", "username", "extensions", "tls"}
"""What may be said of an account that the program makes."""
SAFE_ACCOUNT_NAME_RE = re.compile(r"[a-z][a-z0-9_]*")
"""A name that no server needs quoted and no provider misreads."""

__all__ = ["EXTERNAL", "ExternalKindSpec"]


class ExternalKindSpec(SpecModel):
    """A server that exists outside the cluster."""

    kind: Literal["external"]
    provision_on: DnsLabel | None = None
    """One of the stack's `servers`, on which a database and a user are made."""
    host: Hosts | None = None
    """Where a server is whose database exists already: a host name, an IP address, or a list of these."""
    port: Port | None = None
    """The engine's own by default."""
    tls: TlsMode | None = None
    """What the application is told to do about TLS. Nothing by default: each client does as it does."""
    ca_file: CaBundleFile | None = None
    """The authorities that sign the server's certificate, for the application to check it by."""
    extensions: tuple[ExtensionName, ...] = ()
    """What is added to a database that is made on one of the stack's servers, in this order."""
    database: NonEmptyStr | None = None
    """The database that exists, or the name of the one to be made: `<application>_<group>` by default."""
    username: NonEmptyStr | None = None
    """The user who exists, or the name of the one to be made: `<application>_<group>` by default."""
    password: SecretText | None = None
    token: SecretText | None = None
    org: NonEmptyStr | None = None
    bucket: NonEmptyStr | None = None
    vhost: NonEmptyStr | None = None
    volume: NonEmptyStr | None = None
    storage_class: NonEmptyStr | None = None
    """A class that makes volumes on the server, of which the application gets one."""
    storage: Quantity | None = None
    """The size of that volume."""

    @model_validator(mode="after")
    def _validate_provision_on_or_host(self) -> Self:
        if (self.provision_on is None) == (self.host is None):
            raise ValueError(
                "needs 'on' (one of the stack's servers, to make a database there) or 'host' (where a database exists already), "
                + ("and has neither" if self.provision_on is None else "and has both")
            )
        given = [
            key
            for key in self.model_fields_set - {"kind", "on", "host"} - PROVISIONED_ACCOUNT_KEYS
            if getattr(self, key) is not None
        ]
        if self.provision_on is not None and given:
            raise ValueError(
                f"has {', '.join(map(repr, sorted(map(to_camel, given))))} beside 'on'; on one of the stack's servers these are the program's or the server's"
            )
        if self.host is not None and self.username is not None and self.password is None:
            raise ValueError("has a 'username' without a 'password'")
        if (self.storage_class is None) != (self.storage is None):
            raise ValueError("needs 'storageClass' and 'storage' together, for a volume on the server")
        return self


def _resolve_access(args: ServerArgs, spec: ExternalKindSpec) -> ServerAccess:
    """A new account on one of the stack's servers, or the given one."""
    if spec.provision_on is not None:
        server = args.platform.external_servers[spec.provision_on].spec
        default_account = args.engine.build_account(args.application, args.group_name)
        return ServerAccess(
            account=replace(
                default_account,
                username=spec.username or default_account.username,
                database=spec.database or default_account.database,
            ),
            password_source=GeneratedPassword(version=args.password_version),
            backend=ServiceBackend(port=server.service_port, hosts=server.host),
            external_server_name=spec.provision_on,
            extensions=spec.extensions,
            tls=spec.tls,
            ca_bundle=server.ca_file,
        )
    account_values = {
        **args.engine.existing_account_defaults,
        **{key: getattr(spec, key) for key in args.engine.existing_account_keys if getattr(spec, key) is not None},
    }
    secret = account_values.pop(args.engine.credential_key, None) if args.engine.credential_key else None
    return ServerAccess(
        account=Account(
            username=account_values.pop("username", None),
            database=account_values.pop("database", None),
            engine_keys=account_values,
        ),
        password_source=secret,
        backend=ServiceBackend(port=spec.port or args.engine.port or 0, hosts=spec.host or ()),
        tls=spec.tls,
        ca_bundle=spec.ca_file,
        mounted_by_application=spec.storage_class is not None,
    )


def _validate(args: ServerArgs, spec: ExternalKindSpec) -> Iterator[tuple[str, str]]:
    """A server that is not there or of another engine, and an account that the engine cannot do without."""
    if spec.provision_on is not None:
        server = args.platform.external_servers.get(spec.provision_on)
        if server is None:
            yield (
                "provisionOn",
                f"{spec.provision_on!r} is none of the stack's servers: {', '.join(sorted(args.platform.external_servers)) or 'there are none'}",
            )
        elif server.spec.engine != args.engine.name:
            yield (
                "provisionOn",
                f"{spec.provision_on!r} is a server of {server.spec.engine}, and the group is of {args.engine.name}",
            )
        else:
            yield from _validate_provisioned_account(args, spec, server.spec)
    elif args.engine.port is None:
        yield "kind", f"'external' is for servers: {args.engine.name} is a file, and can only be local"
    else:
        yield from _validate_existing_account(args, spec)


def _validate_existing_account(args: ServerArgs, spec: ExternalKindSpec) -> Iterator[tuple[str, str]]:
    """What an account that exists lacks, or has too much, for its engine."""
    for key in EXISTING_ACCOUNT_KEYS:
        if getattr(spec, key) is not None and key not in args.engine.existing_account_keys:
            yield (
                key,
                f"has no meaning for {args.engine.name}; it takes {', '.join(sorted(args.engine.existing_account_keys)) or 'none of these keys'}",
            )
    missing = [
        key for key, necessary in args.engine.existing_account_keys.items() if necessary and getattr(spec, key) is None
    ]
    if missing:
        yield (
            "",
            f"lacks {', '.join(map(repr, sorted(missing)))}, without which {args.engine.name} cannot be used"
            + ("; or name one of the stack's servers with 'on'" if args.engine.provisioner else ""),
        )
    if (
        spec.password is not None
        and spec.username is None
        and not args.engine.allows_password_without_username
        and "username" not in missing
    ):
        yield "", "has a 'password' without a 'username'"
    yield from _validate_tls(args, spec, spec.host or ())
    if spec.extensions:
        yield "extensions", "are made on one of the stack's servers only; name one with 'on'"
    if spec.storage_class is not None and not args.engine.supports_external_volume:
        yield "storageClass", f"has no meaning for {args.engine.name}, whose data is not had as a volume"


def _validate_provisioned_account(
    args: ServerArgs, spec: ExternalKindSpec, server: ExternalServerSpec
) -> Iterator[tuple[str, str]]:
    """What the names of an account to be made would be mistaken for, and what the server's engine does not have."""
    provisioning, account = args.engine.provisioner, _resolve_access(args, spec).account
    for key, name in (("database", account.database or ""), ("username", account.username or "")):
        if not SAFE_ACCOUNT_NAME_RE.fullmatch(name):
            yield (
                key,
                f"{name!r} is no name that is safe on every server: a letter, then lower-case letters, digits and '_', such as shop_main",
            )
        elif provisioning and re.fullmatch(provisioning.reserved_names_pattern, name):
            yield key, f"{name!r} is the server's own; choose another name"
    if account.username == server.administrator.username:
        yield "username", f"{account.username!r} is the administrator of {spec.provision_on!r}; choose another name"
    if spec.extensions and not (provisioning and provisioning.supports_extensions):
        yield "extensions", f"have no meaning for {args.engine.name}"
    if len(set(spec.extensions)) < len(spec.extensions):
        yield "extensions", "name one twice"
    yield from _validate_tls(args, spec, server.host)


def _validate_tls(args: ServerArgs, spec: ExternalKindSpec, hosts: Sequence[str]) -> Iterator[tuple[str, str]]:
    """What a URI cannot say of TLS."""
    if not args.engine.supports_tls_in_uri:
        yield from (
            (key, f"has no meaning for {args.engine.name}, whose clients are told of no TLS")
            for key in ("tls", "ca")
            if getattr(spec, key) is not None
        )
    elif spec.tls == VERIFY_FULL and len(hosts) > 1:
        yield "tls", f"'{VERIFY_FULL}' needs one host, whose name is in the certificate, and there are {len(hosts)}"


def _create_resources(
    args: ServerArgs, spec: ExternalKindSpec, credentials: ServerCredentials, parent: pulumi.Resource
) -> None:
    """Makes the account where the group is `on` a server, and a volume where one is to be had of it."""
    if spec.provision_on is not None:
        args.platform.external_servers[spec.provision_on].provision(
            args.resource_name,
            credentials.account,
            credentials.password,
            extensions=spec.extensions,
            data_opts=data_resource_options(parent, protected=args.protected),
            opts=pulumi.ResourceOptions(parent=parent, retain_on_delete=args.protected),
        )
    if spec.storage_class is not None:
        volume: Any = {
            "accessModes": ["ReadWriteMany"],
            "storageClassName": spec.storage_class,
            "resources": {"requests": {"storage": spec.storage}},
        }
        metadata: Any = {"name": args.object_name, "namespace": args.namespace, "labels": args.labels}
        kubernetes.core.v1.PersistentVolumeClaim(
            f"{args.resource_name}-volume",
            metadata=metadata,
            spec=volume,
            opts=data_resource_options(parent, protected=args.protected),
        )


EXTERNAL = ServerKind[ExternalKindSpec](
    resolve_access=_resolve_access, create_resources=_create_resources, validate=_validate
)
