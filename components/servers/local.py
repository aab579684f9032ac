"""The kind `local`: a small server beside the application's web server, for development."""

from collections.abc import Iterator
from typing import Literal

import pulumi
from pydantic import Field

from components.arguments import Labels
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

__all__ = ["LOCAL", "LocalServer"]

CPU_REQUEST = "50m"
STORAGE = "1Gi"


class LocalServer(SingleServerSpec):
    """A server in the application's namespace, on the node of its web server where possible."""

    kind: Literal["local"]
    near: Labels = Field(default_factory=dict)
    """Labels of the Pods to be near; those of the application's Pods by default."""


def _create(args: ServerArgs, spec: LocalServer, credentials: Credentials, parent: pulumi.Resource) -> None:
    """Runs a small server. A limit on memory alone: a server that waits for a processor is slow, one without memory takes the node's."""
    software = args.engine.software(args.flavour, spec.version or args.flavour.version) if args.engine.software else None
    memory = spec.resources.memory or (software.memory if software else "")
    near = spec.near or args.pods
    scheduling = Scheduling(
        storage=STORAGE,
        requests={"cpu": spec.resources.cpu or CPU_REQUEST, "memory": memory},
        limits={"memory": memory},
        affinity={
            "podAffinity": {
                "preferredDuringSchedulingIgnoredDuringExecution": [
                    {"weight": 100, "podAffinityTerm": {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": near}}}
                ]
            }
        },
    )
    create_single_server(args, spec, credentials, scheduling, parent)


def _mistakes(args: ServerArgs, spec: LocalServer) -> Iterator[tuple[str, str]]:
    """Those of every server of ours, and a file in production."""
    if args.engine.software is None and args.platform.production:
        yield "", f"is a file beside one Pod: {args.engine.name} is for development only; in production use an engine with a server"
    yield from single_server_mistakes(args, spec)


LOCAL = ServerKind[LocalServer](
    access=single_server_access,
    create=_create,
    mistakes=_mistakes,
    production_warning="a local server shares the node of its web server and is for development; in production use dedicated or external",
)
