"""The checks of the cluster: they compare what a stack needs with what exists. Pure functions."""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any

from preflight.cluster_models import (
    CLUSTER_LOCATION,
    ClusterIssue,
    ClusterReport,
    ClusterRequirements,
    JsonObject,
    ObjectKey,
    RequiredNamespace,
    RequiredObject,
)
from preflight.cluster_observation import ObservedCluster
from preflight.cluster_rights import Right, format_rights
from preflight.operators import check_operators, list_operator_notes

__all__ = ["MIN_VERSION", "check_existing_objects", "check_requirements", "parse_quantity"]

MIN_VERSION = (1, 24)
"""The first version in which volumes grow and `namespaceSelector` of an affinity is stable. The servers need both."""
MAX_LISTED = 5
"""Names that a message lists."""
ENFORCE_LABEL = "pod-security.kubernetes.io/enforce"
PRIVILEGED = "privileged"
DEFAULT_CLASS_ANNOTATIONS = (
    "storageclass.kubernetes.io/is-default-class",
    "storageclass.beta.kubernetes.io/is-default-class",
)
QUANTITY_RE = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:([eE][-+]?[0-9]+)|([a-zA-Z]*))")
BINARY_SUFFIXES = ("Ki", "Mi", "Gi", "Ti", "Pi", "Ei")
DECIMAL_SUFFIXES = ("k", "M", "G", "T", "P", "E")
FACTOR_BY_SUFFIX = {
    "": Decimal(1),
    "m": Decimal("0.001"),
    **{suffix: Decimal(1024) ** power for power, suffix in enumerate(BINARY_SUFFIXES, 1)},
    **{suffix: Decimal(1000) ** power for power, suffix in enumerate(DECIMAL_SUFFIXES, 1)},
}
"""Kubernetes: "Quantity" in the API reference."""


def check_requirements(requirements: ClusterRequirements, observed: ObservedCluster) -> ClusterReport:
    """Return every failed check, what could not be checked, and the stack's own objects that are not recorded."""
    return ClusterReport(
        issues=(
            *_check_version(observed),
            *_check_rights(observed.missing_rights or {}),
            *_check_namespaces(requirements, observed),
            *_check_pod_security(requirements, observed),
            *_check_unreadable(requirements, observed),
            *_check_objects(requirements, observed),
            *_check_claims(requirements, observed),
            *_check_existing_claims(requirements, observed),
            *_check_storage_classes(requirements, observed),
            *_check_expansion(requirements, observed),
            *_check_nodes(requirements, observed),
            *check_operators(requirements, observed.operators),
        ),
        notes=tuple(_list_notes(requirements, observed)),
        left_behind=tuple(_list_left_behind(requirements, observed)),
        terminating=tuple(_describe_terminating(requirements, observed)),
    )


def check_existing_objects(requirements: ClusterRequirements, observed: ObservedCluster) -> ClusterReport:
    """Return the objects that the update would overwrite although they are not the stack's own."""
    return ClusterReport(
        issues=(
            *_check_namespaces(requirements, observed),
            *_check_unreadable(requirements, observed),
            *_check_objects(requirements, observed),
            *_check_claims(requirements, observed),
        ),
        left_behind=tuple(_list_left_behind(requirements, observed)),
        terminating=tuple(_describe_terminating(requirements, observed)),
    )


def parse_quantity(text: str) -> Decimal:
    """Return a Kubernetes quantity as a number: `1Gi` is 1073741824. Raises ValueError."""
    match = QUANTITY_RE.fullmatch(text)
    if match is None or (match[3] or "") not in FACTOR_BY_SUFFIX:
        raise ValueError(text)
    return Decimal(match[1] + (match[2] or "")) * FACTOR_BY_SUFFIX[match[3] or ""]


