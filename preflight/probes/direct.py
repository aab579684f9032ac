"""Engines whose connections are TLS from the first byte or not at all."""

import ssl
from collections.abc import Callable, Iterator

from preflight.answers import has_tls
from preflight.attempt import Attempt, NoTls, Stranger, Trouble
from preflight.certificates import verified
from preflight.tls import trusting, verifying

__all__ = ["spoken"]


def spoken(attempt: Attempt, speak: Callable[[ssl.SSLContext | None], Iterator[Trouble]]) -> Iterator[Trouble]:
    """Speaks with TLS as it is wanted; where nothing is said of it without, and then with. Raises Trouble or Stranger."""
    tls = attempt.endpoint.tls
    if tls in ("require", "verify-full"):
        if not has_tls(attempt):
            raise NoTls("it does not answer in TLS")
        yield from speak(_verified(attempt) if tls == "verify-full" else trusting())
        return
    try:
        yield from speak(None)
    except Stranger:
        if tls == "disable" or not has_tls(attempt):
            raise
        yield from speak(trusting())


def _verified(attempt: Attempt) -> ssl.SSLContext:
    """The context that verifies, after it has. Raises Trouble."""
    verified(attempt, lambda context: _handshake(attempt, context))
    return verifying(attempt.endpoint.ca)


def _handshake(attempt: Attempt, context: ssl.SSLContext) -> None:
    with attempt.connect() as connection, context.wrap_socket(connection, server_hostname=attempt.endpoint.host):
        pass
