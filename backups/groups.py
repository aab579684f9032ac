"""The groups of a stack, as the commands name them. Pure functions."""

from collections.abc import Collection
from dataclasses import dataclass

import pulumi

from components.persisted.names import backup_name, verification_name
from stacks.previous_state import PreviousState

__all__ = ["DeployedGroup", "find_group", "list_groups"]


@dataclass(frozen=True, kw_only=True)
class DeployedGroup:
    """A group in the state of a stack."""

    application: str
    engine: str
    name: str
    namespace: str
    object_name: str
    """Name of the connection Secret."""

    @property
    def path(self) -> str:
        """The group in messages and arguments: `shop.postgresql.main`."""
        return f"{self.application}.{self.engine}.{self.name}"

    @property
    def backup_name(self) -> str:
        """Name of the CronJob that saves the group."""
        return backup_name(self.object_name)

    @property
    def verification_name(self) -> str:
        """Name of the CronJob that verifies the backups of the group."""
        return verification_name(self.object_name)


def list_groups(state: PreviousState) -> list[DeployedGroup]:
    """Return the groups of a stack, in the order of their names."""
    return [
        DeployedGroup(
            application=name,
            engine=engine,
            name=group,
            namespace=application["namespace"],
            object_name=summary["secret"],
        )
        for name, application in sorted(state.items())
        for engine, groups in sorted(application["databases"].items())
        for group, summary in sorted(groups.items())
    ]


def find_group(groups: Collection[DeployedGroup], path: str, variable: str) -> DeployedGroup:
    """Return the group that a variable of the command names. Raises pulumi.RunError."""
    found = next((group for group in groups if group.path == path), None)
    if found is None:
        choices = ", ".join(group.path for group in groups)
        problem = f"the stack has no group {path!r}" if path else f"{variable} is missing"
        raise pulumi.RunError(f"{problem}; set {variable} to one of: {choices}")
    return found
