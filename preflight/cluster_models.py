"""The values of the cluster check: what a stack needs, and what the check finds."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

__all__ = [
    "CLUSTER_LOCATION",
    "ApiPath",
    "ClusterIssue",
    "ClusterReport",
    "ClusterRequirements",
    "JsonObject",
    "Location",
    "ObjectKey",
    "RecordedObject",
    "RequiredClaim",
    "RequiredNamespace",
    "RequiredObject",
    "RequiredOperator",
]

JsonObject: TypeAlias = Mapping[str, Any]
"""An object of the API server."""
Location: TypeAlias = tuple[str | int, ...]
"""The keys from the top of the stack file to a value."""
CLUSTER_LOCATION: Location = ("cluster",)
"""Location of an issue that no key of the stack file causes."""


class ApiPath(NamedTuple):
    """The path of a type of objects on the API server."""

    api: str
    """Path of the group and version: `/apis/apps/v1`."""
    plural: str
    """Name of the type: `statefulsets`."""

    @property
    def group(self) -> str:
        """API group. Empty for the core group."""
        return self.api.split("/")[2] if self.api.startswith("/apis/") else ""


class ObjectKey(NamedTuple):
    """The key of an object in the cluster. The namespace of a Namespace is empty."""

    kind: str
    namespace: str
    name: str


@dataclass(frozen=True, kw_only=True)
class RecordedObject:
    """An object in the state of the stack."""

    storage: str | None = None
    """Size of a PersistentVolumeClaim."""
    storage_class: str | None = None
    """Storage class of a PersistentVolumeClaim."""
    application: str | None = None
    """Application whose object it is. None if the object has no label for it."""
    password_version: int = 0
    """Password version of a connection Secret."""


@dataclass(frozen=True, kw_only=True)
class RequiredNamespace:
    """A namespace of the stack."""

    name: str
    is_created: bool
    """Whether the stack creates the namespace. False: it must exist."""
    location: Location


@dataclass(frozen=True, kw_only=True)
class RequiredObject:
    """An object that the stack creates or updates."""

    key: ObjectKey
    location: Location
    """Location of its database group or its application."""
    application: str
    """Application whose object it is."""
    is_data_of_removed_group: bool = False
    """Whether an existing object holds the data of a group that is not in the state: `protect: retain` left it."""
    storage: str | None = None
    """Size of a PersistentVolumeClaim, or of each volume of a custom resource."""
    storage_class: str | None = None
    """Storage class of the volumes. Default: None; the cluster's default class."""
    custom_path: ApiPath | None = None
    """Path of the type of a custom resource. None for the types of Kubernetes itself."""
    pod_labels: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Labels of the Pods of a custom resource, which use its volumes. Default: none."""
    needs_privileges: bool = False
    """Whether the Pods of a StatefulSet need the level `privileged` of Pod Security. Default: False; `restricted`."""


@dataclass(frozen=True, kw_only=True)
class RequiredClaim:
    """A volume claim that the stack does not create, but whose volume its Pods mount."""

    name: str
    namespace: str
    location: Location

    @property
    def key(self) -> ObjectKey:
        """Key of the volume claim."""
        return ObjectKey("PersistentVolumeClaim", self.namespace, self.name)


@dataclass(frozen=True, kw_only=True)
class RequiredOperator:
    """An operator that the groups of the stack need."""

    name: str
    version: str
    """Oldest release that is supported."""
    image: str
    """Repository of its image."""
    custom_paths: tuple[ApiPath, ...]
    """Paths of the types of its custom resources."""
    pod_labels: Mapping[str, str]
    """Labels of its Pods."""
    namespace_variable: str
    """Environment variable of its container with the namespaces that it watches. Empty or missing: all."""
    install_commands: tuple[str, ...]
    groups: tuple[tuple[Location, str], ...]
    """Location and namespace of each group that needs it."""
    key: tuple[str, ...] = ("server", "replicas")
    """Key of a group because of which it is needed."""


@dataclass(frozen=True, kw_only=True)
class ClusterRequirements:
    """What a stack needs in its cluster."""

    stack: str
    """The value of the annotation of its objects: `<organization>/<project>/<stack>`. It may be only the end, from the
    first `/` on, where the organization is not known."""
    stack_annotation: str
    """The key of that annotation."""
    namespaces: tuple[RequiredNamespace, ...]
    objects: tuple[RequiredObject, ...]
    existing_claims: tuple[RequiredClaim, ...] = ()
    """Volume claims that must exist."""
    operators: tuple[RequiredOperator, ...] = ()
    """Operators that must run."""
    patched_kinds: Mapping[str, frozenset[str]] = field(default_factory=lambda: MappingProxyType({}))
    """Kinds of the workloads that the stack patches, by namespace."""
    password_changes: frozenset[str] = frozenset()
    """Namespaces in which a running server gets a new password."""
    node_selector: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Labels of the nodes of dedicated servers. Default: none; any node."""
    recorded: Mapping[ObjectKey, RecordedObject] = field(default_factory=lambda: MappingProxyType({}))
    """The objects in the state of the stack."""


@dataclass(frozen=True)
class ClusterIssue:
    """A failed check of the cluster."""

    location: Location
    message: str
    """What is wrong, then what to do."""


@dataclass(frozen=True, kw_only=True)
class ClusterReport:
    """The result of the cluster check."""

    issues: tuple[ClusterIssue, ...] = ()
    notes: tuple[str, ...] = ()
    """What could not be checked, because the account may not read it."""
    left_behind: tuple[ObjectKey, ...] = ()
    """Objects of the stack that exist with its annotation, but not in its state: an interrupted update left them."""
    terminating: tuple[str, ...] = ()
    """Namespaces and volume claims of the stack that the cluster is deleting: `namespace 'shop'`."""
