"""The probe of buckets of Google Cloud Storage."""

import base64
import json
from collections.abc import Mapping
from dataclasses import replace
from http import HTTPStatus
from types import MappingProxyType
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from preflight.errors import AuthenticationRequiredError, ProbeError, UnexpectedProtocolError
from preflight.network import connect_first, resolve_host
from preflight.probe_context import ProbeContext
from preflight.probes.http import HttpResponse, request
from preflight.probes.implicit_tls import probe_with_tls_modes
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

__all__ = ["probe"]

SCOPE = "https://www.googleapis.com/auth/devstorage.read_write"
GRANT_TYPE = "urn:ietf:params:oauth:grant-type:jwt-bearer"
ASSERTION_SECONDS = 600
HTTPS_PORT = 443
METHODS: Mapping[Action, str] = MappingProxyType({"list": "GET", "write": "POST", "read": "GET", "delete": "DELETE"})
RIGHTS: Mapping[Action, str] = MappingProxyType(
    {
        "list": "storage.objects.list",
        "write": "storage.objects.create",
        "read": "storage.objects.get",
        "delete": "storage.objects.delete",
    }
)
KEY_FIX = "Set `serviceAccountKey` to the content of the JSON file of a service account's key, encrypted."


def probe(context: ProbeContext) -> None:
    """Log in with the key of the service account; list the bucket, then write, read and delete an object."""
    token = _request_token(context)
    context.received_secrets.append(token)
    probe_store(context, lambda session: _probe_session(session, token))


def _request_token(context: ProbeContext) -> str:
    """Exchange a signed statement for an access token (Google's documentation, "OAuth 2.0 for service accounts")."""
    try:
        key = json.loads(context.endpoint.account["serviceAccountKey"])
        url = urlsplit(key["token_uri"])
        host, port = str(url.hostname), url.port or HTTPS_PORT
        assertion = _build_assertion(key)
    except (KeyError, TypeError, ValueError):
        raise ProbeError("`serviceAccountKey` is not the key of a service account", KEY_FIX) from None
    context.set_step(f"requesting an access token from {host}", "Check the network of this machine.")
    keys = context.endpoint.keys
    addresses = resolve_host(host, port, keys)
    address = connect_first(addresses, port, context.remaining_seconds, listen_setting_hint="", keys=keys)
    endpoint = replace(context.endpoint, host=host, port=port)
    context.received_secrets.append(assertion)
    answers: list[HttpResponse] = []

    def _probe_token(login: ProbeContext) -> None:
        body = urlencode({"grant_type": GRANT_TYPE, "assertion": assertion}).encode()
        headers = {"Host": host.encode(), "Content-Type": b"application/x-www-form-urlencoded"}
        seconds = login.remaining_seconds
        answers.append(request(login, url.path, method="POST", headers=headers, body=body, timeout_seconds=seconds))

    login = replace(context, endpoint=endpoint, address=address, answers={})
    try:
        probe_with_tls_modes(login, _probe_token)
    except UnexpectedProtocolError as error:
        result = f"{host} does not answer as Google: {context.redact(error)}"
        raise ProbeError(result, "Check the network of this machine: a proxy or another server answers.") from None
    response, value = answers[0], _parse_json(answers[0])
    token = value.get("access_token")
    if response.status == HTTPStatus.OK and isinstance(token, str):
        return token
    code, description = value.get("error", "no error code"), value.get("error_description", "")
    message = context.redact(f"{code} (HTTP {response.status}): {description}")
    raise ProbeError(
        f"Google rejected the key of the service account: {message}",
        "Create a new key of the service account, and set `serviceAccountKey` in the stack file. If the message is "
        "about `iat` and `exp`, correct the clock of this machine.",
    )


