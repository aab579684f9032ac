"""Every engine keeps its contract, and so does a made-up tenth engine."""

import re
import subprocess
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from components.connection import Connection, connection_secret_data
from components.engines import ENGINES
from components.engines.definition import Engine, ServerRuntime, Variant, read_releases
from components.servers.external import ExternalKindSpec
from preflight.probes import get_probe
from tests.engine_contract import COMMON_KEYS, CONTRACTS, EngineContract
from tests.support import release
from tests.tenth_engine import BARE, BARE_CONTRACT, TENTH, TENTH_CONTRACT

CASES = {
    **{name: (ENGINES[name], contract) for name, contract in CONTRACTS.items()},
    "tenth": (TENTH, TENTH_CONTRACT),
    "tenth without volume": (BARE, BARE_CONTRACT),
}


@dataclass(frozen=True, kw_only=True)
class Release:
    """A version of a variant for which there is an image."""

    engine: Engine
    contract: EngineContract
    variant: Variant
    version: str

    @property
    def runtime(self) -> ServerRuntime:
        assert self.engine.build_runtime
        return self.engine.build_runtime(self.variant, self.version)

    @property
    def credential(self) -> list[str]:
        """The script's variable with the credential, if there is one."""
        return [f"APPLICATION_{self.engine.credential_key.upper()}"] if self.engine.credential_key else []


RELEASES = {
    f"{name} {variant.name} {series}": Release(
        engine=engine, contract=contract, variant=variant, version=release(variant, series)
    )
    for name, (engine, contract) in CASES.items()
    for variant in engine.variants
    for series in variant.supported_series
}
VARIANTS = {f"{name} {variant.name}": variant for name, (engine, _) in CASES.items() for variant in engine.variants}
contracts = pytest.mark.parametrize(("engine", "contract"), CASES.values(), ids=list(CASES))
engines = pytest.mark.parametrize("engine", [engine for engine, _ in CASES.values()], ids=list(CASES))
variants = pytest.mark.parametrize("variant", VARIANTS.values(), ids=list(VARIANTS))
releases = pytest.mark.parametrize("case", RELEASES.values(), ids=list(RELEASES))
PASSWORD = "password"
CREDENTIAL = "generated"
URI_PATH_KEYS = ("database", "vhost", "volume", "path")
SCRIPTS = Path(__file__).resolve().parents[2] / "components" / "engines" / "scripts"


def build_connection(engine: Engine) -> Connection:
    """Return the connection of a group whose account the program creates."""
    account, credential_key = engine.build_account("shop", "main"), engine.credential_key
    other_credential = {credential_key: CREDENTIAL} if credential_key not in (None, PASSWORD) else {}
    return Connection(
        engine=engine.name,
        provider=engine.variants[0].name,
        host="service" if engine.port else None,
        port=engine.port,
        username=account.username,
        password=CREDENTIAL if credential_key == PASSWORD else None,
        database=account.database,
        engine_keys={**account.engine_keys, **other_credential},
    )


def list_scripts(runtime: ServerRuntime) -> dict[str, str]:
    """Return the scripts that the container runs with sh."""
    scripts = {
        "start": runtime.start_script,
        "ready": runtime.readiness_script,
        "started": runtime.post_start_script,
        "change_password": runtime.change_password_script,
    }
    return {name: text for name, text in scripts.items() if text is not None}


def list_files(runtime: ServerRuntime) -> dict[str, str]:
    """Return the scripts and the files that they use."""
    return {**list_scripts(runtime), **runtime.files}


def test_every_engine_has_a_contract() -> None:
    assert set(CONTRACTS) == set(ENGINES)


@contracts
def test_record_matches_its_contract(engine: Engine, contract: EngineContract) -> None:
    assert re.fullmatch(r"[a-z]+", engine.name)
    assert engine.port == contract.port
    assert tuple(variant.name for variant in engine.variants) == contract.variants
    assert engine.max_username_length == contract.max_username_length
    assert engine.max_database_name_length == contract.max_database_name_length
    assert engine.supports_database_url == contract.supports_database_url
    assert bool(engine.settings_file) == bool(contract.settings)
    assert get_probe(engine.name).speaks_protocol == contract.has_probe


