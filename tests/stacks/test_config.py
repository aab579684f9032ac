"""A valid configuration becomes the arguments of its applications."""

import itertools
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pulumi
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from components.database_group import DatabaseGroupArgs
from components.engines import ENGINES
from offline.recorder import run_program
from stacks import config as stack_config
from stacks.config import OFFLINE_CONFIG_KEY, STACK_FILE_CONFIG_KEY, Stack, load_stack, parse_stack
from stacks.config_source import ConfigSource
from stacks.errors import InvalidStackConfigError, Location
from tests.faulty_stacks import FULL_STACK
from tests.support import (
    CANARY,
    ENCRYPTED,
    ENGINES_WITH_SERVER,
    EXISTING_SERVER,
    NETWORK_ENGINES,
    existing_account,
    external_server,
    groups,
    managed_server,
    provisioned_on,
    record_stack,
    stack_with_group,
    stack_with_provisioned_group,
    to_json_text,
)

SECRETS: dict[str, list[Location]] = {
    "externalServers": [("externalServers", name, "administrator", "password") for name in ("mysql-hq", "pg-hq")],
    "applications": [
        ("applications", "shop", "databases", "mysql", "archive", "server", "password"),
        ("applications", "shop", "databases", "influxdb", "main", "server", "token"),
    ],
}
"""The secrets of FULL_STACK by top-level key."""


def get_group(stack: Stack, name: str = "main") -> DatabaseGroupArgs:
    groups_by_name = {group.group_name: group for app in stack.applications for group in app.database_groups}
    return groups_by_name[name]


def list_secrets() -> list[Location]:
    return [location for locations in SECRETS.values() for location in locations]


def plain_text_warnings(warnings: tuple[str, ...]) -> list[str]:
    return [warning for warning in warnings if "plain text" in warning]


def plain_text_warning(location: Location, stack: str = "...") -> str:
    path = ".".join(map(str, location))
    command = f"make pulumi STACK={stack} ARGS=\"config set --secret --path 'database-groups:{path}'\""
    return f"{path}: the {location[-1]} is in plain text; encrypt it: {command}"


# Values and defaults


def test_full_stack_is_valid() -> None:
    stack = parse_stack(FULL_STACK, ENCRYPTED, full_name="acme/database-groups/shop")
    assert stack.spec.environment == "production"
    assert [application.name for application in stack.applications] == ["shop", "blog"]
    assert {application.platform.stack for application in stack.applications} == {"acme/database-groups/shop"}


@pytest.mark.parametrize("group", [None, {}, {"server": "local"}, {"server": {"kind": "local"}}], ids=str)
def test_default_server_is_local(group: Any) -> None:
    args = get_group(parse_stack(groups(mysql={"main": group})))
    assert (args.spec.server.kind, args.variant.name) == ("local", "mysql")
    assert (args.is_primary, args.protect, args.spec.password_version) == (True, False, 0)


@pytest.mark.parametrize(("namespace", "expected"), [(None, "shop"), ("web", "web")])
def test_default_namespace_is_the_name_of_the_application(namespace: str | None, expected: str) -> None:
    raw = {"applications": {"shop": {"namespace": namespace, "databases": {"redis": {"main": None}}}}}
    assert [application.namespace for application in parse_stack(raw).applications] == [expected]


@pytest.mark.parametrize(
    ("databases", "expected"),
    [
        ({"mysql": {"main": None}}, ["main"]),
        ({"mysql": {"main": None, "spare": None}}, []),
        ({"mysql": {"main": {"primary": True}, "spare": None}}, ["main"]),
        ({"mysql": {"main": None, "spare": {"primary": True}}}, ["spare"]),
        ({"mysql": {"main": None}, "redis": {"a": None, "b": None}}, ["main"]),
    ],
)
def test_primary_group_is_set_or_the_only_one(databases: dict[str, Any], expected: list[str]) -> None:
    (application,) = parse_stack(groups(**databases)).applications
    assert [group.group_name for group in application.database_groups if group.is_primary] == expected


