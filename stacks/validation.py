"""Validation across several values of a stack: names and their lengths, uniqueness, primary groups, namespaces."""

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from components.application import ApplicationArgs, find_copy_cycle
from components.copies.spec import GroupAddress
from components.database_group import DatabaseGroupArgs
from components.persisted.names import (
    MAX_CRON_JOB_NAME_LENGTH,
    MAX_DNS_LABEL_LENGTH,
    MAX_STATEFUL_SET_NAME_LENGTH,
    database_account_name,
    environment_secret_name,
    service_resource_name,
    workload_resource_name,
)
from components.servers import SERVER_KINDS
from components.spec import format_choices
from stacks.errors import ConfigIssue, Location, format_path, shorten
from stacks.suggestions import find_nearest, suggest_choice

__all__ = ["list_production_warnings", "validate_applications"]

RENAME = "rename one application or group"
KUBERNETES_PREFIX = "kube-"
DEFAULT_NAMESPACE = "default"


@dataclass(frozen=True, kw_only=True)
class NameClaim:
    """A name that only one part of the stack can have."""

    identity: Hashable
    """What distinguishes the name from others."""
    owner: Location
    description: str
    """The name in a message."""
    remedy: str = RENAME


def validate_applications(
    applications: Sequence[ApplicationArgs], *, is_server_invalid: Callable[[str], bool] = lambda _name: False
) -> Iterator[ConfigIssue]:
    """Yield all issues of a stack's applications.

    `is_server_invalid` returns whether an entry of `externalServers` has errors of its own. The groups on such a
    server are not validated against it.
    """
    valid_groups: list[DatabaseGroupArgs] = []
    for application in applications:
        yield from _validate_namespace(application)
        yield from _validate_primary_groups(application)
        yield from _validate_database_url(application)
        has_long_name = False
        for issue in _validate_application_name(application):
            has_long_name = True
            yield issue
        for group in application.database_groups:
            if _is_server_missing(group, is_server_invalid):
                continue
            issues = list(_validate_group(group, with_account_names=not has_long_name))
            yield from issues
            valid_groups += [] if issues else [group]
    yield from _validate_backups(valid_groups)
    yield from _validate_sources(applications, valid_groups)
    yield from _validate_shared_namespaces(applications)
    yield from _validate_unique(claim for application in applications for claim in _claim_workloads(application))
    yield from _validate_unique(claim for application in applications for claim in _claim_pulumi_names(application))
    yield from _validate_unique(claim for group in valid_groups for claim in _claim_databases(group))


def list_production_warnings(applications: Iterable[ApplicationArgs]) -> Iterator[ConfigIssue]:
    """Yield the warnings of a production stack: server kinds that are not for production, groups without backups."""
    for group in (group for application in applications for group in application.database_groups):
        if not group.platform.production:
            continue
        reason = group.server_kind.production_warning
        if reason:
            yield ConfigIssue((*group.config_location, "server"), reason)
        if group.backup_spec is None and group.spec.backup is None:
            advice = "set `backup`" if group.supports_copies else f"save the data of {group.engine.name} by other means"
            message = f"no backups; {advice} (docs/backup.md), or set `backup: false`"
            yield ConfigIssue(group.config_location, message)


def _validate_application_name(application: ApplicationArgs) -> Iterator[ConfigIssue]:
    """Reject a name that is too long for the environment Secret. The longest valid name also fits the accounts."""
    secret = environment_secret_name(application.name)
    if len(secret) <= MAX_DNS_LABEL_LENGTH:
        return
    lengths = [MAX_DNS_LABEL_LENGTH - len(environment_secret_name(""))]
    for group in application.database_groups:
        limits = (group.engine.max_username_length, group.engine.max_database_name_length)
        lengths += [limit - len(database_account_name("", group.group_name)) for limit in limits if limit]
    yield ConfigIssue(
        ("applications", application.name),
        f"name too long: the environment Secret would have a name of {len(secret)} characters"
        f" (limit {MAX_DNS_LABEL_LENGTH}); shorten the application name to {max(1, min(lengths))}",
    )


def _validate_namespace(application: ApplicationArgs) -> Iterator[ConfigIssue]:
    """Reject the namespaces of Kubernetes itself."""
    name, location = application.namespace, _find_namespace_location(application)
    if name.startswith(KUBERNETES_PREFIX):
        yield ConfigIssue(location, f"namespace '{name}' is reserved for Kubernetes; set another `namespace`")
    elif name == DEFAULT_NAMESPACE and application.spec.create_namespace:
        yield ConfigIssue(location, f"namespace '{name}' exists in every cluster; set `createNamespace: false`")


