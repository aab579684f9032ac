"""Why a server does not become ready: what is read, and the exact text for each state of its Pod."""

import base64
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from preflight import server_failure
from preflight.cluster_client import ClusterConfig, create_api_client
from preflight.errors import ClusterError
from preflight.server_failure import LOG_LINES, ContainerLog, ObservedServer, describe_failure, read_server
from tests.fake_api import Answer, build_kubeconfig, run_api_server
from tests.support import CANARY

PAGE = Path(__file__).resolve().parents[2] / "docs" / "troubleshooting.md"
NAME, POD = "postgresql-main", "postgresql-main-0"
UNSCHEDULABLE = {
    "type": "PodScheduled",
    "status": "False",
    "reason": "Unschedulable",
    "message": "0/1 nodes are available: 1 Insufficient cpu.",
}
SCHEDULED = {"type": "PodScheduled", "status": "True"}
READY = {"type": "Ready", "status": "True"}
RUNNING: dict[str, Any] = {"running": {"startedAt": "2026-01-01T00:00:00Z"}}
FAILED = {"terminated": {"reason": "Error", "exitCode": 1}}
KILLED = {"terminated": {"reason": "OOMKilled", "exitCode": 137}}
CRASHING = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 5m0s restarting failed container"}}
MORE_TIME = "; if the server only needs more time, increase `server.startTimeoutMinutes`"


def build_object(kind: str, status: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"metadata": {"name": NAME, "uid": f"uid of {kind}"}, "status": status or {}}


def build_pod(*containers: dict[str, Any], condition: dict[str, Any] | None = None, **status: Any) -> dict[str, Any]:
    conditions = [condition or SCHEDULED]
    return build_object("Pod", {"conditions": conditions, "containerStatuses": list(containers), **status})


def build_container(state: dict[str, Any], last: dict[str, Any] | None = None, **keys: Any) -> dict[str, Any]:
    container = {"name": "postgresql", "ready": False, "state": state, "lastState": last or {}, **keys}
    return {**container, "restartCount": 3 if last else 0}


def build_event(kind: str, reason: str, message: str, second: int = 0) -> dict[str, Any]:
    return {
        "type": "Warning",
        "reason": reason,
        "message": message,
        "involvedObject": {"kind": kind, "uid": f"uid of {kind}"},
        "metadata": {"creationTimestamp": f"2026-01-01T00:00:0{second}Z"},
    }


def observe(pod: dict[str, Any] | None, *events: dict[str, Any], **parts: Any) -> ObservedServer:
    claim = build_object("PersistentVolumeClaim", {"phase": "Bound"})
    observed = {"stateful_set": build_object("StatefulSet"), "claim": claim, **parts}
    return ObservedServer(name=NAME, pod=pod, events=events, **observed)


# The text

