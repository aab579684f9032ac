"""The status of each database group, from Pulumi's state and the objects of the cluster. Pure functions."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from components.persisted.labels import VERSION_LABEL, group_labels, pod_selector_labels, server_labels
from components.persisted.names import object_name
from components.persisted.outputs import GroupSummary
from preflight.pods import collect_messages, explain_pod, find_condition, has_ended, is_ready, list_claims
from stacks.previous_state import PreviousState
from status.cluster import ClusterObjects, VolumeUsage

__all__ = [
    "MISSING",
    "ApplicationStatus",
    "GroupStatus",
    "VolumeStatus",
    "build_statuses",
    "has_server_clusters",
    "list_event_namespaces",
    "list_nodes",
    "list_object_kinds",
]

OBJECT_KINDS = ("Pod", "StatefulSet", "PersistentVolumeClaim", "Service", "Secret")
EXTERNAL = "external"
"""The server kind without Pods."""
NODE_ANNOTATION = "volume.kubernetes.io/selected-node"
"""Annotation of a volume claim: the node for which its volume was created."""
MISSING = "is missing"
"""End of the problem of an object that does not exist."""

Json = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class VolumeStatus:
    """A group's volume."""

    claim: str
    size: str
    """Size that the cluster provides; the requested size before it provides a volume."""
    used_bytes: int | None = None
    capacity_bytes: int | None = None
    """Size of the file system. None without information from the node."""


@dataclass(frozen=True, kw_only=True)
class GroupStatus:
    """A database group."""

    engine: str
    group: str
    service: str | None
    """Name of the Service; None without a server."""
    kind: str
    """Server kind."""
    variant: str
    version: str | None
    """Version of the running server; None for an external server."""
    hosts: tuple[str, ...] = ()
    """Hosts that the Service of an external server points to, with the port."""
    servers: int | None = None
    """Number of servers; None without a server in the cluster."""
    ready_servers: int | None = None
    """Number of servers that are ready."""
    ready: bool | None = None
    """Whether all servers are ready; None without a Pod to ask."""
    since: str | None = None
    """Time since when the server is ready or not ready (RFC 3339)."""
    volume: VolumeStatus | None = None
    secret: str
    """Name of the connection Secret."""
    secret_changed: str | None = None
    """Time of the last change of the Secret (RFC 3339)."""
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ApplicationStatus:
    """An application with its groups."""

    name: str
    namespace: str
    groups: tuple[GroupStatus, ...]
    problems: tuple[str, ...] = ()
    """Problems that no single group has."""


def list_object_kinds(state: PreviousState) -> list[str]:
    """Return the kinds of objects that are needed for a state."""
    has_external = any(group["kind"] == EXTERNAL for _, _, _, group in _list_groups(state))
    return [*OBJECT_KINDS, *(["EndpointSlice"] if has_external else [])]


def has_server_clusters(state: PreviousState) -> bool:
    """Return whether an operator runs servers of a state."""
    return any(_count_servers(summary) > 1 for _, _, _, summary in _list_groups(state))


def list_nodes(objects: ClusterObjects, namespaces: Collection[str]) -> set[str]:
    """Return the nodes that know the use of the volumes: those of running Pods, and those of the claims without."""
    nodes = set()
    for namespace in namespaces:
        running = {pod["spec"].get("nodeName") for pod in objects.find_all("Pod", namespace)}
        claims = (claim["metadata"] for claim in objects.find_all("PersistentVolumeClaim", namespace))
        nodes |= running | {metadata.get("annotations", {}).get(NODE_ANNOTATION) for metadata in claims}
    return nodes - {None}


def list_event_namespaces(state: PreviousState, objects: ClusterObjects) -> list[str]:
    """Return the namespaces in which a group has a problem."""
    statuses = build_statuses(state, objects, [], {})
    return sorted({status.namespace for status in statuses if any(group.problems for group in status.groups)})


def build_statuses(
    state: PreviousState,
    objects: ClusterObjects,
    events: Collection[Json],
    usage: Mapping[tuple[str, str], VolumeUsage],
) -> list[ApplicationStatus]:
    """Return the status of each application of a state, in the order of names: a state has no other order."""
    messages = collect_messages(events)
    statuses = []
    for name, application in sorted(state.items()):
        namespace = application["namespace"]
        groups = [
            _build_group(engine, group, summary, _Namespace(name, namespace, objects, messages, usage))
            for engine, summaries in sorted(application["databases"].items())
            for group, summary in sorted(summaries.items())
        ]
        secret = application["secret"]
        is_missing = objects.is_missing("Secret", namespace, secret)
        problems = (f"Secret {secret} {MISSING}",) if is_missing else ()
        statuses.append(ApplicationStatus(name=name, namespace=namespace, groups=tuple(groups), problems=problems))
    return statuses


