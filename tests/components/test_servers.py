"""Servers in the cluster: images, Pod Security, scheduling, resources, volumes and scripts of each kind."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from components.engines import ENGINES
from components.engines.definition import ServerRuntime, Variant
from components.platform import TolerationSpec
from components.servers.local import LocalKindSpec
from components.spec import parse_quantity
from offline.recorder import Recorder
from tests.support import (
    CONFIG_MAP,
    ENGINES_WITH_SERVER,
    IMAGE,
    PERSISTENT_VOLUME_CLAIM,
    SECRET,
    SERVICE,
    STATEFUL_SET,
    config_issues,
    decode_secret,
    get_pod_template,
    get_resource,
    managed_server,
    pod_security_violations,
    record_stack,
    record_stack_once,
    release,
    spec_errors,
    stack_with_group,
    urns,
)

RELEASES = [
    pytest.param(engine.name, variant.name, release(variant, series), id=f"{variant.name} {series}")
    for engine in (ENGINES[name] for name in ENGINES_WITH_SERVER)
    for variant in engine.variants
    for series in variant.supported_series
]
SERIES = [
    pytest.param(engine.name, variant.name, series, id=f"{variant.name} {series}")
    for engine in (ENGINES[name] for name in ENGINES_WITH_SERVER)
    for variant in engine.variants
    if variant.image
    for series in variant.supported_series
]
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"

each_engine = pytest.mark.parametrize("engine", ENGINES_WITH_SERVER)
each_kind = pytest.mark.parametrize("kind", ["local", "dedicated"])


def get_runtime(engine: str) -> ServerRuntime:
    """Return the runtime of an engine's default version."""
    build_runtime, variant = ENGINES[engine].build_runtime, ENGINES[engine].variants[0]
    assert build_runtime
    return build_runtime(variant, variant.default_version)


def get_image(variant: Variant, version: str) -> str:
    return f"{variant.image}:{version}" if variant.image else IMAGE


def record_pod(engine: str, server: Mapping[str, Any], **keys: Any) -> dict[str, Any]:
    """Return the specification of a server's Pod. `keys` are keys of the stack."""
    recorder = record_stack_once({**stack_with_group(engine, dict(server)), **keys})
    pod: dict[str, Any] = get_pod_template(recorder, engine)["spec"]
    return pod


def get_server_spec(recorder: Recorder, engine: str) -> dict[str, Any]:
    spec: dict[str, Any] = get_resource(recorder, STATEFUL_SET, f"shop-{engine}-main-server").inputs["spec"]
    return spec


@each_kind
@pytest.mark.parametrize(("engine", "variant", "version"), RELEASES)
def test_server_runs_the_official_image_of_its_version(kind: str, engine: str, variant: str, version: str) -> None:
    server = managed_server(engine, kind, variant=variant, version=version)
    template = get_pod_template(record_stack_once(stack_with_group(engine, server, variant=variant)), engine)
    (container,) = template["spec"]["containers"]
    assert container["image"] == get_image(ENGINES[engine].get_variant(variant), version)
    assert template["metadata"]["labels"]["app.kubernetes.io/version"] == version


@each_engine
@each_kind
def test_server_runs_the_default_version_of_the_first_variant(engine: str, kind: str) -> None:
    variant = ENGINES[engine].variants[0]
    (container,) = record_pod(engine, managed_server(engine, kind))["containers"]
    assert container["image"] == get_image(variant, variant.find_release(variant.default_version))


@each_kind
@pytest.mark.parametrize(("engine", "variant", "series"), SERIES)
def test_series_runs_its_pinned_release(kind: str, engine: str, variant: str, series: str) -> None:
    server = managed_server(engine, kind, variant=variant, version=series)
    recorder = record_stack_once(stack_with_group(engine, server, variant=variant))
    template, pinned = get_pod_template(recorder, engine), ENGINES[engine].get_variant(variant).find_release(series)
    assert pinned.startswith(f"{series}.")
    assert template["spec"]["containers"][0]["image"] == f"{ENGINES[engine].get_variant(variant).image}:{pinned}"
    assert template["metadata"]["labels"]["app.kubernetes.io/version"] == pinned
    (group,) = (outputs for outputs in recorder.outputs.values() if outputs.get("engine") == engine)
    assert (group["version"], group["series"]) == (pinned, series)


@each_engine
@each_kind
def test_image_replaces_the_official_image(engine: str, kind: str) -> None:
    image, version = "mirror.example.org/server@sha256:" + "0" * 64, ENGINES[engine].variants[0].default_version
    (container,) = record_pod(engine, managed_server(engine, kind, image=image, version=version))["containers"]
    assert container["image"] == image


