"""Clusters: the objects for the operators of the engines, how their status is read, and errors in stack files."""

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.engines import ENGINES
from components.engines.clusters.definition import EngineCluster
from stacks.config import parse_stack
from tests.support import (
    ENCRYPTED,
    SERVICE,
    config_issues,
    decode_secret,
    get_resource,
    record_stack,
    stack_with_group,
)

SCRIPTS = Path(__file__).resolve().parents[2] / "components/engines/scripts"
NODES = {
    "databaseNodes": {
        "nodeSelector": {"pool": "databases"},
        "tolerations": [{"key": "pool", "operator": "Equal", "value": "databases", "effect": "NoSchedule"}],
    }
}
PERCONA_ENGINES = ["mongodb", "mysql"]
ENGINES_OF_TEST = ["elasticsearch", *PERCONA_ENGINES]


def get_cluster(engine: str) -> EngineCluster:
    cluster = ENGINES[engine].cluster
    assert cluster
    return cluster


def clustered(engine: str, *, variant: str | None = None, group: str = "main", **keys: Any) -> dict[str, Any]:
    """Return a stack with a cluster of three servers."""
    server = {"kind": "dedicated", "replicas": 3, **keys}
    return stack_with_group(engine, server, group=group, **({"variant": variant} if variant else {}))


def build_resource(engine: str, **keys: Any) -> dict[str, Any]:
    """Return the custom resource of a cluster."""
    recorder = record_stack({**clustered(engine, **keys), **NODES})
    (kind, *_) = (item.kind for item in get_cluster(engine).operator.resource_types)
    (found,) = (item.inputs for item in recorder.registrations.values() if item.inputs.get("kind") == kind)
    return dict(found)


def build_servers(engine: str, **keys: Any) -> dict[str, Any]:
    """Return the part of a Percona resource that describes the servers."""
    spec = build_resource(engine, **keys)["spec"]
    servers: dict[str, Any] = spec["pxc"] if engine == "mysql" else spec["replsets"][0]
    return servers


def read_connection(engine: str, **keys: Any) -> dict[str, str]:
    """Return the connection Secret of a cluster."""
    recorder = record_stack(clustered(engine, **keys))
    return decode_secret(recorder, f"shop-{engine}-main-connection")


def read_account(engine: str) -> dict[str, str]:
    """Return the Secret that the operator reads."""
    return decode_secret(record_stack(clustered(engine)), f"shop-{engine}-main-account")


# Objects


@pytest.mark.parametrize("engine", PERCONA_ENGINES)
def test_percona_operator_creates_the_account_with_the_rights_of_a_single_server(engine: str) -> None:
    (user,) = build_resource(engine)["spec"]["users"]
    assert user["passwordSecretRef"] == {"name": f"{engine}-main-account", "key": "password"}
    assert (user["name"], read_account(engine)["username"]) == ("shop_main", "shop_main")
    if engine == "mysql":
        assert (user["dbs"], user["hosts"], user["grants"]) == (["shop_main"], ["%"], ["ALL PRIVILEGES"])
    else:
        assert (user["db"], user["roles"]) == ("shop_main", [{"name": "readWrite", "db": "shop_main"}])


def test_role_of_elasticsearch_is_that_of_a_single_server() -> None:
    account, auth = read_account("elasticsearch"), build_resource("elasticsearch")["spec"]["auth"]
    script = (SCRIPTS / "elasticsearch/start.sh").read_text()
    single = re.search(r"<<'ROLES'\n(.*?)ROLES\n", script, re.DOTALL)
    assert single
    assert yaml.safe_load(account["roles.yml"]) == yaml.safe_load(single[1])
    assert account["roles"] == "application"
    secret = [{"secretName": "elasticsearch-main-account"}]
    assert auth == {"disableElasticUser": True, "fileRealm": secret, "roles": secret}


