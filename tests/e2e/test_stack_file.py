"""The real Pulumi and this program read every value of a stack file alike."""

import json
import re

from stacks.stack_file import HIDDEN, load_stack_file
from tests.e2e.project import Project
from tests.stack_file_values import PULUMI_VALUES

STACK = "values"


def test_pulumi_passes_the_values_that_the_reader_expects(project: Project) -> None:
    """All values are in one file, and one of them is encrypted by Pulumi itself."""
    project.new(STACK, {"environment": "development"})
    path = project.path(STACK)
    lines = [f"  database-groups:k{number}: {text}" for number, text in enumerate(PULUMI_VALUES)]
    path.write_text("\n".join([*[line for line in path.read_text().splitlines() if line.startswith("encryptionsalt")], "config:", *lines, ""]))
    project.pulumi("config", "set", "--secret", "--path", "password", "c4narY", stack=STACK).succeeded()
    listed = json.loads(project.pulumi("config", "--json", stack=STACK).succeeded().output)
    file = load_stack_file(path)
    assert {key: entry["value"] for key, entry in listed.items() if not entry["secret"]} == {
        key: value for key, value in file.config.items() if value != HIDDEN
    }
    assert file.encrypted_keys == {"database-groups:password"}
    assert [file.config[f"database-groups:k{number}"] for number in range(len(PULUMI_VALUES))] == [
        *PULUMI_VALUES.values()
    ]
    assert not re.search("c4narY", path.read_text())
