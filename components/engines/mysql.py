"""MySQL, and Percona Server, which is built from it.

A server of ours runs the statements of an init file as root at every start, which gives the application's user its password on a
new and on a kept volume alike. Root is let in over the Pod's own socket alone, with a password that is new at every start.
"""

from collections.abc import Sequence

import pulumi
import pulumi_mysql as mysql

from components.connection import Connection, url
from components.engines.engine import Account, Administrator, Engine, Flavour, Provisioning, Software, Tenant
from components.engines.settings import Settings, assignments, words
from components.names import account_name

__all__ = ["MYSQL"]

PROVIDER_TLS = {"disable": "false", "require": "skip-verify", "verify-full": "true"}
SSL_MODES = {"disable": "DISABLED", "require": "REQUIRED", "verify-full": "VERIFY_IDENTITY"}
"""As MySQL's own clients name them (its reference manual, 6.2.5 "Connecting to the Server Using URI-Like Strings or Key-Value Pairs")."""
ANY_HOST = "%"
IDLE_SECONDS = 1
"""The provider opens a connection for every step and closes none: without a limit, 40 databases take all 151 of a server."""


def _uri(connection: Connection) -> str:
    return url("mysql", connection, connection.database or "", {"ssl-mode": SSL_MODES[connection.tls]} if connection.tls else None)


def _software(flavour: Flavour, _version: str) -> Software:
    return Software(
        # On an empty volume the image's entrypoint sets root's password itself, and needs to find none until then.
        # In a grant `_` stands for any character unless it is escaped.
        start=f"""\
#!/bin/sh
set -eu
umask 077
MYSQL_ROOT_PASSWORD=$(head -c 32 /dev/urandom | base64)
export MYSQL_ROOT_PASSWORD MYSQL_ROOT_HOST=localhost MYSQL_DATABASE="$APPLICATION_DATABASE"
pattern=$(printf %s "$APPLICATION_DATABASE" | sed 's/_/\\\\_/g')
cat > /var/run/mysqld/init.sql <<STATEMENTS
CREATE DATABASE IF NOT EXISTS \\`$APPLICATION_DATABASE\\` CHARACTER SET utf8mb4;
CREATE USER IF NOT EXISTS '$APPLICATION_USERNAME'@'%';
ALTER USER '$APPLICATION_USERNAME'@'%' IDENTIFIED BY '$APPLICATION_PASSWORD';
GRANT ALL PRIVILEGES ON \\`$pattern\\`.* TO '$APPLICATION_USERNAME'@'%';
STATEMENTS
if [ -d /var/lib/mysql/mysql ]; then
    echo "ALTER USER 'root'@'localhost' IDENTIFIED BY '$MYSQL_ROOT_PASSWORD';" >> /var/run/mysqld/init.sql
fi
printf '[client]\\nuser="root"\\npassword="%s"\\n' "$MYSQL_ROOT_PASSWORD" > /var/run/mysqld/root.cnf
printf '[client]\\nuser="%s"\\npassword="%s"\\n' "$APPLICATION_USERNAME" "$APPLICATION_PASSWORD" > /var/run/mysqld/application.cnf
exec docker-entrypoint.sh {flavour.command} --defaults-extra-file=/etc/database-groups/settings --init-file=/var/run/mysqld/init.sql
""",
        ready="""\
#!/bin/sh
set -eu
exec mysql --defaults-file=/var/run/mysqld/application.cnf --connect-timeout=5 --protocol=TCP --host="$POD_IP" \\
    --database="$APPLICATION_DATABASE" --execute='SELECT 1' >/dev/null
""",
        data="/var/lib/mysql",
        data_folder="mysql",
        scratch=("/var/run/mysqld", "/tmp"),
        memory="768Mi",
        init="/docker-entrypoint-initdb.d/init.sql",
    )


def _provider(name: str, administrator: Administrator) -> pulumi.ProviderResource:
    host = f"[{administrator.host}]" if ":" in administrator.host else administrator.host
    return mysql.Provider(
        name,
        endpoint=f"{host}:{administrator.port}",
        username=administrator.username,
        password=administrator.password,
        tls=PROVIDER_TLS[administrator.tls],
        max_conn_lifetime_sec=IDLE_SECONDS,
    )


def _provision(
    name: str, tenant: Tenant, *, durable: pulumi.ResourceOptions, plain: pulumi.ResourceOptions, after: Sequence[pulumi.Resource]
) -> pulumi.Resource:
    user = mysql.User(f"{name}-user", user=tenant.username, host=ANY_HOST, plaintext_password=tenant.password, opts=durable)
    # MySQL refuses to drop a user whom a view or a routine still names, so the database, which waits for the user, goes first.
    database = mysql.Database(
        f"{name}-database",
        name=tenant.database,
        default_character_set="utf8mb4",
        default_collation="utf8mb4_0900_ai_ci",
        opts=pulumi.ResourceOptions.merge(
            durable, pulumi.ResourceOptions(depends_on=[user, *after], ignore_changes=["defaultCharacterSet", "defaultCollation"])
        ),
    )
    # In a grant `_` stands for any character unless it is escaped. The provider cannot revoke a grant; it ends with its user.
    mysql.Grant(
        f"{name}-grant",
        database="`" + tenant.database.replace("_", r"\_") + "`",
        user=user.user,
        host=ANY_HOST,
        privileges=["ALL PRIVILEGES"],
        opts=pulumi.ResourceOptions.merge(plain, pulumi.ResourceOptions(depends_on=[database], deleted_with=user)),
    )
    return database


MYSQL = Engine(
    name="mysql",
    port=3306,
    flavours=(
        Flavour(name="mysql", image="docker.io/library/mysql", series=("8.0", "8.4", "9.7"), version="8.4", uid=999, command="mysqld"),
        Flavour(name="percona", image="docker.io/percona/percona-server", series=("8.0", "8.4"), version="8.4", uid=1001, command="mysqld"),
    ),
    uri=_uri,
    account=lambda application, group: Account(username=account_name(application, group), database=account_name(application, group)),
    software=_software,
    username_limit=32,
    database_limit=64,
    # In the connection string that the provider makes, a colon begins the password.
    provisioning=Provisioning(
        provider=_provider, provision=_provision, reserved=r"(information|performance)_schema|mysql|mysql_.*|ndbinfo|root|sys", unsafe_in_username=":"
    ),
    relational=True,
    settings=Settings(
        render=lambda values: "[mysqld]\n" + assignments(values, sign=" = ", true="ON", false="OFF", quote=words),
        owned=frozenset(
            {
                "admin_address",
                "admin_port",
                "bind_address",
                "datadir",
                "enable_skip_networking",
                "mysqlx_bind_address",
                "mysqlx_port",
                "init_file",
                "pid_file",
                "port",
                "skip_grant_tables",
                "skip_networking",
                "socket",
                "user",
            }
        ),
        normal=lambda name: name.lower().replace("-", "_").removeprefix("loose_"),
    ),
    tls=True,
    given={"database": True, "username": True, "password": True},
)
