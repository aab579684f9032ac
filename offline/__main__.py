"""`python -m offline STACK`: prints what the stack gives each application and writes it to `rendered/STACK/`."""

import gc
import runpy
import sys
from pathlib import Path

import pulumi

from offline.recorder import PROJECT, Recorder, run_program
from offline.render import render_diagram, render_manifests, render_patches, render_summary
from offline.stackfile import load_stack_file

__all__ = ["main", "render_stack"]

ROOT = Path(__file__).resolve().parent.parent


def render_stack(stack: str, folder: Path = ROOT / "stacks") -> Recorder:
    """Runs the program with the stack file of `folder`. Raises pulumi.RunError for a stack with mistakes, or none at all."""
    path = folder / f"Pulumi.{stack}.yaml"
    try:
        file = load_stack_file(path)
    except FileNotFoundError:
        known = sorted(
            found.name.removeprefix("Pulumi.").removesuffix(".yaml") for found in folder.glob("Pulumi.*.yaml")
        )
        raise pulumi.RunError(
            f"there is no stack {stack!r} in {folder.name}/; there are: {', '.join(known) or 'none'}"
        ) from None
    except (OSError, ValueError) as error:
        raise pulumi.RunError(str(error)) from None

    def program() -> None:
        runpy.run_path(str(ROOT / "__main__.py"))

    return run_program(
        program, stack=stack, config=file.config, encrypted=file.encrypted
    )


def main(arguments: list[str]) -> int:
    """Renders the stack that is named. Returns the exit code."""
    if len(arguments) != 1:
        print("usage: python -m offline STACK", file=sys.stderr)
        return 2
    try:
        recorder = render_stack(arguments[0])
    except pulumi.RunError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
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
    print(f"manifests and diagram: {folder.relative_to(ROOT)}/")
    return 0


if __name__ == "__main__":
    # A process that ends in seconds has nothing to collect; looking for it takes a quarter of a large stack's time.
    gc.disable()
    sys.exit(main(sys.argv[1:]))
