"""The named Service of a group, the only address that its application sees, whatever stands behind it."""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import pulumi
import pulumi_kubernetes as kubernetes

from components.hosts import is_ip_address
from components.persisted.names import service_resource_name

ENDPOINT_SLICE_MANAGED_BY_LABEL = "endpointslice.kubernetes.io/managed-by"

__all__ = ["ServiceBackend", "create_service"]


@dataclass(frozen=True, kw_only=True)
class ServiceBackend:
    """What stands behind a Service: Pods by their labels, or hosts outside the cluster."""

    port: int
    pod_selector: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    hosts: tuple[str, ...] = ()


def create_service(
    name: str,
    backend: ServiceBackend,
    *,
    application: str,
    endpoint_slice_name: str,
    namespace: pulumi.Input[str],
    labels: Mapping[str, str],
    port_name: str,
    parent: pulumi.Resource,
) -> None:
    """Makes the Service `name`.

    Resources: a Service, with a selector for Pods, without one for IP addresses, of type ExternalName for a host name; for IP
    addresses also the EndpointSlice `server`.
    """
    metadata: Any = {"name": name, "namespace": namespace, "labels": labels}
    port: Any = {"name": port_name, "port": backend.port, "protocol": "TCP"}
    external_name = next((host for host in backend.hosts if not is_ip_address(host)), None)
    spec: Any = {
        "type": "ClusterIP",
        "ports": [port],
        **({"selector": backend.pod_selector} if backend.pod_selector else {}),
    }
    if external_name:
        spec = {"type": "ExternalName", "externalName": external_name, "ports": [port]}
    service = kubernetes.core.v1.Service(
        service_resource_name(application, name),
        metadata=metadata,
        spec=spec,
        opts=pulumi.ResourceOptions(parent=parent),
    )
    if backend.hosts and not external_name:
        slice_metadata: Any = {
            **metadata,
            "name": endpoint_slice_name,
            "labels": {
                **labels,
                "kubernetes.io/service-name": name,
                ENDPOINT_SLICE_MANAGED_BY_LABEL: "database-groups",
            },
        }
        endpoints: Any = [{"addresses": [host], "conditions": {"ready": True}} for host in backend.hosts]
        kubernetes.discovery.v1.EndpointSlice(
            f"{application}-{endpoint_slice_name}-endpoints",
            metadata=slice_metadata,
            address_type=f"IPv{ipaddress.ip_address(backend.hosts[0]).version}",
            endpoints=endpoints,
            ports=[port],
            opts=pulumi.ResourceOptions(parent=parent, depends_on=[service]),
        )
