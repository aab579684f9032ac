"""`python -m backups` with a fake Pulumi command line and a fake API server: requests, Jobs and errors."""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from backups import jobs
from backups.__main__ import main
from components.persisted.names import APPLICATION_TYPE, DATABASE_GROUP_TYPE
from tests.fake_api import Answer, build_kubeconfig, run_api_server
from tests.fake_pulumi import write_pulumi
from tests.support import CANARY

Json = dict[str, Any]
Run = Callable[..., tuple[int, str, str]]

SNAPSHOT = "40dc1520" + "a" * 56
LIST = json.dumps([{"time": "2026-11-24T03:00:12Z", "id": SNAPSHOT, "summary": {"total_bytes_processed": 2048}}])
SAVED = "saved snapshot 40dc1520 in 6 seconds: 6 entries, 5.162 MiB; added 5.153 MiB (4.871 MiB stored)"
INCOMPLETE = "shop.postgresql.main can hold a part of the backup; restore again with OVERWRITE=1"
COPIED = "copied 6 entries in 5 seconds; both sides are equal"
GROUPS = "set GROUP to one of: shop.postgresql.main, shop.redis.cache"
CONTAINER = {
    "name": "backup",
    "command": ["/bin/sh", "/etc/database-groups/backup"],
    "env": [
        {"name": "RESTIC_REPOSITORY", "value": "s3:https://s3.example.org/backups/shop/postgresql/main"},
        {"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "postgresql-main", "key": "password"}}},
    ],
}


GROUP, INTO = ("--group", "shop.postgresql.main"), ("--into", "shop.postgresql.main")
LATEST = ("--snapshot", "latest")
REPOSITORY = "s3:https://s3.example.org/backups/shop/postgresql/main"
STORE = {
    "kind": "s3",
    "endpoint": "https://s3.example.org",
    "bucket": "backups",
    "accessKey": "of-a-test",
    "secretKey": CANARY,
    "repositoryPassword": CANARY,
}


def build_config(**store: Any) -> Json:
    """Return the configuration of the stack, as Pulumi prints it."""
    databases = {
        "postgresql": {"main": {"backup": {"timeoutMinutes": 30}}},
        "redis": {"cache": {}},
    }
    values = {
        "backupStores": {"offsite": {**STORE, **store}},
        "applications": {"shop": {"namespace": "web", "databases": databases}},
    }
    entries = {f"database-groups:{key}": {"value": json.dumps(value)} for key, value in values.items()}
    context = {"kubernetes:kubeconfig": {"secret": True}, "kubernetes:context": {"value": "good"}}
    return {**context, **entries}


def build_cron_job(name: str, **status: Any) -> Json:
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [CONTAINER]}}
    return {
        "metadata": {"name": name, "namespace": "web", "uid": f"uid-{name}", "labels": {"of": "program"}},
        "spec": {"jobTemplate": {"spec": {"activeDeadlineSeconds": 60, "template": template}}},
        "status": status,
    }


