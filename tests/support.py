"""Small stacks as mappings, and what the program registers for them."""

import base64
import copy
import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from functools import cache
from typing import Any

import pulumi
import pytest
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from components.application import ApplicationArgs, create_applications
from components.engines import ENGINES
from components.engines.definition import Variant
from components.spec import SpecModel
from components.tls import READ_FILE_KEY
from offline.recorder import Recorder, Registration, run_program
from offline.view import StackView, build_view
from stacks.config import parse_stack
from stacks.config_source import ConfigSource
from stacks.errors import InvalidStackConfigError
from stacks.workload_discovery import resolve_workloads

CANARY = "c4narY-5ecret"
"""A credential that must not appear in a message, an output, a file, or an input that is not secret."""
ENCRYPTED = ConfigSource(encrypted_locations=frozenset({("applications",), ("externalServers",)}))
"""A source whose values are all encrypted. A stack from it has no warning about plain text."""
STACK = "organization/database-groups/test"
"""The stack that `record_stack` deploys."""

APPLICATION = "database-groups:index:Application"
GROUP = "database-groups:index:DatabaseGroup"
PASSWORD = "random:index/randomPassword:RandomPassword"
RANDOM_ID = "random:index/randomId:RandomId"
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
"""A server with an existing account."""

ENGINES_WITH_SERVER = [name for name, engine in ENGINES.items() if engine.build_runtime]
NETWORK_ENGINES = [name for name, engine in ENGINES.items() if engine.port]
"""Engines whose server has a port."""
PROVISIONABLE_ENGINES = [name for name, engine in ENGINES.items() if engine.provisioner]
IMAGE = "registry.example.org/databases/server:1"
"""An image of the user's, for engines without an official image."""


# Stacks


def release(variant: Variant, series: str) -> str:
    """Return a release of a series."""
    return series + ".1" * (variant.release_parts - series.count(".") - 1)


def managed_server(engine: str, kind: str = "local", *, variant: str | None = None, **keys: Any) -> dict[str, Any]:
    """Return a server in the cluster, with the keys that its engine requires."""
    has_no_image = engine in ENGINES_WITH_SERVER and ENGINES[engine].get_variant(variant).image is None
    return {"kind": kind, **({"image": IMAGE} if has_no_image else {}), **keys}


def existing_account(engine: str, *, whole: bool = True, **keys: Any) -> dict[str, Any]:
    """Return a server with an existing account: with all keys of the engine, or only with the required ones."""
    record = ENGINES[engine].existing_account
    account = {
        key: CANARY if key in ("password", "token") else f"its-{key}"
        for key in (record.keys if whole else record.required)
    }
    if record.database_pattern and "database" in account:
        account["database"] = "7"
    return {"kind": "external", "host": f"{engine}.example.org", **account, **keys}


def external_server(engine: str, **changes: Any) -> dict[str, Any]:
    """Return an entry of `externalServers`."""
    return {
        "engine": engine,
        "host": f"{engine}.example.org",
        "administrator": {"username": "provisioner", "password": CANARY},
        **changes,
    }


def provisioned_on(name: str, **server_keys: Any) -> dict[str, Any]:
    """Return a group whose database the program creates on an entry of `externalServers`."""
    return {"server": {"kind": "external", "provisionOn": name, **server_keys}}


def stack_with_group(engine: str, server: Any = "local", *, group: str = "main", **keys: Any) -> dict[str, Any]:
    """Return a stack with one group."""
    return groups(**{engine: {group: {"server": server, **keys}}})


def stack_with_provisioned_group(
    engine: str, server: Mapping[str, Any] | None = None, **server_keys: Any
) -> dict[str, Any]:
    """Return a stack with one provisioned group. `server` changes the entry of `externalServers`."""
    return {
        "externalServers": {"hq": external_server(engine, **(server or {}))},
        **groups(**{engine: {"main": provisioned_on("hq", **server_keys)}}),
    }


