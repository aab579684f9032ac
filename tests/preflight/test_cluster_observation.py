"""What the cluster check reads, with a fake API server: few requests, limited rights and a time limit."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from preflight.cluster import check_cluster
from preflight.cluster_client import ClusterConfig, create_api_client
from preflight.cluster_models import (
    ClusterIssue,
    ClusterRequirements,
    ObjectKey,
    RecordedObject,
    RequiredClaim,
    RequiredNamespace,
    RequiredObject,
)
from preflight.cluster_observation import ObservedCluster, read_cluster
from preflight.cluster_rights import Right, list_required_rights
from tests.fake_api import Answer, build_kubeconfig, run_api_server

CLUSTER = ("cluster",)
LOCATION = ("applications", "shop")
SERVICE, SECRET, CLAIM = (
    ObjectKey(kind, "shop", "mysql-main") for kind in ("Service", "Secret", "PersistentVolumeClaim")
)
REQUIRED = ClusterRequirements(
    stack="acme/database-groups/production",
    stack_annotation="database-groups/stack",
    namespaces=tuple(RequiredNamespace(name=name, is_created=False, location=LOCATION) for name in ("shop", "new")),
    objects=(
        RequiredObject(key=SERVICE, location=LOCATION, application="shop"),
        RequiredObject(key=SECRET, location=LOCATION, application="shop"),
        RequiredObject(key=CLAIM, location=LOCATION, application="shop", storage="2Gi"),
        RequiredObject(key=ObjectKey("Service", "new", "mysql-main"), location=LOCATION, application="shop"),
    ),
)
ALL = [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}]
REVIEWS = "/apis/authorization.k8s.io/v1/"


def build_list(*names: str) -> Answer:
    return 200, {"items": [{"metadata": {"name": name}} for name in names]}


class Api:
    """A fake API server: answers by path, and the paths that were requested."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {
            "/version": (200, {"major": "1", "minor": "34+"}),
            "/api/v1/namespaces": build_list("shop", "other"),
            "/apis/storage.k8s.io/v1/storageclasses": build_list("fast"),
            "/api/v1/namespaces/shop/services": build_list("mysql-main", "other"),
            "/api/v1/namespaces/shop/secrets": build_list("other"),
            "/api/v1/namespaces/shop/persistentvolumeclaims": build_list("mysql-main"),
            "/api/v1/nodes": build_list("a"),
        }
        self.rules: Callable[[str], dict[str, Any]] = lambda _: {"resourceRules": ALL, "incomplete": False}
        self.is_allowed: Callable[[dict[str, str]], bool] = lambda _: True
        self.requests: list[str] = []
        self.review_status = 201
        self.url = ""

    def answer(self, path: str, accept: str) -> Answer:
        """Answer a GET request."""
        self.requests.append(path)
        assert ("PartialObjectMetadataList" in accept) == path.endswith(("/services", "/secrets")), path
        return self.answers.get(path.partition("?")[0], (404, {}))

    def review(self, path: str, body: dict[str, Any]) -> Answer:
        """Answer a review of rights."""
        self.requests.append(path)
        spec = body["spec"]
        if path == f"{REVIEWS}selfsubjectrulesreviews":
            return self.review_status, {"status": self.rules(spec["namespace"])}
        assert path == f"{REVIEWS}selfsubjectaccessreviews"
        return self.review_status, {"status": {"allowed": self.is_allowed(spec["resourceAttributes"])}}

    def observe(self, required: ClusterRequirements = REQUIRED) -> ObservedCluster:
        """Return what the check reads."""
        with create_api_client(self.config) as connection:
            return read_cluster(connection, required, 5)

    @property
    def config(self) -> ClusterConfig:
        """The configuration of this server."""
        return ClusterConfig(kubeconfig=build_kubeconfig(self.url), context="good")


@pytest.fixture
def api() -> Iterator[Api]:
    """Run a fake API server."""
    api = Api()
    with run_api_server(api.answer, api.review) as api.url:
        yield api


def test_each_kind_of_a_namespace_is_listed_once(api: Api) -> None:
    observed = api.observe()
    assert (observed.version, set(observed.namespaces)) == ((1, 34), {"shop"})
    assert (set(observed.objects), set(observed.storage_classes or {})) == ({SERVICE, CLAIM}, {"fast"})
    assert observed.missing_rights == {}
    rules = [f"{REVIEWS}selfsubjectrulesreviews"] * 2
    access = [f"{REVIEWS}selfsubjectaccessreviews"] * len(list_required_rights(REQUIRED)[""])
    reads = [path for path in api.answers if path != "/api/v1/nodes"]
    assert sorted(api.requests) == sorted([*reads, *rules, *access])


def test_of_recorded_objects_only_volume_claims_are_listed(api: Api) -> None:
    recorded = {SERVICE: RecordedObject(), SECRET: RecordedObject(), CLAIM: RecordedObject(storage="2Gi")}
    assert set(api.observe(replace(REQUIRED, recorded=recorded)).objects) == {CLAIM}
    lists = [path for path in api.requests if path.startswith("/api/v1/namespaces/")]
    assert lists == [f"/api/v1/namespaces/{CLAIM.namespace}/persistentvolumeclaims"]


def test_the_volume_claim_of_a_store_is_read(api: Api) -> None:
    claim = RequiredClaim(name=CLAIM.name, namespace="shop", location=LOCATION)
    assert set(api.observe(replace(REQUIRED, objects=(), existing_claims=(claim,))).objects) == {CLAIM}
    other = replace(claim, name="absent")
    assert api.observe(replace(REQUIRED, objects=(), existing_claims=(other,))).objects == {}


