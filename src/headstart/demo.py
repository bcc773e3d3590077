"""The whole way on drawn pictures: a teacher; the same student without and with it, in equal steps and equal time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from headstart import terminal
from headstart.config import Data, Train
from headstart.data.discover import open_dataset
from headstart.data.shapes import make_shapes
from headstart.engine.comparison import best_scores, compare_detectors
from headstart.engine.fit import fit
from headstart.engine.outcome import Outcome
from headstart.engine.strategy import choose_device
from headstart.recipe import check_run, check_section
from headstart.report.gallery import save_picture

TEACHER = {"name": "yolox_r18", "width": 64, "pretrained": False}
STUDENT = {"name": "yolox_r10", "width": 64, "pretrained": False}
LANES = {"baseline": {"name": "baseline"}, "head": {"name": "head"}, "crosskd": {"name": "crosskd"}}
TRAIN = {"optimizer": "adamw", "weight_decay": 0.01, "decay": "cosine", "warmup": 100, "eval_every": 4}
RATE = 0.0015

SHOWN = 4
"""Validation pictures in comparison.png: the first ones that hold an object."""


class DemoScores(TypedDict):
    """AP in percent of the detectors, two differences of them, and where the picture lies.

    longer     the student alone with as many steps as CrossKD's time would have paid for
    gain       crosskd - baseline: at equal steps
    time_gain  crosskd - longer: at equal time
    """

    teacher: float
    baseline: float
    head: float
    crosskd: float
    longer: float
    gain: float
    time_gain: float
    picture: Path


@dataclass(frozen=True)
class Budget:
    """Pictures of the data set and their side in pixels; steps of the teacher and of each student; images per step."""

    train: int
    val: int
    teacher: int
    student: int
    size: int = 96
    batch: int = 4


FULL = Budget(train=1000, val=200, teacher=800, student=400)
QUICK = Budget(train=200, val=40, teacher=100, student=60)


@dataclass(frozen=True)
class Demo:
    """What all trainings of one demo have in common."""

    data: Path
    out: Path
    budget: Budget
    seed: int
    device: str
    quiet: bool

    def train(self, student: Mapping[str, object], steps: int, **teaching: object) -> Outcome:
        """`teaching`: the teacher and the lanes of a run."""
        data = {"path": str(self.data), "imgsz": self.budget.size, "batch": self.budget.batch}
        train = {**TRAIN, "lr": RATE, "steps": steps, "seed": self.seed, "device": self.device}
        run = {"data": data, "student": student, "train": train, "out": str(self.out / "runs"), **teaching}
        return fit(check_run(run), quiet=self.quiet)


def run_demo(
    out: str | Path = "demo", *, quick: bool = False, seed: int = 0, device: str = "auto", quiet: bool = False
) -> DemoScores:
    """Draws the data, trains, compares, and leaves runs and comparison.png in `out`. Nothing is downloaded."""
    out, budget = Path(out), QUICK if quick else FULL
    say = terminal.say if not quiet else lambda text="": None
    check_section(Train, {"seed": seed})  # before anything is drawn
    choose_device(device)
    data = make_shapes(out / "shapes", train=budget.train, val=budget.val, size=budget.size, crowded=False)
    demo = Demo(data, out, budget, seed, device, quiet)
    say(f"1 of 4: a teacher ({TEACHER['name']}) learns {budget.train} drawn pictures.\n")
    teacher = demo.train(TEACHER, budget.teacher)
    say(f"\n2 of 4: the same student ({STUDENT['name']}) side by side: alone, with HEAD, with CrossKD.\n")
    students = demo.train(STUDENT, budget.student, teacher=str(teacher.file), lanes=LANES)
    lanes = students.results["lanes"]
    ap = {"teacher": students.results["teachers"]["teacher"]["AP"] or 0.0}
    ap |= {name: lane["metrics"]["AP"] or 0.0 for name, lane in lanes.items()}
    steps = max(1, round(budget.student * lanes["crosskd"]["seconds"] / lanes["baseline"]["seconds"]))
    say(f"\n3 of 4: the student alone once more, for the time that CrossKD took: {steps} steps.\n")
    longer = demo.train(STUDENT, steps).results["lanes"]["student"]["metrics"]["AP"] or 0.0
    gain, time_gain = ap["crosskd"] - ap["baseline"], ap["crosskd"] - longer
    picture = (students.folder or out) / "comparison.png"
    detectors = {"teacher": teacher.students["student"], **students.students}
    images = open_dataset(data, "val")
    view = check_section(Data, {"path": str(data), "imgsz": budget.size, "batch": budget.batch})
    scores = best_scores(detectors, images, view)
    with_objects = [index for index in range(len(images)) if len(images.annotations(index)[0])]
    shown, notes = with_objects[:SHOWN] or [0], {name: f"AP {ap[name]:.1f}" for name in detectors}
    save_picture(picture, compare_detectors(detectors, images, view, scores=scores, shown=shown, notes=notes))
    say(f"\n4 of 4: {picture}\n")
    say("  ".join(f"{name} AP {value:.1f}" for name, value in ap.items()))
    say(f"In equal steps ({budget.student}): HEAD {ap['head'] - ap['baseline']:+.1f} AP, CrossKD {gain:+.1f} AP.")
    say(f"In equal time ({steps} steps alone: AP {longer:.1f}): CrossKD {time_gain:+.1f} AP.")
    say(f"All are of {students.results['gain']['note']}.")
    if quick:
        say("A quick run is too short to judge distillation by; leave out --quick for that.")
    return {
        "teacher": ap["teacher"],
        "baseline": ap["baseline"],
        "head": ap["head"],
        "crosskd": ap["crosskd"],
        "longer": longer,
        "gain": gain,
        "time_gain": time_gain,
        "picture": picture,
    }