def groups(**databases: Any) -> dict[str, Any]:
    """Return a stack with one application and its groups."""
    return {"applications": {"shop": {"databases": databases}}}


def _stack_cases() -> Iterator[tuple[str, dict[str, Any]]]:
    for engine, definition in ENGINES.items():
        yield f"local {engine}", stack_with_group(engine, managed_server(engine))
        if definition.build_runtime:
            yield f"dedicated {engine}", stack_with_group(engine, managed_server(engine, "dedicated"))
        if definition.provisioner:
            yield f"provisioned {engine}", stack_with_provisioned_group(engine)
            yield f"provisioned {engine} by address", stack_with_provisioned_group(engine, {"host": ["10.0.0.1"]})
        if definition.port:
            accounts = {
                "existing": existing_account(engine),
                "existing by address": existing_account(engine, host=["10.0.0.1"]),
                "existing with required keys": existing_account(engine, whole=False),
            }
            yield from ((f"{name} {engine}", stack_with_group(engine, account)) for name, account in accounts.items())
        if definition.supports_external_volume:
            account = existing_account(engine, storageClass="shared", storage="1Gi")
            yield f"existing {engine} with a volume", stack_with_group(engine, account)


STACK_CASES = [pytest.param(raw, id=name) for name, raw in _stack_cases()]
"""A stack with the group `main` for each engine and each kind of server that it supports."""


# Errors


def config_issues(raw: Mapping[str, Any]) -> list[str]:
    """Return the errors of a stack, each as `path: message`."""
    try:
        parse_stack(raw)
    except InvalidStackConfigError as error:
        return [str(issue) for issue in error.issues]
    return []


def spec_errors(model: type[SpecModel], raw: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the location and the type of each error of a part of the stack file."""
    return [(".".join(map(str, error["loc"])), error["type"]) for error in _validate_spec(model, raw, "")]


def spec_messages(model: type[SpecModel], raw: Mapping[str, Any], text: str | OSError) -> list[str]:
    """Return the message of each error of a part of the stack file. `text` is the content of every file."""
    return [error["msg"] for error in _validate_spec(model, raw, text)]


def _validate_spec(model: type[SpecModel], raw: Mapping[str, Any], text: str | OSError) -> list[ErrorDetails]:
    def read_file(_path: str) -> str:
        if isinstance(text, OSError):
            raise text
        return text

    try:
        model.model_validate(raw, by_alias=True, by_name=False, context={READ_FILE_KEY: read_file})
    except ValidationError as error:
        return error.errors()
    return []


# Registrations


def record_stack(raw: Mapping[str, Any]) -> Recorder:
    """Return the registrations of a stack's applications."""
    return record_applications(parse_stack(raw, ENCRYPTED).applications)


DELETED_NAMESPACES: list[tuple[dict[str, Any], bool]] = [
    ({}, True),
    ({"createNamespace": False}, False),
    ({"protect": True}, False),
    ({"protect": "retain"}, False),
]
"""Keys of an application, and whether the program deletes its namespace with everything in it."""


def record_stack_once(raw: Mapping[str, Any]) -> Recorder:
    """Return a copy of the stack's first record in this process. Only for tests that replace nothing in the program."""
    return copy.deepcopy(_record_json(json.dumps(raw)))


@cache
def _record_json(text: str) -> Recorder:
    return record_stack(json.loads(text))


def view_stack(raw: Mapping[str, Any]) -> StackView:
    """Return what `make render` shows of a stack."""
    stack = resolve_workloads(parse_stack(raw, ENCRYPTED), None, {})
    return build_view("test", stack, record_applications(stack.applications))


def record_applications(applications: Collection[ApplicationArgs]) -> Recorder:
    """Return the registrations of applications of the stack `STACK`, and the stack output `applications`."""
    with_stack = [replace(args, platform=replace(args.platform, stack=STACK)) for args in applications]

    def program() -> None:
        create_applications(with_stack)
        pulumi.export("applications", {args.name: args.output_summary for args in with_stack})

    return run_program(program)


def get_resource(recorder: Recorder, token: str, name: str) -> Registration:
    """Return the only registration of a type and a name."""
    of_type = recorder.resources_of_type(token)
    matches = [registration for registration in of_type if registration.name == name]
    assert len(matches) == 1, f"{len(matches)} of {token} {name}; registered: {[other.name for other in of_type]}"
    return matches[0]


def get_pod_template(recorder: Recorder, engine: str = "mysql", group: str = "main") -> dict[str, Any]:
    """Return the template of a server's Pods."""
    server = get_resource(recorder, STATEFUL_SET, f"shop-{engine}-{group}-server")
    template: dict[str, Any] = server.inputs["spec"]["template"]
    return template


def ancestors(recorder: Recorder, registration: Registration) -> Iterator[Registration]:
    """Yield a registration, its parent, the parent's parent, and so on."""
    current: Registration | None = registration
    while current:
        yield current
        current = recorder.registrations.get(current.parent)


def decode_secret(recorder: Recorder, name: str) -> dict[str, str]:
    """Return the keys and the values of a Secret."""
    data = get_resource(recorder, SECRET, name).inputs["data"]
    return {key: base64.b64decode(value).decode() for key, value in data.items()}


def encoded_forms(secret: str) -> list[str]:
    """Return a secret as text and in base64. Base64 has three forms, by the position in the encoded text."""
    shifted = (base64.b64encode(b"x" * shift + secret.encode()).decode() for shift in range(3))
    return [secret, *(text.rstrip("=")[4:-3] for text in shifted)]


def to_json_text(value: Any) -> str:
    """Return a value as text that contains all its strings and numbers."""
    return json.dumps(value, default=str, ensure_ascii=False)


def urns(*registrations: Registration) -> set[str]:
    """Return the URNs of registrations."""
    return {registration.urn for registration in registrations}


def inputs_by_urn(recorder: Recorder, without: Collection[str] = ()) -> dict[str, Mapping[str, Any]]:
    """Return the inputs of every registration, except for those of some types."""
    return {
        urn: registration.inputs
        for urn, registration in recorder.registrations.items()
        if registration.type not in without
    }


# Pod Security

ALLOWED_VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}


