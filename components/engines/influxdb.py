"""InfluxDB 2.

The application has an organisation, a bucket and a token that is good for the bucket alone. InfluxDB lets nobody choose the value of such a
token, and ours is made before there is a server: see docs/decisions/0006.
"""

from components.connection import Connection
from components.engines.definition import Account, Engine, ServerRuntime, Variant
from components.engines.settings_file import SettingsFile, quote_json, render_assignments
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
    # The token is a header of each request, and so no part of the address.
    return f"{connection.select_scheme('http', 'https')}://{connection.authority}"


def _build_account(application: str, group: str) -> Account:
    name = database_account_name(application, group)
    return Account(engine_keys={"org": name, "bucket": name})


START = """\
#!/bin/sh
# InfluxDB takes no token of a known value but its operator's, at its setup (github.com/influxdata/influxdb/issues/21385). So the
# application's authorization is made by a server that this script has for itself, limited to the bucket and with a token of the
# server's choice, and while no server runs that token is replaced in its record by the one of the Secret. Nothing else moves: a record
# is JSON, and keeps its length with spaces. When the record is saved again the server writes its index. A start that finds the
# token known does none of this.
set -eu
umask 077
data=/var/lib/influxdb2
scratch=/run/server
export LC_ALL=C INFLUX_HOST=http://127.0.0.1:9999 INFLUX_ORG="$APPLICATION_ORG"
export INFLUXD_BOLT_PATH=$data/influxd.bolt INFLUXD_SQLITE_PATH=$data/influxd.sqlite INFLUXD_ENGINE_PATH=$data/engine
tab=$(printf '\\t')
pid=

random() { head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \\n'; }

# A server that nobody else reaches, which opens no data and starts no tasks. It leaves tokens readable in their records, as no later one does.
open() {
    INFLUXD_CONFIG_PATH=$scratch INFLUXD_ENGINE_PATH=$scratch/engine INFLUXD_HTTP_BIND_ADDRESS=127.0.0.1:9999 INFLUXD_USE_HASHED_TOKENS=false \\
        INFLUXD_NO_TASKS=true INFLUXD_REPORTING_DISABLED=true INFLUXD_LOG_LEVEL=warn influxd &
    pid=$!
    until curl -sf -o "$scratch/answer" "$INFLUX_HOST/health"; do
        kill -0 "$pid"
        sleep 0.2
    done
}
close() {
    kill "$pid"
    wait "$pid" 2>/dev/null || :
}
known() { # whether the application's token opens its bucket
    printf 'header = "Authorization: Token %s"\\n' "$APPLICATION_TOKEN" |
        curl -sf -K - "$INFLUX_HOST/api/v2/buckets?name=$APPLICATION_BUCKET" | grep -q "\\"name\\": *\\"$APPLICATION_BUCKET\\""
}

rm -rf "$scratch/engine" "$scratch/config.yml"
if [ ! -e "$INFLUXD_BOLT_PATH" ]; then
    # Elsewhere until it is whole: what dies half-way is not taken for a server that has been set up.
    rm -f "$data"/new.*
    INFLUX_TOKEN=$(random)
    (
        export INFLUXD_BOLT_PATH=$data/new.bolt INFLUXD_SQLITE_PATH=$data/new.sqlite
        open
        printf '{"username": "administrator", "org": "%s", "bucket": "%s", "token": "%s"}' "$APPLICATION_ORG" "$APPLICATION_BUCKET" "$INFLUX_TOKEN" |
            curl -sf -o "$scratch/answer" -d @- "$INFLUX_HOST/api/v2/setup"
        close
    )
    mv "$data/new.sqlite" "$INFLUXD_SQLITE_PATH"
    mv "$data/new.bolt" "$INFLUXD_BOLT_PATH"
else
    # The administrator has no password, and a token that is new at every start.
    INFLUX_TOKEN=$(influxd recovery auth create-operator --username=administrator --org="$APPLICATION_ORG" \\
        --bolt-path="$INFLUXD_BOLT_PATH" 2>"$scratch/answer" |
        grep "administrator's Recovery Token" | tail -n 1 | grep -o '[-_A-Za-z0-9]\\{86\\}==')
fi
export INFLUX_TOKEN
open
influx auth list --hide-headers | while IFS=$tab read -r id description token _; do
    case $description in
        "administrator's Token" | "administrator's Recovery Token")
            [ "$token" = "$INFLUX_TOKEN" ] || influx auth delete --id="$id" </dev/null >"$scratch/answer"
            ;;
    esac
done
if ! known; then
    influx auth list --hide-headers | while IFS=$tab read -r id description _; do
        [ "$description" != "application" ] || influx auth delete --id="$id" </dev/null >"$scratch/answer"
    done
    bucket=$(influx bucket list --name="$APPLICATION_BUCKET" --hide-headers 2>"$scratch/answer" ||
        influx bucket create --name="$APPLICATION_BUCKET" --hide-headers)
    bucket=${bucket%%"$tab"*}
    influx auth create --description=application --read-bucket="$bucket" --write-bucket="$bucket" --hide-headers > "$scratch/authorization"
    IFS=$tab read -r id _ token _ < "$scratch/authorization"
    close
    printf 's/"token":"%s"/"token":"%s"%*s/g\\n' "$token" "$APPLICATION_TOKEN" $((${#token} - ${#APPLICATION_TOKEN})) '' > "$scratch/replacement"
    sed -f "$scratch/replacement" "$INFLUXD_BOLT_PATH" > "$data/new.bolt"
    [ "$(wc -c < "$data/new.bolt")" = "$(wc -c < "$INFLUXD_BOLT_PATH")" ]
    mv "$data/new.bolt" "$INFLUXD_BOLT_PATH"
    rm "$scratch/authorization" "$scratch/replacement"
    open
    printf 'header = "Authorization: Token %s"\\n' "$INFLUX_TOKEN" |
        curl -sf -K - -o "$scratch/answer" -X PATCH -d '{"status": "active"}' "$INFLUX_HOST/api/v2/authorizations/$id"
    known
fi
close
rm -rf "$scratch/engine" "$scratch/answer"
# For a person in the Pod: `influx` is the administrator.
cat > "$INFLUX_CONFIGS_PATH" <<CONFIGURATION
[default]
  url = "http://127.0.0.1:8086"
  token = "$INFLUX_TOKEN"
  org = "$APPLICATION_ORG"
  active = true
CONFIGURATION
if [ -e /etc/database-groups/settings ]; then
    cp /etc/database-groups/settings "$scratch/config.yml"
    export INFLUXD_CONFIG_PATH=$scratch/config.yml
fi
unset INFLUX_TOKEN INFLUX_HOST INFLUX_ORG
export INFLUXD_HTTP_BIND_ADDRESS=:8086 INFLUXD_REPORTING_DISABLED=true
exec influxd
"""

READY = """\
#!/bin/sh
set -eu
# A token that is good for something else gets an empty list, so the answer itself is looked at.
printf 'header = "Authorization: Token %s"\\n' "$APPLICATION_TOKEN" |
    curl -sf -m 8 -K - "http://$POD_IP:8086/api/v2/buckets?name=$APPLICATION_BUCKET" | grep -q "\\"name\\": *\\"$APPLICATION_BUCKET\\""
"""


def _build_runtime(_variant: Variant, _version: str) -> ServerRuntime:
    return ServerRuntime(
        start_script=START,
        readiness_script=READY,
        data_path="/var/lib/influxdb2",
        empty_dirs=("/run/server", "/tmp"),
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
    settings_file=SettingsFile(
        render=lambda values: render_assignments(values, sign=": ", true="true", false="false", quote=quote_json),
        reserved_names=frozenset(RESERVED_SETTINGS),
    ),
    credential_key="token",
    supports_tls_in_uri=True,
    existing_account_keys={"token": False, "org": True, "bucket": True},
)