@contracts
def test_first_variant_is_the_default(engine: Engine, contract: EngineContract) -> None:
    assert engine.get_variant(None) is engine.variants[0]
    assert [engine.get_variant(name) for name in contract.variants] == list(engine.variants)
    with pytest.raises(KeyError):
        engine.get_variant("no-such-variant")


@contracts
def test_connection_secret_has_the_keys_of_the_contract(engine: Engine, contract: EngineContract) -> None:
    connection = build_connection(engine)
    data = connection_secret_data(connection, engine.build_uri(connection))
    assert set(data) == contract.secret_keys
    assert all(data.values())
    assert data["type"] == engine.name
    assert data.get("port") == (str(engine.port) if engine.port else None)
    assert {key for key, value in data.items() if value == CREDENTIAL} == {engine.credential_key} - {None}


@contracts
def test_uri_agrees_with_the_contract_and_the_other_keys(engine: Engine, contract: EngineContract) -> None:
    connection = build_connection(engine)
    data = connection_secret_data(connection, engine.build_uri(connection))
    assert data["uri"] == contract.uri
    parts = urlsplit(data["uri"])
    assert parts.hostname == data.get("host")
    assert str(parts.port or engine.port) == data.get("port", "None")
    # A URI contains the whole account, or nothing of it, as with a token.
    if parts.username or parts.password:
        assert unquote(parts.username or "") == data.get("username", "")
        assert unquote(parts.password or "") == data["password"]
    assert (unquote(parts.path[1:]) or None) == next((data[key] for key in URI_PATH_KEYS if key in data), None)


@contracts
def test_existing_account_can_set_every_key_of_the_secret(engine: Engine, contract: EngineContract) -> None:
    """A user can describe an existing account completely. Optional keys have a default, or stay out of the Secret."""
    account = engine.existing_account
    assert set(account.keys) - {"username"} == (
        contract.secret_keys - COMMON_KEYS - {"username"} if engine.port else set()
    )
    assert len(set(account.keys)) == len(account.keys)
    assert set(account.defaults) <= set(account.optional)
    assert engine.credential_key is None or engine.credential_key in account.keys
    assert set(account.keys) <= set(ExternalKindSpec.model_fields), "add the key to the spec of external servers"


@engines
def test_created_names_need_no_quotes(engine: Engine) -> None:
    account = engine.build_account("web-shop", "read-only")
    names = [name for name in (account.username, account.database) if name is not None]
    assert all(re.fullmatch(r"[a-z0-9_]+", name) for name in names)
    assert all(re.fullmatch(r"[-a-z0-9_/.]+", value) for value in account.engine_keys.values())
    if engine.provisioner:
        assert names == ["web_shop_read_only"] * 2


@engines
def test_default_version_belongs_to_a_series(engine: Engine) -> None:
    for variant in engine.variants:
        series = variant.supported_series
        assert bool(series) == bool(engine.build_runtime)
        assert bool(variant.default_version) == bool(series)
        assert not series or variant.default_version in series
        assert list(series) == sorted(series, key=lambda version: [int(number) for number in version.split(".")])


@variants
def test_image_has_its_registry_and_no_tag(variant: Variant) -> None:
    if variant.image is not None:
        assert re.fullmatch(r"[a-z]+(\.[a-z]+)+(/[a-z][-a-z0-9]*){2}", variant.image)
        assert variant.run_as_user > 0


@variants
def test_each_series_of_an_image_has_a_pinned_release(variant: Variant) -> None:
    if variant.image in read_releases():
        for series in variant.supported_series:
            pinned = variant.find_release(series)
            assert variant.find_series(pinned) == series
            assert variant.is_release(pinned)
            assert not variant.is_release(series)
            assert variant.find_release(pinned) == pinned, "a release stays as it is"


@variants
def test_release_belongs_to_its_series_only(variant: Variant) -> None:
    for series in variant.supported_series:
        version = release(variant, series)
        assert variant.find_series(version) == variant.find_series(f"{version}.3") == series
        assert variant.find_series(f"{series}9") is None
        assert variant.find_series(f"1{version}") is None


