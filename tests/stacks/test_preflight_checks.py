"""Before an update, the program checks the cluster and every external server, and reports all failures at once."""

import json
import re
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pulumi
import pytest
import yaml

from components.engines import ENGINES
from offline.recorder import Recorder, run_program
from preflight.cluster_client import ClusterConfig
from preflight.cluster_models import (
    ClusterIssue,
    ClusterReport,
    ClusterRequirements,
    ObjectKey,
    RecordedObject,
    RequiredNamespace,
)
from preflight.models import Endpoint, Finding, ProvisionedPart
from stacks.__main__ import main
from stacks.cluster_checks import build_cluster_requirements
from stacks.config import parse_stack
from stacks.config_source import ConfigSource
from stacks.errors import Location
from stacks.preflight_checks import OBJECTS_TIMEOUT_SECONDS, require_preflight, run_preflight
from stacks.previous_state import collect_recorded_objects, collect_registered_groups
from tests.support import (
    CANARY,
    existing_account,
    external_server,
    groups,
    managed_server,
    provisioned_on,
    record_applications,
    record_stack,
)

ROOT = Path(__file__).resolve().parents[2]
FINDING = Finding(
    path="externalServers.hq",
    endpoint="mysql.example.org:3306",
    check="connecting",
    result="no answer",
    fix="Start it.",
)
ISSUES = (
    ClusterIssue(("databaseNodes", "nodeSelector"), "no node; add one"),
    ClusterIssue(("cluster",), "too old"),
    ClusterIssue(("applications", "shop"), "exists"),
)
REPORT = ClusterReport(issues=ISSUES, notes=("not checked",))
CONFIG = ClusterConfig(context="production")
SOURCE = ConfigSource(name="stacks/Pulumi.shop.yaml", lines={("applications",): 9, ("applications", "shop"): 10})
MESSAGE = """3 cluster checks failed:
  cluster: too old
  databaseNodes.nodeSelector: no node; add one
  line 10: applications.shop: exists

1 external server check failed:

  externalServers.hq (mysql.example.org:3306)
    check: connecting
    result: no answer
    fix: Start it."""


def provision(*names: str) -> dict[str, Any]:
    return {
        "externalServers": {"hq": external_server("mysql")},
        **groups(mysql={name: provisioned_on("hq") for name in names}),
    }


class Checks:
    """The checks that a test replaces: what they check, and what they return."""

    def __init__(self) -> None:
        self.endpoints: list[Sequence[Endpoint]] = []
        self.requirements: list[ClusterRequirements] = []
        self.findings = [FINDING]
        self.report = REPORT

    def run_checks(self, endpoints: Sequence[Endpoint], seconds: float) -> list[Finding]:
        assert seconds <= 10
        self.endpoints.append(endpoints)
        return self.findings

    def check_cluster(
        self, requirements: ClusterRequirements, config: ClusterConfig, seconds: float, *, is_complete: bool
    ) -> ClusterReport:
        assert seconds < 5 if is_complete else seconds == OBJECTS_TIMEOUT_SECONDS
        assert config == CONFIG
        self.requirements.append(requirements)
        return self.report


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> Checks:
    """Replace the checks by failing ones."""
    checks = Checks()
    monkeypatch.setattr("stacks.preflight_checks.run_checks", checks.run_checks)
    monkeypatch.setattr("stacks.preflight_checks.check_cluster", checks.check_cluster)
    return checks


