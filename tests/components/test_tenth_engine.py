"""A made-up tenth engine works with every server kind: neither groups nor server kinds know an engine."""

import base64
from typing import Any

import pytest

from components.engines import ENGINES
from offline.diagram import render_diagram
from offline.manifests import render_manifests
from offline.page import render_page
from offline.recorder import Recorder
from offline.summary import render_summary
from tests.engine_contract import variable_parts
from tests.support import (
    CANARY,
    CONFIG_MAP,
    ENDPOINT_SLICE,
    PASSWORD,
    PERSISTENT_VOLUME_CLAIM,
    SECRET,
    SERVICE,
    STATEFUL_SET,
    config_issues,
    get_resource,
    pod_security_violations,
    record_stack,
    stack_with_group,
    view_stack,
)
from tests.tenth_engine import BARE, BARE_CONTRACT, TENTH, TENTH_CONTRACT

PATH = "applications.shop.databases.tenth.main"
IMAGE = "registry.example.org/tenth:9"


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do what a line in components/engines/__init__.py does."""
    monkeypatch.setattr("components.application.ENGINES", {**ENGINES, "tenth": TENTH})


def decode_secret(recorder: Recorder, name: str) -> dict[str, str]:
    data = get_resource(recorder, SECRET, name).inputs["data"]
    return {key: base64.b64decode(value).decode() for key, value in data.items()}


def count(recorder: Recorder, *tokens: str) -> list[int]:
    return [len(recorder.resources_of_type(token)) for token in tokens]


@pytest.mark.parametrize("kind", ["local", "dedicated"])
def test_server_in_the_cluster_keeps_the_contract(kind: str) -> None:
    server = {"kind": kind, "version": "1", "settings": {"a": True}, "initScript": "x"}
    recorder = record_stack(stack_with_group("tenth", server))
    assert set(decode_secret(recorder, "shop-tenth-main-connection")) == TENTH_CONTRACT.secret_keys
    assert set(decode_secret(recorder, "shop-environment")) == {
        f"TENTH{group}_{part}" for group in ("", "_MAIN") for part in variable_parts(TENTH_CONTRACT.secret_keys)
    }
    pod = get_resource(recorder, STATEFUL_SET, "shop-tenth-main-server").inputs["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["image"] == "docker.io/library/tenth:1"
    assert {mount["mountPath"] for mount in container["volumeMounts"]} == {
        TENTH_CONTRACT.data_path,
        "/tmp",
        "/etc/database-groups",
    }
    assert list(pod_security_violations(pod)) == []
    files = get_resource(recorder, CONFIG_MAP, "shop-tenth-main-scripts").inputs["data"]
    assert (files["settings"], files["init"]) == ("a:1\n", "x")
    assert count(recorder, PERSISTENT_VOLUME_CLAIM, PASSWORD, SERVICE) == [1, 1, 1]


@pytest.mark.parametrize("kind", ["local", "dedicated"])
def test_engine_without_volume_password_and_settings_keeps_its_contract(
    monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr("components.application.ENGINES", {"tenth": BARE})
    recorder = record_stack(stack_with_group("tenth", {"kind": kind, "image": IMAGE}))
    data = decode_secret(recorder, "shop-tenth-main-connection")
    assert set(data) == BARE_CONTRACT.secret_keys
    assert data["uri"] == "tenth://tenth:7010"
    pod = get_resource(recorder, STATEFUL_SET, "shop-tenth-main-server").inputs["spec"]["template"]["spec"]
    assert [volume["name"] for volume in pod["volumes"]] == ["scripts", "scratch-0"]
    assert count(recorder, PERSISTENT_VOLUME_CLAIM, PASSWORD, SERVICE) == [0, 0, 1]


@pytest.mark.parametrize("host", ["tenth.example.org", ["10.0.0.1", "10.0.0.2"]], ids=["name", "addresses"])
def test_external_server_has_a_service(host: Any) -> None:
    account = {"username": "u", "password": CANARY, "vhost": "d"}
    recorder = record_stack(stack_with_group("tenth", {"kind": "external", "host": host, **account}))
    assert decode_secret(recorder, "shop-tenth-main-connection")["uri"] == f"tenth://u:{CANARY}@tenth:7010/d"
    assert count(recorder, ENDPOINT_SLICE, STATEFUL_SET) == [isinstance(host, list), 0]


@pytest.mark.parametrize(
    ("server", "path", "message"),
    [
        ({"settings": {"LISTEN": 1}}, ".settings.LISTEN", "reserved: the program manages this setting; remove it"),
        ({"version": "3"}, ".version", "unsupported tenth version '3'; use a release of 1 or 2"),
        ({"kind": "external", "host": "db"}, "", "missing keys for an existing database: password, username"),
        (
            {"kind": "external", "host": "db", "username": "u", "password": CANARY, "bucket": "b"},
            ".bucket",
            "not supported for tenth; supported: password, username, vhost",
        ),
    ],
    ids=["reserved setting", "version", "missing keys", "key of another engine"],
)
def test_message_names_the_engine(server: dict[str, Any], path: str, message: str) -> None:
    assert config_issues(stack_with_group("tenth", {"kind": "local", **server})) == [f"{PATH}.server{path}: {message}"]


def test_unsupported_keys_of_the_smallest_engine_are_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("components.application.ENGINES", {"tenth": BARE})
    keys = {"settings": {"a": 1}, "initScript": "x", "storage": "1Gi"}
    issues = config_issues(stack_with_group("tenth", {"kind": "local", **keys}))
    assert [issue.split(": ")[0] for issue in issues] == [
        f"{PATH}.server.{key}" for key in ("image", "initScript", "settings", "storage")
    ]


def test_summary_diagram_page_and_manifests_show_the_engine() -> None:
    view = view_stack(stack_with_group("tenth"))
    assert "tenth.main  tenth    2        local  tenth    tenth-main" in render_summary(view)
    assert '{{"tenth"}}' in render_diagram(view)
    assert "tenth.main" in render_page(view)
    assert "tenth-main" in render_manifests(record_stack(stack_with_group("tenth")))["shop"]
