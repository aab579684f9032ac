"""The kind `local`: a small server beside the application's web server, for development."""

from collections.abc import Iterator
from typing import Literal

import pulumi
from pydantic import Field

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
from components.spec import Labels

__all__ = ["LOCAL", "LocalKindSpec"]

DEFAULT_CPU_REQUEST = "50m"
DEFAULT_STORAGE = "1Gi"


class LocalKindSpec(StatefulSetServerSpec):
    """A server in the application's namespace, on the node of its web server where possible."""

    kind: Literal["local"]
    near: Labels = Field(default_factory=dict)
    """Labels of the Pods to be near; those of the application's Pods by default."""


def _create_resources(
    args: ServerArgs, spec: LocalKindSpec, credentials: ServerCredentials, parent: pulumi.Resource
) -> None:
    """Runs a small server. A limit on memory alone: a server that waits for a processor is slow, one without memory takes the node's."""
    software = (
        args.engine.build_runtime(args.variant, spec.version or args.variant.default_version)
        if args.engine.build_runtime
        else None
    )
    memory = spec.resources.memory or (software.min_memory if software else "")
    near = spec.near or args.pod_labels
    scheduling = PodPlacement(
        storage=DEFAULT_STORAGE,
        requests={"cpu": spec.resources.cpu or DEFAULT_CPU_REQUEST, "memory": memory},
        limits={"memory": memory},
        affinity={
            "podAffinity": {
                "preferredDuringSchedulingIgnoredDuringExecution": [
                    {
                        "weight": 100,
                        "podAffinityTerm": {
                            "topologyKey": "kubernetes.io/hostname",
                            "labelSelector": {"matchLabels": near},
                        },
                    }
                ]
            }
        },
    )
    create_stateful_set_server(args, spec, credentials, scheduling, parent)


def _validate(args: ServerArgs, spec: LocalKindSpec) -> Iterator[tuple[str, str]]:
    """Those of every server of ours, and a file in production."""
    if args.engine.build_runtime is None and args.platform.production:
        yield (
            "",
            f"is a file beside one Pod: {args.engine.name} is for development only; in production use an engine with a server",
        )
    yield from validate_stateful_set_server(args, spec)


LOCAL = ServerKind[LocalKindSpec](
    resolve_access=resolve_stateful_set_access,
    create_resources=_create_resources,
    validate=_validate,
    production_warning="a local server shares the node of its web server and is for development; in production use dedicated or external",
)