def test_nodes_are_selected_by_their_labels(api: Api) -> None:
    observed = api.observe(replace(REQUIRED, node_selector={"a": "b", "c": "d"}))
    assert [node["metadata"]["name"] for node in observed.nodes or ()] == ["a"]
    assert "/api/v1/nodes?labelSelector=a%3Db%2Cc%3Dd" in api.requests


def test_account_without_rights_in_the_cluster_reads_its_namespaces(api: Api) -> None:
    for path in ("/version", "/api/v1/namespaces", "/api/v1/nodes", "/apis/storage.k8s.io/v1/storageclasses"):
        api.answers[path] = (403, {})
    api.answers["/api/v1/namespaces/shop/secrets"] = (403, {})
    api.answers["/api/v1/namespaces/new"] = api.answers["/api/v1/namespaces/new/services"] = (403, {})
    api.answers["/api/v1/namespaces/shop"] = (200, {"metadata": {"name": "shop"}})
    missing = RequiredNamespace(name="missing", is_created=False, location=LOCATION)
    required = replace(REQUIRED, namespaces=(*REQUIRED.namespaces, missing), node_selector={"a": "b"})
    observed = api.observe(required)
    assert dict(observed.namespaces) == {"shop": {"metadata": {"name": "shop"}}, "new": None}
    assert (observed.version, observed.nodes, observed.storage_classes) == (None, None, None)
    assert set(observed.objects) == {SERVICE, CLAIM}


def test_missing_rights_are_read_from_the_rules_of_each_namespace(api: Api) -> None:
    rule = {"verbs": ["get", "list", "watch"], "apiGroups": ["*"], "resources": ["*"]}
    api.rules = lambda namespace: {"resourceRules": [rule] if namespace == "shop" else ALL, "incomplete": False}
    api.is_allowed = lambda attributes: attributes["verb"] != "get"
    missing = api.observe().missing_rights or {}
    assert set(missing) == {"", "shop"}
    assert missing[""] == {Right("storage.k8s.io", "storageclasses", "get")}
    assert {right.verb for right in missing["shop"]} == {"create", "patch", "delete"}
    assert {right.resource for right in missing["shop"]} == {"services", "secrets", "persistentvolumeclaims"}


def test_incomplete_rules_are_completed_by_a_review_of_each_right(api: Api) -> None:
    """A cloud that manages rights itself does not list them."""
    api.rules = lambda _: {"resourceRules": None, "incomplete": True}
    assert api.observe().missing_rights == {}
    api.is_allowed = lambda attributes: attributes.get("namespace") == "shop" or attributes["resource"] != "services"
    missing = api.observe().missing_rights or {}
    assert set(missing) == {"new"}
    assert {(right.resource, right.verb) for right in missing["new"]} == {
        ("services", verb) for verb in ("get", "list", "watch", "create", "patch", "delete")
    }


def test_account_that_may_not_review_its_rights(api: Api) -> None:
    api.review_status = 403
    assert api.observe().missing_rights is None


# An API server that fails


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        ("/version", 401, "cannot read the version of the cluster (401 Unauthorized); log in to the cluster again"),
        (
            "/apis/storage.k8s.io/v1/storageclasses",
            500,
            "cannot list StorageClass objects (500 Internal Server Error); check the log of the API server",
        ),
    ],
)
def test_error_of_the_api_server_is_the_only_issue(api: Api, path: str, status: int, message: str) -> None:
    api.answers[path] = (status, {})
    assert check_cluster(REQUIRED, api.config, 5).issues == (ClusterIssue(CLUSTER, message),)


@pytest.mark.parametrize(("busy_answers", "is_read"), [(1, True), (4, True), (5, False)])
def test_busy_api_server_is_asked_again(
    api: Api, monkeypatch: pytest.MonkeyPatch, busy_answers: int, is_read: bool
) -> None:
    """It is busy for a moment after a new type of objects was installed."""
    monkeypatch.setattr("preflight.cluster_client.BUSY_SECONDS", 0)
    path, statuses = "/apis/storage.k8s.io/v1/storageclasses", iter([429] * busy_answers)
    original = api.answer

    def answer(requested: str, accept: str) -> Answer:
        status = next(statuses, None) if requested == path else None
        return (status, {}) if status else original(requested, accept)

    with run_api_server(answer, api.review) as api.url:
        issues = check_cluster(REQUIRED, api.config, 5).issues
    assert bool([issue for issue in issues if "429 Too Many Requests" in issue.message]) != is_read


def test_unreachable_cluster_is_reported() -> None:
    (issue,) = check_cluster(REQUIRED, ClusterConfig(kubeconfig=build_kubeconfig("http://127.0.0.1:1")), 5).issues
    assert issue.location == CLUSTER
    assert issue.message.startswith("cannot connect to the cluster at http://127.0.0.1:1 (NewConnectionError); check")


def test_check_ends_at_its_time_limit(api: Api) -> None:
    stop = threading.Event()

    def wait(path: str, accept: str) -> Answer:
        stop.wait(0.3)
        return api.answer(path, accept)

    with run_api_server(wait, api.review) as api.url:
        start = time.monotonic()
        (issue,) = check_cluster(REQUIRED, api.config, 0.5).issues
        assert time.monotonic() - start < 3  # with the import of the client
        stop.set()
    assert issue.message.startswith("the API server is too slow to check the cluster in 0.5 s; run") or (
        "(ReadTimeoutError)" in issue.message
    )
