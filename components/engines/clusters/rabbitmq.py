"""A cluster of RabbitMQ, which the RabbitMQ Cluster Operator runs: equal servers that replicate quorum queues.

The facts are those of the operator 2.16: its source and runs on a real node.
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
    describe_condition,
)
from components.engines.definition import read_script
from components.engines.settings_file import render_assignments
from components.planned_objects import ResourceType
from components.spec import parse_quantity

__all__ = ["RABBITMQ_CLUSTER_OPERATOR"]

CLUSTER = ResourceType(api_version="rabbitmq.com/v1beta1", kind="RabbitmqCluster", plural="rabbitmqclusters")
DISRUPTION_BUDGET = ResourceType(api_version="policy/v1", kind="PodDisruptionBudget", plural="poddisruptionbudgets")
CONTAINER = "rabbitmq"
CONDITIONS = ("ReconcileSuccess", "AllReplicasReady", "ClusterAvailable")
TERMINATION_GRACE_PERIOD_SECONDS = 60
"""The operator's default of 7 days blocks the deletion of a Pod as long as too few other servers run."""
DELAY_START_SECONDS = 5
MAX_FREE_DISK = 2_000_000_000
FREE_DISK_DIVISOR = 5
"""The operator's limit of 2 GB of free disk would stop all publishers on a small volume."""


def _get_stateful_set(name: str) -> str:
    return f"{name}-server"


def _build_settings(request: ClusterRequest) -> dict[str, Any]:
    """Return the settings of rabbitmq.conf. The user's settings replace those that do not give the account its rights.

    `default_*` apply to an empty cluster only: the user has all permissions on its virtual host, and
    the tag that copies need.
    """
    return {
        "disk_free_limit.absolute": min(MAX_FREE_DISK, parse_quantity(request.storage) // FREE_DISK_DIVISOR),
        **request.settings,
        "anonymous_login_user": "none",
        "default_user_tags.administrator": False,
        "default_user_tags.policymaker": True,
        "default_vhost": request.database,
    }


def _build_pod_spec(request: ClusterRequest) -> dict[str, Any]:
    """Return what the operator omits: the rules of Pod Security `restricted`, and the selected nodes."""
    user = request.run_as_user
    security = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }
    return {
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": user,
            "runAsGroup": user,
            "fsGroup": user,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        **({"nodeSelector": dict(request.node_selector)} if request.node_selector else {}),
        "initContainers": [{"name": "setup-container", "securityContext": security}],
        "containers": [{"name": CONTAINER, "securityContext": security}],
    }


def _build_objects(request: ClusterRequest) -> list[ClusterObject]:
    storage_class = {"storageClassName": request.storage_class} if request.storage_class else {}
    template = {"metadata": {"labels": dict(request.labels)}, "spec": _build_pod_spec(request)}
    spec: dict[str, Any] = {
        "image": request.image,
        "replicas": request.replicas,
        # The operator uses this Secret as it is. A Secret of its own would be deleted together with the cluster.
        "secretBackend": {"externalSecret": {"name": request.account_secret}},
        "persistence": {"storage": request.storage, **storage_class},
        "resources": request.resources,
        "rabbitmq": {
            "additionalConfig": render_assignments(_build_settings(request), sign=" = ", true="true", false="false")
        },
        # The operator itself spreads the servers over zones.
        "affinity": build_pod_affinity(request.labels, is_required=request.is_node_exclusive),
        **({"tolerations": list(request.tolerations)} if request.tolerations else {}),
        "terminationGracePeriodSeconds": TERMINATION_GRACE_PERIOD_SECONDS,
        "delayStartSeconds": DELAY_START_SECONDS,
        "override": {"statefulSet": {"spec": {"template": template}}},
    }
    budget = {"maxUnavailable": 1, "selector": {"matchLabels": dict(request.labels)}}
    return [
        ClusterObject(type=CLUSTER, name=request.name, part="cluster", spec=spec),
        ClusterObject(type=DISRUPTION_BUDGET, name=request.name, part="disruption", spec=budget, holds_data=False),
    ]


def _build_account_entries(username: str, password: str, _database: str) -> dict[str, str]:
    """Return the entries that the operator's own Secret would have; the servers read the file `default_user.conf`."""
    return {
        "username": username,
        "password": password,
        "default_user.conf": f"default_user = {username}\ndefault_pass = {password}\n",
    }


def _describe_progress(resource: Mapping[str, Any], _account_version: str) -> str | None:
    """Return why the cluster is not ready. Its conditions are true again between the restarts of two servers."""
    for kind in CONDITIONS:
        if reason := describe_condition(resource, kind):
            return reason
    generation = resource["metadata"].get("generation")
    if (resource.get("status") or {}).get("observedGeneration") != generation:
        return "the operator has not seen the last change yet"
    return None


RABBITMQ_CLUSTER_OPERATOR = EngineCluster(
    operator=Operator(
        name="RabbitMQ Cluster Operator",
        version="2.16.0",
        image="docker.io/rabbitmqoperator/cluster-operator",
        resource_types=(CLUSTER,),
        pod_labels={"app.kubernetes.io/name": "rabbitmq-cluster-operator"},
        namespace_variable="OPERATOR_SCOPE_NAMESPACE",
        install_commands=(
            "kubectl apply --server-side --filename"
            " https://github.com/rabbitmq/cluster-operator/releases/download/v2.16.0/cluster-operator.yml",
        ),
    ),
    durabilities=("synchronous",),
    # Of two servers, none works without the other.
    sizes=(3, 9),
    has_odd_size=True,
    can_shrink=False,
    # The label `controller-revision-hash` of the Pods has 18 characters more, and a label has at most 63.
    max_name_length=45,
    # The operator creates a Service with the name of the resource. An unnamed group uses that of the server.
    name_suffix="-cluster",
    build_account_entries=_build_account_entries,
    build_objects=_build_objects,
    describe_progress=_describe_progress,
    list_stateful_sets=lambda name: (_get_stateful_set(name),),
    find_access=lambda name: ClusterAccess(
        selector={"app.kubernetes.io/name": name, "app.kubernetes.io/component": "rabbitmq"}
    ),
    # The servers read the Secret only when they are created.
    scripts=ClusterScripts(
        find_container=lambda name: (_get_stateful_set(name), CONTAINER),
        change_password=read_script("rabbitmq", "change_cluster_password"),
        check=read_script("rabbitmq", "check_cluster"),
    ),
    # Queues of other types are on one server only.
    default_settings={"default_queue_type": "quorum", "log.connection.level": "warning"},
    # The operator reads the settings as an INI file.
    forbidden_setting_characters="#;`\\",
)
