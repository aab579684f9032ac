"""Why a server in the cluster does not become ready: its Pod, the last warnings and the last lines of the logs."""

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from preflight.cluster_client import list_objects, read_object, request_path
from preflight.cluster_models import JsonObject
from preflight.pods import collect_messages, explain_pod, find_condition, list_container_statuses
from preflight.redaction import REDACTED, hide_values

__all__ = ["ContainerLog", "ObservedServer", "describe_failure", "read_server"]

REQUEST_TIMEOUT_SECONDS = (2, 2)
"""Time limits of a request: to connect, and to receive the answer."""
LOG_LINES = 15
MAX_LINE_LENGTH = 300
OK, FORBIDDEN = 200, 403
NO_ACCESS = "(the account may not read it: no right to get `pods/log`)"
NO_ANSWER = "(the node does not answer)"
CREDENTIAL_RE = re.compile(
    r"(?P<before>\b(?:password|passwd|secret|token|identified\s+(?:with\s+\S+\s+)?by)\b['\"]?\s*[=:]?\s*E?)"
    r"(?:'[^'\n]*'?|\"[^\"\n]*\"?)"
    r"|(?P<account>://[^/\s:@]*:)[^@\s]+(?=@)",
    re.IGNORECASE,
)
"""A literal in a statement of the user's script, `PASSWORD '...'`, and the password in a URI."""
COLOR_RE = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
PAGE = "docs/troubleshooting.md"
IMAGE_REASONS = ("ErrImage", "ImagePull", "InvalidImage")
MORE_TIME = "if the server only needs more time, increase `server.startTimeoutMinutes`"


@dataclass(frozen=True, kw_only=True)
class ContainerLog:
    """The last lines of a container's log."""

    container: str
    text: str
    is_previous: bool = False
    """Whether it is the log before the last restart."""


@dataclass(frozen=True, kw_only=True)
class ObservedServer:
    """What exists of a server. An object that does not exist is empty; one that the account may not read is None."""

    name: str
    """Name of the StatefulSet and of the volume claim."""
    stateful_set: JsonObject | None
    pod: JsonObject | None
    claim: JsonObject | None
    events: Collection[JsonObject] = ()
    """The warnings of the namespace."""
    logs: Sequence[ContainerLog] = ()
    """Logs of the containers that are not ready."""

    @property
    def pod_name(self) -> str:
        """Name of the server's Pod."""
        return f"{self.name}-0"


def read_server(connection: Any, namespace: str, name: str) -> ObservedServer:
    """Read what exists of a server. Raises ClusterError."""
    timeout = REQUEST_TIMEOUT_SECONDS
    pod_name, query = f"{name}-0", {"fieldSelector": "type=Warning"}
    pod = read_object(connection, "Pod", namespace, pod_name, timeout=timeout)
    logs = [_read_log(connection, namespace, pod_name, *log) for log in _list_logs(pod or {})]
    return ObservedServer(
        name=name,
        stateful_set=read_object(connection, "StatefulSet", namespace, name, timeout=timeout),
        pod=pod,
        claim=read_object(connection, "PersistentVolumeClaim", namespace, name, timeout=timeout),
        events=list_objects(connection, "Event", namespace, timeout=timeout, query=query) or (),
        logs=[log for log in logs if log.text.strip()],
    )


def _list_logs(pod: JsonObject) -> Iterator[tuple[str, bool]]:
    """Yield the container of each log to read, and whether it is the log before the last restart."""
    for container in list_container_statuses(pod):
        state, has_restarted = container.get("state", {}), bool(container.get("lastState", {}).get("terminated"))
        has_ended_well = state.get("terminated", {}).get("exitCode") == 0
        if container.get("ready") or has_ended_well:
            continue
        if has_restarted:
            yield container["name"], True
        if "running" in state or "terminated" in state:
            yield container["name"], False


