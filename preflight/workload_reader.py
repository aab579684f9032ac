"""Reads workloads from the cluster: their annotations, and the variables and volumes of their containers."""

from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple

from preflight.cluster_client import (
    REQUEST_TIMEOUT_SECONDS,
    ClusterConfig,
    create_api_client,
    explain_connection_error,
)
from preflight.errors import ClusterError

__all__ = ["ObservedContainer", "ObservedWorkload", "WorkloadKey", "read_workloads"]

MAX_PARALLEL_READS = 16
READ_METHOD_BY_KIND = {
    "Deployment": "read_namespaced_deployment",
    "StatefulSet": "read_namespaced_stateful_set",
    "DaemonSet": "read_namespaced_daemon_set",
}
NOT_FOUND = 404
FIX_BY_STATUS = {
    401: "log in to the cluster again",
    403: "allow the kubeconfig's account to get deployments, statefulsets and daemonsets of the API group apps in this "
    "namespace",
}


class WorkloadKey(NamedTuple):
    """The key of a workload in the cluster."""

    namespace: str
    kind: str
    name: str


@dataclass(frozen=True, kw_only=True)
class ObservedContainer:
    """A container in the cluster."""

    variables: Mapping[str, tuple[str, str] | None] = field(default_factory=lambda: MappingProxyType({}))
    """Secret and key of each environment variable. None if its value has another source."""
    mounts: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Name of the volume by mount path."""


@dataclass(frozen=True, kw_only=True)
class ObservedWorkload:
    """A workload in the cluster."""

    revision: str
    """Unique for each specification of each workload, also after the workload was deleted and created again."""
    annotations: Mapping[str, str]
    containers: Mapping[str, ObservedContainer]


def read_workloads(keys: Collection[WorkloadKey], config: ClusterConfig) -> dict[WorkloadKey, ObservedWorkload | None]:
    """Read the workloads from the cluster. The value is None if a workload does not exist. Raises ClusterError."""
    from kubernetes import client  # noqa: PLC0415 (takes half a second)

    with create_api_client(config) as connection, ThreadPoolExecutor(MAX_PARALLEL_READS) as pool:
        api = client.AppsV1Api(connection)
        return dict(zip(keys, pool.map(lambda key: _read_workload(api, key), keys), strict=True))


def _read_workload(api: Any, key: WorkloadKey) -> ObservedWorkload | None:
    from kubernetes.client.exceptions import ApiException  # noqa: PLC0415
    from urllib3.exceptions import HTTPError  # noqa: PLC0415

    read = getattr(api, READ_METHOD_BY_KIND[key.kind])
    try:
        workload = read(key.name, key.namespace, _request_timeout=REQUEST_TIMEOUT_SECONDS)
    except ApiException as error:
        if error.status == NOT_FOUND:
            return None
        fix = FIX_BY_STATUS.get(int(error.status or 0), "check the log of the API server")
        raise ClusterError(
            f"cannot read {key.kind} {key.name!r} in namespace {key.namespace!r} ({error.status} {error.reason}); {fix}"
        ) from None
    except (HTTPError, OSError) as error:
        raise explain_connection_error(api.api_client, error) from None
    return _convert_workload(workload)


def _convert_workload(workload: Any) -> ObservedWorkload:
    """Convert a workload of the client to the parts that are needed."""
    metadata = workload.metadata
    return ObservedWorkload(
        revision=f"{metadata.uid[:8]}.{metadata.generation}",
        annotations=metadata.annotations or {},
        containers={
            container.name: _convert_container(container) for container in workload.spec.template.spec.containers
        },
    )


def _convert_container(container: Any) -> ObservedContainer:
    return ObservedContainer(
        variables={variable.name: _get_secret_key(variable) for variable in container.env or ()},
        mounts={mount.mount_path: mount.name for mount in container.volume_mounts or ()},
    )


def _get_secret_key(variable: Any) -> tuple[str, str] | None:
    """Return Secret and key that an environment variable refers to."""
    reference = variable.value_from and variable.value_from.secret_key_ref
    return (reference.name, reference.key) if reference else None
