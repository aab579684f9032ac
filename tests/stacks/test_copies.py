"""The key `from`: its validation, its edits, and what it registers."""

import copy
import json
from typing import Any

import pytest

from components.application import find_copy_cycle
from components.copies.spec import CopySpec, resolve_source
from offline.recorder import Recorder, Registration
from stacks.change_guard import list_update_warnings, validate_update
from stacks.config import parse_stack
from tests.support import (
    CONFIG_MAP,
    NETWORK_POLICY,
    SECRET,
    SERVICE,
    STATEFUL_SET,
    config_issues,
    decode_secret,
    get_resource,
    groups,
    pod_security_violations,
    record_stack,
    spec_errors,
)

Raw = dict[str, Any]
JOB = "kubernetes:batch/v1:Job"
NEXT = "applications.shop.databases.postgresql.next.from"


def build_stack(**keys: Any) -> Raw:
    """Return a stack whose group `next` is a copy of `main`."""
    return groups(postgresql={"main": {"primary": True}, "next": {"from": {"group": "main", **keys}}})


def build_teams(source: Any, other: Any = None) -> Raw:
    """Return a stack with the applications `shop` and `blog`, whose groups `next` have a source."""

    def build_application(path: Any) -> Raw:
        databases = {"main": {"primary": True}, **({"next": {"from": {"group": path}}} if path else {})}
        return {"databases": {"postgresql": databases}}

    return {"applications": {"blog": build_application(source), "shop": build_application(other)}}


# Validation


@pytest.mark.parametrize(
    ("path", "address"),
    [
        ("main", ("shop", "postgresql", "main")),
        ("postgresql.main", ("shop", "postgresql", "main")),
        ("blog.postgresql.main", ("blog", "postgresql", "main")),
    ],
)
def test_resolve_source_completes_a_path(path: str, address: tuple[str, str, str]) -> None:
    assert resolve_source(path, "shop", "postgresql") == address


@pytest.mark.parametrize(
    ("raw", "errors"),
    [
        ({"group": "main"}, []),
        ({"group": "a.b.c.d"}, [("group", "source_path")]),
        ({"group": "Main"}, [("group", "source_path")]),
        ({}, [("", "copy_source")]),
        ({"group": "main", "run": 0}, [("run", "greater_than_equal")]),
        ({"group": "main", "run": 10000}, [("run", "less_than_equal")]),
        ({"group": "main", "overwrite": "yes"}, [("overwrite", "bool_type")]),
        ({"group": "main", "backup": "latest", "store": "offsite"}, []),
        ({"backup": "0123abcd"}, []),
        ({"backup": "2026-11-24 03:00"}, []),
        ({"backup": "newest"}, [("backup", "snapshot")]),
        ({"backup": "2026-11-24"}, [("backup", "snapshot")]),
        ({"backup": "$(id)"}, [("backup", "snapshot")]),
        ({"group": "main", "store": "offsite"}, [("", "copy_store")]),
    ],
)
def test_spec_is_validated(raw: Raw, errors: list[tuple[str, str]]) -> None:
    assert spec_errors(CopySpec, raw) == errors


@pytest.mark.parametrize(
    ("raw", "messages"),
    [
        (build_stack(), []),
        (build_teams("shop.postgresql.main"), []),
        (build_stack(group="next"), [f"{NEXT}.group: the group itself; write another group of postgresql"]),
        (
            groups(postgresql={"next": {"from": {"group": "mysql.main"}}}, mysql={"main": {}}),
            [f"{NEXT}.group: shop.mysql.main is a group of mysql; write a group of postgresql"],
        ),
        (
            build_stack(group="mian"),
            [
                f"{NEXT}.group: the group shop.postgresql.mian does not exist; if the copy has run, remove `from` (the"
                " data stays); otherwise did you mean 'shop.postgresql.main'?"
            ],
        ),
        (
            groups(sqlite={"main": {"primary": True}, "next": {"from": {"group": "main"}}}),
            [
                "applications.shop.databases.sqlite.next.from: not supported for sqlite: only the application knows the"
                " user that owns the file; remove it, and move the data by hand (docs/engines/sqlite.md)"
            ],
        ),
    ],
)
def test_source_is_validated(raw: Raw, messages: list[str]) -> None:
    assert config_issues(raw) == messages


def test_cycle_of_groups_is_rejected() -> None:
    raw = groups(
        postgresql={"a": {"primary": True, "from": {"group": "b"}}, "b": {"from": {"group": "a"}}, "c": {}},
    )
    assert [message.split(":")[0] for message in config_issues(raw)] == [
        "applications.shop.databases.postgresql.a.from.group",
        "applications.shop.databases.postgresql.b.from.group",
    ]


