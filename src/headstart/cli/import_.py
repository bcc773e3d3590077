"""headstart import: other people's checkpoints as files of headstart's own."""

from __future__ import annotations

from typing import Annotated

from typer import Argument, Option

from headstart.cli.errors import handle_errors
from headstart.terminal import say


@handle_errors
def import_(
    file: Annotated[str, Argument(help="A checkpoint of torchvision or mmdetection (.pth, .pt, .safetensors).")],
    out: Annotated[str | None, Option("--out", help="File to write (beside it, as .safetensors).")] = None,
    name: Annotated[
        str | None, Option("--as", metavar="NAME", help="What it is, where the weights leave that open.")
    ] = None,
    classes: Annotated[
        str | None, Option("--classes", help="Names in order: A,B,C, or a file with one a line, or coco.")
    ] = None,
    entry: Annotated[str | None, Option("--entry", help="Which weights, where the file has several.")] = None,
) -> None:
    """Read a detector that was trained elsewhere, and write it as headstart's own file.

    headstart import fasterrcnn_resnet50_fpn_coco-258fb6c6.pth --out teacher.safetensors
    """
    from headstart.detectors.weights.hints import read_classes
    from headstart.detectors.weights.importing import import_file

    place, imported = import_file(file, out, read_as=name, classes=read_classes(classes), entry=entry)
    say(f"Read as {imported.source}, {len(imported.detector.classes)} classes")
    for note in imported.notes:
        say(f"- {note}")
    say(f"Written: {place}")
