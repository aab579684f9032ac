"""Operators of clusters that a test imitates: they create the servers of a custom resource and report its status.

The facts are in the sources of the operators: names, labels, the strategy of the StatefulSets, finalizers and the
fields of the status. An operator sees a change late, as a busy one does.
"""

import base64
import contextlib
import hashlib
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import kubernetes
from kubernetes.client.exceptions import ApiException
from kubernetes.dynamic import DynamicClient

from tests.e2e.cluster import Cluster

__all__ = ["CA", "DELAY_SECONDS", "OperatorImitation", "imitate_operators"]

CA = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
DELAY_SECONDS = 4
"""Seconds after which an operator sees a change of a custom resource, and then of a password."""
POLL_SECONDS = 0.5
NOT_FOUND, CONFLICT, FORBIDDEN = 404, 409, 403
PERCONA_LABELS = {"instance": "app.kubernetes.io/instance", "component": "app.kubernetes.io/component"}
REDIS = "redis.redis.opstreelabs.in/v1beta2"
ELASTIC_LABEL = "elasticsearch.k8s.elastic.co/cluster-name"
TYPES = (
    ("pxc.percona.com/v1", "PerconaXtraDBCluster"),
    ("psmdb.percona.com/v1", "PerconaServerMongoDB"),
    ("elasticsearch.k8s.elastic.co/v1", "Elasticsearch"),
    (REDIS, "RedisReplication"),
    (REDIS, "RedisSentinel"),
)


@dataclass(frozen=True, kw_only=True)
class Part:
    """A StatefulSet of a cluster."""

    name: str
    size: int
    labels: Mapping[str, str]
    template: Any
    """What restarts the Pods when it changes."""


