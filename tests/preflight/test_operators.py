"""The check of operators: what it reads from a fake API server, and the message for each state."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from preflight.cluster import check_cluster
from preflight.cluster_client import ClusterConfig
from preflight.cluster_models import (
    ApiPath,
    ClusterReport,
    ClusterRequirements,
    ObjectKey,
    RecordedObject,
    RequiredNamespace,
    RequiredObject,
    RequiredOperator,
)
from preflight.operators import ObservedOperator, OperatorPod, check_operators, describe_operator, list_operator_notes
from tests.fake_api import Answer, build_kubeconfig, run_api_server

SHOP = ("applications", "shop")
MAIN, SPARE = ((*SHOP, "databases", "postgresql", name) for name in ("main", "spare"))
PATH = ApiPath("/apis/postgresql.example.org/v1", "clusters")
CLUSTER = ObjectKey("Cluster", "shop", "postgresql-main")
LABELS = {"app": "operator"}
OPERATOR = RequiredOperator(
    name="Example",
    version="1.30.0",
    image="ghcr.io/example/operator",
    custom_paths=(PATH,),
    pod_labels=LABELS,
    namespace_variable="WATCH_NAMESPACE",
    install_commands=("kubectl apply --filename a", "kubectl apply --filename b"),
    groups=((MAIN, "shop"), (SPARE, "market")),
)
POD = OperatorPod(namespace="operators", name="operator-0", is_ready=True, version="1.30.0", watched=None)
REQUIRED = ClusterRequirements(
    stack="acme/database-groups/production",
    stack_annotation="database-groups/stack",
    namespaces=(RequiredNamespace(name="shop", is_created=False, location=SHOP),),
    objects=(
        RequiredObject(
            key=CLUSTER,
            location=MAIN,
            application="shop",
            storage="2Gi",
            custom_path=PATH,
            pod_labels={"database-groups/server": "postgresql-main"},
        ),
    ),
    operators=(OPERATOR,),
)
WHERE = "applications.shop.databases.postgresql.main.server.replicas: the operator Example"
INSTALL = "\n      kubectl apply --filename a\n      kubectl apply --filename b"


def list_issues(**observed: Any) -> list[str]:
    found = {"Example": ObservedOperator(**{"pods": (POD,), **observed})}
    issues = check_operators(REQUIRED, found)
    return [f"{'.'.join(map(str, issue.location))}: {issue.message}" for issue in issues]


OLD = replace(POD, name="old-0", version="1.9.3")
SCOPED = replace(POD, watched=frozenset({"market"}))
STATES: list[tuple[str, dict[str, Any], list[str]]] = [
    ("usable", {}, []),
    ("newer", {"pods": (replace(POD, version="2.0"),)}, []),
    ("same, shorter", {"pods": (replace(POD, version="1.30"),)}, []),
    ("unknown version", {"pods": (replace(POD, version=None),)}, []),
    ("one of two is usable", {"pods": (OLD, replace(POD, is_ready=False), POD)}, []),
    (
        "not installed",
        {"missing_types": ("clusters.postgresql.example.org v1",), "pods": ()},
        [
            f"{WHERE} is not installed: the cluster does not have clusters.postgresql.example.org v1; install it (for 2"
            f" groups):{INSTALL}"
        ],
    ),
    (
        "too old for its types",
        {"missing_types": ("clusters.postgresql.example.org v1",), "pods": (OLD,)},
        [
            f"{WHERE} is not installed: the cluster does not have clusters.postgresql.example.org v1; install it (for 2"
            f" groups):{INSTALL}"
        ],
    ),
    (
        "no Pod",
        {"pods": ()},
        [f"{WHERE} does not run: no Pod has the labels app=operator; install it (for 2 groups):{INSTALL}"],
    ),
    (
        "too old",
        {"pods": (OLD,)},
        [
            f"{WHERE} 1.9.3 is too old; install version 1.30.0 or later:{INSTALL}",
            f"{WHERE.replace('main', 'spare')} 1.9.3 is too old; install version 1.30.0 or later:{INSTALL}",
        ],
    ),
    (
        "does not watch a namespace",
        {"pods": (SCOPED,)},
        [
            f"{WHERE} in namespace operators does not watch namespace 'shop'; add it to the environment"
            " variable WATCH_NAMESPACE of the operator, or remove the variable to watch all namespaces"
        ],
    ),
    (
        "not ready",
        {"pods": (replace(SCOPED, is_ready=False), replace(POD, watched=frozenset({"shop"})))},
        [
            f"{WHERE.replace('main', 'spare')} is not ready; read its log:\n"
            "      kubectl logs --namespace operators operator-0"
        ],
    ),
    ("may not be read", {"pods": None}, []),
]


@pytest.mark.parametrize(("observed", "issues"), [case[1:] for case in STATES], ids=[case[0] for case in STATES])
def test_operator_has_a_message(observed: dict[str, Any], issues: list[str]) -> None:
    assert list_issues(**observed) == issues


def test_groups_of_one_namespace_share_a_message() -> None:
    operator = replace(OPERATOR, groups=((MAIN, "shop"), (SPARE, "shop")))
    found = {"Example": ObservedOperator(pods=(OLD,))}
    (issue,) = check_operators(replace(REQUIRED, operators=(operator,)), found)
    assert issue.message.startswith("the operator Example 1.9.3 is too old; install version 1.30.0 or later (for 2")


@pytest.mark.parametrize(
    ("observed", "note"),
    [
        (ObservedOperator(pods=None), "Example is not checked: the account may not list Pods in the whole cluster"),
        (
            ObservedOperator(missing_types=None, pods=(POD,)),
            "Example is not checked: the account may not list Pods in the whole cluster",
        ),
        (
            ObservedOperator(pods=(replace(POD, version=None),)),
            "the image of Pod 'operator-0' in namespace 'operators' has no version in its tag",
        ),
    ],
)
def test_what_cannot_be_checked_is_a_note(observed: ObservedOperator, note: str) -> None:
    (found,) = list_operator_notes(REQUIRED, {"Example": observed})
    assert note in found
    assert list(list_operator_notes(REQUIRED, {"Example": ObservedOperator(pods=(POD,))})) == []


@pytest.mark.parametrize(
    ("observed", "line"),
    [
        (ObservedOperator(pods=(POD,)), "runs: 1.30.0 in namespace operators"),
        (
            ObservedOperator(pods=(OLD, SCOPED)),
            "runs: 1.30.0 in namespace operators, 1.9.3 in namespace operators; 1.9.3 is too old; install version"
            " 1.30.0 or later",
        ),
        (ObservedOperator(pods=()), "does not run: no Pod has the labels app=operator; install it"),
        (ObservedOperator(pods=None), "not known: the account may not list Pods in the whole cluster"),
    ],
)
def test_state_of_an_operator_is_one_line(observed: ObservedOperator, line: str) -> None:
    assert describe_operator(OPERATOR, observed) == line


# What is read

DEFAULT_CLASS = {"name": "fixed", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}}
CLAIMS = "/api/v1/namespaces/shop/persistentvolumeclaims"
PODS = "/api/v1/namespaces/shop/pods?labelSelector=database-groups/server%3Dpostgresql-main"
OPERATOR_PODS = "/api/v1/pods?labelSelector=app%3Doperator"


def build_pod(image: str, environment: list[dict[str, Any]] | None = None, *, phase: str = "Running") -> dict[str, Any]:
    return {
        "metadata": {"name": "operator-0", "namespace": "operators"},
        "spec": {"containers": [{"image": "proxy:9.9"}, {"image": image, "env": environment or []}]},
        "status": {"phase": phase, "conditions": [{"type": "Ready", "status": "True"}]},
    }


class Api:
    """An API server with an operator and a cluster of the stack."""

    def __init__(self) -> None:
        self.pods = [build_pod("registry.example.org/mirror/operator:v1.30.0")]
        self.answers: dict[str, Answer] = {
            "/version": (200, {"major": "1", "minor": "34"}),
            "/api/v1/namespaces": (200, {"items": [{"metadata": {"name": "shop"}}]}),
            PATH.api: (200, {"resources": [{"name": "clusters"}, {"name": "clusters/status"}]}),
            f"{PATH.api}/namespaces/shop/clusters": (200, {"items": []}),
            "/apis/storage.k8s.io/v1/storageclasses": (200, {"items": [{"metadata": DEFAULT_CLASS}]}),
            CLAIMS: (200, {"items": []}),
            PODS: (200, {"items": []}),
        }
        self.requests: list[str] = []

    def answer(self, path: str, _accept: str) -> Answer:
        self.requests.append(path)
        pods: Answer = 200, {"items": self.pods}
        return self.answers.get(path, pods if path == OPERATOR_PODS else (404, {}))

    def review(self, _path: str, _body: Mapping[str, Any]) -> Answer:
        rules = [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}]
        return 201, {"status": {"resourceRules": rules, "allowed": True}}

    def check(self, required: ClusterRequirements = REQUIRED) -> ClusterReport:
        with run_api_server(self.answer, self.review) as url:
            return check_cluster(required, ClusterConfig(kubeconfig=build_kubeconfig(url), context="good"), 5)

    def list_messages(self, required: ClusterRequirements = REQUIRED) -> list[str]:
        return [issue.message for issue in self.check(required).issues]


RECORDED = replace(REQUIRED, recorded={CLUSTER: RecordedObject(application="shop")})


@pytest.fixture
def api() -> Api:
    return Api()


def test_an_operator_that_watches_all_namespaces_is_usable(api: Api) -> None:
    report = api.check()
    assert (report.issues, report.notes) == ((), ())


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ("ghcr.io/example/operator:1.29.1", "the operator Example 1.29.1 is too old"),
        ("localhost:5000/operator:1.29.1-distroless@sha256:0", "the operator Example 1.29.1 is too old"),
        ("ghcr.io/example/operator:1.30.1", ""),
        ("localhost:5000/operator", ""),
        ("ghcr.io/example/operator@sha256:0", ""),
    ],
)
def test_the_version_is_the_tag_of_the_operators_container(api: Api, image: str, message: str) -> None:
    api.pods = [build_pod(image)]
    assert [text[: len(message)] for text in api.list_messages()] == ([message] * 2 if message else [])


@pytest.mark.parametrize(
    ("entry", "unwatched"),
    [
        ({"value": "shop, market"}, []),
        ({"value": ""}, []),
        ({}, []),
        ({"value": "shop"}, ["'market'"]),
        ({"valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}}, ["'shop'", "'market'"]),
        ({"valueFrom": {"configMapKeyRef": {"name": "a", "key": "b"}}}, []),
    ],
)
def test_the_namespaces_are_those_of_a_variable(api: Api, entry: dict[str, Any], unwatched: list[str]) -> None:
    api.pods = [build_pod("operator:1.30.0", [{"name": "OTHER", "value": "x"}, {"name": "WATCH_NAMESPACE", **entry}])]
    texts = [f"in namespace operators does not watch namespace {name};" for name in unwatched]
    messages = api.list_messages()
    assert len(messages) == len(texts)
    assert all(text in message for text, message in zip(texts, messages, strict=True))


def test_a_pod_that_has_ended_is_no_operator(api: Api) -> None:
    api.pods = [build_pod("operator:1.30.0", phase="Failed")]
    assert api.list_messages()[0].startswith("the operator Example does not run: no Pod has the labels app=operator")


@pytest.mark.parametrize("answer", [(404, {}), (200, {"resources": [{"name": "backups"}]})])
def test_a_missing_type_is_the_only_message(api: Api, answer: Answer) -> None:
    """The list of the custom resources fails too, because their type does not exist."""
    api.answers[PATH.api] = answer
    del api.answers[f"{PATH.api}/namespaces/shop/clusters"]
    (message,) = api.list_messages()
    assert "the operator Example is not installed: the cluster does not have clusters.postgresql.example.org" in message


def test_a_custom_resource_of_others_is_not_overwritten(api: Api) -> None:
    api.answers[f"{PATH.api}/namespaces/shop/clusters"] = (200, {"items": [{"metadata": {"name": CLUSTER.name}}]})
    (message,) = api.list_messages()
    assert message.startswith("Cluster 'postgresql-main' exists in namespace 'shop', and this stack did not create it")


def test_a_cluster_that_an_interrupted_update_left_is_known(api: Api) -> None:
    own = {"name": CLUSTER.name, "annotations": {"database-groups/stack": REQUIRED.stack}}
    api.answers[f"{PATH.api}/namespaces/shop/clusters"] = (200, {"items": [{"metadata": own}]})
    report = api.check()
    assert (report.issues, report.left_behind) == ((), (CLUSTER,))


def test_a_cluster_that_another_program_deleted_is_reported(api: Api) -> None:
    assert api.list_messages(RECORDED)[0].startswith(
        "Cluster 'postgresql-main' in namespace 'shop' is in the state, but not in the cluster"
    )


def build_claim(name: str, size: str) -> dict[str, Any]:
    resources = {"requests": {"storage": size}}
    return {"metadata": {"name": name}, "spec": {"resources": resources, "storageClassName": "fixed"}}


def test_volumes_of_a_cluster_that_cannot_grow_are_reported(api: Api) -> None:
    """The operator creates the volume claims; the Pods of the cluster name them."""
    claims = [build_claim("a", "1Gi"), build_claim("b", "1Gi"), build_claim("other", "1Mi")]
    pods = [{"spec": {"volumes": [{"persistentVolumeClaim": {"claimName": name}}]}} for name in "ab"]
    api.answers |= {
        f"{PATH.api}/namespaces/shop/clusters": (200, {"items": [{"metadata": {"name": CLUSTER.name}}]}),
        CLAIMS: (200, {"items": claims}),
        PODS: (200, {"items": pods}),
    }
    (issue,) = api.check(RECORDED).issues
    assert issue.location == (*MAIN, "server", "storage")
    assert issue.message.startswith("the volume cannot grow from 1Gi to 2Gi: storage class 'fixed' does not allow it")
    grows = {"metadata": DEFAULT_CLASS, "allowVolumeExpansion": True}
    api.answers["/apis/storage.k8s.io/v1/storageclasses"] = (200, {"items": [grows]})
    assert api.check(RECORDED).issues == ()


@pytest.mark.parametrize("path", [CLAIMS, PODS])
def test_volumes_of_a_cluster_that_cannot_be_read_are_a_note(api: Api, path: str) -> None:
    api.answers |= {
        f"{PATH.api}/namespaces/shop/clusters": (200, {"items": [{"metadata": {"name": CLUSTER.name}}]}),
        path: (403, {}),
    }
    report = api.check(RECORDED)
    assert report.issues == ()
    assert report.notes == (
        "the account may not list Pods and volume claims, so the growth of volumes is not checked: Cluster"
        " 'postgresql-main' in namespace 'shop'",
    )


def test_a_new_cluster_needs_a_storage_class(api: Api) -> None:
    api.answers["/apis/storage.k8s.io/v1/storageclasses"] = (200, {"items": [{"metadata": {"name": "fixed"}}]})
    (message,) = api.list_messages()
    assert message.startswith("no storage class is the default one, which these groups need")


def test_an_account_with_rights_in_its_namespaces_only_gets_a_note(api: Api) -> None:
    api.answers[OPERATOR_PODS] = (403, {})
    report = api.check()
    assert report.issues == ()
    assert report.notes == ("the operator Example is not checked: the account may not list Pods in the whole cluster",)
