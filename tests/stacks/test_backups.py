"""The keys `backup` and `backupStores`: their validation, and what they register."""

import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from components.copies.backup_spec import BackupSpec, KeepSpec, build_cron, find_longest_interval
from components.copies.stores import StoreSpec, build_repository_password
from components.engines import ENGINES
from offline.recorder import Recorder, Registration
from stacks.config import parse_stack
from tests.support import (
    SECRET,
    config_issues,
    decode_secret,
    existing_account,
    groups,
    pod_security_violations,
    record_stack,
    spec_errors,
)

Raw = dict[str, Any]
CRON_JOB, JOB, CONFIG_MAP = "kubernetes:batch/v1:CronJob", "kubernetes:batch/v1:Job", "kubernetes:core/v1:ConfigMap"
CANARY = "c4nary"
PASSWORD = {"repositoryPassword": f"{CANARY}-repository"}
STORES: Mapping[str, Raw] = {
    "s3": {"kind": "s3", "bucket": "backups", "accessKey": "id", "secretKey": f"{CANARY}-key", **PASSWORD},
    "azure": {"kind": "azure", "account": "name", "accountKey": f"{CANARY}-key", "container": "backups", **PASSWORD},
    "google": {"kind": "google", "bucket": "backups", "serviceAccountKey": f'{{"x": "{CANARY}-key"}}', **PASSWORD},
    "rest": {"kind": "rest", "url": "https://h:8000/shop", "username": "u", "password": f"{CANARY}-key", **PASSWORD},
    "claim": {"kind": "claim", "claim": "backups", **PASSWORD},
}
MAIN = "applications.shop.databases.postgresql.main"


def build_stack(group: Raw | None = None, *, stores: Mapping[str, Raw] | None = None, **keys: Any) -> Raw:
    """Return a stack with a store and a PostgreSQL group that has backups."""
    stores = {"offsite": STORES["s3"]} if stores is None else stores
    return {**groups(postgresql={"main": {"backup": {}} if group is None else group}), "backupStores": stores, **keys}


def get_cron_job(recorder: Recorder, suffix: str = "-backup") -> Registration:
    (cron_job,) = [found for found in recorder.resources_of_type(CRON_JOB) if found.name.endswith(suffix)]
    return cron_job


def read_container(pod: Raw) -> Raw:
    (container,) = pod["containers"]
    found: Raw = container
    return found


def read_variables(pod: Raw) -> dict[str, str]:
    return {variable["name"]: variable["value"] for variable in read_container(pod)["env"] if "value" in variable}


# Specification


@pytest.mark.parametrize("schedule", ["hourly", "daily", "weekly", "monthly", "30 2 * * *", "*/10 0-5 1,15 * 1-5"])
def test_schedule_is_valid(schedule: str) -> None:
    assert BackupSpec(schedule=schedule).schedule == schedule
    assert re.fullmatch(r"\S+( \S+){4}", build_cron(schedule, "shop-postgresql-main"))


@pytest.mark.parametrize("schedule", ["", "yearly", "* * * *", "* * * * * *", "@daily", "$(x) * * * *", "a b c d e"])
def test_schedule_is_invalid(schedule: str) -> None:
    with pytest.raises(ValidationError):
        BackupSpec(schedule=schedule)


def test_named_schedules_spread() -> None:
    names = [f"app-{number}-mysql-main" for number in range(200)]
    daily = [build_cron("daily", name).split() for name in names]
    assert len({(minute, hour) for minute, hour, *_ in daily}) > 100
    assert {int(hour) for _, hour, *_ in daily} == set(range(6))
    assert {int(build_cron("weekly", name).split()[4]) for name in names} == set(range(7))
    assert all(1 <= int(build_cron("monthly", name).split()[2]) <= 28 for name in names)


@pytest.mark.parametrize(
    ("cron", "days"),
    [
        ("5 * * * *", 1 / 24),
        ("5 */6 * * *", 1),
        ("5 2 * * *", 1),
        ("5 2 * * 0", 7),
        ("5 2 1 * *", 31),
        ("5 2 1 1 *", 366),
    ],
)
def test_longest_interval_of_a_schedule(cron: str, days: float) -> None:
    assert find_longest_interval(cron) == days * 86400


def test_keep_without_a_count_is_rejected() -> None:
    assert KeepSpec(last=3, monthly=2).options == "--keep-last 3 --keep-monthly 2"
    assert spec_errors(BackupSpec, {"keep": {}})


