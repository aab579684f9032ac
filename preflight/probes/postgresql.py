"""The probe of PostgreSQL."""

import ipaddress
import logging
import re
import ssl
from collections.abc import Mapping, Sequence
from typing import Any

import psycopg

from preflight.certificates import verify_certificate
from preflight.errors import AuthenticationRequiredError, ProbeError, TlsNotSupportedError, UnexpectedProtocolError
from preflight.models import Finding, PlannedDatabase, ProvisionedDatabase
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
from preflight.service_detection import POSTGRESQL_SSL_REQUEST, request_postgresql_tls
from preflight.tls import create_verified_context, find_system_ca_file

__all__ = ["probe", "run_statements"]

Connection = psycopg.Connection[tuple[Any, ...]]

MAINTENANCE_DATABASE = "postgres"
MIN_VERSION = 100000
"""The server stores passwords as SCRAM-SHA-256 verifiers from 10 on."""
FIRST_VERSION_WITH_ROLE_ADMINISTRATORS = 160000
"""From 16 on, only a role with ADMIN OPTION administers another one: usually its creator (release notes, E.12.2)."""
TRUSTED_EXTENSIONS_VERSION = 130000
"""From this version on, some extensions need no superuser."""
MANAGED_SERVICE_ROLES = ("rds_superuser", "cloudsqlsuperuser", "azure_pg_admin")
"""Roles of cloud services that may create the service's extensions without being superusers."""
DISABLED_FILE = "/nonexistent/pgpass"
"""Disables a default file of libpq, so that only values of the stack file are used."""
REJECTED_BY_PG_HBA_RE = re.compile(r"no pg_hba\.conf entry|pg_hba\.conf rejects")
NO_PG_HBA_ENTRY_RE = re.compile(r'no pg_hba\.conf entry for host "([^"]+)"')
LOGIN_REJECTED = (
    "the server rejected the login",
    "Correct `username` and `password` in the stack file. Check that the role exists, and that the line of pg_hba.conf "
    "for this machine's address allows password authentication. On the server:\n"
    "  \\password {role}\n"
    "  CREATE ROLE {role} LOGIN{rights} PASSWORD '...';\n"
    "  SELECT * FROM pg_hba_file_rules;",
)
TOO_MANY_CONNECTIONS = (
    "the server accepts no more connections",
    "Close idle connections, or increase `max_connections` or the connection limit of the role or database:\n"
    "  SELECT usename, datname, state, count(*) FROM pg_stat_activity GROUP BY 1, 2, 3;",
)
NO_DATABASE_ACCESS = (
    "login succeeded, but the user cannot access the database",
    "Correct `database` in the stack file, or grant the role access:\n"
    "  GRANT CONNECT ON DATABASE {database} TO {role};",
)
MAINTENANCE_DATABASE_FIX = (
    "The program connects to the database {database} to create others. As an administrator of the server:\n"
    "  CREATE DATABASE {database};\n"
    "  GRANT CONNECT ON DATABASE {database} TO {role};"
)
RESULT_AND_FIX_OF_BROKEN_SESSION = (
    (
        "SSL error|SSL SYSCALL error|could not accept SSL",
        (
            "the TLS handshake failed",
            "Enable TLS 1.2 or later on the server (`ssl_min_protocol_version` and `ssl_ciphers` in postgresql.conf), "
            "with a cipher and a key size that this machine accepts.",
        ),
    ),
    (
        "unsupported frontend protocol|protocol version|expected authentication request",
        (
            "the server speaks another version of PostgreSQL's protocol",
            "Use PostgreSQL 10 or later, and a pooler or proxy that supports protocol 3.0.",
        ),
    ),
    (
        "closed the connection unexpectedly|[Cc]onnection reset|terminating connection",
        (
            "the server closed the connection during the login",
            "Check the server's log, and the log of a pooler or proxy before it.",
        ),
    ),
)
"""Result and fix by a pattern of the message, if the session ended before the server answered the login."""
RESULT_AND_FIX_BY_MESSAGE = (
    ("password authentication failed|no password supplied", LOGIN_REJECTED),
    (
        "client certificate|certificate authentication failed",
        (
            "the server requires a certificate of the client, which the program does not send",
            "Allow the account without `cert` and `clientcert` in pg_hba.conf, with scram-sha-256:\n"
            "  SELECT * FROM pg_hba_file_rules;",
        ),
    ),
    (
        "pg_hba.conf rejects",
        (
            "pg_hba.conf rejects this machine, account or TLS mode",
            "Remove the line with `reject`, or put a line for this account above it. Then reload it:\n"
            "  SELECT * FROM pg_hba_file_rules WHERE auth_method = 'reject';\n  SELECT pg_reload_conf();",
        ),
    ),
    (
        "server signature|nonce|SCRAM",
        (
            "the SCRAM login failed: the server does not know the password's verifier, or a proxy changed the messages",
            "Check that `host` and `port` belong to this server. A pooler needs the account's SCRAM verifier.",
        ),
    ),
    (
        "SASL authentication mechanisms|authentication method|authentication not supported|GSSAPI|SSPI|channel binding",
        (
            "the server requires an authentication method that the program does not support",
            "Set the method scram-sha-256 for this account in pg_hba.conf, and set its password again:\n"
            "  \\password {role}\n  SELECT pg_reload_conf();",
        ),
    ),
    ("too many|remaining connection slots", TOO_MANY_CONNECTIONS),
    ("database .* does not exist|permission denied for database", NO_DATABASE_ACCESS),
    (
        "is not permitted to log in",
        (
            "the role cannot log in",
            "Grant it LOGIN as an administrator of the server:\n  ALTER ROLE {role} LOGIN;",
        ),
    ),
    (
        "starting up|shutting down|in recovery mode|not yet accepting",
        (
            "the server does not accept logins yet",
            "Wait until the server has started, then run the check again. Check the server's log.",
        ),
    ),
)
"""Result and fix by a pattern of the message. The fix may contain {role}, {rights} and {database}."""

