"""The status of groups: what each state of a server's objects becomes."""

from typing import Any

import pytest

from status.cluster import VolumeUsage
from status.groups import (
    GroupStatus,
    VolumeStatus,
    build_statuses,
    has_server_clusters,
    list_event_namespaces,
    list_nodes,
    list_object_kinds,
)
from tests.status.objects import (
    CREATED,
    READY_SINCE,
    Json,
    build,
    build_claim,
    build_cluster_pod,
    build_event,
    build_healthy,
    build_pod,
    build_service,
    collect,
    state,
)

REDIS = state(redis={"main": {}})
EXTERNAL = {"kind": "external", "version": None}


def find_problems(objects: list[Json], events: list[Json] | None = None) -> tuple[str, ...]:
    (application,) = build_statuses(REDIS, collect(objects), events or [], {})
    (group,) = application.groups
    return group.problems


def test_a_ready_server_has_a_version_a_time_and_a_volume() -> None:
    usage = {("shop", "redis-main"): VolumeUsage(1, 4)}
    (application,) = build_statuses(REDIS, collect([*build_healthy(), build_pod()]), [], usage)
    assert application.problems == ()
    assert application.groups == (
        GroupStatus(
            engine="redis",
            group="main",
            service="redis",
            kind="local",
            variant="redis",
            version="8.2",
            servers=1,
            ready_servers=1,
            ready=True,
            since=READY_SINCE,
            volume=VolumeStatus(claim="redis-main", size="2Gi", used_bytes=1, capacity_bytes=4),
            secret="redis-main",
            secret_changed=CREATED,
        ),
    )


def waiting(reason: str, message: str | None = None, **more: Any) -> Json:
    return {"containerStatuses": [{"state": {"waiting": {"reason": reason, "message": message}}, **more}]}


