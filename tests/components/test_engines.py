"""The contract that every engine keeps, whichever it is."""

import re
import subprocess
from urllib.parse import unquote, urlsplit

import pytest

from components.connection import Connection, secret_keys
from components.engines import ENGINES
from components.engines.engine import Engine, Flavour, Software
from components.servers.external import ExternalServer
from tests.contract import FLAVOURS, KEYS, LIMITS, PORTS, RELATIONAL, ROOT, TABLES, URIS
from tests.support import SERVED, release

engines = pytest.mark.parametrize("engine", ENGINES.values(), ids=list(ENGINES))
flavours = pytest.mark.parametrize(
    ("engine", "flavour"), [pytest.param(engine, flavour, id=flavour.name) for engine in ENGINES.values() for flavour in engine.flavours]
)
releases = pytest.mark.parametrize(
    ("engine", "flavour", "version"),
    [
        pytest.param(engine, flavour, release(flavour, series), id=f"{flavour.name} {series}")
        for engine in (ENGINES[name] for name in SERVED)
        for flavour in engine.flavours
        for series in flavour.series
    ],
)
PASSWORD = "password"
PLACES = ("database", "vhost", "volume", "path")
"""The keys of which a URI's path is one."""


def software_of(engine: Engine, flavour: Flavour, version: str) -> Software:
    assert engine.software
    return engine.software(flavour, version)


def told(engine: Engine) -> Connection:
    """The connection of a group on a server that the program makes the account of."""
    account, secret = engine.account("shop", "main"), engine.credential
    return Connection(
        engine=engine.name,
        provider=engine.flavours[0].name,
        host="service" if engine.port else None,
        port=engine.port,
        username=account.username,
        password="word" if secret == PASSWORD else None,
        database=account.database,
        extra={**account.extra, **({secret: "word"} if secret not in (None, PASSWORD) else {})},
    )


def scripts(software: Software) -> dict[str, str]:
    found = {"start": software.start, "ready": software.ready, "started": software.started}
    return {name: script for name, script in found.items() if script is not None}


def test_every_engine_is_held_to_the_tables_of_the_contract() -> None:
    for table in TABLES:
        assert set(ENGINES) == set(table)


@engines
def test_an_engine_is_found_by_its_own_name(engine: Engine) -> None:
    assert ENGINES[engine.name] is engine
    assert re.fullmatch(r"[a-z]+", engine.name)


@engines
def test_port_flavours_and_limits_are_the_documented_ones(engine: Engine) -> None:
    assert engine.port == PORTS[engine.name]
    assert engine.relational == (engine.name in RELATIONAL)
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
    assert set(keys) == KEYS[engine.name]
    assert all(keys.values())
    assert keys["type"] == engine.name
    assert keys.get("port") == (str(engine.port) if engine.port else None)
    assert {key for key, value in keys.items() if value == "word"} == ({engine.credential} if engine.credential else set())


@engines
def test_the_uri_is_the_documented_one(engine: Engine) -> None:
    assert engine.uri(told(engine)) == URIS[engine.name]


@engines
def test_the_uri_leads_back_to_the_other_keys(engine: Engine) -> None:
    connection = told(engine)
    keys = secret_keys(connection, engine.uri(connection))
    parts = urlsplit(keys["uri"])
    assert parts.hostname == keys.get("host")
    assert str(parts.port or engine.port) == keys.get("port", "None")
    # A URI names whom it is for wholly or, as for a token, not at all.
    if parts.username or parts.password:
        assert unquote(parts.username or "") == keys.get("username", "")
        assert unquote(parts.password or "") == keys["password"]
    place = next((keys[key] for key in PLACES if key in keys), None)
    assert (unquote(parts.path[1:]) or None) == place


@engines
def test_what_is_given_of_an_account_is_what_its_secret_tells(engine: Engine) -> None:
    """Whoever brings an account can say every part of it; what need not be said is assumed, or there is none."""
    own = set(engine.given)
    assert own == set() if engine.port is None else own - {"username"} == KEYS[engine.name] - {"type", "provider", "host", "port", "uri", "username"}
    assert set(engine.given_defaults) <= {key for key, necessary in engine.given.items() if not necessary}
    assert engine.credential is None or engine.credential in engine.given
    assert own <= set(ExternalServer.model_fields), "what no engine had before is a key that an external server does not know"


@engines
def test_a_provisioned_account_is_of_letters_that_every_server_takes_unquoted(engine: Engine) -> None:
    account = engine.account("web-shop", "read-only")
    names = [name for name in (account.username, account.database) if name is not None]
    assert all(re.fullmatch(r"[a-z0-9_]+", name) for name in names)
    assert all(re.fullmatch(r"[-a-z0-9_/.]+", value) for value in account.extra.values())
    if engine.provisioning:
        assert names == ["web_shop_read_only"] * 2


@flavours
def test_the_default_version_is_one_of_the_series(engine: Engine, flavour: Flavour) -> None:
    assert bool(flavour.series) == bool(engine.software)
    assert (flavour.series_of(flavour.version) in flavour.series) if flavour.series else flavour.version == "", engine.name
    assert list(flavour.series) == sorted(flavour.series, key=lambda series: [int(number) for number in series.split(".")])


@flavours
def test_the_image_is_named_with_its_registry_and_without_a_tag(engine: Engine, flavour: Flavour) -> None:
    if flavour.image is not None:
        assert re.fullmatch(r"[a-z]+(\.[a-z]+)+(/[a-z][-a-z0-9]*){2}", flavour.image), engine.name
        assert flavour.uid > 0


