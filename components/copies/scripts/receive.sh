#!/bin/sh
# Fill an empty database with a copy, and compare it with the copy's inventory.
#
# The script PRODUCER in the folder SCRIPTS (default: `write`) writes the copy: an inventory, an empty line and the data. The
# variables SOURCE_X and TARGET_X are the variables X of the scripts. WORK is a writable folder, REPORT the file of the last
# message.
# OVERWRITE=true empties the target, when the source can be read. The images have no `diff`.
set -u
newline='
'

report() { printf '%s\n' "$1" | tee "$REPORT"; }
fail() { report "$1" >&2; exit 1; }

run_on() ( # run_on SIDE SCRIPT: run a script with the connection of one side
    for name in $(env | sed -n "s/^${1}_\([A-Z_]*\)=.*/\1/p"); do
        eval "$name=\${${1}_$name}"
        export "${name?}"
    done
    exec sh "$SCRIPTS/$2"
)

list_target() { # list_target: write what the target holds; a new Pod cannot reach every server at once
    attempt=1
    until run_on TARGET inventory >"$WORK/TARGET" 2>"$WORK/error"; do
        if [ "$attempt" -ge "${ATTEMPTS:-12}" ]; then
            cat "$WORK/error" >&2
            fail "cannot read the target; the log has the reason"
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

read_inventory() { # read_inventory: write the inventory of the copy; fail if the copy ends in it
    while IFS= read -r line; do
        [ -n "$line" ] || return 0
        printf '%s\n' "$line"
    done >"$WORK/SOURCE"
    return 1
}

find_series() { # find_series FILE: print `in SERIES: ` of the first line that counts in one release series only
    sed -n '/^in [^:]*: /{s/^\(in [^:]*: \).*/\1/p;q;}' "$1"
}

find_number() { # find_number FILE TEXT: print the number of the line `TEXT at least NUMBER`
    while IFS= read -r line; do
        case $line in "$2 at least "*) echo "${line##* }" ;; esac
    done <"$1"
}

is_changed() { # is_changed LINE CHANGED: succeed if the line begins with a line of CHANGED
    while IFS= read -r start; do
        case $1 in "${start:-$newline}"*) return 0 ;; esac
    done <<LINES
$2
LINES
    return 1
}

print_differences() { # print_differences FILE OTHER_FILE SIDE OPERATOR: print the lines of a file that the other one does not have
    other="$newline$(cat "$2")$newline" series=$(find_series "$2") now=$(date +%s)
    changed=$(sed -n 's/^changed: //p' "$2")
    while IFS= read -r line; do
        case $other in *"$newline$line$newline"*) continue ;; esac
        case $line in
            "changed: "*) continue ;;
            "in "*) [ -z "$series" ] || [ "${line#"$series"}" != "$line" ] || continue ;;
            "until "*)
                end=${line#until }
                [ "$now" -lt "${end%%:*}" ] || continue
                ;;
            *" at least "*)
                number=$(find_number "$2" "${line% at least *}")
                [ -z "$number" ] || test "${line##* }" "$4" "$number" || continue
                ;;
        esac
        ! is_changed "$line" "$changed" || continue
        echo "only in the $3: $line"
    done <"$1"
}

require_empty_target() {
    [ -s "$WORK/TARGET" ] || return 0
    cat "$WORK/TARGET"
    fail "the target holds data: $(count_lines "$WORK/TARGET") entries; nothing was copied"
}

start=$(date +%s)
list_target
[ "${OVERWRITE:-false}" = true ] || require_empty_target

# The shell returns the exit code of a pipe's last command only, so a named pipe connects both.
rm -f "$WORK/pipe"
mkfifo "$WORK/pipe" || fail "cannot create a pipe"
run_on SOURCE "${PRODUCER:-write}" >"$WORK/pipe" &
producer=$!
exec 3<"$WORK/pipe"
if ! read_inventory <&3; then
    exec 3<&-
    producer_code=0
    wait "$producer" || producer_code=$?
    fail "cannot read the source: exit code $producer_code; the log has the reason"
fi
# The data of the target is deleted only when the source can be read.
if [ -s "$WORK/TARGET" ]; then
    run_on TARGET empty || fail "cannot empty the target; the log has the reason"
    list_target
    require_empty_target
fi
echo "restoring $(count_lines "$WORK/SOURCE") entries"
restore_code=0
run_on TARGET restore <&3 || restore_code=$?
exec 3<&-
producer_code=0
wait "$producer" || producer_code=$?
# A restore that ends early also ends the source.
[ "$restore_code" = 0 ] || fail "the restore failed with exit code $restore_code (source: $producer_code); the log has the reason"
[ "$producer_code" = 0 ] || fail "the source failed with exit code $producer_code; the log has the reason"

echo "comparing"
list_target
differences=$(
    print_differences "$WORK/SOURCE" "$WORK/TARGET" source -gt
    print_differences "$WORK/TARGET" "$WORK/SOURCE" target -lt
)
if [ -n "$differences" ]; then
    printf '%s\n' "$differences" >&2
    fail "the target differs from the source: $(count_lines "$WORK/SOURCE") and $(count_lines "$WORK/TARGET") entries"
fi
sed -n 's/^changed: \(.*\): $/not compared, because it changed during the dump: \1/p' "$WORK/SOURCE"
changed=$(grep -c '^changed: ' "$WORK/SOURCE") && changed=", except $changed that changed during the dump" || changed=
report "copied $(count_lines "$WORK/TARGET") entries in $(($(date +%s) - start)) seconds; both sides are equal$changed"
