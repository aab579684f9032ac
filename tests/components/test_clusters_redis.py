"""Clusters of Redis: the objects that the operator gets, the Services, and how the program reads the status."""

from typing import Any

import pytest

from components.engines import ENGINES
from offline.recorder import Recorder
from tests.support import (
    SERVICE,
    config_issues,
    decode_secret,
    get_resource,
    pod_security_violations,
    record_stack,
    stack_with_group,
)

CLUSTER = ENGINES["redis"].cluster
assert CLUSTER
REPLICATION = "kubernetes:redis.redis.opstreelabs.in/v1beta2:RedisReplication"
SENTINEL = "kubernetes:redis.redis.opstreelabs.in/v1beta2:RedisSentinel"
NAME = "redis-main-cluster"
LABEL = "database-groups/server"


def build_stack(**server: Any) -> dict[str, Any]:
    return stack_with_group("redis", {"kind": "dedicated", "replicas": 3, **server})


def get_spec(recorder: Recorder, token: str = REPLICATION) -> dict[str, Any]:
    end = {REPLICATION: "cluster", SENTINEL: "sentinel"}[token]
    spec: dict[str, Any] = get_resource(recorder, token, f"shop-redis-main-{end}").inputs["spec"]
    return spec


def test_servers_and_sentinels_read_the_password_of_one_secret() -> None:
    recorder = record_stack(build_stack())
    account, connection = (decode_secret(recorder, f"shop-redis-main-{end}") for end in ("account", "connection"))
    assert account == {"password": connection["password"]}
    reference = {"name": "redis-main-account", "key": "password"}
    assert get_spec(recorder)["kubernetesConfig"]["redisSecret"] == reference
    sentinel = get_spec(recorder, SENTINEL)["redisSentinelConfig"]
    assert sentinel["redisReplicationPassword"] == {"secretKeyRef": reference}
    assert sentinel["redisReplicationName"] == NAME


def test_services_select_the_master_and_the_replicas() -> None:
    services = {
        item.inputs["metadata"]["name"]: item.inputs["spec"]["selector"]
        for item in record_stack(build_stack()).resources_of_type(SERVICE)
    }
    labels = {"app": NAME, "redis_setup_type": "replication", "role": "replication"}
    assert services == {"redis": {**labels, "redis-role": "master"}, "redis-read": {**labels, "redis-role": "slave"}}


def test_policy_selects_servers_and_sentinels() -> None:
    """The operator copies the labels of its resources to the Pods."""
    recorder = record_stack(build_stack())
    for token, end in ((REPLICATION, "cluster"), (SENTINEL, "sentinel")):
        metadata = get_resource(recorder, token, f"shop-redis-main-{end}").inputs["metadata"]
        assert metadata["labels"][LABEL] == "redis-main"


def test_settings_are_applied_to_running_servers() -> None:
    settings = {"timeout": 60, "lazyfree-lazy-expire": True, "save": "3600 1 300 100", "maxmemory": 100_000_000}
    config = get_spec(record_stack(build_stack(settings=settings)))["redisConfig"]["dynamicConfig"]
    assert config == [
        "lazyfree-lazy-expire yes",
        "maxmemory 100000000",
        f"maxmemory-clients {2 * 2**30 // 10}",
        "save 3600 1 300 100",
        "timeout 60",
    ]


@pytest.mark.parametrize(
    ("server", "image", "sentinel"),
    [
        ({}, "quay.io/opstree/redis:v8.2.5", "quay.io/opstree/redis-sentinel:v8.2.5"),
        ({"version": "7"}, "quay.io/opstree/redis:v7.4.8", "quay.io/opstree/redis-sentinel:v7.4.8"),
        (
            {"version": "8", "image": "registry.example.org:5000/redis:v8.2.6"},
            "registry.example.org:5000/redis:v8.2.6",
            "registry.example.org:5000/redis-sentinel:v8.2.6",
        ),
    ],
    ids=["default", "version", "image"],
)
def test_images_are_those_of_the_operator(server: dict[str, Any], image: str, sentinel: str) -> None:
    recorder = record_stack(build_stack(**server))
    images = [get_spec(recorder, token)["kubernetesConfig"]["image"] for token in (REPLICATION, SENTINEL)]
    assert images == [image, sentinel]


@pytest.mark.parametrize("token", [REPLICATION, SENTINEL])
def test_pods_keep_pod_security_restricted(token: str) -> None:
    spec = get_spec(record_stack(build_stack()), token)
    pod = {"securityContext": spec["podSecurityContext"], "containers": [{"securityContext": spec["securityContext"]}]}
    assert list(pod_security_violations(pod)) == []
    assert spec["pdb"] == {"enabled": True, "maxUnavailable": 1}


@pytest.mark.parametrize("token", [REPLICATION, SENTINEL])
def test_pods_run_on_several_database_nodes(token: str) -> None:
    toleration = {"key": "pool", "operator": "Exists"}
    nodes = {"nodeSelector": {"pool": "databases"}, "tolerations": [toleration]}
    spec = get_spec(record_stack({**build_stack(exclusiveNode=True), "databaseNodes": nodes}), token)
    assert (spec["nodeSelector"], spec["tolerations"]) == ({"pool": "databases"}, [toleration])
    (term,) = spec["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert term["topologyKey"] == "kubernetes.io/hostname"
    assert term["labelSelector"]["matchLabels"]["app"] == (NAME if token == REPLICATION else f"{NAME}-sentinel")


@pytest.mark.parametrize(
    ("keys", "server", "expected"),
    [
        (
            {"variant": "valkey"},
            {},
            "replicas: not supported for valkey: no established operator runs Valkey; remove it",
        ),
        ({}, {"durability": "synchronous"}, "durability: redis supports asynchronous clusters only; remove it"),
        (
            {},
            {"settings": {"databases": 32}},
            "settings.databases: reserved: Redis operator of OT-CONTAINER-KIT manages this setting; remove it",
        ),
        ({}, {"version": "8.4.0"}, "version: Redis operator of OT-CONTAINER-KIT runs release 8.2.5 of 8; set"),
    ],
    ids=["valkey", "durability", "setting", "release"],
)
def test_errors(keys: dict[str, Any], server: dict[str, Any], expected: str) -> None:
    (issue,) = config_issues(stack_with_group("redis", {"kind": "dedicated", "replicas": 3, **server}, **keys))
    assert issue.startswith(f"applications.shop.databases.redis.main.server.{expected}")


@pytest.mark.parametrize(
    ("resource", "expected"),
    [
        ({}, "no server is the master yet"),
        ({"status": {"connectionInfo": {"port": 6379}}}, "no server is the master yet"),
        ({"status": {"masterNode": f"{NAME}-0"}}, None),
    ],
    ids=["nothing", "no master", "master"],
)
def test_progress(resource: dict[str, Any], expected: str | None) -> None:
    assert CLUSTER
    assert CLUSTER.describe_progress(resource, "1") == expected
    assert CLUSTER.list_stateful_sets(NAME) == (NAME, f"{NAME}-sentinel")
    assert CLUSTER.scripts
    assert CLUSTER.scripts.find_container(NAME) == (NAME, NAME)
