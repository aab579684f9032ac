"""The stack of the configuration: it reads and validates the configuration, and builds the components' arguments.

This module alone reads `pulumi.Config` and the stack's name. It creates no resources.
"""

import dataclasses
import errno
import os
import signal
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import pulumi
from pulumi.runtime import config
from pydantic import ValidationError
from pydantic.alias_generators import to_camel

from components.application import ApplicationArgs
from components.external_servers import ExternalServer, ExternalServerSpec
from components.persisted.outputs import ApplicationState
from components.platform import Platform
from components.tls import READ_FILE_KEY
from components.workload_patches import PatchedWorkload
from preflight.cluster_client import ClusterConfig
from stacks.cluster_monitor import OperatorMonitor
from stacks.config_source import ConfigSource, decode_value, read_config_source
from stacks.errors import SECRET_KEYS, ConfigIssue, InvalidStackConfigError, Location
from stacks.failure_reporter import ClusterFailureReporter
from stacks.password_changer import ClusterPasswordChanger
from stacks.pydantic_errors import translate_validation_error
from stacks.server_client import create_client
from stacks.spec import PROJECT, StackSpec
from stacks.validation import list_production_warnings, validate_applications

__all__ = [
    "OFFLINE_CONFIG_KEY",
    "PREFIX",
    "STACK_FILE_CONFIG_KEY",
    "STACK_FOLDER",
    "Stack",
    "build_cluster_config",
    "load_cluster_config",
    "load_stack",
    "log_warnings",
    "parse_pulumi_config",
    "parse_stack",
]

OFFLINE_CONFIG_KEY = "offline:clusterless"
"""Configuration key of a run without a cluster."""
STACK_FILE_CONFIG_KEY = "offline:stackFile"
"""Configuration key with the path of the stack file. Default: `stacks/Pulumi.<stack>.yaml`."""
PREFIX = f"{PROJECT}:"
STACK_FOLDER = Path(__file__).parent
HOOK_SECONDS = 2
"""Seconds for the hooks that Pulumi runs after an interrupt."""
MAX_DEPTH = 50
ANY = None
REMOVABLE_PARTS: tuple[tuple[str | None, ...], ...] = (
    ("applications", ANY, "databases", ANY, ANY),
    ("applications", ANY, ANY),
    ("externalServers", ANY),
    ("backupStores", ANY),
    (ANY,),
)
"""The parts of a stack file that can be left out without an effect on the others, the smallest first."""


@dataclass(frozen=True, kw_only=True)
class Stack:
    """A valid stack."""

    spec: StackSpec
    applications: tuple[ApplicationArgs, ...]
    source: ConfigSource
    full_name: str = ""
    """`<organization>/<project>/<stack>`. Empty for a run without a cluster."""
    warnings: tuple[str, ...] = ()
    removed_workloads: tuple[PatchedWorkload, ...] = ()
    """Workloads that the last update patched and that the cluster no longer has."""

    @property
    def outputs(self) -> dict[str, ApplicationState]:
        """The stack output `applications`. It holds names only."""
        return {application.name: application.output_summary for application in self.applications}


def load_stack() -> Stack:
    """Return the stack of the running Pulumi program, and log the warnings about how its file is read.

    From then on, an interrupt ends a run of Pulumi without a traceback.

    Raises InvalidStackConfigError.
    """
    values = _read_pulumi_values()
    stack = pulumi.get_stack()
    path = Path(values.get(STACK_FILE_CONFIG_KEY) or STACK_FOLDER / f"Pulumi.{stack}.yaml")
    encrypted_keys = {key for key in values if config.is_config_secret(key)}
    source = read_config_source(path, values, encrypted_keys, default_name=f"stack {stack!r}")
    for warning in source.warnings:
        pulumi.log.warn(warning)
    is_offline = OFFLINE_CONFIG_KEY in values
    if not is_offline:
        # Pulumi interrupts the program after a failed update. Python's own handler would print a traceback.
        signal.signal(signal.SIGINT, _exit_after_hooks)
    full_name = "" if is_offline else f"{pulumi.get_organization()}/{pulumi.get_project()}/{stack}"
    return parse_pulumi_config(values, source, full_name=full_name)


