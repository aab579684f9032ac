"""The kind `dedicated` with `replicas`: several servers that the engine's operator runs as a cluster.

The operator gets the credentials in a Secret of its own before the servers exist. The connection Secret follows when
the cluster is ready, so the application never has credentials that no server accepts.
"""

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import pulumi
import pulumi_kubernetes as kubernetes

from components.connection import CA_KEY, encode_secret_data
from components.engines.clusters.definition import ClusterAccess, ClusterObject, ClusterRequest, EngineCluster
from components.passwords import Password
from components.persisted.labels import object_metadata, server_labels
from components.persisted.names import (
    account_secret_name,
    cluster_name,
    copy_service_name,
    read_service_name,
    service_name,
)
from components.planned_objects import PlannedObject
from components.platform import OperatedCluster, ServerAddress
from components.protection import build_data_resource_options
from components.servers.dedicated import DEFAULT_CPU, DedicatedKindSpec
from components.servers.images import resolve_version
from components.servers.kind import OperatedServers, PreparedSecret, ServerAccess, ServerArgs, ServerKind
from components.servers.stateful_set import (
    build_scratch_server,
    read_password_change,
    resolve_stateful_set_access,
    validate_stateful_set_server,
)
from components.service import ServiceBackend
from components.spec import SettingValue, format_choices, parse_quantity
from components.tls import ENCRYPTED_TLS_MODES, VERIFY_FULL

__all__ = ["CLUSTER"]

SMALLEST_SYNCHRONOUS_SIZE = 3
"""Of two servers, the remaining one could confirm no write after the loss of the other one."""


def _get_cluster(args: ServerArgs) -> EngineCluster:
    if args.engine.cluster is None:
        raise ValueError(args.engine.name)
    return args.engine.cluster


def _resolve_access(args: ServerArgs, spec: DedicatedKindSpec) -> ServerAccess:
    """Return the access to a cluster: that of a single server, with the Pods of the operator."""
    cluster, name = _get_cluster(args), _get_name(args)
    access = resolve_stateful_set_access(args, spec)
    image = _find_image(args, spec)
    minutes = spec.start_timeout_minutes
    return replace(
        access,
        backend=_build_backend(args, cluster.find_access(name), minutes),
        volume=replace(access.volume, has_claim=False) if access.volume else None,
        version=_read_release(image) if image else access.version,
        tls=spec.tls,
        accepts_new_password=cluster.scripts is not None,
        operated=OperatedServers(
            replicas=spec.replicas,
            labels=server_labels(args.object_name),
            operator_labels=cluster.operator.pod_labels,
            read_backend=_build_backend(args, cluster.find_read_access(name), minutes)
            if cluster.find_read_access
            else None,
            has_ca=_find_ca_secret(cluster, spec, name) is not None,
            replica_set=cluster.replica_set,
            volume=access.volume,
            runs_scripts=cluster.scripts is not None and cluster.scripts.check is not None,
        ),
    )


def _build_backend(args: ServerArgs, access: ClusterAccess, minutes: int) -> ServiceBackend:
    return ServiceBackend(
        port=args.engine.port or 0,
        target_port=access.target_port,
        copy_port=args.engine.copy_port,
        pod_selector=access.selector,
        start_timeout_minutes=minutes,
    )


def _find_ca_secret(cluster: EngineCluster, spec: DedicatedKindSpec, name: str) -> str | None:
    """Return the Secret with the CA of the servers' certificates; None for servers without TLS."""
    if cluster.find_ca_secret is None or (cluster.requires_tls_choice and spec.tls not in ENCRYPTED_TLS_MODES):
        return None
    return cluster.find_ca_secret(name)


def _find_image(args: ServerArgs, spec: DedicatedKindSpec) -> str | None:
    """Return the operator's own image of the version; None if the user sets an image, or if it has none."""
    series = args.variant.find_series(spec.version or args.variant.default_version)
    return None if spec.image or series is None else _get_cluster(args).images.get(series)


def _read_release(image: str) -> str:
    """Return the release in an image's tag: `8.4.7` for `8.4.7-7.1`."""
    return image.rpartition(":")[2].partition("-")[0].removeprefix("v")


def _get_name(args: ServerArgs) -> str:
    """Return the name of the custom resource."""
    return cluster_name(args.object_name, _get_cluster(args).name_suffix)


