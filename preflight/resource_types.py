"""Whether the cluster has a type of custom resources, and whether the account may create its objects."""

from collections.abc import Collection
from typing import Any

from preflight.cluster_client import read_json, run_parallel

__all__ = ["has_resource_type", "list_creatable_namespaces"]

FORBIDDEN, NOT_FOUND = 403, 404
REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"


def has_resource_type(connection: Any, api_version: str, plural: str) -> bool | None:
    """Return whether the cluster has a type; None if the account may not ask. Raises ClusterError."""
    results: dict[int, Any] = {NOT_FOUND: {}, FORBIDDEN: None}
    answer = read_json(connection, f"/apis/{api_version}", f"read the types of {api_version}", results=results)
    return None if answer is None else any(item["name"] == plural for item in answer.get("resources") or ())


def list_creatable_namespaces(
    connection: Any, api_version: str, plural: str, namespaces: Collection[str]
) -> frozenset[str]:
    """Return the namespaces in which the account may create objects of a type. Raises ClusterError."""

    def can_create(namespace: str) -> bool:
        group = api_version.partition("/")[0]
        attributes = {"namespace": namespace, "verb": "create", "group": group, "resource": plural}
        review = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview"}
        answer = read_json(
            connection,
            REVIEWS,
            "create a SelfSubjectAccessReview",
            body={**review, "spec": {"resourceAttributes": attributes}},
        )
        return answer is not None and bool(answer["status"]["allowed"])

    names = list(namespaces)
    return frozenset(name for name, allowed in zip(names, run_parallel(can_create, names), strict=True) if allowed)
