"""What an application receives of a group: the connection Secret, the URI and the environment variables.

Pure functions. The keys are those of the Service Binding Specification for Kubernetes (1.0, "Well-known Secret
Entries") plus `database`.
"""

import base64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from urllib.parse import quote, urlencode

from components.persisted.names import variable_name
from components.tls import ENCRYPTED_TLS_MODES, TlsMode

__all__ = [
    "CA_KEY",
    "PASSWORD_KEY",
    "READ_ADDRESS_KEY",
    "READ_URI_KEY",
    "Connection",
    "build_environment_variables",
    "build_uri",
    "connection_secret_data",
    "encode_secret_data",
    "list_variable_names",
]

PASSWORD_KEY = "password"  # noqa: S105 (a key)
CA_KEY = "ca.crt"
READ_ADDRESS_KEY = "read-host"
READ_URI_KEY = "read-uri"
VARIABLE_SUFFIX_BY_KEY = {
    "host": "address",
    "uri": "url",
    CA_KEY: "ca_crt",
    READ_ADDRESS_KEY: "read_address",
    READ_URI_KEY: "read_url",
}
KEYS_WITHOUT_VARIABLE = ("type", "provider")


@dataclass(frozen=True, kw_only=True)
class Connection:
    """The parts of a group's connection. A part that the engine does not have is None."""

    engine: str
    provider: str
    """Variant of the engine, such as `percona`."""
    host: str | None = None
    """Name of the group's Service."""
    port: int | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    database: str | None = None
    engine_keys: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}), repr=False)
    """The engine's own keys, such as `token`."""
    tls: TlsMode | None = None
    """TLS mode that the URI requests. Default: none; the client decides."""
    tls_server_name: str | None = None
    """Host name that the client verifies, if the Service's name is not in the certificate."""
    replica_set: str | None = None
    """Name of the replica set that the client must know."""

    @property
    def authority(self) -> str:
        """Host and port in a URI (RFC 3986, section 3.2)."""
        host = self.tls_server_name or f"{self.host}"
        return (f"[{host}]" if ":" in host else host) + ("" if self.port is None else f":{self.port}")

    def select_scheme(self, plain: str, secure: str) -> str:
        """Return the scheme of a protocol that has a separate one for TLS."""
        return secure if self.tls in ENCRYPTED_TLS_MODES else plain


def build_uri(scheme: str, connection: Connection, path: str = "", query: Mapping[str, str] | None = None) -> str:
    """Return `scheme://username:password@host:port/path?query`; every part is percent-encoded (RFC 3986, 2.1)."""
    account = quote(connection.username or "", safe="")
    if connection.password is not None:
        account += ":" + quote(connection.password, safe="")
    authority = f"{account}@{connection.authority}" if account else connection.authority
    encoded_path = f"/{quote(path, safe='')}" if path else ""
    encoded_query = f"?{urlencode(query, quote_via=quote)}" if query else ""
    return f"{scheme}://{authority}{encoded_path}{encoded_query}"


def connection_secret_data(connection: Connection, uri: str) -> dict[str, str]:
    """Return the keys and values of the connection Secret, without the parts that the engine does not have."""
    keys = {
        "type": connection.engine,
        "provider": connection.provider,
        "host": connection.host,
        "port": None if connection.port is None else str(connection.port),
        "username": connection.username,
        PASSWORD_KEY: connection.password,
        "database": connection.database,
        "replica-set": connection.replica_set,
        "uri": uri,
        **connection.engine_keys,
    }
    return {key: value for key, value in keys.items() if value is not None}


def build_environment_variables(
    engine: str, group: str, data: Mapping[str, str], *, is_primary: bool
) -> dict[str, str]:
    """Return a group's variables from the data of its connection Secret.

    Each group has `MYSQL_MAIN_ADDRESS` and so on; the primary group also has the short names, `MYSQL_ADDRESS`.
    """
    parts = {
        VARIABLE_SUFFIX_BY_KEY.get(key, key): value for key, value in data.items() if key not in KEYS_WITHOUT_VARIABLE
    }
    groups = [group, None] if is_primary else [group]
    return {variable_name(engine, name, part): value for name in groups for part, value in parts.items()}


def list_variable_names(engine: str, group: str, keys: Iterable[str], *, is_primary: bool) -> tuple[str, ...]:
    """Return the names of a group's variables from the keys of its connection Secret."""
    return tuple(build_environment_variables(engine, group, dict.fromkeys(keys, ""), is_primary=is_primary))


def encode_secret_data(data: Mapping[str, str]) -> dict[str, str]:
    """Return values as the `data` of a Secret. Kubernetes never returns `stringData`, which would hide a change."""
    return {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
