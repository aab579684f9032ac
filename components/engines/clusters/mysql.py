"""A cluster of MySQL: Percona XtraDB Cluster, which the Percona Operator runs with HAProxy in front.

Each write is on all servers when it is confirmed. HAProxy sends all connections of the Service to one server.
The facts are those of the operator's release 1.19: its documentation and its source.
"""

from typing import Any

from components.engines.clusters.definition import (
    CERT_MANAGER_COMMAND,
    ClusterAccess,
    ClusterObject,
    ClusterRequest,
    ContinuousBackup,
    EngineCluster,
    Operator,
    list_service_hosts,
)
from components.engines.clusters.percona import (
    build_container_security,
    build_pod_placement,
    build_pod_restrictions,
    describe_account,
    describe_progress,
    read_labels,
)
from components.planned_objects import ResourceType

__all__ = ["PERCONA_XTRADB_CLUSTER"]

CLUSTER = ResourceType(api_version="pxc.percona.com/v1", kind="PerconaXtraDBCluster", plural="perconaxtradbclusters")
OPERATOR_VERSION = "1.19.0"
PROXY_IMAGE = "docker.io/percona/haproxy:2.8.17"
PROXIES = 2
"""The smallest number that the operator accepts."""
PROXY_AMOUNTS = {"cpu": "500m", "memory": "512Mi"}
"""Each proxy runs a client program for each server every ten seconds."""
SERVERS, PROXY = "pxc", "haproxy"
READ_PORT = 3307
"""Port of HAProxy that spreads connections over all servers."""
MAX_SAFE_SIZE = 5
BACKUP_IMAGES = {
    "8.0": "docker.io/percona/percona-xtrabackup:8.0.35-34.1",
    "8.4": "docker.io/percona/percona-xtrabackup:8.4.0-5.1",
}
"""Images of the programs that save the servers, by release series."""
BACKUP_AMOUNTS = {"cpu": "500m", "memory": "1Gi"}
UPLOAD_SECONDS = 60
"""Time between two uploads of the binary log: what the loss of all servers costs at most."""
BASE, BINLOGS = "base", "binlogs"
"""Folders of the base backups and of the binary logs. The operator requires two."""
FIXED_SETTINGS = frozenset(
    {
        "binlog_format",
        "default_storage_engine",
        "innodb_autoinc_lock_mode",
        "log_error",
        "proxy_protocol_networks",
        "pxc_encrypt_cluster_traffic",
        "server_id",
        "ssl_ca",
        "ssl_cert",
        "ssl_key",
        "tmpdir",
        "wsrep_cluster_address",
        "wsrep_cluster_name",
        "wsrep_node_address",
        "wsrep_node_incoming_address",
        "wsrep_node_name",
        "wsrep_on",
        "wsrep_provider",
        "wsrep_sst_donor",
        "wsrep_sst_method",
    }
)


def _build_objects(request: ClusterRequest) -> list[ClusterObject]:
    user = {
        "name": request.username,
        "dbs": [request.database],
        "hosts": ["%"],
        "grants": ["ALL PRIVILEGES"],
        "passwordSecretRef": {"name": request.account_secret, "key": "password"},
    }
    spec: dict[str, Any] = {
        "crVersion": OPERATOR_VERSION,
        "updateStrategy": "SmartUpdate",
        "upgradeOptions": {"apply": "disabled"},
        "enableVolumeExpansion": True,
        **({"unsafeFlags": {"pxcSize": True}} if request.replicas > MAX_SAFE_SIZE else {}),
        "tls": {"enabled": True, "SANs": list_service_hosts(request)},
        "initContainer": {"containerSecurityContext": build_container_security()},
        "users": [user],
        "pxc": {
            "size": request.replicas,
            "image": request.image,
            "imagePullPolicy": "IfNotPresent",
            "autoRecovery": True,
            "configuration": request.configuration,
            "resources": request.resources,
            "volumeSpec": {"persistentVolumeClaim": request.claim_spec},
            **build_pod_placement(request, SERVERS),
        },
        "haproxy": {
            "enabled": True,
            "size": PROXIES,
            "image": PROXY_IMAGE,
            "imagePullPolicy": "IfNotPresent",
            "resources": {"requests": PROXY_AMOUNTS, "limits": PROXY_AMOUNTS},
            **build_pod_placement(request, PROXY),
        },
        "logcollector": {"enabled": False},
        **({"backup": _build_backup(request, request.continuous_backup)} if request.continuous_backup else {}),
    }
    # Without it, the operator leaves the volumes when the cluster is deleted.
    finalizers = ("percona.com/delete-pxc-pvc", "percona.com/delete-ssl")
    return [ClusterObject(type=CLUSTER, name=request.name, part="cluster", spec=spec, finalizers=finalizers)]


