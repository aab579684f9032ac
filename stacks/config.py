"""From the stack's configuration to the arguments of its applications. The only reader of `pulumi.Config`; it makes no resource."""

import copy
import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Literal

from pulumi.runtime import config
from pydantic import Field, ValidationError
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core.core_schema import DictSchema

from components.application import ApplicationArgs, ApplicationSpec
from components.external_servers import ExternalServer, ExternalServerSpec
from components.platform import NodePoolSpec, Platform
from components.spec import DnsLabel, SpecModel
from components.workload_patches import PatchedWorkload
from preflight.cluster import ClusterKeys
from stacks.errors import SECRET_KEYS, ConfigIssue, InvalidStackConfigError, Location, issues_from_pydantic
from stacks.validation import production_warnings, validate_applications

__all__ = [
    "OFFLINE_CONFIG_KEY",
    "PROJECT",
    "Stack",
    "StackSpec",
    "load_cluster_config",
    "load_stack",
    "parse_pulumi_config",
    "parse_stack",
    "stack_json_schema",
]

PROJECT = "database-groups"
OFFLINE_CONFIG_KEY = "offline:clusterless"
"""The key by which a run says that it has no cluster."""


class StackSpec(SpecModel):
    """The keys of a stack file that are this program's."""

    environment: Literal["development", "production"] = "development"
    """In production what holds data is protected, and every group says where its server comes from."""
    database_nodes: NodePoolSpec = Field(default_factory=NodePoolSpec)
    """The nodes for dedicated servers."""
    preflight: Literal["runner", "none"] = "runner"
    """From where external servers are checked before anything is created: where the program runs, or not at all."""
    external_servers: dict[DnsLabel, ExternalServerSpec] = Field(default_factory=dict)
    """External servers on which databases are made."""
    applications: Annotated[dict[DnsLabel, ApplicationSpec], Field(min_length=1)]
    """The applications, each with the databases that it needs."""


@dataclass(frozen=True, kw_only=True)
class Stack:
    """A stack without mistakes."""

    spec: StackSpec
    applications: tuple[ApplicationArgs, ...]
    warnings: tuple[str, ...]
    removed_workloads: tuple[PatchedWorkload, ...] = ()
    """Workloads into which the last update put variables, and which the cluster does not have any more."""

    def outputs(self) -> dict[str, Any]:
        """What the stack exports: names only."""
        return {application.name: application.output_summary() for application in self.applications}


def load_stack() -> Stack:
    """The stack of the running Pulumi program. Raises InvalidStack."""
    values = {**config.get_config_env(), **config.CONFIG.get()}
    return parse_pulumi_config(values, encrypted={key for key in values if config.is_config_secret(key)})


def parse_pulumi_config(values: Mapping[str, Any], *, encrypted: Collection[str] = ()) -> Stack:
    """The stack of a configuration as Pulumi hands it over: by full keys, with maps as JSON. Raises InvalidStack."""
    prefix = f"{PROJECT}:"
    ours = {key.removeprefix(prefix): _decode_value(value) for key, value in values.items() if key.startswith(prefix)}
    return parse_stack(ours, encrypted={key.removeprefix(prefix) for key in encrypted})


def load_cluster_config() -> ClusterKeys | None:
    """How the running program finds its cluster; None where it has none."""
    values = {**config.get_config_env(), **config.CONFIG.get()}
    if OFFLINE_CONFIG_KEY in values:
        return None
    return ClusterKeys(**{key: values.get(f"kubernetes:{key}") for key in ("kubeconfig", "context", "cluster")})


