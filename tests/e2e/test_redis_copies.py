"""The copy scripts of Redis and Valkey with real servers: those on PATH, or those of the end-to-end tests' images."""

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from components.engines import ENGINES
from tests.e2e.images.build import CACHE
from tests.e2e.tls import free_port

PASSWORD = "c4narY '\"\\ %s $HOME"
IMAGES = {"redis": "redis-7", "valkey": "valkey-valkey-8"}
PROGRAMS = ("redis-server", "redis-cli")
DATABASE = 3
"""Number of the source's database. The target has number 0."""
YEAR_2100 = 4102444800
ALL_RIGHTS: Any = {"keys": ["*"], "channels": ["*"], "categories": ["+@all"]}
CHANGES: dict[str, tuple[str, ...]] = {
    "value": ("SET", "text", "other"),
    "byte": ("SETRANGE", "text", "0", "\0"),
    "expiry": ("PEXPIREAT", "far", str(YEAR_2100 * 1000 + 1)),
    "lost expiry": ("PERSIST", "far"),
    "new expiry": ("EXPIREAT", "text", str(YEAR_2100)),
    "name": ("RENAME", "number", "number2"),
    "missing key": ("DEL", "bits"),
    "key": ("SET", "new", ""),
    "type": ("EVAL", "redis.call('DEL', 'number2') redis.call('RPUSH', 'number2', 12345)", "0"),
    "order of a list": ("LMOVE", "list", "list", "LEFT", "RIGHT"),
    "end of a list": ("LPUSH", "biglist", "x"),
    "field": ("HSET", "hash", "a", "x"),
    "empty field": ("HDEL", "hash", ""),
    "member": ("SADD", "bigset", "x"),
    "score": ("ZADD", "zset", "1.1000000000000003", "a"),
    "entry": ("XADD", "bigstream", "5000-1", "f", "1"),
    "last identifier": ("XSETID", "bigstream", "6000-1"),
    "acknowledged entry": ("XACK", "stream", "g", "1-1"),
    "deleted entry": ("XDEL", "stream", "1-1"),
    "consumer": ("XGROUP", "DELCONSUMER", "stream", "g", "idle"),
    "position of a group": ("XGROUP", "SETID", "stream", "g", "0"),
    "group": ("XGROUP", "DESTROY", "emptystream", "g"),
    "function": ("FUNCTION", "LOAD", "REPLACE", "#!lua name=a\nredis.register_function('f', function() return 9 end)"),
    "missing function": ("FUNCTION", "DELETE", "b"),
}
WRONG_LOGIN, MISSING_LOGIN = "WRONGPASS", "NOAUTH"
"""The server's error codes for an unknown user or a wrong password, and for a command before the login."""


def fill(client: Redis) -> None:
    """Write keys of every type, large and small, with awkward names and values."""
    every_byte = bytes(range(256))
    client.set("text", "value")
    client.set(b"k" + every_byte, every_byte * 20)
    client.set(b"*2\r\n$6\r\nSELECT\r\n$1\r\n7\r\n", b"*1\r\n$8\r\nFLUSHALL\r\n")
    client.set("", "the key has no name")
    client.set("number", 12345)
    client.set("far", "x", exat=YEAR_2100)
    client.set("soon", "x", ex=8000)
    client.setbit("bits", 100, 1)
    client.pfadd("hyperloglog", *range(100))
    client.rpush("list", "a", "b", "", "c")
    client.hset("hash", mapping={"a": 1, "": "", "c": every_byte})
    client.sadd("set", "a", every_byte)
    client.sadd("numbers", 1, 2, 3)
    client.zadd("zset", {"a": 1.1, "b": 2, "c": float("inf"), "d": float("-inf"), "e": 3.0000000000000004})
    client.geoadd("geo", (13.361389, 38.115556, "Palermo"))
    for number in range(1, 4):
        client.xadd("stream", {"a": number, b"\r\n": every_byte}, id=f"{number}-1")
    client.xgroup_create("stream", "g", id="0")
    client.xreadgroup("g", "consumer", {"stream": ">"}, count=3)
    client.xgroup_createconsumer("stream", "g", "idle")
    client.xack("stream", "g", "2-1")
    client.xdel("stream", "3-1")
    client.xgroup_create("emptystream", "g", mkstream=True)
    client.eval(
        """for i = 1, 3000 do
            redis.call('HSET', 'bighash', i, i) redis.call('SADD', 'bigset', 'm' .. i)
            redis.call('ZADD', 'bigzset', i / 7, 'm' .. i) redis.call('RPUSH', 'biglist', i)
            redis.call('XADD', 'bigstream', i .. '-1', 'f', i) redis.call('SET', 'k' .. i, i)
        end""",
        0,
    )
    client.function_load("#!lua name=a\nredis.register_function('f', function() return 1 end)")
    client.function_load(
        "#!lua name=b\nredis.register_function('g', function() return 2 end)"
        "\nredis.register_function{function_name='h', description='*2\\r\\n$6\\r\\nSELECT', callback=function() end}"
    )


