"""A password is secret from where it enters, whoever made it."""

import pulumi
import pytest
from pydantic import SecretStr

from components.passwords import GeneratedPassword, create_password
from offline.recorder import run_program
from tests.support import CANARY, PASSWORD


class Parent(pulumi.ComponentResource):
    """A parent."""

    def __init__(self) -> None:
        super().__init__("test:index:Component", "parent")


@pytest.mark.parametrize(
    ("wanted", "value"),
    [(SecretStr(CANARY), CANARY), (GeneratedPassword(version=0), "hidden")],
    ids=["given", "generated"],
)
def test_a_password_is_a_secret_output(wanted: GeneratedPassword | SecretStr, value: str) -> None:
    seen: list[object] = []

    async def look(password: pulumi.Output[str] | None) -> None:
        assert password is not None
        seen.extend([await password.is_secret(), await password.future()])

    run_program(lambda: pulumi.export("seen", look(create_password("p", wanted, parent=Parent()))))
    assert seen == [True, value]


def test_where_none_is_wanted_none_is_made() -> None:
    seen: list[object] = []
    recorder = run_program(lambda: seen.append(create_password("p", None, parent=Parent())))
    assert seen == [None]
    assert recorder.resources_of_type(PASSWORD) == []


def test_a_generated_password_is_a_child_of_its_group() -> None:
    recorder = run_program(
        lambda: pulumi.export("seen", create_password("p", GeneratedPassword(version=0), parent=Parent()))
    )
    (password,) = recorder.resources_of_type(PASSWORD)
    assert password.parent.endswith("test:index:Component::parent")
