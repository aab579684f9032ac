"""Operators of clusters, which run as processes on the machine of the tests.

Each one watches only the namespaces of a test module. Its servers need the Kubernetes API: the instances of
CloudNativePG always, and RabbitMQ before 4.1 when the servers of a new cluster search each other.
"""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from tests.e2e.cluster import Cluster, wait_for
from tests.e2e.servers import variable
from tests.e2e.stores import find_program
from tests.e2e.tls import Authority, free_port

__all__ = [
    "BARMAN_CLOUD_IMAGE",
    "create_types",
    "has_condition",
    "represent_operator",
    "run_barman_cloud",
    "run_cloudnative_pg",
    "run_rabbitmq_operator",
]

RABBITMQ_OPERATOR_IMAGE = "docker.io/rabbitmqoperator/cluster-operator:2.16.0"
CLOUDNATIVE_PG_IMAGE = "ghcr.io/cloudnative-pg/cloudnative-pg:1.30.0"
"""Image of the operator. Each Pod of a cluster copies the operator's program from it."""
BARMAN_CLOUD_IMAGE = "e2e/barman-cloud:0.14"
"""Image of the container that the plugin adds to the Pods of a cluster. It has the program of the plugin."""
START_TIMEOUT_SECONDS = 60
STOP_TIMEOUT_SECONDS = 30


@contextlib.contextmanager
def run_rabbitmq_operator(cluster: Cluster, namespaces: Sequence[str], folder: Path) -> Iterator[None]:
    """Run the cluster operator of RabbitMQ until the end of the context."""
    command = [find_program("rabbitmq-cluster-operator")]
    environment = {"OPERATOR_SCOPE_NAMESPACE": ",".join(namespaces)}
    with create_types(cluster, "rabbitmq.com"), _run(cluster, "rabbitmq-operator", command, environment, folder):
        labels = {"app.kubernetes.io/name": "rabbitmq-cluster-operator"}
        represent_operator(cluster, "rabbitmq-operator", labels, RABBITMQ_OPERATOR_IMAGE, environment)
        yield


@contextlib.contextmanager
def run_cloudnative_pg(
    cluster: Cluster, namespaces: Sequence[str], folder: Path, plugins: Path = Path("/nonexistent")
) -> Iterator[None]:
    """Run the operator CloudNativePG until the end of the context. Load its image into the node.

    `plugins` is the folder with the sockets of its plugins, which must run.
    """
    program = find_program("cloudnative-pg-manager")
    (folder / "operator").mkdir()  # where the operator searches its programs, one for each architecture
    shutil.copy(program, folder / "operator/manager_amd64")
    (folder / "manager").symlink_to("operator/manager_amd64")
    config = json.dumps({"Entrypoint": ["/manager"], "User": "65532:65532"})
    subprocess.run([variable("LAB_IMAGE"), CLOUDNATIVE_PG_IMAGE, folder, config], check=True, timeout=120)
    for name, content in zip(("apiserver.crt", "apiserver.key"), Authority().issue("127.0.0.1"), strict=True):
        (folder / name).write_bytes(content)
    command = [program, "controller", f"--webhook-port={free_port()}"]
    environment = {
        "WATCH_NAMESPACE": ",".join(namespaces),
        "WEBHOOK_CERT_DIR": str(folder),
        "PLUGIN_SOCKET_DIR": str(plugins),
    }
    with create_types(cluster, "postgresql.cnpg.io"), _run(cluster, "cnpg-system", command, environment, folder):
        labels = {"app.kubernetes.io/name": "cloudnative-pg"}
        represent_operator(cluster, "cnpg-system", labels, CLOUDNATIVE_PG_IMAGE, environment)
        yield


