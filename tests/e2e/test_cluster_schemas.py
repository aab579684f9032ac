"""The objects of clusters: a real API server accepts them with the schemas of the operators, without unknown fields."""

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import certifi
import kubernetes
import pytest
import yaml

from components.engines import ENGINES
from tests.e2e.cluster import Cluster, wait_for
from tests.e2e.servers import variable
from tests.pages import blocks
from tests.support import record_stack, stack_with_group

NAMESPACE = "cluster-schemas"
PREFIX = f"test-{os.getpid()}"
"""The tests create the types in API groups of their own, so that no operator and no other test sees their objects."""
CLUSTERS = {name: engine.cluster for name, engine in ENGINES.items() if engine.cluster}
TYPES = {
    (item.api_version.partition("/")[0], item.kind)
    for found in CLUSTERS.values()
    for program in (found.operator, found.backup_plugin)
    if program
    for item in program.resource_types
}
RESTORES = {
    ("pxc.percona.com", "PerconaXtraDBClusterRestore"),
    ("psmdb.percona.com", "PerconaServerMongoDBRestore"),
}
"""Types of the objects with which the page restores server clusters. The program creates none."""
CREATED, NOT_FOUND = 201, 404
SKIPPED = (None, "Namespace")
NODES = {
    "databaseNodes": {
        "nodeSelector": {"pool": "databases"},
        "tolerations": [{"key": "pool", "operator": "Equal", "value": "databases", "effect": "NoSchedule"}],
    }
}
SETTINGS = {
    "elasticsearch": {"indices.query.bool.max_clause_count": 2048},
    "mongodb": {"operationProfiling.slowOpThresholdMs": 200},
    "mysql": {"max_connections": 200},
    "postgresql": {"max_connections": 200, "log_statement": "ddl"},
    "rabbitmq": {"heartbeat": 30, "log.console.level": "debug"},
    "redis": {"maxmemory-policy": "allkeys-lru", "timeout": 60},
}


def build_cases() -> Iterator[Any]:
    """Yield an engine, keys of its server and keys of the stack."""
    for name, cluster in CLUSTERS.items():
        supported = ENGINES[name].variants[0].supported_series
        if cluster.has_continuous_backup:
            yield from build_continuous_cases(name, cluster.sizes[0])
        cases: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
            **{f"{size} servers": ({"replicas": size}, {}) for size in sorted({cluster.sizes[0], 5, 9})},
            "settings": ({"settings": SETTINGS[name]}, {}),
            "resources": (
                {"resources": {"cpu": "500m", "memory": "4Gi"}, "storage": "50Gi", "storageClass": "fast"},
                {},
            ),
            "exclusive nodes": ({"exclusiveNode": True}, NODES),
            **{f"durability {choice}": ({"durability": choice}, {}) for choice in cluster.durabilities},
            **{f"version {series}": ({"version": series}, {}) for series in cluster.images or supported},
        }
        if cluster.find_ca_secret:
            modes = ("disable", "require", *(("verify-full",) if cluster.certifies_services else ()))
            cases |= {f"tls {mode}": ({"tls": mode}, {}) for mode in modes}
        for case, (keys, stack) in cases.items():
            yield pytest.param(name, {"replicas": 3, **keys}, stack, id=f"{name} {case}")


def build_continuous_cases(engine: str, smallest: int) -> Iterator[Any]:
    """Yield server clusters whose operator saves each change."""
    store = {"kind": "s3", "bucket": "b-1", "accessKey": "id", "secretKey": "key", "repositoryPassword": "password"}
    stores = {
        "by url": {**store, "endpoint": "http://minio.backups.svc:9000", "prefix": "live", "pathStyle": True},
        "of amazon": {**store, "region": "eu-central-1", "caFile": certifi.where()},
    }
    for size in sorted({smallest, 3, 5, 9}):
        for name, found in stores.items():
            keys = {"backup": {"continuous": True}, "backupStores": {"offsite": found}, **NODES}
            yield pytest.param(engine, {"replicas": size}, keys, id=f"{engine} continuous {name} {size} servers")


