"""`python -m status` with a fake Pulumi command line and a fake API server: requests, rights and errors."""

import json
import os
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from components.persisted.names import APPLICATION_TYPE, DATABASE_GROUP_TYPE
from status.__main__ import main
from tests.fake_api import Answer, build_kubeconfig, run_api_server
from tests.fake_pulumi import write_pulumi
from tests.status.objects import Json, build, build_claim, build_event, build_pod, build_service
from tests.support import CANARY

METADATA_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
PODS_OF_NODES = "/api/v1/nodes/node-1/proxy/stats/summary"
VOLUME = {"pvcRef": {"name": "redis-main", "namespace": "shop0"}, "usedBytes": 1, "capacityBytes": 2}
SUMMARY = {"pods": [{"volume": [{"name": "scripts"}, VOLUME]}, {}]}

SOURCES = "`kubernetes:context`, `kubernetes:kubeconfig` or the environment variable KUBECONFIG"
DEAD = "cannot connect to the cluster at http://127.0.0.1:1 (NewConnectionError); check that it runs and that "


class FakeApi:
    """Answers of an API server to one application in each of a number of namespaces."""

    def __init__(self, namespaces: int) -> None:
        self.namespaces = [f"shop{number}" for number in range(namespaces)]
        self.forbidden: Callable[[str], bool] = lambda _: False
        self.requests: list[tuple[str, dict[str, list[str]], str]] = []
        self.ready = True

    def answer(self, path: str, accept: str) -> Answer:
        url = urlsplit(path)
        self.requests.append((url.path, parse_qs(url.query), accept))
        if self.forbidden(url.path):
            return 403, {}
        if url.path == PODS_OF_NODES:
            return 200, SUMMARY
        *_, collection = url.path.split("/")
        namespaces = [name for name in self.namespaces if f"/namespaces/{name}/" in url.path] or self.namespaces
        return 200, {"items": [entry for name in namespaces for entry in self.build_objects(collection, name)]}

    def build_objects(self, collection: str, namespace: str) -> list[Json]:
        objects: dict[str, list[Json]] = {
            "pods": [build_pod(ready=self.ready)],
            "services": [build_service()],
            "secrets": [build("Secret", "redis-main"), build("Secret", f"{namespace}-databases")],
            "statefulsets": [build("StatefulSet", "redis-main")],
            "persistentvolumeclaims": [build_claim()],
            "events": [build_event("Pod", "redis-main-0", "Unhealthy", "no answer")],
        }
        for entry in objects[collection]:
            entry["metadata"]["namespace"] = namespace
            entry["metadata"].setdefault("labels", {})["app.kubernetes.io/part-of"] = namespace
        return objects[collection]


