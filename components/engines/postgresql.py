"""PostgreSQL.

A local or dedicated server has a superuser without a password, who can log in only over the Pod's own socket. The
application is an ordinary role that owns its database. On an external server the program grants the application's role
to the administrator. Otherwise the administrator, if not a superuser, cannot revoke PUBLIC's right to connect, and
receives no error.

On an external server a password has two accounts. The owner is the first one. The second one is a member of the owner
and assumes the owner's role at each login, so both own the same objects. A change sets the password of the account that
is not in use. docs/decisions/0012 gives the reasons.
"""

import asyncio
import base64
import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import replace

import pulumi
import pulumi_postgresql as postgresql

from components.connection import Connection, build_uri
from components.engines.clusters.postgresql import CLOUDNATIVE_PG
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
from components.engines.settings_file import MEBIBYTE, SettingsFile, render_assignments
from components.passwords import Password
from components.persisted.names import database_account_name, second_account_name, second_account_resource_name
from components.spec import SettingValue

__all__ = ["POSTGRESQL"]

CONNECT_TIMEOUT_SECONDS = 15
SCRAM_ITERATIONS = 4096
"""The server's own number (documentation, 20.3.1 "scram_iterations")."""
SCRAM_SALT_BYTES = 16
MAINTENANCE_DATABASE = "postgres"
OBJECTS_QUERY = """
SELECT (SELECT count(*) FROM pg_class WHERE oid >= 16384)
    + (SELECT count(*) FROM pg_proc WHERE oid >= 16384)
    + (SELECT count(*) FROM pg_type WHERE oid >= 16384)
    + (SELECT count(*) FROM pg_namespace WHERE oid >= 16384)
    + (SELECT count(*) FROM pg_extension WHERE oid >= 16384)
    + (SELECT count(*) FROM pg_largeobject_metadata)
"""
"""Counts the objects that users created in a database. The server's own have smaller numbers (access/transam.h)."""
LOCK_TIMEOUT = "SET lock_timeout = '3s'"
"""Limit of the wait for an object that a transaction of the application uses. Other transactions wait behind it."""
MAX_CONNECTIONS = 100
"""The server's own default."""
MEMORY_PER_CONNECTION_MIB = 8
"""With 256Mi, a connection that sorts uses 4 MiB. The rest is for shared buffers, parallel workers and page tables."""
FIRST_MAJOR_WITH_PARENT_VOLUME = 18
"""From this major version on, the image stores its data in a folder of the version (page of the image, "PGDATA")."""


def _quote_setting(value: str) -> str:
    """Return a value in the syntax of postgresql.conf (documentation, 19.1.1 "Parameter Names and Values")."""
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"