@pytest.fixture
def warnings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the warnings that the program logs."""
    logged: list[str] = []
    monkeypatch.setattr(pulumi.log, "warn", logged.append)
    return logged


def test_failed_checks_stop_an_update_and_warn_in_a_preview(
    checks: Checks, warnings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stack = parse_stack(provision("main"), SOURCE)
    with pytest.raises(pulumi.RunError) as error:
        run_program(lambda: require_preflight(stack, CONFIG, []))
    assert str(error.value) == f"{MESSAGE}\nnothing was changed"
    assert warnings == [*checks.report.notes]
    monkeypatch.setattr(pulumi.runtime, "is_dry_run", lambda: True)
    run_program(lambda: require_preflight(stack, CONFIG, []))
    assert warnings[1:] == ["not checked", MESSAGE]


def test_each_part_fails_alone(checks: Checks) -> None:
    stack = parse_stack(provision("main"), SOURCE)
    cluster, servers = MESSAGE.split("\n\n", 1)
    checks.findings = []
    with pytest.raises(pulumi.RunError) as error:
        run_program(lambda: require_preflight(stack, CONFIG, []))
    assert str(error.value) == f"{cluster}\nnothing was changed"
    checks.findings, checks.report = [FINDING], ClusterReport()
    with pytest.raises(pulumi.RunError) as error:
        run_program(lambda: require_preflight(stack, CONFIG, []))
    assert str(error.value) == f"{servers}\nnothing was changed"
    checks.findings = []
    run_program(lambda: require_preflight(stack, CONFIG, []))


def test_a_run_without_a_cluster_checks_nothing(checks: Checks) -> None:
    run_program(lambda: require_preflight(parse_stack(provision("main")), None, []))
    assert (checks.endpoints, checks.requirements) == ([], [])


def test_objects_of_others_are_rejected_without_preflight_too(checks: Checks) -> None:
    """The Kubernetes provider would overwrite them."""
    stack = parse_stack({**provision("main"), "preflight": False})
    checks.findings = []
    with pytest.raises(pulumi.RunError, match=r"applications\.shop: exists"):
        run_program(lambda: require_preflight(stack, CONFIG, []))
    assert checks.endpoints == [[]]


@pytest.mark.parametrize(("requests", "is_deleted"), [(1, True), (3, True), (99, False)])
def test_update_waits_until_namespaces_are_deleted(
    checks: Checks, monkeypatch: pytest.MonkeyPatch, requests: int, *, is_deleted: bool
) -> None:
    """A killed `pulumi destroy` leaves them. The external servers are not checked while the update waits."""
    terminating = ClusterReport(issues=ISSUES[2:], terminating=("namespace 'shop'", "namespace 'blog'"))
    seconds: list[float] = []
    messages: list[str] = []

    def sleep(interval: float) -> None:
        seconds.append(interval)
        if len(seconds) == requests:
            checks.report = ClusterReport()

    monkeypatch.setattr("stacks.preflight_checks.monotonic", lambda: sum(seconds))
    monkeypatch.setattr("stacks.preflight_checks.sleep", sleep)
    monkeypatch.setattr("stacks.preflight_checks.DELETION_TIMEOUT_SECONDS", 20)
    monkeypatch.setattr(pulumi.log, "info", messages.append)
    checks.findings, checks.report = [], terminating
    stack = parse_stack(provision("main"), SOURCE)
    if is_deleted:
        run_program(lambda: require_preflight(stack, CONFIG, []))
        assert len(seconds) == requests
    else:
        with pytest.raises(pulumi.RunError, match="exists\nnothing was changed"):
            run_program(lambda: require_preflight(stack, CONFIG, []))
        assert sum(seconds) == 20
    assert messages == ["waiting until the cluster has deleted namespace 'shop', namespace 'blog'"]
    assert [bool(endpoints) for endpoints in checks.endpoints] == [True, *[False] * (len(seconds) + 1), True]


def test_preview_does_not_wait_for_namespaces(
    checks: Checks, warnings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pulumi.runtime, "is_dry_run", lambda: True)
    checks.findings, checks.report = [], ClusterReport(issues=ISSUES[2:], terminating=("namespace 'shop'",))
    run_program(lambda: require_preflight(parse_stack(provision("main")), CONFIG, []))
    assert len(checks.endpoints) == len(warnings) == 1


def test_the_provider_continues_with_existing_objects() -> None:
    """This is safe only because every update first rejects the objects of others."""
    project = yaml.safe_load((ROOT / "Pulumi.yaml").read_text())
    assert {key: entry["value"] for key, entry in project["config"].items()} == {
        "kubernetes:enableSecretMutable": "true",
        "kubernetes:enableConfigMapMutable": "true",
        "kubernetes:upsertExistingObjects": "true",
        "kubernetes:enablePatchForce": "true",
    }


def test_warnings_do_not_stop_an_update(checks: Checks, warnings: list[str]) -> None:
    checks.findings, checks.report = [replace(FINDING, is_warning=True)], ClusterReport()
    run_program(lambda: require_preflight(parse_stack(provision("main")), CONFIG, []))
    (warning,) = warnings
    assert warning.startswith("1 external server warning:\n\n  externalServers.hq (mysql.example.org:3306)\n")


ADMINISTRATOR = ("externalServers", "hq", "administrator")
SERVER = ("applications", "shop", "databases", "mysql", "main", "server")


@pytest.mark.parametrize(
    "location",
    [
        ("externalServers", "hq", "host"),
        (*ADMINISTRATOR, "username"),
        (*ADMINISTRATOR, "password"),
        (*ADMINISTRATOR, "host"),
        (*SERVER, "host"),
        (*SERVER, "database"),
        (*SERVER, "username"),
        (*SERVER, "password"),
    ],
    ids=".".join,
)
@pytest.mark.parametrize("is_warning", [False, True])
def test_message_of_a_check_repeats_no_encrypted_value(
    location: Location, *, is_warning: bool, checks: Checks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever key it is under."""

    def run_checks(endpoints: Sequence[Endpoint], _seconds: float) -> list[Finding]:
        return [
            Finding(
                f"no {endpoint.host} for {value}@'{endpoint.host}'",
                f"GRANT {value};",
                check=f"logging in as {value}",
                path=endpoint.path,
                endpoint=endpoint.address,
                is_warning=is_warning,
            )
            for endpoint in endpoints
            for value in endpoint.account.values()
        ]

    checks.report = ClusterReport()
    monkeypatch.setattr("stacks.preflight_checks.run_checks", run_checks)
    administrator = {"host": "10.1.2.3", "username": "provisioner", "password": "its-password"}
    raw = {
        "externalServers": {"hq": external_server("mysql", host="10.9.9.9", administrator=administrator)},
        **groups(mysql={"main": {"server": existing_account("mysql")}}),
    }
    value: Any = raw
    for step in location:
        value = value[step]
    text = str(value)
    for encrypted in (True, False):
        source = ConfigSource(encrypted_locations=frozenset({location} if encrypted else ()))
        stack = parse_stack(raw, source)
        result = run_preflight(stack, CONFIG, [])
        message = "".join((str(result), *result.notes))
        shown = re.search(rf"(?<!\w){re.escape(text)}(?!\w)", message.replace(f"{'.'.join(SERVER)} ", ""))
        is_secret = location[-1] == "password"
        is_used = location != ("externalServers", "hq", "host")
        assert bool(shown) == (is_used and not encrypted and not is_secret)