def _validate(args: ServerArgs, spec: DedicatedKindSpec) -> Iterator[tuple[str, str]]:
    """Return an error for an engine without an operator, and for what the operator does not support."""
    engine, cluster = args.engine, args.engine.cluster
    if cluster is None:
        reason = f": {engine.cluster_obstacle}" if engine.cluster_obstacle else ""
        yield "replicas", f"not supported for {engine.name}{reason}; remove it"
        return
    if obstacle := cluster.unsupported_variants.get(args.variant.name):
        yield "replicas", f"not supported for {args.variant.name}: {obstacle}; remove it"
        return
    smallest, largest = cluster.sizes
    if not smallest <= spec.replicas <= largest or (cluster.has_odd_size and spec.replicas % 2 == 0):
        sizes = [str(size) for size in range(smallest, largest + 1) if not cluster.has_odd_size or size % 2]
        yield "replicas", f"{cluster.operator.name} supports {format_choices(sizes)} servers of {engine.name}"
    if spec.durability is not None and spec.durability not in cluster.durabilities:
        choices = " and ".join(cluster.durabilities)
        yield "durability", f"{engine.name} supports {choices} clusters only; remove it"
    elif spec.durability == "synchronous" and spec.replicas < SMALLEST_SYNCHRONOUS_SIZE:
        yield "durability", "with two servers, the loss of one would stop all writes; set `replicas: 3`, or remove it"
    if len(_get_name(args)) > cluster.max_name_length:
        limit = cluster.max_name_length - len(_get_name(args)) + len(args.group_name)
        yield "", f"group name too long for {cluster.operator.name}; shorten it to {limit} characters"
    if spec.init_script is not None:
        yield "initScript", "not supported with `replicas`; remove it, and run the statements after the first update"
    yield from _validate_tls(cluster, spec)
    yield from _validate_version(args, spec)
    yield from _validate_settings(args, spec)
    yield from validate_stateful_set_server(args, spec.model_copy(update={"init_script": None}))


def _validate_settings(args: ServerArgs, spec: DedicatedKindSpec) -> Iterator[tuple[str, str]]:
    """Return an error for each setting that the operator sets itself or misreads."""
    cluster, settings_file = _get_cluster(args), args.engine.settings_file
    for name, value in spec.settings.items():
        normalized = settings_file.normalize_name(name) if settings_file else name
        if normalized in cluster.unsupported_settings:
            yield f"settings.{name}", f"reserved: {cluster.operator.name} manages this setting; remove it"
        elif found := sorted(set(str(value)) & set(cluster.forbidden_setting_characters)):
            yield f"settings.{name}", f"{cluster.operator.name} misreads {format_choices(found)}; remove it"


def _validate_tls(cluster: EngineCluster, spec: DedicatedKindSpec) -> Iterator[tuple[str, str]]:
    name = cluster.operator.name
    if spec.tls is not None and cluster.find_ca_secret is None:
        yield "tls", f"{name} creates no certificates; remove it"
    elif spec.tls == VERIFY_FULL and not cluster.certifies_services:
        yield "tls", f"the certificates of {name} do not contain the name of the Service; set `require`"


def _validate_version(args: ServerArgs, spec: DedicatedKindSpec) -> Iterator[tuple[str, str]]:
    """Return an error for a version of which the operator has no image, or which does not name the release."""
    cluster, variant = _get_cluster(args), args.variant
    version = spec.version or variant.default_version
    series = variant.find_series(version)
    if series is None:
        return
    release = resolve_version(variant, spec.version, spec.image)
    if cluster.needs_release and not variant.is_release(release):
        yield "version", f'{cluster.operator.name} needs all numbers of the release; write for example "{series}.1.0"'
    if spec.image or not cluster.images:
        return
    image = cluster.images.get(series)
    choices = format_choices([f'"{series}"' for series in variant.supported_series if series in cluster.images])
    if image is None:
        yield "version", f"{cluster.operator.name} runs {choices} only; use one of these"
    elif not f"{_read_release(image)}.".startswith(f"{version}."):
        yield "version", f'{cluster.operator.name} runs release {_read_release(image)} of {series}; set "{series}"'


