"""What no single value shows: whether the parts of a stack fit together. Each check lists every mistake that it finds."""

from collections.abc import Hashable, Iterable, Iterator

from components.application import ApplicationArgs
from components.database_group import DatabaseGroupArgs
from components.passwords import GeneratedPassword
from components.persisted.names import (
    MAX_DNS_LABEL_LENGTH,
    MAX_STATEFUL_SET_NAME_LENGTH,
    environment_secret_name,
    object_name,
    service_resource_name,
    workload_resource_name,
)
from components.servers import SERVER_KINDS
from stacks.errors import ConfigIssue

__all__ = ["production_warnings", "validate_applications"]

NameClaim = tuple[Hashable, str, str, str]
"""A name that may be taken once: what tells it from others, how to speak of it, whose it is, what to do if it is taken."""


def validate_applications(applications: Iterable[ApplicationArgs]) -> Iterator[ConfigIssue]:
    """Every mistake of a stack's applications."""
    applications = list(applications)
    groups = [group for application in applications for group in application.database_groups()]
    for application in applications:
        yield from _validate_application_name(application)
        yield from _validate_primary_groups(application)
    valid_groups = [group for group in groups if not list(_validate_group(group))]
    for group in groups:
        yield from _validate_group(group)
    yield from _validate_unique(claim for application in applications for claim in _workload_name_claims(application))
    yield from _validate_unique(claim for application in applications for claim in _patch_name_claims(application))
    yield from _validate_unique(
        claim for application in applications for claim in _application_name_claims(application)
    )
    yield from _validate_unique(
        claim
        for application in applications
        for group in application.database_groups()
        for claim in _group_name_claims(group, application)
    )
    yield from _validate_unique(claim for group in valid_groups for claim in _database_name_claims(group))


def production_warnings(applications: Iterable[ApplicationArgs]) -> Iterator[ConfigIssue]:
    """What works, and is not advised."""
    for group in (group for application in applications for group in application.database_groups()):
        reason = SERVER_KINDS[group.spec.server.kind].production_warning
        if group.platform.production and reason:
            yield ConfigIssue(f"{group.config_path}.server", reason)


def _validate_application_name(application: ApplicationArgs) -> Iterator[ConfigIssue]:
    name = environment_secret_name(application.name)
    if len(name) > MAX_DNS_LABEL_LENGTH:
        yield ConfigIssue(
            f"applications.{application.name}",
            f"is too long a name by {len(name) - MAX_DNS_LABEL_LENGTH}: its Secret would be named {name!r}",
        )


def _validate_primary_groups(application: ApplicationArgs) -> Iterator[ConfigIssue]:
    for engine in application.spec.databases:
        primaries = _primary_groups(application, engine)
        if len(primaries) > 1:
            yield ConfigIssue(
                f"applications.{application.name}.databases.{engine}",
                f"has {len(primaries)} primary groups, {', '.join(primaries)}; only one can have the Service named {engine!r}",
            )


def _primary_groups(application: ApplicationArgs, engine: str) -> list[str]:
    return [name for name, group in application.spec.databases[engine].items() if group.primary]


def _validate_group(group: DatabaseGroupArgs) -> Iterator[ConfigIssue]:
    """The mistakes of one group by itself."""
    path, engine = group.config_path, group.engine
    variants = [variant.name for variant in engine.variants]
    if group.spec.variant is not None and group.spec.variant not in variants:
        yield ConfigIssue(f"{path}.variant", f"{group.spec.variant!r} is none of {', '.join(sorted(variants))}")
        return
    if group.platform.production and "server" not in group.spec.model_fields_set:
        yield ConfigIssue(
            f"{path}.server",
            f"is missing; in production every group says where its server comes from: {', '.join(sorted(SERVER_KINDS))}",
        )
    name = object_name(engine.name, group.group_name)
    if len(name) > MAX_STATEFUL_SET_NAME_LENGTH:
        yield ConfigIssue(
            path,
            f"is too long a name by {len(name) - MAX_STATEFUL_SET_NAME_LENGTH}: a server can be named with {MAX_STATEFUL_SET_NAME_LENGTH} characters, not {name!r}",
        )
    found = [
        ConfigIssue(f"{path}.server.{key}" if key else f"{path}.server", message)
        for key, message in SERVER_KINDS[group.spec.server.kind].validate(group.server_args(), group.spec.server)
    ]
    yield from found
    if not found:
        yield from _validate_account_names(group, path)


