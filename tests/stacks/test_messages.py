"""Every kind of mistake is told with its exact place, what is wrong and what would be right; several at once are all told, sorted."""

import copy
from collections.abc import Sequence
from typing import Any

import pytest

from components.engines import ENGINES
from stacks.config import parse_stack
from stacks.errors import ConfigIssue, InvalidStackConfigError
from tests.support import (
    CANARY,
    ENGINES_WITH_SERVER,
    EXISTING_SERVER,
    config_issues,
    existing_account,
    external_server,
    groups,
    managed_server,
    provisioned_on,
    stack_with_group,
)

MAIN = "applications.shop.databases.mysql.main"
RABBIT = "applications.shop.databases.rabbitmq.main"
FILE = "applications.shop.databases.sqlite.main"
NAME_RULE = "a name begins with a letter and has lower-case letters, digits and '-' only, such as main or main-2"
MAP = "must be a map of keys and values"
LOOPBACK = (
    "is a loopback address, which from a Pod is the Pod itself; give the address that the cluster reaches the server at"
)
MALFORMED = "is neither a host name in lower case, such as db.example.org, nor an IP address; a port or a user has a key of its own"
NO_SLICE = "is an address that Kubernetes admits to no EndpointSlice (unspecified, link-local, multicast, with a zone, or IPv4 written as IPv6)"
SIZE = "is not a size with its unit, such as 512Mi or 50Gi"
CPU = "is not a number of processors, such as 2, 0.5 or 500m"
APPLICATION_KEYS = "createNamespace, databases, namespace, networkPolicy, pods, protect, workloads"
SERVER_KEYS = "administrator, ca, engine, host, port, tls"
TAKEN = "takes already"
RENAME = "give one another name"
GROUP_KEYS = "variant, networkPolicy, primary, protect, rotation, server"
EXTERNAL_KEYS = "bucket, ca, database, extensions, host, kind, on, org, password, port, storage, storageClass, tls, token, username, vhost, volume"
DEDICATED_KEYS = "exclusiveNode, image, init, kind, resources, settings, storage, storageClass, version"
SCALAR = "must be text, a number, true or false"
SETTING_RULE = "is not the name of a setting, which has letters, digits, '_', '-' and '.' only"
OWNED = "is given by the program and cannot be set"
ALL_ENGINES = ", ".join(sorted(ENGINES))


def local(**keys: Any) -> dict[str, Any]:
    return stack_with_group("mysql", {"kind": "local", **keys})


def dedicated(**keys: Any) -> dict[str, Any]:
    return stack_with_group("mysql", {"kind": "dedicated", **keys})


def external(**keys: Any) -> dict[str, Any]:
    return stack_with_group("mysql", {**EXISTING_SERVER, **keys})


def with_server(entry: Any, group: Any = None) -> dict[str, Any]:
    return {"externalServers": {"hq": entry}, **groups(mysql={"main": group})}


def administrator(**keys: Any) -> dict[str, Any]:
    return with_server(external_server("mysql", administrator={"username": "provisioner", "password": CANARY, **keys}))


def application(**keys: Any) -> dict[str, Any]:
    return {"applications": {"shop": {"databases": {"mysql": {"main": None}}, **keys}}}


def top(**keys: Any) -> dict[str, Any]:
    return {**stack_with_group("mysql"), **keys}


WRONG_TYPES = [
    ("applications is a list", {"applications": []}, f"applications: {MAP}"),
    ("applications is null", {"applications": None}, f"applications: {MAP}"),
    ("an application is null", {"applications": {"shop": None}}, f"applications.shop: {MAP}"),
    (
        "databases is a list",
        {"applications": {"shop": {"databases": ["mysql"]}}},
        f"applications.shop.databases: {MAP}",
    ),
    (
        "an engine's groups are a word",
        {"applications": {"shop": {"databases": {"mysql": "main"}}}},
        f"applications.shop.databases.mysql: {MAP}",
    ),
    ("a group is a word", {"applications": {"shop": {"databases": {"mysql": {"main": "local"}}}}}, f"{MAIN}: {MAP}"),
    ("a server is a number", stack_with_group("mysql", 5), f"{MAIN}.server: {MAP}"),
    ("a server is null", stack_with_group("mysql", None), f"{MAIN}.server: {MAP}"),
    ("a server is a list", stack_with_group("mysql", []), f"{MAIN}.server: {MAP}"),
    ("primary is a word", stack_with_group("mysql", primary="yes please"), f"{MAIN}.primary: must be true or false"),
    ("primary is a quoted true", stack_with_group("mysql", primary="true"), f"{MAIN}.primary: must be true or false"),
    ("primary is a number", stack_with_group("mysql", primary=1), f"{MAIN}.primary: must be true or false"),
    (
        "createNamespace is a word",
        application(createNamespace="no"),
        "applications.shop.createNamespace: must be true or false",
    ),
    ("exclusiveNode is a number", dedicated(exclusiveNode=0), f"{MAIN}.server.exclusiveNode: must be true or false"),
    ("rotation is true", stack_with_group("mysql", passwordVersion=True), f"{MAIN}.rotation: must be a whole number"),
    ("rotation is half", stack_with_group("mysql", passwordVersion=1.5), f"{MAIN}.rotation: must be a whole number"),
    (
        "rotation is negative",
        stack_with_group("mysql", passwordVersion=-1),
        f"{MAIN}.rotation: is out of range: at least 0",
    ),
    (
        "variant is a number",
        stack_with_group("mysql", variant=5),
        f'{MAIN}.variant: must be text: put it in quotes, "5"',
    ),
    ("variant is empty", stack_with_group("mysql", variant=""), f"{MAIN}.variant: must not be empty"),
    ("version is a number", local(version=8.4), f'{MAIN}.server.version: must be text: put it in quotes, "8.4"'),
    ("version is a list", local(version=["8.4"]), f"{MAIN}.server.version: must be text"),
    ("near is a list", local(near=["web"]), f"{MAIN}.server.near: {MAP}"),
    ("a label is a number", local(near={"app": 5}), f'{MAIN}.server.near.app: must be text: put it in quotes, "5"'),
    ("resources is a word", local(resources="2"), f"{MAIN}.server.resources: {MAP}"),
    ("servers is a list", top(servers=[]), f"servers: {MAP}"),
    ("a server of the stack is null", with_server(None), f"servers.hq: {MAP}"),
    (
        "administrator is a word",
        with_server(external_server("mysql", administrator=CANARY)),
        f"servers.hq.administrator: {MAP}",
    ),
    ("a password is a number", external(password=12345), f"{MAIN}.server.password: must be text: put it in quotes"),
    ("a password is a map", external(password={"value": CANARY}), f"{MAIN}.server.password: must be text"),
    ("a password is a list", external(password=[CANARY]), f"{MAIN}.server.password: must be text"),
    (
        "an administrator's password is a number",
        administrator(password=12345),
        "servers.hq.administrator.password: must be text: put it in quotes",
    ),
    ("tolerations is a map", top(databaseNodes={"tolerations": {}}), "databaseNodes.tolerations: must be a list"),
    ("a toleration is a word", top(databaseNodes={"tolerations": ["x"]}), f"databaseNodes.tolerations[0]: {MAP}"),
    ("environment is a number", top(environment=5), "environment: '5' is none of development, production"),
]

