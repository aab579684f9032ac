"""Mistakes in a stack file, told so that a person can mend them: where, what is wrong, what would be right.

A message repeats a value only where the value cannot be a secret: a short word or number under a key that takes one.
"""

import difflib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pulumi
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from components.servers import SERVER_KINDS
from components.workload_patches import CONTAINER_NAME_PATTERN, WORKLOAD_NAME_PATTERN

__all__ = ["SECRET_KEYS", "ConfigIssue", "InvalidStackConfigError", "Location", "issues_from_pydantic"]

Location = tuple[str | int, ...]

PRINTABLE_VALUE_RE = re.compile(r"[A-Za-z0-9][-A-Za-z0-9._]{0,62}")
SECRET_KEYS = {"password", "token"}
PYDANTIC_KEY_MARKER = "[key]"
FIXED_MESSAGES = {
    ("missing",): "is missing",
    ("int_type", "int_parsing", "int_from_float"): "must be a whole number",
    ("bool_type", "bool_parsing"): "must be true or false",
    ("dict_type", "model_type", "model_attributes_type"): "must be a map of keys and values",
    ("list_type", "tuple_type"): "must be a list",
    ("too_short", "string_too_short"): "must not be empty",
    ("union_tag_not_found",): f"is missing: one of {', '.join(sorted(SERVER_KINDS))}",
}
"""What is said of an error for which the value does not matter."""
NAME_RULE = "a name begins with a letter and has lower-case letters, digits and '-' only, such as main or main-2"


@dataclass(frozen=True, order=True)
class ConfigIssue:
    """One mistake and its place."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


class InvalidStackConfigError(pulumi.RunError):
    """A stack file with mistakes; the message lists them all. Pulumi prints it without a traceback."""

    def __init__(self, issues: Iterable[ConfigIssue]) -> None:
        self.problems = sorted(set(issues))
        count = len(self.problems)
        lines = "\n".join(f"  {problem}" for problem in self.problems)
        super().__init__(
            f"the stack's configuration has {count} mistake{'' if count == 1 else 's'}; nothing was changed:\n{lines}"
        )


def format_path(location: Location) -> str:
    """`applications.shop.databases.mysql.main.server.host[1]`."""
    path = ""
    for step in location:
        path += f"[{step}]" if isinstance(step, int) else f".{_quote_if_needed(step)}"
    return path.removeprefix(".") or "the configuration"


def _quote_if_needed(key: str) -> str:
    """A key of the user's as it may be shown on one line."""
    return key if PRINTABLE_VALUE_RE.fullmatch(key) else repr(key[:63])


def issues_from_pydantic(error: ValidationError, schema: Mapping[str, Any]) -> Iterator[tuple[Location, ConfigIssue]]:
    """The problems of a validation, each with the location in the configuration. `schema` is the JSON schema of the model."""
    for details in error.errors(include_url=False):
        yield _to_issue(details, schema)


def _to_issue(details: ErrorDetails, schema: Mapping[str, Any]) -> tuple[Location, ConfigIssue]:
    location = details["loc"]
    # An unknown key may itself be named as pydantic marks a key.
    if location[-1:] == (PYDANTIC_KEY_MARKER,) and details["type"] != "extra_forbidden":
        location = location[:-1]
    shown, known = _resolve_location(location, schema)
    if details["type"] in ("union_tag_invalid", "union_tag_not_found"):
        shown = (*shown, "kind")
    return shown, ConfigIssue(format_path(shown), _format_message(details, shown, known))


