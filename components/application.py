"""The `Application` component: namespace, database groups, NetworkPolicy and the Secret with all variables."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from types import MappingProxyType
from typing import Annotated, Any, TypeVar

import pulumi
import pulumi_kubernetes as kubernetes
from pydantic import AfterValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from components.connection import build_environment_variables, encode_secret_data
from components.copies.alerts import RULE_TYPE, GroupAlerts, create_alerts
from components.copies.spec import GroupAddress
from components.database_group import DatabaseGroup, DatabaseGroupArgs, DatabaseGroupEntry
from components.engines import ENGINES
from components.network_policy import create_network_policy
from components.persisted.labels import (
    application_labels,
    default_pod_labels,
    network_policy_selector,
    object_metadata,
)
from components.persisted.names import (
    APPLICATION_TYPE,
    alerts_name,
    environment_secret_name,
    network_policy_name,
    network_policy_resource_name,
)
from components.persisted.outputs import ApplicationOutputs, ApplicationState, GroupSummary
from components.planned_objects import PlannedObject
from components.platform import Platform
from components.protection import Protect, ProtectSpec, is_protected, is_retained
from components.spec import DnsLabel, Labels, SpecModel, StrictBool, constrain_str, format_choices
from components.workload_patches import VolumeMount, WorkloadPatch, WorkloadSpec, create_patches

__all__ = ["Application", "ApplicationArgs", "ApplicationSpec", "create_applications", "find_copy_cycle"]


Node = TypeVar("Node")


def _validate_engine_name(name: str) -> str:
    if name not in ENGINES:
        choices = format_choices(sorted(ENGINES))
        raise PydanticCustomError("engine", "unknown engine{value}; use {choices}", {"choices": choices})
    return name


EngineName = Annotated[
    str, AfterValidator(_validate_engine_name), WithJsonSchema({"type": "string", "enum": sorted(ENGINES)})
]


GROUP_PATH_MESSAGE = "invalid group{value}; write `<engine>.<group>`"
GroupPath = Annotated[str, *constrain_str(r"[a-z]+\.[a-z]([-a-z0-9]*[a-z0-9])?", 100, "group_path", GROUP_PATH_MESSAGE)]
RETIRED_MESSAGE = "invalid name{value}; use the name of a Service or of a variable, for example `DATABASE_URL`"
RetiredName = Annotated[str, *constrain_str(r"[A-Za-z][-A-Za-z0-9_]*", 253, "retired_name", RETIRED_MESSAGE)]


class ApplicationSpec(SpecModel):
    """An application: its namespace, its Pods and its database groups."""

    namespace: DnsLabel | None = None
    """Namespace of the application. Default: the application's name."""
    create_namespace: StrictBool = True
    """Whether to create the namespace. Set `false` if it already exists. Default: `true`."""
    protect: ProtectSpec | None = None
    """Whether removing the namespace or a group is rejected (`true`), allowed with the data retained (`retain`), or
    allowed with the data deleted (`false`). Default: `true` in production, otherwise `false`."""
    pod_selector: Labels = Field(default_factory=dict)
    """Labels of the application's Pods. The NetworkPolicy allows these Pods; local servers are scheduled near them.
    Default: `app.kubernetes.io/name: <application>`."""
    network_policy: StrictBool = True
    """Whether a NetworkPolicy restricts the servers to the application's Pods. Default: `true`."""
    workloads: tuple[WorkloadSpec, ...] = ()
    """Existing workloads that receive the environment variables. Default: none."""
    database_url: GroupPath | None = None
    """Group that `DATABASE_URL` points to, as `<engine>.<group>`. Default: the only MySQL or PostgreSQL group that uses
    the short names."""
    retire: tuple[RetiredName, ...] = ()
    """Services and variables that an edit may remove from a protected application. A Service includes its variables.
    Default: none."""
    databases: Annotated[
        dict[EngineName, Annotated[dict[DnsLabel, DatabaseGroupEntry], Field(min_length=1)]], Field(min_length=1)
    ]
    """Database groups, by engine and name. At least one."""


