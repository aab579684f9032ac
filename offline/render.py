"""Text from a recorded run of the program: Kubernetes manifests, a summary and a diagram. Pure functions."""

import base64
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import yaml

from components.persisted.names import APPLICATION_TYPE
from components.persisted.outputs import ApplicationState, GroupSummary
from offline.recorder import PLACEHOLDER, Recorder, Registration

__all__ = [
    "render_diagram",
    "render_manifest",
    "render_manifests",
    "render_patches",
    "render_summary",
]

KUBERNETES_PREFIX = "kubernetes:"
PATCH_SUFFIX = "Patch"
FIRST_KEYS = ("apiVersion", "kind", "metadata")


class _Dumper(yaml.CSafeDumper):
    """A YAML writer that keeps the lines of scripts."""


def _represent_str(dumper: yaml.CSafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Dumper.add_representer(str, _represent_str)


def render_manifest(registration: Registration) -> dict[str, Any]:
    """Return a Kubernetes object as the program applies it, with PLACEHOLDER for each value of a Secret."""
    content = _restore_integers(registration.inputs)
    if content["kind"] == "Secret":
        content["data"] = dict.fromkeys(sorted(content["data"]), base64.b64encode(PLACEHOLDER.encode()).decode())
    return {key: content[key] for key in sorted(content, key=_get_key_order)}


def _get_key_order(key: str) -> tuple[int, str]:
    return (FIRST_KEYS.index(key) if key in FIRST_KEYS else len(FIRST_KEYS), key)


def _restore_integers(value: Any) -> Any:
    """Return a value with its integers: Pulumi's protocol turns every number into a float."""
    if isinstance(value, Mapping):
        return {key: _restore_integers(item) for key, item in sorted(value.items())}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_restore_integers(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def render_manifests(recorder: Recorder) -> dict[str, str]:
    """Return every Kubernetes object as YAML documents, by application."""
    return _render_documents(recorder, lambda type_token: not type_token.endswith(PATCH_SUFFIX))


def render_patches(recorder: Recorder) -> dict[str, str]:
    """Return the patches of existing workloads as YAML documents, by application."""
    return _render_documents(recorder, lambda type_token: type_token.endswith(PATCH_SUFFIX))


def _render_documents(recorder: Recorder, is_selected: Callable[[str], bool]) -> dict[str, str]:
    """Return the Kubernetes objects of the selected types as YAML documents, by application."""
    objects: dict[str, list[dict[str, Any]]] = {}
    for registration in recorder.registrations.values():
        if registration.type.startswith(KUBERNETES_PREFIX) and is_selected(registration.type):
            objects.setdefault(_find_application_name(recorder, registration), []).append(render_manifest(registration))
    return {
        application: yaml.dump_all(
            sorted(contents, key=_get_document_order), Dumper=_Dumper, sort_keys=False, width=160
        )
        for application, contents in sorted(objects.items())
    }


def _get_document_order(content: Mapping[str, Any]) -> tuple[bool, str, str]:
    return content["kind"] != "Namespace", content["metadata"]["name"], content["kind"]


def _find_application_name(recorder: Recorder, registration: Registration) -> str:
    """Return the name of the application that a resource belongs to."""
    while registration.type != APPLICATION_TYPE:
        registration = recorder.registrations[registration.parent]
    return registration.name


def _format_table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _list_variable_names(recorder: Recorder) -> dict[str, list[str]]:
    secrets = (
        registration
        for registration in recorder.resources_of_type("kubernetes:core/v1:Secret")
        if registration.name.endswith("-environment")
    )
    return {_find_application_name(recorder, secret): sorted(secret.inputs["data"]) for secret in secrets}


def _list_applications(recorder: Recorder) -> Iterator[tuple[str, ApplicationState]]:
    yield from sorted(recorder.stack_outputs()["applications"].items())


def _list_groups(application: ApplicationState) -> Iterator[tuple[str, str, GroupSummary]]:
    """Return the engine, the name and the summary of each group."""
    for engine, groups in sorted(application["databases"].items()):
        for group_name, group in sorted(groups.items()):
            yield engine, group_name, group


def render_summary(recorder: Recorder) -> str:
    """Return each application with its groups, environment variables and workloads, as text."""
    variable_names = _list_variable_names(recorder)
    lines: list[str] = []
    for name, application in _list_applications(recorder):
        header = ("GROUP", "VARIANT", "VERSION", "KIND", "SERVICE", "SECRET")
        rows = [
            (
                f"{engine}.{group_name}",
                group["variant"],
                group.get("version") or "-",
                group["kind"],
                group.get("service") or "-",
                group["secret"],
            )
            for engine, group_name, group in _list_groups(application)
        ]
        lines += [f"{name}: namespace {application['namespace']}", "", *_format_table([header, *rows]), ""]
        lines += [f"  Environment variables in Secret {application['secret']}:"]
        lines += [f"    {variable}" for variable in variable_names[name]] + [""]
        lines += list(_render_workloads(recorder, name, list(application["workloads"])))
    return "\n".join(lines)


def _render_workloads(recorder: Recorder, application: str, workloads: Sequence[str]) -> Iterator[str]:
    """Return an application's workloads with the containers that the stack file names."""
    containers = {
        f"{patch.inputs['kind']}/{patch.inputs['metadata']['name']}": [
            container["name"] for container in patch.inputs["spec"]["template"]["spec"]["containers"]
        ]
        for patch in recorder.registrations.values()
        if patch.type.endswith(PATCH_SUFFIX)
        and "spec" in patch.inputs["spec"]["template"]
        and _find_application_name(recorder, patch) == application
    }
    if workloads:
        yield "  Workloads that receive the variables:"
        for workload in workloads:
            names = containers.get(workload, ["all containers (read from the cluster)"])
            yield f"    {workload}: {', '.join(names)}"
        yield ""


def render_diagram(recorder: Recorder) -> str:
    """Return the applications, their Services and the servers as a Mermaid flowchart in Markdown."""
    lines = ["```mermaid", "flowchart LR"]
    for name, application in _list_applications(recorder):
        node = _format_node_id(name)
        lines += [
            f'  subgraph {_format_node_id(name, "namespace")} ["namespace {application["namespace"]}"]',
            f'    {node}(["{name}"])',
        ]
        external_servers: list[str] = []
        for engine, group_name, group in _list_groups(application):
            service, server = (
                _format_node_id(name, engine, group_name),
                _format_node_id(name, engine, group_name, "server"),
            )
            label = " ".join(word for word in (group["variant"], group.get("version")) if word)
            server_node = f'{server}[("{label}<br/>{group["kind"]}")]'
            if not group.get("service"):  # a file, which the application mounts
                lines.append(f"    {node} --> {server_node}")
                continue
            lines.append(f'    {node} --> {service}{{{{"{group["service"]}"}}}}')
            destination = external_servers if group["kind"] == "external" else lines
            destination.append(f"    {service} --> {server_node}")
        lines += ["  end", *external_servers]
    return "\n".join([*lines, "```", ""])


def _format_node_id(*names: str) -> str:
    """Return the identifier of a node. The prefix keeps Mermaid's reserved identifiers, such as `end`, out of it."""
    return "node_" + "__".join(name.replace("-", "_") for name in names)