def log_warnings(stack: Stack) -> None:
    """Log the warnings about a stack."""
    for warning in stack.warnings:
        pulumi.log.warn(warning)


def load_cluster_config() -> ClusterConfig | None:
    """Return how the running program finds its cluster; None for a run without a cluster."""
    values = _read_pulumi_values()
    return None if OFFLINE_CONFIG_KEY in values else build_cluster_config(values)


def build_cluster_config(values: Mapping[str, Any]) -> ClusterConfig:
    """Return how a configuration finds its cluster."""
    return ClusterConfig(**{key: values.get(f"kubernetes:{key}") for key in ("kubeconfig", "context", "cluster")})


def parse_pulumi_config(values: Mapping[str, Any], source: ConfigSource | None = None, *, full_name: str = "") -> Stack:
    """Return the stack of a configuration as Pulumi passes it: by full keys, with maps as JSON.

    Raises InvalidStackConfigError with all errors.
    """
    raw = {key.removeprefix(PREFIX): decode_value(value) for key, value in values.items() if key.startswith(PREFIX)}
    return parse_stack(raw, source, full_name=full_name, cluster=build_cluster_config(values))


def parse_stack(
    raw: Mapping[str, Any],
    source: ConfigSource | None = None,
    *,
    full_name: str = "",
    cluster: ClusterConfig | None = None,
) -> Stack:
    """Return the stack of a plain mapping. `full_name` is `<organization>/<project>/<stack>`.

    Raises InvalidStackConfigError with all errors.
    """
    source = source or ConfigSource()
    message = f"more than {MAX_DEPTH} levels of maps and lists; remove the inner levels"
    too_deep = [ConfigIssue((key,), message) for key, value in raw.items() if _is_too_deep(value)]
    if too_deep:
        raise InvalidStackConfigError(too_deep, source.name)
    source = source.add_secrets(raw)
    spec, issues = _validate_values(raw, source)
    if spec is not None:
        applications = _build_application_args(spec, source, full_name, cluster if full_name else None)
        issues += validate_applications(applications, is_server_invalid=_find_invalid_servers(issues))
    if spec is None or issues:
        hidden = map(source.hide_quoted_secrets, issues)
        raise InvalidStackConfigError(map(source.add_line, hidden), source.name)
    warnings = [*list_production_warnings(applications), *_find_unencrypted_secrets(spec, source)]
    hidden = map(source.hide_quoted_secrets, warnings)
    return Stack(
        spec=spec,
        applications=applications,
        source=source,
        full_name=full_name,
        warnings=tuple(map(source.format_warning, hidden)),
    )


def read_project_file(path: str) -> str:
    """Return the text of a file. A relative path starts at the project directory. Raises OSError."""
    if "\0" in path:
        raise OSError(errno.EINVAL, "invalid path")
    return (STACK_FOLDER.parent / path).read_text(encoding="utf-8")


