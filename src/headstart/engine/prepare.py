"""From the settings of a run to everything that it has before it begins, and the checks that it passes first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from rich.table import Table

from headstart.classmap import ClassMap
from headstart.config import Run
from headstart.data.dataset import DetectionDataset
from headstart.data.summary import summarise_run
from headstart.data.unlabelled import open_unlabelled
from headstart.detectors.detector import Detector
from headstart.engine.batch_size import choose_batch
from headstart.engine.batches import BatchLoader
from headstart.engine.build import (
    count_steps,
    first_part,
    lane_teachers,
    make_lanes,
    multi_scale,
    open_splits,
    resolve_auto,
    training_batches,
)
from headstart.engine.data_facts import describe_data
from headstart.engine.detectors import make_student
from headstart.engine.display import Print
from headstart.engine.evaluator import Evaluator
from headstart.engine.guards import check_lane, with_objects
from headstart.engine.history import History
from headstart.engine.identity import demand_same_data, demand_same_detectors, demand_same_teachers, identify
from headstart.engine.module import Lanes
from headstart.engine.precision import Precision
from headstart.engine.resume import Checkpoint, demand_same_run
from headstart.engine.strategy import choose_device
from headstart.engine.teacher import describe_teachers, make_teachers, match_teachers
from headstart.errors import UserError
from headstart.methods import check_method
from headstart.reading import reason
from headstart.recipe import check_run, plain_run
from headstart.report.results import DataFacts
from headstart.report.table import pairing_table


@dataclass
class PreparedRun:
    """Everything that a run has before it begins.

    run        its settings, every `auto` resolved
    module     lanes and teachers, with the state of the checkpoint if there is one
    evaluator  of the validation images, None in a run without evaluation;  val_data  these images
    classes    for each teacher, which of the student's classes its own stand for
    kept       how the classes of the student's file correspond to the data's; None where they are the same
    facts      what is written down of the data
    """

    run: Run
    module: Lanes
    history: History
    evaluator: Evaluator | None
    loader: BatchLoader
    val_data: DetectionDataset | None
    device: torch.device
    classes: list[ClassMap]
    kept: ClassMap | None
    facts: DataFacts


@dataclass
class SettledRun:
    """A run whose settings are numbers, and what was found on the way.

    per_epoch, total  optimiser steps of an epoch and of the whole
    """

    run: Run
    precision: Precision
    device: torch.device
    train_data: DetectionDataset
    val_data: DetectionDataset | None
    unlabelled: DetectionDataset | None
    loader: BatchLoader
    per_epoch: int
    total: int

    @property
    def splits(self) -> dict[str, DetectionDataset | None]:
        """Everything that is read, by the name of the split; None where there is none."""
        return {"train": self.train_data, "val": self.val_data, "unlabelled": self.unlabelled}


def settle(
    run: Run,
    say: Print,
    *,
    student: Detector | None = None,
    teachers: Sequence[Detector | None] = (),
    rank: int = 0,
    world: int = 1,
) -> SettledRun:
    """Opens the data and replaces what only data and device can decide; the rest as for `prepare`."""
    device = choose_device(run.train.device)
    for choice in run.choices.values():
        check_method(choice.name, choice.options)  # known at once, not after minutes of reading
    train_data, val_data = open_splits(run, report=say)
    unlabelled = None
    if run.data.unlabelled is not None:
        beside = [split for split in (train_data, val_data) if split is not None]
        unlabelled = open_unlabelled(run.data.unlabelled, beside, bad_data=run.data.bad_data, report=say)
    run = choose_batch(run, train_data, device, say, student=student, teachers=teachers, world=world)
    loader = training_batches(run.data, train_data, run.train, rank, world, unlabelled=unlabelled)
    per_epoch = len(loader.batch_sampler)
    total = count_steps(run.train, per_epoch)
    run, precision = resolve_auto(run, total, device)
    return SettledRun(run, precision, device, train_data, val_data, unlabelled, loader, per_epoch, total)


def prepare(
    run: Run,
    student: Detector | None,
    teacher: Detector | Sequence[Detector | None] | None,
    checkpoint: Checkpoint | None,
    rank: int,
    world: int,
    say: Print,
) -> PreparedRun:
    """Opens the data, builds or loads the detectors and makes the lanes, as process `rank` of `world`; see `fit`.

    Raises UserError for data, detectors or settings that cannot be used, and for a checkpoint of another run.
    """
    given = [teacher] if isinstance(teacher, Detector) else teacher or []
    settled = settle(run, say, student=student, teachers=given, rank=rank, world=world)
    run, precision, device = settled.run, settled.precision, settled.device
    train_data, val_data, total, per_epoch = settled.train_data, settled.val_data, settled.total, settled.per_epoch
    if checkpoint is not None:
        # Settled again: a version that wrote less down left out what was not set.
        saved, _ = resolve_auto(check_run(checkpoint["run"]), total, device)
        demand_same_run(plain_run(saved), plain_run(run))
        demand_same_data(checkpoint["history"].get("identity", {}), settled.splits)

    student, kept = make_student(run, train_data.classes, say, given=student)
    teachers = make_teachers(run, train_data.classes, precision, say, given, kept.teacher if kept else ())
    classes = match_teachers(teachers, train_data.classes)
    facts = describe_data(run, settled.splits, per_epoch, describe_teachers(teachers, classes))
    if checkpoint is not None:
        _demand_same_facts(checkpoint["history"]["data"], facts)
    lanes = make_lanes(run, train_data.classes, teachers, total, student=student)
    module = Lanes(
        lanes,
        teachers,
        total=total,
        per_epoch=per_epoch,
        first_part=first_part(run.data, total, per_epoch),
        multi_scale=multi_scale(run.data, run.train.seed),
        shares_every=run.train.shares_every,
        seed=run.train.seed,
        precision=precision,
    )
    if precision.channels_last:
        module.methods.to(memory_format=torch.channels_last)
    if checkpoint is None:
        history = _begin(module, settled.splits, facts)
    else:
        history = _continue(checkpoint, module, facts, say)
    evaluator = None
    if val_data is not None:
        evaluator = Evaluator(run.data, val_data, device=device, precision=precision, rank=rank, world=world)
    if rank == 0:
        for line in summarise_run(train_data, val_data, run.data.largest, settled.unlabelled):
            say(line)
    say(_headline(run, facts, total, device, precision.name))
    return PreparedRun(run, module, history, evaluator, settled.loader, val_data, device, classes, kept, facts)


def _demand_same_facts(saved: DataFacts, facts: DataFacts) -> None:
    """Raises UserError for data or teachers that are not those of the checkpoint."""
    before = _with_class_map(saved, facts)
    demand_same_teachers(before.get("teacher_weights", {}), facts.get("teacher_weights", {}))
    demand_same_run({"data": before}, {"data": facts})


def _with_class_map(saved: DataFacts, facts: DataFacts) -> DataFacts:
    """What a checkpoint says of its data; earlier versions left out the map of a teacher with the same classes.

    The maps follow from the classes, the teachers' weights and `class_map`, which are compared.
    """
    return {**saved, "class_map": facts["class_map"] | saved.get("class_map", {})}


def _begin(module: Lanes, splits: Mapping[str, DetectionDataset | None], facts: DataFacts) -> History:
    """The history of a run that begins: what it is made of."""
    return History(data=facts, identity=identify(splits, module.lanes[0].method.student, module.teachers))


def _continue(checkpoint: Checkpoint, module: Lanes, facts: DataFacts, say: Print) -> History:
    """Puts the lanes where the checkpoint was taken, and says where that is; what was measured until then.

    Raises UserError for the state of other lanes, and for other detectors.
    """
    history = History(**checkpoint["history"])
    if checkpoint["step"] > module.total:
        raise UserError(
            f"last.ckpt stands at step {checkpoint['step']} of a run of {module.total} steps: it is not of this run. "
            "Give the folder of its own run."
        )
    try:
        module.load_state(checkpoint)
    except (RuntimeError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise UserError(
            f"last.ckpt does not hold the state of this run's lanes ({reason(error)}): it is damaged, or of another "
            "run. Start a new run, if you like from the weights beside it: --student FOLDER/student.safetensors."
        ) from error
    for name, recorder in module.recorders.items():
        recorder.terms = list(
            history.terms.get(name, {})
        )  # those that rest when it goes on are 0, as in an unbroken run
    if not history.identity:
        say("last.ckpt was written before checksums: whether data and detectors are still the same is not checked.")
    if not history.finished:
        say(f"The run goes on from step {module.step} of {module.total}.")
    history.data = facts
    demand_same_detectors(history.identity, module.lanes[0].method.student, module.teachers)
    return history


def check_lanes(prepared: PreparedRun) -> list[Table]:
    """The pairing tables of the lanes that distil. Raises UserError if a lane does not do what it says."""
    module = prepared.module
    for teacher in module.teachers:
        teacher.to(prepared.device)
    prepared.loader.batch_sampler.start(0, 0)
    batches = list(with_objects(prepared.loader))
    tables = []
    for lane in module.lanes:
        rows = check_lane(
            lane.name,
            lane.method,
            lane_teachers(lane.name, prepared.run.choices[lane.name], module.teachers),
            batches,
            module.total,
            first_drop=lane.rate.first_drop,
            device=prepared.device,
            precision=module.precision,
        )
        if rows:
            tables.append(pairing_table(rows, title=f"Lane {lane.name}: what imitates what"))
    return tables


def _headline(run: Run, facts: DataFacts, total: int, device: torch.device, precision: str) -> str:
    epochs = total / facts["steps_per_epoch"]
    return (
        f"{total} steps ({epochs:.3g} epochs) of {run.data.batch} images on {device}, {precision}; "
        f"{run.train.optimizer} at lr {run.train.lr:.3g}, warmup {run.train.warmup} steps, seed {run.train.seed}"
    )
