"""PostgreSQL.

A server of ours has a superuser without a password, who is let in over the Pod's own socket and nowhere else; the application is
an ordinary role that owns its database. On an external server the administrator is made a member of the application's role: without
that an administrator who is no superuser revokes PUBLIC's right to connect in vain, and without an error.
"""

from collections.abc import Sequence

import pulumi
import pulumi_postgresql as postgresql

from components.connection import Connection, url
from components.engines.engine import Account, Administrator, Engine, Flavour, Provisioning, Software, Tenant
from components.engines.settings import Settings, assignments
from components.names import account_name

__all__ = ["POSTGRESQL"]

CONNECT_SECONDS = 15
VOLUME_MOVED_IN = 18
"""From this major version on the image keeps its data a level higher, in a folder of the version (its documentation, "PGDATA")."""


def _quoted(value: str) -> str:
    """A value as postgresql.conf has it ("Setting Parameters", 19.1.1 of its documentation)."""
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"


def _uri(connection: Connection) -> str:
    return url("postgresql", connection, connection.database or "", {"sslmode": connection.tls} if connection.tls else None)


def _software(flavour: Flavour, version: str) -> Software:
    major = int(version.split(".", maxsplit=1)[0])
    volume = "/var/lib/postgresql" if major >= VOLUME_MOVED_IN else "/var/lib/postgresql/data"
    return Software(
        # The image asks for a password for the superuser; it gets one that nobody knows, and loses it again in `started`.
        start=f"""\
#!/bin/sh
set -eu
POSTGRES_PASSWORD=$(head -c 32 /dev/urandom | base64)
export POSTGRES_PASSWORD POSTGRES_DB="$APPLICATION_DATABASE"
printf "include '%s/postgresql.conf'\\ninclude '/etc/database-groups/settings'\\n" "$PGDATA" > /tmp/postgresql.conf
exec docker-entrypoint.sh {flavour.command} -c config_file=/tmp/postgresql.conf
""",
        # The server of the image's first initialisation listens on the socket alone, so what answers over TCP is the final one.
        started="""\
#!/bin/sh
set -eu
until pg_isready --quiet --host=127.0.0.1; do sleep 0.2; done
exec psql --no-psqlrc --quiet --set=ON_ERROR_STOP=1 --username=postgres --dbname=postgres <<'STATEMENTS'
SET log_statement = 'none';
SET log_min_error_statement = 'panic';
\\getenv username APPLICATION_USERNAME
\\getenv password APPLICATION_PASSWORD
\\getenv database APPLICATION_DATABASE
SELECT format('CREATE ROLE %I', :'username') WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'username') \\gexec
ALTER ROLE :"username" WITH LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD :'password';
SELECT format('CREATE DATABASE %I OWNER %I', :'database', :'username') WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'database') \\gexec
ALTER DATABASE :"database" OWNER TO :"username";
REVOKE ALL ON DATABASE :"database" FROM PUBLIC;
ALTER ROLE postgres PASSWORD NULL;
STATEMENTS
""",
        ready="""\
#!/bin/sh
set -eu
PGCONNECT_TIMEOUT=5 PGPASSWORD=$APPLICATION_PASSWORD exec psql --no-psqlrc --quiet --no-password \\
    --host="$POD_IP" --username="$APPLICATION_USERNAME" --dbname="$APPLICATION_DATABASE" --command='SELECT 1' >/dev/null
""",
        data=volume,
        scratch=("/var/run/postgresql", "/tmp"),
        environment={"PGDATA": f"{volume}/{major}/docker" if major >= VOLUME_MOVED_IN else f"{volume}/pgdata"},
        memory="256Mi",
        init="/docker-entrypoint-initdb.d/init.sql",
    )


def _provider(name: str, administrator: Administrator) -> pulumi.ProviderResource:
    return postgresql.Provider(
        name,
        host=administrator.host,
        port=administrator.port,
        sslmode=administrator.tls,
        sslrootcert=administrator.ca,
        username=administrator.username,
        password=administrator.password,
        superuser=False,
        connect_timeout=CONNECT_SECONDS,
    )


def _provision(
    name: str, tenant: Tenant, *, durable: pulumi.ResourceOptions, plain: pulumi.ResourceOptions, after: Sequence[pulumi.Resource]
) -> pulumi.Resource:
    role = postgresql.Role(f"{name}-role", name=tenant.username, login=True, password=tenant.password, opts=durable)
    membership = postgresql.GrantRole(
        f"{name}-membership",
        role=tenant.administrator,
        grant_role=role.name,
        # From PostgreSQL 16 on whoever creates a role has the option already, and it is read back.
        opts=pulumi.ResourceOptions.merge(plain, pulumi.ResourceOptions(ignore_changes=["withAdminOption"])),
    )
    database = postgresql.Database(
        f"{name}-database",
        name=tenant.database,
        owner=role.name,
        # Each of the ignored ones would replace the database. Databases of a server are made one after the other: the provider
        # holds a lock in one connection while it waits for another, and many at once wait for ever.
        opts=pulumi.ResourceOptions.merge(
            durable,
            pulumi.ResourceOptions(depends_on=[membership, *after], ignore_changes=["encoding", "lcCollate", "lcCtype", "template", "tablespaceName"]),
        ),
    )
    closed = postgresql.Grant(
        f"{name}-closed",
        database=database.name,
        role="public",
        object_type="database",
        privileges=[],
        opts=pulumi.ResourceOptions.merge(plain, pulumi.ResourceOptions(depends_on=[membership])),
    )
    last: pulumi.Resource = closed
    for extension in tenant.extensions:
        last = postgresql.Extension(
            f"{name}-extension-{extension}",
            name=extension,
            database=database.name,
            opts=pulumi.ResourceOptions.merge(plain, pulumi.ResourceOptions(depends_on=[last])),
        )
    return database


POSTGRESQL = Engine(
    name="postgresql",
    port=5432,
    flavours=(Flavour(name="postgresql", image="docker.io/library/postgres", series=("15", "16", "17", "18"), version="17", uid=999, command="postgres"),),
    uri=_uri,
    account=lambda application, group: Account(username=account_name(application, group), database=account_name(application, group)),
    software=_software,
    username_limit=63,
    database_limit=63,
    provisioning=Provisioning(provider=_provider, provision=_provision, reserved=r"postgres|public|template[01]|pg_.*", extensions=True),
    relational=True,
    settings=Settings(
        render=lambda values: assignments(values, sign=" = ", true="on", false="off", quote=_quoted),
        owned=frozenset(
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
    tls=True,
    given={"database": True, "username": True, "password": True},
)
