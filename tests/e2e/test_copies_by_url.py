"""The scripts that copy MongoDB, Elasticsearch and InfluxDB, run against servers that environment variables name.

LAB_MONGODB_URL has an account that can create users. LAB_ELASTICSEARCH_URL names a server that the tests may empty.
LAB_INFLUXDB_URL has an organization and the token of its administrator: `http://organization:token@host:port`.
"""

import json
import os
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import requests

from components.engines import ENGINES

PASSWORD = "c4narY '\"\\ %s $HOME"
SCRIPTS = Path(__file__).resolve().parents[2] / "components" / "copies" / "scripts"
SOURCE, TARGET = "copies_source", "copies_target"
Variables = dict[str, str]
PROGRAMS = {"mongodb": ("mongosh", "mongodump", "mongorestore"), "elasticsearch": ("curl",), "influxdb": ("curl",)}
HELD = {"mongodb": r"holds \d+ objects", "elasticsearch": r"holds \d+ indices", "influxdb": "holds values"}
WRONG_LOGIN = {"mongodb": {"PASSWORD": "wrong"}, "influxdb": {"TOKEN": "wrong"}}


@dataclass
class Server:
    """A server, the connections of two applications, and how to change data. A change is a text in DATA or CHANGES."""

    source: Variables
    target: Variables
    """Equal to the source if the server has one database only."""
    change: Callable[[Variables, str], None]


def open_mongodb(url: str, folder: Path) -> Server:
    """Create a user of each database. A change is JavaScript."""
    parts = urlsplit(url)

    def run(script: str) -> None:
        command = ["mongosh", "--quiet", "--norc", url, "--eval", script]
        env = {**os.environ, "HOME": str(folder)}
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    def connect(name: str) -> Variables:
        run(f"""
            const database = db.getSiblingDB('{name}');
            const isFerretDB = 'ferretdbVersion' in db.adminCommand({{ buildInfo: 1 }});
            database.dropDatabase();
            if (database.getUser('{name}')) database.dropUser('{name}');
            const roles = isFerretDB ? [] : [{{ role: 'readWrite', db: '{name}' }}];
            database.createUser({{ user: '{name}', pwd: {json.dumps(PASSWORD)}, roles }});
        """)
        address = {"ADDRESS": f"{parts.hostname}", "PORT": f"{parts.port or 27017}"}
        return {**address, "USERNAME": name, "PASSWORD": PASSWORD, "DATABASE": name}

    def change(variables: Variables, script: str) -> None:
        run(f"const database = db.getSiblingDB('{variables['DATABASE']}'); {script}")

    return Server(connect(SOURCE), connect(TARGET), change)


def send(method: str, url: str, body: str = "", **keys: Any) -> Any:
    """Send a request. Return the JSON of the answer."""
    answer = requests.request(method, url, data=body.encode(), timeout=30, **keys)
    assert answer.ok, answer.text
    return answer.json() if answer.text else None


def open_elasticsearch(url: str, _folder: Path) -> Server:
    """Delete all indices. A change is lines with a method, a path and JSON; further lines continue the JSON."""
    parts = urlsplit(url)
    base = f"{parts.scheme}://{parts.hostname}:{parts.port or 9200}"
    login = (unquote(parts.username), unquote(parts.password or "")) if parts.username else None
    connection = {"ADDRESS": f"{parts.hostname}", "PORT": f"{parts.port or 9200}"}
    if login:
        connection |= {"USERNAME": login[0], "PASSWORD": login[1]}

    def change(_variables: Variables, text: str) -> None:
        for request in re.split(r"\n(?=[A-Z]+ )", text.strip()):
            method, path, body = (*request.split(" ", 2), "")[:3]
            headers = {"Content-Type": "application/json"}
            result = send(method, f"{base}/{path}", f"{body}\n" if body else "", headers=headers, auth=login)
            assert not (result or {}).get("errors"), result

    for index in send("GET", f"{base}/_cat/indices?format=json&expand_wildcards=all", auth=login):
        if not index["index"].startswith("."):
            change(connection, f"DELETE {index['index'].replace('%', '%25').replace('+', '%2B')}")
    return Server(connection, connection, change)