@pytest.mark.parametrize(
    ("image", "version", "expected"),
    [
        ("registry.example.org/mysql:8.4.3", None, "8.4.3"),
        ("registry.example.org:5000/mysql:v8.4.3-oraclelinux9", "8.4", "8.4.3"),
        ("registry.example.org/ours:1", "8.4.3", "8.4.3"),
        ("registry.example.org/mysql@sha256:" + "0" * 64, "8.4", "8.4"),
    ],
)
def test_version_label_has_the_release_of_the_image(image: str, version: str | None, expected: str) -> None:
    server = managed_server("mysql", "dedicated", image=image, **({"version": version} if version else {}))
    template = get_pod_template(record_stack(stack_with_group("mysql", server)), "mysql")
    assert template["metadata"]["labels"]["app.kubernetes.io/version"] == expected


@each_engine
@each_kind
def test_pod_security_restricted_accepts_every_server_without_capabilities(engine: str, kind: str) -> None:
    pod, capabilities = record_pod(engine, managed_server(engine, kind)), list(get_runtime(engine).capabilities)
    assert bool(list(pod_security_violations(pod))) == bool(capabilities)
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False
    (container,) = pod["containers"]
    assert container["securityContext"] == {
        "readOnlyRootFilesystem": True,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"], **({"add": capabilities} if capabilities else {})},
    }


@each_engine
@each_kind
def test_nothing_interrupts_a_recovery_or_a_stop(engine: str, kind: str) -> None:
    pod = record_pod(engine, managed_server(engine, kind))
    assert pod["terminationGracePeriodSeconds"] == 300
    assert {key for key in pod["containers"][0] if key.endswith("Probe")} == {"readinessProbe"}


@each_engine
@each_kind
def test_server_depends_on_its_secret_scripts_and_volume(engine: str, kind: str) -> None:
    recorder, name = record_stack_once(stack_with_group(engine, managed_server(engine, kind))), f"shop-{engine}-main"
    dependencies = urns(
        get_resource(recorder, SECRET, f"{name}-connection"),
        get_resource(recorder, CONFIG_MAP, f"{name}-scripts"),
        get_resource(recorder, PERSISTENT_VOLUME_CLAIM, f"{name}-volume"),
    )
    assert get_resource(recorder, STATEFUL_SET, f"{name}-server").depends_on >= dependencies


@each_engine
@each_kind
def test_service_has_the_ports_of_the_protocol_and_of_copies(engine: str, kind: str) -> None:
    recorder = record_stack_once(stack_with_group(engine, managed_server(engine, kind)))
    ports = {"rabbitmq": [5672, 15672]}.get(engine, [ENGINES[engine].port])
    service = get_resource(recorder, SERVICE, f"shop-{engine}").inputs["spec"]
    assert [(port["name"], port["port"]) for port in service["ports"]] == [(f"{engine}-{port}", port) for port in ports]


