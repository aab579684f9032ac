"""The kind `external`: a server outside the cluster. A database is made on it (`on:`), or is there already (`host:`)."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Literal, Self

import pulumi
import pulumi_kubernetes as kubernetes
from pydantic import model_validator
from pydantic.alias_generators import to_camel

from components.arguments import Arguments, CertificateFile, Extension, Hosts, Name, Password, Port, Size, Text, Tls
from components.credentials import Generated
from components.engines.engine import Account
from components.platform import durable
from components.provisioning import ProvisioningServerSpec
from components.servers.server import VERIFY_FULL, Access, Credentials, ServerArgs, ServerKind
from components.service import Backend

ACCOUNT_KEYS = ("database", "username", "password", "token", "org", "bucket", "vhost", "volume")
CHOSEN_KEYS = {"database", "username", "extensions", "tls"}
"""What may be said of an account that the program makes."""
ACCOUNT_NAME = re.compile(r"[a-z][a-z0-9_]*")
"""A name that no server needs quoted and no provider misreads."""

__all__ = ["EXTERNAL", "ExternalServer"]


class ExternalServer(Arguments):
    """A server that exists outside the cluster."""

    kind: Literal["external"]
    on: Name | None = None
    """One of the stack's `servers`, on which a database and a user are made."""
    host: Hosts | None = None
    """Where a server is whose database exists already: a host name, an IP address, or a list of these."""
    port: Port | None = None
    """The engine's own by default."""
    tls: Tls | None = None
    """What the application is told to do about TLS. Nothing by default: each client does as it does."""
    ca: CertificateFile | None = None
    """The authorities that sign the server's certificate, for the application to check it by."""
    extensions: tuple[Extension, ...] = ()
    """What is added to a database that is made on one of the stack's servers, in this order."""
    database: Text | None = None
    """The database that exists, or the name of the one to be made: `<application>_<group>` by default."""
    username: Text | None = None
    """The user who exists, or the name of the one to be made: `<application>_<group>` by default."""
    password: Password | None = None
    token: Password | None = None
    org: Text | None = None
    bucket: Text | None = None
    vhost: Text | None = None
    volume: Text | None = None
    storage_class: Text | None = None
    """A class that makes volumes on the server, of which the application gets one."""
    storage: Size | None = None
    """The size of that volume."""

    @model_validator(mode="after")
    def _one_way_in(self) -> Self:
        if (self.on is None) == (self.host is None):
            raise ValueError(
                "needs 'on' (one of the stack's servers, to make a database there) or 'host' (where a database exists already), "
                + ("and has neither" if self.on is None else "and has both")
            )
        given = [key for key in self.model_fields_set - {"kind", "on", "host"} - CHOSEN_KEYS if getattr(self, key) is not None]
        if self.on is not None and given:
            raise ValueError(
                f"has {', '.join(map(repr, sorted(map(to_camel, given))))} beside 'on'; on one of the stack's servers these are the program's or the server's"
            )
        if self.host is not None and self.username is not None and self.password is None:
            raise ValueError("has a 'username' without a 'password'")
        if (self.storage_class is None) != (self.storage is None):
            raise ValueError("needs 'storageClass' and 'storage' together, for a volume on the server")
        return self


def _access(args: ServerArgs, spec: ExternalServer) -> Access:
    """A new account on one of the stack's servers, or the given one."""
    if spec.on is not None:
        server = args.platform.servers[spec.on].spec
        usual = args.engine.account(args.application, args.group)
        return Access(
            account=replace(usual, username=spec.username or usual.username, database=spec.database or usual.database),
            password=Generated(rotation=args.rotation),
            backend=Backend(port=server.service_port, hosts=server.host),
            server=spec.on,
            extensions=spec.extensions,
            tls=spec.tls,
            ca=server.ca,
        )
    told = {**args.engine.given_defaults, **{key: getattr(spec, key) for key in args.engine.given if getattr(spec, key) is not None}}
    secret = told.pop(args.engine.credential, None) if args.engine.credential else None
    return Access(
        account=Account(username=told.pop("username", None), database=told.pop("database", None), extra=told),
        password=secret,
        backend=Backend(port=spec.port or args.engine.port or 0, hosts=spec.host or ()),
        tls=spec.tls,
        ca=spec.ca,
        mounted=spec.storage_class is not None,
    )


