"""The state of servers that an operator runs: the custom resource, and the StatefulSets of the operator."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from preflight.cluster_client import read_json, read_object
from preflight.cluster_models import JsonObject

__all__ = ["CustomResourceKey", "describe_stateful_set", "read_custom_resource", "read_progress"]

FORBIDDEN, NOT_FOUND = 403, 404


@dataclass(frozen=True, kw_only=True)
class CustomResourceKey:
    """The key of a custom resource in the cluster."""

    api_version: str
    plural: str
    namespace: str
    name: str

    @property
    def path(self) -> str:
        """Path of the resource on the API server."""
        return f"/apis/{self.api_version}/namespaces/{self.namespace}/{self.plural}/{self.name}"


def read_custom_resource(connection: Any, key: CustomResourceKey) -> JsonObject | None:
    """Return a custom resource: empty if it does not exist, None if the account may not read it.

    Raises ClusterError.
    """
    results: dict[int, Any] = {FORBIDDEN: None, NOT_FOUND: {}}
    found: JsonObject | None = read_json(connection, key.path, f"read {key.plural} {key.name!r}", results=results)
    return found


def read_progress(
    connection: Any,
    key: CustomResourceKey,
    describe_progress: Callable[[JsonObject], str | None],
    stateful_sets: Sequence[str],
) -> str | None:
    """Return why servers that an operator runs are not ready; None if they are. Raises ClusterError."""
    resource = read_custom_resource(connection, key)
    if resource is None:
        return f"the account may not read {key.plural}; grant the right to get them (docs/teams.md)"
    if reason := describe_progress(resource):
        return reason
    for name in stateful_sets:
        stateful_set = read_object(connection, "StatefulSet", key.namespace, name)
        if stateful_set is not None and (reason := describe_stateful_set(stateful_set)):
            return f"StatefulSet {name}: {reason}"
    return None


def describe_stateful_set(stateful_set: JsonObject) -> str | None:
    """Return why not all Pods of a StatefulSet are new and ready; None if they are (apps/v1 StatefulSetStatus)."""
    if not stateful_set:
        return "does not exist yet"
    status, replicas = stateful_set.get("status") or {}, stateful_set["spec"].get("replicas", 1)
    if status.get("observedGeneration") != stateful_set["metadata"]["generation"]:
        return "the last change is not observed yet"
    # With the strategy `OnDelete` of some operators, the current revision stays the first one.
    if (updated := status.get("updatedReplicas", 0)) != replicas:
        return f"{updated} of {replicas} Pods have the last change"
    ready = status.get("readyReplicas", 0)
    return None if ready == replicas else f"{ready} of {replicas} Pods are ready"
