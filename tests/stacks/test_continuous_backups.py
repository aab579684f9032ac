"""The key `continuous` of `backup`: its validation, and what the operators of server clusters get."""

from collections.abc import Mapping
from typing import Any

import pytest

from components.engines import ENGINES
from offline.recorder import Recorder
from stacks.change_guard import validate_update
from stacks.cluster_checks import build_cluster_requirements
from stacks.config import parse_stack
from tests.support import SECRET, config_issues, decode_secret, get_resource, groups, record_stack

Raw = dict[str, Any]
CLUSTERS = {name: engine.cluster for name, engine in ENGINES.items() if engine.cluster}
SUPPORTED = [name for name, cluster in CLUSTERS.items() if cluster.has_continuous_backup]
OTHERS = [name for name, engine in ENGINES.items() if engine.copy_scripts and name not in SUPPORTED]
STORE: Raw = {
    "kind": "s3",
    "endpoint": "https://s3.example.org",
    "bucket": "backups",
    "prefix": "live",
    "accessKey": "c4nary-id",
    "secretKey": "c4nary-key",
    "repositoryPassword": "c4nary-repository",
}
AMAZON = {key: value for key, value in STORE.items() if key != "endpoint"}
CLAIM = {"kind": "claim", "claim": "backups", "repositoryPassword": "c4nary-repository"}
CA = "tests/e2e/tls.py"
CLUSTER: Raw = {"kind": "dedicated", "replicas": 3}


def build_stack(
    engine: str, backup: Raw | None = None, *, store: Mapping[str, Any] = STORE, server: Raw = CLUSTER, **keys: Any
) -> Raw:
    """Return a stack with a group that has continuous backups."""
    group = {"server": server, "backup": {"continuous": True} if backup is None else backup}
    return {**groups(**{engine: {"main": group}}), "backupStores": {"offsite": dict(store)}, **keys}


def read_spec(recorder: Recorder, kind: str) -> Raw:
    (found,) = [item for item in recorder.registrations.values() if item.inputs.get("kind") == kind]
    spec: Raw = found.inputs["spec"]
    return spec


def read_cluster(engine: str, **keys: Any) -> Raw:
    return read_spec(record_stack(build_stack(engine, **keys)), CLUSTERS[engine].operator.resource_types[0].kind)


# Validation


@pytest.mark.parametrize("engine", SUPPORTED)
def test_server_cluster_with_an_s3_store_is_accepted(engine: str) -> None:
    assert config_issues(build_stack(engine)) == []
    assert config_issues(build_stack(engine, store={**AMAZON, "region": "eu-central-1"})) == []


@pytest.mark.parametrize("engine", OTHERS)
def test_engine_without_continuous_backups_is_rejected(engine: str) -> None:
    server = CLUSTER if engine in CLUSTERS else {"kind": "dedicated"}
    assert config_issues(build_stack(engine, server=server)) == [
        f"applications.shop.databases.{engine}.main.backup.continuous: not supported for {engine}: no operator saves"
        " each change of it; remove it"
    ]


@pytest.mark.parametrize(
    ("keys", "issue"),
    [
        (
            {"server": {"kind": "dedicated"}},
            "continuous: needs a server cluster; set `replicas` of `server`, or remove it",
        ),
        ({"server": {"kind": "local"}}, "continuous: needs a server cluster; set `replicas` of `server`, or remove it"),
        (
            {"store": CLAIM},
            "continuous: the operators save in a store of the kind `s3` only; set `store` to one, or remove it",
        ),
        (
            {"backup": {"continuous": True, "keep": {"weekly": 4}}},
            "continuous: needs `daily` of `keep`, the number of days to whose moments a restore is possible; set it",
        ),
    ],
)
def test_unsupported_use_is_rejected(keys: Raw, issue: str) -> None:
    (found,) = config_issues(build_stack("postgresql", **keys))
    assert found.startswith(f"applications.shop.databases.postgresql.main.backup.{issue}")


