"""Provisioned databases: a provider for each external server, a chain of databases, and grants on one database."""

from typing import Any

import pulumi
import pytest

from components.engines.definition import Account
from components.external_servers import ExternalServer, ExternalServerSpec
from components.passwords import Password
from components.persisted.names import DATABASE_RECORD_TYPE
from components.servers.external import ExternalKindSpec
from offline.recorder import PLACEHOLDER, Recorder, Registration, run_program
from tests.support import (
    CANARY,
    GROUP,
    PASSWORD,
    PROVIDERS,
    PROVISIONABLE_ENGINES,
    config_issues,
    decode_secret,
    existing_account,
    external_server,
    get_resource,
    groups,
    provisioned_on,
    record_stack,
    spec_errors,
    stack_with_group,
    stack_with_provisioned_group,
)

DATABASE = {"mysql": "mysql:index/database:Database", "postgresql": "postgresql:index/database:Database"}
USER = {"mysql": "mysql:index/user:User", "postgresql": "postgresql:index/role:Role"}
USER_SUFFIX = {"mysql": "user", "postgresql": "role"}
USER_NAME_KEY = {"mysql": "user", "postgresql": "name"}
PASSWORD_KEY = {"mysql": "plaintextPassword", "postgresql": "password"}
GRANT = {"mysql": "mysql:index/grant:Grant", "postgresql": "postgresql:index/grant:Grant"}
IGNORED_CHANGES = {
    "mysql": {"defaultCharacterSet", "defaultCollation"},
    "postgresql": {"encoding", "lcCollate", "lcCtype", "template", "tablespaceName"},
}
"""Properties that would replace the database, because no server changes them in place."""
EXTENSION = "postgresql:index/extension:Extension"
GRANT_ROLE = "postgresql:index/grantRole:GrantRole"

each_engine = pytest.mark.parametrize("engine", PROVISIONABLE_ENGINES)


def record_provisioned(engine: str, *, server: dict[str, Any] | None = None, **server_keys: Any) -> Recorder:
    """Record a stack with one provisioned group. `server` changes the entry of `externalServers`."""
    return record_stack(stack_with_provisioned_group(engine, server, **server_keys))


def get_provider(recorder: Recorder, engine: str) -> Registration:
    (provider,) = recorder.resources_of_type(f"{PROVIDERS}{engine}")
    return provider


def get_user(recorder: Recorder, engine: str) -> Registration:
    return get_resource(recorder, USER[engine], f"shop-{engine}-main-{USER_SUFFIX[engine]}")


def get_database(recorder: Recorder, engine: str) -> Registration:
    return get_resource(recorder, DATABASE[engine], f"shop-{engine}-main-database")


def test_tables_of_this_module_cover_every_provisionable_engine() -> None:
    for table in (DATABASE, USER, USER_SUFFIX, USER_NAME_KEY, PASSWORD_KEY, GRANT, IGNORED_CHANGES):
        assert sorted(table) == sorted(PROVISIONABLE_ENGINES)


# Providers


@each_engine
def test_applications_share_the_provider_of_a_server(engine: str) -> None:
    databases = {engine: {"a": provisioned_on("hq"), "b": provisioned_on("hq")}}
    applications = {f"app{number}": {"databases": databases} for number in range(3)}
    recorder = record_stack({"externalServers": {"hq": external_server(engine)}, "applications": applications})
    resources = [found for found in recorder.registrations.values() if found.type.startswith(f"{engine}:")]
    assert len(recorder.resources_of_type(DATABASE[engine])) == 6
    assert {found.provider.rpartition("::")[0] for found in resources} == {get_provider(recorder, engine).urn}


@each_engine
def test_each_used_server_has_its_own_provider(engine: str) -> None:
    servers = {name: external_server(engine, host=name) for name in ("one", "two", "unused")}
    databases = {engine: {"a": provisioned_on("one"), "b": provisioned_on("two")}}
    recorder = record_stack({"externalServers": servers, **groups(**databases)})
    assert sorted(found.name for found in recorder.resources_of_type(f"{PROVIDERS}{engine}")) == ["one", "two"]
    assert {found.name: found.provider.split("::")[-2] for found in recorder.resources_of_type(DATABASE[engine])} == {
        f"shop-{engine}-a-database": "one",
        f"shop-{engine}-b-database": "two",
    }


