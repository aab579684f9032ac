"""The Kubernetes objects that the program creates, known before it creates them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

__all__ = ["PlannedObject", "ResourceType"]


@dataclass(frozen=True, kw_only=True)
class ResourceType:
    """A type of objects in the API of the cluster."""

    api_version: str
    """Group and version: `postgresql.cnpg.io/v1`."""
    kind: str
    plural: str
    """Name of the type in paths: `clusters`."""


@dataclass(frozen=True, kw_only=True)
class PlannedObject:
    """A Kubernetes object. A test compares the planned objects of a stack with those that the components register."""

    kind: str
    name: str
    resource_type: ResourceType | None = None
    """Type of a custom resource. None for the types of Kubernetes itself."""
    storage: str | None = None
    """Size of a PersistentVolumeClaim, or of each volume of a custom resource."""
    storage_class: str | None = None
    """Storage class of the volumes. None: the cluster's default class."""
    pod_labels: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Labels of the Pods of a custom resource."""
    node_selector: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Labels of the nodes on which the Pods can run."""
    needs_privileges: bool = False
    """Whether Pod Security allows the Pods of a StatefulSet only at the level `privileged`."""