@pytest.mark.parametrize(("engine", "sizes"), [("elasticsearch", (3, 4, 9)), ("mongodb", (3, 9)), ("mysql", (3, 5, 9))])
def test_number_of_servers(engine: str, sizes: tuple[int, ...]) -> None:
    for size in sizes:
        spec = build_resource(engine, replicas=size)["spec"]
        servers = spec["nodeSets"][0] if engine == "elasticsearch" else build_servers(engine, replicas=size)
        assert servers["count" if engine == "elasticsearch" else "size"] == size
        # The operator of MySQL calls more than five servers unsafe.
        assert ("unsafeFlags" in spec) == (engine == "mysql" and size > 5)


@pytest.mark.parametrize("engine", ENGINES_OF_TEST)
@pytest.mark.parametrize("exclusive", [False, True])
def test_servers_are_on_different_nodes(engine: str, exclusive: bool) -> None:
    spec = build_resource(engine, exclusiveNode=exclusive)["spec"]
    if engine == "elasticsearch":
        pods = [spec["nodeSets"][0]["podTemplate"]["spec"]]
        affinities = [pods[0]["affinity"]]
    else:
        pods = [spec["pxc"], spec["haproxy"]] if engine == "mysql" else [spec["replsets"][0]]
        affinities = [pod["affinity"]["advanced"] for pod in pods]
        assert all(pod["podDisruptionBudget"] == {"maxUnavailable": 1} for pod in pods)
    rule = ("required" if exclusive else "preferred") + "DuringSchedulingIgnoredDuringExecution"
    for pod, affinity in zip(pods, affinities, strict=True):
        assert list(affinity["podAntiAffinity"]) == [rule]
        assert "kubernetes.io/hostname" in str(affinity)
        assert pod["topologySpreadConstraints"][0]["topologyKey"] == "topology.kubernetes.io/zone"
        assert pod["nodeSelector"] == NODES["databaseNodes"]["nodeSelector"]
        assert pod["tolerations"] == NODES["databaseNodes"]["tolerations"]


