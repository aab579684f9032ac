"""One NetworkPolicy for each application restricts its servers in the cluster to the application's Pods."""

from typing import Any

import pytest

from tests.support import (
    ENGINES_WITH_SERVER,
    NETWORK_ENGINES,
    NETWORK_POLICY,
    PROVISIONABLE_ENGINES,
    existing_account,
    get_pod_template,
    groups,
    managed_server,
    record_stack_once,
    stack_with_group,
    stack_with_provisioned_group,
)


def get_policy(raw: dict[str, Any]) -> dict[str, Any]:
    """Return the specification of the only NetworkPolicy."""
    (policy,) = record_stack_once(raw).resources_of_type(NETWORK_POLICY)
    return dict(policy.inputs["spec"])


def is_selected(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    """Return whether a label selector matches labels (meta/v1 LabelSelector)."""
    expressions = selector.get("matchExpressions", [])
    assert all(expression["operator"] == "In" for expression in expressions)
    return selector.get("matchLabels", {}).items() <= labels.items() and all(
        labels.get(expression["key"]) in expression["values"] for expression in expressions
    )


def is_allowed(policy: dict[str, Any], labels: dict[str, str]) -> bool:
    """Return whether a Pod of the application's namespace may connect to the servers."""
    (rule,) = policy["ingress"]
    assert all(set(peer) == {"podSelector"} for peer in rule["from"]), "no peer outside the namespace"
    return any(is_selected(peer["podSelector"], labels) for peer in rule["from"])


@pytest.mark.parametrize("kind", ["local", "dedicated"])
@pytest.mark.parametrize("engine", ENGINES_WITH_SERVER)
def test_policy_selects_the_pods_of_the_server_only(engine: str, kind: str) -> None:
    raw = stack_with_group(engine, managed_server(engine, kind))
    policy, labels = get_policy(raw), get_pod_template(record_stack_once(raw), engine)["metadata"]["labels"]
    assert policy["policyTypes"] == ["Ingress"]
    assert is_selected(policy["podSelector"], labels)
    assert not is_selected(policy["podSelector"], {"app.kubernetes.io/name": "shop"})
    assert not is_selected(policy["podSelector"], {**labels, "app.kubernetes.io/part-of": "other"})


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ({"app.kubernetes.io/name": "shop"}, True),
        ({"app.kubernetes.io/name": "shop", "tier": "web"}, True),
        ({"database-groups/application": "shop"}, True),
        ({"app.kubernetes.io/name": "other"}, False),
        ({"database-groups/application": "other"}, False),
        ({}, False),
    ],
    ids=["default", "default and more", "patched workload", "other application", "other patched workload", "none"],
)
def test_policy_allows_the_pods_of_the_application_only(labels: dict[str, str], expected: bool) -> None:
    assert is_allowed(get_policy(stack_with_group("mysql")), labels) is expected


def test_pod_selector_replaces_the_default_labels() -> None:
    raw = stack_with_group("mysql")
    raw["applications"]["shop"]["podSelector"] = {"app": "web"}
    assert is_allowed(get_policy(raw), {"app": "web", "x": "y"})
    assert not is_allowed(get_policy(raw), {"app.kubernetes.io/name": "shop"})


def test_policy_covers_every_server_except_for_groups_without_a_policy() -> None:
    raw = groups(
        mysql={"main": None, "open": {"networkPolicy": False}},
        redis={"main": {"server": managed_server("redis", "dedicated")}},
    )
    (expression,) = get_policy(raw)["podSelector"]["matchExpressions"]
    assert expression["values"] == ["mysql-main", "redis-main"]


@pytest.mark.parametrize(
    "raw",
    [
        {"applications": {"shop": {"networkPolicy": False, "databases": {"mysql": {"main": None}}}}},
        stack_with_group("sqlite"),
        *(stack_with_group(engine, existing_account(engine)) for engine in NETWORK_ENGINES),
        *(stack_with_provisioned_group(engine) for engine in PROVISIONABLE_ENGINES),
    ],
    ids=[
        "networkPolicy: false",
        "file",
        *(f"existing {engine}" for engine in NETWORK_ENGINES),
        *(f"provisioned {engine}" for engine in PROVISIONABLE_ENGINES),
    ],
)
def test_application_without_restricted_servers_has_no_policy(raw: dict[str, Any]) -> None:
    assert record_stack_once(raw).resources_of_type(NETWORK_POLICY) == []


def test_each_application_has_its_own_policy() -> None:
    databases = {"databases": {"redis": {"main": None}}}
    policies = record_stack_once({"applications": {"a": databases, "b": databases}}).resources_of_type(NETWORK_POLICY)
    names = {(policy.inputs["metadata"]["namespace"], policy.inputs["metadata"]["name"]) for policy in policies}
    assert names == {("a", "a-databases"), ("b", "b-databases")}
