"""Reads what the cluster check compares: version, namespaces, rights, storage classes, nodes and existing objects.

Every request only reads. The reviews of rights are sent as POST requests, but create nothing.
"""

import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from preflight.cluster_client import REQUEST_TIMEOUT_SECONDS, list_objects, read_json, run_parallel
from preflight.cluster_models import ApiPath, ClusterRequirements, JsonObject, ObjectKey, RequiredObject
from preflight.cluster_rights import Right, is_granted, list_required_rights
from preflight.errors import ClusterError
from preflight.operators import ObservedOperator, read_operator
from preflight.pods import list_claims

__all__ = ["ObservedCluster", "read_cluster", "read_existing_objects"]

REVIEW_API = "authorization.k8s.io/v1"
FORBIDDEN, NOT_FOUND = 403, 404
ABSENT: JsonObject = MappingProxyType({})
"""In the place of a namespace that does not exist."""
FULL_LISTS = {"PersistentVolumeClaim", "Pod"}
"""Kinds of which more than the metadata is needed."""


@dataclass(frozen=True, kw_only=True)
class ObservedCluster:
    """What exists in the cluster. A part that the account may not read is None."""

    version: tuple[int, int] | None = None
    namespaces: Mapping[str, JsonObject | None] = field(default_factory=lambda: MappingProxyType({}))
    """The existing namespaces of the stack, by name. One that the account may not read is None."""
    storage_classes: Mapping[str, JsonObject] | None = None
    """Storage classes by name."""
    nodes: tuple[JsonObject, ...] | None = None
    """Nodes with the labels of the stack's node selector."""
    objects: Mapping[ObjectKey, JsonObject] = field(default_factory=lambda: MappingProxyType({}))
    """Objects with the keys of the stack's objects: volume claims, and those that are not recorded."""
    unreadable: frozenset[tuple[str, str]] = frozenset()
    """Kinds and namespaces of objects that the account may not list."""
    operators: Mapping[str, ObservedOperator] = field(default_factory=lambda: MappingProxyType({}))
    """The operators that the stack needs, by name."""
    volumes: Mapping[ObjectKey, tuple[JsonObject, ...]] = field(default_factory=lambda: MappingProxyType({}))
    """Volume claims that the Pods of a recorded custom resource use, if the account may read them."""
    missing_rights: Mapping[str, frozenset[Right]] | None = field(default_factory=lambda: MappingProxyType({}))
    """Rights that the account does not have, by namespace; those for the whole cluster have the key ''."""


class _Observer:
    """Sends requests until a deadline."""

    def __init__(self, connection: Any, timeout_seconds: float) -> None:
        self.connection = connection
        self.timeout_seconds = timeout_seconds
        self.deadline = time.monotonic() + timeout_seconds

    @property
    def timeout(self) -> tuple[float, float]:
        """Time limits of the next request. Raises ClusterError after the deadline."""
        seconds = self.deadline - time.monotonic()
        if seconds <= 0:
            raise ClusterError(
                f"the API server is too slow to check the cluster in {self.timeout_seconds:g} s; run the command again,"
                " or set `preflight: false`"
            )
        connect_seconds, read_seconds = REQUEST_TIMEOUT_SECONDS
        return min(connect_seconds, seconds), min(read_seconds, seconds)

    def read(self, path: str, purpose: str, **options: Any) -> Any:
        """Return the JSON of an answer, as `read_json` does."""
        return read_json(self.connection, path, purpose, timeout=self.timeout, **options)

    def request_review(self, kind: str, spec: JsonObject) -> Any:
        """Return the status of a review of the account's own rights; None if the account may not ask."""
        body = {"apiVersion": REVIEW_API, "kind": kind, "spec": spec}
        answer = self.read(f"/apis/{REVIEW_API}/{kind.lower()}s", f"create a {kind}", body=body)
        return None if answer is None else answer["status"]

    def list_objects(
        self, kind: str, namespace: str | None = None, *, custom_path: ApiPath | None = None, **query: str
    ) -> list[JsonObject] | None:
        """Return the objects of a kind; None if the account may not list them."""
        return list_objects(
            self.connection,
            kind,
            namespace,
            metadata_only=namespace is not None and kind not in FULL_LISTS,
            timeout=self.timeout,
            query=query,
            custom_path=custom_path,
        )


