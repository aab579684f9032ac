"""The outputs of the components, which the next update reads from the state. They hold names, never a credential.

They are persisted: a key that is renamed here turns the change guard off for states that an earlier release wrote.
"""

from collections.abc import Mapping
from typing import TypedDict

from components.protection import Protect

__all__ = ["ApplicationOutputs", "ApplicationState", "GroupOutputs", "GroupSummary"]


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
    passwordVersion: int | None
    """In the previous state: the version that the connection Secret holds, or None without a Secret."""


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