def _find_namespace_location(application: ApplicationArgs) -> Location:
    location: Location = ("applications", application.name)
    return (*location, "namespace") if application.spec.namespace else location


def _validate_primary_groups(application: ApplicationArgs) -> Iterator[ConfigIssue]:
    for engine, groups in application.spec.databases.items():
        primaries = [name for name, group in groups.items() if group.primary]
        if len(primaries) > 1:
            names = ", ".join(map(shorten, primaries))
            yield ConfigIssue(
                ("applications", application.name, "databases", engine),
                f"{len(primaries)} groups are primary ({names}); remove `primary: true` from all but one",
            )


def _validate_database_url(application: ApplicationArgs) -> Iterator[ConfigIssue]:
    """Reject a `databaseUrl` that is not a relational group of the application."""
    path = application.spec.database_url
    relational = [group.path for group in application.database_groups if group.engine.supports_database_url]
    if path is not None and path not in relational:
        advice = suggest_choice(path, relational) if relational else "remove it"
        message = f"'{path}' is not a MySQL, PostgreSQL or SQLite group of the application; {advice}"
        yield ConfigIssue(("applications", application.name, "databaseUrl"), message)


def _is_server_missing(group: DatabaseGroupArgs, is_server_invalid: Callable[[str], bool]) -> bool:
    """Return whether the group's external server was left out because of its own errors."""
    name = getattr(group.spec.server, "provision_on", None)
    return name is not None and name not in group.platform.external_servers and is_server_invalid(name)


def _validate_group(group: DatabaseGroupArgs, *, with_account_names: bool) -> Iterator[ConfigIssue]:
    """Yield the issues of one group, independent of all others."""
    location, engine = group.config_location, group.engine
    variants = [variant.name for variant in engine.variants]
    if group.spec.variant is not None and group.spec.variant not in variants:
        advice = suggest_choice(group.spec.variant, variants)
        yield ConfigIssue((*location, "variant"), f"unsupported variant {shorten(group.spec.variant)!r}; {advice}")
        return
    if group.platform.production and "server" not in group.spec.model_fields_set:
        kinds = format_choices(sorted(name for name, kind in SERVER_KINDS.items() if kind.production_warning is None))
        yield ConfigIssue((*location, "server"), f"required in production; set `server` to {kinds}")
    excess = len(group.object_name) - MAX_STATEFUL_SET_NAME_LENGTH
    if excess > 0:
        yield ConfigIssue(
            location,
            f"name too long: the server would have a name of {len(group.object_name)} characters (limit"
            f" {MAX_STATEFUL_SET_NAME_LENGTH}); shorten the group name to {len(group.group_name) - excess}",
        )
    issues = [
        ConfigIssue((*location, "server", *_split_key(key)), f"{message}{_suggest_server(group, key)}")
        for key, message in group.server_kind.validate(group.server_args, group.spec.server)
    ]
    yield from issues
    if not issues:
        yield from _validate_password_version(group)
        yield from _validate_recreate(group)
        yield from _validate_account_names(group) if with_account_names and excess <= 0 else ()


def _split_key(key: str) -> tuple[str, ...]:
    """Return the location of a server's key. A setting's name can contain dots."""
    name, _, setting = key.partition(".")
    return tuple(step for step in (name, setting) if step)


def _suggest_server(group: DatabaseGroupArgs, key: str) -> str:
    """Return a suggestion for a misspelt name of an external server, as the end of a message."""
    names = group.platform.external_servers
    name = getattr(group.spec.server, "provision_on", None)
    nearest = find_nearest(name, names) if key == "provisionOn" and name and name not in names else None
    return f"; did you mean '{nearest}'?" if nearest else ""


def _validate_password_version(group: DatabaseGroupArgs) -> Iterator[ConfigIssue]:
    location = (*group.config_location, "passwordVersion")
    if group.spec.password_version and not group.server_access.account_is_managed:
        yield ConfigIssue(location, "not supported for existing accounts; change `password` instead")
    elif group.spec.password_version and group.engine.credential_key is None:
        yield ConfigIssue(location, f"not supported for {group.engine.name}, which has no password; remove it")


def _validate_recreate(group: DatabaseGroupArgs) -> Iterator[ConfigIssue]:
    if group.spec.recreate and not group.server_access.external_server_name:
        yield ConfigIssue((*group.config_location, "recreate"), "supported with `provisionOn` only; remove it")


