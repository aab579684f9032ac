"""The edits of `stacks/changes.py` as functions, for one deployed stack. A test holds that both tables are the same."""

from collections.abc import Callable
from typing import Any, NamedTuple

from stacks.changes import CHANGES, Change

Config = dict[str, Any]
Edit = Callable[[Config], Any]

SHOP, ONLY, DEV, TWO, GUESTS, OWN, WORK = (
    f"d-{name}" for name in ("shop", "only", "dev", "two", "guests", "own", "work")
)
HOST, GUEST, MOVED, NAMED, RELATIONAL = "d-host", "d-guest", "d-moved", "d-named", "d-rel"
ADDRESS, OTHER_ADDRESS = "10.5.120.104", "10.5.120.105"
CA_FILE = "stacks/d-ca.pem"
ACCOUNT = {"username": "old", "password": "of-a-test"}


def existing(**keys: Any) -> Config:
    """Return a MySQL server with an existing account."""
    return {"server": {"kind": "external", "host": [ADDRESS], "database": "old", **ACCOUNT, **keys}}


def dedicated(**keys: Any) -> Config:
    return {"server": {"kind": "dedicated", "storage": "1Gi", **keys}}


def provisioned(server: str, **keys: Any) -> Config:
    return {"server": {"kind": "external", "provisionOn": server, **keys}}


def unprotected(group: Config) -> Config:
    return {"protect": False, **group}


def build_stack(servers: Config) -> Config:
    """Return the stack before all edits. `servers` are the entries `pg` and `my` of `externalServers`."""
    unused = {"engine": "mysql", "host": "unused.example.org", "administrator": {"username": "a", "password": "b"}}
    influxdb = {"host": [ADDRESS], "token": "of-a-test", "org": "old", "bucket": "old"}
    many = {name: unprotected(dedicated()) for name in ("a", "b", "c", "d", "e")}
    return {
        "environment": "production",
        "preflight": False,
        "databaseNodes": {
            "tolerations": [{"key": "node-role", "operator": "Equal", "value": "old", "effect": "NoExecute"}]
        },
        "externalServers": {**servers, "unused": unused, "spare": unused},
        "applications": {
            SHOP: {
                "databaseUrl": "postgresql.main",
                "databases": {
                    "postgresql": {"main": provisioned("pg")},
                    "mysql": {"own": {"primary": True, **dedicated(initScript="SELECT 1")}, "old": existing()},
                    "redis": {"main": dedicated(), "small": {"server": {"kind": "local", "storage": "1Gi"}}},
                    "influxdb": {"main": {"server": {"kind": "external", **influxdb}}},
                    "rabbitmq": {"main": {"server": {"kind": "external", "host": [ADDRESS], **ACCOUNT}}},
                    "glusterfs": {
                        "main": {"server": {"kind": "external", "host": [ADDRESS], "volume": "old"}},
                        "disk": {
                            "server": {
                                "kind": "external",
                                "host": [ADDRESS],
                                "volume": "old",
                                "storage": "1Gi",
                                "storageClass": "standard",
                            }
                        },
                    },
                },
            },
            ONLY: {"databases": {"mysql": {"main": provisioned("my")}}},
            NAMED: {"databases": {"redis": {"main": dedicated()}}},
            TWO: {"databases": {"redis": {"a": unprotected(dedicated()), "b": dedicated()}}},
            DEV: {
                "protect": False,
                "databases": {"redis": {**many, "f": {"primary": True, **dedicated()}}, "mysql": {"main": dedicated()}},
            },
            HOST: {"protect": False, "databases": {"redis": {"main": dedicated()}}},
            GUEST: {
                "protect": False,
                "namespace": HOST,
                "createNamespace": False,
                "databases": {"mysql": {"main": dedicated()}},
            },
            MOVED: {"protect": False, "databases": {"redis": {"main": dedicated()}}},
            OWN: {"protect": "retain", "databases": {"redis": {"main": dedicated()}}},
            GUESTS: {"protect": False, "databases": {"redis": {"main": dedicated()}}},
            WORK: {
                "createNamespace": False,
                "workloads": [{"kind": "Deployment", "name": "web", "containers": ["web"]}],
                "databases": {"redis": {"main": {"server": {"kind": "external", "host": [ADDRESS]}}}},
            },
        },
    }


