"""The kind `dedicated`: a server of a group's own, on the nodes for databases, away from other database servers."""

from collections.abc import Iterator
from typing import Any, Literal

import pulumi

from components.servers.kind import (
    PodPlacement,
    ServerArgs,
    ServerCredentials,
    ServerKind,
    StatefulSetServerSpec,
    create_stateful_set_server,
    resolve_stateful_set_access,
    validate_stateful_set_server,
)
from components.spec import StrictBool

__all__ = ["DEDICATED", "DedicatedKindSpec"]

DEFAULT_CPU = "1"
DEFAULT_MEMORY = "2Gi"
DEFAULT_STORAGE = "10Gi"


class DedicatedKindSpec(StatefulSetServerSpec):
    """A server for this group alone, with resources of its own."""

    kind: Literal["dedicated"]
    exclusive_node: StrictBool = False
    """Whether no other database server may share its node; where there is no free one, a cluster autoscaler adds it."""


def _create_resources(
    args: ServerArgs, spec: DedicatedKindSpec, credentials: ServerCredentials, parent: pulumi.Resource
) -> None:
    """Runs a server with what it requests and no more, so that it is among the last that a full node gives up (class Guaranteed)."""
    resources = {"cpu": spec.resources.cpu or DEFAULT_CPU, "memory": spec.resources.memory or DEFAULT_MEMORY}
    database_pods: dict[str, Any] = {
        "topologyKey": "kubernetes.io/hostname",
        "namespaceSelector": {},
        "labelSelector": {
            "matchLabels": {
                "app.kubernetes.io/component": "database",
                "app.kubernetes.io/managed-by": "database-groups",
            }
        },
    }
    anti_affinity = (
        {"requiredDuringSchedulingIgnoredDuringExecution": [database_pods]}
        if spec.exclusive_node
        else {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "podAffinityTerm": database_pods}]}
    )
    nodes = args.platform.database_nodes
    scheduling = PodPlacement(
        storage=DEFAULT_STORAGE,
        requests=resources,
        limits=resources,
        affinity={"podAntiAffinity": anti_affinity},
        node_selector=nodes.node_selector or None,
        tolerations=[toleration.model_dump(exclude_none=True) for toleration in nodes.tolerations] or None,
    )
    create_stateful_set_server(args, spec, credentials, scheduling, parent)


def _validate(args: ServerArgs, spec: DedicatedKindSpec) -> Iterator[tuple[str, str]]:
    """Those of every server of ours, and an engine without one."""
    if args.engine.build_runtime is None:
        yield "kind", f"'dedicated' is for servers: {args.engine.name} is a file, and can only be local"
    else:
        yield from validate_stateful_set_server(args, spec)


DEDICATED = ServerKind[DedicatedKindSpec](
    resolve_access=resolve_stateful_set_access, create_resources=_create_resources, validate=_validate
)
