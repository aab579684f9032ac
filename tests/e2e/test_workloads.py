"""An application's variables in workloads that are somebody else's: put in, rolled when a value changes, taken out again, and nothing else touched."""

import base64
import copy
import json
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any

import pytest
from kubernetes.client.exceptions import ApiException

from tests.e2e.cluster import Cluster, until
from tests.e2e.project import Project

KINDS = {"Deployment": "web", "StatefulSet": "jobs", "DaemonSet": "agent"}
OURS = "database-groups/"
PROVIDERS_OWN = "pulumi.com/"
CONTROLLERS_OWN = {"deployment.kubernetes.io/revision", "deprecated.daemonset.template.generation"}
SHARED = "10.5.120.104"
IMAGE = "registry.example.org/web:1"
RESTRICTED = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


def manifest(kind: str, name: str, **pod: Any) -> dict[str, Any]:
    """A workload with something of its own wherever something is put in, on the node where Pods are ready at once."""
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
            "nodeSelector": {"type": "kwok"},
            "tolerations": [{"operator": "Exists"}],
            "securityContext": {"runAsNonRoot": True, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": containers,
            "volumes": [{"name": "own", "emptyDir": {}}],
            **pod,
        },
    }
    extra: dict[str, dict[str, Any]] = {
        "StatefulSet": {"serviceName": name, "replicas": 1},
        "Deployment": {"replicas": 2},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": name, "labels": {"own": "yes"}, "annotations": {"own/note": "yes"}},
        "spec": {"selector": {"matchLabels": {"app": name}}, "template": template, **extra.get(kind, {})},
    }


def put(cluster: Cluster, namespace: str, *manifests: dict[str, Any]) -> None:
    for found in manifests:
        cluster.apply({**found, "metadata": {**found["metadata"], "namespace": namespace}})


def read(cluster: Cluster, namespace: str, kind: str, name: str) -> dict[str, Any]:
    resource = cluster.dynamic.resources.get(api_version="apps/v1", kind=kind)
    found: dict[str, Any] = resource.get(name=name, namespace=namespace).to_dict()
    return found


def remove(cluster: Cluster, namespace: str, kind: str, name: str) -> None:
    """Deletes a workload and waits until it is gone."""
    cluster.dynamic.resources.get(api_version="apps/v1", kind=kind).delete(name=name, namespace=namespace)

    def gone() -> bool | None:
        try:
            read(cluster, namespace, kind, name)
        except ApiException:
            return True
        return None

    until(30, f"the {kind} is gone", gone)


def owners(found: dict[str, Any]) -> dict[str, Any]:
    """What of a workload is its owner's: its labels, annotations and specification, without what controllers write."""
    metadata = found["metadata"]
    annotations = {key: value for key, value in metadata.get("annotations", {}).items() if key not in CONTROLLERS_OWN}
    return copy.deepcopy({"labels": metadata["labels"], "annotations": annotations, "spec": found["spec"]})


def without_ours(found: dict[str, Any], secret: str, containers: set[str]) -> dict[str, Any]:
    """The same, with what is put in taken out; fails where that is not there."""
    left = owners(found)
    added = {key for key in left["annotations"] if key.startswith((OURS, PROVIDERS_OWN))}
    assert f"{OURS}applied" in added
    left["annotations"] = {key: value for key, value in left["annotations"].items() if key not in added}
    template = left["spec"]["template"]
    assert template["metadata"]["labels"].pop(f"{OURS}application")
    assert template["metadata"]["annotations"].pop(f"{OURS}connections")
    for container in template["spec"]["containers"]:
        entries = container.pop("env", [])
        ours = [
            entry for entry in entries if (entry.get("valueFrom") or {}).get("secretKeyRef", {}).get("name") == secret
        ]
        assert bool(ours) == (container["name"] in containers)
        assert all(entry["name"] == entry["valueFrom"]["secretKeyRef"]["key"] for entry in ours)
        if rest := [entry for entry in entries if entry not in ours]:
            container["env"] = rest
    return left


def variables(found: dict[str, Any], container: str) -> set[str]:
    (only,) = [one for one in found["spec"]["template"]["spec"]["containers"] if one["name"] == container]
    return {entry["name"] for entry in only.get("env", [])}


