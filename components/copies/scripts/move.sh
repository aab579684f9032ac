#!/bin/sh
# Fill an empty database with a copy of another one, and compare both.
#
# Each variable SOURCE_X and TARGET_X is the variable X of the engine's scripts in the folder SCRIPTS. WORK is a writable
# folder, REPORT the file of the last message. OVERWRITE=true empties the target first. The images have no `diff`.
set -u
newline='
'

report() { printf '%s\n' "$1" | tee "$REPORT"; }
fail() { report "$1" >&2; exit 1; }

run_on() ( # run_on SIDE SCRIPT: run a script of the engine with the connection of one side
    for name in $(env | sed -n "s/^${1}_\([A-Z_]*\)=.*/\1/p"); do
        eval "$name=\$${1}_$name"
        export "${name?}"
    done
    exec sh "$SCRIPTS/$2"
)

list_content() { # list_content SIDE: write what the side holds; a new Pod cannot reach every server at once
    attempt=1
    until run_on "$1" inventory >"$WORK/$1" 2>"$WORK/error"; do
        if [ "$attempt" -ge "${ATTEMPTS:-12}" ]; then
            cat "$WORK/error" >&2
            fail "cannot read the $1 database; the log has the reason"
        fi
        attempt=$((attempt + 1))
        sleep "${DELAY_SECONDS:-5}"
    done
}

count_lines() { # count_lines FILE
    count=0
    while IFS= read -r _; do count=$((count + 1)); done <"$1"
    echo "$count"
}

print_missing() { # print_missing FILE OTHER_FILE TEXT: print the lines that only the first file has
    other="$newline$(cat "$2")$newline"
    while IFS= read -r line; do
        case $other in *"$newline$line$newline"*) ;; *) echo "$3: $line" ;; esac
    done <"$1"
}

start=$(date +%s)
list_content SOURCE
list_content TARGET
if [ -s "$WORK/TARGET" ] && [ "${OVERWRITE:-false}" = true ]; then
    run_on TARGET empty || fail "cannot empty the target; the log has the reason"
    list_content TARGET
fi
if [ -s "$WORK/TARGET" ]; then
    cat "$WORK/TARGET"
    fail "the target holds data: $(count_lines "$WORK/TARGET") entries; nothing was copied"
fi

# The shell returns the exit code of a pipe's last command only, so a named pipe connects both.
rm -f "$WORK/pipe"
mkfifo "$WORK/pipe" || fail "cannot create a pipe"
run_on SOURCE dump >"$WORK/pipe" &
dump=$!
restore_code=0
run_on TARGET restore <"$WORK/pipe" || restore_code=$?
dump_code=0
wait "$dump" || dump_code=$?
# A restore that ends early also ends the dump.
[ "$restore_code" = 0 ] || fail "the restore failed with exit code $restore_code (dump: $dump_code); the log has the reason"
[ "$dump_code" = 0 ] || fail "the dump failed with exit code $dump_code; the log has the reason"

list_content SOURCE
list_content TARGET
if [ "$(cat "$WORK/SOURCE")" != "$(cat "$WORK/TARGET")" ]; then
    print_missing "$WORK/SOURCE" "$WORK/TARGET" "only in the source" >&2
    print_missing "$WORK/TARGET" "$WORK/SOURCE" "only in the target" >&2
    fail "the copy differs from the source: $(count_lines "$WORK/SOURCE") and $(count_lines "$WORK/TARGET") entries"
fi
report "copied $(count_lines "$WORK/TARGET") entries in $(($(date +%s) - start)) seconds; both sides are equal"
