"""Every edit of a deployed stack file and its outcome, as data.

`docs/changes.md` and the column Edit of `docs/reference.md` are built from this table, and the end-to-end tests apply
every edit to a deployed stack.
"""

from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

__all__ = ["CHANGES", "CHANGES_PATH", "TITLES", "Change", "Outcome", "describe_edit", "list_changes", "render_changes"]

CHANGES_PATH = Path(__file__).parent.parent / "docs" / "changes.md"


class Outcome(StrEnum):
    """What an update does with an edit."""

    IN_PLACE = "in place"
    WARNING = "warning"
    REJECTED = "rejected"


class Change(NamedTuple):
    """An edit of a part of the stack file."""

    case: str
    """Which edit it is. Empty: any other value."""
    outcome: Outcome
    effect: str
    """What changes, or what would be lost, and what to write instead."""
    restarts: str = ""
    """What the update restarts. Empty: nothing."""


SERVER, WORKLOADS, DEDICATED = "the server", "workloads", "dedicated servers"
IN_PLACE, WARNING, REJECTED = Outcome.IN_PLACE, Outcome.WARNING, Outcome.REJECTED
UNPROTECT = "To allow it, first set `protect: false` (deletes the data) or `protect: retain` (keeps it)."
MIGRATE = "Add a new group and [move the data](upgrading.md)."
VALUES = Change("", IN_PLACE, "The connection Secret and the variables change.", WORKLOADS)
POOL = (Change("", IN_PLACE, "The Pods move to other nodes, if necessary.", DEDICATED),)
MOVED_KIND = (
    Change("to `external` or from it, protected", REJECTED, f"The data would not move. {UNPROTECT}"),
    Change(
        "to `external` or from it, not protected",
        WARNING,
        "The data of the old server is deleted; with `protect: retain` it stays.",
        WORKLOADS,
    ),
)
STORAGE = (
    Change("larger", IN_PLACE, "The volume grows, if its storage class allows it."),
    Change("smaller", REJECTED, f"Kubernetes cannot reduce a volume. {MIGRATE}"),
)
HOST = (
    Change(
        "",
        IN_PLACE,
        "The Services point to the new host. A change to or from IPv6 addresses creates them again. The data must be on"
        " the new host.",
    ),
)
OTHER_REPOSITORY = (
    Change("", IN_PLACE, "The next backup begins in a new repository. The old backups stay where they are."),
)
STORAGE_CLASS = (Change("", REJECTED, f"The volume would be deleted with its data. {MIGRATE}"),)

