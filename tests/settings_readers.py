"""Readers of configuration files, each as its server reads the file: the values by the names of the settings."""

import json
import re
from collections.abc import Mapping
from typing import Any

import yaml

UNQUOTED_RE = re.compile(r"-?[0-9]+(\.[0-9]+)?|[a-zA-Z]+")


def read_assignments(text: str, sign: str = " =") -> dict[str, str]:
    """Read lines of name, sign and value. Spaces at the ends of a value do not belong to it."""
    return {name: value.strip(" \t") for name, value in _split_lines(text, sign).items()}


def _split_lines(text: str, sign: str) -> dict[str, str]:
    """Return the text after the sign, by name. Fail on any other line."""
    values: dict[str, str] = {}
    for line in text.rstrip("\n").split("\n"):
        match = re.fullmatch(rf"([-\w.]+){re.escape(sign)}(.*)", line)
        assert match, line
        values[match[1]] = match[2]
    return values


def _unescape(value: str, known: Mapping[str, str], *, unknown: str) -> str:
    """Return the meaning of a double-quoted value. `unknown` precedes the letter of an unknown escape."""
    inner = re.fullmatch(r'"((?:[^"\\]|\\.)*)"', value)
    return re.sub(r"\\(.)", lambda match: known.get(match[1], unknown + match[1]), inner[1]) if inner else value


def read_mysql(text: str) -> dict[str, str]:
    """Read as MySQL ("Using Option Files"): escapes, quotes, and a `#` that begins a comment outside of quotes."""
    section, _, rest = text.partition("\n")
    assert section == "[mysqld]"
    known = {"b": "\b", "t": "\t", "n": "\n", "r": "\r", "\\": "\\", "s": " ", '"': '"', "'": "'"}
    return {name: _unescape(value, known, unknown="\\") for name, value in _split_lines(rest, " = ").items()}


def read_postgresql(text: str) -> dict[str, str]:
    """Read as PostgreSQL (19.1.1, and its scanner): two quotes are one quote, and a backslash begins an escape."""

    def read_value(raw: str) -> str:
        inner = re.fullmatch(r"'((?:[^'\\]|\\.|'')*)'", raw)
        assert inner or UNQUOTED_RE.fullmatch(raw), raw
        return re.sub(r"\\(.)|''", lambda match: match[1] or "'", inner[1]) if inner else raw

    return {name: read_value(raw) for name, raw in _split_lines(text, " = ").items()}


def read_redis(text: str) -> dict[str, str]:
    r"""Read as Redis: a few letters and `\xHH` are escapes; the server drops any other backslash."""
    known = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "a": "\a"}
    return {name: _unescape(value, known, unknown="") for name, value in _split_lines(text, " ").items()}


def read_rabbitmq(text: str) -> dict[str, str]:
    """Read as cuttlefish, RabbitMQ's parser: single quotes without escapes, or an unquoted value up to a `#`."""

    def read_value(raw: str) -> str:
        inner = re.fullmatch(r"[ \t]*'([^']*)'[ \t]*", raw)
        if inner:
            return inner[1]
        assert not re.match(r"[ \t]*'[^']*'", raw), "text after the closing quote is an error"
        return re.sub(r"[ \t]*(#.*)?$", "", raw.lstrip(" \t"))

    return {name: read_value(raw) for name, raw in _split_lines(text, " =").items()}


def read_yaml(text: str) -> dict[str, Any]:
    """Read a flat map."""
    content = yaml.safe_load(text)
    assert isinstance(content, dict)
    return content


def read_nested_json(text: str) -> dict[str, Any]:
    """Read nested maps, in JSON that is also YAML."""
    assert isinstance(yaml.safe_load(text), dict)
    return _flatten(json.loads(text))


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key, value in tree.items():
        values |= _flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return values
