"""The wait for servers that an operator runs, with messages that contain the group's path."""

import base64
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import pulumi

from components.connection import CA_KEY
from components.platform import OperatedCluster
from preflight.cluster_client import ClusterConfig, create_api_client, read_object
from preflight.cluster_models import JsonObject
from preflight.cluster_status import CustomResourceKey, read_progress
from preflight.errors import ClusterError
from preflight.server_script import ServerContainer, run_script
from stacks.config_source import ConfigSource
from stacks.errors import ConfigIssue

__all__ = ["OperatorMonitor"]

POLL_SECONDS = 1
SETTLE_SECONDS = 5
"""Operators write no generation into the status: after a change, it is the old one for up to three seconds, and again
between the restarts of two servers."""
SECONDS_PER_MINUTE = 60


class _Waits:
    """The waits of an update. The first error ends the program, so it comes after all waits and has all reasons."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._running = 0
        self._reasons: list[str] = []

    def run(self, wait: Callable[[], str | None]) -> None:
        """Run a wait that returns the reason of its failure. Raises pulumi.RunError."""
        with self._changed:
            self._running += 1
        reason = None
        try:
            reason = wait()
        finally:
            with self._changed:
                self._running -= 1
                self._reasons += [reason] if reason else []
                self._changed.notify_all()
        if reason:
            with self._changed:
                self._changed.wait_for(lambda: not self._running)
            raise pulumi.RunError("\n".join(sorted(self._reasons)))


@dataclass(frozen=True)
class OperatorMonitor:
    """Reads the cluster of a stack. Implements `components.platform.ClusterMonitor`."""

    cluster: ClusterConfig
    source: ConfigSource
    _waits: _Waits = field(default_factory=_Waits)

    def wait_until_ready(self, cluster: OperatedCluster, *, is_changed: bool) -> None:
        """Return when the servers are ready, and after a change stay so. Raises pulumi.RunError."""
        self._waits.run(lambda: self._wait(cluster, is_changed=is_changed))

    def _wait(self, cluster: OperatedCluster, *, is_changed: bool) -> str | None:
        """Wait for the servers. Return why they are not ready; None if they are."""
        deadline = time.monotonic() + cluster.timeout_minutes * SECONDS_PER_MINUTE
        settle_seconds = SETTLE_SECONDS if is_changed else 0
        if is_changed:
            time.sleep(POLL_SECONDS)
        ready_since: float | None = None
        while True:
            reason = self._read_progress(cluster)
            now = time.monotonic()
            if reason is None:
                ready_since = ready_since or now
                if now - ready_since >= settle_seconds:
                    reason = self._run_check(cluster) if is_changed else None
                    if reason is None:
                        return None
            if reason is not None:
                ready_since = None
            if now >= deadline:
                minutes = cluster.timeout_minutes
                unit = "minute" if minutes == 1 else "minutes"
                text = (
                    f"{cluster.name} is not ready after {minutes} {unit}: {reason}\n"
                    f"fix: read `{_describe_command(cluster)}` and the log of the operator"
                    f" {cluster.engine.operator.name}; if the servers only need more time, increase"
                    " `server.startTimeoutMinutes`"
                )
                return self._describe(cluster, text)
            time.sleep(POLL_SECONDS)

    def read_ca_bundle(self, cluster: OperatedCluster, secret: str) -> str | None:
        """Return the certificates of a Secret that sign those of the servers. Raises pulumi.RunError."""
        try:
            found = self._read_secret(cluster, secret)
        except ClusterError as error:
            raise pulumi.RunError(self._describe(cluster, str(error))) from None
        encoded = (found.get("data") or {}).get(CA_KEY)
        return base64.b64decode(encoded).decode() if encoded else None

    def _read_secret(self, cluster: OperatedCluster, name: str) -> JsonObject:
        """Return a Secret of the cluster's namespace. Raises ClusterError."""
        with create_api_client(self.cluster) as connection:
            secret = read_object(connection, "Secret", cluster.namespace, name)
        if secret is None:
            raise ClusterError(
                f"the account may not read the Secret {name}; grant the right to get Secrets (docs/teams.md)"
            )
        return secret

    def _read_progress(self, cluster: OperatedCluster) -> str | None:
        """Return why the servers are not ready. An API server that does not answer is such a reason."""
        (resource_type, *_) = cluster.engine.operator.resource_types
        key = CustomResourceKey(
            api_version=resource_type.api_version,
            plural=resource_type.plural,
            namespace=cluster.namespace,
            name=cluster.name,
        )
        try:
            with create_api_client(self.cluster) as connection:
                reason = read_progress(
                    connection,
                    key,
                    lambda resource: cluster.engine.describe_progress(resource, cluster.account_version),
                    cluster.engine.list_stateful_sets(cluster.name),
                )
            if reason or cluster.engine.describe_account is None:
                return reason
            return cluster.engine.describe_account(self._read_secret(cluster, cluster.account_secret), cluster.name)
        except ClusterError as error:
            return str(error)

    def _run_check(self, cluster: OperatedCluster) -> str | None:
        """Return why the servers are not one cluster; None if they are."""
        scripts = cluster.engine.scripts
        if scripts is None or cluster.check_script is None:
            return None
        stateful_set, name = scripts.find_container(cluster.name)
        container = ServerContainer(namespace=cluster.namespace, server=stateful_set, name=name)
        try:
            with create_api_client(self.cluster) as connection:
                result = run_script(connection, container, ("-c", cluster.check_script), ())
        except ClusterError as error:
            return str(error)
        return result.failure or result.refusal

    def _describe(self, cluster: OperatedCluster, text: str) -> str:
        return str(self.source.add_line(ConfigIssue((*cluster.location, "server"), text)))


def _describe_command(cluster: OperatedCluster) -> str:
    (resource_type, *_) = cluster.engine.operator.resource_types
    group = resource_type.api_version.partition("/")[0]
    return f"kubectl describe --namespace {cluster.namespace} {resource_type.plural}.{group} {cluster.name}"
