"""An example of each key of a stack file, which the models do not hold."""

from collections.abc import Mapping
from types import MappingProxyType

__all__ = ["KEY_EXAMPLES", "get_section_name"]

KEY_EXAMPLES: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "StackSpec": {
            "environment": "production",
            "databaseNodes": "{nodeSelector: {node-role: database}}",
            "preflight": "false",
            "externalServers": "{mysql-hq: {engine: mysql, host: mysql.example.org, administrator: {…}}}",
            "backupStores": "{offsite: {kind: s3, bucket: backups, …}}",
            "backup": "{schedule: daily}",
            "restoreAll": "latest",
            "applications": "{shop: {databases: {mysql: {main: }}}}",
        },
        "StoreSpec": {
            "kind": "s3",
            "endpoint": "https://s3.example.org",
            "bucket": "backups",
            "prefix": "production",
            "region": "eu-central-1",
            "pathStyle": "true",
            "caFile": "stacks/ca.pem",
            "accessKey": "shop-backups",
            "secretKey": "{secure: …}",
            "account": "shopbackups",
            "accountKey": "{secure: …}",
            "container": "backups",
            "serviceAccountKey": "{secure: …}",
            "url": "https://backups.example.org:8000/shop",
            "username": "shop",
            "password": "{secure: …}",
            "appendOnly": "true",
            "claim": "backups",
            "repositoryPassword": "{secure: …}",
        },
        "BackupSpec": {
            "store": "offsite",
            "schedule": "30 2 * * *",
            "keep": "{daily: 14, monthly: 12}",
            "timeoutMinutes": "600",
            "verify": "false",
            "continuous": "true",
            "verifyStorage": "50Gi",
        },
        "KeepSpec": {"last": "10", "daily": "14", "weekly": "8", "monthly": "12"},
        "NodePoolSpec": {
            "nodeSelector": "{node-role: database}",
            "tolerations": "[{key: node-role, operator: Exists}]",
        },
        "TolerationSpec": {
            "key": "node-role",
            "operator": "Exists",
            "value": "database",
            "effect": "NoSchedule",
            "tolerationSeconds": "300",
        },
        "ExternalServerSpec": {
            "engine": "mysql",
            "host": "mysql.example.org",
            "port": "3306",
            "tls": "require",
            "caFile": "stacks/ca.pem",
            "administrator": "{username: provisioner, password: {secure: …}}",
        },
        "AdministratorSpec": {
            "username": "provisioner",
            "password": "{secure: …}",
            "host": "127.0.0.1",
            "port": "13306",
        },
        "ApplicationSpec": {
            "namespace": "shop",
            "createNamespace": "false",
            "protect": "retain",
            "podSelector": "{app: shop}",
            "networkPolicy": "false",
            "workloads": "[{kind: Deployment, name: web}]",
            "databaseUrl": "mysql.main",
            "retire": "[mysql-old, DATABASE_URL]",
            "databases": "{mysql: {main: }}",
        },
        "WorkloadSpec": {
            "kind": "Deployment",
            "name": "web",
            "containers": "[web]",
            "rolloutSeconds": "600",
        },
        "DatabaseGroupSpec": {
            "primary": "true",
            "renamedFrom": "main",
            "variant": "percona",
            "passwordVersion": "1",
            "protect": "false",
            "recreate": "true",
            "networkPolicy": "false",
            "from": "{group: main}",
            "backup": "false",
            "server": "{kind: dedicated, storage: 50Gi}",
        },
        "CopySpec": {
            "group": "main",
            "backup": "latest",
            "store": "offsite",
            "run": "2",
            "overwrite": "true",
            "timeoutMinutes": "600",
        },
        "StatefulSetServerSpec": {
            "kind": "dedicated",
            "version": '"8.4"',
            "image": "registry.example.org/mysql:8.4.3",
            "storage": "50Gi",
            "storageClass": "fast",
            "resources": "{cpu: 2, memory: 4Gi}",
            "settings": "{max_connections: 500}",
            "initScript": "CREATE TABLE ready (id int)",
            "startTimeoutMinutes": "60",
            "exclusiveNode": "true",
            "replicas": "3",
            "durability": "asynchronous",
            "tls": "require",
        },
        "ResourcesSpec": {
            "cpu": "2",
            "memory": "4Gi",
        },
        "ExternalKindSpec": {
            "kind": "external",
            "provisionOn": "mysql-hq",
            "adopt": "true",
            "host": "db.example.org",
            "port": "3306",
            "tls": "verify-full",
            "caFile": "stacks/ca.pem",
            "extensions": "[pg_trgm]",
            "database": "shop",
            "username": "shop",
            "password": "{secure: …}",
            "token": "{secure: …}",
            "org": "shop",
            "bucket": "shop",
            "vhost": "/shop",
            "volume": "shop",
            "storageClass": "glusterfs",
            "storage": "50Gi",
        },
    }
)
"""Values as YAML on one line, by the name of the model and the key.

Keys that local and dedicated servers share are in StatefulSetServerSpec, those of all stores in StoreSpec.
"""
SECTION_NAMES = {
    **dict.fromkeys(("LocalKindSpec", "DedicatedKindSpec"), "StatefulSetServerSpec"),
    **dict.fromkeys((f"{kind}StoreSpec" for kind in ("S3", "Azure", "Google", "Rest", "Claim")), "StoreSpec"),
}
"""Models that share the names of their keys."""


def get_section_name(model: str) -> str:
    """Return the name under which KEY_EXAMPLES and the table of changes have the keys of a model."""
    return SECTION_NAMES.get(model, model)
