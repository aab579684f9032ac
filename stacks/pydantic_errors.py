"""Validation errors of pydantic as issues: each with the user's location and the program's message.

A model's own error (PydanticCustomError) brings its message, in which `{value}` is a placeholder. A message shows a
value only if it cannot be a secret: short text, a number or a boolean under a key without secrets.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from components.engines import ENGINES
from components.spec import format_choices
from stacks.config_source import ConfigSource
from stacks.errors import PRINTABLE_TEXT_RE, SECRET_KEYS, ConfigIssue, Location
from stacks.key_examples import KEY_EXAMPLES, get_section_name
from stacks.schema import build_stack_schema
from stacks.suggestions import find_nearest, suggest_choice

__all__ = ["translate_validation_error"]

KEY_MARKER = "[key]"
"""Last step of the location of an invalid key, which pydantic adds."""
VALUE_PLACEHOLDER = "{value}"
MAX_NUMBER_LENGTH = 20
ENCRYPTED_EXAMPLE = ", password: {secure: …}"
EMPTY_TEXT = "empty; write a value, or remove the key"
TRUE_WORDS = ("true", "yes", "y", "on", "1")
FALSE_WORDS = ("false", "no", "n", "off", "0")
REWRITTEN_KEYS = MappingProxyType({"true": "`on` or `yes`", "false": "`off` or `no`"})
"""Keys that a YAML 1.1 tool writes, and what they may have been."""
DEFINITIONS = build_stack_schema()["$defs"]
GROUP_KEYS = frozenset(DEFINITIONS["DatabaseGroupSpec"]["properties"])
SERVER_KEYS = frozenset(
    key
    for name in ("LocalKindSpec", "DedicatedKindSpec", "ExternalKindSpec")
    for key in DEFINITIONS[name]["properties"]
)
MAP_KEYS = frozenset({"server", "settings", "resources"})
"""The keys of a group and of a server whose values are maps."""
KEY_HINTS: Mapping[str, str] = MappingProxyType(
    {
        "requests": "set `cpu` and `memory` directly; the program derives requests and limits",
        "limits": "set `cpu` and `memory` directly; the program derives requests and limits",
    }
)
"""Messages for keys that other tools have."""
WORKLOAD_HINT = "reference the environment Secret with `envFrom` in its manifest instead"
VALUE_HINTS: Mapping[tuple[str, str], Mapping[str, str]] = MappingProxyType(
    {("WorkloadSpec", "kind"): dict.fromkeys(("cronjob", "job", "pod", "replicaset"), WORKLOAD_HINT)}
)
"""Advice for values that other tools have, by model, key and value in lower case."""
EXPECTED_BY_KEY: Mapping[str, str] = MappingProxyType(
    {
        "host": "a host name, an IP address or a list of IP addresses",
        "server": "a kind (`server: local`) or a map with `kind`",
    }
)
ENGINE_HINTS: Mapping[str, str] = MappingProxyType(
    {"mariadb": "use the engine 'mysql' with an existing database (`host`)"}
)
"""Advice for engines that the program does not have."""


@dataclass(frozen=True, kw_only=True)
class _Place:
    """A location in the schema."""

    location: Location
    """The location without the tags of unions, which pydantic adds."""
    keys: tuple[str, ...] = ()
    """The keys that the innermost map accepts."""
    kind: str = ""
    """The chosen alternative of a union, if the innermost map is one."""
    keys_by_kind: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))
    """The keys of all alternatives."""
    model: str = ""
    """The model of the innermost map."""

    @property
    def key(self) -> str:
        """The innermost key. A list's items have the list's key."""
        return next(str(step) for step in reversed(self.location) if isinstance(step, str))

    @property
    def example(self) -> str:
        """An example of the value as YAML, or nothing."""
        match self.location:
            case ("applications", _, "databases", str(engine)):
                return f"{engine}: {{main: }}"
            case ("applications", _, "databases", _, str(group)):
                return f"{group}: {{server: local}}"
        example = KEY_EXAMPLES.get(get_section_name(self.model), {}).get(self.key)
        if example is None:
            return ""
        return example[1:-1] if isinstance(self.location[-1], int) else f"{self.key}: {example}"


@dataclass(frozen=True, kw_only=True)
class _Error:
    """An error of pydantic with what its message needs."""

    place: _Place
    value: Any
    shown: str
    """The value after a space, or nothing for a value that can be a secret."""
    context: Mapping[str, Any]
    source: ConfigSource


def translate_validation_error(
    error: ValidationError, raw: Mapping[str, Any], source: ConfigSource
) -> list[ConfigIssue]:
    """Return the issues of a validation, one for each location. `raw` is the validated mapping."""
    translator = _Translator(raw, source)
    issues: dict[Location, ConfigIssue] = {}
    for details in error.errors(include_url=False):
        for issue in translator.translate(details):
            issues.setdefault(issue.location, issue)
    return list(issues.values())


class _Translator:
    """Translates the errors of one validation."""

    def __init__(self, raw: Mapping[str, Any], source: ConfigSource) -> None:
        self.raw = raw
        self.source = source

    def translate(self, details: ErrorDetails) -> Iterator[ConfigIssue]:
        """Yield the issue of an error, or none if another error explains it."""
        location = details["loc"]
        # An unknown key can have the marker's name.
        if location[-1:] == (KEY_MARKER,) and details["type"] != "extra_forbidden":
            location = location[:-1]
        place = _find_place(location)
        if details["type"] in ("union_tag_invalid", "union_tag_not_found"):
            place = replace(place, location=(*place.location, "kind"))
        misplaced = self._find_misplaced_key(place.location)
        if misplaced:
            yield misplaced
        elif not (details["type"] == "missing" and self._has_misplaced_engine(place)):
            yield ConfigIssue(place.location, self._format_message(details, place))

    def _format_message(self, details: ErrorDetails, place: _Place) -> str:
        kind, context = details["type"], details.get("ctx", {})
        raw_value = details["input"]["kind"] if kind == "union_tag_invalid" else details["input"]
        value = self._format_value(raw_value, place.location)
        if kind in MESSAGES:
            return MESSAGES[kind](
                _Error(place=place, value=raw_value, shown=value, context=context, source=self.source)
            )
        template, choices = details["msg"], context.get("choices")
        if choices and value:
            template = f"{template.partition('; ')[0]}; {_suggest_engine(str(details['input']), choices, place)}"
        return template.replace(VALUE_PLACEHOLDER, value)

    def _format_value(self, value: object, location: Location) -> str:
        """Return a value after a space, or nothing for a value that can be a secret."""
        if SECRET_KEYS & set(map(str, location)) or self.source.is_encrypted(location):
            return ""
        if isinstance(value, bool):
            return f" {str(value).lower()}"
        if isinstance(value, int | float):
            return f" {value}" if len(str(value)) <= MAX_NUMBER_LENGTH else ""
        return f" {value!r}" if isinstance(value, str) and PRINTABLE_TEXT_RE.fullmatch(value) else ""

    def _find_misplaced_key(self, location: Location) -> ConfigIssue | None:
        """Return the issue of a group's or a server's key directly under the engine, where a group's name belongs."""
        match location:
            case ("applications", _, "databases", str(engine), str(key), *_) if key in GROUP_KEYS | SERVER_KEYS:
                value = self._find_value(location[:5])
                if isinstance(value, Mapping) and (key not in MAP_KEYS or GROUP_KEYS & set(value)):
                    return None
                inner = f"{{{key}: …}}" if key in GROUP_KEYS else f"{{server: {{{key}: …}}}}"
                message = f"'{key}' is read as the name of a group; write `{engine}: {{main: {inner}}}`"
                return ConfigIssue(location[:5], message)
        return None

    def _has_misplaced_engine(self, place: _Place) -> bool:
        application = self._find_value(place.location[:-1])
        if place.model != "ApplicationSpec" or not isinstance(application, Mapping):
            return False
        return any(_find_misplaced_engine(str(key), place) for key in application)

    def _find_value(self, location: Location) -> Any:
        node: Any = self.raw
        for step in location:
            try:
                node = node[step]
            except (KeyError, IndexError, TypeError):
                return None
        return node


