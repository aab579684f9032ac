"""The password change of a running server: what the program sends to the API server, and its messages."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pulumi
import pytest

from components.platform import ServerAddress
from preflight import server_script
from preflight.cluster_client import ClusterConfig
from stacks.config_source import ConfigSource
from stacks.password_changer import ClusterPasswordChanger
from tests.fake_api import UPGRADE, Answer, Execution, build_kubeconfig, run_api_server
from tests.support import CANARY

LOCATION = ("applications", "shop", "databases", "redis", "main")
SOURCE = ConfigSource(lines={LOCATION: 7})
PREFIX = f"line 7: {'.'.join(LOCATION)}: "
SERVER = ServerAddress(location=LOCATION, namespace="shop", name="redis-main", container="redis")
POD_PATH = "/api/v1/namespaces/shop/pods/redis-main-0"
OLD, NEW = f"{CANARY}-old", f"{CANARY}-new"
FAILURE = (
    "{prefix}server redis-main does not accept the new password: {reason}\n"
    "fix: correct the cause, or restart the server: kubectl delete pod --namespace shop redis-main-0; then run"
    " `make up` again\nthe Secret was not changed"
)
REFUSAL = "{prefix}the password of the running server redis-main cannot change: {reason}; the server restarts"


def build_pod(ready: str, **metadata: str) -> dict[str, Any]:
    return {"metadata": metadata, "status": {"conditions": [{"type": "Ready", "status": ready}]}}


def run_change(
    pod: Answer,
    exec_answer: Answer = (UPGRADE, {}),
    execute: Callable[[str], Execution] = lambda _: (0, ""),
    server: ServerAddress = SERVER,
) -> tuple[str | None, list[str]]:
    """Return the result of a change, or its error, and the requests."""
    requests: list[str] = []

    def answer(path: str, _: str) -> Answer:
        requests.append(path)
        return pod if path == POD_PATH else exec_answer

    with run_api_server(answer, execute=execute) as url:
        changer = ClusterPasswordChanger(ClusterConfig(kubeconfig=build_kubeconfig(url), context="good"), SOURCE)
        try:
            return changer.change_password(server, OLD, NEW), requests
        except pulumi.RunError as error:
            return str(error), requests


def test_script_gets_the_passwords_on_standard_input_only() -> None:
    texts: list[str] = []

    def execute(text: str) -> Execution:
        texts.append(text)
        return 0, "done"

    result, requests = run_change((200, build_pod("True")), execute=execute)
    assert result is None
    assert texts == [f"{OLD}\n{NEW}\n"]
    assert requests[0] == POD_PATH
    parts = urlsplit(requests[1])
    assert parts.path == f"{POD_PATH}/exec"
    assert parse_qsl(parts.query) == [
        ("command", "/bin/sh"),
        ("command", "/etc/database-groups/change_password"),
        ("container", "redis"),
        ("stdin", "true"),
        ("stdout", "true"),
        ("stderr", "true"),
    ]
    assert CANARY not in "".join(requests)


@pytest.mark.parametrize(
    ("execution", "reason"),
    [
        ((1, f"NOPERM {OLD} {NEW}\n"), "NOPERM *** ***"),
        ((1, "\n".join(map(str, range(9)))), "4\n5\n6\n7\n8"),
        ((3, ""), "exit code 3"),
        ((None, ""), "the connection to the Pod ended"),
    ],
    ids=["passwords", "long output", "no output", "no exit code"],
)
def test_failed_script_is_an_error_without_passwords(execution: Execution, reason: str) -> None:
    result, _ = run_change((200, build_pod("True")), execute=lambda _: execution)
    assert result == FAILURE.format(prefix=PREFIX, reason=reason)


def test_slow_script_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_script, "SCRIPT_SECONDS", 0)
    result, _ = run_change((200, build_pod("True")))
    assert result == FAILURE.format(prefix=PREFIX, reason="it did not end in 0 seconds")


@pytest.mark.parametrize(
    ("pod", "exec_answer", "reason"),
    [
        ((200, build_pod("False")), (UPGRADE, {}), "Pod redis-main-0 is not ready"),
        ((200, {"metadata": {}, "status": {}}), (UPGRADE, {}), "Pod redis-main-0 is not ready"),
        ((200, build_pod("True", deletionTimestamp="now")), (UPGRADE, {}), "Pod redis-main-0 is not ready"),
        ((404, {}), (UPGRADE, {}), "Pod redis-main-0 is not ready"),
        ((403, {}), (UPGRADE, {}), "the account may not read Pod redis-main-0"),
        (
            (200, build_pod("True")),
            (403, {}),
            "the account may not run it: no right to get and create `pods/exec`",
        ),
        ((200, build_pod("True")), (500, {}), "the API server answers 500"),
    ],
)
def test_script_that_cannot_run_is_a_warning(pod: Answer, exec_answer: Answer, reason: str) -> None:
    result, _ = run_change(pod, exec_answer)
    assert result == REFUSAL.format(prefix=PREFIX, reason=reason)


def test_cluster_gets_the_text_of_its_script() -> None:
    """A restart does not change the password of a cluster, so no message speaks of one."""
    prefix, end = (
        f"{PREFIX}server redis-main does not accept the new password: it failed\n",
        "\nthe Secret was not changed",
    )
    server, fix = replace(SERVER, password_script="run it"), "fix: correct the cause; then run `make up` again"
    result, requests = run_change((200, build_pod("True")), execute=lambda _: (0, ""), server=server)
    assert result is None
    assert parse_qsl(urlsplit(requests[1]).query)[:3] == [
        ("command", "/bin/sh"),
        ("command", "-c"),
        ("command", "run it"),
    ]
    failure, _ = run_change((200, build_pod("True")), execute=lambda _: (1, "it failed"), server=server)
    assert failure == f"{prefix}{fix}{end}"
    refusal, _ = run_change((200, build_pod("False")), server=server)
    reason = "the password of the running server redis-main cannot change: Pod redis-main-0 is not ready"
    assert refusal == f"{PREFIX}{reason}\n{fix}{end}"


def test_unreachable_cluster_is_an_error() -> None:
    config = ClusterConfig(kubeconfig=build_kubeconfig("http://127.0.0.1:1"), context="good")
    with pytest.raises(pulumi.RunError) as caught:
        ClusterPasswordChanger(config, SOURCE).change_password(SERVER, OLD, NEW)
    assert str(caught.value).startswith(f"{PREFIX}cannot connect to the cluster at http://127.0.0.1:1")
    assert str(caught.value).endswith("\nthe Secret was not changed")


@pytest.mark.parametrize(
    ("status", "message"), [(200, None), (404, None), (403, "cannot restart StatefulSet 'redis-main' (403 Forbidden)")]
)
def test_restart_changes_an_annotation_of_the_pods(status: int, message: str | None) -> None:
    requests: list[tuple[str, Any]] = []

    def review(path: str, body: dict[str, Any]) -> Answer:
        requests.append((path, body))
        return status, {}

    with run_api_server(lambda *_: (404, {}), review) as url:
        changer = ClusterPasswordChanger(ClusterConfig(kubeconfig=build_kubeconfig(url), context="good"), SOURCE)
        if message is None:
            changer.restart_server(SERVER)
        else:
            with pytest.raises(pulumi.RunError) as caught:
                changer.restart_server(SERVER)
            assert str(caught.value) == f"{PREFIX}{message}"
    ((path, body),) = requests
    assert urlsplit(path).path == "/apis/apps/v1/namespaces/shop/statefulsets/redis-main"
    assert set(body["spec"]["template"]["metadata"]["annotations"]) == {"kubectl.kubernetes.io/restartedAt"}
