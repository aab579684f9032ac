"""InfluxDB: answers of a fake server."""

from typing import Any

import pytest

from preflight import check
from tests.preflight.fakes import MakeFake, results, serve_influxdb

BUCKET = {"org": "shop", "bucket": "shop"}
WRITE_ONLY = {**BUCKET, "token": "writes"}
NO_BUCKET = "the token cannot access a bucket shop in the organization shop: "
NO_TOKEN = "the server requires authentication; no token is configured (HTTP 401)"
OK: tuple[str, Any] = ("200 OK", {"buckets": [{"name": "shop"}]})
OK_WITHOUT_BUCKETS: tuple[str, Any] = ("200 OK", {"buckets": []})
INVALID_WRITE: tuple[str, Any] = ("400 Bad Request", {"code": "invalid"})
UNAUTHORIZED: tuple[str, Any] = ("401 Unauthorized", {})
NOT_FOUND: tuple[str, Any] = ("404 Not Found", {"code": "not found", "message": "no such thing"})
UNKNOWN_PATH: tuple[str, Any] = ("404 Not Found", "404 page not found")


@pytest.mark.parametrize(
    ("account", "answers", "result"),
    [
        ({}, [], None),
        ({**BUCKET, "token": "right-one"}, [OK], None),
        ({**BUCKET, "token": "right-one"}, [NOT_FOUND], f"{NO_BUCKET}no such thing"),
        ({**BUCKET, "token": "right-one"}, [UNKNOWN_PATH], None),
        (WRITE_ONLY, [OK_WITHOUT_BUCKETS, INVALID_WRITE], None),
        (WRITE_ONLY, [OK_WITHOUT_BUCKETS, NOT_FOUND], f"{NO_BUCKET}no such thing"),
        ({**BUCKET, "token": "c4narY"}, [UNAUTHORIZED], "the server rejected the token (HTTP 401)"),
        (BUCKET, [UNAUTHORIZED], NO_TOKEN),
    ],
)
def test_an_answer_of_the_server_has_its_result(
    account: dict[str, str], answers: list[tuple[str, Any]], result: str | None, fake: MakeFake
) -> None:
    seen: list[str] = []
    remaining = list(answers)
    server = fake(serve_influxdb(lambda _request: remaining.pop(0), seen))
    assert results(check([server.endpoint("influxdb", account=account)])) == ([result] if result else [])
    assert remaining == []
    assert all(f"Authorization: Token {account['token']}" in request for request in seen[1:] if "token" in account)