MAX_LISTED_DATABASES = 10
LIST_PUBLIC_DATABASES = "SELECT datname FROM pg_database WHERE has_database_privilege('public', oid, 'CONNECT');"
TERMS = EngineTerms(user="role", change_owner='ALTER DATABASE "{database}" OWNER TO "{username}";')
READ_ONLY_FIX = (
    "Managed services set it when the disk is full: add or free space. If someone set it on purpose, the applications "
    "cannot write. To remove it, as an administrator of the server:\n  {statement}"
)

# The driver logs each failed login as a warning.
logging.getLogger("psycopg").setLevel(logging.CRITICAL)


def probe(context: ProbeContext) -> None:
    """Log in. For an administrator, check version, privileges, existing objects and extensions."""
    if context.endpoint.tls == "verify-full":
        _verify_certificate(context)
    with open_relay(context), _log_in(context) as connection:
        if context.endpoint.is_administrator:
            _check_administrator(context, connection)
        if context.endpoint.tls is None and connection.pgconn.ssl_in_use:
            _check_plain_text(context)


def run_statements(context: ProbeContext, statements: Sequence[str]) -> list[tuple[Any, ...]]:
    """Log in, run the statements, and return the rows of the last one. Raises ProbeError."""
    rows: list[tuple[Any, ...]] = []
    connection = _log_in(context)
    try:
        with connection:
            for statement in statements:
                cursor = connection.execute(statement.encode())
                rows = cursor.fetchall() if cursor.description else []
    except psycopg.Error as error:
        raise ProbeError(
            f"the server rejected a statement: {context.redact(error)}", "Check the server's log."
        ) from None
    return rows


def _log_in(context: ProbeContext) -> Connection:
    """Log in with the endpoint's TLS mode. Without a mode, use TLS unless the server does not support it.

    libpq's mode `prefer` would repeat every rejected login in plain text. Raises an error of this package.
    """
    tls: str = context.endpoint.tls or ("disable" if request_postgresql_tls(context) == "N" else "require")
    try:
        return _connect(context, tls)
    except psycopg.Error as error:
        accepts_plain_text_only = context.endpoint.tls is None and NO_PG_HBA_ENTRY_RE.search(str(error))
        if tls != "require" or not accepts_plain_text_only:
            raise _convert_error(context, str(error)) from None
    try:
        return _connect(context, "disable")
    except psycopg.Error as error:
        raise _convert_error(context, str(error)) from None


