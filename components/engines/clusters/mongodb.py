"""A cluster of MongoDB: a replica set of Percona Server for MongoDB, which the Percona Operator runs.

The Service selects all members. Clients know the name of the replica set, so they find the primary member.
The facts are those of the operator's release 1.22: its documentation and its source.
"""

from typing import Any

from components.engines.clusters.definition import (
    ClusterAccess,
    ClusterObject,
    ClusterRequest,
    ContinuousBackup,
    EngineCluster,
    Operator,
)
from components.engines.clusters.percona import (
    build_container_security,
    build_pod_placement,
    describe_account,
    describe_progress,
    read_labels,
)
from components.planned_objects import ResourceType

__all__ = ["PERCONA_SERVER_MONGODB"]

CLUSTER = ResourceType(api_version="psmdb.percona.com/v1", kind="PerconaServerMongoDB", plural="perconaservermongodbs")
OPERATOR_VERSION = "1.22.0"
REPLICA_SET, SERVERS = "rs0", "mongod"
BACKUP_IMAGE = "docker.io/percona/percona-backup-mongodb:2.12.0"
BACKUP_AMOUNTS = {"cpu": "300m", "memory": "1Gi"}
"""What the operator's documentation recommends for the backup container of each server."""
BASE = "base"
AMAZON_HOST = "s3.amazonaws.com"
FIXED_SETTINGS = frozenset(
    {
        "security.enableencryption",
        "security.encryptionkeyfile",
        "storage.engine",
        # The operator passes half of the memory above 1 GiB as an argument, as this program on a single server.
        "storage.wiredtiger.engineconfig.cachesizegb",
    }
)


def _build_objects(request: ClusterRequest) -> list[ClusterObject]:
    user = {
        "name": request.username,
        "db": request.database,
        "passwordSecretRef": {"name": request.account_secret, "key": "password"},
        "roles": [{"name": "readWrite", "db": request.database}],
    }
    spec: dict[str, Any] = {
        "crVersion": OPERATOR_VERSION,
        "image": request.image,
        "imagePullPolicy": "IfNotPresent",
        "updateStrategy": "SmartUpdate",
        "upgradeOptions": {"apply": "disabled"},
        "storageScaling": {"enableVolumeScaling": True},
        "tls": {"mode": "preferTLS"},
        "initContainerSecurityContext": build_container_security(),
        "sharding": {"enabled": False},
        "users": [user],
        "replsets": [
            {
                "name": REPLICA_SET,
                "size": request.replicas,
                "configuration": request.configuration,
                "resources": request.resources,
                "volumeSpec": {"persistentVolumeClaim": request.claim_spec},
                **build_pod_placement(request, SERVERS),
            }
        ],
        **({"backup": _build_backup(request.continuous_backup)} if request.continuous_backup else {}),
    }
    # Without it, the operator leaves the volumes when the cluster is deleted.
    finalizers = ("percona.com/delete-psmdb-pvc",)
    return [ClusterObject(type=CLUSTER, name=request.name, part="cluster", spec=spec, finalizers=finalizers)]


def _build_backup(backup: ContinuousBackup) -> dict[str, Any]:
    """Return the schedule of the base backups, and the upload of the oplog.

    The type `minio` of a storage is for every store with the protocol of S3. Unlike the type `s3`, it accepts CAs.
    """
    bucket = backup.bucket
    storage = {
        "bucket": bucket.name,
        "prefix": bucket.folder,
        "region": bucket.region,
        "endpointUrl": bucket.endpoint.partition("://")[2] if bucket.endpoint else AMAZON_HOST,
        "secure": bucket.endpoint is None or bucket.endpoint.startswith("https://"),
        "forcePathStyle": bucket.is_path_style,
        "credentialsSecret": backup.secret,
        **({"caBundle": {"name": backup.secret, "key": bucket.ca_entry}} if bucket.ca_entry else {}),
    }
    task = {
        "name": BASE,
        "enabled": True,
        "schedule": backup.schedule,
        "storageName": BASE,
        # The oldest day begins with the backup of the day before.
        "retention": {"type": "count", "count": backup.days + 1, "deleteFromStorage": True},
    }
    return {
        "enabled": True,
        "image": BACKUP_IMAGE,
        "resources": {"requests": BACKUP_AMOUNTS, "limits": BACKUP_AMOUNTS},
        "containerSecurityContext": build_container_security(),
        "storages": {BASE: {"type": "minio", "minio": storage}},
        "tasks": [task],
        "pitr": {"enabled": True},
    }


RELEASE_URL = f"https://raw.githubusercontent.com/percona/percona-server-mongodb-operator/v{OPERATOR_VERSION}/deploy"
PERCONA_SERVER_MONGODB = EngineCluster(
    operator=Operator(
        name="Percona Server for MongoDB Operator",
        version=OPERATOR_VERSION,
        image="docker.io/percona/percona-server-mongodb-operator",
        resource_types=(CLUSTER,),
        pod_labels={"app.kubernetes.io/name": "percona-server-mongodb-operator"},
        namespace_variable="WATCH_NAMESPACE",
        install_commands=(
            "kubectl create namespace psmdb-operator",
            f"kubectl apply --server-side --namespace psmdb-operator --filename {RELEASE_URL}/cw-bundle.yaml",
        ),
    ),
    durabilities=("synchronous",),
    sizes=(3, 9),
    has_odd_size=True,
    max_name_length=50 - len(REPLICA_SET),
    images={
        "7.0": "docker.io/percona/percona-server-mongodb:7.0.30-16",
        "8.0": "docker.io/percona/percona-server-mongodb:8.0.19-7",
    },
    build_account_entries=lambda username, password, _database: {"username": username, "password": password},
    build_objects=_build_objects,
    describe_progress=describe_progress,
    describe_account=describe_account,
    list_stateful_sets=lambda name: (f"{name}-{REPLICA_SET}",),
    find_access=lambda name: ClusterAccess(selector=read_labels(name, SERVERS)),
    find_ca_secret=lambda name: f"{name}-ssl",
    certifies_services=False,
    replica_set=REPLICA_SET,
    has_continuous_backup=True,
    unsupported_settings=FIXED_SETTINGS,
)
