"""MySQL: logins, privileges and existing objects on real servers; messages on fake ones."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from preflight import check, run_checks, run_statements
from preflight.errors import ProbeError
from preflight.models import Finding, PlannedDatabase, ProvisionedDatabase
from preflight.probes.mysql import PRIVILEGES, REQUIRES_TLS_RE
from tests.e2e.servers import DatabaseServer
from tests.e2e.tls import DAY, Authority, Secured, mysql_with_tls
from tests.preflight.fakes import (
    Handler,
    MakeFake,
    administrator_endpoint,
    build_mysql_error,
    build_mysql_greeting,
    only,
    reject_mysql_login,
    reply_and_close,
    results,
    send,
)

FindServer = Callable[[str], DatabaseServer]
CreateUser = Callable[..., dict[str, str]]
endpoint = partial(administrator_endpoint, engine="mysql")

USER = "preflight_user"
HOSTILE_PASSWORD = "c4narY '\"\\ %s {x} ü€"
EXACT_GRANT = f"GRANT {', '.join(PRIVILEGES)} ON *.* TO '{USER}'@'%' WITH GRANT OPTION"
TLS_ONLY = "the server accepts only TLS, and `tls` is not set: "
MISSING = "missing privileges of the administrator on *.*: "
ACCOUNT = {"username": "shop", "password": "wrong-one", "database": "shop"}
GRANT = "GRANT ALL PRIVILEGES ON `shop`.* TO 'shop'@'10.1.2.3';"


@pytest.fixture
def create_user(server: FindServer) -> Iterator[CreateUser]:
    """Return a function that creates a user, runs statements and returns the user's account."""
    mysql_server = server("mysql")

    def create(*statements: str) -> dict[str, str]:
        literal = HOSTILE_PASSWORD.replace("\\", "\\\\").replace("'", "''")
        user = f"'{USER}'@'%'"
        run(mysql_server, f"DROP USER IF EXISTS {user}", f"CREATE USER {user} IDENTIFIED BY '{literal}'", *statements)
        return {"username": USER, "password": HOSTILE_PASSWORD}

    yield create
    mysql_server.drop(USER)


def run(server: DatabaseServer, *statements: str) -> None:
    with server.administrator() as session:
        for statement in statements:
            session.run(statement)


def get_last_command(finding: Finding) -> str:
    return finding.fix.splitlines()[-1].strip()


@pytest.mark.parametrize("tls", [None, "disable", "require"])
def test_an_administrator_with_all_privileges_passes(tls: str | None, server: FindServer) -> None:
    planned = (PlannedDatabase(path="p", username="preflight_new", database="preflight_new"),)
    assert check([endpoint(server("mysql"), tls=tls, planned_databases=planned)]) == []


@pytest.mark.parametrize("tls", ["disable", "require"])
def test_an_administrator_with_the_exact_privileges_passes(
    tls: str, server: FindServer, create_user: CreateUser
) -> None:
    assert check([endpoint(server("mysql"), tls=tls, account=create_user(EXACT_GRANT))]) == []


def test_each_missing_privilege_is_named_with_the_statement_that_grants_it(
    server: FindServer, create_user: CreateUser
) -> None:
    administrator = endpoint(server("mysql"), account=create_user(EXACT_GRANT))
    for privilege in PRIVILEGES:
        run(server("mysql"), f"REVOKE {privilege} ON *.* FROM '{USER}'@'%'")
        finding = only(check([administrator]))
        assert finding.result == MISSING + privilege
        assert get_last_command(finding) == f"GRANT {privilege} ON *.* TO '{USER}'@'%' WITH GRANT OPTION;"
        run(server("mysql"), get_last_command(finding))
    assert check([administrator]) == []


def test_a_missing_grant_option_is_named_with_the_statement_that_grants_it(
    server: FindServer, create_user: CreateUser
) -> None:
    administrator = endpoint(server("mysql"), account=create_user(EXACT_GRANT.removesuffix(" WITH GRANT OPTION")))
    finding = only(check([administrator]))
    assert finding.result == f"{MISSING}GRANT OPTION"
    run(server("mysql"), get_last_command(finding))
    assert check([administrator]) == []


