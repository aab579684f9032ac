"""Before an update, the program checks every address outside the cluster with the account that uses it."""

from pathlib import Path
from typing import Any

import pulumi
import pytest

from components.persisted.names import DATABASE_RECORD_TYPE
from preflight.models import Endpoint, ProvisionedDatabase
from stacks.config import parse_stack
from stacks.external_server_checks import list_endpoints, require_no_adoption
from stacks.previous_state import PreviousState, collect_component_outputs
from tests.support import (
    CANARY,
    EXISTING_SERVER,
    NETWORK_ENGINES,
    existing_account,
    external_server,
    groups,
    managed_server,
    provisioned_on,
    record_stack,
    stack_with_group,
    stack_with_provisioned_group,
)

CERTIFICATE = "-----BEGIN CERTIFICATE-----\nMIIBszCCAVmgAwIBAgIUQmFzZTY0\n-----END CERTIFICATE-----\n"
HOSTS = ["10.1.2.3", "10.1.2.4"]
TUNNEL = {"username": "provisioner", "password": CANARY, "host": "127.0.0.1", "port": 13306}


def endpoints(raw: dict[str, Any], previous: PreviousState | None = None) -> list[Endpoint]:
    return list(list_endpoints(parse_stack(raw), previous or {}))


def provision(*names: str, **server: Any) -> dict[str, Any]:
    return {
        "externalServers": {"hq": external_server("mysql", **server)},
        **groups(mysql={name: provisioned_on("hq") for name in names}),
    }


def test_servers_in_the_cluster_are_not_checked() -> None:
    redis = {"main": {"server": managed_server("redis", "dedicated")}}
    assert endpoints(groups(mysql={"main": None}, redis=redis, sqlite={"main": None})) == []


@pytest.mark.parametrize("engine", NETWORK_ENGINES)
def test_existing_account_is_checked(engine: str) -> None:
    account = existing_account(engine, port=17)
    (endpoint,) = endpoints(stack_with_group(engine, account))
    assert endpoint.path == f"applications.shop.databases.{engine}.main.server"
    assert (endpoint.engine, endpoint.address) == (engine, f"{engine}.example.org:17")
    assert dict(endpoint.account) == {key: account[key] for key in set(account) - {"kind", "host", "port"}}
    assert not endpoint.is_administrator
    assert endpoint.planned_databases == ()


@pytest.mark.parametrize(("engine", "defaults"), [("redis", {"database": "0"}), ("rabbitmq", {"vhost": "/"})])
def test_existing_account_is_checked_with_its_defaults(engine: str, defaults: dict[str, str]) -> None:
    (endpoint,) = endpoints(stack_with_group(engine, existing_account(engine, whole=False)))
    assert defaults.items() <= endpoint.account.items()


def test_each_address_of_an_existing_account_is_checked() -> None:
    raw = stack_with_group("redis", {"kind": "external", "host": HOSTS})
    assert [endpoint.host for endpoint in endpoints(raw)] == HOSTS


def test_administrator_is_checked_with_the_planned_databases() -> None:
    (endpoint,) = endpoints(provision("main", "spare", tls="require"))
    assert (endpoint.path, endpoint.address) == ("externalServers.hq", "mysql.example.org:3306")
    assert (endpoint.tls, endpoint.is_administrator) == ("require", True)
    assert dict(endpoint.account) == {"username": "provisioner", "password": CANARY}
    assert [(planned.path, planned.username, planned.database) for planned in endpoint.planned_databases] == [
        ("applications.shop.databases.mysql.main", "shop_main", "shop_main"),
        ("applications.shop.databases.mysql.spare", "shop_spare", "shop_spare"),
    ]


def test_unused_server_is_checked() -> None:
    raw = {"externalServers": {"hq": external_server("mysql")}, **stack_with_group("mysql")}
    assert [endpoint.path for endpoint in endpoints(raw)] == ["externalServers.hq"]


def test_each_address_of_a_server_is_checked_unless_the_administrator_has_its_own() -> None:
    first, second = endpoints(provision("main", host=HOSTS))
    assert (first.host, first.is_administrator, first.path) == (HOSTS[0], True, "externalServers.hq")
    assert (second.host, second.is_administrator, second.path) == (HOSTS[1], False, "externalServers.hq.host")
    (tunnel,) = endpoints(provision("main", host=HOSTS, administrator=TUNNEL))
    assert tunnel.address == "127.0.0.1:13306"


def test_planned_database_has_the_chosen_names_and_extensions() -> None:
    keys: dict[str, Any] = {"database": "store", "username": "keeper", "extensions": ["pg_trgm"]}
    ((planned,),) = (
        endpoint.planned_databases for endpoint in endpoints(stack_with_provisioned_group("postgresql", **keys))
    )
    assert (planned.database, planned.username, planned.extensions) == ("store", "keeper", ("pg_trgm",))


def test_database_of_the_previous_state_is_not_planned() -> None:
    previous = parse_stack(provision("main")).outputs
    (endpoint,) = endpoints(provision("main", "spare"), previous)
    assert [planned.path for planned in endpoint.planned_databases] == ["applications.shop.databases.mysql.spare"]
    elsewhere = {
        "externalServers": {"hq": external_server("mysql"), "other": external_server("mysql", host="other")},
        **groups(mysql={"main": provisioned_on("other")}),
    }
    assert [len(endpoint.planned_databases) for endpoint in endpoints(elsewhere, previous)] == [0, 1]


