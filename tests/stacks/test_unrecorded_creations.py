"""What a killed update created without a record, in states as `pulumi stack export` prints them."""

from typing import Any

import pytest

from stacks.unrecorded_creations import describe_unrecorded_creations, find_unrecorded_creations

DATABASE = "postgresql:index/database:Database"
SECRET = "kubernetes:core/v1:Secret"
NAMESPACE = "kubernetes:core/v1:Namespace"


def build_resource(type_name: str, urn_name: str, **inputs: Any) -> dict[str, Any]:
    return {"urn": f"urn:pulumi:shop::database-groups::{type_name}::{urn_name}", "type": type_name, "inputs": inputs}


def build_secret(name: str) -> dict[str, Any]:
    return build_resource(SECRET, f"shop-{name}", metadata={"name": name, "namespace": "shop"})


SHOP = build_resource(NAMESPACE, "shop", metadata={"name": "shop"})
OTHER = build_resource(NAMESPACE, "other", metadata={"name": "other"})
DATABASES = build_resource(DATABASE, "shop-postgresql-main-database", name="shop_main")


@pytest.mark.parametrize(
    ("recorded", "operation", "pending", "found"),
    [
        ([], "creating", DATABASES, ["postgresql Database shop-postgresql-main-database"]),
        ([DATABASES], "creating", DATABASES, []),
        ([], "deleting", DATABASES, []),
        ([], "creating", build_secret("redis-main"), ["Secret shop/redis-main"]),
        ([OTHER], "creating", build_secret("redis-main"), ["Secret shop/redis-main"]),
        ([SHOP], "creating", build_secret("redis-main"), []),
        ([], "creating", SHOP, ["Namespace shop"]),
        ([OTHER], "creating", SHOP, ["Namespace shop"]),
        ([], "creating", build_resource("random:index/randomPassword:RandomPassword", "shop-redis"), []),
        ([], "creating", build_resource("pulumi:providers:mysql", "shop-mysql"), []),
    ],
)
def test_what_a_destroy_does_not_delete_is_reported(
    recorded: list[dict[str, Any]], operation: str, pending: dict[str, Any], found: list[str]
) -> None:
    state = {"resources": recorded, "pending_operations": [{"type": operation, "resource": pending}]}
    assert find_unrecorded_creations(state) == found


@pytest.mark.parametrize("state", [{}, {"resources": None, "pending_operations": None}])
def test_an_empty_state_has_no_unrecorded_creations(state: dict[str, Any]) -> None:
    assert find_unrecorded_creations(state) == []


def test_the_message_has_the_commands() -> None:
    assert describe_unrecorded_creations(["Secret shop/redis-main"], "acme/shop") == (
        "a killed update perhaps created these resources, but the state does not record them, so `make destroy` would "
        "not delete them:\n"
        "  Secret shop/redis-main\n"
        "run this, and then `make destroy` again:\n"
        "  make up STACK=acme/shop\n"
        "to leave them where they are:\n"
        '  make pulumi STACK=acme/shop ARGS="destroy --refresh"'
    )
