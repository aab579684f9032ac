"""What an application is told of TLS: nothing unless asked, each engine's own words in its URI, and the server's own name where it is to be checked."""

from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest

from components.engines import ENGINES
from tests.support import (
    PROVIDERS,
    SECRET,
    config_issues,
    existing_account,
    external_server,
    get_resource,
    groups,
    provisioned_on,
    record_stack,
    stack_with_group,
)

CERTIFICATE = "-----BEGIN CERTIFICATE-----\nMIIBszCCAVmgAwIBAgIUQmFzZTY0\n-----END CERTIFICATE-----\n"

SAID: dict[str, dict[str, tuple[str, str]]] = {
    "mysql": {
        "disable": ("mysql://{service}", "?ssl-mode=DISABLED"),
        "require": ("mysql://{service}", "?ssl-mode=REQUIRED"),
        "verify-full": ("mysql://{server}", "?ssl-mode=VERIFY_IDENTITY"),
    },
    "postgresql": {
        "disable": ("postgresql://{service}", "?sslmode=disable"),
        "require": ("postgresql://{service}", "?sslmode=require"),
        "verify-full": ("postgresql://{server}", "?sslmode=verify-full"),
    },
    "mongodb": {
        "disable": ("mongodb://{service}", "&tls=false"),
        "require": ("mongodb://{service}", "&tls=true&tlsInsecure=true"),
        "verify-full": ("mongodb://{server}", "&tls=true"),
    },
    "redis": {
        "disable": ("redis://{service}", ""),
        "require": ("rediss://{service}", ""),
        "verify-full": ("rediss://{server}", ""),
    },
    "elasticsearch": {
        "disable": ("http://{service}", ""),
        "require": ("https://{service}", ""),
        "verify-full": ("https://{server}", ""),
    },
    "rabbitmq": {
        "disable": ("amqp://{service}", ""),
        "require": ("amqps://{service}", ""),
        "verify-full": ("amqps://{server}", ""),
    },
    "influxdb": {
        "disable": ("http://{service}", ""),
        "require": ("https://{service}", ""),
        "verify-full": ("https://{server}", ""),
    },
}
"""Scheme and host, and the end, of each engine's URI."""
TOLD = [pytest.param(engine, tls, id=f"{engine} {tls}") for engine, modes in SAID.items() for tls in modes]
UNTOLD = [name for name, engine in ENGINES.items() if not engine.supports_tls_in_uri and engine.port]


@pytest.fixture
def certificate(tmp_path: Path) -> str:
    path = tmp_path / "ca.crt"
    path.write_text(CERTIFICATE)
    return str(path)


def keys(raw: dict[str, Any], engine: str) -> dict[str, str]:
    """The connection Secret, decoded."""
    data = get_resource(record_stack(raw), SECRET, f"shop-{engine}-main-connection").inputs["data"]
    return {key: b64decode(value).decode() for key, value in data.items()}


def without_account(uri: str) -> str:
    scheme, _, rest = uri.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"


def test_every_engine_is_in_the_table_or_knows_no_tls() -> None:
    assert set(SAID) == {name for name, engine in ENGINES.items() if engine.supports_tls_in_uri}


@pytest.mark.parametrize(("engine", "tls"), TOLD)
def test_a_uri_says_it_in_its_engines_words(engine: str, tls: str) -> None:
    found = keys(stack_with_group(engine, existing_account(engine, tls=tls)), engine)
    begin, end = SAID[engine][tls]
    uri = without_account(found["uri"])
    assert uri.startswith(begin.format(service=f"{engine}:", external_server=f"{engine}.example.org:"))
    assert uri.endswith(end)
    assert ("?" in uri) == bool(end) or engine == "mongodb"
    # The Service stays the address of whoever builds the connection from parts.
    assert found["host"] == engine


@pytest.mark.parametrize("engine", list(SAID))
def test_nothing_is_said_unless_it_is_asked_for(engine: str) -> None:
    """Clients refuse parameters that they do not know, and a Service's name is in no certificate."""
    quiet = keys(stack_with_group(engine, existing_account(engine)), engine)["uri"]
    plain = keys(stack_with_group(engine, existing_account(engine, tls="disable")), engine)["uri"]
    assert without_account(quiet).startswith(SAID[engine]["disable"][0].format(service=f"{engine}:"))
    assert not SAID[engine]["disable"][1] or not quiet.endswith(SAID[engine]["disable"][1])
    assert plain.startswith(quiet)


@pytest.mark.parametrize("engine", ["mysql", "postgresql"])
def test_the_administrators_tls_is_not_the_applications(engine: str) -> None:
    for tls in ("disable", "require", "verify-full"):
        found = keys(
            {
                "externalServers": {"hq": external_server(engine, tls=tls)},
                **groups(**{engine: {"main": provisioned_on("hq")}}),
            },
            engine,
        )
        assert found["uri"] == f"{engine}://shop_main:hidden@{engine}:{found['port']}/shop_main"


