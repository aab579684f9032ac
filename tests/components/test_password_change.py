"""Password changes of provisioned databases: the accounts, and the hooks that run around the provider's steps."""

import asyncio
import base64
import hashlib
import hmac
from collections.abc import Sequence
from typing import Any

import pulumi
import pytest

from components.engines import mysql, postgresql
from components.engines.definition import Login
from offline.recorder import PLACEHOLDER, Recorder, Registration
from stacks.config import parse_stack
from tests.support import (
    CANARY,
    ENCRYPTED,
    PASSWORD,
    PROVISIONABLE_ENGINES,
    SECRET,
    config_issues,
    decode_secret,
    get_resource,
    record_applications,
    record_stack,
    stack_with_provisioned_group,
)

ROLE = "postgresql:index/role:Role"
GRANT_ROLE = "postgresql:index/grantRole:GrantRole"
DATABASE = {"mysql": "mysql:index/database:Database", "postgresql": "postgresql:index/database:Database"}
USER = {"mysql": "shop-mysql-main-user", "postgresql": "shop-postgresql-main-role"}
USER_TYPE = {"mysql": "mysql:index/user:User", "postgresql": ROLE}
LOGIN = Login(username="shop_main", password="new", database="shop_main")

each_engine = pytest.mark.parametrize("engine", PROVISIONABLE_ENGINES)


class FakeClient:
    """A client that records what it runs on its server."""

    def __init__(self, *, accepts: bool = True, rows: Sequence[tuple[Any, ...]] = ()) -> None:
        self.accepts, self.rows = accepts, rows
        self.calls: list[Any] = []

    def run(self, *statements: str, database: str | None = None, secrets: Sequence[str] = ()) -> Sequence[Any]:
        self.calls.append((statements, database, tuple(secrets)))
        return self.rows

    def can_log_in(self, login: Login) -> bool:
        self.calls.append(login)
        return self.accepts

    def require_login(self, login: Login) -> None:
        self.calls.append(login)
        if not self.accepts:
            raise pulumi.RunError("cannot log in")


def change(engine: str, version: int, **server_keys: Any) -> dict[str, Any]:
    """Return a stack with one provisioned group after a number of changes."""
    raw = stack_with_provisioned_group(engine, **server_keys)
    raw["applications"]["shop"]["databases"][engine]["main"]["passwordVersion"] = version
    return raw


def record_with_client(raw: dict[str, Any], client: FakeClient, monkeypatch: pytest.MonkeyPatch) -> Recorder:
    """Record a stack whose external servers have a client."""
    applications = parse_stack(raw, ENCRYPTED).applications
    for server in applications[0].platform.external_servers.values():
        monkeypatch.setattr(server, "_client", client)
    return record_applications(applications)


def run_hook(hook: pulumi.ResourceHook, old: dict[str, Any] | None = None, new: dict[str, Any] | None = None) -> None:
    """Run a hook as Pulumi does."""

    async def main() -> None:
        result = hook(pulumi.ResourceHookArgs("urn", "id", "name", "type", old_inputs=old, new_inputs=new))
        assert result is not None
        await result

    asyncio.run(main())


# Accounts


def user_names(recorder: Recorder) -> dict[str, Registration]:
    return {str(role.inputs["name"]): role for role in recorder.resources_of_type(ROLE)}


def test_group_without_a_change_has_one_postgresql_account() -> None:
    recorder = record_stack(change("postgresql", 0))
    assert set(user_names(recorder)) == {"shop_main"}
    assert len(recorder.resources_of_type(GRANT_ROLE)) == len(recorder.resources_of_type(PASSWORD)) == 1


@pytest.mark.parametrize("version", [1, 2, 3])
def test_accounts_of_postgresql_take_turns(version: int) -> None:
    recorder = record_stack(change("postgresql", version))
    roles, second = user_names(recorder), "shop_main__b"
    assert set(roles) == {"shop_main", second}
    assert roles[second].inputs["roles"] == ["shop_main"]
    assert roles[second].inputs["assumeRole"] == "shop_main"
    assert roles[second].inputs["login"] is True
    data = decode_secret(recorder, "shop-postgresql-main-connection")
    assert data["username"] == (second if version % 2 else "shop_main")
    assert data["uri"].startswith(f"postgresql://{data['username']}:{PLACEHOLDER}@")
    versions = {
        found.name: found.inputs["keepers"]["passwordVersion"] for found in recorder.resources_of_type(PASSWORD)
    }
    assert versions[f"shop-postgresql-main-password{'-b' * (version % 2)}"] == str(version)
    assert sorted(versions.values()) == [str(version - 1), str(version)]