TITLES = {
    "Applications": "Applications",
    "Groups": "Groups",
    "External servers": "External servers",
    "Workloads": "Workloads",
    "StackSpec": "Keys at the top level",
    "NodePoolSpec": "Keys of `databaseNodes`",
    "TolerationSpec": "Keys of a toleration",
    "ExternalServerSpec": "Keys of an external server",
    "AdministratorSpec": "Keys of `administrator`",
    "StoreSpec": "Keys of a backup store",
    "BackupSpec": "Keys of `backup`",
    "KeepSpec": "Keys of `keep`",
    "ApplicationSpec": "Keys of an application",
    "WorkloadSpec": "Keys of a workload",
    "DatabaseGroupSpec": "Keys of a group",
    "CopySpec": "Keys of `from`",
    "StatefulSetServerSpec": "Keys of a local or dedicated server",
    "ResourcesSpec": "Keys of `resources`",
    "ExternalKindSpec": "Keys of a group on an external server",
}
"""Title of each section of the page. The sections that are no models are about whole parts of the stack file."""
CHANGES: Mapping[str, Mapping[str, tuple[Change, ...]]] = MappingProxyType(
    {
        "Applications": {
            "added": (Change("", IN_PLACE, "The other applications do not change."),),
            "removed": (
                Change("protected", REJECTED, f"Its databases and its namespace would be deleted. {UNPROTECT}"),
                Change(
                    "not protected",
                    WARNING,
                    "Its databases and its namespace are deleted. With `protect: retain` the data stays.",
                ),
                Change(
                    "whose namespace another application uses",
                    REJECTED,
                    "The namespace would be deleted. To allow it, first set `protect: retain`.",
                ),
            ),
            "renamed": (
                Change("protected", REJECTED, "The same as the removal: an application cannot be renamed."),
                Change("not protected", WARNING, "The old databases are deleted, and new ones are created."),
            ),
        },
        "Groups": {
            "added": (
                Change("", IN_PLACE, "The other groups do not change.", WORKLOADS),
                Change(
                    "next to an only group, protected",
                    REJECTED,
                    "The short names would be removed. Write `primary: true` at one group, or `retire`.",
                ),
                Change(
                    "next to an only group, not protected",
                    WARNING,
                    "The Service and the variables with the short name are removed.",
                    WORKLOADS,
                ),
                Change(
                    "of a second relational engine, protected",
                    REJECTED,
                    "`DATABASE_URL` would be removed. Write `databaseUrl`, or `retire: [DATABASE_URL]`.",
                ),
                Change(
                    "of a second relational engine, not protected", WARNING, "`DATABASE_URL` is removed.", WORKLOADS
                ),
            ),
            "removed": (
                Change("protected", REJECTED, f"Its data would be deleted. {UNPROTECT}"),
                Change("not protected", WARNING, "Its data is deleted. With `protect: retain` it stays.", WORKLOADS),
                Change(
                    "whose removal renames another Service",
                    REJECTED,
                    "The other group would become the only one, with the short name. Write `primary: false` at it, or"
                    " `retire`.",
                ),
            ),
            "renamed": (
                Change(
                    "with `renamedFrom`, protected",
                    REJECTED,
                    "Variables with the old name would be removed. Write `retire: [<engine>-<old name>]`.",
                ),
                Change(
                    "with `renamedFrom` and `retire`",
                    WARNING,
                    "Server, data, password and connection Secret retain the old name. Service and variables change.",
                    WORKLOADS,
                ),
                Change("without `renamedFrom`, protected", REJECTED, "The same as the removal. Write `renamedFrom`."),
                Change(
                    "without `renamedFrom`, not protected", WARNING, "The old data is deleted; the new group is empty."
                ),
            ),
        },
        "External servers": {
            "added": (Change("", IN_PLACE, "Nothing, until a group uses it."),),
            "removed": (
                Change("without groups", IN_PLACE, "Nothing."),
                Change("with groups", REJECTED, "The stack file would be invalid. Remove the groups first."),
            ),
            "renamed": (
                Change("with groups", REJECTED, "For the program it is another server. Write the name again."),
            ),
        },
        "Workloads": {
            "added": (Change("", IN_PLACE, "The variables are injected.", "the workload"),),
            "removed": (Change("", IN_PLACE, "The injected variables are removed.", "the workload"),),
        },
        "StackSpec": {
            "environment": (
                Change("to `production`", IN_PLACE, "The data is protected. Each group needs `server`."),
                Change(
                    "to `development`, without `protect`",
                    REJECTED,
                    "The protection would end. Write `protect: true` or `protect: false` at each application.",
                ),
            ),
            "databaseNodes": POOL,
            "preflight": (Change("", IN_PLACE, "Later updates check the external servers, or do not."),),
            "externalServers": (Change("", IN_PLACE, "See [External servers](#external-servers)."),),
            "backupStores": (Change("", IN_PLACE, "See its keys. The removal of a store deletes no backup."),),
            "backup": (Change("", IN_PLACE, "See its keys. Its removal deletes the CronJobs, and no backup."),),
            "restoreAll": (
                Change("", IN_PLACE, "See `backup` of `from`. Its removal deletes the Jobs. The data stays."),
            ),
            "applications": (Change("", IN_PLACE, "See [Applications](#applications)."),),
        },
        "StoreSpec": {
            **dict.fromkeys(
                ("kind", "endpoint", "bucket", "prefix", "account", "container", "url", "claim"), OTHER_REPOSITORY
            ),
            **dict.fromkeys(
                (
                    *("region", "pathStyle", "caFile", "accessKey", "secretKey", "accountKey", "serviceAccountKey"),
                    *("username", "password"),
                ),
                (Change("", IN_PLACE, "The update checks the value, and the next backup uses it."),),
            ),
            "appendOnly": (Change("", IN_PLACE, "Later backups delete old ones, or do not."),),
            "repositoryPassword": (
                Change(
                    "", REJECTED, "The update fails: the repositories have the old password. Set another `prefix`, too."
                ),
            ),
        },
        "BackupSpec": {
            "store": OTHER_REPOSITORY,
            "schedule": (Change("", IN_PLACE, "The CronJob changes."),),
            "keep": (Change("", IN_PLACE, "The next backup deletes what nothing keeps any more."),),
            "timeoutMinutes": (Change("", IN_PLACE, "Later backups may take so long."),),
            "verify": (Change("", IN_PLACE, "The CronJob changes, or is deleted."),),
            "continuous": (
                Change(
                    "",
                    IN_PLACE,
                    "The operator saves each change from the next base backup on, or none. What it saved stays in the"
                    " store.",
                    "PostgreSQL and MongoDB, one server after the other",
                ),
            ),
            "verifyStorage": (Change("", IN_PLACE, "Later verifications may use so much disk space."),),
        },
        "KeepSpec": dict.fromkeys(
            ("last", "daily", "weekly", "monthly"),
            (Change("", IN_PLACE, "The next backup deletes what nothing keeps any more."),),
        ),
        "NodePoolSpec": {"nodeSelector": POOL, "tolerations": POOL},
        "TolerationSpec": dict.fromkeys(("key", "operator", "value", "effect", "tolerationSeconds"), POOL),
        "ExternalServerSpec": {
            "engine": (Change("with groups", REJECTED, "The stack file would be invalid. Add another server."),),
            "host": HOST,
            "port": (Change("", IN_PLACE, "The Services have the new port. The data must be there.", WORKLOADS),),
            "tls": (Change("", IN_PLACE, "The program's own connection changes."),),
            "caFile": (VALUES,),
            "administrator": (Change("", IN_PLACE, "See its keys."),),
        },
        "AdministratorSpec": {
            "username": (
                Change("who can change the users", IN_PLACE, "The program's own connection changes."),
                Change(
                    "who cannot, on PostgreSQL 16 and later",
                    REJECTED,
                    "The update would fail half-way. Grant the roles to the new administrator `WITH ADMIN OPTION`.",
                ),
            ),
            **dict.fromkeys(
                ("password", "host", "port"), (Change("", IN_PLACE, "The program's own connection changes."),)
            ),
        },
        "ApplicationSpec": {
            "namespace": (
                Change("protected", REJECTED, "The data cannot move. Add a new application, and move the data."),
                Change("not protected", WARNING, "Everything is created again; the data in the cluster is deleted."),
            ),
            "createNamespace": (
                Change(
                    "to `false`",
                    REJECTED,
                    "The namespace would be deleted with everything in it. To allow it, first set `protect: retain`.",
                ),
                Change("to `false`, after `protect: retain`", IN_PLACE, "The namespace is no longer managed."),
                Change("to `true`", REJECTED, "The namespace exists. The program takes over no existing object."),
            ),
            "protect": (
                Change("", IN_PLACE, "Later removals of data are rejected, or allowed."),
                Change("key removed, where the default is weaker", REJECTED, "Write the value that you want: `false`."),
            ),
            "podSelector": (Change("", IN_PLACE, "The NetworkPolicy changes.", "local servers"),),
            "networkPolicy": (Change("", IN_PLACE, "The NetworkPolicy is created, changed or deleted."),),
            "workloads": (Change("", IN_PLACE, "See [Workloads](#workloads)."),),
            "databaseUrl": (
                Change("", WARNING, "`DATABASE_URL` points to another group.", WORKLOADS),
                Change(
                    "removed, protected",
                    REJECTED,
                    "`DATABASE_URL` would be removed. To allow it, write `retire: [DATABASE_URL]`.",
                ),
            ),
            "retire": (Change("", IN_PLACE, "Other edits can remove the names."),),
            "databases": (Change("", IN_PLACE, "See [Groups](#groups)."),),
        },
        "WorkloadSpec": {
            **dict.fromkeys(
                ("kind", "name", "containers"),
                (Change("", IN_PLACE, "The variables are injected into other containers.", "the workload"),),
            ),
            "rolloutSeconds": (Change("", IN_PLACE, "Later updates wait longer or shorter."),),
        },
        "DatabaseGroupSpec": {
            "primary": (
                Change("at another group", WARNING, "The short names point to this group.", WORKLOADS),
                Change(
                    "at no group, protected",
                    REJECTED,
                    "The short names would be removed. To allow it, write `retire: [<engine>, DATABASE_URL]`.",
                ),
                Change("at no group, not protected", WARNING, "The short names are removed.", WORKLOADS),
            ),
            "renamedFrom": (
                Change("with another group name", WARNING, "Server and data retain the original name.", WORKLOADS),
                Change("alone", REJECTED, "The group would have another server, without its data."),
            ),
            "variant": (
                Change("of a server in the cluster", REJECTED, f"The data is not compatible. {MIGRATE}"),
                Change("of an external server", IN_PLACE, "The connection Secret changes."),
            ),
            "passwordVersion": (
                Change(
                    "of a server in the cluster",
                    IN_PLACE,
                    "The group has a new password. [Some servers](day-two.md#change-a-password) accept it without a"
                    " restart.",
                    "workloads, and some servers",
                ),
                Change(
                    "of a provisioned database, to the next number",
                    IN_PLACE,
                    "The group has a new password. [The old one](external-servers.md#password-changes) is valid until"
                    " the next change.",
                    WORKLOADS,
                ),
                Change(
                    "of a provisioned database, to another number",
                    REJECTED,
                    "The password in use would end at once. Write the next number.",
                ),
            ),
            "protect": (
                Change("", IN_PLACE, "Later removals of data are rejected, or allowed."),
                Change("key removed, where the default is weaker", REJECTED, "Write the value that you want: `false`."),
            ),
            "recreate": (Change("", IN_PLACE, "A database that the server no longer has is created again, empty."),),
            "networkPolicy": (Change("", IN_PLACE, "The NetworkPolicy changes."),),
            "from": (
                Change("added", IN_PLACE, "The group is filled, if it is empty. Otherwise the update fails."),
                Change("removed", IN_PLACE, "The Job is deleted. The data stays."),
            ),
            "backup": (Change("", IN_PLACE, "The CronJob changes. Its removal deletes no backup."),),
            "server": (Change("", IN_PLACE, "See its keys."),),
        },
        "CopySpec": {
            "group": (
                Change(
                    "with the same `run`", REJECTED, "The copy has run, and does not run again. Write a higher `run`."
                ),
            ),
            **dict.fromkeys(
                ("backup", "store"),
                (
                    Change(
                        "with the same `run`",
                        REJECTED,
                        "The copy has run, and does not run again. Write a higher `run`.",
                    ),
                ),
            ),
            "run": (
                Change("higher", IN_PLACE, "The group is filled again, if it is empty or with `overwrite: true`."),
                Change("lower", REJECTED, "The copy has run. Write the last number, or a higher one."),
            ),
            "overwrite": (
                Change("with a higher `run`", WARNING, "The data of the group is deleted, and copied again."),
                Change("with the same `run`", IN_PLACE, "Nothing: the copy has run."),
            ),
            "timeoutMinutes": (Change("", IN_PLACE, "The next copy may take so long."),),
        },
        "StatefulSetServerSpec": {
            "kind": (
                Change(
                    "`local` to `dedicated` or reverse",
                    WARNING,
                    "Both use the same volume. It must be usable on the nodes of the new kind.",
                    SERVER,
                ),
                *MOVED_KIND,
            ),
            "version": (
                Change("later, of the same series", IN_PLACE, "The server starts with the new release.", SERVER),
                Change("earlier, of the same series", REJECTED, f"The engine may not read newer data. {MIGRATE}"),
                Change("of another series", REJECTED, f"The data is not compatible. {MIGRATE}"),
            ),
            "image": (
                Change("of the same or a later release", IN_PLACE, "The server starts with the new image.", SERVER),
                Change("of an earlier release", REJECTED, f"The engine may not read newer data. {MIGRATE}"),
                Change("of another series", REJECTED, "The stack file would be invalid. Use a release of the series."),
            ),
            "storage": STORAGE,
            "storageClass": STORAGE_CLASS,
            "resources": (Change("", IN_PLACE, "The server starts with the new resources.", SERVER),),
            "settings": (Change("", IN_PLACE, "The server starts with the new settings.", SERVER),),
            "initScript": (
                Change(
                    "added or changed",
                    REJECTED,
                    "On a started server, the script would never run. Run the statements yourself.",
                ),
                Change("removed", IN_PLACE, "The data does not change.", SERVER),
            ),
            "startTimeoutMinutes": (Change("", IN_PLACE, "The next update waits so long. Nothing restarts."),),
            "exclusiveNode": (Change("", IN_PLACE, "The Pod moves to another node, if necessary.", SERVER),),
            "replicas": (
                Change("from 1 to more, or to 1", REJECTED, f"The data would be on other volumes. {MIGRATE}"),
                Change("more servers of a cluster", IN_PLACE, "The operator adds servers."),
                Change("fewer servers of a cluster", IN_PLACE, "The operator removes servers with their volumes."),
                Change("fewer servers of an engine that cannot remove any", REJECTED, f"{MIGRATE}"),
            ),
            "durability": (Change("", IN_PLACE, "The operator changes the running servers."),),
            "tls": (VALUES,),
        },
        "ResourcesSpec": {
            "cpu": (Change("", IN_PLACE, "The server starts with the new resources.", SERVER),),
            "memory": (
                Change(
                    "", IN_PLACE, "The server starts with the new memory and the limits that follow from it.", SERVER
                ),
                Change("less than the engine needs", REJECTED, "The stack file would be invalid."),
            ),
        },
        "ExternalKindSpec": {
            "kind": MOVED_KIND,
            "provisionOn": (
                Change("another server", REJECTED, f"The database cannot move. {MIGRATE}"),
                Change("added or removed, protected", REJECTED, f"The data would not move. {UNPROTECT}"),
                Change(
                    "added or removed, not protected",
                    WARNING,
                    "The application uses another database. The data of a provisioned one is deleted.",
                    WORKLOADS,
                ),
            ),
            "adopt": (
                Change(
                    "of a new group", IN_PLACE, "The existing database is taken over. Its user gets a new password."
                ),
                Change("of a deployed group", IN_PLACE, "Nothing."),
            ),
            "host": HOST,
            **dict.fromkeys(
                ("port", "tls", "caFile", "password", "token", "org", "bucket", "vhost", "volume"), (VALUES,)
            ),
            "extensions": (
                Change("added", IN_PLACE, "The extensions are created in the database."),
                Change(
                    "removed",
                    IN_PLACE,
                    "With protection the extensions stay in the database; without, they are dropped.",
                ),
            ),
            **dict.fromkeys(
                ("database", "username"),
                (
                    Change("with `provisionOn`", REJECTED, f"The server would rename or delete it. {MIGRATE}"),
                    Change("with `host`", IN_PLACE, "The connection Secret and the variables change.", WORKLOADS),
                ),
            ),
            "storageClass": STORAGE_CLASS,
            "storage": STORAGE,
        },
    }
)
"""By section and key. Local and dedicated servers share the keys of StatefulSetServerSpec."""

