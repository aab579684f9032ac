"""What an update does on an external server without Pulumi's provider: statements and logins in resource hooks."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pulumi

from components.engines.definition import Login
from components.external_servers import ExternalServerSpec
from preflight import check, run_statements
from preflight.errors import ProbeError, UnexpectedProtocolError
from preflight.models import Endpoint
from preflight.redaction import hide_values
from stacks.errors import format_path

__all__ = ["ExternalServerClient", "create_client"]

TIMEOUT_SECONDS = 10
RETRY_DELAYS_SECONDS = (1, 2, 4)
"""Seconds between attempts. For a moment, the provider can use all connections of the administrator."""


@dataclass(frozen=True, kw_only=True)
class ExternalServerClient:
    """The connections of one update to an external server. Implements `components.engines.definition.ServerClient`."""

    administrator: Endpoint
    proves_logins: bool
    """Whether a login must succeed before a Secret changes. False for a runner that cannot reach the databases."""
    hide_secrets: Callable[[str], str]
    """Returns a message without the encrypted values of the stack file."""

    def run(self, *statements: str, database: str | None = None, secrets: Sequence[str] = ()) -> list[tuple[Any, ...]]:
        """Run statements as the administrator, and return the rows of the last one. Raises pulumi.RunError."""
        account = {**self.administrator.account, **({"database": database} if database else {})}
        endpoint = replace(self.administrator, account=account)
        for delay in (*RETRY_DELAYS_SECONDS, None):
            try:
                return run_statements(endpoint, statements, TIMEOUT_SECONDS)
            except (ProbeError, UnexpectedProtocolError) as error:
                if delay is None:
                    message = f"{self.administrator.path} ({self.administrator.address}): {error}"
                    raise pulumi.RunError(self.hide_secrets(hide_values(message, secrets))) from None
                time.sleep(delay)
        raise AssertionError

    def can_log_in(self, login: Login) -> bool:
        """Return whether the server accepts a login. Try once."""
        return not check([self._build_endpoint(login)], TIMEOUT_SECONDS)

    def require_login(self, login: Login) -> None:
        """Raise pulumi.RunError unless the server accepts a login."""
        for delay in (*RETRY_DELAYS_SECONDS, None) if self.proves_logins else ():
            findings = check([self._build_endpoint(login)], TIMEOUT_SECONDS)
            if not findings:
                return
            if delay is None:
                result, fix = findings[0].result, findings[0].fix
                message = f"{self.administrator.path} ({self.administrator.address}): {login.username} cannot log in"
                text = f"{message}: {result}\nfix: {fix}\nthe Secret was not changed"
                raise pulumi.RunError(self.hide_secrets(text))
            time.sleep(delay)

    def _build_endpoint(self, login: Login) -> Endpoint:
        account = {"username": login.username, "password": login.password, "database": login.database}
        return replace(self.administrator, account=account, is_administrator=False)


def create_client(
    name: str, server: ExternalServerSpec, *, proves_logins: bool, hide_secrets: Callable[[str], str]
) -> ExternalServerClient:
    """Return the client of an entry of `externalServers`."""
    host, port = server.administrator_endpoint
    administrator = server.administrator
    return ExternalServerClient(
        administrator=Endpoint(
            path=format_path(("externalServers", name)),
            engine=server.engine,
            host=host,
            port=port,
            tls=server.tls,
            ca_file=server.ca_file.path if server.ca_file else None,
            account={"username": administrator.username, "password": administrator.password.get_secret_value()},
            is_administrator=True,
        ),
        proves_logins=proves_logins,
        hide_secrets=hide_secrets,
    )
