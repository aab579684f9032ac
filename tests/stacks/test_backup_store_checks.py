"""Before an update, the program checks every backup store that a group uses."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pulumi
import pytest

from components.copies.stores import StoreSpec
from offline.recorder import run_program
from preflight import run_checks
from preflight.cluster_client import ClusterConfig
from preflight.cluster_models import ClusterReport, ClusterRequirements, RequiredClaim
from preflight.probes import STORE_PROBES
from stacks.__main__ import main
from stacks.backup_store_checks import BUILDERS, list_store_claims, list_store_endpoints
from stacks.cluster_checks import build_cluster_requirements
from stacks.config import parse_stack
from stacks.preflight_checks import require_preflight, run_preflight
from tests.e2e.stores import ACCESS_KEY, PASSWORD, SECRET_KEY, USERNAME, RunningStore, serve_rest, serve_s3
from tests.support import CANARY, groups

Raw = dict[str, Any]
OWN = {"repositoryPassword": f"{CANARY}-repository"}
S3 = {"kind": "s3", "bucket": "backups", "accessKey": ACCESS_KEY, "secretKey": SECRET_KEY, **OWN}
REST = {"kind": "rest", "username": USERNAME, "password": PASSWORD, **OWN}
STORES: Mapping[str, Raw] = {
    "s3": {**S3, "endpoint": "https://s3.example.org:9000", "prefix": "live", "region": "eu-west-1"},
    "azure": {"kind": "azure", "account": "shop", "accountKey": f"{CANARY}-key", "container": "backups", **OWN},
    "google": {"kind": "google", "bucket": "backups", "serviceAccountKey": f"{CANARY}-key", **OWN},
    "rest": {**REST, "url": "https://backups.example.org/shop", "appendOnly": True},
    "claim": {"kind": "claim", "claim": "disk", **OWN},
    "unused": {**S3, "endpoint": "https://unused.example.org"},
}
ROOT = Path(__file__).resolve().parents[2]
CONFIG = ClusterConfig(context="production")


def build_stack(stores: Mapping[str, Raw], **keys: Any) -> Raw:
    """Return a stack with a PostgreSQL group for each store, and one without backups."""
    members = {name: {"backup": {"store": name}} for name in stores if name != "unused"}
    return {**groups(postgresql={**members, "none": {"backup": False}}), "backupStores": {**stores}, **keys}


@pytest.fixture
def _cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the check of the cluster by one that succeeds."""
    monkeypatch.setattr("stacks.preflight_checks.check_cluster", lambda *_args, **_options: ClusterReport())


@pytest.fixture
def s3(tmp_path: Path) -> Iterator[RunningStore]:
    """Run versitygw with an empty bucket."""
    with serve_s3(tmp_path) as running:
        (running.folder / "backups").mkdir()
        yield running


def test_every_store_of_a_group_is_checked_once() -> None:
    endpoints = list(list_store_endpoints(parse_stack(build_stack(STORES))))
    assert [(endpoint.path, endpoint.engine, endpoint.address) for endpoint in endpoints] == [
        ("backupStores.s3", "s3", "s3.example.org:9000"),
        ("backupStores.azure", "azure", "shop.blob.core.windows.net:443"),
        ("backupStores.google", "google", "storage.googleapis.com:443"),
        ("backupStores.rest", "rest", "backups.example.org:443"),
    ]
    two = groups(postgresql={"a": {"primary": True}, "b": {}}, mysql={"main": {}})
    raw = {**two, "backup": {}, "backupStores": {"offsite": STORES["s3"]}}
    assert len(list(list_store_endpoints(parse_stack(raw)))) == 1


def test_every_kind_of_store_is_checked() -> None:
    """Those without a probe are volumes in the cluster."""
    (union, *_) = StoreSpec.__args__
    kinds = {model.model_fields["kind"].annotation.__args__[0]: model for model in union.__args__}
    assert {kind for kind, model in kinds.items() if model in BUILDERS} == set(STORE_PROBES)
    assert set(kinds) - set(STORE_PROBES) == {"claim"}


def test_the_volume_claim_of_a_store_must_exist_in_each_namespace() -> None:
    raw = build_stack({"claim": STORES["claim"]})
    stack = parse_stack(raw)
    expected = RequiredClaim(name="disk", namespace="shop", location=("backupStores", "claim"))
    assert list(list_store_claims(stack)) == [expected]
    requirements: ClusterRequirements = build_cluster_requirements(stack, {}, [])
    assert requirements.existing_claims == (expected,)
    assert list(list_store_claims(parse_stack(build_stack({"s3": STORES["s3"]})))) == []