def open_influxdb(url: str, _folder: Path) -> Server:
    """Create a bucket and a token of each application. A change is line protocol, or `DELETE <predicate>`."""
    parts = urlsplit(url)
    base, organization = f"http://{parts.hostname}:{parts.port or 8086}/api/v2", unquote(parts.username or "")
    headers = {"Authorization": f"Token {unquote(parts.password or '')}"}
    found = send("GET", f"{base}/orgs", params={"org": organization}, headers=headers)["orgs"][0]["id"]

    def connect(name: str) -> Variables:
        for old in send("GET", f"{base}/buckets", params={"name": name}, headers=headers)["buckets"]:
            send("DELETE", f"{base}/buckets/{old['id']}", headers=headers)
        bucket = send("POST", f"{base}/buckets", json.dumps({"orgID": found, "name": name}), headers=headers)["id"]
        permissions = [
            {"action": action, "resource": {"type": "buckets", "id": bucket, "orgID": found}}
            for action in ("read", "write")
        ]
        body = json.dumps({"orgID": found, "permissions": permissions})
        token = send("POST", f"{base}/authorizations", body, headers=headers)["token"]
        address = {"ADDRESS": f"{parts.hostname}", "PORT": f"{parts.port or 8086}"}
        return {**address, "ORG": organization, "BUCKET": name, "TOKEN": token}

    def change(variables: Variables, text: str) -> None:
        bucket = {"org": organization, "bucket": variables["BUCKET"]}
        if text.startswith("DELETE "):
            body = {"start": "1677-09-21T00:12:44Z", "stop": "2262-04-11T23:47:16Z", "predicate": text[7:]}
            send("POST", f"{base}/delete", json.dumps(body), params=bucket, headers=headers)
        else:
            send("POST", f"{base}/write", text.lstrip("\n"), params=bucket, headers=headers)

    return Server(connect(SOURCE), connect(TARGET), change)


