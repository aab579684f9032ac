"""The client of the cluster's API server.

The module finds the cluster as Pulumi's Kubernetes provider does, so that both use the same one. It imports the
Kubernetes client only when it is needed, because a run without a cluster does not need it.
"""

import json
import re
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar
from urllib.parse import urlsplit

import yaml

from preflight.cluster_models import ApiPath, JsonObject
from preflight.errors import ClusterError

__all__ = [
    "PATHS",
    "REQUEST_TIMEOUT_SECONDS",
    "ClusterConfig",
    "create_api_client",
    "create_object",
    "delete_object",
    "explain_connection_error",
    "list_objects",
    "read_json",
    "read_object",
    "request_path",
    "run_parallel",
]

REQUEST_TIMEOUT_SECONDS = (3, 5)
"""Time limits of a request: to connect, and to receive the answer."""
MAX_PARALLEL_REQUESTS = 24
"""A larger number is not faster, and the client warns of connections that its pool cannot store."""
OK, CREATED, UNAUTHORIZED, FORBIDDEN, NOT_FOUND, TOO_MANY_REQUESTS = 200, 201, 401, 403, 404, 429
BUSY_ATTEMPTS = 5
BUSY_SECONDS = 1
"""Time between attempts. An API server is busy for a moment after a new type of objects was installed."""
SUCCESSES = (OK, CREATED, 202)
PATHS = {
    "Namespace": ApiPath("/api/v1", "namespaces"),
    "Node": ApiPath("/api/v1", "nodes"),
    "Service": ApiPath("/api/v1", "services"),
    "Secret": ApiPath("/api/v1", "secrets"),
    "ConfigMap": ApiPath("/api/v1", "configmaps"),
    "Pod": ApiPath("/api/v1", "pods"),
    "PersistentVolumeClaim": ApiPath("/api/v1", "persistentvolumeclaims"),
    "Event": ApiPath("/api/v1", "events"),
    "StatefulSet": ApiPath("/apis/apps/v1", "statefulsets"),
    "CronJob": ApiPath("/apis/batch/v1", "cronjobs"),
    "Job": ApiPath("/apis/batch/v1", "jobs"),
    "EndpointSlice": ApiPath("/apis/discovery.k8s.io/v1", "endpointslices"),
    "NetworkPolicy": ApiPath("/apis/networking.k8s.io/v1", "networkpolicies"),
    "StorageClass": ApiPath("/apis/storage.k8s.io/v1", "storageclasses"),
}
"""The path of the type, by the kind of object."""
JSON = "application/json"
METADATA_ONLY = f"{JSON};as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
"""Format of a list without the content of the objects: values of Secrets never leave the cluster."""
CONFIG_SOURCES = "`kubernetes:context`, `kubernetes:kubeconfig` or the environment variable KUBECONFIG"
DENIED: Mapping[int, Any] = MappingProxyType({FORBIDDEN: None})
DENIED_OR_UNKNOWN: Mapping[int, Any] = MappingProxyType({**DENIED, NOT_FOUND: MappingProxyType({"items": ()})})
"""What a list of custom resources returns. Their type does not exist before the operator is installed."""
FIX_BY_STATUS = {UNAUTHORIZED: "log in to the cluster again"}

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, kw_only=True)
class ClusterConfig:
    """The stack's configuration of the Kubernetes provider, `kubernetes:*`."""

    kubeconfig: str | None = field(default=None, repr=False)
    """Path or content of a kubeconfig."""
    context: str | None = None
    cluster: str | None = None


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
    settings.connection_pool_maxsize = MAX_PARALLEL_REQUESTS
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


def request_path(
    connection: Any,
    path: str,
    *,
    method: str | None = None,
    body: JsonObject | None = None,
    timeout: tuple[float, float] = REQUEST_TIMEOUT_SECONDS,
    accept: str = JSON,
    query: Mapping[str, str] | None = None,
) -> Any:
    """Get a path of the API server, post a body to it, or use another method. Return the response, whatever its status.

    The client's classes for each API group take half a second to import. Raises urllib3's HTTPError and OSError.
    """
    request = connection.param_serialize(
        method or ("GET" if body is None else "POST"),
        path,
        query_params=list((query or {}).items()),
        header_params={"Accept": accept, "Content-Type": JSON},
        body=body,
        auth_settings=["BearerToken"],
    )
    response = connection.call_api(*request, _request_timeout=timeout)
    response.read()
    return response


