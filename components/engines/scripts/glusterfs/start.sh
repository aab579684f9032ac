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
# The brick's files and their names contain the server's address, and each Pod has a new address. Clients with the volume
# mounted receive the new address with the volume's file.
volume=/data/glusterd/vols/$APPLICATION_VOLUME
old=$(sed -n 's/^brick-0=\(.*\):-data-brick$/\1/p' "$volume/info" 2>/dev/null || :)
if [ -n "$old" ] && [ "$old" != "$POD_IP" ]; then
    pattern=$(printf %s "$old" | sed 's/\./\\./g')
    find "$volume" -type f -exec sed -i "s/$pattern\([^0-9]\|\$\)/$POD_IP\1/g" {} +
    find "$volume" -type f -name "*$old*" | while read -r file; do
        name=${file##*/}
        mv "$file" "${file%/*}/${name%%"$old"*}$POD_IP${name#*"$old"}"
    done
fi
exec glusterd --no-daemon --volfile=/run/glusterd.vol --log-level=WARNING --log-file=/dev/stderr
