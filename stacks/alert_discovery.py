"""Which applications get alerts about their backups: those in a cluster with the type PrometheusRule."""

import dataclasses
from collections.abc import Callable, Collection
from typing import TypeAlias

from components.copies.alerts import RULE_TYPE
from components.persisted.names import alerts_name
from preflight.cluster_client import ClusterConfig, create_api_client
from preflight.cluster_models import ObjectKey
from preflight.errors import ClusterError
from preflight.resource_types import has_resource_type, list_creatable_namespaces
from stacks.config import Stack
from stacks.previous_state import RecordedObjects

__all__ = ["resolve_alerts"]

TypeReader: TypeAlias = Callable[[ClusterConfig, Collection[str]], frozenset[str] | None]


def read_namespaces_with_alerts(cluster: ClusterConfig, namespaces: Collection[str]) -> frozenset[str] | None:
    """Return the namespaces in which the account may create rules; None if the cluster does not have the type.

    Raises ClusterError if that is unknown.
    """
    with create_api_client(cluster) as connection:
        has_type = has_resource_type(connection, RULE_TYPE.api_version, RULE_TYPE.plural)
        if has_type is None:
            raise ClusterError(f"not allowed to read the types of {RULE_TYPE.api_version}")
        if not has_type:
            return None
        return list_creatable_namespaces(connection, RULE_TYPE.api_version, RULE_TYPE.plural, namespaces)


def resolve_alerts(
    stack: Stack,
    cluster: ClusterConfig | None,
    recorded: RecordedObjects,
    reader: TypeReader = read_namespaces_with_alerts,
) -> Stack:
    """Return the stack with alerts for the applications that have backups, if the cluster has their type.

    Without a cluster (`cluster` is None) there are none. Rules in the state stay if the cluster does not answer, or if
    the account may not create them any more: an alert is not removed by accident.
    """
    saved = {application.namespace for application in stack.applications if application.group_alerts}
    if cluster is None or not saved:
        return stack
    existing = frozenset(
        application.namespace
        for application in stack.applications
        if ObjectKey(RULE_TYPE.kind, application.namespace, alerts_name(application.name)) in recorded
    )
    warnings: list[str] = []
    try:
        creatable = reader(cluster, saved)
        allowed = frozenset() if creatable is None else creatable | existing
        if creatable is not None:
            warnings = [
                f"namespace {namespace}: the account may not create {RULE_TYPE.kind} objects, so there are no alerts"
                f" about backups; grant `create` on `{RULE_TYPE.plural}.monitoring.coreos.com`"
                for namespace in sorted(saved - allowed)
            ]
    except ClusterError:
        allowed = existing
    return dataclasses.replace(
        stack,
        applications=tuple(
            dataclasses.replace(application, has_alerts=application.namespace in allowed)
            for application in stack.applications
        ),
        warnings=(*stack.warnings, *warnings),
    )
