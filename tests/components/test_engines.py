"""The contract that every engine keeps, whichever it is."""

import re
import subprocess
from urllib.parse import unquote, urlsplit

import pytest

from components.connection import Connection, connection_secret_data
from components.engines import ENGINES
from components.engines.definition import Engine, ServerRuntime, Variant
from components.servers.external import ExternalKindSpec
from tests.contract import KEYS, LIMITS, PORTS, RELATIONAL, ROOT, TABLES, URIS, VARIANTS
from tests.support import ENGINES_WITH_SERVER, release

engines = pytest.mark.parametrize("engine", ENGINES.values(), ids=list(ENGINES))
variants = pytest.mark.parametrize(
    ("engine", "variant"),
    [pytest.param(engine, variant, id=variant.name) for engine in ENGINES.values() for variant in engine.variants],
)
releases = pytest.mark.parametrize(
    ("engine", "variant", "version"),
    [
        pytest.param(engine, variant, release(variant, series), id=f"{variant.name} {series}")
        for engine in (ENGINES[name] for name in ENGINES_WITH_SERVER)
        for variant in engine.variants
        for series in variant.supported_series
    ],
)
PASSWORD = "password"
PLACES = ("database", "vhost", "volume", "path")
"""The keys of which a URI's path is one."""


def software_of(engine: Engine, variant: Variant, version: str) -> ServerRuntime:
    assert engine.build_runtime
    return engine.build_runtime(variant, version)


def told(engine: Engine) -> Connection:
    """The connection of a group on a server that the program makes the account of."""
    account, secret = engine.build_account("shop", "main"), engine.credential_key
    return Connection(
        engine=engine.name,
        provider=engine.variants[0].name,
        host="service" if engine.port else None,
        port=engine.port,
        username=account.username,
        password="word" if secret == PASSWORD else None,
        database=account.database,
        engine_keys={**account.engine_keys, **({secret: "word"} if secret not in (None, PASSWORD) else {})},
    )


def scripts(software: ServerRuntime) -> dict[str, str]:
    found = {"start": software.start_script, "ready": software.readiness_script, "started": software.post_start_script}
    return {name: script for name, script in found.items() if script is not None}


def test_every_engine_is_held_to_the_tables_of_the_contract() -> None:
    for table in TABLES:
        assert set(ENGINES) == set(table)


@engines
def test_an_engine_is_found_by_its_own_name(engine: Engine) -> None:
    assert ENGINES[engine.name] is engine
    assert re.fullmatch(r"[a-z]+", engine.name)


@engines
def test_port_variants_and_limits_are_the_documented_ones(engine: Engine) -> None:
    assert engine.port == PORTS[engine.name]
    assert engine.supports_database_url == (engine.name in RELATIONAL)
    assert [variant.name for variant in engine.variants] == VARIANTS[engine.name]
    assert (engine.max_username_length, engine.max_database_name_length) == LIMITS[engine.name]


@engines
def test_the_default_variant_is_the_first_and_an_unknown_one_is_none(engine: Engine) -> None:
    assert engine.get_variant(None) is engine.variants[0]
    assert [engine.get_variant(variant.name) for variant in engine.variants] == list(engine.variants)
    with pytest.raises(KeyError):
        engine.get_variant("no-such-variant")


@engines
def test_the_connection_secret_has_the_documented_keys_and_no_empty_one(engine: Engine) -> None:
    connection = told(engine)
    keys = connection_secret_data(connection, engine.build_uri(connection))
    assert set(keys) == KEYS[engine.name]
    assert all(keys.values())
    assert keys["type"] == engine.name
    assert keys.get("port") == (str(engine.port) if engine.port else None)
    assert {key for key, value in keys.items() if value == "word"} == (
        {engine.credential_key} if engine.credential_key else set()
    )


@engines
def test_the_uri_is_the_documented_one(engine: Engine) -> None:
    assert engine.build_uri(told(engine)) == URIS[engine.name]


