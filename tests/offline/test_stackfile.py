"""Stack files are read as Pulumi reads them; an encrypted value is never needed, nor shown."""

import json
from pathlib import Path
from typing import Any

import pytest

from offline.stackfile import PLACEHOLDER, load_stack_file


@pytest.fixture
def written(tmp_path: Path) -> Any:
    def write(text: str) -> Path:
        path = tmp_path / "Pulumi.test.yaml"
        path.write_text(text)
        return path

    return write


def test_words_are_words_and_everything_else_is_json(written: Any) -> None:
    file = load_stack_file(
        written("config:\n  a:word: production\n  a:number: 5\n  a:map: {x: [1, true]}\n  a:truth: true\n")
    )
    assert file.config == {"a:word": "production", "a:number": "5", "a:map": '{"x": [1, true]}', "a:truth": "true"}
    assert file.encrypted == ()


@pytest.mark.parametrize("word", ["on", "off", "yes", "no", "y", "n", "On", "NO"])
def test_the_words_that_older_yaml_takes_for_truths_are_words(written: Any, word: str) -> None:
    """`on:` is a key of ours."""
    file = load_stack_file(written(f"config:\n  a:map:\n    {word}: {word}\n"))
    assert json.loads(file.config["a:map"]) == {word: word}


@pytest.mark.parametrize(("word", "value"), [("true", True), ("True", True), ("false", False), ("FALSE", False)])
def test_true_and_false_are_truths(written: Any, word: str, value: bool) -> None:
    assert json.loads(load_stack_file(written(f"config:\n  a:map: {{x: {word}}}\n")).config["a:map"]) == {"x": value}


def test_a_word_takes_the_place_of_an_encrypted_value_wherever_it_is(written: Any) -> None:
    file = load_stack_file(
        written(
            "config:\n  a:whole: {secure: v1:abc}\n  a:deep:\n    x: [{password: {secure: v1:def}}]\n  a:open: {password: word}\n"
        )
    )
    assert file.config["a:whole"] == PLACEHOLDER
    assert json.loads(file.config["a:deep"]) == {"x": [{"password": PLACEHOLDER}]}
    assert file.encrypted == ("a:whole", "a:deep")
    assert "v1:" not in str(file.config)


@pytest.mark.parametrize(
    "text",
    ["config: {a: b", "config:\n\ta: b", "a: b: c", "config: [", "%bad"],
    ids=["brace", "tab", "two colons", "bracket", "directive"],
)
def test_what_is_not_yaml_is_told_with_its_line(written: Any, text: str) -> None:
    with pytest.raises(ValueError, match=r"^Pulumi\.test\.yaml is not YAML: line \d+, column \d+$"):
        load_stack_file(written(text))


@pytest.mark.parametrize(
    "text",
    ["", "5", "[]", "config: 5", "config: []", "just words"],
    ids=["empty", "number", "list", "config a number", "config a list", "words"],
)
def test_what_is_not_a_stack_file_is_told(written: Any, text: str) -> None:
    with pytest.raises(ValueError, match=r"^Pulumi\.test\.yaml is not a stack file: it has no map named 'config'$"):
        load_stack_file(written(text))


def test_an_empty_stack_file_has_no_configuration(written: Any) -> None:
    assert load_stack_file(written("encryptionsalt: v1:x\n")).config == {}


def test_what_only_looks_dangerous_is_not_run(written: Any) -> None:
    with pytest.raises(ValueError, match="is not YAML"):
        load_stack_file(written("config:\n  a: !!python/object/apply:os.system ['true']\n"))


def test_a_day_is_a_word(written: Any) -> None:
    """For JSON, in which the program gets its maps, there is no other way to say it."""
    value = json.loads(load_stack_file(written("config:\n  a:map: {x: 2026-01-01}\n")).config["a:map"])["x"]
    assert value.startswith("2026-01-01")
