"""The workloads of a stack: which of them exist in the cluster, and the patches that they need."""

import dataclasses
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import pulumi

from components.application import ApplicationArgs
from components.persisted.labels import APPLIED_ANNOTATION
from components.persisted.names import environment_secret_name
from components.workload_patches import ContainerPatch, PatchedWorkload, WorkloadPatch, WorkloadSpec
from preflight.cluster_client import ClusterConfig
from preflight.errors import ClusterError
from preflight.workload_reader import (
    ObservedContainer,
    ObservedWorkload,
    WorkloadKey,
    read_workloads,
)
from stacks.config import Stack
from stacks.errors import ConfigIssue, Location
from stacks.previous_state import PreviousState

__all__ = ["resolve_workloads"]

Observations: TypeAlias = Mapping[WorkloadKey, ObservedWorkload | None]
WorkloadReader: TypeAlias = Callable[[Collection[WorkloadKey], ClusterConfig], Observations]
PatchesByApplication: TypeAlias = Mapping[str, list[WorkloadPatch]]


@dataclass(frozen=True)
class _WorkloadEntry:
    """An entry of `workloads` in the stack file."""

    application: ApplicationArgs
    location: Location
    spec: WorkloadSpec

    @property
    def key(self) -> WorkloadKey:
        """Namespace, kind and name of the workload."""
        return WorkloadKey(self.application.namespace, self.spec.kind, self.spec.name)

    def __str__(self) -> str:
        return f"{self.spec.kind} {self.spec.name!r}"


def resolve_workloads(
    stack: Stack, cluster: ClusterConfig | None, previous: PreviousState, reader: WorkloadReader = read_workloads
) -> Stack:
    """Return the stack with patches for its existing workloads, warnings for the others, and the removed workloads.

    Without a cluster (`cluster` is None) the workloads whose containers are listed count as existing. Raises
    pulumi.RunError if the cluster cannot be read.
    """
    entries = [
        _WorkloadEntry(application, ("applications", application.name, "workloads", number), spec)
        for application in stack.applications
        for number, spec in enumerate(application.spec.workloads)
    ]
    patched = list(_list_patched_workloads(previous))
    keys = dict.fromkeys([*(entry.key for entry in entries), *map(_get_workload_key, patched)])
    if not keys:
        return stack
    if cluster:
        observed = _read_workloads(keys, cluster, reader)
    else:
        observed = {entry.key: _assume_workload(entry.spec) for entry in entries}
    patches: dict[str, list[WorkloadPatch]] = {}
    issues: list[ConfigIssue] = []
    for entry in entries:
        workload = observed[entry.key]
        issues += _list_warnings(entry, workload) if cluster else ()
        if workload and (containers := tuple(_build_container_patches(entry, workload))):
            patches.setdefault(entry.application.name, []).append(_build_workload_patch(entry, workload, containers))
    removed = [old for old in patched if cluster and not observed[_get_workload_key(old)]]
    return dataclasses.replace(
        stack,
        applications=tuple(
            dataclasses.replace(application, workloads=tuple(patches.get(application.name, ())))
            for application in stack.applications
        ),
        warnings=(*stack.warnings, *_format_warnings(stack, issues)),
        removed_workloads=tuple(old for old in removed if not _is_still_patched(patches, old)),
    )


def _format_warnings(stack: Stack, issues: Iterable[ConfigIssue]) -> Iterator[str]:
    yield from (stack.source.format_warning(issue) for issue in issues)


def _get_workload_key(workload: PatchedWorkload) -> WorkloadKey:
    return WorkloadKey(workload.namespace, workload.kind, workload.name)


def _list_patched_workloads(previous: PreviousState) -> Iterator[PatchedWorkload]:
    """Yield the workloads that the last update patched."""
    for application, old in previous.items():
        for workload, is_patched in old.get("workloads", {}).items():
            kind, _, name = workload.partition("/")
            if is_patched:
                yield PatchedWorkload(application=application, namespace=old["namespace"], kind=kind, name=name)


def _is_still_patched(patches: PatchesByApplication, old: PatchedWorkload) -> bool:
    """Return whether this update patches a workload of that name, in whatever namespace."""
    return any((old.kind, old.name) == (patch.kind, patch.name) for patch in patches.get(old.application, ()))


