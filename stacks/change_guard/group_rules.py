"""Rules about a group: its removal, its server, its account and its volume."""

from collections.abc import Iterator

from components.persisted.outputs import GroupSummary
from components.protection import is_retained
from components.spec import parse_quantity
from stacks.change_guard.change import MIGRATION_HINT, UNPROTECT_HINT, GroupChange
from stacks.errors import ConfigIssue

__all__ = [
    "list_deleted_data",
    "list_moved_server",
    "list_overwritten_data",
    "validate_account",
    "validate_copy",
    "validate_init_script",
    "validate_original_name",
    "validate_password_version",
    "validate_placement",
    "validate_protection_of_group",
    "validate_release",
    "validate_removed_group",
    "validate_replicas",
    "validate_storage_class",
    "validate_storage_size",
]


def validate_original_name(change: GroupChange) -> Iterator[ConfigIssue]:
    """Reject an edit of `renamedFrom` after which a group has another server and other data."""
    group, original = change.namesake, change.original_name
    if group is not None:
        remedy = f"Write `renamedFrom: {original}` again" if original != change.name else "Remove `renamedFrom`"
        yield ConfigIssue(
            (*group.config_location, "renamedFrom"),
            f"the group was created as '{original}'; with the name '{group.original_name}' it would have another server"
            f" and lose its data. {remedy}",
        )


def validate_removed_group(change: GroupChange) -> Iterator[ConfigIssue]:
    """Reject the removal of a protected group."""
    if change.new or change.namesake or not change.is_protected:
        return
    loss = (
        "its data" if change.old["kind"] != "external" or change.old.get("externalServer") else "its Service and Secret"
    )
    yield ConfigIssue(
        change.location,
        f"removing or renaming this group would delete {loss}. Write it again. To rename it, set"
        f" `renamedFrom: {change.original_name}` at the new name. To remove it, {UNPROTECT_HINT}",
    )


def validate_protection_of_group(change: GroupChange) -> Iterator[ConfigIssue]:
    """Reject the end of a group's own protection without an explicit `protect`."""
    if change.new is None or change.new.spec.protect is not None or is_retained(change.new.protect):
        return
    if is_retained(change.old["protect"]) and not is_retained(change.application.old["protect"]):
        old = f"{change.old['protect']}".lower()
        yield ConfigIssue(
            change.location,
            f"`protect` was {old}; the application's is false, and later edits could delete the data."
            f" Write `protect: {old}` to keep the protection, or `protect: false` to end it",
        )


def validate_release(change: GroupChange) -> Iterator[ConfigIssue]:
    """Reject another variant, another release series or an older release for existing data."""
    if change.new is None:
        return
    old, new = change.old, change.new.output_summary
    if not (old.get("series") and new["series"]):
        return
    if old["variant"] != new["variant"]:
        yield ConfigIssue(
            (*change.location, "variant"),
            f"cannot change from {old['variant']!r} to {new['variant']!r}: the data is not compatible."
            f" Write {old['variant']!r} again, or {MIGRATION_HINT}",
        )
    elif old["series"] != new["series"]:
        yield ConfigIssue(
            (*change.location, "server", "version"),
            f"the release series cannot change in place from {old['series']} to {new['series']}."
            f" Use a release of {old['series']}, or {MIGRATION_HINT}",
        )
    elif _is_older(new["version"], old["version"]) and not _is_regrouped(change.old, new):
        key = "image" if getattr(change.new.spec.server, "image", None) else "version"
        yield ConfigIssue(
            (*change.location, "server", key),
            f"the release {new['version']} is older than {old['version']}, which wrote the data."
            f" Use {old['version']} or later, or {MIGRATION_HINT}",
        )


def _is_regrouped(old: GroupSummary, new: GroupSummary) -> bool:
    """Return whether one server becomes a cluster, or a cluster one server. The data is then on other volumes."""
    before, after = (summary.get("replicas") or 1 for summary in (old, new))
    return before != after and 1 in (before, after)


