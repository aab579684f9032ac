"""A group is its password, its Secret, its server and its Service, whatever its engine and kind."""

import base64
import copy
import json
import re
from typing import Any

import pulumi
import pytest

from components.database_group import DatabaseGroup
from components.engines import ENGINES
from components.passwords import IGNORED_PROPERTIES, PASSWORD_LENGTH
from offline.recorder import PASSWORD as PASSWORD_STAND_IN
from offline.recorder import Recorder, Registration, run_program
from stacks.config import parse_stack
from tests.contract import KEYS, RELATIONAL, parts
from tests.support import (
    APPLICATION,
    CANARY,
    CONFIG_MAP,
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
    STATEFUL_SET,
    ancestors,
    existing_account,
    external_server,
    get_resource,
    groups,
    inputs_by_urn,
    managed_server,
    provisioned_on,
    record_stack,
    stack_with_group,
    to_json_text,
)

PROVISIONED = [name for name, engine in ENGINES.items() if engine.provisioner]
ADDRESSES = {"kind": "external", "host": ["10.0.0.1", "10.0.0.2"]}

WAYS: list[Any] = [
    *(pytest.param(stack_with_group(engine, managed_server(engine)), id=f"local {engine}") for engine in ENGINES),
    *(
        pytest.param(stack_with_group(engine, managed_server(engine, "dedicated")), id=f"dedicated {engine}")
        for engine in ENGINES_WITH_SERVER
    ),
    *(
        pytest.param(
            {"externalServers": {"hq": external_server(engine)}, **groups(**{engine: {"main": provisioned_on("hq")}})},
            id=f"provisioned {engine}",
        )
        for engine in PROVISIONED
    ),
    *(
        pytest.param(
            {
                "externalServers": {"hq": external_server(engine, host=["10.0.0.1"])},
                **groups(**{engine: {"main": provisioned_on("hq")}}),
            },
            id=f"provisioned {engine} by address",
        )
        for engine in PROVISIONED
    ),
    *(
        pytest.param(stack_with_group(engine, existing_account(engine)), id=f"given {engine}")
        for engine in NETWORK_ENGINES
    ),
    *(
        pytest.param(
            stack_with_group(engine, existing_account(engine, host=["10.0.0.1"])), id=f"given {engine} by address"
        )
        for engine in NETWORK_ENGINES
    ),
    *(
        pytest.param(stack_with_group(engine, existing_account(engine, whole=False)), id=f"barely given {engine}")
        for engine in NETWORK_ENGINES
    ),
    *(
        pytest.param(
            stack_with_group(engine, existing_account(engine, storageClass="shared", storage="1Gi")),
            id=f"given {engine} with a volume",
        )
        for engine in NETWORK_ENGINES
        if ENGINES[engine].supports_external_volume
    ),
]
DURABLE = (
    NAMESPACE,
    PERSISTENT_VOLUME_CLAIM,
    "mysql:index/user:User",
    "mysql:index/database:Database",
    "postgresql:index/role:Role",
    "postgresql:index/database:Database",
)
ways = pytest.mark.parametrize("raw", WAYS)
FULL: dict[str, Any] = {
    "externalServers": {"my": external_server("mysql"), "pg": external_server("postgresql")},
    "applications": {
        "shop": {
            "databases": {
                "mysql": {
                    "a": {"primary": True},
                    "b": {"server": {"kind": "dedicated"}},
                    "c": provisioned_on("my"),
                    "d": {"server": EXISTING_SERVER},
                },
                "postgresql": {"main": provisioned_on("pg")},
                "redis": {"main": {"server": {**ADDRESSES, "password": CANARY}}},
            }
        }
    },
}


def group_of(recorder: Recorder) -> Registration:
    (group,) = recorder.resources_of_type(GROUP)
    return group


def decoded(registration: Registration) -> dict[str, str]:
    return {key: base64.b64decode(value).decode() for key, value in registration.inputs["data"].items()}


