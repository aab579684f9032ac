"""The checks that are common to all engines on which the program provisions databases."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from preflight.models import Finding, PlannedDatabase, ProvisionedDatabase, ProvisionedPart
from preflight.probe_context import ProbeContext

__all__ = [
    "EngineTerms",
    "add_read_only_finding",
    "add_tls_only_warning",
    "add_warning",
    "check_existing_objects",
    "check_provisioned_objects",
    "check_shared_names",
]

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
INTERRUPTED_FIX = (
    "An interrupted `pulumi destroy` dropped what is missing. To create it again, run:\n" + REFRESH_COMMANDS
)
OTHER_OWNER_FIX = (
    "Correct `host` and `port` if this is another server. If the database was restored from a backup, change its owner:"
)
ADOPTED_OWNER_FIX = "Set `username` to the owner, or change the owner and what it owns:"
TAKEOVER_FIX = (
    "Nothing. A refresh removed it from the state while the server did not have it. The update takes it over."
)
NO_TAKEOVER_FIX = (
    "A refresh removed the user from the state while the server did not have it, and the provider cannot take it over. "
    "Drop it. The update creates it again with its password:"
)
NOTHING_TO_ADOPT_FIX = "Remove `adopt: true` to create the database, or correct `database`, `host` and `port`."
ADOPTION_FIX = (
    "Nothing: `adopt: true` is set. The user gets a new password. Applications with the old one cannot connect."
)
NO_ADOPTION_FIX = (
    "The provider cannot take over the user. Set another `username`, or drop the user. The update creates it with "
    "a new password:"
)
TLS_ONLY_FIX = (
    "Set `tls: verify-full` or `tls: require` in the stack file. Without it, the URI does not ask for TLS, and some "
    "clients cannot connect."
)
SHARED_NAME_FIX = (
    "Set another `database` and `username` for one of the groups. One entry of `externalServers` is enough for both. "
    "If the groups belong on two servers, correct `host` and `port` of one entry."
)
UNUSED_FIX = "Remove `recreate: true`. With it, a later loss of the database would not stop an update."


_Database = PlannedDatabase | ProvisionedDatabase


@dataclass(frozen=True, kw_only=True)
class EngineTerms:
    """The terms and statements of an engine. The statements may contain {database} and {username}."""

    user: str
    """What the engine calls a user."""
    change_owner: str = ""
    """Statement that changes the owner of a database. Empty if the engine has no owners."""
    drop_user: str = ""
    """Statement that drops a user. Empty if the provider can take over an existing one."""


@dataclass(frozen=True, kw_only=True)
class _Part:
    """A database or a user of an earlier update."""

    name: ProvisionedPart
    description: str
    replacement: str
    """What an update creates instead."""
    exists: bool
    """Whether the server has it."""
    is_in_state: bool
    """Whether Pulumi's state has it."""


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
    context: ProbeContext, owners: Mapping[str, str | None], users: Collection[str], terms: EngineTerms
) -> None:
    """Add a finding for each database of an earlier update that is missing, has no user or has another owner.

    `owners` has the owner of each database on the server; None if the engine has no owners.
    """
    for provisioned in context.endpoint.provisioned_databases:
        owner = owners.get(provisioned.database)
        if owner not in (None, provisioned.username):
            _add_owner_finding(context, provisioned, f"{terms.user} {owner}", terms)
            continue
        parts = (
            _Part(
                name="database",
                description=f"database {provisioned.database}",
                replacement="an empty database",
                exists=provisioned.database in owners,
                is_in_state=provisioned.is_database_in_state,
            ),
            _Part(
                name="user",
                description=f"{terms.user} {provisioned.username}",
                replacement=f"the {terms.user} with its password",
                exists=provisioned.username in users,
                is_in_state=provisioned.is_user_in_state,
            ),
        )
        if not provisioned.is_recorded:
            _add_interrupted_finding(context, provisioned, [part for part in parts if part.is_in_state])
            continue
        missing = [part for part in parts if not part.exists and not (provisioned.adopt and part.name == "user")]
        _add_missing_finding(context, provisioned, missing)
        _add_unmanaged_finding(
            context, provisioned, [part for part in parts if part.exists and not part.is_in_state], terms
        )
        if provisioned.recreate and not missing:
            result = f"`recreate: true` is set, but database {provisioned.database} exists"
            add_warning(context, result, UNUSED_FIX, path=provisioned.path)


