"""A lost cluster: the state still has its objects, or is lost too."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.cluster import Cluster
from tests.e2e.project import Project

pytestmark = pytest.mark.slow
STACK = NAMESPACE = "lost-cluster"
CONFIG = {"applications": {NAMESPACE: {"databases": {"redis": {"main": {"server": {"kind": "local"}}}}}}}
CLOSED = "https://127.0.0.1:1"


def write_kubeconfig(path: Path, *, is_lost: bool) -> None:
    """Write a configuration with the contexts `old` and `new`. A lost cluster does not answer as `old`."""
    config: dict[str, Any] = yaml.safe_load(Path(os.environ["KUBECONFIG"]).read_text())
    context = next(item for item in config["contexts"] if item["name"] == config["current-context"])["context"]
    cluster = next(item for item in config["clusters"] if item["name"] == context["cluster"])["cluster"]
    lost = {**cluster, "server": CLOSED} if is_lost else cluster
    config["clusters"] = [{"name": "old", "cluster": lost}, {"name": "new", "cluster": cluster}]
    config["contexts"] = [{"name": name, "context": {**context, "cluster": name}} for name in ("old", "new")]
    path.write_text(yaml.safe_dump({**config, "current-context": "new"}))


def test_stack_of_a_lost_cluster_is_deployed_in_another_one(project: Project, simulated_node: Cluster) -> None:
    kubeconfig = project.folder / "kubeconfig"
    write_kubeconfig(kubeconfig, is_lost=False)
    project.environment["KUBECONFIG"] = str(kubeconfig)
    project.new(STACK, CONFIG)
    project.pulumi("config", "set", "kubernetes:context", "old", stack=STACK).succeeded()
    project.up(STACK).succeeded()
    password = simulated_node.read_secret(NAMESPACE, "redis-main")["password"]

    simulated_node.delete_namespace(NAMESPACE)
    write_kubeconfig(kubeconfig, is_lost=True)
    project.pulumi("config", "set", "kubernetes:context", "new", stack=STACK).succeeded()
    assert "run `make refresh`" in " ".join(project.up(STACK).failed().output.split())

    # The state names the old cluster.
    refresh = ("refresh", f"STACK={STACK}", "YES=1")
    assert "PULUMI_K8S_DELETE_UNREACHABLE" in project.make(*refresh).failed().output
    project.environment["PULUMI_K8S_DELETE_UNREACHABLE"] = "true"
    project.make(*refresh).succeeded()
    del project.environment["PULUMI_K8S_DELETE_UNREACHABLE"]

    project.up(STACK).succeeded()
    assert simulated_node.read_secret(NAMESPACE, "redis-main")["password"] == password
    project.assert_settled(STACK)


def test_stack_without_its_state_is_created_again(project: Project) -> None:
    """The stack file has the passwords. Without their key, the stack gets another key and all passwords again."""
    key = "database-groups:backupStores.offsite.repositoryPassword"

    def read_password() -> str:
        return project.pulumi("config", "get", "--path", key, stack=STACK).succeeded().output.strip()

    def lose_state() -> None:
        shutil.rmtree(project.state)
        project.state.mkdir()

    project.new(STACK, CONFIG)
    set_password = ("config", "set", "--secret", "--path", key, "written twice")
    project.pulumi(*set_password, stack=STACK).succeeded()
    lose_state()
    project.pulumi("stack", "init", STACK).succeeded()
    assert read_password() == "written twice"

    lose_state()
    project.environment["PULUMI_CONFIG_PASSPHRASE"] = "another"
    assert "incorrect passphrase" in project.pulumi("stack", "init", STACK).failed().output
    content = yaml.safe_load(project.path(STACK).read_text())
    del content["encryptionsalt"]
    project.path(STACK).write_text(yaml.safe_dump(content))
    project.pulumi("stack", "init", STACK).succeeded()
    project.pulumi(*set_password, stack=STACK).succeeded()
    assert read_password() == "written twice"
