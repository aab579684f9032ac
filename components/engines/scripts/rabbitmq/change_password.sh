#!/bin/sh
# Replace the password, because a user has only one. Open connections continue. If the user cannot log in, restore the old one.
# Standard input: the old password, then the new one.
set -eu
umask 077
read -r old
read -r new

import_definitions() { # import_definitions PASSWORD: replace the file that the server imports at a start, and import it
    printf '%s\n' "$1" | sh /etc/database-groups/definitions > /run/server/definitions.new
    mv /run/server/definitions.new /run/server/definitions.json
    rabbitmqctl --quiet import_definitions /run/server/definitions.json
}

printf '%s\n' "$new" > /run/server/password.new
import_definitions "$new"
timeout 8 bash /etc/database-groups/login /run/server/password.new || { import_definitions "$old"; exit 1; }
mv /run/server/password.new /run/server/password
