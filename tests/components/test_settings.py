"""What a user says of a server's settings is what the server reads, or is refused; and only that server changes."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import assume, example, given
from hypothesis import strategies as st

from components.engines import ENGINES
from components.engines.definition import Engine
from components.engines.settings_file import SettingsFile
from components.spec import SettingValue
from offline.recorder import Recorder
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

SET = [name for name in ENGINES_WITH_SERVER if ENGINES[name].settings_file]
"""The engines with settings of the user's."""
INIT = [
    name
    for name in ENGINES_WITH_SERVER
    if (make := ENGINES[name].build_runtime)
    and make(ENGINES[name].variants[0], ENGINES[name].variants[0].default_version).init_file_path
]
"""The engines whose images run something once."""
UNQUOTED = re.compile(r"-?[0-9]+(\.[0-9]+)?|[a-zA-Z]+")
ENTRYPOINT = "/docker-entrypoint-initdb.d/"
FIRST = {name: "a_b.c" if name in ("postgresql", "rabbitmq", "mongodb", "elasticsearch") else "a_b" for name in ENGINES}
"""A setting of each engine that is nobody's own."""


def settings_of(engine: str) -> SettingsFile:
    settings = ENGINES[engine].settings_file
    assert settings
    return settings


def _lines(text: str, pattern: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in text.rstrip("\n").split("\n"):
        match = re.fullmatch(pattern, line)
        assert match, line
        found[match[1]] = match[2]
    return found


def _escapes(value: str, known: Mapping[str, str], *, unknown: str) -> str:
    """What a quoted value means; `unknown` stands before the letter of an escape that is none."""
    inner = re.fullmatch(r'"((?:[^"\\]|\\.)*)"', value)
    return re.sub(r"\\(.)", lambda match: known.get(match[1], unknown + match[1]), inner[1]) if inner else value


def read_mysql(text: str) -> dict[str, str]:
    """MySQL's documentation, "Using Option Files": escapes, quotes, and a `#` that begins a comment outside of these."""
    section, _, rest = text.partition("\n")
    assert section == "[mysqld]"
    known = {"b": "\b", "t": "\t", "n": "\n", "r": "\r", "\\": "\\", "s": " ", '"': '"', "'": "'"}
    return {name: _escapes(value, known, unknown="\\") for name, value in _lines(rest, r"([-\w.]+) = (.*)").items()}


def read_postgresql(text: str) -> dict[str, str]:
    """PostgreSQL's documentation, 19.1.1, and its scanner: two quotes are one, and a backslash is an escape."""

    def value(raw: str) -> str:
        inner = re.fullmatch(r"'((?:[^'\\]|\\.|'')*)'", raw)
        assert inner or UNQUOTED.fullmatch(raw), raw
        return re.sub(r"\\(.)|''", lambda match: match[1] or "'", inner[1]) if inner else raw

    return {name: value(raw) for name, raw in _lines(text, r"([-\w.]+) = (.*)").items()}


def read_redis(text: str) -> dict[str, str]:
    """As Redis splits a line into words: `\\xHH` and a few letters are escapes, any other backslash is left out."""
    known = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "a": "\a"}
    return {name: _escapes(value, known, unknown="") for name, value in _lines(text, r"([-\w.]+) (.*)").items()}


def read_rabbitmq(text: str) -> dict[str, str]:
    """The grammar of cuttlefish, which reads rabbitmq.conf: single quotes without escapes, or bare up to a `#`."""

    def value(raw: str) -> str:
        quoted = re.fullmatch(r"[ \t]*'([^']*)'[ \t]*", raw)
        if quoted:
            return quoted[1]
        assert not re.match(r"[ \t]*'[^']*'", raw), "what is behind the quotes is no comment"
        return re.sub(r"[ \t]*(#.*)?$", "", raw.lstrip(" \t"))

    return {name: value(raw) for name, raw in _lines(text, r"([-\w.]+) =(.*)").items()}


