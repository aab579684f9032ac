"""Suggestions for a misspelt key or value."""

import difflib
from collections.abc import Collection

from components.spec import format_choices

__all__ = ["find_nearest", "suggest_choice"]

CUTOFF = 0.6
MIN_PREFIX_LENGTH = 3


def find_nearest(text: str, known: Collection[str]) -> str | None:
    """Return the known text that is most similar to a text, or None. Upper and lower case do not matter."""
    by_lower_case = {name.lower(): name for name in sorted(known)}
    longer = [name for name in by_lower_case if name.startswith(text.lower())]
    if len(longer) == 1 and len(text) >= MIN_PREFIX_LENGTH:
        return by_lower_case[longer[0]]
    nearest = difflib.get_close_matches(text.lower(), by_lower_case, n=1, cutoff=CUTOFF)
    return by_lower_case[nearest[0]] if nearest else None


def suggest_choice(text: str, choices: Collection[str]) -> str:
    """Return the choice that the user probably meant, or all choices, as the end of a message."""
    nearest = find_nearest(text, choices)
    return f"did you mean '{nearest}'?" if nearest else f"use {format_choices(choices)}"
