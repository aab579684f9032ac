"""The record of an engine's cluster: the custom resources of an established operator, and how to read their status."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, TypeAlias

import pulumi

from components.planned_objects import ResourceType
from components.spec import SettingValue
from components.tls import TlsMode

__all__ = [
    "ACCESS_KEY_ENTRY",
    "CERT_MANAGER_COMMAND",
    "HOST_LABEL",
    "SECRET_KEY_ENTRY",
    "Bucket",
    "ClusterAccess",
    "ClusterObject",
    "ClusterRequest",
    "ClusterScripts",
    "ContinuousBackup",
    "Durability",
    "EngineCluster",
    "Operator",
    "build_pod_affinity",
    "build_topology_spread",
    "describe_condition",
    "list_service_hosts",
]

Durability: TypeAlias = Literal["synchronous", "asynchronous"]
HOST_LABEL = "kubernetes.io/hostname"
ZONE_LABEL = "topology.kubernetes.io/zone"
ACCESS_KEY_ENTRY = "AWS_ACCESS_KEY_ID"
SECRET_KEY_ENTRY = "AWS_SECRET_ACCESS_KEY"  # noqa: S105 (a name)
"""Entries of the Secret with the credentials of a bucket. Restic and Percona's operators require these names."""
CERT_MANAGER_COMMAND = (
    "kubectl apply --server-side --filename"
    " https://github.com/cert-manager/cert-manager/releases/download/v1.19.2/cert-manager.yaml"
)


@dataclass(frozen=True, kw_only=True)
class Operator:
    """The program in the Kubernetes cluster that runs the servers."""

    name: str
    version: str
    """The oldest release that is supported, which is the one that `make operators` installs."""
    image: str
    """Repository of its image. The version of a running operator is the tag."""
    resource_types: tuple[ResourceType, ...]
    """The types of the custom resources that this program creates."""
    pod_labels: Mapping[str, str]
    """Labels of its Pods, which must reach the servers."""
    namespace_variable: str
    """Environment variable of its container with the namespaces that it watches. Empty or missing: all."""
    install_commands: tuple[str, ...]
    """Commands that install the release."""


@dataclass(frozen=True, kw_only=True)
class Bucket:
    """A folder in a bucket of S3, or of a store with the same protocol."""

    name: str
    folder: str
    endpoint: str | None
    """URL of the service. None: Amazon's service in the region."""
    region: str
    is_path_style: bool
    """Whether the bucket's name is in the path of URLs, not in the host name."""
    ca_entry: str | None
    """Entry of the Secret with the CA certificates of the service. None: the system's CAs."""


@dataclass(frozen=True, kw_only=True)
class ContinuousBackup:
    """What the operator saves in addition to the program's own backups: base backups, and each change since then."""

    bucket: Bucket
    secret: str
    """Name of the Secret with ACCESS_KEY_ENTRY, SECRET_KEY_ENTRY and the CA certificates."""
    digest: str
    """Value that changes with the content of the Secret, for Pods that read it once."""
    schedule: str
    """When a base backup begins: five fields of cron, once a day."""
    days: int
    """Number of days to whose moments a restore is possible."""


@dataclass(frozen=True, kw_only=True)
class ClusterRequest:
    """A cluster to create."""

    name: str
    """Name of the custom resource."""
    namespace: pulumi.Input[str]
    service_names: Sequence[str]
    """Host names by which applications and copies reach the servers, without the namespace."""
    username: str
    database: str
    """Database or virtual host of the application; for an engine without databases the user name."""
    account_secret: str
    """Name of the Secret with the entries of `build_account_entries`."""
    labels: Mapping[str, str]
    """Labels that every Pod must have."""
    version: str
    """Release or release series."""
    image: str
    """Image of the servers."""
    run_as_user: int
    replicas: int
    storage: str
    storage_class: str | None
    cpu: str
    memory: str
    settings: Mapping[str, SettingValue]
    configuration: str
    """The settings in the syntax of the engine's configuration file. Empty without one."""
    tls: TlsMode | None
    """TLS mode of the application's URI."""
    durability: Durability
    is_node_exclusive: bool
    """Whether two servers must not be on one node. False: they should not."""
    node_selector: Mapping[str, str]
    tolerations: Sequence[Mapping[str, Any]]
    continuous_backup: ContinuousBackup | None
    """None: the operator saves nothing."""

    @property
    def resources(self) -> dict[str, Any]:
        """Requests and limits of a server (core/v1 ResourceRequirements)."""
        amounts = {"cpu": self.cpu, "memory": self.memory}
        return {"requests": amounts, "limits": amounts}

    @property
    def claim_spec(self) -> dict[str, Any]:
        """The volume claim of a server (core/v1 PersistentVolumeClaimSpec)."""
        storage_class = {"storageClassName": self.storage_class} if self.storage_class else {}
        return {
            "accessModes": ["ReadWriteOnce"],
            **storage_class,
            "resources": {"requests": {"storage": self.storage}},
        }


@dataclass(frozen=True, kw_only=True)
class ClusterObject:
    """An object that the program creates for a cluster."""

    type: ResourceType
    name: str
    part: str
    """End of its Pulumi name: `cluster`."""
    spec: Mapping[str, Any]
    annotations: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    finalizers: tuple[str, ...] = ()
    """What the operator does when the object is deleted."""
    labels: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Labels, in addition to the group's."""
    holds_data: bool = True
    """Whether its deletion deletes data."""


@dataclass(frozen=True, kw_only=True)
class ClusterAccess:
    """The Pods that a Service selects."""

    selector: Mapping[str, str]
    target_port: int | None = None
    """Port of the Pods. Default: the engine's port."""


