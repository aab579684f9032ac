"""Makes the images that the end-to-end tests run, where none can be pulled, and loads them in the lab's node.

Each bears an official image's names, that of its series and that of its release, and shares with it what a manifest can tell: the entrypoint's behaviour,
the user's number, the directories, the variables.
Its server is Debian's, put into a root file system by debootstrap, which is cached in `$XDG_CACHE_HOME/database-groups-images` and made anew only where its
recipe changed; the image is loaded only where its content changed. A server that Debian does not have is taken from `$IMAGE_PROGRAMS/<name>`, for instance
the folder `influxdb-2.7` in it; without that variable its image is left out.
What it deliberately does not do: pull, push, or copy anything of the official images.

usage: LAB_IMAGE=<the lab's image program> python build.py [NAME…]   (NAME such as postgres:17; every image without one; needs root and the lab's real node)
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["IMAGES", "Image", "main"]

HERE = Path(__file__).resolve().parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "database-groups-images"
LAB = Path(os.environ.get("LAB_DIR") or Path.home() / ".cache" / "database-groups-lab")
PROGRAMS = os.environ.get("IMAGE_PROGRAMS", "")
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# Run in every root file system, by sh, before and after its own `finish`. What a package made for its user would be found by the server or by its tools.
START = """
getent group "$NAME" || groupadd --system "$NAME"
getent passwd "$NAME" || useradd --system --gid "$NAME" "$NAME"
find / -xdev -user "$NAME" -prune -exec rm -rf {} +
groupmod --gid 999 "$NAME"
usermod --uid 999 --gid 999 --home "$HOME" --shell /bin/bash "$NAME"
"""
FINISH = """
for directory in $DIRECTORIES; do
    install -d -m 1777 -o "$NAME" -g "$NAME" "$directory"
done
rm -rf /usr/share/doc /usr/share/info /usr/share/lintian /usr/share/locale /usr/share/man
rm -rf /var/cache/apt /var/cache/debconf /var/lib/apt/lists /usr/sbin/policy-rc.d /etc/hostname /etc/resolv.conf
find /var/log -type f -delete
"""


@dataclass(frozen=True, kw_only=True)
class Image:
    """One image: what its root file system is made of, and what the official image of that name has in its configuration."""

    name: str
    folder: str
    """Where its entrypoint is, beside this file."""
    suite: str
    packages: tuple[str, ...]
    """Debian's packages, the server's first."""
    version: str
    """What the server's version begins with: some suites move on."""
    user: str
    home: str
    directories: tuple[str, ...]
    """Those that belong to the user and are writable by everyone."""
    programs: tuple[str, ...] = ()
    """Those that no package has, the server first: they come from the folder of the image in `$IMAGE_PROGRAMS`."""
    finish: str = ""
    """What is to be run in the root file system, by sh."""
    files: Mapping[str, str] = field(default_factory=dict)
    config: Mapping[str, object]

    @property
    def short(self) -> str:
        """The name as one gives it to Docker."""
        return self.name.removeprefix("docker.io/").removeprefix("library/")

    @property
    def file(self) -> str:
        """The name as one gives it to a folder."""
        return self.short.replace("/", "-").replace(":", "-")

    @property
    def sources(self) -> list[Path]:
        """Where its programs are."""
        return [Path(PROGRAMS) / self.file / program for program in self.programs]

    @property
    def cache(self) -> Path:
        """The folder of its root file system and of the records beside that."""
        return CACHE / self.file

    @property
    def recipe(self) -> str:
        """A digest of what makes the root file system."""
        return digest(
            self.suite,
            self.packages,
            self.version,
            self.user,
            self.home,
            self.directories,
            sorted(self.files),
            START,
            self.finish,
            FINISH,
        )

    @property
    def content(self) -> str:
        """A digest of the whole image."""
        return digest(
            self.recipe,
            self.entrypoint,
            self.files,
            self.config,
            *((path.stat().st_size, path.stat().st_mtime) for path in self.sources),
        )

    @property
    def entrypoint(self) -> str:
        """The text of its entrypoint."""
        return (HERE / self.folder / "docker-entrypoint.sh").read_text()


