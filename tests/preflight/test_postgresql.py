"""PostgreSQL: logins, rights and what is there already, on real servers; versions and messages on made-up ones."""

from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from preflight import check
from preflight.attempt import Trouble
from preflight.endpoint import Endpoint, Failure, Wanted
from preflight.probes import postgresql as probe
from tests.e2e.servers import DatabaseServer
from tests.e2e.tls import DAY, Authority, Secured, postgresql_with_tls
from tests.preflight.fakes import Fake, Handler, postgresql

Make = Callable[[Handler], Fake]
Named = Callable[[str], DatabaseServer]
SERVERS = pytest.mark.parametrize("name", ["postgresql", "postgresql17"])
HOSTILE = "c4narY '\"\\ %s {x} ü€"


def endpoint(server: DatabaseServer, **changes: Any) -> Endpoint:
    account = {"username": server.username, "password": server.password}
    return Endpoint(
        **{"path": "servers.hq", "engine": "postgresql", "host": server.host, "port": server.port, "account": account, "administrator": True, **changes}
    )


def secured(server: Secured, **changes: Any) -> Endpoint:
    account = {"username": server.username, "password": server.password}
    return Endpoint(
        **{"path": "servers.hq", "engine": "postgresql", "host": server.host, "port": server.port, "account": account, "administrator": True, **changes}
    )


def only(failures: list[Failure]) -> Failure:
    assert len(failures) == 1, failures
    return failures[0]


@pytest.fixture
def role(server: Named) -> Iterator[Callable[..., dict[str, str]]]:
    """Makes a role with rights and gives its account."""
    superuser = server("postgresql")
    name = "preflight_role"

    def make(rights: str = "", password: str = HOSTILE) -> dict[str, str]:
        with superuser.administrator() as session:
            session.run(f'DROP ROLE IF EXISTS "{name}"')
            literal = psycopg.sql.Literal(password).as_string()
            session.run(f'CREATE ROLE "{name}" LOGIN {rights} PASSWORD {literal}')
        return {"username": name, "password": password}

    yield make
    superuser.drop(name)


@SERVERS
@pytest.mark.parametrize("kind", ["", "-limited"], ids=["superuser", "limited"])
def test_administrators_that_can_do_it(name: str, kind: str, server: Named) -> None:
    wanted = (Wanted(path="w", username="preflight_new", database="preflight_new"),)
    assert check([endpoint(server(name + kind), tls="disable", wanted=wanted), endpoint(server(name + kind))]) == []


@pytest.mark.parametrize(("rights", "lacks"), [("CREATEROLE", "CREATEDB"), ("CREATEDB", "CREATEROLE"), ("", "CREATEDB and CREATEROLE")])
def test_a_missing_right_is_named_with_the_statement_that_gives_it(rights: str, lacks: str, server: Named, role: Callable[..., dict[str, str]]) -> None:
    failure = only(check([endpoint(server("postgresql"), account=role(rights))]))
    assert failure.found == f"the administrator lacks {lacks}"
    statement = failure.remedy.splitlines()[-1].strip()
    assert statement == 'ALTER ROLE "preflight_role" CREATEDB CREATEROLE;'
    with server("postgresql").administrator() as session:
        session.run(statement)
    assert check([endpoint(server("postgresql"), account={"username": "preflight_role", "password": HOSTILE})]) == []


def test_a_wrong_password_has_both_reasons(server: Named) -> None:
    failure = only(check([endpoint(server("postgresql"), account={"username": "postgres", "password": "c4narY"})]))
    assert "password authentication failed" in failure.found
    assert all(words in failure.remedy for words in ("password in the stack file is wrong", "pg_hba.conf"))
    assert "c4narY" not in str(failure)


def test_an_application_without_its_database(server: Named) -> None:
    limited = server("postgresql-limited")
    account = {"username": limited.username, "password": limited.password, "database": "no_such"}
    failure = only(check([endpoint(limited, administrator=False, account=account)]))
    assert 'database "no_such" does not exist' in failure.found