TEXTS: dict[str, tuple[ObservedServer, list[str]]] = {
    "no node": (
        observe(
            build_pod(condition=UNSCHEDULABLE),
            build_event("Pod", "FailedScheduling", UNSCHEDULABLE["message"]),
        ),
        [
            f"Pod {POD}: FailedScheduling: 0/1 nodes are available: 1 Insufficient cpu.",
            "fix: see docs/troubleshooting.md#a-pod-stays-pending",
        ],
    ),
    "no node, without the event": (
        observe(build_pod(condition=UNSCHEDULABLE)),
        [
            f"Pod {POD}: Unschedulable: 0/1 nodes are available: 1 Insufficient cpu.",
            "fix: see docs/troubleshooting.md#a-pod-stays-pending",
        ],
    ),
    "no volume": (
        observe(
            build_pod(condition=UNSCHEDULABLE),
            build_event("PersistentVolumeClaim", "ProvisioningFailed", 'storageclass "fast" not found'),
            claim=build_object("PersistentVolumeClaim", {"phase": "Pending"}),
        ),
        [
            f"Pod {POD}: Unschedulable: 0/1 nodes are available: 1 Insufficient cpu.",
            f'volume claim {NAME} is not bound: ProvisioningFailed: storageclass "fast" not found',
            "fix: see docs/troubleshooting.md#a-pod-stays-pending",
        ],
    ),
    "no Pod": (
        observe({}, build_event("StatefulSet", "FailedCreate", "create Pod failed: exceeded quota: small")),
        [
            f"Pod {POD} does not exist: FailedCreate: create Pod failed: exceeded quota: small",
            "fix: see docs/troubleshooting.md#a-pod-stays-pending",
        ],
    ),
    "no Pod, without an event": (
        observe({}),
        [f"Pod {POD} does not exist", "fix: see docs/troubleshooting.md#a-pod-stays-pending"],
    ),
    "no image": (
        observe(
            build_pod(build_container({"waiting": {"reason": "ImagePullBackOff", "message": "not found: 17.99"}})),
            build_event("Pod", "Failed", "Failed to pull image", 1),
            build_event("Pod", "Failed", "Error: ImagePullBackOff", 2),
        ),
        [
            f"Pod {POD}: ImagePullBackOff: not found: 17.99",
            "last event: Failed: Error: ImagePullBackOff",
            "fix: see docs/troubleshooting.md#an-image-cannot-be-pulled",
        ],
    ),
    "restarts": (
        observe(
            build_pod(build_container(CRASHING, FAILED)),
            build_event("Pod", "BackOff", "Back-off restarting failed container"),
            logs=[ContainerLog(container="postgresql", text="starting\nFATAL: unknown parameter\n", is_previous=True)],
        ),
        [
            f"Pod {POD}: CrashLoopBackOff: Error, exit code 1, restarts: 3",
            "last event: BackOff: Back-off restarting failed container",
            "last lines of the log of container postgresql before its restart:",
            "  starting",
            "  FATAL: unknown parameter",
            "fix: see docs/troubleshooting.md#a-server-fails-at-its-start",
        ],
    ),
    "not enough memory, and a warning of the probe": (
        observe(
            build_pod(build_container(RUNNING, KILLED)),
            build_event("Pod", "Unhealthy", "Readiness probe failed:\nno\tresponse"),
            logs=[
                ContainerLog(container="postgresql", text="loading", is_previous=True),
                ContainerLog(container="postgresql", text="\x1b[31mloading\x1b[0m again\r\n"),
            ],
        ),
        [
            f"Pod {POD}: Unhealthy: Readiness probe failed: no response",
            "last lines of the log of container postgresql before its restart:",
            "  loading",
            "last lines of the log of container postgresql:",
            "  loading again",
            "fix: see docs/troubleshooting.md#a-server-fails-at-its-start",
        ],
    ),
    "failed init container": (
        observe(build_pod(initContainerStatuses=[build_container(FAILED, name="proxy")])),
        [
            f"Pod {POD}: Error, exit code 1, restarts: 0",
            "fix: see docs/troubleshooting.md#a-server-fails-at-its-start",
        ],
    ),
    "slow": (
        observe(
            build_pod(build_container(RUNNING)), logs=[ContainerLog(container="postgresql", text="redo in progress\n")]
        ),
        [
            f"Pod {POD}: its containers are not ready",
            "last lines of the log of container postgresql:",
            "  redo in progress",
            f"fix: see docs/troubleshooting.md#a-server-does-not-become-ready{MORE_TIME}",
        ],
    ),
    "image is being pulled": (
        observe(build_pod(build_container({"waiting": {"reason": "ContainerCreating"}}))),
        [
            f"Pod {POD}: ContainerCreating",
            f"fix: see docs/troubleshooting.md#a-server-does-not-become-ready{MORE_TIME}",
        ],
    ),
}


@pytest.mark.parametrize(("observed", "expected"), TEXTS.values(), ids=TEXTS)
def test_text_has_the_reason_and_the_fix(observed: ObservedServer, expected: list[str]) -> None:
    first, *others = expected
    text = describe_failure(observed)
    assert text is not None
    assert text.split("\n") == [f"server {NAME} is not ready: {first}", *others]


@pytest.mark.parametrize("fix", sorted({expected[-1] for _, expected in TEXTS.values()}))
def test_fix_is_a_section_of_the_page(fix: str) -> None:
    headings = re.findall(r"^##+ (.+)$", PAGE.read_text(), re.MULTILINE)
    anchors = {heading.lower().replace(" ", "-") for heading in headings}
    assert re.findall(r"troubleshooting\.md#([a-z-]+)", fix)[0] in anchors


def test_unreadable_pod_has_a_note() -> None:
    assert describe_failure(observe(None)) == f"server {NAME} is not ready; the account may not read Pod {POD}"


@pytest.mark.parametrize("observed", [observe(build_pod(condition=READY)), observe({}, stateful_set={})])
def test_server_that_is_ready_or_was_never_created_has_no_text(observed: ObservedServer) -> None:
    """Pulumi's own message has the reason, for example that the API server rejected the object."""
    assert describe_failure(observed) is None


def test_text_has_the_end_of_a_long_log() -> None:
    log = "\n".join([*map(str, range(100)), "x" * 1000])
    text = describe_failure(observe(build_pod(), logs=[ContainerLog(container="postgresql", text=log)]))
    assert text is not None
    lines = [line for line in text.split("\n") if line.startswith("  ")]
    assert (len(lines), lines[0]) == (LOG_LINES, "  86")
    assert len(lines[-1]) == 300
    assert lines[-1].endswith("x…")


# Secrets

LONG = "x" * 290
LEAKS = (
    f"password: {CANARY}",
    f"{LONG}{CANARY}",
    f"the Secret has {base64.b64encode(CANARY.encode()).decode()}",
)
STATEMENTS = (
    "STATEMENT:  CREATE ROLE app LOGIN PASSWORD 'of-the-script'",
    "LINE 1: ALTER USER app PASSWORD 'of-the-script",
    "near 'IDENTIFIED BY \"of-the-script\"'",
    "CREATE USER a IDENTIFIED WITH caching_sha2_password BY 'of-the-script' REQUIRE SSL",
    'connect "postgresql://app:of-the-script@db:5432/shop"',
    '{"password": "of-the-script"}',
)


