"""Clusters of RabbitMQ: the objects that the operator gets, and how the program reads its status."""

from dataclasses import replace
from typing import Any

import pulumi
import pytest

from components.engines import ENGINES
from components.platform import ServerAddress
from offline.recorder import Recorder
from stacks.config import parse_stack
from tests.components.test_password_change import run_hook
from tests.components.test_server_password_change import FakeChanger, build_inputs
from tests.support import (
    SECRET,
    SERVICE,
    config_issues,
    decode_secret,
    get_resource,
    pod_security_violations,
    record_applications,
    record_stack,
    stack_with_group,
)

CLUSTER = ENGINES["rabbitmq"].cluster
assert CLUSTER
CLUSTER_TYPE = "kubernetes:rabbitmq.com/v1beta1:RabbitmqCluster"
BUDGET_TYPE = "kubernetes:policy/v1:PodDisruptionBudget"
LABELS = {"database-groups/server": "rabbitmq-main"}
NAME = "rabbitmq-main-cluster"


def build_stack(**server: Any) -> dict[str, Any]:
    return stack_with_group("rabbitmq", {"kind": "dedicated", "replicas": 3, **server})


def get_spec(recorder: Recorder) -> dict[str, Any]:
    spec: dict[str, Any] = get_resource(recorder, CLUSTER_TYPE, "shop-rabbitmq-main-cluster").inputs["spec"]
    return spec


def read_config(recorder: Recorder) -> dict[str, str]:
    lines = get_spec(recorder)["rabbitmq"]["additionalConfig"].splitlines()
    return {name: value for name, _, value in (line.partition(" = ") for line in lines)}


def get_template(recorder: Recorder) -> dict[str, Any]:
    template: dict[str, Any] = get_spec(recorder)["override"]["statefulSet"]["spec"]["template"]
    return template


def test_operator_gets_the_account_in_a_secret_that_it_does_not_own() -> None:
    recorder = record_stack(build_stack())
    name = get_spec(recorder)["secretBackend"]["externalSecret"]["name"]
    account, connection = (decode_secret(recorder, f"shop-rabbitmq-main-{end}") for end in ("account", "connection"))
    assert get_resource(recorder, SECRET, "shop-rabbitmq-main-account").inputs["metadata"]["name"] == name
    assert account == {
        "username": connection["username"],
        "password": connection["password"],
        "default_user.conf": f"default_user = {connection['username']}\ndefault_pass = {connection['password']}\n",
    }


def test_user_has_the_rights_of_a_single_server() -> None:
    config = read_config(record_stack(build_stack()))
    assert config["default_vhost"] == "shop_main"
    assert config["default_user_tags.administrator"] == "false"
    assert config["default_user_tags.policymaker"] == "true"
    assert config["anonymous_login_user"] == "none"
    assert not {"default_user", "default_pass"} & set(config)


def test_user_replaces_defaults() -> None:
    defaults = read_config(record_stack(build_stack()))
    assert defaults["default_queue_type"] == "quorum"
    settings = {"default_queue_type": "classic", "log.connection.level": "info", "heartbeat": 30}
    assert read_config(record_stack(build_stack(settings=settings))) == {
        **defaults,
        "default_queue_type": "classic",
        "log.connection.level": "info",
        "heartbeat": "30",
    }


