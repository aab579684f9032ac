"""The pages agree with the program: the tables of each engine, the names of resources, the examples, and the links."""

import os
import re
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.connection import Connection
from components.engines import ENGINES
from components.engines.definition import ServerRuntime
from components.persisted.outputs import ApplicationState, GroupSummary
from components.tls import ENCRYPTED_TLS_MODES, TlsMode
from offline.__main__ import render_stack
from offline.diagram import render_diagram
from offline.manifests import render_manifests
from offline.summary import render_summary
from stacks.yaml_document import read_yaml
from tests.engine_contract import CONTRACTS, variable_parts
from tests.pages import ROOT, Step, blocks, is_expected_output, sections
from tests.support import config_issues, external_server, record_stack, stack_with_group

ENGINE_PAGES = ROOT / "docs" / "engines"
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
UNSUPPORTED = "not supported"
NONE = "none"

engines = pytest.mark.parametrize("engine", list(ENGINES))
pages = pytest.mark.parametrize("path", PAGES, ids=[str(path.relative_to(ROOT)) for path in PAGES])


def page(engine: str) -> str:
    path = ENGINE_PAGES / f"{engine}.md"
    assert path.is_file(), f"{path.relative_to(ROOT)} is missing"
    return path.read_text()


def rows(text: str) -> dict[str, str]:
    """Return the second column of the tables with two columns, by the first."""
    return dict(re.findall(r"^\| ([^|]+?) \| ?([^|]*?) \|$", text, re.MULTILINE))


def quoted(text: str) -> list[str]:
    """Return the code spans of a text."""
    return re.findall(r"`([^`]+)`", text)


def runtime_of(engine: str) -> ServerRuntime | None:
    build, variant = ENGINES[engine].build_runtime, ENGINES[engine].variants[0]
    return build(variant, variant.default_version) if build else None


def test_engine_pages_are_exactly_those_of_the_engines() -> None:
    assert {path.stem for path in ENGINE_PAGES.iterdir()} == set(ENGINES)


def test_readme_shows_the_summary_and_the_diagram_of_the_development_stack() -> None:
    readme = (ROOT / "README.md").read_text()
    view = render_stack("development").view
    folder = "rendered/development/"
    printed = f"{render_summary(view)}\nManifests and diagram: {folder}\nPage: {folder}index.html\n"
    shown = blocks(readme, "console")[0].partition("\n")[2]
    assert is_expected_output(shown, printed)
    assert is_expected_output(f"```mermaid\n{blocks(readme, 'mermaid')[0]}```\n", render_diagram(view))
    example = yaml.safe_load(blocks(readme, "yaml")[0])
    assert example == yaml.safe_load((ROOT / "stacks" / "Pulumi.development.yaml").read_text())


def test_stack_file_page_shows_the_short_summary_of_the_production_stack() -> None:
    (shown,) = blocks(sections((ROOT / "docs" / "stack-file.md").read_text())["What a stack creates"], "console")
    command, _, output = shown.partition("\n")
    assert command == "$ make render STACK=production ARGS=--short"
    shown_summary = output.partition("\nManifests and diagram: ")[0]
    assert is_expected_output(shown_summary, render_summary(render_stack("production").view, short=True))


@engines
def test_page_lists_exactly_the_secret_keys_and_variables(engine: str) -> None:
    table = rows(page(engine))
    assert set(quoted(table["Connection Secret keys"])) == CONTRACTS[engine].secret_keys
    assert quoted(table["Environment variables"]) == [f"{engine.upper()}_<GROUP>_<PART>", f"{engine.upper()}_<PART>"]
    assert set(quoted(table["PART"])) == variable_parts(CONTRACTS[engine].secret_keys)


@engines
def test_page_has_the_uri_and_the_port(engine: str) -> None:
    table = rows(page(engine))
    (uri,) = quoted(table["`uri`"])
    scheme, _, rest = CONTRACTS[engine].uri.partition("://")
    assert uri.startswith(f"{scheme}://")
    assert rest.count("@") == uri.count("@")
    assert table.get("Port") == (str(ENGINES[engine].port) if ENGINES[engine].port else None)


@engines
def test_page_lists_every_variant_with_image_series_releases_and_default(engine: str) -> None:
    table = {
        name.removeprefix("Variant "): quoted(value)
        for name, value in rows(page(engine)).items()
        if name.startswith("Variant ")
    }
    assert list(table) == [f"`{variant.name}`" for variant in ENGINES[engine].variants]
    for variant in ENGINES[engine].variants:
        image = [variant.image] if variant.image else ["image"] if variant.supported_series else []
        assert table[f"`{variant.name}`"] == [
            *image,
            *(
                text
                for series in variant.supported_series
                for text in dict.fromkeys((series, variant.find_release(series)))
            ),
            *([variant.default_version] if variant.default_version else []),
        ]


