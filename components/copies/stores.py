"""The stores of backups: where restic keeps its repositories, and with which credentials.

Each group has a repository of its own in the store, with a password of its own. The Secret of one group does not open
the backups of another one.
"""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal, Protocol
from urllib.parse import urlsplit

from pydantic import Field, SecretStr

from components.engines.clusters.definition import ACCESS_KEY_ENTRY, SECRET_KEY_ENTRY, Bucket
from components.spec import DnsLabel, NonEmptyStr, SecretText, SpecModel, StrictBool, constrain_str
from components.tls import CaBundleFile

__all__ = [
    "CLAIM_PATH",
    "AzureStoreSpec",
    "ClaimStoreSpec",
    "GoogleStoreSpec",
    "RestStoreSpec",
    "S3StoreSpec",
    "Store",
    "StoreAccess",
    "StoreSpec",
    "build_repository_password",
]

CLAIM_PATH = "/backups"
CA_ENTRY = "RESTIC_CACERT"
AMAZON_ENDPOINT, AMAZON_DOMAIN = "https://s3.amazonaws.com", ".amazonaws.com"
DEFAULT_REGION = "us-east-1"
"""The region of stores that have none."""
URL_MESSAGE = "invalid URL{value}; write the scheme and the host, for example `https://s3.example.org`"
PORT_PATTERN = "[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]"
SERVICE_PATTERN = rf"https?://[A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?(:({PORT_PATTERN}))?"
ServiceUrl = Annotated[str, *constrain_str(rf"{SERVICE_PATTERN}/?", 253, "store_url", URL_MESSAGE)]
FolderUrl = Annotated[str, *constrain_str(rf"{SERVICE_PATTERN}(/[-A-Za-z0-9._~]+)*/?", 253, "store_url", URL_MESSAGE)]
BUCKET_MESSAGE = "invalid name{value}; use 3 to 63 lower-case letters, digits, '.', '_' and '-'"
BucketName = Annotated[str, *constrain_str(r"[a-z0-9][-a-z0-9._]{1,61}[a-z0-9]", 63, "bucket", BUCKET_MESSAGE)]
PREFIX_MESSAGE = "invalid prefix{value}; use letters, digits, '.', '_', '-' and single '/', for example `production`"
Prefix = Annotated[
    str, *constrain_str(r"([A-Za-z0-9_][-A-Za-z0-9._]*(/[A-Za-z0-9_][-A-Za-z0-9._]*)*)?", 200, "prefix", PREFIX_MESSAGE)
]


@dataclass(frozen=True, kw_only=True)
class StoreAccess:
    """How restic reaches a repository."""

    repository: str
    """Repository in restic's syntax (restic's documentation, "Preparing a new repository")."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """Environment variables without secrets."""
    credentials: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Environment variables with secrets, or that belong to them."""
    files: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Content of files, by the variable that holds the path of the file."""
    options: str = ""
    """Further options of restic."""
    claim: str | None = None
    """Volume claim that is mounted at CLAIM_PATH."""


class Store(Protocol):
    """What every kind of store has."""

    @property
    def repository_password(self) -> SecretStr:
        """Password from which the password of each repository is derived."""

    @property
    def is_append_only(self) -> bool:
        """Whether the store rejects the deletion of backups."""

    def build_access(self, path: str) -> StoreAccess:
        """Return the access to a repository. `path` is its path below the prefix."""

    def find_bucket(self, path: str) -> Bucket | None:
        """Return a folder for other programs than restic. None: the store has no bucket of S3."""

    @property
    def is_region_missing(self) -> bool:
        """Whether restic requests the region from the store, which other programs cannot."""


class _StoreSpec(SpecModel):
    """Keys of every store."""

    repository_password: SecretText
    """Password that encrypts the backups. Keep it outside the cluster: without it, no backup can be read."""

    @property
    def is_append_only(self) -> bool:
        """Whether the store rejects the deletion of backups."""
        return False

    @property
    def is_region_missing(self) -> bool:
        """Whether restic requests the region from the store, which other programs cannot."""
        return False

    def find_bucket(self, _path: str) -> Bucket | None:
        """Return a folder for other programs than restic. None: the store has no bucket of S3."""
        return None


class S3StoreSpec(_StoreSpec):
    """A bucket of S3, or of a store with the same protocol."""

    kind: Literal["s3"]
    """Kind of store: `s3`, `azure`, `google`, `rest` or `claim`."""
    endpoint: ServiceUrl = AMAZON_ENDPOINT
    """URL of the service. Default: `https://s3.amazonaws.com`."""
    bucket: BucketName
    """Name of the bucket. It must exist."""
    prefix: Prefix = ""
    """Folder of this stack in the bucket. Default: the top of the bucket."""
    region: NonEmptyStr | None = None
    """Region of the bucket. Default: restic requests it from the service."""
    path_style: StrictBool = False
    """Whether the bucket's name is in the path of URLs, not in the host name. Default: restic chooses by the host."""
    ca_file: CaBundleFile | None = None
    """Path of a PEM file with the CA certificates that sign the service's certificate. Default: the system's CAs."""
    access_key: NonEmptyStr
    """Id of the access key. It needs the rights to list the bucket, and to read, write and delete objects."""
    secret_key: SecretText
    """Secret of the access key. Encrypt it: `pulumi config set --secret --path`."""

    def build_access(self, path: str) -> StoreAccess:
        """Return the access to a repository."""
        return StoreAccess(
            repository=f"s3:{self.endpoint.rstrip('/')}/{_join(self.bucket, self.prefix, path)}",
            variables={"AWS_DEFAULT_REGION": self.region} if self.region else {},
            credentials={
                ACCESS_KEY_ENTRY: self.access_key,
                SECRET_KEY_ENTRY: self.secret_key.get_secret_value(),
            },
            files={CA_ENTRY: self.ca_file.pem} if self.ca_file else {},
            options="-o s3.bucket-lookup=path" if self.path_style else "",
        )

    @property
    def is_region_missing(self) -> bool:
        """Whether restic requests the region from the store, which other programs cannot."""
        return self._is_amazon and self.region is None

    def find_bucket(self, path: str) -> Bucket:
        """Return a folder for other programs than restic."""
        return Bucket(
            name=self.bucket,
            folder=_join(self.prefix, path),
            endpoint=None if self._is_amazon else self.endpoint.rstrip("/"),
            region=self.region or DEFAULT_REGION,
            is_path_style=self.path_style or not self._is_amazon,
            ca_entry=CA_ENTRY if self.ca_file else None,
        )

    @property
    def _is_amazon(self) -> bool:
        return (urlsplit(self.endpoint).hostname or "").endswith(AMAZON_DOMAIN)


