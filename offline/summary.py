"""The summary that `make render` prints. Pure functions."""

from collections.abc import Iterator, Sequence

from components.protection import Protect
from offline.view import ApplicationView, GroupView, StackView

__all__ = ["MAX_GROUPS_IN_DETAIL", "format_count", "render_summary"]

MAX_GROUPS_IN_DETAIL = 30
"""A larger stack has one line per group unless the user asks for the details."""
GROUP_HEADER = ("GROUP", "VARIANT", "VERSION", "KIND", "SERVICE", "SECRET", "PROTECT", "ADDRESS", "TLS")
SERVER_HEADER = ("NAME", "ENGINE", "ADDRESS", "TLS", "GROUPS")
NOTHING = "-"


def render_summary(view: StackView, *, short: bool | None = None) -> str:
    """Return the environment, the applications and their groups as text.

    `short` selects one line per group, without environment variables and workloads. None: for a stack with more than
    MAX_GROUPS_IN_DETAIL groups.
    """
    is_short = len(view.groups) > MAX_GROUPS_IN_DETAIL if short is None else short
    counts = (
        f"{format_count(len(view.applications), 'application')}, {format_count(len(view.groups), 'database group')}"
    )
    lines = [f"stack {view.name}: environment {view.environment}, {counts}", ""]
    if view.external_servers:
        rows = [
            (server.name, server.engine, _join(server.addresses), server.tls, str(len(server.groups)))
            for server in view.external_servers
        ]
        lines += ["External servers on which the program creates databases:", ""]
        lines += [*_format_table([SERVER_HEADER, *rows]), ""]
    if is_short:
        lines += _render_short_table(view)
    else:
        lines += [line for application in view.applications for line in _render_application(application)]
    return "\n".join(lines)


def format_count(number: int, noun: str) -> str:
    """Return a number with its noun: `1 group`, `2 groups`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _render_short_table(view: StackView) -> Iterator[str]:
    """Yield one line per group. `*` marks the group that `DATABASE_URL` points to."""
    rows = [
        (application.name, application.namespace, f"{name}{'*' if group.has_database_url else ''}", *row)
        for application in view.applications
        for group in application.groups
        for name, *row in [_build_row(group)]
    ]
    yield from _format_table([("APPLICATION", "NAMESPACE", *GROUP_HEADER), *rows])
    yield from ("", "* DATABASE_URL points to this group.", "")


def _render_application(application: ApplicationView) -> Iterator[str]:
    protect = f", protect {_format_protect(application.protect)}"
    existing = "" if application.creates_namespace else " (existing)"
    yield from (f"{application.name}: namespace {application.namespace}{existing}{protect}", "")
    yield from _format_table([GROUP_HEADER, *map(_build_row, application.groups)])
    yield from ("", f"  Environment variables in Secret {application.secret}:")
    for variable in application.variables:
        points_to = f" (points to {application.database_url})" if variable == "DATABASE_URL" else ""
        yield f"    {variable}{points_to}"
    yield ""
    if application.workloads:
        yield "  Workloads that receive the variables:"
        for workload, containers in application.workloads.items():
            yield f"    {workload}: {_join(containers or ('all containers (read from the cluster)',))}"
        yield ""


def _build_row(group: GroupView) -> tuple[str, ...]:
    """Return the cells of a group's line."""
    return (
        group.name,
        group.variant,
        group.version or NOTHING,
        group.kind,
        group.service or NOTHING,
        group.secret,
        _format_protect(group.protect),
        _join(group.addresses) or NOTHING,
        group.tls or ("not set" if group.addresses else NOTHING),
    )


def _format_protect(protect: Protect) -> str:
    """Return a value of `protect` as the stack file writes it."""
    return str(protect).lower()


def _join(names: Sequence[str]) -> str:
    return ", ".join(names)


def _format_table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a table, without the columns that are empty in every row."""
    columns = [column for column in zip(*rows, strict=True) if set(column[1:]) != {NOTHING}]
    widths = [max(map(len, column)) for column in columns]
    for row in zip(*columns, strict=True):
        yield "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
