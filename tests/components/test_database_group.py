"""Applications and their groups: resources, options, names, labels, Secrets, variables and outputs, for each kind."""

import base64
import copy
import json
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pulumi
import pytest

from components.database_group import DatabaseGroup
from components.engines import ENGINES
from components.engines.definition import ServerRuntime, Variant
from components.servers import SERVER_KINDS
from components.servers.kind import ServerAccess, ServerArgs
from offline.recorder import PLACEHOLDER, Recorder, Registration, run_program
from stacks.config import parse_stack
from tests.engine_contract import CONTRACTS, variable_parts
from tests.support import (
    APPLICATION,
    CANARY,
    CONFIG_MAP,
    DELETED_NAMESPACES,
    ENDPOINT_SLICE,
    ENGINES_WITH_SERVER,
    EXISTING_SERVER,
    GROUP,
    NAMESPACE,
    NETWORK_ENGINES,
    NETWORK_POLICY,
    PASSWORD,
    PERSISTENT_VOLUME_CLAIM,
    PROVIDERS,
    SECRET,
    SERVICE,
    STACK,
    STACK_CASES,
    STATEFUL_SET,
    ancestors,
    decode_secret,
    encoded_forms,
    existing_account,
    external_server,
    get_pod_template,
    get_resource,
    groups,
    inputs_by_urn,
    managed_server,
    provisioned_on,
    record_applications,
    record_stack,
    record_stack_once,
    stack_with_group,
    stack_with_provisioned_group,
    to_json_text,
)

ENGINES_THAT_RESTART = ("elasticsearch", "influxdb", "mongodb")
"""Engines whose servers restart with a new password."""
ADDRESSES = {"kind": "external", "host": ["10.0.0.1", "10.0.0.2"]}
ACCOUNT_TYPES = ("mysql:", "postgresql:")
"""Prefixes of the types of provisioned databases, users and grants."""
DATA_TYPES = (
    NAMESPACE,
    PERSISTENT_VOLUME_CLAIM,
    "mysql:index/user:User",
    "mysql:index/database:Database",
    "postgresql:index/role:Role",
    "postgresql:index/database:Database",
)
"""Types of resources that hold data."""
FULL_STACK: dict[str, Any] = {
    "externalServers": {"my": external_server("mysql"), "pg": external_server("postgresql")},
    **groups(
        mysql={
            "a": {"primary": True},
            "b": {"server": {"kind": "dedicated"}},
            "c": provisioned_on("my"),
            "d": {"server": EXISTING_SERVER},
        },
        postgresql={"main": provisioned_on("pg")},
        redis={"main": {"server": {**ADDRESSES, "password": CANARY}}},
    ),
}

each_stack = pytest.mark.parametrize("raw", STACK_CASES)


def get_engine(raw: dict[str, Any]) -> str:
    """Return the only engine of a stack."""
    (engine,) = raw["applications"]["shop"]["databases"]
    return str(engine)


def get_group(recorder: Recorder) -> Registration:
    (group,) = recorder.resources_of_type(GROUP)
    return group


def list_kubernetes_objects(recorder: Recorder) -> list[Registration]:
    return [found for found in recorder.registrations.values() if found.type.startswith("kubernetes:")]


# Resources


@each_stack
def test_component_is_the_parent_of_its_resources(raw: dict[str, Any]) -> None:
    recorder = record_stack_once(raw)
    (application,) = recorder.resources_of_type(APPLICATION)
    group = get_group(recorder)
    assert group.parent == application.urn
    for registration in recorder.registrations.values():
        if registration.type in (NAMESPACE, NETWORK_POLICY) or registration.name == "shop-environment":
            assert registration.parent == application.urn
        elif registration.custom and not registration.type.startswith(PROVIDERS):
            assert registration.parent == group.urn, registration.urn


@each_stack
def test_group_registers_few_resources(raw: dict[str, Any]) -> None:
    """Each resource costs time in every preview. A provisioned group may have two more."""
    recorder = record_stack_once(raw)
    group = get_group(recorder)
    members = [found.urn for found in recorder.registrations.values() if group in ancestors(recorder, found)]
    assert 1 < len(members) <= (10 if "externalServers" in raw else 8), members


