"""A stand-in for Pulumi's engine that keeps what the program registers: every request as it came, so that nothing of it is lost.

Pulumi's own mocks hide the options of a resource and take two resources of one URN without a word; this monitor does neither.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from google.protobuf import empty_pb2, struct_pb2
from pulumi import Resource
from pulumi.runtime import mocks, rpc, set_all_config, settings
from pulumi.runtime.proto import resource_pb2
from pulumi.runtime.stack import run_in_stack

from stacks.config import OFFLINE_CONFIG_KEY
from stacks.previous_state import READ_STACK_OUTPUTS_TOKEN

__all__ = ["PROJECT", "Recorder", "Registration", "run_program"]

PROJECT = "database-groups"
STACK_TYPE = "pulumi:pulumi:Stack"
PASSWORD_TYPE = "random:index/randomPassword:RandomPassword"  # noqa: S105 (a type)
RANDOM_ID_TYPE = "random:index/randomId:RandomId"
PASSWORD = "hidden"  # noqa: S105 (a stand-in for the generated one)


@dataclass(frozen=True, kw_only=True)
class Registration:
    """One registered resource."""

    urn: str
    type: str
    name: str
    parent: str
    custom: bool
    inputs: Mapping[str, Any]
    """Without the marks of secrets."""
    secret_inputs: frozenset[str]
    """The inputs that are secret, wholly or in a part."""
    protect: bool
    retain_on_delete: bool
    depends_on: frozenset[str]
    ignore_changes: tuple[str, ...]
    deleted_with: str
    provider: str


class Recorder(mocks.MockMonitor):
    """Keeps every registration by URN, and the outputs of components and of the stack."""

    def __init__(self, previous: Mapping[str, Any] | None = None) -> None:
        super().__init__(_NoMocks())
        self.previous = dict(previous or {})
        self.registrations: dict[str, Registration] = {}
        self.outputs: dict[str, Any] = {}

    def RegisterResource(self, request: Any) -> Any:
        """Records a registration. Raises ValueError for a second one of the same URN, as the engine does."""
        if request.type != STACK_TYPE:
            urn = self.make_urn(request.parent, request.type, request.name)
            if urn in self.registrations:
                raise ValueError(f"two resources are registered as {urn}")
            marked = rpc.deserialize_properties(request.object, True)
            self.registrations[urn] = Registration(
                urn=urn,
                type=request.type,
                name=request.name,
                parent=request.parent,
                custom=request.custom,
                inputs={key: _strip_secret_markers(value) for key, value in marked.items()},
                secret_inputs=frozenset(key for key, value in marked.items() if _is_secret(value)),
                protect=request.protect,
                retain_on_delete=request.retainOnDelete,
                depends_on=frozenset(request.dependencies),
                ignore_changes=tuple(request.ignoreChanges),
                deleted_with=request.deletedWith,
                provider=request.provider,
            )
        return self._fake_response(request)

    def _fake_response(self, request: Any) -> Any:
        """The answer of a provider whose resources have their inputs as outputs, and a word where a random one is made."""
        urn = self.make_urn(request.parent, request.type, request.name)
        outputs = request.object
        made = {PASSWORD_TYPE: "result", RANDOM_ID_TYPE: "hex"}
        if request.type in made:
            outputs = struct_pb2.Struct()
            outputs.MergeFrom(request.object)
            outputs[made[request.type]] = PASSWORD
        return resource_pb2.RegisterResourceResponse(
            urn=urn, id=f"{request.name}-id" if request.custom else "", object=outputs
        )

    def Invoke(self, request: Any) -> Any:
        """Answers the one function that the program calls: what the state said before. Raises ValueError for any other."""
        if request.tok != READ_STACK_OUTPUTS_TOKEN:
            raise ValueError(f"the program calls {request.tok}")
        outputs = struct_pb2.Struct()
        outputs.update({"outputs": self.previous})
        fields: dict[str, Any] = {"return": outputs}  # a word of Python's own
        return resource_pb2.ResourceInvokeResponse(**fields)

    def RegisterResourceOutputs(self, request: Any) -> Any:
        """Records outputs."""
        self.outputs[request.urn] = rpc.deserialize_properties(request.outputs, True)
        return empty_pb2.Empty()

    def component_states(self) -> dict[str, dict[str, Any]]:
        """What a later run finds in the state of the components of this one, by URN."""
        return {
            urn: {
                "type": registration.type,
                "outputs": {key: value for key, value in self.outputs.get(urn, {}).items() if value is not None},
            }
            for urn, registration in self.registrations.items()
            if not registration.custom
        }

    def resources_of_type(self, token: str) -> list[Registration]:
        """The registrations of a type, in the order in which they came."""
        return [registration for registration in self.registrations.values() if registration.type == token]

    def stack_outputs(self) -> dict[str, Any]:
        """What the program exported."""
        return next(
            (_strip_secret_markers(value) for urn, value in self.outputs.items() if f"::{STACK_TYPE}::" in urn), {}
        )


class _NoMocks(mocks.Mocks):
    """The mocks that Pulumi's monitor asks for; this one answers by itself, and no function of a provider is called."""

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str | None, dict[str, Any]]:
        raise NotImplementedError

    def call(self, args: mocks.MockCallArgs) -> tuple[dict[str, Any], list[tuple[str, str]] | None]:
        raise NotImplementedError


def run_program(
    program: Callable[[], None],
    *,
    stack: str = "test",
    config: Mapping[str, str] | None = None,
    encrypted: tuple[str, ...] = (),
    previous: Mapping[str, Any] | None = None,
) -> Recorder:
    """Runs a program against a new recorder, with what an earlier one left in the state, and returns it. What the program raises is raised here."""
    recorder = Recorder(previous)

    async def main() -> None:
        # The mocks would make a root of their own, whose outputs could come after the program's; and what a run that failed left
        # behind belongs to an event loop that is gone.
        settings.set_root_resource(cast(Resource, object()))
        mocks.set_mocks(recorder.mocks, project=PROJECT, stack=stack, preview=False, monitor=recorder)
        settings.SETTINGS.rpc_manager.clear()
        settings.SETTINGS.outputs.clear()
        settings.set_root_resource(cast(Resource, None))
        set_all_config({**(config or {}), OFFLINE_CONFIG_KEY: "true"}, list(encrypted))
        await run_in_stack(program)

    asyncio.run(main())
    return recorder


def _is_secret(value: Any) -> bool:
    if rpc.is_rpc_secret(value):
        return True
    if isinstance(value, dict):
        return any(_is_secret(item) for item in value.values())
    return isinstance(value, list) and any(_is_secret(item) for item in value)


def _strip_secret_markers(value: Any) -> Any:
    value = rpc.unwrap_rpc_secret(value)
    if isinstance(value, dict):
        return {key: _strip_secret_markers(item) for key, item in value.items()}
    return [_strip_secret_markers(item) for item in value] if isinstance(value, list) else value
