"""The JSON schema of a stack file, built from the models that parse it and from the engines.

`build_stack_schema` describes what the models accept. `build_schema_document` adds the rules that span several keys, so
that an editor rejects as many faulty files as a schema can. `make schema` writes it to `stacks/schema.json`.
"""

import copy
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

from pydantic.alias_generators import to_camel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core.core_schema import DictSchema

from components.engines import ENGINES
from components.engines.definition import Engine, Variant
from components.persisted.names import (
    MAX_DNS_LABEL_LENGTH,
    MAX_STATEFUL_SET_NAME_LENGTH,
    environment_secret_name,
    object_name,
)
from components.tls import VERIFY_FULL
from stacks.spec import PROJECT, StackSpec

__all__ = ["SCHEMA_PATH", "build_schema_document", "build_stack_schema", "render_schema"]

Schema: TypeAlias = dict[str, Any]

SCHEMA_PATH = Path(__file__).with_name("schema.json")
DEFAULT_RE = re.compile(r"Default: `([^`<]*)`\.$")
DEFAULT_BY_KIND_RE = re.compile(r"`([^`]*)` \(`(\w+)`\)")
IN_CLUSTER = {"properties": {"kind": {"enum": ["local", "dedicated"]}}, "required": ["kind"]}
EXTERNAL = {"properties": {"kind": {"const": "external"}}}
PROVISIONED = {**EXTERNAL, "required": ["kind", "provisionOn"]}
EXISTING = {**EXTERNAL, "required": ["kind", "host"], "type": "object"}
NOT_NULL = {"not": {"const": None}}
FIRST_VERSION = {"properties": {"passwordVersion": {"const": 0}}}
MAX_NAME_LENGTH = 253
ACCOUNT_NAME = {"type": ["string", "null"], "pattern": "^[a-z][a-z0-9_]*$"}


class _JsonSchema(GenerateJsonSchema):
    """JSON schemas that reject the names that the models reject."""

    def dict_schema(self, schema: DictSchema) -> JsonSchemaValue:
        result = super().dict_schema(schema)
        return {**result, "additionalProperties": False} if "patternProperties" in result else result


@cache
def build_stack_schema() -> Mapping[str, Any]:
    """Return the JSON schema of a StackSpec. Each definition's `title` is the name of its model."""
    schema = StackSpec.model_json_schema(by_alias=True, schema_generator=_JsonSchema)
    definitions = [schema, *schema["$defs"].values()]
    keys = {key for definition in definitions for key in definition["properties"]}
    for definition in definitions:
        kind = definition["properties"].get("kind", {}).get("const")
        for value in definition["properties"].values():
            value.pop("title", None)
            value.pop("default", None)
            value["description"] = " ".join(value["description"].split())
            default = _find_default(value["description"], kind)
            if default not in (None, *keys):
                value["default"] = default
    return schema


def _find_default(description: str, kind: str | None) -> Any:
    """Return the default that a description ends with, as a value; for a server kind, the default of that kind."""
    match = DEFAULT_RE.search(description)
    by_kind = {name: value for value, name in DEFAULT_BY_KIND_RE.findall(description.partition("Default: ")[2])}
    text = match[1] if match else by_kind.get(kind or "")
    try:
        return None if text is None else json.loads(text)
    except ValueError:
        return text


def build_schema_document() -> dict[str, Any]:
    """Return the schema of a whole stack file (JSON Schema 2020-12), for editors."""
    model = copy.deepcopy(dict(build_stack_schema()))
    definitions = model["$defs"]
    for definition in definitions.values():
        del definition["title"]
    for name, rules in _build_model_rules().items():
        definitions[name] |= rules
    databases = definitions["ApplicationSpec"]["properties"]["databases"]
    groups = databases.pop("additionalProperties")
    databases.pop("propertyNames")
    databases |= {
        "properties": {name: {"$ref": f"#/$defs/{_get_definition_name(name)}"} for name in ENGINES},
        "additionalProperties": False,
    }
    for engine in ENGINES.values():
        definitions[_get_definition_name(engine.name)] = _build_groups_schema(engine, groups)
    max_length = MAX_DNS_LABEL_LENGTH - len(environment_secret_name(""))
    model["properties"]["applications"] |= _build_name_rules(max_length)
    keys = model["properties"]
    own_keys = {name: {"$ref": f"#/$defs/{key}"} for key in keys for name in _list_spellings(key)}
    other_namespaces = {"pattern": f"^(?!{PROJECT}:)[^:]+:.+$"}
    config = {
        "description": "Configuration of the stack: the keys of the program and of its providers.",
        "type": "object",
        "properties": own_keys,
        "propertyNames": {"anyOf": [{"enum": list(own_keys)}, other_namespaces]},
        "allOf": [
            *({"anyOf": [{"required": [name]} for name in _list_spellings(key)]} for key in model["required"]),
            *_build_production_rules(),
        ],
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Stack file of database-groups",
        "type": "object",
        "properties": {"config": config},
        "required": ["config"],
        "$defs": {**keys, **definitions},
    }


