"""GlusterFS.

On an external server, which is what it is for, an application is told the address and the volume, and may have a claim of a storage class
that makes volumes there. A server of ours has its brick on a volume claim; it is the one that must run as root.
"""

from components.connection import Connection, build_uri
from components.engines.definition import Account, Engine, ServerRuntime, Variant
from components.engines.settings_file import SettingsFile, render_assignments
from components.persisted.names import database_account_name

__all__ = ["GLUSTERFS"]

RESERVED_SETTINGS = {
    "auth.allow",
    "auth.reject",
    "auth.ssl-allow",
    "client.ssl",
    "config.transport",
    "features.read-only",
    "features.worm",
    "server.ssl",
    "transport.address-family",
}
CAPABILITIES = (
    "SYS_ADMIN",
    "DAC_OVERRIDE",
    "CHOWN",
    "FOWNER",
    "FSETID",
)
"""What a brick needs: attributes of its own kind (`trusted.*`, which are SYS_ADMIN's), and the owners and modes of its clients' files."""


def _build_uri(connection: Connection) -> str:
    return build_uri(
        "glusterfs",
        Connection(engine=connection.engine, provider=connection.provider, host=connection.host),
        connection.engine_keys["volume"],
    )


START = """\
#!/bin/sh
set -eu
mkdir -p /run/gluster /data/brick /data/glusterd
cat > /run/glusterd.vol <<'CONFIGURATION'
volume management
    type mgmt/glusterd
    option working-directory /data/glusterd
    option transport-type socket
    option transport.socket.keepalive-time 10
    option transport.socket.keepalive-interval 2
    option transport.socket.listen-port 24007
    option ping-timeout 0
    option event-threads 1
    option base-port 49152
    option max-port 49152
end-volume
CONFIGURATION
# A brick is known by its server's address, in the names of files too, and that is new with every Pod. Clients that have the volume
# mounted get the new one with the volume's file.
volume=/data/glusterd/vols/$APPLICATION_VOLUME
old=$(sed -n 's/^brick-0=\\(.*\\):-data-brick$/\\1/p' "$volume/info" 2>/dev/null || :)
if [ -n "$old" ] && [ "$old" != "$POD_IP" ]; then
    pattern=$(printf %s "$old" | sed 's/\\./\\\\./g')
    find "$volume" -type f -exec sed -i "s/$pattern\\([^0-9]\\|\\$\\)/$POD_IP\\1/g" {} +
    find "$volume" -type f -name "*$old*" | while read -r file; do
        name=${file##*/}
        mv "$file" "${file%/*}/${name%%"$old"*}$POD_IP${name#*"$old"}"
    done
fi
exec glusterd --no-daemon --volfile=/run/glusterd.vol --log-level=WARNING --log-file=/dev/stderr
"""

STARTED = """\
#!/bin/sh
set -eu
gluster() { command gluster --mode=script "$@"; }
until gluster volume list >/dev/null 2>&1; do sleep 0.2; done
if ! gluster volume info "$APPLICATION_VOLUME" >/dev/null 2>&1; then
    gluster volume create "$APPLICATION_VOLUME" "$POD_IP:/data/brick" force
fi
if [ -e /etc/database-groups/settings ]; then
    while IFS= read -r line; do
        name=${line%% = *} value=${line#* = }
        [ -z "$name" ] || gluster volume set "$APPLICATION_VOLUME" "$name" "$value"
    done < /etc/database-groups/settings
fi
if ! gluster volume info "$APPLICATION_VOLUME" | grep -qx 'Status: Started'; then
    gluster volume start "$APPLICATION_VOLUME"
fi
"""

READY = """\
#!/bin/sh
set -eu
# Asked over the network, as clients ask; then the brick's own port.
gluster --mode=script --remote-host="$POD_IP" volume info "$APPLICATION_VOLUME" | grep -qx 'Status: Started'
exec timeout 5 bash -c 'exec 3<>"/dev/tcp/$POD_IP/49152"'
"""


def _build_runtime(_variant: Variant, _version: str) -> ServerRuntime:
    return ServerRuntime(
        start_script=START,
        post_start_script=STARTED,
        readiness_script=READY,
        data_path="/data",
        empty_dirs=("/run", "/var/lib/glusterd", "/var/log/glusterfs", "/tmp"),
        min_memory="256Mi",
        capabilities=CAPABILITIES,
    )


GLUSTERFS = Engine(
    name="glusterfs",
    port=24007,
    variants=(
        Variant(name="glusterfs", image=None, supported_series=("10", "11"), default_version="11", run_as_user=0),
    ),
    build_uri=_build_uri,
    build_account=lambda application, group: Account(engine_keys={"volume": database_account_name(application, group)}),
    build_runtime=_build_runtime,
    settings_file=SettingsFile(
        render=lambda values: render_assignments(values, sign=" = ", true="on", false="off"),
        reserved_names=frozenset(RESERVED_SETTINGS),
    ),
    credential_key=None,
    existing_account_keys={"volume": True},
    supports_external_volume=True,
    mount_path=lambda group: f"/var/lib/glusterfs/{group}",
)
