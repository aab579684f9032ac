"""An application: its namespace, its database groups, who may connect to them, and one Secret with the environment of them all."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import pulumi
import pulumi_kubernetes as kubernetes
from pydantic import AfterValidator, Field, WithJsonSchema

from components.connection import build_environment_variables
from components.database_group import DatabaseGroup, DatabaseGroupArgs, DatabaseGroupEntry, encode_secret_data
from components.engines import ENGINES
from components.network_policy import create_network_policy
from components.persisted.names import APPLICATION_TYPE, environment_secret_name
from components.platform import Platform, data_resource_options
from components.spec import DnsLabel, Labels, SpecModel, StrictBool
from components.workload_patches import VolumeMount, WorkloadPatch, WorkloadSpec, create_patches

__all__ = ["Application", "ApplicationArgs", "ApplicationSpec"]


def _validate_engine_name(name: str) -> str:
    if name not in ENGINES:
        raise ValueError(f"is none of {', '.join(sorted(ENGINES))}")
    return name


EngineName = Annotated[
    str, AfterValidator(_validate_engine_name), WithJsonSchema({"type": "string", "enum": sorted(ENGINES)})
]


class ApplicationSpec(SpecModel):
    """What the stack file says of an application."""

    namespace: DnsLabel | None = None
    """The application's name by default."""
    create_namespace: StrictBool = True
    """Whether the namespace is made, rather than there already."""
    protect: StrictBool | None = None
    """Whether the namespace and the groups can be taken away only after this was set to false. By default so in production."""
    pod_selector: Labels = Field(default_factory=dict)
    """Labels of the application's Pods, which its servers let in and local ones are near to; by default `app.kubernetes.io/name: <application>`."""
    network_policy: StrictBool = True
    """Whether its servers let in nobody but the Pods of the application."""
    workloads: tuple[WorkloadSpec, ...] = ()
    """What gets its variables put into its containers."""
    databases: Annotated[
        dict[EngineName, Annotated[dict[DnsLabel, DatabaseGroupEntry], Field(min_length=1)]], Field(min_length=1)
    ]
    """Database groups by engine and name."""


@dataclass(frozen=True, kw_only=True)
class ApplicationArgs:
    """An application in its stack."""

    name: str
    spec: ApplicationSpec
    platform: Platform
    workloads: tuple[WorkloadPatch, ...] = ()
    """Those of the specification's workloads that can be given their variables."""

    @property
    def namespace(self) -> str:
        """The namespace that the application owns."""
        return self.spec.namespace or self.name

    @property
    def protected(self) -> bool:
        """Whether the namespace must outlive any change of the stack file, and its groups unless they say otherwise."""
        return self.platform.production if self.spec.protect is None else self.spec.protect

    @property
    def pod_labels(self) -> Mapping[str, str]:
        """Labels of the application's Pods."""
        return self.spec.pod_selector or {"app.kubernetes.io/name": self.name}

    def servers_with_network_policy(self) -> list[str]:
        """The servers in the cluster that let in nobody but the application, by name."""
        runs_here = (
            group
            for group in self.database_groups()
            if (backend := group.server_access.backend) and backend.pod_selector
        )
        return [group.object_name for group in runs_here if self.spec.network_policy and group.spec.network_policy]

    def database_groups(self, namespace: pulumi.Input[str] | None = None) -> Iterator[DatabaseGroupArgs]:
        """The application's groups, in the order of the stack file, in its namespace."""
        for engine, groups in self.spec.databases.items():
            for group, spec in groups.items():
                yield DatabaseGroupArgs(
                    application=self.name,
                    namespace=namespace or self.namespace,
                    engine=ENGINES[engine],
                    group_name=group,
                    is_primary=spec.primary or len(groups) == 1,
                    spec=spec,
                    application_protect=self.protected,
                    pod_labels=self.pod_labels,
                    platform=self.platform,
                )

    def database_url_group(self) -> DatabaseGroupArgs | None:
        """The group that DATABASE_URL stands for: the one relational group with default names, where there is just one.

        A file counts only where no relational server does: whoever has both keeps the file for something else.
        """
        relational = [group for group in self.database_groups() if group.engine.supports_database_url]
        servers = [group for group in relational if group.engine.port is not None]
        candidates = [group for group in servers or relational if group.is_primary]
        return candidates[0] if len(candidates) == 1 else None

    def variable_names(self) -> tuple[str, ...]:
        """The names of the application's variables, the keys of its environment Secret."""
        names = dict.fromkeys(name for group in self.database_groups() for name in group.variable_names())
        return (*names, *(["DATABASE_URL"] if self.database_url_group() else []))

    def volume_mounts(self) -> tuple[VolumeMount, ...]:
        """The volume claims that the application's workloads mount."""
        return tuple(mount for group in self.database_groups() if (mount := group.volume_mount()))

    def output_summary(self) -> dict[str, Any]:
        """What the stack output says of the application: names only."""
        databases: dict[str, dict[str, Any]] = {}
        for group in self.database_groups():
            databases.setdefault(group.engine.name, {})[group.group_name] = group.output_summary()
        patched = {(workload.kind, workload.name) for workload in self.workloads}
        workloads = {
            f"{workload.kind}/{workload.name}": (workload.kind, workload.name) in patched
            for workload in self.spec.workloads
        }
        return {
            "namespace": self.namespace,
            "secret": environment_secret_name(self.name),
            "protected": self.protected,
            "workloads": workloads,
            "databases": databases,
        }