def _check_version(observed: ObservedCluster) -> Iterator[ClusterIssue]:
    if observed.version and observed.version < MIN_VERSION:
        current, minimum = (".".join(map(str, version)) for version in (observed.version, MIN_VERSION))
        message = f"Kubernetes {current} is not supported; upgrade the cluster to {minimum} or later"
        yield ClusterIssue(CLUSTER_LOCATION, message)


def _check_rights(missing: Mapping[str, frozenset[Right]]) -> Iterator[ClusterIssue]:
    """Report the missing rights, once for all namespaces in which the same ones are missing."""
    namespaces: dict[frozenset[Right], list[str]] = {}
    for namespace, rights in missing.items():
        namespaces.setdefault(rights, []).append(namespace)
    for rights, names in namespaces.items():
        scope = f"in namespace{'s' * (len(names) > 1)} {_shorten_list(map(repr, names))}" if names != [""] else ""
        yield ClusterIssue(
            CLUSTER_LOCATION,
            f"the account needs more rights {scope or 'in the whole cluster'}: {format_rights(rights)}; grant them"
            " (docs/teams.md)",
        )


def _check_namespaces(requirements: ClusterRequirements, observed: ObservedCluster) -> Iterator[ClusterIssue]:
    created = {namespace.name for namespace in requirements.namespaces if namespace.is_created}
    terminating = set(_list_terminating_namespaces(requirements, observed))
    for namespace in requirements.namespaces:
        if namespace.name in terminating:
            yield ClusterIssue(
                namespace.location,
                f"the cluster is deleting namespace {namespace.name!r}; run the command again when it does not exist",
            )
        elif namespace.is_created:
            yield from _check_new_namespace(namespace, requirements, observed)
        elif namespace.name not in observed.namespaces and namespace.name not in created:
            yield ClusterIssue(
                (*namespace.location, "createNamespace"),
                f"namespace {namespace.name!r} does not exist; create it, or remove `createNamespace: false`",
            )


def _describe_terminating(requirements: ClusterRequirements, observed: ObservedCluster) -> Iterator[str]:
    for name in _list_terminating_namespaces(requirements, observed):
        yield f"namespace {name!r}"
    for required in _list_terminating_claims(requirements, observed):
        yield _describe_object(required.key)


def _list_terminating_namespaces(requirements: ClusterRequirements, observed: ObservedCluster) -> Iterator[str]:
    for name in dict.fromkeys(namespace.name for namespace in requirements.namespaces):
        if _is_terminating(observed.namespaces.get(name)):
            yield name


def _list_claims(requirements: ClusterRequirements, observed: ObservedCluster) -> Iterator[RequiredObject]:
    """Yield the volume claims in the existing namespaces. Those of a namespace in termination end with it."""
    for required in requirements.objects:
        name = required.key.namespace
        if required.storage and name in observed.namespaces and not _is_terminating(observed.namespaces[name]):
            yield required


def _list_terminating_claims(requirements: ClusterRequirements, observed: ObservedCluster) -> Iterator[RequiredObject]:
    for required in _list_claims(requirements, observed):
        if _is_terminating(observed.objects.get(required.key)):
            yield required


def _check_claims(requirements: ClusterRequirements, observed: ObservedCluster) -> Iterator[ClusterIssue]:
    """Report the volume claims that do not exist any more, or soon. Pulumi does not detect that without a refresh."""
    for required in _list_terminating_claims(requirements, observed):
        yield ClusterIssue(
            required.location,
            f"the cluster is deleting {_describe_object(required.key)}; run the command again when it does not exist",
        )
    for required in _list_claims(requirements, observed):
        is_listed = (required.key.kind, required.key.namespace) not in observed.unreadable
        if is_listed and required.key in requirements.recorded and required.key not in observed.objects:
            yield ClusterIssue(
                required.location,
                f"{_describe_object(required.key)} is in the state, but not in the cluster: an interrupted"
                " `pulumi destroy` or another program deleted it with its data; run `make refresh`, then the command"
                " again",
            )


