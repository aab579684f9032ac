"""What a run of the program says of a stack: Kubernetes manifests, a summary, a diagram. Pure."""

import base64
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import yaml

from components.persisted.names import APPLICATION_TYPE
from offline.recorder import Recorder, Registration
from offline.stackfile import PLACEHOLDER

__all__ = ["render_diagram", "render_manifest", "render_manifests", "render_patches", "render_summary"]

KUBERNETES_PREFIX = "kubernetes:"
PROVIDER_PREFIX = "pulumi:providers:"
PATCH_SUFFIX = "Patch"


class _Dumper(yaml.CSafeDumper):
    """YAML in which long scripts are readable."""


def _represent_str(dumper: yaml.CSafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Dumper.add_representer(str, _represent_str)


def render_manifest(registration: Registration) -> dict[str, Any]:
    """A Kubernetes object as it is applied, with a word in the place of each value of a Secret."""
    content = _restore_integers(registration.inputs)
    if content["kind"] == "Secret":
        content["data"] = dict.fromkeys(sorted(content["data"]), base64.b64encode(PLACEHOLDER.encode()).decode())
    return {key: content[key] for key in sorted(content, key=_key_order)}


def _key_order(key: str) -> tuple[int, str]:
    first = ("apiVersion", "kind", "metadata")
    return (first.index(key) if key in first else len(first), key)


def _restore_integers(value: Any) -> Any:
    """A value whose numbers are as they were before the wire made floats of them."""
    if isinstance(value, Mapping):
        return {key: _restore_integers(item) for key, item in sorted(value.items())}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_restore_integers(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def render_manifests(recorder: Recorder) -> dict[str, str]:
    """Every Kubernetes object as YAML documents, by application."""
    return _render_documents(recorder, lambda type_: not type_.endswith(PATCH_SUFFIX))


def render_patches(recorder: Recorder) -> dict[str, str]:
    """What is put into the objects of others, likewise."""
    return _render_documents(recorder, lambda type_: type_.endswith(PATCH_SUFFIX))


def _render_documents(recorder: Recorder, wanted: Callable[[str], bool]) -> dict[str, str]:
    """The Kubernetes objects of some types as YAML documents, by application."""
    objects: dict[str, list[dict[str, Any]]] = {}
    for registration in recorder.registrations.values():
        if registration.type.startswith(KUBERNETES_PREFIX) and wanted(registration.type):
            objects.setdefault(_application_name(recorder, registration), []).append(render_manifest(registration))
    return {
        application: yaml.dump_all(sorted(found, key=_document_order), Dumper=_Dumper, sort_keys=False, width=160)
        for application, found in sorted(objects.items())
    }


def _document_order(content: Mapping[str, Any]) -> tuple[bool, str, str]:
    return content["kind"] != "Namespace", content["metadata"]["name"], content["kind"]


def _application_name(recorder: Recorder, registration: Registration) -> str:
    """The application that a resource belongs to."""
    while registration.type != APPLICATION_TYPE:
        registration = recorder.registrations[registration.parent]
    return registration.name


def _format_table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _variable_names_by_application(recorder: Recorder) -> dict[str, list[str]]:
    """The variables of each application."""
    secrets = (
        registration
        for registration in recorder.resources_of_type("kubernetes:core/v1:Secret")
        if registration.name.endswith("-environment")
    )
    return {_application_name(recorder, secret): sorted(secret.inputs["data"]) for secret in secrets}


def render_summary(recorder: Recorder) -> str:
    """Each application with its groups and variables, as text."""
    environment = _variable_names_by_application(recorder)
    lines: list[str] = []
    for name, application in sorted(recorder.stack_outputs()["applications"].items()):
        lines += [f"{name}: namespace {application['namespace']}", ""]
        header = ("GROUP", "VARIANT", "VERSION", "KIND", "SERVICE", "SECRET")
        rows = [
            (
                f"{engine}.{group}",
                said["variant"],
                said.get("version") or "-",
                said["kind"],
                said.get("service") or "-",
                said["secret"],
            )
            for engine, groups in sorted(application["databases"].items())
            for group, said in sorted(groups.items())
        ]
        lines += [*_format_table([header, *rows]), "", f"  variables, in the Secret {application['secret']}:"]
        lines += [f"    {variable}" for variable in environment[name]] + [""]
        lines += list(_workloads(recorder, name, application["workloads"]))
    return "\n".join(lines)


def _workloads(recorder: Recorder, application: str, names: Sequence[str]) -> Iterator[str]:
    """An application's workloads with the containers that get its variables, as far as the stack file names them."""
    known = {
        f"{found.inputs['kind']}/{found.inputs['metadata']['name']}": [
            container["name"] for container in found.inputs["spec"]["template"]["spec"]["containers"]
        ]
        for found in recorder.registrations.values()
        if found.type.endswith(PATCH_SUFFIX)
        and "spec" in found.inputs["spec"]["template"]
        and _application_name(recorder, found) == application
    }
    if names:
        yield "  put into:"
        yield from (
            f"    {name}: {', '.join(known[name]) if name in known else 'all containers, which only the cluster knows'}"
            for name in names
        )
        yield ""


def render_diagram(recorder: Recorder) -> str:
    """Applications, their Services, and the servers behind them, as a Mermaid flowchart in Markdown."""
    lines = ["```mermaid", "flowchart LR"]
    for name, application in sorted(recorder.stack_outputs()["applications"].items()):
        lines += [
            f"  subgraph {_node_id(name)} [namespace {application['namespace']}]",
            f"    {_node_id(name, 'app')}([{name}])",
        ]
        outside: list[str] = []
        for engine, groups in sorted(application["databases"].items()):
            for group, said in sorted(groups.items()):
                service = _node_id(name, engine, group)
                server = f"{_node_id(name, engine, group, 'server')}[({' '.join(word for word in (said['variant'], said.get('version')) if word)}<br/>{said['kind']})]"
                if "service" not in said:  # a file, which is where the application is
                    lines.append(f"    {_node_id(name, 'app')} --> {server}")
                    continue
                lines.append(f"    {_node_id(name, 'app')} --> {service}{{{{{said['service']}}}}}")
                (outside if said["kind"] == "external" else lines).append(f"    {service} --> {server}")
        lines += ["  end", *outside]
    return "\n".join([*lines, "```", ""])


def _node_id(*words: str) -> str:
    return "-".join(words)