def test_database_and_secrets_wait_for_both_accounts_of_postgresql() -> None:
    recorder = record_stack(change("postgresql", 1))
    (database,) = recorder.resources_of_type(DATABASE["postgresql"])
    memberships = {str(found.inputs["grantRole"]): found for found in recorder.resources_of_type(GRANT_ROLE)}
    assert set(memberships) == {"shop_main", "shop_main__b"}
    for membership in memberships.values():
        assert membership.inputs["role"] == "provisioner"
        assert membership.ignore_changes == ("withAdminOption",)
        assert membership.urn in database.depends_on
    assert database.inputs["owner"] == "shop_main"
    revoked = get_resource(recorder, "postgresql:index/grant:Grant", "shop-postgresql-main-public-revoked")
    connection = get_resource(recorder, SECRET, "shop-postgresql-main-connection")
    assert database.urn in revoked.depends_on
    assert revoked.urn in connection.depends_on
    assert connection.urn in get_resource(recorder, SECRET, "shop-environment").depends_on


def test_secrets_wait_for_the_grant_of_mysql() -> None:
    recorder = record_stack(change("mysql", 1))
    grant = get_resource(recorder, "mysql:index/grant:Grant", "shop-mysql-main-grant")
    assert grant.urn in get_resource(recorder, SECRET, "shop-mysql-main-connection").depends_on


@pytest.mark.parametrize(
    ("protect", "expected"), [(True, (True, True)), ("retain", (False, True)), (False, (False, False))]
)
def test_protection_holds_for_the_second_account(protect: Any, expected: tuple[bool, bool]) -> None:
    raw = change("postgresql", 1)
    raw["applications"]["shop"]["databases"]["postgresql"]["main"]["protect"] = protect
    for role in user_names(record_stack(raw)).values():
        assert (role.protect, role.retain_on_delete) == expected


@each_engine
def test_change_of_the_password_keeps_all_other_resources(engine: str) -> None:
    before, after = (record_stack(change(engine, version)).registrations for version in (1, 2))
    assert set(before) == set(after)
    changed = {before[urn].type for urn in before if before[urn].inputs != after[urn].inputs}
    assert changed == {PASSWORD, SECRET}, "the recorder has no other passwords"


def test_second_user_of_a_group_conflicts_with_a_user_of_its_name() -> None:
    raw = change("postgresql", 0)
    raw["applications"]["shop"]["databases"]["postgresql"]["other"] = {
        "server": {"kind": "external", "provisionOn": "hq", "username": "shop_main__b"}
    }
    assert config_issues(raw) == [
        "applications.shop.databases.postgresql.other: name conflict with applications.shop.databases.postgresql.main:"
        " both create the user 'shop_main__b' on one server; set another `database` and `username`"
    ]


@pytest.mark.parametrize(("engine", "length", "is_valid"), [("postgresql", 60, True), ("postgresql", 61, False)])
def test_second_user_has_a_valid_length(engine: str, length: int, is_valid: bool) -> None:
    assert (config_issues(change(engine, 0, username="u" * length)) == []) is is_valid


def test_administrator_is_no_second_user() -> None:
    raw = change("postgresql", 0, username="own")
    raw["externalServers"]["hq"]["administrator"]["username"] = "own__b"
    assert config_issues(raw) == [
        "applications.shop.databases.postgresql.main.server.username: 'own__b' is the administrator of 'hq'; use"
        " another name"
    ]


# Hooks


@each_engine
@pytest.mark.parametrize("version", [0, 1])
def test_run_without_servers_has_no_hooks(engine: str, version: int) -> None:
    assert [found.hooks for found in record_stack(change(engine, version)).registrations.values() if found.hooks] == []


