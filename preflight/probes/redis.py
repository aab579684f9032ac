"""Redis and Valkey."""

import ssl
from collections.abc import Iterator
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.exceptions import NoPermissionError
from redis.retry import Retry

from preflight.answers import unasked
from preflight.attempt import Attempt, Stranger, Trouble
from preflight.probes.direct import spoken
from preflight.tls import machine_authorities

__all__ = ["troubles"]

NEEDED = ("NOAUTH", "Authentication required")
WRONG = ("WRONGPASS", "invalid username-password", "invalid password", "AUTH", "without any password configured")


def troubles(attempt: Attempt) -> Iterator[Trouble]:
    """Logs in, chooses the database, and asks for a sign of life."""
    attempt.trying(
        "logging in" if attempt.password else "asking for a sign of life (PING)",
        "The server takes connections and does not answer: see whether a script keeps it.",
    )
    yield from spoken(attempt, lambda context: _speak(attempt, context))


def _speak(attempt: Attempt, context: ssl.SSLContext | None) -> Iterator[Trouble]:
    client = _client(attempt, context)
    try:
        with client:
            client.ping()
    except NoPermissionError:
        return  # the login is good; what the account may do is the application's matter
    except (redis.AuthenticationError, redis.ResponseError) as error:
        raise _shut(str(error)) or _refusal(attempt, error) from None
    except (redis.RedisError, OSError) as error:
        raise _shut(str(error)) or _shut(unasked(attempt)) or Stranger(attempt.quoted(error)) from None
    except Exception as error:  # an answer of another protocol ends in whatever comes of reading it
        raise Stranger(type(error).__name__) from None
    yield from ()


def _client(attempt: Attempt, context: ssl.SSLContext | None) -> "redis.Redis":
    endpoint = attempt.endpoint
    verify = context is not None and context.verify_mode == ssl.CERT_REQUIRED
    options: dict[str, Any] = {}
    if context is not None:
        options = {"ssl": True, "ssl_cert_reqs": "required" if verify else "none", "ssl_check_hostname": verify}
        options |= {"ssl_ca_certs": endpoint.ca or machine_authorities()} if verify else {}
    return redis.Redis(
        host=endpoint.host if verify else attempt.address,
        port=endpoint.port,
        username=attempt.username,
        password=attempt.password,
        db=_number(attempt),
        socket_timeout=attempt.patience,
        socket_connect_timeout=attempt.patience,
        retry=Retry(NoBackoff(), 0),
        protocol=2,
        driver_info=None,
        **options,
    )


def _number(attempt: Attempt) -> int:
    database = attempt.database or "0"
    if not database.isdecimal():
        raise Trouble(
            "a database of Redis is a number", "Correct `database:` in the stack file: 0 to 15 where the server's configuration says no other number."
        )
    return int(database)


def _refusal(attempt: Attempt, error: redis.RedisError) -> Exception:
    """What the server's own error means."""
    text = str(error)
    said = attempt.quoted(error)
    if any(word in text for word in NEEDED) and not attempt.password:
        return Trouble(
            f"the server wants a password, and none is given: {said}",
            "Write `password:` (and `username:` where its ACL has users) for it in the stack file, encrypted.",
        )
    if "DB index" in text:
        return Trouble(
            f"the login is good, but there is no such database: {said}", "Correct `database:` in the stack file, or raise `databases` in redis.conf."
        )
    if any(word in text for word in WRONG + NEEDED):
        user = attempt.username or "default"
        return Trouble(
            f"the login was refused: {said}",
            "Either the password in the stack file is wrong, or the user is (without `username:` it is `default`), or the server has no "
            "password at all. On the server:\n"
            f"  ACL GETUSER {user}",
        )
    if "unknown command" in text:
        return Stranger(said)
    return Trouble(f"the server answers with an error: {said}", "See what stands in the server's log.")


def _shut(said: str) -> Trouble | None:
    """What a server says to whoever comes."""
    if "max number of clients" in said:
        return Trouble(
            "the server takes no more connections: max number of clients reached",
            "End those that nobody needs, or raise `maxclients`:\n  CLIENT LIST\n  CONFIG GET maxclients",
        )
    if "protected mode" in said:
        return Trouble(
            "the server is in protected mode: it has no password and takes connections from its own machine only",
            "Give it a password (`requirepass` or an ACL user) and write it in the stack file.",
        )
    return None
