"""The Job that restores a backup into the running server of a group, between two updates. Pure functions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from components.copies.pod import (
    PodArgs,
    build_limits,
    build_pod_spec,
    list_connection_mounts,
    list_connection_variables,
    read_scripts,
)
from components.copies.repository import Repository
from components.engines.definition import Engine, Variant
from components.persisted.labels import copy_pod_labels

__all__ = ["RestoreArgs", "build_restore_job_spec", "read_restore_scripts"]

REQUESTS = {"cpu": "50m", "memory": "128Mi"}


@dataclass(frozen=True, kw_only=True)
class RestoreArgs:
    """A restore into a group."""

    name: str
    """Name of the Job, of the Secret with the entries of the repository, and of the ConfigMap with the scripts."""
    application: str
    engine: Engine
    variant: Variant
    image: str
    memory: str | None
    """Memory for the data of the backup. None: the restore does not load it."""
    repository: Repository
    backup: str
    """Id of the backup."""
    minutes: int
    """Time limit of the Job."""
    overwrite: bool
    connection_secret: str
    connection_keys: Sequence[str]
    """Keys of the connection Secret."""
    tls: str | None
    """TLS mode. None: the engine's programs decide."""


def build_restore_job_spec(args: RestoreArgs) -> dict[str, Any]:
    """Return the specification of the Job (batch/v1 JobSpec)."""
    values = {
        "PRODUCER": "snapshot",
        "BACKUP": args.backup,
        "LIMIT_SECONDS": str(args.minutes * 60),
        "OVERWRITE": str(args.overwrite).lower(),
    }
    pod = build_pod_spec(
        PodArgs(
            container="restore",
            image=args.image,
            user=args.variant.run_as_user,
            script="receive",
            config_map=args.name,
            variables=[
                *({"name": name, "value": value} for name, value in values.items()),
                *args.repository.list_variables(args.name),
                # Without a prefix, these variables are those of both sides. A repository has no connection.
                *list_connection_variables(args.connection_keys, args.tls, args.connection_secret),
            ],
            requests=REQUESTS,
            limits=build_limits(args.memory),
            mounts=[
                *args.repository.list_mounts(args.name),
                *list_connection_mounts({"": args.connection_keys}, args.connection_secret),
            ],
            init_containers=[args.repository.build_init_container()],
        )
    )
    return {
        "activeDeadlineSeconds": args.minutes * 60,
        "template": {"metadata": {"labels": copy_pod_labels(args.application)}, "spec": pod},
    }


def read_restore_scripts(engine: Engine) -> Mapping[str, str]:
    """Return the scripts of the Job by the names of their files."""
    return read_scripts(engine, "receive", "snapshot", "restic")
