"""The teachers of a run: loaded whole, frozen, and measured before anybody learns from them."""

from __future__ import annotations

import copy
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch
from rich.table import Table
from torch import nn

from headstart.classmap import LEFT_OUT, ClassMap, find_class, shorten
from headstart.config import DetectorChoice, Run
from headstart.detectors.detector import Detector
from headstart.engine.detectors import make_detector, start_generators
from headstart.engine.display import Print
from headstart.engine.evaluator import Evaluator
from headstart.engine.fine_tune import STUDENTS_FILE
from headstart.engine.precision import Precision
from headstart.engine.teacher_cache import make_frozen, make_store
from headstart.errors import UserError, did_you_mean
from headstart.evaluation.metrics import Metrics
from headstart.folding import fold_batchnorm
from headstart.report.results import TeacherFacts
from headstart.report.table import listing
from headstart.teachers import TEACHER, Frozen, OwnSize

WEAK = 20.0
"""AP50 below which a teacher is called weak."""


def make_teachers(
    run: Run,
    classes: Sequence[str],
    precision: Precision,
    say: Print,
    given: Sequence[Detector | None] = (),
    beside: Sequence[str] = (),
) -> list[Frozen]:
    """The teachers that the run names, frozen, each with a name of its own.

    given   copies of these detectors stand in the places of the run's; None leaves a place to the run
    beside  classes of the student's file, of which the run's class map may speak too
    """
    choices = run.teachers
    by_hand: Sequence[Detector | None] = given or [None] * len(choices)
    if len(by_hand) != len(choices):
        raise UserError(f"the run names {len(choices)} teachers, but {len(by_hand)} were handed over; give as many.")
    models = []
    for choice, detector in zip(choices, by_hand):
        start_generators(run.train.seed)
        model = make_detector(choice, classes, TEACHER, say) if detector is None else copy.deepcopy(detector)
        models.append(model)
    names = name_teachers(models, choices, run.choices)
    maps = share_class_map(run.class_map or {}, [model.classes for model in models], beside)
    teachers = []
    for choice, model, own, name in zip(choices, models, maps, names):
        sentence = prepare_frozen(model, precision) if run.train.fast_teacher else ""
        size = OwnSize(choice.imgsz, run.data.sides[1]) if choice.imgsz is not None else None
        weights = fingerprint(model) if choice.cache else ""
        store = make_store(run, choice, model, weights, precision, size, say)
        teachers.append(make_frozen(model, own, name, size, store))
        if sentence:
            say(f"{_opening(teachers[-1])}: {sentence}")
    return teachers


def name_teachers(models: Sequence[Detector], choices: Sequence[DetectorChoice], lanes: Iterable[str]) -> list[str]:
    """`teacher` for the only one; several are called by their family or file, with a number where that is taken."""
    if len(models) == 1:
        return [TEACHER]
    names: list[str] = []
    for model, choice in zip(models, choices):
        word = str(model.recipe.get("name") or (Path(choice.file).stem if choice.file else "detector"))
        name, number = word, 1
        while name in {*names, *lanes, TEACHER}:
            number += 1
            name = f"{word}-{number}"
        names.append(name)
    return names


def _opening(teacher: Frozen) -> str:
    """How a sentence about this teacher begins."""
    return teacher.title[:1].upper() + teacher.title[1:]


def share_class_map(
    given: Mapping[str, str | None], teachers: Sequence[Sequence[str]], beside: Sequence[str] = ()
) -> list[dict[str, str | None]]:
    """For each teacher what is said of its classes; `beside` are those of a student's file.

    Raises UserError for a name that none of several detectors has.
    """
    if len(teachers) + bool(beside) < 2:
        return [dict(given) for _ in teachers]
    shares: list[dict[str, str | None]] = [{} for _ in teachers]
    for name, goal in given.items():
        owners = [share for share, classes in zip(shares, teachers) if find_class(name, classes, TEACHER) is not None]
        if not owners and (not beside or find_class(name, beside, STUDENTS_FILE) is None):
            every = list(dict.fromkeys(name for classes in (*teachers, beside) for name in classes))
            who = "neither teacher nor student's file has" if beside else "no teacher has"
            raise UserError(f"class map: {who} a class {name!r}{did_you_mean(name, every, quoted=True)}")
        for share in owners:
            share[name] = goal
    return shares


