"""Operators of clusters on a node with containers: each one creates a cluster of three servers from one resource."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from tests.e2e.cluster import Cluster, wait_for
from tests.e2e.operators import has_condition

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
RABBITMQ, POSTGRESQL = "operators-rabbitmq", "operators-postgresql"
NAMESPACES = (RABBITMQ, POSTGRESQL)
SERVERS = 3
USER = 999
"""User of the images."""


def create(cluster: Cluster, api_version: str, kind: str, namespace: str, spec: Mapping[str, Any], *ready: str) -> None:
    """Create the resource `main` and wait until conditions of it are true."""
    metadata = {"name": "main", "namespace": namespace}
    cluster.apply({"apiVersion": api_version, "kind": kind, "metadata": metadata, "spec": spec})
    resource = cluster.dynamic.resources.get(api_version=api_version, kind=kind)

    def attempt() -> bool | None:
        item = resource.get(name="main", namespace=namespace)
        return all(has_condition(item, condition) for condition in ready) or None

    wait_for(300, f"the conditions {', '.join(ready)} of the {kind} are true", attempt)


def test_operator_creates_one_cluster_of_rabbitmq(
    rabbitmq_operator: Cluster, build_images: Callable[..., None]
) -> None:
    build_images("rabbitmq:4.0")
    container = {"securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}}
    pod = {  # Pod Security `restricted` rejects the operator's own Pods
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "initContainers": [{"name": "setup-container", **container}],
        "containers": [{"name": "rabbitmq", **container}],
    }
    spec = {
        "image": "docker.io/library/rabbitmq:4.0",
        "replicas": SERVERS,
        "delayStartSeconds": 0,
        "terminationGracePeriodSeconds": 10,
        "persistence": {"storage": "1Gi"},
        "resources": {"requests": {"cpu": "100m", "memory": "512Mi"}, "limits": {"memory": "512Mi"}},
        "override": {"statefulSet": {"spec": {"template": {"spec": pod}}}},
    }
    with rabbitmq_operator.create_namespace(RABBITMQ):
        conditions = ("AllReplicasReady", "ClusterAvailable", "ReconcileSuccess")
        create(rabbitmq_operator, "rabbitmq.com/v1beta1", "RabbitmqCluster", RABBITMQ, spec, *conditions)
        # The conditions are also true for three clusters of one server: the result of Pods that do not reach the API.
        command = "rabbitmqctl --quiet --formatter json cluster_status"
        succeeded, output = rabbitmq_operator.run(RABBITMQ, "main-server-0", command)
        assert succeeded, output
        assert len(json.loads(output)["running_nodes"]) == SERVERS


def test_operator_creates_one_cluster_of_postgresql(cloudnative_pg: Cluster, build_images: Callable[..., None]) -> None:
    build_images("postgres:17")
    spec = {
        "imageName": "docker.io/library/postgres:17",
        "postgresUID": USER,
        "postgresGID": USER,
        "instances": SERVERS,
        "storage": {"size": "1Gi"},
        "resources": {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"memory": "512Mi"}},
    }
    with cloudnative_pg.create_namespace(POSTGRESQL):
        create(cloudnative_pg, "postgresql.cnpg.io/v1", "Cluster", POSTGRESQL, spec, "Ready")
        query = "psql -tAc 'SELECT count(*) FROM pg_stat_replication'"
        assert cloudnative_pg.run(POSTGRESQL, "main-1", query) == (True, f"{SERVERS - 1}\n")
