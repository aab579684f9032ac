"""The backup stores that the groups of a stack use, for the checks before an update."""

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

from components.application import ApplicationArgs
from components.copies.repository import Repository
from components.copies.stores import AzureStoreSpec, GoogleStoreSpec, RestStoreSpec, S3StoreSpec
from components.tls import CaBundleFile
from preflight.cluster_models import RequiredClaim
from preflight.models import Endpoint
from preflight.stores import build_azure_endpoint, build_google_endpoint, build_rest_endpoint, build_s3_endpoint
from stacks.config import Stack
from stacks.errors import Location, format_path

__all__ = ["list_store_claims", "list_store_endpoints"]


def list_store_endpoints(stack: Stack) -> Iterator[Endpoint]:
    """Yield every store that a group uses and that this machine can reach, once."""
    for name in dict.fromkeys(name for _, _, name in _list_uses(stack)):
        store = stack.spec.backup_stores[name]
        if build := BUILDERS.get(type(store)):
            yield build(format_path(_get_location(name)), store)


def list_store_claims(stack: Stack) -> Iterator[RequiredClaim]:
    """Yield the volume claim of each store in each namespace in which a group uses it."""
    for application, repository, name in _list_uses(stack):
        if claim := repository.access.claim:
            yield RequiredClaim(name=claim, namespace=application.namespace, location=_get_location(name))


def _list_uses(stack: Stack) -> Iterator[tuple[ApplicationArgs, Repository, str]]:
    """Yield the application, the repository and the name of the store of each backup that is written or read."""
    for application in stack.applications:
        for group in application.database_groups:
            if group.repository and group.backup_store:
                yield application, group.repository, group.backup_store
            if group.source_repository and group.source_store:
                yield application, group.source_repository, group.source_store


def _get_location(name: str) -> Location:
    return ("backupStores", name)


def _build_s3(path: str, store: S3StoreSpec) -> Endpoint:
    return build_s3_endpoint(
        path,
        url=store.endpoint,
        bucket=store.bucket,
        prefix=store.prefix,
        region=store.region,
        path_style=store.path_style,
        access_key=store.access_key,
        secret_key=store.secret_key.get_secret_value(),
        ca_file=_get_path(store.ca_file),
    )


def _build_azure(path: str, store: AzureStoreSpec) -> Endpoint:
    return build_azure_endpoint(
        path,
        account=store.account,
        account_key=store.account_key.get_secret_value(),
        container=store.container,
        prefix=store.prefix,
    )


def _build_google(path: str, store: GoogleStoreSpec) -> Endpoint:
    key = store.service_account_key.get_secret_value()
    return build_google_endpoint(path, service_account_key=key, bucket=store.bucket, prefix=store.prefix)


def _build_rest(path: str, store: RestStoreSpec) -> Endpoint:
    return build_rest_endpoint(
        path,
        url=store.url,
        username=store.username,
        password=store.password.get_secret_value(),
        append_only=store.append_only,
        ca_file=_get_path(store.ca_file),
    )


def _get_path(ca_file: CaBundleFile | None) -> str | None:
    return ca_file.path if ca_file else None


BUILDERS: Mapping[type, Callable[[str, Any], Endpoint]] = MappingProxyType(
    {AzureStoreSpec: _build_azure, GoogleStoreSpec: _build_google, RestStoreSpec: _build_rest, S3StoreSpec: _build_s3}
)
"""How to build the endpoint of each kind of store. The cluster check covers the others."""