def test_privileges_on_one_database_do_not_count(server: FindServer, create_user: CreateUser) -> None:
    account = create_user(f"GRANT ALL PRIVILEGES ON `shop`.* TO '{USER}'@'%' WITH GRANT OPTION")
    finding = only(check([endpoint(server("mysql"), account=account)]))
    assert finding.result == f"{MISSING}{', '.join(PRIVILEGES)}, GRANT OPTION"


def test_privileges_of_a_role_count_if_it_is_active(server: FindServer, create_user: CreateUser) -> None:
    role, mysql_server = "preflight_role", server("mysql")
    grants = (EXACT_GRANT.replace(f"'{USER}'@'%'", role), f"GRANT {role} TO '{USER}'@'%'")
    administrator = endpoint(
        mysql_server, account=create_user(f"DROP ROLE IF EXISTS {role}", f"CREATE ROLE {role}", *grants)
    )
    try:
        assert only(check([administrator])).result.startswith(MISSING)
        run(mysql_server, f"SET DEFAULT ROLE ALL TO '{USER}'@'%'")
        assert check([administrator]) == []
    finally:
        run(mysql_server, f"DROP ROLE {role}")


def test_existing_objects_are_reported_for_their_group(server: FindServer, create_user: CreateUser) -> None:
    planned = (
        PlannedDatabase(path="applications.a", username="preflight_new", database="preflight_new"),
        PlannedDatabase(path="applications.b", username=USER, database="preflight_new2"),
        PlannedDatabase(path="applications.c", username="preflight_new3", database="mysql"),
    )
    findings = check([endpoint(server("mysql"), account=create_user(EXACT_GRANT), planned_databases=planned)])
    assert [(finding.path, finding.result) for finding in findings] == [
        ("applications.b", f"user {USER}@% already exists on the server"),
        ("applications.c", "database mysql already exists on the server"),
    ]
    assert all(f"`{key}`" in findings[0].fix for key in ("database", "username", "host", "provisionOn"))


def test_two_addresses_of_one_server_are_detected(server: FindServer, create_user: CreateUser) -> None:
    """Every administrator can read the identity."""
    planned = PlannedDatabase(path="applications.a", username="preflight_new", database="preflight_new")
    other = replace(planned, path="applications.b")
    administrator = endpoint(server("mysql"), planned_databases=(planned,))
    alias = replace(administrator, host="127.0.0.1", account=create_user(EXACT_GRANT), planned_databases=(other,))
    finding = only(check([administrator, alias]))
    assert finding.path == "applications.b"
    assert finding.result == (
        f"{alias.address} and {administrator.address} are one server, and applications.a has the same database "
        "preflight_new and user preflight_new"
    )


def test_a_wrong_password_is_reported_without_the_password(server: FindServer) -> None:
    account = {"username": "admin", "password": "c4narY"}
    finding = only(check([endpoint(server("mysql"), account=account)]))
    assert finding.result.startswith("the server rejected the login: Access denied for user 'admin'@'")
    assert "SELECT user, host, plugin FROM mysql.user WHERE user = 'admin';" in finding.fix
    assert "CREATE USER 'admin'@'" in finding.fix
    assert get_last_command(finding).endswith("WITH GRANT OPTION;")
    assert "c4narY" not in str(finding)


def test_an_application_needs_access_to_its_database(server: FindServer, create_user: CreateUser) -> None:
    account = {**create_user(), "database": "my_sql"}
    finding = only(check([endpoint(server("mysql"), is_administrator=False, account=account)]))
    assert finding.result.startswith("login succeeded, but the user cannot access the database: ")
    assert get_last_command(finding).startswith(r"GRANT ALL PRIVILEGES ON `my\_sql`.* TO ")


def test_mariadb_is_supported_for_existing_databases_only(server: FindServer) -> None:
    finding = only(check([endpoint(server("mariadb"))]))
    assert finding.result.startswith("the server is MariaDB (10.")
    assert all(part in finding.fix for part in ("innodb_version", "1193", "`host`", "`provisionOn`"))
    assert check([endpoint(server("mariadb"), is_administrator=False)]) == []


@pytest.mark.parametrize("tls", ["require", "verify-full"])
def test_a_server_without_tls_gets_no_plain_text_login(tls: str, server: FindServer) -> None:
    finding = only(check([endpoint(server("mariadb"), tls=tls)]))
    assert finding.result == "the server does not support TLS on this port"
    assert all(part in finding.fix for part in ("ssl_cert", "`tls: disable`"))


