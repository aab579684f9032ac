"""PostgreSQL."""

import ipaddress
import logging
import re
import ssl
from collections.abc import Callable, Iterator
from typing import Any

import psycopg

from preflight.answers import TLS_REQUEST, tls_answer
from preflight.attempt import Attempt, Stranger, Trouble, there_already
from preflight.certificates import verified
from preflight.tls import machine_authorities, verifying

__all__ = ["troubles"]

MAINTENANCE = "postgres"
NOBODY = "database-groups"
"""The user of those who have no account and only want to be answered."""
OLDEST = 90100
"""The provider locks roles and databases with pg_advisory_xact_lock and makes extensions with CREATE EXTENSION: both came with 9.1."""
PLAIN_MAJOR = 100000
"""From here on the first number alone is the major version."""
WITH_TRUST = 130000
"""From here on extensions say whether one who is no superuser may make them."""
MANAGERS = ("rds_superuser", "cloudsqlsuperuser", "azure_pg_admin")
"""Roles by which managed servers allow extensions of their own list to those who are no superusers."""
NO_FILE = "/nonexistent/pgpass"
"""The account of the stack file is tried, and no password that this machine happens to know."""
UNADMITTED = re.compile(r'no pg_hba\.conf entry for host "([^"]+)"')
CHANGED = "Then:\n  SELECT pg_reload_conf();"

# Each failed login would be a warning there.
logging.getLogger("psycopg").setLevel(logging.CRITICAL)


def troubles(attempt: Attempt) -> Iterator[Trouble]:
    """Logs in, and sees what an administrator needs."""
    attempt.trying(
        f"logging in as {attempt.username}" if attempt.username else "speaking to PostgreSQL",
        "The server takes connections and does not answer a login: see what it is busy with, and what stands in its log.",
    )
    if attempt.endpoint.tls == "verify-full":
        _verify(attempt)
    try:
        connection = _connected(attempt)
    except psycopg.Error as error:
        refusal = _refusal(attempt, str(error))
        if refusal:
            raise refusal from None
        return
    with connection:
        if attempt.endpoint.administrator:
            yield from _administration(attempt, connection)


def _connected(attempt: Attempt) -> "psycopg.Connection[tuple[Any, ...]]":
    endpoint = attempt.endpoint
    verify = endpoint.tls == "verify-full"
    return psycopg.connect(
        host=endpoint.host,
        hostaddr=attempt.address,
        port=endpoint.port,
        user=attempt.username or NOBODY,
        password=attempt.password,
        dbname=MAINTENANCE if endpoint.administrator else attempt.database or MAINTENANCE,
        sslmode=endpoint.tls or "prefer",
        # Without a file to verify by, `require` would verify by one in the home folder.
        sslrootcert=(endpoint.ca or machine_authorities() or "system") if verify else NO_FILE,
        gssencmode="disable",
        passfile=NO_FILE,
        connect_timeout=max(int(attempt.patience), 2),
        autocommit=True,
    )


def _verify(attempt: Attempt) -> None:
    """Sees what is wrong with a certificate, of which libpq says little, and which the provider verifies more strictly. Raises Trouble or Stranger."""
    verifying(attempt.endpoint.ca)
    answer = tls_answer(attempt)
    if answer == "N":
        raise _no_tls()
    if answer != "S":
        raise Stranger("it does not answer the request for TLS")
    verified(attempt, lambda context: _handshake(attempt, context))


def _handshake(attempt: Attempt, context: ssl.SSLContext) -> None:
    """TLS as libpq begins it."""
    with attempt.connect() as connection:
        connection.sendall(TLS_REQUEST)
        connection.recv(1)
        with context.wrap_socket(connection, server_hostname=attempt.endpoint.host):
            pass


def _no_tls() -> Trouble:
    return Trouble(
        "the server has no TLS",
        "Give it a certificate (`ssl = on`, `ssl_cert_file` and `ssl_key_file` in postgresql.conf), or write `tls: disable` for this server "
        "where the network in "
        "between may be trusted.",
    )


