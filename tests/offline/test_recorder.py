"""The recorder keeps what is registered as it was registered, and what Pulumi's own mocks hide."""

import gc
from collections.abc import Iterator

import pulumi
import pulumi_kubernetes as kubernetes
import pulumi_random as random
import pytest

from offline.recorder import Recorder, run_program
from tests.support import NAMESPACE, SECRET, get_resource


class Component(pulumi.ComponentResource):
    """A parent."""

    def __init__(self) -> None:
        super().__init__("test:index:Component", "parent")
        self.register_outputs({"said": pulumi.Output.secret("word")})


def program() -> None:
    parent = Component()
    first = kubernetes.core.v1.Namespace(
        "first", metadata={"name": "first"}, opts=pulumi.ResourceOptions(parent=parent)
    )
    kubernetes.core.v1.Secret(
        "second",
        metadata={"name": "second"},
        data={"key": pulumi.Output.secret("value")},
        opts=pulumi.ResourceOptions(
            parent=parent,
            protect=True,
            retain_on_delete=True,
            depends_on=[first],
            ignore_changes=["metadata.labels"],
            deleted_with=first,
        ),
    )
    pulumi.export("secret", pulumi.Output.secret("exported"))


@pytest.fixture
def recorder() -> Recorder:
    return run_program(program)


def test_every_option_of_a_resource_is_kept(recorder: Recorder) -> None:
    (parent,) = recorder.resources_of_type("test:index:Component")
    first, second = get_resource(recorder, NAMESPACE, "first"), get_resource(recorder, SECRET, "second")
    assert second.parent == parent.urn
    assert (second.protect, second.retain_on_delete) == (True, True)
    assert second.depends_on == {first.urn}
    assert second.ignore_changes == ("metadata.labels",)
    assert second.deleted_with == first.urn
    assert (first.protect, first.retain_on_delete, first.depends_on, first.deleted_with) == (
        False,
        False,
        frozenset(),
        "",
    )
    assert (parent.custom, first.custom) == (False, True)


def test_a_secret_is_known_wherever_it_is_in_an_input(recorder: Recorder) -> None:
    assert get_resource(recorder, SECRET, "second").secret_inputs == {"data"}
    assert get_resource(recorder, SECRET, "second").inputs["data"] == {"key": "value"}
    assert get_resource(recorder, NAMESPACE, "first").secret_inputs == frozenset()


def test_outputs_are_kept(recorder: Recorder) -> None:
    (parent,) = recorder.resources_of_type("test:index:Component")
    assert set(recorder.outputs) >= {parent.urn}
    assert recorder.stack_outputs() == {"secret": "exported"}


def test_a_generated_password_is_a_stand_in() -> None:
    found: list[str] = []
    run_program(lambda: pulumi.export("x", random.RandomPassword("p", length=32).result.apply(found.append)))
    assert found == ["hidden"]


def test_the_program_has_the_configuration_that_it_is_given() -> None:
    found: list[str | None] = []
    run_program(lambda: found.append(pulumi.Config("a").get("b")), config={"a:b": "c"})
    run_program(lambda: found.append(pulumi.Config("a").get("b")))
    assert found == ["c", None]


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Collect the objects of the failed run here: their warnings belong to this test."""
    yield
    gc.collect()


def twice() -> None:
    for _ in range(2):
        kubernetes.core.v1.Namespace("same", metadata={"name": "same"})


def test_two_resources_of_one_urn_are_refused_as_the_engine_refuses_them() -> None:
    with pytest.raises(Exception, match=r"two resources are registered as urn:pulumi:.*::same"):
        run_program(twice)


def test_a_run_that_failed_does_not_spoil_the_next_one() -> None:
    with pytest.raises(Exception, match="two resources are registered as"):
        run_program(twice)
    assert len(run_program(program).registrations) == 3


def test_what_the_program_raises_is_raised() -> None:
    def broken() -> None:
        raise pulumi.RunError("said so")

    with pytest.raises(pulumi.RunError, match="said so"):
        run_program(broken)
