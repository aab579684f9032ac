"""What a stack needs in its cluster, for the check before an update."""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace

from components.application import ApplicationArgs
from components.database_group import DatabaseGroupArgs
from components.engines.clusters.definition import Operator
from components.persisted.labels import STACK_ANNOTATION
from components.planned_objects import PlannedObject, ResourceType
from preflight.cluster_models import (
    ApiPath,
    ClusterRequirements,
    ObjectKey,
    RequiredNamespace,
    RequiredObject,
    RequiredOperator,
)
from stacks.backup_store_checks import list_store_claims
from stacks.config import Stack
from stacks.errors import Location
from stacks.previous_state import RecordedObjects

__all__ = ["build_cluster_requirements", "list_required_operators"]


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
        operators=tuple(list_required_operators(stack)),
        patched_kinds=_collect_patched_kinds(stack.applications),
        password_changes=frozenset(_list_password_changes(stack.applications, recorded)),
        node_selector=stack.spec.database_nodes.node_selector if any(selectors) else {},
        recorded=recorded,
    )


def list_required_operators(stack: Stack) -> Iterator[RequiredOperator]:
    """Yield the operators that run server clusters of a stack and their plugins, each with the groups that need it."""
    groups: dict[str, list[tuple[Location, str]]] = {}
    operators: dict[str, tuple[Operator, tuple[str, ...]]] = {}
    for application in stack.applications:
        for group in application.database_groups:
            for operator, key in _list_operators(group):
                operators[operator.name] = operator, key
                groups.setdefault(operator.name, []).append((group.config_location, application.namespace))
    for operator, key in operators.values():
        yield RequiredOperator(
            name=operator.name,
            version=operator.version,
            image=operator.image,
            custom_paths=tuple(map(_build_path, operator.resource_types)),
            pod_labels=operator.pod_labels,
            namespace_variable=operator.namespace_variable,
            install_commands=operator.install_commands,
            groups=tuple(groups[operator.name]),
            key=key,
        )


def _list_operators(group: DatabaseGroupArgs) -> Iterator[tuple[Operator, tuple[str, ...]]]:
    """Yield the operator of a group and its plugin, each with the key because of which it is needed."""
    cluster = group.engine.cluster
    if cluster and group.server_access.operated:
        yield cluster.operator, ("server", "replicas")
        if cluster.backup_plugin and group.continuous_backup:
            yield cluster.backup_plugin, ("backup", "continuous")


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
        custom_path=_build_path(planned.resource_type) if planned.resource_type else None,
        pod_labels=planned.pod_labels,
        needs_privileges=planned.needs_privileges,
    )


def _build_path(resource_type: ResourceType) -> ApiPath:
    """Return the path of a type of custom resources, whose API always has a group."""
    return ApiPath(f"/apis/{resource_type.api_version}", resource_type.plural)


def _build_namespace(application: ApplicationArgs) -> RequiredNamespace:
    key = ("namespace",) if application.spec.namespace and application.spec.create_namespace else ()
    return RequiredNamespace(
        name=application.namespace,
        is_created=application.spec.create_namespace,
        location=("applications", application.name, *key),
    )


def _list_password_changes(applications: Iterable[ApplicationArgs], recorded: RecordedObjects) -> Iterator[str]:
    """Yield the namespace of each running server that gets a new password, or in which the program runs scripts."""
    for application in applications:
        for group in application.database_groups:
            secret = recorded.get(ObjectKey("Secret", application.namespace, group.object_name))
            is_changed = secret is not None and secret.password_version != group.spec.password_version
            access = group.server_access
            if (is_changed and access.accepts_new_password) or (access.operated and access.operated.runs_scripts):
                yield application.namespace


def _collect_patched_kinds(applications: Iterable[ApplicationArgs]) -> dict[str, frozenset[str]]:
    """Return the kinds of the workloads that receive variables, by namespace."""
    kinds: dict[str, frozenset[str]] = {}
    for application in applications:
        of_application = frozenset(workload.kind for workload in application.spec.workloads)
        kinds[application.namespace] = kinds.get(application.namespace, frozenset()) | of_application
    return kinds
