"""The change guard rejects edits that lose data, before the first resource is registered."""

import copy
import json
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pulumi
import pytest

from offline.recorder import Recorder, run_program
from stacks.change_guard import validate_update
from stacks.config import parse_stack
from stacks.previous_state import PreviousState, collect_component_outputs, read_previous_resources
from tests.support import (
    APPLICATION,
    EXISTING_SERVER,
    SECRET,
    STACK_CASES,
    external_server,
    groups,
    managed_server,
    provisioned_on,
    record_stack,
)

ROOT = Path(__file__).resolve().parents[2]
Raw = dict[str, Any]
Edit = Callable[[Raw], Any]

UNPROTECT = "first set `protect: false` (deletes the data) or `protect: retain` (keeps it), and run `pulumi up`"
REMOVED = "removing or renaming this group would delete its data. Restore it. To remove it, " + UNPROTECT
MIGRATE = "or add a new group and migrate the data (docs/upgrading.md)"
MAIN = "applications.shop.databases.mysql.main"
BLOG: Raw = {"databases": {"redis": {"main": {"server": managed_server("redis", "dedicated")}}}}
SHOP: Raw = {
    "databases": {
        "mysql": {
            "main": {"server": managed_server("mysql", "dedicated", version="8.4.3")},
            "spare": provisioned_on("hq"),
            "archive": {"server": EXISTING_SERVER},
        },
        "redis": {"main": {"server": managed_server("redis", "dedicated")}},
    }
}
STACK: Raw = {
    "environment": "production",
    "externalServers": {"hq": external_server("mysql"), "other": external_server("mysql", host="other.example.org")},
    "applications": {"shop": SHOP},
}
"""A production stack with a server of each kind."""


def edit_stack(*edits: Edit, environment: str = "production") -> Raw:
    raw = {**copy.deepcopy(STACK), "environment": environment}
    for edit in edits:
        edit(raw)
    return raw


def read_state(raw: Raw) -> PreviousState:
    """Return the stack output as Pulumi stores it: JSON without the keys that have no value."""

    def drop_none(pairs: Raw) -> Raw:
        return {key: value for key, value in pairs.items() if value is not None}

    return dict(json.loads(json.dumps(parse_stack(raw).outputs), object_hook=drop_none))


def validate(before: Raw, after: Raw) -> list[str]:
    return [str(issue) for issue in validate_update(read_state(before), parse_stack(after).outputs)]


def shop(raw: Raw) -> Raw:
    application: Raw = raw["applications"]["shop"]
    return application


def mysql(raw: Raw) -> Raw:
    engine_groups: Raw = shop(raw)["databases"]["mysql"]
    return engine_groups


def set_server(group: str, server: Raw) -> Edit:
    return lambda raw: mysql(raw)[group].update(server=server)


def set_version(version: str) -> Edit:
    return lambda raw: mysql(raw)["main"]["server"].update(version=version)


def rename_group(raw: Raw) -> None:
    mysql(raw)["first"] = mysql(raw).pop("main")


def change_engine(raw: Raw) -> None:
    mysql(raw).pop("main")
    shop(raw)["databases"]["postgresql"] = {"main": {"server": managed_server("postgresql", "dedicated")}}


def rename_application(raw: Raw) -> None:
    raw["applications"]["store"] = raw["applications"].pop("shop")


def unprotect_and_move(raw: Raw) -> None:
    mysql(raw)["main"] |= {"protect": False, **provisioned_on("hq")}


def move_message(group: str, key: str, old: str, new: str) -> str:
    return (
        f"applications.shop.databases.mysql.{group}.server.{key}: changing `{key}` from '{old}' to '{new}' would not"
        f" move the data. Restore '{old}'. To change it, {UNPROTECT}"
    )


def version_message(series: str) -> str:
    return (
        f"{MAIN}.server.version: the release series cannot change in place from 8.4 to {series}."
        f" Use a release of 8.4, {MIGRATE}"
    )