@pytest.mark.parametrize(
    ("kind", "repository", "variables"),
    [
        ("s3", "s3:https://s3.amazonaws.com/backups/a/b/c", {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}),
        ("azure", "azure:backups:/a/b/c", {"AZURE_ACCOUNT_NAME", "AZURE_ACCOUNT_KEY"}),
        ("google", "gs:backups:/a/b/c", set()),
        ("rest", "rest:https://h:8000/shop/a.b.c/", {"RESTIC_REST_USERNAME", "RESTIC_REST_PASSWORD"}),
        ("claim", "/backups/a/b/c", set()),
    ],
)
def test_store_builds_the_access_to_a_repository(kind: str, repository: str, variables: set[str]) -> None:
    store: Any = TypeAdapter(StoreSpec).validate_python(STORES[kind])
    access = store.build_access("a/b/c")
    assert access.repository == repository
    assert set(access.credentials) == variables
    assert CANARY not in repr(access) + repr(store)
    expected = hmac.new(f"{CANARY}-repository".encode(), b"a/b/c", hashlib.sha256).hexdigest()
    assert build_repository_password(store, "a/b/c") == expected


def test_keys_of_s3() -> None:
    keys = {"endpoint": "http://minio:9000/", "prefix": "live/eu", "region": "r", "pathStyle": True}
    store: Any = TypeAdapter(StoreSpec).validate_python({**STORES["s3"], **keys})
    access = store.build_access("a/b/c")
    assert access.repository == "s3:http://minio:9000/backups/live/eu/a/b/c"
    assert access.variables == {"AWS_DEFAULT_REGION": "r"}
    assert access.options == "-o s3.bucket-lookup=path"


@pytest.mark.parametrize(
    "keys",
    [
        {"endpoint": "s3.example.org"},
        {"endpoint": "https://id:key@s3.example.org"},
        {"endpoint": "https://s3.example.org/bucket"},
        {"endpoint": "https://s3.example.org:65536"},
        {"endpoint": "https://s3.example.org:0"},
        {"bucket": "Backups"},
        {"bucket": "a/b"},
        {"prefix": "/a"},
        {"prefix": "a//b"},
        {"prefix": "../a"},
        {"secretKey": ""},
    ],
)
def test_invalid_key_of_a_store(keys: Raw) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(StoreSpec).validate_python({**STORES["s3"], **keys})


# Validation of the stack


@pytest.mark.parametrize(
    ("raw", "issue"),
    [
        (build_stack(stores={}), f"{MAIN}.backup: the store is missing; add a store to `backupStores`"),
        (
            build_stack(stores={"a": STORES["s3"], "b": STORES["claim"]}),
            f"{MAIN}.backup: the store is missing; set `store` to a or b",
        ),
        (
            build_stack({"backup": {"store": "offsight"}}),
            f"{MAIN}.backup.store: unknown store 'offsight'; did you mean 'offsite'?",
        ),
        (build_stack({}, backup={}, stores={}), "backup: the store is missing; add a store to `backupStores`"),
        (
            {**groups(sqlite={"main": {"backup": {}}}), "backupStores": {"offsite": STORES["s3"]}},
            "applications.shop.databases.sqlite.main.backup: not supported for sqlite: only the application knows the"
            " user that owns the file; set `backup: false`, and save the data by other means (docs/engines/sqlite.md)",
        ),
        (
            {**groups(postgresql={"m" * 36: {"backup": {}}}), "backupStores": {"offsite": STORES["s3"]}},
            f"applications.shop.databases.postgresql.{'m' * 36}: name too long for backups: the CronJob would have a"
            " name of 54 characters (limit 52); shorten the group name to 34, or set `backup: false`",
        ),
    ],
)
def test_invalid_backup_is_rejected(raw: Raw, issue: str) -> None:
    assert config_issues(raw) == [issue]


def test_issue_of_the_stack_is_reported_once() -> None:
    raw = {**groups(postgresql={"a": {"primary": True}, "b": {}}), "backup": {"store": "x"}}
    assert config_issues(raw) == ["backup.store: unknown store 'x'; add it to `backupStores`"]


def test_secrets_of_stores_are_reported_in_plain_text_and_are_in_no_message() -> None:
    warnings = parse_stack(build_stack()).warnings
    assert [warning.split(":")[0] for warning in warnings] == [
        "backupStores.offsite.repositoryPassword",
        "backupStores.offsite.secretKey",
    ]
    raw = build_stack(stores={"offsite": {**STORES["s3"], "secretKey": [f"{CANARY}-key"]}})
    assert CANARY not in str(config_issues(raw))