def roll(found: dict[str, Any]) -> str:
    word: str = found["spec"]["template"]["metadata"]["annotations"][f"{OURS}connections"]
    return word


def config(namespace: str, workloads: Any, application: str = "wl-app", **databases: Any) -> dict[str, Any]:
    """A stack with one application in a namespace that is there, with a server that needs no Pod unless others are named."""
    databases = databases or {"redis": {"main": {"server": {"kind": "external", "host": SHARED}}}}
    entry = {"namespace": namespace, "createNamespace": False, "workloads": workloads, "databases": databases}
    return {"preflight": "none", "applications": {application: entry}}


@contextmanager
def stack(project: Project, name: str, content: dict[str, Any]) -> Iterator[str]:
    """A stack that is gone before its namespace is."""
    project.new(name, content)
    try:
        yield name
    finally:
        project.clean_up()
        project.stacks.remove(name)


@pytest.mark.timeout(900)
def test_variables_are_put_in_rolled_and_taken_out(project: Project, pretend_node: Cluster) -> None:
    """A Deployment, a StatefulSet and a DaemonSet with containers, variables and annotations of their own."""
    entries = [
        {"kind": "Deployment", "name": "web", "containers": "web"},
        {"kind": "StatefulSet", "name": "jobs"},
        {"kind": "DaemonSet", "name": "agent", "containers": ["proxy", "web"]},
    ]
    given = {"Deployment": {"web"}, "StatefulSet": {"proxy", "web"}, "DaemonSet": {"proxy", "web"}}
    groups: dict[str, Any] = {
        "main": {"server": "local", "primary": True},
        "spare": {"server": {"kind": "external", "host": SHARED}},
    }
    content = config("wl-kinds", entries, redis=groups)

    def now() -> dict[str, dict[str, Any]]:
        return {kind: read(pretend_node, "wl-kinds", kind, name) for kind, name in KINDS.items()}

    with pretend_node.namespace("wl-kinds"), stack(project, "wl-kinds", content) as name:
        put(pretend_node, "wl-kinds", *(manifest(kind, of) for kind, of in KINDS.items()))
        before = now()
        project.up(name).succeeded()
        first = now()
        expected = set(pretend_node.secret("wl-kinds", "wl-app-databases"))
        assert {"REDIS_URL", "REDIS_MAIN_PASSWORD", "REDIS_SPARE_ADDRESS"} <= expected
        for kind, found in first.items():
            assert without_ours(found, "wl-app-databases", given[kind]) == owners(before[kind]), kind
            assert variables(found, "web") == expected | {"OWN", "ZONE"}
            assert variables(found, "proxy") == (expected if "proxy" in given[kind] else set())
            assert found["spec"]["template"]["metadata"]["labels"][f"{OURS}application"] == "wl-app"

        password = pretend_node.secret("wl-kinds", "redis-main")["password"]
        state = json.dumps(project.resources(name))
        assert "wl-app-connections" in state
        assert password not in state
        assert base64.b64encode(password.encode()).decode() not in state, (
            "what the word for a roll is made anew by is encrypted"
        )

        project.settles(name)
        content["applications"]["wl-other"] = {
            "databases": {"redis": {"main": {"server": {"kind": "external", "host": "10.5.120.105"}}}}
        }
        project.write(name, content)
        project.up(name).succeeded()
        assert {kind: found["metadata"]["generation"] for kind, found in now().items()} == {
            kind: found["metadata"]["generation"] for kind, found in first.items()
        }, "neither a second update nor another application is a reason to roll"

        groups["main"]["rotation"] = 1
        project.write(name, content)
        project.up(name).succeeded()
        rotated = now()
        for kind, found in rotated.items():
            assert roll(found) != roll(first[kind])
            assert found["metadata"]["generation"] == first[kind]["metadata"]["generation"] + 1, "once"
            assert without_ours(found, "wl-app-databases", given[kind]) == owners(before[kind])
        project.settles(name)

        del groups["spare"]
        project.write(name, content)
        project.up(name).succeeded()
        for found in now().values():
            assert not any("SPARE" in variable for variable in variables(found, "web"))
        project.settles(name)

        entries.clear()
        project.write(name, content)
        project.up(name).succeeded()
        assert {kind: owners(found) for kind, found in now().items()} == {
            kind: owners(found) for kind, found in before.items()
        }
        project.settles(name)