@pytest.mark.parametrize(
    ("keys", "administrator", "expected"),
    [
        ({}, {}, ("mysql.example.org", 3306)),
        ({"port": 3307}, {}, ("mysql.example.org", 3307)),
        ({"port": 3307}, {"host": "127.0.0.1", "port": 13306}, ("127.0.0.1", 13306)),
    ],
)
def test_administrator_uses_the_server_unless_it_has_its_own_endpoint(
    keys: dict[str, Any], administrator: dict[str, Any], expected: tuple[str, int]
) -> None:
    account = {**external_server("mysql")["administrator"], **administrator}
    raw = stack_with_provisioned_group("mysql", {**keys, "administrator": account})
    server = parse_stack(raw).spec.external_servers["hq"]
    assert server.administrator_endpoint == expected
    assert (server.host, server.service_port) == (("mysql.example.org",), keys.get("port", 3306))
    assert server.tls == "verify-full"


@pytest.mark.parametrize(
    "keys",
    [
        *({"host": host} for host in ("db", "db.example.org", "10.0.0.1", "fd00::1", ["db.example.org"])),
        *({"host": host} for host in (["10.0.0.1"], ["10.0.0.1", "10.0.0.2"], ["fd00::1", "fd00::2"])),
    ],
    ids=str,
)
def test_host_is_a_name_an_address_or_a_list_of_addresses(keys: dict[str, Any]) -> None:
    parse_stack(stack_with_group("mysql", {**EXISTING_SERVER, **keys}))


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "db.example.org"])
def test_host_of_an_administrator_can_be_a_loopback_address(host: str) -> None:
    administrator = {"username": "provisioner", "password": CANARY, "host": host}
    parse_stack(stack_with_provisioned_group("mysql", {"administrator": administrator}))


@pytest.mark.parametrize(
    "keys",
    [
        *({"resources": {"cpu": cpu}} for cpu in (2, 0.5, "2", "0.5", "500m")),
        *({"storage": size, "resources": {"memory": size}} for size in ("768Mi", "1Gi", "1.5Gi", "10G", "1Ti")),
    ],
    ids=str,
)
def test_quantities_are_valid(keys: dict[str, Any]) -> None:
    parse_stack(stack_with_group("mysql", {"kind": "local", **keys}))


@pytest.mark.parametrize("value", [1, 1.5, True, False, "1", "true", "", " x "], ids=repr)
def test_setting_keeps_its_type(value: Any) -> None:
    server = get_group(parse_stack(stack_with_group("mysql", {"kind": "local", "settings": {"a": value}}))).spec.server
    setting = server.model_dump()["settings"]["a"]
    assert (type(setting), setting) == (type(value), value)


@pytest.mark.parametrize(
    ("engine", "application", "group"),
    [("redis", "a" * 53, "b" * 46), ("mysql", "shop", "b" * 27), ("postgresql", "a" * 21, "b" * 41)],
)
def test_longest_names_are_valid(engine: str, application: str, group: str) -> None:
    parse_stack({"applications": {application: {"databases": {engine: {group: None}}}}})


@pytest.mark.parametrize("engine", [name for name in ENGINES_WITH_SERVER if ENGINES[name].variants[0].image is None])
@pytest.mark.parametrize("kind", ["local", "dedicated"])
def test_engine_without_an_official_image_requires_one(engine: str, kind: str) -> None:
    with pytest.raises(InvalidStackConfigError, match=rf"{engine}\.main\.server\.image: required"):
        parse_stack(stack_with_group(engine, kind))
    parse_stack(stack_with_group(engine, managed_server(engine, kind)))


def test_models_do_not_show_secrets() -> None:
    stack = parse_stack(FULL_STACK)
    assert CANARY not in f"{stack.spec!r} {stack.applications}"


