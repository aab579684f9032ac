"""A stack with a cluster needs a usable operator: without one, the update fails in seconds, before the first change."""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from time import monotonic
from typing import Any

import kubernetes
import pytest

from preflight.cluster import check_cluster
from preflight.cluster_client import ClusterConfig
from preflight.cluster_models import ClusterReport
from stacks.cluster_checks import build_cluster_requirements
from stacks.config import parse_stack
from stacks.preflight_checks import CLUSTER_TIMEOUT_SECONDS
from tests.e2e.cluster import Cluster
from tests.e2e.operators import represent_operator
from tests.e2e.project import Project

SHOP, OPERATORS = "operator-preflight", "operator-preflight-system"
LABELS = {"operator-preflight": "operator"}
UPDATE_SECONDS = 20
STACK = {
    "applications": {
        "shop": {
            "namespace": SHOP,
            "databases": {"postgresql": {"main": {"server": {"kind": "dedicated", "storage": "1Gi", "replicas": 3}}}},
        }
    }
}
MAIN = "applications.shop.databases.postgresql.main.server.replicas"
IMAGE = "registry.example.org/mirror/cloudnative-pg"


@pytest.fixture
def operators(cluster: Cluster) -> Iterator[str]:
    """Create the namespace of the operator."""
    with cluster.create_namespace(OPERATORS) as name:
        yield name


@pytest.fixture
def run_operator(cluster: Cluster, operators: str) -> Callable[..., None]:
    """Return a function that creates the Pod of an operator."""

    def run(version: str, **environment: str) -> None:
        represent_operator(cluster, operators, LABELS, f"{IMAGE}:{version}", environment)

    return run


@pytest.fixture
def check(cluster: Cluster) -> Callable[..., ClusterReport]:
    """Return a function that checks the cluster. Its resource type exists, and its operator has labels of its own."""

    def run(config: ClusterConfig | None = None) -> ClusterReport:
        required = build_cluster_requirements(parse_stack(STACK, full_name="organization/database-groups/x"), {}, ())
        (operator,) = required.operators
        (path,) = operator.custom_paths
        types = kubernetes.client.CustomObjectsApi(cluster.core.api_client)
        list_types: Any = types.get_api_resources
        try:
            list_types(path.group, path.api.rpartition("/")[2])
        except kubernetes.client.exceptions.ApiException:
            pytest.skip(f"the cluster does not have {path.plural}.{path.group}")
        required = replace(required, operators=(replace(operator, pod_labels=LABELS),))
        start = monotonic()
        report = check_cluster(required, config or ClusterConfig(), CLUSTER_TIMEOUT_SECONDS)
        print(f"check: {monotonic() - start:.2f} s")
        return report

    return run


@pytest.mark.parametrize(
    ("version", "environment", "message"),
    [
        ("1.30.0", {}, ""),
        ("1.31.2", {"WATCH_NAMESPACE": f"other,{SHOP}"}, ""),
        ("1.29.4", {}, "the operator CloudNativePG 1.29.4 is too old; install version 1.30.0 or later:"),
        (
            "1.30.0",
            {"WATCH_NAMESPACE": "other"},
            f"the operator CloudNativePG in namespace {OPERATORS} does not watch namespace '{SHOP}'",
        ),
    ],
)
def test_a_running_operator(
    check: Callable[..., ClusterReport],
    run_operator: Callable[..., None],
    version: str,
    environment: dict[str, str],
    message: str,
) -> None:
    run_operator(version, **environment)
    messages = [issue.message[: len(message)] for issue in check().issues]
    assert messages == ([message] if message else [])


def test_an_operator_that_does_not_run_or_is_not_ready(
    check: Callable[..., ClusterReport], cluster: Cluster, operators: str, run_operator: Callable[..., None]
) -> None:
    (issue,) = check().issues
    assert issue.message.startswith("the operator CloudNativePG does not run: no Pod has the labels")
    run_operator("1.30.0")
    status = {"conditions": [{"type": "Ready", "status": "False"}]}
    cluster.core.patch_namespaced_pod_status("operator", operators, {"status": status})
    (issue,) = check().issues
    assert issue.message.splitlines()[1].strip() == f"kubectl logs --namespace {operators} operator"


def test_an_account_that_may_not_list_pods(
    check: Callable[..., ClusterReport], cluster: Cluster, operators: str
) -> None:
    report = check(ClusterConfig(kubeconfig=cluster.create_account(operators, "viewer")))
    assert "the operator CloudNativePG is not checked: the account may not list Pods in the whole cluster" in (
        report.notes
    )
    assert not [issue for issue in report.issues if "CloudNativePG" in issue.message]
    (rights,) = [issue.message for issue in report.issues if SHOP in issue.message and "more rights" in issue.message]
    assert "clusters.postgresql.cnpg.io (get, list, watch, create, patch, delete)" in rights


def test_an_update_without_the_operator_creates_nothing(project: Project, cluster: Cluster) -> None:
    project.new("operators", STACK)
    start = monotonic()
    output = " ".join(project.up("operators").failed().output.split())
    seconds = monotonic() - start
    print(f"update: {seconds:.1f} s")
    assert seconds < UPDATE_SECONDS
    # The operators of other tests watch only the namespaces of these tests.
    problem = re.search(
        rf"{MAIN}: the operator CloudNativePG (is not installed|does not run|in namespace .* watch)", output
    )
    assert problem, output
    assert "nothing was changed" in output
    if "watch" not in problem[1]:
        commands = project.python("-m", "stacks", "operators", "operators").output
        (command,) = [line.strip() for line in commands.splitlines() if "kubectl apply" in line]
        assert command in output
    assert not cluster.has_namespace(SHOP)
    assert not [resource for resource in project.resources("operators") if not resource["type"].startswith("pulumi:")]
