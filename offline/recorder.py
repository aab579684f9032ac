"""A replacement for Pulumi's engine that records every registration of the program with all its options.

Pulumi's own mocks hide the options of a resource and accept two resources with one URN; this monitor does not.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, cast

from google.protobuf import empty_pb2, struct_pb2
from pulumi import Resource
from pulumi.runtime import mocks, rpc, set_all_config, settings
from pulumi.runtime.proto import resource_pb2
from pulumi.runtime.stack import run_in_stack

from stacks.config import OFFLINE_CONFIG_KEY
from stacks.previous_state import CONNECTION_TYPE, READ_STACK_OUTPUTS_TOKEN

__all__ = ["LOGGER", "PLACEHOLDER", "PROJECT", "Recorder", "Registration", "run_program"]

PROJECT = "database-groups"
STACK_TYPE = "pulumi:pulumi:Stack"
LOGGER = logging.getLogger("offline")
"""Receives the warnings of the program."""
PLACEHOLDER = "hidden"
"""Text in place of a value that only a real update knows."""
RANDOM_OUTPUTS_BY_TYPE = {
    "random:index/randomPassword:RandomPassword": ("result", "bcryptHash"),
    "random:index/randomId:RandomId": ("hex",),
}


@dataclass(frozen=True, kw_only=True)
class Registration:
    """One registered resource."""

    urn: str
    type: str
    name: str
    parent: str
    custom: bool
    inputs: Mapping[str, Any]
    """Inputs without the markers of secrets."""
    secret_inputs: frozenset[str]
    """Names of the inputs that are secret or contain a secret."""
    protect: bool
    retain_on_delete: bool
    depends_on: frozenset[str]
    ignore_changes: tuple[str, ...]
    replace_on_changes: tuple[str, ...]
    delete_before_replace: bool
    deleted_with: str
    provider: str
    custom_timeouts: Mapping[str, str]
    """Time limits that are set, by operation."""
    hooks: Mapping[str, tuple[str, ...]]
    """Names of the resource hooks, by the moment at which they run, such as `before_update`."""


class Recorder(mocks.MockMonitor):
    """Monitor that records every registration by URN, and the outputs of components and of the stack."""

    def __init__(self, previous: Mapping[str, Any] | None = None) -> None:
        super().__init__(_NoMocks())
        self.previous_outputs = dict(previous or {})
        self.registrations: dict[str, Registration] = {}
        self.outputs: dict[str, Any] = {}

    def RegisterResource(  # noqa: N802 (the name in the protocol)
        self, request: Any
    ) -> Any:
        """Record a registration. Raise ValueError for a second one with the same URN, as the engine does."""
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
                replace_on_changes=tuple(request.replaceOnChanges),
                delete_before_replace=request.deleteBeforeReplace,
                deleted_with=request.deletedWith,
                provider=request.provider,
                custom_timeouts={field.name: limit for field, limit in request.customTimeouts.ListFields()},
                hooks={moment.name: tuple(names) for moment, names in request.hooks.ListFields()},
            )
        return self._build_response(request)

    def _build_response(self, request: Any) -> Any:
        """Return the response of a provider: the inputs as outputs, and a placeholder for a random value."""
        urn = self.make_urn(request.parent, request.type, request.name)
        outputs = request.object
        if request.type in RANDOM_OUTPUTS_BY_TYPE:
            outputs = struct_pb2.Struct()
            outputs.MergeFrom(request.object)
            outputs.update(dict.fromkeys(RANDOM_OUTPUTS_BY_TYPE[request.type], PLACEHOLDER))
        return resource_pb2.RegisterResourceResponse(
            urn=urn, id=f"{request.name}-id" if request.custom else "", object=outputs
        )

    def Invoke(  # noqa: N802
        self, request: Any
    ) -> Any:
        """Answer the only function that the program calls: it reads the previous state. Raise ValueError for others."""
        if request.tok != READ_STACK_OUTPUTS_TOKEN:
            raise ValueError(f"the program calls {request.tok}")
        outputs = struct_pb2.Struct()
        outputs.update({"outputs": self.previous_outputs})
        fields: dict[str, Any] = {"return": outputs}  # `return` is a keyword of Python
        return resource_pb2.ResourceInvokeResponse(**fields)

    def RegisterResourceOutputs(  # noqa: N802
        self, request: Any
    ) -> Any:
        """Record the outputs of a component or of the stack."""
        self.outputs[request.urn] = rpc.deserialize_properties(request.outputs, True)
        return empty_pb2.Empty()

    def resource_states(self) -> dict[str, dict[str, Any]]:
        """Return the components and the Secrets as the next run reads them from the state, by URN."""
        outputs = {
            urn: registration.inputs if registration.custom else self.outputs.get(urn, {})
            for urn, registration in self.registrations.items()
            if not registration.custom or registration.type == CONNECTION_TYPE
        }
        return {
            urn: {
                "type": self.registrations[urn].type,
                "outputs": {key: value for key, value in found.items() if value is not None},
            }
            for urn, found in outputs.items()
        }

    def resources_of_type(self, token: str) -> list[Registration]:
        """Return the registrations of a type, in their order."""
        return [registration for registration in self.registrations.values() if registration.type == token]

    def stack_outputs(self) -> dict[str, Any]:
        """Return the outputs that the program exported."""
        return next(
            (_strip_secret_markers(value) for urn, value in self.outputs.items() if f"::{STACK_TYPE}::" in urn), {}
        )


class _CallingThread(ThreadPoolExecutor):
    """Runs each call of the recorder at once: a change of threads costs more than the call."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Return the ended call."""
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


class _NoMocks(mocks.Mocks):
    """The mocks that the base class requires. The recorder answers by itself and never calls them."""

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
    """Run a program with a new recorder and return the recorder. Raise what the program raises.

    `previous` holds the components of an earlier run, as `Recorder.resource_states` returns them.
    """
    recorder = Recorder(previous)

    async def main() -> None:
        asyncio.get_running_loop().set_default_executor(_CallingThread())
        # The mocks would create their own root resource, whose outputs could arrive after the program's. The state of
        # a failed run belongs to a closed event loop.
        settings.set_root_resource(cast(Resource, object()))
        mocks.set_mocks(recorder.mocks, project=PROJECT, stack=stack, preview=False, logger=LOGGER, monitor=recorder)
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
