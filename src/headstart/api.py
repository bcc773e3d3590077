"""Training from Python: the functions behind the commands, with the commands' names and options."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from headstart.config import GIVEN, Run
from headstart.early import look_first
from headstart.engine.folder import RUN, find_run
from headstart.errors import UserError
from headstart.recipe import apply_overrides, check_run, load_run, place_options, plain_run, read_yaml

if TYPE_CHECKING:  # importing torch takes seconds, and a mistake shall be answered before
    from headstart.detectors.detector import Detector
    from headstart.engine.outcome import Outcome
    from headstart.engine.resume import Checkpoint

Teacher: TypeAlias = "str | Path | Detector"


@dataclass(frozen=True)
class Modules:
    """Detectors that were handed over in Python; of the teachers None where a file or a name stands for one."""

    student: Detector | None
    teachers: list[Detector | None]


@dataclass(frozen=True)
class Manner:
    """How `fit` goes about it: `quiet` prints nothing, `dry_run` stops after the checks."""

    quiet: bool
    dry_run: bool


def train(
    data: str | Path | None = None,
    student: str | Detector | None = None,
    *,
    recipe: str | Path | None = None,
    resume: str | Path | None = None,
    settings: Iterable[str] = (),
    quiet: bool = False,
    dry_run: bool = False,
    **options: object,
) -> Outcome:
    """Trains a detector without a teacher.

    data      folder of annotated images;  student  a name such as `retinanet_r18`, a file of weights, or a Detector
    recipe    a YAML file to begin with;   resume   a run's folder to continue;  settings  "a.b=c" overrides
    options   epochs, steps, schedule, batch, imgsz, split, lr, seed, name ... as `headstart train --help` lists them
    class_map among them: class of the student's file -> class of the data (None: none), where names do not match; or a
              file
    dry_run   check everything and say what would be trained, without training or writing anything

    Raises UserError for whatever cannot work, Interrupted after Ctrl-C (everything is saved by then).
    """
    chosen = {"data": data, "student": student, **options}
    return _start(chosen, recipe, resume, settings, Manner(quiet, dry_run))


def distill(
    data: str | Path | None = None,
    teacher: Teacher | Sequence[Teacher] | None = None,
    student: str | Detector | None = None,
    method: str | None = None,
    *,
    assistants: str | Sequence[str] | Mapping[str, object] | None = None,
    compare: bool | None = None,
    recipe: str | Path | None = None,
    resume: str | Path | None = None,
    settings: Iterable[str] = (),
    quiet: bool = False,
    dry_run: bool = False,
    **options: object,
) -> Outcome:
    """Trains a student that learns from a teacher by `method` (`head`, unless a recipe says otherwise).

    teacher   a file of weights that `train` wrote, or a Detector; or a list of several, for methods that take them
    assistants  for HEAD without a teacher: "auto", or the kinds of heads that are trained beside the student's
    compare   also train the same student without distillation beside it, on the same batches
    class_map class of a teacher, or of the student's file -> class of the data (None: left out), where names do not
              match by themselves; or a file
    The rest is as for `train`.
    """
    if method is None and recipe is None and resume is None and "lanes" not in options:
        method = "head"
    chosen = {"data": data, "teacher": teacher, "student": student, "method": method, "compare": compare}
    return _start(
        {**chosen, "assistants": assistants, **options}, recipe, resume, settings, Manner(quiet, dry_run), teach=True
    )


def read_settings(
    options: Mapping[str, object],
    recipe: str | Path | None = None,
    settings: Iterable[str] = (),
) -> Run:
    """The run that options, recipe and settings amount to."""
    if recipe is None:
        for name in ("data", "student"):
            if options.get(name) is None:
                raise UserError(f"Say what to train: {name} is missing (--{name}), and no recipe names it.")
    return load_run(recipe, place_options(options), settings)


def _start(
    options: Mapping[str, object],
    recipe: str | Path | None,
    resume: str | Path | None,
    settings: Iterable[str],
    manner: Manner,
    teach: bool = False,
) -> Outcome:
    modules = Modules(_one(options.get("student")), _some(options.get("teacher")))
    named = {name: _named(value) for name, value in options.items()}
    if resume is not None:
        if recipe is not None:
            raise UserError("A resumed run knows its settings: leave out --recipe, or start anew without --resume.")
        return _continue(Path(resume), named, settings, modules, manner)
    run = read_settings(named, recipe, settings)
    if teach and not run.distils:
        raise UserError(
            "distill needs a teacher: give --teacher FILE, weights that `headstart train` wrote, or --assistants auto "
            "to learn without one; and a method that uses it, such as --method head."
        )
    look_first(run)
    from headstart.engine.fit import fit

    return fit(run, student=modules.student, teacher=modules.teachers, **vars(manner))


def _continue(
    path: Path, options: Mapping[str, object], settings: Iterable[str], modules: Modules, manner: Manner
) -> Outcome:
    folder, found = find_run(path)
    from headstart.engine.fit import fit
    from headstart.engine.resume import load_checkpoint

    checkpoint = load_checkpoint(found) if found is not None else None
    tree = _written_settings(folder, checkpoint)
    apply_overrides(tree, place_options(options), settings)
    run = check_run(tree, f"--resume {path}")
    return fit(
        run,
        student=modules.student,
        teacher=modules.teachers,
        checkpoint=checkpoint,
        folder=folder,
        **vars(manner),
    )


def _written_settings(folder: Path, checkpoint: Checkpoint | None) -> dict[str, object]:
    """The settings in a run's folder.

    Where its run.yaml was edited, what changes nothing of the weights counts. Raises UserError naming all else.
    """
    written = folder / RUN
    if checkpoint is None:
        return read_yaml(written)
    if not written.exists():
        return dict(checkpoint["run"])
    from headstart.engine.resume import demand_same_run

    edited = plain_run(check_run(read_yaml(written), str(written)))
    demand_same_run(checkpoint["run"], edited, str(written))
    return edited


def _one(value: object) -> Detector | None:
    """The value itself if it is a detector, not the name of one or a file."""
    if value is None or isinstance(value, bool | int | float | str | Path | Mapping):
        return None
    from headstart.detectors.detector import Detector

    return value if isinstance(value, Detector) else None


def _some(value: object) -> list[Detector | None]:
    """The detectors among one or several teachers, in their places; nothing if there is none."""
    found = [_one(each) for each in (value if isinstance(value, list | tuple) else [value])]
    return found if any(each is not None for each in found) else []


def _named(value: object) -> object:
    """What a run can write down of an option's value."""
    if isinstance(value, list | tuple):
        return [_named(one) for one in value]
    if _one(value) is not None:
        return {"name": GIVEN}
    return str(value) if isinstance(value, Path) else value
