"""The probe of MySQL and Percona Server, and of MariaDB for existing databases."""

import re
import ssl
from collections.abc import Sequence
from typing import Any

import pymysql
from pymysql.constants import CR, ER

from preflight.certificates import check_expiry, explain_verification_failure
from preflight.errors import AuthenticationRequiredError, ProbeError, TlsNotSupportedError, UnexpectedProtocolError
from preflight.models import Finding
from preflight.probe_context import ProbeContext
from preflight.probes.provisioning import (
    EngineTerms,
    add_read_only_finding,
    add_tls_only_warning,
    add_warning,
    check_existing_objects,
    check_provisioned_objects,
)
from preflight.relay import open_relay
from preflight.tls import create_unverified_context, create_verified_context

__all__ = ["PRIVILEGES", "probe", "run_statements"]

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
"""Privileges of an administrator. Only an account with all of them can grant all privileges on a database."""
MIN_VERSION = (8, 0)
REQUIRES_TLS_RE = re.compile(r" REQUIRE (SSL|X509|SUBJECT|ISSUER|CIPHER)\b")
FIRST_VERSION_WITH_PARTIAL_REVOKES = (8, 0, 16)
TERMS = EngineTerms(user="user", drop_user="DROP USER '{username}'@'%';")
EXISTING_DATABASE_FIX = (
    "create database and user yourself and set `host`, `database`, `username` and `password` instead of `provisionOn`"
)

CLIENT_ERROR_CODES = range(2000, 3000)
"""Codes of the client's own errors. A server of this protocol sends all others."""
LOGIN_REJECTED = (
    "the server rejected the login",
    "Correct `username` and `password` in the stack file. Check that the account exists and may log in from this "
    "machine. On the server:\n"
    "  SELECT user, host, plugin FROM mysql.user WHERE user = {user};\n"
    "If no row's host matches {host} ('%' matches all):\n{create}",
)
NO_DATABASE_ACCESS = (
    "login succeeded, but the user cannot access the database",
    "Correct `database` in the stack file, or grant the account its privileges:\n{grant}",
)
TOO_MANY_CONNECTIONS = "the server accepts no more connections"
TOO_MANY_CONNECTIONS_FIX = (
    "Close idle connections, or increase `{0}`:\n  SHOW PROCESSLIST;\n  SHOW VARIABLES LIKE '{0}';"
)
PASSWORD_EXPIRED = (
    "the password of the account has expired",
    "Set a new password as an administrator of the server:\n"
    "  ALTER USER {user}@'...' IDENTIFIED BY '...' PASSWORD EXPIRE NEVER;",
)
RESULT_AND_FIX_BY_CODE: dict[int, tuple[str, str]] = {
    ER.ACCESS_DENIED_ERROR: LOGIN_REJECTED,
    ER.DBACCESS_DENIED_ERROR: NO_DATABASE_ACCESS,
    ER.BAD_DB_ERROR: NO_DATABASE_ACCESS,
    ER.CON_COUNT_ERROR: (TOO_MANY_CONNECTIONS, TOO_MANY_CONNECTIONS_FIX.format("max_connections")),
    1203: (TOO_MANY_CONNECTIONS, TOO_MANY_CONNECTIONS_FIX.format("max_user_connections")),
    1226: (TOO_MANY_CONNECTIONS, TOO_MANY_CONNECTIONS_FIX.format("max_user_connections")),
    1129: (
        "the server blocks this machine after too many failed connections",
        "Find the cause of the failed connections (`max_connect_errors`), then unblock this machine:\n"
        "  TRUNCATE TABLE performance_schema.host_cache;",
    ),
    1130: (
        "the server has no account for this machine's address",
        "Create an account for this address, or for all addresses ('%'):\n{create}",
    ),
    3032: (
        "the server is in offline mode and rejects the login",
        "Switch it off as an administrator of the server:\n  SET GLOBAL offline_mode = OFF;",
    ),
    1820: PASSWORD_EXPIRED,
    1862: PASSWORD_EXPIRED,
    3118: (
        "the account is locked",
        "Unlock it as an administrator of the server:\n  ALTER USER {user}@'...' ACCOUNT UNLOCK;",
    ),
    3159: (
        "the server requires TLS (require_secure_transport)",
        "Set `tls: verify-full` or `tls: require` in the stack file.",
    ),
}
"""Result and fix by error code. The fix may contain {user}, {host}, {create} and {grant}."""


