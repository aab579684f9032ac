#!/bin/sh
set -eu
# Ask over the network, as clients do. Then try the brick's own port.
gluster --mode=script --remote-host="$POD_IP" volume info "$APPLICATION_VOLUME" | grep -qx 'Status: Started'
exec timeout 5 bash -c "exec 3<>/dev/tcp/$POD_IP/49152"
