"""The external servers that a stack depends on, for the checks before an update."""

from collections.abc import Iterator

from pydantic import SecretStr

from components.database_group import DatabaseGroupArgs
from components.external_servers import ExternalServerSpec
from preflight.models import Endpoint, PlannedDatabase
from stacks.config import Stack
from stacks.errors import format_path
from stacks.previous_state import PreviousState

__all__ = ["list_endpoints"]


def list_endpoints(stack: Stack, previous: PreviousState) -> Iterator[Endpoint]:
    """Yield every address outside the cluster to which the program or an application connects."""
    groups = [group for application in stack.applications for group in application.database_groups]
    for name, server in stack.spec.external_servers.items():
        planned = (database for group in groups if (database := _find_planned_database(group, name, previous)))
        yield from _list_administrator_endpoints(("externalServers", name), server, tuple(planned))
    for group in groups:
        yield from _list_existing_account_endpoints(group)


def _list_administrator_endpoints(
    location: tuple[str, ...], server: ExternalServerSpec, planned: tuple[PlannedDatabase, ...]
) -> Iterator[Endpoint]:
    """Yield the administrator's endpoint, and the server's other addresses if the administrator has no own host."""
    host, port = server.administrator_endpoint
    account = {"username": server.administrator.username, "password": server.administrator.password.get_secret_value()}
    ca_file = server.ca_file.path if server.ca_file else None
    yield Endpoint(
        path=format_path(location),
        engine=server.engine,
        host=host,
        port=port,
        tls=server.tls,
        ca_file=ca_file,
        account=account,
        is_administrator=True,
        planned_databases=planned,
    )
    path = format_path((*location, "host"))
    for other in server.host[1:] if server.administrator.host is None else ():
        yield Endpoint(
            path=path, engine=server.engine, host=other, port=port, tls=server.tls, ca_file=ca_file, account=account
        )


def _find_planned_database(group: DatabaseGroupArgs, server: str, previous: PreviousState) -> PlannedDatabase | None:
    """Return the database that the update will create for a group on a server; None if it exists already."""
    access = group.server_access
    application = previous.get(group.application)
    databases = application["databases"].get(group.engine.name, {}) if application else {}
    old = databases.get(group.group_name)
    if access.external_server_name != server or (old and old.get("externalServer") == server):
        return None
    return PlannedDatabase(
        path=format_path(group.config_location),
        username=access.account.username or "",
        database=access.account.database or "",
        extensions=access.extensions,
    )


def _list_existing_account_endpoints(group: DatabaseGroupArgs) -> Iterator[Endpoint]:
    """Yield the addresses of a server with an existing account."""
    access, engine = group.server_access, group.engine
    if access.account_is_managed or access.backend is None:
        return
    # The source of an unmanaged account's password is the password itself; the type also allows a generated one.
    credential = {}
    if isinstance(access.password_source, SecretStr) and engine.credential_key:
        credential = {engine.credential_key: access.password_source.get_secret_value()}
    for host in access.backend.hosts:
        yield Endpoint(
            path=format_path((*group.config_location, "server")),
            engine=engine.name,
            host=host,
            port=access.backend.port,
            tls=access.tls,
            ca_file=access.ca_bundle.path if access.ca_bundle else None,
            account={**access.account.secret_entries(), **credential},
        )