@variants
@pytest.mark.parametrize("version", ["", "0", "latest", "99.1"])
def test_unsupported_version_belongs_to_no_series(variant: Variant, version: str) -> None:
    assert variant.find_series(version) is None


@engines
def test_scripts_pass_shellcheck(engine: Engine, tmp_path: Path) -> None:
    if engine.build_runtime is None:
        return
    paths = []
    runtime = engine.build_runtime(engine.variants[0], engine.variants[0].default_version)
    for name, text in list_files(runtime).items():
        assert text.endswith("\n"), name
        paths.append(tmp_path / name)
        paths[-1].write_text(text)
    program = Path(sysconfig.get_path("scripts")) / "shellcheck"
    assert program.is_file(), "shellcheck is missing; install requirements-dev.txt"
    checked = subprocess.run([program, *paths], text=True, capture_output=True, check=False)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


def test_every_script_file_has_a_user() -> None:
    used: set[str | None] = set()
    for engine in ENGINES.values():
        if engine.build_runtime:
            runtime = engine.build_runtime(engine.variants[0], engine.variants[0].default_version)
            used |= set(list_files(runtime).values())
        if engine.copy_scripts:
            used |= set(engine.copy_scripts.files.values())
        if engine.cluster and engine.cluster.scripts:
            used |= {engine.cluster.scripts.change_password, engine.cluster.scripts.check}
    used.discard(None)
    assert {path.read_text() for path in SCRIPTS.rglob("*") if path.is_file()} == used


def test_copy_scripts_read_only_the_connection_secret() -> None:
    given = {"ADDRESS", "PORT", "USERNAME", "PASSWORD", "DATABASE", "REPLICA_SET", "TLS", "CA_FILE"}
    given |= {"ENTRIES", "REJECT_EMPTY"}
    for engine in ENGINES.values():
        account = {key.upper() for key in engine.build_account("shop", "main").engine_keys}
        for name, script in engine.copy_scripts.files.items() if engine.copy_scripts else ():
            assert name == "connect" or re.match(r"#!/bin/sh\n(#.*\n)*set -eu\n", script), name
            own = {"OUTPUT", "SNAPSHOT", "SOCKET", "TOKEN", *re.findall(r"(?:^|[\s;({])([A-Z][A-Z_]*)=", script)}
            assert set(re.findall(r"\$\{?([A-Z][A-Z_]*)", script)) - given - account <= own, name


@releases
def test_scripts_read_only_variables_that_are_set(case: Release) -> None:
    """`set -u` would end a script at another variable. shellcheck checks the lower-case ones."""
    runtime = case.runtime
    account = {f"APPLICATION_{key.upper()}" for key in case.engine.build_account("shop", "main").secret_entries()}
    given = {"POD_IP", *account, *case.credential, *runtime.env, *case.contract.image_variables}
    for name, script in list_scripts(runtime).items():
        assert re.match(r"#!/bin/sh\n(#.*\n)*set -eu\n", script), name
    for name, script in list_files(runtime).items():
        # Only a verification sets SCRATCH.
        read = set(re.findall(r"\$\{?#?([A-Z][A-Z_]*)|\\getenv \w+ (\w+)", script.replace("${SCRATCH-}", "")))
        own = set(re.findall(r"(?:^|[\s;({])([A-Z][A-Z_]*)=", script))
        assert {first or second for first, second in read} <= given | own, name
        assert "shop" not in script, name


ARGUMENT_RE = re.compile(
    r"(?<!\S)(-[aHpu]|--(password|user|header|token|requirepass)\b)[ =]?[\"']?[^\"'\s]*\s?[^\"'\s]*"
    r"\$\{?APPLICATION_(PASSWORD|TOKEN)"
)


@releases
def test_server_is_ready_when_the_application_can_log_in_over_tcp(case: Release) -> None:
    runtime = case.runtime
    login = runtime.readiness_script + "".join(
        text for name, text in runtime.files.items() if f"/etc/database-groups/{name}" in runtime.readiness_script
    )
    assert "$POD_IP" in login
    for credential in case.credential:
        files = re.findall(rf"\${credential}\b.*> (\S+)$", runtime.start_script, re.MULTILINE)
        assert re.search(rf"\$\{{?{credential}\b", login) or any(path in login for path in files)


