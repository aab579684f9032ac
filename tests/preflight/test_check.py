"""All servers at once, in time whatever they do, each failure told once for each path that it concerns."""

import resource
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from preflight import check, report
from preflight.endpoint import Endpoint, Failure, Wanted
from preflight.probes import PROBES
from tests.e2e.tls import free_port
from tests.preflight.fakes import (
    HOST,
    Fake,
    Handler,
    closing,
    garbage,
    mysql,
    mysql_error,
    mysql_greeting,
    parting,
    saying,
    silent,
    unanswering,
    web,
)

Make = Callable[[Handler], Fake]
ROOT = Path(__file__).resolve().parents[2]
ENGINES = sorted(PROBES)
SPOKEN = [engine for engine in ENGINES if engine != "glusterfs"]
ALLOWED = 0.3
"""What an overloaded machine may take beyond the time."""


def dead_name(number: int) -> str:
    return f"dead-{number}.test"


def everywhere(there: Fake, engines: list[str]) -> list[Endpoint]:
    """An endpoint there for each engine, with an account."""
    return [there.endpoint(engine, path=engine, account={"username": "shop", "password": "wrong-one"}) for engine in engines]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every name that ends in `.test` stands for this machine; one in `.hangs` is looked up for ever."""
    known = socket.getaddrinfo

    def look_up(host: Any, port: Any, *arguments: Any, **options: Any) -> Any:
        if str(host).endswith(".hangs"):
            threading.Event().wait(60)
        return known(HOST if str(host).endswith(".test") else host, port, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)


def timed(endpoints: list[Endpoint], seconds: float = 10) -> tuple[list[Failure], float]:
    start = time.monotonic()
    failures = check(endpoints, seconds)
    return failures, time.monotonic() - start


def test_nothing_to_check_is_no_failure() -> None:
    assert check([]) == []


@pytest.mark.parametrize("engine", [*ENGINES, "a-tenth"])
def test_a_refused_connection_says_what_makes_a_server_listen(engine: str) -> None:
    endpoint = Endpoint(path="servers.it", engine=engine, host=HOST, port=free_port())
    (failure,) = check([endpoint])
    assert (failure.path, failure.endpoint) == ("servers.it", f"{HOST}:{endpoint.port}")
    assert "refused" in failure.found
    assert f"port {endpoint.port}" in failure.tried
    assert f"sport = :{endpoint.port}" in failure.remedy
    if engine in PROBES:
        assert PROBES[engine].listening in failure.remedy


@pytest.mark.parametrize(("engine", "words"), [("mysql", "bind-address"), ("mysql", "skip-networking"), ("postgresql", "listen_addresses")])
def test_the_settings_that_people_forget_are_named(engine: str, words: str) -> None:
    (failure,) = check([Endpoint(path="it", engine=engine, host=HOST, port=free_port())])
    assert words in failure.remedy


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a" * 70 + ".example.org"])
def test_a_name_that_nobody_knows(host: str) -> None:
    (failure,) = check([Endpoint(path="it", engine="mysql", host=host, port=3306)], seconds=8)
    assert failure.tried == f"looking up the name {host}"
    assert "name" in failure.found


@pytest.mark.usefixtures("names")
def test_ten_dead_servers_at_once() -> None:
    with unanswering() as port:
        endpoints = [Endpoint(path=f"servers.s{number}", engine="mysql", host=dead_name(number), port=port) for number in range(10)]
        failures, seconds = timed(endpoints)
    assert [failure.path for failure in failures] == [endpoint.path for endpoint in endpoints]
    assert {failure.found for failure in failures} == {"no answer: the connection timed out"}
    assert all("firewall" in failure.remedy for failure in failures)
    assert seconds < 6


@pytest.mark.usefixtures("names")
def test_a_thousand_dead_servers_take_no_longer_and_little_memory() -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with unanswering() as port:
        endpoints = [Endpoint(path=f"servers.s{number}", engine="mysql", host=dead_name(number), port=port) for number in range(1000)]
        failures, seconds = timed(endpoints)
    assert [failure.path for failure in failures] == [endpoint.path for endpoint in endpoints]
    assert {failure.found for failure in failures} == {"no answer: the connection timed out"}
    assert seconds < 10 + ALLOWED
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 150_000


def test_a_thousand_groups_with_one_account_are_one_login(fake: Make) -> None:
    there = fake(mysql(1045, "Access denied for user 'shop'@'10.1.2.3' (using password: YES)"))
    account = {"username": "shop", "password": "wrong"}
    failures, seconds = timed([there.endpoint("mysql", path=f"applications.a{number}", account=account) for number in range(1000)])
    assert [failure.path for failure in failures] == [f"applications.a{number}" for number in range(1000)]
    assert len(there.connections) <= 3
    assert seconds < 5


def test_no_more_than_a_few_logins_at_once_to_one_server(fake: Make) -> None:
    lock, now, most = threading.Lock(), [0], [0]

    def handler(connection: socket.socket) -> None:
        connection.sendall(mysql_greeting())
        if not connection.recv(1000):
            return  # whoever only looks whether something listens
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        time.sleep(0.05)
        with lock:
            now[0] -= 1
        connection.sendall(mysql_error(1045, "Access denied"))

    there = fake(handler)
    endpoints = [there.endpoint("mysql", tls="disable", path=f"a{number}", account={"username": f"u{number}", "password": "p"}) for number in range(40)]
    failures, _ = timed(endpoints)
    assert [failure.path for failure in failures] == [f"a{number}" for number in range(40)]
    assert all("refused" in failure.found for failure in failures)
    assert most[0] == 4


def test_a_server_that_hangs_is_told_of_in_time(fake: Make) -> None:
    failures, seconds = timed([endpoint for engine in SPOKEN for endpoint in everywhere(fake(silent), [engine])])
    assert {failure.path: failure.found for failure in failures} == dict.fromkeys(SPOKEN, "something takes connections and says nothing at all")
    assert seconds < 10


def test_who_runs_out_of_time_is_told_of_with_what_was_tried(fake: Make) -> None:
    (failure,), seconds = timed([fake(silent).endpoint("postgresql", account={"username": "shop", "password": "p"})], seconds=1)
    assert failure.found == "no answer within 1 s"
    assert failure.tried == "logging in as shop"
    assert failure.remedy
    assert seconds < 1 + ALLOWED


@pytest.mark.usefixtures("names")
def test_a_resolver_that_hangs_keeps_nobody_waiting(fake: Make) -> None:
    endpoints = [Endpoint(path=f"h{number}", engine="mysql", host=f"h{number}.hangs", port=1) for number in range(3)]
    failures, seconds = timed([*endpoints, fake(web()).endpoint("mysql", path="web")], seconds=3)
    assert [(failure.path, failure.tried) for failure in failures[:3]] == [(f"h{number}", f"looking up the name h{number}.hangs") for number in range(3)]
    assert failures[3].path == "web"
    assert seconds < 3 + ALLOWED


def test_what_hangs_does_not_keep_the_program_from_ending() -> None:
    program = (
        "import socket, threading\nsocket.getaddrinfo = lambda *a, **o: threading.Event().wait()\n"
        "from preflight import check\nfrom preflight.endpoint import Endpoint\n"
        "print(len(check([Endpoint(path='it', engine='mysql', host='h', port=1)], 0.5)))"
    )
    ended = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=20, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "1\n", "")


@pytest.mark.parametrize(
    ("handler", "found"),
    [
        (web(), "a web server (nginx/1.22) answers"),
        (web(headers={}), "a web server answers"),
        (saying(b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n"), "an SSH server (OpenSSH_9.2p1) answers"),
        (saying(b"220 mail.example.org ESMTP\r\n"), "a mail or FTP server (mail.example.org ESMTP) answers"),
    ],
    ids=["web", "web without a name", "ssh", "mail"],
)
def test_what_answers_in_a_databases_place_is_named(handler: Handler, found: str, fake: Make) -> None:
    failures = check(everywhere(fake(handler), ENGINES))
    assert {failure.path: failure.found for failure in failures} == dict.fromkeys(ENGINES, found)
    assert all("Correct host and port" in failure.remedy for failure in failures)


@pytest.mark.parametrize(
    ("handler", "found"),
    [
        (mysql(1045, "no"), "MySQL (8.4.0) answers"),
        (mysql(1045, "no", version="5.5.5-10.11.6-MariaDB"), "MariaDB (10.11.6-MariaDB) answers"),
        (saying(b"", b"-ERR unknown command\r\n"), "Redis answers"),
        (parting(b"AMQP\0\0\x09\x01"), "RabbitMQ or another AMQP broker answers"),
        (web(headers={"X-Elastic-Product": "Elasticsearch"}), "Elasticsearch answers"),
        (web(headers={"X-Influxdb-Version": "v2.7.1"}), "InfluxDB (v2.7.1) answers"),
        (web(headers={}, body="It looks like you are trying to access MongoDB over HTTP on the native driver port."), "MongoDB answers"),
    ],
    ids=["mysql", "mariadb", "redis", "rabbitmq", "elasticsearch", "influxdb", "mongodb"],
)
def test_another_database_is_named(handler: Handler, found: str, fake: Make) -> None:
    there = fake(handler)
    assert [failure.found for failure in check([there.endpoint("postgresql", account={"username": "shop", "password": "p"})])] == [found]
    assert [failure.found for failure in check([there.endpoint("glusterfs")])] == [found]


@pytest.mark.parametrize("handler", [closing, garbage], ids=["closing", "garbage"])
def test_what_nobody_knows_is_told_of_as_that(handler: Handler, fake: Make) -> None:
    failures, seconds = timed(everywhere(fake(handler), SPOKEN))
    assert [failure.path for failure in failures] == SPOKEN
    for failure in failures:
        assert failure.found.startswith(f"something answers that is not {PROBES[failure.path].title}")
        assert "Traceback" not in failure.found
        assert "\n" not in failure.found
    assert seconds < 10


def test_a_server_without_a_protocol_that_is_spoken_here_needs_no_more_than_to_be_there(fake: Make) -> None:
    there = fake(silent)
    assert check([there.endpoint("glusterfs"), there.endpoint("a-tenth")]) == []


def test_failures_stand_in_the_order_of_the_endpoints(fake: Make) -> None:
    slow, port = fake(silent), free_port()
    endpoints = [Endpoint(path=f"p{number}", engine="mysql", host=HOST, port=port if number % 2 else slow.port) for number in range(6)]
    assert [failure.path for failure in check(endpoints)] == [f"p{number}" for number in range(6)]


def test_an_endpoint_shows_no_account() -> None:
    endpoint = Endpoint(path="it", engine="mysql", host=HOST, port=1, account={"username": "shop", "password": "c4narY"})
    assert "c4narY" not in repr(endpoint)
    assert replace(endpoint, wanted=(Wanted(path="w", username="u", database="d"),)).account["password"] == "c4narY"


@pytest.mark.parametrize(("host", "shown"), [("db.example.org", "db.example.org:3306"), ("10.0.0.1", "10.0.0.1:3306"), ("fd00::1", "[fd00::1]:3306")])
def test_an_address_is_written_as_people_write_it(host: str, shown: str) -> None:
    assert Endpoint(path="it", engine="mysql", host=host, port=3306).address == shown


def test_a_report_has_every_failure_with_its_commands_on_lines_of_their_own() -> None:
    one = Failure(path="servers.a", endpoint="a:1", tried="logging in", found="refused", remedy="Do this:\n  SELECT 1;")
    assert report([one]) == "1 failure of external servers:\n\n  servers.a (a:1)\n    tried: logging in\n    found: refused\n    Do this:\n      SELECT 1;"
    many = report([one, replace(one, path="servers.b")])
    assert many.startswith("2 failures of external servers:")
    assert all(path in many for path in ("servers.a", "servers.b"))


def test_only_the_drivers_that_are_needed_are_imported() -> None:
    program = (
        "import sys\nfrom preflight import check\nfrom preflight.endpoint import Endpoint\n"
        "check([Endpoint(path='it', engine=engine, host='127.0.0.1', port=1) for engine in ('mysql', 'redis', 'mongodb')])\n"
        "print([name for name in ('pymysql', 'psycopg', 'redis', 'pika', 'pymongo', 'cryptography.x509', 'pulumi') if name in sys.modules])"
    )
    ended = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=30, check=True)
    assert ended.stdout == "[]\n"


@pytest.mark.usefixtures("names")
def test_many_kinds_of_failure_at_once_end_in_time(fake: Make) -> None:
    with ExitStack() as stack:
        port = stack.enter_context(unanswering())
        endpoints = [Endpoint(path=f"dead{number}", engine="redis", host=dead_name(number), port=port) for number in range(50)]
        endpoints += [fake(handler).endpoint(engine, path=f"{engine}{number}") for engine in ENGINES for number, handler in enumerate((web(), closing, silent))]
        failures, seconds = timed(endpoints)
    silent_is_fine = {"glusterfs1", "glusterfs2"}
    assert [failure.path for failure in failures] == [endpoint.path for endpoint in endpoints if endpoint.path not in silent_is_fine]
    assert seconds < 10 + ALLOWED