def test_cycle_of_applications_is_rejected() -> None:
    messages = config_issues(build_teams("shop.postgresql.main", "blog.postgresql.main"))
    assert [message.split(":")[0] for message in messages] == ["applications.blog", "applications.shop"]


def test_find_copy_cycle_finds_nodes_that_never_end() -> None:
    assert find_copy_cycle({"a": ["b"], "b": ["c"], "c": []}) == []
    assert find_copy_cycle({"a": ["b"], "b": ["a"], "c": []}) == ["a", "b"]


def test_name_of_the_service_of_a_copy_cannot_be_that_of_a_group() -> None:
    raw = build_stack()
    raw["applications"]["shop"]["databases"]["postgresql"]["next-from"] = {}
    (message,) = config_issues(raw)
    assert "name conflict" in message


STORE = {"kind": "claim", "claim": "backups", "repositoryPassword": "c4nary"}


def build_restored_stack(source: Raw | None, *, group: Raw | None = None, **keys: Any) -> Raw:
    """Return a stack whose group `main` is filled from a backup."""
    raw = groups(postgresql={"main": {**({"from": source} if source else {}), **(group or {})}})
    return {**raw, "backupStores": {"offsite": STORE}, **keys}


MAIN = "applications.shop.databases.postgresql.main.from"


@pytest.mark.parametrize(
    ("raw", "messages"),
    [
        (build_restored_stack({"backup": "latest"}), []),
        (build_restored_stack({"backup": "latest", "group": "blog.postgresql.old"}), []),
        (
            build_restored_stack({"backup": "latest"}, backupStores={}),
            [f"{MAIN}.store: the store is missing; set `store` to an entry that you add to `backupStores`"],
        ),
        (
            build_restored_stack({"backup": "latest"}, backupStores={"a": STORE, "b": STORE}),
            [f"{MAIN}.store: the store is missing; set `store` to a or b"],
        ),
        (
            build_restored_stack({"backup": "latest", "store": "x"}),
            [f"{MAIN}.store: unknown store 'x'; set `store` to offsite"],
        ),
        (
            build_restored_stack({"backup": "latest", "group": "mysql.main"}),
            [f"{MAIN}.group: a backup of mysql cannot fill a group of postgresql; write another group"],
        ),
    ],
)
def test_backup_as_a_source_is_validated(raw: Raw, messages: list[str]) -> None:
    assert config_issues(raw) == messages


# Edits


def apply_edit(before: Raw, after: Raw) -> tuple[list[str], list[str]]:
    """Return the rejections and the warnings of an edit of a deployed stack."""
    state = json.loads(json.dumps(parse_stack(before).outputs))
    applications = {application.name: application for application in parse_stack(after).applications}
    rejected, warnings = validate_update(state, applications), list_update_warnings(state, applications)
    return list(map(str, rejected)), list(map(str, warnings))


def without_source(raw: Raw) -> Raw:
    result = copy.deepcopy(raw)
    del result["applications"]["shop"]["databases"]["postgresql"]["next"]["from"]
    return result


OTHER = groups(postgresql={"main": {"primary": True}, "old": {}, "next": {"from": {"group": "main", "run": 2}}})
OTHER_SOURCE = copy.deepcopy(OTHER)
OTHER_SOURCE["applications"]["shop"]["databases"]["postgresql"]["next"]["from"]["group"] = "old"


@pytest.mark.parametrize(
    ("before", "after", "rejected", "warned"),
    [
        (without_source(build_stack()), build_stack(), "", ""),
        (build_stack(), without_source(build_stack()), "", ""),
        (build_stack(), build_stack(run=2), "", ""),
        (build_stack(), build_stack(timeoutMinutes=5), "", ""),
        (build_stack(), build_stack(overwrite=True), "", ""),
        (build_stack(run=2), build_stack(), "the last copy has the number 2; write `run: 2` for no change", ""),
        (
            OTHER,
            OTHER_SOURCE,
            "the copy with `run: 2` has used shop.postgresql.main, and does not run again. For no change, write the old"
            " source again. To copy shop.postgresql.old, write `run: 3`; the group must be empty",
            "",
        ),
        (
            build_stack(),
            build_stack(run=2, overwrite=True),
            "",
            "the data of postgresql.next is deleted, and copied from shop.postgresql.main",
        ),
        (without_source(build_stack()), build_stack(overwrite=True), "", "the data of postgresql.next is deleted"),
        (
            build_restored_stack({"backup": "latest"}),
            build_restored_stack({"backup": "0123abcd"}),
            "To copy the backup 0123abcd of shop.postgresql.main, write `run: 2`; the group must be empty",
            "",
        ),
        (
            build_restored_stack({"backup": "latest"}),
            build_restored_stack(
                {"backup": "latest", "store": "other"}, backupStores={"offsite": STORE, "other": STORE}
            ),
            "To copy the backup latest of shop.postgresql.main from the store other, write `run: 2`",
            "",
        ),
        (
            build_restored_stack(None),
            build_restored_stack({"backup": "latest", "overwrite": True}),
            "",
            "the data of postgresql.main is deleted, and copied from the backup latest of shop.postgresql.main",
        ),
    ],
)
def test_edit_has_its_outcome(before: Raw, after: Raw, rejected: str, warned: str) -> None:
    for text, found in zip((rejected, warned), apply_edit(before, after), strict=True):
        assert [text in message for message in found] == ([True] if text else [])


