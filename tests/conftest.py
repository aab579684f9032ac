"""Settings of all tests: which modules must not run at the same time, and how hypothesis searches."""

import gc
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Machines are loaded, so an example has no time limit. With CI, every run uses the same examples.
settings.register_profile("default", max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("default"), derandomize=True, database=None)
settings.load_profile("ci" if os.environ.get("CI") else "default")

MODULE_GROUPS = {
    "shop": (
        "test_pages.py",
        "test_development.py",
        "test_production.py",
        "test_persisted_states.py",
        "test_manifests.py",
    ),
    "databases": (
        "test_interruptions.py",
        "test_lost_databases.py",
        "test_lost_cluster.py",
        "test_password_change.py",
        "test_adoption.py",
        "test_neighbors.py",
    ),
    "changes": (
        "test_change_guard.py",
        "test_changes.py",
        "test_chaos.py",
        "test_service_targets.py",
        "test_status.py",
        "test_teams.py",
        "test_secrets.py",
    ),
    "engines": ("test_workloads.py", "test_engines.py"),
    "servers": (
        "test_provisioning.py",
        "test_cluster_preflight.py",
        "test_operator_preflight.py",
        "test_tls.py",
        "test_preflight.py",
        "test_mysql.py",
        "test_postgresql.py",
        "test_scale.py",
    ),
    "node": (
        "test_first_start.py",
        "test_from.py",
        "test_rabbitmq_copies.py",
        "test_backup.py",
        "test_backup_engines.py",
        "test_alerts.py",
        "test_node.py",
        "test_upgrading.py",
        "test_memory.py",
        "test_recovery.py",
        "test_continuous_backups.py",
        "test_postgresql_cluster.py",
        "test_cluster_copies.py",
        "test_rabbitmq_cluster.py",
    ),
    "files": ("test_stack_file.py", "test_operated_clusters.py", "test_cluster_schemas.py"),
    "copies": ("test_copies.py", "test_backup_load.py", "test_redis_copies.py", "test_copies_by_url.py"),
}
"""Modules that use the same namespaces or servers. The modules of a group run one after the other, in this order. The
longest group is the first one, so that it starts first."""
FOLDERS = ("e2e", "preflight")
gc.set_threshold(100_000, 50, 100)  # the default threshold would take a fifth of the time of the tests


def pytest_collection_finish() -> None:
    """Exclude the modules and the list of tests from garbage collection."""
    gc.freeze()


@pytest.hookimpl(tryfirst=True)  # pytest-xdist reads the groups afterwards
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Assign each test to the group of its module, so that one process runs the whole group. Sort the groups."""
    ranks = {name: rank for rank, name in enumerate(name for names in MODULE_GROUPS.values() for name in names)}
    for item in items:
        group = next((name for name, modules in MODULE_GROUPS.items() if item.path.name in modules), None)
        if group and item.path.parent.name in FOLDERS:
            item.add_marker(pytest.mark.xdist_group(group))
        else:
            assert item.path.parent.name != "e2e", f"add {item.path.name} to MODULE_GROUPS in {Path(__file__).name}"
    items.sort(key=lambda item: ranks.get(item.path.name, len(ranks)))
