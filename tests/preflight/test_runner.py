"""The runner: all servers in parallel, always in time, and each finding once for each path that it concerns."""

import errno
import resource
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from components.engines import ENGINES
from preflight import check, format_findings, run_statements
from preflight.errors import ProbeError
from preflight.models import Endpoint, Finding
from preflight.network import RESULT_AND_FIX_BY_ERRNO
from preflight.probes import PROBES
from tests.e2e.tls import free_port
from tests.preflight.fakes import (
    HOST,
    FakeServer,
    MakeFake,
    build_mysql_error,
    build_mysql_greeting,
    close,
    close_after_request,
    only,
    open_unanswering_port,
    reject_mysql_login,
    reply_and_close,
    results,
    send,
    send_garbage,
    serve_web,
    stay_silent,
)

ROOT = Path(__file__).resolve().parents[2]
WITH_PROTOCOL = sorted(engine for engine, probe in PROBES.items() if probe.speaks_protocol)
WITHOUT_PROTOCOL = sorted({*PROBES, *ENGINES, "a-tenth"} - {*WITH_PROTOCOL})
ALL = WITH_PROTOCOL + WITHOUT_PROTOCOL
OVERLOAD_SECONDS = 0.3
"""Time that an overloaded machine may need beyond the limit."""
TIMED_OUT = "no answer: the connection timed out"


def list_endpoints(server: FakeServer, engines: list[str]) -> list[Endpoint]:
    """Return an endpoint of the server for each engine, with an account."""
    account = {"username": "shop", "password": "wrong-one"}
    return [server.endpoint(engine, path=engine, account=account) for engine in engines]


def list_dead_endpoints(count: int, port: int, engine: str = "mysql") -> list[Endpoint]:
    return [Endpoint(path=f"dead{i}", engine=engine, host=f"dead-{i}.test", port=port) for i in range(count)]


def measure(endpoints: list[Endpoint], timeout_seconds: float = 10) -> tuple[list[Finding], float]:
    """Check the endpoints and return the findings and the seconds that this took."""
    start = time.monotonic()
    findings = check(endpoints, timeout_seconds)
    return findings, time.monotonic() - start