def _build_backup(request: ClusterRequest, backup: ContinuousBackup) -> dict[str, Any]:
    """Return the schedule of the base backups, and the upload of the binary logs."""
    newest = list(BACKUP_IMAGES)[-1]
    series = next((item for item in BACKUP_IMAGES if f"{request.version}.".startswith(f"{item}.")), newest)
    return {
        "image": BACKUP_IMAGES[series],
        "imagePullPolicy": "IfNotPresent",
        "storages": {folder: _build_storage(request, backup, folder) for folder in (BASE, BINLOGS)},
        "schedule": [
            {
                "name": BASE,
                "schedule": backup.schedule,
                "storageName": BASE,
                # The oldest day begins with the backup of the day before.
                "retention": {"type": "count", "count": backup.days + 1, "deleteFromStorage": True},
            }
        ],
        "pitr": {
            "enabled": True,
            "storageName": BINLOGS,
            "timeBetweenUploads": UPLOAD_SECONDS,
            "resources": {"requests": BACKUP_AMOUNTS, "limits": BACKUP_AMOUNTS},
        },
    }


def _build_storage(request: ClusterRequest, backup: ContinuousBackup, folder: str) -> dict[str, Any]:
    """Return a folder in the bucket, and the restrictions of the Pods that write it."""
    bucket = backup.bucket
    return {
        **build_pod_restrictions(request),
        # The Pod that uploads the binary logs reads the credentials once.
        "annotations": {"store-digest": backup.digest},
        "type": "s3",
        "verifyTLS": True,
        "s3": {
            "bucket": f"{bucket.name}/{bucket.folder}/{folder}",
            "region": bucket.region,
            "credentialsSecret": backup.secret,
            **({"endpointUrl": bucket.endpoint} if bucket.endpoint else {}),
            **({"caBundle": {"name": backup.secret, "key": bucket.ca_entry}} if bucket.ca_entry else {}),
        },
        "resources": {"requests": BACKUP_AMOUNTS, "limits": BACKUP_AMOUNTS},
    }


RELEASE_URL = f"https://raw.githubusercontent.com/percona/percona-xtradb-cluster-operator/v{OPERATOR_VERSION}/deploy"
PERCONA_XTRADB_CLUSTER = EngineCluster(
    operator=Operator(
        name="Percona XtraDB Cluster Operator",
        version=OPERATOR_VERSION,
        image="docker.io/percona/percona-xtradb-cluster-operator",
        resource_types=(CLUSTER,),
        pod_labels={"app.kubernetes.io/name": "percona-xtradb-cluster-operator"},
        namespace_variable="WATCH_NAMESPACE",
        # Without cert-manager, the certificates end after 90 days, and the operator does not renew them.
        install_commands=(
            CERT_MANAGER_COMMAND,
            "kubectl create namespace pxc-operator",
            f"kubectl apply --server-side --namespace pxc-operator --filename {RELEASE_URL}/cw-bundle.yaml",
        ),
    ),
    durabilities=("synchronous",),
    sizes=(3, 9),
    has_odd_size=True,
    max_name_length=22,
    images={
        "8.0": "docker.io/percona/percona-xtradb-cluster:8.0.44-35.1",
        "8.4": "docker.io/percona/percona-xtradb-cluster:8.4.7-7.1",
    },
    build_account_entries=lambda username, password, _database: {"username": username, "password": password},
    build_objects=_build_objects,
    describe_progress=describe_progress,
    describe_account=describe_account,
    list_stateful_sets=lambda name: (f"{name}-{SERVERS}", f"{name}-{PROXY}"),
    find_access=lambda name: ClusterAccess(selector=read_labels(name, PROXY)),
    find_read_access=lambda name: ClusterAccess(selector=read_labels(name, PROXY), target_port=READ_PORT),
    find_ca_secret=lambda name: f"{name}-ssl",
    has_continuous_backup=True,
    # The default mode forbids LOCK TABLES, which a copy needs. This mode is for writes on one server at a time.
    default_settings={"pxc_strict_mode": "MASTER"},
    unsupported_settings=FIXED_SETTINGS,
    # The operator reads the configuration as a template.
    forbidden_setting_characters="{",
)
