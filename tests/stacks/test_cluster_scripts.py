"""The script with which the program checks that the servers of an operator are one cluster."""

import json
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pulumi
import pytest

from components.engines import ENGINES
from components.platform import OperatedCluster
from preflight.cluster_client import ClusterConfig
from stacks import cluster_monitor
from stacks.cluster_monitor import OperatorMonitor
from stacks.config_source import ConfigSource
from tests.fake_api import UPGRADE, Answer, Execution, build_kubeconfig, run_api_server

LOCATION = ("applications", "shop", "databases", "rabbitmq", "main")
CLUSTER = ENGINES["rabbitmq"].cluster
assert CLUSTER
OPERATED = OperatedCluster(
    location=LOCATION,
    namespace="shop",
    name="rabbitmq-main-cluster",
    account_secret="rabbitmq-main-account",
    account_version="1",
    engine=CLUSTER,
    check_script="check it",
    timeout_minutes=1,
)
CONDITIONS = [{"type": kind, "status": "True"} for kind in ("AllReplicasReady", "ClusterAvailable", "ReconcileSuccess")]
RESOURCE = {"metadata": {"generation": 2}, "status": {"observedGeneration": 2, "conditions": CONDITIONS}}
STATEFUL_SET = {
    "metadata": {"generation": 1},
    "spec": {"replicas": 3},
    "status": {
        "observedGeneration": 1,
        "currentRevision": "a",
        "updateRevision": "a",
        "updatedReplicas": 3,
        "readyReplicas": 3,
    },
}
POD = {"metadata": {}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}}
NAME = "rabbitmq-main-cluster-server"


def wait(
    monkeypatch: pytest.MonkeyPatch, *executions: Execution, is_changed: bool = True, seconds: int = 60
) -> list[str]:
    """Wait for a cluster that is ready. Return the scripts that ran."""
    monkeypatch.setattr(cluster_monitor, "SETTLE_SECONDS", 0)
    monkeypatch.setattr(cluster_monitor, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(cluster_monitor, "SECONDS_PER_MINUTE", seconds)
    results, scripts = list(executions), []
    answers: dict[str, Any] = {
        "rabbitmqclusters/rabbitmq-main-cluster": RESOURCE,
        f"statefulsets/{NAME}": STATEFUL_SET,
        f"pods/{NAME}-0": POD,
        "secrets/rabbitmq-main-account": {"metadata": {}},
    }

    def answer(path: str, _: str) -> Answer:
        parts = urlsplit(path)
        if parts.path.endswith("/exec"):
            assert parts.path.endswith(f"/pods/{NAME}-0/exec")
            scripts.append(dict(parse_qsl(parts.query))["command"])
            return UPGRADE, {}
        return next((200, json.loads(json.dumps(body))) for end, body in answers.items() if parts.path.endswith(end))

    def execute(_text: str) -> Execution:
        return results.pop(0) if len(results) > 1 else results[0]

    with run_api_server(answer, execute=execute) as url:
        config = ClusterConfig(kubeconfig=build_kubeconfig(url), context="good")
        monitor = OperatorMonitor(config, ConfigSource(lines={LOCATION: 7}))
        monitor.wait_until_ready(OPERATED, is_changed=is_changed)
    return scripts


def test_script_runs_in_the_first_server(monkeypatch: pytest.MonkeyPatch) -> None:
    assert wait(monkeypatch, (0, "")) == ["check it"]


def test_unchanged_cluster_is_not_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    assert wait(monkeypatch, (1, "1 of 3"), is_changed=False) == []


def test_failed_script_runs_again(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(wait(monkeypatch, (1, "1 of 3"), (1, "2 of 3"), (0, ""))) == 3


def test_several_clusters_are_an_error_after_the_time_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(pulumi.RunError) as caught:
        wait(monkeypatch, (1, "only 1 of 3 nodes"), seconds=1)
    message = "rabbitmq-main-cluster is not ready after 1 minute: only 1 of 3 nodes\n"
    assert message in str(caught.value)