def _connect(context: ProbeContext, tls: str, *, has_password: bool = True) -> Connection:
    endpoint, (address, port) = context.endpoint, context.target
    ca_file = endpoint.ca_file or find_system_ca_file() or "system"
    return psycopg.connect(
        host=endpoint.host,
        hostaddr=address,
        port=port,
        user=context.login_name,
        # Without a value, libpq uses the variable PGPASSWORD.
        password=(context.password if has_password else None) or "",
        dbname=_get_login_database(context),
        sslmode=tls,
        # Without a value, `require` verifies with a CA file in the home directory if there is one.
        sslrootcert=ca_file if tls == "verify-full" else DISABLED_FILE,
        gssencmode="disable",
        passfile=DISABLED_FILE,
        connect_timeout=max(int(context.login_timeout), 2),
        autocommit=True,
    )


def _check_plain_text(context: ProbeContext) -> None:
    """Add a warning if the server rejects connections without TLS. No password is sent."""
    try:
        _connect(context, "disable", has_password=False).close()
    except psycopg.Error as error:
        if REJECTED_BY_PG_HBA_RE.search(str(error)):
            add_tls_only_warning(context, "pg_hba.conf allows connections with TLS only")


def _get_login_database(context: ProbeContext) -> str:
    return context.database or MAINTENANCE_DATABASE


def _verify_certificate(context: ProbeContext) -> None:
    """Verify the certificate as the provider does, which is stricter than libpq and gives better reasons."""
    create_verified_context(context.endpoint.ca_file)
    answer = request_postgresql_tls(context)
    if answer == "N":
        raise _create_no_tls_error()
    if answer != "S":
        raise UnexpectedProtocolError("no answer to the request for TLS")
    verify_certificate(context, lambda ssl_context: _start_tls(context, ssl_context))


def _start_tls(context: ProbeContext, ssl_context: ssl.SSLContext) -> bytes | None:
    """Start TLS as libpq does, then close the connection. Returns the server's certificate."""
    with context.connect() as connection:
        connection.sendall(POSTGRESQL_SSL_REQUEST)
        connection.recv(1)
        with ssl_context.wrap_socket(connection, server_hostname=context.endpoint.host) as wrapped:
            return wrapped.getpeercert(binary_form=True)


def _create_no_tls_error() -> TlsNotSupportedError:
    return TlsNotSupportedError("Set `ssl = on`, `ssl_cert_file` and `ssl_key_file` in postgresql.conf")


def _convert_error(context: ProbeContext, text: str) -> Exception:
    """Convert an error of the driver to one of this package."""
    message = context.redact(_find_last_error(text))
    if match := NO_PG_HBA_ENTRY_RE.search(text):
        is_encrypted = "no encryption" not in text and "SSL off" not in text
        return _explain_missing_pg_hba_entry(context, message, match[1], is_encrypted=is_encrypted)
    if "does not support SSL" in text:
        return _create_no_tls_error()
    known = _find_entry(RESULT_AND_FIX_BY_MESSAGE, text)
    if not known and (error := _explain_broken_session(context, text, message)):
        return error
    if not context.username:
        return AuthenticationRequiredError(message)
    result, fix = known or LOGIN_REJECTED
    if known == NO_DATABASE_ACCESS and context.endpoint.is_administrator:
        fix = MAINTENANCE_DATABASE_FIX
    fix = fix.format(
        role=_quote_identifier(context.login_name),
        rights=" CREATEDB CREATEROLE" if context.endpoint.is_administrator else "",
        database=_quote_identifier(_get_login_database(context)),
    )
    return ProbeError(f"{result}: {message}", fix)