UNKNOWN = [
    (
        "near miss at the top",
        {"application": {}, **stack_with_group("mysql")},
        "application: is not a known key; did you mean 'applications'?",
    ),
    (
        "far from all at the top",
        top(zzz=1),
        "zzz: is not a known key; known keys: applications, databaseNodes, environment, preflight, servers",
    ),
    (
        "of an application",
        application(zzz=[]),
        f"applications.shop.zzz: is not a known key; known keys: {APPLICATION_KEYS}",
    ),
    (
        "near miss in an application",
        application(nameSpace="x"),
        "applications.shop.nameSpace: is not a known key; did you mean 'namespace'?",
    ),
    (
        "snake case",
        application(create_namespace=True),
        "applications.shop.create_namespace: is not a known key; did you mean 'createNamespace'?",
    ),
    (
        "near miss in a group",
        stack_with_group("mysql", primry=True),
        f"{MAIN}.primry: is not a known key; did you mean 'primary'?",
    ),
    ("of a group", stack_with_group("mysql", zzz=1), f"{MAIN}.zzz: is not a known key; known keys: {GROUP_KEYS}"),
    ("replicas", dedicated(replicas=3), f"{MAIN}.server.replicas: is not a known key; known keys: {DEDICATED_KEYS}"),
    (
        "near miss in a server",
        dedicated(exclusivenode=True),
        f"{MAIN}.server.exclusivenode: is not a known key; did you mean 'exclusiveNode'?",
    ),
    (
        "near miss in an external server",
        external(user="x"),
        f"{MAIN}.server.user: is not a known key; did you mean 'username'?",
    ),
    ("of an external server", external(zzz=1), f"{MAIN}.server.zzz: is not a known key; known keys: {EXTERNAL_KEYS}"),
    (
        "near miss in resources",
        local(resources={"memry": "1Gi"}),
        f"{MAIN}.server.resources.memry: is not a known key; did you mean 'memory'?",
    ),
    (
        "near miss in a server of the stack",
        with_server({**external_server("mysql"), "hosts": "x"}),
        "servers.hq.hosts: is not a known key; did you mean 'host'?",
    ),
    (
        "of a server of the stack",
        with_server({**external_server("mysql"), "x": 1}),
        f"servers.hq.x: is not a known key; known keys: {SERVER_KEYS}",
    ),
    (
        "of an administrator",
        administrator(passwd=CANARY),
        "servers.hq.administrator.passwd: is not a known key; did you mean 'password'?",
    ),
    (
        "of a toleration",
        top(databaseNodes={"tolerations": [{"key": "a", "efect": "NoExecute"}]}),
        "databaseNodes.tolerations[0].efect: is not a known key; did you mean 'effect'?",
    ),
    (
        "that is how pydantic marks a key",
        top(**{"[key]": 1}),
        "'[key]': is not a known key; known keys: applications, databaseNodes, environment, preflight, servers",
    ),
    (
        "that is no word",
        top(**{"a b\n": 1}),
        "'a b\\n': is not a known key; known keys: applications, databaseNodes, environment, preflight, servers",
    ),
]


def workloads(*entries: Any, **keys: Any) -> dict[str, Any]:
    return application(workloads=list(entries), **keys)


WEB = {"kind": "Deployment", "name": "web"}
WORKLOAD = "applications.shop.workloads[0]"
KUBERNETES_NAME = "is not a name as Kubernetes has it: lower-case letters, digits and '-', and for workloads '.'"
WORKLOADS = [
    (
        "a kind",
        workloads({"kind": "Job", "name": "web"}),
        f"{WORKLOAD}.kind: 'Job' is none of DaemonSet, Deployment, StatefulSet",
    ),
    ("no kind", workloads({"name": "web"}), f"{WORKLOAD}.kind: is missing"),
    ("no name", workloads({"kind": "Deployment"}), f"{WORKLOAD}.name: is missing"),
    ("a name", workloads({**WEB, "name": "Web"}), f"{WORKLOAD}.name: 'Web' {KUBERNETES_NAME}"),
    (
        "a container's name",
        workloads({**WEB, "containers": "a.b"}),
        f"{WORKLOAD}.container[0]: 'a.b' {KUBERNETES_NAME}",
    ),
    (
        "a container twice",
        workloads({**WEB, "containers": ["a", "a"]}),
        f"{WORKLOAD}.container: names a container twice",
    ),
    ("no container", workloads({**WEB, "containers": []}), f"{WORKLOAD}.container: must not be empty"),
    ("a wait", workloads({**WEB, "rolloutSeconds": "5m"}), f"{WORKLOAD}.rolloutSeconds: must be a whole number"),
    (
        "near miss",
        workloads({**WEB, "containers": "web"}),
        f"{WORKLOAD}.containers: is not a known key; did you mean 'container'?",
    ),
    ("a map", application(workloads={"web": WEB}), "applications.shop.workloads: must be a list"),
    (
        "twice",
        workloads(WEB, {**WEB, "containers": "a"}),
        f"applications.shop.workloads[1]: takes the Deployment 'web', which {WORKLOAD} takes already; name each workload once, with all its containers",
    ),
]


