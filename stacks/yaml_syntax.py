"""The syntax of YAML: the events of libyaml's parser, and its errors as messages of the program.

Pulumi's parser, Go's yaml.v3, is a port of libyaml and finds the same errors.
"""

import codecs
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import yaml

__all__ = ["Finding", "Location", "YamlError", "format_key", "parse_events"]

Location: TypeAlias = tuple[str | int, ...]
"""The keys and list indices from the top of the file to a value."""

LINE_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")
UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
PRINTABLE_KEY = re.compile(r"(?:[A-Za-z0-9][-A-Za-z0-9._]*:)?[A-Za-z0-9][-A-Za-z0-9._/]*|<<")
PRINTABLE_LENGTH = 80

TAB = "tab used for indentation; use spaces"
FIRST_CHARACTER = "a value cannot start with '{character}'; put the value in quotes"
NOT_CLOSED = "the quote is not closed; add the closing quote"
ESCAPE = "unknown escape in double quotes; use single quotes"
BLOCK_HEADER = "unexpected text after '|' or '>'; start the text on the next line"
DIRECTIVE = "a line cannot start with '%'; put the value in quotes"
SECOND_COLON = "a second ': ' on one line; put the value in quotes"
MISPLACED_KEY = "a key cannot start here; check its indentation and the line above"
TEXT_AFTER_VALUE = "unexpected text after the value; put the whole value in quotes"
INDENTATION = "wrong indentation; indent all keys of a map by the same number of spaces"


class SyntaxCause(NamedTuple):
    """How a message describes an error of the parser."""

    message: str
    at_start: bool = False
    """Whether the message has the position where the faulty construct starts, instead of where it fails."""


SYNTAX_CAUSES: Mapping[str, SyntaxCause] = {
    "found a tab character": SyntaxCause(TAB),
    "found character that cannot start any token": SyntaxCause(FIRST_CHARACTER),
    "could not find expected ':'": SyntaxCause("the key has no ':'; write 'key: value'", at_start=True),
    "did not find expected '-' indicator": SyntaxCause(
        "wrong indentation; start each list item with '- ' in the same column"
    ),
    "did not find expected ',' or '}'": SyntaxCause("the '{{' on line {start} is not closed; add ',' or '}}'"),
    "did not find expected ',' or ']'": SyntaxCause("the '[' on line {start} is not closed; add ',' or ']'"),
    "did not find expected node content": SyntaxCause("a value is missing; remove the comma or bracket, or use quotes"),
    "did not find expected <document start>": SyntaxCause(
        "the text is outside of the map above; indent it like the first key"
    ),
    "found unexpected end of stream": SyntaxCause(NOT_CLOSED, at_start=True),
    "found unexpected document indicator": SyntaxCause(NOT_CLOSED, at_start=True),
    "did not find expected alphabetic or numeric character": SyntaxCause(FIRST_CHARACTER, at_start=True),
    "found unknown escape character": SyntaxCause(ESCAPE),
    "did not find expected hexdecimal number": SyntaxCause(ESCAPE),
    "found invalid Unicode character escape code": SyntaxCause(ESCAPE),
    "found unexpected ':'": SyntaxCause("write a space after ':', or put the value in quotes"),
    "block sequence entries are not allowed": SyntaxCause("a list cannot start here; start it on its own line"),
    "mapping keys are not allowed": SyntaxCause("a value cannot start with '? '; put the value in quotes"),
    "did not find expected comment or line break": SyntaxCause(BLOCK_HEADER),
    "found an indentation indicator equal to 0": SyntaxCause(BLOCK_HEADER),
    "directive": SyntaxCause(DIRECTIVE, at_start=True),
    "incompatible YAML document": SyntaxCause(DIRECTIVE),
    "tag": SyntaxCause("a value cannot start with '!'; put the value in quotes", at_start=True),
}
"""The causes by a part of the parser's own message or of its context."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """An error or a warning with its position in the file, where it is known. Lines and columns start at 1."""

    message: str
    line: int | None = None
    column: int | None = None
    location: Location = ()

    def __str__(self) -> str:
        if self.line is None:
            return self.message
        return f"line {self.line}{f', column {self.column}' if self.column else ''}: {self.message}"


class YamlError(ValueError):
    """A text that is not a YAML document."""

    def __init__(self, message: str, line: int, column: int | None = None) -> None:
        self.finding = Finding(message=message, line=line, column=column)
        super().__init__(str(self.finding))


def parse_events(content: bytes) -> Iterator[yaml.Event]:
    """Yield the parser's events.

    Raises YamlError for invalid YAML. Its message contains nothing of the text but one punctuation mark.
    """
    try:
        yield from yaml.parse(content, Loader=yaml.CSafeLoader)
    except yaml.reader.ReaderError as error:
        before = LINE_BREAK.split(content[: error.position].decode(errors="replace"))
        is_control = "control" in error.reason
        message = "remove the control character" if is_control else "the file is not UTF-8; save it as UTF-8"
        raise YamlError(f"invalid YAML: {message}", len(before), len(before[-1]) + 1) from None
    except yaml.MarkedYAMLError as error:
        raise _build_syntax_error(error, _split_lines(content)) from None


def format_key(key: str) -> str:
    """Return a key in quotes as a message may show it, or a substitute for one that is long or may be a secret."""
    return f"'{key}'" if len(key) <= PRINTABLE_LENGTH and PRINTABLE_KEY.fullmatch(key) else "(not shown)"


def _split_lines(content: bytes) -> list[str]:
    encoding = "utf-16" if content.startswith(UTF16_MARKS) else "utf-8-sig"
    return LINE_BREAK.split(content.decode(encoding, errors="replace"))


def _build_syntax_error(error: yaml.MarkedYAMLError, lines: list[str]) -> YamlError:
    """Return the parser's error with the program's message."""
    end_line, end_column = _get_position(error.problem_mark)
    start_line, start_column = _get_position(error.context_mark or error.problem_mark)
    before = lines[end_line][:end_column] if end_line < len(lines) else ""
    cause = _find_syntax_cause(error.problem or "", error.context or "", before)
    line, column = (start_line, start_column) if cause.at_start else (end_line, end_column)
    character = lines[line][column : column + 1] if line < len(lines) else ""
    message = TAB if character == "\t" else cause.message.format(start=start_line + 1, character=character)
    return YamlError(f"invalid YAML: {message}", line + 1, column + 1)


def _find_syntax_cause(problem: str, context: str, before: str) -> SyntaxCause:
    """Return the cause of an error, of which `before` is the text on the same line before its position."""
    if "mapping values are not allowed" in problem:
        return SyntaxCause(SECOND_COLON if re.search(r":\s", before) else MISPLACED_KEY)
    if "did not find expected key" in problem:
        return SyntaxCause(TEXT_AFTER_VALUE if before.strip() else INDENTATION)
    causes = (cause for part, cause in SYNTAX_CAUSES.items() if part in problem or part in context)
    return next(causes, SyntaxCause(problem.replace("{", "{{").replace("}", "}}")))


def _get_position(mark: object) -> tuple[int, int]:
    """Return the line and the column of a mark, both from 0."""
    return getattr(mark, "line", 0), getattr(mark, "column", 0)