def read_cluster(connection: Any, requirements: ClusterRequirements, timeout_seconds: float) -> ObservedCluster:
    """Read what the check of a stack needs, in parallel and within a time limit. Raises ClusterError."""
    observer = _Observer(connection, timeout_seconds)
    existing = _read_existing(observer, requirements)
    claims = [required for required in requirements.objects if required.storage]
    return replace(
        existing,
        version=_read_version(observer),
        storage_classes=_group_by_name(observer.list_objects("StorageClass")) if claims else {},
        nodes=_read_nodes(observer, requirements.node_selector),
        operators=_read_operators(observer, requirements),
        volumes=_read_volumes(observer, requirements),
        missing_rights=_read_missing_rights(observer, list_required_rights(requirements)),
    )


def read_existing_objects(
    connection: Any, requirements: ClusterRequirements, timeout_seconds: float
) -> ObservedCluster:
    """Read only the namespaces and objects that exist, within a time limit. Raises ClusterError."""
    return _read_existing(_Observer(connection, timeout_seconds), requirements)


def _read_existing(observer: _Observer, requirements: ClusterRequirements) -> ObservedCluster:
    namespaces = _read_namespaces(observer, requirements)
    objects, unreadable = _read_objects(observer, requirements, namespaces)
    return ObservedCluster(namespaces=namespaces, objects=objects, unreadable=unreadable)


def _group_by_name(objects: Iterable[JsonObject] | None) -> dict[str, JsonObject] | None:
    return None if objects is None else {item["metadata"]["name"]: item for item in objects}


def _read_version(observer: _Observer) -> tuple[int, int] | None:
    answer = observer.read("/version", "read the version of the cluster")
    if answer is None:
        return None
    # Some clouds add a sign to the minor version: `34+`.
    major, minor = (re.match("[0-9]+", answer[key]) for key in ("major", "minor"))
    return (int(major[0]), int(minor[0])) if major and minor else None


def _read_namespaces(observer: _Observer, requirements: ClusterRequirements) -> dict[str, JsonObject | None]:
    """Read the stack's namespaces that exist. An account with rights in some namespaces may not list all of them."""
    names = list(dict.fromkeys(namespace.name for namespace in requirements.namespaces))
    listed = _group_by_name(observer.list_objects("Namespace"))
    if listed is None:

        def read(name: str) -> Any:
            results = {FORBIDDEN: None, NOT_FOUND: ABSENT}
            return observer.read(f"/api/v1/namespaces/{name}", f"read the namespace {name!r}", results=results)

        listed = dict(zip(names, run_parallel(read, names), strict=True))
    return {name: listed[name] for name in names if listed.get(name, ABSENT) is not ABSENT}


def _read_nodes(observer: _Observer, selector: Mapping[str, str]) -> tuple[JsonObject, ...] | None:
    if not selector:
        return ()
    query = ",".join(f"{key}={value}" for key, value in selector.items())
    nodes = observer.list_objects("Node", labelSelector=query)
    return None if nodes is None else tuple(nodes)


def _read_objects(
    observer: _Observer, requirements: ClusterRequirements, namespaces: Mapping[str, JsonObject | None]
) -> tuple[dict[ObjectKey, JsonObject], frozenset[tuple[str, str]]]:
    """Read the existing objects with the keys of the stack's own, with one list for each kind in a namespace.

    The second value is the kinds and namespaces that the account may not list.
    """
    keys = {required.key for required in requirements.objects if _is_read(required, requirements)}
    keys |= {claim.key for claim in requirements.existing_claims}
    scopes = sorted({(key.kind, key.namespace) for key in keys if key.namespace in namespaces})
    paths = {required.key.kind: required.custom_path for required in requirements.objects}
    lists = run_parallel(lambda scope: observer.list_objects(*scope, custom_path=paths.get(scope[0])), scopes)
    objects = {
        ObjectKey(kind, namespace, item["metadata"]["name"]): item
        for (kind, namespace), items in zip(scopes, lists, strict=True)
        for item in items or ()
    }
    unreadable = frozenset(scope for scope, items in zip(scopes, lists, strict=True) if items is None)
    return {key: item for key, item in objects.items() if key in keys}, unreadable