def _build_defaults(memory: int) -> dict[str, SettingValue]:
    """Return the settings that the documentation derives from the memory (19.4.1 "Memory", 19.7.2)."""
    size = memory // MEBIBYTE
    return {
        "shared_buffers": f"{max(1, size // 4)}MB",
        "effective_cache_size": f"{max(1, size // 2)}MB",
        "maintenance_work_mem": f"{min(2047, max(4, size // 16))}MB",
        "work_mem": f"{max(1, size // 512)}MB",
        "max_connections": min(MAX_CONNECTIONS, max(10, size // MEMORY_PER_CONNECTION_MIB)),
    }


def _build_uri(connection: Connection) -> str:
    return build_uri(
        "postgresql", connection, connection.database or "", {"sslmode": connection.tls} if connection.tls else None
    )


def _build_runtime(_variant: Variant, version: str) -> ServerRuntime:
    major = int(version.split(".", maxsplit=1)[0])
    volume = "/var/lib/postgresql" if major >= FIRST_MAJOR_WITH_PARENT_VOLUME else "/var/lib/postgresql/data"
    return ServerRuntime(
        start_script=read_script("postgresql", "start"),
        readiness_script=read_script("postgresql", "ready"),
        change_password_script=read_script("postgresql", "change_password"),
        data_path=volume,
        memory_dirs=("/var/run/postgresql",),
        scratch_dirs=("/tmp",),
        shares_memory=True,
        env={"PGDATA": f"{volume}/{major}/docker" if major >= FIRST_MAJOR_WITH_PARENT_VOLUME else f"{volume}/pgdata"},
        min_memory="256Mi",
        runs_init_script=True,
    )


def _create_provider(name: str, administrator: AdministratorConnection) -> pulumi.ProviderResource:
    return postgresql.Provider(
        name,
        host=administrator.host,
        port=administrator.port,
        sslmode=administrator.tls,
        sslrootcert=administrator.ca_file,
        username=administrator.username,
        password=administrator.password,
        superuser=False,
        connect_timeout=CONNECT_TIMEOUT_SECONDS,
    )


def _provision_database(
    name: str,
    request: ProvisioningRequest,
    *,
    data_opts: pulumi.ResourceOptions,
    opts: pulumi.ResourceOptions,
    depends_on: Sequence[pulumi.Resource],
) -> ProvisionedDatabase:
    password, *other_passwords = request.passwords
    hooks = _create_reassign_hooks(name, request) if other_passwords else None
    role = postgresql.Role(
        f"{name}-role",
        name=request.username,
        login=True,
        password=_build_verifier(password),
        opts=pulumi.ResourceOptions.merge(
            pulumi.ResourceOptions.merge(data_opts, request.user_import),
            pulumi.ResourceOptions.merge(
                pulumi.ResourceOptions(hooks=hooks),
                pulumi.ResourceOptions(hooks=_create_role_hooks(f"{name}-role", request, request.username, password)),
            ),
        ),
    )
    membership = _grant_to_administrator(f"{name}-membership", request, role, opts)
    accounts: list[pulumi.Resource] = [membership]
    for other in other_passwords:
        second_name, second_username = (
            second_account_resource_name(f"{name}-role"),
            second_account_name(request.username),
        )
        second = postgresql.Role(
            second_name,
            name=second_username,
            login=True,
            password=_build_verifier(other),
            roles=[role.name],
            assume_role=role.name,
            opts=pulumi.ResourceOptions.merge(
                pulumi.ResourceOptions.merge(data_opts, pulumi.ResourceOptions(hooks=hooks)),
                pulumi.ResourceOptions(hooks=_create_role_hooks(second_name, request, second_username, other)),
            ),
        )
        # Without it, an administrator that is not a superuser can neither end the account's sessions nor reassign
        # what it owns.
        accounts.append(
            _grant_to_administrator(second_account_resource_name(f"{name}-membership"), request, second, opts)
        )
    database = postgresql.Database(
        f"{name}-database",
        name=request.database,
        owner=role.name,
        # A change of an ignored property would replace the database. The databases of a server are created one by one:
        # the provider holds a lock in one connection while it waits for another one, so parallel ones deadlock.
        opts=pulumi.ResourceOptions.merge(
            pulumi.ResourceOptions.merge(data_opts, request.database_import),
            pulumi.ResourceOptions(
                depends_on=[*accounts, *depends_on],
                hooks=_create_database_hooks(name, request),
                ignore_changes=["encoding", "lcCollate", "lcCtype", "template", "tablespaceName"],
            ),
        ),
    )
    public_revoked = postgresql.Grant(
        f"{name}-public-revoked",
        database=database.name,
        role="public",
        object_type="database",
        privileges=[],
        opts=pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(depends_on=[membership])),
    )
    previous_resource: pulumi.Resource = public_revoked
    for extension in request.extensions:
        previous_resource = postgresql.Extension(
            f"{name}-extension-{extension}",
            name=extension,
            database=database.name,
            opts=pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(depends_on=[previous_resource])),
        )
    return ProvisionedDatabase(database=database, last_resource=public_revoked)


def _grant_to_administrator(
    name: str, request: ProvisioningRequest, role: postgresql.Role, opts: pulumi.ResourceOptions
) -> postgresql.GrantRole:
    return postgresql.GrantRole(
        name,
        role=request.administrator,
        grant_role=role.name,
        # From PostgreSQL 16 on the role's creator already has this option, and the provider reads it back.
        opts=pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(ignore_changes=["withAdminOption"])),
    )


def _build_verifier(password: Password) -> pulumi.Output[str]:
    """Return what the server stores. The password itself would be in its log and in its statistics."""
    return pulumi.Output.secret(pulumi.Output.all(password.value, password.salt).apply(lambda both: _hash(*both)))


def _hash(password: str, salt_source: str) -> str:
    """Return the SCRAM-SHA-256 verifier of a password (RFC 5803; documentation, 53.8 "pg_authid").

    The salt comes from the state: with another salt Pulumi would find another password at each update.
    """
    salt = hashlib.sha256(salt_source.encode()).digest()[:SCRAM_SALT_BYTES]
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, SCRAM_ITERATIONS)
    stored_key = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server_key = hmac.digest(salted, b"Server Key", "sha256")
    encoded = [base64.b64encode(value).decode() for value in (salt, stored_key, server_key)]
    return f"SCRAM-SHA-256${SCRAM_ITERATIONS}:{encoded[0]}${encoded[1]}:{encoded[2]}"