def test_two_applications_cannot_have_one_workload() -> None:
    shared = {"namespace": "same", "createNamespace": False, "workloads": [WEB]}
    raw = {
        "applications": {
            "a": {**shared, "databases": {"redis": {"x": None, "y": None}}},
            "b": {**shared, "databases": {"mysql": {"x": None, "y": None}}},
        }
    }
    assert config_issues(raw) == [
        "applications.b.workloads[0]: takes the Deployment 'web', which applications.a.workloads[0] takes already;"
        " name each workload once, with all its containers"
    ]
    raw["applications"]["b"]["workloads"] = [{**WEB, "kind": "DaemonSet"}]
    assert config_issues(raw) == []


def test_two_patches_never_have_one_pulumi_name() -> None:
    databases: dict[str, Any] = {"databases": {"redis": {"main": None}}}
    raw = {
        "applications": {
            "a": {"workloads": [{"kind": "Deployment", "name": "b-deployment-c"}], **databases},
            "a-deployment-b": {"workloads": [{"kind": "Deployment", "name": "c"}], **databases},
        }
    }
    assert config_issues(raw) == [
        "applications.a-deployment-b: takes the Pulumi name 'a-deployment-b-deployment-c' with its Deployment 'c', which applications.a takes already;"
        " give one another name"
    ]


CHOICES = [
    ("engine", stack_with_group("mysq"), f"applications.shop.databases.mysq: 'mysq' is none of {ALL_ENGINES}"),
    (
        "kind",
        stack_with_group("mysql", {"kind": "remote"}),
        f"{MAIN}.server.kind: 'remote' is none of dedicated, external, local",
    ),
    (
        "kind in its short form",
        stack_with_group("mysql", "remote"),
        f"{MAIN}.server.kind: 'remote' is none of dedicated, external, local",
    ),
    (
        "no kind",
        stack_with_group("mysql", {"storage": "1Gi"}),
        f"{MAIN}.server.kind: is missing: one of dedicated, external, local",
    ),
    ("variant", stack_with_group("mysql", variant="mariadb"), f"{MAIN}.variant: 'mariadb' is none of mysql, percona"),
    (
        "variant of another engine",
        stack_with_group("mysql", variant="valkey"),
        f"{MAIN}.variant: 'valkey' is none of mysql, percona",
    ),
    ("environment", top(environment="prod"), "environment: 'prod' is none of development, production"),
    (
        "tls",
        with_server(external_server("mysql", tls="on")),
        "servers.hq.tls: 'on' is none of disable, require, verify-full",
    ),
    (
        "engine of a server",
        with_server(external_server("redis")),
        "servers.hq.engine: 'redis' is none of mysql, postgresql, the engines on whose servers databases can be made",
    ),
    (
        "version of no series",
        local(version="5.7"),
        f"{MAIN}.server.version: '5.7' is of none of the series of mysql: 8.0, 8.4, 9.7",
    ),
    (
        "version of another variant",
        stack_with_group("mysql", {"kind": "local", "version": "9.7"}, variant="percona"),
        f"{MAIN}.server.version: '9.7' is of none of the series of percona: 8.0, 8.4",
    ),
    (
        "version with a suffix",
        local(version="8.4-debian"),
        f"{MAIN}.server.version: '8.4-debian' is of none of the series of mysql: 8.0, 8.4, 9.7",
    ),
    *(
        (
            f"version without an image of {variant.name}",
            stack_with_group(engine, managed_server(engine, version=variant.supported_series[0])),
            f"applications.shop.databases.{engine}.main.server.version: '{variant.supported_series[0]}' is no whole release, such as {variant.default_version}, "
            "and there are images of no others",
        )
        for engine in ENGINES_WITH_SERVER
        for variant in ENGINES[engine].variants[:1]
        if variant.supported_series[0].count(".") + 1 < variant.min_version_parts
    ),
    (
        "effect of a taint",
        top(databaseNodes={"tolerations": [{"key": "a", "effect": "No"}]}),
        "databaseNodes.tolerations[0].effect: 'No' is none of NoExecute, NoSchedule, PreferNoSchedule",
    ),
    (
        "no environment's server in production",
        top(environment="production", **groups(mysql={"main": None})),
        f"{MAIN}.server: is missing; in production every group says where its server comes from: dedicated, external, local",
    ),
    (
        "toleration without a key",
        top(databaseNodes={"tolerations": [{"value": "a"}]}),
        "databaseNodes.tolerations[0]: has no 'key'; only the operator Exists goes without one",
    ),
    (
        "toleration of any value with a value",
        top(databaseNodes={"tolerations": [{"key": "a", "operator": "Exists", "value": "b"}]}),
        "databaseNodes.tolerations[0]: has a 'value', which the operator Exists does not take",
    ),
]

MISSING = [
    ("applications", {}, "applications: is missing"),
    ("any application", {"applications": {}}, "applications: must not be empty"),
    ("databases", {"applications": {"shop": {}}}, "applications.shop.databases: is missing"),
    ("any database", {"applications": {"shop": {"databases": {}}}}, "applications.shop.databases: must not be empty"),
    (
        "any group",
        {"applications": {"shop": {"databases": {"mysql": {}}}}},
        "applications.shop.databases.mysql: must not be empty",
    ),
    ("administrator", with_server({"engine": "mysql", "host": "db"}), "servers.hq.administrator: is missing"),
    (
        "an administrator's password",
        with_server(external_server("mysql", administrator={"username": "u"})),
        "servers.hq.administrator.password: is missing",
    ),
    (
        "an administrator's name",
        with_server(external_server("mysql", administrator={"password": CANARY})),
        "servers.hq.administrator.username: is missing",
    ),
    (
        "the engine of a server",
        with_server({"host": "db", "administrator": {"username": "u", "password": CANARY}}),
        "servers.hq.engine: is missing",
    ),
    (
        "the host of a server",
        with_server({"engine": "mysql", "administrator": {"username": "u", "password": CANARY}}),
        "servers.hq.host: is missing",
    ),
]

