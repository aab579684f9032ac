"""The time limit of a server's start, and the hook that prints why the server is not ready."""

import asyncio
import time
from collections.abc import Collection
from dataclasses import replace
from typing import Any

import pulumi
import pytest

from components.platform import ServerAddress
from components.servers import stateful_set
from offline.recorder import PLACEHOLDER, Recorder
from stacks.config import parse_stack
from tests.support import (
    ENGINES_WITH_SERVER,
    EXISTING_SERVER,
    SERVICE,
    STATEFUL_SET,
    get_resource,
    managed_server,
    record_applications,
    record_stack,
    stack_with_group,
)

each_engine = pytest.mark.parametrize("engine", ENGINES_WITH_SERVER)
each_kind = pytest.mark.parametrize("kind", ["local", "dedicated"])


class FakeReporter:
    """A reporter with a fixed answer. It records the arguments of its calls."""

    def __init__(self, text: str | None = "it is pending", seconds: float = 0) -> None:
        self.text, self.seconds = text, seconds
        self.calls: list[tuple[ServerAddress, list[str]]] = []

    def describe_failure(self, server: ServerAddress, secrets: Collection[str]) -> str | None:
        self.calls.append((server, list(secrets)))
        time.sleep(self.seconds)
        return self.text


def record_with_reporter(engine: str, reporter: FakeReporter, **keys: Any) -> Recorder:
    (application,) = parse_stack(stack_with_group(engine, managed_server(engine), **keys)).applications
    platform = replace(application.platform, failure_reporter=reporter)
    return record_applications([replace(application, platform=platform)])


def run_hook(hook: pulumi.ErrorHook) -> bool:
    """Run a hook as Pulumi does. Return whether Pulumi tries the operation again."""

    async def main() -> bool:
        result = hook(pulumi.ErrorHookArgs("urn", "", "name", "type", failed_operation="create", errors=["too late"]))
        assert not isinstance(result, bool)
        return await result

    return asyncio.run(main())


@each_engine
@each_kind
@pytest.mark.parametrize(("keys", "expected"), [({}, "10m"), ({"startTimeoutMinutes": 90}, "90m")])
def test_update_waits_for_a_server(engine: str, kind: str, keys: dict[str, Any], expected: str) -> None:
    recorder = record_stack(stack_with_group(engine, managed_server(engine, kind, **keys)))
    limited = {found.type: found.custom_timeouts for found in recorder.registrations.values() if found.custom_timeouts}
    timeouts = {"create": expected, "update": expected}
    assert limited == {STATEFUL_SET: timeouts, SERVICE: timeouts}


def test_external_server_has_no_time_limit() -> None:
    recorder = record_stack(stack_with_group("mysql", EXISTING_SERVER))
    assert [found.name for found in recorder.registrations.values() if found.custom_timeouts] == []


def test_time_limit_changes_nothing_in_the_cluster() -> None:
    short, long = (
        record_stack(stack_with_group("mysql", {"kind": "local", "startTimeoutMinutes": minutes})) for minutes in (1, 9)
    )
    assert {urn: found.inputs for urn, found in short.registrations.items()} == {
        urn: found.inputs for urn, found in long.registrations.items()
    }
    assert short.outputs == long.outputs


@each_engine
def test_run_without_a_cluster_has_no_hook(engine: str) -> None:
    recorder = record_stack(stack_with_group(engine, managed_server(engine)))
    assert not get_resource(recorder, STATEFUL_SET, f"shop-{engine}-main-server").hooks


@each_engine
def test_failure_of_a_server_is_logged_at_its_group(
    engine: str, hooks: dict[str, pulumi.ErrorHook], errors: list[tuple[str, pulumi.Resource]]
) -> None:
    reporter = FakeReporter()
    recorder = record_with_reporter(engine, reporter)
    name = f"shop-{engine}-main-server-failure"
    assert get_resource(recorder, STATEFUL_SET, f"shop-{engine}-main-server").hooks == {"on_error": (name,)}
    assert run_hook(hooks[name]) is False
    location = ("applications", "shop", "databases", engine, "main")
    assert len(reporter.calls) == 1
    address = ServerAddress(location=location, namespace="shop", name=f"{engine}-main", container=engine)
    assert reporter.calls[0][0] == address
    assert [(text, resource.pulumi_resource_name) for text, resource in errors] == [
        ("it is pending", f"shop-{engine}-main")
    ]


@pytest.mark.parametrize(("engine", "expected"), [("mysql", [PLACEHOLDER]), ("glusterfs", [])])
def test_reporter_hides_the_password(
    engine: str, expected: list[str], hooks: dict[str, pulumi.ErrorHook], errors: list[tuple[str, pulumi.Resource]]
) -> None:
    reporter = FakeReporter()
    record_with_reporter(engine, reporter)
    run_hook(hooks[f"shop-{engine}-main-server-failure"])
    assert [secrets for _, secrets in reporter.calls] == [expected]
    assert len(errors) == 1


def test_renamed_group_has_its_present_path(
    hooks: dict[str, pulumi.ErrorHook], errors: list[tuple[str, pulumi.Resource]]
) -> None:
    reporter = FakeReporter()
    record_with_reporter("mysql", reporter, renamedFrom="old")
    run_hook(hooks["shop-mysql-old-server-failure"])
    assert [(server.location[-1], server.name) for server, _ in reporter.calls] == [("main", "mysql-old")]
    assert len(errors) == 1


@pytest.mark.parametrize("reporter", [FakeReporter(text=None), FakeReporter(seconds=0.5)], ids=["no text", "too slow"])
def test_hook_without_an_answer_logs_nothing(
    reporter: FakeReporter,
    hooks: dict[str, pulumi.ErrorHook],
    errors: list[tuple[str, pulumi.Resource]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stateful_set, "FAILURE_REPORT_SECONDS", 0.3)
    record_with_reporter("mysql", reporter)
    assert run_hook(hooks["shop-mysql-main-server-failure"]) is False
    assert errors == []
