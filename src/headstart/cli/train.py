"""headstart train: a detector without a teacher."""

from __future__ import annotations

from headstart.cli import options
from headstart.cli.errors import handle_errors


@handle_errors
def train(
    data: options.Data = None,
    student: options.Student = None,
    class_map: options.ClassMap = None,
    epochs: options.Epochs = None,
    steps: options.Steps = None,
    schedule: options.Schedule = None,
    split: options.Split = None,
    split_seed: options.SplitSeed = None,
    val_split: options.ValSplit = None,
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
    """Train a detector; a teacher, for instance.

    headstart train --data DIR --student fasterrcnn_r50 --name teacher
    """
    given = dict(locals())
    given["settings"] = settings or ()
    from headstart import api

    api.train(**given)