def databases(config: Config, application: str = SHOP) -> Config:
    found: Config = config["applications"][application]["databases"]
    return found


def set_key(*path: Any, value: Any) -> Edit:
    """Return an edit that sets a key anywhere in the stack file."""

    def edit(config: Config) -> None:
        node: Any = config
        for step in path[:-1]:
            node = node[step]
        node[path[-1]] = value

    return edit


def remove_key(*path: Any) -> Edit:
    def edit(config: Config) -> None:
        node: Any = config
        for step in path[:-1]:
            node = node[step]
        node.pop(path[-1])

    return edit


def rename_key(*path: Any, to: str, **added: Any) -> Edit:
    def edit(config: Config) -> None:
        node: Any = config
        for step in path[:-1]:
            node = node[step]
        node[to] = {**node.pop(path[-1]), **added}

    return edit


def set_application(application: str, key: str, value: Any) -> Edit:
    return set_key("applications", application, key, value=value)


def set_group(engine: str, group: str, key: str, value: Any, application: str = SHOP) -> Edit:
    return set_key("applications", application, "databases", engine, group, key, value=value)


def set_server(engine: str, group: str, key: str, value: Any, application: str = SHOP) -> Edit:
    return set_key("applications", application, "databases", engine, group, "server", key, value=value)


def set_toleration(key: str, value: Any) -> Edit:
    return set_key("databaseNodes", "tolerations", 0, key, value=value)


def combine(*edits: Edit) -> Edit:
    def edit(config: Config) -> None:
        for one in edits:
            one(config)

    return edit


def set_environment(config: Config) -> None:
    """Change to development, and write `protect` where production required nothing else."""
    config["environment"] = "development"


COPIES = "tests/stacks/test_copies.py"
BACKUPS = "tests/stacks/test_backups.py"
CLUSTERS = "tests/e2e/test_postgresql_cluster.py and tests/stacks/test_clusters.py"
TESTED_ELSEWHERE = {
    "StatefulSetServerSpec.replicas: more servers of a cluster": CLUSTERS,
    "StatefulSetServerSpec.replicas: fewer servers of a cluster": CLUSTERS,
    "StatefulSetServerSpec.replicas: fewer servers of an engine that cannot remove any": CLUSTERS,
    "StatefulSetServerSpec.durability": CLUSTERS,
    "StatefulSetServerSpec.tls": CLUSTERS,
    "ExternalKindSpec.adopt: of a new group": "tests/e2e/test_adoption.py",
    "AdministratorSpec.username: who cannot, on PostgreSQL 16 and later": "tests/preflight/test_postgresql.py",
    "DatabaseGroupSpec.from: added": COPIES,
    "DatabaseGroupSpec.from: removed": COPIES,
    "CopySpec.group: with the same `run`": COPIES,
    "CopySpec.backup: with the same `run`": COPIES,
    "CopySpec.store: with the same `run`": COPIES,
    "CopySpec.run: higher": COPIES,
    "CopySpec.run: lower": COPIES,
    "CopySpec.overwrite: with a higher `run`": COPIES,
    "CopySpec.overwrite: with the same `run`": COPIES,
    "CopySpec.timeoutMinutes": COPIES,
    "DatabaseGroupSpec.backup": BACKUPS,
    **{f"{model}.{key}": BACKUPS for model in ("StoreSpec", "BackupSpec", "KeepSpec") for key in CHANGES[model]},
}
"""Changes that another test applies: the servers themselves decide about the outcome, or a Job has to run."""