def _find_place(location: Location) -> _Place:
    """Follow a location of pydantic through the schema."""
    schema = build_stack_schema()
    steps: list[str | int] = []
    place, kind, keys_by_kind = _Place(location=()), "", {}
    node: Mapping[str, Any] = schema
    for step in location:
        node = _dereference(node, schema)
        alternatives = _list_alternatives(node)
        if isinstance(step, str) and step in alternatives:
            kind, keys_by_kind, node = step, _list_keys_by_kind(alternatives, schema), alternatives[step]
            continue
        steps.append(step)
        if not isinstance(step, int):
            keys, model = tuple(node.get("properties", {})), str(node.get("title", ""))
            place = _Place(location=(), keys=keys, model=model, kind=kind, keys_by_kind=keys_by_kind)
            kind, keys_by_kind = "", {}
        node = _find_child_schema(node, step)
    keys_of_value = _list_keys_by_kind(_list_alternatives(_dereference(node, schema)), schema)
    return replace(place, location=tuple(steps), keys_by_kind=keys_of_value or place.keys_by_kind)


def _find_child_schema(node: Mapping[str, Any], step: str | int) -> Mapping[str, Any]:
    """Return the schema of a map's key or of a list's item."""
    patterns = list(node.get("patternProperties", {}).values())
    choices = (node.get("properties", {}).get(step), *patterns, node.get("additionalProperties"), node.get("items"))
    return next((choice for choice in choices if isinstance(choice, Mapping)), {})


