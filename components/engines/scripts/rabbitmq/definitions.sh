#!/bin/sh
# Print the definitions of the application's user and virtual host. Standard input: the password.
set -eu
read -r password
cat <<DEFINITIONS
{"users": [{"name": "$APPLICATION_USERNAME", "password": "$password", "tags": ["policymaker"]}],
 "vhosts": [{"name": "$APPLICATION_VHOST"}],
 "permissions": [{"user": "$APPLICATION_USERNAME", "vhost": "$APPLICATION_VHOST",
                  "configure": ".*", "write": ".*", "read": ".*"}]}
DEFINITIONS
