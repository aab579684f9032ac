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
    "Arguments",
    "Authorities",
    "CertificateFile",
    "Count",
    "Cpu",
    "Extension",
    "Flag",
    "Host",
    "Hosts",
    "Labels",
    "Name",
    "Password",
    "Port",
    "Scalar",
    "SettingName",
    "Size",
    "Text",
    "Tls",
    "is_address",
    "is_loopback",
]

NAME_PATTERN = r"^[a-z]([-a-z0-9]*[a-z0-9])?$"
POSITIVE = r"([0-9]*[1-9][0-9]*(\.[0-9]+)?|[0-9]+\.[0-9]*[1-9][0-9]*)"
SETTING_PATTERN = r"^[A-Za-z_][-A-Za-z0-9_.]*$"
CPU_PATTERN = f"^{POSITIVE}m?$"
SCALAR_LIMIT = 4096
EXTENSION = re.compile(r"[a-z][a-z0-9_-]{0,62}")
CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----\s[^-]+-----END CERTIFICATE-----")
SIZE_PATTERN = f"^{POSITIVE}(k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)$"
HOST_NAME = re.compile(r"(?=.{1,253}$)([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\.)*[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
CONTROL_CHARACTERS = re.compile(r"[\x00-\x1f\x7f]")
LINE_BREAKS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
"""What some configuration file takes for the end of a line, or for no text at all."""
DOTTED_NUMBERS = re.compile(r"[0-9.]+")


class Arguments(BaseModel):
    """A part of the stack file: immutable, and every key that it does not know is an error."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, validate_by_name=True, validate_by_alias=True, use_attribute_docstrings=True
    )


@dataclass(frozen=True)
class Authorities:
    """The certificates of whoever signed a server's."""

    path: str
    """The file, from the folder that the program runs in."""
    pem: str = field(repr=False)
    """What is in it (RFC 7468)."""


def is_address(host: str) -> bool:
    """Whether a host is an IP address rather than a name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Whether a host means the machine it is used on: `localhost`, 127.0.0.0/8 or ::1."""
    if not is_address(host):
        return host == "localhost" or host.endswith(".localhost")
    address = ipaddress.ip_address(host)
    return (_ipv4_in_ipv6(address) or address).is_loopback


def _ipv4_in_ipv6(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that an IPv6 address such as ::ffff:10.0.0.1 is written for."""
    return address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None


def _host(value: str) -> str:
    """A host name (RFC 1123, in lower case) or an IP address."""
    if is_address(value):
        return str(ipaddress.ip_address(value))
    if not HOST_NAME.fullmatch(value) or DOTTED_NUMBERS.fullmatch(value):
        raise ValueError("is neither a host name in lower case, such as db.example.org, nor an IP address; a port or a user has a key of its own")
    return value


def _one_or_more(value: Any, listed: ValidatorFunctionWrapHandler) -> tuple[str, ...]:
    """One host is a list of one, whose mistakes are told where it stands."""
    hosts = (_host(value),) if isinstance(value, str) else listed(value)
    return _reachable_hosts(hosts)


def _number_as_text(value: Any) -> Any:
    """Processors may be written as a number: `cpu: 2`."""
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _reachable_hosts(hosts: tuple[str, ...]) -> tuple[str, ...]:
    """Hosts that Pods can connect to: one name, or addresses of one family that the API admits to an EndpointSlice."""
    if not hosts:
        raise ValueError("must not be empty")
    addresses = [ipaddress.ip_address(host) for host in hosts if is_address(host)]
    if any(is_loopback(host) for host in hosts):
        raise ValueError("is a loopback address, which from a Pod is the Pod itself; give the address that the cluster reaches the server at")
    if any(a.is_unspecified or a.is_link_local or a.is_multicast or "%" in str(a) or _ipv4_in_ipv6(a) for a in addresses):
        raise ValueError("is an address that Kubernetes admits to no EndpointSlice (unspecified, link-local, multicast, with a zone, or IPv4 written as IPv6)")
    if len(hosts) > 1 and len(addresses) < len(hosts):
        raise ValueError("must be one host name, or a list of IP addresses: a Service follows only one name")
    if len({a.version for a in addresses}) > 1:
        raise ValueError("mixes IPv4 and IPv6 addresses, which need an EndpointSlice each; give those of one family")
    if len(set(hosts)) < len(hosts):
        raise ValueError("names an address twice")
    return hosts


def _authorities(value: Any) -> Any:
    """The certificates in a file. It is read here, so that a file that is not there is told with every other mistake."""
    if not isinstance(value, str) or not value:
        raise ValueError("must be the path of a file with certificates, from the folder of the project")
    try:
        pem = Path(value).read_text()
    except (OSError, UnicodeDecodeError):
        raise ValueError("is no file that can be read; its path begins in the folder of the project") from None
    if "PRIVATE KEY" in pem:
        raise ValueError("holds a private key, which applications would be given; name a file with certificates alone")
    if not CERTIFICATE.search(pem):
        raise ValueError("holds no certificate (-----BEGIN CERTIFICATE-----)")
    return Authorities(value, pem)


def _extension(value: str) -> str:
    if not EXTENSION.fullmatch(value):
        raise ValueError("is no name of an extension, such as pg_trgm")
    return value


def _scalar(value: Any) -> Any:
    """A value that ends where its line does, or a number that every file can hold."""
    if not isinstance(value, str | int | float):
        raise ValueError("must be text, a number, true or false")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("is no number")
    if isinstance(value, str) and len(value) > SCALAR_LIMIT:
        raise ValueError(f"is too long: at most {SCALAR_LIMIT} characters")
    if isinstance(value, str) and LINE_BREAKS.search(value):
        raise ValueError("holds a control character, such as a line break")
    return value


def _no_control_characters(value: SecretStr) -> SecretStr:
    """A password that a variable, a URI and every protocol can carry."""
    if CONTROL_CHARACTERS.search(value.get_secret_value()):
        raise ValueError("holds a control character, such as a line break, which no environment variable carries safely")
    return value


Name = Annotated[str, Field(pattern=NAME_PATTERN, max_length=63)]
Text = Annotated[str, Field(min_length=1, max_length=253)]
Labels = dict[Text, Annotated[str, Field(max_length=63)]]
Flag = Annotated[bool, Field(strict=True)]
"""`true` or `false`, and none of the words and numbers that could stand for them."""
Count = Annotated[int, Field(strict=True, ge=0)]
Port = Annotated[int, Field(strict=True, ge=1, le=65535)]
Cpu = Annotated[
    str,
    Field(pattern=CPU_PATTERN, max_length=20),
    BeforeValidator(_number_as_text),
    WithJsonSchema({"anyOf": [{"type": "string", "pattern": CPU_PATTERN, "maxLength": 20}, {"type": "number", "exclusiveMinimum": 0}]}),
]
Scalar = Annotated[
    str | int | float | bool,
    BeforeValidator(_scalar),
    WithJsonSchema({"anyOf": [{"type": "string", "maxLength": SCALAR_LIMIT}, {"type": "number"}, {"type": "boolean"}]}),
]
"""A value of a configuration file."""
Extension = Annotated[str, AfterValidator(_extension), WithJsonSchema({"type": "string", "pattern": f"^{EXTENSION.pattern}$"})]
CertificateFile = Annotated[Authorities, BeforeValidator(_authorities), WithJsonSchema({"type": "string", "minLength": 1})]
Tls = Literal["disable", "require", "verify-full"]
"""A connection in plain text, an encrypted one, or one to a server whose certificate and name were checked."""
SettingName = Annotated[str, Field(pattern=SETTING_PATTERN, max_length=200)]
Size = Annotated[str, Field(pattern=SIZE_PATTERN, max_length=20)]
Host = Annotated[str, AfterValidator(_host)]
Hosts = Annotated[
    tuple[Host, ...],
    Field(max_length=100),
    WrapValidator(_one_or_more),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 100}]}),
]
Password = Annotated[
    SecretStr,
    Field(min_length=1),
    AfterValidator(_no_control_characters),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "minLength": 1},
                {"type": "object", "properties": {"secure": {"type": "string"}}, "required": ["secure"], "additionalProperties": False},
            ]
        }
    ),
]