def prepare_frozen(model: Detector, precision: Precision) -> str:
    """Folds the backbone's batch norms and, in a run of bf16, stores convolutions and linear layers in it.

    Autocast would cast these weights again for every batch, with the same result to the bit. Everything else stays in
    float32, because autocast computes with it as it is: norms, tables of positions, scales, deformable convolutions.
    Changes `model` in place, and gives a sentence on the folding.
    """
    model.backbone, sentence = fold_batchnorm(model.backbone)
    if precision.dtype is not None:
        for layer in filter(_autocast_casts, model.modules()):
            layer.to(precision.dtype)
    if precision.channels_last:
        model.to(memory_format=torch.channels_last)
    return sentence


def _autocast_casts(layer: nn.Module) -> bool:
    """Whether autocast casts all that the layer holds.

    Of these very classes only: what inherits from them may compute with its weights first (timm's StdConv2d takes off
    their mean), and so may one whose weights are made of others (weight norm).
    """
    names = {name for name, _ in layer.named_parameters(recurse=False)}
    return type(layer) in (nn.Conv2d, nn.Linear) and names <= {"weight", "bias"}


def fingerprint(model: nn.Module) -> str:
    """Eight hexadecimal digits that change with any of its weights."""
    found = 0
    for value in model.state_dict().values():
        found = zlib.crc32(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy(), found)
    return f"{found:08x}"


def match_teachers(teachers: Sequence[Frozen], classes: Sequence[str]) -> list[ClassMap]:
    """Which of the student's classes those of each teacher stand for. Raises UserError if none does."""
    found = []
    for teacher in teachers:
        try:
            found.append(teacher.match(classes))
        except UserError as error:
            raise UserError(str(error) if len(teachers) == 1 else f"{teacher.title}: {error}") from None
    return found


def describe_teachers(teachers: Sequence[Frozen], classes: Sequence[ClassMap]) -> TeacherFacts:
    """What results.json says of them under `data`: by name, checksums of weights, and what their classes stand for.

    A run that is continued must find the same.
    """
    facts = TeacherFacts(class_map={teacher.name: _pairs(own) for teacher, own in zip(teachers, classes)})
    if teachers:
        facts["teacher_weights"] = {teacher.name: fingerprint(teacher.model) for teacher in teachers}
    return facts


def _pairs(classes: ClassMap) -> dict[str, str]:
    """Teacher's class -> student's class."""
    pairs = zip(classes.teacher, classes.goal)
    return {name: classes.student[number] for name, number in pairs if number != LEFT_OUT}


def compare_classes(classes: ClassMap, say: Print, title: str = TEACHER) -> list[Table]:
    """The table of classes to print, none if both sides have the same; says what the teacher does not know."""
    if classes.identical and classes.teacher == classes.student:
        return []
    unknown = classes.unmatched_student
    if unknown:
        say(
            f"Warning: the {title} knows {len(classes.known)} of the {len(classes.student)} classes, and not "
            f"{shorten(unknown)}. Where only the names differ, --class-map FILE says which belong together."
        )
    return [listing(classes.describe(), title=f"Classes of student and {title}")]


def measure_teacher(teacher: Frozen, classes: ClassMap, evaluator: Evaluator, say: Print) -> Metrics:
    """The teacher's own scores on the validation images, in the student's classes, of which those that it knows count.

    Says them, and what to think of a weak teacher.
    """
    metrics = evaluator.score(teacher.scored, classes=classes)
    teacher.clear()
    shown = ", ".join(f"{k} {metrics[k]:.1f}" for k in ("AP", "AP50", "AP75") if metrics[k] is not None)
    some = ""
    if classes.unmatched_student:
        some = f" ({len(classes.known)} of {len(classes.student)} classes)"
    say(f"{_opening(teacher)} on the validation images{some}: {shown or 'nothing to find there'}")
    if metrics["AP50"] is not None and metrics["AP50"] < WEAK:
        say(
            f"Warning: this {teacher.title} finds little here (AP50 {metrics['AP50']:.1f}), so a student can hardly "
            "gain from it. Was it trained on this kind of data?"
        )
    return metrics
