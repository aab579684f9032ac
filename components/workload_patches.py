"""An application's workloads: its variables put into the containers of Deployments, StatefulSets and DaemonSets that are somebody else's.

What is put in belongs to this program alone (server-side apply): nothing else of a workload is touched, and all of it goes when its entry does.
Nothing here looks at the cluster: which containers there are, and what of it is theirs already, is told (`Workload`).

Each workload has two patches. One puts variables and volumes into lists, `env` and `volumes`, and there the Kubernetes provider compares by position:
beside a variable of the workload's own it would see a change in every preview. So that patch is compared only where the look at the cluster
saw that something is missing, and made to differ then. The other one, on which Pods roll, has only maps, which are compared rightly.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from operator import attrgetter
from types import MappingProxyType
from typing import Annotated, Any, Literal

import pulumi
import pulumi_kubernetes as kubernetes
import pulumi_random as random
from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from components.network_policy import APPLICATION_LABEL
from components.persisted.names import APPLICATION_TYPE, environment_secret_name, workload_resource_name
from components.spec import NonNegativeInt, SpecModel

__all__ = [
    "APPLIED_ANNOTATION",
    "CONTAINER_NAME_PATTERN",
    "WORKLOAD_NAME_PATTERN",
    "ContainerPatch",
    "PatchedWorkload",
    "VolumeMount",
    "WorkloadPatch",
    "WorkloadSpec",
    "create_patches",
    "forget_removed_workloads",
]

APPLIED_ANNOTATION = "database-groups/applied"
"""The annotation of a workload that says what was put into it last."""
CONNECTIONS_ANNOTATION = "database-groups/connections"
"""The annotation of its Pods that is another one when a value is."""
RANDOM_ID_BYTES = 8
CONTAINER_NAME_PATTERN = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
WORKLOAD_NAME_PATTERN = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"
PATCH_RESOURCE_BY_KIND: Mapping[str, Callable[..., pulumi.Resource]] = MappingProxyType(
    {
        "Deployment": kubernetes.apps.v1.DeploymentPatch,
        "StatefulSet": kubernetes.apps.v1.StatefulSetPatch,
        "DaemonSet": kubernetes.apps.v1.DaemonSetPatch,
    }
)

ContainerName = Annotated[str, Field(pattern=CONTAINER_NAME_PATTERN, max_length=63)]


def _wrap_in_tuple(value: Any) -> Any:
    """One container is a list of one."""
    return (value,) if isinstance(value, str) else value


def _reject_duplicates(names: tuple[str, ...]) -> tuple[str, ...]:
    if not names:
        raise ValueError("must not be empty")
    if len(set(names)) < len(names):
        raise ValueError("names a container twice")
    return names


class WorkloadSpec(SpecModel):
    """A workload of the application that gets its variables."""

    kind: Literal["Deployment", "StatefulSet", "DaemonSet"]
    name: Annotated[str, Field(pattern=WORKLOAD_NAME_PATTERN, max_length=253)]
    containers: (
        Annotated[
            tuple[ContainerName, ...],
            BeforeValidator(_wrap_in_tuple),
            AfterValidator(_reject_duplicates),
            WithJsonSchema(
                {
                    "anyOf": [
                        {"type": "string", "pattern": CONTAINER_NAME_PATTERN, "maxLength": 63},
                        {
                            "type": "array",
                            "items": {"type": "string", "pattern": CONTAINER_NAME_PATTERN, "maxLength": 63},
                            "minItems": 1,
                        },
                    ]
                }
            ),
        ]
        | None
    ) = None
    """The container that gets them, or a list of some. All by default."""
    rollout_seconds: NonNegativeInt | None = None
    """How long an update waits for the new Pods, 0 for not at all. Ten minutes by default."""


@dataclass(frozen=True, kw_only=True)
class VolumeMount:
    """A volume claim of a group, and where the application finds it."""

    claim: str
    path: str

    @property
    def volume(self) -> str:
        """The name of the Pod's volume."""
        return f"databases-{self.claim}"


@dataclass(frozen=True, kw_only=True)
class ContainerPatch:
    """What is put into a container."""

    name: str
    variables: tuple[str, ...]
    """Each is the key of the environment Secret too."""
    mounts: tuple[VolumeMount, ...] = ()


@dataclass(frozen=True, kw_only=True)
class WorkloadPatch:
    """What is put into a workload that exists."""

    kind: str
    name: str
    containers: tuple[ContainerPatch, ...]
    rollout_seconds: int | None = None
    applied_digest: str | None = None
    """The word that is written to APPLIED, another one than before where something is to be put in; by default the digest."""
    up_to_date: bool = False
    """Whether the cluster has all of this already."""

    @property
    def digest(self) -> str:
        """A word for what is put in: names alone, no value of a variable."""
        return hashlib.sha256(
            json.dumps([asdict(container) for container in sorted(self.containers, key=attrgetter("name"))]).encode()
        ).hexdigest()[:12]

    @property
    def mounts(self) -> list[VolumeMount]:
        """The volumes of its containers, each once."""
        return list(dict.fromkeys(mount for container in self.containers for mount in container.mounts))


