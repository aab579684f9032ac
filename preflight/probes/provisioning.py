"""The checks that are common to all engines on which the program provisions databases."""

from collections.abc import Collection, Iterator, Mapping

from preflight.models import Finding, ProvisionedDatabase
from preflight.probe_context import ProbeContext

__all__ = ["add_read_only_finding", "add_warning", "check_existing_objects", "check_provisioned_objects"]

EXISTING_FIX = (
    "The program never changes existing databases or users. Set another `database` and `username`, use the existing "
    "database with `host` instead of `provisionOn`, or drop it if it is unused."
)
REFRESH_COMMANDS = "  make refresh STACK=...\n  make up STACK=...\nWithout make, run `pulumi refresh` and `pulumi up`."
MISSING_FIX = (
    "Restore {names}: correct `host` and `port` if this is another server, or restore a backup on the server. "
    "To create {again} instead, set `recreate: true` on the group, and run:\n" + REFRESH_COMMANDS
)
STILL_IN_STATE_FIX = (
    "An update creates only what Pulumi's state does not have. The state still has {names}. Run:\n" + REFRESH_COMMANDS
)
UNUSED_FIX = "Remove `recreate: true`. With it, a later loss of the database would not stop an update."


def check_existing_objects(
    context: ProbeContext, databases: Collection[str], users: Collection[tuple[str, str]]
) -> None:
    """Add a finding for each planned database whose database or user already exists.

    `users` has the name of each user on the server and its description for the message.
    """
    for planned in context.endpoint.planned_databases:
        existing = [f"database {planned.database}"] if planned.database in databases else []
        existing += [description for name, description in users if name == planned.username]
        if existing:
            verb = "exists" if len(existing) == 1 else "exist"
            result = f"{' and '.join(existing)} already {verb} on the server"
            context.add_finding(Finding(result, EXISTING_FIX, path=planned.path))


def check_provisioned_objects(
    context: ProbeContext,
    owners: Mapping[str, str | None],
    users: Collection[str],
    *,
    noun: str,
    change_owner: str = "",
) -> None:
    """Add a finding for each database of an earlier update that is missing, has no user or has another owner.

    `owners` has the owner of each database on the server; None if the engine has no owners. `noun` is the engine's term
    for a user. `change_owner` is the statement that changes an owner, with {database} and {username}.
    """
    for provisioned in context.endpoint.provisioned_databases:
        owner = owners.get(provisioned.database)
        if owner not in (None, provisioned.username):
            result = (
                f"database {provisioned.database} belongs to {noun} {owner}; an earlier update created it for {noun} "
            )
            fix = (
                "Correct `host` and `port` if this is another server. If the database was restored from a backup, "
                f"change its owner:\n  {change_owner}"
            ).format(database=provisioned.database, username=provisioned.username)
            context.add_finding(Finding(result + provisioned.username, fix, path=provisioned.path))
        missing = list(_list_missing(provisioned, owners, users, noun))
        if missing:
            _add_missing_finding(context, provisioned, missing)
        elif provisioned.recreate:
            result = f"`recreate: true` is set, but database {provisioned.database} exists"
            add_warning(context, result, UNUSED_FIX, path=provisioned.path)


def _list_missing(
    provisioned: ProvisionedDatabase, databases: Collection[str], users: Collection[str], noun: str
) -> Iterator[tuple[str, str, bool]]:
    """Yield the description, the replacement and the presence in the state of what the server no longer has."""
    if provisioned.database not in databases:
        yield f"database {provisioned.database}", "an empty database", provisioned.is_database_in_state
    if provisioned.username not in users:
        yield f"{noun} {provisioned.username}", f"the {noun} with its password", provisioned.is_user_in_state


def _add_missing_finding(
    context: ProbeContext, provisioned: ProvisionedDatabase, missing: list[tuple[str, str, bool]]
) -> None:
    """Add a finding unless the update creates again everything that is missing."""
    in_state = [name for name, _, is_in_state in missing if is_in_state]
    if provisioned.recreate and not in_state:
        return
    names = " and ".join(name for name, _, _ in missing)
    verb, pronoun = ("is", "it") if len(missing) == 1 else ("are", "them")
    result = f"{names} {verb} missing on the server; an earlier update created {pronoun}"
    if provisioned.recreate:
        fix = STILL_IN_STATE_FIX.format(names=" and ".join(in_state))
    else:
        again = " and ".join(replacement for _, replacement, _ in missing)
        fix = MISSING_FIX.format(names="it" if len(missing) == 1 else "them", again=again)
    context.add_finding(Finding(result, fix, path=provisioned.path))


def add_warning(context: ProbeContext, result: str, fix: str, *, path: str = "") -> None:
    """Add a warning of the current step."""
    context.add_finding(Finding(result, fix, path=path, is_warning=True))


def add_read_only_finding(context: ProbeContext, result: str, fix: str) -> None:
    """Add a finding for a server that rejects changes: a warning if the update has to create nothing there."""
    context.add_finding(Finding(result, fix, is_warning=not context.endpoint.requires_writes))
