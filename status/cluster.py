"""Reads the objects of a stack from the cluster, with few requests: one list for each kind of object, in parallel."""

import json
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple

from components.persisted.labels import PROGRAM_SELECTOR, SERVER_LABEL
from preflight.cluster_client import list_objects, request_path, run_parallel

__all__ = ["ClusterObjects", "ObjectKey", "VolumeUsage", "read_events", "read_objects", "read_volume_usage"]

MAX_NAMESPACES = 4
"""Lists of one namespace each. With more namespaces, one list covers the whole cluster, if the account may read it."""
USAGE_TIMEOUT_SECONDS = 2
"""Time limit to read the use of volumes from all nodes."""
OK = 200
FORBIDDEN = 403

JsonObject = Mapping[str, Any]


class ObjectKey(NamedTuple):
    """The key of an object in the cluster."""

    kind: str
    namespace: str
    name: str


class VolumeUsage(NamedTuple):
    """The use of a volume, in bytes."""

    used: int
    capacity: int


@dataclass(frozen=True, kw_only=True)
class ClusterObjects:
    """Objects of the cluster, as JSON."""

    objects: Mapping[ObjectKey, JsonObject] = field(default_factory=lambda: MappingProxyType({}))
    unreadable: frozenset[tuple[str, str]] = frozenset()
    """Kinds and namespaces that the account may not list."""

    def find(self, kind: str, namespace: str, name: str) -> JsonObject | None:
        """Return an object; None if it does not exist or cannot be read."""
        return self.objects.get(ObjectKey(kind, namespace, name))

    def is_missing(self, kind: str, namespace: str, name: str) -> bool:
        """Return whether an object does not exist."""
        return (kind, namespace) not in self.unreadable and self.find(kind, namespace, name) is None

    def find_all(self, kind: str, namespace: str) -> Iterator[JsonObject]:
        """Yield the objects of a kind in a namespace."""
        return (item for key, item in self.objects.items() if key[:2] == (kind, namespace))


def read_objects(
    connection: Any, kinds: Collection[str], namespaces: Collection[str], *, has_server_clusters: bool
) -> ClusterObjects:
    """Read the objects of the given kinds that the program created. Raises ClusterError.

    With server clusters, the Pods include those of the operators, and the volume claims are all of the namespaces:
    those of a StatefulSet do not have the labels of its Pods.
    """
    selector = ",".join(f"{key}={value}" for key, value in PROGRAM_SELECTOR.items())
    selectors_of_clusters = {"Pod": [selector, SERVER_LABEL], "PersistentVolumeClaim": [""]}

    def read(scope: tuple[str, str | None]) -> list[JsonObject] | None:
        selectors = selectors_of_clusters.get(scope[0], [selector]) if has_server_clusters else [selector]
        lists = [list_objects(connection, *scope, query={"labelSelector": item}) for item in selectors]
        return None if None in lists else [item for items in lists for item in items or ()]

    scopes: list[tuple[str, str | None]] = [(kind, None) for kind in kinds] if len(namespaces) > MAX_NAMESPACES else []
    items_by_scope = dict(zip(scopes, run_parallel(read, scopes), strict=True))
    narrow = [
        (kind, namespace) for kind in kinds if items_by_scope.get((kind, None)) is None for namespace in namespaces
    ]
    items_by_scope |= zip(narrow, run_parallel(read, narrow), strict=True)
    objects = {
        ObjectKey(kind, metadata["namespace"], metadata["name"]): item
        for (kind, _), items in items_by_scope.items()
        for item in items or ()
        if (metadata := item["metadata"])["namespace"] in namespaces
    }
    unreadable = frozenset(scope for scope in narrow if items_by_scope[scope] is None)
    return ClusterObjects(objects=objects, unreadable=unreadable)


def read_events(connection: Any, namespaces: Iterable[str]) -> list[JsonObject]:
    """Read the events in namespaces, as far as the account may list them. Raises ClusterError."""
    lists = run_parallel(lambda namespace: list_objects(connection, "Event", namespace), namespaces)
    return [event for events in lists for event in events or ()]


def read_volume_usage(connection: Any, nodes: Iterable[str]) -> tuple[dict[tuple[str, str], VolumeUsage], bool]:
    """Read the use of volumes from the nodes' kubelets, by namespace and name of the volume claim.

    A node that does not answer in time is left out. The second value is whether the account may read the nodes.
    """
    from urllib3.exceptions import HTTPError  # noqa: PLC0415 (takes time that other commands need not wait for)

    deadline = time.monotonic() + USAGE_TIMEOUT_SECONDS
    statuses: set[int] = set()

    def read_node(node: str) -> JsonObject:
        seconds = deadline - time.monotonic()
        if seconds <= 0 or FORBIDDEN in statuses:
            return {}
        try:
            response = request_path(connection, f"/api/v1/nodes/{node}/proxy/stats/summary", timeout=(seconds, seconds))
            statuses.add(response.status)
            summary: JsonObject = json.loads(response.data) if response.status == OK else {}
        except (HTTPError, OSError, ValueError):
            return {}
        return summary

    usage = {
        (claim["namespace"], claim["name"]): VolumeUsage(volume["usedBytes"], volume["capacityBytes"])
        for summary in run_parallel(read_node, nodes)
        for pod in summary.get("pods") or ()
        for volume in pod.get("volume") or ()
        if (claim := volume.get("pvcRef")) and {"usedBytes", "capacityBytes"} <= volume.keys()
    }
    return usage, FORBIDDEN not in statuses