@pytest.fixture(scope="module")
def types(cluster: Cluster) -> Iterator[Cluster]:
    """Yield the cluster with a namespace and the types of all operators."""
    api: Any = kubernetes.client.ApiextensionsV1Api()
    manifests = [yaml.safe_load(path.read_text()) for path in sorted(Path(variable("LAB_CRDS")).glob("*.yaml"))]
    with cluster.create_namespace(NAMESPACE), contextlib.ExitStack() as stack:
        for manifest in manifests:
            group, names = manifest["spec"]["group"], manifest["spec"]["names"]
            if (group, names["kind"]) in TYPES | RESTORES:
                group = manifest["spec"]["group"] = f"{PREFIX}.{group}"
                name = f"{names['plural']}.{group}"
                api.create_custom_resource_definition({**manifest, "metadata": {"name": name}})
                stack.callback(api.delete_custom_resource_definition, name)
                wait_for(60, f"the API serves {name}", partial(is_established, api, name))
        yield cluster


def is_established(api: Any, name: str) -> bool | None:
    conditions = api.read_custom_resource_definition(name).status.conditions or []
    return any((condition.type, condition.status) == ("Established", "True") for condition in conditions) or None


def validate_strictly(cluster: Cluster, manifest: Mapping[str, Any]) -> str | None:
    """Let the API server validate an object without storing it. Return why it rejects it, or None."""
    api_version = str(manifest["apiVersion"])
    if (api_version.partition("/")[0], manifest["kind"]) in TYPES | RESTORES:
        api_version = f"{PREFIX}.{api_version}"
    path = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
    resources = request(cluster, "GET", path)[1].get("resources", ())
    kinds = {item["kind"]: item["name"] for item in resources if "/" not in item["name"]}
    if api_version.startswith(PREFIX) and manifest["kind"] not in kinds:
        pytest.skip(f"LAB_CRDS has no definition of {manifest['kind']}")
    body = {**manifest, "apiVersion": api_version, "metadata": {**manifest["metadata"], "namespace": NAMESPACE}}
    status, answer = request(cluster, "POST", f"{path}/namespaces/{NAMESPACE}/{kinds[manifest['kind']]}", body)
    return None if status == CREATED else str(answer["message"])


def request(cluster: Cluster, method: str, path: str, body: Mapping[str, Any] | None = None) -> tuple[int, Any]:
    """Return the status and the answer of a request that stores nothing."""
    client = cluster.core.api_client
    answer = client.call_api(
        *client.param_serialize(
            method,
            path,
            query_params=[("dryRun", "All"), ("fieldValidation", "Strict")] if body else [],
            header_params={"Content-Type": "application/json", "Accept": "application/json"},
            # All numbers of the recorder are floats.
            body=json.loads(json.dumps(body), parse_float=lambda text: int(float(text))) if body else None,
            auth_settings=["BearerToken"],
        )
    )
    content = answer.read()
    return answer.status, {} if answer.status == NOT_FOUND else json.loads(content)


@pytest.mark.parametrize(("engine", "server", "stack"), list(build_cases()))
def test_api_server_accepts_every_object(
    types: Cluster, engine: str, server: dict[str, Any], stack: dict[str, Any]
) -> None:
    recorder = record_stack({**stack_with_group(engine, {"kind": "dedicated", **server}), **stack})
    created = [item.inputs for item in recorder.registrations.values() if item.inputs.get("kind") not in SKIPPED]
    kinds = {manifest["kind"] for manifest in created}
    assert {item.kind for item in CLUSTERS[engine].operator.resource_types} <= kinds
    assert [reason for manifest in created if (reason := validate_strictly(types, manifest))] == []


def test_unknown_field_is_rejected(types: Cluster) -> None:
    """Otherwise, the other test would prove nothing."""
    manifest = {"apiVersion": "rabbitmq.com/v1beta1", "kind": "RabbitmqCluster", "metadata": {"name": "main"}}
    assert validate_strictly(types, {**manifest, "spec": {"replicas": 3}}) is None
    message = validate_strictly(types, {**manifest, "spec": {"replicas": 3, "servers": 3}})
    assert message
    assert 'unknown field "spec.servers"' in message


RESTORE_PAGE = Path(__file__).resolve().parents[2] / "docs" / "clusters.md"


@pytest.mark.parametrize("kind", ["Cluster", *(kind for _, kind in sorted(RESTORES))])
def test_api_server_accepts_the_restores_of_the_page(types: Cluster, kind: str) -> None:
    manifests = [yaml.safe_load(block) for block in blocks(RESTORE_PAGE.read_text(), "yaml")]
    (manifest,) = [found for found in manifests if found.get("kind") == kind]
    assert validate_strictly(types, manifest) is None
