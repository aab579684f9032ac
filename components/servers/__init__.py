"""The server kinds, and the one place that tells them apart."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any

from pydantic import Field

from components.servers.dedicated import DEDICATED, DedicatedServer
from components.servers.external import EXTERNAL, ExternalServer
from components.servers.local import LOCAL, LocalServer
from components.servers.server import ServerKind

__all__ = ["KINDS", "ServerSpec"]

KINDS: Mapping[str, ServerKind[Any]] = MappingProxyType({"local": LOCAL, "dedicated": DEDICATED, "external": EXTERNAL})

ServerSpec = Annotated[LocalServer | DedicatedServer | ExternalServer, Field(discriminator="kind")]
