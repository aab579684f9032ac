"""The contract that every engine keeps, whichever it is."""

import re
import subprocess
from urllib.parse import unquote, urlsplit

import pytest

from components.connection import Connection, secret_keys
from components.engines import ENGINES
from components.engines.engine import Engine, Flavour, Software

COMMON = {"type", "provider", "host", "port", "uri"}
TOLD = {
    "mysql": COMMON | {"username", "password", "database"},
    "postgresql": COMMON | {"username", "password", "database"},
    "redis": COMMON | {"password", "database"},
}
"""The keys of each engine's connection Secret, as the documentation promises them."""
URIS = {
    "mysql": "mysql://shop_main:word@service:3306/shop_main",
    "postgresql": "postgresql://shop_main:word@service:5432/shop_main",
    "redis": "redis://:word@service:6379/0",
}
LIMITS = {"mysql": (32, 64), "postgresql": (63, 63), "redis": (None, None)}
PORTS = {"mysql": 3306, "postgresql": 5432, "redis": 6379}
FLAVOURS = {"mysql": ["mysql", "percona"], "postgresql": ["postgresql"], "redis": ["redis", "valkey"]}

engines = pytest.mark.parametrize("engine", ENGINES.values(), ids=list(ENGINES))
flavours = pytest.mark.parametrize(
    ("engine", "flavour"), [pytest.param(engine, flavour, id=flavour.name) for engine in ENGINES.values() for flavour in engine.flavours]
)
releases = pytest.mark.parametrize(
    ("engine", "flavour", "version"),
    [
        pytest.param(engine, flavour, series, id=f"{flavour.name} {series}")
        for engine in ENGINES.values()
        for flavour in engine.flavours
        for series in flavour.series
    ],
)


def told(engine: Engine) -> Connection:
    """The connection of a group on a server that the program makes the account of."""
    account = engine.account("shop", "main")
    return Connection(
        engine=engine.name,
        provider=engine.flavours[0].name,
        host="service",
        port=engine.port,
        username=account.username,
        password="word",
        database=account.database,
    )


def scripts(software: Software) -> dict[str, str]:
    found = {"start": software.start, "ready": software.ready, "started": software.started}
    return {name: script for name, script in found.items() if script is not None}


def test_every_engine_is_held_to_the_tables_of_this_module() -> None:
    for table in (TOLD, URIS, LIMITS, PORTS, FLAVOURS):
        assert set(table) == set(ENGINES)


@engines
def test_an_engine_is_found_by_its_own_name(engine: Engine) -> None:
    assert ENGINES[engine.name] is engine
    assert re.fullmatch(r"[a-z]+", engine.name)


@engines
def test_port_flavours_and_limits_are_the_documented_ones(engine: Engine) -> None:
    assert engine.port == PORTS[engine.name]
    assert [flavour.name for flavour in engine.flavours] == FLAVOURS[engine.name]
    assert (engine.username_limit, engine.database_limit) == LIMITS[engine.name]


@engines
def test_the_default_flavour_is_the_first_and_an_unknown_one_is_none(engine: Engine) -> None:
    assert engine.flavour(None) is engine.flavours[0]
    assert [engine.flavour(flavour.name) for flavour in engine.flavours] == list(engine.flavours)
    with pytest.raises(KeyError):
        engine.flavour("no-such-flavour")


@engines
def test_the_connection_secret_has_the_documented_keys_and_no_empty_one(engine: Engine) -> None:
    connection = told(engine)
    keys = secret_keys(connection, engine.uri(connection))
    assert set(keys) == TOLD[engine.name]
    assert all(keys.values())
    assert keys["type"] == engine.name
    assert keys["port"] == str(engine.port)


@engines
def test_the_uri_is_the_documented_one(engine: Engine) -> None:
    assert engine.uri(told(engine)) == URIS[engine.name]


@engines
def test_the_uri_leads_back_to_the_other_keys(engine: Engine) -> None:
    connection = told(engine)
    keys = secret_keys(connection, engine.uri(connection))
    parts = urlsplit(keys["uri"])
    assert (parts.hostname, str(parts.port)) == (keys["host"], keys["port"])
    assert unquote(parts.username or "") == keys.get("username", "")
    assert unquote(parts.password or "") == keys["password"]
    assert unquote(parts.path[1:]) == keys["database"]


@engines
def test_a_provisioned_account_is_of_letters_that_every_server_takes_unquoted(engine: Engine) -> None:
    account = engine.account("web-shop", "read-only")
    names = [name for name in (account.username, account.database) if name is not None]
    assert all(re.fullmatch(r"[a-z0-9_]+", name) for name in names)
    if engine.provisioning:
        assert names == ["web_shop_read_only"] * 2


@flavours
def test_the_default_version_is_one_of_the_series(engine: Engine, flavour: Flavour) -> None:
    assert flavour.version in flavour.series, engine.name
    assert list(flavour.series) == sorted(flavour.series, key=lambda series: [int(number) for number in series.split(".")])


@flavours
def test_the_image_is_named_with_its_registry_and_without_a_tag(engine: Engine, flavour: Flavour) -> None:
    assert re.fullmatch(r"[a-z]+\.[a-z]+(/[a-z][-a-z0-9]*){2}", flavour.image), engine.name
    assert flavour.uid > 0


