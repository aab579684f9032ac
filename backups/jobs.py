"""Jobs of the commands: create one, follow its log, and return its result."""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

from preflight.cluster_client import (
    create_object,
    delete_object,
    list_objects,
    read_object,
    request_path,
)
from preflight.errors import ClusterError
from preflight.pods import collect_messages, explain_pod, list_container_statuses

__all__ = [
    "WAITING",
    "JobResult",
    "build_job_name",
    "find_end",
    "follow_job",
    "read_cron_job",
    "run_temporary_job",
    "start_cron_job",
]

Json = Mapping[str, Any]
Show = Callable[[str], None]
"""Prints a line."""

NO_OBJECTS: Mapping[str, Json] = MappingProxyType({})
POLL_SECONDS = 1.0
MAX_SILENCE_SECONDS = 120
"""How long the API server may give no answer while a Job runs."""
PENDING_SECONDS = 10
"""Time after which the reason why a Pod does not start is shown."""
RETENTION_SECONDS = 300
"""The cluster deletes a Job that has ended this long ago, if the command could not delete it."""
WAITING = "waiting for the Pod"
"""Begin of the line with the reason why a Pod does not start."""
OK = 200


@dataclass(frozen=True, kw_only=True)
class JobResult:
    """The end of a Job."""

    succeeded: bool
    message: str
    """The last message of its Pod, otherwise the reason of the cluster."""
    log: str = ""


def build_job_name(base: str, now: datetime) -> str:
    """Return the name of a Job with its time. It is eleven characters longer than the name of a CronJob."""
    return f"{base}-{now.astimezone(UTC):%m%d%H%M%S}"


def read_cron_job(connection: Any, namespace: str, name: str) -> Json | None:
    """Return a CronJob; None if it does not exist. Raises ClusterError."""
    found = read_object(connection, "CronJob", namespace, name)
    if found is None:
        raise ClusterError(f"not allowed to get CronJob {name!r} in namespace {namespace}")
    return found or None


def start_cron_job(connection: Any, cron_job: Json, name: str) -> None:
    """Create a Job of a CronJob, as the cluster does on the schedule. Raises ClusterError.

    The Job belongs to the CronJob: its success counts as one of the CronJob, whose limits of old Jobs apply.
    """
    metadata, template = cron_job["metadata"], cron_job["spec"]["jobTemplate"]
    owner = {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "name": metadata["name"],
        "uid": metadata["uid"],
        "controller": True,
    }
    content = {
        "metadata": {
            "name": name,
            "labels": metadata.get("labels", {}),
            "annotations": {"cronjob.kubernetes.io/instantiate": "manual"},
            "ownerReferences": [owner],
        },
        "spec": template["spec"],
    }
    create_object(connection, "Job", metadata["namespace"], content)


@contextlib.contextmanager
def run_temporary_job(
    connection: Any,
    namespace: str,
    name: str,
    *,
    labels: Json,
    spec: Json,
    objects: Mapping[str, Json] = NO_OBJECTS,
) -> Iterator[None]:
    """Create a Job, and delete it at the end with its Pods. Raises ClusterError.

    `objects` are further objects of this name for its Pod, by kind. They belong to the Job: if this process is killed,
    the cluster deletes the Job some time after its end, and then them.
    """
    metadata = {"name": name, "labels": dict(labels)}
    job_spec = {"backoffLimit": 0, **spec, "ttlSecondsAfterFinished": RETENTION_SECONDS}
    try:
        job = create_object(connection, "Job", namespace, {"metadata": metadata, "spec": job_spec})
        owner = {"apiVersion": "batch/v1", "kind": "Job", "name": name, "uid": job["metadata"]["uid"]}
        # The Pod waits for them.
        for kind, content in objects.items():
            owned = {**metadata, "ownerReferences": [owner]}
            create_object(connection, kind, namespace, {"metadata": owned, **content})
        yield
    finally:
        for kind in ("Job", *objects):
            delete_object(connection, kind, namespace, name)


def follow_job(connection: Any, namespace: str, name: str, show: Show) -> JobResult:
    """Show the log of a Job until its end. Raises ClusterError."""
    follower = _Follower(connection, namespace, name, show)
    last_answer = time.monotonic()
    while True:
        try:
            if result := follower.read_progress():
                return result
            last_answer = time.monotonic()
        except ClusterError:
            if time.monotonic() - last_answer > MAX_SILENCE_SECONDS:
                raise
        time.sleep(POLL_SECONDS)


