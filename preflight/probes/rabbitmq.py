"""The probe of RabbitMQ."""

import logging

import pika
import pika.exceptions

from preflight.errors import AuthenticationRequiredError, ProbeError, UnexpectedProtocolError
from preflight.probe_context import ProbeContext
from preflight.probes.implicit_tls import probe_with_tls_modes

__all__ = ["probe"]

# The driver logs each failure with a traceback.
logging.getLogger("pika").setLevel(logging.CRITICAL + 1)


def probe(context: ProbeContext) -> None:
    """Log in and open the virtual host."""
    probe_with_tls_modes(context, _probe_session)


def _probe_session(context: ProbeContext) -> None:
    (host, port), timeout = context.target, context.login_timeout
    vhost = context.endpoint.account.get("vhost", "/")
    parameters = pika.ConnectionParameters(
        host=host,
        port=port,
        virtual_host=vhost,
        credentials=pika.PlainCredentials(context.login_name, context.password or ""),
        socket_timeout=timeout,
        stack_timeout=timeout,
        blocked_connection_timeout=timeout,
        connection_attempts=1,
    )
    try:
        pika.BlockingConnection(parameters).close()
    except (pika.exceptions.AMQPError, OSError) as error:
        raise _convert_error(context, _find_root_cause(error), vhost) from None
    except Exception as error:  # the driver may raise anything when it reads another protocol
        raise UnexpectedProtocolError(type(error).__name__) from None


def _find_root_cause(error: BaseException) -> BaseException:
    """Return the error that the driver wrapped in others."""
    candidates = (*error.args, getattr(error, "exception", None))
    inner = next((value for value in candidates if isinstance(value, BaseException)), None)
    return _find_root_cause(inner) if inner else error


def _convert_error(context: ProbeContext, error: BaseException, vhost: str) -> Exception:
    """Convert an error of the driver to one of this package."""
    message = context.redact(repr(error) if isinstance(error, pika.exceptions.AMQPError) else error)
    if isinstance(error, pika.exceptions.ProbableAuthenticationError | pika.exceptions.AuthenticationError):
        if context.username is None:
            return AuthenticationRequiredError(message)
        return ProbeError(
            f"the server rejected the login: {message}",
            "Correct `username` and `password` in the stack file. Check that the user exists and may log in from "
            "this machine: `guest` may log in from the server itself only (loopback_users). On the server:\n"
            f"  rabbitmqctl authenticate_user {context.username}\n  rabbitmqctl list_users",
        )
    if not isinstance(error, pika.exceptions.ProbableAccessDeniedError | pika.exceptions.ConnectionClosedByBroker):
        return UnexpectedProtocolError(message)
    if "limit" in message:
        return ProbeError(
            f"the server accepts no more connections: {message}",
            "Increase the connection limit of the user or of the virtual host:\n  rabbitmqctl list_vhost_limits",
        )
    return ProbeError(
        f"login succeeded, but the user cannot access the virtual host {vhost}: {message}",
        "Correct `vhost` in the stack file, or create the virtual host and grant the user access:\n"
        f"  rabbitmqctl add_vhost {vhost}\n"
        f"  rabbitmqctl set_permissions -p {vhost} {context.login_name} '.*' '.*' '.*'",
    )
