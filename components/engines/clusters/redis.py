"""A cluster of Redis, which the Redis operator of OT-CONTAINER-KIT runs: one master, replicas, and three Sentinels.

The Sentinels elect another master, and the operator then moves the label that the Services select. The facts are those
of the operator 0.26: its source and that of its images.
"""

from collections.abc import Mapping
from typing import Any

from components.engines.clusters.definition import (
    ClusterAccess,
    ClusterObject,
    ClusterRequest,
    ClusterScripts,
    EngineCluster,
    Operator,
    build_pod_affinity,
    build_topology_spread,
)
from components.engines.definition import read_script
from components.engines.settings_file import render_assignments
from components.planned_objects import ResourceType

__all__ = ["REDIS_OPERATOR"]

API_VERSION = "redis.redis.opstreelabs.in/v1beta2"
REPLICATION = ResourceType(api_version=API_VERSION, kind="RedisReplication", plural="redisreplications")
SENTINEL = ResourceType(api_version=API_VERSION, kind="RedisSentinel", plural="redissentinels")
IMAGE_USER = 1000
PASSWORD_KEY = "password"  # noqa: S105 (a key)
SENTINELS, QUORUM = 3, "2"
SENTINEL_AMOUNTS = {"cpu": "100m", "memory": "128Mi"}
MASTER_GROUP = "mymaster"
"""Name under which the Sentinels know the master. The script that changes the password contains it."""
ANSWERS = "PONG|NOAUTH|WRONGPASS"
"""A server that loads its data gives none of them. A probe has only the password with which its container started."""
FIXED_SETTINGS = frozenset(
    {
        "always-show-logo",
        "aof_rewrite_cpulist",
        "appenddirname",
        "appendfilename",
        "bgsave_cpulist",
        "bio_cpulist",
        "cluster-config-file",
        "cluster-enabled",
        "cluster-port",
        "databases",
        "dbfilename",
        "disable-thp",
        "enable-debug-command",
        "enable-module-command",
        "enable-protected-configs",
        "io-threads",
        "io-threads-do-reads",
        "loadmodule",
        "rdbchecksum",
        "server_cpulist",
        "set-proc-title",
        "socket-mark-id",
        "supervised",
        "syslog-enabled",
        "syslog-facility",
        "syslog-ident",
        "tcp-backlog",
        "unixsocketperm",
    }
)
"""The operator sets all settings in running servers, and Redis rejects a change of these."""


def _build_probe() -> dict[str, Any]:
    """Return a probe that any password passes (core/v1 Probe)."""
    script = f'redis-cli -h "$(hostname)" -p "$REDIS_PORT" ping | grep -E "{ANSWERS}"'
    return {"exec": {"command": ["sh", "-c", script]}, "periodSeconds": 10, "timeoutSeconds": 5, "failureThreshold": 3}


def _build_placement(request: ClusterRequest, labels: Mapping[str, str]) -> dict[str, Any]:
    """Return where Pods run, and their restrictions. The entrypoint of the images writes to the root file system."""
    return {
        "affinity": build_pod_affinity(labels, is_required=request.is_node_exclusive),
        "topologySpreadConstraints": build_topology_spread(labels),
        **({"nodeSelector": dict(request.node_selector)} if request.node_selector else {}),
        **({"tolerations": list(request.tolerations)} if request.tolerations else {}),
        "pdb": {"enabled": True, "maxUnavailable": 1},
        "podSecurityContext": {
            "runAsNonRoot": True,
            "runAsUser": IMAGE_USER,
            "runAsGroup": IMAGE_USER,
            "fsGroup": IMAGE_USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }


def _find_server_labels(name: str) -> dict[str, str]:
    return {"app": name, "redis_setup_type": "replication", "role": "replication"}


def _find_access(name: str, role: str) -> ClusterAccess:
    return ClusterAccess(selector={**_find_server_labels(name), "redis-role": role})


def _build_objects(request: ClusterRequest) -> list[ClusterObject]:
    settings = render_assignments(request.settings, sign=" ", true="yes", false="no")
    password = {"name": request.account_secret, "key": PASSWORD_KEY}
    repository, _, tag = request.image.partition("@")[0].rpartition(":")
    replication: dict[str, Any] = {
        "clusterSize": request.replicas,
        "kubernetesConfig": {
            "image": request.image,
            "imagePullPolicy": "IfNotPresent",
            "resources": request.resources,
            "redisSecret": password,
        },
        "redisConfig": {"dynamicConfig": settings.splitlines()},
        "storage": {"volumeClaimTemplate": {"spec": request.claim_spec}},
        "readinessProbe": _build_probe(),
        "livenessProbe": _build_probe(),
        **_build_placement(request, _find_server_labels(request.name)),
    }
    sentinel: dict[str, Any] = {
        "clusterSize": SENTINELS,
        "kubernetesConfig": {
            "image": f"{repository}-sentinel:{tag}",
            "imagePullPolicy": "IfNotPresent",
            "resources": {"requests": SENTINEL_AMOUNTS, "limits": SENTINEL_AMOUNTS},
        },
        "redisSentinelConfig": {
            "redisReplicationName": request.name,
            "redisReplicationPassword": {"secretKeyRef": password},
            "masterGroupName": MASTER_GROUP,
            "quorum": QUORUM,
        },
        **_build_placement(request, {"app": f"{request.name}-sentinel", "role": "sentinel"}),
    }
    return [
        ClusterObject(
            type=REPLICATION, name=request.name, part="cluster", spec=replication, labels=dict(request.labels)
        ),
        ClusterObject(
            type=SENTINEL,
            name=request.name,
            part="sentinel",
            spec=sentinel,
            labels=dict(request.labels),
            holds_data=False,
        ),
    ]


def _describe_progress(resource: Mapping[str, Any], _account_version: str) -> str | None:
    """Return why the cluster has no master; None if it has one. Its servers are ready if their StatefulSets are."""
    return None if (resource.get("status") or {}).get("masterNode") else "no server is the master yet"


REDIS_OPERATOR = EngineCluster(
    operator=Operator(
        name="Redis operator of OT-CONTAINER-KIT",
        version="0.26.0",
        image="quay.io/opstree/redis-operator",
        resource_types=(REPLICATION, SENTINEL),
        pod_labels={"name": "redis-operator"},
        namespace_variable="WATCH_NAMESPACE",
        install_commands=(
            "helm upgrade --install redis-operator redis-operator --version 0.26.1"
            " --repo https://ot-container-kit.github.io/helm-charts --namespace redis-operator --create-namespace",
        ),
    ),
    durabilities=("asynchronous",),
    sizes=(2, 9),
    unsupported_variants={"valkey": "no established operator runs Valkey"},
    images={"7": "quay.io/opstree/redis:v7.4.8", "8": "quay.io/opstree/redis:v8.2.5"},
    # The StatefulSet of the Sentinels has 9 characters more, and a label of its Pods 11 in addition.
    max_name_length=43,
    # The operator creates a Service with the name of the resource. An unnamed group uses that of the server.
    name_suffix="-cluster",
    build_account_entries=lambda _username, password, _database: {PASSWORD_KEY: password},
    build_objects=_build_objects,
    describe_progress=_describe_progress,
    list_stateful_sets=lambda name: (name, f"{name}-sentinel"),
    find_access=lambda name: _find_access(name, "master"),
    find_read_access=lambda name: _find_access(name, "slave"),
    # The operator does not change the password of running servers.
    scripts=ClusterScripts(
        find_container=lambda name: (name, name), change_password=read_script("redis", "change_cluster_password")
    ),
    unsupported_settings=FIXED_SETTINGS,
)
