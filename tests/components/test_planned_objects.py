"""The planned objects of a stack are the Kubernetes objects that its components register."""

from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from components.application import ApplicationArgs
from components.planned_objects import PlannedObject
from offline.recorder import Recorder
from stacks.config import parse_stack
from tests.support import (
    ENCRYPTED,
    ENGINES_WITH_SERVER,
    STACK_CASES,
    groups,
    managed_server,
    pod_security_violations,
    record_stack,
    stack_with_group,
)

Key = tuple[str, str, str]
NODES = {"databaseNodes": {"nodeSelector": {"node-role": "database"}}}
WORKLOADS = [{"kind": "Deployment", "name": "web", "containers": ["web"]}]


def list_planned(applications: Iterable[ApplicationArgs]) -> Iterator[tuple[Key, PlannedObject]]:
    for application in applications:
        own = application.list_objects()
        of_groups = (planned for group in application.database_groups for planned in group.list_objects())
        for planned in (*own, *of_groups):
            namespace = "" if planned.kind == "Namespace" else application.namespace
            yield (planned.kind, namespace, planned.name), planned


def plan(raw: dict[str, Any]) -> dict[Key, PlannedObject]:
    planned = list(list_planned(parse_stack(raw, ENCRYPTED).applications))
    assert len(dict(planned)) == len(planned), "an object is planned twice"
    return dict(planned)


def registered(recorder: Recorder) -> dict[Key, dict[str, Any]]:
    """Return the inputs of the Kubernetes objects, except for patches of existing ones."""
    return {
        (kind, inputs["metadata"].get("namespace", ""), inputs["metadata"]["name"]): dict(inputs)
        for registration in recorder.registrations.values()
        if registration.type.startswith("kubernetes:")
        if not (kind := registration.type.rpartition(":")[2]).endswith("Patch")
        for inputs in [registration.inputs]
    }


@pytest.mark.parametrize("raw", STACK_CASES)
def test_planned_objects_are_the_registered_ones(raw: dict[str, Any]) -> None:
    planned, objects = plan({**raw, **NODES}), registered(record_stack({**raw, **NODES}))
    assert set(planned) == set(objects)
    for key, inputs in objects.items():
        spec = inputs.get("spec") or {}
        if key[0] == "PersistentVolumeClaim":
            assert planned[key].storage == spec["resources"]["requests"]["storage"]
            assert planned[key].storage_class == spec.get("storageClassName")
        if key[0] == "StatefulSet":
            assert planned[key].node_selector == spec["template"]["spec"].get("nodeSelector", {})


@pytest.mark.parametrize(
    "keys",
    [{"createNamespace": False}, {"networkPolicy": False}, {"namespace": "market"}, {"workloads": WORKLOADS}],
    ids=lambda keys: next(iter(keys)),
)
def test_keys_of_an_application_change_its_planned_objects(keys: dict[str, Any]) -> None:
    raw = groups(mysql={"main": {"primary": True}, "spare": None}, redis={"cache": {"networkPolicy": False}})
    raw["applications"]["shop"] |= keys
    assert set(plan(raw)) == set(registered(record_stack(raw)))


@pytest.mark.parametrize("engine", ENGINES_WITH_SERVER)
def test_a_server_needs_privileges_if_its_pod_violates_restricted(engine: str) -> None:
    raw = stack_with_group(engine, managed_server(engine))
    key = ("StatefulSet", "shop", f"{engine}-main")
    pod = registered(record_stack(raw))[key]["spec"]["template"]["spec"]
    assert plan(raw)[key].needs_privileges == bool(list(pod_security_violations(pod)))
