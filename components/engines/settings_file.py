"""What a user may set in a server's own configuration file: scalars by name, in the syntax of the engine."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from components.spec import SettingValue

__all__ = ["SettingsFile", "quote_json", "reject_value_and_map", "render_assignments", "render_nested_json"]


@dataclass(frozen=True, kw_only=True)
class SettingsFile:
    """The configuration file of an engine."""

    render: Callable[[Mapping[str, SettingValue]], str]
    reserved_names: frozenset[str]
    """Settings that the program gives, by their normal names; a name before a `.` owns all that begin with it."""
    normalize_name: Callable[[str], str] = str.lower
    """The one name of a setting that can be written in several ways."""

    rejection_reason: Callable[[str, Mapping[str, SettingValue]], str | None] = lambda _name, _values: None
    """Why the file cannot hold a setting beside the others, if it cannot."""

    def validate(self, values: Mapping[str, SettingValue]) -> Iterator[tuple[str, str]]:
        """The settings that cannot be set, and why."""
        for name in values:
            reason = (
                "is given by the program and cannot be set"
                if self.is_reserved(name)
                else self.rejection_reason(name, values)
            )
            if reason:
                yield name, reason

    def is_reserved(self, name: str) -> bool:
        """Whether a setting is the program's own."""
        parts = self.normalize_name(name).split(".")
        return any(".".join(parts[:count]) in self.reserved_names for count in range(1, len(parts) + 1))


def render_assignments(
    values: Mapping[str, SettingValue], *, sign: str, true: str, false: str, quote: Callable[[str], str] = str
) -> str:
    """A line for each setting: name, sign, value."""

    def render_value(value: SettingValue) -> str:
        if isinstance(value, bool):
            return true if value else false
        # Not every server reads an exponent.
        return quote(value) if isinstance(value, str) else format(Decimal(str(value)), "f")

    return "".join(f"{name}{sign}{render_value(value)}\n" for name, value in sorted(values.items()))


def quote_json(value: str) -> str:
    """A value in double quotes, with backslashes as in C."""
    return json.dumps(value, ensure_ascii=False)


def reject_value_and_map(name: str, values: Mapping[str, SettingValue]) -> str | None:
    """Why a setting cannot be one where names with dots are maps in maps."""
    return (
        "is a value here and a map in another setting"
        if any(other.startswith(f"{name}.") for other in values)
        else None
    )


def render_nested_json(values: Mapping[str, SettingValue]) -> str:
    """Settings with dots in their names as nested maps. JSON, which is YAML."""
    tree: dict[str, Any] = {}
    for name, value in sorted(values.items()):
        *parents, last = name.split(".")
        node: Any = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = value
    return json.dumps(tree, indent=2, sort_keys=True) + "\n"
