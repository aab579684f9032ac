"""The reader of stack files: values as Pulumi reads them, positions, and errors in plain words."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stacks.config_keys import config_key_warnings
from stacks.stack_file import HIDDEN, StackFile, StackFileError, list_stacks, load_stack_file
from tests.stack_file_values import PULUMI_VALUES
from tests.support import CANARY

EXAMPLE = f"""\
encryptionsalt: v1:abc
config:
  kubernetes:context: dev
  environment: production
  database-groups:applications:
    shop:
      databases:
        mysql:
          main: {{server: {{kind: external, host: db.example.org, password: {{secure: {CANARY}}}}}}}
        redis:
          cache:
            server: local
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "Pulumi.test.yaml"


def read(path: Path, text: str) -> StackFile:
    path.write_text(text)
    return load_stack_file(path)


def errors(path: Path, text: str) -> list[str]:
    with pytest.raises(StackFileError) as raised:
        read(path, text)
    return [str(finding) for finding in raised.value.findings]


@pytest.mark.parametrize("text", PULUMI_VALUES, ids=repr)
def test_value_is_the_text_that_pulumi_passes(path: Path, text: str) -> None:
    assert read(path, f"config:\n  k: {text}\n").config == {"database-groups:k": PULUMI_VALUES[text]}


def test_file_has_lines_encrypted_paths_and_full_keys(path: Path) -> None:
    file = read(path, EXAMPLE)
    password = ("applications", "shop", "databases", "mysql", "main", "server", "password")
    assert set(file.config) == {
        "kubernetes:context",
        "database-groups:environment",
        "database-groups:applications",
    }
    assert file.encrypted_keys == {"database-groups:applications"}
    assert file.encrypted_paths == {password}
    assert file.line_of(password) == 9
    assert file.line_of(("applications", "shop", "databases", "redis", "cache", "server", "kind")) == 12
    assert file.line_of(("environment",)) == 4
    assert CANARY not in str(file.config)
    assert HIDDEN in file.config["database-groups:applications"]
    assert file.warnings == ()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ["the file is empty; add the map 'config' with the keys of the stack"]),
        ("words\n", ["the file must be a map of keys and values, with the key 'config'"]),
        ("confg: {a: b}\n", ["line 1: the map 'config' is missing; rename 'confg' to 'config'"]),
        (
            "config:\n  database-groups:applications:\n    shop:\n      a:\n      a:\n      b: 1\n      b: 2\n",
            [
                "line 5: duplicate key 'a' (first on line 4); remove one",
                "line 7: duplicate key 'b' (first on line 6); remove one",
            ],
        ),
        (
            "config:\n  environment: production\n  database-groups:environment: development\n",
            [
                "line 3: duplicate key 'database-groups:environment' (first on line 2, with another prefix);"
                " remove one"
            ],
        ),
    ],
    ids=["empty file", "no map", "misspelt config", "duplicate keys", "bare and prefixed key"],
)
def test_error_names_line_problem_and_remedy(path: Path, text: str, expected: list[str]) -> None:
    assert errors(path, text) == expected


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("config:\n\ta: b\n", 2, "tab"),
        ("config:\n  a: {b: c\n", 3, "is not closed"),
        ('config:\n  a: "b\n', 2, "quote"),
        ("config:\n  a: b: c\n", 2, ":"),
        ("config:\n  a: *nobody\n", 2, "no anchor"),
        ("config:\n  a: 1\n b: 2\n", 3, ""),
    ],
    ids=["tab", "open bracket", "open quote", "nested colon", "unknown alias", "indentation"],
)
def test_invalid_yaml_has_its_line_and_its_cause(path: Path, text: str, line: int, words: str) -> None:
    (message,) = errors(path, text)
    assert "invalid YAML" in message
    assert message.startswith(f"line {line}")
    assert words in message


def test_missing_file_names_the_existing_stacks(path: Path) -> None:
    path.write_text(EXAMPLE)
    other = path.with_name("Pulumi.tset.yaml")
    with pytest.raises(StackFileError, match="the file does not exist; existing stacks: test"):
        load_stack_file(other)
    assert list_stacks(path.parent) == ["test"]


@pytest.mark.parametrize(
    ("key", "warning"),
    [
        (
            "databasegroups:environment",
            "unknown configuration namespace 'databasegroups'; did you mean 'database-groups'?",
        ),
        ("kubernetes:contxt", "unknown key 'kubernetes:contxt'; did you mean kubernetes:context?"),
        ("aws:region", None),
        ("kubernetes:context", None),
        ("database-groups:environment", None),
    ],
    ids=["misspelt namespace", "misspelt provider key", "other provider", "provider key", "own key"],
)
def test_misspelt_configuration_key_is_a_warning(key: str, warning: str | None) -> None:
    assert config_key_warnings([key]) == ({key: warning} if warning else {})


@settings(max_examples=300, deadline=None)
@given(
    edits=st.lists(
        st.tuples(st.integers(0, len(EXAMPLE)), st.integers(0, 8), st.text(alphabet="\t\n :{}[]'\"|>&*#-~0aé\x00")),
        max_size=4,
    )
)
def test_any_text_is_read_or_rejected_without_a_secret(tmp_path_factory: pytest.TempPathFactory, edits: list[tuple[int, int, str]]) -> None:
    text = EXAMPLE
    for start, length, inserted in edits:
        text = text[:start] + inserted + text[start + length :]
    path = tmp_path_factory.mktemp("stack") / "Pulumi.test.yaml"
    path.write_text(text)
    try:
        messages = [str(warning) for warning in load_stack_file(path).warnings]
    except StackFileError as error:
        messages = [str(error)]
    assert CANARY not in "".join(messages)
