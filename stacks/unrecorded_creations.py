"""What a killed update perhaps created without a record in the state. A destroy deletes only what is recorded."""

from collections.abc import Iterable, Mapping
from typing import Any

from stacks.previous_state import KUBERNETES_PREFIX, StateResource, collect_recorded_objects

__all__ = ["describe_unrecorded_creations", "find_unrecorded_creations"]

LOCAL_TYPES = ("pulumi:", "random:")
"""Beginnings of the types of resources that exist in the state only."""


def find_unrecorded_creations(deployment: Mapping[str, Any]) -> list[str]:
    """Return the resources that an update perhaps created and that a destroy does not delete, as kinds and names.

    Pulumi records the beginning of each creation, and does not remove this record when a later update creates the
    resource. Objects of a recorded namespace are deleted with it. A state without resources has nothing to destroy.

    Args:
        deployment: the state, as `pulumi stack export` prints it.

    """
    resources: list[StateResource] = deployment.get("resources") or []
    recorded = {resource["urn"] for resource in resources}
    namespaces = {key.name for key in collect_recorded_objects(resources) if key.kind == "Namespace"}
    operations: Iterable[Mapping[str, Any]] = deployment.get("pending_operations") or []
    pending = (operation["resource"] for operation in operations if operation["type"] == "creating" and resources)
    return sorted(
        _describe(resource)
        for resource in pending
        if resource["urn"] not in recorded
        and not resource["type"].startswith(LOCAL_TYPES)
        and _read_metadata(resource).get("namespace") not in namespaces
    )


def _read_metadata(resource: StateResource) -> Mapping[str, Any]:
    metadata: Mapping[str, Any] = (resource.get("inputs") or {}).get("metadata") or {}
    return metadata


def _describe(resource: StateResource) -> str:
    """Return the kind and the name of a resource: `Secret shop/redis-main`, `postgresql Database shop_main`."""
    package, kind = resource["type"].partition(":")[0], resource["type"].rpartition(":")[2]
    if resource["type"].startswith(KUBERNETES_PREFIX):
        metadata = _read_metadata(resource)
        return f"{kind} {'/'.join(filter(None, (metadata.get('namespace'), metadata.get('name'))))}"
    name = (resource.get("inputs") or {}).get("name")
    # An encrypted name is no text, and some resources have no name.
    return f"{package} {kind} {name if isinstance(name, str) else resource['urn'].rpartition('::')[2]}"


def describe_unrecorded_creations(creations: Iterable[str], stack: str) -> str:
    """Return the message for resources that a destroy of the stack does not delete."""
    lines = "".join(f"\n  {creation}" for creation in creations)
    return (
        f"a killed update perhaps created these resources, but the state does not record them, so `make destroy` would"
        f" not delete them:{lines}\nrun this, and then `make destroy` again:\n  make up STACK={stack}\n"
        "if they do not exist, or to leave them where they are, run this instead:\n"
        f"  make refresh STACK={stack} ARGS=--clear-pending-creates"
    )