def probe(context: ProbeContext) -> None:
    """Log in. For an administrator, check version, privileges and existing objects."""
    with open_relay(context), _log_in(context) as connection, connection.cursor() as cursor:
        if context.endpoint.is_administrator:
            _check_administrator(context, cursor, str(getattr(connection, "server_version", "")))
        if context.endpoint.tls is None and isinstance(_get_socket(connection), ssl.SSLSocket):
            _check_plain_text(context, cursor)


def run_statements(context: ProbeContext, statements: Sequence[str]) -> list[tuple[Any, ...]]:
    """Log in, run the statements, and return the rows of the last one. Raises ProbeError."""
    rows: list[tuple[Any, ...]] = []
    connection = _log_in(context)
    try:
        with connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
                rows = list(cursor.fetchall())
    except pymysql.MySQLError as error:
        raise ProbeError(
            f"the server rejected a statement: {context.redact(error)}", "Check the server's log."
        ) from None
    return rows


def _log_in(context: ProbeContext) -> "pymysql.Connection[Any]":
    """Log in with the endpoint's TLS mode. Without a mode, try TLS first, then plain text."""
    tls = context.endpoint.tls
    if tls == "verify-full":
        return _log_in_verified(context)
    if tls == "disable":
        return _connect(context, None)
    try:
        return _connect(context, create_unverified_context())
    except TlsNotSupportedError:
        if tls:
            raise
        return _connect(context, None)


def _log_in_verified(context: ProbeContext) -> "pymysql.Connection[Any]":
    """Log in to a server with a verified certificate. For an administrator, verify as Pulumi's provider does."""
    by_provider = context.endpoint.is_administrator
    try:
        connection = _connect(context, create_verified_context(None if by_provider else context.endpoint.ca_file))
    except ssl.SSLCertVerificationError as error:
        raise explain_verification_failure(
            context, error, lambda ssl_context: _connect(context, ssl_context).close(), by_provider=by_provider
        ) from None
    wrapped = _get_socket(connection)
    if isinstance(wrapped, ssl.SSLSocket) and (certificate := wrapped.getpeercert(binary_form=True)):
        check_expiry(context, certificate)
    return connection


def _get_socket(connection: "pymysql.Connection[Any]") -> object:
    return getattr(connection, "_sock", None)  # the driver has no public name for it


def _check_plain_text(context: ProbeContext, cursor: Any) -> None:
    """Add a warning if the server rejects connections of the account without TLS."""
    variables = dict(_fetch_all(cursor, "SHOW GLOBAL VARIABLES LIKE 'require_secure_transport'"))
    if variables.get("require_secure_transport") == "ON":
        add_tls_only_warning(context, "require_secure_transport is on")
        return
    try:
        account = str(_fetch_all(cursor, "SHOW CREATE USER CURRENT_USER()")[0][0])
    except pymysql.MySQLError:
        return  # MariaDB requires a privilege for it
    if match := REQUIRES_TLS_RE.search(account):
        add_tls_only_warning(context, f"the account has REQUIRE {match[1]}")


