"""The key `from`: the group that fills a new group once."""

from typing import Annotated

from pydantic import Field

from components.spec import SpecModel, StrictBool, constrain_str

__all__ = ["CopySpec", "GroupAddress", "resolve_source"]

SOURCE_MESSAGE = "invalid group{value}; write `<group>`, `<engine>.<group>` or `<application>.<engine>.<group>`"
NAME_PATTERN = r"[a-z]([-a-z0-9]*[a-z0-9])?"
MAX_RUN = 9999
"""The Job's name has at most four digits: the longest server name then leaves room for it."""
MAX_TIMEOUT_MINUTES = 10080
SourcePath = Annotated[
    str, *constrain_str(rf"({NAME_PATTERN}\.){{0,2}}{NAME_PATTERN}", 191, "source_path", SOURCE_MESSAGE)
]
GroupAddress = tuple[str, str, str]
"""Application, engine and name of a group."""


class CopySpec(SpecModel):
    """The source of a group's data. A Job copies it once, and compares both groups."""

    group: SourcePath
    """Group to copy, of the same engine: `main` or `postgresql.main` in the application, `shop.postgresql.main` in
    another one."""
    run: Annotated[int, Field(strict=True, ge=1, le=MAX_RUN)] = 1
    """Number of the copy. A higher number copies again. Default: `1`."""
    overwrite: StrictBool = False
    """Whether a copy first deletes the data that the group holds. Without it, the group must be empty. Default:
    `false`."""
    timeout_minutes: Annotated[int, Field(strict=True, ge=1, le=MAX_TIMEOUT_MINUTES)] = 60
    """Minutes that the copy may take. Default: `60`."""


def resolve_source(path: str, application: str, engine: str) -> GroupAddress:
    """Return the group that a path names, from a group of an application and an engine."""
    parts = path.split(".")
    source = [application, engine][: 3 - len(parts)] + parts
    return source[0], source[1], source[2]