PORTS = [
    ("zero", 0, "'0' is out of range: at least 1"),
    ("negative", -1, "is out of range: at least 1"),
    ("too high", 65536, "'65536' is out of range: at most 65535"),
    ("huge", 10**400, "is out of range: at most 65535"),
    ("a word", "mysql", "must be a whole number"),
    ("quoted", "3306", "must be a whole number"),
    ("half", 33.5, "must be a whole number"),
    ("a truth", True, "must be a whole number"),
    ("a list", [3306], "must be a whole number"),
]

HOSTS = [
    ("loopback IPv4", "127.0.0.1", f"host: '127.0.0.1' {LOOPBACK}"),
    ("loopback network", "127.8.9.1", f"host: '127.8.9.1' {LOOPBACK}"),
    ("loopback IPv6", "::1", f"host: {LOOPBACK}"),
    ("localhost", "localhost", f"host: 'localhost' {LOOPBACK}"),
    ("name under localhost", "db.localhost", f"host: 'db.localhost' {LOOPBACK}"),
    ("loopback in a list", ["10.0.0.1", "127.0.0.1"], f"host: {LOOPBACK}"),
    ("loopback IPv4 as IPv6", "::ffff:127.0.0.1", f"host: {LOOPBACK}"),
    ("IPv4 as IPv6", "::ffff:10.0.0.1", f"host: {NO_SLICE}"),
    ("with a zone", "fd00::1%eth0", f"host: {NO_SLICE}"),
    ("unspecified", "0.0.0.0", f"host: '0.0.0.0' {NO_SLICE}"),  # noqa: S104 (nothing is bound)
    ("link-local", "169.254.1.1", f"host: '169.254.1.1' {NO_SLICE}"),
    ("multicast", "224.0.0.1", f"host: '224.0.0.1' {NO_SLICE}"),
    ("upper case", "DB.example.org", f"host: 'DB.example.org' {MALFORMED}"),
    ("with a port", "db.example.org:3306", f"host: {MALFORMED}"),
    ("with a user", f"shop:{CANARY}@db.example.org", f"host: {MALFORMED}"),
    ("URL", "https://db.example.org", f"host: {MALFORMED}"),
    ("space", "db example", f"host: {MALFORMED}"),
    ("empty", "", f"host: {MALFORMED}"),
    ("trailing period", "db.example.org.", f"host: 'db.example.org.' {MALFORMED}"),
    ("underscore", "my_db", f"host: 'my_db' {MALFORMED}"),
    ("half an address", "10.0.0", f"host: '10.0.0' {MALFORMED}"),
    ("bad address", "10.0.0.256", f"host: '10.0.0.256' {MALFORMED}"),
    ("too long a name", "a" * 300, f"host: {MALFORMED}"),
    ("second of a list", ["10.0.0.1", "10.0.0.256"], f"host[1]: '10.0.0.256' {MALFORMED}"),
    ("number in a list", [5], 'host[0]: must be text: put it in quotes, "5"'),
    ("empty list", [], "host: must not be empty"),
    ("number", 5, "host: must be a list"),
    (
        "two names",
        ["a.example.org", "b.example.org"],
        "host: must be one host name, or a list of IP addresses: a Service follows only one name",
    ),
    (
        "a name and an address",
        ["a.example.org", "10.0.0.1"],
        "host: must be one host name, or a list of IP addresses: a Service follows only one name",
    ),
    (
        "both families",
        ["10.0.0.1", "fd00::1"],
        "host: mixes IPv4 and IPv6 addresses, which need an EndpointSlice each; give those of one family",
    ),
    ("twice", ["10.0.0.1", "10.0.0.1"], "host: names an address twice"),
    ("twice in two ways", ["fd00::1", "fd00:0::1"], "host: names an address twice"),
]

QUANTITIES = [
    ("size without a unit", local(storage="10"), f"{MAIN}.server.storage: '10' {SIZE}"),
    ("size as a number", local(storage=10), f'{MAIN}.server.storage: must be text: put it in quotes, "10"'),
    ("size of an unknown unit", local(storage="10GB"), f"{MAIN}.server.storage: '10GB' {SIZE}"),
    ("size of nothing", local(storage="0Gi"), f"{MAIN}.server.storage: '0Gi' {SIZE}"),
    ("size below nothing", local(storage="-1Gi"), f"{MAIN}.server.storage: {SIZE}"),
    ("memory in millibytes", local(resources={"memory": "500m"}), f"{MAIN}.server.resources.memory: '500m' {SIZE}"),
    ("processors as a word", local(resources={"cpu": "two"}), f"{MAIN}.server.resources.cpu: 'two' {CPU}"),
    ("no processors", local(resources={"cpu": 0}), f"{MAIN}.server.resources.cpu: '0' {CPU}"),
    ("processors as a truth", local(resources={"cpu": True}), f"{MAIN}.server.resources.cpu: must be text"),
]

