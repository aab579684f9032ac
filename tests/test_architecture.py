"""The shape of the code: what may import what, and where engines and server kinds may be named."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from components.engines import ENGINES
from components.servers import SERVER_KINDS

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("components", "stacks", "offline", "preflight")
FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))

FORBIDDEN = {
    "components": ("stacks", "offline", "preflight"),
    "components.engines": (
        "components.servers",
        "components.database_group",
        "components.application",
        "components.external_servers",
        "components.platform",
    ),
    "components.servers": ("components.database_group", "components.application"),
    "stacks": ("offline",),
    "preflight": (
        "components",
        "stacks",
        "offline",
        "pulumi",
        "pulumi_kubernetes",
        "pulumi_mysql",
        "pulumi_postgresql",
        "pulumi_random",
    ),
}
"""What the modules of a package never import."""
NETWORK = (
    "socket",
    "ssl",
    "http",
    "urllib.request",
    "requests",
    "httpx",
    "aiohttp",
    "psycopg",
    "pymysql",
    "redis",
    "subprocess",
)
DRIVERS = {"psycopg": "postgresql", "pymysql": "mysql", "redis": "redis", "pika": "rabbitmq", "pymongo": "mongodb"}
"""The engine that a driver is for."""
PROBES = "preflight.probes"
"""The one table of the engines that are spoken to, and the package of their modules."""
PURE = ("components.persisted.names", "components.connection")
"""Modules that need nothing of Pulumi."""

ENGINE_WORDS = set(ENGINES) | {variant.name for engine in ENGINES.values() for variant in engine.variants}
OWN_MODULES = {
    **{variant.name: f"components.engines.{engine.name}" for engine in ENGINES.values() for variant in engine.variants},
    **{engine: f"components.engines.{engine}" for engine in ENGINES},
    **{kind: f"components.servers.{kind}" for kind in SERVER_KINDS},
}
EXCEPTIONS = {
    ("components.servers", "local"): "the table of kinds, the one dispatch",
    ("components.servers", "dedicated"): "the table of kinds, the one dispatch",
    ("components.servers", "external"): "the table of kinds, the one dispatch",
    ("components.database_group", "local"): "the server of a group that says none",
    ("components.arguments", "local"): "a message about link-local addresses",
    ("components.servers.local", "dedicated"): "the advice not to use it in production",
    ("components.servers.local", "external"): "the advice not to use it in production",
    ("components.servers.dedicated", "local"): "what to use for an engine that is a file",
    ("components.servers.external", "local"): "what to use for an engine that is a file",
}
"""The literals outside the module that they belong to, each with its reason."""


def module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def imports(path: Path) -> Iterator[str]:
    """Every module that a module imports, anywhere in it."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def words(path: Path) -> Iterator[str]:
    """Every word of a module's strings, but for its docstrings.

    Of an engine's module only strings that are one word: its scripts and settings are another program's, in which `local` means what it does there.
    """
    prose = {id(node.value) for node in ast.walk(tree(path)) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose:
            found = re.findall(r"[A-Za-z_]+", node.value)
            yield from found if found == [node.value] or not within(module(path), "components.engines") else ()


def exact_words(path: Path) -> set[str]:
    """Every string of a module that is one word, as the name of an engine would be."""
    return {
        node.value for node in ast.walk(tree(path)) if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }


modules = pytest.mark.parametrize("path", FILES, ids=[module(path) for path in FILES])


def test_there_is_something_to_hold() -> None:
    assert {"components.application", "components.engines.mysql", "stacks.config", "offline.recorder"} <= {
        module(path) for path in FILES
    }


@modules
def test_imports_point_one_way(path: Path) -> None:
    for package, forbidden in FORBIDDEN.items():
        if within(module(path), package):
            assert [name for name in imports(path) if any(within(name, other) for other in forbidden)] == []


@modules
def test_nothing_is_imported_behind_the_back_of_this_test(path: Path) -> None:
    names = {node.id for node in ast.walk(tree(path)) if isinstance(node, ast.Name)}
    assert not {"__import__", "exec", "eval"} & names
    assert not any(within(name, "importlib") for name in imports(path))


@modules
def test_components_do_not_touch_the_network_or_other_programs(path: Path) -> None:
    if within(module(path), "components"):
        assert [name for name in imports(path) if any(within(name, other) for other in NETWORK)] == []


@modules
def test_names_and_connections_are_pure(path: Path) -> None:
    if module(path) in PURE:
        assert [name for name in imports(path) if "pulumi" in name or "pydantic" in name] == []


@modules
def test_one_module_reads_the_configuration(path: Path) -> None:
    if module(path) == "stacks.config" or not within(module(path), "components") | within(module(path), "stacks"):
        return
    assert [name for name in imports(path) if name.startswith("pulumi") and "config" in name.lower()] == []
    # What the stack was before is read by the stack's name.
    reads = {"Config"} | (
        set() if module(path) == "stacks.previous_state" else {"get_stack", "get_project", "get_organization"}
    )
    found = [
        node.attr
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "pulumi"
    ]
    assert not reads & set(found)
    assert not {"environ", "getenv"} & {node.attr for node in ast.walk(tree(path)) if isinstance(node, ast.Attribute)}


@modules
def test_engines_and_kinds_are_named_in_their_own_modules_alone(path: Path) -> None:
    """A tenth engine is one module and one line: nothing branches on the name of one."""
    name = module(path)
    if within(name, "components"):
        foreign = {word for word in words(path) if OWN_MODULES.get(word, name) != name}
        assert {word for word in foreign if (name, word) not in EXCEPTIONS} == set()


@modules
def test_preflight_names_an_engine_in_its_own_module_and_in_one_table_alone(path: Path) -> None:
    name = module(path)
    if within(name, "preflight") and name != PROBES:
        assert {word for word in exact_words(path) if word in ENGINES and name != f"{PROBES}.{word}"} == set()


@modules
def test_preflight_imports_a_driver_in_its_engines_module_alone(path: Path) -> None:
    if within(module(path), "preflight"):
        drivers = {name.partition(".")[0] for name in imports(path)} & set(DRIVERS)
        assert drivers <= {driver for driver, engine in DRIVERS.items() if module(path) == f"{PROBES}.{engine}"}


@pytest.mark.parametrize("engine", list(ENGINES))
def test_a_kind_or_another_engine_in_an_engines_module_would_be_seen(
    engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "components" / "engines" / f"{engine}.py"
    path.parent.mkdir(parents=True)
    path.write_text('KIND = "local"\nENGINE = "mysql"\nSCRIPT = "local x=1 # external_pid_file"\n')
    monkeypatch.setattr("tests.test_architecture.ROOT", tmp_path)
    assert list(words(path)) == ["local", "mysql"]


def test_every_exception_is_still_needed() -> None:
    paths = {module(path): path for path in FILES}
    assert [(name, word) for name, word in EXCEPTIONS if word not in set(words(paths[name]))] == []


def test_engines_and_kinds_have_a_module_each() -> None:
    assert set(OWN_MODULES.values()) <= {module(path) for path in FILES}


@modules
def test_a_module_says_what_it_is(path: Path) -> None:
    assert ast.get_docstring(tree(path))


def defined(path: Path) -> set[str]:
    """The names that a module makes itself."""
    found: set[str] = set()
    for node in tree(path).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        found |= {target.id for target in targets if isinstance(target, ast.Name)}
    return found


def exported(path: Path) -> list[str] | None:
    """What `__all__` holds."""
    for node in tree(path).body:
        if isinstance(node, ast.Assign) and [target.id for target in node.targets if isinstance(target, ast.Name)] == [
            "__all__"
        ]:
            return [str(name) for name in ast.literal_eval(node.value)]
    return None


@modules
def test_what_a_module_exports_is_there_and_its_own(path: Path) -> None:
    names = exported(path)
    if names is None:
        assert not {name for name in defined(path) if not name.startswith("_")}, (
            "a module that makes something says what of it is for others"
        )
        return
    assert len(set(names)) == len(names)
    assert [name for name in names if name not in defined(path)] == []
    assert [name for name in names if name.startswith("_")] == []


@modules
def test_nothing_is_imported_that_its_module_does_not_export(path: Path) -> None:
    paths = {module(found): found for found in FILES}
    taken = [name.rpartition(".") for name in imports(path) if any(within(name, package) for package in PACKAGES)]
    assert [
        f"{source}.{name}"
        for source, _, name in taken
        if f"{source}.{name}" not in paths and name not in (exported(paths[source]) or ())
    ] == []


def test_the_program_is_a_few_lines() -> None:
    assert len((ROOT / "__main__.py").read_text().splitlines()) < 25
