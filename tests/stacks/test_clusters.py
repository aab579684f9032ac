"""Server clusters: their validation, their edits, and what they register, for every engine that has an operator."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pulumi
import pytest

from components.engines import ENGINES
from components.engines.clusters.definition import describe_condition
from components.platform import OperatedCluster
from preflight.cluster_client import ClusterConfig
from preflight.cluster_status import describe_stateful_set
from stacks.change_guard import validate_update
from stacks.cluster_checks import build_cluster_requirements
from stacks.cluster_monitor import OperatorMonitor
from stacks.config import parse_stack
from stacks.config_source import ConfigSource
from tests.fake_api import build_kubeconfig, run_api_server
from tests.support import (
    NETWORK_POLICY,
    SECRET,
    SERVICE,
    config_issues,
    decode_secret,
    get_resource,
    groups,
    record_stack,
)

Raw = dict[str, Any]
CLUSTERS = {name: engine.cluster for name, engine in ENGINES.items() if engine.cluster}
OTHERS = [name for name, engine in ENGINES.items() if engine.build_runtime and not engine.cluster]
SIZE = 3
SERVER = "applications.shop.databases.postgresql.main.server"


def cluster(engine: str, replicas: int = SIZE, **server: Any) -> Raw:
    """Return a stack with a server cluster."""
    return groups(**{engine: {"main": {"server": {"kind": "dedicated", "replicas": replicas, **server}}}})


def single() -> Raw:
    return {"server": {"kind": "dedicated"}}


@pytest.mark.parametrize("engine", CLUSTERS)
def test_cluster_has_at_most_two_resources_more_than_one_server(engine: str) -> None:
    def count(replicas: int) -> int:
        raw = cluster(engine, replicas) if replicas > 1 else groups(**{engine: {"main": single()}})
        return len(record_stack(raw).registrations)

    assert count(SIZE) <= count(1) + 2


@pytest.mark.parametrize("engine", CLUSTERS)
def test_cluster_has_the_service_secret_and_variables_of_one_server(engine: str) -> None:
    one, several = record_stack(groups(**{engine: {"main": single()}})), record_stack(cluster(engine))
    for recorder in (one, several):
        assert get_resource(recorder, SERVICE, f"shop-{engine}").inputs["metadata"]["name"] == engine
    connections = [decode_secret(recorder, f"shop-{engine}-main-connection") for recorder in (one, several)]
    assert set(connections[0]) <= set(connections[1])
    for key in set(connections[0]) - {"password", "uri"}:
        assert connections[0][key] == connections[1][key]
    variables = [set(decode_secret(recorder, "shop-environment")) for recorder in (one, several)]
    assert variables[0] <= variables[1]


@pytest.mark.parametrize("engine", CLUSTERS)
def test_custom_resource_is_data(engine: str) -> None:
    """The operator deletes the volumes with it."""
    definition = CLUSTERS[engine]
    assert definition
    resource_type = definition.operator.resource_types[0]
    raw = cluster(engine)
    raw["applications"]["shop"]["protect"] = True
    token = f"kubernetes:{resource_type.api_version}:{resource_type.kind}"
    (resource,) = [item for item in record_stack(raw).registrations.values() if item.type == token]
    assert resource.protect
    assert resource.retain_on_delete
    # Some operators copy the annotations of the resource to their own objects, for which Pulumi would then wait.
    assert not [key for key in resource.inputs["metadata"].get("annotations") or {} if key.startswith("pulumi.com/")]


@pytest.mark.parametrize("engine", CLUSTERS)
def test_network_policy_admits_application_servers_and_operator(engine: str) -> None:
    definition = CLUSTERS[engine]
    assert definition
    policy = get_resource(record_stack(cluster(engine)), NETWORK_POLICY, f"shop-{engine}-main-network-policy").inputs
    (rule,) = policy["spec"]["ingress"]
    selector = policy["spec"]["podSelector"]
    assert selector == {"matchLabels": {"database-groups/server": f"{engine}-main"}}
    assert {"podSelector": selector} in rule["from"]
    operator = {"namespaceSelector": {}, "podSelector": {"matchLabels": dict(definition.operator.pod_labels)}}
    assert operator in rule["from"]
    assert {"podSelector": {"matchLabels": {"app.kubernetes.io/name": "shop"}}} in rule["from"]


def test_operator_reads_the_account_from_a_secret_of_its_own() -> None:
    recorder = record_stack(cluster("postgresql"))
    secret = get_resource(recorder, SECRET, "shop-postgresql-main-account").inputs
    assert secret["metadata"]["name"] == "postgresql-main-account"
    assert secret["metadata"]["labels"]["cnpg.io/reload"] == "true"
    connection = decode_secret(recorder, "shop-postgresql-main-connection")
    account = decode_secret(recorder, "shop-postgresql-main-account")
    assert account == {key: connection[key] for key in ("username", "password")}


def test_second_service_is_for_reads() -> None:
    recorder = record_stack(cluster("postgresql"))
    service = get_resource(recorder, SERVICE, "shop-postgresql-read").inputs
    assert service["spec"]["selector"] == {"cnpg.io/cluster": "postgresql-main", "cnpg.io/instanceRole": "replica"}
    connection = decode_secret(recorder, "shop-postgresql-main-connection")
    assert connection["read-host"] == "postgresql-read"
    assert connection["read-uri"] == connection["uri"].replace("@postgresql:", "@postgresql-read:")
    assert "POSTGRESQL_MAIN_READ_URL" in decode_secret(recorder, "shop-environment")


def build_spec(**server: Any) -> Raw:
    (resource,) = [
        item
        for item in record_stack(cluster("postgresql", **server)).registrations.values()
        if item.type.endswith(":Cluster")
    ]
    spec: Raw = resource.inputs["spec"]
    return spec


@pytest.mark.parametrize(
    ("server", "is_synchronous"),
    [
        ({}, True),
        ({"durability": "synchronous"}, True),
        ({"durability": "asynchronous"}, False),
        ({"replicas": 2}, False),
    ],
)
def test_write_waits_for_a_replica_if_another_one_remains(server: Raw, is_synchronous: bool) -> None:
    synchronous = build_spec(**server)["postgresql"].get("synchronous")
    expected = {"method": "any", "number": 1, "dataDurability": "required", "failoverQuorum": True}
    assert synchronous == (expected if is_synchronous else None)


def test_settings_replace_those_of_the_program() -> None:
    parameters = build_spec(settings={"work_mem": "8MB", "jit": False})["postgresql"]["parameters"]
    assert parameters["work_mem"] == "8MB"
    assert parameters["jit"] == "off"
    assert parameters["shared_buffers"] == "512MB"


def test_exclusive_nodes_are_required() -> None:
    assert build_spec()["affinity"]["podAntiAffinityType"] == "preferred"
    assert build_spec(exclusiveNode=True)["affinity"]["podAntiAffinityType"] == "required"


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (
            cluster("postgresql", 2, durability="synchronous"),
            "durability: with two servers, the loss of one would stop",
        ),
        (cluster("postgresql", initScript="SELECT 1"), "initScript: not supported with `replicas`"),
        (
            cluster("postgresql", settings={"archive_mode": True}),
            "settings.archive_mode: reserved: CloudNativePG manages",
        ),
        (cluster("postgresql", 10), "replicas: "),
        (cluster("postgresql", 0), "replicas: "),
        (cluster("postgresql", 1, durability="synchronous"), "durability: needs at least two servers; set `replicas`"),
        (cluster("postgresql", 1, tls="require"), "tls: needs at least two servers; set `replicas`"),
        *((cluster(engine), "replicas: not supported for") for engine in OTHERS),
    ],
)
def test_unsupported_keys_are_rejected(raw: Raw, message: str) -> None:
    assert [issue for issue in config_issues(raw) if message in issue]


@pytest.mark.parametrize("engine", CLUSTERS)
def test_name_that_is_too_long_for_the_operator_is_rejected(engine: str) -> None:
    definition = CLUSTERS[engine]
    assert definition
    length = definition.max_name_length - len(f"{engine}-{definition.name_suffix}")
    for name, is_valid in (("a" * length, True), ("a" * (length + 1), False)):
        raw = groups(**{engine: {name: {"server": {"kind": "dedicated", "replicas": SIZE}}}})
        too_long = [issue for issue in config_issues(raw) if "group name too long for" in issue]
        assert bool(too_long) != is_valid
        assert all(issue.endswith(f"shorten it to {length} characters") for issue in too_long)


def validate_edit(engine: str, old: int, new: int) -> list[str]:
    def build(replicas: int) -> Any:
        raw = cluster(engine, replicas) if replicas > 1 else groups(**{engine: {"main": single()}})
        return parse_stack(raw)

    applications = {application.name: application for application in build(new).applications}
    outputs: Any = build(old).outputs
    group = outputs["shop"]["databases"][engine]["main"]
    if group["replicas"]:
        group["replicas"] = float(group["replicas"])  # as in the state
    return [str(issue) for issue in validate_update(outputs, applications)]


@pytest.mark.parametrize("engine", CLUSTERS)
@pytest.mark.parametrize(("old", "new"), [(1, 3), (3, 1)])
def test_one_server_does_not_become_a_cluster(engine: str, old: int, new: int) -> None:
    (issue,) = validate_edit(engine, old, new)
    assert issue.startswith(f"applications.shop.databases.{engine}.main.server.replicas: the group had {old} server")
    assert f"Write `replicas: {old}`" in issue


@pytest.mark.parametrize("engine", CLUSTERS)
def test_operator_adds_servers_and_removes_them_if_it_can(engine: str) -> None:
    definition = CLUSTERS[engine]
    assert definition
    assert validate_edit(engine, 3, 5) == []
    assert bool(validate_edit(engine, 5, 3)) != definition.can_shrink


@pytest.mark.parametrize("engine", CLUSTERS)
@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("storage", "10Gi", "the volume has 20Gi, and Kubernetes cannot reduce it to 10Gi"),
        ("storageClass", "slow", "the storage class was fast; with slow the volume would be deleted with its data"),
    ],
)
def test_volumes_of_a_cluster_are_neither_smaller_nor_of_another_class(
    engine: str, key: str, value: str, message: str
) -> None:
    old: Raw = {"storage": "20Gi", "storageClass": "fast"}
    stack = parse_stack(cluster(engine, SIZE, **{**old, key: value}))
    applications = {application.name: application for application in stack.applications}
    (issue,) = validate_update(parse_stack(cluster(engine, SIZE, **old)).outputs, applications)
    assert str(issue).startswith(f"applications.shop.databases.{engine}.main.server.{key}: {message}")


# The check before an update


@pytest.mark.parametrize("engine", CLUSTERS)
def test_requirements_are_known_without_a_running_program(engine: str) -> None:
    """`make check` runs without Pulumi's event loop, like a thread of a pool."""
    definition = CLUSTERS[engine]
    assert definition
    stack = parse_stack(cluster(engine), full_name="acme/database-groups/production")
    with ThreadPoolExecutor() as pool:
        required = pool.submit(build_cluster_requirements, stack, {}, ()).result()
    (operator,) = required.operators
    assert operator.name == definition.operator.name
    resources = [item for item in required.objects if item.custom_path in operator.custom_paths]
    assert [item.key.kind for item in resources if item.storage] == [definition.operator.resource_types[0].kind]
    assert all(item.pod_labels for item in resources if item.storage)