def _validate_backup(group: DatabaseGroupArgs) -> Iterator[ConfigIssue]:
    """Yield the issue of a group's `backup`; the first one only."""
    stores, spec, engine = group.platform.backup_stores, group.backup_spec, group.engine
    location: Location = (*group.config_location, "backup") if group.spec.backup else ("backup",)
    excess = len(group.backup_name) - MAX_CRON_JOB_NAME_LENGTH
    if spec is None:
        return
    if not group.supports_copies:
        message = f"not supported for {engine.name}{_explain_obstacle(group)}; set `backup: false`, and save the data"
        yield ConfigIssue(location, f"{message} by other means (docs/engines/{engine.name}.md)")
    elif group.backup_store is None:
        message = f"set `store` to {format_choices(sorted(stores))}" if stores else "add a store to `backupStores`"
        yield ConfigIssue(location, f"the store is missing; {message}")
    elif group.backup_store not in stores:
        advice = suggest_choice(group.backup_store, stores) if stores else "add it to `backupStores`"
        yield ConfigIssue((*location, "store"), f"unknown store {shorten(group.backup_store)!r}; {advice}")
    elif excess > 0:
        message = f"name too long for backups: the CronJob would have a name of {len(group.backup_name)} characters"
        advice = f"shorten the group name to {len(group.group_name) - excess}, or set `backup: false`"
        yield ConfigIssue(group.config_location, f"{message} (limit {MAX_CRON_JOB_NAME_LENGTH}); {advice}")


def _validate_continuous_backup(group: DatabaseGroupArgs) -> Iterator[ConfigIssue]:
    """Yield the issue of `continuous`. The stack's value concerns only groups that support it."""
    spec, cluster, repository = group.backup_spec, group.engine.cluster, group.repository
    if spec is None or repository is None or not spec.continuous:
        return
    is_own = bool(group.spec.backup and group.spec.backup.continuous)
    location: Location = (*(group.config_location if is_own else ()), "backup", "continuous")
    if not group.supports_continuous_backup:
        if cluster is None or not cluster.has_continuous_backup:
            reason = f"not supported for {group.engine.name}: no operator saves each change of it; remove it"
        else:
            reason = "needs a server cluster; set `replicas` of `server`, or remove it"
        if is_own:
            yield ConfigIssue(location, reason)
    elif repository.store.find_bucket("") is None:
        yield ConfigIssue(
            location, "the operators save in a store of the kind `s3` only; set `store` to one, or remove it"
        )
    elif repository.store.is_region_missing:
        message = "an operator does not request the region of a bucket from Amazon; set it"
        yield ConfigIssue(("backupStores", f"{group.backup_store}", "region"), message)
    elif spec.keep.daily is None:
        message = "needs `daily` of `keep`, the number of days to whose moments a restore is possible; set it"
        yield ConfigIssue(location, message)


def _validate_backups(groups: Sequence[DatabaseGroupArgs]) -> Iterator[ConfigIssue]:
    """Yield the issues of all groups' backups. An issue of the stack's `backup` is the same for all of them."""
    issues = [issue for group in groups for issue in _validate_backup(group)]
    yield from dict.fromkeys(issues or (issue for group in groups for issue in _validate_continuous_backup(group)))


def _validate_sources(
    applications: Sequence[ApplicationArgs], valid_groups: Sequence[DatabaseGroupArgs]
) -> Iterator[ConfigIssue]:
    """Reject a `from` that names no group that can be copied. `valid_groups` have no issues of their own."""
    groups = {group.address: group for application in applications for group in application.database_groups}
    sources: dict[GroupAddress, list[GroupAddress]] = {}
    for group in valid_groups:
        issues = list(_validate_source(group, groups))
        yield from issues
        if group.source and not issues:
            sources[group.address] = [group.source]
    cycle = find_copy_cycle(sources)
    for address in cycle:
        path = ".".join(sources[address][0])
        message = f"{path} is filled from this group, directly or through others; remove one `from`"
        yield ConfigIssue((*groups[address].config_location, "from", "group"), message)
    if not cycle:
        copied = {
            name: {source[0] for (other, *_), (source,) in sources.items() if other == name} - {name}
            for name in {application.name for application in applications}
        }
        for name in sorted(find_copy_cycle(copied)):
            message = f"copies a group of {format_choices(sorted(copied[name]))}, which copies one of this application"
            yield ConfigIssue(("applications", name), f"{message}; copy one direction first, and remove its `from`")