@pytest.fixture
def run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Run the command for a fake API, with the answers of `pulumi`. Returns exit code, output and errors."""

    def run_main(
        api: FakeApi | None, *arguments: str, config: Json | None = None, state: Json | str | None = None
    ) -> tuple[int, str, str]:
        with ExitStack() as stack:
            url = stack.enter_context(run_api_server(api.answer)) if api else "http://127.0.0.1:1"
            default = {
                "kubernetes:kubeconfig": {"secret": True},
                "kubernetes:context": {"value": "good", "secret": False},
            }
            answers: dict[str, Any] = {
                "stack": build_state(api.namespaces if api else ["shop0"]) if state is None else state,
                "config": default if config is None else config,
                "get": {"value": build_kubeconfig(url), "secret": True},
            }
            for name, content in answers.items():
                (tmp_path / name).write_text(content if isinstance(content, str) else json.dumps(content))
            monkeypatch.setenv("PATH", f"{write_pulumi(tmp_path)}{os.pathsep}{os.environ['PATH']}")
            code = main(["production", *arguments])
        captured = capsys.readouterr()
        assert CANARY not in captured.out + captured.err
        return code, captured.out, captured.err

    return run_main


def build_state(namespaces: list[str]) -> Json:
    """Return the export of a stack with one application and one Redis group for each namespace."""
    group = {"kind": "local", "engine": "redis", "group": "main", "variant": "redis", "version": "8"}
    resources = []
    for name in namespaces:
        application = {"name": name, "namespace": name, "secret": f"{name}-databases"}
        outputs = {**group, "application": name, "service": "redis", "secret": "redis-main", "protect": False}
        resources += [
            {"type": APPLICATION_TYPE, "outputs": application},
            {"type": DATABASE_GROUP_TYPE, "outputs": outputs},
        ]
    return {"deployment": {"resources": resources}}


def test_one_namespace_is_listed_alone_and_without_the_values_of_secrets(
    run: Callable[..., tuple[int, str, str]],
) -> None:
    api = FakeApi(1)
    code, output, errors = run(api, "--json")
    assert (code, errors) == (0, "")
    group = json.loads(output)["applications"]["shop0"]["databases"]["redis"]["main"]
    assert (group["ready"], group["problems"]) == (True, [])
    assert group["volume"] == {"claim": "redis-main", "size": "2Gi", "usedBytes": 1, "capacityBytes": 2}
    lists = [request for request in api.requests if request[0] != PODS_OF_NODES]
    assert {path.rpartition("/")[0] for path, *_ in lists} == {
        "/api/v1/namespaces/shop0",
        "/apis/apps/v1/namespaces/shop0",
    }
    assert {query["labelSelector"][0] for _, query, _ in lists} == {"app.kubernetes.io/managed-by=database-groups"}
    assert [accept for path, _, accept in lists if path.endswith("/secrets")] == [METADATA_ONLY]
    assert len(lists) == 5


def test_pods_and_claims_of_operators_are_listed_if_there_is_a_cluster(
    run: Callable[..., tuple[int, str, str]],
) -> None:
    api = FakeApi(1)
    state = build_state(api.namespaces)
    state["deployment"]["resources"][1]["outputs"]["replicas"] = 3
    run(api, "--json", state=state)
    assert [query["labelSelector"][0] for path, query, _ in api.requests if path.endswith("/pods")] == [
        "app.kubernetes.io/managed-by=database-groups",
        "database-groups/server",
    ]
    (query,) = (query for path, query, _ in api.requests if path.endswith("/persistentvolumeclaims"))
    assert "labelSelector" not in query


def test_many_namespaces_are_listed_at_once(run: Callable[..., tuple[int, str, str]]) -> None:
    api = FakeApi(20)
    code, output, _ = run(api)
    assert code == 0
    assert output.endswith("20 database groups, none with a problem\n")
    assert len(api.requests) == 6


def test_many_namespaces_are_listed_one_by_one_without_the_right_to_read_the_cluster(
    run: Callable[..., tuple[int, str, str]],
) -> None:
    api = FakeApi(5)
    api.forbidden = lambda path: "/namespaces/" not in path
    code, output, _ = run(api)
    assert code == 0
    assert output.splitlines()[-2:] == [
        "5 database groups, none with a problem",
        "note: the use of volumes is unknown: not allowed to get nodes/proxy",
    ]


def test_what_the_account_may_not_list_is_a_note_and_no_problem(run: Callable[..., tuple[int, str, str]]) -> None:
    api = FakeApi(1)
    api.forbidden = lambda path: path.endswith("/secrets")
    _, output, _ = run(api, "--json")
    content = json.loads(output)
    assert content["notes"] == ["not allowed to list Secret objects in namespace shop0"]
    assert content["applications"]["shop0"]["problems"] == []
    assert content["applications"]["shop0"]["databases"]["redis"]["main"]["secretChanged"] is None


def test_an_empty_list_of_metadata_is_null_and_not_forbidden(run: Callable[..., tuple[int, str, str]]) -> None:
    api = FakeApi(1)
    answer = api.answer
    api.answer = lambda path, accept: (200, {"items": None}) if "/secrets" in path else answer(path, accept)  # type: ignore[method-assign]
    _, output, _ = run(api, "--json")
    content = json.loads(output)
    assert (content["notes"], content["applications"]["shop0"]["problems"]) == (
        [],
        ["Secret shop0-databases is missing"],
    )


def test_events_are_read_where_a_server_is_not_ready(run: Callable[..., tuple[int, str, str]]) -> None:
    api = FakeApi(1)
    api.ready = False
    _, output, _ = run(api)
    assert "Pod redis-main-0: Unhealthy: no answer" in output
    assert [path for path, *_ in api.requests if path.endswith("/events")] == ["/api/v1/namespaces/shop0/events"]


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        (
            {"state": "error: no stack named 'production' found"},
            "stack 'production' has no state in this backend; deploy it: make up STACK=production",
        ),
        (
            {"config": {}, "state": {"deployment": None}},
            "stack 'production' has no applications; deploy it: make up STACK=production",
        ),
        ({"state": "error: incorrect passphrase"}, "incorrect passphrase"),
        ({}, f"{DEAD}{SOURCES} selects it"),
        (
            {"config": {"kubernetes:cluster": {"value": "c"}}},
            "kubernetes:cluster: not supported when the program reads the cluster; set `kubernetes:context`",
        ),
    ],
)
def test_an_error_is_one_line_with_a_fix(
    run: Callable[..., tuple[int, str, str]], answers: dict[str, Any], message: str
) -> None:
    assert run(None, **answers) == (1, "", f"error: {message}\n")


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (401, "(401 Unauthorized); log in to the cluster again"),
        (500, "(500 Internal Server Error); check the log of the API server"),
    ],
)
def test_an_api_server_that_rejects_all_requests_is_reported(
    run: Callable[..., tuple[int, str, str]], status: int, message: str
) -> None:
    api = FakeApi(1)
    api.answer = lambda *_: (status, {})  # type: ignore[method-assign]
    code, output, errors = run(api)
    assert (code, output) == (1, "")
    assert errors.startswith("error: cannot list ")
    assert errors.endswith(f"{message}\n")
    assert errors.count("\n") == 1


def test_a_missing_command_line_is_reported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["production"]) == 1
    assert capsys.readouterr().err == "error: the Pulumi command line is missing; `make preview` installs it\n"
