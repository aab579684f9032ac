"""The server kinds, one module each. `SERVER_KINDS` is the only place that distinguishes them."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any

from pydantic import Field

from components.servers.cluster import CLUSTER
from components.servers.dedicated import DEDICATED, DedicatedKindSpec
from components.servers.external import EXTERNAL, ExternalKindSpec
from components.servers.kind import ServerKind
from components.servers.local import LOCAL, LocalKindSpec

__all__ = ["SERVER_KINDS", "ServerSpec", "find_server_kind"]

SERVER_KINDS: Mapping[str, ServerKind[Any]] = MappingProxyType(
    {"local": LOCAL, "dedicated": DEDICATED, "external": EXTERNAL}
)

ServerSpec = Annotated[LocalKindSpec | DedicatedKindSpec | ExternalKindSpec, Field(discriminator="kind")]


def find_server_kind(spec: ServerSpec) -> ServerKind[Any]:
    """Return the functions of a server's kind. A dedicated server with replicas is a cluster."""
    is_cluster = isinstance(spec, DedicatedKindSpec) and spec.replicas > 1
    return CLUSTER if is_cluster else SERVER_KINDS[spec.kind]
