"""`python -m status` on a real cluster: a deployed stack, servers that fail, and the time for many groups."""

import json
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

from offline.__main__ import render_stack
from offline.manifests import render_manifests
from offline.recorder import PROJECT, Recorder
from tests.e2e.cluster import Cluster, wait_for
from tests.e2e.project import ROOT, Project

APPLICATION = "status-shop"
STORAGE_CLASS = "status-volumes"
APPLICATIONS, GROUPS = 10, 10
MAX_SECONDS = 3
ATTEMPTS = 5
"""Other tests use the same processors. The fastest attempt counts."""


def read_status(project: Project, stack: str) -> dict[str, Any]:
    return dict(json.loads(project.python("-m", "status", stack, "--json").succeeded().output))


def read_group(project: Project, stack: str, engine: str, group: str) -> dict[str, Any]:
    return dict(read_status(project, stack)["applications"][APPLICATION]["databases"][engine][group])


def deploy_example(project: Project) -> dict[str, Any]:
    """Deploy the development example in a namespace of this module. Return its configuration."""
    example = yaml.safe_load((ROOT / "stacks" / "Pulumi.development.yaml").read_text())["config"]
    (shop,) = example["database-groups:applications"].values()
    shop["databases"]["mongodb"] = {"old": {"server": {"kind": "external", "host": ["10.9.0.1"], "database": "old"}}}
    config = {"preflight": False, "applications": {APPLICATION: shop}}
    project.new("status", config)
    project.up("status").succeeded()
    return config


def test_status_of_a_deployed_stack_and_of_a_damaged_one(project: Project, simulated_node: Cluster) -> None:
    deploy_example(project)

    status = read_status(project, "status")
    assert status["notes"] == []
    application = status["applications"][APPLICATION]
    assert (application["namespace"], application["problems"]) == (APPLICATION, [])
    groups = {
        f"{engine}.{name}": group
        for engine, all_of in application["databases"].items()
        for name, group in all_of.items()
    }
    assert {name: (group["kind"], group["service"], group["ready"]) for name, group in groups.items()} == {
        "mongodb.old": ("external", "mongodb", None),
        "postgresql.main": ("local", "postgresql", True),
        "redis.cache": ("local", "redis", True),
    }
    assert groups["mongodb.old"]["hosts"] == ["10.9.0.1:27017"]
    assert [group["problems"] for group in groups.values()] == [[], [], []]
    assert groups["redis.cache"]["variant"] == "valkey"
    assert groups["redis.cache"]["volume"]["claim"] == "redis-cache"

    text = project.python("-m", "status", "status").succeeded().output
    assert text.endswith("3 database groups, none with a problem\n")
    secrets = [simulated_node.read_secret(APPLICATION, group["secret"]) for group in groups.values()]
    values = {secret[key] for secret in secrets for key in ("password", "uri") if key in secret}
    assert len(values) > 2
    assert not [value for value in values if value in text + json.dumps(status)]

    core = simulated_node.core
    core.delete_namespaced_service("redis", APPLICATION)
    core.delete_namespaced_secret("redis-cache", APPLICATION)
    core.delete_namespaced_secret(f"{APPLICATION}-databases", APPLICATION)
    application = read_status(project, "status")["applications"][APPLICATION]
    assert application["problems"] == [f"Secret {APPLICATION}-databases is missing"]
    assert application["databases"]["redis"]["cache"]["problems"] == [
        "Service redis is missing",
        "Secret redis-cache is missing",
    ]
    # The fix that the command names.
    text = project.python("-m", "status", "status").succeeded().output
    assert "create what is missing: `make refresh`, then `make up`" in text
    project.pulumi("refresh", "--yes", "--skip-preview", stack="status").succeeded()
    project.up("status").succeeded()
    assert read_group(project, "status", "redis", "cache")["problems"] == []