def _read_workloads(keys: Collection[WorkloadKey], cluster: ClusterConfig, reader: WorkloadReader) -> Observations:
    try:
        return reader(keys, cluster)
    except ClusterError as error:
        raise pulumi.RunError(f"cannot read the workloads of the stack; nothing was changed: {error}") from None


def _assume_workload(spec: WorkloadSpec) -> ObservedWorkload | None:
    """Return a workload with the listed containers, for a run without a cluster."""
    if not spec.containers:
        return None
    containers = {name: ObservedContainer() for name in spec.containers}
    return ObservedWorkload(revision="", annotations={}, containers=containers)


def _list_warnings(entry: _WorkloadEntry, workload: ObservedWorkload | None) -> Iterator[ConfigIssue]:
    """Yield a warning for each part of an entry that cannot be patched."""
    if workload is None:
        yield ConfigIssue(
            entry.location,
            f"{entry} not found in namespace {entry.application.namespace!r}; deploy it, then run `make up` again to"
            " inject the variables",
        )
        return
    for name in entry.spec.containers or ():
        if name not in workload.containers:
            names = ", ".join(sorted(workload.containers))
            message = f"{entry} has no container {name!r}; its containers: {names}"
            yield ConfigIssue((*entry.location, "containers"), message)
    for container in _build_container_patches(entry, workload):
        variables = sorted({*entry.application.variable_names} - {*container.variables})
        mounts = sorted(mount.path for mount in entry.application.volume_mounts if mount not in container.mounts)
        if variables or mounts:
            yield ConfigIssue(
                entry.location,
                f"container {container.name!r} of {entry} already defines {', '.join([*variables, *mounts])}; the"
                " program does not overwrite it. Remove it from the manifest, deploy, then run `make up`",
            )


def _build_container_patches(entry: _WorkloadEntry, workload: ObservedWorkload) -> Iterator[ContainerPatch]:
    """Yield the patches of the listed containers, without the variables and mounts that a container defines itself."""
    application = entry.application
    for name, container in workload.containers.items():
        if entry.spec.containers is None or name in entry.spec.containers:
            variables = tuple(
                variable
                for variable in application.variable_names
                if container.variables.get(variable, ()) in ((), _get_secret_key_ref(entry, variable))
            )
            mounts = tuple(
                mount
                for mount in application.volume_mounts
                if container.mounts.get(mount.path, mount.volume) == mount.volume
            )
            yield ContainerPatch(name=name, variables=variables, mounts=mounts)


def _get_secret_key_ref(entry: _WorkloadEntry, variable: str) -> tuple[str, str]:
    """Return the Secret and the key of an injected variable."""
    return environment_secret_name(entry.application.name), variable


def _build_workload_patch(
    entry: _WorkloadEntry, workload: ObservedWorkload, containers: tuple[ContainerPatch, ...]
) -> WorkloadPatch:
    """Return the patch of a workload, and whether the workload already has all of its fields."""
    patch = WorkloadPatch(
        kind=entry.spec.kind, name=entry.spec.name, containers=containers, rollout_seconds=entry.spec.rollout_seconds
    )
    digest, _, revision = workload.annotations.get(APPLIED_ANNOTATION, "").partition("-")
    is_same = (digest, revision.partition(".")[0]) == (patch.digest, workload.revision.partition(".")[0])
    up_to_date = (_is_up_to_date(entry, workload.containers[container.name], container) for container in containers)
    if is_same and all(up_to_date):
        return dataclasses.replace(patch, applied_digest=workload.annotations[APPLIED_ANNOTATION], up_to_date=True)
    applied_digest = f"{patch.digest}-{workload.revision}" if workload.revision else None
    return dataclasses.replace(patch, applied_digest=applied_digest)


def _is_up_to_date(entry: _WorkloadEntry, container: ObservedContainer, patch: ContainerPatch) -> bool:
    """Return whether a container has every field of its patch."""
    variables = (container.variables.get(name) == _get_secret_key_ref(entry, name) for name in patch.variables)
    mounts = (container.mounts.get(mount.path) == mount.volume for mount in patch.mounts)
    return all(variables) and all(mounts)
