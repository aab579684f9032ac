"""Property test: 10,000 generated faulty stacks, from a fixed seed. No traceback, no secret, no ignored key."""

import json
import random
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from stacks.config import parse_pulumi_config
from stacks.config_source import ConfigSource
from stacks.errors import InvalidStackConfigError, Location
from tests.faulty_stacks import FAULTY_STACKS, FULL_STACK, list_locations, replace_value
from tests.support import CANARY, config_issues

BATCHES, BATCH_SIZE = 20, 500
UNKNOWN_KEY = "zzZ"
"""A key that is no name either: only free maps accept it."""
FREE_MAPS = {"nodeSelector", "podSelector", "settings"}
KEYS = sorted(
    {str(location[-1]) for location, _ in list_locations(FULL_STACK) if location} | {UNKNOWN_KEY, "[key]", "true"}
)
SCALARS = [None, True, False, 0, 1, -1, 0.5, 8.4, 10**20, "", "x", "local", "external", "8.4", "yes", "a" * 80, "a\nb"]
SECRETS = [CANARY, [CANARY], {"value": CANARY}, {"secure": CANARY}, f"{CANARY}\n", CANARY * 200, f"root:{CANARY}@db"]


def draw_value(rng: random.Random, depth: int = 0) -> Any:
    """Return a scalar, or a small list or map."""
    kind = rng.random() if depth < 3 else 1
    if kind < 0.2:
        return [draw_value(rng, depth + 1) for _ in range(rng.randrange(3))]
    if kind < 0.5:
        return {rng.choice(KEYS): draw_value(rng, depth + 1) for _ in range(rng.randrange(4))}
    return rng.choice(SCALARS)


def misspell(rng: random.Random, key: str) -> str:
    position = rng.randrange(len(key) + 1)
    return rng.choice([f"{key}s", key.upper(), f" {key}", key[:position] + key[position + 1 :], rng.choice(KEYS)])


def mutate(rng: random.Random, raw: dict[str, Any]) -> dict[str, Any]:
    """Return a copy with one change at a random location."""
    if not raw:
        return {rng.choice(KEYS): draw_value(rng)}
    locations = list_locations(raw)
    location, value = rng.choice(locations[1:])
    changes: dict[str, Callable[[], Any]] = {
        "replace": lambda: draw_value(rng),
        "wrap": lambda: rng.choice([[value], {rng.choice(KEYS): value}]),
        "text": lambda: json.dumps(value),
        "copy": lambda: rng.choice(locations)[1],
        "secret": lambda: rng.choice(SECRETS) if {"password", "token"} & set(location) else draw_value(rng),
    }
    choice = rng.choice([*changes, "delete", "rename", "insert", "insert unknown"])
    if choice in changes:
        return dict(replace_value(raw, location, changes[choice]()))
    parent = dict(locations)[location[:-1]]
    if not isinstance(parent, dict):
        return raw
    rest = {key: item for key, item in parent.items() if key != location[-1]}
    new = {
        "delete": rest,
        "rename": {**rest, misspell(rng, str(location[-1])): value},
        "insert": {**parent, rng.choice(KEYS): draw_value(rng)},
        "insert unknown": {**parent, UNKNOWN_KEY: draw_value(rng)},
    }[choice]
    return dict(replace_value(raw, location[:-1], new))


def has_location(value: Any, location: Location) -> bool:
    """Return whether a nested value contains a location."""
    for step in location:
        try:
            value = value[step]
        except (KeyError, IndexError, TypeError):
            return False
    return True


def find_ignored_keys(raw: Mapping[str, Any], error: InvalidStackConfigError) -> list[Location]:
    """Return the locations of the unknown key that the error does not report."""
    reported = {issue.location for issue in error.issues}
    # The keys of a server depend on its kind.
    reported |= {issue.location[:-1] for issue in error.issues if issue.location[-2:] == ("server", "kind")}
    unknown = [location for location, _ in list_locations(dict(raw)) if UNKNOWN_KEY in location[-1:]]
    return [
        location
        for location in unknown
        if not FREE_MAPS & set(location)
        if not any(location[:length] in reported for length in range(1, len(location) + 1))
    ]


@pytest.mark.parametrize("seed", range(BATCHES))
def test_faulty_stack_is_rejected_with_messages(seed: int) -> None:
    rng = random.Random(seed)
    bases = [FULL_STACK, FULL_STACK, FULL_STACK, *(faulty.raw for faulty in FAULTY_STACKS)]
    rejected = 0
    while rejected < BATCH_SIZE:
        raw = rng.choice([FULL_STACK, rng.choice(bases)])
        for _ in range(rng.randint(1, 4)):
            raw = mutate(rng, raw)
        texts = [location for location, value in list_locations(raw) if location and isinstance(value, str)]
        encrypted = rng.sample(texts, min(len(texts), rng.randrange(3)))
        for location in encrypted:
            raw = dict(replace_value(raw, location, CANARY))
        # A mutation can move a secret to another key. There, only its encryption shows that it is a secret.
        strings = ((location, value) for location, value in list_locations(raw) if isinstance(value, str))
        encrypted += [location for location, value in strings if CANARY in value]
        values = {
            f"database-groups:{key}": value if isinstance(value, str) else json.dumps(value)
            for key, value in raw.items()
        }
        try:
            stack = parse_pulumi_config(values, ConfigSource(encrypted_locations=frozenset(encrypted)))
        except InvalidStackConfigError as error:
            rejected += 1
            text, ignored = str(error), find_ignored_keys(raw, error)
        else:
            text = "\n".join(stack.warnings)
            spec = stack.spec.model_dump(by_alias=True, exclude_unset=True)
            keys = [location for location, _ in list_locations(raw) if location and isinstance(location[-1], str)]
            ignored = [location for location in keys if not has_location(spec, location)]
        assert ignored == [], raw
        assert CANARY not in text, raw


def test_stack_without_changes_is_valid() -> None:
    assert config_issues(FULL_STACK) == []
