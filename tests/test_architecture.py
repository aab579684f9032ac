"""The shape of the code: what each package imports, where engines and kinds are named, and how functions are named."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from components.engines import ENGINES
from components.servers import SERVER_KINDS

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("components", "stacks", "offline", "preflight", "status", "backups")
FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
PROVIDERS = ("pulumi_kubernetes", "pulumi_mysql", "pulumi_postgresql", "pulumi_random")

LAYERS = (
    ("persisted.names", "hosts", "planned_objects", "spec", "tls"),
    ("connection", "passwords", "protection"),
    ("persisted.labels", "persisted.outputs"),
    ("engines",),
    ("copies.backup_spec", "copies.stores"),
    ("external_servers", "network_policy", "platform", "service", "workload_patches"),
    ("servers",),
    ("copies",),
    ("database_group",),
    ("application",),
)
"""The modules of `components`. A module imports modules of its own layer and of earlier layers."""
NOT_PERSISTED = [
    f"components.{module}" for modules in LAYERS for module in modules if not module.startswith("persisted.")
]
FORBIDDEN_IMPORTS = {
    "components": ("__main__", "stacks", "offline", "preflight", "status", "backups"),
    "stacks": ("__main__", "offline", "status", "backups"),
    "preflight": ("__main__", "components", "stacks", "offline", "status", "backups", "pulumi", *PROVIDERS),
    "offline": ("status", "backups"),
    "status": ("__main__", "offline", "backups", *PROVIDERS, *NOT_PERSISTED),
    "backups": ("__main__", "offline", "status", *PROVIDERS),
}
"""The direction of imports: `__main__` imports `stacks`, and `stacks` imports `components` and `preflight`.

Nothing imports `status` and `backups`. `status` knows nothing of components but what is persisted.
"""
ALLOWED_IMPORTS = {"stacks.config_keys": {"pulumi_kubernetes.ProviderArgs"}}
"""Exceptions: the names of the provider's configuration keys are read from its arguments."""
PURE_MODULES = ("components.persisted.names", "components.connection")
"""Modules that import neither Pulumi nor pydantic."""
FORBIDDEN_IN_COMPONENTS = (
    *("socket", "ssl", "http", "urllib.request", "requests", "httpx", "aiohttp", "subprocess"),
    *("psycopg", "pymysql", "redis", "pika", "pymongo"),
)
"""Modules that use the network or other programs."""
DRIVERS = {"psycopg": "postgresql", "pymysql": "mysql", "redis": "redis", "pika": "rabbitmq", "pymongo": "mongodb"}
"""The engine of each driver."""
PROBES = "preflight.probes"
"""The package with a module for each probed engine, and their table."""
STATE_READERS = ("stacks.previous_state",)
"""The module that reads the stack's state by the name of the stack."""

VARIANTS = {variant.name: engine.name for engine in ENGINES.values() for variant in engine.variants}
OWN_MODULES = {
    **{variant: f"components.engines.{engine}" for variant, engine in VARIANTS.items()},
    **{engine: f"components.engines.{engine}" for engine in ENGINES},
    **{kind: f"components.servers.{kind}" for kind in SERVER_KINDS},
}
"""The module of each engine, variant and server kind."""
CLUSTERS = "components.engines.clusters."
"""The modules of the engines' operators. One has the name of its engine, and labels that its operator reads."""
ALLOWED_NAMES = {
    ("components.servers", "local"): "the table of kinds",
    ("components.servers", "dedicated"): "the table of kinds",
    ("components.servers", "external"): "the table of kinds",
    ("components.database_group", "local"): "the default server of a group",
    ("components.hosts", "local"): "a message about link-local addresses",
    ("components.servers.local", "dedicated"): "the warning about local servers in production",
    ("components.servers.local", "external"): "the warning about local servers in production",
    ("components.servers.dedicated", "local"): "the message for an engine without a server",
    ("components.servers.external", "local"): "the message for an engine without a server",
}
"""Names of engines and kinds outside their own modules, with the reason."""

