"""The change guard: it compares the stack with its previous state and rejects changes that lose data or break Pods.

It runs before the first resource is registered, in previews and in updates. Each rule is a function in one of the
tables below. A rule yields the changes that it rejects, or those about which it warns.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeAlias

import pulumi

from components.application import ApplicationArgs
from stacks.change_guard.change import ApplicationChange, GroupChange, list_application_changes
from stacks.change_guard.group_rules import (
    list_deleted_data,
    list_moved_server,
    list_overwritten_data,
    validate_account,
    validate_copy,
    validate_init_script,
    validate_original_name,
    validate_password_version,
    validate_placement,
    validate_protection_of_group,
    validate_release,
    validate_removed_group,
    validate_replicas,
    validate_storage_class,
    validate_storage_size,
)
from stacks.change_guard.name_rules import (
    list_moved_names,
    list_removed_names,
    validate_database_url,
    validate_services,
    validate_variables,
)
from stacks.change_guard.namespace_rules import (
    list_deleted_databases,
    validate_created_namespace,
    validate_namespace,
    validate_protection,
    validate_removed_application,
    validate_shared_namespace,
)
from stacks.config import Stack
from stacks.errors import ConfigIssue, InvalidStackConfigError
from stacks.previous_state import PreviousState

__all__ = ["list_update_warnings", "require_safe_update", "validate_update"]

ApplicationRule: TypeAlias = Callable[[ApplicationChange], Iterator[ConfigIssue]]
GroupRule: TypeAlias = Callable[[GroupChange], Iterator[ConfigIssue]]

NOUN = "rejected change"
APPLICATION_RULES: tuple[ApplicationRule, ...] = (
    validate_removed_application,
    validate_namespace,
    validate_created_namespace,
    validate_shared_namespace,
    validate_protection,
    validate_services,
    validate_variables,
    validate_database_url,
)
GROUP_RULES: tuple[GroupRule, ...] = (
    validate_original_name,
    validate_removed_group,
    validate_protection_of_group,
    validate_release,
    validate_placement,
    validate_account,
    validate_password_version,
    validate_storage_size,
    validate_replicas,
    validate_storage_class,
    validate_init_script,
    validate_copy,
)
APPLICATION_WARNINGS: tuple[ApplicationRule, ...] = (list_deleted_databases, list_removed_names, list_moved_names)
GROUP_WARNINGS: tuple[GroupRule, ...] = (list_deleted_data, list_moved_server, list_overwritten_data)


def require_safe_update(stack: Stack, previous: PreviousState) -> None:
    """Log the warnings about an update. Raise InvalidStackConfigError if it would lose data or break running Pods."""
    applications = {application.name: application for application in stack.applications}
    if issues := list(map(stack.source.hide_quoted_secrets, validate_update(previous, applications))):
        raise InvalidStackConfigError(map(stack.source.add_line, issues), stack.source.name, NOUN)
    for warning in map(stack.source.hide_quoted_secrets, list_update_warnings(previous, applications)):
        pulumi.log.warn(stack.source.format_warning(warning))


def validate_update(previous: PreviousState, applications: Mapping[str, ApplicationArgs]) -> Iterator[ConfigIssue]:
    """Yield each rejected change from the previous state to the applications of the stack file."""
    yield from _list_issues(previous, applications, APPLICATION_RULES, GROUP_RULES)


def list_update_warnings(previous: PreviousState, applications: Mapping[str, ApplicationArgs]) -> Iterator[ConfigIssue]:
    """Yield a warning about each accepted change that deletes data, or that running Pods notice."""
    yield from _list_issues(previous, applications, APPLICATION_WARNINGS, GROUP_WARNINGS)


def _list_issues(
    previous: PreviousState,
    applications: Mapping[str, ApplicationArgs],
    application_rules: Iterable[ApplicationRule],
    group_rules: Iterable[GroupRule],
) -> Iterator[ConfigIssue]:
    for change in list_application_changes(previous, applications):
        for rule in application_rules:
            yield from rule(change)
        for group in change.groups:
            for group_rule in group_rules:
                yield from group_rule(group)
