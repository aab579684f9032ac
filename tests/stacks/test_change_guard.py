"""No edit of a stack file loses data: what may not become of a stack is told at once, before the first resource, with what to do."""

import json
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pulumi
import pytest

from offline.recorder import Recorder, run_program
from stacks.config import parse_stack
from stacks.previous_state import collect_component_outputs, read_previous_state, validate_update
from tests.support import APPLICATION, EXISTING_SERVER, SECRET, external_server, managed_server, provisioned_on

ROOT = Path(__file__).resolve().parents[2]
UNPROTECT = "set protect: false there, run pulumi up, and then"
MOVE = "make a group (or an application) of the new version beside it and move the data: docs/upgrading.md"
MAIN = "applications.shop.databases.mysql.main"

Stack = dict[str, Any]
Edit = Callable[[Stack], Any]


def stack(**keys: Any) -> Stack:
    """A stack of every kind of server, in production."""
    mysql = {
        "main": {"server": managed_server("mysql", "dedicated", version="8.4.3")},
        "spare": {"server": {"kind": "external", "provisionOn": "hq"}},
        "archive": {"server": dict(EXISTING_SERVER)},
    }
    return {
        "environment": "production",
        "externalServers": {
            "hq": external_server("mysql"),
            "other": external_server("mysql", host="other.example.org"),
        },
        "applications": {
            "shop": {"databases": {"mysql": mysql, "redis": {"main": {"server": managed_server("redis", "dedicated")}}}}
        },
        **keys,
    }


def outputs(raw: Stack) -> dict[str, Any]:
    """The stack's output as Pulumi keeps it: JSON, without the keys that have no value."""
    bare = json.loads(
        json.dumps(parse_stack(raw).outputs()),
        object_hook=lambda found: {key: value for key, value in found.items() if value is not None},
    )
    return dict(bare)


def edited(edit: Edit) -> Stack:
    raw = stack()
    edit(raw)
    return raw


def mysql(raw: Stack) -> dict[str, Any]:
    found: dict[str, Any] = raw["applications"]["shop"]["databases"]["mysql"]
    return found


def told(before: Stack, now: Stack) -> list[str]:
    return [str(problem) for problem in validate_update(outputs(before), parse_stack(now).outputs())]


def rename_group(raw: Stack) -> None:
    mysql(raw)["first"] = mysql(raw).pop("main")


def other_engine(raw: Stack) -> None:
    mysql(raw).pop("spare")
    raw["applications"]["shop"]["databases"]["postgresql"] = {
        "spare": {"server": managed_server("postgresql", "dedicated")}
    }


def rename_application(raw: Stack) -> None:
    raw["applications"]["store"] = raw["applications"].pop("shop")


GONE = "was taken away, renamed, or moved to another engine; put it back, or, to part with its data"
REFUSED: list[tuple[str, Edit, list[str]]] = [
    (
        "series",
        lambda raw: mysql(raw)["main"]["server"].update(version="9.7"),
        [
            f"{MAIN}.server.version: was created as '8.4', and there is no upgrade in place to '9.7'; keep a version of 8.4, or {MOVE}"
        ],
    ),
    (
        "older series",
        lambda raw: mysql(raw)["main"]["server"].update(version="8.0"),
        [
            f"{MAIN}.server.version: was created as '8.4', and there is no upgrade in place to '8.0'; keep a version of 8.4, or {MOVE}"
        ],
    ),
    (
        "variant",
        lambda raw: mysql(raw)["main"].update(variant="percona"),
        [f"{MAIN}.variant: was created as 'mysql', whose data 'percona' is not given to open; {MOVE}"],
    ),
    (
        "kind",
        lambda raw: mysql(raw)["main"].update(external_server={"kind": "external", "provisionOn": "hq"}),
        [
            f"{MAIN}.server.kind: was 'dedicated', and the data would stay there; put it back, or {UNPROTECT} make it 'external'"
        ],
    ),
    (
        "kind and series",
        lambda raw: mysql(raw)["main"].update(external_server=managed_server("mysql", "local", version="9.7")),
        [
            f"{MAIN}.server.version: was created as '8.4', and there is no upgrade in place to '9.7'; keep a version of 8.4, or {MOVE}",
            f"{MAIN}.server.kind: was 'dedicated', and the data would stay there; put it back, or {UNPROTECT} make it 'local'",
        ],
    ),
    (
        "server of the stack",
        lambda raw: mysql(raw)["spare"].update(provisioned_on("other")),
        [
            "applications.shop.databases.mysql.spare.server.on: was 'hq', and the data would stay there; put it back, or "
            + UNPROTECT
            + " change it"
        ],
    ),
    (
        "from the stack's server to a given account",
        lambda raw: mysql(raw)["spare"].update(external_server=dict(EXISTING_SERVER)),
        [
            "applications.shop.databases.mysql.spare.server.on: was 'hq', and the data would stay there; put it back, or "
            + UNPROTECT
            + " change it"
        ],
    ),
    ("group gone", lambda raw: mysql(raw).pop("main"), [f"{MAIN}: {GONE}, {UNPROTECT} take it away"]),
    (
        "given group gone",
        lambda raw: mysql(raw).pop("archive"),
        [f"applications.shop.databases.mysql.archive: {GONE}, {UNPROTECT} take it away"],
    ),
    ("group renamed", rename_group, [f"{MAIN}: {GONE}, {UNPROTECT} take it away"]),
    ("engine", other_engine, [f"applications.shop.databases.mysql.spare: {GONE}, {UNPROTECT} take it away"]),
    (
        "engine gone",
        lambda raw: raw["applications"]["shop"]["databases"].pop("redis"),
        [f"applications.shop.databases.redis.main: {GONE}, {UNPROTECT} take it away"],
    ),
    (
        "application renamed",
        rename_application,
        [
            "applications.shop: was taken away or renamed, and with it its databases mysql.main, mysql.spare, mysql.archive, redis.main; "
            f"put it back, or, to part with that, {UNPROTECT} take it away"
        ],
    ),
    (
        "namespace",
        lambda raw: raw["applications"]["shop"].update(namespace="store"),
        [
            "applications.shop.namespace: was 'shop', and nothing in it can move; put it back, or make another application and move the data"
        ],
    ),
    (
        "another word for the environment does not help at once",
        lambda raw: (raw.update(environment="development"), mysql(raw).pop("main")),
        [f"{MAIN}: {GONE}, {UNPROTECT} take it away"],
    ),
    (
        "the word and the deed at once",
        lambda raw: mysql(raw)["main"].update(protect=False, external_server={"kind": "external", "provisionOn": "hq"}),
        [
            f"{MAIN}.server.kind: was 'dedicated', and the data would stay there; put it back, or {UNPROTECT} make it 'external'"
        ],
    ),
]

