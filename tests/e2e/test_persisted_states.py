"""Stacks of release 0.1.0, as the real engine stored them, are updated without a replacement and without a loss.

`make states` records them again. Do that only for a release, and keep the recorded states of earlier releases.
"""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.cluster import Cluster
from tests.e2e.project import Project
from tests.e2e.servers import DatabaseServer
from tests.e2e.test_production import create_production_stack
from tests.persisted.states import STACKS, STATES

RECORD = "RECORD_STATES"
UPDATED_KINDS = ("Namespace", "ConfigMap", "StatefulSet")
UNSAFE_OPERATIONS = {"replace", "create-replacement", "delete-replaced", "delete", "create"}


@pytest.mark.skipif(RECORD not in os.environ, reason="only `make states` records states")
def test_states_are_recorded(
    project: Project, simulated_node: Cluster, server: Callable[[str], DatabaseServer]
) -> None:
    create_production_stack(project, simulated_node, server("mysql"))
    project.new("development")
    # Both examples have an application `shop`, so they are deployed one after the other.
    for stack in STACKS:
        project.up(stack).succeeded()
        exported = json.loads(project.pulumi("stack", "export", stack=stack).succeeded().output)
        for resource in exported["deployment"]["resources"]:  # paths of the machine
            resource.pop("sourcePosition", None)
            resource.pop("stackTrace", None)
        STATES.mkdir(exist_ok=True)
        (STATES / f"{stack}.json").write_text(json.dumps(exported, indent=1) + "\n")
        shutil.copy(project.path(stack), STATES / f"Pulumi.{stack}.yaml")
        project.pulumi("state", "unprotect", "--all", "--yes", stack=stack).succeeded()
        project.destroy(stack).succeeded()
        for namespace in ("shop", "billing"):
            simulated_node.delete_namespace(namespace)


def restore(project: Project, stack: str) -> Path:
    """Create a stack from its recorded file and state, and return the path of its file."""
    shutil.copy(STATES / f"Pulumi.{stack}.yaml", project.path(stack))
    project.pulumi("stack", "init", stack).succeeded()
    project.pulumi("stack", "import", "--file", str(STATES / f"{stack}.json"), stack=stack).succeeded()
    return project.path(stack)


@pytest.fixture
def cluster_of_states(simulated_node: Cluster) -> Iterator[Callable[[str], None]]:
    """Yield a function that creates the recorded objects that a release may update: Pulumi reads them for a preview."""
    namespaces: set[str] = set()

    def create_objects(stack: str) -> None:
        resources = json.loads((STATES / f"{stack}.json").read_text())["deployment"]["resources"]
        manifests = [found["inputs"] for found in resources if found.get("inputs", {}).get("kind") in UPDATED_KINDS]
        for manifest in manifests:
            simulated_node.apply({key: value for key, value in manifest.items() if not key.startswith("__")})
            if manifest["kind"] == "Namespace":
                namespaces.add(manifest["metadata"]["name"])

    yield create_objects
    for namespace in namespaces:
        simulated_node.delete_namespace(namespace)


@pytest.mark.parametrize("stack", STACKS)
def test_recorded_stack_is_updated_in_place(
    project: Project, cluster_of_states: Callable[[str], None], stack: str
) -> None:
    cluster_of_states(stack)
    restore(project, stack)
    output = project.preview(stack, "--json").succeeded().output
    preview: dict[str, Any] = json.loads(output[output.index("{") :])
    operations = {step["op"] for step in preview["steps"]}
    assert operations <= {"same", "update"}
    assert not operations & UNSAFE_OPERATIONS


@pytest.mark.usefixtures("simulated_node")
def test_change_guard_protects_a_recorded_stack(project: Project) -> None:
    path = restore(project, "production")
    path.write_text(path.read_text().replace("    billing:\n", "    renamed:\n"))
    output = project.preview("production").failed().output
    assert "applications.billing" in output
    assert "protect: false" in output