@pytest.mark.parametrize("leak", [*LEAKS, *STATEMENTS])
def test_text_has_no_secrets(leak: str) -> None:
    """A part of a secret at the end of a shortened line is one, too."""
    pod = build_pod(build_container({"waiting": {"reason": "Error", "message": leak}}))
    logs = [ContainerLog(container="postgresql", text=f"first\n{leak}\nlast")]
    text = describe_failure(observe(pod, build_event("Pod", "Unhealthy", f"failed: {leak}"), logs=logs), [CANARY])
    assert text is not None
    assert [
        word for word in (CANARY[:5], base64.b64encode(CANARY.encode()).decode(), "of-the-script") if word in text
    ] == []
    assert "***" in text
    assert "  last" in text


def test_text_without_secrets_does_not_change() -> None:
    log = 'FATAL: password authentication failed for user "shop_main"\nhttp://127.0.0.1:8086/health'
    text = describe_failure(observe(build_pod(), logs=[ContainerLog(container="postgresql", text=log)]), ["", CANARY])
    assert text is not None
    assert "\n".join(f"  {line}" for line in log.split("\n")) in text


# The requests

API = "/api/v1/namespaces/shop"
STATEFUL_SET_PATH = f"/apis/apps/v1/namespaces/shop/statefulsets/{NAME}"
LOG_PATH = f"{API}/pods/{POD}/log?container=postgresql&tailLines={LOG_LINES}&previous="
EVENT = build_event("Pod", "BackOff", "Back-off")
SERVER: dict[str, Answer] = {
    STATEFUL_SET_PATH: (200, build_object("StatefulSet")),
    f"{API}/pods/{POD}": (200, build_pod(build_container(RUNNING, FAILED), build_container(RUNNING, ready=True))),
    f"{API}/persistentvolumeclaims/{NAME}": (404, {}),
    f"{API}/events?fieldSelector=type%3DWarning": (200, {"items": [EVENT]}),
    f"{LOG_PATH}true": (200, "FATAL\n"),
    f"{LOG_PATH}false": (200, "starting\n"),
}


@pytest.fixture
def answers() -> dict[str, Answer]:
    return dict(SERVER)


@pytest.fixture
def config(answers: dict[str, Answer]) -> Iterator[ClusterConfig]:
    with run_api_server(lambda path, _: answers.get(path, (404, {}))) as url:
        yield ClusterConfig(kubeconfig=build_kubeconfig(url), context="good")


def read(config: ClusterConfig) -> ObservedServer:
    with create_api_client(config) as connection:
        return read_server(connection, "shop", NAME)


def test_server_is_read_with_the_logs_of_containers_that_are_not_ready(config: ClusterConfig) -> None:
    logs = [
        ContainerLog(container="postgresql", text="FATAL\n", is_previous=True),
        ContainerLog(container="postgresql", text="starting\n"),
    ]
    observed = read(config)
    assert (observed.logs, observed.claim, list(observed.events)) == (logs, {}, [EVENT])


@pytest.mark.parametrize(
    ("container", "expected"),
    [
        (build_container(CRASHING, FAILED), [True]),
        (build_container(FAILED), [False]),
        (build_container(RUNNING), [False]),
        (build_container({"waiting": {"reason": "ContainerCreating"}}), []),
        (build_container({"terminated": {"exitCode": 0}}), []),
    ],
)
def test_logs_of_each_state(
    answers: dict[str, Answer], config: ClusterConfig, container: dict[str, Any], expected: list[bool]
) -> None:
    answers[f"{API}/pods/{POD}"] = (200, build_pod(initContainerStatuses=[container]))
    assert [log.is_previous for log in read(config).logs] == expected


def test_limited_account_reads_what_it_may(answers: dict[str, Answer], config: ClusterConfig) -> None:
    for path in set(answers) - {f"{API}/pods/{POD}"}:
        answers[path] = (403, {})
    observed = read(config)
    assert (observed.stateful_set, observed.claim, observed.events) == (None, None, ())
    assert {log.text for log in observed.logs} == {"(the account may not read it: no right to get `pods/log`)"}
    assert replace(observed, logs=()).pod == answers[f"{API}/pods/{POD}"][1]


def test_node_without_the_log_has_an_empty_one(answers: dict[str, Answer], config: ClusterConfig) -> None:
    answers[f"{LOG_PATH}true"] = (400, "previous terminated container not found")
    assert [log.text for log in read(config).logs] == ["starting\n"]


def test_node_that_does_not_answer_does_not_hide_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(path: str, _: str) -> Answer:
        if "/log?" in path:
            time.sleep(1)
        return SERVER.get(path, (404, {}))

    monkeypatch.setattr(server_failure, "REQUEST_TIMEOUT_SECONDS", (0.5, 0.5))
    with run_api_server(answer) as url:
        observed = read(ClusterConfig(kubeconfig=build_kubeconfig(url), context="good"))
    assert {log.text for log in observed.logs} == {"(the node does not answer)"}
    assert list(observed.events) == [EVENT]


def test_unreachable_cluster_is_an_error() -> None:
    with pytest.raises(ClusterError, match="cannot connect to the cluster"):
        read(ClusterConfig(kubeconfig=build_kubeconfig("http://127.0.0.1:1"), context="good"))
