"""Backups on a node with containers: real restic, a real S3 server, and a real PostgreSQL server."""

import json
import os
import re
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from time import monotonic
from typing import Any

import kubernetes
import pytest

from tests.e2e.cluster import Cluster, wait_for
from tests.e2e.cluster_store import (
    BUCKET,
    REPOSITORY_PASSWORD,
    SECRET_KEY,
    build_store,
    build_store_images,
    serve_store,
)
from tests.e2e.project import Project

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
NAMESPACE, OTHER, STORE = "backups", "backups-other", "backup-store"
NAMESPACES = (NAMESPACE, OTHER, STORE)
IMAGES = ("postgres:15",)
ROWS_PER_GIBIBYTE, ROWS_PER_STATEMENT = 800_000, 50_000
BODY = "(SELECT string_agg(sha512(int8send(i * 10 + j))::text, ' ') FROM generate_series(1, 10) j)"
"""Text of 1.3 KiB that does not repeat, so that PostgreSQL does not store it elsewhere."""
SERVER = {"kind": "dedicated", "version": "15", "resources": {"cpu": "100m", "memory": "512Mi"}}
PSQL = (
    'PGPASSWORD="$APPLICATION_PASSWORD" psql --no-psqlrc -tA -v ON_ERROR_STOP=1'
    ' -h "$POD_IP" -U "$APPLICATION_USERNAME" -d "$APPLICATION_DATABASE"'
)


def build_stack(endpoint: str, **store: Any) -> dict[str, Any]:
    databases = {"postgresql": {"main": {"server": SERVER, "backup": {"schedule": "0 0 1 1 *", "keep": {"last": 2}}}}}
    return {
        "backupStores": {"offsite": build_store(endpoint, **store)},
        "applications": {NAMESPACE: {"createNamespace": False, "databases": databases}},
    }