@engines
def test_page_lists_the_supported_server_kinds(engine: str) -> None:
    kinds = [
        "local",
        *(["dedicated"] if ENGINES[engine].build_runtime else []),
        *(["external"] if ENGINES[engine].port else []),
    ]
    assert quoted(rows(page(engine))["Server kinds"]) == kinds


@engines
def test_page_lists_the_keys_of_external_servers(engine: str) -> None:
    record, table = ENGINES[engine], rows(page(engine))
    if record.port is None:
        assert not [name for name in table if name.startswith("External server")]
        return
    assert table["External server with `provisionOn`"] == ("supported" if record.provisioner else UNSUPPORTED)
    for kind, keys in (("required", record.existing_account.required), ("optional", record.existing_account.optional)):
        cell = table[f"External server with `host`, {kind} keys"]
        assert set(quoted(cell)) == set(keys)
        assert keys or cell == NONE


@engines
def test_page_lists_the_reserved_settings(engine: str) -> None:
    settings = ENGINES[engine].settings_file
    assert set(quoted(rows(page(engine)).get("Reserved settings", ""))) == (
        settings.reserved_names if settings else set()
    )


@engines
def test_page_says_whether_init_script_is_supported(engine: str) -> None:
    runtime, cell = runtime_of(engine), rows(page(engine)).get("`initScript`")
    assert cell is None if runtime is None else (cell == UNSUPPORTED) == (not runtime.runs_init_script)


def test_outputs_page_shows_the_keys_of_the_stack_output() -> None:
    (example,) = [
        content
        for block in blocks((ROOT / "docs" / "outputs.md").read_text(), "yaml")
        if "databases" in (content := yaml.safe_load(block)).get("shop", {})
    ]
    application = example["shop"]
    assert set(application) == set(ApplicationState.__annotations__)
    assert set(application["databases"]["mysql"]["main"]) == set(GroupSummary.__annotations__) - {"externalServer"}


def _opened(value: Any) -> Any:
    """Return a value with a placeholder for each encrypted value, and without files that do not exist."""
    if isinstance(value, dict):
        return (
            "hidden"
            if set(value) == {"secure"}
            else {key: _opened(item) for key, item in value.items() if key != "caFile"}
        )
    return [_opened(item) for item in value] if isinstance(value, list) else value


BACKUP_STORE = {"kind": "claim", "claim": "backups", "repositoryPassword": "hidden"}


