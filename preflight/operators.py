"""The operators that run server clusters: what the check of the cluster reads of them, and what it requires.

The labels of its Pods identify an operator. A stack needs one that runs, is new enough and watches the namespaces
of the groups.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from preflight.cluster_client import list_objects, read_json
from preflight.cluster_models import ClusterIssue, ClusterRequirements, JsonObject, Location, RequiredOperator
from preflight.pods import has_ended, is_ready

__all__ = [
    "ObservedOperator",
    "OperatorPod",
    "check_operators",
    "describe_operator",
    "list_operator_notes",
    "read_operator",
]

FORBIDDEN, NOT_FOUND = 403, 404
VERSION_RE = re.compile(r"v?(\d+)\.(\d+)(?:\.(\d+))?")
"""Version in the tag of an image."""
DENIED = "the account may not list Pods in the whole cluster"


@dataclass(frozen=True, kw_only=True)
class OperatorPod:
    """A Pod of an operator."""

    namespace: str
    name: str
    is_ready: bool
    version: str | None
    """Version in the tag of its image. None if the tag is not a version."""
    watched: frozenset[str] | None
    """Namespaces that it watches. None: all."""

    def is_watching(self, namespace: str) -> bool:
        """Return whether the operator watches a namespace."""
        return self.watched is None or namespace in self.watched

    def is_new_enough(self, version: str) -> bool:
        """Return whether the operator is not older than a version. An unknown version is."""
        return self.version is None or _parse_version(self.version) >= _parse_version(version)


@dataclass(frozen=True, kw_only=True)
class ObservedOperator:
    """What exists of an operator. A part that the account may not read is None."""

    missing_types: tuple[str, ...] | None = ()
    """Types of its custom resources that the API server does not have."""
    pods: tuple[OperatorPod, ...] | None = ()


UNKNOWN = ObservedOperator(missing_types=None, pods=None)


@dataclass(frozen=True)
class _Problem:
    """Why an operator cannot run some groups."""

    text: str
    locations: Collection[Location]
    """Locations of the groups."""
    commands: Collection[str] = ()
    """Commands that help."""


def read_operator(connection: Any, operator: RequiredOperator, timeout: tuple[float, float]) -> ObservedOperator:
    """Read the types and the Pods of an operator. Raises ClusterError."""
    selector = ",".join(f"{key}={value}" for key, value in operator.pod_labels.items())
    pods = list_objects(connection, "Pod", timeout=timeout, query={"labelSelector": selector})
    return ObservedOperator(
        missing_types=_read_missing_types(connection, operator, timeout),
        pods=None if pods is None else tuple(_build_pod(pod, operator) for pod in pods if not has_ended(pod)),
    )


def check_operators(
    requirements: ClusterRequirements, observed: Mapping[str, ObservedOperator]
) -> Iterator[ClusterIssue]:
    """Report each operator that does not exist, is too old, is not ready or does not watch the groups' namespaces."""
    for operator in requirements.operators:
        for problem in _list_problems(operator, observed.get(operator.name, UNKNOWN)):
            first, *others = problem.locations
            also = f" (for {len(others) + 1} groups)" if others else ""
            commands = "".join(f"\n      {command}" for command in problem.commands)
            text = f"the operator {operator.name} {problem.text}{also}{':' if commands else ''}{commands}"
            yield ClusterIssue((*first, *operator.key), text)


def list_operator_notes(requirements: ClusterRequirements, observed: Mapping[str, ObservedOperator]) -> Iterator[str]:
    """Yield what cannot be checked of the operators."""
    for operator in requirements.operators:
        found = observed.get(operator.name, UNKNOWN)
        if found.missing_types is None or found.pods is None:
            yield f"the operator {operator.name} is not checked: {DENIED}"
        for pod in found.pods or ():
            if pod.version is None:
                yield (
                    f"the version of the operator {operator.name} is not checked: the image of Pod {pod.name!r} in"
                    f" namespace {pod.namespace!r} has no version in its tag"
                )


def describe_operator(operator: RequiredOperator, observed: ObservedOperator) -> str:
    """Return the state of an operator in the cluster, as one line."""
    problems = [problem.text for problem in _list_problems(operator, observed)]
    if not problems and (observed.missing_types is None or observed.pods is None):
        return f"not known: {DENIED}"
    pods = observed.pods or ()
    found = sorted({f"{pod.version or 'unknown version'} in namespace {pod.namespace}" for pod in pods})
    return "; ".join([*(["runs: " + ", ".join(found)] if found else []), *problems])