def read_glusterfs(text: str) -> dict[str, str]:
    """As the shell reads a line into three words, the last of which is all that is left."""
    return {name: value.strip(" \t") for name, value in _lines(text, r"([-\w.]+) =(.*)").items()}


def read_yaml(text: str) -> dict[str, Any]:
    content = yaml.safe_load(text)
    assert isinstance(content, dict)
    return content


def read_nested(text: str) -> dict[str, Any]:
    """JSON, as maps in maps."""
    found: dict[str, Any] = {}

    def walk(node: Any, path: tuple[str, ...]) -> None:
        if isinstance(node, dict):
            for key, value in node.items():
                walk(value, (*path, key))
        else:
            found[".".join(path)] = node

    walk(json.loads(text), ())
    assert isinstance(yaml.safe_load(text), dict)
    return found


READERS: Mapping[str, Callable[[str], dict[str, Any]]] = {
    "mysql": read_mysql,
    "postgresql": read_postgresql,
    "redis": read_redis,
    "rabbitmq": read_rabbitmq,
    "elasticsearch": read_yaml,
    "influxdb": read_yaml,
    "mongodb": read_nested,
    "glusterfs": read_glusterfs,
}
TRUTHS = {
    "mysql": ("ON", "OFF"),
    "postgresql": ("on", "off"),
    "redis": ("yes", "no"),
    "rabbitmq": ("true", "false"),
    "elasticsearch": (True, False),
    "influxdb": (True, False),
    "mongodb": (True, False),
    "glusterfs": ("on", "off"),
}
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

TRIMMED = {"glusterfs"}
"""Engines whose options no space at an end of a value can mean anything to."""

engines = pytest.mark.parametrize("engine", SET)


def test_every_engine_with_settings_is_held_to_the_tables_of_this_module() -> None:
    assert set(SET) <= set(READERS)
    assert set(READERS) == set(TRUTHS)


@engines
@given(
    values=st.dictionaries(
        st.from_regex(r"set_[a-z0-9]{0,4}(\.[a-z][a-z0-9_]{0,8})?", fullmatch=True), WORDS, min_size=1, max_size=4
    )
)
@example(values={f"a{number}": value for number, value in enumerate(HOSTILE)})
def test_a_word_is_read_by_the_server_as_it_was_written_or_refused(engine: str, values: dict[str, str]) -> None:
    settings = settings_of(engine)
    refused = dict(settings.validate(values))
    kept = {name: value for name, value in values.items() if name not in refused}
    assume(kept)
    expected = {name: value.strip(" ") for name, value in kept.items()} if engine in TRIMMED else kept
    assert READERS[engine](settings.render(kept)) == expected


@engines
@given(value=NUMBERS)
def test_a_number_is_read_as_it_was_written(engine: str, value: float) -> None:
    found = READERS[engine](settings_of(engine).render({FIRST[engine]: value}))
    assert list(found) == [FIRST[engine]]
    assert float(found[FIRST[engine]]) == float(value)


@engines
def test_a_truth_is_written_in_the_engines_own_words(engine: str) -> None:
    found = READERS[engine](settings_of(engine).render({"a": True, "b": False}))
    assert (found["a"], found["b"]) == TRUTHS[engine]


@engines
def test_no_settings_are_a_file_that_sets_nothing(engine: str) -> None:
    text = settings_of(engine).render({})
    assert text in ("", "[mysqld]\n", "{}\n")
    data = get_resource(
        record_stack(stack_with_group(engine, managed_server(engine))), CONFIG_MAP, f"shop-{engine}-main-scripts"
    ).inputs["data"]
    assert data["settings"] == text


@engines
def test_settings_are_in_one_order_however_they_are_written(engine: str) -> None:
    """Otherwise moving a line in the stack file would roll the server."""
    render = settings_of(engine).render
    assert render({"a": 1, "b": 2}) == render({"b": 2, "a": 1})


