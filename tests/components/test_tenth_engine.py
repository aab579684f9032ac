"""An engine that nobody has heard of, made here, works on every kind without another line: neither kinds nor groups know engines."""

import base64
from dataclasses import replace
from typing import Any

import pytest

from components.connection import build_uri
from components.engines import ENGINES
from components.engines.definition import Account, Engine, ServerRuntime, Variant
from components.engines.settings_file import SettingsFile, render_assignments
from components.persisted.names import database_account_name
from offline.render import render_diagram, render_manifests, render_summary
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
)


def _software(variant: Variant, _version: str) -> ServerRuntime:
    return ServerRuntime(
        start_script=f'#!/bin/sh\nset -eu\nexec {variant.server_command} --user="$APPLICATION_USERNAME" --area="$APPLICATION_AREA"\n',
        readiness_script='#!/bin/sh\nset -eu\nexec tenthctl --host="$POD_IP" ping\n',
        data_path="/data",
        empty_dirs=("/tmp",),
        min_memory="64Mi",
        init_file_path="/init.d/init.tenth",
    )


TENTH = Engine(
    name="tenth",
    port=7010,
    variants=(
        Variant(
            name="tenth",
            image="docker.io/library/tenth",
            supported_series=("1", "2"),
            default_version="2",
            run_as_user=70,
            server_command="tenthd",
        ),
    ),
    build_uri=lambda connection: build_uri(
        "tenth", connection, connection.engine_keys.get("area", connection.database or "")
    ),
    build_account=lambda application, group: Account(
        username=database_account_name(application, group),
        engine_keys={"area": database_account_name(application, group)},
    ),
    build_runtime=_software,
    settings_file=SettingsFile(
        render=lambda values: render_assignments(values, sign=":", true="1", false="0"),
        reserved_names=frozenset({"listen"}),
    ),
    max_username_length=12,
    existing_account_keys={"username": True, "password": True, "database": False},
)


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a line in components/engines/__init__.py does."""
    monkeypatch.setattr("components.application.ENGINES", {**ENGINES, "tenth": TENTH})


def decoded(recorder: Any, name: str) -> dict[str, str]:
    return {
        key: base64.b64decode(value).decode()
        for key, value in get_resource(recorder, SECRET, name).inputs["data"].items()
    }


@pytest.mark.parametrize("kind", ["local", "dedicated"])
def test_a_server_of_it_runs(kind: str) -> None:
    recorder = record_stack(
        stack_with_group("tenth", {"kind": kind, "version": "1", "settings": {"a": True}, "initScript": "x"})
    )
    keys = decoded(recorder, "shop-tenth-main-connection")
    assert set(keys) == {"type", "provider", "host", "port", "username", "password", "area", "uri"}
    assert keys["uri"] == "tenth://shop_main:hidden@tenth:7010/shop_main"
    parts = ("ADDRESS", "PORT", "USERNAME", "PASSWORD", "AREA", "URL")
    assert set(decoded(recorder, "shop-environment")) == {
        f"TENTH{group}_{part}" for group in ("", "_MAIN") for part in parts
    }
    pod = get_resource(recorder, STATEFUL_SET, "shop-tenth-main-server").inputs["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["image"] == "docker.io/library/tenth:1"
    assert {entry["name"] for entry in container["env"]} == {
        "APPLICATION_USERNAME",
        "APPLICATION_PASSWORD",
        "APPLICATION_AREA",
        "POD_IP",
    }
    assert {mount["mountPath"] for mount in container["volumeMounts"]} == {
        "/data",
        "/tmp",
        "/etc/database-groups",
        "/init.d/init.tenth",
    }
    assert list(pod_security_violations(pod)) == []
    files = get_resource(recorder, CONFIG_MAP, "shop-tenth-main-scripts").inputs["data"]
    assert (files["settings"], files["init"]) == ("a:1\n", "x")
    assert [len(recorder.resources_of_type(token)) for token in (PERSISTENT_VOLUME_CLAIM, PASSWORD, SERVICE)] == [
        1,
        1,
        1,
    ]


@pytest.mark.parametrize("host", ["tenth.example.org", ["10.0.0.1", "10.0.0.2"]], ids=["name", "addresses"])
def test_a_server_of_it_is_reached(host: Any) -> None:
    recorder = record_stack(
        stack_with_group(
            "tenth", {"kind": "external", "host": host, "username": "u", "password": CANARY, "database": "d"}
        )
    )
    assert decoded(recorder, "shop-tenth-main-connection")["uri"] == f"tenth://u:{CANARY}@tenth:7010/d"
    assert len(recorder.resources_of_type(ENDPOINT_SLICE)) == isinstance(host, list)
    assert recorder.resources_of_type(STATEFUL_SET) == []


def test_mistakes_with_it_are_told_in_its_own_words() -> None:
    path = "applications.shop.databases.tenth.main"
    assert config_issues(stack_with_group("tenth", {"kind": "local", "settings": {"LISTEN": 1}})) == [
        f"{path}.server.settings.LISTEN: is given by the program and cannot be set"
    ]
    assert config_issues(stack_with_group("tenth", {"kind": "local", "version": "3"})) == [
        f"{path}.server.version: '3' is of none of the series of tenth: 1, 2"
    ]
    assert config_issues(stack_with_group("tenth", {"kind": "external", "host": "db"})) == [
        f"{path}.server: lacks 'password', 'username', without which tenth cannot be used"
    ]
    assert config_issues(
        stack_with_group("tenth", {"kind": "external", "host": "db", "username": "u", "password": CANARY, "vhost": "v"})
    ) == [f"{path}.server.vhost: has no meaning for tenth; it takes database, password, username"]
    assert config_issues(stack_with_group("tenth", group="too-long")) == [
        "applications.shop.databases.tenth.too-long: is too long a name by 1: its user would be named 'shop_too_long', and tenth allows 12 characters"
    ]
    (line,) = config_issues(stack_with_group("eleventh"))
    assert line.endswith(f"'eleventh' is none of {', '.join(sorted([*ENGINES, 'tenth']))}")


def test_an_engine_may_have_no_settings_no_init_no_image_and_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    def software(variant: Variant, version: str) -> ServerRuntime:
        return replace(_software(variant, version), init_file_path=None)

    variant = replace(TENTH.variants[0], image=None)
    bare = replace(
        TENTH,
        settings_file=None,
        build_runtime=software,
        variants=(variant,),
        credential_key=None,
        build_account=lambda _application, _group: Account(),
    )
    monkeypatch.setattr("components.application.ENGINES", {"tenth": bare})
    path = "applications.shop.databases.tenth.main.server"
    assert config_issues(stack_with_group("tenth", {"kind": "local", "settings": {"a": 1}, "initScript": "x"})) == [
        f"{path}.image: is missing: there is no maintained image of tenth; name one of yours",
        f"{path}.init: has no effect: the image of tenth has no way to run anything once",
        f"{path}.settings: has no effect: the program gives tenth all its settings",
    ]
    recorder = record_stack(stack_with_group("tenth", {"kind": "local", "image": "registry.example.org/tenth:9"}))
    assert decoded(recorder, "shop-tenth-main-connection") == {
        "type": "tenth",
        "provider": "tenth",
        "host": "tenth",
        "port": "7010",
        "uri": "tenth://tenth:7010",
    }
    assert recorder.resources_of_type(PASSWORD) == []
    assert "settings" not in get_resource(recorder, CONFIG_MAP, "shop-tenth-main-scripts").inputs["data"]


def test_it_is_rendered_as_the_others_are() -> None:
    recorder = record_stack(stack_with_group("tenth"))
    assert "tenth.main  tenth    2        local  tenth    tenth-main" in render_summary(recorder)
    assert "{{tenth}}" in render_diagram(recorder)
    assert "tenth-main" in render_manifests(recorder)["shop"]