class _RejectPlainPassword:
    """An authentication plugin that sends no password without TLS. The driver's own one does."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection

    def authenticate(self, _packet: Any) -> Any:
        """Send the password if the connection uses TLS."""
        if not isinstance(_get_socket(self.connection), ssl.SSLSocket):
            raise pymysql.OperationalError(CR.CR_AUTH_PLUGIN_ERR, "the server requests the password in plain text")
        self.connection.write_packet(self.connection.password + b"\0")
        packet = self.connection._read_packet()
        packet.check_error()
        return packet


def _connect(context: ProbeContext, ssl_context: ssl.SSLContext | None) -> "pymysql.Connection[Any]":
    """Connect and log in. Raises an error of this package or SSLCertVerificationError."""
    connection = _build_connection(context, ssl_context)
    try:
        connection.connect(context.connect())
    except pymysql.MySQLError as error:
        cause = getattr(error, "original_exception", None)
        if isinstance(cause, ssl.SSLCertVerificationError):
            raise cause from None
        greeting = str(getattr(connection, "server_version", ""))
        raise _convert_error(context, error, is_encrypted=ssl_context is not None, greeting=greeting) from None
    except Exception as error:  # the driver may raise anything when it reads another protocol
        raise UnexpectedProtocolError(type(error).__name__) from None
    return connection


def _build_connection(context: ProbeContext, ssl_context: ssl.SSLContext | None) -> "pymysql.Connection[Any]":
    """Build a connection that is not open yet."""
    endpoint, timeout = context.endpoint, context.login_timeout
    # The driver encodes text in Latin-1. Servers and other clients expect UTF-8.
    password: Any = (context.password or "").encode()
    options: Any = {"ssl": ssl_context} if ssl_context else {"ssl_disabled": True}
    return pymysql.Connection(
        host=endpoint.host,
        port=endpoint.port,
        user=context.login_name,
        password=password,
        database=None if endpoint.is_administrator else context.database,
        connect_timeout=timeout,
        read_timeout=timeout,
        write_timeout=timeout,
        autocommit=True,
        defer_connect=True,
        auth_plugin_map={"mysql_clear_password": _RejectPlainPassword},
        **options,
    )


def _convert_error(context: ProbeContext, error: pymysql.MySQLError, *, is_encrypted: bool, greeting: str) -> Exception:
    """Convert an error of the driver to one of this package."""
    code, text = (*error.args, "", "")[:2]
    message = context.redact(f"{text} ({code})")
    if code == CR.CR_SSL_CONNECTION_ERROR:
        return TlsNotSupportedError("Set `ssl_cert` and `ssl_key` in my.cnf")
    if code == ER.ACCESS_DENIED_ERROR and context.username is None:
        return AuthenticationRequiredError(message)
    if code in CLIENT_ERROR_CODES or not isinstance(code, int):
        is_mysql = greeting[:1].isdigit()
        return _explain_broken_login(context, message, error) if is_mysql else UnexpectedProtocolError(message)
    result, fix = RESULT_AND_FIX_BY_CODE.get(code, ("the server rejected the login", "Check the server's log."))
    if code == ER.ACCESS_DENIED_ERROR and not is_encrypted:
        fix += (
            "\nWithout TLS, the server sends the same message for an account with REQUIRE SSL, and for "
            "caching_sha2_password if it has no RSA key. Then set `tls: verify-full` or `tls: require`."
        )
    user, host = _quote_literal(context.login_name), f"'{_find_client_host(message)}'"
    account = f"{user}@{host}"
    grant = _build_grant_sql(context, account)
    create = f"  CREATE USER {account} IDENTIFIED BY '...';\n{grant}"
    fix = fix.format(user=user, host=host, create=create, grant=grant)
    return ProbeError(f"{result}: {message}", fix)


def _explain_broken_login(context: ProbeContext, message: str, error: pymysql.MySQLError) -> ProbeError:
    """Explain why a server of this protocol did not finish the login."""
    cause = getattr(error, "original_exception", None)
    if isinstance(cause, ssl.SSLError):
        return ProbeError(
            f"the TLS handshake failed: {context.redact(cause.reason or cause)}",
            "Enable TLS 1.2 or later on the server (`tls_version` in my.cnf) with a cipher of this machine.",
        )
    code = error.args[0] if error.args else ""
    if code == CR.CR_AUTH_PLUGIN_CANNOT_LOAD:
        return ProbeError(
            f"the program does not support the account's authentication plugin: {message}",
            "Use caching_sha2_password, as an administrator of the server:\n"
            f"  ALTER USER {_quote_literal(context.login_name)}@'...' IDENTIFIED WITH caching_sha2_password BY '...';",
        )
    if code == CR.CR_AUTH_PLUGIN_ERR or "sha2" in str(code):
        return ProbeError(
            f"the account's authentication plugin needs TLS: {message}",
            "Set `tls: verify-full` or `tls: require` in the stack file, and enable TLS on the server. "
            "caching_sha2_password without TLS needs an RSA key of the server:\n"
            "  SHOW STATUS LIKE 'Caching_sha2_password_rsa_public_key';",
        )
    return ProbeError(f"the server closed the connection during the login: {message}", "Check the server's log.")


def _find_client_host(message: str) -> str:
    """Return this machine's address as the server sees it, from the server's message. Default: `%`."""
    match = re.search(r"@'([0-9A-Za-z.:%_-]+)'", message) or re.search(r"Host '([0-9A-Za-z.:_-]+)'", message)
    return match[1] if match else "%"


def _quote_literal(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"


def _build_grant_sql(context: ProbeContext, account: str) -> str:
    """Return the statement that grants an account the privileges it needs."""
    if context.endpoint.is_administrator:
        return f"  GRANT {', '.join(PRIVILEGES)} ON *.* TO {account} WITH GRANT OPTION;"
    database = (context.database or "...").replace("`", "``").replace("_", r"\_")
    return f"  GRANT ALL PRIVILEGES ON `{database}`.* TO {account};"


def _check_administrator(context: ProbeContext, cursor: Any, greeting: str) -> None:
    """Check everything that prevents the creation of databases and users."""
    context.set_step("checking version and privileges")
    version, comment, account = _fetch_all(cursor, "SELECT VERSION(), @@version_comment, CURRENT_USER()")[0]
    _require_supported_version(context.redact(f"{greeting} {version} {comment}"), str(version))
    # A clone can have the same UUID.
    context.server_identity = _fetch_all(cursor, "SELECT @@server_uuid, @@hostname, @@port")[0]
    privileges, has_grant_option = _read_privileges(cursor)
    _check_read_only(context, cursor, privileges)
    _check_privileges(context, str(account), privileges, has_grant_option=has_grant_option)
    _check_partial_revokes(context, cursor, str(version))
    context.set_step("checking for existing databases and users")
    query = "SELECT schema_name FROM information_schema.schemata"
    databases = {str(name): None for (name,) in _fetch_all(cursor, query)}
    accounts = _list_accounts(cursor)
    check_existing_objects(context, databases, [(name, f"user {name}@{host}") for name, host in accounts])
    check_provisioned_objects(context, databases, {name for name, host in accounts if host == "%"}, TERMS)
    if context.endpoint.provisioned_databases:
        _check_read_only_databases(context, cursor)


def _fetch_all(cursor: Any, statement: str, *values: object) -> list[tuple[Any, ...]]:
    cursor.execute(statement, values)
    return list(cursor.fetchall())


def _require_supported_version(description: str, version: str) -> None:
    """Raise ProbeError for a server on which the provider or the created objects do not work."""
    if "mariadb" in description.lower():
        raise ProbeError(
            f"the server is MariaDB ({version}); the program cannot provision databases on MariaDB",
            "Pulumi's provider reads the variable innodb_version, which MariaDB 10.10 removed (error 1193). Users and "
            "collations differ from MySQL's too. Use MySQL or Percona Server 8.0 or later. Otherwise "
            f"{EXISTING_DATABASE_FIX}; applications can use MariaDB.",
        )
    numbers = _parse_version(version)
    if numbers and numbers < MIN_VERSION:
        raise ProbeError(
            f"the server is MySQL {version}; the program needs {MIN_VERSION[0]}.{MIN_VERSION[1]} or later",
            "Older releases do not have the collation of the created databases (utf8mb4_0900_ai_ci). Use a newer "
            f"server. Otherwise {EXISTING_DATABASE_FIX}.",
        )


def _read_privileges(cursor: Any) -> tuple[set[str], bool]:
    """Return the privileges on *.*, with those of active roles, and whether the account may grant them."""
    lines = [str(row[0]) for row in _fetch_all(cursor, "SHOW GRANTS")]
    matches = [match for line in lines if (match := re.match(r"GRANT (.+?) ON \*\.\* TO (.*)", line))]
    privileges = {privilege.strip() for match in matches for privilege in match[1].split(",")}
    grantable = {*PRIVILEGES, "ALL PRIVILEGES", "USAGE"}
    has_grant_option = any("WITH GRANT OPTION" in match[2] for match in matches if {*match[1].split(", ")} & grantable)
    return (privileges | set(PRIVILEGES) if "ALL PRIVILEGES" in privileges else privileges), has_grant_option


def _check_privileges(context: ProbeContext, account: str, privileges: set[str], *, has_grant_option: bool) -> None:
    """Add a finding for missing privileges. `account` is user@host, and the user may contain an @."""
    missing = [privilege for privilege in PRIVILEGES if privilege not in privileges]
    names = missing + ([] if has_grant_option else ["GRANT OPTION"])
    if names:
        user, _, host = account.rpartition("@")
        grantee = f"{_quote_literal(user)}@{_quote_literal(host)}"
        context.add_finding(
            Finding(
                f"missing privileges of the administrator on *.*: {', '.join(names)}",
                "Grant them as an administrator of the server. A role's privileges count only if the role is active "
                f"at login (SET DEFAULT ROLE):\n  GRANT {', '.join(missing or ['USAGE'])} ON *.* TO {grantee} WITH "
                "GRANT OPTION;",
            )
        )


def _check_read_only(context: ProbeContext, cursor: Any, privileges: set[str]) -> None:
    """Report a server that rejects changes by this administrator or by the applications."""
    names = ("super_read_only", "read_only", "transaction_read_only", "offline_mode")
    values = _fetch_all(cursor, f"SELECT {', '.join(f'@@global.{name}' for name in names)}")[0]
    enabled = [name for name, value in zip(names, values, strict=True) if int(value)]
    if "super_read_only" in enabled or ("read_only" in enabled and not privileges & {"SUPER", "CONNECTION_ADMIN"}):
        add_read_only_finding(
            context,
            f"the server rejects changes ({enabled[0]} is on): it is a replica",
            "Set `host` to the source server. If the server is no longer a replica:\n"
            "  SET GLOBAL super_read_only = OFF, GLOBAL read_only = OFF;",
        )
    elif "transaction_read_only" in enabled:
        add_read_only_finding(context, *_explain_variable("transaction_read_only", "changes"))
    elif "read_only" in enabled:
        add_warning(context, *_explain_variable("read_only", "changes of the applications"))
    if "offline_mode" in enabled:
        add_warning(context, *_explain_variable("offline_mode", "logins of the applications"))


def _explain_variable(name: str, rejected: str) -> tuple[str, str]:
    """Return the result and the fix for a server whose variable rejects something."""
    result = f"the server rejects {rejected} ({name} is on)"
    return result, f"Switch it off as an administrator of the server:\n  SET GLOBAL {name} = OFF;"


def _check_read_only_databases(context: ProbeContext, cursor: Any) -> None:
    """Add a warning for each provisioned database that is read-only (`ALTER SCHEMA`, from MySQL 8.0.22 on)."""
    query = "SELECT schema_name FROM information_schema.schemata_extensions WHERE options LIKE '%%READ ONLY=1%%'"
    try:
        names = {str(name) for (name,) in _fetch_all(cursor, query)}
    except pymysql.MySQLError:
        return  # an earlier release has no such view
    for provisioned in context.endpoint.provisioned_databases:
        if provisioned.database in names:
            add_warning(
                context,
                f"database {provisioned.database} rejects changes: it is read-only",
                f"Change it as an administrator of the server:\n  ALTER SCHEMA `{provisioned.database}` READ ONLY = 0;",
                path=provisioned.path,
            )


def _check_partial_revokes(context: ProbeContext, cursor: Any, version: str) -> None:
    """Add a finding for each database whose grant would have another name.

    A grant escapes each `_`, which otherwise matches any character. With partial revokes it matches itself only.
    """
    has_variable = _parse_version(version) >= FIRST_VERSION_WITH_PARTIAL_REVOKES
    if not has_variable or not int(_fetch_all(cursor, "SELECT @@global.partial_revokes")[0][0]):
        return
    endpoint = context.endpoint
    granted = [(planned.path, planned.database) for planned in endpoint.planned_databases]
    granted += [
        (provisioned.path, provisioned.database)
        for provisioned in endpoint.provisioned_databases
        if provisioned.adopt or provisioned.is_created_again
    ]
    for path, database in granted:
        if "_" in database:
            context.add_finding(
                Finding(
                    f"partial_revokes is on: the grant would not cover the database {database}",
                    "Set `database` to a name without '_', or disable the variable on the server:\n"
                    "  SET PERSIST partial_revokes = OFF;",
                    path=path,
                )
            )


def _parse_version(version: str) -> tuple[int, ...]:
    """Return the numbers at the start of a version."""
    match = re.match(r"[0-9]+(\.[0-9]+)*", version)
    return tuple(map(int, match[0].split("."))) if match else ()


def _list_accounts(cursor: Any) -> list[tuple[str, str]]:
    """Return user and host of every account.

    The view user_attributes needs CREATE USER only, so it is used if mysql.user cannot be read.
    """
    try:
        rows = _fetch_all(cursor, "SELECT user, host FROM mysql.user")
    except pymysql.MySQLError:
        rows = _fetch_all(cursor, "SELECT user, host FROM information_schema.user_attributes")
    return [(str(user), str(host)) for user, host in rows]