def is_tested(name: str, change: Change) -> bool:
    """Return whether a change has an edit here. Changes that refer to others have none."""
    return name not in TESTED_ELSEWHERE and not change.effect.startswith("See ")


class Row(NamedTuple):
    """An edit, and the path in the message of a rejection or the text of a warning."""

    edit: Edit
    message: str = ""


APPLICATION = f"applications.{SHOP}"
GROUP = f"{APPLICATION}.databases"
MYSQL_OLD, INFLUXDB, DISK = f"{GROUP}.mysql.old", f"{GROUP}.influxdb.main", f"{GROUP}.glusterfs.disk"

ROWS: dict[str, Row] = {
    # Edits that are rejected come first: the deployed stack stays as it is.
    "Applications.removed: protected": Row(remove_key("applications", SHOP), f"{APPLICATION}: "),
    "Applications.removed: whose namespace another application uses": Row(
        remove_key("applications", HOST), f"applications.{HOST}: the edit would delete the namespace"
    ),
    "Applications.renamed: protected": Row(rename_key("applications", SHOP, to="d-store"), f"{APPLICATION}: "),
    "Groups.added: next to an only group, protected": Row(
        lambda config: databases(config, ONLY)["mysql"].update(more=dedicated()),
        f"applications.{ONLY}.databases.mysql.main: the Service 'mysql'",
    ),
    "Groups.added: of a second relational engine, protected": Row(
        lambda config: databases(config, ONLY).update(postgresql={"main": dedicated()}),
        f"applications.{ONLY}: DATABASE_URL",
    ),
    "Groups.removed: protected": Row(
        remove_key("applications", SHOP, "databases", "redis", "main"), f"{GROUP}.redis.main: removing"
    ),
    "Groups.removed: whose removal renames another Service": Row(
        remove_key("applications", TWO, "databases", "redis", "a"),
        f"applications.{TWO}.databases.redis.b: the Service 'redis-b'",
    ),
    "Groups.renamed: with `renamedFrom`, protected": Row(
        rename_key("applications", NAMED, "databases", "redis", "main", to="first", renamedFrom="main"),
        f"applications.{NAMED}.databases.redis.first: REDIS_MAIN_ADDRESS",
    ),
    "Groups.renamed: without `renamedFrom`, protected": Row(
        rename_key("applications", NAMED, "databases", "redis", "main", to="first"),
        f"applications.{NAMED}.databases.redis.main: removing",
    ),
    "External servers.removed: with groups": Row(
        remove_key("externalServers", "pg"), f"{GROUP}.postgresql.main.server.provisionOn: "
    ),
    "External servers.renamed: with groups": Row(
        combine(
            rename_key("externalServers", "pg", to="other"),
            set_server("postgresql", "main", "provisionOn", "other"),
        ),
        f"{GROUP}.postgresql.main.server.provisionOn: ",
    ),
    "StackSpec.environment: to `development`, without `protect`": Row(set_environment, f"{APPLICATION}: `protect` was"),
    "ExternalServerSpec.engine: with groups": Row(
        set_key("externalServers", "pg", "engine", value="mysql"), f"{GROUP}.postgresql.main.server.provisionOn: "
    ),
    "ApplicationSpec.namespace: protected": Row(
        set_application(SHOP, "namespace", "d-store"), f"{APPLICATION}.namespace: "
    ),
    "ApplicationSpec.createNamespace: to `false`": Row(
        set_application(SHOP, "createNamespace", False), f"{APPLICATION}.createNamespace: "
    ),
    "ApplicationSpec.createNamespace: to `true`": Row(
        set_application(WORK, "createNamespace", True), f"applications.{WORK}.createNamespace: "
    ),
    "ApplicationSpec.protect: key removed, where the default is weaker": Row(
        combine(remove_key("applications", OWN, "protect"), set_environment),
        f"applications.{OWN}: `protect` was retain",
    ),
    "ApplicationSpec.databaseUrl: removed, protected": Row(
        remove_key("applications", SHOP, "databaseUrl"), f"{APPLICATION}: DATABASE_URL"
    ),
    "DatabaseGroupSpec.primary: at no group, protected": Row(
        set_group("mysql", "own", "primary", False), f"{GROUP}.mysql.own: the Service 'mysql'"
    ),
    "DatabaseGroupSpec.renamedFrom: alone": Row(
        set_group("redis", "main", "renamedFrom", "other"), f"{GROUP}.redis.main.renamedFrom: "
    ),
    "DatabaseGroupSpec.variant: of a server in the cluster": Row(
        set_group("mysql", "own", "variant", "percona"), f"{GROUP}.mysql.own.variant: "
    ),
    "DatabaseGroupSpec.protect: key removed, where the default is weaker": Row(
        combine(set_environment, set_application(SHOP, "protect", False)),
        f"applications.{ONLY}: `protect` was true",
    ),
    "StatefulSetServerSpec.kind: to `external` or from it, protected": Row(
        set_group("redis", "main", "server", {"kind": "external", "host": [ADDRESS]}),
        f"{GROUP}.redis.main.server.kind: ",
    ),
    "StatefulSetServerSpec.version: of another series": Row(
        set_server("mysql", "own", "version", "9.7"), f"{GROUP}.mysql.own.server.version: "
    ),
    "StatefulSetServerSpec.storage: smaller": Row(
        set_server("redis", "main", "storage", "500Mi"), f"{GROUP}.redis.main.server.storage: "
    ),
    "StatefulSetServerSpec.storageClass": Row(
        set_server("redis", "main", "storageClass", "other"), f"{GROUP}.redis.main.server.storageClass: "
    ),
    "StatefulSetServerSpec.initScript: added or changed": Row(
        set_server("mysql", "own", "initScript", "SELECT 2"), f"{GROUP}.mysql.own.server.initScript: "
    ),
    "ExternalKindSpec.kind: to `external` or from it, protected": Row(
        set_group("mysql", "old", "server", {"kind": "dedicated"}), f"{MYSQL_OLD}.server.kind: "
    ),
    "ExternalKindSpec.provisionOn: another server": Row(
        set_server("mysql", "main", "provisionOn", "unused", ONLY),
        f"applications.{ONLY}.databases.mysql.main.server.provisionOn: ",
    ),
    "ExternalKindSpec.provisionOn: added or removed, protected": Row(
        set_group("mysql", "old", "server", provisioned("my")["server"]), f"{MYSQL_OLD}.server.provisionOn: "
    ),
    "ExternalKindSpec.database: with `provisionOn`": Row(
        set_server("postgresql", "main", "database", "d_other"), f"{GROUP}.postgresql.main.server.database: "
    ),
    "ExternalKindSpec.username: with `provisionOn`": Row(
        set_server("postgresql", "main", "username", "d_other"), f"{GROUP}.postgresql.main.server.username: "
    ),
    "ExternalKindSpec.storageClass": Row(
        set_server("glusterfs", "disk", "storageClass", "other"), f"{DISK}.server.storageClass: "
    ),
    "ExternalKindSpec.storage: smaller": Row(
        set_server("glusterfs", "disk", "storage", "1Mi"), f"{DISK}.server.storage: "
    ),
    # Edits in place. Each one stays in the stack file.
    "Applications.added": Row(
        lambda config: config["applications"].update({"d-new": {"databases": {"redis": {"main": dedicated()}}}})
    ),
    "Groups.added": Row(lambda config: databases(config)["redis"].update(new=dedicated())),
    "External servers.added": Row(
        set_key("externalServers", "new", value={**build_stack({})["externalServers"]["unused"], "host": "10.0.0.9"})
    ),
    "External servers.removed: without groups": Row(remove_key("externalServers", "spare")),
    "Workloads.added": Row(
        lambda config: config["applications"][WORK]["workloads"].append({"kind": "Deployment", "name": "api"})
    ),
    "Workloads.removed": Row(lambda config: config["applications"][WORK]["workloads"].pop()),
    "NodePoolSpec.nodeSelector": Row(set_key("databaseNodes", "nodeSelector", value={"type": "kwok"})),
    "NodePoolSpec.tolerations": Row(set_key("databaseNodes", "tolerations", value=[{"key": "d", "value": "a"}])),
    "StackSpec.databaseNodes": Row(
        lambda config: config["databaseNodes"]["tolerations"].append({"key": "e", "operator": "Exists"})
    ),
    "TolerationSpec.key": Row(set_toleration("key", "f")),
    "TolerationSpec.value": Row(set_toleration("value", "b")),
    "TolerationSpec.effect": Row(set_toleration("effect", "NoExecute")),
    "TolerationSpec.tolerationSeconds": Row(set_toleration("tolerationSeconds", 60)),
    "TolerationSpec.operator": Row(
        lambda config: config["databaseNodes"]["tolerations"].append({"key": "g", "operator": "Exists"})
    ),
    "ExternalServerSpec.host": Row(set_key("externalServers", "pg", "host", value="127-0-0-1.example.org")),
    "ExternalServerSpec.port": Row(set_key("externalServers", "pg", "port", value=15999)),
    "ExternalServerSpec.tls": Row(set_key("externalServers", "unused", "tls", value="require")),
    "ExternalServerSpec.caFile": Row(set_key("externalServers", "my", "caFile", value=CA_FILE)),
    "AdministratorSpec.username: who can change the users": Row(
        set_key("externalServers", "unused", "administrator", "username", value="c")
    ),
    "AdministratorSpec.password": Row(set_key("externalServers", "unused", "administrator", "password", value="d")),
    "AdministratorSpec.host": Row(set_key("externalServers", "unused", "administrator", "host", value="10.0.0.8")),
    "AdministratorSpec.port": Row(set_key("externalServers", "unused", "administrator", "port", value=3307)),
    "ApplicationSpec.createNamespace: to `false`, after `protect: retain`": Row(
        set_application(OWN, "createNamespace", False)
    ),
    "ApplicationSpec.protect": Row(set_application(OWN, "protect", True)),
    "ApplicationSpec.podSelector": Row(set_application(SHOP, "podSelector", {"app": "web"})),
    "ApplicationSpec.networkPolicy": Row(set_application(NAMED, "networkPolicy", False)),
    "ApplicationSpec.retire": Row(set_application(NAMED, "retire", ["redis-main"])),
    "WorkloadSpec.containers": Row(
        lambda config: config["applications"][WORK]["workloads"][0].update(containers=["web", "proxy"])
    ),
    "WorkloadSpec.rolloutSeconds": Row(
        lambda config: config["applications"][WORK]["workloads"][0].update(rolloutSeconds=120)
    ),
    "WorkloadSpec.name": Row(lambda config: config["applications"][WORK]["workloads"][0].update(name="api")),
    "WorkloadSpec.kind": Row(lambda config: config["applications"][WORK]["workloads"][0].update(kind="StatefulSet")),
    "DatabaseGroupSpec.variant: of an external server": Row(set_group("mysql", "old", "variant", "percona")),
    "DatabaseGroupSpec.passwordVersion: of a provisioned database, to another number": Row(
        set_group("postgresql", "main", "passwordVersion", 2), "would end it at once"
    ),
    "DatabaseGroupSpec.passwordVersion: of a server in the cluster": Row(
        set_group("redis", "main", "passwordVersion", 1)
    ),
    "DatabaseGroupSpec.passwordVersion: of a provisioned database, to the next number": Row(
        set_group("postgresql", "main", "passwordVersion", 1)
    ),
    "DatabaseGroupSpec.protect": Row(set_group("redis", "new", "protect", False)),
    "DatabaseGroupSpec.recreate": Row(set_group("postgresql", "main", "recreate", True)),
    "DatabaseGroupSpec.networkPolicy": Row(set_group("redis", "main", "networkPolicy", False)),
    "StatefulSetServerSpec.version: later, of the same series": Row(set_server("mysql", "own", "version", "8.4.900")),
    "StatefulSetServerSpec.version: earlier, of the same series": Row(
        set_server("mysql", "own", "version", "8.4.2"), f"{GROUP}.mysql.own.server.version: "
    ),
    "StatefulSetServerSpec.image: of the same or a later release": Row(
        set_server("mysql", "own", "image", "registry.example.org/mysql:8.4.900")
    ),
    "StatefulSetServerSpec.image: of an earlier release": Row(
        combine(
            remove_key("applications", SHOP, "databases", "mysql", "own", "server", "version"),
            set_server("mysql", "own", "image", "registry.example.org/mysql:8.4.2"),
        ),
        f"{GROUP}.mysql.own.server.image: ",
    ),
    "StatefulSetServerSpec.image: of another series": Row(
        set_server("mysql", "own", "image", "registry.example.org/mysql:9.7"), f"{GROUP}.mysql.own.server.image: "
    ),
    "StatefulSetServerSpec.replicas: from 1 to more, or to 1": Row(
        set_server("redis", "main", "replicas", 3), f"{GROUP}.redis.main.server.replicas: "
    ),
    "StatefulSetServerSpec.storage: larger": Row(set_server("redis", "main", "storage", "2Gi")),
    "StatefulSetServerSpec.settings": Row(set_server("redis", "main", "settings", {"maxmemory": "10mb"})),
    "StatefulSetServerSpec.resources": Row(set_server("redis", "main", "resources", {"cpu": "10m", "memory": "128Mi"})),
    "ResourcesSpec.cpu": Row(
        lambda config: databases(config)["redis"]["main"]["server"]["resources"].update(cpu="20m")
    ),
    "ResourcesSpec.memory": Row(
        lambda config: databases(config)["redis"]["main"]["server"]["resources"].update(memory="129Mi")
    ),
    "ResourcesSpec.memory: less than the engine needs": Row(
        lambda config: databases(config)["redis"]["main"]["server"]["resources"].update(memory="64Mi"),
        f"{GROUP}.redis.main.server.resources.memory: ",
    ),
    "StatefulSetServerSpec.initScript: removed": Row(
        remove_key("applications", SHOP, "databases", "mysql", "own", "server", "initScript")
    ),
    "StatefulSetServerSpec.startTimeoutMinutes": Row(set_server("mysql", "own", "startTimeoutMinutes", 60)),
    "StatefulSetServerSpec.exclusiveNode": Row(set_server("mysql", "own", "exclusiveNode", False)),
    "ExternalKindSpec.adopt: of a deployed group": Row(set_server("mysql", "main", "adopt", True, ONLY)),
    "ExternalKindSpec.host": Row(set_server("mysql", "old", "host", [OTHER_ADDRESS])),
    "ExternalKindSpec.port": Row(set_server("mysql", "old", "port", 3307)),
    "ExternalKindSpec.tls": Row(set_server("mysql", "old", "tls", "require")),
    "ExternalKindSpec.caFile": Row(set_server("mysql", "old", "caFile", CA_FILE)),
    "ExternalKindSpec.password": Row(set_server("mysql", "old", "password", "another-of-a-test")),
    "ExternalKindSpec.token": Row(set_server("influxdb", "main", "token", "another-of-a-test")),
    "ExternalKindSpec.org": Row(set_server("influxdb", "main", "org", "new")),
    "ExternalKindSpec.bucket": Row(set_server("influxdb", "main", "bucket", "new")),
    "ExternalKindSpec.vhost": Row(set_server("rabbitmq", "main", "vhost", "/new")),
    "ExternalKindSpec.volume": Row(set_server("glusterfs", "main", "volume", "new")),
    "ExternalKindSpec.extensions: added": Row(set_server("postgresql", "main", "extensions", ["pg_trgm"])),
    "ExternalKindSpec.extensions: removed": Row(set_server("postgresql", "main", "extensions", [])),
    "ExternalKindSpec.database: with `host`": Row(set_server("mysql", "old", "database", "new")),
    "ExternalKindSpec.username: with `host`": Row(set_server("mysql", "old", "username", "new")),
    "ExternalKindSpec.storage: larger": Row(set_server("glusterfs", "disk", "storage", "2Gi")),
    # Edits with a warning, most of them in applications without protection.
    "Groups.added: next to an only group, not protected": Row(
        lambda config: databases(config, GUESTS)["redis"].update(more=dedicated()), "the update removes Service 'redis'"
    ),
    "Groups.added: of a second relational engine, not protected": Row(
        lambda config: databases(config, DEV).update(postgresql={"main": dedicated()}),
        "the update removes DATABASE_URL",
    ),
    "Groups.removed: not protected": Row(
        remove_key("applications", DEV, "databases", "redis", "a"), "the data of redis.a is deleted"
    ),
    "Groups.renamed: with `renamedFrom` and `retire`": Row(
        combine(
            rename_key("applications", NAMED, "databases", "redis", "main", to="first", renamedFrom="main"),
            set_application(NAMED, "retire", ["redis-main"]),
        ),
        "the update removes REDIS_MAIN_ADDRESS",
    ),
    "DatabaseGroupSpec.renamedFrom: with another group name": Row(
        combine(
            rename_key("applications", NAMED, "databases", "redis", "first", to="second"),
            set_application(NAMED, "retire", ["redis-first"]),
        ),
        "the update removes REDIS_FIRST_ADDRESS",
    ),
    "Groups.renamed: without `renamedFrom`, not protected": Row(
        rename_key("applications", DEV, "databases", "redis", "b", to="z"), "the data of redis.b is deleted"
    ),
    "DatabaseGroupSpec.primary: at another group": Row(
        combine(set_group("redis", "f", "primary", False, DEV), set_group("redis", "c", "primary", True, DEV)),
        "the Service 'redis' and the variables REDIS_* point to redis.c, no longer to redis.f",
    ),
    "DatabaseGroupSpec.primary: at no group, not protected": Row(
        set_group("redis", "c", "primary", False, DEV), "the update removes Service 'redis'"
    ),
    "ApplicationSpec.databaseUrl": Row(
        set_application(SHOP, "databaseUrl", "mysql.own"), "DATABASE_URL points to mysql.own"
    ),
    "StatefulSetServerSpec.kind: `local` to `dedicated` or reverse": Row(
        set_server("redis", "small", "kind", "dedicated"), "the server restarts as dedicated with the same volume"
    ),
    "StatefulSetServerSpec.kind: to `external` or from it, not protected": Row(
        set_group("redis", "d", "server", {"kind": "external", "host": [ADDRESS]}, DEV),
        "the data of redis.d is deleted",
    ),
    "ExternalKindSpec.kind: to `external` or from it, not protected": Row(
        set_group("mysql", "main", "server", provisioned("my")["server"], DEV), "the data of mysql.main is deleted"
    ),
    "ExternalKindSpec.provisionOn: added or removed, not protected": Row(
        set_group("mysql", "main", "server", existing()["server"], DEV), "the data of mysql.main is deleted"
    ),
    "ApplicationSpec.namespace: not protected": Row(
        set_application(MOVED, "namespace", "d-moved-2"), "the data of redis.main is deleted"
    ),
    "Applications.renamed: not protected": Row(
        rename_key("applications", GUESTS, to="d-renamed"), "the data of redis.main, redis.more is deleted"
    ),
    "Applications.removed: not protected": Row(remove_key("applications", DEV), "the data of"),
    "StackSpec.preflight": Row(lambda config: config.update(preflight=False)),
    "StackSpec.environment: to `production`": Row(lambda config: config.update(environment="production")),
}
"""By the identifier of the change, in the order in which the test applies them."""