@each_engine
@each_kind
def test_server_is_one_pod_with_a_separate_volume_claim(engine: str, kind: str) -> None:
    spec = get_server_spec(record_stack_once(stack_with_group(engine, managed_server(engine, kind))), engine)
    runtime = get_runtime(engine)
    assert spec["replicas"] == 1
    assert "volumeClaimTemplates" not in spec
    volumes = {volume.pop("name"): volume for volume in spec["template"]["spec"]["volumes"]}
    memory = {f"memory-{number}": path for number, path in enumerate(runtime.memory_dirs)}
    scratch = {f"scratch-{number}": path for number, path in enumerate(runtime.scratch_dirs)}
    shared = {"shared-memory": "/dev/shm"} if runtime.shares_memory else {}
    limit = parse_quantity(spec["template"]["spec"]["containers"][0]["resources"]["limits"]["memory"])
    assert volumes == {
        "data": {"persistentVolumeClaim": {"claimName": f"{engine}-main"}},
        "scripts": {"configMap": {"name": f"{engine}-main"}},
        **{name: {"emptyDir": {"medium": "Memory", "sizeLimit": "16Mi"}} for name in memory},
        **{name: {"emptyDir": {"sizeLimit": "1Gi"}} for name in scratch},
        **{name: {"emptyDir": {"medium": "Memory", "sizeLimit": str(limit // 2)}} for name in shared},
    }
    mounts = {mount["name"]: mount for mount in spec["template"]["spec"]["containers"][0]["volumeMounts"]}
    paths = {"data": runtime.data_path, "scripts": "/etc/database-groups", **memory, **scratch, **shared}
    assert {name: mount["mountPath"] for name, mount in mounts.items()} == paths
    assert mounts["data"].get("subPath") == runtime.data_sub_path


@each_engine
def test_immutable_fields_do_not_depend_on_kind_version_or_variant(engine: str) -> None:
    variant = ENGINES[engine].variants[-1]
    version = release(variant, variant.supported_series[0])
    servers = [
        (managed_server(engine), None),
        (managed_server(engine, "dedicated", variant=variant.name, version=version), variant.name),
    ]
    specs = [
        get_server_spec(record_stack_once(stack_with_group(engine, server, variant=name)), engine)
        for server, name in servers
    ]
    for spec in specs:
        assert spec["serviceName"] == f"{engine}-main"
        assert spec["podManagementPolicy"] == "Parallel", "the default policy never replaces a Pod that is not ready"
        assert spec["selector"] == specs[0]["selector"]
        assert spec["selector"]["matchLabels"].items() <= spec["template"]["metadata"]["labels"].items()


@each_engine
@each_kind
def test_container_runs_the_scripts_of_the_engine(engine: str, kind: str) -> None:
    recorder = record_stack_once(stack_with_group(engine, managed_server(engine, kind)))
    (container,) = get_pod_template(recorder, engine)["spec"]["containers"]
    files = get_resource(recorder, CONFIG_MAP, f"shop-{engine}-main-scripts").inputs["data"]
    runtime = get_runtime(engine)
    scripts = {
        "start": runtime.start_script,
        "ready": runtime.readiness_script,
        "started": runtime.post_start_script,
        "change_password": runtime.change_password_script,
    }
    assert {name: files.get(name) for name in scripts} == scripts
    assert container["command"] == ["/bin/sh", "/etc/database-groups/start"]
    assert container["terminationMessagePolicy"] == "FallbackToLogsOnError"
    assert container["readinessProbe"]["exec"]["command"] == ["/bin/sh", "/etc/database-groups/ready"]
    post_start = {"postStart": {"exec": {"command": ["/bin/sh", "/etc/database-groups/started"]}}}
    assert container.get("lifecycle") == (post_start if runtime.post_start_script else None)


@each_engine
@each_kind
def test_container_reads_credentials_from_the_connection_secret_only(engine: str, kind: str) -> None:
    recorder = record_stack_once(stack_with_group(engine, managed_server(engine, kind)))
    (container,) = get_pod_template(recorder, engine)["spec"]["containers"]
    account = {
        entry["name"]: entry["valueFrom"]["secretKeyRef"]
        for entry in container["env"]
        if entry["name"].startswith("APPLICATION_")
    }
    keys = set(decode_secret(recorder, f"shop-{engine}-main-connection")) - {"type", "provider", "host", "port", "uri"}
    assert account == {f"APPLICATION_{key.upper()}": {"name": f"{engine}-main", "key": key} for key in keys}


@pytest.mark.parametrize(
    ("pod_selector", "labels"),
    [({}, {"app.kubernetes.io/name": "shop"}), ({"app": "web"}, {"app": "web"})],
    ids=["default", "podSelector"],
)
def test_local_server_prefers_the_node_of_the_application(pod_selector: dict[str, str], labels: dict[str, str]) -> None:
    raw = stack_with_group("mysql", {"kind": "local"})
    raw["applications"]["shop"]["podSelector"] = pod_selector
    term = {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": labels}}
    assert get_pod_template(record_stack(raw))["spec"]["affinity"] == {
        "podAffinity": {PREFERRED: [{"weight": 100, "podAffinityTerm": term}]}
    }


@pytest.mark.parametrize("exclusive", [False, True], ids=["preferred", "exclusiveNode"])
def test_dedicated_server_avoids_the_nodes_of_other_database_servers(exclusive: bool) -> None:
    affinity = record_pod("mysql", {"kind": "dedicated", "exclusiveNode": exclusive})["affinity"]
    rule = REQUIRED if exclusive else PREFERRED
    (entry,) = affinity["podAntiAffinity"].pop(rule)
    assert affinity == {"podAntiAffinity": {}}
    term = entry if exclusive else entry["podAffinityTerm"]
    assert term["namespaceSelector"] == {}, "all namespaces"
    assert term["topologyKey"] == "kubernetes.io/hostname"
    labels = get_pod_template(record_stack(stack_with_group("redis")), "redis")["metadata"]["labels"]
    assert term["labelSelector"]["matchLabels"].items() <= labels.items()


@each_engine
@pytest.mark.parametrize(
    ("server", "requests", "limits"),
    [
        ({"kind": "local"}, {"cpu": "50m"}, {}),
        (
            {"kind": "local", "resources": {"cpu": "1", "memory": "3Gi"}},
            {"cpu": "1", "memory": "3Gi"},
            {"memory": "3Gi"},
        ),
        ({"kind": "dedicated"}, {"cpu": "1", "memory": "2Gi"}, {"cpu": "1", "memory": "2Gi"}),
        ({"kind": "dedicated", "resources": {"cpu": 2}}, {"cpu": "2", "memory": "2Gi"}, {"cpu": "2", "memory": "2Gi"}),
    ],
    ids=["local", "local with resources", "dedicated", "dedicated with resources"],
)
def test_resources_of_a_server(
    engine: str, server: dict[str, Any], requests: dict[str, str], limits: dict[str, str]
) -> None:
    """A local server limits memory only. Its default memory is the minimum of the engine."""
    default = {"memory": get_runtime(engine).min_memory}
    (container,) = record_pod(engine, managed_server(engine, **server))["containers"]
    assert container["resources"] == {"requests": {**default, **requests}, "limits": {**default, **limits}}


def test_database_nodes_apply_to_dedicated_servers_only() -> None:
    toleration = {"key": "node-role", "value": "database", "effect": "NoExecute", "tolerationSeconds": 60}
    nodes = {"nodeSelector": {"node-role": "database"}, "tolerations": [toleration]}
    dedicated = record_pod("mysql", {"kind": "dedicated"}, databaseNodes=nodes)
    assert dedicated["nodeSelector"] == {"node-role": "database"}
    assert dedicated["tolerations"] == [{**toleration, "operator": "Equal"}]
    for pod in (
        record_pod("mysql", {"kind": "local"}, databaseNodes=nodes),
        record_pod("mysql", {"kind": "dedicated"}),
    ):
        assert not {"nodeSelector", "tolerations"} & set(pod)


@pytest.mark.parametrize(
    ("toleration", "errors"),
    [
        ({"key": "a", "value": "b", "effect": "NoSchedule"}, []),
        ({"operator": "Exists"}, []),
        ({"key": "a", "effect": "NoExecute", "tolerationSeconds": 0}, []),
        ({}, ["toleration"]),
        ({"key": "a", "operator": "Exists", "value": "b"}, ["toleration"]),
        ({"key": "a", "effect": "NoSchedule", "tolerationSeconds": 5}, ["toleration"]),
        ({"key": "a", "tolerationSeconds": 5}, ["toleration"]),
    ],
    ids=["value", "every taint", "seconds", "no key", "Exists with a value", "seconds with NoSchedule", "no effect"],
)
def test_toleration_follows_the_rules_of_kubernetes(toleration: dict[str, Any], errors: list[str]) -> None:
    assert [code for _, code in spec_errors(TolerationSpec, toleration)] == errors


@pytest.mark.parametrize(
    ("server", "size", "storage_class"),
    [
        ({"kind": "local"}, "1Gi", None),
        ({"kind": "dedicated"}, "10Gi", None),
        ({"kind": "local", "storage": "2Gi"}, "2Gi", None),
        ({"kind": "dedicated", "storage": "50Gi", "storageClass": "fast"}, "50Gi", "fast"),
    ],
    ids=["local", "dedicated", "storage", "storageClass"],
)
def test_size_and_class_of_a_volume(server: dict[str, str], size: str, storage_class: str | None) -> None:
    recorder = record_stack(stack_with_group("mysql", server))
    assert get_resource(recorder, PERSISTENT_VOLUME_CLAIM, "shop-mysql-main-volume").inputs["spec"] == {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": size}},
        **({"storageClassName": storage_class} if storage_class else {}),
    }


def test_changed_script_restarts_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """The change of a ConfigMap alone would not restart the Pod."""
    redis = ENGINES["redis"]
    before = record_stack(stack_with_group("redis"))

    def build_runtime(variant: Variant, version: str) -> ServerRuntime:
        assert redis.build_runtime
        runtime = redis.build_runtime(variant, version)
        return replace(runtime, readiness_script=f"{runtime.readiness_script}true\n")

    monkeypatch.setattr("components.application.ENGINES", {"redis": replace(redis, build_runtime=build_runtime)})
    after = record_stack(stack_with_group("redis"))
    old, new = (get_pod_template(recorder, "redis") for recorder in (before, after))
    assert old["spec"] == new["spec"]
    changed = {
        key for key, value in old["metadata"]["annotations"].items() if value != new["metadata"]["annotations"][key]
    }
    assert changed == {"database-groups/scripts"}


MYSQL_SERIES = "8.0, 8.4 or 9.7"


@pytest.mark.parametrize(
    ("engine", "server", "expected"),
    [
        ("mysql", {"version": "5.7"}, f".version: unsupported mysql version '5.7'; use a release of {MYSQL_SERIES}"),
        (
            "mysql",
            {"version": "8.4.x"},
            f".version: unsupported mysql version '8.4.x'; use a release of {MYSQL_SERIES}",
        ),
        (
            "elasticsearch",
            {"version": "9.2"},
            ".version: '9.2' is neither a release nor a release series; use the series \"9\", or a release with 3"
            " numbers",
        ),
        (
            "postgresql",
            {"version": "17.11.1"},
            ".version: '17.11.1' is neither a release nor a release series; use the series \"17\", or a release"
            " with 2 numbers",
        ),
        ("redis", {"initScript": "x"}, ".initScript: not supported for redis; remove it"),
        ("sqlite", {"version": "3"}, ".version: not supported for sqlite, which has no server; remove it"),
        ("sqlite", {"resources": {"cpu": 1}}, ".resources: not supported for sqlite, which has no server; remove it"),
        ("glusterfs", {}, ".image: required for glusterfs, which has no official image; set your own image"),
    ],
    ids=[
        "series",
        "not a release",
        "tag of several releases",
        "more than a release",
        "initScript",
        "version of a file",
        "resources of a file",
        "no official image",
    ],
)
def test_errors_of_a_server_in_the_cluster(engine: str, server: dict[str, Any], expected: str) -> None:
    assert config_issues(stack_with_group(engine, {"kind": "local", **server})) == [
        f"applications.shop.databases.{engine}.main.server{expected}"
    ]


def test_engine_without_a_server_supports_only_the_kind_local_in_development() -> None:
    path = "applications.shop.databases.sqlite.main.server"
    message = "not supported for sqlite, which has no server; use `kind: local`"
    for server in ({"kind": "dedicated"}, {"kind": "external", "host": "db.example.org"}):
        assert config_issues(stack_with_group("sqlite", server)) == [f"{path}.kind: {message}"]
    assert config_issues({"environment": "production", **stack_with_group("sqlite")}) == [
        f"{path}: sqlite is for development only; use an engine with a server in production"
    ]


@pytest.mark.parametrize(
    ("key", "value", "code"),
    [
        ("storage", "10", "quantity"),
        ("storage", 10, "quantity"),
        ("storage", "0Gi", "quantity"),
        ("resources", {"cpu": "1k"}, "cpu"),
        ("resources", {"memory": "1gi"}, "quantity"),
        ("settings", {"a b": 1}, "setting_name"),
        ("settings", {"a": {"b": 1}}, "setting_map"),
        ("settings", {"a": [1]}, "setting_list"),
        ("settings", {"a": "b\nc"}, "control_character"),
        ("initScript", "", "string_too_short"),
        ("unknown", 1, "extra_forbidden"),
    ],
)
def test_codes_of_invalid_values(key: str, value: Any, code: str) -> None:
    ((location, found),) = spec_errors(LocalKindSpec, {"kind": "local", key: value})
    assert (location.split(".")[0], found) == (key, code)


@pytest.mark.parametrize(
    ("text", "size"), [("1k", 1000), ("1Ki", 1024), ("0.5M", 500_000), ("1.5Gi", 1_610_612_736), ("1P", 10**15)]
)
def test_quantities_are_bytes(text: str, size: int) -> None:
    assert parse_quantity(text) == size


@pytest.mark.parametrize(
    ("keys", "key", "size"),
    [
        ({"initScript": "é" * 500_000}, "initScript", 1_000_009),
        ({"settings": {f"a{number}": "x" * 4000 for number in range(250)}}, "settings", 1_002_399),
    ],
    ids=["initScript", "settings"],
)
def test_files_of_a_server_fit_into_a_config_map(keys: dict[str, Any], key: str, size: int) -> None:
    message = f"`settings` and `initScript` have {size} bytes together (limit 1000000); shorten it"
    issues = config_issues(stack_with_group("mysql", {"kind": "local", **keys}))
    assert issues == [f"applications.shop.databases.mysql.main.server.{key}: {message}"]