def render_schema() -> str:
    """Return the content of the file."""
    return json.dumps(build_schema_document(), indent=1, ensure_ascii=False) + "\n"


def _build_name_rules(max_length: int) -> Schema:
    """Return the rules for an application whose namespace has its name."""
    creates_no_namespace = {"properties": {"createNamespace": {"const": False}}, "required": ["createNamespace"]}
    other_namespace = {"required": ["namespace"]}
    return {
        "propertyNames": {"maxLength": max_length},
        "allOf": [
            {"properties": {"default": {"anyOf": [creates_no_namespace, other_namespace]}}},
            {"patternProperties": {"^kube-": other_namespace}},
        ],
    }


def _list_spellings(key: str) -> list[str]:
    """Return a top-level key with and without the project's name; Pulumi accepts both."""
    return [f"{PROJECT}:{key}", key]


def _reject_keys(keys: Iterable[str]) -> Schema:
    return dict.fromkeys(keys, False)


def _build_model_rules() -> dict[str, Schema]:
    """Return the rules between the keys of one model, which repeat the model's validators."""
    created = ("port", "caFile", "password", "token", "org", "bucket", "vhost", "volume", "storage", "storageClass")
    return {
        "ExternalKindSpec": {
            "oneOf": [{"required": ["provisionOn"]}, {"required": ["host"]}],
            "allOf": [
                {"if": PROVISIONED, "then": {"properties": _reject_keys(created)}},
                {"if": EXISTING, "then": {"dependentRequired": {"username": ["password"]}}},
            ],
        },
        "ExternalServerSpec": {"allOf": list(_build_administrator_rules())},
        "TolerationSpec": {
            "allOf": [
                {
                    "if": {"properties": {"operator": {"const": "Exists"}}, "required": ["operator"]},
                    "then": {"properties": {"value": {"type": "null"}}},
                    "else": {"required": ["key"]},
                },
                {
                    "if": {"required": ["tolerationSeconds"]},
                    "then": {"properties": {"effect": {"const": "NoExecute"}}, "required": ["effect"]},
                },
            ]
        },
        "ApplicationSpec": {
            "allOf": [
                {"properties": {"namespace": {"not": {"pattern": "^kube-"}}}},
                {
                    "if": {"properties": {"namespace": {"const": "default"}}, "required": ["namespace"]},
                    "then": {"properties": {"createNamespace": {"const": False}}, "required": ["createNamespace"]},
                },
            ]
        },
    }


def _build_administrator_rules() -> Iterator[Schema]:
    """Yield a rule for each engine whose provider does not support all user names."""
    for engine in ENGINES.values():
        forbidden = engine.provisioner.forbidden_username_characters if engine.provisioner else ""
        if forbidden:
            username = {"not": {"pattern": f"[{re.escape(forbidden)}]"}}
            administrator = {"properties": {"administrator": {"properties": {"username": username}}}}
            yield {"if": {"properties": {"engine": {"const": engine.name}}}, "then": administrator}


def _build_production_rules() -> Iterator[Schema]:
    """Yield the rule that every group of a production stack has a server."""
    group = {"type": "object", "required": ["server"]}
    embedded = [engine.name for engine in ENGINES.values() if engine.build_runtime is None]
    databases = {"properties": _reject_keys(embedded), "additionalProperties": {"additionalProperties": group}}
    applications = {"additionalProperties": {"properties": {"databases": databases}}}
    for environment in _list_spellings("environment"):
        yield {
            "if": {"properties": {environment: {"const": "production"}}, "required": [environment]},
            "then": {"properties": dict.fromkeys(_list_spellings("applications"), applications)},
        }


def _get_definition_name(engine: str) -> str:
    return f"{engine}Groups"


def _build_groups_schema(engine: Engine, groups: Schema) -> Schema:
    """Return the schema of an engine's groups: that of all engines' with the rules of this one."""
    rule: Schema = {
        "properties": {"variant": {"enum": [*(variant.name for variant in engine.variants), None]}},
        "allOf": [
            *(_build_variant_rule(engine, variant) for variant in engine.variants),
            {"properties": {"server": {"allOf": list(_build_server_rules(engine))}}},
            {"if": {"properties": {"server": EXISTING}, "required": ["server"]}, "then": FIRST_VERSION},
        ],
    }
    if engine.credential_key is None:
        rule["allOf"].append(FIRST_VERSION)
    ((pattern, group),) = groups["patternProperties"].items()
    max_length = MAX_STATEFUL_SET_NAME_LENGTH - len(object_name(engine.name, ""))
    return {
        "type": "object",
        "minProperties": 1,
        "patternProperties": {pattern: {"allOf": [group, rule]}},
        "propertyNames": {"maxLength": max_length},
        "additionalProperties": False,
    }


