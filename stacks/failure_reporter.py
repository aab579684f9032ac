"""Why an update fails in the cluster, as a message with the group's path in the stack file."""

from collections.abc import Collection
from dataclasses import dataclass

from components.platform import ServerAddress
from preflight.cluster_client import ClusterConfig, create_api_client
from preflight.errors import ClusterError
from preflight.server_failure import describe_failure, read_server
from stacks.config_source import ConfigSource
from stacks.errors import ConfigIssue

__all__ = ["ClusterFailureReporter"]


@dataclass(frozen=True)
class ClusterFailureReporter:
    """Reads the cluster of a stack after a failure. Implements `components.platform.FailureReporter`."""

    cluster: ClusterConfig
    source: ConfigSource

    def describe_failure(self, server: ServerAddress, secrets: Collection[str]) -> str | None:
        """Return why the server of a group is not ready; for an unreadable cluster, that the reason is unknown."""
        try:
            with create_api_client(self.cluster) as connection:
                text = describe_failure(read_server(connection, server.namespace, server.name), secrets)
        except ClusterError as error:
            text = f"server {server.name} is not ready, and the program cannot read the reason: {error}"
        return None if text is None else str(self.source.add_line(ConfigIssue(server.location, text)))