def _check_existing_claims(requirements: ClusterRequirements, observed: ObservedCluster) -> Iterator[ClusterIssue]:
    """Report the volume claims that must exist but do not. A Pod would wait for them without end."""
    for claim in requirements.existing_claims:
        place = f"namespace {claim.namespace!r}"
        if claim.namespace not in observed.namespaces:
            remedy = "create both and set `createNamespace: false`, or add the backups after the first update"
            message = f"{place} does not exist, so it has no PersistentVolumeClaim {claim.name!r}; {remedy}"
            yield ClusterIssue(claim.location, message)
        elif _is_terminating(observed.objects.get(claim.key)):
            message = f"the cluster is deleting {_describe_object(claim.key)}; create it again, or set another `claim`"
            yield ClusterIssue(claim.location, message)
        elif claim.key not in observed.objects and claim.key[:2] not in observed.unreadable:
            message = f"{_describe_object(claim.key)} does not exist; create it, or set another `claim`"
            yield ClusterIssue(claim.location, message)


def _check_new_namespace(
    namespace: RequiredNamespace, requirements: ClusterRequirements, observed: ObservedCluster
) -> Iterator[ClusterIssue]:
    key = ObjectKey("Namespace", "", namespace.name)
    if key in requirements.recorded and namespace.name not in observed.namespaces:
        yield ClusterIssue(
            namespace.location,
            f"namespace {namespace.name!r} is in the state, but not in the cluster: an interrupted `pulumi destroy` or"
            " another program deleted it; run `make refresh`, then the command again",
        )
    item = observed.namespaces.get(namespace.name)
    if item is None or _is_own(key, item, requirements):
        return
    owner = _find_owner(item, requirements)
    remedy = "set another `namespace`" if owner else "set `createNamespace: false` to use it, or another `namespace`"
    yield ClusterIssue(
        namespace.location,
        f"namespace {namespace.name!r} exists, and {_describe_owner(owner)}; {remedy}",
    )


def _check_pod_security(requirements: ClusterRequirements, observed: ObservedCluster) -> Iterator[ClusterIssue]:
    """Report the servers whose Pods the namespace rejects. All other Pods are allowed at each level."""
    for required in requirements.objects:
        labels = _read_metadata(observed.namespaces.get(required.key.namespace), "labels")
        level = labels.get(ENFORCE_LABEL, PRIVILEGED)
        if required.needs_privileges and level != PRIVILEGED:
            yield ClusterIssue(
                required.location,
                f"namespace {required.key.namespace!r} enforces Pod Security `{level}`, which rejects the Pods of this"
                f" server; set its label `{ENFORCE_LABEL}` to `{PRIVILEGED}`, or set another `namespace`",
            )


def _check_unreadable(requirements: ClusterRequirements, observed: ObservedCluster) -> Iterator[ClusterIssue]:
    """Report the kinds of which an object of others would be overwritten unseen."""
    remedy = "and the update could overwrite those of others; grant it the rights (docs/teams.md)"
    denied = observed.missing_rights or {}
    names = [namespace.name for namespace in requirements.namespaces if namespace.is_created]
    unreadable = [name for name in names if observed.namespaces.get(name, {}) is None]
    if unreadable and "" not in denied:
        yield ClusterIssue(CLUSTER_LOCATION, f"the account may not read Namespace objects, {remedy}")
    mounted = {claim.key[:2] for claim in requirements.existing_claims}
    mounted -= {required.key[:2] for required in requirements.objects}
    for namespace in dict.fromkeys(required.key.namespace for required in requirements.objects):
        kinds = sorted(kind for kind, scope in observed.unreadable - mounted if scope == namespace)
        if kinds and namespace not in denied:
            message = f"the account may not list {', '.join(kinds)} objects in namespace {namespace!r}, {remedy}"
            yield ClusterIssue(CLUSTER_LOCATION, message)


