"""Before an update, the program checks the cluster and every external server, and reports all failures at once."""

import json
import subprocess
from collections.abc import Sequence
from typing import Any

import pulumi
import pytest

from offline.recorder import run_program
from preflight.cluster_client import ClusterConfig
from preflight.cluster_models import (
    ClusterIssue,
    ClusterReport,
    ClusterRequirements,
    ObjectKey,
    RecordedObject,
    RequiredNamespace,
)
from preflight.models import Endpoint, Finding
from stacks.__main__ import main
from stacks.cluster_checks import build_cluster_requirements
from stacks.config import parse_stack
from stacks.config_source import ConfigSource
from stacks.preflight_checks import require_preflight
from stacks.previous_state import collect_recorded_objects
from tests.support import CANARY, external_server, groups, managed_server, provisioned_on, record_stack

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

    def check(self, endpoints: Sequence[Endpoint], seconds: float) -> list[Finding]:
        assert seconds <= 10
        self.endpoints.append(endpoints)
        return self.findings

    def check_cluster(self, requirements: ClusterRequirements, config: ClusterConfig, seconds: float) -> ClusterReport:
        assert seconds < 5
        assert config == CONFIG
        self.requirements.append(requirements)
        return self.report


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> Checks:
    """Replace the checks by failing ones."""
    checks = Checks()
    monkeypatch.setattr("stacks.preflight_checks.check", checks.check)
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
        run_program(lambda: require_preflight(stack, CONFIG, {}, {}))
    assert str(error.value) == f"{MESSAGE}\nnothing was changed"
    assert warnings == [*checks.report.notes]
    monkeypatch.setattr(pulumi.runtime, "is_dry_run", lambda: True)
    run_program(lambda: require_preflight(stack, CONFIG, {}, {}))
    assert warnings[1:] == ["not checked", MESSAGE]


def test_each_part_fails_alone(checks: Checks) -> None:
    stack = parse_stack(provision("main"), SOURCE)
    cluster, servers = MESSAGE.split("\n\n", 1)
    checks.findings = []
    with pytest.raises(pulumi.RunError) as error:
        run_program(lambda: require_preflight(stack, CONFIG, {}, {}))
    assert str(error.value) == f"{cluster}\nnothing was changed"
    checks.findings, checks.report = [FINDING], ClusterReport()
    with pytest.raises(pulumi.RunError) as error:
        run_program(lambda: require_preflight(stack, CONFIG, {}, {}))
    assert str(error.value) == f"{servers}\nnothing was changed"
    checks.findings = []
    run_program(lambda: require_preflight(stack, CONFIG, {}, {}))


@pytest.mark.parametrize(("preflight", "config"), [(False, CONFIG), (True, None)])
def test_checks_are_skipped(checks: Checks, preflight: bool, config: ClusterConfig | None) -> None:
    stack = parse_stack({**provision("main"), "preflight": preflight})
    run_program(lambda: require_preflight(stack, config, {}, {}))
    assert not checks.endpoints
    assert not checks.requirements


# What the stack needs in the cluster


def build_requirements(raw: dict[str, Any]) -> ClusterRequirements:
    return build_cluster_requirements(parse_stack(raw, full_name="acme/database-groups/production"), {})


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


def test_recorded_objects_are_the_kubernetes_objects_of_a_state() -> None:
    recorder = record_stack(groups(mysql={"main": None}))
    resources = [{"type": item.type, "outputs": dict(item.inputs)} for item in recorder.registrations.values()]
    recorded = collect_recorded_objects([*resources, {"type": "kubernetes:core/v1:Secret"}])
    required = build_requirements(groups(mysql={"main": None}))
    assert set(recorded) == {item.key for item in required.objects}
    claim = ObjectKey("PersistentVolumeClaim", "shop", "mysql-main")
    assert recorded.pop(claim) == RecordedObject(storage="1Gi")  # type: ignore[attr-defined]
    assert set(recorded.values()) == {RecordedObject()}


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
    components = record_stack(provision("main")).component_states().values()
    state = {"deployment": {"resources": [*components, recorded]}}
    pulumi_output |= {"config": (0, format_config(provision("main", "spare"))), "stack": (0, json.dumps(state))}
    assert main(["check", "production"]) == 1
    (((endpoint,),), (requirements,)) = checks.endpoints, checks.requirements
    assert [planned.database for planned in endpoint.planned_databases] == ["shop_spare"]
    assert (requirements.stack, set(requirements.recorded)) == (
        "/database-groups/production",
        {ObjectKey("Namespace", "", "shop")},
    )
    output = capsys.readouterr()
    assert "3 cluster checks failed:\n  applications.shop: exists\n  cluster: too old\n" in output.out
    assert "mysql.example.org:3306" in output.out
    assert output.err.endswith("warning: not checked\n")
    assert CANARY not in output.out + output.err


def test_command_reports_success(
    checks: Checks, pulumi_output: dict[str, tuple[int, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    checks.findings, checks.report = [], ClusterReport()
    pulumi_output["config"] = (0, format_config(provision("main")))
    assert main(["check", "production"]) == 0
    assert capsys.readouterr().out == "Checked the cluster and 1 external server address: all usable.\n"


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
