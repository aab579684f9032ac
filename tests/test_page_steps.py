"""The steps of the pages that are run by `tests/e2e/test_pages.py`, and how their output is compared."""

import pytest
import yaml

from tests.pages import ROOT, Step, is_expected_output, steps, unmarked_console_blocks

RUN_PAGES = ("quickstart", "day-two", "troubleshooting")
pages = pytest.mark.parametrize("name", RUN_PAGES)


def page(name: str) -> str:
    return (ROOT / "docs" / f"{name}.md").read_text()


@pages
def test_every_command_of_a_page_is_run_or_has_a_reason(name: str) -> None:
    found = list(steps(page(name)))
    assert unmarked_console_blocks(page(name)) == 0
    assert all(step.argument for step in found if step.kind == "not tested")
    assert any(step.commands for step in found if step.kind == "console")


@pages
def test_files_of_a_page_are_yaml(name: str) -> None:
    for step in steps(page(name)):
        if step.kind in ("file", "edit"):
            contents = list(yaml.safe_load_all(step.block))
            assert all(isinstance(content, dict) for content in contents), step
            assert step.kind == "file" or len(contents[0]) == 1, step


PAGE = """\
<!-- test -->
```yaml
# a.yaml
a: 1
```

- An item:

  <!-- test: edit a.yaml -->
  ```yaml
  a: 2
  ```

<!-- test: run rm a.yaml -->

<!-- test: fails -->
```console
$ cat a.yaml |
> sort
one
$ false
```

<!-- not tested: a reason -->
```console
$ reboot
```

```console
$ unmarked
```
"""


def test_steps_are_read_from_their_markers() -> None:
    file, edit, run, console, untested = steps(PAGE)
    assert file == Step(kind="file", argument="a.yaml", block="# a.yaml\na: 1\n")
    assert edit == Step(kind="edit", argument="a.yaml", block="a: 2\n")
    assert run == Step(kind="run", argument="rm a.yaml")
    assert [(command.text, command.output, command.fails) for command in console.commands] == [
        ("cat a.yaml |\nsort", "one", False),
        ("false", "", True),
    ]
    assert (untested.kind, untested.argument) == ("not tested", "a reason")
    assert unmarked_console_blocks(PAGE) == 1


@pytest.mark.parametrize("marker", ["<!-- test: often -->\n```console\n$ a\n```\n", "<!-- test -->\ntext\n"])
def test_unknown_marker_is_an_error(marker: str) -> None:
    with pytest.raises(AssertionError, match="unknown marker"):
        list(steps(marker))


@pytest.mark.parametrize(
    ("expected", "output", "equal"),
    [
        ("", "", True),
        ("", "something", False),
        ("a  b", "a b\n\n", True),
        ("a", "a\nb", False),
        ("a\n...", "a\nb\nc", True),
        ("...\nc", "a\nb\nc", True),
        ("...\nc", "a\nb", False),
        ("pod/a 1/1 20s", "pod/a   1/1   4m37s", True),
        ("pod/a 1/1 20s", "pod/a   0/1   4m37s", False),
        ("created (3s)", "created (0.13s)", True),
        ("ip 10.96.0.1", "ip 10.96.121.155", True),
        ("on 127.0.0.1", "on 10.0.0.1", False),
        ("version 17.1", "version 17.2", False),
        ("start ...", "start of a line", True),
        ("start ... end", "start of another", False),
        ("-----", "-----------", True),
    ],
)
def test_output_is_compared(expected: str, output: str, *, equal: bool) -> None:
    assert is_expected_output(expected, output) == equal