@ways
def test_every_resource_is_a_child_of_its_component(raw: dict[str, Any]) -> None:
    recorder = record_stack(raw)
    (application,) = recorder.resources_of_type(APPLICATION)
    group = group_of(recorder)
    assert group.parent == application.urn
    for registration in recorder.registrations.values():
        if registration.type in (NAMESPACE, NETWORK_POLICY) or registration.name == "shop-environment":
            assert registration.parent == application.urn
        elif registration.custom and not registration.type.startswith(PROVIDERS):
            assert registration.parent == group.urn, registration.urn


@ways
def test_a_group_is_few_resources(raw: dict[str, Any]) -> None:
    """Each costs time in every preview, so that ten is the most that a group may be of, the component among them; one is left for an extension."""
    recorder = record_stack(raw)
    group = group_of(recorder)
    found = [
        registration for registration in recorder.registrations.values() if group in ancestors(recorder, registration)
    ]
    assert 1 < len(found) <= 9, [registration.urn for registration in found]


@ways
@pytest.mark.parametrize("protect", [True, False])
@pytest.mark.parametrize("where", ["group", "application"])
def test_the_word_of_a_group_or_its_application_stands_over_the_environment(
    raw: dict[str, Any], protect: bool, where: str
) -> None:
    (engine,) = raw["applications"]["shop"]["databases"]
    environment = "development" if protect or engine not in ENGINES_WITH_SERVER else "production"
    said = copy.deepcopy({**raw, "environment": environment})
    application = said["applications"]["shop"]
    (application if where == "application" else application["databases"][engine]["main"])["protect"] = protect
    recorder = record_stack(said)
    group = group_of(recorder)
    mine = [
        found
        for found in recorder.registrations.values()
        if group in ancestors(recorder, found) and found.type in DURABLE
    ]
    assert {(found.protect, found.retain_on_delete) for found in mine} <= {(protect, protect)}
    (namespace,) = recorder.resources_of_type(NAMESPACE)
    assert namespace.protect == (protect if where == "application" else environment == "production")


@ways
@pytest.mark.parametrize("environment", ["development", "production"])
def test_what_holds_data_is_protected_and_retained_in_production_alone(raw: dict[str, Any], environment: str) -> None:
    (engine,) = raw["applications"]["shop"]["databases"]
    if environment == "production" and engine not in ENGINES_WITH_SERVER:
        return  # a file is refused there
    recorder = record_stack({**raw, "environment": environment})
    production = environment == "production"
    for registration in recorder.registrations.values():
        assert registration.protect == (production and registration.type in DURABLE), registration.urn
        # What is granted on a database goes on with it.
        retained = registration.type in DURABLE or registration.type.startswith(("mysql:", "postgresql:"))
        assert registration.retain_on_delete == (production and retained), registration.urn


@ways
def test_names_in_the_cluster_are_those_of_the_group_and_its_service(raw: dict[str, Any]) -> None:
    recorder = record_stack(raw)
    (engine,) = raw["applications"]["shop"]["databases"]
    for token in (SECRET, CONFIG_MAP, PERSISTENT_VOLUME_CLAIM, STATEFUL_SET, ENDPOINT_SLICE):
        for registration in recorder.resources_of_type(token):
            expected = "shop-databases" if registration.name == "shop-environment" else f"{engine}-main"
            assert registration.inputs["metadata"]["name"] == expected
    assert [service.inputs["metadata"]["name"] for service in recorder.resources_of_type(SERVICE)] == (
        [engine] if engine in NETWORK_ENGINES else []
    )
    assert {
        registration.inputs["metadata"]["namespace"]
        for registration in recorder.registrations.values()
        if _namespaced(registration)
    } == {"shop"}


def _namespaced(registration: Registration) -> bool:
    return registration.type.startswith("kubernetes:") and registration.type != NAMESPACE


