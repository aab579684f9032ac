"""PostgreSQL: logins, privileges and existing objects on real servers; versions and messages on fake ones."""

import socket
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest

from preflight import check, run_checks, run_statements
from preflight.errors import ProbeError
from preflight.models import Endpoint, Finding, PlannedDatabase, ProvisionedDatabase
from preflight.probes import postgresql as postgresql_probe
from tests.e2e.servers import DatabaseServer
from tests.e2e.tls import DAY, Authority, Secured, postgresql_with_tls
from tests.preflight.fakes import (
    MakeFake,
    administrator_endpoint,
    only,
    reject_postgresql_login,
    results,
)

FindServer = Callable[[str], DatabaseServer]
CreateRole = Callable[[str], dict[str, str]]
EACH_SERVER = pytest.mark.parametrize("name", ["postgresql", "postgresql17"])
endpoint = partial(administrator_endpoint, engine="postgresql")

ROLE = "preflight_role"
HOSTILE_PASSWORD = "c4narY '\"\\ %s {x} ü€"
NO_TLS = "the server does not support TLS on this port"


def connect_as_superuser(secured: Secured) -> "psycopg.Connection[tuple[Any, ...]]":
    return psycopg.connect(
        host="127.0.0.1",
        port=secured.port,
        user=secured.username,
        password=secured.password,
        dbname="postgres",
        autocommit=True,
    )


def run_as_superuser(secured: Secured, *statements: str) -> None:
    with connect_as_superuser(secured) as connection:
        for statement in statements:
            connection.execute(statement.encode())


@contextmanager
def replace_certificate(secured: Secured, certificate: tuple[bytes, bytes]) -> Iterator[None]:
    """Give the server another certificate and key in the context."""
    files = [secured.ca.with_name(name) for name in ("server.pem", "server.key")]

    def load(contents: Iterable[bytes]) -> None:
        for path, content in zip(files, contents, strict=True):
            path.write_bytes(content)
        with connect_as_superuser(secured) as connection:

            def read_load_time() -> object:
                return connection.execute("SELECT pg_conf_load_time()").fetchone()

            before = read_load_time()
            connection.execute("SELECT pg_reload_conf()")
            wait_until(lambda: read_load_time() != before)

    original = [path.read_bytes() for path in files]
    load(certificate)
    try:
        yield
    finally:
        load(original)


def run_other_checks(endpoints: list[Endpoint]) -> list[Finding]:
    """Run the checks. Leave out the warning about PUBLIC, which every new server causes."""
    return [finding for finding in run_checks(endpoints) if finding.check != "checking the privileges of PUBLIC"]


