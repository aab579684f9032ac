"""A cluster of PostgreSQL on a node with containers, by the real operator: one update, failover, edits, copies."""

import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import pytest

from tests.e2e.cluster import Cluster, is_ready, wait_for
from tests.e2e.project import Project

pytestmark = [pytest.mark.long, pytest.mark.timeout(1500)]
NAMESPACE = "shop-cluster"
NAMESPACES = (NAMESPACE,)
RESOURCES = {"cpu": "100m", "memory": "256Mi"}
NAME = "postgresql-main"
CLIENT = "client"
MAX_GAP_SECONDS = 60
"""Seconds without a confirmed row after the loss of the primary server, on a machine with two cores."""
WRITER = """
touch /tmp/run; : > /tmp/confirmed
(
    i=0
    while [ -e /tmp/run ]; do
        i=$((i + 1))
        PGCONNECT_TIMEOUT=2 timeout 5 psql "$POSTGRESQL_URL" -qc "INSERT INTO saved VALUES ($i)" &&
            echo "$i $(date +%s.%N)" >> /tmp/confirmed
        sleep 0.1
    done
) >/dev/null 2>&1 &
"""


def build_stack(group: dict[str, Any] | None = None, other: dict[str, Any] | None = None, **server: Any) -> Any:
    replicas = {"kind": "dedicated", "replicas": 3, "storage": "1Gi", "version": "17", "resources": RESOURCES}
    main = {"server": {**replicas, **server}, **(group or {})}
    groups = {"main": main, **(other or {})}
    return {"applications": {NAMESPACE: {"createNamespace": False, "databases": {"postgresql": groups}}}}