def _check_objects(requirements: ClusterRequirements, observed: ObservedCluster) -> Iterator[ClusterIssue]:
    terminating = set(_list_terminating_namespaces(requirements, observed))
    for required in requirements.objects:
        kind, namespace, name = required.key
        place = f"{kind} {name!r} exists in namespace {namespace!r}" if namespace else f"namespace {name!r} exists"
        item, recorded = observed.objects.get(required.key), requirements.recorded.get(required.key)
        if recorded is not None:
            # Pulumi would update the object for one application, and then delete it for the other one.
            if recorded.application not in (None, required.application):
                yield ClusterIssue(
                    required.location,
                    f"{place}, and the application {recorded.application!r} owns it; keep it there, or set another"
                    " `namespace`",
                )
        elif item is None or namespace in terminating:
            continue
        elif not _is_own(required.key, item, requirements):
            yield ClusterIssue(
                required.location,
                f"{place}, and {_describe_owner(_find_owner(item, requirements))}; delete or rename it, or set another"
                " `namespace`",
            )
        elif required.is_data_of_removed_group:
            yield ClusterIssue(
                required.location,
                f"{place}, and has the data of a group that was removed; use its volume again (docs/day-two.md), or"
                " delete it",
            )


def _check_storage_classes(requirements: ClusterRequirements, observed: ObservedCluster) -> Iterator[ClusterIssue]:
    """Report the storage classes of new volume claims that do not exist."""
    classes = observed.storage_classes
    if classes is None:
        return
    choices = _shorten_list(sorted(classes)) or "none"
    without_class = []
    for required in _list_new_claims(requirements, observed):
        if required.storage_class is None:
            without_class.append(required)
        elif required.storage_class not in classes:
            yield ClusterIssue(
                (*required.location, "server", "storageClass"),
                f"storage class {required.storage_class!r} does not exist; existing classes: {choices}",
            )
    if without_class and not any(map(_is_default_class, classes.values())):
        groups = _shorten_list(".".join(map(str, required.location)) for required in without_class)
        yield ClusterIssue(
            CLUSTER_LOCATION,
            f"no storage class is the default one, which these groups need: {groups}; set `server.storageClass`"
            f" (existing classes: {choices}), or give a class the annotation"
            f' `{DEFAULT_CLASS_ANNOTATIONS[0]}: "true"`',
        )


def _list_new_claims(requirements: ClusterRequirements, observed: ObservedCluster) -> Iterator[RequiredObject]:
    """Yield the volume claims that the update creates, or creates again because their storage class changes."""
    for required in requirements.objects:
        recorded = requirements.recorded.get(required.key)
        exists = required.key in observed.objects
        if recorded:
            exists = required.custom_path is not None or required.storage_class in (None, recorded.storage_class)
        if required.storage and not exists:
            yield required


def _check_expansion(requirements: ClusterRequirements, observed: ObservedCluster) -> Iterator[ClusterIssue]:
    """Report the volumes that should grow but cannot."""
    for required in requirements.objects:
        item = observed.objects.get(required.key)
        if not required.storage or item is None or not _is_own(required.key, item, requirements):
            continue
        claims = observed.volumes.get(required.key, ()) if required.custom_path else (item,)
        for size, name in sorted({_read_size_and_class(claim) for claim in claims}):
            storage_class = (observed.storage_classes or {}).get(name, {})
            is_larger = parse_quantity(required.storage) > parse_quantity(size)
            if not is_larger or observed.storage_classes is None or storage_class.get("allowVolumeExpansion"):
                continue
            remedy = f", or set `allowVolumeExpansion: true` in storage class {name!r}" if storage_class else ""
            yield ClusterIssue(
                (*required.location, "server", "storage"),
                f"the volume cannot grow from {size} to {required.storage}: storage class {name!r} does not allow it;"
                f" restore `storage: {size}`{remedy}",
            )


def _read_size_and_class(claim: JsonObject) -> tuple[str, str]:
    spec = claim["spec"]
    return spec["resources"]["requests"]["storage"], spec.get("storageClassName") or ""


