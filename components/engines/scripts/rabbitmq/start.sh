#!/bin/sh
set -eu
umask 077
# Only the Pod's own tools use the cookie. Create a new one at each start: the volume's group can get rights on an old file,
# and Erlang then rejects the file.
rm -f "$HOME/.erlang.cookie"
head -c 32 /dev/urandom | base64 > "$HOME/.erlang.cookie"
# The server imports definitions at every start before it listens, and then creates no default user.
printf '%s\n' "$APPLICATION_PASSWORD" > /run/server/password
sh /etc/database-groups/definitions < /run/server/password > /run/server/definitions.json
# The image's settings, the program's defaults, the user's settings, the fixed settings: a later file overrides an earlier one.
rm -rf /run/server/conf.d
mkdir /run/server/conf.d
cp /etc/rabbitmq/conf.d/*.conf /run/server/conf.d/
echo 'log.connection.level = warning' > /run/server/conf.d/50-defaults.conf
[ ! -e /etc/database-groups/settings ] || cp /etc/database-groups/settings /run/server/conf.d/60-settings.conf
case $POD_IP in *:*) address=:: ;; *) address=0.0.0.0 ;; esac
cat > /run/server/conf.d/90-program.conf <<CONFIGURATION
load_definitions = /run/server/definitions.json
listeners.tcp.default = 5672
management.tcp.ip = $address
management.tcp.port = 15672
anonymous_login_user = none
CONFIGURATION
# Copies use the management API. The plugins of the image stay enabled.
plugins=$(sed 's/%.*//' /etc/rabbitmq/enabled_plugins | tr -d '[]. \n')
case ",$plugins," in
    *,rabbitmq_management,*) ;;
    *) plugins="rabbitmq_management${plugins:+,$plugins}" ;;
esac
printf '[%s].\n' "$plugins" > /run/server/enabled_plugins
unset APPLICATION_PASSWORD
# Only this Pod can reach Erlang's own ports.
export RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS='-kernel inet_dist_use_interface {127,0,0,1}'
exec docker-entrypoint.sh rabbitmq-server
