"""The whole program for each example stack: what it registers, and that the cluster would take it."""

import base64
import os
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]  # it has no types
import pytest
import yaml

import offline.recorder
from offline.__main__ import render_stack
from offline.recorder import Recorder
from offline.render import render_diagram, render_manifests, render_summary
from offline.stackfile import PLACEHOLDER
from tests.support import CANARY, PROVIDERS, pod_security_violations, to_json_text

KUBERNETES = "1.34"
STACKS = ("development", "production")
FOLDER = Path(__file__).with_name("examples")
UPDATE = "UPDATE_EXAMPLES"
GIVEN = "change-me"
"""The password that stands in the examples."""

stacks = pytest.mark.parametrize("stack", STACKS)


@cache
def recorded(stack: str) -> Recorder:
    return render_stack(stack)


@cache
def objects(stack: str) -> list[dict[str, Any]]:
    """The Kubernetes objects of a stack, as they are written for people to read."""
    return [found for text in render_manifests(recorded(stack)).values() for found in yaml.safe_load_all(text)]


def of(stack: str, kind: str) -> list[dict[str, Any]]:
    return [found for found in objects(stack) if found["kind"] == kind]


@stacks
def test_an_example_registers_the_resources_that_are_stored(stack: str) -> None:
    lines = sorted(
        f"{registration.type} {registration.name}" for registration in recorded(stack).registrations.values()
    )
    text = "\n".join([*lines, ""])
    path = FOLDER / f"{stack}.txt"
    if os.environ.get(UPDATE):
        path.write_text(text)
    assert path.read_text() == text, (
        f"if that is meant, write tests/examples/ anew: {UPDATE}=1 .venv/bin/python -m pytest tests/test_examples.py"
    )


def test_no_list_is_stored_for_a_stack_that_is_none() -> None:
    assert {path.stem for path in FOLDER.iterdir()} == set(STACKS)


@stacks
def test_rendering_a_second_time_gives_the_same(stack: str) -> None:
    first, second = recorded(stack), render_stack(stack)
    assert render_manifests(first) == render_manifests(second)
    assert render_summary(first) == render_summary(second)
    assert render_diagram(first) == render_diagram(second)


@stacks
def test_no_credential_is_in_what_is_rendered(stack: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offline.recorder, "PASSWORD", CANARY)
    recorder = render_stack(stack)
    texts = [
        *render_manifests(recorder).values(),
        render_summary(recorder),
        render_diagram(recorder),
        to_json_text(recorder.stack_outputs()),
    ]
    hidden = {word for secret in (CANARY, GIVEN) for word in (secret, *_encoded(secret))}
    assert [word for word in hidden for text in texts if word in text] == []


def _encoded(secret: str) -> Iterator[str]:
    """The middle of a word in base64, wherever in a longer one it stands."""
    for shift in range(3):
        yield base64.b64encode(b"x" * shift + secret.encode()).decode().rstrip("=")[4:-3]


@stacks
def test_every_value_of_a_rendered_secret_is_hidden_and_its_keys_are_not(stack: str) -> None:
    hidden = base64.b64encode(PLACEHOLDER.encode()).decode()
    for secret in of(stack, "Secret"):
        assert secret["data"]
        assert set(secret["data"].values()) == {hidden}


@stacks
def test_stack_outputs_are_names_only(stack: str) -> None:
    outputs = recorded(stack).stack_outputs()
    assert list(outputs) == ["applications"]
    keys = {"service", "secret", "kind", "engine", "variant", "version", "series", "server", "protected"}
    for application in outputs["applications"].values():
        assert set(application) == {"namespace", "secret", "protected", "workloads", "databases"}
        for groups in application["databases"].values():
            assert all(
                set(group) <= keys and keys - set(group) <= {"version", "series", "server"} for group in groups.values()
            )


@stacks
def test_the_summary_and_the_diagram_tell_every_group(stack: str) -> None:
    recorder = recorded(stack)
    told, drawn = render_summary(recorder), render_diagram(recorder)
    for name, application in recorder.stack_outputs()["applications"].items():
        assert f"{name}: namespace {application['namespace']}" in told
        assert f"([{name}])" in drawn
        for engine, groups in application["databases"].items():
            for group, said in groups.items():
                line = next(line for line in told.splitlines() if line.split()[:1] == [f"{engine}.{group}"])
                assert line.split()[1:] == [
                    said["variant"],
                    said.get("version") or "-",
                    said["kind"],
                    said["service"],
                    said["secret"],
                ]
                assert f"{{{{{said['service']}}}}}" in drawn


