"""The changes that the rules of the guard compare: an application or a group before and after the edit."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from components.application import ApplicationArgs
from components.database_group import DatabaseGroupArgs
from components.persisted.outputs import ApplicationState, GroupSummary
from components.protection import is_protected, is_retained
from stacks.errors import Location
from stacks.previous_state import PreviousState

__all__ = [
    "MIGRATION_HINT",
    "UNPROTECT_HINT",
    "ApplicationChange",
    "GroupChange",
    "find_group_by_service",
    "list_application_changes",
]

UNPROTECT_HINT = "first set `protect: false` (deletes the data) or `protect: retain` (keeps it), and run `make up`"
MIGRATION_HINT = "add a new group and migrate the data (docs/upgrading.md)"


@dataclass(frozen=True, kw_only=True)
class ApplicationChange:
    """An application that the last update deployed."""

    name: str
    old: ApplicationState
    new: ApplicationArgs | None
    """The application in the stack file. None: it was removed."""
    previous: PreviousState
    applications: Mapping[str, ApplicationArgs]
    """All applications of the stack file."""

    @property
    def location(self) -> Location:
        """Location of the application in the stack file."""
        return ("applications", self.name)

    @property
    def is_protected(self) -> bool:
        """Whether the application was protected."""
        return is_protected(self.old["protect"])

    @property
    def retains_namespace(self) -> bool:
        """Whether the last update configured the namespace to outlive the application."""
        return any(
            is_retained(application["protect"])
            or any(is_retained(group["protect"]) for _, _, group in _list(application))
            for application in self.previous.values()
            if application["namespace"] == self.old["namespace"]
        )

    @cached_property
    def groups(self) -> tuple["GroupChange", ...]:
        """The groups that the last update deployed; none for a removed application."""
        if self.new is None:
            return ()
        by_object_name = {group.object_name: group for group in self.new.database_groups}
        return tuple(
            GroupChange(application=self, engine=engine, name=name, old=group, new=by_object_name.get(group["secret"]))
            for engine, name, group in _list(self.old)
        )


@dataclass(frozen=True, kw_only=True)
class GroupChange:
    """A group that the last update deployed, in an application that still exists."""

    application: ApplicationChange
    engine: str
    name: str
    """Name of the group at the last update."""
    old: GroupSummary
    new: DatabaseGroupArgs | None
    """The group with the same server and data in the stack file. None: it was removed."""

    @property
    def path(self) -> str:
        """The group in messages, by its old name: `mysql.main`."""
        return f"{self.engine}.{self.name}"

    @property
    def original_name(self) -> str:
        """Name under which the group was created."""
        return self.old["secret"].removeprefix(f"{self.engine}-")

    @property
    def namesake(self) -> DatabaseGroupArgs | None:
        """The group that has the old name, but another server and other data."""
        groups = self.application.new.database_groups if self.application.new and self.new is None else ()
        return next((group for group in groups if group.path == self.path), None)

    @property
    def location(self) -> Location:
        """Location of the group in the stack file; the old one, if it was removed."""
        old_location = (*self.application.location, "databases", self.engine, self.name)
        return self.new.config_location if self.new else old_location

    @property
    def is_protected(self) -> bool:
        """Whether the group was protected."""
        return is_protected(self.old["protect"])

    @property
    def has_data(self) -> bool:
        """Whether the program created the place of the data."""
        return bool(self.old.get("database") or self.old.get("storage"))

    @property
    def is_moved(self) -> bool:
        """Whether the data would be on another server or on another volume."""
        if self.new is None:
            return False
        new = self.new.output_summary
        is_external = self.old["kind"] == "external" or new["kind"] == "external"
        return (self.old["kind"] != new["kind"] and is_external) or self.old.get("externalServer") != new[
            "externalServer"
        ]


def list_application_changes(
    previous: PreviousState, applications: Mapping[str, ApplicationArgs]
) -> Iterator[ApplicationChange]:
    """Yield a change for each application that the last update deployed."""
    for name, old in previous.items():
        yield ApplicationChange(
            name=name, old=old, new=applications.get(name), previous=previous, applications=applications
        )


def find_group_by_service(change: ApplicationChange, service: str) -> GroupChange | None:
    """Return the group to which a Service pointed after the last update."""
    return next((group for group in change.groups if group.old.get("service") == service), None)


def _list(application: ApplicationState) -> Iterator[tuple[str, str, GroupSummary]]:
    """Yield the engine, the name and the outputs of each group."""
    for engine, groups in application["databases"].items():
        for name, group in groups.items():
            yield engine, name, group
