"""The base model of a stack file and the scalar types of its values.

A model of the stack file is in the module of the component that it describes and derives from `SpecModel`. The file
writes keys in camelCase; Python uses snake_case. A message contains `{value}` where the parser may show the value; the
parser leaves it out where the value could be a secret.
"""

import math
import re
from collections.abc import Iterable
from decimal import Decimal
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, WithJsonSchema
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

__all__ = [
    "CpuQuantity",
    "DnsLabel",
    "ExtensionName",
    "ImageReference",
    "LabelKey",
    "LabelValue",
    "Labels",
    "NonEmptyStr",
    "NonNegativeInt",
    "Port",
    "Quantity",
    "ScriptText",
    "SecretText",
    "SettingName",
    "SettingValue",
    "SpecModel",
    "StorageClassName",
    "StrictBool",
    "constrain_str",
    "format_choices",
    "parse_quantity",
]

DNS_LABEL_PATTERN = r"[a-z]([-a-z0-9]*[a-z0-9])?"
POSITIVE_DECIMAL_PATTERN = r"([0-9]*[1-9][0-9]*(\.[0-9]+)?|[0-9]+\.[0-9]*[1-9][0-9]*)"
CPU_PATTERN = f"{POSITIVE_DECIMAL_PATTERN}m?"
BYTES_BY_UNIT = {
    **{unit: 1000**power for power, unit in enumerate(("k", "M", "G", "T", "P"), start=1)},
    **{unit: 1024**power for power, unit in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi"), start=1)},
}
QUANTITY_PATTERN = f"{POSITIVE_DECIMAL_PATTERN}({'|'.join(BYTES_BY_UNIT)})"
SETTING_NAME_PATTERN = r"[A-Za-z_][-A-Za-z0-9_.]*"
EXTENSION_NAME_PATTERN = r"[a-z][a-z0-9_-]{0,62}"
LABEL_NAME_PATTERN = r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
LABEL_VALUE_PATTERN = f"({LABEL_NAME_PATTERN})?"
DNS_SUBDOMAIN_PATTERN = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
MAX_DNS_SUBDOMAIN_LENGTH = 253
LABEL_KEY_PATTERN = f"((?=[^/]{{1,{MAX_DNS_SUBDOMAIN_LENGTH}}}/){DNS_SUBDOMAIN_PATTERN}/)?{LABEL_NAME_PATTERN}"
MAX_LABEL_LENGTH = 63
IMAGE_HOST_PATTERN = r"([A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?|\[[0-9A-Fa-f:]+\])(:[0-9]+)?"
IMAGE_PATH_PATTERN = r"[a-z0-9]+(([.]|_|__|-+)[a-z0-9]+)*"
IMAGE_TAG_PATTERN = r"[A-Za-z0-9_][-A-Za-z0-9_.]{0,127}"
IMAGE_DIGEST_PATTERN = r"@sha256:[0-9a-f]{64}"
IMAGE_PATTERN = (
    f"({IMAGE_HOST_PATTERN}/)?{IMAGE_PATH_PATTERN}(/{IMAGE_PATH_PATTERN})*"
    f"(:{IMAGE_TAG_PATTERN}({IMAGE_DIGEST_PATTERN})?|{IMAGE_DIGEST_PATTERN})"
)
MAX_IMAGE_LENGTH = 500
MAX_QUANTITY_LENGTH = 20
MAX_SCRIPT_LENGTH = 500_000
MAX_SETTING_LENGTH = 4096
CONTROL_CHARACTERS = r"\u0000-\u001f\u007f"
UNSUPPORTED_CHARACTERS_RE = re.compile(rf"[{CONTROL_CHARACTERS}\ud800-\udfff]")
"""Control characters, and surrogates, which UTF-8 does not have."""
SCRIPT_CONTROL_CHARACTERS = r"\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f"
"""All control characters but tabs and line breaks."""
UNSUPPORTED_SCRIPT_CHARACTERS_RE = re.compile(rf"[{SCRIPT_CONTROL_CHARACTERS}\ud800-\udfff]")
LINE_BREAKS = rf"{CONTROL_CHARACTERS}-\u009f\u2028\u2029\ufeff\ufffe\uffff"
LINE_BREAKS_RE = re.compile(rf"[{LINE_BREAKS}\ud800-\udfff]")
"""Characters that some configuration file reads as the end of a line, or rejects."""


class SpecModel(BaseModel):
    """Base of every part of the stack file: immutable, and an unknown key is an error."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        use_attribute_docstrings=True,
    )


def constrain_str(pattern: str, max_length: int, code: str, message: str) -> tuple[AfterValidator, WithJsonSchema]:
    """Return the annotations of a string type: its validator and its JSON schema.

    `pattern` is a regular expression for the whole value. `code` is the error's type and `message` its text.
    """
    expression = re.compile(pattern)

    def validate(value: str) -> str:
        if len(value) > max_length:
            raise PydanticCustomError(
                "text_too_long", "too long{value}; use at most {limit} characters", {"limit": max_length}
            )
        if not expression.fullmatch(value):
            raise PydanticCustomError(code, message)
        return value

    schema = {"type": "string", "pattern": f"^{pattern}$", "maxLength": max_length}
    return AfterValidator(validate), WithJsonSchema(schema)


def format_choices(choices: Iterable[str]) -> str:
    """Return the choices as a message lists them: `a, b or c`."""
    *others, last = choices
    return f"{', '.join(others)} or {last}" if others else last


def parse_quantity(quantity: str) -> int:
    """Return the number of bytes of a size, such as `50Gi`."""
    number = quantity.rstrip("kKMGTPi")
    return int(Decimal(number) * BYTES_BY_UNIT[quantity.removeprefix(number)])


def _coerce_number_to_str(value: Any) -> Any:
    """Accept a number of CPUs that is written without quotes: `cpu: 2`."""
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _require_unit(value: Any) -> Any:
    """Reject a number: it does not show whether `50` means bytes or gibibytes."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise PydanticCustomError("quantity", "not a size{value}; add a unit, for example `50Gi`")
    return value


def _validate_setting_value(value: Any) -> Any:
    """Accept a scalar that every configuration file can hold on one line."""
    if isinstance(value, dict):
        raise PydanticCustomError(
            "setting_map", "nested maps are not supported; join the names with dots, for example `net.port: 1`"
        )
    if isinstance(value, list):
        raise PydanticCustomError("setting_list", 'lists are not supported; write one text, for example "A,B"')
    if not isinstance(value, str | int | float):
        raise PydanticCustomError("setting_type", "expected text, a number, true or false")
    if isinstance(value, float) and not math.isfinite(value):
        raise PydanticCustomError("setting_number", "not a finite number; write it in quotes if it is text")
    if isinstance(value, str) and len(value) > MAX_SETTING_LENGTH:
        limit = {"limit": MAX_SETTING_LENGTH}
        raise PydanticCustomError("text_too_long", "too long; use at most {limit} characters", limit)
    if isinstance(value, str) and LINE_BREAKS_RE.search(value):
        raise PydanticCustomError("control_character", "contains a control character or a line break; remove it")
    return value


def _reject_control_characters(value: SecretStr) -> SecretStr:
    """Accept a password that environment variables, URIs and every protocol can carry."""
    if UNSUPPORTED_CHARACTERS_RE.search(value.get_secret_value()):
        raise PydanticCustomError("control_character", "contains a control character or a line break; remove it")
    return value


def _validate_text(value: str) -> str:
    """Accept a name that Secrets, environment variables and every protocol can carry."""
    if UNSUPPORTED_CHARACTERS_RE.search(value):
        raise PydanticCustomError("control_character", "contains a control character or a line break; remove it")
    return value


def _validate_script(value: str) -> str:
    """Accept a script that a ConfigMap and the engine's client can carry."""
    if UNSUPPORTED_SCRIPT_CHARACTERS_RE.search(value):
        raise PydanticCustomError("control_character", "contains a control character; remove it")
    return value


def _build_any_of_schema(*schemas: dict[str, Any]) -> WithJsonSchema:
    return WithJsonSchema({"anyOf": list(schemas)})


NAME_RULE = "start with a lower-case letter, then use lower-case letters, digits and '-', for example `main-2`"
DnsLabel = Annotated[str, *constrain_str(DNS_LABEL_PATTERN, 63, "dns_label", f"invalid name{{value}}; {NAME_RULE}")]
NonEmptyStr = Annotated[
    str,
    Field(min_length=1, max_length=253, json_schema_extra={"pattern": rf"^[^{CONTROL_CHARACTERS}]+$"}),
    AfterValidator(_validate_text),
]
ScriptText = Annotated[
    str,
    Field(
        min_length=1,
        max_length=MAX_SCRIPT_LENGTH,
        json_schema_extra={"pattern": rf"^[^{SCRIPT_CONTROL_CHARACTERS}]+$"},
    ),
    AfterValidator(_validate_script),
]
LABEL_RULE = "letters, digits, '-', '_' and '.' only, with a letter or digit at both ends"
LabelKey = Annotated[
    str,
    *constrain_str(
        LABEL_KEY_PATTERN,
        MAX_DNS_SUBDOMAIN_LENGTH + 1 + MAX_LABEL_LENGTH,
        "label_key",
        f"invalid label name{{value}}; use up to {MAX_LABEL_LENGTH} characters: {LABEL_RULE};"
        " a lower-case domain and '/' can come first, for example `example.org/role`",
    ),
]
LabelValue = Annotated[
    str,
    *constrain_str(
        LABEL_VALUE_PATTERN, MAX_LABEL_LENGTH, "label_value", f"invalid label value{{value}}; use {LABEL_RULE}"
    ),
]
Labels = dict[LabelKey, LabelValue]
StorageClassName = Annotated[
    str,
    *constrain_str(
        DNS_SUBDOMAIN_PATTERN,
        MAX_DNS_SUBDOMAIN_LENGTH,
        "storage_class",
        "invalid storage class{value}; use a name that `kubectl get storageclass` prints",
    ),
]
ImageReference = Annotated[
    str,
    *constrain_str(
        IMAGE_PATTERN,
        MAX_IMAGE_LENGTH,
        "image",
        "invalid image{value}; use a repository with a tag or a digest, for example `example.org/server:1.2.3`",
    ),
]
StrictBool = Annotated[bool, Field(strict=True)]
NonNegativeInt = Annotated[int, Field(strict=True, ge=0)]
Port = Annotated[int, Field(strict=True, ge=1, le=65535)]
CPU_MESSAGE = "not a number of CPUs{value}; use for example `2`, `0.5` or `500m`"
CpuQuantity = Annotated[
    str,
    constrain_str(CPU_PATTERN, MAX_QUANTITY_LENGTH, "cpu", CPU_MESSAGE)[0],
    BeforeValidator(_coerce_number_to_str),
    _build_any_of_schema(
        {"type": "string", "pattern": f"^{CPU_PATTERN}$", "maxLength": MAX_QUANTITY_LENGTH},
        {"type": "number", "exclusiveMinimum": 0},
    ),
]
QUANTITY_MESSAGE = "not a size{value}; use a number and a unit, for example `512Mi` or `50Gi`"
Quantity = Annotated[
    str,
    *constrain_str(QUANTITY_PATTERN, MAX_QUANTITY_LENGTH, "quantity", QUANTITY_MESSAGE),
    BeforeValidator(_require_unit),
]
SETTING_NAME_MESSAGE = "invalid setting name{value}; use letters, digits, '_', '-' and '.' only"
SettingName = Annotated[str, *constrain_str(SETTING_NAME_PATTERN, 200, "setting_name", SETTING_NAME_MESSAGE)]
SettingValue = Annotated[
    str | int | float | bool,
    BeforeValidator(_validate_setting_value),
    _build_any_of_schema(
        {"type": "string", "maxLength": MAX_SETTING_LENGTH, "pattern": rf"^[^{LINE_BREAKS}]*$"},
        {"type": "number"},
        {"type": "boolean"},
    ),
]
EXTENSION_NAME_MESSAGE = "invalid extension name{value}; use the name in `CREATE EXTENSION`, for example `pg_trgm`"
ExtensionName = Annotated[str, *constrain_str(EXTENSION_NAME_PATTERN, 63, "extension_name", EXTENSION_NAME_MESSAGE)]
SecretText = Annotated[
    SecretStr,
    Field(min_length=1),
    AfterValidator(_reject_control_characters),
    _build_any_of_schema(
        {"type": "string", "pattern": rf"^[^{CONTROL_CHARACTERS}]+$"},
        {
            "type": "object",
            "properties": {"secure": {"type": "string"}},
            "required": ["secure"],
            "additionalProperties": False,
        },
    ),
]