def _explain_broken_session(context: ProbeContext, text: str, message: str) -> Exception | None:
    """Explain why the server did not answer the login. None if it probably rejected it."""
    if request_postgresql_tls(context) not in ("S", "N"):
        return UnexpectedProtocolError(message)
    if broken := _find_entry(RESULT_AND_FIX_OF_BROKEN_SESSION, text):
        return ProbeError(f"{broken[0]}: {message}", broken[1])
    if "timeout expired" in text:
        return ProbeError("the server does not answer the login in time", context.timeout_fix)
    return None


def _find_entry(table: Sequence[tuple[str, tuple[str, str]]], text: str) -> tuple[str, str] | None:
    """Return the result and the fix of the first pattern that a message matches."""
    return next((entry for pattern, entry in table if re.search(pattern, text)), None)


def _find_last_error(text: str) -> str:
    """Return the error of the last connection attempt, without the address, which the finding contains anyway."""
    lines = [line for line in text.splitlines() if line.strip()] or [text]
    return re.sub(r"^.* failed: (?=.)", "", lines[-1])


def _explain_missing_pg_hba_entry(
    context: ProbeContext, message: str, address: str, *, is_encrypted: bool
) -> ProbeError:
    """Explain that pg_hba.conf has no line for this machine. `is_encrypted`: whether the connection used TLS."""
    requires_tls = context.endpoint.tls in ("require", "verify-full")
    line = _build_pg_hba_line(context, address, requires_tls=requires_tls)
    hint = "\nIf it has a `hostssl` line for this machine, set `tls: verify-full` or `tls: require` in the stack file."
    return ProbeError(
        f"pg_hba.conf has no line for this machine, account and TLS mode: {message}",
        f"Add this line to pg_hba.conf (SHOW hba_file), above other lines that match:\n  {line}\n"
        f"Then:\n  SELECT pg_reload_conf();{'' if is_encrypted or requires_tls else hint}",
    )


def _build_pg_hba_line(context: ProbeContext, address: str, *, requires_tls: bool) -> str:
    """Return the line of pg_hba.conf that allows the account from an address."""
    database = "all" if context.endpoint.is_administrator else _quote_pg_hba(context.database or "all")
    try:
        network = str(ipaddress.ip_network(address.partition("%")[0]))
    except ValueError:
        network = "samehost"
    connection_type = "hostssl" if requires_tls else "host"
    return f"{connection_type}  {database}  {_quote_pg_hba(context.login_name)}  {network}  scram-sha-256"


def _quote_pg_hba(name: str) -> str:
    return name if re.fullmatch(r"[a-z_][a-z0-9_]*", name) and name != "all" else _quote_identifier(name)


def _quote_identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _check_administrator(context: ProbeContext, connection: Connection) -> None:
    """Check everything that prevents the creation of databases and roles."""
    context.set_step("checking version and privileges")
    version = connection.info.parameter_status("server_version") or ""
    _require_supported_version(connection.info.server_version, context.redact(version))
    # A clone has the same system identifier, but another start. Every role can read the start.
    context.server_identity = _fetch_all(connection, "SELECT extract(epoch FROM pg_postmaster_start_time())")[0]
    _check_read_only(context, connection)
    query = "SELECT rolsuper, rolcreatedb, rolcreaterole FROM pg_roles WHERE rolname = current_user"
    is_superuser, can_create_databases, can_create_roles = _fetch_all(connection, query)[0]
    # From 16 on, the creator of a role can grant itself the membership that the program needs. No right is missing.
    missing = [] if can_create_databases or is_superuser else ["CREATEDB"]
    missing += [] if can_create_roles or is_superuser else ["CREATEROLE"]
    if missing:
        role = _quote_identifier(context.login_name)
        context.add_finding(
            Finding(
                f"missing privileges of the administrator: {', '.join(missing)}",
                f"Grant them as a superuser of the server:\n  ALTER ROLE {role} CREATEDB CREATEROLE;",
            )
        )
    context.set_step("checking for existing databases and roles")
    query = "SELECT datname, pg_get_userbyid(datdba) FROM pg_database"
    owners = {str(name): str(owner) for name, owner in _fetch_all(connection, query)}
    roles = [str(name) for (name,) in _fetch_all(connection, "SELECT rolname FROM pg_roles")]
    check_existing_objects(context, owners, [(role, f"role {role}") for role in roles])
    check_provisioned_objects(context, owners, roles, TERMS)
    if connection.info.server_version >= FIRST_VERSION_WITH_ROLE_ADMINISTRATORS and not is_superuser:
        _check_role_administrator(context, connection, owners)
    context.set_step("checking the privileges of PUBLIC")
    _check_public_databases(context, connection)
    context.set_step("checking extensions")
    _check_extensions(context, connection, is_superuser=is_superuser)


