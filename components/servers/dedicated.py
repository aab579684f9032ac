"""The kind `dedicated`: a server of a group's own, on the nodes for databases, away from other database servers."""

from collections.abc import Iterator
from typing import Any, Literal

import pulumi

from components.arguments import Flag
from components.servers.server import (
    Credentials,
    Scheduling,
    ServerArgs,
    ServerKind,
    SingleServerSpec,
    create_single_server,
    single_server_access,
    single_server_mistakes,
)

__all__ = ["DEDICATED", "DedicatedServer"]

CPU = "1"
MEMORY = "2Gi"
STORAGE = "10Gi"


class DedicatedServer(SingleServerSpec):
    """A server for this group alone, with resources of its own."""

    kind: Literal["dedicated"]
    exclusive_node: Flag = False
    """Whether no other database server may share its node; where there is no free one, a cluster autoscaler adds it."""


def _create(args: ServerArgs, spec: DedicatedServer, credentials: Credentials, parent: pulumi.Resource) -> None:
    """Runs a server with what it requests and no more, so that it is among the last that a full node gives up (class Guaranteed)."""
    resources = {"cpu": spec.resources.cpu or CPU, "memory": spec.resources.memory or MEMORY}
    others: dict[str, Any] = {
        "topologyKey": "kubernetes.io/hostname",
        "namespaceSelector": {},
        "labelSelector": {"matchLabels": {"app.kubernetes.io/component": "database", "app.kubernetes.io/managed-by": "database-groups"}},
    }
    away = (
        {"requiredDuringSchedulingIgnoredDuringExecution": [others]}
        if spec.exclusive_node
        else {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "podAffinityTerm": others}]}
    )
    nodes = args.platform.database_nodes
    scheduling = Scheduling(
        storage=STORAGE,
        requests=resources,
        limits=resources,
        affinity={"podAntiAffinity": away},
        node_selector=nodes.selector or None,
        tolerations=[toleration.model_dump(exclude_none=True) for toleration in nodes.tolerations] or None,
    )
    create_single_server(args, spec, credentials, scheduling, parent)


def _mistakes(args: ServerArgs, spec: DedicatedServer) -> Iterator[tuple[str, str]]:
    """Those of every server of ours, and an engine without one."""
    if args.engine.software is None:
        yield "kind", f"'dedicated' is for servers: {args.engine.name} is a file, and can only be local"
    else:
        yield from single_server_mistakes(args, spec)


DEDICATED = ServerKind[DedicatedServer](access=single_server_access, create=_create, mistakes=_mistakes)
