#!/bin/sh
# Replace the password in the cluster, because a user has only one. Open connections continue. If the user cannot log in,
# restore the old one. Standard input: the old password, then the new one.
set -eu
read -r old
read -r new

change_password() { # change_password PASSWORD. With --quiet, rabbitmqctl 4.0 does not read standard input, and never ends.
    printf '%s\n' "$1" | rabbitmqctl change_password "$USERNAME"
}

change_password "$new"
printf '%s\n' "$new" | rabbitmqctl authenticate_user "$USERNAME" || { change_password "$old"; exit 1; }
