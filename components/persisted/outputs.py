"""The outputs of the components, which the next update reads from the state. They hold names, never a credential.

They are persisted: a key that is renamed here turns the change guard off for states that an earlier release wrote.
"""

from collections.abc import Mapping, Sequence
from typing import NotRequired, TypedDict

from components.protection import Protect

__all__ = [
    "ApplicationOutputs",
    "ApplicationState",
    "CopyState",
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
    """A database of a group, and whether Pulumi's state has it and its user. A refresh removes what is missing."""

    isRecorded: bool
    """Whether the state has a `DatabaseRecord`. An interrupted `destroy` has deleted it first."""
    isDatabaseInState: bool
    isUserInState: bool


class CopyState(TypedDict):
    """The copy that filled a group."""

    source: str
    """Group that was copied, as `<application>.<engine>.<group>`."""
    run: int


class GroupSummary(TypedDict):
    """A group in the stack output `applications`."""

    kind: str
    """Server kind: `local`, `dedicated` or `external`."""
    variant: str
    version: str | None
    """Release of a server in the cluster, or its release series if the release is not known."""
    series: str | None
    """Release series of that version."""
    externalServer: str | None
    """Entry of `externalServers` on which the program created the database."""
    database: str | None
    """Database that the program created."""
    username: str | None
    """User that the program created."""
    service: str | None
    secret: str
    """Name of the connection Secret, the server and the volume claim. It identifies the group: it never changes."""
    storage: str | None
    """Size of the volume."""
    storageClass: str | None
    initScript: str | None
    """Digest of the script that ran when the volume was empty."""
    protect: Protect
    passwordVersion: int | None
    """In the previous state: the version that the connection Secret holds, or None without a Secret."""
    copy: CopyState | None
    """The copy that fills the group."""
    replicas: int | None
    """Number of servers that an operator runs. None for one server."""


class GroupState(GroupSummary):
    """A group in the previous state."""

    recorded: NotRequired[RecordedDatabase]
    """The database that the program created on an external server."""
    hasStarted: NotRequired[bool]
    """Whether the server in the cluster was ready at the last update or refresh."""


class GroupOutputs(GroupSummary):
    """Outputs of a `DatabaseGroup`: its summary and what identifies it."""

    application: str
    engine: str
    group: str


class ApplicationOutputs(TypedDict):
    """Outputs of an `Application`."""

    name: str
    namespace: str
    createNamespace: bool
    """Whether the program created the namespace."""
    secret: str
    """Name of the environment Secret."""
    variables: Sequence[str]
    """Names of the environment variables."""
    databaseUrl: str | None
    """Group that `DATABASE_URL` points to, as `<engine>.<group>`."""
    protect: Protect
    workloads: Mapping[str, bool]
    """Workloads by `<kind>/<name>`, and whether the program injects the variables into them."""


class ApplicationState(ApplicationOutputs):
    """An application with its groups: the stack output `applications`, and the previous state of the change guard."""

    databases: Mapping[str, Mapping[str, GroupSummary]]
    """Groups by engine and name."""
