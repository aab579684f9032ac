"""Rules about an application: its removal, its namespace and its protection."""

from collections.abc import Iterator

from components.protection import is_retained
from stacks.change_guard.change import UNPROTECT_HINT, ApplicationChange
from stacks.errors import ConfigIssue

__all__ = [
    "list_deleted_databases",
    "validate_created_namespace",
    "validate_namespace",
    "validate_protection",
    "validate_removed_application",
    "validate_shared_namespace",
]

RETAIN_HINT = "first set `protect: retain` and run `make up`: the namespace then stays in the cluster"


def validate_removed_application(change: ApplicationChange) -> Iterator[ConfigIssue]:
    """Reject the removal of a protected application, or of one with a protected group."""
    if change.new is not None:
        return
    protected = [
        f"{engine}.{name}"
        for engine, groups in change.old["databases"].items()
        for name, group in groups.items()
        if group["protect"] is True
    ]
    if protected or change.is_protected:
        loss = f"its databases ({', '.join(protected)})" if protected else f"its namespace {change.old['namespace']!r}"
        message = f"removing or renaming this application would delete {loss}. Write it again."
        yield ConfigIssue(change.location, f"{message} To remove it, {UNPROTECT_HINT}")


def validate_namespace(change: ApplicationChange) -> Iterator[ConfigIssue]:
    """Reject another namespace for a protected application."""
    if change.new and change.is_protected and change.old["namespace"] != change.new.namespace:
        old, new = change.old["namespace"], change.new.namespace
        yield ConfigIssue(
            (*change.location, "namespace"),
            f"the namespace was {old!r}; its data cannot move to {new!r}."
            f" Write {old!r} again, or add a new application and migrate the data (docs/upgrading.md)",
        )


def validate_created_namespace(change: ApplicationChange) -> Iterator[ConfigIssue]:
    """Reject an edit of `createNamespace` that would delete the namespace, or create one that exists."""
    if change.new is None or change.old["namespace"] != change.new.namespace:
        return
    namespace, location = change.old["namespace"], (*change.location, "createNamespace")
    old, new = change.old.get("createNamespace"), change.new.spec.create_namespace
    if old and not new and (change.is_protected or not change.retains_namespace):
        yield ConfigIssue(
            location,
            f"the program created the namespace {namespace!r}, and would delete it with everything in it."
            f" Write `createNamespace: true` again. To stop managing the namespace, {RETAIN_HINT}",
        )
    elif old is False and new:
        yield ConfigIssue(
            location,
            f"the namespace {namespace!r} exists, and the program takes over no existing object."
            " Write `createNamespace: false` again",
        )


def validate_shared_namespace(change: ApplicationChange) -> Iterator[ConfigIssue]:
    """Reject an edit that would delete the namespace of another application."""
    namespace = change.old["namespace"]
    is_left = change.new is None or change.new.namespace != namespace
    if not change.old.get("createNamespace") or not is_left or change.retains_namespace:
        return
    others = [name for name, other in change.applications.items() if other.namespace == namespace]
    if others:
        yield ConfigIssue(
            change.location,
            f"the edit would delete the namespace {namespace!r}, in which {', '.join(others)} runs."
            f" Write the application again. To remove it, {RETAIN_HINT}",
        )


def validate_protection(change: ApplicationChange) -> Iterator[ConfigIssue]:
    """Reject the end of an application's protection without an explicit `protect`."""
    if change.new is None or change.new.spec.protect is not None or is_retained(change.new.protect):
        return
    if is_retained(change.old["protect"]):
        old = f"{change.old['protect']}".lower()
        yield ConfigIssue(
            change.location,
            f"`protect` was {old}; without `environment: production` it would be false, and later edits could delete"
            f" the data. Write `protect: {old}` to keep the protection, or `protect: false` to end it",
        )


def list_deleted_databases(change: ApplicationChange) -> Iterator[ConfigIssue]:
    """Warn about the databases of a removed application, and about the volumes in a namespace that it leaves."""
    if change.new and change.new.namespace == change.old["namespace"]:
        return
    groups = [
        (f"{engine}.{name}", is_retained(group["protect"]))
        for engine, groups in change.old["databases"].items()
        for name, group in groups.items()
        if group.get("storage") or (group.get("externalServer") and change.new is None)
    ]
    for retained, loss in ((False, "is deleted"), (True, "stays, and is no longer managed")):
        if paths := [path for path, is_group_retained in groups if is_group_retained == retained]:
            yield ConfigIssue(change.location, f"the data of {', '.join(paths)} {loss}")
