"""Databases on external servers: one provider a server, one chain of databases, and grants that hold and can be undone."""

from base64 import b64decode
from typing import Any

import pulumi
import pytest

from components.engines import ENGINES
from components.engines.definition import Account
from components.external_servers import ExternalServer, ExternalServerSpec
from offline.recorder import Recorder, Registration, run_program
from tests.support import (
    CANARY,
    GROUP,
    PASSWORD,
    PROVIDERS,
    SECRET,
    config_issues,
    existing_account,
    external_server,
    get_resource,
    groups,
    provisioned_on,
    record_stack,
)

PROVISIONED = [name for name, engine in ENGINES.items() if engine.provisioner]
DATABASE = {"mysql": "mysql:index/database:Database", "postgresql": "postgresql:index/database:Database"}
USER = {"mysql": "mysql:index/user:User", "postgresql": "postgresql:index/role:Role"}
GRANT = {"mysql": "mysql:index/grant:Grant", "postgresql": "postgresql:index/grant:Grant"}
EXTENSION = "postgresql:index/extension:Extension"
GRANT_ROLE = "postgresql:index/grantRole:GrantRole"

engines = pytest.mark.parametrize("engine", PROVISIONED)


def provisioned(engine: str, **server_keys: Any) -> Recorder:
    return record_stack(
        {
            "externalServers": {"hq": external_server(engine, **server_keys)},
            **groups(**{engine: {"main": provisioned_on("hq")}}),
        }
    )


def provider(recorder: Recorder, engine: str) -> Registration:
    (found,) = recorder.resources_of_type(f"{PROVIDERS}{engine}")
    return found


@engines
def test_every_engine_with_provisioning_is_held_to_the_tables_of_this_module(engine: str) -> None:
    assert all(engine in table for table in (DATABASE, USER, GRANT))


@engines
def test_one_server_has_one_provider_however_many_applications_use_it(engine: str) -> None:
    applications = {
        f"app{number}": {"databases": {engine: {"a": provisioned_on("hq"), "b": provisioned_on("hq")}}}
        for number in range(3)
    }
    recorder = record_stack({"externalServers": {"hq": external_server(engine)}, "applications": applications})
    only = provider(recorder, engine)
    made = [found for found in recorder.registrations.values() if found.type.startswith(f"{engine}:")]
    assert len(recorder.resources_of_type(DATABASE[engine])) == 6
    assert {found.provider.rpartition("::")[0] for found in made} == {only.urn}


@engines
def test_two_servers_have_a_provider_each_and_one_that_no_group_uses_has_none(engine: str) -> None:
    raw = {
        "externalServers": {name: external_server(engine, host=name) for name in ("one", "two", "idle")},
        **groups(**{engine: {"a": provisioned_on("one"), "b": provisioned_on("two")}}),
    }
    recorder = record_stack(raw)
    assert sorted(found.name for found in recorder.resources_of_type(f"{PROVIDERS}{engine}")) == ["one", "two"]
    assert {found.name: found.provider.split("::")[-2] for found in recorder.resources_of_type(DATABASE[engine])} == {
        f"shop-{engine}-a-database": "one",
        f"shop-{engine}-b-database": "two",
    }


@engines
def test_the_databases_of_a_server_are_made_one_after_the_other(engine: str) -> None:
    """Many at once wait for each other for ever (PostgreSQL's provider). Those of another server are not waited for."""
    raw = {
        "externalServers": {"one": external_server(engine, host="one"), "two": external_server(engine, host="two")},
        "applications": {
            f"app{number}": {
                "databases": {
                    engine: {"a": provisioned_on("one"), "b": provisioned_on("two"), "c": provisioned_on("one")}
                }
            }
            for number in range(3)
        },
    }
    recorder = record_stack(raw)
    databases = {found.urn: found for found in recorder.resources_of_type(DATABASE[engine])}
    for name in ("one", "two"):
        mine = {urn: found for urn, found in databases.items() if f"::{name}::" in found.provider}
        waits = {urn: found.depends_on & set(databases) for urn, found in mine.items()}
        assert all(waited <= set(mine) for waited in waits.values())
        # A chain: one waits for none, each other for one, and no two for the same.
        assert sorted(len(waited) for waited in waits.values()) == [0] + [1] * (len(mine) - 1)
        assert len({urn for waited in waits.values() for urn in waited}) == len(mine) - 1


