"""MySQL, Percona Server and, for applications alone, MariaDB."""

import re
import ssl
from collections.abc import Iterator
from typing import Any

import pymysql
from pymysql.constants import CR, ER

from preflight.attempt import Attempt, Stranger, Trouble, there_already
from preflight.certificates import refused
from preflight.tls import trusting, verifying

__all__ = ["PRIVILEGES", "troubles"]

PRIVILEGES = (
    "SELECT",
    "INSERT",
    "UPDATE",
    "DELETE",
    "CREATE",
    "DROP",
    "REFERENCES",
    "INDEX",
    "ALTER",
    "CREATE TEMPORARY TABLES",
    "LOCK TABLES",
    "EXECUTE",
    "CREATE VIEW",
    "SHOW VIEW",
    "CREATE ROUTINE",
    "ALTER ROUTINE",
    "CREATE USER",
    "EVENT",
    "TRIGGER",
)
"""What an administrator must have, and be able to pass on: whoever gives all rights in a database must have each of them."""
OLDEST = (8, 0)
NOBODY = "database-groups"
"""The user of those who have no account and only want to be answered."""

MUST_BE_SECURE = 3159
LOCKED = 3118
EXPIRED = {1820, 1862}
FULL = {ER.CON_COUNT_ERROR: "max_connections", 1203: "max_user_connections", 1226: "max_user_connections"}
BLOCKED = 1129
UNADMITTED = 1130
OWN_ERRORS = range(2000, 3000)
"""The numbers of errors that a client makes up; all others come from a server of this protocol."""


def troubles(attempt: Attempt) -> Iterator[Trouble]:
    """Logs in, and sees what an administrator needs."""
    try:
        connection = _logged_in(attempt)
    except _Answered:
        return
    with connection, connection.cursor() as cursor:
        if attempt.endpoint.administrator:
            yield from _administration(attempt, cursor, str(getattr(connection, "server_version", "")))


def _logged_in(attempt: Attempt) -> "pymysql.Connection[Any]":
    """A connection with TLS as it is wanted. Raises Trouble or Stranger."""
    endpoint = attempt.endpoint
    attempt.trying(
        f"logging in as {attempt.username}" if attempt.username else "speaking to MySQL",
        "The server takes connections and does not answer a login: see what it is busy with (SHOW PROCESSLIST), and whether `skip-name-resolve` helps.",
    )
    if endpoint.tls == "verify-full":
        return _verified(attempt)
    if endpoint.tls == "disable":
        return _connected(attempt, None)
    try:
        return _connected(attempt, trusting())
    except _NoTls:
        if endpoint.tls:
            raise
        return _connected(attempt, None)


def _verified(attempt: Attempt) -> "pymysql.Connection[Any]":
    """A connection to a server whose certificate and name are verified; for an administrator as Pulumi's provider does it."""
    endpoint = attempt.endpoint
    try:
        return _connected(attempt, verifying(None if endpoint.administrator else endpoint.ca))
    except ssl.SSLCertVerificationError as error:
        raise refused(attempt, error, lambda context: _connected(attempt, context).close(), by_provider=endpoint.administrator) from None


class _Answered(Exception):
    """The server refused somebody who wanted no more than an answer."""


class _NoTls(Trouble):
    """The server has no TLS."""


def _connected(attempt: Attempt, context: ssl.SSLContext | None) -> "pymysql.Connection[Any]":
    """A connection. Raises Trouble, Stranger, SSLCertVerificationError, or _Answered."""
    connection = _connection(attempt, context)
    try:
        connection.connect(attempt.connect())
    except pymysql.MySQLError as error:
        cause = getattr(error, "original_exception", None)
        if isinstance(cause, ssl.SSLCertVerificationError):
            raise cause from None
        if attempt.username is None and error.args[0] == ER.ACCESS_DENIED_ERROR:
            raise _Answered from None
        raise _refusal(attempt, error, encrypted=context is not None, greeting=getattr(connection, "server_version", None)) from None
    except Exception as error:  # a greeting that is none ends in whatever comes of reading it
        raise Stranger(type(error).__name__) from None
    return connection