@releases
def test_a_release_belongs_to_its_series_and_to_no_other(engine: Engine, flavour: Flavour, version: str) -> None:
    assert f"{version}.".startswith(f"{flavour.series_of(version)}."), engine.name
    assert flavour.series_of(f"{version}.3") == flavour.series_of(version)
    assert flavour.series_of(f"{flavour.series_of(version)}9") is None
    assert flavour.series_of(f"1{version}") is None


@flavours
@pytest.mark.parametrize("version", ["", "0", "latest", "99.1"])
def test_a_version_of_no_series_belongs_to_none(engine: Engine, flavour: Flavour, version: str) -> None:
    assert flavour.series_of(version) is None, engine.name


@releases
@pytest.mark.parametrize("shell", ["sh", "dash"])
def test_every_script_is_a_posix_shell_script(engine: Engine, flavour: Flavour, version: str, shell: str) -> None:
    for name, script in scripts(software_of(engine, flavour, version)).items():
        assert re.match(r"#!/bin/sh\n(#.*\n)*set -eu\n", script), name
        assert script.endswith("\n"), name
        checked = subprocess.run([shell, "-n"], input=script, text=True, capture_output=True, check=False)
        assert (checked.returncode, checked.stderr) == (0, ""), name


IMAGES_OWN = {"rabbitmq": {"HOME"}}
"""Variables of an engine's official image."""


@releases
def test_scripts_read_the_account_from_the_environment_alone(engine: Engine, flavour: Flavour, version: str) -> None:
    """Every variable that a script reads is one that it is given or sets itself, so that `set -u` cannot end it."""
    software = software_of(engine, flavour, version)
    account = engine.account("shop", "main")
    given = {"POD_IP", *software.environment, *IMAGES_OWN.get(engine.name, ())}
    given |= {f"APPLICATION_{key.upper()}" for key in [*account.keys(), *([engine.credential] if engine.credential else [])]}
    for name, script in scripts(software).items():
        read = set(re.findall(r"\$\{?#?([A-Za-z_]+)(?!\w*:?[-+])", script)) | set(re.findall(r"\\getenv \w+ (\w+)", script))
        own = set(re.findall(r"(?:^|[\s;({])([A-Za-z_]+)\+?=", script))
        own |= set(re.findall(r"\b(?:for|printf -v|local (?:\w+=\S+ )*) ?([A-Za-z_]+)", script))
        own |= {word for words in re.findall(r"\bread -r((?: [A-Za-z_]+)+)", script) for word in words.split()}
        assert read <= given | own, name
        assert "shop" not in script, name


ARGUMENT = re.compile(r"(?<!\S)(-[aHpu]|--(password|user|header|token|requirepass)\b)[ =]?[\"']?[^\"'\s]*\s?[^\"'\s]*\$\{?APPLICATION_(PASSWORD|TOKEN)")


@releases
def test_the_server_is_ready_when_the_application_can_log_in_over_tcp(engine: Engine, flavour: Flavour, version: str) -> None:
    software = software_of(engine, flavour, version)
    assert "$POD_IP" in software.ready
    if engine.credential:
        secret = f"$APPLICATION_{engine.credential.upper()}"
        written = [line.rpartition("> ")[2] for line in software.start.splitlines() if secret in line and "> " in line]
        assert secret in software.ready or any(path in software.ready for path in written)
    for name, script in scripts(software).items():
        assert not ARGUMENT.search(script), f"{name}: a password is no argument of a process"


@pytest.mark.parametrize(
    "line",
    ['redis-cli -a "$APPLICATION_PASSWORD"', "mysql --password=$APPLICATION_PASSWORD", 'curl -u "$APPLICATION_USERNAME:${APPLICATION_PASSWORD}"'],
)
def test_a_password_as_an_argument_would_be_seen(line: str) -> None:
    assert ARGUMENT.search(line)


@releases
def test_the_server_becomes_the_first_process_of_its_container(engine: Engine, flavour: Flavour, version: str) -> None:
    last = software_of(engine, flavour, version).start.replace("\\\n", " ").strip().splitlines()[-1]
    assert last.startswith("exec "), engine.name
    assert not flavour.command or flavour.command in last.split()


@releases
def test_only_the_servers_that_must_run_as_root(engine: Engine, flavour: Flavour, version: str) -> None:
    assert bool(software_of(engine, flavour, version).capabilities) == (engine.name in ROOT)


@releases
def test_what_a_server_writes_to_is_writable_and_no_folder_hides_another(engine: Engine, flavour: Flavour, version: str) -> None:
    software = software_of(engine, flavour, version)
    mounts = [software.data, *software.scratch]
    assert "/tmp" in mounts, engine.name
    assert len(set(mounts)) == len(mounts)
    assert not any(other.startswith(f"{mount}/") for mount in mounts for other in mounts)
    for path in re.findall(r">>? ?(/[^\s]+)", software.start):
        assert path.startswith("/dev/") or any(path.startswith(f"{mount}/") for mount in mounts), path


@releases
def test_the_least_memory_is_a_quantity(engine: Engine, flavour: Flavour, version: str) -> None:
    assert re.fullmatch(r"[1-9][0-9]*[GM]i", software_of(engine, flavour, version).memory)


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
    software = software_of(engine, engine.flavour(None), version)
    assert software.data == mount
    assert software.environment["PGDATA"] == data


@pytest.mark.parametrize(("engine", "data"), [("mysql", "/var/lib/mysql"), ("redis", "/data")], ids=["mysql", "redis"])
def test_the_volume_is_where_the_image_keeps_its_data(engine: str, data: str) -> None:
    for flavour in ENGINES[engine].flavours:
        assert software_of(ENGINES[engine], flavour, flavour.version).data == data