# The status


CONDITION = {"type": "Ready", "status": "False", "reason": "ClusterIsNotReady", "message": "Cluster Is Not Ready"}


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        ({}, "Ready is not reported yet"),
        ({"conditions": [CONDITION]}, "Ready is False: ClusterIsNotReady Cluster Is Not Ready"),
        ({"conditions": [{"type": "Ready", "status": "True"}]}, None),
    ],
)
def test_describe_condition(status: Raw, reason: str | None) -> None:
    assert describe_condition({"status": status} if status else {}, "Ready") == reason


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        ({}, "the last change is not observed yet"),
        ({"observedGeneration": 1}, "the last change is not observed yet"),
        (
            {"observedGeneration": 2, "currentRevision": "a", "updateRevision": "b", "updatedReplicas": 1},
            "1 of 3 Pods have the last change",
        ),
        (
            {"observedGeneration": 2, "updatedReplicas": 3, "readyReplicas": 2},
            "2 of 3 Pods are ready",
        ),
        ({"observedGeneration": 2, "updatedReplicas": 3, "readyReplicas": 3}, None),
        # The strategy `OnDelete` of some operators does not change the current revision.
        (
            {
                "observedGeneration": 2,
                "currentRevision": "a",
                "updateRevision": "b",
                "updatedReplicas": 3,
                "readyReplicas": 3,
            },
            None,
        ),
    ],
)
def test_describe_stateful_set(status: Raw, reason: str | None) -> None:
    stateful_set = {"metadata": {"generation": 2}, "spec": {"replicas": 3}, "status": status}
    assert describe_stateful_set(stateful_set) == reason