def _connection(attempt: Attempt, context: ssl.SSLContext | None) -> "pymysql.Connection[Any]":
    """A connection that is not made yet."""
    endpoint = attempt.endpoint
    # Letters outside ASCII would be written in latin-1; servers and other clients take them for UTF-8.
    password: Any = (attempt.password or "").encode()
    options: Any = {"ssl": context} if context else {"ssl_disabled": True}
    return pymysql.Connection(
        host=endpoint.host,
        port=endpoint.port,
        user=attempt.username or NOBODY,
        password=password,
        database=None if endpoint.administrator else attempt.database,
        connect_timeout=attempt.patience,
        read_timeout=attempt.patience,
        write_timeout=attempt.patience,
        autocommit=True,
        defer_connect=True,
        **options,
    )


def _refusal(attempt: Attempt, error: pymysql.MySQLError, *, encrypted: bool, greeting: str | None) -> Exception:
    """Why there is no login: Trouble, or Stranger where it is no server of this protocol that says so."""
    code, message = (*error.args, "", "")[:2]
    said = attempt.quoted(f"{message} ({code})")
    if code == CR.CR_SSL_CONNECTION_ERROR:
        return _NoTls(
            "the server has no TLS",
            "Give it a certificate (`ssl_cert` and `ssl_key` in my.cnf), or write `tls: disable` for this server where the network in between may be trusted.",
        )
    if code in OWN_ERRORS or not isinstance(code, int):
        return _broken(attempt, said, error) if greeting and greeting[:1].isdigit() else Stranger(said)
    if code in FULL:
        return Trouble(
            f"the server takes no more connections: {said}",
            f"End those that nobody needs, or raise `{FULL[code]}`:\n  SHOW PROCESSLIST;\n  SHOW VARIABLES LIKE '{FULL[code]}';",
        )
    rules = {
        UNADMITTED: _unadmitted,
        BLOCKED: _blocked,
        MUST_BE_SECURE: _must_be_secure,
        ER.ACCESS_DENIED_ERROR: _denied_in_clear if not encrypted else _denied,
        ER.DBACCESS_DENIED_ERROR: _no_database,
        ER.BAD_DB_ERROR: _no_database,
        LOCKED: _locked,
        **dict.fromkeys(EXPIRED, _expired),
    }
    return rules[code](attempt, said) if code in rules else Trouble(f"the login was refused: {said}", "See what stands in the server's log.")


def _broken(attempt: Attempt, said: str, error: pymysql.MySQLError) -> Trouble:
    """A server of this protocol with which a login comes to no end."""
    cause = getattr(error, "original_exception", None)
    if isinstance(cause, ssl.SSLError):
        return Trouble(
            f"TLS fails: {attempt.quoted(cause.reason or cause)}",
            "Server and client have no version or cipher of TLS in common: TLS 1.2 and later are spoken here (`tls_version` in my.cnf).",
        )
    return Trouble(f"the connection broke off during the login: {said}", "See what stands in the server's error log.")


def _account(attempt: Attempt, said: str) -> str:
    """The account as the server sees who comes: 'name'@'address', by its own message."""
    found = re.search(r"@'([0-9A-Za-z.:%_-]+)'", said) or re.search(r"Host '([0-9A-Za-z.:_-]+)'", said)
    return f"{_literal(attempt.username or NOBODY)}@'{found[1] if found else '%'}'"


def _literal(text: str) -> str:
    """A text as SQL has it."""
    return "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"


def _made(attempt: Attempt, account: str) -> str:
    """The statements that make an account with the rights that it needs; its password is left to whoever runs them."""
    made = f"  CREATE USER {account} IDENTIFIED BY '...';\n"
    if attempt.endpoint.administrator:
        return made + f"  GRANT {', '.join(PRIVILEGES)} ON *.* TO {account} WITH GRANT OPTION;"
    database = (attempt.database or "...").replace("`", "``").replace("_", r"\_")
    return made + f"  GRANT ALL PRIVILEGES ON `{database}`.* TO {account};"


