"""Reads workloads from the cluster: their annotations, and the variables and volumes of their containers.

The module finds the cluster as Pulumi's Kubernetes provider does, so that both use the same one. It imports the
Kubernetes client only when it is needed, because a stack without workloads does not need it.
"""

import re
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import yaml

from preflight.errors import ClusterError

__all__ = [
    "REQUEST_TIMEOUT_SECONDS",
    "ClusterConfig",
    "ObservedContainer",
    "ObservedWorkload",
    "WorkloadKey",
    "create_api_client",
    "explain_connection_error",
    "read_workloads",
]

REQUEST_TIMEOUT_SECONDS = (3, 5)
"""Time limits of a request: to connect, and to receive the answer."""
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
CONFIG_SOURCES = "`kubernetes:context`, `kubernetes:kubeconfig` or the environment variable KUBECONFIG"


class WorkloadKey(NamedTuple):
    """The key of a workload in the cluster."""

    namespace: str
    kind: str
    name: str


@dataclass(frozen=True, kw_only=True)
class ClusterConfig:
    """The stack's configuration of the Kubernetes provider, `kubernetes:*`."""

    kubeconfig: str | None = field(default=None, repr=False)
    """Path or content of a kubeconfig."""
    context: str | None = None
    cluster: str | None = None


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


def create_api_client(config: ClusterConfig) -> Any:
    """Create a client from the stack's configuration, the environment or the Pod's service account."""
    import urllib3  # noqa: PLC0415
    from kubernetes import client  # noqa: PLC0415
    from kubernetes.config import ConfigException  # noqa: PLC0415

    if config.cluster:
        raise ClusterError(
            "kubernetes:cluster: not supported when the program reads the cluster; set `kubernetes:context`"
        )
    settings = client.Configuration()
    try:
        _load_kubeconfig(config, settings)
    except (ConfigException, yaml.YAMLError, OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        reason = str(error) if isinstance(error, ConfigException) else type(error).__name__
        # The name comes from the configuration, whose values may be encrypted.
        reason = re.sub("with name .* in", "with the configured name in", reason)
        raise ClusterError(
            f"no cluster configuration found (tried {_describe_sources(config)}): {reason}; set {CONFIG_SOURCES}"
        ) from None
    settings.retries = False
    if not settings.verify_ssl:  # the kubeconfig disables verification; the provider does not warn either
        urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
    return client.ApiClient(settings)


def explain_connection_error(connection: Any, error: Exception) -> ClusterError:
    """Return the error for a client that cannot connect to its cluster."""
    url = urlsplit(connection.configuration.host)
    address = f"{url.scheme}://{url.netloc.rpartition('@')[2]}"  # without a password in the URL
    return ClusterError(
        f"cannot connect to the cluster at {address} ({type(error).__name__}); check that it runs and that "
        f"{CONFIG_SOURCES} selects it"
    )


def _load_kubeconfig(cluster: ClusterConfig, settings: Any) -> None:
    """Load the provider's kubeconfig into the settings of a client.

    `kubernetes.config.load_config` is not used: it ignores all but one file of a list in KUBECONFIG, and it prints to
    standard output.
    """
    from kubernetes import config  # noqa: PLC0415

    loader: Any = config  # without types
    options: dict[str, Any] = {"context": cluster.context, "client_configuration": settings}
    kubeconfig = cluster.kubeconfig
    if kubeconfig and "\n" not in kubeconfig and Path(kubeconfig).expanduser().is_file():
        loader.load_kube_config(str(Path(kubeconfig).expanduser()), persist_config=False, **options)
    elif kubeconfig:
        loader.load_kube_config_from_dict(yaml.safe_load(kubeconfig), **options)
    elif not cluster.context and not _has_kubeconfig(loader.kube_config.KUBE_CONFIG_DEFAULT_LOCATION):
        loader.load_incluster_config(client_configuration=settings)
    else:
        loader.load_kube_config(persist_config=False, **options)


def _has_kubeconfig(locations: str) -> bool:
    """Return whether one of the default files exists. Windows separates them with `;`."""
    return any(Path(path).expanduser().is_file() for path in locations.split(":" if ":" in locations else ";") if path)


def _describe_sources(config: ClusterConfig) -> str:
    files = "kubernetes:kubeconfig" if config.kubeconfig else "KUBECONFIG, ~/.kube/config, the Pod's service account"
    return f"{files}; kubernetes:context" if config.context else files


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
