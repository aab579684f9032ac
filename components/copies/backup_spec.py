"""The key `backup`: when a group is saved, where, and how long its backups are retained."""

import hashlib
import re
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from components.spec import DnsLabel, Quantity, SpecModel, StrictBool, constrain_str

__all__ = ["BackupSpec", "KeepSpec", "build_cron", "find_longest_interval"]

WORDS = ("hourly", "daily", "weekly", "monthly")
FIELD_PATTERN = r"[0-9*][-0-9*,/]*"
SCHEDULE_MESSAGE = (
    "invalid schedule{value}; write `hourly`, `daily`, `weekly`, `monthly`, or five fields of cron, for example"
    " `30 2 * * *`"
)
Schedule = Annotated[
    str,
    *constrain_str(rf"({'|'.join(WORDS)}|{FIELD_PATTERN}( {FIELD_PATTERN}){{4}})", 100, "schedule", SCHEDULE_MESSAGE),
]
Count = Annotated[int, Field(strict=True, ge=1, le=1000)]
MAX_TIMEOUT_MINUTES = 2880
NIGHT_HOURS = 6
"""Daily backups begin between 0 and 6 o'clock UTC."""
DAYS_OF_EVERY_MONTH = 28
HOUR, DAY = 3600, 86400


class KeepSpec(SpecModel):
    """How many backups are retained. A backup stays as long as one of the keys covers it."""

    @model_validator(mode="after")
    def _require_count(self) -> Self:
        if not self.options:
            message = "a backup that nothing keeps is deleted at once; set `last`, `daily`, `weekly` or `monthly`"
            raise PydanticCustomError("keep", message)
        return self

    last: Count | None = None
    """Number of the newest backups. Default: none."""
    daily: Count | None = None
    """Number of days whose last backup is retained. Default: none."""
    weekly: Count | None = None
    """Number of weeks whose last backup is retained. Default: none."""
    monthly: Count | None = None
    """Number of months whose last backup is retained. Default: none."""

    @property
    def options(self) -> str:
        """The options of `restic forget`."""
        counts = {"last": self.last, "daily": self.daily, "weekly": self.weekly, "monthly": self.monthly}
        return " ".join(f"--keep-{name} {count}" for name, count in counts.items() if count)


DEFAULT_KEEP = KeepSpec(daily=7, weekly=4, monthly=6)


class BackupSpec(SpecModel):
    """The backups of a group."""

    store: DnsLabel | None = None
    """Entry of `backupStores`. Default: the only one."""
    schedule: Schedule = "daily"
    """When a backup begins: `hourly`, `daily`, `weekly`, `monthly`, or five fields of cron in UTC. Default: `daily`."""
    keep: KeepSpec = DEFAULT_KEEP
    """How many backups are retained. Default: 7 daily, 4 weekly and 6 monthly ones."""
    timeout_minutes: Annotated[int, Field(strict=True, ge=1, le=MAX_TIMEOUT_MINUTES)] = 240
    """Minutes that a backup may take. It then fails. Default: `240`."""
    verify: Schedule | Literal[False] = "weekly"
    """When a Job restores the newest backup into an empty server and compares both: as in `schedule`, or `false` for
    never. Default: `weekly`."""
    continuous: StrictBool = False
    """Whether the operator of a server cluster also saves each change, in the same store. The group can then be
    restored to each moment of the last `keep.daily` days. Groups that do not support it ignore the stack's value.
    Default: `false`."""
    verify_storage: Quantity | None = None
    """Disk space for that server, and for the files of a dump, on the node. Default: `storage` of the group's server;
    `10Gi` for an external one."""

    @property
    def max_age_seconds(self) -> int:
        """Age from which the newest backup is too old: two periods of the schedule."""
        return 2 * find_longest_interval(build_cron(self.schedule, ""))

    @property
    def max_verification_age_seconds(self) -> int:
        """Age from which the last verification is too old: two periods of its schedule. 0 without verification."""
        return 2 * find_longest_interval(build_cron(self.verify, "")) if self.verify else 0

    def merge_keys(self, other: "BackupSpec") -> "BackupSpec":
        """Return this specification with the keys that another one sets."""
        return self.model_copy(update={name: getattr(other, name) for name in other.model_fields_set})


def build_cron(schedule: str, name: str, first_hour: int = 0) -> str:
    """Return the five fields of a schedule.

    A named schedule gets a time that depends on the name, within NIGHT_HOURS after `first_hour`, so that Jobs spread.
    """
    if schedule not in WORDS:
        return schedule
    number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8])
    number, minute = divmod(number, 60)
    number, hour = divmod(number, NIGHT_HOURS)
    hour += first_hour
    number, weekday = divmod(number, 7)
    day = number % DAYS_OF_EVERY_MONTH + 1
    return {
        "hourly": f"{minute} * * * *",
        "daily": f"{minute} {hour} * * *",
        "weekly": f"{minute} {hour} * * {weekday}",
        "monthly": f"{minute} {hour} {day} * *",
    }[schedule]


def find_longest_interval(cron: str) -> int:
    """Return the longest time between two runs of a schedule in seconds.

    It is rounded up to an hour, a day, a week, a month or a year.
    """
    _, hour, day, month, weekday = cron.split(" ")
    restricted = [not re.fullmatch(r"\*(/1)?", field) for field in (hour, day, month, weekday)]
    lengths = (DAY, 31 * DAY, 366 * DAY, 7 * DAY)
    return max([HOUR, *(length for length, is_restricted in zip(lengths, restricted, strict=True) if is_restricted)])