def _refusal(attempt: Attempt, message: str) -> Exception | None:
    """Why there is no login: Trouble, or Stranger where it is no PostgreSQL that says so. None where an answer was all that was wanted."""
    unadmitted = UNADMITTED.search(message)
    said = attempt.quoted(_last(message))
    rules: tuple[tuple[str, Callable[[Attempt, str], Trouble]], ...] = (
        ("does not support SSL", lambda _attempt, _said: _no_tls()),
        ("password authentication failed", _denied),
        ("no password supplied", _denied),
        ("too many", _full),
        ("remaining connection slots", _full),
        ("database .* does not exist", _no_database),
        ("permission denied for database", _no_database),
        ("is not permitted to log in", _no_login),
        ("starting up|shutting down|in recovery mode|not yet accepting", _starting),
    )
    if unadmitted:
        return _unadmitted(attempt, said, unadmitted[1], message)
    for pattern, trouble in rules:
        if re.search(pattern, message):
            return trouble(attempt, said) if attempt.username or pattern == "does not support SSL" else None
    if tls_answer(attempt) not in ("S", "N"):
        return Stranger(said)
    if "timeout expired" in message:
        return Trouble("the server is there, and does not answer the login in time", attempt.advice)
    return _denied(attempt, said) if attempt.username else None


def _last(message: str) -> str:
    """What came of the last of several tries, without the address, which is told anyway."""
    line = [line for line in message.splitlines() if line.strip()][-1:] or [message]
    return re.sub(r"^.* failed: (?=.)", "", line[0])


def _unadmitted(attempt: Attempt, said: str, address: str, message: str) -> Trouble:
    """The server's list of who may come from where has no line for this machine."""
    clear = "no encryption" in message or "SSL off" in message
    encrypted = attempt.endpoint.tls in ("require", "verify-full")
    hint = "\nIf there is a `hostssl` line for it: write `tls: verify-full` or `tls: require` for this server." if clear and not encrypted else ""
    return Trouble(
        f"the server admits nobody from this machine's address like this: {said}",
        f"Add a line to pg_hba.conf (SHOW hba_file), above those that fit it too:\n  {_line(attempt, address, encrypted=encrypted)}\n{CHANGED}{hint}",
    )


def _line(attempt: Attempt, address: str, *, encrypted: bool) -> str:
    """The line of pg_hba.conf that admits an account from an address."""
    database = "all" if attempt.endpoint.administrator else _word(attempt.database or "all")
    return f"{'hostssl' if encrypted else 'host'}  {database}  {_word(attempt.username or NOBODY)}  {_network(address)}  scram-sha-256"


def _network(address: str) -> str:
    try:
        return str(ipaddress.ip_network(address.partition("%")[0]))
    except ValueError:
        return "samehost"


def _word(name: str) -> str:
    """A name as pg_hba.conf has it."""
    return name if re.fullmatch(r"[a-z_][a-z0-9_]*", name) and name != "all" else '"' + name.replace('"', '""') + '"'


def _name(name: str) -> str:
    """A name as SQL has it."""
    return '"' + name.replace('"', '""') + '"'


def _denied(attempt: Attempt, said: str) -> Trouble:
    role = attempt.username or NOBODY
    rights = " CREATEDB CREATEROLE" if attempt.endpoint.administrator else ""
    return Trouble(
        f"the login was refused: {said}",
        "Either the password in the stack file is wrong, or there is no such role, or the line of pg_hba.conf for this machine's address "  # noqa: S608 - run by nobody here
        "wants another way of logging in. "
        f"On the server:\n  \\password {_name(role)}\n  CREATE ROLE {_name(role)} LOGIN{rights} PASSWORD '...';\n"
        "  SELECT * FROM pg_hba_file_rules;",
    )


def _full(_attempt: Attempt, said: str) -> Trouble:
    return Trouble(
        f"the server takes no more connections: {said}",
        "End those that nobody needs, or raise `max_connections` (or the role's or the database's own limit):\n  SELECT usename, datname, "
        "state, count(*) FROM pg_stat_activity GROUP BY 1, 2, 3;",
    )


def _no_database(attempt: Attempt, said: str) -> Trouble:
    database = MAINTENANCE if attempt.endpoint.administrator else attempt.database or MAINTENANCE
    if attempt.endpoint.administrator:
        return Trouble(
            f"the login is good, but not for the database {database}, from which others are made: {said}",
            f"As an administrator of the server:\n  CREATE DATABASE {_name(database)};\n  GRANT CONNECT ON DATABASE {_name(database)} TO "
            f"{_name(attempt.username or NOBODY)};",
        )
    return Trouble(
        f"the login is good, but not for the database: {said}",
        f"Correct the database in the stack file, or let the role in:\n  GRANT CONNECT ON DATABASE {_name(database)} TO {_name(attempt.username or NOBODY)};",
    )


def _no_login(attempt: Attempt, said: str) -> Trouble:
    return Trouble(f"the role may not log in: {said}", f"As an administrator of the server:\n  ALTER ROLE {_name(attempt.username or NOBODY)} LOGIN;")


def _starting(_attempt: Attempt, said: str) -> Trouble:
    return Trouble(f"the server is there, and takes no logins yet: {said}", "Run it again when it has started; its log says what it is doing.")