def test_a_server_that_requires_tls_rejects_plain_text(server: FindServer) -> None:
    run(server("mysql"), "SET GLOBAL require_secure_transport = ON")
    try:
        finding = only(check([endpoint(server("mysql"), tls="disable")]))
        assert run_checks([endpoint(server("mysql"), tls="require")]) == []
        warning = only(run_checks([endpoint(server("mysql"))]))
    finally:
        run(server("mysql"), "SET GLOBAL require_secure_transport = OFF")
    assert finding.result.startswith("the server requires TLS (require_secure_transport): ")
    assert "`tls: verify-full`" in finding.fix

    assert (warning.is_warning, warning.result) == (True, f"{TLS_ONLY}require_secure_transport is on")


@pytest.mark.parametrize("requirement", ["NONE", "SSL"])
def test_an_account_that_requires_tls_is_reported(
    requirement: str, server: FindServer, create_user: CreateUser
) -> None:
    account = create_user(EXACT_GRANT, f"ALTER USER '{USER}'@'%' REQUIRE {requirement}")
    expected = [f"{TLS_ONLY}the account has REQUIRE SSL"] if requirement == "SSL" else []
    assert results(run_checks([endpoint(server("mysql"), account=account)])) == expected
    assert run_checks([endpoint(server("mysql"), tls="require", account=account)]) == []


@pytest.mark.parametrize(
    ("clauses", "requirement"),
    [
        ("REQUIRE NONE PASSWORD EXPIRE DEFAULT PASSWORD REQUIRE CURRENT DEFAULT", None),
        ("REQUIRE SSL PASSWORD EXPIRE DEFAULT", "SSL"),
        ("REQUIRE ISSUER '/CN=it' SUBJECT '/CN=it' PASSWORD EXPIRE DEFAULT", "ISSUER"),
    ],
)
def test_requirement_of_an_account(clauses: str, requirement: str | None) -> None:
    match = REQUIRES_TLS_RE.search(f"CREATE USER `shop`@`%` IDENTIFIED WITH 'caching_sha2_password' {clauses}")
    assert (match[1] if match else None) == requirement


def test_an_application_verifies_with_its_ca_file(secured_mysql: Secured) -> None:
    ca_file = str(secured_mysql.ca)
    assert check([endpoint(secured_mysql, tls="verify-full", ca_file=ca_file, is_administrator=False)]) == []


def test_the_provider_verifies_with_the_systems_ca_certificates_only(
    secured_mysql: Secured, monkeypatch: pytest.MonkeyPatch
) -> None:
    verified = partial(endpoint, secured_mysql, tls="verify-full")
    finding = only(check([verified(ca_file=str(secured_mysql.ca))]))
    assert finding.result.startswith(f"the server's certificate is valid with {secured_mysql.ca}, but not with ")
    assert "export SSL_CERT_FILE=" in finding.fix
    finding = only(check([verified()]))
    assert finding.result.startswith("an unknown CA CN=")
    assert "Pulumi's provider for this engine uses only the CA certificates of this system" in finding.fix
    monkeypatch.setenv("SSL_CERT_FILE", str(secured_mysql.ca))
    assert check([verified()]) == []
    assert results(check([verified(host="127.0.0.1")])) == [
        f"the server's certificate is not valid for 127.0.0.1: it is valid for {secured_mysql.host}"
    ]


DENIED = "Access denied for user 'shop'@'10.1.2.3'"
CREATE = "CREATE USER 'shop'@'10.1.2.3' IDENTIFIED BY '...';"
REJECTED = "the server rejected the login"
NO_ACCESS = "login succeeded, but the user cannot access the database"
FULL = "the server accepts no more connections"
OFFLINE = "the server is in offline mode and rejects the login"
EXPIRED = "the password of the account has expired"
NO_ACCOUNT = "the server has no account for this machine's address"
BLOCKED = "the server blocks this machine after too many failed connections"


