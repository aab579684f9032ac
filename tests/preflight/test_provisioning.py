"""The databases of earlier updates: the server must be the one that it was."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from preflight.models import Endpoint, Finding, PlannedDatabase, ProvisionedDatabase
from preflight.probe_context import ProbeContext
from preflight.probes.mysql import TERMS as MYSQL_TERMS
from preflight.probes.postgresql import TERMS
from preflight.probes.provisioning import (
    add_read_only_finding,
    check_existing_objects,
    check_provisioned_objects,
    check_shared_names,
)
from preflight.runner import format_findings
from tests.preflight.fakes import only

PATH = "applications.shop.databases.postgresql.main"
OWNED = {"shop_main": "shop_main"}
COMMANDS = "  make refresh STACK=...\n  make up STACK=...\nWithout make, run `pulumi refresh` and `pulumi up`."
RESTORE = "Restore {}: correct `host` and `port` if this is another server, or restore a backup on the server. "
AGAIN = "To create {} instead, set `recreate: true` on the group, and run:\n" + COMMANDS
IN_STATE = "An update creates only what Pulumi's state does not have. The state still has {}. Run:\n" + COMMANDS
BOTH = "database shop_main and role shop_main are missing on the server; an earlier update created them"
DATABASE = "database shop_main is missing on the server; an earlier update created it"
ROLE = "role shop_main is missing on the server; an earlier update created it"
OTHER_OWNER = "database shop_main belongs to role postgres; an earlier update created it for role shop_main"
CHANGE_OWNER = (
    "Correct `host` and `port` if this is another server. If the database was restored from a backup, change its owner:"
    '\n  ALTER DATABASE "shop_main" OWNER TO "shop_main";'
)
UNUSED = "`recreate: true` is set, but database shop_main exists"


def provisioned(**changes: Any) -> ProvisionedDatabase:
    return ProvisionedDatabase(**{"path": PATH, "username": "shop_main", "database": "shop_main", **changes})


def build_context(*databases: ProvisionedDatabase, planned: tuple[PlannedDatabase, ...] = ()) -> ProbeContext:
    endpoint = Endpoint(
        path="externalServers.hq",
        engine="postgresql",
        host="db",
        port=5432,
        planned_databases=planned,
        provisioned_databases=databases,
    )
    return ProbeContext(endpoint=endpoint, deadline=0)


def run_check(
    database: ProvisionedDatabase, owners: Mapping[str, str | None], users: tuple[str, ...]
) -> list[tuple[str, str, bool]]:
    context = build_context(database)
    check_provisioned_objects(context, {"postgres": "postgres", **owners}, users, TERMS)
    assert {finding.path for finding in context.findings} <= {PATH}
    return [(finding.result, finding.fix, finding.is_warning) for finding in context.findings]


@pytest.mark.parametrize(
    ("owners", "users", "expected"),
    [
        (OWNED, ("shop_main", "shop_main__b"), []),
        (
            {},
            ("postgres",),
            [(BOTH, RESTORE.format("them") + AGAIN.format("an empty database and the role with its password"), False)],
        ),
        ({}, ("shop_main",), [(DATABASE, RESTORE.format("it") + AGAIN.format("an empty database"), False)]),
        ({"shop_main": None}, (), [(ROLE, RESTORE.format("it") + AGAIN.format("the role with its password"), False)]),
        ({"shop_main": "postgres"}, ("shop_main",), [(OTHER_OWNER, CHANGE_OWNER, False)]),
    ],
    ids=["unchanged", "empty server", "no database", "no user", "another owner"],
)
def test_missing_objects_are_reported(
    owners: Mapping[str, str | None], users: tuple[str, ...], expected: list[tuple[str, str, bool]]
) -> None:
    assert run_check(provisioned(), owners, users) == expected


def test_recreate_does_not_change_an_owner() -> None:
    owners = {"shop_main": "postgres"}
    results = [result for result, _, _ in run_check(provisioned(recreate=True, is_user_in_state=False), owners, ())]
    assert results == [OTHER_OWNER]


BOTH_IN_STATE = IN_STATE.format("database shop_main and role shop_main")


@pytest.mark.parametrize(
    ("database_in_state", "user_in_state", "owners", "users", "expected"),
    [
        (True, True, {}, (), [(BOTH, BOTH_IN_STATE, False)]),
        (False, True, {}, (), [(BOTH, IN_STATE.format("role shop_main"), False)]),
        (False, False, {}, (), []),
        (False, True, {}, ("shop_main",), []),
        (True, True, {}, ("shop_main",), [(DATABASE, IN_STATE.format("database shop_main"), False)]),
        (True, False, {"shop_main": None}, (), []),
    ],
)
def test_recreate_needs_a_refresh(
    *,
    database_in_state: bool,
    user_in_state: bool,
    owners: Mapping[str, str | None],
    users: tuple[str, ...],
    expected: list[tuple[str, str, bool]],
) -> None:
    database = provisioned(recreate=True, is_database_in_state=database_in_state, is_user_in_state=user_in_state)
    assert run_check(database, owners, users) == expected


MISSING_IN_STATE = "{} in Pulumi's state, but missing on the server"


@pytest.mark.parametrize(
    ("database_in_state", "user_in_state", "owners", "users", "expected"),
    [
        (True, True, {}, (), [MISSING_IN_STATE.format("database shop_main and role shop_main are")]),
        (False, True, {}, (), [MISSING_IN_STATE.format("role shop_main is")]),
        (True, True, {}, ("shop_main",), [MISSING_IN_STATE.format("database shop_main is")]),
        (False, True, {}, ("shop_main",), []),
        (False, True, OWNED, ("shop_main",), []),
        (True, True, OWNED, ("shop_main",), []),
    ],
)
def test_only_what_the_state_has_must_exist_without_a_record(
    *,
    database_in_state: bool,
    user_in_state: bool,
    owners: Mapping[str, str | None],
    users: tuple[str, ...],
    expected: list[str],
) -> None:
    database = provisioned(is_recorded=False, is_database_in_state=database_in_state, is_user_in_state=user_in_state)
    found = run_check(database, owners, users)
    assert [result for result, _, _ in found] == expected
    assert all(COMMANDS in fix and not is_warning for _, fix, is_warning in found)


def test_recreate_that_is_no_longer_needed_is_a_warning() -> None:
    ((result, fix, is_warning),) = run_check(provisioned(recreate=True), OWNED, ("shop_main",))
    assert (result, is_warning) == (UNUSED, True)
    assert fix.startswith("Remove `recreate: true`.")


IN_SERVER = "{} on the server, but not in Pulumi's state"
BOTH_EXIST = IN_SERVER.format("database shop_main and role shop_main exist")


@pytest.mark.parametrize(
    ("database_in_state", "user_in_state", "owners", "result", "parts"),
    [
        (True, True, OWNED, None, set()),
        (False, False, OWNED, BOTH_EXIST, {"database", "user"}),
        (False, True, OWNED, IN_SERVER.format("database shop_main exists"), {"database"}),
        (True, False, OWNED, IN_SERVER.format("role shop_main exists"), {"user"}),
    ],
)
def test_what_a_refresh_removed_from_the_state_is_taken_over(
    *,
    database_in_state: bool,
    user_in_state: bool,
    owners: Mapping[str, str | None],
    result: str | None,
    parts: set[str],
) -> None:
    context = build_context(provisioned(is_database_in_state=database_in_state, is_user_in_state=user_in_state))
    check_provisioned_objects(context, owners, ("shop_main",), TERMS)
    found = [(finding.result, finding.is_warning, set[str](finding.takes_over)) for finding in context.findings]
    assert found == ([(result, True, parts)] if result else [])


def test_what_cannot_be_taken_over_is_dropped() -> None:
    context = build_context(provisioned(is_database_in_state=False, is_user_in_state=False))
    check_provisioned_objects(context, {"shop_main": None}, ("shop_main",), MYSQL_TERMS)
    finding = only(context.findings)
    assert (finding.is_warning, finding.takes_over) == (False, frozenset())
    assert finding.fix.splitlines()[-1] == "  DROP USER 'shop_main'@'%';"


def test_missing_user_is_created_again_for_a_database_that_was_restored() -> None:
    context = build_context(provisioned(recreate=True, is_database_in_state=False, is_user_in_state=False))
    check_provisioned_objects(context, {"shop_main": None}, (), MYSQL_TERMS)
    assert only(context.findings).takes_over == {"database"}


NEW = PlannedDatabase(path="applications.new", username="new", database="new")


@pytest.mark.parametrize(
    ("databases", "planned", "is_warning"),
    [
        ((), (), False),
        ((), (NEW,), False),
        ((provisioned(),), (NEW,), False),
        ((provisioned(recreate=True, is_database_in_state=False),), (), False),
        ((provisioned(recreate=True),), (), True),
        ((provisioned(),), (), True),
    ],
    ids=["unused server", "first database", "another database", "created again", "not refreshed", "nothing to create"],
)
def test_read_only_server_is_an_error_if_a_database_is_created(
    databases: tuple[ProvisionedDatabase, ...], planned: tuple[PlannedDatabase, ...], *, is_warning: bool
) -> None:
    context = build_context(*databases, planned=planned)
    add_read_only_finding(context, "result", "fix")
    assert only(context.findings).is_warning == is_warning


@pytest.mark.parametrize(
    ("count", "is_warning", "header"),
    [
        (1, False, "1 external server check failed:"),
        (2, False, "2 external server checks failed:"),
        (1, True, "1 external server warning:"),
        (2, True, "2 external server warnings:"),
    ],
)
def test_warnings_have_their_own_header(count: int, header: str, *, is_warning: bool) -> None:
    findings = [Finding("result", "fix", is_warning=is_warning)] * count
    assert format_findings(findings).splitlines()[0] == header


ADOPTED = provisioned(adopt=True, is_database_in_state=False, is_user_in_state=False)


@pytest.mark.parametrize(
    ("owners", "users", "result", "fix", "parts"),
    [
        (OWNED, ("shop_main",), BOTH_EXIST, "Nothing: `adopt: true` is set.", {"database", "user"}),
        ({}, ("shop_main",), "database shop_main does not exist on the server", "Remove `adopt: true`", set()),
        (
            {"shop_main": "postgres"},
            ("shop_main",),
            "database shop_main belongs to role postgres; `adopt: true` needs role shop_main",
            "Set `username` to the owner",
            set(),
        ),
    ],
    ids=["existing", "missing", "another owner"],
)
def test_adopted_database_is_taken_over(
    owners: Mapping[str, str | None], users: tuple[str, ...], result: str, fix: str, parts: set[str]
) -> None:
    context = build_context(ADOPTED)
    check_provisioned_objects(context, owners, users, TERMS)
    finding = next(found for found in context.findings if "database" in found.result)
    assert (finding.result, finding.is_warning, set[str](finding.takes_over)) == (result, bool(parts), parts)
    assert finding.fix.startswith(fix)


def test_adopted_mysql_database_gets_a_new_user() -> None:
    for users, is_warning in (((), True), (("shop_main",), False)):
        context = build_context(ADOPTED)
        check_provisioned_objects(context, {"shop_main": None}, users, MYSQL_TERMS)
        finding = only(context.findings)
        assert finding.is_warning is is_warning
        assert finding.takes_over == ({"database"} if is_warning else set())
    assert finding.fix.startswith("The provider cannot take over the user.")


SERVER = ("start",)
RECORDED = ProvisionedDatabase(path="a", username="shop", database="shop")
PLANNED = PlannedDatabase(path="b", username="shop", database="shop")
BOTH_NAMES = "a has the same database shop and user shop"
ONE_SERVER = "alias:5432 and db:5432 are one server, and "


@pytest.mark.parametrize(
    ("first", "second", "identities", "expected"),
    [
        (RECORDED, PLANNED, (SERVER, SERVER), ONE_SERVER + BOTH_NAMES),
        (PLANNED, RECORDED, (SERVER, SERVER), "db:5432 and alias:5432 are one server, and " + BOTH_NAMES),
        (replace(PLANNED, path="a"), PLANNED, (SERVER, SERVER), ONE_SERVER + BOTH_NAMES),
        (
            replace(RECORDED, adopt=True),
            replace(RECORDED, path="b", adopt=True, username="blog"),
            (SERVER, SERVER),
            ONE_SERVER + "a has the same database shop",
        ),
        (RECORDED, replace(PLANNED, database="blog"), (SERVER, SERVER), ONE_SERVER + "a has the same user shop"),
        (RECORDED, replace(PLANNED, database="blog", username="blog"), (SERVER, SERVER), ""),
        (RECORDED, PLANNED, (SERVER, ("another start",)), ""),
        (RECORDED, PLANNED, ((), ()), ""),
    ],
    ids=["old", "old, second entry", "new", "adopted", "user", "other names", "two servers", "unknown servers"],
)
def test_one_name_on_two_addresses_of_a_server_is_reported(
    first: PlannedDatabase | ProvisionedDatabase,
    second: PlannedDatabase | ProvisionedDatabase,
    identities: tuple[tuple[object, ...], ...],
    expected: str,
) -> None:
    """Once, and at a group that has no database yet."""
    contexts = []
    for host, database, identity in zip(("db", "alias"), (first, second), identities, strict=True):
        if isinstance(database, PlannedDatabase):
            context = build_context(planned=(database,))
        else:
            context = build_context(database)
        context.endpoint = replace(context.endpoint, host=host)
        context.server_identity = identity
        contexts.append(context)
    check_shared_names(contexts)
    findings = [finding for context in contexts for finding in context.findings]
    assert [(finding.path, finding.result) for finding in findings] == ([("b", expected)] if expected else [])


def test_servers_of_two_engines_are_not_compared() -> None:
    contexts = [build_context(planned=(replace(PLANNED, path=path),)) for path in "ab"]
    contexts[1].endpoint = replace(contexts[1].endpoint, engine="mysql")
    for context in contexts:
        context.server_identity = SERVER
    check_shared_names(contexts)
    assert [context.findings for context in contexts] == [[], []]


def test_a_shared_name_replaces_the_advice_to_drop_what_exists() -> None:
    old, new = build_context(RECORDED), build_context(planned=(PLANNED,))
    old.server_identity = new.server_identity = SERVER
    check_existing_objects(new, ["shop"], [("shop", "role shop")])
    assert "drop it" in only(new.findings).fix
    check_shared_names([old, new])
    assert "drop it" not in only(new.findings).fix