def _read_missing_types(
    connection: Any, operator: RequiredOperator, timeout: tuple[float, float]
) -> tuple[str, ...] | None:
    results: Mapping[int, Any] = {FORBIDDEN: None, NOT_FOUND: {"resources": []}}
    missing = []
    for api in dict.fromkeys(path.api for path in operator.custom_paths):
        answer = read_json(connection, api, f"read the types of {api}", timeout=timeout, results=results)
        if answer is None:
            return None
        existing = {item["name"] for item in answer["resources"]}
        version = api.rpartition("/")[2]
        missing += [
            f"{path.plural}.{path.group} {version}"
            for path in operator.custom_paths
            if path.api == api and path.plural not in existing
        ]
    return tuple(missing)


def _build_pod(pod: JsonObject, operator: RequiredOperator) -> OperatorPod:
    container = _find_container(pod["spec"]["containers"], operator.image)
    namespace = pod["metadata"]["namespace"]
    tag = _split_image(container["image"])[1]
    return OperatorPod(
        namespace=namespace,
        name=pod["metadata"]["name"],
        is_ready=is_ready(pod),
        version=match[0].removeprefix("v") if (match := VERSION_RE.match(tag)) else None,
        watched=_read_watched(container, operator.namespace_variable, namespace),
    )


def _find_container(containers: Collection[JsonObject], image: str) -> JsonObject:
    """Return the container of the operator. Its image can come from another registry."""
    name, _ = _split_image(image)
    same = (item for item in containers if _split_image(item["image"])[0] == name)
    return next(same, next(iter(containers)))


def _split_image(image: str) -> tuple[str, str]:
    """Return the last part of an image's repository, and its tag. The tag is empty if the image has none."""
    name, _, tag = image.partition("@")[0].rpartition("/")[2].partition(":")
    return name, tag


def _read_watched(container: JsonObject, variable: str, namespace: str) -> frozenset[str] | None:
    """Return the namespaces in a variable. A value that only the cluster knows, except for the Pod's own, is all."""
    empty: JsonObject = {}
    entry = next((item for item in container.get("env") or () if item["name"] == variable), empty)
    source = ((entry.get("valueFrom") or {}).get("fieldRef") or {}).get("fieldPath")
    text = namespace if source == "metadata.namespace" else entry.get("value") or ""
    return frozenset(name for part in text.split(",") if (name := part.strip())) or None


def _list_problems(operator: RequiredOperator, observed: ObservedOperator) -> Iterator[_Problem]:
    every = [location for location, _ in operator.groups]
    if observed.missing_types:
        text = f"is not installed: the cluster does not have {', '.join(observed.missing_types)}"
        yield _Problem(f"{text}; install it", every, operator.install_commands)
    elif observed.pods == ():
        labels = ", ".join(f"{key}={value}" for key, value in operator.pod_labels.items())
        yield _Problem(f"does not run: no Pod has the labels {labels}; install it", every, operator.install_commands)
    elif observed.pods:
        yield from _list_problems_of_pods(operator, observed.pods)


def _list_problems_of_pods(operator: RequiredOperator, pods: Collection[OperatorPod]) -> Iterator[_Problem]:
    """Yield what is wrong with the Pods that watch the groups' namespaces."""
    namespaces: dict[str, list[Location]] = {}
    for location, namespace in operator.groups:
        namespaces.setdefault(namespace, []).append(location)
    for namespace, locations in namespaces.items():
        watching = [pod for pod in pods if pod.is_watching(namespace)]
        new = [pod for pod in watching if pod.is_new_enough(operator.version)]
        if not watching:
            places = ", ".join(sorted({pod.namespace for pod in pods}))
            text = (
                f"in namespace {places} does not watch namespace {namespace!r}; add it to the environment variable"
                f" {operator.namespace_variable} of the operator, or remove the variable to watch all namespaces"
            )
            yield _Problem(text, locations)
        elif not new:
            versions = ", ".join(sorted({str(pod.version) for pod in watching}))
            text = f"{versions} is too old; install version {operator.version} or later"
            yield _Problem(text, locations, operator.install_commands)
        elif not any(pod.is_ready for pod in new):
            commands = [f"kubectl logs --namespace {pod.namespace} {pod.name}" for pod in new]
            yield _Problem("is not ready; read its log", locations, commands)


def _parse_version(text: str) -> tuple[int, ...]:
    match = VERSION_RE.match(text)
    return tuple(int(part or 0) for part in match.groups()) if match else ()
