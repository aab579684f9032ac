"""Configuration keys that neither this program nor a provider reads, and the keys that the user probably meant."""

import difflib
import inspect
import re
from collections.abc import Collection
from functools import cache

from pulumi_kubernetes import ProviderArgs

from stacks.yaml_syntax import format_key

__all__ = ["list_key_warnings"]

KUBERNETES = "kubernetes"
ENGINE_KEYS = frozenset({"version", "pluginDownloadURL"})
"""The keys of every provider's configuration that Pulumi itself reads."""
NAMESPACE_CUTOFF = 0.8
KEY_CUTOFF = 0.6


def list_key_warnings(keys: Collection[str], project: str = "database-groups") -> dict[str, str]:
    """Return a warning for each configuration key that is probably misspelt, by key.

    The keys have namespaces, such as `kubernetes:context`. A namespace is misspelt if it is similar to the project's
    name or to `kubernetes`. All other namespaces may belong to other providers.
    """
    warnings = {key: _describe_unknown_key(key, project) for key in sorted(keys)}
    return {key: warning for key, warning in warnings.items() if warning}


def _describe_unknown_key(key: str, project: str) -> str | None:
    namespace, _, name = key.partition(":")
    if namespace == KUBERNETES and name not in _list_provider_keys():
        near = _find_nearest(name, _list_provider_keys(), KEY_CUTOFF)
        remedy = (
            f"did you mean {KUBERNETES}:{near}?" if near else f"known keys: {', '.join(sorted(_list_provider_keys()))}"
        )
        return f"unknown key {format_key(key)}; {remedy}"
    if namespace not in (project, KUBERNETES):
        near = _find_nearest(namespace, {project, KUBERNETES}, NAMESPACE_CUTOFF)
        if near:
            return f"unknown configuration namespace {format_key(namespace)}; did you mean '{near}'?"
    return None


def _find_nearest(name: str, known: Collection[str], cutoff: float) -> str | None:
    by_lower_case = {key.lower(): key for key in sorted(known)}
    matches = difflib.get_close_matches(name.lower(), by_lower_case, n=1, cutoff=cutoff)
    return by_lower_case[matches[0]] if matches else None


@cache
def _list_provider_keys() -> frozenset[str]:
    """Return the configuration keys of the Kubernetes provider: its arguments, in camel case."""
    names = inspect.signature(ProviderArgs).parameters
    return ENGINE_KEYS | {re.sub("_([a-z])", lambda match: match[1].upper(), name) for name in names}