@each_stack
def test_pulumi_names_begin_with_the_application(raw: dict[str, Any]) -> None:
    for registration in record_stack_once(raw).registrations.values():
        assert registration.type.startswith(PROVIDERS) or re.match(r"shop(-|$)", registration.name)


@each_stack
def test_names_of_objects_depend_on_the_group_and_the_service(raw: dict[str, Any]) -> None:
    recorder, engine = record_stack_once(raw), get_engine(raw)
    for token in (SECRET, CONFIG_MAP, PERSISTENT_VOLUME_CLAIM, STATEFUL_SET, ENDPOINT_SLICE):
        for registration in recorder.resources_of_type(token):
            expected = "shop-databases" if registration.name == "shop-environment" else f"{engine}-main"
            assert registration.inputs["metadata"]["name"] == expected
    services = [service.inputs["metadata"]["name"] for service in recorder.resources_of_type(SERVICE)]
    assert services == ([engine] if engine in NETWORK_ENGINES else [])


@each_stack
def test_every_object_has_labels_and_the_stack_annotation(raw: dict[str, Any]) -> None:
    recorder, engine = record_stack_once(raw), get_engine(raw)
    group = get_group(recorder)
    for registration in list_kubernetes_objects(recorder):
        metadata = registration.inputs["metadata"]
        assert metadata["annotations"]["database-groups/stack"] == STACK, registration.urn
        labels = {"app.kubernetes.io/managed-by": "database-groups", "app.kubernetes.io/part-of": "shop"}
        if registration.parent == group.urn:
            labels |= {"app.kubernetes.io/name": engine, "app.kubernetes.io/instance": f"{engine}-main"}
        assert labels.items() <= metadata["labels"].items(), registration.urn


@each_stack
def test_objects_depend_on_the_created_namespace(raw: dict[str, Any]) -> None:
    recorder = record_stack_once(raw)
    (namespace,) = recorder.resources_of_type(NAMESPACE)
    for registration in list_kubernetes_objects(recorder):
        if registration != namespace:
            assert registration.inputs["metadata"]["namespace"] == "shop"
            assert namespace.urn in registration.depends_on, registration.urn


def test_program_does_not_create_an_existing_namespace() -> None:
    raw = stack_with_group("mysql")
    raw["applications"]["shop"] |= {"namespace": "web", "createNamespace": False}
    recorder = record_stack(raw)
    assert recorder.resources_of_type(NAMESPACE) == []
    assert {found.inputs["metadata"]["namespace"] for found in list_kubernetes_objects(recorder)} == {"web"}


