"""The JSON schema and the reference describe what the parser accepts."""

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from components.engines import ENGINES
from stacks.key_examples import KEY_EXAMPLES
from stacks.reference import list_keys, render_pages, render_reference
from stacks.schema import SCHEMA_PATH, build_schema_document, build_stack_schema, render_schema
from stacks.yaml_document import read_yaml
from tests.faulty_stacks import FAULTY_STACKS, FULL_STACK, FaultyStack
from tests.support import (
    EXISTING_SERVER,
    NETWORK_ENGINES,
    STACK_CASES,
    config_issues,
    existing_account,
    external_server,
    groups,
    managed_server,
    stack_with_group,
    stack_with_provisioned_group,
)

EXAMPLES = [SCHEMA_PATH.with_name(f"Pulumi.{stack}.yaml") for stack in ("development", "production")]
SECURE = {"secure": "v1:abc"}
REDIS = stack_with_group("redis")


@cache
def validator() -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(build_schema_document())


def is_valid(raw: dict[str, Any], prefix: str = "database-groups:") -> bool:
    return bool(validator().is_valid({"config": {f"{prefix}{key}": value for key, value in raw.items()}}))


@pytest.mark.parametrize(
    ("path", "content"),
    [(SCHEMA_PATH, render_schema()), *render_pages().items()],
    ids=lambda value: value.stem if isinstance(value, Path) else "",
)
def test_generated_file_is_up_to_date(path: Path, content: str) -> None:
    assert path.read_text() == content, f"{path.name} is not up to date: run `make schema`"


def test_schema_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(json.loads(render_schema()))


@pytest.mark.parametrize("path", EXAMPLES, ids=[path.name for path in EXAMPLES])
def test_example_names_the_schema_and_is_valid(path: Path) -> None:
    content = path.read_bytes()
    assert content.splitlines()[0] == b"# yaml-language-server: $schema=schema.json"
    validator().validate(read_yaml(content).value)


VALID: dict[str, dict[str, Any]] = {
    "full stack": FULL_STACK,
    "group without keys": groups(mysql={"main": {}}),
    "every engine": groups(**{engine: {"a": {"server": managed_server(engine)}} for engine in ENGINES}),
    "every account": groups(**{engine: {"a": {"server": existing_account(engine)}} for engine in NETWORK_ENGINES}),
    "settings of every type": stack_with_group(
        "mysql", {"kind": "dedicated", "settings": {"a_b": "c", "d-e": 1, "f": 0.5, "g": True, "h.i": ""}}
    ),
    "all keys of a local server": stack_with_group(
        "mysql",
        {
            "kind": "local",
            "version": "8.4",
            "image": "i:1",
            "storage": "1Gi",
            "storageClass": "c",
            "resources": {"cpu": "1", "memory": "1Gi"},
            "settings": {"max_connections": 5},
            "initScript": "SELECT 1;\nSELECT 2;\n",
        },
        primary=True,
        variant="percona",
        passwordVersion=2,
        protect="retain",
        networkPolicy=False,
    ),
    "keys without a value": stack_with_group("mysql", {"kind": "local", "version": None, "resources": {"cpu": None}}),
    "an image with another version": stack_with_group(
        "elasticsearch", {"kind": "local", "image": "i:1", "version": "9"}
    ),
    "list of hosts": stack_with_group("redis", {"kind": "external", "host": ["10.0.0.1", "FD00::2"][:1]}),
    "hosts": stack_with_group("mysql", {**EXISTING_SERVER, "host": "FD00::1"}),
    "chosen names": stack_with_provisioned_group("mysql", database="a_b", username="c", tls="require"),
    "extensions": stack_with_provisioned_group("postgresql", extensions=["pg_trgm", "uuid-ossp"]),
    "unused server": {**REDIS, "externalServers": {"hq": external_server("mysql", tls="require", port=3307)}},
    "tolerations": {
        **REDIS,
        "databaseNodes": {
            "tolerations": [{"operator": "Exists"}, {"key": "a", "effect": "NoExecute", "tolerationSeconds": 5}]
        },
    },
    "workloads": {
        "applications": {
            "shop": {
                "workloads": [
                    {"kind": "Deployment", "name": "web", "containers": ["web", "1st"], "rolloutSeconds": 0},
                    {"kind": "StatefulSet", "name": "jobs.2"},
                    {"kind": "DaemonSet", "name": "agent", "containers": None},
                ],
                "databases": {"redis": {"main": None}},
            }
        }
    },
    "existing namespace": {
        "applications": {
            "shop": {"namespace": "default", "createNamespace": False, "databases": {"redis": {"main": None}}}
        }
    },
}
ENCRYPTED = {
    "password": stack_with_group("mysql", {**EXISTING_SERVER, "password": SECURE}),
    "token": stack_with_group("influxdb", {**existing_account("influxdb"), "token": SECURE}),
    "administrator": stack_with_provisioned_group("mysql", {"administrator": {"username": "u", "password": SECURE}}),
}