@pytest.mark.parametrize(
    ("engine", "server", "expected"),
    [
        ("mysql", {}, {"endpoint": "mysql.example.org:3306", "username": "provisioner", "tls": "true"}),
        ("mysql", {"tls": "require"}, {"tls": "skip-verify"}),
        ("mysql", {"tls": "disable"}, {"tls": "false"}),
        ("mysql", {"host": "fd00::1"}, {"endpoint": "[fd00::1]:3306"}),
        # Each step opens a connection. Open connections of 40 databases would use all that a server allows.
        ("mysql", {}, {"maxConnLifetimeSec": 1}),
        ("postgresql", {}, {"host": "postgresql.example.org", "port": 5432, "sslmode": "verify-full"}),
        ("postgresql", {"tls": "require"}, {"sslmode": "require"}),
        ("postgresql", {"tls": "disable"}, {"sslmode": "disable"}),
        ("postgresql", {}, {"superuser": "false", "connectTimeout": 15}),
    ],
)
def test_inputs_of_a_provider(engine: str, server: dict[str, Any], expected: dict[str, str | int]) -> None:
    provider = get_provider(record_provisioned(engine, server=server), engine)
    assert provider.secret_inputs == {"password"}
    for key, value in expected.items():  # the inputs of a provider are JSON texts
        found = str(provider.inputs[key])
        assert (int(float(found)) if isinstance(value, int) else found.lower()) == value


@pytest.mark.parametrize(
    ("engine", "expected"),
    [("mysql", {"endpoint": "127.0.0.1:11111"}), ("postgresql", {"host": "127.0.0.1"})],
)
def test_provider_uses_the_host_and_port_of_the_administrator(engine: str, expected: dict[str, str]) -> None:
    administrator = {"username": "provisioner", "password": CANARY, "host": "127.0.0.1", "port": 11111}
    inputs = get_provider(record_provisioned(engine, server={"administrator": administrator}), engine).inputs
    assert expected.items() <= inputs.items()
    assert "11111" in str(inputs.get("port", inputs.get("endpoint")))


# Databases and users


@each_engine
def test_program_creates_the_databases_of_a_server_one_after_the_other(engine: str) -> None:
    """The PostgreSQL provider would deadlock. A database does not wait for those of another server."""
    databases = {engine: {"a": provisioned_on("one"), "b": provisioned_on("two"), "c": provisioned_on("one")}}
    raw = {
        "externalServers": {name: external_server(engine, host=name) for name in ("one", "two")},
        "applications": {f"app{number}": {"databases": databases} for number in range(3)},
    }
    registrations = {found.urn: found for found in record_stack(raw).resources_of_type(DATABASE[engine])}
    for name in ("one", "two"):
        on_server = {urn: found for urn, found in registrations.items() if f"::{name}::" in found.provider}
        dependencies = [found.depends_on & set(registrations) for found in on_server.values()]
        assert all(urns <= set(on_server) for urns in dependencies)
        # In a chain, the first database waits for none, each other one waits for one, and no two wait for the same.
        assert sorted(len(urns) for urns in dependencies) == [0] + [1] * (len(on_server) - 1)
        assert len(set().union(*dependencies)) == len(on_server) - 1


@each_engine
@pytest.mark.parametrize(
    ("server_keys", "database_name", "username"),
    [({}, "shop_main", "shop_main"), ({"database": "store", "username": "keeper"}, "store", "keeper")],
    ids=["default", "database and username"],
)
def test_names_of_database_and_user(
    engine: str, server_keys: dict[str, Any], database_name: str, username: str
) -> None:
    recorder = record_provisioned(engine, **server_keys)
    assert get_user(recorder, engine).inputs[USER_NAME_KEY[engine]] == username
    assert get_database(recorder, engine).inputs["name"] == database_name
    data = decode_secret(recorder, f"shop-{engine}-main-connection")
    assert (data["username"], data["database"]) == (username, database_name)
    assert data["uri"].endswith(f"/{database_name}")


@each_engine
def test_user_has_the_generated_password_as_a_secret_input(engine: str) -> None:
    recorder = record_provisioned(engine)
    user = get_user(recorder, engine)
    assert user.secret_inputs == {PASSWORD_KEY[engine]}
    password = str(user.inputs[PASSWORD_KEY[engine]])
    assert password == PLACEHOLDER if engine == "mysql" else password.startswith("SCRAM-SHA-256$4096:")
    assert get_resource(recorder, PASSWORD, f"shop-{engine}-main-password").urn in user.depends_on


@each_engine
def test_pulumi_never_replaces_a_database(engine: str) -> None:
    database = get_database(record_provisioned(engine), engine)
    assert set(database.ignore_changes) == IGNORED_CHANGES[engine]


@each_engine
def test_provisioned_group_has_no_server_in_the_cluster(engine: str) -> None:
    recorder = record_provisioned(engine)
    (group,) = recorder.resources_of_type(GROUP)
    children = [found for found in recorder.registrations.values() if found.parent == group.urn]
    assert {found.inputs["kind"] for found in children if "kind" in found.inputs} == {"Secret", "Service"}