def test_update_takes_over_what_the_state_does_not_have(checks: Checks, monkeypatch: pytest.MonkeyPatch) -> None:
    application = "applications.shop.databases"
    stack = parse_stack(
        {
            "externalServers": {"hq": external_server("postgresql")},
            **groups(postgresql={"main": provisioned_on("hq"), "spare": provisioned_on("hq", username="keeper")}),
        }
    )
    parts_by_name: dict[str, list[ProvisionedPart]] = {"main": ["database"], "spare": ["user", "database"]}
    checks.report = ClusterReport()
    checks.findings = [
        replace(FINDING, path=f"{application}.postgresql.{name}", is_warning=True, takes_over=frozenset(parts))
        for name, parts in parts_by_name.items()
    ]
    run_program(lambda: require_preflight(stack, CONFIG, []))
    imports: dict[str, str] = {}
    register = Recorder.RegisterResource

    def record(recorder: Recorder, request: Any) -> Any:
        imports[request.name] = request.importId
        return register(recorder, request)

    monkeypatch.setattr(Recorder, "RegisterResource", record)
    record_applications(stack.applications)
    assert {name: identifier for name, identifier in imports.items() if identifier} == {
        "shop-postgresql-main-database": "shop_main",
        "shop-postgresql-spare-database": "shop_spare",
        "shop-postgresql-spare-role": "keeper",
    }


# What the stack needs in the cluster


def build_requirements(raw: dict[str, Any]) -> ClusterRequirements:
    return build_cluster_requirements(parse_stack(raw, full_name="acme/database-groups/production"), {}, ())


def test_requirements_are_those_of_the_stack() -> None:
    required = build_requirements(groups(mysql={"main": None}))
    assert required.stack == "acme/database-groups/production"
    assert required.stack_annotation == "database-groups/stack"
    location = ("applications", "shop")
    assert required.namespaces == (RequiredNamespace(name="shop", is_created=True, location=location),)
    group = (*location, "databases", "mysql", "main")
    assert [(*item.key, item.location) for item in required.objects] == [
        ("Namespace", "", "shop", location),
        ("NetworkPolicy", "shop", "shop-databases", location),
        ("Secret", "shop", "shop-databases", location),
        ("Secret", "shop", "mysql-main", group),
        ("PersistentVolumeClaim", "shop", "mysql-main", group),
        ("ConfigMap", "shop", "mysql-main", group),
        ("StatefulSet", "shop", "mysql-main", group),
        ("Service", "shop", "mysql", group),
    ]


