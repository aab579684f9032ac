"""The settings that a user can add to a server's configuration file: scalars by name, in the syntax of the engine."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from components.spec import SettingValue

__all__ = ["MEBIBYTE", "SettingsFile", "quote_json", "reject_value_and_map", "render_assignments", "render_nested_json"]

MEBIBYTE = 1024**2


@dataclass(frozen=True, kw_only=True)
class SettingsFile:
    """The configuration file of an engine."""

    render: Callable[[Mapping[str, SettingValue]], str]
    reserved_names: frozenset[str]
    """Normalized names of the settings that the program manages. A name also reserves the settings nested in it."""
    normalize_name: Callable[[str], str] = str.lower
    """Return the one normalized name of a setting that can be written in several ways."""
    build_defaults: Callable[[int], Mapping[str, SettingValue]] = lambda _memory: {}
    """Return the program's own settings for a server with a number of bytes of memory."""
    rejection_reason: Callable[[str, Mapping[str, SettingValue]], str | None] = lambda _name, _values: None
    """Return why the file cannot contain a setting together with the others, or None."""

    def validate(self, values: Mapping[str, SettingValue]) -> Iterator[tuple[str, str]]:
        """Yield each setting that cannot be set, with the reason."""
        for name in values:
            reason = (
                "reserved: the program manages this setting; remove it"
                if self.is_reserved(name)
                else self.rejection_reason(name, values)
            )
            if reason:
                yield name, reason

    def render_with_defaults(self, values: Mapping[str, SettingValue], memory: int) -> str:
        """Return the file of a server with `memory` bytes. The user's values replace the program's own settings."""
        return self.render(self.merge_defaults(values, memory))

    def merge_defaults(self, values: Mapping[str, SettingValue], memory: int) -> dict[str, SettingValue]:
        """Return the user's values, and the program's own settings for a server with `memory` bytes."""
        names = {self.normalize_name(name) for name in values}
        defaults = {
            name: value for name, value in self.build_defaults(memory).items() if self.normalize_name(name) not in names
        }
        return {**defaults, **values}

    def is_reserved(self, name: str) -> bool:
        """Return whether the program manages a setting."""
        parts = self.normalize_name(name).split(".")
        return any(".".join(parts[:count]) in self.reserved_names for count in range(1, len(parts) + 1))


def render_assignments(
    values: Mapping[str, SettingValue], *, sign: str, true: str, false: str, quote: Callable[[str], str] = str
) -> str:
    """Return one line for each setting: name, sign, value."""

    def render_value(value: SettingValue) -> str:
        if isinstance(value, bool):
            return true if value else false
        # Not every server reads an exponent.
        return quote(value) if isinstance(value, str) else format(Decimal(str(value)), "f")

    return "".join(f"{name}{sign}{render_value(value)}\n" for name, value in sorted(values.items()))


def quote_json(value: str) -> str:
    """Return a value in double quotes, with backslashes as in C."""
    return json.dumps(value, ensure_ascii=False)


def reject_value_and_map(name: str, values: Mapping[str, SettingValue]) -> str | None:
    """Return why a setting cannot have a value where dots in names mean nested maps, or None."""
    nested = next((other for other in sorted(values) if other.startswith(f"{name}.")), None)
    return f"conflicts with {nested!r}: a setting cannot be both a value and a map; remove one" if nested else None


def render_nested_json(values: Mapping[str, SettingValue]) -> str:
    """Return settings with dots in their names as nested maps, in JSON, which is YAML."""
    tree: dict[str, Any] = {}
    for name, value in sorted(values.items()):
        *parents, last = name.split(".")
        node: Any = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = value
    return json.dumps(tree, indent=2, sort_keys=True) + "\n"
