"""Read the pages of the documentation, so that tests check and run what the pages show.

A comment before a code block describes how `tests/e2e/test_pages.py` uses the block:

- `<!-- test -->` before a `console` block: run its commands and compare their output
- `<!-- test: fails -->`: the same, and the last command fails
- `<!-- test -->` before a `yaml` block: write it to the file of its first line (`# web.yaml`)
- `<!-- test: invalid -->`: the same, for a stack file with errors
- `<!-- test: edit FILE -->` before a `yaml` block: replace the value of its only key in a YAML file
- `<!-- test: run COMMAND -->` alone: run a command that the page describes in its text
- `<!-- not tested: REASON -->` before a `console` block
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OMITTED = "..."
"""Output that a page does not show: the rest of a line, or any number of lines."""

INVALID = "invalid"

STEP_RE = re.compile(
    r"^ *<!-- (test|not tested)(?:: (.*?))? -->\n"  # the marker
    r"(?:( *)```(\w+)\n(.*?)^\3```$)?",  # the block, if it follows
    re.MULTILINE | re.DOTALL,
)
CONSOLE_RE = re.compile(r"^ *```console$", re.MULTILINE)
AGE_RE = re.compile(r"(?<![\w.])(?:\d+(?:\.\d+)?(?:d|h|ms?|s))+(?![\w.])")
RELEASE_RE = re.compile(r"\b\d+(?:\.\d+)+(?=( |<br/>)(?:local|dedicated)\b)")
"""The release of a server in front of its kind."""
ADDRESS_RE = re.compile(r"\b(?!127\.)\d+(?:\.\d+){3}\b")


def blocks(text: str, language: str) -> list[str]:
    """Return the code blocks of a language, without the indentation of a list and without invalid examples."""
    text = re.sub(rf"^<!-- test: {INVALID} -->\n```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    found = re.findall(rf"^( *)```{language}\n(.*?)^\1```$", text, re.MULTILINE | re.DOTALL)
    return [_without_indentation(indentation, block) for indentation, block in found]


def sections(text: str) -> dict[str, str]:
    """Return the sections of a page by their headings (`## Heading`)."""
    parts = re.split(r"^## (.+)$", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def title(engine: str) -> str:
    """Return the name of an engine as the title of its page."""
    return (ROOT / "docs" / "engines" / f"{engine}.md").read_text().splitlines()[0].removeprefix("# ")


@dataclass(frozen=True, kw_only=True)
class Command:
    """A command of a page and the output that the page shows."""

    text: str
    output: str
    fails: bool = False


@dataclass(frozen=True, kw_only=True)
class Step:
    """A marked part of a page."""

    kind: str
    """`console`, `file`, `edit`, `run` or `not tested`."""
    argument: str = ""
    """The file, the hidden command or the reason."""
    block: str = ""
    fails: bool = False

    @property
    def commands(self) -> list[Command]:
        """The commands of a `console` block. A command starts with `$ `, its further lines with `> `."""
        texts = re.split(r"^\$ ", self.block, flags=re.MULTILINE)
        assert not texts[0].strip(), f"output without a command: {texts[0]}"
        commands = []
        for number, text in enumerate(texts[1:], start=1):
            first, *rest = text.splitlines()
            more = [line.removeprefix("> ") for line in rest if line.startswith("> ")]
            output = "\n".join(line for line in rest if not line.startswith("> "))
            fails = self.fails and number == len(texts) - 1
            commands.append(Command(text="\n".join([first, *more]), output=output, fails=fails))
        return commands


def steps(text: str) -> Iterator[Step]:
    """Yield the marked parts of a page, in their order."""
    for marker, argument, indentation, language, raw in STEP_RE.findall(text):
        block = _without_indentation(indentation, raw)
        name, _, rest = argument.partition(" ")
        if marker == "not tested":
            yield Step(kind=marker, argument=argument, block=block)
        elif name == "run":
            yield Step(kind="run", argument=rest)
        elif language == "yaml" and name == "edit":
            yield Step(kind="edit", argument=rest, block=block)
        elif language == "yaml" and argument in ("", INVALID):
            yield Step(kind="file", argument=block.splitlines()[0].removeprefix("# "), block=block)
        elif language == "console" and argument in ("", "fails"):
            yield Step(kind="console", block=block, fails=argument == "fails")
        else:
            raise AssertionError(f"unknown marker {argument!r} before a block of {language or 'text'}")


def unmarked_console_blocks(text: str) -> int:
    """Return how many `console` blocks of a page have no marker."""
    return len(CONSOLE_RE.findall(text)) - len(CONSOLE_RE.findall("".join(m[0] + "\n" for m in STEP_RE.finditer(text))))


def is_expected_output(expected: str, output: str) -> bool:
    """Return whether an output is the one that a page shows.

    Spaces, empty lines, ages, addresses and the releases of servers may differ. `...` omits the rest of a line, or any
    number of lines.
    """
    pattern = ""
    for line in _normalize(expected):
        if line == OMITTED:
            pattern += r"(?:.*\n)*?"
        else:
            pattern += ".*".join(re.escape(part) for part in line.split(OMITTED)) + r"\n"
    return re.fullmatch(pattern, "".join(f"{line}\n" for line in _normalize(output))) is not None


def _normalize(text: str) -> list[str]:
    lines = (re.sub(r"-{3,}", "---", " ".join(line.split())) for line in text.splitlines())
    lines = (RELEASE_RE.sub("<release>", line) for line in lines)
    return [ADDRESS_RE.sub("<address>", AGE_RE.sub("<age>", line)) for line in lines if line]


def _without_indentation(indentation: str, block: str) -> str:
    return re.sub(rf"^{indentation}", "", block, flags=re.MULTILINE)
