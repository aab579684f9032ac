"""The server kinds, one module each. `SERVER_KINDS` is the only place that distinguishes them."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any

from pydantic import Field

from components.servers.dedicated import DEDICATED, DedicatedKindSpec
from components.servers.external import EXTERNAL, ExternalKindSpec
from components.servers.kind import ServerKind
from components.servers.local import LOCAL, LocalKindSpec

__all__ = ["SERVER_KINDS", "ServerSpec"]

SERVER_KINDS: Mapping[str, ServerKind[Any]] = MappingProxyType(
    {"local": LOCAL, "dedicated": DEDICATED, "external": EXTERNAL}
)

ServerSpec = Annotated[LocalKindSpec | DedicatedKindSpec | ExternalKindSpec, Field(discriminator="kind")]
