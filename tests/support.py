"""What several tests need: small stacks as plain mappings, and the registrations of the program that they make."""

import json
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import pulumi

from components.application import Application
from components.engines import ENGINES
from components.engines.definition import Variant
from offline.recorder import Recorder, Registration, run_program
from stacks.config import parse_stack
from stacks.config_source import ConfigSource
from stacks.errors import InvalidStackConfigError

CANARY = "c4narY-5ecret"
"""A credential that no message, output, file or input that is not secret may hold."""
ENCRYPTED = ConfigSource(encrypted_locations=frozenset({("applications",), ("externalServers",)}))
"""A source whose values are all encrypted, for stacks whose warnings do not matter."""

APPLICATION = "database-groups:index:Application"
GROUP = "database-groups:index:DatabaseGroup"
PASSWORD = "random:index/randomPassword:RandomPassword"
NAMESPACE = "kubernetes:core/v1:Namespace"
SECRET = "kubernetes:core/v1:Secret"
SERVICE = "kubernetes:core/v1:Service"
ENDPOINT_SLICE = "kubernetes:discovery.k8s.io/v1:EndpointSlice"
CONFIG_MAP = "kubernetes:core/v1:ConfigMap"
PERSISTENT_VOLUME_CLAIM = "kubernetes:core/v1:PersistentVolumeClaim"
NETWORK_POLICY = "kubernetes:networking.k8s.io/v1:NetworkPolicy"
STATEFUL_SET = "kubernetes:apps/v1:StatefulSet"
PROVIDERS = "pulumi:providers:"

EXISTING_SERVER = {
    "kind": "external",
    "host": "db.example.org",
    "database": "shop",
    "username": "shop",
    "password": CANARY,
}
"""A server with an account that is there already."""

ENGINES_WITH_SERVER = [name for name, engine in ENGINES.items() if engine.build_runtime]
"""The engines that have a server."""
NETWORK_ENGINES = [name for name, engine in ENGINES.items() if engine.port]
"""The engines that are reached over the network."""
IMAGE = "registry.example.org/databases/server:1"
"""An image of one's own, for engines that have no official one."""


def release(variant: Variant, series: str) -> str:
    """A version of a series for which there is an image: the series itself, where images are named so."""
    return series + ".1" * (variant.min_version_parts - series.count(".") - 1)


def managed_server(engine: str, kind: str = "local", *, variant: str | None = None, **keys: Any) -> dict[str, Any]:
    """A server that the program runs, with what must be said of it."""
    needed = (
        {"image": IMAGE} if engine in ENGINES_WITH_SERVER and ENGINES[engine].get_variant(variant).image is None else {}
    )
    return {"kind": kind, **needed, **keys}


def existing_account(engine: str, *, whole: bool = True, **keys: Any) -> dict[str, Any]:
    """A server with an account that is there already: with all that can be said of it, or what must be."""
    account = {
        key: CANARY if key in ("password", "token") else f"its-{key}"
        for key in (ENGINES[engine].existing_account.keys if whole else ENGINES[engine].existing_account.required)
    }
    return {"kind": "external", "host": f"{engine}.example.org", **account, **keys}


def external_server(engine: str, **changes: Any) -> dict[str, Any]:
    """An entry of `servers`."""
    return {
        "engine": engine,
        "host": f"{engine}.example.org",
        "administrator": {"username": "provisioner", "password": CANARY},
        **changes,
    }


def provisioned_on(name: str) -> dict[str, Any]:
    """A group that is made on a server of the stack."""
    return {"server": {"kind": "external", "provisionOn": name}}


def stack_with_group(engine: str, server: Any = "local", *, group: str = "main", **keys: Any) -> dict[str, Any]:
    """A stack with one group."""
    return {"applications": {"shop": {"databases": {engine: {group: {"server": server, **keys}}}}}}


def groups(**databases: Any) -> dict[str, Any]:
    """The applications of a stack with one application."""
    return {"applications": {"shop": {"databases": databases}}}


def config_issues(raw: Mapping[str, Any]) -> list[str]:
    """Each error of a stack, as a line."""
    try:
        parse_stack(raw)
    except InvalidStackConfigError as error:
        return [str(issue) for issue in error.issues]
    return []


def record_stack(raw: Mapping[str, Any]) -> Recorder:
    """The registrations of a stack's applications."""
    stack = parse_stack(raw, ENCRYPTED)

    def program() -> None:
        for application in stack.applications:
            Application(application)
        pulumi.export("applications", stack.outputs())

    return run_program(program)


def get_resource(recorder: Recorder, token: str, name: str) -> Registration:
    """The one registration of a type and a name."""
    found = [registration for registration in recorder.resources_of_type(token) if registration.name == name]
    assert len(found) == 1, (
        f"{len(found)} of {token} {name}; there are {[registration.name for registration in recorder.resources_of_type(token)]}"
    )
    return found[0]


def ancestors(recorder: Recorder, registration: Registration) -> Iterator[Registration]:
    """A registration, its parent, and so on."""
    current: Registration | None = registration
    while current:
        yield current
        current = recorder.registrations.get(current.parent)


def to_json_text(value: Any) -> str:
    """All words and numbers of a value."""
    return json.dumps(value, default=str, ensure_ascii=False)


def urns(*registrations: Registration) -> set[str]:
    """The URNs of registrations."""
    return {registration.urn for registration in registrations}


def inputs_by_urn(recorder: Recorder, without: Collection[str] = ()) -> dict[str, Mapping[str, Any]]:
    """Every registration's inputs, but for those of some types."""
    return {
        urn: registration.inputs
        for urn, registration in recorder.registrations.items()
        if registration.type not in without
    }


def pod_security_violations(pod: dict[str, Any]) -> Iterator[str]:
    """What a Pod's specification has against Pod Security `restricted` (Kubernetes' documentation, "Pod Security Standards")."""
    allowed = {
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "persistentVolumeClaim",
        "projected",
        "secret",
    }
    whole = pod.get("securityContext", {})
    if any(pod.get(key) for key in ("hostNetwork", "hostPID", "hostIPC")):
        yield "shares a namespace of its node"
    for volume in pod.get("volumes", []):
        if not set(volume) - {"name"} <= allowed:
            yield f"volume {volume['name']}"
    if whole.get("sysctls"):
        yield "sysctls"
    for container in [*pod["containers"], *pod.get("initContainers", [])]:
        yield from _restricted_container(container, {**whole, **container.get("securityContext", {})})
        if any(port.get("hostPort") for port in container.get("ports", [])):
            yield "hostPort"


def _restricted_container(container: dict[str, Any], context: dict[str, Any]) -> Iterator[str]:
    """What a container has against it, in its own and its Pod's security context."""
    capabilities = container.get("securityContext", {}).get("capabilities", {})
    kept = {
        "privileged": not context.get("privileged") and context.get("procMount", "Default") == "Default",
        "allowPrivilegeEscalation": container.get("securityContext", {}).get("allowPrivilegeEscalation") is False,
        "runAsNonRoot": context.get("runAsNonRoot") is True,
        "runAsUser": context.get("runAsUser") != 0,
        "seccompProfile": context.get("seccompProfile", {}).get("type") in ("RuntimeDefault", "Localhost"),
        "capabilities": "ALL" in capabilities.get("drop", [])
        and set(capabilities.get("add", [])) <= {"NET_BIND_SERVICE"},
    }
    yield from (rule for rule, held in kept.items() if not held)
