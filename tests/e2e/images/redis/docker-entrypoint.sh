#!/bin/sh
# The start of the redis and the valkey image: options or a configuration file alone mean the server, root becomes its user, and what the server writes is its own.
set -eu

name=redis
[ ! -x /usr/bin/valkey-server ] || name=valkey

case ${1:-} in
    -* | *.conf) set -- "$name-server" "$@" ;;
esac

case ${1:-} in
    redis-server | valkey-server)
        if [ "$(id -u)" = 0 ]; then
            find . ! -user "$name" -exec chown "$name" {} +
            exec setpriv --reuid "$name" --regid "$name" --clear-groups -- "$0" "$@"
        fi
        # The official images' servers are compiled without protected mode: without a password they are open.
        server=$1
        shift
        file=
        case ${1:-} in
            '' | -*) ;;
            *) file=$1 && shift ;;
        esac
        case " $* " in
            *" --protected-mode "* | *" -v "* | *" --version "* | *" -h "* | *" --help "* | *" --test-memory "*) ;;
            *) [ -n "$file" ] && grep -qs '^[[:space:]]*protected-mode' "$file" || set -- --protected-mode no "$@" ;;
        esac
        set -- "$server" ${file:+"$file"} "$@"
        ;;
esac

[ "$(umask)" != 0022 ] || umask 0077

exec "$@"
