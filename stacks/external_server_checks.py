"""Which external servers a stack depends on, as preflight checks them; and `python -m stacks.external_server_checks STACK`, which does it alone."""

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pulumi

from components.database_group import DatabaseGroupArgs
from components.external_servers import ExternalServerSpec
from components.passwords import GeneratedPassword
from preflight import check, report
from preflight.endpoint import Endpoint, Wanted
from stacks.config import Stack, parse_pulumi_config
from stacks.previous_state import PreviousState, collect_component_outputs

TOTAL_TIMEOUT_SECONDS = 8
"""For all servers together; a login that takes longer serves no application either."""

__all__ = ["list_endpoints", "main", "require_reachable"]


def require_reachable(stack: Stack, previous: PreviousState) -> None:
    """Checks every external server. Raises pulumi.RunError where one cannot be used; a preview warns of it instead.

    `before` is what the stack was: a database that was not in it must not be on its server yet.
    """
    if stack.spec.preflight == "none":
        return
    failures = check(list(list_endpoints(stack, previous)), TOTAL_TIMEOUT_SECONDS)
    if failures and pulumi.runtime.is_dry_run():
        pulumi.log.warn(report(failures))
    elif failures:
        raise pulumi.RunError(f"{report(failures)}\nnothing was changed")


def list_endpoints(stack: Stack, previous: PreviousState) -> Iterator[Endpoint]:
    """Every address that the stack's administrators and applications connect to outside the cluster."""
    groups = [group for application in stack.applications for group in application.database_groups()]
    for name, server in stack.spec.external_servers.items():
        wanted = (wanted for group in groups if (wanted := _planned_database(group, name, previous)))
        yield from _administrator_endpoints(f"externalServers.{name}", server, tuple(wanted))
    for group in groups:
        yield from _existing_account_endpoints(group)


def _administrator_endpoints(path: str, server: ExternalServerSpec, wanted: tuple[Wanted, ...]) -> Iterator[Endpoint]:
    """The administrator's way in; and the other addresses, where applications have the same way."""
    host, port = server.administrator_endpoint
    account = {"username": server.administrator.username, "password": server.administrator.password.get_secret_value()}
    ca = server.ca_file.path if server.ca_file else None
    yield Endpoint(
        path=path,
        engine=server.engine,
        host=host,
        port=port,
        tls=server.tls,
        ca=ca,
        account=account,
        administrator=True,
        wanted=wanted,
    )
    for other in server.host[1:] if server.administrator.host is None else ():
        yield Endpoint(
            path=f"{path}.host", engine=server.engine, host=other, port=port, tls=server.tls, ca=ca, account=account
        )


def _planned_database(group: DatabaseGroupArgs, server: str, previous: PreviousState) -> Wanted | None:
    """What is to be made for a group on a server, unless the last update made it there."""
    access = group.server_access
    databases = previous.get(group.application, {}).get("databases", {})
    made = databases.get(group.engine.name, {}).get(group.group_name, {}).get("server")
    if access.external_server_name != server or made == server:
        return None
    return Wanted(
        path=group.config_path,
        username=access.account.username or "",
        database=access.account.database or "",
        extensions=access.extensions,
    )


def _existing_account_endpoints(group: DatabaseGroupArgs) -> Iterator[Endpoint]:
    """The addresses of a server on which the account exists."""
    access = group.server_access
    if (
        access.external_server_name is not None
        or access.backend is None
        or isinstance(access.password_source, GeneratedPassword)
    ):
        return
    credential = (
        {group.engine.credential_key: access.password_source.get_secret_value()}
        if access.password_source and group.engine.credential_key
        else {}
    )
    for host in access.backend.hosts:
        yield Endpoint(
            path=f"{group.config_path}.server",
            engine=group.engine.name,
            host=host,
            port=access.backend.port,
            tls=access.tls,
            ca=access.ca_bundle.path if access.ca_bundle else None,
            account={**access.account.secret_entries(), **credential},
        )


def main(arguments: list[str]) -> int:
    """Checks the stack that is named, as Pulumi knows it. Returns the exit code."""
    if len(arguments) != 1:
        print("usage: python -m stacks.external_server_checks STACK", file=sys.stderr)
        return 2
    try:
        configuration = _run_pulumi_json("config", "--json", "--show-secrets", "--stack", arguments[0])
        values = {key: entry["value"] for key, entry in configuration.items() if "value" in entry}
        stack = parse_pulumi_config(
            values, encrypted={key for key, entry in configuration.items() if entry.get("secret")}
        )
        state = _run_pulumi_json("stack", "export", "--stack", arguments[0])["deployment"] or {}
        found = list(list_endpoints(stack, collect_component_outputs(state.get("resources", []))))
    except pulumi.RunError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    failures = check(found, TOTAL_TIMEOUT_SECONDS)
    print(
        report(failures)
        if failures
        else f"addresses of external servers that were checked: {len(found)}; each can be used"
    )
    return 1 if failures else 0


def _run_pulumi_json(*arguments: str) -> dict[str, Any]:
    """What a command of Pulumi's says in JSON. Raises pulumi.RunError with its own words where it fails."""
    process = subprocess.run(["pulumi", *arguments, "--non-interactive"], capture_output=True, text=True, check=False)  # noqa: S603, S607
    if process.returncode:
        raise pulumi.RunError(process.stderr.strip().removeprefix("error: "))
    found: dict[str, Any] = json.loads(process.stdout)
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
