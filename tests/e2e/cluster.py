"""The Kubernetes cluster of the end-to-end tests: its nodes, its objects and its Pods."""

import base64
import datetime
import ipaddress
import itertools
import json
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from fcntl import LOCK_EX, LOCK_NB, LOCK_SH, LOCK_UN, flock
from pathlib import Path
from typing import IO, Any, TypeVar

import kubernetes
import yaml
from kubernetes.client.exceptions import ApiException
from kubernetes.dynamic import DynamicClient
from kubernetes.stream import stream

from tests.e2e.node_webhook import TAINT, serve_webhook

T = TypeVar("T")
SIMULATED_NODE_LABELS = {"type": "kwok"}
"""Labels of nodes on which no container runs. This module simulates their kubelet."""
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}
NOT_FOUND = 404
CONFLICT = 409
INVALID = 422
"""Status of a second IP address for a Pod, if another process set the first one at the same moment."""
KUBELET_INTERVAL_SECONDS = 1
LOCK_FOLDER = Path(tempfile.gettempdir()) / f"database-groups-tests-{os.getuid()}"
FIRST_POD_ADDRESS = "10.200.0.1"
"""First IP address of simulated Pods."""
MAX_POD_ADDRESSES = 60_000


def wait_for(seconds: float, condition: str, attempt: Callable[[], T | None]) -> T:
    """Return the first result of `attempt` that is not None. Fail after a number of seconds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        result = attempt()
        if result is not None:
            return result
        time.sleep(0.5)
    raise AssertionError(f"after {seconds:.0f} s it is not true that {condition}")


def is_ready(pod: Any) -> bool:
    """Return whether a Pod has the condition Ready."""
    return any(condition.type == "Ready" and condition.status == "True" for condition in pod.status.conditions or [])


def _lock_alone(file: IO[str]) -> bool:
    """Lock a file exclusively, if no other process has a lock on it. Return whether this process has the lock."""
    try:
        flock(file, LOCK_EX | LOCK_NB)
    except BlockingIOError:
        return False
    return True


class Cluster:
    """The cluster of the configuration in KUBECONFIG."""

    def __init__(self) -> None:
        load: Any = kubernetes.config.load_kube_config
        load()
        self.core: Any = kubernetes.client.CoreV1Api()
        self._addresses = itertools.count(os.getpid() % MAX_POD_ADDRESSES)
        client: Any = DynamicClient
        self.dynamic = client(kubernetes.client.ApiClient())

    # Nodes

    def has_real_node(self) -> bool:
        """Return whether containers run on some node."""
        return any(not self.is_simulated(node) for node in self.core.list_node().items)

    @contextmanager
    def use_simulated_nodes(self) -> Iterator[None]:
        """Schedule new Pods on simulated nodes. Several processes use them at the same time."""
        with self._separate_nodes() as simulated, self._simulate_kubelets(simulated):
            yield

    @contextmanager
    def use_real_node(self, namespaces: Sequence[str]) -> Iterator[None]:
        """Schedule the new Pods of some namespaces on a node that runs containers. One process at a time uses it.

        In a cluster without simulated nodes, all Pods run.
        """
        LOCK_FOLDER.mkdir(exist_ok=True)
        with (LOCK_FOLDER / "real-node").open("w") as lock:
            flock(lock, LOCK_EX)
            with self._separate_nodes() as simulated:
                if not simulated:
                    yield
                    return
                names = [node.metadata.name for node in self.core.list_node().items]
                node = next(name for name in names if name not in simulated)
                with serve_webhook(node, namespaces) as configuration, self._create(configuration):
                    yield

    @contextmanager
    def _create(self, manifest: Mapping[str, Any]) -> Iterator[None]:
        """Create an object of the cluster, and delete it at the end."""
        self.apply(manifest)
        try:
            yield
        finally:
            resource = self.dynamic.resources.get(api_version=manifest["apiVersion"], kind=manifest["kind"])
            resource.delete(name=manifest["metadata"]["name"])

    @contextmanager
    def _separate_nodes(self) -> Iterator[Sequence[str]]:
        """Uncordon all nodes, and add the taint to those that run containers. Yield the names of the simulated ones.

        The first process records the state of the nodes. The last process restores it. Without simulated nodes, nothing
        changes.
        """
        nodes = self.core.list_node().items
        simulated = [node.metadata.name for node in nodes if self.is_simulated(node)]
        if not simulated:
            yield []
            return
        LOCK_FOLDER.mkdir(exist_ok=True)
        with (LOCK_FOLDER / "gate").open("w") as gate, (LOCK_FOLDER / "nodes").open("a+") as record:
            flock(gate, LOCK_EX)
            if _lock_alone(record):
                if not os.fstat(record.fileno()).st_size:  # otherwise, a killed process left it
                    states = {node.metadata.name: self._read_scheduling(node) for node in nodes}
                    json.dump(states, record)
                    record.flush()
                for node in nodes:
                    taints = {} if node.metadata.name in simulated else {"taints": [TAINT]}
                    self.core.patch_node(node.metadata.name, {"spec": {"unschedulable": False, **taints}})
            flock(record, LOCK_SH)
            flock(gate, LOCK_UN)
            try:
                yield simulated
            finally:
                flock(gate, LOCK_EX)
                if _lock_alone(record):
                    record.seek(0)
                    for name, scheduling in json.load(record).items():
                        self.core.patch_node(name, {"spec": scheduling})
                    record.truncate(0)

    def _read_scheduling(self, node: Any) -> dict[str, Any]:
        """Return the fields of a node's specification that the tests change."""
        fields = {"unschedulable": node.spec.unschedulable}
        if not self.is_simulated(node):
            fields["taints"] = self.core.api_client.sanitize_for_serialization(node.spec.taints)
        return fields

    @contextmanager
    def _simulate_kubelets(self, nodes: Sequence[str]) -> Iterator[None]:
        """Renew the leases of nodes and report the status of their Pods.

        On a busy machine, the simulator of the nodes can be so late that Kubernetes reports a node as lost.
        """
        stop = threading.Event()
        leases: Any = kubernetes.client.CoordinationV1Api()

        def run() -> None:
            while not stop.wait(KUBELET_INTERVAL_SECONDS):
                for node in nodes:
                    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="microseconds")
                    leases.patch_namespaced_lease(node, "kube-node-lease", {"spec": {"renewTime": now}})
                    for pod in self.core.list_pod_for_all_namespaces(field_selector=f"spec.nodeName={node}").items:
                        self._simulate_pod(pod)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def _simulate_pod(self, pod: Any) -> None:
        """Delete a Pod that is marked for deletion, and report another one as ready."""
        name, namespace = pod.metadata.name, pod.metadata.namespace
        try:
            if pod.metadata.deletion_timestamp:
                self.core.delete_namespaced_pod(name, namespace, grace_period_seconds=0)
            elif not is_ready(pod):
                address = str(ipaddress.ip_address(FIRST_POD_ADDRESS) + next(self._addresses))
                conditions = [{"type": kind, "status": "True"} for kind in ("Initialized", "ContainersReady", "Ready")]
                status = {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}], "conditions": conditions}
                self.core.patch_namespaced_pod_status(name, namespace, {"status": status})
        except ApiException as error:
            if error.status not in (NOT_FOUND, CONFLICT, INVALID):
                raise

    @staticmethod
    def is_simulated(node: Any) -> bool:
        """Return whether no container runs on a node."""
        return bool(SIMULATED_NODE_LABELS.items() <= node.metadata.labels.items())

    # Objects

    @contextmanager
    def create_namespace(self, name: str) -> Iterator[str]:
        """Create a namespace that enforces Pod Security `restricted`, and delete it at the end."""
        self.core.create_namespace({"metadata": {"name": name, "labels": RESTRICTED}})
        try:
            yield name
        finally:
            self.delete_namespace(name)

    def delete_namespace(self, name: str) -> None:
        """Delete a namespace, if it exists, and wait until it is deleted."""
        if self.has_namespace(name):
            self.core.delete_namespace(name)
            self.wait_until_deleted(name)

    def wait_until_deleted(self, namespace: str) -> None:
        """Wait until a namespace does not exist."""
        wait_for(90, f"the namespace {namespace} is deleted", lambda: None if self.has_namespace(namespace) else True)

    def has_namespace(self, name: str) -> bool:
        """Return whether a namespace exists."""
        try:
            self.core.read_namespace(name)
        except ApiException as error:
            if error.status != NOT_FOUND:
                raise
            return False
        return True

    def read_secret(self, namespace: str, name: str) -> dict[str, str]:
        """Return the keys and values of a Secret."""
        data: Mapping[str, str] = self.core.read_namespaced_secret(name, namespace).data
        return {key: base64.b64decode(value).decode() for key, value in data.items()}

    def read_service(self, namespace: str, name: str) -> Any:
        """Return a Service."""
        return self.core.read_namespaced_service(name, namespace)

    def read_service_address(self, namespace: str, name: str) -> str:
        """Return the IP address of a Service. Only Pods can resolve its name."""
        return str(self.read_service(namespace, name).spec.cluster_ip)

    def create_account(self, namespace: str, name: str) -> str:
        """Create a service account without rights. Return a kubeconfig with its token."""
        self.core.create_namespaced_service_account(namespace, {"metadata": {"name": name}})
        token = self.core.create_namespaced_service_account_token(name, namespace, {"spec": {}}).status.token
        client = self.core.api_client.configuration
        authority = {"certificate-authority": client.ssl_ca_cert} if client.verify_ssl else {}
        server = {"server": client.host, "insecure-skip-tls-verify": not client.verify_ssl, **authority}
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "cluster", "cluster": server}],
            "users": [{"name": name, "user": {"token": token}}],
            "contexts": [{"name": name, "context": {"cluster": "cluster", "user": name}}],
            "current-context": name,
        }
        return yaml.safe_dump(content)

    def apply(self, manifest: Mapping[str, Any], *, dry_run: bool = False) -> Any:
        """Apply an object with server-side apply. Raise ApiException if the API server rejects it."""
        resource = self.dynamic.resources.get(api_version=manifest["apiVersion"], kind=manifest["kind"])
        options = {"dry_run": "All"} if dry_run else {}
        return self.dynamic.server_side_apply(
            resource,
            body=dict(manifest),
            name=manifest["metadata"]["name"],
            namespace=manifest["metadata"].get("namespace"),
            field_manager="end-to-end",
            force_conflicts=True,
            **options,
        )

    # Pods

    def wait_for_pod(self, namespace: str, name: str, *, other_than: str | None = None, seconds: float = 120) -> str:
        """Wait until a Pod is ready whose uid is not `other_than`. Return its uid."""

        def attempt() -> str | None:
            try:
                pod = self.core.read_namespaced_pod(name, namespace)
            except ApiException as error:
                if error.status != NOT_FOUND:
                    raise
                return None
            is_new = pod.metadata.uid != other_than and not pod.metadata.deletion_timestamp
            return str(pod.metadata.uid) if is_new and is_ready(pod) else None

        return wait_for(seconds, f"the Pod {name} is ready", attempt)

    def read_image(self, namespace: str, pod: str) -> str:
        """Return the image of a Pod's first container."""
        return str(self.core.read_namespaced_pod(pod, namespace).spec.containers[0].image)

    def read_pod_address(self, namespace: str, name: str) -> str:
        """Return the IP address of a Pod."""
        return str(self.core.read_namespaced_pod(name, namespace).status.pod_ip)

    def restart_pod(self, namespace: str, name: str) -> None:
        """Delete a Pod and wait until a new Pod of its name is ready."""
        uid = self.wait_for_pod(namespace, name)
        self.core.delete_namespaced_pod(name, namespace)
        self.wait_for_pod(namespace, name, other_than=uid)

    def run(self, namespace: str, pod: str, script: str) -> tuple[bool, str]:
        """Run a shell script in a Pod. Return whether it succeeded, and its output."""
        client: Any = stream(
            self.core.connect_get_namespaced_pod_exec,
            pod,
            namespace,
            command=["/bin/sh", "-c", script],
            stdin=False,
            stdout=True,
            stderr=True,
            tty=False,
            _preload_content=False,
        )
        try:
            client.run_forever(timeout=60)
            return client.returncode == 0, client.read_all()
        finally:
            client.close()