def parse_stack(raw: Mapping[str, Any], *, encrypted: Collection[str] = ()) -> Stack:
    """The stack of a plain mapping, of which the keys `encrypted` hold encrypted values. Raises InvalidStack with every mistake."""
    spec, found = _validate_values(raw)
    problems = [problem for _, problem in found]
    if spec is not None:
        applications = _build_application_args(spec)
        lost_server = any(location[0] == "externalServers" for location, _ in found)
        problems += [
            problem
            for problem in validate_applications(applications)
            if not (lost_server and problem.path.endswith(".server.provisionOn"))
        ]
        if not problems:
            notes = [*production_warnings(applications), *_unencrypted_secrets(spec, encrypted)]
            return Stack(spec=spec, applications=applications, warnings=tuple(map(str, notes)))
    raise InvalidStackConfigError(problems)


class _JsonSchema(GenerateJsonSchema):
    """JSON schemas that refuse the names which the models refuse."""

    def dict_schema(self, schema: DictSchema) -> JsonSchemaValue:
        found = super().dict_schema(schema)
        return {**found, "additionalProperties": False} if "patternProperties" in found else found


@cache
def stack_json_schema() -> Mapping[str, Any]:
    """The JSON schema of a StackSpec."""
    return StackSpec.model_json_schema(by_alias=True, schema_generator=_JsonSchema)


def _decode_value(value: Any) -> Any:
    """A value of the configuration, whose maps Pulumi hands over as JSON and whose words as they are."""
    try:
        return json.loads(value)
    except (TypeError, ValueError):
        return value


def _build_application_args(spec: StackSpec) -> tuple[ApplicationArgs, ...]:
    platform = Platform(
        production=spec.environment == "production",
        database_nodes=spec.database_nodes,
        external_servers={name: ExternalServer(name, server) for name, server in spec.external_servers.items()},
    )
    return tuple(
        ApplicationArgs(name=name, spec=application, platform=platform)
        for name, application in spec.applications.items()
    )


def _validate_values(raw: Mapping[str, Any]) -> tuple[StackSpec | None, list[tuple[Location, ConfigIssue]]]:
    """The models of a mapping with the problems that its values have by themselves; of a mapping with problems, those of the sound rest."""
    try:
        return _parse_model(raw), []
    except ValidationError as error:
        found = list(issues_from_pydantic(error, stack_json_schema()))
    sound = copy.deepcopy(dict(raw))
    for location, _ in found:
        _remove_invalid_part(sound, location)
    try:
        return _parse_model(sound), found
    except ValidationError:
        return None, found


def _parse_model(raw: Mapping[str, Any]) -> StackSpec:
    return StackSpec.model_validate(raw, by_alias=True, by_name=False)


def _remove_invalid_part(raw: dict[str, Any], location: Location) -> None:
    """Takes the part with a problem out of a mapping: the group, the server, or the key; then whatever it leaves empty."""
    depth = (
        1
        if location[0] not in ("applications", "servers")
        else 2
        if location[0] == "externalServers"
        else 5
        if "databases" in location[2:3]
        else 3
    )
    trail: list[tuple[dict[Any, Any], Any]] = []
    node: Any = raw
    for step in location[:depth]:
        if not isinstance(node, dict) or step not in node:
            break
        trail.append((node, step))
        node = node[step]
    for number, (parent, key) in enumerate(reversed(trail)):
        if number == 0 or not parent[key]:
            del parent[key]


def _unencrypted_secrets(spec: StackSpec, encrypted: Collection[str]) -> Iterator[ConfigIssue]:
    """Passwords and tokens in a part of the configuration that has no encrypted value at all."""
    paths = {
        "externalServers": [f"externalServers.{name}.administrator.password" for name in spec.external_servers],
        "applications": [
            f"applications.{application}.databases.{engine}.{name}.server.{secret}"
            for application, entry in spec.applications.items()
            for engine, groups in entry.databases.items()
            for name, group in groups.items()
            for secret in sorted(SECRET_KEYS & group.server.model_fields_set)
        ],
    }
    for key, found in paths.items():
        for path in found if key not in encrypted else ():
            yield ConfigIssue(
                path, f"is in plain text; encrypt it: pulumi config set --secret --path '{PROJECT}:{path}'"
            )
