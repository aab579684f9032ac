"""The contract of each engine: the record of test data that the tests of engines, groups and documents share."""

from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass
from typing import Any

from tests.settings_readers import (
    read_assignments,
    read_mysql,
    read_nested_json,
    read_postgresql,
    read_rabbitmq,
    read_redis,
    read_yaml,
)

COMMON_KEYS = frozenset({"type", "provider", "host", "port", "uri"})
"""Keys of the connection Secret of every engine with a server."""


def list_case_spellings(name: str) -> set[str]:
    """Return the spellings of a setting for a server that ignores case."""
    return {name, name.upper(), name.title()}


def list_mysql_spellings(name: str) -> set[str]:
    """Return the spellings of a setting that MySQL reads as the same."""
    dashes = {name.replace("_", "-"), name.replace("_", "-", 1)}
    return list_case_spellings(name) | dashes | {f"loose_{name}", f"loose-{name}", f"LOOSE_{name.upper()}"}


@dataclass(frozen=True, kw_only=True)
class SettingsContract:
    """How a server reads the settings that a user adds."""

    read: Callable[[str], dict[str, Any]]
    """Read the file as the server does."""
    booleans: tuple[Any, Any]
    """What the server reads for true and false."""
    reserved: Set[str]
    """Examples of settings that the program must reserve: address, storage and access of the server."""
    trims_spaces: bool = False
    """Whether the server ignores spaces at the ends of a value."""
    list_spellings: Callable[[str], set[str]] = list_case_spellings
    """Return the spellings of a setting that the server reads as the same."""


@dataclass(frozen=True, kw_only=True)
class EngineContract:
    """What users rely on, for a group with an account that the program creates."""

    secret_keys: Set[str]
    """All keys of the connection Secret."""
    uri: str
    """URI of the group `main` of the application `shop`: host `service`, password `generated`."""
    port: int | None
    variants: tuple[str, ...]
    max_username_length: int | None = None
    max_database_name_length: int | None = None
    supports_database_url: bool = False
    data_path: str | None = None
    """Path of the volume in the container, for the default version. None: the server has no volume."""
    supports_init_script: bool = False
    runs_as_root: bool = False
    """Whether the server runs as root, outside Pod Security `restricted`."""
    image_variables: Set[str] = frozenset()
    """Environment variables of the image that the scripts read."""
    has_probe: bool = True
    """Whether the preflight check speaks the engine's protocol."""
    settings: SettingsContract | None = None


CONTRACTS: Mapping[str, EngineContract] = {
    "elasticsearch": EngineContract(
        secret_keys=COMMON_KEYS | {"username", "password"},
        uri="http://shop_main:generated@service:9200",
        port=9200,
        variants=("elasticsearch",),
        data_path="/usr/share/elasticsearch/data",
        settings=SettingsContract(
            read=read_yaml,
            booleans=(True, False),
            reserved={"http.port", "network.host", "discovery.type", "path.data", "xpack.security.enabled"},
        ),
    ),
    "glusterfs": EngineContract(
        secret_keys=COMMON_KEYS | {"volume"},
        uri="glusterfs://service/shop_main",
        port=24007,
        variants=("glusterfs",),
        data_path="/data",
        runs_as_root=True,
        has_probe=False,
        settings=SettingsContract(
            read=read_assignments,
            booleans=("on", "off"),
            reserved={"auth.allow", "auth.reject", "transport.address-family", "server.ssl"},
            trims_spaces=True,
        ),
    ),
    "influxdb": EngineContract(
        secret_keys=COMMON_KEYS | {"token", "org", "bucket"},
        uri="http://service:8086",
        port=8086,
        variants=("influxdb",),
        data_path="/var/lib/influxdb2",
        settings=SettingsContract(
            read=read_yaml,
            booleans=(True, False),
            reserved={"http-bind-address", "bolt-path", "engine-path", "sqlite-path"},
        ),
    ),
    "mongodb": EngineContract(
        secret_keys=COMMON_KEYS | {"username", "password", "database"},
        uri="mongodb://shop_main:generated@service:27017/shop_main?authSource=shop_main",
        port=27017,
        variants=("mongodb",),
        max_database_name_length=63,
        data_path="/data/db",
        settings=SettingsContract(
            read=read_nested_json,
            booleans=(True, False),
            reserved={
                "net.port",
                "net.bindIp",
                "security.authorization",
                "storage.dbPath",
                "setParameter.enableLocalhostAuthBypass",
            },
        ),
    ),
    "mysql": EngineContract(
        secret_keys=COMMON_KEYS | {"username", "password", "database"},
        uri="mysql://shop_main:generated@service:3306/shop_main",
        port=3306,
        variants=("mysql", "percona"),
        max_username_length=32,
        max_database_name_length=64,
        supports_database_url=True,
        data_path="/var/lib/mysql",
        supports_init_script=True,
        settings=SettingsContract(
            read=read_mysql,
            booleans=("ON", "OFF"),
            reserved={"port", "bind_address", "datadir", "socket", "init_file", "user"},
            list_spellings=list_mysql_spellings,
        ),
    ),
    "postgresql": EngineContract(
        secret_keys=COMMON_KEYS | {"username", "password", "database"},
        uri="postgresql://shop_main:generated@service:5432/shop_main",
        port=5432,
        variants=("postgresql",),
        max_username_length=63,
        max_database_name_length=63,
        supports_database_url=True,
        data_path="/var/lib/postgresql/data",
        supports_init_script=True,
        settings=SettingsContract(
            read=read_postgresql,
            booleans=("on", "off"),
            reserved={"port", "listen_addresses", "data_directory", "hba_file", "unix_socket_directories"},
        ),
    ),
    "rabbitmq": EngineContract(
        secret_keys=COMMON_KEYS | {"username", "password", "vhost"},
        uri="amqp://shop_main:generated@service:5672/shop_main",
        port=5672,
        variants=("rabbitmq",),
        data_path="/var/lib/rabbitmq",
        image_variables={"HOME"},
        settings=SettingsContract(
            read=read_rabbitmq,
            booleans=("true", "false"),
            reserved={
                "listeners.tcp.default",
                "default_user",
                "default_pass",
                "load_definitions",
                "loopback_users.guest",
                "management.path_prefix",
                "management.tcp.port",
                "auth_backends.1",
            },
        ),
    ),
    "redis": EngineContract(
        secret_keys=COMMON_KEYS | {"password", "database"},
        uri="redis://:generated@service:6379/0",
        port=6379,
        variants=("redis", "valkey"),
        data_path="/data",
        settings=SettingsContract(
            read=read_redis,
            booleans=("yes", "no"),
            reserved={"port", "bind", "requirepass", "dir", "aclfile", "user", "include"},
        ),
    ),
    "sqlite": EngineContract(
        secret_keys={"type", "provider", "uri", "path"},
        uri="sqlite:////var/lib/sqlite/main/shop_main.db",
        port=None,
        variants=("sqlite",),
        supports_database_url=True,
        has_probe=False,
    ),
}


def variable_parts(keys: Set[str]) -> set[str]:
    """Return the last parts of the environment variables for keys of the connection Secret."""
    return {{"host": "ADDRESS", "uri": "URL"}.get(key, key.upper()) for key in keys - {"type", "provider"}}
