"""A cluster of PostgreSQL, which CloudNativePG runs: one primary server, and replicas that follow it.

The facts are those of CloudNativePG 1.30: its documentation and runs on a real node.
"""

from collections.abc import Mapping
from typing import Any

from components.engines.clusters.definition import (
    ACCESS_KEY_ENTRY,
    CERT_MANAGER_COMMAND,
    HOST_LABEL,
    SECRET_KEY_ENTRY,
    ClusterAccess,
    ClusterObject,
    ClusterRequest,
    ContinuousBackup,
    EngineCluster,
    Operator,
    build_topology_spread,
    describe_condition,
    list_service_hosts,
)
from components.planned_objects import ResourceType

__all__ = ["CLOUDNATIVE_PG"]

CLUSTER = ResourceType(api_version="postgresql.cnpg.io/v1", kind="Cluster", plural="clusters")
OBJECT_STORE = ResourceType(api_version="barmancloud.cnpg.io/v1", kind="ObjectStore", plural="objectstores")
SCHEDULED_BACKUP = ResourceType(api_version="postgresql.cnpg.io/v1", kind="ScheduledBackup", plural="scheduledbackups")
PLUGIN, PLUGIN_VERSION = "barman-cloud.cloudnative-pg.io", "0.14.0"
PLUGIN_AMOUNTS = {"cpu": "200m", "memory": "512Mi"}
PLUGIN_VARIABLES = {
    # Many stores with the protocol of S3 reject the checksums that newer programs add.
    "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",
    "AWS_RESPONSE_CHECKSUM_VALIDATION": "when_required",
}
CLUSTER_LABEL, ROLE_LABEL = "cnpg.io/cluster", "cnpg.io/instanceRole"
LOCALE = "en_US.utf8"
"""Locale of the official image, so that texts sort as on a single server. The operator's default is `C`."""
SMART_SHUTDOWN_SECONDS = 5
"""The operator's default of 180 leaves the application without a primary server while an old connection stays open."""
SYNCHRONOUS_REPLICAS = 1
FIXED_SETTINGS = frozenset(
    {
        "allow_alter_system",
        "archive_command",
        "archive_mode",
        "cluster_name",
        "hot_standby",
        "log_destination",
        "log_directory",
        "log_file_mode",
        "log_filename",
        "log_rotation_age",
        "log_rotation_size",
        "log_truncate_on_rotation",
        "logging_collector",
        "primary_conninfo",
        "primary_slot_name",
        "recovery_target",
        "restart_after_crash",
        "restore_command",
        "shared_preload_libraries",
        "ssl",
        "ssl_ca_file",
        "ssl_cert_file",
        "ssl_key_file",
        "synchronous_standby_names",
        "unix_socket_permissions",
        "wal_level",
        "wal_log_hints",
    }
)


def _render_value(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value)


def _build_objects(request: ClusterRequest) -> list[ClusterObject]:
    storage_class = {"storageClass": request.storage_class} if request.storage_class else {}
    spec: dict[str, Any] = {
        "instances": request.replicas,
        "imageName": request.image,
        "postgresUID": request.run_as_user,
        "postgresGID": request.run_as_user,
        "bootstrap": {
            "initdb": {
                "database": request.database,
                "owner": request.username,
                "secret": {"name": request.account_secret},
                "localeCollate": LOCALE,
                "localeCType": LOCALE,
                "postInitApplicationSQL": [f'REVOKE ALL ON DATABASE "{request.database}" FROM PUBLIC'],
            }
        },
        "storage": {"size": request.storage, **storage_class, "resizeInUseVolumes": True},
        "resources": request.resources,
        "postgresql": {
            "parameters": {name: _render_value(value) for name, value in sorted(request.settings.items())},
            **_build_synchronous(request),
        },
        "affinity": {
            "enablePodAntiAffinity": True,
            "topologyKey": HOST_LABEL,
            "podAntiAffinityType": "required" if request.is_node_exclusive else "preferred",
            **({"nodeSelector": dict(request.node_selector)} if request.node_selector else {}),
            **({"tolerations": list(request.tolerations)} if request.tolerations else {}),
        },
        "topologySpreadConstraints": build_topology_spread({CLUSTER_LABEL: request.name}),
        "smartShutdownTimeout": SMART_SHUTDOWN_SECONDS,
        "certificates": {"serverAltDNSNames": list_service_hosts(request)},
        "managed": {"services": {"disabledDefaultServices": ["ro", "r"]}},
        "inheritedMetadata": {"labels": dict(request.labels)},
    }
    if request.continuous_backup is None:
        return [ClusterObject(type=CLUSTER, name=request.name, part="cluster", spec=spec)]
    spec["plugins"] = [{"name": PLUGIN, "isWALArchiver": True, "parameters": {"barmanObjectName": request.name}}]
    return [
        _build_object_store(request, request.continuous_backup),
        ClusterObject(type=CLUSTER, name=request.name, part="cluster", spec=spec),
        _build_scheduled_backup(request, request.continuous_backup),
    ]


