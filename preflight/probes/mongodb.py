"""MongoDB."""

import ssl
from collections.abc import Iterator
from typing import Any

import pymongo
from pymongo.errors import ConfigurationError, OperationFailure, PyMongoError

from preflight.attempt import Attempt, Stranger, Trouble
from preflight.probes.direct import spoken
from preflight.tls import machine_authorities

__all__ = ["troubles"]

REFUSED = 18
UNAUTHORIZED = 13


def troubles(attempt: Attempt) -> Iterator[Trouble]:
    """Logs in to the database; without an account, sees whether it wants one."""
    attempt.trying(
        f"logging in as {attempt.username}" if attempt.username else "speaking to MongoDB",
        "The server takes connections and does not answer: see what it is busy with (db.currentOp()), and what stands in its log.",
    )
    yield from spoken(attempt, lambda context: _speak(attempt, context))


def _speak(attempt: Attempt, context: ssl.SSLContext | None) -> Iterator[Trouble]:
    database = attempt.database or "admin"
    try:
        with _client(attempt, context) as client:
            client[database].command("ping" if attempt.username else "listCollections")
    except OperationFailure as error:
        raise _refusal(attempt, error, database) from None
    except ConfigurationError as error:
        raise Trouble(f"the account cannot be used: {attempt.quoted(error)}", "Correct username and password in the stack file.") from None
    except (PyMongoError, OSError) as error:
        raise Stranger(attempt.quoted(error)) from None
    except Exception as error:  # an answer of another protocol ends in whatever comes of reading it
        raise Stranger(type(error).__name__) from None
    yield from ()


def _client(attempt: Attempt, context: ssl.SSLContext | None) -> "pymongo.MongoClient[dict[str, Any]]":
    endpoint, milliseconds = attempt.endpoint, int(attempt.patience * 1000)
    verify = context is not None and context.verify_mode == ssl.CERT_REQUIRED
    options: dict[str, Any] = {"tls": True} if context else {}
    if verify:
        options |= {"tlsCAFile": endpoint.ca or machine_authorities()}
    elif context:
        options |= {"tlsInsecure": True}
    if attempt.username:
        options |= {"username": attempt.username, "password": attempt.password, "authSource": attempt.database or "admin"}
    return pymongo.MongoClient(
        endpoint.host if verify else attempt.address,
        endpoint.port,
        directConnection=True,
        serverSelectionTimeoutMS=milliseconds,
        connectTimeoutMS=milliseconds,
        socketTimeoutMS=milliseconds,
        retryReads=False,
        appname="database-groups",
        **options,
    )


def _refusal(attempt: Attempt, error: OperationFailure, database: str) -> Trouble:
    """What the server's own error means."""
    said = attempt.quoted((error.details or {}).get("errmsg") or error)
    if error.code == REFUSED:
        return Trouble(
            f"the login was refused: {said}",
            f"Either the password in the stack file is wrong, or there is no such user in the database {database} (a user belongs to the "
            f"database in which it was "
            "made), or the server admits this account from other addresses only (authenticationRestrictions). In mongosh:\n"
            f"  use {database}\n  db.getUsers()",
        )
    if error.code == UNAUTHORIZED and not attempt.username:
        return Trouble(
            f"the server wants an account, and none is given: {said}", "Write `username:` and `password:` for it in the stack file, the password encrypted."
        )
    return Trouble(f"the server answers with an error: {said}", "See what stands in the server's log.")
