"""What is checked before anything is created: every address outside the cluster, each with the account that is used there."""

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pulumi
import pytest

from offline.recorder import run_program
from preflight.endpoint import Endpoint, Failure
from stacks import external_server_checks
from stacks.config import parse_stack
from stacks.external_server_checks import list_endpoints, main, require_reachable
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
)

FAILURE = Failure(
    path="servers.hq", endpoint="mysql.example.org:3306", tried="connecting", found="nothing", remedy="Start it."
)
CERTIFICATE = "-----BEGIN CERTIFICATE-----\nMIIBszCCAVmgAwIBAgIUQmFzZTY0\n-----END CERTIFICATE-----\n"
Before = dict[str, Any]


def found(raw: dict[str, Any], before: Before | None = None) -> list[Endpoint]:
    return list(list_endpoints(parse_stack(raw, encrypted=("applications", "externalServers")), before or {}))


def provisioned(*names: str, **keys: Any) -> dict[str, Any]:
    return {
        "externalServers": {"hq": external_server("mysql", **keys)},
        **groups(mysql={name: provisioned_on("hq") for name in names}),
    }


def test_servers_in_the_cluster_and_files_are_not_checked() -> None:
    assert (
        found(
            groups(
                mysql={"main": None},
                redis={"main": {"server": managed_server("redis", "dedicated")}},
                sqlite={"main": None},
            )
        )
        == []
    )


@pytest.mark.parametrize("engine", NETWORK_ENGINES)
def test_an_account_that_exists_is_checked_as_it_is_used(engine: str) -> None:
    given = existing_account(engine, port=17)
    (endpoint,) = found(stack_with_group(engine, given))
    assert (endpoint.path, endpoint.address) == (
        f"applications.shop.databases.{engine}.main.server",
        f"{engine}.example.org:17",
    )
    assert endpoint.engine == engine
    assert {key: given[key] for key in endpoint.account} == dict(endpoint.account)
    assert set(given) - set(endpoint.account) == {"kind", "host", "port"}
    assert not endpoint.administrator
    assert endpoint.wanted == ()


@pytest.mark.parametrize("engine", NETWORK_ENGINES)
def test_what_is_not_said_of_an_account_is_what_the_application_is_told(engine: str) -> None:
    (endpoint,) = found(stack_with_group(engine, existing_account(engine, whole=False)))
    assert {"redis": {"database": "0"}, "rabbitmq": {"vhost": "/"}}.get(engine, {}).items() <= endpoint.account.items()


def test_each_address_of_a_list_is_checked() -> None:
    hosts = ["10.1.2.3", "10.1.2.4"]
    assert [
        endpoint.host for endpoint in found(stack_with_group("redis", {"kind": "external", "host": hosts}))
    ] == hosts


def test_a_server_of_the_stack_is_checked_as_its_administrator_with_what_is_to_be_made() -> None:
    (endpoint,) = found(provisioned("main", "spare", tls="require"))
    assert (endpoint.path, endpoint.address, endpoint.tls, endpoint.administrator) == (
        "servers.hq",
        "mysql.example.org:3306",
        "require",
        True,
    )
    assert dict(endpoint.account) == {"username": "provisioner", "password": CANARY}
    assert [(wanted.path, wanted.username, wanted.database) for wanted in endpoint.wanted] == [
        ("applications.shop.databases.mysql.main", "shop_main", "shop_main"),
        ("applications.shop.databases.mysql.spare", "shop_spare", "shop_spare"),
    ]


def test_a_server_that_no_group_uses_is_checked_too() -> None:
    assert [
        endpoint.path
        for endpoint in found({"externalServers": {"hq": external_server("mysql")}, **stack_with_group("mysql")})
    ] == ["servers.hq"]


def test_every_address_of_a_server_is_checked_unless_the_administrator_has_a_way_of_its_own() -> None:
    hosts = ["10.1.2.3", "10.1.2.4"]
    first, second = found(provisioned("main", host=hosts))
    assert (first.host, first.administrator, first.path) == ("10.1.2.3", True, "servers.hq")
    assert (second.host, second.administrator, second.path) == ("10.1.2.4", False, "servers.hq.host")
    tunnel = {"username": "provisioner", "password": CANARY, "host": "127.0.0.1", "port": 13306}
    assert [endpoint.address for endpoint in found(provisioned("main", host=hosts, administrator=tunnel))] == [
        "127.0.0.1:13306"
    ]


def test_chosen_names_and_extensions_are_what_is_to_be_made() -> None:
    group = {
        "server": {
            "kind": "external",
            "provisionOn": "hq",
            "database": "store",
            "username": "keeper",
            "extensions": ["pg_trgm"],
        }
    }
    ((wanted,),) = (
        endpoint.wanted
        for endpoint in found(
            {"externalServers": {"hq": external_server("postgresql")}, **groups(postgresql={"main": group})}
        )
    )
    assert (wanted.database, wanted.username, wanted.extensions) == ("store", "keeper", ("pg_trgm",))


