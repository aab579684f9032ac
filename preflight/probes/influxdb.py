"""The probe of InfluxDB."""

import json
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

from preflight.errors import ProbeError, UnexpectedProtocolError
from preflight.probe_context import ProbeContext
from preflight.probes.http import HttpResponse, request
from preflight.probes.implicit_tls import probe_with_tls_modes

__all__ = ["probe"]


def probe(context: ProbeContext) -> None:
    """Send a ping. If a bucket is configured, find it with the token."""
    context.set_step("sending a ping (/ping)")
    probe_with_tls_modes(context, _probe_session)


def _probe_session(context: ProbeContext) -> None:
    response = request(context, "/ping")
    if "x-influxdb-version" not in response.headers:
        raise UnexpectedProtocolError(f"HTTP {response.status} without the version of InfluxDB")
    account = context.endpoint.account
    if "bucket" not in account:
        return
    context.set_step(f"finding the bucket {account['bucket']} with the token")
    headers = {"Authorization": b"Token " + account["token"].encode()} if "token" in account else {}
    query = urlencode({"org": account.get("org", ""), "name": account["bucket"]})
    response = request(context, f"/api/v2/buckets?{query}", headers=headers)
    if response.status == HTTPStatus.UNAUTHORIZED:
        raise _explain_unauthorized(has_token=bool(headers))
    if response.status == HTTPStatus.NOT_FOUND and _parse_json(response).get("code") == "not found":
        raise _explain_missing_bucket(context, response)
    if response.status == HTTPStatus.OK and not _parse_json(response).get("buckets"):
        _check_bucket_by_write(context, headers)


def _check_bucket_by_write(context: ProbeContext, headers: dict[str, bytes]) -> None:
    """Find the bucket with an empty write, which changes nothing. A token that may only write cannot list buckets."""
    account = context.endpoint.account
    query = urlencode({"org": account.get("org", ""), "bucket": account["bucket"]})
    response = request(context, f"/api/v2/write?{query}", headers=headers, method="POST", body=b"")
    if response.status in (HTTPStatus.NOT_FOUND, HTTPStatus.FORBIDDEN, HTTPStatus.UNAUTHORIZED):
        raise _explain_missing_bucket(context, response)


def _explain_unauthorized(*, has_token: bool) -> ProbeError:
    if has_token:
        return ProbeError(
            "the server rejected the token (HTTP 401)",
            "Correct `token` in the stack file, or activate the token. On the server:\n  influx auth list",
        )
    return ProbeError(
        "the server requires authentication; no token is configured (HTTP 401)",
        "Set an encrypted `token` in the stack file.",
    )


def _explain_missing_bucket(context: ProbeContext, response: HttpResponse) -> ProbeError:
    organization, bucket = context.endpoint.account.get("org", ""), context.endpoint.account["bucket"]
    message = context.redact(str(_parse_json(response).get("message", f"HTTP {response.status}")))
    return ProbeError(
        f"the token cannot access a bucket {bucket} in the organization {organization}: {message}",
        "Correct `org` and `bucket` in the stack file, create the bucket, or grant the token access to it. "
        f"On the server:\n  influx bucket list --org {organization}",
    )


def _parse_json(response: HttpResponse) -> dict[str, Any]:
    try:
        value = json.loads(response.body)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
