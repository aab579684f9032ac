"""Servers of ours run under all that Pod Security `restricted` asks for, where and with what their kind says."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from components.engines import ENGINES
from components.engines.definition import ServerRuntime, Variant
from offline.recorder import Recorder
from tests.engine_contract import CONTRACTS
from tests.support import (
    CONFIG_MAP,
    ENGINES_WITH_SERVER,
    IMAGE,
    PERSISTENT_VOLUME_CLAIM,
    SECRET,
    STATEFUL_SET,
    get_resource,
    managed_server,
    pod_security_violations,
    record_stack,
    release,
    stack_with_group,
    urns,
)

RELEASES = [
    pytest.param(engine.name, variant.name, release(variant, series), id=f"{variant.name} {series}")
    for engine in (ENGINES[name] for name in ENGINES_WITH_SERVER)
    for variant in engine.variants
    for series in variant.supported_series
]
engines = pytest.mark.parametrize("engine", ENGINES_WITH_SERVER)
kinds = pytest.mark.parametrize("kind", ["local", "dedicated"])


def software_of(engine: str) -> ServerRuntime:
    """What the default version of an engine needs to run."""
    software, variant = ENGINES[engine].build_runtime, ENGINES[engine].variants[0]
    assert software
    return software(variant, variant.default_version)


def image_of(variant: Variant, version: str) -> str:
    return f"{variant.image}:{version}" if variant.image else IMAGE


def pod_of(recorder: Recorder, engine: str = "mysql") -> dict[str, Any]:
    spec: dict[str, Any] = get_resource(recorder, STATEFUL_SET, f"shop-{engine}-main-server").inputs["spec"][
        "template"
    ]["spec"]
    return spec


def pod(engine: str, server: Mapping[str, Any], **stack: Any) -> dict[str, Any]:
    """The Pod's specification of a server."""
    return pod_of(record_stack({**stack_with_group(engine, dict(server)), **stack}), engine)


@kinds
@pytest.mark.parametrize(("engine", "variant", "version"), RELEASES)
def test_an_image_is_the_variants_official_one_of_the_version(
    kind: str, engine: str, variant: str, version: str
) -> None:
    recorder = record_stack(
        stack_with_group(engine, managed_server(engine, kind, variant=variant, version=version), variant=variant)
    )
    (container,) = pod_of(recorder, engine)["containers"]
    assert container["image"] == image_of(ENGINES[engine].get_variant(variant), version)
    labels = get_resource(recorder, STATEFUL_SET, f"shop-{engine}-main-server").inputs["spec"]["template"]["metadata"][
        "labels"
    ]
    assert labels["app.kubernetes.io/version"] == version


@engines
@kinds
def test_the_default_version_and_variant_are_the_engines_first_ones(engine: str, kind: str) -> None:
    variant = ENGINES[engine].variants[0]
    assert pod(engine, managed_server(engine, kind))["containers"][0]["image"] == image_of(
        variant, variant.default_version
    )


@engines
@kinds
def test_an_image_of_the_users_takes_the_official_ones_place(engine: str, kind: str) -> None:
    assert (
        pod(engine, managed_server(engine, kind, image="mirror.example.org/server:1"))["containers"][0]["image"]
        == "mirror.example.org/server:1"
    )


@engines
@kinds
def test_a_server_keeps_pod_security_restricted_unless_it_must_run_as_root(engine: str, kind: str) -> None:
    found = pod(engine, managed_server(engine, kind))
    assert (list(pod_security_violations(found)) == []) == (not CONTRACTS[engine].runs_as_root)
    assert found["automountServiceAccountToken"] is False
    (container,) = found["containers"]
    context = container["securityContext"]
    assert context["readOnlyRootFilesystem"] is True
    assert context["allowPrivilegeEscalation"] is False
    assert context["capabilities"] == {
        "drop": ["ALL"],
        **({"add": list(software_of(engine).capabilities)} if CONTRACTS[engine].runs_as_root else {}),
    }


@engines
@kinds
def test_a_server_waits_for_its_secret_scripts_and_volume(engine: str, kind: str) -> None:
    recorder = record_stack(stack_with_group(engine, managed_server(engine, kind)))
    name = f"shop-{engine}-main"
    needed = [
        get_resource(recorder, SECRET, f"{name}-connection"),
        get_resource(recorder, CONFIG_MAP, f"{name}-scripts"),
        get_resource(recorder, PERSISTENT_VOLUME_CLAIM, f"{name}-volume"),
    ]
    assert get_resource(recorder, STATEFUL_SET, f"{name}-server").depends_on >= urns(*needed)


