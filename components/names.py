"""Every name that the program gives, as pure functions of what the user wrote.

A name never depends on another resource, so a Secret can say where its server will be before the server exists.
Limits: 63 for a DNS label (RFC 1123), which Services and label values are; 52 for a StatefulSet, whose Pods carry its name
and an eleven-character revision in one label value.
"""

APPLICATION_TYPE_TOKEN = "database-groups:components:Application"
DATABASE_GROUP_TYPE_TOKEN = "database-groups:components:DatabaseGroup"
"""The types of the components in Pulumi's state, by which the next update finds what they said of themselves."""
MAX_DNS_LABEL_LENGTH = 63
MAX_STATEFUL_SET_NAME_LENGTH = 52

__all__ = [
    "APPLICATION_TYPE_TOKEN",
    "DATABASE_GROUP_TYPE_TOKEN",
    "MAX_DNS_LABEL_LENGTH",
    "MAX_STATEFUL_SET_NAME_LENGTH",
    "database_account_name",
    "environment_secret_name",
    "network_policy_name",
    "object_name",
    "resource_name",
    "service_name",
    "service_resource_name",
    "variable_name",
    "workload_resource_name",
]


def object_name(engine: str, group: str) -> str:
    """The name of a group's server, volume claim and Secret, whichever group is primary: `mysql-main`."""
    return f"{engine}-{group}"


def service_name(engine: str, group: str, *, is_primary: bool) -> str:
    """The name by which applications reach a group: `mysql` where it takes the engine's is_primary names, else `mysql-main`."""
    return engine if is_primary else f"{engine}-{group}"


def environment_secret_name(application: str) -> str:
    """The name of the Secret that holds an application's variables: `shop-databases`."""
    return f"{application}-databases"


def network_policy_name(application: str) -> str:
    """The name of the NetworkPolicy of an application's servers: `shop-databases`."""
    return f"{application}-databases"


def database_account_name(application: str, group: str) -> str:
    """The name of a group's database and of its user: `shop_main`, of `[a-z0-9_]` alone so that no server needs it quoted."""
    return f"{application}_{group}".replace("-", "_")


def resource_name(application: str, engine: str, group: str, suffix: str | None = None) -> str:
    """The Pulumi name of a group (`shop-mysql-main`) or of a part of it (`shop-mysql-main-password`)."""
    name = f"{application}-{engine}-{group}"
    return f"{name}-{suffix}" if suffix else name


def service_resource_name(application: str, service: str) -> str:
    """The Pulumi name of a Service: `shop-mysql`.

    It follows the Service and not the group: when another group becomes primary, the Service `mysql` is updated where it is,
    rather than deleted for one group while it is created for the other.
    """
    return f"{application}-{service}"


def workload_resource_name(application: str, kind: str, name: str) -> str:
    """The Pulumi name of what is put into a workload: `shop-deployment-web`."""
    return f"{application}-{kind.lower()}-{name}"


def variable_name(engine: str, group: str | None, suffix: str) -> str:
    """An environment variable: `MYSQL_MAIN_PASSWORD`, or `MYSQL_PASSWORD` for the group with the default names."""
    return "_".join(word for word in (engine, group, suffix) if word).replace("-", "_").upper()