@stacks
def test_every_manifest_keeps_the_schema_of_kubernetes(stack: str) -> None:
    assert objects(stack)
    for found in objects(stack):
        kubernetes_validate.validate(found, KUBERNETES, strict=True)


@stacks
def test_every_object_of_the_cluster_is_rendered_once(stack: str) -> None:
    registered = [found for found in recorded(stack).registrations.values() if found.type.startswith("kubernetes:")]
    names = [(found["kind"], found["metadata"].get("namespace"), found["metadata"]["name"]) for found in objects(stack)]
    assert len(names) == len(set(names)) == len(registered)
    assert [
        found["kind"]
        for text in render_manifests(recorded(stack)).values()
        for found in list(yaml.safe_load_all(text))[:1]
    ] == ["Namespace"] * len(render_manifests(recorded(stack)))


@stacks
def test_every_object_is_in_a_namespace_of_the_stack(stack: str) -> None:
    namespaces = {found["metadata"]["name"] for found in of(stack, "Namespace")}
    assert {found["metadata"]["namespace"] for found in objects(stack) if found["kind"] != "Namespace"} == namespaces


@stacks
def test_names_and_labels_are_within_their_limits(stack: str) -> None:
    for found in objects(stack):
        assert re.fullmatch(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?", found["metadata"]["name"])
        for value in found["metadata"]["labels"].values():
            assert re.fullmatch(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?", value)


def pods(stack: str) -> list[dict[str, Any]]:
    return [found["spec"]["template"]["spec"] for found in of(stack, "StatefulSet")]


@stacks
def test_every_pod_keeps_pod_security_restricted(stack: str) -> None:
    assert pods(stack)
    for pod in pods(stack):
        assert list(pod_security_violations(pod)) == []


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"hostNetwork": True}, "shares a namespace of its node"),
        ({"volumes": [{"name": "x", "hostPath": {"path": "/"}}]}, "volume x"),
        ({"securityContext": {"seccompProfile": {"type": "RuntimeDefault"}}}, "runAsNonRoot"),
        ({"securityContext": {"runAsNonRoot": True}}, "seccompProfile"),
        ({"containers": [{"name": "x"}]}, "capabilities"),
    ],
    ids=["host", "volume", "root", "seccomp", "capabilities"],
)
def test_the_check_of_pod_security_can_fail(change: dict[str, Any], reason: str) -> None:
    assert reason in list(pod_security_violations({**pods("development")[0], **change}))


@stacks
def test_a_pod_is_given_no_account_of_the_cluster_and_writes_only_where_it_must(stack: str) -> None:
    for pod in pods(stack):
        assert pod["automountServiceAccountToken"] is False
        assert pod["enableServiceLinks"] is False
        for container in pod["containers"]:
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
            assert {"cpu", "memory"} <= set(container["resources"]["requests"])
            assert "memory" in container["resources"]["limits"]


def test_the_examples_show_all_that_there_is() -> None:
    """Every engine, every kind, both forms of an external Service, a provisioned group and two applications."""
    applications = {
        name: application
        for stack in STACKS
        for name, application in recorded(stack).stack_outputs()["applications"].items()
    }
    shown = [
        (engine, group["kind"])
        for stack in STACKS
        for application in recorded(stack).stack_outputs()["applications"].values()
        for engine, groups in application["databases"].items()
        for group in groups.values()
    ]
    assert {engine for engine, _ in shown} == {"mysql", "postgresql", "redis"}
    assert {kind for _, kind in shown} == {"local", "dedicated", "external"}
    assert len(applications) >= 2
    assert {found["spec"]["type"] for found in of("production", "Service")} == {"ClusterIP", "ExternalName"}
    assert of("production", "EndpointSlice")
    assert any(found.type.startswith(PROVIDERS) for found in recorded("production").registrations.values())
