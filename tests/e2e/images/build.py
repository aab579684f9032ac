"""Build the images of the end-to-end tests, where none can be pulled, and load them into the lab's node.

Each image has the names of an official image: those of its series and of the release that the program pins for it. Its
server can have another release. It also has the official image's entrypoint, user number, directories and variables.
Its server comes from Debian: debootstrap installs it into a root file system, which is cached in
`$XDG_CACHE_HOME/database-groups-images` and rebuilt only when its recipe changes. The image is loaded only when its
content changes. A server that Debian does not have comes from `$IMAGE_PROGRAMS/<name>`, for instance from the folder
`influxdb-2.7` in it; without that variable, the program skips its image. The program does not pull, push or copy an
official image.

usage: LAB_IMAGE=<the lab's image program> python build.py [NAME…]

NAME is for instance postgres:17. Without a name, the program builds every image. It needs root and the lab's real node.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["IMAGES", "Image", "main"]

HERE = Path(__file__).resolve().parent
RELEASES = json.loads((HERE.parents[2] / "components/engines/releases.json").read_text())
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "database-groups-images"
LAB = Path(os.environ.get("LAB_DIR") or Path.home() / ".cache" / "database-groups-lab")
PROGRAMS = os.environ.get("IMAGE_PROGRAMS", "")
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# The program runs START in every root file system before the image's own `finish`, and FINISH after it. START removes
# the files of the package's user, which the server or its tools would otherwise read.
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
    """The recipe of an image's root file system, and the configuration of the official image with its name."""

    name: str
    folder: str
    """Folder of its entrypoint, next to this file."""
    suite: str
    packages: tuple[str, ...]
    """Packages of Debian. The server's package is the first."""
    version: str
    """Beginning of the server's version. It detects a suite with a newer release."""
    user: str
    home: str
    directories: tuple[str, ...]
    """Directories that belong to the user and are writable by all users."""
    programs: tuple[str, ...] = ()
    """Programs that no package contains, from the image's folder in `$IMAGE_PROGRAMS`. The server is the first."""
    finish: str = ""
    """Script that sh runs in the root file system."""
    files: Mapping[str, str] = field(default_factory=dict)
    config: Mapping[str, object]

    @property
    def short(self) -> str:
        """The name without the default registry and namespace."""
        return self.name.removeprefix("docker.io/").removeprefix("library/")

    @property
    def file(self) -> str:
        """The name as the name of a folder."""
        return self.short.replace("/", "-").replace(":", "-")

    @property
    def sources(self) -> list[Path]:
        """Paths of its programs."""
        return [Path(PROGRAMS) / self.file / program for program in self.programs]

    @property
    def cache(self) -> Path:
        """Folder of its root file system and of its records."""
        return CACHE / self.file

    @property
    def recipe(self) -> str:
        """Digest of everything that determines the root file system."""
        return hash_parts(
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
        """Digest of the whole image."""
        return hash_parts(
            self.recipe,
            self.entrypoint,
            self.files,
            self.config,
            *((path.stat().st_size, path.stat().st_mtime) for path in self.sources),
        )

    @property
    def entrypoint(self) -> str:
        """Text of its entrypoint."""
        return (HERE / self.folder / "docker-entrypoint.sh").read_text()


def build_postgres_image(series: int, suite: str) -> Image:
    """Return the image of a series of PostgreSQL."""
    home, data = "/var/lib/postgresql", "/var/lib/postgresql/data"
    programs = f"/usr/lib/postgresql/{series}"
    sample = f"/usr/share/postgresql/{series}/postgresql.conf.sample"
    return Image(
        name=f"docker.io/library/postgres:{series}",
        folder="postgres",
        suite=suite,
        packages=(f"postgresql-{series}", "locales"),
        version=f"{series}.",
        user="postgres",
        home=home,
        directories=(data, "/var/run/postgresql"),
        # Without the just-in-time compiler, the image is much smaller. PostgreSQL does not require it.
        finish=f"""
            localedef -i en_US -f UTF-8 en_US.UTF-8
            rm -rf /usr/share/i18n"""
        f" {programs}/lib/bitcode {programs}/lib/llvmjit* /usr/lib/*/libLLVM* /usr/lib/llvm*"
        f"""
            sed -i "s/^#listen_addresses = 'localhost'/listen_addresses = '*'/" {sample}
            grep -q "^listen_addresses = '\\*'" {sample}
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


def build_redis_image(
    server: str, suite: str, series: int, repository: str, directories: tuple[str, ...], **config: object
) -> Image:
    """Return the image of Redis, or of its fork Valkey."""
    return Image(
        name=f"docker.io/{repository}:{series}",
        folder="redis",
        suite=suite,
        packages=(f"{server}-server", f"{server}-tools"),
        version=f"{series}.",
        user=server,
        home="/data",
        directories=directories,
        finish="for program in cli server; do [ -e /usr/bin/redis-$program ]"
        f" || ln -s {server}-$program /usr/bin/redis-$program; done",
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


def build_rabbitmq_image(tag: str, plugins: str, conf: Mapping[str, str]) -> Image:
    """Return the image of RabbitMQ, with or without its management plugin."""
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
            # The first path precedes the wrappers of Debian, which require root.
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
        "etc/defaults/influxdb2/config.yml": (
            "bolt-path: /var/lib/influxdb2/influxd.bolt\nengine-path: /var/lib/influxdb2/engine\n"
        )
    },
    config={
        "Cmd": ["influxd"],
        "Env": [f"PATH={SYSTEM_PATH}", "INFLUX_CONFIGS_PATH=/etc/influxdb2/influx-configs", "INFLUXD_INIT_PORT=9999"],
        "ExposedPorts": {"8086/tcp": {}},
        "Volumes": {"/var/lib/influxdb2": {}, "/etc/influxdb2": {}},
    },
)

# No official image exists. A user builds such an image.
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

# The official image of the plugin has no operating system. Its container has the user of the servers.
BARMAN_CLOUD = Image(
    name="docker.io/e2e/barman-cloud:0.14",
    folder="barman-cloud",
    suite="trixie",
    packages=("barman-cli-cloud", "python3-boto3", "python3-snappy", "ca-certificates"),
    version="3.",
    user="barman",
    home="/var/lib/barman",
    directories=(),
    programs=("plugin-barman-cloud",),
    finish="ln -s /usr/local/bin/plugin-barman-cloud /manager",  # the probe of the container runs it
    config={"Env": [f"PATH={SYSTEM_PATH}"]},
)

IMAGES = {
    image.short: image
    for image in (
        build_postgres_image(17, "trixie"),
        build_redis_image("redis", "bookworm", 7, "library/redis", ("/data",), Volumes={"/data": {}}),
        MYSQL,
        build_redis_image("valkey", "trixie", 8, "valkey/valkey", ("/data", "/var/run/valkey")),
        build_rabbitmq_image("4-management", "rabbitmq_management,rabbitmq_prometheus", {}),
        build_rabbitmq_image(
            "4.0",
            "rabbitmq_prometheus",
            {
                "etc/rabbitmq/conf.d/20-management_agent.disable_metrics_collector.conf": (
                    "management_agent.disable_metrics_collector = true\n"
                )
            },
        ),
        INFLUXDB,
        GLUSTERFS,
        BARMAN_CLOUD,
        build_postgres_image(15, "bookworm"),
    )
}


def hash_parts(*parts: object) -> str:
    """Return a digest of values."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=dict).encode()).hexdigest()


def read_record(record: Path) -> str:
    """Return the text of a record; empty if it does not exist."""
    return record.read_text() if record.exists() else ""


def run_logged(log: Path, *command: str | Path, text: str = "", env: Mapping[str, str] | None = None) -> None:
    """Run a program with its output in the log. If it fails, exit with the last lines of the log."""
    with log.open("a") as output:
        ended = subprocess.run(
            command, input=text, text=True, stdout=output, stderr=subprocess.STDOUT, env=env, check=False
        )
    if ended.returncode:
        lines = "\n".join(log.read_text().splitlines()[-20:])
        sys.exit(f"{lines}\nbuild.py: {command[0]} failed ({ended.returncode}); the whole log is {log}")


def create_root(image: Image) -> Path:
    """Create the root file system, if the cached one has another recipe. Return its path."""
    root, new, record, log = image.cache / "root", image.cache / "root.new", image.cache / "recipe", image.cache / "log"
    if read_record(record) == image.recipe:
        return root
    image.cache.mkdir(parents=True, exist_ok=True)
    for old in (record, image.cache / "loaded", log):
        old.unlink(missing_ok=True)
    log.touch()
    run_logged(log, "rm", "-rf", "--one-file-system", root, new)
    run_logged(
        log, "debootstrap", "--variant=minbase", "--foreign", f"--include={','.join(image.packages)}", image.suite, new
    )
    policy = new / "usr/sbin/policy-rc.d"  # every package runs it before it starts its server
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)
    env = {"PATH": SYSTEM_PATH, "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
    run_logged(log, "chroot", new, "/debootstrap/debootstrap", "--second-stage", env=env)
    env |= {"NAME": image.user, "HOME": image.home, "DIRECTORIES": " ".join(image.directories)}
    run_logged(log, "chroot", new, "sh", "-eux", text=START + image.finish + FINISH, env=env)
    version = read_version(image, new)
    if not version.startswith(image.version):
        sys.exit(
            f"build.py: {image.short}: Debian {image.suite} has {image.packages[0]} {version}, not {image.version};"
            " rename the image to that version"
        )
    new.rename(root)
    record.write_text(image.recipe)
    return root


def read_version(image: Image, root: Path) -> str:
    """Return the version of the server in a root file system, without Debian's epoch."""
    query: list[str | Path] = ["chroot", root, "dpkg-query", "-W", "-f", "${Version}", image.packages[0]]
    return subprocess.run(query, capture_output=True, text=True, check=True).stdout.rpartition(":")[2]


def get_pinned_name(image: Image) -> str:
    """Return the name that the program uses for the image's series, such as `postgres:17.11` for `postgres:17`.

    If the tag is not a series, return the name of the image.
    """
    repository, _, series = image.name.rpartition(":")
    return f"{repository}:{RELEASES.get(repository, {}).get(series, series)}"


def run_ctr(*arguments: str) -> set[str]:
    """Run a command on the images of the node. Return the parts of its output."""
    command: list[str | Path] = ["ctr", "-a", LAB / "node/containerd.sock", "-n", "k8s.io", "images", *arguments]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    if process.returncode:
        sys.exit(f"build.py: the lab's real node does not answer: {process.stderr.strip()}")
    return set(process.stdout.split())


def list_loaded_names() -> set[str]:
    """Return the names of the images on the node."""
    return run_ctr("ls", "-q")


def load_image(image: Image, program: str) -> bool:
    """Load the image into the node under its names, if it changed. Return whether it changed."""
    root, record = create_root(image), image.cache / "loaded"
    if changed := read_record(record) != f"{image.content} {LAB}" or image.name not in list_loaded_names():
        for path, text in {**image.files, "usr/local/bin/docker-entrypoint.sh": image.entrypoint}.items():
            (root / path).write_text(text)
        (root / "usr/local/bin/docker-entrypoint.sh").chmod(0o755)
        for source in image.sources:
            shutil.copy(source, root / "usr/local/bin" / source.name)
        record.unlink(missing_ok=True)
        run_logged(
            image.cache / "log",
            program,
            image.name,
            root,
            json.dumps({"Entrypoint": ["docker-entrypoint.sh"], **image.config}),
        )
        record.write_text(f"{image.content} {LAB}")
    if (pinned := get_pinned_name(image)) != image.name:
        run_ctr("tag", "--force", image.name, pinned)
    return changed


def main() -> None:
    """Build and load the images with the given names."""
    parser = argparse.ArgumentParser(
        description="Build the images of the end-to-end tests and load them into the lab's node."
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(IMAGES)}. Default: all")
    names = parser.parse_args().names or [
        name for name, image in IMAGES.items() if all(map(Path.is_file, image.sources))
    ]
    if unknown := sorted(set(names) - set(IMAGES)):
        parser.error(f"unknown images {', '.join(unknown)}; use {', '.join(IMAGES)}")
    program = os.environ.get("LAB_IMAGE")
    missing = [tool for tool in ("debootstrap", "chroot", "ctr") if not shutil.which(tool)]
    if not program or missing or os.geteuid() != 0:
        parser.error(f"needs {', '.join(missing) or 'root and LAB_IMAGE, the program that loads an image in the lab'}")
    if absent := [str(path) for name in names for path in IMAGES[name].sources if not (PROGRAMS and path.is_file())]:
        parser.error(f"needs {', '.join(absent)} in the folder IMAGE_PROGRAMS")
    list_loaded_names()
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for name in names:
            image, start = IMAGES[name], time.monotonic()
            result = "loaded" if load_image(image, program) else "unchanged"
            print(
                f"{image.name}: {image.packages[0]} {read_version(image, image.cache / 'root')}, {result}"
                f" ({time.monotonic() - start:.0f} s)",
                flush=True,
            )


if __name__ == "__main__":
    main()