def _build_object_store(request: ClusterRequest, backup: ContinuousBackup) -> ClusterObject:
    """Return where the plugin saves base backups and the write-ahead log, and how long it retains them."""
    bucket, variables = backup.bucket, {"AWS_DEFAULT_REGION": backup.bucket.region, **PLUGIN_VARIABLES}

    def build_reference(entry: str) -> dict[str, str]:
        return {"name": backup.secret, "key": entry}

    spec = {
        "configuration": {
            "destinationPath": f"s3://{bucket.name}/{bucket.folder}",
            "s3Credentials": {
                "accessKeyId": build_reference(ACCESS_KEY_ENTRY),
                "secretAccessKey": build_reference(SECRET_KEY_ENTRY),
            },
            **({"endpointURL": bucket.endpoint} if bucket.endpoint else {}),
            **({"endpointCA": build_reference(bucket.ca_entry)} if bucket.ca_entry else {}),
            "wal": {"compression": "gzip"},
            "data": {"compression": "gzip"},
        },
        "retentionPolicy": f"{backup.days}d",
        "instanceSidecarConfiguration": {
            "resources": {"requests": PLUGIN_AMOUNTS, "limits": PLUGIN_AMOUNTS},
            "env": [{"name": name, "value": value} for name, value in variables.items()],
        },
    }
    return ClusterObject(type=OBJECT_STORE, name=request.name, part="object-store", spec=spec, holds_data=False)


def _build_scheduled_backup(request: ClusterRequest, backup: ContinuousBackup) -> ClusterObject:
    """Return the schedule of the base backups. The first one begins at once: without it, no restore is possible."""
    spec = {
        "cluster": {"name": request.name},
        "method": "plugin",
        "pluginConfiguration": {"name": PLUGIN},
        "schedule": f"0 {backup.schedule}",  # the first field is the second
        "immediate": True,
        "backupOwnerReference": "cluster",
    }
    return ClusterObject(type=SCHEDULED_BACKUP, name=request.name, part="scheduled-backup", spec=spec, holds_data=False)


def _build_synchronous(request: ClusterRequest) -> dict[str, Any]:
    """Return the setting with which the primary server waits for a replica before it confirms a transaction."""
    if request.durability == "asynchronous":
        return {}
    number = {"method": "any", "number": SYNCHRONOUS_REPLICAS, "dataDurability": "required", "failoverQuorum": True}
    return {"synchronous": number}


def _describe_progress(resource: Mapping[str, Any], account_version: str) -> str | None:
    """Return why the cluster is not ready. Its status has no generation: the caller waits before it asks."""
    spec, status = resource.get("spec") or {}, resource.get("status") or {}
    reason = describe_condition(resource, "Ready")
    if reason is None and status.get("readyInstances") != spec.get("instances"):
        reason = f"{status.get('readyInstances', 0)} of {spec.get('instances')} servers are ready"
    versions = status.get("secretsResourceVersion") or {}
    if reason is None and versions.get("applicationSecretVersion") != account_version:
        reason = "the operator has not read the credentials yet"
    if reason is None:
        return None
    return "; ".join(filter(None, (reason, status.get("phase"), status.get("phaseReason"))))


BARMAN_CLOUD = Operator(
    name="Barman Cloud plugin of CloudNativePG",
    version=PLUGIN_VERSION,
    image="ghcr.io/cloudnative-pg/plugin-barman-cloud",
    resource_types=(OBJECT_STORE, SCHEDULED_BACKUP),
    pod_labels={"app": "barman-cloud"},
    namespace_variable="WATCH_NAMESPACE",
    # It must be in the namespace of the operator.
    install_commands=(
        CERT_MANAGER_COMMAND,
        "kubectl apply --server-side --filename https://github.com/cloudnative-pg/plugin-barman-cloud/releases/download"
        f"/v{PLUGIN_VERSION}/manifest.yaml",
    ),
)
CLOUDNATIVE_PG = EngineCluster(
    operator=Operator(
        name="CloudNativePG",
        version="1.30.0",
        image="ghcr.io/cloudnative-pg/cloudnative-pg",
        resource_types=(CLUSTER,),
        pod_labels={"app.kubernetes.io/name": "cloudnative-pg"},
        namespace_variable="WATCH_NAMESPACE",
        install_commands=(
            "kubectl apply --server-side --filename"
            " https://github.com/cloudnative-pg/cloudnative-pg/releases/download/v1.30.0/cnpg-1.30.0.yaml",
        ),
    ),
    durabilities=("synchronous", "asynchronous"),
    sizes=(2, 9),
    max_name_length=50,
    build_account_entries=lambda username, password, _database: {"username": username, "password": password},
    # Without the label the operator does not read a new password.
    account_labels={"cnpg.io/reload": "true"},
    build_objects=_build_objects,
    describe_progress=_describe_progress,
    find_access=lambda name: ClusterAccess(selector={CLUSTER_LABEL: name, ROLE_LABEL: "primary"}),
    find_read_access=lambda name: ClusterAccess(selector={CLUSTER_LABEL: name, ROLE_LABEL: "replica"}),
    find_ca_secret=lambda name: f"{name}-ca",
    has_continuous_backup=True,
    backup_plugin=BARMAN_CLOUD,
    unsupported_settings=FIXED_SETTINGS,
)
