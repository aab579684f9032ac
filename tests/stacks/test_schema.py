"""The schema that editors check stack files with says what the parser says, as far as a schema can."""

import copy
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from components.engines import ENGINES
from stacks.yaml_document import read_yaml
from stacks.schema import SCHEMA_PATH, build_schema_document, render_schema
from tests.support import (
    CANARY,
    EXISTING_SERVER,
    NETWORK_ENGINES,
    config_issues,
    existing_account,
    external_server,
    groups,
    managed_server,
    provisioned_on,
    stack_with_group,
)

EXAMPLES = [SCHEMA_PATH.with_name(f"Pulumi.{stack}.yaml") for stack in ("development", "production")]
"""The two that belong to the project; beside them anybody may have stacks of their own."""


def valid(raw: dict[str, Any]) -> bool:
    """Whether the schema takes a stack."""
    validator = jsonschema.Draft202012Validator(build_schema_document())
    return validator.is_valid({"config": {f"database-groups:{key}": value for key, value in raw.items()}})


def test_the_file_is_what_the_models_say() -> None:
    assert SCHEMA_PATH.read_text() == render_schema(), "stacks/schema.json is old; `make schema` writes it anew"


def test_the_schema_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(json.loads(render_schema()))


@pytest.mark.parametrize("path", EXAMPLES, ids=[path.name for path in EXAMPLES])
def test_an_example_names_the_schema_and_keeps_it(path: Path) -> None:
    content = path.read_text()
    assert content.splitlines()[0] == "# yaml-language-server: $schema=schema.json"
    jsonschema.Draft202012Validator(build_schema_document()).validate(read_yaml(content.encode()).value)


def workloads(*entries: Any, raw: Any = None) -> dict[str, Any]:
    """A stack with an application that has workloads."""
    return {"applications": {"shop": {"workloads": raw or list(entries), "databases": {"redis": {"main": None}}}}}