@pytest.mark.parametrize("name", list(SERVER_KINDS))
def test_registration_resolves_the_access_of_a_group_at_most_twice(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The application resolves it, and the component resolves it with the namespace as an output."""
    calls: Counter[str] = Counter()

    def count_calls(resolve: Callable[[ServerArgs, Any], ServerAccess]) -> Callable[[ServerArgs, Any], ServerAccess]:
        def resolve_access(args: ServerArgs, spec: Any) -> ServerAccess:
            calls[args.object_name] += 1
            return resolve(args, spec)

        return resolve_access

    server = {"local": "local", "dedicated": {"kind": "dedicated"}, "external": EXISTING_SERVER}[name]
    stack = parse_stack(groups(mysql={"a": {"server": server, "primary": True}, "b": {"server": server}}))
    kinds = {
        kind: replace(functions, resolve_access=count_calls(functions.resolve_access))
        for kind, functions in SERVER_KINDS.items()
    }
    monkeypatch.setattr("components.servers.SERVER_KINDS", kinds)
    record_applications(stack.applications)
    assert set(calls) == {"mysql-a", "mysql-b"}
    assert max(calls.values()) <= 2


# Protection


def list_options(recorder: Recorder) -> dict[str, set[tuple[bool, bool]]]:
    """Return the options `protect` and `retain_on_delete`: of the namespace, the data, the grants and the rest."""
    options: dict[str, set[tuple[bool, bool]]] = {}
    for registration in recorder.registrations.values():
        sort = "data" if registration.type in DATA_TYPES else "other"
        sort = "namespace" if registration.type == NAMESPACE else sort
        sort = "grant" if sort == "other" and registration.type.startswith(ACCOUNT_TYPES) else sort
        options.setdefault(sort, set()).add((registration.protect, registration.retain_on_delete))
    return options


@each_stack
@pytest.mark.parametrize(
    ("environment", "key", "protect"),
    [
        ("development", None, None),
        ("production", None, None),
        *(("development", key, True) for key in ("application", "group")),
        *(("production", key, False) for key in ("application", "group")),
        *(
            (environment, key, "retain")
            for environment in ("development", "production")
            for key in ("application", "group")
        ),
    ],
)
def test_protect_sets_the_options_of_data(raw: dict[str, Any], environment: str, key: str | None, protect: Any) -> None:
    """`protect: true` rejects the removal, `retain` allows it and retains the data, `false` deletes the data."""
    engine, raw = get_engine(raw), copy.deepcopy({**raw, "environment": environment})
    if environment == "production" and engine not in ENGINES_WITH_SERVER:
        raw["environment"] = environment = "development"  # production rejects these engines
    of_application = of_group = environment == "production"
    if key == "application":
        raw["applications"]["shop"]["protect"] = of_application = of_group = protect
    elif key == "group":
        raw["applications"]["shop"]["databases"][engine]["main"]["protect"] = of_group = protect

    options = list_options(record_stack_once(raw))
    assert options.pop("other") == {(False, False)}
    assert options.pop("namespace") == {
        (of_application is True, of_application is not False or of_group is not False)
    }, "the deletion of a namespace would delete the retained data in it"
    assert options.pop("data", None) in (None, {(of_group is True, of_group is not False)})
    assert options.pop("grant", None) in (None, {(False, of_group is not False)})
    assert options == {}


@pytest.mark.parametrize("server", ["local", "dedicated", "provisioned"])
def test_provisioned_database_and_volume_hold_data(server: str) -> None:
    raw = (
        stack_with_provisioned_group("mysql")
        if server == "provisioned"
        else stack_with_group("mysql", {"kind": server})
    )
    types = {found.type for found in record_stack(raw).registrations.values() if found.type in DATA_TYPES}
    expected = (
        {PERSISTENT_VOLUME_CLAIM} if server != "provisioned" else {name for name in DATA_TYPES if "mysql" in name}
    )
    assert types == {NAMESPACE, *expected}


@pytest.mark.parametrize(("keys", "is_deleted"), DELETED_NAMESPACES)
def test_volume_claims_are_deleted_with_a_namespace_that_the_program_deletes(
    keys: dict[str, Any], *, is_deleted: bool
) -> None:
    """Otherwise the Pod of a server that a killed update did not record keeps its claim, and a destroy waits for it."""
    shared = {"kind": "external", "host": "10.0.0.1", "volume": "data", "storageClass": "files", "storage": "1Gi"}
    raw = groups(mysql={"main": None}, glusterfs={"main": {"server": shared}})
    raw["applications"]["shop"].update(keys)
    recorder = record_stack(raw)
    namespaces = {namespace.urn for namespace in recorder.resources_of_type(NAMESPACE)}
    claims = recorder.resources_of_type(PERSISTENT_VOLUME_CLAIM)
    assert len(claims) == 2
    assert {claim.deleted_with for claim in claims} == (namespaces if is_deleted else {""})


def test_retained_group_of_an_unprotected_application_retains_the_namespace() -> None:
    raw = groups(mysql={"a": {"primary": True, "protect": "retain"}, "b": None})
    raw["applications"]["shop"]["protect"] = False
    recorder = record_stack(raw)
    retained = {found.name for found in recorder.registrations.values() if found.retain_on_delete}
    assert retained == {"shop-namespace", "shop-mysql-a-volume"}
    assert not [found for found in recorder.registrations.values() if found.protect]


# Secrets and variables


@each_stack
def test_connection_secret_is_a_service_binding(raw: dict[str, Any]) -> None:
    recorder, engine = record_stack_once(raw), get_engine(raw)
    data = decode_secret(recorder, f"shop-{engine}-main-connection")
    secret_type = get_resource(recorder, SECRET, f"shop-{engine}-main-connection").inputs["type"]
    assert (secret_type, data["type"]) == (f"servicebinding.io/{engine}", engine)
    assert all(data.values())
    addresses = [
        {"host": service.inputs["metadata"]["name"], "port": str(int(service.inputs["spec"]["ports"][0]["port"]))}
        for service in recorder.resources_of_type(SERVICE)
    ]
    assert [{key: data[key] for key in ("host", "port") if key in data}] == (addresses or [{}])
    assert bool(addresses) == (engine in NETWORK_ENGINES)


@each_stack
def test_secrets_contain_exactly_the_documented_keys_and_variables(raw: dict[str, Any]) -> None:
    recorder, engine = record_stack_once(raw), get_engine(raw)
    keys = set(decode_secret(recorder, f"shop-{engine}-main-connection"))
    definition, server = ENGINES[engine], raw["applications"]["shop"]["databases"][engine]["main"]["server"]
    expected = set(CONTRACTS[engine].secret_keys)
    if "host" in server:
        account_keys = set(definition.existing_account.keys)
        expected = (expected - account_keys) | {*definition.existing_account.defaults, *(account_keys & set(server))}
    assert keys == expected
    variables = {f"{engine.upper()}{group}_{part}" for group in ("", "_MAIN") for part in variable_parts(keys)}
    database_url = {"DATABASE_URL"} if definition.supports_database_url else set()
    assert set(decode_secret(recorder, "shop-environment")) == variables | database_url


@each_stack
def test_variable_names_do_not_depend_on_values(raw: dict[str, Any]) -> None:
    (application,) = parse_stack(raw).applications
    environment = decode_secret(record_applications([application]), "shop-environment")
    assert sorted(application.variable_names) == sorted(environment)


def test_environment_has_the_variables_of_every_group_and_short_ones_of_primary_groups() -> None:
    recorder = record_stack(FULL_STACK)
    environment = get_resource(recorder, SECRET, "shop-environment")
    assert (environment.inputs["metadata"]["name"], environment.inputs["type"]) == ("shop-databases", "Opaque")
    variables = decode_secret(recorder, "shop-environment")
    names = ("ADDRESS", "PORT", "USERNAME", "PASSWORD", "DATABASE", "URL")
    expected = {f"MYSQL_{group}_{part}" for group in "ABCD" for part in names} | {f"MYSQL_{part}" for part in names}
    expected |= {f"POSTGRESQL{group}_{part}" for group in ("", "_MAIN") for part in names}
    expected |= {f"REDIS{group}_{part}" for group in ("", "_MAIN") for part in names if part != "USERNAME"}
    assert set(variables) == expected
    assert variables["MYSQL_ADDRESS"] == variables["MYSQL_A_ADDRESS"] == "mysql"
    assert variables["MYSQL_B_ADDRESS"] == "mysql-b"
    for group in ("a", "b", "c", "d"):
        data = decode_secret(recorder, f"shop-mysql-{group}-connection")
        assert variables[f"MYSQL_{group.upper()}_URL"] == data["uri"]
        assert variables[f"MYSQL_{group.upper()}_PASSWORD"] == data["password"]


@pytest.mark.parametrize(
    ("databases", "expected"),
    [
        ({"mysql": {"main": None}}, "mysql-main"),
        ({"mysql": {"a": {"primary": True}, "b": None}}, "mysql-a"),
        ({"mysql": {"a": None, "b": None}}, None),
        ({"mysql": {"main": None}, "postgresql": {"main": None}}, None),
        ({"mysql": {"main": None}, "postgresql": {"a": None, "b": None}}, "mysql-main"),
        ({"mysql": {"main": None}, "redis": {"main": None}}, "mysql-main"),
        ({"redis": {"main": None}}, None),
        ({"sqlite": {"main": None}}, "sqlite-main"),
        ({"mysql": {"main": None}, "sqlite": {"main": None}}, "mysql-main"),
        ({"mysql": {"a": None, "b": None}, "sqlite": {"main": None}}, None),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else str(value),
)
def test_database_url_points_to_the_only_primary_relational_group(databases: Any, expected: str | None) -> None:
    (application,) = parse_stack(groups(**databases)).applications
    recorder = record_applications([application])
    environment = decode_secret(recorder, "shop-environment")
    assert sorted(application.variable_names) == sorted(environment)
    uri = expected and decode_secret(recorder, f"shop-{expected}-connection")["uri"]
    assert environment.get("DATABASE_URL") == uri


def test_connection_secret_of_a_server_without_an_account_has_no_credentials() -> None:
    recorder = record_stack(stack_with_group("redis", ADDRESSES))
    assert recorder.resources_of_type(PASSWORD) == []
    assert decode_secret(recorder, "shop-redis-main-connection") == {
        "type": "redis",
        "provider": "redis",
        "host": "redis",
        "port": "6379",
        "database": "0",
        "uri": "redis://redis:6379/0",
    }


def test_connection_secret_has_the_existing_account_unchanged() -> None:
    server = {**EXISTING_SERVER, "password": "p%@:/ü'\"\\ &", "port": 3307}
    recorder = record_stack(stack_with_group("mysql", server))
    data = decode_secret(recorder, "shop-mysql-main-connection")
    assert recorder.resources_of_type(PASSWORD) == []
    assert {key: data[key] for key in ("username", "password", "database")} == {
        key: server[key] for key in ("username", "password", "database")
    }
    assert (data["port"], data["uri"]) == ("3307", "mysql://shop:p%25%40%3A%2F%C3%BC%27%22%5C%20%26@mysql:3307/shop")


@pytest.mark.parametrize("engine", NETWORK_ENGINES)
def test_connection_secret_has_every_key_of_the_existing_account_unchanged(engine: str) -> None:
    account: dict[str, Any] = {key: f"p%@:/ü'\"\\ &?#{key}" for key in ENGINES[engine].existing_account.keys}
    if ENGINES[engine].existing_account.database_pattern:
        account["database"] = "15"
    recorder = record_stack(stack_with_group(engine, existing_account(engine, port=1234, **account)))
    data = decode_secret(recorder, f"shop-{engine}-main-connection")
    assert {**account, "port": "1234"}.items() <= data.items()
    assert re.fullmatch(r"[-A-Za-z0-9:/?@%=&._~]+", data["uri"])
    assert data["uri"].count("@") <= 1


# Credentials


@each_stack
def test_only_secret_inputs_contain_credentials(raw: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    assert_credentials_are_secret(raw, monkeypatch)


def test_only_secret_inputs_of_a_full_stack_contain_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Existing and generated passwords and those of administrators are in secret inputs, as text or in base64."""
    recorder, secret_inputs = assert_credentials_are_secret(FULL_STACK, monkeypatch)
    assert secret_inputs == 2 + 6 + 1 + 1, "providers, connection Secrets, environment and the user of MySQL"
    assert len(recorder.outputs) == 1 + 1 + 6 + 2, "the stack, the application, the groups and the records"


def assert_credentials_are_secret(raw: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> tuple[Recorder, int]:
    """Assert that only secret inputs contain a credential. Return the registrations and the number of such inputs."""
    monkeypatch.setattr("offline.recorder.PLACEHOLDER", CANARY)
    recorder, count = record_stack(raw), 0
    for registration in recorder.registrations.values():
        for key, value in registration.inputs.items():
            if any(text in to_json_text(value) for text in encoded_forms(CANARY)):
                count += 1
                assert key in registration.secret_inputs, f"{key} of {registration.urn}"
    assert not any(text in to_json_text(recorder.outputs) for text in encoded_forms(CANARY))
    return recorder, count


@each_stack
def test_data_of_a_secret_is_a_secret_input(raw: dict[str, Any]) -> None:
    for secret in record_stack_once(raw).resources_of_type(SECRET):
        assert secret.secret_inputs == {"data"}


def test_administrator_account_never_reaches_the_cluster() -> None:
    administrator = {"username": "the-boss", "password": CANARY}
    recorder = record_stack(stack_with_provisioned_group("mysql", {"administrator": administrator}))
    for registration in list_kubernetes_objects(recorder):
        data = registration.inputs.get("data", {}) if registration.type == SECRET else {}
        texts = [to_json_text(registration.inputs), *(base64.b64decode(value).decode() for value in data.values())]
        assert not any("the-boss" in text or CANARY in text for text in texts), registration.urn


@pytest.mark.parametrize(
    "raw",
    [stack_with_group("mysql", EXISTING_SERVER), stack_with_group("redis", ADDRESSES), stack_with_group("mysql")],
    ids=["existing account", "no account", "generated password"],
)
def test_connection_of_a_group_is_a_secret_output(raw: dict[str, Any]) -> None:
    """A program that exports it by mistake does not export it in plain text."""
    (args,) = (group for application in parse_stack(raw).applications for group in application.database_groups)
    results: list[bool] = []

    async def await_connection(connection: pulumi.Output[Any]) -> None:
        results.append(await connection.is_secret())

    run_program(lambda: pulumi.export("connection", await_connection(DatabaseGroup(args).connection)))
    assert results == [True]


# Outputs


@each_stack
def test_outputs_of_components_contain_only_names(raw: dict[str, Any]) -> None:
    recorder, engine = record_stack_once(raw), get_engine(raw)
    summary = recorder.stack_outputs()["applications"]["shop"]["databases"][engine]["main"]
    group = recorder.outputs[get_group(recorder).urn]
    assert group == {"application": "shop", "engine": engine, "group": "main", **summary}
    assert group.get("service") == (engine if engine in NETWORK_ENGINES else None)
    assert group.get("externalServer") == ("hq" if "externalServers" in raw else None)
    assert CANARY not in to_json_text(group)
    assert PLACEHOLDER not in group.values()
    (application,) = recorder.resources_of_type(APPLICATION)
    outputs = dict(recorder.outputs[application.urn])
    variables = get_resource(recorder, SECRET, "shop-environment").inputs["data"]
    assert sorted(outputs.pop("variables")) == sorted(variables)
    assert outputs.pop("databaseUrl", None) == (f"{engine}.main" if "DATABASE_URL" in variables else None)
    assert outputs == {
        "name": "shop",
        "namespace": "shop",
        "createNamespace": True,
        "secret": "shop-databases",
        "protect": False,
        "workloads": {},
    }


# Volumes


@pytest.mark.parametrize("engine", [name for name in NETWORK_ENGINES if ENGINES[name].supports_external_volume])
def test_external_volume_is_a_claim_of_its_storage_class_for_many_pods(engine: str) -> None:
    account = existing_account(engine, storageClass="shared", storage="5Gi")
    recorder = record_stack(stack_with_group(engine, account))
    claim = get_resource(recorder, PERSISTENT_VOLUME_CLAIM, f"shop-{engine}-main-volume")
    assert claim.inputs["spec"] == {
        "accessModes": ["ReadWriteMany"],
        "storageClassName": "shared",
        "resources": {"requests": {"storage": "5Gi"}},
    }
    without_volume = record_stack(stack_with_group(engine, existing_account(engine)))
    assert without_volume.resources_of_type(PERSISTENT_VOLUME_CLAIM) == []


@pytest.mark.parametrize("engine", [name for name in ENGINES if name not in ENGINES_WITH_SERVER])
def test_engine_without_a_server_has_a_volume_claim_and_a_connection_secret_only(engine: str) -> None:
    recorder = record_stack(stack_with_group(engine, {"kind": "local", "storage": "2Gi", "storageClass": "fast"}))
    group = get_group(recorder)
    types = sorted(found.type for found in recorder.registrations.values() if found.parent == group.urn)
    assert types == [PERSISTENT_VOLUME_CLAIM, SECRET]
    claim = get_resource(recorder, PERSISTENT_VOLUME_CLAIM, f"shop-{engine}-main-volume")
    assert claim.inputs["spec"] == {
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": "fast",
        "resources": {"requests": {"storage": "2Gi"}},
    }


def test_each_sqlite_group_has_its_own_path() -> None:
    recorder = record_stack(groups(sqlite={"a": None, "b": None}))
    paths = [decode_secret(recorder, f"shop-sqlite-{group}-connection")["path"] for group in ("a", "b")]
    assert paths == ["/var/lib/sqlite/a/shop_a.db", "/var/lib/sqlite/b/shop_b.db"]


def test_server_whose_engine_has_no_data_path_has_no_volume_claim(monkeypatch: pytest.MonkeyPatch) -> None:
    redis = ENGINES["redis"]

    def build_runtime(variant: Variant, version: str) -> ServerRuntime:
        assert redis.build_runtime
        without_data: Any = {"data_path": None}
        return replace(redis.build_runtime(variant, version), **without_data)

    monkeypatch.setattr("components.application.ENGINES", {"redis": replace(redis, build_runtime=build_runtime)})
    recorder = record_stack(stack_with_group("redis"))
    assert recorder.resources_of_type(PERSISTENT_VOLUME_CLAIM) == []
    pod = get_pod_template(recorder, "redis")["spec"]
    assert "data" not in [volume["name"] for volume in pod["volumes"]]
    assert "data" not in [mount["name"] for mount in pod["containers"][0]["volumeMounts"]]


# Changes


@pytest.mark.parametrize("engine", [name for name in ENGINES_WITH_SERVER if ENGINES[name].credential_key])
def test_password_version_changes_only_the_password_and_annotations(engine: str) -> None:
    before, after = (
        record_stack(stack_with_group(engine, managed_server(engine), passwordVersion=version)) for version in (0, 1)
    )
    password = get_resource(before, PASSWORD, f"shop-{engine}-main-password").urn
    server = get_resource(before, STATEFUL_SET, f"shop-{engine}-main-server").urn
    old, new = inputs_by_urn(before), inputs_by_urn(after)
    assert set(old) == set(new)
    secret = get_resource(before, SECRET, f"shop-{engine}-main-connection").urn
    restarts = engine in ENGINES_THAT_RESTART
    assert {urn for urn in old if old[urn] != new[urn]} == {password, secret, *([server] if restarts else [])}
    annotations = {"database-groups/stack": STACK, "database-groups/password-version": "1"}
    assert new[secret] == {**old[secret], "metadata": {**old[secret]["metadata"], "annotations": annotations}}
    assert new[password] == {**old[password], "keepers": {"passwordVersion": "1"}}
    annotation = {"database-groups/password-version": "1"} if restarts else {}
    expected = copy.deepcopy(dict(old[server]))
    expected["spec"]["template"]["metadata"]["annotations"] |= annotation
    assert new[server] == expected


def test_change_of_the_primary_group_changes_only_services_and_names_of_services() -> None:
    def record(primary: str) -> Recorder:
        servers: dict[str, dict[str, Any]] = {
            "local": {"server": "local"},
            "dedicated": {"server": {"kind": "dedicated"}},
            "provisioned": provisioned_on("hq"),
            "names": {"server": EXISTING_SERVER},
            "addresses": {"server": {**EXISTING_SERVER, "host": ["10.0.0.1"]}},
        }
        mysql = {name: {**spec, "primary": name == primary} for name, spec in servers.items()}
        return record_stack({"externalServers": {"hq": external_server("mysql")}, **groups(mysql=mysql)})

    before, after = record("local"), record("addresses")
    old, new = inputs_by_urn(before, {SERVICE}), inputs_by_urn(after, {SERVICE})
    assert set(old) == set(new)
    assert {before.registrations[urn].name for urn in old if old[urn] != new[urn]} == {
        "shop-environment",
        "shop-mysql-local-connection",
        "shop-mysql-addresses-connection",
        "shop-mysql-addresses-endpoints",
    }
    for group, service in (("local", "mysql-local"), ("addresses", "mysql")):
        one, other = (decode_secret(recorder, f"shop-mysql-{group}-connection") for recorder in (before, after))
        assert {key for key in one if one[key] != other[key]} == {"host", "uri"}
        assert other["host"] == service
    slices = [
        json.loads(json.dumps(get_resource(recorder, ENDPOINT_SLICE, "shop-mysql-addresses-endpoints").inputs))
        for recorder in (before, after)
    ]
    services = [endpoints["metadata"]["labels"].pop("kubernetes.io/service-name") for endpoints in slices]
    assert services == ["mysql-addresses", "mysql"]
    assert slices[0] == slices[1]
    # The Pulumi name follows the Service, so Pulumi updates the Service and does not delete it.
    for recorder in (before, after):
        for registration in recorder.resources_of_type(SERVICE):
            assert registration.name == f"shop-{registration.inputs['metadata']['name']}"
    selector = get_resource(before, SERVICE, "shop-mysql").inputs["spec"]["selector"]
    assert selector["app.kubernetes.io/instance"] == "mysql-local"


# Services


def test_ports_of_one_service_have_different_names() -> None:
    """Server-side apply identifies a port by its number. A second one of the same name is rejected."""
    names = {
        get_resource(
            record_stack(stack_with_group("mysql", {**EXISTING_SERVER, "port": port})), SERVICE, "shop-mysql"
        ).inputs["spec"]["ports"][0]["name"]
        for port in (3306, 3307)
    }
    assert names == {"mysql-3306", "mysql-3307"}


def test_service_selects_the_pods_of_its_server_only() -> None:
    recorder = record_stack(groups(mysql={"a": None, "b": None}))
    labels = {group: get_pod_template(recorder, group=group)["metadata"]["labels"] for group in ("a", "b")}
    for group in labels:
        spec = get_resource(recorder, SERVICE, f"shop-mysql-{group}").inputs["spec"]
        assert spec["type"] == "ClusterIP"
        assert [name for name, found in labels.items() if spec["selector"].items() <= found.items()] == [group]
    assert recorder.resources_of_type(ENDPOINT_SLICE) == []


def test_service_of_a_host_name_is_an_external_name() -> None:
    recorder = record_stack(stack_with_group("mysql", {**EXISTING_SERVER, "port": 3307}))
    assert get_resource(recorder, SERVICE, "shop-mysql").inputs["spec"] == {
        "type": "ExternalName",
        "externalName": "db.example.org",
        "ports": [{"name": "mysql-3307", "port": 3307, "protocol": "TCP"}],
    }
    assert recorder.resources_of_type(ENDPOINT_SLICE) == []


@pytest.mark.parametrize(
    ("host", "family", "addresses"),
    [
        ("10.0.0.1", "IPv4", ["10.0.0.1"]),
        (["10.0.0.1", "10.0.0.2"], "IPv4", ["10.0.0.1", "10.0.0.2"]),
        ("fd00::1", "IPv6", ["fd00::1"]),
        (["fd00::1", "fd00:0:0::2"], "IPv6", ["fd00::1", "fd00::2"]),
    ],
    ids=["IPv4", "list of IPv4", "IPv6", "list of IPv6"],
)
def test_service_of_addresses_selects_no_pod_and_has_an_endpoint_slice(
    host: Any, family: str, addresses: list[str]
) -> None:
    recorder = record_stack(stack_with_group("mysql", {**EXISTING_SERVER, "host": host}))
    service = get_resource(recorder, SERVICE, "shop-mysql")
    endpoints = get_resource(recorder, ENDPOINT_SLICE, "shop-mysql-main-endpoints")
    ports = [{"name": "mysql-3306", "port": 3306, "protocol": "TCP"}]
    selector = {
        "app.kubernetes.io/name": "mysql",
        "app.kubernetes.io/instance": "mysql-main",
        "app.kubernetes.io/part-of": "shop",
        "app.kubernetes.io/component": "remote-server",
    }
    families = {"ipFamilies": ["IPv6"]} if family == "IPv6" else {}
    assert (service.replace_on_changes, service.delete_before_replace) == (("spec.ipFamilies",), True)
    assert service.inputs["spec"] == {"type": "ClusterIP", "ports": ports, "selector": selector, **families}
    assert service.inputs["metadata"]["annotations"] == {
        "database-groups/stack": STACK,
        "pulumi.com/skipAwait": "true",
    }
    assert (endpoints.inputs["addressType"], endpoints.inputs["ports"]) == (family, ports)
    assert endpoints.inputs["endpoints"] == [
        {"addresses": [address], "conditions": {"ready": True}} for address in addresses
    ]
    labels = endpoints.inputs["metadata"]["labels"]
    assert labels["kubernetes.io/service-name"] == service.inputs["metadata"]["name"]
    assert labels["endpointslice.kubernetes.io/managed-by"] == "database-groups"
    assert service.urn in endpoints.depends_on