def test_postgresql_user_owns_its_database_and_has_no_other_right() -> None:
    recorder = record_provisioned("postgresql")
    role = get_user(recorder, "postgresql").inputs
    assert role["login"] is True
    assert not {"superuser", "createDatabase", "createRole", "bypassRowLevelSecurity", "replication"} & set(role)
    assert get_database(recorder, "postgresql").inputs["owner"] == "shop_main"


def test_administrator_of_postgresql_is_a_member_of_the_role_before_public_loses_connect() -> None:
    """Without the membership, the revocation by an administrator who is no superuser has no effect and no error."""
    recorder = record_provisioned("postgresql")
    membership = get_resource(recorder, GRANT_ROLE, "shop-postgresql-main-membership")
    revocation = get_resource(recorder, GRANT["postgresql"], "shop-postgresql-main-public-revoked")
    database = get_database(recorder, "postgresql")
    assert (membership.inputs["role"], membership.inputs["grantRole"]) == ("provisioner", "shop_main")
    assert membership.ignore_changes == ("withAdminOption",)
    assert get_user(recorder, "postgresql").urn in membership.depends_on
    assert {membership.urn, database.urn} <= revocation.depends_on
    assert membership.urn in database.depends_on
    assert revocation.inputs == {"database": "shop_main", "role": "public", "objectType": "database", "privileges": []}


def test_mysql_grant_covers_one_database_and_is_deleted_with_its_user() -> None:
    """The provider cannot revoke a grant. An unescaped `_` would also match the database `shopXmain`."""
    recorder = record_provisioned("mysql")
    grant = get_resource(recorder, GRANT["mysql"], "shop-mysql-main-grant")
    user, database = get_user(recorder, "mysql"), get_database(recorder, "mysql")
    assert grant.inputs == {
        "database": r"`shop\_main`",
        "user": "shop_main",
        "host": "%",
        "privileges": ["ALL PRIVILEGES"],
    }
    assert grant.deleted_with == user.urn
    assert {user.urn, database.urn} <= grant.depends_on
    assert user.inputs["host"] == "%"


@each_engine
def test_pulumi_deletes_the_record_before_the_database(engine: str) -> None:
    """A killed `destroy` then leaves no record of a database that it dropped."""
    recorder = record_provisioned(engine)
    record = get_resource(recorder, DATABASE_RECORD_TYPE, f"shop-{engine}-main")
    assert get_database(recorder, engine).urn in record.depends_on
    assert recorder.outputs[record.urn] == {"externalServer": "hq", "database": "shop_main", "username": "shop_main"}


def test_pulumi_deletes_a_mysql_database_before_its_user() -> None:
    """MySQL does not drop a user that a view names."""
    recorder = record_provisioned("mysql")
    database = get_database(recorder, "mysql")
    assert get_user(recorder, "mysql").urn in database.depends_on
    assert database.inputs["defaultCharacterSet"] == "utf8mb4"


def test_program_creates_extensions_in_their_order() -> None:
    recorder = record_provisioned("postgresql", extensions=["pg_trgm", "uuid-ossp"])
    previous = get_resource(recorder, GRANT["postgresql"], "shop-postgresql-main-public-revoked")
    for name in ("pg_trgm", "uuid-ossp"):
        extension = get_resource(recorder, EXTENSION, f"shop-postgresql-main-extension-{name}")
        assert (extension.inputs["name"], extension.inputs["database"]) == (name, "shop_main")
        assert previous.urn in extension.depends_on
        previous = extension


@each_engine
def test_provision_rejects_an_incomplete_account(engine: str) -> None:
    spec = ExternalServerSpec.model_validate(external_server(engine), by_alias=True)

    def program() -> None:
        options = pulumi.ResourceOptions()
        password = Password(pulumi.Output.secret("p"))
        with pytest.raises(ValueError, match="an account needs a user name and a database"):
            ExternalServer("hq", spec).provision(
                "x", "u", Account(username="u"), password, passwords=[password], data_opts=options, opts=options
            )

    run_program(program)


# Errors

RESERVED_NAMES = {
    "mysql": ["mysql", "sys", "information_schema", "performance_schema", "root", "ndbinfo", "mysql_audit"],
    "postgresql": ["postgres", "public", "template0", "template1", "pg_monitor"],
}
UNSAFE_NAMES = ["Shop", "1shop", "shop-main", "shop main", "shop`", "shop'", "_shop", "shop%", "é"]
NAME_RULE = "start with a letter, then use lower-case letters, digits and '_', for example `shop_main`"


@each_engine
@pytest.mark.parametrize("key", ["database", "username"])
def test_reserved_and_unsafe_names_are_errors(engine: str, key: str) -> None:
    messages = {
        **{name: f"the server reserves the name {name!r}; set another `{key}`" for name in RESERVED_NAMES[engine]},
        **{name: f"invalid name {name!r}; {NAME_RULE}" for name in UNSAFE_NAMES},
    }
    for name, message in messages.items():
        server_keys: dict[str, Any] = {key: name}
        assert config_issues(stack_with_provisioned_group(engine, **server_keys)) == [
            f"applications.shop.databases.{engine}.main.server.{key}: {message}"
        ]