def _explain_obstacle(group: DatabaseGroupArgs) -> str:
    obstacle = group.engine.copy_obstacle
    return f": {obstacle}" if obstacle else ""


def _validate_source(
    group: DatabaseGroupArgs, groups: Mapping[GroupAddress, DatabaseGroupArgs]
) -> Iterator[ConfigIssue]:
    """Yield the issue of a group's `from`, apart from cycles; the first one only."""
    spec, address, engine = group.copy_spec, group.source, group.engine
    if spec is None:
        return
    location, path = (*group.config_location, "from"), group.source_description
    others = [".".join(other) for other in groups if other[1] == engine.name and other != group.address]
    copy_scripts = engine.copy_scripts
    if copy_scripts is None:
        message = f"not supported for {engine.name}{_explain_obstacle(group)}; remove it, and move the data by hand"
        yield ConfigIssue(location, f"{message} (docs/engines/{engine.name}.md)")
    elif spec.overwrite and copy_scripts.empty is None:
        message = (
            f"not supported for {engine.name}, whose data the program cannot delete; remove it, and add a new group"
        )
        yield ConfigIssue((*location, "overwrite"), message)
    elif group.copy_image is None:
        message = f"not supported for {group.variant.name} on an external server: it has no official image; remove it"
        yield ConfigIssue(location, message)
    elif address is None:
        yield from _validate_restored_backup(group, location)
    elif address == group.address:
        message = "the group itself; write another group"
        yield ConfigIssue((*location, "group"), f"{message} of {engine.name}")
    elif address[1] != engine.name:
        message = f"{path} is a group of {address[1]}; write a group of {engine.name}"
        yield ConfigIssue((*location, "group"), message)
    elif address not in groups:
        advice = suggest_choice(path, others) if others else "add the group"
        message = f"the group {path} does not exist; if the copy has run, remove `from` (the data stays)"
        message = f"{message}; otherwise {advice}"
        yield ConfigIssue((*location, "group"), message)


def _validate_restored_backup(group: DatabaseGroupArgs, location: Location) -> Iterator[ConfigIssue]:
    """Yield the issue of a backup that fills a group."""
    stores, spec = group.platform.backup_stores, group.copy_spec
    if group.source_engine != group.engine.name:
        message = f"a backup of {group.source_engine} cannot fill a group of {group.engine.name}; write another group"
        yield ConfigIssue((*location, "group"), message)
    elif group.source_repository is None:
        known = format_choices(sorted(stores)) if stores else "an entry that you add to `backupStores`"
        unknown = f"unknown store {shorten(spec.store)!r}" if spec and spec.store else "the store is missing"
        yield ConfigIssue((*location, "store"), f"{unknown}; set `store` to {known}")


def _validate_account_names(group: DatabaseGroupArgs) -> Iterator[ConfigIssue]:
    """Reject names of a user and a database that are too long for the engine; the first one only."""
    access, engine = group.server_access, group.engine
    if not access.account_is_managed:
        return
    # The second account of a password change has the longest user name.
    username = max((access.account.username or "", *access.usernames), key=len)
    names = {
        "username": (username or None, engine.max_username_length, "user name"),
        "database": (access.account.database, engine.max_database_name_length, "database name"),
    }
    for key, (name, limit, description) in names.items():
        if name is not None and engine.is_reserved_name(name) and not access.external_server_name:
            message = f"{engine.name} reserves the {description} {name!r}; rename the application or the group"
            yield ConfigIssue(group.config_location, message)
            return
        if name is None or limit is None or len(name) <= limit:
            continue
        message = f"the {description} has {len(name)} characters ({engine.name} limit {limit})"
        if key in group.spec.server.model_fields_set:
            yield ConfigIssue((*group.config_location, "server", key), f"{message}; use a shorter name")
            return
        alternative = f", or set `{key}`" if access.external_server_name else ""
        remedy = f"shorten the application or group name{alternative}"
        yield ConfigIssue(group.config_location, f"{message}; {remedy}")
        return