class FakeCluster:
    """A cluster in which each Job ends at once."""

    def __init__(self) -> None:
        self.cron_jobs = {
            entry["metadata"]["name"]: entry
            for entry in (
                build_cron_job("postgresql-main-backup", lastSuccessfulTime="2026-11-24T03:01:00Z"),
                build_cron_job("postgresql-main-verify"),
            )
        }
        self.jobs: dict[str, Json] = {}
        self.old_pods: list[Json] = []
        self.created: list[Json] = []
        self.deleted: list[str] = []
        self.logs = {"backup": f"[0:10] 1 files 2 MiB\n{SAVED}\n", "list": f"{LIST}\n", "receive": "comparing\n"}
        self.messages = {"backup": SAVED, "list": "", "receive": COPIED}
        self.failing: set[str] = set()
        self.reason = "Error"
        self.refusals: dict[str, Answer] = {}

    def answer(self, path: str, _accept: str) -> Answer:
        url = urlsplit(path)
        *_, kind, name = ["", *url.path.split("/")]
        if url.path in self.refusals:
            return self.refusals[url.path]
        if url.path.endswith("/log"):
            return 200, self.logs[find_script(self.jobs[url.path.split("/")[-2].removesuffix("-x")])]
        if kind in {"cronjobs", "jobs"}:
            objects = self.cron_jobs if kind == "cronjobs" else self.jobs
            return (200, objects[name]) if name in objects else (404, {})
        items = {
            "cronjobs": list(self.cron_jobs.values()),
            "jobs": list(self.jobs.values()),
            "pods": self.old_pods,
            "events": [],
        }[name]
        selector = parse_qs(url.query).get("labelSelector", [""])[0]
        if selector.startswith("job-name="):
            items = [self.build_pod(self.jobs[selector.removeprefix("job-name=")])]
        return 200, {"items": items}

    def build_pod(self, job: Json) -> Json:
        name, script = job["metadata"]["name"], find_script(job)
        (container,) = job["spec"]["template"]["spec"]["containers"]
        ended = {"exitCode": int(script in self.failing), "message": self.messages[script], "reason": self.reason}
        return {
            "metadata": {"name": f"{name}-x", "namespace": "web", "labels": {"job-name": name}, "uid": "u"},
            "spec": job["spec"]["template"]["spec"],
            "status": {"containerStatuses": [{"name": container["name"], "state": {"terminated": ended}}]},
        }

    def review(self, path: str, body: Json) -> Answer:
        if path.partition("?")[0] in self.refusals:
            return self.refusals[path.partition("?")[0]]
        if not body:
            self.deleted.append(path)
            self.jobs.pop(path.partition("?")[0].rpartition("/")[2], None)
            return 200, {}
        self.created.append(body)
        if not path.endswith("/jobs"):
            return 201, body
        body["metadata"]["uid"] = "uid-job"
        end = "Failed" if find_script(body) in self.failing else "Complete"
        job = {**body, "status": {"conditions": [{"type": end, "status": "True", "reason": "r", "message": "m"}]}}
        self.jobs[body["metadata"]["name"]] = job
        return 201, job


def find_script(job: Json) -> str:
    command = job["spec"]["template"]["spec"]["containers"][0]["command"]
    return str(command[1].rpartition("/")[2])


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster()


