"""The password change of a running server in the cluster, with messages that contain the group's path."""

from dataclasses import dataclass

import pulumi

from components.platform import ServerAddress
from components.servers.stateful_set import CHANGE_PASSWORD_PATH
from preflight.cluster_client import ClusterConfig, create_api_client
from preflight.errors import ClusterError
from preflight.redaction import hide_values
from preflight.server_script import ServerContainer, restart_server, run_script
from stacks.config_source import ConfigSource
from stacks.errors import ConfigIssue

__all__ = ["ClusterPasswordChanger"]


@dataclass(frozen=True)
class ClusterPasswordChanger:
    """Changes passwords of servers in the cluster of a stack. Implements `components.platform.PasswordChanger`."""

    cluster: ClusterConfig
    source: ConfigSource

    def change_password(self, server: ServerAddress, old: str, new: str) -> str | None:
        """Run the server's script. Return why it cannot run in the Pod; None if it succeeded.

        Raises pulumi.RunError.
        """
        script = ("-c", server.password_script) if server.password_script else (CHANGE_PASSWORD_PATH,)
        try:
            with create_api_client(self.cluster) as connection:
                result = run_script(connection, _build_container(server), script, (old, new))
        except ClusterError as error:
            raise pulumi.RunError(self._describe(server, f"{error}\nthe Secret was not changed")) from None
        if result.failure is not None:
            reason = hide_values(result.failure, (old, new))
            restart = f", or restart the server: kubectl delete pod --namespace {server.namespace} {server.name}-0"
            text = (
                f"server {server.name} does not accept the new password: {reason}\n"
                f"fix: correct the cause{'' if server.password_script else restart}; then run `make up` again\n"
                "the Secret was not changed"
            )
            raise pulumi.RunError(self._describe(server, text))
        if result.refusal is None:
            return None
        text = f"the password of the running server {server.name} cannot change: {result.refusal}"
        if server.password_script:
            text += "\nfix: correct the cause; then run `make up` again\nthe Secret was not changed"
            raise pulumi.RunError(self._describe(server, text))
        return self._describe(server, f"{text}; the server restarts")

    def restart_server(self, server: ServerAddress) -> None:
        """Let the StatefulSet replace the Pod. Raises pulumi.RunError."""
        try:
            with create_api_client(self.cluster) as connection:
                restart_server(connection, _build_container(server))
        except ClusterError as error:
            raise pulumi.RunError(self._describe(server, str(error))) from None

    def _describe(self, server: ServerAddress, text: str) -> str:
        return str(self.source.add_line(ConfigIssue(server.location, text)))


def _build_container(server: ServerAddress) -> ServerContainer:
    return ServerContainer(namespace=server.namespace, server=server.name, name=server.container)
