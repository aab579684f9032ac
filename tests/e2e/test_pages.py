"""The commands of the quick start and of other pages, run in a new clone as a reader types them."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from preflight.cluster import check_cluster
from preflight.cluster_client import ClusterConfig
from preflight.cluster_models import ClusterReport
from stacks.cluster_checks import build_cluster_requirements
from stacks.config import parse_stack
from tests.e2e.cluster import SIMULATED_NODE_LABELS, Cluster
from tests.e2e.project import Project
from tests.pages import ROOT, Step, blocks, is_expected_output, steps

pytestmark = pytest.mark.timeout(1500)
IMAGES = ("postgres:15", "postgres:17", "valkey/valkey:8", "mysql:9.7")
COMMAND_SECONDS = 400
NAMESPACE = "shop"
ROLE = "pages-rights"
POD = {
    "nodeSelector": SIMULATED_NODE_LABELS,
    "securityContext": {"runAsNonRoot": True, "runAsUser": 999, "seccompProfile": {"type": "RuntimeDefault"}},
    "containers": [
        {
            "name": "web",
            "image": "example.org/web:1",
            "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        }
    ],
}
"""A Pod for Pod Security `restricted`."""
NOT_OF_THE_READER = ("PULUMI_", "MAKE", "MFLAGS")
"""Environment variables of `make test`. With them, `make` prints its folder."""
IGNORED = (".git", ".venv", ".state", "rendered", "__pycache__", ".*_cache")


class Reader:
    """A reader with a clone of the project and a shell in it. The reader confirms each question of Pulumi."""

    def __init__(self, folder: Path) -> None:
        self.clone = folder / "database-groups"
        self.output = folder / "output"
        shutil.copytree(ROOT, self.clone, ignore=shutil.ignore_patterns(*IGNORED))
        self._install()
        (folder / "home").mkdir()
        environment = {name: value for name, value in os.environ.items() if not name.startswith(NOT_OF_THE_READER)}
        environment |= {
            "PULUMI_HOME": str(folder / "home"),  # without a login
            "PULUMI_SKIP_CONFIRMATIONS": "true",
            "PULUMI_SKIP_UPDATE_CHECK": "true",
            "PAGER": "cat",
        }
        self.shell = subprocess.Popen(
            ["bash"],
            cwd=self.clone,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.run("set -o pipefail")

    def _install(self) -> None:
        """Use the packages of the Python that runs the tests, as if `make` had installed them."""
        (self.clone / ".venv").mkdir()
        for entry in Path(sys.prefix).iterdir():
            (self.clone / ".venv" / entry.name).symlink_to(entry)
        for stamp in (".installed", ".installed-dev"):
            (self.clone / ".venv" / stamp).unlink(missing_ok=True)
            (self.clone / ".venv" / stamp).touch()

    def run(self, command: str) -> tuple[int, str]:
        """Run a command in the shell. Return its exit code and its output."""
        assert self.shell.stdin
        assert self.shell.stdout
        self.shell.stdin.write(f"{{ {command}\n}} </dev/null >'{self.output}' 2>&1; echo $?\n")
        self.shell.stdin.flush()
        code = self.shell.stdout.readline()
        assert code, f"the shell ended: {command}"
        return int(code), self.output.read_text()

    def follow(self, step: Step) -> None:
        """Do what a step of a page describes."""
        if step.kind == "console":
            for command in step.commands:
                code, output = self.run(command.text)
                assert (code != 0) == command.fails, f"$ {command.text}\n{output[-4000:]}\nexit code {code}"
                message = f"$ {command.text}\n{output[-4000:]}\nexpected:\n{command.output}"
                assert is_expected_output(command.output, output), message
        elif step.kind == "file":
            (self.clone / step.argument).write_text(step.block)
        elif step.kind == "edit":
            path = self.clone / step.argument
            content = yaml.safe_load(path.read_text())
            ((key, value),) = yaml.safe_load(step.block).items()
            assert _replace(content, key, value) == 1, f"{key} in {step.argument}"
            path.write_text(yaml.safe_dump(content, sort_keys=False))
        elif step.kind == "run":
            code, output = self.run(step.argument)
            assert code == 0, output

    def close(self) -> None:
        """End the shell and its background commands."""
        os.killpg(self.shell.pid, signal.SIGTERM)
        self.shell.wait(timeout=10)
        for stream in (self.shell.stdin, self.shell.stdout):
            assert stream
            stream.close()


def _replace(node: Any, key: str, value: Any) -> int:
    """Replace the values of a key in a tree of maps. Return their number."""
    if not isinstance(node, dict):
        return 0
    count = sum(_replace(item, key, value) for name, item in node.items() if name != key)
    if key in node:
        node[key] = value
        return count + 1
    return count


@pytest.fixture
def reader(cluster: Cluster, build_images: Callable[..., None], tmp_path: Path) -> Iterator[Reader]:
    """Return a reader whose Pods run on a real node."""
    for program in ("pulumi", "kubectl", "make", "psql"):
        if not shutil.which(program):
            pytest.skip(f"{program} is not on PATH")
    if not cluster.has_real_node():
        pytest.skip("no node of the cluster runs containers")
    build_images(*IMAGES)
    with cluster.use_real_node([NAMESPACE]):
        assert not cluster.has_namespace(NAMESPACE), f"the namespace {NAMESPACE} exists; delete it"
        reader = Reader(tmp_path)
        yield reader
        reader.close()
        cluster.delete_namespace(NAMESPACE)


@pytest.mark.parametrize(
    "page", ["quickstart", *(pytest.param(page, marks=pytest.mark.slow) for page in ("day-two", "troubleshooting"))]
)
def test_commands_of_a_page_have_the_output_that_it_shows(page: str, reader: Reader) -> None:
    for step in steps((ROOT / "docs" / f"{page}.md").read_text()):
        reader.follow(step)


@pytest.fixture
def deployer(simulated_node: Cluster, tmp_path: Path) -> Iterator[Path]:
    """Create an account with the rights of the page `teams`. Return its kubeconfig."""
    (role,) = [
        content
        for block in blocks((ROOT / "docs" / "teams.md").read_text(), "yaml")
        if (content := yaml.safe_load(block)).get("kind") == "ClusterRole"
    ]
    role["metadata"]["name"] = ROLE
    account = {"kind": "ServiceAccount", "name": "deployer", "namespace": ROLE}
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": ROLE},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": ROLE},
        "subjects": [account],
    }
    with simulated_node.create_namespace(ROLE):
        path = tmp_path / "kubeconfig"
        path.write_text(simulated_node.create_account(ROLE, "deployer"))
        resources = [simulated_node.apply(role), simulated_node.apply(binding)]
        yield path
        for resource in resources:
            kind = simulated_node.dynamic.resources.get(api_version=resource.apiVersion, kind=resource.kind)
            simulated_node.dynamic.delete(kind, name=ROLE)


def test_rights_of_the_teams_page_are_sufficient(simulated_node: Cluster, deployer: Path, project: Project) -> None:
    """The account deploys and deletes a server, an external server with an address, and variables of workloads."""
    project.environment["KUBECONFIG"] = str(deployer)
    labels = {"app": "web"}
    spec = {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": POD}}
    workloads = [{"kind": kind, "name": kind.lower()} for kind in ("Deployment", "StatefulSet", "DaemonSet")]
    databases = {
        "postgresql": {"main": {"server": "local"}},
        "redis": {"far": {"server": {"kind": "external", "host": "10.99.0.77"}}},
    }
    application = {"createNamespace": False, "namespace": ROLE, "workloads": workloads, "databases": databases}
    new_namespace = {"databases": {"postgresql": {"main": None}}}
    for workload in workloads:
        metadata = {"name": workload["name"], "namespace": ROLE}
        simulated_node.apply({"apiVersion": "apps/v1", "kind": workload["kind"], "metadata": metadata, "spec": spec})
    stack = {"applications": {"rights": application, f"{ROLE}-new": new_namespace}}
    requirements = build_cluster_requirements(parse_stack(stack, full_name=ROLE), {}, ())
    assert check_cluster(requirements, ClusterConfig(kubeconfig=deployer.read_text()), 5) == ClusterReport()
    project.new("rights", {"preflight": False, **stack})
    result = project.up("rights").succeeded()
    assert "forbidden" not in result.output
    project.assert_settled("rights")
    assert "forbidden" not in project.destroy("rights").succeeded().output
