"""Backups on a node with containers: real restic, a real S3 server, and a real PostgreSQL server."""

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kubernetes
import pytest

from tests.e2e.cluster import Cluster, wait_for
from tests.e2e.cluster_store import ACCESS_KEY, BUCKET, SECRET_KEY, build_store_images, serve_store
from tests.e2e.project import Project

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
NAMESPACE, STORE = "backups", "backup-store"
NAMESPACES = (NAMESPACE, STORE)
IMAGES = ("postgres:15",)
PASSWORD = "c4nary-repository"
SERVER = {"kind": "dedicated", "version": "15", "resources": {"cpu": "100m", "memory": "512Mi"}}
PSQL = (
    'PGPASSWORD="$APPLICATION_PASSWORD" psql --no-psqlrc -tA -v ON_ERROR_STOP=1'
    ' -h "$POD_IP" -U "$APPLICATION_USERNAME" -d "$APPLICATION_DATABASE"'
)


def build_stack(endpoint: str, **store: Any) -> dict[str, Any]:
    keys = {"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY, "repositoryPassword": PASSWORD, "pathStyle": True}
    databases = {"postgresql": {"main": {"server": SERVER, "backup": {"schedule": "0 0 1 1 *", "keep": {"last": 2}}}}}
    return {
        "backupStores": {"offsite": {"kind": "s3", "endpoint": endpoint, "bucket": BUCKET, **keys, **store}},
        "applications": {NAMESPACE: {"createNamespace": False, "databases": databases}},
    }


class Jobs:
    """The Jobs of a namespace."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self.cluster, self.namespace = cluster, namespace
        self.batch: Any = kubernetes.client.BatchV1Api()

    def run(self, cron_job: str, name: str) -> tuple[bool, str]:
        """Run a CronJob now. Return whether its Job succeeded, and its log."""
        template = self.batch.read_namespaced_cron_job(cron_job, self.namespace).spec.job_template
        self.batch.create_namespaced_job(self.namespace, {"metadata": {"name": name}, "spec": template.spec})

        def find_end() -> str | None:
            status = self.batch.read_namespaced_job(name, self.namespace).status
            return "succeeded" if status.succeeded else "failed" if status.failed else None

        end = wait_for(180, f"the Job {name} has ended", find_end)
        (pod,) = self.cluster.core.list_namespaced_pod(self.namespace, label_selector=f"job-name={name}").items
        log = self.cluster.core.read_namespaced_pod_log(pod.metadata.name, self.namespace)
        message = pod.status.container_statuses[0].state.terminated.message
        for secret in (SECRET_KEY, PASSWORD):
            assert secret not in log + message
        return end == "succeeded", f"{log}\n{message}"


def test_group_is_saved_in_a_bucket(
    module_project: Project, real_node: Cluster, build_images: Callable[..., None], tmp_path: Path
) -> None:
    build_images(*IMAGES)
    build_store_images(tmp_path)

    def query(statement: str) -> str:
        succeeded, output = real_node.run(NAMESPACE, "postgresql-main-0", f'{PSQL} -c "{statement}"')
        assert succeeded, output
        return output.strip()

    with real_node.create_namespace(STORE), real_node.create_namespace(NAMESPACE), serve_store(real_node, STORE) as url:
        module_project.new(NAMESPACE, build_stack(url))
        module_project.up(NAMESPACE).succeeded()
        jobs = Jobs(real_node, NAMESPACE)

        succeeded, output = jobs.run("postgresql-main-verify", "nothing")
        assert not succeeded
        assert "the repository has no backup" in output
        succeeded, output = jobs.run("postgresql-main-backup", "empty")
        assert not succeeded
        assert "the database is empty" in output
        query("CREATE TABLE saved AS SELECT i, md5(i::text) FROM generate_series(1, 1000) i")
        succeeded, output = jobs.run("postgresql-main-backup", "first")
        assert succeeded, output
        assert "saved snapshot " in output

        secret = real_node.read_secret(NAMESPACE, "postgresql-main-backup")
        path = f"{NAMESPACE}/postgresql/main"
        environment = {**os.environ, **secret, "RESTIC_REPOSITORY": f"s3:{url}/{BUCKET}/{path}"}
        command = ["restic", "--no-cache", "--quiet", "dump", "latest", "/dump"]
        dump = subprocess.run(command, env=environment, capture_output=True, check=True, timeout=60).stdout
        assert b"table public.saved, hash of columns: " in dump
        assert b"rows: 1000" in dump

        query("INSERT INTO saved VALUES (1001)")
        succeeded, output = jobs.run("postgresql-main-verify", "restored")
        assert succeeded, output
        assert re.search(
            r"snapshot [0-9a-f]{8} of 20\S+Z can be restored: \d+ entries, \d+ bytes, in \d+ seconds", output
        )
        assert query("SELECT count(*) FROM saved") == "1001"

        # A store that nobody can use fails the update before the first change; without this check, the Job does.
        unusable = build_stack(url, prefix="other", accessKey="unknown")
        module_project.write(NAMESPACE, unusable)
        output = " ".join(module_project.up(NAMESPACE).failed().output.split())
        assert "the store does not know the access key" in output
        assert "nothing was changed" in output
        module_project.write(NAMESPACE, {**unusable, "preflight": False})
        output = module_project.up(NAMESPACE).failed().output
        assert f"kubectl logs --namespace {NAMESPACE} job/postgresql-main-backup-" in output
        module_project.write(NAMESPACE, build_stack(url))
        module_project.up(NAMESPACE).succeeded()
        succeeded, output = jobs.run("postgresql-main-backup", "second")
        assert succeeded, output

        # The cluster and the state are lost. The stack file, its password and the store are left.
        module_project.destroy(NAMESPACE).succeeded()
        module_project.write(NAMESPACE, {**build_stack(url), "restoreAll": "latest"})
        module_project.up(NAMESPACE).succeeded()
        assert query("SELECT count(*), max(i) FROM saved") == "1000|1000"
        module_project.assert_settled(NAMESPACE)
        module_project.write(NAMESPACE, build_stack(url))
        module_project.up(NAMESPACE).succeeded()
        assert query("SELECT count(*) FROM saved") == "1000"

        # A newer state of the same group is overwritten on purpose only.
        query("INSERT INTO saved VALUES (1001)")
        config = build_stack(url)
        group = config["applications"][NAMESPACE]["databases"]["postgresql"]["main"]
        group["from"] = {"backup": "latest", "overwrite": True}
        module_project.write(NAMESPACE, config)
        module_project.up(NAMESPACE).succeeded()
        assert query("SELECT count(*) FROM saved") == "1000"
        module_project.destroy(NAMESPACE).succeeded()
