"""A run from its settings to its folder: build, prove, train, evaluate, save."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from headstart.classmap import ClassMap
from headstart.config import Run
from headstart.detectors.detector import Detector
from headstart.engine.build import count_steps, lane_teachers, make_lanes, open_splits, resolve_auto, training_batches
from headstart.engine.display import Display
from headstart.engine.batches import ResumableBatches
from headstart.engine.folder import RunFolder, atomically, demand_free, new_folder
from headstart.engine.guards import prove, with_objects
from headstart.engine.interrupt import Interrupt, Interrupted
from headstart.engine.callback import History, RunCallback
from headstart.engine.memory import keep_freed_memory
from headstart.engine.metrics import MetricsFile
from headstart.engine.module import Lanes
from headstart.engine.outcome import Outcome, finish
from headstart.engine.resume import demand_same_run
from headstart.engine.evaluator import Evaluator
from headstart.engine.strategy import build_trainer, choose_device, place_among_processes
from headstart.engine.teacher import (
    compare_classes,
    describe_teachers,
    make_teachers,
    match_teachers,
    measure_teacher,
)
from headstart.errors import UserError
from headstart.recipe import dump_run, plain_run
from headstart.report.table import pairing_table, show

Say = Callable[[str], None]


def fit(
    run: Run,
    *,
    student: Detector | None = None,
    teacher: Detector | Sequence[Detector | None] | None = None,
    checkpoint: dict[str, Any] | None = None,
    folder: Path | None = None,
    quiet: bool = False,
) -> Outcome:
    """Trains what `run` says.

    student, teacher     detectors made by hand, in place of those that the run names; of several teachers a list, in
                         which None leaves a place to the run
    checkpoint, folder   continue this state in this folder; the settings must be those that it was started with
    quiet                print nothing

    Raises UserError for whatever cannot work, and Interrupted after Ctrl-C, when everything is saved.
    """
    keep_freed_memory()
    rank, world = place_among_processes(run.train.devices)
    say: Say = print if rank == 0 and not quiet else lambda text: None
    if rank == 0 and folder is None and run.name is not None:
        demand_free(Path(run.out) / run.name)  # known at once, not after minutes of preparation
    stage = _build(run, student, teacher, checkpoint, rank, world, say)
    if stage.journal.finished:
        say(f"{folder} is finished ({stage.module.total} steps); there is nothing to continue.")
        return finish(stage.run, stage.module, stage.journal, stage.facts, folder, say)

    if rank == 0:
        pairs = list(zip(stage.module.teachers, stage.classes))
        tables = [table for guide, classes in pairs for table in compare_classes(classes, say, guide.title)]
        tables += _prove(stage)
        if folder is None:
            folder = new_folder(Path(stage.run.out), stage.run.name, _proposal(stage.run))
        _open_folder(folder, stage, say)
        if not quiet:
            show(*tables)
        unknown = [(guide, classes) for guide, classes in pairs if guide.name not in stage.journal.teachers]
        if stage.board is not None and unknown:
            whole = Evaluator(stage.run.data, stage.val_data, device=stage.device, precision=stage.module.precision)
            for guide, classes in unknown:
                stage.journal.teachers[guide.name] = measure_teacher(guide, classes, whole, say)

    keeper = _make_keeper(stage, folder if rank == 0 else None, silent=quiet or rank > 0)
    _train(stage, keeper, folder)
    return finish(stage.run, stage.module, stage.journal, stage.facts, folder if rank == 0 else None, say)


@dataclass
class _Stage:
    """Everything that a run has before it begins."""

    run: Run
    module: Lanes
    journal: History
    board: Evaluator | None
    loader: Any
    val_data: Any
    device: torch.device
    classes: list[ClassMap]
    facts: dict[str, Any]


def _build(
    run: Run,
    student: Detector | None,
    teacher: Detector | Sequence[Detector | None] | None,
    checkpoint: dict[str, Any] | None,
    rank: int,
    world: int,
    say: Say,
) -> _Stage:
    train_data, val_data = open_splits(run, report=say)
    loader = training_batches(run.data, train_data, run.train.seed, rank, world)
    per_epoch = len(loader.batch_sampler)
    total = count_steps(run.train, per_epoch)
    device = choose_device(run.train.device)
    run, precision = resolve_auto(run, total, device)
    facts: dict[str, Any] = {
        "path": str(run.data.path),
        "name": train_data.name,
        "classes": list(train_data.classes),
        "train_images": len(train_data),
        "val_images": len(val_data) if val_data is not None else None,
        "batch": run.data.batch,
        "steps_per_epoch": per_epoch,
        "seed": run.train.seed,
    }
    if checkpoint is not None:
        demand_same_run(checkpoint["run"], plain_run(run))

    given = [teacher] if isinstance(teacher, Detector) else teacher or []
    guides = make_teachers(run, train_data.classes, precision, say, given)
    classes = match_teachers(guides, train_data.classes)
    facts |= describe_teachers(guides, classes)
    if checkpoint is not None:
        demand_same_run({"data": checkpoint["journal"]["data"]}, {"data": facts})
    lanes = make_lanes(run, train_data.classes, guides, total, student=student, say=say)
    module = Lanes(lanes, guides, total=total, per_epoch=per_epoch, seed=run.train.seed, precision=precision)
    if precision.channels_last:
        module.methods.to(memory_format=torch.channels_last)
    journal = History(data=facts)
    if checkpoint is not None:
        module.load_state(checkpoint)
        journal = History(**checkpoint["journal"])
    board = None
    if val_data is not None:
        board = Evaluator(run.data, val_data, device=device, precision=precision, rank=rank, world=world)
    say(_headline(run, facts, total, device, precision.name))
    return _Stage(run, module, journal, board, loader, val_data, device, classes, facts)


def _prove(stage: _Stage) -> list[Any]:
    """The pairing tables of the lanes that distil. Raises UserError if a lane does not do what it says."""
    for teacher in stage.module.teachers:
        teacher.to(stage.device)
    sampler = stage.loader.batch_sampler
    sampler.start(0, 0)
    batches = list(with_objects(stage.loader))
    tables = []
    for lane in stage.module.lanes:
        rows = prove(
            lane.name,
            lane.method,
            lane_teachers(lane.name, stage.run.choices[lane.name], stage.module.teachers),
            batches,
            stage.module.total,
            first_drop=lane.rate.first_drop,
            device=stage.device,
            precision=stage.module.precision,
        )
        if rows:
            tables.append(pairing_table(rows, title=f"Lane {lane.name}: what imitates what"))
    return tables


def _open_folder(folder: Path, stage: _Stage, say: Say) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with atomically(folder / "run.yaml") as partial:
        partial.write_text(dump_run(stage.run), encoding="utf-8")
    say(f"Run folder: {folder}")


def _make_keeper(stage: _Stage, folder: Path | None, *, silent: bool) -> RunCallback:
    run, module = stage.run, stage.module
    names = tuple(lane.name for lane in module.lanes)
    files = RunFolder(folder, names) if folder is not None else None
    writer = None
    if run.train.tensorboard and folder is not None:
        writer = _tensorboard(folder)
    return RunCallback(
        stage.journal,
        Display(list(names), module.total, module.per_epoch, run.data.batch, silent=silent),
        Interrupt(),
        settings=plain_run(run),
        board=stage.board,
        folder=files,
        metrics=MetricsFile(files.metrics, keep_until=module.step) if files else None,
        writer=writer,
    )


def _train(stage: _Stage, keeper: RunCallback, folder: Path | None) -> None:
    module = stage.module
    keeper.interrupt.install()
    try:
        if module.step < module.total:
            trainer = build_trainer(stage.device, stage.run.train.devices, [keeper])
            trainer.fit(module, train_dataloaders=ResumableBatches(stage.loader, module.total, module.step))
        else:  # killed between the last step and its evaluation
            module.to(stage.device)
            keeper.evaluate_if_due(module)
    except Interrupted:
        if keeper.folder is None:
            raise
        if not keeper.folder.last.exists():
            raise Interrupted("Stopped before anything was saved.") from None
        verb = "distill" if stage.run.distils else "train"
        raise Interrupted(
            f"Stopped after step {keeper.saved} of {module.total}; everything up to there is in {folder}.\n"
            f"Continue with: headstart {verb} --resume {folder}"
        ) from None
    finally:
        keeper.interrupt.restore()  # only now: Lightning, leaving, gives the signals back to us


def _tensorboard(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise UserError("train.tensorboard needs the package: pip install 'headstart[tensorboard]'.") from None
    return SummaryWriter(str(folder))


def _proposal(run: Run) -> str:
    student = run.student.name or Path(run.student.file or "student").stem
    return "-".join([*(name for name, method in run.choices.items() if method.distils), student])


def _headline(run: Run, facts: dict[str, Any], total: int, device: torch.device, precision: str) -> str:
    images = f"{facts['train_images']} training images"
    if facts["val_images"] is not None:
        images += f", {facts['val_images']} validation images"
    epochs = total / facts["steps_per_epoch"]
    return (
        f"{facts['name']}: {images}, {len(facts['classes'])} classes\n"
        f"{total} steps ({epochs:.3g} epochs) of {run.data.batch} images on {device}, {precision}; "
        f"{run.train.optimizer} at lr {run.train.lr:.3g}, warmup {run.train.warmup} steps, seed {run.train.seed}"
    )