ACCOUNTS = [
    (
        "neither on nor host",
        stack_with_group("mysql", {"kind": "external"}),
        f"{MAIN}.server: needs 'on' (one of the stack's servers, to make a database there) or 'host' (where a database exists already), and has neither",
    ),
    (
        "on and host",
        stack_with_group("mysql", {"kind": "external", "provisionOn": "hq", "host": "db"}),
        f"{MAIN}.server: needs 'on' (one of the stack's servers, to make a database there) or 'host' (where a database exists already), and has both",
    ),
    (
        "on and an account",
        stack_with_group("mysql", {"kind": "external", "provisionOn": "hq", "username": "u", "password": CANARY}),
        f"{MAIN}.server: has 'password' beside 'on'; on one of the stack's servers these are the program's or the server's",
    ),
    (
        "a user without a password",
        stack_with_group("mysql", {"kind": "external", "host": "db", "username": "u"}),
        f"{MAIN}.server: has a 'username' without a 'password'",
    ),
    (
        "a password without a user",
        stack_with_group("mysql", {"kind": "external", "host": "db", "database": "d", "password": CANARY}),
        f"{MAIN}.server: lacks 'username', without which mysql cannot be used; or name one of the stack's servers with 'on'",
    ),
    (
        "no account",
        stack_with_group("mysql", {"kind": "external", "host": "db", "database": "d"}),
        f"{MAIN}.server: lacks 'password', 'username', without which mysql cannot be used; or name one of the stack's servers with 'on'",
    ),
    (
        "no database",
        stack_with_group("mysql", {"kind": "external", "host": "db", "username": "u", "password": CANARY}),
        f"{MAIN}.server: lacks 'database', without which mysql cannot be used; or name one of the stack's servers with 'on'",
    ),
    (
        "no account where none is made",
        stack_with_group("rabbitmq", {"kind": "external", "host": "db"}),
        f"{RABBIT}.server: lacks 'password', 'username', without which rabbitmq cannot be used",
    ),
    (
        "another engine's key",
        stack_with_group("rabbitmq", existing_account("rabbitmq", database="d")),
        f"{RABBIT}.server.database: has no meaning for rabbitmq; it takes password, username, vhost",
    ),
    (
        "another engine's token",
        external(token=CANARY),
        f"{MAIN}.server.token: has no meaning for mysql; it takes database, password, username",
    ),
    ("a token that is a number", external(token=5081081), f"{MAIN}.server.token: must be text: put it in quotes"),
    (
        "a token that is a map",
        external(token={"value": CANARY}),
        f"{MAIN}.server.token: must be text",
    ),
    (
        "a volume without its size",
        external(storageClass="shared"),
        f"{MAIN}.server: needs 'storageClass' and 'storage' together, for a volume on the server",
    ),
    (
        "a size without its volume",
        external(storage="1Gi"),
        f"{MAIN}.server: needs 'storageClass' and 'storage' together, for a volume on the server",
    ),
    (
        "a volume of what is none",
        external(storageClass="shared", storage="1Gi"),
        f"{MAIN}.server.storageClass: has no meaning for mysql, whose data is not had as a volume",
    ),
    (
        "on and a volume",
        {
            "externalServers": {"hq": external_server("mysql")},
            **groups(
                mysql={"main": {"server": {**provisioned_on("hq")["server"], "storageClass": "x", "storage": "1Gi"}}}
            ),
        },
        f"{MAIN}.server: has 'storage', 'storageClass' beside 'on'; on one of the stack's servers these are the program's or the server's",
    ),
    ("an empty password", external(password=""), f"{MAIN}.server.password: must not be empty"),
    (
        "a line break in a password",
        external(password=f"{CANARY}\n"),
        f"{MAIN}.server.password: holds a control character, such as a line break, which no environment variable carries safely",
    ),
    (
        "a rotation of a given password",
        stack_with_group("mysql", EXISTING_SERVER, passwordVersion=1),
        f"{MAIN}.rotation: has no effect: the password of this group is not made by the program",
    ),
    (
        "a server that is not there",
        stack_with_group("mysql", {"kind": "external", "provisionOn": "hq"}),
        f"{MAIN}.server.on: 'hq' is none of the stack's servers: there are none",
    ),
    (
        "a server of another name",
        with_server(external_server("mysql"), provisioned_on("qh")),
        f"{MAIN}.server.on: 'qh' is none of the stack's servers: hq",
    ),
    (
        "a server of another engine",
        with_server(external_server("postgresql"), provisioned_on("hq")),
        f"{MAIN}.server.on: 'hq' is a server of postgresql, and the group is of mysql",
    ),
    (
        "a server of no name",
        with_server(external_server("mysql"), provisioned_on("HQ")),
        f"{MAIN}.server.on: 'HQ' is not a name: {NAME_RULE}",
    ),
]

SETTINGS = [
    ("a list", local(settings={"a": [1]}), f"{MAIN}.server.settings.a: {SCALAR}"),
    ("a map", local(settings={"a": {"b": "c"}}), f"{MAIN}.server.settings.a: {SCALAR}"),
    ("nothing", local(settings={"a": None}), f"{MAIN}.server.settings.a: {SCALAR}"),
    (
        "a line break",
        local(settings={"a": "b\nbind_address = *"}),
        f"{MAIN}.server.settings.a: holds a control character, such as a line break",
    ),
    (
        "a carriage return",
        local(settings={"a": "b\rc"}),
        f"{MAIN}.server.settings.a: holds a control character, such as a line break",
    ),
    (
        "a zero",
        local(settings={"a": "b\0"}),
        f"{MAIN}.server.settings.a: holds a control character, such as a line break",
    ),
    (
        "without end",
        local(settings={"a": "b" * 4097}),
        f"{MAIN}.server.settings.a: is too long: at most 4096 characters",
    ),
    ("no number", local(settings={"a": float("inf")}), f"{MAIN}.server.settings.a: 'inf' is no number"),
    ("a name with a space", local(settings={"a b": 1}), f"{MAIN}.server.settings.'a b': {SETTING_RULE}"),
    ("a name with a line break", local(settings={"a\nb": 1}), f"{MAIN}.server.settings.'a\\nb': {SETTING_RULE}"),
    ("a section", local(settings={"[client]": 1}), f"{MAIN}.server.settings.'[client]': {SETTING_RULE}"),
    ("a name with a sign", local(settings={"a=b": 1}), f"{MAIN}.server.settings.'a=b': {SETTING_RULE}"),
    ("an inclusion", local(settings={"!include": "/f"}), f"{MAIN}.server.settings.'!include': {SETTING_RULE}"),
    ("a word", local(settings="a=b"), f"{MAIN}.server.settings: {MAP}"),
    ("owned", local(settings={"bind_address": "*"}), f"{MAIN}.server.settings.bind_address: {OWNED}"),
    (
        "owned, in another spelling",
        dedicated(settings={"loose-Bind-Address": "*"}),
        f"{MAIN}.server.settings.loose-Bind-Address: {OWNED}",
    ),
    (
        "below an owned one",
        stack_with_group("rabbitmq", {"kind": "local", "settings": {"listeners.tcp.other": 5673}}),
        f"{RABBIT}.server.settings.listeners.tcp.other: {OWNED}",
    ),
    (
        "of a file",
        stack_with_group("sqlite", {"kind": "local", "settings": {"a": 1}}),
        f"{FILE}.server.settings: has no effect: sqlite is a file and has no server",
    ),
    ("init that is empty", local(init=""), f"{MAIN}.server.init: must not be empty"),
    ("init that is a list", local(init=["SELECT 1"]), f"{MAIN}.server.init: must be text"),
    (
        "init where there is no way",
        stack_with_group("rabbitmq", {"kind": "local", "initScript": "x"}),
        f"{RABBIT}.server.init: has no effect: the image of rabbitmq has no way to run anything once",
    ),
    (
        "init of a variant where there is no way",
        stack_with_group("redis", {"kind": "dedicated", "initScript": "x"}, variant="valkey"),
        "applications.shop.databases.redis.main.server.init: has no effect: the image of valkey has no way to run anything once",
    ),
]

