"""The stack file and the cluster decide which containers of a workload the program patches."""

from typing import Any

import pytest

from components.application import ApplicationArgs
from components.workload_patches import PatchedWorkload, WorkloadPatch
from preflight.cluster_client import ClusterConfig
from preflight.workload_reader import ObservedContainer, ObservedWorkload, WorkloadKey
from stacks.config import Stack, parse_stack
from stacks.workload_discovery import resolve_workloads
from tests.support import ENCRYPTED, existing_account

WEB = {"kind": "Deployment", "name": "web"}
WEB_KEY = WorkloadKey("shop", "Deployment", "web")
DATABASES: dict[str, Any] = {"redis": {"main": {"server": existing_account("redis")}}}
Observations = dict[WorkloadKey, ObservedWorkload | None] | None
SQLITE = {"sqlite": {"main": {"server": "local"}}}
SQLITE_PATH = "/var/lib/sqlite/main"


def build_stack(*workloads: dict[str, Any], databases: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"applications": {"shop": {"workloads": list(workloads), "databases": databases or DATABASES}}}


def observe(*names: str, **changes: Any) -> ObservedWorkload:
    """Return a workload in the cluster whose containers `names` have no variables."""
    containers = {name: ObservedContainer() for name in names} | changes.pop("containers", {})
    return ObservedWorkload(**{"revision": "uid.1", "annotations": {}, "containers": containers, **changes})


def resolve(
    raw: dict[str, Any],
    cluster: Observations,
    previous: dict[str, Any] | None = None,
) -> Stack:
    """Return a stack with the patches of its workloads. Without `cluster`, the program does not read a cluster."""
    return resolve_workloads(
        parse_stack(raw, ENCRYPTED),
        None if cluster is None else ClusterConfig(),
        previous or {},
        reader=lambda keys, _: {key: (cluster or {}).get(key) for key in keys},
    )


def get_application(stack: Stack) -> ApplicationArgs:
    (application,) = stack.applications
    return application


def get_patch(stack: Stack) -> WorkloadPatch:
    (patch,) = get_application(stack).workloads
    return patch


def observe_patched(**changes: Any) -> ObservedWorkload:
    """Return the workload as the patch of WEB leaves it in the cluster. `changes` replace parts of it."""
    patch = get_patch(resolve(build_stack(WEB), {WEB_KEY: observe("web")}))
    variables = {name: ("shop-databases", name) for name in patch.containers[0].variables}
    containers = {"web": ObservedContainer(variables={**variables, "OWN": None}), **changes.pop("containers", {})}
    annotations = {"database-groups/applied": f"{patch.applied_digest}"}
    return observe(**{"annotations": annotations, "revision": "uid.7", "containers": containers, **changes})


@pytest.mark.parametrize(
    ("containers", "expected"), [(None, ["proxy", "web"]), (["web"], ["web"])], ids=["default", "containers"]
)
def test_program_patches_all_containers_by_default(containers: list[str] | None, expected: list[str]) -> None:
    entry = {**WEB, "containers": containers} if containers else WEB
    stack = resolve(build_stack(entry), {WEB_KEY: observe("proxy", "web")})
    patch = get_patch(stack)
    assert [container.name for container in patch.containers] == expected
    assert {container.variables for container in patch.containers} == {get_application(stack).variable_names}
    assert stack.outputs["shop"]["workloads"] == {"Deployment/web": True}


def test_patched_workload_is_up_to_date() -> None:
    observed = observe_patched()
    patch = get_patch(resolve(build_stack(WEB), {WEB_KEY: observed}))
    assert patch.up_to_date
    assert patch.applied_digest == observed.annotations["database-groups/applied"]


@pytest.mark.parametrize(
    "observed",
    [
        observe_patched(containers={"web": ObservedContainer(variables={"OWN": None})}),
        observe_patched(revision="other.7"),
        observe_patched(annotations={}),
        observe_patched(containers={"extra": ObservedContainer()}),
    ],
    ids=["removed variable", "new workload of the same name", "removed annotation", "additional container"],
)
def test_program_patches_a_changed_workload_again(observed: ObservedWorkload) -> None:
    """The annotation gets a value that no earlier patch of the workload had."""
    patch = get_patch(resolve(build_stack(WEB), {WEB_KEY: observed}))
    assert not patch.up_to_date
    assert patch.applied_digest != observe_patched().annotations["database-groups/applied"]


