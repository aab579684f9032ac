"""Names of everything that the program creates, as pure functions of the stack file.

A name never depends on another resource, so a Secret can hold the server's address before the server exists. Names are
persisted in clusters, on database servers and in Pulumi's state.

Limits: 63 characters for Services and label values, which are DNS labels (RFC 1123); 52 characters for a StatefulSet,
because a label of its Pods holds its name and a revision of eleven characters.
"""

__all__ = [
    "APPLICATION_TYPE",
    "DATABASE_GROUP_TYPE",
    "DATABASE_RECORD_TYPE",
    "MAX_CRON_JOB_NAME_LENGTH",
    "MAX_DNS_LABEL_LENGTH",
    "MAX_STATEFUL_SET_NAME_LENGTH",
    "REMOVED_WORKLOADS",
    "account_secret_name",
    "alerts_name",
    "backup_name",
    "cluster_name",
    "copy_name",
    "copy_service_name",
    "database_account_name",
    "endpoint_slice_resource_name",
    "environment_secret_name",
    "network_policy_name",
    "network_policy_resource_name",
    "object_name",
    "read_service_name",
    "repository_job_name",
    "resource_name",
    "second_account_name",
    "second_account_resource_name",
    "service_name",
    "service_resource_name",
    "variable_name",
    "verification_name",
    "workload_resource_name",
]

APPLICATION_TYPE = "database-groups:index:Application"
DATABASE_GROUP_TYPE = "database-groups:index:DatabaseGroup"
DATABASE_RECORD_TYPE = "database-groups:index:DatabaseRecord"
"""Type tokens of the components in Pulumi's state. `index` is the module that component packages use."""
REMOVED_WORKLOADS = "removed/workloads"
"""Pulumi name of the parent of patches whose workloads were deleted. No application's name contains a `/`."""
MAX_DNS_LABEL_LENGTH = 63
MAX_STATEFUL_SET_NAME_LENGTH = 52
MAX_CRON_JOB_NAME_LENGTH = 52
"""The name of its Jobs has a suffix of eleven characters."""


def object_name(engine: str, group: str) -> str:
    """Return the name of a group's server, volume claim and connection Secret: `mysql-main`."""
    return f"{engine}-{group}"


def service_name(engine: str, group: str, *, is_primary: bool) -> str:
    """Return the name of a group's Service: `mysql` for the primary group, otherwise `mysql-main`."""
    return engine if is_primary else f"{engine}-{group}"


def read_service_name(service: str) -> str:
    """Return the name of the Service of the replicas that serve reads: `mysql-read`."""
    return f"{service}-read"


def account_secret_name(server: str) -> str:
    """Return the name of the Secret from which an operator reads the application's account: `mysql-main-account`."""
    return f"{server}-account"


def cluster_name(server: str, suffix: str) -> str:
    """Return the name of the custom resource of a cluster: that of the server, and the suffix of the engine."""
    return f"{server}{suffix}"


def copy_name(server: str, run: int) -> str:
    """Return the name of the Job that fills a group, and of its objects: `postgresql-next-from-1`."""
    return f"{server}-from-{run}"


def copy_service_name(server: str) -> str:
    """Return the name of the Service by which a copy reaches a server: `postgresql-next-from`.

    It is in the certificates of a cluster, so it is the same for all runs.
    """
    return f"{server}-from"


def backup_name(server: str) -> str:
    """Return the name of the CronJob that saves a group, and of its objects: `postgresql-main-backup`."""
    return f"{server}-backup"


def verification_name(server: str) -> str:
    """Return the name of the CronJob that verifies backups, and of its ConfigMap: `postgresql-main-verify`."""
    return f"{server}-verify"


def repository_job_name(backup: str, digest: str) -> str:
    """Return the name of the Job that creates a repository: `postgresql-main-backup-1a2b3c4d`."""
    return f"{backup}-{digest}"


def environment_secret_name(application: str) -> str:
    """Return the name of the Secret with an application's environment variables: `shop-databases`."""
    return f"{application}-databases"


def alerts_name(application: str) -> str:
    """Return the name of the PrometheusRule with an application's alerts: `shop-databases`."""
    return f"{application}-databases"


def network_policy_name(application: str) -> str:
    """Return the name of the NetworkPolicy of an application's servers: `shop-databases`."""
    return f"{application}-databases"


def network_policy_resource_name(application: str, policy: str) -> str:
    """Return the Pulumi name of a NetworkPolicy: `shop-network-policy`, or `shop-mysql-main-network-policy`."""
    is_shared = policy == network_policy_name(application)
    return f"{application}-network-policy" if is_shared else f"{application}-{policy}-network-policy"


def database_account_name(application: str, group: str) -> str:
    """Return the name of a group's database and user: `shop_main`. `[a-z0-9_]` needs no quotes on any server."""
    return f"{application}_{group}".replace("-", "_")


def second_account_name(username: str) -> str:
    """Return the name of a group's second user: `shop_main__b`. With one `_` it could be another group's user."""
    return f"{username}__b"


def resource_name(application: str, engine: str, group: str, suffix: str | None = None) -> str:
    """Return the Pulumi name of a group (`shop-mysql-main`) or of a part of it (`shop-mysql-main-password`)."""
    name = f"{application}-{engine}-{group}"
    return f"{name}-{suffix}" if suffix else name


def second_account_resource_name(name: str) -> str:
    """Return the Pulumi name of a part of a group's second account: `shop-postgresql-main-role-b`."""
    return f"{name}-b"


def service_resource_name(application: str, service: str) -> str:
    """Return the Pulumi name of a Service: `shop-mysql`.

    It depends on the Service and not on the group. When another group becomes primary, Pulumi updates the Service
    `mysql` in place; it does not delete it for one group while it creates it for the other.
    """
    return f"{application}-{service}"


def endpoint_slice_resource_name(application: str, endpoint_slice: str) -> str:
    """Return the Pulumi name of an EndpointSlice: `shop-mysql-main-endpoints`."""
    return f"{application}-{endpoint_slice}-endpoints"


def workload_resource_name(application: str, kind: str, name: str) -> str:
    """Return the Pulumi name of a workload's patch: `shop-deployment-web`."""
    return f"{application}-{kind.lower()}-{name}"


def variable_name(engine: str, group: str | None, suffix: str) -> str:
    """Return the name of an environment variable: `MYSQL_MAIN_PASSWORD`, or `MYSQL_PASSWORD` without a group."""
    return "_".join(word for word in (engine, group, suffix) if word).replace("-", "_").upper()
