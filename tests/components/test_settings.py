"""The server reads settings as the user wrote them, or the program rejects them. A change restarts one server only."""

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from components.engines import ENGINES
from components.engines.settings_file import SettingsFile
from components.spec import SettingValue
from offline.recorder import Recorder
from tests.engine_contract import CONTRACTS, SettingsContract
from tests.support import (
    CONFIG_MAP,
    ENGINES_WITH_SERVER,
    STATEFUL_SET,
    config_issues,
    get_resource,
    managed_server,
    record_stack,
    stack_with_group,
)
from tests.tenth_engine import TENTH, TENTH_CONTRACT

RESERVED = "reserved: the program manages this setting; remove it"


FILES: Mapping[str, tuple[SettingsFile, SettingsContract]] = {
    engine.name: (engine.settings_file, contract.settings)
    for engine, contract in [*((ENGINES[name], CONTRACTS[name]) for name in ENGINES), (TENTH, TENTH_CONTRACT)]
    if engine.settings_file and contract.settings
}
WITH_SETTINGS = [name for name in ENGINES_WITH_SERVER if ENGINES[name].settings_file]
WITH_INIT_SCRIPT = [name for name in ENGINES_WITH_SERVER if CONTRACTS[name].supports_init_script]
HOSTILE = [
    "'",
    '"',
    "\\",
    "#",
    ";",
    "a#b",
    "a ;b",
    "it's",
    'a"b',
    "a\\",
    "\\'",
    '\\"',
    "''",
    "'a'",
    "'a' b",
    "é€💥",
    "${HOME}",
    "$(id)",
    "`id`",
    "%",
    " a ",
    "",
    "!x",
]
HOSTILE += [
    "yes",
    "null",
    "~",
    "1",
    "0x10",
    "*",
    "&a",
    "[x]",
    "{x: y}",
    "- a",
    "a: b",
    "a = b",
    "include /etc/passwd",
    "\\u00e9",
    "\\x41",
    "\\n",
    "C:\\new",
    "\xa0",
]
VALUES = st.text(
    st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"], exclude_characters="\ufeff\ufffe\uffff"), max_size=40
) | st.sampled_from(HOSTILE)
VALUES |= st.text("'\"\\#; a=$", max_size=12)
NUMBERS = st.integers(-(10**18), 10**18) | st.floats(allow_nan=False, allow_infinity=False)

files = pytest.mark.parametrize(("file", "contract"), FILES.values(), ids=list(FILES))
engines = pytest.mark.parametrize("engine", WITH_SETTINGS)


@files
@given(
    values=st.dictionaries(
        st.from_regex(r"set_[a-z0-9]{0,4}(\.[a-z][a-z0-9_]{0,8})?", fullmatch=True), VALUES, min_size=1, max_size=4
    )
)
@example(values={f"a{number}": value for number, value in enumerate(HOSTILE)})
def test_server_reads_a_text_as_written_or_the_program_rejects_it(
    file: SettingsFile, contract: SettingsContract, values: dict[str, str]
) -> None:
    rejected = dict(file.validate(values))
    accepted = {name: value for name, value in values.items() if name not in rejected}
    assume(accepted)
    expected = {name: value.strip(" ") if contract.trims_spaces else value for name, value in accepted.items()}
    assert contract.read(file.render(accepted)) == expected


@files
@pytest.mark.parametrize("name", ["a_b", "a_b.c"])
@given(value=NUMBERS)
def test_server_reads_a_number_as_written(
    file: SettingsFile, contract: SettingsContract, name: str, value: float
) -> None:
    values = contract.read(file.render({name: value}))
    assert list(values) == [name]
    assert float(values[name]) == float(value)


@files
def test_booleans_have_the_syntax_of_the_engine(file: SettingsFile, contract: SettingsContract) -> None:
    values = contract.read(file.render({"a": True, "b": False}))
    assert (values["a"], values["b"]) == contract.booleans


@files
def test_order_of_the_settings_does_not_matter(file: SettingsFile, contract: SettingsContract) -> None:
    """Otherwise moving a line in the stack file would restart the server."""
    text = file.render({"b": 2, "a": 1})
    assert text == file.render({"a": 1, "b": 2})
    assert set(contract.read(text)) == {"a", "b"}


@files
def test_reserved_setting_is_rejected_in_every_spelling(file: SettingsFile, contract: SettingsContract) -> None:
    assert file.reserved_names
    for name in file.reserved_names:
        for spelling in contract.list_spellings(name):
            assert dict(file.validate({spelling: 1, f"{spelling}.nested": 1})) == {
                spelling: RESERVED,
                f"{spelling}.nested": RESERVED,
            }
        assert not file.is_reserved(f"x{name}")
        assert not file.is_reserved(f"x.{name}")
        assert file.normalize_name(name) == name, "write reserved names in their normalized spelling"


