"""A run from its settings to its folder: prepare, check, train, evaluate, save."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from headstart import terminal
from headstart.atomic import atomically
from headstart.config import Run
from headstart.detectors.detector import Detector
from headstart.engine.batches import ResumableBatches
from headstart.engine.build import lane_teachers
from headstart.engine.callback import RunCallback, ScalarWriter
from headstart.engine.data_facts import count_images
from headstart.engine.display import Display, Print
from headstart.engine.evaluator import Evaluator
from headstart.engine.fine_tune import list_classes
from headstart.engine.folder import RUN, RunFolder, choose_folder, demand_free, new_folder, remove_unfinished
from headstart.engine.interrupt import Interrupt, Interrupted
from headstart.engine.memory import keep_freed_memory
from headstart.engine.metrics import MetricsFile
from headstart.engine.outcome import Outcome, finish
from headstart.engine.prepare import PreparedRun, check_lanes, prepare
from headstart.engine.resume import Checkpoint
from headstart.engine.strategy import build_trainer, place_among_processes
from headstart.engine.teacher import compare_classes, measure_teacher
from headstart.engine.teacher_cache import open_stores, say_sizes
from headstart.engine.thresholds import choose_thresholds
from headstart.errors import UserError
from headstart.recipe import dump_run
from headstart.report.table import show


def fit(
    run: Run,
    *,
    student: Detector | None = None,
    teacher: Detector | Sequence[Detector | None] | None = None,
    checkpoint: Checkpoint | None = None,
    folder: Path | None = None,
    quiet: bool = False,
    dry_run: bool = False,
) -> Outcome:
    """Trains what `run` says.

    student, teacher     detectors made by hand, in place of those that the run names; of several teachers a list, in
                         which None leaves a place to the run
    checkpoint, folder   continue this state in this folder; the settings must be those that it was started with.
                         A folder alone: begin in it
    quiet                print nothing
    dry_run              stop after the checks, and say what would be trained: nothing is written, the outcome has no
                         folder, and its students are those that the training would begin with

    Raises UserError for whatever cannot work, and Interrupted after Ctrl-C, when everything is saved.
    """
    keep_freed_memory()
    rank, world = place_among_processes(run.train.devices)
    say: Print = terminal.say if rank == 0 and not quiet else lambda text: None
    if rank == 0 and folder is None and run.name is not None:
        demand_free(Path(run.out) / run.name)  # known at once, not after minutes of preparation
    prepared = prepare(run, student, teacher, checkpoint, rank, world, say)
    if prepared.history.finished:
        say(f"{folder} is finished ({prepared.module.step} steps); there is nothing to continue.")
        written = None if dry_run else folder
        return finish(prepared.run, prepared.module, prepared.history, prepared.facts, written, say)

    if rank == 0:
        pairs = list(zip(prepared.module.teachers, prepared.classes))
        tables = [] if prepared.kept is None else [list_classes(prepared.kept)]
        tables += [table for each, classes in pairs for table in compare_classes(classes, say, each.title)]
        choose_thresholds(prepared, say)
        tables += check_lanes(prepared)
        if folder is None and not dry_run:
            folder = new_folder(Path(prepared.run.out), prepared.run.name, _proposal(prepared.run))
        if folder is not None and not dry_run:
            _open_folder(folder, prepared.run, say)
        if not quiet:
            show(*tables)
        say_sizes(prepared.run, prepared.module.teachers, count_images(prepared.facts), say)
        if not dry_run:
            _measure_teachers(prepared, say)
    if dry_run:
        _say_plan(prepared, folder, say)
        return finish(prepared.run, prepared.module, prepared.history, prepared.facts, None, say)

    open_stores(prepared.module.teachers, say)
    callback = _make_callback(prepared, folder if rank == 0 else None, silent=quiet or rank > 0)
    _train(prepared, callback, folder)
    written = folder if rank == 0 else None
    return finish(prepared.run, prepared.module, prepared.history, prepared.facts, written, say)


def _say_plan(prepared: PreparedRun, folder: Path | None, say: Print) -> None:
    """What a run that passed its checks would train, and where."""
    run, module = prepared.run, prepared.module
    place = folder or choose_folder(Path(run.out), run.name, _proposal(run))
    say("Dry run: everything was checked, nothing was trained or written. It would train")
    for lane in module.lanes:
        student = lane.method.student
        taught = lane_teachers(lane.name, run.choices[lane.name], module.teachers)
        beside = f", with {' and '.join(teacher.name for teacher in taught)}" if taught else ""
        numbers = sum(p.numel() for p in student.parameters())
        learned = sum(p.numel() for p in lane.parameters)
        say(
            f"- lane {lane.name}: {run.student.name or run.student.file}, {numbers / 1e6:.1f} million parameters "
            f"({learned / 1e6:.1f} million trained, with the method's own), by {run.choices[lane.name].name}{beside}"
        )
    evaluations = len(evaluation_steps(prepared, module.step))
    rounds = f"{evaluations} evaluation{'s' * (evaluations != 1)}"
    say(f"for {module.total - module.step} steps with {rounds}, in {place}")


def evaluation_steps(prepared: PreparedRun, after: int = 0) -> list[int]:
    """The steps later than `after` at which all lanes are evaluated."""
    module, every = prepared.module, prepared.run.train.eval_every
    if prepared.evaluator is None:
        return []
    steps = range(module.per_epoch * every, module.total, module.per_epoch * every)
    return [step for step in (*steps, module.total) if step > after]


def _open_folder(folder: Path, run: Run, say: Print) -> None:
    remove_unfinished(folder)
    with atomically(folder / RUN) as partial:
        partial.write_text(dump_run(run), encoding="utf-8")
    say(f"Run folder: {folder}")


def _measure_teachers(prepared: PreparedRun, say: Print) -> None:
    """The scores of those teachers that have none yet, on all validation images, in this process alone."""
    teachers = prepared.history.teachers
    missing = [pair for pair in zip(prepared.module.teachers, prepared.classes) if pair[0].name not in teachers]
    if prepared.val_data is None or not missing:
        return
    precision = prepared.module.precision
    whole = Evaluator(prepared.run.data, prepared.val_data, device=prepared.device, precision=precision)
    for teacher, classes in missing:
        say(f"evaluating {teacher.title}: {len(prepared.val_data)} images")
        teachers[teacher.name] = measure_teacher(teacher, classes, whole, say)


def _make_callback(prepared: PreparedRun, folder: Path | None, *, silent: bool) -> RunCallback:
    run, module = prepared.run, prepared.module
    names = tuple(lane.name for lane in module.lanes)
    files = RunFolder(folder, names) if folder is not None else None
    writer = None
    if run.train.tensorboard and folder is not None:
        writer = _tensorboard(folder)
    return RunCallback(
        run,
        module,
        prepared.history,
        Display(
            list(names),
            module.total,
            module.per_epoch,
            int(run.data.batch),
            evaluations=evaluation_steps(prepared),
            silent=silent,
        ),
        Interrupt(),
        evaluator=prepared.evaluator,
        folder=files,
        metrics=MetricsFile(files.metrics, keep_until=module.step) if files else None,
        writer=writer,
    )


def _train(prepared: PreparedRun, callback: RunCallback, folder: Path | None) -> None:
    module = prepared.module
    callback.interrupt.install()
    try:
        if module.step < module.total:
            trainer = build_trainer(prepared.device, prepared.run.train.devices, [callback])
            trainer.fit(module, train_dataloaders=ResumableBatches(prepared.loader, module.total, module.step))
        else:  # killed between the last step and its evaluation
            module.to(prepared.device)
            callback.evaluate_if_due()
    except Interrupted:
        if callback.folder is None:
            raise
        verb = "distill" if prepared.run.distils else "train"
        if not callback.folder.last.exists():
            raise Interrupted(
                f"Stopped before anything was saved. Begin again with: headstart {verb} --resume {folder}"
            ) from None
        raise Interrupted(
            f"Stopped after step {callback.saved} of {module.total}; everything up to there is in {folder}.\n"
            f"Continue with: headstart {verb} --resume {folder}"
        ) from None
    finally:
        callback.interrupt.restore()  # only now: Lightning, leaving, gives the signals back to us


def _tensorboard(folder: Path) -> ScalarWriter:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise UserError("train.tensorboard needs the package: pip install 'headstart[tensorboard]'.") from None
    return SummaryWriter(str(folder))


def _proposal(run: Run) -> str:
    """What a run without a name is called: its methods that distil, and its student."""
    student = run.student.name or Path(run.student.file or "student").stem
    return "-".join([*(name for name, method in run.choices.items() if method.distils), student])
