"""Statements and logins on external servers during an update: attempts, messages and secrets."""

from collections.abc import Sequence
from typing import Any

import pulumi
import pytest

from components.engines.definition import Login
from preflight.errors import ProbeError
from preflight.models import Endpoint, Finding
from stacks import server_client
from stacks.config import parse_stack
from stacks.server_client import ExternalServerClient, create_client
from tests.support import CANARY, ENCRYPTED, external_server, groups, provisioned_on

LOGIN = Login(username="shop_main", password=CANARY, database="store")
REJECTED = ProbeError("the server rejected the login", "Correct it.")
ATTEMPTS = 3


@pytest.fixture(autouse=True)
def no_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_client, "RETRY_DELAYS_SECONDS", (0,) * (ATTEMPTS - 1))


class Servers:
    """Fake servers: they fail a number of times, and record the endpoints and the statements."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.calls: list[tuple[Any, ...]] = []

    def run_statements(self, endpoint: Endpoint, statements: Sequence[str], _timeout: float) -> list[tuple[int]]:
        self.calls.append((endpoint, *statements))
        if len(self.calls) <= self.failures:
            raise ProbeError(f"the server rejected a statement: near '{CANARY}'", "Check the server's log.")
        return [(1,)]

    def check(self, endpoints: Sequence[Endpoint], _timeout: float) -> list[Finding]:
        self.calls.append(tuple(endpoints))
        return [REJECTED.finding] if len(self.calls) <= self.failures else []


def hide_port(text: str) -> str:
    """Hide a value of the stack file, as if it was encrypted."""
    return text.replace("15432", "(hidden value)")


def build_client(
    monkeypatch: pytest.MonkeyPatch, failures: int, *, proves_logins: bool = True
) -> tuple[ExternalServerClient, list[tuple[Any, ...]]]:
    """Return a client of fake servers, and the calls that the servers get."""
    servers = Servers(failures)
    monkeypatch.setattr(server_client, "run_statements", servers.run_statements)
    monkeypatch.setattr(server_client, "check", servers.check)
    administrator = {"username": "provisioner", "password": "its-password", "host": "127.0.0.1", "port": 15432}
    raw = {
        "externalServers": {"hq": external_server("postgresql", tls="require", administrator=administrator)},
        **groups(postgresql={"main": provisioned_on("hq")}),
    }
    spec = parse_stack(raw, ENCRYPTED).spec.external_servers["hq"]
    client = create_client("hq", spec, proves_logins=proves_logins, hide_secrets=hide_port)
    return client, servers.calls


def test_administrator_runs_statements_at_its_own_address(monkeypatch: pytest.MonkeyPatch) -> None:
    client, calls = build_client(monkeypatch, failures=0)
    assert client.run("SELECT 1", "SELECT 2", database="store") == [(1,)]
    ((endpoint, *statements),) = calls
    assert statements == ["SELECT 1", "SELECT 2"]
    assert (endpoint.host, endpoint.port, endpoint.tls, endpoint.is_administrator) == (
        "127.0.0.1",
        15432,
        "require",
        True,
    )
    assert endpoint.account == {"username": "provisioner", "password": "its-password", "database": "store"}


def test_statements_are_repeated_after_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    client, calls = build_client(monkeypatch, failures=ATTEMPTS - 1)
    assert client.run("SELECT 1") == [(1,)]
    assert len(calls) == ATTEMPTS


def test_message_of_a_rejected_statement_has_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    client, calls = build_client(monkeypatch, failures=ATTEMPTS)
    with pytest.raises(pulumi.RunError) as error:
        client.run("SELECT 1", secrets=[CANARY])
    assert str(error.value) == (
        "externalServers.hq (127.0.0.1:(hidden value)): the server rejected a statement: near '***'"
    )
    assert len(calls) == ATTEMPTS


def test_login_uses_the_account_of_the_application(monkeypatch: pytest.MonkeyPatch) -> None:
    client, calls = build_client(monkeypatch, failures=0)
    client.require_login(LOGIN)
    ((endpoint,),) = calls
    assert endpoint.account == {"username": "shop_main", "password": CANARY, "database": "store"}
    assert (endpoint.is_administrator, endpoint.host) == (False, "127.0.0.1")


def test_rejected_login_stops_the_update(monkeypatch: pytest.MonkeyPatch) -> None:
    client, calls = build_client(monkeypatch, failures=ATTEMPTS)
    with pytest.raises(pulumi.RunError) as error:
        client.require_login(LOGIN)
    assert str(error.value) == (
        "externalServers.hq (127.0.0.1:(hidden value)): shop_main cannot log in: the server rejected the login\n"
        "fix: Correct it.\nthe Secret was not changed"
    )
    assert len(calls) == ATTEMPTS


def test_login_is_not_required_without_preflight_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    client, calls = build_client(monkeypatch, failures=ATTEMPTS, proves_logins=False)
    client.require_login(LOGIN)
    assert calls == []


@pytest.mark.parametrize(("failures", "expected"), [(0, True), (1, False)])
def test_question_for_a_login_is_asked_once(failures: int, expected: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second failed login could lock the account."""
    client, calls = build_client(monkeypatch, failures=failures)
    assert client.can_log_in(LOGIN) is expected
    assert len(calls) == 1


@pytest.mark.parametrize(("full_name", "has_client"), [("", False), ("acme/database-groups/shop", True)])
def test_only_a_run_of_pulumi_has_clients(full_name: str, has_client: bool) -> None:
    raw = {"externalServers": {"hq": external_server("mysql")}, **groups(mysql={"main": provisioned_on("hq")})}
    stack = parse_stack({**raw, "preflight": False}, ENCRYPTED, full_name=full_name)
    client = stack.applications[0].platform.external_servers["hq"]._client
    assert isinstance(client, ExternalServerClient) is has_client
    assert not (isinstance(client, ExternalServerClient) and client.proves_logins)
