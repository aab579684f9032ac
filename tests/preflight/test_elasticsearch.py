"""Elasticsearch: answers of a fake server."""

import base64
from collections.abc import Mapping
from pathlib import Path

import pytest

from preflight import check
from tests.e2e.tls import Authority
from tests.preflight.fakes import Handler, MakeFake, results, serve_pages, serve_web, wrap_in_tls

ACCOUNT = {"username": "shop", "password": "right-one"}
PRODUCT = {"X-elastic-product": "Elasticsearch"}
REALM = {"WWW-Authenticate": 'Basic realm="security" charset="UTF-8"'}


def serve_elasticsearch(seen: list[str]) -> Handler:
    """Run a server that accepts one account."""
    credentials = base64.b64encode(b"shop:right-one").decode()

    def answer(request: str) -> tuple[str, Mapping[str, str], str]:
        is_accepted = f"Authorization: Basic {credentials}" in request
        return "200 OK" if is_accepted else "401 Unauthorized", PRODUCT, "{}"

    return serve_pages(answer, seen)


@pytest.mark.parametrize(
    ("account", "result"),
    [
        (ACCOUNT, None),
        ({**ACCOUNT, "password": "c4narY"}, "the server rejected the login (HTTP 401)"),
        ({}, "the server requires authentication; no credentials are configured (HTTP 401)"),
    ],
    ids=["right", "wrong", "none"],
)
def test_the_account_is_checked(account: dict[str, str], result: str | None, fake: MakeFake) -> None:
    seen: list[str] = []
    findings = check([fake(serve_elasticsearch(seen)).endpoint("elasticsearch", account=account)])
    assert results(findings) == ([result] if result else [])
    assert seen
    assert all(request.startswith("GET / HTTP/1.1") for request in seen)


@pytest.mark.parametrize(
    ("handler", "result"),
    [
        (serve_web(headers={}, body='{"tagline": "You Know, for Search"}'), None),
        (serve_web(headers=REALM), None),
        (
            serve_web(status="503 Service Unavailable", headers=PRODUCT),
            "the server reports an internal error (HTTP 503)",
        ),
    ],
    ids=["tagline", "realm", "internal error"],
)
def test_the_server_is_recognized(handler: Handler, result: str | None, fake: MakeFake) -> None:
    assert results(check([fake(handler).endpoint("elasticsearch")])) == ([result] if result else [])


def test_a_server_with_tls_is_checked_with_each_mode(fake: MakeFake, authority: Authority, tmp_path: Path) -> None:
    server = fake(wrap_in_tls(serve_elasticsearch([]), authority.issue("localhost"), tmp_path))
    ca_file = tmp_path / "ca.pem"
    ca_file.write_bytes(authority.pem)
    settings = {"ca_file": str(ca_file), "account": ACCOUNT}
    (finding,) = check([server.endpoint("elasticsearch", host="localhost", **settings)])
    assert finding.result == "the server accepts only TLS on this port, and `tls` is not set"
    assert finding.fix == "Set `tls: verify-full` or `tls: require` in the stack file."
    for tls in ("require", "verify-full"):
        assert check([server.endpoint("elasticsearch", host="localhost", tls=tls, **settings)]) == []
    assert results(check([server.endpoint("elasticsearch", tls="verify-full", **settings)])) == [
        "the server's certificate is not valid for 127.0.0.1: it is valid for localhost"
    ]
