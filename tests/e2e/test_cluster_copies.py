"""Copies of a cluster of PostgreSQL, by the real operator: `from` into it, its backups, and larger volumes."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.e2e.cluster import Cluster, wait_for
from tests.e2e.cluster_store import build_store, build_store_images, serve_store
from tests.e2e.project import Project

pytestmark = [pytest.mark.long, pytest.mark.timeout(1200)]
NAMESPACE, STORE = "cluster-copies", "cluster-copies-store"
NAMESPACES = (NAMESPACE, STORE)
GROUP = f"{NAMESPACE}.postgresql.main"
SINGLE = {"kind": "dedicated", "version": "17", "storage": "1Gi", "resources": {"cpu": "100m", "memory": "256Mi"}}
REPLICAS = {**SINGLE, "replicas": 2, "tls": "verify-full"}
LARGER = "200Gi"
"""More than the volumes of the tests have. Nothing makes these larger."""
CREATE = """
CREATE TABLE saved (i bigserial PRIMARY KEY, text text NOT NULL);
INSERT INTO saved (text) SELECT md5(i::text) FROM generate_series(1, 1000) i;
CREATE SCHEMA reports;
CREATE TYPE reports.state AS ENUM ('open', 'closed');
CREATE VIEW reports.texts AS SELECT text FROM saved;
CREATE FUNCTION reports.count_texts() RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM saved';
SELECT lo_from_bytea(0, 'large');
"""
OWNERS = """
SELECT DISTINCT pg_get_userbyid(owner) = current_user FROM (
    SELECT datdba FROM pg_database WHERE datname = current_database()
    UNION ALL SELECT relowner FROM pg_class WHERE oid >= 16384 AND relnamespace::regnamespace::text !~ '^pg_'
    UNION ALL SELECT proowner FROM pg_proc WHERE oid >= 16384
    UNION ALL SELECT typowner FROM pg_type WHERE oid >= 16384 AND typnamespace::regnamespace::text !~ '^pg_'
    UNION ALL SELECT nspowner FROM pg_namespace WHERE oid >= 16384
    UNION ALL SELECT lomowner FROM pg_largeobject_metadata
) AS owners (owner)
"""


class Groups:
    """The groups of the application, by its environment Secret. Statements run in the Pod of the single server."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster

    def query(self, statement: str, variable: str) -> str:
        """Run statements with a URI of the environment Secret. Return their output."""
        uri = self.cluster.read_secret(NAMESPACE, f"{NAMESPACE}-databases")[variable].replace("verify-full", "require")
        command = f"psql '{uri}' --no-psqlrc -qtA -v ON_ERROR_STOP=1 <<'STATEMENTS'\n{statement}\nSTATEMENTS"
        succeeded, output = self.cluster.run(NAMESPACE, "postgresql-old-0", command)
        assert succeeded, output
        return output.strip()

    def assert_filled(self, name: str, rows: int) -> None:
        """Assert that a cluster has all rows on the primary server and on its replica, and that all is the user's."""
        count = "SELECT reports.count_texts(), pg_is_in_recovery()"
        assert self.query(count, f"{name}_URL") == f"{rows}|f"
        assert self.query(OWNERS, f"{name}_URL") == "t"
        replicated = f"{rows}|t"
        wait_for(30, "the replica has all rows", lambda: self.query(count, f"{name}_READ_URL") == replicated or None)
        assert self.query("INSERT INTO saved (text) VALUES ('new') RETURNING i", f"{name}_URL") == str(rows + 1)


def test_cluster_is_filled_saved_verified_and_restored(
    module_project: Project,
    cloudnative_pg: Cluster,
    build_images: Callable[..., None],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    cluster, groups = cloudnative_pg, Groups(cloudnative_pg)
    build_images("postgres:17")
    build_store_images(tmp_path_factory.mktemp("images"))

    def update(**databases: Any) -> None:
        config = {
            "backupStores": {"offsite": build_store(url)},
            "applications": {NAMESPACE: {"createNamespace": False, "databases": {"postgresql": databases}}},
        }
        module_project.write(NAMESPACE, config)
        module_project.up(NAMESPACE).succeeded()

    def make(target: str, *arguments: str) -> str:
        return module_project.make(target, f"STACK={NAMESPACE}", *arguments).succeeded().output

    with cluster.create_namespace(STORE), cluster.create_namespace(NAMESPACE), serve_store(cluster, STORE) as url:
        module_project.new(NAMESPACE, {"applications": {}})
        old = {"server": SINGLE, "backup": False}
        update(old={**old, "primary": True})
        groups.query(CREATE, "POSTGRESQL_URL")

        # A copy of a single server.
        backup = {"schedule": "0 0 1 1 *"}
        main = {"server": REPLICAS, "primary": True, "backup": backup, "from": {"group": "old"}}
        update(old=old, main=main)
        groups.assert_filled("POSTGRESQL", 1000)

        # Its backup can be restored.
        assert f"{GROUP}: saved snapshot " in make("backup", f"GROUP={GROUP}")
        assert " can be restored: " in make("backup", f"GROUP={GROUP}", "VERIFY=1")
        lines = make("backups").splitlines()
        (row,) = [line.split() for line in lines if line.startswith(f"{GROUP} ")]
        assert len(row) == 8  # the verification has two columns
        assert "1 backup of 1 database group" in lines

        # It replaces the data of the running cluster.
        groups.query("DROP SCHEMA reports CASCADE", "POSTGRESQL_URL")
        options = ("SNAPSHOT=latest", f"INTO={GROUP}", "OVERWRITE=1")
        assert "; both sides are equal" in make("restore", f"GROUP={GROUP}", *options)
        groups.assert_filled("POSTGRESQL", 1001)

        # It fills another cluster. The claims of the first one grow, and the status has those whose volumes do not.
        copy = {"server": REPLICAS, "backup": False, "from": {"backup": "latest", "group": "main"}}
        update(old=old, main={**main, "server": {**REPLICAS, "storage": LARGER}}, copy=copy)
        groups.assert_filled("POSTGRESQL_COPY", 1001)
        claims = cluster.core.list_namespaced_persistent_volume_claim(
            NAMESPACE, label_selector="cnpg.io/cluster=postgresql-main"
        ).items
        assert [claim.spec.resources.requests["storage"] for claim in claims] == [LARGER, LARGER]
        status = module_project.python("-m", "status", NAMESPACE).succeeded().output
        for claim in claims:
            provided = claim.status.capacity["storage"]
            problem = f"volume claim {claim.metadata.name} requests {LARGER} and has {provided}"
            assert (problem in status) == (provided != LARGER)
        module_project.destroy(NAMESPACE).succeeded()
