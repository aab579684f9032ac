#!/bin/sh
set -eu
# With a token for something else the list is empty and curl succeeds, so check the list itself.
printf 'header = "Authorization: Token %s"\n' "$APPLICATION_TOKEN" |
    curl -sf -m 8 -K - "http://$POD_IP:8086/api/v2/buckets?name=$APPLICATION_BUCKET" |
    grep -q "\"name\": *\"$APPLICATION_BUCKET\""
