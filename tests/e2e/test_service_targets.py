"""A Service keeps its identity while its target changes: another port, another kind of target, another group."""

from typing import Any

import pytest

from tests.e2e.cluster import Cluster, wait_for
from tests.e2e.project import Project

NAMESPACE = STACK = "d-targets"
OLD, NEW, NAME = "10.5.120.104", "10.5.120.105", "redis.example.org"


def list_addresses(cluster: Cluster) -> set[str]:
    """Return the addresses in all EndpointSlices of the Service."""
    slices = cluster.dynamic.resources.get(api_version="discovery.k8s.io/v1", kind="EndpointSlice")
    found = slices.get(namespace=NAMESPACE, label_selector="kubernetes.io/service-name=redis").items
    return {address for item in found for endpoint in item.endpoints or () for address in endpoint.addresses}


def wait_for_addresses(cluster: Cluster, addresses: set[str]) -> None:
    wait_for(30, f"the Service has {addresses}", lambda: list_addresses(cluster) == addresses or None)


def list_ports(cluster: Cluster) -> list[int]:
    return [port.port for port in cluster.read_service(NAMESPACE, "redis").spec.ports]


def build_stack(*servers: Any, primary: int = 0) -> dict[str, Any]:
    """Return a stack with a group for each server."""
    redis = {f"g{number}": {"server": server, "primary": number == primary} for number, server in enumerate(servers)}
    return {"preflight": False, "applications": {NAMESPACE: {"databases": {"redis": redis}}}}


def external(host: Any, port: int = 6379) -> dict[str, Any]:
    return {"kind": "external", "host": host, "port": port}


@pytest.mark.usefixtures("simulated_node")
def test_service_changes_its_port_and_its_target_in_place(project: Project, cluster: Cluster) -> None:
    """No endpoint of an old Pod remains, and no port."""
    steps: tuple[tuple[dict[str, Any], int, set[str] | None], ...] = (
        (build_stack(external([OLD])), 6379, {OLD}),
        (build_stack(external([NEW], 6381)), 6381, {NEW}),
        (build_stack("local"), 6379, None),
        (build_stack("local", external([NEW], 6381), primary=0), 6379, None),
        (build_stack("local", external([NEW], 6381), primary=1), 6381, {NEW}),
        (build_stack(external(NAME, 6390)), 6390, {NAME}),
        (build_stack(external([OLD], 6391)), 6391, {OLD}),
    )
    project.new(STACK, steps[0][0])
    uid = None
    for number, (config, port, addresses) in enumerate(steps):
        project.write(STACK, config)
        project.up(STACK).succeeded()
        assert list_ports(cluster) == [port], number
        service = cluster.read_service(NAMESPACE, "redis")
        uid = uid or service.metadata.uid
        assert service.metadata.uid == uid, number
        pod = cluster.core.list_namespaced_pod(NAMESPACE).items
        expected = {found.status.pod_ip for found in pod} if addresses is None else addresses
        if expected == {NAME}:
            # An ExternalName is a name in DNS only: Kubernetes leaves the old endpoints. The next step removes them.
            assert service.spec.external_name == NAME
        else:
            wait_for_addresses(cluster, expected)
    project.assert_settled(STACK)
