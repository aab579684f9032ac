"""How the tests run: which must not at the same time, and how hypothesis searches: without a time limit for one example, since machines are
loaded, and always alike where CI is set.
"""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("default", max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("default"), derandomize=True, database=None)
settings.load_profile("ci" if os.environ.get("CI") else "default")

TOGETHER = {
    "nodes": {
        "test_development.py",
        "test_history.py",
        "test_manifests.py",
        "test_node.py",
        "test_production.py",
        "test_secrets.py",
        "test_upgrading.py",
    },
    "engines": {"test_engines.py", "test_workloads.py"},
    "externalServers": {
        "test_mysql.py",
        "test_postgresql.py",
        "test_preflight.py",
        "test_provisioning.py",
        "test_scale.py",
        "test_tls.py",
    },
}
"""Modules that work on the same namespaces or servers, and so one after the other."""
FOLDERS = ("e2e", "preflight")


@pytest.hookimpl(tryfirst=True)  # before the groups are read
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where tests run in several processes, those that work on the same things stay in one."""
    for item in items:
        group = next((group for group, modules in TOGETHER.items() if item.path.name in modules), None)
        if group and item.path.parent.name in FOLDERS:
            item.add_marker(pytest.mark.xdist_group(group))
        else:
            assert item.path.parent.name != "e2e", f"{item.path.name} is in no group of {Path(__file__).name}"