class _Follower:
    """Reads a Job and its Pod again and again. Each line of the log is shown once."""

    def __init__(self, connection: Any, namespace: str, name: str, show: Show) -> None:
        self.connection, self.namespace, self.name, self.show = connection, namespace, name, show
        self.log = ""
        self.shown = 0
        self.reason = ""
        self.start = time.monotonic()

    def read_progress(self) -> JobResult | None:
        """Show what is new. Return the result of a Job that has ended. Raises ClusterError."""
        # The Job is read first: the log of a Job that has ended is complete.
        job = read_object(self.connection, "Job", self.namespace, self.name)
        if job is None:
            raise ClusterError(f"not allowed to get Job {self.name!r} in namespace {self.namespace}")
        if not job:
            return JobResult(succeeded=False, message=f"Job {self.name} was deleted", log=self.log)
        pod = self._read_pod()
        end = find_end(job)
        if pod:
            self._read_log(pod, is_complete=end is not None)
        if end is None:
            self._show_reason(job, pod)
            return None
        succeeded = end["type"] == "Complete"
        message = (_read_message(pod) if pod else "") or f"{end.get('reason', 'failed')}: {end.get('message', '')}"
        return JobResult(succeeded=succeeded, message=message, log=self.log)

    def _read_pod(self) -> Json | None:
        pods = list_objects(self.connection, "Pod", self.namespace, query={"labelSelector": f"job-name={self.name}"})
        return max(pods or (), key=lambda pod: pod["metadata"].get("creationTimestamp", ""), default=None)

    def _read_log(self, pod: Json, *, is_complete: bool) -> None:
        container = pod["spec"]["containers"][0]["name"]
        states = [status.get("state", {}) for status in list_container_statuses(pod) if status["name"] == container]
        if not any("running" in state or "terminated" in state for state in states):
            return
        text = _fetch_log(self.connection, self.namespace, pod["metadata"]["name"], container)
        if not text.startswith(self.log[: self.shown]):
            self.shown = 0  # the node has begun a new file
        self.log = text or self.log
        end = len(self.log) if is_complete else self.log.rfind("\n") + 1
        for line in self.log[self.shown : end].splitlines():
            self.show(line)
        self.shown = max(self.shown, end)

    def _show_reason(self, job: Json, pod: Json | None) -> None:
        """Show why the Pod does not run, when it takes long, and when the reason changes."""
        if self.log or time.monotonic() - self.start < PENDING_SECONDS:
            return
        if pod and pod.get("status", {}).get("phase") == "Running":
            return
        messages = collect_messages(list_objects(self.connection, "Event", self.namespace) or ())
        uid = (pod or job)["metadata"]["uid"]
        reason = explain_pod(pod, messages.get(uid)) if pod else messages.get(uid, "the Pod does not exist yet")
        if reason != self.reason:
            self.show(f"{WAITING}: {' '.join(reason.split())}")
            self.reason = reason


def find_end(job: Json) -> Json | None:
    """Return the condition with which a Job ended; None before its end."""
    conditions = job.get("status", {}).get("conditions") or ()
    ends = (entry for entry in conditions if entry["type"] in {"Complete", "Failed"} and entry["status"] == "True")
    return next(ends, None)


def _read_message(pod: Json) -> str:
    """Return the last message of the container, or why the Pod has none."""
    statuses = pod.get("status", {}).get("containerStatuses") or ()
    ended = [status["state"]["terminated"] for status in statuses if "terminated" in status.get("state", {})]
    # The message of a killed container is the end of its log.
    if any(state.get("reason") == "OOMKilled" for state in ended):
        return "the memory of the Pod does not suffice (OOMKilled)"
    messages = [str(state.get("message") or "").strip() for state in ended]
    if any(messages):
        return "\n".join(messages)
    has_failed = not ended or any(state.get("exitCode") for state in ended)
    return explain_pod(pod, None) if has_failed else ""


def _fetch_log(connection: Any, namespace: str, pod: str, container: str) -> str:
    """Return the log of a container; empty if it cannot be read now."""
    from urllib3.exceptions import HTTPError  # noqa: PLC0415

    path = f"/api/v1/namespaces/{namespace}/pods/{pod}/log"
    try:
        response = request_path(connection, path, accept="*/*", query={"container": container})
    except (HTTPError, OSError):
        return ""
    return str(response.data.decode(errors="replace")) if response.status == OK else ""