def test_region_of_a_bucket_of_amazon_must_be_known() -> None:
    for endpoint in ({}, {"endpoint": "https://s3.eu-west-1.amazonaws.com"}):
        (issue,) = config_issues(build_stack("mysql", store={**AMAZON, **endpoint}))
        assert issue == (
            "backupStores.offsite.region: an operator does not request the region of a bucket from Amazon; set it"
        )


def test_value_of_the_stack_concerns_the_groups_that_support_it() -> None:
    raw = {
        **groups(
            postgresql={
                "main": {"server": CLUSTER, "primary": True},
                "small": {"server": {"kind": "dedicated"}},
                "off": {"server": CLUSTER, "backup": {"continuous": False}},
            },
            redis={"main": {"server": CLUSTER}},
        ),
        "backupStores": {"offsite": STORE},
        "backup": {"continuous": True},
    }
    assert config_issues(raw) == []
    stores = [item for item in record_stack(raw).registrations.values() if item.inputs.get("kind") == "ObjectStore"]
    assert [item.inputs["metadata"]["name"] for item in stores] == ["postgresql-main"]
    assert config_issues({**raw, "backupStores": {"offsite": CLAIM}}) == [
        "backup.continuous: the operators save in a store of the kind `s3` only; set `store` to one, or remove it"
    ]


# Resources


@pytest.mark.parametrize("engine", CLUSTERS)
def test_operator_saves_nothing_without_the_key(engine: str) -> None:
    spec = read_cluster(engine, backup={})
    assert not {"plugins", "backup"} & set(spec)


@pytest.mark.parametrize("engine", SUPPORTED)
def test_group_has_at_most_two_resources_more(engine: str) -> None:
    counts = [len(record_stack(build_stack(engine, {"continuous": value})).registrations) for value in (False, True)]
    assert counts[1] <= counts[0] + 2


@pytest.mark.parametrize("engine", SUPPORTED)
def test_credentials_are_those_of_the_repository(engine: str) -> None:
    """No operator has a copy of the credentials: it reads the Secret of the backups."""
    recorder = record_stack(build_stack(engine))
    secret = get_resource(recorder, SECRET, f"shop-{engine}-main-backup-repository").inputs
    entries = decode_secret(recorder, f"shop-{engine}-main-backup-repository")
    assert entries["AWS_ACCESS_KEY_ID"] == "c4nary-id"
    assert entries["AWS_SECRET_ACCESS_KEY"] == "c4nary-key"
    objects = [item.inputs for item in recorder.registrations.values() if item.inputs.get("kind") != "Secret"]
    own = [
        item for item in objects if "percona" in str(item.get("apiVersion")) or "cnpg" in str(item.get("apiVersion"))
    ]
    assert secret["metadata"]["name"] in str(own)
    assert "c4nary" not in str(own)


@pytest.mark.parametrize("engine", SUPPORTED)
def test_folder_is_beside_the_repository(engine: str) -> None:
    recorder = record_stack(build_stack(engine))
    text = str([item.inputs for item in recorder.registrations.values() if item.inputs.get("apiVersion")])
    assert f"live/shop/{engine}/main.continuous" in text
    assert f"s3:https://s3.example.org/backups/live/shop/{engine}/main'" in text
    assert f"live/shop/{engine}/main/" not in text


def test_group_that_was_renamed_has_the_folder_of_its_first_name() -> None:
    raw = groups(mysql={"new": {"renamedFrom": "main", "server": CLUSTER, "backup": {"continuous": True}}})
    recorder = record_stack({**raw, "backupStores": {"offsite": STORE}})
    assert "live/shop/mysql/main.continuous/base" in str(read_spec(recorder, "PerconaXtraDBCluster")["backup"])


