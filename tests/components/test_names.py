"""Names are those of the design's table, and depend on nothing but what the user wrote."""

import pytest

from components.persisted import names


@pytest.mark.parametrize(
    ("engine", "group", "server", "service"),
    [
        ("mysql", "main", "mysql-main", "mysql"),
        ("postgresql", "read-only", "postgresql-read-only", "postgresql"),
        ("redis", "x", "redis-x", "redis"),
    ],
    ids=["plain", "with a hyphen", "one letter"],
)
def test_only_the_service_of_a_group_depends_on_who_is_primary(
    engine: str, group: str, server: str, service: str
) -> None:
    assert names.object_name(engine, group) == server
    assert names.service_name(engine, group, is_primary=True) == service
    assert names.service_name(engine, group, is_primary=False) == server


def test_the_environment_secret_is_named_after_its_application() -> None:
    assert names.environment_secret_name("shop") == "shop-databases"


@pytest.mark.parametrize(
    ("application", "group", "account"),
    [("shop", "main", "shop_main"), ("web-shop", "read-only", "web_shop_read_only"), ("a1", "b2", "a1_b2")],
    ids=["plain", "hyphens", "digits"],
)
def test_an_account_needs_no_quotes_on_any_server(application: str, group: str, account: str) -> None:
    assert names.database_account_name(application, group) == account


@pytest.mark.parametrize(
    ("part", "name"),
    [(None, "shop-mysql-main"), ("password", "shop-mysql-main-password")],
    ids=["the group itself", "a part of the group"],
)
def test_pulumi_names_begin_with_the_group(part: str | None, name: str) -> None:
    assert names.resource_name("shop", "mysql", "main", part) == name


def test_the_pulumi_name_of_a_service_follows_the_service_and_not_the_group() -> None:
    assert names.service_resource_name("shop", "mysql") == "shop-mysql"
    assert names.service_resource_name("shop", "mysql-spare") == "shop-mysql-spare"


@pytest.mark.parametrize(
    ("engine", "group", "part", "variable"),
    [
        ("mysql", "main", "password", "MYSQL_MAIN_PASSWORD"),
        ("mysql", None, "address", "MYSQL_ADDRESS"),
        ("postgresql", "read-only", "url", "POSTGRESQL_READ_ONLY_URL"),
        ("redis", "cache2", "ca.crt".replace(".", "-"), "REDIS_CACHE2_CA_CRT"),
    ],
    ids=["of a group", "of the group with the default names", "hyphen in the group", "hyphen in the part"],
)
def test_variables_are_upper_case_words_joined_by_underscores(
    engine: str, group: str | None, part: str, variable: str
) -> None:
    assert names.variable_name(engine, group, part) == variable


def test_limits_are_those_of_a_label_and_of_the_revision_label_of_a_stateful_sets_pods() -> None:
    assert names.MAX_DNS_LABEL_LENGTH == 63
    assert names.MAX_STATEFUL_SET_NAME_LENGTH + len("-") + len("1234567890") == names.MAX_DNS_LABEL_LENGTH
