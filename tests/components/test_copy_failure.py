"""The message of a copy that failed."""

from dataclasses import replace
from typing import Any

import pulumi
import pytest

from stacks.config import parse_stack
from tests.components.test_start_timeout import FakeReporter, run_hook
from tests.support import groups, record_applications

STORE = {"kind": "claim", "claim": "backups", "repositoryPassword": "a password"}
PATH = "applications.shop.databases.postgresql.main"
OVERWRITE = ", with `overwrite: true` if the group holds an incomplete copy"


@pytest.mark.parametrize(
    ("group", "keys", "expected"),
    [
        (
            {"from": {"backup": "latest", "run": 7}},
            {},
            ".from: the copy failed; read `kubectl logs --namespace shop job/postgresql-main-from-7`."
            f" Then set `run: 8` in the group's `from`{OVERWRITE}",
        ),
        (
            {},
            {"backup": {"timeoutMinutes": 900}, "restoreAll": "2026-11-24 03:00"},
            ": the restore failed; read `kubectl logs --namespace shop job/postgresql-main-from-1`. Then add"
            f' `from: {{backup: "2026-11-24 03:00", run: 2, timeoutMinutes: 900}}` to the group{OVERWRITE}',
        ),
    ],
)
def test_failed_copy_has_its_correction(
    group: dict[str, Any],
    keys: dict[str, Any],
    expected: str,
    hooks: dict[str, pulumi.ErrorHook],
    errors: list[tuple[str, pulumi.Resource]],
) -> None:
    raw = {**groups(postgresql={"main": group}), "backupStores": {"offsite": STORE}, **keys}
    (application,) = parse_stack(raw).applications
    platform = replace(application.platform, failure_reporter=FakeReporter())
    record_applications([replace(application, platform=platform)])
    (name,) = (name for name in hooks if "-from-" in name)
    assert run_hook(hooks[name]) is False
    assert [text for text, _ in errors] == [PATH + expected]
