"""headstart distill: a student that learns from a teacher."""

from __future__ import annotations

from typing import Annotated

from typer import Option

from headstart.cli import options
from headstart.cli.errors import handle_errors

Teacher = Annotated[
    list[str] | None,
    Option(
        "--teacher",
        metavar="FILE",
        help="Weights that `headstart train` wrote, or a checkpoint of torchvision or mmdetection; may be repeated.",
        rich_help_panel="Distillation",
    ),
]
Method = Annotated[
    str | None,
    Option("--method", help="How the student learns (head); see `headstart methods`.", rich_help_panel="Distillation"),
]
Assistants = Annotated[
    str | None,
    Option(
        "--assistants",
        metavar="KINDS",
        help="HEAD without a teacher: auto, or heads to train beside the student's, such as fcos,rcnn.",
        rich_help_panel="Distillation",
    ),
]
Compare = Annotated[
    bool | None,
    Option(
        "--compare",
        "--baseline",
        help="Also train the same student without distillation, beside it.",
        rich_help_panel="Distillation",
    ),
]


@handle_errors
def distill(
    data: options.Data = None,
    student: options.Student = None,
    teacher: Teacher = None,
    method: Method = None,
    assistants: Assistants = None,
    compare: Compare = None,
    class_map: options.ClassMap = None,
    epochs: options.Epochs = None,
    steps: options.Steps = None,
    schedule: options.Schedule = None,
    split: options.Split = None,
    split_seed: options.SplitSeed = None,
    val_split: options.ValSplit = None,
    unlabelled: options.Unlabelled = None,
    imgsz: options.Imgsz = None,
    batch: options.Batch = None,
    workers: options.Workers = None,
    bad_data: options.BadData = None,
    backbone: options.Backbone = None,
    width: options.Width = None,
    weights: options.Weights = None,
    lr: options.Lr = None,
    optimizer: options.Optimizer = None,
    decay: options.Decay = None,
    ema: options.Ema = None,
    precision: options.Precision = None,
    seed: options.Seed = None,
    device: options.Device = None,
    devices: options.Devices = None,
    eval_every: options.EvalEvery = None,
    patience: options.Patience = None,
    name: options.Name = None,
    out: options.Out = None,
    resume: options.Resume = None,
    recipe: options.Recipe = None,
    settings: options.Settings = None,
    quiet: options.Quiet = False,
    dry_run: options.DryRun = False,
) -> None:
    """Train a student that learns from a teacher, from several, or from assistants alone.

    headstart distill --data DIR --teacher runs/teacher/student.safetensors --student retinanet_r18 --method head
    """
    given = dict(locals())
    given["settings"] = settings or ()
    from headstart import api

    api.distill(**given)