def wait_until(is_done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not is_done():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.fixture
def create_role(server: FindServer) -> Iterator[CreateRole]:
    """Return a function that creates a role with attributes and returns the role's account."""
    superuser = server("postgresql")

    def create(attributes: str) -> dict[str, str]:
        literal = psycopg.sql.Literal(HOSTILE_PASSWORD).as_string()
        with superuser.administrator() as session:
            session.run(f'DROP ROLE IF EXISTS "{ROLE}"')
            session.run(f'CREATE ROLE "{ROLE}" LOGIN {attributes} PASSWORD {literal}')
        return {"username": ROLE, "password": HOSTILE_PASSWORD}

    yield create
    superuser.drop(ROLE)


@EACH_SERVER
@pytest.mark.parametrize("kind", ["", "-limited"], ids=["superuser", "limited"])
def test_an_administrator_with_all_privileges_passes(name: str, kind: str, server: FindServer) -> None:
    planned = (PlannedDatabase(path="p", username="preflight_new", database="preflight_new"),)
    administrator = server(name + kind)
    assert check([endpoint(administrator, tls="disable", planned_databases=planned), endpoint(administrator)]) == []


@EACH_SERVER
def test_two_addresses_of_one_server_are_detected(name: str, server: FindServer) -> None:
    """Every administrator can read the identity."""
    planned = PlannedDatabase(path="applications.a", username="preflight_new", database="preflight_new")
    other = replace(planned, path="applications.b")
    administrator = endpoint(server(name), planned_databases=(planned,))
    alias = endpoint(server(f"{name}-limited"), host="127.0.0.1", planned_databases=(other,))
    finding = only(check([administrator, alias]))
    assert finding.path == "applications.b"
    assert finding.result == (
        f"{alias.address} and {administrator.address} are one server, and applications.a has the same database "
        "preflight_new and user preflight_new"
    )


@pytest.mark.parametrize(
    ("attributes", "missing"),
    [("CREATEROLE", "CREATEDB"), ("CREATEDB", "CREATEROLE"), ("", "CREATEDB, CREATEROLE")],
)
def test_missing_privileges_are_named_with_the_statement_that_grants_them(
    attributes: str, missing: str, server: FindServer, create_role: CreateRole
) -> None:
    administrator = endpoint(server("postgresql"), account=create_role(attributes))
    finding = only(check([administrator]))
    assert finding.result == f"missing privileges of the administrator: {missing}"
    statement = finding.fix.splitlines()[-1].strip()
    assert statement == f'ALTER ROLE "{ROLE}" CREATEDB CREATEROLE;'
    with server("postgresql").administrator() as session:
        session.run(statement)
    assert check([administrator]) == []


def test_a_wrong_password_is_reported_without_the_password(server: FindServer) -> None:
    account = {"username": "postgres", "password": "c4narY"}
    finding = only(check([endpoint(server("postgresql"), account=account)]))
    assert finding.result == f'{REJECTED}: FATAL: password authentication failed for user "postgres"'
    assert all(part in finding.fix for part in ("`password`", "pg_hba.conf"))
    assert "c4narY" not in str(finding)


def test_an_application_needs_access_to_its_database(server: FindServer) -> None:
    limited = server("postgresql-limited")
    account = {"username": limited.username, "password": limited.password, "database": "missing"}
    finding = only(check([endpoint(limited, is_administrator=False, account=account)]))
    assert finding.result.startswith("login succeeded, but the user cannot access the database: ")
    assert finding.result.endswith('database "missing" does not exist')


@EACH_SERVER
def test_existing_objects_are_reported_for_their_group(name: str, server: FindServer) -> None:
    planned = (
        PlannedDatabase(path="applications.a", username="preflight_new", database="preflight_new"),
        PlannedDatabase(path="applications.b", username="postgres", database="preflight_new2"),
        PlannedDatabase(path="applications.c", username="preflight_new3", database="template1"),
        PlannedDatabase(path="applications.d", username="postgres", database="template1"),
    )
    findings = check([endpoint(server(f"{name}-limited"), planned_databases=planned)])
    assert [(finding.path, finding.result) for finding in findings] == [
        ("applications.b", "role postgres already exists on the server"),
        ("applications.c", "database template1 already exists on the server"),
        ("applications.d", "database template1 and role postgres already exist on the server"),
    ]
    assert all(f"`{key}`" in findings[0].fix for key in ("database", "username", "host", "provisionOn"))


@EACH_SERVER
def test_unavailable_extensions_are_reported(name: str, server: FindServer) -> None:
    extensions = ("citext", "no_such", "pg_stat_statements")
    planned = (PlannedDatabase(path="applications.a", username="new", database="new", extensions=extensions),)
    missing = "the extension no_such is not available on the server"
    untrusted = "the extension pg_stat_statements requires a superuser, and the administrator is not one"
    findings = check([endpoint(server(f"{name}-limited"), planned_databases=planned)])
    assert [finding.path for finding in findings] == ["applications.a"] * 2
    assert results(findings) == [missing, untrusted]
    assert results(check([endpoint(server(name), planned_databases=planned)])) == [missing]


def test_endpoints_of_one_server_get_the_findings_of_their_own_groups(server: FindServer) -> None:
    planned = [PlannedDatabase(path=f"applications.{name}", username="postgres", database=name) for name in "ab"]
    findings = check([endpoint(server("postgresql"), path=each.path, planned_databases=(each,)) for each in planned])
    assert [finding.path for finding in findings] == ["applications.a", "applications.b"]


@pytest.mark.parametrize(("version", "name"), [(90624, "9.6.24"), (80400, "8.4.0")])
def test_a_server_that_the_provider_does_not_support_is_rejected(version: int, name: str) -> None:
    with pytest.raises(ProbeError) as caught:
        postgresql_probe._require_supported_version(version, name)
    result = f"the server is PostgreSQL {name}; the program needs 10 or later (tested: 15 and later)"
    assert caught.value.finding.result == result


@pytest.mark.parametrize("version", [100000, 150000, 180000])
def test_a_server_that_the_provider_supports_passes(version: int) -> None:
    postgresql_probe._require_supported_version(version, "it")


NO_ENTRY = "pg_hba.conf has no line for this machine, account and TLS mode"
NO_ENTRY_MESSAGE = 'no pg_hba.conf entry for host "{}", user "shop", database "shop", no encryption'
NO_ACCESS = "login succeeded, but the user cannot access the database"
FULL = "the server accepts no more connections"
NOT_READY = "the server does not accept logins yet"
REJECTED = "the server rejected the login"
TLS_ONLY = "the server accepts only TLS, and `tls` is not set: pg_hba.conf allows connections with TLS only"
BY_PG_HBA = "pg_hba.conf rejects this machine, account or TLS mode"
CLIENT_CERTIFICATE = "the server requires a certificate of the client, which the program does not send"
OTHER_METHOD = "the server requires an authentication method that the program does not support"
OTHER_PROTOCOL = "the server speaks another version of PostgreSQL's protocol"


@pytest.mark.parametrize(
    ("message", "result", "fix"),
    [
        (NO_ENTRY_MESSAGE.format("10.1.2.3"), NO_ENTRY, "host  shop  shop  10.1.2.3/32  scram-sha-256"),
        (NO_ENTRY_MESSAGE.format("fd00::5"), NO_ENTRY, "fd00::5/128"),
        ("sorry, too many clients already", FULL, "max_connections"),
        ("remaining connection slots are reserved for superusers", FULL, "max_connections"),
        ("the database system is starting up", NOT_READY, "run the check again"),
        ("the database system is in recovery mode", NOT_READY, "run the check again"),
        ('role "shop" is not permitted to log in', "the role cannot log in", 'ALTER ROLE "shop" LOGIN;'),
        ('permission denied for database "shop"', NO_ACCESS, 'GRANT CONNECT ON DATABASE "shop" TO "shop";'),
        ('database "shop" does not exist', NO_ACCESS, "`database`"),
        ('pg_hba.conf rejects connection for host "10.1.2.3", user "shop"', BY_PG_HBA, "pg_reload_conf"),
        ("connection requires a valid client certificate", CLIENT_CERTIFICATE, "`clientcert`"),
        ('certificate authentication failed for user "shop"', CLIENT_CERTIFICATE, "scram-sha-256"),
        ("unsupported frontend protocol 3.0: server supports 1.0 to 2.0", OTHER_PROTOCOL, "PostgreSQL 10"),
        ("authentification par mot de passe échouée", REJECTED, 'CREATE ROLE "shop" LOGIN PASSWORD'),
    ],
)
def test_an_error_of_the_server_has_its_result_and_fix(message: str, result: str, fix: str, fake: MakeFake) -> None:
    account = {"username": "shop", "password": "wrong-one", "database": "shop"}
    finding = only(check([fake(reject_postgresql_login(message)).endpoint("postgresql", account=account)]))
    assert finding.result == f"{result}: FATAL: {message}"
    assert fix in finding.fix
    assert "{" not in finding.fix


@pytest.mark.parametrize(
    ("answer", "result"),
    [
        (b"R\0\0\0\x15\0\0\0\x0aSCRAM-OTHER\0\0", OTHER_METHOD),
        (b"R\0\0\0\x08\0\0\0\x02", OTHER_METHOD),
        (b"R\0\0\0\x08\0\0\0\x07", OTHER_METHOD),
        (b"", "the server closed the connection during the login"),
        (b"S\0\0\0\x08\0\0\0\0", OTHER_PROTOCOL),
    ],
    ids=["SASL", "Kerberos", "GSSAPI", "end", "another message"],
)
def test_a_failed_login_has_its_result_and_fix(answer: bytes, result: str, fake: MakeFake) -> None:
    def handler(connection: socket.socket) -> None:
        if connection.recv(1000)[4:8] == b"\x04\xd2\x16\x2f":
            connection.sendall(b"N")
            connection.recv(1000)
        connection.sendall(answer)

    account = {"username": "shop", "password": "wrong-one"}
    finding = only(check([fake(handler).endpoint("postgresql", account=account)]))
    assert finding.result.startswith(f"{result}: ")
    assert "{" not in finding.fix


def test_an_administrator_needs_the_maintenance_database(fake: MakeFake) -> None:
    server = fake(reject_postgresql_login('database "postgres" does not exist'))
    account = {"username": "admin", "password": "right-one"}
    finding = only(check([server.endpoint("postgresql", account=account, is_administrator=True)]))
    assert finding.result == f'{NO_ACCESS}: FATAL: database "postgres" does not exist'
    assert 'CREATE DATABASE "postgres";' in finding.fix


def test_a_check_without_an_account_needs_an_answer_only(fake: MakeFake) -> None:
    server = fake(reject_postgresql_login('password authentication failed for user "x"'))
    assert check([server.endpoint("postgresql")]) == []


def test_every_tls_mode_works_with_the_ca_file(secured_postgresql: Secured) -> None:
    modes = (None, "disable", "require", "verify-full")
    secured = partial(endpoint, secured_postgresql, ca_file=str(secured_postgresql.ca))
    assert check([secured(tls=mode, path=str(mode)) for mode in modes]) == []


def test_the_systems_ca_certificates_are_the_default(
    secured_postgresql: Secured, monkeypatch: pytest.MonkeyPatch
) -> None:
    verified = endpoint(secured_postgresql, tls="verify-full")
    finding = only(check([verified]))
    assert "it is not in the CA certificates of this system" in finding.result
    assert all(part in finding.fix for part in ("`caFile`", "SSL_CERT_FILE", "`tls: require`"))
    monkeypatch.setenv("SSL_CERT_FILE", str(secured_postgresql.ca))
    assert check([verified]) == []


def test_a_certificate_of_another_ca_is_rejected(secured_postgresql: Secured, tmp_path: Path) -> None:
    other = tmp_path / "other.pem"
    other.write_bytes(Authority("another").pem)
    finding = only(check([endpoint(secured_postgresql, tls="verify-full", ca_file=str(other))]))
    start = f"an unknown CA CN=Authority of a test signed the server's certificate; it is not in {other} ("
    assert finding.result.startswith(start)
    assert check([endpoint(secured_postgresql, tls="require", ca_file=str(other))]) == []


@pytest.mark.parametrize(
    ("content", "reason"), [(None, "the file does not exist"), ("nonsense", "the file is not valid PEM")]
)
def test_an_invalid_ca_file_is_reported(
    content: str | None, reason: str, secured_postgresql: Secured, tmp_path: Path
) -> None:
    path = tmp_path / "ca.pem"
    if content:
        path.write_text(content)
    findings = check([endpoint(secured_postgresql, tls="verify-full", ca_file=str(path))])
    assert results(findings) == [f"cannot read CA certificates from {path}: {reason}"]


def test_a_certificate_for_another_host_is_rejected(secured_postgresql: Secured) -> None:
    ca_file = str(secured_postgresql.ca)
    finding = only(check([endpoint(secured_postgresql, tls="verify-full", ca_file=ca_file, host="127.0.0.1")]))
    assert finding.result == "the server's certificate is not valid for 127.0.0.1: it is valid for localhost"
    assert finding.fix.startswith("Set `host` to one of these names, or use a certificate with 127.0.0.1")


@pytest.mark.parametrize(
    ("names", "since", "until", "result"),
    [
        (("localhost",), -3 * DAY, -2 * DAY, "the server's certificate expired on 20"),
        (("localhost",), 2 * DAY, 3 * DAY, "the server's certificate is not valid before 20"),
        ((), -DAY, DAY, "the server's certificate is not valid for localhost: it has no subject alternative names"),
    ],
    ids=["expired", "not yet valid", "without names"],
)
def test_an_invalid_certificate_is_rejected(
    names: tuple[str, ...],
    since: timedelta,
    until: timedelta,
    result: str,
    *,
    authority: Authority,
    secured_postgresql: Secured,
) -> None:
    with replace_certificate(secured_postgresql, authority.issue(*names, since=since, until=until)):
        verified = endpoint(secured_postgresql, tls="verify-full", ca_file=str(secured_postgresql.ca))
        finding = only(check([verified]))
    assert finding.result.startswith(result)


def test_a_server_that_requires_tls_rejects_plain_text(authority: Authority) -> None:
    with postgresql_with_tls(authority, "localhost", access=("hostssl all all all scram-sha-256",)) as server:
        finding = only(check([endpoint(server, tls="disable")]))
        assert run_other_checks([endpoint(server, tls="require")]) == []
        warning = only(run_other_checks([endpoint(server)]))
        wrong = {"username": server.username, "password": "c4narY"}
        log_line = only(check([endpoint(server, account=wrong)])).result
    assert (warning.is_warning, warning.result) == (True, TLS_ONLY)
    assert all(f"`tls: {mode}`" in warning.fix for mode in ("verify-full", "require"))
    assert log_line == f'{REJECTED}: FATAL: password authentication failed for user "postgres"'
    assert "no encryption" in finding.result
    assert "host  all  postgres  127.0.0.1/32  scram-sha-256" in finding.fix
    assert "If it has a `hostssl` line for this machine, set `tls: verify-full`" in finding.fix


@pytest.mark.parametrize("tls", ["require", "verify-full"])
def test_a_server_without_tls_gets_no_plain_text_login(tls: str, server: FindServer) -> None:
    finding = only(check([endpoint(server("postgresql"), tls=tls)]))
    assert finding.result == NO_TLS
    assert all(part in finding.fix for part in ("ssl_cert_file", "`tls: disable`"))


def test_a_standby_is_rejected_for_administrators_only(authority: Authority) -> None:
    """It is a warning if every database exists already."""
    existing = (ProvisionedDatabase(path="applications.a", username="postgres", database="postgres"),)
    with postgresql_with_tls(authority, "localhost", standby=True) as standby:
        assert results(check([endpoint(standby)])) == ["the server rejects changes: it is a standby"]
        assert check([endpoint(standby, is_administrator=False)]) == []
        finding = only(run_other_checks([endpoint(standby, provisioned_databases=existing)]))
    assert (finding.is_warning, finding.result) == (True, "the server rejects changes: it is a standby")


@EACH_SERVER
def test_databases_of_earlier_updates_are_compared_with_the_server(name: str, server: FindServer) -> None:
    provisioned = tuple(
        ProvisionedDatabase(path=path, username=username, database=database)
        for path, username, database in (
            ("applications.a", "postgres", "postgres"),
            ("applications.b", "postgres", "preflight_missing"),
            ("applications.c", "preflight_missing", "preflight_missing"),
            ("applications.d", server(f"{name}-limited").username, "postgres"),
        )
    )
    findings = run_other_checks([endpoint(server(name), tls="disable", provisioned_databases=provisioned)])
    assert [(finding.path, finding.result.partition(";")[0]) for finding in findings] == [
        ("applications.b", "database preflight_missing is missing on the server"),
        ("applications.c", "database preflight_missing and role preflight_missing are missing on the server"),
        ("applications.d", "database postgres belongs to role postgres"),
    ]


def test_extensions_of_a_database_that_is_created_again_are_checked(server: FindServer) -> None:
    recreated = ProvisionedDatabase(
        path="applications.a",
        username="preflight_missing",
        database="preflight_missing",
        extensions=("no_such",),
        recreate=True,
        is_database_in_state=False,
        is_user_in_state=False,
    )
    administrator = partial(endpoint, server("postgresql-limited"))
    findings = run_other_checks([administrator(provisioned_databases=(recreated,))])
    assert results(findings) == ["the extension no_such is not available on the server"]


READ_ONLY = "the server rejects changes: default_transaction_read_only is on"


def test_a_read_only_server_is_reported(secured_postgresql: Secured) -> None:
    """It is an error if the program creates a database, and a warning for databases of earlier updates."""
    existing = (ProvisionedDatabase(path="applications.a", username="postgres", database="postgres"),)
    planned = (PlannedDatabase(path="applications.b", username="new", database="new"),)
    administrator = partial(endpoint, secured_postgresql, provisioned_databases=existing)
    run_as_superuser(
        secured_postgresql, "ALTER SYSTEM SET default_transaction_read_only = on", "SELECT pg_reload_conf()"
    )
    wait_until(lambda: run_other_checks([administrator()]) != [])
    warning = only(run_other_checks([administrator()]))
    assert (warning.result, warning.is_warning) == (READ_ONLY, True)
    assert results(check([administrator(planned_databases=planned)])) == [READ_ONLY]
    assert results(check([endpoint(secured_postgresql)])) == [READ_ONLY]
    run_as_superuser(secured_postgresql, *(command.strip() for command in warning.fix.splitlines()[1:]))
    wait_until(lambda: run_other_checks([administrator()]) == [])


APP = "preflight_app"


@pytest.mark.parametrize(
    ("settings", "fix"),
    [
        ({"DATABASE template1": "on"}, 'DATABASE "template1"'),
        ({f"ROLE {APP}": "true"}, f'ROLE "{APP}"'),
        ({f"ROLE {APP} IN DATABASE template1": "on"}, f'ROLE "{APP}" IN DATABASE "template1"'),
        ({"DATABASE template1": "on", f"ROLE {APP}": "off"}, None),
        ({f"ROLE {APP}": "off", f"ROLE {APP} IN DATABASE template1": "on"}, f'ROLE "{APP}" IN DATABASE "template1"'),
        ({f"ROLE {APP} IN DATABASE postgres": "on", "DATABASE template1": "no"}, None),
    ],
)
def test_a_read_only_database_is_a_warning(
    settings: dict[str, str], fix: str | None, secured_postgresql: Secured
) -> None:
    """The most specific setting applies."""
    existing = (ProvisionedDatabase(path="applications.a", username=APP, database="template1"),)
    administrator = endpoint(secured_postgresql, provisioned_databases=existing)
    run_as_superuser(
        secured_postgresql,
        f"CREATE ROLE {APP}",
        f"ALTER DATABASE template1 OWNER TO {APP}",
        *(f"ALTER {subject} SET default_transaction_read_only = {value}" for subject, value in settings.items()),
    )
    try:
        findings = run_other_checks([administrator])
        assert [finding.is_warning for finding in findings] == [True] * bool(fix)
        for finding in findings:
            command = finding.fix.splitlines()[-1].strip()
            assert command == f"ALTER {fix} RESET default_transaction_read_only;"
            run_as_superuser(secured_postgresql, command)
        assert run_other_checks([administrator]) == []
    finally:
        run_as_superuser(
            secured_postgresql,
            "ALTER DATABASE template1 RESET ALL",
            "ALTER DATABASE template1 OWNER TO postgres",
            f"DROP ROLE {APP}",
        )


@pytest.mark.parametrize(
    ("since", "until", "days"),
    [
        (-300, 31, None),
        (-300, 29, 28),
        (-70, 20, 19),
        (-20, 8, 7),
        (-10, 20, None),
        (-2, 1, 0),
    ],
)
def test_a_certificate_that_expires_soon_is_a_warning(
    since: int, until: int, days: int | None, authority: Authority, secured_postgresql: Secured
) -> None:
    """Soon is 30 days, or a third of the time for which the certificate is valid."""
    certificate = authority.issue("localhost", since=since * DAY, until=until * DAY)
    with replace_certificate(secured_postgresql, certificate):
        verified = endpoint(secured_postgresql, tls="verify-full", ca_file=str(secured_postgresql.ca))
        findings = run_other_checks([verified])
    assert [finding.is_warning for finding in findings] == ([] if days is None else [True])
    assert all(finding.result.endswith(f", in {days} days") for finding in findings)


def test_hundreds_of_accounts_of_one_server_are_checked_in_time(secured_postgresql: Secured) -> None:
    names = [f"preflight_{number}" for number in range(300)]
    url = (
        f"postgresql://{secured_postgresql.username}:{secured_postgresql.password}@127.0.0.1:{secured_postgresql.port}"
    )
    with psycopg.connect(f"{url}/postgres", autocommit=True) as connection:
        for name in names:
            connection.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{name}'".encode())
    accounts = [{"username": name, "password": name, "database": "postgres"} for name in names]
    application = partial(endpoint, secured_postgresql, tls="disable", is_administrator=False)
    assert check([application(path=account["username"], account=account) for account in accounts]) == []


@EACH_SERVER
def test_administrator_runs_statements_in_a_database(name: str, server: FindServer) -> None:
    administrator = server(name)
    account = {"username": administrator.username, "password": administrator.password, "database": "template1"}
    statements = ["SET lock_timeout = '10s'", "SELECT current_database(), current_setting('lock_timeout')"]
    assert run_statements(endpoint(administrator, account=account), statements, 10) == [("template1", "10s")]
    assert run_statements(endpoint(administrator), ["SELECT current_database()"], 10) == [("postgres",)]
    assert run_statements(endpoint(administrator), statements[:1], 10) == []


def test_rejected_statement_and_login_are_errors(server: FindServer) -> None:
    administrator = server("postgresql")
    with pytest.raises(ProbeError, match=r"the server rejected a statement: .* does not exist"):
        run_statements(endpoint(administrator), ["DROP ROLE preflight_missing"], 10)
    account = {"username": administrator.username, "password": "c4narY"}
    with pytest.raises(ProbeError, match=REJECTED):
        run_statements(endpoint(administrator, account=account), ["SELECT 1"], 10)


@EACH_SERVER
def test_an_administrator_must_administer_the_roles_of_earlier_updates(name: str, server: FindServer) -> None:
    """From 16 on, CREATEROLE alone does not suffice. The statement of the fix does."""
    superuser, old = server(name), server(f"{name}-limited")
    created, second, new = f"d_created_{name}", f"d_created_{name}__b", f"d_new_{name}"
    superuser.drop(created, second, new)
    try:
        with superuser.administrator() as session:
            session.run(f"CREATE ROLE {new} LOGIN CREATEDB CREATEROLE PASSWORD 'of-a-test'")
        with old.administrator() as session:
            session.run(f"CREATE ROLE {created} LOGIN")
            session.run(f"GRANT {created} TO CURRENT_USER")
            session.run(f"CREATE DATABASE {created} OWNER {created}")
        provisioned = (ProvisionedDatabase(path="p", username=created, database=created),)
        account = {"username": new, "password": "of-a-test"}
        by_old = endpoint(old, tls="disable", provisioned_databases=provisioned)
        by_new = endpoint(old, tls="disable", account=account, provisioned_databases=provisioned)
        assert check([by_old]) == []
        if name == "postgresql":
            assert check([by_new]) == []
            return
        finding = only(check([by_new]))
        assert finding.result == f"the administrator cannot change role {created}: another administrator created it"
        assert finding.path == "p"
        with old.administrator() as session:
            session.run(finding.fix.splitlines()[-1])
        assert check([by_new]) == []
        with old.administrator() as session:
            session.run(f"CREATE ROLE {second} LOGIN")
        second_account = (replace(provisioned[0], second_username=second),)
        finding = only(check([replace(by_new, provisioned_databases=second_account)]))
        assert finding.result == f"the administrator cannot change role {second}: another administrator created it"
    finally:
        superuser.drop(created, second, new)


def test_databases_that_public_may_connect_to_are_one_warning(secured_postgresql: Secured) -> None:
    """The statements of the fix hold, and the administrator can still log in."""
    account = {"username": "limited", "password": "of-a-test"}
    administrator = endpoint(secured_postgresql, account=account)
    names = [f"other_{number:02}" for number in range(12)]
    own = (PlannedDatabase(path="a", username="new", database="other_00"),)
    run_as_superuser(
        secured_postgresql,
        "CREATE ROLE limited LOGIN CREATEDB CREATEROLE PASSWORD 'of-a-test'",
        *(f"CREATE DATABASE {name} TEMPLATE template0" for name in names),
        "REVOKE CONNECT ON DATABASE other_01 FROM PUBLIC",
    )
    try:
        finding = only(
            [found for found in run_checks([replace(administrator, planned_databases=own)]) if found.is_warning]
        )
        listed = ", ".join(names[2:])
        assert finding.result.endswith(f"because PUBLIC may: {listed} and 1 more")
        assert 'REVOKE CONNECT ON DATABASE "other_02" FROM PUBLIC;' in finding.fix
        assert finding.fix.splitlines()[1].strip() == 'GRANT CONNECT ON DATABASE "postgres" TO "limited";'
        assert finding.fix.splitlines()[-1].strip().startswith("-- and 1 more: SELECT datname")
        for _ in range(2):
            (finding,) = run_checks([administrator])
            run_as_superuser(
                secured_postgresql, *(line.strip() for line in finding.fix.splitlines()[1:] if "--" not in line)
            )
        assert run_checks([administrator]) == []
    finally:
        run_as_superuser(
            secured_postgresql,
            "GRANT CONNECT ON DATABASE postgres TO PUBLIC",
            "REVOKE CONNECT ON DATABASE postgres FROM limited",
            *(f"DROP DATABASE {name}" for name in names),
            "DROP ROLE limited",
        )