def _check_role_administrator(context: ProbeContext, connection: Connection, owners: Mapping[str, str]) -> None:
    """Add a finding for each provisioned role that another administrator created."""
    query = "SELECT rolname FROM pg_roles WHERE rolname = ANY(%s) AND NOT pg_has_role(oid, 'USAGE WITH ADMIN OPTION')"
    by_username = {
        username: provisioned
        for provisioned in context.endpoint.provisioned_databases
        if owners.get(provisioned.database) == provisioned.username
        for username in (provisioned.username, provisioned.second_username)
    }
    for (username,) in _fetch_all(connection, query, list(by_username)):
        role, administrator = _quote_identifier(username), _quote_identifier(context.login_name)
        context.add_finding(
            Finding(
                f"the administrator cannot change role {username}: another administrator created it",
                "Set the earlier administrator again, or log in with it and run:\n"
                f"  GRANT {role} TO {administrator} WITH ADMIN OPTION;",
                path=by_username[username].path,
            )
        )


def _check_public_databases(context: ProbeContext, connection: Connection) -> None:
    """Add one warning for all databases of others to which every role, also an application's, can connect."""
    query = (
        "SELECT datname FROM pg_database WHERE datallowconn AND has_database_privilege('public', oid, 'CONNECT') "
        "AND datname NOT IN ('template0', 'template1') AND datname <> ALL(%s) ORDER BY 1"
    )
    endpoint = context.endpoint
    own = [planned.database for planned in endpoint.planned_databases]
    own += [provisioned.database for provisioned in endpoint.provisioned_databases]
    names = [str(name) for (name,) in _fetch_all(connection, query, own)]
    if not names:
        return
    listed, more = names[:MAX_LISTED_DATABASES], len(names) - MAX_LISTED_DATABASES
    statements = [f"REVOKE CONNECT ON DATABASE {_quote_identifier(name)} FROM PUBLIC;" for name in listed]
    if _get_login_database(context) in names:
        login_database, role = _quote_identifier(_get_login_database(context)), _quote_identifier(context.login_name)
        statements.insert(0, f"GRANT CONNECT ON DATABASE {login_database} TO {role};")
    if more > 0:
        statements.append(f"-- and {more} more: {LIST_PUBLIC_DATABASES}")
    add_warning(
        context,
        f"the users of applications can connect to databases of others, because PUBLIC may: {', '.join(listed)}"
        + (f" and {more} more" if more > 0 else ""),
        "Grant CONNECT to the roles that need it, then revoke it from PUBLIC, as an administrator of the server:\n"
        + "\n".join(f"  {statement}" for statement in statements),
    )


def _check_read_only(context: ProbeContext, connection: Connection) -> None:
    """Report a server or a provisioned database that rejects changes."""
    query = "SELECT pg_is_in_recovery(), current_setting('transaction_read_only')::boolean"
    is_standby, is_read_only = _fetch_all(connection, query)[0]
    if is_standby:
        add_read_only_finding(
            context,
            "the server rejects changes: it is a standby",
            "Set `host` to the primary server. To find it, on this server:\n"
            "  SELECT sender_host, sender_port FROM pg_stat_wal_receiver;",
        )
    elif is_read_only:
        add_read_only_finding(
            context,
            "the server rejects changes: default_transaction_read_only is on",
            READ_ONLY_FIX.format(
                statement="ALTER SYSTEM SET default_transaction_read_only = off;\n  SELECT pg_reload_conf();"
            ),
        )
    elif context.endpoint.provisioned_databases:
        _check_read_only_databases(context, connection)


