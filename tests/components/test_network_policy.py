"""Servers in the cluster are closed: one NetworkPolicy an application, which lets in its Pods and nobody else's."""

from typing import Any

import pytest

from components.engines import ENGINES
from tests.support import (
    ENGINES_WITH_SERVER,
    NETWORK_ENGINES,
    NETWORK_POLICY,
    STATEFUL_SET,
    existing_account,
    external_server,
    get_resource,
    groups,
    managed_server,
    provisioned_on,
    record_stack,
    stack_with_group,
)

KINDS = ("local", "dedicated")


def policy(raw: dict[str, Any]) -> dict[str, Any]:
    """The specification of the one policy."""
    (found,) = record_stack(raw).resources_of_type(NETWORK_POLICY)
    return dict(found.inputs["spec"])


def selects(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    """Whether a label selector takes a Pod (meta/v1 LabelSelector)."""
    expressions = selector.get("matchExpressions", [])
    assert all(expression["operator"] == "In" for expression in expressions)
    return selector.get("matchLabels", {}).items() <= labels.items() and all(
        labels.get(found["key"]) in found["values"] for found in expressions
    )


def admitted(raw: dict[str, Any], labels: dict[str, str]) -> bool:
    (rule,) = policy(raw)["ingress"]
    assert all(set(peer) == {"podSelector"} for peer in rule["from"]), "Pods of another namespace, or addresses"
    return any(selects(peer["podSelector"], labels) for peer in rule["from"])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("engine", ENGINES_WITH_SERVER)
def test_the_policy_is_for_the_pods_of_the_server(engine: str, kind: str) -> None:
    raw = stack_with_group(engine, managed_server(engine, kind))
    pod = get_resource(record_stack(raw), STATEFUL_SET, f"shop-{engine}-main-server").inputs["spec"]["template"][
        "metadata"
    ]["labels"]
    assert selects(policy(raw)["podSelector"], pod)
    assert not selects(policy(raw)["podSelector"], {"app.kubernetes.io/name": "shop"})
    assert not selects(policy(raw)["podSelector"], {**pod, "app.kubernetes.io/part-of": "other"})
    assert policy(raw)["policyTypes"] == ["Ingress"]


@pytest.mark.parametrize(
    ("labels", "lets_in"),
    [
        ({"app.kubernetes.io/name": "shop"}, True),
        ({"app.kubernetes.io/name": "shop", "tier": "web"}, True),
        ({"database-groups/application": "shop"}, True),
        ({"app.kubernetes.io/name": "other"}, False),
        ({"database-groups/application": "other"}, False),
        ({}, False),
    ],
    ids=["its name", "its name and more", "given variables", "another's name", "another's variables", "no labels"],
)
def test_it_lets_in_the_pods_of_the_application_alone(labels: dict[str, str], lets_in: bool) -> None:
    assert admitted(stack_with_group("mysql"), labels) is lets_in


def test_the_user_may_say_how_its_pods_are_labelled() -> None:
    raw = stack_with_group("mysql")
    raw["applications"]["shop"]["pods"] = {"app": "web"}
    assert admitted(raw, {"app": "web", "x": "y"})
    assert not admitted(raw, {"app.kubernetes.io/name": "shop"})
    near = get_resource(record_stack(raw), STATEFUL_SET, "shop-mysql-main-server").inputs["spec"]["template"]["spec"][
        "affinity"
    ]["podAffinity"]
    term = near["preferredDuringSchedulingIgnoredDuringExecution"][0]["podAffinityTerm"]
    assert term["labelSelector"]["matchLabels"] == {"app": "web"}


def test_one_policy_is_for_all_servers_of_an_application_that_do_not_stay_out() -> None:
    raw = groups(
        mysql={"main": None, "open": {"networkPolicy": False}},
        redis={"main": {"server": managed_server("redis", "dedicated")}},
    )
    (expression,) = policy(raw)["podSelector"]["matchExpressions"]
    assert expression["values"] == ["mysql-main", "redis-main"]


def test_an_application_may_do_without() -> None:
    raw = stack_with_group("mysql")
    raw["applications"]["shop"]["networkPolicy"] = False
    assert record_stack(raw).resources_of_type(NETWORK_POLICY) == []


@pytest.mark.parametrize("engine", NETWORK_ENGINES)
def test_there_is_none_where_no_server_runs(engine: str) -> None:
    assert record_stack(stack_with_group(engine, existing_account(engine))).resources_of_type(NETWORK_POLICY) == []
    if ENGINES[engine].provisioner:
        assert (
            record_stack(
                {
                    "externalServers": {"hq": external_server(engine)},
                    **groups(**{engine: {"main": provisioned_on("hq")}}),
                }
            ).resources_of_type(NETWORK_POLICY)
            == []
        )


def test_a_file_has_none() -> None:
    assert record_stack(stack_with_group("sqlite")).resources_of_type(NETWORK_POLICY) == []


def test_every_application_has_its_own() -> None:
    databases = {"databases": {"redis": {"main": None}}}
    recorder = record_stack({"applications": {"a": databases, "b": databases}})
    assert {
        (found.inputs["metadata"]["namespace"], found.inputs["metadata"]["name"])
        for found in recorder.resources_of_type(NETWORK_POLICY)
    } == {
        ("a", "a-databases"),
        ("b", "b-databases"),
    }
