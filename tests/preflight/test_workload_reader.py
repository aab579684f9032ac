"""The workload reader: it reads workloads, finds the cluster as the provider does, and reports what is wrong."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from preflight.cluster_client import ClusterConfig
from preflight.errors import ClusterError
from preflight.workload_reader import ObservedContainer, ObservedWorkload, WorkloadKey, read_workloads
from tests.fake_api import build_kubeconfig, run_api_server
from tests.support import CANARY

ROOT = Path(__file__).resolve().parents[2]
ENV = [
    {"name": "A", "value": CANARY},
    {"name": "B", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
    {"name": "C", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
]
CONTAINERS = [
    {"name": "web", "env": ENV, "volumeMounts": [{"name": "v", "mountPath": "/data"}]},
    {"name": "proxy"},
]
MANIFEST = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "web", "uid": "12345678-aaaa", "generation": 4, "annotations": {"a": "b"}},
    "spec": {"selector": {"matchLabels": {"app": "web"}}, "template": {"spec": {"containers": CONTAINERS}}},
}
ANSWERS: dict[str, tuple[int, dict[str, Any]]] = {
    "/apis/apps/v1/namespaces/shop/deployments/web": (200, MANIFEST),
    "/apis/apps/v1/namespaces/shop/daemonsets/secret": (403, {}),
    "/apis/apps/v1/namespaces/shop/daemonsets/expired": (401, {}),
    "/apis/apps/v1/namespaces/shop/daemonsets/broken": (500, {}),
}
KEY = WorkloadKey("shop", "Deployment", "web")
WORKLOAD = ObservedWorkload(
    revision="12345678.4",
    annotations={"a": "b"},
    containers={
        "web": ObservedContainer(variables={"A": None, "B": ("s", "k"), "C": None}, mounts={"/data": "v"}),
        "proxy": ObservedContainer(),
    },
)
SET = "; set `kubernetes:context`, `kubernetes:kubeconfig` or the environment variable KUBECONFIG"


@pytest.fixture(scope="module")
def api() -> Iterator[str]:
    """Run a fake API server and return its URL."""
    with run_api_server(lambda path, _: ANSWERS.get(path, (404, {}))) as url:
        yield url


@pytest.fixture
def default_kubeconfig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, api: str) -> Path:
    """Write a default kubeconfig and return its path."""
    path = tmp_path / "config"
    path.write_text(build_kubeconfig(api))
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(path))
    return path


def test_existing_and_missing_workloads_are_read(api: str) -> None:
    missing = WorkloadKey("shop", "StatefulSet", "missing")
    config = ClusterConfig(kubeconfig=build_kubeconfig(api), context="good")
    assert read_workloads([KEY, missing], config) == {KEY: WORKLOAD, missing: None}
    assert CANARY not in repr(WORKLOAD)


@pytest.mark.parametrize("source", ["content", "path", "environment"])
def test_the_cluster_is_the_providers(default_kubeconfig: Path, source: str) -> None:
    sources = {"content": default_kubeconfig.read_text(), "path": str(default_kubeconfig), "environment": None}
    assert read_workloads([KEY], ClusterConfig(kubeconfig=sources[source], context="good")) == {KEY: WORKLOAD}
    with pytest.raises(ClusterError) as caught:
        read_workloads([KEY], ClusterConfig(kubeconfig=sources[source]))
    assert str(caught.value) == (
        "cannot connect to the cluster at http://127.0.0.1:1 (NewConnectionError); check that it runs and that "
        f"{SET.removeprefix('; set ')} selects it"
    )


NONE_FOUND = "no cluster configuration found (tried "
DEFAULT_SOURCES = f"{NONE_FOUND}KUBECONFIG, ~/.kube/config, the Pod's service account; kubernetes:context): "
KUBECONFIG = f"{NONE_FOUND}kubernetes:kubeconfig): "
CLUSTER_KEY = "kubernetes:cluster: not supported when the program reads the cluster; set `kubernetes:context`"
INVALID = "Invalid kube-config file. Expected"


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("context", CANARY, f"{DEFAULT_SOURCES}{INVALID} object with the configured name in PATH/contexts list{SET}"),
        ("kubeconfig", f"/{CANARY}/config", f"{KUBECONFIG}{INVALID} key current-context in kube-config{SET}"),
        ("kubeconfig", f"{CANARY}: [b", f"{KUBECONFIG}ParserError{SET}"),
        ("cluster", CANARY, CLUSTER_KEY),
    ],
    ids=["context", "path", "no YAML", "cluster"],
)
def test_an_invalid_configuration_is_reported_without_its_values(
    default_kubeconfig: Path, key: str, value: str, message: str
) -> None:
    with pytest.raises(ClusterError) as caught:
        read_workloads([KEY], ClusterConfig(**{key: value}))
    assert str(caught.value).replace(str(default_kubeconfig), "PATH") == message


RIGHTS = "allow the kubeconfig's account to get deployments, statefulsets and daemonsets of the API group apps in this "


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("secret", f"(403 Forbidden); {RIGHTS}namespace"),
        ("expired", "(401 Unauthorized); log in to the cluster again"),
        ("broken", "(500 Internal Server Error); check the log of the API server"),
    ],
)
def test_a_workload_that_cannot_be_read_is_reported(api: str, name: str, message: str) -> None:
    key = WorkloadKey("shop", "DaemonSet", name)
    with pytest.raises(ClusterError) as caught:
        read_workloads([KEY, key], ClusterConfig(kubeconfig=build_kubeconfig(api), context="good"))
    assert str(caught.value) == f"cannot read DaemonSet '{name}' in namespace 'shop' {message}"


def test_the_configuration_does_not_show_a_kubeconfig() -> None:
    assert CANARY not in repr(ClusterConfig(kubeconfig=CANARY))


def test_the_client_is_imported_when_it_is_needed() -> None:
    program = "import sys, stacks.workload_discovery, preflight.workload_reader; assert 'kubernetes' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)
