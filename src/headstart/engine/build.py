"""From settings to things: data, detectors, lanes; and the settings that only the data can decide."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import cast

import torch

from headstart.config import Data, MethodChoice, Run, Train
from headstart.data.batch import MultiScale
from headstart.data.dataset import DetectionDataset
from headstart.data.discover import open_dataset, open_folder
from headstart.data.loader import Loader, train_loader, val_loader
from headstart.data.mosaic import Mixing
from headstart.data.split import splits_of_run
from headstart.data.transforms import Transform
from headstart.data.unlabelled import SHARE, count_unlabelled
from headstart.detectors.detector import Detector
from headstart.engine.batches import BatchLoader
from headstart.engine.detectors import demand_classes, make_student, start_generators
from headstart.engine.display import Print
from headstart.engine.ema import ModelEMA
from headstart.engine.lane import Lane
from headstart.engine.optim import FULL_RATE, build_optimizer
from headstart.engine.precision import Precision, choose_precision
from headstart.engine.schedule import SCHEDULES, LearningRate, drops
from headstart.errors import UserError, demand_known
from headstart.methods import Method, build_method
from headstart.teachers import Frozen

SMOOTH = 0.9998
"""Decay of the averages that `ema: true` and `ema: exponential` mean."""


def open_splits(run: Run, report: Print | None = None) -> tuple[DetectionDataset, DetectionDataset | None]:
    """The training images, and the validation images unless the run never evaluates.

    Raises UserError if the folder has not what the run needs, with what can be done.
    """
    data = run.data
    folder = open_folder(data.path, share=data.split, split_seed=data.split_seed)
    train_split, val_split = splits_of_run(folder.name, folder.layout, data.val_split, run.train.eval_every > 0)
    train = open_dataset(folder, train_split, classes=data.classes, bad_data=data.bad_data, report=report)
    if folder.whole is not None and report is not None:
        report(f"{train.name}: {folder.whole.divided.made.sentence()}")
    if val_split is None:
        return train, None
    return train, open_dataset(folder, val_split, classes=train.classes, bad_data=data.bad_data, report=report)


def training_batches(
    data: Data,
    dataset: DetectionDataset,
    train: Train,
    rank: int = 0,
    world: int = 1,
    *,
    unlabelled: DetectionDataset | None = None,
) -> BatchLoader:
    """The loader of process `rank` of `world`; the batch size of the settings is that of all processes together.

    Raises UserError if it cannot be shared equally, and for a run that is too short for what it is to begin with.
    """
    batch = int(data.batch)
    if batch % world:
        raise UserError(f"batch {batch} cannot be shared equally by {world} processes; use a multiple of {world}.")
    short, long = data.sides
    square = long if data.square else None
    transform = Transform(
        short,
        long,
        data.flip,
        data.jitter,
        hsv=data.hsv,
        crop=data.crop,
        scale=data.scale,
        rotate=data.rotate,
        shear=data.shear,
        square=square,
    )
    extra = count_unlabelled(batch, data.unlabelled_share or SHARE) if unlabelled is not None else 0
    mixing = None
    if data.mosaic or data.mixup:
        per_epoch = -(-len(dataset) // (batch - extra))
        epochs = first_part(data, count_steps(train, per_epoch), per_epoch)
        mixing = Mixing(
            transform, long, mosaic=data.mosaic, mixup=data.mixup, mixup_mosaic=data.mixup_mosaic, epochs=epochs
        )
    loader = train_loader(
        dataset,
        transform,
        batch_size=batch // world,
        seed=train.seed,
        workers=data.workers,
        rank=rank,
        world=world,
        mixing=mixing,
        square=square,
        unlabelled=unlabelled,
        extra=extra,
    )
    return cast(BatchLoader, loader)  # torch declares `batch_sampler` as any sampler, or none


def multi_scale(data: Data, seed: int) -> MultiScale | None:
    """What resizes the batches of a run of this seed; None where the settings ask for nothing of the kind."""
    return None if data.multi_scale is None else MultiScale(data.sides[1], *data.multi_scale, seed)


def first_part(data: Data, total: int, per_epoch: int) -> int:
    """How many epochs come before the last part of a run of `total` steps, which is without mosaic and mixup.

    The last part begins with the first epoch that lies in the last `mosaic_off` of the run as a whole, and is an epoch
    long at least; with `mosaic_off` 0 there is none. It is a matter of whole epochs because the epoch is what the
    processes that read images know. Raises UserError if nothing would be left for the mosaic that was asked for.
    """
    if not data.mosaic_off:
        return -(-total // per_epoch)
    begin = total - round(data.mosaic_off * total)
    epochs = max(0, min(-(-begin // per_epoch), total // per_epoch - 1))
    if not epochs and (data.mosaic or data.mixup):
        raise UserError(
            f"the run is too short for data.{'mosaic' if data.mosaic else 'mixup'}: it has {total} steps, and its last "
            f"epoch, of {per_epoch}, is without. Train for two epochs or more, or set data.mosaic_off=0."
        )
    return epochs


def validation_batches(
    data: Data, dataset: DetectionDataset, rank: int = 0, world: int = 1, *, resize: str = "antialias"
) -> Loader:
    """Every image once over all processes, at the largest training size, unchanged otherwise.

    resize  "antialias", or what else `headstart.data.transforms.Transform` knows
    Padded to a square where the settings say so; boxes are mapped back by the size of each image without the padding.
    """
    short, long = data.largest
    square = long if data.square else None
    transform = Transform(short=short, long=long, flip=0.0, resize=resize)
    share = max(1, int(data.batch) // world)
    return val_loader(dataset, transform, batch_size=share, workers=data.workers, rank=rank, world=world, square=square)


def make_lanes(
    run: Run,
    classes: Sequence[str],
    teachers: Sequence[Frozen],
    total: int,
    *,
    student: Detector | None = None,
    say: Print | None = None,
) -> list[Lane]:
    """One lane per method, each with its own copy of the same student, and its teachers where it distils.

    student  a detector of the data's classes in place of the one that the run names; it is copied

    Raises UserError for a student with other classes than the data's, and for methods that cannot work.
    """
    start = student or make_student(run, classes, say)[0]
    lanes = []
    for name, choice in run.choices.items():
        own = copy.deepcopy(demand_classes(start, classes))
        start_generators(run.train.seed)
        own_teachers = lane_teachers(name, choice, teachers)
        lanes.append(make_lane(name, build_method(choice.name, own, own_teachers, **choice.options), run.train, total))
    return lanes


def lane_teachers(lane: str, choice: MethodChoice, teachers: Sequence[Frozen]) -> list[Frozen]:
    """Those of the teachers that a lane learns from, in their order. Raises UserError for a name that none has."""
    if not choice.distils:
        return []
    if choice.teachers is None:
        return list(teachers)
    for name in choice.teachers:
        demand_known(name, [teacher.name for teacher in teachers], f"lane {lane}: no teacher is called")
    return [teacher for teacher in teachers if teacher.name in choice.teachers]


def make_lane(name: str, method: Method, train: Train, total: int) -> Lane:
    """A lane with its optimiser, learning rate and averaged weights, from settings without `auto`."""
    rate = learning_rate(train, total)
    optimizer = build_optimizer(
        method,
        train.optimizer,
        lr=rate.base,
        weight_decay=train.weight_decay,
        momentum=train.momentum,
        nesterov=train.nesterov,
        decay_norm_and_bias=train.decay_norm_and_bias,
    )
    decay = train.ema if isinstance(train.ema, float) else SMOOTH
    ema = ModelEMA(method.student, decay, exponential=train.ema == "exponential") if train.ema else None
    return Lane(name, method, optimizer, rate, clip=train.clip, ema=ema)


def learning_rate(train: Train, total: int) -> LearningRate:
    """Of settings without `auto`: lr and warmup are numbers. `total` is the number of optimiser steps."""
    milestones = drops(total)
    if train.milestones is not None:
        unit = 1 if train.steps else total // length_in_epochs(train)
        milestones = tuple(sorted(m * unit for m in train.milestones))
    return LearningRate(
        float(train.lr),
        total,
        warmup=int(train.warmup),
        ramp=train.warmup_shape,
        shape=train.decay,
        milestones=milestones,
        gamma=train.gamma,
    )


def length_in_epochs(train: Train) -> int:
    """How long the run is, where that is given in epochs or by a schedule's name."""
    return train.epochs or SCHEDULES[train.schedule or "1x"]