SECURE = {"secure": "v1:abc"}
GOOD = {
    "an empty group": groups(mysql={"main": None}),
    "a group without anything": groups(mysql={"main": {}}),
    "the short form": stack_with_group("mysql", "local"),
    "the long form": stack_with_group("mysql", {"kind": "local"}),
    "every engine": groups(**{engine: {"a": {"server": managed_server(engine)}} for engine in ENGINES}),
    "every account": groups(**{engine: {"a": {"server": existing_account(engine)}} for engine in NETWORK_ENGINES}),
    "every least account": groups(
        **{engine: {"a": {"server": existing_account(engine, whole=False)}} for engine in NETWORK_ENGINES}
    ),
    "settings of every kind": stack_with_group(
        "mysql", {"kind": "dedicated", "settings": {"a_b": "c", "d-e": 1, "f": 0.5, "g": True, "h.i": ""}}
    ),
    "every key of a local server": stack_with_group(
        "mysql",
        {
            "kind": "local",
            "version": "8.4",
            "image": "i",
            "storage": "1Gi",
            "storageClass": "c",
            "resources": {"cpu": "1", "memory": "1Gi"},
            "near": {"app": "web"},
            "settings": {"max_connections": 5},
            "initScript": "SELECT 1;\nSELECT 2;\n",
        },
        primary=True,
        variant="percona",
        passwordVersion=2,
    ),
    "a dedicated server": stack_with_group("mysql", {"kind": "dedicated", "exclusiveNode": True}),
    "processors as a number": stack_with_group("mysql", {"kind": "local", "resources": {"cpu": 2}}),
    "an account in plain text": stack_with_group("mysql", EXISTING_SERVER),
    "a list of hosts": stack_with_group("redis", {"kind": "external", "host": ["10.0.0.1", "10.0.0.2"]}),
    "a server": {
        "externalServers": {"hq": external_server("mysql", tls="require", port=3307)},
        **groups(mysql={"main": provisioned_on("hq")}),
    },
    "an administrator's own way in": {
        "externalServers": {
            "hq": external_server(
                "mysql", administrator={"username": "u", "password": CANARY, "host": "127.0.0.1", "port": 1}
            )
        },
        **groups(mysql={"main": provisioned_on("hq")}),
    },
    "a node pool": {
        "databaseNodes": {
            "selector": {"a": "b"},
            "tolerations": [{"key": "a", "operator": "Exists", "effect": "NoSchedule"}],
        },
        "environment": "development",
        **stack_with_group("mysql"),
    },
    "workloads": {
        "applications": {
            "shop": {
                "workloads": [
                    {"kind": "Deployment", "name": "web", "containers": "web", "rolloutSeconds": 0},
                    {"kind": "StatefulSet", "name": "jobs.2", "containers": ["web", "1st"]},
                    {"kind": "DaemonSet", "name": "agent"},
                ],
                "databases": {"redis": {"main": None}},
            }
        }
    },
    "an application with a namespace": {
        "applications": {"shop": {"namespace": "x", "createNamespace": False, "databases": {"redis": {"main": None}}}}
    },
}
ENCRYPTED = {
    "an encrypted password": stack_with_group("mysql", {**EXISTING_SERVER, "password": SECURE}),
    "an encrypted token": stack_with_group("mysql", {**EXISTING_SERVER, "token": SECURE}),
    "an administrator's encrypted password": {
        "externalServers": {"hq": external_server("mysql", administrator={"username": "u", "password": SECURE})},
        **groups(mysql={"main": provisioned_on("hq")}),
    },
}
BAD = {
    "no application": {},
    "an empty map of applications": {"applications": {}},
    "applications as a list": {"applications": []},
    "an application that is null": {"applications": {"shop": None}},
    "an application without databases": {"applications": {"shop": {"databases": {}}}},
    "an engine without groups": {"applications": {"shop": {"databases": {"mysql": {}}}}},
    "an unknown engine": stack_with_group("mysq"),
    "an unknown kind": stack_with_group("mysql", "remote"),
    "an unknown kind in the long form": stack_with_group("mysql", {"kind": "remote"}),
    "no kind": stack_with_group("mysql", {"storage": "1Gi"}),
    "a server that is null": stack_with_group("mysql", None),
    "an unknown key of an application": {"applications": {"shop": {"databases": {"mysql": {"main": None}}, "zzz": []}}},
    "an unknown key of a group": stack_with_group("mysql", primry=True),
    "an unknown key of a server": stack_with_group("mysql", {"kind": "dedicated", "replicas": 2}),
    "a key of another kind": stack_with_group("mysql", {"kind": "local", "host": "db"}),
    "an application of a bad name": {"applications": {"Shop": {"databases": {"mysql": {"main": None}}}}},
    "a group of a bad name": stack_with_group("mysql", group="Main"),
    "a group of too long a name": stack_with_group("redis", group="a" * 64),
    "a server of a bad name": {"externalServers": {"HQ": external_server("mysql")}, **stack_with_group("mysql")},
    "a port as a word": stack_with_group("mysql", {**EXISTING_SERVER, "port": "3306"}),
    "a port as a truth": stack_with_group("mysql", {**EXISTING_SERVER, "port": True}),
    "a port of zero": stack_with_group("mysql", {**EXISTING_SERVER, "port": 0}),
    "a port that is too high": stack_with_group("mysql", {**EXISTING_SERVER, "port": 65536}),
    "a truth as a word": stack_with_group("mysql", primary="yes"),
    "a truth as a number": stack_with_group("mysql", primary=1),
    "a negative rotation": stack_with_group("mysql", passwordVersion=-1),
    "a version as a number": stack_with_group("mysql", {"kind": "local", "version": 8.4}),
    "processors as a word": stack_with_group("mysql", {"kind": "local", "resources": {"cpu": "two"}}),
    "no processors": stack_with_group("mysql", {"kind": "local", "resources": {"cpu": 0}}),
    "processors as a truth": stack_with_group("mysql", {"kind": "local", "resources": {"cpu": True}}),
    "a size without a unit": stack_with_group("mysql", {"kind": "local", "storage": "10"}),
    "a list of no hosts": stack_with_group("mysql", {**EXISTING_SERVER, "host": []}),
    "a password as a number": stack_with_group("mysql", {**EXISTING_SERVER, "password": 5}),
    "an empty password": stack_with_group("mysql", {**EXISTING_SERVER, "password": ""}),
    "a token as a number": stack_with_group("mysql", {**EXISTING_SERVER, "token": 5}),
    "a setting that is a list": stack_with_group("mysql", {"kind": "local", "settings": {"a": [1]}}),
    "a setting that is a map": stack_with_group("mysql", {"kind": "local", "settings": {"a": {"b": 1}}}),
    "a setting that is null": stack_with_group("mysql", {"kind": "local", "settings": {"a": None}}),
    "a setting that is too long": stack_with_group("mysql", {"kind": "local", "settings": {"a": "b" * 4097}}),
    "a setting of a bad name": stack_with_group("mysql", {"kind": "local", "settings": {"a b": 1}}),
    "settings that are a word": stack_with_group("mysql", {"kind": "local", "settings": "a=b"}),
    "an empty init": stack_with_group("mysql", {"kind": "local", "initScript": ""}),
    "an init that is a list": stack_with_group("mysql", {"kind": "local", "initScript": ["a"]}),
    "settings of an external server": stack_with_group("mysql", {**EXISTING_SERVER, "settings": {"a": 1}}),
    "workloads as a map": workloads({}, raw={"web": {}}),
    "a workload of an unknown kind": workloads({"kind": "Job", "name": "web"}),
    "a workload without a name": workloads({"kind": "Deployment"}),
    "a workload of a bad name": workloads({"kind": "Deployment", "name": "Web"}),
    "a container of a bad name": workloads({"kind": "Deployment", "name": "web", "containers": "a.b"}),
    "an empty list of containers": workloads({"kind": "Deployment", "name": "web", "containers": []}),
    "a container that is null and a number": workloads({"kind": "Deployment", "name": "web", "containers": 5}),
    "a negative wait": workloads({"kind": "Deployment", "name": "web", "rolloutSeconds": -1}),
    "an unknown key of a workload": workloads({"kind": "Deployment", "name": "web", "containers": ["web"]}),
    "an unknown environment": {"environment": "prod", **stack_with_group("mysql")},
    "an unknown tls": {"externalServers": {"hq": external_server("mysql", tls="on")}, **stack_with_group("mysql")},
    "a server of an engine without provisioning": {
        "externalServers": {"hq": external_server("redis")},
        **stack_with_group("mysql"),
    },
    "an administrator without a password": {
        "externalServers": {"hq": external_server("mysql", administrator={"username": "u"})},
        **stack_with_group("mysql"),
    },
}