@dataclass(frozen=True, kw_only=True)
class PatchedWorkload:
    """A workload into which something was put."""

    application: str
    namespace: str
    kind: str
    name: str


class _RemovedApplication(pulumi.ComponentResource):
    """`database-groups:components:Application`

    The parent of patches whose application may be gone; of its type, so that they are those that its application had.
    """

    def __init__(self, name: str) -> None:
        super().__init__(APPLICATION_TYPE, name)
        self.register_outputs({})


def forget_removed_workloads(workloads: Sequence[PatchedWorkload]) -> None:
    """Has Pulumi forget the patches of workloads that are gone.

    The provider cannot take out of a workload what was put into it when the workload is not there, and would fail. So the patches are kept for
    this update, without a look at them, and marked; when the next one does not have them they are forgotten.
    """
    if not workloads:
        return
    parent = _RemovedApplication("gone/workloads")
    for workload in workloads:
        name = workload_resource_name(workload.application, workload.kind, workload.name)
        for part in (name, f"{name}/connections"):
            PATCH_RESOURCE_BY_KIND[workload.kind](
                part,
                metadata={"name": workload.name, "namespace": workload.namespace},
                opts=pulumi.ResourceOptions(parent=parent, retain_on_delete=True, ignore_changes=["metadata", "spec"]),
            )


def create_patches(
    application: str,
    workloads: Sequence[WorkloadPatch],
    *,
    namespace: pulumi.Input[str],
    variable_values: pulumi.Input[Mapping[str, str]],
    depends_on: Sequence[pulumi.Resource],
    deleted_with: pulumi.Resource | None,
    parent: pulumi.Resource,
) -> None:
    """Puts an application's variables into its workloads, `after` what the Pods need.

    `values` are the variables' variable_values: where one changes, Pods roll. `gone_with` is what takes the workloads with it when it is deleted.

    Resources: a RandomId that is another one when a value is (of a password not even a digest may be published), and for each workload two patches.
    """
    if not workloads:
        return
    connections = random.RandomId(
        f"{application}-connections",
        byte_length=RANDOM_ID_BYTES,
        keepers=pulumi.Output.secret(variable_values),
        opts=pulumi.ResourceOptions(parent=parent),
    )
    for workload in workloads:
        name, metadata = (
            workload_resource_name(application, workload.kind, workload.name),
            {"name": workload.name, "namespace": namespace},
        )
        patch = PATCH_RESOURCE_BY_KIND[workload.kind]
        content = patch(
            name,
            metadata={**metadata, "annotations": _content_annotations(application, workload)},
            spec={"template": {"spec": _pod_spec_patch(application, workload)}},
            opts=pulumi.ResourceOptions(
                parent=parent,
                depends_on=[*depends_on],
                deleted_with=deleted_with,
                ignore_changes=["metadata.annotations", "spec"] if workload.up_to_date else None,
            ),
        )
        digest = pulumi.Output.concat(connections.hex, "-", workload.digest)
        patch(
            f"{name}/connections",
            metadata={
                **metadata,
                "annotations": {"pulumi.com/patchForce": "true", **_await_annotations(workload.rollout_seconds)},
            },
            spec={
                "template": {
                    "metadata": {
                        "labels": {APPLICATION_LABEL: application},
                        "annotations": {CONNECTIONS_ANNOTATION: digest},
                    }
                }
            },
            opts=pulumi.ResourceOptions(parent=parent, depends_on=[content], deleted_with=deleted_with),
        )


def _content_annotations(application: str, workload: WorkloadPatch) -> dict[str, str]:
    """The annotations of the patch with variables and volumes. The other one follows at once and waits for the Pods of both."""
    return {
        "pulumi.com/patchForce": "true",
        "pulumi.com/patchFieldManager": f"database-groups-{application}",
        "pulumi.com/skipAwait": "true",
        APPLIED_ANNOTATION: workload.applied_digest or workload.digest,
    }


def _await_annotations(seconds: int | None) -> dict[str, str]:
    """How long the provider waits for Pods, in the words that it knows."""
    if seconds is None:
        return {}
    return {"pulumi.com/timeoutSeconds": str(seconds)} if seconds else {"pulumi.com/skipAwait": "true"}


def _pod_spec_patch(application: str, workload: WorkloadPatch) -> dict[str, Any]:
    """What is put into the specification of its Pods (core/v1 PodSpec)."""
    secret = environment_secret_name(application)
    volumes = [{"name": mount.volume, "persistentVolumeClaim": {"claimName": mount.claim}} for mount in workload.mounts]
    return {
        "containers": [_container_patch(container, secret) for container in workload.containers],
        **({"volumes": volumes} if volumes else {}),
    }


def _container_patch(container: ContainerPatch, secret: str) -> dict[str, Any]:
    """What is put into a container (core/v1 Container): entries of `env`, since `envFrom` would take the place of the container's own."""
    mounts = [{"name": mount.volume, "mountPath": mount.path} for mount in container.mounts]
    return {
        "name": container.name,
        "env": [
            {"name": variable, "valueFrom": {"secretKeyRef": {"name": secret, "key": variable}}}
            for variable in container.variables
        ],
        **({"volumeMounts": mounts} if mounts else {}),
    }
