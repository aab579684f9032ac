"""Which external servers a stack depends on, as preflight checks them; and `python -m stacks.reachability STACK`, which does it alone."""

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, cast

import pulumi

from components.credentials import Generated
from components.database_group import DatabaseGroupArgs
from components.provisioning import ProvisioningServerSpec
from preflight import check, format_findings
from preflight.models import Endpoint, PlannedDatabase, TlsMode
from stacks.config import Stack, decoded
from stacks.history import Memory, remembered

SECONDS = 8
"""For all servers together; a login that takes longer serves no application either."""

__all__ = ["endpoints", "main", "require_reachable"]


def require_reachable(stack: Stack, before: Memory) -> None:
    """Checks every external server. Raises pulumi.RunError where one cannot be used; a preview warns of it instead.

    `before` is what the stack was: a database that was not in it must not be on its server yet.
    """
    if stack.spec.preflight == "none":
        return
    failures = check(list(endpoints(stack, before)), SECONDS)
    if failures and pulumi.runtime.is_dry_run():
        pulumi.log.warn(format_findings(failures))
    elif failures:
        raise pulumi.RunError(f"{format_findings(failures)}\nnothing was changed")


def endpoints(stack: Stack, before: Memory) -> Iterator[Endpoint]:
    """Every address that the stack's administrators and applications connect to outside the cluster."""
    groups = [group for application in stack.applications for group in application.groups()]
    for name, server in stack.spec.servers.items():
        wanted = (wanted for group in groups if (wanted := _wanted(group, name, before)))
        yield from _server(f"servers.{name}", server, tuple(wanted))
    for group in groups:
        yield from _given(group)


def _server(path: str, server: ProvisioningServerSpec, wanted: tuple[PlannedDatabase, ...]) -> Iterator[Endpoint]:
    """The administrator's way in; and the other addresses, where applications have the same way."""
    host, port = server.endpoint
    account = {"username": server.administrator.username, "password": server.administrator.password.get_secret_value()}
    ca = server.ca.path if server.ca else None
    yield Endpoint(
        path=path, engine=server.engine, host=host, port=port, tls=server.tls, ca_file=ca, account=account, is_administrator=True, planned_databases=wanted
    )
    for other in server.host[1:] if server.administrator.host is None else ():
        yield Endpoint(path=f"{path}.host", engine=server.engine, host=other, port=port, tls=server.tls, ca_file=ca, account=account)


def _wanted(group: DatabaseGroupArgs, server: str, before: Memory) -> PlannedDatabase | None:
    """What is to be made for a group on a server, unless the last update made it there."""
    access = group.access
    databases = before.get(group.application, {}).get("databases", {})
    made = databases.get(group.engine.name, {}).get(group.group, {}).get("server")
    if access.server != server or made == server:
        return None
    return PlannedDatabase(path=group.path, username=access.account.username or "", database=access.account.database or "", extensions=access.extensions)


def _given(group: DatabaseGroupArgs) -> Iterator[Endpoint]:
    """The addresses of a server on which the account exists."""
    access = group.access
    if access.server is not None or access.backend is None or isinstance(access.password, Generated):
        return
    credential = {group.engine.credential: access.password.get_secret_value()} if access.password and group.engine.credential else {}
    for host in access.backend.hosts:
        yield Endpoint(
            path=f"{group.path}.server",
            engine=group.engine.name,
            host=host,
            port=access.backend.port,
            tls=cast(TlsMode | None, access.tls),
            ca_file=access.ca.path if access.ca else None,
            account={**access.account.keys(), **credential},
        )


def main(arguments: list[str]) -> int:
    """Checks the stack that is named, as Pulumi knows it. Returns the exit code."""
    if len(arguments) != 1:
        print("usage: python -m stacks.reachability STACK", file=sys.stderr)
        return 2
    try:
        configuration = _pulumi("config", "--json", "--show-secrets", "--stack", arguments[0])
        values = {key: entry["value"] for key, entry in configuration.items() if "value" in entry}
        stack = decoded(values, encrypted={key for key, entry in configuration.items() if entry.get("secret")})
        state = _pulumi("stack", "export", "--stack", arguments[0])["deployment"] or {}
        found = list(endpoints(stack, remembered(state.get("resources", []))))
    except pulumi.RunError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    failures = check(found, SECONDS)
    print(f"error: {format_findings(failures)}" if failures else f"addresses of external servers that were checked: {len(found)}; each can be used")
    return 1 if failures else 0


def _pulumi(*arguments: str) -> dict[str, Any]:
    """What a command of Pulumi's says in JSON. Raises pulumi.RunError with its own words where it fails."""
    process = subprocess.run(["pulumi", *arguments, "--non-interactive"], capture_output=True, text=True, check=False)  # noqa: S603, S607
    if process.returncode:
        raise pulumi.RunError(process.stderr.strip().removeprefix("error: "))
    found: dict[str, Any] = json.loads(process.stdout)
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