def _build_request(args: ServerArgs, spec: DedicatedKindSpec) -> ClusterRequest:
    cluster, access, nodes = _get_cluster(args), _resolve_access(args, spec), args.platform.database_nodes
    engine, memory = args.engine, spec.resources.memory or spec.default_memory
    settings = _merge_settings(args, spec, int(parse_quantity(memory)))
    services = [service_name(engine.name, args.group_name, is_primary=primary) for primary in (True, False)]
    durability = cluster.durabilities[0 if spec.replicas >= SMALLEST_SYNCHRONOUS_SIZE else -1]
    account = access.account
    return ClusterRequest(
        name=_get_name(args),
        namespace=args.namespace,
        service_names=[*services, *map(read_service_name, services), copy_service_name(args.object_name)],
        username=account.username or "",
        database=account.database or account.engine_keys.get("vhost") or account.username or "",
        account_secret=account_secret_name(args.object_name),
        labels=server_labels(args.object_name),
        version=access.version or "",
        image=_find_image(args, spec) or access.image or "",
        run_as_user=args.variant.run_as_user,
        replicas=spec.replicas,
        storage=spec.storage or spec.default_storage,
        storage_class=spec.storage_class,
        cpu=spec.resources.cpu or DEFAULT_CPU,
        memory=memory,
        settings=settings,
        configuration=engine.settings_file.render(settings) if engine.settings_file else "",
        tls=spec.tls,
        durability=spec.durability or durability,
        is_node_exclusive=spec.exclusive_node,
        node_selector=nodes.node_selector,
        tolerations=[item.model_dump(by_alias=True, exclude_none=True) for item in nodes.tolerations],
        continuous_backup=args.continuous_backup,
    )


def _merge_settings(args: ServerArgs, spec: DedicatedKindSpec, memory: int) -> Mapping[str, SettingValue]:
    """Return the user's settings and the program's own, without those that the operator sets itself."""
    cluster, settings_file = _get_cluster(args), args.engine.settings_file
    if settings_file is None:
        return {}
    names = {settings_file.normalize_name(name) for name in spec.settings}
    defaults = {name: value for name, value in cluster.default_settings.items() if name not in names}
    settings = {**defaults, **settings_file.merge_defaults(spec.settings, memory)}
    unsupported = cluster.unsupported_settings
    return {name: value for name, value in settings.items() if settings_file.normalize_name(name) not in unsupported}


def _create_servers(
    args: ServerArgs, spec: DedicatedKindSpec, password: Password | None, parent: pulumi.Resource
) -> PreparedSecret:
    """Create the cluster, and return the connection Secret's CA when the cluster is ready.

    Resources: a Secret with the account, which the operator reads; the objects of the engine's operator.
    """
    cluster, request = _get_cluster(args), _build_request(args, spec)
    value = password.value if password else pulumi.Output.from_input("")

    def build_data(text: str) -> Mapping[str, str]:
        return encode_secret_data(cluster.build_account_entries(request.username, text, request.database))

    data: pulumi.Output[Mapping[str, str]] = pulumi.Output.secret(value.apply(build_data))
    secret = kubernetes.core.v1.Secret(
        f"{args.resource_name}-account",
        metadata=object_metadata(
            request.account_secret, args.namespace, {**args.labels, **cluster.account_labels}, args.platform.stack
        ),
        type="kubernetes.io/basic-auth",
        data=data,
        opts=pulumi.ResourceOptions(parent=parent),
    )
    changes: list[str] = []
    created: list[kubernetes.apiextensions.CustomResource] = []
    for item in cluster.build_objects(request):
        created.append(_create_object(args, item, changes, [secret, *created], parent))
    hooks = _create_password_hook(args, spec)
    return PreparedSecret(
        opts=pulumi.ResourceOptions(depends_on=created, hooks=hooks),
        entries=_wait_for_cluster(args, spec, secret, created, changes),
    )


def _create_password_hook(args: ServerArgs, spec: DedicatedKindSpec) -> pulumi.ResourceHookBinding | None:
    """Create the hook with which the servers accept a new password before the connection Secret changes."""
    scripts, changer, key = _get_cluster(args).scripts, args.platform.password_changer, args.engine.credential_key
    if scripts is None or changer is None or key is None:
        return None

    async def change_password(hook: pulumi.ResourceHookArgs) -> None:
        if change := await read_password_change(hook, key):
            stateful_set, container = scripts.find_container(_get_name(args))
            address = ServerAddress(
                location=args.config_location,
                namespace=str(await pulumi.Output.from_input(args.namespace).future()),
                name=stateful_set,
                container=container,
                password_script=_render_script(args, spec, scripts.change_password),
            )
            await asyncio.to_thread(changer.change_password, address, *change)

    hook = pulumi.ResourceHook(f"{args.resource_name}-change-password", change_password)
    return pulumi.ResourceHookBinding(before_update=[hook])


