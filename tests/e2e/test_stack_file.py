"""The real Pulumi and the reader of stack files agree: on every value, and on what is a stack file."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from stacks.stack_file import HIDDEN, StackFileError, load_stack_file
from tests.e2e.project import Project
from tests.stack_file_values import ACCEPTED_BY_PULUMI, BLOCKS, REJECTED_BY_PULUMI, SCALARS

STACK = "values"
PASSWORD = "c4narY"
PROJECT_CONFIG = {
    f"kubernetes:{key}": "true"
    for key in ("enableSecretMutable", "enableConfigMapMutable", "upsertExistingObjects", "enablePatchForce")
}
"""The configuration in Pulumi.yaml."""
PROGRAM = """\
import os
import pathlib

pathlib.Path("config.json").write_text(os.environ["PULUMI_CONFIG"])
"""
"""A program that writes its configuration to a file and creates nothing."""


@pytest.fixture(scope="module")
def stack(module_project: Project) -> Project:
    """A project with an empty stack."""
    module_project.pulumi("stack", "init", STACK).succeeded()
    return module_project


def list_config(project: Project) -> Mapping[str, Any]:
    """The configuration as the command line prints it, with its warnings around."""
    output = project.pulumi("config", "--json", stack=STACK).succeeded().output
    entries, _ = json.JSONDecoder().raw_decode(output[output.index("{\n") :])
    return {key: entry for key, entry in entries.items() if key not in PROJECT_CONFIG}


def test_pulumi_reads_every_value_alike(stack: Project) -> None:
    keys = {f"k{number}": (text, SCALARS[text][0]) for number, text in enumerate(SCALARS)}
    keys |= {f"list{number}": (f"[{text}]", SCALARS[text][1]) for number, text in enumerate(SCALARS)}
    keys |= {f"block{number}": block for number, block in enumerate(BLOCKS.values())}
    path = stack.path(STACK)
    path.write_text("\n".join(["config:", *(f"  {key}: {text}" for key, (text, _) in keys.items()), ""]))
    expected = {f"database-groups:{key}": value for key, (_, value) in keys.items()}
    assert {key: entry["value"] for key, entry in list_config(stack).items()} == expected
    assert load_stack_file(path).config == expected


@pytest.mark.parametrize("description", REJECTED_BY_PULUMI)
def test_pulumi_rejects_the_file_too(stack: Project, description: str) -> None:
    stack.path(STACK).write_text(REJECTED_BY_PULUMI[description][0])
    stack.pulumi("config", "--json", stack=STACK).failed()


@pytest.mark.parametrize("description", ACCEPTED_BY_PULUMI)
def test_only_the_reader_rejects_the_file(stack: Project, description: str) -> None:
    stack.path(STACK).write_text(ACCEPTED_BY_PULUMI[description][0])
    list_config(stack)
    with pytest.raises(StackFileError):
        load_stack_file(stack.path(STACK))


def test_program_gets_the_values_of_the_reader_and_the_secrets(project: Project) -> None:
    (project.folder / "__main__.py").write_text(PROGRAM)
    project.pulumi("stack", "init", STACK).succeeded()
    for key in ("password", "applications.shop.password"):
        project.pulumi(
            "config", "set", "--secret", "--path", f"database-groups:{key}", PASSWORD, stack=STACK
        ).succeeded()
    path = project.path(STACK)
    # `pulumi config set` rewrites every value as text, so the test adds these values afterwards.
    added = {"version": "8.40", "day": "2026-01-01", "merged": "{<<: {a: .5}, b: 0x10, c: yes, d: ~}"}
    path.write_text(
        path.read_text().replace(
            "config:\n", "config:\n" + "".join(f"  {key}: {text}\n" for key, text in added.items())
        )
    )
    project.preview(STACK).succeeded()
    passed = json.loads((project.folder / "config.json").read_text())
    file = load_stack_file(path)
    assert PASSWORD in passed["database-groups:password"]
    assert {key: value.replace(PASSWORD, HIDDEN) for key, value in passed.items()} == {
        **file.config,
        **PROJECT_CONFIG,
    }
    assert file.encrypted_paths == {("password",), ("applications", "shop", "password")}
    assert set(file.config) == {f"database-groups:{key}" for key in ("password", "applications", *added)}
