"""The previous state of a stack: what the last update registered.

The state holds the outputs of the components, also after an update that failed or was interrupted. The outputs are
names; docs/decisions/0007 gives the reasons. The state also holds every Kubernetes object that Pulumi recorded.
"""

import time
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias, cast

import pulumi
from pulumi.runtime import invoke

from components.persisted.names import APPLICATION_TYPE, DATABASE_GROUP_TYPE
from components.persisted.outputs import ApplicationOutputs, ApplicationState, GroupOutputs
from preflight.cluster_models import ObjectKey, RecordedObject

__all__ = [
    "READ_STACK_OUTPUTS_TOKEN",
    "PreviousState",
    "RecordedObjects",
    "StateResource",
    "collect_component_outputs",
    "collect_recorded_objects",
    "read_previous_resources",
]

READ_STACK_OUTPUTS_TOKEN = "pulumi:pulumi:readStackResourceOutputs"  # noqa: S105 (a function of the engine)
RETRY_DELAYS_SECONDS = (0.1, 0.2, 0.4, 0.8, 1.6)
"""Seconds between attempts. A file backend cannot be read at the moment in which it is written."""

PreviousState: TypeAlias = Mapping[str, ApplicationState]
"""Applications by name. Pulumi's state does not hold keys without a value."""
RecordedObjects: TypeAlias = Mapping[ObjectKey, RecordedObject]
"""The Kubernetes objects in a state."""
StateResource: TypeAlias = Mapping[str, Any]
"""A resource in a state, with its `type` and `outputs`."""
KUBERNETES_PREFIX = "kubernetes:"


def read_previous_resources() -> list[StateResource]:
    """Return the resources of the running stack after its last update; none before the first one.

    Raises pulumi.RunError if the state cannot be read.
    """
    name = f"{pulumi.get_organization()}/{pulumi.get_project()}/{pulumi.get_stack()}"
    for delay in (*RETRY_DELAYS_SECONDS, None):
        try:
            outputs = invoke(READ_STACK_OUTPUTS_TOKEN, {"stackName": name}).value["outputs"]
            return list(outputs.values())
        except Exception as error:  # the SDK raises no class of its own
            if delay is None:
                message = f"cannot read the previous state of the stack; nothing was changed: {error}"
                raise pulumi.RunError(message) from None
            time.sleep(delay)
    raise AssertionError


def collect_component_outputs(resources: Iterable[StateResource]) -> PreviousState:
    """Return the applications among the resources of a state."""
    outputs_by_type: dict[str, list[Mapping[str, Any]]] = {APPLICATION_TYPE: [], DATABASE_GROUP_TYPE: []}
    for resource in resources:
        outputs_by_type.get(resource["type"], []).append(resource.get("outputs") or {})
    applications: dict[str, ApplicationState] = {}
    databases: dict[str, dict[str, dict[str, GroupOutputs]]] = {}
    for outputs in outputs_by_type[APPLICATION_TYPE]:
        if "name" in outputs:
            application = cast("ApplicationOutputs", outputs)
            groups_by_engine = databases.setdefault(application["name"], {})
            applications[application["name"]] = {**application, "databases": groups_by_engine}
    for outputs in outputs_by_type[DATABASE_GROUP_TYPE]:
        if outputs.get("application") in databases:
            group = cast("GroupOutputs", outputs)
            databases[group["application"]].setdefault(group["engine"], {})[group["group"]] = group
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
            )
    return objects
