"""The pages of the documentation, read by tests: what they show is run or checked as it stands there."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def blocks(text: str, language: str) -> list[str]:
    """The code blocks of a language, without the indentation of a list that they are in."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^\1```$", text, re.MULTILINE | re.DOTALL)
    return [re.sub(rf"^{indentation}", "", block, flags=re.MULTILINE) for indentation, block in found]


def sections(text: str) -> dict[str, str]:
    """The sections of a page by their headings (`## Heading`)."""
    parts = re.split(r"^## (.+)$", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def title(engine: str) -> str:
    """An engine's name as its page has it."""
    return (ROOT / "docs" / "engines" / f"{engine}.md").read_text().splitlines()[0].removeprefix("# ")
