"""The text and the JSON of a status."""

import re
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from status.groups import ApplicationStatus, GroupStatus, VolumeStatus
from status.text import render_json, render_text

NOW = datetime.fromisoformat("2026-01-10T00:00:00Z")


def ago(**time: int) -> str:
    return (NOW - timedelta(**time)).isoformat()


MAIN = GroupStatus(
    engine="mysql",
    group="main",
    service="mysql",
    kind="dedicated",
    variant="percona",
    version="8.4",
    servers=1,
    ready_servers=1,
    ready=True,
    since=ago(days=5),
    volume=VolumeStatus(claim="mysql-main", size="50Gi", used_bytes=10, capacity_bytes=40),
    secret="mysql-main",
    secret_changed=ago(days=9),
)
OLD = GroupStatus(
    engine="mysql",
    group="old",
    service="mysql-old",
    kind="external",
    variant="mysql",
    version=None,
    hosts=("db.example.org:3306",),
    secret="mysql-old",
    secret_changed=ago(days=9),
)
CACHE = GroupStatus(
    engine="redis",
    group="cache",
    service="redis",
    kind="local",
    variant="redis",
    version="8",
    ready=False,
    since=ago(minutes=3),
    volume=VolumeStatus(claim="redis-cache", size="2Gi"),
    secret="redis-cache",
    problems=("Service redis is missing", "Pod redis-cache-0: Unhealthy:\n\x1b[31mprobe\tfailed"),
)
SHOP = ApplicationStatus(name="shop", namespace="shop", groups=(MAIN, OLD))


def test_a_table_without_problems_ends_with_the_number_of_groups() -> None:
    *table, empty, total = render_text([SHOP], [], NOW).splitlines()
    assert [re.split(r"\s{2,}", line) for line in table] == [
        ["APPLICATION", "GROUP", "SERVICE", "SERVER", "VERSION", "READY", "SINCE", "VOLUME", "SECRET", "PROBLEM"],
        ["shop", "mysql.main", "mysql", "dedicated", "percona 8.4", "yes", "5d", "50Gi, 25% used", "9d"],
        ["shop", "mysql.old", "mysql-old", "external db.example.org:3306", "-", "-", "-", "-", "9d"],
    ]
    assert {line.index("mysql") for line in table[1:]} == {table[0].index("GROUP")}
    assert (empty, total) == ("", "2 database groups, none with a problem")


def test_problems_are_in_the_table_and_hints_below() -> None:
    billing = ApplicationStatus(
        name="billing", namespace="b", groups=(CACHE,), problems=("Secret billing-databases is missing",)
    )
    lines = render_text([billing], ["not allowed to list Pod objects in namespace b"], NOW).splitlines()
    assert lines[1:] == [
        "billing      redis.cache  redis    local   8        no     3m     2Gi     -       "
        "Service redis is missing; Pod redis-cache-0: Unhealthy: [31mprobe failed",
        "",
        "1 database group, 1 with a problem",
        "billing: Secret billing-databases is missing",
        "note: not allowed to list Pod objects in namespace b",
        "create what is missing: `make refresh`, then `make up`",
        "help: docs/troubleshooting.md",
    ]


def test_a_long_problem_is_shortened_in_the_table_only() -> None:
    group = GroupStatus(
        engine="redis", group="main", service=None, kind="local", variant="redis", version="8", secret="s",
        problems=("x" * 1000,),
    )  # fmt: skip
    status = ApplicationStatus(name="shop", namespace="shop", groups=(group,))
    assert max(map(len, render_text([status], [], NOW).splitlines())) < 300
    content = render_json("production", [status], [])
    assert content["applications"]["shop"]["databases"]["redis"]["main"]["problems"] == ["x" * 1000]


@pytest.mark.parametrize(
    ("time", "age"),
    [
        ({"seconds": -5}, "0s"),
        ({"seconds": 119}, "119s"),
        ({"minutes": 2}, "2m"),
        ({"minutes": 119}, "119m"),
        ({"hours": 47, "minutes": 59}, "47h"),
        ({"days": 2}, "2d"),
    ],
)
def test_an_age_has_one_unit(time: dict[str, int], age: str) -> None:
    group = GroupStatus(
        engine="redis", group="main", service=None, kind="local", variant="redis", version="8", secret="s",
        secret_changed=ago(**time),
    )  # fmt: skip
    row = render_text([ApplicationStatus(name="shop", namespace="shop", groups=(group,))], [], NOW).splitlines()[1]
    assert row.split()[-1] == age


def test_readiness_of_a_cluster_is_a_number_of_servers() -> None:
    group = replace(MAIN, servers=3, ready_servers=2, ready=False)
    table = render_text([ApplicationStatus(name="shop", namespace="shop", groups=(group,))], [], NOW).splitlines()
    assert re.split(r"\s{2,}", table[1])[5] == "2 of 3"


def test_json_has_the_keys_of_the_stack_output() -> None:
    content = render_json("production", [SHOP], ["a note"])
    assert (content["stack"], content["notes"]) == ("production", ["a note"])
    assert set(content["applications"]["shop"]) == {"namespace", "problems", "databases"}
    assert content["applications"]["shop"]["databases"]["mysql"]["main"] == {
        "service": "mysql",
        "kind": "dedicated",
        "variant": "percona",
        "version": "8.4",
        "hosts": [],
        "servers": 1,
        "readyServers": 1,
        "ready": True,
        "since": ago(days=5),
        "volume": {"claim": "mysql-main", "size": "50Gi", "usedBytes": 10, "capacityBytes": 40},
        "secret": "mysql-main",
        "secretChanged": ago(days=9),
        "problems": [],
    }
