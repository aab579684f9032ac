"""The stack file behind a configuration: its name, the lines of its keys, and its encrypted values."""

import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from stacks.config_keys import list_key_warnings
from stacks.errors import SECRET_KEYS, ConfigIssue, Location
from stacks.spec import PROJECT
from stacks.stack_file import HIDDEN, StackFile, StackFileError, load_stack_file

__all__ = ["ConfigSource", "decode_value", "read_config_source"]

HIDDEN_VALUE = "(hidden value)"
MIN_SECRET_LENGTH = 3
"""A shorter value also occurs inside ordinary text."""
PREFIX = f"{PROJECT}:"


@dataclass(frozen=True, kw_only=True)
class ConfigSource:
    """What is known about the file that a configuration comes from. Default: nothing."""

    name: str = ""
    """Name of the file in messages: `stacks/Pulumi.shop.yaml`."""
    stack: str = "..."
    """Name of the stack in commands."""
    lines: Mapping[Location, int] = field(default_factory=lambda: MappingProxyType({}))
    """Lines of the keys and list items that have the same value in the file and in the configuration."""
    encrypted_locations: frozenset[Location] = frozenset()
    """Locations of encrypted values. All values below such a location count as encrypted."""
    warnings: tuple[str, ...] = ()
    """Warnings about the file."""
    secrets: frozenset[str] = field(default=frozenset(), repr=False)
    """Values that no message may repeat."""

    def is_encrypted(self, location: Location) -> bool:
        """Return whether a value is encrypted in the file."""
        return any(location[:length] in self.encrypted_locations for length in range(1, len(location) + 1))

    def format_secret_command(self, location: Location) -> str:
        """Return the command that sets an encrypted value."""
        path = f"{PREFIX}{'.'.join(map(str, location))}"
        return f"make pulumi STACK={self.stack} ARGS=\"config set --secret --path '{path}'\""

    def find_line(self, location: Location) -> int | None:
        """Return the line of a location, or of the nearest location above it."""
        above = (self.lines.get(location[:length]) for length in range(len(location), 0, -1))
        return next((line for line in above if line is not None), None)

    def add_secrets(self, raw: Mapping[str, Any]) -> "ConfigSource":
        """Return the source with the secrets of the configuration `raw`, whatever key a secret has."""
        return replace(self, secrets=frozenset(self._list_secrets(raw, ())))

    def hide_secrets(self, text: str) -> str:
        """Return a text of a server or a check without secrets. Part of another name is no secret."""
        for secret in sorted(self.secrets, key=len, reverse=True):
            if len(secret) >= MIN_SECRET_LENGTH:
                text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", HIDDEN_VALUE, text)
        return text

    def hide_quoted_secrets(self, issue: ConfigIssue) -> ConfigIssue:
        """Return an issue without secrets. The program's own messages repeat values only in quotes."""
        message = issue.message
        for secret in self.secrets:
            message = message.replace(repr(secret), HIDDEN_VALUE)
        return replace(issue, message=message)

    def add_line(self, issue: ConfigIssue) -> ConfigIssue:
        """Return an issue with its line."""
        return replace(issue, line=self.find_line(issue.location))

    def format_warning(self, issue: ConfigIssue) -> str:
        """Return a warning with its file and its line."""
        text = str(self.add_line(issue))
        return f"{self.name}: {text}" if self.name else text

    def _list_secrets(self, value: Any, location: Location) -> Iterator[str]:
        if isinstance(value, str):
            yield from [value] if self.is_encrypted(location) or SECRET_KEYS & set(location) else ()
        elif isinstance(value, Mapping | list):
            for step, item in value.items() if isinstance(value, Mapping) else enumerate(value):
                yield from self._list_secrets(item, (*location, step))


def read_config_source(
    path: Path, values: Mapping[str, str], encrypted_keys: Collection[str], default_name: str
) -> ConfigSource:
    """Return the source of a configuration: the stack file at a path, as far as it has the same values.

    `values` has full keys. `encrypted_keys` are the keys with an encrypted value. Without a readable file, and for a
    key whose value is not the file's, no line is known and the whole value counts as encrypted.
    """
    encrypted = {_get_location(key) for key in encrypted_keys}
    stack = path.name.removeprefix("Pulumi.").removesuffix(".yaml")
    try:
        file = load_stack_file(path, PROJECT)
    except StackFileError:
        warnings = tuple(f"{default_name}: {warning}" for warning in list_key_warnings(values, PROJECT).values())
        return ConfigSource(name=default_name, stack=stack, encrypted_locations=frozenset(encrypted), warnings=warnings)
    same = {
        _get_location(key)[0] for key, value in values.items() if key.startswith(PREFIX) if _is_same(file, key, value)
    }
    name = f"{path.parent.name}/{path.name}"
    return ConfigSource(
        name=name,
        stack=stack,
        lines={location: line for location, line in file.lines.items() if location and location[0] in same},
        encrypted_locations=frozenset(
            [
                *(location for location in encrypted if location[0] not in same),
                *(location for location in file.encrypted_paths if location[0] in same),
            ]
        ),
        warnings=tuple(f"{name}: {warning}" for warning in file.warnings),
    )


def decode_value(value: Any) -> Any:
    """Return a value of the configuration. Pulumi passes text as it is and everything else as JSON."""
    try:
        return json.loads(value)
    except (TypeError, ValueError, RecursionError):
        return value


def _get_location(key: str) -> Location:
    return (key.removeprefix(PREFIX),)


def _is_same(file: StackFile, key: str, value: str) -> bool:
    """Return whether a value is the file's. Encrypted values cannot be compared and do not count."""
    if key not in file.config:
        return False
    location = _get_location(key)
    expected = _hide_encrypted(decode_value(file.config[key]), location, file.encrypted_paths)
    return bool(expected == _hide_encrypted(decode_value(value), location, file.encrypted_paths))


def _hide_encrypted(value: Any, location: Location, encrypted: Collection[Location]) -> Any:
    if location in encrypted:
        return HIDDEN
    if isinstance(value, dict):
        return {key: _hide_encrypted(item, (*location, key), encrypted) for key, item in value.items()}
    if isinstance(value, list):
        return [_hide_encrypted(item, (*location, number), encrypted) for number, item in enumerate(value)]
    return value