SERVERS: Mapping[str, tuple[str, Callable[[str, Path], Server]]] = {
    "mongodb": ("LAB_MONGODB_URL", open_mongodb),
    "elasticsearch": ("LAB_ELASTICSEARCH_URL", open_elasticsearch),
    "influxdb": ("LAB_INFLUXDB_URL", open_influxdb),
}
HOSTILE = "we%25ird%2B&é"
"""Path of the index `we%ird+&é`."""
DATA = {
    "mongodb": r"""
        database.getCollection('we ird-é').insertMany([
            { _id: 'a\nb', text: 'é"\\', none: null, double: Double(1), list: [1, {}] },
            { _id: 2, long: NumberLong('9223372036854775807'), binary: BinData(0, 'AAEC'), nested: { a: { b: 1 } } },
        ]);
        database.numbers.insertMany(Array.from({ length: 2000 }, (_, i) => ({ _id: i, value: i / 3 })));
        database.numbers.createIndex({ value: -1 }, { unique: true });
        database.createCollection('capped', { capped: true, size: 100000 });
    """,
    "elasticsearch": r"""
PUT nothing
PUT books {
    "aliases": {"recent": {"filter": {"term": {"t": "x"}}}},
    "settings": {"number_of_shards": 2, "refresh_interval": "30s"},
    "mappings": {"properties": {
        "t": {"type": "keyword"}, "d": {"type": "double"}, "raw": {"type": "object", "enabled": false}}}}
POST books/_bulk {"index": {"_id": "we \"ird\\ é/", "routing": "r 1"}}
{}
{"index": {"_id": "1"}}
{ "t" : "a\nb" ,  "d": 0.1, "raw": {"o": {}, "l": [], "n": null, "e": 1e3, "big": 9223372036854775807}}
{"index": {"_id": "escaped"}}
{"raw": {"u": "é\u0007\\\"😀", "c": "        },"}}
{"index": {"_id": "2"}}
{"d": 1, "raw": [{"a": [1, [2]]}, {}, "      {"]}
{"index": {}}
{"t": "generated", "x y": true}
PUT HOSTILE {"settings": {"index": {"hidden": true, "default_pipeline": "missing"}}}
POST HOSTILE/_bulk?pipeline=_none {"index": {}}
{"v": 1}
""".replace("HOSTILE", HOSTILE)
    + 'POST many/_bulk {"index": {"_id": "n"}}\n{}\n'
    + "".join(f'{{"index": {{"_id": "{i}"}}}}\n{{"value": {i}, "text": "{"x" * 100}"}}\n' for i in range(2000)),
    "influxdb": r"""
we\ ird\,\ m"x,k\=\ ey=v\,al"ue,other=é f\ x=1,text="two
lines, \"q\", \\",nothing="" 1700000000123456789
dollar${x},a=1 v=1 1
m,t=a,u=b\ c i=1i,f=1.5,s="a,b",b=true,u=7u 1000
m,t=b f=2.25 2000
m f=-1e300,i=-5i 3000
times v=1 -1
times v=2 -999999999
times v=3 -1000000001
times v=4 0
times v=5 -9000000000000000001
times v=6 951868799999999999
times v=7 951868800000000000
times v=8 1709164800000000000
"""
    + "".join(f"many,host=h{i % 3} value={i / 7},n={i}i {1700000000000000000 + i}\n" for i in range(6000)),
}
CHANGES = {
    "mongodb": {
        "value": "database.numbers.updateOne({ _id: 5 }, { $set: { value: 17.5 } })",
        "type of a number": "database.getCollection('we ird-é').updateOne({ _id: 'a\\nb' },"
        " { $set: { double: Int32(1) } })",
        "order of fields": "database.numbers.replaceOne({ _id: 5 }, { value: 17.5, a: 1 });"
        " database.numbers.replaceOne({ _id: 5 }, { a: 1, value: 17.5 })",
        "two documents exchange a value": "database.numbers.dropIndex('value_-1');"
        " const a = database.numbers.findOne({ _id: 1 }), b = database.numbers.findOne({ _id: 2 });"
        " database.numbers.updateOne({ _id: 1 }, { $set: { value: b.value } });"
        " database.numbers.updateOne({ _id: 2 }, { $set: { value: a.value } });"
        " database.numbers.createIndex({ value: -1 }, { unique: true })",
        "missing document": "database.numbers.deleteOne({ _id: 7 })",
        "index": "database.numbers.dropIndex('value_-1')",
        "index that is not unique": "database.numbers.createIndex({ value: -1 })",
        "option": "database.capped.drop(); database.createCollection('capped')",
        "collection": "database.createCollection('more')",
    },
    "elasticsearch": {
        "value": 'PUT books/_doc/2 {"d": 2, "raw": [{"a": [1, [2]]}, {}, "      {"]}',
        "null": 'PUT books/_doc/2 {"d": null, "raw": [{"a": [1, [2]]}, {}, "      {"]}',
        "routing": "DELETE books/_doc/we%20%22ird%5C%20%C3%A9%2F?routing=r%201\n"
        "PUT books/_doc/we%20%22ird%5C%20%C3%A9%2F?routing=other {}",
        "missing document": "DELETE books/_doc/1",
        "two documents exchange their values": 'PUT many/_doc/1 {"value": 2}\nPUT many/_doc/2 {"value": 1}',
        "mapping": 'PUT books/_mapping {"properties": {"more": {"type": "date"}}}',
        "alias": 'POST _aliases {"actions": [{"add": {"index": "books", "alias": "more"}}]}',
        "setting": 'PUT books/_settings {"index": {"refresh_interval": "10s"}}',
        "index": "DELETE nothing",
    },
    "influxdb": {
        "value": "m,t=b f=2.26 2000",
        "type": 'DELETE _measurement="m" AND t="b"',
        "empty text": 'we\\ ird\\,\\ m"x,k\\=\\ ey=v\\,al"ue,other=é nothing="x" 1700000000123456789',
        "time": "times v=4 1",
        "two values are exchanged": f"many,host=h1 value={4 / 7} 1700000000000000001\n"
        f"many,host=h1 value={1 / 7} 1700000000000000004",
        "tag": "m,t=c f=2.25 2000",
        "field": "m,t=a,u=b\\ c more=1 1000",
        "measurement": 'DELETE _measurement="times"',
    },
}