@SERVERS
def test_what_is_there_already_is_told_under_the_group(name: str, server: Named) -> None:
    wanted = (
        Wanted(path="applications.a", username="preflight_new", database="preflight_new"),
        Wanted(path="applications.b", username="postgres", database="preflight_new2"),
        Wanted(path="applications.c", username="preflight_new3", database="template1"),
    )
    failures = check([endpoint(server(f"{name}-limited"), wanted=wanted)])
    assert [failure.path for failure in failures] == ["applications.b", "applications.c"]
    assert [failure.found for failure in failures] == ["role postgres is on the server already", "database template1 is on the server already"]
    assert all(words in failures[0].remedy for words in ("never taken over", "`username:`", "`host:`", "drop it"))


@SERVERS
def test_extensions(name: str, server: Named) -> None:
    wanted = (Wanted(path="applications.a", username="preflight_new", database="preflight_new", extensions=("citext", "no_such", "pg_stat_statements")),)
    failures = check([endpoint(server(f"{name}-limited"), wanted=wanted)])
    assert [failure.path for failure in failures] == ["applications.a", "applications.a"]
    assert failures[0].found == "the server does not have the extension no_such"
    assert failures[1].found.startswith("the extension pg_stat_statements is not trusted")
    assert [failure.found for failure in check([endpoint(server(name), wanted=wanted)])] == [failures[0].found]


def test_two_endpoints_of_one_server_hear_of_their_own_groups_alone(server: Named) -> None:
    of = [Wanted(path=f"applications.{name}", username="postgres", database=f"preflight_{name}") for name in "ab"]
    failures = check([endpoint(server("postgresql"), path=wanted.path, wanted=(wanted,)) for wanted in of])
    assert [failure.path for failure in failures] == ["applications.a", "applications.b"]


@pytest.mark.parametrize(("version", "named"), [(90024, "9.0.24"), (80400, "8.4.0")])
def test_a_server_older_than_the_provider_knows_is_refused(version: int, named: str) -> None:
    with pytest.raises(Trouble) as caught:
        probe._suitable(version, named)
    assert named in caught.value.found
    assert "9.1" in caught.value.found


@pytest.mark.parametrize("version", [90100, 150000, 180000])
def test_a_server_that_the_provider_knows(version: int) -> None:
    probe._suitable(version, "it")


@pytest.mark.parametrize(
    ("message", "found", "remedy"),
    [
        (
            'no pg_hba.conf entry for host "10.1.2.3", user "shop", database "shop", no encryption',
            "admits nobody from this machine's address",
            "host  shop  shop  10.1.2.3/32  scram-sha-256",
        ),
        ('no pg_hba.conf entry for host "fd00::5", user "shop", database "shop", no encryption', "admits nobody", "fd00::5/128"),
        ("sorry, too many clients already", "takes no more connections", "max_connections"),
        ("remaining connection slots are reserved for roles with the SUPERUSER attribute", "takes no more connections", "max_connections"),
        ("the database system is starting up", "takes no logins yet", "Run it again"),
        ('role "shop" is not permitted to log in', "may not log in", 'ALTER ROLE "shop" LOGIN;'),
        ('permission denied for database "shop"', "not for the database", 'GRANT CONNECT ON DATABASE "shop" TO "shop";'),
        ("authentification par mot de passe échouée", "the login was refused", "password in the stack file is wrong"),
    ],
)
def test_what_a_server_says(message: str, found: str, remedy: str, fake: Make) -> None:
    account = {"username": "shop", "password": "wrong-one", "database": "shop"}
    failure = only(check([fake(postgresql(message)).endpoint("postgresql", account=account)]))
    assert found in failure.found
    assert remedy in failure.remedy


def test_without_an_account_an_answer_is_enough(fake: Make) -> None:
    assert check([fake(postgresql('password authentication failed for user "x"')).endpoint("postgresql")]) == []


def test_tls_as_it_is_wanted(secured_postgresql: Secured) -> None:
    ca = str(secured_postgresql.ca)
    assert check([secured(secured_postgresql, tls=tls, ca=ca, path=str(tls)) for tls in (None, "disable", "require", "verify-full")]) == []


