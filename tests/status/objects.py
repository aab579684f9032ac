"""A state with its objects in the cluster, as the API server returns them."""

from collections.abc import Iterable
from typing import Any, cast

from components.persisted.labels import VERSION_LABEL, group_labels, server_labels
from stacks.previous_state import PreviousState
from status.cluster import ClusterObjects, ObjectKey

CREATED = "2026-01-01T00:00:00Z"
READY_SINCE = "2026-01-02T00:00:00Z"
Json = dict[str, Any]


def state(**databases: dict[str, Json]) -> PreviousState:
    """Return the state of the application `shop`: groups by engine and name, with the outputs that differ."""
    application: Json = {
        "name": "shop",
        "namespace": "shop",
        "secret": "shop-databases",
        "protect": False,
        "workloads": {},
        "databases": {
            engine: {
                group: {
                    "kind": "local",
                    "variant": engine,
                    "version": "8",
                    "service": engine,
                    "secret": f"{engine}-{group}",
                    **outputs,
                }
                for group, outputs in groups.items()
            }
            for engine, groups in databases.items()
        },
    }
    return cast("PreviousState", {"shop": application})


def build(kind: str, name: str, *, engine: str = "redis", group: str = "main", **content: Any) -> Json:
    """Return an object of a group of `shop`."""
    labels = group_labels("shop", engine, f"{engine}-{group}")
    metadata = {
        "name": name,
        "namespace": "shop",
        "uid": f"uid-{kind}-{name}",
        "creationTimestamp": CREATED,
        "labels": labels,
    }
    return {"kind": kind, "metadata": metadata, **content}


def build_pod(name: str = "redis-main-0", *, ready: bool = True, node: str = "node-1", **status: Any) -> Json:
    """Return the Pod of a group."""
    condition = {"type": "Ready", "status": str(ready), "lastTransitionTime": READY_SINCE}
    pod = build("Pod", name, spec={"nodeName": node}, status={"conditions": [condition], **status})
    pod["metadata"]["labels"][VERSION_LABEL] = "8.2"
    return pod


def build_cluster_pod(name: str, *, ready: bool = True, claim: str | None = "", **status: Any) -> Json:
    """Return a Pod that an operator created for `postgresql.main`. By default, its volume claim has its name."""
    pod = build_pod(name, ready=ready, **status)
    pod["metadata"]["labels"] = server_labels("postgresql-main")
    if claim is not None:
        pod["spec"]["volumes"] = [{"persistentVolumeClaim": {"claimName": claim or name}}, {"emptyDir": {}}]
    return pod


def build_claim(
    name: str = "redis-main", *, phase: str = "Bound", requested: str = "2Gi", provided: str = "2Gi"
) -> Json:
    """Return the volume claim of a group."""
    return build(
        "PersistentVolumeClaim",
        name,
        spec={"resources": {"requests": {"storage": requested}}},
        status={"phase": phase, **({"capacity": {"storage": provided}} if phase == "Bound" else {})},
    )


def build_service(name: str = "redis", **spec: Any) -> Json:
    """Return the Service of a group."""
    return build("Service", name, spec={"ports": [{"port": 6379}], **spec})


def build_event(kind: str, name: str, reason: str, message: str, *, time: str = CREATED, warns: bool = True) -> Json:
    """Return an event of an object."""
    return {
        "metadata": {"creationTimestamp": CREATED},
        "involvedObject": {"kind": kind, "name": name, "uid": f"uid-{kind}-{name}"},
        "type": "Warning" if warns else "Normal",
        "reason": reason,
        "message": message,
        "lastTimestamp": time,
    }


def collect(objects: Iterable[Json], unreadable: Iterable[tuple[str, str]] = ()) -> ClusterObjects:
    """Return objects as the cluster's."""
    keys = {ObjectKey(entry["kind"], "shop", entry["metadata"]["name"]): entry for entry in objects}
    return ClusterObjects(objects=keys, unreadable=frozenset(unreadable))


def build_healthy() -> list[Json]:
    """Return the objects of the group `redis.main` without its Pod."""
    return [
        build("StatefulSet", "redis-main"),
        build("Secret", "redis-main"),
        build("Secret", "shop-databases"),
        build_claim(),
        build_service(),
    ]