@dataclass(frozen=True, kw_only=True)
class ServerPolicy:
    """A NetworkPolicy of servers."""

    name: str
    selector: Mapping[str, Any]
    """Selector of the servers (meta/v1 LabelSelector)."""
    operator_labels: Mapping[str, str] | None = None
    """Labels of the operator that runs them. None for single servers."""


@dataclass(frozen=True, kw_only=True)
class ApplicationArgs:
    """An application with the stack that it belongs to."""

    name: str
    spec: ApplicationSpec
    platform: Platform
    workloads: tuple[WorkloadPatch, ...] = ()
    """Patches of the workloads that exist in the cluster."""
    shares_retained_data: bool = False
    """Whether data of another application in the namespace outlives this application."""
    has_alerts: bool = False
    """Whether the cluster accepts alerts about backups."""
    readers: tuple[tuple[str, str], ...] = ()
    """Other applications that copy a group of this one, with their namespaces."""

    @property
    def namespace(self) -> str:
        """Namespace of the application."""
        return self.spec.namespace or self.name

    @property
    def protect(self) -> Protect:
        """What happens to the namespace and, by default, to the groups' data when they are removed."""
        return self.platform.production if self.spec.protect is None else self.spec.protect

    @property
    def has_retained_data(self) -> bool:
        """Whether the data of a group, or the namespace itself, outlives the application."""
        return is_retained(self.protect) or any(is_retained(group.protect) for group in self.database_groups)

    @property
    def retains_namespace(self) -> bool:
        """Whether the namespace outlives the application: the deletion of a namespace deletes the data in it."""
        return self.has_retained_data or self.shares_retained_data

    @property
    def pod_labels(self) -> Mapping[str, str]:
        """Labels of the application's Pods."""
        return self.spec.pod_selector or default_pod_labels(self.name)

    @cached_property
    def database_groups(self) -> tuple[DatabaseGroupArgs, ...]:
        """The application's groups, in the order of the stack file."""
        return tuple(
            DatabaseGroupArgs(
                application=self.name,
                namespace=self.namespace,
                engine=ENGINES[engine],
                group_name=group_name,
                is_primary=len(groups) == 1 if spec.primary is None else spec.primary,
                spec=spec,
                application_protect=self.protect,
                pod_labels=self.pod_labels,
                platform=self.platform,
            )
            for engine, groups in self.spec.databases.items()
            for group_name, spec in groups.items()
        )

    @property
    def group_alerts(self) -> tuple[GroupAlerts, ...]:
        """What the alerts of the groups with backups need."""
        return tuple(
            GroupAlerts(
                path=".".join(group.address),
                backup=group.backup_name,
                max_age_seconds=group.backup_spec.max_age_seconds,
                verification=group.verification_name,
                max_verification_age_seconds=group.backup_spec.max_verification_age_seconds,
            )
            for group in self.database_groups
            if group.repository and group.backup_spec
        )

    @property
    def source_applications(self) -> set[str]:
        """Other applications whose groups the application copies."""
        return {group.source[0] for group in self.database_groups if group.source} - {self.name}

    @cached_property
    def server_policies(self) -> tuple["ServerPolicy", ...]:
        """The NetworkPolicies: one for all single servers, and one for each cluster of servers."""
        restricted = [
            group
            for group in self.database_groups
            if self.spec.network_policy and group.spec.network_policy
            if (backend := group.server_access.backend) and backend.pod_selector
        ]
        names = [group.object_name for group in restricted if not group.server_access.operated]
        selector = network_policy_selector(self.name, names)
        policies = [ServerPolicy(name=network_policy_name(self.name), selector=selector)] if names else []
        policies += [
            ServerPolicy(
                name=group.object_name,
                selector={"matchLabels": dict(operated.labels)},
                operator_labels=operated.operator_labels,
            )
            for group in restricted
            if (operated := group.server_access.operated)
        ]
        return tuple(policies)

    @property
    def database_url_group(self) -> DatabaseGroupArgs | None:
        """The group that `DATABASE_URL` points to: `databaseUrl`, or the only primary group of a relational server.

        An engine without a server counts only where the application has no relational server.
        """
        relational = [group for group in self.database_groups if group.engine.supports_database_url]
        if self.spec.database_url:
            return next((group for group in relational if group.path == self.spec.database_url), None)
        with_server = [group for group in relational if group.engine.port is not None]
        candidates = [group for group in with_server or relational if group.is_primary]
        return candidates[0] if len(candidates) == 1 else None

    @cached_property
    def variable_names(self) -> tuple[str, ...]:
        """Names of the application's variables, which are the keys of its environment Secret."""
        names = dict.fromkeys(name for group in self.database_groups for name in group.variable_names)
        return (*names, *(["DATABASE_URL"] if self.database_url_group else []))

    @property
    def volume_mounts(self) -> tuple[VolumeMount, ...]:
        """Volume claims that the application's workloads mount."""
        return tuple(mount for group in self.database_groups if (mount := group.volume_mount))

    def list_objects(self) -> Iterator[PlannedObject]:
        """Yield the application's own Kubernetes objects, without those of its groups."""
        if self.spec.create_namespace:
            yield PlannedObject(kind="Namespace", name=self.namespace)
        yield from (PlannedObject(kind="NetworkPolicy", name=policy.name) for policy in self.server_policies)
        yield PlannedObject(kind="Secret", name=environment_secret_name(self.name))
        if self.has_alerts and self.group_alerts:
            yield PlannedObject(kind=RULE_TYPE.kind, name=alerts_name(self.name), resource_type=RULE_TYPE)

    @property
    def outputs(self) -> ApplicationOutputs:
        """Outputs of the component. They hold names only."""
        patched = {(workload.kind, workload.name) for workload in self.workloads}
        return {
            "name": self.name,
            "namespace": self.namespace,
            "createNamespace": self.spec.create_namespace,
            "secret": environment_secret_name(self.name),
            "variables": list(self.variable_names),
            "databaseUrl": self.database_url_group.path if self.database_url_group else None,
            "protect": self.protect,
            "workloads": {
                f"{workload.kind}/{workload.name}": (workload.kind, workload.name) in patched
                for workload in self.spec.workloads
            },
        }

    @property
    def output_summary(self) -> ApplicationState:
        """The application in the stack output, with its groups."""
        databases: dict[str, dict[str, GroupSummary]] = {}
        for group in self.database_groups:
            databases.setdefault(group.engine.name, {})[group.group_name] = group.output_summary
        return {**self.outputs, "databases": databases}


