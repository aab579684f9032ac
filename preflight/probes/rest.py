"""The probe of rest-server, the server of restic's own protocol (restic's documentation, "REST Backend")."""

import base64
from collections.abc import Mapping
from http import HTTPStatus
from types import MappingProxyType

from preflight.errors import AuthenticationRequiredError, ProbeError, UnexpectedProtocolError
from preflight.models import Finding
from preflight.probe_context import ProbeContext
from preflight.probes.http import HttpResponse, request
from preflight.probes.store import (
    OBJECT_NAME,
    Action,
    CheckObject,
    StoreProtocol,
    check_store,
    explain_status,
    probe_store,
)

__all__ = ["probe"]

METHODS: Mapping[Action, str] = MappingProxyType({"list": "GET", "write": "POST", "read": "GET", "delete": "DELETE"})
CONTENT_TYPES = ("text/plain", "application/octet-stream")
MAX_BODY_LENGTH = 100
REJECTED_LOGIN = (
    "the server rejected the login",
    "Correct `username` and `password` in the stack file. If the server runs with `--private-repos`, `url` must end "
    "with the folder of the user, which has the user's name.",
)
REJECTED_FOLDER = (
    "the server accepts no repository in this folder",
    "Correct `url` in the stack file. rest-server accepts two folders at most: one in `url`, such as the user's with "
    "`--private-repos`, and one for each repository.",
)
EXPLANATIONS: Mapping[int, tuple[str, str]] = MappingProxyType(
    {
        HTTPStatus.UNAUTHORIZED: REJECTED_LOGIN,
        HTTPStatus.FORBIDDEN: REJECTED_LOGIN,
        HTTPStatus.NOT_FOUND: REJECTED_FOLDER,
        HTTPStatus.METHOD_NOT_ALLOWED: REJECTED_FOLDER,
        HTTPStatus.INTERNAL_SERVER_ERROR: (
            "the server cannot use its folder",
            "Check the log of rest-server, and whether it may read and write in its folder (`--path`).",
        ),
    }
)
"""Result and fix by the status. The server sends nothing else."""


def probe(context: ProbeContext) -> None:
    """Log in, then write, read and delete a lock. Check whether backups can be deleted."""
    probe_store(context, _probe_session)


def _probe_session(context: ProbeContext) -> None:
    account = context.endpoint.account
    if not account:
        _require_protocol(request(context, "/config", timeout_seconds=context.remaining_seconds))
        raise AuthenticationRequiredError
    server = _Server(context)
    place = account["basePath"] or "the top folder"
    protocol = StoreProtocol(place=place, send=server.send, explain=server.explain, accepts_missing_folder=True)
    check_store(context, protocol)
    server.check_deletion(CheckObject(OBJECT_NAME))


class _Server:
    """The server of a context."""

    def __init__(self, context: ProbeContext) -> None:
        self.context, self.account = context, context.endpoint.account
        self.folder = f"{self.account['basePath']}/{OBJECT_NAME}"

    def send(self, action: Action, item: CheckObject) -> HttpResponse:
        """Send a request. The object is a lock, because an append-only server deletes only locks."""
        path = f"{self.folder}/config" if action == "list" else f"{self.folder}/locks/{item.digest}"
        response = self._send(METHODS[action], path, item.content.encode() if action == "write" else None)
        if action == "list":
            _require_protocol(response)
        return response

    def explain(self, _action: Action, response: HttpResponse) -> ProbeError:
        """Explain the status."""
        reason = self.context.redact(f"HTTP {response.status} {response.body[:MAX_BODY_LENGTH]}")
        if response.status in EXPLANATIONS:
            result, fix = EXPLANATIONS[response.status]
            return ProbeError(f"{result}: {reason}", fix)
        is_full = response.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE
        return explain_status(HTTPStatus.INSUFFICIENT_STORAGE if is_full else response.status, reason)

    def check_deletion(self, item: CheckObject) -> None:
        """Compare `appendOnly` with the answer to the deletion of a backup that does not exist."""
        self.context.set_step("asking whether the server deletes backups")
        status = self._send("DELETE", f"{self.folder}/snapshots/{item.digest}").status
        is_append_only = "appendOnly" in self.account
        if status == HTTPStatus.FORBIDDEN and not is_append_only:
            raise ProbeError(
                "the server deletes no backups, so old ones cannot be removed",
                "Set `appendOnly: true` in the stack file, or start rest-server without `--append-only`.",
            )
        if status != HTTPStatus.FORBIDDEN and is_append_only:
            result = "`appendOnly: true` is set, but the server deletes backups"
            fix = "Start rest-server with `--append-only`. Without it, an attacker in the cluster can delete backups."
            self.context.add_finding(Finding(result, fix, is_warning=True))

    def _send(self, method: str, path: str, body: bytes | None = None) -> HttpResponse:
        credentials = base64.b64encode(f"{self.context.username}:{self.context.password}".encode())
        headers = {"Authorization": b"Basic " + credentials}
        seconds = self.context.remaining_seconds
        return request(self.context, path, headers=headers, method=method, body=body, timeout_seconds=seconds)


def _require_protocol(response: HttpResponse) -> None:
    """Raise UnexpectedProtocolError if a web server answers. rest-server sends no name, only files and plain text."""
    is_own = response.headers.get("content-type", "").startswith(CONTENT_TYPES)
    is_fault = response.status >= HTTPStatus.INTERNAL_SERVER_ERROR
    if not (is_own or is_fault) or response.status == HTTPStatus.BAD_REQUEST:
        raise UnexpectedProtocolError(f"HTTP {response.status} without an answer of rest-server")
