#!/bin/sh
set -eu
exec timeout 8 bash /etc/database-groups/login
