"""TLS of applications: the mode in each engine's URI, the verified host name, and the CA certificates."""

from pathlib import Path
from typing import Any

import pytest

from components.engines import ENGINES
from components.external_servers import ExternalServerSpec
from components.servers.external import ExternalKindSpec
from components.spec import SpecModel
from components.tls import ENCRYPTED_TLS_MODES, VERIFY_FULL
from tests.support import (
    PROVIDERS,
    PROVISIONABLE_ENGINES,
    config_issues,
    decode_secret,
    existing_account,
    external_server,
    record_stack,
    spec_messages,
    stack_with_group,
    stack_with_provisioned_group,
)

CERTIFICATE = "-----BEGIN CERTIFICATE-----\nMIIBszCCAVmgAwIBAgIUQmFzZTY0\n-----END CERTIFICATE-----\n"
TLS_MODES = ("disable", *ENCRYPTED_TLS_MODES)

URIS: dict[str, tuple[tuple[str, str], ...]] = {
    "mysql": (("mysql", "?ssl-mode=DISABLED"), ("mysql", "?ssl-mode=REQUIRED"), ("mysql", "?ssl-mode=VERIFY_IDENTITY")),
    "postgresql": tuple(("postgresql", f"?sslmode={tls}") for tls in TLS_MODES),
    "mongodb": (("mongodb", "&tls=false"), ("mongodb", "&tls=true&tlsInsecure=true"), ("mongodb", "&tls=true")),
    "redis": (("redis", ""), ("rediss", ""), ("rediss", "")),
    "elasticsearch": (("http", ""), ("https", ""), ("https", "")),
    "rabbitmq": (("amqp", ""), ("amqps", ""), ("amqps", "")),
    "influxdb": (("http", ""), ("https", ""), ("https", "")),
}
"""Scheme and end of each engine's URI, for each mode of TLS_MODES."""
MODES = [
    pytest.param(engine, tls, *uri, id=f"{engine} {tls}")
    for engine, uris in URIS.items()
    for tls, uri in zip(TLS_MODES, uris, strict=True)
]
ENGINES_WITHOUT_TLS = [name for name, engine in ENGINES.items() if engine.port and not engine.supports_tls_in_uri]

each_engine_with_tls = pytest.mark.parametrize("engine", list(URIS))
each_provisionable_engine = pytest.mark.parametrize("engine", PROVISIONABLE_ENGINES)


@pytest.fixture
def ca_file(tmp_path: Path) -> str:
    path = tmp_path / "ca.crt"
    path.write_text(CERTIFICATE)
    return str(path)


def decode_connection(raw: dict[str, Any], engine: str) -> dict[str, str]:
    return decode_secret(record_stack(raw), f"shop-{engine}-main-connection")


def remove_account(uri: str) -> str:
    scheme, _, rest = uri.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"


def test_table_of_uris_covers_every_engine_with_tls() -> None:
    assert set(URIS) == {name for name, engine in ENGINES.items() if engine.supports_tls_in_uri}


@pytest.mark.parametrize(("engine", "tls", "scheme", "end"), MODES)
def test_uri_requests_the_tls_mode_in_the_terms_of_its_engine(engine: str, tls: str, scheme: str, end: str) -> None:
    data = decode_connection(stack_with_group(engine, existing_account(engine, tls=tls)), engine)
    uri = remove_account(data["uri"])
    # The Service's name is not in the server's certificate.
    host = f"{engine}.example.org" if tls == VERIFY_FULL else engine
    assert uri.startswith(f"{scheme}://{host}:{data['port']}")
    assert uri.endswith(end)
    assert bool(end) or "?" not in uri
    assert data["host"] == engine, "clients that do not use the URI connect to the Service"


@each_engine_with_tls
def test_uri_requests_no_tls_mode_by_default(engine: str) -> None:
    """Some clients reject parameters that they do not know."""
    uri = decode_connection(stack_with_group(engine, existing_account(engine)), engine)["uri"]
    disabled = decode_connection(stack_with_group(engine, existing_account(engine, tls="disable")), engine)["uri"]
    assert disabled.removesuffix(URIS[engine][0][1]) == uri


