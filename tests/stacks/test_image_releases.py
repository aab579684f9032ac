"""`make images` pins the newest releases that a registry lists. An error changes nothing."""

import http.server
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from components.engines import ENGINES
from components.engines.definition import RELEASES_PATH, Variant, read_releases
from stacks import __main__ as command
from stacks import image_releases
from stacks.image_releases import render_releases

VARIANTS = [variant for engine in ENGINES.values() for variant in engine.variants if variant.image]
MYSQL = "docker.io/library/mysql"
PAGE = 8
"""Tags on a page of the registry."""


def add_to_last_number(release: str, count: int) -> str:
    start, _, last = release.rpartition(".")
    return f"{start}.{int(last) + count}"


NEWEST = {
    image: {series: add_to_last_number(release, 100) for series, release in releases.items()}
    for image, releases in read_releases().items()
}
"""The newest releases of the registry."""


class Registry:
    """A registry on 127.0.0.1 that requests a token and lists its tags in pages."""

    def __init__(self) -> None:
        self.tags: dict[str, list[str]] = {}
        self.answers: dict[str, Callable[[Any], None]] = {}
        """Answers that replace the list of tags, by repository."""
        self.requests: list[str] = []
        registry = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                registry.requests.append(self.path)
                registry.answer(self)

            def log_message(self, *_arguments: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.host = f"127.0.0.1:{self.server.server_port}"

    def answer(self, handler: Any) -> None:
        url = urlsplit(handler.path)
        query = {key: value for key, (value,) in parse_qs(url.query).items()}
        if url.path == "/token":
            assert query["service"] == "registry, of a test"
            send(handler, 200, {"token": query["scope"]})
            return
        repository = url.path.removeprefix("/v2/").removesuffix("/tags/list")
        scope = f"repository:{repository}:pull"
        if handler.headers.get("Authorization") != f"Bearer {scope}":
            challenge = f'Bearer realm="http://{self.host}/token",service="registry, of a test",scope="{scope}"'
            send(handler, 401, {}, {"WWW-Authenticate": challenge})
        elif repository in self.answers:
            self.answers[repository](handler)
        elif repository not in self.tags:
            send(handler, 404, {"errors": [{"code": "NAME_UNKNOWN"}]})
        else:
            first = int(query.get("last", "0"))
            page = self.tags[repository][first : first + PAGE]
            is_last = first + PAGE >= len(self.tags[repository])
            link = {} if is_last else {"Link": f'<{url.path}?last={first + PAGE}&n={query["n"]}>; rel="next"'}
            send(handler, 200, {"name": repository, "tags": page}, link)


def send(handler: Any, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
    content = json.dumps(body).encode()
    handler.send_response(status)
    for name, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(content)


def build_tags(variant: Variant) -> list[str]:
    """Return tags as the registry of an official image has them, in no order."""
    tags = ["latest", "nightly", "2026-11-26", "0.0.1"]
    for series in variant.supported_series:
        newest = NEWEST[variant.image or ""][series]
        others = (f"{newest}-alpine", f"{newest}.1", f"{newest}9-rc1", series, f"{series}9.0", f"v{newest}9")
        tags += [add_to_last_number(newest, -1), newest, f"{newest.rpartition('.')[0]}.99", *others]
    return tags


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    registry = Registry()
    registry.tags = {(variant.image or "").partition("/")[2]: build_tags(variant) for variant in VARIANTS}
    monkeypatch.setattr(image_releases, "API_HOSTS", {"docker.io": registry.host})
    monkeypatch.setattr(image_releases, "TIMEOUT_SECONDS", 0.5)
    monkeypatch.setattr(image_releases, "MAX_PAGES", 5)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    threading.Thread(target=registry.server.serve_forever, daemon=True).start()
    yield registry
    registry.server.shutdown()
    registry.server.server_close()


@pytest.fixture
def path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Return a copy of the file of pinned releases, which the command updates."""
    path = tmp_path / "releases.json"
    path.write_text(RELEASES_PATH.read_text())
    monkeypatch.setattr(command, "RELEASES_PATH", path)
    return path


def test_newest_release_of_each_series_is_pinned(
    registry: Registry, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["images"]) == 0
    assert json.loads(path.read_text()) == NEWEST
    lines = capsys.readouterr().out.splitlines()
    old, new = read_releases()[MYSQL]["8.4"], NEWEST[MYSQL]["8.4"]
    assert f"{MYSQL} 8.4: {old} -> {new}" in lines
    assert len(lines) == sum(map(len, NEWEST.values()))
    assert sum("last=" in request for request in registry.requests) > len(VARIANTS), "each list has several pages"

    assert command.main(["images"]) == 0
    assert capsys.readouterr().out == "All pinned releases are the newest ones.\n"


@pytest.mark.usefixtures("registry")
def test_new_series_of_the_code_is_added(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old = json.loads(path.read_text())
    del old["docker.io/valkey/valkey"], old[MYSQL]["9.7"]
    path.write_text(json.dumps(old))
    assert command.main(["images"]) == 0
    assert json.loads(path.read_text()) == NEWEST
    assert f"{MYSQL} 9.7: none -> {NEWEST[MYSQL]['9.7']}\n" in capsys.readouterr().out


def answer_slowly(handler: Any) -> None:
    time.sleep(1)
    send(handler, 200, {"tags": []})


def answer_endlessly(handler: Any) -> None:
    send(handler, 200, {"tags": ["latest"]}, {"Link": f'<{handler.path}>; rel="next"'})


FAILURES: dict[str, tuple[Callable[[Registry], Any], str]] = {
    "unknown image": (lambda registry: registry.tags.pop("library/mysql"), "does not list the tags: 404 "),
    "no release of a series": (
        lambda registry: registry.tags.update({"library/mysql": ["8.4.99", "9.7.99", "8.0", "latest"]}),
        "has no release of the series 8.0",
    ),
    "no tags": (
        lambda registry: registry.answers.update({"library/mysql": lambda h: send(h, 200, {"tags": None})}),
        "has no release of the series 8.0",
    ),
    "older releases only": (
        lambda registry: registry.tags.update({"library/mysql": ["8.0.99", "8.4.1", "9.7.99"]}),
        f"newest release of 8.4 is 8.4.1, older than the pinned {read_releases()[MYSQL]['8.4']}",
    ),
    "timeout": (lambda registry: registry.answers.update({"library/mysql": answer_slowly}), "timed out"),
    "endless list": (
        lambda registry: registry.answers.update({"library/mysql": answer_endlessly}),
        "more than 5 pages of tags",
    ),
    "limit of requests": (
        lambda registry: registry.answers.update({"library/mysql": lambda h: send(h, 429, {})}),
        "does not list the tags: 429 ",
    ),
    "another answer": (
        lambda registry: registry.answers.update({"library/mysql": lambda h: send(h, 200, ["latest"])}),
        "does not list the tags: ",
    ),
    "token without a realm": (
        lambda registry: registry.answers.update(
            {"library/mysql": lambda h: send(h, 401, {}, {"WWW-Authenticate": 'Bearer service="x"'})}
        ),
        "does not list the tags: ",
    ),
    "refused token": (
        lambda registry: registry.answers.update(
            {"library/mysql": lambda h: send(h, 401, {}, {"WWW-Authenticate": "Basic"})}
        ),
        "does not list the tags: 401 ",
    ),
}


@pytest.mark.parametrize(("prepare", "message"), FAILURES.values(), ids=list(FAILURES))
def test_error_changes_nothing(
    registry: Registry,
    path: Path,
    capsys: pytest.CaptureFixture[str],
    prepare: Callable[[Registry], Any],
    message: str,
) -> None:
    prepare(registry)
    before = path.read_text()
    assert command.main(["images"]) == 1
    assert path.read_text() == before
    output = capsys.readouterr()
    assert output.out == ""
    first, *errors = output.err.splitlines()
    assert first == "error: no release was changed"
    (error,) = errors
    assert error.startswith(f"{MYSQL}: the ")
    assert message in error


@pytest.mark.usefixtures("path")
def test_all_errors_are_reported_at_once(registry: Registry, capsys: pytest.CaptureFixture[str]) -> None:
    registry.server.shutdown()
    registry.server.server_close()
    assert command.main(["images"]) == 1
    errors = capsys.readouterr().err.splitlines()[1:]
    assert [error.partition(": ")[0] for error in errors] == [variant.image for variant in VARIANTS]


def test_file_has_the_order_of_the_code() -> None:
    assert RELEASES_PATH.read_text() == render_releases(read_releases())
    assert {image: list(releases) for image, releases in read_releases().items()} == {
        variant.image: list(variant.supported_series) for variant in VARIANTS
    }
    assert list(read_releases()) == [variant.image for variant in VARIANTS]


def test_registry_of_the_official_images_has_tls() -> None:
    hosts = {(variant.image or "").partition("/")[0] for variant in VARIANTS}
    assert hosts == set(image_releases.API_HOSTS)
    assert not any(host.startswith("127.") for host in image_releases.API_HOSTS.values())