@pytest.mark.parametrize(
    ("code", "message", "result", "command"),
    [
        (1045, f"{DENIED} (using password: YES)", REJECTED, CREATE),
        (1044, f"{DENIED} to database 'shop'", NO_ACCESS, GRANT),
        (1049, "Unknown database 'shop'", NO_ACCESS, "`database`"),
        (1040, "Too many connections", FULL, "SHOW VARIABLES LIKE 'max_connections';"),
        (1203, "User shop already has too many", FULL, "SHOW VARIABLES LIKE 'max_user_connections';"),
        (1226, "User 'shop' has exceeded a limit", FULL, "SHOW VARIABLES LIKE 'max_user_connections';"),
        (1820, "You must reset your password", EXPIRED, "ALTER USER 'shop'@'...' IDENTIFIED BY '...'"),
        (1862, "Your password has expired.", EXPIRED, "PASSWORD EXPIRE NEVER;"),
        (3032, "The server is currently in offline mode", OFFLINE, "SET GLOBAL offline_mode = OFF;"),
        (3118, "Account is locked.", "the account is locked", "ALTER USER 'shop'@'...' ACCOUNT UNLOCK;"),
        (3159, "It is insecure", "the server requires TLS (require_secure_transport)", "`tls: require`"),
        (1130, "Host '10.1.2.3' is not allowed to connect", NO_ACCOUNT, f"{CREATE}\n  {GRANT}"),
        (1129, "Host '10.1.2.3' is blocked", BLOCKED, "TRUNCATE TABLE performance_schema.host_cache;"),
        (4321, "Something new", REJECTED, "Check the server's log."),
    ],
)
@pytest.mark.parametrize("instead_of_greeting", [False, True])
def test_an_error_of_the_server_has_its_result_and_fix(
    code: int, message: str, result: str, command: str, *, instead_of_greeting: bool, fake: MakeFake
) -> None:
    error = send(build_mysql_error(code, message, sequence=0))
    server = fake(error if instead_of_greeting else reject_mysql_login(code, message))
    finding = only(check([server.endpoint("mysql", account=ACCOUNT)]))
    assert finding.result == f"{result}: {message} ({code})"
    assert command in finding.fix
    assert "{" not in finding.fix


def test_a_quote_in_the_user_name_is_escaped(fake: MakeFake) -> None:
    server = fake(reject_mysql_login(1045, "Access denied for user 'o'hara'@'10.1.2.3'"))
    finding = only(check([server.endpoint("mysql", account={**ACCOUNT, "username": "o'hara"})]))
    assert "CREATE USER 'o''hara'@'10.1.2.3' IDENTIFIED BY '...';" in finding.fix


def test_a_check_without_an_account_needs_an_answer_only(fake: MakeFake) -> None:
    assert check([fake(reject_mysql_login(1045, "Access denied")).endpoint("mysql")]) == []


def test_a_server_that_closes_the_connection_is_not_mysql(fake: MakeFake) -> None:
    finding = only(check([fake(reply_and_close(b"")).endpoint("mysql", account=ACCOUNT)]))
    assert finding.result.startswith("an unknown service answers, not MySQL: ")


def check_fake_administrator(
    fake: MakeFake,
    *answers: list[list[str]],
    version: str = "8.4.0",
    planned: tuple[PlannedDatabase, ...] = (),
    provisioned: tuple[ProvisionedDatabase, ...] = (),
) -> list[Finding]:
    """Check the administrator of a fake server that answers the queries one after the other."""
    server = fake(answer_queries(list(answers), version))
    account = {"username": "admin", "password": "right-one"}
    keys = {"tls": "disable", "account": account, "is_administrator": True}
    administrator = server.endpoint("mysql", **keys, planned_databases=planned, provisioned_databases=provisioned)
    return run_checks([administrator])


@pytest.mark.parametrize(("version", "flag"), [("8.4.0", "1"), ("8.4.0", "0"), ("8.0.15", None)])
def test_partial_revokes_reject_a_database_name_with_an_underscore(
    version: str, flag: str | None, fake: MakeFake
) -> None:
    planned = tuple(PlannedDatabase(path=name, username="shop", database=name) for name in ("shop", "shop_main"))
    answers = [
        [[version, "MySQL", "admin@%"]],
        IDENTITY,
        [ALL_PRIVILEGES],
        [["0"] * 4],
        *([[[flag]]] if flag else []),
        [["mysql"]],
        [["root", "localhost"]],
    ]
    findings = check_fake_administrator(fake, *answers, version=version, planned=planned)
    expected = ["partial_revokes is on: the grant would not cover the database shop_main"] if flag == "1" else []
    assert results(findings) == expected


