"""A fake Pulumi command line: it prints files."""

import stat
from pathlib import Path

__all__ = ["write_pulumi"]

PULUMI = """#!/bin/sh
case $* in *"--stack production"*--non-interactive) ;; *) exit 9 ;; esac
[ "$2" = get ] && name=get || name=$1
case $(cat {folder}/$name) in "{{"*) cat {folder}/$name ;; *) cat {folder}/$name >&2; exit 1 ;; esac
"""


def write_pulumi(folder: Path) -> Path:
    """Write a `pulumi` that prints the file of the command's name, or fails with its text if it is no JSON."""
    path = folder / "bin" / "pulumi"
    path.parent.mkdir()
    path.write_text(PULUMI.format(folder=folder))
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path.parent
