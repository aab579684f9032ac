"""The checks before an update: of the cluster and of all external servers, with one report."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pulumi

from preflight import check, format_findings
from preflight.cluster import check_cluster
from preflight.cluster_client import ClusterConfig
from preflight.cluster_models import ClusterReport
from preflight.models import Endpoint, Finding
from stacks.cluster_checks import build_cluster_requirements
from stacks.config import Stack
from stacks.config_source import ConfigSource
from stacks.errors import ConfigIssue
from stacks.external_server_checks import list_endpoints
from stacks.previous_state import PreviousState, RecordedObjects

__all__ = ["PreflightResult", "require_preflight", "run_preflight"]

CLUSTER_TIMEOUT_SECONDS = 4.5
"""Seconds for all requests to the cluster, so that the check takes less than five seconds."""
SERVERS_TIMEOUT_SECONDS = 8
"""Seconds for all servers together. Applications cannot use a server whose login takes longer."""


@dataclass(frozen=True, kw_only=True)
class PreflightResult:
    """The result of the checks of a stack."""

    source: ConfigSource
    endpoints: Sequence[Endpoint]
    """The checked addresses of external servers."""
    findings: Sequence[Finding]
    """The failed checks of external servers."""
    cluster: ClusterReport

    @property
    def has_failed(self) -> bool:
        """Whether any check failed."""
        return bool(self.findings or self.cluster.issues)

    def __str__(self) -> str:
        parts = [_format_cluster_issues(self.cluster, self.source)] if self.cluster.issues else []
        return "\n\n".join([*parts, *([format_findings(self.findings)] if self.findings else [])])


def require_preflight(
    stack: Stack, cluster: ClusterConfig | None, previous: PreviousState, recorded: RecordedObjects
) -> None:
    """Check the cluster and the external servers. Raise pulumi.RunError if a check fails; in a preview only warn.

    A run without a cluster and a stack with `preflight: false` check nothing.
    """
    if cluster is None or not stack.spec.preflight:
        return
    result = run_preflight(stack, cluster, previous, recorded)
    for note in result.cluster.notes:
        pulumi.log.warn(note)
    if result.has_failed and pulumi.runtime.is_dry_run():
        pulumi.log.warn(str(result))
    elif result.has_failed:
        raise pulumi.RunError(f"{result}\nnothing was changed")


def run_preflight(
    stack: Stack, cluster: ClusterConfig, previous: PreviousState, recorded: RecordedObjects
) -> PreflightResult:
    """Check the cluster and the external servers at the same time.

    A database that is not in the previous state must not exist on its server, and an object that is not in `recorded`
    must not exist in the cluster.
    """
    requirements, endpoints = build_cluster_requirements(stack, recorded), list(list_endpoints(stack, previous))
    with ThreadPoolExecutor(1) as pool:
        report = pool.submit(check_cluster, requirements, cluster, CLUSTER_TIMEOUT_SECONDS)
        findings = check(endpoints, SERVERS_TIMEOUT_SECONDS)
        return PreflightResult(source=stack.source, endpoints=endpoints, findings=findings, cluster=report.result())


def _format_cluster_issues(report: ClusterReport, source: ConfigSource) -> str:
    issues = [source.add_line(ConfigIssue(issue.location, issue.message)) for issue in report.issues]
    lines = "".join(f"\n  {issue}" for issue in sorted(issues, key=lambda issue: (issue.line or 0, str(issue))))
    return f"{len(issues)} cluster check{'' if len(issues) == 1 else 's'} failed:{lines}"
