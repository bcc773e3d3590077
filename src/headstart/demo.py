"""The whole way on drawn shapes: a teacher, and the same student without and with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict, Unpack

import numpy as np

from headstart import terminal
from headstart.config import Train
from headstart.data.dataset import DetectionDataset
from headstart.data.discover import open_dataset
from headstart.data.shapes import make_shapes
from headstart.detectors.detector import Detector
from headstart.engine.fit import fit
from headstart.engine.outcome import Outcome
from headstart.engine.predict import find_objects
from headstart.engine.strategy import choose_device
from headstart.recipe import check_run, check_section
from headstart.report.gallery import Drawn, Row, comparison, save_picture

TEACHER = {
    "name": "fasterrcnn_r18",
    "width": 64,
    "pretrained": False,
    "options": {"hidden": 256, "anchor_scale": 5, "regions": 64},
}
STUDENT = {"name": "retinanet_r10", "width": 64, "pretrained": False, "options": {"depth": 2, "anchor_scale": 3}}
LANES = {"baseline": {"name": "baseline"}, "head": {"name": "head", "regions": 64}}
TRAIN = {"optimizer": "adamw", "weight_decay": 0.01, "decay": "cosine", "warmup": 100, "eval_every": 4}
TEACHER_RATE, STUDENT_RATE = 0.001, 0.0015

SHOWN = 4
"""Validation pictures in comparison.png."""


class DemoScores(TypedDict):
    """AP in percent of the three detectors, `head` minus `baseline`, and where the picture lies."""

    teacher: float
    baseline: float
    head: float
    gain: float
    picture: Path


class Shared(TypedDict, total=False):
    """What the trainings of the demo have in common; defaults as those of a run."""

    seed: int
    device: str
    quiet: bool
    bad_data: str


@dataclass(frozen=True)
class Budget:
    """Pictures of the data set and their side in pixels; steps of the teacher and of each student; images per step."""

    train: int
    val: int
    teacher: int
    student: int
    size: int = 96
    batch: int = 4


FULL = Budget(train=1000, val=200, teacher=700, student=800)
QUICK = Budget(train=200, val=40, teacher=100, student=60)


def run_demo(
    out: str | Path = "demo", *, quick: bool = False, seed: int = 0, device: str = "auto", quiet: bool = False
) -> DemoScores:
    """Draws the data, trains, compares, and leaves runs and comparison.png in `out`.

    Gives the AP of `teacher`, `baseline` and `head`, the `gain`, and the `picture`. Nothing is downloaded.
    """
    out, budget = Path(out), QUICK if quick else FULL
    say = terminal.say if not quiet else lambda text="": None
    check_section(Train, {"seed": seed})  # before anything is drawn
    choose_device(device)
    data = draw_data(out, budget)
    shared: Shared = {"seed": seed, "device": device, "quiet": quiet}
    say(f"1 of 3: a teacher learns {budget.train} drawn pictures.\n")
    teacher = train_teacher(data, out, budget, **shared)
    say("\n2 of 3: the same student twice, side by side, without and with the teacher.\n")
    students = train_students(data, out, budget, teacher=teacher.file, lanes=LANES, **shared)
    scores = {name: lane["metrics"]["AP"] or 0.0 for name, lane in students.results["lanes"].items()}
    scores = {"teacher": students.results["teachers"]["teacher"]["AP"] or 0.0, **scores}
    gain = scores["head"] - scores["baseline"]

    picture = (students.folder or out) / "comparison.png"
    _draw(picture, open_dataset(data, "val"), teacher, students, scores, budget.size)
    say(f"\n3 of 3: {picture}\n")
    say("  ".join(f"{name} AP {value:.1f}" for name, value in scores.items()) + f"  gain {gain:+.1f}")
    note = students.results["gain"]["note"]
    say(f"The gain is of {note}.")
    if quick:
        say("A quick run is too short to judge distillation by; leave out --quick for that.")
    return {
        "teacher": scores["teacher"],
        "baseline": scores["baseline"],
        "head": scores["head"],
        "gain": gain,
        "picture": picture,
    }


def draw_data(out: Path, budget: Budget) -> Path:
    """The folder of the drawn pictures."""
    return make_shapes(out / "shapes", train=budget.train, val=budget.val, size=budget.size)


def train_teacher(data: Path, out: Path, budget: Budget, **shared: Unpack[Shared]) -> Outcome:
    """The demo's teacher on any data; `shared` are seed, device, quiet and bad_data."""
    return _train(data, out, TEACHER, budget, budget.teacher, TEACHER_RATE, {}, **shared)


def train_students(
    data: Path,
    out: Path,
    budget: Budget,
    *,
    teacher: Path | None,
    lanes: Mapping[str, object],
    **shared: Unpack[Shared],
) -> Outcome:
    """The demo's student on any data, once per lane (name -> method), side by side."""
    teaching: dict[str, object] = {"lanes": lanes}
    if teacher is not None:
        teaching["teacher"] = str(teacher)
    return _train(data, out, STUDENT, budget, budget.student, STUDENT_RATE, teaching, **shared)


def _train(
    data: Path,
    out: Path,
    student: Mapping[str, object],
    budget: Budget,
    steps: int,
    rate: float,
    teaching: Mapping[str, object],
    **shared: Unpack[Shared],
) -> Outcome:
    bad_data = shared.get("bad_data", "stop")
    settings = {"path": str(data), "imgsz": budget.size, "batch": budget.batch, "bad_data": bad_data}
    train = {**TRAIN, "lr": rate, "steps": steps, "seed": shared.get("seed", 0), "device": shared.get("device", "auto")}
    run = {"data": settings, "student": student, "train": train, "out": str(out / "runs"), **teaching}
    return fit(check_run(run), quiet=shared.get("quiet", False))


def _draw(
    path: Path, dataset: DetectionDataset, teacher: Outcome, students: Outcome, scores: dict[str, float], size: int
) -> None:
    """The first pictures of the validation data with what each of the three detectors finds in them."""
    detectors: dict[str, Detector] = {"teacher": next(iter(teacher.students.values())), **students.students}
    rows = []
    for index in range(min(SHOWN, len(dataset))):
        sample = dataset[index]
        boxes, labels, ignored = dataset.annotations(index)
        columns = {"ground truth": Drawn(boxes, labels, None, ignored)}
        for name, detector in detectors.items():
            found = find_objects(detector, sample.image, short=size, long=size)
            columns[name] = Drawn.of(found)
        pixels: np.ndarray = sample.image.permute(1, 2, 0).numpy()
        rows.append(Row(pixels, columns))
    notes = {name: f"AP {value:.1f}" for name, value in scores.items()}
    save_picture(path, comparison(rows, dataset.classes, notes=notes))