class Jobs:
    """The Jobs of a namespace."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self.cluster, self.namespace = cluster, namespace
        self.batch: Any = kubernetes.client.BatchV1Api()

    def run(self, cron_job: str, name: str) -> tuple[bool, str]:
        """Run a CronJob now. Return whether its Job succeeded, and its log."""
        self.start(cron_job, name)
        return self.wait_for_end(name)

    def run_all(self, cron_jobs: Mapping[str, str], suffix: str) -> dict[str, tuple[bool, str]]:
        """Run a CronJob of each group at the same time: `backup` or `verify`. Return the results by group."""
        for group, cron_job in cron_jobs.items():
            self.start(f"{group}-{cron_job}", f"{group}-{cron_job}-{suffix}")
        return {group: self.wait_for_end(f"{group}-{name}-{suffix}", 300) for group, name in cron_jobs.items()}

    def start(self, cron_job: str, name: str, memory: str | None = None) -> None:
        """Create a Job from a CronJob, with another limit of memory."""
        template = self.batch.read_namespaced_cron_job(cron_job, self.namespace).spec.job_template
        if memory:
            resources = template.spec.template.spec.containers[0].resources
            resources.limits = resources.requests = {"memory": memory}
            attempts: Any = kubernetes.client.V1EnvVar(name="ATTEMPTS", value="1")
            template.spec.template.spec.containers[0].env.append(attempts)
        self.batch.create_namespaced_job(self.namespace, {"metadata": {"name": name}, "spec": template.spec})

    def wait_for_end(self, name: str, seconds: float = 180) -> tuple[bool, str]:
        """Wait until a Job has ended. Return whether it succeeded, and its log."""

        def find_end() -> str | None:
            status = self.batch.read_namespaced_job(name, self.namespace).status
            return "succeeded" if status.succeeded else "failed" if status.failed else None

        end = wait_for(seconds, f"the Job {name} has ended", find_end)
        log = self.cluster.core.read_namespaced_pod_log(self._read_pod(name).metadata.name, self.namespace)
        message = self.read_end(name).message
        for secret in (SECRET_KEY, REPOSITORY_PASSWORD):
            assert secret not in f"{log}{message}"
        return end == "succeeded", f"{log}\n{message}"

    def read_end(self, name: str) -> Any:
        """Return how the container of a Job ended."""
        return self._read_pod(name).status.container_statuses[0].state.terminated

    def _read_pod(self, name: str) -> Any:
        (pod,) = self.cluster.core.list_namespaced_pod(self.namespace, label_selector=f"job-name={name}").items
        return pod


@pytest.fixture(scope="module")
def store(
    module_project: Project,
    real_node: Cluster,
    build_images: Callable[..., None],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[str]:
    """Yield the URL of a store with a bucket. The stack and the namespace of the application exist."""
    build_images(*IMAGES)
    build_store_images(tmp_path_factory.mktemp("images"))
    with real_node.create_namespace(STORE), real_node.create_namespace(NAMESPACE), serve_store(real_node, STORE) as url:
        module_project.new(NAMESPACE, build_stack(url))
        yield url


@pytest.fixture
def deployment(
    request: pytest.FixtureRequest, store: str, module_project: Project, real_node: Cluster
) -> "Iterator[Deployment]":
    """Yield a deployed group without data and without backups: each test has its own folder in the bucket."""
    deployment = Deployment(store, request.node.name, module_project, real_node)
    deployment.update(deployment.build_stack())
    yield deployment
    module_project.destroy(NAMESPACE).succeeded()


@dataclass
class Deployment:
    """A stack with a group whose backups are in a bucket."""

    url: str
    prefix: str
    project: Project
    cluster: Cluster

    def build_stack(self, **store: Any) -> dict[str, Any]:
        return build_stack(self.url, **{"prefix": self.prefix, **store})

    def query(self, statement: str, group: str = "main", namespace: str = NAMESPACE) -> str:
        """Run a statement as the application. Return its output."""
        succeeded, output = self.cluster.run(namespace, f"postgresql-{group}-0", f'{PSQL} -c "{statement}"')
        assert succeeded, output
        return output.strip()

    def fill(self) -> None:
        self.query("CREATE TABLE saved AS SELECT i, md5(i::text) FROM generate_series(1, 1000) i")

    @property
    def jobs(self) -> Jobs:
        """The Jobs of the application."""
        return Jobs(self.cluster, NAMESPACE)

    def run_job(self, cron_job: str, name: str) -> tuple[bool, str]:
        """Run a CronJob of the group now: `backup` or `verify`. Return whether its Job succeeded, and its log."""
        return self.jobs.run(f"postgresql-main-{cron_job}", name)

    def run_restic(self, *arguments: str) -> bytes:
        """Run restic on this machine with the repository of the group. Return its output."""
        secret = self.cluster.read_secret(NAMESPACE, "postgresql-main-backup")
        repository = f"s3:{self.url}/{BUCKET}/{self.prefix}/{NAMESPACE}/postgresql/main"
        return subprocess.run(
            ["restic", "--no-cache", "--quiet", *arguments],
            env={**os.environ, **secret, "RESTIC_REPOSITORY": repository},
            capture_output=True,
            check=True,
            timeout=60,
        ).stdout

    def make(self, target: str, *arguments: str) -> str:
        """Run a target of the Makefile. Return its output."""
        output = self.project.make(target, f"STACK={NAMESPACE}", *arguments).succeeded().output
        assert not [secret for secret in (SECRET_KEY, REPOSITORY_PASSWORD) if secret in output]
        return output

    def fail_make(self, target: str, *arguments: str) -> str:
        """Run a target of the Makefile that fails. Return its output."""
        output = self.project.make(target, f"STACK={NAMESPACE}", *arguments).failed().output
        assert not [secret for secret in (SECRET_KEY, REPOSITORY_PASSWORD) if secret in output]
        return output

    def update(self, config: dict[str, Any]) -> None:
        self.project.write(NAMESPACE, config)
        self.project.up(NAMESPACE).succeeded()

    def fail_update(self, config: dict[str, Any]) -> str:
        self.project.write(NAMESPACE, config)
        # The command line breaks long lines.
        return " ".join(self.project.up(NAMESPACE).failed().output.split())


def test_group_is_saved_in_a_bucket(deployment: Deployment) -> None:
    succeeded, output = deployment.run_job("verify", "nothing")
    assert not succeeded
    assert "the repository has no backup" in output
    succeeded, output = deployment.run_job("backup", "empty")
    assert not succeeded
    assert "the database is empty" in output
    deployment.fill()
    succeeded, output = deployment.run_job("backup", "first")
    assert succeeded, output
    assert "saved snapshot " in output
    dump = deployment.run_restic("dump", "latest", "/dump")
    assert b"table public.saved, hash of columns: " in dump
    assert b"rows: 1000" in dump

    # A verification does not change the group.
    deployment.query("INSERT INTO saved VALUES (1001)")
    succeeded, output = deployment.run_job("verify", "restored")
    assert succeeded, output
    assert re.search(r"snapshot [0-9a-f]{8} of 20\S+Z can be restored: \d+ entries, \d+ bytes, in \d+ seconds", output)
    assert deployment.query("SELECT count(*) FROM saved") == "1001"


@pytest.mark.long
def test_evicted_pod_leaves_no_backup(deployment: Deployment) -> None:
    """A lock of the table stops the dump until its Pod is evicted. Afterwards only the lock of restic is left."""
    deployment.fill()
    lock = f'{PSQL} -c "BEGIN; LOCK TABLE saved; SELECT pg_sleep(300)"'
    assert deployment.cluster.run(NAMESPACE, "postgresql-main-0", f"({lock}) >/dev/null 2>&1 &")[0]
    jobs, core = deployment.jobs, deployment.cluster.core
    jobs.start("postgresql-main-backup", "evicted")
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    wait_for(120, "the dump waits for the lock", lambda: deployment.query(waiting) != "0" or None)
    (pod,) = core.list_namespaced_pod(NAMESPACE, label_selector="job-name=evicted").items
    eviction = {"metadata": {"name": pod.metadata.name}, "deleteOptions": {"gracePeriodSeconds": 1}}
    core.create_namespaced_pod_eviction(pod.metadata.name, NAMESPACE, eviction)
    status = jobs.batch.read_namespaced_job_status
    wait_for(120, "the Job has failed", lambda: status("evicted", NAMESPACE).status.failed)
    deployment.query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep'")
    assert "0 backups of 1 database group" in deployment.make("backups")
    deployment.run_restic("unlock", "--remove-all")
    succeeded, output = deployment.run_job("backup", "next")
    assert succeeded, output
    assert "1 backup of 1 database group" in deployment.make("backups")


def test_backups_by_hand(deployment: Deployment) -> None:
    """The targets of the Makefile, on a machine that needs no access to the store."""
    group, path = f"GROUP={NAMESPACE}.postgresql.main", f"{NAMESPACE}.postgresql.main"
    run, fail = deployment.make, deployment.fail_make
    assert "0 backups of 1 database group" in (output := run("backups"))
    assert f"{path}: no backup has succeeded yet" in output
    assert f"error: the backup of {path} failed: nothing was saved: " in (output := fail("backup", group))
    assert "the database is empty" in output

    deployment.fill()
    found = re.search(
        rf"{path}: saved snapshot ([0-9a-f]{{8}}) in \d+ seconds: \d+ entries, [0-9.]+ KiB", run("backup", group)
    )
    assert found
    deployment.query("DELETE FROM saved WHERE i > 10")
    assert f"{path}: snapshot {found[1]} of 20" in (output := run("backup", group, "VERIFY=1"))
    assert " can be restored: " in output
    run("backup", group)
    lines = run("backups").splitlines()
    rows = [line.split() for line in lines if line.startswith(f"{path} ")]
    assert [len(row) for row in rows] == [7, 8]  # the newest one is not verified
    assert rows[1][1] == found[1]
    assert rows[0][-1] == "-"
    assert "2 backups of 1 database group" in lines
    output = run("backups", "ARGS=--json")
    listing = json.loads(output[output.index("{") :])["groups"][path]
    assert [bool(entry["verified"]) for entry in listing["snapshots"]] == [False, True]
    assert listing["problems"] == []

    # Another application has an empty group.
    config = deployment.build_stack()
    config["applications"][OTHER] = {"databases": {"postgresql": {"copy": {"server": SERVER, "backup": False}}}}
    deployment.update(config)
    into, count = f"INTO={OTHER}.postgresql.copy", "SELECT count(*) FROM saved"
    output = fail("restore", group, "SNAPSHOT=00000000", into)
    assert f"error: {path} has no backup '00000000'; it has: " in output
    assert f"{OTHER}.postgresql.copy: copied " in run("restore", group, f"SNAPSHOT={found[1]}", into)
    assert deployment.query(count, "copy", OTHER) == "1000"
    output = fail("restore", group, "SNAPSHOT=latest", into)
    assert "the target holds data: " in output
    assert "set OVERWRITE=1 to delete its data first" in output
    assert deployment.query(count, "copy", OTHER) == "1000"
    output = run("restore", group, "SNAPSHOT=latest", into, "OVERWRITE=1")
    assert "; both sides are equal" in output
    assert deployment.query(count, "copy", OTHER) == "10"
    command = ["make", "--old-file=.venv/.installed", "restore", f"STACK={NAMESPACE}", group, "SNAPSHOT=latest", into]
    project = deployment.project
    with subprocess.Popen(command, cwd=project.folder, env=project.environment, start_new_session=True) as process:
        wait_for(120, "the restore has begun", lambda: list_restores(deployment.cluster) or None)
        os.killpg(process.pid, signal.SIGINT)
    assert process.returncode
    for namespace in (NAMESPACE, OTHER):
        jobs = Jobs(deployment.cluster, namespace).batch.list_namespaced_job(namespace).items
        assert not [job.metadata.name for job in jobs if re.search("list-|^restore-", job.metadata.name)]
    assert list_restores(deployment.cluster) == []


def list_restores(cluster: Cluster) -> list[str]:
    """Return the names of the temporary objects of restores."""
    core = cluster.core
    objects = [*core.list_namespaced_secret(OTHER).items, *core.list_namespaced_config_map(OTHER).items]
    return [item.metadata.name for item in objects if item.metadata.name.startswith("restore-")]


@pytest.mark.long
def test_unusable_store_fails_the_update(deployment: Deployment) -> None:
    """The check finds it before the first change. Without the check, the Job does."""
    unusable = deployment.build_stack(prefix="other", accessKey="unknown")
    output = deployment.fail_update(unusable)
    assert "the store does not know the access key" in output
    assert "nothing was changed" in output
    unchecked = {**unusable, "preflight": False}
    output = deployment.fail_update(unchecked)
    assert f"kubectl logs --namespace {NAMESPACE} job/postgresql-main-backup-" in output

    # If the store itself was wrong, the commands of the message run the Job again.
    found = re.search(rf"run `kubectl delete --namespace {NAMESPACE} job/(\S+)` and `make refresh` first", output)
    assert found
    batch = deployment.jobs.batch
    uid = batch.read_namespaced_job(found[1], NAMESPACE).metadata.uid
    batch.delete_namespaced_job(found[1], NAMESPACE, propagation_policy="Background")
    deployment.project.pulumi("refresh", "--yes", stack=NAMESPACE).succeeded()
    deployment.fail_update(unchecked)
    assert batch.read_namespaced_job(found[1], NAMESPACE).metadata.uid != uid

    deployment.update(deployment.build_stack(prefix="other"))
    deployment.fill()
    succeeded, output = deployment.run_job("backup", "corrected")
    assert succeeded, output


def test_lost_cluster_is_restored_by_one_update(deployment: Deployment) -> None:
    """The stack file, the password and the store are left."""
    project, config = deployment.project, deployment.build_stack()
    deployment.fill()
    succeeded, output = deployment.run_job("backup", "disaster")
    assert succeeded, output
    project.destroy(NAMESPACE).succeeded()
    deployment.update({**config, "restoreAll": "latest"})
    assert deployment.query("SELECT count(*), max(i) FROM saved") == "1000|1000"
    project.assert_settled(NAMESPACE)
    deployment.update(config)
    assert deployment.query("SELECT count(*) FROM saved") == "1000"

    # Newer data is overwritten on purpose only.
    deployment.query("INSERT INTO saved VALUES (1001)")
    group = config["applications"][NAMESPACE]["databases"]["postgresql"]["main"]
    group["from"] = {"backup": "latest", "run": 2}
    assert "kubectl logs" in deployment.fail_update(config)
    assert deployment.query("SELECT count(*) FROM saved") == "1001"
    group["from"] = {"backup": "latest", "run": 3, "overwrite": True}
    deployment.update(config)
    assert deployment.query("SELECT count(*) FROM saved") == "1000"


@pytest.mark.skipif("DISASTER_LOAD" not in os.environ, reason="takes minutes; run `make disaster-load`")
@pytest.mark.timeout(3600)
def test_large_database_is_restored_by_one_update(deployment: Deployment) -> None:
    """Print the seconds that a lost group with DISASTER_LOAD GiB needs, next to the seconds without data."""
    statements = round(float(os.environ["DISASTER_LOAD"]) * ROWS_PER_GIBIBYTE / ROWS_PER_STATEMENT)
    rows = statements * ROWS_PER_STATEMENT
    deployment.query("CREATE TABLE saved (i bigint PRIMARY KEY, body text)")
    for last in range(ROWS_PER_STATEMENT, rows + 1, ROWS_PER_STATEMENT):
        first = last - ROWS_PER_STATEMENT + 1
        deployment.query(f"INSERT INTO saved SELECT i, {BODY} FROM generate_series({first}, {last}) i")
    size = float(deployment.query("SELECT pg_total_relation_size('saved') / 2.0 ^ 30"))
    begin = monotonic()
    deployment.jobs.start("postgresql-main-backup", "large")
    succeeded, output = deployment.jobs.wait_for_end("large", 1800)
    assert succeeded, output
    print(f"\n{size:.2f} GiB in the database: saved in {monotonic() - begin:.0f} s: {output.splitlines()[-1]}")
    deployment.project.destroy(NAMESPACE).succeeded()
    begin = monotonic()
    deployment.update({**deployment.build_stack(), "restoreAll": "latest"})
    print(f"restored by one update in {monotonic() - begin:.0f} s")
    assert deployment.query("SELECT count(*), max(i) FROM saved") == f"{rows}|{rows}"


@pytest.mark.long
def test_update_that_was_killed_during_a_copy_is_finished(deployment: Deployment) -> None:
    """Pulumi has not recorded the Job for which it waits. The next update waits for the same Job."""
    deployment.fill()
    config = deployment.build_stack()
    groups = config["applications"][NAMESPACE]["databases"]["postgresql"]
    groups["main"]["primary"] = True
    groups["copy"] = {"from": {"group": "main"}, "server": SERVER, "backup": False}
    deployment.project.write(NAMESPACE, config)
    batch, name = deployment.jobs.batch, "postgresql-copy-from-1"

    def list_uids() -> list[str]:
        return [job.metadata.uid for job in batch.list_namespaced_job(NAMESPACE).items if job.metadata.name == name]

    deployment.project.kill_up(NAMESPACE, lambda: bool(list_uids()))
    uids = list_uids()
    deployment.project.unlock(NAMESPACE)
    deployment.update(config)
    assert list_uids() == uids
    assert deployment.query("SELECT count(*) FROM saved", "copy") == "1000"
    deployment.project.assert_settled(NAMESPACE)