@dataclass
class Server:
    """A server with the account of a group, and the scripts in its image."""

    port: int
    programs: Path
    """Folder of its programs."""
    scripts: Path
    folder: Path
    """Folder of temporary files."""

    def connect(self, database: int = 0) -> Redis:
        return Redis(port=self.port, password=PASSWORD, db=database)

    def run(self, script: str, *, data: bytes = b"", **variables: str) -> "subprocess.CompletedProcess[bytes]":
        """Run a script. Assert that no output has the password, and that no file and no process stays."""
        environment = {
            "PATH": f"{self.programs}:{os.environ['PATH']}",
            "TMPDIR": str(self.folder),
            "ADDRESS": "127.0.0.1",
            "PORT": str(self.port),
            "PASSWORD": PASSWORD,
            "DATABASE": "0",
            **variables,
        }
        command = ["sh", str(self.scripts / script)]
        done = subprocess.run(command, env=environment, input=data, capture_output=True, timeout=60, check=False)
        assert b"c4narY" not in done.stdout + done.stderr
        assert not list(self.folder.iterdir())
        return done

    def succeed(self, script: str, *, data: bytes = b"", **variables: str) -> bytes:
        """Run a script. Return its output."""
        done = self.run(script, data=data, **variables)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout

    def fail(self, script: str, *, data: bytes = b"", **variables: str) -> str:
        """Run a script that fails. Return its messages."""
        done = self.run(script, data=data, **variables)
        assert done.returncode != 0
        return done.stderr.decode()


def find_programs(name: str, folder: Path) -> Path:
    """Return a folder with a server's programs. Skip the test if there are none."""
    folder.mkdir()
    server = shutil.which(f"{name}-server")
    root = CACHE / IMAGES[name] / "root"
    for program in PROGRAMS:
        own = program.replace("redis", name)
        if server:
            (folder / program).symlink_to(Path(server).with_name(own))
        elif (root / "usr/bin" / own).exists():
            # The loader of the image runs it without the rest of the image.
            loader = next(root.glob("usr/lib/*/ld-linux*.so.*"))
            run = f'exec {loader} --argv0 {own} --library-path {loader.parent} {root}/usr/bin/{own} "$@"'
            (folder / program).write_text(f"#!/bin/sh\n{run}\n")
            (folder / program).chmod(0o755)
        else:
            pytest.skip(f"{own} is neither on PATH nor in {root}, which tests/e2e/images/build.py creates")
    return folder


