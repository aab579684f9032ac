"""Clusters of MySQL, MongoDB, Elasticsearch and Redis, with operators that the test imitates on simulated nodes.

The API server, the schemas of the custom resources, the StatefulSets and Pulumi are real.
"""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.e2e.cluster import Cluster
from tests.e2e.operated import CA, DELAY_SECONDS, OperatorImitation, imitate_operators
from tests.e2e.operators import create_types
from tests.e2e.project import Project

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
STACK = NAMESPACE = "operated-clusters"
ENGINES = ("elasticsearch", "mongodb", "mysql", "redis")
API_GROUPS = ("elasticsearch.k8s.elastic.co", "psmdb.percona.com", "pxc.percona.com", "redis.redis.opstreelabs.in")
FAILURE = "no node has enough memory"


@pytest.fixture(scope="module")
def typed_cluster(cluster: Cluster) -> Any:
    """Yield the cluster with the types of the custom resources."""
    with ExitStack() as types:
        for group in API_GROUPS:
            types.enter_context(create_types(cluster, group))
        yield cluster


@pytest.fixture
def operators(typed_cluster: Cluster, simulated_node: Cluster) -> Iterator[OperatorImitation]:
    """Run the operators. They end after the project's stacks are destroyed, which needs them."""
    assert simulated_node
    with imitate_operators(typed_cluster, NAMESPACE) as imitation:
        yield imitation


def build_stack(*, replicas: int = 3, password_version: int = 0, minutes: int = 5) -> dict[str, Any]:
    """Return a stack with a cluster of each engine."""
    server = {"kind": "dedicated", "replicas": replicas, "storage": "1Gi", "startTimeoutMinutes": minutes}
    group = {"main": {"server": server, "passwordVersion": password_version, "protect": False}}
    databases: dict[str, Any] = dict.fromkeys(ENGINES, group)
    databases["redis"] = {"main": {**group["main"], "passwordVersion": 0}}  # a script in its servers changes it
    return {"preflight": False, "applications": {NAMESPACE: {"databases": databases}}}


def read_parts(cluster: Cluster) -> dict[str, tuple[int, int]]:
    """Return the number of servers, and of new and ready ones, of each StatefulSet."""
    resource = cluster.dynamic.resources.get(api_version="apps/v1", kind="StatefulSet")
    return {
        item.metadata.name: (item.spec.replicas, min(item.status.readyReplicas or 0, item.status.updatedReplicas or 0))
        for item in resource.get(namespace=NAMESPACE).items
    }


def check_parts(cluster: Cluster, size: int) -> None:
    """Assert that all servers of all clusters are ready."""
    servers = ("elasticsearch-main-es-default", "mongodb-main-rs0", "mysql-main-pxc", "redis-main-cluster")
    others = {"mysql-main-haproxy": (2, 2), "redis-main-cluster-sentinel": (3, 3)}
    assert read_parts(cluster) == {**dict.fromkeys(servers, (size, size)), **others}


def change(project: Project, config: dict[str, Any]) -> float:
    """Update the stack. Return the seconds."""
    begin = time.monotonic()
    project.write(STACK, config)
    project.up(STACK).succeeded()
    return time.monotonic() - begin


def check_passwords(cluster: Cluster, operators: OperatorImitation, old: dict[str, str]) -> None:
    """Assert that an application receives a new password only after the operator has set it."""
    assert {name: password for name, password in operators.set_passwords[-2:]} == {
        name: old[name] for name in ("mongodb-main", "mysql-main")
    }
    assert not set(old.values()) & {cluster.read_secret(NAMESPACE, name)["password"] for name in old}


def test_update_ends_when_the_operators_have_finished(
    operators: OperatorImitation, project: Project, cluster: Cluster
) -> None:
    project.new(STACK, build_stack())
    project.up(STACK).succeeded()
    check_parts(cluster, 3)
    mysql, mongodb = (cluster.read_secret(NAMESPACE, f"{engine}-main") for engine in ("mysql", "mongodb"))
    assert mysql["ca.crt"] == mongodb["ca.crt"] == CA
    assert "ca.crt" not in cluster.read_secret(NAMESPACE, "elasticsearch-main")
    assert mysql["read-host"] == "mysql-read"
    assert mongodb["uri"].endswith("&replicaSet=rs0")
    # The connection Secrets did not exist before the operators had created the users.
    assert sorted(operators.set_passwords) == [("mongodb-main", ""), ("mysql-main", "")]
    project.assert_settled(STACK)

    # The old status is `ready` when the resources change.
    assert change(project, build_stack(replicas=5)) >= DELAY_SECONDS
    check_parts(cluster, 5)

    old = {f"{engine}-main": cluster.read_secret(NAMESPACE, f"{engine}-main")["password"] for engine in ENGINES[:3]}
    assert change(project, build_stack(replicas=5, password_version=1)) >= DELAY_SECONDS
    check_passwords(cluster, operators, old)
    project.assert_settled(STACK)
    project.destroy(STACK).succeeded()
    assert not cluster.has_namespace(NAMESPACE)


def test_update_fails_within_its_limit_with_the_message_of_the_operator(
    operators: OperatorImitation, project: Project, cluster: Cluster
) -> None:
    operators.failure = FAILURE
    project.new(STACK, build_stack(minutes=1))
    begin = time.monotonic()
    output = project.up(STACK).failed().output
    assert 60 <= time.monotonic() - begin < 300
    states = {"elasticsearch": "phase is Invalid", "mongodb": "state is error", "mysql": "state is error"}
    messages = {
        f"applications.{NAMESPACE}.databases.{name}.main.server: {name}-main is not ready after 1 minute:"
        f" its {state}; {FAILURE}"
        for name, state in states.items()
    }
    assert all(message in output for message in messages), output
    secrets = {item.metadata.name for item in cluster.core.list_namespaced_secret(NAMESPACE).items}
    assert not {f"{engine}-main" for engine in ENGINES} & secrets
    project.destroy(STACK).succeeded()
