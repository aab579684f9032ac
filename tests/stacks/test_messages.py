"""Every faulty stack has its exact messages; no message repeats a secret."""

from typing import Any

import pytest

from stacks.config import parse_stack
from stacks.config_source import ConfigSource
from stacks.errors import ConfigIssue, InvalidStackConfigError, Location
from tests.faulty_stacks import FAULTY_STACKS, FaultyStack, list_locations, replace_value
from tests.support import CANARY, config_issues, existing_account, external_server, groups, stack_with_group

each_faulty_stack = pytest.mark.parametrize("faulty", FAULTY_STACKS, ids=[faulty.name for faulty in FAULTY_STACKS])
FORBIDDEN = ("None", "True", "False", "[]", "{}", "<class", "Traceback", CANARY)
"""Words of Python."""


def read_error(raw: dict[str, Any], source: ConfigSource) -> str:
    with pytest.raises(InvalidStackConfigError) as caught:
        parse_stack(raw, source)
    return str(caught.value)


@each_faulty_stack
def test_faulty_stack_has_its_messages(faulty: FaultyStack) -> None:
    assert sorted(config_issues(faulty.raw)) == faulty.messages


@each_faulty_stack
def test_messages_have_a_path_and_no_words_of_python(faulty: FaultyStack) -> None:
    for message in faulty.messages:
        path, _, text = message.partition(": ")
        assert path
        assert text
        assert not any(word in text for word in FORBIDDEN)


@each_faulty_stack
def test_messages_repeat_no_encrypted_value(faulty: FaultyStack) -> None:
    """Whatever key it is under. Numbers and booleans cannot be encrypted."""
    for location, value in list_locations(faulty.raw):
        if isinstance(value, str):
            raw = replace_value(faulty.raw, location, CANARY)
            try:
                text = "\n".join(parse_stack(raw, ConfigSource(encrypted_locations=frozenset({location}))).warnings)
            except InvalidStackConfigError as error:
                text = str(error)
            assert CANARY not in text


@pytest.mark.parametrize(
    ("location", "value"),
    [
        (("externalServers", "hq", "administrator", "password"), [CANARY]),
        (("externalServers", "hq", "administrator", "password"), {CANARY: CANARY}),
        (("externalServers", "hq", "administrator", "password"), f"{CANARY}\n"),
        (("externalServers", "hq", "administrator", "password"), 5081081),
        (("externalServers", "hq", "administrator"), CANARY),
        (("externalServers", "hq", "administrator", "pasword"), CANARY),
        (("externalServers", "hq", "password"), CANARY),
        (("externalServers", "hq", "host"), f"root:{CANARY}@db.example.org"),
        (("externalServers", "hq", "host"), [f"root:{CANARY}@10.0.0.1"]),
        (("server", "host"), f"mysql://shop:{CANARY}@db.example.org:3306/shop"),
        (("server", "uri"), f"mysql://shop:{CANARY}@db.example.org:3306/shop"),
        (("server", "provisionOn"), f"root:{CANARY}@db.example.org"),
        (("server", "token"), {CANARY: CANARY}),
        (("server", "token"), CANARY),
        (("server", "initScript"), [CANARY]),
    ],
)
def test_messages_repeat_no_secret_in_a_wrong_place(location: Location, value: Any) -> None:
    if location[0] == "server":
        location = ("applications", "shop", "databases", "mysql", "main", *location)
    raw = {
        "externalServers": {"hq": external_server("mysql")},
        **stack_with_group("mysql", existing_account("mysql")),
    }
    text = "\n".join(config_issues(replace_value(raw, location, value)))
    assert text
    assert CANARY not in text
    assert "5081081" not in text


def test_error_counts_the_issues_and_names_the_file_and_the_lines() -> None:
    raw = {**groups(mysql={"main": {"primry": True}}), "environment": "prod", "zzz": {"a": 1}}
    assert read_error(raw, ConfigSource()).startswith("the stack's configuration has 3 errors; nothing was changed:\n")
    group: Location = ("applications", "shop", "databases", "mysql", "main")
    lines = {("environment",): 12, group: 5, (*group, "primry"): 6}
    assert read_error(raw, ConfigSource(name="stacks/Pulumi.shop.yaml", lines=lines)).split("\n") == [
        "stacks/Pulumi.shop.yaml has 3 errors; nothing was changed:",
        "  zzz: unknown key; known keys: applications, backup, backupStores, databaseNodes, environment,"
        " externalServers, preflight, restoreAll",
        "  line 6: applications.shop.databases.mysql.main.primry: unknown key; did you mean 'primary'?",
        "  line 12: environment: unsupported value 'prod'; did you mean 'production'?",
    ]
    assert read_error({}, ConfigSource()).startswith("the stack's configuration has 1 error; nothing was changed:\n")


def test_error_has_the_line_of_the_nearest_key_above() -> None:
    source = ConfigSource(lines={("applications",): 2, ("applications", "shop"): 3})
    assert "  line 3: applications.shop.databases: missing" in read_error({"applications": {"shop": {}}}, source)


def test_error_lists_an_issue_once() -> None:
    issues = [ConfigIssue(("b",), "x"), ConfigIssue(("a",), "x"), ConfigIssue(("b",), "x")]
    assert InvalidStackConfigError(issues).issues == [ConfigIssue(("a",), "x"), ConfigIssue(("b",), "x")]


@pytest.mark.parametrize("depth", [60, 5000])
def test_deep_nesting_is_an_error(depth: int) -> None:
    value: Any = 1
    for _ in range(depth):
        value = {"a": value}
    assert config_issues({**stack_with_group("mysql"), "zzz": value}) == [
        "zzz: more than 50 levels of maps and lists; remove the inner levels"
    ]