def _validate_account_names(group: DatabaseGroupArgs, path: str) -> Iterator[ConfigIssue]:
    access = group.server_access
    if not isinstance(access.password_source, GeneratedPassword):
        if group.spec.password_version:
            yield ConfigIssue(
                f"{path}.rotation", "has no effect: the password of this group is not made by the program"
            )
        return
    limits = (
        ("user", access.account.username, group.engine.max_username_length),
        ("database", access.account.database, group.engine.max_database_name_length),
    )
    for what, name, limit in limits:
        if name is not None and limit is not None and len(name) > limit:
            yield ConfigIssue(
                path,
                f"is too long a name by {len(name) - limit}: its {what} would be named {name!r}, and {group.engine.name} allows {limit} characters",
            )


def _application_name_claims(application: ApplicationArgs) -> Iterator[NameClaim]:
    path, secret = f"applications.{application.name}", environment_secret_name(application.name)
    if application.spec.create_namespace:
        yield (
            ("Namespace", application.namespace),
            f"the Namespace {application.namespace!r}",
            path,
            "set createNamespace: false for all but one",
        )
    yield ("Secret", application.namespace, secret), f"the Secret {secret!r}", path, "give one another name"
    for group in application.database_groups():
        yield (
            ("Secret", application.namespace, group.object_name),
            f"the Secret {group.object_name!r}",
            group.config_path,
            "give one another name or namespace",
        )


def _group_name_claims(group: DatabaseGroupArgs, application: ApplicationArgs) -> Iterator[NameClaim]:
    path = group.config_path
    yield ("group", group.resource_name), f"the Pulumi name {group.resource_name!r}", path, "give one another name"
    if len(_primary_groups(application, group.engine.name)) > 1 and group.is_primary:
        return  # that these take one Service is told already
    pulumi_service = service_resource_name(group.application, group.service_name)
    # Only the first group with a name that two applications share in one namespace is worth telling: the Secret's name is taken too.
    if group.is_primary:
        yield (
            ("Service", group.namespace, group.service_name),
            f"the Service {group.service_name!r}",
            path,
            "give the applications a namespace each",
        )
    yield (
        ("service", pulumi_service),
        f"the Pulumi name {pulumi_service!r} of its Service",
        path,
        "give one another name",
    )


def _workload_name_claims(application: ApplicationArgs) -> Iterator[NameClaim]:
    for number, workload in enumerate(application.spec.workloads):
        path, what = f"applications.{application.name}.workloads[{number}]", f"the {workload.kind} {workload.name!r}"
        yield (
            (application.namespace, workload.kind, workload.name),
            what,
            path,
            "name each workload once, with all its containers",
        )


def _patch_name_claims(application: ApplicationArgs) -> Iterator[NameClaim]:
    for kind, name in dict.fromkeys((workload.kind, workload.name) for workload in application.spec.workloads):
        pulumi_name = workload_resource_name(application.name, kind, name)
        yield (
            (kind, pulumi_name),
            f"the Pulumi name {pulumi_name!r} with its {kind} {name!r}",
            f"applications.{application.name}",
            "give one another name",
        )


def _database_name_claims(group: DatabaseGroupArgs) -> Iterator[NameClaim]:
    """The user and the database that are made on a server which other groups use too."""
    access = group.server_access
    if not (isinstance(access.password_source, GeneratedPassword) and access.backend and access.backend.hosts):
        return
    server = (access.backend.hosts, access.backend.port)
    for what, name in (("database", access.account.database), ("user", access.account.username)):
        if name is not None:
            yield (
                (what, server, name),
                f"the {what} {name!r} on that server",
                group.config_path,
                "give one another name",
            )


def _validate_unique(claims: Iterable[NameClaim]) -> Iterator[ConfigIssue]:
    owners: dict[Hashable, str] = {}
    for identity, name, path, remedy in claims:
        owner = owners.setdefault(identity, path)
        if owner != path:
            yield ConfigIssue(path, f"takes {name}, which {owner} takes already; {remedy}")
