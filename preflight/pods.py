"""Why a Pod is not ready: from its status and its events. Pure functions."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

__all__ = [
    "collect_messages",
    "explain_pod",
    "find_condition",
    "has_ended",
    "is_ready",
    "list_claims",
    "list_container_statuses",
]

START_REASON = "ContainerCreating"
STARTING_REASONS = {START_REASON, "PodInitializing"}
"""Waiting reasons that every container has for a while."""

Json = Mapping[str, Any]


def explain_pod(pod: Json, event: str | None) -> str:
    """Return why a Pod is not ready: the most specific reason. `event` is its last warning."""
    return next(_list_reasons(pod, event))


def find_condition(pod: Json, kind: str) -> Json | None:
    """Return a condition of a Pod; None if the Pod does not have it."""
    conditions = pod.get("status", {}).get("conditions") or ()
    return next((condition for condition in conditions if condition["type"] == kind), None)


def has_ended(pod: Json) -> bool:
    """Return whether the containers of a Pod have ended and will not start again."""
    return pod.get("status", {}).get("phase") in ("Succeeded", "Failed")


def is_ready(pod: Json) -> bool:
    """Return whether a Pod is ready."""
    return (find_condition(pod, "Ready") or {}).get("status") == "True"


def list_claims(pod: Json) -> list[str]:
    """Return the names of the volume claims that a Pod uses."""
    volumes = pod["spec"].get("volumes") or ()
    return [volume["persistentVolumeClaim"]["claimName"] for volume in volumes if "persistentVolumeClaim" in volume]


def list_container_statuses(pod: Json) -> list[Json]:
    """Return the statuses of a Pod's containers, the init containers first."""
    status = pod.get("status", {})
    return [*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())]


def collect_messages(events: Collection[Json]) -> dict[str, str]:
    """Return the last event of each object, by uid. Of a Pod, only warnings count."""
    relevant = [
        event for event in events if event.get("type") == "Warning" or event["involvedObject"].get("kind") != "Pod"
    ]
    relevant.sort(key=_read_event_time)
    return {event["involvedObject"].get("uid", ""): f"{event['reason']}: {event['message']}" for event in relevant}


def _list_reasons(pod: Json, event: str | None) -> Iterator[str]:
    """Yield the reasons why a Pod is not ready, the most specific one first. `event` is its last warning."""
    status = pod.get("status", {})
    if pod["metadata"].get("deletionTimestamp"):
        yield "is being deleted"
    scheduled = find_condition(pod, "PodScheduled") or {}
    if scheduled.get("status") == "False":
        yield f"{scheduled.get('reason')}: {scheduled.get('message')}"
    containers = list_container_statuses(pod)
    waiting = [(container, container.get("state", {}).get("waiting") or {}) for container in containers]
    for container, state in waiting:
        ended = container.get("lastState", {}).get("terminated")
        detail = _explain_exit(ended, container) if ended else state.get("message")
        if state.get("reason", START_REASON) not in STARTING_REASONS:
            yield f"{state['reason']}: {detail}" if detail else state["reason"]
    if event:
        yield event
    for container in containers:
        if ended := container.get("state", {}).get("terminated"):
            yield _explain_exit(ended, container)
    yield from (state["reason"] for _, state in waiting if "reason" in state)
    yield status.get("message") or "its containers are not ready"


def _explain_exit(terminated: Json, container: Json) -> str:
    code, restarts = terminated.get("exitCode"), container.get("restartCount", 0)
    return f"{terminated.get('reason', 'Error')}, exit code {code}, restarts: {restarts}"


def _read_event_time(event: Json) -> str:
    series = event.get("series") or {}
    times = (series.get("lastObservedTime"), event.get("lastTimestamp"), event.get("eventTime"))
    return str(next((time for time in times if time), event["metadata"]["creationTimestamp"]))
