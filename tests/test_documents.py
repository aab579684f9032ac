"""The pages say what the program does: of each engine keys, variables, versions, images and settings, examples that it takes; and links lead somewhere."""

import re
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.connection import Connection
from components.engines import ENGINES
from components.engines.definition import ServerRuntime
from components.network_policy import APPLICATION_LABEL
from offline.stackfile import Loader
from tests.contract import KEYS, URIS, parts
from tests.pages import ROOT, blocks, sections, title
from tests.support import ENGINES_WITH_SERVER, config_issues, external_server, stack_with_group

ENGINE_PAGES = ROOT / "docs" / "engines"
UPGRADING = sections((ROOT / "docs" / "upgrading.md").read_text())
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
OWNED = "Given by the program, and refused:"
NO_INIT = "There is no `init`"

engines = pytest.mark.parametrize("engine", list(ENGINES))
pages = pytest.mark.parametrize("path", PAGES, ids=[str(path.relative_to(ROOT)) for path in PAGES])


def page(engine: str) -> str:
    path = ENGINE_PAGES / f"{engine}.md"
    assert path.is_file(), f"{path.relative_to(ROOT)} is missing"
    return path.read_text()


def rows(text: str) -> dict[str, str]:
    """The second column of the tables of two, by the first."""
    return dict(re.findall(r"^\| ([^|]+?) \| ?([^|]*?) \|$", text, re.MULTILINE))


def quoted(text: str) -> list[str]:
    """What stands in backticks."""
    return re.findall(r"`([^`]+)`", text)


def software_of(engine: str) -> ServerRuntime | None:
    made, variant = ENGINES[engine].build_runtime, ENGINES[engine].variants[0]
    return made(variant, variant.default_version) if made else None


def test_every_engine_has_a_page_and_no_other_page_is_there() -> None:
    assert {path.stem for path in ENGINE_PAGES.iterdir()} == set(ENGINES)


def test_the_readmes_table_is_that_of_the_engines() -> None:
    found = re.findall(
        r"^\| \[`([^`]+)`\]\(docs/engines/([^)]+)\.md\) \| ([^|]+) \| ([^|]+) \|",
        (ROOT / "README.md").read_text(),
        re.MULTILINE,
    )
    assert [name for name, *_ in found] == sorted(ENGINES)
    for name, target, variants, port in found:
        assert target == name
        assert quoted(variants) == [variant.name for variant in ENGINES[name].variants]
        assert port == str(ENGINES[name].port or "\N{EN DASH}")


@engines
def test_a_page_names_every_key_and_variable_and_no_other(engine: str) -> None:
    found = rows(page(engine))
    assert set(quoted(found["keys of the Secret"])) == KEYS[engine]
    long, short, *told = quoted(found["variables"])
    assert (long, short) == (f"{engine.upper()}_<GROUP>_<PART>", f"{engine.upper()}_<PART>")
    assert set(told) == parts(KEYS[engine])


@engines
def test_a_page_has_the_uri_and_the_port(engine: str) -> None:
    found = rows(page(engine))
    (uri,) = quoted(found["`uri`"])[:1]
    scheme, _, rest = URIS[engine].partition("://")
    assert uri.startswith(f"{scheme}://")
    assert rest.count("@") == uri.count("@")
    assert found.get("port") == (str(ENGINES[engine].port) if ENGINES[engine].port else None)


@engines
def test_a_page_has_every_variant_with_its_image_series_and_default(engine: str) -> None:
    found = {
        re.sub(r"^variant `(.*)`$", r"\1", name): value
        for name, value in rows(page(engine)).items()
        if name.startswith("variant ")
    }
    assert list(found) == [variant.name for variant in ENGINES[engine].variants]
    for variant in ENGINES[engine].variants:
        said = found[variant.name]
        if variant.image:
            assert quoted(said) == [variant.image]
        elif variant.supported_series:
            assert "`image:`" in page(engine), "without an image of its own it says what to do"
        for series in variant.supported_series:
            assert re.search(rf"(?<![\d.]){re.escape(series)}(?![\d.]\d)", said), series
        assert not variant.default_version or said.endswith(f"by default {variant.default_version}")


@engines
def test_a_page_has_the_kinds_that_fit(engine: str) -> None:
    kinds = [
        "local",
        *(["dedicated"] if ENGINES[engine].build_runtime else []),
        *(["external"] if ENGINES[engine].port else []),
    ]
    assert quoted(rows(page(engine))["kinds"]) == kinds


@engines
def test_a_page_says_what_must_and_what_may_be_said_of_an_account(engine: str) -> None:
    """Where no account is made, each key is told once: those that are necessary first."""
    record = ENGINES[engine]
    if record.provisioner or record.port is None:
        return
    must, _, may = rows(page(engine))["on external servers"].partition("; if there are any:")
    assert {key for key in quoted(must) if key in record.existing_account_keys} == {
        key for key, necessary in record.existing_account_keys.items() if necessary
    }
    assert {key for key in quoted(may) if key in record.existing_account_keys} == {
        key for key, necessary in record.existing_account_keys.items() if not necessary
    }


@engines
def test_a_page_names_every_setting_that_is_refused(engine: str) -> None:
    found = [line for line in page(engine).splitlines() if line.startswith(OWNED)]
    settings = ENGINES[engine].settings_file
    assert len(found) == bool(settings)
    if settings:
        assert set(quoted(found[0])) == settings.reserved_names


@engines
def test_a_page_says_whether_there_is_an_init(engine: str) -> None:
    software = software_of(engine)
    if software:
        assert (NO_INIT in page(engine)) == (software.init_file_path is None)


