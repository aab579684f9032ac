"""Credentials are where they must be and nowhere else: not in what is printed, logged, kept, rendered, passed to processes or told to Kubernetes."""

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
from offline.render import render_diagram, render_manifests, render_summary
from tests.e2e.cluster import Cluster
from tests.e2e.project import Project
from tests.e2e.servers import DatabaseServer

GIVEN = "g1ven-Canary+4e9f"
ADMINISTRATOR = "adm1n-Canary+77c2"
TRACE = re.compile(r'"msg":"(Unm|M)arshaling property for RPC\[')
ACCOUNT = "canary_main"
ROLES = ("canary_given", "canary_admin")


def forms(secret: str) -> set[str]:
    """A secret as it may be written: as it is, in a URI, in JSON, and in base64 wherever in a longer text it stands."""
    encoded = {base64.b64encode(b"x" * shift + secret.encode()).decode().rstrip("=")[4:-3] for shift in range(3)}
    return {secret, quote(secret, safe=""), json.dumps(secret)[1:-1], *encoded}


def without_traces(log: str) -> str:
    """A log without what Pulumi's engine tells at -v=9 of the calls between itself and its providers: each value, marked as secret or not."""
    lines = log.splitlines()
    kept = [line for line in lines if not TRACE.search(line)]
    assert len(kept) < len(lines), "the engine's traces look otherwise by now"
    return "\n".join(kept)


@contextmanager
def watched_processes() -> Iterator[set[str]]:
    """The arguments of every process on the machine, for a time."""
    seen: set[str] = set()
    stop = threading.Event()

    def watch() -> None:
        while not stop.is_set():
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    seen.add(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
                except OSError:
                    continue
            time.sleep(0.05)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    yield seen
    stop.set()
    thread.join()


def objects(cluster: Cluster, namespaces: set[str]) -> dict[str, str]:
    """Every object of the namespaces but their Secrets, by kind, as JSON."""
    found: dict[str, str] = {}
    for resource in cluster.dynamic.resources.search():
        listable = (
            resource.namespaced
            and "list" in (resource.verbs or [])
            and resource.kind != "Secret"
            and not resource.kind.endswith("List")
        )
        for namespace in namespaces if listable else ():
            try:
                answer = resource.get(namespace=namespace)
            except ApiException:
                continue
            found[f"{resource.group_version} {resource.kind} {namespace}"] = json.dumps(answer.to_dict(), default=str)
    return found


def kept(folder: Path) -> dict[str, str]:
    """Every file of a folder."""
    return {str(path): path.read_bytes().decode(errors="replace") for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def accounts(server: Callable[[str], DatabaseServer]) -> Iterator[DatabaseServer]:
    """A PostgreSQL with an account for an application and one for an administrator, whose passwords are looked for."""
    postgresql = server("postgresql")
    postgresql.drop(ACCOUNT, *ROLES)
    with postgresql.administrator() as session:
        session.run(f"CREATE ROLE canary_given LOGIN PASSWORD '{GIVEN}'")
        session.run(f"CREATE ROLE canary_admin LOGIN CREATEDB CREATEROLE PASSWORD '{ADMINISTRATOR}'")
    yield postgresql
    postgresql.drop(ACCOUNT, *ROLES)


def test_a_credential_is_in_secrets_alone(project: Project, pretend_node: Cluster, accounts: DatabaseServer) -> None:
    """A password that the user gave, an administrator's, and one that was generated, through preview, update, failure, refresh and destroy."""
    given = {
        "kind": "external",
        "host": accounts.host,
        "port": accounts.port,
        "database": "postgres",
        "username": "canary_given",
    }
    entry = {**accounts.as_server(), "administrator": {"username": "canary_admin"}}
    databases: dict[str, Any] = {
        "postgresql": {"main": {"server": {"kind": "external", "provisionOn": "hq"}}, "given": {"server": given}},
        "redis": {"main": {"server": "local"}},
    }
    project.new("canary", {"externalServers": {"hq": entry}, "applications": {"canary": {"databases": databases}}})
    for path, secret in (
        ("servers.hq.administrator", ADMINISTRATOR),
        ("applications.canary.databases.postgresql.given.server", GIVEN),
    ):
        project.pulumi(
            "config", "set", "--secret", "--path", f"database-groups:{path}.password", stack="canary", typed=secret
        ).succeeded()

    project.environment["PULUMI_DEBUG_COMMANDS"] = "true"  # without it there is no --event-log
    texts: dict[str, str] = {}
    with watched_processes() as processes:
        texts["preview"] = project.preview("canary", "--json").succeeded().output
        loud = ("--event-log", str(project.folder / "events.json"), "--logtostderr", "-v=9")
        texts["update and its log"] = without_traces(project.up("canary", *loud).succeeded().output)
        secrets = pretend_node.secret("canary", "postgresql-main"), pretend_node.secret("canary", "redis-main")
        texts["update in JSON"] = project.up("canary", "--json").succeeded().output
        texts["export"] = project.pulumi("stack", "export", stack="canary").succeeded().output
        texts["outputs"] = (
            project.pulumi("stack", "output", "--json", "--show-secrets", stack="canary").succeeded().output
        )
        texts["refresh"] = (
            project.pulumi("refresh", "--yes", "--skip-preview", "--diff", stack="canary").succeeded().output
        )
        texts |= objects(pretend_node, {"canary"})
        rendered = render_stack("canary", project.folder / "stacks")
        texts |= {
            "manifests": str(render_manifests(rendered)),
            "summary": render_summary(rendered),
            "diagram": render_diagram(rendered),
        }
        broken = project.path("canary").read_text()
        project.path("canary").write_text(broken.replace("kind: external", "kind: remote"))
        texts["mistakes"] = project.up("canary").failed().output
        project.path("canary").write_text(broken)
        texts |= (
            kept(project.folder / "stacks")
            | kept(project.state)
            | {"events": (project.folder / "events.json").read_text()}
        )
        texts["destroy"] = project.destroy("canary").succeeded().output
    texts["arguments"] = "\n".join(sorted(processes))

    assert "postgresql-main" in texts["update and its log"]
    assert any("StatefulSet" in name and "redis-main" in text for name, text in texts.items())
    assert "pulumi" in texts["arguments"]
    looked_for = {
        "given": GIVEN,
        "administrator's": ADMINISTRATOR,
        **{f"generated {keys['type']}": keys["password"] for keys in secrets},
    }
    assert all(len(secret) >= len(GIVEN) for secret in looked_for.values())
    assert [
        (whose, where)
        for where, text in texts.items()
        for whose, secret in looked_for.items()
        for form in forms(secret)
        if form in text
    ] == []