def _dereference(node: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a schema without references and without the alternatives that are not maps."""
    while "$ref" in node:
        node = schema["$defs"][node["$ref"].removeprefix("#/$defs/")]
    maps = [choice for choice in node.get("anyOf", []) if {"$ref", "oneOf", "properties", "items"} & set(choice)]
    return _dereference(maps[0], schema) if maps else node


def _list_alternatives(node: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return the alternatives of a discriminated union by tag."""
    return {tag: {"$ref": reference} for tag, reference in node.get("discriminator", {}).get("mapping", {}).items()}


def _list_keys_by_kind(
    alternatives: Mapping[str, Mapping[str, Any]], schema: Mapping[str, Any]
) -> dict[str, tuple[str, ...]]:
    return {kind: tuple(_dereference(node, schema)["properties"]) for kind, node in alternatives.items()}


def _suggest_engine(text: str, choices: str, place: _Place) -> str:
    """Return what to write instead of an unsupported engine."""
    if place.location[0] == "applications":
        variants = {variant.name: engine.name for engine in ENGINES.values() for variant in engine.variants}
        if text in ENGINE_HINTS:
            return ENGINE_HINTS[text]
        if text in variants:
            return f"write `{variants[text]}: {{main: {{variant: {text}}}}}`"
    return suggest_choice(text, re.split(", | or ", choices))


def _describe_missing_key(error: _Error) -> str:
    if error.place.key in SECRET_KEYS:
        return f"missing; to set it, run: {error.source.format_secret_command(error.place.location)}"
    return f"missing; add {_describe_example(error)}" if error.place.example else "missing; add it"


def _describe_example(error: _Error) -> str:
    """Return the example of a value for a message. A command sets the password in it."""
    place = error.place
    example = f"`{place.example}`"
    if ENCRYPTED_EXAMPLE not in example:
        return example
    command = error.source.format_secret_command((*place.location, "password"))
    return f"{example.replace(ENCRYPTED_EXAMPLE, '')}; to set the password, run: {command}"


def _describe_unknown_key(error: _Error) -> str:
    place, key = error.place, error.place.key
    other_kinds = [kind for kind, keys in place.keys_by_kind.items() if key in keys]
    if key in REWRITTEN_KEYS:
        return f"unknown key; another tool may have rewritten {REWRITTEN_KEYS[key]} to {key}; remove it"
    if key in KEY_HINTS:
        return KEY_HINTS[key]
    if other_kinds:
        return f"not supported with `kind: {place.kind}`, only with {format_choices(sorted(other_kinds))}; remove it"
    return f"unknown key; {_suggest_key(key, place)}"


def _suggest_key(key: str, place: _Place) -> str:
    if engine := _find_misplaced_engine(key, place):
        return f"engines belong under `databases`: `databases: {{{engine}: …}}`"
    if place.model == "DatabaseGroupSpec" and key in SERVER_KEYS:
        return f"write it under `server`: `server: {{{key}: …}}`"
    if nearest := find_nearest(key, place.keys):
        return f"did you mean '{nearest}'?"
    return f"known keys: {', '.join(sorted(place.keys))}" if place.keys else "remove it"


def _find_misplaced_engine(key: str, place: _Place) -> str | None:
    """Return the engine that an unknown key of an application means."""
    is_unknown = place.model == "ApplicationSpec" and find_nearest(key, place.keys) is None
    return find_nearest(key, ENGINES) if is_unknown else None


def _describe_text(error: _Error) -> str:
    value, key = error.value, error.place.key
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if key in SECRET_KEYS and not is_number:
        command = error.source.format_secret_command(error.place.location)
        return f"expected text or `{{secure: …}}`; to set it, run: {command}"
    if not is_number:
        return f"expected text, found {_describe_type(value)}"
    example = f'`"{error.shown.strip() or 8.4}"`'
    if key == "version":
        release = "write the version in quotes exactly as released"
        return f"expected text; {release}, for example {example} (YAML drops trailing zeros)"
    return f"expected text; put it in quotes: {example}" if error.shown else "expected text; put it in quotes"


def _describe_boolean(error: _Error) -> str:
    text = str(error.value).lower() if error.shown else ""
    if isinstance(error.value, str) and text in ("true", "false"):
        return "expected true or false; remove the quotes"
    for word, words in (("true", TRUE_WORDS), ("false", FALSE_WORDS)):
        if text in words:
            return f"expected true or false; write `{word}`"
    return f"expected true or false, found {_describe_type(error.value)}"


def _describe_whole_number(error: _Error) -> str:
    unit = " of seconds" if error.place.key.endswith("Seconds") else ""
    if isinstance(error.value, str) and error.value.isdecimal() and error.shown:
        return f"expected a whole number{unit}; remove the quotes"
    example = error.place.example.partition(": ")[2]
    return f"expected a whole number{unit}, for example `{example}`"


def _describe_map(error: _Error) -> str:
    place, found = error.place, _describe_type(error.value)
    match place.location:
        case ("applications", _, "databases", _):
            return f"expected at least one group, for example `{place.example}`"
        case (*_, "server"):
            return f"expected {EXPECTED_BY_KEY['server']}, found {found}"
    example = f"; write for example {_describe_example(error)}" if place.example else ""
    return f"expected a map{'' if example else ' (`key: value`)'}, found {found}{example}"


def _describe_list(error: _Error) -> str:
    place, found = error.place, _describe_type(error.value)
    if place.key in EXPECTED_BY_KEY:
        return f"expected {EXPECTED_BY_KEY[place.key]}, found {found}"
    return f"expected a list, found {found}; write for example `{place.example}`"


def _describe_empty_value(error: _Error) -> str:
    if isinstance(error.value, str):
        return EMPTY_TEXT
    return f"empty; add at least one entry, for example `{error.place.example}`"


def _describe_unsupported_value(error: _Error) -> str:
    value, choices = error.value, _list_choices(error.context)
    hints = VALUE_HINTS.get((error.place.model, error.place.key), {})
    advice = f"use {format_choices(choices)}"
    if error.shown and isinstance(value, str):
        advice = hints.get(value.lower()) or suggest_choice(value, choices)
    return f"unsupported value{error.shown}; {advice}"


def _describe_missing_kind(error: _Error) -> str:
    keys_by_kind = error.place.keys_by_kind
    known = {key for keys in keys_by_kind.values() for key in keys}
    given = [key for key in error.value if key in known]
    kinds = [kind for kind, keys in keys_by_kind.items() if set(given) <= set(keys)]
    if len(kinds) == 1:
        (kind,) = kinds
        reason = next(key for key in given if any(key not in keys for keys in keys_by_kind.values()))
        return f"missing; `{reason}` suggests `kind: {kind}`"
    return f"missing; set it to {format_choices(sorted(keys_by_kind))}"


def _list_choices(context: Mapping[str, Any]) -> list[str]:
    """Return the choices of a literal type or of a union."""
    return re.findall(r"'([^']*)'", context.get("expected", context.get("expected_tags", "")))


def _describe_type(value: object) -> str:
    """Return the type of a value as YAML names it."""
    if isinstance(value, bool):
        return str(value).lower()
    return next((name for type_, name in TYPE_NAMES if isinstance(value, type_)), "nothing")


TYPE_NAMES: tuple[tuple[type, str], ...] = (
    (str, "text"),
    (int, "a number"),
    (float, "a number"),
    (Mapping, "a map"),
    (list, "a list"),
)
MESSAGES: Mapping[str, Callable[[_Error], str]] = MappingProxyType(
    {
        "missing": _describe_missing_key,
        "extra_forbidden": _describe_unknown_key,
        "invalid_key": lambda _error: "the key is not text; put it in quotes",
        "string_type": _describe_text,
        "string_too_short": lambda _error: EMPTY_TEXT,
        "string_too_long": lambda error: f"too long; use at most {error.context['max_length']} characters",
        "string_unicode": lambda _error: "invalid characters; write the value again",
        **dict.fromkeys(("bool_type", "bool_parsing"), _describe_boolean),
        **dict.fromkeys(("int_type", "int_parsing", "int_from_float"), _describe_whole_number),
        "greater_than_equal": lambda error: f"out of range; use {error.context['ge']} or more",
        "less_than_equal": lambda error: f"out of range; use {error.context['le']} or less",
        **dict.fromkeys(("dict_type", "model_type", "model_attributes_type"), _describe_map),
        **dict.fromkeys(("list_type", "tuple_type"), _describe_list),
        "too_short": _describe_empty_value,
        "too_long": lambda error: f"too long; use at most {error.context['max_length']} entries",
        **dict.fromkeys(("literal_error", "union_tag_invalid"), _describe_unsupported_value),
        "union_tag_not_found": _describe_missing_kind,
        "value_error": lambda _error: "invalid value; correct it",
    }
)
"""The messages of pydantic's own errors by their type. Each function returns what is wrong and what to write."""
