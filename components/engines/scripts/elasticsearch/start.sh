#!/bin/sh
set -eu
umask 077
export ES_PATH_CONF=/run/server
rm -rf "${ES_PATH_CONF:?}"/*
cp -R /usr/share/elasticsearch/config/. "$ES_PATH_CONF"
cd "$ES_PATH_CONF"
case $POD_IP in *:*) listen_address='"::"' ;; *) listen_address=0.0.0.0 ;; esac
echo "http.host: $listen_address" > elasticsearch.yml
cat >> elasticsearch.yml <<'SETTINGS'
discovery.type: single-node
transport.host: 127.0.0.1
node.store.allow_mmap: false
xpack.security.enabled: true
xpack.security.autoconfiguration.enabled: false
xpack.security.http.ssl.enabled: false
xpack.security.transport.ssl.enabled: false
xpack.security.authc.reserved_realm.enabled: false
xpack.security.authc.realms.file.application.order: 0
xpack.security.authc.realms.native.none.enabled: false
xpack.security.authc.api_key.enabled: false
xpack.security.authc.token.enabled: false
SETTINGS
if [ -s /etc/database-groups/settings ]; then cat /etc/database-groups/settings >> elasticsearch.yml; fi
cat > roles.yml <<'ROLES'
application:
  cluster: [monitor, manage_index_templates, manage_ilm, manage_ingest_pipelines, manage_enrich, manage_transform]
  indices:
    - names: ['*']
      privileges: [all]
ROLES
: > users
: > users_roles
cd /usr/share/elasticsearch
output=$(printf '%s\n%s\n' "$APPLICATION_PASSWORD" "$APPLICATION_PASSWORD" |
    elasticsearch-users useradd "$APPLICATION_USERNAME" -r application 2>&1) || { echo "$output"; exit 1; }
unset APPLICATION_PASSWORD
exec /bin/tini -- docker-entrypoint.sh eswrapper