@dataclass
class Copies:
    """The scripts of an engine and a server with data."""

    engine: str
    server: Server
    scripts: Path
    folder: Path
    """Folder of temporary files."""

    def start(self, script: str, variables: Variables) -> "subprocess.Popen[bytes]":
        """Start a script with the connection of an application."""
        environment = {"PATH": os.environ["PATH"], "TMPDIR": str(self.folder), **variables}
        pipe = subprocess.PIPE
        command: list[str | Path] = ["sh", self.scripts / script]
        return subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, stderr=pipe)

    def run(self, script: str, variables: Variables, data: bytes = b"") -> tuple[int | None, bytes, str]:
        """Run a script. Return its exit code, output and messages. Assert that none has the password."""
        with self.start(script, variables) as process:
            output, messages = process.communicate(data, timeout=60)
        assert b"c4narY" not in output + messages
        assert not list(self.folder.iterdir())
        return process.returncode, output, messages.decode()

    def succeed(self, script: str, variables: Variables, data: bytes = b"") -> bytes:
        """Run a script. Return its output."""
        code, output, messages = self.run(script, variables, data)
        assert code == 0, messages
        return output

    def fail(self, script: str, variables: Variables, data: bytes = b"") -> str:
        """Run a script that fails. Return its messages."""
        code, _, messages = self.run(script, variables, data)
        assert code != 0
        return messages

    def dump(self) -> tuple[bytes, bytes]:
        """Return the inventory and the data of the source, and empty the target."""
        inventory, _, data = self.succeed("dump", self.server.source).partition(b"\n\n")
        self.succeed("empty", self.server.target)
        assert self.succeed("inventory", self.server.target) == b""
        return inventory + b"\n", data


@pytest.fixture(params=SERVERS)
def copies(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Copies]:
    engine = request.param
    variable, open_server = SERVERS[engine]
    if variable not in os.environ:
        pytest.skip(f"{variable} is not set")
    for program in PROGRAMS[engine]:
        if not shutil.which(program):
            pytest.skip(f"{program} is not on PATH")
    folders = [tmp_path / name for name in ("scripts", "temporary", "home")]
    for folder in folders:
        folder.mkdir()
    scripts = ENGINES[engine].copy_scripts
    assert scripts
    for name, content in scripts.files.items():
        (folders[0] / name).write_text(content)
    server = open_server(os.environ[variable], folders[2])
    server.change(server.source, DATA[engine])
    copies = Copies(engine, server, *folders[:2])
    yield copies
    for application in (server.source, server.target):
        copies.succeed("empty", application)


def test_copy_has_the_inventory_of_its_source_and_every_difference_is_found(copies: Copies) -> None:
    server = copies.server
    source = copies.succeed("inventory", server.source)
    assert len(source.splitlines()) > 5
    inventory, data = copies.dump()
    assert inventory == source
    copies.succeed("restore", server.target, data)
    assert copies.succeed("inventory", server.target) == source
    assert re.search(f"already {HELD[copies.engine]}; nothing was copied", copies.fail("restore", server.target, data))
    previous = source
    for name, change in CHANGES[copies.engine].items():
        server.change(server.target, change)
        changed = copies.succeed("inventory", server.target)
        assert changed != previous, name
        previous = changed


