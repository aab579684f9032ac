"""GlusterFS.

On an external server, which is what it is for, an application is told the address and the volume, and may have a claim of a storage class
that makes volumes there. A server of ours has its brick on a volume claim; it is the one that must run as root.
"""

from components.connection import Connection, url
from components.engines.engine import Account, Engine, Flavour, Software
from components.engines.settings import Settings, assignments
from components.names import account_name

__all__ = ["GLUSTERFS"]

OWNED = {
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


def _uri(connection: Connection) -> str:
    return url("glusterfs", Connection(engine=connection.engine, provider=connection.provider, host=connection.host), connection.extra["volume"])


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


def _software(_flavour: Flavour, _version: str) -> Software:
    return Software(
        start=START,
        started=STARTED,
        ready=READY,
        data="/data",
        scratch=("/run", "/var/lib/glusterd", "/var/log/glusterfs", "/tmp"),
        memory="256Mi",
        capabilities=CAPABILITIES,
    )


GLUSTERFS = Engine(
    name="glusterfs",
    port=24007,
    flavours=(Flavour(name="glusterfs", image=None, series=("10", "11"), version="11", uid=0),),
    uri=_uri,
    account=lambda application, group: Account(extra={"volume": account_name(application, group)}),
    software=_software,
    settings=Settings(render=lambda values: assignments(values, sign=" = ", true="on", false="off"), owned=frozenset(OWNED)),
    credential=None,
    given={"volume": True},
    claimable=True,
    mount=lambda group: f"/var/lib/glusterfs/{group}",
)