def _mistakes(args: ServerArgs, spec: ExternalServer) -> Iterator[tuple[str, str]]:
    """A server that is not there or of another engine, and an account that the engine cannot do without."""
    if spec.on is not None:
        server = args.platform.servers.get(spec.on)
        if server is None:
            yield "on", f"{spec.on!r} is none of the stack's servers: {', '.join(sorted(args.platform.servers)) or 'there are none'}"
        elif server.spec.engine != args.engine.name:
            yield "on", f"{spec.on!r} is a server of {server.spec.engine}, and the group is of {args.engine.name}"
        else:
            yield from _tenant_mistakes(args, spec, server.spec)
    elif args.engine.port is None:
        yield "kind", f"'external' is for servers: {args.engine.name} is a file, and can only be local"
    else:
        yield from _given_mistakes(args, spec)


def _given_mistakes(args: ServerArgs, spec: ExternalServer) -> Iterator[tuple[str, str]]:
    """What an account that exists lacks, or has too much, for its engine."""
    for key in ACCOUNT_KEYS:
        if getattr(spec, key) is not None and key not in args.engine.given:
            yield key, f"has no meaning for {args.engine.name}; it takes {', '.join(sorted(args.engine.given)) or 'none of these keys'}"
    missing = [key for key, necessary in args.engine.given.items() if necessary and getattr(spec, key) is None]
    if missing:
        yield (
            "",
            f"lacks {', '.join(map(repr, sorted(missing)))}, without which {args.engine.name} cannot be used"
            + ("; or name one of the stack's servers with 'on'" if args.engine.provisioning else ""),
        )
    if spec.password is not None and spec.username is None and not args.engine.nameless and "username" not in missing:
        yield "", "has a 'password' without a 'username'"
    yield from _tls_mistakes(args, spec, spec.host or ())
    if spec.extensions:
        yield "extensions", "are made on one of the stack's servers only; name one with 'on'"
    if spec.storage_class is not None and not args.engine.claimable:
        yield "storageClass", f"has no meaning for {args.engine.name}, whose data is not had as a volume"


def _tenant_mistakes(args: ServerArgs, spec: ExternalServer, server: ProvisioningServerSpec) -> Iterator[tuple[str, str]]:
    """What the names of an account to be made would be mistaken for, and what the server's engine does not have."""
    provisioning, account = args.engine.provisioning, _access(args, spec).account
    for key, name in (("database", account.database or ""), ("username", account.username or "")):
        if not ACCOUNT_NAME.fullmatch(name):
            yield key, f"{name!r} is no name that is safe on every server: a letter, then lower-case letters, digits and '_', such as shop_main"
        elif provisioning and re.fullmatch(provisioning.reserved, name):
            yield key, f"{name!r} is the server's own; choose another name"
    if account.username == server.administrator.username:
        yield "username", f"{account.username!r} is the administrator of {spec.on!r}; choose another name"
    if spec.extensions and not (provisioning and provisioning.extensions):
        yield "extensions", f"have no meaning for {args.engine.name}"
    if len(set(spec.extensions)) < len(spec.extensions):
        yield "extensions", "name one twice"
    yield from _tls_mistakes(args, spec, server.host)


def _tls_mistakes(args: ServerArgs, spec: ExternalServer, hosts: Sequence[str]) -> Iterator[tuple[str, str]]:
    """What a URI cannot say of TLS."""
    if not args.engine.tls:
        yield from (
            (key, f"has no meaning for {args.engine.name}, whose clients are told of no TLS") for key in ("tls", "ca") if getattr(spec, key) is not None
        )
    elif spec.tls == VERIFY_FULL and len(hosts) > 1:
        yield "tls", f"'{VERIFY_FULL}' needs one host, whose name is in the certificate, and there are {len(hosts)}"


def _create(args: ServerArgs, spec: ExternalServer, credentials: Credentials, parent: pulumi.Resource) -> None:
    """Makes the account where the group is `on` a server, and a volume where one is to be had of it."""
    if spec.on is not None:
        args.platform.servers[spec.on].provision(
            args.resource_name,
            credentials.account,
            credentials.password,
            extensions=spec.extensions,
            durable=durable(parent, protected=args.protected),
            plain=pulumi.ResourceOptions(parent=parent, retain_on_delete=args.protected),
        )
    if spec.storage_class is not None:
        volume: Any = {"accessModes": ["ReadWriteMany"], "storageClassName": spec.storage_class, "resources": {"requests": {"storage": spec.storage}}}
        metadata: Any = {"name": args.name, "namespace": args.namespace, "labels": args.labels}
        kubernetes.core.v1.PersistentVolumeClaim(f"{args.resource_name}-volume", metadata=metadata, spec=volume, opts=durable(parent, protected=args.protected))


EXTERNAL = ServerKind[ExternalServer](access=_access, create=_create, mistakes=_mistakes)