@releases
def test_a_release_belongs_to_its_series_and_to_no_other(engine: Engine, flavour: Flavour, version: str) -> None:
    assert flavour.series_of(version) == version, engine.name
    assert flavour.series_of(f"{version}.3") == version
    assert flavour.series_of(f"{version}9") is None
    assert flavour.series_of(f"1{version}") is None


@flavours
@pytest.mark.parametrize("version", ["", "0", "latest", "99.1"])
def test_a_version_of_no_series_belongs_to_none(engine: Engine, flavour: Flavour, version: str) -> None:
    assert flavour.series_of(version) is None, engine.name


@releases
@pytest.mark.parametrize("shell", ["sh", "dash"])
def test_every_script_is_a_posix_shell_script(engine: Engine, flavour: Flavour, version: str, shell: str) -> None:
    for name, script in scripts(engine.software(flavour, version)).items():
        assert script.startswith("#!/bin/sh\nset -eu\n"), name
        assert script.endswith("\n"), name
        checked = subprocess.run([shell, "-n"], input=script, text=True, capture_output=True, check=False)
        assert (checked.returncode, checked.stderr) == (0, ""), name


@releases
def test_scripts_read_the_account_from_the_environment_alone(engine: Engine, flavour: Flavour, version: str) -> None:
    """Every variable that a script reads is one that it is given or sets itself, so that `set -u` cannot end it."""
    software = engine.software(flavour, version)
    account = engine.account("shop", "main")
    given = {"APPLICATION_PASSWORD", "POD_IP", *software.environment}
    given |= {f"APPLICATION_{key.upper()}" for key in ("username", "database") if getattr(account, key) is not None}
    for name, script in scripts(software).items():
        read = set(re.findall(r"\$\{?([A-Za-z_]+)", script)) | set(re.findall(r"\\getenv \w+ (\w+)", script))
        own = set(re.findall(r"^(?:export )?([A-Za-z_]+)=", script, re.MULTILINE))
        assert read <= given | own, name
        assert "shop" not in script, name


@releases
def test_the_server_is_ready_when_the_application_can_log_in_over_tcp(engine: Engine, flavour: Flavour, version: str) -> None:
    software = engine.software(flavour, version)
    ready = software.ready
    written = [line.rpartition("> ")[2] for line in software.start.splitlines() if "$APPLICATION_PASSWORD" in line and "> " in line]
    assert '"$POD_IP"' in ready
    assert "$APPLICATION_PASSWORD" in ready or any(path in ready for path in written)
    assert not re.search(r"(-a|--password|-p)[ =]?\"?\$APPLICATION_PASSWORD", ready), "a password is no argument of a process"


@releases
def test_the_server_becomes_the_first_process_of_its_container(engine: Engine, flavour: Flavour, version: str) -> None:
    last = engine.software(flavour, version).start.strip().splitlines()[-1]
    assert last.startswith("exec docker-entrypoint.sh "), engine.name
    assert flavour.command in last.split()


@releases
def test_what_a_server_writes_to_is_writable_and_no_folder_hides_another(engine: Engine, flavour: Flavour, version: str) -> None:
    software = engine.software(flavour, version)
    mounts = [software.data, *software.scratch]
    assert "/tmp" in mounts, engine.name
    assert len(set(mounts)) == len(mounts)
    assert not any(other.startswith(f"{mount}/") for mount in mounts for other in mounts)
    for path in re.findall(r">>? ?(/[^\s]+)", software.start):
        assert any(path.startswith(f"{mount}/") for mount in mounts), path


@releases
def test_the_least_memory_is_a_quantity(engine: Engine, flavour: Flavour, version: str) -> None:
    assert re.fullmatch(r"[1-9][0-9]*Mi", engine.software(flavour, version).memory)


@pytest.mark.parametrize(
    ("version", "mount", "data"),
    [
        ("15", "/var/lib/postgresql/data", "/var/lib/postgresql/data/pgdata"),
        ("17", "/var/lib/postgresql/data", "/var/lib/postgresql/data/pgdata"),
        ("17.5", "/var/lib/postgresql/data", "/var/lib/postgresql/data/pgdata"),
        ("18", "/var/lib/postgresql", "/var/lib/postgresql/18/docker"),
        ("18.1", "/var/lib/postgresql", "/var/lib/postgresql/18/docker"),
    ],
)
def test_the_volume_of_postgresql_is_where_the_images_major_version_wants_it(version: str, mount: str, data: str) -> None:
    engine = ENGINES["postgresql"]
    software = engine.software(engine.flavour(None), version)
    assert software.data == mount
    assert software.environment["PGDATA"] == data


@pytest.mark.parametrize(("engine", "data"), [("mysql", "/var/lib/mysql"), ("redis", "/data")], ids=["mysql", "redis"])
def test_the_volume_is_where_the_image_keeps_its_data(engine: str, data: str) -> None:
    for flavour in ENGINES[engine].flavours:
        assert ENGINES[engine].software(flavour, flavour.version).data == data
