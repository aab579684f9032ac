"""The schema that editors check stack files with says what the parser says, as far as a schema can."""

import copy
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from components.engines import ENGINES
from offline.stackfile import Loader
from stacks.schema import PATH, document, text
from tests.support import CANARY, GIVEN, REACHED, given_account, groups, on, one_group, own, problems, server

EXAMPLES = [PATH.with_name(f"Pulumi.{stack}.yaml") for stack in ("development", "production")]
"""The two that belong to the project; beside them anybody may have stacks of their own."""


def valid(raw: dict[str, Any]) -> bool:
    """Whether the schema takes a stack."""
    validator = jsonschema.Draft202012Validator(document())
    return validator.is_valid({"config": {f"database-groups:{key}": value for key, value in raw.items()}})


def test_the_file_is_what_the_models_say() -> None:
    assert PATH.read_text() == text(), "stacks/schema.json is old; `make schema` writes it anew"


def test_the_schema_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(json.loads(text()))


@pytest.mark.parametrize("path", EXAMPLES, ids=[path.name for path in EXAMPLES])
def test_an_example_names_the_schema_and_keeps_it(path: Path) -> None:
    content = path.read_text()
    assert content.splitlines()[0] == "# yaml-language-server: $schema=schema.json"
    jsonschema.Draft202012Validator(document()).validate(yaml.load(content, Loader))  # noqa: S506 (a SafeLoader)


def workloads(*entries: Any, raw: Any = None) -> dict[str, Any]:
    """A stack with an application that has workloads."""
    return {"applications": {"shop": {"workloads": raw or list(entries), "databases": {"redis": {"main": None}}}}}


SECURE = {"secure": "v1:abc"}
GOOD = {
    "an empty group": groups(mysql={"main": None}),
    "a group without anything": groups(mysql={"main": {}}),
    "the short form": one_group("mysql", "local"),
    "the long form": one_group("mysql", {"kind": "local"}),
    "every engine": groups(**{engine: {"a": {"server": own(engine)}} for engine in ENGINES}),
    "every account": groups(**{engine: {"a": {"server": given_account(engine)}} for engine in REACHED}),
    "every least account": groups(**{engine: {"a": {"server": given_account(engine, whole=False)}} for engine in REACHED}),
    "settings of every kind": one_group("mysql", {"kind": "dedicated", "settings": {"a_b": "c", "d-e": 1, "f": 0.5, "g": True, "h.i": ""}}),
    "every key of a local server": one_group(
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
            "init": "SELECT 1;\nSELECT 2;\n",
        },
        primary=True,
        flavour="percona",
        rotation=2,
    ),
    "a dedicated server": one_group("mysql", {"kind": "dedicated", "exclusiveNode": True}),
    "processors as a number": one_group("mysql", {"kind": "local", "resources": {"cpu": 2}}),
    "an account in plain text": one_group("mysql", GIVEN),
    "a list of hosts": one_group("redis", {"kind": "external", "host": ["10.0.0.1", "10.0.0.2"]}),
    "a server": {"servers": {"hq": server("mysql", tls="require", port=3307)}, **groups(mysql={"main": on("hq")})},
    "an administrator's own way in": {
        "servers": {"hq": server("mysql", administrator={"username": "u", "password": CANARY, "host": "127.0.0.1", "port": 1})},
        **groups(mysql={"main": on("hq")}),
    },
    "a node pool": {
        "databaseNodes": {"selector": {"a": "b"}, "tolerations": [{"key": "a", "operator": "Exists", "effect": "NoSchedule"}]},
        "environment": "development",
        **one_group("mysql"),
    },
    "workloads": {
        "applications": {
            "shop": {
                "workloads": [
                    {"kind": "Deployment", "name": "web", "container": "web", "rolloutSeconds": 0},
                    {"kind": "StatefulSet", "name": "jobs.2", "container": ["web", "1st"]},
                    {"kind": "DaemonSet", "name": "agent"},
                ],
                "databases": {"redis": {"main": None}},
            }
        }
    },
    "an application with a namespace": {"applications": {"shop": {"namespace": "x", "createNamespace": False, "databases": {"redis": {"main": None}}}}},
}
ENCRYPTED = {
    "an encrypted password": one_group("mysql", {**GIVEN, "password": SECURE}),
    "an encrypted token": one_group("mysql", {**GIVEN, "token": SECURE}),
    "an administrator's encrypted password": {
        "servers": {"hq": server("mysql", administrator={"username": "u", "password": SECURE})},
        **groups(mysql={"main": on("hq")}),
    },
}
BAD = {
    "no application": {},
    "an empty map of applications": {"applications": {}},
    "applications as a list": {"applications": []},
    "an application that is null": {"applications": {"shop": None}},
    "an application without databases": {"applications": {"shop": {"databases": {}}}},
    "an engine without groups": {"applications": {"shop": {"databases": {"mysql": {}}}}},
    "an unknown engine": one_group("mysq"),
    "an unknown kind": one_group("mysql", "remote"),
    "an unknown kind in the long form": one_group("mysql", {"kind": "remote"}),
    "no kind": one_group("mysql", {"storage": "1Gi"}),
    "a server that is null": one_group("mysql", None),
    "an unknown key of an application": {"applications": {"shop": {"databases": {"mysql": {"main": None}}, "zzz": []}}},
    "an unknown key of a group": one_group("mysql", primry=True),
    "an unknown key of a server": one_group("mysql", {"kind": "dedicated", "replicas": 2}),
    "a key of another kind": one_group("mysql", {"kind": "local", "host": "db"}),
    "an application of a bad name": {"applications": {"Shop": {"databases": {"mysql": {"main": None}}}}},
    "a group of a bad name": one_group("mysql", group="Main"),
    "a group of too long a name": one_group("redis", group="a" * 64),
    "a server of a bad name": {"servers": {"HQ": server("mysql")}, **one_group("mysql")},
    "a port as a word": one_group("mysql", {**GIVEN, "port": "3306"}),
    "a port as a truth": one_group("mysql", {**GIVEN, "port": True}),
    "a port of zero": one_group("mysql", {**GIVEN, "port": 0}),
    "a port that is too high": one_group("mysql", {**GIVEN, "port": 65536}),
    "a truth as a word": one_group("mysql", primary="yes"),
    "a truth as a number": one_group("mysql", primary=1),
    "a negative rotation": one_group("mysql", rotation=-1),
    "a version as a number": one_group("mysql", {"kind": "local", "version": 8.4}),
    "processors as a word": one_group("mysql", {"kind": "local", "resources": {"cpu": "two"}}),
    "no processors": one_group("mysql", {"kind": "local", "resources": {"cpu": 0}}),
    "processors as a truth": one_group("mysql", {"kind": "local", "resources": {"cpu": True}}),
    "a size without a unit": one_group("mysql", {"kind": "local", "storage": "10"}),
    "a list of no hosts": one_group("mysql", {**GIVEN, "host": []}),
    "a password as a number": one_group("mysql", {**GIVEN, "password": 5}),
    "an empty password": one_group("mysql", {**GIVEN, "password": ""}),
    "a token as a number": one_group("mysql", {**GIVEN, "token": 5}),
    "a setting that is a list": one_group("mysql", {"kind": "local", "settings": {"a": [1]}}),
    "a setting that is a map": one_group("mysql", {"kind": "local", "settings": {"a": {"b": 1}}}),
    "a setting that is null": one_group("mysql", {"kind": "local", "settings": {"a": None}}),
    "a setting that is too long": one_group("mysql", {"kind": "local", "settings": {"a": "b" * 4097}}),
    "a setting of a bad name": one_group("mysql", {"kind": "local", "settings": {"a b": 1}}),
    "settings that are a word": one_group("mysql", {"kind": "local", "settings": "a=b"}),
    "an empty init": one_group("mysql", {"kind": "local", "init": ""}),
    "an init that is a list": one_group("mysql", {"kind": "local", "init": ["a"]}),
    "settings of an external server": one_group("mysql", {**GIVEN, "settings": {"a": 1}}),
    "workloads as a map": workloads({}, raw={"web": {}}),
    "a workload of an unknown kind": workloads({"kind": "Job", "name": "web"}),
    "a workload without a name": workloads({"kind": "Deployment"}),
    "a workload of a bad name": workloads({"kind": "Deployment", "name": "Web"}),
    "a container of a bad name": workloads({"kind": "Deployment", "name": "web", "container": "a.b"}),
    "an empty list of containers": workloads({"kind": "Deployment", "name": "web", "container": []}),
    "a container that is null and a number": workloads({"kind": "Deployment", "name": "web", "container": 5}),
    "a negative wait": workloads({"kind": "Deployment", "name": "web", "rolloutSeconds": -1}),
    "an unknown key of a workload": workloads({"kind": "Deployment", "name": "web", "containers": ["web"]}),
    "an unknown environment": {"environment": "prod", **one_group("mysql")},
    "an unknown tls": {"servers": {"hq": server("mysql", tls="on")}, **one_group("mysql")},
    "a server of an engine without provisioning": {"servers": {"hq": server("redis")}, **one_group("mysql")},
    "an administrator without a password": {"servers": {"hq": server("mysql", administrator={"username": "u"})}, **one_group("mysql")},
}