def test_the_machines_own_authorities(secured_postgresql: Secured, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "does not know" in only(check([secured(secured_postgresql, tls="verify-full")])).found
    monkeypatch.setenv("SSL_CERT_FILE", str(secured_postgresql.ca))
    assert check([secured(secured_postgresql, tls="verify-full")]) == []


def test_an_authority_that_signed_something_else(secured_postgresql: Secured, tmp_path: Any) -> None:
    other = tmp_path / "other.pem"
    other.write_bytes(Authority("another").pem)
    failure = only(check([secured(secured_postgresql, tls="verify-full", ca=str(other))]))
    assert f"that {other} does not know" in failure.found
    assert "Authority of a test" in failure.found
    assert check([secured(secured_postgresql, tls="require", ca=str(other))]) == []


@pytest.mark.parametrize(("content", "reason"), [(None, "there is no such file"), ("nonsense", "cannot be read as PEM")])
def test_a_file_of_authorities_that_is_none(content: str | None, reason: str, secured_postgresql: Secured, tmp_path: Any) -> None:
    path = tmp_path / "ca.pem"
    if content:
        path.write_text(content)
    assert reason in only(check([secured(secured_postgresql, tls="verify-full", ca=str(path))])).found


def test_a_certificate_for_another_name(secured_postgresql: Secured) -> None:
    failure = only(check([secured(secured_postgresql, tls="verify-full", ca=str(secured_postgresql.ca), host="127.0.0.1")]))
    assert failure.found == "the server's certificate is for another name than 127.0.0.1: it is for localhost"


def test_a_certificate_out_of_date_or_without_names(authority: Authority) -> None:
    with postgresql_with_tls(authority, certificate=authority.issue("localhost", since=-3 * DAY, until=-2 * DAY)) as old:
        assert "certificate expired on 20" in only(check([secured(old, tls="verify-full", ca=str(old.ca))])).found
    with postgresql_with_tls(authority, certificate=authority.issue()) as nameless:
        assert "no alternative names" in only(check([secured(nameless, tls="verify-full", ca=str(nameless.ca))])).found


def test_a_server_that_insists_on_tls(authority: Authority) -> None:
    with postgresql_with_tls(authority, "localhost", access=("hostssl all all all scram-sha-256",)) as strict:
        failure = only(check([secured(strict, tls="disable")]))
        assert check([secured(strict), secured(strict, tls="require")]) == []
    assert "no encryption" in failure.found
    assert "hostssl" in failure.remedy
    assert "host  all  postgres  127.0.0.1/32  scram-sha-256" in failure.remedy


@pytest.mark.parametrize("tls", ["require", "verify-full"])
def test_a_server_without_tls(tls: str, server: Named) -> None:
    failure = only(check([endpoint(server("postgresql"), tls=tls)]))
    assert failure.found == "the server has no TLS"
    assert "tls: disable" in failure.remedy


def test_a_standby(authority: Authority) -> None:
    """A server that was stopped, and started again as a standby of nothing."""
    with postgresql_with_tls(authority, "localhost", standby=True) as standby:
        failure = only(check([secured(standby)]))
        assert check([secured(standby, administrator=False)]) == []
    assert failure.found == "the server is a standby, which takes no changes"


def test_hundreds_of_accounts_of_one_server_in_time(secured_postgresql: Secured) -> None:
    connect = {"host": "127.0.0.1", "port": secured_postgresql.port, "user": secured_postgresql.username, "password": secured_postgresql.password}
    names = [f"preflight_{number}" for number in range(300)]
    with psycopg.connect(**connect, dbname="postgres", autocommit=True) as connection:  # type: ignore[arg-type]
        for name in names:
            connection.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{name}'".encode())
    accounts = [{"username": name, "password": name, "database": "postgres"} for name in names]
    assert check([secured(secured_postgresql, path=account["username"], account=account, tls="disable", administrator=False) for account in accounts]) == []
