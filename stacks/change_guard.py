"""The change guard: it compares the stack with its previous state and rejects changes that would lose data.

It runs before the first resource is registered, in previews and in updates.
"""

from collections.abc import Iterator

from components.persisted.outputs import ApplicationState, GroupSummary
from components.protection import is_protected
from stacks.config import Stack
from stacks.errors import ConfigIssue, InvalidStackConfigError, Location
from stacks.previous_state import PreviousState

__all__ = ["require_safe_update", "validate_update"]

NOUN = "rejected change"
UNPROTECT_HINT = "first set `protect: false` (deletes the data) or `protect: retain` (keeps it), and run `pulumi up`"
MIGRATION_HINT = "add a new group and migrate the data (docs/upgrading.md)"


def require_safe_update(stack: Stack, previous: PreviousState) -> None:
    """Raise InvalidStackConfigError if an update from the previous state would lose data."""
    if issues := list(validate_update(previous, stack.outputs)):
        raise InvalidStackConfigError(map(stack.source.add_line, issues), stack.source.name, NOUN)


def validate_update(previous: PreviousState, current: PreviousState) -> Iterator[ConfigIssue]:
    """Yield each rejected change from one state to another."""
    for name, old in previous.items():
        location, new = ("applications", name), current.get(name)
        if new is None:
            yield from _validate_removed_application(location, old)
            continue
        if _is_protected(old) and old["namespace"] != new["namespace"]:
            yield ConfigIssue(
                (*location, "namespace"),
                f"the namespace was {old['namespace']!r}; its data cannot move to {new['namespace']!r}."
                f" Restore {old['namespace']!r}, or add a new application and migrate the data (docs/upgrading.md)",
            )
        for engine, groups in old["databases"].items():
            for group_name, group in groups.items():
                group_location = (*location, "databases", engine, group_name)
                yield from _validate_group_change(
                    group_location, group, new["databases"].get(engine, {}).get(group_name)
                )


def _is_protected(outputs: ApplicationState | GroupSummary) -> bool:
    return is_protected(outputs.get("protect", False))


def _validate_removed_application(location: Location, old: ApplicationState) -> Iterator[ConfigIssue]:
    """Reject the removal of a protected application, or of one with a protected group."""
    protected = [
        f"{engine}.{group_name}"
        for engine, groups in old["databases"].items()
        for group_name, group in groups.items()
        if _is_protected(group)
    ]
    if protected or _is_protected(old):
        loss = f"its databases ({', '.join(protected)})" if protected else f"its namespace {old['namespace']!r}"
        message = f"removing or renaming this application would delete {loss}. Restore it."
        yield ConfigIssue(location, f"{message} To remove it, {UNPROTECT_HINT}")


def _validate_group_change(location: Location, old: GroupSummary, new: GroupSummary | None) -> Iterator[ConfigIssue]:
    """Reject unsafe changes of a group."""
    if new is not None:
        yield from _validate_version_change(location, old, new)
        yield from _validate_placement_change(location, old, new) if _is_protected(old) else ()
    elif _is_protected(old):
        loss = "its data" if old["kind"] != "external" or old.get("externalServer") else "its Service and Secret"
        message = f"removing or renaming this group would delete {loss}. Restore it. To remove it, {UNPROTECT_HINT}"
        yield ConfigIssue(location, message)


def _validate_version_change(location: Location, old: GroupSummary, new: GroupSummary) -> Iterator[ConfigIssue]:
    """Reject another variant or release series for existing data."""
    old_series, new_series = old.get("series"), new.get("series")
    if not (old_series and new_series):
        return
    if old["variant"] != new["variant"]:
        yield ConfigIssue(
            (*location, "variant"),
            f"cannot change from {old['variant']!r} to {new['variant']!r}: the data is not compatible."
            f" Restore {old['variant']!r}, or {MIGRATION_HINT}",
        )
    elif old_series != new_series:
        yield ConfigIssue(
            (*location, "server", "version"),
            f"the release series cannot change in place from {old_series} to {new_series}."
            f" Use a release of {old_series}, or {MIGRATION_HINT}",
        )
    elif _is_older(new["version"], old["version"]):
        yield ConfigIssue(
            (*location, "server", "version"),
            f"the release {new['version']} is older than {old['version']}, which wrote the data."
            f" Use {old['version']} or later, or {MIGRATION_HINT}",
        )


def _is_older(version: str | None, other: str | None) -> bool:
    """Return whether a release is older than another one. A series is not older than its releases."""
    numbers = [tuple(map(int, text.split("."))) for text in (version, other) if text]
    length = min(map(len, numbers), default=0)
    return len(numbers) > 1 and numbers[0][:length] < numbers[1][:length]


def _validate_placement_change(location: Location, old: GroupSummary, new: GroupSummary) -> Iterator[ConfigIssue]:
    """Reject a move to another server, where the data is not."""
    old_server, new_server = old.get("externalServer"), new.get("externalServer")
    if old["kind"] != new["kind"]:
        key, old_value, new_value = "kind", old["kind"], new["kind"]
    elif old_server != new_server:
        key, old_value, new_value = "provisionOn", old_server or "not set", new_server or "not set"
    else:
        return
    yield ConfigIssue(
        (*location, "server", key),
        f"changing `{key}` from '{old_value}' to '{new_value}' would not move the data."
        f" Restore '{old_value}'. To change it, {UNPROTECT_HINT}",
    )