def _administration(attempt: Attempt, connection: "psycopg.Connection[tuple[Any, ...]]") -> Iterator[Trouble]:
    """What is in the way of making databases and roles."""
    attempt.trying("asking for version and rights", "See what the server is busy with (pg_stat_activity).")
    version = connection.info.server_version
    _suitable(version, attempt.quoted(connection.info.parameter_status("server_version") or ""))
    superuser, creates_databases, creates_roles, standby = _rows(
        connection, "SELECT rolsuper, rolcreatedb, rolcreaterole, pg_is_in_recovery() FROM pg_roles WHERE rolname = current_user"
    )[0]
    if standby:
        raise Trouble(
            "the server is a standby, which takes no changes",
            "Name the primary in the stack file. To see who it is, on this server:\n  SELECT sender_host, sender_port FROM pg_stat_wal_receiver;",
        )
    # From 16 on who creates a role is its administrator and so may become a member of it, which the program sees to; nothing more is needed.
    lacks = [] if superuser else [right for right, has in (("CREATEDB", creates_databases), ("CREATEROLE", creates_roles)) if not has]
    if lacks:
        yield Trouble(
            f"the administrator lacks {' and '.join(lacks)}",
            f"As a superuser of the server:\n  ALTER ROLE {_name(attempt.username or NOBODY)} CREATEDB CREATEROLE;",
        )
    attempt.trying("seeing whether the databases and roles are there already", "See what the server is busy with (pg_stat_activity).")
    yield from _present(attempt, connection)
    attempt.trying("asking for extensions", "See what the server is busy with (pg_stat_activity).")
    yield from _extensions(attempt, connection, superuser=superuser)


def _rows(connection: "psycopg.Connection[tuple[Any, ...]]", statement: str, *values: object) -> list[tuple[Any, ...]]:
    return connection.execute(statement.encode(), values).fetchall()


def _suitable(version: int, named: str) -> None:
    """Raises Trouble for a server on which the provider does not work."""
    if version < OLDEST:
        raise Trouble(
            f"the server is PostgreSQL {named}, and databases are made on 9.1 and later (15 and later is what is tried)",
            "Pulumi's provider needs what came with 9.1. Use a newer server, or make database and role by hand and write `host:` with their "
            "account in place of `on:`.",
        )


def _present(attempt: Attempt, connection: "psycopg.Connection[tuple[Any, ...]]") -> Iterator[Trouble]:
    """Databases and roles that are wanted and there already."""
    databases = {str(row[0]) for row in _rows(connection, "SELECT datname FROM pg_database")}
    roles = {str(row[0]) for row in _rows(connection, "SELECT rolname FROM pg_roles")}
    for wanted in attempt.endpoint.wanted:
        there = [f"database {wanted.database}"] if wanted.database in databases else []
        there += [f"role {wanted.username}"] if wanted.username in roles else []
        if there:
            yield there_already(wanted, there)


def _extensions(attempt: Attempt, connection: "psycopg.Connection[tuple[Any, ...]]", *, superuser: bool) -> Iterator[Trouble]:
    """Extensions that are wanted and that the server does not have, or does not let the administrator make."""
    wanted = [(group, extension) for group in attempt.endpoint.wanted for extension in group.extensions]
    if not wanted:
        return
    trust = "v.trusted" if connection.info.server_version >= WITH_TRUST else "false"
    available = {
        str(name): bool(free)
        for name, free in _rows(
            connection,
            f"SELECT e.name, NOT v.superuser OR {trust} FROM pg_available_extensions e "  # noqa: S608 - one of two words
            "JOIN pg_available_extension_versions v ON v.name = e.name AND v.version = e.default_version",
        )
    }
    managed = bool(_rows(connection, "SELECT 1 FROM pg_roles WHERE rolname = ANY(%s) AND pg_has_role(oid, 'member')", list(MANAGERS)))
    for group, extension in wanted:
        if extension not in available:
            yield Trouble(
                f"the server does not have the extension {extension}",
                "Install its package on the server, for each major version its own (Debian: postgresql-contrib, "
                "postgresql-<version>-<extension>), or correct its name. "
                "What there is:\n  SELECT name FROM pg_available_extensions ORDER BY 1;",
                path=group.path,
            )
        elif not (available[extension] or superuser or managed):
            yield Trouble(
                f"the extension {extension} is not trusted: only a superuser may put it into a database, and the administrator is none",
                "Name a superuser as the administrator of this server; or leave the extension out, and have a superuser put it into the "
                "database once that is made:\n"
                f"  \\connect {_name(group.database)}\n  CREATE EXTENSION {_name(extension)};",
                path=group.path,
            )
