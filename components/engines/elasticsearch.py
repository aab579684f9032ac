"""Elasticsearch.

The application is a user of the file realm, with a role of its own: all on every index of its server, and none of the rights to change
who may do what. The superuser `elastic` is switched off with the rest of the reserved realm. TLS is off: the Service is in the cluster.
"""

from collections.abc import Mapping

from components.connection import Connection, build_uri
from components.engines.definition import Account, Engine, ServerRuntime, Variant
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
    """Why a value cannot be one that Elasticsearch fills in from the environment, where the password is."""
    return (
        "holds '${', which Elasticsearch would replace from the server's environment"
        if "${" in str(values[name])
        else None
    )


START = """\
#!/bin/sh
set -eu
umask 077
export ES_PATH_CONF=/run/server
rm -rf "$ES_PATH_CONF"/*
cp -R /usr/share/elasticsearch/config/. "$ES_PATH_CONF"
cd "$ES_PATH_CONF"
cat > elasticsearch.yml <<'SETTINGS'
discovery.type: single-node
http.host: 0.0.0.0
transport.host: 127.0.0.1
node.store.allow_mmap: false
xpack.security.enabled: true
xpack.security.autoconfiguration.enabled: false
xpack.security.http.ssl.enabled: false
xpack.security.transport.ssl.enabled: false
xpack.security.authc.reserved_realm.enabled: false
xpack.security.authc.realms.file.application.order: 0
xpack.security.authc.realms.native.none.enabled: false
xpack.security.authc.api_key.enabled: false
xpack.security.authc.token.enabled: false
SETTINGS
if [ -s /etc/database-groups/settings ]; then cat /etc/database-groups/settings >> elasticsearch.yml; fi
cat > roles.yml <<'ROLES'
application:
  cluster: [monitor, manage_index_templates, manage_ilm, manage_ingest_pipelines, manage_enrich, manage_transform]
  indices:
    - names: ['*']
      privileges: [all]
ROLES
: > users
: > users_roles
cd /usr/share/elasticsearch
made=$(printf '%s\\n%s\\n' "$APPLICATION_PASSWORD" "$APPLICATION_PASSWORD" | elasticsearch-users useradd "$APPLICATION_USERNAME" -r application 2>&1) ||
    { echo "$made"; exit 1; }
exec /bin/tini -- docker-entrypoint.sh eswrapper
"""

READY = """\
#!/bin/sh
set -eu
case $POD_IP in *:*) host="[$POD_IP]" ;; *) host=$POD_IP ;; esac
printf 'user = "%s"\\n' "$(printf %s "$APPLICATION_USERNAME:$APPLICATION_PASSWORD" | sed 's/[\\\\"]/\\\\&/g')" |
    curl --config - --silent --show-error --fail --globoff --max-time 8 --output /dev/null "http://$host:9200/_cluster/health?master_timeout=5s"
"""


def _build_runtime(_variant: Variant, _version: str) -> ServerRuntime:
    return ServerRuntime(
        start_script=START,
        readiness_script=READY,
        data_path="/usr/share/elasticsearch/data",
        # A volume's own lost+found would be taken for a damaged index.
        data_sub_path="elasticsearch",
        empty_dirs=("/run/server", "/usr/share/elasticsearch/logs", "/tmp"),
        env={"ES_PATH_CONF": "/run/server"},
        min_memory="2Gi",
    )


ELASTICSEARCH = Engine(
    name="elasticsearch",
    port=9200,
    variants=(
        # There are images of whole releases only, no tag that follows a series.
        Variant(
            name="elasticsearch",
            image="docker.io/library/elasticsearch",
            supported_series=("8", "9"),
            default_version="9.2.0",
            min_version_parts=3,
            run_as_user=1000,
        ),
    ),
    build_uri=_build_uri,
    build_account=lambda application, group: Account(username=database_account_name(application, group)),
    build_runtime=_build_runtime,
    settings_file=SettingsFile(
        render=lambda values: render_assignments(values, sign=": ", true="true", false="false", quote=quote_json),
        reserved_names=frozenset(RESERVED_SETTINGS),
        rejection_reason=_reject_environment_reference,
    ),
    supports_tls_in_uri=True,
    existing_account_keys={"username": False, "password": False},
)
