"""Backup stores: versitygw and rest-server as they run, and each fault with its own finding."""

import base64
import contextlib
import datetime
import hashlib
import json
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote

import pytest
import requests
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from requests_aws4auth import AWS4Auth

from preflight import check, format_findings, run_checks
from preflight.models import Endpoint
from preflight.probes import STORE_PROBES, store
from preflight.probes import s3 as s3_probe
from preflight.probes.azure import build_authorization
from preflight.relay import MAX_ANSWER_BYTES
from preflight.stores import build_azure_endpoint, build_google_endpoint, build_rest_endpoint, build_s3_endpoint
from tests.e2e.stores import (
    ACCESS_KEY,
    PASSWORD,
    SECRET_KEY,
    USERNAME,
    RunningStore,
    find_program,
    serve_rest,
    serve_s3,
)
from tests.e2e.tls import Authority, free_port
from tests.preflight.fakes import (
    Handler,
    MakeFake,
    close,
    only,
    open_unanswering_port,
    results,
    serve_pages,
    serve_web,
    stay_silent,
    wrap_in_tls,
)
from tests.preflight.test_relay import send_without_end
from tests.support import CANARY

BUCKET, PREFIX = "backups", "production"
GOOGLE_KEY = {"private_key_id": "1", "client_email": "backups@shop.example.org"}
S3_ERROR = "<?xml version='1.0'?><Error><Code>{}</Code><Message>{}</Message></Error>"


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStore]:
    """Run versitygw without TLS, with an empty bucket."""
    with serve_s3(tmp_path_factory.mktemp("store")) as running:
        (running.folder / BUCKET).mkdir()
        yield running


@pytest.fixture(scope="module")
def secured_s3(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[RunningStore]:
    """Run versitygw with a certificate for localhost, with an empty bucket."""
    with serve_s3(tmp_path_factory.mktemp("store"), authority.issue("localhost")) as running:
        (running.folder / BUCKET).mkdir()
        yield running


@pytest.fixture(scope="module")
def rest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStore]:
    """Run rest-server without TLS."""
    with serve_rest(tmp_path_factory.mktemp("store")) as running:
        yield running


