"""The look at a cluster says what is there, finds the cluster as the provider does, and tells what is wrong in words."""

import http.server
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from preflight.cluster import ClusterError, ClusterKeys, Found, FoundContainer, look
from tests.support import CANARY

ROOT = Path(__file__).resolve().parents[2]
WEB = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "web", "namespace": "shop", "uid": "12345678-aaaa", "generation": 4, "annotations": {"a": "b"}},
    "spec": {
        "selector": {"matchLabels": {"app": "web"}},
        "template": {
            "spec": {
                "containers": [
                    {
                        "name": "web",
                        "env": [
                            {"name": "A", "value": CANARY},
                            {"name": "B", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
                            {"name": "C", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
                        ],
                        "volumeMounts": [{"name": "v", "mountPath": "/data"}],
                    },
                    {"name": "proxy"},
                ]
            }
        },
    },
}
ANSWERS: dict[str, tuple[int, dict[str, Any]]] = {
    "/apis/apps/v1/namespaces/shop/deployments/web": (200, WEB),
    "/apis/apps/v1/namespaces/shop/statefulsets/secret": (403, {}),
    "/apis/apps/v1/namespaces/shop/daemonsets/expired": (401, {}),
}


@pytest.fixture(scope="module")
def api() -> Iterator[str]:
    """The address of a server that answers as the API does."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = ANSWERS.get(self.path, (404, {}))
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def kubeconfig(address: str) -> str:
    """A kubeconfig whose context `good` leads there, and whose own choice leads nowhere."""
    return yaml.safe_dump(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "good", "cluster": {"server": address}}, {"name": "dead", "cluster": {"server": "http://127.0.0.1:1"}}],
            "users": [{"name": "u", "user": {"token": CANARY}}],
            "contexts": [{"name": name, "context": {"cluster": name, "user": "u"}} for name in ("good", "dead")],
            "current-context": "dead",
        }
    )


@pytest.fixture
def by_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, api: str) -> Path:
    path = tmp_path / "config"
    path.write_text(kubeconfig(api))
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(path))
    return path


PLACE = ("shop", "Deployment", "web")
THERE = Found(
    revision="12345678.4",
    annotations={"a": "b"},
    containers={"web": FoundContainer(variables={"A": None, "B": ("s", "k"), "C": None}, mounts={"/data": "v"}), "proxy": FoundContainer()},
)


def test_what_is_there_is_found_and_what_is_not_is_none(api: str) -> None:
    absent = ("shop", "StatefulSet", "nosuch")
    assert look([PLACE, absent], ClusterKeys(kubeconfig=kubeconfig(api), context="good")) == {PLACE: THERE, absent: None}
    assert CANARY not in repr(THERE)


@pytest.mark.parametrize("given", ["content", "path", "environment"])
def test_the_cluster_is_the_one_that_the_provider_takes(by_environment: Path, given: str) -> None:
    chosen = {"content": by_environment.read_text(), "path": str(by_environment), "environment": None}[given]
    assert look([PLACE], ClusterKeys(kubeconfig=chosen, context="good")) == {PLACE: THERE}
    with pytest.raises(ClusterError, match=r"the cluster at http://127\.0\.0\.1:1 cannot be reached"):
        look([PLACE], ClusterKeys(kubeconfig=chosen))


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"context": "nosuch"}, r"no way into the cluster was found \(KUBECONFIG, .*context 'nosuch'\).*nosuch.*set kubernetes:kubeconfig"),
        ({"kubeconfig": "/nosuch/config"}, r"no way into the cluster was found \(kubernetes:kubeconfig\)"),
        ({"kubeconfig": "a: [b"}, r"no way into the cluster was found \(kubernetes:kubeconfig\)"),
        ({"cluster": "other"}, r"kubernetes:cluster is 'other', which cannot be followed here; name a context"),
    ],
    ids=["context", "path", "no YAML", "cluster"],
)
def test_a_way_in_that_is_none_is_told(by_environment: Path, keys: dict[str, str], said: str) -> None:
    assert by_environment.exists()
    with pytest.raises(ClusterError, match=said):
        look([PLACE], ClusterKeys(**keys))


@pytest.mark.parametrize(
    ("place", "said"),
    [
        (("shop", "StatefulSet", "secret"), r"does not show the StatefulSet 'secret' in the namespace 'shop' \(403 .*\); let the account .* get deployments"),
        (("shop", "DaemonSet", "expired"), r"does not show the DaemonSet 'expired' in the namespace 'shop' \(401 .*\); log in to the cluster again"),
    ],
    ids=["forbidden", "unknown"],
)
def test_what_may_not_be_read_is_told_with_what_to_do(api: str, place: tuple[str, str, str], said: str) -> None:
    with pytest.raises(ClusterError, match=said) as caught:
        look([PLACE, place], ClusterKeys(kubeconfig=kubeconfig(api), context="good"))
    assert CANARY not in str(caught.value)


def test_the_keys_do_not_show_a_kubeconfig() -> None:
    assert CANARY not in repr(ClusterKeys(kubeconfig=CANARY))


def test_the_client_is_not_imported_before_it_is_needed() -> None:
    program = "import sys, stacks.workload_discovery, preflight.cluster; assert 'kubernetes' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)
