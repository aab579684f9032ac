"""The backups of groups as text and as JSON, from the list of restic and the Pods of verifications."""

import json
from typing import Any

import pytest

from backups.groups import DeployedGroup
from backups.snapshots import (
    GroupBackups,
    Snapshot,
    add_verifications,
    find_verifications,
    parse_snapshots,
    select_snapshot,
)
from backups.text import format_size, render_json, render_text

GROUP = DeployedGroup(
    application="shop", engine="postgresql", name="main", namespace="web", object_name="postgresql-main"
)
IDS = {"old": "40dc1520" + "a" * 56, "new": "5853f474" + "b" * 56}
LOG = f"""waiting
[{{"time":"2026-11-24T03:00:12.7080328Z","id":"{IDS["old"]}","short_id":"40dc1520","summary":{{"total_bytes_processed":5412981}}}},\
{{"time":"2026-11-25T05:00:00+02:00","id":"{IDS["new"]}","short_id":"5853f474"}}]
"""
RESTORED = "snapshot 40dc1520 of 2026-11-24T03:00:12.708Z can be restored: 6 entries, 5412981 bytes, in 21 seconds"


def build_pod(job: str, message: str, *, code: int = 0, day: int = 25, namespace: str = "web") -> dict[str, Any]:
    ended = {"exitCode": code, "finishedAt": f"2026-11-{day}T08:00:00Z", "message": message}
    return {
        "metadata": {"name": f"{job}-x", "namespace": namespace, "labels": {"job-name": job}},
        "status": {"containerStatuses": [{"state": {"terminated": ended}}]},
    }


def test_snapshots_are_sorted_and_in_utc() -> None:
    new, old = parse_snapshots(LOG)
    assert (new.id, new.time, new.size) == ("5853f474", "2026-11-25 03:00:00", None)
    assert (old.id, old.time, old.size) == ("40dc1520", "2026-11-24 03:00:12", 5412981)
    assert parse_snapshots("[]\n") == ()


@pytest.mark.parametrize("log", ["", "error: no\n", '[{"time"'])
def test_a_log_without_a_list_is_rejected(log: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 (the class is the contract)
        parse_snapshots(log)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("latest", "new"),
        ("40dc1520", "old"),
        (IDS["old"], "old"),
        ("2026-11-25 03:00", "new"),
        ("2026-11-25 02:59", "old"),
        ("2026-11-24 03:00:12", "old"),
        ("2026-11-24 03:00:11", None),
        ("00000000", None),
    ],
)
def test_a_snapshot_is_selected_by_id_and_by_time(name: str, found: str | None) -> None:
    snapshot = select_snapshot(parse_snapshots(LOG), name)
    assert (snapshot and snapshot.full_id) == (IDS[found] if found else None)


def test_nothing_is_selected_without_snapshots() -> None:
    assert select_snapshot((), "latest") is None


def test_verifications_are_those_of_the_group() -> None:
    pods = [
        build_pod("postgresql-main-verify-29012345", RESTORED, day=23),
        build_pod("postgresql-main-verify-1124080000", "error: the repository is damaged", code=1, day=24),
        build_pod("postgresql-main-backup-29012345", RESTORED),
        build_pod("postgresql-main-verify-2-verify-29012345", RESTORED),
        build_pod("postgresql-main-verify-29012345", RESTORED, namespace="other"),
        {"metadata": {"namespace": "web", "labels": {"job-name": "postgresql-main-verify-3"}}, "status": {}},
    ]
    found = find_verifications(pods, GROUP)
    assert [(entry.time, entry.succeeded) for entry in found] == [
        ("2026-11-24 08:00:00", False),
        ("2026-11-23 08:00:00", True),
    ]
    new, old = add_verifications(parse_snapshots(LOG), found)
    assert (new.verified, old.verified) == (None, "2026-11-23 08:00:00")


def test_a_failed_verification_verifies_nothing() -> None:
    pods = [build_pod("postgresql-main-verify-1", RESTORED.replace("can", "cannot"), code=1)]
    snapshots = add_verifications(parse_snapshots(LOG), find_verifications(pods, GROUP))
    assert [snapshot.verified for snapshot in snapshots] == [None, None]


def test_text_and_json() -> None:
    pods = [build_pod("postgresql-main-verify-1", RESTORED)]
    snapshots = add_verifications(parse_snapshots(LOG), find_verifications(pods, GROUP))
    groups = [GroupBackups(group=GROUP, snapshots=snapshots, problems=("no backup has succeeded yet",))]
    assert render_text(groups, ["shop.sqlite.cache"]) == (
        "GROUP                 SNAPSHOT  TIME (UTC)           SIZE       VERIFIED (UTC)\n"
        "shop.postgresql.main  5853f474  2026-11-25 03:00:00  -          -\n"
        "shop.postgresql.main  40dc1520  2026-11-24 03:00:12  5.162 MiB  2026-11-25 08:00:00\n"
        "\n"
        "2 backups of 1 database group\n"
        "shop.postgresql.main: no backup has succeeded yet\n"
        "without backups: shop.sqlite.cache"
    )
    assert json.loads(json.dumps(render_json("production", groups, ["shop.sqlite.cache"]))) == {
        "stack": "production",
        "groups": {
            "shop.postgresql.main": {
                "snapshots": [
                    {"id": IDS["new"], "time": "2026-11-25T03:00:00Z", "size": None, "verified": None},
                    {
                        "id": IDS["old"],
                        "time": "2026-11-24T03:00:12Z",
                        "size": 5412981,
                        "verified": "2026-11-25T08:00:00Z",
                    },
                ],
                "problems": ["no backup has succeeded yet"],
            }
        },
        "withoutBackups": ["shop.sqlite.cache"],
    }
    assert render_text([GroupBackups(group=GROUP)], []) == "0 backups of 1 database group"


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (1023, "1023 B"), (1024, "1 KiB"), (5412981, "5.162 MiB"), (2**41, "2 TiB")]
)
def test_sizes(size: int, text: str) -> None:
    assert format_size(size) == text


def test_a_snapshot_without_a_size_is_a_snapshot() -> None:
    snapshot = Snapshot(id="a", full_id="ab", time="t", size=None)
    assert "a  " in render_text([GroupBackups(group=GROUP, snapshots=(snapshot,))], [])
