"""The change guard rejects edits that lose data, before the first resource is registered."""

import copy
import json
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pulumi
import pytest

from components.application import ApplicationArgs
from components.engines import definition
from offline.recorder import Recorder, run_program
from stacks.change_guard import list_update_warnings, validate_update
from stacks.config import parse_stack
from stacks.previous_state import PreviousState, collect_component_outputs, read_previous_resources
from tests.support import (
    APPLICATION,
    EXISTING_SERVER,
    NAMESPACE,
    NETWORK_POLICY,
    SECRET,
    SERVICE,
    STACK_CASES,
    STATEFUL_SET,
    external_server,
    groups,
    inputs_by_urn,
    managed_server,
    provisioned_on,
    record_stack,
)

ROOT = Path(__file__).resolve().parents[2]
Raw = dict[str, Any]
Edit = Callable[[Raw], Any]

UNPROTECT = "first set `protect: false` (deletes the data) or `protect: retain` (keeps it), and run `make up`"
REMOVED = (
    "removing or renaming this group would delete its data. Write it again. To rename it, set `renamedFrom: main` at"
    f" the new name. To remove it, {UNPROTECT}"
)
UNPROTECTED = (
    "`protect` was true; without `environment: production` it would be false, and later edits could delete the data."
    " Write `protect: true` to keep the protection, or `protect: false` to end it"
)
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
    return [str(issue) for issue in validate_update(read_state(before), parse_applications(after))]


def warn(before: Raw, after: Raw) -> list[str]:
    return [str(issue) for issue in list_update_warnings(read_state(before), parse_applications(after))]


def parse_applications(raw: Raw) -> dict[str, ApplicationArgs]:
    return {application.name: application for application in parse_stack(raw).applications}


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


def provision_message(old: str, new: str) -> str:
    return (
        f"applications.shop.databases.mysql.spare.server.provisionOn: the database is on the server '{old}', and cannot"
        f" move to '{new}'. Write `provisionOn: {old}` again, {MIGRATE}"
    )


