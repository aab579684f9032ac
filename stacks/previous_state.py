"""The previous state of a stack: what the last update registered.

The state holds the outputs of the components, also after an update that failed or was interrupted. The outputs are
names; docs/decisions/0007 gives the reasons. The state also holds every Kubernetes object that Pulumi recorded.
"""

import time
from collections.abc import Iterable, Mapping, Set
from typing import Any, TypeAlias, cast

import pulumi
from pulumi.runtime import invoke

from components.persisted.labels import read_application, read_password_version
from components.persisted.names import (
    APPLICATION_TYPE,
    DATABASE_GROUP_TYPE,
    DATABASE_RECORD_TYPE,
    resource_name,
)
from components.persisted.outputs import ApplicationOutputs, ApplicationState, GroupOutputs, RecordedDatabase
from preflight.cluster_models import ObjectKey, RecordedObject

__all__ = [
    "CONNECTION_TYPE",
    "KUBERNETES_PREFIX",
    "READ_STACK_OUTPUTS_TOKEN",
    "PreviousState",
    "RecordedObjects",
    "StateResource",
    "collect_component_outputs",
    "collect_recorded_objects",
    "collect_registered_groups",
    "read_previous_resources",
]

CONNECTION_TYPE = "kubernetes:core/v1:Secret"
SERVER_TYPE = "kubernetes:apps/v1:StatefulSet"
READ_STACK_OUTPUTS_TOKEN = "pulumi:pulumi:readStackResourceOutputs"  # noqa: S105 (a function of the engine)
RETRY_DELAYS_SECONDS = (0.1, 0.2, 0.4, 0.8, 1.6)
"""Seconds between attempts. A file backend cannot be read at the moment in which it is written."""

PROVISIONED_TYPES = (":Database", ":Role", ":User")
"""Ends of the types of databases and users on external servers."""

PreviousState: TypeAlias = Mapping[str, ApplicationState]
"""Applications by name. Pulumi's state does not hold keys without a value."""
RecordedObjects: TypeAlias = Mapping[ObjectKey, RecordedObject]
"""The Kubernetes objects in a state."""
StateResource: TypeAlias = Mapping[str, Any]
"""A resource in a state, with its `urn`, `type` and `outputs`."""
KUBERNETES_PREFIX = "kubernetes:"
"""Beginning of the types of Kubernetes objects."""


def read_previous_resources() -> list[StateResource]:
    """Return the resources of the running stack after its last update; none before the first one.

    Raises pulumi.RunError if the state cannot be read.
    """
    name = f"{pulumi.get_organization()}/{pulumi.get_project()}/{pulumi.get_stack()}"
    for delay in (*RETRY_DELAYS_SECONDS, None):
        try:
            outputs = invoke(READ_STACK_OUTPUTS_TOKEN, {"stackName": name}).value["outputs"]
            # The engine's answer has no order. Messages name the resources in the same order each time.
            return [{**resource, "urn": urn} for urn, resource in sorted(outputs.items())]
        except Exception as error:  # the SDK raises no class of its own
            if delay is None:
                message = f"cannot read the previous state of the stack; nothing was changed: {error}"
                raise pulumi.RunError(message) from None
            time.sleep(delay)
    raise AssertionError