def test_postgresql_archives_with_the_plugin() -> None:
    recorder = record_stack(build_stack("postgresql", {"continuous": True, "keep": {"daily": 30}}))
    cluster, store = read_spec(recorder, "Cluster"), read_spec(recorder, "ObjectStore")
    assert cluster["plugins"] == [
        {
            "name": "barman-cloud.cloudnative-pg.io",
            "isWALArchiver": True,
            "parameters": {"barmanObjectName": "postgresql-main"},
        }
    ]
    assert "backup" not in cluster
    assert store["retentionPolicy"] == "30d"
    assert store["configuration"] == {
        "destinationPath": "s3://backups/live/shop/postgresql/main.continuous",
        "endpointURL": "https://s3.example.org",
        "s3Credentials": {
            "accessKeyId": {"name": "postgresql-main-backup", "key": "AWS_ACCESS_KEY_ID"},
            "secretAccessKey": {"name": "postgresql-main-backup", "key": "AWS_SECRET_ACCESS_KEY"},
        },
        "wal": {"compression": "gzip"},
        "data": {"compression": "gzip"},
    }
    scheduled = read_spec(recorder, "ScheduledBackup")
    assert scheduled["immediate"] is True
    assert (scheduled["method"], scheduled["cluster"]) == ("plugin", {"name": "postgresql-main"})
    second, *fields = scheduled["schedule"].split(" ")
    assert (second, fields[2:]) == ("0", ["*", "*", "*"])


def test_object_store_exists_before_the_cluster_that_uses_it() -> None:
    """The plugin otherwise reports an error until it exists. A base backup needs the cluster."""
    kinds = [item.inputs.get("kind") for item in record_stack(build_stack("postgresql")).registrations.values()]
    order = [kind for kind in kinds if kind in ("ObjectStore", "Cluster", "ScheduledBackup")]
    assert order == ["ObjectStore", "Cluster", "ScheduledBackup"]


@pytest.mark.parametrize(("version", "image"), [("8.0", "8.0.35-34.1"), ("8.4", "8.4.0-5.1")])
def test_mysql_uploads_the_binary_log_into_a_folder_of_its_own(version: str, image: str) -> None:
    backup = read_cluster("mysql", server={**CLUSTER, "version": version})["backup"]
    assert backup["image"] == f"docker.io/percona/percona-xtrabackup:{image}"
    folders = {name: storage["s3"]["bucket"] for name, storage in backup["storages"].items()}
    assert folders == {
        "base": "backups/live/shop/mysql/main.continuous/base",
        "binlogs": "backups/live/shop/mysql/main.continuous/binlogs",
    }
    assert (backup["pitr"]["enabled"], backup["pitr"]["storageName"]) == (True, "binlogs")
    (schedule,) = backup["schedule"]
    assert schedule["storageName"] == "base"
    assert schedule["retention"] == {"type": "count", "count": 8, "deleteFromStorage": True}


def test_pods_that_save_mysql_may_reach_its_servers() -> None:
    """The NetworkPolicy of the group admits the Pods with the label of its servers."""
    storages = read_cluster("mysql")["backup"]["storages"].values()
    assert [storage["labels"] for storage in storages] == [{"database-groups/server": "mysql-main"}] * 2


def test_pod_that_uploads_the_binary_log_gets_new_credentials() -> None:
    digests = [
        read_cluster("mysql", store={**STORE, "secretKey": key})["backup"]["storages"]["binlogs"]["annotations"]
        for key in ("c4nary-key", "c4nary-new")
    ]
    assert digests[0] != digests[1]


def test_mongodb_uploads_the_oplog() -> None:
    backup = read_cluster("mongodb", backup={"continuous": True, "keep": {"daily": 2}})["backup"]
    assert (backup["enabled"], backup["pitr"]) == (True, {"enabled": True})
    (task,) = backup["tasks"]
    assert (task["enabled"], task["storageName"]) == (True, "base")
    assert task["retention"] == {"type": "count", "count": 3, "deleteFromStorage": True}
    assert backup["storages"]["base"] == {
        "type": "minio",
        "minio": {
            "bucket": "backups",
            "prefix": "live/shop/mongodb/main.continuous",
            "region": "us-east-1",
            "endpointUrl": "s3.example.org",
            "secure": True,
            "forcePathStyle": True,
            "credentialsSecret": "mongodb-main-backup",
        },
    }