@dataclass(frozen=True)
class _Namespace:
    """The objects in the namespace of an application."""

    application: str
    name: str
    objects: ClusterObjects
    messages: Mapping[str, str]
    """The message of each object's last event, by uid."""
    usage: Mapping[tuple[str, str], VolumeUsage]

    def find(self, kind: str, name: str) -> Json | None:
        return self.objects.find(kind, self.name, name)

    def require(self, kind: str, name: str) -> Iterator[str]:
        """Yield the problem of an object that does not exist."""
        if self.objects.is_missing(kind, self.name, name):
            yield f"{kind} {name} {MISSING}"


def _list_groups(state: PreviousState) -> Iterator[tuple[str, str, str, GroupSummary]]:
    for name, application in state.items():
        for engine, groups in application["databases"].items():
            yield from ((name, engine, group, summary) for group, summary in groups.items())


def _build_group(engine: str, group: str, summary: GroupSummary, namespace: _Namespace) -> GroupStatus:
    name = object_name(engine, group)
    service = summary.get("service")
    servers = _count_servers(summary) if service is not None and summary["kind"] != EXTERNAL else None
    pods = _find_pods(engine, name, servers, namespace)
    claim = namespace.find("PersistentVolumeClaim", name)
    volume = _build_volume(claim, namespace) if claim else None
    if servers and servers > 1:
        volume = _build_cluster_volume(summary, pods, namespace)
        server_problems = _list_cluster_problems(servers, pods, namespace)
    else:
        server_problems = _list_server_problems(name, pods, namespace)
    secret = namespace.find("Secret", summary["secret"])
    problems = [
        *(namespace.require("Service", service) if service else ()),
        *namespace.require("Secret", summary["secret"]),
        *(_list_volume_problems(claim, namespace) if claim else ()),
        *(server_problems if servers else ()),
    ]
    versions = [version for pod in pods if (version := pod["metadata"]["labels"].get(VERSION_LABEL))]
    return GroupStatus(
        engine=engine,
        group=group,
        service=service,
        kind=summary["kind"],
        variant=summary["variant"],
        version=versions[0] if versions else summary.get("version"),
        hosts=_list_hosts(service, name, namespace) if service and summary["kind"] == EXTERNAL else (),
        servers=servers,
        ready_servers=sum(map(is_ready, pods)) if servers else None,
        ready=len(pods) >= servers and all(map(is_ready, pods)) if servers else None,
        since=_find_last_transition(pods) if servers else None,
        volume=volume,
        secret=summary["secret"],
        secret_changed=_find_last_change(secret["metadata"]) if secret else None,
        problems=tuple(problems),
    )


def _count_servers(summary: GroupSummary) -> int:
    """Return the number of servers of a group. Releases before server clusters did not record it."""
    return int(summary.get("replicas") or 1)


def _find_pods(engine: str, name: str, servers: int | None, namespace: _Namespace) -> list[Json]:
    """Return the Pods of a group's servers. An operator also runs proxies and jobs, which use no volume or have ended.

    `name` is the name of the server.
    """
    is_cluster = servers is not None and servers > 1
    labels = pod_selector_labels(group_labels(namespace.application, engine, name))
    selector = (server_labels(name) if is_cluster else labels).items()
    pods = namespace.objects.find_all("Pod", namespace.name)
    found = [pod for pod in pods if selector <= pod["metadata"]["labels"].items()]
    return [pod for pod in found if list_claims(pod) and not has_ended(pod)] if is_cluster else found


def _find_last_transition(pods: Collection[Json]) -> str | None:
    """Return since when the Pods are as ready as they are."""
    conditions = [find_condition(pod, "Ready") or {} for pod in pods]
    return max((time for condition in conditions if (time := condition.get("lastTransitionTime"))), default=None)


