"""InfluxDB 2.

The application has an organization, a bucket and a token for this bucket alone. The program generates the token before
the server exists, but InfluxDB does not accept a predefined token for one bucket: see docs/decisions/0006.
"""

from components.connection import Connection
from components.engines.definition import (
    Account,
    Engine,
    ExistingAccount,
    ServerRuntime,
    Variant,
    read_copy_scripts,
    read_script,
)
from components.engines.settings_file import MEBIBYTE, SettingsFile, quote_json, render_assignments
from components.persisted.names import database_account_name

__all__ = ["INFLUXDB"]

RESERVED_SETTINGS = {
    "assets-path",
    "bolt-path",
    "e2e-testing",
    "engine-path",
    "http-bind-address",
    "instance-id",
    "reporting-disabled",
    "secret-store",
    "sqlite-path",
    "store",
    "testing-always-allow-setup",
    "tls-cert",
    "tls-key",
    "tls-min-version",
    "tls-strict-ciphers",
    "use-hashed-tokens",
}


def _build_uri(connection: Connection) -> str:
    # Clients send the token as a header, so the URI does not contain it.
    return f"{connection.select_scheme('http', 'https')}://{connection.authority}"


def _build_account(application: str, group: str) -> Account:
    name = database_account_name(application, group)
    return Account(engine_keys={"org": name, "bucket": name})


def _build_runtime(_variant: Variant, _version: str) -> ServerRuntime:
    return ServerRuntime(
        start_script=read_script("influxdb", "start"),
        readiness_script=read_script("influxdb", "ready"),
        data_path="/var/lib/influxdb2",
        memory_dirs=("/run/server",),
        scratch_dirs=("/tmp",),
        env={"INFLUX_CONFIGS_PATH": "/run/server/influx-configs"},
        min_memory="512Mi",
    )


INFLUXDB = Engine(
    name="influxdb",
    port=8086,
    variants=(
        Variant(
            name="influxdb",
            image="docker.io/library/influxdb",
            supported_series=("2.7", "2.8"),
            default_version="2.7",
            run_as_user=1000,
        ),
    ),
    build_uri=_build_uri,
    build_account=_build_account,
    build_runtime=_build_runtime,
    copy_scripts=read_copy_scripts(
        "influxdb", limits="the retention, tasks, dashboards and carriage returns in texts", has_connect=True
    ),
    settings_file=SettingsFile(
        # The server's default is 1 GiB (documentation of `influxd`, "storage-cache-max-memory-size").
        build_defaults=lambda memory: {"storage-cache-max-memory-size": min(memory // 4, 1024 * MEBIBYTE)},
        render=lambda values: render_assignments(values, sign=": ", true="true", false="false", quote=quote_json),
        reserved_names=frozenset(RESERVED_SETTINGS),
    ),
    credential_key="token",
    supports_tls_in_uri=True,
    existing_account=ExistingAccount(required=("org", "bucket"), optional=("token",)),
)