def _is_read(required: RequiredObject, requirements: ClusterRequirements) -> bool:
    """Return whether a check needs an object: the state does not have it, or it holds data."""
    return required.key not in requirements.recorded or required.storage is not None


def _read_operators(observer: _Observer, requirements: ClusterRequirements) -> dict[str, ObservedOperator]:
    operators = requirements.operators
    found = run_parallel(lambda operator: read_operator(observer.connection, operator, observer.timeout), operators)
    return {operator.name: observed for operator, observed in zip(operators, found, strict=True)}


def _read_volumes(observer: _Observer, requirements: ClusterRequirements) -> dict[ObjectKey, tuple[JsonObject, ...]]:
    """Read the volume claims that the Pods of recorded custom resources use, if the account may read both."""
    recorded = [item for item in requirements.objects if item.pod_labels and item.key in requirements.recorded]
    namespaces = sorted({item.key.namespace for item in recorded})

    def read_pods(item: RequiredObject) -> list[JsonObject] | None:
        selector = ",".join(f"{key}={value}" for key, value in item.pod_labels.items())
        return observer.list_objects("Pod", item.key.namespace, labelSelector=selector)

    lists = run_parallel(lambda name: observer.list_objects("PersistentVolumeClaim", name), namespaces)
    claims = {name: _group_by_name(items) for name, items in zip(namespaces, lists, strict=True)}
    volumes = {}
    for item, pods in zip(recorded, run_parallel(read_pods, recorded), strict=True):
        existing = claims[item.key.namespace]
        if pods is not None and existing is not None:
            names = sorted({name for pod in pods for name in list_claims(pod)})
            volumes[item.key] = tuple(existing[name] for name in names if name in existing)
    return volumes


def _read_missing_rights(
    observer: _Observer, needed: Mapping[str, frozenset[Right]]
) -> dict[str, frozenset[Right]] | None:
    """Read the rights that the account does not have; None if the account may not ask.

    One review returns the rules of a namespace. Where the cluster cannot list all rules (a cloud's own accounts), and
    for the whole cluster, a review asks for each right.
    """
    namespaces = [namespace for namespace in needed if namespace]
    reviews = run_parallel(
        lambda namespace: observer.request_review("SelfSubjectRulesReview", {"namespace": namespace}), namespaces
    )
    if None in reviews:
        return None
    missing: dict[str, frozenset[Right]] = {}
    uncertain: dict[str, frozenset[Right]] = {"": needed.get("", frozenset())}
    for namespace, review in zip(namespaces, reviews, strict=True):
        rules = review["resourceRules"] or ()
        denied = frozenset(right for right in needed[namespace] if not is_granted(right, rules))
        (uncertain if review.get("incomplete") else missing)[namespace] = denied
    in_all_namespaces = frozenset(right for rights in uncertain.values() for right in rights)
    denied = _select_denied(observer, "", in_all_namespaces)
    missing[""] = denied & uncertain.pop("")
    for namespace, rights in uncertain.items():
        missing[namespace] = _select_denied(observer, namespace, rights & denied)
    return {namespace: rights for namespace, rights in missing.items() if rights}


def _select_denied(observer: _Observer, namespace: str, rights: frozenset[Right]) -> frozenset[Right]:
    """Return the rights that the account does not have in a namespace; in the whole cluster for ''."""

    def is_denied(right: Right) -> bool:
        attributes = {**right._asdict(), **({"namespace": namespace} if namespace else {})}
        review = observer.request_review("SelfSubjectAccessReview", {"resourceAttributes": attributes})
        return review is not None and not review["allowed"]

    ordered = sorted(rights)
    return frozenset(right for right, denied in zip(ordered, run_parallel(is_denied, ordered), strict=True) if denied)
