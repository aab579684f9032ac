"""The project's prose is plain English: a table of words to avoid, and a limit for the length of a sentence.

Prose is the text of the pages, and in code: comments, docstrings and messages. Code in prose (`backticks`, blocks) is
not checked.
"""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOTS = (
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "docs",
    "Makefile",
    "Pulumi.yaml",
    "pyproject.toml",
    "requirements.in",
    "requirements-dev.in",
    ".ci/run",
    "stacks/Pulumi.development.yaml",
    "stacks/Pulumi.production.yaml",
    "backups",
    "components",
    "offline",
    "preflight",
    "scripts",
    "stacks",
    "status",
    "__main__.py",
)
"""The checked files, and directories with checked files."""
SUFFIXES = (".md", ".py", ".sh")
"""The files of a directory that are checked."""

WORDS = {
    r"told|tells?|telling": "report, configure",
    r"says|said|saying": "set, report",
    r"made|makes|making": "create",
    r"what it is|used as it is|as it stands": "existing",
    r"there already|already there": "already exists",
    r"besides?": "next to, in addition to",
    r"(?:has|have) no meaning|means? (?:any|no)thing": "is not supported",
    r"takes? (?:\w+ ){0,2}names?": "use",
    r"lack(?:s|ed|ing)?": "is missing",
    r"(?:is|are) none of": "must be one of",
    r"tak(?:e|es|en|ing) away": "remove",
    r"part(?:s|ed|ing)? with": "delete",
    r"puts?(?: \w+){0,3} into|put in": "inject, add",
    r"leads? (?:\w+ )?(?:to|into|out)": "point to, route to",
    r"(?:the|no) way|way in": "procedure, access",
    r"stands|stood": "is",
    r"let(?:s|ting)? (?:\w+ ){0,3}in": "admit",
    r"look(?:s|ed|ing)? at": "read, check",
    r"words?": "value",
    r"kept": "persistent",
    r"(?<!not\s)(?<!,\s)found": "result",
    r"(?<!\()tried": "check",
    r"mend(?:s|ed|ing)?": "fix",
    r"anew": "again",
    r"whoever|nobody|somebody": "name the actor",
    r"(?:be|been|is|are|was|were) had": "receive, get",
    r"flavou?rs?": "variant",
    r"\w+isations?|behaviours?|licences?|colours?": "the American spelling",
}
"""Words to avoid, as regular expressions, and what to write instead."""
ALLOWED: tuple[tuple[str, str, str], ...] = (
    ("found", r"stacks/yaml_syntax.py.*found ", "messages of libyaml, which the table maps to the program's own"),
    ("found", r"preflight/cluster_client.py.*no cluster configuration found", "the usual words of this message"),
)
"""Correct uses of a word: the word, a regular expression for the file and its line (`path:line text`), the reason."""
MAX_SENTENCE_WORDS = 30

PATTERNS = [
    (re.compile(rf"\b(?:{pattern})\b".replace(" ", r"\s+"), re.IGNORECASE), instead)
    for pattern, instead in WORDS.items()
]


def checked_files() -> Iterator[Path]:
    """Yield the files of ROOTS."""
    for root in (ROOT / name for name in ROOTS):
        yield from [root] if root.is_file() else sorted(path for path in root.rglob("*") if path.suffix in SUFFIXES)


def blank(text: str) -> str:
    """Return spaces and line breaks in the place of a text."""
    return re.sub(r"[^\n]", " ", text)


def comments(text: str) -> str:
    """Return a text in which only comments (`# ...`) remain."""
    matches = (re.search(r"(?:^|[ \t])(#+[ \t].*)$", line) for line in text.split("\n"))
    return "\n".join(match[1] if match else "" for match in matches)


def without_code(text: str) -> str:
    """Return a text without its inline code, the targets of its links and its HTML comments."""
    return re.sub(r"`[^`]*`|(?<=\])\([^)\s]*\)|<!--.*?-->", lambda match: blank(match[0]), text)


def markdown_prose(text: str) -> str:
    """Return the text of a page, and the comments of its code blocks."""
    parts = re.split(r"(?ms)^( *```.*?^ *```$)", text)
    return "".join(comments(part) if number % 2 else without_code(part) for number, part in enumerate(parts))


def python_prose(text: str) -> Iterator[tuple[int, str]]:
    """Yield the comments, docstrings and messages of a module with their first lines. A message contains a space."""
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], without_code(token.string)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and re.search(r"\S\s", node.value):
            yield node.lineno, without_code(node.value)


