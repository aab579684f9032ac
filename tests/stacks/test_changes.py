"""The table of changes: the parser and the change guard give each edit the outcome that the table promises.

`tests/e2e/test_changes.py` applies the same edits to a deployed stack.
"""

import copy
import json
from typing import Any

import pytest

from stacks.change_guard import list_update_warnings, validate_update
from stacks.changes import CHANGES, CHANGES_PATH, TITLES, Outcome, list_changes, render_changes
from stacks.config import Stack, parse_stack
from stacks.errors import InvalidStackConfigError
from stacks.reference import list_keys
from tests.e2e.changes import ROWS, Config, build_stack, is_tested
from tests.support import external_server

OUTCOMES = {name: change.outcome for name, change in list_changes() if is_tested(name, change)}
CERTIFICATE = "-----BEGIN CERTIFICATE-----\nMIIBszCCAVmgAwIBAgIUQmFzZTY0\n-----END CERTIFICATE-----\n"


def read_state(stack: Stack) -> Any:
    """Return the previous state after an update, as Pulumi stores it."""

    def drop_none(pairs: Config) -> Config:
        return {key: value for key, value in pairs.items() if value is not None}

    return json.loads(json.dumps(stack.outputs), object_hook=drop_none)


def test_table_has_every_key_of_the_reference() -> None:
    keys = {model: set(keys) for model, keys in list_keys().items()}
    assert {section: set(keys) for section, keys in CHANGES.items() if section.endswith("Spec")} == keys
    assert set(TITLES) == set(CHANGES)
    names = [name for name, _ in list_changes()]
    assert len(set(names)) == len(names)


def test_page_is_built_from_the_table() -> None:
    assert CHANGES_PATH.read_text() == render_changes(), "run `make schema`"


def test_every_change_has_an_edit() -> None:
    """Changes that refer to others are not tested themselves."""
    assert set(ROWS) == set(OUTCOMES)
    for name, row in ROWS.items():
        assert bool(row.message) == (OUTCOMES[name] is not Outcome.IN_PLACE), name


def test_edits_have_their_outcomes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each accepted edit stays in the stack file, as in the end-to-end test."""
    monkeypatch.setattr("stacks.config.read_project_file", lambda _path: CERTIFICATE)
    config = build_stack({"pg": external_server("postgresql"), "my": external_server("mysql")})
    state, differences = read_state(parse_stack(config)), []
    for name, row in ROWS.items():
        edited = copy.deepcopy(config)
        row.edit(edited)
        try:
            stack = parse_stack(edited)
            applications = {application.name: application for application in stack.applications}
            rejections = list(map(str, validate_update(state, applications)))
            warnings = list(map(str, list_update_warnings(state, applications)))
        except InvalidStackConfigError as error:
            rejections, warnings = list(map(str, error.issues)), []
        texts = rejections or warnings
        outcome = Outcome.REJECTED if rejections else Outcome.WARNING if warnings else Outcome.IN_PLACE
        if outcome is not OUTCOMES[name] or row.message not in "\n".join(texts):
            differences.append((name, outcome, texts))
        if not rejections:
            config, state = edited, read_state(stack)
    assert differences == []