def _render_script(args: ServerArgs, spec: DedicatedKindSpec, script: str) -> str:
    """Return a script with its variables. Their values need no quotes."""
    username = _resolve_access(args, spec).account.username or ""
    return f"CLUSTER={_get_name(args)} SERVERS={spec.replicas} USERNAME={username}\n{script}"


def _create_object(
    args: ServerArgs,
    item: ClusterObject,
    changes: list[str],
    depends_on: list[pulumi.Resource],
    parent: pulumi.Resource,
) -> kubernetes.apiextensions.CustomResource:
    """Create an object of a cluster. Its name is added to `changes` if this update creates or changes it."""
    name = f"{args.resource_name}-{item.part}"
    opts = pulumi.ResourceOptions(parent=parent, depends_on=depends_on)
    if item.holds_data:
        data_opts = build_data_resource_options(parent, args.protect, deleted_with=args.deleted_with)
        opts = pulumi.ResourceOptions.merge(data_opts, opts)
    if args.platform.cluster_monitor:

        async def add_change(_args: pulumi.ResourceHookArgs) -> None:
            changes.append(item.name)

        hook = pulumi.ResourceHook(f"{name}-change", add_change)
        hooks = pulumi.ResourceHookBinding(after_create=[hook], after_update=[hook])
        opts = pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(hooks=hooks))
    metadata = object_metadata(item.name, args.namespace, {**args.labels, **item.labels}, args.platform.stack)
    return kubernetes.apiextensions.CustomResource(
        name,
        api_version=item.type.api_version,
        kind=item.type.kind,
        metadata={
            **metadata,
            "annotations": {**metadata.get("annotations", {}), **item.annotations},
            **({"finalizers": list(item.finalizers)} if item.finalizers else {}),
        },
        spec=item.spec,
        opts=opts,
    )


def _wait_for_cluster(
    args: ServerArgs,
    spec: DedicatedKindSpec,
    secret: kubernetes.core.v1.Secret,
    created: list[kubernetes.apiextensions.CustomResource],
    changes: list[str],
) -> pulumi.Output[Mapping[str, str]]:
    """Wait until the cluster is ready, and return the entries of the connection Secret that only the servers know."""
    monitor, ca_secret = args.platform.cluster_monitor, _find_ca_secret(_get_cluster(args), spec, _get_name(args))
    scripts = _get_cluster(args).scripts
    values = pulumi.Output.all(
        namespace=args.namespace,
        version=secret.metadata.apply(lambda metadata: metadata.resource_version or ""),
        ids=pulumi.Output.all(*(item.id for item in created)),
    )

    async def wait(all_: Mapping[str, Any]) -> dict[str, str]:
        operated = OperatedCluster(
            location=args.config_location,
            namespace=all_["namespace"],
            name=_get_name(args),
            account_secret=account_secret_name(args.object_name),
            account_version=all_["version"],
            engine=_get_cluster(args),
            check_script=_render_script(args, spec, scripts.check) if scripts and scripts.check else None,
            timeout_minutes=spec.start_timeout_minutes,
        )
        if monitor and not pulumi.runtime.is_dry_run():
            await asyncio.to_thread(monitor.wait_until_ready, operated, is_changed=bool(changes))
        if ca_secret is None:
            return {}
        bundle = await asyncio.to_thread(monitor.read_ca_bundle, operated, ca_secret) if monitor else None
        return {CA_KEY: bundle or ""}

    return values.apply(wait)


def _list_objects(args: ServerArgs, spec: DedicatedKindSpec) -> Iterator[PlannedObject]:
    request = _build_request(args, spec)
    yield PlannedObject(kind="Secret", name=request.account_secret)
    cluster = _get_cluster(args)
    for item in cluster.build_objects(request):
        planned = PlannedObject(kind=item.type.kind, name=item.name, resource_type=item.type)
        if item.type == cluster.operator.resource_types[0]:
            planned = replace(
                planned,
                storage=request.storage,
                storage_class=request.storage_class,
                pod_labels=request.labels,
                node_selector=request.node_selector,
            )
        yield planned


CLUSTER = ServerKind[DedicatedKindSpec](
    resolve_access=_resolve_access,
    prepare_secret=_create_servers,
    list_objects=_list_objects,
    validate=_validate,
    build_scratch_server=build_scratch_server,
)
