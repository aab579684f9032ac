"""A server reads the settings that a user adds, or the program rejects them; other servers do not change."""

import shutil
import subprocess
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

ENGINES_WITH_INIT_SCRIPT = [
    name
    for name in ENGINES_WITH_SERVER
    if (build_runtime := ENGINES[name].build_runtime)
    and build_runtime(ENGINES[name].variants[0], ENGINES[name].variants[0].default_version).init_file_path
]
ENTRYPOINT = "/docker-entrypoint-initdb.d/"
FREE_NAME = "set_a"
"""A setting that no program reserves."""
engines = pytest.mark.parametrize("engine", [name for name, contract in CONTRACTS.items() if contract.settings])


def settings_file_of(engine: str) -> SettingsFile:
    settings_file = ENGINES[engine].settings_file
    assert settings_file
    return settings_file


def contract_of(engine: str) -> SettingsContract:
    contract = CONTRACTS[engine].settings
    assert contract
    return contract


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
WORDS = st.text(
    st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"], exclude_characters="\ufeff\ufffe\uffff"), max_size=40
) | st.sampled_from(HOSTILE)
WORDS |= st.text("'\"\\#; a=$", max_size=12)
NUMBERS = st.integers(-(10**18), 10**18) | st.floats(allow_nan=False, allow_infinity=False)


@engines
@given(
    values=st.dictionaries(
        st.from_regex(r"set_[a-z0-9]{0,4}(\.[a-z][a-z0-9_]{0,8})?", fullmatch=True), WORDS, min_size=1, max_size=4
    )
)
@example(values={f"a{number}": value for number, value in enumerate(HOSTILE)})
def test_server_reads_text_as_written_or_the_program_rejects_it(engine: str, values: dict[str, str]) -> None:
    settings = settings_file_of(engine)
    rejected = dict(settings.validate(values))
    accepted = {name: value for name, value in values.items() if name not in rejected}
    assume(accepted)
    trims_spaces = contract_of(engine).trims_spaces
    expected = {name: value.strip(" ") for name, value in accepted.items()} if trims_spaces else accepted
    assert contract_of(engine).read(settings.render(accepted)) == expected


@engines
@given(value=NUMBERS)
def test_server_reads_a_number_as_written(engine: str, value: float) -> None:
    values = contract_of(engine).read(settings_file_of(engine).render({FREE_NAME: value}))
    assert list(values) == [FREE_NAME]
    assert float(values[FREE_NAME]) == float(value)


@engines
def test_boolean_has_the_engines_spelling(engine: str) -> None:
    values = contract_of(engine).read(settings_file_of(engine).render({"a": True, "b": False}))
    assert (values["a"], values["b"]) == contract_of(engine).booleans


@engines
def test_file_without_settings_sets_nothing(engine: str) -> None:
    text = settings_file_of(engine).render({})
    assert text in ("", "[mysqld]\n", "{}\n")
    data = get_resource(
        record_stack(stack_with_group(engine, managed_server(engine))), CONFIG_MAP, f"shop-{engine}-main-scripts"
    ).inputs["data"]
    assert data["settings"] == text


@engines
def test_order_of_the_stack_file_does_not_matter(engine: str) -> None:
    """Moving a line in the stack file must not restart the server."""
    render = settings_file_of(engine).render
    assert render({"a": 1, "b": 2}) == render({"b": 2, "a": 1})


@engines
@pytest.mark.parametrize(
    "value", ["a\nb", "a\rb", "a\0b", "a\x1bb", "a\x85b", "a\u2028b", "a\u2029b", "\ufeffa", "\n"], ids=ascii
)
def test_value_with_a_line_break_or_control_character_is_rejected(engine: str, value: str) -> None:
    path = f"applications.shop.databases.{engine}.main.server.settings.a"
    assert config_issues(stack_with_group(engine, managed_server(engine, settings={"a": value}))) == [
        f"{path}: contains a control character or a line break; remove it"
    ]


