"""GlusterFS.

On an external server, the usual case, the application receives the address and the volume's name, or a volume claim of
a StorageClass that creates volumes there. The server of a local or dedicated group keeps its brick on a volume claim.
It is the only server that must run as root.
"""

from components.connection import Connection, build_uri
from components.engines.definition import Account, Engine, ExistingAccount, ServerRuntime, Variant, read_script
from components.engines.settings_file import SettingsFile, render_assignments
from components.persisted.names import database_account_name

__all__ = ["GLUSTERFS"]

RESERVED_SETTINGS = {
    "auth.allow",
    "auth.reject",
    "auth.ssl-allow",
    "client.ssl",
    "config.transport",
    "features.read-only",
    "features.worm",
    "server.ssl",
    "transport.address-family",
}
CAPABILITIES = (
    "SYS_ADMIN",
    "DAC_OVERRIDE",
    "CHOWN",
    "FOWNER",
    "FSETID",
)
"""A brick needs SYS_ADMIN for its attributes (`trusted.*`), the others for owners and modes of its clients' files."""


def _build_uri(connection: Connection) -> str:
    return build_uri(
        "glusterfs",
        Connection(engine=connection.engine, provider=connection.provider, host=connection.host),
        connection.engine_keys["volume"],
    )


def _build_runtime(_variant: Variant, _version: str) -> ServerRuntime:
    return ServerRuntime(
        start_script=read_script("glusterfs", "start"),
        post_start_script=read_script("glusterfs", "started"),
        readiness_script=read_script("glusterfs", "ready"),
        data_path="/data",
        scratch_dirs=("/run", "/var/lib/glusterd", "/var/log/glusterfs", "/tmp"),
        min_memory="256Mi",
        capabilities=CAPABILITIES,
    )


GLUSTERFS = Engine(
    name="glusterfs",
    port=24007,
    variants=(
        Variant(name="glusterfs", image=None, supported_series=("10", "11"), default_version="11", run_as_user=0),
    ),
    build_uri=_build_uri,
    build_account=lambda application, group: Account(engine_keys={"volume": database_account_name(application, group)}),
    build_runtime=_build_runtime,
    settings_file=SettingsFile(
        render=lambda values: render_assignments(values, sign=" = ", true="on", false="off"),
        reserved_names=frozenset(RESERVED_SETTINGS),
    ),
    copy_obstacle="only root can copy files with their owners, and Pod Security `restricted` forbids root",
    credential_key=None,
    existing_account=ExistingAccount(required=("volume",)),
    supports_external_volume=True,
    mount_path=lambda group: f"/var/lib/glusterfs/{group}",
)
