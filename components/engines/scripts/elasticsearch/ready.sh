#!/bin/sh
set -eu
case $POD_IP in *:*) host="[$POD_IP]" ;; *) host=$POD_IP ;; esac
printf 'user = "%s"\n' "$(printf %s "$APPLICATION_USERNAME:$APPLICATION_PASSWORD" | sed 's/[\\"]/\\&/g')" |
    curl --config - --silent --show-error --fail --globoff --max-time 8 --output /dev/null \
        "http://$host:9200/_cluster/health?master_timeout=5s"