FILES = [
    *(
        (
            f"{key} of a file",
            stack_with_group("sqlite", {"kind": "local", key: value}),
            f"{FILE}.server.{key}: has no effect: sqlite is a file and has no server",
        )
        for key, value in {
            "version": "3",
            "image": "i",
            "initScript": "x",
            "resources": {"cpu": 1},
            "near": {"app": "web"},
        }.items()
    ),
    (
        "dedicated",
        stack_with_group("sqlite", "dedicated"),
        f"{FILE}.server.kind: 'dedicated' is for servers: sqlite is a file, and can only be local",
    ),
    (
        "external",
        stack_with_group("sqlite", {"kind": "external", "host": "db"}),
        f"{FILE}.server.kind: 'external' is for servers: sqlite is a file, and can only be local",
    ),
    (
        "external on a server",
        {"externalServers": {"hq": external_server("mysql")}, **groups(sqlite={"main": provisioned_on("hq")})},
        f"{FILE}.server.on: 'hq' is a server of mysql, and the group is of sqlite",
    ),
    (
        "production",
        top(environment="production", **stack_with_group("sqlite")),
        f"{FILE}.server: is a file beside one Pod: sqlite is for development only; in production use an engine with a server",
    ),
    (
        "rotation",
        stack_with_group("sqlite", passwordVersion=1),
        f"{FILE}.rotation: has no effect: the password of this group is not made by the program",
    ),
]

LONG = "a" * 60
NAMES = [
    (
        "upper case",
        {"applications": {"Shop": {"databases": {"mysql": {"main": None}}}}},
        f"applications.Shop: 'Shop' is not a name: {NAME_RULE}",
    ),
    (
        "digit first",
        stack_with_group("mysql", group="2nd"),
        f"applications.shop.databases.mysql.2nd: '2nd' is not a name: {NAME_RULE}",
    ),
    (
        "hyphen last",
        stack_with_group("mysql", group="main-"),
        f"applications.shop.databases.mysql.main-: 'main-' is not a name: {NAME_RULE}",
    ),
    (
        "underscore",
        stack_with_group("mysql", group="a_b"),
        f"applications.shop.databases.mysql.a_b: 'a_b' is not a name: {NAME_RULE}",
    ),
    ("namespace", application(namespace="My"), f"applications.shop.namespace: 'My' is not a name: {NAME_RULE}"),
    (
        "a server of the stack",
        {"externalServers": {"HQ": external_server("mysql")}, **stack_with_group("mysql")},
        f"servers.HQ: 'HQ' is not a name: {NAME_RULE}",
    ),
    (
        "64 characters",
        stack_with_group("redis", group="a" * 64),
        f"applications.shop.databases.redis.'{'a' * 63}': is too long: at most 63 characters",
    ),
    (
        "an application's Secret",
        {"applications": {LONG: {"databases": {"redis": {"main": None}}}}},
        f"applications.{LONG}: is too long a name by 7: its Secret would be named '{LONG}-databases'",
    ),
    (
        "a server",
        stack_with_group("redis", group="b" * 47),
        f"applications.shop.databases.redis.{'b' * 47}: is too long a name by 1: a server can be named with 52 characters, not 'redis-{'b' * 47}'",
    ),
    (
        "a user of mysql",
        stack_with_group("mysql", group="b" * 28),
        f"applications.shop.databases.mysql.{'b' * 28}: is too long a name by 1: its user would be named 'shop_{'b' * 28}', and mysql allows 32 characters",
    ),
]


def table(rows: Sequence[tuple[str, Any, str]]) -> list[Any]:
    return [pytest.param(raw, line, id=name) for name, raw, line in rows]


@pytest.mark.parametrize(("raw", "line"), table(WRONG_TYPES))
def test_a_value_of_a_wrong_type_is_told_with_the_right_one(raw: dict[str, Any], line: str) -> None:
    assert config_issues(raw) == [line]


@pytest.mark.parametrize(("raw", "line"), table(WORKLOADS))
def test_a_mistake_in_a_workload_is_told(raw: dict[str, Any], line: str) -> None:
    assert config_issues(raw) == [line]


@pytest.mark.parametrize(("raw", "line"), table(UNKNOWN))
def test_an_unknown_key_is_told_with_the_nearest_known_one(raw: dict[str, Any], line: str) -> None:
    assert config_issues(raw) == [line]


@pytest.mark.parametrize(("raw", "line"), table(CHOICES))
def test_a_wrong_choice_is_told_with_the_right_ones_sorted(raw: dict[str, Any], line: str) -> None:
    assert config_issues(raw) == [line]


@pytest.mark.parametrize(("raw", "line"), table(MISSING))
def test_what_is_missing_is_told_at_its_place(raw: dict[str, Any], line: str) -> None:
    assert config_issues(raw) == [line]


@pytest.mark.parametrize(("port", "message"), [pytest.param(port, message, id=name) for name, port, message in PORTS])
def test_a_bad_port_is_told_wherever_it_is(port: Any, message: str) -> None:
    assert config_issues(external(port=port)) == [f"{MAIN}.server.port: {message}"]
    assert config_issues(with_server(external_server("mysql", port=port))) == [f"servers.hq.port: {message}"]
    assert config_issues(administrator(port=port)) == [f"servers.hq.administrator.port: {message}"]