@ways
def test_pulumi_names_begin_with_the_application(raw: dict[str, Any]) -> None:
    for registration in record_stack(raw).registrations.values():
        if not registration.type.startswith(PROVIDERS):
            assert registration.name == "shop" or registration.name.startswith("shop-")


@ways
def test_objects_have_the_recommended_labels(raw: dict[str, Any]) -> None:
    recorder = record_stack(raw)
    (engine,) = raw["applications"]["shop"]["databases"]
    group = group_of(recorder)
    for registration in recorder.registrations.values():
        if registration.type.startswith("kubernetes:"):
            labels = registration.inputs["metadata"]["labels"]
            assert labels["app.kubernetes.io/part-of"] == "shop"
            assert labels["app.kubernetes.io/managed-by"] == "database-groups"
            if registration.parent == group.urn:
                assert labels["app.kubernetes.io/name"] == engine
                assert labels["app.kubernetes.io/instance"] == f"{engine}-main"


@ways
def test_objects_wait_for_a_namespace_that_the_program_makes(raw: dict[str, Any]) -> None:
    recorder = record_stack(raw)
    (namespace,) = recorder.resources_of_type(NAMESPACE)
    for registration in recorder.registrations.values():
        if _namespaced(registration):
            assert namespace.urn in registration.depends_on, registration.urn


def test_a_namespace_that_is_there_already_is_not_made() -> None:
    raw = stack_with_group("mysql")
    raw["applications"]["shop"] |= {"namespace": "web", "createNamespace": False}
    recorder = record_stack(raw)
    assert recorder.resources_of_type(NAMESPACE) == []
    assert {
        found.inputs["metadata"]["namespace"] for found in recorder.registrations.values() if _namespaced(found)
    } == {"web"}


@ways
def test_the_connection_secret_is_a_service_binding(raw: dict[str, Any]) -> None:
    recorder = record_stack(raw)
    (engine,) = raw["applications"]["shop"]["databases"]
    secret = get_resource(recorder, SECRET, f"shop-{engine}-main-connection")
    keys = decoded(secret)
    assert secret.inputs["type"] == f"servicebinding.io/{engine}"
    assert keys["type"] == engine
    assert all(keys.values())
    assert [keys[key] for key in ("host", "port") if key in keys] == [
        value
        for service in recorder.resources_of_type(SERVICE)
        for value in (
            service.inputs["metadata"]["name"],
            *(str(int(port["port"])) for port in service.inputs["spec"]["ports"]),
        )
    ]
    assert ("host" in keys) == (engine in NETWORK_ENGINES)


@ways
def test_keys_and_variables_are_the_documented_ones_and_no_other(raw: dict[str, Any]) -> None:
    recorder = record_stack(raw)
    ((engine, found),) = raw["applications"]["shop"]["databases"].items()
    keys = set(decoded(get_resource(recorder, SECRET, f"shop-{engine}-main-connection")))
    expected = set(KEYS[engine])
    spec = found["main"]["server"]
    if "host" in spec:
        said = {
            *ENGINES[engine].existing_account_defaults,
            *(key for key in ENGINES[engine].existing_account_keys if key in spec),
        }
        expected = (expected - set(ENGINES[engine].existing_account_keys)) | said
    assert keys == expected
    variables = {f"{engine.upper()}{group}_{part}" for group in ("", "_MAIN") for part in parts(keys)}
    url = {"DATABASE_URL"} if engine in RELATIONAL else set()
    assert set(decoded(get_resource(recorder, SECRET, "shop-environment"))) == variables | url