def test_what_the_last_update_made_may_be_there() -> None:
    before = parse_stack(provisioned("main")).outputs()
    (endpoint,) = found(provisioned("main", "spare"), before)
    assert [wanted.path for wanted in endpoint.wanted] == ["applications.shop.databases.mysql.spare"]
    elsewhere = {
        "externalServers": {"hq": external_server("mysql"), "other": external_server("mysql", host="other")},
        **groups(mysql={"main": provisioned_on("other")}),
    }
    assert [len(endpoint.wanted) for endpoint in found(elsewhere, before)] == [0, 1]


def test_the_authorities_are_checked_by(tmp_path: Path) -> None:
    path = tmp_path / "ca.crt"
    path.write_text(CERTIFICATE)
    raw = {
        "externalServers": {"hq": external_server("mysql", ca=str(path))},
        **stack_with_group("postgresql", {**EXISTING_SERVER, "caFile": str(path), "tls": "verify-full"}),
    }
    assert [(endpoint.ca, endpoint.tls) for endpoint in found(raw)] == [(str(path), "verify-full")] * 2


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> list[Sequence[Endpoint]]:
    """Servers that are never there; returns what was checked."""
    checked: list[Sequence[Endpoint]] = []

    def check(wanted: Sequence[Endpoint], seconds: float) -> list[Failure]:
        assert seconds <= 10
        checked.append(wanted)
        return [FAILURE]

    monkeypatch.setattr(reachability, "check", check)
    return checked


def test_an_update_fails_and_a_preview_warns(
    failing: list[Sequence[Endpoint]], monkeypatch: pytest.MonkeyPatch
) -> None:
    stack, warnings = parse_stack(provisioned("main")), list[str]()
    monkeypatch.setattr(pulumi.log, "warn", warnings.append)
    with pytest.raises(
        pulumi.RunError, match=r"(?s)servers\.hq \(mysql\.example\.org:3306\).*nothing was changed"
    ) as error:
        run_program(lambda: require_reachable(stack, {}))
    assert warnings == []
    monkeypatch.setattr(pulumi.runtime, "is_dry_run", lambda: True)
    run_program(lambda: require_reachable(stack, {}))
    (warning,) = warnings
    assert f"{warning}\nnothing was changed" == str(error.value)
    assert len(failing) == 2


def test_a_runner_that_reaches_no_server_checks_none(failing: list[Sequence[Endpoint]]) -> None:
    run_program(lambda: require_reachable(parse_stack({**provisioned("main"), "preflight": "none"}), {}))
    assert failing == []


@pytest.fixture
def pulumi_says(monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[int, str]]:
    """What commands of Pulumi's answer, by their first word."""
    answers: dict[str, tuple[int, str]] = {}

    def answered(command: list[str], **_options: object) -> Any:
        code, text = answers[command[1]]
        return subprocess.CompletedProcess(command, code, stdout=text, stderr=text)

    monkeypatch.setattr(subprocess, "run", answered)
    return answers


def test_the_command_checks_what_pulumi_says_of_the_stack(
    failing: list[Sequence[Endpoint]], pulumi_says: dict[str, tuple[int, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    raw = provisioned("main", "spare")
    pulumi_says["config"] = (
        0,
        json.dumps(
            {f"database-groups:{key}": {"value": json.dumps(value), "secret": True} for key, value in raw.items()}
        ),
    )
    pulumi_says["stack"] = (
        0,
        json.dumps({"deployment": {"resources": [*record_stack(provisioned("main")).component_states().values()]}}),
    )
    assert main(["production"]) == 1
    ((endpoint,),) = failing
    assert [wanted.database for wanted in endpoint.wanted] == ["shop_spare"]
    told = capsys.readouterr()
    assert "mysql.example.org:3306" in told.out
    assert CANARY not in told.out + told.err


def test_the_command_says_that_all_is_well(
    pulumi_says: dict[str, tuple[int, str]], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reachability, "check", lambda _endpoints, _seconds: [])
    pulumi_says["config"] = (
        0,
        json.dumps(
            {f"database-groups:{key}": {"value": json.dumps(value)} for key, value in provisioned("main").items()}
        ),
    )
    pulumi_says["stack"] = (0, '{"deployment": {}}')
    assert main(["production"]) == 0
    assert capsys.readouterr().out == "addresses of external servers that were checked: 1; each can be used\n"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((255, "error: no stack named 'x' found\n"), "error: no stack named 'x' found\n"),
        ((0, "{}"), "error: the stack's configuration has 1 mistake"),
    ],
    ids=["no stack", "no applications"],
)
def test_the_command_tells_why_it_cannot(
    answer: tuple[int, str], said: str, pulumi_says: dict[str, tuple[int, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    pulumi_says["config"] = answer
    assert main(["x"]) == 1
    assert capsys.readouterr().err.startswith(said)


def test_the_command_wants_one_stack(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "usage:" in capsys.readouterr().err