def postgres(series: int, suite: str) -> Image:
    """Make the recipe of one series of PostgreSQL."""
    home, data = "/var/lib/postgresql", "/var/lib/postgresql/data"
    return Image(
        name=f"docker.io/library/postgres:{series}",
        folder="postgres",
        suite=suite,
        packages=(f"postgresql-{series}", "locales"),
        version=f"{series}.",
        user="postgres",
        home=home,
        directories=(data, "/var/run/postgresql"),
        # The just-in-time compiler, most of the size, is left out: PostgreSQL does without what it does not find.
        finish=f"""
            localedef -i en_US -f UTF-8 en_US.UTF-8
            rm -rf /usr/share/i18n /usr/lib/postgresql/{series}/lib/bitcode /usr/lib/postgresql/{series}/lib/llvmjit* /usr/lib/*/libLLVM* /usr/lib/llvm*
            sed -i "s/^#listen_addresses = 'localhost'/listen_addresses = '*'/" /usr/share/postgresql/{series}/postgresql.conf.sample
            grep -q "^listen_addresses = '\\*'" /usr/share/postgresql/{series}/postgresql.conf.sample
            mkdir /docker-entrypoint-initdb.d
        """,
        config={
            "Cmd": ["postgres"],
            "Env": [
                f"PATH={SYSTEM_PATH}:/usr/lib/postgresql/{series}/bin",
                "LANG=en_US.utf8",
                f"PG_MAJOR={series}",
                f"PGDATA={data}",
            ],
            "ExposedPorts": {"5432/tcp": {}},
            "StopSignal": "SIGINT",
            "Volumes": {data: {}},
        },
    )


def key_value_store(
    server: str, suite: str, series: int, repository: str, directories: tuple[str, ...], **config: object
) -> Image:
    """Make the recipe of Redis or of the server that forked from it."""
    return Image(
        name=f"docker.io/{repository}:{series}",
        folder="redis",
        suite=suite,
        packages=(f"{server}-server", f"{server}-tools"),
        version=f"{series}.",
        user=server,
        home="/data",
        directories=directories,
        finish=f"for program in cli server; do [ -e /usr/bin/redis-$program ] || ln -s {server}-$program /usr/bin/redis-$program; done",
        config={
            "Cmd": [f"{server}-server"],
            "Env": [f"PATH={SYSTEM_PATH}"],
            "ExposedPorts": {"6379/tcp": {}},
            "WorkingDir": "/data",
            **config,
        },
    )


MYSQL = Image(
    name="docker.io/library/mysql:9.7",
    folder="mysql",
    suite="sid",
    packages=("mysql-server-core", "mysql-client-core", "openssl", "tzdata"),
    version="9.7.",
    user="mysql",
    home="/var/lib/mysql",
    directories=("/var/lib/mysql", "/var/run/mysqld"),
    finish="""
        rm -rf /etc/mysql
        mkdir -p /etc/mysql/conf.d /docker-entrypoint-initdb.d
        install -d -m 750 -o mysql -g mysql /var/lib/mysql-files
    """,
    files={
        "etc/my.cnf": """
[mysqld]
host-cache-size=0
skip-name-resolve
datadir=/var/lib/mysql
socket=/var/run/mysqld/mysqld.sock
secure-file-priv=/var/lib/mysql-files
user=mysql
pid-file=/var/run/mysqld/mysqld.pid

[client]
socket=/var/run/mysqld/mysqld.sock

!includedir /etc/mysql/conf.d/
"""
    },
    config={
        "Cmd": ["mysqld"],
        "Env": [f"PATH={SYSTEM_PATH}", "MYSQL_MAJOR=9.7"],
        "ExposedPorts": {"3306/tcp": {}, "33060/tcp": {}},
        "Volumes": {"/var/lib/mysql": {}},
    },
)


def rabbitmq(tag: str, plugins: str, conf: Mapping[str, str]) -> Image:
    """Make the recipe of RabbitMQ, with or without its management plugin."""
    return Image(
        name=f"docker.io/library/rabbitmq:{tag}",
        folder="rabbitmq",
        suite="trixie",
        packages=("rabbitmq-server",),
        version="4.",
        user="rabbitmq",
        home="/var/lib/rabbitmq",
        directories=("/var/lib/rabbitmq", "/etc/rabbitmq", "/etc/rabbitmq/conf.d", "/var/log/rabbitmq"),
        finish="rm -rf /etc/rabbitmq /var/lib/rabbitmq /var/log/rabbitmq",
        files={
            "etc/rabbitmq/conf.d/10-defaults.conf": "loopback_users.guest = false\nlog.console = true\n",
            "etc/rabbitmq/enabled_plugins": f"[{plugins}].\n",
            **conf,
        },
        config={
            "Cmd": ["rabbitmq-server"],
            # Before Debian's own wrappers, which ask to be root.
            "Env": [
                f"PATH=/usr/lib/rabbitmq/bin:{SYSTEM_PATH}",
                "HOME=/var/lib/rabbitmq",
                "LANG=C.UTF-8",
                "LANGUAGE=C.UTF-8",
                "LC_ALL=C.UTF-8",
            ],
            "ExposedPorts": {f"{port}/tcp": {} for port in (4369, 5671, 5672, 15671, 15672, 15691, 15692, 25672)},
            "Volumes": {"/var/lib/rabbitmq": {}},
        },
    )


