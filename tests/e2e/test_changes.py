"""Every edit of a deployed stack file: the data survives it, or the program rejects it and changes nothing.

`make changes` runs the module. Without EVERY_CHANGE, it is skipped.
"""

import copy
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from stacks.changes import Outcome, list_changes
from tests.e2e.changes import CA_FILE, ONLY, ROWS, SHOP, WORK, Config, build_stack, is_tested
from tests.e2e.cluster import Cluster
from tests.e2e.project import Project
from tests.e2e.servers import DatabaseServer
from tests.e2e.test_workloads import build_manifest
from tests.e2e.tls import Authority

if "EVERY_CHANGE" not in os.environ:
    pytest.skip("takes 20 minutes; run `make changes`", allow_module_level=True)

STACK = "d-changes"
OUTCOMES = {name: change.outcome for name, change in list_changes() if is_tested(name, change)}
PROVISIONED = {SHOP: ("postgresql", "pg"), ONLY: ("mysql", "my")}
IDENTITIES = (("v1", "Namespace"), ("v1", "PersistentVolumeClaim"), ("apps/v1", "StatefulSet"), ("v1", "Service"))
PERSISTENT_APPLICATIONS = (SHOP, ONLY, "d-named", "d-two", "d-own", "d-work")
"""Applications whose objects every edit retains."""


@dataclass
class Deployment:
    """The deployed stack, as the accepted edits left it."""

    project: Project
    cluster: Cluster
    servers: dict[str, DatabaseServer]
    config: Config
    uris: dict[str, str] = field(default_factory=dict)

    def write_rows(self) -> None:
        for application, (engine, name) in PROVISIONED.items():
            self.uris[application] = self.cluster.read_secret(application, f"{engine}-main")["uri"]
            with self.servers[name].login(self.uris[application]) as session:
                session.run("CREATE TABLE saved (value INT)")
                session.run("INSERT INTO saved VALUES (7)")

    def assert_rows_exist(self) -> None:
        for application, (engine, name) in PROVISIONED.items():
            uri = self.cluster.read_secret(application, f"{engine}-main")["uri"]
            with self.servers[name].login(uri) as session:
                assert session.run("SELECT value FROM saved") == [(7,)]

    def list_identities(self) -> dict[tuple[str, str, str], str]:
        """Return the uid of every object that has an identity or data, in the namespaces that all edits retain."""
        found = {}
        for version, kind in IDENTITIES:
            resource = self.cluster.dynamic.resources.get(api_version=version, kind=kind)
            for item in resource.get(label_selector="app.kubernetes.io/managed-by=database-groups").items:
                if item.metadata.labels["app.kubernetes.io/part-of"] in PERSISTENT_APPLICATIONS:
                    found[kind, item.metadata.namespace or "", item.metadata.name] = item.metadata.uid
        return found

    def list_urns(self) -> set[str]:
        return {resource["urn"] for resource in self.project.resources(STACK)}


@pytest.fixture(scope="module")
def deployment(
    module_project: Project, cluster: Cluster, server: Callable[[str], DatabaseServer]
) -> Iterator[Deployment]:
    servers = {"pg": server("postgresql-limited"), "my": server("mysql")}
    accounts = ("d_shop_main", "d_shop_main__b", "d_only_main", "d_dev_main")

    def drop() -> None:
        for found in servers.values():
            found.drop(*accounts)

    drop()
    entries = {name: _with_own_endpoint(found.as_server()) for name, found in servers.items()}
    config = build_stack(entries)
    (module_project.folder / CA_FILE).write_bytes(Authority().pem)
    with cluster.create_namespace(WORK), cluster.use_simulated_nodes():
        for kind, name in (("Deployment", "web"), ("Deployment", "api"), ("StatefulSet", "api")):
            cluster.apply(_in_namespace(build_manifest(kind, name)))
        module_project.new(STACK, config)
        try:
            module_project.up(STACK).succeeded()
            deployment = Deployment(module_project, cluster, servers, config)
            deployment.write_rows()
            yield deployment
        finally:
            module_project.clean_up()
            drop()
            for namespace in [*build_stack({})["applications"], "d-new", "d-moved-2", "d-renamed"]:
                if namespace != WORK:
                    cluster.delete_namespace(namespace)


def _with_own_endpoint(entry: dict[str, Any]) -> dict[str, Any]:
    """Return an entry whose host and port applications alone use."""
    administrator = {**entry["administrator"], "host": entry["host"], "port": entry["port"]}
    return {**entry, "administrator": administrator}


def _in_namespace(manifest: dict[str, Any]) -> dict[str, Any]:
    return {**manifest, "metadata": {**manifest["metadata"], "namespace": WORK}}


@pytest.mark.parametrize("name", ROWS, ids=[f"{OUTCOMES[name]} {name}" for name in ROWS])
def test_edit_has_its_outcome(deployment: Deployment, name: str) -> None:
    row, project = ROWS[name], deployment.project
    edited = copy.deepcopy(deployment.config)
    row.edit(edited)
    project.write(STACK, edited)
    urns, identities = deployment.list_urns(), deployment.list_identities()
    if OUTCOMES[name] is Outcome.REJECTED:
        output = project.up(STACK).failed().output
        assert row.message in output, output[-3000:]
        assert "nothing was changed" in output
        assert deployment.list_urns() == urns
    else:
        output = project.up(STACK).succeeded().output
        assert row.message in output, output[-6000:]
        deployment.config = edited
    current = deployment.list_identities()
    assert {key: current.get(key) for key in identities} == identities
    deployment.assert_rows_exist()


def test_stack_is_settled_after_all_edits(deployment: Deployment) -> None:
    deployment.project.write(STACK, deployment.config)
    deployment.project.up(STACK, "--expect-no-changes").succeeded()
