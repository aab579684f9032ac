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
from components.arguments import Arguments, Name
from components.platform import NodePool, Platform
from components.provisioning import ProvisioningServer, ProvisioningServerSpec
from components.workloads import PatchedWorkload
from preflight.workload_reader import ClusterConfig
from stacks.checks import mistakes, warnings
from stacks.problems import SECRET_KEYS, InvalidStack, Location, Problem, problems_of

__all__ = ["CLUSTERLESS", "PROJECT", "Stack", "StackSpec", "cluster_keys", "decoded", "load", "parse", "schema"]

PROJECT = "database-groups"
CLUSTERLESS = "offline:clusterless"
"""The key by which a run says that it has no cluster."""


class StackSpec(Arguments):
    """The keys of a stack file that are this program's."""

    environment: Literal["development", "production"] = "development"
    """In production what holds data is protected, and every group says where its server comes from."""
    database_nodes: NodePool = Field(default_factory=NodePool)
    """The nodes for dedicated servers."""
    preflight: Literal["runner", "none"] = "runner"
    """From where external servers are checked before anything is created: where the program runs, or not at all."""
    servers: dict[Name, ProvisioningServerSpec] = Field(default_factory=dict)
    """External servers on which databases are made."""
    applications: Annotated[dict[Name, ApplicationSpec], Field(min_length=1)]
    """The applications, each with the databases that it needs."""


@dataclass(frozen=True, kw_only=True)
class Stack:
    """A stack without mistakes."""

    spec: StackSpec
    applications: tuple[ApplicationArgs, ...]
    warnings: tuple[str, ...]
    parted: tuple[PatchedWorkload, ...] = ()
    """Workloads into which the last update put variables, and which the cluster does not have any more."""

    def outputs(self) -> dict[str, Any]:
        """What the stack exports: names only."""
        return {application.name: application.summary() for application in self.applications}


def load() -> Stack:
    """The stack of the running Pulumi program. Raises InvalidStack."""
    values = {**config.get_config_env(), **config.CONFIG.get()}
    return decoded(values, encrypted={key for key in values if config.is_config_secret(key)})


def decoded(values: Mapping[str, Any], *, encrypted: Collection[str] = ()) -> Stack:
    """The stack of a configuration as Pulumi hands it over: by full keys, with maps as JSON. Raises InvalidStack."""
    prefix = f"{PROJECT}:"
    ours = {key.removeprefix(prefix): _decoded(value) for key, value in values.items() if key.startswith(prefix)}
    return parse(ours, encrypted={key.removeprefix(prefix) for key in encrypted})


def cluster_keys() -> ClusterConfig | None:
    """How the running program finds its cluster; None where it has none."""
    values = {**config.get_config_env(), **config.CONFIG.get()}
    if CLUSTERLESS in values:
        return None
    return ClusterConfig(**{key: values.get(f"kubernetes:{key}") for key in ("kubeconfig", "context", "cluster")})


def parse(raw: Mapping[str, Any], *, encrypted: Collection[str] = ()) -> Stack:
    """The stack of a plain mapping, of which the keys `encrypted` hold encrypted values. Raises InvalidStack with every mistake."""
    spec, found = _validated(raw)
    problems = [problem for _, problem in found]
    if spec is not None:
        applications = _applications(spec)
        lost_server = any(location[0] == "servers" for location, _ in found)
        problems += [problem for problem in mistakes(applications) if not (lost_server and problem.path.endswith(".server.on"))]
        if not problems:
            notes = [*warnings(applications), *_plain_text(spec, encrypted)]
            return Stack(spec=spec, applications=applications, warnings=tuple(map(str, notes)))
    raise InvalidStack(problems)


class _JsonSchema(GenerateJsonSchema):
    """JSON schemas that refuse the names which the models refuse."""

    def dict_schema(self, schema: DictSchema) -> JsonSchemaValue:
        found = super().dict_schema(schema)
        return {**found, "additionalProperties": False} if "patternProperties" in found else found


@cache
def schema() -> Mapping[str, Any]:
    """The JSON schema of a StackSpec."""
    return StackSpec.model_json_schema(by_alias=True, schema_generator=_JsonSchema)


def _decoded(value: Any) -> Any:
    """A value of the configuration, whose maps Pulumi hands over as JSON and whose words as they are."""
    try:
        return json.loads(value)
    except (TypeError, ValueError):
        return value


def _applications(spec: StackSpec) -> tuple[ApplicationArgs, ...]:
    platform = Platform(
        production=spec.environment == "production",
        database_nodes=spec.database_nodes,
        servers={name: ProvisioningServer(name, server) for name, server in spec.servers.items()},
    )
    return tuple(ApplicationArgs(name=name, spec=application, platform=platform) for name, application in spec.applications.items())


def _validated(raw: Mapping[str, Any]) -> tuple[StackSpec | None, list[tuple[Location, Problem]]]:
    """The models of a mapping with the problems that its values have by themselves; of a mapping with problems, those of the sound rest."""
    try:
        return _model(raw), []
    except ValidationError as error:
        found = list(problems_of(error, schema()))
    sound = copy.deepcopy(dict(raw))
    for location, _ in found:
        _cut(sound, location)
    try:
        return _model(sound), found
    except ValidationError:
        return None, found


def _model(raw: Mapping[str, Any]) -> StackSpec:
    return StackSpec.model_validate(raw, by_alias=True, by_name=False)


def _cut(raw: dict[str, Any], location: Location) -> None:
    """Takes the part with a problem out of a mapping: the group, the server, or the key; then whatever it leaves empty."""
    depth = 1 if location[0] not in ("applications", "servers") else 2 if location[0] == "servers" else 5 if "databases" in location[2:3] else 3
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


def _plain_text(spec: StackSpec, encrypted: Collection[str]) -> Iterator[Problem]:
    """Passwords and tokens in a part of the configuration that has no encrypted value at all."""
    paths = {
        "servers": [f"servers.{name}.administrator.password" for name in spec.servers],
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
            yield Problem(path, f"is in plain text; encrypt it: pulumi config set --secret --path '{PROJECT}:{path}'")
