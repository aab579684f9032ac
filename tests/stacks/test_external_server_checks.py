"""Before an update, the program checks every address outside the cluster with the account that uses it."""

from pathlib import Path
from typing import Any

import pytest

from preflight.models import Endpoint
from stacks.config import parse_stack
from stacks.external_server_checks import list_endpoints
from stacks.previous_state import PreviousState
from tests.support import (
    CANARY,
    EXISTING_SERVER,
    NETWORK_ENGINES,
    existing_account,
    external_server,
    groups,
    managed_server,
    provisioned_on,
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


def test_check_uses_the_ca_file(tmp_path: Path) -> None:
    path = tmp_path / "ca.crt"
    path.write_text(CERTIFICATE)
    raw = {
        "externalServers": {"hq": external_server("mysql", caFile=str(path))},
        **stack_with_group("postgresql", {**EXISTING_SERVER, "caFile": str(path), "tls": "verify-full"}),
    }
    assert [(endpoint.ca_file, endpoint.tls) for endpoint in endpoints(raw)] == [(str(path), "verify-full")] * 2