@pytest.mark.parametrize(
    ("engine", "server_keys", "expected"),
    [
        (
            "mysql",
            {"username": "provisioner"},
            "username: 'provisioner' is the administrator of 'hq'; use another name",
        ),
        ("mysql", {"extensions": ["pg_trgm"]}, "extensions: not supported for mysql; remove it"),
        ("postgresql", {"extensions": ["a", "a"]}, "extensions: the same extension occurs twice; remove one"),
        (
            "postgresql",
            {"provisionOn": "other"},
            "provisionOn: server 'other' is not defined; define it in `database-groups:externalServers`; defined: hq",
        ),
    ],
    ids=["administrator", "extension of mysql", "duplicate extension", "unknown server"],
)
def test_errors_of_a_provisioned_group(engine: str, server_keys: dict[str, Any], expected: str) -> None:
    raw = stack_with_provisioned_group(engine)
    raw["applications"]["shop"]["databases"][engine]["main"]["server"] |= server_keys
    assert config_issues(raw) == [f"applications.shop.databases.{engine}.main.server.{expected}"]


@pytest.mark.parametrize(
    ("engine", "server", "expected"),
    [
        (
            "postgresql",
            existing_account("postgresql", extensions=["pg_trgm"]),
            ".extensions: supported with `provisionOn` only; create the extensions on the server yourself",
        ),
        (
            "postgresql",
            {"kind": "external", "host": "db.example.org", "database": "shop"},
            ": missing keys for an existing database: password, username (to create a database instead, use"
            " `provisionOn`)",
        ),
        (
            "mysql",
            existing_account("mysql", token=CANARY),
            ".token: not supported for mysql; supported: database, password, username",
        ),
        (
            "mysql",
            existing_account("mysql", storage="5Gi"),
            ".storage: not supported for external mysql servers; remove it",
        ),
        ("glusterfs", existing_account("glusterfs", storage="5Gi"), ": set `storageClass` and `storage` together"),
        (
            "elasticsearch",
            existing_account("elasticsearch", username=None),
            ": `password` is set without `username`; set both",
        ),
    ],
    ids=["extensions", "missing keys", "unsupported key", "volume", "storage without class", "no username"],
)
def test_errors_of_an_existing_account(engine: str, server: dict[str, Any], expected: str) -> None:
    raw = stack_with_group(engine, {key: value for key, value in server.items() if value is not None})
    assert config_issues(raw) == [f"applications.shop.databases.{engine}.main.server{expected}"]


def test_server_of_another_engine_is_an_error() -> None:
    raw = {
        "externalServers": {"hq": external_server("mysql")},
        **groups(postgresql={"main": provisioned_on("hq")}),
    }
    assert config_issues(raw) == [
        "applications.shop.databases.postgresql.main.server.provisionOn: server 'hq' runs mysql, not postgresql; use a"
        " server of the group's engine"
    ]


@pytest.mark.parametrize(
    ("keys", "code"),
    [
        ({"host": "db.example.org", "provisionOn": "hq"}, "provision_on_or_host"),
        ({}, "provision_on_or_host"),
        ({"provisionOn": "hq", "password": CANARY}, "excluded_keys"),
        ({"provisionOn": "hq", "port": 1}, "excluded_keys"),
        ({"host": "db.example.org", "username": "u"}, "missing_password"),
        ({"provisionOn": "hq", "extensions": ['x"; DROP']}, "extension_name"),
    ],
    ids=["both", "neither", "password", "port", "no password", "extension"],
)
def test_codes_of_invalid_keys_of_a_group(keys: dict[str, Any], code: str) -> None:
    assert [found for _, found in spec_errors(ExternalKindSpec, {"kind": "external", **keys})] == [code]


@pytest.mark.parametrize(
    ("engine", "changes", "expected"),
    [
        ("mysql", {}, []),
        ("redis", {}, [("engine", "engine")]),
        ("mysql", {"host": []}, [("host", "empty")]),
        ("mysql", {"tls": "prefer"}, [("tls", "literal_error")]),
        ("mysql", {"administrator": {"username": "u:v", "password": CANARY}}, [("", "administrator_username")]),
        ("postgresql", {"administrator": {"username": "u:v", "password": CANARY}}, []),
    ],
    ids=["valid", "unsupported engine", "no host", "TLS mode", "user name for MySQL", "user name for PostgreSQL"],
)
def test_codes_of_invalid_external_servers(
    engine: str, changes: dict[str, Any], expected: list[tuple[str, str]]
) -> None:
    raw = {**external_server("mysql"), "engine": engine, **changes}
    assert spec_errors(ExternalServerSpec, raw) == expected