@pytest.mark.parametrize("adopt", [True, False], ids=["adopted", "deployed"])
def test_partial_revokes_do_not_change_grants_of_earlier_updates(*, adopt: bool, fake: MakeFake) -> None:
    """An adopted database gets its grant in this update."""
    provisioned = (ProvisionedDatabase(path="a", username="shop_main", database="shop_main", adopt=adopt),)
    answers = [[["8.4.0", "MySQL", "admin@%"]], IDENTITY, [ALL_PRIVILEGES], [["0"] * 4], [["1"]]]
    answers += [[["shop_main"]], [["shop_main", "%"]], [["mysql"]]]
    findings = check_fake_administrator(fake, *answers, provisioned=provisioned)
    result = "partial_revokes is on: the grant would not cover the database shop_main"
    assert [(finding.path, finding.result) for finding in findings] == ([("a", result)] if adopt else [])


def answer_queries(answers: list[list[list[str]]], version: str) -> Handler:
    ok = b"\x07\0\0\x02\0\0\0\x02\0\0\0"
    end = b"\xfe\0\0\x02\0"

    def encode_packet(body: bytes, sequence: int) -> bytes:
        return len(body).to_bytes(3, "little") + bytes([sequence]) + body

    def encode_text(value: str) -> bytes:
        return b"\xfc" + len(value.encode()).to_bytes(2, "little") + value.encode()

    def encode_rows(rows: list[list[str]]) -> bytes:
        column = encode_text("def") + encode_text("") * 3 + encode_text("c") * 2 + b"\x0c\xff\0\0\0\1\0\xfd\0\0\0\0\0"
        encoded = [b"".join(map(encode_text, row)) for row in rows]
        packets = [bytes([len(rows[0])]), *[column] * len(rows[0]), end, *encoded, end]
        return b"".join(encode_packet(body, number + 1) for number, body in enumerate(packets))

    def handler(connection: Any) -> None:
        connection.sendall(build_mysql_greeting(version))
        connection.recv(4096)
        connection.sendall(ok)
        while command := connection.recv(4096):
            is_query = command[5:].decode().startswith(("SELECT", "SHOW"))
            simple_ok = ok.replace(b"\x02\0\0\0\x02", b"\x01\0\0\0\x02", 1)
            connection.sendall(encode_rows(answers.pop(0)) if is_query else simple_ok)

    return handler


MARIADB = "the server is MariaDB ({}); the program cannot provision databases on MariaDB"
OLD = "the server is MySQL {}; the program needs 8.0 or later"


@pytest.mark.parametrize(
    ("version", "comment", "result"),
    [
        ("5.7.44-log", "MySQL", OLD),
        ("5.6.10", "MySQL", OLD),
        ("11.4.2-MariaDB", "mariadb.org binary", MARIADB),
        ("10.6.1", "MariaDB Server", MARIADB),
    ],
)
def test_an_unsupported_server_is_rejected(version: str, comment: str, result: str, fake: MakeFake) -> None:
    findings = check_fake_administrator(fake, [[version, comment, "admin@%"]], version=version)
    assert results(findings) == [result.format(version)]


IDENTITY = [["b2c0e7d4-0000-11f0-8000-000000000001", "db", "3306"]]
ALL_PRIVILEGES = ["GRANT ALL PRIVILEGES ON *.* TO `admin`@`%` WITH GRANT OPTION"]


CONNECTION_ADMIN = [["GRANT CONNECTION_ADMIN ON *.* TO `admin`@`%`"], ALL_PRIVILEGES]
REPLICA = "the server rejects changes ({} is on): it is a replica"
PROVISIONED = ProvisionedDatabase(path="applications.a", username="root", database="shop")


