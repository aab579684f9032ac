"""The kind `external`: a server outside the cluster. A database is made on it (`on:`), or is there already (`host:`)."""

from collections.abc import Iterator
from typing import Literal, Self

import pulumi
from pydantic import model_validator

from components.arguments import Arguments, Hosts, Name, Password, Port, Text
from components.credentials import Generated
from components.engines.engine import Account
from components.servers.server import Access, Credentials, ServerArgs, ServerKind
from components.service import Backend

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
    database: Text | None = None
    username: Text | None = None
    password: Password | None = None

    @model_validator(mode="after")
    def _one_way_in(self) -> Self:
        if (self.on is None) == (self.host is None):
            raise ValueError(
                "needs 'on' (one of the stack's servers, to make a database there) or 'host' (where a database exists already), "
                + ("and has neither" if self.on is None else "and has both")
            )
        given = [key for key in ("port", "database", "username", "password") if getattr(self, key) is not None]
        if self.on is not None and given:
            raise ValueError(f"has {', '.join(map(repr, given))} beside 'on'; on one of the stack's servers these are made by the program")
        if self.username is not None and self.password is None:
            raise ValueError("has a 'username' without a 'password'")
        return self


def _access(args: ServerArgs, spec: ExternalServer) -> Access:
    """A new account on one of the stack's servers, or the given one."""
    if spec.on is not None:
        server = args.platform.servers[spec.on].spec
        return Access(
            account=args.engine.account(args.application, args.group),
            password=Generated(rotation=args.rotation),
            backend=Backend(port=server.service_port, hosts=server.host),
            version=None,
        )
    return Access(
        account=Account(username=spec.username, database=spec.database or args.engine.default_database),
        password=spec.password,
        backend=Backend(port=spec.port or args.engine.port, hosts=spec.host or ()),
        version=None,
    )


def _mistakes(args: ServerArgs, spec: ExternalServer) -> Iterator[tuple[str, str]]:
    """A server that is not there or of another engine, and an account that the engine cannot do without."""
    if spec.on is not None:
        server = args.platform.servers.get(spec.on)
        if server is None:
            yield "on", f"{spec.on!r} is none of the stack's servers: {', '.join(sorted(args.platform.servers)) or 'there are none'}"
        elif server.spec.engine != args.engine.name:
            yield "on", f"{spec.on!r} is a server of {server.spec.engine}, and the group is of {args.engine.name}"
        return
    if spec.password is None and not args.engine.anonymous:
        yield "", f"has no 'username' and 'password', without which {args.engine.name} lets nobody in; or name one of the stack's servers with 'on'"
    if spec.password is not None and spec.username is None and not args.engine.nameless:
        yield "", "has a 'password' without a 'username'"
    if spec.database is None and args.engine.default_database is None:
        yield "", "has no 'database': the name of the one that exists there"


def _create(args: ServerArgs, spec: ExternalServer, credentials: Credentials, parent: pulumi.Resource) -> None:
    """Makes the account where the group is `on` a server; else nothing."""
    if spec.on is not None:
        args.platform.servers[spec.on].provision(
            args.resource_name,
            credentials.account,
            credentials.password,
            durable=args.platform.durable(parent),
            plain=pulumi.ResourceOptions(parent=parent, retain_on_delete=args.platform.production),
        )


EXTERNAL = ServerKind[ExternalServer](access=_access, create=_create, mistakes=_mistakes)
