#!/bin/sh
# Run a command of Pulumi for the stack STACK: scripts/pulumi.sh COMMAND [ARGUMENT...]
# The commands `check`, `status`, `backup`, `backups` and `restore` run a module of the project that calls Pulumi. Before an update, the project's own
# reader reports all errors in the syntax of the stack file. Before a destroy, it reports what would not be deleted.
# YES=1 installs the Pulumi command line without a question.
set -eu

fail() {
  echo "error: $*" >&2
  exit 1
}

install_pulumi() {
  version=$(sed -n 's/^pulumi==\([0-9.]*\).*/\1/p' requirements.txt)
  install="curl -fsSL https://get.pulumi.com | sh -s -- --version $version --no-edit-path"
  echo "The Pulumi command line is missing. This command installs it in ~/.pulumi:" >&2
  echo "  $install" >&2
  if [ -z "${YES:-}" ]; then
    [ -t 0 ] || fail "no terminal for a question; install Pulumi, or set YES=1"
    printf 'Run it now? [y/N] ' >&2
    read -r answer || answer=
    case $answer in
    [Yy]*) ;;
    *) fail "Pulumi is not installed; run the command above, or see https://www.pulumi.com/docs/install/" ;;
    esac
  fi
  sh -c "$install" >&2
  command -v pulumi >/dev/null || fail "the installation failed; see https://www.pulumi.com/docs/install/"
}

# A backend is configured in the environment, in the project, or by `pulumi login`.
has_backend() {
  [ -n "${PULUMI_BACKEND_URL:-}${PULUMI_ACCESS_TOKEN:-}" ] ||
    grep -q '^backend:' Pulumi.yaml ||
    grep -qs '"current": *"[^"]' "${PULUMI_HOME:-$HOME/.pulumi}/credentials.json"
}

# Without a backend, the state is in .state. Git ignores this folder. It holds every generated password, encrypted.
use_local_state() {
  if [ ! -f "$local_state" ] && grep -Eq '^(encryptionsalt|encryptedkey|secretsprovider):' "$file"; then
    fail "$file belongs to a state that is not in .state; use its backend with \`pulumi login\` (docs/teams.md)," \
      "or remove encryptionsalt, encryptedkey and secretsprovider from the file to start with an empty state"
  fi
  (umask 077 && mkdir -p .state)
  export PULUMI_BACKEND_URL="file://$PWD/.state"
  if [ -z "${PULUMI_CONFIG_PASSPHRASE:-}${PULUMI_CONFIG_PASSPHRASE_FILE:-}" ]; then
    export PULUMI_CONFIG_PASSPHRASE_FILE="$PWD/.state/passphrase"
    [ -f .state/passphrase ] || (umask 077 && head -c 32 /dev/urandom | base64 >.state/passphrase)
  fi
  echo "state: .state in this folder, for this clone only; back it up. For a team, move it: docs/teams.md" >&2
}

# Return the state of the stack's lock in a backend of files: absent, stale (its process ended) or held.
read_lock() {
  state=absent
  for lock in "$1/locks/organization/database-groups/$name"/*.json; do
    [ -f "$lock" ] || continue
    pid=$(sed -n 's/.*"pid": *\([0-9]*\).*/\1/p' "$lock")
    host=$(sed -n 's/.*"hostname": *"\([^"]*\)".*/\1/p' "$lock")
    if [ "$host" != "$(hostname)" ] || [ -z "$pid" ] || ps -p "$pid" >/dev/null 2>&1; then
      echo held
      return
    fi
    state=stale
  done
  echo "$state"
}

# A killed update leaves its lock, and sometimes an empty file: Pulumi cannot read the state.
require_no_traces() {
  backend=${PULUMI_BACKEND_URL:-}
  case $backend in
  file://~*) folder=$HOME${backend#file://~}/.pulumi ;;
  file://*) folder=${backend#file://}/.pulumi ;;
  *) return 0 ;;
  esac
  lock_state=$(read_lock "$folder")
  [ "$lock_state" != held ] || return 0
  remedy=
  if [ -d "$folder" ] && [ -n "$(find "$folder" -name '*.attrs' -size 0)" ]; then
    remedy="
  find '$folder' -name '*.attrs' -size 0 -delete"
  fi
  case ${1:-} in
  up | refresh | destroy)
    [ "$lock_state" = absent ] || remedy="$remedy
  make pulumi STACK=$STACK ARGS=\"cancel --yes\""
    ;;
  esac
  [ -z "$remedy" ] || fail "a killed update left traces in the state of $STACK; if no other update runs, run this and then" \
    "the command again:$remedy"
}

create_stack() {
  if output=$(pulumi stack --stack "$STACK" --show-name --non-interactive 2>&1); then
    return
  fi
  case $output in
  *"no stack named"*) ;;
  *) fail "${output#error: }" ;;
  esac
  if [ -f "$local_state" ]; then
    fail "the state of $STACK is in .state, but Pulumi uses another backend; move the state (docs/teams.md)," \
      "or set PULUMI_BACKEND_URL=file://$PWD/.state"
  fi
  pulumi stack init --no-select "$STACK" >&2
}

cd "$(dirname "$0")/.."
name=${STACK##*/}
file=stacks/Pulumi.$name.yaml
local_state=.state/.pulumi/stacks/database-groups/$name.json
export PULUMI_STACK="$STACK" PULUMI_SKIP_UPDATE_CHECK="${PULUMI_SKIP_UPDATE_CHECK:-true}" PATH="$PATH:$HOME/.pulumi/bin"

command -v pulumi >/dev/null || install_pulumi
case ${1:-} in
up | preview | check) .venv/bin/python -m stacks validate "$name" ;;
esac
has_backend || use_local_state
require_no_traces "${1:-}"
case ${1:-} in
up | preview | config | check) create_stack ;;
esac
case ${1:-} in
destroy) .venv/bin/python -m stacks unrecorded "$STACK" ;;
check) exec .venv/bin/python -m stacks check "$STACK" ;;
status)
  shift
  exec .venv/bin/python -m status "$STACK" "$@"
  ;;
backup | backups | restore)
  command=$1
  shift
  exec .venv/bin/python -m backups "$command" "$STACK" "$@"
  ;;
esac
case " $* " in
" config set "*) ;; # the arguments may hold a password
*" --stack "*) echo "pulumi $*" >&2 ;;
esac
exec pulumi "$@"
