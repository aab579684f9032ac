"""What is put into workloads: entries and volumes of its own, waited for rightly, compared rightly, and nothing that tells a credential."""

import base64
from operator import itemgetter
from typing import Any

import pulumi
import pytest

import offline.recorder
from components.application import Application
from components.engines import ENGINES
from components.servers import SERVER_KINDS
from components.workload_patches import (
    PATCH_RESOURCE_BY_KIND,
    ContainerPatch,
    PatchedWorkload,
    VolumeMount,
    WorkloadPatch,
    WorkloadSpec,
    forget_removed_workloads,
)
from offline.recorder import Recorder, Registration, run_program
from preflight.cluster import ClusterKeys, Found, FoundContainer, Place
from stacks.config import Stack, parse_stack
from stacks.workload_discovery import resolve_workloads
from tests.support import (
    APPLICATION,
    CANARY,
    ENCRYPTED,
    GROUP,
    NAMESPACE,
    SECRET,
    existing_account,
    external_server,
    get_resource,
    groups,
    managed_server,
    provisioned_on,
    to_json_text,
)

RANDOM_ID = "random:index/randomId:RandomId"
DATABASES: dict[str, Any] = {"redis": {"main": {"server": existing_account("redis")}}}


def patch_type(kind: str) -> str:
    return f"kubernetes:apps/v1:{kind}Patch"


def stack(*workloads: dict[str, Any], databases: dict[str, Any] | None = None, **keys: Any) -> dict[str, Any]:
    return {"applications": {"shop": {"workloads": list(workloads), "databases": databases or DATABASES, **keys}}}


def found(
    *containers: str, annotations: dict[str, str] | None = None, revision: str = "uid.1", **known: FoundContainer
) -> Found:
    return Found(
        revision=revision,
        annotations=annotations or {},
        containers={**{name: FoundContainer() for name in containers}, **known},
    )


def placed(raw: dict[str, Any], there: dict[Place, Found | None], before: dict[str, Any] | None = None) -> Stack:
    return resolve_workloads(
        parse_stack(raw, ENCRYPTED),
        ClusterKeys(),
        before or {},
        reader=lambda places, _: {place: there.get(place) for place in places},
    )


def registered(located_stack: Stack) -> Recorder:
    def program() -> None:
        for application in located_stack.applications:
            Application(application)
        forget_removed_workloads(located_stack.removed_workloads)
        pulumi.export("applications", located_stack.outputs())

    return run_program(program)


WEB = {"kind": "Deployment", "name": "web"}
PLACE = ("shop", "Deployment", "web")


def both(recorder: Recorder, kind: str = "Deployment", name: str = "web") -> tuple[Registration, Registration]:
    """The patch with the variables and the one on which Pods roll."""
    full = f"shop-{kind.lower()}-{name}"
    return get_resource(recorder, patch_type(kind), full), get_resource(
        recorder, patch_type(kind), f"{full}/connections"
    )


def pod(patch: Registration) -> dict[str, Any]:
    inner: dict[str, Any] = patch.inputs["spec"]["template"]["spec"]
    return inner


@pytest.mark.parametrize("kind", PATCH_RESOURCE_BY_KIND)
def test_every_variable_is_an_entry_that_leads_to_the_environment_secret(kind: str) -> None:
    recorder = registered(
        placed(
            stack({"kind": kind, "name": "web", "containers": "web"}), {("shop", kind, "web"): found("web", "proxy")}
        )
    )
    content, connections = both(recorder, kind)
    secret = get_resource(recorder, SECRET, "shop-environment")
    (container,) = pod(content)["containers"]
    assert set(container) == {"name", "env"}
    assert sorted(container["env"], key=itemgetter("name")) == [
        {"name": variable, "valueFrom": {"secretKeyRef": {"name": "shop-databases", "key": variable}}}
        for variable in sorted(secret.inputs["data"])
    ]
    assert connections.inputs["spec"] == {
        "template": {
            "metadata": {
                "labels": {"database-groups/application": "shop"},
                "annotations": {
                    "database-groups/connections": connections.inputs["spec"]["template"]["metadata"]["annotations"][
                        "database-groups/connections"
                    ]
                },
            }
        }
    }
    for patch in (content, connections):
        assert (patch.inputs["metadata"]["name"], patch.inputs["metadata"]["namespace"]) == ("web", "shop")


def test_all_containers_get_them_where_none_is_named() -> None:
    content, _ = both(registered(placed(stack(WEB), {PLACE: found("proxy", "web")})))
    assert [container["name"] for container in pod(content)["containers"]] == ["proxy", "web"]