def test_production_warns_about_groups_without_backups() -> None:
    server = {"server": {"kind": "dedicated"}}

    def list_warnings(group: Raw, **keys: Any) -> list[str]:
        raw = {**build_stack({**server, **group}, **keys), "environment": "production"}
        return [warning for warning in parse_stack(raw).warnings if "no backups" in warning]

    assert list_warnings({}) == [f"{MAIN}: no backups; set `backup` (docs/backup.md), or set `backup: false`"]
    assert list_warnings({"backup": False}) == []
    assert list_warnings({"backup": {}}) == []
    assert list_warnings({}, backup={}) == []
    assert len(list_warnings({"backup": False}, backup={})) == 0


def test_keys_of_a_group_override_those_of_the_stack() -> None:
    stack = {"schedule": "weekly", "keep": {"last": 9}, "timeoutMinutes": 30}
    group = get_cron_job(record_stack(build_stack({"backup": {"timeoutMinutes": 60}}, backup=stack)))
    spec = group.inputs["spec"]
    variables = read_variables(spec["jobTemplate"]["spec"]["template"]["spec"])
    assert re.fullmatch(r"\d+ \d \* \* \d", spec["schedule"])
    assert (variables["KEEP"], variables["LIMIT_SECONDS"]) == ("--keep-last 9", "3600")


def test_backups_of_the_stack_leave_out_what_cannot_be_saved() -> None:
    raw = {**groups(postgresql={"main": {}}, sqlite={"main": {}}), "backupStores": {"o": STORES["s3"]}, "backup": {}}
    assert {cron_job.inputs["metadata"]["name"] for cron_job in record_stack(raw).resources_of_type(CRON_JOB)} == {
        "postgresql-main-backup",
        "postgresql-main-verify",
    }
    raw["applications"]["shop"]["databases"]["postgresql"]["main"]["backup"] = False
    assert record_stack(raw).resources_of_type(CRON_JOB) == []


# Resources


def test_cron_job_runs_one_backup_at_a_time_with_limits() -> None:
    spec = get_cron_job(record_stack(build_stack({"backup": {"schedule": "30 2 * * *"}}))).inputs["spec"]
    assert {key: spec[key] for key in ("schedule", "timeZone", "concurrencyPolicy", "startingDeadlineSeconds")} == {
        "schedule": "30 2 * * *",
        "timeZone": "Etc/UTC",
        "concurrencyPolicy": "Forbid",
        "startingDeadlineSeconds": 1800,
    }
    job = spec["jobTemplate"]["spec"]
    assert (job["backoffLimit"], job["activeDeadlineSeconds"]) == (0, (240 + 60) * 60)
    pod = job["template"]["spec"]
    assert list(pod_security_violations(pod)) == []
    assert not pod["automountServiceAccountToken"]
    assert read_container(pod)["resources"]["limits"] == {"memory": "512Mi"}
    assert {"name": "work", "emptyDir": {"sizeLimit": str((1 + 1) * 2**30)}} in pod["volumes"]
    assert job["template"]["metadata"]["labels"]["database-groups/application"] == "shop"
    assert read_container(pod)["command"] == ["/bin/sh", "/etc/database-groups/backup"]
    assert read_variables(pod)["KEEP"] == "--keep-daily 7 --keep-weekly 4 --keep-monthly 6"


@pytest.mark.parametrize("kind", STORES)
def test_credentials_are_in_secrets_only(kind: str) -> None:
    recorder = record_stack(build_stack(stores={"offsite": STORES[kind]}))
    secret = decode_secret(recorder, "shop-postgresql-main-backup-repository")
    others = [resource for resource in recorder.registrations.values() if resource.type != SECRET]
    text = json.dumps([resource.inputs for resource in others], default=str)
    assert CANARY not in text
    assert secret["RESTIC_PASSWORD"] not in text
    assert len(secret["RESTIC_PASSWORD"]) == 64
    if kind != "claim":
        assert any(f"{CANARY}-key" in value for value in secret.values())