@engines
def test_the_uri_leads_back_to_the_other_keys(engine: Engine) -> None:
    connection = told(engine)
    keys = connection_secret_data(connection, engine.build_uri(connection))
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
    own = set(engine.existing_account_keys)
    assert (
        own == set()
        if engine.port is None
        else own - {"username"} == KEYS[engine.name] - {"type", "provider", "host", "port", "uri", "username"}
    )
    assert set(engine.existing_account_defaults) <= {
        key for key, necessary in engine.existing_account_keys.items() if not necessary
    }
    assert engine.credential_key is None or engine.credential_key in engine.existing_account_keys
    assert own <= set(ExternalKindSpec.model_fields), (
        "what no engine had before is a key that an external server does not know"
    )


@engines
def test_a_provisioned_account_is_of_letters_that_every_server_takes_unquoted(engine: Engine) -> None:
    account = engine.build_account("web-shop", "read-only")
    names = [name for name in (account.username, account.database) if name is not None]
    assert all(re.fullmatch(r"[a-z0-9_]+", name) for name in names)
    assert all(re.fullmatch(r"[-a-z0-9_/.]+", value) for value in account.engine_keys.values())
    if engine.provisioner:
        assert names == ["web_shop_read_only"] * 2


@variants
def test_the_default_version_is_one_of_the_series(engine: Engine, variant: Variant) -> None:
    assert bool(variant.supported_series) == bool(engine.build_runtime)
    assert (
        (variant.find_series(variant.default_version) in variant.supported_series)
        if variant.supported_series
        else variant.default_version == ""
    ), engine.name
    assert list(variant.supported_series) == sorted(
        variant.supported_series, key=lambda series: [int(number) for number in series.split(".")]
    )


@variants
def test_the_image_is_named_with_its_registry_and_without_a_tag(engine: Engine, variant: Variant) -> None:
    if variant.image is not None:
        assert re.fullmatch(r"[a-z]+(\.[a-z]+)+(/[a-z][-a-z0-9]*){2}", variant.image), engine.name
        assert variant.run_as_user > 0


@releases
def test_a_release_belongs_to_its_series_and_to_no_other(engine: Engine, variant: Variant, version: str) -> None:
    assert f"{version}.".startswith(f"{variant.find_series(version)}."), engine.name
    assert variant.find_series(f"{version}.3") == variant.find_series(version)
    assert variant.find_series(f"{variant.find_series(version)}9") is None
    assert variant.find_series(f"1{version}") is None


@variants
@pytest.mark.parametrize("version", ["", "0", "latest", "99.1"])
def test_a_version_of_no_series_belongs_to_none(engine: Engine, variant: Variant, version: str) -> None:
    assert variant.find_series(version) is None, engine.name


@releases
@pytest.mark.parametrize("shell", ["sh", "dash"])
def test_every_script_is_a_posix_shell_script(engine: Engine, variant: Variant, version: str, shell: str) -> None:
    for name, script in scripts(software_of(engine, variant, version)).items():
        assert re.match(r"#!/bin/sh\n(#.*\n)*set -eu\n", script), name
        assert script.endswith("\n"), name
        checked = subprocess.run([shell, "-n"], input=script, text=True, capture_output=True, check=False)
        assert (checked.returncode, checked.stderr) == (0, ""), name


IMAGES_OWN = {"rabbitmq": {"HOME"}}
"""Variables of an engine's official image."""


@releases
def test_scripts_read_the_account_from_the_environment_alone(engine: Engine, variant: Variant, version: str) -> None:
    """Every variable that a script reads is one that it is given or sets itself, so that `set -u` cannot end it."""
    software = software_of(engine, variant, version)
    account = engine.build_account("shop", "main")
    given = {"POD_IP", *software.env, *IMAGES_OWN.get(engine.name, ())}
    given |= {
        f"APPLICATION_{key.upper()}"
        for key in [*account.secret_entries(), *([engine.credential_key] if engine.credential_key else [])]
    }
    for name, script in scripts(software).items():
        read = set(re.findall(r"\$\{?#?([A-Za-z_]+)(?!\w*:?[-+])", script)) | set(
            re.findall(r"\\getenv \w+ (\w+)", script)
        )
        own = set(re.findall(r"(?:^|[\s;({])([A-Za-z_]+)\+?=", script))
        own |= set(re.findall(r"\b(?:for|printf -v|local (?:\w+=\S+ )*) ?([A-Za-z_]+)", script))
        own |= {word for words in re.findall(r"\bread -r((?: [A-Za-z_]+)+)", script) for word in words.split()}
        assert read <= given | own, name
        assert "shop" not in script, name