@engines
@kinds
def test_a_server_is_one_pod_on_a_claim_of_its_own(engine: str, kind: str) -> None:
    recorder = record_stack(stack_with_group(engine, managed_server(engine, kind)))
    spec = get_resource(recorder, STATEFUL_SET, f"shop-{engine}-main-server").inputs["spec"]
    assert spec["replicas"] == 1
    assert "volumeClaimTemplates" not in spec
    volumes = {volume["name"]: volume for volume in spec["template"]["spec"]["volumes"]}
    assert volumes["data"] == {"name": "data", "persistentVolumeClaim": {"claimName": f"{engine}-main"}}
    assert volumes["scripts"] == {"name": "scripts", "configMap": {"name": f"{engine}-main"}}
    mounts = {mount["name"]: mount for mount in spec["template"]["spec"]["containers"][0]["volumeMounts"]}
    assert set(mounts) == set(volumes)
    software = software_of(engine)
    assert mounts["data"]["mountPath"] == software.data_path
    assert {mount["mountPath"] for name, mount in mounts.items() if name.startswith("scratch")} == set(
        software.empty_dirs
    )
    assert all(volumes[name] == {"name": name, "emptyDir": {}} for name in volumes if name.startswith("scratch"))


@engines
def test_the_selector_has_no_label_that_another_version_or_variant_would_change(engine: str) -> None:
    """It cannot be changed, nor can the Service's name; both would replace the server."""
    variant = ENGINES[engine].variants[-1]
    one, other = (
        get_resource(record_stack(raw), STATEFUL_SET, f"shop-{engine}-main-server").inputs["spec"]
        for raw in (
            stack_with_group(engine, managed_server(engine)),
            stack_with_group(
                engine,
                managed_server(
                    engine, "dedicated", variant=variant.name, version=release(variant, variant.supported_series[0])
                ),
                variant=variant.name,
            ),
        )
    )
    assert one["selector"] == other["selector"]
    assert one["serviceName"] == other["serviceName"] == f"{engine}-main"
    assert one["selector"]["matchLabels"].items() <= one["template"]["metadata"]["labels"].items()


@engines
@kinds
def test_the_readiness_probe_runs_the_script_that_logs_in(engine: str, kind: str) -> None:
    recorder = record_stack(stack_with_group(engine, managed_server(engine, kind)))
    (container,) = pod_of(recorder, engine)["containers"]
    scripts = get_resource(recorder, CONFIG_MAP, f"shop-{engine}-main-scripts").inputs["data"]
    software = software_of(engine)
    assert container["command"] == ["/bin/sh", "/etc/database-groups/start"]
    assert container["readinessProbe"]["exec"]["command"] == ["/bin/sh", "/etc/database-groups/ready"]
    assert scripts["start"] == software.start_script
    assert scripts["ready"] == software.readiness_script
    assert scripts.get("started") == software.post_start_script
    hook = container.get("lifecycle", {}).get("postStart", {}).get("exec", {}).get("command")
    assert hook == (["/bin/sh", "/etc/database-groups/started"] if software.post_start_script else None)


@engines
@kinds
def test_credentials_reach_the_server_by_its_secret_alone(engine: str, kind: str) -> None:
    recorder = record_stack(stack_with_group(engine, managed_server(engine, kind)))
    (container,) = pod_of(recorder, engine)["containers"]
    account = {
        entry["name"]: entry["valueFrom"]["secretKeyRef"]
        for entry in container["env"]
        if entry["name"].startswith("APPLICATION_")
    }
    keys = get_resource(recorder, SECRET, f"shop-{engine}-main-connection").inputs["data"]
    expected = set(keys) - {"type", "provider", "host", "port", "uri"}
    assert account == {f"APPLICATION_{key.upper()}": {"name": f"{engine}-main", "key": key} for key in expected}


def test_a_local_server_is_near_the_web_server_where_possible() -> None:
    affinity = pod("mysql", {"kind": "local"})["affinity"]
    assert set(affinity) == {"podAffinity"}
    ((preferred,),) = affinity["podAffinity"].values()
    assert "preferredDuringSchedulingIgnoredDuringExecution" in affinity["podAffinity"]
    assert preferred["podAffinityTerm"] == {
        "topologyKey": "kubernetes.io/hostname",
        "labelSelector": {"matchLabels": {"app.kubernetes.io/name": "shop"}},
    }


def test_what_a_local_server_is_near_can_be_said() -> None:
    affinity = pod("mysql", {"kind": "local", "near": {"app": "web"}})["affinity"]
    term = affinity["podAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"][0]["podAffinityTerm"]
    assert term["labelSelector"] == {"matchLabels": {"app": "web"}}


@engines
def test_a_local_server_asks_for_little_and_is_limited_in_memory_alone(engine: str) -> None:
    memory = software_of(engine).min_memory
    resources = pod(engine, managed_server(engine))["containers"][0]["resources"]
    assert resources == {"requests": {"cpu": "50m", "memory": memory}, "limits": {"memory": memory}}