def count_steps(train: Train, per_epoch: int) -> int:
    """Optimiser steps of the whole run; `per_epoch` is how many make an epoch."""
    return train.steps or length_in_epochs(train) * per_epoch


def resolve_auto(run: Run, total: int, device: torch.device) -> tuple[Run, Precision]:
    """The run with every `auto`, and a length or image size that is left out, replaced by what it means here.

    The device stays `auto`, so that the run can be continued on another machine, and so does the batch, which is
    measured before (`headstart.engine.batch_size`). Doing it twice changes nothing.
    """
    train = run.train
    precision = choose_precision(train.precision, train.channels_last, device)
    scaled = FULL_RATE[train.optimizer] * int(run.data.batch) / 16
    changes = {
        "lr": scaled if train.lr == "auto" else train.lr,
        "warmup": min(500, total // 10) if train.warmup == "auto" else train.warmup,
        "precision": precision.name,
        "channels_last": precision.channels_last,
    }
    if train.steps is None and train.schedule is None:
        changes["epochs"] = length_in_epochs(train)
    resolved = {"train": Train.model_validate(train.model_dump() | changes)}
    if run.data.short is None:
        resolved["data"] = run.data.model_copy(update={"imgsz": run.data.sides[1]})
    return Run.model_validate(run.model_dump(exclude_none=True) | resolved), precision
