#!/bin/sh
# InfluxDB accepts a token with a known value only for its operator, at its setup: github.com/influxdata/influxdb/issues/21385
# A private server of this script therefore creates the application's authorization: for the bucket only, with a token that the
# server chooses. While no server runs, the script replaces that token in its record with the token of the Secret. A record is
# JSON and keeps its length with spaces, so nothing else moves. When the server saves the record again, it writes its index.
# A start that finds the application's token skips all this.
set -eu
umask 077
data=/var/lib/influxdb2
scratch=/run/server
export LC_ALL=C INFLUX_HOST=http://127.0.0.1:9999 INFLUX_ORG="$APPLICATION_ORG"
export INFLUXD_BOLT_PATH=$data/influxd.bolt INFLUXD_SQLITE_PATH=$data/influxd.sqlite INFLUXD_ENGINE_PATH=$data/engine
tab=$(printf '\t')
pid=

fail() { # fail REASON
    echo "database-groups: $1" >&2
    exit 1
}
create_token() {
    head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n'
}
start_server() { # start_server NAME: start the private server on the metadata NAME.bolt and NAME.sqlite
    # It opens no data and runs no tasks, and tokens stay readable in their records.
    INFLUXD_BOLT_PATH=$1.bolt INFLUXD_SQLITE_PATH=$1.sqlite INFLUXD_ENGINE_PATH=/tmp/engine INFLUXD_CONFIG_PATH=$scratch \
        INFLUXD_HTTP_BIND_ADDRESS=127.0.0.1:9999 INFLUXD_USE_HASHED_TOKENS=false INFLUXD_NO_TASKS=true \
        INFLUXD_REPORTING_DISABLED=true INFLUXD_LOG_LEVEL=warn influxd &
    pid=$!
    until curl -sf -o "$scratch/answer" "$INFLUX_HOST/health"; do
        kill -0 "$pid"
        sleep 0.2
    done
}
stop_server() {
    kill "$pid"
    wait "$pid" 2>/dev/null || :
}
is_token_valid() { # succeed if the application's token opens its bucket
    printf 'header = "Authorization: Token %s"\n' "$APPLICATION_TOKEN" |
        curl -sf -K - "$INFLUX_HOST/api/v2/buckets?name=$APPLICATION_BUCKET" | grep -q "\"name\": *\"$APPLICATION_BUCKET\""
}

rm -rf /tmp/engine "$scratch/config.yml"
if [ ! -e "$INFLUXD_BOLT_PATH" ]; then
    # Set up under another name until the setup is complete, so that an interrupted one starts again.
    rm -f "$data"/new.*
    INFLUX_TOKEN=$(create_token)
    start_server "$data/new"
    printf '{"username": "administrator", "org": "%s", "bucket": "%s", "token": "%s"}' \
        "$APPLICATION_ORG" "$APPLICATION_BUCKET" "$INFLUX_TOKEN" |
        curl -sSf -o "$scratch/answer" -d @- "$INFLUX_HOST/api/v2/setup"
    stop_server
    mv "$data/new.sqlite" "$INFLUXD_SQLITE_PATH"
    mv "$data/new.bolt" "$INFLUXD_BOLT_PATH"
else
    # The administrator has no password, and a new token at every start.
    tokens=$(influxd recovery auth create-operator --username=administrator --org="$APPLICATION_ORG" \
        --bolt-path="$INFLUXD_BOLT_PATH" 2>"$scratch/answer") || fail "$(grep '^Error' "$scratch/answer")"
    INFLUX_TOKEN=$(printf '%s\n' "$tokens" | grep "administrator's Recovery Token" | tail -n 1 |
        grep -o '[-_A-Za-z0-9]\{86\}==') || fail 'influxd printed no token for the administrator'
fi
export INFLUX_TOKEN
start_server "$data/influxd"
influx auth list --hide-headers | while IFS=$tab read -r id description token _; do
    case $description in
        "administrator's Token" | "administrator's Recovery Token")
            [ "$token" = "$INFLUX_TOKEN" ] || influx auth delete --id="$id" </dev/null >"$scratch/answer"
            ;;
    esac
done
if ! is_token_valid; then
    influx auth list --hide-headers | while IFS=$tab read -r id description _; do
        [ "$description" != "application" ] || influx auth delete --id="$id" </dev/null >"$scratch/answer"
    done
    bucket=$(influx bucket list --name="$APPLICATION_BUCKET" --hide-headers 2>"$scratch/answer" ||
        influx bucket create --name="$APPLICATION_BUCKET" --hide-headers)
    bucket=${bucket%%"$tab"*}
    influx auth create --description=application --read-bucket="$bucket" --write-bucket="$bucket" --hide-headers \
        > "$scratch/authorization"
    IFS=$tab read -r id _ token _ < "$scratch/authorization"
    stop_server
    printf 's/"token":"%s"/"token":"%s"%*s/g\n' "$token" "$APPLICATION_TOKEN" $((${#token} - ${#APPLICATION_TOKEN})) '' \
        > "$scratch/replacement"
    sed -f "$scratch/replacement" "$INFLUXD_BOLT_PATH" > "$data/new.bolt"
    [ "$(wc -c < "$data/new.bolt")" = "$(wc -c < "$INFLUXD_BOLT_PATH")" ] || fail 'the new token changes the length of the file'
    # A file that was not on the disk before its rename can be empty after a lost node.
    sync "$data/new.bolt"
    mv "$data/new.bolt" "$INFLUXD_BOLT_PATH"
    rm "$scratch/authorization" "$scratch/replacement"
    start_server "$data/influxd"
    printf 'header = "Authorization: Token %s"\n' "$INFLUX_TOKEN" |
        curl -sSf -K - -o "$scratch/answer" -X PATCH -d '{"status": "active"}' "$INFLUX_HOST/api/v2/authorizations/$id"
    is_token_valid || fail 'InfluxDB rejects the token of the Secret'
fi
stop_server
rm -rf /tmp/engine "$scratch/answer"
# With this file, `influx` in the Pod is the administrator.
cat > "${INFLUX_CONFIGS_PATH:?}" <<CONFIGURATION
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
unset APPLICATION_TOKEN INFLUX_TOKEN INFLUX_HOST INFLUX_ORG
export INFLUXD_HTTP_BIND_ADDRESS=:8086 INFLUXD_REPORTING_DISABLED=true
exec influxd
