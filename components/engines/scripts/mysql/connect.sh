#!/bin/sh
# The other scripts of a copy source this file: it writes the login to a file, because an argument would show the password.
set -eu
umask 077
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 143' INT TERM
login=$work/login
certificates=${CA_FILE-}
if [ -z "$certificates" ]; then
    # MySQL's programs do not find the certificates of the system.
    for certificates in /etc/pki/tls/certs/ca-bundle.crt /etc/ssl/certs/ca-certificates.crt; do
        [ ! -e "$certificates" ] || break
    done
fi
quote() { # quote VALUE: print a value of an option file
    printf '"%s"' "$(printf '%s' "$1" | sed 's/[\\"]/\\&/g')"
}

write_tls() { # write_tls: print the options of the TLS mode
    case ${TLS-} in
        disable) echo ssl-mode=DISABLED ;;
        require) echo ssl-mode=REQUIRED ;;
        verify-full) printf 'ssl-mode=VERIFY_IDENTITY\nssl-ca=%s\n' "$(quote "$certificates")" ;;
    esac
}

# shellcheck disable=SC2153 # the caller sets the variables
cat >"$login" <<OPTIONS
[client]
protocol=TCP
host=$(quote "$ADDRESS")
port=$PORT
user=$(quote "$USERNAME")
password=$(quote "$PASSWORD")
get-server-public-key=ON
default-character-set=utf8mb4
$(write_tls)
[mysql]
connect-timeout=15
max-allowed-packet=1G
OPTIONS

run_mysql() { # run_mysql [ARGUMENT...]: run statements up to the first error, and print rows without names
    mysql --defaults-file="$login" --batch --skip-column-names --database="$DATABASE" "$@"
}
