"""The alerts about the backups of an application, as a PrometheusRule. The expressions read kube-state-metrics."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_kubernetes as kubernetes

from components.planned_objects import ResourceType

__all__ = ["RULE_TYPE", "GroupAlerts", "build_alert_rules", "create_alerts"]

RULE_TYPE = ResourceType(api_version="monitoring.coreos.com/v1", kind="PrometheusRule", plural="prometheusrules")
SUCCESS_METRIC = "kube_cronjob_status_last_successful_time"
DAY, HOUR = 86400, 3600
DELAY = "15m"
"""How long a condition must hold. A restart of kube-state-metrics takes less."""


@dataclass(frozen=True, kw_only=True)
class GroupAlerts:
    """What the alerts of a group need."""

    path: str
    """The group in messages: `shop.postgresql.main`."""
    backup: str
    """Name of the CronJob that saves the group."""
    max_age_seconds: int
    """Age from which the last successful backup is too old."""
    verification: str | None
    """Name of the CronJob that verifies the backups; None without verification."""
    max_verification_age_seconds: int


def create_alerts(
    name: str, metadata: Any, *, namespace: str, groups: Sequence[GroupAlerts], parent: pulumi.Resource
) -> None:
    """Create the PrometheusRule with the alerts of an application. `metadata` is that of the object."""
    rules = [rule for group in groups for rule in build_alert_rules(namespace, group)]
    kubernetes.apiextensions.CustomResource(
        name,
        api_version=RULE_TYPE.api_version,
        kind=RULE_TYPE.kind,
        metadata=metadata,
        spec={"groups": [{"name": metadata["name"], "rules": rules}]},
        opts=pulumi.ResourceOptions(parent=parent),
    )


def build_alert_rules(namespace: str, group: GroupAlerts) -> Iterator[dict[str, Any]]:
    """Yield the alerts of a group (monitoring.coreos.com/v1 Rule)."""
    jobs = [("Backup", "backup", group.backup, group.max_age_seconds, "")]
    if group.verification:
        age = group.max_verification_age_seconds
        jobs.append(("Verification", "verification of a backup", group.verification, age, " VERIFY=1"))
    labels = {"severity": "warning", "namespace": namespace, "group": group.path}
    for word, noun, cron_job, max_age, option in jobs:
        fix = f"Run `make backup GROUP={group.path}{option}` with the stack, and read its log."
        yield {
            "alert": f"Database{word}TooOld",
            "expr": _build_age(namespace, cron_job, max_age),
            "for": DELAY,
            "labels": labels,
            "annotations": {
                "summary": f"{group.path}: no {noun} has succeeded for {_format_age(max_age)}",
                "description": fix,
            },
        }
        yield {
            "alert": f"Database{word}Failed",
            "expr": _build_failure(namespace, cron_job),
            "labels": labels,
            "annotations": {"summary": f"{group.path}: the last {noun} failed", "description": fix},
        }


def _build_age(namespace: str, cron_job: str, max_age: int) -> str:
    """Return the expression for the time since the last success, or since the CronJob exists without one."""
    selector = f'{{namespace="{namespace}",cronjob="{cron_job}"}}'
    success, creation = (f"max({name}{selector})" for name in (SUCCESS_METRIC, "kube_cronjob_created"))
    return f"time() - ({success} or {creation}) > {max_age}"


def _build_failure(namespace: str, cron_job: str) -> str:
    """Return the expression for a failed Job that began after the last success. The name of a Job ends in a number."""
    selector = f'namespace="{namespace}",job_name=~"{cron_job}-[0-9]+"'
    failed = f'kube_job_failed{{{selector},condition="true"}} == 1'
    start = f"max(kube_job_status_start_time{{{selector}}} and on (namespace, job_name) {failed})"
    return f'{start} > (max({SUCCESS_METRIC}{{namespace="{namespace}",cronjob="{cron_job}"}}) or vector(0))'


def _format_age(seconds: int) -> str:
    count, unit = (seconds // DAY, "day") if seconds % DAY == 0 else (seconds // HOUR, "hour")
    return f"{count} {unit}{'' if count == 1 else 's'}"