ALLOWED: list[tuple[str, Edit]] = [
    ("nothing", lambda _raw: None),
    ("another release of the series", lambda raw: mysql(raw)["main"]["server"].update(version="8.4.9")),
    ("the series itself", lambda raw: mysql(raw)["main"]["server"].update(version="8.4")),
    (
        "a new group",
        lambda raw: mysql(raw).update(more={"server": managed_server("mysql", "dedicated", version="9.7")}),
    ),
    ("another primary", lambda raw: mysql(raw)["spare"].update(primary=True)),
    ("a rotation", lambda raw: mysql(raw)["main"].update(passwordVersion=1)),
    ("another host of a server", lambda raw: raw["servers"]["hq"].update(host="new.example.org")),
    ("another given account", lambda raw: mysql(raw)["archive"]["server"].update(host="new.example.org")),
    ("protect: false", lambda raw: mysql(raw)["main"].update(protect=False)),
    (
        "a new application",
        lambda raw: raw["applications"].update(
            blog={"databases": {"redis": {"main": {"server": managed_server("redis", "dedicated")}}}}
        ),
    ),
]


@pytest.mark.parametrize(("edit", "lines"), [pytest.param(edit, lines, id=name) for name, edit, lines in REFUSED])
def test_an_edit_that_loses_data_in_production_is_told_with_what_to_do(edit: Edit, lines: list[str]) -> None:
    assert told(stack(), edited(edit)) == lines


@pytest.mark.parametrize("edit", [pytest.param(edit, id=name) for name, edit in ALLOWED])
def test_any_other_edit_is_free(edit: Edit) -> None:
    assert told(stack(), edited(edit)) == []


def test_all_of_them_are_told_at_once() -> None:
    now = edited(
        lambda raw: raw["applications"]["shop"]["databases"].update(
            mysql={"new": {"server": managed_server("mysql", "dedicated")}}
        )
    )
    assert len(told(stack(), now)) == 3


@pytest.mark.parametrize(
    ("edit", "lines"),
    [
        pytest.param(edit, lines, id=name)
        for name, edit, lines in REFUSED
        if name not in ("series", "older series", "variant")
    ],
)
def test_in_development_only_another_version_is_refused(edit: Edit, lines: list[str]) -> None:
    before, now = stack(environment="development"), edited(edit)
    now["environment"] = "development"
    assert told(before, now) == [line for line in lines if "no upgrade in place" in line]


@pytest.mark.parametrize(
    "edit", [pytest.param(edit, id=name) for name, edit, _ in REFUSED if name in ("series", "older series", "variant")]
)
@pytest.mark.parametrize("environment", ["development", "production"])
@pytest.mark.parametrize("protect", [True, False])
def test_there_is_no_upgrade_in_place_whatever_is_protected(edit: Edit, environment: str, protect: bool) -> None:
    before, now = stack(environment=environment), edited(edit)
    now["environment"] = environment
    for raw in (before, now):
        mysql(raw)["main"]["protect"] = protect
    assert len(told(before, now)) == 1


def test_a_group_that_said_protect_false_may_be_taken_away_and_its_neighbours_may_not() -> None:
    before = edited(lambda raw: mysql(raw)["main"].update(protect=False))
    assert told(before, edited(lambda raw: mysql(raw).pop("main"))) == []
    assert len(told(before, edited(lambda raw: mysql(raw).pop("spare")))) == 1