@engines
@pytest.mark.parametrize(
    "value", ["a\nb", "a\rb", "a\0b", "a\x1bb", "a\x85b", "a\u2028b", "a\u2029b", "\ufeffa", "\n"], ids=ascii
)
def test_a_value_that_does_not_end_where_its_line_does_is_refused(engine: str, value: str) -> None:
    path = f"applications.shop.databases.{engine}.main.server.settings.a"
    assert config_issues(stack_with_group(engine, managed_server(engine, settings={"a": value}))) == [
        f"{path}: holds a control character, such as a line break"
    ]


@pytest.mark.skipif(
    shutil.which("my_print_defaults") is None,
    reason="there is no my_print_defaults, MySQL's own reader of option files",
)
@given(value=WORDS)
@example(value="".join(HOSTILE))
def test_mysqls_own_reader_reads_what_is_rendered(value: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    path: Path = tmp_path_factory.getbasetemp() / "my.cnf"
    path.write_text(settings_of("mysql").render({"a": value}))
    ran = subprocess.run(["my_print_defaults", f"--defaults-file={path}", "mysqld"], capture_output=True, check=True)
    assert ran.stdout.decode() == f"--a={value}\n"


def variants(engine: Engine, name: str) -> set[str]:
    """The ways to write a setting that its server takes for one."""
    ways = {name, name.upper(), name.title()}
    if engine.name == "mysql":
        ways |= {
            name.replace("_", "-"),
            f"loose_{name}",
            f"loose-{name}",
            f"LOOSE_{name.upper()}",
            name.replace("_", "-", 1),
        }
    return ways


@engines
def test_a_setting_that_the_program_owns_is_refused_in_every_spelling(engine: str) -> None:
    settings = settings_of(engine)
    assert settings.reserved_names
    for name in settings.reserved_names:
        for way in variants(ENGINES[engine], name):
            assert settings.is_reserved(way), way
            assert settings.is_reserved(f"{way}.below"), way
        assert not settings.is_reserved(f"x{name}")
        assert not settings.is_reserved(f"x.{name}")
        assert settings.normalize_name(name) == name, "an owned name is written as it is compared"


@engines
def test_every_owned_setting_is_refused_at_its_place(engine: str) -> None:
    owned = sorted(settings_of(engine).reserved_names)
    path = f"applications.shop.databases.{engine}.main.server.settings"
    assert config_issues(stack_with_group(engine, managed_server(engine, settings=dict.fromkeys(owned, 1)))) == sorted(
        f"{path}.{name}: is given by the program and cannot be set" for name in owned
    )


@pytest.mark.parametrize(
    ("engine", "names"),
    [
        ("mysql", {"port", "bind_address", "datadir", "socket", "init_file", "user"}),
        ("postgresql", {"port", "listen_addresses", "data_directory", "hba_file", "unix_socket_directories"}),
        ("redis", {"port", "bind", "requirepass", "dir", "aclfile", "user", "include"}),
        (
            "rabbitmq",
            {
                "listeners.tcp.default",
                "default_user",
                "default_pass",
                "load_definitions",
                "loopback_users.guest",
                "auth_backends.1",
            },
        ),
        (
            "mongodb",
            {
                "net.port",
                "net.bindIp",
                "security.authorization",
                "storage.dbPath",
                "setParameter.enableLocalhostAuthBypass",
            },
        ),
        ("elasticsearch", {"http.port", "network.host", "discovery.type", "path.data", "xpack.security.enabled"}),
        ("influxdb", {"http-bind-address", "bolt-path", "engine-path", "sqlite-path"}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_where_a_server_is_and_who_gets_in_is_the_programs_matter(engine: str, names: set[str]) -> None:
    if engine in ENGINES:
        assert {name for name in names if not settings_of(engine).is_reserved(name)} == set()


def test_a_setting_cannot_be_a_value_and_a_map_at_once() -> None:
    path = "applications.shop.databases.mongodb.main.server.settings"
    values: dict[str, SettingValue] = {"storage.engine": "x", "storage.engine.y": 1, "storage.z": 2}
    assert config_issues(stack_with_group("mongodb", managed_server("mongodb", settings=values))) == [
        f"{path}.storage.engine: is a value here and a map in another setting"
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
def test_a_value_that_rabbitmqs_file_cannot_hold_is_refused(value: str) -> None:
    (line,) = config_issues(stack_with_group("rabbitmq", managed_server("rabbitmq", settings={"a": value})))
    assert line.endswith("rabbitmq.conf cannot hold that")


def templates(recorder: Recorder) -> dict[str, Any]:
    return {found.name: found.inputs["spec"]["template"] for found in recorder.resources_of_type(STATEFUL_SET)}


@engines
@pytest.mark.parametrize("kind", ["local", "dedicated"])
def test_a_changed_setting_changes_its_own_server_alone(engine: str, kind: str) -> None:
    """Its file, and the annotation that makes a new Pod; nothing of any other group."""

    def stack(value: int) -> Recorder:
        databases = {name: {"main": {"server": managed_server(name)}} for name in ENGINES_WITH_SERVER}
        databases[engine] = {
            "main": {"server": managed_server(engine, kind, settings={FIRST[engine]: value})},
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
def test_the_server_is_told_where_its_settings_are(engine: str) -> None:
    recorder = record_stack(stack_with_group(engine, managed_server(engine)))
    scripts = get_resource(recorder, CONFIG_MAP, f"shop-{engine}-main-scripts").inputs["data"]
    assert any("/etc/database-groups/settings" in scripts.get(name, "") for name in ("start", "started"))


@pytest.mark.parametrize("engine", INIT)
@pytest.mark.parametrize("kind", ["local", "dedicated"])
def test_what_runs_once_is_where_the_image_looks(engine: str, kind: str) -> None:
    text = "SELECT 'it''s';\n-- # \\\n"
    recorder = record_stack(stack_with_group(engine, managed_server(engine, kind, init=text)))
    assert get_resource(recorder, CONFIG_MAP, f"shop-{engine}-main-scripts").inputs["data"]["init"] == text
    (container,) = get_resource(recorder, STATEFUL_SET, f"shop-{engine}-main-server").inputs["spec"]["template"][
        "spec"
    ]["containers"]
    (mount,) = [mount for mount in container["volumeMounts"] if mount.get("subPath") == "init"]
    software = ENGINES[engine].build_runtime
    assert software
    assert mount == {
        "name": "scripts",
        "mountPath": software(ENGINES[engine].variants[0], "1").init_file_path,
        "subPath": "init",
        "readOnly": True,
    }
    assert mount["mountPath"].startswith(ENTRYPOINT)
    paths = [mount["mountPath"] for mount in container["volumeMounts"]]
    assert len(set(paths)) == len(paths)


@pytest.mark.parametrize("engine", INIT)
def test_without_init_nothing_is_where_the_image_looks(engine: str) -> None:
    recorder = record_stack(stack_with_group(engine, managed_server(engine)))
    assert "init" not in get_resource(recorder, CONFIG_MAP, f"shop-{engine}-main-scripts").inputs["data"]
    (container,) = get_resource(recorder, STATEFUL_SET, f"shop-{engine}-main-server").inputs["spec"]["template"][
        "spec"
    ]["containers"]
    assert not any(mount["mountPath"].startswith(ENTRYPOINT) for mount in container["volumeMounts"])


@pytest.mark.parametrize("engine", [name for name in ENGINES_WITH_SERVER if name not in INIT])
def test_init_is_refused_where_there_is_no_way(engine: str) -> None:
    variant = ENGINES[engine].variants[0].name
    line = f"applications.shop.databases.{engine}.main.server.init: has no effect: the image of {variant} has no way to run anything once"
    assert config_issues(stack_with_group(engine, managed_server(engine, init="x"))) == [line]
