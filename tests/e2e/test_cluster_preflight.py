"""A cluster without what the stack needs fails the update in seconds, before the first change, with one report."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from time import monotonic
from typing import Any

import kubernetes
import pytest
import yaml

from preflight.cluster import check_cluster
from preflight.cluster_client import ClusterConfig
from preflight.cluster_models import ClusterReport
from stacks.cluster_checks import build_cluster_requirements
from stacks.config import parse_stack
from stacks.errors import format_path
from stacks.preflight_checks import CLUSTER_TIMEOUT_SECONDS
from tests.e2e.cluster import Cluster
from tests.e2e.project import Project

SHOP, NEW = "cluster-preflight", "cluster-preflight-new"
STACK = "organization/database-groups/cluster"
STORAGE_CLASS = "cluster-preflight-fixed"
MAX_SECONDS = 5
UPDATE_SECONDS = 20
APPLICATIONS = 100
EXISTING = {"createNamespace": False, "namespace": SHOP}
MYSQL = {"databases": {"mysql": {"main": None}}}
PATH = "applications.shop"
MAIN = f"{PATH}.databases.mysql.main"
CURE = "delete or rename it, or set another `namespace`"
VIEWER = {
    "rules": [
        {"apiGroups": [""], "resources": ["namespaces", "services"], "verbs": ["get", "list", "watch"]},
        {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["*"]},
    ]
}


def build_stack(**application: Any) -> dict[str, Any]:
    """Return a stack with one application."""
    return {"applications": {"shop": application}}


def check(raw: dict[str, Any], config: ClusterConfig | None = None) -> ClusterReport:
    """Check the cluster for a stack before its first update."""
    requirements = build_cluster_requirements(parse_stack(raw, full_name=STACK), {}, ())
    start = monotonic()
    report = check_cluster(requirements, config or ClusterConfig(), CLUSTER_TIMEOUT_SECONDS)
    seconds = monotonic() - start
    assert seconds < MAX_SECONDS
    print(f"cluster preflight: {seconds:.2f} s")
    return report


def list_issues(raw: dict[str, Any], config: ClusterConfig | None = None) -> list[str]:
    return [f"{format_path(issue.location)}: {issue.message}" for issue in check(raw, config).issues]


@pytest.fixture
def shop(cluster: Cluster) -> Iterator[str]:
    """Create the namespace of the application. It enforces Pod Security `restricted`."""
    with cluster.create_namespace(SHOP) as name:
        yield name


@pytest.fixture
def create(cluster: Cluster, shop: str) -> Callable[..., None]:
    """Return a function that creates an object in the namespace of the application."""

    def run(api_version: str, kind: str, name: str, *, annotation: str = "", **parts: Any) -> None:
        annotations = {"annotations": {"database-groups/stack": annotation}} if annotation else {}
        metadata = {"name": name, "namespace": shop, **annotations}
        cluster.apply({"apiVersion": api_version, "kind": kind, "metadata": metadata, **parts})

    return run


@pytest.fixture
def fixed_class(cluster: Cluster) -> Iterator[str]:
    """Create a storage class whose volumes do not grow."""
    storage: Any = kubernetes.client.StorageV1Api(cluster.core.api_client)
    body = {"metadata": {"name": STORAGE_CLASS}, "provisioner": "example.org/none"}
    storage.create_storage_class({**body, "volumeBindingMode": "WaitForFirstConsumer"})
    yield STORAGE_CLASS
    storage.delete_storage_class(STORAGE_CLASS)


@pytest.fixture
def limited_account(cluster: Cluster, shop: str) -> ClusterConfig:
    """Create an account with few rights in the namespace of the application, and none elsewhere."""
    account = {"kind": "ServiceAccount", "name": "viewer", "namespace": shop}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "viewer"}
    rights: Any = kubernetes.client.RbacAuthorizationV1Api()
    rights.create_namespaced_role(shop, {"metadata": {"name": "viewer"}, **VIEWER})
    rights.create_namespaced_role_binding(
        shop, {"metadata": {"name": "viewer"}, "roleRef": role, "subjects": [account]}
    )
    return ClusterConfig(kubeconfig=cluster.create_account(shop, "viewer"))


def list_state(cluster: Cluster, namespaces: list[str]) -> dict[str, Any]:
    """Return the versions of all objects in namespaces that a stack could change; None for a missing namespace."""
    core, apps = cluster.core, kubernetes.client.AppsV1Api()
    network: Any = kubernetes.client.NetworkingV1Api()
    lists: list[Any] = [
        core.list_namespaced_secret,
        core.list_namespaced_service,
        core.list_namespaced_config_map,
        core.list_namespaced_persistent_volume_claim,
        getattr(apps, "list_namespaced_stateful_set"),  # noqa: B009 (the client has no types)
        network.list_namespaced_network_policy,
    ]
    return {
        name: [item.metadata.resource_version for read in lists for item in read(name).items]
        if cluster.has_namespace(name)
        else None
        for name in namespaces
    }


# Each check alone


def test_a_usable_cluster_has_no_issue(shop: str) -> None:
    existing = build_stack(**EXISTING, **MYSQL)
    assert check(existing) == check(build_stack(namespace=NEW, **MYSQL)) == ClusterReport()
    assert shop


def test_a_namespace_that_exists(shop: str) -> None:
    assert list_issues(build_stack(namespace=shop, **MYSQL)) == [
        f"{PATH}.namespace: namespace '{shop}' exists, and this stack did not create it; set `createNamespace: false`"
        " to use it, or another `namespace`"
    ]


@pytest.mark.usefixtures("cluster")
def test_a_namespace_that_does_not_exist() -> None:
    assert list_issues(build_stack(createNamespace=False, namespace=NEW, **MYSQL)) == [
        f"{PATH}.createNamespace: namespace '{NEW}' does not exist; create it, or remove `createNamespace: false`"
    ]


def test_pod_security(shop: str) -> None:
    server = {"kind": "local", "image": "example.org/glusterfs:11"}
    (issue,) = list_issues(build_stack(**EXISTING, databases={"glusterfs": {"main": {"server": server}}}))
    assert issue.startswith(
        f"{PATH}.databases.glusterfs.main: namespace '{shop}' enforces Pod Security `restricted`, which rejects"
    )


def test_objects_of_others_and_of_this_stack(create: Callable[..., None]) -> None:
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "a", "image": "example.org/a"}]}}
    server = {"selector": {"matchLabels": {"a": "b"}}, "template": template, "replicas": 0, "serviceName": "a"}
    create("v1", "Service", "mysql", spec={"type": "ExternalName", "externalName": "example.org"})
    create("v1", "PersistentVolumeClaim", "mysql-main", spec=claim)
    create("apps/v1", "StatefulSet", "mysql-main", annotation="organization/database-groups/other", spec=server)
    create("networking.k8s.io/v1", "NetworkPolicy", "shop-databases", spec={"podSelector": {}})
    create("v1", "Secret", "mysql-main", annotation=STACK)
    create("v1", "ConfigMap", "other")
    report = check(build_stack(**EXISTING, **MYSQL))
    place = f"exists in namespace '{SHOP}', and"
    assert [(format_path(issue.location), issue.message) for issue in report.issues] == [
        (PATH, f"NetworkPolicy 'shop-databases' {place} this stack did not create it; {CURE}"),
        (MAIN, f"PersistentVolumeClaim 'mysql-main' {place} this stack did not create it; {CURE}"),
        (MAIN, f"StatefulSet 'mysql-main' {place} belongs to the stack 'organization/database-groups/other'; {CURE}"),
        (MAIN, f"Service 'mysql' {place} this stack did not create it; {CURE}"),
    ]
    assert report.left_behind == (("Secret", SHOP, "mysql-main"),)


@pytest.mark.usefixtures("cluster")
def test_a_storage_class_that_does_not_exist() -> None:
    server = {"kind": "local", "storageClass": "cluster-preflight-lost"}
    (issue,) = list_issues(build_stack(namespace=NEW, databases={"mysql": {"main": {"server": server}}}))
    assert issue.startswith(
        f"{MAIN}.server.storageClass: storage class 'cluster-preflight-lost' does not exist; existing classes: "
    )


@pytest.mark.usefixtures("cluster")
def test_nodes_that_do_not_exist() -> None:
    nodes = {"databaseNodes": {"nodeSelector": {"cluster-preflight": "none"}}}
    dedicated = {"databases": {"mysql": {"main": {"server": "dedicated"}}}}
    assert list_issues({**nodes, **build_stack(namespace=NEW, **dedicated)}) == [
        "databaseNodes.nodeSelector: no node has the labels cluster-preflight=none; add them to a node (`kubectl label"
        " node`), or correct them"
    ]


def test_an_account_with_few_rights(limited_account: ClusterConfig) -> None:
    manage = "(get, list, watch, create, patch, delete)"
    nodes = {"databaseNodes": {"nodeSelector": {"type": "kwok"}}}
    dedicated = {"databases": {"mysql": {"main": {"server": "dedicated"}}}}
    requirements = {**nodes, **build_stack(**EXISTING, **dedicated)}
    assert list_issues(requirements, limited_account) == [
        f"cluster: the account needs more rights in namespace '{SHOP}': endpoints (get, list, watch), events (get,"
        f" list, watch), persistentvolumeclaims {manage}, pods (get, list, watch), secrets {manage}, services (create,"
        f" patch, delete), statefulsets.apps {manage}, networkpolicies.networking.k8s.io {manage}; grant them"
        " (docs/teams.md)",
        "cluster: the account needs more rights in the whole cluster: storageclasses.storage.k8s.io (get, list); grant"
        " them (docs/teams.md)",
    ]
    assert check(requirements, limited_account).notes == (
        "the nodes of `databaseNodes` are not checked: the account may not list nodes",
    )
    (issue, _) = list_issues(build_stack(namespace=NEW, **MYSQL), limited_account)
    assert issue.startswith(f"cluster: the account needs more rights in namespace '{NEW}': configmaps {manage}")


def test_no_cluster() -> None:
    cluster = {"name": "a", "cluster": {"server": "https://127.0.0.1:1"}}
    context = {"name": "a", "context": {"cluster": "a", "user": "a"}}
    kubeconfig = {"clusters": [cluster], "users": [{"name": "a", "user": {}}], "contexts": [context]}
    (issue,) = list_issues(
        build_stack(**MYSQL), ClusterConfig(kubeconfig=yaml.safe_dump({**kubeconfig, "current-context": "a"}))
    )
    assert issue.startswith("cluster: cannot connect to the cluster at https://127.0.0.1:1 (")


@pytest.mark.timeout(600)
def test_many_applications_in_existing_namespaces(cluster: Cluster) -> None:
    names = [f"{SHOP}-{number}" for number in range(APPLICATIONS)]
    databases = {"mysql": {"main": None}, "redis": {"far": {"server": {"kind": "external", "host": "10.99.0.78"}}}}
    with ExitStack() as cleanup:
        for name in names:
            cluster.core.create_namespace({"metadata": {"name": name}})
            cleanup.callback(cluster.core.delete_namespace, name)
        application = {"createNamespace": False, "databases": databases}
        assert list_issues({"applications": dict.fromkeys(names, application)}) == []


# The update


def test_volume_that_cannot_grow(project: Project, fixed_class: str, cluster: Cluster) -> None:
    def build(size: str) -> dict[str, Any]:
        server = {"kind": "local", "storage": size, "storageClass": fixed_class}
        return build_stack(namespace=NEW, databases={"sqlite": {"main": {"server": server}}})

    project.new("cluster", build("1Gi"))
    project.up("cluster").succeeded()
    # An object in the state of the stack is the stack's own, also without the annotation.
    unmarked = {"metadata": {"annotations": {"database-groups/stack": None}}}
    cluster.core.patch_namespaced_secret("shop-databases", NEW, unmarked)
    project.up("cluster", "--expect-no-changes").succeeded()
    assert project.python("-m", "stacks", "check", "cluster").succeeded().output.startswith("Checked the cluster and 0")
    before = list_state(cluster, [NEW])
    project.write("cluster", build("2Gi"))
    output = " ".join(project.up("cluster").failed().output.split())
    assert "1 cluster check failed:" in output
    assert (
        f"{PATH}.databases.sqlite.main.server.storage: the volume cannot grow from 1Gi to 2Gi: storage class"
        f" '{fixed_class}' does not allow it; restore `storage: 1Gi`"
    ) in output
    assert list_state(cluster, [NEW]) == before


def test_all_failures_are_in_one_report(
    project: Project, cluster: Cluster, create: Callable[..., None], limited_account: ClusterConfig, tmp_path: Path
) -> None:
    """The cluster and an external server fail. Neither the update nor a preview nor the command changes anything."""
    create("v1", "Service", "redis", spec={"type": "ExternalName", "externalName": "example.org"})
    administrator = {"username": "provisioner", "password": "x", "host": "127.0.0.1", "port": 1}
    gluster = {"kind": "local", "image": "example.org/glusterfs:11"}
    lost = {"kind": "dedicated", "storageClass": "cluster-preflight-lost"}
    config = {
        "databaseNodes": {"nodeSelector": {"cluster-preflight": "none"}},
        "externalServers": {"hq": {"engine": "mysql", "host": "db.example.org", "administrator": administrator}},
        "applications": {
            "shop": {
                **EXISTING,
                "databases": {
                    "redis": {"main": None},
                    "glusterfs": {"main": {"server": gluster}},
                    "postgresql": {"main": {"server": lost}},
                },
            },
            "old": {"namespace": SHOP, "databases": {"sqlite": {"main": None}}},
            "lost": {"namespace": NEW, "createNamespace": False, **MYSQL},
        },
    }
    project.new("cluster", config)
    before = list_state(cluster, [SHOP, NEW])
    start = monotonic()
    update = project.up("cluster").failed()
    seconds = monotonic() - start
    print(f"update: {seconds:.1f} s")
    assert seconds < UPDATE_SECONDS
    for result in (update, project.preview("cluster"), project.python("-m", "stacks", "check", "cluster").failed()):
        output = " ".join(result.output.split())
        assert "6 cluster checks failed:" in output
        for text in (
            "databaseNodes.nodeSelector: no node has the labels",
            "applications.shop.databases.redis.main: Service 'redis' exists",
            "applications.shop.databases.glusterfs.main: namespace",
            "applications.shop.databases.postgresql.main.server.storageClass: storage class",
            f"applications.old.namespace: namespace '{SHOP}' exists",
            f"applications.lost.createNamespace: namespace '{NEW}' does not exist",
            "1 external server check failed:",
            "externalServers.hq (127.0.0.1:1)",
        ):
            assert text in output
        assert "line" in output
    kubeconfig = tmp_path / "limited"
    kubeconfig.write_text(limited_account.kubeconfig or "")
    project.environment["KUBECONFIG"] = str(kubeconfig)
    assert "cluster: the account needs more rights" in project.up("cluster").failed().output
    assert not [resource for resource in project.resources("cluster") if not resource["type"].startswith("pulumi:")]
    assert list_state(cluster, [SHOP, NEW]) == before


def test_update_without_a_cluster(project: Project, tmp_path: Path) -> None:
    kubeconfig = tmp_path / "none"
    cluster = {"name": "a", "cluster": {"server": "https://127.0.0.1:1"}}
    context = {"name": "a", "context": {"cluster": "a", "user": "a"}}
    content = {"clusters": [cluster], "users": [{"name": "a", "user": {}}], "contexts": [context]}
    kubeconfig.write_text(yaml.safe_dump({"apiVersion": "v1", "kind": "Config", **content, "current-context": "a"}))
    project.environment["KUBECONFIG"] = str(kubeconfig)
    project.new("cluster", build_stack(**MYSQL))
    for result in (project.up("cluster").failed(), project.python("-m", "stacks", "check", "cluster").failed()):
        assert "cluster: cannot connect to the cluster at https://127.0.0.1:1" in " ".join(result.output.split())
    assert not [resource for resource in project.resources("cluster") if not resource["type"].startswith("pulumi:")]
    project.deployed.clear()  # nothing to destroy, and the provider could not
