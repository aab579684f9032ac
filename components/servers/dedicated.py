"""The kind `dedicated`: a server for one group, on the database nodes, away from other database servers."""

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

import pulumi
from pydantic import Field

from components.engines.clusters.definition import Durability
from components.persisted.labels import DATABASE_SELECTOR
from components.planned_objects import PlannedObject
from components.servers.kind import ServerArgs, ServerCredentials, ServerKind
from components.servers.stateful_set import (
    PodPlacement,
    StatefulSetServerSpec,
    build_scratch_server,
    create_password_hooks,
    create_stateful_set_server,
    list_stateful_set_objects,
    resolve_stateful_set_access,
    validate_stateful_set_server,
)
from components.spec import StrictBool
from components.tls import TlsMode

__all__ = ["DEDICATED", "DEFAULT_CPU", "DedicatedKindSpec"]

DEFAULT_CPU = "1"


class DedicatedKindSpec(StatefulSetServerSpec):
    """A server for this group alone, with guaranteed CPU and memory, on the nodes that `databaseNodes` selects."""

    default_storage: ClassVar[str] = "10Gi"
    default_memory: ClassVar[str] = "2Gi"
    kind: Literal["dedicated"]
    """Server kind."""
    exclusive_node: StrictBool = False
    """Whether no other database server may run on the same node. Default: `false`."""
    replicas: Annotated[int, Field(strict=True, ge=1, le=9)] = 1
    """Number of servers that hold the same data. From 2 on, an operator runs them as a cluster (docs/clusters.md).
    Default: `1`."""
    durability: Durability | None = None
    """Whether a write waits until a second server has it (`synchronous`) or not (`asynchronous`). Requires `replicas`.
    Default: see docs/clusters.md."""
    tls: TlsMode | None = None
    """TLS mode in the application's URI. Requires `replicas`. Default: not set, the client decides."""


def _create_resources(
    args: ServerArgs, spec: DedicatedKindSpec, credentials: ServerCredentials, parent: pulumi.Resource
) -> None:
    """Create a server whose requests equal its limits, so that Kubernetes evicts it last (class Guaranteed)."""
    resources = {
        "cpu": spec.resources.cpu or DEFAULT_CPU,
        "memory": spec.resources.memory or spec.default_memory,
    }
    database_pods: dict[str, Any] = {
        "topologyKey": "kubernetes.io/hostname",
        "namespaceSelector": {},
        "labelSelector": {"matchLabels": dict(DATABASE_SELECTOR)},
    }
    anti_affinity: dict[str, Any] = {
        "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "podAffinityTerm": database_pods}]
    }
    if spec.exclusive_node:
        anti_affinity = {"requiredDuringSchedulingIgnoredDuringExecution": [database_pods]}
    nodes = args.platform.database_nodes
    placement = PodPlacement(
        requests=resources,
        limits=resources,
        affinity={"podAntiAffinity": anti_affinity},
        node_selector=nodes.node_selector or None,
        tolerations=[toleration.model_dump(by_alias=True, exclude_none=True) for toleration in nodes.tolerations]
        or None,
    )
    create_stateful_set_server(args, spec, credentials, placement, parent)


def _list_objects(args: ServerArgs, spec: DedicatedKindSpec) -> Iterator[PlannedObject]:
    node_selector = args.platform.database_nodes.node_selector
    return list_stateful_set_objects(args, spec, node_selector)


def _validate(args: ServerArgs, spec: DedicatedKindSpec) -> Iterator[tuple[str, str]]:
    """Return the errors of a server in the cluster, and an error for an engine without a server."""
    if args.engine.build_runtime is None:
        yield "kind", f"not supported for {args.engine.name}, which has no server; use `kind: local`"
    else:
        unsupported = [key for key in ("durability", "tls") if getattr(spec, key) is not None]
        yield from ((key, "needs at least two servers; set `replicas`, or remove it") for key in unsupported)
        yield from validate_stateful_set_server(args, spec)


DEDICATED = ServerKind[DedicatedKindSpec](
    resolve_access=resolve_stateful_set_access,
    prepare_secret=create_password_hooks,
    create_resources=_create_resources,
    list_objects=_list_objects,
    validate=_validate,
    build_scratch_server=build_scratch_server,
)