def record_state(raw: dict[str, Any], *parts: str, is_recorded: bool = True) -> PreviousState:
    """Return the state after an update of a stack, with some of the provider's resources."""
    components = record_stack(raw).resource_states()
    resources = [
        {"urn": urn, **component}
        for urn, component in components.items()
        if is_recorded or component["type"] != DATABASE_RECORD_TYPE
    ]
    types = {"user": "mysql:index/user:User", "database": "mysql:index/database:Database"}
    for part in parts:
        urn = f"urn:pulumi:stack::project::{types[part]}::shop-mysql-main-{part}"
        resources.append({"urn": urn, "type": types[part], "outputs": {}})
    return collect_component_outputs(resources)


@pytest.mark.parametrize("parts", [(), ("user",), ("database",), ("user", "database")])
@pytest.mark.parametrize("recreate", [False, True])
def test_database_of_an_earlier_update_must_exist(parts: tuple[str, ...], *, recreate: bool) -> None:
    raw = provision("main")
    previous = record_state(raw, *parts)
    group = raw["applications"]["shop"]["databases"]["mysql"]["main"]
    group["recreate"] = recreate
    group["server"] |= {"database": "other", "username": "other"}
    (endpoint,) = endpoints(raw, previous)
    assert endpoint.planned_databases == ()
    assert endpoint.provisioned_databases == (
        ProvisionedDatabase(
            path="applications.shop.databases.mysql.main",
            username="shop_main",
            second_username="shop_main__b",
            database="shop_main",
            recreate=recreate,
            is_user_in_state="user" in parts,
            is_database_in_state="database" in parts,
        ),
    )


@pytest.mark.parametrize("parts", [(), ("user",), ("user", "database")])
def test_only_what_the_state_has_must_exist_after_an_interruption(parts: tuple[str, ...]) -> None:
    """An interrupted update has recorded the group, but not its database; an interrupted destroy deletes the record."""
    previous = record_state(provision("main"), *parts, is_recorded=False)
    (endpoint,) = endpoints(provision("main"), previous)
    assert endpoint.planned_databases == ()
    found = [
        (each.is_recorded, each.is_user_in_state, each.is_database_in_state) for each in endpoint.provisioned_databases
    ]
    assert found == ([(False, "user" in parts, "database" in parts)] if parts else [])


@pytest.mark.parametrize("server", [existing_account("mysql"), {"kind": "external", "provisionOn": "other"}])
def test_database_of_a_removed_or_moved_group_need_not_exist(server: dict[str, Any]) -> None:
    servers = {"hq": external_server("mysql"), "other": external_server("mysql", host="other")}
    previous = record_state(provision("main"))
    for databases in ({"redis": {"main": None}}, {"mysql": {"main": {"server": server}}}):
        checked = endpoints({"externalServers": servers, **groups(**databases)}, previous)
        assert [endpoint.provisioned_databases for endpoint in checked if endpoint.is_administrator] == [(), ()]


def test_check_uses_the_ca_file(tmp_path: Path) -> None:
    path = tmp_path / "ca.crt"
    path.write_text(CERTIFICATE)
    raw = {
        "externalServers": {"hq": external_server("mysql", caFile=str(path))},
        **stack_with_group("postgresql", {**EXISTING_SERVER, "caFile": str(path), "tls": "verify-full"}),
    }
    assert [(endpoint.ca_file, endpoint.tls) for endpoint in endpoints(raw)] == [(str(path), "verify-full")] * 2


def build_adopting_stack(**keys: Any) -> dict[str, Any]:
    adopting = provisioned_on("hq", adopt=True)
    return {"externalServers": {"hq": external_server("postgresql")}, **groups(postgresql={"main": adopting}), **keys}


def read_recorded_state(raw: dict[str, Any]) -> PreviousState:
    """Return the state after an update."""
    components = record_stack(raw).resource_states()
    return collect_component_outputs({"urn": urn, **state} for urn, state in components.items())


def test_adopted_database_must_exist_until_it_is_deployed() -> None:
    stack = parse_stack(build_adopting_stack())
    for previous in ({}, stack.outputs):  # a failed update leaves no record of the database
        (administrator,) = (found for found in list_endpoints(stack, previous) if found.is_administrator)
        (adopted,) = administrator.provisioned_databases
        assert (adopted.adopt, adopted.database, adopted.username) == (True, "shop_main", "shop_main")
        assert (adopted.is_database_in_state, adopted.is_user_in_state) == (False, False)
        assert administrator.planned_databases == ()
    recorded = read_recorded_state(build_adopting_stack())
    (administrator,) = (found for found in list_endpoints(stack, recorded) if found.is_administrator)
    (deployed,) = administrator.provisioned_databases
    assert deployed.adopt is False


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        (("user",), (True, True, False, True)),
        (("user", "database"), (False, False, True, True)),
    ],
)
def test_interrupted_adoption_is_continued(parts: tuple[str, ...], expected: tuple[bool, ...]) -> None:
    """What the state has is not taken over a second time."""
    servers = {"hq": external_server("mysql")}
    raw = {"externalServers": servers, **groups(mysql={"main": provisioned_on("hq", adopt=True)})}
    previous = record_state(raw, *parts, is_recorded=False)
    (administrator,) = (found for found in endpoints(raw, previous) if found.is_administrator)
    (found,) = administrator.provisioned_databases
    assert (found.adopt, found.is_recorded, found.is_database_in_state, found.is_user_in_state) == expected


def test_adoption_needs_the_checks() -> None:
    stack = parse_stack(build_adopting_stack(preflight=False))
    with pytest.raises(pulumi.RunError, match=r"server\.adopt: not supported with `preflight: false`"):
        require_no_adoption(stack, {})
    require_no_adoption(stack, read_recorded_state(build_adopting_stack()))
