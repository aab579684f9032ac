#!/usr/bin/env bash
# Copy the data of a Elasticsearch group to another group of the application. See docs/upgrading.md.
set -euo pipefail
. "$(dirname "$0")/move.sh"
use_image "elasticsearch-$new"

move elasticsearch <<'SCRIPT'
umask 077
quoted() { printf '"%s"' "$(printf %s "$1" | sed 's/[\\"]/\\&/g')"; }
echo "user = $(quoted "$OLD_username:$OLD_password")" > /tmp/old
echo "user = $(quoted "$NEW_username:$NEW_password")" > /tmp/new
ask() { curl --config "/tmp/$1" --silent --show-error --fail-with-body --globoff --header 'Content-Type: application/json' "${@:3}" "$2"; }
unwanted=
for setting in creation_date uuid version provided_name resize routing.initial_recovery; do unwanted+=",-*.settings.index.$setting"; done

ask old "http://$OLD_host:$OLD_port/_cat/indices?h=index&expand_wildcards=open" | grep -v '^\.' | sort > /tmp/indices
while read -r index; do
    # The answer is {"<index>": {"aliases": ..., "mappings": ..., "settings": ...}}; the inner part creates the same index.
    definition=$(ask old "http://$OLD_host:$OLD_port/$index?filter_path=${unwanted#,}")
    definition=${definition#*:}
    printf %s "${definition%\}}" | ask new "http://$NEW_host:$NEW_port/$index" --request PUT --data-binary @-
    printf '{"source": {"index": "%s", "remote": {"host": "http://%s:%s", "username": %s, "password": %s}}, "dest": {"index": "%s"}}' \
        "$index" "$OLD_host" "$OLD_port" "$(quoted "$OLD_username")" "$(quoted "$OLD_password")" "$index" |
        ask new "http://$NEW_host:$NEW_port/_reindex?refresh=true" --request POST --data-binary @-
    echo
done < /tmp/indices

count() { while read -r index; do echo "$index $(ask "$1" "$2/$index/_count?filter_path=count")"; done < /tmp/indices; }
count old "http://$OLD_host:$OLD_port" > /tmp/count.old
count new "http://$NEW_host:$NEW_port" > /tmp/count.new
diff /tmp/count.old /tmp/count.new && cat /tmp/count.new
SCRIPT