@pytest.mark.skipif(
    shutil.which("my_print_defaults") is None,
    reason="my_print_defaults, MySQL's reader of option files, is not installed",
)
@given(value=WORDS)
@example(value="".join(HOSTILE))
def test_my_print_defaults_reads_the_rendered_file(value: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    path: Path = tmp_path_factory.getbasetemp() / "my.cnf"
    path.write_text(settings_file_of("mysql").render({"a": value}))
    ran = subprocess.run(["my_print_defaults", f"--defaults-file={path}", "mysqld"], capture_output=True, check=True)
    assert ran.stdout.decode() == f"--a={value}\n"


@engines
def test_reserved_setting_is_rejected_in_every_spelling(engine: str) -> None:
    settings = settings_file_of(engine)
    assert settings.reserved_names
    for name in settings.reserved_names:
        for spelling in contract_of(engine).list_spellings(name):
            assert settings.is_reserved(spelling), spelling
            assert settings.is_reserved(f"{spelling}.nested"), spelling
        assert not settings.is_reserved(f"x{name}")
        assert not settings.is_reserved(f"x.{name}")
        assert settings.normalize_name(name) == name, "a reserved name is in its normal form"


@engines
def test_every_reserved_setting_is_reported_with_its_path(engine: str) -> None:
    reserved = sorted(settings_file_of(engine).reserved_names)
    path = f"applications.shop.databases.{engine}.main.server.settings"
    assert config_issues(
        stack_with_group(engine, managed_server(engine, settings=dict.fromkeys(reserved, 1)))
    ) == sorted(f"{path}.{name}: reserved: the program manages this setting; remove it" for name in reserved)


@engines
def test_address_storage_and_access_are_reserved(engine: str) -> None:
    reserved = contract_of(engine).reserved
    assert {name for name in reserved if not settings_file_of(engine).is_reserved(name)} == set()


def test_setting_cannot_be_a_value_and_a_map() -> None:
    path = "applications.shop.databases.mongodb.main.server.settings"
    values: dict[str, SettingValue] = {"storage.engine": "x", "storage.engine.y": 1, "storage.z": 2}
    assert config_issues(stack_with_group("mongodb", managed_server("mongodb", settings=values))) == [
        f"{path}.storage.engine: conflicts with 'storage.engine.y': a setting cannot be both a value and a map;"
        " remove one"
    ]
    assert (
        config_issues(
            stack_with_group(
                "rabbitmq", managed_server("rabbitmq", settings={"log.console": True, "log.console.level": "info"})
            )
        )
        == []
    )


@pytest.mark.parametrize("value", ["it's #1", "'a' b", "' a", "it's "])
def test_value_that_rabbitmq_conf_cannot_hold_is_rejected(value: str) -> None:
    (line,) = config_issues(stack_with_group("rabbitmq", managed_server("rabbitmq", settings={"a": value})))
    assert line.endswith("remove the single quote")


def templates(recorder: Recorder) -> dict[str, Any]:
    return {found.name: found.inputs["spec"]["template"] for found in recorder.resources_of_type(STATEFUL_SET)}


@engines
@pytest.mark.parametrize("kind", ["local", "dedicated"])
def test_changed_setting_changes_only_its_own_server(engine: str, kind: str) -> None:
    """It changes the settings file and the annotation that restarts the Pod, and nothing of another group."""

    def stack(value: int) -> Recorder:
        databases = {name: {"main": {"server": managed_server(name)}} for name in ENGINES_WITH_SERVER}
        databases[engine] = {
            "main": {"server": managed_server(engine, kind, settings={FREE_NAME: value})},
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
def test_scripts_read_the_settings_file(engine: str) -> None:
    recorder = record_stack(stack_with_group(engine, managed_server(engine)))
    scripts = get_resource(recorder, CONFIG_MAP, f"shop-{engine}-main-scripts").inputs["data"]
    assert any("/etc/database-groups/settings" in scripts.get(name, "") for name in ("start", "started"))


@pytest.mark.parametrize("engine", ENGINES_WITH_INIT_SCRIPT)
@pytest.mark.parametrize("kind", ["local", "dedicated"])
def test_init_script_is_in_the_images_folder(engine: str, kind: str) -> None:
    text = "SELECT 'it''s';\n-- # \\\n"
    recorder = record_stack(stack_with_group(engine, managed_server(engine, kind, initScript=text)))
    assert get_resource(recorder, CONFIG_MAP, f"shop-{engine}-main-scripts").inputs["data"]["init"] == text
    (container,) = get_resource(recorder, STATEFUL_SET, f"shop-{engine}-main-server").inputs["spec"]["template"][
        "spec"
    ]["containers"]
    (mount,) = [mount for mount in container["volumeMounts"] if mount.get("subPath") == "init"]
    build_runtime = ENGINES[engine].build_runtime
    assert build_runtime
    assert mount == {
        "name": "scripts",
        "mountPath": build_runtime(ENGINES[engine].variants[0], "1").init_file_path,
        "subPath": "init",
        "readOnly": True,
    }
    assert mount["mountPath"].startswith(ENTRYPOINT)
    paths = [mount["mountPath"] for mount in container["volumeMounts"]]
    assert len(set(paths)) == len(paths)


@pytest.mark.parametrize("engine", ENGINES_WITH_INIT_SCRIPT)
def test_image_folder_is_empty_without_init_script(engine: str) -> None:
    recorder = record_stack(stack_with_group(engine, managed_server(engine)))
    assert "init" not in get_resource(recorder, CONFIG_MAP, f"shop-{engine}-main-scripts").inputs["data"]
    (container,) = get_resource(recorder, STATEFUL_SET, f"shop-{engine}-main-server").inputs["spec"]["template"][
        "spec"
    ]["containers"]
    assert not any(mount["mountPath"].startswith(ENTRYPOINT) for mount in container["volumeMounts"])


@pytest.mark.parametrize("engine", [name for name in ENGINES_WITH_SERVER if name not in ENGINES_WITH_INIT_SCRIPT])
def test_init_script_is_rejected_where_the_image_runs_none(engine: str) -> None:
    variant = ENGINES[engine].variants[0].name
    line = f"applications.shop.databases.{engine}.main.server.initScript: not supported for {variant}; remove it"
    assert config_issues(stack_with_group(engine, managed_server(engine, initScript="x"))) == [line]