@pytest.mark.parametrize("engine", PERCONA_ENGINES)
def test_pods_of_percona_keep_the_restrictions_of_pod_security(engine: str) -> None:
    spec, restricted = (
        build_resource(engine)["spec"],
        {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    )
    for pod in [spec["pxc"], spec["haproxy"]] if engine == "mysql" else spec["replsets"]:
        assert pod["podSecurityContext"]["runAsNonRoot"]
        assert pod["podSecurityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["containerSecurityContext"] == restricted
    initial = (
        spec["initContainer"]["containerSecurityContext"] if engine == "mysql" else spec["initContainerSecurityContext"]
    )
    assert initial == restricted


@pytest.mark.parametrize("engine", ENGINES_OF_TEST)
def test_pods_have_the_label_of_the_network_policy(engine: str) -> None:
    spec, label = build_resource(engine)["spec"], {"database-groups/server": f"{engine}-main"}
    if engine == "elasticsearch":
        assert spec["nodeSets"][0]["podTemplate"]["metadata"]["labels"] == label
    else:
        parts = [spec["pxc"], spec["haproxy"]] if engine == "mysql" else spec["replsets"]
        assert all(part["labels"] == label for part in parts)


@pytest.mark.parametrize("engine", ENGINES_OF_TEST)
def test_volumes_grow_and_are_deleted_with_the_cluster(engine: str) -> None:
    resource = build_resource(engine, storage="20Gi", storageClass="fast")
    spec = resource["spec"]
    if engine == "elasticsearch":
        (template,) = spec["nodeSets"][0]["volumeClaimTemplates"]
        claim = template["spec"]
        assert spec["volumeClaimDeletePolicy"] == "DeleteOnScaledownAndClusterDeletion"
    else:
        claim = build_servers(engine, storage="20Gi", storageClass="fast")["volumeSpec"]["persistentVolumeClaim"]
        kind = "pxc" if engine == "mysql" else "psmdb"
        assert f"percona.com/delete-{kind}-pvc" in resource["metadata"]["finalizers"]
        assert spec["enableVolumeExpansion"] if engine == "mysql" else spec["storageScaling"]["enableVolumeScaling"]
    assert claim["resources"]["requests"]["storage"] == "20Gi"
    assert claim["storageClassName"] == "fast"


def test_settings_reach_the_servers() -> None:
    mysql = build_servers("mysql", settings={"max_connections": 7, "event_scheduler": False})["configuration"]
    assert mysql.startswith("[mysqld]\n")
    assert "max_connections = 7\n" in mysql
    assert "event_scheduler = OFF\n" in mysql
    mongodb = build_servers("mongodb", settings={"operationProfiling.slowOpThresholdMs": 7})["configuration"]
    assert yaml.safe_load(mongodb) == {"operationProfiling": {"slowOpThresholdMs": 7}}
    nodes = build_resource("elasticsearch", settings={"indices.query.bool.max_clause_count": 7})["spec"]["nodeSets"]
    assert nodes[0]["config"]["indices.query.bool.max_clause_count"] == 7
    assert nodes[0]["config"]["xpack.security.authc.api_key.enabled"] is False


def test_settings_of_mysql_are_those_of_a_cluster() -> None:
    """Copies lock tables, which the operator's default mode forbids. The folder of a single server does not exist."""
    configuration = build_servers("mysql")["configuration"]
    assert 'pxc_strict_mode = "MASTER"' in configuration
    assert "tmpdir" not in configuration
    assert "innodb_buffer_pool_size" in configuration
    own = build_servers("mysql", settings={"loose-pxc_strict_mode": "PERMISSIVE"})["configuration"]
    assert "MASTER" not in own


@pytest.mark.parametrize(
    ("engine", "variant", "version", "image"),
    [
        ("mysql", None, None, "docker.io/percona/percona-xtradb-cluster:8.4."),
        ("mysql", "percona", "8.0", "docker.io/percona/percona-xtradb-cluster:8.0."),
        ("mongodb", None, None, "docker.io/percona/percona-server-mongodb:8.0."),
        ("mongodb", None, "7.0", "docker.io/percona/percona-server-mongodb:7.0."),
    ],
)
def test_image_of_a_series(engine: str, variant: str | None, version: str | None, image: str) -> None:
    keys: dict[str, Any] = {"variant": variant, **({"version": version} if version else {})}
    resource = build_resource(engine, **keys)
    found = resource["spec"]["pxc"]["image"] if engine == "mysql" else resource["spec"]["image"]
    assert found.startswith(image)
    (application,) = parse_stack(clustered(engine, **keys), ENCRYPTED).applications
    (group,) = application.database_groups
    assert group.server_access.version == found.rpartition(":")[2].partition("-")[0]


def test_image_of_the_user() -> None:
    image = "registry.example.org/pxc:8.4.6-1"
    assert build_servers("mysql", image=image, version="8.4")["image"] == image
    assert build_resource("elasticsearch", version="9.5.0")["spec"]["version"] == "9.5.0"


# TLS and the connection Secret


@pytest.mark.parametrize(
    ("tls", "scheme"), [(None, "http"), ("disable", "http"), ("require", "https"), ("verify-full", "https")]
)
def test_elasticsearch_has_tls_if_the_stack_file_says_so(tls: str | None, scheme: str) -> None:
    keys = {"tls": tls} if tls else {}
    certificate = build_resource("elasticsearch", **keys)["spec"]["http"]["tls"]["selfSignedCertificate"]
    data = read_connection("elasticsearch", **keys)
    assert data["uri"].startswith(f"{scheme}://shop_main:")
    assert ("ca.crt" in data) == (scheme == "https")
    if scheme == "https":
        assert {"dns": "elasticsearch.shop.svc"} in certificate["subjectAltNames"]
    else:
        assert certificate == {"disabled": True}


def test_certificates_of_mysql_contain_the_services() -> None:
    names = build_resource("mysql")["spec"]["tls"]["SANs"]
    assert {"mysql", "mysql-main", "mysql-read", "mysql.shop.svc"} <= set(names)
    assert "ca.crt" in read_connection("mysql")


@pytest.mark.parametrize("engine", ["elasticsearch", "mysql", "postgresql"])
def test_certificates_contain_the_name_by_which_a_copy_reaches_the_servers(engine: str) -> None:
    stack = clustered(engine, tls="verify-full")
    groups = stack["applications"]["shop"]["databases"][engine]
    groups["main"] |= {"primary": True, "from": {"group": "old"}}
    groups["old"] = {"server": {"kind": "dedicated"}}
    recorder = record_stack(stack)
    address = decode_secret(recorder, f"shop-{engine}-main-from-1-connections")["TARGET_ADDRESS"]
    (kind, *_) = (item.kind for item in get_cluster(engine).operator.resource_types)
    (found,) = (item.inputs for item in recorder.registrations.values() if item.inputs.get("kind") == kind)
    assert f'"{address}"' in json.dumps(found["spec"])


def test_uri_of_mongodb_has_the_replica_set() -> None:
    data = read_connection("mongodb")
    assert data["replica-set"] == "rs0"
    assert data["uri"].endswith("@mongodb:27017/shop_main?authSource=shop_main&replicaSet=rs0")
    single = decode_secret(
        record_stack(stack_with_group("mongodb", {"kind": "dedicated"})), "shop-mongodb-main-connection"
    )
    assert "replica-set" not in single
    assert "replicaSet" not in single["uri"]


def test_reads_of_mysql_have_a_service_of_their_own() -> None:
    recorder = record_stack(clustered("mysql"))
    write, read = (get_resource(recorder, SERVICE, f"shop-{name}").inputs["spec"] for name in ("mysql", "mysql-read"))
    assert write["selector"] == read["selector"]
    assert write["ports"][0].get("targetPort") is None
    assert (read["ports"][0]["port"], read["ports"][0]["targetPort"]) == (3306, 3307)
    assert read_connection("mysql")["read-uri"].startswith("mysql://shop_main:")


# Status


def percona_status(**status: Any) -> dict[str, Any]:
    return {"metadata": {"generation": 2}, "status": {"state": "ready", "observedGeneration": 2, **status}}


PERCONA_CASES: list[tuple[Mapping[str, Any], str | None]] = [
    ({}, "its state is not reported yet"),
    (percona_status(), None),
    (percona_status(observedGeneration=1), "the operator has not seen the last change yet"),
    (percona_status(state="initializing"), "its state is initializing"),
    (percona_status(state="error", message=["Error: no volume"]), "its state is error; Error: no volume"),
    (percona_status(state="error", message="Error: no volume"), "its state is error; Error: no volume"),
    (
        percona_status(state="initializing", message=["pxc: 0/3 nodes"], pxc={"message": "0/3 nodes"}),
        "its state is initializing; pxc: 0/3 nodes; 0/3 nodes",
    ),
    (
        percona_status(state="initializing", replsets={"rs0": {"message": "mongod: no image; "}}),
        "its state is initializing; mongod: no image",
    ),
]


@pytest.mark.parametrize(("resource", "reason"), PERCONA_CASES)
@pytest.mark.parametrize("engine", PERCONA_ENGINES)
def test_status_of_percona(engine: str, resource: Mapping[str, Any], reason: str | None) -> None:
    assert get_cluster(engine).describe_progress(resource, "1") == reason


def elastic_status(**status: Any) -> dict[str, Any]:
    return {
        "metadata": {"generation": 2},
        "spec": {"nodeSets": [{"count": 3}]},
        "status": {"phase": "Ready", "health": "green", "availableNodes": 3, "observedGeneration": 2, **status},
    }


FAILED = [{"type": "ReconciliationComplete", "status": "False", "message": "cannot start"}]
ELASTIC_CASES: list[tuple[Mapping[str, Any], str | None]] = [
    ({}, "its phase is not reported yet"),
    (elastic_status(), None),
    (elastic_status(health="yellow"), None),
    (elastic_status(health="red"), "its health is red"),
    (elastic_status(health="unknown"), "its health is unknown"),
    (elastic_status(phase="ApplyingChanges"), "its phase is ApplyingChanges"),
    (elastic_status(phase="Invalid", conditions=FAILED), "its phase is Invalid; cannot start"),
    (elastic_status(observedGeneration=1), "the operator has not seen the last change yet"),
    (elastic_status(availableNodes=2), "2 of 3 servers are ready"),
]


@pytest.mark.parametrize(("resource", "reason"), ELASTIC_CASES)
def test_status_of_elasticsearch(resource: Mapping[str, Any], reason: str | None) -> None:
    assert get_cluster("elasticsearch").describe_progress(resource, "1") == reason


@pytest.mark.parametrize("engine", PERCONA_ENGINES)
def test_account_of_percona_is_ready_when_the_operator_has_set_its_password(engine: str) -> None:
    data = {key: base64.b64encode(value.encode()).decode() for key, value in read_account(engine).items()}
    key = f"percona.com/{engine}-main-shop_main-hash"
    password = base64.b64decode(data["password"])

    def describe(annotations: Mapping[str, str]) -> str | None:
        secret = {"metadata": {"annotations": annotations}, "data": data}
        describe_account = get_cluster(engine).describe_account
        assert describe_account
        return describe_account(secret, f"{engine}-main")

    assert describe({key: hashlib.sha256(password).hexdigest()}) is None
    expected = "the operator has not set the password of the user shop_main yet"
    assert describe({key: hashlib.sha256(b"old").hexdigest()}) == expected
    assert describe({}) == expected


# Errors

SERVER = "applications.shop.databases.{}.main.server"
ERRORS = [
    ("mysql", {"replicas": 4}, "replicas", "supports 3, 5, 7 or 9 servers of mysql"),
    ("mongodb", {"replicas": 2}, "replicas", "supports 3, 5, 7 or 9 servers of mongodb"),
    ("elasticsearch", {"replicas": 2}, "replicas", "supports 3, 4, 5, 6, 7, 8 or 9 servers of elasticsearch"),
    ("mysql", {"durability": "asynchronous"}, "durability", "supports synchronous clusters only"),
    ("mysql", {"version": "9.7"}, "version", 'runs "8.0" or "8.4" only; use one of these'),
    ("mysql", {"version": "8.4.11"}, "version", 'runs release 8.4.7 of 8.4; set "8.4"'),
    ("mysql", {"settings": {"wsrep-on": True}}, "settings.wsrep-on", "reserved: "),
    ("mysql", {"settings": {"tmpdir": "/tmp"}}, "settings.tmpdir", "reserved: "),
    ("mysql", {"settings": {"init_connect": "{{x}}"}}, "settings.init_connect", "misreads {; remove it"),
    ("mysql", {"initScript": "SELECT 1"}, "initScript", "not supported with `replicas`"),
    ("mongodb", {"tls": "verify-full"}, "tls", "do not contain the name of the Service; set `require`"),
    ("mongodb", {"settings": {"storage.engine": "x"}}, "settings.storage.engine", "reserved: "),
    (
        "elasticsearch",
        {"image": "registry.example.org/search@sha256:" + 64 * "0", "version": "9"},
        "version",
        "needs all numbers of the release",
    ),
]


@pytest.mark.parametrize(("engine", "keys", "key", "message"), ERRORS)
def test_errors(engine: str, keys: dict[str, Any], key: str, message: str) -> None:
    (issue,) = config_issues(clustered(engine, **keys))
    assert issue.startswith(f"{SERVER.format(engine)}.{key}: ")
    assert message in issue