@engines
def test_a_dedicated_server_gets_what_it_asks_for_and_no_more(engine: str) -> None:
    resources = pod(engine, managed_server(engine, "dedicated", resources={"cpu": 2}))["containers"][0]["resources"]
    assert resources == {"requests": {"cpu": "2", "memory": "2Gi"}, "limits": {"cpu": "2", "memory": "2Gi"}}


@pytest.mark.parametrize(
    ("exclusive", "rule"),
    [
        (False, "preferredDuringSchedulingIgnoredDuringExecution"),
        (True, "requiredDuringSchedulingIgnoredDuringExecution"),
    ],
    ids=["where possible", "exclusive"],
)
def test_dedicated_servers_keep_away_from_each_other_in_all_namespaces(exclusive: bool, rule: str) -> None:
    affinity = pod("mysql", {"kind": "dedicated", "exclusiveNode": exclusive})["affinity"]
    assert list(affinity) == ["podAntiAffinity"]
    assert list(affinity["podAntiAffinity"]) == [rule]
    (entry,) = affinity["podAntiAffinity"][rule]
    term = entry if exclusive else entry["podAffinityTerm"]
    assert term["namespaceSelector"] == {}
    assert term["topologyKey"] == "kubernetes.io/hostname"
    labels = get_resource(record_stack(stack_with_group("redis")), STATEFUL_SET, "shop-redis-main-server").inputs[
        "spec"
    ]["template"]["metadata"]["labels"]
    assert term["labelSelector"]["matchLabels"].items() <= labels.items()


NODES = {
    "nodeSelector": {"node-role": "database"},
    "tolerations": [{"key": "node-role", "value": "database", "effect": "NoSchedule"}],
}


def test_dedicated_servers_alone_are_on_the_nodes_for_databases() -> None:
    dedicated = pod("mysql", {"kind": "dedicated"}, databaseNodes=NODES)
    assert dedicated["nodeSelector"] == {"node-role": "database"}
    assert dedicated["tolerations"] == [
        {"key": "node-role", "operator": "Equal", "value": "database", "effect": "NoSchedule"}
    ]
    assert not {"nodeSelector", "tolerations"} & set(pod("mysql", {"kind": "local"}, databaseNodes=NODES))
    assert not {"nodeSelector", "tolerations"} & set(pod("mysql", {"kind": "dedicated"}))


@pytest.mark.parametrize(
    ("server", "size", "storage_class"),
    [
        ({"kind": "local"}, "1Gi", None),
        ({"kind": "dedicated"}, "10Gi", None),
        ({"kind": "local", "storage": "2Gi"}, "2Gi", None),
        ({"kind": "dedicated", "storage": "50Gi", "storageClass": "fast"}, "50Gi", "fast"),
    ],
    ids=["local", "dedicated", "size", "class"],
)
def test_a_volume_is_as_large_as_was_said(server: dict[str, str], size: str, storage_class: str | None) -> None:
    spec = get_resource(
        record_stack(stack_with_group("mysql", server)), PERSISTENT_VOLUME_CLAIM, "shop-mysql-main-volume"
    ).inputs["spec"]
    assert spec["resources"] == {"requests": {"storage": size}}
    assert spec.get("storageClassName") == storage_class
    assert spec["accessModes"] == ["ReadWriteOnce"]


def test_other_scripts_make_a_new_pod(monkeypatch: pytest.MonkeyPatch) -> None:
    """A ConfigMap's change alone would reach no running server."""
    redis = ENGINES["redis"]
    before = record_stack(stack_with_group("redis"))

    def software(variant: Variant, version: str) -> ServerRuntime:
        assert redis.build_runtime
        found = redis.build_runtime(variant, version)
        return replace(found, readiness_script=f"{found.readiness_script}true\n")

    monkeypatch.setattr("components.application.ENGINES", {"redis": replace(redis, build_runtime=software)})
    after = record_stack(stack_with_group("redis"))
    templates = [
        get_resource(recorder, STATEFUL_SET, "shop-redis-main-server").inputs["spec"]["template"]
        for recorder in (before, after)
    ]
    assert templates[0]["spec"] == templates[1]["spec"]
    assert templates[0]["metadata"]["annotations"] != templates[1]["metadata"]["annotations"]


@engines
def test_a_software_that_needs_a_folder_of_its_volume_gets_that_alone(engine: str) -> None:
    (container,) = pod(engine, managed_server(engine))["containers"]
    (data,) = [mount for mount in container["volumeMounts"] if mount["name"] == "data"]
    assert data.get("subPath") == software_of(engine).data_sub_path