def test_a_cluster_needs_its_operator_and_custom_resource() -> None:
    """Two groups share the operator. The volumes belong to the operator, so no volume claim is planned."""
    cluster = {"server": {"kind": "dedicated", "storage": "2Gi", "storageClass": "fast", "replicas": 3}}
    required = build_requirements(groups(postgresql={"main": cluster, "spare": cluster}))
    (operator,) = required.operators
    engine = ENGINES["postgresql"].cluster
    assert engine is not None
    assert (operator.name, operator.version) == (engine.operator.name, engine.operator.version)
    location = ("applications", "shop", "databases", "postgresql")
    assert operator.groups == (((*location, "main"), "shop"), ((*location, "spare"), "shop"))
    (path,) = operator.custom_paths
    assert (path.group, path.plural) == ("postgresql.cnpg.io", "clusters")
    resources = [item for item in required.objects if item.custom_path]
    assert [(item.key.kind, item.storage, item.storage_class) for item in resources] == [("Cluster", "2Gi", "fast")] * 2
    assert {item.custom_path for item in resources} == {path}
    assert all(item.pod_labels for item in resources)
    assert "PersistentVolumeClaim" not in {item.key.kind for item in required.objects}
    assert build_requirements(groups(postgresql={"main": None})).operators == ()


def test_namespace_has_the_location_of_its_key() -> None:
    raw = groups(mysql={"main": None})
    raw["applications"]["shop"]["namespace"] = "market"
    (namespace,) = build_requirements(raw).namespaces
    assert (namespace.name, namespace.location) == ("market", ("applications", "shop", "namespace"))
    raw["applications"]["shop"]["createNamespace"] = False
    (namespace,) = build_requirements(raw).namespaces
    assert (namespace.is_created, namespace.location) == (False, ("applications", "shop"))


def test_nodes_are_needed_by_dedicated_servers_only() -> None:
    nodes = {"databaseNodes": {"nodeSelector": {"node-role": "database"}}}
    dedicated = groups(mysql={"main": {"server": managed_server("mysql", "dedicated")}})
    assert build_requirements({**nodes, **groups(mysql={"main": None})}).node_selector == {}
    assert build_requirements(dedicated).node_selector == {}
    assert build_requirements({**nodes, **dedicated}).node_selector == {"node-role": "database"}


def test_workloads_need_rights_in_their_namespace() -> None:
    raw = groups(mysql={"main": None})
    raw["applications"]["shop"]["workloads"] = [
        {"kind": kind, "name": name} for kind, name in [("Deployment", "a"), ("Deployment", "b"), ("DaemonSet", "c")]
    ]
    assert build_requirements(raw).patched_kinds == {"shop": {"Deployment", "DaemonSet"}}


@pytest.mark.parametrize(
    ("engine", "versions", "expected"),
    [
        ("redis", (0, 1), {"shop"}),
        ("redis", (2, 1), {"shop"}),
        ("redis", (1, 1), set()),
        ("mongodb", (0, 1), set()),
    ],
)
def test_password_changes_are_those_of_running_servers(
    engine: str, versions: tuple[int, int], expected: set[str]
) -> None:
    """The version in use is that of the recorded Secret. A new group has none."""
    old, new = (groups(**{engine: {"main": {"passwordVersion": version}}}) for version in versions)
    recorder = record_stack(old)
    resources = [{"type": item.type, "outputs": dict(item.inputs)} for item in recorder.registrations.values()]
    stack = parse_stack(new, full_name="acme/database-groups/production")
    recorded = collect_recorded_objects(resources)
    assert build_cluster_requirements(stack, recorded, ()).password_changes == expected
    assert build_requirements(new).password_changes == set()


def test_recorded_objects_are_the_kubernetes_objects_of_a_state() -> None:
    recorder = record_stack(groups(mysql={"main": None}))
    resources = [{"type": item.type, "outputs": dict(item.inputs)} for item in recorder.registrations.values()]
    recorded = collect_recorded_objects([*resources, {"type": "kubernetes:core/v1:Secret"}])
    required = build_requirements(groups(mysql={"main": None}))
    assert set(recorded) == {item.key for item in required.objects}
    claim = ObjectKey("PersistentVolumeClaim", "shop", "mysql-main")
    assert recorded.pop(claim) == RecordedObject(storage="1Gi", application="shop")  # type: ignore[attr-defined]
    assert set(recorded.values()) == {RecordedObject(application="shop")}


def test_volume_of_a_group_that_is_not_in_the_state_is_data() -> None:
    raw = groups(mysql={"main": None, "spare": None})
    states = record_stack(groups(mysql={"main": None})).resource_states()
    resources = [{"urn": urn, **state} for urn, state in states.items()]
    stack = parse_stack(raw, full_name="acme/database-groups/production")
    required = build_cluster_requirements(stack, {}, collect_registered_groups(resources)).objects
    assert [item.key for item in required if item.is_data_of_removed_group] == [
        ObjectKey("PersistentVolumeClaim", "shop", "mysql-spare")
    ]