@contextmanager
def run_server(name: str, folder: Path) -> Iterator[Server]:
    """Run a server with the scripts until the block ends."""
    folder.mkdir()
    programs, port = find_programs(name, folder / "bin"), free_port()
    for part in ("scripts", "temporary", "data"):
        (folder / part).mkdir()
    scripts = ENGINES["redis"].copy_scripts
    assert scripts
    for script, content in scripts.files.items():
        (folder / "scripts" / script).write_text(content)
    command = [str(programs / "redis-server"), "--port", str(port), "--dir", str(folder / "data"), "--save", ""]
    command += ["--repl-diskless-sync-delay", "0", "--bind", "127.0.0.1"]
    with (folder / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            deadline = time.monotonic() + 20
            while b"eady to accept connections" not in (folder / "log").read_bytes():
                assert time.monotonic() < deadline, (folder / "log").read_text()
                time.sleep(0.05)
            Redis(port=port).config_set("requirepass", PASSWORD)
            yield Server(port, programs, folder / "scripts", folder / "temporary")
        finally:
            process.kill()


@pytest.fixture(params=[("redis", "valkey"), ("valkey", "redis")], ids="-to-".join)
def servers(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Server, Server]]:
    """A source with data in database 3, and an empty target."""
    source, target = request.param
    with run_server(source, tmp_path / "source") as first, run_server(target, tmp_path / "target") as second:
        fill(first.connect(DATABASE))
        first.connect(0).set("another database", 1)
        first.connect(9).set("another database", 1)
        yield first, second


def dump(source: Server, database: int = DATABASE) -> tuple[bytes, bytes]:
    """Return the inventory and the data of a copy."""
    inventory, _, data = source.succeed("dump", DATABASE=str(database)).partition(b"\n\n")
    return inventory + b"\n", data


def test_copy_of_the_other_variant_is_equal_and_every_difference_is_found(servers: tuple[Server, Server]) -> None:
    """The programs are those of the source, also at the target."""
    source, server = servers
    target = Server(server.port, source.programs, source.scripts, source.folder)
    listed = source.succeed("inventory", DATABASE=str(DATABASE))
    kinds = set(re.findall(r"keys of type (\w+)", listed.decode()))
    assert kinds == {"string", "list", "hash", "set", "zset", "stream"}
    inventory, data = dump(source)
    assert inventory == listed
    assert target.succeed("inventory") == b""
    target.succeed("restore", data=data)
    assert target.succeed("inventory") == inventory
    assert server.succeed("inventory") == inventory
    client: Any = target.connect()
    assert client.dbsize() == source.connect(DATABASE).dbsize()
    for key in ("far", "soon"):
        assert client.pexpiretime(key) == source.connect(DATABASE).pexpiretime(key)
    assert source.connect(0).dbsize() == source.connect(9).dbsize() == 1

    assert "already holds 3" in target.fail("restore", data=data)
    assert target.succeed("inventory") == inventory
    previous = inventory
    for change, command in CHANGES.items():
        client.execute_command(*command)
        changed = target.succeed("inventory")
        assert changed != previous, change
        previous = changed
    assert target.succeed("empty") == b""
    assert target.succeed("inventory") == b""
    target.succeed("restore", data=data)