@pytest.mark.parametrize("raw", GOOD.values(), ids=list(GOOD))
def test_what_the_parser_takes_the_schema_takes(raw: dict[str, Any]) -> None:
    assert problems(raw) == []
    assert valid(raw)


@pytest.mark.parametrize("raw", ENCRYPTED.values(), ids=list(ENCRYPTED))
def test_an_encrypted_password_is_good_in_a_file_whatever_pulumi_makes_of_it(raw: dict[str, Any]) -> None:
    assert valid(raw)


@pytest.mark.parametrize("raw", BAD.values(), ids=list(BAD))
def test_what_the_schema_can_refuse_is_refused_by_both(raw: dict[str, Any]) -> None:
    assert problems(raw) != []
    assert not valid(raw)


def test_other_keys_of_a_stack_file_are_not_the_schemas_matter() -> None:
    validator = jsonschema.Draft202012Validator(document())
    content: dict[str, Any] = {"config": {"kubernetes:context": "c", "database-groups:applications": one_group("mysql")["applications"]}}
    assert validator.is_valid({**content, "encryptionsalt": "v1:abc"})
    lost = copy.deepcopy(content)
    del lost["config"]["database-groups:applications"]
    assert not validator.is_valid(lost)
    assert not validator.is_valid({})


def test_every_key_has_a_description_or_says_all_by_its_name() -> None:
    undescribed = {
        f"{name}.{key}"
        for name, definition in document()["$defs"].items()
        for key, value in definition.get("properties", {}).items()
        if "description" not in value and not value.get("$ref")
    }
    assert not {
        key for key in undescribed if key.split(".")[1] in {"on", "host", "server", "primary", "rotation", "near", "exclusiveNode", "createNamespace"}
    } - {"ProvisioningServerSpec.host"}