NAMING_PACKAGES = ("components", "stacks", "preflight", "offline", "status", "backups")
"""Packages whose function names are checked."""
PREDICATES = {"can", "has", "is"}
VERBS = PREDICATES | set(
    re.findall(
        r"\w+",
        "add allow ask assume await build call change check claim close coerce collect compare connect constrain "
        "convert count create decode delete dereference describe detect draw drop encode exit expand explain fetch "
        "find follow forget format get grant group hash hide identify join limit list load log match measure merge "
        "normalize open parse print probe prove provision quote raise read reassign recover redact reject remove "
        "render replace represent request require resolve restart restore retain retry run select send set shorten "
        "show sort split start strip suggest translate unwrap validate verify wait wrap write",
    )
)
"""Verbs with which the name of a function begins."""
GETTER_MODULES = ("components.persisted.names", "components.persisted.labels")
"""Modules of pure getters: each function returns the name, the labels or the metadata that it is named after."""
NAMING_EXCEPTIONS = {
    ("components.connection", "connection_secret_data"): "pure getter: the data of the connection Secret",
    ("components.engines.definition", "secret_entries"): "pure getter: the account as entries of a Secret",
    ("backups.__main__", "main"): "the entry point of the command",
    ("offline.__main__", "main"): "the entry point of the command",
    ("offline.__main__", "program"): "the program that Pulumi runs",
    ("offline.recorder", "main"): "the program that Pulumi runs",
    ("offline.recorder", "submit"): "a method of Python's executors",
    ("offline.recorder", "RegisterResource"): "a method of Pulumi's protocol",
    ("offline.recorder", "RegisterResourceOutputs"): "a method of Pulumi's protocol",
    ("offline.recorder", "Invoke"): "a method of Pulumi's protocol",
    ("offline.recorder", "new_resource"): "a method of Pulumi's mocks",
    ("offline.recorder", "resource_states"): "pure getter: the components and Secrets of the run",
    ("offline.recorder", "resources_of_type"): "pure getter: the resources of a type",
    ("offline.recorder", "stack_outputs"): "pure getter: the outputs of the stack",
    ("preflight.probes.mysql", "authenticate"): "a method of the driver's plugins",
    ("preflight.runner", "on_attempt"): "the callback of an attempt",
    ("preflight.service_detection", "accepts_tls"): "a predicate",
    ("stacks.__main__", "main"): "the entry point of the command",
    ("status.__main__", "main"): "the entry point of the command",
    ("stacks.schema", "dict_schema"): "a method of pydantic",
    ("components.engines.sqlite", "_mount_path"): "pure getter: the path of a group's volume",
}
"""Functions whose names do not begin with a verb, with the reason."""
LABEL_RE = re.compile(r"app\.kubernetes\.io/|(?<!/etc/)\bdatabase-groups\b(?!:)")
"""A label or an annotation. The folder of a server's scripts and the keys of the stack file are none."""
LABEL_MODULES = ("components.persisted.names", "components.persisted.labels")


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@cache
def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def list_imports(path: Path) -> Iterator[str]:
    """Yield every module and name that a module imports, anywhere in its code."""
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def is_within(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def list_strings(path: Path) -> Iterator[str]:
    """Yield the strings of a module, without its docstrings."""
    docstrings = {id(node.value) for node in ast.walk(parse(path)) if isinstance(node, ast.Expr)}
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.value


def list_names(path: Path) -> Iterator[str]:
    """Yield every name in a module's strings.

    Of an engine's module, yield only strings that are one name: `local` has another meaning in scripts and settings.
    """
    for text in list_strings(path):
        names = re.findall(r"[A-Za-z_]+", text)
        yield from names if names == [text] or not is_within(module_name(path), "components.engines") else ()


def get_layer(name: str) -> int | None:
    """Return the layer of a module of `components`; None for `components` and its package `persisted`."""
    layers = (
        number
        for number, modules in enumerate(LAYERS)
        if is_within(name, *(f"components.{module}" for module in modules))
    )
    return next(layers, None)


each_module = pytest.mark.parametrize("path", FILES, ids=[module_name(path) for path in FILES])


# Imports


def test_this_test_reads_the_modules() -> None:
    assert {"components.application", "components.engines.mysql", "stacks.config", "offline.recorder"} <= {
        module_name(path) for path in FILES
    }


@each_module
def test_packages_are_imported_in_one_direction(path: Path) -> None:
    for package, forbidden in FORBIDDEN_IMPORTS.items():
        if is_within(module_name(path), package):
            imports = {name for name in list_imports(path) if is_within(name, *forbidden)}
            assert imports - ALLOWED_IMPORTS.get(module_name(path), set()) == set()


@each_module
def test_components_import_modules_of_earlier_layers(path: Path) -> None:
    """An application imports groups, a group imports servers, and a server imports engines; never the reverse."""
    name = module_name(path)
    if is_within(name, "components") and name not in ("components", "components.persisted"):
        layer = get_layer(name)
        assert layer is not None, f"add {name} to LAYERS"
        assert [other for other in list_imports(path) if (get_layer(other) or 0) > layer] == []


@each_module
def test_modules_import_statically(path: Path) -> None:
    names = {node.id for node in ast.walk(parse(path)) if isinstance(node, ast.Name)}
    assert not {"__import__", "exec", "eval"} & names
    dynamic = [name for name in list_imports(path) if is_within(name, "importlib")]
    assert [name for name in dynamic if not is_within(name, "importlib.resources")] == []


@each_module
def test_components_use_neither_network_nor_programs(path: Path) -> None:
    if is_within(module_name(path), "components"):
        assert [name for name in list_imports(path) if is_within(name, *FORBIDDEN_IN_COMPONENTS)] == []


@each_module
def test_components_read_no_files(path: Path) -> None:
    """The engines' own scripts are part of the package."""
    if is_within(module_name(path), "components") and not is_within(module_name(path), "components.engines"):
        assert [name for name in list_imports(path) if is_within(name, "os", "pathlib", "io")] == []
        assert "open" not in {node.id for node in ast.walk(parse(path)) if isinstance(node, ast.Name)}


@each_module
def test_names_and_connections_are_pure(path: Path) -> None:
    if module_name(path) in PURE_MODULES:
        assert [name for name in list_imports(path) if "pulumi" in name or "pydantic" in name] == []


@each_module
def test_one_module_reads_the_configuration(path: Path) -> None:
    name = module_name(path)
    if name == "stacks.config" or not is_within(name, "components", "stacks"):
        return
    assert [name for name in list_imports(path) if name.startswith("pulumi") and "config" in name.lower()] == []
    attributes = [node for node in ast.walk(parse(path)) if isinstance(node, ast.Attribute)]
    stack_names = set() if name in STATE_READERS else {"get_stack", "get_project", "get_organization"}
    of_pulumi = {node.attr for node in attributes if isinstance(node.value, ast.Name) and node.value.id == "pulumi"}
    assert not of_pulumi & {"Config", *stack_names}
    assert not {node.attr for node in attributes} & {"environ", "getenv"}


@each_module
def test_preflight_imports_a_driver_only_in_the_module_of_its_engine(path: Path) -> None:
    name = module_name(path)
    if is_within(name, "preflight"):
        drivers = {imported.partition(".")[0] for imported in list_imports(path)} & set(DRIVERS)
        assert drivers <= {driver for driver, engine in DRIVERS.items() if name == f"{PROBES}.{engine}"}


# Engines, kinds and labels


@each_module
def test_components_name_an_engine_or_a_kind_only_in_its_module(path: Path) -> None:
    """A tenth engine is one module and one line: no code branches on the name of an engine."""
    name = module_name(path)
    if is_within(name, "components"):
        own_name = name.replace(CLUSTERS, "components.engines.")
        foreign = {other for other in list_names(path) if OWN_MODULES.get(other, own_name) != own_name}
        assert {other for other in foreign if (name, other) not in ALLOWED_NAMES} == set()


@each_module
def test_preflight_names_an_engine_only_in_its_probe_and_in_the_table_of_probes(path: Path) -> None:
    name = module_name(path)
    if is_within(name, "preflight") and name != PROBES:
        assert {text for text in list_strings(path) if text in ENGINES and name != f"{PROBES}.{text}"} == set()


@pytest.mark.parametrize("engine", list(ENGINES))
def test_list_names_finds_names_in_the_module_of_an_engine(
    engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "components" / "engines" / f"{engine}.py"
    path.parent.mkdir(parents=True)
    path.write_text('KIND = "local"\nENGINE = "mysql"\nSCRIPT = "local x=1 # external_pid_file"\n')
    monkeypatch.setattr("tests.test_architecture.ROOT", tmp_path)
    assert list(list_names(path)) == ["local", "mysql"]


def test_engines_and_kinds_have_their_own_modules() -> None:
    assert set(OWN_MODULES.values()) <= {module_name(path) for path in FILES}


@each_module
def test_labels_and_annotations_are_in_one_module(path: Path) -> None:
    name = module_name(path)
    if is_within(name, "components") and name not in LABEL_MODULES and not name.startswith(CLUSTERS):
        assert [text for text in list_strings(path) if LABEL_RE.search(text)] == []


@pytest.mark.parametrize(
    ("text", "is_label"),
    [
        ("database-groups", True),
        ("database-groups/stack", True),
        ("app.kubernetes.io/name", True),
        ("/etc/database-groups/settings", False),
        ("define it in `database-groups:externalServers`", False),
    ],
)
def test_label_re_matches_labels_only(text: str, is_label: bool) -> None:
    assert bool(LABEL_RE.search(text)) == is_label


# Names of functions and exports


def list_functions(path: Path) -> Iterator[str]:
    """Yield the names of a module's functions and methods, without properties and magic methods."""
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("__"):
            decorators = {ast.unparse(decorator).rpartition(".")[2] for decorator in node.decorator_list}
            if not decorators & {"property", "cached_property"}:
                yield node.name


def begins_with_verb(name: str) -> bool:
    return name.lstrip("_").partition("_")[0] in VERBS


@each_module
def test_names_of_functions_begin_with_a_verb(path: Path) -> None:
    """A function that is named by a noun or a participle does not say what it does."""
    module = module_name(path)
    if is_within(module, *NAMING_PACKAGES) and module not in GETTER_MODULES:
        names = [name for name in list_functions(path) if (module, name) not in NAMING_EXCEPTIONS]
        assert [name for name in names if not begins_with_verb(name)] == []


@pytest.mark.parametrize(
    ("name", "expected"),
    [("_build_uri", True), ("is_retained", True), ("retained", False), ("_account", False), ("durable", False)],
)
def test_begins_with_verb_rejects_nouns_and_participles(name: str, expected: bool) -> None:
    assert begins_with_verb(name) is expected


def test_every_exception_is_needed() -> None:
    paths = {module_name(path): path for path in FILES}
    assert [(name, other) for name, other in ALLOWED_NAMES if other not in set(list_names(paths[name]))] == []
    assert [
        (name, function) for name, function in NAMING_EXCEPTIONS if function not in set(list_functions(paths[name]))
    ] == []
    assert [name for name in GETTER_MODULES if all(map(begins_with_verb, list_functions(paths[name])))] == []


@each_module
def test_module_has_a_docstring(path: Path) -> None:
    assert ast.get_docstring(parse(path))


def list_definitions(path: Path) -> set[str]:
    """Return the names that a module defines. A package also defines the names that it imports from its modules."""
    names: set[str] = set()
    for node in parse(path).body:
        if isinstance(node, ast.ImportFrom) and path.name == "__init__.py":
            is_own = is_within(f"{node.module}", module_name(path))
            names |= {alias.name for alias in node.names if is_own}
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        targets = node.targets if isinstance(node, ast.Assign) else []
        targets = [node.target] if isinstance(node, ast.AnnAssign) else targets
        names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return names


def list_exports(path: Path) -> list[str] | None:
    """Return `__all__` of a module; None if the module does not define it."""
    for node in parse(path).body:
        targets = node.targets if isinstance(node, ast.Assign) else []
        if isinstance(node, ast.Assign) and any(
            isinstance(name, ast.Name) and name.id == "__all__" for name in targets
        ):
            return [str(name) for name in ast.literal_eval(node.value)]
    return None


@each_module
def test_module_exports_its_own_public_names(path: Path) -> None:
    exports, definitions = list_exports(path), list_definitions(path)
    if exports is None:
        assert not {name for name in definitions if not name.startswith("_")}, "define `__all__`"
        return
    assert len(set(exports)) == len(exports)
    assert [name for name in exports if name not in definitions or name.startswith("_")] == []


@each_module
def test_module_imports_only_exported_names(path: Path) -> None:
    paths = {module_name(other): other for other in FILES}
    imports = [name for name in list_imports(path) if is_within(name, *PACKAGES) and name not in paths]
    assert [
        name
        for name in imports
        for source, _, attribute in [name.rpartition(".")]
        if attribute not in (list_exports(paths[source]) or ())
    ] == []


def test_main_is_short() -> None:
    assert len((ROOT / "__main__.py").read_text().splitlines()) < 25
