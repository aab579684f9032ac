"""Variables in existing workloads: the program adds them, restarts the Pods, removes them, and changes nothing else."""

import base64
import copy
import json
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any

import pytest
from kubernetes.client.exceptions import ApiException

from tests.e2e.cluster import SIMULATED_NODE_LABELS, Cluster, wait_for
from tests.e2e.project import Project

pytestmark = pytest.mark.slow
WORKLOADS = {"Deployment": "web", "StatefulSet": "jobs", "DaemonSet": "agent"}
WEB = {"kind": "Deployment", "name": "web"}
PROGRAM_PREFIX = "database-groups/"
PROVIDER_PREFIX = "pulumi.com/"
CONTROLLER_ANNOTATIONS = {"deployment.kubernetes.io/revision", "deprecated.daemonset.template.generation"}
EXTERNAL_REDIS = {"kind": "external", "host": "10.5.120.104"}
OTHER_EXTERNAL_REDIS = {"kind": "external", "host": "10.5.120.105"}
IMAGE = "registry.example.org/web:1"
RESTRICTED = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


def build_manifest(kind: str, name: str, **pod: Any) -> dict[str, Any]:
    """Return a workload on the simulated node. It has its own entry in every list and map that the program changes."""
    containers = [
        {"name": "proxy", "image": IMAGE, "securityContext": RESTRICTED},
        {
            "name": "web",
            "image": IMAGE,
            "env": [
                {"name": "OWN", "value": "a"},
                {"name": "ZONE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
            ],
            "envFrom": [{"configMapRef": {"name": "own", "optional": True}}],
            "resources": {"requests": {"cpu": "1m", "memory": "1Mi"}},
            "securityContext": RESTRICTED,
            "volumeMounts": [{"name": "own", "mountPath": "/own"}],
        },
    ]
    template: dict[str, Any] = {
        "metadata": {"labels": {"app": name}, "annotations": {"own": "yes"}},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "nodeSelector": SIMULATED_NODE_LABELS,
            "tolerations": [{"operator": "Exists"}],
            "securityContext": {"runAsNonRoot": True, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": containers,
            "volumes": [{"name": "own", "emptyDir": {}}],
            **pod,
        },
    }
    keys: dict[str, dict[str, Any]] = {
        "StatefulSet": {"serviceName": name, "replicas": 1},
        "Deployment": {"replicas": 2},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": name, "labels": {"own": "yes"}, "annotations": {"own/note": "yes"}},
        "spec": {"selector": {"matchLabels": {"app": name}}, "template": template, **keys.get(kind, {})},
    }


def apply_manifests(cluster: Cluster, namespace: str, *manifests: dict[str, Any]) -> None:
    for manifest in manifests:
        cluster.apply({**manifest, "metadata": {**manifest["metadata"], "namespace": namespace}})


def read_workload(cluster: Cluster, namespace: str, kind: str = "Deployment", name: str = "web") -> dict[str, Any]:
    resource = cluster.dynamic.resources.get(api_version="apps/v1", kind=kind)
    workload: dict[str, Any] = resource.get(name=name, namespace=namespace).to_dict()
    return workload


def delete_workload(cluster: Cluster, namespace: str, kind: str = "Deployment", name: str = "web") -> None:
    """Delete a workload and wait until it does not exist."""
    cluster.dynamic.resources.get(api_version="apps/v1", kind=kind).delete(name=name, namespace=namespace)

    def attempt() -> bool | None:
        try:
            read_workload(cluster, namespace, kind, name)
        except ApiException:
            return True
        return None

    wait_for(30, f"the {kind} is deleted", attempt)


def select_owner_fields(workload: dict[str, Any]) -> dict[str, Any]:
    """Return the labels, annotations and specification of a workload, without annotations of controllers."""
    metadata = workload["metadata"]
    annotations = {
        key: value for key, value in metadata.get("annotations", {}).items() if key not in CONTROLLER_ANNOTATIONS
    }
    return copy.deepcopy({"labels": metadata["labels"], "annotations": annotations, "spec": workload["spec"]})


def remove_patched_fields(workload: dict[str, Any], secret: str, patched: set[str]) -> dict[str, Any]:
    """Return the owner's fields without those of the program. Assert that the containers `patched` have the latter."""
    fields = select_owner_fields(workload)
    added = {key for key in fields["annotations"] if key.startswith((PROGRAM_PREFIX, PROVIDER_PREFIX))}
    assert f"{PROGRAM_PREFIX}applied" in added
    fields["annotations"] = {key: value for key, value in fields["annotations"].items() if key not in added}
    template = fields["spec"]["template"]
    assert template["metadata"]["labels"].pop(f"{PROGRAM_PREFIX}application")
    assert template["metadata"]["annotations"].pop(f"{PROGRAM_PREFIX}connections")
    for container in template["spec"]["containers"]:
        entries = container.pop("env", [])
        references = [(entry, (entry.get("valueFrom") or {}).get("secretKeyRef", {})) for entry in entries]
        injected = [entry for entry, reference in references if reference.get("name") == secret]
        assert bool(injected) == (container["name"] in patched)
        assert all(entry["name"] == entry["valueFrom"]["secretKeyRef"]["key"] for entry in injected)
        if own := [entry for entry in entries if entry not in injected]:
            container["env"] = own
    return fields


def list_variables(workload: dict[str, Any], container: str) -> set[str]:
    (match,) = [found for found in workload["spec"]["template"]["spec"]["containers"] if found["name"] == container]
    return {entry["name"] for entry in match.get("env", [])}


def get_connections_annotation(workload: dict[str, Any]) -> str:
    """Return the annotation of the Pods that changes with a value of a variable."""
    annotations = workload["spec"]["template"]["metadata"]["annotations"]
    return str(annotations[f"{PROGRAM_PREFIX}connections"])


def list_patches(project: Project, stack: str) -> list[dict[str, Any]]:
    return [resource for resource in project.resources(stack) if resource["type"].endswith("Patch")]


def build_stack(namespace: str, workloads: Any, **databases: Any) -> dict[str, Any]:
    """Return a stack with one application in an existing namespace. By default its server needs no Pod."""
    application = {
        "namespace": namespace,
        "createNamespace": False,
        "workloads": workloads,
        "databases": databases or {"redis": {"main": {"server": EXTERNAL_REDIS}}},
    }
    return {"preflight": False, "applications": {"wl-app": application}}


@contextmanager
def create_stack(project: Project, name: str, config: dict[str, Any]) -> Iterator[str]:
    """Create a stack, and destroy it before its namespace is deleted."""
    project.new(name, config)
    try:
        yield name
    finally:
        project.clean_up()


@pytest.mark.timeout(900)
def test_program_adds_changes_and_removes_variables(project: Project, simulated_node: Cluster) -> None:
    """Each kind of workload has its own containers, variables and annotations, which the program does not change."""
    entries = [
        {**WEB, "containers": ["web"]},
        {"kind": "StatefulSet", "name": "jobs"},
        {"kind": "DaemonSet", "name": "agent", "containers": ["proxy", "web"]},
    ]
    patched = {"Deployment": {"web"}, "StatefulSet": {"proxy", "web"}, "DaemonSet": {"proxy", "web"}}
    groups: dict[str, Any] = {
        "main": {"server": "local", "primary": True},
        "spare": {"server": EXTERNAL_REDIS},
    }
    config = build_stack("wl-kinds", entries, redis=groups)

    def read_workloads() -> dict[str, dict[str, Any]]:
        return {kind: read_workload(simulated_node, "wl-kinds", kind, name) for kind, name in WORKLOADS.items()}

    def read_generations() -> dict[str, int]:
        return {kind: workload["metadata"]["generation"] for kind, workload in read_workloads().items()}

    with simulated_node.create_namespace("wl-kinds"), create_stack(project, "wl-kinds", config) as stack:
        manifests = [build_manifest(kind, name) for kind, name in WORKLOADS.items()]
        apply_manifests(simulated_node, "wl-kinds", *manifests)
        own = {kind: select_owner_fields(workload) for kind, workload in read_workloads().items()}
        project.up(stack).succeeded()
        first, generations = read_workloads(), read_generations()
        expected = set(simulated_node.read_secret("wl-kinds", "wl-app-databases"))
        assert {"REDIS_URL", "REDIS_MAIN_PASSWORD", "REDIS_SPARE_ADDRESS"} <= expected
        for kind, workload in first.items():
            assert remove_patched_fields(workload, "wl-app-databases", patched[kind]) == own[kind], kind
            assert list_variables(workload, "web") == expected | {"OWN", "ZONE"}
            assert list_variables(workload, "proxy") == (expected if "proxy" in patched[kind] else set())
            assert workload["spec"]["template"]["metadata"]["labels"][f"{PROGRAM_PREFIX}application"] == "wl-app"

        password = simulated_node.read_secret("wl-kinds", "redis-main")["password"]
        state = json.dumps(project.resources(stack))
        assert "wl-app-connections" in state
        assert password not in state
        assert base64.b64encode(password.encode()).decode() not in state

        # Neither another update nor another application restarts the Pods.
        project.assert_settled(stack)
        config["applications"]["wl-other"] = {"databases": {"redis": {"main": {"server": OTHER_EXTERNAL_REDIS}}}}
        project.write(stack, config)
        project.up(stack).succeeded()
        assert read_generations() == generations

        groups["main"]["passwordVersion"] = 1
        project.write(stack, config)
        project.up(stack).succeeded()
        for kind, workload in read_workloads().items():
            assert get_connections_annotation(workload) != get_connections_annotation(first[kind])
            assert workload["metadata"]["generation"] == generations[kind] + 1, "the Pods restart once"
            assert remove_patched_fields(workload, "wl-app-databases", patched[kind]) == own[kind]
        project.assert_settled(stack)

        del groups["spare"]
        project.write(stack, config)
        project.up(stack).succeeded()
        for workload in read_workloads().values():
            assert not any("SPARE" in variable for variable in list_variables(workload, "web"))
        project.assert_settled(stack)

        entries.clear()
        project.write(stack, config)
        project.up(stack).succeeded()
        assert {kind: select_owner_fields(workload) for kind, workload in read_workloads().items()} == own
        project.assert_settled(stack)


def test_destroy_removes_the_variables(project: Project, simulated_node: Cluster) -> None:
    config = build_stack("wl-destroy", [WEB])
    with simulated_node.create_namespace("wl-destroy"), create_stack(project, "wl-destroy", config) as stack:
        apply_manifests(simulated_node, "wl-destroy", build_manifest("Deployment", "web"))
        own = select_owner_fields(read_workload(simulated_node, "wl-destroy"))
        project.up(stack).succeeded()
        project.destroy(stack).succeeded()
        assert select_owner_fields(read_workload(simulated_node, "wl-destroy")) == own
        assert project.resources(stack) == []


def test_missing_and_deleted_workloads_are_warnings(project: Project, simulated_node: Cluster) -> None:
    """The next update patches a workload that was created, and forgets one that was deleted."""
    entries: list[dict[str, Any]] = [WEB, {"kind": "StatefulSet", "name": "jobs", "containers": ["web", "nosuch"]}]
    config = build_stack("wl-late", entries)
    path = "applications.wl-app.workloads"
    with simulated_node.create_namespace("wl-late"), create_stack(project, "wl-late", config) as stack:
        output = project.up(stack).succeeded().output
        for number, entry in enumerate(entries):
            assert f"{path}[{number}]: " in output
            assert f"{entry['kind']} '{entry['name']}'" in output
        assert "'wl-late'" in output
        assert list_patches(project, stack) == []

        manifests = [build_manifest("Deployment", "web"), build_manifest("StatefulSet", "jobs")]
        apply_manifests(simulated_node, "wl-late", *manifests)
        output = project.up(stack).succeeded().output
        assert f"{path}[0]" not in output
        assert f"{path}[1].containers: " in output
        assert "'nosuch'" in output
        assert "proxy, web" in output
        assert "REDIS_URL" in list_variables(read_workload(simulated_node, "wl-late"), "proxy")
        assert "REDIS_URL" in list_variables(read_workload(simulated_node, "wl-late", "StatefulSet", "jobs"), "web")
        project.assert_settled(stack)

        delete_workload(simulated_node, "wl-late")
        apply_manifests(simulated_node, "wl-late", manifests[0])
        project.up(stack).succeeded()
        assert "REDIS_URL" in list_variables(read_workload(simulated_node, "wl-late"), "web"), "the new workload"

        delete_workload(simulated_node, "wl-late")
        delete_workload(simulated_node, "wl-late", "StatefulSet", "jobs")
        del entries[1]
        project.write(stack, config)
        assert f"{path}[0]: " in project.up(stack).succeeded().output
        project.up(stack).succeeded()
        assert list_patches(project, stack) == []
        project.assert_settled(stack)


def test_removed_application_with_a_deleted_workload_leaves_nothing(project: Project, simulated_node: Cluster) -> None:
    config = build_stack("wl-gone", [WEB])
    config["applications"]["wl-stays"] = {"databases": {"redis": {"main": {"server": EXTERNAL_REDIS}}}}
    with simulated_node.create_namespace("wl-gone"), create_stack(project, "wl-gone", config) as stack:
        apply_manifests(simulated_node, "wl-gone", build_manifest("Deployment", "web"))
        project.up(stack).succeeded()
        delete_workload(simulated_node, "wl-gone")
        del config["applications"]["wl-app"]
        project.write(stack, config)
        project.up(stack).succeeded()
        project.up(stack).succeeded()
        assert not [resource["urn"] for resource in project.resources(stack) if "wl-app" in resource["urn"]]
        project.assert_settled(stack)


def test_program_does_not_overwrite_the_variables_and_mounts_of_a_workload(
    project: Project, simulated_node: Cluster
) -> None:
    """It warns about them. When the manifest no longer contains them, the next update adds the program's own."""
    databases: dict[str, Any] = {
        "redis": {"main": {"server": EXTERNAL_REDIS}},
        "sqlite": {"main": {"server": "local"}},
    }
    manifest = build_manifest("Deployment", "web")
    container = manifest["spec"]["template"]["spec"]["containers"][1]
    container["env"].append({"name": "REDIS_URL", "value": "redis://mine"})
    container["volumeMounts"].append({"name": "own", "mountPath": "/var/lib/sqlite/main"})
    config = build_stack("wl-own", [{**WEB, "containers": ["web"]}], **databases)
    path = "applications.wl-app.workloads[0]: "
    with simulated_node.create_namespace("wl-own"), create_stack(project, "wl-own", config) as stack:
        apply_manifests(simulated_node, "wl-own", manifest)
        output = project.up(stack).succeeded().output
        assert path in output
        assert "REDIS_URL, /var/lib/sqlite/main" in output
        spec = read_workload(simulated_node, "wl-own")["spec"]["template"]["spec"]
        env = {entry["name"]: entry for entry in spec["containers"][1]["env"]}
        assert env["REDIS_URL"] == {"name": "REDIS_URL", "value": "redis://mine"}
        reference = {"name": "wl-app-databases", "key": "REDIS_MAIN_URL"}
        assert env["REDIS_MAIN_URL"]["valueFrom"]["secretKeyRef"] == reference
        project.assert_settled(stack)

        apply_manifests(simulated_node, "wl-own", build_manifest("Deployment", "web"))
        assert path not in project.up(stack).succeeded().output
        spec = read_workload(simulated_node, "wl-own")["spec"]["template"]["spec"]
        mounts = {mount["mountPath"]: mount["name"] for mount in spec["containers"][1]["volumeMounts"]}
        volumes = {volume["name"]: volume for volume in spec["volumes"]}
        assert volumes[mounts["/var/lib/sqlite/main"]]["persistentVolumeClaim"] == {"claimName": "sqlite-main"}
        assert mounts["/own"] == "own"
        environment = simulated_node.read_secret("wl-own", "wl-app-databases")
        assert environment["SQLITE_PATH"].startswith("/var/lib/sqlite/main/")
        project.assert_settled(stack)


@pytest.mark.parametrize(("seconds", "least", "most"), [(0, 0, 20), (5, 5, 35)], ids=["no wait", "limit"])
def test_rollout_seconds_limit_the_wait_for_new_pods(
    project: Project, simulated_node: Cluster, seconds: int, least: int, most: int
) -> None:
    """No node accepts the Pods of the Deployment."""
    config = build_stack("wl-wait", [{**WEB, "rolloutSeconds": seconds}])
    with simulated_node.create_namespace("wl-wait"), create_stack(project, "wl-wait", config) as stack:
        manifest = build_manifest("Deployment", "web", nodeSelector={"no": "such"})
        apply_manifests(simulated_node, "wl-wait", manifest)
        start = monotonic()
        result = project.up(stack)
        duration = monotonic() - start
        if seconds:
            # Not `failed`: Pulumi interrupts a program that still waits, which can print a traceback.
            assert result.code != 0
            assert "timed out waiting to be Ready" in result.output
        else:
            result.succeeded()
        assert least <= duration < most, result.output[-3000:]
        assert "REDIS_URL" in list_variables(read_workload(simulated_node, "wl-wait"), "web")


@pytest.mark.usefixtures("simulated_node")  # Pulumi itself needs a cluster
def test_unreachable_cluster_is_an_error_before_any_change(project: Project) -> None:
    project.new("wl-nowhere", build_stack("wl-nowhere", [WEB]))
    project.pulumi("config", "set", "kubernetes:context", "nosuch", stack="wl-nowhere").succeeded()
    output = project.up("wl-nowhere").failed().output
    assert "nothing was changed" in output
    assert "kubernetes:context" in output  # not its value, which may be encrypted
    types = [resource["type"] for resource in project.resources("wl-nowhere")]
    assert not [name for name in types if not name.startswith("pulumi:")]
