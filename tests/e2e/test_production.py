"""The production example with the address and the administrator of a real server."""

from collections.abc import Callable

import pytest

from tests.e2e.cluster import SIMULATED_NODE_LABELS, Cluster
from tests.e2e.project import Project
from tests.e2e.servers import REFUSED, DatabaseServer

ACCOUNT = "shop_spare"


def create_production_stack(project: Project, simulated_node: Cluster, mysql: DatabaseServer) -> None:
    """Create the stack of the example with the address and the administrator of a real server."""
    project.new("production")
    selector = ",".join(f"{key}={value}" for key, value in SIMULATED_NODE_LABELS.items())
    node = simulated_node.core.list_node(label_selector=selector).items[0]
    simulated_node.core.patch_node(node.metadata.name, {"metadata": {"labels": {"node-role": "database"}}})
    values = {
        "externalServers.mysql-hq.host": mysql.host,
        "externalServers.mysql-hq.port": str(mysql.port),
        "externalServers.mysql-hq.tls": mysql.as_server()["tls"],
        "externalServers.mysql-hq.administrator.username": mysql.username,
        # The other servers of the example do not exist.
        "preflight": "false",
        # With `exclusiveNode`, the second application would need a second database node.
        "applications.billing.databases.postgresql.main.server.exclusiveNode": "false",
    }
    for path, value in values.items():
        command = ("config", "set", "--path", f"database-groups:{path}", value)
        project.pulumi(*command, stack="production").succeeded()
    password = "database-groups:externalServers.mysql-hq.administrator.password"
    project.pulumi("config", "set", "--secret", "--path", password, mysql.password, stack="production").succeeded()


def test_example_deploys_settles_and_is_protected(
    project: Project, simulated_node: Cluster, server: Callable[[str], DatabaseServer]
) -> None:
    """`pulumi config set --path` changes the values of the example."""
    mysql = server("mysql")
    mysql.drop(ACCOUNT)
    create_production_stack(project, simulated_node, mysql)

    try:
        output = project.up("production").succeeded().output
        assert mysql.password not in output
        project.assert_settled("production")

        spare = simulated_node.read_secret("shop", "mysql-spare")
        assert spare["username"] == spare["database"] == ACCOUNT
        assert len(spare["password"]) >= 32
        with mysql.login(spare["uri"]) as session:
            session.run("CREATE TABLE saved (value INT)")
            session.run("INSERT INTO saved VALUES (7)")
            assert session.run("SELECT value FROM saved") == [(7,)]
        with pytest.raises(REFUSED):
            mysql.login(spare["uri"], "mysql")

        service = simulated_node.read_service("shop", "mysql-spare").spec
        assert (service.type, service.external_name) == ("ExternalName", mysql.host)
        slices = simulated_node.dynamic.resources.get(api_version="discovery.k8s.io/v1", kind="EndpointSlice")
        endpoints = slices.get(name="redis-main", namespace="shop").endpoints
        assert [address for endpoint in endpoints for address in endpoint.addresses] == ["10.5.120.104", "10.5.120.105"]
        environment = simulated_node.read_secret("shop", "shop-databases")
        assert environment["MYSQL_ADDRESS"] == "mysql"
        assert environment["MYSQL_ARCHIVE_ADDRESS"] == "mysql-archive"
        assert environment["DATABASE_URL"] == environment["MYSQL_MAIN_URL"]

        assert "protect" in project.destroy("production").failed().output
        assert simulated_node.has_namespace("shop")
        with mysql.login(spare["uri"]) as session:
            assert session.run("SELECT value FROM saved") == [(7,)]
    finally:
        project.clean_up()
        mysql.drop(ACCOUNT)
        for namespace in ("shop", "billing"):  # a production stack retains its namespaces
            simulated_node.delete_namespace(namespace)