@contextlib.contextmanager
def run_barman_cloud(cluster: Cluster, folder: Path) -> Iterator[Path]:
    """Run the Barman Cloud plugin of CloudNativePG until the end of the context. Yield the folder with its socket."""
    name = f"{BARMAN_CLOUD_IMAGE.replace('/', '-').replace(':', '-')}/plugin-barman-cloud"
    program = find_program(str(Path(variable("IMAGE_PROGRAMS")) / name))
    sockets = folder / "sockets"
    sockets.mkdir()
    options = (f"--plugin-path={sockets}", f"--health-probe-bind-address=127.0.0.1:{free_port()}")
    command = [program, "operator", *options, "--metrics-secure=false"]
    environment = {"SIDECAR_IMAGE": f"docker.io/{BARMAN_CLOUD_IMAGE}"}
    with create_types(cluster, "barmancloud.cnpg.io"), _run(cluster, "barman-cloud", command, environment, folder):
        labels = {"app": "barman-cloud"}
        represent_operator(cluster, "barman-cloud", labels, "ghcr.io/cloudnative-pg/plugin-barman-cloud:v0.14.0", {})
        wait_for(START_TIMEOUT_SECONDS, "the plugin listens", lambda: any(sockets.iterdir()) or None)
        yield sockets


def represent_operator(
    cluster: Cluster, namespace: str, labels: Mapping[str, str], image: str, environment: Mapping[str, str]
) -> None:
    """Create the Pod that the check before an update finds. It never runs: its status is written by hand."""
    container = {
        "name": "operator",
        "image": image,
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "env": [{"name": name, "value": value} for name, value in environment.items()],
    }
    spec = {
        "schedulingGates": [{"name": "tests.example.org/never"}],
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
    }
    metadata = {"name": "operator", "namespace": namespace, "labels": dict(labels)}
    cluster.apply({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
    status = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
    cluster.core.patch_namespaced_pod_status("operator", namespace, {"status": status})


def has_condition(item: Any, kind: str) -> bool:
    """Return whether a condition of an object is true."""
    conditions = item.to_dict().get("status", {}).get("conditions") or []
    return any(condition["type"] == kind and condition["status"] == "True" for condition in conditions)


@contextlib.contextmanager
def create_types(cluster: Cluster, group: str) -> Iterator[None]:
    """Create the resource types of an API group that the cluster does not have. Delete them at the end."""
    types = cluster.dynamic.resources.get(api_version="apiextensions.k8s.io/v1", kind="CustomResourceDefinition")
    existing = {item.metadata.name for item in types.get().items}
    texts = (path.read_text() for path in sorted(Path(variable("LAB_CRDS")).glob("*.yaml")))
    # The parser in Python takes up to a minute for all files, while other tests wait for the node.
    manifests = [yaml.load(text, yaml.CSafeLoader) for text in texts if f"group: {group}\n" in text]
    missing = {name: manifest for manifest in manifests if (name := manifest["metadata"]["name"]) not in existing}

    def are_served() -> bool | None:
        return all(has_condition(types.get(name=name), "Established") for name in missing) or None

    try:
        for manifest in missing.values():
            cluster.apply(manifest)
        wait_for(START_TIMEOUT_SECONDS, f"the API serves {group}", are_served)
        yield
    finally:
        for name in missing:
            types.delete(name=name)


@contextlib.contextmanager
def _run(
    cluster: Cluster, namespace: str, command: Sequence[str], environment: Mapping[str, str], folder: Path
) -> Iterator[None]:
    """Run an operator, as if its Pod were in a namespace. The folder is its working directory and has its log."""
    port, log = free_port(), folder / "log"
    with (
        cluster.create_namespace(namespace),
        log.open("w") as output,
        subprocess.Popen(
            [*command, f"--metrics-bind-address=127.0.0.1:{port}"],
            env={**os.environ, "OPERATOR_NAMESPACE": namespace, **environment},
            cwd=folder,
            stdout=output,
            stderr=output,
        ) as process,
    ):
        try:
            end = time.monotonic() + START_TIMEOUT_SECONDS
            while not _is_open(port):
                assert process.poll() is None, f"the operator ended: {log.read_text()[-2000:]}"
                assert time.monotonic() < end, f"the operator does not listen: {log.read_text()[-2000:]}"
                time.sleep(0.1)
            yield
            assert process.poll() is None, f"the operator ended: {log.read_text()[-2000:]}"
        finally:
            process.terminate()
            process.wait(STOP_TIMEOUT_SECONDS)


def _is_open(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False
