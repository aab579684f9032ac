"""YAML documents as Pulumi reads them, with the line of every key.

Rules: https://github.com/go-yaml/yaml/blob/v3.0.1/decode.go.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

import yaml

from stacks.yaml_scalars import Scalar, read_implicit_value, read_tagged_value
from stacks.yaml_syntax import Finding, Location, YamlError, format_key, parse_events

__all__ = ["YamlDocument", "read_yaml"]

MAX_DEPTH = 100
TAG_PREFIX = "tag:yaml.org,2002:"
MERGE_KEY = "<<"


@dataclass(frozen=True, kw_only=True)
class YamlDocument:
    """The value of a document with the position of everything in it."""

    value: Any
    """Maps, lists and scalars. Every key is text, as in JSON."""
    lines: Mapping[Location, int]
    """The line of every key and of every list item."""
    typed_keys: frozenset[Location]
    """The keys that the file does not have as text, such as `5` or `true`."""
    findings: tuple[Finding, ...]
    """Errors that leave the rest of the document readable, such as duplicate keys."""


def read_yaml(content: bytes) -> YamlDocument:
    """Return the first document of a text; the value of an empty text is None.

    Raises YamlError for invalid YAML.
    """
    findings: list[Finding] = []
    root = _build_tree(parse_events(content), findings)
    resolved = _Resolver(findings).resolve(root, depth=0) if root else None
    lines: dict[Location, int] = {}
    typed_keys: set[Location] = set()
    value = _strip_positions(resolved, (), lines, typed_keys)
    return YamlDocument(value=value, lines=lines, typed_keys=frozenset(typed_keys), findings=tuple(findings))


@dataclass(eq=False)
class _Scalar:
    line: int
    value: Scalar


@dataclass(eq=False)
class _Collection:
    line: int
    is_map: bool
    is_flow: bool
    """Whether the collection is in brackets."""
    items: list["_Node"] = field(default_factory=list)
    """The items of a list, or the keys and values of a map in turns."""


@dataclass(eq=False)
class _Alias:
    line: int
    target: "_Scalar | _Collection | _Alias"


_Node: TypeAlias = _Scalar | _Collection | _Alias


def _build_tree(events: Iterable[yaml.Event], findings: list[Finding]) -> _Node | None:
    """Return the root of the first document. Unlike PyYAML's composer, this one accepts an anchor's second use."""
    root: _Node | None = None
    open_collections: list[_Collection] = []
    anchors: dict[str, _Node] = {}
    for event in events:
        if isinstance(event, yaml.DocumentStartEvent) and root:
            message = "a second YAML document starts here, and Pulumi reads only the first one; remove the line '---'"
            findings.append(Finding(message=message, line=_get_line(event)))
            break
        if isinstance(event, yaml.CollectionEndEvent):
            open_collections.pop()
        if not isinstance(event, yaml.NodeEvent):
            continue
        node = _build_node(event, anchors)
        if open_collections:
            if open_collections[-1].is_flow and isinstance(event, yaml.ScalarEvent) and not event.style:
                _check_flow_text(event)
            open_collections[-1].items.append(node)
        else:
            root = node
        if isinstance(node, _Collection):
            open_collections.append(node)
    return root


def _build_node(event: yaml.NodeEvent, anchors: dict[str, _Node]) -> _Node:
    """Return the node of an event and note its anchor. Raises YamlError."""
    node: _Node
    if isinstance(event, yaml.AliasEvent):
        if event.anchor not in anchors:
            message = "invalid YAML: no anchor has this name; put a value that starts with '*' in quotes"
            raise YamlError(message, _get_line(event))
        return _Alias(_get_line(event), anchors[event.anchor])
    if isinstance(event, yaml.ScalarEvent):
        node = _read_scalar(event)
    else:
        is_flow = bool(getattr(event, "flow_style", False))
        node = _Collection(_get_line(event), isinstance(event, yaml.MappingStartEvent), is_flow)
    if event.anchor:
        anchors[event.anchor] = node
    return node


def _read_scalar(event: yaml.ScalarEvent) -> _Scalar:
    tag = None if event.tag in (None, "!") else event.tag.removeprefix(TAG_PREFIX)
    is_plain = not event.style
    try:
        if tag is not None:
            value = read_tagged_value(tag, event.value)
        else:
            value = read_implicit_value(event.value) if is_plain else event.value
    except ValueError as error:
        raise YamlError(f"invalid YAML: {error}", _get_line(event)) from None
    return _Scalar(_get_line(event), value)


def _check_flow_text(event: yaml.ScalarEvent) -> None:
    """Raise YamlError for text in brackets that libyaml accepts, but yaml.v3 does not."""
    if "? " in event.value:
        raise YamlError("invalid YAML: put a value with '? ' in quotes", _get_line(event))


def _get_line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 1


class _Entry(NamedTuple):
    """A key or a list item with its value."""

    line: int
    value: "_Resolved"
    is_text: bool = True
    """Whether the file has the key as text."""


_Resolved: TypeAlias = Scalar | list[_Entry] | dict[str, _Entry]


class _Resolver:
    """Gives every node its value: follows aliases, merges maps and finds duplicate keys."""

    def __init__(self, findings: list[Finding]) -> None:
        self.findings = findings
        self.open_aliases: list[_Alias] = []
        self.count = 0
        self.alias_count = 0

    def resolve(self, node: _Node, depth: int) -> _Resolved:
        """Return the value of a node. Raises YamlError where the document has no value."""
        self._count_nodes(node, depth)
        match node:
            case _Scalar():
                return node.value
            case _Alias():
                return self._resolve_alias(node, depth)
            case _Collection(is_map=True):
                return self._resolve_map(node, depth)
            case _Collection():
                return [_Entry(item.line, self.resolve(item, depth + 1)) for item in node.items]

    def _count_nodes(self, node: _Node, depth: int) -> None:
        """Raise YamlError for nesting that is too deep and, by the rule of yaml.v3, for too many aliases."""
        if depth > MAX_DEPTH:
            raise YamlError(f"more than {MAX_DEPTH} levels of nesting", node.line)
        self.count += 1
        self.alias_count += bool(self.open_aliases)
        allowed = min(0.99, max(0.10, 0.99 - 0.89 * (self.count - 400_000) / 3_600_000))
        if self.alias_count > 100 and self.count > 1000 and self.alias_count / self.count > allowed:  # noqa: PLR2004
            raise YamlError("aliases repeat too many values", node.line)

    def _resolve_alias(self, node: _Alias, depth: int) -> _Resolved:
        if node in self.open_aliases:
            raise YamlError("the alias refers to a value that contains the alias; remove it", node.line)
        self.open_aliases.append(node)
        value = self.resolve(node.target, depth + 1)
        self.open_aliases.pop()
        return value

    def _resolve_map(self, node: _Collection, depth: int) -> dict[str, _Entry]:
        """Return the entries of a map: its own, and for other keys those of the maps that it merges."""
        entries: dict[str, _Entry] = {}
        merged: dict[str, _Entry] = {}
        first_lines: dict[str, int] = {}
        for key_node, value_node in zip(node.items[::2], node.items[1::2], strict=True):
            resolved_key = self.resolve(key_node, depth + 1)
            if isinstance(resolved_key, list | dict):
                message = "a map or a list cannot be a key; put a value that starts with '{' or '[' in quotes"
                self.findings.append(Finding(message=message, line=key_node.line))
                continue
            key = _format_key(resolved_key)
            if key in first_lines:
                message = f"duplicate key {format_key(key)} (first on line {first_lines[key]}); remove one"
                self.findings.append(Finding(message=message, line=key_node.line))
                continue
            first_lines[key] = key_node.line
            # Pulumi merges for the key in quotes too, because it writes the map as YAML once more, without quotes.
            if key == MERGE_KEY:
                merged = self._merge_entries(value_node, depth)
            else:
                value = self.resolve(value_node, depth + 1)
                entries[key] = _Entry(key_node.line, value, is_text=type(resolved_key) is str)
        return {**merged, **entries}

    def _merge_entries(self, node: _Node, depth: int) -> dict[str, _Entry]:
        """Return the entries of one map or of a list of maps, of which the first one wins. Raises YamlError."""
        entries: dict[str, _Entry] = {}
        for source in node.items if isinstance(node, _Collection) and not node.is_map else [node]:
            value = self.resolve(source, depth + 1)
            if not isinstance(value, dict):
                raise YamlError("'<<' accepts only a map or a list of maps, such as '<<: *name'", source.line)
            entries = {**value, **entries}
        return entries


def _format_key(value: Scalar) -> str:
    """Return a key as Go prints it."""
    match value:
        case None:
            return "<nil>"
        case bool():
            return str(value).lower()
        case float() if value.is_integer():
            return str(int(value))
        case _:
            return str(value)


def _strip_positions(resolved: _Resolved, location: Location, lines: dict[Location, int], typed: set[Location]) -> Any:
    """Return a value without its positions, which go into `lines`, and note the keys that are not text."""

    def strip_entry(key: str | int, entry: _Entry) -> Any:
        inner = (*location, key)
        lines[inner] = entry.line
        if not entry.is_text:
            typed.add(inner)
        return _strip_positions(entry.value, inner, lines, typed)

    if isinstance(resolved, dict):
        return {key: strip_entry(key, entry) for key, entry in resolved.items()}
    if isinstance(resolved, list):
        return list(map(strip_entry, range(len(resolved)), resolved))
    return resolved
