"""The Kubernetes cluster of the end-to-end tests: what is in it, and what runs in its Pods."""

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
from contextlib import contextmanager, suppress
from fcntl import LOCK_EX, LOCK_NB, LOCK_SH, LOCK_UN, flock
from pathlib import Path
from typing import Any, TypeVar

import kubernetes
from kubernetes.client.exceptions import ApiException
from kubernetes.dynamic import DynamicClient
from kubernetes.stream import stream

T = TypeVar("T")
PRETEND = {"type": "kwok"}
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}
NOT_FOUND = 404
CONFLICT = 409
INVALID = 422
"""What a Pod says to a second address, when another has told of it in the same moment."""
KUBELET_SECONDS = 1
TURNS = Path(tempfile.gettempdir()) / f"database-groups-tests-{os.getuid()}"
MANY_ADDRESSES = 60_000
FIRST_ADDRESS = "10.200.0.1"
"""The first address of Pods that do not run."""


def until(seconds: float, what: str, attempt: Callable[[], T | None]) -> T:
    """The first result of an attempt that is not None. Fails after a number of seconds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        result = attempt()
        if result is not None:
            return result
        time.sleep(0.5)
    raise AssertionError(f"{what}: not in {seconds:.0f} s")


class Cluster:
    """A cluster, by the configuration that KUBECONFIG names."""

    def __init__(self) -> None:
        load: Any = kubernetes.config.load_kube_config
        load()
        self.core: Any = kubernetes.client.CoreV1Api()
        self._addresses = itertools.count(os.getpid() % MANY_ADDRESSES)
        client: Any = DynamicClient
        self.dynamic = client(kubernetes.client.ApiClient())

    # Nodes

    def has_real_node(self) -> bool:
        """Whether containers run on some node."""
        return any(not self._pretends(node) for node in self.core.list_node().items)

    @contextmanager
    def pods_on(self, *, pretend: bool) -> Iterator[None]:
        """New Pods go to the nodes of one sort, for a time. Processes that want pretend nodes share them; one that wants real ones has its turn alone."""
        with self._turn(alone=not pretend):
            nodes = self.core.list_node().items
            for node in nodes:
                self._cordon(node.metadata.name, cordoned=self._pretends(node) != pretend)
            with self._alive([node.metadata.name for node in nodes if self._pretends(node)] if pretend else []):
                yield

    @contextmanager
    def _turn(self, *, alone: bool) -> Iterator[None]:
        """Waits for the nodes, not overtaken by who comes later. The first one notes which were cordoned, and the last one puts that back."""
        TURNS.mkdir(exist_ok=True)
        with (TURNS / "gate").open("w") as gate, (TURNS / "nodes").open("a+") as noted:
            flock(gate, LOCK_EX)
            flock(noted, LOCK_EX if alone else LOCK_SH)
            if not os.fstat(noted.fileno()).st_size:
                json.dump(
                    {node.metadata.name: bool(node.spec.unschedulable) for node in self.core.list_node().items}, noted
                )
                noted.flush()
            flock(gate, LOCK_UN)
            try:
                yield
            finally:
                with suppress(BlockingIOError):  # others are still at it
                    flock(noted, LOCK_EX | LOCK_NB)
                    noted.seek(0)
                    for name, cordoned in json.load(noted).items():
                        self._cordon(name, cordoned=cordoned)
                    noted.truncate(0)

    @contextmanager
    def _alive(self, nodes: Sequence[str]) -> Iterator[None]:
        """Does what a kubelet does for nodes on which nothing runs, for a time: renews their leases, and tells of their Pods.

        Whatever else pretends them may be late, and on a busy machine so late that the node counts as lost in the middle of a test.
        """
        stop = threading.Event()
        leases: Any = kubernetes.client.CoordinationV1Api()

        def kubelet() -> None:
            while not stop.wait(KUBELET_SECONDS):
                for node in nodes:
                    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="microseconds")
                    leases.patch_namespaced_lease(node, "kube-node-lease", {"spec": {"renewTime": now}})
                    for pod in self.core.list_pod_for_all_namespaces(field_selector=f"spec.nodeName={node}").items:
                        self._pretend(pod)

        thread = threading.Thread(target=kubelet, daemon=True)
        thread.start()
        yield
        stop.set()
        thread.join()

    def _pretend(self, pod: Any) -> None:
        """A Pod is gone as soon as it is deleted, and ready as soon as it is there."""
        name, namespace = pod.metadata.name, pod.metadata.namespace
        ready = any(
            condition.type == "Ready" and condition.status == "True" for condition in pod.status.conditions or []
        )
        try:
            if pod.metadata.deletion_timestamp:
                self.core.delete_namespaced_pod(name, namespace, grace_period_seconds=0)
            elif not ready:
                address = str(ipaddress.ip_address(FIRST_ADDRESS) + next(self._addresses))
                conditions = [{"type": kind, "status": "True"} for kind in ("Initialized", "ContainersReady", "Ready")]
                status = {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}], "conditions": conditions}
                self.core.patch_namespaced_pod_status(name, namespace, {"status": status})
        except ApiException as error:
            if error.status not in (NOT_FOUND, CONFLICT, INVALID):
                raise

    def _cordon(self, name: str, *, cordoned: bool) -> None:
        self.core.patch_node(name, {"spec": {"unschedulable": cordoned}})

    @staticmethod
    def _pretends(node: Any) -> bool:
        return bool(PRETEND.items() <= node.metadata.labels.items())

    # Objects

    @contextmanager
    def namespace(self, name: str) -> Iterator[str]:
        """A namespace that holds its Pods to Pod Security `restricted`, for a time."""
        self.core.create_namespace({"metadata": {"name": name, "labels": RESTRICTED}})
        try:
            yield name
        finally:
            self.core.delete_namespace(name)
            self.gone(name)

    def gone(self, namespace: str) -> None:
        """Waits until a namespace is gone."""
        until(90, f"the namespace {namespace} is gone", lambda: None if self.has_namespace(namespace) else True)

    def has_namespace(self, name: str) -> bool:
        """Whether there is a namespace."""
        try:
            self.core.read_namespace(name)
        except ApiException as error:
            if error.status != NOT_FOUND:
                raise
            return False
        return True

    def secret(self, namespace: str, name: str) -> dict[str, str]:
        """The values of a Secret."""
        data: Mapping[str, str] = self.core.read_namespaced_secret(name, namespace).data
        return {key: base64.b64decode(value).decode() for key, value in data.items()}

    def service_address(self, namespace: str, name: str) -> str:
        """The address of a Service, whose name a process that is in no Pod cannot look up."""
        return str(self.core.read_namespaced_service(name, namespace).spec.cluster_ip)

    def apply(self, manifest: Mapping[str, Any], *, dry_run: bool = False) -> Any:
        """Applies an object by server-side apply. Raises ApiException where the API server refuses it."""
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

    def ready_pod(self, namespace: str, name: str, *, but: str | None = None, seconds: float = 120) -> str:
        """Waits until a Pod is ready, and is not the one with the uid `but`. Returns its uid."""

        def attempt() -> str | None:
            try:
                pod = self.core.read_namespaced_pod(name, namespace)
            except ApiException as error:
                if error.status != NOT_FOUND:
                    raise
                return None
            ready = any(
                condition.type == "Ready" and condition.status == "True" for condition in pod.status.conditions or []
            )
            return (
                str(pod.metadata.uid)
                if ready and pod.metadata.uid != but and not pod.metadata.deletion_timestamp
                else None
            )

        return until(seconds, f"the Pod {name} is ready", attempt)

    def image(self, namespace: str, pod: str) -> str:
        """The image that a Pod names."""
        return str(self.core.read_namespaced_pod(pod, namespace).spec.containers[0].image)

    def restart(self, namespace: str, name: str) -> None:
        """Deletes a Pod and waits until another one of its name is ready."""
        uid = self.ready_pod(namespace, name)
        self.core.delete_namespaced_pod(name, namespace)
        self.ready_pod(namespace, name, but=uid)

    def run(self, namespace: str, pod: str, script: str) -> tuple[bool, str]:
        """Runs a shell script in a Pod. Returns whether it succeeded and what it printed."""
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