def read_json(
    connection: Any,
    path: str,
    purpose: str,
    *,
    body: JsonObject | None = None,
    timeout: tuple[float, float] = REQUEST_TIMEOUT_SECONDS,
    accept: str = JSON,
    query: Mapping[str, str] | None = None,
    results: Mapping[int, Any] = DENIED,
) -> Any:
    """Return the JSON of an answer; None if the account may not send the request.

    `purpose` is what the request does, for messages: "list Secret objects". `results` has what to return for other
    statuses, by status. Raises ClusterError.
    """
    for attempt in range(BUSY_ATTEMPTS):
        if attempt:
            time.sleep(BUSY_SECONDS)
        response = _send(connection, path, body=body, timeout=timeout, accept=accept, query=query)
        if response.status != TOO_MANY_REQUESTS:
            break
    if response.status in results:
        return results[response.status]
    if response.status not in (OK, CREATED):
        fix = FIX_BY_STATUS.get(response.status, "check the log of the API server")
        raise ClusterError(f"cannot {purpose} ({response.status} {response.reason}); {fix}")
    return json.loads(response.data)


def list_objects(
    connection: Any,
    kind: str,
    namespace: str | None = None,
    *,
    metadata_only: bool = False,
    timeout: tuple[float, float] = REQUEST_TIMEOUT_SECONDS,
    query: Mapping[str, str] | None = None,
    custom_path: ApiPath | None = None,
) -> list[JsonObject] | None:
    """List objects of a namespace or of the whole cluster. Return None if the account may not list them.

    `custom_path` is the path of a custom resource. Of a Secret, only the metadata is read. Raises ClusterError.
    """
    api, plural = custom_path or PATHS[kind]
    path = f"{api}/namespaces/{namespace}/{plural}" if namespace else f"{api}/{plural}"
    accept = METADATA_ONLY if metadata_only or kind == "Secret" else JSON
    results = DENIED_OR_UNKNOWN if custom_path else DENIED
    purpose = f"list {kind} objects"
    answer = read_json(connection, path, purpose, timeout=timeout, accept=accept, query=query, results=results)
    return None if answer is None else answer["items"] or []  # an empty list is null in some formats


def read_object(
    connection: Any,
    kind: str,
    namespace: str,
    name: str,
    *,
    timeout: tuple[float, float] = REQUEST_TIMEOUT_SECONDS,
) -> JsonObject | None:
    """Return an object: empty if it does not exist, None if the account may not read it. Raises ClusterError."""
    api, plural = PATHS[kind]
    results: dict[int, Any] = {FORBIDDEN: None, NOT_FOUND: {}}
    path = f"{api}/namespaces/{namespace}/{plural}/{name}"
    found: JsonObject | None = read_json(connection, path, f"read {kind} {name!r}", timeout=timeout, results=results)
    return found


def create_object(connection: Any, kind: str, namespace: str, content: JsonObject) -> JsonObject:
    """Create an object, and return it as the cluster stores it. Raises ClusterError."""
    api, plural = PATHS[kind]
    version = api.removeprefix("/apis/").removeprefix("/api/")
    body = {"apiVersion": version, "kind": kind, **content}
    name = content["metadata"]["name"]
    response = _send(connection, f"{api}/namespaces/{namespace}/{plural}", method="POST", body=body)
    _require_success(response, f"create {kind} {name!r} in namespace {namespace}")
    created: JsonObject = json.loads(response.data)
    return created


def delete_object(connection: Any, kind: str, namespace: str, name: str) -> None:
    """Delete an object with the objects that belong to it, if it exists. Raises ClusterError."""
    api, plural = PATHS[kind]
    path = f"{api}/namespaces/{namespace}/{plural}/{name}"
    response = _send(connection, path, method="DELETE", query={"propagationPolicy": "Background"})
    if response.status != NOT_FOUND:
        _require_success(response, f"delete {kind} {name!r} in namespace {namespace}")


def _send(connection: Any, path: str, **options: Any) -> Any:
    from urllib3.exceptions import HTTPError  # noqa: PLC0415

    try:
        return request_path(connection, path, **options)
    except (HTTPError, OSError) as error:
        raise explain_connection_error(connection, error) from None


def _require_success(response: Any, purpose: str) -> None:
    """Raise ClusterError if an answer has no success. The message of the API server names the rule or the quota."""
    if response.status in SUCCESSES:
        return
    try:
        reason = json.loads(response.data)["message"]
    except (ValueError, TypeError, KeyError):
        reason = FIX_BY_STATUS.get(response.status, "check the log of the API server")
    raise ClusterError(f"cannot {purpose} ({response.status} {response.reason}): {reason}")


def run_parallel(function: Callable[[T], R], arguments: Iterable[T]) -> list[R]:
    """Return the results of a function, in the order of its arguments."""
    with ThreadPoolExecutor(MAX_PARALLEL_REQUESTS) as pool:
        return list(pool.map(function, arguments))


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
