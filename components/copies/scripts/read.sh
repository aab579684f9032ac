#!/bin/sh
# Write the copy in the snapshot BACKUP to standard output. It takes no lock, so it stops no backup.
set -u
# shellcheck source=components/copies/scripts/restic.sh
. "$SCRIPTS/restic"
run_restic "$LIMIT_SECONDS" dump --no-lock "$BACKUP" /dump
