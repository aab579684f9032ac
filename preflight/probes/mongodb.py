"""The probe of MongoDB."""

from typing import Any

import pymongo
from pymongo.errors import ConfigurationError, OperationFailure, PyMongoError

from preflight.errors import ProbeError, UnexpectedProtocolError
from preflight.probe_context import ProbeContext
from preflight.probes.implicit_tls import probe_with_tls_modes

__all__ = ["probe"]

AUTHENTICATION_FAILED_CODE = 18
UNAUTHORIZED_CODE = 13
MECHANISM_UNAVAILABLE_CODE = 334


def probe(context: ProbeContext) -> None:
    """Log in to the database. Without an account, check whether the server requires one."""
    probe_with_tls_modes(context, _probe_session)


def _probe_session(context: ProbeContext) -> None:
    database = context.database or "admin"
    try:
        with _create_client(context) as client:
            client[database].command("ping" if context.username else "listCollections")
    except OperationFailure as error:
        raise _explain_error(context, error, database) from None
    except ConfigurationError as error:
        result = f"the driver rejected the account: {context.redact(error)}"
        raise ProbeError(result, "Correct `username` and `password` in the stack file.") from None
    except (PyMongoError, OSError) as error:
        raise UnexpectedProtocolError(context.redact(error)) from None
    except Exception as error:  # the driver may raise anything when it reads another protocol
        raise UnexpectedProtocolError(type(error).__name__) from None


def _create_client(context: ProbeContext) -> "pymongo.MongoClient[dict[str, Any]]":
    timeout_milliseconds = int(context.login_timeout * 1000)
    options: dict[str, Any] = {}
    if context.username:
        options |= {"username": context.username, "password": context.password}
        options |= {"authSource": context.database or "admin"}
    return pymongo.MongoClient(
        *context.target,
        directConnection=True,
        serverSelectionTimeoutMS=timeout_milliseconds,
        connectTimeoutMS=timeout_milliseconds,
        socketTimeoutMS=timeout_milliseconds,
        retryReads=False,
        appname="database-groups",
        **options,
    )


def _explain_error(context: ProbeContext, error: OperationFailure, database: str) -> ProbeError:
    message = context.redact((error.details or {}).get("errmsg") or error)
    if error.code == AUTHENTICATION_FAILED_CODE:
        return ProbeError(
            f"the server rejected the login: {message}",
            "Correct `username` and `password` in the stack file. Check that the user exists in the database "
            f"{database}, where it must have been created, and that it may log in from this machine "
            f"(authenticationRestrictions). In mongosh:\n  use {database}\n  db.getUsers()",
        )
    if error.code == UNAUTHORIZED_CODE and not context.username:
        return ProbeError(
            f"the server requires authentication; no credentials are configured: {message}",
            "Set `username` and an encrypted `password` in the stack file.",
        )
    if error.code == MECHANISM_UNAVAILABLE_CODE:
        return ProbeError(
            f"the server does not offer the user's authentication mechanism: {message}",
            "Enable SCRAM on the server, and set the user's password again:\n"
            "  setParameter: {authenticationMechanisms: SCRAM-SHA-256}",
        )
    return ProbeError(f"the server reports an error: {message}", "Check the server's log.")
