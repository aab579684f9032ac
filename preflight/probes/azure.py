"""The probe of containers of Azure Blob Storage."""

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping
from email.utils import format_datetime
from http import HTTPStatus
from types import MappingProxyType
from urllib.parse import urlencode

from preflight.errors import AuthenticationRequiredError, ProbeError, UnexpectedProtocolError
from preflight.probe_context import ProbeContext
from preflight.probes.http import HttpResponse, request
from preflight.probes.store import (
    Action,
    CheckObject,
    StoreProtocol,
    check_store,
    describe_place,
    explain_status,
    probe_store,
    read_clock,
)

__all__ = ["build_authorization", "probe"]

API_VERSION = "2021-12-02"
METHODS: Mapping[Action, str] = MappingProxyType({"list": "GET", "write": "PUT", "read": "GET", "delete": "DELETE"})
ERROR_HEADER = "x-ms-error-code"
EMPTY_STANDARD_HEADERS = 6
"""The lines Date, If-Modified-Since, If-Match, If-None-Match, If-Unmodified-Since and Range of a signature."""


def probe(context: ProbeContext) -> None:
    """List the container, then write, read and delete a blob below the prefix."""
    probe_store(context, _probe_session)


def build_authorization(
    *, account: str, key: str, method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str], length: int
) -> str:
    """Return the header Authorization (Azure's documentation, "Authorize with Shared Key")."""
    canonical_headers = [f"{name}:{headers[name]}" for name in sorted(headers) if name.startswith("x-ms-")]
    resource = [f"/{account}{path}", *(f"{name}:{query[name]}" for name in sorted(query))]
    # Content-Encoding, Content-Language, Content-Length, Content-MD5 and Content-Type
    standard = ["", "", str(length or ""), "", headers.get("content-type", ""), *[""] * EMPTY_STANDARD_HEADERS]
    text = "\n".join([method, *standard, *canonical_headers, *resource])
    signature = hmac.new(base64.b64decode(key), text.encode(), hashlib.sha256).digest()
    return f"SharedKey {account}:{base64.b64encode(signature).decode()}"


def _probe_session(context: ProbeContext) -> None:
    account = context.endpoint.account
    if not account:
        _require_protocol(request(context, "/?comp=list", timeout_seconds=context.remaining_seconds))
        raise AuthenticationRequiredError
    container = _Container(context)
    place = describe_place(f"the container {account['container']}", account.get("prefix"))
    check_store(context, StoreProtocol(place=place, send=container.send, explain=container.explain))


class _Container:
    """The container of a context."""

    def __init__(self, context: ProbeContext) -> None:
        self.context, self.account = context, context.endpoint.account
        self.folder = f"{self.account['prefix']}/" if self.account.get("prefix") else ""

    def send(self, action: Action, item: CheckObject) -> HttpResponse:
        """Send a request that is signed with the key of the account."""
        path, query = f"/{self.account['container']}", {}
        if action == "list":
            query = {"restype": "container", "comp": "list", "maxresults": "1", "prefix": self.folder}
        else:
            path += f"/{self.folder}{item.name}"
        body = item.content.encode() if action == "write" else None
        headers = {"x-ms-date": format_datetime(read_clock(), usegmt=True), "x-ms-version": API_VERSION}
        if body:
            headers |= {"x-ms-blob-type": "BlockBlob", "content-type": "text/plain"}
        name, key, method = self.account["account"], self.account["accountKey"], METHODS[action]
        try:
            headers["authorization"] = build_authorization(
                account=name, key=key, method=method, path=path, query=query, headers=headers, length=len(body or b"")
            )
        except ValueError:
            fix = "Copy the key of the storage account again. It is a text in base64."
            raise ProbeError("`accountKey` is not a key of a storage account", fix) from None
        response = request(
            self.context,
            f"{path}?{urlencode(query)}" if query else path,
            headers={"Host": self.context.endpoint.host.encode(), **{key: headers[key].encode() for key in headers}},
            method=method,
            body=body,
            timeout_seconds=self.context.remaining_seconds,
        )
        if action == "list":
            _require_protocol(response)
        return response

    def explain(self, action: Action, response: HttpResponse) -> ProbeError:
        """Explain the store's error code."""
        code, container = response.headers.get(ERROR_HEADER, ""), self.account["container"]
        detail = re.search(r"<(?:AuthenticationErrorDetail|Message)>([^<\n]*)", response.body)
        message = f": {detail[1].strip()}" if detail else ""
        reason = self.context.redact(f"{code or 'no error code'} (HTTP {response.status}){message}")
        if code in ("ContainerNotFound", "ContainerBeingDeleted", "ContainerDisabled"):
            return ProbeError(
                f"the container {container} does not exist: {reason}",
                "Create the container, or correct `container` in the stack file. The program creates no container.",
            )
        if code in ("AuthenticationFailed", "InvalidAuthenticationInfo"):
            return ProbeError(
                f"the store rejected the key of the account: {reason}",
                "Correct `accountKey` in the stack file. It and `account` belong together.",
            )
        if code == "KeyBasedAuthenticationNotPermitted":
            fix = "Allow the access with the key of the storage account (`allowSharedKeyAccess`)."
            return ProbeError(f"the storage account accepts no keys: {reason}", fix)
        if response.status == HTTPStatus.FORBIDDEN:
            fix = "Allow this machine and the nodes of the cluster in the firewall of the storage account."
            return ProbeError(f"the account may not {action} in the container {container}: {reason}", fix)
        return explain_status(response.status, reason)


def _require_protocol(response: HttpResponse) -> None:
    """Raise UnexpectedProtocolError if the answer is not one of Azure Blob Storage."""
    if not {"x-ms-request-id", ERROR_HEADER} & set(response.headers):
        raise UnexpectedProtocolError(f"HTTP {response.status} without an answer of Azure Blob Storage")
