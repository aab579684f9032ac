"""What `make render` shows of a stack: plain data without any credential, for the summary, the diagram and the page."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from components.application import ApplicationArgs
from components.connection import build_environment_variables
from components.database_group import DatabaseGroupArgs, build_connection_data
from components.persisted.names import environment_secret_name
from components.protection import Protect
from offline.manifests import KUBERNETES_PREFIX, PATCH_SUFFIX, find_application_name
from offline.recorder import PLACEHOLDER, Recorder, Registration
from stacks.config import Stack

__all__ = [
    "ApplicationView",
    "ConnectionEntry",
    "ExternalServerView",
    "GroupView",
    "ObjectView",
    "StackView",
    "build_view",
]

DATABASE_URL = "DATABASE_URL"
RANDOM_PREFIX = "random:"


@dataclass(frozen=True, kw_only=True)
class ConnectionEntry:
    """A key of a connection Secret, with the environment variables that have its value."""

    key: str
    value: str
    """Value of the key, with PLACEHOLDER for the password or the token."""
    variables: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class GroupView:
    """A database group."""

    name: str
    """`<engine>.<group>`"""
    variant: str
    version: str | None
    kind: str
    service: str | None
    port: int | None
    secret: str
    protect: Protect
    addresses: tuple[str, ...]
    """Addresses of a server outside the cluster: `<host>:<port>`."""
    external_server: str | None
    """Entry of `externalServers` on which the program creates the database."""
    tls: str | None
    """TLS mode of the application's connection; None: the client decides."""
    has_database_url: bool
    """Whether `DATABASE_URL` points to the group."""
    connection: tuple[ConnectionEntry, ...]

    @property
    def server(self) -> str:
        """The server's software and its version."""
        return f"{self.variant} {self.version}" if self.version else self.variant


@dataclass(frozen=True, kw_only=True)
class ObjectView:
    """A Kubernetes object, or an object on an external server."""

    api: str
    """API version of a Kubernetes object; otherwise the name of the provider."""
    kind: str
    name: str
    protect: Protect


@dataclass(frozen=True, kw_only=True)
class ApplicationView:
    """An application."""

    name: str
    namespace: str
    creates_namespace: bool
    protect: Protect
    secret: str
    """Name of the environment Secret."""
    pod_labels: Mapping[str, str]
    """Labels of the Pods that the NetworkPolicy allows."""
    has_network_policy: bool
    groups: tuple[GroupView, ...]
    workloads: Mapping[str, tuple[str, ...] | None]
    """Workloads by `<kind>/<name>`, with their containers; None: all containers, which the program reads."""
    objects: tuple[ObjectView, ...]
    warnings: tuple[str, ...]

    @property
    def variables(self) -> list[str]:
        """Names of the application's environment variables."""
        return sorted({name for group in self.groups for entry in group.connection for name in entry.variables})

    @property
    def database_url(self) -> str | None:
        """The group that `DATABASE_URL` points to."""
        return next((group.name for group in self.groups if group.has_database_url), None)


@dataclass(frozen=True, kw_only=True)
class ExternalServerView:
    """An entry of `externalServers`."""

    name: str
    engine: str
    addresses: tuple[str, ...]
    tls: str
    """TLS mode of the program's connection."""
    groups: tuple[str, ...]
    """Groups whose databases the program creates on the server: `<application>.<engine>.<group>`."""


@dataclass(frozen=True, kw_only=True)
class StackView:
    """A stack."""

    name: str
    environment: str
    applications: tuple[ApplicationView, ...]
    external_servers: tuple[ExternalServerView, ...]
    warnings: tuple[str, ...]
    """All warnings about the stack file."""

    @property
    def groups(self) -> list[GroupView]:
        """The groups of all applications."""
        return [group for application in self.applications for group in application.groups]

    @property
    def general_warnings(self) -> list[str]:
        """The warnings that belong to no application."""
        own = {warning for application in self.applications for warning in application.warnings}
        return [warning for warning in self.warnings if warning not in own]