def test_program_patches_a_workload_again_for_an_additional_group() -> None:
    databases = {**DATABASES, "mysql": {"main": {"server": existing_account("mysql")}}}
    patch = get_patch(resolve(build_stack(WEB, databases=databases), {WEB_KEY: observe_patched()}))
    assert not patch.up_to_date
    assert "MYSQL_URL" in patch.containers[0].variables


def test_program_keeps_the_variables_of_a_container_and_warns() -> None:
    variables = {"REDIS_URL": None, "REDIS_PORT": ("other", "REDIS_PORT")}
    observed = observe("proxy", containers={"web": ObservedContainer(variables=variables)})
    stack = resolve(build_stack(WEB), {WEB_KEY: observed})
    proxy, web = get_patch(stack).containers
    assert set(proxy.variables) - set(web.variables) == set(variables)
    (warning,) = [warning for warning in stack.warnings if warning.startswith("applications.shop.workloads[0]")]
    assert all(fragment in warning for fragment in ("'web'", "REDIS_PORT, REDIS_URL", "manifest"))


def test_program_keeps_the_mounts_of_a_container_and_warns() -> None:
    observed = observe(containers={"web": ObservedContainer(mounts={SQLITE_PATH: "mine"})})
    stack = resolve(build_stack(WEB, databases=SQLITE), {WEB_KEY: observed})
    assert get_patch(stack).mounts == []
    assert [warning for warning in stack.warnings if SQLITE_PATH in warning]


def test_missing_workload_is_a_warning() -> None:
    stack = resolve(build_stack(WEB), {})
    assert get_application(stack).workloads == ()
    assert stack.outputs["shop"]["workloads"] == {"Deployment/web": False}
    (warning,) = stack.warnings
    assert warning.startswith("applications.shop.workloads[0]: ")
    assert all(fragment in warning for fragment in ("Deployment 'web'", "namespace 'shop'", "make up"))


def test_missing_container_is_a_warning_with_the_existing_containers() -> None:
    stack = resolve(build_stack({**WEB, "containers": ["web", "x"]}), {WEB_KEY: observe("web", "proxy")})
    assert [container.name for container in get_patch(stack).containers] == ["web"]
    (warning,) = stack.warnings
    assert warning.startswith("applications.shop.workloads[0].container")
    assert all(fragment in warning for fragment in ("Deployment 'web'", "'x'", "proxy, web"))


PREVIOUS = {
    "shop": {"namespace": "shop", "workloads": {"Deployment/web": True, "DaemonSet/unpatched": False}},
    "old": {"namespace": "o", "workloads": {"StatefulSet/db": True}},
}
REMOVED = (
    PatchedWorkload(application="shop", namespace="shop", kind="Deployment", name="web"),
    PatchedWorkload(application="old", namespace="o", kind="StatefulSet", name="db"),
)


@pytest.mark.parametrize(
    ("cluster", "previous", "expected"),
    [
        ({}, PREVIOUS, REMOVED),
        ({WEB_KEY: observe("web")}, PREVIOUS, REMOVED[1:]),
        ({WEB_KEY: observe("web")}, {"shop": {**PREVIOUS["shop"], "namespace": "before"}}, ()),
        (None, PREVIOUS, ()),
    ],
    ids=["deleted workloads", "existing workload", "another namespace", "no cluster"],
)
def test_program_removes_deleted_workloads(
    cluster: Observations,
    previous: dict[str, Any],
    expected: tuple[PatchedWorkload, ...],
) -> None:
    """A workload of the same name in another namespace has the same patches, which must not be registered twice."""
    assert resolve(build_stack(WEB), cluster, previous).removed_workloads == expected


def test_program_without_a_cluster_assumes_the_named_containers() -> None:
    stack = resolve(build_stack({**WEB, "containers": ["a", "b"]}, {"kind": "DaemonSet", "name": "agent"}), None)
    assert [container.name for container in get_patch(stack).containers] == ["a", "b"]
    assert not [warning for warning in stack.warnings if "workloads" in warning]


def test_program_does_not_read_the_cluster_for_a_stack_without_workloads() -> None:
    def fail(*_: Any) -> Any:
        raise AssertionError

    stack = parse_stack(build_stack())
    assert resolve_workloads(stack, ClusterConfig(), {}, reader=fail) == stack