class Application(pulumi.ComponentResource):
    """`database-groups:components:Application`

    Resources: the Namespace, if it is to be made; a NetworkPolicy, if servers run in it; a DatabaseGroup for each group; the environment Secret;
    for workloads a RandomId, and two patches each.
    """

    def __init__(self, name: str, args: ApplicationArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(APPLICATION_TYPE, name, None, opts)
        namespace: pulumi.Input[str] = args.namespace
        namespace_resource: kubernetes.core.v1.Namespace | None = None
        if args.spec.create_namespace:
            namespace_resource = kubernetes.core.v1.Namespace(
                f"{name}-namespace",
                metadata={"name": args.namespace, "labels": _application_labels(args)},
                opts=data_resource_options(self, protected=args.protected),
            )
            namespace = namespace_resource.metadata.apply(lambda metadata: metadata.name or "")

        if servers := args.servers_with_network_policy():
            create_network_policy(
                f"{name}-network-policy",
                application=name,
                namespace=namespace,
                labels=_application_labels(args),
                server_names=servers,
                pod_labels=args.pod_labels,
                parent=self,
            )
        groups = [
            (group, DatabaseGroup(group.resource_name, group, pulumi.ResourceOptions(parent=self)))
            for group in args.database_groups(namespace)
        ]

        url_group = args.database_url_group()
        url_group_name = url_group.resource_name if url_group else None

        def build_environment(connections: list[Mapping[str, str]]) -> dict[str, str]:
            variables: dict[str, str] = {}
            for (group, _), keys in zip(groups, connections, strict=True):
                variables |= build_environment_variables(
                    group.engine.name, group.group_name, keys, is_primary=group.is_primary
                )
                if group.resource_name == url_group_name:
                    variables["DATABASE_URL"] = keys["uri"]
            return encode_secret_data(variables)

        variables = pulumi.Output.all(*(group.connection for _, group in groups)).apply(build_environment)
        secret = kubernetes.core.v1.Secret(
            f"{name}-environment",
            metadata={
                "name": environment_secret_name(args.name),
                "namespace": namespace,
                "labels": _application_labels(args),
            },
            type="Opaque",
            data=variables,
            opts=pulumi.ResourceOptions(parent=self),
        )
        create_patches(
            name,
            args.workloads,
            namespace=namespace,
            variable_values=variables,
            depends_on=[secret, *(group for _, group in groups)],
            # A namespace that outlives the stack keeps its workloads, which are then to lose what was put into them.
            deleted_with=None if args.protected else namespace_resource,
            parent=self,
        )
        # What the next update knows of this one, whatever becomes of it; the groups tell of themselves.
        self.register_outputs(
            {"name": name, **{key: value for key, value in args.output_summary().items() if key != "databases"}}
        )


def _application_labels(args: ApplicationArgs) -> dict[str, str]:
    return {"app.kubernetes.io/part-of": args.name, "app.kubernetes.io/managed-by": "database-groups"}
