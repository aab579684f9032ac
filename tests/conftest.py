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

FOLDER = Path(__file__).parent
ON_SERVERS = {"test_mysql.py", "test_postgresql.py"}


@pytest.hookimpl(tryfirst=True)  # before the groups are read
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where tests run in several processes, those that send Pods to a node, and those that work on the same servers, stay in one each."""
    for item in items:
        nodes = {"pretend_node", "real_node"} & set(getattr(item, "fixturenames", ()))
        if nodes:
            item.add_marker(pytest.mark.xdist_group("nodes"))
        elif item.path.parent == FOLDER / "e2e" or item.path.name in ON_SERVERS:
            item.add_marker(pytest.mark.xdist_group("servers"))