@pytest.fixture(scope="module")
def ca_file(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> str:
    """Return the path of the CA certificate."""
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    path.write_bytes(authority.pem)
    return str(path)


def s3_endpoint(url: str, **changes: Any) -> Endpoint:
    values = {"bucket": BUCKET, "prefix": PREFIX, "region": None, "path_style": False, "ca_file": None}
    account = {"access_key": ACCESS_KEY, "secret_key": SECRET_KEY}
    return build_s3_endpoint("backupStores.offsite", **{**values, **account, "url": url, **changes})


def rest_endpoint(url: str, **changes: Any) -> Endpoint:
    values = {"username": USERNAME, "password": PASSWORD, "append_only": False, "ca_file": None}
    return build_rest_endpoint("backupStores.offsite", **{**values, "url": url, **changes})


def list_objects(running: RunningStore) -> list[str]:
    """Return the files of a store, without those of the server itself."""
    own = (".sgwtmp", ".vgwlocks", ".htpasswd")
    paths = (path.relative_to(running.folder) for path in running.folder.rglob("*") if path.is_file())
    return [str(path) for path in paths if not set(path.parts) & set(own)]


# S3


@pytest.mark.parametrize("prefix", ["", PREFIX, "a/b.c_d"])
def test_a_usable_bucket_has_no_finding_and_nothing_remains_in_it(prefix: str, s3: RunningStore) -> None:
    assert run_checks([s3_endpoint(s3.url, prefix=prefix)]) == []
    assert list_objects(s3) == []


def test_a_bucket_is_checked_with_tls(secured_s3: RunningStore, ca_file: str) -> None:
    assert run_checks([s3_endpoint(secured_s3.url, ca_file=ca_file)]) == []


def test_a_bucket_with_object_lock_is_usable(tmp_path: Path) -> None:
    """A deleted object remains as an old version."""
    versions = tmp_path / "versions"
    versions.mkdir()
    with serve_s3(tmp_path, backend_arguments=["--versioning-dir", str(versions)]) as running:
        account = AWS4Auth(ACCESS_KEY, SECRET_KEY, "us-east-1", "s3")
        headers = {"x-amz-bucket-object-lock-enabled": "true"}
        assert requests.put(f"{running.url}/{BUCKET}", headers=headers, auth=account, timeout=10).ok
        retention = "<DefaultRetention><Mode>GOVERNANCE</Mode><Days>1</Days></DefaultRetention>"
        rule = f"<Rule>{retention}</Rule>"
        body = (
            f"<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled>{rule}</ObjectLockConfiguration>"
        )
        digest = base64.b64encode(hashlib.md5(body.encode(), usedforsecurity=False).digest()).decode()
        answer = requests.put(
            f"{running.url}/{BUCKET}?object-lock",
            data=body,
            headers={"Content-MD5": digest},
            auth=account,
            timeout=10,
        )
        assert answer.ok, answer.text
        assert check([s3_endpoint(running.url)]) == []


@pytest.mark.parametrize(
    ("changes", "result", "fix"),
    [
        ({"access_key": "of-another"}, "the store does not know the access key: InvalidAccessKeyId", "`accessKey`"),
        (
            {"secret_key": "c4narY"},
            "the secret key does not belong to the access key: SignatureDoesNotMatch",
            "`secretKey`",
        ),
        (
            {"bucket": "absent"},
            "the bucket absent does not exist",
            "Create the bucket, or correct `bucket` in the stack file. The program creates no bucket.",
        ),
        (
            {"region": "eu-west-1"},
            "the bucket backups is in the region us-east-1, not in eu-west-1",
            "Set `region: us-east-1` in the stack file.",
        ),
    ],
    ids=["key", "secret", "bucket", "region"],
)
def test_a_rejected_request_names_the_key_to_correct(
    changes: dict[str, str], result: str, fix: str, s3: RunningStore
) -> None:
    finding = only(check([s3_endpoint(s3.url, **changes)]))
    assert finding.path == "backupStores.offsite"
    assert finding.check == f"listing production in the bucket {changes.get('bucket', BUCKET)}"
    assert finding.result.startswith(result)
    assert fix in finding.fix
    assert "c4narY" not in format_findings([finding])
    assert {path.name for path in s3.folder.iterdir() if not path.name.startswith(".")} == {BUCKET}


def test_a_bucket_in_another_region_is_used_without_region(tmp_path: Path) -> None:
    """Without `region`, restic uses the region that the store names."""
    with serve_s3(tmp_path, arguments=["--region", "eu-west-1"]) as running:
        (running.folder / BUCKET).mkdir()
        assert check([s3_endpoint(running.url)]) == []
        assert check([s3_endpoint(running.url, region="eu-west-1")]) == []
        assert results(check([s3_endpoint(running.url, region="us-east-1")])) == [
            "the bucket backups is in the region eu-west-1, not in us-east-1"
        ]


def allow(running: RunningStore, *actions: str) -> Endpoint:
    """Create a user who may do only some actions in the bucket, and return the endpoint with this user's key."""
    root = ["--access", ACCESS_KEY, "--secret", SECRET_KEY, "--endpoint-url", running.url]
    user = ["create-user", "--access", "limited", "--secret", "secret-of-limited", "--role", "user"]
    subprocess.run([find_program("versitygw"), "admin", *root, *user], check=False, capture_output=True)
    resources = [f"arn:aws:s3:::{BUCKET}", f"arn:aws:s3:::{BUCKET}/*"]
    statements = [
        {
            "Effect": "Allow",
            "Principal": "limited",
            "Action": [action],
            "Resource": resources[action != "s3:ListBucket"],
        }
        for action in actions
    ]
    answer = requests.put(
        f"{running.url}/{BUCKET}?policy",
        data=json.dumps({"Version": "2012-10-17", "Statement": statements}),
        auth=AWS4Auth(ACCESS_KEY, SECRET_KEY, "us-east-1", "s3"),
        timeout=10,
    )
    assert answer.ok, answer.text
    return s3_endpoint(running.url, access_key="limited", secret_key="secret-of-limited")


RIGHTS = {"list": "s3:ListBucket", "write": "s3:PutObject", "read": "s3:GetObject", "delete": "s3:DeleteObject"}


def test_a_bucket_is_checked_by_its_name_in_the_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    resolve = socket.getaddrinfo

    def getaddrinfo(host: Any, port: Any, *args: Any, **options: Any) -> Any:
        return resolve("127.0.0.1" if str(host).endswith(".amazonaws.com") else host, port, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    domain = "s3.us-east-1.amazonaws.com"
    with serve_s3(tmp_path, arguments=["--virtual-domain", domain]) as running:
        (running.folder / BUCKET).mkdir()
        endpoint = s3_endpoint(f"http://s3.amazonaws.com:{running.port}", region="us-east-1")
        assert endpoint.host == f"{BUCKET}.{domain}"
        assert check([endpoint]) == []
        absent = s3_endpoint(f"http://s3.amazonaws.com:{running.port}", region="us-east-1", bucket="absent")
        assert only(check([absent])).result.startswith("the bucket absent does not exist")
        assert list_objects(running) == []


@pytest.mark.parametrize("missing", list(RIGHTS))
def test_a_missing_right_is_named(missing: str, tmp_path: Path) -> None:
    with serve_s3(tmp_path) as running:
        (running.folder / BUCKET).mkdir()
        assert check([allow(running, *RIGHTS.values())]) == []
        finding = only(check([allow(running, *(RIGHTS[action] for action in RIGHTS if action != missing))]))
        assert finding.result.startswith(f"the access key may not {missing} in the bucket backups: AccessDenied")
        target = BUCKET if missing == "list" else f"{BUCKET}/{PREFIX}/*"
        assert finding.fix.startswith(f"Grant it {RIGHTS[missing]} on {target}.")
        assert len(list_objects(running)) == (1 if missing == "delete" else 0)


@pytest.mark.parametrize(("minutes", "text"), [(20, "20 min behind"), (-20, "20 min ahead of"), (-90, "1 h 30 min")])
def test_a_store_that_rejects_the_time_is_reported_with_the_difference(
    minutes: int, text: str, s3: RunningStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = datetime.datetime.now(datetime.UTC) + datetime.timedelta(minutes=minutes)
    for module in (store, s3_probe):
        monkeypatch.setattr(module, "read_clock", lambda: now)
    finding = only(check([s3_endpoint(s3.url)]))
    assert finding.result.startswith("the store rejected the time of the request: RequestTimeTooSkewed (HTTP 403)")
    assert f"; the store's clock is {text}" in finding.result
    assert finding.result.endswith("this machine's")
    assert "timedatectl" in finding.fix


def test_a_clock_that_the_store_accepts_is_a_warning(s3: RunningStore, monkeypatch: pytest.MonkeyPatch) -> None:
    now = datetime.datetime.now(datetime.UTC)
    monkeypatch.setattr(store, "read_clock", lambda: now + datetime.timedelta(minutes=4))
    assert run_checks([s3_endpoint(s3.url)]) == []
    monkeypatch.setattr(store, "read_clock", lambda: now + datetime.timedelta(minutes=7))
    finding = only(run_checks([s3_endpoint(s3.url)]))
    assert (finding.is_warning, finding.check) == (True, "comparing the clocks")
    assert finding.result == "the store's clock is 7 min behind this machine's"


@pytest.mark.parametrize("kind", ["rest", "s3"])
def test_a_full_disk_is_reported(kind: str, tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        folder = mount_small_disk(tmp_path / "small", stack)
        running = stack.enter_context(serve_rest(folder) if kind == "rest" else serve_s3(folder))
        (running.folder / BUCKET).mkdir()
        endpoint = rest_endpoint(running.url) if kind == "rest" else s3_endpoint(running.url)
        assert check([endpoint]) == []
        fill(folder)
        finding = only(check([endpoint]))
        assert finding.check.startswith("writing an object in ")
        assert finding.result.startswith("the store is full: ")
        assert "HTTP 507" in finding.result


def mount_small_disk(path: Path, stack: contextlib.ExitStack) -> Path:
    path.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(path)]
    if subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("only root can mount a small disk")
    stack.callback(subprocess.run, ["umount", "-l", str(path)], check=True)
    return path


def fill(folder: Path) -> None:
    """Write until nothing more fits."""
    with contextlib.suppress(OSError), (folder / "filler").open("wb", buffering=0) as file:
        for _ in range(1000):
            file.write(b"x" * 4096)


# rest-server


def test_a_usable_server_has_no_finding_and_only_empty_folders_remain(rest: RunningStore) -> None:
    assert run_checks([rest_endpoint(rest.url), rest_endpoint(f"{rest.url}/stack/")]) == []
    assert list_objects(rest) == []
    assert {str(path.relative_to(rest.folder)) for path in rest.folder.glob("*/*/*")} == {
        "stack/database-groups-check/locks"
    }


def test_an_append_only_server_is_checked_with_a_lock(tmp_path: Path, authority: Authority, ca_file: str) -> None:
    """It deletes nothing but locks."""
    with serve_rest(tmp_path, authority.issue("localhost"), ["--append-only", "--private-repos"]) as running:
        url = f"{running.url}/{USERNAME}"
        assert run_checks([rest_endpoint(url, append_only=True, ca_file=ca_file)]) == []
        finding = only(check([rest_endpoint(url, ca_file=ca_file)]))
        assert finding.result == "the server deletes no backups, so old ones cannot be removed"
        assert "`appendOnly: true`" in finding.fix
        finding = only(check([rest_endpoint(running.url, append_only=True, ca_file=ca_file)]))
        assert finding.result == "the server rejected the login: HTTP 401 Unauthorized"
        assert "`--private-repos`" in finding.fix
        assert list_objects(running) == []


def test_a_server_that_deletes_backups_is_a_warning(rest: RunningStore) -> None:
    finding = only(run_checks([rest_endpoint(rest.url, append_only=True)]))
    assert finding.is_warning
    assert finding.result == "`appendOnly: true` is set, but the server deletes backups"


@pytest.mark.parametrize("changes", [{"password": "c4narY-which-is-long"}, {"username": "another"}], ids=str)
def test_a_rejected_login(changes: dict[str, str], rest: RunningStore) -> None:
    finding = only(check([rest_endpoint(rest.url, **changes)]))
    assert finding.result == "the server rejected the login: HTTP 401 Unauthorized"
    assert "`username` and `password`" in finding.fix


def test_a_url_with_too_many_folders(rest: RunningStore) -> None:
    finding = only(check([rest_endpoint(f"{rest.url}/a/b")]))
    assert finding.check == "writing an object in /a/b"
    assert finding.result == "the server accepts no repository in this folder: HTTP 404 Not Found"
    assert "two folders" in finding.fix


def test_a_server_that_may_not_write(rest: RunningStore) -> None:
    (rest.folder / "file").write_text("")
    finding = only(check([rest_endpoint(f"{rest.url}/file")]))
    assert finding.result == "the server cannot use its folder: HTTP 500 Internal Server Error"
    (rest.folder / "file").unlink()


# Every kind of store


def build_google_key(port: int) -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return json.dumps({**GOOGLE_KEY, "private_key": key.decode(), "token_uri": f"https://localhost:{port}/token"})


def build_endpoints(scheme: str, port: int, ca_file: str | None = None) -> dict[str, Endpoint]:
    """Build an endpoint of each kind of store at a port of localhost."""
    url = f"{scheme}://localhost:{port}"
    azure = build_azure_endpoint(
        "backupStores.offsite", account="shop", account_key="c2VjcmV0", container=BUCKET, prefix=PREFIX
    )
    google = build_google_endpoint(
        "backupStores.offsite", service_account_key=build_google_key(port), bucket=BUCKET, prefix=PREFIX
    )
    return {
        "azure": replace(azure, host="localhost", port=port, ca_file=ca_file),
        "google": replace(google, host="localhost", port=port, ca_file=ca_file),
        "rest": rest_endpoint(url, ca_file=ca_file),
        "s3": s3_endpoint(url, ca_file=ca_file),
    }


each_kind = pytest.mark.parametrize("kind", sorted(STORE_PROBES))


def test_the_tests_check_every_kind() -> None:
    assert set(build_endpoints("https", 1)) == set(STORE_PROBES)


@each_kind
def test_a_refused_connection(kind: str) -> None:
    finding = only(check([build_endpoints("https", free_port())[kind]]))
    assert finding.result == "connection refused: the host is up, but no program listens on this address and port"


@each_kind
def test_dropped_packets(kind: str) -> None:
    start = time.monotonic()
    with open_unanswering_port() as port:
        finding = only(check([build_endpoints("https", port)[kind]], 15))
    assert finding.result == "no answer: the connection timed out"
    assert "firewall" in finding.fix
    assert time.monotonic() - start < 15


@each_kind
def test_an_unknown_host(kind: str) -> None:
    endpoint = replace(build_endpoints("https", 443)[kind], host="no-such-host.invalid")
    finding = only(check([endpoint]))
    assert finding.result in ("the host name does not exist", "the DNS servers of this machine do not answer")
    assert "`host`" not in finding.fix


@pytest.mark.parametrize("host", ["s3.backups.svc", "s3.backups.svc.cluster.local"])
def test_a_service_of_the_cluster_is_a_warning(host: str) -> None:
    for endpoint in (s3_endpoint(f"http://{host}:9000"), rest_endpoint(f"http://{host}:8000")):
        finding = only(run_checks([endpoint]))
        assert (finding.is_warning, finding.check) == (True, f"resolving the host name {host}")
        assert finding.result == "not checked: only Pods can resolve the name of a Service"
    assert check([replace(s3_endpoint(f"http://{host}.invalid:9000"), host="s3.svcx.invalid")])
    assert check([Endpoint(path="it", engine="mysql", host=host, port=1)])


@each_kind
def test_a_web_server_in_the_place_of_a_store(
    kind: str, fake: MakeFake, authority: Authority, ca_file: str, tmp_path: Path
) -> None:
    pages = {"text": serve_web(), "html": serve_web(headers={"Server": "nginx/1.22", "Content-Type": "text/html"})}
    for number, handler in enumerate(pages.values()):
        folder = tmp_path / f"{number}"
        folder.mkdir()
        server = fake(wrap_in_tls(handler, authority.issue("localhost"), folder))
        finding = only(check([build_endpoints("https", server.port, ca_file)[kind]]))
        expected = "another service answers: a web server with TLS (nginx/1.22)"
        assert finding.result == expected or finding.result.startswith("Google rejected the key"), finding
        assert f"this service is not {STORE_PROBES[kind].title}" in finding.fix or kind == "google"


@each_kind
def test_a_certificate_of_another_ca(kind: str, fake: MakeFake, authority: Authority, tmp_path: Path) -> None:
    server = fake(wrap_in_tls(serve_web(), authority.issue("localhost"), tmp_path))
    finding = only(check([build_endpoints("https", server.port)[kind]]))
    assert finding.result.startswith("an unknown CA CN=Authority of a test signed the server's certificate")
    assert "`tls" not in finding.fix


@each_kind
def test_a_certificate_of_another_host(
    kind: str, fake: MakeFake, authority: Authority, ca_file: str, tmp_path: Path
) -> None:
    server = fake(wrap_in_tls(serve_web(), authority.issue("other.example.org"), tmp_path))
    finding = only(check([build_endpoints("https", server.port, ca_file)[kind]]))
    assert finding.result.startswith("the server's certificate is not valid for localhost")


def test_a_distant_store_is_usable(fake: MakeFake, authority: Authority, ca_file: str, tmp_path: Path) -> None:
    """TLS needs 1.5 seconds to start."""
    objects = wrap_in_tls(serve_objects(PREFIX, lambda _action: None), authority.issue("localhost"), tmp_path)

    def handler(connection: Any) -> None:
        time.sleep(1.5)
        objects(connection)

    assert run_checks([build_endpoints("https", fake(handler).port, ca_file)["azure"]], 15) == []


@each_kind
def test_a_store_that_hangs_is_reported_in_time(kind: str, fake: MakeFake) -> None:
    start = time.monotonic()
    finding = only(check([build_endpoints("https", fake(stay_silent).port)[kind]], 4))
    assert finding.result in ("the port accepts connections but sends no data", "no answer within 4 s") or (
        kind == "google" and finding.result.startswith("localhost does not answer as Google")
    )
    assert time.monotonic() - start < 5


@pytest.mark.parametrize(("kind", "serve", "key"), [("rest", serve_rest, "`url`"), ("s3", serve_s3, "`endpoint`")])
def test_http_and_https_are_not_confused(
    kind: str, serve: Callable[..., Any], key: str, tmp_path: Path, authority: Authority
) -> None:
    with serve(tmp_path / "a") as plain, serve(tmp_path / "b", authority.issue("localhost")) as secured:
        finding = only(check([build_endpoints("https", plain.port)[kind]]))
        assert finding.result.startswith("the server does not support TLS on this port; a web server")
        assert finding.fix == f"Enable TLS on the server, or write `http://` in {key} if you trust the network."
        finding = only(check([build_endpoints("http", secured.port)[kind]]))
        assert finding.result == f"the server accepts only TLS on this port, but {key} begins with `http://`"
        assert finding.fix == f"Write `https://` in {key}."


def test_two_kinds_of_stores_are_not_confused(s3: RunningStore, rest: RunningStore) -> None:
    assert results(check([s3_endpoint(rest.url), rest_endpoint(s3.url)])) == [
        "another service answers: a web server",
        "another service answers: a web server (VERSITYGW)",
    ]


def test_all_stores_are_reported_at_once(s3: RunningStore, rest: RunningStore) -> None:
    endpoints = [
        replace(s3_endpoint(s3.url, bucket="absent"), path="backupStores.a"),
        replace(rest_endpoint(rest.url, password="wrong-one"), path="backupStores.b"),
        replace(s3_endpoint(s3.url), path="backupStores.c"),
    ]
    assert [finding.path for finding in check(endpoints)] == ["backupStores.a", "backupStores.b"]


# Answers that only a fake gives


def answer_s3(status: str, body: str, *, from_action: str = "GET /backups?") -> Handler:
    """Run a bucket that accepts every request before an action, and then sends an answer."""
    stored: list[str] = []
    is_failing: list[bool] = []

    def answer(request: str) -> tuple[str, dict[str, str], str]:
        if request.startswith(from_action) or is_failing:
            is_failing.append(True)
            return status, {"x-amz-request-id": "1"}, body
        if request.startswith("PUT"):
            stored.append(request.partition("\r\n\r\n")[2])
            return "200 OK", {}, ""
        return "200 OK", {"x-amz-request-id": "1"}, stored[0] if stored else "<ListBucketResult />"

    return serve_pages(answer)


def test_a_written_object_has_a_checksum(fake: MakeFake) -> None:
    """Amazon S3 requires it if the bucket has object lock ("PutObject" in its API reference)."""
    seen: list[str] = []
    handler = serve_pages(lambda _request: ("200 OK", {"x-amz-request-id": "1"}, ""), seen)
    check([s3_endpoint(f"http://127.0.0.1:{fake(handler).port}")])
    (request,) = (request for request in seen if request.startswith("PUT"))
    head, _, content = request.partition("\r\n\r\n")
    digest = base64.b64encode(hashlib.md5(content.encode(), usedforsecurity=False).digest()).decode()
    assert f"content-md5: {digest}" in head


@pytest.mark.parametrize(
    ("status", "code", "result"),
    [
        ("404 Not Found", "XAdminUserNotFound", "the store does not know the access key: XAdminUserNotFound"),
        ("507 Insufficient Storage", "XMinioStorageFull", "the store is full: XMinioStorageFull (HTTP 507)"),
        ("409 Conflict", "QuotaExceeded", "the store is full: QuotaExceeded (HTTP 409)"),
        ("503 Slow Down", "SlowDown", "the store reports an internal error: SlowDown (HTTP 503)"),
        ("405 Method Not Allowed", "MethodNotAllowed", "the store rejected the request: MethodNotAllowed (HTTP 405)"),
    ],
)
def test_an_answer_of_s3_has_its_result(status: str, code: str, result: str, fake: MakeFake) -> None:
    message = f"no {CANARY} and {SECRET_KEY}"
    server = fake(answer_s3(status, S3_ERROR.format(code, message)))
    finding = only(check([s3_endpoint(f"http://127.0.0.1:{server.port}")]))
    assert finding.result.startswith(result)
    assert SECRET_KEY not in format_findings([finding])


def test_a_store_that_ends_the_connection_after_its_first_answer(fake: MakeFake) -> None:
    number = iter(range(10))

    def handler(connection: Any) -> None:
        (close if next(number) > 1 else answer_s3("200 OK", "<ListBucketResult />"))(connection)

    finding = only(check([s3_endpoint(f"http://127.0.0.1:{fake(handler).port}")]))
    assert finding.check == "writing an object in production in the bucket backups"
    assert finding.result.startswith("the store did not answer: ")


def test_a_store_that_hangs_after_its_first_answer(fake: MakeFake) -> None:
    number = iter(range(10))

    def handler(connection: Any) -> None:
        (stay_silent if next(number) > 1 else answer_s3("200 OK", "<ListBucketResult />"))(connection)

    start = time.monotonic()
    finding = only(check([s3_endpoint(f"http://127.0.0.1:{fake(handler).port}")], 2))
    assert finding.check == "writing an object in production in the bucket backups"
    assert finding.result in ("no answer within 2 s", "the store did not answer: timed out")
    assert "its log" in finding.fix
    assert time.monotonic() - start < 3


def test_no_redirect_is_followed_and_no_bucket_is_created(fake: MakeFake) -> None:
    seen: list[str] = []
    headers = {"Location": "http://169.254.169.254/", "x-amz-request-id": "1"}
    server = fake(serve_pages(lambda _request: ("307 Temporary Redirect", headers, ""), seen))
    finding = only(check([s3_endpoint(f"http://127.0.0.1:{server.port}")]))
    assert finding.result.startswith("the store rejected the request: no error code (HTTP 307)")
    assert len(seen) == 1


@pytest.mark.parametrize(
    ("url", "changes", "host", "path"),
    [
        ("https://s3.amazonaws.com", {}, "backups.s3.amazonaws.com", ""),
        ("https://s3.amazonaws.com", {"region": "eu-west-1"}, "backups.s3.eu-west-1.amazonaws.com", ""),
        ("https://s3.amazonaws.com", {"path_style": True}, "s3.amazonaws.com", "/backups"),
        ("https://s3.amazonaws.com", {"bucket": "a.b"}, "s3.amazonaws.com", "/a.b"),
        ("https://s3.example.org", {}, "s3.example.org", "/backups"),
        ("https://notamazonaws.com", {}, "notamazonaws.com", "/backups"),
    ],
)
def test_the_bucket_is_where_restic_expects_it(url: str, changes: dict[str, Any], host: str, path: str) -> None:
    endpoint = s3_endpoint(url, **changes)
    assert (endpoint.host, endpoint.port, endpoint.account["basePath"]) == (host, 443, path)


# Azure and Google: fakes that answer as their documentation describes


AZURE_ERROR = "<?xml version='1.0'?><Error><Code>{0}</Code><Message>{1}</Message></Error>"
DENIED = {"error": {"code": 403, "message": "backups@shop.example.org does not have {} access", "errors": []}}
OBJECT_ACTIONS = {"PUT": "write", "POST /upload": "write", "DELETE": "delete"}


def serve_objects(folder: str, reject: Callable[[str], tuple[str, dict[str, str], str] | None]) -> Handler:
    """Run a store of one object below a folder, unless `reject` returns an answer to an action."""
    stored: list[str] = []

    def answer(request: str) -> tuple[str, dict[str, str], str]:
        is_list = "maxresults=1" in request.lower() and f"prefix={folder}%2F" in request
        methods = [action for start, action in OBJECT_ACTIONS.items() if request.startswith(start)]
        action = methods[0] if methods else "list" if is_list else "read"
        if rejection := reject(action):
            return rejection
        if action == "write":
            stored.append(request.partition("\r\n\r\n")[2])
        if action in ("write", "list"):
            return "200 OK", {"x-ms-request-id": "1", "x-guploader-uploadid": "1"}, "{}"
        assert stored, "an object is read or deleted before it is written"
        return "200 OK", {}, stored.pop() if action == "delete" else stored[0]

    return serve_pages(answer)


@pytest.fixture
def secure_fake(
    fake: MakeFake, authority: Authority, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[Handler], int]:
    """Return a function that runs a handler behind TLS and returns its port."""

    def run(handler: Handler) -> int:
        folder = tmp_path_factory.mktemp("fake")
        return fake(wrap_in_tls(handler, authority.issue("localhost"), folder)).port

    return run


def reject_azure(action: str, status: str, code: str, message: str = "no") -> Callable[..., Any]:
    headers = {"x-ms-error-code": code, "x-ms-request-id": "1"}
    return lambda current: (status, headers, AZURE_ERROR.format(code, message)) if current == action else None


def test_a_usable_container_of_azure(secure_fake: Callable[[Handler], int], ca_file: str) -> None:
    port = secure_fake(serve_objects(PREFIX, lambda _action: None))
    assert run_checks([build_endpoints("https", port, ca_file)["azure"]]) == []


@pytest.mark.parametrize(
    ("action", "status", "code", "result", "fix"),
    [
        ("list", "404 Not Found", "ContainerNotFound", "the container backups does not exist: ", "`container`"),
        (
            "list",
            "403 Forbidden",
            "AuthenticationFailed",
            "the store rejected the key of the account: ",
            "`accountKey`",
        ),
        (
            "list",
            "403 Forbidden",
            "KeyBasedAuthenticationNotPermitted",
            "the storage account accepts no keys: ",
            "`allowSharedKeyAccess`",
        ),
        ("list", "403 Forbidden", "AuthorizationFailure", "the account may not list in the container ", "firewall"),
        ("write", "403 Forbidden", "AuthorizationFailure", "the account may not write in the container ", "firewall"),
        ("write", "503 Server Busy", "ServerBusy", "the store reports an internal error: ServerBusy", "Run again"),
        ("read", "403 Forbidden", "AuthorizationFailure", "the account may not read in the container ", "firewall"),
        ("delete", "409 Conflict", "BlobImmutableDueToPolicy", "the store rejected the request: Blob", "keys"),
    ],
)
def test_an_answer_of_azure_has_its_result(  # noqa: PLR0917 (one parameter for each column)
    action: str,
    status: str,
    code: str,
    result: str,
    fix: str,
    secure_fake: Callable[[Handler], int],
    ca_file: str,
) -> None:
    port = secure_fake(serve_objects(PREFIX, reject_azure(action, status, code, "the reason")))
    finding = only(check([build_endpoints("https", port, ca_file)["azure"]]))
    assert finding.result.startswith(result)
    assert f"{code} (HTTP {status[:3]}): the reason" in finding.result
    assert fix in finding.fix


def test_a_rejected_time_of_azure_is_reported_with_the_difference(
    secure_fake: Callable[[Handler], int], ca_file: str
) -> None:
    headers = {"x-ms-error-code": "AuthenticationFailed", "Date": "Fri, 27 Nov 2026 01:00:00 GMT"}
    body = "<Error><Message>Server failed to authenticate.\nRequestId:1</Message></Error>"
    port = secure_fake(serve_pages(lambda _request: ("403 Forbidden", headers, body)))
    finding = only(check([build_endpoints("https", port, ca_file)["azure"]]))
    assert "; the store's clock is " in finding.result
    assert "timedatectl" in finding.fix


@pytest.mark.parametrize(
    ("method", "path", "query", "length", "signature"),
    [
        (
            "GET",
            "/backups",
            {"restype": "container", "comp": "list", "maxresults": "1", "prefix": "production/"},
            0,
            "bq+f4Z7hx+zs316cfgSQIJOPUQzMDb/LgH/PE+JaXls=",
        ),
        ("PUT", "/backups/production/database-groups-check-1", {}, 64, "noIsgTvybqvo9es3MUJ+qXkf1WDOV4I8hlfLXH4XhR4="),
        (
            "DELETE",
            "/backups/production/database-groups-check-1",
            {},
            0,
            "zNM77XZGNgpmag0/SbijH/QlPgkmtKS4rAyle6jd1i4=",
        ),
    ],
    ids=["list", "write", "delete"],
)
def test_the_signature_for_azure_is_that_of_its_own_library(
    method: str, path: str, query: dict[str, str], length: int, signature: str
) -> None:
    """The signatures were calculated with azure-storage-blob 12.31.1."""
    headers = {"x-ms-date": "Fri, 27 Nov 2026 01:00:00 GMT", "x-ms-version": "2021-12-02"}
    if length:
        headers |= {"x-ms-blob-type": "BlockBlob", "content-type": "text/plain"}
    key = base64.b64encode(b"secret-of-a-test").decode()
    header = build_authorization(
        account="shop", key=key, method=method, path=path, query=query, headers=headers, length=length
    )
    assert header == f"SharedKey shop:{signature}"


def test_a_key_of_azure_that_is_no_base64(secure_fake: Callable[[Handler], int], ca_file: str) -> None:
    endpoint = build_endpoints("https", secure_fake(serve_web()), ca_file)["azure"]
    finding = only(check([replace(endpoint, account={**endpoint.account, "accountKey": "c4narY!"})]))
    assert finding.result == "`accountKey` is not a key of a storage account"


class GoogleLogin:
    """The service that exchanges signed statements for access tokens."""

    def __init__(self, status: str = "200 OK", answer: dict[str, str] | None = None) -> None:
        self.status, self.answer = status, answer or {"access_token": CANARY, "token_type": "Bearer"}
        self.requests: list[str] = []

    def __call__(self, connection: Any) -> None:
        serve_pages(lambda _request: (self.status, {}, json.dumps(self.answer)), self.requests)(connection)

    def read_statement(self) -> tuple[bytes, bytes, dict[str, Any]]:
        """Return the signed text, the signature and the claims of the first request."""
        form = parse_qs(self.requests[0].partition("\r\n\r\n")[2])
        assert form["grant_type"] == ["urn:ietf:params:oauth:grant-type:jwt-bearer"]
        text, _, signature = form["assertion"][0].rpartition(".")
        parts = [base64.urlsafe_b64decode(part + "===") for part in (*text.split("."), signature)]
        assert json.loads(parts[0]) == {"alg": "RS256", "typ": "JWT", "kid": "1"}
        return text.encode(), parts[2], json.loads(parts[1])


def google_endpoint(login: int, port: int, ca_file: str) -> Endpoint:
    """Build an endpoint of a bucket at a port, with the login at another port."""
    endpoint = build_endpoints("https", port, ca_file)["google"]
    return replace(endpoint, account={**endpoint.account, "serviceAccountKey": build_google_key(login)})


def test_a_usable_bucket_of_google(secure_fake: Callable[[Handler], int], ca_file: str) -> None:
    login, seen = GoogleLogin(), []

    def accept(action: str) -> None:
        seen.append(action)

    endpoint = google_endpoint(secure_fake(login), secure_fake(serve_objects(PREFIX, accept)), ca_file)
    assert run_checks([endpoint]) == []
    assert seen == ["list", "write", "read", "delete"]
    text, signature, claims = login.read_statement()
    key = json.loads(endpoint.account["serviceAccountKey"])
    private_key = serialization.load_pem_private_key(key["private_key"].encode(), None)
    assert isinstance(private_key, rsa.RSAPrivateKey)
    private_key.public_key().verify(signature, text, padding.PKCS1v15(), hashes.SHA256())
    assert (claims["iss"], claims["aud"]) == (GOOGLE_KEY["client_email"], key["token_uri"])
    assert claims["exp"] - claims["iat"] == 600


@pytest.mark.parametrize(
    "description",
    ["Invalid JWT Signature.", "Invalid JWT: Token must be a short-lived token. Check your iat and exp values."],
)
def test_a_login_that_google_rejects(description: str, secure_fake: Callable[[Handler], int], ca_file: str) -> None:
    login = GoogleLogin("400 Bad Request", {"error": "invalid_grant", "error_description": description})
    finding = only(check([google_endpoint(secure_fake(login), secure_fake(serve_web()), ca_file)]))
    assert finding.check == "requesting an access token from localhost"
    expected = f"Google rejected the key of the service account: invalid_grant (HTTP 400): {description}"
    assert finding.result == expected
    assert "`serviceAccountKey`" in finding.fix


@pytest.mark.parametrize(
    ("action", "status", "value", "result", "fix"),
    [
        (
            "list",
            "404 Not Found",
            {"error": {"code": 404, "message": "The specified bucket does not exist."}},
            "the bucket backups does not exist: HTTP 404: The specified",
            "`bucket`",
        ),
        ("list", "403 Forbidden", DENIED, "the service account may not list in the bucket", "storage.objects.list"),
        ("write", "403 Forbidden", DENIED, "the service account may not write in the bucket", "storage.objects.create"),
        ("read", "403 Forbidden", DENIED, "the service account may not read in the bucket", "storage.objects.get"),
        ("delete", "403 Forbidden", DENIED, "the service account may not delete in the bucket", "roles/storage.obj"),
        ("list", "401 Unauthorized", DENIED, "Google rejected the access token: HTTP 401", "`serviceAccountKey`"),
        ("write", "429 Too Many Requests", {"error": CANARY}, "the store rejected the request: HTTP 429", "keys"),
    ],
)
def test_an_answer_of_google_has_its_result(  # noqa: PLR0917 (one parameter for each column)
    action: str,
    status: str,
    value: dict[str, Any],
    result: str,
    fix: str,
    secure_fake: Callable[[Handler], int],
    ca_file: str,
) -> None:
    def reject(current: str) -> tuple[str, dict[str, str], str] | None:
        return (status, {"x-guploader-uploadid": "1"}, json.dumps(value)) if current == action else None

    bucket = secure_fake(serve_objects(PREFIX, reject))
    finding = only(check([google_endpoint(secure_fake(GoogleLogin()), bucket, ca_file)]))
    assert finding.result.startswith(result)
    assert fix in finding.fix


@pytest.mark.parametrize(
    "key", ["c4narY", "[]", "{}", json.dumps({**GOOGLE_KEY, "private_key": "c4narY", "token_uri": "x"})]
)
def test_a_key_of_google_that_is_no_key(key: str, secure_fake: Callable[[Handler], int], ca_file: str) -> None:
    endpoint = build_endpoints("https", secure_fake(serve_web()), ca_file)["google"]
    finding = only(check([replace(endpoint, account={**endpoint.account, "serviceAccountKey": key})]))
    assert finding.result == "`serviceAccountKey` is not the key of a service account"
    assert "c4narY" not in format_findings([finding])


# Hostile answers


def test_a_secret_that_a_store_repeats_is_removed(secure_fake: Callable[[Handler], int], ca_file: str) -> None:
    """The access token of Google is a secret too."""

    def reject(_action: str) -> tuple[str, dict[str, str], str]:
        return "403 Forbidden", {"x-guploader-uploadid": "1"}, json.dumps({"error": {"message": f"no {CANARY}"}})

    def repeat(request: str) -> tuple[str, dict[str, str], str]:
        code = quote(request.replace("\r\n", " "), safe=" :=/+")[-600:]
        headers = {"x-amz-request-id": "1", "x-ms-request-id": "1", "Content-Type": "text/plain"}
        return "403 Forbidden", headers, S3_ERROR.format("AccessDenied", code)

    endpoints = [google_endpoint(secure_fake(GoogleLogin()), secure_fake(serve_objects(PREFIX, reject)), ca_file)]
    stores = build_endpoints("https", secure_fake(serve_pages(repeat)), ca_file)
    endpoints += [replace(stores[kind], path=kind) for kind in ("azure", "rest", "s3")]
    endpoints.append(replace(stores["rest"], path="other", account={**stores["rest"].account, "password": CANARY}))
    findings = check(endpoints)
    assert len(findings) == len(endpoints)
    text = format_findings(findings)
    assert CANARY not in text
    assert SECRET_KEY not in text
    assert base64.b64encode(f"{USERNAME}:{CANARY}".encode()).decode() not in text
    assert "***" in findings[0].result


@each_kind
def test_an_endless_answer_is_read_with_a_limit(kind: str, secure_fake: Callable[[Handler], int], ca_file: str) -> None:
    sent: list[int] = []
    start = b"HTTP/1.1 200 OK\r\nx-amz-request-id: 1\r\nx-ms-request-id: 1\r\n"
    for head in (b"\r\n", b"x-more: "):
        port = secure_fake(send_without_end(start + head, sent))
        assert check([build_endpoints("https", port, ca_file)[kind]], 10)
    assert all(total < 2 * MAX_ANSWER_BYTES for total in sent)