def pod_security_violations(pod: dict[str, Any]) -> Iterator[str]:
    """Yield the rules of Pod Security `restricted` that a Pod violates (Kubernetes: "Pod Security Standards")."""
    context = pod.get("securityContext", {})
    if any(pod.get(key) for key in ("hostNetwork", "hostPID", "hostIPC")):
        yield "host namespaces"
    for volume in pod.get("volumes", []):
        if not set(volume) - {"name"} <= ALLOWED_VOLUMES:
            yield f"volume {volume['name']}"
    if context.get("sysctls"):
        yield "sysctls"
    for container in [*pod["containers"], *pod.get("initContainers", [])]:
        yield from _container_violations(container, {**context, **container.get("securityContext", {})})
        if any(port.get("hostPort") for port in container.get("ports", [])):
            yield "hostPort"


def _container_violations(container: dict[str, Any], context: dict[str, Any]) -> Iterator[str]:
    """Yield the rules that a container violates. `context` merges its own security context and its Pod's."""
    capabilities = container.get("securityContext", {}).get("capabilities", {})
    rules = {
        "privileged": not context.get("privileged") and context.get("procMount", "Default") == "Default",
        "allowPrivilegeEscalation": container.get("securityContext", {}).get("allowPrivilegeEscalation") is False,
        "runAsNonRoot": context.get("runAsNonRoot") is True,
        "runAsUser": context.get("runAsUser") != 0,
        "seccompProfile": context.get("seccompProfile", {}).get("type") in ("RuntimeDefault", "Localhost"),
        "capabilities": "ALL" in capabilities.get("drop", [])
        and set(capabilities.get("add", [])) <= {"NET_BIND_SERVICE"},
    }
    yield from (rule for rule, is_met in rules.items() if not is_met)