@pytest.fixture
def fake_dns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Resolve `*.test` to this machine, and never answer for `*.hangs`."""
    resolve = socket.getaddrinfo

    def getaddrinfo(host: Any, port: Any, *args: Any, **options: Any) -> Any:
        if str(host).endswith(".hangs"):
            threading.Event().wait(60)
        return resolve(HOST if str(host).endswith(".test") else host, port, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


def test_no_endpoints_give_no_findings() -> None:
    assert check([]) == []


@pytest.mark.parametrize("engine", ALL)
def test_a_refused_connection_names_the_setting_to_listen(engine: str) -> None:
    endpoint = Endpoint(path="externalServers.it", engine=engine, host=HOST, port=free_port())
    finding = only(check([endpoint]))
    assert (finding.path, finding.endpoint) == ("externalServers.it", f"{HOST}:{endpoint.port}")
    assert finding.result == "connection refused: the host is up, but no program listens on this address and port"
    assert finding.check == f"connecting to {HOST}, port {endpoint.port}"
    assert f"sport = :{endpoint.port}" in finding.fix
    assert engine not in PROBES or PROBES[engine].listen_setting_hint in finding.fix


@pytest.mark.parametrize(
    ("engine", "setting"), [("mysql", "bind-address"), ("mysql", "skip-networking"), ("postgresql", "listen_addresses")]
)
def test_the_settings_to_listen_are_named(engine: str, setting: str) -> None:
    assert setting in PROBES[engine].listen_setting_hint


@pytest.mark.parametrize(
    ("host", "results_allowed"),
    [
        (
            "no-such-host.invalid",
            {"the host name does not exist", "the DNS servers of this machine do not answer"},  # without a network
        ),
        ("a" * 70 + ".example.org", {"the host name is invalid"}),
    ],
)
def test_an_unknown_name(host: str, results_allowed: set[str]) -> None:
    finding = only(check([Endpoint(path="it", engine="mysql", host=host, port=3306)], timeout_seconds=8))
    assert finding.check == f"resolving the host name {host}"
    assert finding.result in results_allowed


@pytest.mark.parametrize(("code", "result"), [(code, result) for code, (result, _) in RESULT_AND_FIX_BY_ERRNO.items()])
def test_an_error_of_the_network_has_its_own_finding(code: int, result: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_args: object, **_options: object) -> None:
        raise OSError(code, "it")

    monkeypatch.setattr(socket, "create_connection", fail)
    assert results(check([Endpoint(path="it", engine="mysql", host=HOST, port=1)])) == [result]
    assert len({errno.errorcode[code] for code in RESULT_AND_FIX_BY_ERRNO}) == len(RESULT_AND_FIX_BY_ERRNO)


@pytest.mark.usefixtures("fake_dns")
@pytest.mark.parametrize(("count", "limit"), [(10, 6), (1000, 10 + OVERLOAD_SECONDS)])
def test_dead_servers_are_checked_in_parallel_with_little_memory(count: int, limit: float) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with open_unanswering_port() as port:
        endpoints = list_dead_endpoints(count, port)
        findings, seconds = measure(endpoints)
    assert [finding.path for finding in findings] == [endpoint.path for endpoint in endpoints]
    assert {finding.result for finding in findings} == {TIMED_OUT}
    assert all("firewall" in finding.fix for finding in findings)
    assert seconds < limit
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 150_000


def test_a_thousand_groups_with_one_account_need_one_login(fake: MakeFake) -> None:
    server = fake(reject_mysql_login(1045, "Access denied for user 'shop'@'10.1.2.3' (using password: YES)"))
    account = {"username": "shop", "password": "wrong"}
    endpoints = [server.endpoint("mysql", path=f"applications.a{i}", account=account) for i in range(1000)]
    findings, seconds = measure(endpoints)
    assert [finding.path for finding in findings] == [endpoint.path for endpoint in endpoints]
    assert len(server.connections) <= 3
    assert seconds < 5


def test_a_server_gets_four_logins_at_once(fake: MakeFake) -> None:
    lock, current, most = threading.Lock(), [0], [0]

    def handler(connection: socket.socket) -> None:
        connection.sendall(build_mysql_greeting())
        if not connection.recv(1000):
            return  # the check of the port, without a login
        with lock:
            current[0] += 1
            most[0] = max(most[0], current[0])
        time.sleep(0.05)
        with lock:
            current[0] -= 1
        connection.sendall(build_mysql_error(1045, "Access denied"))

    server = fake(handler)
    endpoints = [
        server.endpoint("mysql", tls="disable", path=f"a{i}", account={"username": f"u{i}", "password": "p"})
        for i in range(40)
    ]
    findings, _ = measure(endpoints)
    assert [finding.path for finding in findings] == [endpoint.path for endpoint in endpoints]
    assert all(finding.result.startswith("the server rejected the login: ") for finding in findings)
    assert most[0] == 4


def test_a_server_that_hangs_is_reported_in_time(fake: MakeFake) -> None:
    findings, seconds = measure([*(list_endpoints(fake(stay_silent), [engine])[0] for engine in WITH_PROTOCOL)])
    expected = "the port accepts connections but sends no data"
    assert {finding.path: finding.result for finding in findings} == dict.fromkeys(WITH_PROTOCOL, expected)
    assert seconds < 10


def test_a_timeout_is_reported_with_the_current_step(fake: MakeFake) -> None:
    account = {"username": "shop", "password": "p"}
    findings, seconds = measure([fake(stay_silent).endpoint("postgresql", account=account)], timeout_seconds=1)
    finding = only(findings)
    assert (finding.check, finding.result) == ("logging in as shop", "no answer within 1 s")
    assert PROBES["postgresql"].busy_hint in finding.fix
    assert seconds < 1 + OVERLOAD_SECONDS


@pytest.mark.usefixtures("fake_dns")
def test_a_resolver_that_hangs_does_not_delay_other_checks(fake: MakeFake) -> None:
    hosts = [f"h{i}.hangs" for i in range(3)]
    endpoints = [Endpoint(path=host, engine="mysql", host=host, port=1) for host in hosts]
    findings, seconds = measure([*endpoints, fake(serve_web()).endpoint("mysql", path="web")], timeout_seconds=3)
    expected = [(host, f"resolving the host name {host}") for host in hosts]
    assert [(finding.path, finding.check) for finding in findings[:3]] == expected
    assert [finding.path for finding in findings[3:]] == ["web"]
    assert seconds < 3 + OVERLOAD_SECONDS


@pytest.mark.parametrize(
    ("setup", "expression", "output"),
    [
        ("socket.getaddrinfo = lambda *a, **o: threading.Event().wait()", "len(check([endpoint('mysql')], 0.5))", "1"),
        (
            "check([endpoint(engine) for engine in ('mysql', 'redis', 'mongodb')])",
            "{'pymysql', 'psycopg', 'redis', 'pika', 'pymongo', 'cryptography.x509', 'pulumi'} & {*sys.modules}",
            "set()",
        ),
    ],
    ids=["a hanging thread does not keep the process from exiting", "a driver is imported when it is needed"],
)
def test_in_a_process_of_its_own(setup: str, expression: str, output: str) -> None:
    program = (
        "import socket, sys, threading\nfrom preflight import check\nfrom preflight.models import Endpoint\n"
        "def endpoint(engine): return Endpoint(path='it', engine=engine, host='127.0.0.1', port=1)\n"
        f"{setup}\nprint({expression})"
    )
    command = [sys.executable, "-c", program]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, f"{output}\n", "")


def assert_services(servers: list[tuple[FakeServer, str]], engines: list[str]) -> None:
    """Assert that the check of each engine's endpoint on each server finds the server's service."""
    endpoints = [endpoint for server, _ in servers for endpoint in list_endpoints(server, engines)]
    findings = check(endpoints)
    assert [(finding.path, finding.endpoint, finding.result) for finding in findings] == [
        (engine, f"{HOST}:{server.port}", f"another service answers: {service}")
        for server, service in servers
        for engine in engines
    ]
    assert all("Correct `host` and `port`" in finding.fix for finding in findings)


def test_a_service_that_is_no_engine_is_identified(fake: MakeFake) -> None:
    services = [
        (fake(serve_web()), "a web server (nginx/1.22)"),
        (fake(serve_web(headers={})), "a web server"),
        (fake(send(b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n")), "an SSH server (OpenSSH_9.2p1)"),
        (fake(send(b"220 mail.example.org ESMTP\r\n")), "a mail or FTP server (mail.example.org ESMTP)"),
        (fake(send(b"", b"ERROR\r\n")), "memcached"),
    ]
    assert_services(services, ALL)


def test_another_database_is_identified(fake: MakeFake) -> None:
    mariadb = reject_mysql_login(1045, "no", version="5.5.5-10.11.6-MariaDB")
    mongodb = serve_web(headers={}, body="It looks like you are trying to access MongoDB over HTTP.")
    services = [
        (fake(reject_mysql_login(1045, "no")), "MySQL (8.4.0)"),
        (fake(mariadb), "MariaDB (10.11.6-MariaDB)"),
        (fake(send(b"", b"-ERR unknown command\r\n")), "Redis"),
        (fake(reply_and_close(b"AMQP\0\0\x09\x01")), "RabbitMQ or another AMQP broker"),
        (fake(serve_web(headers={"X-Elastic-Product": "Elasticsearch"})), "Elasticsearch"),
        (fake(serve_web(headers={"X-Influxdb-Version": "v2.7.1"})), "InfluxDB (v2.7.1)"),
        (fake(mongodb), "MongoDB"),
    ]
    assert_services(services, ["postgresql", *WITHOUT_PROTOCOL])


def test_an_unknown_service_is_reported_as_unknown(fake: MakeFake) -> None:
    handlers = (close, close_after_request, send_garbage)
    endpoints = [endpoint for handler in handlers for endpoint in list_endpoints(fake(handler), WITH_PROTOCOL)]
    without_account = [
        replace(endpoint, account={})
        for handler in handlers
        for endpoint in list_endpoints(fake(handler), WITH_PROTOCOL)
    ]
    findings, seconds = measure([*endpoints, *without_account])
    assert [finding.path for finding in findings] == WITH_PROTOCOL * 6
    for finding in findings:
        assert finding.result.startswith(f"an unknown service answers, not {PROBES[finding.path].title}: ")
        assert "Traceback" not in finding.result
        assert "\n" not in finding.result
    assert seconds < 10


def test_a_server_without_a_protocol_probe_only_has_to_listen(fake: MakeFake) -> None:
    assert check(list_endpoints(fake(stay_silent), WITHOUT_PROTOCOL)) == []


def test_findings_have_the_order_of_the_endpoints(fake: MakeFake) -> None:
    slow, port = fake(stay_silent), free_port()
    ports = [port if i % 2 else slow.port for i in range(6)]
    endpoints = [Endpoint(path=f"p{i}", engine="mysql", host=HOST, port=port) for i, port in enumerate(ports)]
    findings = check(endpoints, timeout_seconds=2)
    assert [finding.path for finding in findings] == [endpoint.path for endpoint in endpoints]


@pytest.mark.usefixtures("fake_dns")
def test_many_kinds_of_findings_end_in_time(fake: MakeFake) -> None:
    handlers = (serve_web(), close, stay_silent)
    with ExitStack() as stack:
        endpoints = list_dead_endpoints(50, stack.enter_context(open_unanswering_port()), "redis")
        endpoints += [
            fake(handler).endpoint(engine, path=f"{engine} {handler is handlers[0]}")
            for engine in ALL
            for handler in handlers
        ]
        findings, seconds = measure(endpoints)
    without_finding = {f"{engine} False" for engine in WITHOUT_PROTOCOL}
    expected = [endpoint.path for endpoint in endpoints if endpoint.path not in without_finding]
    assert [finding.path for finding in findings] == expected
    assert seconds < 10 + OVERLOAD_SECONDS


def test_findings_are_formatted_with_the_commands_on_lines_of_their_own() -> None:
    finding = Finding("rejected", "Do this:\n  SELECT 1;", check="logging in", path="externalServers.a", endpoint="a:1")
    text = (
        "\n\n  externalServers.{} (a:1)\n    check: logging in\n    result: rejected\n"
        "    fix: Do this:\n           SELECT 1;"
    )
    assert format_findings([finding]) == "1 external server check failed:" + text.format("a")
    store = replace(finding, path="backupStores.a", subject="backup store")
    stores = "1 backup store check failed:" + text.format("a").replace("external", "").replace(
        "Servers", "backupStores"
    )
    assert format_findings([finding, store]) == f"{format_findings([finding])}\n\n{stores}"
    two = [finding, replace(finding, path="externalServers.b")]
    assert format_findings(two) == "2 external server checks failed:" + text.format("a") + text.format("b")


def test_program_runs_no_statements_on_other_engines(fake: MakeFake) -> None:
    with pytest.raises(ProbeError, match="the program runs no statements on redis"):
        run_statements(fake(close).endpoint("redis"), ["SELECT 1"], 5)
