"""Password changes of servers in the cluster: the hooks of the connection Secret, and the servers that restart."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pulumi
import pytest

from components.connection import encode_secret_data
from components.engines import ENGINES
from components.platform import ServerAddress
from offline.recorder import Recorder
from stacks.config import parse_stack
from tests.components.test_password_change import run_hook
from tests.support import (
    ENGINES_WITH_SERVER,
    EXISTING_SERVER,
    SECRET,
    STATEFUL_SET,
    get_resource,
    managed_server,
    record_applications,
    record_stack,
    stack_with_group,
)

ENGINES_THAT_RESTART = {"elasticsearch", "influxdb", "mongodb"}
ENGINES_WITHOUT_PASSWORD = {"glusterfs"}
RUNNING_ENGINES = sorted(set(ENGINES_WITH_SERVER) - ENGINES_THAT_RESTART - ENGINES_WITHOUT_PASSWORD)
CHANGE, VERIFY = "shop-redis-main-change-password", "shop-redis-main-verify-password"
SERVER = ServerAddress(
    location=("applications", "shop", "databases", "redis", "main"),
    namespace="shop",
    name="redis-main",
    container="redis",
)


class FakeChanger:
    """A changer that records its calls. A reason that is an exception is raised."""

    def __init__(self, *reasons: str | Exception | None) -> None:
        self.reasons = list(reasons)
        self.calls: list[Any] = []

    def change_password(self, server: ServerAddress, old: str, new: str) -> str | None:
        self.calls.append((server, old, new))
        reason = self.reasons.pop(0)
        if isinstance(reason, Exception):
            raise reason
        return reason

    def restart_server(self, server: ServerAddress) -> None:
        self.calls.append(server)


@pytest.fixture
def warnings(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Return the warnings that hooks log, with the names of their resources."""
    logged: list[tuple[str, str]] = []
    monkeypatch.setattr("pulumi.log.warn", lambda text, resource: logged.append((text, resource.pulumi_resource_name)))
    return logged


def record_with_changer(engine: str, changer: FakeChanger, server: Any = None, **keys: Any) -> Recorder:
    raw = stack_with_group(engine, server or managed_server(engine), **keys)
    (application,) = parse_stack(raw).applications
    platform = replace(application.platform, password_changer=changer)
    return record_applications([replace(application, platform=platform)])


def build_inputs(password: str | None) -> dict[str, Any]:
    """Return the inputs of a connection Secret."""
    return {"data": encode_secret_data({"host": "redis", **({} if password is None else {"password": password})})}


def change(hooks: dict[str, pulumi.ResourceHook], *names: str, old: str | None = "first", new: str = "second") -> None:
    for name in names:
        run_hook(hooks[name], build_inputs(old), build_inputs(new))


# Resources


def test_every_engine_changes_its_password_or_restarts() -> None:
    has_script = {}
    for name in ENGINES_WITH_SERVER:
        build_runtime = ENGINES[name].build_runtime
        assert build_runtime
        for variant in ENGINES[name].variants:
            has_script[name] = build_runtime(variant, variant.default_version).change_password_script is not None
    assert {name for name, value in has_script.items() if value} == set(RUNNING_ENGINES)


@pytest.mark.parametrize("engine", ENGINES_WITH_SERVER)
@pytest.mark.parametrize("kind", ["local", "dedicated"])
def test_secret_has_hooks_where_the_running_server_can_change(
    engine: str, kind: str, hooks: dict[str, pulumi.ResourceHook]
) -> None:
    recorder = record_with_changer(engine, FakeChanger(), managed_server(engine, kind))
    names = {
        "before_update": (f"shop-{engine}-main-change-password",),
        "after_update": (f"shop-{engine}-main-verify-password",),
    }
    secret = get_resource(recorder, SECRET, f"shop-{engine}-main-connection")
    assert secret.hooks == (names if engine in RUNNING_ENGINES else {})
    assert sorted(hooks) == sorted(name for group in secret.hooks.values() for name in group)


@pytest.mark.parametrize("engine", RUNNING_ENGINES)
def test_run_without_a_cluster_and_external_server_have_no_hooks(
    engine: str, hooks: dict[str, pulumi.ResourceHook]
) -> None:
    record_stack(stack_with_group(engine))
    record_with_changer("mysql", FakeChanger(), EXISTING_SERVER)
    assert hooks == {}


@pytest.mark.parametrize("engine", [*RUNNING_ENGINES, *sorted(ENGINES_THAT_RESTART)])
def test_annotation_restarts_only_servers_that_cannot_change(engine: str) -> None:
    recorder = record_stack(stack_with_group(engine, managed_server(engine), passwordVersion=3))
    server = get_resource(recorder, STATEFUL_SET, f"shop-{engine}-main-server")
    annotations = server.inputs["spec"]["template"]["metadata"]["annotations"]
    expected = "3" if engine in ENGINES_THAT_RESTART else None
    assert annotations.get("database-groups/password-version") == expected


# Hooks


def test_running_server_changes_before_the_secret_and_again_after_it(
    hooks: dict[str, pulumi.ResourceHook], warnings: list[tuple[str, str]]
) -> None:
    changer = FakeChanger(None, None)
    record_with_changer("redis", changer)
    change(hooks, CHANGE, VERIFY)
    assert changer.calls == [(SERVER, "first", "second")] * 2
    assert warnings == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (build_inputs("same"), build_inputs("same")),
        (build_inputs(None), build_inputs("second")),
        ({}, build_inputs("second")),
        (None, build_inputs("second")),
    ],
    ids=["same password", "no password", "no data", "no inputs"],
)
def test_other_edit_of_the_secret_runs_nothing(
    old: dict[str, Any] | None, new: dict[str, Any], hooks: dict[str, pulumi.ResourceHook]
) -> None:
    changer = FakeChanger()
    record_with_changer("redis", changer)
    for name in (CHANGE, VERIFY):
        run_hook(hooks[name], old, new)
    assert changer.calls == []


def test_failed_script_stops_the_update(hooks: dict[str, pulumi.ResourceHook]) -> None:
    changer = FakeChanger(pulumi.RunError("it failed"))
    record_with_changer("redis", changer)
    with pytest.raises(pulumi.RunError, match=r"^it failed$"):
        change(hooks, CHANGE)


@pytest.mark.parametrize(
    ("reasons", "warned"),
    [
        (["not ready", "not ready"], ["not ready"]),
        (["not ready", None], ["not ready"]),
        ([None, "not ready"], []),
        ([None, pulumi.RunError("it failed")], []),
    ],
    ids=["never ready", "ready later", "restarted meanwhile", "failed later"],
)
def test_server_without_the_new_password_restarts_after_the_secret(
    reasons: Sequence[Any],
    warned: list[str],
    hooks: dict[str, pulumi.ResourceHook],
    warnings: list[tuple[str, str]],
) -> None:
    changer = FakeChanger(*reasons)
    record_with_changer("redis", changer)
    change(hooks, CHANGE, VERIFY)
    restarts = [] if reasons[-1] is None else [SERVER]
    assert changer.calls == [(SERVER, "first", "second")] * 2 + restarts
    assert warnings == [(text, "shop-redis-main") for text in warned]


def test_renamed_group_has_its_present_path(hooks: dict[str, pulumi.ResourceHook]) -> None:
    changer = FakeChanger(None)
    record_with_changer("redis", changer, renamedFrom="old")
    change(hooks, "shop-redis-old-change-password")
    ((server, *_),) = changer.calls
    assert (server.location, server.name) == (SERVER.location, "redis-old")
