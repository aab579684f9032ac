"""Random kills of Pulumi: `pulumi cancel` and one more command finish what was interrupted, with the same passwords.

The command is `pulumi up` or `pulumi destroy --refresh`. After a killed `pulumi destroy`, an update needs a refresh
first: what was deleted is still in the state. `make destroy` can ask for an update first: the state does not hold all
that was created.

`make chaos ROUNDS=50` runs the test and prints the figures. Without CHAOS_ROUNDS, the number of kills, the test is
skipped. CHAOS_SEED repeats the moments of a run.
"""

import copy
import os
import random
from collections import Counter
from collections.abc import Callable, Iterator
from time import monotonic
from typing import Any

import pytest

from tests.e2e.cluster import Cluster
from tests.e2e.project import Project, Result
from tests.e2e.servers import DatabaseServer

if not os.environ.get("CHAOS_ROUNDS"):
    pytest.skip("CHAOS_ROUNDS is not set; set it to the number of kills, or run `make chaos`", allow_module_level=True)

STACK = "chaos"
APPLICATIONS = ("chaos-a", "chaos-b")
SERVERS = {"postgresql": "postgresql17-limited", "mysql": "mysql"}
LOCAL_ENGINES = ("mongodb", "rabbitmq", "redis")
ACCOUNTS = {f"chaos_{name}_main{suffix}" for name in ("a", "b") for suffix in ("", "__b")}
DESTROY_SHARE = 0.3
"""Share of the kills after which the other command than the interrupted one finishes."""
VICTIMS = ("engine", "provider", "all")
"""Processes that a kill ends: the engine, one of its providers, or the engine with all its child processes."""


@pytest.fixture
def servers(cluster: Cluster, server: Callable[[str], DatabaseServer]) -> Iterator[dict[str, DatabaseServer]]:
    """Yield the external servers by their engines, without the objects of the test."""
    found = {engine: server(name) for engine, name in SERVERS.items()}

    def clean_up() -> None:
        for name in APPLICATIONS:
            cluster.delete_namespace(name)
        for each in found.values():
            each.drop(*ACCOUNTS)

    clean_up()
    yield found
    clean_up()


def build_stack(servers: dict[str, DatabaseServer], password_version: int) -> dict[str, Any]:
    """Return two applications with five groups each: two provisioned databases and three local servers."""
    databases: dict[str, Any] = {
        engine: {"main": {"passwordVersion": password_version, "server": {"kind": "external", "provisionOn": engine}}}
        for engine in servers
    }
    databases |= {engine: {"main": {"passwordVersion": password_version}} for engine in LOCAL_ENGINES}
    return {
        "externalServers": {engine: server.as_server() for engine, server in servers.items()},
        "applications": {name: {"databases": copy.deepcopy(databases)} for name in APPLICATIONS},
    }


class Chaos:
    """A stack whose commands are killed at random moments, and the results."""

    def __init__(self, project: Project, cluster: Cluster, servers: dict[str, DatabaseServer], seed: int) -> None:
        self.project, self.cluster, self.servers = project, cluster, servers
        self.random = random.Random(seed)
        self.seconds: dict[str, float] = {}
        """Duration of the last command of each kind that was not killed."""
        self.kills: Counter[str] = Counter()

    def run(self, kind: str, command: Callable[[], Result]) -> None:
        start = monotonic()
        command().succeeded()
        self.seconds[kind] = monotonic() - start

    def interrupt(self, kind: str, *arguments: str) -> None:
        """Kill a command at a random moment, and remove the lock that it leaves."""
        victim = self.random.choice(VICTIMS)
        delay = self.random.uniform(0, self.seconds[kind])
        before = self.read_passwords()
        if self.project.kill(STACK, victim, delay, *arguments):
            self.kills[f"{kind}, {victim}"] += 1
        self.project.unlock(STACK)
        after = self.read_passwords()
        if kind == "up":
            assert before.items() <= after.items()
        self.passwords = after

    def read_passwords(self) -> dict[tuple[str, str], str]:
        """Return the generated passwords in the state, by their URN and version."""
        return {
            (item["urn"], str(item["inputs"].get("keepers"))): item["outputs"]["result"]["plaintext"]
            for item in self.project.resources(STACK, "--show-secrets")
            if item["type"] == "random:index/randomPassword:RandomPassword" and not item.get("delete")
        }

    def update(self) -> None:
        """Finish what was interrupted: all accounts work, no known password changed, and nothing is left to do."""
        self.project.up(STACK).succeeded()
        passwords = self.read_passwords()
        assert {key: passwords[key] for key in self.passwords if key in passwords}.items() <= passwords.items()
        assert all(self.passwords.get(key, value) == value for key, value in passwords.items())
        for application in APPLICATIONS:
            for engine, server in self.servers.items():
                with server.login(self.cluster.read_secret(application, f"{engine}-main")["uri"]) as session:
                    assert session.run("SELECT 1") == [(1,)]
        self.project.up(STACK, "--expect-no-changes").succeeded()

    def recreate(self) -> None:
        """Create again what a killed destroy deleted. A namespace in termination needs another refresh afterwards."""
        for _ in range(2):
            self.project.pulumi("refresh", "--yes", "--skip-preview", stack=STACK).succeeded()
            result = self.project.up(STACK)
            if "run `make refresh`" not in result.output:
                break
            assert "nothing was changed" in result.failed().output
        self.update()

    def destroy(self) -> None:
        """Delete what an interrupted command left, as `make destroy` does."""
        if self.project.python("-m", "stacks", "unrecorded", STACK).code:
            self.update()
        self.project.destroy(STACK).succeeded()
        assert self.project.resources(STACK) == []
        assert not [name for name in APPLICATIONS if self.cluster.has_namespace(name)]
        assert not ACCOUNTS & {name for server in self.servers.values() for name in server.names()}


@pytest.mark.timeout(4 * 3600)
@pytest.mark.usefixtures("simulated_node")
def test_one_command_finishes_a_killed_one(
    project: Project, cluster: Cluster, servers: dict[str, DatabaseServer]
) -> None:
    seed = int(os.environ.get("CHAOS_SEED", random.randrange(10**6)))
    print(f"\nCHAOS_SEED={seed}")
    chaos = Chaos(project, cluster, servers, seed)
    project.new(STACK, build_stack(servers, 0))
    chaos.run("up", lambda: project.up(STACK))
    project.write(STACK, build_stack(servers, 1))
    chaos.run("password change", lambda: project.up(STACK))
    chaos.run("destroy", lambda: project.destroy(STACK))
    while chaos.kills.total() < int(os.environ["CHAOS_ROUNDS"]):
        run_round(chaos)
        print(f"{chaos.kills.total()} kills: {dict(chaos.kills)}")


def run_round(chaos: Chaos) -> None:
    """Kill an update, a password change and a destroy; finish each with an update, or all with a destroy."""
    for version, kind in enumerate(("up", "password change")):
        chaos.project.write(STACK, build_stack(chaos.servers, version))
        chaos.interrupt(kind, "up")
        if chaos.random.random() < DESTROY_SHARE:
            chaos.destroy()
            return
        chaos.update()
    chaos.interrupt("destroy", "destroy", "--refresh")
    if chaos.random.random() < DESTROY_SHARE:
        chaos.recreate()
    chaos.destroy()