class Application(pulumi.ComponentResource):
    """Component `database-groups:index:Application`.

    Resources: the Namespace, unless it exists; a NetworkPolicy, if servers run in the namespace; a DatabaseGroup for
    each group; a PrometheusRule, if groups have backups and the cluster has the type; the environment Secret; for
    workloads a RandomId and two patches each.
    """

    namespace: pulumi.Output[str]
    """Name of the namespace."""
    secret_name: str
    """Name of the environment Secret."""
    service_names: list[str]
    """Names of the groups' Services."""

    groups: Mapping[GroupAddress, DatabaseGroup]
    """The application's groups."""

    def __init__(
        self,
        args: ApplicationArgs,
        opts: pulumi.ResourceOptions | None = None,
        *,
        sources: Mapping[GroupAddress, DatabaseGroup] = MappingProxyType({}),
    ) -> None:
        """Create an application. `sources` are groups of other applications."""
        super().__init__(APPLICATION_TYPE, args.name, None, opts)
        name = args.name
        namespace_resource = _create_namespace(args, parent=self) if args.spec.create_namespace else None
        self.namespace = pulumi.Output.from_input(args.namespace)
        if namespace_resource:
            self.namespace = namespace_resource.metadata.apply(lambda metadata: metadata.name or "")
        labels, stack = application_labels(name), args.platform.stack
        # A retained namespace is not deleted, so Pulumi must delete its patches and volume claims one by one.
        deleted_with = None if args.retains_namespace else namespace_resource

        policies = {
            policy.name: create_network_policy(
                network_policy_resource_name(name, policy.name),
                object_metadata(policy.name, self.namespace, labels, stack),
                application=name,
                server_selector=policy.selector,
                pod_labels=args.pod_labels,
                readers=args.readers,
                operator_labels=policy.operator_labels,
                parent=self,
            )
            for policy in args.server_policies
        }
        shared_policy = policies.get(network_policy_name(name))
        group_args = [
            replace(
                group,
                namespace=self.namespace,
                deleted_with=deleted_with,
                network_policy=policies.get(group.object_name, shared_policy),
            )
            for group in args.database_groups
        ]
        created: dict[GroupAddress, DatabaseGroup] = {}
        for group in _sort_by_source(group_args):
            source = {**sources, **created}[group.source] if group.source else None
            created[group.address] = DatabaseGroup(group, pulumi.ResourceOptions(parent=self), source=source)
        self.groups = created
        groups = [created[group.address] for group in group_args]
        self.service_names = [group.service_name for group in groups if group.service_name]

        if args.has_alerts and args.group_alerts:
            create_alerts(
                f"{name}-alerts",
                object_metadata(alerts_name(name), self.namespace, labels, stack),
                namespace=args.namespace,
                groups=args.group_alerts,
                parent=self,
            )

        connections = pulumi.Output.all(*(group.connection for group in groups))
        variables = connections.apply(lambda data: encode_secret_data(_build_environment(args, data)))
        self.secret_name = environment_secret_name(name)
        secret = kubernetes.core.v1.Secret(
            f"{name}-environment",
            metadata=object_metadata(self.secret_name, self.namespace, labels, stack),
            type="Opaque",
            data=variables,
            # The server must accept a new password before any Secret holds it, and hold its data.
            opts=pulumi.ResourceOptions(
                parent=self, depends_on=[resource for group in groups for resource in (group.secret, *group.copies)]
            ),
        )
        create_patches(
            name,
            args.workloads,
            namespace=self.namespace,
            variable_values=variables,
            depends_on=[secret, *groups],
            deleted_with=deleted_with,
            parent=self,
        )
        # The next update reads these outputs from the state, even if this update fails. Each group registers its own.
        self.register_outputs({**args.outputs})