@pytest.mark.parametrize(("host", "message"), [pytest.param(host, message, id=name) for name, host, message in HOSTS])
def test_a_bad_host_is_one_mistake_wherever_it_is(host: Any, message: str) -> None:
    assert config_issues(external(host=host)) == [f"{MAIN}.server.{message}"]
    assert config_issues(with_server(external_server("mysql", host=host))) == [f"servers.hq.{message}"]


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "db.example.org"])
def test_a_loopback_address_is_right_as_an_administrators_host(host: str) -> None:
    assert config_issues(administrator(host=host)) == []


@pytest.mark.parametrize("host", ["DB", "127.0.0.1:3306", "", "10.0.0"])
def test_a_malformed_host_of_an_administrator_is_told(host: str) -> None:
    (line,) = config_issues(administrator(host=host))
    assert line.startswith("servers.hq.administrator.host: ")
    assert line.endswith(MALFORMED)


@pytest.mark.parametrize(("raw", "line"), table(QUANTITIES))
def test_a_bad_quantity_is_told_with_a_good_one(raw: dict[str, Any], line: str) -> None:
    assert config_issues(raw) == [line]


@pytest.mark.parametrize(("raw", "line"), table(ACCOUNTS))
def test_a_way_in_that_leads_nowhere_is_told(raw: dict[str, Any], line: str) -> None:
    assert config_issues(raw) == [line]


@pytest.mark.parametrize(("raw", "line"), table(SETTINGS))
def test_a_setting_that_cannot_be_one_is_told_at_its_place(raw: dict[str, Any], line: str) -> None:
    assert config_issues(raw) == [line]


@pytest.mark.parametrize(("raw", "line"), table(FILES))
def test_what_a_file_has_not_is_told(raw: dict[str, Any], line: str) -> None:
    assert config_issues(raw) == [line]


@pytest.mark.parametrize(
    "engine", [name for name in ENGINES_WITH_SERVER if not all(variant.image for variant in ENGINES[name].variants)]
)
@pytest.mark.parametrize("kind", ["local", "dedicated"])
def test_an_engine_without_an_image_asks_for_one(engine: str, kind: str) -> None:
    variant = ENGINES[engine].variants[0].name
    line = f"applications.shop.databases.{engine}.main.server.image: is missing: there is no maintained image of {variant}; name one of yours"
    assert config_issues(stack_with_group(engine, kind)) == [line]
    assert config_issues(stack_with_group(engine, managed_server(engine, kind))) == []


def test_every_owned_setting_is_told_at_once() -> None:
    raw = local(settings={"datadir": "/", "PORT": 1, "max_connections": 5, "skip-networking": True})
    assert config_issues(raw) == [
        f"{MAIN}.server.settings.{name}: {OWNED}" for name in ("PORT", "datadir", "skip-networking")
    ]


@pytest.mark.parametrize(("raw", "line"), table(NAMES))
def test_a_bad_name_is_told_with_the_rule_or_by_how_much_it_is_too_long(raw: dict[str, Any], line: str) -> None:
    assert config_issues(raw) == [line]


@pytest.mark.parametrize(
    ("engine", "application", "group"),
    [("redis", "a" * 53, "b" * 46), ("mysql", "shop", "b" * 27), ("postgresql", "a" * 21, "b" * 41)],
    ids=["redis", "mysql", "postgresql"],
)
def test_a_name_at_its_limit_is_good(engine: str, application: str, group: str) -> None:
    assert config_issues({"applications": {application: {"databases": {engine: {group: None}}}}}) == []


def test_a_user_of_postgresql_is_not_cut_off_silently() -> None:
    name = "a" * 23
    (database, user) = config_issues({"applications": {name: {"databases": {"postgresql": {"b" * 41: None}}}}})
    assert "is too long a name by 2: its database would be named" in database
    assert "is too long a name by 2: its user would be named" in user
    assert user.endswith("and postgresql allows 63 characters")


def test_two_primaries_are_told_at_their_engine() -> None:
    raw = groups(mysql={"main": {"primary": True}, "spare": {"primary": True}, "third": None})
    assert config_issues(raw) == [
        "applications.shop.databases.mysql: has 2 primary groups, main, spare; only one can have the Service named 'mysql'"
    ]


def apps(**applications: Any) -> dict[str, Any]:
    return {"applications": {name.replace("_", "-"): spec for name, spec in applications.items()}}


