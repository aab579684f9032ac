"""Fixtures for the servers that the tests check."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e.servers import DatabaseServer, lab_server
from tests.e2e.tls import Authority, Secured, mysql_with_tls, postgresql_with_tls
from tests.preflight.fakes import MakeFake, serve


@pytest.fixture(scope="session")
def server() -> Callable[[str], DatabaseServer]:
    """Return a function that finds a real database server by its name."""
    return lab_server


@pytest.fixture
def fake() -> Iterator[MakeFake]:
    """Return a function that starts a fake server on 127.0.0.1 with a handler for its connections."""
    with ExitStack() as stack:
        yield lambda handler: stack.enter_context(serve(handler))


@pytest.fixture(scope="module")
def authority() -> Authority:
    """Return a CA that is not in the system's CA certificates."""
    return Authority()


@pytest.fixture(scope="module")
def secured_postgresql(authority: Authority) -> Iterator[Secured]:
    """Start a PostgreSQL server with a certificate for localhost."""
    with postgresql_with_tls(authority, "localhost") as secured:
        yield secured


@pytest.fixture
def secured_mysql(authority: Authority, tmp_path: Path) -> Iterator[Secured]:
    """Give the real MySQL server a certificate for its name."""
    with mysql_with_tls(lab_server("mysql"), tmp_path, authority) as secured:
        yield secured
