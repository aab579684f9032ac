"""Stores of backups on 127.0.0.1: versitygw (S3) and rest-server, as a user would run them."""

import base64
import contextlib
import hashlib
import math
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.tls import free_port

START_TIMEOUT_SECONDS = 30
ACCESS_KEY, SECRET_KEY = "of-a-test", "secret-of-a-test"
USERNAME, PASSWORD = "backups", "password-of-a-test"


@dataclass(frozen=True, kw_only=True)
class RunningStore:
    """A store that listens on 127.0.0.1."""

    port: int
    folder: Path
    """The folder with its data. A bucket is a folder."""
    scheme: str
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        """URL with the name localhost, which certificates contain."""
        return f"{self.scheme}://localhost:{self.port}"


def find_program(name: str) -> str:
    """Return the path of a program. Skip the test if it is not installed."""
    path = shutil.which(name)
    if not path:
        pytest.skip(f"{name} is not installed")
    return path


@contextlib.contextmanager
def serve_s3(
    folder: Path,
    certificate: tuple[bytes, bytes] | None = None,
    arguments: Sequence[str] = (),
    backend_arguments: Sequence[str] = (),
) -> Iterator[RunningStore]:
    """Run versitygw until the end of the context."""
    data, users, port = folder / "s3", folder / "users", free_port()
    for path in (data, users):
        path.mkdir(parents=True, exist_ok=True)
    tls = [f"--cert={path}" for path in _write_certificate(folder, certificate)[:1]]
    tls += [f"--key={path}" for path in _write_certificate(folder, certificate)[1:]]
    program = [find_program("versitygw"), "--port", f"127.0.0.1:{port}", "--iam-dir", str(users), *tls, *arguments]
    environment = {**os.environ, "ROOT_ACCESS_KEY": ACCESS_KEY, "ROOT_SECRET_KEY": SECRET_KEY}
    with _run([*program, "posix", *backend_arguments, str(data)], port, environment) as process:
        yield RunningStore(port=port, folder=data, scheme="https" if certificate else "http", process=process)


@contextlib.contextmanager
def serve_rest(
    folder: Path, certificate: tuple[bytes, bytes] | None = None, arguments: Sequence[str] = ()
) -> Iterator[RunningStore]:
    """Run rest-server until the end of the context."""
    data, port = folder / "rest", free_port()
    data.mkdir(parents=True, exist_ok=True)
    digest = base64.b64encode(hashlib.sha1(PASSWORD.encode()).digest()).decode()  # noqa: S324 (a format of .htpasswd)
    (data / ".htpasswd").write_text(f"{USERNAME}:{{SHA}}{digest}\n")
    paths = _write_certificate(folder, certificate)
    tls = ["--tls", "--tls-cert", str(paths[0]), "--tls-key", str(paths[1])] if paths else []
    program = [find_program("rest-server"), "--listen", f"127.0.0.1:{port}", "--path", str(data), *tls, *arguments]
    with _run(program, port, dict(os.environ)) as process:
        yield RunningStore(port=port, folder=data, scheme="https" if certificate else "http", process=process)


def _write_certificate(folder: Path, certificate: tuple[bytes, bytes] | None) -> list[Path]:
    """Write certificate and key, and return their paths."""
    paths = [folder / "store.crt", folder / "store.key"] if certificate else []
    for path, content in zip(paths, certificate or (), strict=True):
        path.write_bytes(content)
    return paths


@contextlib.contextmanager
def _run(command: Sequence[str], port: int, environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    # A full pipe would stop a store that logs every request.
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
        try:
            if not _listens(process, port):
                process.kill()
                log.seek(0)
                raise AssertionError(f"the store does not listen: {log.read().decode()}")
            yield process
        finally:
            process.send_signal(signal.SIGCONT)  # a test can have stopped it
            process.terminate()
            process.wait()


def _listens(process: subprocess.Popen[bytes], port: int) -> bool:
    """Wait until a store listens. Return False if it ended, or needs too long."""
    end = time.monotonic() + START_TIMEOUT_SECONDS
    while process.poll() is None and time.monotonic() < end:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return True
        time.sleep(0.05)
    return False


class Proxy:
    """A TCP proxy on 127.0.0.1 whose connections can be slow, or end."""

    def __init__(self, port: int, bytes_per_second: float = math.inf) -> None:
        self.bytes_per_second = bytes_per_second
        self.is_cut = False
        self._target = port
        self._sockets: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """End all connections, and reject new ones."""
        self.is_cut = True
        for connection in self._sockets:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            client = self._listener.accept()[0]
            if self.is_cut:
                client.close()
                continue
            server = socket.create_connection(("127.0.0.1", self._target))
            self._sockets += [client, server]
            for ends in ((client, server), (server, client)):
                threading.Thread(target=self._forward, args=ends, daemon=True).start()

    def _forward(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(16384):
                time.sleep(len(data) / self.bytes_per_second)
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
