"""What an application is told of a group: the keys of its connection Secret, its URI and its environment variables. Pure.

The keys are those of the Service Binding specification for Kubernetes (1.0, "Well-known Secret Entries"), with `database` added.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from urllib.parse import quote, urlencode

from components.names import variable_name

__all__ = ["Connection", "environment_variables", "secret_keys", "url"]

ENCRYPTED = ("require", "verify-full")
VARIABLES = {"host": "address", "uri": "url", "ca.crt": "ca_crt"}
UNTOLD = ("type", "provider")


@dataclass(frozen=True, kw_only=True)
class Connection:
    """How a group is reached. A part that its engine does not have is None."""

    engine: str
    provider: str
    """The program that answers: the flavour of the engine, such as `percona`."""
    host: str | None = None
    """The name of the group's Service."""
    port: int | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    database: str | None = None
    extra: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}), repr=False)
    """The engine's own keys, such as `token`."""
    tls: str | None = None
    """What a client is to be told of TLS: `disable`, `require` or `verify-full`; nothing by default."""
    certified_host: str | None = None
    """The server's own name, where a client is to find it in the server's certificate: a Service's is in none."""

    @property
    def authority(self) -> str:
        """Host and port as a URI has them (RFC 3986, section 3.2)."""
        host = self.certified_host or f"{self.host}"
        return (f"[{host}]" if ":" in host else host) + ("" if self.port is None else f":{self.port}")

    def scheme(self, plain: str, secure: str) -> str:
        """The scheme of a protocol that has one for TLS."""
        return secure if self.tls in ENCRYPTED else plain


def url(scheme: str, connection: Connection, path: str = "", query: Mapping[str, str] | None = None) -> str:
    """`scheme://username:password@host:port/path?query` of the parts that there are, each percent-encoded (RFC 3986, section 2.1)."""
    account = quote(connection.username or "", safe="")
    if connection.password is not None:
        account += ":" + quote(connection.password, safe="")
    authority = f"{account}@{connection.authority}" if account else connection.authority
    return f"{scheme}://{authority}{'/' + quote(path, safe='') if path else ''}{'?' + urlencode(query, quote_via=quote) if query else ''}"


def secret_keys(connection: Connection, uri: str) -> dict[str, str]:
    """The keys and values of the connection Secret, without the parts that the engine does not have."""
    keys = {
        "type": connection.engine,
        "provider": connection.provider,
        "host": connection.host,
        "port": None if connection.port is None else str(connection.port),
        "username": connection.username,
        "password": connection.password,
        "database": connection.database,
        "uri": uri,
        **connection.extra,
    }
    return {key: value for key, value in keys.items() if value is not None}


def environment_variables(engine: str, group: str, keys: Mapping[str, str], *, default: bool) -> dict[str, str]:
    """A group's variables by the keys of its Secret: `MYSQL_MAIN_ADDRESS` and, for the group with the default names, `MYSQL_ADDRESS`."""
    told = {VARIABLES.get(key, key): value for key, value in keys.items() if key not in UNTOLD}
    groups = [group, None] if default else [group]
    return {variable_name(engine, name, part): value for name in groups for part, value in told.items()}
