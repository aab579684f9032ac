"""Patches of workloads: their fields, their order, what they wait for, and which values they contain."""

from dataclasses import replace
from operator import itemgetter
from typing import Any

import pytest

from components.engines import ENGINES
from components.workload_patches import (
    PATCH_RESOURCE_BY_KIND,
    ContainerPatch,
    PatchedWorkload,
    VolumeMount,
    WorkloadPatch,
    WorkloadSpec,
    forget_removed_workloads,
)
from offline.recorder import PLACEHOLDER, Recorder, Registration, run_program
from stacks.config import parse_stack
from tests.support import (
    APPLICATION,
    CANARY,
    DELETED_NAMESPACES,
    ENGINES_WITH_SERVER,
    NAMESPACE,
    PERSISTENT_VOLUME_CLAIM,
    RANDOM_ID,
    SECRET,
    STATEFUL_SET,
    decode_secret,
    encoded_forms,
    existing_account,
    get_resource,
    groups,
    managed_server,
    record_applications,
    spec_errors,
    to_json_text,
    urns,
)

EXISTING_REDIS = groups(redis={"main": {"server": existing_account("redis")}})


def record_patches(
    raw: dict[str, Any], *containers: str, kind: str = "Deployment", application: str = "shop", **changes: Any
) -> Recorder:
    """Record a stack whose application patches the containers of the workload `web`. `changes` apply to the patch."""
    args = {args.name: args for args in parse_stack(raw).applications}
    patches = tuple(
        ContainerPatch(name=name, variables=args[application].variable_names, mounts=args[application].volume_mounts)
        for name in containers or ("web",)
    )
    workload = WorkloadPatch(kind=kind, name="web", containers=patches, **changes)
    args[application] = replace(args[application], workloads=(workload,))
    return record_applications(args.values())


def get_patches(recorder: Recorder, kind: str = "Deployment") -> tuple[Registration, Registration]:
    """Return the patch with the variables, and the patch that restarts the Pods."""
    token, name = f"kubernetes:apps/v1:{kind}Patch", f"shop-{kind.lower()}-web"
    return get_resource(recorder, token, name), get_resource(recorder, token, f"{name}/connections")


def list_patches(recorder: Recorder) -> list[Registration]:
    return [found for found in recorder.registrations.values() if found.type.endswith("Patch")]


def get_pod_spec(patch: Registration) -> dict[str, Any]:
    spec: dict[str, Any] = patch.inputs["spec"]["template"]["spec"]
    return spec


# Fields


@pytest.mark.parametrize("kind", PATCH_RESOURCE_BY_KIND)
def test_first_patch_adds_every_variable_from_the_environment_secret(kind: str) -> None:
    recorder = record_patches(EXISTING_REDIS, "web", "proxy", kind=kind)
    fields, _ = get_patches(recorder, kind)
    variables = [
        {"name": variable, "valueFrom": {"secretKeyRef": {"name": "shop-databases", "key": variable}}}
        for variable in sorted(decode_secret(recorder, "shop-environment"))
    ]
    assert {"containers"} == set(get_pod_spec(fields))
    for container, name in zip(get_pod_spec(fields)["containers"], ("web", "proxy"), strict=True):
        assert container == {"name": name, "env": container["env"]}
        assert sorted(container["env"], key=itemgetter("name")) == variables


@pytest.mark.parametrize("kind", PATCH_RESOURCE_BY_KIND)
def test_second_patch_changes_only_metadata_of_the_pods(kind: str) -> None:
    recorder = record_patches(EXISTING_REDIS, kind=kind)
    digest = WorkloadPatch(kind=kind, name="web", containers=()).digest
    _, connections = get_patches(recorder, kind)
    template = connections.inputs["spec"]["template"]
    assert connections.inputs["spec"] == {"template": {"metadata": template["metadata"]}}
    assert template["metadata"]["labels"] == {"database-groups/application": "shop"}
    ((annotation, value),) = template["metadata"]["annotations"].items()
    assert annotation == "database-groups/connections"
    assert value.startswith(f"{PLACEHOLDER}-")
    assert value != f"{PLACEHOLDER}-{digest}", "the annotation depends on the containers"