@pytest.fixture
def run(
    cluster: FakeCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    """Run a command for the fake cluster. Returns exit code, output and errors."""
    monkeypatch.setattr(jobs, "POLL_SECONDS", 0)
    outputs = {"application": "shop", "protect": False, "kind": "local", "variant": "v", "version": "1"}
    groups = [
        {**outputs, "engine": engine, "group": group, "service": engine, "secret": f"{engine}-{group}"}
        for engine, group in (("postgresql", "main"), ("redis", "cache"))
    ]
    resources = [
        {"type": APPLICATION_TYPE, "outputs": {"name": "shop", "namespace": "web", "secret": "shop-databases"}},
        *({"type": DATABASE_GROUP_TYPE, "outputs": group} for group in groups),
    ]

    def run_main(command: str, *arguments: str, config: Json | None = None) -> tuple[int, str, str]:
        with run_api_server(cluster.answer, cluster.review) as url:
            answers = {
                "stack": {"deployment": {"resources": resources}},
                "config": config or build_config(),
                "get": {"value": build_kubeconfig(url)},
            }
            for name, content in answers.items():
                (tmp_path / name).write_text(json.dumps(content))
            code = main([command, "production", *arguments])
        captured = capsys.readouterr()
        assert CANARY not in captured.out + captured.err
        return code, captured.out, captured.err

    monkeypatch.setenv("PATH", f"{write_pulumi(tmp_path)}{os.pathsep}{os.environ['PATH']}")
    return run_main


def test_backup_runs_a_job_of_the_cron_job(run: Run, cluster: FakeCluster) -> None:
    code, output, errors = run("backup", "--group", "shop.postgresql.main")
    assert (code, output) == (0, f"shop.postgresql.main: {SAVED}\n")
    (job,) = cluster.created
    name = job["metadata"]["name"]
    assert re.fullmatch(r"postgresql-main-backup-\d{10}", name)
    assert errors.splitlines() == [
        f"backup of shop.postgresql.main: Job {name} in namespace web",
        "[0:10] 1 files 2 MiB",
        SAVED,
    ]
    assert job["metadata"]["ownerReferences"] == [
        {
            "apiVersion": "batch/v1",
            "kind": "CronJob",
            "name": "postgresql-main-backup",
            "uid": "uid-postgresql-main-backup",
            "controller": True,
        }
    ]
    assert job["spec"] == cluster.cron_jobs["postgresql-main-backup"]["spec"]["jobTemplate"]["spec"]
    assert cluster.deleted == []


def test_verification_runs_a_job_of_its_cron_job(run: Run, cluster: FakeCluster) -> None:
    assert run("backup", "--group", "shop.postgresql.main", "--verify")[0] == 0
    assert cluster.created[0]["metadata"]["name"].startswith("postgresql-main-verify-")


def test_failed_backup_is_an_error_with_the_message_of_the_pod(run: Run, cluster: FakeCluster) -> None:
    cluster.failing = {"backup"}
    cluster.messages["backup"] = "error: nothing was saved: exit code 1; the log has the reason"
    code, output, errors = run("backup", "--group", "shop.postgresql.main")
    assert (code, output) == (1, "")
    assert errors.splitlines()[-1] == (
        "error: the backup of shop.postgresql.main failed: nothing was saved: exit code 1; the log has the reason"
    )


def test_a_pod_without_a_message_is_described(run: Run, cluster: FakeCluster) -> None:
    cluster.failing = {"backup"}
    cluster.messages["backup"] = ""
    errors = run("backup", "--group", "shop.postgresql.main")[2]
    assert errors.endswith("error: the backup of shop.postgresql.main failed: Error, exit code 1, restarts: 0\n")


def test_lack_of_memory_is_the_reason_of_a_killed_pod(run: Run, cluster: FakeCluster) -> None:
    cluster.failing, cluster.reason, cluster.messages["backup"] = {"backup"}, "OOMKilled", "open repository"
    errors = run("backup", "--group", "shop.postgresql.main")[2]
    assert errors.endswith("failed: the memory of the Pod does not suffice (OOMKilled)\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), f"GROUP is missing; {GROUPS}"),
        (("--group", "shop.mysql.main"), f"the stack has no group 'shop.mysql.main'; {GROUPS}"),
        (
            ("--group", "shop.redis.cache"),
            "shop.redis.cache has no backups; set `backup` in the stack file, and run `make up`",
        ),
        (
            ("--group", "shop.postgresql.main", "--verify"),
            "shop.postgresql.main has no verification; remove `verify: false` from its `backup`, and run `make up`",
        ),
    ],
)
def test_backup_rejects_what_it_cannot_do(
    run: Run, cluster: FakeCluster, arguments: tuple[str, ...], message: str
) -> None:
    del cluster.cron_jobs["postgresql-main-verify"]
    assert run("backup", *arguments) == (1, "", f"error: {message}\n")
    assert cluster.created == []


def test_a_running_backup_is_not_started_again(run: Run, cluster: FakeCluster) -> None:
    owners = [{"uid": "uid-postgresql-main-backup"}]
    job = {"metadata": {"name": "postgresql-main-backup-29012345", "ownerReferences": owners}, "status": {}}
    cluster.jobs["postgresql-main-backup-29012345"] = job
    message = "a backup of shop.postgresql.main is running: Job postgresql-main-backup-29012345; wait for its end"
    assert run("backup", "--group", "shop.postgresql.main") == (1, "", f"error: {message}\n")
    assert cluster.created == []


