"""The checks before an update: of the cluster, all external servers and all backup stores, with one report."""

from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from time import monotonic, sleep

import pulumi

from preflight import format_findings, run_checks
from preflight.cluster import check_cluster
from preflight.cluster_client import ClusterConfig
from preflight.cluster_models import ClusterReport
from preflight.models import Endpoint, Finding
from preflight.probes import load_shared_packages
from stacks.backup_store_checks import list_store_endpoints
from stacks.cluster_checks import build_cluster_requirements
from stacks.config import Stack
from stacks.config_source import ConfigSource
from stacks.errors import ConfigIssue, format_path
from stacks.external_server_checks import list_endpoints, require_no_adoption
from stacks.previous_state import (
    StateResource,
    collect_component_outputs,
    collect_recorded_objects,
    collect_registered_groups,
)

__all__ = ["PreflightResult", "require_preflight", "run_preflight"]

CLUSTER_TIMEOUT_SECONDS = 4.5
"""Seconds for all requests to the cluster, so that the check takes less than five seconds."""
OBJECTS_TIMEOUT_SECONDS = 60
"""Seconds for the check that no configuration turns off."""
DELETION_TIMEOUT_SECONDS, DELETION_INTERVAL_SECONDS = 600, 2
"""Seconds for the deletions that an interrupted `pulumi destroy` started, and between two requests."""
SERVERS_TIMEOUT_SECONDS = 8
"""Seconds for all servers together. Applications cannot use a server whose login takes longer."""
STORES_TIMEOUT_SECONDS = 15
"""Seconds for all backup stores together. Each gets up to six requests."""


@dataclass(frozen=True, kw_only=True)
class PreflightResult:
    """The result of the checks of a stack."""

    source: ConfigSource
    endpoints: Sequence[Endpoint]
    """The checked addresses of external servers."""
    stores: Sequence[Endpoint]
    """The checked backup stores."""
    failures: Sequence[Finding]
    """The failed checks of external servers and backup stores."""
    warnings: Sequence[Finding]
    """What does not stop an update on external servers and backup stores."""
    cluster: ClusterReport

    @property
    def has_failed(self) -> bool:
        """Whether any check failed."""
        return bool(self.failures or self.cluster.issues)

    @property
    def notes(self) -> tuple[str, ...]:
        """What does not stop an update, as texts."""
        return (*self.cluster.notes, *([format_findings(self.warnings)] if self.warnings else []))

    def __str__(self) -> str:
        parts = [_format_cluster_issues(self.cluster, self.source)] if self.cluster.issues else []
        return "\n\n".join([*parts, *([format_findings(self.failures)] if self.failures else [])])


def require_preflight(stack: Stack, cluster: ClusterConfig | None, resources: Collection[StateResource]) -> None:
    """Check the cluster, the external servers and the backup stores. Raise pulumi.RunError if a check fails.

    In a preview only warn.

    A run without a cluster checks nothing. With `preflight: false`, the cluster is still checked for objects of others,
    because the Kubernetes provider would overwrite them.
    """
    if cluster is None:
        return
    if not stack.spec.preflight:
        require_no_adoption(stack, collect_component_outputs(resources))
    result = _run_preflight_after_deletions(stack, cluster, resources)
    for note in result.notes:
        pulumi.log.warn(note)
    if result.has_failed and pulumi.runtime.is_dry_run():
        pulumi.log.warn(str(result))
    elif result.has_failed:
        raise pulumi.RunError(f"{result}\nnothing was changed")
    _set_takeovers(stack, result.warnings)


def _run_preflight_after_deletions(
    stack: Stack, cluster: ClusterConfig, resources: Collection[StateResource]
) -> PreflightResult:
    """Run the checks. An update first waits until the cluster has deleted what is in termination."""
    result = run_preflight(stack, cluster, resources, is_complete=stack.spec.preflight)
    names = result.cluster.terminating
    if not names or pulumi.runtime.is_dry_run():
        return result
    pulumi.log.info(f"waiting until the cluster has deleted {', '.join(names)}")
    end = monotonic() + DELETION_TIMEOUT_SECONDS
    while run_preflight(stack, cluster, resources, is_complete=False).cluster.terminating and monotonic() < end:
        sleep(DELETION_INTERVAL_SECONDS)
    return run_preflight(stack, cluster, resources, is_complete=stack.spec.preflight)


def run_preflight(
    stack: Stack, cluster: ClusterConfig, resources: Collection[StateResource], *, is_complete: bool = True
) -> PreflightResult:
    """Check the cluster, the external servers and the backup stores at the same time. `resources` are in the state.

    A database that is not in the state must not exist on its server. One that an earlier update created must. An object
    that is not in the state may exist in the cluster only if an interrupted update of the stack left it behind. With
    `is_complete` False, check only objects.
    """
    requirements = build_cluster_requirements(
        stack, collect_recorded_objects(resources), collect_registered_groups(resources)
    )
    endpoints = list(list_endpoints(stack, collect_component_outputs(resources))) if is_complete else []
    stores = list(list_store_endpoints(stack)) if is_complete else []
    if stores:
        load_shared_packages()
    seconds = CLUSTER_TIMEOUT_SECONDS if is_complete else OBJECTS_TIMEOUT_SECONDS
    with ThreadPoolExecutor(2) as pool:
        report = pool.submit(check_cluster, requirements, cluster, seconds, is_complete=is_complete)
        of_stores = pool.submit(run_checks, stores, STORES_TIMEOUT_SECONDS) if stores else None
        of_servers = run_checks(endpoints, SERVERS_TIMEOUT_SECONDS)
        found = [*of_servers, *(of_stores.result() if of_stores else ())]
        findings = [_hide_secrets(finding, stack.source) for finding in found]
        return PreflightResult(
            source=stack.source,
            endpoints=endpoints,
            stores=stores,
            failures=[finding for finding in findings if not finding.is_warning],
            warnings=[finding for finding in findings if finding.is_warning],
            cluster=report.result(),
        )


def _hide_secrets(finding: Finding, source: ConfigSource) -> Finding:
    """Return a finding that repeats no encrypted value, such as a user name."""
    return replace(
        finding,
        result=source.hide_secrets(finding.result),
        fix=source.hide_secrets(finding.fix),
        check=source.hide_secrets(finding.check),
        endpoint=source.hide_secrets(finding.endpoint),
    )


def _set_takeovers(stack: Stack, warnings: Sequence[Finding]) -> None:
    """Configure the update to take over the parts of databases that exist on a server and are not in the state."""
    parts_by_path = {finding.path: finding.takes_over for finding in warnings if finding.takes_over}
    for group in (group for application in stack.applications for group in application.database_groups):
        server = group.server_access.external_server_name
        parts = parts_by_path.get(format_path(group.config_location))
        if server and parts:
            group.platform.external_servers[server].set_takeover(group.resource_name, parts)


def _format_cluster_issues(report: ClusterReport, source: ConfigSource) -> str:
    issues = [source.add_line(ConfigIssue(issue.location, issue.message)) for issue in report.issues]
    lines = "".join(f"\n  {issue}" for issue in sorted(issues, key=lambda issue: (issue.line or 0, str(issue))))
    return f"{len(issues)} cluster check{'' if len(issues) == 1 else 's'} failed:{lines}"