def test_broken_copies_fail_and_leave_nothing(copies: Copies) -> None:
    inventory, data = copies.dump()
    target = copies.server.target
    for broken in (b"", data[:100], data[: len(data) // 2], data[:-20], b"no dump", b"1 2 3\n" + data):
        assert copies.fail("restore", target, broken)
        assert copies.succeed("inventory", target) == b""
    copies.succeed("restore", target, data)
    assert copies.succeed("inventory", target) == inventory


@pytest.mark.parametrize("script", ["dump", "restore", "inventory", "empty"])
def test_scripts_fail_with_the_reason(copies: Copies, script: str) -> None:
    source = copies.server.source
    assert re.search("refused|connect", copies.fail(script, {**source, "PORT": "1"}))
    if copies.engine in WRONG_LOGIN:
        assert re.search("(?i)auth", copies.fail(script, {**source, **WRONG_LOGIN[copies.engine]}))
    assert copies.succeed("inventory", source)


WRITES = {
    "elasticsearch": "PUT many/_doc/new {}\nDELETE many/_doc/3",
    "influxdb": "many,host=h1 value=1,n=2i\n",
}


@pytest.mark.parametrize("copies", WRITES, indirect=True)
def test_inventory_and_data_are_of_one_moment(copies: Copies) -> None:
    """The data are longer than the buffer of a pipe, so the dump waits after its inventory."""
    server = copies.server
    with copies.start("dump", server.source) as process:
        assert process.stdout
        inventory = b"".join(iter(process.stdout.readline, b"\n"))
        server.change(server.source, WRITES[copies.engine])
        data = process.stdout.read()
    assert process.returncode == 0
    assert copies.succeed("inventory", server.source) != inventory
    copies.succeed("empty", server.target)
    copies.succeed("restore", server.target, data)
    assert copies.succeed("inventory", server.target) == inventory


@pytest.mark.parametrize("copies", ["mongodb"], indirect=True)
def test_collection_that_changes_during_the_dump_is_compared_by_its_number(copies: Copies, tmp_path: Path) -> None:
    """The writer inserts, updates and deletes. The number is the one of the dump, so a lost document is found."""
    server, report, written, ended = (copies.server, *(tmp_path / name for name in ("report", "written", "ended")))
    for name in ("receive", "write"):
        shutil.copy(SCRIPTS / f"{name}.sh", copies.scripts / name)
    environment = {"PATH": os.environ["PATH"], "SCRIPTS": str(copies.scripts), "WORK": str(copies.folder)}
    environment |= {"TMPDIR": str(copies.folder), "REPORT": str(report), "ATTEMPTS": "1", "OVERWRITE": "true"}
    for side, variables in (("SOURCE", server.source), ("TARGET", server.target)):
        environment |= {f"{side}_{name}": value for name, value in variables.items()}

    def receive() -> str:
        command: list[str | Path] = ["sh", copies.scripts / "receive"]
        subprocess.run(command, env=environment, capture_output=True, timeout=200, check=False)
        return report.read_text()

    def write() -> None:
        server.change(
            server.source,
            f"""const fs = require('fs'); for (let i = 0; !fs.existsSync({json.dumps(str(ended))}); i++) {{
                database.numbers.insertOne({{ _id: 'w' + i, value: 'w' + i }});
                database.numbers.updateOne({{ _id: 'w' + i }}, {{ $set: {{ changed: true }} }});
                database.numbers.deleteOne({{ _id: i }});
                fs.writeFileSync({json.dumps(str(written))}, '');
            }}""",
        )

    writer = threading.Thread(target=write)
    writer.start()
    try:
        while not written.exists():
            time.sleep(0.1)
        assert receive().strip().endswith("both sides are equal, except 1 that changed during the dump")
        lost = "run_mongosh <<'SCRIPT'\ndatabase.numbers.deleteOne({});\nSCRIPT\n"
        with (copies.scripts / "restore").open("a") as script:
            script.write(lost)
        assert receive().startswith("the target differs from the source")
    finally:
        ended.touch()
        writer.join()
    for path in copies.folder.iterdir():  # the work folder of `receive`
        path.unlink()