UPGRADES: dict[str, tuple[Edit, list[str]]] = {
    "newer series": (set_version("9.7"), [version_message("9.7")]),
    "older series": (set_version("8.0"), [version_message("8.0")]),
    "older release": (
        set_version("8.4.2"),
        [
            f"{MAIN}.server.version: the release 8.4.2 is older than 8.4.3, which wrote the data."
            f" Use 8.4.3 or later, {MIGRATE}"
        ],
    ),
    "variant": (
        lambda raw: mysql(raw)["main"].update(variant="percona"),
        [
            f"{MAIN}.variant: cannot change from 'mysql' to 'percona': the data is not compatible."
            f" Restore 'mysql', {MIGRATE}"
        ],
    ),
}
"""Edits that are rejected whether the group is protected or not."""
LOSSES: dict[str, tuple[Edit, list[str]]] = {
    "kind": (
        set_server("main", provisioned_on("hq")["server"]),
        [move_message("main", "kind", "dedicated", "external")],
    ),
    "external server": (
        set_server("spare", provisioned_on("other")["server"]),
        [move_message("spare", "provisionOn", "hq", "other")],
    ),
    "existing account": (
        set_server("spare", EXISTING_SERVER),
        [move_message("spare", "provisionOn", "hq", "not set")],
    ),
    "group removed": (lambda raw: mysql(raw).pop("main"), [f"{MAIN}: {REMOVED}"]),
    "existing account removed": (
        lambda raw: mysql(raw).pop("archive"),
        [f"applications.shop.databases.mysql.archive: {REMOVED}".replace("its data", "its Service and Secret")],
    ),
    "group renamed": (rename_group, [f"{MAIN}: {REMOVED}"]),
    "engine changed": (change_engine, [f"{MAIN}: {REMOVED}"]),
    "engine removed": (
        lambda raw: shop(raw)["databases"].pop("redis"),
        [f"applications.shop.databases.redis.main: {REMOVED}"],
    ),
    "application renamed": (
        rename_application,
        [
            "applications.shop: removing or renaming this application would delete its databases (mysql.main,"
            f" mysql.spare, mysql.archive, redis.main). Restore it. To remove it, {UNPROTECT}"
        ],
    ),
    "namespace": (
        lambda raw: shop(raw).update(namespace="store"),
        [
            "applications.shop.namespace: the namespace was 'shop'; its data cannot move to 'store'."
            " Restore 'shop', or add a new application and migrate the data (docs/upgrading.md)"
        ],
    ),
    "protection and environment at once": (
        lambda raw: (raw.update(environment="development"), mysql(raw).pop("main")),
        [f"{MAIN}: {REMOVED}"],
    ),
    "protection and kind at once": (unprotect_and_move, [move_message("main", "kind", "dedicated", "external")]),
}
"""Edits that are rejected if the group is protected."""
ALLOWED: dict[str, Edit] = {
    "nothing": lambda _raw: None,
    "another release of the series": set_version("8.4.9"),
    "the series itself": set_version("8.4"),
    "a new group": lambda raw: mysql(raw).update(more={"server": managed_server("mysql", "dedicated", version="9.7")}),
    "another primary group": lambda raw: mysql(raw)["spare"].update(primary=True),
    "a new password": lambda raw: mysql(raw)["main"].update(passwordVersion=1),
    "another host of a server": lambda raw: raw["externalServers"]["hq"].update(host="new.example.org"),
    "another existing account": set_server("archive", {**EXISTING_SERVER, "host": "new.example.org"}),
    "protect: false": lambda raw: mysql(raw)["main"].update(protect=False),
    "protect: retain": lambda raw: mysql(raw)["main"].update(protect="retain"),
    "a new application": lambda raw: raw["applications"].update(blog=BLOG),
}


def as_params(table: dict[str, tuple[Edit, list[str]]]) -> list[Any]:
    return [pytest.param(edit, messages, id=name) for name, (edit, messages) in table.items()]


@pytest.mark.parametrize(("edit", "messages"), as_params(UPGRADES | LOSSES))
def test_production_rejects_edits_that_lose_data(edit: Edit, messages: list[str]) -> None:
    assert validate(STACK, edit_stack(edit)) == messages


@pytest.mark.parametrize("edit", [pytest.param(edit, id=name) for name, edit in ALLOWED.items()])
def test_other_edits_are_allowed(edit: Edit) -> None:
    assert validate(STACK, edit_stack(edit)) == []


@pytest.mark.parametrize(("edit", "_messages"), as_params(LOSSES))
@pytest.mark.parametrize("protect", [False, "retain"])
def test_unprotected_applications_allow_edits_that_lose_data(edit: Edit, _messages: list[str], protect: Any) -> None:
    before = edit_stack(lambda raw: shop(raw).update(protect=protect))
    assert validate(before, edit_stack(edit)) == []
    assert validate(edit_stack(environment="development"), edit_stack(edit)) == []


@pytest.mark.parametrize(("edit", "messages"), as_params(UPGRADES))
@pytest.mark.parametrize("protect", [True, False, "retain"])
def test_upgrades_in_place_are_rejected_without_protection_too(edit: Edit, messages: list[str], protect: Any) -> None:
    def set_protect(raw: Raw) -> None:
        mysql(raw)["main"]["protect"] = protect

    for environment in ("development", "production"):
        before = edit_stack(set_protect, environment=environment)
        assert validate(before, edit_stack(set_protect, edit, environment=environment)) == messages


def test_all_issues_are_reported_at_once() -> None:
    new = {"new": {"server": managed_server("mysql", "dedicated")}}
    assert len(validate(STACK, edit_stack(lambda raw: shop(raw)["databases"].update(mysql=new)))) == 3


