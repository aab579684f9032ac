"""The key `from`: the group or the backup that fills a new group once."""

from typing import Annotated, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from components.spec import DnsLabel, SpecModel, StrictBool, constrain_str

__all__ = ["CopySpec", "GroupAddress", "Snapshot", "resolve_source"]

SOURCE_MESSAGE = "invalid group{value}; write `<group>`, `<engine>.<group>` or `<application>.<engine>.<group>`"
NAME_PATTERN = r"[a-z]([-a-z0-9]*[a-z0-9])?"
MAX_RUN = 9999
"""The Job's name has at most four digits: the longest server name then leaves room for it."""
MAX_TIMEOUT_MINUTES = 10080
SourcePath = Annotated[
    str, *constrain_str(rf"({NAME_PATTERN}\.){{0,2}}{NAME_PATTERN}", 191, "source_path", SOURCE_MESSAGE)
]
SNAPSHOT_MESSAGE = "invalid backup{value}; write `latest`, an id, or a time in UTC, for example `2026-11-24 03:00`"
Snapshot = Annotated[
    str,
    *constrain_str(
        r"(latest|[0-9a-f]{8,64}|[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}(:[0-9]{2})?)",
        64,
        "snapshot",
        SNAPSHOT_MESSAGE,
    ),
]
GroupAddress = tuple[str, str, str]
"""Application, engine and name of a group."""


class CopySpec(SpecModel):
    """The source of a group's data: another group, or a backup. A Job copies it once, and compares both."""

    group: SourcePath | None = None
    """Group to copy, of the same engine: `main` or `postgresql.main` in the application, `shop.postgresql.main` in
    another one. With `backup`: the group that was saved, by the name under which it was created. Default with `backup`:
    the group itself."""
    backup: Snapshot | None = None
    """Backup to restore: `latest`, an id, or a time in UTC, for which the newest backup that is not later counts.
    Default: none; the group itself is copied."""
    store: DnsLabel | None = None
    """Entry of `backupStores` with the backup. Default: the store of the group's own `backup`."""
    run: Annotated[int, Field(strict=True, ge=1, le=MAX_RUN)] = 1
    """Number of the copy. A higher number copies again. Default: `1`."""
    overwrite: StrictBool = False
    """Whether a copy first deletes the data that the group holds. Without it, the group must be empty. Default:
    `false`."""
    timeout_minutes: Annotated[int, Field(strict=True, ge=1, le=MAX_TIMEOUT_MINUTES)] = 60
    """Minutes that the copy may take. Default: `60`."""

    @model_validator(mode="after")
    def _require_source(self) -> Self:
        if self.group is None and self.backup is None:
            raise PydanticCustomError("copy_source", "the source is missing; set `group` or `backup`")
        if self.store is not None and self.backup is None:
            raise PydanticCustomError("copy_store", "`store` is supported with `backup` only; remove it")
        return self


def resolve_source(path: str, application: str, engine: str) -> GroupAddress:
    """Return the group that a path names, from a group of an application and an engine."""
    parts = path.split(".")
    source = [application, engine][: 3 - len(parts)] + parts
    return source[0], source[1], source[2]
