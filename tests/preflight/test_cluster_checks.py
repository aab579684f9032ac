"""The checks of the cluster as a table: what exists in the cluster, and the message for it."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.copies.alerts import RULE_TYPE
from components.engines import ENGINES
from preflight.cluster_checks import MIN_VERSION, check_existing_objects, check_requirements, parse_quantity
from preflight.cluster_models import (
    ApiPath,
    ClusterReport,
    ClusterRequirements,
    ObjectKey,
    RecordedObject,
    RequiredClaim,
    RequiredNamespace,
    RequiredObject,
)
from preflight.cluster_observation import ObservedCluster
from preflight.cluster_rights import (
    OPTIONAL_RIGHTS,
    PASSWORD_CHANGE_RIGHTS,
    RIGHTS_BY_KIND,
    Right,
    format_rights,
    is_granted,
    list_custom_rights,
    list_required_rights,
)
from tests.pages import blocks

ROOT = Path(__file__).resolve().parents[2]
STACK = "acme/database-groups/production"
ANNOTATION = "database-groups/stack"
SHOP = ("applications", "shop")
MAIN = (*SHOP, "databases", "mysql", "main")
CLAIM = ObjectKey("PersistentVolumeClaim", "shop", "mysql-main")
SERVER = ObjectKey("StatefulSet", "shop", "mysql-main")
SERVICE = ObjectKey("Service", "shop", "mysql")
NAMESPACE = ObjectKey("Namespace", "", "shop")
ENFORCE = "pod-security.kubernetes.io/enforce"
DEFAULT = {"storageclass.kubernetes.io/is-default-class": "true"}


def build_item(stack: str = "", labels: Mapping[str, str] | None = None, **parts: Any) -> dict[str, Any]:
    annotations = {"annotations": {ANNOTATION: stack}} if stack else {}
    return {"metadata": {"name": "x", **annotations, "labels": {**(labels or {})}}, **parts}


def build_terminating_item(stack: str = "") -> dict[str, Any]:
    item = build_item(stack)
    return {"metadata": {**item["metadata"], "deletionTimestamp": "2026-01-01T00:00:00Z"}}


TERMINATING = build_terminating_item(STACK)


def build_class(*, is_default: bool = False, grows: bool = False) -> dict[str, Any]:
    metadata = {"name": "x", **({"annotations": DEFAULT} if is_default else {})}
    return {"metadata": metadata, **({"allowVolumeExpansion": True} if grows else {})}


def build_claim(size: str, storage_class: str | None = "slow", stack: str = STACK) -> dict[str, Any]:
    spec = {"resources": {"requests": {"storage": size}}, "storageClassName": storage_class}
    return build_item(stack, spec=spec)


def build_node(name: str, status: str) -> dict[str, Any]:
    return {"metadata": {"name": name}, "status": {"conditions": [{"type": "Ready", "status": status}]}}


NEEDED = ClusterRequirements(
    stack=STACK,
    stack_annotation=ANNOTATION,
    namespaces=(RequiredNamespace(name="shop", is_created=True, location=SHOP),),
    objects=(
        RequiredObject(key=NAMESPACE, location=SHOP, application="shop"),
        RequiredObject(key=CLAIM, location=MAIN, application="shop", storage="20Gi"),
        RequiredObject(key=SERVER, location=MAIN, application="shop"),
        RequiredObject(key=SERVICE, location=MAIN, application="shop"),
    ),
    node_selector={"node-role": "database"},
)
GOOD = ObservedCluster(
    version=(1, 34),
    namespaces={},
    storage_classes={"fast": build_class(grows=True), "slow": build_class(is_default=True)},
    nodes=(build_node("a", "False"), build_node("b", "True")),
)
RECORDED = {key: RecordedObject() for key in (NAMESPACE, SERVER, SERVICE)}
CREATED = replace(NEEDED, recorded={**RECORDED, CLAIM: RecordedObject(storage="10Gi", storage_class="slow")})
"""The stack after its first update, with a larger `storage`."""
EXISTING = replace(NEEDED, namespaces=(RequiredNamespace(name="shop", is_created=False, location=SHOP),))
"""The stack with `createNamespace: false`."""


def change_claim(required: ClusterRequirements, **changes: Any) -> ClusterRequirements:
    changed = (replace(item, **changes) if item.key == CLAIM else item for item in required.objects)
    return replace(required, objects=tuple(changed))


def change_server(required: ClusterRequirements, **changes: Any) -> ClusterRequirements:
    changed = (replace(item, **changes) if item.key == SERVER else item for item in required.objects)
    return replace(required, objects=tuple(changed))


def report(required: ClusterRequirements, **observed: Any) -> list[str]:
    issues = check_requirements(required, replace(GOOD, **observed)).issues
    return [f"{'.'.join(map(str, issue.location))}: {issue.message}" for issue in issues]


STORE = RequiredClaim(name="backups", namespace="shop", location=("backupStores", "disk"))
MOUNTING = replace(CREATED, objects=CREATED.objects[2:], existing_claims=(STORE,))
"""The stack with a volume claim of others, and without one of its own."""
DELETE = "delete or rename it, or set another `namespace`"
MESSAGES: list[tuple[str, ClusterRequirements, dict[str, Any], str]] = [
    (
        "version",
        NEEDED,
        {"version": (1, 23)},
        "cluster: Kubernetes 1.23 is not supported; upgrade the cluster to 1.24 or later",
    ),
    (
        "rights in a namespace",
        NEEDED,
        {
            "missing_rights": {
                "shop": frozenset({Right("", "secrets", "create"), Right("apps", "statefulsets", "list")})
            }
        },
        "cluster: the account needs more rights in namespace 'shop': secrets (create), statefulsets.apps (list); grant"
        " them (docs/teams.md)",
    ),
    (
        "rights in several namespaces",
        NEEDED,
        {"missing_rights": {name: frozenset({Right("", "secrets", "list")}) for name in "abcdefg"}},
        "cluster: the account needs more rights in namespaces 'a', 'b', 'c', 'd', 'e' and 2 more: secrets (list); grant"
        " them (docs/teams.md)",
    ),
    (
        "rights in the whole cluster",
        NEEDED,
        {"missing_rights": {"": frozenset({Right("", "namespaces", "delete"), Right("", "namespaces", "create")})}},
        "cluster: the account needs more rights in the whole cluster: namespaces (create, delete); grant them"
        " (docs/teams.md)",
    ),
    (
        "foreign namespace",
        NEEDED,
        {"namespaces": {"shop": build_item()}},
        "applications.shop: namespace 'shop' exists, and this stack did not create it; set `createNamespace: false` to"
        " use it, or another `namespace`",
    ),
    (
        "terminating namespace of the stack",
        CREATED,
        {"namespaces": {"shop": build_terminating_item(STACK)}},
        "applications.shop: the cluster is deleting namespace 'shop'; run the command again when it does not exist",
    ),
    (
        "terminating namespace of others",
        NEEDED,
        {"namespaces": {"shop": build_terminating_item()}, "objects": {SERVICE: build_item()}},
        "applications.shop: the cluster is deleting namespace 'shop'; run the command again when it does not exist",
    ),
    (
        "recorded namespace that does not exist",
        replace(NEEDED, recorded={NAMESPACE: RecordedObject()}),
        {"namespaces": {}},
        "applications.shop: namespace 'shop' is in the state, but not in the cluster: an interrupted `pulumi destroy`"
        " or another program deleted it; run `make refresh`, then the command again",
    ),
    (
        "recorded claim that does not exist",
        CREATED,
        {"namespaces": {"shop": build_item(STACK)}},
        "applications.shop.databases.mysql.main: PersistentVolumeClaim 'mysql-main' in namespace 'shop' is in the"
        " state, but not in the cluster: an interrupted `pulumi destroy` or another program deleted it with its data;"
        " run `make refresh`, then the command again",
    ),
    (
        "recorded claim that the account may not list",
        CREATED,
        {"namespaces": {"shop": build_item(STACK)}, "unreadable": frozenset({(CLAIM.kind, "shop")})},
        "cluster: the account may not list PersistentVolumeClaim objects in namespace 'shop', and the update could"
        " overwrite those of others; grant it the rights (docs/teams.md)",
    ),
    *(
        (
            f"terminating claim{suffix}",
            required,
            {"namespaces": {"shop": build_item(STACK)}, "objects": {CLAIM: {**build_claim("20Gi"), **TERMINATING}}},
            "applications.shop.databases.mysql.main: the cluster is deleting PersistentVolumeClaim 'mysql-main' in"
            " namespace 'shop'; run the command again when it does not exist",
        )
        for suffix, required in (("", CREATED), (" that is not recorded", NEEDED))
    ),
    (
        "namespace of another stack",
        NEEDED,
        {"namespaces": {"shop": build_item("acme/database-groups/staging")}},
        "applications.shop: namespace 'shop' exists, and belongs to the stack 'acme/database-groups/staging'; set"
        " another `namespace`",
    ),
    (
        "missing namespace",
        EXISTING,
        {},
        "applications.shop.createNamespace: namespace 'shop' does not exist; create it, or remove"
        " `createNamespace: false`",
    ),
    (
        "Pod Security",
        change_server(EXISTING, needs_privileges=True),
        {"namespaces": {"shop": build_item(labels={ENFORCE: "baseline"})}},
        "applications.shop.databases.mysql.main: namespace 'shop' enforces Pod Security `baseline`, which rejects the"
        f" Pods of this server; set its label `{ENFORCE}` to `privileged`, or set another `namespace`",
    ),
    (
        "foreign object",
        EXISTING,
        {"namespaces": {"shop": build_item()}, "objects": {SERVICE: build_item()}},
        "applications.shop.databases.mysql.main: Service 'mysql' exists in namespace 'shop', and this stack did not"
        f" create it; {DELETE}",
    ),
    (
        "object of another stack",
        EXISTING,
        {"namespaces": {"shop": build_item()}, "objects": {SERVICE: build_item(f"x-{STACK}")}},
        "applications.shop.databases.mysql.main: Service 'mysql' exists in namespace 'shop', and belongs to the stack"
        f" 'x-{STACK}'; {DELETE}",
    ),
    (
        "object of another application",
        replace(CREATED, recorded={**CREATED.recorded, SERVICE: RecordedObject(application="old")}),
        {"namespaces": {"shop": build_item(STACK)}, "objects": {CLAIM: build_claim("20Gi")}},
        "applications.shop.databases.mysql.main: Service 'mysql' exists in namespace 'shop', and the application 'old'"
        " owns it; keep it there, or set another `namespace`",
    ),
    (
        "namespace of another application",
        replace(CREATED, recorded={**CREATED.recorded, NAMESPACE: RecordedObject(application="old")}),
        {"namespaces": {"shop": build_item(STACK)}, "objects": {CLAIM: build_claim("20Gi")}},
        "applications.shop: namespace 'shop' exists, and the application 'old' owns it; keep it there, or set another"
        " `namespace`",
    ),
    (
        "volume of a removed group",
        change_claim(NEEDED, is_data_of_removed_group=True),
        {"namespaces": {"shop": build_item(STACK)}, "objects": {CLAIM: build_claim("20Gi")}},
        "applications.shop.databases.mysql.main: PersistentVolumeClaim 'mysql-main' exists in namespace 'shop', and has"
        " the data of a group that was removed; use its volume again (docs/day-two.md), or delete it",
    ),
    (
        "objects that the account may not list",
        EXISTING,
        {"namespaces": {"shop": build_item()}, "unreadable": frozenset({("Service", "shop"), ("Secret", "shop")})},
        "cluster: the account may not list Secret, Service objects in namespace 'shop', and the update could overwrite"
        " those of others; grant it the rights (docs/teams.md)",
    ),
    (
        "namespaces that the account may not read",
        NEEDED,
        {"namespaces": {"shop": None}},
        "cluster: the account may not read Namespace objects, and the update could overwrite those of others; grant it"
        " the rights (docs/teams.md)",
    ),
    (
        "claim of a store in no namespace",
        replace(NEEDED, existing_claims=(STORE,)),
        {},
        "backupStores.disk: namespace 'shop' does not exist, so it has no PersistentVolumeClaim 'backups'; create both"
        " and set `createNamespace: false`, or add the backups after the first update",
    ),
    (
        "claim of a store",
        MOUNTING,
        {"namespaces": {"shop": build_item(STACK)}},
        "backupStores.disk: PersistentVolumeClaim 'backups' in namespace 'shop' does not exist; create it, or set"
        " another `claim`",
    ),
    (
        "claim of a store in termination",
        MOUNTING,
        {"namespaces": {"shop": build_item(STACK)}, "objects": {STORE.key: TERMINATING}},
        "backupStores.disk: the cluster is deleting PersistentVolumeClaim 'backups' in namespace 'shop'; create it"
        " again, or set another `claim`",
    ),
    (
        "storage class",
        change_claim(NEEDED, storage_class="lost"),
        {},
        "applications.shop.databases.mysql.main.server.storageClass: storage class 'lost' does not exist; existing"
        " classes: fast, slow",
    ),
    (
        "changed storage class",
        change_claim(CREATED, storage_class="lost", storage="10Gi"),
        {"namespaces": {"shop": build_item(STACK)}, "objects": {CLAIM: build_claim("10Gi")}},
        "applications.shop.databases.mysql.main.server.storageClass: storage class 'lost' does not exist; existing"
        " classes: fast, slow",
    ),
    (
        "no default storage class",
        NEEDED,
        {"storage_classes": {"fast": build_class()}},
        "cluster: no storage class is the default one, which these groups need: applications.shop.databases.mysql.main;"
        " set `server.storageClass` (existing classes: fast), or give a class the annotation"
        ' `storageclass.kubernetes.io/is-default-class: "true"`',
    ),
    (
        "no storage class",
        NEEDED,
        {"storage_classes": {}},
        "cluster: no storage class is the default one, which these groups need: applications.shop.databases.mysql.main;"
        " set `server.storageClass` (existing classes: none), or give a class the annotation"
        ' `storageclass.kubernetes.io/is-default-class: "true"`',
    ),
    (
        "expansion",
        CREATED,
        {"namespaces": {"shop": build_item(STACK)}, "objects": {CLAIM: build_claim("10Gi")}},
        "applications.shop.databases.mysql.main.server.storage: the volume cannot grow from 10Gi to 20Gi: storage class"
        " 'slow' does not allow it; restore `storage: 10Gi`, or set `allowVolumeExpansion: true` in storage class"
        " 'slow'",
    ),
    (
        "expansion in a deleted class",
        CREATED,
        {"namespaces": {"shop": build_item(STACK)}, "objects": {CLAIM: build_claim("10Gi", "deleted")}},
        "applications.shop.databases.mysql.main.server.storage: the volume cannot grow from 10Gi to 20Gi: storage class"
        " 'deleted' does not allow it; restore `storage: 10Gi`",
    ),
    (
        "no node",
        NEEDED,
        {"nodes": ()},
        "databaseNodes.nodeSelector: no node has the labels node-role=database; add them to a node"
        " (`kubectl label node`), or correct them",
    ),
    (
        "no ready node",
        NEEDED,
        {"nodes": (build_node("a", "False"), build_node("b", "Unknown"))},
        "databaseNodes.nodeSelector: no node is ready that has the labels node-role=database; repair one of these"
        " nodes: a, b",
    ),
]


@pytest.mark.parametrize(
    ("required", "observed", "message"), [case[1:] for case in MESSAGES], ids=[case[0] for case in MESSAGES]
)
def test_failed_check_has_its_message(required: ClusterRequirements, observed: dict[str, Any], message: str) -> None:
    assert report(required, **observed) == [message]


OVERWRITTEN = [row for row in MESSAGES if " exists" in row[3] or "overwrite" in row[3]]


@pytest.mark.parametrize(("required", "observed", "message"), [row[1:] for row in OVERWRITTEN])
def test_objects_that_would_be_overwritten_are_always_checked(
    required: ClusterRequirements, observed: dict[str, Any], message: str
) -> None:
    issues = check_existing_objects(required, ObservedCluster(**observed)).issues
    assert message in [f"{'.'.join(map(str, issue.location))}: {issue.message}" for issue in issues]


def test_all_failed_checks_are_reported() -> None:
    required = change_server(change_claim(NEEDED, storage_class="lost"), needs_privileges=True)
    observed = {
        "version": (1, 21),
        "missing_rights": {"shop": frozenset({Right("", "secrets", "list")})},
        "namespaces": {"shop": build_item(labels={ENFORCE: "restricted"})},
        "objects": {SERVICE: build_item()},
        "nodes": (),
    }
    assert len(report(required, **observed)) == 7


OWN = {"shop": build_item(STACK)}


@pytest.mark.parametrize(
    ("required", "observed"),
    [
        (NEEDED, {}),
        (NEEDED, {"version": MIN_VERSION}),
        (NEEDED, {"version": None, "missing_rights": None, "storage_classes": None, "nodes": None}),
        (replace(NEEDED, node_selector={}), {"nodes": ()}),
        (EXISTING, {"namespaces": {"shop": build_item(labels={ENFORCE: "restricted"})}}),
        (EXISTING, {"namespaces": {"shop": None}}),
        (replace(NEEDED, namespaces=(*EXISTING.namespaces, *NEEDED.namespaces)), {}),
        (change_server(NEEDED, needs_privileges=True), {}),
        (change_server(EXISTING, needs_privileges=True), {"namespaces": {"shop": build_item()}}),
        (NEEDED, {"namespaces": {"shop": build_item(STACK)}, "objects": {SERVICE: build_item(STACK)}}),
        (
            CREATED,
            {"namespaces": {"shop": build_item()}, "objects": {SERVICE: build_item(), CLAIM: build_claim("20Gi")}},
        ),
        (change_claim(NEEDED, storage_class="fast"), {"storage_classes": {"fast": build_class()}}),
        (CREATED, {"storage_classes": {}, "namespaces": OWN, "objects": {CLAIM: build_claim("20Gi", None)}}),
        (CREATED, {"namespaces": OWN, "objects": {CLAIM: build_claim("10Gi", "fast")}}),
        (CREATED, {"namespaces": OWN, "objects": {CLAIM: build_claim("20480Mi")}}),
        (CREATED, {"namespaces": OWN, "objects": {CLAIM: build_claim("30Gi")}}),
        (NEEDED, {"namespaces": OWN, "objects": {CLAIM: build_claim("20Gi")}, "storage_classes": {}}),
    ],
    ids=[
        "new stack",
        "oldest version",
        "not readable",
        "no node selector",
        "existing restricted namespace",
        "namespace that may not be read",
        "namespace that another application creates",
        "privileged in a new namespace",
        "privileged without a level",
        "left behind",
        "recorded without annotation",
        "named class",
        "existing claim without a class",
        "class that grows",
        "same size in another unit",
        "larger in the cluster",
        "claim that was left behind",
    ],
)
def test_usable_cluster_has_no_issue(required: ClusterRequirements, observed: dict[str, Any]) -> None:
    assert report(required, **observed) == []


@pytest.mark.parametrize("check", [check_requirements, check_existing_objects])
def test_namespaces_and_claims_in_termination_are_listed(check: Callable[..., ClusterReport]) -> None:
    claim = {CLAIM: {**build_claim("20Gi"), **TERMINATING}}
    observed = replace(GOOD, namespaces={"shop": TERMINATING}, objects=claim)
    assert check(NEEDED, observed).terminating == ("namespace 'shop'",)
    assert check(NEEDED, replace(GOOD, namespaces={"shop": None})).terminating == ()
    observed = replace(GOOD, namespaces={"shop": build_item(STACK)}, objects=claim)
    assert check(NEEDED, observed).terminating == ("PersistentVolumeClaim 'mysql-main' in namespace 'shop'",)


@pytest.mark.parametrize("stack", [STACK, "/database-groups/production"])
def test_own_objects_that_are_not_recorded_are_left_behind(stack: str) -> None:
    namespaces = {"shop": build_item(STACK)}
    objects = {SERVICE: build_item(STACK), CLAIM: build_claim("20Gi"), SERVER: build_item("acme/other/production")}
    required = replace(NEEDED, stack=stack)
    observed = replace(GOOD, namespaces=namespaces, objects=objects)
    assert check_requirements(required, observed).left_behind == (NAMESPACE, CLAIM, SERVICE)
    recorded = replace(required, recorded={**RECORDED, CLAIM: RecordedObject(storage="20Gi")})
    assert check_requirements(recorded, observed).left_behind == ()


def test_what_the_account_may_not_read_is_noted() -> None:
    assert check_requirements(NEEDED, replace(GOOD, nodes=None, missing_rights=None)).notes == (
        "the nodes of `databaseNodes` are not checked: the account may not list nodes",
        "the rights in the cluster are not checked: the account may not review its own rights",
    )
    assert check_requirements(NEEDED, GOOD).notes == ()


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1Gi", 2**30),
        ("1.5Gi", 3 * 2**29),
        (".5Ki", 512),
        ("1000", 1000),
        ("1k", 1000),
        ("2M", 2_000_000),
        ("1E", 10**18),
        ("1e3", 1000),
        ("12E2", 1200),
        ("500m", Decimal("0.5")),
    ],
)
def test_quantity_is_a_number(text: str, number: Decimal) -> None:
    assert parse_quantity(text) == number


@pytest.mark.parametrize("text", ["", "Gi", "1gi", "1 Gi", "one"])
def test_other_text_is_no_quantity(text: str) -> None:
    with pytest.raises(ValueError, match=f"^{text}$"):
        parse_quantity(text)


# Rights


def test_the_page_lists_the_rights_that_are_checked() -> None:
    (role,) = [
        content
        for block in blocks((ROOT / "docs" / "teams.md").read_text(), "yaml")
        if (content := yaml.safe_load(block)).get("kind") == "ClusterRole"
    ]
    listed = {
        Right(group, resource, verb)
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    required = {right for rights in RIGHTS_BY_KIND.values() for right in rights}
    clusters = [engine.cluster for engine in ENGINES.values() if engine.cluster]
    programs = [found for cluster in clusters for found in (cluster.operator, cluster.backup_plugin) if found]
    types = [RULE_TYPE, *(item for program in programs for item in program.resource_types)]
    custom = {
        right for item in types for right in list_custom_rights(ApiPath(f"/apis/{item.api_version}", item.plural))
    }
    custom |= list_custom_rights(ApiPath("/apis/policy/v1", "poddisruptionbudgets"))  # which RabbitMQ's operator omits
    assert listed == {*OPTIONAL_RIGHTS, *PASSWORD_CHANGE_RIGHTS, *required, *custom}


def test_password_change_of_a_running_server_needs_to_run_a_script() -> None:
    assert not PASSWORD_CHANGE_RIGHTS & list_required_rights(NEEDED)["shop"]
    rights = list_required_rights(replace(NEEDED, password_changes=frozenset({"shop"})))
    assert rights["shop"] == list_required_rights(NEEDED)["shop"] | PASSWORD_CHANGE_RIGHTS
    assert format_rights(PASSWORD_CHANGE_RIGHTS) == "pods/exec (get, create)"


def test_a_custom_resource_needs_the_rights_of_its_type() -> None:
    path = ApiPath("/apis/postgresql.cnpg.io/v1", "clusters")
    custom = RequiredObject(key=ObjectKey("Cluster", "shop", "x"), location=SHOP, application="shop", custom_path=path)
    added = list_required_rights(replace(NEEDED, objects=(custom,)))
    assert added.keys() == {"shop"}
    assert format_rights(added["shop"]) == (
        "statefulsets.apps (get), clusters.postgresql.cnpg.io (get, list, watch, create, patch, delete)"
    )


def test_required_rights_depend_on_the_objects_of_each_namespace() -> None:
    secret = RequiredObject(key=ObjectKey("Secret", "market", "x"), location=SHOP, application="shop")
    required = replace(NEEDED, objects=(*NEEDED.objects, secret), patched_kinds={"market": frozenset({"DaemonSet"})})
    rights = list_required_rights(required)
    assert set(rights) == {"", "shop", "market"}
    assert {right.resource for right in rights[""]} == {"namespaces", "storageclasses"}
    assert {right.resource for right in rights["market"]} == {"secrets", "daemonsets", "pods", "events"}
    assert Right("apps", "daemonsets", "patch") in rights["market"]
    assert Right("apps", "daemonsets", "create") not in rights["market"]
    assert list_required_rights(replace(NEEDED, objects=(secret,))).keys() == {"market"}


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ({"verbs": ["list"], "apiGroups": ["apps"], "resources": ["statefulsets"]}, True),
        ({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}, True),
        ({"verbs": ["get"], "apiGroups": ["apps"], "resources": ["statefulsets"]}, False),
        ({"verbs": ["list"], "apiGroups": [""], "resources": ["statefulsets"]}, False),
        ({"verbs": ["list"], "apiGroups": ["apps"], "resources": ["statefulsets/scale"]}, False),
        ({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "resourceNames": ["a"]}, False),
        ({"verbs": ["*"]}, False),
    ],
)
def test_rule_grants_a_right(rule: dict[str, Any], expected: bool) -> None:
    assert is_granted(Right("apps", "statefulsets", "list"), [{"verbs": []}, rule]) is expected


def test_rights_are_listed_by_resource() -> None:
    rights = [Right("apps", "statefulsets", "list"), Right("", "secrets", "patch"), Right("", "secrets", "get")]
    assert format_rights(rights) == "secrets (get, patch), statefulsets.apps (list)"


def test_a_claim_of_a_store_that_exists_or_cannot_be_read_is_no_issue() -> None:
    exists: dict[str, Any] = {
        "namespaces": {"shop": build_item(STACK)},
        "objects": {STORE.key: build_claim("1Gi", stack="")},
    }
    assert report(MOUNTING, **exists) == []
    unreadable: dict[str, Any] = {
        "namespaces": {"shop": build_item(STACK)},
        "unreadable": frozenset({(CLAIM.kind, "shop")}),
    }
    assert report(MOUNTING, **unreadable) == []
    assert check_requirements(MOUNTING, replace(GOOD, **unreadable)).notes == (
        "the account may not list volume claims, so these are not checked: PersistentVolumeClaim 'backups' in namespace"
        " 'shop'",
    )
