"""The production example, its server with an administrator pointed at a real one."""

from collections.abc import Callable

import pytest

from tests.e2e.cluster import Cluster
from tests.e2e.project import Project
from tests.e2e.servers import REFUSED, DatabaseServer

ACCOUNT = "shop_spare"


def test_the_example_comes_up_settles_and_is_protected(
    project: Project, pretend_node: Cluster, server: Callable[[str], DatabaseServer]
) -> None:
    """All of it, with the words of the example changed by `pulumi config set --path`."""
    mysql = server("mysql")
    mysql.drop(ACCOUNT)
    project.new("production")
    nodes = pretend_node.core.list_node(label_selector="type=kwok").items[0]
    pretend_node.core.patch_node(nodes.metadata.name, {"metadata": {"labels": {"node-role": "database"}}})
    entry = mysql.as_server()
    values = {
        "host": mysql.host,
        "port": str(mysql.port),
        "tls": entry["tls"],
        "administrator.username": mysql.username,
    }
    for key, value in values.items():
        project.pulumi(
            "config", "set", "--path", f"database-groups:servers.mysql-hq.{key}", value, stack="production"
        ).succeeded()
    password = "database-groups:servers.mysql-hq.administrator.password"
    project.pulumi("config", "set", "--secret", "--path", password, mysql.password, stack="production").succeeded()
    # The example's other servers are made up.
    project.pulumi("config", "set", "database-groups:preflight", "none", stack="production").succeeded()
    # The second application's server asks for a node without another database server, and there is only one pretend node.
    exclusive = "database-groups:applications.billing.databases.postgresql.main.server.exclusiveNode"
    project.pulumi("config", "set", "--path", exclusive, "false", stack="production").succeeded()

    try:
        result = project.up("production").succeeded()
        assert mysql.password not in result.output
        project.settles("production")

        spare = pretend_node.secret("shop", "mysql-spare")
        assert spare["username"] == spare["database"] == ACCOUNT
        assert len(spare["password"]) >= 32
        with mysql.login(spare["uri"]) as session:
            session.run("CREATE TABLE kept (value INT)")
            session.run("INSERT INTO kept VALUES (7)")
            assert session.run("SELECT value FROM kept") == [(7,)]
        with pytest.raises(REFUSED):
            mysql.login(spare["uri"], "mysql")

        service = pretend_node.core.read_namespaced_service("mysql-spare", "shop").spec
        assert (service.type, service.external_name) == ("ExternalName", mysql.host)
        slices = pretend_node.dynamic.resources.get(api_version="discovery.k8s.io/v1", kind="EndpointSlice")
        endpoints = slices.get(name="redis-main", namespace="shop").endpoints
        assert [address for endpoint in endpoints for address in endpoint.addresses] == ["10.5.120.104", "10.5.120.105"]
        environment = pretend_node.secret("shop", "shop-databases")
        assert environment["MYSQL_ADDRESS"] == "mysql"
        assert environment["MYSQL_ARCHIVE_ADDRESS"] == "mysql-archive"
        assert environment["DATABASE_URL"] == environment["MYSQL_MAIN_URL"]

        output = project.destroy("production").failed().output
        assert "protect" in output
        assert pretend_node.has_namespace("shop")
        with mysql.login(spare["uri"]) as session:
            assert session.run("SELECT value FROM kept") == [(7,)]
    finally:
        project.clean_up()
        mysql.drop(ACCOUNT)
        for namespace in ("shop", "billing"):  # production retains them
            if pretend_node.has_namespace(namespace):
                pretend_node.core.delete_namespace(namespace)
                pretend_node.gone(namespace)
