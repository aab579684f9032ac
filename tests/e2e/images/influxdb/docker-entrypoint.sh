#!/bin/sh
# The start of the influxdb image, of which this is what happens where no DOCKER_INFLUXDB_INIT_MODE asks for a setup: a configuration file is chosen, and the
# server or another command runs, as the image's user. The official one is /entrypoint.sh.
set -eu

[ -z "${DOCKER_INFLUXDB_INIT_MODE:-}" ] || { echo "docker-entrypoint.sh: no setup is made here" >&2 && exit 1; }
export INFLUXD_CONFIG_PATH="${INFLUXD_CONFIG_PATH:-/etc/defaults/influxdb2/config.yml}"
if [ "$(id -u)" = 0 ]; then
    find /var/lib/influxdb2 ! -user influxdb -exec chown influxdb {} +
    exec setpriv --reuid influxdb --regid influxdb --init-groups -- "$0" "$@"
fi

exec "$@"