@files
def test_address_storage_and_access_of_the_server_are_reserved(file: SettingsFile, contract: SettingsContract) -> None:
    assert contract.reserved
    assert [name for name in contract.reserved if not file.is_reserved(name)] == []


DEFAULTS: Mapping[str, Mapping[str, Mapping[str, Any]]] = {
    "postgresql": {
        "256Mi": {
            "shared_buffers": "64MB",
            "effective_cache_size": "128MB",
            "maintenance_work_mem": "16MB",
            "work_mem": "1MB",
            "max_connections": "32",
        },
        "8Gi": {
            "shared_buffers": "2048MB",
            "effective_cache_size": "4096MB",
            "maintenance_work_mem": "512MB",
            "work_mem": "16MB",
            "max_connections": "100",
        },
    },
    "mysql": {
        "768Mi": {
            "innodb_buffer_pool_size": "128M",
            "max_connections": "64",
            "temptable_max_ram": "48M",
            "tmpdir": "/var/lib/mysql/tmp",
        },
        "2Gi": {
            "innodb_buffer_pool_size": "1024M",
            "max_connections": "151",
            "temptable_max_ram": "128M",
            "tmpdir": "/var/lib/mysql/tmp",
        },
        "8Gi": {
            "innodb_buffer_pool_size": "6144M",
            "max_connections": "151",
            "temptable_max_ram": "512M",
            "tmpdir": "/var/lib/mysql/tmp",
        },
    },
    "redis": {"128Mi": {"maxmemory": "53687091", "maxmemory-clients": "13421772"}},
    "rabbitmq": {"2Gi": {"total_memory_available_override_value": "2147483648"}},
    "influxdb": {
        "512Mi": {"storage-cache-max-memory-size": 134217728},
        "8Gi": {"storage-cache-max-memory-size": 1073741824},
    },
    "mongodb": {
        "512Mi": {"storage.wiredTiger.engineConfig.cacheSizeGB": 0.25},
        "4Gi": {"storage.wiredTiger.engineConfig.cacheSizeGB": 1.5},
    },
    "elasticsearch": {"2Gi": {}},
    "glusterfs": {"256Mi": {}},
}
"""The program's own settings of a server, by engine and memory. Elasticsearch derives its heap from the limit."""