def _list_groups(raw: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the groups of a stack."""
    for application in raw["applications"].values():
        for databases in application["databases"].values():
            yield from (group or {} for group in databases.values())


def as_stack(content: Any) -> dict[str, Any] | None:
    """Complete a part of a stack file to a stack. Return None for the example of another file."""
    if not isinstance(content, dict):
        return None
    raw = {
        key.removeprefix("database-groups:"): value
        for key, value in _opened(content.get("config", content)).items()
        if not key.startswith("kubernetes:")
    }
    if set(raw) <= {"server", "kind"}:
        raw = {"mysql": {"main": raw}}
    elif all(isinstance(value, dict) and "server" in value for value in raw.values()):
        raw = {"mysql": raw}
    if set(raw) <= set(ENGINES):
        raw = {"databases": raw}
    if "databases" in raw:
        raw = {"applications": {"shop": raw}}
    if not {"applications", "externalServers", "databaseNodes"} & set(raw):
        return None
    raw.setdefault("applications", {"shop": {"databases": {"redis": {"main": {"server": {"kind": "dedicated"}}}}}})
    groups = [
        (engine, group)
        for application in raw["applications"].values()
        for engine, databases in application["databases"].items()
        for group in databases.values()
        if group and isinstance(group.get("server"), dict)
    ]
    servers = {
        group["server"]["provisionOn"]: external_server(engine)
        for engine, group in groups
        if "provisionOn" in group["server"]
    }
    restores_backup = any("backup" in group.get("from", {}) for group in _list_groups(raw))
    stores = {"offsite": BACKUP_STORE} if restores_backup else {}
    return {
        **raw,
        **({"externalServers": {**servers, **raw.get("externalServers", {})}} if servers else {}),
        **({"backupStores": stores} if stores else {}),
    }


def examples(path: Path) -> list[dict[str, Any]]:
    """Return the examples of stack files of a page."""
    contents = (read_yaml(block.encode()).value for block in blocks(path.read_text(), "yaml"))
    return [stack for content in contents if (stack := as_stack(content))]


@pages
def test_examples_of_a_page_are_valid_stack_files(path: Path) -> None:
    for stack in examples(path):
        assert config_issues(stack) == [], stack


@pages
def test_examples_of_a_page_are_rendered(path: Path) -> None:
    for stack in examples(path):
        assert set(render_manifests(record_stack(stack))) == set(stack["applications"])


@engines
def test_page_has_an_example(engine: str) -> None:
    stacks = examples(ENGINE_PAGES / f"{engine}.md")
    assert any(engine in application["databases"] for stack in stacks for application in stack["applications"].values())


@pytest.mark.parametrize(
    ("name", "count"), [("README.md", 2), ("docs/stack-file.md", 8), ("docs/upgrading.md", 2), ("docs/workloads.md", 1)]
)
def test_examples_of_a_page_are_recognized(name: str, count: int) -> None:
    assert len(examples(ROOT / name)) == count


@cache
def anchors(path: Path) -> set[str]:
    """Return the anchors of a page's headings."""
    headings = re.findall(
        r"^#+ (.+)$", re.sub(r"^```.*?^```$", "", path.read_text(), flags=re.MULTILINE | re.DOTALL), re.MULTILINE
    )
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pages
def test_every_link_within_the_project_points_to_a_file_and_a_heading(path: Path) -> None:
    for link in LINK.findall(re.sub(r"`[^`\n]*`", "`code`", path.read_text())):
        if re.match(r"[a-z]+:", link):
            continue
        target, _, anchor = link.partition("#")
        found = (path.parent / target).resolve() if target else path
        assert found.exists(), link
        assert found.is_relative_to(ROOT), link
        assert not anchor or anchor in anchors(found), link


@engines
def test_page_says_whether_upgrading_is_tested(engine: str) -> None:
    text = sections(page(engine))["Upgrading"]
    assert len(re.findall(r"\*\*(?:Tested\*\* \(|Not tested\.\*\*)", text)) == 1
    runs_commands = "by `tests/e2e/test_upgrading.py`" in text
    assert runs_commands == bool(blocks(text, "console")), "this test runs the commands"


def test_commands_of_sqlite_copy_a_database_that_is_in_use(tmp_path: Path) -> None:
    dump, restore = (
        command.replace("/tmp/", f"{tmp_path}/pod/").partition(" -- ")[2]
        for block in blocks(sections(page("sqlite"))["Copies"], "console")
        for command in [Step(kind="console", block=block).commands[0].text]
    )
    (tmp_path / "pod").mkdir()
    with closing(sqlite3.connect(tmp_path / "old")) as old, closing(sqlite3.connect(tmp_path / "new")) as new:
        for connection in (old, new):
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("CREATE TABLE saved (value)")
        old.executemany("INSERT INTO saved VALUES (?)", [(f"{number} é'",) for number in range(1000)])
        old.commit()
        old.execute("DELETE FROM saved")  # not committed
        new.execute("INSERT INTO saved VALUES (1)")
        new.commit()
        for command, database in ((dump, "old"), (restore, "new")):
            environment = {**os.environ, "SQLITE_PATH": str(tmp_path / database)}
            subprocess.run(["bash", "-euc", command], cwd=tmp_path, env=environment, check=True, timeout=60)
        old.rollback()
        query = "SELECT count(*), min(value), max(value) FROM saved"
        assert new.execute(query).fetchall() == old.execute(query).fetchall() == [(1000, "0 é'", "999 é'")]
        assert new.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_checks_of_this_module_can_fail() -> None:
    assert config_issues(stack_with_group("no-such-engine")) != []
    assert rows("| a | b |\n| c | `d` |\n") == {"a": "b", "c": "`d`"}
    assert as_stack({"externalServers": {}, "databases": {}}) is not None
    assert as_stack({"volumes": []}) is None
    assert LINK.findall("[x](a.md#b) and [y](http://z)") == ["a.md#b", "http://z"]


@engines
def test_page_has_the_uri_for_each_tls_mode(engine: str) -> None:
    table = rows(page(engine))
    for tls in ENCRYPTED_TLS_MODES:
        cell = table.get(f"`uri` with `tls: {tls}`")
        assert cell == (f"`{uri_with(engine, tls)}`" if ENGINES[engine].supports_tls_in_uri else None)


def uri_with(engine: str, tls: TlsMode) -> str:
    """Return the URI of an account with the parts that the engine's accounts have."""
    parts = {
        key: "0" if (engine, key) == ("redis", "database") else key
        for key in ("password", "database")
        if key in CONTRACTS[engine].secret_keys
    }
    username = "user" if "username" in CONTRACTS[engine].secret_keys else None
    host = "server" if tls == "verify-full" else None
    connection = Connection(
        engine=engine,
        provider=engine,
        host="service",
        port=ENGINES[engine].port,
        username=username,
        **parts,
        engine_keys={"vhost": "vhost"},
        tls=tls,
        tls_server_name=host,
    )
    return ENGINES[engine].build_uri(connection)
