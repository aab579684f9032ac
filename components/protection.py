"""What happens to data when its group is removed from the stack file."""

from typing import Annotated, Any, Literal

import pulumi
from pydantic import BeforeValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

__all__ = ["Protect", "ProtectSpec", "build_data_resource_options", "is_protected", "is_retained"]

Protect = bool | Literal["retain"]
"""True: reject the removal. `retain`: allow it, and keep the data without managing it. False: delete the data."""


def _validate_protect(value: Any) -> Any:
    if isinstance(value, bool) or value == "retain":
        return value
    raise PydanticCustomError("protect", "unsupported value{value}; use true, false or retain")


ProtectSpec = Annotated[Protect, BeforeValidator(_validate_protect), WithJsonSchema({"enum": [True, False, "retain"]})]


def is_protected(protect: Protect) -> bool:
    """Return whether the removal of the data is rejected."""
    return protect is True


def is_retained(protect: Protect) -> bool:
    """Return whether the data outlives its removal from the stack file."""
    return protect is not False


def build_data_resource_options(
    parent: pulumi.Resource, protect: Protect, *, deleted_with: pulumi.Resource | None = None
) -> pulumi.ResourceOptions:
    """Return the options of a resource that holds data.

    Both options are set on the resource itself: `protect` rejects its deletion, and `retain_on_delete` keeps it in the
    cluster or on the server when the state no longer has it. The deletion of `deleted_with` deletes the resource too.
    """
    return pulumi.ResourceOptions(
        parent=parent,
        protect=is_protected(protect),
        retain_on_delete=is_retained(protect),
        deleted_with=deleted_with,
    )
