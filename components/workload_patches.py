"""Patches that inject an application's variables into existing Deployments, StatefulSets and DaemonSets.

The patches use server-side apply with an own field manager. They change no other field, and removing the entry of the
stack file removes the patched fields. This module does not read the cluster: its caller passes what exists.

Each workload gets two patches. The first adds variables and volumes to the lists `env` and `volumes`. The Kubernetes
provider compares lists by position, so next to the workload's own entries each preview would show a change. Pulumi
therefore compares this patch only when a field is missing in the cluster. The second patch restarts the Pods. It
contains only maps, which the provider compares correctly.
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
from pydantic import AfterValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from components.persisted.labels import APPLICATION_LABEL, APPLIED_ANNOTATION, CONNECTIONS_ANNOTATION, field_manager
from components.persisted.names import (
    APPLICATION_TYPE,
    REMOVED_WORKLOADS,
    environment_secret_name,
    workload_resource_name,
)
from components.spec import NonNegativeInt, SpecModel, constrain_str

__all__ = [
    "ContainerPatch",
    "PatchedWorkload",
    "VolumeMount",
    "WorkloadPatch",
    "WorkloadSpec",
    "create_patches",
    "forget_removed_workloads",
]

RANDOM_ID_BYTES = 8
CONTAINER_NAME_PATTERN = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
WORKLOAD_NAME_PATTERN = r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?"
NAME_MESSAGE = "invalid Kubernetes name{value}; use lower-case letters, digits and '-'"
PATCH_RESOURCE_BY_KIND: Mapping[str, Callable[..., pulumi.Resource]] = MappingProxyType(
    {
        "Deployment": kubernetes.apps.v1.DeploymentPatch,
        "StatefulSet": kubernetes.apps.v1.StatefulSetPatch,
        "DaemonSet": kubernetes.apps.v1.DaemonSetPatch,
    }
)

ContainerName = Annotated[str, *constrain_str(CONTAINER_NAME_PATTERN, 63, "container_name", NAME_MESSAGE)]
WorkloadName = Annotated[
    str, *constrain_str(WORKLOAD_NAME_PATTERN, 253, "workload_name", f"{NAME_MESSAGE} (workload names also '.')")
]


def _reject_duplicates(names: tuple[str, ...]) -> tuple[str, ...]:
    if not names:
        raise PydanticCustomError("empty", "the list is empty; add a container, or remove the key for all containers")
    if len(set(names)) < len(names):
        raise PydanticCustomError("duplicate", "the same container occurs twice; remove one")
    return names


class WorkloadSpec(SpecModel):
    """An existing workload that receives the application's environment variables."""

    kind: Literal["Deployment", "StatefulSet", "DaemonSet"]
    """Kind of the workload. In a Job or CronJob reference the Secret with `envFrom` instead."""
    name: WorkloadName
    """Name of the workload in the application's namespace."""
    containers: (
        Annotated[
            tuple[ContainerName, ...],
            AfterValidator(_reject_duplicates),
            WithJsonSchema(
                {
                    "type": "array",
                    "items": {"type": "string", "pattern": f"^{CONTAINER_NAME_PATTERN}$", "maxLength": 63},
                    "minItems": 1,
                    "uniqueItems": True,
                }
            ),
        ]
        | None
    ) = None
    """Containers that receive the variables. Default: all containers."""
    rollout_seconds: NonNegativeInt | None = None
    """Seconds that an update waits for the new Pods; `0`: it does not wait. Default: `600`."""


@dataclass(frozen=True, kw_only=True)
class VolumeMount:
    """A group's volume claim and the path where the application mounts it."""

    claim: str
    path: str

    @property
    def volume(self) -> str:
        """The name of the Pod's volume."""
        return f"databases-{self.claim}"


@dataclass(frozen=True, kw_only=True)
class ContainerPatch:
    """The fields that the program adds to a container."""

    name: str
    variables: tuple[str, ...]
    """Names of the variables, which are the keys of the environment Secret."""
    mounts: tuple[VolumeMount, ...] = ()


@dataclass(frozen=True, kw_only=True)
class WorkloadPatch:
    """The fields that the program adds to an existing workload."""

    kind: str
    name: str
    containers: tuple[ContainerPatch, ...]
    rollout_seconds: int | None = None
    applied_digest: str | None = None
    """Value of APPLIED_ANNOTATION. Another value applies the patch again. Default: the digest."""
    up_to_date: bool = False
    """Whether the cluster already has all fields."""

    @property
    def digest(self) -> str:
        """A digest of the names in the patch. It depends on no variable's value."""
        containers = [asdict(container) for container in sorted(self.containers, key=attrgetter("name"))]
        return hashlib.sha256(json.dumps(containers).encode()).hexdigest()[:12]

    @property
    def mounts(self) -> list[VolumeMount]:
        """The volume mounts of all containers, each once."""
        return list(dict.fromkeys(mount for container in self.containers for mount in container.mounts))