def test_outputs_hold_names_only() -> None:
    outputs = parse_stack(FULL_STACK).outputs
    assert CANARY not in to_json_text(outputs)
    assert outputs["shop"]["databases"]["mysql"]["main"] == {
        "service": "mysql",
        "secret": "mysql-main",
        "kind": "dedicated",
        "variant": "percona",
        "version": ENGINES["mysql"].get_variant("percona").find_release("8.4"),
        "series": "8.4",
        "externalServer": None,
        "database": "shop_main",
        "username": "shop_main",
        "storage": "50Gi",
        "storageClass": None,
        "initScript": None,
        "protect": True,
        "passwordVersion": 1,
        "copy": None,
        "replicas": None,
    }
    archive = outputs["shop"]["databases"]["mysql"]["archive"]
    assert (archive["database"], archive["username"]) == (None, None)
    spare = outputs["shop"]["databases"]["mysql"]["spare"]
    assert (spare["service"], spare["version"], spare["externalServer"]) == ("mysql-spare", None, "mysql-hq")


# Warnings


@pytest.mark.parametrize("keys", [(), ("externalServers",), ("applications",), ("applications", "externalServers")])
def test_secrets_in_plain_text_cause_warnings(keys: tuple[str, ...]) -> None:
    source = ConfigSource(encrypted_locations=frozenset((key,) for key in keys))
    expected = [plain_text_warning(location) for key, found in SECRETS.items() if key not in keys for location in found]
    assert sorted(plain_text_warnings(parse_stack(FULL_STACK, source).warnings)) == sorted(expected)


@pytest.mark.parametrize("location", list_secrets(), ids=lambda location: ".".join(map(str, location)))
def test_plain_secret_next_to_an_encrypted_one_causes_a_warning(location: Location) -> None:
    source = ConfigSource(encrypted_locations=frozenset(set(list_secrets()) - {location}))
    assert plain_text_warnings(parse_stack(FULL_STACK, source).warnings) == [plain_text_warning(location)]


def test_local_servers_in_production_cause_warnings() -> None:
    reason = "`local` servers are for development; use dedicated or external in production"
    warnings = [warning for warning in parse_stack(FULL_STACK, ENCRYPTED).warnings if ".server: " in warning]
    assert warnings == [f"applications.shop.databases.redis.{group}.server: {reason}" for group in ("cache", "more")]
    assert parse_stack(stack_with_group("mysql")).warnings == ()


# The configuration of a running program

STACK_FILE = """\
encryptionsalt: v1:abc
config:
  databasegroups:environment: production
  database-groups:externalServers:
    hq: {engine: mysql, host: db.example.org, administrator: {username: a, password: PASSWORD}}
  database-groups:applications:
    shop:
      databases:
        mysql:
          main: {server: {kind: external, provisionOn: hq}}
          spare:
            server: {kind: external, host: db, database: d, username: u, password: {secure: v1:abc}}
"""
SPARE = ("applications", "shop", "databases", "mysql", "spare", "server")


def load_with_file(folder: Path, text: str, *, encrypted: tuple[str, ...] = ("applications",), **changes: Any) -> Stack:
    """Load a stack whose file is `text` and whose encrypted values are CANARY. `changes` are passed with --config."""
    path = folder / "stacks" / "Pulumi.shop.yaml"
    path.parent.mkdir()
    path.write_text(text)
    servers = {
        "hq": external_server("mysql", host="db.example.org", administrator={"username": "a", "password": "PASSWORD"})
    }
    spare = {"kind": "external", "host": "db", "database": "d", "username": "u", "password": CANARY}
    values = {
        "externalServers": servers,
        **groups(mysql={"main": provisioned_on("hq"), "spare": {"server": spare}}),
        **changes,
    }
    config = {
        f"database-groups:{key}": value if isinstance(value, str) else json.dumps(value)
        for key, value in values.items()
    }
    stacks: list[Stack] = []
    run_program(
        lambda: stacks.append(load_stack()),
        config={**config, "kubernetes:context": "c", "other:applications": "5", STACK_FILE_CONFIG_KEY: str(path)},
        encrypted=tuple(f"database-groups:{key}" for key in encrypted),
    )
    return stacks[0]


