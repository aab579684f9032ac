# shellcheck shell=sh
# Functions that connect to the database. The scripts that copy data source this file.
umask 077
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

run_mongosh() { # run_mongosh: run the JavaScript of the standard input; `database` is the connected database
    mkdir -p "$work/.mongodb/mongosh"
    echo '{"enableTelemetry": false, "disableLogging": true}' >"$work/.mongodb/mongosh/config"
    cat - >"$work/script.js" <<'SCRIPT'
const { ADDRESS, PORT, USERNAME, PASSWORD, DATABASE, REPLICA_SET, TLS, CA_FILE } = process.env;
const uriOptions = new URLSearchParams({ serverSelectionTimeoutMS: 15000 });
if (USERNAME) uriOptions.set('authSource', DATABASE);
if (REPLICA_SET) uriOptions.set('replicaSet', REPLICA_SET);
if (TLS) uriOptions.set('tls', TLS !== 'disable');
if (TLS === 'require') uriOptions.set('tlsInsecure', true);
if (CA_FILE) uriOptions.set('tlsCAFile', CA_FILE);
const login = USERNAME ? `${encodeURIComponent(USERNAME)}:${encodeURIComponent(PASSWORD)}@` : '';
const host = ADDRESS.includes(':') ? `[${ADDRESS}]` : ADDRESS;
const database = connect(`mongodb://${login}${host}:${PORT}/${encodeURIComponent(DATABASE)}?${uriOptions}`);
SCRIPT
    cat >>"$work/script.js"
    HOME=$work mongosh --quiet --norc --nodb "$work/script.js"
}

run_tool() { # run_tool PROGRAM [ARGUMENT...]: run a program of the MongoDB tools
    case $ADDRESS in
        *:*) set -- "$@" --host="[$ADDRESS]" --port="$PORT" ;;
        *) set -- "$@" --host="${REPLICA_SET:+$REPLICA_SET/}$ADDRESS" --port="$PORT" ;;
    esac
    if [ -n "${USERNAME-}" ]; then
        printf 'password: "%s"\n' "$(printf %s "$PASSWORD" | sed 's/[\\"]/\\&/g')" >"$work/password"
        set -- "$@" --username="$USERNAME" --authenticationDatabase="$DATABASE" --config="$work/password"
    fi
    case ${TLS-} in
        require) set -- "$@" --ssl --tlsInsecure ;;
        verify-full) set -- "$@" --ssl ${CA_FILE:+"--sslCAFile=$CA_FILE"} ;;
    esac
    "$@"
}