@pytest.mark.parametrize("raw", GOOD.values(), ids=list(GOOD))
def test_what_the_parser_takes_the_schema_takes(raw: dict[str, Any]) -> None:
    assert config_issues(raw) == []
    assert valid(raw)


@pytest.mark.parametrize("raw", ENCRYPTED.values(), ids=list(ENCRYPTED))
def test_an_encrypted_password_is_good_in_a_file_whatever_pulumi_makes_of_it(raw: dict[str, Any]) -> None:
    assert valid(raw)


@pytest.mark.parametrize("raw", BAD.values(), ids=list(BAD))
def test_what_the_schema_can_refuse_is_refused_by_both(raw: dict[str, Any]) -> None:
    assert config_issues(raw) != []
    assert not valid(raw)


def test_other_keys_of_a_stack_file_are_not_the_schemas_matter() -> None:
    validator = jsonschema.Draft202012Validator(build_schema_document())
    content: dict[str, Any] = {
        "config": {"kubernetes:context": "c", "database-groups:applications": stack_with_group("mysql")["applications"]}
    }
    assert validator.is_valid({**content, "encryptionsalt": "v1:abc"})
    lost = copy.deepcopy(content)
    del lost["config"]["database-groups:applications"]
    assert not validator.is_valid(lost)
    assert not validator.is_valid({})


def test_every_key_has_a_description_or_says_all_by_its_name() -> None:
    undescribed = {
        f"{name}.{key}"
        for name, definition in build_schema_document()["$defs"].items()
        for key, value in definition.get("properties", {}).items()
        if "description" not in value and not value.get("$ref")
    }
    assert not {
        key
        for key in undescribed
        if key.split(".")[1]
        in {"on", "host", "server", "primary", "rotation", "near", "exclusiveNode", "createNamespace"}
    } - {"ProvisioningServerSpec.host"}
