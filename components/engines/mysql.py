"""MySQL, and Percona Server, which is built from it.

A local or dedicated server runs an init file as root at every start. The file sets the password of the application's
user, on a new and on an existing volume. Root can log in only over the Pod's own socket, with a password that is new at
every start.
"""

import asyncio
from collections.abc import Callable, Sequence

import pulumi
import pulumi_mysql as mysql

from components.connection import Connection, build_uri
from components.engines.clusters.mysql import PERCONA_XTRADB_CLUSTER
from components.engines.definition import (
    Account,
    AdministratorConnection,
    Engine,
    ExistingAccount,
    Login,
    ProvisionedDatabase,
    Provisioner,
    ProvisioningRequest,
    ServerClient,
    ServerRuntime,
    Variant,
    describe_existing_account,
    read_copy_scripts,
    read_script,
)
from components.engines.settings_file import MEBIBYTE, SettingsFile, quote_json, render_assignments
from components.passwords import Password
from components.persisted.names import database_account_name
from components.spec import SettingValue

__all__ = ["MYSQL"]

PROVIDER_TLS_BY_TLS_MODE = {"disable": "false", "require": "skip-verify", "verify-full": "true"}
SSL_MODE_BY_TLS_MODE = {"disable": "DISABLED", "require": "REQUIRED", "verify-full": "VERIFY_IDENTITY"}
"""Names of MySQL's own clients (reference manual, "Connecting … Using URI-Like Strings or Key-Value Pairs")."""
ANY_HOST = "%"
ACCOUNTS_QUERY = "SELECT user, host FROM information_schema.user_attributes"
DATABASES_WITH_OBJECTS_QUERY = (
    "SELECT table_schema FROM information_schema.tables"
    " UNION SELECT routine_schema FROM information_schema.routines"
    " UNION SELECT event_schema FROM information_schema.events"
)
CREDENTIAL_PROPERTY = "plaintextPassword"
BUFFER_POOL_SHARES = ((4096, 3, 4), (1024, 1, 2), (0, 1, 6))
"""Memory in MiB, and the numerator and denominator of the buffer pool's share from that memory on.

The manual, "Enabling Automatic InnoDB Configuration for a Dedicated MySQL Server", has the table from 1 GiB on. MySQL
itself reads the node's memory.
"""
MAX_CONNECTION_LIFETIME_SECONDS = 1
"""The provider opens one connection per step and closes none. Without a limit, 40 databases use all 151 of a server."""
MAX_CONNECTIONS = 151
"""The server's own default."""
MEMORY_PER_CONNECTION_MIB = 12
"""With 768Mi, 151 connections that sorted 50,000 rows at once did not end in eight minutes; 64 ended in two."""