@pytest.mark.parametrize("engine", ["mysql", "postgresql"])
def test_a_database_that_is_made_is_told_of_tls_by_its_group(engine: str) -> None:
    group = {"server": {"kind": "external", "provisionOn": "hq", "tls": "verify-full"}}
    found = keys(
        {
            "externalServers": {"hq": external_server(engine, host="DB.example.org".lower())},
            **groups(**{engine: {"main": group}}),
        },
        engine,
    )
    assert (
        found["uri"]
        == f"{engine}://shop_main:hidden@db.example.org:{found['port']}/shop_main{SAID[engine]['verify-full'][1]}"
    )


def test_an_ipv6_address_to_be_checked_is_in_brackets() -> None:
    assert without_account(
        keys(stack_with_group("redis", existing_account("redis", host="fd00::1", tls="verify-full")), "redis")["uri"]
    ).startswith("rediss://[fd00::1]:6379/")


@pytest.mark.parametrize("engine", list(SAID))
def test_the_authorities_are_in_the_secret_where_they_are_given(engine: str, certificate: str) -> None:
    assert keys(stack_with_group(engine, existing_account(engine, ca=certificate)), engine)["ca.crt"] == CERTIFICATE
    assert "ca.crt" not in keys(stack_with_group(engine, existing_account(engine)), engine)


def test_those_of_a_server_of_the_stack_reach_its_groups_and_the_variables(certificate: str) -> None:
    recorder = record_stack(
        {
            "externalServers": {"hq": external_server("postgresql", ca=certificate)},
            **groups(postgresql={"main": provisioned_on("hq")}),
        }
    )
    assert "ca.crt" in get_resource(recorder, SECRET, "shop-postgresql-main-connection").inputs["data"]
    assert {"POSTGRESQL_CA_CRT", "POSTGRESQL_MAIN_CA_CRT"} <= set(
        get_resource(recorder, SECRET, "shop-environment").inputs["data"]
    )


def test_the_provider_of_postgresql_checks_by_the_file(certificate: str) -> None:
    recorder = record_stack(
        {
            "externalServers": {"hq": external_server("postgresql", ca=certificate)},
            **groups(postgresql={"main": provisioned_on("hq")}),
        }
    )
    (provider,) = recorder.resources_of_type(f"{PROVIDERS}postgresql")
    assert provider.inputs["sslrootcert"] == certificate


MAIN = "applications.shop.databases.{engine}.main.server"


@pytest.mark.parametrize("engine", UNTOLD)
def test_an_engine_without_tls_takes_none(engine: str, certificate: str) -> None:
    found = config_issues(stack_with_group(engine, existing_account(engine, tls="require", ca=certificate)))
    assert found == [
        f"{MAIN.format(engine=engine)}.{key}: has no meaning for {engine}, whose clients are told of no TLS"
        for key in ("ca", "tls")
    ]


@pytest.mark.parametrize("way", ["given", "made"])
def test_a_name_to_be_checked_is_one(way: str) -> None:
    hosts = ["10.1.2.3", "10.1.2.4"]
    raw = (
        stack_with_group("mysql", existing_account("mysql", host=hosts, tls="verify-full"))
        if way == "given"
        else {
            "externalServers": {"hq": external_server("mysql", host=hosts)},
            **stack_with_group("mysql", {"kind": "external", "provisionOn": "hq", "tls": "verify-full"}),
        }
    )
    assert config_issues(raw) == [
        f"{MAIN.format(engine='mysql')}.tls: 'verify-full' needs one host, whose name is in the certificate, and there are 2"
    ]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "is no file that can be read; its path begins in the folder of the project"),
        ("", "holds no certificate (-----BEGIN CERTIFICATE-----)"),
        ("-----BEGIN CERTIFICATE-----", "holds no certificate (-----BEGIN CERTIFICATE-----)"),
        (
            CERTIFICATE + "-----BEGIN PRIVATE KEY-----\nc4narY\n",
            "holds a private key, which applications would be given; name a file with certificates alone",
        ),
    ],
    ids=["no file", "empty", "cut", "private key"],
)
def test_a_file_that_is_none_of_authorities_is_told(content: str | None, said: str, tmp_path: Path) -> None:
    path = tmp_path / "ca.crt"
    if content is not None:
        path.write_text(content)
    assert [
        line.partition(": ")[2]
        for line in config_issues(stack_with_group("mysql", existing_account("mysql", ca=str(path))))
    ] == [said]
    assert [
        line.partition(": ")[2]
        for line in config_issues(
            {"externalServers": {"hq": external_server("mysql", ca=str(path))}, **stack_with_group("mysql")}
        )
    ] == [said]