def collect_component_outputs(resources: Iterable[StateResource]) -> PreviousState:
    """Return the applications among the resources of a state.

    The password version of a group is that of its connection Secret: an update that failed before the Secret changed
    did not publish the password. A server has started if its StatefulSet was ready.
    """
    outputs_by_type: dict[str, list[Mapping[str, Any]]] = {
        APPLICATION_TYPE: [],
        DATABASE_GROUP_TYPE: [],
        CONNECTION_TYPE: [],
        SERVER_TYPE: [],
    }
    resources = list(resources)
    for resource in resources:
        outputs_by_type.get(resource["type"], []).append(resource.get("outputs") or {})
    records = {
        _read_name(resource): resource["outputs"]
        for resource in resources
        if resource["type"] == DATABASE_RECORD_TYPE and resource.get("outputs")
    }
    provisioned = {_read_name(resource) for resource in resources if resource["type"].endswith(PROVISIONED_TYPES)}
    started = {
        (outputs["metadata"]["namespace"], outputs["metadata"]["name"])
        for outputs in outputs_by_type[SERVER_TYPE]
        if (outputs.get("status") or {}).get("readyReplicas")
    }
    applications: dict[str, ApplicationState] = {}
    databases: dict[str, dict[str, dict[str, GroupOutputs]]] = {}
    for outputs in outputs_by_type[APPLICATION_TYPE]:
        if "name" in outputs:
            application = cast("ApplicationOutputs", outputs)
            groups_by_engine = databases.setdefault(application["name"], {})
            applications[application["name"]] = {**application, "databases": groups_by_engine}
    for outputs in outputs_by_type[DATABASE_GROUP_TYPE]:
        if outputs.get("application") in databases:
            original_name = outputs["secret"].removeprefix(f"{outputs['engine']}-")
            name = resource_name(outputs["application"], outputs["engine"], original_name)
            recorded = _find_database(name, outputs, records.get(name), provisioned)
            has_started = (applications[outputs["application"]]["namespace"], outputs["secret"]) in started
            found = {"hasStarted": has_started, **({"recorded": recorded} if recorded else {})}
            group = cast("GroupOutputs", {**outputs, **found})
            databases[group["application"]].setdefault(group["engine"], {})[group["group"]] = group
    versions = {
        (metadata["namespace"], metadata["name"]): read_password_version(metadata)
        for metadata in (outputs["metadata"] for outputs in outputs_by_type[CONNECTION_TYPE] if "metadata" in outputs)
    }
    for name, groups_by_engine in databases.items():
        for group in (group for groups in groups_by_engine.values() for group in groups.values()):
            group["passwordVersion"] = versions.get((applications[name]["namespace"], group["secret"]))
    return applications


def collect_recorded_objects(resources: Iterable[StateResource]) -> RecordedObjects:
    """Return the Kubernetes objects among the resources of a state."""
    objects: dict[ObjectKey, RecordedObject] = {}
    for resource in resources:
        outputs = resource.get("outputs") or {}
        metadata = outputs.get("metadata")
        if resource["type"].startswith(KUBERNETES_PREFIX) and isinstance(metadata, Mapping) and "name" in metadata:
            kind = resource["type"].rpartition(":")[2]
            spec = outputs.get("spec") or {} if kind == "PersistentVolumeClaim" else {}
            objects[ObjectKey(kind, metadata.get("namespace", ""), metadata["name"])] = RecordedObject(
                storage=spec.get("resources", {}).get("requests", {}).get("storage"),
                storage_class=spec.get("storageClassName"),
                application=read_application(metadata),
                password_version=read_password_version(metadata),
            )
    return objects


def collect_registered_groups(resources: Iterable[StateResource]) -> frozenset[str]:
    """Return the Pulumi names of the groups in a state. The engine records a group before it creates its objects."""
    return frozenset(_read_name(resource) for resource in resources if resource["type"] == DATABASE_GROUP_TYPE)


def _find_database(
    name: str, group: Mapping[str, Any], record: Mapping[str, Any] | None, provisioned: Set[str]
) -> RecordedDatabase | None:
    """Return the database that the program created for a group; None if the state has none.

    `name` is the Pulumi name of the group, and `provisioned` the Pulumi names of databases and users in the state.
    """
    outputs = record or group
    is_database_in_state = f"{name}-database" in provisioned
    is_user_in_state = bool({f"{name}-role", f"{name}-user"} & provisioned)
    if "externalServer" not in outputs or not (record or is_database_in_state or is_user_in_state):
        return None
    return {
        "externalServer": outputs["externalServer"],
        "database": outputs["database"],
        "username": outputs["username"],
        "isRecorded": record is not None,
        "isDatabaseInState": is_database_in_state,
        "isUserInState": is_user_in_state,
    }


def _read_name(resource: StateResource) -> str:
    """Return the Pulumi name of a resource."""
    return str(resource.get("urn", "")).rpartition("::")[2]
