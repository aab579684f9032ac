#!/bin/sh
# Read the data of a copy from standard input into an empty database. MySQL commits each statement of a dump, so a failure
# deletes what was restored.
set -eu
# shellcheck source=components/engines/scripts/mysql/connect.sh
. "${0%/*}/connect"
objects=$(run_mysql <<'STATEMENT'
SELECT (SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = DATABASE())
    + (SELECT COUNT(*) FROM information_schema.routines WHERE routine_schema = DATABASE())
    + (SELECT COUNT(*) FROM information_schema.events WHERE event_schema = DATABASE());
STATEMENT
)
[ "$objects" = 0 ] || { echo "error: the database $DATABASE already holds $objects objects; nothing was copied" >&2; exit 1; }

# The application cannot create objects of another definer, so its user becomes the definer. mysqldump writes the clause
# only in the first line of a statement after DELIMITER, and in the second line of a view. A row is in a line that begins
# with INSERT. The last edit is of the old database's name, which mysqldump writes around objects of another collation.
cat >"$work/edit" <<'SCRIPT'
/^DELIMITER ;;+$/{
    :first
    n
    /^\/\*![0-9]+ SET .*;;+$/b first
    s/ DEFINER=(`([^`]|``)*`|"([^"]|"")*")@(`([^`]|``)*`|"([^"]|"")*")/ DEFINER=CURRENT_USER/
    :body
    n
    /^DELIMITER ;;+$/b first
    /^DELIMITER ;$/!b body
}
/^\/\*![0-9]+ CREATE ALGORITHM=[A-Z]+ \*\/$/{
    n
    s/ DEFINER=.* SQL SECURITY / DEFINER=CURRENT_USER SQL SECURITY /
}
s/^ALTER DATABASE `([^`]|``)*` CHARACTER SET /ALTER DATABASE CHARACTER SET /
SCRIPT
# A pipe of the shell would hide which program failed.
mkfifo "$work/statements"
exec 3<&0
LC_ALL=C sed -E -e "\$w $work/last" -f "$work/edit" <&3 >"$work/statements" &
edit=$!
code=0 edit_code=0
run_mysql --binary-mode --comments <"$work/statements" || code=$?
wait "$edit" || edit_code=$?
[ "$code" != 0 ] || code=$edit_code
case $(cat "$work/last") in
    '-- Dump completed on '*:[0-9][0-9]:[0-9][0-9]) ;;
    *) [ "$code" != 0 ] || { echo 'error: the copy is not complete' >&2; code=1; } ;;
esac
[ "$code" != 0 ] || exit 0
if sh "${0%/*}/empty"; then
    echo "error: the restore failed; the database $DATABASE is empty again" >&2
else
    echo "error: the restore failed; the database $DATABASE holds an incomplete copy" >&2
fi
exit "$code"
