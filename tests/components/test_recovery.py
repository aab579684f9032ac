"""What a killed update created but did not record: the hooks that remove it before the provider creates it again."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pulumi
import pytest

from components.engines import mysql, postgresql
from components.engines.definition import Login, ProvisioningRequest
from components.passwords import Password

NAME = "shop_main"
EXISTS = rf"{NAME}' exists on the server, and this stack did not create it, or it is in use; drop it, or choose another"
LOGIN = Login(username=NAME, password="own", database=NAME)


class FakeServer:
    """A server with rows for the beginning of each query. It records the statements that change it."""

    def __init__(self, rows: Mapping[str, Sequence[tuple[Any, ...]]], *, accepts: Sequence[str] = ()) -> None:
        self.rows, self.accepts = rows, accepts
        self.changes: list[str] = []

    def run(
        self, *statements: str, database: str | None = None, secrets: Sequence[str] = ()
    ) -> Sequence[tuple[Any, ...]]:
        (statement,) = (text.strip() for text in statements)
        assert not secrets
        for beginning, rows in self.rows.items():
            if statement.startswith(beginning):
                assert database in (None, NAME)
                return rows
        assert statement.startswith(("DROP", "REVOKE")), statement
        self.changes.append(statement)
        return []

    def can_log_in(self, login: Login) -> bool:
        assert (login.username, login.password) == (NAME, "own")
        return login.database in self.accepts

    def require_login(self, login: Login) -> None:
        raise NotImplementedError


def request(client: FakeServer) -> ProvisioningRequest:
    return ProvisioningRequest(username=NAME, database=NAME, passwords=(), administrator="administrator", client=client)


# PostgreSQL


@pytest.mark.parametrize(
    ("roles", "accepts", "changes"),
    [
        ([], [], []),
        ([("other",)], [NAME], []),
        ([(NAME,)], [NAME], [f'DROP ROLE "{NAME}"']),
        ([(NAME,)], ["postgres"], [f'DROP ROLE "{NAME}"']),
        ([(NAME,)], [], None),
    ],
    ids=["no role", "other role", "own role", "own role without database", "role of others"],
)
def test_role_of_postgresql_is_dropped_only_if_its_password_proves_its_origin(
    roles: list[tuple[str]], accepts: list[str], changes: list[str] | None
) -> None:
    server = FakeServer({"SELECT rolname": roles}, accepts=accepts)
    _assert_changes(server, changes, lambda: postgresql._remove_unrecorded_role(server, LOGIN))


@pytest.mark.parametrize(
    ("owners", "objects", "changes"),
    [
        ([("postgres", "postgres")], 0, []),
        ([(NAME, NAME)], 0, [f'DROP DATABASE "{NAME}"']),
        ([(NAME, NAME)], 1, None),
        ([(NAME, "other")], 0, None),
    ],
    ids=["no database", "empty", "with data", "other owner"],
)
def test_database_of_postgresql_is_dropped_only_if_it_is_empty_and_own(
    owners: list[tuple[str, str]], objects: int, changes: list[str] | None
) -> None:
    server = FakeServer({"SELECT datname": owners, "SELECT (SELECT count(*)": [(objects,)]})
    _assert_changes(server, changes, lambda: postgresql._remove_unrecorded_database(server, NAME, NAME))


# MySQL


def _recover(server: FakeServer) -> "mysql._Recovery":
    return mysql._Recovery(request(server))


@pytest.mark.parametrize(
    ("users", "accepts", "changes"),
    [
        ([], [], []),
        ([(NAME, "10.0.0.1")], [""], []),
        ([(NAME, "%")], [""], [f"DROP USER '{NAME}'@'%'"]),
        ([(NAME, "%")], [], None),
    ],
    ids=["no user", "another host", "own user", "user of others"],
)
def test_user_of_mysql_is_dropped_only_if_its_password_proves_its_origin(
    users: list[tuple[str, str]], accepts: list[str], changes: list[str] | None
) -> None:
    server = FakeServer({"SELECT user": users}, accepts=accepts)
    _assert_changes(server, changes, lambda: _recover(server).remove_user(server, "own"))


@pytest.mark.parametrize(
    ("has_user", "databases", "with_objects", "changes"),
    [
        (True, [], [], []),
        (True, [(NAME,)], [("mysql",)], [f"DROP DATABASE `{NAME}`"]),
        (True, [(NAME,)], [(NAME,)], None),
        (False, [(NAME,)], [], None),
    ],
    ids=["no database", "empty", "with data", "database of others"],
)
def test_database_of_mysql_is_dropped_only_if_it_is_empty_and_the_user_is_own(
    has_user: bool, databases: list[tuple[str]], with_objects: list[tuple[str]], changes: list[str] | None
) -> None:
    server = FakeServer({"SELECT user": [], "SHOW DATABASES": databases, "SELECT table_schema": with_objects})
    recovery = _recover(server)
    if not has_user:
        recovery.remove_user(server, "own")
    _assert_changes(server, changes, lambda: recovery.remove_database(server, "own"))


@pytest.mark.parametrize(
    ("grant", "changes"),
    [
        (
            rf"GRANT ALL PRIVILEGES ON `shop\_main`.* TO `{NAME}`@`%`",
            [rf"REVOKE ALL PRIVILEGES ON `shop\_main`.* FROM '{NAME}'@'%'"],
        ),
        (f"GRANT USAGE ON *.* TO `{NAME}`@`%`", []),
    ],
    ids=["granted", "not granted"],
)
def test_grant_of_mysql_is_revoked_before_the_provider_grants_it(grant: str, changes: list[str]) -> None:
    server = FakeServer({"SHOW GRANTS": [(grant,)]})
    _assert_changes(server, changes, lambda: _recover(server).remove_grant(server, "own"))


# Hooks


def test_hook_runs_with_the_password(monkeypatch: pytest.MonkeyPatch) -> None:
    hooks: list[Any] = []
    monkeypatch.setattr(pulumi, "ResourceHook", lambda name, hook: hooks.append((name, hook)))
    server, calls = FakeServer({}), list[tuple[Any, str]]()

    async def main() -> None:
        password = Password(pulumi.Output.secret("own"))
        _recover(server).create_hooks("shop-user", password, lambda client, value: calls.append((client, value)))
        ((name, hook),) = hooks
        assert name == "shop-user-recover"
        await hook(None)

    asyncio.run(main())
    assert calls == [(server, "own")]


def _assert_changes(server: FakeServer, changes: list[str] | None, remove: Callable[[], None]) -> None:
    """Assert that a function changes the server, or, for None, that it rejects what exists."""
    if changes is None:
        with pytest.raises(pulumi.RunError, match=EXISTS):
            remove()
    else:
        remove()
    assert server.changes == (changes or [])
