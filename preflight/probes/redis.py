"""The probe of Redis and Valkey."""

import redis
from redis.backoff import NoBackoff
from redis.exceptions import NoPermissionError
from redis.retry import Retry

from preflight.errors import ProbeError, UnexpectedProtocolError
from preflight.probe_context import ProbeContext
from preflight.probes.implicit_tls import probe_with_tls_modes
from preflight.service_detection import read_greeting

__all__ = ["probe"]

AUTHENTICATION_REQUIRED_MESSAGES = ("NOAUTH", "Authentication required")
LOGIN_REJECTED_MESSAGES = (
    "WRONGPASS",
    "invalid username-password",
    "invalid password",
    "AUTH",
    "without any password configured",
)


def probe(context: ProbeContext) -> None:
    """Log in, select the database and send PING."""
    if not context.password:
        context.set_step("sending PING")
    probe_with_tls_modes(context, _probe_session)


def _probe_session(context: ProbeContext) -> None:
    client = _create_client(context)
    try:
        with client:
            client.ping()
    except NoPermissionError:
        return  # the login succeeded; the application needs no right to send PING
    except redis.BusyLoadingError as error:
        raise ProbeError(
            f"the server is not ready: {context.redact(error)}",
            "Wait until the server has loaded its data, then run the check again.",
        ) from None
    except (redis.AuthenticationError, redis.ResponseError) as error:
        _require_connection(str(error))
        raise _convert_error(context, error) from None
    except (redis.RedisError, OSError) as error:
        _require_connection(str(error))
        _require_connection(read_greeting(context))
        raise UnexpectedProtocolError(context.redact(error)) from None
    except Exception as error:  # the driver may raise anything when it reads another protocol
        raise UnexpectedProtocolError(type(error).__name__) from None


def _create_client(context: ProbeContext) -> "redis.Redis":
    host, port = context.target
    return redis.Redis(
        host=host,
        port=port,
        username=context.username,
        password=context.password,
        db=_parse_database_number(context),
        socket_timeout=context.login_timeout,
        socket_connect_timeout=context.login_timeout,
        retry=Retry(NoBackoff(), 0),
        protocol=2,
        driver_info=None,
    )


def _parse_database_number(context: ProbeContext) -> int:
    database = context.database or "0"
    if not database.isdecimal():
        raise ProbeError(
            "a Redis database is a number", "Set `database` to a number from 0 to 15, or to the server's own limit."
        )
    return int(database)


def _convert_error(context: ProbeContext, error: redis.RedisError) -> Exception:
    """Convert an error that the server reports."""
    text, message = str(error), context.redact(error)
    if any(part in text for part in AUTHENTICATION_REQUIRED_MESSAGES) and not context.password:
        return ProbeError(
            f"the server requires authentication; no credentials are configured: {message}",
            "Set an encrypted `password` in the stack file, and `username` if the server has ACL users.",
        )
    if "DB index" in text:
        return ProbeError(
            f"login succeeded, but the database does not exist: {message}",
            "Correct `database` in the stack file, or increase `databases` in redis.conf.",
        )
    if any(part in text for part in LOGIN_REJECTED_MESSAGES + AUTHENTICATION_REQUIRED_MESSAGES):
        return ProbeError(
            f"the server rejected the login: {message}",
            "Correct `username` (default: `default`) and `password` in the stack file. If the server has no "
            f"password, remove them. On the server:\n  ACL GETUSER {context.username or 'default'}",
        )
    if "unknown command" in text:
        return UnexpectedProtocolError(message)
    return ProbeError(f"the server reports an error: {message}", "Check the server's log.")


def _require_connection(message: str) -> None:
    """Raise ProbeError if the server rejected the connection before the login."""
    if "max number of clients" in message:
        raise ProbeError(
            "the server accepts no more connections: max number of clients reached",
            "Close idle connections, or increase `maxclients`:\n  CLIENT LIST\n  CONFIG GET maxclients",
        ) from None
    if "protected mode" in message:
        raise ProbeError(
            "the server is in protected mode: without a password it accepts connections from its own machine only",
            "Set a password on the server (`requirepass` or an ACL user) and in the stack file.",
        ) from None
