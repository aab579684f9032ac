"""RabbitMQ.

The application's user has all permissions on its own virtual host and none on others. The server imports both as
definitions at every start before it listens, and then creates no default user.

Copies use the management API. The tag `policymaker` gives the user this API, for its own virtual host only.
"""

from collections.abc import Mapping

from components.connection import Connection, build_uri
from components.engines.clusters.rabbitmq import RABBITMQ_CLUSTER_OPERATOR
from components.engines.definition import (
    Account,
    Engine,
    ExistingAccount,
    ServerRuntime,
    Variant,
    read_copy_scripts,
    read_script,
)
from components.engines.settings_file import SettingsFile, render_assignments
from components.persisted.names import database_account_name
from components.spec import SettingValue

__all__ = ["RABBITMQ"]

RESERVED_SETTINGS = {
    "anonymous_login_pass",
    "anonymous_login_user",
    "auth_backends",
    "auth_mechanisms",
    "cluster_formation",
    "credential_validator",
    "default_pass",
    "default_permissions",
    "default_user",
    "default_user_tags",
    "default_users",
    "default_vhost",
    "definitions",
    "listeners.tcp",
    "load_definitions",
    "log.dir",
    "log.file",
    "loopback_users",
    "management.disable_basic_auth",
    "management.listener",
    "management.load_definitions",
    "management.path_prefix",
    "management.tcp",
    "proxy_protocol",
}


def _quote_setting(value: str) -> str:
    """Return a value for rabbitmq.conf: in single quotes, because a `#` outside of them begins a comment.

    A quoted value cannot contain a single quote, so a value with one stays unquoted.
    """
    return value if "'" in value else f"'{value}'"


def _reject_unquotable(name: str, values: Mapping[str, SettingValue]) -> str | None:
    """Return why rabbitmq.conf can contain a value neither with nor without quotes, or None."""
    value = str(values[name])
    if "'" in value and ("#" in value or value.startswith("'") or value != value.strip()):
        return (
            "contains a single quote together with '#', a leading quote or an outer space: "
            "rabbitmq.conf cannot represent this; remove the single quote"
        )
    return None


def _build_uri(connection: Connection) -> str:
    return build_uri(connection.select_scheme("amqp", "amqps"), connection, connection.engine_keys["vhost"])


def _build_account(application: str, group: str) -> Account:
    name = database_account_name(application, group)
    return Account(username=name, engine_keys={"vhost": name})


def _build_runtime(_variant: Variant, _version: str) -> ServerRuntime:
    return ServerRuntime(
        start_script=read_script("rabbitmq", "start"),
        readiness_script=read_script("rabbitmq", "ready"),
        change_password_script=read_script("rabbitmq", "change_password"),
        files={name: read_script("rabbitmq", name) for name in ("definitions", "login")},
        data_path="/var/lib/rabbitmq",
        memory_dirs=("/run/server",),
        scratch_dirs=("/tmp",),
        # The data belongs to the node's name, so all Pods have the same one. Only the Pod can reach Erlang's ports.
        env={
            "RABBITMQ_NODENAME": "rabbit@localhost",
            "RABBITMQ_USE_LONGNAME": "false",
            "RABBITMQ_CONFIG_FILES": "/run/server/conf.d",
            "RABBITMQ_ENABLED_PLUGINS_FILE": "/run/server/enabled_plugins",
            "RABBITMQ_LOGS": "-",
            "ERL_EPMD_ADDRESS": "127.0.0.1",
        },
        min_memory="512Mi",
    )


RABBITMQ = Engine(
    name="rabbitmq",
    port=5672,
    # 4.2 stores its data in another format than 4.0 and 4.1, so a series has two numbers.
    variants=(
        Variant(
            name="rabbitmq",
            image="docker.io/library/rabbitmq",
            supported_series=("4.0", "4.1", "4.2"),
            default_version="4.2",
            run_as_user=999,
        ),
    ),
    build_uri=_build_uri,
    build_account=_build_account,
    build_runtime=_build_runtime,
    cluster=RABBITMQ_CLUSTER_OPERATOR,
    copy_scripts=read_copy_scripts(
        "rabbitmq",
        limits="messages, queues and exchanges that are not durable, and exclusive queues",
        has_connect=True,
        port=15672,
    ),
    settings_file=SettingsFile(
        # The server reads the node's memory and ignores the container's limit. Its high watermark is 60 % of this.
        build_defaults=lambda memory: {"total_memory_available_override_value": memory},
        render=lambda values: render_assignments(values, sign=" = ", true="true", false="false", quote=_quote_setting),
        reserved_names=frozenset(RESERVED_SETTINGS),
        rejection_reason=_reject_unquotable,
    ),
    supports_tls_in_uri=True,
    existing_account=ExistingAccount(required=("username", "password"), optional=("vhost",), defaults={"vhost": "/"}),
)
