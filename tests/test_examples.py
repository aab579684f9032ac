"""The example stacks: the resources that the program registers, and manifests that a cluster accepts."""

import base64
import os
import re
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]  # the package has no types
import pytest
import yaml

from components.persisted.outputs import ApplicationState, GroupSummary
from offline.__main__ import RenderedStack, render_stack
from offline.diagram import render_diagram
from offline.manifests import render_manifests, render_patches
from offline.page import render_page
from offline.recorder import PLACEHOLDER, Recorder
from offline.summary import render_summary
from tests.support import CANARY, PROVIDERS, encoded_forms, pod_security_violations, to_json_text

KUBERNETES_VERSION = "1.34"
STACKS = ("development", "production")
FOLDER = Path(__file__).with_name("examples")
UPDATE_VARIABLE = "UPDATE_EXAMPLES"
EXAMPLE_PASSWORD = "change-me"

each_stack = pytest.mark.parametrize("stack", STACKS)


@cache
def render(stack: str) -> RenderedStack:
    return render_stack(stack)


def record(stack: str) -> Recorder:
    return render(stack).recorder


@cache
def load_objects(stack: str) -> list[dict[str, Any]]:
    """Return the Kubernetes objects of a stack's manifests."""
    return [content for text in render_manifests(record(stack)).values() for content in yaml.safe_load_all(text)]


def list_objects(stack: str, kind: str) -> list[dict[str, Any]]:
    return [content for content in load_objects(stack) if content["kind"] == kind]


def list_pods(stack: str) -> list[dict[str, Any]]:
    return [content["spec"]["template"]["spec"] for content in list_objects(stack, "StatefulSet")]


def list_groups(stack: str) -> list[tuple[str, str, str, dict[str, Any]]]:
    """Return the application, the engine, the name and the summary of each group."""
    return [
        (application, engine, name, group)
        for application, outputs in record(stack).stack_outputs()["applications"].items()
        for engine, groups in outputs["databases"].items()
        for name, group in groups.items()
    ]


@each_stack
def test_program_registers_the_recorded_resources(stack: str) -> None:
    lines = sorted(f"{resource.type} {resource.name}" for resource in record(stack).registrations.values())
    text, path = "".join(f"{line}\n" for line in lines), FOLDER / f"{stack}.txt"
    if os.environ.get(UPDATE_VARIABLE):
        path.write_text(text)
    command = f"{UPDATE_VARIABLE}=1 .venv/bin/python -m pytest tests/test_examples.py"
    assert path.read_text() == text, f"to record an intended change, run: {command}"


def test_each_record_belongs_to_a_stack() -> None:
    assert {path.stem for path in FOLDER.iterdir()} == set(STACKS)


@each_stack
def test_rendering_is_deterministic(stack: str) -> None:
    first, second = render(stack), render_stack(stack)
    assert render_manifests(first.recorder) == render_manifests(second.recorder)
    for render_view in (render_summary, render_diagram, render_page):
        assert render_view(first.view) == render_view(second.view)


