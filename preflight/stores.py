"""The endpoints of backup stores: the address that restic uses, and the account to check."""

from collections.abc import Mapping
from urllib.parse import SplitResult, urlsplit

from preflight.models import AddressKeys, Endpoint, TlsMode

__all__ = ["build_azure_endpoint", "build_google_endpoint", "build_rest_endpoint", "build_s3_endpoint"]

PORTS = {"http": 80, "https": 443}
TLS_MODES: Mapping[str, TlsMode] = {"http": "disable", "https": "verify-full"}
HANDSHAKE_SECONDS, LOGIN_SECONDS = 5, 10
"""A store may be on another continent."""
HTTPS = urlsplit("https://")
AMAZON = "amazonaws.com"
HOST_STYLE_DOMAINS = (f".{AMAZON}", ".googleapis.com", ".aliyuncs.com")
"""Services at which restic writes the bucket's name in the host name, unless the bucket's name has a dot."""


def build_s3_endpoint(
    path: str,
    *,
    url: str,
    bucket: str,
    prefix: str,
    region: str | None,
    path_style: bool,
    access_key: str,
    secret_key: str,
    ca_file: str | None,
) -> Endpoint:
    """Build the endpoint of a bucket of S3. `path` is the path of the store in the stack file."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if host == f"s3.{AMAZON}" and region:
        host = f"s3.{region}.{AMAZON}"
    is_in_host = not path_style and "." not in bucket and host.endswith(HOST_STYLE_DOMAINS)
    account = {"bucket": bucket, "prefix": prefix, "accessKey": access_key, "secretKey": secret_key}
    account |= {"basePath": "" if is_in_host else f"/{bucket}", **({"region": region} if region else {})}
    host = f"{bucket}.{host}" if is_in_host else host
    keys = AddressKeys(host="`endpoint`", port="`endpoint`", tls=False, in_cluster=True)
    return _build_endpoint(path, "s3", host=host, account=account, keys=keys, url=parts, ca_file=ca_file)


def build_azure_endpoint(path: str, *, account: str, account_key: str, container: str, prefix: str) -> Endpoint:
    """Build the endpoint of a container of Azure Blob Storage."""
    values = {"account": account, "accountKey": account_key, "container": container, "prefix": prefix}
    host = f"{account}.blob.core.windows.net"
    keys = AddressKeys(host="`account`", port="`account`", tls=False)
    return _build_endpoint(path, "azure", host=host, account=values, keys=keys)


def build_google_endpoint(path: str, *, service_account_key: str, bucket: str, prefix: str) -> Endpoint:
    """Build the endpoint of a bucket of Google Cloud Storage."""
    values = {"serviceAccountKey": service_account_key, "bucket": bucket, "prefix": prefix}
    keys = AddressKeys(tls=False, is_fixed=True)
    return _build_endpoint(path, "google", host="storage.googleapis.com", account=values, keys=keys)


def build_rest_endpoint(
    path: str, *, url: str, username: str, password: str, append_only: bool, ca_file: str | None
) -> Endpoint:
    """Build the endpoint of a rest-server."""
    parts = urlsplit(url)
    account = {"username": username, "password": password, "basePath": parts.path.rstrip("/")}
    account |= {"appendOnly": "true"} if append_only else {}
    host = parts.hostname or ""
    keys = AddressKeys(host="`url`", port="`url`", tls=False, in_cluster=True)
    return _build_endpoint(path, "rest", host=host, account=account, keys=keys, url=parts, ca_file=ca_file)


def _build_endpoint(
    path: str,
    kind: str,
    *,
    host: str,
    account: Mapping[str, str],
    keys: AddressKeys,
    url: SplitResult = HTTPS,
    ca_file: str | None = None,
) -> Endpoint:
    """Build an endpoint with the scheme and the port of a URL."""
    return Endpoint(
        path=path,
        engine=kind,
        host=host,
        port=url.port or PORTS[url.scheme],
        tls=TLS_MODES[url.scheme],
        ca_file=ca_file,
        account=account,
        keys=keys,
        subject="backup store",
        handshake_seconds=HANDSHAKE_SECONDS,
        login_seconds=LOGIN_SECONDS,
    )