def _opened(value: Any) -> Any:
    """A value with a word in the place of each encrypted one, and of each group that is left out."""
    if isinstance(value, dict):
        return "hidden" if set(value) == {"secure"} else {key: _opened(item) for key, item in value.items()}
    return [_opened(item) for item in value] if isinstance(value, list) else value


@engines
def test_the_example_of_a_page_is_one_that_the_program_takes(engine: str) -> None:
    found = [yaml.load(block, Loader) for block in blocks(page(engine), "yaml")]  # noqa: S506 (a SafeLoader)
    examples = [_opened(content) for content in found if isinstance(content, dict) and "databases" in content]
    assert examples, "a page has an example"
    for example in examples:
        assert engine in example["databases"]
        names = {
            spec["server"]["on"]: name
            for name, groups in example["databases"].items()
            for spec in groups.values()
            if spec and isinstance(spec.get("server"), dict) and "on" in spec["server"]
        }
        raw = {
            "externalServers": {name: external_server(of) for name, of in names.items()},
            "applications": {"shop": example},
        }
        assert config_issues(raw) == []


def test_the_example_of_the_readme_is_one_that_the_program_takes() -> None:
    (content,) = [_opened(yaml.load(block, Loader)) for block in blocks((ROOT / "README.md").read_text(), "yaml")]  # noqa: S506 (a SafeLoader)
    assert (
        config_issues({key.removeprefix("database-groups:"): value for key, value in content["config"].items()}) == []
    )


@cache
def anchors(path: Path) -> set[str]:
    """The headings of a page as links name them."""
    headings = re.findall(
        r"^#+ (.+)$", re.sub(r"^```.*?^```$", "", path.read_text(), flags=re.MULTILINE | re.DOTALL), re.MULTILINE
    )
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pages
def test_every_link_within_the_project_leads_to_a_file_and_a_heading(path: Path) -> None:
    for link in LINK.findall(re.sub(r"`[^`\n]*`", "`code`", path.read_text())):
        if re.match(r"[a-z]+:", link):
            continue
        target, _, anchor = link.partition("#")
        found = (path.parent / target).resolve() if target else path
        assert found.exists(), link
        assert found.is_relative_to(ROOT), link
        assert not anchor or anchor in anchors(found), link


@pages
def test_the_program_is_not_said_to_take_keys_that_it_does_not(path: Path) -> None:
    """A whole stack file in a page is one that is taken."""
    for block in blocks(path.read_text(), "yaml"):
        content = yaml.load(block, Loader)  # noqa: S506 (a SafeLoader)
        if isinstance(content, dict) and "database-groups:applications" in content.get("config", {}):
            assert (
                config_issues(
                    {key.removeprefix("database-groups:"): value for key, value in _opened(content["config"]).items()}
                )
                == []
            )


def test_the_way_to_a_newer_version_is_told_of_every_engine() -> None:
    assert set(UPGRADING) == {"The way", "Moving", *(title(engine) for engine in ENGINES)}


@pytest.mark.parametrize("engine", ENGINES_WITH_SERVER)
def test_the_way_to_a_newer_version_has_commands_for_every_engine_with_a_server(engine: str) -> None:
    """For a series that there is, in words that bash takes, and with a word about whether they were run."""
    text = UPGRADING[title(engine)]
    script = "".join(blocks(text, "sh"))
    assert len(re.findall(r"^\*\*(?:Run\*\*:|Not run\.\*\*)", text, re.MULTILINE)) == 1
    images = {variant.image: variant for variant in ENGINES[engine].variants if variant.image}
    assert bool(images) == (f"move {engine} " in script)
    for image, version in re.findall(rf"move {engine} (\S+):(\S+)", script):
        assert images[image].find_series(version), version
    for source in (script, *re.findall(r"<<'SCRIPT'.*?\n(.*?)^SCRIPT$", script, re.MULTILINE | re.DOTALL)):
        subprocess.run(["bash", "-n"], input=source, text=True, check=True, timeout=10)


def test_the_servers_let_in_the_pod_that_moves_data() -> None:
    pods = re.findall(r"^metadata: (.+)$", "".join(UPGRADING.values()), re.MULTILINE)
    assert len(pods) == 2
    for metadata in pods:
        assert yaml.safe_load(metadata)["labels"] == {APPLICATION_LABEL: "$application"}


@pytest.mark.parametrize("heading", [heading for heading, text in UPGRADING.items() if "```yaml" in text])
def test_the_groups_side_by_side_are_ones_that_the_program_takes(heading: str) -> None:
    for block in blocks(UPGRADING[heading], "yaml"):
        example = yaml.safe_load(block)
        assert config_issues({"applications": {"shop": example}}) == []


def test_the_checks_of_this_module_can_fail() -> None:
    assert config_issues(stack_with_group("no-such-engine")) != []
    assert rows("| a | b |\n| c | `d` |\n") == {"a": "b", "c": "`d`"}
    assert LINK.findall("[x](a.md#b) and [y](http://z)") == ["a.md#b", "http://z"]


@engines
def test_a_page_says_what_an_application_is_told_of_tls(engine: str) -> None:
    row = rows(page(engine)).get("`tls` of an external group")
    if not ENGINES[engine].supports_tls_in_uri:
        assert row is None
        return
    assert row
    told = dict(re.findall(r"`([a-z-]+)`: `([^`]+)`", row))
    assert told == {tls: uri_with(engine, tls) for tls in ("require", "verify-full")}


def uri_with(engine: str, tls: str) -> str:
    """The URI of an account with the parts that the engine's accounts have."""
    parts = {
        key: "0" if (engine, key) == ("redis", "database") else key
        for key in ("password", "database")
        if key in KEYS[engine]
    }
    username = "user" if "username" in KEYS[engine] else None
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
