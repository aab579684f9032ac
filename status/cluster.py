"""Reads the objects of a stack from the cluster, with few requests: one list for each kind of object, in parallel."""

import json
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

from components.persisted.labels import PROGRAM_SELECTOR
from preflight.errors import ClusterError
from preflight.workload_reader import REQUEST_TIMEOUT_SECONDS, explain_connection_error

__all__ = ["ClusterObjects", "ObjectKey", "VolumeUsage", "read_events", "read_objects", "read_volume_usage"]

MAX_PARALLEL_REQUESTS = 8
MAX_NAMESPACES = 4
"""Lists of one namespace each. With more namespaces, one list covers the whole cluster, if the account may read it."""
USAGE_TIMEOUT_SECONDS = 2
"""Time limit to read the use of volumes from all nodes."""
OK = 200
UNAUTHORIZED = 401
FORBIDDEN = 403
LISTS = {
    "Service": ("/api/v1", "services"),
    "Secret": ("/api/v1", "secrets"),
    "Pod": ("/api/v1", "pods"),
    "PersistentVolumeClaim": ("/api/v1", "persistentvolumeclaims"),
    "StatefulSet": ("/apis/apps/v1", "statefulsets"),
    "EndpointSlice": ("/apis/discovery.k8s.io/v1", "endpointslices"),
    "Event": ("/api/v1", "events"),
}
"""The path of the API group and the plural, by the kind of object."""
JSON = "application/json"
METADATA_ONLY = f"{JSON};as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
"""Format of a list without the content of the objects: values of Secrets never leave the cluster."""

T = TypeVar("T")
R = TypeVar("R")
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


def read_objects(connection: Any, kinds: Collection[str], namespaces: Collection[str]) -> ClusterObjects:
    """Read the objects of the given kinds that the program created. Raises ClusterError."""
    selector = ",".join(f"{key}={value}" for key, value in PROGRAM_SELECTOR.items())

    def read(scope: tuple[str, str | None]) -> list[JsonObject] | None:
        return _list_objects(connection, *scope, labelSelector=selector)

    scopes: list[tuple[str, str | None]] = [(kind, None) for kind in kinds] if len(namespaces) > MAX_NAMESPACES else []
    items_by_scope = dict(zip(scopes, _run_parallel(read, scopes), strict=True))
    narrow = [
        (kind, namespace) for kind in kinds if items_by_scope.get((kind, None)) is None for namespace in namespaces
    ]
    items_by_scope |= zip(narrow, _run_parallel(read, narrow), strict=True)
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
    lists = _run_parallel(lambda namespace: _list_objects(connection, "Event", namespace), namespaces)
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
            response = _get(connection, f"/api/v1/nodes/{node}/proxy/stats/summary", timeout=(seconds, seconds))
            statuses.add(response.status)
            summary: JsonObject = json.loads(response.data) if response.status == OK else {}
        except (HTTPError, OSError, ValueError):
            return {}
        return summary

    usage = {
        (claim["namespace"], claim["name"]): VolumeUsage(volume["usedBytes"], volume["capacityBytes"])
        for summary in _run_parallel(read_node, nodes)
        for pod in summary.get("pods") or ()
        for volume in pod.get("volume") or ()
        if (claim := volume.get("pvcRef")) and {"usedBytes", "capacityBytes"} <= volume.keys()
    }
    return usage, FORBIDDEN not in statuses


def _list_objects(connection: Any, kind: str, namespace: str | None, **query: str) -> list[JsonObject] | None:
    """List objects of a namespace or of the whole cluster. Returns None if the account may not list them."""
    from urllib3.exceptions import HTTPError  # noqa: PLC0415

    api, plural = LISTS[kind]
    scope = f"/namespaces/{namespace}" if namespace else ""
    accept = METADATA_ONLY if kind == "Secret" else JSON
    try:
        response = _get(connection, f"{api}{scope}/{plural}", accept=accept, timeout=REQUEST_TIMEOUT_SECONDS, **query)
    except (HTTPError, OSError) as error:
        raise explain_connection_error(connection, error) from None
    if response.status == FORBIDDEN:
        return None
    if response.status != OK:
        fix = "log in to the cluster again" if response.status == UNAUTHORIZED else "check the log of the API server"
        raise ClusterError(f"cannot list {kind} objects ({response.status} {response.reason}); {fix}")
    items: list[JsonObject] = json.loads(response.data)["items"] or []  # an empty list is null in some formats
    return items


def _get(connection: Any, path: str, *, timeout: tuple[float, float], accept: str = JSON, **query: str) -> Any:
    """Get a path of the API server. The client's classes for each API group take half a second to import."""
    request = connection.param_serialize(
        "GET",
        path,
        query_params=list(query.items()),
        header_params={"Accept": accept},
        auth_settings=["BearerToken"],
    )
    response = connection.call_api(*request, _request_timeout=timeout)
    response.read()
    return response


def _run_parallel(function: Callable[[T], R], arguments: Iterable[T]) -> list[R]:
    with ThreadPoolExecutor(MAX_PARALLEL_REQUESTS) as pool:
        return list(pool.map(function, arguments))