def test_list_runs_a_job_for_each_group_and_deletes_it(run: Run, cluster: FakeCluster) -> None:
    code, output, errors = run("backups")
    assert (code, errors) == (0, "")
    assert output == (
        "GROUP                 SNAPSHOT  TIME (UTC)           SIZE   VERIFIED (UTC)\n"
        "shop.postgresql.main  40dc1520  2026-11-24 03:00:12  2 KiB  -\n"
        "\n"
        "1 backup of 1 database group\n"
        "without backups: shop.redis.cache\n"
    )
    (job,) = cluster.created
    name = job["metadata"]["name"]
    assert re.fullmatch(r"postgresql-main-list-\d{10}", name)
    assert "ownerReferences" not in job["metadata"]  # its success is not one of a backup
    container = job["spec"]["template"]["spec"]["containers"][0]
    assert container == {**CONTAINER, "command": ["/bin/sh", "/etc/database-groups/list"]}
    assert job["spec"]["ttlSecondsAfterFinished"] > 0
    assert cluster.deleted == [f"/apis/batch/v1/namespaces/web/jobs/{name}?propagationPolicy=Background"]


def test_list_names_failures_and_prints_the_rest(run: Run, cluster: FakeCluster) -> None:
    cluster.cron_jobs["redis-cache-backup"] = build_cron_job("redis-cache-backup")
    cluster.failing = {"list"}
    cluster.messages["list"] = "error: cannot list the backups: the repository password is wrong"
    code, output, _ = run("backups")
    reason = "cannot list the backups: the repository password is wrong"
    assert code == 1
    assert output.splitlines() == [
        "0 backups of 2 database groups",
        f"shop.postgresql.main: {reason}",
        "shop.redis.cache: no backup has succeeded yet",
        f"shop.redis.cache: {reason}",
    ]
    assert len(cluster.deleted) == 2


def test_list_names_a_failed_verification(run: Run, cluster: FakeCluster) -> None:
    ended = {"exitCode": 1, "finishedAt": "2026-11-25T08:00:00Z", "message": "error: the repository is damaged"}
    cluster.old_pods = [
        {
            "metadata": {"namespace": "web", "labels": {"job-name": "postgresql-main-verify-1"}},
            "status": {"containerStatuses": [{"state": {"terminated": ended}}]},
        }
    ]
    code, output, _ = run("backups", "--group", "shop.postgresql.main", "--json")
    assert code == 0
    assert json.loads(output)["groups"]["shop.postgresql.main"]["problems"] == [
        "the verification of 2026-11-25 08:00:00 failed: the repository is damaged"
    ]


@pytest.mark.parametrize(
    ("path", "answer", "message"),
    [
        ("/apis/batch/v1/namespaces/web/cronjobs", (403, {}), "not allowed to list CronJob objects in namespace web"),
        (
            "/apis/batch/v1/namespaces/web/jobs",
            (403, {"message": "jobs.batch is forbidden"}),
            "cannot create Job 'NAME' in namespace web (403 Forbidden): jobs.batch is forbidden",
        ),
    ],
)
def test_missing_rights_are_named(run: Run, cluster: FakeCluster, path: str, answer: Answer, message: str) -> None:
    cluster.refusals[path] = answer
    code, output, errors = run("backups")
    assert code == 1
    assert message in re.sub(r"postgresql-main-list-\d+", "NAME", output + errors)


def test_an_unreachable_cluster_is_one_line(run: Run, cluster: FakeCluster) -> None:
    cluster.refusals["/apis/batch/v1/namespaces/web/cronjobs/postgresql-main-backup"] = (500, {})
    code, output, errors = run("backup", "--group", "shop.postgresql.main")
    assert (code, output, errors.count("\n")) == (1, "", 1)
    assert errors.startswith("error: cannot read CronJob 'postgresql-main-backup' (500 Internal Server Error)")


