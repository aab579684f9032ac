"""The reference of all keys of a stack file, and the table of engines, built from the models and the engines.

`make schema` writes them to `docs/reference.md` and to `README.md`.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.engines import ENGINES
from components.engines.definition import Engine, Variant
from components.spec import format_choices
from stacks.changes import describe_edit
from stacks.key_examples import KEY_EXAMPLES, get_section_name
from stacks.schema import build_stack_schema
from stacks.spec import PROJECT

__all__ = ["REFERENCE_PATH", "list_keys", "render_pages", "render_reference"]

DOCS_PATH = Path(__file__).parent.parent / "docs"
REFERENCE_PATH = DOCS_PATH / "reference.md"
README_PATH = DOCS_PATH.parent / "README.md"
ENGINE_HEADER = ("Engine", "Variants", "Port", "External servers")
INTRODUCTION = f"""\
# Stack-file reference

All keys of `stacks/Pulumi.<stack>.yaml`. `make schema` generates this page from the models that parse the file.
Write each top-level key as `{PROJECT}:<key>`. Pulumi also accepts the key without the prefix.

- Write sizes with a unit: `512Mi`, `50Gi`. Write CPUs as `2`, `0.5` or `500m`.
- Write booleans as `true` or `false`.
- Write durations as whole seconds. The unit is in the key's name.
- Relative paths start at the project directory.
- *Edit* is the outcome of another value in a deployed stack; [Changes](changes.md) has the details.
"""
HEADER = ("Key", "Type", "Default", "Meaning", "Example", "Edit")
PLACEHOLDERS = {
    "externalServers": ("<server>",),
    "backupStores": ("<store>",),
    "applications": ("<application>",),
    "databases": ("<engine>", "<group>"),
}
"""The user's names in the maps of a stack file."""


@dataclass(frozen=True, kw_only=True)
class _Key:
    """A key of a model."""

    model: str
    name: str
    schema: Mapping[str, Any]
    required: bool


def list_keys() -> dict[str, list[str]]:
    """Return the keys of each model, by the names that KEY_EXAMPLES uses."""
    keys: dict[str, dict[str, None]] = {}
    for _, models in _list_sections():
        for key in (key for model in models for key in _read_keys(model)):
            keys.setdefault(key.model, {})[key.name] = None
    return {model: list(names) for model, names in keys.items()}


def render_reference() -> str:
    """Return the content of the page."""
    parts = [INTRODUCTION]
    for path, models in _list_sections():
        kinds = [model["properties"]["kind"]["const"] for model in models if _is_server(model)]
        title = f"`{path}`" if path else "Top level"
        if kinds:
            title += f" with `kind` {format_choices([f'`{kind}`' for kind in kinds])}"
        description = " ".join(model["description"].replace("\n", " ") for model in models)
        parts += [f"\n## {title}\n\n{description}\n\n", _render_table(models)]
    return "".join(parts)


def render_pages() -> dict[Path, str]:
    """Return the content of each page with generated parts, by its path."""
    engine_pages = {DOCS_PATH / "engines" / f"{name}.md": engine for name, engine in ENGINES.items()}
    return {
        REFERENCE_PATH: render_reference(),
        README_PATH: _render_readme(),
        **{path: _render_engine_page(path.read_text(), engine) for path, engine in engine_pages.items()},
    }


def _render_engine_page(page: str, engine: Engine) -> str:
    """Return the page of an engine with the rows of its variants and its copies."""
    variants = [(f"Variant `{variant.name}`", _describe_variant(variant)) for variant in engine.variants]
    rows = "".join(map(_format_row, [*variants, ("Copies: `from`", _describe_copies(engine))]))
    return re.sub(r"^(\| (Variant|Copies).*\n)+", lambda _: rows, page, flags=re.MULTILINE)


def _describe_copies(engine: Engine) -> str:
    scripts, obstacle = engine.copy_scripts, engine.copy_obstacle
    if scripts is None:
        return f"not supported: {obstacle}" if obstacle else "not supported"
    return f"supported. A copy does not contain {scripts.limits}"


def _describe_variant(variant: Variant) -> str:
    """Return the image, the release series with their pinned releases, and the default series."""
    image = f"image `{variant.image}`" if variant.image else "no image"
    if not variant.supported_series:
        return image
    releases = {series: variant.find_release(series) for series in variant.supported_series}
    pinned = (f"`{series}`" + (f" (`{release}`)" if release != series else "") for series, release in releases.items())
    image, label = (image, " (pinned release)") if variant.image else (f"{image} (set `image`)", "")
    return f"{image}; release series{label} {', '.join(pinned)}. Default: `{variant.default_version}`"


