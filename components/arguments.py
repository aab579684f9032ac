"""The base of everything a user writes, and the kinds of value that occur in it.

Models of the stack file stand beside the component that they describe and derive from `Arguments`; what is here is only shared by
them. Keys are written in camelCase in the file and in snake_case in Python. No message repeats a value that could be a secret.
"""

import ipaddress
import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidatorFunctionWrapHandler, WithJsonSchema, WrapValidator
from pydantic.alias_generators import to_camel

__all__ = [
    "CaBundle",
    "CaBundleFile",
    "CpuQuantity",
    "DnsLabel",
    "ExtensionName",
    "Host",
    "Hosts",
    "Labels",
    "NonEmptyStr",
    "NonNegativeInt",
    "Port",
    "Quantity",
    "SecretText",
    "SettingName",
    "SettingValue",
    "SpecModel",
    "StrictBool",
    "TlsMode",
    "is_ip_address",
    "is_loopback",
]

DNS_LABEL_PATTERN = r"^[a-z]([-a-z0-9]*[a-z0-9])?$"
POSITIVE_DECIMAL_PATTERN = r"([0-9]*[1-9][0-9]*(\.[0-9]+)?|[0-9]+\.[0-9]*[1-9][0-9]*)"
SETTING_PATTERN = r"^[A-Za-z_][-A-Za-z0-9_.]*$"
CPU_PATTERN = f"^{POSITIVE_DECIMAL_PATTERN}m?$"
MAX_SETTING_LENGTH = 4096
EXTENSION_NAME_RE = re.compile(r"[a-z][a-z0-9_-]{0,62}")
PEM_CERTIFICATE_RE = re.compile(r"-----BEGIN CERTIFICATE-----\s[^-]+-----END CERTIFICATE-----")
QUANTITY_PATTERN = f"^{POSITIVE_DECIMAL_PATTERN}(k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)$"
HOSTNAME_RE = re.compile(r"(?=.{1,253}$)([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\.)*[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
CONTROL_CHARACTERS_RE = re.compile(r"[\x00-\x1f\x7f]")
LINE_BREAKS_RE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
"""What some configuration file takes for the end of a line, or for no text at all."""
IPV4_LIKE_RE = re.compile(r"[0-9.]+")


class SpecModel(BaseModel):
    """A part of the stack file: immutable, and every key that it does not know is an error."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, validate_by_name=True, validate_by_alias=True, use_attribute_docstrings=True
    )


@dataclass(frozen=True)
class CaBundle:
    """The certificates of whoever signed a server's."""

    path: str
    """The file, from the folder that the program runs in."""
    pem: str = field(repr=False)
    """What is in it (RFC 7468)."""


def is_ip_address(host: str) -> bool:
    """Whether a host is an IP address rather than a name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Whether a host means the machine it is used on: `localhost`, 127.0.0.0/8 or ::1."""
    if not is_ip_address(host):
        return host == "localhost" or host.endswith(".localhost")
    address = ipaddress.ip_address(host)
    return (_unwrap_ipv4_mapped(address) or address).is_loopback


def _unwrap_ipv4_mapped(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that an IPv6 address such as ::ffff:10.0.0.1 is written for."""
    return address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None


def _validate_host(value: str) -> str:
    """A host name (RFC 1123, in lower case) or an IP address."""
    if is_ip_address(value):
        return str(ipaddress.ip_address(value))
    if not HOSTNAME_RE.fullmatch(value) or IPV4_LIKE_RE.fullmatch(value):
        raise ValueError("is neither a host name in lower case, such as db.example.org, nor an IP address; a port or a user has a key of its own")
    return value


def _validate_hosts(value: Any, handler: ValidatorFunctionWrapHandler) -> tuple[str, ...]:
    """One host is a list of one, whose mistakes are told where it stands."""
    hosts = (_validate_host(value),) if isinstance(value, str) else handler(value)
    return _validate_reachable_from_pods(hosts)


def _coerce_number_to_str(value: Any) -> Any:
    """Processors may be written as a number: `cpu: 2`."""
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _validate_reachable_from_pods(hosts: tuple[str, ...]) -> tuple[str, ...]:
    """Hosts that Pods can connect to: one name, or addresses of one family that the API admits to an EndpointSlice."""
    if not hosts:
        raise ValueError("must not be empty")
    addresses = [ipaddress.ip_address(host) for host in hosts if is_ip_address(host)]
    if any(is_loopback(host) for host in hosts):
        raise ValueError("is a loopback address, which from a Pod is the Pod itself; give the address that the cluster reaches the server at")
    if any(a.is_unspecified or a.is_link_local or a.is_multicast or "%" in str(a) or _unwrap_ipv4_mapped(a) for a in addresses):
        raise ValueError("is an address that Kubernetes admits to no EndpointSlice (unspecified, link-local, multicast, with a zone, or IPv4 written as IPv6)")
    if len(hosts) > 1 and len(addresses) < len(hosts):
        raise ValueError("must be one host name, or a list of IP addresses: a Service follows only one name")
    if len({a.version for a in addresses}) > 1:
        raise ValueError("mixes IPv4 and IPv6 addresses, which need an EndpointSlice each; give those of one family")
    if len(set(hosts)) < len(hosts):
        raise ValueError("names an address twice")
    return hosts


def _load_ca_bundle(value: Any) -> Any:
    """The certificates in a file. It is read here, so that a file that is not there is told with every other mistake."""
    if not isinstance(value, str) or not value:
        raise ValueError("must be the path of a file with certificates, from the folder of the project")
    try:
        pem = Path(value).read_text()
    except (OSError, UnicodeDecodeError):
        raise ValueError("is no file that can be read; its path begins in the folder of the project") from None
    if "PRIVATE KEY" in pem:
        raise ValueError("holds a private key, which applications would be given; name a file with certificates alone")
    if not PEM_CERTIFICATE_RE.search(pem):
        raise ValueError("holds no certificate (-----BEGIN CERTIFICATE-----)")
    return CaBundle(value, pem)


def _validate_extension_name(value: str) -> str:
    if not EXTENSION_NAME_RE.fullmatch(value):
        raise ValueError("is no name of an extension, such as pg_trgm")
    return value


def _validate_setting_value(value: Any) -> Any:
    """A value that ends where its line does, or a number that every file can hold."""
    if not isinstance(value, str | int | float):
        raise ValueError("must be text, a number, true or false")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("is no number")
    if isinstance(value, str) and len(value) > MAX_SETTING_LENGTH:
        raise ValueError(f"is too long: at most {MAX_SETTING_LENGTH} characters")
    if isinstance(value, str) and LINE_BREAKS_RE.search(value):
        raise ValueError("holds a control character, such as a line break")
    return value


def _reject_control_characters(value: SecretStr) -> SecretStr:
    """A password that a variable, a URI and every protocol can carry."""
    if CONTROL_CHARACTERS_RE.search(value.get_secret_value()):
        raise ValueError("holds a control character, such as a line break, which no environment variable carries safely")
    return value


DnsLabel = Annotated[str, Field(pattern=DNS_LABEL_PATTERN, max_length=63)]
NonEmptyStr = Annotated[str, Field(min_length=1, max_length=253)]
Labels = dict[NonEmptyStr, Annotated[str, Field(max_length=63)]]
StrictBool = Annotated[bool, Field(strict=True)]
"""`true` or `false`, and none of the words and numbers that could stand for them."""
NonNegativeInt = Annotated[int, Field(strict=True, ge=0)]
Port = Annotated[int, Field(strict=True, ge=1, le=65535)]
CpuQuantity = Annotated[
    str,
    Field(pattern=CPU_PATTERN, max_length=20),
    BeforeValidator(_coerce_number_to_str),
    WithJsonSchema({"anyOf": [{"type": "string", "pattern": CPU_PATTERN, "maxLength": 20}, {"type": "number", "exclusiveMinimum": 0}]}),
]
SettingValue = Annotated[
    str | int | float | bool,
    BeforeValidator(_validate_setting_value),
    WithJsonSchema({"anyOf": [{"type": "string", "maxLength": MAX_SETTING_LENGTH}, {"type": "number"}, {"type": "boolean"}]}),
]
"""A value of a configuration file."""
ExtensionName = Annotated[str, AfterValidator(_validate_extension_name), WithJsonSchema({"type": "string", "pattern": f"^{EXTENSION_NAME_RE.pattern}$"})]
CaBundleFile = Annotated[CaBundle, BeforeValidator(_load_ca_bundle), WithJsonSchema({"type": "string", "minLength": 1})]
TlsMode = Literal["disable", "require", "verify-full"]
"""A connection in plain text, an encrypted one, or one to a server whose certificate and name were checked."""
SettingName = Annotated[str, Field(pattern=SETTING_PATTERN, max_length=200)]
Quantity = Annotated[str, Field(pattern=QUANTITY_PATTERN, max_length=20)]
Host = Annotated[str, AfterValidator(_validate_host)]
Hosts = Annotated[
    tuple[Host, ...],
    Field(max_length=100),
    WrapValidator(_validate_hosts),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 100}]}),
]
SecretText = Annotated[
    SecretStr,
    Field(min_length=1),
    AfterValidator(_reject_control_characters),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "minLength": 1},
                {"type": "object", "properties": {"secure": {"type": "string"}}, "required": ["secure"], "additionalProperties": False},
            ]
        }
    ),
]
