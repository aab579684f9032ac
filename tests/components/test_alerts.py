"""The alerts about backups: which rules an application gets, and the form of their expressions."""

import re
from dataclasses import replace
from typing import Any

import pytest

from components.application import create_applications
from components.copies.alerts import RULE_TYPE, GroupAlerts, build_alert_rules
from offline.recorder import run_program
from stacks.config import parse_stack
from tests.support import ENCRYPTED, groups

TOKEN = f"kubernetes:{RULE_TYPE.api_version}:{RULE_TYPE.kind}"
GROUP = GroupAlerts(
    path="shop.postgresql.main",
    backup="postgresql-main-backup",
    max_age_seconds=172800,
    verification="postgresql-main-verify",
    max_verification_age_seconds=1209600,
)
STORE = {"kind": "s3", "bucket": "backups", "accessKey": "id", "secretKey": "key", "repositoryPassword": "password"}


def build_rules(group: GroupAlerts = GROUP) -> dict[str, dict[str, Any]]:
    return {rule["alert"]: rule for rule in build_alert_rules("web", group)}


def test_each_group_has_alerts_for_age_and_failure() -> None:
    rules = build_rules()
    assert list(rules) == [
        "DatabaseBackupTooOld",
        "DatabaseBackupFailed",
        "DatabaseVerificationTooOld",
        "DatabaseVerificationFailed",
    ]
    assert rules["DatabaseBackupTooOld"] == {
        "alert": "DatabaseBackupTooOld",
        "expr": "time() - ("
        'max(kube_cronjob_status_last_successful_time{namespace="web",cronjob="postgresql-main-backup"})'
        ' or max(kube_cronjob_created{namespace="web",cronjob="postgresql-main-backup"})'
        ") > 172800",
        "for": "15m",
        "labels": {"severity": "warning", "namespace": "web", "group": "shop.postgresql.main"},
        "annotations": {
            "summary": "shop.postgresql.main: no backup has succeeded for 2 days",
            "description": "Run `make backup GROUP=shop.postgresql.main` with the stack, and read its log.",
        },
    }
    assert rules["DatabaseVerificationTooOld"]["expr"].endswith("> 1209600")
    assert rules["DatabaseVerificationFailed"]["annotations"] == {
        "summary": "shop.postgresql.main: the last verification of a backup failed",
        "description": "Run `make backup GROUP=shop.postgresql.main VERIFY=1` with the stack, and read its log.",
    }
    assert list(build_rules(replace(GROUP, verification=None))) == ["DatabaseBackupTooOld", "DatabaseBackupFailed"]


def test_a_failure_counts_until_the_next_success() -> None:
    """A failed Job remains in the cluster after a later success."""
    failed, operator, success = build_rules()["DatabaseBackupFailed"]["expr"].partition(" > ")
    jobs = 'namespace="web",job_name=~"postgresql-main-backup-[0-9]+"'
    assert failed == (
        f"max(kube_job_status_start_time{{{jobs}}} and on (namespace, job_name)"
        f' kube_job_failed{{{jobs},condition="true"}} == 1)'
    )
    assert operator
    assert success == (
        '(max(kube_cronjob_status_last_successful_time{namespace="web",cronjob="postgresql-main-backup"}) or vector(0))'
    )


@pytest.mark.parametrize(
    ("job", "is_run"),
    [
        ("postgresql-main-backup-29012345", True),
        ("postgresql-main-backup-1124030012", True),
        ("postgresql-main-backup-1a2b3c4d", False),  # the Job that creates the repository
        ("postgresql-main-2-backup-29012345", False),
    ],
)
def test_the_jobs_of_a_cron_job_are_recognized_by_their_names(job: str, *, is_run: bool) -> None:
    found = re.search('job_name=~"([^"]*)"', build_rules()["DatabaseBackupFailed"]["expr"])
    assert found
    assert bool(re.fullmatch(found[1], job)) == is_run


@pytest.mark.parametrize("rule", build_rules().values(), ids=build_rules())
def test_an_expression_is_balanced_and_uses_metrics_of_kube_state_metrics(rule: dict[str, Any]) -> None:
    expression = re.sub('"[^"]*"', "", rule["expr"])
    for opening, closing in ("()", "{}"):
        assert expression.count(opening) == expression.count(closing)
    assert set(re.findall("kube_[a-z_]+", expression)) <= {
        "kube_cronjob_status_last_successful_time",
        "kube_cronjob_created",
        "kube_job_status_start_time",
        "kube_job_failed",
    }


def register(*, has_alerts: bool, **keys: Any) -> list[dict[str, Any]]:
    """Return the PrometheusRules of a stack with a group that has backups and one that has none."""
    raw = groups(postgresql={"main": {"backup": {"schedule": "hourly", **keys}}, "copy": {"backup": False}})
    stack = parse_stack({**raw, "backupStores": {"offsite": STORE}}, ENCRYPTED)
    applications = [replace(application, has_alerts=has_alerts) for application in stack.applications]
    planned = [item.name for item in applications[0].list_objects() if item.kind == RULE_TYPE.kind]
    assert planned == (["shop-databases"] if has_alerts else [])
    recorder = run_program(lambda: create_applications(applications))
    return [dict(found.inputs) for found in recorder.resources_of_type(TOKEN)]


def test_an_application_has_one_rule_object() -> None:
    (rule,) = register(has_alerts=True)
    assert (rule["metadata"]["name"], rule["metadata"]["namespace"]) == ("shop-databases", "shop")
    (group,) = rule["spec"]["groups"]
    assert group["name"] == "shop-databases"
    assert {found["labels"]["group"] for found in group["rules"]} == {"shop.postgresql.main"}
    ages = [re.search(r"> (\d+)$", found["expr"]) for found in group["rules"]]
    assert [int(age[1]) for age in ages if age] == [2 * 3600, 2 * 7 * 86400]


def test_a_group_without_verification_has_no_alert_about_it() -> None:
    (rule,) = register(has_alerts=True, verify=False)
    assert len(rule["spec"]["groups"][0]["rules"]) == 2


def test_a_cluster_without_the_type_gets_no_rule() -> None:
    assert register(has_alerts=False) == []