COLLISIONS = [
    (
        "one namespace twice",
        apps(
            a={"namespace": "x", "databases": {"mysql": {"main": None}}},
            b={"namespace": "x", "databases": {"redis": {"main": None}}},
        ),
        [
            f"applications.b: takes the Namespace 'x', which applications.a {TAKEN}; set createNamespace: false for all but one"
        ],
    ),
    (
        "one group in one namespace",
        apps(
            a={"namespace": "x", "databases": {"mysql": {"main": None, "m": None}}},
            b={"namespace": "x", "createNamespace": False, "databases": {"mysql": {"main": None, "n": None}}},
        ),
        [
            f"applications.b.databases.mysql.main: takes the Secret 'mysql-main'"
            f", which applications.a.databases.mysql.main {TAKEN}; give one another name or namespace"
        ],
    ),
    (
        "one Service in one namespace",
        apps(
            a={"namespace": "x", "databases": {"mysql": {"main": None}}},
            b={"namespace": "x", "createNamespace": False, "databases": {"mysql": {"other": None}}},
        ),
        [
            f"applications.b.databases.mysql.other: takes the Service 'mysql'"
            f", which applications.a.databases.mysql.main {TAKEN}; give the applications a namespace each"
        ],
    ),
    (
        "the environment of an application named like an engine",
        apps(mysql={"databases": {"mysql": {"databases": None}}}),
        [
            f"applications.mysql.databases.mysql.databases: takes the Secret 'mysql-databases'"
            f", which applications.mysql {TAKEN}; give one another name or namespace"
        ],
    ),
    (
        "one Pulumi name",
        apps(
            a={"databases": {"mysql": {"b-mysql-c": None, "d": None}}},
            a_mysql_b={"databases": {"mysql": {"c": None, "d": None}}},
        ),
        [
            f"applications.a-mysql-b.databases.mysql.c: takes the Pulumi name 'a-mysql-b-mysql-c' of its Service"
            f", which applications.a.databases.mysql.b-mysql-c {TAKEN}; {RENAME}",
            f"applications.a-mysql-b.databases.mysql.c: takes the Pulumi name 'a-mysql-b-mysql-c'"
            f", which applications.a.databases.mysql.b-mysql-c {TAKEN}; {RENAME}",
        ],
    ),
    (
        "one Pulumi name of two Services",
        apps(
            shop={"databases": {"mysql": {"redis": None, "x": None}}},
            shop_mysql={"databases": {"redis": {"main": None}}},
        ),
        [
            f"applications.shop-mysql.databases.redis.main: takes the Pulumi name 'shop-mysql-redis' of its Service"
            f", which applications.shop.databases.mysql.redis {TAKEN}; {RENAME}"
        ],
    ),
    (
        "one database on a server",
        {
            "externalServers": {"hq": external_server("mysql")},
            **apps(
                shop_main={"databases": {"mysql": {"x": provisioned_on("hq")}}},
                shop={"databases": {"mysql": {"main-x": provisioned_on("hq")}}},
            ),
        },
        [
            f"applications.shop.databases.mysql.main-x: takes the {what} 'shop_main_x' on that server"
            f", which applications.shop-main.databases.mysql.x {TAKEN}; {RENAME}"
            for what in ("database", "user")
        ],
    ),
    (
        "one database on a server with two entries",
        {
            "externalServers": {"hq": external_server("mysql", host="db"), "also": external_server("mysql", host="db")},
            **apps(
                shop_main={"databases": {"mysql": {"x": provisioned_on("hq")}}},
                shop={"databases": {"mysql": {"main-x": provisioned_on("also")}}},
            ),
        },
        [
            f"applications.shop.databases.mysql.main-x: takes the {what} 'shop_main_x' on that server"
            f", which applications.shop-main.databases.mysql.x {TAKEN}; {RENAME}"
            for what in ("database", "user")
        ],
    ),
]


@pytest.mark.parametrize(("raw", "lines"), [pytest.param(raw, lines, id=name) for name, raw, lines in COLLISIONS])
def test_two_things_with_one_name_are_told(raw: dict[str, Any], lines: list[str]) -> None:
    assert config_issues(raw) == lines


def test_one_database_name_on_two_servers_is_good() -> None:
    raw = {
        "externalServers": {"hq": external_server("mysql", host="a"), "other": external_server("mysql", host="b")},
        **apps(
            shop_main={"databases": {"mysql": {"x": provisioned_on("hq")}}},
            shop={"databases": {"mysql": {"main-x": provisioned_on("other")}}},
        ),
    }
    assert config_issues(raw) == []


MANY: dict[str, Any] = {
    "environment": "prod",
    "externalServers": {"hq": external_server("mysql", port=0), "Bad": external_server("mysql")},
    "applications": {
        "shop": {
            "databases": {
                "mysql": {
                    "main": {"primary": True, "server": {"kind": "remote"}},
                    "spare": {"primry": True},
                    "third": {"server": {"kind": "local", "version": "5.7", "storage": "10Gi"}},
                },
                "postgresql": {"main": {"server": {"kind": "external", "provisionOn": "nope"}}, "a": {"variant": "x"}},
            },
            "zzz": 1,
        },
        "b": {"databases": {"redis": {"x": {"primary": True}, "y": {"primary": True}}}},
    },
}
TOLD = [
    "applications.b.databases.redis: has 2 primary groups, x, y; only one can have the Service named 'redis'",
    "applications.shop.databases.mysql.main.server.kind: 'remote' is none of dedicated, external, local",
    "applications.shop.databases.mysql.spare.primry: is not a known key; did you mean 'primary'?",
    "applications.shop.databases.mysql.third.server.version: '5.7' is of none of the series of mysql: 8.0, 8.4, 9.7",
    "applications.shop.databases.postgresql.a.variant: 'x' is none of postgresql",
    f"applications.shop.zzz: is not a known key; known keys: {APPLICATION_KEYS}",
    "environment: 'prod' is none of development, production",
    f"servers.Bad: 'Bad' is not a name: {NAME_RULE}",
    "servers.hq.port: '0' is out of range: at least 1",
]


def test_mistakes_of_values_and_of_their_fit_are_told_at_once_and_sorted() -> None:
    """A server that has a mistake itself may be the one that a group means, so that `on` is left alone."""
    assert config_issues(MANY) == TOLD


def test_a_mistake_elsewhere_does_not_hide_a_server_that_is_not_there() -> None:
    raw = copy.deepcopy(MANY)
    del raw["servers"]
    line = (
        "applications.shop.databases.postgresql.main.server.on: 'nope' is none of the stack's servers: there are none"
    )
    assert config_issues(raw) == sorted([*(told for told in TOLD if not told.startswith("servers")), line])


def test_the_message_counts_the_mistakes_and_says_that_nothing_was_changed() -> None:
    with pytest.raises(InvalidStackConfigError) as caught:
        parse_stack(MANY)
    assert str(caught.value) == "\n".join(
        [f"the stack's configuration has {len(TOLD)} mistakes; nothing was changed:", *(f"  {line}" for line in TOLD)]
    )
    with pytest.raises(
        InvalidStackConfigError,
        match=r"^the stack's configuration has 1 mistake; nothing was changed:\n  applications: is missing$",
    ):
        parse_stack({})


def test_a_mistake_is_told_once() -> None:
    assert InvalidStackConfigError([ConfigIssue("b", "x"), ConfigIssue("a", "x"), ConfigIssue("b", "x")]).problems == [
        ConfigIssue("a", "x"),
        ConfigIssue("b", "x"),
    ]


def test_good_input_is_taken_after_bad_input() -> None:
    good = stack_with_group("mysql")
    assert config_issues(good) == []
    assert config_issues(MANY) == TOLD
    assert config_issues(good) == []


def test_parsing_changes_nothing_of_what_it_is_given() -> None:
    raw = copy.deepcopy(MANY)
    config_issues(raw)
    assert raw == MANY
