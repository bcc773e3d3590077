"""headstart data: what would be read from a folder."""

from __future__ import annotations

from typing import Annotated

from typer import Argument, Option

from headstart.cli import options
from headstart.cli.errors import handle_errors
from headstart.terminal import say


@handle_errors
def data(
    folder: Annotated[str, Argument(help="Folder of annotated images: COCO, Roboflow, VOC or YOLO.")],
    split: options.Split = None,
    split_seed: options.SplitSeed = None,
    imgsz: Annotated[int, Option("--imgsz", min=1, help="Sizes of boxes when images fit this square.")] = 640,
    bad_data: options.BadData = None,
    out: Annotated[
        str | None, Option("--out", metavar="FOLDER", help="Write these images as a COCO folder, too.")
    ] = None,
) -> None:
    """Say what would be read from a folder: splits, images, boxes by class and size, copies, mistakes.

    headstart data DIR --split 0.2
    """
    from headstart.data.summary import describe
    from headstart.data.write_coco import write_coco
    from headstart.errors import UserError
    from headstart.report.table import listing, show

    if bad_data not in (None, "stop", "skip"):
        raise UserError(f"bad_data must be stop or skip, found '{bad_data}'.")
    found = describe(folder, share=split, split_seed=split_seed or 0, sides=(imgsz, imgsz), report=say)
    say(f"{found.folder.root}: {found.folder.layout.kind}")
    if found.folder.whole is not None:
        say(found.folder.whole.divided.made.sentence())
    show(
        listing(found.rows_by_split(), title=f"Splits; small, medium, large: boxes at {imgsz} px"),
        listing(found.rows_by_class(), title="Classes"),
    )
    for copies in found.copies:
        say(copies.sentence())
    if found.errors:
        raise UserError("\n".join(f"{name}: {reason}" for name, reason in found.errors.items()))
    if len(found.problems) and bad_data != "skip":
        raise UserError(
            f"{len(found.problems)} {'entry is' if len(found.problems) == 1 else 'entries are'} not in order. "
            f"Repair the data, or leave out {found.problems.summary()} with --bad-data skip."
        )
    if out is not None:
        say(f"Written: {write_coco(found.datasets, out)}")