def create_applications(applications: Iterable[ApplicationArgs]) -> None:
    """Create the applications, each after those whose groups it copies."""
    groups: dict[GroupAddress, DatabaseGroup] = {}
    remaining = {application.name: application for application in applications}
    while remaining:
        name = next(name for name, args in remaining.items() if not args.source_applications & set(remaining))
        groups |= Application(remaining.pop(name), sources=groups).groups


def find_copy_cycle(sources: Mapping[Node, Collection[Node]]) -> list[Node]:
    """Return the nodes that are on a cycle, or after one, of a graph; empty without a cycle."""
    remaining = {node: set(others) for node, others in sources.items()}
    while done := [node for node, others in remaining.items() if not others & set(remaining)]:
        for node in done:
            del remaining[node]
    return list(remaining)


def _sort_by_source(groups: Sequence[DatabaseGroupArgs]) -> list[DatabaseGroupArgs]:
    """Return the groups, each after the one that fills it."""
    remaining = {group.address: group for group in groups}
    result = []
    while remaining:
        address = next(address for address, group in remaining.items() if group.source not in remaining)
        result.append(remaining.pop(address))
    return result


def _create_namespace(args: ApplicationArgs, *, parent: pulumi.Resource) -> kubernetes.core.v1.Namespace:
    return kubernetes.core.v1.Namespace(
        f"{args.name}-namespace",
        metadata=object_metadata(args.namespace, None, application_labels(args.name), args.platform.stack),
        opts=pulumi.ResourceOptions(
            parent=parent, protect=is_protected(args.protect), retain_on_delete=args.retains_namespace
        ),
    )


def _build_environment(args: ApplicationArgs, connections: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Return the variables of all groups from the data of their connection Secrets."""
    variables: dict[str, str] = {}
    for group, data in zip(args.database_groups, connections, strict=True):
        variables |= build_environment_variables(group.engine.name, group.group_name, data, is_primary=group.is_primary)
        if group is args.database_url_group:
            variables["DATABASE_URL"] = data["uri"]
    return variables
