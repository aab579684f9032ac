"""Faulty stack files and their exact messages: the table `tests/stacks/messages.txt`.

A line without indentation is `<context> | <YAML>`; the lines below it are the messages. The context says which part of
a valid stack the YAML changes. Paths in messages start at that part.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from stacks.errors import Location
from tests.support import EXISTING_SERVER, external_server, groups, stack_with_group

TABLE = Path(__file__).parent / "stacks" / "messages.txt"
SERVER = "applications.shop.databases.mysql.main.server"
SERVERS = {"hq": external_server("mysql"), "pg": external_server("postgresql")}
PROVISIONED = {"kind": "external", "provisionOn": "hq"}
REDIS = stack_with_group("redis")

CONTEXTS: dict[str, tuple[str, Callable[[Any], dict[str, Any]]]] = {
    "top": ("", lambda value: {**REDIS, **value}),
    "application": (
        "applications.shop",
        lambda value: {"applications": {"shop": {**REDIS["applications"]["shop"], **value}}},
    ),
    "whole application": ("applications.shop", lambda value: {"applications": {"shop": value}}),
    "databases": ("applications.shop.databases", lambda value: groups(**value)),
    "group": ("applications.shop.databases.mysql.main", lambda value: groups(mysql={"main": value})),
    "server": (SERVER, lambda value: stack_with_group("mysql", value)),
    "local": (SERVER, lambda value: stack_with_group("mysql", {"kind": "local", **value})),
    "dedicated": (SERVER, lambda value: stack_with_group("mysql", {"kind": "dedicated", **value})),
    "existing": (SERVER, lambda value: stack_with_group("mysql", {**EXISTING_SERVER, **value})),
    "provisioned": (
        SERVER,
        lambda value: {"externalServers": SERVERS, **stack_with_group("mysql", {**PROVISIONED, **value})},
    ),
    "external server": (
        "externalServers.hq",
        lambda value: {**REDIS, "externalServers": {"hq": {**external_server("mysql"), **value}}},
    ),
}


class FaultyStack(NamedTuple):
    """A row of the table."""

    name: str
    raw: dict[str, Any]
    messages: list[str]


def read_faulty_stacks() -> Iterator[FaultyStack]:
    """Yield the rows of the table."""
    for block in TABLE.read_text().strip().split("\n\n"):
        header, *messages = block.split("\n")
        context, _, text = header.partition(" | ")
        path, build = CONTEXTS[context]
        raw = build(yaml.safe_load(text if text.startswith("{") else f"{{{text}}}"))
        yield FaultyStack(header, raw, sorted(_absolute(path, message.strip()) for message in messages))


def _absolute(path: str, message: str) -> str:
    """Return a message with the whole path."""
    return path + ("." if path and message[0] not in ":[" else "") + message


FAULTY_STACKS = list(read_faulty_stacks())


def list_locations(value: Any, location: Location = ()) -> Iterator[tuple[Location, Any]]:
    """Yield the location and the value of everything inside a value."""
    yield location, value
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, item in items:
        yield from list_locations(item, (*location, step))


def replace_value(raw: Any, location: Location, value: Any) -> Any:
    """Return a copy with another value at a location."""
    if not location:
        return value
    copy = list(raw) if isinstance(raw, list) else dict(raw)
    step: Any = location[0]
    inner = copy[step] if len(location) > 1 else None
    copy[step] = replace_value(inner, location[1:], value)
    return copy