INFLUXDB = Image(
    name="docker.io/library/influxdb:2.7",
    folder="influxdb",
    suite="bookworm",
    packages=("curl", "ca-certificates"),
    version="",
    user="influxdb",
    home="/home/influxdb",
    directories=("/var/lib/influxdb2", "/etc/influxdb2"),
    programs=("influxd", "influx"),
    finish="""
        groupmod --gid 1000 influxdb
        usermod --uid 1000 --gid 1000 influxdb
        mkdir -p /etc/defaults/influxdb2 /docker-entrypoint-initdb.d
        install -d -o influxdb -g influxdb /home/influxdb
    """,
    files={
        "etc/defaults/influxdb2/config.yml": "bolt-path: /var/lib/influxdb2/influxd.bolt\nengine-path: /var/lib/influxdb2/engine\n"
    },
    config={
        "Cmd": ["influxd"],
        "Env": [f"PATH={SYSTEM_PATH}", "INFLUX_CONFIGS_PATH=/etc/influxdb2/influx-configs", "INFLUXD_INIT_PORT=9999"],
        "ExposedPorts": {"8086/tcp": {}},
        "Volumes": {"/var/lib/influxdb2": {}, "/etc/influxdb2": {}},
    },
)

# There is no official one; a user makes such an image for himself.
GLUSTERFS = Image(
    name="docker.io/e2e/glusterfs:11",
    folder="glusterfs",
    suite="trixie",
    packages=("glusterfs-server",),
    version="11.",
    user="gluster",
    home="/var/lib/glusterd",
    directories=(),
    config={
        "Cmd": ["glusterd", "--no-daemon"],
        "Env": [f"PATH={SYSTEM_PATH}"],
        "ExposedPorts": {"24007/tcp": {}, "49152/tcp": {}},
    },
)

IMAGES = {
    image.short: image
    for image in (
        postgres(17, "trixie"),
        key_value_store("redis", "bookworm", 7, "library/redis", ("/data",), Volumes={"/data": {}}),
        MYSQL,
        key_value_store("valkey", "trixie", 8, "valkey/valkey", ("/data", "/var/run/valkey")),
        rabbitmq("4-management", "rabbitmq_management,rabbitmq_prometheus", {}),
        rabbitmq(
            "4.0",
            "rabbitmq_prometheus",
            {
                "etc/rabbitmq/conf.d/20-management_agent.disable_metrics_collector.conf": "management_agent.disable_metrics_collector = true\n"
            },
        ),
        INFLUXDB,
        GLUSTERFS,
        postgres(15, "bookworm"),
    )
}


def digest(*parts: object) -> str:
    """Name a content by a number that no other content has."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=dict).encode()).hexdigest()


def recorded(record: Path) -> str:
    """Read a record, which is empty where there is none."""
    return record.read_text() if record.exists() else ""


def run(log: Path, *command: str | Path, text: str = "", env: Mapping[str, str] | None = None) -> None:
    """Run a program with its output in the log; its failure ends this program with the log's last lines."""
    with log.open("a") as output:
        ended = subprocess.run(
            command, input=text, text=True, stdout=output, stderr=subprocess.STDOUT, env=env, check=False
        )
    if ended.returncode:
        lines = "\n".join(log.read_text().splitlines()[-20:])
        sys.exit(f"{lines}\nbuild.py: {command[0]} failed ({ended.returncode}); the whole log is {log}")


