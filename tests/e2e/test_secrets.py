"""Credentials are in Secrets only: not in output, logs, state, rendered files, process arguments or other objects."""

import base64
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from kubernetes.client.exceptions import ApiException

from offline.__main__ import render_stack
from offline.diagram import render_diagram
from offline.manifests import render_manifests
from offline.page import render_page
from offline.summary import render_summary
from tests.e2e.cluster import Cluster
from tests.e2e.project import Project
from tests.e2e.servers import DatabaseServer

EXISTING_PASSWORD = "g1ven-Canary+4e9f"
ADMINISTRATOR_PASSWORD = "adm1n-Canary+77c2"
TRACE_RE = re.compile(r'"msg":"(Unm|M)arshaling property for RPC\[')
"""A call between Pulumi's engine and a provider. At -v=9, the engine logs each value of it, also a secret one."""
ACCOUNT = "canary_main"
ROLES = ("canary_existing", "canary_admin")


def list_forms(secret: str) -> set[str]:
    """Return a secret as text, in a URI, in JSON, and in base64 at each of its three positions."""
    encoded = {base64.b64encode(b"x" * shift + secret.encode()).decode().rstrip("=")[4:-3] for shift in range(3)}
    return {secret, quote(secret, safe=""), json.dumps(secret)[1:-1], *encoded}


def remove_traces(log: str) -> str:
    """Return a log without the calls between Pulumi's engine and its providers."""
    lines = log.splitlines()
    others = [line for line in lines if not TRACE_RE.search(line)]
    assert len(others) < len(lines), "the engine writes its traces in another form"
    return "\n".join(others)


@contextmanager
def watch_processes() -> Iterator[set[str]]:
    """Collect the arguments of every process on the machine."""
    arguments: set[str] = set()
    stop = threading.Event()

    def watch() -> None:
        while not stop.is_set():
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    arguments.add(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
                except OSError:
                    continue
            time.sleep(0.05)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    yield arguments
    stop.set()
    thread.join()


def read_objects(cluster: Cluster, namespace: str) -> dict[str, str]:
    """Return every object of a namespace as JSON, by kind, without its Secrets."""
    texts: dict[str, str] = {}
    for resource in cluster.dynamic.resources.search():
        is_listable = resource.namespaced and "list" in (resource.verbs or []) and not resource.kind.endswith("List")
        if is_listable and resource.kind != "Secret":
            try:
                answer = resource.get(namespace=namespace)
            except ApiException:
                continue
            texts[f"{resource.group_version} {resource.kind}"] = json.dumps(answer.to_dict(), default=str)
    return texts


def read_files(folder: Path) -> dict[str, str]:
    """Return the text of every file in a folder."""
    return {str(path): path.read_bytes().decode(errors="replace") for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def postgresql(server: Callable[[str], DatabaseServer]) -> Iterator[DatabaseServer]:
    """Yield a server with an existing account for an application, and with another administrator."""
    postgresql = server("postgresql")
    postgresql.drop(ACCOUNT, *ROLES)
    with postgresql.administrator() as session:
        session.run(f"CREATE ROLE canary_existing LOGIN PASSWORD '{EXISTING_PASSWORD}'")
        session.run(f"CREATE ROLE canary_admin LOGIN CREATEDB CREATEROLE PASSWORD '{ADMINISTRATOR_PASSWORD}'")
    yield postgresql
    postgresql.drop(ACCOUNT, *ROLES)


def test_only_secrets_contain_credentials(
    project: Project, simulated_node: Cluster, postgresql: DatabaseServer
) -> None:
    """The test covers passwords of the user, of an administrator and of generated accounts, in each command."""
    existing = {
        "kind": "external",
        "host": postgresql.host,
        "port": postgresql.port,
        "database": "postgres",
        "username": "canary_existing",
    }
    server = {**postgresql.as_server(), "administrator": {"username": "canary_admin"}}
    provisioned = {"kind": "external", "provisionOn": "hq"}
    databases: dict[str, Any] = {
        "postgresql": {"main": {"server": provisioned}, "existing": {"server": existing}},
        "redis": {"main": {"server": "local"}},
    }
    project.new("canary", {"externalServers": {"hq": server}, "applications": {"canary": {"databases": databases}}})
    passwords = {
        "externalServers.hq.administrator": ADMINISTRATOR_PASSWORD,
        "applications.canary.databases.postgresql.existing.server": EXISTING_PASSWORD,
    }
    for path, password in passwords.items():
        set_secret = ("config", "set", "--secret", "--path", f"database-groups:{path}.password")
        project.pulumi(*set_secret, stack="canary", typed=password).succeeded()

    project.environment["PULUMI_DEBUG_COMMANDS"] = "true"  # required by --event-log
    events = project.folder / "events.json"
    texts: dict[str, str] = {}
    with watch_processes() as arguments:
        texts["preview"] = project.preview("canary", "--json").succeeded().output
        options = ("--event-log", str(events), "--logtostderr", "-v=9")
        texts["update with log"] = remove_traces(project.up("canary", *options).succeeded().output)
        secrets = [simulated_node.read_secret("canary", name) for name in ("postgresql-main", "redis-main")]
        texts["update in JSON"] = project.up("canary", "--json").succeeded().output
        for name, *command in (
            ("export", "stack", "export"),
            ("outputs", "stack", "output", "--json", "--show-secrets"),
            ("refresh", "refresh", "--yes", "--skip-preview", "--diff"),
        ):
            texts[name] = project.pulumi(*command, stack="canary").succeeded().output
        texts |= read_objects(simulated_node, "canary")
        rendered = render_stack("canary", project.folder / "stacks")
        texts["manifests"] = str(render_manifests(rendered.recorder))
        texts["summary"], texts["diagram"] = render_summary(rendered.view), render_diagram(rendered.view)
        texts["page"] = render_page(rendered.view)
        stack_file = project.path("canary").read_text()
        project.path("canary").write_text(stack_file.replace("kind: external", "kind: remote"))
        texts["errors"] = project.up("canary").failed().output
        project.path("canary").write_text(stack_file)
        texts |= read_files(project.folder / "stacks") | read_files(project.state) | {"events": events.read_text()}
        texts["destroy"] = project.destroy("canary").succeeded().output
    texts["arguments"] = "\n".join(sorted(arguments))

    assert "postgresql-main" in texts["update with log"]
    assert any("StatefulSet" in name and "redis-main" in text for name, text in texts.items())
    assert "pulumi" in texts["arguments"]
    credentials = [EXISTING_PASSWORD, ADMINISTRATOR_PASSWORD, *(data["password"] for data in secrets)]
    assert all(len(credential) >= len(EXISTING_PASSWORD) for credential in credentials)
    assert [
        (number, place)
        for place, text in texts.items()
        for number, credential in enumerate(credentials)
        for form in list_forms(credential)
        if form in text
    ] == []