def test_patches_wait_for_the_secret_and_for_every_server_and_pods_roll_last() -> None:
    recorder = registered(
        placed(stack(WEB, databases={"redis": {"a": None, "b": None}, "mysql": {"main": None}}), {PLACE: found("web")})
    )
    content, connections = both(recorder)
    servers = {found.urn for found in recorder.registrations.values() if found.type.endswith(":StatefulSet")}
    assert len(servers) == 3
    assert content.depends_on >= servers | {get_resource(recorder, SECRET, "shop-environment").urn}
    assert content.urn in connections.depends_on
    (application,) = recorder.resources_of_type(APPLICATION)
    assert {content.parent, connections.parent, get_resource(recorder, RANDOM_ID, "shop-connections").parent} == {
        application.urn
    }
    assert len(recorder.resources_of_type(GROUP)) == 3


@pytest.mark.parametrize(
    ("seconds", "waiting"),
    [
        ({}, {}),
        ({"rolloutSeconds": 0}, {"pulumi.com/skipAwait": "true"}),
        ({"rolloutSeconds": 90}, {"pulumi.com/timeoutSeconds": "90"}),
    ],
    ids=["default", "none", "bounded"],
)
def test_only_the_last_patch_waits_for_pods_and_as_long_as_is_said(
    seconds: dict[str, int], waiting: dict[str, str]
) -> None:
    content, connections = both(registered(placed(stack({**WEB, **seconds}), {PLACE: found("web")})))
    assert content.inputs["metadata"]["annotations"]["pulumi.com/skipAwait"] == "true"
    assert connections.inputs["metadata"]["annotations"] == {"pulumi.com/patchForce": "true", **waiting}


def test_what_pods_roll_by_is_made_anew_by_the_values_and_tells_none() -> None:
    recorder = registered(placed(stack(WEB), {PLACE: found("web")}))
    word = get_resource(recorder, RANDOM_ID, "shop-connections")
    assert word.inputs["keepers"] == get_resource(recorder, SECRET, "shop-environment").inputs["data"]
    assert "keepers" in word.secret_inputs
    shown = to_json_text([patch.inputs for patch in both(recorder)])
    assert CANARY not in shown
    assert base64.b64encode(CANARY.encode()).decode() not in shown
    assert offline.recorder.PASSWORD in shown, "the stand-in for the random word"


def test_an_application_without_workloads_has_nothing_of_this() -> None:
    recorder = registered(placed(stack(), {}))
    assert recorder.resources_of_type(RANDOM_ID) == []
    assert not [registration for registration in recorder.registrations.values() if registration.type.endswith("Patch")]


@pytest.mark.parametrize(
    ("keys", "environment", "expected"),
    [({}, "development", True), ({"createNamespace": False}, "development", False), ({}, "production", False)],
    ids=["own namespace", "given namespace", "namespace that is kept"],
)
def test_patches_go_with_a_namespace_that_takes_the_workloads_with_it(
    keys: dict[str, Any], environment: str, expected: bool
) -> None:
    recorder = registered(placed({"environment": environment, **stack(WEB, **keys)}, {PLACE: found("web")}))
    spaces = [space.urn for space in recorder.resources_of_type(NAMESPACE)]
    for patch in both(recorder):
        assert patch.deleted_with == (spaces[0] if expected else "")


def settled(**changes: Any) -> Found:
    """The workload as the patch of this module's stack leaves it."""
    content, _ = both(registered(placed(stack(WEB), {PLACE: found("web")})))
    variables = {entry["name"]: ("shop-databases", entry["name"]) for entry in pod(content)["containers"][0]["env"]}
    annotations = {"database-groups/applied": content.inputs["metadata"]["annotations"]["database-groups/applied"]}
    return found(
        **{
            "annotations": annotations,
            "revision": "uid.7",
            "web": FoundContainer(variables={**variables, "OWN": None}),
            **changes,
        }
    )


def applied(patch: Registration) -> str:
    word: str = patch.inputs["metadata"]["annotations"]["database-groups/applied"]
    return word


def test_what_is_there_already_is_not_compared_by_position() -> None:
    content, connections = both(registered(placed(stack(WEB), {PLACE: settled()})))
    assert content.ignore_changes == ("metadata.annotations", "spec")
    assert connections.ignore_changes == ()
    assert applied(content) == settled().annotations["database-groups/applied"]


LOST = {
    "an entry was taken out": settled(web=FoundContainer(variables={"OWN": None})),
    "another workload of its name": settled(revision="other.7"),
    "its annotation was taken out": settled(annotations={}),
    "a container more": settled(extra=FoundContainer()),
}


@pytest.mark.parametrize("there", LOST.values(), ids=list(LOST))
def test_what_is_lost_is_put_in_again(there: Found) -> None:
    """The patch is compared, and differs from what it was in any earlier state of the workload."""
    content, _ = both(registered(placed(stack(WEB), {PLACE: there})))
    assert content.ignore_changes == ()
    assert applied(content) != settled().annotations["database-groups/applied"]


