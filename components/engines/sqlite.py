"""SQLite: a file on a volume, for development. It has no server, no Service and no password."""

from urllib.parse import quote

from components.connection import Connection
from components.engines.definition import Account, Engine, Variant
from components.persisted.names import database_account_name

__all__ = ["SQLITE"]

DATA_ROOT = "/var/lib/sqlite"
"""Folder in the application's Pods. The volume of a group is mounted in its subfolder with the group's name."""


def _mount_path(group: str) -> str:
    return f"{DATA_ROOT}/{group}"


def _build_uri(connection: Connection) -> str:
    return f"sqlite:///{quote(connection.engine_keys['path'])}"


def _build_account(application: str, group: str) -> Account:
    return Account(engine_keys={"path": f"{_mount_path(group)}/{database_account_name(application, group)}.db"})


SQLITE = Engine(
    name="sqlite",
    port=None,
    variants=(Variant(name="sqlite", image=None, supported_series=(), default_version="", run_as_user=0),),
    build_uri=_build_uri,
    build_account=_build_account,
    build_runtime=None,
    copy_obstacle="only the application knows the user that owns the file",
    credential_key=None,
    mount_path=_mount_path,
    supports_database_url=True,
)
