"""From settings to things: data, detectors, lanes; and the settings that only the data can decide."""

from __future__ import annotations

import copy
import random
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
import torch

from headstart.config import GIVEN, Data, DetectorChoice, MethodChoice, Run, Train
from headstart.data.dataset import DetectionDataset
from headstart.data.discover import open_dataset
from headstart.data.loader import Loader, train_loader, val_loader
from headstart.data.transforms import Transform
from headstart.detectors.detector import Detector
from headstart.detectors.weights.importing import NATIVE, open_detector
from headstart.detectors.zoo import build_detector
from headstart.engine.batches import BatchLoader
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
"""Decay of the average that `ema: true` means."""


def open_splits(run: Run, report: Print | None = None) -> tuple[DetectionDataset, DetectionDataset | None]:
    """The training images, and the validation images unless the run never evaluates."""
    train = open_dataset(run.data.path, "train", classes=run.data.classes, bad_data=run.data.bad_data, report=report)
    if run.train.eval_every == 0:
        return train, None
    val = open_dataset(run.data.path, "val", classes=train.classes, bad_data=run.data.bad_data, report=report)
    return train, val


def training_batches(data: Data, dataset: DetectionDataset, seed: int, rank: int = 0, world: int = 1) -> BatchLoader:
    """The loader of process `rank` of `world`; the batch size of the settings is that of all processes together.

    Raises UserError if it cannot be shared equally.
    """
    if data.batch % world:
        raise UserError(f"batch {data.batch} cannot be shared equally by {world} processes; use a multiple of {world}.")
    if data.batch > len(dataset):
        raise UserError(
            f"batch {data.batch} is more than the {len(dataset)} training images, some of which would be in each step "
            f"twice; use --batch {max(len(dataset) // world * world, world)} or less."
        )
    short, long = data.sides
    transform = Transform(short=short, long=long, flip=data.flip, jitter=data.jitter)
    share = data.batch // world
    loader = train_loader(dataset, transform, batch_size=share, seed=seed, workers=data.workers, rank=rank, world=world)
    return cast(BatchLoader, loader)  # torch declares `batch_sampler` as any sampler, or none


def validation_batches(
    data: Data, dataset: DetectionDataset, rank: int = 0, world: int = 1, *, resize: str = "antialias"
) -> Loader:
    """Every image once over all processes, at the largest training size, unchanged otherwise.

    resize  "antialias", or what else `headstart.data.transforms.Transform` knows
    """
    short, long = data.sides
    transform = Transform(short=short if isinstance(short, int) else short[1], long=long, flip=0.0, resize=resize)
    share = max(1, data.batch // world)
    return val_loader(dataset, transform, batch_size=share, workers=data.workers, rank=rank, world=world)


def make_detector(choice: DetectorChoice, classes: Sequence[str], who: str, say: Print | None = None) -> Detector:
    """Built by name for these classes, or loaded from a file that must know the same.

    `say` is told what was assumed of a file that is not headstart's.
    """
    if choice.name == GIVEN:
        raise UserError(f"the {who} of this run was handed over in Python; hand it over again to continue.")
    if choice.file is None:
        options = {"pretrained": choice.pretrained, **choice.options}
        if choice.width is not None:
            options["width"] = choice.width
        return build_detector(choice.name or "", classes, backbone=choice.backbone, **options)
    path = Path(choice.file)
    try:
        opened = open_detector(path, read_as=choice.read_as, classes=choice.classes, entry=choice.entry)
    except UserError as error:
        raise UserError(f"{who}: {error}") from error
    if say is not None and opened.source != NATIVE:
        for line in (f"The {who} was read as {opened.source}", *(f"- {note}" for note in opened.notes)):
            say(line)
    return opened.detector


def make_student(choice: DetectorChoice, classes: Sequence[str], seed: int, say: Print | None = None) -> Detector:
    """The same start weights whenever the seed is the same, whatever was built before."""
    start_generators(seed)
    return demand_classes(make_detector(choice, classes, "student", say), classes, choice.file)


def demand_classes(student: Detector, classes: Sequence[str], file: str | None = None) -> Detector:
    """The student itself. Raises UserError unless it has the classes of the data; `file` is where it came from."""
    if tuple(student.classes) != tuple(classes):
        who = "the student" if file is None else f"the student in {file}"
        raise UserError(
            f"{who} knows the classes {', '.join(student.classes)}; the data has {', '.join(classes)}. "
            "They must be the same in the same order; data.classes can choose and order them."
        )
    return student


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

    student  a detector in place of the one that the run names; it is copied

    Raises UserError for a student with other classes than the data's, and for methods that cannot work.
    """
    lanes = []
    for name, choice in run.choices.items():
        if student is None:
            own = make_student(run.student, classes, run.train.seed, None if lanes else say)
        else:
            own = copy.deepcopy(demand_classes(student, classes))
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
        decay_norm_and_bias=train.decay_norm_and_bias,
    )
    decay = SMOOTH if train.ema is True else train.ema
    ema = ModelEMA(method.student, decay) if decay else None
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
    """The run with every `auto` replaced by what it means here; doing it twice changes nothing."""
    train = run.train
    precision = choose_precision(train.precision, train.channels_last, device)
    scaled = FULL_RATE[train.optimizer] * run.data.batch / 16
    changes = {
        "lr": scaled if train.lr == "auto" else train.lr,
        "warmup": min(500, total // 10) if train.warmup == "auto" else train.warmup,
        "precision": precision.name,
        "channels_last": precision.channels_last,
    }
    resolved = Train.model_validate(train.model_dump() | changes)
    return Run.model_validate(run.model_dump(exclude_none=True) | {"train": resolved}), precision


def start_generators(seed: int) -> None:
    """Seeds the generators of Python, numpy and torch."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
