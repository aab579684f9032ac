"""The summary and the diagram show the environment, external servers, `DATABASE_URL` and what is protected."""

import copy
import os
from pathlib import Path
from typing import Any

import pytest

from offline.diagram import render_diagram
from offline.summary import MAX_GROUPS_IN_DETAIL, render_summary
from offline.view import StackView
from tests.offline.stacks import STACK
from tests.support import groups, stack_with_group, view_stack

FOLDER = Path(__file__).with_name("expected")
UPDATE_VARIABLE = "UPDATE_EXPECTED"


@pytest.fixture(scope="module")
def view() -> StackView:
    return view_stack(STACK)


@pytest.mark.parametrize("name", ["summary.txt", "short.txt", "diagram.md"])
def test_text_is_the_recorded_one(view: StackView, name: str) -> None:
    texts = {
        "summary.txt": render_summary(view),
        "short.txt": render_summary(view, short=True),
        "diagram.md": render_diagram(view),
    }
    if os.environ.get(UPDATE_VARIABLE):
        (FOLDER / name).write_text(texts[name])
    command = f"{UPDATE_VARIABLE}=1 .venv/bin/python -m pytest tests/offline/test_summary.py"
    assert (FOLDER / name).read_text() == texts[name], f"to record an intended change, run: {command}"


def test_summary_has_every_variable(view: StackView) -> None:
    lines = {line.split()[0] for line in render_summary(view).splitlines() if line}
    for application in view.applications:
        assert set(application.variables) <= lines


def test_environment_is_the_one_of_the_stack_file() -> None:
    raw = {"environment": "production", **stack_with_group("redis", "dedicated")}
    assert render_summary(view_stack(raw)).startswith(
        "stack test: environment production, 1 application, 1 database group\n\nshop: namespace shop, protect true\n"
    )


@pytest.mark.parametrize(("count", "is_short"), [(MAX_GROUPS_IN_DETAIL, False), (MAX_GROUPS_IN_DETAIL + 1, True)])
def test_summary_of_a_large_stack_is_short(count: int, is_short: bool) -> None:
    view = view_stack(groups(redis={f"group{number}": None for number in range(count)}))
    assert render_summary(view) == render_summary(view, short=is_short)
    assert render_summary(view, short=True) != render_summary(view, short=False)


def test_two_relational_groups_have_no_database_url() -> None:
    raw: dict[str, Any] = copy.deepcopy(STACK)
    raw["applications"]["blog"]["databases"]["mysql"] = {"main": None}
    assert "DATABASE_URL (" not in render_summary(view_stack(raw))
