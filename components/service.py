"""The named Service of a group, the only address that its application sees, whatever stands behind it."""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import pulumi
import pulumi_kubernetes as kubernetes

from components.arguments import is_address
from components.names import service_resource_name

__all__ = ["Backend", "create_service"]


@dataclass(frozen=True, kw_only=True)
class Backend:
    """What stands behind a Service: Pods by their labels, or hosts outside the cluster."""

    port: int
    pods: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    hosts: tuple[str, ...] = ()


def create_service(
    name: str,
    backend: Backend,
    *,
    application: str,
    server: str,
    namespace: pulumi.Input[str],
    labels: Mapping[str, str],
    port_name: str,
    parent: pulumi.Resource,
) -> None:
    """Makes the Service `name`.

    Resources: a Service, with a selector for Pods, without one for IP addresses, of type ExternalName for a host name; for IP
    addresses also the EndpointSlice `server`.
    """
    opts = pulumi.ResourceOptions(parent=parent)
    port = {"name": port_name, "port": backend.port, "protocol": "TCP"}
    external_name = next((host for host in backend.hosts if not is_address(host)), None)
    service = kubernetes.core.v1.Service(
        service_resource_name(application, name),
        metadata={"name": name, "namespace": namespace, "labels": labels},
        spec={"type": "ExternalName", "externalName": external_name, "ports": [port]}
        if external_name
        else {"type": "ClusterIP", "ports": [port], **({"selector": backend.pods} if backend.pods else {})},
        opts=opts,
    )
    if backend.hosts and not external_name:
        kubernetes.discovery.v1.EndpointSlice(
            f"{application}-{server}-endpoints",
            metadata={
                "name": server,
                "namespace": namespace,
                "labels": {**labels, "kubernetes.io/service-name": name, "endpointslice.kubernetes.io/managed-by": "database-groups"},
            },
            address_type=f"IPv{ipaddress.ip_address(backend.hosts[0]).version}",
            endpoints=[{"addresses": [host], "conditions": {"ready": True}} for host in backend.hosts],
            ports=[port],
            opts=pulumi.ResourceOptions(parent=parent, depends_on=[service]),
        )
