#!/bin/sh
# Create the repository of a group, unless it exists.
set -u
# shellcheck source=components/copies/scripts/restic.sh
. "$SCRIPTS/restic"
seconds=${CHECK_SECONDS:-60}
code=0
run_restic "$seconds" cat config >/dev/null || code=$?
case $code in
    0) report "the repository exists" ;;
    10)
        code=0
        run_restic "$seconds" init || code=$?
        [ "$code" = 0 ] || fail "cannot create the repository: $(explain_exit "$code" "$seconds")"
        report "created the repository"
        ;;
    *) fail "cannot open the repository: $(explain_exit "$code" "$seconds")" ;;
esac