def _check_nodes(requirements: ClusterRequirements, observed: ObservedCluster) -> Iterator[ClusterIssue]:
    selector = ", ".join(f"{key}={value}" for key, value in requirements.node_selector.items())
    if not selector or observed.nodes is None or any(map(_is_ready, observed.nodes)):
        return
    problem, remedy = "no node has the labels", "add them to a node (`kubectl label node`), or correct them"
    if observed.nodes:
        names = _shorten_list(node["metadata"]["name"] for node in observed.nodes)
        problem, remedy = "no node is ready that has the labels", f"repair one of these nodes: {names}"
    yield ClusterIssue(("databaseNodes", "nodeSelector"), f"{problem} {selector}; {remedy}")


def _list_notes(requirements: ClusterRequirements, observed: ObservedCluster) -> Iterator[str]:
    unreadable = [claim for claim in requirements.existing_claims if claim.key[:2] in observed.unreadable]
    if unreadable:
        names = _shorten_list(_describe_object(claim.key) for claim in unreadable)
        yield f"the account may not list volume claims, so these are not checked: {names}"
    unknown = [
        required
        for required in requirements.objects
        if required.pod_labels and required.key in requirements.recorded and required.key not in observed.volumes
    ]
    if unknown:
        names = _shorten_list(_describe_object(required.key) for required in unknown)
        yield f"the account may not list Pods and volume claims, so the growth of volumes is not checked: {names}"
    if observed.nodes is None:
        yield "the nodes of `databaseNodes` are not checked: the account may not list nodes"
    if observed.missing_rights is None:
        yield "the rights in the cluster are not checked: the account may not review its own rights"
    yield from list_operator_notes(requirements, observed.operators)


def _list_left_behind(requirements: ClusterRequirements, observed: ObservedCluster) -> Iterator[ObjectKey]:
    namespaces = {ObjectKey("Namespace", "", name): item for name, item in observed.namespaces.items()}
    existing = {**namespaces, **observed.objects}
    for required in requirements.objects:
        item = existing.get(required.key)
        is_recorded = required.key in requirements.recorded
        if item is not None and not is_recorded and _is_own(required.key, item, requirements):
            yield required.key


def _is_own(key: ObjectKey, item: JsonObject, requirements: ClusterRequirements) -> bool:
    """Return whether an object belongs to the stack: its state or the object's annotation names it."""
    owner = _find_owner(item, requirements)
    return key in requirements.recorded or f"/{owner}".endswith(f"/{requirements.stack.removeprefix('/')}")


def _find_owner(item: JsonObject, requirements: ClusterRequirements) -> str:
    """Return the stack to which an object belongs; empty for an object that the program did not create."""
    return str(_read_metadata(item, "annotations").get(requirements.stack_annotation, ""))


def _describe_owner(owner: str) -> str:
    return f"belongs to the stack {owner!r}" if owner else "this stack did not create it"


def _describe_object(key: ObjectKey) -> str:
    return f"{key.kind} {key.name!r} in namespace {key.namespace!r}"


def _is_terminating(item: JsonObject | None) -> bool:
    return bool(_read_metadata(item, "deletionTimestamp"))


def _read_metadata(item: JsonObject | None, key: str) -> Mapping[str, Any]:
    metadata: Mapping[str, Any] = (item or {}).get("metadata") or {}
    return metadata.get(key) or {}


def _is_default_class(storage_class: JsonObject) -> bool:
    annotations = _read_metadata(storage_class, "annotations")
    return any(annotations.get(key) == "true" for key in DEFAULT_CLASS_ANNOTATIONS)


def _is_ready(node: JsonObject) -> bool:
    conditions: Collection[JsonObject] = node.get("status", {}).get("conditions") or ()
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)


def _shorten_list(names: Iterable[str]) -> str:
    """Return the names as text; of many, the first ones and the number of the others."""
    listed = list(names)
    others = len(listed) - MAX_LISTED
    return ", ".join(listed[:MAX_LISTED]) + (f" and {others} more" if others > 0 else "")
