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
            "applications": "{shop: {databases: {mysql: {main: }}}}",
        },
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
            "server": "{kind: dedicated, storage: 50Gi}",
        },
        "CopySpec": {
            "group": "main",
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

Keys that local and dedicated servers share are in StatefulSetServerSpec.
"""
IN_CLUSTER_MODELS = ("LocalKindSpec", "DedicatedKindSpec")


def get_section_name(model: str) -> str:
    """Return the name under which KEY_EXAMPLES and the table of changes have the keys of a model."""
    return "StatefulSetServerSpec" if model in IN_CLUSTER_MODELS else model
