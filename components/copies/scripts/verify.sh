#!/bin/sh
# Prove that the newest backup can be restored: check a part of the repository, start an empty server in this container,
# restore the backup into it, and compare. It takes no lock, so it stops no backup.
#
# MAX_AGE_SECONDS is the age from which the newest backup is too old. One run reads one of PARTS parts of the repository;
# the next one is due after INTERVAL_SECONDS. CREDENTIAL is the part of APPLICATION_* that is a password, PRIVATE are the
# variables that the server must not have.
set -u
# shellcheck source=components/copies/scripts/restic.sh
. "$SCRIPTS/restic"
start=$(date +%s)

read_field() { # read_field NAME: print a field of the snapshot
    sed -n "s/.*\"$1\":\"\{0,1\}\([^\",}]*\).*/\1/p" "$WORK/snapshot"
}

code=0
run_restic "${CHECK_SECONDS:-60}" --quiet snapshots --no-lock latest --path /dump --json >"$WORK/snapshot" || code=$?
[ "$code" = 0 ] || fail "cannot read the repository: $(explain_exit "$code" "${CHECK_SECONDS:-60}")"
BACKUP=$(read_field short_id) time=$(read_field time)
export BACKUP
[ -n "$BACKUP" ] || fail "the repository has no backup"
seconds=$(date -d "$time" +%s) || fail "cannot read the time of snapshot $BACKUP: $time"
age=$((start - seconds))
[ "$age" -le "$MAX_AGE_SECONDS" ] ||
    fail "the newest backup is too old: snapshot $BACKUP of $time (limit: $((MAX_AGE_SECONDS / 3600)) hours)"
[ "$age" -ge -3600 ] || fail "the newest backup is from the future: snapshot $BACKUP of $time"

part=$((start / INTERVAL_SECONDS % PARTS + 1))
run_restic "$LIMIT_SECONDS" check --no-lock --read-data-subset="$part/$PARTS" || code=$?
[ "$code" = 0 ] || fail "the repository is damaged, or cannot be read: $(explain_exit "$code" "$LIMIT_SECONDS")"

password=$(head -c 24 /dev/urandom | od -An -v -tx1 | tr -d ' \n')
export "APPLICATION_$CREDENTIAL=$password" TARGET_ADDRESS="$POD_IP"
for name in $(env | sed -n 's/^APPLICATION_\([A-Z_]*\)=.*/\1/p'); do
    eval "export TARGET_$name=\"\$APPLICATION_$name\""
done
# shellcheck disable=SC2086 # the variable holds several names
(
    unset RESTIC_REPOSITORY GOMEMLIMIT GOGC $PRIVATE
    export SCRATCH=true
    exec sh "$SCRIPTS/start"
) &
server=$!
trap 'kill "$server" 2>/dev/null' EXIT
waited=0
until sh "$SCRIPTS/ready" >"$WORK/answer" 2>&1; do
    if ! kill -0 "$server" 2>/dev/null || [ "$waited" -ge "${START_SECONDS:-600}" ]; then
        cat "$WORK/answer" >&2
        fail "the server for the verification did not start; the log has the reason"
    fi
    sleep 2
    waited=$((waited + 2))
done

if ! PRODUCER=snapshot REPORT="$WORK/result" sh "$SCRIPTS/receive"; then
    fail "snapshot $BACKUP of $time cannot be restored: $(explain_memory || cat "$WORK/result")"
fi
entries=0
while IFS= read -r _; do entries=$((entries + 1)); done <"$WORK/SOURCE"
changed=$(grep -c '^changed: ' "$WORK/SOURCE") && changed="; $changed entries changed during the backup" || changed=
duration=$(($(date +%s) - start))
report "snapshot $BACKUP of $time can be restored: $entries entries, $(read_field total_bytes_processed) bytes, in $duration seconds$changed"
