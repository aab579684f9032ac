"""Passwords are secret outputs, whether Pulumi generates them or the user sets them."""

import pulumi
import pytest
from pydantic import SecretStr

from components.passwords import (
    IGNORED_PROPERTIES,
    PASSWORD_LENGTH,
    GeneratedPassword,
    Password,
    create_password,
    list_passwords_in_turn,
)
from offline.recorder import PLACEHOLDER, Recorder, run_program
from tests.support import CANARY, PASSWORD


class Parent(pulumi.ComponentResource):
    """A component that contains the password."""

    def __init__(self) -> None:
        super().__init__("test:index:Component", "parent")


def record_password(source: GeneratedPassword | SecretStr | None) -> tuple[Recorder, Password | None]:
    passwords: list[Password | None] = []
    recorder = run_program(lambda: passwords.append(create_password("p", source, parent=Parent())))
    return recorder, passwords[0]


@pytest.mark.parametrize(
    ("source", "expected"),
    [(SecretStr(CANARY), CANARY), (GeneratedPassword(version=0), PLACEHOLDER)],
    ids=["existing", "generated"],
)
def test_password_is_a_secret_output(source: GeneratedPassword | SecretStr, expected: str) -> None:
    results: list[object] = []

    async def await_password(password: Password | None) -> None:
        assert password is not None
        results.extend([await password.value.is_secret(), await password.value.future()])

    run_program(lambda: pulumi.export("password", await_password(create_password("p", source, parent=Parent()))))
    assert results == [True, expected]


def test_generated_password_is_long_has_safe_characters_and_changes_with_its_version_only() -> None:
    recorder, _ = record_password(GeneratedPassword(version=3))
    (password,) = recorder.resources_of_type(PASSWORD)
    assert password.parent.endswith("test:index:Component::parent")
    assert PASSWORD_LENGTH >= 32
    assert password.inputs == {"length": PASSWORD_LENGTH, "special": False, "keepers": {"passwordVersion": "3"}}
    assert set(password.ignore_changes) == set(IGNORED_PROPERTIES)
    assert "keepers" not in IGNORED_PROPERTIES
    assert {"length", "special", "upper", "lower", "numeric", "overrideSpecial"} <= set(IGNORED_PROPERTIES)


@pytest.mark.parametrize("source", [SecretStr(CANARY), None], ids=["existing", "none"])
def test_program_generates_no_password_for_another_source(source: SecretStr | None) -> None:
    recorder, password = record_password(source)
    assert recorder.resources_of_type(PASSWORD) == []
    assert (password is None) == (source is None)


def test_each_change_generates_the_password_of_the_account_that_is_not_in_use() -> None:
    """The account in use has an even version if it is the first one, and an odd version if it is the second one."""
    versions = [[password.version for password in list_passwords_in_turn(version)] for version in range(5)]
    assert versions == [[0], [0, 1], [2, 1], [2, 3], [4, 3]]
    for version in range(1, 9):
        first, second = list_passwords_in_turn(version)
        assert (first.is_of_second_account, second.is_of_second_account) == (False, True)
        in_use = first if version % 2 == 0 else second
        assert in_use.version == version
        assert in_use not in list_passwords_in_turn(version - 1)
        assert {first, second} - {in_use} <= set(list_passwords_in_turn(version - 1))
