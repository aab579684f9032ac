"""MySQL: logins, rights and what is there already, on real servers; messages on made-up ones."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from preflight import check
from preflight.endpoint import Endpoint, Failure, Wanted
from preflight.probes.mysql import PRIVILEGES
from tests.e2e.servers import DatabaseServer
from tests.e2e.tls import Secured
from tests.preflight.fakes import Fake, Handler, mysql, mysql_error, mysql_greeting, parting, saying

Make = Callable[[Handler], Fake]
Named = Callable[[str], DatabaseServer]
USER = "preflight_user"
HOSTILE = "c4narY '\"\\ %s {x} ü€"
EXACT = f"GRANT {', '.join(PRIVILEGES)} ON *.* TO '{USER}'@'%' WITH GRANT OPTION"


def endpoint(server: DatabaseServer | Secured, **changes: Any) -> Endpoint:
    account = {"username": server.username, "password": server.password}
    return Endpoint(**{"path": "servers.hq", "engine": "mysql", "host": server.host, "port": server.port, "account": account, "administrator": True, **changes})


def only(failures: list[Failure]) -> Failure:
    assert len(failures) == 1, failures
    return failures[0]


@pytest.fixture
def user(server: Named) -> Iterator[Callable[..., dict[str, str]]]:
    """Makes a user by statements and gives its account."""
    mysql_server = server("mysql")

    def make(*statements: str, password: str = HOSTILE) -> dict[str, str]:
        with mysql_server.administrator() as session:
            session.run(f"DROP USER IF EXISTS '{USER}'@'%'")
            literal = password.replace("\\", "\\\\").replace("'", "''")
            session.run(f"CREATE USER '{USER}'@'%' IDENTIFIED BY '{literal}'")
            for statement in statements:
                session.run(statement)
        return {"username": USER, "password": password}

    yield make
    mysql_server.drop(USER)


@pytest.mark.parametrize("tls", [None, "disable", "require"])
def test_an_administrator_with_all_rights(tls: str | None, server: Named) -> None:
    wanted = (Wanted(path="w", username="preflight_new", database="preflight_new"),)
    assert check([endpoint(server("mysql"), tls=tls, wanted=wanted)]) == []


@pytest.mark.parametrize("tls", ["disable", "require"])
def test_an_administrator_with_the_exact_rights_and_a_hostile_password(tls: str, server: Named, user: Callable[..., dict[str, str]]) -> None:
    assert check([endpoint(server("mysql"), tls=tls, account=user(EXACT))]) == []


def test_each_missing_privilege_is_named_with_the_statement_that_gives_it(server: Named, user: Callable[..., dict[str, str]]) -> None:
    account = user(EXACT)
    for privilege in PRIVILEGES:
        with server("mysql").administrator() as session:
            session.run(f"REVOKE {privilege} ON *.* FROM '{USER}'@'%'")
            failure = only(check([endpoint(server("mysql"), account=account)]))
            assert failure.found == f"the administrator lacks {privilege} ON *.*"
            statement = failure.remedy.splitlines()[-1].strip()
            assert statement == f"GRANT {privilege} ON *.* TO '{USER}'@'%' WITH GRANT OPTION;"
            session.run(statement)
    assert check([endpoint(server("mysql"), account=account)]) == []


def test_an_administrator_that_may_pass_nothing_on(server: Named, user: Callable[..., dict[str, str]]) -> None:
    account = user(EXACT.removesuffix(" WITH GRANT OPTION"))
    failure = only(check([endpoint(server("mysql"), account=account)]))
    assert failure.found == "the administrator lacks GRANT OPTION ON *.*"
    with server("mysql").administrator() as session:
        session.run(failure.remedy.splitlines()[-1].strip())
    assert check([endpoint(server("mysql"), account=account)]) == []


def test_rights_in_a_database_are_none_for_all(server: Named, user: Callable[..., dict[str, str]]) -> None:
    account = user(f"GRANT ALL PRIVILEGES ON `shop`.* TO '{USER}'@'%' WITH GRANT OPTION")
    failure = only(check([endpoint(server("mysql"), account=account)]))
    assert failure.found == f"the administrator lacks {', '.join(PRIVILEGES)}, GRANT OPTION ON *.*"


def test_rights_of_a_role_count_where_it_is_active(server: Named, user: Callable[..., dict[str, str]]) -> None:
    role = "preflight_role"
    account = user(f"DROP ROLE IF EXISTS {role}", f"CREATE ROLE {role}", EXACT.replace(f"'{USER}'@'%'", role), f"GRANT {role} TO '{USER}'@'%'")
    try:
        assert "lacks" in only(check([endpoint(server("mysql"), account=account)])).found
        with server("mysql").administrator() as session:
            session.run(f"SET DEFAULT ROLE ALL TO '{USER}'@'%'")
        assert check([endpoint(server("mysql"), account=account)]) == []
    finally:
        with server("mysql").administrator() as session:
            session.run(f"DROP ROLE {role}")


def test_what_is_there_already_is_told_under_the_group(server: Named, user: Callable[..., dict[str, str]]) -> None:
    account = user(EXACT)
    wanted = (
        Wanted(path="applications.a", username="preflight_new", database="preflight_new"),
        Wanted(path="applications.b", username=USER, database="preflight_new2"),
        Wanted(path="applications.c", username="preflight_new3", database="mysql"),
    )
    failures = check([endpoint(server("mysql"), account=account, wanted=wanted)])
    assert [failure.path for failure in failures] == ["applications.b", "applications.c"]
    assert [failure.found for failure in failures] == [f"user {USER}@% is on the server already", "database mysql is on the server already"]


def test_a_wrong_password_has_both_reasons_and_the_account_to_make(server: Named) -> None:
    failure = only(check([endpoint(server("mysql"), account={"username": "admin", "password": "c4narY"})]))
    assert "Access denied for user 'admin'@'" in failure.found
    assert "password in the stack file is wrong" in failure.remedy
    assert "from other addresses only" in failure.remedy
    assert "CREATE USER 'admin'@'" in failure.remedy
    assert "WITH GRANT OPTION" in failure.remedy
    assert "c4narY" not in str(failure)


def test_an_application_has_its_own_database_alone(server: Named, user: Callable[..., dict[str, str]]) -> None:
    account = user()
    failure = only(check([endpoint(server("mysql"), administrator=False, account={**account, "database": "my_sql"})]))
    assert "not for the database" in failure.found
    assert failure.remedy.splitlines()[-1].strip().startswith(r"GRANT ALL PRIVILEGES ON `my\_sql`.* TO ")


def test_mariadb_is_for_applications_alone(server: Named) -> None:
    mariadb = server("mariadb")
    failure = only(check([endpoint(mariadb)]))
    assert "MariaDB (10." in failure.found
    assert all(words in failure.remedy for words in ("innodb_version", "1193", "`host:`"))
    assert check([endpoint(mariadb, administrator=False)]) == []


@pytest.mark.parametrize("tls", ["require", "verify-full"])
def test_nothing_goes_on_in_plain_text_where_a_server_has_no_tls(tls: str, server: Named) -> None:
    failure = only(check([endpoint(server("mariadb"), tls=tls)]))
    assert failure.found == "the server has no TLS"


def test_a_server_that_insists_on_tls(server: Named) -> None:
    with server("mysql").administrator() as session:
        session.run("SET GLOBAL require_secure_transport = ON")
        try:
            failure = only(check([endpoint(server("mysql"), tls="disable")]))
            assert check([endpoint(server("mysql")), endpoint(server("mysql"), tls="require")]) == []
        finally:
            session.run("SET GLOBAL require_secure_transport = OFF")
    assert "require_secure_transport" in failure.found
    assert "tls: verify-full" in failure.remedy


def test_an_application_verifies_by_the_authority_that_is_named(secured_mysql: Secured) -> None:
    assert check([endpoint(secured_mysql, tls="verify-full", ca=str(secured_mysql.ca), administrator=False)]) == []


def test_the_provider_verifies_by_the_machines_authorities_alone(secured_mysql: Secured, monkeypatch: pytest.MonkeyPatch) -> None:
    failure = only(check([endpoint(secured_mysql, tls="verify-full", ca=str(secured_mysql.ca))]))
    assert f"is good by {secured_mysql.ca}" in failure.found
    assert "export SSL_CERT_FILE=" in failure.remedy
    assert "does not know" in only(check([endpoint(secured_mysql, tls="verify-full")])).found
    monkeypatch.setenv("SSL_CERT_FILE", str(secured_mysql.ca))
    assert check([endpoint(secured_mysql, tls="verify-full")]) == []
    name = only(check([endpoint(secured_mysql, tls="verify-full", host="127.0.0.1")]))
    assert name.found == f"the server's certificate is for another name than 127.0.0.1: it is for {secured_mysql.host}"


@pytest.mark.parametrize(
    ("code", "message", "found", "remedy"),
    [
        (1045, "Access denied for user 'shop'@'10.1.2.3' (using password: YES)", "login was refused", "CREATE USER 'shop'@'10.1.2.3' IDENTIFIED BY"),
        (1044, "Access denied for user 'shop'@'%' to database 'shop'", "not for the database", "GRANT ALL PRIVILEGES ON `shop`.* TO 'shop'@'%';"),
        (1049, "Unknown database 'shop'", "not for the database", "Correct the database"),
        (1203, "User shop already has more than 'max_user_connections' active connections", "takes no more connections", "max_user_connections"),
        (3118, "Access denied. Account is locked.", "account is locked", "ACCOUNT UNLOCK"),
        (1862, "Your password has expired.", "password has expired", "PASSWORD EXPIRE NEVER"),
        (3159, "Connections using insecure transport are prohibited", "takes no login without TLS", "tls: require"),
        (4321, "Something new", "login was refused: Something new (4321)", "log"),
    ],
)
def test_what_a_server_says(code: int, message: str, found: str, remedy: str, fake: Make) -> None:
    account = {"username": "shop", "password": "wrong-one", "database": "shop"}
    failure = only(check([fake(mysql(code, message)).endpoint("mysql", account=account)]))
    assert found in failure.found
    assert remedy in failure.remedy


@pytest.mark.parametrize(
    ("code", "message", "found", "remedy"),
    [
        (1130, "Host '10.1.2.3' is not allowed to connect to this MySQL server", "admits nobody from this machine's address", "CREATE USER 'shop'@'10.1.2.3'"),
        (1129, "Host '10.1.2.3' is blocked because of many connection errors", "shut this machine out", "host_cache"),
        (1040, "Too many connections", "takes no more connections", "SHOW VARIABLES LIKE 'max_connections';"),
    ],
)
def test_what_a_server_says_in_place_of_a_greeting(code: int, message: str, found: str, remedy: str, fake: Make) -> None:
    account = {"username": "shop", "password": "wrong-one", "database": "shop"}
    failure = only(check([fake(saying(mysql_error(code, message, sequence=0))).endpoint("mysql", account=account)]))
    assert found in failure.found
    assert remedy in failure.remedy


def test_a_user_with_a_quote_in_its_name_makes_no_other_statement(fake: Make) -> None:
    account = {"username": "o'hara", "password": "wrong-one", "database": "shop"}
    failure = only(check([fake(mysql(1045, "Access denied for user 'o'hara'@'10.1.2.3'")).endpoint("mysql", account=account)]))
    assert "CREATE USER 'o''hara'@'10.1.2.3' IDENTIFIED BY '...';" in failure.remedy


def test_without_an_account_an_answer_is_enough(fake: Make) -> None:
    assert check([fake(mysql(1045, "Access denied")).endpoint("mysql")]) == []


def administrator(fake: Make, *answers: list[list[str]], version: str = "8.4.0") -> list[Failure]:
    """An administrator of a made-up server, which answers its questions in turn."""
    there = fake(_answering(list(answers), version))
    return check([there.endpoint("mysql", tls="disable", account={"username": "admin", "password": "right-one"}, administrator=True)])


def _answering(answers: list[list[list[str]]], version: str) -> Handler:
    fine = b"\x07\0\0\x02\0\0\0\x02\0\0\0"

    def packet(body: bytes, sequence: int) -> bytes:
        return len(body).to_bytes(3, "little") + bytes([sequence]) + body

    def text(value: str) -> bytes:
        return b"\xfc" + len(value.encode()).to_bytes(2, "little") + value.encode()

    def result(rows: list[list[str]]) -> bytes:
        column = text("def") + text("") * 3 + text("c") + text("c") + b"\x0c\xff\0\0\0\1\0\xfd\0\0\0\0\0"
        packets = [bytes([len(rows[0])]), *[column] * len(rows[0]), b"\xfe\0\0\x02\0", *(b"".join(map(text, row)) for row in rows), b"\xfe\0\0\x02\0"]
        return b"".join(packet(body, number + 1) for number, body in enumerate(packets))

    def handler(connection: Any) -> None:
        connection.sendall(mysql_greeting(version))
        connection.recv(4096)
        connection.sendall(fine)
        while command := connection.recv(4096):
            statement = command[5:].decode()
            asks = statement.startswith(("SELECT", "SHOW"))
            connection.sendall(result(answers.pop(0)) if asks else fine.replace(b"\x02\0\0\0\x02", b"\x01\0\0\0\x02", 1))

    return handler


ALL = [["GRANT ALL PRIVILEGES ON *.* TO `admin`@`%` WITH GRANT OPTION"]]


@pytest.mark.parametrize("version", ["5.7.44-log", "5.6.10"])
def test_an_old_server_is_refused(version: str, fake: Make) -> None:
    failure = only(administrator(fake, [[version, "MySQL Community Server", "admin@%"]], version=version))
    assert failure.found == f"the server is MySQL {version}, and databases are made on 8.0 and later"


@pytest.mark.parametrize(("version", "comment"), [("11.4.2-MariaDB", "mariadb.org binary"), ("10.6.1", "MariaDB Server")])
def test_mariadb_is_known_by_its_version_or_by_its_comment(version: str, comment: str, fake: Make) -> None:
    assert "MariaDB" in only(administrator(fake, [[version, comment, "admin@%"]])).found


@pytest.mark.parametrize(("flags", "grants", "refused"), [
    (["1", "1"], ALL, True),
    (["1", "0"], ALL, True),
    (["1", "0"], [["GRANT CONNECTION_ADMIN ON *.* TO `admin`@`%`"], *ALL], False),
    (["0", "0"], ALL, False),
])  # fmt: skip
def test_a_replica(flags: list[str], grants: list[list[str]], *, refused: bool, fake: Make) -> None:
    failures = administrator(fake, [["8.4.0", "MySQL", "admin@%"]], grants, [flags], [["mysql"]], [["root", "localhost"]])
    assert [("replica" in failure.found) for failure in failures] == [True] * refused, json.dumps([failure.found for failure in failures])


def test_something_else_in_the_middle_of_a_greeting(fake: Make) -> None:
    failure = only(check([fake(parting(b"")).endpoint("mysql", account={"username": "shop", "password": "wrong-one"})]))
    assert "not MySQL" in failure.found
