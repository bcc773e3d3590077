"""headstart val: the scores of a weights file."""

from __future__ import annotations

from typing import Annotated

from typer import Argument, Option

from headstart.cli.errors import handle_errors
from headstart.terminal import say


@handle_errors
def val(
    weights: Annotated[str, Argument(help="Weights that train or distill wrote, or a checkpoint of others.")],
    data: Annotated[str, Option("--data", help="Folder of annotated images.")],
    split: Annotated[
        str, Option("--split", help="train | val | test | all, or the share that a run made its validation split by.")
    ] = "val",
    split_seed: Annotated[int, Option("--split-seed", help="The run's, where --split is a share.")] = 0,
    imgsz: Annotated[int | None, Option("--imgsz", help="Side of the square for images (as trained).")] = None,
    batch: Annotated[int, Option("--batch", help="Images at a time.")] = 8,
    workers: Annotated[int, Option("--workers", help="Processes that read images.")] = 0,
    bad_data: Annotated[str, Option("--bad-data", help="stop | skip.")] = "stop",
    voc: Annotated[bool, Option("--voc", help="Also Pascal VOC's AP.")] = False,
    class_map: Annotated[
        str | None,
        Option(
            "--class-map",
            metavar="FILE",
            help="YAML lines `detector class: data class` (null: left out), where names do not match by themselves.",
        ),
    ] = None,
    device: Annotated[str, Option("--device", help="auto | cpu | cuda ...")] = "auto",
    out: Annotated[str | None, Option("--out", help="Also write the numbers to this JSON file.")] = None,
) -> None:
    """Measure a detector: COCO AP and AP per class.

    headstart val runs/teacher/student.safetensors --data DIR
    """
    from pathlib import Path

    from headstart.early import demand_data, demand_weights

    demand_weights(weights)
    demand_data(data, split, split_seed)

    from headstart.engine.predict import validate
    from headstart.report.results import write_json
    from headstart.report.table import listing, per_class_table, results_table, show

    metrics = validate(
        weights,
        data,
        split=split,
        split_seed=split_seed,
        imgsz=imgsz,
        batch=batch,
        workers=workers,
        bad_data=bad_data,
        voc=voc,
        class_map=class_map,
        device=device,
        say=say,
    )
    name = Path(weights).stem
    show(results_table({name: metrics}), per_class_table({name: metrics}))
    if voc:
        show(listing([{"": name, "VOC AP": metrics["VOC_AP"], "VOC AP (11 points)": metrics["VOC_AP11"]}]))
    if out is not None:
        write_json(out, {"weights": weights, "data": data, "split": split, "metrics": metrics})
        say(f"Written: {out}")
