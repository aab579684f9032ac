#!/usr/bin/env bash
# Copy the data of a MySQL group as root, inside the Pods of both servers. See docs/upgrading.md.
set -euo pipefail
. "$(dirname "$0")/move.sh"

user=$(kubectl --namespace="$namespace" get secret "mysql-$new" --output='jsonpath={.data.username}' | base64 --decode)
kubectl --namespace="$namespace" exec "mysql-$old-0" -- sh -c 'mysqldump --defaults-file=/var/run/mysqld/root.cnf --single-transaction \
    --no-tablespaces --routines --events --hex-blob --set-gtid-purged=OFF --loose-skip-masking-policies "$APPLICATION_DATABASE"' |
    LC_ALL=C sed -E "/^(CREATE|\/\*!)/s/DEFINER=\`[^\`]*\`@\`[^\`]*\`/DEFINER=\`$user\`@\`%\`/" |
    kubectl --namespace="$namespace" exec --stdin "mysql-$new-0" -- sh -c \
        'mysql --defaults-file=/var/run/mysqld/root.cnf --default-character-set=utf8mb4 "$APPLICATION_DATABASE"'
