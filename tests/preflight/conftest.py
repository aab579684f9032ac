"""Servers that the checks are tried on."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e.servers import DatabaseServer, lab_server
from tests.e2e.tls import Authority, Secured, mysql_with_tls, postgresql_with_tls
from tests.preflight.fakes import Fake, Handler, serving


@pytest.fixture(scope="session")
def server() -> Callable[[str], DatabaseServer]:
    """A database server of the lab by its name."""
    return lab_server


@pytest.fixture
def fake() -> Iterator[Callable[[Handler], Fake]]:
    """Something that listens on 127.0.0.1, by what it does with a connection."""
    with ExitStack() as stack:
        yield lambda handler: stack.enter_context(serving(handler))


@pytest.fixture(scope="module")
def authority() -> Authority:
    """An authority that no machine knows."""
    return Authority()


@pytest.fixture(scope="module")
def secured_postgresql(authority: Authority) -> Iterator[Secured]:
    """PostgreSQL with a certificate for localhost."""
    with postgresql_with_tls(authority, "localhost") as secured:
        yield secured


@pytest.fixture
def secured_mysql(authority: Authority, tmp_path: Path) -> Iterator[Secured]:
    """The lab's MySQL, with a certificate for its name."""
    with mysql_with_tls(lab_server("mysql"), tmp_path, authority) as secured:
        yield secured
