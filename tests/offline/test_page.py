"""The page shows each part of a stack, loads nothing, escapes every value and is legible in both color schemes."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import pytest

import offline.page
from offline.page import MAX_OPEN_APPLICATIONS, render_page
from offline.picture import MAX_CHARACTERS, Box, draw_application
from offline.view import ConnectionEntry, ExternalServerView, ObjectView, StackView
from tests.offline.stacks import STACK
from tests.support import CANARY, view_stack

HOSTILE = "</script></style><script>alert(1)</script><img src=x onerror=alert(1)>\"'&"
VOID_ELEMENTS = {"meta", "input", "rect", "path"}
MIN_CONTRAST = 4.5
"""Minimum contrast of text (WCAG 2.2, success criterion 1.4.3)."""


class Document(HTMLParser):
    """A parsed page: its elements with their attributes and their own text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        """The innermost element and the text, in the order of the page."""
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert self._open == [], "an element is not closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID_ELEMENTS:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.append((self._open[-1] if self._open else "", data.strip()))

    def find(self, tag: str) -> list[dict[str, str | None]]:
        """Return the attributes of each element with a name."""
        return [attributes for name, attributes in self.elements if name == tag]

    def read(self, tag: str) -> list[str]:
        """Return the texts of the elements with a name."""
        return [text for name, text in self.texts if name == tag]


@pytest.fixture(scope="module")
def view() -> StackView:
    return view_stack(STACK)


@pytest.fixture(scope="module")
def document(view: StackView) -> Document:
    return Document(render_page(view))


def multiply(view: StackView, count: int) -> StackView:
    """Return a stack with an application many times."""
    application = view.applications[0]
    return replace(
        view, applications=tuple(replace(application, name=f"application-{number}") for number in range(count))
    )


def test_page_shows_each_application_group_service_variable_and_object(view: StackView, document: Document) -> None:
    code, cells = document.read("code"), document.read("td")
    assert document.read("h3") == [application.name for application in view.applications]
    for application in view.applications:
        assert application.secret in code
        assert set(application.variables) <= set(code)
        assert {shown.name for shown in application.objects} <= set(code)
        assert {shown.kind for shown in application.objects} <= set(cells)
        assert set(application.workloads) <= set(code)
        for group in application.groups:
            assert group.name in document.read("th")
            assert group.server in cells
            assert group.service is None or f"{group.service}:{group.port}" in code
            assert {*group.addresses, *(entry.value for entry in group.connection)} <= set(code)
    for server in view.external_servers:
        assert {server.tls, ", ".join(server.groups)} <= set(cells)


def test_page_shows_the_warnings_of_the_stack_and_of_its_applications(view: StackView) -> None:
    first, *others = view.applications
    warned = replace(
        view, warnings=("a: general", "b: own"), applications=(replace(first, warnings=("b: own",)), *others)
    )
    document = Document(render_page(warned))
    assert "2 warnings" in document.read("h2")
    assert [text for text in document.read("li") if text in warned.warnings] == ["a: general", "b: own"]
    assert f"{first.name} (1)" in document.read("a")
    assert "warnings" not in render_page(view).partition("<body>")[2].partition("<main>")[0]


def test_page_loads_nothing(view: StackView, document: Document) -> None:
    page = render_page(view)
    assert re.findall(r"https?://|//[a-z]+\.|@import|url\(", page) == []
    attributes = [attributes for _, attributes in document.elements]
    assert [found for found in attributes if {"src", "srcset", "action", "data"} & set(found)] == []
    links = [attributes["href"] or "" for attributes in attributes if "href" in attributes]
    anchors = {f"#{attributes['id']}" for attributes in attributes if "id" in attributes}
    files = {f"{application.name}.yaml" for application in view.applications}
    assert set(links) <= anchors | files
    assert document.find("link") == []


def test_policy_allows_only_the_page_s_own_script(document: Document) -> None:
    (policy,) = [attributes["content"] or "" for attributes in document.find("meta") if "http-equiv" in attributes]
    assert policy.startswith("default-src 'none'; ")
    assert len(document.find("script")) == len(re.findall(r"script-src 'sha256-[\w+/=]{44}';", policy)) == 1
    assert [key for _, attributes in document.elements for key in attributes if key.startswith("on")] == []


def test_hostile_values_stay_text(view: StackView) -> None:
    """A stack file cannot contain most of these names; the template does not depend on that."""
    application = view.applications[0]
    group = replace(
        application.groups[0],
        name=HOSTILE,
        variant=HOSTILE,
        version=HOSTILE,
        kind=HOSTILE,
        service=HOSTILE,
        secret=HOSTILE,
        addresses=(HOSTILE,),
        external_server=HOSTILE,
        tls=HOSTILE,
        connection=(ConnectionEntry(key=HOSTILE, value=HOSTILE, variables=(HOSTILE,)),),
    )
    hostile = replace(
        application,
        name=HOSTILE,
        namespace=HOSTILE,
        secret=HOSTILE,
        pod_labels={HOSTILE: HOSTILE},
        groups=(group,),
        workloads={HOSTILE: (HOSTILE,)},
        objects=(ObjectView(api=HOSTILE, kind=HOSTILE, name=HOSTILE, protect=True),),
        warnings=(HOSTILE,),
    )
    server = ExternalServerView(name=HOSTILE, engine=HOSTILE, addresses=(HOSTILE,), tls=HOSTILE, groups=(HOSTILE,))
    hostile_view = StackView(
        name=HOSTILE,
        environment=HOSTILE,
        applications=(hostile, hostile),
        external_servers=(server,),
        warnings=(HOSTILE,),
    )
    document = Document(render_page(hostile_view))
    assert [tag for tag, _ in document.elements if tag in ("script", "style", "img")] == ["style", "script"]
    assert [key for _, attributes in document.elements for key in attributes if key.startswith("on")] == []
    assert document.read("h3") == [HOSTILE, HOSTILE]


