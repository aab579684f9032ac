"""Hosts of external servers: names and IP addresses that Pods can connect to."""

import ipaddress
import re
from typing import Annotated, Any

from pydantic import AfterValidator, Field, ValidatorFunctionWrapHandler, WithJsonSchema, WrapValidator
from pydantic_core import PydanticCustomError

__all__ = ["Host", "Hosts", "is_ip_address", "is_loopback"]

HOSTNAME_PATTERN = r"(?=.{1,253}$)([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\.)*[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
HOSTNAME_RE = re.compile(HOSTNAME_PATTERN)
IPV4_LIKE_RE = re.compile(r"[0-9.]+")
MAX_HOSTS = 100
"""An EndpointSlice holds at most 100 endpoints by default (Kubernetes' documentation, "EndpointSlices")."""


def is_ip_address(host: str) -> bool:
    """Return whether a host is an IP address and not a name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Return whether a host is the machine that uses it: `localhost`, 127.0.0.0/8 or ::1."""
    if not is_ip_address(host):
        return host == "localhost" or host.endswith(".localhost")
    address = ipaddress.ip_address(host)
    return (_unwrap_ipv4_mapped(address) or address).is_loopback


def _unwrap_ipv4_mapped(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """Return the IPv4 address inside an IPv6 address such as ::ffff:10.0.0.1."""
    return address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None


def _validate_host(value: str) -> str:
    """Accept a lower-case host name (RFC 1123) or an IP address."""
    if is_ip_address(value):
        return str(ipaddress.ip_address(value))
    if not HOSTNAME_RE.fullmatch(value) or IPV4_LIKE_RE.fullmatch(value):
        raise PydanticCustomError(
            "host",
            "invalid host{value}; use a lower-case host name or an IP address;"
            " put the port in `port` and the user in `username`",
        )
    return value


def _validate_hosts(value: Any, handler: ValidatorFunctionWrapHandler) -> tuple[str, ...]:
    """Accept one host or a list of hosts."""
    hosts = (_validate_host(value),) if isinstance(value, str) else handler(value)
    return _validate_reachable_from_pods(hosts)


def _validate_reachable_from_pods(hosts: tuple[str, ...]) -> tuple[str, ...]:
    """Accept one name, or addresses of one family that an EndpointSlice can hold."""
    addresses = [ipaddress.ip_address(host) for host in hosts if is_ip_address(host)]
    if not hosts:
        raise PydanticCustomError("empty", "the list is empty; add a host")
    if any(is_loopback(host) for host in hosts):
        raise PydanticCustomError(
            "loopback", "loopback address: Pods cannot reach it; use an address that is reachable from the cluster"
        )
    if any(not _is_allowed_in_endpoint_slice(address) for address in addresses):
        raise PydanticCustomError(
            "address",
            "Kubernetes rejects this address in an EndpointSlice (unspecified, link-local, multicast, with a zone, or"
            " IPv4 written as IPv6); use the server's unicast address",
        )
    if len(hosts) > 1 and len(addresses) < len(hosts):
        raise PydanticCustomError("host_list", "a list can hold IP addresses only; use one host name, or IP addresses")
    if len({address.version for address in addresses}) > 1:
        raise PydanticCustomError(
            "address_family", "IPv4 and IPv6 addresses cannot be mixed; list addresses of one family"
        )
    if len(set(hosts)) < len(hosts):
        raise PydanticCustomError("duplicate", "the same address occurs twice; remove one")
    return hosts


def _is_allowed_in_endpoint_slice(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    return not (
        address.is_unspecified
        or address.is_link_local
        or address.is_multicast
        or "%" in str(address)
        or _unwrap_ipv4_mapped(address)
    )


NAME_SCHEMA = {"type": "string", "pattern": rf"^(?![0-9.]+$){HOSTNAME_PATTERN}$"}
ADDRESS_SCHEMA = {"type": "string", "pattern": r"^([0-9]{1,3}(\.[0-9]{1,3}){3}|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*(%\S+)?)$"}
UNREACHABLE_RE = r"^(127|169\.254|22[4-9]|23[0-9])\.|^0\.0\.0\.0$|^::(1$|ffff:)|%|(^|\.)localhost$"
UNREACHABLE_SCHEMA = {"type": "string", "pattern": UNREACHABLE_RE}
"""Schemas for editors. The validators also reject addresses that only their value excludes."""

Host = Annotated[str, AfterValidator(_validate_host), WithJsonSchema({"anyOf": [NAME_SCHEMA, ADDRESS_SCHEMA]})]
Hosts = Annotated[
    tuple[Host, ...],
    Field(max_length=MAX_HOSTS),
    WrapValidator(_validate_hosts),
    WithJsonSchema(
        {
            "not": UNREACHABLE_SCHEMA,
            "anyOf": [
                NAME_SCHEMA,
                ADDRESS_SCHEMA,
                {"type": "array", "items": NAME_SCHEMA, "minItems": 1, "maxItems": 1},
                {
                    "type": "array",
                    "items": {**ADDRESS_SCHEMA, "not": UNREACHABLE_SCHEMA},
                    "minItems": 1,
                    "maxItems": MAX_HOSTS,
                    "uniqueItems": True,
                },
            ],
        }
    ),
]
