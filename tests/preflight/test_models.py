"""The values of a check."""

from dataclasses import replace
from typing import get_args

import pytest

from components.tls import TlsMode as ComponentTlsMode
from preflight.models import SECRET_KEYS, Endpoint, PlannedDatabase, TlsMode
from stacks.errors import SECRET_KEYS as STACK_SECRET_KEYS
from tests.support import CANARY


def test_tls_modes_and_secret_keys_are_those_of_the_stack_file() -> None:
    assert get_args(TlsMode) == get_args(ComponentTlsMode)
    assert SECRET_KEYS == STACK_SECRET_KEYS


def test_an_endpoint_does_not_show_its_account() -> None:
    endpoint = Endpoint(path="it", engine="mysql", host="h", port=1, account={"username": "shop", "password": CANARY})
    planned = (PlannedDatabase(path="p", username="u", database="d"),)
    assert CANARY not in repr(endpoint)
    assert replace(endpoint, planned_databases=planned).account["password"] == CANARY


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("db.example.org", "db.example.org:3306"),
        ("10.0.0.1", "10.0.0.1:3306"),
        ("fd00::1", "[fd00::1]:3306"),
    ],
)
def test_an_address_has_brackets_around_ipv6(host: str, address: str) -> None:
    assert Endpoint(path="it", engine="mysql", host=host, port=3306).address == address
