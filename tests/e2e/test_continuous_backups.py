"""Continuous backups of PostgreSQL by the real operator and its plugin: a restore to a moment, and the end of them."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.cluster import Cluster, wait_for
from tests.e2e.cluster_store import ACCESS_KEY, BUCKET, SECRET_KEY, build_store_images, serve_store
from tests.e2e.operators import BARMAN_CLOUD_IMAGE, has_condition, run_barman_cloud, run_cloudnative_pg
from tests.e2e.project import Project
from tests.pages import blocks

pytestmark = [pytest.mark.long, pytest.mark.timeout(1500)]
NAMESPACE = "continuous-shop"
NAMESPACES = (NAMESPACE,)
NAME = "postgresql-main"
DATABASE = "continuous_shop_main"
RESOURCES = {"cpu": "100m", "memory": "256Mi"}
PAGE = Path(__file__).resolve().parents[2] / "docs" / "clusters.md"


@pytest.fixture(scope="module")
def operated_node(
    real_node: Cluster, build_images: Callable[..., None], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    """Yield the cluster with CloudNativePG, its plugin and the image of the store."""
    folders = [tmp_path_factory.mktemp(name) for name in ("plugin", "operator", "store")]
    with run_barman_cloud(real_node, folders[0]) as plugins:
        build_images("postgres:17", BARMAN_CLOUD_IMAGE)
        build_store_images(folders[2])
        with run_cloudnative_pg(real_node, NAMESPACES, folders[1], plugins):
            yield real_node


def build_stack(url: str, **backup: Any) -> Any:
    store = {
        "kind": "s3",
        "endpoint": url,
        "bucket": BUCKET,
        "prefix": "live",
        "accessKey": ACCESS_KEY,
        "secretKey": SECRET_KEY,
        "repositoryPassword": "c4nary-repository",
    }
    server = {"kind": "dedicated", "replicas": 2, "storage": "1Gi", "version": "17", "resources": RESOURCES}
    group = {"server": server, "backup": {"verify": False, **backup}}
    application = {"createNamespace": False, "databases": {"postgresql": {"main": group}}}
    return {"backupStores": {"offsite": store}, "applications": {NAMESPACE: application}}


def list_objects(cluster: Cluster, kind: str, api_version: str = "postgresql.cnpg.io/v1") -> list[Any]:
    resource = cluster.dynamic.resources.get(api_version=api_version, kind=kind)
    return [item.to_dict() for item in resource.get(namespace=NAMESPACE).items]


def query(cluster: Cluster, pod: str, statement: str) -> str:
    succeeded, output = cluster.run(NAMESPACE, pod, f'psql -d {DATABASE} -tAqc "{statement}"')
    assert succeeded, output
    return output.strip()


def find_primary(cluster: Cluster) -> str:
    selector = f"cnpg.io/cluster={NAME},cnpg.io/instanceRole=primary"
    (pod,) = cluster.core.list_namespaced_pod(NAMESPACE, label_selector=selector).items
    return str(pod.metadata.name)


def has_base_backup(cluster: Cluster) -> bool | None:
    """Return whether a base backup is complete. Fail with its error."""
    found = [item.get("status") or {} for item in list_objects(cluster, "Backup")]
    assert [status for status in found if status.get("phase") == "failed"] == []
    return any(status.get("phase") == "completed" for status in found) or None


def build_restored_cluster(moment: str) -> Any:
    """Return the object of the page, for this group and a moment."""
    manifests = [yaml.safe_load(block) for block in blocks(PAGE.read_text(), "yaml")]
    (manifest,) = [found for found in manifests if found.get("kind") == "Cluster"]
    manifest["metadata"]["namespace"] = NAMESPACE
    manifest["spec"]["storage"]["size"] = "1Gi"
    manifest["spec"]["bootstrap"]["recovery"]["recoveryTarget"]["targetTime"] = moment
    return manifest


def test_group_is_restored_to_a_moment(module_project: Project, operated_node: Cluster) -> None:
    cluster = operated_node
    with cluster.create_namespace(NAMESPACE), serve_store(cluster, NAMESPACE) as url:
        module_project.new(NAMESPACE, build_stack(url, continuous=True))
        module_project.up(NAMESPACE).succeeded()
        module_project.assert_settled(NAMESPACE)
        wait_for(300, "a base backup is complete", lambda: has_base_backup(cluster))

        primary = find_primary(cluster)
        query(cluster, primary, "CREATE TABLE saved AS SELECT 1 AS id")
        query(cluster, primary, "SELECT pg_sleep(2)")
        moment = query(cluster, primary, "SELECT now()")
        query(cluster, primary, "SELECT pg_sleep(2)")
        query(cluster, primary, "DELETE FROM saved")
        segment = query(cluster, primary, "SELECT pg_walfile_name(pg_switch_wal())")
        archived = f"SELECT last_archived_wal >= '{segment}' FROM pg_stat_archiver"
        wait_for(120, "the changes are saved", lambda: query(cluster, primary, archived) == "t" or None)

        cluster.apply(build_restored_cluster(moment))
        clusters = cluster.dynamic.resources.get(api_version="postgresql.cnpg.io/v1", kind="Cluster")
        restored = lambda: has_condition(clusters.get(name="restored", namespace=NAMESPACE), "Ready") or None  # noqa: E731
        wait_for(300, "the restored cluster is ready", restored)
        assert query(cluster, "restored-1", "SELECT id FROM saved") == "1"
        assert query(cluster, primary, "SELECT count(*) FROM saved") == "0"

        # Without the key, the operator saves nothing more, and the servers run as before.
        module_project.write(NAMESPACE, build_stack(url))
        module_project.up(NAMESPACE).succeeded()
        module_project.assert_settled(NAMESPACE)
        assert list_objects(cluster, "ScheduledBackup") == []
        assert list_objects(cluster, "ObjectStore", "barmancloud.cnpg.io/v1") == []
        assert query(cluster, find_primary(cluster), "SELECT count(*) FROM saved") == "0"
        clusters.delete(name="restored", namespace=NAMESPACE)
        module_project.destroy(NAMESPACE).succeeded()
