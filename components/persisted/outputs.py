"""The outputs of the components, which the next update reads from the state. They hold names, never a credential.

They are persisted: a key that is renamed here turns the change guard off for states that an earlier release wrote.
"""

from collections.abc import Mapping
from typing import NotRequired, TypedDict

from components.protection import Protect

__all__ = [
    "ApplicationOutputs",
    "ApplicationState",
    "DatabaseRecordOutputs",
    "GroupOutputs",
    "GroupState",
    "GroupSummary",
    "RecordedDatabase",
]


class DatabaseRecordOutputs(TypedDict):
    """Outputs of a `DatabaseRecord`: what the program created on an external server."""

    externalServer: str
    database: str
    username: str
    """Owner of the database."""


class RecordedDatabase(DatabaseRecordOutputs):
    """A record, and whether Pulumi's state has the database and the user. A refresh removes what is missing."""

    isDatabaseInState: bool
    isUserInState: bool


class GroupSummary(TypedDict):
    """A group in the stack output `applications`."""

    kind: str
    """Server kind: `local`, `dedicated` or `external`."""
    variant: str
    version: str | None
    """Version of a server in the cluster: a release series or a release."""
    series: str | None
    """Release series of that version."""
    externalServer: str | None
    """Entry of `externalServers` on which the program created the database."""
    service: str | None
    secret: str
    protect: Protect


class GroupState(GroupSummary):
    """A group in the previous state."""

    recorded: NotRequired[RecordedDatabase]
    """The database that the program created on an external server."""


class GroupOutputs(GroupSummary):
    """Outputs of a `DatabaseGroup`: its summary and what identifies it."""

    application: str
    engine: str
    group: str


class ApplicationOutputs(TypedDict):
    """Outputs of an `Application`."""

    name: str
    namespace: str
    secret: str
    """Name of the environment Secret."""
    protect: Protect
    workloads: Mapping[str, bool]
    """Workloads by `<kind>/<name>`, and whether the program injects the variables into them."""


class ApplicationState(ApplicationOutputs):
    """An application with its groups: the stack output `applications`, and the previous state of the change guard."""

    databases: Mapping[str, Mapping[str, GroupSummary]]
    """Groups by engine and name."""