def _check_read_only_databases(context: ProbeContext, connection: Connection) -> None:
    """Add a warning for each provisioned database whose own settings reject changes."""
    query = (
        "SELECT d.datname, r.rolname, split_part(s.setting, '=', 2)::boolean FROM "
        "(SELECT setdatabase, setrole, unnest(setconfig) AS setting FROM pg_db_role_setting) s "
        "LEFT JOIN pg_database d ON d.oid = s.setdatabase LEFT JOIN pg_roles r ON r.oid = s.setrole "
        "WHERE split_part(s.setting, '=', 1) = 'default_transaction_read_only'"
    )
    rows = _fetch_all(connection, query)
    for provisioned in context.endpoint.provisioned_databases:
        # The most specific setting applies: of a role in a database, of a role, of a database.
        applicable = [
            (role is not None, database is not None, is_read_only)
            for database, role, is_read_only in rows
            if database in (None, provisioned.database) and role in (None, provisioned.username)
        ]
        if not (applicable and max(applicable)[2]):
            continue
        of_role, in_database, _ = max(applicable)
        database, role = _quote_identifier(provisioned.database), _quote_identifier(provisioned.username)
        subject = (
            f"ROLE {role}" + (f" IN DATABASE {database}" if in_database else "") if of_role else f"DATABASE {database}"
        )
        add_warning(
            context,
            f"database {provisioned.database} rejects changes of the application: default_transaction_read_only is on",
            READ_ONLY_FIX.format(statement=f"ALTER {subject} RESET default_transaction_read_only;"),
            path=provisioned.path,
        )


def _fetch_all(connection: Connection, statement: str, *values: object) -> list[tuple[Any, ...]]:
    return connection.execute(statement.encode(), values).fetchall()


def _require_supported_version(version: int, name: str) -> None:
    """Raise ProbeError for a server that the provider does not support."""
    if version < MIN_VERSION:
        raise ProbeError(
            f"the server is PostgreSQL {name}; the program needs 10 or later (tested: 15 and later)",
            "Use a newer server. Otherwise create database and role yourself and set `host`, `database`, `username` "
            "and `password` instead of `provisionOn`.",
        )


def _check_extensions(context: ProbeContext, connection: Connection, *, is_superuser: bool) -> None:
    """Add a finding for each extension to create that is not available or that the administrator cannot create."""
    endpoint = context.endpoint
    recreated = (database for database in endpoint.provisioned_databases if database.is_created_again)
    databases: list[PlannedDatabase | ProvisionedDatabase] = [*endpoint.planned_databases, *recreated]
    planned = [(database, name) for database in databases for name in database.extensions]
    if not planned:
        return
    trusted = "v.trusted" if connection.info.server_version >= TRUSTED_EXTENSIONS_VERSION else "false"
    query = (
        f"SELECT e.name, NOT v.superuser OR {trusted} FROM pg_available_extensions e "  # noqa: S608 - one of two constants
        "JOIN pg_available_extension_versions v ON v.name = e.name AND v.version = e.default_version"
    )
    needs_no_superuser = {str(name): bool(value) for name, value in _fetch_all(connection, query)}
    query = "SELECT 1 FROM pg_roles WHERE rolname = ANY(%s) AND pg_has_role(oid, 'member')"
    can_create_all = is_superuser or bool(_fetch_all(connection, query, list(MANAGED_SERVICE_ROLES)))
    for database, name in planned:
        if name not in needs_no_superuser:
            result = f"the extension {name} is not available on the server"
            fix = (
                "Install its package for the server's major version (Debian: postgresql-contrib or "
                "postgresql-<version>-<extension>), or correct its name in `extensions`. To list all:\n"
                "  SELECT name FROM pg_available_extensions ORDER BY 1;"
            )
        elif not (can_create_all or needs_no_superuser[name]):
            result = f"the extension {name} requires a superuser, and the administrator is not one"
            fix = (
                "Use a superuser as the administrator. Otherwise remove it from `extensions`, and create it as a "
                f"superuser after the update:\n  \\connect {_quote_identifier(database.database)}\n"
                f"  CREATE EXTENSION {_quote_identifier(name)};"
            )
        else:
            continue
        context.add_finding(Finding(result, fix, path=database.path))
