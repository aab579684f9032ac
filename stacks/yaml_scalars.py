"""The values of YAML's scalars by the rules of Go's yaml.v3, with which Pulumi reads stack files.

Source: https://github.com/go-yaml/yaml/blob/v3.0.1/resolve.go.
"""

import base64
import binascii
import calendar
import math
import re
from collections.abc import Mapping
from typing import TypeAlias

__all__ = ["Scalar", "Timestamp", "read_implicit_value", "read_tagged_value"]

CONSTANTS: Mapping[str, bool | float | None] = {
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), math.nan),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), math.inf),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), -math.inf),
}
INTEGERS = {
    16: re.compile(r"([-+]?)0[xX]([0-9a-fA-F]+)"),
    2: re.compile(r"([-+]?)0[bB]([01]+)"),
    8: re.compile(r"([-+]?)0[oO]?([0-7]+)"),
    10: re.compile(r"([-+]?)(0|[1-9][0-9]{0,19})"),
}
FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
DIGIT_SEPARATOR = re.compile("(?<=[0-9])_(?=[0-9])")
TIMESTAMP = re.compile(
    r"([0-9]{4})-([0-9]{1,2})-([0-9]{1,2})"
    r"(?:([Tt]| +)([0-9]{1,2}):([0-9]{1,2}):([0-9]{1,2})(?:[.,]([0-9]+))?(Z|[-+](?:[01][0-9]|2[0-4]):[0-5][0-9])?)?"
)


class Timestamp(str):
    """A date or a time, in the form of Go's `time.Time.String`."""

    __slots__ = ()


Scalar: TypeAlias = str | int | float | bool | None
TAGS: Mapping[type, str] = {
    bool: "bool",
    int: "int",
    float: "float",
    type(None): "null",
    Timestamp: "timestamp",
}


def read_tagged_value(tag: str, text: str) -> Scalar:
    """Return the value of a scalar with a tag, such as `int` for `!!int`. Other tags than YAML's own mean text.

    Raises ValueError for text that is not of the tag's type.
    """
    if tag == "binary":
        try:
            return base64.b64decode(re.sub(r"[\r\n]", "", text), validate=True).decode(errors="replace")
        except binascii.Error:
            raise ValueError("the value is not base64, which its tag '!!binary' requires") from None
    if tag not in TAGS.values():
        return text
    value = read_implicit_value(text, with_timestamps=tag == "timestamp")
    if TAGS.get(type(value)) == tag:
        return value
    if tag == "float" and type(value) is int:
        return float(value)
    raise ValueError(f"the value does not have the type of its tag '!!{tag}'")


def read_implicit_value(text: str, *, with_timestamps: bool = True) -> Scalar:
    """Return the value of a scalar without quotes and without a tag."""
    if text in CONSTANTS:
        return CONSTANTS[text]
    if text[0] not in "+-.0123456789":
        return text
    timestamp = _read_timestamp(text) if with_timestamps else None
    if timestamp is not None:
        return timestamp
    number = DIGIT_SEPARATOR.sub("", text) if text[0] == "." else text.replace("_", "")
    for base, pattern in INTEGERS.items():
        match = pattern.fullmatch(number)
        if match:
            value = int(match[1] + match[2], base)
            # Go has integers of 64 bits; a larger one is a float.
            if -(2**63) <= value < 2**63 or (not match[1] and value < 2**64):
                return value
    if FLOAT.fullmatch(number) and not math.isinf(float(number)):
        return float(number)
    return text


def _read_timestamp(text: str) -> Timestamp | None:
    """Return the date or time that a text is, or None."""
    match = TIMESTAMP.fullmatch(text)
    if not match:
        return None
    separator, zone = match[4] or "", match[9] or ""
    year, month, day, hour, minute, second = (int(match[group] or 0) for group in (1, 2, 3, 5, 6, 7))
    # Only a time with 'T' has a zone. The calendar repeats after 400 years; Python has no year 0.
    is_valid = (
        bool(zone) == (separator in ("T", "t"))
        and month in range(1, 13)
        and day in range(1, calendar.monthrange(2000 + year % 400, month)[1] + 1)
        and (hour, minute, second) == (hour % 24, minute % 60, second % 60)
    )
    if not is_valid:
        return None
    offset = zone.replace(":", "")
    shown_zone = "+0000 UTC" if offset in ("", "Z", "+0000", "-0000") else f"{offset} {offset}"
    fraction = (match[8] or "")[:9].rstrip("0")
    clock = f"{hour:02}:{minute:02}:{second:02}{'.' if fraction else ''}{fraction}"
    return Timestamp(f"{year:04}-{month:02}-{day:02} {clock} {shown_zone}")