def _build_defaults(memory: int) -> dict[str, SettingValue]:
    """Return the buffer pool that `innodb_dedicated_server` would select, and limits of other memory."""
    size = memory // MEBIBYTE
    pool = next(
        numerator * size // denominator for limit, numerator, denominator in BUFFER_POOL_SHARES if size >= limit
    )
    return {
        "innodb_buffer_pool_size": f"{max(5, pool)}M",
        "max_connections": min(MAX_CONNECTIONS, max(1, size // MEMORY_PER_CONNECTION_MIB)),
        "temptable_max_ram": f"{max(2, size // 16)}M",
        "tmpdir": "/var/lib/mysql/tmp",
    }


def _build_uri(connection: Connection) -> str:
    return build_uri(
        "mysql",
        connection,
        connection.database or "",
        {"ssl-mode": SSL_MODE_BY_TLS_MODE[connection.tls]} if connection.tls else None,
    )


def _build_runtime(_variant: Variant, _version: str) -> ServerRuntime:
    return ServerRuntime(
        start_script=read_script("mysql", "start"),
        readiness_script=read_script("mysql", "ready"),
        change_password_script=read_script("mysql", "change_password"),
        data_path="/var/lib/mysql",
        data_sub_path="mysql",
        memory_dirs=("/var/run/mysqld",),
        scratch_dirs=("/tmp",),
        min_memory="768Mi",
        runs_init_script=True,
    )


def _create_provider(name: str, administrator: AdministratorConnection) -> pulumi.ProviderResource:
    host = f"[{administrator.host}]" if ":" in administrator.host else administrator.host
    return mysql.Provider(
        name,
        endpoint=f"{host}:{administrator.port}",
        username=administrator.username,
        password=administrator.password,
        tls=PROVIDER_TLS_BY_TLS_MODE[administrator.tls],
        max_conn_lifetime_sec=MAX_CONNECTION_LIFETIME_SECONDS,
    )


def _provision_database(
    name: str,
    request: ProvisioningRequest,
    *,
    data_opts: pulumi.ResourceOptions,
    opts: pulumi.ResourceOptions,
    depends_on: Sequence[pulumi.Resource],
) -> ProvisionedDatabase:
    (password,) = request.passwords
    recovery = _Recovery(request)
    user = mysql.User(
        f"{name}-user",
        user=request.username,
        host=ANY_HOST,
        plaintext_password=password.value,
        opts=pulumi.ResourceOptions.merge(
            pulumi.ResourceOptions.merge(data_opts, pulumi.ResourceOptions(hooks=_create_user_hooks(name, request))),
            pulumi.ResourceOptions(hooks=recovery.create_hooks(f"{name}-user", password, recovery.remove_user)),
        ),
    )
    # MySQL cannot drop a user whom a view or a routine names. The database depends on the user, so it is deleted first.
    database = mysql.Database(
        f"{name}-database",
        name=request.database,
        default_character_set="utf8mb4",
        default_collation="utf8mb4_0900_ai_ci",
        opts=pulumi.ResourceOptions.merge(
            pulumi.ResourceOptions.merge(data_opts, request.database_import),
            pulumi.ResourceOptions(
                depends_on=[user, *depends_on],
                hooks=recovery.create_hooks(f"{name}-database", password, recovery.remove_database),
                ignore_changes=["defaultCharacterSet", "defaultCollation"],
            ),
        ),
    )
    # The provider cannot revoke a grant; it ends with its user.
    grant = mysql.Grant(
        f"{name}-grant",
        database=_quote_database(request.database),
        user=user.user,
        host=ANY_HOST,
        privileges=["ALL PRIVILEGES"],
        opts=pulumi.ResourceOptions.merge(
            opts,
            pulumi.ResourceOptions(
                depends_on=[database],
                deleted_with=user,
                hooks=recovery.create_hooks(f"{name}-grant", password, recovery.remove_grant),
            ),
        ),
    )
    return ProvisionedDatabase(database=database, last_resource=grant)


def _create_user_hooks(name: str, request: ProvisioningRequest) -> pulumi.ResourceHookBinding | None:
    """Create the hook that keeps the password in use valid when the provider sets a new one."""
    client = request.client
    if client is None:
        return None

    async def retain_password(args: pulumi.ResourceHookArgs) -> None:
        inputs = ((properties or {}).get(CREDENTIAL_PROPERTY) for properties in (args.old_inputs, args.new_inputs))
        # The values of secrets are outputs.
        old, new = [str(await pulumi.Output.from_input(value).future()) for value in inputs]
        if old != new:
            login = Login(username=request.username, password=new, database=request.database)
            await asyncio.to_thread(_retain_password, client, login, old)

    return pulumi.ResourceHookBinding(before_update=[pulumi.ResourceHook(f"{name}-retain-password", retain_password)])


class _Recovery:
    """Removes what a killed update created but did not record, before the provider creates it again.

    The password of the user, which only the state has, proves the user's origin. A database of the same name is the
    stack's own if an earlier update created that user, and if it is empty.
    """

    def __init__(self, request: ProvisioningRequest) -> None:
        self.request = request
        self.is_first_update = False
        """Whether no earlier update created the user."""

    def create_hooks(
        self, name: str, password: Password, remove: Callable[[ServerClient, str], None]
    ) -> pulumi.ResourceHookBinding | None:
        """Create the hook that runs a method with the client and the password."""
        client = self.request.client
        if client is None:
            return None

        async def recover(_args: pulumi.ResourceHookArgs) -> None:
            await asyncio.to_thread(remove, client, str(await password.value.future()))

        return pulumi.ResourceHookBinding(before_create=[pulumi.ResourceHook(f"{name}-recover", recover)])

    def remove_user(self, client: ServerClient, password: str) -> None:
        """Drop the user. Raises pulumi.RunError for a user of others."""
        username = self.request.username
        if (username, ANY_HOST) not in client.run(ACCOUNTS_QUERY):
            self.is_first_update = True
            return
        if not client.can_log_in(Login(username=username, password=password, database="")):
            raise pulumi.RunError(describe_existing_account("user", username, "username"))
        client.run(f"DROP USER {_format_account(username)}")

    def remove_database(self, client: ServerClient, _password: str) -> None:
        """Drop the database. Raises pulumi.RunError for a database of others, or with data."""
        database = self.request.database
        if (database,) not in client.run("SHOW DATABASES"):
            return
        if self.is_first_update or (database,) in client.run(DATABASES_WITH_OBJECTS_QUERY):
            raise pulumi.RunError(describe_existing_account("database", database, "database"))
        client.run(f"DROP DATABASE `{database}`")

    def remove_grant(self, client: ServerClient, _password: str) -> None:
        """Revoke a grant that the state does not have: the provider rejects an existing one."""
        account, database = _format_account(self.request.username), _quote_database(self.request.database)
        if any(f" ON {database}.* " in str(row[0]) for row in client.run(f"SHOW GRANTS FOR {account}")):
            client.run(f"REVOKE ALL PRIVILEGES ON {database}.* FROM {account}")


def _format_account(username: str) -> str:
    return f"'{username}'@'{ANY_HOST}'"


def _quote_database(database: str) -> str:
    """Return a database in the syntax of a grant, in which an unescaped `_` matches any character."""
    return "`" + database.replace("_", r"\_") + "`"


def _retain_password(client: ServerClient, new: Login, old_password: str) -> None:
    """Let the user's old password remain valid next to the one that the provider will set.

    The first statement retains the current password, which is another one if an earlier update was killed. The second
    statement leaves the old one in both places. The provider then replaces the current password only.
    """
    if not client.can_log_in(new):
        retain = f"ALTER USER {_format_account(new.username)} IDENTIFIED BY '{old_password}' RETAIN CURRENT PASSWORD"
        client.run(retain, retain, secrets=[old_password])


MYSQL = Engine(
    name="mysql",
    port=3306,
    variants=(
        Variant(
            name="mysql",
            image="docker.io/library/mysql",
            supported_series=("8.0", "8.4", "9.7"),
            default_version="8.4",
            run_as_user=999,
        ),
        Variant(
            name="percona",
            image="docker.io/percona/percona-server",
            supported_series=("8.0", "8.4"),
            default_version="8.4",
            run_as_user=1001,
        ),
    ),
    build_uri=_build_uri,
    build_account=lambda application, group: Account(
        username=database_account_name(application, group), database=database_account_name(application, group)
    ),
    build_runtime=_build_runtime,
    cluster=PERCONA_XTRADB_CLUSTER,
    reserved_names_pattern=r"(information|performance)_schema|mysql|mysql_(audit|innodb_cluster.*|option|rest_service_metadata|tasks)|ndbinfo|root|sys",
    max_username_length=32,
    max_database_name_length=64,
    # In the provider's connection string a colon ends the user name.
    provisioner=Provisioner(
        create_provider=_create_provider,
        provision_database=_provision_database,
        forbidden_username_characters=":",
    ),
    copy_scripts=read_copy_scripts(
        "mysql",
        has_connect=True,
        limits="users, privileges, definers (the new user replaces them), objects that the user cannot see, and the"
        " digits of `FLOAT` values after the sixth",
    ),
    supports_database_url=True,
    settings_file=SettingsFile(
        build_defaults=_build_defaults,
        render=lambda values: (
            "[mysqld]\n" + render_assignments(values, sign=" = ", true="ON", false="OFF", quote=quote_json)
        ),
        reserved_names=frozenset(
            {
                "admin_address",
                "admin_port",
                "bind_address",
                "datadir",
                "enable_skip_networking",
                "mysqlx_bind_address",
                "mysqlx_port",
                "init_file",
                "innodb_data_home_dir",
                "innodb_log_group_home_dir",
                "innodb_undo_directory",
                "log_raw",
                "pid_file",
                "port",
                "skip_grant_tables",
                "skip_networking",
                "socket",
                "user",
            }
        ),
        normalize_name=lambda name: name.lower().replace("-", "_").removeprefix("loose_"),
    ),
    supports_tls_in_uri=True,
    existing_account=ExistingAccount(required=("database", "username", "password")),
)