class AzureStoreSpec(_StoreSpec):
    """A container of Azure Blob Storage."""

    kind: Literal["azure"]
    """Kind of store: `s3`, `azure`, `google`, `rest` or `claim`."""
    account: NonEmptyStr
    """Name of the storage account."""
    account_key: SecretText
    """Key of the storage account. Encrypt it: `pulumi config set --secret --path`."""
    container: BucketName
    """Name of the container. It must exist."""
    prefix: Prefix = ""
    """Folder of this stack in the container. Default: the top of the container."""

    def build_access(self, path: str) -> StoreAccess:
        """Return the access to a repository."""
        credentials = {"AZURE_ACCOUNT_NAME": self.account, "AZURE_ACCOUNT_KEY": self.account_key.get_secret_value()}
        return StoreAccess(repository=f"azure:{self.container}:/{_join(self.prefix, path)}", credentials=credentials)


class GoogleStoreSpec(_StoreSpec):
    """A bucket of Google Cloud Storage."""

    kind: Literal["google"]
    """Kind of store: `s3`, `azure`, `google`, `rest` or `claim`."""
    bucket: BucketName
    """Name of the bucket. It must exist."""
    prefix: Prefix = ""
    """Folder of this stack in the bucket. Default: the top of the bucket."""
    service_account_key: SecretText
    """Key of a service account: the JSON file on one line. Encrypt it: `pulumi config set --secret --path`."""

    def build_access(self, path: str) -> StoreAccess:
        """Return the access to a repository."""
        return StoreAccess(
            repository=f"gs:{self.bucket}:/{_join(self.prefix, path)}",
            files={"GOOGLE_APPLICATION_CREDENTIALS": self.service_account_key.get_secret_value()},
        )


class RestStoreSpec(_StoreSpec):
    """A rest-server."""

    kind: Literal["rest"]
    """Kind of store: `s3`, `azure`, `google`, `rest` or `claim`."""
    url: FolderUrl
    """URL of the server, with the user's folder if the server has private repositories."""
    username: NonEmptyStr
    """User name on the server."""
    password: SecretText
    """Password on the server. Encrypt it: `pulumi config set --secret --path`."""
    ca_file: CaBundleFile | None = None
    """Path of a PEM file with the CA certificates that sign the server's certificate. Default: the system's CAs."""
    append_only: StrictBool = False
    """Whether the server runs with `--append-only`. The program then deletes no old backups. Default: `false`."""

    @property
    def is_append_only(self) -> bool:
        """Whether the store rejects the deletion of backups."""
        return self.append_only

    def build_access(self, path: str) -> StoreAccess:
        """Return the access to a repository."""
        # The server accepts two folders at most, and `url` can have the user's folder.
        return StoreAccess(
            repository=f"rest:{self.url.rstrip('/')}/{path.replace('/', '.')}/",
            credentials={
                "RESTIC_REST_USERNAME": self.username,
                "RESTIC_REST_PASSWORD": self.password.get_secret_value(),
            },
            files={CA_ENTRY: self.ca_file.pem} if self.ca_file else {},
        )


class ClaimStoreSpec(_StoreSpec):
    """A volume claim, which must exist in the namespace of each application."""

    kind: Literal["claim"]
    """Kind of store: `s3`, `azure`, `google`, `rest` or `claim`."""
    claim: DnsLabel
    """Name of the PersistentVolumeClaim. Pods on several nodes need the access mode `ReadWriteMany`."""

    def build_access(self, path: str) -> StoreAccess:
        """Return the access to a repository."""
        return StoreAccess(repository=f"{CLAIM_PATH}/{path}", claim=self.claim)


StoreSpec = Annotated[
    S3StoreSpec | AzureStoreSpec | GoogleStoreSpec | RestStoreSpec | ClaimStoreSpec, Field(discriminator="kind")
]


def build_repository_password(store: Store, path: str) -> str:
    """Return the password of a group's repository: HMAC-SHA256 of its path with the store's password, in hex."""
    key = store.repository_password.get_secret_value().encode()
    return hmac.new(key, path.encode(), hashlib.sha256).hexdigest()


def _join(*parts: str) -> str:
    return "/".join(part for part in parts if part)
