"""Stack files (`Pulumi.<stack>.yaml`), read as Pulumi reads them. Encrypted values are not decrypted.

Rules: https://github.com/pulumi/pulumi/blob/v3.259.0/sdk/go/common/workspace/loaders.go for keys, and
sdk/go/common/resource/config/object.go in the same repository for values.
"""

import difflib
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from stacks.config_keys import list_key_warnings
from stacks.yaml_document import YamlDocument, read_yaml
from stacks.yaml_syntax import Finding, Location, YamlError, format_key

__all__ = ["HIDDEN", "StackFile", "StackFileError", "list_stacks", "load_stack_file"]

HIDDEN = "hidden"
"""The text in the place of an encrypted value."""
PROJECT = "database-groups"
CONFIG = "config"
SECURE = "secure"
ENVIRONMENT = "environment"
BREAKS = "\n\u2028\u2029"
NO_BLOCK_TEXT = re.compile(f"[ ][{BREAKS}]|[ ]\\Z|[^\t\n\x20-\x7e\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd]")
"""What a text contains that Go's yaml.v3 writes in double quotes, although it has several lines."""
PREFIX, SUFFIX = "Pulumi.", ".yaml"


class StackFileError(ValueError):
    """A stack file that cannot be read. The message lists all errors."""

    def __init__(self, path: Path, findings: Iterable[Finding]) -> None:
        self.path = path
        self.findings = _sort_findings(findings)
        count = len(self.findings)
        lines = "".join(f"\n  {finding}" for finding in self.findings)
        name = Path(path.parent.name) / path.name
        super().__init__(f"{name} has {count} error{'' if count == 1 else 's'}:{lines}")


@dataclass(frozen=True, kw_only=True)
class StackFile:
    """The configuration of a stack as Pulumi passes it to the program, with the position of every key."""

    path: Path
    config: Mapping[str, str]
    """The values by key with namespace: text as it is, everything else as JSON, and `HIDDEN` for encrypted values."""
    encrypted_keys: frozenset[str]
    """The keys of `config` that contain an encrypted value."""
    encrypted_paths: frozenset[Location]
    """The location of every encrypted value."""
    lines: Mapping[Location, int]
    """The line of every key and list item. The empty location is the line of `config` itself.

    A location starts with the key without the program's namespace, such as ("applications", "shop"), or with the whole
    key of another namespace, such as ("kubernetes:context",).
    """
    warnings: tuple[Finding, ...]
    """What Pulumi accepts, but the user probably did not mean."""

    def find_line(self, location: Location) -> int:
        """Return the line of a location or, if the file does not contain it, of the nearest location above it."""
        while location not in self.lines:
            location = location[:-1]
        return self.lines[location]


def list_stacks(folder: Path) -> list[str]:
    """Return the names of the stacks with a file in a folder, sorted."""
    return sorted(path.name.removeprefix(PREFIX).removesuffix(SUFFIX) for path in folder.glob(f"{PREFIX}*{SUFFIX}"))


def load_stack_file(path: Path, project: str = PROJECT) -> StackFile:
    """Return the stack file at a path. The project's name is the namespace of the keys without one.

    Raises StackFileError if the file does not exist, is not YAML or contains no configuration that Pulumi accepts.
    """
    try:
        document = read_yaml(path.read_bytes())
    except FileNotFoundError:
        stacks = ", ".join(list_stacks(path.parent)) or "none"
        message = f"the file does not exist; existing stacks: {stacks}"
        raise StackFileError(path, [Finding(message=message)]) from None
    except OSError as error:
        message = f"the file cannot be read: {error.strerror or type(error).__name__}"
        raise StackFileError(path, [Finding(message=message)]) from None
    except YamlError as error:
        raise StackFileError(path, [error.finding]) from None
    reader = _Reader(document, project)
    config = reader.read_config()
    if reader.errors:
        raise StackFileError(path, reader.errors)
    return StackFile(
        path=path,
        config=config,
        encrypted_keys=frozenset(reader.encrypted_keys),
        encrypted_paths=frozenset(reader.encrypted_paths),
        lines=reader.lines,
        warnings=_sort_findings([*reader.list_root_warnings(), *reader.list_key_warnings(config)]),
    )