def _asked(attempt: Attempt) -> str:
    """The question which accounts of the user there are, for people to ask."""
    return f"  SELECT user, host, plugin FROM mysql.user WHERE user = {_literal(attempt.username or NOBODY)};"  # noqa: S608 - run by nobody here


def _denied(attempt: Attempt, said: str) -> Trouble:
    account = _account(attempt, said)
    return Trouble(
        f"the login was refused: {said}",
        "Either the password in the stack file is wrong, or the server admits this account from other addresses only, or there is none. On the server:\n"
        f"{_asked(attempt)}\n"
        f"Where no row's host fits {account.rpartition('@')[2]} ('%' fits all):\n{_made(attempt, account)}",
    )


def _denied_in_clear(attempt: Attempt, said: str) -> Trouble:
    trouble = _denied(attempt, said)
    trouble.remedy += "\nAn account with REQUIRE SSL is refused in the same words where `tls` is disable."
    return trouble


def _unadmitted(attempt: Attempt, said: str) -> Trouble:
    account = _account(attempt, said)
    return Trouble(
        f"the server admits nobody from this machine's address: {said}",
        f"Make an account for this address, or for all with '%' in its place:\n{_made(attempt, account)}",
    )


def _blocked(_attempt: Attempt, said: str) -> Trouble:
    return Trouble(
        f"the server has shut this machine out after too many broken connections: {said}",
        "Let it in again, and find out what broke them (`max_connect_errors`):\n  TRUNCATE TABLE performance_schema.host_cache;",
    )


def _must_be_secure(_attempt: Attempt, said: str) -> Trouble:
    return Trouble(f"the server takes no login without TLS (require_secure_transport): {said}", "Write `tls: verify-full` or `tls: require` for this server.")


def _no_database(attempt: Attempt, said: str) -> Trouble:
    return Trouble(
        f"the login is good, but not for the database: {said}",
        f"Correct the database in the stack file, or give the account its rights:\n{_made(attempt, _account(attempt, said)).split(chr(10), 1)[1]}",
    )


def _locked(_attempt: Attempt, said: str) -> Trouble:
    return Trouble(f"the account is locked: {said}", "As an administrator of the server: ALTER USER ... ACCOUNT UNLOCK.")


def _expired(_attempt: Attempt, said: str) -> Trouble:
    return Trouble(
        f"the account's password has expired: {said}", "As an administrator of the server: ALTER USER ... PASSWORD EXPIRE NEVER, with a new password."
    )


def _administration(attempt: Attempt, cursor: Any, greeting: str) -> Iterator[Trouble]:
    """What is in the way of making databases and users."""
    attempt.trying("asking for version and rights", "See what the server is busy with (SHOW PROCESSLIST).")
    version, comment, account = _rows(cursor, "SELECT VERSION(), @@version_comment, CURRENT_USER()")[0]
    _suitable(attempt.quoted(f"{greeting} {version} {comment}"), str(version))
    granted, passed_on = _granted(cursor)
    yield from _replica(cursor, granted)
    yield from _missing(str(account), granted, passed_on=passed_on)
    attempt.trying("seeing whether the databases and users are there already", "See what the server is busy with (SHOW PROCESSLIST).")
    yield from _present(attempt, cursor)


def _rows(cursor: Any, statement: str, *values: object) -> list[tuple[Any, ...]]:
    cursor.execute(statement, values)
    return list(cursor.fetchall())