def make_root(image: Image) -> Path:
    """Make the root file system, or find it made."""
    root, new, record, log = image.cache / "root", image.cache / "root.new", image.cache / "recipe", image.cache / "log"
    if recorded(record) == image.recipe:
        return root
    image.cache.mkdir(parents=True, exist_ok=True)
    for old in (record, image.cache / "loaded", log):
        old.unlink(missing_ok=True)
    log.touch()
    run(log, "rm", "-rf", "--one-file-system", root, new)
    run(log, "debootstrap", "--variant=minbase", "--foreign", f"--include={','.join(image.packages)}", image.suite, new)
    policy = new / "usr/sbin/policy-rc.d"  # asked by every package before it starts its server
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)
    env = {"PATH": SYSTEM_PATH, "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
    run(log, "chroot", new, "/debootstrap/debootstrap", "--second-stage", env=env)
    env |= {"NAME": image.user, "HOME": image.home, "DIRECTORIES": " ".join(image.directories)}
    run(log, "chroot", new, "sh", "-eux", text=START + image.finish + FINISH, env=env)
    found = version(image, new)
    if not found.startswith(image.version):
        sys.exit(
            f"build.py: {image.short}: Debian {image.suite} has {image.packages[0]} {found}, not {image.version}: give the image the name of that version"
        )
    new.rename(root)
    record.write_text(image.recipe)
    return root


def version(image: Image, root: Path) -> str:
    """Tell which version of the server is in a root file system, without Debian's epoch."""
    query: list[str | Path] = ["chroot", root, "dpkg-query", "-W", "-f", "${Version}", image.packages[0]]
    return subprocess.run(query, capture_output=True, text=True, check=True).stdout.rpartition(":")[2]


def release(image: Image, root: Path) -> str:
    """Name the image by its server's release, as official images are named too: `postgres:17.6` beside `postgres:17`. Its name where that is no series."""
    repository, _, series = image.name.rpartition(":")
    found = re.match(r"[\d.]*\d", version(image, root))
    return f"{repository}:{found[0]}" if found and f"{found[0]}.".startswith(f"{series}.") else image.name


def node(*arguments: str) -> set[str]:
    """Ask the node about its images; what comes back are words."""
    command: list[str | Path] = ["ctr", "-a", LAB / "node/containerd.sock", "-n", "k8s.io", "images", *arguments]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    if found.returncode:
        sys.exit(f"build.py: the lab's real node does not answer: {found.stderr.strip()}")
    return set(found.stdout.split())


def loaded_names() -> set[str]:
    """List the images that the node has."""
    return node("ls", "-q")


def load(image: Image, program: str) -> bool:
    """Load the image in the node under its names, and say whether that was needed."""
    root, record = make_root(image), image.cache / "loaded"
    if needed := recorded(record) != f"{image.content} {LAB}" or image.name not in loaded_names():
        for path, text in {**image.files, "usr/local/bin/docker-entrypoint.sh": image.entrypoint}.items():
            (root / path).write_text(text)
        (root / "usr/local/bin/docker-entrypoint.sh").chmod(0o755)
        for source in image.sources:
            shutil.copy(source, root / "usr/local/bin" / source.name)
        record.unlink(missing_ok=True)
        run(
            image.cache / "log",
            program,
            image.name,
            root,
            json.dumps({"Entrypoint": ["docker-entrypoint.sh"], **image.config}),
        )
        record.write_text(f"{image.content} {LAB}")
    if (other := release(image, root)) != image.name:
        node("tag", "--force", image.name, other)
    return needed


def main() -> None:
    """Build and load the images that are asked for."""
    parser = argparse.ArgumentParser(
        description="Makes the images of the end-to-end tests and loads them in the lab's node."
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(IMAGES)}; all without one")
    names = parser.parse_args().names or [name for name, image in IMAGES.items() if PROGRAMS or not image.programs]
    if unknown := sorted(set(names) - set(IMAGES)):
        parser.error(f"no image {', '.join(unknown)}: there are {', '.join(IMAGES)}")
    program = os.environ.get("LAB_IMAGE")
    missing = [tool for tool in ("debootstrap", "chroot", "ctr") if not shutil.which(tool)]
    if not program or missing or os.geteuid() != 0:
        parser.error(f"needs {', '.join(missing) or 'root and LAB_IMAGE, the program that loads an image in the lab'}")
    if absent := [str(path) for name in names for path in IMAGES[name].sources if not (PROGRAMS and path.is_file())]:
        parser.error(f"needs {', '.join(absent)} in the folder IMAGE_PROGRAMS")
    loaded_names()
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for name in names:
            image, start = IMAGES[name], time.monotonic()
            done = "loaded" if load(image, program) else "was loaded already"
            print(
                f"{image.name}: {image.packages[0]} {version(image, image.cache / 'root')}, {done} ({time.monotonic() - start:.0f} s)",
                flush=True,
            )


if __name__ == "__main__":
    main()
