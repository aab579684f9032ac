"""Which applications get alerts: the type in the cluster, the rights of the account, and what the state has."""

from collections.abc import Collection
from typing import Any

import pytest

from components.persisted.names import alerts_name
from preflight.cluster_client import ClusterConfig
from preflight.cluster_models import ObjectKey, RecordedObject
from preflight.errors import ClusterError
from stacks.alert_discovery import read_namespaces_with_alerts, resolve_alerts
from stacks.config import parse_stack
from tests.fake_api import Answer, build_kubeconfig, run_api_server
from tests.support import ENCRYPTED, groups

STORE = {"kind": "s3", "bucket": "backups", "accessKey": "id", "secretKey": "key", "repositoryPassword": "password"}
CLUSTER = ClusterConfig()
RECORDED = {
    ObjectKey("PrometheusRule", "shop", alerts_name("shop")): RecordedObject(
        storage=None, storage_class=None, application="shop", password_version=0
    )
}
API = "/apis/monitoring.coreos.com/v1"


def resolve(
    answer: frozenset[str] | ClusterError | None, recorded: Any = None, *, backup: Any = None
) -> tuple[bool, tuple[str, ...]]:
    """Return whether the application has alerts, and the warnings."""

    def read(_cluster: ClusterConfig, namespaces: Collection[str]) -> frozenset[str] | None:
        assert set(namespaces) == {"shop"}
        if isinstance(answer, ClusterError):
            raise answer
        return answer

    raw = groups(postgresql={"main": {"backup": {} if backup is None else backup}})
    stack = parse_stack({**raw, "backupStores": {"offsite": STORE}}, ENCRYPTED)
    resolved = resolve_alerts(stack, CLUSTER, recorded or {}, read)
    return resolved.applications[0].has_alerts, resolved.warnings[len(stack.warnings) :]


@pytest.mark.parametrize("recorded", [{}, RECORDED], ids=["new", "existing"])
def test_alerts_follow_the_type(recorded: Any) -> None:
    assert resolve(frozenset({"shop"}), recorded) == (True, ())
    assert resolve(None, recorded) == (False, ())


def test_a_missing_right_is_a_warning_and_keeps_what_exists() -> None:
    has_alerts, (warning,) = resolve(frozenset())
    assert not has_alerts
    assert warning == (
        "namespace shop: the account may not create PrometheusRule objects, so there are no alerts about backups;"
        " grant `create` on `prometheusrules.monitoring.coreos.com`"
    )
    assert resolve(frozenset(), RECORDED) == (True, ())


def test_a_cluster_that_does_not_answer_changes_nothing() -> None:
    assert resolve(ClusterError("no"), RECORDED) == (True, ())
    assert resolve(ClusterError("no")) == (False, ())


def test_without_backups_the_cluster_is_not_read() -> None:
    assert resolve(frozenset({"shop"}), backup=False) == (False, ())


def test_without_a_cluster_there_are_no_alerts() -> None:
    raw = groups(postgresql={"main": {"backup": {}}})
    stack = parse_stack({**raw, "backupStores": {"offsite": STORE}}, ENCRYPTED)
    assert resolve_alerts(stack, None, RECORDED) == stack


@pytest.mark.parametrize(
    ("types", "expected"),
    [
        ((200, {"resources": [{"name": "prometheusrules"}, {"name": "probes"}]}), frozenset({"shop"})),
        ((200, {"resources": [{"name": "probes"}]}), None),
        ((404, {}), None),
    ],
)
def test_the_cluster_is_asked_for_the_type_and_the_right(types: Answer, expected: frozenset[str] | None) -> None:
    def review(_path: str, body: dict[str, Any]) -> Answer:
        attributes = body["spec"]["resourceAttributes"]
        assert (attributes["group"], attributes["resource"], attributes["verb"]) == (
            "monitoring.coreos.com",
            "prometheusrules",
            "create",
        )
        return 201, {"status": {"allowed": attributes["namespace"] == "shop"}}

    with run_api_server(lambda path, _: types if path == API else (500, {}), review) as url:
        config = ClusterConfig(kubeconfig=build_kubeconfig(url), context="good")
        assert read_namespaces_with_alerts(config, ["shop", "blog"]) == expected


def test_an_account_that_may_not_ask_is_an_error() -> None:
    with (
        run_api_server(lambda *_: (403, {})) as url,
        pytest.raises(ClusterError, match="not allowed to read the types"),
    ):
        read_namespaces_with_alerts(ClusterConfig(kubeconfig=build_kubeconfig(url), context="good"), ["shop"])