def move_message(group: str, key: str, old: str, new: str) -> str:
    return (
        f"applications.shop.databases.mysql.{group}.server.{key}: changing `{key}` from '{old}' to '{new}' would not"
        f" move the data. Write '{old}' again. To change it, {UNPROTECT}"
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
    "image of an older release": (
        set_server("main", managed_server("mysql", "dedicated", image="registry.example.org/mysql:8.4.2")),
        [
            f"{MAIN}.server.image: the release 8.4.2 is older than 8.4.3, which wrote the data."
            f" Use 8.4.3 or later, {MIGRATE}"
        ],
    ),
    "variant": (
        lambda raw: mysql(raw)["main"].update(variant="percona"),
        [
            f"{MAIN}.variant: cannot change from 'mysql' to 'percona': the data is not compatible."
            f" Write 'mysql' again, {MIGRATE}"
        ],
    ),
    "external server": (
        set_server("spare", provisioned_on("other")["server"]),
        [provision_message("hq", "other")],
    ),
}
"""Edits that are rejected whether the group is protected or not."""
LOSSES: dict[str, tuple[Edit, list[str]]] = {
    "kind": (
        set_server("main", provisioned_on("hq")["server"]),
        [move_message("main", "kind", "dedicated", "external")],
    ),
    "existing account": (
        set_server("spare", EXISTING_SERVER),
        [move_message("spare", "provisionOn", "hq", "not set")],
    ),
    "group removed": (lambda raw: mysql(raw).pop("main"), [f"{MAIN}: {REMOVED}"]),
    "existing account removed": (
        lambda raw: mysql(raw).pop("archive"),
        [
            f"applications.shop.databases.mysql.archive: {REMOVED}".replace(
                "its data", "its Service and Secret"
            ).replace("main", "archive")
        ],
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
            f" mysql.spare, mysql.archive, redis.main). Write it again. To remove it, {UNPROTECT}"
        ],
    ),
    "namespace": (
        lambda raw: shop(raw).update(namespace="store"),
        [
            "applications.shop.namespace: the namespace was 'shop'; its data cannot move to 'store'."
            " Write 'shop' again, or add a new application and migrate the data (docs/upgrading.md)"
        ],
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


@pytest.mark.parametrize("recorded", ["8.4", "8.4.9", "8.4.10"])
@pytest.mark.parametrize("key", [{}, {"version": "8.4"}])
def test_pinned_release_follows_the_recorded_one(
    monkeypatch: pytest.MonkeyPatch, recorded: str, key: dict[str, str]
) -> None:
    """The state has a release, or a series that an earlier release of the program recorded."""
    pin_release(monkeypatch, recorded)
    stack = edit_stack(set_server("main", managed_server("mysql", "dedicated", **key)))
    previous = read_state(stack)
    assert previous["shop"]["databases"]["mysql"]["main"]["version"] == recorded
    pin_release(monkeypatch, "8.4.10")
    assert list(validate_update(previous, parse_applications(stack))) == []


@pytest.mark.parametrize("key", [{}, {"version": "8.4"}])
def test_pinned_release_that_is_older_is_rejected(monkeypatch: pytest.MonkeyPatch, key: dict[str, str]) -> None:
    """An earlier commit of the program pins an earlier release."""
    pin_release(monkeypatch, "8.4.10")
    stack = edit_stack(set_server("main", managed_server("mysql", "dedicated", **key)))
    previous = read_state(stack)
    pin_release(monkeypatch, "8.4.9")
    assert [str(issue) for issue in validate_update(previous, parse_applications(stack))] == [
        f"{MAIN}.server.version: the release 8.4.9 is older than 8.4.10, which wrote the data."
        f" Use 8.4.10 or later, {MIGRATE}"
    ]


def pin_release(monkeypatch: pytest.MonkeyPatch, release: str) -> None:
    monkeypatch.setattr(definition, "read_releases", lambda: {"docker.io/library/mysql": {"8.4": release}})


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


@pytest.mark.parametrize("old", [True, "retain"])
def test_protection_ends_by_an_explicit_key_only(old: Any) -> None:
    """Neither `environment: development` nor the removal of the key ends it, together with another edit or alone."""
    before = edit_stack(lambda raw: shop(raw).update(protect=old))
    message = f"applications.shop: {UNPROTECTED}".replace("true", f"{old}".lower())
    for edits in ((), (lambda raw: mysql(raw).pop("main"),)):
        assert message in validate(before, edit_stack(*edits, environment="development"))
    for protect in (True, False, "retain"):
        after = edit_stack(environment="development")
        shop(after)["protect"] = protect
        assert validate(before, after) == []


def test_protection_of_a_group_ends_by_an_explicit_key_only() -> None:
    before = edit_stack(lambda raw: mysql(raw)["main"].update(protect=True), environment="development")
    assert validate(before, edit_stack(environment="development")) == [
        f"{MAIN}: `protect` was true; the application's is false, and later edits could delete the data."
        " Write `protect: true` to keep the protection, or `protect: false` to end it"
    ]
    explicit = edit_stack(lambda raw: mysql(raw)["main"].update(protect=False), environment="development")
    assert validate(before, explicit) == []


# Services and variables

SHORT_VARIABLES = ", ".join(f"MYSQL_{part}" for part in ("ADDRESS", "PORT", "USERNAME", "PASSWORD", "DATABASE", "URL"))


def build_protected(**databases: Any) -> Raw:
    raw = groups(**databases)
    shop(raw)["protect"] = True
    return raw


def build_dedicated(*names: str, engine: str = "mysql", **keys: Any) -> Raw:
    return {engine: {name: {"server": managed_server(engine, "dedicated"), **keys} for name in names}}


NAMES: dict[str, tuple[Raw, Raw, list[str], str]] = {
    "second group without primary": (
        build_dedicated("main"),
        build_dedicated("main", "spare"),
        [
            f"{MAIN}: the Service 'mysql' and {SHORT_VARIABLES} would be removed, and running Pods use them."
            " Write `primary: true`, or allow the removal: `retire: [mysql]` at the application",
            "applications.shop: DATABASE_URL pointed to mysql.main, and would be removed: several groups or none could"
            " have it. Write `databaseUrl: mysql.main`, or allow the removal: `retire: [DATABASE_URL]`",
        ],
        "mysql, DATABASE_URL",
    ),
    "second relational engine": (
        build_dedicated("main"),
        build_dedicated("main") | build_dedicated("main", engine="postgresql"),
        [
            "applications.shop: DATABASE_URL pointed to mysql.main, and would be removed: several groups or none could"
            " have it. Write `databaseUrl: mysql.main`, or allow the removal: `retire: [DATABASE_URL]`"
        ],
        "DATABASE_URL",
    ),
    "renamed group": (
        build_dedicated("main"),
        build_dedicated("first", renamedFrom="main"),
        [
            "applications.shop.databases.mysql.first: "
            + SHORT_VARIABLES.replace("MYSQL_", "MYSQL_MAIN_")
            + " would be removed, and running Pods use them. Write the name 'main' again, or allow the removal:"
            " `retire: [mysql-main]` at the application"
        ],
        "mysql-main",
    ),
    "other group removed": (
        {"redis": {name: {"server": managed_server("redis", "dedicated"), "protect": False} for name in ("a", "b")}},
        {"redis": {"a": {"server": managed_server("redis", "dedicated"), "protect": False}}},
        [
            "applications.shop.databases.redis.a: the Service 'redis-a' would be removed, and running Pods use them."
            " Write `primary: false`, or allow the removal: `retire: [redis-a]` at the application"
        ],
        "redis-a",
    ),
}
"""Databases before and after an edit, the messages, and the names that allow it."""


@pytest.mark.parametrize(("before", "after", "messages", "retire"), NAMES.values(), ids=list(NAMES))
def test_protected_application_retains_its_services_and_variables(
    before: Raw, after: Raw, messages: list[str], retire: str
) -> None:
    old, new = build_protected(**before), build_protected(**after)
    assert validate(old, new) == messages
    shop(new)["retire"] = [name for name in retire.split(", ") if name]
    assert validate(old, new) == []
    shop(new)["retire"] = ["no-such-name"]
    assert validate(old, new) == messages


@pytest.mark.parametrize(("before", "after", "messages", "_retire"), NAMES.values(), ids=list(NAMES))
def test_unprotected_application_warns_about_removed_names(
    before: Raw, after: Raw, messages: list[str], _retire: str
) -> None:
    assert validate(groups(**before), groups(**after)) == []
    removed = [message for message in warn(groups(**before), groups(**after)) if "the update removes" in message]
    assert len(removed) == bool(messages)


CURES: dict[str, tuple[Raw, Raw]] = {
    "primary": (
        build_dedicated("main"),
        {"mysql": {**build_dedicated("main", primary=True)["mysql"], **build_dedicated("spare")["mysql"]}},
    ),
    "no primary": (
        {"redis": {name: {"server": managed_server("redis", "dedicated"), "protect": False} for name in ("a", "b")}},
        {"redis": {"a": {"server": managed_server("redis", "dedicated"), "protect": False, "primary": False}}},
    ),
}


@pytest.mark.parametrize(("before", "after"), CURES.values(), ids=list(CURES))
def test_cure_of_a_message_is_accepted(before: Raw, after: Raw) -> None:
    assert validate(build_protected(**before), build_protected(**after)) == []


def test_database_url_selects_the_group() -> None:
    after = build_protected(**build_dedicated("main"), **build_dedicated("main", engine="postgresql"))
    shop(after)["databaseUrl"] = "mysql.main"
    before = build_protected(**build_dedicated("main"))
    assert validate(before, after) == []
    assert warn(before, after) == []
    shop(after)["databaseUrl"] = "postgresql.main"
    assert validate(before, after) == []
    assert warn(before, after) == ["applications.shop: DATABASE_URL points to postgresql.main, no longer to mysql.main"]


def test_another_primary_group_is_a_warning() -> None:
    def build(primary: str) -> Raw:
        return build_protected(
            mysql={name: {**build_dedicated(name)["mysql"][name], "primary": name == primary} for name in ("a", "b")}
        )

    assert validate(build("a"), build("b")) == []
    assert warn(build("a"), build("b")) == [
        "applications.shop: the update removes Service 'mysql-b'",
        "applications.shop: the Service 'mysql' and the variables MYSQL_* point to mysql.b, no longer to mysql.a",
        "applications.shop: DATABASE_URL points to mysql.b, no longer to mysql.a",
    ]


# Namespaces


def build_shared(**applications: Raw) -> Raw:
    """Return applications in the namespace `web`, each with an own engine."""
    engines = ("redis", "mysql", "postgresql")
    return {
        "applications": {
            name: {"namespace": "web", "databases": build_dedicated("main", engine=engine), **keys}
            for (name, keys), engine in zip(applications.items(), engines, strict=False)
        }
    }


RETAIN = "first set `protect: retain` and run `make up`: the namespace then stays in the cluster"


@pytest.mark.parametrize(("protect", "is_rejected"), [(True, True), (False, True), ("retain", False)])
def test_created_namespace_is_not_deleted(protect: Any, is_rejected: bool) -> None:
    before, after = (build_shared(shop={"protect": protect, "createNamespace": value}) for value in (True, False))
    assert validate(before, after) == (
        [
            "applications.shop.createNamespace: the program created the namespace 'web', and would delete it with"
            f" everything in it. Write `createNamespace: true` again. To stop managing the namespace, {RETAIN}"
        ]
        if is_rejected
        else []
    )
    assert validate(after, before) == [
        "applications.shop.createNamespace: the namespace 'web' exists, and the program takes over no existing object."
        " Write `createNamespace: false` again"
    ]


@pytest.mark.parametrize("edit", ["removed", "moved"])
def test_namespace_of_another_application_is_not_deleted(edit: str) -> None:
    other: Raw = {"createNamespace": False}
    before = build_shared(shop={}, blog=other)
    after = copy.deepcopy(before)
    if edit == "removed":
        after["applications"].pop("shop")
    else:
        after["applications"]["shop"]["namespace"] = "new"
    assert validate(before, after) == [
        "applications.shop: the edit would delete the namespace 'web', in which blog runs. Write the application again."
        f" To remove it, {RETAIN}"
    ]
    for protect in (True, "retain"):
        # The namespace outlives its application, because it contains retained data.
        retained = build_shared(shop={}, blog={**other, "protect": protect})
        assert (
            validate(
                retained, {**after, "applications": {**after["applications"], "blog": retained["applications"]["blog"]}}
            )
            == []
        )
        (namespace,) = record_stack(retained).resources_of_type(NAMESPACE)
        assert namespace.retain_on_delete
    (namespace,) = record_stack(before).resources_of_type(NAMESPACE)
    assert not namespace.retain_on_delete


def test_last_application_can_be_removed() -> None:
    assert validate(groups(redis={"main": None}), {"applications": {}}) == []
    assert len(validate(STACK, {**STACK, "applications": {}})) == 1


# Servers, accounts and volumes


def build_server(**keys: Any) -> Raw:
    return groups(mysql={"main": {"server": managed_server("mysql", **{"kind": "dedicated", **keys})}})


def build_provisioned(**keys: Any) -> Raw:
    return {"externalServers": STACK["externalServers"], **groups(mysql={"main": provisioned_on("hq", **keys)})}


ALWAYS_REJECTED: dict[str, tuple[Raw, Raw, str]] = {
    "smaller volume": (
        build_server(storage="2Gi"),
        build_server(storage="2000Mi"),
        "storage: the volume has 2Gi, and Kubernetes cannot reduce it to 2000Mi. Write `storage: 2Gi`, ",
    ),
    "smaller default": (
        build_server(),
        build_server(kind="local"),
        "storage: the volume has 10Gi, and Kubernetes cannot reduce it to 1Gi. Write `storage: 10Gi`, ",
    ),
    "storage class": (
        build_server(storageClass="fast"),
        build_server(storageClass="slow"),
        "storageClass: the storage class was fast; with slow the volume would be deleted with its data. Write"
        " `storageClass: fast`, ",
    ),
    "storage class added": (
        build_server(),
        build_server(storageClass="slow"),
        "storageClass: the storage class was the default of the cluster; with slow the volume would be deleted with its"
        " data. Remove `storageClass`, ",
    ),
    "storage class removed": (
        build_server(storageClass="fast"),
        build_server(),
        "storageClass: the storage class was fast; with the default of the cluster the volume would be deleted with its"
        " data. Write `storageClass: fast`, ",
    ),
    "database": (
        build_provisioned(),
        build_provisioned(database="other"),
        "database: the database was 'shop_main'; with the name 'other' the server would rename it, or delete it with"
        " its data, while Pods use it. Write `database: shop_main`, ",
    ),
    "username": (
        build_provisioned(username="keeper"),
        build_provisioned(),
        "username: the user was 'keeper'; with the name 'shop_main' the server would rename it, or delete it with its"
        " data, while Pods use it. Write `username: keeper`, ",
    ),
}
INITIALIZED = (
    "initScript: the server is initialized, so the script would never run. {}, and run the statements with"
    " `kubectl exec` (docs/day-two.md)"
)
SCRIPTS: dict[str, tuple[Raw, Raw, list[str]]] = {
    "added": (build_server(), build_server(initScript="SELECT 1"), [INITIALIZED.format("Remove it")]),
    "changed": (
        build_server(initScript="SELECT 1"),
        build_server(initScript="SELECT 2"),
        [INITIALIZED.format("Write the old script again")],
    ),
    "removed": (build_server(initScript="SELECT 1"), build_server(), []),
    "same": (build_server(initScript="SELECT 1"), build_server(initScript="SELECT 1"), []),
}


@pytest.mark.parametrize("protect", [True, False, "retain"])
@pytest.mark.parametrize(("before", "after", "message"), ALWAYS_REJECTED.values(), ids=list(ALWAYS_REJECTED))
def test_edits_that_the_server_cannot_do_in_place_are_rejected(
    before: Raw, after: Raw, message: str, protect: Any
) -> None:
    before, after = copy.deepcopy(before), copy.deepcopy(after)
    for raw in (before, after):
        shop(raw)["protect"] = protect
    assert validate(before, after) == [f"{MAIN}.server.{message}{MIGRATE}"]
    assert validate(before, before) == []


@pytest.mark.parametrize(("before", "after", "messages"), SCRIPTS.values(), ids=list(SCRIPTS))
def test_scripts_that_would_never_run_are_rejected(before: Raw, after: Raw, messages: list[str]) -> None:
    assert validate(before, after) == [f"{MAIN}.server.{message}" for message in messages]


@pytest.mark.parametrize(
    ("status", "is_rejected"), [({"readyReplicas": 1}, True), ({"replicas": 1}, False), (None, False)]
)
def test_script_of_a_server_that_never_started_can_change(status: Raw | None, *, is_rejected: bool) -> None:
    """A server whose script fails never becomes ready. The next start runs the corrected script."""
    before, after = build_server(initScript="SELECT 1"), build_server(initScript="SELECT 2")
    resources = [*record_stack(before).resource_states().values()]
    if status is not None:
        metadata = {"namespace": "shop", "name": "mysql-main"}
        resources.append({"type": STATEFUL_SET, "outputs": {"metadata": metadata, "status": status}})
    issues = [*validate_update(collect_component_outputs(resources), parse_applications(after))]
    assert bool(issues) == is_rejected


def test_volume_grows() -> None:
    assert validate(build_server(storage="1024Mi"), build_server(storage="1Gi")) == []
    assert validate(build_server(storage="1Gi"), build_server(storage="2G")) == []


@pytest.mark.parametrize("protect", [True, False])
def test_local_and_dedicated_servers_use_the_same_volume(protect: bool) -> None:
    before, after = build_server(kind="local"), build_server()
    for raw in (before, after):
        shop(raw)["protect"] = protect
    assert validate(before, after) == []
    shop(before)["databases"]["mysql"]["main"]["server"]["storage"] = "20Gi"
    assert len(validate(before, after)) == 1
    names = [
        {found.urn for found in record_stack(raw).registrations.values() if found.type != NETWORK_POLICY}
        for raw in (before, after)
    ]
    assert names[0] == names[1]


# Renamed groups


def rename(group: str, **keys: Any) -> Raw:
    return build_protected(**{"redis": {group: {"server": managed_server("redis", "dedicated"), **keys}}})


def test_renamed_group_retains_everything_that_holds_data() -> None:
    """Only the Service, the variables and the outputs have the new name."""
    before = groups(**build_dedicated("main", "other"))
    after = groups(
        mysql={"first": {**before_group(before), "renamedFrom": "main"}, "other": before_group(before, "other")}
    )
    old, new = inputs_by_urn(record_stack(before), {SERVICE}), inputs_by_urn(record_stack(after), {SERVICE})
    assert set(old) == set(new)
    changed = {urn.rpartition("::")[2] for urn in old if old[urn] != new[urn]}
    assert changed == {"shop-environment", "shop-mysql-main-connection"}
    names = {service.name for service in record_stack(after).resources_of_type(SERVICE)}
    assert names == {"shop-mysql-first", "shop-mysql-other"}
    assert validate(before, after) == []


def before_group(raw: Raw, name: str = "main") -> Raw:
    group: Raw = mysql(raw)[name]
    return group


def test_renamed_group_keeps_its_original_name() -> None:
    original, renamed, again = rename("main"), rename("first", renamedFrom="main"), rename("second", renamedFrom="main")
    for raw in (original, renamed, again):
        shop(raw)["retire"] = ["redis-main", "redis-first", "redis-second"]
    assert validate(original, renamed) == validate(renamed, again) == validate(again, original) == []
    location = "applications.shop.databases.redis.first.renamedFrom"
    message = "the group was created as 'main'; with the name '{}' it would have another server and lose its data. {}"
    assert validate(renamed, rename("first")) == [
        f"{location}: " + message.format("first", "Write `renamedFrom: main` again")
    ]
    assert validate(original, rename("main", renamedFrom="old")) == [
        "applications.shop.databases.redis.main.renamedFrom: " + message.format("old", "Remove `renamedFrom`")
    ]
    (removed,) = validate(renamed, rename("third"))
    assert "set `renamedFrom: main` at the new name" in removed


def test_renaming_continues_after_a_failed_update() -> None:
    """The group has its new name in the state, and the application still has the old variables."""
    renamed = rename("first", renamedFrom="main")
    shop(renamed)["retire"] = ["redis-main"]
    original, state = read_state(rename("main")), read_state(renamed)
    failed: Any = {"shop": {**original["shop"], "databases": state["shop"]["databases"]}}
    assert list(validate_update(failed, parse_applications(renamed))) == []


def test_warnings_about_data() -> None:
    def build(protect: Any, *names: str) -> Raw:
        return groups(**build_dedicated(*names, engine="redis", protect=protect))

    path = "applications.shop.databases.redis.b"
    assert f"{path}: the data of redis.b is deleted" in warn(build(False, "a", "b"), build(False, "a"))
    assert f"{path}: the data of redis.b stays, and is no longer managed" in warn(
        build("retain", "a", "b"), build("retain", "a")
    )
    assert [text for text in warn(build_server(), build_provisioned()) if "data" in text] == [
        f"{MAIN}: the data of mysql.main is deleted"
    ]
    removed = warn(build(False, "a", "b"), {"applications": {}})
    assert removed == ["applications.shop: the data of redis.a, redis.b is deleted"]
    moved_namespace = build("retain", "a")
    shop(moved_namespace)["namespace"] = "web"
    assert "applications.shop: the data of redis.a stays, and is no longer managed" in warn(
        build("retain", "a"), moved_namespace
    )
    (moved,) = warn(build_server(kind="local"), build_server())
    assert moved.startswith(f"{MAIN}.server.kind: the server restarts as dedicated with the same volume")


@pytest.mark.parametrize("raw", STACK_CASES)
def test_same_stack_is_allowed(raw: Raw) -> None:
    protected = {"applications": {"shop": {**shop(raw), "protect": True}}, **{"externalServers": {}, **raw}}
    assert validate(protected, protected) == []
    assert warn(protected, protected) == []


# Passwords


def set_password_version(version: int) -> Edit:
    return lambda raw: mysql(raw)["spare"].update(passwordVersion=version)


@pytest.mark.parametrize("environment", ["production", "development"])
@pytest.mark.parametrize(("before", "after", "next_version"), [(0, 2, 1), (1, 0, 2), (1, 3, 2), (5, 1, 6)])
def test_change_that_would_end_the_password_in_use_is_rejected(
    environment: str, before: int, after: int, next_version: int
) -> None:
    stacks = [edit_stack(set_password_version(version), environment=environment) for version in (before, after)]
    assert validate(*stacks) == [
        f"{MAIN.removesuffix('main')}spare.passwordVersion: the password in use has the version {before}, and a change"
        f" to {after} would end it at once. Use {next_version} for a new password, or {before} for no change"
    ]


@pytest.mark.parametrize(("before", "after"), [(0, 0), (0, 1), (1, 2), (7, 8)])
def test_next_password_version_is_allowed(before: int, after: int) -> None:
    assert validate(edit_stack(set_password_version(before)), edit_stack(set_password_version(after))) == []


def test_server_in_the_cluster_allows_any_password_version() -> None:
    """It has one password, which ends at each change."""
    assert validate(STACK, edit_stack(lambda raw: mysql(raw)["main"].update(passwordVersion=7))) == []


def test_password_version_of_the_previous_state_is_that_of_the_secret() -> None:
    """An update that failed before the Secret changed did not publish the password of its version."""
    failed, published = (
        record_stack(edit_stack(set_password_version(version))).resource_states() for version in (1, 0)
    )
    secrets = {urn: state for urn, state in published.items() if state["type"] == SECRET}
    previous = collect_component_outputs({**failed, **secrets}.values())
    assert previous["shop"]["databases"]["mysql"]["spare"]["passwordVersion"] == 0
    messages = [
        str(issue) for issue in validate_update(previous, parse_applications(edit_stack(set_password_version(2))))
    ]
    assert len(messages) == 1
    assert "a change to 2 would end it at once" in messages[0]


def test_group_without_a_secret_has_no_password_in_use() -> None:
    states = record_stack(edit_stack(set_password_version(3))).resource_states()
    previous = collect_component_outputs(state for state in states.values() if state["type"] != SECRET)
    assert previous["shop"]["databases"]["mysql"]["spare"]["passwordVersion"] is None
    assert list(validate_update(previous, parse_applications(edit_stack(set_password_version(3))))) == []


# The previous state


def run_whole_program(raw: Raw, before: Recorder | None = None) -> Recorder:
    """Run the program as `make up` does, with the state that an earlier run left."""
    config = {
        f"database-groups:{key}": value if isinstance(value, str) else json.dumps(value) for key, value in raw.items()
    }

    def program() -> None:
        runpy.run_path(str(ROOT / "__main__.py"))

    return run_program(program, config=config, previous=before.resource_states() if before else {})


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
    components = record_stack(STACK).resource_states()
    expected = json.loads(json.dumps(read_state(STACK)))
    for engine, engine_groups in expected["shop"]["databases"].items():
        for name, group in engine_groups.items():
            group |= {"application": "shop", "engine": engine, "group": name, "hasStarted": False}
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
def test_state_is_read_in_one_order_and_again_while_it_is_written(
    failures: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors = [Exception("EOF")] * failures
    state = {urn: {"type": APPLICATION, "outputs": {"name": f"application-{urn}"}} for urn in ("b", "c", "a")}
    monkeypatch.setattr("stacks.previous_state.RETRY_DELAYS_SECONDS", (0, 0))

    def answer(*_arguments: object) -> Any:
        if errors:
            raise errors.pop()
        return type("Answer", (), {"value": {"outputs": state}})

    monkeypatch.setattr("stacks.previous_state.invoke", answer)
    names = list(collect_component_outputs(read_previous_resources()))
    assert names == ["application-a", "application-b", "application-c"]


def test_unreadable_state_stops_the_update(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: object) -> Any:
        raise Exception("no such bucket")

    monkeypatch.setattr("stacks.previous_state.RETRY_DELAYS_SECONDS", (0, 0))
    monkeypatch.setattr("stacks.previous_state.invoke", fail)
    message = "cannot read the previous state of the stack; nothing was changed: no such bucket"
    with pytest.raises(pulumi.RunError, match=message):
        read_previous_resources()


def test_group_of_a_state_without_its_application_is_ignored() -> None:
    states = record_stack(groups(redis={"main": None})).resource_states()
    assert collect_component_outputs(state for state in states.values() if state["type"] != APPLICATION) == {}