@releases
def test_password_is_no_argument_of_a_process(case: Release) -> None:
    runtime = case.runtime
    for name, script in list_files(runtime).items():
        assert not ARGUMENT_RE.search(script), name


@pytest.mark.parametrize(
    "line",
    [
        'redis-cli -a "$APPLICATION_PASSWORD"',
        "mysql --password=$APPLICATION_PASSWORD",
        'curl -u "$APPLICATION_USERNAME:${APPLICATION_PASSWORD}"',
    ],
)
def test_check_finds_a_password_as_an_argument(line: str) -> None:
    assert ARGUMENT_RE.search(line)


@releases
def test_server_does_not_inherit_the_credential(case: Release) -> None:
    """PostgreSQL logs its environment with debug messages, and other servers can do so in a report of a crash."""
    for credential in case.credential:
        assert re.search(rf"^unset {credential}\b", case.runtime.start_script, re.MULTILINE)


@releases
def test_server_becomes_the_first_process_of_its_container(case: Release) -> None:
    runtime = case.runtime
    last = runtime.start_script.replace("\\\n", " ").strip().splitlines()[-1]
    assert last.startswith("exec ")
    assert ('"$SERVER_COMMAND"' in last) == bool(case.variant.server_command)
    assert runtime.env.get("SERVER_COMMAND", "") == case.variant.server_command


@releases
def test_file_is_on_the_disk_before_it_replaces_another(case: Release) -> None:
    lines = case.runtime.start_script.splitlines()
    for number, line in enumerate(lines):
        if written := re.search(r'> ("\$data/[^"]+")$', line):
            rest = [text.strip() for text in lines[number:]]
            moved = next((index for index, text in enumerate(rest) if text.startswith(f"mv {written[1]} ")), 0)
            assert not moved or f"sync {written[1]}" in rest[:moved]


@releases
def test_container_mounts_what_the_server_writes(case: Release) -> None:
    runtime = case.runtime
    assert bool(runtime.capabilities) == case.contract.runs_as_root
    mounts = [*runtime.memory_dirs, *runtime.scratch_dirs, *([runtime.data_path] if runtime.data_path else [])]
    assert "/tmp" in mounts
    assert len(set(mounts)) == len(mounts)
    assert not any(other.startswith(f"{mount}/") for mount in mounts for other in mounts), "a mount hides another"
    for path in re.findall(r">>? ?(/[^\s]+)", runtime.start_script):
        assert path.startswith("/dev/") or any(path.startswith(f"{mount}/") for mount in mounts), path
    assert re.fullmatch(r"[1-9][0-9]*[GM]i", runtime.min_memory)


@contracts
def test_volume_and_init_file_have_the_paths_of_the_contract(engine: Engine, contract: EngineContract) -> None:
    for variant in engine.variants:
        runtime = engine.build_runtime(variant, variant.default_version) if engine.build_runtime else None
        assert (runtime.data_path if runtime else None) == contract.data_path
        assert bool(runtime and runtime.runs_init_script) == contract.supports_init_script


@pytest.mark.parametrize(
    ("version", "mount", "data"),
    [
        ("15", "/var/lib/postgresql/data", "/var/lib/postgresql/data/pgdata"),
        ("17.5", "/var/lib/postgresql/data", "/var/lib/postgresql/data/pgdata"),
        ("18", "/var/lib/postgresql", "/var/lib/postgresql/18/docker"),
        ("18.1", "/var/lib/postgresql", "/var/lib/postgresql/18/docker"),
    ],
)
def test_postgresql_volume_follows_the_major_version_of_the_image(version: str, mount: str, data: str) -> None:
    engine = ENGINES["postgresql"]
    assert engine.build_runtime
    runtime = engine.build_runtime(engine.get_variant(None), version)
    assert (runtime.data_path, runtime.env["PGDATA"]) == (mount, data)
