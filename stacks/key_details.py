"""What the models do not hold about the keys of a stack file: an example, and what an edit of the key does."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

__all__ = ["KEY_DETAILS", "KeyDetails", "get_details_name"]

IN_PLACE = "in place"
RESTART = "restarts the server"
RESTART_WORKLOADS = "restarts the workload"
REJECTED = "rejected"
REJECTED_IF_PROTECTED = "rejected if protected; otherwise the data is lost"


class KeyDetails(NamedTuple):
    """An example of a key's value and what an edit of the key does."""

    example: str
    """The value as YAML on one line."""
    edit: str


KEY_DETAILS: Mapping[str, Mapping[str, KeyDetails]] = MappingProxyType(
    {
        "StackSpec": {
            "environment": KeyDetails("production", IN_PLACE),
            "databaseNodes": KeyDetails("{nodeSelector: {node-role: database}}", "restarts dedicated servers"),
            "preflight": KeyDetails("false", IN_PLACE),
            "externalServers": KeyDetails(
                "{mysql-hq: {engine: mysql, host: mysql.example.org, administrator: {…}}}", IN_PLACE
            ),
            "applications": KeyDetails("{shop: {databases: {mysql: {main: }}}}", IN_PLACE),
        },
        "NodePoolSpec": {
            "nodeSelector": KeyDetails("{node-role: database}", "restarts dedicated servers"),
            "tolerations": KeyDetails("[{key: node-role, operator: Exists}]", "restarts dedicated servers"),
        },
        "TolerationSpec": {
            "key": KeyDetails("node-role", "restarts dedicated servers"),
            "operator": KeyDetails("Exists", "restarts dedicated servers"),
            "value": KeyDetails("database", "restarts dedicated servers"),
            "effect": KeyDetails("NoSchedule", "restarts dedicated servers"),
            "tolerationSeconds": KeyDetails("300", "restarts dedicated servers"),
        },
        "ExternalServerSpec": {
            "engine": KeyDetails("mysql", "rejected while a group uses the server"),
            "host": KeyDetails("mysql.example.org", IN_PLACE),
            "port": KeyDetails("3306", IN_PLACE),
            "tls": KeyDetails("require", IN_PLACE),
            "caFile": KeyDetails("stacks/ca.pem", "in place; restarts workloads"),
            "administrator": KeyDetails("{username: provisioner, password: {secure: …}}", IN_PLACE),
        },
        "AdministratorSpec": {
            "username": KeyDetails("provisioner", IN_PLACE),
            "password": KeyDetails("{secure: …}", IN_PLACE),
            "host": KeyDetails("127.0.0.1", IN_PLACE),
            "port": KeyDetails("13306", IN_PLACE),
        },
        "ApplicationSpec": {
            "namespace": KeyDetails("shop", REJECTED_IF_PROTECTED),
            "createNamespace": KeyDetails("false", "`false` after `true` deletes the namespace; rejected if protected"),
            "protect": KeyDetails("retain", IN_PLACE),
            "podSelector": KeyDetails("{app: shop}", "in place; restarts local servers"),
            "networkPolicy": KeyDetails("false", IN_PLACE),
            "workloads": KeyDetails("[{kind: Deployment, name: web}]", RESTART_WORKLOADS),
            "databases": KeyDetails("{mysql: {main: }}", "removal: rejected if protected; otherwise the data is lost"),
        },
        "WorkloadSpec": {
            "kind": KeyDetails("Deployment", RESTART_WORKLOADS),
            "name": KeyDetails("web", RESTART_WORKLOADS),
            "containers": KeyDetails("[web]", RESTART_WORKLOADS),
            "rolloutSeconds": KeyDetails("600", IN_PLACE),
        },
        "DatabaseGroupSpec": {
            "primary": KeyDetails("true", "in place; restarts workloads"),
            "variant": KeyDetails("percona", REJECTED),
            "passwordVersion": KeyDetails("1", f"{RESTART} in the cluster, and workloads; `provisionOn`: by one only"),
            "protect": KeyDetails("false", IN_PLACE),
            "networkPolicy": KeyDetails("false", IN_PLACE),
            "server": KeyDetails("{kind: dedicated, storage: 50Gi}", "see its keys"),
        },
        "StatefulSetServerSpec": {
            "kind": KeyDetails("dedicated", REJECTED_IF_PROTECTED),
            "version": KeyDetails('"8.4"', f"{RESTART}; another release series: rejected"),
            "image": KeyDetails("registry.example.org/mysql:8.4.3", RESTART),
            "storage": KeyDetails("50Gi", "in place if larger; Kubernetes rejects a smaller size"),
            "storageClass": KeyDetails("fast", REJECTED_IF_PROTECTED),
            "resources": KeyDetails("{cpu: 2, memory: 4Gi}", RESTART),
            "settings": KeyDetails("{max_connections: 500}", RESTART),
            "initScript": KeyDetails("CREATE TABLE ready (id int)", f"{RESTART}; no effect on an existing volume"),
            "exclusiveNode": KeyDetails("true", RESTART),
        },
        "ResourcesSpec": {
            "cpu": KeyDetails("2", RESTART),
            "memory": KeyDetails("4Gi", RESTART),
        },
        "ExternalKindSpec": {
            "kind": KeyDetails("external", REJECTED_IF_PROTECTED),
            "provisionOn": KeyDetails("mysql-hq", REJECTED_IF_PROTECTED),
            "host": KeyDetails("db.example.org", IN_PLACE),
            "port": KeyDetails("3306", IN_PLACE),
            "tls": KeyDetails("verify-full", "in place; restarts workloads"),
            "caFile": KeyDetails("stacks/ca.pem", "in place; restarts workloads"),
            "extensions": KeyDetails("[pg_trgm]", "in place; removal drops the extension"),
            "database": KeyDetails("shop", f"`provisionOn`: {REJECTED_IF_PROTECTED}; `host`: in place"),
            "username": KeyDetails("shop", f"`provisionOn`: {REJECTED_IF_PROTECTED}; `host`: in place"),
            "password": KeyDetails("{secure: …}", "in place; restarts workloads"),
            "token": KeyDetails("{secure: …}", "in place; restarts workloads"),
            "org": KeyDetails("shop", "in place; restarts workloads"),
            "bucket": KeyDetails("shop", "in place; restarts workloads"),
            "vhost": KeyDetails("/shop", "in place; restarts workloads"),
            "volume": KeyDetails("shop", "in place; restarts workloads"),
            "storageClass": KeyDetails("glusterfs", REJECTED_IF_PROTECTED),
            "storage": KeyDetails("50Gi", "in place if larger; Kubernetes rejects a smaller size"),
        },
    }
)
"""By the name of the model and the key. Keys that local and dedicated servers share are in StatefulSetServerSpec."""
IN_CLUSTER_MODELS = ("LocalKindSpec", "DedicatedKindSpec")


def get_details_name(model: str) -> str:
    """Return the name under which KEY_DETAILS has the keys of a model."""
    return "StatefulSetServerSpec" if model in IN_CLUSTER_MODELS else model
