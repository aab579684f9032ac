"""The restic repository of a group, and what a Pod needs to use it."""

import hashlib
import hmac
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from components.copies.pod import Mount, build_container_security, build_secret_variable
from components.copies.stores import CLAIM_PATH, Store, StoreAccess, build_repository_password

__all__ = ["Repository"]

RESTIC_IMAGE = "docker.io/restic/restic:0.19.1"
"""Its program is static, so it runs in the image of every engine."""
RESTIC_RESOURCES = {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "128Mi"}}
TOOLS_PATH = "/tools"
FILES_PATH = "/etc/restic"
RUNTIME = {"GOMEMLIMIT": "160MiB", "GOGC": "150"}
"""Variables of restic's Go runtime. GOGC: restic frees memory less often than by default,
which saves 5 % of the time. GOMEMLIMIT: restic always frees memory at 160 MiB."""


@dataclass(frozen=True, kw_only=True)
class Repository:
    """The repository of a group in a store."""

    store: Store
    path: str
    """Path in the store: `shop/postgresql/main`."""

    @cached_property
    def access(self) -> StoreAccess:
        """How restic reaches the repository."""
        return self.store.build_access(self.path)

    @property
    def digest(self) -> str:
        """Digest of the address and the credentials. Its key is the password, so it reveals nothing about them."""
        password = build_repository_password(self.store, self.path)
        content = json.dumps(asdict(self.access), sort_keys=True)
        return hmac.new(password.encode(), content.encode(), hashlib.sha256).hexdigest()[:8]

    @property
    def secret_entries(self) -> Mapping[str, str]:
        """The entries of the Pod's Secret: credentials and the content of files, by variable."""
        password = {"RESTIC_PASSWORD": build_repository_password(self.store, self.path)}
        return {**self.access.credentials, **self.access.files, **password}

    def list_variables(self, secret: str) -> Iterator[dict[str, Any]]:
        """Yield the variables that restic reads (core/v1 EnvVar). `secret` has the entries of `secret_entries`."""
        values = {
            "RESTIC": f"{TOOLS_PATH}/restic",
            "RESTIC_OPTIONS": self.access.options,
            "RESTIC_REPOSITORY": self.access.repository,
            "RESTIC_HOST": self.path.replace("/", "."),
            **RUNTIME,
            **self.access.variables,
            **{name: f"{FILES_PATH}/{name}" for name in self.access.files},
        }
        yield from ({"name": name, "value": value} for name, value in values.items())
        for name in self.secret_entries:
            if name not in self.access.files:
                yield build_secret_variable(name, secret, name)

    def list_mounts(self, secret: str) -> Iterator[Mount]:
        """Yield the volumes with the program, the files and the repository, if it is in a volume claim."""
        yield Mount(name="tools", path=TOOLS_PATH, source={"emptyDir": {}})
        if self.access.files:
            items = [{"key": name, "path": name} for name in self.access.files]
            source = {"secret": {"secretName": secret, "items": items}}
            yield Mount(name="store-files", path=FILES_PATH, source=source, read_only=True)
        if self.access.claim:
            claim = {"persistentVolumeClaim": {"claimName": self.access.claim}}
            yield Mount(name="store", path=CLAIM_PATH, source=claim)

    def build_init_container(self) -> dict[str, Any]:
        """Return the container that copies the program into the Pod (core/v1 Container)."""
        return {
            "name": "restic",
            "image": RESTIC_IMAGE,
            "command": ["cp", "/usr/bin/restic", f"{TOOLS_PATH}/restic"],
            "resources": RESTIC_RESOURCES,
            "securityContext": build_container_security(),
            "volumeMounts": [{"name": "tools", "mountPath": TOOLS_PATH}],
        }
