"""The external servers that a stack depends on, for the checks before an update."""

from collections.abc import Iterator
from typing import cast

import pulumi
from pydantic import SecretStr

from components.database_group import DatabaseGroupArgs
from components.external_servers import ExternalServerSpec
from components.persisted.names import second_account_name
from components.persisted.outputs import GroupState, RecordedDatabase
from preflight.models import Endpoint, PlannedDatabase, ProvisionedDatabase
from stacks.config import Stack
from stacks.errors import format_path
from stacks.previous_state import PreviousState

__all__ = ["list_endpoints", "require_no_adoption"]


def list_endpoints(stack: Stack, previous: PreviousState) -> Iterator[Endpoint]:
    """Yield every address outside the cluster to which the program or an application connects."""
    groups = [group for application in stack.applications for group in application.database_groups]
    for name, server in stack.spec.external_servers.items():
        planned = (found for group in groups if (found := _find_planned_database(group, name, previous)))
        provisioned = (recorded for group in groups if (recorded := _find_provisioned_database(group, name, previous)))
        location = ("externalServers", name)
        yield from _list_administrator_endpoints(location, server, tuple(planned), tuple(provisioned))
    for group in groups:
        yield from _list_existing_account_endpoints(group)


def require_no_adoption(stack: Stack, previous: PreviousState) -> None:
    """Raise pulumi.RunError if a database must be adopted. Only a check shows what exists on its server."""
    for group in (group for application in stack.applications for group in application.database_groups):
        if _is_to_be_adopted(group, previous):
            path = format_path((*group.config_location, "server", "adopt"))
            raise pulumi.RunError(f"{path}: not supported with `preflight: false`; remove one of them")


def _list_administrator_endpoints(
    location: tuple[str, ...],
    server: ExternalServerSpec,
    planned: tuple[PlannedDatabase, ...],
    provisioned: tuple[ProvisionedDatabase, ...],
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
        provisioned_databases=provisioned,
    )
    path = format_path((*location, "host"))
    for other in server.host[1:] if server.administrator.host is None else ():
        yield Endpoint(
            path=path, engine=server.engine, host=other, port=port, tls=server.tls, ca_file=ca_file, account=account
        )


def _find_planned_database(group: DatabaseGroupArgs, server: str, previous: PreviousState) -> PlannedDatabase | None:
    """Return the database that the update will create for a group on a server; None if it exists already."""
    access, old = group.server_access, _get_previous_group(group, previous)
    is_deployed = old is not None and old.get("externalServer") == server
    if access.external_server_name != server or is_deployed or access.adopts_database:
        return None
    return PlannedDatabase(
        path=format_path(group.config_location),
        username=access.owner.username or "",
        database=access.account.database or "",
        extensions=access.extensions,
    )


def _find_provisioned_database(
    group: DatabaseGroupArgs, server: str, previous: PreviousState
) -> ProvisionedDatabase | None:
    """Return the database that an earlier update created for a group on a server, or the one that this update adopts.

    None if there is none.
    """
    access, record = group.server_access, _get_record(group, previous)
    if access.external_server_name == server and _is_to_be_adopted(group, previous):
        return ProvisionedDatabase(
            path=format_path(group.config_location),
            username=access.owner.username or "",
            database=access.account.database or "",
            extensions=access.extensions,
            adopt=True,
            is_database_in_state=False,
            is_user_in_state=bool(record and record["isUserInState"]),
        )
    if record is None or not access.external_server_name == record["externalServer"] == server:
        return None
    return ProvisionedDatabase(
        path=format_path(group.config_location),
        username=record["username"],
        second_username=second_account_name(record["username"]),
        database=record["database"],
        extensions=access.extensions,
        recreate=group.spec.recreate,
        is_recorded=record["isRecorded"],
        is_database_in_state=record["isDatabaseInState"],
        is_user_in_state=record["isUserInState"],
    )


def _is_to_be_adopted(group: DatabaseGroupArgs, previous: PreviousState) -> bool:
    """Return whether no earlier update has taken over the group's database."""
    record = _get_record(group, previous)
    return group.server_access.adopts_database and not (
        record and (record["isRecorded"] or record["isDatabaseInState"])
    )


def _get_record(group: DatabaseGroupArgs, previous: PreviousState) -> RecordedDatabase | None:
    """Return the database that the program created for the group; None if there is none."""
    old = _get_previous_group(group, previous)
    return old.get("recorded") if old else None


def _get_previous_group(group: DatabaseGroupArgs, previous: PreviousState) -> GroupState | None:
    """Return the group at the last update, whatever its name was."""
    application = previous.get(group.application)
    databases = application["databases"].get(group.engine.name, {}) if application else {}
    found = (old for old in databases.values() if old["secret"] == group.object_name)
    return cast("GroupState | None", next(found, None))


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
