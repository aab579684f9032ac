"""A store of backups in the cluster: an S3 server in a Pod, and the image of restic."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from components.copies.repository import RESTIC_IMAGE
from tests.e2e.cluster import Cluster

__all__ = ["BUCKET", "REPOSITORY_PASSWORD", "SECRET_KEY", "build_store", "build_store_images", "serve_store"]

STORE_IMAGE = "docker.io/versity/versitygw:v1.8.0"
ACCESS_KEY, SECRET_KEY, BUCKET, PORT = "of-a-test", "c4nary-secret-key", "backups", 7070
REPOSITORY_PASSWORD = "c4nary-repository"
USER = 999


def build_store(url: str, **others: Any) -> dict[str, Any]:
    """Return the store with this URL as an entry of `backupStores`."""
    keys = {"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY, "repositoryPassword": REPOSITORY_PASSWORD}
    return {"kind": "s3", "endpoint": url, "bucket": BUCKET, "pathStyle": True, **keys, **others}


def build_store_images(folder: Path) -> None:
    """Load the images of restic and of the S3 server into the node, from the programs on PATH and the host's `cp`."""
    programs = {name: shutil.which(name) for name in ("restic", "versitygw", "cp", "mkdir")}
    for name, path in programs.items():
        if path is None:
            pytest.skip(f"{name} is not on PATH")
    found = {name: Path(path) for name, path in programs.items() if path}
    _load_image(RESTIC_IMAGE, folder / "restic", [found["restic"], found["cp"]], {})
    _load_image(STORE_IMAGE, folder / "store", [found["versitygw"], found["mkdir"]], {})


def _load_image(name: str, folder: Path, programs: Sequence[Path], config: dict[str, object]) -> None:
    for program in programs:
        libraries = subprocess.run(["ldd", program], capture_output=True, text=True, check=False).stdout
        for library in re.findall(r"(/\S+) \(0x", libraries):
            _copy(Path(library), folder / library.lstrip("/"))
        _copy(program, folder / "usr/bin" / program.name)
    (folder / "tmp").mkdir()
    image = os.environ["LAB_IMAGE"]
    subprocess.run([image, name, folder, json.dumps({"Env": ["PATH=/usr/bin"], **config})], check=True, timeout=120)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source.resolve(), target)


@contextmanager
def serve_store(cluster: Cluster, namespace: str) -> Iterator[str]:
    """Run an S3 server with a bucket in a namespace. Yield its URL, which the host and the Pods reach."""
    security = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    container = {
        "image": STORE_IMAGE,
        "securityContext": security,
        "volumeMounts": [{"name": "data", "mountPath": "/d"}],
    }
    variables = {"ROOT_ACCESS_KEY": ACCESS_KEY, "ROOT_SECRET_KEY": SECRET_KEY}
    labels = {"app": "store"}
    cluster.apply(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "store", "namespace": namespace, "labels": labels},
            "spec": {
                "securityContext": {
                    "runAsNonRoot": True,
                    "runAsUser": USER,
                    "fsGroup": USER,
                    "seccompProfile": {"type": "RuntimeDefault"},
                },
                "initContainers": [
                    {**container, "name": "bucket", "command": ["mkdir", "-p", f"/d/data/{BUCKET}", "/d/meta"]}
                ],
                "containers": [
                    {
                        **container,
                        "name": "store",
                        "command": ["versitygw", "--port", f":{PORT}", "posix", "--sidecar", "/d/meta", "/d/data"],
                        "env": [{"name": name, "value": value} for name, value in variables.items()],
                        "readinessProbe": {"tcpSocket": {"port": PORT}, "periodSeconds": 1},
                    }
                ],
                "volumes": [{"name": "data", "emptyDir": {}}],
            },
        }
    )
    cluster.apply(
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "store", "namespace": namespace},
            "spec": {"selector": labels, "ports": [{"port": PORT}]},
        }
    )
    cluster.wait_for_pod(namespace, "store")
    yield f"http://{cluster.read_service_address(namespace, 'store')}:{PORT}"
