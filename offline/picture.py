"""The picture of an application for the page: the positions of its boxes and links. Pure functions.

The columns are the application, its Services, the servers in its namespace, and the servers outside the cluster. Each
group has a row of its own. Lengths are in pixels.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from offline.view import ApplicationView, GroupView

__all__ = ["Box", "Picture", "draw_application"]

MARGIN = 16
NAMESPACE_TITLE_HEIGHT = 24
COLUMN_GAP = 52
BOX_HEIGHT = 44
ROW_HEIGHT = 60
BOX_PADDING = 14
MIN_BOX_WIDTH = 120
CHARACTER_WIDTH = 7.3
"""Width of a character of the monospaced font."""
MAX_CHARACTERS = 34
END_CHARACTERS = 10
"""Characters of the end of a longer text, such as a port."""


@dataclass(frozen=True, kw_only=True)
class Box:
    """A box with two lines of text."""

    x: float
    y: float
    width: float
    height: float
    style: str
    """`application`, `service`, or the server kind."""
    title: str
    subtitle: str
    description: str
    """Both texts in full."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """The picture of an application."""

    width: float
    height: float
    namespace_width: float
    boxes: tuple[Box, ...]
    links: tuple[str, ...]
    """Paths of the links (SVG 2, "Path data")."""


@dataclass(frozen=True)
class _Text:
    """The text of a box."""

    title: str
    subtitle: str

    def draw(self, x: float, y: float, width: float, style: str) -> Box:
        """Return the box with this text. `y` is its middle."""
        return Box(
            x=x,
            y=y - BOX_HEIGHT / 2,
            width=width,
            height=BOX_HEIGHT,
            style=style,
            title=_shorten(self.title),
            subtitle=_shorten(self.subtitle),
            description=f"{self.title}: {self.subtitle}",
        )


def draw_application(application: ApplicationView) -> Picture:
    """Return the picture of an application."""
    # Groups on one external server are neighbors, so that their links do not cross.
    groups = sorted(application.groups, key=lambda group: (bool(group.addresses), group.external_server or ""))
    application_text = _Text(application.name, f"{len(application.variables)} variables")
    services = [_describe_service(group) for group in groups]
    servers = [None if group.addresses else _describe_server(group) for group in groups]
    externals = [_describe_external_server(group) if group.addresses else None for group in groups]

    first_row = MARGIN + NAMESPACE_TITLE_HEIGHT + ROW_HEIGHT / 2
    middle = first_row + (len(groups) - 1) * ROW_HEIGHT / 2
    application_width = _measure([application_text])
    service_x = 2 * MARGIN + application_width + COLUMN_GAP
    service_width = _measure(services)
    server_x = service_x + service_width + COLUMN_GAP
    server_width = _measure(servers)
    namespace_right = (server_x + server_width if server_width else server_x - COLUMN_GAP) + MARGIN
    external_x = namespace_right + COLUMN_GAP
    external_width = _measure(externals)

    application_right = 2 * MARGIN + application_width
    boxes = [application_text.draw(2 * MARGIN, middle, application_width, "application")]
    links: list[str] = []
    rows = [first_row + number * ROW_HEIGHT for number in range(len(groups))]
    for group, service, server, y in zip(groups, services, servers, rows, strict=True):
        links.append(_draw_link(application_right, middle, service_x, y))
        if service:
            boxes.append(service.draw(service_x, y, service_width, "service"))
        if server:
            # Without a Service, the application mounts a file: the link continues through the empty place.
            start = service_x + service_width if service else service_x
            links.append(_draw_link(start, y, server_x, y))
            boxes.append(server.draw(server_x, y, server_width, group.kind))
    for external in dict.fromkeys(text for text in externals if text):
        own_rows = [y for text, y in zip(externals, rows, strict=True) if text == external]
        target = sum(own_rows) / len(own_rows)
        boxes.append(external.draw(external_x, target, external_width, "external"))
        for y in own_rows:
            links.append(_draw_link(service_x + service_width, y, namespace_right, y))
            links.append(_draw_link(namespace_right, y, external_x, target))
    return Picture(
        width=(external_x + external_width if external_width else namespace_right) + MARGIN,
        height=rows[-1] + ROW_HEIGHT / 2 + MARGIN,
        namespace_width=namespace_right - MARGIN,
        boxes=tuple(boxes),
        links=tuple(links),
    )


def _describe_service(group: GroupView) -> _Text | None:
    if group.service is None:
        return None
    return _Text(f"{group.service}:{group.port}", group.name + (", DATABASE_URL" if group.has_database_url else ""))


def _describe_server(group: GroupView) -> _Text:
    protect = {True: ", protected", "retain": ", retained", False: ""}[group.protect]
    return _Text(group.server, f"{group.kind}{protect}")


def _describe_external_server(group: GroupView) -> _Text:
    first, *others = group.addresses
    more = f" (+{len(others)})" if others else ""
    return _Text(f"{first}{more}", ", ".join(filter(None, ("external", group.external_server, group.variant))))


def _draw_link(x1: float, y1: float, x2: float, y2: float) -> str:
    """Return the path of a curve that starts and ends horizontally."""
    middle = (x1 + x2) / 2
    return f"M{x1:g} {y1:g}C{middle:g} {y1:g} {middle:g} {y2:g} {x2:g} {y2:g}"


def _measure(texts: Iterable[_Text | None]) -> float:
    """Return the width of a column; 0 for a column without boxes."""
    lengths = [len(_shorten(line)) for text in texts if text for line in (text.title, text.subtitle)]
    return max(MIN_BOX_WIDTH, round(max(lengths) * CHARACTER_WIDTH + 2 * BOX_PADDING)) if lengths else 0


def _shorten(text: str) -> str:
    """Return a text, or the start and the end of a long one."""
    if len(text) <= MAX_CHARACTERS:
        return text
    return f"{text[: MAX_CHARACTERS - END_CHARACTERS - 1]}…{text[-END_CHARACTERS:]}"