INTRODUCTION = """\
# Changes

What an update does with each edit of a deployed stack file. `make schema` generates this page from the table with which
the program is tested on real servers. Each edit has one outcome:

- **in place**: the data and the names that Pods use do not change. *Restarts* lists what restarts.
- **warning**: the update prints what it removes or deletes, and does it.
- **rejected**: the program stops before the first change. Its message has the cure and the key that allows the edit.

*Protected* means `protect: true` at the application or the group, which is the default in production. A protected
application retains every Service and every variable that it had. `retire: [mysql, DATABASE_URL]` at the application
allows the removal of these names; the name of a Service includes its variables. The entry can be removed afterwards.
"""
HEADER = ("Edit", "Case", "Outcome", "Effect", "Restarts")


def list_changes() -> Iterator[tuple[str, Change]]:
    """Yield every change with its identifier: the section, the key and the case."""
    for section, keys in CHANGES.items():
        for key, changes in keys.items():
            for change in changes:
                yield f"{section}.{key}{f': {change.case}' if change.case else ''}", change


def describe_edit(model: str, key: str) -> str:
    """Return what an edit of a key does, on one line."""
    return "; ".join(
        f"{change.case}: {change.outcome}" if change.case else f"{change.outcome}{_describe_restart(change)}"
        for change in CHANGES[model][key]
    )


def render_changes() -> str:
    """Return the content of the page."""
    return INTRODUCTION + "".join(f"\n## {title}\n\n{_render_table(name)}" for name, title in TITLES.items())


def _describe_restart(change: Change) -> str:
    return f"; restarts {change.restarts}" if change.restarts else ""


def _render_table(section: str) -> str:
    quote = "`" if section.endswith("Spec") else ""
    rows = [
        (f"{quote}{key}{quote}", change.case, change.outcome, change.effect, change.restarts)
        for key, changes in CHANGES[section].items()
        for change in changes
    ]
    lines = [HEADER, ("---",) * len(HEADER), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