ENDED = {"terminated": {"reason": "OOMKilled", "exitCode": 137}}
UNSCHEDULED = [
    {"type": "Ready", "status": "False", "lastTransitionTime": READY_SINCE},
    {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes are available"},
]


@pytest.mark.parametrize(
    ("status", "has_event", "reason"),
    [
        (waiting("ImagePullBackOff", "no such image"), False, "ImagePullBackOff: no such image"),
        (waiting("ImagePullBackOff", "no such image"), True, "ImagePullBackOff: no such image"),
        (
            waiting("CrashLoopBackOff", "back-off 5m", lastState=ENDED, restartCount=7),
            True,
            "CrashLoopBackOff: OOMKilled, exit code 137, restarts: 7",
        ),
        (waiting("ContainerCreating"), False, "ContainerCreating"),
        (waiting("ContainerCreating"), True, "Unhealthy: last"),
        ({"containerStatuses": [{"state": ENDED, "restartCount": 1}]}, False, "OOMKilled, exit code 137, restarts: 1"),
        ({"containerStatuses": [{"state": {"running": {}}}]}, True, "Unhealthy: last"),
        ({"containerStatuses": [{"state": {"running": {}}}]}, False, "its containers are not ready"),
        ({"initContainerStatuses": waiting("PodInitializing")["containerStatuses"]}, False, "PodInitializing"),
        ({"message": "The node was low on memory"}, False, "The node was low on memory"),
        ({"conditions": UNSCHEDULED}, True, "Unschedulable: 0/1 nodes are available"),
        ({"conditions": []}, False, "its containers are not ready"),
    ],
)
def test_a_pod_that_is_not_ready_has_its_most_specific_reason(status: Json, has_event: bool, reason: str) -> None:
    events = [
        build_event("Pod", "redis-main-0", "Unhealthy", "last", time="2026-01-03T00:00:00Z"),
        build_event("Pod", "redis-main-0", "Unhealthy", "first", time="2026-01-02T00:00:00Z"),
        build_event("Pod", "redis-main-0", "Pulled", "no warning", time="2026-01-04T00:00:00Z", warns=False),
        build_event("Pod", "mysql-main-0", "Unhealthy", "another Pod", time="2026-01-05T00:00:00Z"),
    ]
    objects = [*build_healthy(), build_pod(ready=False, **status)]
    assert find_problems(objects, events if has_event else []) == (f"Pod redis-main-0: {reason}",)
    (application,) = build_statuses(REDIS, collect(objects), [], {})
    assert application.groups[0].ready is False
    assert list_event_namespaces(REDIS, collect(objects)) == ["shop"]


def test_a_pod_that_is_being_deleted_is_a_problem_only_while_it_is_not_ready() -> None:
    pod = build_pod(ready=False)
    pod["metadata"]["deletionTimestamp"] = CREATED
    assert find_problems([*build_healthy(), pod]) == ("Pod redis-main-0: is being deleted",)


@pytest.mark.parametrize(
    ("kind", "name"), [("Service", "redis"), ("Secret", "redis-main"), ("StatefulSet", "redis-main")]
)
def test_a_missing_object_is_a_problem_unless_the_account_may_not_list_it(kind: str, name: str) -> None:
    rest = [
        entry for entry in [*build_healthy(), build_pod()] if (entry["kind"], entry["metadata"]["name"]) != (kind, name)
    ]
    assert find_problems(rest) == (f"{kind} {name} is missing",)
    (application,) = build_statuses(REDIS, collect(rest, [(kind, "shop")]), [], {})
    assert application.groups[0].problems == ()


def test_a_missing_environment_secret_is_a_problem_of_the_application() -> None:
    rest = [entry for entry in build_healthy() if entry["metadata"]["name"] != "shop-databases"]
    (application,) = build_statuses(REDIS, collect([*rest, build_pod()]), [], {})
    assert application.problems == ("Secret shop-databases is missing",)
    assert application.groups[0].problems == ()


@pytest.mark.parametrize(
    ("events", "problem"),
    [
        ([], "no Pod"),
        ([build_event("StatefulSet", "redis-main", "FailedCreate", "quota")], "no Pod: FailedCreate: quota"),
    ],
)
def test_a_server_without_a_pod_has_the_event_of_its_stateful_set(events: list[Json], problem: str) -> None:
    assert find_problems(build_healthy(), events) == (problem,)
    (application,) = build_statuses(REDIS, collect(build_healthy(), [("Pod", "shop")]), [], {})
    assert application.groups[0].problems == ()


@pytest.mark.parametrize(
    ("claim", "events", "problems", "size"),
    [
        (build_claim(provided="3Gi"), [], (), "3Gi"),
        (build_claim(requested="1024Mi", provided="1Gi"), [], (), "1Gi"),
        (
            build_claim(requested="20Gi", provided="10Gi"),
            [],
            ("volume claim redis-main requests 20Gi and has 10Gi",),
            "10Gi",
        ),
        (build_claim(phase="Pending"), [], ("volume claim redis-main is Pending",), "2Gi"),
        (
            build_claim(phase="Pending"),
            [build_event("PersistentVolumeClaim", "redis-main", "FailedBinding", "no volume", warns=False)],
            ("volume claim redis-main is Pending: FailedBinding: no volume",),
            "2Gi",
        ),
        (build_claim(phase="Lost"), [], ("volume claim redis-main is Lost",), "2Gi"),
    ],
)
def test_a_volume_has_the_size_that_the_cluster_provides(
    claim: Json, events: list[Json], problems: tuple[str, ...], size: str
) -> None:
    rest = [entry for entry in build_healthy() if entry["kind"] != claim["kind"]]
    (application,) = build_statuses(REDIS, collect([*rest, build_pod(), claim]), events, {})
    (group,) = application.groups
    assert group.problems == problems
    assert group.volume
    assert group.volume.size == size


@pytest.mark.parametrize(
    ("spec", "addresses", "hosts"),
    [
        ({"externalName": "db.example.org"}, [], ("db.example.org:6379",)),
        ({}, ["10.0.0.1", "10.0.0.2"], ("10.0.0.1:6379", "10.0.0.2:6379")),
        ({}, ["fd00::1"], ("[fd00::1]:6379",)),
        ({}, [], ()),
        (None, [], ()),
    ],
)
def test_an_external_server_has_the_hosts_of_its_service(
    spec: Json | None, addresses: list[str], hosts: tuple[str, ...]
) -> None:
    external = state(redis={"main": EXTERNAL})
    endpoints = [{"addresses": [address]} for address in addresses] or None
    objects = [build("EndpointSlice", "redis-main", endpoints=endpoints)]
    objects += [build_service(**spec)] if spec is not None else []
    (application,) = build_statuses(external, collect([*objects, build("Secret", "redis-main")]), [], {})
    (group,) = application.groups
    assert (group.hosts, group.ready, group.version) == (hosts, None, None)
    assert group.problems == (("Service redis is missing",) if spec is None else ())
    assert "EndpointSlice" in list_object_kinds(external)
    assert "EndpointSlice" not in list_object_kinds(REDIS)


def test_an_engine_without_a_server_has_a_volume_only() -> None:
    sqlite = state(sqlite={"main": {"service": None, "version": None}})
    claim = build_claim("sqlite-main")
    (application,) = build_statuses(sqlite, collect([build("Secret", "sqlite-main"), claim]), [], {})
    (group,) = application.groups
    assert (group.service, group.ready, group.problems) == (None, None, ())
    assert group.volume


def test_groups_of_one_namespace_have_their_own_pods() -> None:
    """The labels of a Pod name its application and its group."""
    two = state(redis={"main": {}, "cache": {"service": "redis-cache"}})
    objects = [
        *build_healthy(),
        build_pod(),
        *(build(kind, "redis-cache") for kind in ("StatefulSet", "Secret", "Service")),
    ]
    (application,) = build_statuses(two, collect(objects), [], {})
    assert {group.group: group.ready for group in application.groups} == {"cache": False, "main": True}


def test_a_secret_changed_when_a_manager_of_its_fields_last_wrote_it() -> None:
    secret = build("Secret", "redis-main")
    secret["metadata"]["managedFields"] = [{"time": "2026-02-01T00:00:00Z"}, {"time": "2026-03-01T00:00:00Z"}, {}]
    rest = [
        entry for entry in build_healthy() if entry["metadata"]["name"] != "redis-main" or entry["kind"] != "Secret"
    ]
    (application,) = build_statuses(REDIS, collect([*rest, secret, build_pod()]), [], {})
    assert application.groups[0].secret_changed == "2026-03-01T00:00:00Z"


def test_nodes_are_those_of_pods_and_of_claims_without_a_running_pod() -> None:
    claim = build_claim("sqlite-main")
    claim["metadata"]["annotations"] = {"volume.kubernetes.io/selected-node": "node-2"}
    pending = build_pod("redis-spare-0")
    pending["spec"] = {}
    assert list_nodes(collect([build_pod(), pending, claim, build_claim()]), ["shop"]) == {"node-1", "node-2"}


def test_no_events_are_read_where_all_groups_are_ready() -> None:
    assert list_event_namespaces(REDIS, collect([*build_healthy(), build_pod()])) == []


CLUSTER = state(postgresql={"main": {"kind": "dedicated", "replicas": 3, "storage": "2Gi"}})
CLUSTER_OBJECTS = [
    build_service("postgresql"),
    build("Secret", "postgresql-main"),
    build("Secret", "shop-databases"),
]


def find_cluster(pods: list[Json], **options: Any) -> GroupStatus:
    usage = options.pop("usage", {})
    objects = collect([*CLUSTER_OBJECTS, *pods], **options)
    (application,) = build_statuses(CLUSTER, objects, [], usage)
    assert application.problems == ()
    return application.groups[0]


def test_a_cluster_is_ready_when_all_servers_are() -> None:
    """Proxies and ended jobs of the operator are no servers."""
    servers = [build_cluster_pod(f"postgresql-main-{number}") for number in (1, 2, 3)]
    others = [
        build_cluster_pod("postgresql-main-proxy-0", claim=None),
        build_cluster_pod("postgresql-main-1-initdb", ready=False, claim="postgresql-main-1", phase="Succeeded"),
    ]
    group = find_cluster([*servers, *others])
    assert (group.servers, group.ready_servers, group.ready, group.problems) == (3, 3, True, ())
    assert group.since == READY_SINCE
    assert has_server_clusters(CLUSTER)
    assert not has_server_clusters(REDIS)


def test_a_cluster_whose_server_is_not_ready_has_the_reason() -> None:
    starting = build_cluster_pod("postgresql-main-3", ready=False, message="The node was low on memory")
    pods = [build_cluster_pod("postgresql-main-1"), build_cluster_pod("postgresql-main-2"), starting]
    group = find_cluster(pods)
    assert (group.ready, group.ready_servers) == (False, 2)
    assert group.problems == ("2 of 3 servers ready", "Pod postgresql-main-3: The node was low on memory")
    missing = find_cluster(pods[:1])
    assert missing.ready is False
    assert missing.problems == ("1 of 3 servers ready; Pods exist for 1 of 3: read the log of the operator",)


def test_volume_of_a_cluster_that_did_not_grow_is_a_problem() -> None:
    names = [f"postgresql-main-{number}" for number in (1, 2, 3)]
    claims = [build_claim(names[0], requested="4Gi"), build_claim(names[1], requested="4Gi", provided="4Gi")]
    group = find_cluster([*map(build_cluster_pod, names), *claims])
    assert group.problems == ("volume claim postgresql-main-1 requests 4Gi and has 2Gi",)


def test_a_cluster_whose_pods_may_not_be_listed_has_no_problem() -> None:
    assert find_cluster([], unreadable=[("Pod", "shop")]).problems == ()


def test_the_volume_of_a_cluster_is_the_fullest_one() -> None:
    pods = [build_cluster_pod(f"postgresql-main-{number}") for number in (1, 2, 3)]
    usage = {("shop", f"postgresql-main-{number}"): VolumeUsage(used, 10) for number, used in [(1, 4), (2, 9), (3, 2)]}
    volume = VolumeStatus(claim="postgresql-main-2", size="2Gi", used_bytes=9, capacity_bytes=10)
    assert find_cluster(pods, usage=usage).volume == volume
    assert find_cluster(pods).volume == VolumeStatus(claim="postgresql-main-1", size="2Gi")
    assert find_cluster([]).volume is None
