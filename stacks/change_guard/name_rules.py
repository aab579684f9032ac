"""Rules about the names that Pods use: Services and environment variables. A protected application keeps them all."""

from collections.abc import Iterator

from components.database_group import DatabaseGroupArgs
from components.persisted.names import variable_name
from stacks.change_guard.change import ApplicationChange, GroupChange, find_group_by_service
from stacks.errors import ConfigIssue

__all__ = [
    "list_moved_names",
    "list_removed_names",
    "validate_database_url",
    "validate_services",
    "validate_variables",
]

DATABASE_URL = "DATABASE_URL"


def validate_services(change: ApplicationChange) -> Iterator[ConfigIssue]:
    """Reject the removal of a Service, with the variables that have its name."""
    removed = _find_removed_variables(change)
    for service, group in _list_removed_services(change) if change.is_protected else ():
        if service in _list_retired(change) or _has_explicit_primary(group):
            continue
        variables = [name for name in removed if _find_owner(change, name) == service]
        names = f" and {', '.join(variables)}" if variables else ""
        yield ConfigIssue(
            group.location,
            f"the Service '{service}'{names} would be removed, and running Pods use them."
            f" {_describe_service_remedy(group, service)}",
        )


def validate_variables(change: ApplicationChange) -> Iterator[ConfigIssue]:
    """Reject the removal of variables whose Service remains."""
    if not change.is_protected:
        return
    services = {service for service, _ in _list_removed_services(change)}
    by_owner: dict[str, list[str]] = {}
    for name in _find_removed_variables(change):
        owner = _find_owner(change, name)
        if name != DATABASE_URL and owner not in services and not _is_retired(change, name):
            by_owner.setdefault(owner, []).append(name)
    for owner, names in by_owner.items():
        group = next((group for group in change.groups if owner in _list_owners(group)), None)
        is_renamed = group and group.new and group.new.group_name != group.name
        part = f"the name '{group.name}'" if group and is_renamed else "the keys of the group"
        yield ConfigIssue(
            group.location if group else change.location,
            f"{', '.join(names)} would be removed, and running Pods use them."
            f" Write {part} again, or allow the removal: `retire: [{owner}]` at the application",
        )


def validate_database_url(change: ApplicationChange) -> Iterator[ConfigIssue]:
    """Reject an edit after which DATABASE_URL is not set."""
    group = next((group for group in change.groups if group.path == change.old.get("databaseUrl")), None)
    is_removed = DATABASE_URL in _find_removed_variables(change)
    if change.is_protected and is_removed and group and group.new and DATABASE_URL not in _list_retired(change):
        yield ConfigIssue(
            change.location,
            f"DATABASE_URL pointed to {group.path}, and would be removed: several groups or none could have it."
            f" Write `databaseUrl: {group.new.path}`, or allow the removal: `retire: [DATABASE_URL]`",
        )


def list_removed_names(change: ApplicationChange) -> Iterator[ConfigIssue]:
    """Warn about Services and variables that an accepted edit removes."""
    if change.new is None:
        return
    services = [service for service in _list_services(change) if service not in _list_new_services(change)]
    variables = [name for name in change.old.get("variables", ()) if name not in change.new.variable_names]
    names = [*(f"Service '{service}'" for service in services), *variables]
    if names:
        yield ConfigIssue(change.location, f"the update removes {', '.join(names)}")


def list_moved_names(change: ApplicationChange) -> Iterator[ConfigIssue]:
    """Warn about names that point to another group."""
    if change.new is None:
        return
    for service, group in _list_new_services(change).items():
        old = find_group_by_service(change, service)
        if old and old.old["secret"] != group.object_name:
            prefix = variable_name(service, None, "")
            yield ConfigIssue(
                change.location,
                f"the Service '{service}' and the variables {prefix}_* point to {group.path}, no longer to {old.path}",
            )
    old_url, group_of_url = change.old.get("databaseUrl"), change.new.database_url_group
    old_group = next((group for group in change.groups if group.path == old_url), None)
    if old_group and group_of_url and old_group.old["secret"] != group_of_url.object_name:
        yield ConfigIssue(change.location, f"DATABASE_URL points to {group_of_url.path}, no longer to {old_url}")


def _list_services(change: ApplicationChange) -> list[str]:
    return [service for group in change.groups if (service := group.old.get("service"))]


def _list_new_services(change: ApplicationChange) -> dict[str, DatabaseGroupArgs]:
    groups = change.new.database_groups if change.new else ()
    return {group.service_name: group for group in groups if group.server_access.backend}


def _list_retired(change: ApplicationChange) -> set[str]:
    return set(change.new.spec.retire) if change.new else set()


def _is_retired(change: ApplicationChange, variable: str) -> bool:
    """Return whether `retire` contains a variable, its owner, or the long name with which it begins.

    After a failed update the state can hold variables of a group that already has another name.
    """
    retired = _list_retired(change)
    prefixes = tuple(f"{variable_name(name, None, '')}_" for name in retired if "-" in name)
    return bool({variable, _find_owner(change, variable)} & retired) or variable.startswith(prefixes)


def _list_removed_services(change: ApplicationChange) -> Iterator[tuple[str, GroupChange]]:
    """Yield each removed Service of a remaining group. A removed group does not need its own."""
    for group in change.groups:
        service = group.old.get("service")
        if service and group.new and service not in _list_new_services(change):
            yield service, group


def _find_removed_variables(change: ApplicationChange) -> list[str]:
    """Return the removed variables of the remaining groups."""
    if change.new is None:
        return []
    gone = {name for group in change.groups if group.new is None for name in _list_owners(group)}
    removed = [name for name in change.old.get("variables", ()) if name not in change.new.variable_names]
    return [name for name in removed if _find_owner(change, name) not in gone]


def _list_owners(group: GroupChange) -> tuple[str, ...]:
    """Return the names that begin a group's variables: `mysql-main`, and `mysql` if its Service has this name."""
    return (f"{group.engine}-{group.name}", f"{group.old.get('service')}")


def _find_owner(change: ApplicationChange, variable: str) -> str:
    """Return the name that begins a variable, as a Service would have it: the longest one that matches."""
    owners = sorted({name for group in change.groups for name in _list_owners(group)}, key=len, reverse=True)
    return next((name for name in owners if variable.startswith(f"{variable_name(name, None, '')}_")), variable)


def _has_explicit_primary(group: GroupChange) -> bool:
    """Return whether the user chose the Service's new name with `primary: true`."""
    return bool(group.new and group.new.spec.primary)


def _describe_service_remedy(group: GroupChange, service: str) -> str:
    retire = f"or allow the removal: `retire: [{service}]` at the application"
    if service == group.engine:
        return f"Write `primary: true`, {retire}"
    if group.new and group.new.is_primary:
        return f"Write `primary: false`, {retire}"
    return f"Write the name '{group.name}' again, {retire}"