@engines
def test_a_provider_gets_the_administrators_own_way_in(engine: str) -> None:
    recorder = provisioned(
        engine, administrator={"username": "provisioner", "password": CANARY, "host": "127.0.0.1", "port": 11111}
    )
    inputs = provider(recorder, engine).inputs
    assert inputs["username"] == "provisioner"
    assert provider(recorder, engine).secret_inputs == {"password"}
    if engine == "mysql":
        assert inputs["endpoint"] == "127.0.0.1:11111"
    else:
        assert (inputs["host"], str(inputs["port"])) == ("127.0.0.1", "11111")


def test_the_endpoint_of_mysql_has_an_ipv6_address_in_brackets() -> None:
    assert provider(provisioned("mysql", host="fd00::1"), "mysql").inputs["endpoint"] == "[fd00::1]:3306"


@pytest.mark.parametrize(
    ("engine", "key", "words"),
    [
        ("mysql", "tls", {"disable": "false", "require": "skip-verify", "verify-full": "true"}),
        ("postgresql", "sslmode", {"disable": "disable", "require": "require", "verify-full": "verify-full"}),
    ],
    ids=["mysql", "postgresql"],
)
def test_tls_is_said_in_the_providers_words(engine: str, key: str, words: dict[str, str]) -> None:
    assert {tls: provider(provisioned(engine, tls=tls), engine).inputs[key] for tls in words} == words
    assert provider(provisioned(engine), engine).inputs[key] == words["verify-full"]


def test_the_provider_of_postgresql_suits_an_administrator_who_is_no_superuser_and_does_not_wait_long() -> None:
    inputs = provider(provisioned("postgresql"), "postgresql").inputs
    # What a provider is given is JSON in text.
    assert str(inputs["superuser"]).lower() == "false"
    assert int(float(inputs["connectTimeout"])) == 15


def test_the_provider_of_mysql_does_not_keep_the_connections_that_it_opens() -> None:
    """It opens one for every step: kept, those of 40 databases are all that a server has, and applications are refused."""
    assert int(float(provider(provisioned("mysql"), "mysql").inputs["maxConnLifetimeSec"])) == 1


@engines
def test_account_and_database_are_named_after_application_and_group(engine: str) -> None:
    recorder = provisioned(engine)
    user, database = (
        get_resource(recorder, USER[engine], _user_name(engine)),
        get_resource(recorder, DATABASE[engine], f"shop-{engine}-main-database"),
    )
    assert (user.inputs["user"] if engine == "mysql" else user.inputs["name"]) == "shop_main"
    assert database.inputs["name"] == "shop_main"


def _user_name(engine: str) -> str:
    return f"shop-{engine}-main-{'user' if engine == 'mysql' else 'role'}"


@engines
def test_the_password_of_a_user_is_secret_and_the_generated_one(engine: str) -> None:
    recorder = provisioned(engine)
    user = get_resource(recorder, USER[engine], _user_name(engine))
    key = "plaintextPassword" if engine == "mysql" else "password"
    assert user.secret_inputs == {key}
    assert user.inputs[key] == "hidden"
    assert get_resource(recorder, PASSWORD, f"shop-{engine}-main-password").urn in user.depends_on


@pytest.mark.parametrize(
    ("engine", "ignored"),
    [
        ("mysql", {"defaultCharacterSet", "defaultCollation"}),
        ("postgresql", {"encoding", "lcCollate", "lcCtype", "template", "tablespaceName"}),
    ],
    ids=["mysql", "postgresql"],
)
def test_a_database_is_not_replaced_for_what_cannot_be_changed_in_place(engine: str, ignored: set[str]) -> None:
    assert (
        set(get_resource(provisioned(engine), DATABASE[engine], f"shop-{engine}-main-database").ignore_changes)
        == ignored
    )


def test_an_application_owns_its_database_of_postgresql_and_may_do_no_more() -> None:
    recorder = provisioned("postgresql")
    role = get_resource(recorder, USER["postgresql"], "shop-postgresql-main-role")
    assert role.inputs["login"] is True
    assert not {"superuser", "createDatabase", "createRole", "bypassRowLevelSecurity", "replication"} & set(role.inputs)
    assert (
        get_resource(recorder, DATABASE["postgresql"], "shop-postgresql-main-database").inputs["owner"] == "shop_main"
    )


