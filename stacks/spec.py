"""The model of a stack file's configuration: the top-level keys of the program."""

from typing import Literal

from pydantic import Field

from components.application import ApplicationSpec
from components.copies.backup_spec import BackupSpec
from components.copies.spec import Snapshot
from components.copies.stores import StoreSpec
from components.external_servers import ExternalServerSpec
from components.platform import NodePoolSpec
from components.spec import DnsLabel, SpecModel, StrictBool

__all__ = ["PROJECT", "StackSpec"]

PROJECT = "database-groups"
"""Name of the project, which is the namespace of its configuration keys."""


class StackSpec(SpecModel):
    """The keys of a stack file that belong to the program."""

    environment: Literal["development", "production"] = "development"
    """Environment of the stack. In `production` the data is protected and every group requires `server`.
    Default: `development`."""
    database_nodes: NodePoolSpec = Field(default_factory=NodePoolSpec)
    """Nodes of dedicated servers. Default: any node."""
    preflight: StrictBool = True
    """Whether the program checks the cluster, all external servers and the backup stores before an update, from the
    machine that runs Pulumi. Default: `true`."""
    external_servers: dict[DnsLabel, ExternalServerSpec] = Field(default_factory=dict)
    """External servers on which the program creates databases, by name. Default: none."""
    backup_stores: dict[DnsLabel, StoreSpec] = Field(default_factory=dict)
    """Stores of backups, by name. Default: none."""
    backup: BackupSpec | None = None
    """Backups of all groups whose engine supports them, unless a group has its own `backup`. Default: none."""
    restore_all: Snapshot | None = None
    """Backup that fills every group with backups once: `latest`, or a time in UTC. A group that holds data fails the
    update. Default: none."""
    applications: dict[DnsLabel, ApplicationSpec]
    """Applications with their database groups, by name. `{}` removes the last one."""
