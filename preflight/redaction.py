"""Texts without secrets."""

import base64
from collections.abc import Collection

__all__ = ["REDACTED", "hide_values"]

REDACTED = "***"


def hide_values(text: str, values: Collection[str]) -> str:
    """Return a text without secret values, in plain text and in base64. An empty value is no secret."""
    for value in filter(None, values):
        for form in (value, base64.b64encode(value.encode()).decode()):
            text = text.replace(form, REDACTED)
    return text
