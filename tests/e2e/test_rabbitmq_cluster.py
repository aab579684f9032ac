"""A cluster of RabbitMQ that its operator runs on a node with containers, from the first update to the last one."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import pika
import pika.exceptions
import pytest

from tests.e2e.clients import LIBRARIES, Keys, replace_host
from tests.e2e.cluster import Cluster, wait_for
from tests.e2e.cluster_store import build_store, build_store_images, serve_store
from tests.e2e.project import Project
from tests.e2e.test_backup import Jobs
from tests.e2e.test_rabbitmq_copies import Management

pytestmark = [pytest.mark.long, pytest.mark.timeout(1800)]
NAMESPACE = STACK = "clusters-rabbitmq"
STORE = "clusters-rabbitmq-store"
NAMESPACES = (NAMESPACE, STORE)
SECRET, SERVICE = "rabbitmq-main", "rabbitmq"
PODS = tuple(f"rabbitmq-main-cluster-server-{number}" for number in range(3))
QUEUE = "numbers"
LIBRARY = LIBRARIES["rabbitmq"]
LONGEST_GAP_SECONDS = 10


def build_stack(store: str, replicas: int = 3, version: int = 0, **settings: Any) -> dict[str, Any]:
    """Return a stack with a cluster, whose backups are in a store with this URL."""
    server = {
        "kind": "dedicated",
        "replicas": replicas,
        "version": "4.0",
        "storage": "1Gi",
        "resources": {"cpu": "500m", "memory": "512Mi"},
        "settings": settings,
    }
    group = {"server": server, "passwordVersion": version, "backup": {"schedule": "0 0 1 1 *"}}
    return {
        "backupStores": {"offsite": build_store(store)},
        "applications": {NAMESPACE: {"createNamespace": False, "databases": {"rabbitmq": {"main": group}}}},
    }


@dataclass
class Publisher:
    """A client that publishes ten numbers per second, each one until the cluster confirms it."""

    uri: str
    confirmed: list[float] = field(default_factory=list)
    """Time of the confirmation of each number."""
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        while not self.stop.is_set():
            with suppress(pika.exceptions.AMQPError, OSError), pika.BlockingConnection(self._parameters) as connection:
                channel = connection.channel()
                channel.confirm_delivery()
                while not self.stop.wait(0.1):
                    channel.basic_publish("", QUEUE, str(len(self.confirmed)).encode(), mandatory=True)
                    self.confirmed.append(time.monotonic())

    @property
    def _parameters(self) -> pika.URLParameters:
        parameters = pika.URLParameters(self.uri)
        parameters.socket_timeout = parameters.blocked_connection_timeout = 3
        return parameters

    @property
    def longest_gap(self) -> float:
        """Longest time between two confirmations."""
        return max(later - earlier for earlier, later in zip(self.confirmed, self.confirmed[1:], strict=False))


@contextmanager
def publish(uri: str) -> Iterator[Publisher]:
    """Publish numbers to a queue without an explicit type. At the end, every confirmed number is in the queue."""
    with pika.BlockingConnection(pika.URLParameters(uri)) as connection:
        connection.channel().queue_declare(QUEUE, durable=True)
    publisher = Publisher(uri)
    thread = threading.Thread(target=publisher.run)
    thread.start()
    try:
        yield publisher
    finally:
        publisher.stop.set()
        thread.join()
    numbers = set()
    with pika.BlockingConnection(pika.URLParameters(uri)) as connection:
        channel = connection.channel()
        while (message := channel.basic_get(QUEUE, auto_ack=True))[0]:
            numbers.add(int(message[2]))
    assert not set(range(len(publisher.confirmed))) - numbers
    print(f"{len(publisher.confirmed)} numbers, longest gap {publisher.longest_gap:.2f} s")


def test_cluster_lives_as_a_single_server_does(
    module_project: Project,
    rabbitmq_operator: Cluster,
    build_images: Callable[..., None],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    build_images("rabbitmq:4.0")
    build_store_images(tmp_path_factory.mktemp("images"))
    cluster, project = rabbitmq_operator, module_project

    def control(pod: str, arguments: str) -> Any:
        succeeded, output = cluster.run(NAMESPACE, pod, f"rabbitmqctl --quiet --formatter json {arguments}")
        assert succeeded, output
        return json.loads(output)

    def read_keys() -> Keys:
        return cluster.read_secret(NAMESPACE, SECRET)

    with (
        cluster.create_namespace(STORE),
        cluster.create_namespace(NAMESPACE),
        serve_store(cluster, STORE) as store,
    ):
        project.new(STACK, build_stack(store))
        project.up(STACK).succeeded()
        keys, address = read_keys(), cluster.read_service_address(NAMESPACE, SERVICE)
        uri = replace_host(keys, address)
        LIBRARY.write(keys, address)
        assert LIBRARY.read(keys, address)
        user, vhost = keys["username"], keys["vhost"]
        assert control(PODS[0], "list_users") == [{"user": user, "tags": ["policymaker"]}]
        rights = {"configure": ".*", "write": ".*", "read": ".*"}
        assert control(PODS[0], f"list_user_permissions {user}") == [{"vhost": vhost, **rights}]
        assert [item["name"] for item in control(PODS[0], "list_vhosts")] == [vhost]
        assert len(control(PODS[0], "cluster_status")["running_nodes"]) == len(PODS)
        project.assert_settled(STACK)

        with publish(uri) as publisher:
            assert {"name": QUEUE, "type": "quorum"} in control(PODS[0], f"list_queues --vhost {vhost} name type")
            cluster.restart_pod(NAMESPACE, PODS[0])
            # The operator restarts one server after the other. The update ends when all have the setting.
            project.write(STACK, build_stack(store, heartbeat=30))
            project.up(STACK).succeeded()
            for pod in PODS:
                succeeded, output = cluster.run(
                    NAMESPACE, pod, "rabbitmqctl eval 'application:get_env(rabbit, heartbeat).'"
                )
                assert (succeeded, output.strip()) == (True, "{ok,30}")
        assert publisher.longest_gap < LONGEST_GAP_SECONDS

        project.write(STACK, build_stack(store, version=1, heartbeat=30))
        uids = [cluster.wait_for_pod(NAMESPACE, pod) for pod in PODS]
        project.up(STACK).succeeded()
        assert uids == [cluster.wait_for_pod(NAMESPACE, pod) for pod in PODS]
        new = read_keys()
        assert LIBRARY.read(new, address)
        with pytest.raises(LIBRARY.login_error):
            LIBRARY.read(keys, address)
        # The last server that restarts joins the others, which know the new password.
        cluster.restart_pod(NAMESPACE, PODS[2])
        assert LIBRARY.read(new, address)

        check_copies(cluster, project, build_stack(store, version=1, heartbeat=30))

        project.write(STACK, build_stack(store, replicas=1))
        output = project.up(STACK).failed().output
        assert "the group had 3 servers; with 1 the data would be on other volumes" in output
        project.destroy(STACK).succeeded()
        running = "status.phase!=Succeeded"  # the Jobs of the test are not of the stack
        list_pods = cluster.core.list_namespaced_pod
        wait_for(60, "no Pod runs", lambda: not list_pods(NAMESPACE, field_selector=running).items or None)
        assert not cluster.core.list_namespaced_persistent_volume_claim(NAMESPACE).items
        assert not [
            item.metadata.name
            for item in cluster.core.list_namespaced_secret(NAMESPACE).items
            if item.metadata.name.startswith("rabbitmq")
        ]


def check_copies(cluster: Cluster, project: Project, config: dict[str, Any]) -> None:
    """Copy the definitions to a single server. Save them, delete one, and restore them into the cluster."""
    groups = config["applications"][NAMESPACE]["databases"]["rabbitmq"]
    groups["main"]["primary"] = True
    single = {"kind": "dedicated", "version": "4.0", "resources": {"cpu": "100m", "memory": "512Mi"}}
    groups["copy"] = {"server": single, "from": {"group": "main"}, "backup": False}
    project.write(STACK, config)
    project.up(STACK).succeeded()
    main, other = Management(cluster, "main", NAMESPACE), Management(cluster, "copy", NAMESPACE)
    definitions = main.read_definitions()
    assert [text for text in definitions if f'"{QUEUE}"' in text and '"quorum"' in text]
    assert other.read_definitions() == [text.replace(main.vhost, other.vhost) for text in definitions]

    jobs = Jobs(cluster, NAMESPACE)
    for name in ("backup", "verify"):
        succeeded, output = jobs.run(f"rabbitmq-main-{name}", name)
        assert succeeded, output
    main.request("DELETE", f"queues/{{}}/{QUEUE}")
    del groups["copy"]["from"]
    groups["main"]["from"] = {"backup": "latest", "overwrite": True}
    project.write(STACK, config)
    project.up(STACK).succeeded()
    assert main.read_definitions() == definitions
