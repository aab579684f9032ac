"""What an application is told of a group: the keys of its connection Secret, its URI and its environment variables. Pure.

The keys are those of the Service Binding specification for Kubernetes (1.0, "Well-known Secret Entries"), with `database` added.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from urllib.parse import quote, urlencode

from components.persisted.names import variable_name

__all__ = ["Connection", "build_environment_variables", "build_uri", "connection_secret_data"]

ENCRYPTED_TLS_MODES = ("require", "verify-full")
VARIABLE_SUFFIX_BY_KEY = {"host": "address", "uri": "url", "ca.crt": "ca_crt"}
KEYS_WITHOUT_VARIABLE = ("type", "provider")


@dataclass(frozen=True, kw_only=True)
class Connection:
    """How a group is reached. A part that its engine does not have is None."""

    engine: str
    provider: str
    """The program that answers: the variant of the engine, such as `percona`."""
    host: str | None = None
    """The name of the group's Service."""
    port: int | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    database: str | None = None
    engine_keys: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}), repr=False)
    """The engine's own keys, such as `token`."""
    tls: str | None = None
    """What a client is to be told of TLS: `disable`, `require` or `verify-full`; nothing by default."""
    tls_server_name: str | None = None
    """The server's own name, where a client is to find it in the server's certificate: a Service's is in none."""

    @property
    def authority(self) -> str:
        """Host and port as a URI has them (RFC 3986, section 3.2)."""
        host = self.tls_server_name or f"{self.host}"
        return (f"[{host}]" if ":" in host else host) + ("" if self.port is None else f":{self.port}")

    def select_scheme(self, plain: str, secure: str) -> str:
        """The scheme of a protocol that has one for TLS."""
        return secure if self.tls in ENCRYPTED_TLS_MODES else plain


def build_uri(scheme: str, connection: Connection, path: str = "", query: Mapping[str, str] | None = None) -> str:
    """`scheme://username:password@host:port/path?query` of the parts that there are, each percent-encoded (RFC 3986, section 2.1)."""
    account = quote(connection.username or "", safe="")
    if connection.password is not None:
        account += ":" + quote(connection.password, safe="")
    authority = f"{account}@{connection.authority}" if account else connection.authority
    return f"{scheme}://{authority}{'/' + quote(path, safe='') if path else ''}{'?' + urlencode(query, quote_via=quote) if query else ''}"


def connection_secret_data(connection: Connection, uri: str) -> dict[str, str]:
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
        **connection.engine_keys,
    }
    return {key: value for key, value in keys.items() if value is not None}


def build_environment_variables(
    engine: str, group: str, keys: Mapping[str, str], *, is_primary: bool
) -> dict[str, str]:
    """A group's variables by the keys of its Secret: `MYSQL_MAIN_ADDRESS` and, for the group with the is_primary names, `MYSQL_ADDRESS`."""
    parts = {
        VARIABLE_SUFFIX_BY_KEY.get(key, key): value for key, value in keys.items() if key not in KEYS_WITHOUT_VARIABLE
    }
    groups = [group, None] if is_primary else [group]
    return {variable_name(engine, name, part): value for name in groups for part, value in parts.items()}
