"""Every engine on every server kind that it supports, in one stack."""

from typing import Any

import pytest

from components.engines import ENGINES
from components.engines.engine import Engine
from tests.e2e.cluster import Cluster
from tests.e2e.project import Project

STACK = "every"
CHANGED = "postgresql-main"


def groups(engine: Engine) -> dict[str, dict[str, Any]]:
    """A group of an engine for each kind."""
    if engine.software is None:
        return {"main": {"server": "local"}}
    image = {} if engine.flavours[0].image else {"image": "example.org/made-by-the-user:1"}
    given = {key: f"given-{key}" for key in engine.given if key != "database"} | ({"database": "7"} if "database" in engine.given else {})
    return {
        "main": {"primary": True, "server": {"kind": "local", **image}},
        "own": {"server": {"kind": "dedicated", **image}},
        "named": {"server": {"kind": "external", "host": "db.example.org", **given}},
        "addressed": {"server": {"kind": "external", "host": ["10.9.0.1", "10.9.0.2"], **given}},
    }


def stateful_sets(cluster: Cluster) -> dict[str, int]:
    """The generation of each server's specification."""
    found = cluster.dynamic.resources.get(api_version="apps/v1", kind="StatefulSet").get(namespace=STACK).items
    return {item.metadata.name: item.metadata.generation for item in found}


@pytest.mark.timeout(600)
def test_every_engine_on_every_kind_comes_up_settles_changes_alone_and_goes(project: Project, pretend_node: Cluster) -> None:
    """One setting of one server changes that server and no other."""
    databases = {name: groups(engine) for name, engine in ENGINES.items()}
    config = {"applications": {STACK: {"databases": databases}}}
    project.new(STACK, config)
    project.up(STACK).succeeded()
    before = stateful_sets(pretend_node)
    servers = [engine for engine in ENGINES.values() if engine.software]
    assert set(before) == {f"{engine.name}-{group}" for engine in servers for group in ("main", "own")}
    environment = pretend_node.secret(STACK, f"{STACK}-databases")
    for engine in servers:
        assert environment[f"{engine.name.upper()}_ADDRESS"] == engine.name
        for group in ("own", "named", "addressed"):
            assert environment[f"{engine.name.upper()}_{group.upper()}_ADDRESS"] == f"{engine.name}-{group}"
    project.settles(STACK)

    databases["postgresql"]["main"]["server"]["settings"] = {"max_connections": 50}
    project.write(STACK, config)
    project.up(STACK).succeeded()
    after = stateful_sets(pretend_node)
    assert after == {**before, CHANGED: before[CHANGED] + 1}

    project.destroy(STACK).succeeded()
    assert project.resources(STACK) == []
    pretend_node.gone(STACK)