def test_patches_name_the_workload_and_force_their_fields() -> None:
    fields, connections = get_patches(record_patches(EXISTING_REDIS, applied_digest="digest-uid.1"))
    for patch in (fields, connections):
        assert (patch.inputs["metadata"]["name"], patch.inputs["metadata"]["namespace"]) == ("web", "shop")
        assert patch.inputs["metadata"]["annotations"]["pulumi.com/patchForce"] == "true"
    assert fields.inputs["metadata"]["annotations"] == {
        "pulumi.com/patchForce": "true",
        "pulumi.com/patchFieldManager": "database-groups-shop",
        "pulumi.com/skipAwait": "true",
        "database-groups/applied": "digest-uid.1",
    }


@pytest.mark.parametrize(
    ("databases", "mount"),
    [
        ({"sqlite": {"main": None}}, VolumeMount(claim="sqlite-main", path="/var/lib/sqlite/main")),
        (
            {"glusterfs": {"main": {"server": existing_account("glusterfs", storageClass="shared", storage="1Gi")}}},
            VolumeMount(claim="glusterfs-main", path="/var/lib/glusterfs/main"),
        ),
    ],
    ids=["sqlite", "glusterfs"],
)
def test_each_container_mounts_the_volume_claim_of_the_application(
    databases: dict[str, Any], mount: VolumeMount
) -> None:
    recorder = record_patches(groups(**databases), "a", "b")
    spec = get_pod_spec(get_patches(recorder)[0])
    assert spec["volumes"] == [{"name": mount.volume, "persistentVolumeClaim": {"claimName": mount.claim}}]
    for container in spec["containers"]:
        assert container["volumeMounts"] == [{"name": mount.volume, "mountPath": mount.path}]
    (claim,) = recorder.resources_of_type(PERSISTENT_VOLUME_CLAIM)
    assert claim.inputs["metadata"]["name"] == mount.claim


@pytest.mark.parametrize("engine", ENGINES_WITH_SERVER)
def test_application_does_not_mount_the_volume_claim_of_a_server(engine: str) -> None:
    (application,) = parse_stack(groups(**{engine: {"main": {"server": managed_server(engine)}}})).applications
    assert application.volume_mounts == ()


@pytest.mark.parametrize("engine", [name for name in ENGINES if name not in ENGINES_WITH_SERVER])
def test_path_of_a_file_is_inside_its_mount(engine: str) -> None:
    args = parse_stack(groups(**{engine: {"a-b": None}})).applications
    (mount,) = args[0].volume_mounts
    path = decode_secret(record_applications(args), "shop-environment")[f"{engine.upper()}_PATH"]
    assert path.startswith(f"{mount.path}/")


def test_digest_depends_on_the_containers_but_not_on_their_order() -> None:
    one, two = ContainerPatch(name="a", variables=("X",)), ContainerPatch(name="b", variables=("X",))
    digests = [
        WorkloadPatch(kind="Deployment", name="web", containers=containers).digest
        for containers in ((one, two), (two, one), (one,))
    ]
    assert digests[0] == digests[1] != digests[2]


# Order and options


def test_patches_wait_for_the_environment_secret_and_every_server() -> None:
    recorder = record_patches(groups(redis={"a": None, "b": None}, mysql={"main": None}))
    fields, connections = get_patches(recorder)
    servers = recorder.resources_of_type(STATEFUL_SET)
    assert len(servers) == 3
    assert fields.depends_on >= urns(*servers, get_resource(recorder, SECRET, "shop-environment"))
    assert fields.urn in connections.depends_on
    (application,) = recorder.resources_of_type(APPLICATION)
    values_id = get_resource(recorder, RANDOM_ID, "shop-connections")
    assert {fields.parent, connections.parent, values_id.parent} == {application.urn}


@pytest.mark.parametrize(
    ("seconds", "annotations"),
    [(None, {}), (0, {"pulumi.com/skipAwait": "true"}), (90, {"pulumi.com/timeoutSeconds": "90"})],
    ids=["default", "none", "seconds"],
)
def test_only_the_second_patch_waits_for_the_pods(seconds: int | None, annotations: dict[str, str]) -> None:
    fields, connections = get_patches(record_patches(EXISTING_REDIS, rollout_seconds=seconds))
    assert fields.inputs["metadata"]["annotations"]["pulumi.com/skipAwait"] == "true"
    assert connections.inputs["metadata"]["annotations"] == {"pulumi.com/patchForce": "true", **annotations}