def _read_log(connection: Any, namespace: str, pod: str, container: str, is_previous: bool) -> ContainerLog:
    """Read the end of a log. It is empty if the node no longer has it. A node that is down does not hide the rest."""
    from urllib3.exceptions import HTTPError  # noqa: PLC0415

    query = {"container": container, "tailLines": str(LOG_LINES), "previous": str(is_previous).lower()}
    path = f"/api/v1/namespaces/{namespace}/pods/{pod}/log"
    try:
        response = request_path(connection, path, timeout=REQUEST_TIMEOUT_SECONDS, accept="*/*", query=query)
        texts = {OK: response.data.decode(errors="replace"), FORBIDDEN: NO_ACCESS}
        text = texts.get(response.status, "")
    except (HTTPError, OSError):
        text = NO_ANSWER
    return ContainerLog(container=container, text=text, is_previous=is_previous)


def describe_failure(observed: ObservedServer, secrets: Collection[str] = ()) -> str | None:
    """Return why a server is not ready and what to do, without the secrets.

    None for a server that is ready, and without a StatefulSet: Pulumi's own message then has the reason.
    """
    pod = observed.pod
    if pod is None:
        return f"server {observed.name} is not ready; the account may not read Pod {observed.pod_name}"
    ready = find_condition(pod, "Ready") or {}
    if ready.get("status") == "True" or not (pod or observed.stateful_set):
        return None
    reasons = [_hide(reason, secrets) for reason in _list_reasons(observed, pod)]
    lines = [f"server {observed.name} is not ready: {reasons[0]}", *reasons[1:]]
    for log in observed.logs:
        when = " before its restart" if log.is_previous else ""
        lines.append(f"last lines of the log of container {log.container}{when}:")
        lines += [f"  {line}" for line in _hide(log.text, secrets).splitlines()[-LOG_LINES:]]
    return "\n".join([*map(_normalize, lines), f"fix: {_select_fix(pod)}"])


def _list_reasons(observed: ObservedServer, pod: JsonObject) -> Iterator[str]:
    """Yield the reason why the Pod is not ready, then its last warning, if that is another text."""
    messages = collect_messages(observed.events)
    if not pod:
        event = messages.get((observed.stateful_set or {})["metadata"]["uid"])
        yield f"Pod {observed.pod_name} does not exist{f': {event}' if event else ''}"
        return
    event = messages.get(pod["metadata"]["uid"])
    reason = explain_pod(pod, event)
    repeats = event is not None and event.partition(": ")[2] in reason
    yield f"Pod {observed.pod_name}: {event if repeats else reason}"
    if event and not repeats:
        yield f"last event: {event}"
    claim = observed.claim
    if claim and claim.get("status", {}).get("phase") != "Bound":
        event = messages.get(claim["metadata"]["uid"])
        yield f"volume claim {observed.name} is not bound{f': {event}' if event else ''}"


def _select_fix(pod: JsonObject) -> str:
    """Return the section of the page for the state of the Pod."""
    containers = list_container_statuses(pod)
    waiting = [container.get("state", {}).get("waiting", {}).get("reason", "") for container in containers]
    if not pod or (find_condition(pod, "PodScheduled") or {}).get("status") == "False":
        return f"see {PAGE}#a-pod-stays-pending"
    if any(reason.startswith(IMAGE_REASONS) for reason in waiting):
        return f"see {PAGE}#an-image-cannot-be-pulled"
    if any(_has_failed(container) for container in containers):
        return f"see {PAGE}#a-server-fails-at-its-start"
    return f"see {PAGE}#a-server-does-not-become-ready; {MORE_TIME}"


def _has_failed(container: JsonObject) -> bool:
    """Return whether a container ended with an error, now or before its restart."""
    return any(container.get(key, {}).get("terminated", {}).get("exitCode") for key in ("state", "lastState"))


def _hide(text: str, secrets: Collection[str]) -> str:
    """Return a text without the secrets, and without literals that are credentials."""
    hidden = hide_values(text, secrets)
    return CREDENTIAL_RE.sub(lambda match: f"{match['before'] or match['account']}{REDACTED}", hidden)


def _normalize(line: str) -> str:
    """Return a line without colors and control characters, or the start of a long line."""
    text = "".join(char if char.isprintable() else " " for char in COLOR_RE.sub("", line)).rstrip()
    return text if len(text) <= MAX_LINE_LENGTH else f"{text[: MAX_LINE_LENGTH - 1]}…"
