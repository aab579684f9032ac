"""The Service of a group: the only address that its application uses, whatever the server kind."""

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import pulumi
import pulumi_kubernetes as kubernetes

from components.hosts import is_ip_address
from components.persisted.labels import endpoint_slice_labels, remote_selector_labels
from components.persisted.names import endpoint_slice_resource_name, service_resource_name
from components.planned_objects import PlannedObject

__all__ = ["ServiceBackend", "create_service", "list_service_objects"]

SKIP_AWAIT_ANNOTATION = "pulumi.com/skipAwait"
"""Annotation of an object whose endpoints Pulumi does not wait for."""
IPV6 = 6


@dataclass(frozen=True, kw_only=True)
class ServiceBackend:
    """The target of a Service: Pods, selected by labels, or hosts outside the cluster."""

    port: int
    target_port: int | None = None
    """Port of the Pods. Default: `port`."""
    copy_port: int | None = None
    """Another port, for copies."""
    pod_selector: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    hosts: tuple[str, ...] = ()
    start_timeout_minutes: int | None = None
    """Time limit for a ready Pod. None without Pods."""

    @property
    def ports(self) -> list[int]:
        """All ports."""
        return [self.port, *([self.copy_port] if self.copy_port else [])]

    @property
    def external_name(self) -> str | None:
        """The host name to which the Service is an alias; None for Pods and IP addresses."""
        return next((host for host in self.hosts if not is_ip_address(host)), None)

    @property
    def has_endpoint_slice(self) -> bool:
        """Whether the Service needs an EndpointSlice of its own."""
        return bool(self.hosts) and self.external_name is None

    @property
    def ip_version(self) -> int:
        """IP version of the hosts, which are IP addresses."""
        return ipaddress.ip_address(self.hosts[0]).version


def list_service_objects(name: str, backend: ServiceBackend, endpoint_slice_name: str) -> Iterator[PlannedObject]:
    """Yield the objects of a Service."""
    yield PlannedObject(kind="Service", name=name)
    if backend.has_endpoint_slice:
        yield PlannedObject(kind="EndpointSlice", name=endpoint_slice_name)


def create_service(
    metadata: Any,
    backend: ServiceBackend,
    *,
    application: str,
    endpoint_slice_name: str,
    port_name: str,
    parent: pulumi.Resource,
    depends_on: Sequence[pulumi.Resource] = (),
) -> kubernetes.core.v1.Service:
    """Create a Service with its metadata, and return it.

    Resources: a Service. Its selector selects Pods, or no Pod for IP addresses; for a host name its type is
    ExternalName. For IP addresses also the EndpointSlice `endpoint_slice_name`.

    A Service changes in place from one target to another. Its selector for IP addresses matches no Pod: Kubernetes
    deletes the endpoints of the old Pods, which it leaves if a Service loses its selector. The name of the port
    contains the number: server-side apply identifies a port by its number, and rejects a second one of the same name.
    """
    name: str = metadata["name"]
    ports: Any = [{"name": f"{port_name}-{port}", "port": port, "protocol": "TCP"} for port in backend.ports]
    if backend.target_port:
        ports[0]["targetPort"] = backend.target_port
    # Without it, a Service on a cluster of both families gets only the cluster's first family.
    families = {"ipFamilies": ["IPv6"]} if backend.has_endpoint_slice and backend.ip_version == IPV6 else {}
    spec: Any = {"type": "ClusterIP", "ports": ports, "selector": backend.pod_selector, **families}
    service_metadata = metadata
    if backend.external_name:
        spec = {"type": "ExternalName", "externalName": backend.external_name, "ports": ports}
    elif backend.hosts:
        spec["selector"] = remote_selector_labels(metadata["labels"])
        annotations = {**metadata.get("annotations", {}), SKIP_AWAIT_ANNOTATION: "true"}
        service_metadata = {**metadata, "annotations": annotations}
    limit = f"{backend.start_timeout_minutes}m" if backend.start_timeout_minutes else None
    service = kubernetes.core.v1.Service(
        service_resource_name(application, name),
        metadata=service_metadata,
        spec=spec,
        # The field is immutable. Without the other option, Pulumi would create a second Service of the same name first.
        opts=pulumi.ResourceOptions(
            parent=parent,
            depends_on=list(depends_on),
            replace_on_changes=["spec.ipFamilies"],
            delete_before_replace=True,
            # Pulumi also waits here until the server is ready.
            custom_timeouts=pulumi.CustomTimeouts(create=limit, update=limit) if limit else None,
        ),
    )
    if backend.has_endpoint_slice:
        labels = endpoint_slice_labels(metadata["labels"], name)
        endpoint_slice_metadata: Any = {**metadata, "name": endpoint_slice_name, "labels": labels}
        endpoints: Any = [{"addresses": [host], "conditions": {"ready": True}} for host in backend.hosts]
        kubernetes.discovery.v1.EndpointSlice(
            endpoint_slice_resource_name(application, endpoint_slice_name),
            metadata=endpoint_slice_metadata,
            address_type=f"IPv{backend.ip_version}",
            endpoints=endpoints,
            ports=ports,
            opts=pulumi.ResourceOptions(parent=parent, depends_on=[service]),
        )
    return service
