"""A cluster of Elasticsearch, which Elastic Cloud on Kubernetes (ECK) runs.

The application is a user of the file realm, as on a single server. The superuser `elastic` is disabled.
The facts are those of ECK 3.5: its documentation and its source.
"""

from collections.abc import Mapping
from typing import Any

import yaml

from components.engines.clusters.definition import (
    ClusterAccess,
    ClusterObject,
    ClusterRequest,
    EngineCluster,
    Operator,
    build_pod_affinity,
    build_topology_spread,
    list_service_hosts,
)
from components.planned_objects import ResourceType
from components.tls import ENCRYPTED_TLS_MODES

__all__ = ["ELASTIC_CLOUD"]

CLUSTER = ResourceType(api_version="elasticsearch.k8s.elastic.co/v1", kind="Elasticsearch", plural="elasticsearches")
OPERATOR_VERSION = "3.5.0"
CLUSTER_LABEL = "elasticsearch.k8s.elastic.co/cluster-name"
NODE_SET = "default"
ROLE = "application"
ROLES = {
    ROLE: {
        "cluster": [
            "monitor",
            "manage_index_templates",
            "manage_ilm",
            "manage_ingest_pipelines",
            "manage_enrich",
            "manage_transform",
        ],
        "indices": [{"names": ["*"], "privileges": ["all"]}],
    }
}
"""The role of the application on a single server."""
FIXED_CONFIGURATION = {
    "node.store.allow_mmap": False,
    "xpack.security.authc.api_key.enabled": False,
    "xpack.security.authc.token.enabled": False,
}
FIXED_SETTINGS = frozenset(
    {
        "cluster.name",
        "cluster.routing.allocation.awareness.attributes",
        "node.name",
        "readiness.port",
        "xpack.license.upload.types",
    }
)
LIVE_HEALTH = ("green", "yellow")
"""An index with more copies than servers stays yellow, and only the application can change that."""


def _build_account_entries(username: str, password: str, _database: str) -> dict[str, str]:
    """Return the account and its role, which the operator reads from the same Secret."""
    roles = yaml.safe_dump(ROLES, sort_keys=True)
    return {"username": username, "password": password, "roles": ROLE, "roles.yml": roles}


def _build_objects(request: ClusterRequest) -> list[ClusterObject]:
    labels = {CLUSTER_LABEL: request.name}
    if request.tls in ENCRYPTED_TLS_MODES:
        certificate: dict[str, Any] = {"subjectAltNames": [{"dns": host} for host in list_service_hosts(request)]}
    else:
        certificate = {"disabled": True}
    pod: dict[str, Any] = {
        "affinity": build_pod_affinity(labels, is_required=request.is_node_exclusive),
        "topologySpreadConstraints": build_topology_spread(labels),
        **({"nodeSelector": dict(request.node_selector)} if request.node_selector else {}),
        **({"tolerations": list(request.tolerations)} if request.tolerations else {}),
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": request.run_as_user,
            "fsGroup": request.run_as_user,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [{"name": "elasticsearch", "resources": request.resources}],
    }
    spec: dict[str, Any] = {
        "version": request.version,
        "image": request.image,
        "http": {"tls": {"selfSignedCertificate": certificate}},
        "auth": {
            "disableElasticUser": True,
            "fileRealm": [{"secretName": request.account_secret}],
            "roles": [{"secretName": request.account_secret}],
        },
        "volumeClaimDeletePolicy": "DeleteOnScaledownAndClusterDeletion",
        "nodeSets": [
            {
                "name": NODE_SET,
                "count": request.replicas,
                "config": {**request.settings, **FIXED_CONFIGURATION},
                "podTemplate": {"metadata": {"labels": dict(request.labels)}, "spec": pod},
                "volumeClaimTemplates": [{"metadata": {"name": "elasticsearch-data"}, "spec": request.claim_spec}],
            }
        ],
    }
    return [ClusterObject(type=CLUSTER, name=request.name, part="cluster", spec=spec)]


def _describe_progress(resource: Mapping[str, Any], _account_version: str) -> str | None:
    """Return why the cluster is not ready; None if it is."""
    metadata, status = resource.get("metadata") or {}, resource.get("status") or {}
    phase, health = status.get("phase"), status.get("health")
    size = sum(item.get("count", 0) for item in (resource.get("spec") or {}).get("nodeSets") or [])
    if phase != "Ready":
        reason = f"its phase is {phase}" if phase else "its phase is not reported yet"
    elif status.get("observedGeneration") != metadata.get("generation"):
        reason = "the operator has not seen the last change yet"
    elif health not in LIVE_HEALTH:
        reason = f"its health is {health or 'not reported yet'}"
    elif status.get("availableNodes") != size:
        reason = f"{status.get('availableNodes', 0)} of {size} servers are ready"
    else:
        return None
    failed = [item.get("message") for item in status.get("conditions") or [] if item.get("status") == "False"]
    return "; ".join([reason, *filter(None, failed)])


DOWNLOAD_URL = f"https://download.elastic.co/downloads/eck/{OPERATOR_VERSION}"
ELASTIC_CLOUD = EngineCluster(
    operator=Operator(
        name="Elastic Cloud on Kubernetes",
        version=OPERATOR_VERSION,
        image="docker.elastic.co/eck/eck-operator",
        resource_types=(CLUSTER,),
        pod_labels={"control-plane": "elastic-operator"},
        namespace_variable="NAMESPACES",
        install_commands=(
            f"kubectl apply --server-side --filename {DOWNLOAD_URL}/crds.yaml",
            f"kubectl apply --server-side --filename {DOWNLOAD_URL}/operator.yaml",
        ),
    ),
    durabilities=("synchronous",),
    sizes=(3, 9),
    max_name_length=36,
    needs_release=True,
    build_account_entries=_build_account_entries,
    build_objects=_build_objects,
    describe_progress=_describe_progress,
    list_stateful_sets=lambda name: (f"{name}-es-{NODE_SET}",),
    find_access=lambda name: ClusterAccess(selector={CLUSTER_LABEL: name}),
    find_ca_secret=lambda name: f"{name}-es-http-certs-public",
    requires_tls_choice=True,
    unsupported_settings=FIXED_SETTINGS,
)
