"""The teacher of a run: loaded whole, frozen, and measured before anybody learns from it."""

from __future__ import annotations

import copy
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import torch
from rich.table import Table
from torch import nn

from headstart.classmap import LEFT_OUT, ClassMap, shorten
from headstart.config import Run
from headstart.detectors.detector import Detector
from headstart.engine.build import make_detector, start_generators
from headstart.engine.precision import Precision
from headstart.engine.score import Scoreboard
from headstart.folding import fold_batchnorm
from headstart.methods.base import Frozen
from headstart.report.table import listing

WEAK = 20.0
"""AP50 below which a teacher is called weak."""


def make_teacher(
    run: Run, classes: Sequence[str], precision: Precision, say: Callable[[str], None], given: Detector | None = None
) -> Frozen | None:
    """A copy of the given detector, or the one that the run names, frozen; None for a run without a teacher."""
    if given is not None:
        model = copy.deepcopy(given)
    elif run.teacher is not None:
        start_generators(run.train.seed)
        model = make_detector(run.teacher, classes, "teacher", say)
    else:
        return None
    if run.train.fast_teacher:
        quicken(model, precision, say)
    return Frozen(model, run.class_map)


def quicken(model: Detector, precision: Precision, say: Callable[[str], None]) -> None:
    """Folds the backbone's batch norms and, in a run of bf16, stores convolutions and linear layers in it.

    Autocast would cast frozen weights again for every batch, with the same result.
    """
    model.backbone, sentence = fold_batchnorm(model.backbone)
    say(f"Teacher: {sentence}")
    if precision.dtype is not None:
        for part in (model.backbone, model.neck, *filter(_is_cast, model.head.modules())):
            part.to(precision.dtype)
    if precision.channels_last:
        model.to(memory_format=torch.channels_last)


def _is_cast(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Conv2d | nn.Linear)


def fingerprint(model: nn.Module) -> str:
    """Eight hexadecimal digits that change with any of its weights."""
    found = 0
    for value in model.state_dict().values():
        found = zlib.crc32(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy(), found)
    return f"{found:08x}"


def matched_classes(classes: ClassMap | None) -> dict[str, Any]:
    """What results.json says of a teacher with other classes: `class_map`, its class -> the student's."""
    if classes is None or classes.identical:
        return {}
    pairs = zip(classes.teacher, classes.goal)
    return {"class_map": {name: classes.student[number] for name, number in pairs if number != LEFT_OUT}}


def compare_classes(classes: ClassMap | None, say: Callable[[str], None]) -> list[Table]:
    """The table of classes to print, none if both sides have the same; says what the teacher does not know."""
    if classes is None or (classes.identical and classes.teacher == classes.student):
        return []
    unknown = classes.unmatched_student
    if unknown:
        say(
            f"Warning: the teacher knows {len(classes.known)} of the {len(classes.student)} classes, and not "
            f"{shorten(unknown)}. Where only the names differ, --class-map FILE says which belong together."
        )
    return [listing(classes.describe(), title="Classes of student and teacher")]


def measure_teacher(
    teacher: Frozen, classes: ClassMap | None, board: Scoreboard, say: Callable[[str], None]
) -> dict[str, Any]:
    """The teacher's own scores on the validation images, in the student's classes, of which those that it knows count.

    Says them, and what to think of a weak teacher.
    """
    metrics = board.score(teacher.model, classes=classes)
    teacher.forget()
    shown = ", ".join(f"{k} {metrics[k]:.1f}" for k in ("AP", "AP50", "AP75") if metrics[k] is not None)
    some = ""
    if classes is not None and classes.unmatched_student:
        some = f" ({len(classes.known)} of {len(classes.student)} classes)"
    say(f"Teacher on the validation images{some}: {shown or 'nothing to find there'}")
    if metrics["AP50"] is not None and metrics["AP50"] < WEAK:
        say(
            f"Warning: this teacher finds little here (AP50 {metrics['AP50']:.1f}), so a student can hardly gain from "
            "it. Was it trained on this kind of data?"
        )
    return metrics
