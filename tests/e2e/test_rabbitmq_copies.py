"""Copies and backups of RabbitMQ's definitions on a node with containers."""

import base64
import json
from collections.abc import Callable
from contextlib import closing
from http.client import HTTPConnection
from typing import Any
from urllib.parse import quote

import pytest

from tests.e2e.cluster import Cluster
from tests.e2e.cluster_store import build_store, build_store_images, serve_store
from tests.e2e.project import Project
from tests.e2e.test_backup import Jobs

pytestmark = [pytest.mark.long, pytest.mark.timeout(900, func_only=True)]
NAMESPACE, STORE = "copies-rabbitmq", "copies-rabbitmq-store"
NAMESPACES = (NAMESPACE, STORE)
DEFINITIONS = (
    ("PUT", "queues/{}/orders %2F é", {"durable": True}),
    ("PUT", "queues/{}/audited", {"durable": True, "arguments": {"x-queue-type": "quorum", "x-delivery-limit": 3}}),
    ("PUT", "queues/{}/limited", {"durable": True, "auto_delete": True, "arguments": {"x-max-length": 10}}),
    ("PUT", "queues/{}/log", {"durable": True, "arguments": {"x-queue-type": "stream"}}),
    ("PUT", "exchanges/{}/events", {"type": "topic", "durable": True, "arguments": {"alternate-exchange": "rest"}}),
    ("PUT", "exchanges/{}/rest", {"type": "headers", "durable": True, "internal": True, "auto_delete": True}),
    ("POST", "bindings/{}/e/events/q/orders %2F é", {"routing_key": "a/*.~", "arguments": {"x": 1}}),
    ("POST", "bindings/{}/e/amq.topic/e/events", {"routing_key": "#"}),
    ("POST", "bindings/{}/e/rest/q/limited", {"routing_key": "", "arguments": {"x-match": "any", "kind": "é"}}),
    ("PUT", "policies/{}/short", {"pattern": "^l", "definition": {"message-ttl": 60000}, "apply-to": "queues"}),
)
TRANSIENT = ("PUT", "queues/{}/transient", {"durable": False})
SERVER = {"kind": "local", "version": "4.0", "resources": {"cpu": "100m", "memory": "512Mi"}}


class Management:
    """The management API of a group, with the account of its application."""

    def __init__(self, cluster: Cluster, group: str, namespace: str = NAMESPACE) -> None:
        data = cluster.read_secret(namespace, f"rabbitmq-{group}")
        self.vhost = data["vhost"]
        login = f"{data['username']}:{data['password']}".encode()
        self.headers = {
            "Authorization": f"Basic {base64.b64encode(login).decode()}",
            "Content-Type": "application/json",
        }
        self.address = cluster.read_service_address(namespace, data["host"])

    def request(self, method: str, path: str, body: Any = None) -> Any:
        """Send a request, and return the answer. `{}` in the path is the virtual host."""
        code, content = self.send(method, path, body)
        assert code < 300, (path, content)
        return json.loads(content) if content else None

    def send(self, method: str, path: str, body: Any = None) -> tuple[int, bytes]:
        """Send a request, and return the status code and the content of the answer."""
        url = "/api/" + quote(path.format(self.vhost), safe="/%")
        with closing(HTTPConnection(self.address, 15672, timeout=30)) as connection:
            connection.request(method, url, None if body is None else json.dumps(body), self.headers)
            response = connection.getresponse()
            return response.status, response.read()

    def read_definitions(self) -> list[str]:
        """Return what a copy contains, as sorted texts."""
        found = []
        for kind in ("queues", "exchanges", "bindings", "policies"):
            for item in self.request("GET", f"{kind}/{{}}"):
                known = {"name", "arguments", "durable", "auto_delete", "internal", "pattern", "definition", "apply-to"}
                ends = {"type", "source", "destination", "destination_type", "routing_key"}
                found.append(kind + json.dumps({key: item[key] for key in sorted(known | ends) if key in item}))
        return sorted(text for text in found if '"transient"' not in text)


@pytest.fixture
def update(
    module_project: Project,
    real_node: Cluster,
    build_images: Callable[..., None],
    tmp_path_factory: pytest.TempPathFactory,
) -> Any:
    """Yield a function that deploys groups. The stack has a store of backups."""
    build_images("rabbitmq:4.0")
    build_store_images(tmp_path_factory.mktemp("images"))

    with real_node.create_namespace(STORE), real_node.create_namespace(NAMESPACE), serve_store(real_node, STORE) as url:

        def deploy(**groups: Any) -> Any:
            databases = {"rabbitmq": {name: {"server": SERVER, **group} for name, group in groups.items()}}
            application = {"createNamespace": False, "databases": databases}
            config = {"backupStores": {"offsite": build_store(url)}, "applications": {NAMESPACE: application}}
            module_project.write(NAMESPACE, config)
            return module_project.up(NAMESPACE)

        module_project.new(NAMESPACE, {"applications": {}})
        yield deploy
        module_project.destroy(NAMESPACE).succeeded()


def test_definitions_are_copied_and_saved(update: Callable[..., Any], real_node: Cluster) -> None:
    """The application's user reads and writes them. No message moves."""
    main = {"primary": True, "backup": {"schedule": "0 0 1 1 *"}}
    update(main=main).succeeded()
    old = Management(real_node, "main")
    for method, path, body in (*DEFINITIONS, TRANSIENT):
        old.request(method, path, body)
    message = {"properties": {}, "routing_key": "audited", "payload": "c4nary", "payload_encoding": "string"}
    assert old.request("POST", "exchanges/{}/amq.default/publish", message) == {"routed": True}
    for path in ("users", "definitions", "permissions"):
        assert old.send("GET", path)[0] == 401

    update(main=main, next={"from": {"group": "main"}}).succeeded()
    new = Management(real_node, "next")
    definitions = old.read_definitions()
    assert len([text for text in definitions if "amq." not in text]) > len(DEFINITIONS)
    assert new.read_definitions() == [text.replace(old.vhost, new.vhost) for text in definitions]
    get = {"count": 1, "ackmode": "ack_requeue_true", "encoding": "auto"}
    assert new.request("POST", "queues/{}/audited/get", get) == []
    for method, path, body in DEFINITIONS:  # the declaration of the application fits the copy
        new.request(method, path, body)

    # A second copy finds the definitions of the first one.
    old.request("PUT", "queues/{}/added", {"durable": True})
    update(main=main, next={"from": {"group": "main", "run": 2}}).failed()
    update(main=main, next={"from": {"group": "main", "run": 3, "overwrite": True}}).succeeded()
    assert new.read_definitions() == old.read_definitions()

    jobs = Jobs(real_node, NAMESPACE)
    succeeded, output = jobs.run("rabbitmq-main-backup", "saved")
    assert succeeded, output
    assert "c4nary" not in output
    old.request("DELETE", "queues/{}/added")
    succeeded, output = jobs.run("rabbitmq-main-verify", "verified")
    assert succeeded, output
    assert " can be restored: 11 entries" in output

    # The third group has an account and a virtual host of its own.
    update(main=main, next={}, third={"from": {"backup": "latest", "group": "main"}}).succeeded()
    assert Management(real_node, "third").read_definitions() == new.read_definitions()