ARGUMENT = re.compile(
    r"(?<!\S)(-[aHpu]|--(password|user|header|token|requirepass)\b)[ =]?[\"']?[^\"'\s]*\s?[^\"'\s]*\$\{?APPLICATION_(PASSWORD|TOKEN)"
)


@releases
def test_the_server_is_ready_when_the_application_can_log_in_over_tcp(
    engine: Engine, variant: Variant, version: str
) -> None:
    software = software_of(engine, variant, version)
    assert "$POD_IP" in software.readiness_script
    if engine.credential_key:
        secret = f"$APPLICATION_{engine.credential_key.upper()}"
        written = [
            line.rpartition("> ")[2] for line in software.start_script.splitlines() if secret in line and "> " in line
        ]
        assert secret in software.readiness_script or any(path in software.readiness_script for path in written)
    for name, script in scripts(software).items():
        assert not ARGUMENT.search(script), f"{name}: a password is no argument of a process"


@pytest.mark.parametrize(
    "line",
    [
        'redis-cli -a "$APPLICATION_PASSWORD"',
        "mysql --password=$APPLICATION_PASSWORD",
        'curl -u "$APPLICATION_USERNAME:${APPLICATION_PASSWORD}"',
    ],
)
def test_a_password_as_an_argument_would_be_seen(line: str) -> None:
    assert ARGUMENT.search(line)


@releases
def test_the_server_becomes_the_first_process_of_its_container(engine: Engine, variant: Variant, version: str) -> None:
    last = software_of(engine, variant, version).start_script.replace("\\\n", " ").strip().splitlines()[-1]
    assert last.startswith("exec "), engine.name
    assert not variant.server_command or variant.server_command in last.split()


@releases
def test_only_the_servers_that_must_run_as_root(engine: Engine, variant: Variant, version: str) -> None:
    assert bool(software_of(engine, variant, version).capabilities) == (engine.name in ROOT)


@releases
def test_what_a_server_writes_to_is_writable_and_no_folder_hides_another(
    engine: Engine, variant: Variant, version: str
) -> None:
    software = software_of(engine, variant, version)
    mounts = [software.data_path, *software.empty_dirs]
    assert "/tmp" in mounts, engine.name
    assert len(set(mounts)) == len(mounts)
    assert not any(other.startswith(f"{mount}/") for mount in mounts for other in mounts)
    for path in re.findall(r">>? ?(/[^\s]+)", software.start_script):
        assert path.startswith("/dev/") or any(path.startswith(f"{mount}/") for mount in mounts), path


@releases
def test_the_least_memory_is_a_quantity(engine: Engine, variant: Variant, version: str) -> None:
    assert re.fullmatch(r"[1-9][0-9]*[GM]i", software_of(engine, variant, version).min_memory)


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
def test_the_volume_of_postgresql_is_where_the_images_major_version_wants_it(
    version: str, mount: str, data: str
) -> None:
    engine = ENGINES["postgresql"]
    software = software_of(engine, engine.get_variant(None), version)
    assert software.data_path == mount
    assert software.env["PGDATA"] == data


@pytest.mark.parametrize(("engine", "data"), [("mysql", "/var/lib/mysql"), ("redis", "/data")], ids=["mysql", "redis"])
def test_the_volume_is_where_the_image_keeps_its_data(engine: str, data: str) -> None:
    for variant in ENGINES[engine].variants:
        assert software_of(ENGINES[engine], variant, variant.default_version).data_path == data