READY: Raw = {
    "spec": {"instances": 3},
    "status": {
        "conditions": [{"type": "Ready", "status": "True"}],
        "readyInstances": 3,
        "phase": "Cluster in healthy state",
        "secretsResourceVersion": {"applicationSecretVersion": "7"},
    },
}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, None),
        ({"readyInstances": 2}, "2 of 3 servers are ready; Cluster in healthy state"),
        (
            {"secretsResourceVersion": {"applicationSecretVersion": "6"}},
            "the operator has not read the credentials yet",
        ),
        (
            {"conditions": [CONDITION], "phase": "Not enough disk space", "phaseReason": "volume is full"},
            "Ready is False: ClusterIsNotReady Cluster Is Not Ready; Not enough disk space; volume is full",
        ),
    ],
)
def test_describe_progress_of_cloudnative_pg(changes: Raw, reason: str | None) -> None:
    definition = CLUSTERS["postgresql"]
    assert definition
    resource = {**READY, "status": {**READY["status"], **changes}}
    assert (definition.describe_progress(resource, "7") or "").startswith(reason or "")
    assert (definition.describe_progress(resource, "7") is None) == (reason is None)


# The wait


def build_monitor(url: str) -> OperatorMonitor:
    return OperatorMonitor(ClusterConfig(kubeconfig=build_kubeconfig(url), context="good"), ConfigSource())