def load() -> None:
    load_stack()


@pytest.mark.parametrize(
    ("offline_key", "handler"),
    [(OFFLINE_CONFIG_KEY, signal.default_int_handler), ("unset", stack_config._exit_after_hooks)],
)
def test_only_a_run_of_pulumi_has_a_handler_for_interrupts(
    offline_key: str, handler: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stacks.config.OFFLINE_CONFIG_KEY", offline_key)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        load_with_file(tmp_path, "", encrypted=())
        assert signal.getsignal(signal.SIGINT) is handler
    finally:
        signal.signal(signal.SIGINT, before)


INTERRUPTED = """
import signal, time
from stacks import config
config.HOOK_SECONDS = {seconds}
signal.signal(signal.SIGINT, config._exit_after_hooks)
print("ready", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize(("hook_seconds", "interrupts"), [(0.5, 1), (60, 2)])
def test_interrupt_ends_the_program_after_the_hooks_without_a_traceback(hook_seconds: float, interrupts: int) -> None:
    command = [sys.executable, "-c", INTERRUPTED.format(seconds=hook_seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        for _ in range(interrupts):
            assert process.poll() is None
            process.send_signal(signal.SIGINT)
            time.sleep(0.1)
        assert not process.communicate(timeout=10)[0]
        assert process.returncode == -signal.SIGINT


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the warnings that the program logs."""
    warnings: list[str] = []
    monkeypatch.setattr(pulumi.log, "warn", warnings.append)
    return warnings


def test_warnings_have_the_file_and_the_line(tmp_path: Path, logged: list[str]) -> None:
    name = "stacks/Pulumi.shop.yaml: line"
    warning = plain_text_warning(("externalServers", "hq", "administrator", "password"), "shop")
    assert load_with_file(tmp_path, STACK_FILE).warnings == (f"{name} 5: {warning}",)
    assert logged == [f"{name} 3: unknown configuration namespace 'databasegroups'; did you mean 'database-groups'?"]


def test_errors_do_not_hide_the_warnings_about_the_file(tmp_path: Path, logged: list[str]) -> None:
    with pytest.raises(InvalidStackConfigError):
        load_with_file(tmp_path, STACK_FILE, environment="prod")
    assert len(logged) == 1


def test_errors_have_the_file_and_the_line_and_no_encrypted_value(tmp_path: Path) -> None:
    text = STACK_FILE.replace("host: db,", "host: {secure: v1:abc},")
    spare = {"kind": "external", "host": f"{CANARY}", "database": "d", "username": "u", "password": CANARY}
    with pytest.raises(InvalidStackConfigError) as caught:
        load_with_file(tmp_path, text, **groups(mysql={"main": provisioned_on("hq"), "spare": {"server": spare}}))
    (issue,) = caught.value.issues
    assert (issue.location, issue.line) == ((*SPARE, "host"), 12)
    assert CANARY not in str(caught.value)
    assert str(caught.value).startswith("stacks/Pulumi.shop.yaml has 1 error; nothing was changed:\n  line 12: ")


def test_value_that_is_not_in_the_file_has_no_line(tmp_path: Path) -> None:
    with pytest.raises(InvalidStackConfigError) as caught:
        load_with_file(tmp_path, STACK_FILE, environment="prod", **groups(mysql={"main": {"variant": "percon"}}))
    assert [issue.line for issue in caught.value.issues] == [None, None]
    # All values of a key that has an encrypted value may be the encrypted one.
    assert [issue.message for issue in caught.value.issues] == [
        "unsupported variant (hidden value); did you mean 'percona'?",
        "unsupported value 'prod'; did you mean 'production'?",
    ]


@pytest.mark.parametrize("text", ["config: [", "", "config:\n  database-groups:applications: x\n"])
def test_configuration_is_read_without_a_usable_file(text: str, tmp_path: Path) -> None:
    stack = load_with_file(tmp_path, text, encrypted=("applications", "externalServers"))
    assert stack.warnings == ()
    assert stack.full_name == ""
    assert {application.platform.stack for application in stack.applications} == {""}


def test_misspelt_namespace_is_a_warning_without_a_file(logged: list[str]) -> None:
    config = {
        "database-groups:applications": json.dumps(groups(redis={"main": None})["applications"]),
        "kubernetes:contxt": "c",
    }
    run_program(load, config=config)
    assert logged == ["stack 'test': unknown key 'kubernetes:contxt'; did you mean kubernetes:context?"]


def test_faulty_configuration_stops_the_program_before_the_first_resource() -> None:
    with pytest.raises(
        pulumi.RunError, match="stack 'test' has 1 error; nothing was changed:\n  applications: missing"
    ):
        run_program(load, config={"database-groups:environment": "production"})


# Names

NAMES = ["a", "mysql", "redis", "mysql-a", "a-mysql", "databases", "mysql-mysql", "a-mysql-mysql", "a-mysql-a"]


def _add_images(databases: dict[str, Any]) -> dict[str, Any]:
    """Return groups with an image, if the engine requires one, and with accounts of their engine."""
    images = {engine: {"server": managed_server(engine)} for engine in ENGINES_WITH_SERVER}
    return {
        engine: {
            name: {"server": existing_account(engine)}
            if group == {"server": EXISTING_SERVER} and engine in NETWORK_ENGINES
            else {**images.get(engine, {}), **(group or {})}
            for name, group in engine_groups.items()
        }
        for engine, engine_groups in databases.items()
    }


SMALL_STACKS = st.dictionaries(
    st.sampled_from(NAMES),
    st.fixed_dictionaries(
        {
            "databases": st.dictionaries(
                st.sampled_from(sorted(ENGINES)),
                st.dictionaries(
                    st.sampled_from(NAMES),
                    st.sampled_from([None, {"primary": True}, provisioned_on("hq"), {"server": EXISTING_SERVER}]),
                    min_size=1,
                    max_size=2,
                ),
                min_size=1,
                max_size=3,
            ).map(_add_images)
        },
        optional={"namespace": st.sampled_from(["a", "b", "mysql"]), "createNamespace": st.booleans()},
    ),
    min_size=1,
    max_size=3,
)


@settings(max_examples=150)
@given(applications=SMALL_STACKS)
@example(
    applications={
        "a": {"databases": {"mysql": {"b-a": provisioned_on("hq")}}},
        "a-b": {"databases": {"mysql": {"a": provisioned_on("hq")}}},
    }
)
def test_valid_stack_has_no_name_twice(applications: dict[str, Any]) -> None:
    """Neither in Pulumi (the recorder rejects that), nor in the cluster, nor on an external server."""
    raw = {"externalServers": {"hq": external_server("mysql")}, "applications": applications}
    try:
        parse_stack(raw)
    except InvalidStackConfigError:
        return
    registrations = list(record_stack(raw).registrations.values())
    objects = [
        (found.inputs["kind"], found.inputs["metadata"].get("namespace"), found.inputs["metadata"]["name"])
        for found in registrations
        if found.type.startswith("kubernetes:")
    ]
    databases = [found.inputs["name"] for found in registrations if found.type == "mysql:index/database:Database"]
    for names in (objects, databases):
        assert [name for name, same in itertools.groupby(sorted(names, key=str)) if len(list(same)) > 1] == []


def test_one_database_name_on_two_servers_is_valid() -> None:
    raw = {
        "externalServers": {name: external_server("mysql", host=name) for name in ("hq", "other")},
        "applications": {
            "shop-main": {"databases": {"mysql": {"x": provisioned_on("hq")}}},
            "shop": {"databases": {"mysql": {"main-x": provisioned_on("other")}}},
        },
    }
    parse_stack(raw)