def _create_reassign_hooks(name: str, request: ProvisioningRequest) -> pulumi.ResourceHookBinding | None:
    """Create the hook that gives the owner what the second account owns, before a password changes."""
    client = request.client
    if client is None:
        return None

    async def reassign(_args: pulumi.ResourceHookArgs) -> None:
        await asyncio.to_thread(_reassign_objects, client, request.username, request.database)

    return pulumi.ResourceHookBinding(before_update=[pulumi.ResourceHook(f"{name}-reassign", reassign)])


def _reassign_objects(client: ServerClient, owner: str, database: str) -> None:
    """Give the owner what the second account created without the owner's role (`SET ROLE NONE`)."""
    second = second_account_name(owner)
    client.run(LOCK_TIMEOUT, f'REASSIGN OWNED BY "{second}" TO "{owner}"', database=database)


def _create_role_hooks(
    name: str, request: ProvisioningRequest, username: str, password: Password
) -> pulumi.ResourceHookBinding | None:
    """Create the hook that removes a role of a killed update before the provider creates it again."""
    client = request.client
    if client is None:
        return None

    async def recover(_args: pulumi.ResourceHookArgs) -> None:
        login = Login(username=username, password=str(await password.value.future()), database=request.database)
        await asyncio.to_thread(_remove_unrecorded_role, client, login)

    return pulumi.ResourceHookBinding(before_create=[pulumi.ResourceHook(f"{name}-recover", recover)])


def _remove_unrecorded_role(client: ServerClient, login: Login) -> None:
    """Drop a role that the state does not have. Its password, which only the state has, proves its origin.

    The server drops no role that owns an object. Raises pulumi.RunError for a role of others.
    """
    if (login.username,) not in client.run("SELECT rolname FROM pg_roles"):
        return
    logins = (replace(login, database=database) for database in (login.database, MAINTENANCE_DATABASE))
    if not any(client.can_log_in(attempt) for attempt in logins):
        raise pulumi.RunError(describe_existing_account("role", login.username, "username"))
    client.run(f'DROP ROLE "{login.username}"')


def _create_database_hooks(name: str, request: ProvisioningRequest) -> pulumi.ResourceHookBinding | None:
    """Create the hook that removes a database of a killed update before the provider creates it again."""
    client = request.client
    if client is None:
        return None

    async def recover(_args: pulumi.ResourceHookArgs) -> None:
        await asyncio.to_thread(_remove_unrecorded_database, client, request.username, request.database)

    return pulumi.ResourceHookBinding(before_create=[pulumi.ResourceHook(f"{name}-database-recover", recover)])


def _remove_unrecorded_database(client: ServerClient, owner: str, database: str) -> None:
    """Drop an empty database of the application's role that the state does not have.

    The role is the stack's own: otherwise its creation would have failed. Raises pulumi.RunError for a database of
    others, or with data.
    """
    owners = dict(client.run("SELECT datname, pg_get_userbyid(datdba) FROM pg_database"))
    if database not in owners:
        return
    if owners[database] != owner or client.run(OBJECTS_QUERY, database=database) != [(0,)]:
        raise pulumi.RunError(describe_existing_account("database", database, "database"))
    client.run(f'DROP DATABASE "{database}"')


POSTGRESQL = Engine(
    name="postgresql",
    port=5432,
    variants=(
        Variant(
            name="postgresql",
            image="docker.io/library/postgres",
            supported_series=("15", "16", "17", "18"),
            default_version="17",
            release_parts=2,
            run_as_user=999,
        ),
    ),
    build_uri=_build_uri,
    build_account=lambda application, group: Account(
        username=database_account_name(application, group), database=database_account_name(application, group)
    ),
    build_runtime=_build_runtime,
    cluster=CLOUDNATIVE_PG,
    reserved_names_pattern=r"postgres|public|template[01]|pg_.*",
    max_username_length=63,
    max_database_name_length=63,
    provisioner=Provisioner(
        create_provider=_create_provider,
        provision_database=_provision_database,
        supports_extensions=True,
        accounts_take_turns=True,
    ),
    copy_scripts=read_copy_scripts(
        "postgresql",
        has_connect=True,
        limits="roles, privileges, comments of extensions, and what `ALTER DATABASE` and `ALTER ROLE` set",
    ),
    supports_database_url=True,
    settings_file=SettingsFile(
        build_defaults=_build_defaults,
        render=lambda values: render_assignments(values, sign=" = ", true="on", false="off", quote=_quote_setting),
        reserved_names=frozenset(
            {
                "config_file",
                "data_directory",
                "external_pid_file",
                "hba_file",
                "ident_file",
                "include",
                "include_dir",
                "include_if_exists",
                "listen_addresses",
                "port",
                "unix_socket_directories",
            }
        ),
    ),
    supports_tls_in_uri=True,
    existing_account=ExistingAccount(required=("database", "username", "password")),
)