@dataclass(frozen=True, kw_only=True)
class ClusterScripts:
    """Shell scripts that run in the Pod of the first server, where the operator cannot do the same.

    They read the name of the cluster from CLUSTER, the number of its servers from SERVERS and the application's user
    from USERNAME.
    """

    find_container: Callable[[str], tuple[str, str]]
    """Return the StatefulSet of the Pod and its container, by the name of the cluster."""
    change_password: str
    """As `change_password_script` of a single server."""
    check: str | None = None
    """Script that fails unless the servers are one cluster. Default: none; the operator's status reports it."""


@dataclass(frozen=True, kw_only=True)
class EngineCluster:
    """How an operator runs several servers of an engine as one."""

    operator: Operator
    durabilities: tuple[Durability, ...]
    """What the user can choose. The first one is the default."""
    sizes: tuple[int, int]
    """The smallest and the largest number of servers."""
    has_odd_size: bool = False
    """Whether the number must be odd."""
    can_shrink: bool = True
    """Whether the operator can remove servers."""
    max_name_length: int
    """Largest number of characters of the custom resource's name."""
    name_suffix: str = ""
    """End of that name, where the operator creates a Service of the same name."""
    unsupported_variants: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Why the operator does not run a variant, by its name."""
    images: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Images of the servers, by release series, if the operator has its own. Their tags begin with the release.
    Default: none; the servers have the official image of the variant."""
    needs_release: bool = False
    """Whether the operator must know the release of the servers, with all numbers."""
    build_account_entries: Callable[[str, str, str], dict[str, str]]
    """Return the entries of the Secret that the operator reads, from user name, password and database."""
    account_labels: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Labels of that Secret, in addition to the group's."""
    build_objects: Callable[[ClusterRequest], Sequence[ClusterObject]]
    """Return the objects, in the order of their creation. The cluster itself has the operator's first type."""
    describe_progress: Callable[[Mapping[str, Any], str], str | None]
    """Return why the cluster is not ready; None if it is. The arguments are the custom resource (`{}` if it does not
    exist), and the resource version of the Secret with the account."""
    describe_account: Callable[[Mapping[str, Any], str], str | None] | None = None
    """Return why the servers do not accept the account yet; None if they do. The arguments are the Secret with the
    account and the name of the cluster. Default: none; the operator does not report it on the Secret."""
    list_stateful_sets: Callable[[str], tuple[str, ...]] = lambda _name: ()
    """Return the StatefulSets of the operator, by the name of the cluster. All their Pods must be new and ready."""
    find_access: Callable[[str], ClusterAccess]
    """Return the Pods that accept writes, by the name of the cluster."""
    find_read_access: Callable[[str], ClusterAccess] | None = None
    """Return the Pods that serve reads. Default: none."""
    find_ca_secret: Callable[[str], str] | None = None
    """Return the Secret whose `ca.crt` signs the servers' certificates. Default: none; the servers have no TLS."""
    certifies_services: bool = True
    """Whether the certificates contain the names of the Services."""
    requires_tls_choice: bool = False
    """Whether a server accepts only connections with TLS, or only connections without it. Default: both."""
    replica_set: str | None = None
    """Name of the replica set that clients must know."""
    has_continuous_backup: bool = False
    """Whether the operator can save each change, for a restore to any moment."""
    backup_plugin: Operator | None = None
    """The program that the operator needs for that. Default: none."""
    default_settings: Mapping[str, SettingValue] = field(default_factory=lambda: MappingProxyType({}))
    """The program's own settings, in addition to those of a single server. The user's values replace them."""
    scripts: ClusterScripts | None = None
    """Default: none; the operator reads a new password from the Secret, and its status is true."""
    forbidden_setting_characters: str = ""
    """Characters that the operator misreads in the value of a setting."""
    unsupported_settings: frozenset[str] = frozenset()
    """Normalized names of settings that the operator sets itself, in addition to those that a single server
    reserves."""


def describe_condition(resource: Mapping[str, Any], kind: str) -> str | None:
    """Return why a condition of a resource is not true; None if it is (meta/v1 Condition)."""
    status = resource.get("status") or {}
    found = next((item for item in status.get("conditions") or [] if item.get("type") == kind), None)
    if found is None:
        return f"{kind} is not reported yet"
    if found.get("status") == "True":
        return None
    return f"{kind} is {found.get('status')}: " + " ".join(filter(None, (found.get("reason"), found.get("message"))))


def build_topology_spread(labels: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return the rule that spreads Pods over the zones, if there are several (core/v1 TopologySpreadConstraint)."""
    return [
        {
            "maxSkew": 1,
            "topologyKey": ZONE_LABEL,
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": dict(labels)},
        }
    ]


def build_pod_affinity(labels: Mapping[str, str], *, is_required: bool) -> dict[str, Any]:
    """Return the rule that keeps Pods away from one another's nodes (core/v1 Affinity)."""
    term = {"topologyKey": HOST_LABEL, "labelSelector": {"matchLabels": dict(labels)}}
    if is_required:
        return {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    preferred = [{"weight": 100, "podAffinityTerm": term}]
    return {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": preferred}}


def list_service_hosts(request: ClusterRequest) -> list[pulumi.Input[str]]:
    """Return the names of the Services, without and with the namespace, for a certificate."""
    names, ends = request.service_names, ("", ".svc", ".svc.cluster.local")
    if isinstance(request.namespace, str):  # `make check` runs outside of a program, where no output can be created
        return [*names, *(f"{name}.{request.namespace}{end}" for name in names for end in ends)]
    return [*names, *(pulumi.Output.concat(name, ".", request.namespace, end) for name in names for end in ends)]