def test_the_api_server_may_be_silent_for_a_while(
    run: Run, cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers: list[str] = []
    get = cluster.answer

    def answer(path: str, accept: str) -> Answer:
        if re.search(r"/jobs/postgresql", path) and len(answers) < 3:
            answers.append(path)
            return 500, {}
        return get(path, accept)

    monkeypatch.setattr(cluster, "answer", answer)
    assert run("backup", "--group", "shop.postgresql.main")[0] == 0
    assert len(answers) == 3


def restore(run: Run, *arguments: str, **options: Any) -> tuple[int, str, str]:
    return run("restore", *GROUP, *INTO, *LATEST, *arguments, **options)


def test_restore_creates_temporary_objects_and_deletes_them(run: Run, cluster: FakeCluster) -> None:
    code, output, errors = restore(run)
    assert (code, output) == (0, f"shop.postgresql.main: {COPIED}\n")
    listing, job, secret, scripts = cluster.created
    assert "-list-" in listing["metadata"]["name"]
    name = job["metadata"]["name"]
    assert errors.splitlines() == [
        "restoring backup 40dc1520 of 2026-11-24 03:00:12, 2 KiB of shop.postgresql.main into shop.postgresql.main:"
        f" Job {name}",
        "comparing",
    ]
    assert [entry["kind"] for entry in (job, secret, scripts)] == ["Job", "Secret", "ConfigMap"]
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": name, "uid": "uid-job"}
    for entry in (secret, scripts):
        assert (entry["metadata"]["name"], entry["metadata"]["ownerReferences"]) == (name, [owner])
    assert set(secret["data"]) == {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "RESTIC_PASSWORD"}
    assert CANARY not in json.dumps([job, scripts])
    assert {"receive", "snapshot", "restic", "restore", "inventory"} <= set(scripts["data"])
    container = job["spec"]["template"]["spec"]["containers"][0]
    values = {entry["name"]: entry.get("value") for entry in container["env"]}
    assert values["RESTIC_REPOSITORY"] == REPOSITORY
    assert (values["BACKUP"], values["OVERWRITE"], values["PRODUCER"]) == (SNAPSHOT, "false", "snapshot")
    references = {
        entry["name"]: entry["valueFrom"]["secretKeyRef"] for entry in container["env"] if "valueFrom" in entry
    }
    assert references["PASSWORD"] == {"name": "postgresql-main", "key": "password"}
    assert references["RESTIC_PASSWORD"] == {"name": name, "key": "RESTIC_PASSWORD"}
    assert job["spec"]["activeDeadlineSeconds"] == 1800
    assert job["spec"]["ttlSecondsAfterFinished"] > 0
    assert [path.partition("?")[0].rpartition("/")[2] for path in cluster.deleted[1:]] == [name] * 3
    assert [path.split("/")[-2] for path in cluster.deleted[1:]] == ["jobs", "secrets", "configmaps"]


def test_restore_overwrites_on_request(run: Run, cluster: FakeCluster) -> None:
    assert restore(run, "--overwrite")[0] == 0
    container = cluster.created[1]["spec"]["template"]["spec"]["containers"][0]
    assert {"name": "OVERWRITE", "value": "true"} in container["env"]


@pytest.mark.parametrize(
    ("log", "message", "hint"),
    [
        ("", "the target holds data: 6 entries; nothing was copied", "set OVERWRITE=1 to delete its data first"),
        (
            "restoring 6 entries\n",
            "the restore failed with exit code 1 (source: 0); the log has the reason",
            INCOMPLETE,
        ),
        ("restoring 6 entries\ncomparing\n", "cannot read the target; the log has the reason", INCOMPLETE),
        (
            "restoring the backup 40dc1520\n",
            "cannot read the source: exit code 1; the log has the reason",
            "correct the cause, and run the same command again",
        ),
    ],
)
def test_failed_restore_leaves_no_objects(run: Run, cluster: FakeCluster, log: str, message: str, hint: str) -> None:
    cluster.failing, cluster.messages["receive"], cluster.logs["receive"] = {"receive"}, message, log
    code, _, errors = restore(run)
    assert code == 1
    assert errors.splitlines()[-1] == f"error: the restore into shop.postgresql.main failed: {message}; {hint}"
    assert len(cluster.deleted) == 4


@pytest.mark.parametrize("kind", ["secrets", "configmaps"])
def test_refused_objects_leave_no_job(run: Run, cluster: FakeCluster, kind: str) -> None:
    cluster.refusals[f"/api/v1/namespaces/web/{kind}"] = (403, {"message": "denied"})
    code, _, errors = restore(run)
    assert code == 1
    assert "(403 Forbidden): denied" in errors
    assert cluster.jobs == {}


@pytest.mark.parametrize(
    ("line", "message"),
    [("restoring the backup 40dc1520", "interrupted"), ("restoring 6 entries", f"interrupted: {INCOMPLETE}")],
)
def test_interrupted_restore_leaves_no_objects(
    run: Run, cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch, line: str, message: str
) -> None:
    def interrupt(_connection: Any, _namespace: str, _name: str, show: Callable[[str], None]) -> None:
        show(line)
        raise KeyboardInterrupt

    monkeypatch.setattr("backups.restore.follow_job", interrupt)
    code, output, errors = restore(run)
    assert (code, output) == (130, "")
    assert errors.splitlines()[-2:] == [line, message]
    assert len(cluster.deleted) == 4
    assert cluster.jobs == {}


SNAPSHOTS = "set SNAPSHOT to `latest`, an id, or a time in UTC, for example `2026-11-24 03:00`"


@pytest.mark.parametrize(
    ("arguments", "messages"),
    [
        (
            (),
            [
                f"GROUP is missing; {GROUPS}",
                f"INTO is missing; {GROUPS.replace('GROUP', 'INTO')}",
                f"SNAPSHOT is missing; {SNAPSHOTS}",
            ],
        ),
        ((*GROUP, *INTO, "--snapshot", "yesterday"), [f"invalid snapshot 'yesterday'; {SNAPSHOTS}"]),
        (
            (*GROUP, *LATEST, "--into", "shop.redis.cache"),
            [
                "shop.redis.cache has another engine than shop.postgresql.main; set INTO to a group of its engine",
            ],
        ),
        (
            ("--group", "shop.redis.cache", "--into", "shop.redis.cache", *LATEST),
            ["shop.redis.cache has no backups; set `backup` in the stack file, and run `make up`"],
        ),
    ],
)
def test_restore_rejects_what_it_cannot_do(
    run: Run, cluster: FakeCluster, arguments: tuple[str, ...], messages: list[str]
) -> None:
    code, output, errors = run("restore", *arguments)
    assert (code, output) == (1, "")
    assert errors.splitlines() == [f"error: {message}" for message in messages]
    assert cluster.created == []


@pytest.mark.parametrize(
    ("snapshot", "log", "message"),
    [
        ("00000000", f"{LIST}\n", "it has: 40dc1520 of 2026-11-24 03:00:12"),
        ("2026-11-24 03:00:11", f"{LIST}\n", "it has: 40dc1520 of 2026-11-24 03:00:12"),
        ("latest", "[]\n", "it has none; run `make backup` first"),
    ],
)
def test_a_missing_snapshot_is_named_before_anything_is_changed(
    run: Run, cluster: FakeCluster, snapshot: str, log: str, message: str
) -> None:
    cluster.logs["list"] = log
    code, output, errors = run("restore", *GROUP, *INTO, "--snapshot", snapshot)
    assert (code, output, errors) == (1, "", f"error: shop.postgresql.main has no backup {snapshot!r}; {message}\n")
    assert [find_script(job) for job in cluster.created] == ["list"]


def test_a_stack_file_with_another_store_is_rejected(run: Run, cluster: FakeCluster) -> None:
    code, _, errors = restore(run, config=build_config(prefix="other"))
    assert code == 1
    assert errors == (
        "error: the stack file has another store for shop.postgresql.main than the cluster; to restore a backup of the"
        " deployed store, write the old `backupStores` and `store` again. `make up` changes to the new store, which"
        " does not have the old backups\n"
    )
    assert cluster.created == []


def test_a_group_that_the_stack_file_does_not_have_is_rejected(run: Run, cluster: FakeCluster) -> None:
    config = build_config()
    applications = json.loads(config["database-groups:applications"]["value"])
    del applications["shop"]["databases"]["postgresql"]
    config["database-groups:applications"]["value"] = json.dumps(applications)
    code, _, errors = restore(run, config=config)
    assert (code, cluster.created) == (1, [])
    assert errors == (
        "error: the cluster has the group shop.postgresql.main, but the stack file does not; write the group in the"
        " stack file again. `make up` without it deletes the group\n"
    )