@each_stack
def test_rendered_files_contain_no_credential(stack: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("offline.recorder.PLACEHOLDER", CANARY)
    rendered = render_stack(stack)
    texts = [
        *render_manifests(rendered.recorder).values(),
        *render_patches(rendered.recorder).values(),
        render_summary(rendered.view),
        render_diagram(rendered.view),
        render_page(rendered.view),
        to_json_text(rendered.recorder.stack_outputs()),
    ]
    forms = [*encoded_forms(CANARY), *encoded_forms(EXAMPLE_PASSWORD)]
    assert [form for form in forms for text in texts if form in text] == []


@each_stack
def test_rendered_secrets_contain_keys_and_placeholders(stack: str) -> None:
    placeholder = base64.b64encode(PLACEHOLDER.encode()).decode()
    for secret in list_objects(stack, "Secret"):
        assert set(secret["data"].values()) == {placeholder}


@each_stack
def test_stack_outputs_contain_only_names(stack: str) -> None:
    outputs = record(stack).stack_outputs()
    assert list(outputs) == ["applications"]
    for application in outputs["applications"].values():
        assert set(application) == set(ApplicationState.__annotations__)
    for *_, group in list_groups(stack):
        missing = set(GroupSummary.__annotations__) - set(group)
        assert set(group) <= set(GroupSummary.__annotations__)
        assert missing <= {"version", "series", "externalServer"}


@each_stack
def test_view_is_the_stack_output(stack: str) -> None:
    view, fields = render(stack).view, ("kind", "variant", "version", "external_server", "service", "secret", "protect")
    shown = [
        (application.name, *group.name.split("."), *(getattr(group, name) for name in fields))
        for application in view.applications
        for group in application.groups
    ]
    keys = ("kind", "variant", "version", "externalServer", "service", "secret", "protect")
    outputs = [(*names, *(group.get(key) for key in keys)) for *names, group in list_groups(stack)]
    assert sorted(shown) == sorted(outputs)


@each_stack
def test_view_has_the_keys_of_the_secrets_and_the_other_objects(stack: str) -> None:
    for application in render(stack).view.applications:
        secrets = {
            content["metadata"]["name"]: set(content["data"])
            for content in list_objects(stack, "Secret")
            if content["metadata"]["namespace"] == application.namespace
        }
        shown = {group.secret: {entry.key for entry in group.connection} for group in application.groups}
        assert secrets == {**shown, application.secret: set(application.variables)}
        objects = {(view.kind, view.name) for view in application.objects if view.api not in ("mysql", "postgresql")}
        in_namespace = {
            (content["kind"], content["metadata"]["name"])
            for content in load_objects(stack)
            if content["metadata"].get("namespace", content["metadata"]["name"]) == application.namespace
        }
        assert objects == in_namespace


@each_stack
def test_manifests_match_the_schema_of_kubernetes(stack: str) -> None:
    assert load_objects(stack)
    for content in load_objects(stack):
        kubernetes_validate.validate(content, KUBERNETES_VERSION, strict=True)


@each_stack
def test_manifests_contain_every_object_once_and_the_namespace_first(stack: str) -> None:
    objects = load_objects(stack)
    registered = [found for found in record(stack).registrations.values() if found.type.startswith("kubernetes:")]
    keys = {(found["kind"], found["metadata"].get("namespace"), found["metadata"]["name"]) for found in objects}
    assert len(keys) == len(objects) == len(registered)
    for text in render_manifests(record(stack)).values():
        assert next(yaml.safe_load_all(text))["kind"] == "Namespace"


@each_stack
def test_objects_are_in_the_namespaces_of_the_stack(stack: str) -> None:
    namespaces = {content["metadata"]["name"] for content in list_objects(stack, "Namespace")}
    others = [content for content in load_objects(stack) if content["kind"] != "Namespace"]
    assert {content["metadata"]["namespace"] for content in others} == namespaces


@each_stack
def test_names_and_labels_fit_into_their_limits(stack: str) -> None:
    for content in load_objects(stack):
        assert re.fullmatch(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?", content["metadata"]["name"])
        for value in content["metadata"]["labels"].values():
            assert re.fullmatch(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?", value)


@each_stack
def test_pod_security_restricted_accepts_every_pod(stack: str) -> None:
    assert list_pods(stack)
    for pod in list_pods(stack):
        assert list(pod_security_violations(pod)) == []
        assert pod["automountServiceAccountToken"] is False
        assert pod["enableServiceLinks"] is False
        for container in pod["containers"]:
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
            assert {"cpu", "memory"} <= set(container["resources"]["requests"])
            assert "memory" in container["resources"]["limits"]


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"hostNetwork": True}, "host namespaces"),
        ({"volumes": [{"name": "x", "hostPath": {"path": "/"}}]}, "volume x"),
        ({"securityContext": {"seccompProfile": {"type": "RuntimeDefault"}}}, "runAsNonRoot"),
        ({"securityContext": {"runAsNonRoot": True}}, "seccompProfile"),
        ({"containers": [{"name": "x"}]}, "capabilities"),
    ],
    ids=["host", "volume", "root", "seccomp", "capabilities"],
)
def test_pod_security_violations_finds_each_rule(change: dict[str, Any], rule: str) -> None:
    assert rule in list(pod_security_violations({**list_pods("development")[0], **change}))


def test_examples_show_every_kind_both_external_services_and_two_applications() -> None:
    groups = [group for stack in STACKS for group in list_groups(stack)]
    assert {engine for _, engine, _, _ in groups} == {"mysql", "postgresql", "redis"}
    assert {summary["kind"] for *_, summary in groups} == {"local", "dedicated", "external"}
    assert len({application for application, *_ in list_groups("production")}) == 2
    services = {content["spec"]["type"] for content in list_objects("production", "Service")}
    assert services == {"ClusterIP", "ExternalName"}
    assert list_objects("production", "EndpointSlice")
    assert any(found.type.startswith(PROVIDERS) for found in record("production").registrations.values())
