#!/bin/sh
# Read the definitions of a copy from standard input into an empty virtual host. A failure leaves it empty.
set -eu
# shellcheck source=components/engines/scripts/rabbitmq/connect.sh
. "${0%/*}/connect"
copy restore
