"""A script in the Pod of a server, with passwords on its standard input, and a restart of the server."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from preflight.cluster_client import PATHS, REQUEST_TIMEOUT_SECONDS, explain_connection_error, read_object
from preflight.errors import ClusterError
from preflight.pods import find_condition

__all__ = ["SCRIPT_SECONDS", "ScriptResult", "ServerContainer", "restart_server", "run_script"]

SCRIPT_SECONDS = 60
"""Time limit of a script. Erlang's tools need several seconds on a busy node."""
MAX_OUTPUT_LINES = 5
OK, FORBIDDEN, NOT_FOUND = 200, 403, 404
MERGE_PATCH = "application/merge-patch+json"
RESTART_ANNOTATION = "kubectl.kubernetes.io/restartedAt"
"""Annotation that `kubectl rollout restart` sets, too. A new value replaces the Pods."""
REFUSALS = {FORBIDDEN: "the account may not run it: no right to get and create `pods/exec`"}


@dataclass(frozen=True, kw_only=True)
class ServerContainer:
    """The container of a server, in the first Pod of its StatefulSet."""

    namespace: str
    server: str
    """Name of the StatefulSet."""
    name: str

    @property
    def pod(self) -> str:
        """Name of the Pod."""
        return f"{self.server}-0"


@dataclass(frozen=True, kw_only=True)
class ScriptResult:
    """The result of a script in a Pod."""

    failure: str | None = None
    """Why the script failed: the last lines of its output."""
    refusal: str | None = None
    """Why the script did not run."""


def run_script(
    connection: Any, container: ServerContainer, script: Sequence[str], lines: Sequence[str]
) -> ScriptResult:
    """Run a script in the Pod of a server that is ready, with lines on its standard input. Raises ClusterError.

    `script` is its path there, or `-c` and its text.
    """
    pod = read_object(connection, "Pod", container.namespace, container.pod)
    if pod is None:
        return ScriptResult(refusal=f"the account may not read Pod {container.pod}")
    ready = find_condition(pod, "Ready") or {}
    if ready.get("status") != "True" or pod["metadata"].get("deletionTimestamp"):
        return ScriptResult(refusal=f"Pod {container.pod} is not ready")
    return _run_in_pod(connection, container, script, lines)


def _run_in_pod(
    connection: Any, container: ServerContainer, script: Sequence[str], lines: Sequence[str]
) -> ScriptResult:
    from kubernetes.stream.ws_client import ERROR_CHANNEL, WSClient  # noqa: PLC0415
    from websocket import WebSocketBadStatusException, WebSocketException  # noqa: PLC0415

    api, plural = PATHS["Pod"]
    flags = {"container": container.name, "stdin": "true", "stdout": "true", "stderr": "true"}
    _, url, headers, *_ = connection.param_serialize(
        "GET",
        f"{api}/namespaces/{container.namespace}/{plural}/{container.pod}/exec",
        query_params=[*(("command", word) for word in ("/bin/sh", *script)), *flags.items()],
        auth_settings=["BearerToken"],
    )
    create_client: Any = WSClient  # without types
    try:
        client = create_client(connection.configuration, url.replace("http", "ws", 1), headers, capture_all=True)
    except WebSocketBadStatusException as error:
        return ScriptResult(refusal=REFUSALS.get(error.status_code, f"the API server answers {error.status_code}"))
    except (WebSocketException, OSError) as error:
        raise explain_connection_error(connection, error) from None
    try:
        client.write_stdin("".join(f"{line}\n" for line in lines))
        end = time.monotonic() + SCRIPT_SECONDS
        while client.is_open() and time.monotonic() < end:
            client.update(timeout=end - time.monotonic())
        if client.is_open():
            return ScriptResult(failure=f"it did not end in {SCRIPT_SECONDS} seconds")
        status = json.loads(client.read_channel(ERROR_CHANNEL) or "{}")
        if status.get("status") == "Success":
            return ScriptResult()
        output = client.read_all().strip().splitlines()[-MAX_OUTPUT_LINES:]
        return ScriptResult(failure="\n".join(output) or status.get("message") or "the connection to the Pod ended")
    except (WebSocketException, OSError) as error:
        return ScriptResult(failure=f"the connection to the Pod ended ({type(error).__name__})")
    finally:
        client.sock.shutdown()


def restart_server(connection: Any, container: ServerContainer) -> None:
    """Let the StatefulSet of a server replace its Pod, if the StatefulSet exists. Raises ClusterError."""
    from urllib3.exceptions import HTTPError  # noqa: PLC0415

    api, plural = PATHS["StatefulSet"]
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    request = connection.param_serialize(
        "PATCH",
        f"{api}/namespaces/{container.namespace}/{plural}/{container.server}",
        query_params=[("fieldManager", "database-groups-restart")],
        header_params={"Accept": "application/json", "Content-Type": MERGE_PATCH},
        body={"spec": {"template": {"metadata": {"annotations": {RESTART_ANNOTATION: now}}}}},
        auth_settings=["BearerToken"],
    )
    try:
        response = connection.call_api(*request, _request_timeout=REQUEST_TIMEOUT_SECONDS)
        response.read()
    except (HTTPError, OSError) as error:
        raise explain_connection_error(connection, error) from None
    if response.status not in (OK, NOT_FOUND):
        raise ClusterError(f"cannot restart StatefulSet {container.server!r} ({response.status} {response.reason})")
