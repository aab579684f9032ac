"""The probe of buckets of S3, and of stores with the same protocol."""

import base64
import hashlib
import html
import re
from collections.abc import Mapping
from http import HTTPStatus
from types import MappingProxyType
from urllib.parse import quote

import requests
from requests_aws4auth import AWS4Auth

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

__all__ = ["probe"]

DEFAULT_REGION = "us-east-1"
DEFAULT_PORTS = {"http": 80, "https": 443}
METHODS: Mapping[Action, str] = MappingProxyType({"list": "GET", "write": "PUT", "read": "GET", "delete": "DELETE"})
RIGHTS: Mapping[Action, str] = MappingProxyType(
    {"list": "s3:ListBucket", "write": "s3:PutObject", "read": "s3:GetObject", "delete": "s3:DeleteObject"}
)
ANSWER_RE = re.compile(r"<(Error|ListBucketResult|ListAllMyBucketsResult)[ >]")
UNKNOWN_KEY = (
    "the store does not know the access key",
    "Correct `accessKey` in the stack file, or create or activate the key in the store.",
)
WRONG_TIME = ("the store rejected the time of the request", "Correct the clock of this machine, or that of the store.")
EXPLANATIONS = MappingProxyType(
    {
        "InvalidAccessKeyId": UNKNOWN_KEY,
        "InvalidAccessKey": UNKNOWN_KEY,
        "XAdminUserNotFound": UNKNOWN_KEY,  # versitygw without accounts
        "SignatureDoesNotMatch": (
            "the secret key does not belong to the access key",
            "Correct `secretKey` in the stack file. It and `accessKey` belong together.",
        ),
        "RequestTimeTooSkewed": WRONG_TIME,
        "RequestExpired": WRONG_TIME,
        "NoSuchBucket": (
            "the bucket {} does not exist",
            "Create the bucket, or correct `bucket` in the stack file. The program creates no bucket.",
        ),
    }
)
"""Result and fix by the error code of S3."""
FULL_CODES = frozenset({"QuotaExceeded", "XMinioStorageFull", "InsufficientStorage", "StorageFull"})


def probe(context: ProbeContext) -> None:
    """List the bucket, then write, read and delete an object below the prefix."""
    probe_store(context, _probe_session)


def _probe_session(context: ProbeContext) -> None:
    account = context.endpoint.account
    if not account:
        _require_protocol(request(context, "/", timeout_seconds=context.remaining_seconds))
        raise AuthenticationRequiredError
    bucket = _Bucket(context)
    place = describe_place(f"the bucket {account['bucket']}", account.get("prefix"))
    check_store(context, StoreProtocol(place=place, send=bucket.send, explain=bucket.explain))


class _Bucket:
    """The bucket of a context."""

    def __init__(self, context: ProbeContext) -> None:
        self.context, self.account = context, context.endpoint.account
        self.folder = f"{self.account['prefix']}/" if self.account.get("prefix") else ""
        self.region = self.account.get("region") or DEFAULT_REGION

    def send(self, action: Action, item: CheckObject) -> HttpResponse:
        """Send a request. If the stack file has no region, use the one that the store names."""
        response = self._send(action, item)
        region = _find_region(response)
        if region and region != self.region and not self.account.get("region"):
            self.region = region
            response = self._send(action, item)
        return response

    def explain(self, action: Action, response: HttpResponse) -> ProbeError:
        """Explain the store's error code."""
        code, bucket = _find_element(response, "Code"), self.account["bucket"]
        message, region = _find_element(response, "Message"), self.context.redact(_find_region(response))
        reason = self.context.redact(f"{code or 'no error code'} (HTTP {response.status}){message and ': '}{message}")
        if region and region != self.region:
            result = f"the bucket {bucket} is in the region {region}, not in {self.region}"
            return ProbeError(result, f"Set `region: {region}` in the stack file.")
        if code in EXPLANATIONS:
            result, fix = EXPLANATIONS[code]
            return ProbeError(f"{result.format(bucket)}: {reason}", fix)
        if response.status == HTTPStatus.FORBIDDEN:
            target = bucket if action == "list" else f"{bucket}/{self.folder}*"
            return ProbeError(
                f"the access key may not {action} in the bucket {bucket}: {reason}",
                f"Grant it {RIGHTS[action]} on {target}. Backups need {', '.join(RIGHTS.values())}.",
            )
        return explain_status(HTTPStatus.INSUFFICIENT_STORAGE if code in FULL_CODES else response.status, reason)

    def _send(self, action: Action, item: CheckObject) -> HttpResponse:
        endpoint = self.context.endpoint
        base, body = self.account["basePath"], item.content.encode() if action == "write" else None
        query = f"?list-type=2&max-keys=1&prefix={quote(self.folder, safe='')}"
        path = f"{base or '/'}{query}" if action == "list" else f"{base}/{self.folder}{item.name}"
        scheme = "http" if endpoint.tls == "disable" else "https"
        host = endpoint.host if endpoint.port == DEFAULT_PORTS[scheme] else endpoint.address
        signed = requests.Request(METHODS[action], f"{scheme}://{host}{path}", data=body).prepare()
        signed.headers["x-amz-date"] = read_clock().strftime("%Y%m%dT%H%M%SZ")
        AWS4Auth(self.account["accessKey"], self.account["secretKey"], self.region, "s3")(signed)
        if body:  # a bucket with object lock requires it
            digest = hashlib.md5(body, usedforsecurity=False).digest()
            signed.headers["content-md5"] = base64.b64encode(digest).decode()
        headers = {"Host": host.encode(), **{name: str(value).encode() for name, value in signed.headers.items()}}
        seconds = self.context.remaining_seconds
        response = request(
            self.context, path, headers=headers, method=METHODS[action], body=body, timeout_seconds=seconds
        )
        if action == "list":
            _require_protocol(response)
        return response


def _require_protocol(response: HttpResponse) -> None:
    """Raise UnexpectedProtocolError if the answer is not one of S3."""
    if "x-amz-request-id" not in response.headers and not ANSWER_RE.search(response.body):
        raise UnexpectedProtocolError(f"HTTP {response.status} without an answer of S3")


def _find_region(response: HttpResponse) -> str:
    """Return the region of the bucket, if a rejected request names it."""
    if response.status < HTTPStatus.MULTIPLE_CHOICES:
        return ""
    return _find_element(response, "Region") or response.headers.get("x-amz-bucket-region", "")


def _find_element(response: HttpResponse, name: str) -> str:
    """Return the text of an XML element of an error. Empty if there is none."""
    match = re.search(rf"<{name}>([^<]*)</{name}>", response.body)
    return html.unescape(match[1]).strip() if match else ""