def _is_older(version: str | None, other: str | None) -> bool:
    """Return whether a release is older than another one. A series is not older than its releases."""
    numbers = [tuple(map(int, text.split("."))) for text in (version, other) if text]
    length = min(map(len, numbers), default=0)
    return len(numbers) > 1 and numbers[0][:length] < numbers[1][:length]


def validate_placement(change: GroupChange) -> Iterator[ConfigIssue]:
    """Reject a move of a protected group to another server. Local and dedicated servers use the same volume.

    A move between two entries of `externalServers` is always rejected: Pulumi would not create the database again.
    """
    if change.new is None or not change.is_moved:
        return
    new = change.new.output_summary
    old_server, new_server = change.old.get("externalServer"), new["externalServer"]
    if old_server and new_server:
        yield ConfigIssue(
            (*change.location, "server", "provisionOn"),
            f"the database is on the server '{old_server}', and cannot move to '{new_server}'."
            f" Write `provisionOn: {old_server}` again, or {MIGRATION_HINT}",
        )
        return
    if not change.is_protected:
        return
    key, old_value, new_value = "kind", change.old["kind"], new["kind"]
    if old_value == new_value:
        key, old_value, new_value = "provisionOn", old_server or "not set", new_server or "not set"
    yield ConfigIssue(
        (*change.location, "server", key),
        f"changing `{key}` from '{old_value}' to '{new_value}' would not move the data."
        f" Write '{old_value}' again. To change it, {UNPROTECT_HINT}",
    )


def validate_account(change: GroupChange) -> Iterator[ConfigIssue]:
    """Reject another database or user name for a provisioned database."""
    if change.new is None or change.is_moved or not change.old.get("externalServer"):
        return
    account = change.new.server_access.owner
    for key, description, new in (("database", "database", account.database), ("username", "user", account.username)):
        old = change.old.get(key)
        if old is not None and old != new:
            yield ConfigIssue(
                (*change.location, "server", key),
                f"the {description} was {old!r}; with the name {new!r} the server would rename it, or delete it with"
                f" its data, while Pods use it. Write `{key}: {old}`, or {MIGRATION_HINT}",
            )


def validate_password_version(change: GroupChange) -> Iterator[ConfigIssue]:
    """Reject a change that would end the password in use. Each change ends the password before it."""
    if change.new is None or change.is_moved or not change.old.get("externalServer"):
        return
    version, planned = change.old.get("passwordVersion"), change.new.spec.password_version
    if version is not None and planned not in (version, version + 1):
        yield ConfigIssue(
            (*change.location, "passwordVersion"),
            f"the password in use has the version {version}, and a change to {planned} would end it at once."
            f" Use {version + 1} for a new password, or {version} for no change",
        )


def validate_replicas(change: GroupChange) -> Iterator[ConfigIssue]:
    """Reject the change between one server and a cluster, and fewer servers if the operator cannot remove any."""
    if change.new is None or change.is_moved:
        return
    # Numbers in the state are floats.
    old, new = int(change.old.get("replicas") or 1), change.new.output_summary["replicas"] or 1
    location = (*change.location, "server", "replicas")
    if _is_regrouped(change.old, change.new.output_summary):
        yield ConfigIssue(
            location,
            f"the group had {old} {'server' if old == 1 else 'servers'}; with {new} the data would be on other volumes."
            f" Write `replicas: {old}`, or {MIGRATION_HINT}",
        )
    elif new < old and change.new.engine.cluster and not change.new.engine.cluster.can_shrink:
        operator = change.new.engine.cluster.operator.name
        yield ConfigIssue(location, f"{operator} cannot remove servers. Write `replicas: {old}`, or {MIGRATION_HINT}")


