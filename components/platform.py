"""What all groups of a stack share: whether it is production, where dedicated servers go, the servers to provision on."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Annotated, Literal, Self

import pulumi
from pydantic import Field, model_validator

from components.external_servers import ExternalServer
from components.spec import Labels, NonEmptyStr, SpecModel

__all__ = ["NodePoolSpec", "Platform", "TolerationSpec", "data_resource_options"]


class TolerationSpec(SpecModel):
    """A taint that the servers of a node pool bear, as Kubernetes has it (core/v1 Toleration)."""

    key: NonEmptyStr | None = None
    operator: Literal["Equal", "Exists"] = "Equal"
    value: Annotated[str, Field(max_length=63)] | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None

    @model_validator(mode="after")
    def _validate_operator(self) -> Self:
        if self.operator == "Exists" and self.value is not None:
            raise ValueError("has a 'value', which the operator Exists does not take")
        if self.operator == "Equal" and self.key is None:
            raise ValueError("has no 'key'; only the operator Exists goes without one")
        return self


class NodePoolSpec(SpecModel):
    """The nodes that dedicated servers run on."""

    node_selector: Labels = Field(default_factory=dict)
    """Labels of the nodes."""
    tolerations: tuple[TolerationSpec, ...] = ()
    """Taints of the nodes that a server bears."""


@dataclass(frozen=True, kw_only=True)
class Platform:
    """What all groups of a stack share."""

    production: bool = False
    database_nodes: NodePoolSpec = field(default_factory=NodePoolSpec)
    external_servers: Mapping[str, ExternalServer] = field(default_factory=lambda: MappingProxyType({}))


def data_resource_options(parent: pulumi.Resource, *, protected: bool) -> pulumi.ResourceOptions:
    """The options of what holds data: where it is protected it cannot be deleted, and outlives its removal from the state."""
    return pulumi.ResourceOptions(parent=parent, protect=protected, retain_on_delete=protected)
