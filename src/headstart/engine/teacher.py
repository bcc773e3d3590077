"""The teacher of a run: loaded whole, frozen, and measured before anybody learns from it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from headstart.config import Run
from headstart.detectors.detector import Detector
from headstart.engine.build import make_detector, start_generators
from headstart.engine.score import Scoreboard
from headstart.methods.base import Frozen

WEAK = 20.0
"""AP50 below which a teacher is called weak."""


def make_teacher(run: Run, classes: Sequence[str], given: Detector | None = None) -> Frozen | None:
    """The given detector, or the one that the run names, frozen; None for a run without a teacher."""
    if given is None and run.teacher is None:
        return None
    if given is None:
        start_generators(run.train.seed)
        given = make_detector(run.teacher, classes, "teacher")  # ty: ignore[invalid-argument-type]
    return Frozen(given)


def measure_teacher(teacher: Frozen, board: Scoreboard, say: Callable[[str], None]) -> dict[str, Any]:
    """The teacher's own scores on the validation images; says them, and what to think of a weak teacher."""
    metrics = board.score(teacher.model)
    teacher.forget()
    shown = ", ".join(f"{k} {metrics[k]:.1f}" for k in ("AP", "AP50", "AP75") if metrics[k] is not None)
    say(f"Teacher on the validation images: {shown or 'nothing to find there'}")
    if metrics["AP50"] is not None and metrics["AP50"] < WEAK:
        say(
            f"Warning: this teacher finds little here (AP50 {metrics['AP50']:.1f}), so a student can hardly gain from "
            "it. Was it trained on this kind of data, with these classes in this order?"
        )
    return metrics