def build_cluster(minutes: int = 1, group: str = "main") -> OperatedCluster:
    definition = CLUSTERS["postgresql"]
    assert definition
    return OperatedCluster(
        location=("applications", "shop", "databases", "postgresql", group),
        namespace="shop",
        name=f"postgresql-{group}",
        account_secret="postgresql-main-account",
        account_version="7",
        engine=definition,
        timeout_minutes=minutes,
    )


PATH = "/apis/postgresql.cnpg.io/v1/namespaces/shop/clusters/postgresql-main"


def test_wait_ends_with_a_status_that_stays_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a change the old status counts first; then the servers restart."""
    monkeypatch.setattr("stacks.cluster_monitor.SETTLE_SECONDS", 0.5)
    monkeypatch.setattr("stacks.cluster_monitor.POLL_SECONDS", 0.1)
    unready = {**READY, "status": {**READY["status"], "conditions": [CONDITION]}}
    answers = [READY, READY, unready, unready, READY]
    count, lock = 0, threading.Lock()

    def answer(path: str, _accept: str) -> tuple[int, Any]:
        nonlocal count
        assert path == PATH
        with lock:
            count += 1
            return 200, answers[min(count, len(answers)) - 1]

    with run_api_server(answer) as url:
        build_monitor(url).wait_until_ready(build_cluster(), is_changed=True)
    assert count > len(answers)


def test_wait_without_a_change_reads_the_status_once() -> None:
    requests: list[str] = []

    def answer(path: str, _accept: str) -> tuple[int, Any]:
        requests.append(path)
        return 200, READY

    with run_api_server(answer) as url:
        build_monitor(url).wait_until_ready(build_cluster(), is_changed=False)
    assert requests == [PATH]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ((200, {**READY, "status": {"phase": "Setting up primary"}}), "Ready is not reported yet; Setting up primary"),
        ((404, {}), "Ready is not reported yet"),
        ((403, {}), "the account may not read clusters"),
        ((500, {}), "cannot read clusters 'postgresql-main' (500"),
    ],
)
def test_wait_is_bounded_and_ends_with_the_reason(
    monkeypatch: pytest.MonkeyPatch, answer: tuple[int, Raw], reason: str
) -> None:
    monkeypatch.setattr("stacks.cluster_monitor.SECONDS_PER_MINUTE", 0)
    with (
        run_api_server(lambda *_: answer) as url,
        pytest.raises(Exception, match="is not ready after 1 minute") as caught,
    ):
        build_monitor(url).wait_until_ready(build_cluster(), is_changed=False)
    assert str(caught.value).startswith(f"{SERVER}: postgresql-main is not ready after 1 minute: {reason}")
    assert "kubectl describe --namespace shop clusters.postgresql.cnpg.io postgresql-main" in str(caught.value)


def test_error_has_the_reasons_of_all_clusters(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first error ends the program, so it waits for the others."""
    monkeypatch.setattr("stacks.cluster_monitor.SECONDS_PER_MINUTE", 0.2)
    monkeypatch.setattr("stacks.cluster_monitor.POLL_SECONDS", 0.05)
    failing = {**READY, "status": {**READY["status"], "conditions": [CONDITION]}}

    def answer(path: str, _accept: str) -> tuple[int, Any]:
        phase = path.rpartition("-")[2]
        return 200, READY if phase == "good" else {**failing, "status": {**failing["status"], "phase": phase}}

    def wait(monitor: OperatorMonitor, group: str, minutes: int) -> str:
        try:
            monitor.wait_until_ready(build_cluster(minutes, group), is_changed=False)
        except pulumi.RunError as error:
            return str(error)
        return ""

    with run_api_server(answer) as url, ThreadPoolExecutor() as pool:
        monitor = build_monitor(url)
        waits = [pool.submit(wait, monitor, *arguments) for arguments in (("late", 5), ("early", 1), ("good", 1))]
        late, early, good = (found.result() for found in waits)
    assert (late, good) == (early, "")
    for name, minutes in (("early", "1 minute"), ("late", "5 minutes")):
        assert f"postgresql.{name}.server: postgresql-{name} is not ready after {minutes}: Ready is False" in early
        assert f"; {name}\nfix: " in early
