"""A stack file is taken as it is meant, or refused with every mistake at once; whatever is in it, no secret is in a message."""

import copy
import itertools
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from components.engines import ENGINES
from offline.recorder import run_program
from stacks.config import Stack, load_stack, parse_stack
from stacks.errors import InvalidStackConfigError
from tests.support import (
    CANARY,
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
    to_json_text,
)

FIRST = re.compile(r"the stack's configuration has \d+ mistakes?; nothing was changed:")
LINE = re.compile(r"  (\[-?\d+\]|[A-Za-z0-9'\"])\S*.*: \S.*")

VALID: dict[str, Any] = {
    "environment": "production",
    "databaseNodes": {
        "nodeSelector": {"node-role": "database"},
        "tolerations": [{"key": "node-role", "value": "database", "effect": "NoSchedule"}],
    },
    "externalServers": {
        "mysql-hq": external_server("mysql", host="10.5.120.101", port=3306, tls="require"),
        "pg-hq": external_server(
            "postgresql",
            administrator={"username": "provisioner", "password": CANARY, "host": "127.0.0.1", "port": 15432},
        ),
    },
    "applications": {
        "shop": {
            "namespace": "web",
            "createNamespace": True,
            "databases": {
                "mysql": {
                    "main": {
                        "primary": True,
                        "variant": "percona",
                        "passwordVersion": 1,
                        "server": {
                            "kind": "dedicated",
                            "version": "8.4",
                            "storage": "50Gi",
                            "storageClass": "fast",
                            "exclusiveNode": True,
                        },
                    },
                    "spare": provisioned_on("mysql-hq"),
                    "archive": {"server": EXISTING_SERVER},
                },
                "postgresql": {"main": provisioned_on("pg-hq")},
                "redis": {
                    "main": {"server": {"kind": "external", "host": ["10.5.120.104", "10.5.120.105"]}},
                    "cache": {
                        "server": {"kind": "local", "near": {"app": "web"}, "resources": {"cpu": 2, "memory": "1Gi"}}
                    },
                    "more": {
                        "server": {
                            "kind": "local",
                            "settings": {"maxmemory": "100mb", "appendonly": False, "databases": 3},
                        }
                    },
                },
                "rabbitmq": {
                    "main": {
                        "server": {
                            "kind": "external",
                            "host": "rabbit.example.org",
                            "vhost": "/",
                            "username": "u",
                            "password": CANARY,
                        }
                    }
                },
            },
        }
    },
}
SECRETS = [
    ("servers", "mysql-hq", "administrator", "password"),
    ("servers", "pg-hq", "administrator", "password"),
    ("applications", "shop", "databases", "mysql", "archive", "server", "password"),
    ("applications", "shop", "databases", "rabbitmq", "main", "server", "password"),
]


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The place of every value in a nested one."""
    yield path
    steps = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in steps:
        yield from places(item, (*path, key))


PLACES = [place for place in places(VALID) if place]


def changed(raw: dict[str, Any], place: tuple[Any, ...], value: Any) -> dict[str, Any]:
    """A copy with another value in one place, if the place is still there."""
    result = copy.deepcopy(raw)
    node: Any = result
    for step in place[:-1]:
        try:
            node = node[step]
        except (KeyError, IndexError, TypeError):
            return result
    if isinstance(node, dict) or (isinstance(node, list) and isinstance(place[-1], int) and place[-1] < len(node)):
        node[place[-1]] = value
    return result


def refused_without_a_secret(raw: Any) -> None:
    """Parsing ends well, or with a list of mistakes, each with a path and none with a secret."""
    try:
        told = "\n".join(parse_stack(raw).warnings)
    except InvalidStackConfigError as error:
        told, count = str(error), len(error.problems)
        first, *lines = told.split("\n")
        wrong = [line for line in lines if not LINE.fullmatch(line)]
        if wrong or not lines or len(lines) != count or not FIRST.fullmatch(first):
            pytest.fail(told)
    assert CANARY not in told


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=80)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | TEXT
    | st.sampled_from(["", "local", "external", "mysql", "8.4", "10.0.0.1", "a" * 300, 10**30])
)
KEYS = TEXT | st.sampled_from(
    [
        *(
            "environment",
            "databaseNodes",
            "servers",
            "applications",
            "databases",
            "mysql",
            "redis",
            "main",
            "server",
            "kind",
            "on",
            "host",
            "port",
        ),
        *("password", "administrator", "primary", "shop", "[key]", "local", "external", "tolerations", "selector", "-"),
        *("token", "settings", "init", "vhost", "rabbitmq", "sqlite"),
    ]
)
JUNK = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=12
)
WRONG_SECRETS = st.sampled_from(
    [
        CANARY,
        [CANARY],
        {CANARY: CANARY},
        {"value": CANARY},
        {"secure": CANARY},
        [{"a": [CANARY]}],
        f"{CANARY}\n",
        f"\0{CANARY}",
        CANARY * 200,
    ]
)


@given(raw=st.dictionaries(KEYS, JUNK, max_size=5))
@example(raw={})
@example(raw={"applications": {"shop": {"databases": {"mysql": {"main": {"server": {"kind": ["external"]}}}}}}})
@example(raw={"applications": {"a\nb": {"databases": 5}}, "externalServers": {"x": {"engine": ["mysql"]}}})
def test_junk_is_refused_by_a_list_of_mistakes(raw: dict[str, Any]) -> None:
    refused_without_a_secret(raw)


@given(
    raw=st.dictionaries(st.integers() | st.none() | st.booleans() | KEYS, JUNK, min_size=1, max_size=3),
    place=st.sampled_from(PLACES),
)
def test_maps_with_keys_that_are_no_words_are_refused_too(raw: dict[Any, Any], place: tuple[Any, ...]) -> None:
    refused_without_a_secret(changed(VALID, place, raw))


@given(data=st.data())
def test_a_good_stack_with_a_few_things_wrong_never_shows_a_secret(data: st.DataObject) -> None:
    raw = VALID
    for place in data.draw(st.lists(st.sampled_from(PLACES), min_size=1, max_size=4)):
        raw = changed(raw, place, data.draw(JUNK))
    for place in SECRETS:
        raw = changed(raw, place, data.draw(WRONG_SECRETS))
    refused_without_a_secret(raw)


@given(data=st.data())
def test_a_good_stack_with_keys_lost_or_misspelt_never_shows_a_secret(data: st.DataObject) -> None:
    raw = copy.deepcopy(VALID)
    for place in data.draw(st.lists(st.sampled_from(PLACES), min_size=1, max_size=4)):
        node: Any = raw
        for step in place[:-1]:
            node = node.get(step, {}) if isinstance(node, dict) else {}
        if isinstance(node, dict) and place[-1] in node:
            value = node.pop(place[-1])
            if data.draw(st.booleans()):
                node[data.draw(st.sampled_from([f"{place[-1]}s", f" {place[-1]}", str(place[-1]).upper(), "zzz"]))] = (
                    value
                )
    refused_without_a_secret(raw)


@pytest.mark.parametrize("place", SECRETS, ids=[place[-2] + " of " + place[1] for place in SECRETS])
@pytest.mark.parametrize(
    "value",
    [[CANARY], {CANARY: CANARY}, {"a": CANARY}, f"{CANARY}\n", 5081081, True, None, ""],
    ids=["list", "map", "value", "newline", "number", "bool", "null", "empty"],
)
def test_a_password_of_a_wrong_type_is_refused_without_being_shown(place: tuple[str, ...], value: Any) -> None:
    with pytest.raises(InvalidStackConfigError) as caught:
        parse_stack(changed(VALID, place, value))
    assert ".".join(place[:-1]) in str(caught.value)
    assert CANARY not in str(caught.value)
    assert "5081081" not in str(caught.value)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("servers", "mysql-hq", "administrator"), CANARY),
        (("servers", "mysql-hq", "administrator"), [CANARY]),
        (("servers", "mysql-hq", "administrator", "pasword"), CANARY),
        (("servers", "mysql-hq", "password"), CANARY),
        (("servers", "mysql-hq", "host"), f"root:{CANARY}@db.example.org"),
        (("servers", "mysql-hq", "administrator", "host"), f"root:{CANARY}@db.example.org"),
        (("servers", "mysql-hq", "host"), [f"root:{CANARY}@10.0.0.1"]),
        (
            ("applications", "shop", "databases", "mysql", "archive", "server", "host"),
            f"mysql://shop:{CANARY}@db.example.org:3306/shop",
        ),
        (
            ("applications", "shop", "databases", "mysql", "archive", "server", "uri"),
            f"mysql://shop:{CANARY}@db.example.org:3306/shop",
        ),
        (("applications", "shop", "databases", "mysql", "archive", "server", "on"), f"root:{CANARY}@db.example.org"),
        (("applications", "shop", "databases", "mysql", "spare", "server", "on"), f"root:{CANARY}@db.example.org"),
        (("applications", "shop", "databases", "mysql", "spare", "server"), f"mysql://root:{CANARY}@db.example.org"),
        (("applications", "shop", "databases", "mysql", "main", "password"), CANARY),
        (("applications", "shop", "databases", "mysql", "archive", "server", "token"), CANARY),
        (("applications", "shop", "databases", "mysql", "archive", "server", "token"), [CANARY]),
        (("applications", "shop", "databases", "rabbitmq", "main", "server", "token"), {CANARY: CANARY}),
        (("applications", "shop", "databases", "redis", "cache", "server", "init"), [CANARY]),
    ],
    ids=lambda value: ".".join(map(str, value)) if isinstance(value, tuple) else "",
)
def test_a_secret_in_a_wrong_place_is_not_shown(place: tuple[str, ...], value: Any) -> None:
    with pytest.raises(InvalidStackConfigError) as caught:
        parse_stack(changed(VALID, place, value))
    assert CANARY not in str(caught.value)


def test_the_stack_that_the_others_are_made_of_is_good() -> None:
    stack = parse_stack(VALID, encrypted={"servers", "applications"})
    assert stack.spec.environment == "production"
    assert [application.name for application in stack.applications] == ["shop"]


def test_models_do_not_show_the_passwords_that_they_hold() -> None:
    assert CANARY not in repr(parse_stack(VALID).spec)
    assert CANARY not in str(parse_stack(VALID).applications)


def group_of(stack: Stack, name: str = "main") -> Any:
    return next(
        group for application in stack.applications for group in application.database_groups if group.group_name == name
    )


@pytest.mark.parametrize("server", [None, "local", {"kind": "local"}], ids=["left out", "short", "long"])
def test_a_server_may_be_left_out_in_development_or_named_shortly(server: Any) -> None:
    spec = {} if server is None else {"server": server}
    assert group_of(parse_stack(groups(mysql={"main": spec}))).spec.server.kind == "local"


def test_an_empty_group_is_a_local_server_with_every_default() -> None:
    group = group_of(parse_stack(groups(mysql={"main": None})))
    assert (group.spec.server.kind, group.variant.name, group.default, group.spec.rotation) == (
        "local",
        "mysql",
        True,
        0,
    )


def test_an_application_has_a_namespace_of_its_own_name_unless_it_says_another() -> None:
    raw = stack_with_group("redis")
    assert [application.namespace for application in parse_stack(raw).applications] == ["shop"]
    raw["applications"]["shop"]["namespace"] = "web"
    assert [application.namespace for application in parse_stack(raw).applications] == ["web"]


@pytest.mark.parametrize(
    ("databases", "default"),
    [
        ({"mysql": {"main": None}}, ["main"]),
        ({"mysql": {"main": None, "spare": None}}, []),
        ({"mysql": {"main": {"primary": True}, "spare": None}}, ["main"]),
        ({"mysql": {"main": None, "spare": {"primary": True}}}, ["spare"]),
        ({"mysql": {"main": None}, "redis": {"a": None, "b": None}}, ["main"]),
    ],
    ids=["only group", "no primary", "first is primary", "second is primary", "by engine"],
)
def test_the_default_names_are_those_of_the_primary_or_only_group(
    databases: dict[str, Any], default: list[str]
) -> None:
    (application,) = parse_stack(groups(**databases)).applications
    assert [group.group_name for group in application.database_groups if group.is_primary] == default


@pytest.mark.parametrize(
    ("databases", "group"),
    [
        ({"mysql": {"main": None}}, "shop-mysql-main"),
        ({"postgresql": {"main": None}, "redis": {"main": None}}, "shop-postgresql-main"),
        ({"mysql": {"main": None}, "postgresql": {"main": None}}, None),
        ({"mysql": {"a": None, "b": None}, "postgresql": {"main": None}}, "shop-postgresql-main"),
        ({"mysql": {"a": {"primary": True}, "b": None}}, "shop-mysql-a"),
        ({"mysql": {"a": None, "b": None}}, None),
        ({"redis": {"main": None}}, None),
        ({"sqlite": {"main": None}}, "shop-sqlite-main"),
        ({"sqlite": {"main": None}, "redis": {"main": None}}, "shop-sqlite-main"),
        ({"sqlite": {"a": None, "b": None}}, None),
        ({"sqlite": {"a": {"primary": True}, "b": None}}, "shop-sqlite-a"),
        ({"sqlite": {"main": None}, "mysql": {"main": None}}, "shop-mysql-main"),
        ({"sqlite": {"main": {"primary": True}}, "postgresql": {"main": None}}, "shop-postgresql-main"),
        ({"sqlite": {"main": None}, "mysql": {"a": None, "b": None}}, None),
        ({"sqlite": {"main": None}, "mysql": {"main": None}, "postgresql": {"main": None}}, None),
    ],
    ids=[
        "one relational",
        "beside another type",
        "two relational",
        "one of them without primary",
        "primary of two",
        "no primary",
        "none relational",
        "a file alone",
        "a file beside another type",
        "two files",
        "primary of two files",
        "a file beside a server",
        "a primary file beside a server",
        "a file beside servers without primary",
        "a file beside two servers",
    ],
)
def test_database_url_is_the_one_relational_group_with_default_names(
    databases: dict[str, Any], group: str | None
) -> None:
    (application,) = parse_stack(groups(**databases)).applications
    found = application.database_url_group
    assert (found.resource_name if found else None) == group
    recorder = record_stack(groups(**databases))
    variables = recorder.registrations[
        next(urn for urn in recorder.registrations if urn.endswith("::shop-environment"))
    ].inputs["data"]
    assert ("DATABASE_URL" in variables) == (group is not None)
    if found:
        assert variables["DATABASE_URL"] == variables[f"{found.engine.name.upper()}_{found.group_name.upper()}_URL"]


def test_ports_are_the_engines_unless_they_are_said() -> None:
    raw = {"externalServers": {"hq": external_server("mysql")}, **groups(mysql={"main": provisioned_on("hq")})}
    assert parse_stack(raw).spec.external_servers["hq"].administrator_endpoint == ("mysql.example.org", 3306)
    raw["servers"]["hq"]["port"] = 3307
    assert parse_stack(raw).spec.external_servers["hq"].administrator_endpoint == ("mysql.example.org", 3307)
    raw["servers"]["hq"]["administrator"] |= {"host": "127.0.0.1", "port": 13306}
    spec = parse_stack(raw).spec.external_servers["hq"]
    assert (spec.administrator_endpoint, spec.host, spec.service_port) == (
        ("127.0.0.1", 13306),
        ("mysql.example.org",),
        3307,
    )


def test_tls_of_an_administrator_is_verified_unless_something_else_is_said() -> None:
    raw = {"externalServers": {"hq": external_server("mysql")}, **groups(mysql={"main": provisioned_on("hq")})}
    assert parse_stack(raw).spec.external_servers["hq"].tls == "verify-full"


@pytest.mark.parametrize(
    "host",
    [
        "db",
        "db.example.org",
        "10.0.0.1",
        "fd00::1",
        ["10.0.0.1"],
        ["10.0.0.1", "10.0.0.2"],
        ["fd00::1", "fd00::2"],
        ["db.example.org"],
    ],
    ids=["short name", "name", "IPv4", "IPv6", "list of one", "list of IPv4", "list of IPv6", "list of one name"],
)
def test_a_host_may_be_a_name_an_address_or_a_list_of_addresses(host: Any) -> None:
    parse_stack(stack_with_group("mysql", {**EXISTING_SERVER, "host": host}))


@pytest.mark.parametrize("cpu", [2, 0.5, "2", "0.5", "500m"])
def test_processors_may_be_a_number_or_a_quantity(cpu: Any) -> None:
    parse_stack(stack_with_group("mysql", {"kind": "local", "resources": {"cpu": cpu}}))


@pytest.mark.parametrize("size", ["512Mi", "1Gi", "1.5Gi", "10G", "1Ti"])
def test_sizes_are_quantities_with_a_unit(size: str) -> None:
    parse_stack(stack_with_group("mysql", {"kind": "local", "storage": size, "resources": {"memory": size}}))


WARNINGS = {
    "externalServers": ["servers.mysql-hq.administrator.password", "servers.pg-hq.administrator.password"],
    "applications": [
        "applications.shop.databases.mysql.archive.server.password",
        "applications.shop.databases.rabbitmq.main.server.password",
    ],
}


@pytest.mark.parametrize(
    "encrypted",
    [(), ("servers",), ("applications",), ("applications", "externalServers")],
    ids=lambda keys: " and ".join(keys) or "none",
)
def test_a_password_in_plain_text_is_a_warning_with_the_command_that_mends_it(encrypted: tuple[str, ...]) -> None:
    paths = [path for key, found in WARNINGS.items() if key not in encrypted for path in found]
    told = [warning for warning in parse_stack(VALID, encrypted=encrypted).warnings if "plain text" in warning]
    assert told == [
        f"{path}: is in plain text; encrypt it: pulumi config set --secret --path 'database-groups:{path}'"
        for path in paths
    ]


@pytest.mark.parametrize("engine", [name for name in ENGINES if "token" in ENGINES[name].existing_account.keys])
def test_a_token_in_plain_text_is_a_warning_too(engine: str) -> None:
    path = f"applications.shop.databases.{engine}.main.server.token"
    assert (
        f"{path}: is in plain text; encrypt it: pulumi config set --secret --path 'database-groups:{path}'"
        in parse_stack(stack_with_group(engine, existing_account(engine))).warnings
    )


@pytest.mark.parametrize("value", [1, 1.5, True, False, "1", "true", "", " x "], ids=repr)
def test_a_setting_stays_the_number_word_or_truth_that_it_was(value: Any) -> None:
    (settings,) = group_of(
        parse_stack(stack_with_group("mysql", {"kind": "local", "settings": {"a": value}}))
    ).spec.server.settings.values()
    assert (type(settings), settings) == (type(value), value)


def test_a_local_server_in_production_is_a_warning() -> None:
    told = [warning for warning in parse_stack(VALID, encrypted={"applications", "servers"}).warnings]
    reason = "a local server shares the node of its web server and is for development; in production use dedicated or external"
    assert told == [f"applications.shop.databases.redis.{group}.server: {reason}" for group in ("cache", "more")]


def test_a_development_stack_gives_no_warning() -> None:
    assert parse_stack(stack_with_group("mysql")).warnings == ()


def test_the_configuration_is_read_as_pulumi_hands_it_over() -> None:
    """Maps as JSON, words as they are, what is encrypted by key; what other projects configure is none of ours."""
    found: list[Stack] = []
    config = {
        f"database-groups:{key}": value if isinstance(value, str) else json.dumps(value) for key, value in VALID.items()
    }
    run_program(
        lambda: found.append(load_stack()),
        config={**config, "kubernetes:context": "c", "other:applications": "5"},
        encrypted=("database-groups:servers",),
    )
    assert found[0].spec == parse_stack(VALID).spec
    assert {warning.split(":")[0] for warning in found[0].warnings if "plain text" in warning} == set(
        WARNINGS["applications"]
    )


def _load() -> None:
    load_stack()


def test_a_bad_configuration_ends_the_program_before_the_first_resource() -> None:
    with pytest.raises(InvalidStackConfigError, match="applications: is missing"):
        run_program(_load, config={"database-groups:environment": "production"})


def test_the_outputs_of_a_stack_are_names_only() -> None:
    outputs = parse_stack(VALID).outputs()
    assert CANARY not in to_json_text(outputs)
    assert outputs["shop"]["namespace"] == "web"
    assert outputs["shop"]["secret"] == "shop-databases"
    assert outputs["shop"]["databases"]["mysql"]["main"] == {
        "service": "mysql",
        "secret": "mysql-main",
        "kind": "dedicated",
        "engine": "mysql",
        "variant": "percona",
        "version": "8.4",
        "series": "8.4",
        "server": None,
        "protected": True,
    }
    assert outputs["shop"]["databases"]["mysql"]["spare"]["service"] == "mysql-spare"
    assert outputs["shop"]["databases"]["mysql"]["spare"]["version"] is None


NAMES = ["a", "mysql", "redis", "mysql-a", "a-mysql", "databases", "mysql-mysql", "a-mysql-mysql", "a-mysql-a"]


def _imaged(databases: dict[str, Any]) -> dict[str, Any]:
    """Groups whose servers have an image, and an account as their engine has it."""
    spec: dict[str, dict[str, Any]] = {engine: {"server": managed_server(engine)} for engine in ENGINES_WITH_SERVER}
    return {
        engine: {
            name: {"server": existing_account(engine)}
            if group == {"server": EXISTING_SERVER} and engine in NETWORK_ENGINES
            else {**spec.get(engine, {}), **(group or {})}
            for name, group in found.items()
        }
        for engine, found in databases.items()
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
            ).map(_imaged)
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
def test_no_two_things_of_a_good_stack_have_one_name(applications: dict[str, Any]) -> None:
    """Neither for Pulumi (the recorder refuses that) nor in the cluster nor on an external server."""
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


def test_an_administrator_whom_the_mysql_provider_would_misread_is_refused() -> None:
    """The provider ends the user name at a colon; PostgreSQL's takes it as it is."""
    applications = {"shop": {"databases": {"redis": {"main": None}}}}

    def parsed(engine: str) -> None:
        server = {"engine": engine, "host": "db.example.org", "administrator": {"username": "a:b", "password": "word"}}
        parse_stack({"externalServers": {"hq": server}, "applications": applications})

    parsed("postgresql")
    with pytest.raises(InvalidStackConfigError, match=r"servers\.hq: has an administrator with ':' in the user name"):
        parsed("mysql")
