"""The small setting that most published tables were measured in: 96 px, ten figures, nothing pretrained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headstart.data.shapes import make_shapes
from headstart.engine.fit import fit
from headstart.engine.outcome import Outcome
from headstart.recipe import check_run

TEACHER: dict[str, Any] = {
    "name": "fasterrcnn_r18",
    "width": 64,
    "pretrained": False,
    "options": {"hidden": 256, "anchor_scale": 5, "regions": 64},
}
STUDENT: dict[str, Any] = {
    "name": "retinanet_r10",
    "width": 64,
    "pretrained": False,
    "options": {"depth": 2, "anchor_scale": 3},
}
LANES: dict[str, dict[str, Any]] = {"baseline": {"name": "baseline"}, "head": {"name": "head", "regions": 64}}
TRAIN = {"optimizer": "adamw", "weight_decay": 0.01, "decay": "cosine", "warmup": 100, "eval_every": 4}
TEACHER_RATE, STUDENT_RATE = 0.001, 0.0015


@dataclass(frozen=True)
class Budget:
    """Pictures of the data set and their side in pixels; steps of the teacher and of each student; images per step."""

    train: int = 1000
    val: int = 200
    teacher: int = 700
    student: int = 800
    size: int = 96
    batch: int = 4


FULL = Budget()


def draw_data(out: Path, budget: Budget = FULL) -> Path:
    """The folder of the drawn pictures."""
    return make_shapes(out / "shapes", train=budget.train, val=budget.val, size=budget.size)


def train_teacher(data: Path, out: Path, budget: Budget, seed: int) -> Outcome:
    return _train(data, out, TEACHER, budget, budget.teacher, TEACHER_RATE, seed, {})


def train_students(
    data: Path, out: Path, budget: Budget, seed: int, *, teacher: Path | None, lanes: Mapping[str, object]
) -> Outcome:
    """The student once per lane (name -> method), side by side."""
    teaching: dict[str, object] = {"lanes": lanes}
    if teacher is not None:
        teaching["teacher"] = str(teacher)
    return _train(data, out, STUDENT, budget, budget.student, STUDENT_RATE, seed, teaching)


def _train(
    data: Path,
    out: Path,
    student: Mapping[str, object],
    budget: Budget,
    steps: int,
    rate: float,
    seed: int,
    teaching: Mapping[str, object],
) -> Outcome:
    settings = {"path": str(data), "imgsz": budget.size, "batch": budget.batch, "bad_data": "skip"}
    train = {**TRAIN, "lr": rate, "steps": steps, "seed": seed}
    return fit(check_run({"data": settings, "student": student, "train": train, "out": str(out / "runs"), **teaching}))
