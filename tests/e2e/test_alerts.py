"""Alerts on a real API server: they come and go with the type PrometheusRule."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from components.copies.alerts import RULE_TYPE
from tests.e2e.cluster import Cluster, wait_for
from tests.e2e.operators import has_condition
from tests.e2e.project import Project

NAMESPACE = "alert-shop"
GROUP, _, VERSION = RULE_TYPE.api_version.partition("/")
STORE = {
    "kind": "claim",
    "claim": "backups",
    "repositoryPassword": "c4nary-repository",
}
DATABASES = {"redis": {"main": {"backup": {"schedule": "daily"}, "server": {"kind": "local", "storage": "1Gi"}}}}


@contextmanager
def define_type(cluster: Cluster) -> Iterator[None]:
    """Define a small type with the name of the operator's."""
    types = cluster.dynamic.resources.get(api_version="apiextensions.k8s.io/v1", kind="CustomResourceDefinition")
    name = f"{RULE_TYPE.plural}.{GROUP}"
    schema = {
        "type": "object",
        "properties": {"spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
    }
    version = {"name": VERSION, "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    body = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": name},
        "spec": {
            "group": GROUP,
            "names": {"kind": RULE_TYPE.kind, "plural": RULE_TYPE.plural},
            "scope": "Namespaced",
            "versions": [version],
        },
    }

    types.create(body=body)
    try:
        wait_for(60, "the type is served", lambda: has_condition(types.get(name=name), "Established") or None)
        yield
    finally:
        types.delete(name=name)
        wait_for(60, "the type is gone", lambda: name not in {item.metadata.name for item in types.get().items} or None)


def list_rules(project: Project) -> list[dict[str, Any]]:
    """Return the rules in the state of the stack."""
    token = f"kubernetes:{RULE_TYPE.api_version}:{RULE_TYPE.kind}"
    return [resource for resource in project.resources("alerts") if resource["type"] == token]


@pytest.mark.timeout(600)
def test_alerts_come_and_go_with_the_type(project: Project, simulated_node: Cluster) -> None:
    config = {
        "backupStores": {"cluster": STORE},
        "applications": {NAMESPACE: {"createNamespace": False, "databases": DATABASES}},
    }
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    with simulated_node.create_namespace(NAMESPACE):
        simulated_node.core.create_namespaced_persistent_volume_claim(
            NAMESPACE, {"metadata": {"name": "backups"}, "spec": claim}
        )
        project.new("alerts", config)
        project.up("alerts").succeeded()
        assert list_rules(project) == []
        with define_type(simulated_node):
            project.up("alerts").succeeded()
            (rule,) = list_rules(project)
            assert rule["outputs"]["metadata"]["name"] == f"{NAMESPACE}-databases"
            rules = simulated_node.dynamic.resources.get(api_version=RULE_TYPE.api_version, kind=RULE_TYPE.kind)
            (group,) = rules.get(name=f"{NAMESPACE}-databases", namespace=NAMESPACE).spec.groups
            assert {found["alert"] for found in group["rules"]} == {
                "DatabaseBackupTooOld",
                "DatabaseBackupFailed",
                "DatabaseVerificationTooOld",
                "DatabaseVerificationFailed",
            }
            project.assert_settled("alerts")
        project.up("alerts").succeeded()
        assert list_rules(project) == []
        project.assert_settled("alerts")
        project.destroy("alerts").succeeded()