# Resources


def get_job(recorder: Recorder, name: str = "shop-postgresql-next-from-1-job") -> Registration:
    return get_resource(recorder, JOB, name)


def test_job_of_redis_runs_with_the_image_and_the_memory_of_the_source() -> None:
    """Only the source's own program reads its dump, and it needs memory and disk for the data."""
    next_group = {"variant": "valkey", "from": {"group": "main"}, "server": {"kind": "local", "version": "9"}}
    main = {"primary": True, "server": {"kind": "local", "storage": "5Gi"}}
    recorder = record_stack(groups(redis={"main": main, "next": next_group}))
    pod = get_resource(recorder, JOB, "shop-redis-next-from-1-job").inputs["spec"]["template"]["spec"]
    server = get_resource(recorder, STATEFUL_SET, "shop-redis-main-server").inputs["spec"]["template"]["spec"]
    assert pod["containers"][0]["image"] == server["containers"][0]["image"]
    assert "redis" in pod["containers"][0]["image"]
    assert pod["containers"][0]["resources"]["limits"] == {"memory": str((512 + 128) * 2**20)}
    assert {"name": "work", "emptyDir": {"sizeLimit": str((5 + 1) * 2**30)}} in pod["volumes"]


def test_job_runs_once_with_the_image_of_the_target() -> None:
    recorder = record_stack(build_stack())
    spec = get_job(recorder).inputs["spec"]
    pod = spec["template"]["spec"]
    server = get_resource(recorder, STATEFUL_SET, "shop-postgresql-next-server").inputs["spec"]["template"]["spec"]
    assert spec["backoffLimit"] == 0
    assert spec["activeDeadlineSeconds"] == 3600
    assert "ttlSecondsAfterFinished" not in spec
    assert pod["containers"][0]["image"] == server["containers"][0]["image"]
    assert list(pod_security_violations(pod)) == []


def test_target_is_reached_through_a_service_of_its_own() -> None:
    """The short name points to the source until the copy has ended."""
    raw = groups(postgresql={"main": {}, "next": {"primary": True, "from": {"group": "main"}}})
    recorder = record_stack(raw)
    values = decode_secret(recorder, "shop-postgresql-next-from-1-connections")
    assert values["SOURCE_ADDRESS"] == "postgresql-main.shop.svc"
    assert values["TARGET_ADDRESS"] == "postgresql-next-from.shop.svc"
    own = get_resource(recorder, SERVICE, "shop-postgresql-next-from").inputs["spec"]["selector"]
    assert own == get_resource(recorder, SERVICE, "shop-postgresql").inputs["spec"]["selector"]
    labels = get_job(recorder).inputs["spec"]["template"]["metadata"]["labels"]
    assert not own.items() <= labels.items(), "the Service would select the Job's Pod"


def test_names_move_after_the_copy() -> None:
    raw = groups(postgresql={"main": {}, "next": {"primary": True, "from": {"group": "main"}}})
    order = [registration.name for registration in record_stack(raw).registrations.values()]
    job = order.index("shop-postgresql-next-from-1-job")
    assert job < order.index("shop-postgresql")
    assert job < order.index("shop-environment")
    for name in ("shop-postgresql-main", "shop-postgresql-main-server", "shop-postgresql-next-server"):
        assert order.index(name) < job


def test_source_of_another_application_admits_the_pod() -> None:
    recorder = record_stack(build_teams("shop.postgresql.main"))
    peers = get_resource(recorder, NETWORK_POLICY, "shop-network-policy").inputs["spec"]["ingress"][0]["from"]
    (peer,) = [peer for peer in peers if "namespaceSelector" in peer]
    labels = get_job(recorder, "blog-postgresql-next-from-1-job").inputs["spec"]["template"]["metadata"]["labels"]
    assert peer["podSelector"]["matchLabels"].items() <= labels.items()
    assert list(peer["namespaceSelector"]["matchLabels"].values()) == ["blog"]
    values = decode_secret(recorder, "blog-postgresql-next-from-1-connections")
    assert values["SOURCE_ADDRESS"] == "postgresql.shop.svc"