@pytest.mark.parametrize(
    ("endpoint", "expected"),
    [
        ("http://minio.backups.svc:9000/", ("minio.backups.svc:9000", False, True)),
        (None, ("s3.amazonaws.com", True, False)),
    ],
)
def test_endpoint_of_mongodb_has_no_scheme(endpoint: str | None, expected: tuple[Any, ...]) -> None:
    store = {**AMAZON, "region": "eu-central-1", **({"endpoint": endpoint} if endpoint else {})}
    storage = read_cluster("mongodb", store=store)["backup"]["storages"]["base"]["minio"]
    assert (storage["endpointUrl"], storage["secure"], storage["forcePathStyle"]) == expected
    assert storage["region"] == "eu-central-1"


def test_operators_find_the_service_of_amazon_by_its_region() -> None:
    store = {**AMAZON, "region": "eu-central-1"}
    recorder = record_stack(build_stack("postgresql", store=store))
    spec = read_spec(recorder, "ObjectStore")
    assert "endpointURL" not in spec["configuration"]
    assert {"name": "AWS_DEFAULT_REGION", "value": "eu-central-1"} in spec["instanceSidecarConfiguration"]["env"]
    storage = read_cluster("mysql", store=store)["backup"]["storages"]["base"]["s3"]
    assert "endpointUrl" not in storage
    assert storage["region"] == "eu-central-1"


# The edits and the check before an update


@pytest.mark.parametrize("engine", SUPPORTED)
@pytest.mark.parametrize("values", [(False, True), (True, False)])
def test_edit_is_in_place(engine: str, values: tuple[bool, bool]) -> None:
    old, new = (parse_stack(build_stack(engine, {"continuous": value})) for value in values)
    assert list(validate_update(old.outputs, {item.name: item for item in new.applications})) == []
    kind = CLUSTERS[engine].operator.resource_types[0].kind
    names = [
        [
            item.name
            for item in record_stack(build_stack(engine, {"continuous": value})).registrations.values()
            if item.inputs.get("kind") == kind
        ]
        for value in values
    ]
    assert names[0] == names[1]


def test_plugin_is_required_only_with_the_key() -> None:
    def list_names(raw: Raw) -> list[tuple[str, tuple[str, ...]]]:
        stack = parse_stack(raw, full_name="acme/database-groups/production")
        return [(item.name, item.key) for item in build_cluster_requirements(stack, {}, ()).operators]

    operator = ("CloudNativePG", ("server", "replicas"))
    plugin = ("Barman Cloud plugin of CloudNativePG", ("backup", "continuous"))
    assert list_names(build_stack("postgresql", {})) == [operator]
    assert list_names(build_stack("postgresql")) == [operator, plugin]


def test_requirements_have_the_types_of_the_plugin() -> None:
    stack = parse_stack(build_stack("postgresql"), full_name="acme/database-groups/production")
    required = build_cluster_requirements(stack, {}, ())
    plugin = required.operators[1]
    assert {path.plural for path in plugin.custom_paths} == {"objectstores", "scheduledbackups"}
    objects = {item.key.kind: item for item in required.objects if item.custom_path in plugin.custom_paths}
    assert set(objects) == {"ObjectStore", "ScheduledBackup"}
    assert not any(item.storage for item in objects.values())
    (cluster,) = [item for item in required.objects if item.key.kind == "Cluster"]
    assert cluster.storage
    assert plugin.install_commands[-1].endswith("/v0.14.0/manifest.yaml")