@dataclass(frozen=True, kw_only=True)
class PatchedWorkload:
    """A workload that an earlier update patched."""

    application: str
    namespace: str
    kind: str
    name: str


class _RemovedApplication(pulumi.ComponentResource):
    """Component `database-groups:index:Application`.

    It is the parent of patches whose application may be removed. It has the type of an application, because a
    resource's URN contains its parent's type.
    """

    def __init__(self, name: str) -> None:
        super().__init__(APPLICATION_TYPE, name)
        self.register_outputs({})


def forget_removed_workloads(workloads: Sequence[PatchedWorkload]) -> None:
    """Remove the patches of deleted workloads from the state without calling the provider.

    The provider cannot delete a patch whose workload was deleted. This update therefore only marks the patches as
    retained; the next update, which does not register them, forgets them.
    """
    if not workloads:
        return
    parent = _RemovedApplication(REMOVED_WORKLOADS)
    for workload in workloads:
        name = workload_resource_name(workload.application, workload.kind, workload.name)
        for patch_name in (name, f"{name}/connections"):
            PATCH_RESOURCE_BY_KIND[workload.kind](
                patch_name,
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
    """Inject an application's variables into its workloads.

    A change of `variable_values` restarts the Pods. The patches wait for `depends_on`; they disappear with
    `deleted_with`, the namespace. Resources: a RandomId that changes with a value (a digest of a password must not be
    published), and two patches for each workload.
    """
    if not workloads:
        return
    values_id = random.RandomId(
        f"{application}-connections",
        byte_length=RANDOM_ID_BYTES,
        keepers=pulumi.Output.secret(variable_values),
        opts=pulumi.ResourceOptions(parent=parent),
    )
    for workload in workloads:
        name = workload_resource_name(application, workload.kind, workload.name)
        metadata = {"name": workload.name, "namespace": namespace}
        create_patch = PATCH_RESOURCE_BY_KIND[workload.kind]
        fields_patch = create_patch(
            name,
            metadata={**metadata, "annotations": _build_fields_annotations(application, workload)},
            spec={"template": {"spec": _build_pod_spec_patch(application, workload)}},
            opts=pulumi.ResourceOptions(
                parent=parent,
                depends_on=[*depends_on],
                deleted_with=deleted_with,
                ignore_changes=["metadata.annotations", "spec"] if workload.up_to_date else None,
            ),
        )
        digest = pulumi.Output.concat(values_id.hex, "-", workload.digest)
        pod_metadata = {
            "labels": {APPLICATION_LABEL: application},
            "annotations": {CONNECTIONS_ANNOTATION: digest},
        }
        create_patch(
            f"{name}/connections",
            metadata={
                **metadata,
                "annotations": {"pulumi.com/patchForce": "true", **_build_await_annotations(workload.rollout_seconds)},
            },
            spec={"template": {"metadata": pod_metadata}},
            opts=pulumi.ResourceOptions(parent=parent, depends_on=[fields_patch], deleted_with=deleted_with),
        )


def _build_fields_annotations(application: str, workload: WorkloadPatch) -> dict[str, str]:
    """Return the annotations of the first patch. It does not wait: the second patch waits for the Pods of both."""
    return {
        "pulumi.com/patchForce": "true",
        "pulumi.com/patchFieldManager": field_manager(application),
        "pulumi.com/skipAwait": "true",
        APPLIED_ANNOTATION: workload.applied_digest or workload.digest,
    }


def _build_await_annotations(seconds: int | None) -> dict[str, str]:
    """Return the provider's annotations for the time that it waits for Pods."""
    if seconds is None:
        return {}
    return {"pulumi.com/timeoutSeconds": str(seconds)} if seconds else {"pulumi.com/skipAwait": "true"}


def _build_pod_spec_patch(application: str, workload: WorkloadPatch) -> dict[str, Any]:
    """Return the fields of the Pod's specification (core/v1 PodSpec)."""
    secret = environment_secret_name(application)
    containers = [_build_container_patch(container, secret) for container in workload.containers]
    volumes = [{"name": mount.volume, "persistentVolumeClaim": {"claimName": mount.claim}} for mount in workload.mounts]
    return {"containers": containers, **({"volumes": volumes} if volumes else {})}


def _build_container_patch(container: ContainerPatch, secret: str) -> dict[str, Any]:
    """Return the fields of a container (core/v1 Container): `env`, because `envFrom` would replace the container's."""
    mounts = [{"name": mount.volume, "mountPath": mount.path} for mount in container.mounts]
    env = [
        {"name": variable, "valueFrom": {"secretKeyRef": {"name": secret, "key": variable}}}
        for variable in container.variables
    ]
    return {"name": container.name, "env": env, **({"volumeMounts": mounts} if mounts else {})}