@dataclass(kw_only=True)
class OperatorImitation:
    """All operators, for one namespace."""

    cluster: Cluster
    namespace: str
    failure: str | None = None
    """Message with which each cluster fails. None: it becomes ready."""
    set_passwords: list[tuple[str, str]] = field(default_factory=list)
    """The name of each cluster whose password was set, and the password in its connection Secret at that moment."""
    _seen: dict[tuple[str, Any], float] = field(default_factory=dict)
    _client: Any = None
    _errors: list[Exception] = field(default_factory=list)

    def run(self, stop: threading.Event) -> None:
        """Reconcile all custom resources until `stop` is set."""
        client: Any = DynamicClient
        self._client = client(kubernetes.client.ApiClient())
        while not stop.wait(POLL_SECONDS):
            for api_version, kind in TYPES:
                resource = self._client.resources.get(api_version=api_version, kind=kind)
                for item in resource.get(namespace=self.namespace).items:
                    try:
                        self._reconcile(resource, item.to_dict())
                    except ApiException as error:
                        if error.status not in (NOT_FOUND, CONFLICT, FORBIDDEN):  # the namespace is being deleted
                            self._errors.append(error)

    def raise_errors(self) -> None:
        """Raise the first unexpected error."""
        for error in self._errors:
            raise error

    def _is_due(self, name: str, value: Any) -> bool:
        """Return whether a value was first seen long enough ago."""
        return time.monotonic() - self._seen.setdefault((name, value), time.monotonic()) >= DELAY_SECONDS

    def _reconcile(self, resource: Any, item: dict[str, Any]) -> None:
        metadata, spec = item["metadata"], item["spec"]
        name = metadata["name"]
        if metadata.get("deletionTimestamp"):
            merge = {"metadata": {"finalizers": None}}
            self._patch(resource, name, merge)
            return
        if not self._is_due(name, metadata["generation"]):
            return
        parts = list(list_parts(item))
        owner = {"apiVersion": item["apiVersion"], "kind": item["kind"], "name": name, "uid": metadata["uid"]}
        is_ready = all([self._apply_part(part, owner) for part in parts])
        if item["apiVersion"] == REDIS:
            self._report_master(resource, item, parts, is_ready=is_ready)
            return
        is_elastic = item["kind"] == "Elasticsearch"
        self._apply_ca(f"{name}-es-http-certs-public" if is_elastic else f"{name}-ssl", owner)
        generation = {"observedGeneration": metadata["generation"]}
        status: dict[str, Any]
        if is_elastic:
            (part,) = parts
            status = {
                "phase": "Ready" if is_ready else "ApplyingChanges",
                "health": "green",
                "availableNodes": part.size,
            }
            conditions = [{"type": "ReconciliationComplete", "status": "False", "message": self.failure}]
            if self.failure:
                status = {"phase": "Invalid", "health": "unknown", "conditions": conditions}
        else:
            size = sum(part.size for part in parts)
            status = {"state": "ready" if is_ready else "initializing", "size": size, "ready": size if is_ready else 0}
            if self.failure:
                is_mysql = item["kind"] == "PerconaXtraDBCluster"
                status |= {"state": "error", "message": [self.failure] if is_mysql else self.failure}
        self._patch(resource.subresources["status"], name, {"status": {**status, **generation}})
        if is_ready and not is_elastic and not self.failure:
            for user in spec["users"]:
                self._set_password(name, user["name"], user["passwordSecretRef"]["name"])

    def _report_master(self, resource: Any, item: Mapping[str, Any], parts: Sequence[Part], *, is_ready: bool) -> None:
        """Label the first server as the master, and report it. This operator reports no messages."""
        if item["kind"] == "RedisSentinel" or not is_ready or self.failure:
            return
        (part,) = parts
        for number in range(part.size):
            labels = {"redis-role": "slave" if number else "master"}
            self.cluster.core.patch_namespaced_pod(
                f"{part.name}-{number}", self.namespace, {"metadata": {"labels": labels}}
            )
        name = item["metadata"]["name"]
        self._patch(resource.subresources["status"], name, {"status": {"masterNode": f"{name}-0"}})

    def _patch(self, resource: Any, name: str, body: Mapping[str, Any]) -> None:
        resource.patch(name=name, namespace=self.namespace, body=body, content_type="application/merge-patch+json")

    def _apply_part(self, part: Part, owner: Mapping[str, Any]) -> bool:
        """Apply a StatefulSet, and replace its old Pods. Return whether all Pods are new and ready."""
        digest = hashlib.sha256(repr(part.template).encode()).hexdigest()[:16]
        container = {
            "name": "server",
            "image": "registry.example.org/server:1",
            "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        }
        pod = {
            "securityContext": {"runAsNonRoot": True, "runAsUser": 1001, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [container],
            "terminationGracePeriodSeconds": 0,
        }
        manifest = {
            "apiVersion": "apps/v1",
            "kind": "StatefulSet",
            "metadata": {"name": part.name, "namespace": self.namespace, "ownerReferences": [dict(owner)]},
            "spec": {
                "replicas": part.size,
                "serviceName": part.name,
                "podManagementPolicy": "Parallel",
                "updateStrategy": {"type": "OnDelete"},
                "selector": {"matchLabels": {"part": part.name}},
                "template": {
                    "metadata": {"labels": {"part": part.name, **part.labels}, "annotations": {"digest": digest}},
                    "spec": pod,
                },
            },
        }
        found = self.cluster.apply(manifest).to_dict()
        status = found.get("status") or {}
        if status.get("observedGeneration") != found["metadata"]["generation"]:
            return False
        pods = self.cluster.core.list_namespaced_pod(self.namespace, label_selector=f"part={part.name}").items
        for item in pods:
            if item.metadata.labels["controller-revision-hash"] != status["updateRevision"]:
                self.cluster.core.delete_namespaced_pod(item.metadata.name, self.namespace)
                return False
        return bool(status.get("readyReplicas") == part.size)

    def _apply_ca(self, name: str, owner: Mapping[str, Any]) -> None:
        metadata = {"name": name, "namespace": self.namespace, "ownerReferences": [dict(owner)]}
        self.cluster.apply({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"ca.crt": CA}})

    def _set_password(self, name: str, user: str, secret: str) -> None:
        """Report a new password on the Secret with the account."""
        found = self.cluster.core.read_namespaced_secret(secret, self.namespace)
        digest = hashlib.sha256(base64.b64decode(found.data["password"])).hexdigest()
        key = f"percona.com/{name}-{user}-hash"
        if (found.metadata.annotations or {}).get(key) == digest or not self._is_due(name, digest):
            return
        try:
            password = self.cluster.read_secret(self.namespace, name)["password"]
        except ApiException:
            password = ""
        self.set_passwords.append((name, password))
        body = {"metadata": {"annotations": {key: digest}}}
        self.cluster.core.patch_namespaced_secret(secret, self.namespace, body)


def list_parts(item: Mapping[str, Any]) -> Iterator[Part]:
    """Yield the StatefulSets of a custom resource."""
    name, spec = item["metadata"]["name"], item["spec"]
    if item["kind"] == "Elasticsearch":
        for nodes in spec["nodeSets"]:
            labels = {ELASTIC_LABEL: name, **nodes["podTemplate"]["metadata"]["labels"]}
            template = (nodes["config"], nodes["podTemplate"])
            yield Part(name=f"{name}-es-{nodes['name']}", size=nodes["count"], labels=labels, template=template)
        return
    if item["apiVersion"] == REDIS:
        is_sentinel = item["kind"] == "RedisSentinel"
        role = "sentinel" if is_sentinel else "replication"
        end = "-sentinel" if is_sentinel else ""
        template = (spec["kubernetesConfig"], spec.get("redisConfig"))
        labels = {"app": f"{name}{end}", "redis_setup_type": role, "role": role}
        yield Part(name=f"{name}{end}", size=spec["clusterSize"], labels=labels, template=template)
        return
    if item["kind"] == "PerconaXtraDBCluster":
        parts: Sequence[tuple[str, str, Mapping[str, Any]]] = [
            (component, component, spec[component]) for component in ("pxc", "haproxy")
        ]
    else:
        parts = [(replset["name"], "mongod", replset) for replset in spec["replsets"]]
    for end, component, part in parts:
        labels = {PERCONA_LABELS["instance"]: name, PERCONA_LABELS["component"]: component, **part["labels"]}
        settings = (part.get("configuration"), part["resources"], part.get("image"))
        yield Part(name=f"{name}-{end}", size=part["size"], labels=labels, template=settings)


@contextlib.contextmanager
def imitate_operators(cluster: Cluster, namespace: str) -> Iterator[OperatorImitation]:
    """Run all operators for a namespace until the end of the context."""
    imitation, stop = OperatorImitation(cluster=cluster, namespace=namespace), threading.Event()
    thread = threading.Thread(target=imitation.run, args=(stop,), daemon=True)
    thread.start()
    try:
        yield imitation
        imitation.raise_errors()
    finally:
        stop.set()
        thread.join()
