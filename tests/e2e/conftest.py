"""Fixtures of the end-to-end tests: the Pulumi command line, a Kubernetes cluster and database servers.

Environment variables name the servers. A test that needs something that is missing is skipped, with the reason.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.cluster import Cluster
from tests.e2e.operators import run_cloudnative_pg, run_rabbitmq_operator
from tests.e2e.project import Project
from tests.e2e.servers import DatabaseServer, lab_server, variable

BUILDER = Path(__file__).parent / "images" / "build.py"
BUILD_TIMEOUT_SECONDS = 900


@pytest.fixture(scope="session")
def command_line() -> str:
    """Return the path of the Pulumi command line."""
    path = shutil.which("pulumi")
    if not path:
        pytest.skip("pulumi is not on PATH; install it with its official installer")
    return path


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    """Return the Kubernetes cluster, for tests that need only its API."""
    variable("KUBECONFIG")
    return Cluster()


@pytest.fixture
def simulated_node(cluster: Cluster) -> Iterator[Cluster]:
    """Yield the cluster with new Pods on a simulated node, where they are ready at once."""
    with cluster.use_simulated_nodes():
        yield cluster


@pytest.fixture(scope="module")
def real_node(request: pytest.FixtureRequest, cluster: Cluster) -> Iterator[Cluster]:
    """Yield the cluster with the new Pods of the module's NAMESPACES on a real node, where their containers run."""
    if not cluster.has_real_node():
        pytest.skip("the cluster has no node on which containers run")
    with cluster.use_real_node(request.module.NAMESPACES):
        yield cluster


@pytest.fixture(scope="session")
def build_images() -> Callable[..., None]:
    """Return a function that builds images by name and loads them into the real node."""
    environment = {**os.environ, "LAB_IMAGE": variable("LAB_IMAGE")}

    def build(*names: str) -> None:
        subprocess.run(
            [sys.executable, str(BUILDER), *names], check=True, timeout=BUILD_TIMEOUT_SECONDS, env=environment
        )

    return build


@pytest.fixture(scope="module")
def rabbitmq_operator(
    request: pytest.FixtureRequest, real_node: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    """Yield the cluster with the operator of RabbitMQ, which watches the module's NAMESPACES."""
    with run_rabbitmq_operator(real_node, request.module.NAMESPACES, tmp_path_factory.mktemp("operator")):
        yield real_node


@pytest.fixture(scope="module")
def cloudnative_pg(
    request: pytest.FixtureRequest, real_node: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    """Yield the cluster with the operator CloudNativePG, which watches the module's NAMESPACES."""
    with run_cloudnative_pg(real_node, request.module.NAMESPACES, tmp_path_factory.mktemp("operator")):
        yield real_node


@pytest.fixture(scope="session")
def server() -> Callable[[str], DatabaseServer]:
    """Return a function that returns a database server by its name."""
    return lab_server


@pytest.fixture
def project(command_line: str, tmp_path: Path) -> Iterator[Project]:
    """Yield a copy of the project with its own backend. Afterwards destroy its stacks."""
    project = Project(command_line, tmp_path)
    yield project
    project.clean_up()


@pytest.fixture(scope="module")
def module_project(command_line: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """Yield a copy of the project for all tests of a module."""
    project = Project(command_line, tmp_path_factory.mktemp("project"))
    yield project
    project.clean_up()
