"""RabbitMQ."""

import logging
import ssl
from collections.abc import Iterator

import pika
import pika.exceptions

from preflight.attempt import Attempt, Stranger, Trouble
from preflight.probes.direct import spoken

__all__ = ["troubles"]

NOBODY = "database-groups"
"""The user of those who have no account and only want to be answered."""

# It tells of each failure itself, with a traceback.
logging.getLogger("pika").setLevel(logging.CRITICAL + 1)


def troubles(attempt: Attempt) -> Iterator[Trouble]:
    """Logs in and opens the virtual host."""
    attempt.trying(
        f"logging in as {attempt.username}" if attempt.username else "speaking to RabbitMQ",
        "The server takes connections and does not answer: see whether it has started, and its alarms (`rabbitmq-diagnostics alarms`).",
    )
    yield from spoken(attempt, lambda context: _speak(attempt, context))


def _speak(attempt: Attempt, context: ssl.SSLContext | None) -> Iterator[Trouble]:
    endpoint, patience = attempt.endpoint, attempt.patience
    parameters = pika.ConnectionParameters(
        host=endpoint.host if context else attempt.address,
        port=endpoint.port,
        virtual_host=_vhost(attempt),
        credentials=pika.PlainCredentials(attempt.username or NOBODY, attempt.password or ""),
        socket_timeout=patience,
        stack_timeout=patience,
        blocked_connection_timeout=patience,
        connection_attempts=1,
    )
    parameters.ssl_options = pika.SSLOptions(context, endpoint.host) if context else None
    try:
        pika.BlockingConnection(parameters).close()
    except (pika.exceptions.AMQPError, OSError) as error:
        refusal = _refusal(attempt, _cause(error))
        if refusal:
            raise refusal from None
    except Exception as error:  # an answer of another protocol ends in whatever comes of reading it
        raise Stranger(type(error).__name__) from None
    yield from ()


def _vhost(attempt: Attempt) -> str:
    return attempt.endpoint.account.get("vhost", "/")


def _cause(error: BaseException) -> BaseException:
    """The error that another one was wrapped around."""
    inner = next((value for value in (*error.args, getattr(error, "exception", None)) if isinstance(value, BaseException)), None)
    return _cause(inner) if inner else error


def _refusal(attempt: Attempt, error: BaseException) -> Exception | None:
    """Why there is no login. None where an answer was all that was wanted."""
    said = attempt.quoted(repr(error) if isinstance(error, pika.exceptions.AMQPError) else error)
    user, vhost = attempt.username or NOBODY, _vhost(attempt)
    if isinstance(error, pika.exceptions.ProbableAuthenticationError | pika.exceptions.AuthenticationError):
        return _denied(attempt, said)
    if isinstance(error, pika.exceptions.ProbableAccessDeniedError | pika.exceptions.ConnectionClosedByBroker):
        if "limit" in said:
            return Trouble(
                f"the server takes no more connections: {said}", "Raise the limit of the user or of the virtual host:\n  rabbitmqctl list_vhost_limits"
            )
        return Trouble(
            f"the login is good, but not for the virtual host {vhost}: {said}",
            f"Correct `vhost:` in the stack file, or make it and let the user in:\n  rabbitmqctl add_vhost {vhost}\n  rabbitmqctl "
            f"set_permissions -p {vhost} {user} '.*' '.*' '.*'",
        )
    return Stranger(said)


def _denied(attempt: Attempt, said: str) -> Trouble | None:
    if attempt.username is None:
        return None
    return Trouble(
        f"the login was refused: {said}",
        "Either the password in the stack file is wrong, or the server admits this account from other addresses only (`guest` from its own "
        "machine only: loopback_users), or there is no such user. On the server:\n"
        f"  rabbitmqctl authenticate_user {attempt.username}\n  rabbitmqctl list_users",
    )