@pytest.mark.parametrize("raw", [*(pytest.param(raw, id=name) for name, raw in VALID.items()), *STACK_CASES])
def test_schema_accepts_valid_stacks(raw: dict[str, Any]) -> None:
    assert config_issues(raw) == []
    assert is_valid(raw)
    assert is_valid(raw, prefix="")


@pytest.mark.parametrize("raw", ENCRYPTED.values(), ids=list(ENCRYPTED))
def test_schema_accepts_encrypted_values(raw: dict[str, Any]) -> None:
    assert is_valid(raw)


@pytest.mark.parametrize("faulty", FAULTY_STACKS, ids=[faulty.name for faulty in FAULTY_STACKS])
def test_schema_rejects_faulty_stacks(faulty: FaultyStack) -> None:
    assert is_valid(faulty.raw) is faulty.is_accepted_by_schema


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("database-groups:environment", True),
        ("environment", True),
        ("kubernetes:context", True),
        ("other:environment", True),
        ("database-groups:enviroment", False),
        ("enviroment", False),
    ],
)
def test_schema_rejects_misspelt_top_level_keys(key: str, expected: bool) -> None:
    config = {f"database-groups:{name}": value for name, value in REDIS.items()}
    document = {"config": {**config, key: "development"}, "encryptionsalt": "v1:abc"}
    assert validator().is_valid(document) is expected
    assert not validator().is_valid({"config": {key: "development"}})


def test_every_key_has_a_description_and_a_matching_default() -> None:
    schema = build_stack_schema()
    for model in (schema, *schema["$defs"].values()):
        for name, key in model["properties"].items():
            assert key["description"].endswith("."), name
            assert "title" not in key
            if "default" in key:
                assert "Default: " in key["description"], name


@pytest.mark.parametrize(
    ("model", "key", "default"),
    [
        ("LocalKindSpec", "storage", "1Gi"),
        ("DedicatedKindSpec", "storage", "10Gi"),
        ("WorkloadSpec", "rolloutSeconds", 600),
        ("ExternalServerSpec", "tls", "verify-full"),
        ("ApplicationSpec", "createNamespace", True),
        ("AdministratorSpec", "port", None),
        ("DatabaseGroupSpec", "protect", None),
    ],
)
def test_schema_has_the_real_defaults(model: str, key: str, default: Any) -> None:
    assert build_schema_document()["$defs"][model]["properties"][key].get("default") == default


def test_reference_has_details_of_every_key() -> None:
    assert {model: set(keys) for model, keys in list_keys().items()} == {
        model: set(keys) for model, keys in KEY_EXAMPLES.items()
    }


@pytest.mark.parametrize(
    "row",
    [
        "| `storage` | text | `1Gi` (`local`), `10Gi` (`dedicated`) |",
        "| `tls` | `disable`, `require` or `verify-full` | `verify-full` |",
        "| `databases` | map | required |",
        "| `workloads` | list of maps | none |",
    ],
)
def test_reference_has_type_and_default(row: str) -> None:
    assert f"\n{row}" in render_reference()


@pytest.mark.parametrize(
    ("key", "kinds"),
    [
        ("prefix", "`kind: s3`, `kind: azure` or `kind: google`"),
        ("caFile", "`kind: s3` or `kind: rest`"),
        ("container", "`kind: azure`"),
    ],
)
def test_reference_has_all_kinds_of_a_key(key: str, kinds: str) -> None:
    (row,) = re.findall(rf"\n(\| `{key}` .* Supported with .*)", render_reference())
    assert f" Supported with {kinds} only. |" in row
