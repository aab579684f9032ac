"""One stack with every engine on every server kind that it supports."""

from typing import Any

import pytest

from components.engines import ENGINES
from components.engines.definition import Engine
from tests.e2e.cluster import Cluster
from tests.e2e.project import Project

STACK = "every"
PRIVILEGED = "privileged"
CHANGED_SERVER = "postgresql-main"


def build_groups(engine: Engine) -> dict[str, dict[str, Any]]:
    """Return a group for each server kind of an engine."""
    if engine.build_runtime is None:
        return {"main": {"server": "local"}}
    image = {} if engine.variants[0].image else {"image": "example.org/image-of-the-user:1"}
    account = {key: "7" if key == "database" else f"its-{key}" for key in engine.existing_account.keys}
    return {
        "main": {"primary": True, "server": {"kind": "local", **image}},
        "own": {"server": {"kind": "dedicated", **image}},
        "named": {"server": {"kind": "external", "host": "db.example.org", **account}},
        "addressed": {"server": {"kind": "external", "host": ["10.9.0.1", "10.9.0.2"], **account}},
    }


def is_privileged(engine: Engine) -> bool:
    """Return whether the engine's server violates Pod Security `restricted`."""
    build_runtime, variant = engine.build_runtime, engine.variants[0]
    return build_runtime is not None and bool(build_runtime(variant, variant.default_version).capabilities)


def read_generations(cluster: Cluster) -> dict[str, int]:
    """Return the generation of each StatefulSet."""
    resource = cluster.dynamic.resources.get(api_version="apps/v1", kind="StatefulSet")
    return {
        item.metadata.name: item.metadata.generation
        for namespace in (STACK, PRIVILEGED)
        for item in resource.get(namespace=namespace).items
    }


@pytest.mark.timeout(600)
def test_every_engine_deploys_on_every_kind_and_a_setting_changes_one_server(
    project: Project, simulated_node: Cluster
) -> None:
    """The namespace enforces Pod Security `restricted`. Engines that need capabilities are in another namespace."""
    databases = {name: build_groups(engine) for name, engine in ENGINES.items() if not is_privileged(engine)}
    privileged = {name: build_groups(engine) for name, engine in ENGINES.items() if is_privileged(engine)}
    config = {
        "preflight": False,
        "applications": {
            STACK: {"createNamespace": False, "databases": databases},
            PRIVILEGED: {"databases": privileged},
        },
    }
    assert set(privileged) == {"glusterfs"}
    with simulated_node.create_namespace(STACK):
        project.new(STACK, config)
        project.up(STACK).succeeded()
        generations = read_generations(simulated_node)
        engines = [engine for engine in ENGINES.values() if engine.build_runtime]
        assert set(generations) == {f"{engine.name}-{group}" for engine in engines for group in ("main", "own")}
        for engine in engines:
            application = PRIVILEGED if engine.name in privileged else STACK
            environment = simulated_node.read_secret(application, f"{application}-databases")
            assert environment[f"{engine.name.upper()}_ADDRESS"] == engine.name
            for group in ("own", "named", "addressed"):
                assert environment[f"{engine.name.upper()}_{group.upper()}_ADDRESS"] == f"{engine.name}-{group}"
        project.assert_settled(STACK)

        databases["postgresql"]["main"]["server"]["settings"] = {"max_connections": 50}
        project.write(STACK, config)
        project.up(STACK).succeeded()
        assert read_generations(simulated_node) == {**generations, CHANGED_SERVER: generations[CHANGED_SERVER] + 1}

        project.destroy(STACK).succeeded()
        assert project.resources(STACK) == []
        assert read_generations(simulated_node) == {}
