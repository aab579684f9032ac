"""What all groups of a stack share: environment, database nodes and external servers."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal, Protocol, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from components.copies.backup_spec import BackupSpec
from components.copies.stores import Store
from components.engines.clusters.definition import EngineCluster
from components.external_servers import ExternalServer
from components.spec import LabelKey, Labels, LabelValue, NonNegativeInt, SpecModel

__all__ = [
    "ClusterMonitor",
    "FailureReporter",
    "NodePoolSpec",
    "OperatedCluster",
    "PasswordChanger",
    "Platform",
    "ServerAddress",
    "TolerationSpec",
]


class TolerationSpec(SpecModel):
    """A toleration of the servers' Pods (core/v1 Toleration)."""

    key: LabelKey | None = None
    """Key of the taint. Required unless the operator is `Exists`."""
    operator: Literal["Equal", "Exists"] = "Equal"
    """`Equal` compares the value; `Exists` ignores it. Default: `Equal`."""
    value: LabelValue | None = None
    """Value of the taint. Not allowed with the operator `Exists`."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """Effect of the taint. Default: every effect."""
    toleration_seconds: NonNegativeInt | None = None
    """Seconds that a Pod stays on a node after a `NoExecute` taint appears. Default: no limit."""

    @model_validator(mode="after")
    def _validate_operator(self) -> Self:
        if self.operator == "Exists" and self.value is not None:
            raise PydanticCustomError(
                "toleration", "`value` is not supported with the operator `Exists`; remove `value`"
            )
        if self.operator == "Equal" and self.key is None:
            raise PydanticCustomError("toleration", "`key` is missing; set it, or use the operator `Exists`")
        if self.toleration_seconds is not None and self.effect != "NoExecute":
            raise PydanticCustomError("toleration", "`tolerationSeconds` needs `effect: NoExecute`; set it")
        return self


class NodePoolSpec(SpecModel):
    """The nodes of dedicated servers."""

    node_selector: Labels = Field(default_factory=dict)
    """Labels of the nodes. Default: any node."""
    tolerations: tuple[TolerationSpec, ...] = ()
    """Tolerations of the servers for the nodes' taints. Default: none."""


@dataclass(frozen=True, kw_only=True)
class ServerAddress:
    """Where a server runs in the cluster."""

    location: tuple[str, ...]
    """Location of its group in the stack file."""
    namespace: str
    name: str
    """Name of the StatefulSet."""
    container: str
    password_script: str | None = None
    """Text of the script that changes the password of a cluster, which a restart does not change. None: the server has
    the script."""


class FailureReporter(Protocol):
    """Explains a failure in the cluster, in resource hooks. Every method blocks."""

    def describe_failure(self, server: ServerAddress, secrets: Collection[str]) -> str | None:
        """Return why a server is not ready, without the secrets; None without an own explanation."""


class PasswordChanger(Protocol):
    """Changes passwords of servers in the cluster, in resource hooks. Every method blocks."""

    def change_password(self, server: ServerAddress, old: str, new: str) -> str | None:
        """Run the server's script `change_password`. Return why it cannot run in the Pod; None if it succeeded.

        Raises an exception without passwords if the script failed.
        """

    def restart_server(self, server: ServerAddress) -> None:
        """Let the StatefulSet replace the Pod. Raises an exception if the cluster rejects it."""


@dataclass(frozen=True, kw_only=True)
class OperatedCluster:
    """A cluster of servers that an operator runs, for the wait until it is ready."""

    location: tuple[str, ...]
    """Location of its group in the stack file."""
    namespace: str
    name: str
    """Name of the custom resource."""
    account_secret: str
    """Name of the Secret with the account."""
    account_version: str
    """Resource version of the Secret with the account."""
    engine: EngineCluster
    check_script: str | None = None
    """Text of the script that fails unless the servers are one cluster."""
    timeout_minutes: int


class ClusterMonitor(Protocol):
    """Waits for clusters. Every method blocks."""

    def wait_until_ready(self, cluster: OperatedCluster, *, is_changed: bool) -> None:
        """Return when the cluster is ready.

        `is_changed` is whether this update has changed it: its status can be the old one for some seconds. Raises
        pulumi.RunError with the operator's message after the time limit.
        """

    def read_ca_bundle(self, cluster: OperatedCluster, secret: str) -> str | None:
        """Return the certificates of a Secret that sign those of the servers; None if they do not exist yet."""


@dataclass(frozen=True, kw_only=True)
class Platform:
    """What all groups of a stack share."""

    stack: str = ""
    """`<organization>/<project>/<stack>`: the program annotates every object with it."""
    production: bool = False
    database_nodes: NodePoolSpec = field(default_factory=NodePoolSpec)
    external_servers: Mapping[str, ExternalServer] = field(default_factory=lambda: MappingProxyType({}))
    backup: BackupSpec | None = None
    """The backups of groups without an own `backup`. None: no backups."""
    backup_stores: Mapping[str, Store] = field(default_factory=lambda: MappingProxyType({}))
    restore_all: str | None = None
    """The backup that fills every group with backups: `latest`, or a time. None: no restore."""
    failure_reporter: FailureReporter | None = None
    """None for a run without a cluster: servers then have no hooks."""
    password_changer: PasswordChanger | None = None
    """None for a run without a cluster: connection Secrets of servers then have no hooks."""
    cluster_monitor: ClusterMonitor | None = None
    """None for a run without a cluster: the program then waits for no cluster of servers."""