def test_destroy_takes_out_what_was_put_in(project: Project, pretend_node: Cluster) -> None:
    with (
        pretend_node.namespace("wl-destroy"),
        stack(project, "wl-destroy", config("wl-destroy", [{"kind": "Deployment", "name": "web"}])) as name,
    ):
        put(pretend_node, "wl-destroy", manifest("Deployment", "web"))
        before = read(pretend_node, "wl-destroy", "Deployment", "web")
        project.up(name).succeeded()
        project.destroy(name).succeeded()
        assert owners(read(pretend_node, "wl-destroy", "Deployment", "web")) == owners(before)
        assert project.resources(name) == []


def test_a_workload_that_comes_later_and_one_that_goes(project: Project, pretend_node: Cluster) -> None:
    """Each is a warning, and the next update does what is to be done."""
    entries: list[dict[str, Any]] = [
        {"kind": "Deployment", "name": "web"},
        {"kind": "StatefulSet", "name": "jobs", "containers": ["web", "nosuch"]},
    ]
    content = config("wl-late", entries)
    with pretend_node.namespace("wl-late"), stack(project, "wl-late", content) as name:
        output = project.up(name).succeeded().output
        for number, entry in enumerate(entries):
            assert (
                f"applications.wl-app.workloads[{number}]: there is no {entry['kind']} '{entry['name']}' in the namespace 'wl-late'"
                in output
            )
        assert "deploy it, then run pulumi up again" in output
        assert not [resource for resource in project.resources(name) if resource["type"].endswith("Patch")]

        put(pretend_node, "wl-late", manifest("Deployment", "web"), manifest("StatefulSet", "jobs"))
        output = project.up(name).succeeded().output
        assert "there is no" not in output
        assert (
            "applications.wl-app.workloads[1].container: the StatefulSet 'jobs' has no container 'nosuch'; it has proxy, web"
            in output
        )
        assert "REDIS_URL" in variables(read(pretend_node, "wl-late", "Deployment", "web"), "proxy")
        assert "REDIS_URL" in variables(read(pretend_node, "wl-late", "StatefulSet", "jobs"), "web")
        project.settles(name)

        remove(pretend_node, "wl-late", "Deployment", "web")
        put(pretend_node, "wl-late", manifest("Deployment", "web"))
        project.up(name).succeeded()
        assert "REDIS_URL" in variables(read(pretend_node, "wl-late", "Deployment", "web"), "web"), (
            "one that was made anew gets them again"
        )

        remove(pretend_node, "wl-late", "Deployment", "web")
        remove(pretend_node, "wl-late", "StatefulSet", "jobs")
        del entries[1]
        project.write(name, content)
        assert "there is no Deployment 'web'" in project.up(name).succeeded().output
        project.up(name).succeeded()
        assert not [resource for resource in project.resources(name) if resource["type"].endswith("Patch")]
        project.settles(name)


def test_an_application_that_goes_with_its_workload_leaves_nothing(project: Project, pretend_node: Cluster) -> None:
    content = config("wl-gone", [{"kind": "Deployment", "name": "web"}])
    content["applications"]["wl-stays"] = {
        "databases": {"redis": {"main": {"server": {"kind": "external", "host": SHARED}}}}
    }
    with pretend_node.namespace("wl-gone"), stack(project, "wl-gone", content) as name:
        put(pretend_node, "wl-gone", manifest("Deployment", "web"))
        project.up(name).succeeded()
        remove(pretend_node, "wl-gone", "Deployment", "web")
        del content["applications"]["wl-app"]
        project.write(name, content)
        project.up(name).succeeded()
        project.up(name).succeeded()
        assert not [resource["urn"] for resource in project.resources(name) if "wl-app" in resource["urn"]]
        project.settles(name)