@each_engine
@pytest.mark.parametrize("version", [0, 1])
def test_login_is_proved_before_a_secret_changes(
    engine: str, version: int, hooks: dict[str, pulumi.ResourceHook], monkeypatch: pytest.MonkeyPatch
) -> None:
    client = FakeClient()
    recorder = record_with_client(change(engine, version), client, monkeypatch)
    name = f"shop-{engine}-main-login"
    secret = get_resource(recorder, SECRET, f"shop-{engine}-main-connection")
    assert secret.hooks == {"before_create": (name,), "before_update": (name,)}
    run_hook(hooks[name])
    data = decode_secret(recorder, secret.name)
    assert client.calls == [Login(username=data["username"], password=data["password"], database=data["database"])]
    client.accepts = False
    with pytest.raises(pulumi.RunError):
        run_hook(hooks[name])


def test_hooks_of_postgresql_reassign_objects_and_recover_a_killed_update(
    hooks: dict[str, pulumi.ResourceHook], monkeypatch: pytest.MonkeyPatch
) -> None:
    client = FakeClient()
    roles = user_names(record_with_client(change("postgresql", 1, database="store"), client, monkeypatch))
    reassign, recover = ("shop-postgresql-main-reassign",), ("shop-postgresql-main-role-b-recover",)
    own_recover = ("shop-postgresql-main-role-recover",)
    assert roles["shop_main"].hooks == {"before_create": own_recover, "before_update": reassign}
    assert roles["shop_main__b"].hooks == {"before_create": recover, "before_update": reassign}
    run_hook(hooks[reassign[0]])
    statement = 'REASSIGN OWNED BY "shop_main__b" TO "shop_main"'
    assert client.calls == [((postgresql.LOCK_TIMEOUT, statement), "store", ())]
    client.calls.clear()
    client.rows = [("shop_main",), ("shop_main__b",)]
    run_hook(hooks[recover[0]])
    assert client.calls[1:] == [
        Login(username="shop_main__b", password=PLACEHOLDER, database="store"),
        (('DROP ROLE "shop_main__b"',), None, ()),
    ]


def test_hook_of_mysql_retains_the_old_password(
    hooks: dict[str, pulumi.ResourceHook], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twice: after a killed update, the current password of the server is not the one of the state."""
    client = FakeClient(accepts=False)
    recorder = record_with_client(change("mysql", 1), client, monkeypatch)
    name = "shop-mysql-main-retain-password"
    assert get_resource(recorder, USER_TYPE["mysql"], USER["mysql"]).hooks["before_update"] == (name,)

    async def main() -> None:
        secret = {"plaintextPassword": pulumi.Output.secret(CANARY)}
        result = hooks[name](
            pulumi.ResourceHookArgs("u", "i", "n", "t", old_inputs=secret, new_inputs={"plaintextPassword": "new"})
        )
        assert result is not None
        await result

    asyncio.run(main())
    retain = f"ALTER USER 'shop_main'@'%' IDENTIFIED BY '{CANARY}' RETAIN CURRENT PASSWORD"
    assert client.calls == [LOGIN, ((retain, retain), None, (CANARY,))]


def test_hook_of_mysql_ignores_other_updates(
    hooks: dict[str, pulumi.ResourceHook], monkeypatch: pytest.MonkeyPatch
) -> None:
    client = FakeClient()
    record_with_client(change("mysql", 1), client, monkeypatch)
    inputs = {"plaintextPassword": "same"}
    run_hook(hooks["shop-mysql-main-retain-password"], inputs, dict(inputs))
    assert client.calls == []


def test_mysql_server_that_is_ahead_of_the_state_retains_its_passwords() -> None:
    client = FakeClient(accepts=True)
    mysql._retain_password(client, LOGIN, "old")
    assert client.calls == [LOGIN]


# Verifiers


def test_verifier_of_postgresql_proves_the_password() -> None:
    """The server compares a client's proof with the stored key (RFC 5802, section 3)."""
    verifier = postgresql._hash("pencil", "source of a salt")
    scheme, parameters, keys = verifier.split("$")
    iterations, salt = parameters.split(":")
    stored_key, server_key = map(base64.b64decode, keys.split(":"))
    assert scheme == "SCRAM-SHA-256"
    salted = hashlib.pbkdf2_hmac("sha256", b"pencil", base64.b64decode(salt), int(iterations))
    client_key = hmac.new(salted, b"Client Key", "sha256").digest()
    assert hashlib.sha256(client_key).digest() == stored_key
    assert hmac.new(salted, b"Server Key", "sha256").digest() == server_key
    assert verifier == postgresql._hash("pencil", "source of a salt")
    assert verifier != postgresql._hash("pencil", "other source")
