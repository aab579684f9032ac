"""From the workloads of a stack file to what is put into those that the cluster has. The look at the cluster is `preflight`'s."""

import dataclasses
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass

import pulumi

from components.application import ApplicationArgs
from components.names import environment_secret_name
from components.workloads import APPLIED, Container, PatchedWorkload, Workload, WorkloadSpec
from preflight.errors import ClusterError
from preflight.workload_reader import ClusterConfig, ObservedContainer, ObservedWorkload, WorkloadKey, read_workloads
from stacks.config import Stack
from stacks.history import Memory
from stacks.problems import Problem

__all__ = ["located"]

Look = Callable[[Collection[WorkloadKey], ClusterConfig], Mapping[WorkloadKey, ObservedWorkload | None]]


def located(stack: Stack, keys: ClusterConfig | None, before: Memory, look: Look = read_workloads) -> Stack:
    """The stack with those of its workloads that the cluster has, a warning for each of the others, and those that are gone.

    `before` is what the stack was at its last update.
    Without a cluster (`keys` is None) those whose containers are named are taken to be there. Raises pulumi.RunError where the cluster
    cannot be looked at.
    """
    wanted = [
        _Wanted(application, f"applications.{application.name}.workloads[{number}]", spec)
        for application in stack.applications
        for number, spec in enumerate(application.spec.workloads)
    ]
    patched = list(_patched(before))
    places = dict.fromkeys([*(entry.place for entry in wanted), *(WorkloadKey(old.namespace, old.kind, old.name) for old in patched)])
    if not places:
        return stack
    found = _looked(places, keys, look) if keys else {entry.place: _assumed(entry.spec) for entry in wanted}
    workloads: dict[str, list[Workload]] = {}
    notes: list[Problem] = []
    for entry in wanted:
        there = found[entry.place]
        notes += _notes(entry, there) if keys else ()
        if there and (containers := tuple(_containers(entry, there))):
            workloads.setdefault(entry.application.name, []).append(_workload(entry, there, containers))
    return dataclasses.replace(
        stack,
        applications=tuple(dataclasses.replace(application, workloads=tuple(workloads.get(application.name, ()))) for application in stack.applications),
        warnings=(*stack.warnings, *map(str, notes)),
        parted=tuple(old for old in patched if keys and not found[WorkloadKey(old.namespace, old.kind, old.name)] and not _given(workloads, old)),
    )


def _patched(before: Memory) -> Iterator[PatchedWorkload]:
    """The workloads that the last update put something into."""
    for application, old in before.items():
        for workload, given in old.get("workloads", {}).items():
            kind, _, name = workload.partition("/")
            if given:
                yield PatchedWorkload(application=application, namespace=old["namespace"], kind=kind, name=name)


def _given(workloads: Mapping[str, Collection[Workload]], old: PatchedWorkload) -> bool:
    """Whether a workload of that name, in another namespace, is given its variables now."""
    return any((old.kind, old.name) == (workload.kind, workload.name) for workload in workloads.get(old.application, ()))


@dataclass(frozen=True)
class _Wanted:
    """An entry of the stack file in its place."""

    application: ApplicationArgs
    path: str
    spec: WorkloadSpec

    @property
    def place(self) -> WorkloadKey:
        return WorkloadKey(self.application.namespace, self.spec.kind, self.spec.name)

    def __str__(self) -> str:
        return f"the {self.spec.kind} {self.spec.name!r}"


def _looked(places: Collection[WorkloadKey], keys: ClusterConfig, look: Look) -> Mapping[WorkloadKey, ObservedWorkload | None]:
    try:
        return look(places, keys)
    except ClusterError as error:
        raise pulumi.RunError(f"the workloads of the stack cannot be looked for, and nothing was changed: {error}") from None


def _assumed(spec: WorkloadSpec) -> ObservedWorkload | None:
    """A workload as it would be where there is no cluster to ask."""
    return ObservedWorkload(revision="", annotations={}, containers={name: ObservedContainer() for name in spec.container}) if spec.container else None


def _notes(entry: _Wanted, found: ObservedWorkload | None) -> Iterator[Problem]:
    """What of an entry cannot be done."""
    if found is None:
        yield Problem(
            entry.path,
            f"there is no {entry.spec.kind} {entry.spec.name!r} in the namespace {entry.application.namespace!r}, so nothing gets variables;"
            " deploy it, then run pulumi up again",
        )
        return
    for name in entry.spec.container or ():
        if name not in found.containers:
            yield Problem(f"{entry.path}.container", f"{entry} has no container {name!r}; it has {', '.join(sorted(found.containers))}")
    for container in _containers(entry, found):
        kept = sorted({*entry.application.variables()} - {*container.variables})
        kept += sorted(mount.path for mount in entry.application.mounts() if mount not in container.mounts)
        if kept:
            yield Problem(
                entry.path,
                f"the container {container.name!r} of {entry} has {', '.join(kept)} of its own, and keeps that; take it out of the manifest"
                " to have the application's, then run pulumi up again",
            )


def _containers(entry: _Wanted, found: ObservedWorkload) -> Iterator[Container]:
    """What is put into the containers that are named and there: all but what the workload sets itself."""
    for name, there in found.containers.items():
        if entry.spec.container is None or name in entry.spec.container:
            variables = tuple(variable for variable in entry.application.variables() if there.variables.get(variable, ()) in ((), _reference(entry, variable)))
            mounts = tuple(mount for mount in entry.application.mounts() if there.mounts.get(mount.path, mount.volume) == mount.volume)
            yield Container(name=name, variables=variables, mounts=mounts)


def _reference(entry: _Wanted, variable: str) -> tuple[str, str]:
    """Where a variable comes from that was put in."""
    return environment_secret_name(entry.application.name), variable


def _workload(entry: _Wanted, found: ObservedWorkload, containers: tuple[Container, ...]) -> Workload:
    """What is put into a workload, and whether it is there already: as the annotation has it, and none of it taken out since."""
    workload = Workload(kind=entry.spec.kind, name=entry.spec.name, containers=containers, rollout_seconds=entry.spec.rollout_seconds)
    digest, _, revision = found.annotations.get(APPLIED, "").partition("-")
    same = (digest, revision.partition(".")[0]) == (workload.digest, found.revision.partition(".")[0])
    if same and all(_has(entry, found.containers[container.name], container) for container in containers):
        return dataclasses.replace(workload, applied=found.annotations[APPLIED], settled=True)
    return dataclasses.replace(workload, applied=f"{workload.digest}-{found.revision}" if found.revision else None)


def _has(entry: _Wanted, there: ObservedContainer, container: Container) -> bool:
    """Whether a container has everything that is put into it."""
    return all(there.variables.get(variable) == _reference(entry, variable) for variable in container.variables) and all(
        there.mounts.get(mount.path) == mount.volume for mount in container.mounts
    )
