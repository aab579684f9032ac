"""What answers in a database's place: its name as it gives it itself, found with the least that makes it speak."""

import http.client
import re
import ssl
import struct
from collections.abc import Iterator

from preflight.attempt import Attempt
from preflight.tls import trusting

__all__ = ["TLS_REQUEST", "has_tls", "silent", "speaker", "tls_answer", "unasked"]

SECONDS = 0.7
"""For each question: the servers are near enough to be used by applications."""
HTTP_LINE = 400
TLS_REQUEST = struct.pack("!II", 8, 80877103)
"""What a client of PostgreSQL sends to ask for TLS ("SSLRequest", Message Formats in its documentation)."""

SIGNATURES = (
    (rb"^SSH-[\d.]+-([!-~]+)", "an SSH server ({})"),
    (rb"^.{3}\x00\x0a(?:5\.5\.5-)?([^\x00]*MariaDB[^\x00]*)\x00", "MariaDB ({})"),
    (rb"^.{3}\x00\x0a([^\x00]+)\x00", "MySQL ({})"),
    (rb"^.{3}\x00\xff..(?:#.{5})?[ -~]{5}", "MySQL"),
    (rb"^220[ -]([ -~]*)", "a mail or FTP server ({})"),
    (rb"^\+OK ?([ -~]*)", "a mail server ({})"),
    (rb"^AMQP", "RabbitMQ or another AMQP broker"),
    (rb"^-(?:ERR|NOAUTH|DENIED)", "Redis"),
    (rb"^ERROR\r", "memcached"),
)
"""What servers say first, or to a question that they do not understand."""


def speaker(attempt: Attempt) -> str | None:
    """What answers, by its name. None where nothing is known of it."""
    for question in (_greeting, _asked_for_a_page, _asked_for_a_page_through_tls, _asked_for_tls):
        for answer in question(attempt):
            return answer
    return None


def silent(attempt: Attempt) -> bool:
    """Whether what takes connections says nothing, not even good-bye."""
    try:
        with attempt.connect(SECONDS) as connection:
            connection.sendall(b"\r\n\r\n")
            connection.recv(1)
    except TimeoutError:
        return True
    except OSError:
        return False
    return False


def tls_answer(attempt: Attempt) -> str:
    """What PostgreSQL answers to the request for TLS: `S` yes, `N` no, and not a byte more. Anything else comes from something else."""
    try:
        with attempt.connect(SECONDS) as connection:
            connection.sendall(TLS_REQUEST)
            return connection.recv(2).decode("latin-1")
    except OSError:
        return ""


def has_tls(attempt: Attempt) -> bool:
    """Whether connections begin with TLS there."""
    try:
        with attempt.connect(SECONDS) as connection, trusting().wrap_socket(connection, server_hostname=attempt.endpoint.host):
            return True
    except (OSError, ValueError):
        return False


def _known(said: bytes) -> Iterator[str]:
    for pattern, name in SIGNATURES:
        match = re.search(pattern, said, re.DOTALL)
        if match:
            yield name.format(*(group.decode("latin-1").strip()[:80] for group in match.groups()))
            return


def unasked(attempt: Attempt) -> str:
    """What is said before any question."""
    try:
        with attempt.connect(SECONDS) as connection:
            return connection.recv(HTTP_LINE).decode("latin-1")
    except OSError:
        return ""


def _greeting(attempt: Attempt) -> Iterator[str]:
    yield from _known(unasked(attempt).encode("latin-1"))


def _asked_for_a_page(attempt: Attempt) -> Iterator[str]:
    yield from _page(attempt, http.client.HTTPConnection(attempt.address, attempt.endpoint.port, timeout=min(SECONDS, attempt.left)), "a web server")


def _asked_for_a_page_through_tls(attempt: Attempt) -> Iterator[str]:
    if not has_tls(attempt):
        return
    connection = http.client.HTTPSConnection(attempt.address, attempt.endpoint.port, timeout=min(SECONDS, attempt.left), context=trusting())
    yield from _page(attempt, connection, "a web server behind TLS")
    yield "something that speaks TLS"


def _page(attempt: Attempt, connection: http.client.HTTPConnection, name: str) -> Iterator[str]:
    """What a web server calls itself, and which databases speak HTTP."""
    try:
        connection.request("GET", "/", headers={"Host": attempt.endpoint.address})
        response = connection.getresponse()
        body = response.read(HTTP_LINE)
    except http.client.BadStatusLine as error:
        yield from _known(str(error.args[0]).encode("latin-1", "replace"))
    except (OSError, http.client.HTTPException, ssl.SSLError, ValueError):
        return
    else:
        yield from _product(response, body)
        software = response.getheader("Server")
        yield f"{name} ({attempt.quoted(software)[:80]})" if software else name
    finally:
        connection.close()


def _product(response: http.client.HTTPResponse, body: bytes) -> Iterator[str]:
    """A database that speaks HTTP, or says in HTTP that it does not."""
    if response.getheader("X-Elastic-Product"):
        yield "Elasticsearch"
    if response.getheader("X-Influxdb-Version"):
        yield f"InfluxDB ({response.getheader('X-Influxdb-Version')})"
    if b"MongoDB" in body:
        yield "MongoDB"


def _asked_for_tls(attempt: Attempt) -> Iterator[str]:
    if tls_answer(attempt) in ("S", "N"):
        yield "PostgreSQL"