def test_a_group_more_is_put_in() -> None:
    more = {**DATABASES, "mysql": {"main": {"server": existing_account("mysql")}}}
    content, _ = both(registered(placed(stack(WEB, databases=more), {PLACE: settled()})))
    assert content.ignore_changes == ()
    assert "MYSQL_URL" in [entry["name"] for entry in pod(content)["containers"][0]["env"]]


def test_the_order_of_containers_is_no_reason_to_roll() -> None:
    one, two = ContainerPatch(name="a", variables=("X",)), ContainerPatch(name="b", variables=("X",))
    digests = {
        WorkloadPatch(kind="Deployment", name="web", containers=containers).digest
        for containers in ((one, two), (two, one))
    }
    assert len(digests) == 1
    assert WorkloadPatch(kind="Deployment", name="web", containers=(one,)).digest not in digests


def test_what_a_container_sets_itself_is_left_to_it_and_told() -> None:
    own_variable = FoundContainer(variables={"REDIS_URL": None, "REDIS_PORT": ("other", "REDIS_PORT")})
    where = placed(stack(WEB), {PLACE: found("proxy", web=own_variable)})
    (proxy, web) = pod(both(registered(where))[0])["containers"]
    assert {entry["name"] for entry in proxy["env"]} - {entry["name"] for entry in web["env"]} == {
        "REDIS_URL",
        "REDIS_PORT",
    }
    assert [warning for warning in where.warnings if "of its own" in warning] == [
        "applications.shop.workloads[0]: the container 'web' of the Deployment 'web' has REDIS_PORT, REDIS_URL of its own, and keeps that;"
        " take it out of the manifest to have the application's, then run pulumi up again"
    ]


def test_a_workload_that_is_not_there_is_a_warning_and_nothing_else() -> None:
    where = placed(stack(WEB), {})
    assert where.warnings == (
        "applications.shop.workloads[0]: there is no Deployment 'web' in the namespace 'shop', so nothing gets variables; deploy it, then run pulumi up again",
    )
    assert where.outputs()["shop"]["workloads"] == {"Deployment/web": False}
    assert not [
        registration for registration in registered(where).registrations.values() if registration.type.endswith("Patch")
    ]


def test_a_container_that_is_not_there_is_a_warning_with_those_that_are() -> None:
    where = placed(stack({**WEB, "containers": ["web", "x"]}), {PLACE: found("web", "proxy")})
    assert where.warnings == (
        "applications.shop.workloads[0].container: the Deployment 'web' has no container 'x'; it has proxy, web",
    )
    assert [container["name"] for container in pod(both(registered(where))[0])["containers"]] == ["web"]


def test_a_workload_that_is_gone_is_kept_once_more_without_a_look_and_then_forgotten() -> None:
    before = {
        "shop": {"namespace": "shop", "workloads": {"Deployment/web": True, "DaemonSet/never": False}},
        "old": {"namespace": "o", "workloads": {"StatefulSet/db": True}},
    }
    where = placed(stack(WEB), {}, before)
    assert where.removed_workloads == (
        PatchedWorkload(application="shop", namespace="shop", kind="Deployment", name="web"),
        PatchedWorkload(application="old", namespace="o", kind="StatefulSet", name="db"),
    )
    patches = [
        registration for registration in registered(where).registrations.values() if registration.type.endswith("Patch")
    ]
    assert {patch.name for patch in patches} == {
        "shop-deployment-web",
        "shop-deployment-web/connections",
        "old-statefulset-db",
        "old-statefulset-db/connections",
    }
    for patch in patches:
        assert patch.retain_on_delete
        assert patch.ignore_changes == ("metadata", "spec")
    here = {patch.urn for patch in both(registered(placed(stack(WEB), {PLACE: found("web")})))}
    assert here <= {patch.urn for patch in patches}, "they are those that its application had"
    assert placed(stack(WEB), {PLACE: found("web")}, {"shop": before["shop"]}).removed_workloads == ()


def test_a_workload_in_another_namespace_is_not_registered_twice() -> None:
    before = {"shop": {"namespace": "before", "workloads": {"Deployment/web": True}}}
    assert placed(stack(WEB), {PLACE: found("web")}, before).removed_workloads == ()


def test_without_a_cluster_those_whose_containers_are_named_are_taken_to_be_there() -> None:
    raw = stack({**WEB, "containers": ["a", "b"]}, {"kind": "DaemonSet", "name": "agent"})
    where = resolve_workloads(parse_stack(raw), None, {})
    recorder = registered(where)
    assert [container["name"] for container in pod(both(recorder)[0])["containers"]] == ["a", "b"]
    assert recorder.resources_of_type(patch_type("DaemonSet")) == []
    assert not [warning for warning in where.warnings if "workloads" in warning]


