"""An engine that nobody has heard of, made here, works on every kind without another line: neither kinds nor groups know engines."""

import base64
from dataclasses import replace
from typing import Any

import pytest

from components.connection import url
from components.engines import ENGINES
from components.engines.engine import Account, Engine, Flavour, Software
from components.engines.settings import Settings, assignments
from components.names import account_name
from offline.render import diagram, manifests, summary
from tests.support import CANARY, CLAIM, CONFIG_MAP, PASSWORD, SECRET, SERVICE, SLICE, STATEFUL_SET, named, one_group, problems, recorded, restricted


def _software(flavour: Flavour, _version: str) -> Software:
    return Software(
        start=f'#!/bin/sh\nset -eu\nexec {flavour.command} --user="$APPLICATION_USERNAME" --area="$APPLICATION_AREA"\n',
        ready='#!/bin/sh\nset -eu\nexec tenthctl --host="$POD_IP" ping\n',
        data="/data",
        scratch=("/tmp",),
        memory="64Mi",
        init="/init.d/init.tenth",
    )


TENTH = Engine(
    name="tenth",
    port=7010,
    flavours=(Flavour(name="tenth", image="docker.io/library/tenth", series=("1", "2"), version="2", uid=70, command="tenthd"),),
    uri=lambda connection: url("tenth", connection, connection.extra.get("area", connection.database or "")),
    account=lambda application, group: Account(username=account_name(application, group), extra={"area": account_name(application, group)}),
    software=_software,
    settings=Settings(render=lambda values: assignments(values, sign=":", true="1", false="0"), owned=frozenset({"listen"})),
    username_limit=12,
    given={"username": True, "password": True, "database": False},
)


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a line in components/engines/__init__.py does."""
    monkeypatch.setattr("components.application.ENGINES", {**ENGINES, "tenth": TENTH})


def decoded(recorder: Any, name: str) -> dict[str, str]:
    return {key: base64.b64decode(value).decode() for key, value in named(recorder, SECRET, name).inputs["data"].items()}


@pytest.mark.parametrize("kind", ["local", "dedicated"])
def test_a_server_of_it_runs(kind: str) -> None:
    recorder = recorded(one_group("tenth", {"kind": kind, "version": "1", "settings": {"a": True}, "init": "x"}))
    keys = decoded(recorder, "shop-tenth-main-connection")
    assert set(keys) == {"type", "provider", "host", "port", "username", "password", "area", "uri"}
    assert keys["uri"] == "tenth://shop_main:hidden@tenth:7010/shop_main"
    parts = ("ADDRESS", "PORT", "USERNAME", "PASSWORD", "AREA", "URL")
    assert set(decoded(recorder, "shop-environment")) == {f"TENTH{group}_{part}" for group in ("", "_MAIN") for part in parts}
    pod = named(recorder, STATEFUL_SET, "shop-tenth-main-server").inputs["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["image"] == "docker.io/library/tenth:1"
    assert {entry["name"] for entry in container["env"]} == {"APPLICATION_USERNAME", "APPLICATION_PASSWORD", "APPLICATION_AREA", "POD_IP"}
    assert {mount["mountPath"] for mount in container["volumeMounts"]} == {"/data", "/tmp", "/etc/database-groups", "/init.d/init.tenth"}
    assert list(restricted(pod)) == []
    files = named(recorder, CONFIG_MAP, "shop-tenth-main-scripts").inputs["data"]
    assert (files["settings"], files["init"]) == ("a:1\n", "x")
    assert [len(recorder.of_type(token)) for token in (CLAIM, PASSWORD, SERVICE)] == [1, 1, 1]


@pytest.mark.parametrize("host", ["tenth.example.org", ["10.0.0.1", "10.0.0.2"]], ids=["name", "addresses"])
def test_a_server_of_it_is_reached(host: Any) -> None:
    recorder = recorded(one_group("tenth", {"kind": "external", "host": host, "username": "u", "password": CANARY, "database": "d"}))
    assert decoded(recorder, "shop-tenth-main-connection")["uri"] == f"tenth://u:{CANARY}@tenth:7010/d"
    assert len(recorder.of_type(SLICE)) == isinstance(host, list)
    assert recorder.of_type(STATEFUL_SET) == []


def test_mistakes_with_it_are_told_in_its_own_words() -> None:
    path = "applications.shop.databases.tenth.main"
    assert problems(one_group("tenth", {"kind": "local", "settings": {"LISTEN": 1}})) == [
        f"{path}.server.settings.LISTEN: is given by the program and cannot be set"
    ]
    assert problems(one_group("tenth", {"kind": "local", "version": "3"})) == [f"{path}.server.version: '3' is of none of the series of tenth: 1, 2"]
    assert problems(one_group("tenth", {"kind": "external", "host": "db"})) == [
        f"{path}.server: lacks 'password', 'username', without which tenth cannot be used"
    ]
    assert problems(one_group("tenth", {"kind": "external", "host": "db", "username": "u", "password": CANARY, "vhost": "v"})) == [
        f"{path}.server.vhost: has no meaning for tenth; it takes database, password, username"
    ]
    assert problems(one_group("tenth", group="too-long")) == [
        "applications.shop.databases.tenth.too-long: is too long a name by 1: its user would be named 'shop_too_long', and tenth allows 12 characters"
    ]
    (line,) = problems(one_group("eleventh"))
    assert line.endswith(f"'eleventh' is none of {', '.join(sorted([*ENGINES, 'tenth']))}")


def test_an_engine_may_have_no_settings_no_init_no_image_and_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    def software(flavour: Flavour, version: str) -> Software:
        return replace(_software(flavour, version), init=None)

    flavour = replace(TENTH.flavours[0], image=None)
    bare = replace(TENTH, settings=None, software=software, flavours=(flavour,), credential=None, account=lambda _application, _group: Account())
    monkeypatch.setattr("components.application.ENGINES", {"tenth": bare})
    path = "applications.shop.databases.tenth.main.server"
    assert problems(one_group("tenth", {"kind": "local", "settings": {"a": 1}, "init": "x"})) == [
        f"{path}.image: is missing: there is no maintained image of tenth; name one of yours",
        f"{path}.init: has no effect: the image of tenth has no way to run anything once",
        f"{path}.settings: has no effect: the program gives tenth all its settings",
    ]
    recorder = recorded(one_group("tenth", {"kind": "local", "image": "registry.example.org/tenth:9"}))
    assert decoded(recorder, "shop-tenth-main-connection") == {
        "type": "tenth",
        "provider": "tenth",
        "host": "tenth",
        "port": "7010",
        "uri": "tenth://tenth:7010",
    }
    assert recorder.of_type(PASSWORD) == []
    assert "settings" not in named(recorder, CONFIG_MAP, "shop-tenth-main-scripts").inputs["data"]


def test_it_is_rendered_as_the_others_are() -> None:
    recorder = recorded(one_group("tenth"))
    assert "tenth.main  tenth    2        local  tenth    tenth-main" in summary(recorder)
    assert "{{tenth}}" in diagram(recorder)
    assert "tenth-main" in manifests(recorder)["shop"]
