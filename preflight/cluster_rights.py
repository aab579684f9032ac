"""The rights that a stack needs in the cluster, and the rules that grant them (authorization.k8s.io/v1)."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from preflight.cluster_models import ApiPath, ClusterRequirements

__all__ = [
    "OPTIONAL_RIGHTS",
    "PASSWORD_CHANGE_RIGHTS",
    "RIGHTS_BY_KIND",
    "Right",
    "format_rights",
    "is_granted",
    "list_custom_rights",
    "list_required_rights",
]

READ = ("get", "list", "watch")
MANAGE = (*READ, "create", "patch", "delete")
CLUSTER_SCOPED = frozenset({"namespaces", "storageclasses", "nodes"})


class Right(NamedTuple):
    """A right on a resource of an API group."""

    group: str
    """API group. Empty for the core group."""
    resource: str
    verb: str


def _build_rights(resources: Mapping[tuple[str, str], Iterable[str]]) -> frozenset[Right]:
    return frozenset(Right(group, name, verb) for (group, name), verbs in resources.items() for verb in verbs)


AWAITED = {("", "pods"): READ, ("", "events"): READ}
"""What Pulumi's provider reads while it waits for a server or a Service."""
RESOURCES_BY_KIND: Mapping[str, Mapping[tuple[str, str], Iterable[str]]] = MappingProxyType(
    {
        "Namespace": {("", "namespaces"): MANAGE},
        "Secret": {("", "secrets"): MANAGE},
        "ConfigMap": {("", "configmaps"): MANAGE},
        "PersistentVolumeClaim": {
            ("", "persistentvolumeclaims"): MANAGE,
            ("storage.k8s.io", "storageclasses"): ("get", "list"),
        },
        "Service": {("", "services"): MANAGE, ("", "endpoints"): READ, **AWAITED},
        "EndpointSlice": {("discovery.k8s.io", "endpointslices"): MANAGE},
        "NetworkPolicy": {("networking.k8s.io", "networkpolicies"): MANAGE},
        "StatefulSet": {("apps", "statefulsets"): MANAGE, **AWAITED},
        "CronJob": {("batch", "cronjobs"): MANAGE},
        "Job": {("batch", "jobs"): MANAGE, **AWAITED},
        "DeploymentPatch": {("apps", "deployments"): (*READ, "patch"), ("apps", "replicasets"): READ, **AWAITED},
        "StatefulSetPatch": {("apps", "statefulsets"): (*READ, "patch"), **AWAITED},
        "DaemonSetPatch": {("apps", "daemonsets"): (*READ, "patch"), **AWAITED},
    }
)
RIGHTS_BY_KIND: Mapping[str, frozenset[Right]] = MappingProxyType(
    {kind: _build_rights(resources) for kind, resources in RESOURCES_BY_KIND.items()}
)
"""By the kind of an object that the stack manages, or of a workload that it patches."""
OPTIONAL_RIGHTS = _build_rights({("", "nodes"): ("list",), ("", "pods/log"): ("get",)})
"""What only the check of `databaseNodes` and the error of a failed server need. The account can deploy without it."""
PASSWORD_CHANGE_RIGHTS = _build_rights({("", "pods/exec"): ("get", "create")})
"""What the change of a running server's password needs. A WebSocket needs `get`, from Kubernetes 1.35 on also `create`.
"""
STATEFUL_SETS_OF_OPERATORS = {("apps", "statefulsets"): ("get",)}
"""What the wait for a server cluster reads."""


def list_custom_rights(path: ApiPath) -> frozenset[Right]:
    """Return the rights that a custom resource of a type needs."""
    return _build_rights({(path.group, path.plural): MANAGE, **STATEFUL_SETS_OF_OPERATORS})


def list_required_rights(requirements: ClusterRequirements) -> dict[str, frozenset[Right]]:
    """Return the rights that a stack needs, by namespace; those for the whole cluster have the key ''."""
    kinds: defaultdict[str, set[str]] = defaultdict(set)
    rights: defaultdict[str, set[Right]] = defaultdict(set)
    for required in requirements.objects:
        if required.custom_path:
            rights[required.key.namespace] |= list_custom_rights(required.custom_path)
        else:
            kinds[required.key.namespace].add(required.key.kind)
    for namespace, patched in requirements.patched_kinds.items():
        kinds[namespace] |= {f"{kind}Patch" for kind in patched}
    for namespace, names in kinds.items():
        for right in (right for name in names for right in RIGHTS_BY_KIND[name]):
            rights["" if right.resource in CLUSTER_SCOPED else namespace].add(right)
    for namespace in requirements.password_changes:
        rights[namespace] |= PASSWORD_CHANGE_RIGHTS
    return {namespace: frozenset(needed) for namespace, needed in rights.items()}


def is_granted(right: Right, rules: Iterable[Mapping[str, Any]]) -> bool:
    """Return whether one of the resource rules grants a right. A rule for some names does not grant it."""
    return any(
        _has_value(rule, "verbs", right.verb)
        and _has_value(rule, "apiGroups", right.group)
        and _has_value(rule, "resources", right.resource)
        and not rule.get("resourceNames")
        for rule in rules
    )


def format_rights(rights: Collection[Right]) -> str:
    """Return rights as text: `secrets (create, patch), statefulsets.apps (list)`."""
    verbs: defaultdict[str, list[str]] = defaultdict(list)
    for right in sorted(rights, key=lambda right: (right.group, right.resource, MANAGE.index(right.verb))):
        verbs[".".join(filter(None, (right.resource, right.group)))].append(right.verb)
    return ", ".join(f"{resource} ({', '.join(names)})" for resource, names in verbs.items())


def _has_value(rule: Mapping[str, Any], key: str, value: str) -> bool:
    return bool({"*", value} & set(rule.get(key) or ()))