def test_an_application_that_said_protect_false_may_be_taken_away_with_all_its_groups() -> None:
    before = edited(lambda raw: raw["applications"]["shop"].update(protect=False))
    now = stack(
        applications={"blog": {"databases": {"redis": {"main": {"server": managed_server("redis", "dedicated")}}}}}
    )
    assert told(before, now) == []


def test_protect_true_protects_in_development_too() -> None:
    before = edited(lambda raw: (raw.update(environment="development"), mysql(raw)["main"].update(protect=True)))
    now = edited(lambda raw: (raw.update(environment="development"), mysql(raw).pop("main")))
    assert told(before, now) == [f"{MAIN}: {GONE}, {UNPROTECT} take it away"]


def test_outputs_of_an_earlier_version_of_the_program_are_no_obstacle() -> None:
    before = outputs(stack())
    for groups in before["shop"]["databases"].values():
        for group in groups.values():
            for key in ("series", "protected", "server"):
                group.pop(key, None)
    del before["shop"]["protected"]
    assert list(validate_update(before, {})) == []
    assert list(validate_update(before, parse_stack(stack()).outputs())) == []


def whole_program(now: Stack, before: Recorder | None = None) -> Recorder:
    """The program as `pulumi up` runs it, for a stack of which an earlier run left something in the state."""
    config = {
        f"database-groups:{key}": json.dumps(value) if isinstance(value, dict) else value
        for key, value in {**now, "preflight": "none"}.items()
    }

    def program() -> None:
        runpy.run_path(str(ROOT / "__main__.py"))

    return run_program(program, config=config, previous=before.component_states() if before else {})


def test_the_program_registers_nothing_of_a_stack_that_would_lose_data(monkeypatch: pytest.MonkeyPatch) -> None:
    before = whole_program(stack())
    registered: list[str] = []
    register = Recorder.RegisterResource

    def listen(recorder: Recorder, request: Any) -> Any:
        registered.append(request.type)
        return register(recorder, request)

    monkeypatch.setattr(Recorder, "RegisterResource", listen)
    with pytest.raises(
        pulumi.RunError, match=r"nothing was changed:\n  applications\.shop\.databases\.mysql\.main: was taken away"
    ):
        whole_program(edited(lambda raw: mysql(raw).pop("main")), before)
    assert set(registered) <= {"pulumi:pulumi:Stack"}


def test_the_program_goes_on_with_a_stack_that_it_knows_or_that_is_new() -> None:
    first = whole_program(stack())
    assert whole_program(stack(), first).stack_outputs() == first.stack_outputs()


def test_what_components_say_of_themselves_is_what_the_stack_was() -> None:
    """So an update that failed or was killed is remembered as far as it came: what it registered, and nothing else."""
    components = whole_program(stack()).component_states()
    assert collect_component_outputs(components.values()) == {
        "shop": {
            **outputs(stack())["shop"],
            "name": "shop",
            "databases": named_groups(outputs(stack())["shop"]["databases"]),
        }
    }
    killed = {urn: found for urn, found in components.items() if not urn.endswith("shop-mysql-main")}
    assert set(collect_component_outputs(killed.values())["shop"]["databases"]["mysql"]) == {"spare", "archive"}
    assert (
        collect_component_outputs(
            [{"type": APPLICATION, "outputs": {}}, {"type": APPLICATION}, {"type": SECRET, "outputs": {"name": "x"}}]
        )
        == {}
    )


def named_groups(databases: dict[str, Any]) -> dict[str, Any]:
    """Groups with the names that their components add."""
    return {
        engine: {name: {**group, "application": "shop", "group": name} for name, group in groups.items()}
        for engine, groups in databases.items()
    }


def test_a_backend_that_is_being_written_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[Any] = [Exception("EOF"), Exception("EOF")]
    monkeypatch.setattr("stacks.previous_state.PAUSES", (0, 0))

    def answer(*_arguments: object) -> Any:
        if answers:
            raise answers.pop()
        return type("Answer", (), {"value": {"outputs": {"urn": {"type": APPLICATION, "outputs": {"name": "shop"}}}}})

    monkeypatch.setattr("stacks.previous_state.invoke", answer)
    assert read_previous_state() == {"shop": {"name": "shop", "databases": {}}}


def test_a_backend_that_cannot_be_read_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: object) -> Any:
        raise Exception("no such bucket")

    monkeypatch.setattr("stacks.previous_state.PAUSES", (0, 0))
    monkeypatch.setattr("stacks.previous_state.invoke", fail)
    with pytest.raises(pulumi.RunError, match="cannot be read, and nothing was changed: no such bucket"):
        read_previous_state()


def test_an_application_whose_groups_were_given_up_is_still_held_for_its_namespace() -> None:
    def give_up_groups(raw: Stack) -> None:
        for groups in raw["applications"]["shop"]["databases"].values():
            for group in groups.values():
                group["protect"] = False

    now = stack(
        applications={"blog": {"databases": {"redis": {"main": {"server": managed_server("redis", "dedicated")}}}}}
    )
    (line,) = told(edited(give_up_groups), now)
    assert line.startswith("applications.shop: was taken away or renamed, and with it its namespace; put it back")
