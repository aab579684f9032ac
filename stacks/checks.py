"""What no single value shows: whether the parts of a stack fit together. Each check lists every mistake that it finds."""

from collections.abc import Hashable, Iterable, Iterator

from components.application import ApplicationArgs
from components.credentials import Generated
from components.database_group import DatabaseGroupArgs
from components.names import LABEL_LIMIT, SERVER_LIMIT, environment_secret_name, server_name, service_resource_name, workload_resource_name
from components.servers import KINDS
from stacks.problems import Problem

__all__ = ["mistakes", "warnings"]

Claim = tuple[Hashable, str, str, str]
"""A name that may be taken once: what tells it from others, how to speak of it, whose it is, what to do if it is taken."""


def mistakes(applications: Iterable[ApplicationArgs]) -> Iterator[Problem]:
    """Every mistake of a stack's applications."""
    applications = list(applications)
    groups = [group for application in applications for group in application.groups()]
    for application in applications:
        yield from _name_of_application(application)
        yield from _primaries(application)
    sound = [group for group in groups if not list(_group(group))]
    for group in groups:
        yield from _group(group)
    yield from _taken_twice(claim for application in applications for claim in _claims_of_workloads(application))
    yield from _taken_twice(claim for application in applications for claim in _claims_of_patches(application))
    yield from _taken_twice(claim for application in applications for claim in _claims_of_application(application))
    yield from _taken_twice(claim for application in applications for group in application.groups() for claim in _claims_of_group(group, application))
    yield from _taken_twice(claim for group in sound for claim in _claims_on_server(group))


def warnings(applications: Iterable[ApplicationArgs]) -> Iterator[Problem]:
    """What works, and is not advised."""
    for group in (group for application in applications for group in application.groups()):
        reason = KINDS[group.spec.server.kind].production_warning
        if group.platform.production and reason:
            yield Problem(f"{group.path}.server", reason)


def _name_of_application(application: ApplicationArgs) -> Iterator[Problem]:
    name = environment_secret_name(application.name)
    if len(name) > LABEL_LIMIT:
        yield Problem(f"applications.{application.name}", f"is too long a name by {len(name) - LABEL_LIMIT}: its Secret would be named {name!r}")


def _primaries(application: ApplicationArgs) -> Iterator[Problem]:
    for engine in application.spec.databases:
        primaries = _primary_groups(application, engine)
        if len(primaries) > 1:
            yield Problem(
                f"applications.{application.name}.databases.{engine}",
                f"has {len(primaries)} primary groups, {', '.join(primaries)}; only one can have the Service named {engine!r}",
            )


def _primary_groups(application: ApplicationArgs, engine: str) -> list[str]:
    return [name for name, group in application.spec.databases[engine].items() if group.primary]


def _group(group: DatabaseGroupArgs) -> Iterator[Problem]:
    """The mistakes of one group by itself."""
    path, engine = group.path, group.engine
    flavours = [flavour.name for flavour in engine.flavours]
    if group.spec.flavour is not None and group.spec.flavour not in flavours:
        yield Problem(f"{path}.flavour", f"{group.spec.flavour!r} is none of {', '.join(sorted(flavours))}")
        return
    if group.platform.production and "server" not in group.spec.model_fields_set:
        yield Problem(f"{path}.server", f"is missing; in production every group says where its server comes from: {', '.join(sorted(KINDS))}")
    name = server_name(engine.name, group.group)
    if len(name) > SERVER_LIMIT:
        yield Problem(path, f"is too long a name by {len(name) - SERVER_LIMIT}: a server can be named with {SERVER_LIMIT} characters, not {name!r}")
    found = [
        Problem(f"{path}.server.{key}" if key else f"{path}.server", message)
        for key, message in KINDS[group.spec.server.kind].mistakes(group.for_server(), group.spec.server)
    ]
    yield from found
    if not found:
        yield from _account(group, path)


def _account(group: DatabaseGroupArgs, path: str) -> Iterator[Problem]:
    access = group.access
    if not isinstance(access.password, Generated):
        if group.spec.rotation:
            yield Problem(f"{path}.rotation", "has no effect: the password of this group is not made by the program")
        return
    limits = (("user", access.account.username, group.engine.username_limit), ("database", access.account.database, group.engine.database_limit))
    for what, name, limit in limits:
        if name is not None and limit is not None and len(name) > limit:
            yield Problem(
                path, f"is too long a name by {len(name) - limit}: its {what} would be named {name!r}, and {group.engine.name} allows {limit} characters"
            )


def _claims_of_application(application: ApplicationArgs) -> Iterator[Claim]:
    path, secret = f"applications.{application.name}", environment_secret_name(application.name)
    if application.spec.create_namespace:
        yield ("Namespace", application.namespace), f"the Namespace {application.namespace!r}", path, "set createNamespace: false for all but one"
    yield ("Secret", application.namespace, secret), f"the Secret {secret!r}", path, "give one another name"
    for group in application.groups():
        yield ("Secret", application.namespace, group.secret), f"the Secret {group.secret!r}", group.path, "give one another name or namespace"


def _claims_of_group(group: DatabaseGroupArgs, application: ApplicationArgs) -> Iterator[Claim]:
    path = group.path
    yield ("group", group.resource_name), f"the Pulumi name {group.resource_name!r}", path, "give one another name"
    if len(_primary_groups(application, group.engine.name)) > 1 and group.default:
        return  # that these take one Service is told already
    pulumi_service = service_resource_name(group.application, group.service)
    # Only the first group with a name that two applications share in one namespace is worth telling: the Secret's name is taken too.
    if group.default:
        yield ("Service", group.namespace, group.service), f"the Service {group.service!r}", path, "give the applications a namespace each"
    yield ("service", pulumi_service), f"the Pulumi name {pulumi_service!r} of its Service", path, "give one another name"


def _claims_of_workloads(application: ApplicationArgs) -> Iterator[Claim]:
    for number, workload in enumerate(application.spec.workloads):
        path, what = f"applications.{application.name}.workloads[{number}]", f"the {workload.kind} {workload.name!r}"
        yield (application.namespace, workload.kind, workload.name), what, path, "name each workload once, with all its containers"


def _claims_of_patches(application: ApplicationArgs) -> Iterator[Claim]:
    for kind, name in dict.fromkeys((workload.kind, workload.name) for workload in application.spec.workloads):
        pulumi_name = workload_resource_name(application.name, kind, name)
        yield (kind, pulumi_name), f"the Pulumi name {pulumi_name!r} with its {kind} {name!r}", f"applications.{application.name}", "give one another name"


def _claims_on_server(group: DatabaseGroupArgs) -> Iterator[Claim]:
    """The user and the database that are made on a server which other groups use too."""
    access = group.access
    if not (isinstance(access.password, Generated) and access.backend and access.backend.hosts):
        return
    server = (access.backend.hosts, access.backend.port)
    for what, name in (("database", access.account.database), ("user", access.account.username)):
        if name is not None:
            yield (what, server, name), f"the {what} {name!r} on that server", group.path, "give one another name"


def _taken_twice(claims: Iterable[Claim]) -> Iterator[Problem]:
    owners: dict[Hashable, str] = {}
    for identity, name, path, cure in claims:
        owner = owners.setdefault(identity, path)
        if owner != path:
            yield Problem(path, f"takes {name}, which {owner} takes already; {cure}")