def _build_server_rules(engine: Engine) -> Iterator[Schema]:
    """Yield the rules for a group's server that are the same for all variants of an engine."""
    provisioner = engine.provisioner
    if engine.build_runtime is None:
        embedded = {"const": "local"}
        keys = {"properties": {"kind": embedded}, "propertyNames": {"enum": ["kind", "storage", "storageClass"]}}
        yield {"anyOf": [embedded, {"type": "object", **keys}]}
        return
    if engine.settings_file is None:
        yield {"if": IN_CLUSTER, "then": {"properties": _reject_keys(["settings"])}}
    else:
        reserved = "|".join(re.escape(name) for name in sorted(engine.settings_file.reserved_names))
        names = {"propertyNames": {"not": {"pattern": rf"^({reserved})(\.|$)"}}}
        yield {"if": IN_CLUSTER, "then": {"properties": {"settings": names}}}
    if provisioner is None:
        yield {"properties": _reject_keys(["provisionOn"])}
    else:
        limits = {"database": engine.max_database_name_length, "username": engine.max_username_length}
        name: Schema = {**ACCOUNT_NAME, "not": {"pattern": f"^({engine.reserved_names_pattern})$"}}
        properties = {key: {**name, "maxLength": limit or MAX_NAME_LENGTH} for key, limit in limits.items()}
        yield {"if": PROVISIONED, "then": {"properties": properties}}
    yield {"if": EXISTING, "then": _build_existing_account_rule(engine)}
    if not engine.supports_tls_in_uri:
        yield {"if": EXTERNAL, "then": {"properties": _reject_keys(["tls", "caFile"])}}
    several_hosts = {"properties": {"host": {"type": "array", "minItems": 2}}, "required": ["host"]}
    yield {"if": several_hosts, "then": {"properties": {"tls": {"not": {"const": VERIFY_FULL}}}}}
    if not (provisioner and provisioner.supports_extensions):
        yield {"if": EXTERNAL, "then": {"properties": _reject_keys(["extensions"])}}


def _build_existing_account_rule(engine: Engine) -> Schema:
    """Return the rule for the account on an existing server: the keys that it requires and those that it excludes."""
    account = engine.existing_account
    account_keys = {key for other in ENGINES.values() for key in other.existing_account.keys}
    unsupported = sorted(account_keys - set(account.keys))
    volume_keys = ["storage", "storageClass"]
    if not engine.supports_external_volume:
        unsupported += volume_keys
    nameless = account.allows_password_without_username or "password" in unsupported
    names = {"database": {"pattern": f"^({account.database_pattern})$"}} if account.database_pattern else {}
    dependent = {} if nameless else {"password": ["username"]}
    return {
        "required": list(account.required),
        "properties": {
            **_reject_keys([*unsupported, "extensions"]),
            **dict.fromkeys(account.required, NOT_NULL),
            "adopt": {"const": False},
            **names,
        },
        "dependentRequired": {**dependent, "storage": ["storageClass"], "storageClass": ["storage"]},
    }


def _build_variant_rule(engine: Engine, variant: Variant) -> Schema:
    """Return the rule for a server in the cluster that runs a variant."""
    is_default = variant is engine.variants[0]
    condition: Schema = {"properties": {"variant": {"enum": [variant.name, *([None] if is_default else [])]}}}
    if not is_default:
        condition["required"] = ["variant"]
    if engine.build_runtime is None:
        return {}
    runtime = engine.build_runtime(variant, variant.default_version)
    unsupported = [to_camel("init_script")] if not runtime.runs_init_script else []
    if runtime.data_path is None:
        unsupported += ["storage", "storageClass"]
    series = "|".join(map(re.escape, variant.supported_series))
    keys = {"version": {"pattern": rf"^({series})(\.[0-9]+)*$"}, **_reject_keys(unsupported)}
    official = {"version": {"pattern": rf"^({series}|[0-9]+(\.[0-9]+){{{variant.release_parts - 1}}})$"}}
    server: Schema = {
        "allOf": [
            {"if": IN_CLUSTER, "then": {"properties": keys}},
            {"if": {**IN_CLUSTER, "not": {"required": ["image"]}}, "then": {"properties": official}},
        ]
    }
    group: Schema = {"properties": {"server": server}}
    if variant.image is None:
        server["allOf"].append({"not": {"enum": ["local", "dedicated"]}})
        server["allOf"].append({"if": IN_CLUSTER, "then": {"required": ["image"]}})
        group |= {"type": "object", "required": ["server"]}
    return {"if": condition, "then": group}
