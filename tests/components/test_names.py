"""Rules for names. `tests/persisted/` holds the table of all names."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.persisted import names
from components.spec import DNS_LABEL_PATTERN

DNS_LABELS = st.from_regex(DNS_LABEL_PATTERN, fullmatch=True)


@given(engine=st.sampled_from(["mysql", "postgresql"]), group=DNS_LABELS)
def test_only_the_service_name_depends_on_the_primary_group(engine: str, group: str) -> None:
    assert names.service_name(engine, group, is_primary=True) == engine
    assert names.service_name(engine, group, is_primary=False) == names.object_name(engine, group)


@given(application=DNS_LABELS, group=DNS_LABELS)
def test_database_account_name_needs_no_quotes(application: str, group: str) -> None:
    assert re.fullmatch(r"[a-z][a-z0-9_]*", names.database_account_name(application, group))


@given(group=DNS_LABELS)
def test_variable_name_is_a_shell_identifier(group: str) -> None:
    assert re.fullmatch(r"[A-Z][A-Z0-9_]*", names.variable_name("mysql", group, "ca_crt"))


@pytest.mark.parametrize(
    ("length", "limit"),
    [
        (names.MAX_DNS_LABEL_LENGTH, 63),
        # A label of the Pods holds the name of the StatefulSet, a hyphen and a revision of ten characters.
        (names.MAX_STATEFUL_SET_NAME_LENGTH + len("-") + len("1234567890"), 63),
    ],
    ids=["DNS label", "StatefulSet"],
)
def test_limits_fit_into_a_label(length: int, limit: int) -> None:
    assert length == limit
