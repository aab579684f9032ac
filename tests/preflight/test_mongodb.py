"""MongoDB: answers of a fake server."""

from typing import Any

import pytest

from preflight import check
from tests.preflight.fakes import MakeFake, results, serve_mongodb

ACCOUNT = {"username": "shop", "password": "right-one", "database": "shop"}
OK = {"ok": 1.0}
REJECTED = {"ok": 0.0, "code": 18, "errmsg": "Authentication failed."}
UNAUTHORIZED = {"ok": 0.0, "code": 13, "errmsg": "Command listCollections requires authentication"}


@pytest.mark.parametrize(
    ("account", "answer", "result", "fix"),
    [
        ({"database": "shop"}, OK, None, ""),
        (ACCOUNT, REJECTED, "the server rejected the login: Authentication failed.", "  use shop\n  db.getUsers()"),
        (
            {"database": "shop"},
            UNAUTHORIZED,
            f"the server requires authentication; no credentials are configured: {UNAUTHORIZED['errmsg']}",
            "Set `username` and an encrypted `password`",
        ),
        ({"username": "shop"}, OK, "the driver rejected the account: A password is required", "`password`"),
        (ACCOUNT, {"ok": 0.0, "code": 1, "errmsg": "it"}, "the server reports an error: it", "log"),
    ],
)
def test_an_answer_of_the_server_has_its_result_and_fix(
    account: dict[str, str], answer: dict[str, Any], result: str | None, fix: str, fake: MakeFake
) -> None:
    findings = check([fake(serve_mongodb(lambda _command: answer)).endpoint("mongodb", account=account)])
    assert results(findings) == ([result] if result else [])
    assert all(fix in finding.fix for finding in findings)