def read_settings(engine: str, server: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a group's server, as the server reads them."""
    recorder, contract = record_stack(stack_with_group(engine, server)), CONTRACTS[engine].settings
    text = get_resource(recorder, CONFIG_MAP, f"shop-{engine}-main-scripts").inputs["data"]["settings"]
    assert contract
    return contract.read(text) if text else {}


@engines
@pytest.mark.parametrize("kind", ["local", "dedicated"])
def test_settings_follow_the_memory_of_the_server(engine: str, kind: str) -> None:
    for memory, expected in DEFAULTS[engine].items():
        assert read_settings(engine, managed_server(engine, kind, resources={"memory": memory})) == expected


@engines
def test_setting_of_the_user_replaces_the_programs_own(engine: str) -> None:
    (memory, expected), *_ = DEFAULTS[engine].items()
    contract = CONTRACTS[engine].settings
    assert contract
    for name in expected:
        for spelling in contract.list_spellings(name):
            server = managed_server(engine, resources={"memory": memory}, settings={spelling: 7})
            values = read_settings(engine, server)
            assert float(values.pop(spelling)) == 7
            assert values == {other: value for other, value in expected.items() if other != name}


@engines
@pytest.mark.parametrize(
    "value", ["a\nb", "a\rb", "a\0b", "a\x1bb", "a\x85b", "a\u2028b", "a\u2029b", "\ufeffa", "\n"], ids=ascii
)
def test_value_with_a_control_character_is_rejected(engine: str, value: str) -> None:
    """It would not end where its line ends."""
    path = f"applications.shop.databases.{engine}.main.server.settings.a"
    assert config_issues(stack_with_group(engine, managed_server(engine, settings={"a": value}))) == [
        f"{path}: contains a control character or a line break; remove it"
    ]


@pytest.mark.skipif(
    shutil.which("my_print_defaults") is None,
    reason="my_print_defaults, MySQL's own reader of option files, is not installed",
)
@given(value=VALUES)
@example(value="".join(HOSTILE))
def test_mysqls_own_reader_reads_a_text_as_written(value: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    path: Path = tmp_path_factory.getbasetemp() / "my.cnf"
    file, _ = FILES["mysql"]
    path.write_text(file.render({"a": value}))
    ran = subprocess.run(["my_print_defaults", f"--defaults-file={path}", "mysqld"], capture_output=True, check=True)
    assert ran.stdout.decode() == f"--a={value}\n"


@pytest.mark.parametrize(
    ("engine", "settings", "issues"),
    [
        ("postgresql", {"port": 1, "Listen_Addresses": "x"}, {"Listen_Addresses": RESERVED, "port": RESERVED}),
        (
            "elasticsearch",
            {"a": "${HOME}"},
            {
                "a": "contains '${': Elasticsearch would replace it from the server's environment; write the value "
                "itself"
            },
        ),
        (
            "mongodb",
            {"storage.engine": "x", "storage.engine.y": 1, "storage.z": 2},
            {
                "storage.engine": "conflicts with 'storage.engine.y': a setting cannot be both a value and a map; "
                "remove one"
            },
        ),
        ("rabbitmq", {"log.console": True, "log.console.level": "info"}, {}),
        *(
            (
                "rabbitmq",
                {"a": value},
                {
                    "a": "contains a single quote together with '#', a leading quote or an outer space: rabbitmq.conf "
                    "cannot represent this; remove the single quote"
                },
            )
            for value in ["it's #1", "'a' b", "' a", "it's "]
        ),
    ],
)
def test_unsupported_setting_is_rejected(
    engine: str, settings: dict[str, SettingValue], issues: dict[str, str]
) -> None:
    path = f"applications.shop.databases.{engine}.main.server.settings"
    assert config_issues(stack_with_group(engine, managed_server(engine, settings=settings))) == [
        f"{path}.{name}: {message}" for name, message in issues.items()
    ]


def container_of(recorder: Recorder, engine: str) -> dict[str, Any]:
    server = get_resource(recorder, STATEFUL_SET, f"shop-{engine}-main-server")
    container: dict[str, Any]
    (container,) = server.inputs["spec"]["template"]["spec"]["containers"]
    return container


def templates(recorder: Recorder) -> dict[str, Any]:
    return {found.name: found.inputs["spec"]["template"] for found in recorder.resources_of_type(STATEFUL_SET)}


@engines
@pytest.mark.parametrize("kind", ["local", "dedicated"])
def test_changed_setting_changes_its_own_server_only(engine: str, kind: str) -> None:
    """It changes the file, and the annotation that replaces the Pod; nothing of any other group."""

    def stack(value: int) -> Recorder:
        databases = {name: {"main": {"server": managed_server(name)}} for name in ENGINES_WITH_SERVER}
        databases[engine] = {
            "main": {"server": managed_server(engine, kind, settings={"a_b": value})},
            "other": {"server": managed_server(engine)},
        }
        return record_stack({"applications": {"shop": {"databases": databases}}})

    before, after = stack(1), stack(2)
    changed = {urn for urn, found in before.registrations.items() if found.inputs != after.registrations[urn].inputs}
    scripts, server = f"shop-{engine}-main-scripts", f"shop-{engine}-main-server"
    assert set(before.registrations) == set(after.registrations)
    assert changed == {get_resource(before, CONFIG_MAP, scripts).urn, get_resource(before, STATEFUL_SET, server).urn}
    one, other = (get_resource(recorder, CONFIG_MAP, scripts).inputs["data"] for recorder in (before, after))
    assert {key for key in one if one[key] != other[key]} == {"settings"}
    old, new = templates(before)[server], templates(after)[server]
    assert old["spec"] == new["spec"]
    assert {
        key for key, value in old["metadata"]["annotations"].items() if new["metadata"]["annotations"][key] != value
    } == {"database-groups/scripts"}


@engines
def test_a_script_reads_the_settings(engine: str) -> None:
    recorder = record_stack(stack_with_group(engine, managed_server(engine)))
    scripts = get_resource(recorder, CONFIG_MAP, f"shop-{engine}-main-scripts").inputs["data"]
    assert any("/etc/database-groups/settings" in scripts.get(name, "") for name in ("start", "started"))


@pytest.mark.parametrize("engine", WITH_INIT_SCRIPT)
@pytest.mark.parametrize("kind", ["local", "dedicated"])
@pytest.mark.parametrize("text", ["SELECT 'it''s';\n-- # \\\n", None], ids=["script", "none"])
def test_start_script_runs_the_init_script(engine: str, kind: str, text: str | None) -> None:
    recorder = record_stack(
        stack_with_group(engine, managed_server(engine, kind, **({"initScript": text} if text else {})))
    )
    files = get_resource(recorder, CONFIG_MAP, f"shop-{engine}-main-scripts").inputs["data"]
    assert files.get("init") == text
    assert "/etc/database-groups/init" in files["start"]


@pytest.mark.parametrize("engine", [name for name in ENGINES_WITH_SERVER if name not in WITH_INIT_SCRIPT])
def test_init_script_is_rejected_where_no_script_runs_it(engine: str) -> None:
    path = f"applications.shop.databases.{engine}.main.server.initScript"
    assert config_issues(stack_with_group(engine, managed_server(engine, initScript="x"))) == [
        f"{path}: not supported for {ENGINES[engine].variants[0].name}; remove it"
    ]