def prose(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the prose of a file, each part with its first line."""
    text = path.read_text()
    if path.suffix == ".py":
        yield from python_prose(text)
    else:
        yield 1, markdown_prose(text) if path.suffix == ".md" else comments(text)


def avoided_words(path: Path) -> Iterator[tuple[str, str, str]]:
    """Yield each word to avoid: where it is (`path:line text`), the word, and what to write instead."""
    lines = path.read_text().splitlines()
    for first, text in prose(path):
        for pattern, instead in PATTERNS:
            for match in pattern.finditer(text):
                line = first + text.count("\n", 0, match.start())
                yield f"{path.relative_to(ROOT)}:{line} {lines[line - 1].strip()}", " ".join(match[0].split()), instead


def is_allowed(place: str, word: str, allowed: tuple[str, str, str]) -> bool:
    return word.lower() == allowed[0] and re.search(allowed[1], place) is not None


def sentences(text: str) -> Iterator[tuple[int, str]]:
    """Yield the sentences of a page with the first line of their paragraph. Skip code blocks, tables and headings."""
    text = re.sub(r"(?ms)^ *```.*?^ *```$", lambda match: blank(match[0]), text)
    text = re.sub(r"`[^`]*`", lambda match: "code" + "\n" * match[0].count("\n"), text)
    text = re.sub(r"(?m)^ *(?:\||#).*$", "", text)
    for match in re.finditer(r"(?:^ *(?:[-*]|\d+\.) )?\S.*(?:\n(?! *(?:[-*]|\d+\.) ) *\S.*)*", text, re.MULTILINE):
        for sentence in re.split(r"(?<=[.!?:])\s+", match[0]):
            yield 1 + text.count("\n", 0, match.start()), sentence


def word_count(sentence: str) -> int:
    return len(re.findall(r"\w[^\s]*", re.sub(r"\]\([^)]*\)", "]", sentence)))


files = pytest.mark.parametrize("path", list(checked_files()), ids=lambda path: str(path.relative_to(ROOT)))
documents = pytest.mark.parametrize(
    "path", [path for path in checked_files() if path.suffix == ".md"], ids=lambda path: str(path.relative_to(ROOT))
)


@files
def test_prose_avoids_words(path: Path) -> None:
    uses = [
        f"{place.partition(' ')[0]}: {word!r}; use: {instead}"
        for place, word, instead in avoided_words(path)
        if not any(is_allowed(place, word, entry) for entry in ALLOWED)
    ]
    assert not uses, "\n".join(["words to avoid:", *uses])


@documents
def test_sentences_are_short(path: Path) -> None:
    long = [
        f"{path.relative_to(ROOT)}:{line}: {count} words: {sentence}"
        for line, sentence in sentences(path.read_text())
        if (count := word_count(sentence)) > MAX_SENTENCE_WORDS
    ]
    assert not long, "\n".join([f"sentences with more than {MAX_SENTENCE_WORDS} words:", *long])


def test_every_allowed_use_exists() -> None:
    uses = [(place, word) for path in checked_files() for place, word, _ in avoided_words(path)]
    assert [entry for entry in ALLOWED if not any(is_allowed(place, word, entry) for place, word in uses)] == []


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("a.md", "One line.\nIt lets\nthem in.\n", ["a.md:2 'lets them in'"]),
        ("a.md", "`made` [link](made-of.md)\n```yaml\nmade: 1 # said\n```\n", ["a.md:3 'said'"]),
        ("a.md", "Deployment not found; a map, found a list (tried a, b). Passwords, keywords and gateways.\n", []),
        (
            "Makefile",
            "made: kept ## Kept files\n\t@echo mend\n# Beside.\n",
            ["Makefile:1 'Kept'", "Makefile:3 'Beside'"],
        ),
        ("a.sh", 'echo "${#made} told" # anew\n', ["a.sh:1 'anew'"]),
        (
            "a.py",
            '"""Whoever reads."""\nKEY = "made"\n\n\ndef made(x):\n    return f"{x} lacks a key"  # a word\n',
            ["a.py:1 'Whoever'", "a.py:6 'lacks'", "a.py:6 'word'"],
        ),
        ("a.py", 'TEXT = """first\nis had\n"""\n', ["a.py:2 'is had'"]),
    ],
    ids=["lines", "code", "correct", "comments", "shell", "python", "long string"],
)
def test_words_are_recognized_in_prose_only(
    name: str, text: str, expected: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.test_words.ROOT", tmp_path)
    path = tmp_path / name
    path.write_text(text)
    assert [f"{place.partition(' ')[0]} {word!r}" for place, word, _ in sorted(avoided_words(path))] == expected


def test_sentences_are_counted_across_lines_and_without_code() -> None:
    paragraphs = "# A heading\n\nOne `two\nthree` four.\nFive: six\n\n- seven [eight\n  nine](ten.md)\n- ten\n\n"
    text = f"{paragraphs}| a | b |\n\n```\ncode\n```\n"
    assert [(line, word_count(sentence)) for line, sentence in sentences(text)] == [
        (3, 3),
        (3, 1),
        (3, 1),
        (7, 3),
        (9, 1),
    ]
