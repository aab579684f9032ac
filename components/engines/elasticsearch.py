"""Elasticsearch.

The application is a user of the file realm. Its role has all privileges on every index of the server and none to change
users or roles. The reserved realm, including the superuser `elastic`, is disabled. TLS is off: the Service is inside
the cluster.
"""

from collections.abc import Mapping

from components.connection import Connection, build_uri
from components.engines.clusters.elasticsearch import ELASTIC_CLOUD
from components.engines.definition import (
    Account,
    Engine,
    ExistingAccount,
    ServerRuntime,
    Variant,
    read_copy_scripts,
    read_script,
)
from components.engines.settings_file import SettingsFile, quote_json, render_assignments
from components.persisted.names import database_account_name
from components.spec import SettingValue

__all__ = ["ELASTICSEARCH"]

RESERVED_SETTINGS = {
    "bootstrap",
    "cluster.initial_master_nodes",
    "cluster.remote",
    "discovery",
    "http.bind_host",
    "http.host",
    "http.port",
    "http.publish_host",
    "http.publish_port",
    "http.type",
    "network",
    "node.roles",
    "node.store.allow_mmap",
    "path",
    "remote_cluster",
    "transport",
    "xpack.security",
}


def _build_uri(connection: Connection) -> str:
    return build_uri(connection.select_scheme("http", "https"), connection)


def _reject_environment_reference(name: str, values: Mapping[str, SettingValue]) -> str | None:
    """Return why a value cannot refer to the server's environment, which contains the password, or None."""
    return (
        "contains '${': Elasticsearch would replace it from the server's environment; write the value itself"
        if "${" in str(values[name])
        else None
    )


def _build_runtime(_variant: Variant, _version: str) -> ServerRuntime:
    return ServerRuntime(
        start_script=read_script("elasticsearch", "start"),
        readiness_script=read_script("elasticsearch", "ready"),
        data_path="/usr/share/elasticsearch/data",
        # The server would read a volume's `lost+found` as a damaged index.
        data_sub_path="elasticsearch",
        memory_dirs=("/run/server",),
        scratch_dirs=("/usr/share/elasticsearch/logs", "/tmp"),
        env={"ES_PATH_CONF": "/run/server"},
        min_memory="2Gi",
    )


ELASTICSEARCH = Engine(
    name="elasticsearch",
    port=9200,
    variants=(
        Variant(
            name="elasticsearch",
            image="docker.io/library/elasticsearch",
            supported_series=("8", "9"),
            default_version="9",
            run_as_user=1000,
        ),
    ),
    build_uri=_build_uri,
    build_account=lambda application, group: Account(username=database_account_name(application, group)),
    build_runtime=_build_runtime,
    cluster=ELASTIC_CLOUD,
    copy_scripts=read_copy_scripts(
        "elasticsearch",
        limits="indices whose name begins with a dot (data streams), blocks, templates, lifecycles, pipelines and"
        " transforms",
        has_connect=True,
    ),
    settings_file=SettingsFile(
        render=lambda values: render_assignments(values, sign=": ", true="true", false="false", quote=quote_json),
        reserved_names=frozenset(RESERVED_SETTINGS),
        rejection_reason=_reject_environment_reference,
    ),
    supports_tls_in_uri=True,
    existing_account=ExistingAccount(optional=("username", "password")),
)
