"""The check that is common to all engines on which the program provisions databases."""

from collections.abc import Collection

from preflight.models import Finding
from preflight.probe_context import ProbeContext

__all__ = ["check_existing_objects"]

FIX = (
    "The program never changes existing databases or users. Set another `database` and `username`, use the existing "
    "database with `host` instead of `provisionOn`, or drop it if it is unused."
)


def check_existing_objects(
    context: ProbeContext, databases: Collection[str], users: Collection[tuple[str, str]]
) -> None:
    """Add a finding for each planned database whose database or user already exists.

    `users` has the name of each user on the server and its description for the message.
    """
    for planned in context.endpoint.planned_databases:
        existing = [f"database {planned.database}"] if planned.database in databases else []
        existing += [description for name, description in users if name == planned.username]
        if existing:
            verb = "exists" if len(existing) == 1 else "exist"
            result = f"{' and '.join(existing)} already {verb} on the server"
            context.add_finding(Finding(result, FIX, path=planned.path))