@pytest.mark.parametrize(
    ("source", "path"),
    [
        ({"backup": "latest"}, "shop/postgresql/main"),
        ({"backup": "latest", "group": "old"}, "shop/postgresql/old"),
        ({"backup": "latest", "group": "blog.postgresql.main"}, "blog/postgresql/main"),
    ],
)
def test_job_reads_a_backup(source: Raw, path: str) -> None:
    recorder = record_stack(build_restored_stack(source))
    pod = get_job(recorder, "shop-postgresql-main-from-1-job").inputs["spec"]["template"]["spec"]
    assert list(pod_security_violations(pod)) == []
    variables = {variable["name"]: variable.get("value") for variable in pod["containers"][0]["env"]}
    assert variables["RESTIC_REPOSITORY"] == f"/backups/{path}"
    assert (variables["PRODUCER"], variables["BACKUP"]) == ("snapshot", "latest")
    values = decode_secret(recorder, "shop-postgresql-main-from-1-connections")
    assert values["TARGET_ADDRESS"] == "postgresql-main-from.shop.svc"
    assert len(values["RESTIC_PASSWORD"]) == 64
    assert not [name for name in values if name.startswith("SOURCE_")]


def test_renamed_group_has_the_backups_of_its_first_name() -> None:
    raw = build_restored_stack({"backup": "latest"}, group={"renamedFrom": "old"})
    recorder = record_stack(raw)
    pod = get_job(recorder, "shop-postgresql-old-from-1-job").inputs["spec"]["template"]["spec"]
    variables = {variable["name"]: variable.get("value") for variable in pod["containers"][0]["env"]}
    assert variables["RESTIC_REPOSITORY"] == "/backups/shop/postgresql/old"


def test_restore_all_fills_every_group_with_backups() -> None:
    raw = {
        **groups(
            postgresql={"main": {"primary": True}, "own": {"from": {"group": "main"}}, "cache": {"backup": False}}
        ),
        "backupStores": {"offsite": STORE},
        "backup": {"timeoutMinutes": 90},
        "restoreAll": "2026-11-24 03:00",
    }
    jobs = record_stack(raw).resources_of_type(JOB)
    producers = {
        job.name: {
            variable["name"]: variable.get("value")
            for variable in job.inputs["spec"]["template"]["spec"]["containers"][0]["env"]
        }.get("PRODUCER")
        for job in jobs
        if "-from-" in job.name
    }
    assert producers == {"shop-postgresql-main-from-1-job": "snapshot", "shop-postgresql-own-from-1-job": "write"}
    limits = {job.name: job.inputs["spec"]["activeDeadlineSeconds"] for job in jobs if "-from-" in job.name}
    assert limits == {"shop-postgresql-main-from-1-job": 90 * 60, "shop-postgresql-own-from-1-job": 60 * 60}


@pytest.mark.parametrize("reason", ["from", "restoreAll"])
def test_new_server_deletes_what_its_script_created(reason: str) -> None:
    """The end of `from` or `restoreAll` does not restart the server."""

    def record(is_filled: bool) -> tuple[Any, Any]:
        main = {"primary": True, "server": {"kind": "local", "initScript": "CREATE TABLE seeded (id int)"}}
        raw = groups(postgresql={"main": main, "own": {"backup": False, "server": main["server"]}})
        raw |= {"backupStores": {"offsite": STORE}, "backup": {}}
        if is_filled and reason == "from":
            main["from"] = {"backup": "latest"}
        if is_filled and reason == "restoreAll":
            raw["restoreAll"] = "latest"
        recorder = record_stack(raw)
        assert "filled" not in get_resource(recorder, CONFIG_MAP, "shop-postgresql-own-scripts").inputs["data"]
        server = get_resource(recorder, STATEFUL_SET, "shop-postgresql-main-server")
        return get_resource(recorder, CONFIG_MAP, "shop-postgresql-main-scripts").inputs["data"], server.inputs["spec"]

    (files, server), (filled_files, filled_server) = record(is_filled=False), record(is_filled=True)
    assert set(filled_files) - set(files) == {"filled"}
    assert filled_server == server


def test_no_credential_is_in_the_job() -> None:
    recorder = record_stack(build_stack())
    variables = get_job(recorder).inputs["spec"]["template"]["spec"]["containers"][0]["env"]
    given = {variable["name"] for variable in variables if "value" in variable}
    assert given == {"SCRIPTS", "WORK", "HOME", "TMPDIR", "REPORT", "OVERWRITE", "PRODUCER"}
    assert {"SOURCE_PASSWORD", "TARGET_PASSWORD"} <= {variable["name"] for variable in variables} - given
    assert get_resource(recorder, SECRET, "shop-postgresql-next-from-1-connections")
