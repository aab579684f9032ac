#!/usr/bin/env bash
# Copy the data of a GlusterFS group to another group of the application. See docs/upgrading.md.
set -euo pipefail
. "$(dirname "$0")/move.sh"

kubectl --namespace="$namespace" delete pod move-glusterfs --ignore-not-found
kubectl --namespace="$namespace" apply --filename=- <<POD
apiVersion: v1
kind: Pod
metadata: {name: move-glusterfs, labels: {database-groups/application: $application}}
spec:
  restartPolicy: Never
  automountServiceAccountToken: false
  containers:
    - name: move
      image: docker.io/library/debian:stable-slim
      command: [sh, -euc, "cp -a /old/. /new/ && (cd /old && find . -type f | wc -l) && (cd /new && find . -type f | wc -l) && diff -r /old /new"]
      volumeMounts: [{name: old, mountPath: /old, readOnly: true}, {name: new, mountPath: /new}]
  volumes:
    - {name: old, persistentVolumeClaim: {claimName: glusterfs-$old}}
    - {name: new, persistentVolumeClaim: {claimName: glusterfs-$new}}
POD
follow move-glusterfs