def build_view(name: str, stack: Stack, recorder: Recorder) -> StackView:
    """Return what a stack creates. `recorder` holds the run of the program with the stack."""
    objects = _group_objects(recorder)
    warnings = (*stack.source.warnings, *stack.warnings)
    applications = tuple(
        _build_application_view(application, objects.get(application.name, []), warnings)
        for application in sorted(stack.applications, key=lambda application: application.name)
    )
    return StackView(
        name=name,
        environment=stack.spec.environment,
        applications=applications,
        external_servers=tuple(
            ExternalServerView(
                name=server_name,
                engine=server.engine,
                addresses=tuple(_format_address(host, server.service_port) for host in server.host),
                tls=server.tls,
                groups=tuple(
                    f"{application.name}.{group.name}"
                    for application in applications
                    for group in application.groups
                    if group.external_server == server_name
                ),
            )
            for server_name, server in sorted(stack.spec.external_servers.items())
        ),
        warnings=warnings,
    )


def _format_address(host: str, port: int) -> str:
    """Return `<host>:<port>`, with brackets around an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _build_application_view(
    args: ApplicationArgs, objects: list[ObjectView], warnings: tuple[str, ...]
) -> ApplicationView:
    containers = {
        f"{patch.kind}/{patch.name}": tuple(container.name for container in patch.containers)
        for patch in args.workloads
    }
    groups = sorted(args.database_groups, key=lambda group: (group.engine.name, group.group_name))
    return ApplicationView(
        name=args.name,
        namespace=args.namespace,
        creates_namespace=args.spec.create_namespace,
        protect=args.protect,
        secret=environment_secret_name(args.name),
        pod_labels=args.pod_labels,
        has_network_policy=bool(args.server_policies),
        groups=tuple(_build_group_view(group, has_database_url=group is args.database_url_group) for group in groups),
        workloads={workload: containers.get(workload) for workload in args.outputs["workloads"]},
        objects=tuple(objects),
        warnings=tuple(warning for warning in warnings if f"applications.{args.name}." in warning),
    )


def _build_group_view(args: DatabaseGroupArgs, *, has_database_url: bool) -> GroupView:
    access = args.server_access
    backend = access.backend
    return GroupView(
        name=f"{args.engine.name}.{args.group_name}",
        variant=args.variant.name,
        version=access.version,
        kind=args.spec.server.kind,
        service=args.service_name if backend else None,
        port=backend.port if backend else None,
        secret=args.object_name,
        protect=args.protect,
        addresses=tuple(_format_address(host, backend.port) for host in backend.hosts) if backend else (),
        external_server=access.external_server_name,
        tls=access.tls,
        has_database_url=has_database_url,
        connection=tuple(
            sorted(
                _list_connection_entries(args, has_database_url=has_database_url),
                key=lambda entry: not entry.variables,
            )
        ),
    )


def _list_connection_entries(args: DatabaseGroupArgs, *, has_database_url: bool) -> Iterator[ConnectionEntry]:
    """Yield the connection Secret's keys. The values come from a placeholder, so none contains a credential."""
    placeholder = None if args.server_access.password_source is None else PLACEHOLDER
    data = build_connection_data(args, placeholder, args.server_entries)
    # With the keys as values, the variables map to their keys.
    keys = {key: key for key in data}
    key_by_variable = build_environment_variables(
        args.engine.name, args.group_name, keys, is_primary=args.is_primary
    ) | ({DATABASE_URL: "uri"} if has_database_url else {})
    for key, value in data.items():
        variables = tuple(sorted(name for name, other in key_by_variable.items() if other == key))
        yield ConnectionEntry(key=key, value=value, variables=variables)


def _group_objects(recorder: Recorder) -> dict[str, list[ObjectView]]:
    """Return the objects that the program creates in the cluster and on external servers, by application."""
    objects: dict[str, list[ObjectView]] = {}
    for registration in recorder.registrations.values():
        is_object = registration.custom and registration.parent in recorder.registrations
        if (
            is_object
            and not registration.type.startswith(RANDOM_PREFIX)
            and not registration.type.endswith(PATCH_SUFFIX)
        ):
            application = find_application_name(recorder, registration)
            objects.setdefault(application, []).append(_build_object_view(registration))
    return {
        application: sorted(views, key=lambda view: (view.kind != "Namespace", view.name, view.kind))
        for application, views in objects.items()
    }


def _build_object_view(registration: Registration) -> ObjectView:
    inputs, is_kubernetes = registration.inputs, registration.type.startswith(KUBERNETES_PREFIX)
    return ObjectView(
        api=inputs["apiVersion"] if is_kubernetes else registration.type.partition(":")[0],
        kind=registration.type.rpartition(":")[2],
        name=inputs["metadata"]["name"] if is_kubernetes else registration.name,
        protect=registration.protect or ("retain" if registration.retain_on_delete else False),
    )
