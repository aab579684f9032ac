#!/bin/bash
# Log in as the application over AMQP 0-9-1 and open its virtual host. The image has no client, and each of Erlang's tools
# starts a virtual machine. The image has bash, whose redirections open sockets. Argument: the file with the password.
set -eu
export LC_ALL=C
password=$(< "${1:-/run/server/password}")

write_octets() { # write_octets NUMBER COUNT: write a number in COUNT octets
    local shift=$(($2 * 8)) digits
    while [ "$shift" -gt 0 ]; do
        shift=$((shift - 8))
        printf -v digits '%03o' $(($1 >> shift & 255))
        printf '%b' "\\0$digits"
    done
}
write_short_string() {
    write_octets ${#1} 1
    printf %s "$1"
}
send() { # send METHOD LENGTH: send a method of the class "connection" with LENGTH octets of arguments from standard input
    {
        write_octets 1 1
        write_octets 0 2
        write_octets $(($2 + 4)) 4
        write_octets 10 2
        write_octets "$1" 2
        cat
        write_octets 206 1
    } >&3
}
read_octets() { # read_octets COUNT: print octets of the server as numbers on one line
    head -c "$1" <&3 | od -An -v -tu1 | tr -d '\n'
    echo
}
expect() { # expect METHOD: read a frame into the array arguments; fail if it holds another method
    local header payload
    read -r -a header < <(read_octets 7)
    [ ${#header[@]} = 7 ] || return 1
    read -r -a payload < <(read_octets $(((header[3] << 24 | header[4] << 16 | header[5] << 8 | header[6]) + 1)))
    arguments=("${payload[@]:4}")
    [ "${header[0]} ${payload[*]:0:4}" = "1 0 10 0 $1" ]
}

exec 3<>"/dev/tcp/$POD_IP/5672"
printf 'AMQP\0\0\11\1' >&3
expect 10
length=$((${#APPLICATION_USERNAME} + ${#password} + 2))
{
    write_octets 0 4
    write_short_string PLAIN
    write_octets "$length" 4
    printf '\0%s\0%s' "$APPLICATION_USERNAME" "$password"
    write_short_string en_US
} | send 11 $((20 + length))
expect 30 || { echo 'the server rejects the application' >&2; exit 1; }
# Accept the limits that the server proposes.
for octet in "${arguments[@]:0:8}"; do write_octets "$octet" 1; done | send 31 8
{
    write_short_string "$APPLICATION_VHOST"
    write_octets 0 2
} | send 40 $((3 + ${#APPLICATION_VHOST}))
expect 41
{
    write_octets 200 2
    write_octets 0 5
} | send 50 7
expect 51