def test_a_pod_without_a_node_and_a_server_without_a_pod_have_a_reason(
    project: Project, simulated_node: Cluster
) -> None:
    config = deploy_example(project)

    def find_problems(engine: str, group: str, reason: str) -> list[str] | None:
        status = read_group(project, "status", engine, group)
        return status["problems"] if status["ready"] is False and reason in str(status["problems"]) else None

    server = config["applications"][APPLICATION]["databases"]["redis"]["cache"]["server"]
    server.update(resources={"cpu": 5000}, startTimeoutMinutes=1)
    project.write("status", config)
    output = project.up("status").failed().output
    path = f"applications.{APPLICATION}.databases.redis.cache"
    reason = "server redis-cache is not ready: Pod redis-cache-0: FailedScheduling: 0/"
    assert re.search(rf"error: line [0-9]+: {re.escape(f'{path}: {reason}')}.*Insufficient cpu", output), output[-6000:]
    assert "fix: see docs/troubleshooting.md#a-pod-stays-pending" in output
    (problem,) = wait_for(60, "the Pod has no node", lambda: find_problems("redis", "cache", "Unschedulable"))
    assert problem.startswith("Pod redis-cache-0: Unschedulable: 0/")

    quota = {"metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}}
    simulated_node.core.create_namespaced_resource_quota(APPLICATION, quota)
    simulated_node.core.delete_namespaced_pod("postgresql-main-0", APPLICATION)
    (problem,) = wait_for(60, "the server has no Pod", lambda: find_problems("postgresql", "main", "FailedCreate"))
    assert problem.startswith("no Pod: FailedCreate: ")
    assert "exceeded quota: none" in problem


def test_errors_are_one_line(project: Project) -> None:
    output = project.python("-m", "status", "status-none").failed().output
    assert output == "error: stack 'status-none' has no state in this backend; deploy it: make up STACK=status-none\n"
    project.new("status-empty", {"applications": {APPLICATION: {"databases": {"redis": {"main": None}}}}})
    output = project.python("-m", "status", "status-empty").failed().output
    assert output == "error: stack 'status-empty' has no applications; deploy it: make up STACK=status-empty\n"


@pytest.fixture
def many_volumes(cluster: Cluster) -> Iterator[str]:
    """Create a volume for each of the groups, and return their storage class."""
    names = [f"{STORAGE_CLASS}-{number}" for number in range(APPLICATIONS * GROUPS)]
    spec = {
        "capacity": {"storage": "1Gi"},
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": STORAGE_CLASS,
        "hostPath": {"path": "/nonexistent"},
    }
    for name in names:
        cluster.core.create_persistent_volume({"metadata": {"name": name}, "spec": spec})
    yield STORAGE_CLASS
    for name in names:
        cluster.core.delete_persistent_volume(name)


def test_status_of_many_groups_is_fast(
    project: Project, simulated_node: Cluster, many_volumes: str, tmp_path: Path
) -> None:
    """The cluster has all objects of the groups; the state has their components."""
    server = {"kind": "local", "storage": "1Gi", "storageClass": many_volumes}
    groups = {f"group{number}": {"server": server} for number in range(GROUPS)}
    names = [f"status-many{number}" for number in range(APPLICATIONS)]
    project.new("status-many", {"applications": {name: {"databases": {"redis": groups}} for name in names}})
    recorder = render_stack("status-many", project.path("status-many").parent).recorder
    import_components(project, "status-many", recorder, tmp_path / "state.json")
    manifests = [list(yaml.safe_load_all(text)) for text in render_manifests(recorder).values()]
    try:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda documents: [simulated_node.apply(document) for document in documents], manifests))
        wait_for(120, "all servers are ready", lambda: is_healthy(project) or None)
        attempts = [measure(project) for _ in range(ATTEMPTS)]
    finally:
        for name in names:
            simulated_node.core.delete_namespace(name)
        for name in names:
            simulated_node.wait_until_deleted(name)
    print(f"\nstatus of {APPLICATIONS * GROUPS} groups: {', '.join(f'{seconds:.1f} s' for seconds in attempts)}")
    assert min(attempts) < MAX_SECONDS


def import_components(project: Project, stack: str, recorder: Recorder, path: Path) -> None:
    """Write the components of a recorded run to the state of a stack."""
    resources = [
        {
            "urn": urn.replace("urn:pulumi:stack::project::", f"urn:pulumi:{stack}::{PROJECT}::"),
            "custom": False,
            **component,
        }
        for urn, component in recorder.resource_states().items()
    ]
    path.write_text(json.dumps({"version": 3, "deployment": {"manifest": {}, "resources": resources}}))
    project.pulumi("stack", "import", "--file", str(path), stack=stack).succeeded()


def is_healthy(project: Project) -> bool:
    text = project.python("-m", "status", "status-many").succeeded().output
    return text.endswith(f"{APPLICATIONS * GROUPS} database groups, none with a problem\n")


def measure(project: Project) -> float:
    start = time.monotonic()
    assert is_healthy(project)
    return time.monotonic() - start
