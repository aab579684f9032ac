"""Every engine on every server kind that it supports, in one stack."""

from typing import Any

import pytest

from components.engines import ENGINES
from components.engines.definition import Engine
from tests.e2e.cluster import Cluster
from tests.e2e.project import Project

STACK = "every"
PRIVILEGED = "privileged"
CHANGED = "postgresql-main"


def groups(engine: Engine) -> dict[str, dict[str, Any]]:
    """A group of an engine for each kind."""
    if engine.build_runtime is None:
        return {"main": {"server": "local"}}
    image = {} if engine.variants[0].image else {"image": "example.org/made-by-the-user:1"}
    given = {key: f"given-{key}" for key in engine.existing_account.keys if key != "database"} | (
        {"database": "7"} if "database" in engine.existing_account.keys else {}
    )
    return {
        "main": {"primary": True, "server": {"kind": "local", **image}},
        "own": {"server": {"kind": "dedicated", **image}},
        "named": {"server": {"kind": "external", "host": "db.example.org", **given}},
        "addressed": {"server": {"kind": "external", "host": ["10.9.0.1", "10.9.0.2"], **given}},
    }


def is_privileged(engine: Engine) -> bool:
    """Whether the engine's own server needs more than Pod Security `restricted` allows."""
    variant = engine.variants[0]
    return engine.build_runtime is not None and bool(
        engine.build_runtime(variant, variant.default_version).capabilities
    )


def generations(cluster: Cluster) -> dict[str, int]:
    """The generation of each server's specification."""
    resource = cluster.dynamic.resources.get(api_version="apps/v1", kind="StatefulSet")
    return {
        item.metadata.name: item.metadata.generation
        for namespace in (STACK, PRIVILEGED)
        for item in resource.get(namespace=namespace).items
    }


@pytest.mark.timeout(600)
def test_every_engine_on_every_kind_comes_up_settles_changes_alone_and_goes(
    project: Project, pretend_node: Cluster
) -> None:
    """In a namespace that enforces Pod Security `restricted`, but for the one engine that cannot; one setting changes one server."""
    databases = {name: groups(engine) for name, engine in ENGINES.items() if not is_privileged(engine)}
    privileged = {name: groups(engine) for name, engine in ENGINES.items() if is_privileged(engine)}
    applications = {STACK: {"createNamespace": False, "databases": databases}, PRIVILEGED: {"databases": privileged}}
    assert set(privileged) == {"glusterfs"}
    with pretend_node.namespace(STACK):
        project.new(STACK, {"preflight": "none", "applications": applications})
        project.up(STACK).succeeded()
        before = generations(pretend_node)
        servers = [engine for engine in ENGINES.values() if engine.build_runtime]
        assert set(before) == {f"{engine.name}-{group}" for engine in servers for group in ("main", "own")}
        for engine in servers:
            application = PRIVILEGED if engine.name in privileged else STACK
            environment = pretend_node.secret(application, f"{application}-databases")
            assert environment[f"{engine.name.upper()}_ADDRESS"] == engine.name
            for group in ("own", "named", "addressed"):
                assert environment[f"{engine.name.upper()}_{group.upper()}_ADDRESS"] == f"{engine.name}-{group}"
        project.settles(STACK)

        databases["postgresql"]["main"]["server"]["settings"] = {"max_connections": 50}
        project.write(STACK, {"preflight": "none", "applications": applications})
        project.up(STACK).succeeded()
        assert generations(pretend_node) == {**before, CHANGED: before[CHANGED] + 1}

        project.destroy(STACK).succeeded()
        assert project.resources(STACK) == []
        assert generations(pretend_node) == {}
