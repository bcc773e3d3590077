"""headstart predict: boxes on images."""

from __future__ import annotations

from typing import Annotated

from typer import Argument, Option

from headstart.cli.errors import handle_errors
from headstart.errors import UserError
from headstart.terminal import say


@handle_errors
def predict(
    weights: Annotated[str, Argument(help="Weights that train or distill wrote, or a checkpoint of others.")],
    sources: Annotated[list[str], Argument(help="Images, or folders of images.")],
    out: Annotated[str, Option("--out", help="Folder for the drawn images and predictions.json.")] = "predictions",
    threshold: Annotated[float, Option("--threshold", "--conf", help="Least score of a box, 0 to 1.")] = 0.3,
    imgsz: Annotated[int | None, Option("--imgsz", help="Side of the square for images (as trained).")] = None,
    draw: Annotated[bool, Option("--draw/--no-draw", help="Write drawn images.")] = True,
    device: Annotated[str, Option("--device", help="auto | cpu | cuda ...")] = "auto",
) -> None:
    """Find objects in images: draws the boxes and writes predictions.json.

    headstart predict runs/head/student.safetensors photos/
    """
    from headstart.early import demand_weights

    demand_weights(weights)

    from headstart.engine.predict import predict as find_objects

    entries = find_objects(weights, sources, out, threshold=threshold, imgsz=imgsz, device=device, draw=draw, say=say)
    count = sum(len(entry["objects"]) for entry in entries)
    unread = sum("error" in entry for entry in entries)
    say(f"{count} objects in {len(entries) - unread} images: {out}")
    if unread:
        raise UserError(
            f"{unread} of {len(entries)} images could not be read; they are named above and in {out}/predictions.json. "
            "The others are done."
        )