def _validate_shared_namespaces(applications: Sequence[ApplicationArgs]) -> Iterator[ConfigIssue]:
    """Reject objects of one name in one namespace: one issue for each pair of applications."""
    by_namespace: dict[str, list[ApplicationArgs]] = {}
    for application in applications:
        secret = f"Secret '{environment_secret_name(application.name)}'"
        for group in application.database_groups:
            if f"Secret '{group.object_name}'" == secret:
                message = f"name conflict: the {secret} also holds the application's environment; rename the group"
                yield ConfigIssue(group.config_location, message)
        for other in by_namespace.setdefault(application.namespace, []):
            shared = _find_shared_objects(application, other)
            path, location = format_path(("applications", other.name)), _find_namespace_location(application)
            if shared:
                names = " and ".join(shared)
                yield ConfigIssue(
                    location,
                    f"name conflict with {path}: both create {names} in namespace '{application.namespace}';"
                    " use separate namespaces",
                )
            elif application.spec.create_namespace and other.spec.create_namespace:
                yield ConfigIssue(
                    location,
                    f"name conflict with {path}: both create the namespace '{application.namespace}';"
                    " set `createNamespace: false` for one of them",
                )
        by_namespace[application.namespace].append(application)


def _find_shared_objects(first: ApplicationArgs, second: ApplicationArgs) -> list[str]:
    """Return the Services and Secrets that two applications would both create, one for each engine."""
    objects, others = _list_objects(first), _list_objects(second)
    by_engine: dict[str, str] = {}
    for name, engine in objects.items():
        if name in others:
            by_engine.setdefault(engine, name)
    return list(by_engine.values())


def _list_objects(application: ApplicationArgs) -> dict[str, str]:
    """Return the engines of an application's Services and Secrets, by a text with kind and name."""
    groups = application.database_groups
    services = {f"Service '{group.service_name}'": group.engine.name for group in groups}
    secrets = {f"Secret '{group.object_name}'": group.engine.name for group in groups}
    return {**services, **secrets, f"Secret '{environment_secret_name(application.name)}'": ""}


def _claim_workloads(application: ApplicationArgs) -> Iterator[NameClaim]:
    for number, workload in enumerate(application.spec.workloads):
        yield NameClaim(
            identity=(application.namespace, workload.kind, workload.name),
            owner=("applications", application.name, "workloads", number),
            description=f"list the {workload.kind} '{shorten(workload.name)}'",
            remedy="list each workload once, with all its containers",
        )


def _claim_pulumi_names(application: ApplicationArgs) -> Iterator[NameClaim]:
    """Yield the Pulumi names of groups, Services and patches, each once. Names of different types do not conflict."""
    owners: dict[tuple[str, str], Location] = {}
    for group in application.database_groups:
        service = service_resource_name(application.name, group.service_name)
        yield NameClaim(
            identity=("group", group.resource_name),
            owner=group.config_location,
            description=f"would be the Pulumi resource '{shorten(group.resource_name)}'",
        )
        owners.setdefault(("Service", service), group.config_location)
        if group.copy_name:
            copy = service_resource_name(application.name, group.copy_service_name)
            description = f"would create the Service '{shorten(group.copy_service_name)}'"
            yield NameClaim(identity=("Service", copy), owner=group.config_location, description=description)
    for number, workload in enumerate(application.spec.workloads):
        name = workload_resource_name(application.name, workload.kind, workload.name)
        owners.setdefault((workload.kind, name), ("applications", application.name, "workloads", number))
    for identity, owner in owners.items():
        description = f"would be the Pulumi resource '{shorten(identity[1])}'"
        yield NameClaim(identity=identity, owner=owner, description=description)


def _claim_databases(group: DatabaseGroupArgs) -> Iterator[NameClaim]:
    """Yield the database and the user that the program creates on a server that other groups also use."""
    access = group.server_access
    if access.external_server_name is None:
        return
    server = group.platform.external_servers[access.external_server_name].spec
    endpoints = {server.administrator_endpoint, *((host, server.service_port) for host in server.host)}
    names = [("database", access.account.database), *(("user", name) for name in access.usernames)]
    for description, name in names:
        for endpoint in sorted(endpoints):
            yield NameClaim(
                identity=(description, server.engine, endpoint, name),
                owner=group.config_location,
                description=f"create the {description} '{shorten(name or '')}' on one server",
                remedy="set another `database` and `username`",
            )


def _validate_unique(claims: Iterable[NameClaim]) -> Iterator[ConfigIssue]:
    """Reject a name that two parts of the stack claim; one issue for each pair of them."""
    owners: dict[Hashable, Location] = {}
    pairs: set[tuple[Location, Location]] = set()
    for claim in claims:
        owner = owners.setdefault(claim.identity, claim.owner)
        if owner != claim.owner and (owner, claim.owner) not in pairs:
            pairs.add((owner, claim.owner))
            message = f"name conflict with {format_path(owner)}: both {claim.description}; {claim.remedy}"
            yield ConfigIssue(claim.owner, message)