def check_shared_names(contexts: Collection[ProbeContext]) -> None:
    """Add a finding for each pair of groups with one database or user on one server that has several addresses.

    The validation of the stack file rejects such names on one address.
    """
    owners: dict[tuple[object, ...], tuple[ProbeContext, _Database]] = {}
    databases: list[tuple[ProbeContext, _Database]] = []
    databases += [(context, found) for context in contexts for found in context.endpoint.provisioned_databases]
    databases += [(context, found) for context in contexts for found in context.endpoint.planned_databases]
    for context, database in databases:
        if not context.server_identity:
            continue
        shared: dict[tuple[str, str], list[str]] = {}
        for name in (f"database {database.database}", f"user {database.username}"):
            key = (context.endpoint.engine, context.server_identity, name)
            other, owner = owners.setdefault(key, (context, database))
            if other is not context:
                shared.setdefault((other.endpoint.address, owner.path), []).append(name)
        for (address, path), names in shared.items():
            # The finding that something exists already has a fix that is wrong here: to drop it.
            context.findings = [
                finding for finding in context.findings if (finding.path, finding.fix) != (database.path, EXISTING_FIX)
            ]
            servers = f"{context.endpoint.address} and {address} are one server"
            result = f"{servers}, and {path} has the same {' and '.join(names)}"
            check = "comparing the servers of all entries"
            context.add_finding(Finding(result, SHARED_NAME_FIX, check=check, path=database.path))


def _add_owner_finding(context: ProbeContext, provisioned: ProvisionedDatabase, owner: str, terms: EngineTerms) -> None:
    origin = "`adopt: true` needs" if provisioned.adopt else "an earlier update created it for"
    result = f"database {provisioned.database} belongs to {owner}; {origin} {terms.user} "
    statement = terms.change_owner.format(database=provisioned.database, username=provisioned.username)
    fix = f"{ADOPTED_OWNER_FIX if provisioned.adopt else OTHER_OWNER_FIX}\n  {statement}"
    context.add_finding(Finding(result + provisioned.username, fix, path=provisioned.path))


def _add_interrupted_finding(context: ProbeContext, provisioned: ProvisionedDatabase, in_state: list[_Part]) -> None:
    """Add a finding for what an interrupted `destroy` dropped, but did not remove from Pulumi's state."""
    missing = [part.description for part in in_state if not part.exists]
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        result = f"{' and '.join(missing)} {verb} in Pulumi's state, but missing on the server"
        context.add_finding(Finding(result, INTERRUPTED_FIX, path=provisioned.path))


def _add_missing_finding(context: ProbeContext, provisioned: ProvisionedDatabase, missing: list[_Part]) -> None:
    """Add a finding unless the update creates again everything that is missing."""
    in_state = [part.description for part in missing if part.is_in_state]
    if not missing or (provisioned.recreate and not in_state):
        return
    names = " and ".join(part.description for part in missing)
    verb, pronoun = ("is", "it") if len(missing) == 1 else ("are", "them")
    result = f"{names} {verb} missing on the server; an earlier update created {pronoun}"
    if provisioned.adopt:
        result, fix = f"database {provisioned.database} does not exist on the server", NOTHING_TO_ADOPT_FIX
    elif provisioned.recreate:
        fix = STILL_IN_STATE_FIX.format(names=" and ".join(in_state))
    else:
        fix = MISSING_FIX.format(names=pronoun, again=" and ".join(part.replacement for part in missing))
    context.add_finding(Finding(result, fix, path=provisioned.path))


def _add_unmanaged_finding(
    context: ProbeContext, provisioned: ProvisionedDatabase, unmanaged: list[_Part], terms: EngineTerms
) -> None:
    """Add a warning for what a refresh removed from Pulumi's state, and what the server has again.

    It is an error for a user whom the provider cannot take over.
    """
    if not unmanaged:
        return
    names = " and ".join(part.description for part in unmanaged)
    result = f"{names} {'exists' if len(unmanaged) == 1 else 'exist'} on the server, but not in Pulumi's state"
    if terms.drop_user and any(part.name == "user" for part in unmanaged):
        fix = NO_ADOPTION_FIX if provisioned.adopt else NO_TAKEOVER_FIX
        fix = f"{fix}\n  {terms.drop_user.format(username=provisioned.username)}"
        context.add_finding(Finding(result, fix, path=provisioned.path))
    else:
        parts = frozenset(part.name for part in unmanaged)
        fix = ADOPTION_FIX if provisioned.adopt else TAKEOVER_FIX
        context.add_finding(Finding(result, fix, path=provisioned.path, is_warning=True, takes_over=parts))


def add_warning(context: ProbeContext, result: str, fix: str, *, path: str = "") -> None:
    """Add a warning of the current step."""
    context.add_finding(Finding(result, fix, path=path, is_warning=True))


def add_tls_only_warning(context: ProbeContext, reason: str) -> None:
    """Add a warning for an endpoint without a TLS mode whose server rejects connections without TLS."""
    add_warning(context, f"the server accepts only TLS, and `tls` is not set: {reason}", TLS_ONLY_FIX)


def add_read_only_finding(context: ProbeContext, result: str, fix: str) -> None:
    """Add a finding for a server that rejects changes: a warning if the update has to create nothing there."""
    context.add_finding(Finding(result, fix, is_warning=not context.endpoint.requires_writes))
