#!/bin/sh
set -eu
# The client succeeds on answers such as LOADING too, so compare the answer itself.
test "$(REDISCLI_AUTH="$(cat /run/server/password)" redis-cli -h "$POD_IP" ping)" = PONG