def test_what_a_workload_sets_itself_it_keeps(project: Project, pretend_node: Cluster) -> None:
    """Beside a variable and a mount of its own it gets the rest, and the user is told; when its own are gone it gets them too."""
    databases: dict[str, Any] = {
        "redis": {"main": {"server": {"kind": "external", "host": SHARED}}},
        "sqlite": {"main": {"server": "local"}},
    }
    own = manifest("Deployment", "web")
    container = own["spec"]["template"]["spec"]["containers"][1]
    container["env"].append({"name": "REDIS_URL", "value": "redis://mine"})
    container["volumeMounts"].append({"name": "own", "mountPath": "/var/lib/sqlite/main"})
    content = config("wl-own", [{"kind": "Deployment", "name": "web", "containers": "web"}], **databases)
    with pretend_node.namespace("wl-own"), stack(project, "wl-own", content) as name:
        put(pretend_node, "wl-own", own)
        output = project.up(name).succeeded().output
        assert (
            "applications.wl-app.workloads[0]: the container 'web' of the Deployment 'web' has REDIS_URL, /var/lib/sqlite/main of its own"
            in output
        )
        found = read(pretend_node, "wl-own", "Deployment", "web")
        env = {entry["name"]: entry for entry in found["spec"]["template"]["spec"]["containers"][1]["env"]}
        assert env["REDIS_URL"] == {"name": "REDIS_URL", "value": "redis://mine"}
        assert env["REDIS_MAIN_URL"]["valueFrom"]["secretKeyRef"] == {
            "name": "wl-app-databases",
            "key": "REDIS_MAIN_URL",
        }
        project.settles(name)

        put(pretend_node, "wl-own", manifest("Deployment", "web"))
        assert "of its own" not in project.up(name).succeeded().output
        found = read(pretend_node, "wl-own", "Deployment", "web")
        mounts = {
            mount["mountPath"]: mount["name"]
            for mount in found["spec"]["template"]["spec"]["containers"][1]["volumeMounts"]
        }
        volumes = {volume["name"]: volume for volume in found["spec"]["template"]["spec"]["volumes"]}
        assert volumes[mounts["/var/lib/sqlite/main"]]["persistentVolumeClaim"] == {"claimName": "sqlite-main"}
        assert mounts["/own"] == "own"
        assert pretend_node.secret("wl-own", "wl-app-databases")["SQLITE_PATH"].startswith("/var/lib/sqlite/main/")
        project.settles(name)


@pytest.mark.parametrize(("seconds", "least", "most"), [(0, 0, 20), (5, 5, 35)], ids=["not at all", "for a time"])
def test_the_wait_for_a_rollout_is_bounded(
    project: Project, pretend_node: Cluster, seconds: int, least: int, most: int
) -> None:
    """A Deployment whose Pods fit on no node."""
    entry = {"kind": "Deployment", "name": "web", "rolloutSeconds": seconds}
    with pretend_node.namespace("wl-wait"), stack(project, "wl-wait", config("wl-wait", [entry])) as name:
        put(pretend_node, "wl-wait", manifest("Deployment", "web", nodeSelector={"no": "such"}))
        start = monotonic()
        result = project.up(name)
        took = monotonic() - start
        if seconds:
            # Not `failed`: Pulumi interrupts a program that still waits for what failed, and that is seen in the output at times.
            assert result.code != 0
            assert "timed out waiting to be Ready" in result.output
        else:
            result.succeeded()
        assert least <= took < most, result.output[-3000:]
        assert "REDIS_URL" in variables(read(pretend_node, "wl-wait", "Deployment", "web"), "web")


def test_a_cluster_that_cannot_be_looked_at_is_told_before_anything_is_made(
    project: Project, pretend_node: Cluster
) -> None:  # noqa: ARG001 (Pulumi itself needs one)
    content = config("wl-nowhere", [{"kind": "Deployment", "name": "web"}])
    project.new("wl-nowhere", content)
    project.pulumi("config", "set", "kubernetes:context", "nosuch", stack="wl-nowhere").succeeded()
    output = project.up("wl-nowhere").failed().output
    assert "the workloads of the stack cannot be looked for, and nothing was changed" in output
    assert "nosuch" in output
    assert not [
        resource["urn"] for resource in project.resources("wl-nowhere") if not resource["type"].startswith("pulumi:")
    ]