@pytest.mark.parametrize(("storage", "limit"), [("1Gi", 2**30 // 5), ("5Gi", 2**30), ("50Gi", 2_000_000_000)])
def test_small_volume_does_not_stop_publishers(storage: str, limit: int) -> None:
    assert read_config(record_stack(build_stack(storage=storage)))["disk_free_limit.absolute"] == str(limit)


def test_server_has_the_memory_of_the_group() -> None:
    recorder = record_stack(build_stack(resources={"cpu": "2", "memory": "4Gi"}))
    amounts = {"cpu": "2", "memory": "4Gi"}
    assert get_spec(recorder)["resources"] == {"requests": amounts, "limits": amounts}
    assert read_config(recorder)["total_memory_available_override_value"] == str(4 * 2**30)


def test_pods_keep_pod_security_restricted() -> None:
    """The operator merges the override into its own Pod."""
    assert list(pod_security_violations(get_template(record_stack(build_stack()))["spec"])) == []


def test_resource_has_no_annotation_of_pulumi() -> None:
    """The operator copies all annotations onto its objects, and Pulumi would wait for them there."""
    metadata = get_resource(record_stack(build_stack()), CLUSTER_TYPE, "shop-rabbitmq-main-cluster").inputs["metadata"]
    assert not [key for key in metadata["annotations"] if key.startswith("pulumi.com/")]


def test_servers_are_on_several_nodes_and_stop_one_by_one() -> None:
    recorder = record_stack(build_stack())
    term = {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": LABELS}}
    rules = {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "podAffinityTerm": term}]}
    assert get_spec(recorder)["affinity"] == {"podAntiAffinity": rules}
    exclusive = get_spec(record_stack(build_stack(exclusiveNode=True)))["affinity"]["podAntiAffinity"]
    assert exclusive == {"requiredDuringSchedulingIgnoredDuringExecution": [term]}
    budget = get_resource(recorder, BUDGET_TYPE, "shop-rabbitmq-main-disruption").inputs["spec"]
    assert budget == {"maxUnavailable": 1, "selector": {"matchLabels": LABELS}}
    assert get_template(recorder)["metadata"]["labels"] == LABELS
    assert (get_spec(recorder)["terminationGracePeriodSeconds"], get_spec(recorder)["delayStartSeconds"]) == (60, 5)


def test_servers_run_on_the_database_nodes() -> None:
    toleration = {"key": "pool", "operator": "Exists"}
    nodes = {"nodeSelector": {"pool": "databases"}, "tolerations": [toleration]}
    recorder = record_stack({**build_stack(), "databaseNodes": nodes})
    assert get_template(recorder)["spec"]["nodeSelector"] == {"pool": "databases"}
    assert get_spec(recorder)["tolerations"] == [toleration]


def test_operator_does_not_create_the_service_of_the_group() -> None:
    """The operator creates a Service with the name of the resource, and one with the end `-nodes`."""
    for group in ("main", "events"):
        recorder = record_stack(stack_with_group("rabbitmq", {"kind": "dedicated", "replicas": 3}, group=group))
        (service,) = recorder.resources_of_type(SERVICE)
        (resource,) = recorder.resources_of_type(CLUSTER_TYPE)
        name = resource.inputs["metadata"]["name"]
        assert service.inputs["metadata"]["name"] not in (name, f"{name}-nodes")
        selector = {"app.kubernetes.io/name": name, "app.kubernetes.io/component": "rabbitmq"}
        assert service.inputs["spec"]["selector"] == selector


@pytest.mark.parametrize(
    ("server", "expected"),
    [
        ({"replicas": 2}, "replicas: RabbitMQ Cluster Operator supports 3, 5, 7 or 9 servers of rabbitmq"),
        ({"replicas": 4}, "replicas: RabbitMQ Cluster Operator supports 3, 5, 7 or 9 servers of rabbitmq"),
        ({"durability": "asynchronous"}, "durability: rabbitmq supports synchronous clusters only; remove it"),
        ({"tls": "require"}, "tls: RabbitMQ Cluster Operator creates no certificates; remove it"),
        (
            {"settings": {"cluster_name": "a#b;c"}},
            "settings.cluster_name: RabbitMQ Cluster Operator misreads # or ;; remove it",
        ),
        ({"settings": {"default_vhost": "/"}}, "settings.default_vhost: reserved: the program manages this setting"),
    ],
    ids=["two", "even", "durability", "tls", "characters", "reserved"],
)
def test_errors(server: dict[str, Any], expected: str) -> None:
    (issue,) = config_issues(build_stack(**server))
    assert issue.startswith(f"applications.shop.databases.rabbitmq.main.server.{expected}")


def build_resource(*, generation: int = 2, observed: int | None = 2, **conditions: str) -> dict[str, Any]:
    """Return a resource as the operator writes it."""
    found = {"AllReplicasReady": "True", "ClusterAvailable": "True", "NoWarnings": "True", "ReconcileSuccess": "True"}
    items = [
        {"type": kind, "status": status, "reason": "Reason", "message": "Message"}
        for kind, status in {**found, **conditions}.items()
    ]
    status = {"conditions": items, **({} if observed is None else {"observedGeneration": observed})}
    return {"metadata": {"generation": generation}, "status": status}


@pytest.mark.parametrize(
    ("resource", "expected"),
    [
        ({}, "ReconcileSuccess is not reported yet"),
        (build_resource(), None),
        (build_resource(NoWarnings="False"), None),
        (build_resource(observed=None), "the operator has not seen the last change yet"),
        (build_resource(generation=3), "the operator has not seen the last change yet"),
        (build_resource(AllReplicasReady="False"), "AllReplicasReady is False: Reason Message"),
        (build_resource(ClusterAvailable="Unknown"), "ClusterAvailable is Unknown: Reason Message"),
        (
            build_resource(generation=3, ReconcileSuccess="False", AllReplicasReady="False"),
            "ReconcileSuccess is False: Reason Message",
        ),
    ],
    ids=["nothing", "ready", "warning", "new", "changed", "replicas", "available", "refused"],
)
def test_progress(resource: dict[str, Any], expected: str | None) -> None:
    assert CLUSTER
    assert CLUSTER.describe_progress(resource, "1") == expected
    assert CLUSTER.list_stateful_sets(NAME) == (f"{NAME}-server",)


def test_new_password_is_set_in_the_first_server_before_the_secret(hooks: dict[str, pulumi.ResourceHook]) -> None:
    changer = FakeChanger(None)
    (application,) = parse_stack(build_stack()).applications
    platform = replace(application.platform, password_changer=changer)
    recorder = record_applications([replace(application, platform=platform)])
    secret = get_resource(recorder, SECRET, "shop-rabbitmq-main-connection")
    assert secret.hooks == {"before_update": ("shop-rabbitmq-main-change-password",)}
    run_hook(hooks["shop-rabbitmq-main-change-password"], build_inputs("first"), build_inputs("second"))
    assert CLUSTER
    assert CLUSTER.scripts
    address = ServerAddress(
        location=("applications", "shop", "databases", "rabbitmq", "main"),
        namespace="shop",
        name=f"{NAME}-server",
        container="rabbitmq",
        password_script=f"CLUSTER={NAME} SERVERS=3 USERNAME=shop_main\n{CLUSTER.scripts.change_password}",
    )
    assert changer.calls == [(address, "first", "second")]
    run_hook(hooks["shop-rabbitmq-main-change-password"], build_inputs("same"), build_inputs("same"))
    assert len(changer.calls) == 1


def test_scripts_contain_no_value_that_kubernetes_replaces() -> None:
    assert CLUSTER
    assert CLUSTER.scripts
    assert "$$" not in f"{CLUSTER.scripts.change_password}{CLUSTER.scripts.check}"
