"""Kubernetes manifests from a recorded run of the program. Pure functions."""

import base64
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import yaml

from components.persisted.names import APPLICATION_TYPE
from offline.recorder import PLACEHOLDER, Recorder, Registration

__all__ = ["KUBERNETES_PREFIX", "PATCH_SUFFIX", "find_application_name", "render_manifests", "render_patches"]

KUBERNETES_PREFIX = "kubernetes:"
PATCH_SUFFIX = "Patch"
FIRST_KEYS = ("apiVersion", "kind", "metadata")


class _Dumper(yaml.CSafeDumper):
    """A YAML writer that keeps the lines of scripts."""


def _represent_str(dumper: yaml.CSafeDumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Dumper.add_representer(str, _represent_str)


def _render_manifest(registration: Registration) -> dict[str, Any]:
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
            objects.setdefault(find_application_name(recorder, registration), []).append(_render_manifest(registration))
    return {
        application: yaml.dump_all(
            sorted(contents, key=_get_document_order), Dumper=_Dumper, sort_keys=False, width=160
        )
        for application, contents in sorted(objects.items())
    }


def _get_document_order(content: Mapping[str, Any]) -> tuple[bool, str, str]:
    return content["kind"] != "Namespace", content["metadata"]["name"], content["kind"]


def find_application_name(recorder: Recorder, registration: Registration) -> str:
    """Return the name of the application that a resource belongs to."""
    while registration.type != APPLICATION_TYPE:
        registration = recorder.registrations[registration.parent]
    return registration.name
