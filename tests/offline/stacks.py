"""A stack with every server kind, for the tests of what `make render` shows."""

from typing import Any

from tests.support import existing_account, external_server, provisioned_on

SHOP: dict[str, Any] = {
    "podSelector": {"app": "shop"},
    "workloads": [
        {"kind": "Deployment", "name": "web", "containers": ["web", "worker"]},
        {"kind": "Deployment", "name": "jobs"},
    ],
    "databases": {
        "postgresql": {"main": provisioned_on("hq", tls="require")},
        "mysql": {
            "main": {
                "primary": True,
                "protect": "retain",
                "variant": "percona",
                "server": {"kind": "dedicated", "version": "8.4.3"},
            },
            "old": {"server": existing_account("mysql", host=["fd00::1", "fd00::2"], port=3307)},
        },
    },
}
BLOG: dict[str, Any] = {
    "namespace": "web",
    "createNamespace": False,
    "protect": True,
    "databases": {
        "postgresql": {"main": provisioned_on("hq")},
        "redis": {"cache": {"server": {"kind": "local", "version": "8.2.1"}}},
        "sqlite": {"files": None},
    },
}
STACK: dict[str, Any] = {
    "externalServers": {"hq": external_server("postgresql", port=6432)},
    "applications": {"shop": SHOP, "blog": BLOG},
}
