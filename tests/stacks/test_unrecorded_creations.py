"""What a killed update created without a record, in states as `pulumi stack export` prints them."""

from typing import Any

import pytest

from stacks.unrecorded_creations import describe_unrecorded_creations, find_unrecorded_creations

DATABASE = "postgresql:index/database:Database"
SECRET = "kubernetes:core/v1:Secret"
NAMESPACE = "kubernetes:core/v1:Namespace"


def build_resource(type_name: str, urn_name: str, **inputs: Any) -> dict[str, Any]:
    urn = f"urn:pulumi:shop::database-groups::{type_name}::{urn_name}"
    return {"urn": urn, "type": type_name, "inputs": inputs, "outputs": inputs}


def build_secret(name: str) -> dict[str, Any]:
    return build_resource(SECRET, f"shop-{name}", metadata={"name": name, "namespace": "shop"})


SHOP = build_resource(NAMESPACE, "shop", metadata={"name": "shop"})
OTHER = build_resource(NAMESPACE, "other", metadata={"name": "other"})
STACK = build_resource("pulumi:pulumi:Stack", "database-groups-shop")
MAIN = build_resource(DATABASE, "shop-postgresql-main-database", name="shop_main")
ENCRYPTED = build_resource("mysql:index/user:User", "shop-mysql-main-user", name={"ciphertext": "v1:x"})


@pytest.mark.parametrize(
    ("recorded", "operation", "pending", "found"),
    [
        ([STACK], "creating", MAIN, ["postgresql Database shop_main"]),
        ([STACK], "creating", ENCRYPTED, ["mysql User shop-mysql-main-user"]),
        ([STACK, MAIN], "creating", MAIN, []),
        ([STACK], "deleting", MAIN, []),
        ([], "creating", MAIN, []),
        ([STACK], "creating", build_secret("redis-main"), ["Secret shop/redis-main"]),
        ([OTHER], "creating", build_secret("redis-main"), ["Secret shop/redis-main"]),
        ([SHOP], "creating", build_secret("redis-main"), []),
        ([STACK], "creating", SHOP, ["Namespace shop"]),
        ([OTHER], "creating", SHOP, ["Namespace shop"]),
        ([STACK], "creating", build_resource("random:index/randomPassword:RandomPassword", "shop-redis"), []),
        ([STACK], "creating", build_resource("pulumi:providers:mysql", "shop-mysql"), []),
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
        "if they do not exist, or to leave them where they are, run this instead:\n"
        "  make refresh STACK=acme/shop ARGS=--clear-pending-creates"
    )