@pytest.mark.parametrize("protect", [False, "retain"])
def test_protect_of_a_group_applies_to_this_group_only(protect: Any) -> None:
    before = edit_stack(lambda raw: mysql(raw)["main"].update(protect=protect))
    assert validate(before, edit_stack(lambda raw: mysql(raw).pop("main"))) == []
    assert len(validate(before, edit_stack(lambda raw: mysql(raw).pop("spare")))) == 1


def test_protect_true_applies_in_development() -> None:
    before = edit_stack(lambda raw: mysql(raw)["main"].update(protect=True), environment="development")
    assert validate(before, edit_stack(lambda raw: mysql(raw).pop("main"))) == [f"{MAIN}: {REMOVED}"]


def test_protected_application_without_protected_groups_keeps_its_namespace() -> None:
    def unprotect_groups(raw: Raw) -> None:
        for engine in shop(raw)["databases"].values():
            for group in engine.values():
                group["protect"] = False

    (message,) = validate(edit_stack(unprotect_groups), edit_stack(rename_application))
    assert message.startswith(
        "applications.shop: removing or renaming this application would delete its namespace 'shop'."
    )


@pytest.mark.parametrize("raw", STACK_CASES)
def test_same_stack_is_allowed(raw: Raw) -> None:
    protected = {"applications": {"shop": {**shop(raw), "protect": True}}, **{"externalServers": {}, **raw}}
    assert validate(protected, protected) == []


# The previous state


def run_whole_program(raw: Raw, before: Recorder | None = None) -> Recorder:
    """Run the program as `pulumi up` does, with the state that an earlier run left."""
    config = {
        f"database-groups:{key}": value if isinstance(value, str) else json.dumps(value) for key, value in raw.items()
    }

    def program() -> None:
        runpy.run_path(str(ROOT / "__main__.py"))

    return run_program(program, config=config, previous=before.component_states() if before else {})


def test_program_registers_no_resource_of_a_rejected_update(monkeypatch: pytest.MonkeyPatch) -> None:
    before = run_whole_program(STACK)
    registered: list[str] = []
    register = Recorder.RegisterResource

    def record(recorder: Recorder, request: Any) -> Any:
        registered.append(request.type)
        return register(recorder, request)

    monkeypatch.setattr(Recorder, "RegisterResource", record)
    message = rf"has 1 rejected change; nothing was changed:\n  {MAIN}: removing"
    with pytest.raises(pulumi.RunError, match=message):
        run_whole_program(edit_stack(lambda raw: mysql(raw).pop("main")), before)
    assert set(registered) <= {"pulumi:pulumi:Stack"}


def test_program_repeats_an_update() -> None:
    first = run_whole_program(STACK)
    assert run_whole_program(STACK, first).stack_outputs() == first.stack_outputs()


def test_component_outputs_are_the_previous_state() -> None:
    """An update that failed or was interrupted leaves the components that it registered."""
    components = record_stack(STACK).component_states()
    expected = json.loads(json.dumps(read_state(STACK)))
    for engine, engine_groups in expected["shop"]["databases"].items():
        for name, group in engine_groups.items():
            group |= {"application": "shop", "engine": engine, "group": name}
    assert collect_component_outputs(components.values()) == expected
    interrupted = {urn: state for urn, state in components.items() if not urn.endswith("shop-mysql-main")}
    assert set(collect_component_outputs(interrupted.values())["shop"]["databases"]["mysql"]) == {"spare", "archive"}


def test_resources_without_outputs_are_no_state() -> None:
    resources: list[Raw] = [
        {"type": APPLICATION, "outputs": {}},
        {"type": APPLICATION},
        {"type": SECRET, "outputs": {"name": "x"}},
    ]
    assert collect_component_outputs(resources) == {}


@pytest.mark.parametrize("failures", [0, 2])
def test_state_is_read_again_while_it_is_written(failures: int, monkeypatch: pytest.MonkeyPatch) -> None:
    errors = [Exception("EOF")] * failures
    state = {"urn": {"type": APPLICATION, "outputs": {"name": "shop"}}}
    monkeypatch.setattr("stacks.previous_state.RETRY_DELAYS_SECONDS", (0, 0))

    def answer(*_arguments: object) -> Any:
        if errors:
            raise errors.pop()
        return type("Answer", (), {"value": {"outputs": state}})

    monkeypatch.setattr("stacks.previous_state.invoke", answer)
    assert read_previous_resources() == [*state.values()]


def test_unreadable_state_stops_the_update(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: object) -> Any:
        raise Exception("no such bucket")

    monkeypatch.setattr("stacks.previous_state.RETRY_DELAYS_SECONDS", (0, 0))
    monkeypatch.setattr("stacks.previous_state.invoke", fail)
    message = "cannot read the previous state of the stack; nothing was changed: no such bucket"
    with pytest.raises(pulumi.RunError, match=message):
        read_previous_resources()


def test_group_of_a_state_without_its_application_is_ignored() -> None:
    states = record_stack(groups(redis={"main": None})).component_states()
    assert collect_component_outputs(state for state in states.values() if state["type"] != APPLICATION) == {}
