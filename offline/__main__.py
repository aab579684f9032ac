"""`python -m offline STACK`: prints what the stack gives each application and writes it to `rendered/STACK/`."""

import gc
import runpy
import sys
from pathlib import Path

import pulumi

from offline.recorder import PROJECT, Recorder, run
from offline.render import diagram, manifests, patches, summary
from offline.stackfile import read

__all__ = ["main", "record"]

ROOT = Path(__file__).resolve().parent.parent


def record(stack: str, folder: Path = ROOT / "stacks") -> Recorder:
    """Runs the program with the stack file of `folder`. Raises pulumi.RunError for a stack with mistakes, or none at all."""
    path = folder / f"Pulumi.{stack}.yaml"
    try:
        file = read(path)
    except FileNotFoundError:
        known = sorted(found.name.removeprefix("Pulumi.").removesuffix(".yaml") for found in folder.glob("Pulumi.*.yaml"))
        raise pulumi.RunError(f"there is no stack {stack!r} in {folder.name}/; there are: {', '.join(known) or 'none'}") from None
    except (OSError, ValueError) as error:
        raise pulumi.RunError(str(error)) from None

    def program() -> None:
        runpy.run_path(str(ROOT / "__main__.py"))

    return run(program, stack=stack, config={**file.config, f"{PROJECT}:preflight": "none"}, encrypted=file.encrypted)


def main(arguments: list[str]) -> int:
    """Renders the stack that is named. Returns the exit code."""
    if len(arguments) != 1:
        print("usage: python -m offline STACK", file=sys.stderr)
        return 2
    try:
        recorder = record(arguments[0])
    except pulumi.RunError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    folder = ROOT / "rendered" / arguments[0]
    folder.mkdir(parents=True, exist_ok=True)
    for old in (*folder.glob("*.yaml"), *folder.glob("*.md")):
        old.unlink()
    for application, text in manifests(recorder).items():
        (folder / f"{application}.yaml").write_text(text)
    for application, text in patches(recorder).items():
        (folder / f"{application}.workloads.yaml").write_text(text)
    (folder / "diagram.md").write_text(diagram(recorder))
    print(summary(recorder))
    print(f"manifests and diagram: {folder.relative_to(ROOT)}/")
    return 0


if __name__ == "__main__":
    # A process that ends in seconds has nothing to collect; looking for it takes a quarter of a large stack's time.
    gc.disable()
    sys.exit(main(sys.argv[1:]))
