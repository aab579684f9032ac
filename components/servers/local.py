"""The kind `local`: a small server on the application's node, for development."""

from collections.abc import Iterator
from typing import ClassVar, Literal

import pulumi

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

__all__ = ["LOCAL", "LocalKindSpec"]

DEFAULT_CPU_REQUEST = "50m"


class LocalKindSpec(StatefulSetServerSpec):
    """A small server in the application's namespace, on the application's node if possible. For development."""

    default_storage: ClassVar[str] = "1Gi"
    kind: Literal["local"]
    """Server kind."""


def _create_resources(
    args: ServerArgs, spec: LocalKindSpec, credentials: ServerCredentials, parent: pulumi.Resource
) -> None:
    """Create a small server. It limits memory only: a server that waits for a CPU is slow, but harms no other Pod."""
    build_runtime = args.engine.build_runtime
    runtime = build_runtime(args.variant, spec.version or args.variant.default_version) if build_runtime else None
    memory = spec.resources.memory or (runtime.min_memory if runtime else "")
    near_application = {
        "topologyKey": "kubernetes.io/hostname",
        "labelSelector": {"matchLabels": args.pod_labels},
    }
    preferences = [{"weight": 100, "podAffinityTerm": near_application}]
    placement = PodPlacement(
        requests={"cpu": spec.resources.cpu or DEFAULT_CPU_REQUEST, "memory": memory},
        limits={"memory": memory},
        affinity={"podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": preferences}},
    )
    create_stateful_set_server(args, spec, credentials, placement, parent)


def _list_objects(args: ServerArgs, spec: LocalKindSpec) -> Iterator[PlannedObject]:
    return list_stateful_set_objects(args, spec)


def _validate(args: ServerArgs, spec: LocalKindSpec) -> Iterator[tuple[str, str]]:
    """Return the errors of a server in the cluster, and an error for an engine without a server in production."""
    if args.engine.build_runtime is None and args.platform.production:
        yield "", f"{args.engine.name} is for development only; use an engine with a server in production"
    yield from validate_stateful_set_server(args, spec)


LOCAL = ServerKind[LocalKindSpec](
    resolve_access=resolve_stateful_set_access,
    prepare_secret=create_password_hooks,
    create_resources=_create_resources,
    list_objects=_list_objects,
    validate=_validate,
    build_scratch_server=build_scratch_server,
    production_warning="`local` servers are for development; use dedicated or external in production",
)
