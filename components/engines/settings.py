"""What a user may set in a server's own configuration file: scalars by name, in the syntax of the engine."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

__all__ = ["Settings", "Value", "assignments", "nested", "no_value_and_map", "words"]

Value = str | int | float | bool


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The configuration file of an engine."""

    render: Callable[[Mapping[str, Value]], str]
    owned: frozenset[str]
    """Settings that the program gives, by their normal names; a name before a `.` owns all that begin with it."""
    normal: Callable[[str], str] = str.lower
    """The one name of a setting that can be written in several ways."""

    unfit: Callable[[str, Mapping[str, Value]], str | None] = lambda _name, _values: None
    """Why the file cannot hold a setting beside the others, if it cannot."""

    def mistakes(self, values: Mapping[str, Value]) -> Iterator[tuple[str, str]]:
        """The settings that cannot be set, and why."""
        for name in values:
            reason = "is given by the program and cannot be set" if self.owns(name) else self.unfit(name, values)
            if reason:
                yield name, reason

    def owns(self, name: str) -> bool:
        """Whether a setting is the program's own."""
        parts = self.normal(name).split(".")
        return any(".".join(parts[:count]) in self.owned for count in range(1, len(parts) + 1))


def assignments(values: Mapping[str, Value], *, sign: str, true: str, false: str, quote: Callable[[str], str] = str) -> str:
    """A line for each setting: name, sign, value."""

    def text(value: Value) -> str:
        if isinstance(value, bool):
            return true if value else false
        # Not every server reads an exponent.
        return quote(value) if isinstance(value, str) else format(Decimal(str(value)), "f")

    return "".join(f"{name}{sign}{text(value)}\n" for name, value in sorted(values.items()))


def words(value: str) -> str:
    """A value in double quotes, with backslashes as in C."""
    return json.dumps(value, ensure_ascii=False)


def no_value_and_map(name: str, values: Mapping[str, Value]) -> str | None:
    """Why a setting cannot be one where names with dots are maps in maps."""
    return "is a value here and a map in another setting" if any(other.startswith(f"{name}.") for other in values) else None


def nested(values: Mapping[str, Value]) -> str:
    """Settings with dots in their names as nested maps. JSON, which is YAML."""
    tree: dict[str, Any] = {}
    for name, value in sorted(values.items()):
        *parents, last = name.split(".")
        node: Any = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = value
    return json.dumps(tree, indent=2, sort_keys=True) + "\n"