def test_name_of_an_object_has_one_resource_in_an_application() -> None:
    """Otherwise an update could create an object and then delete it for the resource that had it before."""
    urns: dict[ObjectKey, str] = {}
    server = {"kind": "external", "host": "10.99.0.1", "database": "a", "username": "a", "password": "a"}
    spare_is_external = groups(mysql={"main": None, "spare": {"primary": True, "server": server}})
    main_is_external = groups(mysql={"main": {"primary": True, "server": server}, "spare": None})
    for recorder in (record_stack(spare_is_external), record_stack(main_is_external)):
        for urn, item in recorder.registrations.items():
            for key in collect_recorded_objects([{"type": item.type, "outputs": dict(item.inputs)}]):
                assert urns.setdefault(key, urn) == urn
    assert ObjectKey("Service", "shop", "mysql") in urns


# The command


@pytest.fixture
def pulumi_output(monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[int, str]]:
    """Replace the commands of Pulumi. Return their exit codes and outputs, by their first word."""
    outputs: dict[str, tuple[int, str]] = {"stack": (0, '{"deployment": {}}')}

    def run(command: list[str], **_options: object) -> Any:
        code, text = outputs[command[1]]
        return subprocess.CompletedProcess(command, code, stdout=text, stderr=text)

    monkeypatch.setattr(subprocess, "run", run)
    return outputs


def format_config(raw: dict[str, Any]) -> str:
    """Return a configuration as `pulumi config --json --show-secrets` prints it."""
    values = {f"database-groups:{key}": {"value": json.dumps(value), "secret": True} for key, value in raw.items()}
    return json.dumps({**values, "kubernetes:context": {"value": "production", "secret": False}})


def test_command_checks_the_deployed_stack(
    checks: Checks, pulumi_output: dict[str, tuple[int, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    metadata = {"name": "shop", "namespace": ""}
    recorded = {"type": "kubernetes:core/v1:Namespace", "outputs": {"metadata": metadata}}
    states = record_stack(provision("main")).resource_states()
    resources = [{"urn": urn, **resource} for urn, resource in states.items()]
    state = {"deployment": {"resources": [*resources, recorded]}}
    pulumi_output |= {"config": (0, format_config(provision("main", "spare"))), "stack": (0, json.dumps(state))}
    assert main(["check", "production"]) == 1
    (((endpoint,),), (requirements,)) = checks.endpoints, checks.requirements
    assert [planned.database for planned in endpoint.planned_databases] == ["shop_spare"]
    assert requirements.stack == "/database-groups/production"
    assert ObjectKey("Namespace", "", "shop") in requirements.recorded
    output = capsys.readouterr()
    assert "3 cluster checks failed:\n  applications.shop: exists\n  cluster: too old\n" in output.out
    # Without a stack file, it is unknown which values are encrypted.
    assert "externalServers.hq ((hidden value):3306)" in output.out
    assert output.err.endswith("warning: not checked\n")
    assert CANARY not in output.out + output.err


def test_command_reports_success(
    checks: Checks, pulumi_output: dict[str, tuple[int, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    checks.findings, checks.report = [], ClusterReport()
    pulumi_output["config"] = (0, format_config(provision("main")))
    assert main(["check", "production"]) == 0
    assert capsys.readouterr().out == "Checked the cluster and 1 external server address: all usable.\n"


def test_command_prints_warnings_and_succeeds(
    checks: Checks, pulumi_output: dict[str, tuple[int, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    checks.findings, checks.report = [replace(FINDING, is_warning=True)], ClusterReport()
    pulumi_output["config"] = (0, format_config(provision("main")))
    assert main(["check", "production"]) == 0
    output = capsys.readouterr()
    assert output.out == "Checked the cluster and 1 external server address: all usable.\n"
    assert "warning: 1 external server warning:\n" in output.err


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ((255, "error: no stack named 'x' found\n"), "error: no stack named 'x' found\n"),
        ((0, "{}"), "error: stack 'x' has 1 error; nothing was changed:\n  applications: missing; add"),
    ],
    ids=["no stack", "no applications"],
)
def test_command_reports_errors(
    answer: tuple[int, str], message: str, pulumi_output: dict[str, tuple[int, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    pulumi_output["config"] = answer
    assert main(["check", "x"]) == 1
    assert capsys.readouterr().err.startswith(message)


@pytest.mark.parametrize("arguments", [[], ["check"], ["check", "a", "b"], ["deploy"]])
def test_command_rejects_other_arguments(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 2
    assert "usage: python -m stacks" in capsys.readouterr().err
