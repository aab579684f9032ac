"""Stack files read as Pulumi reads them, but for encrypted values, whose place is taken by a word."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

__all__ = ["PLACEHOLDER", "StackFile", "load_stack_file"]

PLACEHOLDER = "hidden"


class Loader(yaml.CSafeLoader):
    """YAML as Pulumi's own reader has it: `on`, `off`, `yes` and `no` are words (YAML 1.2)."""

    yaml_implicit_resolvers = {  # noqa: RUF012 (declared so by PyYAML)
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool"]
        for first, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
    }


Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("true|True|TRUE|false|False|FALSE"), list("tTfF"))


@dataclass(frozen=True, kw_only=True)
class StackFile:
    """The configuration of a stack as the program is given it."""

    config: Mapping[str, str]
    """Every key with its value: words as they are, everything else as JSON."""
    encrypted: tuple[str, ...]
    """The keys that hold an encrypted value somewhere."""


def load_stack_file(path: Path) -> StackFile:
    """Reads a stack file. Raises OSError where it cannot be read, and ValueError, with the line, where it is not one."""
    try:
        # Not an unsafe load: the loader is a SafeLoader.
        content = yaml.load(path.read_text(), Loader)  # noqa: S506
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        raise ValueError(
            f"{path.name} is not YAML" + (f": line {mark.line + 1}, column {mark.column + 1}" if mark else "")
        ) from None
    config = content.get("config", {}) if isinstance(content, dict) else None
    if not isinstance(config, dict):
        raise ValueError(f"{path.name} is not a stack file: it has no map named 'config'")
    opened = {str(key): _hide_encrypted(value) for key, value in config.items()}
    return StackFile(
        config={
            key: value if isinstance(value, str) else json.dumps(value, default=str) for key, value in opened.items()
        },
        encrypted=tuple(str(key) for key, value in config.items() if _hide_encrypted(value) != value),
    )


def _hide_encrypted(value: Any) -> Any:
    """A value with a word in the place of each encrypted one."""
    if isinstance(value, dict):
        return (
            PLACEHOLDER
            if set(value) == {"secure"}
            else {str(key): _hide_encrypted(item) for key, item in value.items()}
        )
    return [_hide_encrypted(item) for item in value] if isinstance(value, list) else value
