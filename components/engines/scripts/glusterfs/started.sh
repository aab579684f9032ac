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