class Application:
    """The application's Pod. It connects by the environment Secret, and knows no more."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster

    def start(self) -> None:
        """Start the Pod again, with the values that the Secret has now."""
        image = self.cluster.read_image(NAMESPACE, f"{NAME}-1")
        manifest: dict[str, Any] = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": CLIENT,
                "namespace": NAMESPACE,
                "labels": {"app.kubernetes.io/name": NAMESPACE},
            },
            "spec": {
                "terminationGracePeriodSeconds": 0,
                "securityContext": {
                    "runAsNonRoot": True,
                    "runAsUser": 999,
                    "seccompProfile": {"type": "RuntimeDefault"},
                },
                "containers": [
                    {
                        "name": CLIENT,
                        "image": image,
                        "command": ["sleep", "3600"],
                        "securityContext": {
                            "allowPrivilegeEscalation": False,
                            "capabilities": {"drop": ["ALL"]},
                        },
                        "envFrom": [{"secretRef": {"name": f"{NAMESPACE}-databases"}}],
                    }
                ],
            },
        }
        pods = self.cluster.core.list_namespaced_pod(NAMESPACE).items
        if any(pod.metadata.name == CLIENT for pod in pods):
            self.cluster.core.delete_namespaced_pod(CLIENT, NAMESPACE, grace_period_seconds=0)
            wait_for(60, "the Pod is gone", lambda: self.find_pod() is None or None)
        self.cluster.apply(manifest)
        self.cluster.wait_for_pod(NAMESPACE, CLIENT)

    def find_pod(self) -> Any:
        pods = self.cluster.core.list_namespaced_pod(NAMESPACE).items
        return next((pod for pod in pods if pod.metadata.name == CLIENT), None)

    def run(self, script: str) -> str:
        succeeded, output = self.cluster.run(NAMESPACE, CLIENT, script)
        assert succeeded, output
        return output.strip()

    def query(self, statement: str, variable: str = "POSTGRESQL_URL") -> str:
        return self.run(f'psql "${variable}" --no-psqlrc -tA -v ON_ERROR_STOP=1 -c "{statement}"')


@pytest.fixture(scope="module")
def application(cloudnative_pg: Cluster, build_images: Callable[..., None]) -> Iterator[Application]:
    build_images("postgres:17")
    with cloudnative_pg.create_namespace(NAMESPACE):
        yield Application(cloudnative_pg)


def test_one_update_creates_a_cluster_that_survives_its_primary_server(  # noqa: PLR0915 (one cluster for all steps)
    module_project: Project, application: Application
) -> None:
    cluster = application.cluster

    def update(stack: Any) -> str:
        module_project.write(NAMESPACE, stack)
        return module_project.up(NAMESPACE).succeeded().output

    def list_servers() -> list[Any]:
        pods = cluster.core.list_namespaced_pod(NAMESPACE, label_selector=f"cnpg.io/cluster={NAME}").items
        return [pod for pod in pods if pod.metadata.labels.get("cnpg.io/podRole") == "instance"]

    def find_primary() -> str:
        roles = {pod.metadata.labels.get("cnpg.io/instanceRole"): pod.metadata.name for pod in list_servers()}
        return str(roles["primary"])

    module_project.new(NAMESPACE, build_stack())
    module_project.up(NAMESPACE).succeeded()
    assert len(list_servers()) == 3
    assert all(is_ready(pod) for pod in list_servers())
    module_project.assert_settled(NAMESPACE)
    status = module_project.python("-m", "status", NAMESPACE).succeeded().output
    assert "3 of 3" in status
    assert "none with a problem" in status

    # The application has its own database, and no more rights than on a single server.
    application.start()
    assert application.query("SELECT current_user, current_database()") == "shop_cluster_main|shop_cluster_main"
    rights = "SELECT rolsuper, rolcreatedb, rolcreaterole FROM pg_roles WHERE rolname = current_user"
    assert application.query(rights) == "f|f|f"
    assert application.query("SELECT pg_is_in_recovery()", "POSTGRESQL_READ_URL") == "t"
    assert application.query("SELECT datcollate FROM pg_database WHERE datname = current_database()") == "en_US.utf8"
    secret = cluster.read_secret(NAMESPACE, NAME)
    assert "BEGIN CERTIFICATE" in secret["ca.crt"]
    application.run('printf %s "$POSTGRESQL_CA_CRT" > /tmp/ca.crt')
    client = 'psql "$POSTGRESQL_URL?sslmode=verify-full&sslrootcert=/tmp/ca.crt"'
    encrypted = application.run(f"{client} -tAc 'SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()'")
    assert encrypted == "t"

    # The primary server is lost while the application writes.
    application.query("CREATE TABLE saved (i int)")
    application.run(WRITER)
    time.sleep(5)
    lost = find_primary()
    cluster.core.delete_namespaced_pod(lost, NAMESPACE)
    wait_for(180, "another server is the primary one", lambda: find_primary_or_none(list_servers(), lost))
    wait_for(180, "three servers are ready", lambda: sum(map(is_ready, list_servers())) == 3 or None)
    time.sleep(5)
    application.run("rm /tmp/run; sleep 6")
    lines = [line.split() for line in application.run("cat /tmp/confirmed").splitlines()]
    confirmed, times = {int(number) for number, _ in lines}, [float(moment) for _, moment in lines]
    saved = {int(number) for number in application.query("SELECT i FROM saved").split()}
    assert confirmed <= saved
    gap = max(later - earlier for earlier, later in pairwise(times))
    print(f"confirmed rows: {len(confirmed)}, longest gap: {gap:.1f} s")
    assert gap < MAX_GAP_SECONDS

    # A setting that restarts the servers: the update ends when every server has it.
    update(build_stack(settings={"max_connections": 40}))
    assert application.query("SHOW max_connections") == "40"
    assert application.query("SHOW max_connections", "POSTGRESQL_READ_URL") == "40"

    # A new password. The old one ends, and the Secret has one that works.
    update(build_stack({"passwordVersion": 1}, settings={"max_connections": 40}))
    succeeded, output = cluster.run(NAMESPACE, CLIENT, 'psql "$POSTGRESQL_URL" -c "SELECT 1"')
    assert not succeeded
    assert "password authentication failed" in output
    application.start()
    assert application.query("SELECT count(*) FROM saved") == str(len(saved))

    # One server more, and a copy from the cluster into a single server.
    single = {"kind": "dedicated", "version": "17", "storage": "1Gi", "resources": RESOURCES}
    copy = {"copy": {"from": {"group": "main"}, "server": single}}
    update(build_stack({"passwordVersion": 1, "primary": True}, copy, replicas=4, settings={"max_connections": 40}))
    assert sum(map(is_ready, list_servers())) == 4
    application.start()
    assert application.query("SELECT count(*) FROM saved", "POSTGRESQL_COPY_URL") == str(len(saved))

    # One server instead of a cluster would be another volume.
    module_project.write(NAMESPACE, build_stack({"primary": True, "passwordVersion": 1}, copy, replicas=1))
    output = " ".join(module_project.up(NAMESPACE).failed().output.split())
    assert (
        "postgresql.main.server.replicas: the group had 4 servers; with 1 the data would be on other volumes" in output
    )
    module_project.destroy(NAMESPACE).succeeded()
    assert cluster.core.list_namespaced_persistent_volume_claim(NAMESPACE).items == []


def find_primary_or_none(servers: list[Any], lost: str) -> bool | None:
    """Return True if a server that was not lost is the primary one."""
    roles = {pod.metadata.labels.get("cnpg.io/instanceRole"): pod.metadata for pod in servers}
    primary = roles.get("primary")
    return True if primary is not None and (primary.name != lost or primary.deletion_timestamp is None) else None
