"""`python -m offline STACK`: print what a stack creates, and write it to `rendered/STACK/`."""

import argparse
import gc
import logging
import runpy
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pulumi

from offline.diagram import render_diagram
from offline.manifests import render_manifests, render_patches
from offline.page import render_page
from offline.recorder import LOGGER, Recorder, run_program
from offline.summary import MAX_GROUPS_IN_DETAIL, render_summary
from offline.view import StackView, build_view
from stacks.config import STACK_FILE_CONFIG_KEY
from stacks.stack_file import StackFileError, load_stack_file

__all__ = ["RenderedStack", "main", "render_stack"]

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class RenderedStack:
    """A run of the program with a stack file."""

    recorder: Recorder
    view: StackView


def render_stack(stack: str, folder: Path = ROOT / "stacks") -> RenderedStack:
    """Run the program with a stack file of `folder`. Raise pulumi.RunError for a file with errors, or without one."""
    path = folder / f"Pulumi.{stack}.yaml"
    try:
        file = load_stack_file(path)
    except StackFileError as error:
        raise pulumi.RunError(str(error)) from None

    variables: dict[str, Any] = {}

    def program() -> None:
        variables.update(runpy.run_path(str(ROOT / "__main__.py")))

    recorder = run_program(
        program,
        stack=stack,
        config={**file.config, STACK_FILE_CONFIG_KEY: str(path)},
        encrypted=tuple(file.encrypted_keys),
    )
    return RenderedStack(recorder, build_view(stack, variables["stack"], recorder))


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m offline", description="Show what a stack creates.")
    parser.add_argument("stack", metavar="STACK")
    length = parser.add_mutually_exclusive_group()
    default = f"default: for more than {MAX_GROUPS_IN_DETAIL} groups"
    length.add_argument("--short", action="store_true", default=None, help=f"print one line per group; {default}")
    length.add_argument("--long", dest="short", action="store_false", help="also print variables and workloads")
    return parser


def main(arguments: list[str]) -> int:
    """Render the stack with the given name. Return the exit code. Raise SystemExit for a wrong call."""
    options = _build_parser().parse_args(arguments)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("warning: %(message)s"))
    LOGGER.addHandler(handler)
    try:
        rendered = render_stack(options.stack)
    except pulumi.RunError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    finally:
        LOGGER.removeHandler(handler)
    folder = ROOT / "rendered" / options.stack
    folder.mkdir(parents=True, exist_ok=True)
    for old in (path for suffix in ("yaml", "md", "html") for path in folder.glob(f"*.{suffix}")):
        old.unlink()
    for application, text in render_manifests(rendered.recorder).items():
        (folder / f"{application}.yaml").write_text(text)
    for application, text in render_patches(rendered.recorder).items():
        (folder / f"{application}.workloads.yaml").write_text(text)
    (folder / "diagram.md").write_text(render_diagram(rendered.view))
    (folder / "index.html").write_text(render_page(rendered.view), encoding="utf-8")
    print(render_summary(rendered.view, short=options.short))
    print(f"Manifests and diagram: {folder.relative_to(ROOT)}/")
    print(f"Page: {folder.relative_to(ROOT)}/index.html")
    return 0


if __name__ == "__main__":
    # The process ends within seconds. Garbage collection would take a quarter of the time of a large stack.
    gc.disable()
    sys.exit(main(sys.argv[1:]))
