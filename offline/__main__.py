"""`python -m offline STACK`: print what a stack creates, and write it to `rendered/STACK/`."""

import gc
import logging
import runpy
import sys
from pathlib import Path

import pulumi

from offline.recorder import LOGGER, Recorder, run_program
from offline.render import render_diagram, render_manifests, render_patches, render_summary
from stacks.config import STACK_FILE_CONFIG_KEY
from stacks.stack_file import StackFileError, load_stack_file

__all__ = ["main", "render_stack"]

ROOT = Path(__file__).resolve().parent.parent


def render_stack(stack: str, folder: Path = ROOT / "stacks") -> Recorder:
    """Run the program with a stack file of `folder`. Raise pulumi.RunError for a file with errors, or without one."""
    path = folder / f"Pulumi.{stack}.yaml"
    try:
        file = load_stack_file(path)
    except StackFileError as error:
        raise pulumi.RunError(str(error)) from None

    def program() -> None:
        runpy.run_path(str(ROOT / "__main__.py"))

    return run_program(
        program,
        stack=stack,
        config={**file.config, STACK_FILE_CONFIG_KEY: str(path)},
        encrypted=tuple(file.encrypted_keys),
    )


def main(arguments: list[str]) -> int:
    """Render the stack with the given name. Return the exit code."""
    if len(arguments) != 1:
        print("usage: python -m offline STACK", file=sys.stderr)
        return 2
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("warning: %(message)s"))
    LOGGER.addHandler(handler)
    try:
        recorder = render_stack(arguments[0])
    except pulumi.RunError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    finally:
        LOGGER.removeHandler(handler)
    folder = ROOT / "rendered" / arguments[0]
    folder.mkdir(parents=True, exist_ok=True)
    for old in (*folder.glob("*.yaml"), *folder.glob("*.md")):
        old.unlink()
    for application, text in render_manifests(recorder).items():
        (folder / f"{application}.yaml").write_text(text)
    for application, text in render_patches(recorder).items():
        (folder / f"{application}.workloads.yaml").write_text(text)
    (folder / "diagram.md").write_text(render_diagram(recorder))
    print(render_summary(recorder))
    print(f"Manifests and diagram: {folder.relative_to(ROOT)}/")
    return 0


if __name__ == "__main__":
    # The process ends within seconds. Garbage collection would take a quarter of the time of a large stack.
    gc.disable()
    sys.exit(main(sys.argv[1:]))
