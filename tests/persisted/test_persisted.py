"""Everything that outlives an update, as tables. A test that fails here asks for a migration, not for a new value.

Clusters, database servers and states of Pulumi hold these values from release 0.1.0 on. They are also in
`components/persisted/`, whose comments say where each one is used.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from components.application import ApplicationArgs
from components.passwords import VERSION_KEEPER
from components.persisted import labels, names
from components.persisted.outputs import (
    ApplicationOutputs,
    ApplicationState,
    DatabaseRecordOutputs,
    GroupOutputs,
    GroupSummary,
)
from components.servers.stateful_set import SCRIPTS_MOUNT_PATH
from components.workload_patches import (
    ContainerPatch,
    PatchedWorkload,
    VolumeMount,
    WorkloadPatch,
    forget_removed_workloads,
)
from offline.recorder import run_program
from stacks.config import parse_stack
from tests.support import (
    ancestors,
    existing_account,
    external_server,
    groups,
    provisioned_on,
    record_applications,
)

PERSISTED = "persisted: a change needs a migration of states, clusters and servers that an earlier release wrote"

PART_OF = {"app.kubernetes.io/part-of": "shop"}
MANAGED = {"app.kubernetes.io/managed-by": "database-groups"}
COMPONENT = {"app.kubernetes.io/component": "database"}
INSTANCE = {"app.kubernetes.io/name": "mysql", "app.kubernetes.io/instance": "mysql-main"}
GROUP_LABELS = labels.group_labels("shop", "mysql", "mysql-main")
MYSQL_MAIN = ("shop", "mysql", "main")

VALUES: dict[str, tuple[Any, Any]] = {
    "type of an application": (names.APPLICATION_TYPE, "database-groups:index:Application"),
    "type of a group": (names.DATABASE_GROUP_TYPE, "database-groups:index:DatabaseGroup"),
    "type of a record": (names.DATABASE_RECORD_TYPE, "database-groups:index:DatabaseRecord"),
    "Pulumi name of removed workloads": (names.REMOVED_WORKLOADS, "removed/workloads"),
    "Pulumi name of a group": (names.resource_name(*MYSQL_MAIN), "shop-mysql-main"),
    "Pulumi name of a part": (names.resource_name(*MYSQL_MAIN, "password"), "shop-mysql-main-password"),
    "Pulumi name of a Service": (names.service_resource_name("shop", "mysql"), "shop-mysql"),
    "Pulumi name of an EndpointSlice": (
        names.endpoint_slice_resource_name("shop", "mysql-main"),
        "shop-mysql-main-endpoints",
    ),
    "Pulumi name of a patch": (names.workload_resource_name("shop", "StatefulSet", "web"), "shop-statefulset-web"),
    "name of a server": (names.object_name("mysql", "main"), "mysql-main"),
    "name of a Service": (names.service_name("mysql", "main", is_primary=False), "mysql-main"),
    "name of a primary Service": (names.service_name("mysql", "main", is_primary=True), "mysql"),
    "name of an environment Secret": (names.environment_secret_name("shop"), "shop-databases"),
    "name of a NetworkPolicy": (names.network_policy_name("shop"), "shop-databases"),
    "name of a database and user": (names.database_account_name("web-shop", "read-only"), "web_shop_read_only"),
    "name of a second user": (names.second_account_name("shop_main"), "shop_main__b"),
    "Pulumi name of a part of a second account": (
        names.second_account_resource_name("shop-postgresql-main-role"),
        "shop-postgresql-main-role-b",
    ),
    "name of a variable": (names.variable_name("mysql", "read-only", "address"), "MYSQL_READ_ONLY_ADDRESS"),
    "short name of a variable": (names.variable_name("mysql", None, "address"), "MYSQL_ADDRESS"),
    "name of a mounted volume": (VolumeMount(claim="sqlite-main", path="").volume, "databases-sqlite-main"),
    "path of the scripts": (SCRIPTS_MOUNT_PATH, "/etc/database-groups"),
    "keeper of a password": (VERSION_KEEPER, "passwordVersion"),
    "label of patched Pods": (labels.APPLICATION_LABEL, "database-groups/application"),
    "label of the version": (labels.VERSION_LABEL, "app.kubernetes.io/version"),
    "annotation of the stack": (labels.STACK_ANNOTATION, "database-groups/stack"),
    "annotation of the password": (labels.PASSWORD_VERSION_ANNOTATION, "database-groups/password-version"),
    "annotation of the scripts": (labels.SCRIPTS_ANNOTATION, "database-groups/scripts"),
    "annotation of a patched workload": (labels.APPLIED_ANNOTATION, "database-groups/applied"),
    "annotation of patched Pods": (labels.CONNECTIONS_ANNOTATION, "database-groups/connections"),
    "labels of database servers": (labels.DATABASE_SELECTOR, COMPONENT | MANAGED),
    "labels of an application": (labels.application_labels("shop"), PART_OF | MANAGED),
    "default labels of Pods": (labels.default_pod_labels("shop"), {"app.kubernetes.io/name": "shop"}),
    "labels of a group": (GROUP_LABELS, INSTANCE | COMPONENT | PART_OF | MANAGED),
    "immutable selector of a server": (labels.pod_selector_labels(GROUP_LABELS), INSTANCE | PART_OF),
    "selector of a Service for an external server": (
        labels.remote_selector_labels(GROUP_LABELS),
        INSTANCE | PART_OF | {"app.kubernetes.io/component": "remote-server"},
    ),
    "selector of a NetworkPolicy": (
        labels.network_policy_selector("shop", ["mysql-main"]),
        {
            "matchLabels": PART_OF | MANAGED,
            "matchExpressions": [{"key": "app.kubernetes.io/instance", "operator": "In", "values": ["mysql-main"]}],
        },
    ),
    "labels of an EndpointSlice": (
        labels.endpoint_slice_labels({}, "mysql"),
        {
            "kubernetes.io/service-name": "mysql",
            "endpointslice.kubernetes.io/managed-by": "database-groups",
        },
    ),
    "field manager of patches": (labels.field_manager("shop"), "database-groups-shop"),
    "metadata of an object": (
        labels.object_metadata("mysql", "web", PART_OF, "organization/project/stack"),
        {
            "name": "mysql",
            "namespace": "web",
            "labels": PART_OF,
            "annotations": {"database-groups/stack": "organization/project/stack"},
        },
    ),
}

VOLUME_KEYS = {"storage", "storageClass", "initScript"}
ACCOUNT_KEYS = {"externalServer", "database", "username"}
GROUP_SUMMARY_KEYS = (
    {"kind", "variant", "version", "series", "service", "secret", "protect", "passwordVersion", "copy", "replicas"}
    | VOLUME_KEYS
    | ACCOUNT_KEYS
)
NAMESPACE_KEYS = {"namespace", "createNamespace"}
APPLICATION_KEYS = {"name", "secret", "variables", "databaseUrl", "protect", "workloads"} | NAMESPACE_KEYS
OPTIONAL_OUTPUTS = GROUP_SUMMARY_KEYS - {"kind", "variant", "secret", "protect"}
OUTPUT_KEYS: dict[type, set[str]] = {
    GroupSummary: GROUP_SUMMARY_KEYS,
    GroupOutputs: GROUP_SUMMARY_KEYS | {"application", "engine", "group"},
    DatabaseRecordOutputs: {"externalServer", "database", "username"},
    ApplicationOutputs: APPLICATION_KEYS,
    ApplicationState: APPLICATION_KEYS | {"databases"},
}

ADDRESS = {"kind": "external", "host": ["10.0.0.1"]}
STACK = {
    "externalServers": {"mysql-hq": external_server("mysql"), "postgresql-hq": external_server("postgresql")},
    **groups(
        mysql={"main": {"primary": True}, "spare": provisioned_on("mysql-hq")},
        postgresql={
            "main": {"primary": True, **provisioned_on("postgresql-hq", extensions=["pg_trgm"])},
            "changed": {**provisioned_on("postgresql-hq"), "passwordVersion": 1},
        },
        redis={"main": {"server": {"kind": "dedicated"}}, "other": {"server": ADDRESS}},
        glusterfs={"main": {"server": existing_account("glusterfs", storageClass="shared", storage="1Gi")}},
        sqlite={"main": None},
    ),
}
RESOURCES = Path(__file__).with_name("resources.txt")
"""Depth, type and Pulumi name of each resource of STACK, and of the patches of a removed workload."""


@pytest.mark.parametrize(("value", "persisted"), VALUES.values(), ids=list(VALUES))
def test_value_is_persisted(value: Any, persisted: Any) -> None:
    assert value == persisted, PERSISTED


@pytest.mark.parametrize("outputs", OUTPUT_KEYS, ids=lambda outputs: outputs.__name__)
def test_keys_of_outputs_are_persisted(outputs: type) -> None:
    assert set(get_type_hints(outputs)) == OUTPUT_KEYS[outputs], PERSISTED


def build_application() -> ApplicationArgs:
    """Return the application of STACK with a patched workload."""
    (application,) = parse_stack(STACK).applications
    container = ContainerPatch(name="web", variables=application.variable_names)
    workload = WorkloadPatch(kind="Deployment", name="web", containers=(container,))
    return replace(application, workloads=(workload,))


def test_outputs_have_the_persisted_keys() -> None:
    application = build_application()
    assert set(application.outputs) == OUTPUT_KEYS[ApplicationOutputs], PERSISTED
    assert set(application.output_summary) == OUTPUT_KEYS[ApplicationState], PERSISTED
    recorder = record_applications([application])
    for registration in recorder.registrations.values():
        if registration.type == names.DATABASE_GROUP_TYPE:
            outputs = recorder.outputs[registration.urn]
            assert set(outputs) <= OUTPUT_KEYS[GroupOutputs], PERSISTED
            assert OUTPUT_KEYS[GroupOutputs] - set(outputs) <= OPTIONAL_OUTPUTS


def test_types_names_and_parents_of_resources_are_persisted() -> None:
    """Pulumi identifies a resource by its type, its name and the types of its parents."""
    removed = PatchedWorkload(application="shop", namespace="shop", kind="DaemonSet", name="old")
    recorders = record_applications([build_application()]), run_program(lambda: forget_removed_workloads([removed]))
    lines = sorted(
        f"{len(list(ancestors(recorder, found)))} {found.type} {found.name}"
        for recorder in recorders
        for found in recorder.registrations.values()
    )
    assert lines == RESOURCES.read_text().splitlines(), PERSISTED
