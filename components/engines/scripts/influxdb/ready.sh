#!/bin/sh
set -eu
case $POD_IP in *:*) host="[$POD_IP]" ;; *) host=$POD_IP ;; esac
# With a token for something else the list is empty and curl succeeds, so check the list itself.
printf 'header = "Authorization: Token %s"\n' "$APPLICATION_TOKEN" |
    curl -sfg -m 8 -K - "http://$host:8086/api/v2/buckets?name=$APPLICATION_BUCKET" |
    grep -q "\"name\": *\"$APPLICATION_BUCKET\""