def _sort_findings(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    return tuple(sorted(set(findings), key=lambda finding: (finding.line or 0, finding.column or 0, finding.message)))


class _Reader:
    """Reads the configuration in a document and collects errors and locations."""

    def __init__(self, document: YamlDocument, project: str) -> None:
        self.document = document
        self.namespace = f"{project}:"
        self.project = project
        self.errors = list(document.findings)
        self.lines: dict[Location, int] = {}
        self.encrypted_keys: set[str] = set()
        self.encrypted_paths: set[Location] = set()

    def read_config(self) -> dict[str, str]:
        """Return the configuration by full keys, as far as it has no errors."""
        config: dict[str, str] = {}
        values = self._read_config_map()
        first_lines: dict[str, int] = {}
        for key, value in values.items():
            line = self.document.lines[CONFIG, key]
            full_key = self._build_full_key(key)
            if full_key is None or (CONFIG, key) in self.document.typed_keys:
                problem = "is not text" if full_key else "has more than one ':'"
                self._add_error(f"a configuration key {problem}; write <namespace>:<name>", line)
                continue
            if full_key in config:
                first = f"first on line {first_lines[full_key]}, with another prefix"
                self._add_error(f"duplicate key {format_key(full_key)} ({first}); remove one", line)
                continue
            first_lines[full_key] = line
            location = self._build_location(full_key)
            self.lines[location] = line
            encrypted_count = len(self.encrypted_paths)
            plain = self._read_value(value, (CONFIG, key), location)
            if len(self.encrypted_paths) > encrypted_count:
                self.encrypted_keys.add(full_key)
            config[full_key] = plain if isinstance(plain, str) else "" if plain is None else _format_json(plain)
        return config

    def list_root_warnings(self) -> Iterator[Finding]:
        """Yield a warning for each key outside of `config` from which the user may expect an effect here."""
        for key in self.document.value:
            line = self.document.lines[key,]
            if key == ENVIRONMENT:
                yield Finding(message="values from Pulumi ESC environments are not known before an update", line=line)
            elif ":" in key:
                message = f"Pulumi ignores {format_key(key)} outside of '{CONFIG}'; indent it below '{CONFIG}'"
                yield Finding(message=message, line=line)

    def list_key_warnings(self, config: Mapping[str, str]) -> Iterator[Finding]:
        """Yield a warning for each configuration key that is probably misspelt."""
        for key, message in list_key_warnings(config.keys(), self.project).items():
            location = self._build_location(key)
            yield Finding(message=message, line=self.lines[location], location=location)

    def _read_config_map(self) -> dict[str, Any]:
        """Return the map `config` of the document; an empty map with an error where there is none."""
        root = self.document.value
        if root is None:
            self._add_error(f"the file is empty; add the map '{CONFIG}' with the keys of the stack")
            return {}
        if not isinstance(root, dict):
            self._add_error(f"the file must be a map of keys and values, with the key '{CONFIG}'")
            return {}
        for key in root:
            if (key,) in self.document.typed_keys:
                message = f"the key {format_key(key)} is not text; remove it"
                self._add_error(message, self.document.lines[key,])
        if CONFIG not in root:
            near = difflib.get_close_matches(CONFIG, root, n=1)
            remedy = f"rename {format_key(near[0])} to '{CONFIG}'" if near else "add it with the keys of the stack"
            self._add_error(f"the map '{CONFIG}' is missing; {remedy}", self.document.lines[near[0],] if near else None)
            return {}
        config = root[CONFIG]
        self.lines[()] = self.document.lines[CONFIG,]
        if not isinstance(config, dict) or not config:
            problem = "is empty; add" if config in (None, {}) else "must be a map of"
            self._add_error(f"'{CONFIG}' {problem} keys such as '{self.namespace}applications'", self.lines[()])
            return {}
        return config

    def _build_full_key(self, key: str) -> str | None:
        """Return a key with its namespace, or None for a key that Pulumi does not accept."""
        match key.split(":"):
            case [_]:
                return self.namespace + key
            case [_, _]:
                return key
            case [namespace, "config", name]:
                return f"{namespace}:{name}"
        return None

    def _build_location(self, full_key: str) -> Location:
        return (full_key.removeprefix(self.namespace),)

    def _read_value(self, value: Any, source: Location, location: Location) -> Any:
        """Return a value without its encrypted values, and note its locations. `source` is the one in the document."""
        items: Iterable[tuple[str | int, Any]]
        if isinstance(value, dict) and value.keys() == {SECURE} and isinstance(value[SECURE], str):
            self.encrypted_paths.add(location)
            return HIDDEN
        if isinstance(value, dict):
            items = value.items()
        elif isinstance(value, list):
            items = enumerate(value)
        else:
            return self._read_scalar(value, self.document.lines[source])
        plain: dict[str | int, Any] = {}
        for step, item in items:
            inner = (*location, step)
            self.lines[inner] = self.document.lines[*source, step]
            plain[step] = self._read_value(item, (*source, step), inner)
        return list(plain.values()) if isinstance(value, list) else plain

    def _read_scalar(self, value: Any, line: int) -> Any:
        if isinstance(value, float) and not math.isfinite(value):
            self._add_error("Pulumi does not support the numbers .inf and .nan", line)
        # Pulumi writes the file as YAML once more before it reads the values, as block text in these cases.
        if isinstance(value, str) and "\n" in value and not NO_BLOCK_TEXT.search(value):
            if value.startswith("\t"):
                self._add_error("Pulumi cannot read text of several lines that starts with a tab; use spaces", line)
            # The writer loses the first line break: https://github.com/go-yaml/yaml/issues/755.
            return value[1:] if value[0] in BREAKS else value
        return value

    def _add_error(self, message: str, line: int | None = None) -> None:
        self.errors.append(Finding(message=message, line=line))


def _format_json(value: Any, *, nested: bool = False) -> str:
    """Return a value as Pulumi encodes it: with sorted keys, and with the escapes and numbers of Go's encoding/json."""
    if isinstance(value, dict):
        items = (f"{_format_json(key)}:{_format_json(value[key], nested=True)}" for key in sorted(value))
        return f"{{{','.join(items)}}}"
    if isinstance(value, list):
        return f"[{','.join(_format_json(item, nested=True) for item in value)}]"
    if isinstance(value, str):
        text = json.dumps(value, ensure_ascii=False)
        return text.translate({ord(character): f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"})
    if isinstance(value, bool) or value is None:
        return json.dumps(value)
    if isinstance(value, int) and not (nested and value >= 2**63):
        return str(value)
    return _format_float(float(value))


def _format_float(value: float) -> str:
    """Return a number as Go's encoding/json writes it: without an exponent from 1e-6 to 1e21."""
    if value == 0:
        return "0"
    number = Decimal(repr(value)).normalize()
    sign, digits, _ = number.as_tuple()
    exponent = number.adjusted()
    if -6 <= exponent < 21:  # noqa: PLR2004
        return f"{number:f}"
    first, *rest = map(str, digits)
    return f"{'-' * sign}{first}{'.' * bool(rest)}{''.join(rest)}e{exponent:+}"
