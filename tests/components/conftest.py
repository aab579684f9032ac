"""Fixtures of the tests of components."""

import pulumi
import pytest


@pytest.fixture
def hooks(monkeypatch: pytest.MonkeyPatch) -> dict[str, pulumi.ResourceHook]:
    """Return the hooks that a program registers. The recorder has no server for Pulumi's callbacks."""
    registered: dict[str, pulumi.ResourceHook] = {}

    class Callbacks:
        def register_resource_hook(self, hook: pulumi.ResourceHook) -> None:
            assert hook.name not in registered
            registered[hook.name] = hook

    async def get_callbacks() -> Callbacks:
        return Callbacks()

    monkeypatch.setattr("pulumi.runtime.resource._get_callbacks", get_callbacks)
    return registered
