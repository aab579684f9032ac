"""What a stack needs in its cluster, for the check before an update."""

from collections.abc import Iterable, Iterator

from components.application import ApplicationArgs
from components.persisted.labels import STACK_ANNOTATION
from components.planned_objects import PlannedObject
from preflight.cluster_models import ClusterRequirements, ObjectKey, RequiredNamespace, RequiredObject
from stacks.config import Stack
from stacks.errors import Location
from stacks.previous_state import RecordedObjects

__all__ = ["build_cluster_requirements"]


def build_cluster_requirements(stack: Stack, recorded: RecordedObjects) -> ClusterRequirements:
    """Return what a stack needs in its cluster. `recorded` are the objects in its state."""
    planned = [item for application in stack.applications for item in _list_planned_objects(application)]
    needs_database_nodes = any(item.node_selector for _, _, item in planned)
    return ClusterRequirements(
        stack=stack.full_name,
        stack_annotation=STACK_ANNOTATION,
        namespaces=tuple(map(_build_namespace, stack.applications)),
        objects=tuple(_build_object(*item) for item in planned),
        patched_kinds=_collect_patched_kinds(stack.applications),
        node_selector=stack.spec.database_nodes.node_selector if needs_database_nodes else {},
        recorded=recorded,
    )


def _list_planned_objects(application: ApplicationArgs) -> Iterator[tuple[str, Location, PlannedObject]]:
    """Yield the objects of an application with their namespace and the location that they come from."""
    for planned in application.list_objects():
        yield application.namespace, ("applications", application.name), planned
    for group in application.database_groups:
        for planned in group.list_objects():
            yield application.namespace, group.config_location, planned


def _build_object(namespace: str, location: Location, planned: PlannedObject) -> RequiredObject:
    return RequiredObject(
        key=ObjectKey(planned.kind, "" if planned.kind == "Namespace" else namespace, planned.name),
        location=location,
        storage=planned.storage,
        storage_class=planned.storage_class,
        needs_privileges=planned.needs_privileges,
    )


def _build_namespace(application: ApplicationArgs) -> RequiredNamespace:
    key = ("namespace",) if application.spec.namespace and application.spec.create_namespace else ()
    return RequiredNamespace(
        name=application.namespace,
        is_created=application.spec.create_namespace,
        location=("applications", application.name, *key),
    )


def _collect_patched_kinds(applications: Iterable[ApplicationArgs]) -> dict[str, frozenset[str]]:
    """Return the kinds of the workloads that receive variables, by namespace."""
    kinds: dict[str, frozenset[str]] = {}
    for application in applications:
        of_application = frozenset(workload.kind for workload in application.spec.workloads)
        kinds[application.namespace] = kinds.get(application.namespace, frozenset()) | of_application
    return kinds