def test_page_contains_no_credential(view: StackView) -> None:
    assert CANARY not in render_page(view)
    assert "hidden" in render_page(view)


@pytest.mark.parametrize(("count", "is_open"), [(MAX_OPEN_APPLICATIONS, True), (MAX_OPEN_APPLICATIONS + 1, False)])
def test_applications_of_a_large_stack_are_collapsed(view: StackView, count: int, is_open: bool) -> None:
    cards = [card for card in Document(render_page(multiply(view, count))).find("details") if card["class"] == "card"]
    assert [("open" in card) for card in cards] == [is_open] * count


def test_overview_is_shown_for_several_applications(view: StackView) -> None:
    assert "Overview" in Document(render_page(view)).read("h2")
    assert "Overview" not in Document(render_page(multiply(view, 1))).read("h2")


def test_page_is_accessible(document: Document) -> None:
    assert document.find("html") == [{"lang": "en"}]
    levels = [int(tag[1]) for tag, _ in document.elements if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1
    assert [pair for pair in pairwise(levels) if pair[1] > pair[0] + 1] == []
    assert {attributes.get("scope") for attributes in document.find("th")} == {"col", "row"}
    assert len(document.find("thead")) == len(document.find("table"))
    ids = [attributes["id"] for _, attributes in document.elements if "id" in attributes]
    assert len(set(ids)) == len(ids)
    for picture in document.find("svg"):
        assert picture["role"] == "img"
        assert set((picture["aria-labelledby"] or "").split()) <= set(ids)
    assert len(document.find("desc")) == len(document.find("svg")) == 2
    assert all("aria-label" in attributes for attributes in document.find("input"))


# Picture


def test_picture_has_a_box_for_each_part(view: StackView) -> None:
    blog, shop = view.applications
    titles = {(box.style, box.title) for box in draw_application(blog).boxes}
    assert titles == {
        ("application", "blog"),
        ("service", "postgresql:6432"),
        ("service", "redis:6379"),
        ("local", "redis 8.2.1"),
        ("local", "sqlite"),
        ("external", "postgresql.example.org:6432"),
    }
    assert ("external", "[fd00::1]:3307 (+1)") in {(box.style, box.title) for box in draw_application(shop).boxes}


def test_groups_on_one_server_share_its_box(view: StackView) -> None:
    shop = view.applications[1]
    external = replace(shop.groups[2], name="postgresql.other", service="postgresql-other")
    boxes = draw_application(replace(shop, groups=(*shop.groups, external))).boxes
    assert len([box for box in boxes if box.style == "external"]) == 2


def overlap(first: Box, second: Box) -> bool:
    return (
        first.x < second.x + second.width
        and second.x < first.x + first.width
        and first.y < second.y + second.height
        and second.y < first.y + first.height
    )


def test_boxes_do_not_overlap_and_are_inside_the_picture(view: StackView) -> None:
    for application in view.applications:
        picture = draw_application(application)
        assert not any(overlap(first, second) for first, second in combinations(picture.boxes, 2))
        for box in picture.boxes:
            assert 0 < box.x < box.x + box.width < picture.width
            assert 0 < box.y < box.y + box.height < picture.height


def test_long_text_is_shortened_and_complete_in_the_description(view: StackView) -> None:
    application = replace(view.applications[0], name="a" * 63)
    box = draw_application(application).boxes[0]
    assert len(box.title) == MAX_CHARACTERS
    assert application.name in box.description


# Colors


def read_colors() -> list[dict[str, str]]:
    """Return the colors of the light and of the dark scheme."""
    style = (Path(offline.page.__file__).parent / "page.css").read_text()
    schemes = re.findall(r":root \{(.*?)\}", style, re.DOTALL)
    return [dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", scheme)) for scheme in schemes]


def measure_contrast(first: str, second: str) -> float:
    """Return the contrast ratio of two colors (WCAG 2.2, "contrast ratio")."""

    def luminance(color: str) -> float:
        channels = (int(color[start : start + 2], 16) / 255 for start in (1, 3, 5))
        linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    dark, light = sorted((luminance(first), luminance(second)))
    return (light + 0.05) / (dark + 0.05)


def test_measure_contrast_of_black_and_white() -> None:
    assert measure_contrast("#000000", "#ffffff") == pytest.approx(21)


@pytest.mark.parametrize("colors", read_colors(), ids=["light", "dark"])
def test_text_has_enough_contrast(colors: dict[str, Any]) -> None:
    texts = ("text", "muted", "accent", "local", "dedicated", "external", "application", "service")
    pairs = [(text, ground) for text in texts for ground in ("background", "surface", "raised")]
    for text, ground in [*pairs, ("warning", "warning-background")]:
        assert measure_contrast(colors[text], colors[ground]) >= MIN_CONTRAST, (text, ground)