@pytest.mark.parametrize(
    ("enabled", "grants", "result", "is_failure"),
    [
        (("super_read_only", "read_only"), [ALL_PRIVILEGES], REPLICA.format("super_read_only"), True),
        (("read_only",), [ALL_PRIVILEGES], REPLICA.format("read_only"), True),
        (("read_only",), CONNECTION_ADMIN, "the server rejects changes of the applications (read_only is on)", False),
        (
            ("transaction_read_only",),
            [ALL_PRIVILEGES],
            "the server rejects changes (transaction_read_only is on)",
            True,
        ),
        (
            ("offline_mode",),
            CONNECTION_ADMIN,
            "the server rejects logins of the applications (offline_mode is on)",
            False,
        ),
        ((), [ALL_PRIVILEGES], None, False),
    ],
)
@pytest.mark.parametrize("provisioned", [(), (PROVISIONED,)], ids=["new", "provisioned"])
def test_a_read_only_server_is_reported(
    enabled: tuple[str, ...],
    grants: list[list[str]],
    result: str | None,
    provisioned: tuple[ProvisionedDatabase, ...],
    *,
    is_failure: bool,
    fake: MakeFake,
) -> None:
    """It is an error if the program creates a database, and a warning for databases of earlier updates."""
    names = ("super_read_only", "read_only", "transaction_read_only", "offline_mode")
    flags = ["1" if name in enabled else "0" for name in names]
    answers = [[["8.4.0", "MySQL", "admin@%"]], IDENTITY, grants, [flags], [["0"]]]
    answers += [[["mysql"], ["shop"]], [["root", "%"]], [["mysql"]]]
    findings = check_fake_administrator(fake, *answers, provisioned=provisioned)
    assert results(findings) == ([result] if result else [])
    assert [finding.is_warning for finding in findings] == ([not is_failure or bool(provisioned)] if result else [])


def test_databases_of_earlier_updates_are_compared_with_the_server(server: FindServer, create_user: CreateUser) -> None:
    mysql_server = server("mysql")
    account = create_user(EXACT_GRANT)
    provisioned = tuple(
        ProvisionedDatabase(path=path, username=username, database=database)
        for path, username, database in (
            ("applications.a", USER, "sys"),
            ("applications.b", USER, "preflight_missing"),
            ("applications.c", "preflight_missing", "preflight_missing"),
            ("applications.d", "mysql.sys", "sys"),
        )
    )
    findings = run_checks([endpoint(mysql_server, account=account, provisioned_databases=provisioned)])
    assert [(finding.path, finding.result.partition(";")[0]) for finding in findings] == [
        ("applications.b", "database preflight_missing is missing on the server"),
        ("applications.c", "database preflight_missing and user preflight_missing are missing on the server"),
        # The program creates users for any host. This one can log in from the server itself only.
        ("applications.d", "user mysql.sys is missing on the server"),
    ]


def test_a_read_only_database_is_a_warning(server: FindServer, create_user: CreateUser) -> None:
    mysql_server = server("mysql")
    database = "preflight_read_only"
    account = create_user(
        EXACT_GRANT, f"CREATE DATABASE IF NOT EXISTS {database}", f"ALTER SCHEMA {database} READ ONLY 1"
    )
    provisioned = (ProvisionedDatabase(path="applications.a", username=USER, database=database),)
    administrator = endpoint(mysql_server, account=account, provisioned_databases=provisioned)
    try:
        finding = only(run_checks([administrator]))
        assert (finding.path, finding.is_warning) == ("applications.a", True)
        assert finding.result == f"database {database} rejects changes: it is read-only"
        run(mysql_server, get_last_command(finding))
        assert run_checks([administrator]) == []
    finally:
        run(mysql_server, f"ALTER SCHEMA {database} READ ONLY 0", f"DROP DATABASE {database}")


def test_a_certificate_that_expires_soon_is_a_warning(server: FindServer, authority: Authority, tmp_path: Path) -> None:
    certificate = authority.issue(server("mysql").host, since=-80 * DAY, until=10 * DAY)
    with mysql_with_tls(server("mysql"), tmp_path, authority, certificate=certificate) as secured:
        application = endpoint(secured, tls="verify-full", ca_file=str(secured.ca), is_administrator=False)
        finding = only(run_checks([application]))
    assert finding.is_warning
    assert finding.result.startswith("the server's certificate expires on 20")


def test_administrator_runs_statements(server: FindServer) -> None:
    """A `%` is no placeholder."""
    administrator = endpoint(server("mysql"), tls="require")
    assert run_statements(administrator, ["SET @value = '%'", "SELECT @value"], 10) == [("%",)]
    with pytest.raises(ProbeError, match=r"the server rejected a statement: .*1396"):
        run_statements(administrator, ["DROP USER preflight_missing"], 10)
