"""The reporter of failures in the cluster: the group's path and line, and a cluster that cannot be read."""

from dataclasses import replace
from typing import Any

import pytest

from components.platform import ServerAddress
from components.servers.stateful_set import FAILURE_REPORT_SECONDS
from preflight.cluster_client import ClusterConfig
from preflight.server_failure import REQUEST_TIMEOUT_SECONDS
from stacks.config import parse_pulumi_config, parse_stack
from stacks.config_source import ConfigSource
from stacks.failure_reporter import ClusterFailureReporter
from tests.fake_api import Answer, build_kubeconfig, run_api_server
from tests.support import CANARY, stack_with_group

LOCATION = ("applications", "shop", "databases", "mysql", "main")
SERVER = ServerAddress(location=LOCATION, namespace="shop", name="mysql-main", container="mysql")
PATH = ".".join(LOCATION)
SOURCE = ConfigSource(lines={LOCATION: 7})
CONDITION = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": f"no node for {CANARY}"}
POD = {"metadata": {"uid": "1"}, "status": {"conditions": [CONDITION]}}
FULL_NAME = "organization/database-groups/shop"


def describe(reporter: ClusterFailureReporter) -> str | None:
    return reporter.describe_failure(SERVER, [CANARY])


@pytest.mark.parametrize(("source", "expected"), [(SOURCE, f"line 7: {PATH}"), (ConfigSource(), PATH)])
def test_message_has_the_line_and_the_path_of_the_group(source: ConfigSource, expected: str) -> None:
    def answer(path: str, _: str) -> Answer:
        return (200, POD) if path == "/api/v1/namespaces/shop/pods/mysql-main-0" else (404, {"items": []})

    with run_api_server(lambda path, accept: (200, {"items": []}) if "events" in path else answer(path, accept)) as url:
        config = ClusterConfig(kubeconfig=build_kubeconfig(url), context="good")
        assert describe(ClusterFailureReporter(config, source)) == (
            f"{expected}: server mysql-main is not ready: Pod mysql-main-0: Unschedulable: no node for ***\n"
            "fix: see docs/troubleshooting.md#a-pod-stays-pending"
        )


def test_server_that_does_not_exist_has_no_message() -> None:
    with run_api_server(lambda path, _: (200, {"items": []}) if "events" in path else (404, {})) as url:
        config = ClusterConfig(kubeconfig=build_kubeconfig(url), context="good")
        assert describe(ClusterFailureReporter(config, SOURCE)) is None


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (
            ClusterConfig(kubeconfig=build_kubeconfig("http://127.0.0.1:1"), context="good"),
            "cannot connect to the cluster at http://127.0.0.1:1",
        ),
        (ClusterConfig(kubeconfig="/nonexistent", context="good"), "no cluster configuration found"),
        (ClusterConfig(cluster="other"), "kubernetes:cluster: not supported"),
    ],
)
def test_unreadable_cluster_is_a_note(config: ClusterConfig, reason: str) -> None:
    text = describe(ClusterFailureReporter(config, SOURCE))
    prefix = f"line 7: {PATH}: server mysql-main is not ready, and the program cannot read the reason: "
    assert text is not None
    assert text.startswith(f"{prefix}{reason}")
    assert CANARY not in text


def test_unreachable_cluster_is_reported_before_the_hook_ends() -> None:
    assert sum(REQUEST_TIMEOUT_SECONDS) < FAILURE_REPORT_SECONDS


def test_only_a_run_of_pulumi_has_a_reporter() -> None:
    raw = stack_with_group("mysql")
    cluster = ClusterConfig(context="production")
    (application,) = parse_stack(raw, SOURCE, full_name=FULL_NAME, cluster=cluster).applications
    assert application.platform.failure_reporter == ClusterFailureReporter(cluster, SOURCE)
    (offline,) = parse_stack(raw, SOURCE, cluster=cluster).applications
    without_cluster: dict[str, Any] = {
        "failure_reporter": None,
        "password_changer": None,
        "cluster_monitor": None,
        "stack": "",
    }
    assert replace(application.platform, **without_cluster) == offline.platform
    values = {"kubernetes:context": "production", "database-groups:applications": raw["applications"]}
    (application,) = parse_pulumi_config(values, SOURCE, full_name=FULL_NAME).applications
    assert application.platform.failure_reporter == ClusterFailureReporter(cluster, SOURCE)