def test_broken_copies_fail_and_leave_the_database_empty(servers: tuple[Server, Server]) -> None:
    source, target = servers
    _, data = dump(source)
    unknown = b"*2\r\n$7\r\nUNKNOWN\r\n$6\r\nsecret\r\n"
    middle = data.index(b"*", len(data) // 2)
    cases = (b"", data[:100], data[: len(data) // 2], data[:-1], data[:-36], b"no commands", unknown + data)
    for broken in (*cases, data[:middle] + data[middle + 1 :]):
        message = target.fail("restore", data=broken)
        assert "the restore failed" in message
        assert "secret" not in message
        assert target.succeed("inventory") == b""
    target.succeed("restore", data=data)


def test_functions_are_not_overwritten(servers: tuple[Server, Server]) -> None:
    source, target = servers
    _, data = dump(source)
    target.connect().function_load("#!lua name=own\nredis.register_function('f', function() return 1 end)")
    assert "already holds functions" in target.fail("restore", data=data)
    assert target.connect().dbsize() == 0


def test_functions_stay_while_another_database_has_keys(servers: tuple[Server, Server]) -> None:
    source, _ = servers
    source.succeed("empty", DATABASE=str(DATABASE))
    assert source.connect(0).dbsize() == source.connect(9).dbsize() == 1
    assert source.succeed("inventory", DATABASE=str(DATABASE)).startswith(b"library a of functions")


@pytest.mark.parametrize("script", ["dump", "restore", "inventory", "empty"])
def test_scripts_fail_with_the_reason(servers: tuple[Server, Server], script: str) -> None:
    source, _ = servers
    assert WRONG_LOGIN in source.fail(script, PASSWORD="wrong")
    assert WRONG_LOGIN in source.fail(script, USERNAME="nobody")
    assert MISSING_LOGIN in source.fail(script, PASSWORD="")
    assert "refused" in source.fail(script, PORT="1")
    assert source.connect(0).dbsize() == 1


def test_empty_database_is_a_copy(servers: tuple[Server, Server]) -> None:
    source, target = servers
    source.connect().flushall()
    source.connect().function_flush()
    inventory, data = source.succeed("dump").split(b"\n", 1)
    assert inventory == b""
    target.succeed("restore", data=data)
    assert target.succeed("inventory") == b""


def test_keys_that_expire_during_the_copy_are_only_in_lines_with_a_time(servers: tuple[Server, Server]) -> None:
    source, target = servers
    client = source.connect(DATABASE)
    without, _ = dump(source)
    client.set("short", "x", px=3000)
    inventory, data = dump(source)
    added = sorted(set(inventory.splitlines()) - set(without.splitlines()))
    assert all(re.match(rb"until \d+: ", line) for line in added)
    for line in added:
        assert int(re.findall(rb"\d+", line)[0]) <= time.time() + 3
    time.sleep(3.1)
    target.succeed("restore", data=data)
    assert target.succeed("inventory") == without


def test_copy_is_of_one_moment(servers: tuple[Server, Server]) -> None:
    """The application writes until the copy has ended."""
    source, target = servers
    script = "for i = 1, 200 do redis.call('RPUSH', 'written', redis.call('INCR', 'writes')) end"
    environment = {"PATH": f"{source.programs}:{os.environ['PATH']}", "REDISCLI_AUTH": PASSWORD}
    writer = ["redis-cli", "-p", str(source.port), "-n", str(DATABASE), "-r", "-1", "EVAL", script, "0"]
    with subprocess.Popen(writer, env=environment, stdout=subprocess.DEVNULL) as process:
        try:
            inventory, data = dump(source)
        finally:
            process.kill()
    target.succeed("restore", data=data)
    assert target.succeed("inventory") == inventory
    assert source.succeed("inventory", DATABASE=str(DATABASE)) != inventory
    assert 0 < target.connect().llen("written") == int(target.connect().get("writes") or 0)


def reject_dumps(server: Server) -> None:
    """Let the client of a server's image fail as with a server that gives it no dump."""
    client = server.programs / "redis-cli"
    client.rename(client.with_name("real-cli"))
    client.write_text(
        f'#!/bin/sh\ncase " $* " in *" --rdb "*) exit 1 ;; esac\nexec {client.with_name("real-cli")} "$@"\n'
    )
    client.chmod(0o755)


def test_server_that_gives_no_dump_is_read_as_its_replica(servers: tuple[Server, Server]) -> None:
    """Valkey 9 gives fields that expire only to a replica."""
    source, target = servers
    expected = source.succeed("inventory", DATABASE=str(DATABASE))
    reject_dumps(source)
    for account in ("", "reader"):
        source.connect().acl_setuser("reader", enabled=True, reset=True, passwords=f"+{PASSWORD}", **ALL_RIGHTS)
        inventory, _, data = source.succeed("dump", DATABASE=str(DATABASE), USERNAME=account).partition(b"\n\n")
        assert inventory + b"\n" == expected
    target.succeed("restore", data=data)
    assert target.succeed("inventory") == expected


def test_server_that_rejects_replicas_is_not_copied(servers: tuple[Server, Server]) -> None:
    source, _ = servers
    source.connect().acl_setuser("reader", enabled=True, reset=True, passwords=f"+{PASSWORD}", **ALL_RIGHTS)
    client: Any = source.connect()
    client.execute_command("ACL", "SETUSER", "reader", "-sync", "-psync")
    assert "also not to a replica" in source.fail("dump", DATABASE=str(DATABASE), USERNAME="reader")
    assert "the source gives no dump" in source.fail("dump", DATABASE=str(DATABASE), USERNAME="reader", TLS="disable")
