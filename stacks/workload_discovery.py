"""From the workloads of a stack file to what is put into those that the cluster has. The look at the cluster is `preflight`'s."""

import dataclasses
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass

import pulumi

from components.application import ApplicationArgs
from components.persisted.names import environment_secret_name
from components.workload_patches import APPLIED_ANNOTATION, ContainerPatch, PatchedWorkload, WorkloadPatch, WorkloadSpec
from preflight.cluster import ClusterError, ClusterKeys, Found, FoundContainer, Place, look
from stacks.config import Stack
from stacks.errors import ConfigIssue
from stacks.previous_state import PreviousState

__all__ = ["resolve_workloads"]

WorkloadReader = Callable[[Collection[Place], ClusterKeys], Mapping[Place, Found | None]]


def resolve_workloads(
    stack: Stack, keys: ClusterKeys | None, previous: PreviousState, reader: WorkloadReader = look
) -> Stack:
    """The stack with those of its workloads that the cluster has, a warning for each of the others, and those that are gone.

    `previous` is what the stack was at its last update.
    Without a cluster (`keys` is None) those whose containers are named are taken to be there. Raises pulumi.RunError where the cluster
    cannot be looked at.
    """
    wanted = [
        _WorkloadEntry(application, f"applications.{application.name}.workloads[{number}]", spec)
        for application in stack.applications
        for number, spec in enumerate(application.spec.workloads)
    ]
    patched = list(_previously_patched(previous))
    places = dict.fromkeys(
        [*(entry.place for entry in wanted), *((old.namespace, old.kind, old.name) for old in patched)]
    )
    if not places:
        return stack
    found = (
        _read_workloads(places, keys, reader)
        if keys
        else {entry.place: _assume_workload(entry.spec) for entry in wanted}
    )
    workloads: dict[str, list[WorkloadPatch]] = {}
    notes: list[ConfigIssue] = []
    for entry in wanted:
        there = found[entry.place]
        notes += _warnings(entry, there) if keys else ()
        if there and (containers := tuple(_container_patches(entry, there))):
            workloads.setdefault(entry.application.name, []).append(_workload_patch(entry, there, containers))
    return dataclasses.replace(
        stack,
        applications=tuple(
            dataclasses.replace(application, workloads=tuple(workloads.get(application.name, ())))
            for application in stack.applications
        ),
        warnings=(*stack.warnings, *map(str, notes)),
        removed_workloads=tuple(
            old
            for old in patched
            if keys and not found[old.namespace, old.kind, old.name] and not _is_still_patched(workloads, old)
        ),
    )


def _previously_patched(previous: PreviousState) -> Iterator[PatchedWorkload]:
    """The workloads that the last update put something into."""
    for application, old in previous.items():
        for workload, given in old.get("workloads", {}).items():
            kind, _, name = workload.partition("/")
            if given:
                yield PatchedWorkload(application=application, namespace=old["namespace"], kind=kind, name=name)


def _is_still_patched(workloads: Mapping[str, Collection[WorkloadPatch]], old: PatchedWorkload) -> bool:
    """Whether a workload of that name, in another namespace, is given its variables now."""
    return any(
        (old.kind, old.name) == (workload.kind, workload.name) for workload in workloads.get(old.application, ())
    )


@dataclass(frozen=True)
class _WorkloadEntry:
    """An entry of the stack file in its place."""

    application: ApplicationArgs
    path: str
    spec: WorkloadSpec

    @property
    def place(self) -> Place:
        return self.application.namespace, self.spec.kind, self.spec.name

    def __str__(self) -> str:
        return f"the {self.spec.kind} {self.spec.name!r}"


def _read_workloads(
    places: Collection[Place], keys: ClusterKeys, read_workloads: WorkloadReader
) -> Mapping[Place, Found | None]:
    try:
        return read_workloads(places, keys)
    except ClusterError as error:
        raise pulumi.RunError(
            f"the workloads of the stack cannot be looked for, and nothing was changed: {error}"
        ) from None


def _assume_workload(spec: WorkloadSpec) -> Found | None:
    """A workload as it would be where there is no cluster to ask."""
    return (
        Found(revision="", annotations={}, containers={name: FoundContainer() for name in spec.containers})
        if spec.containers
        else None
    )


def _warnings(entry: _WorkloadEntry, found: Found | None) -> Iterator[ConfigIssue]:
    """What of an entry cannot be done."""
    if found is None:
        yield ConfigIssue(
            entry.path,
            f"there is no {entry.spec.kind} {entry.spec.name!r} in the namespace {entry.application.namespace!r}, so nothing gets variables;"
            " deploy it, then run pulumi up again",
        )
        return
    for name in entry.spec.containers or ():
        if name not in found.containers:
            yield ConfigIssue(
                f"{entry.path}.container",
                f"{entry} has no container {name!r}; it has {', '.join(sorted(found.containers))}",
            )
    for container in _container_patches(entry, found):
        conflicting = sorted({*entry.application.variable_names()} - {*container.variables})
        conflicting += sorted(
            mount.path for mount in entry.application.volume_mounts() if mount not in container.mounts
        )
        if conflicting:
            yield ConfigIssue(
                entry.path,
                f"the container {container.name!r} of {entry} has {', '.join(conflicting)} of its own, and keeps that; take it out of the manifest"
                " to have the application's, then run pulumi up again",
            )


def _container_patches(entry: _WorkloadEntry, found: Found) -> Iterator[ContainerPatch]:
    """What is put into the containers that are named and there: all but what the workload sets itself."""
    for name, observed in found.containers.items():
        if entry.spec.containers is None or name in entry.spec.containers:
            variables = tuple(
                variable
                for variable in entry.application.variable_names()
                if observed.variables.get(variable, ()) in ((), _secret_key_ref(entry, variable))
            )
            mounts = tuple(
                mount
                for mount in entry.application.volume_mounts()
                if observed.mounts.get(mount.path, mount.volume) == mount.volume
            )
            yield ContainerPatch(name=name, variables=variables, mounts=mounts)


def _secret_key_ref(entry: _WorkloadEntry, variable: str) -> tuple[str, str]:
    """Where a variable comes from that was put in."""
    return environment_secret_name(entry.application.name), variable


def _workload_patch(entry: _WorkloadEntry, found: Found, containers: tuple[ContainerPatch, ...]) -> WorkloadPatch:
    """What is put into a workload, and whether it is there already: as the annotation has it, and none of it taken out since."""
    workload = WorkloadPatch(
        kind=entry.spec.kind, name=entry.spec.name, containers=containers, rollout_seconds=entry.spec.rollout_seconds
    )
    digest, _, revision = found.annotations.get(APPLIED_ANNOTATION, "").partition("-")
    same = (digest, revision.partition(".")[0]) == (workload.digest, found.revision.partition(".")[0])
    if same and all(_is_up_to_date(entry, found.containers[container.name], container) for container in containers):
        return dataclasses.replace(workload, applied_digest=found.annotations[APPLIED_ANNOTATION], up_to_date=True)
    return dataclasses.replace(
        workload, applied_digest=f"{workload.digest}-{found.revision}" if found.revision else None
    )


def _is_up_to_date(entry: _WorkloadEntry, there: FoundContainer, container: ContainerPatch) -> bool:
    """Whether a container has everything that is put into it."""
    return all(
        there.variables.get(variable) == _secret_key_ref(entry, variable) for variable in container.variables
    ) and all(there.mounts.get(mount.path) == mount.volume for mount in container.mounts)