def _render_readme() -> str:
    """Return the content of the README with the table of engines."""
    rows = [ENGINE_HEADER, ("---",) * len(ENGINE_HEADER), *(_render_engine(ENGINES[name]) for name in sorted(ENGINES))]
    table = "".join(map(_format_row, rows))
    return re.sub(r"^\| Engine \|(?:.*\n\|)*.*\n", lambda _: table, README_PATH.read_text(), flags=re.MULTILINE)


def _render_engine(engine: Engine) -> tuple[str, ...]:
    variants = ", ".join(f"`{variant.name}`" for variant in engine.variants)
    link = f"[`{engine.name}`](docs/engines/{engine.name}.md)"
    if engine.port is None:
        return link, variants, "\N{EN DASH}", "not supported (development only)"
    external = "creates database and user" if engine.provisioner else "existing database only"
    return link, variants, str(engine.port), external


def _is_server(model: Mapping[str, Any]) -> bool:
    return "const" in model["properties"].get("kind", {})


def _render_table(models: Sequence[Mapping[str, Any]]) -> str:
    rows = {key.name: _render_row(key, models) for model in models for key in _read_keys(model)}
    lines = [HEADER, ("---",) * len(HEADER), *rows.values()]
    return "".join(map(_format_row, lines))


def _format_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |\n"


def _render_row(key: _Key, models: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    meaning, _, default = key.schema["description"].partition(" Default: ")
    default = "required" if key.required else default.removesuffix(".") or "none"
    owners = [model["properties"] for model in models if key.name in model["properties"]]
    if len(owners) < len(models):
        kinds = format_choices([f"`kind: {owner['kind']['const']}`" for owner in owners])
        meaning += f" Supported with {kinds} only."
    edit = describe_edit(key.model, key.name)
    types = dict.fromkeys(_describe_type(owner[key.name]) for owner in owners)
    return f"`{key.name}`", " or ".join(types), default, meaning, f"`{KEY_EXAMPLES[key.model][key.name]}`", edit


def _read_keys(model: Mapping[str, Any]) -> Iterator[_Key]:
    name = get_section_name(model["title"])
    for key, schema in model["properties"].items():
        yield _Key(model=name, name=key, schema=schema, required=key in model.get("required", ()))


def _list_sections() -> list[tuple[str, list[Mapping[str, Any]]]]:
    """Return each path of the stack file with the models of its map, in the order of the file."""
    sections: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    _add_sections(sections, "", build_stack_schema())
    return [(path, models) for (path, _), models in sections.items()]


def _add_sections(
    sections: dict[tuple[str, str], list[Mapping[str, Any]]], path: str, model: Mapping[str, Any]
) -> None:
    models = sections.setdefault((path, get_section_name(model["title"])), [])
    if model in models:
        return
    models.append(model)
    for key, schema in model["properties"].items():
        inner = ".".join([*([path] if path else []), key, *PLACEHOLDERS.get(key, ())])
        for suffix, reference in _find_models(schema):
            _add_sections(sections, f"{inner}{suffix}", build_stack_schema()["$defs"][reference])


def _find_models(schema: Any) -> Iterator[tuple[str, str]]:
    """Yield the models inside the schema of a value, with `[]` for those in a list."""
    if isinstance(schema, Mapping):
        if "$ref" in schema:
            yield "", schema["$ref"].removeprefix("#/$defs/")
        for key, value in schema.items():
            yield from ((("[]" if key == "items" else "") + suffix, name) for suffix, name in _find_models(value))
    elif isinstance(schema, list):
        for value in schema:
            yield from _find_models(value)


def _describe_type(schema: Mapping[str, Any]) -> str:
    """Return the type of a value as YAML names it."""
    if "anyOf" in schema:
        choices = [choice for choice in schema["anyOf"] if choice.get("type") != "null"]
        return " or ".join(dict.fromkeys(map(_describe_type, choices)))
    if "enum" in schema or "const" in schema:
        values = schema.get("enum", [schema.get("const")])
        return format_choices([f"`{str(value).lower() if isinstance(value, bool) else value}`" for value in values])
    if "secure" in schema.get("properties", {}):
        return "`{secure: …}`"
    if schema.get("type") == "array":
        return f"list of {_describe_type(schema['items'])}".replace("list of map", "list of maps")
    names = {"string": "text", "boolean": "`true` or `false`", "integer": "whole number", "number": "number"}
    return names.get(schema.get("type", ""), "map")