def _format_message(details: ErrorDetails, location: Location, known: list[str]) -> str:
    """What is wrong and what would be right, by the kind of a validation's error."""
    value, context, kind = details["input"], details.get("ctx", {}), details["type"]
    plain = {kind: message for kinds, message in FIXED_MESSAGES.items() for kind in kinds}
    if kind in plain:
        return plain[kind]
    if kind == "extra_forbidden":
        return f"is not a known key{_suggest_key(str(location[-1]), known)}"
    if kind == "string_type":
        number = isinstance(value, int | float) and not isinstance(value, bool)
        example = f', "{value}"' if number and location[-1] not in SECRET_KEYS else ""
        return f"must be text{f': put it in quotes{example}' if number else ''}"
    rules: dict[str, Callable[[], str]] = {
        "too_long": lambda: f"is too long: at most {context['max_length']}",
        "string_too_long": lambda: f"is too long: at most {context['max_length']} characters",
        "greater_than_equal": lambda: f"is out of range: at least {context['ge']}",
        "less_than_equal": lambda: f"is out of range: at most {context['le']}",
        "literal_error": lambda: f"is none of {_format_choices(context['expected'])}",
        "union_tag_invalid": lambda: f"is none of {_format_choices(context['expected_tags'])}",
        "string_pattern_mismatch": lambda: _pattern_rule(context["pattern"]),
        "value_error": lambda: str(context["error"]),
    }
    return (
        _format_value(context.get("tag", value), location) + rules[kind]() if kind in rules else details["msg"].lower()
    )


def _pattern_rule(pattern: str) -> str:
    if "Gi" in pattern:
        return "is not a size with its unit, such as 512Mi or 50Gi"
    if "m?" in pattern:
        return "is not a number of processors, such as 2, 0.5 or 500m"
    if "_." in pattern:
        return "is not the name of a setting, which has letters, digits, '_', '-' and '.' only"
    if pattern in (CONTAINER_NAME_PATTERN, WORKLOAD_NAME_PATTERN):
        return "is not a name as Kubernetes has it: lower-case letters, digits and '-', and for workloads '.'"
    return f"is not a name: {NAME_RULE}"


def _format_choices(expected: str) -> str:
    """The choices of an enumeration, sorted and without quotes."""
    return ", ".join(sorted(re.findall(r"'([^']*)'", expected)))


def _format_value(value: object, location: Location) -> str:
    """A value as a message repeats it, with a space behind; nothing where it might be a secret or is long."""
    if isinstance(value, bool) or not isinstance(value, str | int | float) or SECRET_KEYS & set(map(str, location)):
        return ""
    return f"{str(value)!r} " if PRINTABLE_VALUE_RE.fullmatch(str(value)) else ""


def _suggest_key(key: str, known: list[str]) -> str:
    near = difflib.get_close_matches(key.lower(), [name.lower() for name in known], n=1, cutoff=0.6)
    match = next((name for name in known if near and name.lower() == near[0]), None)
    if match:
        return f"; did you mean '{match}'?"
    return f"; known keys: {', '.join(sorted(known))}" if known else ""


def _resolve_location(location: Location, schema: Mapping[str, Any]) -> tuple[Location, list[str]]:
    """Follows a location through the schema: without the tags of unions, and with the keys that its last map knows."""
    shown: list[str | int] = []
    known: list[str] = []
    node: Mapping[str, Any] = schema
    for step in location:
        node = _dereference(node, schema)
        tags = _union_alternatives(node)
        if isinstance(step, str) and step in tags:
            node = tags[step]
            continue
        shown.append(step)
        known = list(node.get("properties", {}))
        node = _child_schema(node, step)
    return tuple(shown), known


def _child_schema(node: Mapping[str, Any], step: str | int) -> Mapping[str, Any]:
    """The schema of a map's key or of a list's item."""
    patterns = list(node.get("patternProperties", {}).values())
    choices = (node.get("properties", {}).get(step), *patterns, node.get("additionalProperties"), node.get("items"))
    return next((choice for choice in choices if isinstance(choice, Mapping)), {})


def _dereference(node: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """A schema without its reference, and without the choice of null."""
    while "$ref" in node:
        node = schema["$defs"][node["$ref"].removeprefix("#/$defs/")]
    choices = [choice for choice in node.get("anyOf", []) if choice.get("type") != "null"]
    objects = [choice for choice in choices if {"$ref", "oneOf", "properties"} & set(choice)]
    return _dereference(objects[0], schema) if objects else node


def _union_alternatives(node: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The alternatives of a discriminated union by tag."""
    return {tag: {"$ref": reference} for tag, reference in node.get("discriminator", {}).get("mapping", {}).items()}
