"""What a stack needs in its cluster, for the check before an update."""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace

from components.application import ApplicationArgs
from components.persisted.labels import STACK_ANNOTATION
from components.planned_objects import PlannedObject
from preflight.cluster_models import ClusterRequirements, ObjectKey, RequiredNamespace, RequiredObject
from stacks.backup_store_checks import list_store_claims
from stacks.config import Stack
from stacks.errors import Location
from stacks.previous_state import RecordedObjects

__all__ = ["build_cluster_requirements"]


def build_cluster_requirements(
    stack: Stack, recorded: RecordedObjects, registered_groups: Collection[str]
) -> ClusterRequirements:
    """Return what a stack needs in its cluster.

    `recorded` are the objects in its state, and `registered_groups` the Pulumi names of the groups in it.
    """
    planned = [item for application in stack.applications for item in _list_objects(application, registered_groups)]
    selectors = (
        item.node_selector
        for application in stack.applications
        for group in application.database_groups
        for item in group.list_objects()
    )
    return ClusterRequirements(
        stack=stack.full_name,
        stack_annotation=STACK_ANNOTATION,
        namespaces=tuple(map(_build_namespace, stack.applications)),
        objects=tuple(planned),
        existing_claims=tuple(dict.fromkeys(list_store_claims(stack))),
        patched_kinds=_collect_patched_kinds(stack.applications),
        password_changes=frozenset(_list_password_changes(stack.applications, recorded)),
        node_selector=stack.spec.database_nodes.node_selector if any(selectors) else {},
        recorded=recorded,
    )


def _list_objects(application: ApplicationArgs, registered_groups: Collection[str]) -> Iterator[RequiredObject]:
    for planned in application.list_objects():
        yield _build_object(application, ("applications", application.name), planned)
    for group in application.database_groups:
        is_registered = group.resource_name in registered_groups
        for planned in group.list_objects():
            required = _build_object(application, group.config_location, planned)
            is_data = planned.storage is not None
            yield replace(required, is_data_of_removed_group=is_data and not is_registered)


def _build_object(application: ApplicationArgs, location: Location, planned: PlannedObject) -> RequiredObject:
    namespace = "" if planned.kind == "Namespace" else application.namespace
    return RequiredObject(
        key=ObjectKey(planned.kind, namespace, planned.name),
        location=location,
        application=application.name,
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


def _list_password_changes(applications: Iterable[ApplicationArgs], recorded: RecordedObjects) -> Iterator[str]:
    """Yield the namespace of each running server that gets a new password."""
    for application in applications:
        for group in application.database_groups:
            secret = recorded.get(ObjectKey("Secret", application.namespace, group.object_name))
            is_changed = secret is not None and secret.password_version != group.spec.password_version
            if is_changed and group.server_access.accepts_new_password:
                yield application.namespace


def _collect_patched_kinds(applications: Iterable[ApplicationArgs]) -> dict[str, frozenset[str]]:
    """Return the kinds of the workloads that receive variables, by namespace."""
    kinds: dict[str, frozenset[str]] = {}
    for application in applications:
        of_application = frozenset(workload.kind for workload in application.spec.workloads)
        kinds[application.namespace] = kinds.get(application.namespace, frozenset()) | of_application
    return kinds
