"""The probe of MongoDB."""

import ssl
from typing import Any

import pymongo
from pymongo.errors import ConfigurationError, OperationFailure, PyMongoError

from preflight.errors import ProbeError, UnexpectedProtocolError
from preflight.probe_context import ProbeContext
from preflight.probes.implicit_tls import probe_with_tls_modes
from preflight.tls import find_system_ca_file

__all__ = ["probe"]

AUTHENTICATION_FAILED_CODE = 18
UNAUTHORIZED_CODE = 13


def probe(context: ProbeContext) -> None:
    """Log in to the database. Without an account, check whether the server requires one."""
    probe_with_tls_modes(context, lambda ssl_context: _probe_session(context, ssl_context))


def _probe_session(context: ProbeContext, ssl_context: ssl.SSLContext | None) -> None:
    database = context.database or "admin"
    try:
        with _create_client(context, ssl_context) as client:
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


def _create_client(context: ProbeContext, ssl_context: ssl.SSLContext | None) -> "pymongo.MongoClient[dict[str, Any]]":
    endpoint, timeout_milliseconds = context.endpoint, int(context.login_timeout * 1000)
    is_verified = ssl_context is not None and ssl_context.verify_mode == ssl.CERT_REQUIRED
    options: dict[str, Any] = {"tls": True} if ssl_context else {}
    if is_verified:
        options |= {"tlsCAFile": endpoint.ca_file or find_system_ca_file()}
    elif ssl_context:
        options |= {"tlsInsecure": True}
    if context.username:
        options |= {"username": context.username, "password": context.password}
        options |= {"authSource": context.database or "admin"}
    return pymongo.MongoClient(
        endpoint.host if is_verified else context.address,
        endpoint.port,
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
    return ProbeError(f"the server reports an error: {message}", "Check the server's log.")