def test_the_administrator_is_a_member_of_the_role_before_public_loses_its_right() -> None:
    """Otherwise, for an administrator who is no superuser, the revoke does nothing, and says nothing."""
    recorder = provisioned("postgresql")
    membership = get_resource(recorder, GRANT_ROLE, "shop-postgresql-main-membership")
    grant = get_resource(recorder, GRANT["postgresql"], "shop-postgresql-main-closed")
    database = get_resource(recorder, DATABASE["postgresql"], "shop-postgresql-main-database")
    assert (membership.inputs["role"], membership.inputs["grantRole"]) == ("provisioner", "shop_main")
    assert membership.ignore_changes == ("withAdminOption",)
    assert get_resource(recorder, USER["postgresql"], "shop-postgresql-main-role").urn in membership.depends_on
    assert {membership.urn, database.urn} <= grant.depends_on
    assert membership.urn in database.depends_on
    assert grant.inputs == {"database": "shop_main", "role": "public", "objectType": "database", "privileges": []}


def test_a_grant_of_mysql_is_for_one_database_and_ends_with_its_user() -> None:
    """The provider cannot revoke one, and `_` unescaped would open `shopXmain` too."""
    recorder = provisioned("mysql")
    grant = get_resource(recorder, GRANT["mysql"], "shop-mysql-main-grant")
    user = get_resource(recorder, USER["mysql"], "shop-mysql-main-user")
    database = get_resource(recorder, DATABASE["mysql"], "shop-mysql-main-database")
    assert grant.inputs == {
        "database": r"`shop\_main`",
        "user": "shop_main",
        "host": "%",
        "privileges": ["ALL PRIVILEGES"],
    }
    assert grant.deleted_with == user.urn
    assert {user.urn, database.urn} <= grant.depends_on
    assert user.inputs["host"] == "%"


def test_a_database_of_mysql_goes_before_its_user() -> None:
    """A user whom a view still names cannot be dropped."""
    recorder = provisioned("mysql")
    user = get_resource(recorder, USER["mysql"], "shop-mysql-main-user")
    database = get_resource(recorder, DATABASE["mysql"], "shop-mysql-main-database")
    assert user.urn in database.depends_on
    assert database.inputs["defaultCharacterSet"] == "utf8mb4"


def chosen(**keys: Any) -> dict[str, Any]:
    """A group on a server of the stack, of which more is said."""
    return {"server": {"kind": "external", "provisionOn": "hq", **keys}}


@engines
def test_the_user_may_choose_the_names_of_database_and_user(engine: str) -> None:
    recorder = record_stack(
        {
            "externalServers": {"hq": external_server(engine)},
            **groups(**{engine: {"main": chosen(database="store", username="keeper")}}),
        }
    )
    user, database = (
        get_resource(recorder, USER[engine], _user_name(engine)),
        get_resource(recorder, DATABASE[engine], f"shop-{engine}-main-database"),
    )
    assert (user.inputs["user"] if engine == "mysql" else user.inputs["name"]) == "keeper"
    assert database.inputs["name"] == "store"
    data = get_resource(recorder, SECRET, f"shop-{engine}-main-connection").inputs["data"]
    assert {key: b64decode(data[key]).decode() for key in ("username", "database")} == {
        "username": "keeper",
        "database": "store",
    }
    assert b64decode(data["uri"]).decode().endswith("/store")


RESERVED = {
    "mysql": ["mysql", "sys", "information_schema", "performance_schema", "root", "ndbinfo", "mysql_audit"],
    "postgresql": ["postgres", "public", "template0", "template1", "pg_monitor"],
}
UNSAFE = ["Shop", "1shop", "shop-main", "shop main", "shop`", "shop'", "_shop", "shop%", "é"]