def _list_server_problems(name: str, pods: Collection[Json], namespace: _Namespace) -> Iterator[str]:
    stateful_set = namespace.find("StatefulSet", name)
    yield from namespace.require("StatefulSet", name)
    if stateful_set and not pods and ("Pod", namespace.name) not in namespace.objects.unreadable:
        reason = namespace.messages.get(stateful_set["metadata"]["uid"])
        yield f"no Pod{f': {reason}' if reason else ''}"
    yield from _list_pod_problems(pods, namespace)


def _list_cluster_problems(servers: int, pods: Collection[Json], namespace: _Namespace) -> Iterator[str]:
    if ("Pod", namespace.name) in namespace.objects.unreadable:
        return
    ready = sum(map(is_ready, pods))
    if ready < servers:
        is_missing = len(pods) < servers
        reason = f"; Pods exist for {len(pods)} of {servers}: read the log of the operator" if is_missing else ""
        yield f"{ready} of {servers} servers ready{reason}"
    yield from _list_pod_problems(pods, namespace)
    for name in sorted({name for pod in pods for name in list_claims(pod)}):
        if claim := namespace.find("PersistentVolumeClaim", name):
            yield from _list_volume_problems(claim, namespace)


def _list_pod_problems(pods: Collection[Json], namespace: _Namespace) -> Iterator[str]:
    for pod in pods:
        if not is_ready(pod):
            yield f"Pod {pod['metadata']['name']}: {explain_pod(pod, namespace.messages.get(pod['metadata']['uid']))}"


def _list_volume_problems(claim: Json, namespace: _Namespace) -> Iterator[str]:
    name, status = claim["metadata"]["name"], claim.get("status", {})
    requested, provided = claim["spec"]["resources"]["requests"]["storage"], status.get("capacity", {}).get("storage")
    if status.get("phase") != "Bound":
        reason = namespace.messages.get(claim["metadata"]["uid"])
        yield f"volume claim {name} is {status.get('phase', 'Pending')}{f': {reason}' if reason else ''}"
    elif provided and _parse_size(provided) < _parse_size(requested):
        yield f"volume claim {name} requests {requested} and has {provided}"


def _build_cluster_volume(summary: GroupSummary, pods: Collection[Json], namespace: _Namespace) -> VolumeStatus | None:
    """Return the fullest volume of a server cluster, with the size that the stack requests."""
    size = summary.get("storage")
    if not size or not pods:
        return None
    claims = sorted({claim for pod in pods for claim in list_claims(pod)})
    used = {claim: usage for claim in claims if (usage := namespace.usage.get((namespace.name, claim)))}
    fullest = max(used, key=lambda claim: used[claim].used / max(used[claim].capacity, 1), default=claims[0])
    usage = used.get(fullest)
    return VolumeStatus(
        claim=fullest,
        size=size,
        used_bytes=usage.used if usage else None,
        capacity_bytes=usage.capacity if usage else None,
    )


def _build_volume(claim: Json, namespace: _Namespace) -> VolumeStatus:
    name = claim["metadata"]["name"]
    capacity = claim.get("status", {}).get("capacity", {})
    used = namespace.usage.get((namespace.name, name))
    return VolumeStatus(
        claim=name,
        size=capacity.get("storage") or claim["spec"]["resources"]["requests"]["storage"],
        used_bytes=used.used if used else None,
        capacity_bytes=used.capacity if used else None,
    )


def _list_hosts(service: str, name: str, namespace: _Namespace) -> tuple[str, ...]:
    """Return the hosts of an external server with the port."""
    found = namespace.find("Service", service)
    if not found:
        return ()
    port = found["spec"]["ports"][0]["port"]
    endpoint_slice = namespace.find("EndpointSlice", name) or {}
    addresses = [address for endpoint in endpoint_slice.get("endpoints") or () for address in endpoint["addresses"]]
    hosts = [found["spec"]["externalName"]] if "externalName" in found["spec"] else addresses
    return tuple(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host in hosts)


def _parse_size(quantity: str) -> Decimal:
    from kubernetes.utils.quantity import parse_quantity  # noqa: PLC0415 (takes half a second)

    parse: Any = parse_quantity  # without types
    return Decimal(parse(quantity))


def _find_last_change(metadata: Json) -> str:
    """Return the time of an object's last change by a manager of its fields, or of its creation."""
    times = [entry["time"] for entry in metadata.get("managedFields") or () if entry.get("time")]
    return str(max(times, default=metadata["creationTimestamp"]))
