"""Which workloads a cluster has, and what their containers are given already. It reads, and changes nothing.

The cluster is found as Pulumi's Kubernetes provider finds it, so that both speak of the same one. The client is imported when it is needed:
a stack without workloads does not wait for it.
"""

from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

__all__ = ["ClusterError", "ClusterKeys", "Found", "FoundContainer", "Place", "look"]

SECONDS = (3, 5)
"""How long a connection and an answer may take."""
AT_ONCE = 16
READERS = {
    "Deployment": "read_namespaced_deployment",
    "StatefulSet": "read_namespaced_stateful_set",
    "DaemonSet": "read_namespaced_daemon_set",
}
NOT_FOUND = 404
ADVICE = {
    401: "log in to the cluster again",
    403: "let the account of this kubeconfig get deployments, statefulsets and daemonsets of apps in the application's namespace",
}
KUBECONFIG = "kubernetes:kubeconfig, kubernetes:context, or the variable KUBECONFIG"

Place = tuple[str, str, str]
"""A workload's namespace, kind and name."""


@dataclass(frozen=True, kw_only=True)
class ClusterKeys:
    """What the stack says of its cluster: the Kubernetes provider's own keys."""

    kubeconfig: str | None = field(default=None, repr=False)
    """A path, or the content of a kubeconfig."""
    context: str | None = None
    cluster: str | None = None


@dataclass(frozen=True, kw_only=True)
class FoundContainer:
    """A container as it is in the cluster."""

    variables: Mapping[str, tuple[str, str] | None] = field(default_factory=lambda: MappingProxyType({}))
    """The variables that its manifest sets: the Secret and the key that one is taken from, or None where it is something else."""
    mounts: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """The names of volumes by the path where they are mounted."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """A workload as it is in the cluster."""

    revision: str
    """What no other state of its specification has, and no other workload of its name."""
    annotations: Mapping[str, str]
    containers: Mapping[str, FoundContainer]


class ClusterError(Exception):
    """The cluster cannot be looked at; the message says what was tried, what came back, and what to do."""


def look(places: Collection[Place], keys: ClusterKeys) -> dict[Place, Found | None]:
    """What the cluster has in each of the places; None where there is nothing. Raises ClusterError."""
    from kubernetes import client  # noqa: PLC0415 (half a second that only a stack with workloads takes)

    with _connection(keys) as connection, ThreadPoolExecutor(AT_ONCE) as pool:
        api = client.AppsV1Api(connection)
        return dict(zip(places, pool.map(lambda place: _read(api, place), places), strict=True))


def _connection(keys: ClusterKeys) -> Any:
    """A client of the cluster that the keys, the environment, or the Pod around this process name. Raises ClusterError."""
    import urllib3  # noqa: PLC0415
    from kubernetes import client, config  # noqa: PLC0415

    if keys.cluster:
        raise ClusterError(f"kubernetes:cluster is {keys.cluster!r}, which cannot be followed here; name a context with kubernetes:context instead")
    settings = client.Configuration()
    try:
        _load(keys, config, settings)
    except (config.ConfigException, yaml.YAMLError, OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        reason = str(error) if isinstance(error, config.ConfigException) else type(error).__name__
        raise ClusterError(f"no way into the cluster was found ({_tried(keys)}): {reason}; set {KUBECONFIG}") from None
    settings.retries = False
    if not settings.verify_ssl:  # the kubeconfig's own choice, of which the provider does not warn either
        urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
    return client.ApiClient(settings)


def _load(keys: ClusterKeys, config: Any, settings: Any) -> None:
    """Fills in the settings of a client."""
    given = keys.kubeconfig
    if given and "\n" not in given and Path(given).expanduser().is_file():
        config.load_kube_config(str(Path(given).expanduser()), context=keys.context, client_configuration=settings, persist_config=False)
    elif given:
        config.load_kube_config_from_dict(yaml.safe_load(given), context=keys.context, client_configuration=settings)
    elif not keys.context and not _has_kubeconfig(config):
        config.load_incluster_config(client_configuration=settings)
    else:
        config.load_kube_config(context=keys.context, client_configuration=settings, persist_config=False)


def _has_kubeconfig(config: Any) -> bool:
    """Whether one of the files is there in which a kubeconfig is looked for."""
    locations = str(config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION)
    return any(Path(path).expanduser().is_file() for path in locations.split(":" if ":" in locations else ";") if path)


def _tried(keys: ClusterKeys) -> str:
    """Where a way in was looked for."""
    found = "kubernetes:kubeconfig" if keys.kubeconfig else "KUBECONFIG, ~/.kube/config, the Pod's own account"
    return f"{found}, context {keys.context!r}" if keys.context else found


def _read(api: Any, place: Place) -> Found | None:
    """One workload. Raises ClusterError."""
    from kubernetes.client.exceptions import ApiException  # noqa: PLC0415
    from urllib3.exceptions import HTTPError  # noqa: PLC0415

    namespace, kind, name = place
    try:
        return _found(getattr(api, READERS[kind])(name, namespace, _request_timeout=SECONDS))
    except ApiException as error:
        if error.status == NOT_FOUND:
            return None
        advice = ADVICE.get(int(error.status or 0), "see the cluster's own log")
        raise ClusterError(f"the cluster does not show the {kind} {name!r} in the namespace {namespace!r} ({error.status} {error.reason}); {advice}") from None
    except (HTTPError, OSError) as error:
        host = api.api_client.configuration.host
        raise ClusterError(
            f"the cluster at {host} cannot be reached ({type(error).__name__}); is it there, and is it the one meant? It is chosen by {KUBECONFIG}"
        ) from None


def _found(workload: Any) -> Found:
    """A workload of the API without what is of no interest here."""
    metadata = workload.metadata
    return Found(
        revision=f"{metadata.uid[:8]}.{metadata.generation}",
        annotations=metadata.annotations or {},
        containers={container.name: _container(container) for container in workload.spec.template.spec.containers},
    )


def _container(container: Any) -> FoundContainer:
    """A container of the API likewise."""
    return FoundContainer(
        variables={variable.name: _reference(variable) for variable in container.env or ()},
        mounts={mount.mount_path: mount.name for mount in container.volume_mounts or ()},
    )


def _reference(variable: Any) -> tuple[str, str] | None:
    """The Secret and the key that a variable is taken from."""
    reference = variable.value_from and variable.value_from.secret_key_ref
    return (reference.name, reference.key) if reference else None