def _suitable(described: str, version: str) -> None:
    """Raises Trouble for a server on which the provider, or what is made, does not work."""
    if "mariadb" in described.lower():
        raise Trouble(
            f"the server is MariaDB ({version}), on which databases cannot be made by this program",
            "Pulumi's provider reads the variable innodb_version, which MariaDB 10.10 removed (error 1193), and MariaDB's users and "
            "collations differ from MySQL's "
            "anyway. Use a MySQL or Percona server (8.0 or later), or make database and user by hand and write `host:`, `database:`, "
            "`username:` and `password:` "
            "in place of `on:`; applications can use MariaDB.",
        )
    numbers = re.match(r"(\d+)\.(\d+)", version)
    if numbers and (int(numbers[1]), int(numbers[2])) < OLDEST:
        raise Trouble(
            f"the server is MySQL {version}, and databases are made on {OLDEST[0]}.{OLDEST[1]} and later",
            "Older ones lack the collation that databases are made with (utf8mb4_0900_ai_ci) and are no longer maintained. Use a newer "
            "server, or make database and "
            "user by hand and write `host:` with their account in place of `on:`.",
        )


def _granted(cursor: Any) -> tuple[set[str], bool]:
    """The privileges on *.* that the account has, roles that are active included, and whether it may pass them on."""
    lines = [str(row[0]) for row in _rows(cursor, "SHOW GRANTS")]
    found = [match for line in lines if (match := re.match(r"GRANT (.+?) ON \*\.\* TO (.*)", line))]
    granted = {privilege.strip() for match in found for privilege in match[1].split(",")}
    passed_on = any("WITH GRANT OPTION" in match[2] for match in found if set(match[1].split(", ")) & {*PRIVILEGES, "ALL PRIVILEGES", "USAGE"})
    return (granted | set(PRIVILEGES) if "ALL PRIVILEGES" in granted else granted), passed_on


def _missing(account: str, granted: set[str], *, passed_on: bool) -> Iterator[Trouble]:
    """Privileges that the administrator lacks. `account` is user@host, in which the user may hold an @ itself."""
    missing = [privilege for privilege in PRIVILEGES if privilege not in granted]
    lacks = missing + ([] if passed_on else ["GRANT OPTION"])
    if lacks:
        user, _, host = account.rpartition("@")
        yield Trouble(
            f"the administrator lacks {', '.join(lacks)} ON *.*",
            "As an administrator of the server (a role's privileges count where the role is active at the login: SET DEFAULT ROLE):\n"
            f"  GRANT {', '.join(missing or ['USAGE'])} ON *.* TO {_literal(user)}@{_literal(host)} WITH GRANT OPTION;",
        )


def _replica(cursor: Any, granted: set[str]) -> Iterator[Trouble]:
    """A server that takes no changes, from anybody or from this administrator."""
    read_only, strictly = map(int, _rows(cursor, "SELECT @@global.read_only, @@global.super_read_only")[0])
    if strictly or (read_only and not granted & {"SUPER", "CONNECTION_ADMIN"}):
        yield Trouble(
            f"the server takes no changes ({'super_read_only' if strictly else 'read_only'} is on): it is a replica",
            "Name its source in the stack file. If it is no replica any more:\n  SET GLOBAL super_read_only = OFF, GLOBAL read_only = OFF;",
        )


def _present(attempt: Attempt, cursor: Any) -> Iterator[Trouble]:
    """Databases and users that are wanted and there already."""
    databases = {str(row[0]) for row in _rows(cursor, "SELECT schema_name FROM information_schema.schemata")}
    users = _users(cursor)
    for wanted in attempt.endpoint.wanted:
        there = [f"database {wanted.database}"] if wanted.database in databases else []
        there += [f"user {name}@{host}" for name, host in users if name == wanted.username]
        if there:
            yield there_already(wanted, there)


def _users(cursor: Any) -> list[tuple[str, str]]:
    """Every account. Where mysql.user may not be read, by the view for which CREATE USER is enough."""
    try:
        rows = _rows(cursor, "SELECT user, host FROM mysql.user")
    except pymysql.MySQLError:
        rows = _rows(cursor, "SELECT user, host FROM information_schema.user_attributes")
    return [(str(user), str(host)) for user, host in rows]