@pytest.mark.parametrize(("up_to_date", "ignored"), [(True, ("metadata.annotations", "spec")), (False, ())])
def test_pulumi_does_not_compare_a_patch_that_is_up_to_date(up_to_date: bool, ignored: tuple[str, ...]) -> None:
    fields, connections = get_patches(record_patches(EXISTING_REDIS, up_to_date=up_to_date))
    assert fields.ignore_changes == ignored
    assert connections.ignore_changes == ()


@pytest.mark.parametrize(
    ("keys", "is_deleted"),
    [
        *DELETED_NAMESPACES,
        ({"databases": {"redis": {"main": {"protect": "retain"}}}}, False),
    ],
    ids=["created", "existing", "protected", "retained", "retained for a group"],
)
def test_patches_are_deleted_with_a_namespace_that_the_program_deletes(keys: dict[str, Any], is_deleted: bool) -> None:
    raw = {"applications": {"shop": {**EXISTING_REDIS["applications"]["shop"], **keys}}}
    recorder = record_patches(raw)
    namespaces = [namespace.urn for namespace in recorder.resources_of_type(NAMESPACE)]
    assert {patch.deleted_with for patch in get_patches(recorder)} == ({*namespaces} if is_deleted else {""})


def test_patches_contain_no_value_and_change_when_a_value_changes() -> None:
    recorder = record_patches(EXISTING_REDIS)
    values_id = get_resource(recorder, RANDOM_ID, "shop-connections")
    assert values_id.inputs["keepers"] == get_resource(recorder, SECRET, "shop-environment").inputs["data"]
    assert values_id.secret_inputs == {"keepers"}
    text = to_json_text([patch.inputs for patch in get_patches(recorder)])
    assert not [form for form in encoded_forms(CANARY) if form in text]


def test_application_without_workloads_registers_no_patch() -> None:
    recorder = record_applications(parse_stack(EXISTING_REDIS).applications)
    assert recorder.resources_of_type(RANDOM_ID) == []
    assert list_patches(recorder) == []


def test_program_forgets_the_patches_of_removed_workloads() -> None:
    """They have the URNs of the earlier patches, are retained, and are not compared with the cluster."""
    workloads = [
        PatchedWorkload(application="shop", namespace="shop", kind="Deployment", name="web"),
        PatchedWorkload(application="old", namespace="o", kind="StatefulSet", name="db"),
    ]
    patches = list_patches(run_program(lambda: forget_removed_workloads(workloads)))
    assert sorted(patch.name for patch in patches) == [
        "old-statefulset-db",
        "old-statefulset-db/connections",
        "shop-deployment-web",
        "shop-deployment-web/connections",
    ]
    assert {(patch.retain_on_delete, patch.ignore_changes) for patch in patches} == {(True, ("metadata", "spec"))}
    assert urns(*get_patches(record_patches(EXISTING_REDIS))) <= urns(*patches)
    assert run_program(lambda: forget_removed_workloads([])).registrations == {}


# Errors


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({}, []),
        ({"containers": ["web", "proxy"]}, []),
        ({"rolloutSeconds": 0}, []),
        ({"containers": "web"}, [("containers", "tuple_type")]),
        ({"containers": []}, [("containers", "empty")]),
        ({"containers": ["web", "web"]}, [("containers", "duplicate")]),
        ({"containers": ["Web"]}, [("containers.0", "container_name")]),
        ({"kind": "CronJob"}, [("kind", "literal_error")]),
        ({"name": "web_1"}, [("name", "workload_name")]),
        ({"rolloutSeconds": -1}, [("rolloutSeconds", "greater_than_equal")]),
    ],
)
def test_codes_of_invalid_workloads(keys: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    assert spec_errors(WorkloadSpec, {"kind": "Deployment", "name": "web", **keys}) == expected
