"""RabbitMQ.

The application has a virtual host of its own and a user with all rights on it and none elsewhere. Both are imported as definitions at
every start, before the server listens, and where there are definitions no default user is made.
"""

from collections.abc import Mapping

from components.connection import Connection, build_uri
from components.engines.definition import Account, Engine, ServerRuntime, Variant
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
    "management.load_definitions",
    "proxy_protocol",
}


def _quote_setting(value: str) -> str:
    """A value as rabbitmq.conf has it: in single quotes, which it cannot hold itself; without them `#` begins a comment."""
    return value if "'" in value else f"'{value}'"


def _reject_unquotable(name: str, values: Mapping[str, SettingValue]) -> str | None:
    value = str(values[name])
    if "'" in value and ("#" in value or value.startswith("'") or value != value.strip()):
        return "has a single quote beside '#', in the first place, or beside a space at an end; rabbitmq.conf cannot hold that"
    return None


def _build_uri(connection: Connection) -> str:
    return build_uri(connection.select_scheme("amqp", "amqps"), connection, connection.engine_keys["vhost"])


def _build_account(application: str, group: str) -> Account:
    name = database_account_name(application, group)
    return Account(username=name, engine_keys={"vhost": name})


START = """\
#!/bin/sh
set -eu
umask 077
# A new cookie at each start: it is good for this Pod's own tools alone, and on a kept file a volume's group may get rights, which Erlang refuses.
rm -f "$HOME/.erlang.cookie"
head -c 32 /dev/urandom | base64 > "$HOME/.erlang.cookie"
# Definitions are imported at every start, before the server listens, and where there are some no default user is made.
cat > /run/server/definitions.json <<DEFINITIONS
{"users": [{"name": "$APPLICATION_USERNAME", "password": "$APPLICATION_PASSWORD", "tags": []}],
 "vhosts": [{"name": "$APPLICATION_VHOST"}],
 "permissions": [{"user": "$APPLICATION_USERNAME", "vhost": "$APPLICATION_VHOST", "configure": ".*", "write": ".*", "read": ".*"}]}
DEFINITIONS
# The image's own settings, the program's defaults, the user's settings, and what must not be changed: a later file has the last word.
rm -rf /run/server/conf.d
mkdir /run/server/conf.d
cp /etc/rabbitmq/conf.d/*.conf /run/server/conf.d/
echo 'log.connection.level = warning' > /run/server/conf.d/50-defaults.conf
# The server sees the memory of the node alone.
for file in /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes; do
    limit=$(cat "$file" 2>/dev/null) || continue
    case $limit in *[!0-9]*) continue ;; esac
    [ $((limit / 1024)) -ge "$(awk '/^MemTotal:/ {print $2}' /proc/meminfo)" ] ||
        echo "total_memory_available_override_value = $limit" >> /run/server/conf.d/50-defaults.conf
done
[ ! -e /etc/database-groups/settings ] || cp /etc/database-groups/settings /run/server/conf.d/60-settings.conf
cat > /run/server/conf.d/90-program.conf <<'CONFIGURATION'
load_definitions = /run/server/definitions.json
listeners.tcp.default = 5672
anonymous_login_user = none
CONFIGURATION
# Erlang's own ports are for this Pod alone.
export RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS='-kernel inet_dist_use_interface {127,0,0,1}'
exec docker-entrypoint.sh rabbitmq-server
"""

READY = """\
#!/bin/sh
set -eu
# The application's login, in AMQP 0-9-1, until its virtual host is open: the image has no client, and each of Erlang's tools starts
# a virtual machine. bash is in the image (its entrypoint is written in it) and has sockets.
exec timeout 8 bash <<'LOGIN'
set -e
export LC_ALL=C
octets() { # a number, as so many octets
    local shift=$(($2 * 8)) digits
    while [ "$shift" -gt 0 ]; do
        shift=$((shift - 8))
        printf -v digits '%03o' $(($1 >> shift & 255))
        printf "\\\\$digits"
    done
}
short() { octets ${#1} 1; printf %s "$1"; }
send() { # a method of the class "connection", whose arguments come from standard input, in so many octets
    { octets 1 1; octets 0 2; octets $(($2 + 4)) 4; octets 10 2; octets "$1" 2; cat; octets 206 1; } >&3
}
expect() { # a method
    frame=($(head -c 7 <&3 | od -An -tu1))
    local size=$((frame[3] << 24 | frame[4] << 16 | frame[5] << 8 | frame[6]))
    frame+=($(head -c $((size + 1)) <&3 | od -An -v -tu1))
    [ "${frame[0]} ${frame[7]} ${frame[8]} ${frame[9]} ${frame[10]}" = "1 0 10 0 $1" ]
}
exec 3<>"/dev/tcp/$POD_IP/5672"
printf 'AMQP\\0\\0\\11\\1' >&3
expect 10
login=$((${#APPLICATION_USERNAME} + ${#APPLICATION_PASSWORD} + 2))
{ octets 0 4; short PLAIN; octets "$login" 4; printf '\\0%s\\0%s' "$APPLICATION_USERNAME" "$APPLICATION_PASSWORD"; short en_US; } | send 11 $((20 + login))
expect 30 || { echo 'the application is refused' >&2; exit 1; }
for octet in "${frame[@]:11:8}"; do octets "$octet" 1; done | send 31 8 # the server's own limits
{ short "$APPLICATION_VHOST"; octets 0 2; } | send 40 $((3 + ${#APPLICATION_VHOST}))
expect 41
{ octets 200 2; octets 0 5; } | send 50 7
expect 51
LOGIN
"""


def _build_runtime(_variant: Variant, _version: str) -> ServerRuntime:
    return ServerRuntime(
        start_script=START,
        readiness_script=READY,
        data_path="/var/lib/rabbitmq",
        empty_dirs=("/run/server", "/tmp"),
        # A stable name keeps the data the node's own when Pod and address change, and Erlang's ports are for the Pod alone.
        env={
            "RABBITMQ_NODENAME": "rabbit@localhost",
            "RABBITMQ_USE_LONGNAME": "false",
            "RABBITMQ_CONFIG_FILES": "/run/server/conf.d",
            "RABBITMQ_LOGS": "-",
            "ERL_EPMD_ADDRESS": "127.0.0.1",
        },
        min_memory="512Mi",
    )


RABBITMQ = Engine(
    name="rabbitmq",
    port=5672,
    # The store of 4.2 is another one than that of 4.0 and 4.1, so the series have two numbers.
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
    settings_file=SettingsFile(
        render=lambda values: render_assignments(values, sign=" = ", true="true", false="false", quote=_quote_setting),
        reserved_names=frozenset(RESERVED_SETTINGS),
        rejection_reason=_reject_unquotable,
    ),
    supports_tls_in_uri=True,
    existing_account_keys={"vhost": False, "username": True, "password": True},
    existing_account_defaults={"vhost": "/"},
)