def validate_storage_size(change: GroupChange) -> Iterator[ConfigIssue]:
    """Reject a smaller volume. Kubernetes can only increase it."""
    old, volume = change.old.get("storage"), change.new.server_access.requested_volume if change.new else None
    if old and volume and not change.is_moved and parse_quantity(volume.storage) < parse_quantity(old):
        yield ConfigIssue(
            (*change.location, "server", "storage"),
            f"the volume has {old}, and Kubernetes cannot reduce it to {volume.storage}."
            f" Write `storage: {old}`, or {MIGRATION_HINT}",
        )


def validate_storage_class(change: GroupChange) -> Iterator[ConfigIssue]:
    """Reject another storage class: Kubernetes would need another volume."""
    volume = change.new.server_access.requested_volume if change.new else None
    if not change.old.get("storage") or volume is None or change.is_moved:
        return
    old, new = change.old.get("storageClass"), volume.storage_class
    if old != new:
        remedy = f"Write `storageClass: {old}`" if old else "Remove `storageClass`"
        yield ConfigIssue(
            (*change.location, "server", "storageClass"),
            f"the storage class was {old or 'the default of the cluster'}; with {new or 'the default of the cluster'}"
            f" the volume would be deleted with its data. {remedy}, or {MIGRATION_HINT}",
        )


def validate_init_script(change: GroupChange) -> Iterator[ConfigIssue]:
    """Reject a new or another script on a server that has started: it would never run."""
    if not change.old.get("hasStarted", True):
        return
    new = change.new.server_access.init_script_digest if change.new else None
    if new and new != change.old.get("initScript") and not change.is_moved:
        remedy = "Write the old script again" if change.old.get("initScript") else "Remove it"
        yield ConfigIssue(
            (*change.location, "server", "initScript"),
            "the server is initialized, so the script would never run."
            f" {remedy}, and run the statements with `kubectl exec` (docs/day-two.md)",
        )


def validate_copy(change: GroupChange) -> Iterator[ConfigIssue]:
    """Reject another source for a copy that has run, and a number that is lower than that of the last run."""
    old, new = change.old.get("copy"), change.new.output_summary["copy"] if change.new else None
    if not old or not new:
        return
    location = (*change.location, "from")
    if new["run"] < old["run"]:
        message = f"the last copy has the number {old['run']}; write `run: {old['run']}` for no change, or"
        yield ConfigIssue((*location, "run"), f"{message} {old['run'] + 1} to copy again")
    elif new["run"] == old["run"] and new["source"] != old["source"]:
        yield ConfigIssue(
            (*location, "group"),
            f"the copy with `run: {old['run']}` has used {old['source']}, and does not run again. For no change,"
            f" write the old source again. To copy {new['source']}, write `run: {old['run'] + 1}`; the group must be"
            " empty, or `overwrite: true` deletes its data first",
        )


def list_overwritten_data(change: GroupChange) -> Iterator[ConfigIssue]:
    """Warn about data that a new copy deletes."""
    if change.new is None or change.new.copy_spec is None or not change.new.copy_spec.overwrite:
        return
    old, new = change.old.get("copy"), change.new.output_summary["copy"]
    if not old or (new and new["run"] > old["run"]):
        source = change.new.source_description
        yield ConfigIssue((*change.location, "from"), f"the data of {change.path} is deleted, and copied from {source}")


def list_deleted_data(change: GroupChange) -> Iterator[ConfigIssue]:
    """Warn about data that an accepted edit deletes, or leaves without management."""
    if change.new is not None and not change.is_moved:
        return
    if change.has_data:
        loss = "stays, and is no longer managed" if is_retained(change.old["protect"]) else "is deleted"
        yield ConfigIssue(change.location, f"the data of {change.path} {loss}")


def list_moved_server(change: GroupChange) -> Iterator[ConfigIssue]:
    """Warn about a server that restarts on other nodes with the same volume."""
    if change.new and not change.is_moved and change.old["kind"] != change.new.spec.server.kind:
        yield ConfigIssue(
            (*change.location, "server", "kind"),
            f"the server restarts as {change.new.spec.server.kind} with the same volume; the volume must be usable on"
            " the nodes of the new kind",
        )
