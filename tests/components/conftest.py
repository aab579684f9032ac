"""Fixtures of the tests of components."""

from typing import Any

import pulumi
import pytest


@pytest.fixture
def hooks(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return the hooks that a program registers. The recorder has no server for Pulumi's callbacks."""
    registered: dict[str, Any] = {}

    def register(_callbacks: object, hook: pulumi.ResourceHook | pulumi.ErrorHook) -> None:
        assert hook.name not in registered
        registered[hook.name] = hook

    class Callbacks:
        register_resource_hook = register
        register_error_hook = register

    async def get_callbacks() -> Callbacks:
        return Callbacks()

    monkeypatch.setattr("pulumi.runtime.resource._get_callbacks", get_callbacks)
    return registered


@pytest.fixture
def errors(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, pulumi.Resource]]:
    """Return the errors that hooks log, with their resources."""
    logged: list[tuple[str, pulumi.Resource]] = []
    monkeypatch.setattr("pulumi.log.error", lambda text, resource: logged.append((text, resource)))
    return logged