def _build_assertion(key: Mapping[str, Any]) -> str:
    """Return the statement, signed with the private key (RFC 7523). Raises ValueError."""
    now = int(read_clock().timestamp())
    header = {"alg": "RS256", "typ": "JWT", "kid": key["private_key_id"]}
    times = {"iat": now, "exp": now + ASSERTION_SECONDS}
    claims = {"iss": key["client_email"], "scope": SCOPE, "aud": key["token_uri"], **times}
    private_key = load_pem_private_key(key["private_key"].encode(), None)
    if not isinstance(private_key, rsa.RSAPrivateKey):
        raise ValueError("no RSA key")
    text = f"{_encode(json.dumps(header).encode())}.{_encode(json.dumps(claims).encode())}"
    return f"{text}.{_encode(private_key.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256()))}"


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _probe_session(context: ProbeContext, token: str) -> None:
    account = context.endpoint.account
    if not account:
        _require_protocol(request(context, "/storage/v1/b/-/o", timeout_seconds=context.remaining_seconds))
        raise AuthenticationRequiredError
    bucket = _Bucket(context, token)
    place = describe_place(f"the bucket {account['bucket']}", account.get("prefix"))
    check_store(context, StoreProtocol(place=place, send=bucket.send, explain=bucket.explain))


class _Bucket:
    """The bucket of a context."""

    def __init__(self, context: ProbeContext, token: str) -> None:
        self.context, self.account, self.token = context, context.endpoint.account, token
        self.folder = f"{self.account['prefix']}/" if self.account.get("prefix") else ""

    def send(self, action: Action, item: CheckObject) -> HttpResponse:
        """Send a request with the access token."""
        objects, name = f"/storage/v1/b/{self.account['bucket']}/o", f"{self.folder}{item.name}"
        paths: dict[Action, str] = {
            "list": f"{objects}?{urlencode({'maxResults': 1, 'prefix': self.folder})}",
            "write": f"/upload{objects}?{urlencode({'uploadType': 'media', 'name': name})}",
            "read": f"{objects}/{quote(name, safe='')}?alt=media",
            "delete": f"{objects}/{quote(name, safe='')}",
        }
        headers = {
            "Host": self.context.endpoint.host.encode(),
            "Authorization": f"Bearer {self.token}".encode(),
            "Content-Type": b"text/plain",
        }
        body, seconds = item.content.encode() if action == "write" else None, self.context.remaining_seconds
        response = request(
            self.context, paths[action], headers=headers, method=METHODS[action], body=body, timeout_seconds=seconds
        )
        if action == "list":
            _require_protocol(response)
        return response

    def explain(self, action: Action, response: HttpResponse) -> ProbeError:
        """Explain the store's error."""
        error, bucket = _parse_json(response).get("error"), self.account["bucket"]
        message = f": {error['message']}" if isinstance(error, dict) and error.get("message") else ""
        reason = self.context.redact(f"HTTP {response.status}{message}")
        if response.status == HTTPStatus.NOT_FOUND and action == "list":
            return ProbeError(
                f"the bucket {bucket} does not exist: {reason}",
                "Create the bucket, or correct `bucket` in the stack file. The program creates no bucket.",
            )
        if response.status == HTTPStatus.UNAUTHORIZED:
            return ProbeError(f"Google rejected the access token: {reason}", KEY_FIX)
        if response.status == HTTPStatus.FORBIDDEN:
            return ProbeError(
                f"the service account may not {action} in the bucket {bucket}: {reason}",
                f"Grant it {RIGHTS[action]} on the bucket. The role `roles/storage.objectAdmin` has the rights that "
                "backups need.",
            )
        return explain_status(response.status, reason)


def _require_protocol(response: HttpResponse) -> None:
    """Raise UnexpectedProtocolError if the answer is not one of Google Cloud Storage."""
    if "x-guploader-uploadid" not in response.headers and not _parse_json(response):
        raise UnexpectedProtocolError(f"HTTP {response.status} without an answer of Google Cloud Storage")


def _parse_json(response: HttpResponse) -> dict[str, Any]:
    try:
        value = json.loads(response.body)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