@pytest.mark.usefixtures("_cluster")
def test_an_unusable_store_stops_an_update_and_is_a_warning_in_a_preview(
    s3: RunningStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    offsite = {**S3, "endpoint": s3.url}
    usable, absent = build_stack({"offsite": offsite}), build_stack({"offsite": {**offsite, "bucket": "absent"}})
    run_program(lambda: require_preflight(parse_stack(usable), CONFIG, []))
    with pytest.raises(pulumi.RunError) as error:
        run_program(lambda: require_preflight(parse_stack(absent), CONFIG, []))
    message = str(error.value)
    address = f"localhost:{s3.port}"
    assert message.startswith(
        f"1 backup store check failed:\n\n  backupStores.offsite ({address})\n    check: listing "
    )
    assert "    result: the bucket absent does not exist: " in message
    assert message.endswith("nothing was changed")
    assert SECRET_KEY not in message
    assert not (s3.folder / "absent").exists()
    warnings: list[str] = []
    monkeypatch.setattr(pulumi.log, "warn", warnings.append)
    monkeypatch.setattr(pulumi.runtime, "is_dry_run", lambda: True)
    run_program(lambda: require_preflight(parse_stack(absent), CONFIG, []))
    assert warnings == [message.removesuffix("\nnothing was changed")]
    run_program(lambda: require_preflight(parse_stack({**absent, "preflight": False}), CONFIG, []))
    assert len(warnings) == 1


@pytest.mark.usefixtures("_cluster")
def test_stores_and_servers_are_reported_together(s3: RunningStore) -> None:
    external = {
        "engine": "postgresql",
        "host": "10.255.255.1",
        "port": 1,
        "administrator": {"username": "x", "password": CANARY},
    }
    raw = build_stack({"offsite": {**S3, "endpoint": s3.url, "bucket": "absent"}}, externalServers={"hq": external})
    result = run_preflight(parse_stack(raw), CONFIG, [])
    assert [finding.path for finding in result.failures] == ["externalServers.hq", "backupStores.offsite"]
    text = str(result)
    assert text.startswith("1 external server check failed:")
    assert "\n\n1 backup store check failed:" in text
    assert CANARY not in text


@pytest.mark.usefixtures("_cluster")
def test_the_command_counts_the_stores(
    s3: RunningStore, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = build_stack({"offsite": {**S3, "endpoint": s3.url}})
    values = {f"database-groups:{key}": {"value": json.dumps(value)} for key, value in raw.items()}
    monkeypatch.setattr("stacks.deployed_stack.run_pulumi_json", lambda *_arguments: values)
    monkeypatch.setattr("stacks.__main__.read_deployed_resources", lambda _stack: [])
    assert main(["check", "x"]) == 0
    expected = "Checked the cluster, 0 external server addresses and 1 backup store: all usable.\n"
    assert capsys.readouterr().out == expected


def test_threads_do_not_import_the_same_package_at_once() -> None:
    """The modules of `requests` import each other, so two threads can see a part of them."""
    program = f"""
import sys
import stacks.preflight_checks as checks
from preflight.cluster_client import ClusterConfig
from preflight.cluster_models import ClusterReport
from stacks.config import parse_stack
seen = []
checks.run_checks = lambda *_: []
checks.check_cluster = lambda *_, **__: seen.append("requests" in sys.modules) or ClusterReport()
before = "requests" in sys.modules
checks.run_preflight(parse_stack({build_stack({"s3": STORES["s3"]})!r}), ClusterConfig(), [])
print(before, seen)
"""
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("False [True]\n", "")


def run_restic(repository: str, credentials: Mapping[str, str], *arguments: str) -> str:
    program = shutil.which("restic")
    if not program:
        pytest.skip("restic is not installed")
    environment = {**credentials, "RESTIC_PASSWORD": "of-a-test", "RESTIC_REPOSITORY": repository}
    command = [program, "--no-cache", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("kind", ["s3", "s3 with prefix", "rest", "rest with folder", "rest with private folders"])
def test_restic_can_use_what_the_check_accepts(kind: str, tmp_path: Path) -> None:
    """The check and restic use the same address."""
    private = ["--private-repos"] if "private" in kind else []
    with serve_s3(tmp_path) as s3, serve_rest(tmp_path, arguments=private) as rest:
        (s3.folder / "backups").mkdir()
        stores = {
            "s3": {**S3, "endpoint": s3.url},
            "s3 with prefix": {**S3, "endpoint": s3.url, "prefix": "live/eu"},
            "rest": {**REST, "url": rest.url},
            "rest with folder": {**REST, "url": f"{rest.url}/folder/"},
            "rest with private folders": {**REST, "url": f"{rest.url}/{USERNAME}"},
        }
        stack = parse_stack(build_stack({"offsite": stores[kind]}))
        assert run_checks(list(list_store_endpoints(stack))) == []
        (group,) = (group for group in stack.applications[0].database_groups if group.repository)
        assert group.repository
        access = group.repository.access
        run_restic(access.repository, {**access.variables, **access.credentials}, "init")
        assert json.loads(run_restic(access.repository, {**access.credentials}, "snapshots", "--json")) == []
        assert run_checks(list(list_store_endpoints(stack))) == []