def test_no_cluster_is_looked_at_for_a_stack_without_workloads() -> None:
    def look(*_: Any) -> Any:
        raise AssertionError

    raw = parse_stack(stack())
    assert resolve_workloads(raw, ClusterKeys(), {}, reader=look) == raw


WAYS: list[Any] = [
    *(
        pytest.param(groups(**{engine: {"main": {"server": managed_server(engine, kind)}}}), id=f"{kind} {engine}")
        for engine in ENGINES
        for kind in SERVER_KINDS
        if kind == "local" or (kind == "dedicated" and ENGINES[engine].build_runtime)
    ),
    *(
        pytest.param(groups(**{engine: {"main": {"server": existing_account(engine)}}}), id=f"given {engine}")
        for engine in ENGINES
        if ENGINES[engine].port
    ),
    *(
        pytest.param(
            groups(**{engine: {"main": {"server": existing_account(engine, whole=False)}}}), id=f"barely given {engine}"
        )
        for engine in ENGINES
        if ENGINES[engine].port
    ),
    *(
        pytest.param(
            {"externalServers": {"hq": external_server(engine)}, **groups(**{engine: {"main": provisioned_on("hq")}})},
            id=f"provisioned {engine}",
        )
        for engine in ENGINES
        if ENGINES[engine].provisioner
    ),
    pytest.param(
        groups(mysql={"a": {"primary": True}, "b": None}, postgresql={"x": None, "y": None}, sqlite={"main": None}),
        id="several",
    ),
]


@pytest.mark.parametrize("raw", WAYS)
def test_the_names_of_variables_are_known_without_their_values(raw: dict[str, Any]) -> None:
    where = parse_stack(raw)
    (application,) = where.applications
    assert sorted(application.variable_names) == sorted(
        get_resource(registered(where), SECRET, "shop-environment").inputs["data"]
    )


CLAIMED = {
    "sqlite": ({"sqlite": {"main": None}}, VolumeMount(claim="sqlite-main", path="/var/lib/sqlite/main")),
    "glusterfs": (
        {"glusterfs": {"main": {"server": existing_account("glusterfs", storageClass="shared", storage="1Gi")}}},
        VolumeMount(claim="glusterfs-main", path="/var/lib/glusterfs/main"),
    ),
}


@pytest.mark.parametrize(("databases", "mount"), CLAIMED.values(), ids=list(CLAIMED))
def test_a_claim_of_the_applications_is_mounted_in_each_container(
    databases: dict[str, Any], mount: VolumeMount
) -> None:
    recorder = registered(placed(stack(WEB, databases=databases), {PLACE: found("a", "b")}))
    content, _ = both(recorder)
    assert pod(content)["volumes"] == [{"name": mount.volume, "persistentVolumeClaim": {"claimName": mount.claim}}]
    assert [container["volumeMounts"] for container in pod(content)["containers"]] == [
        [{"name": mount.volume, "mountPath": mount.path}]
    ] * 2
    (claim,) = recorder.resources_of_type("kubernetes:core/v1:PersistentVolumeClaim")
    assert claim.inputs["metadata"]["name"] == mount.claim


@pytest.mark.parametrize("engine", [name for name, engine in ENGINES.items() if engine.build_runtime])
def test_the_claim_of_a_server_is_mounted_by_that_server_alone(engine: str) -> None:
    (application,) = parse_stack(groups(**{engine: {"main": {"server": managed_server(engine)}}})).applications
    assert application.volume_mounts == ()


def test_where_a_file_is_mounted_is_where_its_path_leads() -> None:
    (application,) = parse_stack(groups(sqlite={"a-b": None})).applications
    (mount,) = application.volume_mounts
    variables = get_resource(registered(parse_stack(groups(sqlite={"a-b": None}))), SECRET, "shop-environment").inputs[
        "data"
    ]
    assert base64.b64decode(variables["SQLITE_PATH"]).decode().startswith(f"{mount.path}/")


def test_a_mount_of_a_workloads_own_is_left_to_it() -> None:
    there = found(web=FoundContainer(mounts={"/var/lib/sqlite/main": "mine"}))
    where = placed(stack(WEB, databases={"sqlite": {"main": None}}), {PLACE: there})
    assert "volumes" not in pod(both(registered(where))[0])
    assert [warning for warning in where.warnings if "has /var/lib/sqlite/main of its own" in warning]


def test_a_container_may_be_one_name() -> None:
    assert WorkloadSpec(kind="Deployment", name="web", containers="web") == WorkloadSpec(
        kind="Deployment", name="web", containers=("web",)
    )
