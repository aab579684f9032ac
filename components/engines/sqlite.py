"""SQLite: a file on a volume, for development. There is no server, no Service and no password."""

from urllib.parse import quote

from components.connection import Connection
from components.engines.engine import Account, Engine, Flavour
from components.names import account_name

__all__ = ["SQLITE"]

FOLDER = "/var/lib/sqlite"
"""Where the application's Pods are to mount the volume of a group: here, in a folder of the group's name."""


def _folder(group: str) -> str:
    return f"{FOLDER}/{group}"


def _uri(connection: Connection) -> str:
    return f"sqlite:///{quote(connection.extra['path'])}"


def _account(application: str, group: str) -> Account:
    return Account(extra={"path": f"{_folder(group)}/{account_name(application, group)}.db"})


SQLITE = Engine(
    name="sqlite",
    port=None,
    flavours=(Flavour(name="sqlite", image=None, series=(), version="", uid=0),),
    uri=_uri,
    account=_account,
    software=None,
    credential=None,
    mount=_folder,
    given={},
    relational=True,
)