@each_provisionable_engine
@pytest.mark.parametrize("tls", TLS_MODES)
def test_tls_mode_of_the_administrator_does_not_change_the_uri(engine: str, tls: str) -> None:
    data = decode_connection(stack_with_provisioned_group(engine, {"tls": tls}), engine)
    assert data["uri"] == f"{engine}://shop_main:{data['password']}@{engine}:{data['port']}/shop_main"


@each_provisionable_engine
def test_group_sets_the_tls_mode_of_a_provisioned_database(engine: str) -> None:
    data = decode_connection(stack_with_provisioned_group(engine, tls=VERIFY_FULL), engine)
    address = f"{engine}.example.org:{data['port']}"
    assert data["uri"] == f"{engine}://shop_main:{data['password']}@{address}/shop_main{URIS[engine][-1][1]}"


def test_verified_ipv6_address_is_in_brackets() -> None:
    server = existing_account("redis", host="fd00::1", tls=VERIFY_FULL)
    uri = decode_connection(stack_with_group("redis", server), "redis")["uri"]
    assert remove_account(uri).startswith("rediss://[fd00::1]:6379/")


@each_engine_with_tls
def test_connection_secret_contains_the_ca_certificates(engine: str, ca_file: str) -> None:
    data = decode_connection(stack_with_group(engine, existing_account(engine, caFile=ca_file)), engine)
    assert data["ca.crt"] == CERTIFICATE
    assert "ca.crt" not in decode_connection(stack_with_group(engine, existing_account(engine)), engine)


def test_ca_certificates_of_an_external_server_reach_its_groups_variables_and_provider(ca_file: str) -> None:
    recorder = record_stack(stack_with_provisioned_group("postgresql", {"caFile": ca_file}))
    assert decode_secret(recorder, "shop-postgresql-main-connection")["ca.crt"] == CERTIFICATE
    environment = decode_secret(recorder, "shop-environment")
    assert environment["POSTGRESQL_CA_CRT"] == environment["POSTGRESQL_MAIN_CA_CRT"] == CERTIFICATE
    (provider,) = recorder.resources_of_type(f"{PROVIDERS}postgresql")
    assert provider.inputs["sslrootcert"] == ca_file


@pytest.mark.parametrize("engine", ENGINES_WITHOUT_TLS)
def test_tls_settings_are_errors_for_an_engine_without_tls(engine: str, ca_file: str) -> None:
    raw = stack_with_group(engine, existing_account(engine, tls="require", caFile=ca_file))
    assert config_issues(raw) == [
        f"applications.shop.databases.{engine}.main.server.{key}: not supported for {engine}, whose URI has no TLS"
        " parameter; remove it"
        for key in ("caFile", "tls")
    ]


HOSTS = ["10.1.2.3", "10.1.2.4"]


@pytest.mark.parametrize(
    "raw",
    [
        stack_with_group("mysql", existing_account("mysql", host=HOSTS, tls=VERIFY_FULL)),
        stack_with_provisioned_group("mysql", {"host": HOSTS}, tls=VERIFY_FULL),
    ],
    ids=["existing account", "provisioned"],
)
def test_verify_full_of_several_hosts_is_an_error(raw: dict[str, Any]) -> None:
    assert config_issues(raw) == [
        "applications.shop.databases.mysql.main.server.tls: verify-full needs one host name, and the server has 2"
        " hosts; use require"
    ]


@pytest.mark.parametrize(
    ("model", "raw"),
    [(ExternalKindSpec, existing_account("mysql")), (ExternalServerSpec, external_server("mysql"))],
    ids=["group", "externalServers"],
)
@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (CERTIFICATE, []),
        (
            FileNotFoundError(2, "No such file or directory"),
            ["cannot read the file{value} (no such file or directory)"],
        ),
        ("", ["the file contains no certificate"]),
        ("-----BEGIN CERTIFICATE-----", ["the file contains no certificate"]),
        (f"{CERTIFICATE}-----BEGIN PRIVATE KEY-----\n", ["the file contains a private key"]),
    ],
    ids=["certificate", "no file", "empty", "incomplete", "private key"],
)
def test_ca_file_contains_only_certificates(
    model: type[SpecModel], raw: dict[str, Any], content: str | OSError, expected: list[str]
) -> None:
    messages = spec_messages(model, {**raw, "caFile": "stacks/ca.pem"}, content)
    assert [message.partition(";")[0] for message in messages] == expected