@engines
@pytest.mark.parametrize("key", ["database", "username"])
def test_a_name_that_is_the_servers_own_or_not_safe_is_refused(engine: str, key: str) -> None:
    path = f"applications.shop.databases.{engine}.main.server.{key}"
    for name in RESERVED[engine]:
        raw = {
            "externalServers": {"hq": external_server(engine)},
            **groups(**{engine: {"main": chosen(**{key: name})}}),
        }
        assert config_issues(raw) == [f"{path}: {name!r} is the server's own; choose another name"]
    for name in UNSAFE:
        (line,) = config_issues(
            {"externalServers": {"hq": external_server(engine)}, **groups(**{engine: {"main": chosen(**{key: name})}})}
        )
        assert line.startswith(f"{path}: {name!r} is no name that is safe on every server")


@engines
def test_the_administrator_is_no_applications_user(engine: str) -> None:
    raw = {
        "externalServers": {"hq": external_server(engine)},
        **groups(**{engine: {"main": chosen(username="provisioner")}}),
    }
    assert config_issues(raw) == [
        f"applications.shop.databases.{engine}.main.server.username: 'provisioner' is the administrator of 'hq'; choose another name"
    ]


@engines
@pytest.mark.parametrize("key", ["database", "username"])
def test_two_groups_do_not_choose_one_name(engine: str, key: str) -> None:
    raw = {
        "externalServers": {"hq": external_server(engine)},
        **groups(**{engine: {"a": chosen(**{key: "shop_b"}), "b": provisioned_on("hq")}}),
    }
    (line,) = config_issues(raw)
    what = "user" if key == "username" else "database"
    assert line.startswith(f"applications.shop.databases.{engine}.b: takes the {what} 'shop_b' on that server")


def test_extensions_are_added_one_after_the_other_in_their_order() -> None:
    raw = {
        "externalServers": {"hq": external_server("postgresql")},
        **groups(postgresql={"main": chosen(extensions=["pg_trgm", "uuid-ossp"])}),
    }
    recorder = record_stack(raw)
    first, second = (
        get_resource(recorder, EXTENSION, f"shop-postgresql-main-extension-{name}") for name in ("pg_trgm", "uuid-ossp")
    )
    assert [(found.inputs["name"], found.inputs["database"]) for found in (first, second)] == [
        ("pg_trgm", "shop_main"),
        ("uuid-ossp", "shop_main"),
    ]
    assert get_resource(recorder, GRANT["postgresql"], "shop-postgresql-main-closed").urn in first.depends_on
    assert first.urn in second.depends_on


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (
            {
                "externalServers": {"hq": external_server("mysql")},
                **groups(mysql={"main": chosen(extensions=["pg_trgm"])}),
            },
            "mysql.main.server.extensions: have no meaning for mysql",
        ),
        (
            {
                "externalServers": {"hq": external_server("postgresql")},
                **groups(postgresql={"main": chosen(extensions=["a", "a"])}),
            },
            "postgresql.main.server.extensions: name one twice",
        ),
        (
            groups(postgresql={"main": {"server": existing_account("postgresql", extensions=["pg_trgm"])}}),
            "postgresql.main.server.extensions: are made on one of the stack's servers only; name one with 'on'",
        ),
        (
            {
                "externalServers": {"hq": external_server("postgresql")},
                **groups(postgresql={"main": chosen(extensions=['x"; DROP'])}),
            },
            "postgresql.main.server.extensions[0]: is no name of an extension, such as pg_trgm",
        ),
    ],
    ids=["mysql", "twice", "given", "no name"],
)
def test_extensions_that_cannot_be_are_told(raw: dict[str, Any], said: str) -> None:
    assert config_issues(raw) == [f"applications.shop.databases.{said}"]


@engines
def test_no_server_is_run_for_a_provisioned_group(engine: str) -> None:
    recorder = provisioned(engine)
    (group,) = recorder.resources_of_type(GROUP)
    kinds = {
        found.inputs["kind"]
        for found in recorder.registrations.values()
        if found.parent == group.urn and "kind" in found.inputs
    }
    assert kinds == {"Secret", "Service"}


@engines
def test_an_account_without_a_part_is_not_made(engine: str) -> None:
    spec = ExternalServerSpec.model_validate(external_server(engine), by_alias=True)

    def program() -> None:
        options = pulumi.ResourceOptions()
        with pytest.raises(ValueError, match="a user, a database and a password"):
            ExternalServer("hq", spec).provision(
                "x", Account(username="u"), pulumi.Output.secret("p"), data_opts=options, opts=options
            )

    run_program(program)