def _exit_after_hooks(_signal: int, _frame: FrameType | None) -> None:
    """End the program in a moment, or at once at the next interrupt.

    Pulumi interrupts the program first, and then runs the hooks of the servers that the update waits for.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    timer = threading.Timer(HOOK_SECONDS, os.kill, (os.getpid(), signal.SIGINT))
    timer.daemon = True
    timer.start()


def _read_pulumi_values() -> dict[str, str]:
    return {**config.get_config_env(), **config.CONFIG.get()}


def _is_too_deep(value: Any) -> bool:
    """Return whether a value has more levels than any valid one. Other functions may then recurse."""
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [item for node in level for item in _list_items(node)]
    return bool(level)


def _list_items(node: Any) -> list[Any]:
    if isinstance(node, Mapping):
        return list(node.values())
    return node if isinstance(node, list) else []


def _build_application_args(
    spec: StackSpec, source: ConfigSource, full_name: str, cluster: ClusterConfig | None
) -> tuple[ApplicationArgs, ...]:
    """Build the arguments. Only the stack of a Pulumi run has a full name, a cluster and clients of servers."""

    def create_external_server(name: str, server: ExternalServerSpec) -> ExternalServer:
        if not full_name:
            return ExternalServer(name, server, None)
        client = create_client(name, server, proves_logins=spec.preflight, hide_secrets=source.hide_secrets)
        return ExternalServer(name, server, client)

    platform = Platform(
        stack=full_name,
        production=spec.environment == "production",
        database_nodes=spec.database_nodes,
        external_servers={name: create_external_server(name, server) for name, server in spec.external_servers.items()},
        backup=spec.backup,
        backup_stores=spec.backup_stores,
        restore_all=spec.restore_all,
        failure_reporter=ClusterFailureReporter(cluster, source) if cluster else None,
        password_changer=ClusterPasswordChanger(cluster, source) if cluster else None,
        cluster_monitor=OperatorMonitor(cluster, source) if cluster else None,
    )
    applications = [
        ApplicationArgs(name=name, spec=application, platform=platform)
        for name, application in spec.applications.items()
    ]
    retained = {application.namespace for application in applications if application.has_retained_data}
    return tuple(
        dataclasses.replace(
            application,
            shares_retained_data=application.namespace in retained,
            readers=tuple(
                (other.name, other.namespace) for other in applications if application.name in other.source_applications
            ),
        )
        for application in applications
    )


def _validate_values(raw: Mapping[str, Any], source: ConfigSource) -> tuple[StackSpec | None, list[ConfigIssue]]:
    """Parse the values. If some are invalid, also parse the rest, so that all issues are reported together."""
    issues: list[ConfigIssue] = []
    remaining: dict[str, Any] = dict(raw)
    while True:
        try:
            return _parse_model(remaining), issues
        except ValidationError as error:
            found = translate_validation_error(error, remaining, source)
        # Without the invalid parts, others may be incomplete. Their issues are not the user's.
        issues = issues or found
        invalid_parts = [_find_removable_part(issue.location) for issue in found if issue.location[0] in remaining]
        if not invalid_parts:
            return None, issues
        for part in invalid_parts:
            remaining = _remove_part(remaining, part)


def _parse_model(raw: Mapping[str, Any]) -> StackSpec:
    return StackSpec.model_validate(raw, by_alias=True, by_name=False, context={READ_FILE_KEY: read_project_file})


def _find_removable_part(location: Location) -> Location:
    """Return the location of the smallest removable part that contains a location."""
    for part in REMOVABLE_PARTS:
        if all(name in (ANY, step) for name, step in zip(part, location, strict=False)):
            return location[: len(part)]
    raise AssertionError


def _remove_part(node: Mapping[Any, Any], location: Location) -> dict[Any, Any]:
    """Return a map without a part, and without the maps that this leaves empty."""
    key, inner = location[0], location[1:]
    result = dict(node)
    child = result.pop(key, None)
    if inner and isinstance(child, Mapping) and inner[0] in child and (rest := _remove_part(child, inner)):
        result[key] = rest
    return result


def _find_invalid_servers(issues: Collection[ConfigIssue]) -> Callable[[str], bool]:
    """Return whether an entry of `externalServers` has errors, as a function of its name."""
    locations = [issue.location[1:2] for issue in issues if issue.location[0] == "externalServers"]
    return lambda name: () in locations or (name,) in locations


def _find_unencrypted_secrets(spec: StackSpec, source: ConfigSource) -> Iterator[ConfigIssue]:
    """Yield a warning for each password and token in plain text."""
    locations: list[Location] = [
        ("externalServers", name, "administrator", "password") for name in spec.external_servers
    ]
    locations += [
        ("backupStores", name, key)
        for name, store in spec.backup_stores.items()
        for key in sorted(SECRET_KEYS & set(map(to_camel, store.model_fields_set)))
    ]
    locations += [
        ("applications", name, "databases", engine, group_name, "server", key)
        for name, application in spec.applications.items()
        for engine, groups in application.databases.items()
        for group_name, group in groups.items()
        for key in sorted(SECRET_KEYS & group.server.model_fields_set)
    ]
    for location in locations:
        if not source.is_encrypted(location):
            command = source.format_secret_command(location)
            yield ConfigIssue(location, f"the {location[-1]} is in plain text; encrypt it: {command}")
