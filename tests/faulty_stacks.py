"""Faulty stacks and their exact messages: the table `tests/stacks/messages.txt`.

A line without indentation is `<context> | <YAML>`; the lines below it are the messages. The context says which part of
a valid stack the YAML changes. Paths in messages start at that part. The JSON schema accepts the stacks with a `*`:
their errors depend on other values, on files or on the meaning of a text.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from components.engines import ENGINES
from components.spec import format_choices
from stacks.errors import Location
from tests.support import (
    CANARY,
    EXISTING_SERVER,
    existing_account,
    external_server,
    groups,
    provisioned_on,
    stack_with_group,
)

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

FULL_STACK: dict[str, Any] = {
    "environment": "production",
    "preflight": True,
    "databaseNodes": {
        "nodeSelector": {"node-role": "database"},
        "tolerations": [{"key": "node-role", "value": "database", "effect": "NoSchedule"}],
    },
    "externalServers": {
        "mysql-hq": external_server("mysql", host="10.5.120.101", port=3306, tls="require"),
        "pg-hq": external_server(
            "postgresql", administrator={"username": "root", "password": CANARY, "host": "127.0.0.1", "port": 15432}
        ),
    },
    "applications": {
        "shop": {
            "namespace": "web",
            "createNamespace": True,
            "podSelector": {"app": "shop"},
            "workloads": [{"kind": "Deployment", "name": "web", "containers": ["web"], "rolloutSeconds": 60}],
            "databases": {
                "mysql": {
                    "main": {
                        "primary": True,
                        "variant": "percona",
                        "passwordVersion": 1,
                        "server": {"kind": "dedicated", "version": "8.4", "storage": "50Gi", "exclusiveNode": True},
                    },
                    "spare": provisioned_on("mysql-hq"),
                    "archive": {"server": existing_account("mysql")},
                },
                "postgresql": {"main": provisioned_on("pg-hq", extensions=["pg_trgm"])},
                "redis": {
                    "main": {"server": {"kind": "external", "host": ["10.5.120.104", "10.5.120.105"]}},
                    "cache": {"server": {"kind": "local", "resources": {"cpu": 2, "memory": "1Gi"}}},
                    "more": {"protect": "retain", "server": {"kind": "local", "settings": {"maxmemory": "100mb"}}},
                },
                "influxdb": {"main": {"server": existing_account("influxdb")}},
            },
        },
        "blog": {"databases": {"redis": {"main": {"server": "dedicated"}}}},
    },
}
"""A valid production stack with most of the keys."""


class FaultyStack(NamedTuple):
    """A row of the table."""

    name: str
    raw: dict[str, Any]
    messages: list[str]
    is_accepted_by_schema: bool


def read_faulty_stacks() -> Iterator[FaultyStack]:
    """Yield the rows of the table."""
    for row in re.split(r"\n(?=\S)", TABLE.read_text().strip()):
        header, *messages = row.split("\n")
        context, _, text = header.removeprefix("* ").partition(" | ")
        path, build = CONTEXTS[context]
        raw = build(yaml.safe_load(text if text.startswith("{") else f"{{{text}}}"))
        absolute = sorted(_absolute(path, message.strip()) for message in messages)
        yield FaultyStack(header, raw, absolute, is_accepted_by_schema=header.startswith("* "))


def _absolute(path: str, message: str) -> str:
    """Return a message with the whole path and the names of the engines."""
    message = message.replace("{engines}", format_choices(sorted(ENGINES)))
    return path + ("." if path and message[0] not in ":[" else "") + message


FAULTY_STACKS = list(read_faulty_stacks())


def list_locations(value: Any, location: Location = ()) -> list[tuple[Location, Any]]:
    """Return the location and the value of everything inside a value, the value itself first."""
    found = [(location, value)]
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, item in items:
        found += list_locations(item, (*location, step))
    return found


def replace_value(raw: Any, location: Location, value: Any) -> Any:
    """Return a copy with another value at a location."""
    if not location:
        return value
    copy = list(raw) if isinstance(raw, list) else dict(raw)
    step: Any = location[0]
    inner = copy[step] if len(location) > 1 else None
    copy[step] = replace_value(inner, location[1:], value)
    return copy
