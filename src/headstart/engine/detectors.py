"""The detectors of a run: built by name, or read from a file."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import torch

from headstart.classmap import ClassMap, find_class
from headstart.config import GIVEN, DetectorChoice, Run
from headstart.detectors.detector import Detector
from headstart.detectors.weights.importing import NATIVE, open_detector
from headstart.detectors.zoo import build_detector
from headstart.engine.display import Print
from headstart.engine.fine_tune import STUDENTS_FILE, change_classes, tell_classes
from headstart.errors import UserError


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
        built = build_detector(choice.name or "", classes, backbone=choice.backbone, **options)
        if say is not None:
            for note in built.backbone.notes:
                say(f"The {who}'s {note}.")
        return built
    try:
        opened = open_detector(choice.file, read_as=choice.read_as, classes=choice.classes, entry=choice.entry)
    except UserError as error:
        raise UserError(f"{who}: {error}") from error
    if say is not None and opened.source != NATIVE:
        for line in (f"The {who} was read as {opened.source}", *(f"- {note}" for note in opened.notes)):
            say(line)
    return opened.detector


def make_student(run: Run, classes: Sequence[str], say: Print | None = None) -> tuple[Detector, ClassMap | None]:
    """The student that a run names, and how its file's classes correspond to the data's where they differ.

    The same start weights whenever the seed is the same, whatever was built before. From a file of other classes than
    the data's it keeps all but its classifier's rows (`fine_tune`), and of those the ones of classes that it knows by
    name or by `class_map`; `say` is told which.
    """
    choice = run.student
    start_generators(run.train.seed)
    student = make_detector(choice, classes, "student", say)
    if choice.file is None:
        return student, None
    if tuple(student.classes) == tuple(classes):
        if run.class_map and not run.teachers:
            raise UserError(
                "the student's file has the classes of the data, so there is nothing to map: leave out class_map"
            )
        return student, None
    named = dict(run.class_map or {})
    if run.teachers:  # what the file does not know is for them
        named = {
            name: goal for name, goal in named.items() if find_class(name, student.classes, STUDENTS_FILE) is not None
        }
    try:
        student, matched = change_classes(student, classes, named)
    except UserError as error:
        raise UserError(f"student: {choice.file}: {error}") from error
    if say is not None:
        say(tell_classes(matched))
    return student, matched


def demand_classes(student: Detector, classes: Sequence[str]) -> Detector:
    """The student itself. Raises UserError unless it has the classes of the data."""
    if tuple(student.classes) != tuple(classes):
        raise UserError(
            f"the student knows the classes {', '.join(student.classes)}; the data has {', '.join(classes)}. "
            "They must be the same in the same order; data.classes can choose and order them."
        )
    return student


def start_generators(seed: int) -> None:
    """Seeds the generators of Python, numpy and torch."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
