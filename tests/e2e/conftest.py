"""The project run by the real command line against real servers, which the variables of a lab point at.

What is missing on a machine is said once for each test that it keeps from running.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.cluster import Cluster
from tests.e2e.project import Project
from tests.e2e.servers import DatabaseServer, lab_server, variable

BUILDER = Path(__file__).parent / "images" / "build.py"
BUILD_SECONDS = 900


@pytest.fixture(scope="session")
def command_line() -> str:
    """The Pulumi command line."""
    found = shutil.which("pulumi")
    if not found:
        pytest.skip("pulumi is not on PATH; its official installer puts it there")
    return found


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    """The Kubernetes cluster, for tests that need the API alone."""
    variable("KUBECONFIG")
    return Cluster()


@pytest.fixture
def pretend_node(cluster: Cluster) -> Iterator[Cluster]:
    """The cluster with its new Pods on a pretend node, where they are ready at once."""
    with cluster.pods_on(pretend=True):
        yield cluster


@pytest.fixture(scope="module")
def real_node(cluster: Cluster) -> Iterator[Cluster]:
    """The cluster with its new Pods on a real node, where their containers run."""
    if not cluster.has_real_node():
        pytest.skip("the cluster has no node on which containers run")
    with cluster.pods_on(pretend=False):
        yield cluster


@pytest.fixture(scope="session")
def build_images() -> Callable[..., None]:
    """Builds images by their names and loads them in the real node, where they are not there yet."""
    environment = {**os.environ, "LAB_IMAGE": variable("LAB_IMAGE")}

    def build(*names: str) -> None:
        subprocess.run([sys.executable, str(BUILDER), *names], check=True, timeout=BUILD_SECONDS, env=environment)

    return build


@pytest.fixture(scope="session")
def server() -> Callable[[str], DatabaseServer]:
    """A database server of the lab by its name."""
    return lab_server


@pytest.fixture
def project(command_line: str, tmp_path: Path) -> Iterator[Project]:
    """A copy of the project with states of its own. What a test leaves deployed is destroyed."""
    project = Project(command_line, tmp_path)
    yield project
    project.clean_up()


@pytest.fixture(scope="module")
def module_project(command_line: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A copy of the project for all tests of a module."""
    project = Project(command_line, tmp_path_factory.mktemp("project"))
    yield project
    project.clean_up()