@ways
def test_a_credential_is_in_secret_inputs_alone(raw: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("offline.recorder.PASSWORD", CANARY)
    recorder = record_stack(raw)
    texts = [CANARY, base64.b64encode(CANARY.encode()).decode().rstrip("=")[:-1]]
    for registration in recorder.registrations.values():
        for key, value in registration.inputs.items():
            assert key in registration.secret_inputs or not any(text in to_json_text(value) for text in texts), (
                f"{key} of {registration.urn}"
            )
    assert not any(text in to_json_text(recorder.outputs) for text in texts)


@ways
def test_secrets_of_kubernetes_are_given_whole_and_secret(raw: dict[str, Any]) -> None:
    for secret in record_stack(raw).resources_of_type(SECRET):
        assert secret.secret_inputs == {"data"}
        assert "stringData" not in secret.inputs


def test_the_environment_has_each_groups_variables_and_the_short_ones_of_the_primary() -> None:
    recorder = record_stack(FULL)
    environment = get_resource(recorder, SECRET, "shop-environment")
    variables = decoded(environment)
    words = ("ADDRESS", "PORT", "USERNAME", "PASSWORD", "DATABASE", "URL")
    expected = {f"MYSQL_{group}_{part}" for group in "ABCD" for part in words} | {f"MYSQL_{part}" for part in words}
    expected |= {f"POSTGRESQL{group}_{part}" for group in ("", "_MAIN") for part in words}
    expected |= {f"REDIS{group}_{part}" for group in ("", "_MAIN") for part in words if part != "USERNAME"}
    assert set(variables) == expected
    assert environment.inputs["metadata"]["name"] == "shop-databases"
    assert environment.inputs["type"] == "Opaque"
    assert variables["MYSQL_ADDRESS"] == variables["MYSQL_A_ADDRESS"] == "mysql"
    assert variables["MYSQL_B_ADDRESS"] == "mysql-b"
    for group in ("a", "b", "c", "d"):
        keys = decoded(get_resource(recorder, SECRET, f"shop-mysql-{group}-connection"))
        assert variables[f"MYSQL_{group.upper()}_URL"] == keys["uri"]
        assert variables[f"MYSQL_{group.upper()}_PASSWORD"] == keys["password"]


def test_no_credential_is_anywhere_but_in_secret_inputs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a given, nor a generated one, nor an administrator's; plain or in base64."""
    monkeypatch.setattr("offline.recorder.PASSWORD", CANARY)
    recorder = record_stack({**FULL, "environment": "development"})
    texts = [CANARY, base64.b64encode(CANARY.encode()).decode().rstrip("=")[:-1]]
    held = 0
    for registration in recorder.registrations.values():
        for key, value in registration.inputs.items():
            if any(text in to_json_text(value) for text in texts):
                held += 1
                assert key in registration.secret_inputs, f"{key} of {registration.urn}"
    assert held >= 2 + 6 + 1 + 2, "providers, connection Secrets, environment, user and role"
    for urn, outputs in recorder.outputs.items():
        assert not any(text in to_json_text(outputs) for text in texts), urn
    assert len(recorder.outputs) == 1 + 1 + 6, "the stack's, the application's and the groups'"


def test_an_administrator_never_reaches_the_cluster() -> None:
    raw = {
        "externalServers": {"hq": external_server("mysql", administrator={"username": "the-boss", "password": CANARY})},
        **groups(mysql={"main": provisioned_on("hq")}),
    }
    for registration in record_stack(raw).registrations.values():
        if registration.type.startswith("kubernetes:"):
            texts = [
                to_json_text(registration.inputs),
                *(decoded(registration).values() if registration.type == SECRET else ()),
            ]
            assert not any("the-boss" in text or CANARY in text for text in texts), registration.urn


@ways
def test_the_outputs_of_components_are_names(raw: dict[str, Any]) -> None:
    recorder = record_stack(raw)
    (engine,) = raw["applications"]["shop"]["databases"]
    group = recorder.outputs[group_of(recorder).urn]
    told = parse_stack(raw).outputs()["shop"]["databases"][engine]["main"]
    assert group == {
        "application": "shop",
        "group": "main",
        **{key: value for key, value in told.items() if value is not None},
    }
    assert group.get("service") == (engine if engine in NETWORK_ENGINES else None)
    assert CANARY not in to_json_text(group)
    assert PASSWORD_STAND_IN not in group.values()
    (application,) = recorder.resources_of_type(APPLICATION)
    assert recorder.outputs[application.urn] == {
        "name": "shop",
        "namespace": "shop",
        "secret": "shop-databases",
        "protected": False,
        "workloads": {},
    }


def test_a_password_is_long_safe_and_changes_by_rotation_alone() -> None:
    (password,) = record_stack(stack_with_group("mysql", passwordVersion=3)).resources_of_type(PASSWORD)
    assert PASSWORD_LENGTH >= 32
    assert password.inputs == {"length": PASSWORD_LENGTH, "special": False, "keepers": {"passwordVersion": "3"}}
    assert set(password.ignore_changes) == set(IGNORED_PROPERTIES)
    assert "keepers" not in password.ignore_changes
    assert {"length", "special", "upper", "lower", "numeric", "overrideSpecial"} <= set(password.ignore_changes)


@pytest.mark.parametrize(
    "raw", [stack_with_group("mysql", EXISTING_SERVER), stack_with_group("redis", ADDRESSES)], ids=["given", "none"]
)
def test_no_password_is_made_for_a_server_that_has_its_own(raw: dict[str, Any]) -> None:
    assert record_stack(raw).resources_of_type(PASSWORD) == []


def test_a_given_account_is_told_as_it_was_given() -> None:
    password = "p%@:/ü'\"\\ &"
    keys = decoded(
        get_resource(
            record_stack(stack_with_group("mysql", {**EXISTING_SERVER, "password": password, "port": 3307})),
            SECRET,
            "shop-mysql-main-connection",
        )
    )
    assert keys["password"] == password
    assert (keys["username"], keys["database"], keys["port"]) == ("shop", "shop", "3307")
    assert keys["uri"] == "mysql://shop:p%25%40%3A%2F%C3%BC%27%22%5C%20%26@mysql:3307/shop"


@pytest.mark.parametrize("engine", NETWORK_ENGINES)
def test_whatever_is_given_of_an_account_is_told_as_it_was_given(engine: str) -> None:
    hostile = "p%@:/ü'\"\\ &?#"
    said: dict[str, Any] = {key: f"{hostile}{key}" for key in ENGINES[engine].existing_account_keys}
    keys = decoded(
        get_resource(
            record_stack(stack_with_group(engine, existing_account(engine, port=1234, **said))),
            SECRET,
            f"shop-{engine}-main-connection",
        )
    )
    assert said.items() <= keys.items()
    assert keys["port"] == "1234"
    assert re.fullmatch(r"[-A-Za-z0-9:/?@%=&._~]+", keys["uri"])
    assert keys["uri"].count("@") <= 1


@pytest.mark.parametrize("engine", [name for name in NETWORK_ENGINES if ENGINES[name].supports_external_volume])
def test_a_volume_on_an_external_server_is_claimed_of_its_class_for_many_pods(engine: str) -> None:
    recorder = record_stack(stack_with_group(engine, existing_account(engine, storageClass="shared", storage="5Gi")))
    claim = get_resource(recorder, PERSISTENT_VOLUME_CLAIM, f"shop-{engine}-main-volume")
    assert claim.inputs["spec"] == {
        "accessModes": ["ReadWriteMany"],
        "storageClassName": "shared",
        "resources": {"requests": {"storage": "5Gi"}},
    }
    assert (
        record_stack(stack_with_group(engine, existing_account(engine))).resources_of_type(PERSISTENT_VOLUME_CLAIM)
        == []
    )


@pytest.mark.parametrize("engine", [name for name in ENGINES if name not in ENGINES_WITH_SERVER])
def test_a_file_is_a_claim_and_what_tells_where_it_is(engine: str) -> None:
    recorder = record_stack(stack_with_group(engine, {"kind": "local", "storage": "2Gi", "storageClass": "fast"}))
    (group,) = recorder.resources_of_type(GROUP)
    assert sorted(found.type for found in recorder.registrations.values() if found.parent == group.urn) == [
        PERSISTENT_VOLUME_CLAIM,
        SECRET,
    ]
    claim = get_resource(recorder, PERSISTENT_VOLUME_CLAIM, f"shop-{engine}-main-volume")
    assert claim.inputs["spec"] == {
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": "fast",
        "resources": {"requests": {"storage": "2Gi"}},
    }
    assert recorder.resources_of_type(PASSWORD) == []


def test_groups_of_files_have_a_path_each() -> None:
    recorder = record_stack(groups(sqlite={"a": None, "b": None}))
    paths = [decoded(get_resource(recorder, SECRET, f"shop-sqlite-{group}-connection"))["path"] for group in ("a", "b")]
    assert paths == ["/var/lib/sqlite/a/shop_a.db", "/var/lib/sqlite/b/shop_b.db"]


def test_a_server_without_an_account_has_neither_user_nor_password() -> None:
    keys = decoded(
        get_resource(record_stack(stack_with_group("redis", ADDRESSES)), SECRET, "shop-redis-main-connection")
    )
    assert keys == {
        "type": "redis",
        "provider": "redis",
        "host": "redis",
        "port": "6379",
        "database": "0",
        "uri": "redis://redis:6379/0",
    }


@pytest.mark.parametrize("engine", [name for name in ENGINES_WITH_SERVER if ENGINES[name].credential_key])
def test_a_rotation_changes_the_passwords_keepers_and_the_pods_annotation_and_nothing_else(engine: str) -> None:
    before, after = (
        record_stack(stack_with_group(engine, managed_server(engine), passwordVersion=rotation)) for rotation in (0, 1)
    )
    password, stateful_set = (
        get_resource(before, token, name).urn
        for token, name in ((PASSWORD, f"shop-{engine}-main-password"), (STATEFUL_SET, f"shop-{engine}-main-server"))
    )
    old, new = inputs_by_urn(before), inputs_by_urn(after)
    assert set(old) == set(new)
    assert {urn for urn in old if old[urn] != new[urn]} == {password, stateful_set}
    assert new[password] == {**old[password], "keepers": {"passwordVersion": "1"}}
    changed = json.loads(json.dumps(old[stateful_set]))
    changed["spec"]["template"]["metadata"]["annotations"]["database-groups/rotation"] = "1"
    assert new[stateful_set] == changed


def test_another_primary_changes_services_and_what_tells_their_names_and_nothing_else() -> None:
    def stack(primary: str) -> Recorder:
        names = ("local", "dedicated", "provisioned", "names", "addresses")
        spec: dict[str, dict[str, Any]] = {
            "local": {"server": "local"},
            "dedicated": {"server": {"kind": "dedicated"}},
            "provisioned": provisioned_on("hq"),
            "names": {"server": EXISTING_SERVER},
            "addresses": {"server": {**EXISTING_SERVER, "host": ["10.0.0.1"]}},
        }
        return record_stack(
            {
                "externalServers": {"hq": external_server("mysql")},
                **groups(mysql={name: {**spec[name], "primary": name == primary} for name in names}),
            }
        )

    before, after = stack("local"), stack("addresses")
    old, new = inputs_by_urn(before, {SERVICE}), inputs_by_urn(after, {SERVICE})
    assert set(old) == set(new)
    changed = {before.registrations[urn].name for urn in old if old[urn] != new[urn]}
    assert changed == {
        "shop-environment",
        "shop-mysql-local-connection",
        "shop-mysql-addresses-connection",
        "shop-mysql-addresses-endpoints",
    }
    for group, service in (("local", "mysql-local"), ("addresses", "mysql")):
        one, other = (
            decoded(get_resource(recorder, SECRET, f"shop-mysql-{group}-connection")) for recorder in (before, after)
        )
        assert {key for key in one if one[key] != other[key]} == {"host", "uri"}
        assert other["host"] == service
    slices = [
        json.loads(json.dumps(get_resource(recorder, ENDPOINT_SLICE, "shop-mysql-addresses-endpoints").inputs))
        for recorder in (before, after)
    ]
    assert [found["metadata"]["labels"].pop("kubernetes.io/service-name") for found in slices] == [
        "mysql-addresses",
        "mysql",
    ]
    assert slices[0] == slices[1]
    # Service names stay taken by one resource each, so that none is deleted while another is created in its place.
    names = [
        {found.name: found.inputs["metadata"]["name"] for found in recorder.resources_of_type(SERVICE)}
        for recorder in (before, after)
    ]
    assert all(name == f"shop-{service}" for services in names for name, service in services.items())
    assert (
        get_resource(before, SERVICE, "shop-mysql").inputs["spec"]["selector"]["app.kubernetes.io/instance"]
        == "mysql-local"
    )


def test_a_service_of_pods_selects_the_pods_of_its_server_alone() -> None:
    recorder = record_stack(groups(mysql={"a": None, "b": None}))
    for group in ("a", "b"):
        spec = get_resource(recorder, SERVICE, f"shop-mysql-{group}").inputs["spec"]
        labels = {
            name: get_resource(recorder, STATEFUL_SET, f"shop-mysql-{name}-server").inputs["spec"]["template"][
                "metadata"
            ]["labels"]
            for name in ("a", "b")
        }
        assert spec["type"] == "ClusterIP"
        assert [name for name, found in labels.items() if spec["selector"].items() <= found.items()] == [group]
    assert recorder.resources_of_type(ENDPOINT_SLICE) == []


def test_a_host_name_is_an_external_name() -> None:
    recorder = record_stack(stack_with_group("mysql", {**EXISTING_SERVER, "port": 3307}))
    spec = get_resource(recorder, SERVICE, "shop-mysql").inputs["spec"]
    assert spec == {
        "type": "ExternalName",
        "externalName": "db.example.org",
        "ports": [{"name": "mysql", "port": 3307, "protocol": "TCP"}],
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
def test_addresses_are_a_service_without_a_selector_and_an_endpoint_slice(
    host: Any, family: str, addresses: list[str]
) -> None:
    recorder = record_stack(stack_with_group("mysql", {**EXISTING_SERVER, "host": host}))
    service = get_resource(recorder, SERVICE, "shop-mysql")
    endpoints = get_resource(recorder, ENDPOINT_SLICE, "shop-mysql-main-endpoints")
    ports = [{"name": "mysql", "port": 3306, "protocol": "TCP"}]
    assert service.inputs["spec"] == {"type": "ClusterIP", "ports": ports}
    assert endpoints.inputs["addressType"] == family
    assert [address for endpoint in endpoints.inputs["endpoints"] for address in endpoint["addresses"]] == addresses
    assert all(endpoint["conditions"] == {"ready": True} for endpoint in endpoints.inputs["endpoints"])
    assert endpoints.inputs["ports"] == ports
    assert endpoints.inputs["metadata"]["labels"]["kubernetes.io/service-name"] == service.inputs["metadata"]["name"]
    assert endpoints.inputs["metadata"]["labels"]["endpointslice.kubernetes.io/managed-by"] == "database-groups"
    assert service.urn in endpoints.depends_on


@pytest.mark.parametrize(
    "raw",
    [stack_with_group("mysql", EXISTING_SERVER), stack_with_group("redis", ADDRESSES), stack_with_group("mysql")],
    ids=["given", "none", "generated"],
)
def test_the_connection_of_a_group_is_a_secret_output(raw: dict[str, Any]) -> None:
    """Whoever takes it from the component cannot export it in plain text by mistake."""
    (args,) = (group for application in parse_stack(raw).applications for group in application.database_groups)
    secret: list[bool] = []

    async def look(connection: pulumi.Output[Any]) -> None:
        secret.append(await connection.is_secret())

    run_program(lambda: pulumi.export("seen", look(DatabaseGroup(args).connection)))
    assert secret == [True]
