# shellcheck shell=bash
# Read the arguments of the scripts in this directory, and define `move`. The scripts source this file.
if [ $# -lt 4 ]; then
    echo "usage: $0 NAMESPACE APPLICATION OLD_GROUP NEW_GROUP [IMAGE]" >&2
    exit 2
fi
namespace=$1 application=$2 old=$3 new=$4 image=${5-}

# Use the image of a server in the cluster, unless the argument IMAGE is set.
use_image() { # use_image SERVER
    image=${image:-$(kubectl --namespace="$namespace" get statefulset "$1" --output='jsonpath={.spec.template.spec.containers[0].image}')}
}

# Print a script for `move`: it copies the old group to the new one with the scripts of the engine.
write_copy() { # write_copy ENGINE
    local components file
    components=$(dirname "$0")/../../components
    for file in "$components/engines/scripts/$1"/{dump,restore,inventory,empty,connect}.sh "$components/copies/scripts/"{receive,write}.sh; do
        [[ -e $file ]] || continue
        printf "cat > /tmp/%s <<'END_OF_SCRIPT'\n" "$(basename "$file" .sh)"
        cat "$file"
        echo END_OF_SCRIPT
    done
    cat <<'SCRIPT'
export SCRIPTS=/tmp WORK=/tmp REPORT=/tmp/report
for name in $(compgen -e | grep -E '^(OLD|NEW)_'); do
    key=${name#*_} side=TARGET
    [[ $name = OLD_* ]] && side=SOURCE
    [[ $key = host ]] && key=address
    [[ $key = uri ]] || export "${side}_${key^^}=${!name}"
done
sh /tmp/receive
cat /tmp/TARGET
SCRIPT
}

# Run the script of the standard input in a Pod, print its output and return its exit code.
move() { # move ENGINE
    local pod=move-$1 script
    script=$(sed 's/^/          /')
    kubectl --namespace="$namespace" delete pod "$pod" --ignore-not-found &&
        kubectl --namespace="$namespace" apply --filename=- <<POD || return
apiVersion: v1
kind: Pod
metadata: {name: $pod, labels: {database-groups/application: $application}}
spec:
  restartPolicy: Never
  automountServiceAccountToken: false
  securityContext: {runAsNonRoot: true, runAsUser: 999, runAsGroup: 999, fsGroup: 999, seccompProfile: {type: RuntimeDefault}}
  containers:
    - name: move
      image: $image
      command: [bash, -euo, pipefail, -c]
      args:
        - |
$script
      env: [{name: HOME, value: /tmp}]
      envFrom:
        - {prefix: OLD_, secretRef: {name: $1-$old}}
        - {prefix: NEW_, secretRef: {name: $1-$new}}
      securityContext: {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
      volumeMounts: [{name: tmp, mountPath: /tmp}]
  volumes: [{name: tmp, emptyDir: {}}]
POD
    follow "$pod"
}

# Print the log of a Pod until it ends, and delete it if it succeeded. A failed Pod stays until the next attempt.
follow() { # follow POD
    until kubectl --namespace="$namespace" logs --follow "$1"; do sleep 1; done
    local code='jsonpath={.status.containerStatuses[0].state.terminated.exitCode}'
    kubectl --namespace="$namespace" wait "pod/$1" --for="$code" --timeout=24h >/dev/null &&
        [ "$(kubectl --namespace="$namespace" get pod "$1" --output="$code")" = 0 ] &&
        kubectl --namespace="$namespace" delete pod "$1"
}