def test_pod_reads_the_connection_secret_of_the_group() -> None:
    raw = build_stack({"backup": {}, "server": existing_account("postgresql", tls="require")})
    pod = get_cron_job(record_stack(raw)).inputs["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    container = read_container(pod)
    keys = {
        variable["name"]: variable["valueFrom"]["secretKeyRef"]["key"]
        for variable in container["env"]
        if variable.get("valueFrom", {}).get("secretKeyRef", {}).get("name") == "postgresql-main"
    }
    assert keys["ADDRESS"] == "host"
    assert keys["PASSWORD"] == "password"
    assert read_variables(pod)["TLS"] == "require"
    assert container["image"].startswith("docker.io/library/postgres:")


def test_files_and_claims_of_a_store_are_mounted() -> None:
    def list_mounts(store: Raw) -> tuple[dict[str, str], list[Raw]]:
        recorder = record_stack(build_stack(stores={"offsite": store}))
        pod = get_cron_job(recorder).inputs["spec"]["jobTemplate"]["spec"]["template"]["spec"]
        assert list(pod_security_violations(pod)) == []
        return {mount["name"]: mount["mountPath"] for mount in read_container(pod)["volumeMounts"]}, pod["volumes"]

    mounts, volumes = list_mounts(STORES["google"])
    assert mounts["store-files"] == "/etc/restic"
    mounts, volumes = list_mounts(STORES["claim"])
    assert mounts["store"] == "/backups"
    assert {"name": "store", "persistentVolumeClaim": {"claimName": "backups"}} in volumes


def test_append_only_store_deletes_nothing() -> None:
    recorder = record_stack(build_stack(stores={"offsite": {**STORES["rest"], "appendOnly": True}}))
    pod = get_cron_job(recorder).inputs["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    assert read_variables(pod)["KEEP"] == ""


def test_job_runs_once_for_each_address_and_each_credential() -> None:
    names = dict.fromkeys(("prefix", "bucket", "region", "accessKey", "secretKey", "repositoryPassword"), "other")

    def get_name(**keys: Any) -> str:
        recorder = record_stack(build_stack(stores={"offsite": {**STORES["s3"], **keys}}))
        (job,) = recorder.resources_of_type(JOB)
        assert job.ignore_changes == ("spec",)
        return str(job.inputs["metadata"]["name"])

    assert len({get_name(), *(get_name(**{key: value}) for key, value in names.items())}) == len(names) + 1
    assert get_name() == get_name()


def test_job_creates_the_repository_before_the_servers_of_a_cluster_are_ready() -> None:
    """Their connection Secret does not exist yet."""
    server = {"kind": "dedicated", "replicas": 2, "tls": "verify-full"}
    recorder = record_stack(build_stack({"backup": {}, "server": server}))
    (job,) = recorder.resources_of_type(JOB)
    backup = get_cron_job(recorder).inputs["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    volume = {"secret": {"secretName": "postgresql-main", "items": [{"key": "ca.crt", "path": "CA_CRT"}]}}
    assert {"name": "certificates", **volume} in backup["volumes"]
    assert '"postgresql-main"' not in json.dumps(job.inputs["spec"])


def test_restored_group_gets_its_cron_job_after_the_copy() -> None:
    raw = build_stack({"primary": True})
    raw["applications"]["shop"]["databases"]["postgresql"]["next"] = {"from": {"group": "main"}, "backup": {}}
    recorder = record_stack(raw)
    cron_job = get_cron_job(recorder)
    assert any("next-from-1" in urn for urn in cron_job.depends_on)


# Verification


def record_verification(group: Raw) -> tuple[Raw, Raw]:
    """Return the specification of the CronJob that verifies backups, and its ConfigMap."""
    recorder = record_stack(build_stack(group))
    (config,) = [
        found for found in recorder.resources_of_type(CONFIG_MAP) if found.name == "shop-postgresql-main-verify-scripts"
    ]
    scripts: Raw = config.inputs["data"]
    spec: Raw = get_cron_job(recorder, "-verify").inputs["spec"]
    return spec, scripts


def test_verification_runs_a_server_like_that_of_the_group() -> None:
    server = {
        "kind": "dedicated",
        "version": "15.18",
        "storage": "70Gi",
        "resources": {"memory": "4Gi"},
        "settings": {"work_mem": "77MB"},
        "initScript": "CREATE EXTENSION citext;",
    }
    backup = {"schedule": "30 2 * * *", "verify": "weekly", "timeoutMinutes": 30}
    spec, scripts = record_verification({"backup": backup, "server": server})
    assert {"init", "filled"} <= set(scripts)
    assert re.fullmatch(r"\d+ ([6-9]|1[01]) \* \* [0-6]", spec["schedule"])
    job = spec["jobTemplate"]["spec"]
    assert (spec["concurrencyPolicy"], job["backoffLimit"], job["activeDeadlineSeconds"]) == ("Forbid", 0, 100 * 60)
    labels = job["template"]["metadata"]["labels"]
    assert labels["app.kubernetes.io/instance"] == "postgresql-main"
    assert labels["app.kubernetes.io/component"] == "copy"
    pod = job["template"]["spec"]
    assert list(pod_security_violations(pod)) == []
    container, variables = read_container(pod), read_variables(pod)
    assert container["image"] == "docker.io/library/postgres:15.18"
    assert container["command"] == ["/bin/sh", "/etc/database-groups/verify"]
    assert container["resources"]["limits"] == {"memory": str((4096 + 512) * 2**20)}
    assert container["resources"]["requests"]["memory"] == container["resources"]["limits"]["memory"]
    assert {"name": "data", "emptyDir": {"sizeLimit": "70Gi"}} in pod["volumes"]
    assert variables["MAX_AGE_SECONDS"] == str(2 * 86400)
    assert variables["INTERVAL_SECONDS"] == str(7 * 86400)
    assert variables["APPLICATION_USERNAME"] == "shop_main"
    assert variables["PGDATA"] == "/var/lib/postgresql/data/pgdata"
    assert variables["CREDENTIAL"] == "PASSWORD"
    assert {"start", "ready", "settings", "init", "verify", "receive", "snapshot", "restic", "restore"} <= set(scripts)
    assert scripts["init"] == "CREATE EXTENSION citext;"
    assert "work_mem = '77MB'" in scripts["settings"]


def test_server_of_the_verification_never_gets_the_connection_of_the_group() -> None:
    spec, _ = record_verification({"backup": {}})
    container = read_container(spec["jobTemplate"]["spec"]["template"]["spec"])
    secrets = [variable["valueFrom"].get("secretKeyRef") for variable in container["env"] if "valueFrom" in variable]
    assert {secret["name"] for secret in secrets if secret} == {"postgresql-main-backup"}
    names = {secret["key"] for secret in secrets if secret}
    private = next(variable["value"] for variable in container["env"] if variable["name"] == "PRIVATE")
    assert set(private.split()) == names


def test_names_of_the_server_and_of_the_pod_do_not_collide() -> None:
    spec, _ = record_verification({"backup": {}})
    pod = spec["jobTemplate"]["spec"]["template"]["spec"]
    container = read_container(pod)
    for names in (
        [variable["name"] for variable in container["env"]],
        [mount["name"] for mount in container["volumeMounts"]],
        [mount["mountPath"] for mount in container["volumeMounts"]],
        [volume["name"] for volume in pod["volumes"]],
    ):
        assert len(names) == len(set(names))


@pytest.mark.parametrize("engine", [name for name, engine in ENGINES.items() if engine.copy_scripts])
def test_scripts_of_the_server_and_of_the_copy_do_not_collide(engine: str) -> None:
    raw = {**groups(**{engine: {"main": {"backup": {}}}}), "backupStores": {"offsite": STORES["s3"]}}
    recorder = record_stack(raw)
    (server,) = [
        found for found in recorder.resources_of_type(CONFIG_MAP) if found.name == f"shop-{engine}-main-scripts"
    ]
    pod = get_cron_job(recorder, "-verify").inputs["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    (config,) = [
        found for found in recorder.resources_of_type(CONFIG_MAP) if found.name == f"shop-{engine}-main-verify-scripts"
    ]
    assert server.inputs["data"].items() <= config.inputs["data"].items()
    assert "restore" in config.inputs["data"]
    assert list(pod_security_violations(pod)) == []
    paths = [mount["mountPath"] for mount in read_container(pod)["volumeMounts"]]
    assert len(paths) == len(set(paths))


def test_backups_of_an_external_server_are_verified_in_an_official_image() -> None:
    server = existing_account("postgresql", tls="require")
    spec, scripts = record_verification({"backup": {"verifyStorage": "3Gi"}, "server": server})
    pod = spec["jobTemplate"]["spec"]["template"]["spec"]
    assert read_container(pod)["image"].startswith("docker.io/library/postgres:17.")
    assert {"name": "data", "emptyDir": {"sizeLimit": "3Gi"}} in pod["volumes"]
    assert read_variables(pod)["APPLICATION_DATABASE"] == "shop_main"
    assert "TARGET_TLS" not in read_variables(pod)
    assert "init" not in scripts


def test_verification_can_be_switched_off() -> None:
    recorder = record_stack(build_stack({"backup": {"verify": False}}))
    assert [found.name for found in recorder.resources_of_type(CRON_JOB)] == ["shop-postgresql-main-backup"]


@pytest.mark.parametrize("value", ["yearly", True, "x"])
def test_invalid_time_of_a_verification(value: Any) -> None:
    with pytest.raises(ValidationError):
        BackupSpec(verify=value)


def test_stack_without_backups_has_no_objects_of_them() -> None:
    raw = build_stack({})
    names = [resource.name for resource in record_stack(raw).registrations.values()]
    assert [name for name in names if "backup" in name] == []
